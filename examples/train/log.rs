//! The log: one JSON object a line.

use std::io::Write;
use std::path::PathBuf;

use pullback::Scalar;
use pullback::optim::{Passes, PhaseSeconds, StepReport};
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::output::Output;

/// A line of the log. A field that does not apply, or has no finite value, is absent.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Start(Box<Settings>),
    Skip(Skip),
    Report(Report),
    Step(Step),
    End(End),
}

/// An optimizer that does not fit.
#[derive(Debug, Clone, Serialize)]
pub struct Skip {
    pub optimizer: &'static str,
    pub reason: String,
}

/// One step, with --log-steps.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub optimizer: &'static str,
    /// Steps before it.
    pub step: u64,
    pub report: Value,
}

/// A report without the fields that do not apply to its optimizer.
pub fn record<T: Scalar>(report: &StepReport<T>) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// Everything that a run depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub version: &'static str,
    pub data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub task: &'static str,
    pub arch: String,
    pub parameters: usize,
    pub train_cases: usize,
    pub test_cases: usize,
    pub optimizers: Vec<&'static str>,
    pub backend: String,
    pub backend_details: String,
    pub dtype: &'static str,
    pub threads: usize,
    pub batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    pub seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgd_lr: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgd_momentum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adam_lr: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub natural_gradient_lr: Option<f64>,
    pub damping: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    pub hf_damping: f64,
    pub fixed_damping: f64,
    pub l2: f64,
    pub evaluation_cases: usize,
}

/// The losses after some steps, on at most `evaluation_cases` of each part.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub optimizer: &'static str,
    pub step: u64,
    pub seconds: f64,
    pub passes: u64,
    #[serde(skip_serializing_if = "not_finite")]
    pub train_loss: f64,
    #[serde(skip_serializing_if = "not_finite")]
    pub test_loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// All passes so far.
    pub passes_by_kind: Passes,
    /// All seconds so far.
    pub phases: PhaseSeconds,
    /// The last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// How an optimizer ended, on all cases.
#[derive(Debug, Clone, Serialize)]
pub struct End {
    pub optimizer: &'static str,
    /// Cases that a step looked at.
    pub cases: usize,
    pub steps: u64,
    pub seconds: f64,
    pub passes: u64,
    #[serde(skip_serializing_if = "not_finite")]
    pub train_loss: f64,
    #[serde(skip_serializing_if = "not_finite")]
    pub test_loss: f64,
    #[serde(skip_serializing_if = "not_finite")]
    pub train_error: f64,
    #[serde(skip_serializing_if = "not_finite")]
    pub test_error: f64,
    /// Of the test part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// What an overhead budget chose and cost, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<String>,
    /// Present, and true, after Ctrl-C.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Why it stopped before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn not_finite(x: &f64) -> bool {
    !x.is_finite()
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
        let mut line = match serde_json::to_vec(event) {
            Ok(line) => line,
            Err(e) => return self.fail(e.into()),
        };
        line.push(b'\n');
        if let Err(e) = self.output.write_all(&line) {
            self.fail(e.into());
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    pub fn finish(self) -> Result<PathBuf, Failure> {
        match self.failure {
            Some(failure) => Err(format!("the log could not be written: {failure}").into()),
            None => self.output.finish(),
        }
    }
}
