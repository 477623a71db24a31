//! [`minimize`]: an optimizer on a problem until it is solved, or goes no further, or has used what it may.
//!
//! A step is idle when it was rejected, or lowered the loss by no more than rounding explains; an optimizer that has been
//! idle for many steps in a row goes no further. That says nothing of why: the caller compares with what is known.
//!
//! Laws        tests/problems.rs.

use super::super::tolerance;
use crate::backend::Ctx;
use crate::error::Result;
use crate::optim::{Objective, Optimizer, Passes};

/// How far [`minimize`] may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Steps of the optimizer, rejected ones included.
    pub steps: usize,
    /// Passes of all kinds, as the steps report them.
    pub passes: u64,
    /// Idle steps in a row after which the run ends.
    pub idle: usize,
    /// A loss at which the run ends, solved.
    pub target: Option<f64>,
}

/// 5000 steps, 100 of them idle in a row, any number of passes, no target.
impl Default for Limits {
    fn default() -> Self {
        Self { steps: 5000, passes: u64::MAX, idle: 100, target: None }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// The loss reached the target.
    Target,
    /// The steps became idle: a minimum, or as near to one as the optimizer gets.
    Idle,
    /// All steps were used.
    Steps,
    /// All passes were used.
    Passes,
    /// A step returned an error, whose text this is.
    Failed(String),
}

impl Stop {
    /// A word for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Stop::Target => "target",
            Stop::Idle => "idle",
            Stop::Steps => "steps",
            Stop::Passes => "passes",
            Stop::Failed(_) => "failed",
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// θ of the lowest loss that was met.
    pub theta: Vec<f64>,
    /// h there.
    pub loss: f64,
    /// Steps that were made until the loss was last lowered by more than rounding, or the target met.
    pub steps: usize,
    /// Passes of these steps.
    pub passes: Passes,
    /// Why it ended.
    pub stop: Stop,
}

/// Runs the optimizer from `start`.
///
/// ```
/// use pullback::Ctx;
/// use pullback::optim::{MomentumKind, Sgd};
/// use pullback::testing::problems::{Limits, MoreGarbowHillstrom, SumOfSquares, minimize};
/// let problem = MoreGarbowHillstrom::LinearFullRank;
/// let (h, mut sgd) = (SumOfSquares::new(problem), Sgd::new(0.5, 0.0, MomentumKind::HeavyBall)?);
/// let outcome = minimize(&Ctx::reference(), &mut sgd, &h, &(), &problem.start(), Limits::default())?;
/// assert!((2.0 * outcome.loss - problem.minima()[0]).abs() < 1e-9);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// Those of the loss; an error of a step is [`Stop::Failed`].
pub fn minimize<O: Objective<f64> + ?Sized, P: Optimizer<f64, O> + ?Sized>(
    ctx: &Ctx<f64>,
    optimizer: &mut P,
    objective: &O,
    batch: &O::Batch,
    start: &[f64],
    limits: Limits,
) -> Result<Outcome> {
    let rounding = tolerance::<f64>(1, 1.0);
    let reached = |loss: f64| limits.target.is_some_and(|target| loss <= target);
    let (mut theta, mut loss) = (start.to_vec(), objective.loss(ctx, start, batch)?);
    let (mut used, mut idle) = (Passes::default(), 0);
    let mut outcome = Outcome { theta: theta.clone(), loss, steps: 0, passes: used, stop: Stop::Steps };
    if reached(loss) {
        return Ok(Outcome { stop: Stop::Target, ..outcome });
    }
    for step in 1..=limits.steps {
        let report = match optimizer.step(ctx, objective, &mut theta, batch) {
            Ok(report) => report,
            Err(error) => {
                outcome.stop = Stop::Failed(error.to_string());
                break;
            }
        };
        used += report.passes;
        loss = objective.loss(ctx, &theta, batch)?;
        if loss < outcome.loss - rounding * outcome.loss.abs() {
            (outcome.steps, outcome.passes, idle) = (step, used, 0);
        } else {
            idle += 1;
        }
        if loss <= outcome.loss {
            outcome.theta.clone_from(&theta);
            outcome.loss = loss;
        }
        if reached(loss) {
            outcome.stop = Stop::Target;
        } else if idle >= limits.idle {
            outcome.stop = Stop::Idle;
        } else if used.total() >= limits.passes {
            outcome.stop = Stop::Passes;
        } else {
            continue;
        }
        break;
    }
    Ok(outcome)
}
