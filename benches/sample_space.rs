//! Question: where does the low-rank form stop paying, where does the sample-space form, and what does it save not to
//! form J?
//!
//! `cargo bench --bench sample_space [-- woodbury|kernel|network|crossover] [-- --quick]`
//!
//! `woodbury` times one build and one solve by Woodbury beside a dense Cholesky, at ranks around the crossover that the
//! flops predict; `kernel` does so for the N x N against the P x P system of a dense J; `network` makes J Jᵀ of a
//! network by layers, and by forming J case by case first. `crossover` looks for the measured crossovers: rank or N
//! where two curves meet, by linear interpolation of the ratio of the smallest times, printed beside the predicted
//! ones.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use pullback::curvature::{
    Dense, DenseJacobian, DirectPath, JacobianSource, LowRank, SampleSpace, kernel_crossover, woodbury_crossover,
};
use pullback::linop::TransposeOperator;
use pullback::nn::{Activation, Batch, Init, Loss, Mlp, MlpJacobian, Reduction};
use pullback::testing::gallery;
use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, MatRef, Op};

/// Of the crossover that the flops predict.
const FRACTIONS: [f64; 5] = [0.5, 0.75, 1.0, 1.25, 1.5];
const ORDER: usize = 1024;
const PARAMETERS: usize = 600;
const ROUNDS: usize = 7;

fn native_contexts() -> Vec<Ctx<f64>> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let all = pullback::testing::contexts::<f64>().into_iter().map(|ctx| ctx.with_threads(threads));
    let fast: Vec<_> = all.clone().filter(|ctx| ctx.backend().name() != "reference").collect();
    if fast.is_empty() { all.collect() } else { fast }
}

fn damping() -> Damping<f64> {
    Damping::try_from(0.1).expect("positive")
}

/// Two ways to one solution, as closures over a size that is fixed when they are made.
struct Pair<'a> {
    names: [&'static str; 2],
    run: [Box<dyn FnMut() + 'a>; 2],
}

/// C + λI from C = I + U Uᵀ, U (n x k) and C in memory: built and solved once.
fn woodbury<'a>(ctx: &'a Ctx<f64>, n: usize, k: usize) -> Pair<'a> {
    let u = gallery::uniform::<f64>(n, k, 1);
    let mut c = Mat::identity(n);
    ctx.syrk(1.0, u.as_ref(), Op::Transpose, 1.0, c.as_mut()).expect("shapes fit");
    let (low, dense) = (LowRank::scaled_identity(1.0, u).expect("finite"), Dense::new(c).expect("finite"));
    let b = gallery::uniform::<f64>(n, 1, 2);
    let once = move |c: &dyn Fn(MatRef<'_, f64>, &mut Mat<f64>)| {
        let mut x = Mat::zeros(n, 1);
        c(b.as_ref(), &mut x);
        black_box(x[(0, 0)]);
    };
    let again = once.clone();
    let by_rank = move || {
        once(&|b, x| {
            low.damped(ctx, damping()).and_then(|s| s.solve(ctx, b, x.as_mut())).expect("definite");
        });
    };
    let by_order = move || {
        again(&|b, x| {
            dense.damped(ctx, damping()).and_then(|s| s.solve(ctx, b, x.as_mut())).expect("definite");
        });
    };
    Pair { names: ["woodbury", "dense"], run: [Box::new(by_rank), Box::new(by_order)] }
}

/// (JᵀJ + λI) x = g from a dense J (n x p): built and solved once.
fn sides<'a>(ctx: &'a Ctx<f64>, n: usize, p: usize) -> Pair<'a> {
    let j = std::sync::Arc::new(DenseJacobian::new(gallery::uniform::<f64>(n, p, 3)).expect("finite"));
    let g = gallery::uniform::<f64>(p, 1, 4);
    let run = |path: DirectPath| -> Box<dyn FnMut() + 'a> {
        let (space, g) = (SampleSpace::new(j.clone()), g.clone());
        Box::new(move || {
            let mut x = Mat::zeros(p, 1);
            let solver = space.direct(ctx, damping(), path).expect("definite");
            solver.solve(ctx, g.as_ref(), x.as_mut()).expect("shapes fit");
            black_box(x[(0, 0)]);
        })
    };
    Pair { names: ["kernel", "primal"], run: [run(DirectPath::Kernel), run(DirectPath::Primal)] }
}

/// The sizes at the fractions of the predicted crossover.
fn around(predicted: usize) -> Vec<usize> {
    FRACTIONS.iter().map(|f| (f * predicted as f64).round() as usize).collect()
}

fn compare<'a>(criterion: &mut Criterion, group: &str, sizes: &[usize], pair: impl Fn(usize) -> Pair<'a>) {
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for &size in sizes {
        let Pair { names, run } = pair(size);
        for (name, mut run) in names.into_iter().zip(run) {
            group.bench_function(BenchmarkId::new(name, size), |b| b.iter(&mut run));
        }
    }
    group.finish();
}

fn low_rank(criterion: &mut Criterion) {
    for ctx in native_contexts() {
        let group = format!("woodbury/{}/n={ORDER}", ctx.backend().name());
        compare(criterion, &group, &around(woodbury_crossover(ORDER)), |k| woodbury(&ctx, ORDER, k));
    }
}

fn sample_space(criterion: &mut Criterion) {
    for ctx in native_contexts() {
        let group = format!("kernel/{}/P={PARAMETERS}", ctx.backend().name());
        compare(criterion, &group, &around(kernel_crossover(PARAMETERS)), |n| sides(&ctx, n, PARAMETERS));
    }
}

/// J Jᵀ with J formed: C backward passes for each case alone, then one product.
fn formed_kernel(ctx: &Ctx<f64>, net: &Mlp<f64>, theta: &[f64], cases: &[Batch<f64>]) -> Mat<f64> {
    let (outputs, p) = (net.outputs(), theta.len());
    let mut rows = Mat::zeros(p, outputs * cases.len());
    let units = Mat::identity(outputs);
    for (case, batch) in cases.iter().enumerate() {
        let j = MlpJacobian::new(ctx, net, theta, batch).expect("shapes fit");
        let block = rows.as_mut().submatrix(0, case * outputs, p, outputs).expect("inside");
        j.apply_transpose(ctx, units.as_ref(), block).expect("shapes fit");
    }
    let mut k = Mat::zeros(rows.ncols(), rows.ncols());
    ctx.syrk(1.0, rows.as_ref(), Op::No, 0.0, k.as_mut()).expect("shapes fit");
    k
}

fn network(criterion: &mut Criterion) {
    for ctx in native_contexts() {
        let mut group = criterion.benchmark_group(format!("network/{}", ctx.backend().name()));
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        for (widths, loss, cases) in
            [(&[10, 64, 64, 1][..], Loss::SquaredError, 256), (&[784, 100, 10], Loss::SoftmaxCrossEntropy, 32)]
        {
            let mut builder = Mlp::builder(widths[0]).loss(loss).reduction(Reduction::Sum);
            for (i, &width) in widths.iter().enumerate().skip(1) {
                let last = i + 1 == widths.len();
                builder = builder.layer(width, if last { Activation::Identity } else { Activation::Tanh });
            }
            let net = builder.build().expect("layers");
            let theta = net.init(Init::GlorotUniform, 5);
            let x = gallery::uniform::<f64>(widths[0], cases, 6);
            let t = Mat::from_fn(net.outputs(), cases, |i, j| f64::from(u8::from(j % net.outputs() == i)));
            let batch = net.batch(x.as_ref(), t.as_ref()).expect("targets fit");
            let one = |j: usize| {
                let column = |m: &Mat<f64>| m.as_ref().submatrix(0, j, m.nrows(), 1).map(|c| c.to_owned());
                net.batch(column(&x)?.as_ref(), column(&t)?.as_ref())
            };
            let singles: Vec<_> = (0..cases).map(one).collect::<Result<_, _>>().expect("targets fit");
            let shape = format!("{widths:?} x {cases}");
            group.bench_function(BenchmarkId::new("by_layers", &shape), |b| {
                b.iter(|| MlpJacobian::new(&ctx, &net, &theta, &batch).and_then(|j| j.kernel(&ctx)));
            });
            group.bench_function(BenchmarkId::new("forming_J", &shape), |b| {
                b.iter(|| formed_kernel(&ctx, &net, &theta, &singles));
            });
        }
        group.finish();
    }
}

/// Smallest times of both ways, taken in turn.
fn best_times(pair: &mut Pair<'_>) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    pair.run.iter_mut().for_each(|run| run());
    for _ in 0..ROUNDS {
        for (best, run) in best.iter_mut().zip(&mut pair.run) {
            let start = Instant::now();
            run();
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

/// Where log(time of the first / time of the second) changes sign between two of the sizes.
fn measured_crossover<'a>(sizes: &[usize], pair: impl Fn(usize) -> Pair<'a>) -> Option<f64> {
    let ratios: Vec<f64> = sizes
        .iter()
        .map(|&size| {
            let [first, second] = best_times(&mut pair(size));
            (first / second).ln()
        })
        .collect();
    let at = ratios.windows(2).position(|pair| pair[0] < 0.0 && pair[1] >= 0.0)?;
    let share = -ratios[at] / (ratios[at + 1] - ratios[at]);
    Some(sizes[at] as f64 + share * (sizes[at + 1] - sizes[at]) as f64)
}

fn crossovers() {
    let report = |name: &str, backend: &str, predicted: usize, measured: Option<f64>| match measured {
        Some(measured) => println!(
            "crossover {name} on {backend}: predicted {predicted}, measured {measured:.0} ({:+.0} %)",
            100.0 * (measured / predicted as f64 - 1.0)
        ),
        None => println!("crossover {name} on {backend}: predicted {predicted}, none measured within half of it"),
    };
    for ctx in native_contexts() {
        let backend = ctx.backend().name();
        let predicted = woodbury_crossover(ORDER);
        let measured = measured_crossover(&around(predicted), |k| woodbury(&ctx, ORDER, k));
        report(&format!("rank of Woodbury against Cholesky, n = {ORDER}"), backend, predicted, measured);
        let predicted = kernel_crossover(PARAMETERS);
        let measured = measured_crossover(&around(predicted), |n| sides(&ctx, n, PARAMETERS));
        report(&format!("N of kernel against primal, P = {PARAMETERS}"), backend, predicted, measured);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo test runs benches too, without --bench: each once, to see that it runs
    let testing = !arguments.iter().any(|a| a == "--bench") || arguments.iter().any(|a| a == "--test");
    let filter = arguments.iter().find(|a| !a.starts_with('-'));
    if !testing && filter.is_none_or(|f| f.contains("crossover")) {
        crossovers();
    }
    let mut criterion = Criterion::default().configure_from_args();
    low_rank(&mut criterion);
    sample_space(&mut criterion);
    network(&mut criterion);
    criterion.final_summary();
}
