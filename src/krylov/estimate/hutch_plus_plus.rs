//! Hutch++: the trace exactly on a sketched range, by Hutchinson on the rest.
//!
//! ```text
//! Q = orth(A Ω),  Ω Gaussian n x ⌊s/3⌋,     P = I - Q Qᵀ
//! tr A = tr(QᵀA Q) + tr(P A P) ≈ tr(QᵀA Q) + 1/m Σ (P v_i)ᵀA (P v_i),   v_i Rademacher
//! Var[ | Q] = 2/m (‖P A P‖_F² - Σ (P A P)_ii²)
//! ```
//! Unbiased, since Q does not depend on the v_i; relative error 1/s for positive semidefinite A, against s^-1/2 of
//! Hutchinson. Exact (to rounding) where rank A <= ⌊s/3⌋, and where s >= n, which is answered by n unit vectors.
//!
//! Cost        s products in blocks, 4nks + 8nk² flops with k = ⌊s/3⌋; 2n(s - k) numbers.
//! Deviations  Products that a rank-deficient sketch saves go to the probes.
//! Laws        tests/estimators.rs.
//! Reference   R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff, SOSA 2021, 142-155, doi 10.1137/1.9781611976496.16,
//!             arXiv:2010.09649.

use super::{Budget, Estimate, Probe, Sample, dot, exact_trace, products};
use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::ThinQr;
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;

/// tr A from `budget.products` products (at least 4, so that two probes are left).
///
/// ```text
/// tr(QᵀA Q) + 1/m Σ (P v_i)ᵀA (P v_i) ± s/√m
/// ```
///
/// ```
/// use pullback::krylov::{Budget, hutch_plus_plus};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ones = SymmetricDense::new(Mat::from_fn(50, 50, |_, _| 1.0))?; // rank 1
/// let trace = hutch_plus_plus(&Ctx::<f64>::default(), &ones, Budget::new(6, 1))?;
/// assert!((trace.value - 50.0).abs() < 1e-11);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the budget,
/// [`Error::NotFinite`](crate::Error::NotFinite), those of the operator.
pub fn hutch_plus_plus<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    budget: Budget,
) -> Result<Estimate> {
    budget.check(4)?;
    let n = a.dim();
    if budget.products >= n {
        return exact_trace(ctx, a, budget.block);
    }
    let sketch = budget.products / 3;
    let mut omega = Mat::zeros(n, sketch);
    Probe::Gaussian.fill(budget.seed, 0, omega.as_mut());
    let q = ThinQr::new(ctx, products(ctx, a, omega.as_ref(), budget.block)?.as_ref())?.into_q();
    let aq = products(ctx, a, q.as_ref(), budget.block)?;
    let on_range: f64 = q.as_ref().cols().zip(aq.as_ref().cols()).map(|(q, aq)| dot(q, aq)).sum();

    let m = budget.products - sketch - q.ncols();
    let mut rest = Mat::zeros(n, m);
    Probe::Rademacher.fill(budget.seed, sketch, rest.as_mut());
    let mut coefficients = ctx.scratch(q.ncols(), m);
    ctx.gemm(T::ONE, q.as_ref(), Op::Transpose, rest.as_ref(), Op::No, T::ZERO, coefficients.as_mut())?;
    ctx.gemm(-T::ONE, q.as_ref(), Op::No, coefficients.as_ref(), Op::No, T::ONE, rest.as_mut())?;
    let images = products(ctx, a, rest.as_ref(), budget.block)?;
    let sample = Sample::of(rest.as_ref().cols().zip(images.as_ref().cols()).map(|(v, av)| dot(v, av)));
    let residual = sample.estimate(budget.products)?;
    Ok(Estimate { value: on_range + residual.value, ..residual })
}
