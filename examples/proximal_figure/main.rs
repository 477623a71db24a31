//! The chapter's figure of proximal optimization, as a plot: what one example does to a model that is kept near in weights,
//! in outputs, or in both.
//!
//! `cargo run --release --example proximal_figure` writes `proximal_figure.svg`. `--help` explains every option.

mod figure;
// a file that appears only when it is complete
#[path = "../train/output.rs"]
mod output;
mod plot;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use figure::{Figure, Proximity};
use output::Output;

/// An error that is one clear line.
type Failure = Box<dyn std::error::Error>;

/// Draws the predictions of a network before and after proximal updates on one example.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The SVG file
    #[arg(long, value_name = "FILE", default_value = "proximal_figure.svg")]
    out: PathBuf,
    /// Seed of the noise and of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Fewer curves on fewer points
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(path) => {
            println!("wrote {}", path.display());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<PathBuf, Failure> {
    let output = Output::create(&args.out)?;
    let (points, iterations, count) = if args.quick { (105, 200, 4) } else { (417, 600, 7) };
    let figure = Figure::new(args.seed, points, iterations)?;
    println!(
        "{:<12} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "proximity", "weight", "example", "data", "far", "gap", "bend"
    );
    let mut panels = Vec::new();
    for proximity in Proximity::ALL {
        let curves = figure.curves(proximity, &proximity.lambdas(count))?;
        for curve in &curves {
            let c = figure.change(curve);
            let name = plot::title(proximity);
            let numbers = [c.example, c.data, c.far, c.gap, c.bend];
            let numbers: Vec<String> = numbers.iter().map(|x| format!("{x:>9.3}")).collect();
            println!("{name:<12} {:>10.3} {}", curve.lambda, numbers.join(" "));
        }
        panels.push((proximity, curves));
    }
    plot::plot(&figure, &panels, output)
}
