//! h to second order around θ, on one batch: what Newton's method and its kin minimize.
//!
//! ```text
//! M(δ) = ∇hᵀδ + ½ δᵀ C δ,          δ(λ) = -(C + λ D)⁻¹ ∇h          D = I, or a metric of the source's
//! ```
//! A [`ModelSource`] says which C (Hessian, Gauss-Newton, Fisher, Kronecker-factored, ...) and by which solve (dense, kernel,
//! conjugate gradient, Kronecker): every damped second-order method is one assembly over it,
//! [`DampedNewton`](super::DampedNewton).
//!
//! | source | C | solve | needs |
//! |---|---|---|---|
//! | [`DenseModel`](super::DenseModel) | H or G, formed by P products | Cholesky, LU or eigendecomposition, P x P | [`CurvatureObjective`](super::CurvatureObjective) |
//! | [`KernelModel`](super::KernelModel) | G = JᵀJ + ηI | N x N, P x P, CG or LSMR, by cost | [`ResidualObjective`](super::ResidualObjective) |
//! | [`QrModel`](super::QrModel) | G = JᵀJ + ηI, never formed | QR of J, then P x P for each λ | [`ResidualObjective`](super::ResidualObjective) |
//! | [`CgModel`](super::CgModel) | H or G, never formed | preconditioned conjugate gradient | [`CurvatureObjective`](super::CurvatureObjective) |
//! | [`KroneckerModel`](super::KroneckerModel) | A ⊗ S + ηI in each layer | eigenbases, or Cholesky factors | [`LayeredObjective`](super::LayeredObjective) |

use super::{Objective, Passes};
use crate::backend::Ctx;
use crate::curvature::SolveReport;
use crate::error::Result;
use crate::scalar::Scalar;

/// How δ(λ) was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStep<T> {
    /// The λ in force: above the one asked for where the source had to raise it.
    pub lambda: T,
    /// The solve.
    pub solve: SolveReport,
}

/// h to second order around a θ.
pub trait LocalModel<T: Scalar> {
    /// h(θ), L2 included; finite.
    fn loss(&self) -> T;

    /// ∇h(θ), L2 included; finite.
    fn gradient(&self) -> &[T];

    /// δ ← -(C + λD)⁻¹ ∇h for λ >= 0. Several λ may be asked for, one after the other: what does not depend on λ is done
    /// once.
    ///
    /// # Errors
    /// Those of the factorizations: [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) or
    /// [`Error::Singular`](crate::Error::Singular) where C + λD is, and the source knows no way out.
    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>>;

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
    /// [`Error::Shape`](crate::Error::Shape); [`Error::NotFinite`](crate::Error::NotFinite) where loss or gradient is not
    /// finite; those of the objective and of the curvature.
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>>;
}
