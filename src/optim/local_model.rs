//! h to second order around θ, on one batch: what Newton's method and its kin minimize.
//!
//! ```text
//! M(δ) = ∇hᵀδ + ½ δᵀ C δ,          δ(λ) = -(C + λ D)⁻¹ ∇h          D = I, or a metric of the source's
//! ```
//! A [`ModelSource`] says which C (Hessian, Gauss-Newton, Fisher, Kronecker-factored, ...) and by which solve (dense, kernel,
//! conjugate gradient, Kronecker): every damped second-order method is one assembly over it.

use super::{Objective, Passes};
use crate::backend::Ctx;
use crate::curvature::{Damping, SolveReport};
use crate::error::Result;
use crate::scalar::Scalar;

/// h to second order around a θ.
pub trait LocalModel<T: Scalar> {
    /// h(θ), L2 included; perhaps not finite.
    fn loss(&self) -> T;

    /// ∇h(θ), L2 included.
    fn gradient(&self) -> &[T];

    /// x ← (C + λD)⁻¹ b. Several λ may be asked for, one after the other: what does not depend on λ is done once.
    ///
    /// # Errors
    /// Those of the factorizations: [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) where C + λD is
    /// not positive definite.
    fn solve(&mut self, ctx: &Ctx<T>, lambda: Damping<T>, b: &[T], x: &mut [T]) -> Result<SolveReport>;

    /// vᵀ C v without damping, L2 included.
    ///
    /// # Errors
    /// Those of the product.
    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64>;

    /// vᵀ D v.
    fn metric_form(&self, v: &[T]) -> f64;

    /// Passes so far.
    fn passes(&self) -> Passes;
}

/// Makes the local model of an objective.
pub trait ModelSource<T: Scalar, O: Objective<T> + ?Sized> {
    /// The model at θ on the batch; loss and gradient are taken here.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape); those of the objective and of the curvature.
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>>;
}
