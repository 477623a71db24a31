//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::Failure;
use crate::control::Task;
use crate::control::learner::Algorithm;

/// Steps of environments for each run, where nothing else is asked for.
const STEPS: usize = 100_000;
const QUICK_STEPS: usize = 12_288;
const SEEDS: u64 = 5;
const QUICK_SEEDS: u64 = 2;

/// Trains policies by TRPO, ACKTR and PPO on two control tasks
#[derive(Debug, Parser)]
#[command(name = "policy", version, next_line_help = true, after_help = AFTER)]
pub struct Args {
    /// What to control: cart-pole, pendulum or all
    /// [default: all]
    #[arg(long, verbatim_doc_comment, hide_default_value = true, hide_possible_values = true, value_enum, default_value_t = TaskName::All)]
    pub task: TaskName,

    /// Who takes part, in this order, of trpo, acktr, ppo
    /// [default: trpo,acktr,ppo]
    #[arg(
        long,
        verbatim_doc_comment,
        hide_default_value = true,
        hide_possible_values = true,
        value_enum,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "trpo,acktr,ppo"
    )]
    pub algorithm: Vec<AlgorithmName>,

    /// Runs of each algorithm on each task, with the seeds 1, 2, ...
    /// [default: 5, or 2 with --quick]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,

    /// Steps of the environments for each run
    /// [default: 100000, or 12288 with --quick]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = at_least_one)]
    pub steps: Option<usize>,

    /// A short run that shows that everything works
    #[arg(long, verbatim_doc_comment)]
    pub quick: bool,

    /// Most seeds at a time
    /// [default: one for each processor]
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,

    /// The log, one JSON object a line
    /// [default: runs/policy.jsonl]
    #[arg(
        long,
        verbatim_doc_comment,
        hide_default_value = true,
        value_name = "FILE",
        default_value = "runs/policy.jsonl"
    )]
    pub log: PathBuf,

    /// The plot of returns against steps, SVG
    /// [default: runs/policy.svg]
    #[arg(
        long,
        verbatim_doc_comment,
        hide_default_value = true,
        value_name = "FILE",
        default_value = "runs/policy.svg"
    )]
    pub plot: PathBuf,

    /// No progress bar: the table and the paths only
    #[arg(long, verbatim_doc_comment)]
    pub quiet: bool,
}

const AFTER: &str = "\
A return is the sum of an episode's rewards: steps survived, at most 500, for
cart-pole; 200 steps of cos(angle) less effort for the pendulum. The policy has
two layers of 32 tanh units. The table has the mean return of 20 new episodes
under the last policy, its median and range over the seeds, beside that of
random actions. With the same --seeds and --steps two runs write the same
returns to the last bit.

Ctrl-C ends the run early, with table, log and plot of the algorithms that were
done. Exit codes: 0 done, 1 error, 2 wrong arguments.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    CartPole,
    Pendulum,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AlgorithmName {
    Trpo,
    Acktr,
    Ppo,
}

impl Args {
    /// What the types of the options cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        let names = self.algorithms();
        if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
            return Err(format!("--algorithm names {} twice", names[twice].name()).into());
        }
        if self.log == self.plot {
            return Err(format!("--log and --plot name the same file, {}", self.log.display()).into());
        }
        Ok(())
    }

    pub fn tasks(&self) -> Vec<Task> {
        match self.task {
            TaskName::CartPole => vec![Task::CartPole],
            TaskName::Pendulum => vec![Task::Pendulum],
            TaskName::All => vec![Task::CartPole, Task::Pendulum],
        }
    }

    pub fn algorithms(&self) -> Vec<Algorithm> {
        let of = |name: &AlgorithmName| match name {
            AlgorithmName::Trpo => Algorithm::Trpo,
            AlgorithmName::Acktr => Algorithm::Acktr,
            AlgorithmName::Ppo => Algorithm::Ppo,
        };
        self.algorithm.iter().map(of).collect()
    }

    pub fn steps(&self) -> usize {
        self.steps.unwrap_or(if self.quick { QUICK_STEPS } else { STEPS })
    }

    pub fn seeds(&self) -> u64 {
        self.seeds.unwrap_or(if self.quick { QUICK_SEEDS } else { SEEDS })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".to_owned())
}
