//! Success counts on the collection of Moré, Garbow and Hillstrom.

use std::error::Error;
use std::io::Write;

use pullback::Ctx;
use pullback::optim::Objective;
use pullback::testing::problems::{Limits, MoreGarbowHillstrom, Outcome, SumOfSquares, minimize};

use super::Args;
use super::optimizers::{self, Entry, Unknown};
use super::output::Output;

const PASSES: u64 = 5000;

struct Run {
    problem: MoreGarbowHillstrom,
    outcome: Outcome,
    solved: Option<f64>,
}

/// Until the first point that counts as solved for the global minimum, or until the steps become idle, at another one
/// perhaps.
fn run_one(problem: MoreGarbowHillstrom, entry: &Entry) -> pullback::Result<Run> {
    let (ctx, h, x) = (Ctx::reference(), SumOfSquares::new(problem), problem.start());
    let at_start = 2.0 * h.loss(&ctx, &x, &())?;
    let target = problem.target(at_start) / 2.0;
    let limits = Limits { steps: 5000, passes: PASSES, idle: 100, target: Some(target) };
    let mut optimizer = (entry.make)()?;
    let outcome = minimize(&ctx, &mut *optimizer, &h, &(), &x, limits)?;
    let solved = problem.solved(2.0 * outcome.loss, at_start);
    Ok(Run { problem, outcome, solved })
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

pub fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let entries: Vec<&Entry> = match &args.optimizer {
        Some(name) => vec![optimizers::named(name)?],
        None => optimizers::all(),
    };
    let problems: Vec<MoreGarbowHillstrom> = match &args.problem {
        Some(name) => {
            let same = |p: &MoreGarbowHillstrom| p.name().eq_ignore_ascii_case(name) || p.number().to_string() == *name;
            let found = MoreGarbowHillstrom::ALL.into_iter().find(same);
            vec![found.ok_or_else(|| Unknown(format!("no problem `{name}`: give its name or its number, 1 to 35")))?]
        }
        None => MoreGarbowHillstrom::ALL.to_vec(),
    };
    let mut csv = args.csv.as_deref().map(Output::create).transpose()?;
    if let Some(csv) = &mut csv {
        writeln!(csv, "number,problem,n,m,optimizer,solved,f,minimum,steps,losses,gradients,products,passes,stop")?;
    }
    println!("{:<22} {:>9} {:>13} {:>13} {:>9}", "optimizer", "solved", "median passes", "median losses", "failed");
    for entry in entries {
        let runs = problems.iter().map(|&problem| run_one(problem, entry)).collect::<Result<Vec<_>, _>>()?;
        if let Some(csv) = &mut csv {
            for run in &runs {
                write_row(csv, entry, run)?;
            }
        }
        let solved: Vec<&Run> = runs.iter().filter(|run| run.solved.is_some()).collect();
        let passes = median(solved.iter().map(|run| run.outcome.passes.total()).collect());
        let losses = median(solved.iter().map(|run| run.outcome.passes.forward).collect());
        let failed = runs.iter().filter(|run| run.outcome.stop.name() == "failed").count();
        let score = format!("{}/{}", solved.len(), runs.len());
        println!("{:<22} {score:>9} {passes:>13} {losses:>13} {failed:>9}", entry.name);
        if !args.quiet && (args.optimizer.is_some() || args.problem.is_some()) {
            runs.iter().for_each(print_row);
        }
    }
    csv.map(Output::finish).transpose()?;
    Ok(true)
}

fn print_row(run: &Run) {
    let Outcome { loss, steps, passes, stop, .. } = &run.outcome;
    let solved = if run.solved.is_some() { "yes" } else { "no" };
    let (number, name) = (run.problem.number(), run.problem.name());
    let (f, total, stop) = (2.0 * loss, passes.total(), stop.name());
    println!("  {number:>2} {name:<30} {solved:<3} f {f:>11.5e} {steps:>5} steps {total:>5} {stop}");
}

fn write_row(csv: &mut impl Write, entry: &Entry, run: &Run) -> std::io::Result<()> {
    let (n, m) = (run.problem.start().len(), run.problem.residuals_and_parameters().0);
    let Outcome { loss, steps, passes, stop, .. } = &run.outcome;
    let minimum = run.solved.map(|f| f.to_string()).unwrap_or_default();
    writeln!(
        csv,
        "{},\"{}\",{n},{m},{},{},{:e},{minimum},{steps},{},{},{},{},{}",
        run.problem.number(),
        run.problem.name(),
        entry.name,
        run.solved.is_some(),
        2.0 * loss,
        passes.forward,
        passes.backward,
        passes.jvp + passes.vjp + passes.hvp,
        passes.total(),
        stop.name()
    )
}
