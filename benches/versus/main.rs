//! Our side of `versus.py`: answers the same requests as the peers' programs in `peers/`.
//!
//! ```text
//! request (a line of standard input)     answer (a JSON line of standard output)
//! about                                  {"pullback": version, "backend": its details}
//! inputs                                 writes what all programs work on into the folder; {"ok": true}
//! prepare ROW                            sets ROW up, runs it once; {"check": a number of the result} or {"missing": "why"}
//! turn SECONDS                           {"seconds": [of each call, steps of an optimizer apart]}
//! curve SECONDS DAMPING K                trains on MNIST, K batches an update; {"batches": n, "seconds": s, "parameters": file
//!                                        of θ}
//! ```
//! Nothing runs between two requests, so that only one program works at a time. The thread count is an argument; CPUs are
//! pinned by the caller.

mod curve;
mod dense;
mod inputs;
mod network;
#[path = "../support/mod.rs"]
mod support;
mod task;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use pullback::{Ctx, Scalar};
use serde_json::{Value, json};

use crate::task::Task;

type Failure = Box<dyn std::error::Error>;

/// The arguments: `--folder PATH --backend faer|openblas|reference --threads N [--mnist FOLDER]`.
pub struct Settings {
    pub folder: PathBuf,
    pub backend: String,
    pub threads: usize,
    pub mnist: Option<PathBuf>,
}

impl Settings {
    fn read() -> Result<Option<Self>, Failure> {
        let mut settings = Self { folder: PathBuf::new(), backend: "faer".into(), threads: 1, mnist: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--folder" => settings.folder = value()?.into(),
                "--backend" => settings.backend = value()?,
                "--threads" => settings.threads = value()?.parse()?,
                "--mnist" => settings.mnist = Some(value()?.into()),
                _ => {} // cargo's own --bench and filters
            }
        }
        Ok((!settings.folder.as_os_str().is_empty()).then_some(settings))
    }

    pub fn context<T: Scalar>(&self) -> Result<Ctx<T>, Failure> {
        Ok(support::context(&self.backend, self.threads)?)
    }
}

/// The task behind a row's name; `None` for a name that is not ours.
fn task(settings: &Settings, row: &str) -> Result<Option<Box<dyn Task>>, Failure> {
    let mut words = row.split(' ');
    let (name, rest): (_, Vec<&str>) = (words.next().unwrap_or_default(), words.collect());
    let number = |i: usize| -> Result<usize, Failure> { Ok(rest.get(i).ok_or("a number is missing")?.parse()?) };
    if name == "network" {
        return network::task(settings, &rest);
    }
    match rest.last() {
        Some(&"f32") => dense::task::<f32>(settings, name, number),
        Some(&"f64") => dense::task::<f64>(settings, name, number),
        _ => Ok(None),
    }
}

fn answer(settings: &Settings, current: &mut Option<Box<dyn Task>>, request: &str) -> Result<Value, Failure> {
    let (verb, rest) = request.split_once(' ').unwrap_or((request, ""));
    match verb {
        "about" => {
            let ctx: Ctx<f32> = settings.context()?;
            Ok(json!({ "pullback": env!("CARGO_PKG_VERSION"), "backend": ctx.backend().details() }))
        }
        "inputs" => inputs::write(&settings.folder).map(|()| json!({ "ok": true })),
        "prepare" => {
            *current = None; // the memory of the last one first
            *current = task(settings, rest)?;
            match current {
                None => Ok(json!({ "missing": "not one of ours" })),
                Some(task) => task::warm_up(&mut **task).map(|()| json!({ "check": task.check() })),
            }
        }
        "turn" => {
            let task = current.as_mut().ok_or("nothing is prepared")?;
            Ok(json!({ "seconds": task::turn(&mut **task, rest.parse()?)? }))
        }
        "curve" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let [seconds, damping, k] = words[..] else { return Err("curve SECONDS DAMPING K".into()) };
            curve::train(settings, seconds.parse()?, damping.parse()?, k.parse()?)
        }
        _ => Err(format!("no such request: {request}").into()),
    }
}

fn main() -> Result<(), Failure> {
    let Some(settings) = Settings::read()? else {
        println!("versus: our side of benches/versus/versus.py, which see");
        return Ok(());
    };
    // on a thread of the pool, where a fork needs no other thread to begin
    rayon::scope(|_| serve(&settings))?;
    Ok(())
}

fn serve(settings: &Settings) -> std::io::Result<()> {
    let mut current = None;
    for request in std::io::stdin().lock().lines() {
        let reply = answer(settings, &mut current, request?.trim());
        let reply = reply.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{reply}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
