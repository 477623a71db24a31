//! What the types forbid does not compile: each file of tests/compile_fail/ fails with the error that its first line
//! names, and compiles as soon as `--cfg fixed` switches the one offending line.
//!
//! The compiler's whole text changes from version to version, so that comparing it (trybuild's way) would tie the tests to
//! one toolchain, and a `compile_fail` doctest passes whatever the reason for the failure is. Here the twin shows that
//! nothing else is wrong, and the error code with a word of the message shows that the reason is the right one.
//!
//! The library is found beside this test's binary. Several builds of it may lie there; the newest one with which the twin
//! compiles is taken.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Builds of the library, the newest first.
fn libraries(deps: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(deps)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("libpullback-") && name.ends_with(".rlib")
        })
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Checks a file against a build of the library: what the compiler complained about, if it did.
fn check(file: &Path, library: &Path, deps: &Path, out: &Path, fixed: bool) -> Result<(), String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never", "--check-cfg=cfg(fixed)"]);
    command.arg("--extern").arg(format!("pullback={}", library.display()));
    command.arg("-L").arg(format!("dependency={}", deps.display())).arg("--out-dir").arg(out);
    if fixed {
        command.args(["--cfg", "fixed"]);
    }
    let output = command.arg(file).output().expect("the compiler that built this test");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn what_must_not_compile_does_not_and_for_the_right_reason() {
    let binary = std::env::current_exe().unwrap();
    let deps = binary.parent().unwrap();
    let libraries = libraries(deps);
    let out = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().and_then(|line| line.strip_prefix("//! error ")).expect(&name);
        let (code, word) = expected.split_once(": ").expect(&name);
        let mut complaints = Vec::new();
        let library = libraries.iter().find(|library| {
            check(&file, library, deps, out.path(), true).map_err(|complaint| complaints.push(complaint)).is_ok()
        });
        let library = library.unwrap_or_else(|| panic!("{name}: the twin does not compile\n{}", complaints.join("\n")));
        let complaint = check(&file, library, deps, out.path(), false).expect_err(&name);
        assert!(complaint.contains(&format!("error[{code}]")), "{name}: expected {code}\n{complaint}");
        assert!(complaint.contains(word), "{name}: expected `{word}`\n{complaint}");
        assert_eq!(complaint.matches("error[").count(), 1, "{name}: one error, the intended one\n{complaint}");
    }
}
