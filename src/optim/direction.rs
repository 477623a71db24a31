//! Directions of descent: what gradient descent, nonlinear conjugate gradients and quasi-Newton methods differ in.
//!
//! ```text
//! θ ← θ + α p,   p = p(∇h(θ), what earlier steps have shown),   s = α p,   y = ∇h(θ + s) - ∇h(θ)
//! ```
//! Cost        that of the implementor; [`Descent`](super::Descent) adds one gradient a step for y where batches change.
//! Laws        tests/descent_methods.rs.

use super::Objective;
use crate::backend::Ctx;
use crate::error::Result;
use crate::scalar::Scalar;

/// A step that was taken.
#[derive(Debug, Clone, Copy)]
pub struct AcceptedStep<'a, T> {
    /// α.
    pub alpha: f64,
    /// p.
    pub direction: &'a [T],
    /// ∇h(θ) before the step.
    pub gradient: &'a [T],
    /// s, the difference of the two θ.
    pub step: &'a [T],
    /// y, the difference of the two gradients on one batch; empty unless [`Direction::wants_change`].
    pub change: &'a [T],
}

/// What a direction tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DirectionReport {
    /// Whether it forgot what earlier steps have shown.
    pub restarted: bool,
    /// The share of the last direction in this one.
    pub momentum: Option<f64>,
}

/// Chooses where to go from θ.
pub trait Direction<T: Scalar, O: Objective<T> + ?Sized> {
    /// p from θ and ∇h(θ) into `out`. Nothing of the state may change that a repeated call would see.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a gradient of another length than before; those of products.
    fn direction(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        batch: &O::Batch,
        theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport>;

    /// Learns from a step that was taken.
    ///
    /// # Errors
    /// Those of products.
    fn accepted(&mut self, ctx: &Ctx<T>, step: AcceptedStep<'_, T>) -> Result<()>;

    /// Forgets earlier steps: the next direction depends on the gradient only.
    fn reset(&mut self);

    /// Whether `accepted` reads y.
    fn wants_change(&self) -> bool {
        true
    }

    /// Whether p = -B⁻¹∇h with a B that stands for the curvature: α = 1 is tried first, and h is predicted to change by
    /// (α - α²/2) pᵀ∇h.
    fn minimizes_model(&self) -> bool {
        false
    }
}
