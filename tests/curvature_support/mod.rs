//! Matrices with known spectra and norms, shared by the curvature tests.
#![allow(dead_code, unused_imports)] // each test file uses its own part

pub mod conformance;

use pullback::factor::SymEigen;
pub use pullback::testing::dense::{assembled, kron, norm, row_sum_norm, shifted};
use pullback::{Ctx, Mat, Op, Scalar};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// A B in f64 on the textbook loops.
pub fn times(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    pullback::testing::dense::times(a, b).unwrap()
}

/// Entries uniform in [-1, 1).
pub fn random<T: Scalar>(m: usize, n: usize, seed: u64) -> Mat<T> {
    let mut rng = Pcg64::seed_from_u64(seed);
    Mat::from_fn(m, n, |_, _| T::of(rng.random_range(-1.0..1.0)))
}

/// Q diag(w) Qᵀ with a random orthogonal Q, symmetric entry for entry.
pub fn with_spectrum<T: Scalar>(w: &[f64], seed: u64) -> Mat<T> {
    let n = w.len();
    let ctx = Ctx::<f64>::reference();
    let q = SymEigen::new(&ctx, random(n, n, seed)).unwrap();
    let q = q.vectors();
    let scaled = Mat::from_fn(n, n, |i, j| q.at(i, j) * w[j]);
    let mut c = Mat::zeros(n, n);
    ctx.gemm(1.0, scaled.as_ref(), Op::No, q, Op::Transpose, 0.0, c.as_mut()).unwrap();
    c.as_mut().mirror_lower();
    c.cast()
}

/// n values from 1/κ to 1, evenly spaced in the logarithm.
pub fn graded(n: usize, kappa: f64) -> Vec<f64> {
    (0..n).map(|i| kappa.powf(-(i as f64) / (n.max(2) - 1) as f64)).collect()
}

/// A positive semidefinite matrix of norm 1 and condition κ.
pub fn spd<T: Scalar>(n: usize, kappa: f64, seed: u64) -> Mat<T> {
    with_spectrum(&graded(n, kappa), seed)
}

/// G Gᵀ / n for a random n x rank G.
pub fn low_rank<T: Scalar>(n: usize, rank: usize, seed: u64) -> Mat<T> {
    let g = random::<f64>(n, rank, seed);
    let mut c = Mat::zeros(n, n);
    Ctx::reference().syrk(1.0 / n.max(1) as f64, g.as_ref(), Op::Transpose, 0.0, c.as_mut()).unwrap();
    c.cast()
}

/// ‖got - want‖_F; NaN when the shapes differ.
pub fn distance<T: Scalar>(got: &Mat<T>, want: &Mat<f64>) -> f64 {
    pullback::testing::dense::distance(got, want)
}

/// (smallest, largest) eigenvalue of a symmetric matrix; (1, 1) for the 0 x 0 one.
pub fn extremes(m: &Mat<f64>) -> (f64, f64) {
    let eigen = SymEigen::new(&Ctx::default(), m.clone()).unwrap();
    (eigen.values().first().copied().unwrap_or(1.0), eigen.values().last().copied().unwrap_or(1.0))
}
