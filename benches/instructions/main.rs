//! How many instructions does each small kernel take? For `.ci/instructions`, which runs this under callgrind.
//!
//! ```text
//! instructions list              the names, one a line
//! instructions level             the vector instructions that the kernels see, as valgrind emulates the CPU
//! instructions run NAME          the kernel once to warm up, then once inside `measured`
//! instructions time              microseconds of each kernel, the least of many calls: a look, no gate
//! ```
//! One thread, fixed inputs: the count of a kernel is the same in every run with the same compiler and vector instructions.

mod dense;
mod networks;
#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use pullback::{Ctx, Result};

/// A kernel's name and what makes it.
type Kernel = (String, Box<dyn Fn() -> Work>);
/// One call.
type Work = Box<dyn FnMut() -> Result<()>>;

/// Only what runs in here is counted.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    black_box(work())
}

/// The backends that are compared: the textbook loops, and the default one.
fn contexts() -> Vec<(&'static str, Ctx<f64>)> {
    vec![
        ("reference", Ctx::reference()),
        #[cfg(feature = "faer")]
        ("faer", Ctx::faer()),
    ]
}

fn kernels() -> Vec<Kernel> {
    let mut all = Vec::new();
    for (backend, ctx) in contexts() {
        let named = |(name, make): (&str, Box<dyn Fn() -> Work>)| (format!("{name}.{backend}"), make);
        all.extend(dense::kernels(&ctx).into_iter().map(named));
        all.extend(networks::kernels(&ctx).into_iter().map(named));
    }
    #[cfg(feature = "faer")]
    all.extend(dense::direct());
    all
}

/// x86-64-v4, v3 or v2: what faer and pulp choose by.
fn level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "x86-64-v4";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "x86-64-v3";
        }
        "x86-64-v2"
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH
}

/// The least time of a call, in microseconds, over 0.2 s.
fn microseconds(mut work: Work) -> Result<f64> {
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < 0.2 {
        let call = Instant::now();
        measured(&mut work)?;
        least = least.min(call.elapsed().as_secs_f64());
    }
    Ok(1e6 * least)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => kernels().iter().for_each(|(name, _)| println!("{name}")),
        ["level"] => println!("{}", level()),
        ["time"] => {
            for (name, make) in kernels() {
                println!("{name:<32} {:>10.2} µs", microseconds(make())?);
            }
        }
        ["run", name] => {
            let found = kernels().into_iter().find(|(kernel, _)| kernel == name);
            let (_, make) = found.unwrap_or_else(|| panic!("{name}: no such kernel; `list` prints them"));
            let mut work = make();
            work()?;
            measured(&mut work)?;
        }
        _ => println!("instructions: run by .ci/instructions, which see"),
    }
    Ok(())
}
