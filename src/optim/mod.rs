//! Optimizers: parts (objective, damping rule, quadratic model, averaging) and short assemblies of them.
//!
//! | optimizer | update | state |
//! |---|---|---|
//! | [`Sgd`] | gradient with heavy-ball or Nesterov momentum | one n-vector |
//! | [`Adam`] | diagonal preconditioner from squared gradients | two n-vectors |
//! | [`Kfac`] | K-FAC preconditioner, step and momentum from the exact quadratic model | one n-vector, factors |
//! | [`Newton`] | H⁻¹∇h, (H + λI)⁻¹∇h, or by the absolute values of H's eigenvalues | none |
//! | [`GaussNewton`] | (G + λD)⁻¹∇h, dense, by the kernel, by CG or by Kronecker blocks | none, or D |
//! | [`NaturalGradient`] | α (F + λI)⁻¹∇h with the exact Fisher matrix | none |
//! | [`LevenbergMarquardtMethod`] | damped Gauss-Newton, by the kernel or by QR of J, λ from the reduction ratio | λ, D |
//! | [`TrustRegionNewton`] | truncated Newton within a radius, negative curvature used | radius |
//! | [`Proximal`] | the proximal objective minimized, in weights and in outputs | none |
//! | [`ProximalModel`] | the same with its parts to first or second order | none |
//! | [`GradientDescent`] | gradient, with a fixed or a searched step | none |
//! | [`PreconditionedGradient`] | gradient times a fixed P = R Rᵀ | P |
//! | [`NonlinearCg`] | conjugate gradients by four formulas | two n-vectors |
//! | [`Bfgs`] | inverse Hessian from all steps | n² numbers |
//! | [`Lbfgs`] | inverse Hessian from the last m steps | 2m n-vectors |
//! | [`HessianFree`] | damped Gauss-Newton step by (preconditioned) conjugate gradient | one n-vector, and the preconditioner's |
//! | [`Spring`] | damped Gauss-Newton through the kernel J Jᵀ, around a decayed last direction | one n-vector |
//! | [`Trpo`] | natural gradient by CG, to a radius in KL divergence | none |
//! | [`Acktr`] | K-FAC's direction, clipped to such a radius, with momentum | one n-vector, factors |
//! | [`Ppo`] | epochs of minibatch steps on a clipped surrogate | that of the inner optimizer |

mod accumulated;
mod acktr;
mod adam;
mod advantage;
mod averaging;
mod bfgs;
mod cg_model;
#[cfg(feature = "serde")]
pub mod checkpoint;
pub mod costs;
mod curvature_clip;
mod curvature_objective;
mod damped_newton;
mod damping_metric;
mod damping_rule;
mod dense_model;
mod dense_system;
mod descent;
mod diagonal_source;
mod direction;
mod eigen_update;
mod explain;
mod gauss_newton;
mod gradient_descent;
mod growing_batch;
mod hessian_free;
mod kernel_model;
mod kfac;
mod kfac_blocks;
mod kfac_operator;
mod kfac_options;
mod kfac_phases;
mod kfac_plan;
mod kfac_state;
mod kronecker_model;
mod layer_block;
mod layer_structure;
mod lbfgs;
mod levenberg_marquardt;
mod levenberg_marquardt_method;
mod line;
pub mod line_search;
mod local_model;
mod natural_gradient;
mod newton;
mod noise_scale;
mod nonlinear_cg;
mod objective;
mod overhead_budget;
mod overhead_control;
mod phase_meter;
mod policy_objective;
mod ppo;
mod preconditioned_gradient;
mod preconditioner;
mod proximal;
mod qr_model;
mod quadratic_model;
mod quasi_newton;
mod refresh_schedule;
mod report;
mod residual;
mod scaled_jacobian;
mod schedule;
mod sgd;
mod spring;
mod spring_options;
mod tridiagonal;
mod trpo;
mod trust_region;
mod vectors;

pub use acktr::{Acktr, AcktrOptions, Divergence};
pub use adam::Adam;
pub use advantage::AdvantageEstimator;
pub use averaging::{IterateAverage, PolynomialAverage};
pub use bfgs::{Bfgs, BfgsDirection, BfgsOptions};
pub use cg_model::CgModel;
pub use curvature_clip::CurvatureClip;
pub use curvature_objective::{CurvatureMatrix, CurvatureObjective, SubsetObjective};
pub use damped_newton::DampedNewton;
pub use damping_metric::DampingMetric;
pub use damping_rule::{DampingRule, Nielsen};
pub use dense_model::DenseModel;
pub use dense_system::Indefinite;
pub use descent::{Batches, Descent};
pub use diagonal_source::DiagonalSource;
pub use direction::{AcceptedStep, Direction, DirectionReport};
pub use eigen_update::{EigenUpdate, TrackedBases};
pub use explain::Explanation;
pub use gauss_newton::GaussNewton;
pub use gradient_descent::{GradientDescent, SteepestDescent};
pub use growing_batch::GrowingBatch;
pub use hessian_free::{
    HessianFree, HessianFreeOptions, InnerPreconditioner, KroneckerInner, KroneckerInnerOptions, MartensDiagonal,
    NoPreconditioner,
};
pub use kernel_model::KernelModel;
pub use kfac::Kfac;
pub use kfac_blocks::KfacBlocks;
pub use kfac_options::{DampingAdaptation, GammaRule, GradientForm, KfacOptions, Rejection, StepRule};
pub use kfac_plan::{DampingPath, DampingPathCosts, KfacPlan, PlanCosts};
pub use kronecker_model::KroneckerModel;
pub use layer_structure::{FactorCost, FactorLimit, LayerStructure};
pub use lbfgs::{Lbfgs, LbfgsDirection, LbfgsOptions};
pub use levenberg_marquardt::{LevenbergMarquardt, ModelDamping};
pub use levenberg_marquardt_method::LevenbergMarquardtMethod;
pub use line::{Line, LineFunction};
pub use local_model::{LocalModel, ModelSource, ModelStep};
pub use natural_gradient::NaturalGradient;
pub use newton::Newton;
pub use nonlinear_cg::{CgFormula, ConjugateDirection, NonlinearCg, NonlinearCgOptions};
pub use objective::{CaptureSink, FactorVisit, FisherKind, LayeredObjective, Objective, ParamBlock, ParamLayout};
pub use overhead_budget::{CostBasis, OverheadBudget, OverheadReport};
pub use policy_objective::PolicyObjective;
pub use ppo::{Ppo, PpoOptions};
pub use preconditioned_gradient::{PreconditionedDirection, PreconditionedGradient};
pub use preconditioner::{KfacPreconditioner, PreconditionerOptions, RefreshReport};
pub use proximal::{
    InnerMinimizer, LossOrder, OutputDistance, OutputProximity, Proximal, ProximalModel, ProximalModelOptions,
    ProximalOptions,
};
pub use qr_model::QrModel;
pub use quadratic_model::{QuadraticModel, SubspaceStep};
pub use quasi_newton::{CurvatureRule, InitialMatrix};
pub use refresh_schedule::RefreshSchedule;
pub use report::{InnerReport, InnerStop, Passes, PhaseSeconds, StepReport};
pub use residual::{Linearization, ResidualObjective};
pub use schedule::{Decline, Schedule, rising_momentum};
pub use sgd::{MomentumKind, Sgd};
pub use spring::Spring;
pub use spring_options::SpringOptions;
pub use tridiagonal::{TridiagonalOptions, TridiagonalPreconditioner};
pub use trpo::{Trpo, TrpoOptions};
pub use trust_region::{Forcing, RegionSolver, TrustRegionNewton, TrustRegionOptions};

use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len};
use crate::scalar::Scalar;

/// An optimizer moves θ by looking at one batch.
pub trait Optimizer<T: Scalar, O: Objective<T> + ?Sized> {
    /// One step: θ is changed in place, or left as it was when the step is rejected or an error is returned.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when loss or gradient is not finite at θ, [`Error::Shape`], and those of the factorizations.
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>>;
}

/// The loss at θ, or the error that it is not finite, with the layer where that begins.
fn finite_loss<T: Scalar, O: Objective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    theta: &[T],
    batch: &O::Batch,
    loss: T,
) -> Result<T> {
    if loss.is_finite() {
        return Ok(loss);
    }
    Err(Error::NotFinite { op: "loss", layer: objective.first_not_finite(ctx, theta, batch) })
}

/// The gradient, or the error that it is not finite, with the layer where backpropagation, which comes from the last
/// layer, met that first.
fn finite_gradient<T: Scalar>(layout: &ParamLayout, gradient: &[T]) -> Result<()> {
    if check::finite_slice("gradient", gradient).is_ok() {
        return Ok(());
    }
    Err(Error::NotFinite { op: "gradient", layer: layout.blocks_not_finite(gradient).next_back() })
}

/// Which random targets a capture draws: a stream of its own for each seed, other draws for each step.
fn target_stream(seed: u64, step: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(step)
}

/// Loss and gradient at θ, both finite.
fn take_gradient<T: Scalar, O: Objective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    theta: &[T],
    batch: &O::Batch,
    gradient: &mut Vec<T>,
) -> Result<T> {
    check_len("theta", objective.layout().len(), theta.len())?;
    gradient.resize(theta.len(), T::ZERO);
    let loss = objective.loss_grad(ctx, theta, batch, gradient)?;
    finite_loss(ctx, objective, theta, batch, loss)?;
    finite_gradient(objective.layout(), gradient)?;
    Ok(loss)
}

/// xᵀy: blocks of products in the scalar's own precision, their sums in f64, since n can be millions.
fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    const LANES: usize = 16;
    const BLOCK: usize = 16 * LANES;
    let block = |x: &[T], y: &[T]| {
        let mut lanes = [T::ZERO; LANES];
        let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let tail: T = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| x * y).sum();
        for (x, y) in xs.zip(ys) {
            for i in 0..LANES {
                lanes[i] += x[i] * y[i];
            }
        }
        lanes.iter().map(|lane| lane.f64()).sum::<f64>() + tail.f64()
    };
    x.chunks(BLOCK).zip(y.chunks(BLOCK)).map(|(x, y)| block(x, y)).sum()
}
