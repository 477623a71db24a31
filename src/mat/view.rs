//! [`MatRef`] and [`MatMut`]: views over a slice with a leading dimension.

use crate::error::{Error, Result, check_shape};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// A read-only nrows x ncols view, column-major, ld >= max(1, nrows).
#[derive(Clone, Copy)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    nrows: usize,
    ncols: usize,
    ld: usize,
}

/// A mutable nrows x ncols view, column-major, ld >= max(1, nrows).
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    nrows: usize,
    ncols: usize,
    ld: usize,
}

/// Elements that an nrows x ncols view with leading dimension ld spans; `None` on overflow or a bad ld.
fn span(nrows: usize, ncols: usize, ld: usize) -> Option<usize> {
    if ld < nrows.max(1) {
        return None;
    }
    if nrows == 0 || ncols == 0 {
        return Some(0);
    }
    (ncols - 1).checked_mul(ld)?.checked_add(nrows)
}

/// Offset and length of a sub-view's slice, or the reason why there is none.
fn sub_span(
    (nrows, ncols, ld): (usize, usize, usize),
    (i, j, m, n): (usize, usize, usize, usize),
) -> Result<(usize, usize)> {
    let inside = |start: usize, len: usize, all: usize| start.checked_add(len).is_some_and(|end| end <= all);
    if !inside(i, m, nrows) || !inside(j, n, ncols) {
        return Err(Error::Shape {
            op: "submatrix",
            expected: (nrows, ncols),
            found: (i.saturating_add(m), j.saturating_add(n)),
        });
    }
    let len = span(m, n, ld).unwrap_or(0);
    Ok(if len == 0 { (0, 0) } else { (i + j * ld, len) })
}

impl<'a, T> MatRef<'a, T> {
    pub(super) fn contiguous(data: &'a [T], nrows: usize, ncols: usize) -> Self {
        debug_assert_eq!(data.len(), nrows * ncols);
        Self { data, nrows, ncols, ld: nrows.max(1) }
    }
}

impl<'a, T: Scalar> MatRef<'a, T> {
    /// Views a column-major slice, columns `ld` elements apart.
    ///
    /// # Errors
    /// [`Error::Shape`] when `ld < max(1, nrows)` or the slice is too short.
    pub fn from_slice(data: &'a [T], nrows: usize, ncols: usize, ld: usize) -> Result<Self> {
        match span(nrows, ncols, ld) {
            Some(len) if len <= data.len() => Ok(Self { data: &data[..len], nrows, ncols, ld }),
            _ => Err(Error::Shape { op: "MatRef::from_slice", expected: (nrows, ncols), found: (data.len(), ld) }),
        }
    }

    /// Views a slice as one column.
    pub fn from_column(data: &'a [T]) -> Self {
        Self { data, nrows: data.len(), ncols: 1, ld: data.len().max(1) }
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

    /// Leading dimension: distance between the starts of two neighbouring columns.
    pub fn ld(&self) -> usize {
        self.ld
    }

    /// The spanned slice, padding rows between columns included.
    pub fn as_slice(&self) -> &'a [T] {
        self.data
    }

    /// All elements as one slice where no padding lies between the columns.
    pub fn contiguous_slice(&self) -> Option<&'a [T]> {
        (self.ld == self.nrows || self.ncols <= 1 || self.nrows == 0).then_some(self.data)
    }

    /// Element (i, j), if inside.
    pub fn get(&self, i: usize, j: usize) -> Option<T> {
        (i < self.nrows && j < self.ncols).then(|| self.data[i + j * self.ld])
    }

    /// Element (i, j); panics outside.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> T {
        assert!(i < self.nrows && j < self.ncols, "index ({i}, {j}) outside a {}x{} view", self.nrows, self.ncols);
        self.data[i + j * self.ld]
    }

    /// Column j; panics outside.
    #[inline]
    pub fn col(&self, j: usize) -> &'a [T] {
        assert!(j < self.ncols, "column {j} of a {}x{} view", self.nrows, self.ncols);
        if self.nrows == 0 { &[] } else { &self.data[j * self.ld..][..self.nrows] }
    }

    /// The columns in order.
    pub fn cols(self) -> impl ExactSizeIterator<Item = &'a [T]> {
        (0..self.ncols).map(move |j| self.col(j))
    }

    /// The m x n view that starts at (i, j).
    ///
    /// # Errors
    /// [`Error::Shape`] when it does not lie inside.
    pub fn submatrix(&self, i: usize, j: usize, m: usize, n: usize) -> Result<MatRef<'a, T>> {
        let (start, len) = sub_span((self.nrows, self.ncols, self.ld), (i, j, m, n))?;
        Ok(MatRef { data: &self.data[start..start + len], nrows: m, ncols: n, ld: self.ld })
    }

    /// An owned contiguous copy.
    pub fn to_owned(&self) -> Mat<T> {
        let mut data = Vec::with_capacity(self.nrows * self.ncols);
        self.cols().for_each(|column| data.extend_from_slice(column));
        Mat::from_parts(data, self.nrows, self.ncols)
    }

    /// Whether every element (padding aside) is finite.
    pub fn is_finite(&self) -> bool {
        self.cols().all(|c| c.iter().all(|x| x.is_finite()))
    }
}

impl<'a, T: Scalar> MatMut<'a, T> {
    /// Views a column-major slice mutably, columns `ld` elements apart.
    ///
    /// # Errors
    /// [`Error::Shape`] when `ld < max(1, nrows)` or the slice is too short.
    pub fn from_slice(data: &'a mut [T], nrows: usize, ncols: usize, ld: usize) -> Result<Self> {
        match span(nrows, ncols, ld) {
            Some(len) if len <= data.len() => Ok(Self { data: &mut data[..len], nrows, ncols, ld }),
            _ => Err(Error::Shape { op: "MatMut::from_slice", expected: (nrows, ncols), found: (data.len(), ld) }),
        }
    }

    /// Views a slice as one column.
    pub fn from_column(data: &'a mut [T]) -> Self {
        let n = data.len();
        Self { data, nrows: n, ncols: 1, ld: n.max(1) }
    }

    pub(super) fn contiguous(data: &'a mut [T], nrows: usize, ncols: usize) -> Self {
        debug_assert_eq!(data.len(), nrows * ncols);
        Self { data, nrows, ncols, ld: nrows.max(1) }
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

    /// Leading dimension: distance between the starts of two neighbouring columns.
    pub fn ld(&self) -> usize {
        self.ld
    }

    /// Borrows it read-only.
    pub fn rb(&self) -> MatRef<'_, T> {
        MatRef { data: self.data, nrows: self.nrows, ncols: self.ncols, ld: self.ld }
    }

    /// Borrows it mutably for a shorter time.
    pub fn rb_mut(&mut self) -> MatMut<'_, T> {
        MatMut { data: self.data, nrows: self.nrows, ncols: self.ncols, ld: self.ld }
    }

    /// The spanned slice, padding rows between columns included.
    pub fn as_slice(&self) -> &[T] {
        self.data
    }

    /// The spanned slice, padding rows between columns included, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.data
    }

    /// The spanned slice for the view's whole lifetime.
    pub fn into_slice(self) -> &'a mut [T] {
        self.data
    }

    /// Element (i, j); panics outside.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> T {
        self.rb().at(i, j)
    }

    /// Element (i, j), to write; panics outside.
    #[inline]
    pub fn at_mut(&mut self, i: usize, j: usize) -> &mut T {
        assert!(i < self.nrows && j < self.ncols, "index ({i}, {j}) outside a {}x{} view", self.nrows, self.ncols);
        &mut self.data[i + j * self.ld]
    }

    /// Column j; panics outside.
    #[inline]
    pub fn col(&self, j: usize) -> &[T] {
        self.rb().col(j)
    }

    /// Column j, to write; panics outside.
    #[inline]
    pub fn col_mut(&mut self, j: usize) -> &mut [T] {
        assert!(j < self.ncols, "column {j} of a {}x{} view", self.nrows, self.ncols);
        if self.nrows == 0 { &mut [] } else { &mut self.data[j * self.ld..][..self.nrows] }
    }

    /// The columns in order, to write.
    pub fn cols_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let (nrows, ncols) = (self.nrows, self.ncols);
        // chunks(ld) yields ceil(span / ld) = ncols chunks, the last one nrows long
        self.data.chunks_mut(self.ld).take(ncols).map(move |c| &mut c[..nrows])
    }

    /// Splits into columns 0..j and j..; panics when j > ncols.
    pub fn split_at_col(self, j: usize) -> (MatMut<'a, T>, MatMut<'a, T>) {
        assert!(j <= self.ncols, "split at column {j} of a {}x{} view", self.nrows, self.ncols);
        let at = j.saturating_mul(self.ld).min(self.data.len()); // a view without rows may have any ld
        let (left, right) = self.data.split_at_mut(at);
        let left_len = span(self.nrows, j, self.ld).unwrap_or(0);
        let left = &mut left[..left_len];
        (
            MatMut { data: left, nrows: self.nrows, ncols: j, ld: self.ld },
            MatMut { data: right, nrows: self.nrows, ncols: self.ncols - j, ld: self.ld },
        )
    }

    /// The m x n view that starts at (i, j).
    ///
    /// # Errors
    /// [`Error::Shape`] when it does not lie inside.
    pub fn submatrix(self, i: usize, j: usize, m: usize, n: usize) -> Result<MatMut<'a, T>> {
        let (start, len) = sub_span((self.nrows, self.ncols, self.ld), (i, j, m, n))?;
        Ok(MatMut { data: &mut self.data[start..start + len], nrows: m, ncols: n, ld: self.ld })
    }

    /// Sets every element; padding is untouched.
    pub fn fill(&mut self, value: T) {
        self.cols_mut().for_each(|c| c.fill(value));
    }

    /// Copies the elements of a view of the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ.
    pub fn copy_from(&mut self, other: MatRef<'_, T>) -> Result<()> {
        check_shape("copy_from", self.shape(), other.shape())?;
        for (mine, theirs) in self.cols_mut().zip(other.cols()) {
            mine.copy_from_slice(theirs);
        }
        Ok(())
    }

    /// Copies the lower triangle of a square view onto its upper one, tile by tile: read by columns into a buffer that
    /// stays in the first-level cache, written by columns out of it.
    pub fn mirror_lower(&mut self) {
        const TILE: usize = 16;
        let n = self.nrows.min(self.ncols);
        let mut tile = [[T::ZERO; TILE]; TILE];
        for j0 in (0..n).step_by(TILE) {
            let width = TILE.min(n - j0);
            for i0 in (j0..n).step_by(TILE) {
                let height = TILE.min(n - i0);
                for j in 0..width {
                    let column = &self.data[(j0 + j) * self.ld + i0..][..height];
                    column.iter().zip(&mut tile).for_each(|(&x, row)| row[j] = x);
                }
                for (i, row) in tile.iter().enumerate().take(height) {
                    // on the diagonal tile only what lies above the diagonal
                    let above = if i0 == j0 { i } else { width };
                    self.data[(i0 + i) * self.ld + j0..][..above].copy_from_slice(&row[..above]);
                }
            }
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for MatRef<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 8;
        writeln!(f, "{}x{} [", self.nrows, self.ncols)?;
        for i in 0..self.nrows.min(SHOWN) {
            write!(f, " ")?;
            for j in 0..self.ncols.min(SHOWN) {
                write!(f, " {:>12.4?}", self.data[i + j * self.ld])?;
            }
            writeln!(f, "{}", if self.ncols > SHOWN { " ..." } else { "" })?;
        }
        write!(f, "{}]", if self.nrows > SHOWN { "  ...\n" } else { "" })
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for MatMut<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        MatRef { data: &*self.data, nrows: self.nrows, ncols: self.ncols, ld: self.ld }.fmt(f)
    }
}
