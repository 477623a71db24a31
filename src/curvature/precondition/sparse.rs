//! [`SparseLower`]: a symmetric matrix by the lower triangle of its sparsity pattern, as an operator.
//!
//! ```text
//! column j holds the rows i >= j of its pattern, ascending, the diagonal always first
//! ```
//! Cost        4 flops a stored entry and column for a product; entries, row numbers and n + 1 offsets.
//! Laws        tests/built_preconditioners.rs (agrees with the dense matrix), tests/resumption.rs (saved and loaded).

use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len};
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A symmetric n x n matrix, compressed by columns, lower triangle stored.
///
/// ```
/// use pullback::curvature::precondition::SparseLower;
/// use pullback::{Ctx, LinearOperator};
/// let c = SparseLower::from_entries(3, [(0, 0, 2.0), (2, 0, 1.0), (2, 2, 5.0)])?;
/// assert_eq!(c.stored(), 4); // the diagonal is always stored
/// assert_eq!(c.to_dense(&Ctx::default())?[(0, 2)], 1.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", into = "Vec<(usize, usize, T)>", try_from = "Vec<(usize, usize, T)>")
)]
pub struct SparseLower<T> {
    pub(super) starts: Vec<usize>,
    pub(super) rows: Vec<usize>,
    pub(super) values: Vec<T>,
}

impl<T: Scalar> SparseLower<T> {
    /// From entries (i, j, c_ij) with i >= j in any order; entries at one place are added.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a place outside the lower triangle, [`Error::NotFinite`].
    pub fn from_entries(n: usize, entries: impl IntoIterator<Item = (usize, usize, T)>) -> Result<Self> {
        let mut all: Vec<(usize, usize, T)> = (0..n).map(|i| (i, i, T::ZERO)).collect();
        for (i, j, value) in entries {
            if i >= n || j > i {
                return Err(Error::invalid("entries", format!("({i}, {j}) is not in the lower triangle of order {n}")));
            }
            all.push((i, j, value));
        }
        all.sort_by_key(|&(i, j, _)| (j, i));
        let (mut rows, mut values) = (Vec::with_capacity(all.len()), Vec::<T>::with_capacity(all.len()));
        let (mut starts, mut last) = (vec![0; n + 1], None);
        for (i, j, value) in all {
            match values.last_mut() {
                Some(sum) if last == Some((i, j)) => *sum += value,
                _ => {
                    rows.push(i);
                    values.push(value);
                    starts[j + 1] = rows.len();
                    last = Some((i, j));
                }
            }
        }
        check::finite_slice("SparseLower", &values)?;
        Ok(Self { starts, rows, values })
    }

    /// The entries of a dense symmetric matrix (lower triangle read) with |c_ij| > threshold √(c_ii c_jj), and its
    /// diagonal. A threshold of 0 keeps all that are not zero.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`], [`Error::InvalidParameter`] for a threshold that is negative or NaN.
    pub fn from_dense(c: MatRef<'_, T>, threshold: T) -> Result<Self> {
        let n = check::square("SparseLower", c)?;
        check::finite_lower("SparseLower", c)?;
        if !(threshold >= T::ZERO) {
            return Err(Error::invalid("threshold", format!("{threshold} must not be negative")));
        }
        let root = |i: usize| c.at(i, i).abs().sqrt();
        let kept = |i: usize, j: usize| c.at(i, j).abs() > threshold * root(i) * root(j);
        let places = (0..n).flat_map(|j| (j..n).map(move |i| (i, j))).filter(|&(i, j)| i == j || kept(i, j));
        Self::from_entries(n, places.map(|(i, j)| (i, j, c.at(i, j))))
    }

    /// Stored entries, the diagonal included.
    pub fn stored(&self) -> usize {
        self.values.len()
    }

    /// Column j: its rows and entries, the diagonal first; panics outside.
    pub fn column(&self, j: usize) -> (&[usize], &[T]) {
        let range = self.starts[j]..self.starts[j + 1];
        (&self.rows[range.clone()], &self.values[range])
    }

    fn order(&self) -> usize {
        self.starts.len() - 1
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> From<SparseLower<T>> for Vec<(usize, usize, T)> {
    /// The stored entries (i, j, c_ij), column by column.
    fn from(c: SparseLower<T>) -> Self {
        let column = |j: usize| {
            let (rows, values) = c.column(j);
            rows.iter().zip(values).map(move |(&i, &value)| (i, j, value)).collect::<Vec<_>>()
        };
        (0..c.order()).flat_map(column).collect()
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Vec<(usize, usize, T)>> for SparseLower<T> {
    type Error = Error;

    /// The last entry is the last diagonal one, which says what the order is.
    fn try_from(entries: Vec<(usize, usize, T)>) -> Result<Self> {
        let n = entries.last().map_or(0, |&(i, _, _)| i.saturating_add(1));
        if n > entries.len() {
            return Err(Error::invalid("entries", format!("{} entries cannot hold {n} diagonal ones", entries.len())));
        }
        Self::from_entries(n, entries)
    }
}

impl<T: Scalar> LinearOperator<T> for SparseLower<T> {
    fn shape(&self) -> (usize, usize) {
        (self.order(), self.order())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.fill(T::ZERO);
        for (x, y) in x.cols().zip(y.cols_mut()) {
            for j in 0..self.order() {
                let (rows, values) = self.column(j);
                y[j] += values[0] * x[j];
                for (&i, &value) in rows.iter().zip(values).skip(1) {
                    y[i] += value * x[j];
                    y[j] += value * x[i];
                }
            }
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for SparseLower<T> {}

impl<T: Scalar> HasDiagonal<T> for SparseLower<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.order(), out.len())?;
        out.iter_mut().enumerate().for_each(|(j, d)| *d = self.column(j).1[0]);
        Ok(())
    }
}
