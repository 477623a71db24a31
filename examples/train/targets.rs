//! When each optimizer reached a loss.

use crate::args::Targets;
use crate::log::Step;

/// The way from the start to the best that is left at each automatic target.
const LEFT: [f64; 3] = [1.0 / 4.0, 1.0 / 16.0, 1.0 / 64.0];

/// Seconds and passes of the first look at which a loss was met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    pub seconds: f64,
    pub passes: u64,
}

/// The looks at one optimizer.
#[derive(Debug, Clone, Copy)]
pub struct Looks<'a>(pub &'a [Step], pub &'a str);

impl<'a> Looks<'a> {
    fn each(self) -> impl Iterator<Item = &'a Step> {
        let Looks(steps, name) = self;
        steps.iter().filter(move |step| step.optimizer == name)
    }

    /// The smallest training loss.
    pub fn best(self) -> f64 {
        self.each().map(|step| step.train_loss).filter(|loss| loss.is_finite()).fold(f64::INFINITY, f64::min)
    }

    pub fn reached(self, target: f64) -> Option<Reached> {
        let first = self.each().find(|step| step.train_loss <= target);
        first.map(|step| Reached { seconds: step.seconds, passes: step.passes })
    }
}

/// The losses that are asked for, or those that the run sets.
pub fn losses(targets: &Targets, steps: &[Step]) -> Vec<f64> {
    let finite = || steps.iter().map(|step| step.train_loss).filter(|loss| loss.is_finite());
    match (targets, finite().next()) {
        (Targets::Losses(losses), _) => losses.clone(),
        (Targets::Auto, None) => Vec::new(),
        (Targets::Auto, Some(start)) => {
            let best = finite().fold(start, f64::min);
            LEFT.iter().map(|left| best + left * (start - best)).collect()
        }
    }
}
