//! The nonlinear regressions of NIST's Statistical Reference Datasets: 27 problems, two starts each, certified parameters.
//!
//! ```text
//! correct digits   LRE = min_j -log10(|b_j - c_j| / |c_j|), at most 11, at least 0
//! ```
//! The certified c have 11 digits, found in 128-bit arithmetic. Start 1 is far from them, start 2 nearer.
//!
//! Laws        tests/nist.rs (residual sums at the certified values, derivatives, a parser that refuses what is cut).
//! Reference   NIST/ITL Statistical Reference Datasets, <https://www.itl.nist.gov/div898/strd/>, doi 10.18434/T43G6C;
//!             B. McCullough, The American Statistician 52 (1998) 358-366, doi 10.1080/00031305.1998.10480598 (LRE).

mod models;
mod parse;

use std::path::Path;

pub use models::Model;

use super::{Formula, Number};
use crate::error::{Error, Result};

/// How hard NIST says that a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difficulty {
    /// Lower level of difficulty.
    Lower,
    /// Average level of difficulty.
    Average,
    /// Higher level of difficulty.
    Higher,
}

impl Difficulty {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Difficulty::Lower => "lower",
            Difficulty::Average => "average",
            Difficulty::Higher => "higher",
        }
    }
}

/// What a file states of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Start 1 and start 2.
    pub starts: [f64; 2],
    /// The certified value.
    pub certified: f64,
    /// Its certified standard deviation.
    pub deviation: f64,
}

/// One of the 27 problems: r_i = model(x_i; b) - y_i.
///
/// ```
/// use pullback::testing::problems::nist::Regression;
/// let misra = Regression::named("Misra1a")?;
/// assert_eq!(misra.start(2), [250.0, 0.0005]);
/// assert_eq!(misra.certified(), [2.3894212918E+02, 5.5015643181E-04]);
/// assert_eq!(misra.correct_digits(&[2.3894212918E+02, 5.5015643181E-04 * (1.0 + 1e-7)]).round(), 7.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    model: Model,
    difficulty: Difficulty,
    parameters: Vec<Parameter>,
    residual_sum: f64,
    /// y, log y where the model is one of log y.
    response: Vec<f64>,
    /// One row for each observation; the second is 0 where there is one predictor.
    predictors: Vec<[f64; 2]>,
}

impl Regression {
    /// All 27 in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Data`]: none for the files that are compiled in.
    pub fn all() -> Result<Vec<Self>> {
        Model::ALL.into_iter().map(|model| Self::parse(&format!("{}.dat", model.name()), model.data())).collect()
    }

    /// The problem of this name, whatever the case of its letters.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for any other name.
    pub fn named(name: &str) -> Result<Self> {
        let model = Model::named(name).ok_or_else(|| Error::invalid("problem", format!("NIST has no `{name}`")))?;
        Self::parse(&format!("{}.dat", model.name()), model.data())
    }

    /// Reads a file in NIST's format.
    ///
    /// # Errors
    /// [`Error::Data`] with the row that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Data {
            file: file.clone(),
            row: None,
            what: error.to_string(),
        })?;
        Self::parse(&file, &text)
    }

    /// Reads the text of a file in NIST's format; `file` is what errors name.
    ///
    /// # Errors
    /// [`Error::Data`] with the row that is wrong.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        parse::parse(file, text)
    }

    /// Which of the 27.
    pub fn model(&self) -> Model {
        self.model
    }

    /// How hard.
    pub fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// What the file states of the parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Start 1 (far) or any other number (near).
    pub fn start(&self, start: usize) -> Vec<f64> {
        self.parameters.iter().map(|p| p.starts[usize::from(start != 1)]).collect()
    }

    /// c.
    pub fn certified(&self) -> Vec<f64> {
        self.parameters.iter().map(|p| p.certified).collect()
    }

    /// Σ r_i² at c, certified.
    pub fn residual_sum(&self) -> f64 {
        self.residual_sum
    }

    /// The LRE of these parameters; 0 where one is not finite, or where there are more or fewer of them.
    pub fn correct_digits(&self, b: &[f64]) -> f64 {
        const CERTIFIED_DIGITS: f64 = 11.0;
        if b.len() != self.parameters.len() {
            return 0.0;
        }
        let digits = |(p, b): (&Parameter, &f64)| {
            let error = ((b - p.certified) / p.certified).abs();
            if error.is_nan() { 0.0 } else { (-error.log10()).clamp(0.0, CERTIFIED_DIGITS) + 0.0 }
        };
        self.parameters.iter().zip(b).map(digits).fold(CERTIFIED_DIGITS, f64::min)
    }
}

impl Formula for Regression {
    fn shape(&self) -> (usize, usize) {
        (self.response.len(), self.parameters.len())
    }

    fn residuals<N: Number>(&self, b: &[N], r: &mut [N]) {
        for ((r, &x), &y) in r.iter_mut().zip(&self.predictors).zip(&self.response) {
            *r = self.model.predict(x, b) - y;
        }
    }
}
