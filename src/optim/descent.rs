//! Descent: a direction and a line search make an optimizer.
//!
//! ```text
//! p  from the Direction          not a descent direction: forget, ask again, at last p = -∇h
//! α  from the LineSearch         no α: θ stays to the bit, the direction forgets, the step is reported as rejected
//! θ ← θ + α p
//! ```
//! The first α that is tried: 1 for a direction that minimizes a model; otherwise α_{k-1} φ'_{k-1}(0) / φ'_k(0), at the
//! first step min(1, 1/‖p‖).
//!
//! Deviations  An α that met no condition is taken where it lowers h. A direction of exact zeros at a zero gradient is a step
//!             of no length, not a rejection.
//! Cost        one gradient, the direction, the trials of the search. With [`Batches::Fixed`] the gradient is that of the
//!             accepted trial; with changing batches y costs none beyond the trial's where the search takes slopes. Five
//!             n-vectors beside the direction's state.
//! Laws        tests/descent_methods.rs, tests/descent_rules.rs.
//! Reference   J. Nocedal, S. J. Wright, Numerical Optimization (2006), chapter 3, Eq 3.60 for the first α.

use super::direction::{AcceptedStep, Direction};
use super::line_search::{LineSearch, SearchReport, SearchStart, SearchStop};
use super::report::Stopwatch;
use super::{Line, LineFunction, Objective, Optimizer, Passes, StepReport, take_gradient};
use crate::backend::sums::{dot, norm};
use crate::backend::{Ctx, check};
use crate::error::{Result, check_len};
use crate::scalar::Scalar;

/// Whether consecutive steps see one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Batches {
    /// Each step may see another batch, or one that was refilled in place: loss and gradient are taken anew.
    #[default]
    Changing,
    /// All steps see the same batch: loss and gradient at the accepted point are those of the next step, if the caller has
    /// left θ as it was.
    Fixed,
}

/// The optimizer that a [`Direction`] and a [`LineSearch`] make.
///
/// ```
/// use pullback::optim::line_search::Armijo;
/// use pullback::optim::{Descent, Objective, Optimizer, SteepestDescent};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h) = (Ctx::<f64>::default(), LeastSquares::new(2, 3, 0.0));
/// let batch = Regression::random(2, 3, 20, 1);
/// let mut theta = vec![0.5; 6];
/// let mut descent = Descent::assemble(SteepestDescent, Armijo::default());
/// let report = descent.step(&ctx, &h, &mut theta, &batch)?;
/// assert!(report.loss_after < Some(report.loss_before));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Descent<T, D, S> {
    direction: D,
    search: S,
    batches: Batches,
    /// α φ'(0) of the last step.
    promised: Option<f64>,
    /// θ at which `loss` and `gradient` hold; empty where they must be taken anew.
    known_at: Vec<T>,
    loss: f64,
    gradient: Vec<T>,
    #[cfg_attr(feature = "serde", serde(skip, default = "Workspace::default"))]
    work: Workspace<T>,
}

#[derive(Debug, Clone)]
struct Workspace<T> {
    direction: Vec<T>,
    line: [Vec<T>; 2],
    step: Vec<T>,
    change: Vec<T>,
}

impl<T> Default for Workspace<T> {
    fn default() -> Self {
        Self { direction: Vec::new(), line: [Vec::new(), Vec::new()], step: Vec::new(), change: Vec::new() }
    }
}

impl<T: Scalar, D, S> Descent<T, D, S> {
    /// From a direction and a search, for batches that may change.
    pub fn assemble(direction: D, search: S) -> Self {
        Self {
            direction,
            search,
            batches: Batches::Changing,
            promised: None,
            known_at: Vec::new(),
            loss: 0.0,
            gradient: Vec::new(),
            work: Workspace::default(),
        }
    }

    /// The same with another line search.
    #[must_use]
    pub fn with_search<R>(self, search: R) -> Descent<T, D, R> {
        Descent { batches: self.batches, ..Descent::assemble(self.direction, search) }
    }

    /// The same, told whether batches change.
    #[must_use]
    pub fn with_batches(self, batches: Batches) -> Self {
        Self { batches, known_at: Vec::new(), ..self }
    }

    /// The direction and what it knows.
    pub fn direction(&self) -> &D {
        &self.direction
    }

    /// The line search.
    pub fn search(&self) -> &S {
        &self.search
    }

    /// ∇h at θ, where the last step left it known: with [`Batches::Fixed`], at the θ that the step came to.
    pub fn gradient_at(&self, theta: &[T]) -> Option<&[T]> {
        (!theta.is_empty() && self.known_at == theta).then_some(&self.gradient[..])
    }

    /// Another line search for the next steps, for a schedule.
    pub fn set_search(&mut self, search: S) {
        self.search = search;
    }
}

impl<T: Scalar, D, S: LineSearch> Descent<T, D, S> {
    /// Loss and gradient at θ, taken or known.
    fn evaluate<O: Objective<T> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
    ) -> Result<Passes> {
        check_len("theta", objective.layout().len(), theta.len())?;
        if self.gradient_at(theta).is_some() {
            return Ok(Passes::default());
        }
        // beside the old gradient, which an error leaves where it is
        let mut gradient = std::mem::take(&mut self.work.step);
        let taken = take_gradient(ctx, objective, theta, batch, &mut gradient);
        if let Ok(loss) = &taken {
            self.known_at.clear();
            self.loss = loss.f64();
            std::mem::swap(&mut self.gradient, &mut gradient);
        }
        self.work.step = gradient;
        taken.map(|_| Passes::GRADIENT)
    }

    /// p and its slope.
    fn descending<O: Objective<T> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        report: &mut StepReport<T>,
    ) -> Result<f64>
    where
        D: Direction<T, O>,
    {
        let p = &mut self.work.direction;
        p.resize(theta.len(), T::ZERO);
        for forgotten in [false, true] {
            if forgotten {
                self.direction.reset();
                report.restarted = true;
            }
            let told = self.direction.direction(ctx, objective, batch, theta, &self.gradient, p)?;
            report.restarted |= told.restarted;
            report.momentum = told.momentum.map(T::of);
            let slope = dot(p, &self.gradient);
            if slope < 0.0 && check::finite_slice("direction", p).is_ok() {
                return Ok(slope);
            }
        }
        report.momentum = None;
        p.iter_mut().zip(&self.gradient).for_each(|(p, &g)| *p = -g);
        Ok(dot(p, &self.gradient))
    }

    fn first_alpha(&self, slope: f64, minimizes_model: bool) -> f64 {
        let guess = match self.promised {
            _ if minimizes_model => 1.0,
            Some(promised) => promised / slope,
            None => 1f64.min(1.0 / norm(&self.work.direction)),
        };
        if guess.is_finite() && guess > 0.0 { guess } else { 1.0 }
    }
}

impl<T, O, D, S> Optimizer<T, O> for Descent<T, D, S>
where
    T: Scalar,
    O: Objective<T> + ?Sized,
    D: Direction<T, O>,
    S: LineSearch,
{
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let mut report = StepReport { passes: self.evaluate(ctx, objective, theta, batch)?, ..StepReport::default() };
        report.loss_before = T::of(self.loss);
        report.gradient_norm = Some(T::of(norm(&self.gradient)));
        report.seconds.gradient = watch.lap();
        if self.gradient.iter().all(|&g| g == T::ZERO) {
            report.loss_after = Some(report.loss_before);
            report.step_norm = Some(T::ZERO);
            return Ok(report);
        }
        let slope = self.descending(ctx, objective, theta, batch, &mut report)?;
        report.seconds.solve = watch.lap();
        let minimizes_model = self.direction.minimizes_model();
        let start = SearchStart { value: self.loss, slope, initial: self.first_alpha(slope, minimizes_model) };

        let memory = std::mem::take(&mut self.work.line);
        let mut line = Line::over(ctx, objective, batch, theta, &self.work.direction, memory);
        let mut found = self.search.search(&mut line, start)?;
        let moved = accept(&mut line, &mut found, start, theta, self.direction.wants_change())?;
        report.passes += line.passes();
        report.search = Some(found);
        report.alpha = Some(T::of(found.alpha));
        let knows_gradient = moved && line.gradient(found.alpha).is_some();
        if moved {
            line.point(found.alpha);
        }
        let [point, gradient] = line.into_memory();
        self.work.line = [point, gradient];
        if moved {
            self.learn::<O>(ctx, theta, &found, knows_gradient)?;
            report.step_norm = Some(T::of(norm(&self.work.step)));
            report.loss_after = found.value.map(T::of);
            self.promised = Some(found.alpha * slope);
        } else {
            report.rejected = true;
            report.step_norm = Some(T::ZERO);
            self.direction.reset();
            self.promised = None;
            self.remember(theta, true);
        }
        if minimizes_model && moved {
            let predicted = (found.alpha - 0.5 * found.alpha * found.alpha) * slope;
            report.predicted_change = Some(T::of(predicted));
            report.rho = found.value.map(|value| T::of((value - start.value) / predicted)).filter(|r| r.is_finite());
        }
        report.seconds.search = watch.lap();
        Ok(report)
    }
}

/// Whether the step that a search found is to be taken; where the direction wants y, the gradient there is taken too.
fn accept<T: Scalar, O: Objective<T> + ?Sized>(
    line: &mut Line<'_, T, O>,
    found: &mut SearchReport,
    start: SearchStart,
    theta: &[T],
    wants_change: bool,
) -> Result<bool> {
    let lower = found.accepted() || found.value.is_some_and(|value| value < start.value);
    let finite = found.value.is_none_or(f64::is_finite);
    if !(found.alpha > 0.0 && lower && finite) {
        return Ok(false);
    }
    let point = line.point(found.alpha);
    if point == theta {
        found.stop = SearchStop::TooShort;
        return Ok(false);
    }
    if check::finite_slice("theta", point).is_err() {
        return Ok(false);
    }
    if wants_change && line.gradient(found.alpha).is_none() {
        let (value, slope) = line.value_and_slope(found.alpha)?;
        (found.value, found.slope) = (Some(found.value.unwrap_or(value)), Some(slope));
        if !value.is_finite() {
            return Ok(false);
        }
    }
    Ok(line.gradient(found.alpha).is_none_or(|gradient| check::finite_slice("gradient", gradient).is_ok()))
}

impl<T: Scalar, D, S> Descent<T, D, S> {
    /// Moves θ to the accepted point and tells the direction.
    fn learn<O: Objective<T> + ?Sized>(
        &mut self,
        ctx: &Ctx<T>,
        theta: &mut [T],
        found: &SearchReport,
        knows_gradient: bool,
    ) -> Result<()>
    where
        D: Direction<T, O>,
    {
        let Workspace { direction, line: [point, gradient], step, change } = &mut self.work;
        step.clear();
        step.extend(point.iter().zip(theta.iter()).map(|(&new, &old)| new - old));
        change.clear();
        if self.direction.wants_change() {
            change.extend(gradient.iter().zip(&self.gradient).map(|(&new, &old)| new - old));
        }
        let step = AcceptedStep { alpha: found.alpha, direction, gradient: &self.gradient, step, change };
        self.direction.accepted(ctx, step)?;
        theta.copy_from_slice(point);
        if knows_gradient {
            std::mem::swap(&mut self.gradient, gradient);
        }
        if let Some(value) = found.value {
            self.loss = value;
        }
        self.remember(theta, knows_gradient && found.value.is_some());
        Ok(())
    }

    /// Where loss and gradient are known, if the next step may use them.
    fn remember(&mut self, theta: &[T], known: bool) {
        self.known_at.clear();
        if known && self.batches == Batches::Fixed {
            self.known_at.extend_from_slice(theta);
        }
    }
}
