//! Matrices with prescribed eigenvalues, and operators with prescribed faults.
#![allow(dead_code)] // each test file uses a part

use pullback::krylov::{CgOptions, CgReport, CgStop, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::tolerance;
use pullback::{
    Ctx, LinearOperator, Mat, MatMut, MatRef, Preconditioner, Result, Scalar, SelfAdjoint, factor::Cholesky,
};

/// SplitMix64: a fixed stream for each seed.
pub struct Stream(pub u64);

impl Stream {
    /// Uniform in [-1, 1).
    pub fn next(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

pub fn random(nrows: usize, ncols: usize, seed: u64) -> Mat<f64> {
    let mut stream = Stream(seed);
    Mat::from_fn(nrows, ncols, |_, _| stream.next())
}

/// A B in f64 on the textbook loops.
pub fn product(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    pullback::testing::dense::times(a, b).expect("shapes fit")
}

/// An orthogonal matrix: a product of three reflections.
pub fn orthogonal(n: usize, seed: u64) -> Mat<f64> {
    let mut stream = Stream(seed);
    let mut q = Mat::identity(n);
    for _ in 0..3 {
        let v: Vec<f64> = (0..n).map(|_| stream.next()).collect();
        let norm: f64 = v.iter().map(|v| v * v).sum();
        let reflection = Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / norm);
        q = product(&reflection, &q);
    }
    q
}

/// Q diag(eigenvalues) Qᵀ.
pub fn with_spectrum(eigenvalues: &[f64], seed: u64) -> Mat<f64> {
    let q = orthogonal(eigenvalues.len(), seed);
    product(&product(&q, &Mat::from_diagonal(eigenvalues)), &q.transposed())
}

/// n eigenvalues from 1 to kappa in geometric progression.
pub fn graded(n: usize, kappa: f64) -> Vec<f64> {
    (0..n).map(|i| kappa.powf(i as f64 / (n.max(2) - 1) as f64)).collect()
}

/// n eigenvalues of which `distinct` differ: 1, 2, ..., distinct.
pub fn clustered(n: usize, distinct: usize) -> Vec<f64> {
    (0..n).map(|i| (1 + i % distinct) as f64).collect()
}

pub fn operator<T: Scalar>(a: &Mat<f64>) -> SymmetricDense<T> {
    SymmetricDense::new(a.cast()).expect("square")
}

/// A⁻¹ B in f64, by a Cholesky factorization.
pub fn dense_solve(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let ctx = Ctx::reference();
    let mut x = b.clone();
    Cholesky::new(&ctx, a.clone()).expect("positive definite").solve_in_place(&ctx, x.as_mut()).expect("shapes fit");
    x
}

/// φ(x) = ½ xᵀA x - bᵀx of column j, in f64.
pub fn dense_model(a: &Mat<f64>, b: &Mat<f64>, x: &Mat<f64>, j: usize) -> f64 {
    let ax = product(a, x);
    (0..a.nrows()).map(|i| x[(i, j)] * (0.5 * ax[(i, j)] - b[(i, j)])).sum()
}

/// Passes any operator off as a preconditioner: the promise is the test's.
pub struct Trusted<A>(pub A);

impl<T: Scalar, A: LinearOperator<T>> LinearOperator<T> for Trusted<A> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}
impl<T: Scalar, A: LinearOperator<T>> SelfAdjoint<T> for Trusted<A> {}
impl<T: Scalar, A: LinearOperator<T>> Preconditioner<T> for Trusted<A> {}

/// The law of finite termination: in as many steps as there are distinct eigenvalues the true residual falls below a
/// backward-stable level; and no earlier, unless that level is so high that a residual polynomial of lower degree may
/// reach it.
pub fn terminates_in<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    distinct: usize,
    kappa: f64,
) -> Result<(), String> {
    let n = a.dim();
    let b: Mat<T> = random(n, 1, 77).cast();
    let mut x = Mat::zeros(n, 1);
    let limit = tolerance::<T>(n, kappa);
    let options = CgOptions { relative_tolerance: T::of(limit), max_iterations: distinct + 3, ..CgOptions::default() };
    let report: CgReport<T> = pcg(ctx, a, m_inv, b.as_ref(), x.as_mut(), &options).map_err(|e| e.to_string())?;
    let found = (report.stop(), report.iterations());
    let early = found.1 < distinct && limit <= f32::EPSILON.into();
    if found.0 != CgStop::Converged || found.1 > distinct || early {
        return Err(format!("{found:?} where {distinct} iterations were due, n = {n}, {}", T::NAME));
    }
    let residual = report.relative_residual();
    if residual <= 2.0 * limit { Ok(()) } else { Err(format!("true residual {residual:e} above {limit:e}")) }
}
