//! [`Batch`]: inputs with a row of ones, and targets; one case a column.
//!
//! The inputs are stored homogeneous, (d_in + 1) x cases with a last row of ones, so that the bias column of the first
//! layer's W takes part in the one product W ā. An autoencoder's targets are its inputs and are not stored twice.
//! A batch is refilled in place: no allocation once it has held as many cases.

use super::columns;
use crate::backend::check;
use crate::error::{Error, Result, check_shape};
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// Cases for an [`Mlp`](super::Mlp): finite inputs and targets, at least one case.
///
/// ```
/// use pullback::{Mat, nn::Batch};
/// let x = Mat::from_fn(3, 2, |i, j| (i + j) as f64);
/// let batch = Batch::autoencoder(x.as_ref())?;
/// assert_eq!(batch.inputs().shape(), (4, 2)); // the last row is 1
/// assert_eq!(batch.targets().get(2, 1), Some(3.0));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batch<T> {
    inputs: Vec<T>,
    /// Empty when the inputs are the targets.
    targets: Vec<T>,
    shared: bool,
    input_dim: usize,
    target_dim: usize,
    cases: usize,
}

impl<T: Scalar> Batch<T> {
    /// Copies d_in x cases inputs and d_out x cases targets.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of cases differ, [`Error::NotFinite`], [`Error::InvalidParameter`] when there
    /// is no case.
    pub fn new(inputs: MatRef<'_, T>, targets: MatRef<'_, T>) -> Result<Self> {
        let mut batch = Self::empty();
        batch.refill(inputs, Some(targets))?;
        Ok(batch)
    }

    /// Copies d x cases inputs, which are the targets too.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn autoencoder(inputs: MatRef<'_, T>) -> Result<Self> {
        let mut batch = Self::empty();
        batch.refill(inputs, None)?;
        Ok(batch)
    }

    pub(super) fn empty() -> Self {
        Self { inputs: Vec::new(), targets: Vec::new(), shared: true, input_dim: 0, target_dim: 0, cases: 0 }
    }

    /// Replaces the cases; `None` for targets that are the inputs. On an error the batch is as it was.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn refill(&mut self, inputs: MatRef<'_, T>, targets: Option<MatRef<'_, T>>) -> Result<()> {
        let n = inputs.ncols();
        self.fill(inputs, targets, n, |j| j)
    }

    /// Replaces the cases by the given columns of a data set, in their order (repetitions are fine).
    ///
    /// # Errors
    /// As [`Batch::new`]; [`Error::InvalidParameter`] when there is no such column.
    pub fn select(&mut self, inputs: MatRef<'_, T>, targets: Option<MatRef<'_, T>>, columns: &[usize]) -> Result<()> {
        if let Some(bad) = columns.iter().find(|&&j| j >= inputs.ncols()) {
            return Err(Error::invalid("columns", format!("{bad} of a data set of {} cases", inputs.ncols())));
        }
        self.fill(inputs, targets, columns.len(), |j| columns[j])
    }

    fn fill(
        &mut self,
        inputs: MatRef<'_, T>,
        targets: Option<MatRef<'_, T>>,
        cases: usize,
        column: impl Fn(usize) -> usize,
    ) -> Result<()> {
        if cases == 0 {
            return Err(Error::invalid("batch", "it needs at least one case"));
        }
        if let Some(targets) = targets {
            check_shape("batch: targets", (targets.nrows(), inputs.ncols()), targets.shape())?;
        }
        for j in 0..cases {
            check::finite_slice("batch: inputs", inputs.col(column(j)))?;
            targets.map_or(Ok(()), |t| check::finite_slice("batch: targets", t.col(column(j))))?;
        }
        let d = inputs.nrows();
        self.inputs.resize((d + 1) * cases, T::ONE);
        for (j, to) in self.inputs.chunks_exact_mut(d + 1).enumerate() {
            to[..d].copy_from_slice(inputs.col(column(j)));
            to[d] = T::ONE;
        }
        self.targets.clear();
        if let Some(targets) = targets {
            (0..cases).for_each(|j| self.targets.extend_from_slice(targets.col(column(j))));
        }
        self.shared = targets.is_none();
        (self.input_dim, self.target_dim, self.cases) = (d, targets.map_or(d, |t| t.nrows()), cases);
        Ok(())
    }

    /// Number of cases.
    pub fn cases(&self) -> usize {
        self.cases
    }

    /// The cases in a range, copied.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for an empty range, or one beyond the batch.
    pub fn subset(&self, cases: std::ops::Range<usize>) -> Result<Self> {
        if cases.is_empty() || cases.end > self.cases {
            return Err(Error::invalid("cases", format!("{cases:?} of a batch of {} cases", self.cases)));
        }
        let inputs = columns::top(self.inputs(), self.input_dim, cases.start, cases.len());
        if self.shared {
            return Self::autoencoder(inputs);
        }
        Self::new(inputs, columns::columns(self.targets(), cases.start, cases.len()))
    }

    /// d_in, without the constant.
    pub fn input_dim(&self) -> usize {
        self.input_dim
    }

    /// d_out.
    pub fn target_dim(&self) -> usize {
        self.target_dim
    }

    /// Homogeneous inputs, (d_in + 1) x cases; the last row is 1.
    pub fn inputs(&self) -> MatRef<'_, T> {
        view(&self.inputs, self.input_dim + 1, self.cases)
    }

    /// Targets, d_out x cases.
    pub fn targets(&self) -> MatRef<'_, T> {
        if self.shared {
            return columns::top(self.inputs(), self.input_dim, 0, self.cases);
        }
        view(&self.targets, self.target_dim, self.cases)
    }
}

/// A contiguous view; the caller knows that it fits.
pub(super) fn view<T: Scalar>(data: &[T], nrows: usize, ncols: usize) -> MatRef<'_, T> {
    match MatRef::from_slice(data, nrows, ncols, nrows.max(1)) {
        Ok(view) => view,
        Err(_) => unreachable!("the buffer was sized for this view"),
    }
}
