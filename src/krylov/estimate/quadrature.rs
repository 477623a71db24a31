//! Stochastic Lanczos quadrature: tr f(A), and log det(A + λI) by f(θ) = log(θ + λ).
//!
//! ```text
//! tr f(A) = E vᵀf(A)v ≈ n/m Σ_i Σ_j τ_ij² f(θ_ij),     v_i Rademacher, ‖v_i‖² = n
//! ```
//! θ_ij, τ_ij² are the Ritz values and weights of k Lanczos steps from v_i. Two errors add up: that of the sample,
//! which the standard error reports, Var[vᵀf(A)v] = 2 (‖f(A)‖_F² - Σ f(A)_ii²); and that of the Gauss quadrature, which
//! it does not, at most 4n M ρ^-2k / (ρ² - 1) for an f bounded by M in the Bernstein ellipse of parameter ρ around the
//! spectrum. For log(θ + λ), all of whose even derivatives are negative, the quadrature is never too low. It is exact
//! where k reaches the number of distinct eigenvalues; for A = cI the whole estimate is exact.
//!
//! Cost        `budget.products` products in blocks: m = ⌊products / k⌋ probes of k steps; 8nk² flops a probe for the
//!             reorthogonalization, about 9k³ for the Ritz values; n k block numbers.
//! Laws        tests/estimators.rs.
//! Reference   S. Ubaru, J. Chen, Y. Saad, SIAM J. Matrix Anal. Appl. 38 (2017) 1075-1099, doi 10.1137/16M1104974;
//!             G. H. Golub, G. Meurant, Matrices, Moments and Quadrature with Applications, 2010, chapter 6.

use super::{Budget, Estimate, Probe, Sample};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::krylov::{LanczosOptions, lanczos_block};
use crate::linop::SelfAdjoint;
use crate::scalar::Scalar;

/// tr f(A) by `steps` Lanczos steps from each of ⌊products / steps⌋ probes (at least 2).
///
/// ```text
/// n/m Σ_i Σ_j τ_ij² f(θ_ij) ± s/√m
/// ```
///
/// ```
/// use pullback::krylov::{Budget, spectral_sum};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let a = SymmetricDense::new(Mat::from_diagonal(&[4.0, 9.0, 9.0]))?;
/// let root = spectral_sum(&Ctx::<f64>::default(), &a, f64::sqrt, 2, Budget::new(8, 1))?;
/// assert!((root.value - 8.0).abs() < 1e-13); // diagonal A, two distinct eigenvalues, two steps
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for the budget or no steps, [`Error::NotFinite`] where f or a product is not finite,
/// those of the operator.
pub fn spectral_sum<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    f: impl Fn(f64) -> f64,
    steps: usize,
    budget: Budget,
) -> Result<Estimate> {
    sum_of(ctx, a, |theta, _| Ok(f(theta)), steps, budget)
}

/// log det(A + λI) of a positive semidefinite A, λ > 0, as [`spectral_sum`] of log(θ + λ).
///
/// ```text
/// n/m Σ_i Σ_j τ_ij² log(θ_ij + λ) ± s/√m
/// ```
/// A Ritz value that rounding left below -λ counts as 0.
///
/// ```
/// use pullback::krylov::{Budget, log_determinant_estimate};
/// use pullback::{Ctx, linop::Identity};
/// let estimate = log_determinant_estimate(&Ctx::<f64>::default(), &Identity::new(40), 1.0, 3, Budget::new(6, 1))?;
/// assert!((estimate.value - 40.0 * 2f64.ln()).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for λ, the budget or no steps; [`Error::NotPositiveDefinite`] with the index of a Ritz
/// value below -λ by more than rounding; [`Error::NotFinite`]; those of the operator.
pub fn log_determinant_estimate<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    lambda: f64,
    steps: usize,
    budget: Budget,
) -> Result<Estimate> {
    if !(lambda.is_finite() && lambda > 0.0) {
        return Err(Error::invalid("lambda", format!("{lambda} must be finite and positive")));
    }
    let rounding = 16.0 * a.dim() as f64 * T::EPS.f64();
    let logarithm = |theta: f64, (index, size): (usize, f64)| {
        if theta + lambda > 0.0 {
            Ok((theta + lambda).ln())
        } else if -theta <= rounding * size {
            Ok(lambda.ln())
        } else {
            Err(Error::NotPositiveDefinite { op: "log_determinant_estimate", pivot: index })
        }
    };
    sum_of(ctx, a, logarithm, steps, budget)
}

/// Both of the above: f sees a Ritz value, its index, and the largest magnitude among its kin.
fn sum_of<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    f: impl Fn(f64, (usize, f64)) -> Result<f64>,
    steps: usize,
    budget: Budget,
) -> Result<Estimate> {
    if steps == 0 {
        return Err(Error::invalid("steps", "at least one step is needed"));
    }
    budget.check(steps.saturating_mul(2))?;
    let (n, probes) = (a.dim(), budget.products / steps);
    let options = LanczosOptions::steps(steps);
    let (mut sample, mut products) = (Sample::default(), 0);
    for first in (0..probes).step_by(budget.block) {
        let width = budget.block.min(probes - first);
        let mut starts = ctx.scratch(n, width);
        Probe::Rademacher.fill(budget.seed, first, starts.as_mut());
        if n == 0 {
            (0..width).for_each(|_| sample.push(0.0)); // the empty sum
            continue;
        }
        for run in lanczos_block(ctx, a, starts.as_ref(), options)? {
            let ritz = run.ritz(ctx)?;
            let size = ritz.largest().abs().max(ritz.smallest().abs());
            let mut sum = 0.0;
            for (i, (&theta, &weight)) in ritz.values().iter().zip(ritz.weights()).enumerate() {
                sum += weight * f(theta, (i, size))?;
            }
            products += run.steps();
            sample.push(n as f64 * sum);
        }
    }
    sample.estimate(products)
}
