//! Trains a network with several optimizers for the same time each and compares them.
//!
//! `cargo run --release --example train` needs no arguments: an autoencoder on the bundled digits, sgd, adam and kfac
//! one after the other, then a table, a log and a plot. `--help` explains every option.

mod args;
mod axis;
mod defaults;
mod kinds;
mod log;
mod output;
mod plot;
mod problem;
mod progress;
mod race;
mod racers;
mod results;
mod schedule;
mod table;
mod targets;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use pullback::optim::OverheadBudget;
use pullback::{Ctx, Scalar};

use args::{Args, BackendName, Dtype};
use kinds::Kind;
use log::{End, Event, Log, Report, Settings, Skip, Step};
use output::Output;
use problem::Problem;
use progress::{Line, Progress};
use race::{EVALUATION_CASES, Recorder, Saves};
use racers::Tuned;
use schedule::Budget;

/// An error that is one clear line.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.dtype {
        Dtype::F32 => run::<f32>(&args),
        Dtype::F64 => run::<f64>(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run<T: Scalar>(args: &Args) -> Result<(), Failure> {
    args.check()?;
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let ctx = context::<T>(args.backend, threads)?;
    let problem = Problem::<T>::load(args)?;
    let tuned = tuned(args, &problem);
    let settings = settings(args, &ctx, &problem, &tuned);
    let (kinds, mut skips) = fitting(args, &problem)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    // both files are opened before the first step, so that a typing error does not cost a run
    let mut keeper = Keeper::new(Log::new(Output::create(&args.log)?), args.quiet);
    let plot = Output::create(&args.plot)?;
    let csv = args.csv.as_deref().map(Output::create).transpose()?;

    keeper.note(&format!("{}: {}", args.data, problem::describe(&problem)));
    keeper.note(&format!(
        "{} {}, batch {}, {}, {} thread(s), {}",
        settings.task, settings.arch, settings.batch, settings.dtype, threads, settings.backend
    ));
    // the last part of a path is name enough for a title
    let name = Path::new(&args.data).file_name().map_or(args.data.clone().into(), |name| name.to_string_lossy());
    let title = format!("{name}, {} {}, batch {}", settings.task, settings.arch, settings.batch);
    let budget = Budget { seconds: settings.seconds, steps: settings.steps };
    keeper.log.write(&Event::Start(Box::new(settings.clone())));
    skips.iter().for_each(|skip| keeper.log.write(&Event::Skip(skip.clone())));
    let several = kinds.len() > 1;
    for kind in kinds {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        keeper.begin(kind.name());
        let saves = Saves { kind: identity(args, kind.name()), args };
        let done = ctx.enter(|| {
            race::train(&ctx, &problem, (kind, &tuned), budget, &saves, args.seed, &interrupted, &mut keeper)
        });
        match done {
            // one that cannot be made with these options must not cost the others
            Err(e) if several => {
                let skip = Skip { optimizer: kind.name(), reason: format!("failed: {e}") };
                keeper.log.write(&Event::Skip(skip.clone()));
                skips.push(skip);
            }
            done => done?,
        }
    }
    let (steps, ends, log) = keeper.close();
    let losses = args.targets().map_or_else(Vec::new, |targets| targets::losses(&targets, &steps));
    // files first, and the tables whatever became of them
    let (log, plot) = (log.finish(), plot::plot(&title, &steps, plot));
    let csv = csv.map(|csv| results::write(&settings, (&steps, &ends, &skips), &losses, csv)).transpose();
    let mut text = table::table(&ends);
    if args.targets().is_some() {
        text += &format!("\n{}", table::targets(&steps, &ends, &losses));
    }
    text += &table::left_out(&skips);
    let files = [
        ("log", log.as_ref().ok()),
        ("plot", plot.as_ref().ok()),
        ("table", csv.as_ref().ok().and_then(Option::as_ref)),
    ];
    for (what, path) in files {
        if let Some(path) = path {
            text += &format!("{what:<5} {}\n", path.display());
        }
    }
    // a reader that has seen enough (`| head`) is no failure
    let _ = std::io::stdout().write_all(text.as_bytes());
    log?;
    plot?;
    csv?;
    match ends.iter().all(|end| end.error.is_some()) {
        true => Err("no optimizer came through; see the table".into()),
        false => Ok(()),
    }
}

/// Who fits, and who is left out; with an error for one that was named.
fn fitting<T: Scalar>(args: &Args, problem: &Problem<T>) -> Result<(Vec<Kind>, Vec<Skip>), Failure> {
    let (mut kinds, mut skips) = (Vec::new(), Vec::new());
    for kind in args.kinds() {
        match racers::misfit(kind, &problem.net, problem.cases(kind)) {
            None => kinds.push(kind),
            Some(reason) if args.takes_all() => skips.push(Skip { optimizer: kind.name(), reason }),
            Some(reason) => return Err(format!("{} {reason}", kind.name()).into()),
        }
    }
    Ok((kinds, skips))
}

/// What a checkpoint must have been made with to be resumed.
fn identity(args: &Args, optimizer: &str) -> String {
    let Args { data, target, batch, seed, lr, damping, budget, grow_batch, decay, average, .. } = args;
    let task = args.task().name();
    format!(
        "{optimizer} on {data}, {task}, target {target:?}, batch {batch:?} {grow_batch:?}, seed {seed}, {lr:?} {decay:?}, \
         lambda {damping:?}, budget {budget:?}, average {average:?}"
    )
}

fn context<T: Scalar>(backend: Option<BackendName>, threads: usize) -> Result<Ctx<T>, Failure> {
    // the pool that the crate's threads come from
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let ctx = match backend {
        None => Ctx::default(),
        Some(BackendName::Reference) => Ctx::reference(),
        #[cfg(feature = "faer")]
        Some(BackendName::Faer) => Ctx::faer(),
        #[cfg(feature = "blas")]
        Some(BackendName::Openblas) => Ctx::blas(),
        #[cfg(not(feature = "faer"))]
        Some(BackendName::Faer) => return Err("the backend faer is not compiled in: build with --features faer".into()),
        #[cfg(not(feature = "blas"))]
        Some(BackendName::Openblas) => {
            return Err("the backend openblas is not compiled in: build with --features openblas-system".into());
        }
    };
    Ok(ctx.with_threads(threads))
}

fn settings<T: Scalar>(args: &Args, ctx: &Ctx<T>, problem: &Problem<T>, tuned: &Tuned) -> Settings {
    let has = |kinds: &[Kind]| args.kinds().iter().any(|kind| kinds.contains(kind));
    Settings {
        version: env!("CARGO_PKG_VERSION"),
        data: args.data.clone(),
        target: args.target.clone(),
        task: args.task().name(),
        arch: problem.arch.to_string(),
        parameters: problem.start.len(),
        train_cases: problem.train.len(),
        test_cases: problem.test.len(),
        optimizers: args.kinds().iter().map(|kind| kind.name()).collect(),
        backend: ctx.backend().name().to_owned(),
        backend_details: ctx.backend().details(),
        dtype: T::NAME,
        threads: ctx.threads(),
        batch: problem.batch,
        seconds: args.seconds.or(args.steps.is_none().then_some(args::SECONDS)),
        steps: args.steps,
        seed: args.seed,
        sgd_lr: has(&[Kind::Sgd, Kind::HeavyBall]).then_some(tuned.sgd.0),
        sgd_momentum: has(&[Kind::Sgd, Kind::HeavyBall]).then_some(tuned.sgd.1),
        adam_lr: has(&[Kind::Adam]).then_some(tuned.adam),
        natural_gradient_lr: has(&[Kind::NaturalGradient]).then_some(tuned.natural_gradient),
        damping: tuned.damping,
        budget: args.budget,
        hf_damping: tuned.hf_damping,
        fixed_damping: tuned.fixed_damping,
        l2: defaults::L2,
        evaluation_cases: EVALUATION_CASES,
    }
}

/// The optimizers' numbers: as asked for, else the defaults of the task.
fn tuned<T: Scalar>(args: &Args, problem: &Problem<T>) -> Tuned {
    let (asked, inputs) = (args.lr.unwrap_or_default(), problem.net.inputs());
    let (rate, momentum) = defaults::sgd(args.task(), inputs);
    Tuned {
        sgd: (asked.sgd.unwrap_or(rate), momentum),
        adam: asked.adam.unwrap_or(defaults::adam(args.task(), inputs)),
        natural_gradient: asked.natural_gradient.unwrap_or(defaults::NATURAL_GRADIENT),
        damping: args.damping.unwrap_or(defaults::DAMPING),
        hf_damping: args.damping.unwrap_or(defaults::HF_DAMPING),
        fixed_damping: args.damping.unwrap_or(defaults::FIXED_DAMPING),
        // with --steps runs repeat to the last bit, so that no clock may be read
        budget: args.budget.map(match args.steps {
            Some(_) => OverheadBudget::flops,
            None => OverheadBudget::seconds,
        }),
        seed: args.seed,
    }
}

/// Sends what happens to the log, to the progress line, and keeps it for table and plot.
struct Keeper {
    log: Log,
    quiet: bool,
    line: Option<Line>,
    steps: Vec<Step>,
    ends: Vec<End>,
}

impl Keeper {
    fn new(log: Log, quiet: bool) -> Self {
        Self { log, quiet, line: None, steps: Vec::new(), ends: Vec::new() }
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    fn begin(&mut self, optimizer: &str) {
        self.line = Some(Line::new(optimizer, self.quiet));
    }

    fn close(self) -> (Vec<Step>, Vec<End>, Log) {
        (self.steps, self.ends, self.log)
    }
}

impl Recorder for Keeper {
    fn progress(&mut self, progress: &Progress) {
        if let Some(line) = &self.line {
            line.show(progress);
        }
    }

    fn explain(&mut self, step: u64, text: &str) {
        eprintln!("step {step}: {text}");
    }

    fn report(&mut self, report: Report) {
        self.log.write(&Event::Report(report));
    }

    fn step(&mut self, step: Step) {
        self.log.write(&Event::Step(step.clone()));
        self.steps.push(step);
    }

    fn end(&mut self, end: End) {
        if let Some(line) = self.line.take() {
            line.finish();
        }
        self.log.write(&Event::End(end.clone()));
        self.ends.push(end);
    }
}
