//! K-FAC: Algorithm 1 of the chapter with the parts that make it fast and safe.
//!
//! One step, on one batch (numbers as in the code below):
//! ```text
//! 1  h, ∇h                                    forward, backward
//! 2  A, S ← moving averages (Eq 25)           backward with targets sampled from the model
//! 3  refresh (A ⊗ S + γ²I)⁻¹                  every T₃ steps, all layers or each in its turn ([`RefreshSchedule`]), and
//!                                             in steps 1-3; what costs nothing, every step
//! 4  d = -(A ⊗ S + γ²I)⁻¹ ∇h                  Eq 22 or 23
//! 5  α, μ = argmin M(α d + μ δ₀)              Eq 26, 27: one forward product each, M with the exact Gauss-Newton matrix
//! 6  θ ← θ + δ,  δ = α d + μ δ₀
//! 7  ρ = (h(θ+δ) - h(θ))/M(δ), λ follows      every T₁ steps, Eq 14; a step that raised h is taken back
//! ```
//! An update may be made of the gradients of k batches: steps 2 to 7 are then those of the last of them.
//!
//! Deviations  α and μ minimize the model with λ; whether ρ's model has it is [`ModelDamping`]. After a rejected step the
//!             momentum restarts from zero and λ rises. γ is searched only on request ([`GammaRule`]).
//! Cost        a gradient, a backward pass, the factor statistics, the preconditioner and two forward products a step.
//! Laws        tests/kfac.rs, tests/kfac_exactness.rs, tests/invariance.rs, tests/descent.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671, algorithm 2; chapter Algorithm 1.

#[path = "kfac_budget.rs"]
mod budget;

use super::kfac_blocks::EitherPreconditioner;
use super::kfac_options::{GammaRule, KfacOptions, Rejection, StepRule};
use super::kfac_state::State;
use super::overhead_control::OverheadControl;
use super::report::Stopwatch;
use super::vectors;
use super::{
    CurvatureClip, IterateAverage, KfacPreconditioner, LayerStructure, LayeredObjective, LevenbergMarquardt,
    ModelDamping, Optimizer, OverheadReport, QuadraticModel, RefreshReport, RefreshSchedule, StepReport, SubspaceStep,
    TridiagonalPreconditioner, finite_gradient, finite_loss,
};
use crate::backend::Ctx;
use crate::backend::reduce::dot;
use crate::curvature::Damping;
use crate::error::{Result, check_len};
use crate::scalar::Scalar;

/// The K-FAC optimizer. `W` is the objective's workspace, inferred from use.
#[derive(Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar", deserialize = "T: Scalar, W: Default"))
)]
pub struct Kfac<T, W> {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: KfacOptions<T>,
    structures: Option<Vec<LayerStructure>>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    rule: LevenbergMarquardt,
    gamma: Option<f64>,
    steps: u64,
    samples: u64,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    state: Option<State<T, W>>,
    average: Option<IterateAverage<T>>,
    control: Option<OverheadControl>,
}

/// A step before it is taken: δ = α d + μ δ₀ and what the model says of it.
struct Proposal {
    model: QuadraticModel,
    step: SubspaceStep,
}

impl<T: Scalar, W> Kfac<T, W> {
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for options outside their domain.
    pub fn new(options: KfacOptions<T>) -> Result<Self> {
        options.validate()?;
        let (omega, min, max) =
            options.adaptation.map_or((0.5, f64::MIN_POSITIVE, f64::MAX), |a| (a.omega, a.min, a.max));
        let rule = LevenbergMarquardt::new(options.lambda, omega, min, max)?;
        let average = options.averaging.map(|(decay, start)| IterateAverage::new(decay, start));
        let control = options.budget.map(OverheadControl::new);
        Ok(Self { options, structures: None, rule, gamma: None, steps: 0, samples: 0, state: None, average, control })
    }

    /// With a structure of its own for every layer, in place of the one in the options.
    ///
    /// # Errors
    /// As [`Kfac::new`]; whether the structures fit the layers is known at the first step.
    pub fn with_structures(options: KfacOptions<T>, structures: Vec<LayerStructure>) -> Result<Self> {
        for &structure in &structures {
            options.blocks.check(&KfacOptions { structure, ..options })?;
            structure.check_fisher(options.fisher)?;
        }
        Ok(Self { structures: Some(structures), ..Self::new(options)? })
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        self.rule.lambda()
    }

    /// The block-diagonal preconditioner; `None` before the first step, or where the blocks are others.
    pub fn preconditioner(&self) -> Option<&KfacPreconditioner<T>> {
        match &self.state.as_ref()?.preconditioner {
            EitherPreconditioner::Diagonal(preconditioner) => Some(preconditioner),
            EitherPreconditioner::Tridiagonal(_) => None,
        }
    }

    /// The block-tridiagonal preconditioner; `None` before the first step, or where the blocks are others.
    pub fn tridiagonal_preconditioner(&self) -> Option<&TridiagonalPreconditioner<T>> {
        match &self.state.as_ref()?.preconditioner {
            EitherPreconditioner::Tridiagonal(preconditioner) => Some(preconditioner),
            EitherPreconditioner::Diagonal(_) => None,
        }
    }

    /// The last update δ; `None` before the first step.
    pub fn last_update(&self) -> Option<&[T]> {
        self.state.as_ref().map(|state| &state.update[..])
    }

    /// The averaged iterate, where averaging is on and has started.
    pub fn averaged(&self) -> Option<&[T]> {
        self.average.as_ref().and_then(IterateAverage::get)
    }

    /// What the overhead budget has chosen and cost; `None` without one, and before the first step.
    pub fn overhead(&self) -> Option<OverheadReport> {
        self.control.as_ref().and_then(OverheadControl::report)
    }

    fn state_for<O: LayeredObjective<T, Workspace = W>>(&mut self, objective: &O, theta: &[T]) -> Result<()> {
        let n = objective.layout().len();
        check_len("theta", n, theta.len())?;
        if let Some(state) = &self.state {
            return check_len("theta of an optimizer in use", state.update.len(), n);
        }
        self.state = Some(State::new(objective, &self.options, self.structures.as_deref())?);
        Ok(())
    }

    /// Adds a batch to the statistics without moving θ: Algorithm 1's estimate from a large batch before the first step
    /// (call it for several batches; until the burn-in ends they are averaged evenly).
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn estimate_statistics<O>(&mut self, ctx: &Ctx<T>, objective: &O, theta: &[T], batch: &O::Batch) -> Result<()>
    where
        O: LayeredObjective<T, Workspace = W>,
    {
        self.state_for(objective, theta)?;
        let Some(state) = &mut self.state else { return Ok(()) };
        let loss = objective.forward(ctx, theta, batch, &mut state.workspace)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        state.update_statistics(ctx, objective, theta, batch, &self.options, self.samples)?;
        self.samples += 1;
        Ok(())
    }

    fn due(&self, interval: u64) -> bool {
        self.steps.is_multiple_of(interval)
    }

    /// Adds the gradient of the batch to those of its update; whether it is the last one.
    fn gather(&mut self) -> bool {
        let k = self.options.update_interval;
        self.state.as_mut().is_none_or(|state| state.accumulated.add(k, &mut state.gradient))
    }
}

impl<T: Scalar, W> Kfac<T, W> {
    /// Steps 3 to 5 at the current γ, or at the best of three.
    fn propose<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        report: &mut StepReport<T>,
    ) -> Result<Option<Proposal>> {
        let eta = objective.l2().f64();
        let follow = (self.lambda() + eta).sqrt();
        let (gamma, candidates) = match self.options.gamma {
            GammaRule::FollowLambda => (follow, None),
            GammaRule::Search { interval, omega, max } => {
                let min = (eta + self.options.adaptation.map_or(0.0, |a| a.min)).sqrt();
                let gamma = self.gamma.unwrap_or(follow);
                let others = [(gamma * omega).max(min), (gamma / omega).min(max.max(gamma))];
                (gamma, (self.steps > 0 && self.due(interval)).then_some(others))
            }
        };
        let KfacOptions { refresh_schedule, refresh_interval, .. } = self.options;
        let refresh = self.steps < 3 || refresh_schedule == RefreshSchedule::Together && self.due(refresh_interval);
        let mut best = self.propose_at(ctx, objective, theta, batch, gamma, refresh || candidates.is_some(), report)?;
        self.gamma = Some(gamma);
        if let Some(candidates) = candidates {
            for gamma in candidates {
                let other = self.propose_at(ctx, objective, theta, batch, gamma, true, report)?;
                let value = |p: &Option<Proposal>| p.as_ref().map_or(f64::INFINITY, |p| p.model.change(p.step, true));
                if value(&other) < value(&best) {
                    (best, self.gamma) = (other, Some(gamma));
                }
            }
            if self.gamma != candidates.last().copied() {
                // the winner's inverse and direction are made again rather than kept beside the others
                best = self.propose_at(ctx, objective, theta, batch, self.gamma.unwrap_or(gamma), true, report)?;
            }
        }
        Ok(best)
    }

    fn propose_at<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        gamma: f64,
        refresh: bool,
        report: &mut StepReport<T>,
    ) -> Result<Option<Proposal>> {
        let lambda = self.lambda();
        let KfacOptions { step: step_rule, refresh_schedule, refresh_interval, .. } = self.options;
        let steps = self.steps;
        let Some(state) = &mut self.state else { return Ok(None) };
        let damping = Damping::try_from(gamma * gamma)?;
        let mut watch = Stopwatch::start();
        let outcome = if refresh || !state.preconditioner.is_ready() {
            state.preconditioner.refresh(ctx, damping)?
        } else if refresh_schedule == RefreshSchedule::InTurn {
            state.preconditioner.refresh_in_turn(ctx, damping, steps, refresh_interval)?
        } else {
            state.preconditioner.follow(ctx, damping)?;
            RefreshReport::default()
        };
        if outcome.refreshed + outcome.failed.len() > 0 {
            report.seconds.curvature += watch.lap();
            report.refreshed = true;
            report.failed_refreshes = outcome.failed.len();
            report.preconditioner_damping = Some(T::of(gamma * gamma));
        }
        let by_factors = state.takes_factors(objective, batch, &self.options);
        if by_factors {
            state.direction_from_factors(ctx, objective, theta, batch)?;
            report.passes.backward += 1;
        } else {
            state.direction(ctx)?;
            if self.control.as_ref().is_some_and(OverheadControl::measures_noise) {
                state.measure_noise(ctx)?;
            }
        }
        match step_rule {
            StepRule::QuadraticModel { momentum } => {
                let model =
                    state.model(ctx, objective, theta, batch, lambda, momentum, by_factors, &mut report.passes)?;
                // the gram matrix comes from sums of rounded products
                Ok(model.minimize(64.0 * T::EPS.f64()).map(|step| Proposal { model, step }))
            }
            StepRule::Fixed { learning_rate, momentum, norm_constraint } => {
                let alpha = match norm_constraint {
                    None => learning_rate,
                    Some(limit) => {
                        let slope = -dot(ctx, &state.gradient, &state.direction);
                        learning_rate * CurvatureClip::new(limit)?.factor(learning_rate * learning_rate * slope)?
                    }
                };
                let step = SubspaceStep { alpha, momentum };
                let needs_model = self.options.adaptation.is_some_and(|a| (self.steps + 1).is_multiple_of(a.interval));
                let model = if needs_model {
                    state.model(ctx, objective, theta, batch, lambda, momentum > 0.0, by_factors, &mut report.passes)?
                } else {
                    QuadraticModel { gram: [[f64::NAN; 2]; 2], inner: [[0.0; 2]; 2], slope: [0.0; 2], l2: 0.0, lambda }
                };
                Ok(Some(Proposal { model, step }))
            }
        }
    }
}

impl<T: Scalar, O: LayeredObjective<T>> Optimizer<T, O> for Kfac<T, O::Workspace> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let fresh = self.state.is_none();
        self.state_for(objective, theta)?;
        self.follow_budget(objective, batch)?;
        let planning = watch.lap();
        let mut report = StepReport { lambda: Some(T::of(self.lambda())), ..StepReport::default() };
        match self.evaluate(ctx, objective, theta, batch, &mut report) {
            Ok(true) => {}
            Ok(false) => return Ok(report),
            Err(error) => {
                if fresh {
                    self.state = None; // as it was
                }
                return Err(error);
            }
        }
        let statistics = report.seconds.curvature;
        report.seconds.gradient = watch.lap() - statistics;
        if !self.gather() {
            let pass = watch.lap();
            report.seconds.search = pass;
            self.observe(&mut report, planning, statistics, pass, false);
            return Ok(report);
        }
        let proposal = self.propose(ctx, objective, theta, batch, &mut report)?;
        report.seconds.solve = watch.lap() - (report.seconds.curvature - statistics);
        let adapt = self.options.adaptation.filter(|a| (self.steps + 1).is_multiple_of(a.interval));
        let Some(state) = &mut self.state else { return Ok(report) };
        let mut pass = 0.0;
        match proposal {
            Some(Proposal { model, step }) => {
                let with_damping = adapt.is_none_or(|a| a.model == ModelDamping::Included);
                let predicted = model.change(step, with_damping);
                report.alpha = Some(T::of(step.alpha));
                report.momentum = Some(T::of(step.momentum));
                report.predicted_change = Some(T::of(predicted)).filter(|m| m.is_finite());
                let rejection = self.options.rejection;
                let measure = adapt.is_some() || rejection == Rejection::EveryStep;
                report.step_norm = Some(T::of(state.take_step(ctx, step, theta)));
                pass = watch.lap();
                if measure {
                    let after = objective.forward(ctx, theta, batch, &mut state.workspace)?;
                    report.passes.forward += 1;
                    report.loss_after = Some(after);
                    let before =
                        report.loss_before.f64() - state.accumulated.beyond_last(&state.gradient, &state.update);
                    let rho = LevenbergMarquardt::reduction_ratio(before, after.f64(), predicted);
                    report.rho = Some(T::of(rho));
                    let rose = !(after.f64() <= before);
                    report.rejected = rose && rejection != Rejection::Never;
                    if report.rejected {
                        state.step_back(theta);
                        self.rule.raise();
                    } else if adapt.is_some() {
                        self.rule.update(rho);
                    }
                }
            }
            // no model, no step: more damping is the only cure that is known
            None => {
                report.rejected = true;
                state.update.fill(T::ZERO);
                self.rule.raise();
            }
        }
        self.steps += 1;
        if let Some(average) = &mut self.average {
            average.update(theta);
        }
        report.seconds.search = pass + watch.lap();
        self.observe(&mut report, planning, statistics, pass, true);
        Ok(report)
    }
}

impl<T: Scalar, W> Kfac<T, W> {
    /// Steps 1 and 2: loss, gradient and, where they are due, statistics. A loss that is not finite takes the last step
    /// back, whose loss was perhaps not measured, and returns false; where there is none, it is an error.
    fn evaluate<O: LayeredObjective<T, Workspace = W>>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &mut [T],
        batch: &O::Batch,
        report: &mut StepReport<T>,
    ) -> Result<bool> {
        let statistics_due = self.due(self.options.statistics_interval);
        let Some(state) = &mut self.state else { return Ok(false) };
        let statistics_due = statistics_due && state.accumulated.is_last(self.options.update_interval);
        report.loss_before = objective.forward(ctx, theta, batch, &mut state.workspace)?;
        report.passes.forward += 1;
        if !report.loss_before.is_finite() && state.can_step_back && self.options.rejection != Rejection::Never {
            state.step_back(theta);
            self.rule.raise();
            report.rejected = true;
            return Ok(false);
        }
        finite_loss(ctx, objective, theta, batch, report.loss_before)?;
        if !state.takes_factors(objective, batch, &self.options) {
            state.gradient.resize(theta.len(), T::ZERO);
            objective.backward(ctx, theta, batch, &mut state.workspace, &mut state.gradient)?;
            report.passes.backward += 1;
            let length = vectors::length(ctx, &state.gradient);
            if !length.is_finite() {
                finite_gradient(objective.layout(), &state.gradient)?;
            }
            report.gradient_norm = Some(T::of(length));
        }
        if statistics_due {
            let mut watch = Stopwatch::start();
            state.update_statistics(ctx, objective, theta, batch, &self.options, self.samples)?;
            report.seconds.curvature += watch.lap();
            self.samples += 1;
            report.passes += objective.capture_passes(self.options.fisher);
        }
        Ok(true)
    }
}
