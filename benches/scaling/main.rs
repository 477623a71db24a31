//! How does the cost of K-FAC grow, and where does it stop paying?
//!
//! ```text
//! cargo bench --bench scaling [-- --quick] [-- --backend faer|openblas] [-- --threads N] [-- SECTION ...]
//!
//! width      times against width with their exponents, then K-FAC in gradients and up to where it pays
//! depth, batch, classes, threads     times against those
//! memory     peak bytes against the formula
//! processes  threads and allocations of whole processes, on every backend
//! startup    seconds to the first step on the digits
//! ```
//! Everything is in f32. An exponent is fitted to the largest half of the points, with its standard error; "by flops" is the
//! exponent of the counts of `costs` over the same points, lower-order terms included; "ratio" is the one over the other.

mod cost;
#[path = "../../tests/common/counting_allocator.rs"]
mod counting_allocator;
mod fit;
mod memory;
mod network;
#[path = "../../tests/common/new_threads.rs"]
mod new_threads;
mod paying;
mod processes;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod sweep;

// the optimizers of `train` with its settings; the example uses more of these
#[allow(dead_code)]
#[path = "../../examples/train/args.rs"]
mod args;
#[allow(dead_code)]
#[path = "../../examples/train/defaults.rs"]
mod defaults;
#[allow(dead_code)]
#[path = "../../examples/train/kinds.rs"]
mod kinds;
#[allow(dead_code)]
#[path = "../../examples/train/racers.rs"]
mod racers;

use pullback::Ctx;

use crate::sweep::Effort;

type Failure = Box<dyn std::error::Error>;

#[global_allocator]
static ALLOCATOR: counting_allocator::CountingAllocator = counting_allocator::CountingAllocator;

type Section = fn(&Settings, &Ctx<f32>) -> Result<(), Failure>;

const SECTIONS: [(&str, Section); 8] = [
    ("width", paying::width),
    ("depth", cost::depth),
    ("batch", cost::batch),
    ("classes", cost::classes),
    ("threads", cost::threads),
    ("memory", memory::memory),
    ("processes", processes::processes),
    ("startup", startup::startup),
];

/// The arguments.
pub struct Settings {
    pub quick: bool,
    pub backend: String,
    pub threads: usize,
    /// Names of sections; all of them where there is none.
    pub sections: Vec<String>,
}

impl Settings {
    fn read() -> Result<Self, Failure> {
        let backend = Ctx::<f32>::default().backend().name().to_owned();
        let mut settings = Self { quick: false, backend, threads: support::processors(), sections: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--quick" => settings.quick = true,
                "--backend" => settings.backend = value()?,
                "--threads" => settings.threads = value()?.parse()?,
                "--bench" => {} // cargo's own
                section if SECTIONS.iter().any(|(name, _)| *name == section) => settings.sections.push(name),
                _ => return Err(format!("{name}: neither an option nor a section").into()),
            }
        }
        Ok(settings)
    }

    pub fn context(&self) -> Result<Ctx<f32>, String> {
        support::context(&self.backend, self.threads)
    }

    pub fn effort(&self) -> Effort {
        if self.quick { Effort { rounds: 1, seconds: 0.0 } } else { Effort { rounds: 3, seconds: 1.0 } }
    }

    /// The smallest three where it must be quick.
    pub fn sizes<'a>(&self, all: &'a [usize]) -> &'a [usize] {
        if self.quick { &all[..3] } else { all }
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("child") if arguments[1..] == ["first-step"] => return startup::first_step(),
        Some("child") => return processes::run(&arguments[1..]),
        _ => {}
    }
    let settings = Settings::read()?;
    let ctx = settings.context()?;
    println!("{}; {} thread(s); f32", ctx.backend().details(), ctx.threads());
    for (name, section) in SECTIONS {
        if settings.sections.is_empty() || settings.sections.iter().any(|wanted| wanted == name) {
            section(&settings, &ctx)?;
        }
    }
    Ok(())
}
