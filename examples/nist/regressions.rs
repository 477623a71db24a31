//! The score card of NIST's regressions.

use std::error::Error;
use std::io::Write;

use pullback::Ctx;
use pullback::testing::problems::nist::Regression;
use pullback::testing::problems::{Limits, Outcome, SumOfSquares, minimize};

use super::Args;
use super::optimizers::{self, Entry, Unknown};
use super::output::Output;

const DIGITS: f64 = 6.0;
const STEPS: usize = 10_000;
/// Of 27, from start 1 and from start 2.
const BAR: [usize; 2] = [24, 26];

/// One start of one regression.
struct Run {
    start: usize,
    digits: f64,
    outcome: Outcome,
}

fn run_from(problem: &Regression, start: usize, entry: &Entry) -> pullback::Result<Run> {
    let (h, x) = (SumOfSquares::new(problem.clone()), problem.start(start));
    let (mut optimizer, limits) = ((entry.make)()?, Limits { steps: STEPS, ..Limits::default() });
    let outcome = minimize(&Ctx::reference(), &mut *optimizer, &h, &(), &x, limits)?;
    Ok(Run { start, digits: problem.correct_digits(&outcome.theta), outcome })
}

fn cell(run: &Run) -> String {
    let Outcome { steps, passes, stop, .. } = &run.outcome;
    format!("{:>8.1} {steps:>6} {:>6}  {:<7}", run.digits, passes.forward, stop.name())
}

/// Whether the bar is met, where it applies: on all regressions.
pub fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let entry = optimizers::named(args.optimizer.as_deref().unwrap_or("levenberg-marquardt-qr"))?;
    let problems = match &args.problem {
        Some(name) => vec![Regression::named(name).map_err(|error| Unknown(error.to_string()))?],
        None => Regression::all()?,
    };
    let starts: Vec<usize> = args.start.map_or(vec![1, 2], |start| vec![usize::from(start)]);
    let mut csv = args.csv.as_deref().map(Output::create).transpose()?;
    if let Some(csv) = &mut csv {
        writeln!(csv, "problem,difficulty,optimizer,start,digits,steps,evaluations,passes,residual_sum,stop")?;
    }
    if !args.quiet {
        println!("NIST StRD, {}: correct digits of the worst parameter", entry.name);
        let head =
            |start: &usize| format!("{:>8} {:>6} {:>6}  {:<7}", format!("start {start}"), "steps", "evals", "stop");
        println!("{:<9} {:<8}{}", "problem", "level", starts.iter().map(head).collect::<String>());
    }
    let mut good = [0; 2];
    for problem in &problems {
        let (name, level) = (problem.model().name(), problem.difficulty().name());
        let runs = starts.iter().map(|&start| run_from(problem, start, entry)).collect::<Result<Vec<_>, _>>()?;
        for run in &runs {
            good[run.start - 1] += usize::from(run.digits >= DIGITS);
            if let Some(csv) = &mut csv {
                let Outcome { steps, passes, loss, stop, .. } = &run.outcome;
                let (start, digits, sum) = (run.start, run.digits, 2.0 * loss);
                let (evaluations, total, stop) = (passes.forward, passes.total(), stop.name());
                let by = entry.name;
                writeln!(csv, "{name},{level},{by},{start},{digits:.2},{steps},{evaluations},{total},{sum:e},{stop}")?;
            }
        }
        if !args.quiet {
            println!("{name:<9} {level:<8}{}", runs.iter().map(cell).collect::<String>());
        }
    }
    csv.map(Output::finish).transpose()?;
    let of = problems.len();
    for &start in &starts {
        println!("start {start}: {} of {of} with at least {DIGITS} digits", good[start - 1]);
    }
    let met = |&start: &usize| args.problem.is_some() || good[start - 1] >= BAR[start - 1];
    Ok(starts.iter().all(met))
}
