//! ACKTR: K-FAC's direction, with a step size that keeps the divergence of the policy within a radius.
//!
//! ```text
//! Δ = (F̂ + λI)⁻¹ ∇h                          F̂ from moving averages of the distributions' A and S, layer by layer
//! η = min(η_max, √(2δ / Δᵀ F Δ))              Δᵀ F Δ as in [`Divergence`]
//! v ← μ v - (1 - μ) η Δ,   θ ← θ + v          an average of clipped steps: within the radius too, where F stays
//! ```
//! The first steps are cold: gradient steps, while the statistics gather.
//!
//! Deviations  The authors' code has ∇hᵀΔ for Δᵀ F Δ, and so has the default here: with exact damping that is never smaller than
//!             Δᵀ F̂ Δ. λ is a constant; a schedule for η_max is the caller's ([`Acktr::set_learning_rate`]). A cold step has
//!             momentum too.
//! Cost        a gradient, a backward pass for the statistics, the preconditioner; one forward product more for the exact
//!             divergence. Three n-vectors, the factors and the objective's workspace.
//! Laws        tests/acktr.rs.
//! Reference   Y. Wu, E. Mansimov, S. Liao, R. Grosse, J. Ba, Scalable trust-region method for deep reinforcement learning
//!             using Kronecker-factored approximation, NIPS 2017, arXiv:1708.05144, sections 3.2 and 3.3; chapter section
//!             3.1.

use super::report::Stopwatch;
use super::sgd::fraction;
use super::{
    FisherKind, KfacPreconditioner, LayeredObjective, Optimizer, PhaseSeconds, PreconditionerOptions, StepReport, dot,
    finite_gradient, finite_loss, target_stream,
};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result, check_len};
use crate::mat::Mat;
use crate::scalar::Scalar;
use crate::stats::Decay;

/// What stands for Δᵀ F Δ, twice the divergence of the step Δ to second order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Divergence {
    /// ∇hᵀΔ = Δᵀ(F̂ + λI)Δ: free.
    #[default]
    Damped,
    /// Δᵀ F Δ with the batch's own Fisher matrix: one forward product.
    Exact,
}

/// Settings of [`Acktr`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AcktrOptions {
    /// η_max.
    pub learning_rate: f64,
    /// δ.
    pub radius: f64,
    /// μ.
    pub momentum: f64,
    /// λ.
    pub damping: f64,
    /// ε of the statistics.
    pub decay: Decay,
    /// Gradient steps at the start.
    pub cold_steps: u64,
    /// Step size of those.
    pub cold_learning_rate: f64,
    /// Steps between refreshes of the inverses.
    pub refresh_interval: u64,
    /// Which second moments of output gradients.
    pub fisher: FisherKind,
    /// What the step is clipped by.
    pub divergence: Divergence,
    /// Seed of the sampled actions.
    pub seed: u64,
}

impl Default for AcktrOptions {
    /// The authors' numbers: η_max 0.25, δ 0.001, μ 0.9, λ 0.01, ε 0.99, 10 cold steps.
    fn default() -> Self {
        Self {
            learning_rate: 0.25,
            radius: 0.001,
            momentum: 0.9,
            damping: 0.01,
            // in its domain
            decay: Decay::new(0.99).unwrap_or_default(),
            cold_steps: 10,
            cold_learning_rate: 0.001,
            refresh_interval: 1,
            fisher: FisherKind::MonteCarlo,
            divergence: Divergence::Damped,
            seed: 0,
        }
    }
}

impl AcktrOptions {
    fn check(&self) -> Result<()> {
        let positive = |name, x: f64| super::sgd::positive(name, x);
        positive("learning_rate", self.learning_rate)?;
        positive("radius", self.radius)?;
        positive("damping", self.damping)?;
        positive("cold_learning_rate", self.cold_learning_rate)?;
        fraction("momentum", self.momentum)?;
        if self.refresh_interval == 0 {
            return Err(Error::invalid("refresh_interval", "must be at least 1 step"));
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl crate::error::Restored for AcktrOptions {
    fn check_restored(&self) -> Result<()> {
        self.check()
    }
}

/// The ACKTR optimizer, for any [`LayeredObjective`] whose captures are those of its distributions. `W` is the objective's
/// workspace, inferred from use.
///
#[cfg_attr(feature = "nn", doc = "```")]
#[cfg_attr(not(feature = "nn"), doc = "```ignore")]
/// use pullback::nn::{Activation, Init, Loss, Mlp, Policy};
/// use pullback::optim::{Acktr, AcktrOptions, Objective, Optimizer};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(1).layer(2, Activation::Identity).loss(Loss::SoftmaxCrossEntropy).build()?;
/// let policy = Policy::new(net)?;
/// let mut theta = policy.net().init(Init::GlorotUniform, 1);
/// let (states, actions) = (Mat::from_fn(1, 8, |_, j| j as f64), Mat::from_fn(2, 8, |i, j| ((i + j) % 2) as f64));
/// let advantages: Vec<f64> = (0..8).map(|j| if j % 2 == 0 { 1.0 } else { -1.0 }).collect();
/// let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages)?;
/// let options = AcktrOptions { cold_steps: 0, ..AcktrOptions::default() };
/// let before = Acktr::new(options)?.step(&ctx, &policy, &mut theta, &batch)?.loss_before;
/// assert!(policy.loss(&ctx, &theta, &batch)? < before); // the surrogate rose
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar", deserialize = "T: Scalar, W: Default"))
)]
pub struct Acktr<T, W> {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: AcktrOptions,
    steps: u64,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    state: Option<State<T, W>>,
}

/// What exists from the first step on.
#[derive(Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar", deserialize = "T: Scalar, W: Default"))
)]
struct State<T, W> {
    preconditioner: KfacPreconditioner<T>,
    #[cfg_attr(feature = "serde", serde(skip))]
    workspace: W,
    /// Scratch, sized in each step.
    #[cfg_attr(feature = "serde", serde(skip))]
    gradient: Vec<T>,
    /// Δ.
    direction: Vec<T>,
    /// v.
    velocity: Vec<T>,
}

#[cfg(feature = "serde")]
impl<T: Scalar, W> crate::error::Restored for State<T, W> {
    fn check_restored(&self) -> Result<()> {
        let n = self.velocity.len();
        check_len("ACKTR: direction", n, self.direction.len())?;
        self.preconditioner.check_restored(n)
    }
}

impl<T: Scalar, W> Acktr<T, W> {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(options: AcktrOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, steps: 0, state: None })
    }

    /// The settings.
    pub fn options(&self) -> &AcktrOptions {
        &self.options
    }

    /// Changes η_max, for a schedule.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless it is positive.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let options = AcktrOptions { learning_rate, ..self.options };
        options.check()?;
        self.options = options;
        Ok(())
    }

    /// The preconditioner; `None` before the first step.
    pub fn preconditioner(&self) -> Option<&KfacPreconditioner<T>> {
        self.state.as_ref().map(|state| &state.preconditioner)
    }

    /// Δ of the last step that was not cold; `None` before it.
    pub fn direction(&self) -> Option<&[T]> {
        let warm = self.steps > self.options.cold_steps;
        self.state.as_ref().filter(|_| warm).map(|state| &state.direction[..])
    }

    /// v, which was added to θ in the last step; `None` before the first.
    pub fn last_update(&self) -> Option<&[T]> {
        self.state.as_ref().map(|state| &state.velocity[..])
    }

    fn new_state<O: LayeredObjective<T, Workspace = W>>(&self, objective: &O) -> Result<State<T, W>> {
        let options = PreconditionerOptions { decay: self.options.decay, ..PreconditionerOptions::default() };
        let zeros = || vec![T::ZERO; objective.layout().len()];
        Ok(State {
            preconditioner: KfacPreconditioner::new(objective.layout(), options)?,
            workspace: objective.workspace(),
            gradient: Vec::new(),
            direction: zeros(),
            velocity: zeros(),
        })
    }
}

impl<T: Scalar, O: LayeredObjective<T>> Optimizer<T, O> for Acktr<T, O::Workspace> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let options = self.options;
        check_len("theta", objective.layout().len(), theta.len())?;
        let fresh = self.state.is_none();
        if fresh {
            self.state = Some(self.new_state(objective)?);
        }
        let Some(state) = &mut self.state else { return Ok(StepReport::default()) };
        check_len("theta of an optimizer in use", state.velocity.len(), theta.len())?;
        let loss = match state.evaluate(ctx, objective, theta, batch) {
            Ok(loss) => loss,
            Err(error) => {
                if fresh {
                    self.state = None; // as it was
                }
                return Err(error);
            }
        };
        let mut report = StepReport {
            gradient_norm: Some(T::of(norm(&state.gradient))),
            lambda: Some(T::of(options.damping)),
            radius: Some(T::of(options.radius)),
            momentum: Some(T::of(options.momentum)),
            seconds: PhaseSeconds { gradient: watch.lap(), ..PhaseSeconds::default() },
            ..StepReport::first_order(loss)
        };
        state.statistics(ctx, objective, theta, batch, &options, self.steps)?;
        report.passes += objective.capture_passes(options.fisher);
        report.seconds.curvature = watch.lap();
        let cold = self.steps < options.cold_steps;
        let alpha = if cold {
            state.direction.copy_from_slice(&state.gradient);
            options.cold_learning_rate
        } else {
            state.precondition(ctx, self.steps, &options, &mut report)?;
            report.seconds.curvature += watch.lap();
            state.clipped_rate(ctx, objective, theta, batch, &options, &mut report)?
        };
        report.alpha = Some(T::of(alpha));
        state.advance(alpha, options.momentum, theta)?;
        report.step_norm = Some(T::of(norm(&state.velocity)));
        report.seconds.solve = watch.lap();
        self.steps += 1;
        Ok(report)
    }
}

impl<T: Scalar, W> State<T, W> {
    /// Loss and gradient, both finite.
    fn evaluate<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
    ) -> Result<T> {
        let loss = objective.forward(ctx, theta, batch, &mut self.workspace)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        self.gradient.resize(theta.len(), T::ZERO);
        objective.backward(ctx, theta, batch, &mut self.workspace, &mut self.gradient)?;
        finite_gradient(objective.layout(), &self.gradient)?;
        Ok(loss)
    }

    /// A and S of the distributions, after a forward pass.
    fn statistics<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        options: &AcktrOptions,
        step: u64,
    ) -> Result<()> {
        self.preconditioner.begin_update();
        let sample = target_stream(options.seed, step);
        let (ws, sink) = (&mut self.workspace, &mut self.preconditioner);
        objective.capture(ctx, theta, batch, ws, options.fisher, usize::MAX, sample, sink)
    }

    /// Δ.
    fn precondition(
        &mut self,
        ctx: &Ctx<T>,
        step: u64,
        options: &AcktrOptions,
        report: &mut StepReport<T>,
    ) -> Result<()> {
        let since_cold = step - options.cold_steps;
        if since_cold.is_multiple_of(options.refresh_interval) || !self.preconditioner.is_ready() {
            let outcome = self.preconditioner.refresh(ctx, Damping::try_from(options.damping)?)?;
            report.refreshed = true;
            report.failed_refreshes = outcome.failed.len();
            report.preconditioner_damping = Some(T::of(options.damping));
        }
        self.preconditioner.precondition(ctx, &self.gradient, &mut self.direction)?;
        check::finite_slice("preconditioned gradient", &self.direction)
    }

    /// η.
    fn clipped_rate<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        options: &AcktrOptions,
        report: &mut StepReport<T>,
    ) -> Result<f64> {
        let slope = dot(&self.gradient, &self.direction);
        let quadratic = match options.divergence {
            Divergence::Damped => slope,
            Divergence::Exact => {
                let mut gram = Mat::zeros(1, 1);
                objective.ggn_gram(ctx, theta, batch, &mut self.workspace, &[&self.direction], gram.as_mut())?;
                report.passes.jvp += 1;
                gram[(0, 0)].f64()
            }
        };
        // infinite for 0, where no step is too long; min takes η_max then, and for a NaN
        let eta = options.learning_rate.min((2.0 * options.radius / quadratic).sqrt());
        report.predicted_change = Some(T::of(-(1.0 - options.momentum) * eta * slope));
        Ok(eta)
    }

    /// v and θ, unless that overflows.
    fn advance(&mut self, alpha: f64, momentum: f64, theta: &mut [T]) -> Result<()> {
        let (mu, rate) = (T::of(momentum), T::of((1.0 - momentum) * alpha));
        // Δ is spent on v only once v is known to be finite
        let next = |v: T, d: T| mu * v - rate * d;
        let overflows = self.velocity.iter().zip(&self.direction).any(|(&v, &d)| !next(v, d).is_finite());
        if overflows {
            return Err(Error::not_finite("ACKTR: update"));
        }
        for (w, (v, &d)) in theta.iter_mut().zip(self.velocity.iter_mut().zip(&self.direction)) {
            *v = next(*v, d);
            *w += *v;
        }
        Ok(())
    }
}
