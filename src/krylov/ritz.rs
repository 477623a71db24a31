//! [`Ritz`]: the eigenvalues of a small tridiagonal matrix, and what they say about the large one behind it.
//!
//! ```text
//! T_k = S diag(θ) Sᵀ,   residual bound |β_k s_{ki}|,   weight τ_i² = s_{1i}²,   vᵀf(A)v ≈ ‖v‖² Σ τ_i² f(θ_i)
//! ```
//! The last formula is the k-point Gauss quadrature for the spectral measure of v, exact for polynomials f of degree
//! 2k - 1.
//!
//! Cost        about 9k³ flops by a dense eigendecomposition; k² numbers.
//! Laws        tests/lanczos.rs.
//! Reference   G. H. Golub, J. H. Welsch, Math. Comp. 23 (1969) 221-230, doi 10.1090/S0025-5718-69-99647-1.

use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::SymEigen;
use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// Ritz values, ascending, with residual bounds and quadrature weights.
///
/// ```
/// use pullback::krylov::{LanczosOptions, lanczos};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 9.0]))?;
/// let ritz = lanczos(&ctx, &a, &[1.0, 1.0], LanczosOptions::steps(2))?.ritz(&ctx)?;
/// assert!((ritz.condition().unwrap() - 9.0).abs() < 1e-12);
/// assert!((2.0 * ritz.quadrature(f64::sqrt) - 4.0).abs() < 1e-12); // ‖v‖² Σ τ² √θ = √1 + √9
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ritz<T> {
    values: Vec<f64>,
    residual_bounds: Vec<f64>,
    weights: Vec<f64>,
    vectors: Mat<T>,
}

impl<T: Scalar> Ritz<T> {
    /// Of the tridiagonal matrix with that diagonal and off-diagonal; the last β couples it to the rest.
    pub(super) fn new(ctx: &Ctx<T>, alphas: &[f64], betas: &[f64]) -> Result<Self> {
        let k = alphas.len();
        let tridiagonal = Mat::from_fn(k, k, |i, j| match i.abs_diff(j) {
            0 => T::of(alphas[i]),
            1 => T::of(betas[i.min(j)]),
            _ => T::ZERO,
        });
        let eigen = SymEigen::new(ctx, tridiagonal)?;
        let s = eigen.vectors();
        let beta = betas.last().copied().unwrap_or(0.0);
        Ok(Self {
            values: eigen.values().iter().map(|w| w.f64()).collect(),
            residual_bounds: (0..k).map(|i| (beta * s.at(k - 1, i).f64()).abs()).collect(),
            weights: (0..k).map(|i| s.at(0, i).f64().powi(2)).collect(),
            vectors: s.to_owned(),
        })
    }

    /// θ_1 <= ... <= θ_k.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// |β_k s_{ki}|: an eigenvalue of A lies that close to θ_i, up to rounding.
    pub fn residual_bounds(&self) -> &[f64] {
        &self.residual_bounds
    }

    /// τ_i² = s_{1i}², which sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// S (k x k), one eigenvector of T_k a column.
    pub fn vectors(&self) -> MatRef<'_, T> {
        self.vectors.as_ref()
    }

    /// θ_1, at least the smallest eigenvalue of A (up to rounding).
    pub fn smallest(&self) -> f64 {
        self.values.first().copied().unwrap_or(f64::NAN)
    }

    /// θ_k, at most the largest eigenvalue of A (up to rounding).
    pub fn largest(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    /// θ_k / θ_1, at most the condition number of a positive definite A; `None` unless θ_1 > 0.
    pub fn condition(&self) -> Option<f64> {
        (self.smallest() > 0.0).then(|| self.largest() / self.smallest())
    }

    /// Σ τ_i² f(θ_i), the quadrature of f over the spectral measure of the starting vector.
    pub fn quadrature(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.values.iter().zip(&self.weights).map(|(&value, &weight)| weight * f(value)).sum()
    }
}
