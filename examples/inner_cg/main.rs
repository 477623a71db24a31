//! How many Gauss-Newton products conjugate gradient needs inside a Hessian-free step, by preconditioner (the chapter's
//! section 6), over a training run on the digits autoencoder 64-200-100-50-10 and back.
//!
//! ```text
//! cargo run --release --example inner_cg -- [--quick] [--steps N] [--every N] [--lambda X] [--seed N] [--out FILE.csv]
//! cargo run --release --example inner_cg -- --read FILE.csv         the tables of a run that is over
//! ```
//! Every few steps the same system (G + λI) x = -∇h is solved from zero with each preconditioner; what is counted is the
//! products until φ(x) has fallen by 90 %, 99 % and all of what plain conjugate gradient brought it down until Martens'
//! stop, or its limit of 250. The statistics of each preconditioner are those of the batch of the system, with all output
//! directions; those of `kfac sampled` have one sampled target a case, as the defaults have it. λ adapts, so a run sees
//! every λ from the first one down. What was found is in `docs/inner_cg.md`.

#[path = "../train/output.rs"]
mod output;
mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use output::Output;
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::krylov::{CgOptions, StallRule, pcg};
use pullback::linop::Shifted;
use pullback::nn::data::digits;
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, FisherKind, HessianFree, HessianFreeOptions, InnerPreconditioner, KfacBlocks,
    KroneckerInner, KroneckerInnerOptions, LayerStructure, MartensDiagonal, Objective, Optimizer, Passes,
};
use pullback::stats::Decay;
use pullback::{Ctx, Damping, Mat, MatMut, MatRef, Preconditioner, Result, SelfAdjoint};
use summary::{PLAIN, Row, SHARES, from_csv, tables, to_csv};

/// Counts the Gauss-Newton products of the inner solve by preconditioner, on the digits autoencoder.
#[derive(Parser)]
#[command(name = "inner_cg")]
struct Options {
    /// A smaller network, fewer cases and steps
    #[arg(long)]
    quick: bool,
    /// Steps of the training run [default: 120, quick: 8]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Steps between measurements [default: 6, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// λ of the first step; it adapts
    #[arg(long, value_name = "X", default_value_t = 45.0)]
    lambda: f64,
    /// Seed of the initial parameters
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads [default: as many as the machine has]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Also write every measurement to this file, as CSV
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the tables of such a file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "steps", "every", "lambda", "seed", "out"])]
    read: Option<PathBuf>,
}

type T = f32;
type Net = Mlp<T>;
type Inner = Box<dyn InnerPreconditioner<T, Net>>;
type Failure = Box<dyn std::error::Error>;

/// The preconditioners that are compared with none.
fn candidates() -> Result<Vec<(&'static str, Inner)>> {
    let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
    let kronecker = |blocks, structure, damping, fisher| -> Result<Inner> {
        let options = KroneckerInnerOptions {
            blocks,
            structure,
            damping,
            fisher,
            decay: Decay::new(0.0)?,
            ..KroneckerInnerOptions::default()
        };
        Ok(Box::new(KroneckerInner::<T, Workspace<T>>::new(options)?))
    };
    use {FisherKind as F, KfacBlocks as B, LayerStructure as S};
    Ok(vec![
        ("jacobi", Box::new(MartensDiagonal::new(1.0)?)),
        ("martens", Box::new(MartensDiagonal::default())),
        ("kfac sampled", kronecker(B::Diagonal, S::Kronecker, factored, F::MonteCarlo)?),
        ("kfac factored", kronecker(B::Diagonal, S::Kronecker, factored, F::Exact)?),
        ("kfac exact", kronecker(B::Diagonal, S::Kronecker, KroneckerDamping::Exact, F::Exact)?),
        ("ekfac", kronecker(B::Diagonal, S::EigenKronecker, KroneckerDamping::Exact, F::Exact)?),
        ("tridiagonal", kronecker(B::Tridiagonal, S::Kronecker, factored, F::Exact)?),
    ])
}

/// φ after each iteration from zero, and the extreme Ritz values.
fn solve(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m: Option<&dyn Preconditioner<T>>,
    b: &[T],
    stall: StallRule,
    max_iterations: usize,
) -> Result<(Vec<f64>, (f64, f64))> {
    let mut x = vec![0.0; b.len()];
    let options = CgOptions {
        stall: Some(stall),
        max_iterations,
        relative_tolerance: 0.0,
        coefficients: true,
        ..CgOptions::from_zero()
    };
    let report = pcg(ctx, a, m, MatRef::from_column(b), MatMut::from_column(&mut x), &options)?;
    let column = &report.columns()[0];
    let ritz = column.lanczos().map(|l| l.ritz_values(ctx)).transpose()?.unwrap_or_default();
    let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    Ok((column.models().to_vec(), (end(ritz.first()), end(ritz.last()))))
}

/// The iterations to a share of `decrease`, a negative number.
fn counts(models: &[f64], decrease: f64) -> [Option<usize>; 3] {
    SHARES.map(|share| models.iter().position(|&phi| phi <= share * decrease))
}

/// One system: plain conjugate gradient, and each candidate until φ is as low.
fn measure(
    ctx: &Ctx<T>,
    net: &Net,
    theta: &[T],
    batch: &Batch<T>,
    (step, lambda): (usize, f64),
    candidates: &mut [(&'static str, Inner)],
) -> Result<Vec<Row>> {
    let mut b = vec![0.0; theta.len()];
    let loss = f64::from(net.loss_grad(ctx, theta, batch, &mut b)?);
    b.iter_mut().for_each(|g| *g = -*g);
    let a = Shifted::new(net.curvature(ctx, CurvatureMatrix::GaussNewton, theta, batch)?, lambda as T);
    let (plain, ritz) = solve(ctx, &a, None, &b, StallRule::default(), LIMITS[2])?;
    let decrease = plain.last().copied().unwrap_or(0.0);
    let row = |name: &str, counts, ritz| Row { step, lambda, loss, preconditioner: name.to_owned(), counts, ritz };
    let mut rows = vec![row(PLAIN, counts(&plain, decrease), ritz)];
    let never = StallRule { progress: 1e-9, ..StallRule::default() };
    let damping = Damping::try_from(lambda + f64::from(net.l2()))?;
    for (name, inner) in candidates {
        inner.prepare(ctx, net, theta, batch, damping, &mut Passes::default())?;
        let mut reached = row(name, [None; 3], ritz);
        // from the beginning with a higher limit, until it is enough
        for limit in LIMITS {
            let (models, ritz) = solve(ctx, &a, inner.get(), &b, never, limit)?;
            (reached.counts, reached.ritz) = (counts(&models, decrease), ritz);
            if reached.counts[2].is_some() {
                break;
            }
        }
        rows.push(reached);
    }
    Ok(rows)
}

/// Iterations, the last one the limit of Hessian-free.
const LIMITS: [usize; 3] = [16, 64, 250];

fn run(options: &Options) -> std::result::Result<(), Failure> {
    if let Some(path) = &options.read {
        let refuse = |why: Failure| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.into()))?;
        print!("{}", tables(&from_csv(&text).map_err(refuse)?));
        return Ok(());
    }
    let output = options.out.as_deref().map(Output::create).transpose()?;
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let ctx = Ctx::<T>::default().with_threads(threads.max(1));
    let (widths, cases): (&[usize], usize) =
        if options.quick { (&[64, 40, 10], 200) } else { (&[64, 200, 100, 50, 10], 1500) };
    let steps = options.steps.unwrap_or(if options.quick { 8 } else { 120 });
    let every = options.every.unwrap_or(if options.quick { 2 } else { 6 });
    let net = Net::autoencoder(widths, Activation::Logistic).l2(1e-5).build()?;
    let set = digits::load::<T>()?;
    let x = Mat::from_fn(64, cases, |i, j| set.inputs().at(i, j));
    let batch = net.batch(x.as_ref(), x.as_ref())?;
    let mut theta = net.init(Init::sparse(), options.seed);
    let settings = HessianFreeOptions { lambda: options.lambda, ..HessianFreeOptions::default() };
    let mut trainer = HessianFree::new(settings, MartensDiagonal::default())?;
    let mut candidates = candidates()?;
    let mut rows = Vec::new();
    println!("products to {} % of plain's decrease", SHARES.map(|s| (100.0 * s).to_string()).join(", "));
    for step in 0..steps {
        if (step as u64).is_multiple_of(every) {
            let new = measure(&ctx, &net, &theta, &batch, (step, trainer.lambda()), &mut candidates)?;
            for Row { lambda, loss, preconditioner, counts, .. } in &new {
                let counts = counts.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string())).join(" ");
                println!("step {step}, λ {lambda:.1e}, loss {loss:.3}: {preconditioner:20} {counts}");
            }
            rows.extend(new);
        }
        trainer.step(&ctx, &net, &mut theta, &batch)?;
    }
    print!("{}", tables(&rows));
    if let Some(mut output) = output {
        output.write_all(to_csv(&rows).as_bytes())?;
        println!("\nwritten to {}", output.finish()?.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inner_cg: {error}");
            ExitCode::FAILURE
        }
    }
}
