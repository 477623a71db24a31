//! The `proximal_figure` example as a program: exit codes, a complete file or none, the same bytes for the same seed, four
//! panels side by side.
#![cfg(feature = "nn")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The example that this test run built, beside the folder of the test binaries.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|p| p.join("examples").is_dir()).unwrap();
    let program = folder.join("examples").join(format!("proximal_figure{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: cargo build --example proximal_figure", program.display());
    program
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(program()).args(args).current_dir(folder).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Where the text begins, horizontally, and how it goes on.
fn texts(svg: &str) -> Vec<(f64, String)> {
    let text = |part: &str| {
        let x = part.split("x=\"").nth(1)?.split('"').next()?.parse().ok()?;
        Some((x, part.split('>').nth(1)?.split('<').next()?.trim().to_owned()))
    };
    svg.split("<text").skip(1).filter_map(text).collect()
}

#[test]
fn four_panels_stand_side_by_side() {
    let folder = TempDir::new().unwrap();
    assert_eq!(run(folder.path(), &["--quick", "--out", "new/figure.svg"]), (Some(0), String::new()));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("new")).unwrap().collect();
    assert_eq!(files.len(), 1, "no temporary file is left");
    let svg = std::fs::read_to_string(folder.path().join("new/figure.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let titles = ["current model", "only WSP", "only FSP", "WSP and FSP"];
    let texts = texts(&svg);
    let at: Vec<f64> = titles
        .iter()
        .map(|title| texts.iter().find(|(_, text)| text == title).unwrap_or_else(|| panic!("{title}: {texts:?}")).0)
        .collect();
    // panels of 340 points each, titles within their own
    for (panel, x) in at.iter().enumerate() {
        assert!((panel as f64 * 340.0..(panel + 1) as f64 * 340.0).contains(x), "{titles:?} at {at:?}");
    }
    // the example in every panel, curves from green to red in three
    assert_eq!(svg.matches("fill=\"#FF0000\"").count(), 4);
    assert!(svg.contains("#00C800") && svg.contains("#C80000"), "green and red");
}

#[test]
fn the_same_seed_draws_the_same_figure() {
    let folder = TempDir::new().unwrap();
    let draw = |seed: &str, file: &str| {
        assert_eq!(run(folder.path(), &["--quick", "--seed", seed, "--out", file]).0, Some(0));
        std::fs::read(folder.path().join(file)).unwrap()
    };
    let first = draw("3", "a.svg");
    assert!(first == draw("3", "b.svg") && first != draw("4", "c.svg"));
}

#[test]
fn failures_are_one_line_and_an_exit_code() {
    let folder = TempDir::new().unwrap();
    let (code, error) = run(folder.path(), &["--quick", "--out", "."]);
    assert!(code == Some(1) && error.starts_with("error: ") && error.lines().count() == 1, "{error}");
    assert_eq!(run(folder.path(), &["--sed", "1"]).0, Some(2));
    assert_eq!(run(folder.path(), &["--seed", "many"]).0, Some(2));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
