//! Matrices of several kinds as proptest strategies, and the formed Kronecker product as the oracle.

use proptest::prelude::*;
use pullback::factor::SymEigen;
use pullback::testing::dense;
pub use pullback::testing::dense::{kron as formed, norm};
use pullback::{Ctx, Mat, Op, Scalar};

/// What a property returns.
pub type Checked = Result<(), TestCaseError>;

/// A B in f64 on the textbook loops.
pub fn times(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    dense::times(a, b).unwrap()
}

/// max |got - want|; NaN when the shapes differ.
pub fn distance<T: Scalar>(got: &Mat<T>, want: &Mat<f64>) -> f64 {
    if got.shape() != want.shape() {
        return f64::NAN;
    }
    let pairs = got.as_slice().iter().zip(want.as_slice());
    pairs.map(|(g, w)| (g.f64() - w).abs()).fold(0.0, worse)
}

/// The larger of two errors, NaN above all.
pub fn worse(m: f64, d: f64) -> f64 {
    if m.is_nan() || d <= m { m } else { d }
}

/// `Ok` when the distance is within the limit.
pub fn close<T: Scalar>(what: &str, got: &Mat<T>, want: &Mat<f64>, limit: f64) -> Checked {
    let error = distance(got, want);
    prop_assert!(error <= limit, "{what} in {}: error {error:e} above {limit:e}", T::NAME);
    Ok(())
}

/// vec X as a column.
pub fn vec<T: Scalar>(x: &Mat<T>) -> Mat<T> {
    let n = x.nrows() * x.ncols();
    Mat::from_vec(x.clone().into_vec(), n, 1).unwrap()
}

pub fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..6, 1 => Just(0usize), 1 => 6usize..14]
}

pub fn square_size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..5, 1 => Just(0usize), 1 => 5usize..9]
}

pub fn matrix(m: usize, n: usize) -> impl Strategy<Value = Mat<f64>> {
    prop::collection::vec(-1.0..1.0f64, m * n).prop_map(move |v| Mat::from_vec(v, m, n).unwrap())
}

pub fn rectangular() -> impl Strategy<Value = Mat<f64>> {
    (size(), size()).prop_flat_map(|(m, n)| matrix(m, n))
}

pub fn square() -> impl Strategy<Value = Mat<f64>> {
    square_size().prop_flat_map(|n| matrix(n, n))
}

pub fn symmetric() -> impl Strategy<Value = Mat<f64>> {
    square().prop_map(|m| Mat::from_fn(m.nrows(), m.ncols(), |i, j| m[(i.max(j), i.min(j))]))
}

/// M M ᵀ / n with M n x r, so of rank at most r: exactly symmetric, in the precision of T.
pub fn gram<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    let mut g = Mat::<f64>::zeros(m.nrows(), m.nrows());
    Ctx::reference().syrk(1.0 / m.nrows().max(1) as f64, m.as_ref(), Op::Transpose, 0.0, g.as_mut()).unwrap();
    g.cast()
}

/// A square matrix with condition below 3 by diagonal dominance, and a determinant of either sign.
pub fn well_conditioned<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    let n = m.nrows();
    let sign = |j: usize| if j == 0 && m[(0, 0)] < 0.0 { -1.0 } else { 1.0 };
    Mat::from_fn(n, n, |i, j| T::of(sign(j) * (m[(i, j)] / (2 * n) as f64 + if i == j { 1.0 } else { 0.0 })))
}

/// An orthogonal matrix: the eigenvectors of a symmetric one.
pub fn orthogonal<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    SymEigen::new(&Ctx::<T>::reference(), m.cast()).unwrap().vectors().to_owned()
}

/// A, B and two matrices that can follow them in a product.
pub fn chain() -> impl Strategy<Value = [Mat<f64>; 4]> {
    (size(), size(), size(), size(), 1usize..4, 1usize..4).prop_flat_map(|(ma, na, mb, nb, pc, pd)| {
        (matrix(ma, na), matrix(mb, nb), matrix(na, pc), matrix(nb, pd)).prop_map(|(a, b, c, d)| [a, b, c, d])
    })
}

/// A, X, B with A X B defined.
pub fn sandwich() -> impl Strategy<Value = [Mat<f64>; 3]> {
    (size(), size(), size(), size())
        .prop_flat_map(|(m, p, q, n)| (matrix(m, p), matrix(p, q), matrix(q, n)).prop_map(|(a, x, b)| [a, x, b]))
}
