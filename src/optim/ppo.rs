//! PPO: several epochs of minibatch steps on a clipped surrogate, until the policy has moved far enough.
//!
//! ```text
//! for each epoch:   the cases in a new order, in minibatches; one step of the inner optimizer on each
//!                   stop once KL(old, θ) > 1.5 target
//! ```
//! The clip is part of the objective (`nn::Policy::clipped`); this is what is done with it. Any optimizer may be the inner
//! one; Adam is the paper's.
//!
//! Deviations  The stop on the divergence is from OpenAI's later code, not from the paper; without a target there is none.
//!             The last minibatch of an epoch may be smaller than the others.
//! Cost        the inner optimizer's steps on minibatches, each pass counted as one; one pass for the old distributions, one
//!             for the start, one an epoch. State: the inner optimizer's, of which a copy is kept for the length of a step.
//! Laws        tests/ppo.rs.
//! Reference   J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, Proximal policy optimization algorithms, 2017,
//!             arXiv:1707.06347, algorithm 1; chapter section 3.1.

use super::report::Stopwatch;
use super::{InnerReport, InnerStop, Optimizer, PhaseSeconds, PolicyObjective, StepReport, finite_loss};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_len};
use crate::random::Draws;
use crate::scalar::Scalar;

/// Settings of [`Ppo`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PpoOptions {
    /// Most passes through the batch.
    pub epochs: usize,
    /// Cases of a minibatch; all where the batch has no more.
    pub minibatch: usize,
    /// The divergence that is aimed at; `None` for no stop.
    pub target_divergence: Option<f64>,
    /// Seed of the orders.
    pub seed: u64,
}

/// The paper's for continuous control: 10 epochs, minibatches of 64; a target of 0.01.
impl Default for PpoOptions {
    fn default() -> Self {
        Self { epochs: 10, minibatch: 64, target_divergence: Some(0.01), seed: 0 }
    }
}

impl PpoOptions {
    fn check(&self) -> Result<()> {
        if self.epochs == 0 || self.minibatch == 0 {
            return Err(Error::invalid("epochs, minibatch", "must be at least 1"));
        }
        match self.target_divergence {
            Some(kl) if !(kl > 0.0 && kl.is_finite()) => {
                Err(Error::invalid("target_divergence", format!("{kl} must be finite and positive")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "serde")]
impl crate::error::Restored for PpoOptions {
    fn check_restored(&self) -> Result<()> {
        self.check()
    }
}

/// How much more than the target ends the epochs.
const SLACK: f64 = 1.5;

/// Proximal policy optimization around an inner optimizer.
///
#[cfg_attr(feature = "nn", doc = "```")]
#[cfg_attr(not(feature = "nn"), doc = "```ignore")]
/// use pullback::nn::{Activation, Init, Loss, Mlp, Policy};
/// use pullback::optim::{Adam, Optimizer, Ppo, PpoOptions};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(1).layer(2, Activation::Identity).loss(Loss::SoftmaxCrossEntropy).build()?;
/// let policy = Policy::clipped(net, 0.2)?;
/// let mut theta = policy.net().init(Init::GlorotUniform, 1);
/// let (states, actions) = (Mat::from_fn(1, 8, |_, j| j as f64), Mat::from_fn(2, 8, |i, j| ((i + j) % 2) as f64));
/// let advantages: Vec<f64> = (0..8).map(|j| if j % 2 == 0 { 1.0 } else { -1.0 }).collect();
/// let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages)?;
/// let options = PpoOptions { minibatch: 4, ..PpoOptions::default() };
/// let report = Ppo::new(Adam::new(0.01)?, options)?.step(&ctx, &policy, &mut theta, &batch)?;
/// assert!(report.loss_after < Some(report.loss_before)); // the surrogate rose
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ppo<P> {
    inner: P,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: PpoOptions,
    epochs: u64,
}

impl<P> Ppo<P> {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(inner: P, options: PpoOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { inner, options, epochs: 0 })
    }

    /// The inner optimizer.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The inner optimizer, for a schedule.
    pub fn inner_mut(&mut self) -> &mut P {
        &mut self.inner
    }

    /// The settings.
    pub fn options(&self) -> &PpoOptions {
        &self.options
    }

    /// Epochs so far.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }
}

impl<T: Scalar, O: PolicyObjective<T>, P: Optimizer<T, O> + Clone> Optimizer<T, O> for Ppo<P>
where
    O::Batch: Sized,
{
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        check_len("theta", objective.layout().len(), theta.len())?;
        // an error in the middle of an epoch takes all of it back
        let (start, inner, epochs) = (theta.to_vec(), self.inner.clone(), self.epochs);
        let done = self.run(ctx, objective, theta, batch);
        if done.is_err() {
            theta.copy_from_slice(&start);
            (self.inner, self.epochs) = (inner, epochs);
        }
        done
    }
}

impl<P> Ppo<P> {
    fn run<T: Scalar, O: PolicyObjective<T>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &mut [T],
        batch: &O::Batch,
    ) -> Result<StepReport<T>>
    where
        O::Batch: Sized,
        P: Optimizer<T, O>,
    {
        let mut watch = Stopwatch::start();
        let old = objective.distributions(ctx, theta, batch)?;
        let (loss, _) = objective.loss_and_divergence(ctx, old.as_ref(), theta, batch)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        let mut report = StepReport { loss_before: loss, ..StepReport::default() };
        report.radius = self.options.target_divergence.map(T::of);
        report.passes.forward += 2;
        let mut order: Vec<usize> = (0..objective.case_count(batch)).collect();
        let mut inner = InnerReport { iterations: 0, stop: InnerStop::IterationLimit };
        for _ in 0..self.options.epochs {
            report.seconds.search += watch.lap();
            Draws::new(self.options.seed, self.epochs).shuffle(&mut order);
            for cases in order.chunks(self.options.minibatch) {
                let minibatch = objective.select(batch, cases)?;
                report.passes += self.inner.step(ctx, objective, theta, &minibatch)?.passes;
            }
            report.seconds.solve += watch.lap();
            self.epochs += 1;
            inner.iterations += 1;
            let (loss, divergence) = objective.loss_and_divergence(ctx, old.as_ref(), theta, batch)?;
            report.passes.forward += 1;
            report.loss_after = Some(finite_loss(ctx, objective, theta, batch, loss)?);
            // a divergence that is no number ends it too
            if self.options.target_divergence.is_some_and(|target| !(divergence <= SLACK * target)) {
                inner.stop = InnerStop::Converged;
                break;
            }
        }
        report.inner = Some(inner);
        report.seconds = PhaseSeconds { search: report.seconds.search + watch.lap(), ..report.seconds };
        Ok(report)
    }
}
