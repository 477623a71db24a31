//! Trains policies on two control tasks by TRPO, ACKTR and PPO and compares them with the policy that knows nothing.
//!
//! `cargo run --release --example policy` needs no arguments: cart-pole and pendulum, three algorithms, five seeds each,
//! then a table, a log and a plot of learning curves. `--help` explains every option.

mod args;
#[path = "../train/axis.rs"]
#[allow(dead_code)] // the axes are linear here
mod axis;
mod control;
mod log;
#[path = "../train/output.rs"]
mod output;
mod plot;
mod progress;
mod race;
mod table;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use args::Args;
use log::{Event, Log, Settings};
use output::Output;
use progress::Bar;

/// An error that is one clear line.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    args.check()?;
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // the pool that the seeds share
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    // both files are opened before the first step, so that a typing error does not cost a run
    let mut log = Log::new(Output::create(&args.log)?);
    let plot = Output::create(&args.plot)?;
    let (tasks, algorithms) = (args.tasks(), args.algorithms());
    log.write(&Event::Start(Settings::new(args, &tasks, &algorithms, threads)));

    let mut races = Vec::new();
    'all: for &task in &tasks {
        for &algorithm in &algorithms {
            let bar = Bar::new(task.name(), algorithm.name(), args.quiet);
            let race = race::race(task, algorithm, args.steps(), args.seeds(), &interrupted, &bar)?;
            bar.finish();
            if interrupted.load(Ordering::Relaxed) {
                break 'all;
            }
            race.write(&mut log);
            races.push(race);
        }
    }
    // files first, and the table whatever became of them
    let (log, plot) = (log.finish(), plot::plot(&races, plot));
    let mut text = table::table(&races);
    for (what, path) in [("log", &log), ("plot", &plot)] {
        if let Ok(path) = path {
            text += &format!("{what:<5} {}\n", path.display());
        }
    }
    // a reader that has seen enough (`| head`) is no failure
    let _ = std::io::stdout().write_all(text.as_bytes());
    log?;
    plot?;
    match races.is_empty() {
        true => Err("interrupted before the first algorithm was done".into()),
        false => Ok(()),
    }
}
