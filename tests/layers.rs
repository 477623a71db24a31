//! The order of the layers, kept by a test: a module uses only modules that come before its own. Also: short files, a
//! header in each, `unsafe` in one place.
//!
//! The checker reads source text: comments and `#[cfg(test)]` items are skipped, `crate::`, `$crate::` and every
//! `super::` that reaches the crate root are followed, braces included.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. `testing` is a side leaf: it may use everything, and only tests may use it.
const LAYERS: [&str; 14] = [
    "error",
    "scalar",
    "random",
    "mat",
    "backend",
    "factor",
    "linop",
    "krylov",
    "kronecker",
    "curvature",
    "stats",
    "optim",
    "nn",
    "testing",
];
const MAX_LINES: usize = 400;
/// The bindings to a native BLAS: this file and its folder.
const UNSAFE_ALLOWED: [&str; 2] = ["backend/blas.rs", "backend/blas/"];

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code with comments and test-only items blanked, line breaks kept.
fn code_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let mut code = String::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() == "#[cfg(test)]" {
            // blank the attribute and its item: up to the `;` or the `}` that ends it
            let mut depth = 0i32;
            loop {
                let line = lines[at];
                depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
                code.push('\n');
                at += 1;
                let ended = line.trim_end().ends_with(['}', ';']) && depth == 0;
                if ended || at == lines.len() {
                    break;
                }
            }
        } else {
            code.push_str(lines[at]);
            code.push('\n');
            at += 1;
        }
    }
    code
}

/// First segments of the path (or of each path in braces) that `rest` starts with.
fn first_segments(rest: &str) -> Vec<String> {
    let ident = |s: &str| s.chars().take_while(|&c| is_ident(c) || c == '*').collect::<String>();
    let Some(inside) = rest.strip_prefix('{') else { return vec![ident(rest)] };
    let mut segments = vec![ident(inside.trim_start())];
    let mut depth = 1;
    for (i, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => segments.push(ident(inside[i + 1..].trim_start())),
            _ => {}
        }
    }
    segments.retain(|segment| !segment.is_empty()); // a trailing comma
    segments
}

/// Every module of the crate that the code names, with its byte offset.
fn modules_named(code: &str, depth: usize) -> Vec<(usize, String)> {
    let starts_path = |at: usize| !code[..at].ends_with(|c| is_ident(c) || c == ':');
    let mut found = Vec::new();
    let mut add = |at: usize, rest: &str| found.extend(first_segments(rest).into_iter().map(|segment| (at, segment)));
    for (at, _) in code.match_indices("crate::").filter(|&(at, _)| starts_path(at)) {
        add(at, &code[at + "crate::".len()..]);
    }
    let to_root = "super::".repeat(depth);
    for (at, _) in code.match_indices(&to_root).filter(|&(at, _)| starts_path(at)) {
        add(at, &code[at + to_root.len()..]);
    }
    found
}

/// What is wrong with the file at `path` (below src), one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let code = code_of(text);
    let mut report = |line: usize, what: String| {
        let shown = text.lines().nth(line.max(1) - 1).unwrap_or("").trim();
        wrong.push(format!("src/{path}:{line}: {what}: {shown}"));
    };
    let lines = text.lines().count();
    if lines > MAX_LINES {
        report(lines, format!("{lines} lines, {MAX_LINES} are allowed"));
    }
    if !text.starts_with("//!") {
        report(1, "the file does not start with its header (//!)".to_owned());
    }
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let mut words = code
        .match_indices("unsafe")
        .filter(|&(at, word)| !code[..at].ends_with(is_ident) && !code[at + word.len()..].starts_with(is_ident));
    let allowed = UNSAFE_ALLOWED.iter().any(|place| path.starts_with(place));
    if let (false, Some((at, _))) = (allowed, words.next()) {
        report(line_of(at), format!("unsafe outside src/{}", UNSAFE_ALLOWED[0]));
    }
    if path == "lib.rs" {
        return wrong;
    }
    let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let Some(own) = rank(module) else {
        report(1, format!("`{module}` is no known layer"));
        return wrong;
    };
    let depth = path.matches('/').count() + usize::from(!path.ends_with("/mod.rs"));
    for (at, used) in modules_named(&code, depth) {
        match rank(&used) {
            Some(other) if other <= own => {}
            Some(_) => report(line_of(at), format!("layer `{module}` uses `{used}`, which comes later")),
            // an exported macro has no other path than the root
            None if module == "testing" && code[at..].starts_with(&format!("crate::{used}!")) => {}
            None => report(line_of(at), format!("`{used}` is no layer: name the module that defines it")),
        }
    }
    wrong
}

fn source_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_source_file_keeps_the_rules() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    files.sort();
    assert!(files.len() > LAYERS.len(), "only {} files found", files.len());
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
            violations(&path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

/// Violations of a file with a header and these lines.
fn planted(path: &str, lines: &str) -> Vec<String> {
    violations(path, &format!("//! Header.\n{lines}"))
}

#[test]
fn a_use_of_a_later_layer_is_found_with_its_line() {
    assert_eq!(
        planted("linop/dense.rs", "\nuse crate::mat::Mat;\nuse crate::krylov::pcg;\n"),
        ["src/linop/dense.rs:4: layer `linop` uses `krylov`, which comes later: use crate::krylov::pcg;"]
    );
    for (path, line) in [
        ("scalar.rs", "fn f() -> crate::mat::Op { todo() }"),
        ("scalar.rs", "use super::mat::Op;"),
        ("mat/mod.rs", "use super::backend::Ctx;"),
        ("mat/view.rs", "use super::super::backend::Ctx;"),
        ("krylov/cg.rs", "use crate::{error::Error, curvature::Damping};"),
        ("krylov/cg.rs", "use crate::{\n    error::{Error, Result},\n    curvature::Damping,\n};"),
        ("krylov/cg.rs", "macro_rules! m { () => { $crate::nn::Mlp } }"),
        ("optim/kfac.rs", "use crate::testing::tolerance;"),
        ("optim/kfac.rs", "#[cfg(feature = \"nn\")]\nuse crate::nn::Mlp;"),
        ("optim/kfac.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}\nuse crate::nn::Mlp;"),
        ("optim/kfac.rs", "#[cfg(test)]\nuse crate::nn::Mlp;\nuse crate::nn::Layer;"),
        ("krylov/cg.rs", "use crate::Error;"),
        ("krylov/cg.rs", "use crate::*;"),
        ("krylov/cg.rs", "fn f() { crate::conformance!(); }"),
        ("unheard_of.rs", "use crate::error::Error;"),
    ] {
        assert_eq!(planted(path, line).len(), 1, "{path}: {line}: {:?}", planted(path, line));
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, line) in [
        ("krylov/cg.rs", "use crate::{\n    error::{Error, Result},\n    linop::SelfAdjoint,\n};"),
        ("krylov/cg.rs", "use super::CgStop;"),
        ("krylov/cg.rs", "use crate::krylov::CgStop;"),
        ("nn/data/csv.rs", "use super::super::Mlp;\nuse crate::optim::Objective;"),
        ("scalar.rs", "/// See [`Mat`](crate::mat::Mat).\n// crate::nn\n"),
        ("scalar.rs", "#[cfg(test)]\nmod tests {\n    use crate::nn::Mlp;\n    fn f() {\n    }\n}\n"),
        ("scalar.rs", "pub(crate) fn f() {}\nuse other_crate::nn::X;"),
        ("testing/mod.rs", "use crate::nn::Mlp;"),
        ("testing/setup.rs", "macro_rules! m { () => { $crate::other!(); } }"),
        ("lib.rs", "pub use crate::nn::Mlp;\n#![deny(unsafe_code)]"),
        ("backend/blas.rs", "fn f() { unsafe { g() } }"),
        ("backend/blas/openblas.rs", "unsafe extern \"C\" {}"),
    ] {
        assert_eq!(planted(path, line), [""; 0], "{path}: {line}");
    }
}

#[test]
fn long_files_missing_headers_and_stray_unsafe_are_found() {
    assert_eq!(planted("scalar.rs", &"\n".repeat(MAX_LINES)).len(), 1);
    assert_eq!(planted("scalar.rs", &"\n".repeat(MAX_LINES - 1)).len(), 0);
    assert_eq!(violations("scalar.rs", "// no header\n").len(), 1);
    assert_eq!(violations("lib.rs", "").len(), 1);
    for line in ["fn f() { unsafe { g() } }", "unsafe impl Send for X {}", "#[cfg(a)]\nunsafe fn f() {}"] {
        assert_eq!(planted("mat/view.rs", line).len(), 1, "{line}");
        assert_eq!(planted("lib.rs", line).len(), 1, "{line}");
    }
}

/// Test files are listed by hand, in a group or in the manifest: one that is in neither would never run.
#[test]
fn every_test_file_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let groups: String = fs::read_dir(root.join("tests/groups"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let listed = manifest.contains(&format!("path = \"tests/groups/{}\"", path.file_name().unwrap().display()));
            assert!(listed, "{} is not in Cargo.toml", path.display());
            fs::read_to_string(path).unwrap()
        })
        .collect();
    let mut files = 0;
    for entry in fs::read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".rs"))
        else {
            continue;
        };
        files += 1;
        let grouped = groups.contains(&format!("#[path = \"../{stem}.rs\"]\nmod {stem};"));
        let alone = manifest.contains(&format!("[[test]]\nname = \"{stem}\"\n"));
        assert!(grouped != alone, "tests/{stem}.rs must be in one group of tests/groups or a [[test]] of Cargo.toml");
    }
    assert!(files > 20, "only {files} test files found");
}
