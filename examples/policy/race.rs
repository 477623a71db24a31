//! One algorithm on one task, over all seeds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use crate::Failure;
use crate::control::learner::{Algorithm, Learner, Update};
use crate::control::{Task, random_returns};
use crate::log::{End, Event, Log, Step};
use crate::progress::Bar;

/// Episodes of a final evaluation, and of random actions.
const EPISODES: usize = 20;
const RANDOM_EPISODES: usize = 200;

/// The run of one seed.
pub struct Run {
    pub seed: u64,
    pub updates: Vec<Update>,
    /// Mean return of new episodes at the end.
    pub last: f64,
    pub seconds: f64,
}

pub struct Race {
    pub task: Task,
    pub algorithm: Algorithm,
    /// Mean return of random actions.
    pub random: f64,
    pub runs: Vec<Run>,
}

/// Runs the seeds side by side.
pub fn race(
    task: Task,
    algorithm: Algorithm,
    steps: usize,
    seeds: u64,
    interrupted: &AtomicBool,
    bar: &Bar,
) -> Result<Race, Failure> {
    let run = |seed: u64| {
        run(task, algorithm, steps, seed, interrupted, &|fraction, mean| {
            bar.show(fraction / seeds as f64, mean);
        })
    };
    let runs: pullback::Result<Vec<Run>> = (1..seeds + 1).into_par_iter().map(run).collect();
    let returns = random_returns(task, RANDOM_EPISODES, 1);
    let random = returns.iter().sum::<f64>() / returns.len() as f64;
    Ok(Race { task, algorithm, random, runs: runs?.into_iter().collect() })
}

fn run(
    task: Task,
    algorithm: Algorithm,
    steps: usize,
    seed: u64,
    interrupted: &AtomicBool,
    show: &(impl Fn(f64, Option<f64>) + Sync),
) -> pullback::Result<Run> {
    let start = Instant::now();
    let mut learner = Learner::new(task, algorithm, seed)?;
    let count = steps.div_ceil(learner.steps_of_update());
    let mut updates = Vec::with_capacity(count);
    for _ in 0..count {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        let update = learner.update()?;
        show(1.0 / count as f64, update.mean_return);
        updates.push(update);
    }
    let last = learner.evaluate(task, EPISODES, seed ^ 0x5EED)?;
    Ok(Run { seed, updates, last, seconds: start.elapsed().as_secs_f64() })
}

impl Race {
    /// Mean returns at the end, in order.
    pub fn lasts(&self) -> Vec<f64> {
        let mut lasts: Vec<f64> = self.runs.iter().map(|run| run.last).collect();
        lasts.sort_by(f64::total_cmp);
        lasts
    }

    /// Steps of a run.
    pub fn steps(&self) -> usize {
        self.runs.first().and_then(|run| run.updates.last()).map_or(0, |update| update.steps)
    }

    pub fn write(&self, log: &mut Log) {
        let (task, algorithm) = (self.task.name(), self.algorithm.name());
        for run in &self.runs {
            for update in &run.updates {
                log.write(&Event::Step(Step::new(task, algorithm, run.seed, update)));
            }
            let (steps, seconds, mean_return) = (self.steps(), run.seconds, run.last);
            let random_return = self.random;
            log.write(&Event::End(End { task, algorithm, seed: run.seed, steps, seconds, mean_return, random_return }));
        }
    }
}

/// The median of numbers in order; of an even count the mean of the middle two.
pub fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match n {
        0 => f64::NAN,
        _ => 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]),
    }
}
