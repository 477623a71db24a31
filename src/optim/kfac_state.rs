//! What a [`Kfac`](super::Kfac) run holds from its first step on, and the parts of a step that need nothing else: steps 2, 4
//! and 5 of [`Kfac`](super::Kfac)'s list.
//!
//! Cost        four vectors of the length of θ, the preconditioner, and the objective's workspace.
//! Laws        tests/kfac.rs, tests/layer_structure_kfac.rs.

use super::accumulated::Accumulated;
use super::kfac_blocks::EitherPreconditioner;
use super::kfac_options::KfacOptions;
use super::{LayerStructure, LayeredObjective, Passes, QuadraticModel, SubspaceStep, dot, target_stream};
use crate::backend::{Ctx, check};
use crate::error::Result;
#[cfg(feature = "serde")]
use crate::error::check_len;
use crate::mat::Mat;
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

    /// Step 4: d = -P ∇h.
    pub(super) fn direction(&mut self, ctx: &Ctx<T>) -> Result<()> {
        self.can_step_back = false;
        self.preconditioner.precondition(ctx, &self.gradient, &mut self.direction)?;
        self.direction.iter_mut().for_each(|d| *d = -*d);
        check::finite_slice("preconditioned gradient", &self.direction)
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
        passes: &mut Passes,
    ) -> Result<QuadraticModel> {
        let with_previous = with_previous && self.update.iter().any(|&u| u != T::ZERO);
        let both: [&[T]; 2] = [&self.direction, &self.update];
        let vectors = if with_previous { &both[..] } else { &both[..1] };
        let mut gram = Mat::zeros(vectors.len(), vectors.len());
        objective.ggn_gram(ctx, theta, batch, &mut self.workspace, vectors, gram.as_mut())?;
        passes.jvp += vectors.len() as u64;
        let mut model = QuadraticModel {
            gram: [[0.0; 2]; 2],
            inner: [[0.0; 2]; 2],
            slope: [0.0; 2],
            l2: objective.l2().f64(),
            lambda,
        };
        for (i, vi) in vectors.iter().enumerate() {
            model.slope[i] = dot(&self.gradient, vi);
            for (j, vj) in vectors.iter().enumerate() {
                model.gram[i][j] = gram[(i, j)].f64();
                // symmetric: each product of n-vectors once
                model.inner[i][j] = if j < i { model.inner[j][i] } else { dot(vi, vj) };
            }
        }
        Ok(model)
    }

    /// δ ← α d + μ δ₀.
    pub(super) fn form_update(&mut self, step: SubspaceStep) {
        let (alpha, mu) = (T::of(step.alpha), T::of(step.momentum));
        for (u, &d) in self.update.iter_mut().zip(&self.direction) {
            *u = alpha * d + mu * *u;
        }
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
