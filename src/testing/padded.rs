//! [`Padded`]: a matrix inside a larger leading dimension, with sentinels where nothing may be read or written.

use crate::error::Result;
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// NaN (would spread when read) and a number (would change when written) in turn.
fn sentinel<T: Scalar>(index: usize) -> T {
    if index.is_multiple_of(2) { T::nan() } else { T::of(-777.0) }
}

fn is_sentinel<T: Scalar>(index: usize, x: T) -> bool {
    if index.is_multiple_of(2) { x.is_nan() } else { x == T::of(-777.0) }
}

/// A column-major matrix with `padding` rows of sentinels below.
///
/// ```
/// use pullback::{Mat, testing::Padded};
/// let mut padded = Padded::new(&Mat::<f64>::identity(2), 3);
/// assert_eq!(padded.view().ld(), 5);
/// padded.view_mut().fill(7.0);
/// assert_eq!(padded.spoiled(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct Padded<T> {
    data: Vec<T>,
    nrows: usize,
    ncols: usize,
    ld: usize,
    lower: bool,
}

impl<T: Scalar> Padded<T> {
    /// All of the matrix.
    pub fn new(a: &Mat<T>, padding: usize) -> Self {
        let (nrows, ncols) = a.shape();
        let ld = (nrows + padding).max(1);
        let mut data: Vec<T> = (0..ld * ncols).map(sentinel).collect();
        for j in 0..ncols {
            data[j * ld..][..nrows].copy_from_slice(a.as_ref().col(j));
        }
        Self { data, nrows, ncols, ld, lower: false }
    }

    /// Sentinels in the strict upper triangle too.
    pub fn lower(a: &Mat<T>, padding: usize) -> Self {
        let mut padded = Self { lower: true, ..Self::new(a, padding) };
        for j in 0..padded.ncols {
            for i in 0..j.min(padded.nrows) {
                padded.data[i + j * padded.ld] = sentinel(i + j * padded.ld);
            }
        }
        padded
    }

    fn elements(&self) -> usize {
        if self.nrows == 0 || self.ncols == 0 { 0 } else { (self.ncols - 1) * self.ld + self.nrows }
    }

    /// The matrix, at its large leading dimension.
    pub fn view(&self) -> MatRef<'_, T> {
        view(MatRef::from_slice(&self.data[..self.elements()], self.nrows, self.ncols, self.ld))
    }

    /// The matrix, mutably.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        let len = self.elements();
        view(MatMut::from_slice(&mut self.data[..len], self.nrows, self.ncols, self.ld))
    }

    /// How many sentinels were overwritten below the matrix.
    pub fn spoiled(&self) -> usize {
        let padding = self.data.iter().enumerate().filter(|(index, _)| index % self.ld >= self.nrows);
        padding.filter(|&(index, &x)| !is_sentinel(index, x)).count()
    }

    /// How many sentinels were overwritten in the strict upper triangle; 0 where [`Padded::new`] put none.
    pub fn spoiled_upper(&self) -> usize {
        let above = (0..self.ncols).flat_map(|j| (0..j.min(self.nrows)).map(move |i| (i, j)));
        let changed = |&(i, j): &(usize, usize)| !is_sentinel(i + j * self.ld, self.data[i + j * self.ld]);
        if self.lower { above.filter(changed).count() } else { 0 }
    }
}

/// A view that fits by construction.
fn view<V>(view: Result<V>) -> V {
    match view {
        Ok(view) => view,
        Err(error) => unreachable!("the slice has the length of the view: {error}"),
    }
}
