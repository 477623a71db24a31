//! The command line of the train example from any bytes: no panic; an error that explains itself and has an exit code,
//! or arguments in their domains.

use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// As in examples/train/main.rs.
type Failure = Box<dyn std::error::Error>;

#[allow(dead_code)] // the example uses more of it
#[path = "../../examples/train/args.rs"]
mod args;

#[allow(dead_code)]
#[path = "../../examples/train/kinds.rs"]
mod kinds;

use args::{Arch, Args, Rates, TARGETS, Targets};

/// Words that lead into the parser; every byte names one.
const WORDS: [&str; 52] = [
    "--data",
    "digits",
    "curves",
    "--target",
    "x",
    "--task",
    "autoencoder",
    "classify",
    "regress",
    "--arch",
    "64-32-10",
    "-",
    "64-0",
    "--optimizer",
    "sgd",
    "adam,kfac",
    "sgd,sgd",
    "kfac",
    "--backend",
    "faer",
    "blas",
    "reference",
    "--dtype",
    "f32",
    "f64",
    "--batch",
    "0",
    "1",
    "18446744073709551616",
    "--seconds",
    "1e-400",
    "1e400",
    "NaN",
    "-1",
    "0.5",
    "--steps",
    "--seed",
    "--threads",
    "--lr",
    "sgd=0.02,adam=0.002",
    "sgd=",
    "--damping",
    "--log",
    "--plot",
    "--quiet",
    "--help",
    "all",
    "lbfgs,hf-kfac",
    "--targets",
    "auto",
    "20,15,14",
    "--csv",
];

/// The first byte picks how the rest becomes arguments: words by their number, or lines of any bytes.
fn arguments(bytes: &[u8]) -> Vec<OsString> {
    let Some((first, rest)) = bytes.split_first() else { return Vec::new() };
    if first % 3 == 0 {
        return rest.iter().take(40).map(|&byte| WORDS[usize::from(byte) % WORDS.len()].into()).collect();
    }
    rest.split(|&byte| byte == b'\n').take(40).map(|line| any_bytes(line, first % 3 == 1)).collect()
}

#[cfg(unix)]
fn any_bytes(line: &[u8], raw: bool) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    if raw { OsString::from_vec(line.to_vec()) } else { String::from_utf8_lossy(line).into_owned().into() }
}

#[cfg(not(unix))]
fn any_bytes(line: &[u8], _raw: bool) -> OsString {
    String::from_utf8_lossy(line).into_owned().into()
}

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

fn in_domain(args: &Args) {
    assert!(!args.optimizer.is_empty());
    assert!(args.batch.is_none_or(|n| n > 0) && args.threads.is_none_or(|n| n > 0) && args.steps.is_none_or(|n| n > 0));
    assert!(args.seconds.is_none_or(positive) && args.damping.is_none_or(positive));
    if let Some(Rates { sgd, adam, natural_gradient }) = args.lr {
        let rates = [sgd, adam, natural_gradient];
        assert!(rates.iter().any(Option::is_some) && rates.iter().flatten().all(|&rate| positive(rate)));
    }
    if let Some(Targets::Losses(losses)) = &args.targets {
        assert!((1..=TARGETS).contains(&losses.len()) && losses.iter().all(|x| x.is_finite()));
    }
    if let Some(arch) = &args.arch {
        assert!(arch.0.len() >= 2 && arch.0.iter().all(|&width| width > 0));
        assert_eq!(arch.to_string().parse::<Arch>().as_ref(), Ok(arch), "widths survive being written and read");
    }
    match args.check() {
        Ok(()) => {
            assert!(args.log != args.plot);
            let kinds = args.kinds();
            let twice = (1..kinds.len()).any(|i| kinds[..i].contains(&kinds[i]));
            assert!(!twice, "an optimizer takes part once");
        }
        Err(failure) => assert!(failure.to_string().starts_with("--"), "{failure}"),
    }
}

pub fn run(bytes: &[u8]) {
    let arguments = arguments(bytes);
    match Args::try_parse_from(std::iter::once(OsString::from("train")).chain(arguments.iter().cloned())) {
        Ok(args) => in_domain(&args),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            assert_eq!(error.exit_code(), if asked { 0 } else { 2 }, "{arguments:?}: {error}");
        }
    }
    // the parsers of single values, from the same bytes
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Arch>() {
        Ok(arch) => assert_eq!(arch.to_string().parse::<Arch>(), Ok(arch)),
        Err(why) => assert!(why.starts_with("expected"), "{why}"),
    }
    match text.parse::<Rates>() {
        Ok(rates) => assert!([rates.sgd, rates.adam, rates.natural_gradient].into_iter().flatten().all(positive)),
        Err(why) => assert!(why.starts_with("expected"), "{why}"),
    }
}
