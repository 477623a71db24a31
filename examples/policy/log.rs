//! The log: one JSON object a line.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::Failure;
use crate::args::Args;
use crate::control::Task;
use crate::control::learner::{Algorithm, Update};
use crate::output::Output;

/// A line of the log. A field that does not apply is absent.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Start(Settings),
    Step(Step),
    End(End),
}

/// Everything that the runs depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub version: &'static str,
    pub tasks: Vec<&'static str>,
    pub algorithms: Vec<&'static str>,
    pub seeds: u64,
    pub steps: usize,
    pub threads: usize,
}

impl Settings {
    pub fn new(args: &Args, tasks: &[Task], algorithms: &[Algorithm], threads: usize) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            tasks: tasks.iter().map(|t| t.name()).collect(),
            algorithms: algorithms.iter().map(|a| a.name()).collect(),
            seeds: args.seeds(),
            steps: args.steps(),
            threads,
        }
    }
}

/// One update of a policy; `surrogate` is what the objective lost, that is gained, on its batch.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub task: &'static str,
    pub algorithm: &'static str,
    pub seed: u64,
    pub steps: usize,
    /// Of the last 20 episodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_return: Option<f64>,
    pub divergence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surrogate: Option<f64>,
    pub rejected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    pub passes: u64,
}

impl Step {
    pub fn new(task: &'static str, algorithm: &'static str, seed: u64, update: &Update) -> Self {
        let Update { steps, mean_return, report, divergence } = *update;
        let surrogate = report.actual_change().map(|change| -change);
        let (rejected, alpha, passes) = (report.rejected, report.alpha, report.passes.total());
        Self { task, algorithm, seed, steps, mean_return, divergence, surrogate, rejected, alpha, passes }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct End {
    pub task: &'static str,
    pub algorithm: &'static str,
    pub seed: u64,
    pub steps: usize,
    pub seconds: f64,
    /// Of 20 new episodes.
    pub mean_return: f64,
    pub random_return: f64,
}

/// The file, and the first thing that went wrong with it: a full disk must not cost the run.
pub struct Log {
    output: Output,
    failure: Option<Failure>,
}

impl Log {
    pub fn new(output: Output) -> Self {
        Self { output, failure: None }
    }

    pub fn write(&mut self, event: &Event) {
        let line = serde_json::to_vec(event).map_err(Failure::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.output.write_all(&line).map_err(Failure::from)
        });
        if let Err(failure) = written {
            self.failure.get_or_insert(failure);
        }
    }

    pub fn finish(self) -> Result<PathBuf, Failure> {
        match self.failure {
            Some(failure) => Err(format!("the log could not be written: {failure}").into()),
            None => self.output.finish(),
        }
    }
}
