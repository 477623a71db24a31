//! What a [`Kfac`](super::Kfac) run holds from its first step on, and the parts of a step that need nothing else: steps 2, 4
//! and 5 of [`Kfac`](super::Kfac)'s list.
//!
//! Cost        four vectors of the length of θ, the preconditioner, and the objective's workspace.
//! Laws        tests/kfac.rs, tests/layer_structure_kfac.rs.

use super::accumulated::Accumulated;
use super::kfac_blocks::EitherPreconditioner;
use super::kfac_options::{GammaRule, GradientForm, KfacOptions, StepRule};
use super::noise_scale::NoiseScale;
use super::vectors::{self, inner_products};
use super::{LayerStructure, LayeredObjective, Passes, QuadraticModel, SubspaceStep, finite_gradient, target_stream};
use crate::backend::Ctx;
use crate::backend::reduce::dot;
#[cfg(feature = "serde")]
use crate::error::check_len;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// What exists from the first step on.
#[derive(Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar", deserialize = "T: Scalar, W: Default"))
)]
pub(super) struct State<T, W> {
    pub(super) preconditioner: EitherPreconditioner<T>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) workspace: W,
    /// Of the batch; at an update the mean over its batches. Scratch, sized in each step.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) gradient: Vec<T>,
    pub(super) accumulated: Accumulated<T>,
    pub(super) noise: NoiseScale,
    pub(super) direction: Vec<T>,
    /// δ₀, then δ.
    pub(super) update: Vec<T>,
    /// Whether `direction` still holds the θ from which the last step was taken.
    pub(super) can_step_back: bool,
}

impl<T: Scalar, W> State<T, W> {
    /// Sized for the objective.
    pub(super) fn new<O: LayeredObjective<T, Workspace = W>>(
        objective: &O,
        options: &KfacOptions<T>,
        structures: Option<&[LayerStructure]>,
    ) -> Result<Self> {
        let layout = objective.layout();
        let preconditioner = EitherPreconditioner::new(layout, options, structures)?;
        let n = layout.len();
        Ok(Self {
            preconditioner,
            workspace: objective.workspace(),
            gradient: Vec::new(),
            accumulated: Accumulated::default(),
            noise: NoiseScale::default(),
            direction: vec![T::ZERO; n],
            update: vec![T::ZERO; n],
            can_step_back: false,
        })
    }

    pub(super) fn update_statistics<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        options: &KfacOptions<T>,
        sample: u64,
    ) -> Result<()> {
        self.preconditioner.begin_update();
        let sample = target_stream(options.seed, sample);
        let ws = &mut self.workspace;
        let cases = options.statistics_cases.unwrap_or(usize::MAX);
        objective.capture(ctx, theta, batch, ws, options.fisher, cases, sample, self.preconditioner.sink())
    }

    /// θ as it was before the last step; the momentum restarts from zero, and so does the mean of gradients.
    pub(super) fn step_back(&mut self, theta: &mut [T]) {
        self.accumulated.batches = 0;
        theta.copy_from_slice(&self.direction);
        self.update.fill(T::ZERO);
        self.can_step_back = false;
    }

    /// Whether some layer is cheaper to precondition through the factors of this batch than as a gradient, and all can be.
    pub(super) fn takes_factors<O: LayeredObjective<T, Workspace = W>>(
        &self,
        objective: &O,
        batch: &O::Batch,
        options: &KfacOptions<T>,
    ) -> bool {
        let needed = objective.l2() != T::ZERO
            || options.gradient == GradientForm::Formed
            || options.update_interval > 1
            || options.budget.is_some()
            || options.gamma != GammaRule::FollowLambda
            || matches!(options.step, StepRule::Fixed { norm_constraint: Some(_), .. });
        match (&self.preconditioner, objective.factored_cases(batch)) {
            (EitherPreconditioner::Diagonal(p), Some(cases)) => !needed && p.prefers_factors(cases),
            _ => false,
        }
    }

    /// Steps 1 and 4 in one: d = -P ∇h layer by layer, from the factors of ∇h.
    pub(super) fn direction_from_factors<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
    ) -> Result<()> {
        self.can_step_back = false;
        let EitherPreconditioner::Diagonal(preconditioner) = &self.preconditioner else { return Ok(()) };
        let (layout, direction) = (objective.layout(), &mut self.direction);
        objective.gradient_factors(ctx, theta, batch, &mut self.workspace, &mut |layer, g, a, weight| {
            let u = layout.blocks()[layer].view_mut(direction)?;
            preconditioner.precondition_product(ctx, layer, -weight, g, a, u)
        })?;
        if vectors::turn(ctx, T::ONE, &mut self.direction) {
            return Ok(());
        }
        // the gradient says where that begins
        self.gradient.resize(theta.len(), T::ZERO);
        objective.backward(ctx, theta, batch, &mut self.workspace, &mut self.gradient)?;
        finite_gradient(objective.layout(), &self.gradient)?;
        Err(Error::not_finite("preconditioned gradient"))
    }

    /// Step 4: d = -P ∇h.
    pub(super) fn direction(&mut self, ctx: &Ctx<T>) -> Result<()> {
        self.can_step_back = false;
        self.preconditioner.precondition(ctx, &self.gradient, &mut self.direction)?;
        let finite = vectors::turn(ctx, -T::ONE, &mut self.direction);
        if finite { Ok(()) } else { Err(Error::not_finite("preconditioned gradient")) }
    }

    /// The noise of one batch against the mean of several, after the direction.
    pub(super) fn measure_noise(&mut self, ctx: &Ctx<T>) -> Result<()> {
        let Some((k, last)) = self.accumulated.last() else { return Ok(()) };
        let mut solved = ctx.scratch(last.len(), 1);
        self.preconditioner.precondition(ctx, last, solved.as_mut_slice())?;
        self.noise.add(k, dot(ctx, last, solved.as_slice()), -dot(ctx, &self.gradient, &self.direction));
        Ok(())
    }

    /// Step 5: the quadratic model on span{d, δ₀}, from forward products only.
    pub(super) fn model<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        lambda: f64,
        with_previous: bool,
        by_factors: bool,
        passes: &mut Passes,
    ) -> Result<QuadraticModel> {
        let with_previous = with_previous && self.update.iter().any(|&u| u != T::ZERO);
        let both: [&[T]; 2] = [&self.direction, &self.update];
        let vectors = if with_previous { &both[..] } else { &both[..1] };
        let mut gram = ctx.scratch(vectors.len(), vectors.len());
        let mut slopes = [0.0; 2];
        let ws = &mut self.workspace;
        if by_factors {
            let slopes = &mut slopes[..vectors.len()];
            objective.ggn_gram_and_slopes(ctx, theta, batch, ws, vectors, gram.as_mut(), slopes)?;
        } else {
            objective.ggn_gram(ctx, theta, batch, ws, vectors, gram.as_mut())?;
            slopes.iter_mut().zip(vectors).for_each(|(slope, v)| *slope = dot(ctx, &self.gradient, v));
        }
        passes.jvp += vectors.len() as u64;
        let [dd, du, uu] = inner_products(ctx, &self.direction, with_previous.then_some(&self.update));
        let mut model = QuadraticModel {
            gram: [[0.0; 2]; 2],
            inner: [[dd, du], [du, uu]],
            slope: slopes,
            l2: objective.l2().f64(),
            lambda,
        };
        for i in 0..vectors.len() {
            (0..vectors.len()).for_each(|j| model.gram[i][j] = gram.as_ref().at(i, j).f64());
        }
        Ok(model)
    }

    /// δ ← α d + μ δ₀, θ ← θ + δ; returns ‖δ‖. d is spent: its memory keeps θ in case the step is taken back.
    pub(super) fn take_step(&mut self, ctx: &Ctx<T>, step: SubspaceStep, theta: &mut [T]) -> f64 {
        self.can_step_back = true;
        let coefficients = (T::of(step.alpha), T::of(step.momentum));
        vectors::take_step(ctx, coefficients, &mut self.direction, &mut self.update, theta)
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar, W> crate::error::Restored for State<T, W> {
    fn check_restored(&self) -> Result<()> {
        let n = self.update.len();
        check_len("K-FAC: direction", n, self.direction.len())?;
        self.accumulated.check_restored(n)?;
        self.preconditioner.check_restored(n)
    }
}
