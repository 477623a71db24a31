//! K-FAC as the preconditioner of conjugate gradient on the exact Gauss-Newton matrix (chapter section 6).
//!
//! ```text
//! B = G + (λ+η)I,   M = diag(A_ℓ ⊗ S_ℓ) + (λ+η)I  (exact or factored damping),  EKFAC's, or block-tridiagonal
//! ```
//! with the same λ + η in B and M. The statistics are moving averages over the steps, so that the preconditioner knows more
//! than the part of the batch from which B is made; ε = 0 makes them those of that part alone.
//!
//! Cost        a forward and a backward pass for each update of the statistics; a refresh of the factorizations.
//!             What it saves by λ: docs/inner_cg.md.
//! Laws        tests/hessian_free_preconditioners.rs, tests/hessian_free_laws.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671; chapter section 6.

use super::InnerPreconditioner;
use crate::backend::Ctx;
use crate::curvature::{Damping, KroneckerDamping, PiRule};
use crate::error::{Error, Result, check_len};
use crate::linop::{LinearOperator, Preconditioner};
use crate::optim::kfac_blocks::EitherPreconditioner;
use crate::optim::{FisherKind, KfacBlocks, KfacOptions, LayerStructure, LayeredObjective, Passes, target_stream};
use crate::scalar::Scalar;
use crate::stats::Decay;

/// How a [`KroneckerInner`] is made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerInnerOptions<T> {
    /// Block-diagonal or block-tridiagonal.
    pub blocks: KfacBlocks,
    /// Exact or factored damping of the blocks.
    pub damping: KroneckerDamping<T>,
    /// The structure of every layer's block; [`LayerStructure::EigenKronecker`] is EKFAC.
    pub structure: LayerStructure,
    /// Which second moments of output gradients.
    pub fisher: FisherKind,
    /// ε of the statistics.
    pub decay: Decay,
    /// Steps between updates of the statistics.
    pub statistics_interval: u64,
    /// Steps between refreshes of the inverses; the first three steps refresh always.
    pub refresh_interval: u64,
    /// Failed refreshes in a row that a layer survives on its old inverse.
    pub tolerated_failures: usize,
    /// Seed of the sampled targets.
    pub seed: u64,
}

/// Block-diagonal with factored damping, sampled targets, ε = 0.95, renewed in every step.
impl<T: Scalar> Default for KroneckerInnerOptions<T> {
    fn default() -> Self {
        Self {
            blocks: KfacBlocks::Diagonal,
            damping: KroneckerDamping::Factored { pi: PiRule::Trace },
            structure: LayerStructure::default(),
            fisher: FisherKind::MonteCarlo,
            decay: Decay::DEFAULT,
            statistics_interval: 1,
            refresh_interval: 1,
            tolerated_failures: 3,
            seed: 0,
        }
    }
}

/// K-FAC, EKFAC or block-tridiagonal K-FAC inside [`HessianFree`](super::HessianFree). `W` is the objective's workspace,
/// inferred from use.
///
/// ```
/// use pullback::curvature::KroneckerDamping;
/// use pullback::optim::{KfacBlocks, KroneckerInner, KroneckerInnerOptions};
/// let options = KroneckerInnerOptions::<f64> { blocks: KfacBlocks::Tridiagonal, ..Default::default() };
/// assert!(KroneckerInner::<f64, ()>::new(options).is_ok());
/// let exact = KroneckerInnerOptions { damping: KroneckerDamping::Exact, ..options }; // has no such inverse
/// assert!(KroneckerInner::<f64, ()>::new(exact).is_err());
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerInner<T, W> {
    options: KroneckerInnerOptions<T>,
    steps: u64,
    samples: u64,
    preconditioner: Option<EitherPreconditioner<T>>,
    #[cfg_attr(feature = "serde", serde(skip))]
    workspace: Option<W>,
}

impl<T: Scalar, W> KroneckerInner<T, W> {
    /// # Errors
    /// [`Error::InvalidParameter`] for an interval of 0 steps, or a structure that blocks, damping or the Fisher kind do
    /// not allow.
    pub fn new(options: KroneckerInnerOptions<T>) -> Result<Self> {
        Self::settings(&options).validate()?;
        Ok(Self { options, steps: 0, samples: 0, preconditioner: None, workspace: None })
    }

    /// The settings.
    pub fn options(&self) -> &KroneckerInnerOptions<T> {
        &self.options
    }

    fn settings(options: &KroneckerInnerOptions<T>) -> KfacOptions<T> {
        KfacOptions {
            blocks: options.blocks,
            damping: options.damping,
            structure: options.structure,
            fisher: options.fisher,
            decay: options.decay,
            statistics_interval: options.statistics_interval,
            refresh_interval: options.refresh_interval,
            tolerated_failures: options.tolerated_failures,
            seed: options.seed,
            ..KfacOptions::default()
        }
    }

    /// Adds θ's statistics on the batch.
    fn update<O: LayeredObjective<T, Workspace = W> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        part: &O::Batch,
        passes: &mut Passes,
    ) -> Result<()> {
        let Some(preconditioner) = &mut self.preconditioner else { return Ok(()) };
        let workspace = self.workspace.get_or_insert_with(|| objective.workspace());
        objective.forward(ctx, theta, part, workspace)?;
        *passes += Passes { forward: 1, ..objective.capture_passes(self.options.fisher) };
        preconditioner.begin_update();
        let sample = target_stream(self.options.seed, self.samples);
        let sink = preconditioner.sink();
        objective.capture(ctx, theta, part, workspace, self.options.fisher, usize::MAX, sample, sink)?;
        self.samples += 1;
        Ok(())
    }
}

impl<T: Scalar, O: LayeredObjective<T> + ?Sized> InnerPreconditioner<T, O> for KroneckerInner<T, O::Workspace> {
    fn prepare(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        part: &O::Batch,
        damping: Damping<T>,
        passes: &mut Passes,
    ) -> Result<()> {
        if self.preconditioner.is_none() {
            let made = EitherPreconditioner::new(objective.layout(), &Self::settings(&self.options), None)?;
            self.preconditioner = Some(made);
        }
        if self.steps.is_multiple_of(self.options.statistics_interval) {
            self.update(ctx, objective, theta, part, passes)?;
        }
        let due = self.steps < 3 || self.steps.is_multiple_of(self.options.refresh_interval);
        let preconditioner = self.preconditioner.as_mut();
        let preconditioner = preconditioner.ok_or_else(|| Error::invalid("preconditioner", "was not made"))?;
        check_len("theta of an optimizer in use", preconditioner.shape().0, theta.len())?;
        if due || !preconditioner.is_ready() {
            preconditioner.refresh(ctx, damping)?;
        } else {
            preconditioner.follow(ctx, damping)?;
        }
        self.steps += 1;
        Ok(())
    }

    fn get(&self) -> Option<&dyn Preconditioner<T>> {
        self.preconditioner.as_ref().map(|p| p as &dyn Preconditioner<T>)
    }
}
