//! Picks the default learning rates and damping of the `train` example: every setting of a grid, the same seconds each.
//!
//! `cargo run --release --example sweep [-- --seconds 6 --csv docs/sweep_digits.csv]`
//! `cargo run --release --example sweep -- --data FOLDER --seconds 12 --csv docs/sweep_mnist.csv`
//! `cargo run --release --example sweep -- --only hf,hf-martens,natural-gradient --seconds 12 --csv docs/sweep_second_order.csv`
//! `cargo run --release --example sweep -- --data FOLDER --only kfac-refresh --seconds 20`
//!
//! The autoencoders of `train`: digits (64-200-100-50-10, batch 256) on two seeds that `train` does not use by default, or
//! a FOLDER with the four files of MNIST (784-1000-500-250-30, batch 512) on one. A setting is judged by the mean over the
//! seeds of its train loss; the best of each optimizer is marked.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use pullback::curvature::KroneckerDamping;
use pullback::krylov::{CgOptions, NegativeCurvature, StallRule};
use pullback::nn::data::{Dataset, Minibatches, Partial, digits, idx};
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::{
    Adam, CgModel, CurvatureMatrix, EigenUpdate, HessianFree, HessianFreeOptions, Kfac, KfacOptions, MartensDiagonal,
    MomentumKind, NaturalGradient, NoPreconditioner, Optimizer, RefreshSchedule, Sgd,
};
use pullback::{Ctx, Result};

type Float = f32;

#[derive(Parser)]
#[command(about = "Sweeps the settings of the train example's optimizers on the digits autoencoder")]
struct Args {
    /// A folder with the four IDX files of MNIST [default: the bundled digits]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seconds for each setting and seed
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Threads of each run
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Whose settings: sgd, adam, kfac, kfac-refresh, hf,
    /// hf-martens, natural-gradient
    #[arg(long, value_delimiter = ',', default_value = "sgd,adam,kfac")]
    only: Vec<String>,
    /// Also write the table here
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Data, widths, batch and seeds.
struct Problem {
    cases: Vec<Dataset<Float>>,
    widths: &'static [usize],
    batch: usize,
    seeds: &'static [u64],
}

impl Problem {
    fn load(args: &Args) -> Result<Self> {
        let seeds: &[u64] = if args.data.is_some() { &[101] } else { &[101, 102] };
        Ok(match &args.data {
            Some(folder) => Self {
                cases: vec![idx::read_directory(folder)?.0.into_reconstruction()],
                widths: &[784, 1000, 500, 250, 30],
                batch: 512,
                seeds,
            },
            None => {
                let training = |&seed: &u64| Ok(digits::load::<Float>()?.into_reconstruction().split(0.2, seed)?.0);
                let cases = seeds.iter().map(training).collect::<Result<_>>()?;
                Self { cases, widths: &[64, 200, 100, 50, 10], batch: 256, seeds }
            }
        })
    }
}

type Racer = Box<dyn Optimizer<Float, Mlp<Float>>>;

/// A setting by name and how to make its optimizer.
struct Setting {
    optimizer: &'static str,
    setting: String,
    /// On all cases instead of minibatches.
    full: bool,
    make: Box<dyn Fn() -> Result<Racer>>,
}

fn grid(only: &[String]) -> Vec<Setting> {
    let mut grid = Vec::new();
    for (lambda, cg_iterations) in
        [(0.1, 50), (1.0, 50), (10.0, 50), (1.0, 100), (10.0, 100), (45.0, 100), (1.0, 250), (45.0, 250)]
    {
        grid.push(Setting {
            optimizer: "hf",
            setting: format!("damping {lambda}, at most {cg_iterations} products"),
            full: true,
            make: Box::new(move || {
                let options = HessianFreeOptions { lambda, cg_iterations, ..HessianFreeOptions::default() };
                Ok(Box::new(HessianFree::new(options, NoPreconditioner)?))
            }),
        });
    }
    for (lambda, cg_iterations) in [(0.1, 50), (1.0, 50), (10.0, 50), (0.1, 100), (1.0, 100), (10.0, 100)] {
        grid.push(Setting {
            optimizer: "hf-martens",
            setting: format!("damping {lambda}, at most {cg_iterations} products"),
            full: true,
            make: Box::new(move || {
                let options = HessianFreeOptions { lambda, cg_iterations, ..HessianFreeOptions::default() };
                Ok(Box::new(HessianFree::new(options, MartensDiagonal::default())?))
            }),
        });
    }
    for rate in [0.1, 0.3, 1.0] {
        for lambda in [0.01, 0.1, 1.0] {
            grid.push(Setting {
                optimizer: "natural-gradient",
                setting: format!("lr {rate}, damping {lambda}"),
                full: false,
                make: Box::new(move || {
                    let model = CgModel::new(CurvatureMatrix::GaussNewton).with_options(CgOptions {
                        max_iterations: 50,
                        stall: Some(StallRule::default()),
                        negative_curvature: NegativeCurvature::FollowDirection,
                        ..CgOptions::from_zero()
                    })?;
                    Ok(Box::new(NaturalGradient::new(rate, lambda)?.with_source(model)))
                }),
            });
        }
    }
    for momentum in [0.9, 0.95, 0.99] {
        for lr in [0.001, 0.003, 0.005, 0.01, 0.02] {
            grid.push(Setting {
                optimizer: "sgd",
                setting: format!("lr {lr}, momentum {momentum}"),
                full: false,
                make: Box::new(move || Ok(Box::new(Sgd::new(lr, momentum, MomentumKind::Nesterov)?))),
            });
        }
    }
    for lr in [0.001, 0.002, 0.003, 0.005, 0.01] {
        grid.push(Setting {
            optimizer: "adam",
            setting: format!("lr {lr}"),
            full: false,
            make: Box::new(move || Ok(Box::new(Adam::new(lr)?))),
        });
    }
    for lambda in [0.01, 0.1, 1.0, 10.0] {
        grid.push(Setting {
            optimizer: "kfac",
            setting: format!("damping {lambda}"),
            full: false,
            make: Box::new(move || Ok(Box::new(Kfac::new(KfacOptions { lambda, ..KfacOptions::default() })?))),
        });
    }
    let (factored, exact) =
        (KfacOptions::default(), KfacOptions { damping: KroneckerDamping::Exact, ..Default::default() });
    let tracked = |tolerance| KfacOptions { eigenbases: EigenUpdate::Tracked { tolerance }, ..exact };
    for (setting, options) in [
        ("factored, together", factored),
        ("factored, in turn", KfacOptions { refresh_schedule: RefreshSchedule::InTurn, ..factored }),
        ("exact, together", exact),
        ("exact, in turn", KfacOptions { refresh_schedule: RefreshSchedule::InTurn, ..exact }),
        ("exact, tracked to 0.05", tracked(0.05)),
        ("exact, tracked to 0.1", tracked(0.1)),
        ("exact, tracked to 0.2", tracked(0.2)),
    ] {
        grid.push(Setting {
            optimizer: "kfac-refresh",
            setting: setting.into(),
            full: false,
            make: Box::new(move || Ok(Box::new(Kfac::new(options)?))),
        });
    }
    grid.retain(|setting| only.iter().any(|name| name == setting.optimizer));
    grid
}

/// Train loss after the seconds; infinite when a step fails.
fn train(problem: &Problem, setting: &Setting, args: &Args, run: usize) -> Result<f64> {
    const JUDGED: usize = 2000;
    let (cases, seed) = (&problem.cases[run], problem.seeds[run]);
    let ctx = Ctx::<Float>::default().with_threads(args.threads);
    let net = Mlp::autoencoder(problem.widths, Activation::Tanh).l2(1e-5).build()?;
    let judged = cases.len().min(JUDGED);
    let all = Batch::autoencoder(cases.inputs().submatrix(0, 0, cases.d_in(), judged)?)?;
    let mut batch = all.clone();
    let mut order = Minibatches::new(cases.len(), problem.batch, seed, Partial::Drop)?;
    let mut theta = net.init(Init::sparse(), seed);
    let mut optimizer = (setting.make)()?;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < args.seconds {
        if !setting.full {
            batch.select(cases.inputs(), None, order.next_batch())?;
        }
        if optimizer.step(&ctx, &net, &mut theta, &batch).is_err() {
            return Ok(f64::INFINITY);
        }
    }
    Ok(net.evaluate(&ctx, &theta, &all)?.loss)
}

fn run(args: &Args) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let problem = Problem::load(args)?;
    let grid = grid(&args.only);
    let mut losses = Vec::new();
    for setting in &grid {
        let mut sum = 0.0;
        for run in 0..problem.seeds.len() {
            sum += train(&problem, setting, args, run)?;
        }
        losses.push(sum / problem.seeds.len() as f64);
        eprintln!("{:<16} {:<36} {:>10.4}", setting.optimizer, setting.setting, losses[losses.len() - 1]);
    }
    let best = |optimizer: &str| {
        let mine = grid.iter().zip(&losses).filter(|(s, _)| s.optimizer == optimizer);
        mine.map(|(_, &loss)| loss).fold(f64::INFINITY, f64::min)
    };
    println!("{:<16} {:<36} {:>10}", "optimizer", "setting", "train loss");
    for (setting, &loss) in grid.iter().zip(&losses) {
        let mark = if loss == best(setting.optimizer) { "  best" } else { "" };
        println!("{:<16} {:<36} {loss:>10.4}{mark}", setting.optimizer, setting.setting);
    }
    if let Some(path) = &args.csv {
        let mut file = tempfile::NamedTempFile::new_in(
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(".".as_ref()),
        )?;
        writeln!(file, "optimizer,setting,seconds,seeds,train_loss")?;
        for (setting, loss) in grid.iter().zip(&losses) {
            writeln!(
                file,
                "{},\"{}\",{},{},{loss}",
                setting.optimizer,
                setting.setting,
                args.seconds,
                problem.seeds.len()
            )?;
        }
        file.persist(path)?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
