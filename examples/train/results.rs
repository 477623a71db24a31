//! The results as CSV: a row for each optimizer.

use std::io::Write;
use std::path::PathBuf;

use crate::Failure;
use crate::log::{End, Settings, Skip, Step};
use crate::output::Output;
use crate::targets::Looks;

/// Writes one row for each optimizer, those that did not fit last.
pub fn write(
    settings: &Settings,
    (steps, ends, skips): (&[Step], &[End], &[Skip]),
    targets: &[f64],
    mut output: Output,
) -> Result<PathBuf, Failure> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = COLUMNS.iter().map(|&name| name.to_owned()).collect();
    for k in 1..=targets.len() {
        header.extend([format!("target_{k}"), format!("seconds_{k}"), format!("passes_{k}")]);
    }
    header.push("note".to_owned());
    rows.write_record(&header)?;
    let width = header.len();
    let shared = [
        settings.data.clone(),
        settings.task.to_owned(),
        settings.arch.clone(),
        settings.parameters.to_string(),
        settings.train_cases.to_string(),
        settings.seed.to_string(),
        settings.dtype.to_owned(),
        settings.backend.clone(),
        settings.threads.to_string(),
    ];
    for end in ends {
        let looks = Looks(steps, end.optimizer);
        let mut row = shared.to_vec();
        row.extend([
            end.optimizer.to_owned(),
            end.cases.to_string(),
            end.steps.to_string(),
            format!("{:.3}", end.seconds),
            end.passes.to_string(),
            number(looks.best()),
            number(end.train_loss),
            number(end.test_loss),
            number(end.train_error),
            number(end.test_error),
        ]);
        for &target in targets {
            row.push(number(target));
            let reached = looks.reached(target);
            row.push(reached.map(|r| format!("{:.3}", r.seconds)).unwrap_or_default());
            row.push(reached.map(|r| r.passes.to_string()).unwrap_or_default());
        }
        row.push(end.error.clone().unwrap_or_default());
        rows.write_record(&row)?;
    }
    for skip in skips {
        let mut row = shared.to_vec();
        row.push(skip.optimizer.to_owned());
        row.resize(width - 1, String::new());
        row.push(skip.reason.clone());
        rows.write_record(&row)?;
    }
    output.write_all(&rows.into_inner().map_err(|e| e.into_error())?)?;
    output.finish()
}

const COLUMNS: [&str; 19] = [
    "data",
    "task",
    "arch",
    "parameters",
    "train_cases",
    "seed",
    "dtype",
    "backend",
    "threads",
    "optimizer",
    "cases",
    "steps",
    "seconds",
    "passes",
    "best_train_loss",
    "train_loss",
    "test_loss",
    "train_error",
    "test_error",
];

/// Six digits; nothing for what is not finite.
fn number(x: f64) -> String {
    if x.is_finite() { format!("{:.6}", x) } else { String::new() }
}
