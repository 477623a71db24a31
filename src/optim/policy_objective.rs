//! Objectives whose model is a probability distribution that steps are to change by a bounded amount: policies.
//!
//! ```text
//! h(θ) = -L(θ)                                    L the surrogate of the expected return, π_old the policy that acted
//! KL(old, θ) = mean_n KL(π_old(·|s_n) ‖ π_θ(·|s_n)) = ½ δᵀF δ + O(‖δ‖³),    θ = θ_old + δ
//! ```
//! F is the Fisher matrix of the distributions, whatever the surrogate: the Hessian of the divergence at θ_old.
//!
//! Cost        stated with each method, in passes.
//! Laws        tests/policy_objective.rs.
//! Reference   S. Kakade, A natural policy gradient, NIPS 2001; J. Schulman et al., Trust region policy optimization, ICML
//!             2015, arXiv:1502.05477, sections 3 to 5.

use super::Objective;
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// An objective over distributions, with their divergence and their Fisher matrix.
pub trait PolicyObjective<T: Scalar>: Objective<T>
where
    Self::Batch: Sized,
{
    /// Parameters of the distribution of every case at θ, one a column.  1 pass.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn distributions(&self, ctx: &Ctx<T>, theta: &[T], batch: &Self::Batch) -> Result<Mat<T>>;

    /// h(θ), and the mean over cases of the divergence KL(old ‖ θ) from the distributions given.  1 pass.
    ///
    /// # Errors
    /// As [`Objective::loss`]; values that are not finite are values.
    fn loss_and_divergence(
        &self,
        ctx: &Ctx<T>,
        old: MatRef<'_, T>,
        theta: &[T],
        batch: &Self::Batch,
    ) -> Result<(T, f64)>;

    /// F of the distributions at θ, a mean over cases, plus η I of the L2 term.  1 pass now, which every product shares; a
    /// product is one J v and one Jᵀu.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn fisher<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Self::Batch,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>>;

    /// Number of cases of a batch.
    fn case_count(&self, batch: &Self::Batch) -> usize;

    /// The cases with these numbers, in this order, copied: a minibatch.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for no case, or one beyond the batch.
    fn select(&self, batch: &Self::Batch, cases: &[usize]) -> Result<Self::Batch>;
}
