//! [`Proximal`]: each step minimizes the proximal objective of a batch.
//!
//! ```text
//! w ← argmin_w h_B(w) + λ_F E_{B'} ρ(f(x, w), f(x, w₀)) + λ_W/2 ‖w - w₀‖²        (chapter Eq 10, 11), by BFGS, or
//! w ← w - α ∇Q(w), K times
//! ```
//! B' is B, unless [`Proximal::step_on`] is given another batch.
//!
//! Deviations  At w₀ the distance has no gradient, so none is computed in the first inner step.
//! Cost        K gradient steps: 2K passes where B' = B and the distance is of the kind of the loss (chapter: 2K); else 2K
//!             on B and 2K - 1 on B' (chapter: 2K + 1, with two for the gradient that is zero). BFGS: an evaluation or two
//!             an iteration, and one forward pass for the loss after the step. No state beside the options.
//! Laws        tests/proximal.rs, tests/proximal_claims.rs.
//! Reference   chapter sections 2.4 and 3; J. Schulman et al., arXiv 1707.06347 (PPO, a close relative).

use super::options::{InnerMinimizer, ProximalOptions};
use super::problem::Problem;
use super::{OutputProximity, ProximalModel};
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::error::Result;
use crate::optim::report::Stopwatch;
use crate::optim::{
    Batches, Bfgs, BfgsOptions, InnerReport, InnerStop, Objective, Optimizer, PhaseSeconds, StepReport,
};
use crate::scalar::Scalar;

/// Proximal optimization of one batch after the other. With the parts of Q to first or second order it is
/// [`ProximalModel`].
///
/// ```
/// use pullback::optim::{Objective, Optimizer, Proximal, ProximalOptions};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h) = (Ctx::<f64>::default(), LeastSquares::new(1, 3, 0.0));
/// let (batch, mut theta) = (Regression::random(1, 3, 8, 5), vec![1.0, -1.0, 0.5]);
/// let before = h.loss(&ctx, &theta, &batch)?;
/// let mut proximal = Proximal::new(ProximalOptions { function_space: 1.0, ..ProximalOptions::default() })?;
/// let report = proximal.step(&ctx, &h, &mut theta, &batch)?;
/// assert!(report.loss_after.unwrap() < before);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proximal<T> {
    options: ProximalOptions<T>,
}

impl<T: Scalar> Proximal<T> {
    /// With those settings.
    ///
    /// # Errors
    /// As [`ProximalOptions::check`].
    pub fn new(options: ProximalOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options })
    }

    /// The settings.
    pub fn options(&self) -> &ProximalOptions<T> {
        &self.options
    }

    /// The same problem with its parts to first and second order: λ_W and λ_F as here.
    ///
    /// # Errors
    /// As [`ProximalModel::new`].
    pub fn model(&self, loss: super::LossOrder) -> Result<ProximalModel<T>> {
        let (weight_space, function_space) = (self.options.weight_space, self.options.function_space);
        ProximalModel::new(super::ProximalModelOptions {
            loss,
            weight_space,
            function_space,
            ..super::ProximalModelOptions::default()
        })
    }

    /// A step whose function-space proximity is measured on the batch `elsewhere`.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn step_on<O: OutputProximity<T> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &mut [T],
        batch: &O::Batch,
        elsewhere: &O::Batch,
    ) -> Result<StepReport<T>> {
        self.minimize(ctx, objective, theta, batch, Some(elsewhere))
    }

    fn minimize<O: OutputProximity<T> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &mut [T],
        batch: &O::Batch,
        elsewhere: Option<&O::Batch>,
    ) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let start = theta.to_vec();
        let q = Problem::new(ctx, objective, batch, elsewhere, &start, &self.options)?;
        let seconds = PhaseSeconds { gradient: watch.lap(), ..PhaseSeconds::default() };
        let gradient_norm = Some(T::of(norm(q.gradient_at_start())));
        let mut w = start.clone();
        let mut alpha = None;
        let inner = match self.options.inner {
            InnerMinimizer::Gradient { steps, rate } => {
                alpha = Some(rate);
                let mut gradient = vec![T::ZERO; w.len()];
                for _ in 0..steps {
                    q.loss_grad(ctx, &w, &(), &mut gradient)?;
                    w.iter_mut().zip(&gradient).for_each(|(w, &g)| *w -= rate * g);
                }
                InnerReport { iterations: steps, stop: InnerStop::IterationLimit }
            }
            InnerMinimizer::Bfgs { max_iterations, tolerance } => {
                let threshold = tolerance.f64() * norm(q.gradient_at_start());
                by_bfgs(ctx, &q, &mut w, max_iterations, threshold)?
            }
        };
        let (loss, mut passes) = (q.loss_at_start(), q.passes());
        let seconds = PhaseSeconds { solve: watch.lap(), ..seconds };
        // K gradient steps cost no more passes than they are said to
        let loss_after = match self.options.inner {
            InnerMinimizer::Gradient { .. } => None,
            InnerMinimizer::Bfgs { .. } => {
                passes.forward += 1;
                Some(objective.loss(ctx, &w, batch)?)
            }
        };
        let finite = w.iter().all(|w| w.is_finite()) && loss_after.is_none_or(|loss| loss.is_finite());
        if finite {
            theta.copy_from_slice(&w);
        }
        let moved: Vec<T> = w.iter().zip(&start).map(|(&w, &start)| w - start).collect();
        Ok(StepReport {
            loss_before: loss,
            loss_after,
            gradient_norm,
            step_norm: finite.then(|| T::of(norm(&moved))),
            lambda: Some(self.options.weight_space),
            alpha,
            inner: Some(inner),
            rejected: !finite,
            passes,
            seconds: PhaseSeconds { search: watch.lap(), ..seconds },
            ..StepReport::default()
        })
    }
}

/// Minimizes Q from w₀ until ‖∇Q‖ is at the threshold.
fn by_bfgs<T: Scalar, O: OutputProximity<T> + ?Sized>(
    ctx: &Ctx<T>,
    q: &Problem<'_, T, O>,
    w: &mut [T],
    max_iterations: usize,
    threshold: f64,
) -> Result<InnerReport> {
    let mut bfgs = Bfgs::new(BfgsOptions::default())?.with_batches(Batches::Fixed);
    for iterations in 0..max_iterations {
        let size = norm(bfgs.gradient_at(w).unwrap_or(q.gradient_at_start()));
        if size <= threshold {
            return Ok(InnerReport { iterations, stop: InnerStop::Converged });
        }
        if bfgs.step(ctx, q, w, &())?.rejected {
            return Ok(InnerReport { iterations, stop: InnerStop::NoProgress });
        }
    }
    Ok(InnerReport { iterations: max_iterations, stop: InnerStop::IterationLimit })
}

impl<T: Scalar, O: OutputProximity<T> + ?Sized> Optimizer<T, O> for Proximal<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        self.minimize(ctx, objective, theta, batch, None)
    }
}
