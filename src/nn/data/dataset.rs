//! [`Dataset`]: inputs and targets, one case per column.

use super::{Scaling, Standardization};
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatMut, MatRef};
use crate::random::Draws;
use crate::scalar::Scalar;

/// What a network is to predict from the inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets<T> {
    /// The inputs themselves, of which no second copy is kept.
    Reconstruction,
    /// One class a case, presented as a one-hot column.
    Classes {
        /// The class of each case, below `count`.
        labels: Vec<usize>,
        /// Number of classes.
        count: usize,
    },
    /// Real values, d_out x N.
    Values(Mat<T>),
}

/// Inputs (d_in x N, one case per column) with their targets (d_out x N).
///
/// ```
/// use pullback::{Mat, nn::data::{Dataset, Targets}};
/// let inputs = Mat::from_fn(2, 3, |i, j| (i + 10 * j) as f32);
/// let set = Dataset::new("three", inputs, Targets::Classes { labels: vec![0, 1, 0], count: 2 })?;
/// let (mut x, mut y) = (Mat::zeros(3, 2), Mat::zeros(2, 2));
/// set.fill_columns(&[2, 1], x.as_mut(), y.as_mut())?;
/// assert_eq!(x.as_slice(), [20.0, 21.0, 1.0, 10.0, 11.0, 1.0]); // homogeneous: a last row of ones
/// assert_eq!(y.as_slice(), [1.0, 0.0, 0.0, 1.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset<T> {
    name: String,
    inputs: Mat<T>,
    targets: Targets<T>,
    /// d_out x N for classes, else 0 x 0.
    one_hot: Mat<T>,
    feature_names: Vec<String>,
    target_names: Vec<String>,
    standardization: Option<Standardization<T>>,
}

impl<T: Scalar> Dataset<T> {
    /// Checks that targets and inputs belong together.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of cases differ, [`Error::InvalidParameter`] for a label of no class.
    pub fn new(name: impl Into<String>, inputs: Mat<T>, targets: Targets<T>) -> Result<Self> {
        let n = inputs.ncols();
        let mut one_hot = Mat::zeros(0, 0);
        match &targets {
            Targets::Reconstruction => {}
            Targets::Classes { labels, count } => {
                check_shape("Dataset::new: labels", (1, n), (1, labels.len()))?;
                if let Some(label) = labels.iter().find(|&l| l >= count) {
                    return Err(Error::invalid("labels", format!("must be below {count}, found {label}")));
                }
                one_hot = Mat::zeros(*count, n);
                labels.iter().enumerate().for_each(|(j, &label)| one_hot[(label, j)] = T::ONE);
            }
            Targets::Values(values) => {
                check_shape("Dataset::new: targets", (values.nrows(), n), values.shape())?;
            }
        }
        let (feature_names, target_names) = Default::default();
        Ok(Self { name: name.into(), inputs, targets, one_hot, feature_names, target_names, standardization: None })
    }

    /// Names the features, and the targets (classes or values); empty where unknown.
    ///
    /// # Errors
    /// [`Error::Shape`] unless a list is empty or as long as there are features or targets.
    pub fn with_names(mut self, features: Vec<String>, targets: Vec<String>) -> Result<Self> {
        for (names, rows) in [(&features, self.d_in()), (&targets, self.d_out())] {
            if !names.is_empty() {
                check_shape("Dataset::with_names", (rows, 1), (names.len(), 1))?;
            }
        }
        (self.feature_names, self.target_names) = (features, targets);
        Ok(self)
    }

    /// The same inputs with themselves as the targets.
    pub fn into_reconstruction(mut self) -> Self {
        self.targets = Targets::Reconstruction;
        self.one_hot = Mat::zeros(0, 0);
        self.target_names.clear();
        if let Some(standardization) = &mut self.standardization {
            standardization.targets = None;
        }
        self
    }

    /// Name of the data set or file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of cases N.
    pub fn len(&self) -> usize {
        self.inputs.ncols()
    }

    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    pub fn d_in(&self) -> usize {
        self.inputs.nrows()
    }

    /// Rows of the targets: features, classes or values.
    pub fn d_out(&self) -> usize {
        match &self.targets {
            Targets::Reconstruction => self.d_in(),
            Targets::Classes { count, .. } => *count,
            Targets::Values(values) => values.nrows(),
        }
    }

    /// d_in x N.
    pub fn inputs(&self) -> MatRef<'_, T> {
        self.inputs.as_ref()
    }

    /// What is to be predicted.
    pub fn targets(&self) -> &Targets<T> {
        &self.targets
    }

    /// The targets as a d_out x N matrix, classes as one-hot columns; `None` where they are the inputs.
    pub fn target_matrix(&self) -> Option<MatRef<'_, T>> {
        match &self.targets {
            Targets::Reconstruction => None,
            Targets::Classes { .. } => Some(self.one_hot.as_ref()),
            Targets::Values(values) => Some(values.as_ref()),
        }
    }

    /// The class of each case, where the targets are classes.
    pub fn labels(&self) -> Option<&[usize]> {
        match &self.targets {
            Targets::Classes { labels, .. } => Some(labels),
            _ => None,
        }
    }

    /// Feature names, empty where unknown.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// Names of the classes or of the target values, empty where unknown.
    pub fn target_names(&self) -> &[String] {
        &self.target_names
    }

    /// What the data were standardized by, if they were.
    pub fn standardized_by(&self) -> Option<&Standardization<T>> {
        self.standardization.as_ref()
    }

    /// Rewrites every input value.
    pub(super) fn map_inputs(&mut self, f: impl Fn(T) -> T) {
        self.inputs.as_mut_slice().iter_mut().for_each(|x| *x = f(*x));
    }

    /// Copies the chosen cases: inputs, homogeneous with a last row of ones, into (d_in + 1) x B and targets into
    /// d_out x B. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers of other shapes, [`Error::InvalidParameter`] for an index of no case; then nothing
    /// is written.
    pub fn fill_columns(&self, cases: &[usize], mut inputs: MatMut<'_, T>, mut targets: MatMut<'_, T>) -> Result<()> {
        check_shape("fill_columns: inputs", (self.d_in() + 1, cases.len()), inputs.shape())?;
        check_shape("fill_columns: targets", (self.d_out(), cases.len()), targets.shape())?;
        self.check_cases(cases)?;
        for (&case, column) in cases.iter().zip(inputs.cols_mut()) {
            let (features, one) = column.split_at_mut(self.d_in());
            features.copy_from_slice(self.inputs.as_ref().col(case));
            one.fill(T::ONE);
        }
        let from = self.target_matrix().unwrap_or(self.inputs());
        targets.cols_mut().zip(cases).for_each(|(column, &case)| column.copy_from_slice(from.col(case)));
        Ok(())
    }

    /// The chosen cases in the given order; a case may come more than once.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for an index of no case.
    pub fn select(&self, cases: &[usize]) -> Result<Self> {
        self.check_cases(cases)?;
        let columns = |m: &Mat<T>| Mat::from_fn(m.nrows(), cases.len(), |i, j| m[(i, cases[j])]);
        let targets = match &self.targets {
            Targets::Reconstruction => Targets::Reconstruction,
            Targets::Classes { labels, count } => {
                Targets::Classes { labels: cases.iter().map(|&c| labels[c]).collect(), count: *count }
            }
            Targets::Values(values) => Targets::Values(columns(values)),
        };
        Ok(Self {
            name: self.name.clone(),
            inputs: columns(&self.inputs),
            targets,
            one_hot: if self.labels().is_some() { columns(&self.one_hot) } else { Mat::zeros(0, 0) },
            feature_names: self.feature_names.clone(),
            target_names: self.target_names.clone(),
            standardization: self.standardization.clone(),
        })
    }

    /// (training part, test part): a random fraction of the cases, rounded to the nearest number, is set aside. Which
    /// ones depends on N, the fraction and the seed only; both parts keep the order of the whole.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 <= test_fraction < 1.
    pub fn split(&self, test_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(0.0..1.0).contains(&test_fraction) {
            return Err(Error::invalid("test_fraction", format!("must be in [0, 1), found {test_fraction}")));
        }
        let n = self.len();
        let mut order: Vec<usize> = (0..n).collect();
        Draws::new(seed, SPLIT_STREAM).shuffle(&mut order);
        let (test, train) = order.split_at_mut((n as f64 * test_fraction).round() as usize);
        test.sort_unstable();
        train.sort_unstable();
        Ok((self.select(train)?, self.select(test)?))
    }

    /// Mean and scale of every feature, and of every target that is a value. Fit them on the training part.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn standardization(&self) -> Result<Standardization<T>> {
        let targets = match &self.targets {
            Targets::Values(values) => Some(Scaling::fit(values.as_ref())?),
            _ => None,
        };
        Ok(Standardization { inputs: Scaling::fit(self.inputs())?, targets })
    }

    /// The data in standard units. With [`Targets::Reconstruction`] the targets follow the inputs.
    ///
    /// # Errors
    /// [`Error::Shape`] when it was fitted on other features or targets.
    pub fn standardized(&self, by: &Standardization<T>) -> Result<Self> {
        let mut out = self.clone();
        by.inputs.apply(out.inputs.as_mut())?;
        if let (Targets::Values(values), Some(scaling)) = (&mut out.targets, &by.targets) {
            scaling.apply(values.as_mut())?;
        }
        out.standardization = Some(by.clone());
        Ok(out)
    }

    fn check_cases(&self, cases: &[usize]) -> Result<()> {
        match cases.iter().find(|&&case| case >= self.len()) {
            None => Ok(()),
            Some(case) => Err(Error::invalid("cases", format!("must be below {}, found {case}", self.len()))),
        }
    }
}

/// Apart from the streams of epochs 0, 1, ..., so that one seed may serve the split and the minibatches.
const SPLIT_STREAM: u64 = u64::MAX;
