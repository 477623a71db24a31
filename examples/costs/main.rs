//! What damping costs: Cholesky inverses against eigenbases, for each layer of a network and each backend, and what
//! K-FAC costs beside SGD (the chapter's section 5.5).
//!
//! ```text
//! cargo run --release --example costs -- [--shapes 785x1000,1001x500] [--batch N] [--dtype f32|f64]
//!                                        [--backend faer|openblas|reference] [--threads N] [--json FILE]
//! ```
//! Times are medians of several runs; "% roof" is the speed against the fastest large product measured in the same run.

mod measure;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use measure::{Measured, measure};
use pullback::optim::costs::{self, LayerShape};
use pullback::{Ctx, Error, Result, Scalar};

/// Measures Cholesky inverses against eigenbases for the factors of a network, and K-FAC's cost beside SGD.
#[derive(Parser)]
#[command(name = "costs")]
struct Options {
    /// Layers as INPUTSxOUTPUTS, the bias counted as an input [default: a 784-1000-500-250-30 autoencoder]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_shape)]
    shapes: Vec<LayerShape>,
    /// Cases in a batch
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    batch: usize,
    /// Scalar type
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Backend [default: every one compiled in, except the slow reference]
    #[arg(long, value_enum)]
    backend: Option<Choice>,
    /// Threads [default: as many as the machine has]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Also write everything measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Dtype {
    F32,
    F64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Choice {
    Faer,
    #[value(alias = "blas")]
    Openblas,
    /// Textbook loops: give it small shapes
    Reference,
}

fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}

fn parse_shape(text: &str) -> std::result::Result<LayerShape, String> {
    let (d_in, d_out) = text.split_once('x').ok_or("expected INPUTSxOUTPUTS, as in 785x1000")?;
    Ok(LayerShape { d_in: positive(d_in)?, d_out: positive(d_out)? })
}

fn chosen<T: Scalar>(choice: Choice) -> Result<Ctx<T>> {
    let (name, backend, reason) = match choice {
        Choice::Faer => ("faer", "faer", "build with `--features faer`"),
        Choice::Openblas => ("blas", "openblas", "install OpenBLAS and build with `--features openblas-system`"),
        Choice::Reference => ("reference", "reference", "always there"),
    };
    let mut compiled = pullback::testing::contexts::<T>().into_iter();
    compiled.find(|ctx| ctx.backend().name() == name).ok_or(Error::BackendUnavailable { backend, reason })
}

/// The contexts to measure: the one asked for, else all fast ones, else what there is.
fn contexts<T: Scalar>(choice: Option<Choice>) -> Result<Vec<Ctx<T>>> {
    if let Some(choice) = choice {
        return Ok(vec![chosen(choice)?]);
    }
    let all = pullback::testing::contexts::<T>();
    let fast: Vec<_> = all.iter().filter(|ctx| ctx.backend().name() != "reference").cloned().collect();
    Ok(if fast.is_empty() { all } else { fast })
}

fn measure_all<T: Scalar>(options: &Options, layers: &[LayerShape]) -> Result<Vec<Measured>> {
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let mut all = Vec::new();
    for ctx in contexts::<T>(options.backend)? {
        let measured = measure(&ctx.with_threads(threads), layers, options.batch)?;
        table::print(&measured);
        all.push(measured);
    }
    Ok(all)
}

fn run(options: &Options) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let autoencoder = || costs::layers(&[784, 1000, 500, 250, 30, 250, 500, 1000, 784]);
    let layers = if options.shapes.is_empty() { autoencoder() } else { options.shapes.clone() };
    let measured = match options.dtype {
        Dtype::F32 => measure_all::<f32>(options, &layers)?,
        Dtype::F64 => measure_all::<f64>(options, &layers)?,
    };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&measured)?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("costs: {error}");
            ExitCode::FAILURE
        }
    }
}
