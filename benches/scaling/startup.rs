//! From nothing to the end of the first step on the digits: seconds of whole processes, program start, data and exit included.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use pullback::Ctx;
use pullback::nn::data::digits;
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{Kfac, KfacOptions, Optimizer};

use crate::support::Times;
use crate::{Failure, Settings, defaults};

/// The bar, in seconds.
const LIMIT: f64 = 0.3;

/// A program of nothing but the library, then `train`, where that has been built beside this program.
pub fn startup(settings: &Settings, _: &Ctx<f32>) -> Result<(), Failure> {
    println!("\nstart-up: whole processes to the end of the first step on the digits, {} runs\n", runs(settings));
    println!("{:>9} {:>8}  program", "ms", "spread");
    let this = std::env::current_exe()?;
    let mut all = vec![row(settings, "the library alone, one step of K-FAC", || {
        let mut command = Command::new(&this);
        command.args(["child", "first-step"]);
        command
    })?];
    match train() {
        Some(train) => {
            let folder = tempfile::tempdir()?;
            for optimizer in [&["--optimizer", "kfac"][..], &[]] {
                let words = [&["--steps", "1", "--quiet"], optimizer].concat();
                all.push(row(settings, &format!("train {}", words.join(" ")), || {
                    let mut command = Command::new(&train);
                    command.args(&words).arg("--log").arg(folder.path().join("log.jsonl"));
                    command.arg("--plot").arg(folder.path().join("plot.svg"));
                    command
                })?);
            }
        }
        None => println!("{:>9} {:>8}  train: not built (cargo build --release --example train)", "-", "-"),
    }
    let slowest = all.into_iter().fold(0.0, f64::max);
    let verdict = if slowest <= LIMIT { "below" } else { "NOT below" };
    println!("\nThe slowest takes {slowest:.3} s: {verdict} {LIMIT} s.\n");
    Ok(())
}

fn runs(settings: &Settings) -> usize {
    if settings.quick { 2 } else { 11 }
}

fn row(settings: &Settings, title: &str, command: impl Fn() -> Command) -> Result<f64, Failure> {
    let mut times = Times::default();
    for run in 0..=runs(settings) {
        let once = || -> Result<(), Failure> {
            let status = command().stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { Err(format!("{title}: {status}").into()) }
        };
        // the first brings the program into memory
        if run == 0 { once()? } else { times.time(once)? }
    }
    println!("{:>9.1} {:>7.0}%  {title}", 1e3 * times.median(), 100.0 * times.spread());
    Ok(times.median())
}

/// The example beside this program: target/PROFILE/deps/scaling-HASH, target/PROFILE/examples/train.
fn train() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.parent()?.join("examples").join("train");
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    path.exists().then_some(path)
}

/// What the child does: the default network of `train`, one step.
pub fn first_step() -> Result<(), Failure> {
    let ctx = Ctx::<f32>::default();
    let data = digits::load::<f32>()?;
    let net: Mlp<f32> = Mlp::autoencoder(&[64, 200, 100, 50, 10], Activation::Tanh).l2(defaults::L2 as f32).build()?;
    let batch = Batch::autoencoder(data.inputs().submatrix(0, 0, 64, defaults::batch(data.inputs().ncols()))?)?;
    let mut theta = net.init(Init::sparse(), 1);
    let mut kfac: Kfac<f32, Workspace<f32>> = Kfac::new(KfacOptions::default())?;
    kfac.step(&ctx, &net, &mut theta, &batch)?;
    Ok(())
}
