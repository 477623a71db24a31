//! Optimizers on problems with known answers: NIST's regressions, and the collection of Moré, Garbow and Hillstrom.
//!
//! `cargo run --release --example nist`
//! `cargo run --release --example nist -- --suite mgh --csv docs/more_garbow_hillstrom.csv`
//!
//! The first prints the score card of one optimizer: correct digits of the worst parameter, steps, evaluations of the
//! residuals and why the run ended, from each start. The second prints one line for each optimizer: how many of the 35
//! problems it solves within 5000 passes, and at what cost. Exit codes: 0; 1 where the optimizer misses NIST's bar (6 digits
//! on 24 from start 1 and 26 from start 2), or a file cannot be written; 2 for an option that does not exist.

mod collection;
mod optimizers;
#[path = "../train/output.rs"]
mod output;
mod regressions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// 27 regressions with certified parameters
    Nist,
    /// 35 problems with published minima
    Mgh,
}

#[derive(Parser)]
#[command(about = "Runs optimizers on problems with known answers")]
struct Args {
    /// Which problems
    #[arg(long, value_enum, default_value = "nist")]
    suite: Suite,
    /// Only this problem, by its name
    #[arg(long)]
    problem: Option<String>,
    /// Only this start of NIST's two
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    start: Option<u8>,
    /// The optimizer [default: levenberg-marquardt-qr for nist, all for mgh]
    #[arg(long)]
    optimizer: Option<String>,
    /// Also write the results here
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Print totals only
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.suite {
        Suite::Nist => regressions::run(&args),
        Suite::Mgh => collection::run(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is::<optimizers::Unknown>() { 2 } else { 1 })
        }
    }
}
