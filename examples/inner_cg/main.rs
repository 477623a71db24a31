//! How many Gauss-Newton products conjugate gradient needs inside a Hessian-free step, by preconditioner (the chapter's
//! section 6), over a training run on the digits autoencoder.
//!
//! ```text
//! cargo run --release --example inner_cg -- [--quick] [--steps N] [--every N] [--lambda X] [--seed N] [--out FILE.csv]
//! ```
//! Every few steps the same system (G + λI) x = -∇h is solved from zero with each preconditioner; what is counted is the
//! products until φ(x) is as low as plain conjugate gradient brought it by Martens' stop. The statistics of each
//! preconditioner are those of the batch of the system, with all output directions (no sampling noise).

#[path = "../train/output.rs"]
mod output;

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

/// Counts the Gauss-Newton products of the inner solve by preconditioner, on the digits autoencoder.
#[derive(Parser)]
#[command(name = "inner_cg")]
struct Options {
    /// A smaller network, fewer cases and steps
    #[arg(long)]
    quick: bool,
    /// Steps of the training run [default: 30, quick: 8]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Steps between measurements
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// λ of the first step; it adapts
    #[arg(long, value_name = "X", default_value_t = 1.0)]
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
}

type T = f32;
type Net = Mlp<T>;
type Inner = Box<dyn InnerPreconditioner<T, Net>>;
type Failure = Box<dyn std::error::Error>;

/// The preconditioners that are compared with none.
fn candidates() -> Result<Vec<(&'static str, Inner)>> {
    let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
    let kronecker = |blocks, structure, damping| -> Result<Inner> {
        let options = KroneckerInnerOptions {
            blocks,
            structure,
            damping,
            fisher: FisherKind::Exact,
            decay: Decay::new(0.0)?,
            ..KroneckerInnerOptions::default()
        };
        Ok(Box::new(KroneckerInner::<T, Workspace<T>>::new(options)?))
    };
    use {KfacBlocks as B, LayerStructure as S};
    Ok(vec![
        ("jacobi (alpha 1)", Box::new(MartensDiagonal::new(1.0)?)),
        ("martens (alpha 3/4)", Box::new(MartensDiagonal::default())),
        ("kfac factored", kronecker(B::Diagonal, S::Kronecker, factored)?),
        ("kfac exact", kronecker(B::Diagonal, S::Kronecker, KroneckerDamping::Exact)?),
        ("ekfac", kronecker(B::Diagonal, S::EigenKronecker, KroneckerDamping::Exact)?),
        ("tridiagonal", kronecker(B::Tridiagonal, S::Kronecker, factored)?),
    ])
}

/// φ after each iteration from zero.
fn models(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m: Option<&dyn Preconditioner<T>>,
    b: &[T],
    stall: StallRule,
) -> Result<Vec<f64>> {
    let mut x = vec![0.0; b.len()];
    let options =
        CgOptions { stall: Some(stall), max_iterations: 250, relative_tolerance: 0.0, ..CgOptions::from_zero() };
    let report = pcg(ctx, a, m, MatRef::from_column(b), MatMut::from_column(&mut x), &options)?;
    Ok(report.columns()[0].models().to_vec())
}

/// One system: products of plain conjugate gradient, and of each candidate until φ is as low (`None` where it never is).
fn measure(
    ctx: &Ctx<T>,
    net: &Net,
    theta: &[T],
    batch: &Batch<T>,
    lambda: f64,
    candidates: &mut [(&'static str, Inner)],
) -> Result<(usize, Vec<Option<usize>>)> {
    let mut b = vec![0.0; theta.len()];
    net.loss_grad(ctx, theta, batch, &mut b)?;
    b.iter_mut().for_each(|g| *g = -*g);
    let a = Shifted::new(net.curvature(ctx, CurvatureMatrix::GaussNewton, theta, batch)?, lambda as T);
    let plain = models(ctx, &a, None, &b, StallRule::default())?;
    let target = plain.last().copied().unwrap_or(0.0);
    let never = StallRule { progress: 1e-9, ..StallRule::default() };
    let damping = Damping::try_from(lambda + f64::from(net.l2()))?;
    let mut counts = Vec::new();
    for (_, inner) in candidates {
        inner.prepare(ctx, net, theta, batch, damping, &mut Passes::default())?;
        counts.push(models(ctx, &a, inner.get(), &b, never)?.iter().position(|&phi| phi <= target));
    }
    Ok((plain.len().saturating_sub(1), counts))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn run(options: &Options) -> std::result::Result<(), Failure> {
    let output = options.out.as_deref().map(Output::create).transpose()?;
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let ctx = Ctx::<T>::default().with_threads(threads.max(1));
    let (widths, cases): (&[usize], usize) =
        if options.quick { (&[64, 40, 10], 200) } else { (&[64, 200, 100, 50, 10], 1500) };
    let steps = options.steps.unwrap_or(if options.quick { 8 } else { 30 });
    let net = Net::autoencoder(widths, Activation::Logistic).l2(1e-5).build()?;
    let set = digits::load::<T>()?;
    let x = Mat::from_fn(64, cases, |i, j| set.inputs().at(i, j));
    let batch = net.batch(x.as_ref(), x.as_ref())?;
    let mut theta = net.init(Init::sparse(), options.seed);
    let settings = HessianFreeOptions { lambda: options.lambda, ..HessianFreeOptions::default() };
    let mut trainer = HessianFree::new(settings, MartensDiagonal::default())?;
    let mut candidates = candidates()?;
    let mut csv = String::from("step,lambda,loss,plain");
    candidates.iter().for_each(|(name, _)| csv += &format!(",{name}"));
    csv.push('\n');
    let mut ratios = vec![Vec::new(); candidates.len()];
    for step in 0..steps {
        if (step as u64).is_multiple_of(options.every) {
            let lambda = trainer.lambda();
            let (plain, counts) = measure(&ctx, &net, &theta, &batch, lambda, &mut candidates)?;
            csv += &format!("{step},{lambda:e},{},{plain}", net.loss(&ctx, &theta, &batch)?);
            for (count, ratios) in counts.iter().zip(&mut ratios) {
                ratios.push(count.map_or(f64::INFINITY, |n| n as f64 / plain.max(1) as f64));
                csv += &count.map_or_else(|| ",".to_owned(), |n| format!(",{n}"));
            }
            csv.push('\n');
        }
        trainer.step(&ctx, &net, &mut theta, &batch)?;
    }
    print!("{csv}");
    println!("\nproducts, as a share of those of plain conjugate gradient (median over training)");
    for ((name, _), ratios) in candidates.iter().zip(ratios) {
        println!("{name:20} {:.3}", median(ratios));
    }
    if let Some(mut output) = output {
        output.write_all(csv.as_bytes())?;
        println!("written to {}", output.finish()?.display());
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
