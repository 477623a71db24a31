//! Dense `f64` algebra by the textbook loops: the oracle that the suites compare with.

use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;

/// A B in `f64`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) where the product is not defined.
pub fn times(a: &Mat<f64>, b: &Mat<f64>) -> Result<Mat<f64>> {
    let mut c = Mat::zeros(a.nrows(), b.ncols());
    Ctx::reference().gemm(1.0, a.as_ref(), Op::No, b.as_ref(), Op::No, 0.0, c.as_mut())?;
    Ok(c)
}

/// M + λI.
pub fn shifted(m: &Mat<f64>, lambda: f64) -> Mat<f64> {
    let mut out = m.clone();
    (0..m.nrows().min(m.ncols())).for_each(|i| out[(i, i)] += lambda);
    out
}

/// A ⊗ S, formed in `f64`.
///
/// ```
/// use pullback::{Mat, testing::dense};
/// let product = dense::kron(&Mat::from_diagonal(&[1.0, 2.0]), &Mat::from_diagonal(&[3.0f64]));
/// assert_eq!(product, Mat::from_diagonal(&[3.0, 6.0]));
/// ```
pub fn kron<T: Scalar>(a: &Mat<T>, s: &Mat<T>) -> Mat<f64> {
    let ((am, an), (sm, sn)) = (a.shape(), s.shape());
    Mat::from_fn(am * sm, an * sn, |i, j| a[(i / sm, j / sn)].f64() * s[(i % sm, j % sn)].f64())
}

/// The blocks on the diagonal of one matrix.
pub fn assembled(blocks: &[Mat<f64>]) -> Mat<f64> {
    let (rows, cols) = blocks.iter().fold((0, 0), |(m, n), b| (m + b.nrows(), n + b.ncols()));
    let (mut out, mut row, mut col) = (Mat::zeros(rows, cols), 0, 0);
    for b in blocks {
        for j in 0..b.ncols() {
            (0..b.nrows()).for_each(|i| out[(row + i, col + j)] = b[(i, j)]);
        }
        (row, col) = (row + b.nrows(), col + b.ncols());
    }
    out
}

/// Frobenius norm; NaN when an entry is.
pub fn norm<T: Scalar>(m: &Mat<T>) -> f64 {
    m.as_slice().iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

/// ‖got - want‖_F; NaN when the shapes differ.
pub fn distance<T: Scalar, U: Scalar>(got: &Mat<T>, want: &Mat<U>) -> f64 {
    if got.shape() != want.shape() {
        return f64::NAN;
    }
    let pairs = got.as_slice().iter().zip(want.as_slice());
    pairs.map(|(g, w)| (g.f64() - w.f64()).powi(2)).sum::<f64>().sqrt()
}

/// Largest row sum of magnitudes: an upper bound for the largest eigenvalue of a symmetric matrix.
pub fn row_sum_norm(m: &Mat<f64>) -> f64 {
    let sums = (0..m.nrows()).map(|i| (0..m.ncols()).map(|j| m[(i, j)].abs()).sum());
    sums.fold(0.0, f64::max)
}

/// How many entries differ in their bits (two NaN count as equal); all of them when the shapes differ.
pub fn differing<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> usize {
    if a.shape() != b.shape() {
        return a.as_slice().len().max(b.as_slice().len()).max(1);
    }
    a.as_slice().iter().zip(b.as_slice()).filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count()
}

/// xᵀy of two columns in `f64`.
pub(crate) fn dot<T: Scalar, U: Scalar>(x: &[T], y: &[U]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum()
}
