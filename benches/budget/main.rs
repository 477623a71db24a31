//! Question: does K-FAC with an overhead budget hold it, and does it train as well as the best fixed setting that does?
//!
//! `cargo bench --bench budget [-- --network digits|mnist|regression]... [-- --mnist FOLDER] [-- --seconds S]
//! [-- --seeds N | --seed K] [-- --threads N] [-- --csv FILE]`; `cargo bench --bench budget -- --table FILE` for the tables
//! of docs/budget.md from such a file; `cargo bench --bench budget -- --floors` for the table of exact and factored damping
//! in docs/damping.md.
//!
//! Three networks: the digits autoencoder of `train`, MNIST's (784-1000-500-250-30, B = 512, from a FOLDER with its four
//! files) and a regression 20-100-1 on a teacher's outputs. SGD, K-FAC under budgets of 1.2, 1.5, 2 and 4, and a grid of
//! fixed settings train in turn, a slice of the seconds each, so that a busy machine disturbs all alike. Overhead is the
//! mean time of a step, after a tenth of the seconds, over that of SGD; the loss is on the training cases at the end.

mod contest;
mod floors;
mod networks;
mod table;

use std::path::PathBuf;

use contest::{Row, contest};
use networks::{Name, Network};
use pullback::Ctx;

pub type Failure = Box<dyn std::error::Error>;

struct Settings {
    networks: Vec<Name>,
    mnist: Option<PathBuf>,
    seconds: Option<f64>,
    seeds: std::ops::RangeInclusive<u64>,
    threads: usize,
    csv: Option<PathBuf>,
    table: Option<PathBuf>,
    floors: bool,
}

fn settings() -> Result<Settings, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut settings = Settings {
        networks: Vec::new(),
        mnist: None,
        seconds: None,
        seeds: 1..=3,
        threads,
        csv: None,
        table: None,
        floors: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--network" => settings.networks.push(value()?.parse()?),
            "--mnist" => settings.mnist = Some(value()?.into()),
            "--seconds" => settings.seconds = Some(value()?.parse()?),
            "--seeds" => settings.seeds = 1..=value()?.parse()?,
            "--seed" => settings.seeds = value()?.parse().map(|seed| seed..=seed)?,
            "--threads" => settings.threads = value()?.parse()?,
            "--csv" => settings.csv = Some(value()?.into()),
            "--floors" => settings.floors = true,
            "--table" => settings.table = Some(value()?.into()),
            _ => {} // cargo's own --bench
        }
    }
    if settings.networks.is_empty() {
        settings.networks = if settings.floors { vec![Name::Digits] } else { Name::ALL.to_vec() };
    }
    Ok(settings)
}

fn main() -> Result<(), Failure> {
    let settings = settings()?;
    if let Some(path) = &settings.table {
        print!("{}", table::markdown(&table::read(path)?));
        return Ok(());
    }
    let ctx = Ctx::<f32>::default().with_threads(settings.threads);
    let mut rows: Vec<Row> = Vec::new();
    for &name in &settings.networks {
        let Some(network) = Network::load(name, settings.mnist.as_deref())? else {
            println!("{}: left out, --mnist FOLDER names its files", name.name());
            continue;
        };
        if settings.floors {
            print!("\n{}", floors::markdown(&ctx, &network, settings.seeds.clone())?);
            continue;
        }
        let seconds = settings.seconds.unwrap_or(network.seconds);
        for seed in settings.seeds.clone() {
            rows.extend(contest(&ctx, &network, seconds, seed)?);
        }
    }
    print!("{}", table::markdown(&rows));
    if let Some(path) = &settings.csv {
        table::append(path, &rows)?;
    }
    Ok(())
}
