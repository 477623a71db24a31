//! Hutchinson's estimators of the trace and of the diagonal, with Rademacher probes.
//!
//! ```text
//! tr A ≈ 1/m Σ v_iᵀA v_i,        Var = 2/m (‖A‖_F² - Σ a_ii²)
//! a_ii ≈ 1/m Σ (v ∘ A v)_i,      Var = 1/m Σ_{j≠i} a_ij²
//! ```
//! Both are unbiased, and exact (to rounding) for a diagonal A. The standard errors are s/√m with the unbiased sample
//! variance s² of the m probes, so their squares have the variance above as mean.
//!
//! Cost        m products in blocks, 2nm flops more; scratch: two n x block matrices.
//! Laws        tests/estimators.rs.
//! Reference   M. F. Hutchinson, Commun. Stat. Simul. Comput. 19 (1990) 433-450, doi 10.1080/03610919008812866;
//!             C. Bekas, E. Kokiopoulou, Y. Saad, Appl. Numer. Math. 57 (2007) 1214-1229,
//!             doi 10.1016/j.apnum.2007.01.003 (the diagonal).

use super::{Budget, Estimate, Sample, dot, for_each_probe};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::SelfAdjoint;
use crate::scalar::Scalar;

/// tr A from `budget.products` probes (at least 2).
///
/// ```text
/// 1/m Σ v_iᵀA v_i ± s/√m
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for the budget, [`Error::NotFinite`], those of the operator.
pub fn hutchinson<T: Scalar>(ctx: &Ctx<T>, a: &(impl SelfAdjoint<T> + ?Sized), budget: Budget) -> Result<Estimate> {
    budget.check(2)?;
    let mut sample = Sample::default();
    for_each_probe(ctx, a, budget, |v, av| sample.push(dot(v, av)))?;
    sample.estimate(budget.products)
}

/// The diagonal of a matrix-free operator, entry by entry with a standard error.
///
/// ```
/// use pullback::krylov::{Budget, diagonal_estimate};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 2.0]))?;
/// let diagonal = diagonal_estimate(&Ctx::<f64>::default(), &a, Budget::new(4, 1))?;
/// assert_eq!(diagonal.values, [1.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct DiagonalEstimate {
    /// The estimates.
    pub values: Vec<f64>,
    /// Estimated standard deviation of each over seeds.
    pub standard_errors: Vec<f64>,
    /// Probes, each of one product.
    pub products: usize,
}

/// diag A from `budget.products` probes (at least 2).
///
/// ```text
/// 1/m Σ v_i ∘ A v_i ± s/√m, entry by entry
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`] for the budget, [`Error::NotFinite`], those of the operator.
pub fn diagonal_estimate<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    budget: Budget,
) -> Result<DiagonalEstimate> {
    budget.check(2)?;
    let mut samples = vec![Sample::default(); a.dim()];
    for_each_probe(ctx, a, budget, |v, av| {
        for ((sample, v), av) in samples.iter_mut().zip(v).zip(av) {
            sample.push(v.f64() * av.f64());
        }
    })?;
    let values: Vec<f64> = samples.iter().map(|sample| sample.mean).collect();
    let standard_errors: Vec<f64> = samples.iter().map(Sample::standard_error).collect();
    if !values.iter().chain(&standard_errors).all(|x| x.is_finite()) {
        return Err(Error::not_finite("diagonal_estimate"));
    }
    Ok(DiagonalEstimate { values, standard_errors, products: budget.products })
}
