//! ρ of the function-space proximity, and objectives that can measure it.
//!
//! Laws        tests/proximal.rs.
//! Reference   chapter section 2.4.

use crate::backend::Ctx;
use crate::error::Result;
use crate::optim::Objective;
use crate::scalar::Scalar;

/// ρ(f(x, w), f(x, w₀)) of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OutputDistance {
    /// ½ ‖z - z₀‖² of the network's outputs (logits, where there are some).
    Squared,
    /// KL(p₀ ‖ p) of the predictive distributions of the loss; ½ ‖z - z₀‖² for the squared error.
    #[default]
    KullbackLeibler,
}

/// An objective that measures how far its outputs are from those at another θ.
pub trait OutputProximity<T: Scalar>: Objective<T> {
    /// The outputs at some θ₀ on some batch, and what the distance from them needs.
    type Anchor;

    /// The anchor of E ρ(f(x, θ), f(x, θ₀)), the mean over the cases of the batch whatever the reduction of h.  1 pass.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape); [`Error::NotFinite`](crate::Error::NotFinite) for outputs that are not
    /// finite.
    fn anchor(&self, ctx: &Ctx<T>, theta: &[T], batch: &Self::Batch, distance: OutputDistance) -> Result<Self::Anchor>;

    /// What the anchor measures, at θ.  1 pass.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    fn distance(&self, ctx: &Ctx<T>, theta: &[T], anchor: &Self::Anchor) -> Result<T>;

    /// The same with its gradient in `grad`.  2 passes.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    fn distance_grad(&self, ctx: &Ctx<T>, theta: &[T], anchor: &Self::Anchor, grad: &mut [T]) -> Result<T>;

    /// h(θ) and its gradient, and the anchor of the *sum* h + weight · E ρ on the same batch where both share their passes
    /// (ρ being of the kind of the loss): its `distance` is that sum.  2 passes. By default there is none.
    ///
    /// # Errors
    /// As [`Objective::loss_grad`] and `anchor`.
    fn loss_grad_joint(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Self::Batch,
        _distance: OutputDistance,
        _weight: T,
        grad: &mut [T],
    ) -> Result<(T, Option<Self::Anchor>)> {
        Ok((self.loss_grad(ctx, theta, batch, grad)?, None))
    }
}
