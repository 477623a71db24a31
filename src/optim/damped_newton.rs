//! [`DampedNewton`]: every damped second-order method, from a source of local models, a rule for λ and a line search.
//!
//! ```text
//! 1  h, ∇h, C at θ                                       the source
//! 2  δ = -(C + λD)⁻¹∇h                                   the source, for one λ after the other
//! 3  α from the search along δ; ρ = (h(θ + αδ) - h(θ)) / M(αδ)
//! 4  λ by the rule; θ ← θ + αδ, or back to 2 with the new λ where h did not fall
//! ```
//! | λ | search | method |
//! |---|---|---|
//! | 0 | full step | Newton, Gauss-Newton (Eq 3) |
//! | fixed | full step | damped Newton, damped Gauss-Newton (Eq 5, 13) |
//! | fixed | a learning rate | natural gradient |
//! | any | Armijo | the same with descent assured |
//! | follows ρ | full step | Levenberg-Marquardt |
//!
//! Deviations  With a fixed λ and a fixed step nothing is evaluated after the step, and none is rejected. With a λ that
//!             follows ρ a matrix that cannot be factored, or a direction that is not finite, counts as ρ = NaN; a step
//!             that is below what changes θ ends the trials. A step longer than `with_longest` allows counts as ρ = NaN.
//! Cost        a model, then for each λ a solve, a quadratic form and what the search evaluates; no n-vector of state beyond
//!             that of the source, four of scratch.
//! Laws        tests/newton.rs, tests/levenberg_marquardt_method.rs, tests/natural_gradient.rs.
//! Reference   chapter sections 2.1 and 4.1; J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., chapters 3 and 10.

use std::marker::PhantomData;

use super::line_search::{FixedStep, LineSearch, SearchStart};
use super::report::Stopwatch;
use super::{
    DampingRule, InnerReport, InnerStop, LevenbergMarquardt, Line, LineFunction, LocalModel, ModelDamping, ModelSource,
    Objective, Optimizer, Passes, StepReport, dot,
};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::curvature::SolveReport;
use crate::error::{Error, Result, check_len};
use crate::scalar::Scalar;

/// Damped second-order steps of any kind.
///
/// ```
/// use pullback::optim::line_search::Armijo;
/// use pullback::optim::{CgModel, CurvatureMatrix, DampedNewton, DampingRule, Objective, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// // truncated Newton: conjugate gradient on the Hessian, then a line search
/// let source = CgModel::<f64>::new(CurvatureMatrix::Hessian);
/// let mut newton = DampedNewton::new(source, DampingRule::Fixed(0.0), Armijo::default())?;
/// let (h, batch, mut theta) = (LeastSquares::new(2, 3, 0.1), Regression::random(2, 3, 20, 1), vec![1.0; 6]);
/// let report = newton.step(&Ctx::default(), &h, &mut theta, &batch)?;
/// assert!((report.rho.unwrap() - 1.0).abs() < 1e-6); // h is its own model
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DampedNewton<T, S, L = FixedStep> {
    source: S,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    rule: DampingRule,
    search: L,
    trials: usize,
    longest: Option<f64>,
    #[cfg_attr(feature = "serde", serde(skip))]
    scalar: PhantomData<fn() -> T>,
}

impl<T: Scalar, S, L> DampedNewton<T, S, L> {
    /// Up to 16 values of λ in a step where λ follows ρ.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] as [`DampingRule::check`].
    pub fn new(source: S, rule: DampingRule, search: L) -> Result<Self> {
        rule.check()?;
        Ok(Self { source, rule, search, trials: 16, longest: None, scalar: PhantomData })
    }

    /// With another search along the step.
    pub fn with_search<M>(self, search: M) -> DampedNewton<T, S, M> {
        let Self { source, rule, trials, longest, .. } = self;
        DampedNewton { source, rule, search, trials, longest, scalar: PhantomData }
    }

    /// With another source of models.
    pub fn with_source<R>(self, source: R) -> DampedNewton<T, R, L> {
        let Self { rule, search, trials, longest, .. } = self;
        DampedNewton { source, rule, search, trials, longest, scalar: PhantomData }
    }

    /// With another rule for λ.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] as [`DampingRule::check`].
    pub fn with_rule(self, rule: DampingRule) -> Result<Self> {
        rule.check()?;
        Ok(Self { rule, ..self })
    }

    /// With another limit on the values of λ in a step; a step that spends them is rejected.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for none.
    pub fn with_trials(self, trials: usize) -> Result<Self> {
        if trials == 0 {
            return Err(Error::invalid("trials", "at least one value of λ is needed"));
        }
        Ok(Self { trials, ..self })
    }

    /// With a limit on the length of a step: one with ‖δ‖ above this multiple of ‖θ‖, both in the metric D, counts as
    /// ρ = NaN without a look at h, unless θ = 0. From far away the first steps of a small λ may leap to where h is flat.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless it is positive.
    pub fn with_longest(self, longest: Option<f64>) -> Result<Self> {
        match longest {
            Some(longest) if !(longest > 0.0 && longest.is_finite()) => {
                Err(Error::invalid("longest", format!("{longest} must be finite and positive")))
            }
            _ => Ok(Self { longest, ..self }),
        }
    }

    /// The source of models.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The rule for λ, with the λ of the next step.
    pub fn rule(&self) -> &DampingRule {
        &self.rule
    }
}

impl<T, O, S, L> Optimizer<T, O> for DampedNewton<T, S, L>
where
    T: Scalar,
    O: Objective<T> + ?Sized,
    S: ModelSource<T, O>,
    L: LineSearch,
{
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        check_len("theta", objective.layout().len(), theta.len())?;
        let mut watch = Stopwatch::start();
        let mut model = self.source.model(ctx, objective, theta, batch)?;
        let mut report = StepReport {
            loss_before: model.loss(),
            gradient_norm: Some(T::of(norm(model.gradient()))),
            lambda: Some(T::of(self.rule.lambda())),
            refreshed: true,
            ..StepReport::default()
        };
        report.seconds.curvature = watch.lap();
        // where the gradient is zero there is nothing to judge a λ by
        let stationary = model.gradient().iter().all(|&g| g == T::ZERO);
        let trials = if stationary { 0 } else { self.trials };
        let mut trial = Trial {
            ctx,
            objective,
            batch,
            theta,
            search: &self.search,
            rule: self.rule,
            longest: self.longest,
            delta: vec![T::ZERO; theta.len()],
            passes: Passes::default(),
            too_short: false,
            report: &mut report,
        };
        let mut accepted = None;
        for _ in 0..trials {
            accepted = trial.run(&mut *model, &mut watch)?;
            if accepted.is_some() || trial.too_short || !trial.rule.adapts() {
                break;
            }
        }
        let (rule, mut passes) = (trial.rule, trial.passes);
        passes += model.passes();
        drop(model);
        report.passes = passes;
        report.rejected = accepted.is_none() && !stationary;
        if let Some(point) = accepted {
            theta.copy_from_slice(&point);
        }
        self.rule = rule;
        Ok(report)
    }
}

/// One λ of a step.
struct Trial<'a, T: Scalar, O: Objective<T> + ?Sized, L> {
    ctx: &'a Ctx<T>,
    objective: &'a O,
    batch: &'a O::Batch,
    theta: &'a [T],
    search: &'a L,
    rule: DampingRule,
    longest: Option<f64>,
    delta: Vec<T>,
    passes: Passes,
    /// δ is below what changes θ: a larger λ is no help.
    too_short: bool,
    report: &'a mut StepReport<T>,
}

impl<T: Scalar, O: Objective<T> + ?Sized, L: LineSearch> Trial<'_, T, O, L> {
    /// δ at the rule's λ; `None` where there is none and λ can be raised.
    fn direction(&mut self, model: &mut dyn LocalModel<T>) -> Result<Option<T>> {
        let solved = match model.step(self.ctx, T::of(self.rule.lambda()), &mut self.delta) {
            Ok(solved) => solved,
            Err(Error::NotPositiveDefinite { .. } | Error::Singular { .. }) if self.rule.adapts() => return Ok(None),
            Err(error) => return Err(error),
        };
        if let SolveReport::Iterative { iterations, stop, .. } = solved.solve {
            self.report.inner = Some(InnerReport { iterations, stop: InnerStop::Krylov(stop) });
        }
        match check::finite_slice("second-order step", &self.delta) {
            Ok(()) => Ok(Some(solved.lambda)),
            Err(_) if self.rule.adapts() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether ‖δ‖ exceeds its share of ‖θ‖.
    fn is_too_long(&self, model: &dyn LocalModel<T>) -> bool {
        let Some(longest) = self.longest else { return false };
        let (step, whole) = (model.metric_form(&self.delta), model.metric_form(self.theta));
        whole > 0.0 && !(step <= longest * longest * whole)
    }

    /// The new θ, unless h does not fall; λ follows.
    fn run(&mut self, model: &mut dyn LocalModel<T>, watch: &mut Stopwatch) -> Result<Option<Vec<T>>> {
        let direction = self.direction(model)?;
        self.report.seconds.solve += watch.lap();
        let Some(lambda) = direction else {
            self.rule.update(f64::NAN);
            return Ok(None);
        };
        self.report.lambda = Some(lambda);
        self.too_short = self.rule.adapts() && self.theta.iter().zip(&self.delta).all(|(&w, &d)| w + d == w);
        if self.too_short {
            return Ok(None);
        }
        if self.is_too_long(model) {
            self.rule.update(f64::NAN);
            return Ok(None);
        }
        let loss = model.loss().f64();
        let slope = dot(model.gradient(), &self.delta);
        let mut curvature = model.quadratic_form(self.ctx, &self.delta)?;
        if self.rule.model() == ModelDamping::Included {
            curvature += lambda.f64() * model.metric_form(&self.delta);
        }
        let mut line = Line::new(self.ctx, self.objective, self.batch, self.theta, &self.delta);
        let found = self.search.search(&mut line, SearchStart { value: loss, slope, initial: 1.0 })?;
        let value = match found.value {
            None if self.rule.adapts() => Some(line.value(found.alpha)?),
            known => known,
        };
        let predicted = found.alpha * (slope + 0.5 * found.alpha * curvature);
        let rho = value.map(|value| LevenbergMarquardt::reduction_ratio(loss, value, predicted));
        let point = line.point(found.alpha).to_vec();
        self.passes += line.passes();
        let report = &mut *self.report;
        report.search = Some(found);
        report.alpha = Some(T::of(found.alpha));
        report.step_norm = Some(T::of(found.alpha * norm(&self.delta)));
        report.predicted_change = Some(T::of(predicted));
        // a ratio that says nothing was not measured
        (report.loss_after, report.rho) = (value.map(T::of), rho.filter(|rho| !rho.is_nan()).map(T::of));
        report.seconds.search += watch.lap();
        let falls = found.alpha != 0.0 && value.is_none_or(|value| value <= loss);
        if falls && value.is_none() {
            check::finite_slice("second-order step", &point)?;
        }
        if let Some(rho) = rho {
            self.rule.update(rho);
        }
        Ok(falls.then_some(point))
    }
}

/// What every method named in a file of its own takes from its assembly.
macro_rules! assembled {
    ($name:ident) => {
        impl<T: Scalar, S, L> $name<T, S, L> {
            /// With another search along the step.
            pub fn with_search<M>(self, search: M) -> $name<T, S, M> {
                $name { assembly: self.assembly.with_search(search) }
            }

            /// With another source of models of the same matrix.
            pub fn with_source<R>(self, source: R) -> $name<T, R, L> {
                $name { assembly: self.assembly.with_source(source) }
            }

            /// With another rule for λ.
            ///
            /// # Errors
            /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as
            /// [`DampingRule::check`](crate::optim::DampingRule::check).
            pub fn with_rule(self, rule: crate::optim::DampingRule) -> Result<Self> {
                Ok(Self { assembly: self.assembly.with_rule(rule)? })
            }

            /// The parts.
            pub fn assembly(&self) -> &DampedNewton<T, S, L> {
                &self.assembly
            }
        }

        impl<T, O, S, L> crate::optim::Optimizer<T, O> for $name<T, S, L>
        where
            T: Scalar,
            O: crate::optim::Objective<T> + ?Sized,
            S: crate::optim::ModelSource<T, O>,
            L: crate::optim::line_search::LineSearch,
        {
            fn step(
                &mut self,
                ctx: &crate::backend::Ctx<T>,
                objective: &O,
                theta: &mut [T],
                batch: &O::Batch,
            ) -> Result<crate::optim::StepReport<T>> {
                self.assembly.step(ctx, objective, theta, batch)
            }
        }
    };
}
pub(super) use assembled;
