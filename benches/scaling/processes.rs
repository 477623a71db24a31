//! Threads and allocations of a process that does nothing but steps of K-FAC, or nothing but refreshes.
//!
//! Each row is a process of its own, this program called as `scaling child WORK BACKEND THREADS`: its pool has as many threads
//! as its budget, as that of `train`. A second thread looks every few milliseconds at which threads the system runs or would
//! run (state R): more of them than the budget is oversubscription, whatever the number of CPUs hides of it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{
    FisherKind, Kfac, KfacOptions, KfacPreconditioner, LayeredObjective, Objective, Optimizer, PreconditionerOptions,
};
use pullback::testing::gallery;
use pullback::{Ctx, Damping};
use serde::{Deserialize, Serialize};

use crate::counting_allocator::all_allocations;
use crate::support::{self, processors};
use crate::{Failure, Settings};

/// What a child found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    pub wall: f64,
    /// Steps or refreshes in that time.
    pub rounds: usize,
    /// Of all threads, in user and system mode; `None` where the system does not tell.
    pub cpu: Option<f64>,
    /// Threads of the process, without the one that looks.
    pub threads: usize,
    /// Threads in state R, without the one that looks: mean, and the most at once.
    pub running: (f64, usize),
    /// Allocations of one more step: without a refresh and with one.
    pub allocations: Option<(usize, usize)>,
}

/// OpenBLAS's idle workers ask for work in a loop before they sleep, 2^26 cycles by default; with this, 2^4.
const SLEEPY: (&str, &str) = ("OPENBLAS_THREAD_TIMEOUT", "4");

/// Rows over backends and threads.
pub fn processes(settings: &Settings, _: &Ctx<f32>) -> Result<(), Failure> {
    println!(
        "\nprocesses: autoencoder 784-500-250-30, B = 512; steps of K-FAC with a refresh each, or refreshes alone (12 factors)"
    );
    println!(
        "running: threads that run or would run, mean and most; allocations: of a step without a refresh and with one, once warm\n"
    );
    println!(
        "{:>9} {:>7} {:>10} {:>8} {:>8} {:>10} {:>9} {:>11}",
        "backend", "threads", "work", "ms each", "CPU/wall", "OS threads", "running", "allocations"
    );
    for backend in backends() {
        for threads in [1, 2] {
            for work in ["refreshes", "steps"] {
                row(backend, threads, work, &child(settings, work, backend, threads, None)?);
            }
        }
    }
    println!(
        "\noversubscribed: CPU/wall, or the mean of running threads, above {TOLERANCE} times the threads; {} CPUs",
        processors()
    );
    if backends().any(|backend| backend == "openblas") {
        awake(settings)?;
    }
    println!();
    Ok(())
}

/// What the idle workers of OpenBLAS cost a step, which are ready to run but give way: in turn with workers that sleep.
fn awake(settings: &Settings) -> Result<(), Failure> {
    let (mut awake, mut asleep) = (Vec::new(), Vec::new());
    for _ in 0..if settings.quick { 1 } else { 3 } {
        awake.push(child(settings, "steps", "openblas", 2, None)?);
        asleep.push(child(settings, "steps", "openblas", 2, Some(SLEEPY))?);
    }
    let milliseconds = |all: &[Found]| all.iter().map(|f| 1e3 * f.wall / f.rounds as f64).fold(f64::INFINITY, f64::min);
    let running = |all: &[Found]| all.iter().map(|f| f.running.0).sum::<f64>() / all.len() as f64;
    println!(
        "OpenBLAS's idle workers yield in a loop before they sleep: a step on 2 threads takes {:.1} ms, {:.2} running, and {:.1} \
         ms, {:.2} running, with {}={}.",
        milliseconds(&awake),
        running(&awake),
        milliseconds(&asleep),
        running(&asleep),
        SLEEPY.0,
        SLEEPY.1
    );
    Ok(())
}

const TOLERANCE: f64 = 1.05;

fn row(backend: &str, threads: usize, work: &str, found: &Found) {
    let ratio = found.cpu.map(|cpu| cpu / found.wall);
    let most = TOLERANCE * threads as f64;
    let verdict = if ratio.is_some_and(|r| r > most) || found.running.0 > most { "oversubscribed" } else { "" };
    println!(
        "{backend:>9} {threads:>7} {work:>10} {:>8.2} {:>8} {:>10} {:>9} {:>11}  {verdict}",
        1e3 * found.wall / found.rounds as f64,
        ratio.map_or("-".to_owned(), |r| format!("{r:.2}")),
        found.threads,
        format!("{:.2} {}", found.running.0, found.running.1),
        found.allocations.map_or("-".to_owned(), |(plain, with)| format!("{plain} {with}")),
    );
}

/// The compiled ones, as `support::context` calls them.
fn backends() -> impl Iterator<Item = &'static str> {
    ["faer", "openblas"].into_iter().filter(|name| support::context::<f32>(name, 1).is_ok())
}

fn child(
    settings: &Settings,
    work: &str,
    backend: &str,
    threads: usize,
    variable: Option<(&str, &str)>,
) -> Result<Found, Failure> {
    let seconds = if settings.quick { 0.1 } else { 2.0 };
    let arguments = ["child", work, backend, &threads.to_string(), &seconds.to_string()];
    let output = Command::new(std::env::current_exe()?).args(arguments).envs(variable).output()?;
    match serde_json::from_slice(&output.stdout) {
        Ok(found) if output.status.success() => Ok(found),
        _ => Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Runs a child's request: WORK BACKEND THREADS SECONDS.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let [work, backend, threads, seconds] = arguments else { return Err("child WORK BACKEND THREADS SECONDS".into()) };
    let (threads, seconds) = (threads.parse()?, seconds.parse()?);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let ctx = support::context::<f32>(backend, threads)?;
    let net: Mlp<f32> = Mlp::autoencoder(&[784, 500, 250, 30], Activation::Tanh).l2(1e-5).build()?;
    let batch = Batch::autoencoder(gallery::uniform(784, 512, 1).map(f32::abs).as_ref())?;
    let theta = net.init(Init::GlorotUniform, 3);
    let found = match work.as_str() {
        "steps" => steps(&ctx, &net, theta, &batch, seconds)?,
        "refreshes" => refreshes(&ctx, &net, &theta, &batch, seconds)?,
        _ => return Err(format!("no such work: {work}").into()),
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn steps(
    ctx: &Ctx<f32>,
    net: &Mlp<f32>,
    mut theta: Vec<f32>,
    batch: &Batch<f32>,
    seconds: f64,
) -> Result<Found, Failure> {
    /// Steps between refreshes while allocations are counted.
    const INTERVAL: u64 = 5;
    let mut counted: Kfac<f32, Workspace<f32>> =
        Kfac::new(KfacOptions { refresh_interval: INTERVAL, ..KfacOptions::default() })?;
    let mut allocations = (0, 0);
    // steps 5 and 10 refresh: the last of either kind counts
    for step in 0..2 * INTERVAL + 2 {
        let before = all_allocations();
        counted.step(ctx, net, &mut theta, batch)?;
        let count = all_allocations() - before;
        if step % INTERVAL == 0 { allocations.1 = count } else { allocations.0 = count }
    }
    drop(counted);
    let options = KfacOptions { refresh_interval: 1, ..KfacOptions::default() };
    let mut optimizer: Kfac<f32, Workspace<f32>> = Kfac::new(options)?;
    let found = watched(seconds, || optimizer.step(ctx, net, &mut theta, batch).map(drop))?;
    Ok(Found { allocations: Some(allocations), ..found })
}

fn refreshes(
    ctx: &Ctx<f32>,
    net: &Mlp<f32>,
    theta: &[f32],
    batch: &Batch<f32>,
    seconds: f64,
) -> Result<Found, Failure> {
    let damping = KroneckerDamping::Factored { pi: PiRule::Trace };
    let mut kfac = KfacPreconditioner::new(net.layout(), PreconditionerOptions { damping, ..Default::default() })?;
    let mut workspace = net.workspace();
    net.forward(ctx, theta, batch, &mut workspace)?;
    kfac.begin_update();
    net.capture(ctx, theta, batch, &mut workspace, FisherKind::MonteCarlo, batch.cases(), 1, &mut kfac)?;
    let lambda = Damping::try_from(1.0)?;
    watched(seconds, || kfac.refresh(ctx, lambda).map(drop))
}

/// Repeats the work for so many seconds, twice: for the times, and with somebody looking.
fn watched(seconds: f64, mut work: impl FnMut() -> pullback::Result<()>) -> Result<Found, Failure> {
    let mut repeat = || -> pullback::Result<(f64, usize)> {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < seconds {
            work()?;
            rounds += 1;
        }
        Ok((start.elapsed().as_secs_f64(), rounds))
    };
    let before = cpu_seconds();
    let (wall, rounds) = repeat()?;
    let cpu = cpu_seconds().zip(before).map(|(after, before)| after - before);
    let over = AtomicBool::new(false);
    let (done, looks) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| looks(&over));
        let done = repeat();
        over.store(true, Relaxed);
        (done, watcher.join().unwrap_or_default())
    });
    done?;
    let most = |of: fn(&(usize, usize)) -> usize| looks.iter().map(of).max().unwrap_or(0);
    let mean = looks.iter().map(|look| look.1 as f64).sum::<f64>() / looks.len().max(1) as f64;
    Ok(Found { wall, rounds, cpu, threads: most(|l| l.0), running: (mean, most(|l| l.1)), allocations: None })
}

/// (threads, those in state R), without this thread, every 5 ms until it is over.
fn looks(over: &AtomicBool) -> Vec<(usize, usize)> {
    let mut looks = Vec::new();
    while !over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
        let states = states();
        // this one is running, too
        looks.push((states.len().saturating_sub(1), states.iter().filter(|&&s| s == 'R').count().saturating_sub(1)));
    }
    looks
}

/// The state of every thread of this process, where the system tells (Linux).
fn states() -> Vec<char> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let state = |stat: String| stat.rsplit(") ").next()?.chars().next();
    tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok().and_then(state)).collect()
}

/// User and system time of this process so far, where the system tells (Linux; a tick is 10 ms there).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // after the name: state is field 3, utime 14, stime 15
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / 100.0)
}
