//! Replays the corpus of every fuzz target, and a fixed stream of random inputs, through the bodies of the targets.

mod fuzz_bodies;

use std::fs;
use std::path::Path;

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Runs a body and names the input when it panics.
fn run(body: fuzz_bodies::Body, input: &[u8], origin: &str) {
    if let Err(panic) = std::panic::catch_unwind(|| body(input)) {
        let reason = panic.downcast_ref::<String>().map(String::as_str);
        let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
        panic!("{origin}: {reason}\ninput: {input:02x?}");
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        // the packaged crate has no fuzz folder
        Err(_) if !folder.ancestors().nth(2).is_some_and(Path::exists) => return Vec::new(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

fn replay(target: &str) {
    let Some((_, body)) = fuzz_bodies::all().into_iter().find(|(name, _)| *name == target) else {
        panic!("no body for {target}")
    };
    let seeds = corpus(target);
    for (origin, input) in &seeds {
        run(body, input, origin);
    }
    let mut state = 2026;
    for round in 0..400 {
        let mut input: Vec<u8> = (0..next(&mut state) % 2000).map(|_| next(&mut state) as u8).collect();
        // half of them start from a seed, with a few bytes changed
        if let (0, false) = (round % 2, seeds.is_empty()) {
            input = seeds[next(&mut state) as usize % seeds.len()].1.clone();
            for _ in 0..next(&mut state) % 4 {
                if !input.is_empty() {
                    let at = next(&mut state) as usize % input.len();
                    input[at] = next(&mut state) as u8;
                }
            }
        }
        run(body, &input, &format!("{target}, random input {round}"));
    }
}

#[test]
fn views() {
    replay("views");
}

#[test]
fn factorizations() {
    replay("factorizations");
}

#[test]
fn pcg() {
    replay("pcg");
}

#[test]
fn block_trees() {
    replay("block_trees");
}

#[test]
fn statistics() {
    replay("statistics");
}

#[test]
fn checkpoint() {
    replay("checkpoint");
}

#[cfg(feature = "nn")]
#[test]
fn command_line() {
    replay("command_line");
}

#[cfg(feature = "nn")]
#[test]
fn idx() {
    replay("idx");
}

#[cfg(feature = "nn")]
#[test]
fn csv() {
    replay("csv");
}

/// The replay notices a body that panics, and says on which input.
#[test]
fn a_panicking_body_is_reported_with_its_input() {
    fn picky(input: &[u8]) {
        assert!(input.len() < 2, "too long");
    }
    run(picky, &[1], "short");
    let caught = std::panic::catch_unwind(|| run(picky, &[0xab, 0xcd], "planted")).unwrap_err();
    assert_eq!(caught.downcast_ref::<String>().unwrap(), "planted: too long\ninput: [ab, cd]");
}
