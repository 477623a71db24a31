//! Matrices to test with, each determined by its arguments: the same seed gives the same matrix on every machine.
//!
//! Random symmetric matrices have a prescribed spectrum: A = H₃H₂H₁ diag(w) H₁H₂H₃ with random Householder reflections,
//! formed in `f64` and rounded once (the construction of LAPACK's test generators).

mod named;

pub use named::{Named, Sign, named};

use crate::mat::Mat;
use crate::scalar::Scalar;

/// A stream of numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in [-1, 1).
    pub fn next_f64(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 53 random bits as a number in [0, 2)
        ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-52) - 1.0
    }
}

/// An m x n matrix with entries uniform in [-1, 1).
///
/// ```
/// use pullback::testing::gallery;
/// assert_eq!(gallery::uniform::<f32>(3, 2, 7), gallery::uniform(3, 2, 7));
/// ```
pub fn uniform<T: Scalar>(m: usize, n: usize, seed: u64) -> Mat<T> {
    let mut random = Random::new(seed);
    Mat::from_fn(m, n, |_, _| T::of(random.next_f64()))
}

/// A dense symmetric matrix with the given eigenvalues (to the rounding of `T`).
///
/// ```
/// use pullback::testing::gallery;
/// let a = gallery::with_spectrum::<f64>(&[1.0, 2.0, 3.0], 1);
/// let trace: f64 = (0..3).map(|i| a[(i, i)]).sum();
/// assert!((trace - 6.0).abs() < 1e-14);
/// ```
pub fn with_spectrum<T: Scalar>(w: &[f64], seed: u64) -> Mat<T> {
    const REFLECTIONS: usize = 3;
    let n = w.len();
    let mut random = Random::new(seed);
    let mut a = Mat::<f64>::from_diagonal(w);
    for _ in 0..REFLECTIONS {
        let v: Vec<f64> = (0..n).map(|_| random.next_f64()).collect();
        let norm2: f64 = v.iter().map(|v| v * v).sum();
        if norm2 == 0.0 {
            continue;
        }
        reflect(&mut a, &v, 2.0 / norm2, 0);
    }
    a.as_mut().mirror_lower();
    a.cast()
}

/// A ← H A H for H = I - τ v vᵀ, τ = 2 / vᵀv: rows and columns `first`.. of a symmetric A whose other part H leaves alone
/// (v is zero there, and so is A v). Both triangles are written.  6n² flops.
pub(super) fn reflect(a: &mut Mat<f64>, v: &[f64], tau: f64, first: usize) {
    // H A H = A - v zᵀ - z vᵀ,  z = τ A v - (τ² vᵀA v / 2) v
    let n = v.len();
    let mut z = vec![0.0; n];
    for j in (first..n).filter(|&j| v[j] != 0.0) {
        let column = &a.as_ref().col(j)[first..];
        z[first..].iter_mut().zip(column).for_each(|(z, a)| *z += tau * a * v[j]);
    }
    let half: f64 = 0.5 * tau * z.iter().zip(v).map(|(z, v)| z * v).sum::<f64>();
    z.iter_mut().zip(v).for_each(|(z, v)| *z -= half * v);
    for (j, column) in a.as_mut().cols_mut().enumerate().skip(first) {
        let (vj, zj) = (v[j], z[j]);
        column[first..]
            .iter_mut()
            .zip(v[first..].iter().zip(&z[first..]))
            .for_each(|(a, (v, z))| *a -= v * zj + z * vj);
    }
}

/// Symmetric positive definite with eigenvalues spread evenly on a logarithmic scale over [1/condition, 1].
pub fn spd<T: Scalar>(n: usize, condition: f64, seed: u64) -> Mat<T> {
    let step = |i: usize| if n > 1 { i as f64 / (n - 1) as f64 } else { 0.0 };
    let w: Vec<f64> = (0..n).map(|i| condition.powf(-step(i))).collect();
    with_spectrum(&w, seed)
}

/// Symmetric positive semidefinite of the given rank, its other eigenvalues 1.
pub fn rank_deficient<T: Scalar>(n: usize, rank: usize, seed: u64) -> Mat<T> {
    let w: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 } else { 0.0 }).collect();
    with_spectrum(&w, seed)
}

/// Symmetric with all eigenvalues within a few ε of 1, but one of them at ε.
pub fn clustered<T: Scalar>(n: usize, seed: u64) -> Mat<T> {
    let eps = T::EPS.f64();
    let w: Vec<f64> = (0..n).map(|i| if i == 0 { eps } else { 1.0 + (i % 4) as f64 * eps }).collect();
    with_spectrum(&w, seed)
}

/// Graded: D M D with a well-conditioned M and D falling from 1 to `smallest`.
pub fn graded<T: Scalar>(n: usize, smallest: f64, seed: u64) -> Mat<T> {
    let m = spd::<f64>(n, 10.0, seed);
    let d = |i: usize| if n > 1 { smallest.powf(i as f64 / (n - 1) as f64) } else { 1.0 };
    // the larger index first: both triangles round alike
    Mat::from_fn(n, n, |i, j| T::of(d(i.max(j)) * m[(i, j)] * d(i.min(j))))
}

/// Every entry times 2^e, exactly unless it over- or underflows.
pub fn scaled<T: Scalar>(a: &Mat<T>, e: i32) -> Mat<T> {
    a.map(|x| T::of(x.f64() * 2f64.powi(e)))
}
