//! The Frobenius norm from products: Hutchinson's estimator of tr AᵀA.
//!
//! ```text
//! ‖A‖_F² = E ‖A v‖² ≈ 1/m Σ ‖A v_i‖²,    Var = 2/m (‖A²‖_F² - Σ (A²)_ii²)
//! value = √mean,    standard error = (standard error of the mean) / (2 value)
//! ```
//! The square of the value is unbiased; the value itself is low by about (standard error)² / (2 value).
//!
//! Cost        m products in blocks, 2nm flops more; scratch: two n x block matrices.
//! Laws        tests/estimators.rs.
//! Reference   M. F. Hutchinson, Commun. Stat. Simul. Comput. 19 (1990) 433-450, doi 10.1080/03610919008812866.

use super::{Budget, Estimate, Sample, dot, for_each_probe};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::SelfAdjoint;
use crate::scalar::Scalar;

/// ‖A‖_F from `budget.products` Rademacher probes (at least 2).
///
/// ```text
/// (1/m Σ ‖A v_i‖²)^(1/2)
/// ```
///
/// ```
/// use pullback::krylov::{Budget, frobenius_norm_estimate};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let a = SymmetricDense::new(Mat::from_diagonal(&[3.0, 4.0]))?;
/// assert_eq!(frobenius_norm_estimate(&Ctx::<f64>::default(), &a, Budget::new(4, 1))?.value, 5.0);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the budget,
/// [`Error::NotFinite`](crate::Error::NotFinite), those of the operator.
pub fn frobenius_norm_estimate<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    budget: Budget,
) -> Result<Estimate> {
    budget.check(2)?;
    let mut sample = Sample::default();
    for_each_probe(ctx, a, budget, |_, av| sample.push(dot(av, av)))?;
    let squared = sample.estimate(budget.products)?;
    let value = squared.value.sqrt();
    // a mean of zero has only zero samples
    let standard_error = if value > 0.0 { squared.standard_error / (2.0 * value) } else { 0.0 };
    Ok(Estimate { value, standard_error, ..squared })
}
