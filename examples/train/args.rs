//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

use super::Failure;
use super::kinds::{self, Choice, Kind};

/// Seconds for each optimizer where neither --seconds nor --steps is given.
pub const SECONDS: f64 = 18.0;

/// Races optimizers on one network and one data set for the same time each
#[derive(Debug, Parser)]
#[command(name = "train", version, next_line_help = true, after_help = AFTER)]
pub struct Args {
    /// What to learn from: `digits` (bundled, 8 x 8 pixels), `curves`
    /// (generated, 28 x 28), `diabetes` (bundled, 10 measurements), a FOLDER
    /// with the four IDX files of MNIST or its kin, or a FILE of
    /// comma-separated numbers; files may be gzip
    /// [default: digits]
    #[arg(long, verbatim_doc_comment, hide_default_value = true, value_name = "DATA", default_value = "digits")]
    pub data: String,

    /// The column of a CSV file to predict; an autoencoder leaves it out
    /// [default: the last column]
    #[arg(long, verbatim_doc_comment, value_name = "NAME")]
    pub target: Option<String>,

    /// Rebuild the inputs (autoencoder), predict a class (classify), or
    /// predict a number (regress)
    /// [default: autoencoder, for diabetes regress]
    #[arg(long, verbatim_doc_comment, hide_possible_values = true, value_enum)]
    pub task: Option<Task>,

    /// Layer widths. For an autoencoder the encoder's, inputs first,
    /// mirrored for the decoder; otherwise all of them, inputs first,
    /// outputs last
    /// [default: 64-200-100-50-10 for digits, 784-400-200-100-50-25-6 for
    /// curves, 10-20-1 for diabetes, 784-1000-500-250-30 for 784 inputs,
    /// else two hidden layers that fit the data]
    #[arg(long, verbatim_doc_comment, value_name = "WIDTHS")]
    pub arch: Option<Arch>,

    #[arg(
        long,
        long_help = kinds::help(),
        hide_default_value = true,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "sgd,adam,kfac"
    )]
    pub optimizer: Vec<Choice>,

    /// The linear algebra: faer, openblas or reference
    /// [default: faer where compiled in, else openblas, else reference]
    #[arg(long, verbatim_doc_comment, hide_possible_values = true, value_enum)]
    pub backend: Option<BackendName>,

    /// Precision: f32 or f64
    /// [default: f32]
    #[arg(long, verbatim_doc_comment, hide_default_value = true, hide_possible_values = true, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,

    /// Cases in a minibatch, drawn without replacement
    /// [default: 256, or a fifth of the cases where that is less]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = at_least_one)]
    pub batch: Option<usize>,

    /// Seconds for each optimizer, evaluations not counted
    /// [default: 18 without --steps, else no limit]
    #[arg(long, verbatim_doc_comment, value_name = "S", value_parser = positive)]
    pub seconds: Option<f64>,

    /// Steps for each optimizer
    /// [default: no limit]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,

    /// Seed of the split, the initial parameters, the minibatches and the
    /// sampled targets
    /// [default: 1]
    #[arg(long, verbatim_doc_comment, hide_default_value = true, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Most threads to compute with
    /// [default: one for each processor]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,

    /// Learning rate of sgd, adam and natural-gradient alike, or one each:
    /// `sgd=0.02,adam=0.002,natural-gradient=0.3`; others find their steps
    /// [default: by task and width, from a sweep; written to the log]
    #[arg(long, verbatim_doc_comment, value_name = "RATES")]
    pub lr: Option<Rates>,

    /// The damping lambda: where kfac and its kin, levenberg-marquardt and hf
    /// start, and what newton, gauss-newton and natural-gradient keep
    /// [default: 0.1; hf and its kin 1; where it stays 0.01]
    #[arg(long, verbatim_doc_comment, value_name = "LAMBDA", value_parser = positive)]
    pub damping: Option<f64>,

    /// What a step of kfac and its kin may cost at most, in steps of sgd
    /// (forward, backward, one pass over the parameters): above 1. They then
    /// choose their intervals, the cases of their statistics and the kind of
    /// damping, and the table tells which and what they cost; in flops with
    /// --steps, else in seconds
    /// [default: no limit, an update at every minibatch]
    #[arg(long, verbatim_doc_comment, value_name = "X", value_parser = above_one)]
    pub budget: Option<f64>,

    /// Minibatches that grow exponentially from --batch to all cases, which
    /// they hold from step K on
    #[arg(long, verbatim_doc_comment, value_name = "K", value_parser = clap::value_parser!(u64).range(2..))]
    pub grow_batch: Option<u64>,

    /// The learning rate of sgd and heavy-ball falls as 1 / (1 + T step)
    #[arg(long, verbatim_doc_comment, value_name = "T", value_parser = positive)]
    pub decay: Option<f64>,

    /// Losses are those of the average of the iterates so far, with weights
    /// that grow like the power P of the step
    #[arg(long, verbatim_doc_comment, value_name = "P", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub average: Option<u32>,

    /// Print which optimizer reached which training loss when: up to three
    /// losses such as `20,15,14`, or `auto` for the best of all plus 1/4,
    /// 1/16 and 1/64 of the way to it from the start
    /// [default: auto with --optimizer all, else nothing]
    #[arg(long, verbatim_doc_comment, value_name = "LOSSES")]
    pub targets: Option<Targets>,

    /// Also write a table with a row for each optimizer to FILE, as CSV
    #[arg(long, verbatim_doc_comment, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// The log, one JSON object a line
    /// [default: runs/train.jsonl]
    #[arg(
        long,
        verbatim_doc_comment,
        hide_default_value = true,
        value_name = "FILE",
        default_value = "runs/train.jsonl"
    )]
    pub log: PathBuf,

    /// The plot of loss against seconds and against steps, SVG
    /// [default: runs/train.svg]
    #[arg(
        long,
        verbatim_doc_comment,
        hide_default_value = true,
        value_name = "FILE",
        default_value = "runs/train.svg"
    )]
    pub plot: PathBuf,

    /// Save the run to FILE at its end and on the way; of one optimizer
    #[arg(long, verbatim_doc_comment, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,

    /// Steps between two saves
    /// [default: 100]
    #[arg(long, verbatim_doc_comment, hide_default_value = true, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,

    /// Go on from a checkpoint; --steps and --seconds count from the start
    /// of the run, all other options must be those that it had
    #[arg(long, verbatim_doc_comment, value_name = "FILE")]
    pub resume: Option<PathBuf>,

    /// Tell every step to standard error: losses, model, damping, times
    #[arg(long, verbatim_doc_comment)]
    pub explain: bool,

    /// Every step into the log, with its whole report
    #[arg(long, verbatim_doc_comment)]
    pub log_steps: bool,

    /// No progress bar and no notes: the table and the paths only
    #[arg(long, verbatim_doc_comment)]
    pub quiet: bool,
}

impl Args {
    /// Who takes part.
    pub fn kinds(&self) -> Vec<Kind> {
        let kinds = self.optimizer.iter().flat_map(|choice| match choice {
            Choice::All => Kind::ALL.to_vec(),
            Choice::One(kind) => vec![*kind],
        });
        kinds.collect()
    }

    /// Whether an optimizer that does not fit is left out, not an error.
    pub fn takes_all(&self) -> bool {
        self.optimizer.contains(&Choice::All)
    }

    /// What is predicted.
    pub fn task(&self) -> Task {
        let usual = if self.data == "diabetes" { Task::Regress } else { Task::Autoencoder };
        self.task.unwrap_or(usual)
    }

    /// The losses of which is told when they were reached.
    pub fn targets(&self) -> Option<Targets> {
        self.targets.clone().or(self.takes_all().then_some(Targets::Auto))
    }

    /// What the types of the options cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        let kinds = self.kinds();
        if let Some(twice) = (1..kinds.len()).find(|&i| kinds[..i].contains(&kinds[i])) {
            return Err(format!("--optimizer names {} twice", kinds[twice].name()).into());
        }
        if kinds.len() > 1 && (self.checkpoint.is_some() || self.resume.is_some()) {
            return Err("--checkpoint and --resume take one optimizer: name it with --optimizer".into());
        }
        let files = [("--log", Some(&self.log)), ("--plot", Some(&self.plot)), ("--csv", self.csv.as_ref())];
        for (i, (option, file)) in files.iter().enumerate() {
            if let Some((other, path)) = files[..i].iter().find(|(_, earlier)| file.is_some() && earlier == file) {
                let path = path.map(|path| path.display().to_string()).unwrap_or_default();
                return Err(format!("{other} and {option} name the same file, {path}").into());
            }
        }
        Ok(())
    }
}

const AFTER: &str = "\
Losses are means over cases and include the L2 term; the squared error of a
case is the sum over its outputs. The columns of a CSV file, and the target of
--task regress, are standardized by the training part; squared errors of
--task regress are in the target's own unit. A fifth of the digits and of a CSV
file is set aside as the test part. While training, losses are taken on at most
2000 cases of each part; the table has them on all cases.

With the same --steps, --seed, --threads, --backend and --dtype two runs write
the same losses to the last bit. Ctrl-C ends the run early, with table, log and
plot of what was done. Exit codes: 0 done, 1 error, 2 wrong arguments.";

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    Autoencoder,
    Classify,
    Regress,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Task::Autoencoder => "autoencoder",
            Task::Classify => "classify",
            Task::Regress => "regress",
        }
    }
}

/// Losses of which is told when they were reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// From the run itself.
    Auto,
    /// These, at most three.
    Losses(Vec<f64>),
}

impl FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Targets::Auto);
        }
        let losses: Option<Vec<f64>> = text.split(',').map(|x| x.trim().parse().ok()).collect();
        let losses = losses.filter(|l| l.len() <= TARGETS && l.iter().all(|x| x.is_finite()));
        losses
            .map(Targets::Losses)
            .ok_or_else(|| format!("expected `auto`, or up to {TARGETS} losses such as 20,15,14"))
    }
}

/// Most targets: as many as a table of 80 columns holds.
pub const TARGETS: usize = 3;

/// A backend, compiled in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    Faer,
    #[value(alias = "blas")]
    Openblas,
    Reference,
}

/// A scalar type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    F32,
    F64,
}

/// Widths such as 784-1000-500-250-30.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arch(pub Vec<usize>);

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let widths: Option<Vec<usize>> = text.split('-').map(|w| w.trim().parse().ok().filter(|&w| w > 0)).collect();
        widths.filter(|w| w.len() >= 2).map(Arch).ok_or_else(|| "expected widths such as 64-200-100-50-10".to_owned())
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(usize::to_string).collect::<Vec<_>>().join("-"))
    }
}

/// Learning rates that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    pub sgd: Option<f64>,
    pub adam: Option<f64>,
    pub natural_gradient: Option<f64>,
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rates = Rates::default();
        for part in text.split(',') {
            match part.split_once('=') {
                None if part == text => {
                    let rate = Some(positive(part)?);
                    rates = Rates { sgd: rate, adam: rate, natural_gradient: rate };
                }
                Some(("sgd", rate)) => rates.sgd = Some(positive(rate)?),
                Some(("adam", rate)) => rates.adam = Some(positive(rate)?),
                Some(("natural-gradient", rate)) => rates.natural_gradient = Some(positive(rate)?),
                _ => return Err("expected a number, or numbers by name such as sgd=0.02,adam=0.002".to_owned()),
            }
        }
        Ok(rates)
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| "expected a positive number".to_owned())
}

fn above_one(text: &str) -> Result<f64, String> {
    let number = positive(text).ok().filter(|&x| x > 1.0);
    number.ok_or_else(|| "expected a number above 1".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".to_owned())
}
