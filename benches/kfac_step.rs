//! How far from the gemm roof is a K-FAC step, and what does each part cost in gradients?
//!
//! `cargo bench --bench kfac_step [-- --quick] [-- --backend faer|openblas] [-- --threads N]`
//!
//! The 784-1000-500-250-30 autoencoder, B = 512, f32. Every figure is a ratio within one run: the parts are timed in
//! turn, round after round, and the smallest time of each is kept, so that a busy machine disturbs all alike.

use std::time::Instant;

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Init, Mlp, Workspace};
use pullback::optim::{
    FisherKind, Kfac, KfacOptions, KfacPreconditioner, LayeredObjective, Objective, Optimizer, PreconditionerOptions,
    Rejection, StepRule,
};
use pullback::stats::Decay;
use pullback::{Ctx, Damping, Mat, Op};

const WIDTHS: [usize; 5] = [784, 1000, 500, 250, 30];

struct Settings {
    rounds: usize,
    backend: String,
    threads: usize,
    batch: usize,
}

fn settings() -> Settings {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut settings = Settings { rounds: 12, backend: "faer".into(), threads, batch: 512 };
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

fn context(settings: &Settings) -> Ctx<f32> {
    let ctx = match settings.backend.as_str() {
        #[cfg(feature = "faer")]
        "faer" => Ctx::faer(),
        #[cfg(feature = "blas")]
        "openblas" | "blas" => Ctx::blas(),
        "reference" => Ctx::reference(),
        other => panic!("backend {other} is not compiled in (openblas needs --features openblas-system)"),
    };
    ctx.with_threads(settings.threads)
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
    let ctx = context(&settings);
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
        optimizer.step(&ctx, &net, &mut theta, &batch).unwrap();
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
    let (a, c) = (Mat::<f32>::from_fn(1024, 1024, |i, j| ((i + j) % 7) as f32), Mat::<f32>::zeros(1024, 1024));
    let mut c = c;
    for round in 0..settings.rounds {
        roof.time(|| ctx.gemm(1.0, a.as_ref(), Op::No, a.as_ref(), Op::No, 0.0, c.as_mut()).unwrap());
        gradient.time(|| {
            net.forward(&ctx, &theta, &batch, &mut ws).unwrap();
            net.backward(&ctx, &theta, &batch, &mut ws, &mut grad).unwrap();
        });
        let mut nothing = Nothing;
        capture.time(|| {
            net.capture(&ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut nothing)
                .unwrap();
        });
        product.time(|| net.ggn_product(&ctx, &theta, &batch, &ws, &grad, &mut out).unwrap());
        if !kfac.is_ready() {
            kfac.begin_update();
            net.capture(&ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, 0, &mut kfac).unwrap();
        }
        inverses.time(|| {
            // new statistics each time, as in training
            kfac.begin_update();
            kfac.refresh(&ctx, lambda).unwrap();
        });
        let captured = Instant::now();
        kfac.begin_update();
        net.capture(&ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut kfac).unwrap();
        syrk.best = syrk.best.min((captured.elapsed().as_secs_f64() - capture.best).max(0.0));
        precondition.time(|| kfac.precondition(&ctx, &grad, &mut out).unwrap());
        let update = |ws: &mut Workspace<f32>, kfac: &KfacPreconditioner<f32>, out: &mut [f32]| {
            net.gradient_factors(&ctx, &theta, &batch, ws, &mut |layer, g, a, weight| {
                let u = net.layout().blocks()[layer].view_mut(out)?;
                kfac.precondition_product(&ctx, layer, weight, g, a, u)
            })
            .unwrap();
        };
        factored.time(|| update(&mut ws, &kfac, &mut out));
        step.time(|| {
            net.forward(&ctx, &theta, &batch, &mut ws).unwrap();
            kfac.begin_update();
            net.capture(&ctx, &theta, &batch, &mut ws, FisherKind::MonteCarlo, cases, round as u64, &mut kfac).unwrap();
            update(&mut ws, &kfac, &mut out);
        });
    }
    println!("\nautoencoder 784-1000-500-250-30, {n} parameters, B = {cases}, f32");
    println!("{}; {} thread(s)\n", ctx.backend().details(), ctx.threads());
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>7} {:>9} {:>8}",
        "part", "ms", "GFLOP", "GFLOP/s", "roof", "gradients", "by flops"
    );
    for part in [&roof, &gradient, &product, &capture, &syrk, &precondition, &factored, &step, &adaptive, &inverses] {
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

/// Takes captures and does nothing with them.
struct Nothing;

impl pullback::optim::CaptureSink<f32> for Nothing {
    fn activations(&mut self, _: &Ctx<f32>, _: usize, _: pullback::MatRef<'_, f32>, _: f32) -> pullback::Result<()> {
        Ok(())
    }

    fn gradients(&mut self, _: &Ctx<f32>, _: usize, _: pullback::MatRef<'_, f32>, _: f32) -> pullback::Result<()> {
        Ok(())
    }
}
