//! Which backends this build has, and whether each obeys the laws: one page to read, or to paste into a report.
//!
//! ```text
//! cargo run --release --example doctor -- [--full] [--json FILE]
//! ```
//! The numbers are LAPACK's test ratios (errors in units of n ε); exit code 1 when one exceeds the threshold. The quick
//! check takes matrices of a few sizes; `--full` adds LAPACK's own matrix types, at every size that its blocks care about.

mod full;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pullback::factor::{Cholesky, SymEigen};
use pullback::testing::{contexts, gallery, ratios};
use pullback::{Ctx, Error, Mat, Result, Scalar};
use serde::Serialize;

/// Describes the compiled backends and checks each against LAPACK's test ratios.
#[derive(Parser)]
#[command(name = "doctor")]
struct Options {
    /// Also check LAPACK's matrix types PO 1-9 and SEP 1-18 at orders 0 to 257 (seconds to a minute)
    #[arg(long)]
    full: bool,
    /// Also write the findings to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Largest ratio that passes
    #[arg(long, value_name = "RATIO", default_value_t = ratios::THRESHOLD)]
    threshold: f64,
    /// Threads for each call
    #[arg(long, value_name = "N", default_value_t = default_threads())]
    threads: usize,
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

const SIZES: [usize; 3] = [50, 129, 257];

/// One backend, one scalar, one size.
#[derive(Serialize)]
struct Finding {
    backend: String,
    dtype: &'static str,
    n: usize,
    cholesky: f64,
    inverse: f64,
    solve: f64,
    eigen: f64,
    orthogonality: f64,
    /// The eigendecomposition's ratio on the same matrix times a small power of two.
    eigen_scaled: f64,
    /// A NaN in a matrix is an error, not a result.
    nan_refused: bool,
}

impl Finding {
    fn ratios(&self) -> [f64; 6] {
        [self.cholesky, self.inverse, self.solve, self.eigen, self.orthogonality, self.eigen_scaled]
    }

    fn passes(&self, threshold: f64) -> bool {
        self.nan_refused && self.ratios().iter().all(|&r| r < threshold)
    }
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    threads: usize,
    threshold: f64,
    backends: Vec<Described>,
    findings: Vec<Finding>,
    /// LAPACK's matrix types, with `--full`.
    types: Vec<full::Row>,
    passed: bool,
}

#[derive(Serialize)]
struct Described {
    name: String,
    details: String,
}

fn refuses_nan<T: Scalar>(ctx: &Ctx<T>, n: usize) -> bool {
    let mut a = gallery::spd::<T>(n, 10.0, 2);
    a[(n - 1, n / 2)] = T::nan();
    let not_finite = |error: Option<Error>| matches!(error, Some(Error::NotFinite { .. }));
    not_finite(Cholesky::new(ctx, a.clone()).err()) && not_finite(SymEigen::new(ctx, a).err())
}

fn examine<T: Scalar>(ctx: &Ctx<T>, n: usize) -> Result<Finding> {
    // gradient second moments live at such scales
    const SMALL: i32 = -30;
    let a = gallery::spd::<T>(n, 1e3, 1);
    let b = gallery::uniform::<T>(n, 4, 3);
    let chol = Cholesky::new(ctx, a.clone())?;
    let mut x = b.clone();
    chol.solve_in_place(ctx, x.as_mut())?;
    let eigen = SymEigen::new(ctx, a.clone())?;
    let scaled = gallery::scaled(&a, SMALL);
    let eigen_scaled = SymEigen::new(ctx, scaled.clone())?;
    let a: &Mat<T> = &a;
    Ok(Finding {
        backend: ctx.backend().name().to_owned(),
        dtype: T::NAME,
        n,
        cholesky: ratios::cholesky(a.as_ref(), chol.l()),
        solve: ratios::solve(a.as_ref(), x.as_ref(), b.as_ref()),
        eigen: ratios::eigen(a.as_ref(), eigen.vectors(), eigen.values()),
        orthogonality: ratios::orthogonality(eigen.vectors()),
        eigen_scaled: ratios::eigen(scaled.as_ref(), eigen_scaled.vectors(), eigen_scaled.values()),
        inverse: ratios::inverse(a.as_ref(), chol.into_inverse(ctx)?.as_ref()),
        nan_refused: refuses_nan(ctx, n),
    })
}

fn examine_all<T: Scalar>(options: &Options, findings: &mut Vec<Finding>) -> Result<()> {
    for ctx in contexts::<T>() {
        let ctx = ctx.with_threads(options.threads);
        for n in SIZES {
            findings.push(examine(&ctx, n)?);
        }
    }
    Ok(())
}

/// Prints a paragraph in at most 80 columns, its further lines indented.
fn print_wrapped(text: &str) {
    const WIDTH: usize = 78;
    let mut line = String::from("  ");
    for word in text.split_whitespace() {
        if line.trim_end().len() + 1 + word.len() > WIDTH {
            println!("{}", line.trim_end());
            line = String::from("    ");
        }
        line.push_str(word);
        line.push(' ');
    }
    println!("{}", line.trim_end());
}

fn print(report: &Report) {
    println!("pullback {}: {} backend(s), {} thread(s)", report.version, report.backends.len(), report.threads);
    report.backends.iter().for_each(|b| print_wrapped(&format!("{:<10}{}", b.name, b.details)));
    println!();
    println!("LAPACK's test ratios; below {} passes", report.threshold);
    println!(
        "{:<10}{:>4}{:>5}{:>9}{:>9}{:>8}{:>8}{:>9}{:>8}{:>5}{:>5}",
        "backend", "type", "n", "cholesky", "inverse", "solve", "eigen", "orthog.", "2^-30", "NaN", ""
    );
    for f in &report.findings {
        println!(
            "{:<10}{:>4}{:>5}{:>9.3}{:>9.3}{:>8.3}{:>8.3}{:>9.3}{:>8.3}{:>5}{:>5}",
            f.backend,
            f.dtype,
            f.n,
            f.cholesky,
            f.inverse,
            f.solve,
            f.eigen,
            f.orthogonality,
            f.eigen_scaled,
            if f.nan_refused { "ok" } else { "no" },
            if f.passes(report.threshold) { "ok" } else { "FAIL" }
        );
    }
    full::print(&report.types, report.threshold);
    println!();
    println!("{}", if report.passed { "all laws hold" } else { "a law FAILS: this build computes wrong results" });
}

fn run(options: &Options) -> std::result::Result<bool, Box<dyn std::error::Error>> {
    let mut findings = Vec::new();
    examine_all::<f32>(options, &mut findings)?;
    examine_all::<f64>(options, &mut findings)?;
    let described = |ctx: Ctx<f64>| Described {
        name: ctx.backend().name().to_owned(),
        details: ctx.with_threads(options.threads).backend().details(),
    };
    let types = if options.full { full::examine(options) } else { Vec::new() };
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        threads: options.threads,
        threshold: options.threshold,
        backends: contexts().into_iter().map(described).collect(),
        passed: findings.iter().all(|f| f.passes(options.threshold)) && types.iter().all(full::Row::is_sound),
        findings,
        types,
    };
    print(&report);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        println!("written to {}", path.display());
    }
    Ok(report.passed)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("doctor: {error}");
            ExitCode::FAILURE
        }
    }
}
