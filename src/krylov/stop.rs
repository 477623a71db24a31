//! Why conjugate gradient stopped: values, not errors.

/// Why conjugate gradient stopped, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CgStop {
    /// The residual met the tolerance.
    Converged,
    /// The solution lies on the boundary of the trust region ([`steihaug`](super::steihaug), [`gltr`](super::gltr)).
    TrustRegionBoundary,
    /// The quadratic model no longer falls enough per step (Martens 2010).
    ModelStalled,
    /// The iteration budget is spent.
    IterationLimit,
    /// A direction p with pᵀAp <= 0 was met: A is not positive definite along p.
    NonPositiveCurvature,
    /// rᵀM⁻¹r <= 0 for a non-zero r: the preconditioner is not positive definite.
    PreconditionerNotPositive,
    /// A NaN or an infinity appeared.
    Breakdown,
}
