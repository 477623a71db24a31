//! [`Mat`]: an owned, contiguous column-major matrix (ld = nrows).

use std::ops::{Index, IndexMut};

use super::{MatMut, MatRef};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// An owned nrows x ncols matrix, column-major and contiguous.
///
/// ```
/// use pullback::Mat;
/// let a = Mat::from_fn(2, 3, |i, j| (10 * i + j) as f64);
/// assert_eq!(a[(1, 2)], 12.0);
/// assert_eq!(a.as_ref().submatrix(0, 1, 2, 2)?.get(1, 0), Some(11.0));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Clone, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", try_from = "Stored<T>")
)]
pub struct Mat<T> {
    data: Vec<T>,
    nrows: usize,
    ncols: usize,
}

/// A matrix as it is read, before its shape is believed.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(bound = "T: Scalar")]
struct Stored<T> {
    data: Vec<T>,
    nrows: usize,
    ncols: usize,
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Stored<T>> for Mat<T> {
    type Error = Error;
    fn try_from(Stored { data, nrows, ncols }: Stored<T>) -> Result<Self> {
        Self::from_vec(data, nrows, ncols)
    }
}

impl<T: Scalar> Mat<T> {
    /// All zeros.
    pub fn zeros(nrows: usize, ncols: usize) -> Self {
        Self { data: vec![T::ZERO; nrows * ncols], nrows, ncols }
    }

    /// The n x n identity.
    pub fn identity(n: usize) -> Self {
        Self::from_fn(n, n, |i, j| if i == j { T::ONE } else { T::ZERO })
    }

    /// Element (i, j) is `f(i, j)`; columns are filled in order.
    pub fn from_fn(nrows: usize, ncols: usize, mut f: impl FnMut(usize, usize) -> T) -> Self {
        let mut data = Vec::with_capacity(nrows * ncols);
        for j in 0..ncols {
            data.extend((0..nrows).map(|i| f(i, j)));
        }
        Self { data, nrows, ncols }
    }

    /// Takes a column-major vector without a copy.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `data.len() == nrows * ncols`.
    pub fn from_vec(data: Vec<T>, nrows: usize, ncols: usize) -> Result<Self> {
        if nrows.checked_mul(ncols) != Some(data.len()) {
            return Err(Error::Shape { op: "Mat::from_vec", expected: (nrows, ncols), found: (data.len(), 1) });
        }
        Ok(Self { data, nrows, ncols })
    }

    pub(super) fn from_parts(data: Vec<T>, nrows: usize, ncols: usize) -> Self {
        debug_assert_eq!(data.len(), nrows * ncols);
        Self { data, nrows, ncols }
    }

    /// A diagonal matrix.
    pub fn from_diagonal(d: &[T]) -> Self {
        Self::from_fn(d.len(), d.len(), |i, j| if i == j { d[i] } else { T::ZERO })
    }

    /// Number of rows.
    pub fn nrows(&self) -> usize {
        self.nrows
    }

    /// Number of columns.
    pub fn ncols(&self) -> usize {
        self.ncols
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.nrows, self.ncols)
    }

    /// Borrows all of it.
    #[allow(clippy::should_implement_trait)] // a view with a lifetime, not AsRef
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef::contiguous(&self.data, self.nrows, self.ncols)
    }

    /// Borrows all of it mutably.
    #[allow(clippy::should_implement_trait)] // a view with a lifetime, not AsMut
    pub fn as_mut(&mut self) -> MatMut<'_, T> {
        MatMut::contiguous(&mut self.data, self.nrows, self.ncols)
    }

    /// The elements, column by column.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The elements, column by column, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements, column by column, without a copy.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// A transposed copy.
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.ncols, self.nrows, |i, j| self[(j, i)])
    }

    /// An elementwise copy.
    pub fn map(&self, mut f: impl FnMut(T) -> T) -> Self {
        Self { data: self.data.iter().map(|&x| f(x)).collect(), nrows: self.nrows, ncols: self.ncols }
    }

    /// The same values in another precision (rounded to nearest).
    pub fn cast<U: Scalar>(&self) -> Mat<U> {
        Mat { data: self.data.iter().map(|x| U::of(x.f64())).collect(), nrows: self.nrows, ncols: self.ncols }
    }
}

impl<T> Index<(usize, usize)> for Mat<T> {
    type Output = T;
    #[inline]
    fn index(&self, (i, j): (usize, usize)) -> &T {
        assert!(i < self.nrows && j < self.ncols, "index ({i}, {j}) outside a {}x{} matrix", self.nrows, self.ncols);
        &self.data[i + j * self.nrows]
    }
}

impl<T> IndexMut<(usize, usize)> for Mat<T> {
    #[inline]
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut T {
        assert!(i < self.nrows && j < self.ncols, "index ({i}, {j}) outside a {}x{} matrix", self.nrows, self.ncols);
        &mut self.data[i + j * self.nrows]
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Mat<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        MatRef::contiguous(&self.data, self.nrows, self.ncols).fmt(f)
    }
}
