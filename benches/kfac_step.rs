//! How far from the gemm roof is a K-FAC step, and what does each part cost in gradients?
//!
//! `cargo bench --bench kfac_step [-- --quick] [-- --backend faer|openblas] [-- --threads N]`
//!
//! The 784-1000-500-250-30 autoencoder, B = 512, f32. Every figure is a ratio within one run: the parts are timed in
//! turn, round after round, and the smallest time of each is kept, so that a busy machine disturbs all alike.

#[path = "support/mod.rs"]
mod support;

use std::time::Instant;

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Init, Mlp, Workspace};
use pullback::optim::{
    EigenUpdate, FisherKind, Kfac, KfacOptions, KfacPreconditioner, LayeredObjective, Objective, Optimizer,
    PreconditionerOptions, Rejection, StepRule,
};
use pullback::stats::Decay;
use pullback::{Ctx, Damping, Mat, Op};

const WIDTHS: [usize; 5] = [784, 1000, 500, 250, 30];
/// Steps over which the refresh in turn is spread.
const TURNS: usize = 5;

struct Settings {
    rounds: usize,
    backend: String,
    threads: usize,
    batch: usize,
}

fn settings() -> Settings {
    let mut settings = Settings { rounds: 12, backend: "faer".into(), threads: support::processors(), batch: 512 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = |what: &str| arguments.next().unwrap_or_else(|| panic!("{argument} needs {what}"));
        match argument.as_str() {
            "--quick" => settings.rounds = 2,
            "--backend" => settings.backend = value("faer, openblas or reference"),
            "--threads" => settings.threads = value("a number").parse().expect("a number of threads"),
            "--batch" => settings.batch = value("a number").parse().expect("a number of cases"),
            _ => {} // cargo's own --bench and filters
        }
    }
    settings
}

/// One timed part: name, flops, seconds of each round.
struct Part {
    name: &'static str,
    flops: f64,
    best: f64,
}

impl Part {
    fn new(name: &'static str, flops: f64) -> Self {
        Self { name, flops, best: f64::INFINITY }
    }

    fn time(&mut self, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.best = self.best.min(start.elapsed().as_secs_f64());
    }
}

fn main() {
    let before = resident_bytes("VmRSS:");
    let settings = settings();
    let ctx: Ctx<f32> = support::context(&settings.backend, settings.threads).unwrap_or_else(|e| panic!("{e}"));
    ctx.enter(|| measure(&ctx, &settings, before));
}

fn measure(ctx: &Ctx<f32>, settings: &Settings, before: Option<f64>) {
    let net = Mlp::<f32>::autoencoder(&WIDTHS, Activation::Tanh).build().unwrap();
    let (n, cases) = (net.layout().len(), settings.batch);
    let inputs = Mat::from_fn(WIDTHS[0], cases, |i, j| ((i * 31 + j * 17) % 97) as f32 / 97.0);
    let batch = pullback::nn::Batch::autoencoder(inputs.as_ref()).unwrap();
    drop(inputs);
    let mut theta = net.init(Init::GlorotUniform, 1);
    let shapes: Vec<(f64, f64)> = net.layout().blocks().iter().map(|b| (b.cols as f64, b.rows as f64)).collect();
    let b = cases as f64;
    let sum = |f: &dyn Fn(f64, f64) -> f64| shapes.iter().map(|&(i, o)| f(i, o)).sum::<f64>();
    let first = shapes[0].0 * shapes[0].1;
    let weights = sum(&|i, o| i * o);
    // a product with W costs 2 io B; the first layer passes no gradient further down, nor a tangent up
    let forward = 2.0 * weights * b;
    let backward = 2.0 * (2.0 * weights - first) * b;
    let pseudo = 2.0 * (weights - first) * b;
    let statistics = sum(&|i, o| (i * i + o * o) * b);
    let apply = sum(&|i, o| 2.0 * i * o * (i + o));
    // beside the product of the gradient, in each layer the cheaper of the two
    let through = sum(&|i, o| (2.0 * b * (i * i + o * o)).min(2.0 * i * o * (i + o)));
    let refresh = sum(&|i, o| i.powi(3) + o.powi(3));
    let tangent = forward + pseudo;

    let statistics_bytes = sum(&|i, o| 4.0 * (i * i + o * o));
    let activation_bytes = 4.0 * b * (shapes.iter().map(|s| s.0).sum::<f64>() + WIDTHS[0] as f64);

    let mut roof = Part::new("gemm roof, n = 1024", 2.0 * 1024f64.powi(3));
    let mut gradient = Part::new("gradient", forward + backward);
    let mut capture = Part::new("sampled backward", pseudo);
    let mut syrk = Part::new("statistics (syrk)", statistics);
    let mut precondition = Part::new("precondition", apply);
    let mut factored = Part::new("backward, update by cost", backward + through);
    let mut step = Part::new("K-FAC step, plain", forward + backward + pseudo + statistics + through);
    let mut inverses = Part::new("refresh, 16 factors", refresh);
    // the largest layer has a turn of its own
    let turn = shapes.iter().map(|&(i, o)| i.powi(3) + o.powi(3)).fold(0.0, f64::max);
    let mut turns = [(); TURNS].map(|()| Part::new("refresh, slowest turn", turn));
    let mut eigenbases = Part::new("eigenbases, 16 factors", 9.0 * refresh);
    let mut kept = Part::new("eigenbases, kept", 2.0 * refresh);
    let mut product = Part::new("Gauss-Newton product", tangent + backward);
    let mut adaptive = Part::new("K-FAC step, adaptive", step.flops + 2.0 * tangent);

    // the whole optimizer first: nothing else has been held before it
    let options = KfacOptions {
        refresh_interval: 1_000_000,
        rejection: Rejection::Never,
        adaptation: None,
        step: StepRule::QuadraticModel { momentum: true },
        ..KfacOptions::default()
    };
    let mut optimizer: Kfac<f32, Workspace<f32>> = Kfac::new(options).unwrap();
    for round in 0..settings.rounds + 3 {
        let start = Instant::now();
        optimizer.step(ctx, &net, &mut theta, &batch).unwrap();
        if round >= 3 {
            adaptive.best = adaptive.best.min(start.elapsed().as_secs_f64());
        }
    }
    drop(optimizer);
    let peak = resident_bytes("VmHWM:").zip(before).map(|(peak, before)| peak - before);

    let mut ws: Workspace<f32> = net.workspace();
    let mut grad = vec![0.0f32; n];
    let mut out = vec![0.0f32; n];
    let options = PreconditionerOptions {
        decay: Decay::DEFAULT,
        damping: KroneckerDamping::Factored { pi: PiRule::Trace },
        tolerated_failures: 0,
        ..PreconditionerOptions::default()
    };
    let lambda = Damping::try_from(1.0).unwrap();
    let mut kfac = KfacPreconditioner::new(net.layout(), options).unwrap();
    let exact = PreconditionerOptions { damping: KroneckerDamping::Exact, ..options };
    let tracked = EigenUpdate::Tracked { tolerance: f64::INFINITY };
    let mut bases = [EigenUpdate::Full, tracked].map(|eigenbases| {
        KfacPreconditioner::new(net.layout(), PreconditionerOptions { eigenbases, ..exact }).unwrap()
    });
    let (a, c) = (Mat::<f32>::from_fn(1024, 1024, |i, j| ((i + j) % 7) as f32), Mat::<f32>::zeros(1024, 1024));
    let mut c = c;
    for round in 0..settings.rounds {
        roof.time(|| ctx.gemm(1.0, a.as_ref(), Op::No, a.as_ref(), Op::No, 0.0, c.as_mut()).unwrap());
        gradient.time(|| {
            net.forward(ctx, &theta, &batch, &mut ws).unwrap();
            net.backward(ctx, &theta, &batch, &mut ws, &mut grad).unwrap();
        });
        let mut nothing = support::Nothing;
        capture.time(|| {
            net.capture(ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut nothing)
                .unwrap();
        });
        product.time(|| net.ggn_product(ctx, &theta, &batch, &ws, &grad, &mut out).unwrap());
        if !kfac.is_ready() {
            for kfac in bases.iter_mut().chain([&mut kfac]) {
                kfac.begin_update();
                net.capture(ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, 0, kfac).unwrap();
                kfac.refresh(ctx, lambda).unwrap();
            }
        }
        let [full, tracked] = &mut bases;
        for (part, kfac) in [(&mut inverses, &mut kfac), (&mut eigenbases, full), (&mut kept, tracked)] {
            part.time(|| {
                // new statistics each time, as in training
                kfac.begin_update();
                kfac.refresh(ctx, lambda).unwrap();
            });
        }
        for (turn, part) in turns.iter_mut().enumerate() {
            part.time(|| {
                kfac.begin_update();
                kfac.refresh_in_turn(ctx, lambda, turn as u64, TURNS as u64).unwrap();
            });
        }
        let captured = Instant::now();
        kfac.begin_update();
        net.capture(ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut kfac).unwrap();
        syrk.best = syrk.best.min((captured.elapsed().as_secs_f64() - capture.best).max(0.0));
        precondition.time(|| kfac.precondition(ctx, &grad, &mut out).unwrap());
        let update = |ws: &mut Workspace<f32>, kfac: &KfacPreconditioner<f32>, out: &mut [f32]| {
            net.gradient_factors(ctx, &theta, &batch, ws, &mut |layer, g, a, weight| {
                let u = net.layout().blocks()[layer].view_mut(out)?;
                kfac.precondition_product(ctx, layer, weight, g, a, u)
            })
            .unwrap();
        };
        factored.time(|| update(&mut ws, &kfac, &mut out));
        step.time(|| {
            net.forward(ctx, &theta, &batch, &mut ws).unwrap();
            kfac.begin_update();
            net.capture(ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut kfac).unwrap();
            update(&mut ws, &kfac, &mut out);
        });
    }
    println!("\nautoencoder 784-1000-500-250-30, {n} parameters, B = {cases}, f32");
    println!("{}; {} thread(s)\n", ctx.backend().details(), ctx.threads());
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>7} {:>9} {:>8}",
        "part", "ms", "GFLOP", "GFLOP/s", "roof", "gradients", "by flops"
    );
    let parts = [&roof, &gradient, &product, &capture, &syrk, &precondition, &factored, &step, &adaptive, &inverses];
    let slowest = turns.iter().max_by(|a, b| a.best.total_cmp(&b.best));
    for part in parts.into_iter().chain(slowest).chain([&eigenbases, &kept]) {
        let rate = part.flops / part.best;
        let roof_share = rate / (roof.flops / roof.best);
        println!(
            "{:<24} {:>8.2} {:>8.2} {:>8.1} {:>6.0}% {:>9.2} {:>8.2}",
            part.name,
            part.best * 1e3,
            part.flops / 1e9,
            rate / 1e9,
            100.0 * roof_share,
            part.best / gradient.best,
            part.flops / gradient.flops
        );
    }
    let parameters = 4.0 * n as f64;
    let unit = parameters + statistics_bytes + activation_bytes;
    let parts = format!(
        "parameters {:.1} + statistics {:.1} + activations {:.1} MB",
        parameters / 1e6,
        statistics_bytes / 1e6,
        activation_bytes / 1e6
    );
    match peak {
        Some(peak) => println!(
            "\nmemory: at most {:.1} MB resident during K-FAC steps, beyond the empty program\n        = {:.2} x ({parts})",
            peak / 1e6,
            peak / unit
        ),
        None => println!("\nmemory: this system does not tell; 1 x ({parts}) = {:.1} MB", unit / 1e6),
    }
}

/// Bytes of this process in memory now (`VmRSS:`) or at most so far (`VmHWM:`), where the system tells (Linux).
fn resident_bytes(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}
