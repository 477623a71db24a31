//! The search of CG_DESCENT: slopes decide, values only guard.
//!
//! ```text
//! Wolfe         φ(α) <= φ(0) + δ α φ'(0),        φ'(α) >= σ φ'(0)
//! approximate   (2δ - 1) φ'(0) >= φ'(α) >= σ φ'(0),   φ(α) <= φ(0) + ε |φ(0)|
//! ```
//! The interval [a, b] keeps φ(a) <= φ(0) + ε|φ(0)|, φ'(a) < 0, φ'(b) >= 0; it is narrowed by a double secant step, and
//! halved where that shortens it too little.
//!
//! Deviations  ε is never below the rounding of the scalar. The first α is the caller's. A value that is not finite counts as
//!             too high: the interval is halved. A search that ends without an acceptable α gives the lowest it met.
//! Cost        one loss and gradient for each trial.
//! Laws        tests/line_search.rs.
//! Reference   W. W. Hager, H. Zhang, SIAM J. Optim. 16 (2005) 170-192, doi 10.1137/030601880, section 4; Algorithm 851,
//!             ACM Trans. Math. Software 32 (2006) 113-137, doi 10.1145/1132973.1132979.

use super::trials::{Trial, Trials, Wolfe};
use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::{Error, Result};
use crate::optim::LineFunction;

/// θ: where an interval is divided.
const DIVISION: f64 = 0.5;
/// γ: an interval must shrink to this share.
const SHRINKAGE: f64 = 0.66;
/// ρ: how far each step towards a bracket goes beyond the last.
const EXPANSION: f64 = 5.0;

/// Bracketing and secant steps until the Wolfe conditions, or the approximate ones, hold.
///
/// ```
/// use pullback::Result;
/// use pullback::optim::LineFunction;
/// use pullback::optim::line_search::{HagerZhang, LineSearch, SearchStart};
/// /// (α - 1)²
/// struct Parabola;
/// impl LineFunction for Parabola {
///     fn value(&mut self, alpha: f64) -> Result<f64> {
///         Ok((alpha - 1.0).powi(2))
///     }
///     fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
///         Ok((self.value(alpha)?, 2.0 * (alpha - 1.0)))
///     }
/// }
/// let start = SearchStart { value: 1.0, slope: -2.0, initial: 1e3 };
/// assert_eq!(HagerZhang::default().search(&mut Parabola, start)?.alpha, 1.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HagerZhang {
    /// δ, below σ and ½.
    pub sufficient_decrease: f64,
    /// σ, below 1.
    pub curvature: f64,
    /// ε, the relative error of values.
    pub error: f64,
    /// Most trials.
    pub max_evaluations: usize,
}

/// δ = 0.1, σ = 0.9, ε = 10⁻⁶, 50 trials.
impl Default for HagerZhang {
    fn default() -> Self {
        Self { sufficient_decrease: 0.1, curvature: 0.9, error: 1e-6, max_evaluations: 50 }
    }
}

impl HagerZhang {
    fn wolfe(&self) -> Wolfe {
        Wolfe { decrease: self.sufficient_decrease, curvature: self.curvature, strong: false }
    }

    /// # Errors
    /// [`Error::InvalidParameter`] for an option outside its domain.
    pub fn check(&self) -> Result<()> {
        if !(self.error >= 0.0 && self.error < 1.0) {
            return Err(Error::invalid("error", format!("{} must be in [0, 1)", self.error)));
        }
        self.wolfe().check(self.max_evaluations)
    }
}

/// Why the bracketing ends before there is an interval to go on with.
enum End {
    Accepted(Trial, SearchStop),
    GivenUp(SearchStop),
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

struct Bracketing<'a> {
    trials: Trials<'a>,
    options: HagerZhang,
}

impl Bracketing<'_> {
    fn take(&mut self, alpha: f64) -> Result<Trial, End> {
        if self.trials.evaluations == self.options.max_evaluations {
            return Err(End::GivenUp(SearchStop::EvaluationLimit));
        }
        if !alpha.is_finite() {
            return Err(End::GivenUp(SearchStop::Unbounded));
        }
        let trial = self.trials.take(alpha)?;
        match self.trials.verdict(trial, self.options.wolfe()) {
            Some(stop) => Err(End::Accepted(trial, stop)),
            None => Ok(trial),
        }
    }

    /// Whether the value at a trial is no higher than φ(0), up to its error.
    fn is_low(&self, trial: Trial) -> bool {
        trial.is_finite() && trial.value <= self.trials.start.value + self.trials.noise
    }

    /// An interval from the first α (steps B0 to B3 of the reference).
    fn bracket(&mut self) -> Result<[Trial; 2], End> {
        let (mut low, mut alpha) = (self.trials.origin(), self.trials.start.initial);
        loop {
            let trial = self.take(alpha)?;
            if trial.is_finite() && trial.slope >= 0.0 {
                return Ok([low, trial]);
            }
            if !self.is_low(trial) {
                return self.halve(low, trial);
            }
            low = trial;
            alpha *= EXPANSION;
        }
    }

    /// Halves [a, b], φ(b) too high with a negative slope, until b has a slope of its own (step U3).
    fn halve(&mut self, mut a: Trial, mut b: Trial) -> Result<[Trial; 2], End> {
        loop {
            if b.alpha - a.alpha <= self.trials.resolution() * b.alpha || self.is_lost(a, b) {
                return Err(End::GivenUp(SearchStop::TooShort));
            }
            let middle = self.take((1.0 - DIVISION) * a.alpha + DIVISION * b.alpha)?;
            if middle.is_finite() && middle.slope >= 0.0 {
                return Ok([a, middle]);
            }
            if self.is_low(middle) {
                a = middle;
            } else {
                b = middle;
            }
        }
    }

    /// Whether nothing was found and what the slope promises is far below what φ can show.
    fn is_lost(&self, a: Trial, b: Trial) -> bool {
        let promised = b.alpha * self.trials.start.slope.abs();
        a.alpha == 0.0 && promised <= self.trials.resolution().powi(2) * self.trials.start.value.abs()
    }

    /// Takes a point into the interval (steps U0 to U3).
    fn update(&mut self, [a, b]: [Trial; 2], alpha: f64) -> Result<[Trial; 2], End> {
        if !(alpha > a.alpha && alpha < b.alpha) {
            return Ok([a, b]);
        }
        let c = self.take(alpha)?;
        if c.is_finite() && c.slope >= 0.0 {
            Ok([a, c])
        } else if self.is_low(c) {
            Ok([c, b])
        } else {
            self.halve(a, c)
        }
    }

    /// Two secant steps, the second from the end that the first has moved (steps S1 to S4).
    fn double_secant(&mut self, [a, b]: [Trial; 2]) -> Result<[Trial; 2], End> {
        let c = secant(a, b);
        let [x, y] = self.update([a, b], c)?;
        let again = if c == y.alpha {
            secant(b, y)
        } else if c == x.alpha {
            secant(a, x)
        } else {
            return Ok([x, y]);
        };
        self.update([x, y], again)
    }

    fn run(&mut self) -> Result<std::convert::Infallible, End> {
        let mut interval = self.bracket()?;
        loop {
            let [a, b] = interval;
            if b.alpha - a.alpha <= self.trials.resolution() * b.alpha || self.is_lost(a, b) {
                return Err(End::GivenUp(SearchStop::TooShort));
            }
            interval = self.double_secant(interval)?;
            let [x, y] = interval;
            if y.alpha - x.alpha > SHRINKAGE * (b.alpha - a.alpha) {
                interval = self.update(interval, 0.5 * (x.alpha + y.alpha))?;
            }
        }
    }
}

fn secant(a: Trial, b: Trial) -> f64 {
    (a.alpha * b.slope - b.alpha * a.slope) / (b.slope - a.slope)
}

impl LineSearch for HagerZhang {
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        self.check()?;
        let mut bracketing = Bracketing { trials: Trials::new(line, start, self.error), options: *self };
        if !(start.slope < 0.0) {
            return Ok(bracketing.trials.give_up(SearchStop::NotDescent));
        }
        let Err(end) = bracketing.run();
        match end {
            End::Accepted(trial, stop) => Ok(bracketing.trials.accept(trial, stop)),
            End::GivenUp(stop) => Ok(bracketing.trials.give_up(stop)),
            End::Failed(error) => Err(error),
        }
    }
}
