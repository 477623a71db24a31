//! Settings of MINRES, why it stopped, and what it found.
//!
//! Laws        tests/minres.rs.
//! Reference   C. C. Paige, M. A. Saunders, SIAM J. Numer. Anal. 12 (1975) 617-629, doi 10.1137/0712047.

use super::CgStart;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Settings of [`minres`](super::minres). With Ā = A + σI, r = b - Ā x and the norm ‖r‖ = √(rᵀM⁻¹r) of the
/// preconditioner (the Euclidean one without), it stops when
///
/// ```text
/// ‖r‖        <= relative_tolerance ‖b‖                    x solves the system
/// ‖Ā M⁻¹ r‖  <= normal_tolerance ‖Ā‖ ‖r‖                  x is a least-squares solution of a system that has none
/// ```
/// ‖Ā‖ being the largest ‖Ā M⁻¹v‖ met, a lower bound. A system whose condition lies below 1 / `normal_tolerance` never meets
/// the second rule unless it meets the first.
///
/// ```
/// use pullback::krylov::MinresOptions;
/// let options = MinresOptions::<f64> { shift: -0.5, max_iterations: 50, ..MinresOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MinresOptions<T> {
    /// σ; finite, of any sign.
    pub shift: T,
    /// Tolerance on ‖r‖; finite, not negative.
    pub relative_tolerance: T,
    /// Tolerance on ‖Ā M⁻¹r‖; finite, not negative.
    pub normal_tolerance: T,
    /// Most iterations.
    pub max_iterations: usize,
    /// Where the iteration starts.
    pub start: CgStart<T>,
}

/// From zero, σ = 0, √ε for the residual, ε^¾ for the least-squares residual, 1000 iterations.
impl<T: Scalar> Default for MinresOptions<T> {
    fn default() -> Self {
        Self {
            shift: T::ZERO,
            relative_tolerance: T::EPS.sqrt(),
            normal_tolerance: T::EPS.sqrt() * T::EPS.sqrt().sqrt(),
            max_iterations: 1000,
            start: CgStart::Zero,
        }
    }
}

impl<T: Scalar> MinresOptions<T> {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        if let CgStart::Decayed(decay) = self.start
            && !decay.is_finite()
        {
            return Err(Error::invalid("start", format!("the decay {decay} must be finite")));
        }
        if !self.shift.is_finite() {
            return Err(Error::invalid("shift", format!("{} must be finite", self.shift)));
        }
        for (name, value) in
            [("relative_tolerance", self.relative_tolerance), ("normal_tolerance", self.normal_tolerance)]
        {
            if !(value.is_finite() && value >= T::ZERO) {
                return Err(Error::invalid(name, format!("{value} must be finite and not negative")));
            }
        }
        Ok(())
    }
}

/// Why MINRES stopped, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinresStop {
    /// ‖r‖ met the tolerance.
    Converged,
    /// ‖Ā M⁻¹r‖ met the tolerance and ‖r‖ did not: Ā is singular and x a least-squares solution.
    LeastSquares,
    /// The iteration budget is spent.
    IterationLimit,
    /// rᵀM⁻¹r <= 0 for a non-zero r: the preconditioner is not positive definite.
    PreconditionerNotPositive,
    /// A NaN or an infinity appeared; x is the last finite iterate.
    Breakdown,
}

/// How MINRES went. Norms marked M⁻¹ are those of the preconditioner, relative to that of b.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinresReport {
    /// Why it stopped.
    pub stop: MinresStop,
    /// Iterations: how often x moved.
    pub iterations: usize,
    /// Products with A, the one for the true residual included.
    pub products: usize,
    /// ‖b - Ā x‖ / ‖b‖ (Euclidean) of the x returned, from a product with that x; 0 for b = 0, infinite where it is not
    /// finite.
    pub relative_residual: f64,
    /// The recurrence's estimate of ‖b - Ā x‖ / ‖b‖ in the norm M⁻¹: it never rises above that of the start.
    pub residual_estimate: f64,
    /// The recurrence's estimate of ‖Ā M⁻¹r‖ / (‖Ā‖ ‖r‖) in the norm M⁻¹, of the iterate before the last step that was
    /// taken or refused.
    pub normal_estimate: f64,
    /// The largest ‖Ā M⁻¹v‖ over unit vectors v that were met, a lower bound of the norm of the preconditioned matrix.
    pub operator_norm: f64,
    /// Estimate of the condition of the preconditioned matrix, from below.
    pub condition: f64,
}

impl MinresReport {
    /// At x = 0, before anything was done.
    pub(super) const AT_ZERO: Self = Self {
        stop: MinresStop::Converged,
        iterations: 0,
        products: 0,
        relative_residual: 1.0,
        residual_estimate: 1.0,
        normal_estimate: 1.0,
        operator_norm: 0.0,
        condition: 1.0,
    };
}
