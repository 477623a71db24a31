//! Settings of LSMR and LSQR, why they stopped, and what they found.
//!
//! Laws        tests/lsmr.rs, tests/lsqr.rs.
//! Reference   D. C.-L. Fong, M. Saunders, SIAM J. Sci. Comput. 33 (2011) 2950-2971, section 6 (stopping rules),
//!             doi 10.1137/10079687X.

use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Settings of [`lsmr`](super::lsmr) and [`lsqr`](super::lsqr). With Ā = [A; √λ I] and r̄ = [b; 0] - Ā x, they stop when
///
/// ```text
/// ‖Āᵀr̄‖ <= relative_tolerance ‖Ā‖ ‖r̄‖                                 x solves a nearby least-squares problem
/// ‖Āᵀr̄‖ <= normal_tolerance ‖Aᵀb‖                                     as conjugate gradient on the normal equations
/// ‖r̄‖   <= residual_tolerance ‖b‖ + relative_tolerance ‖Ā‖ ‖x‖         x solves a nearby compatible system
/// cond Ā >= condition_limit
/// ```
/// ```
/// use pullback::krylov::LsmrOptions;
/// let options = LsmrOptions::<f64> { damping: 0.1, max_iterations: 50, ..LsmrOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LsmrOptions<T> {
    /// λ; finite, not negative.
    pub damping: T,
    /// Tolerance on Ā; finite, not negative.
    pub relative_tolerance: T,
    /// Tolerance on ‖Āᵀr̄‖ relative to its start; finite, not negative.
    pub normal_tolerance: T,
    /// Tolerance on b; finite, not negative.
    pub residual_tolerance: T,
    /// Largest estimate of the condition of Ā; more than 1, may be infinite.
    pub condition_limit: f64,
    /// Most iterations.
    pub max_iterations: usize,
}

/// λ = 0, √ε for the tolerances on Ā and b, 0 for the one on the normal equations, no limit of the condition, 1000
/// iterations.
impl<T: Scalar> Default for LsmrOptions<T> {
    fn default() -> Self {
        Self {
            damping: T::ZERO,
            relative_tolerance: T::EPS.sqrt(),
            normal_tolerance: T::ZERO,
            residual_tolerance: T::EPS.sqrt(),
            condition_limit: f64::INFINITY,
            max_iterations: 1000,
        }
    }
}

impl<T: Scalar> LsmrOptions<T> {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("damping", self.damping),
            ("relative_tolerance", self.relative_tolerance),
            ("normal_tolerance", self.normal_tolerance),
            ("residual_tolerance", self.residual_tolerance),
        ] {
            if !(value.is_finite() && value >= T::ZERO) {
                return Err(Error::invalid(name, format!("{value} must be finite and not negative")));
            }
        }
        if self.condition_limit > 1.0 {
            Ok(())
        } else {
            Err(Error::invalid("condition_limit", format!("{} must be more than 1", self.condition_limit)))
        }
    }
}

/// Why LSMR or LSQR stopped, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LsmrStop {
    /// ‖Āᵀr̄‖ met the tolerance: a least-squares solution.
    Converged,
    /// ‖r̄‖ met the tolerance: A x = b is compatible.
    Compatible,
    /// The condition of Ā passed its limit; x is a regularized solution.
    ConditionLimit,
    /// The iteration budget is spent.
    IterationLimit,
    /// A NaN or an infinity appeared; x is the last finite iterate.
    Breakdown,
}

/// How LSMR or LSQR went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LsmrReport {
    /// Why it stopped.
    pub stop: LsmrStop,
    /// Iterations: how often x moved.
    pub iterations: usize,
    /// ‖r̄‖ = √(‖b - A x‖² + λ‖x‖²) of the x returned, from a product with that x.
    pub residual_norm: f64,
    /// ‖Āᵀr̄‖ = ‖Aᵀ(b - A x) - λ x‖ of the x returned, from products with that x.
    pub normal_residual_norm: f64,
    /// ‖x‖.
    pub solution_norm: f64,
    /// Estimate of ‖Ā‖_F from the bidiagonal matrix: it grows with the iterations, from below until rounding makes the
    /// basis lose its orthogonality.
    pub operator_norm: f64,
    /// Estimate of the condition of Ā: from below by LSMR; by LSQR in Frobenius norms, ‖B‖_F ‖B⁻¹‖_F of the bidiagonal
    /// matrix with √λ below it.
    pub condition: f64,
}

/// What the rules look at: estimates of ‖r̄‖ and ‖Āᵀr̄‖, ‖x‖, ‖b‖, and the bound of ‖Āᵀr̄‖ from its start.
pub(super) struct Progress {
    pub(super) residual: f64,
    pub(super) normal_residual: f64,
    pub(super) solution: f64,
    pub(super) norm_b: f64,
    pub(super) threshold: f64,
}

impl LsmrReport {
    pub(super) fn at_start() -> Self {
        Self {
            stop: LsmrStop::Converged,
            iterations: 0,
            residual_norm: 0.0,
            normal_residual_norm: 0.0,
            solution_norm: 0.0,
            operator_norm: 0.0,
            condition: 1.0,
        }
    }

    /// The reason to stop, if there is one; the norm and the condition of Ā are those of the report.
    pub(super) fn judge<T: Scalar>(&self, now: Progress, opts: &LsmrOptions<T>) -> Option<LsmrStop> {
        let (atol, btol) = (opts.relative_tolerance.f64(), opts.residual_tolerance.f64());
        if now.normal_residual <= (atol * self.operator_norm * now.residual).max(now.threshold) {
            Some(LsmrStop::Converged)
        } else if now.residual <= btol * now.norm_b + atol * (self.operator_norm * now.solution) {
            Some(LsmrStop::Compatible)
        } else if self.condition >= opts.condition_limit {
            Some(LsmrStop::ConditionLimit)
        } else {
            None
        }
    }
}
