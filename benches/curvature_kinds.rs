//! Question: what does each kind of curvature cost to build, to damp, to solve with for 1 and 32 right-hand sides, and
//! when λ changes?
//!
//! Every kind has about the same order (1 024); `new_damping` takes the shortest way that the kind offers: another λ
//! in the same eigenbasis, or a new factorization.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime};
use pullback::curvature::{
    BlockDiagonal, Definiteness, Dense, Diagonal, Kronecker, KroneckerDamping, MatrixFree, PiRule,
};
use pullback::linop::SymmetricDense;
use pullback::testing::gallery;
use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, Result};

const ORDER: usize = 1024;
const SIDE: usize = 32;

fn contexts() -> Vec<Ctx<f64>> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let all = pullback::testing::contexts::<f64>().into_iter().map(|ctx| ctx.with_threads(threads));
    let fast: Vec<_> = all.clone().filter(|ctx| ctx.backend().name() != "reference").collect();
    if fast.is_empty() { all.collect() } else { fast }
}

fn lambda(value: f64) -> Damping<f64> {
    Damping::new(value).expect("positive")
}

/// The five figures of one kind; `redamp` is its shortest way to another λ.
fn kind<C: Curvature<f64>, R>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    ctx: &Ctx<f64>,
    name: &str,
    build: impl Fn() -> Result<C>,
    redamp: impl Fn(&C, &C::Solver, Damping<f64>) -> Result<R>,
) {
    let curvature = build().expect("a sound matrix");
    let solver = curvature.damped(ctx, lambda(0.1)).expect("positive definite");
    group.bench_function(BenchmarkId::new(name, "build"), |b| b.iter(|| build().map(black_box)));
    group.bench_function(BenchmarkId::new(name, "damp"), |b| {
        b.iter(|| curvature.damped(ctx, lambda(0.1)).map(black_box));
    });
    for columns in [1, 32] {
        let (b, mut x) = (gallery::uniform::<f64>(curvature.dim(), columns, 3), Mat::zeros(curvature.dim(), columns));
        group.bench_function(BenchmarkId::new(name, format!("solve_{columns}")), |bench| {
            bench.iter(|| solver.solve(ctx, b.as_ref(), x.as_mut()));
        });
    }
    group.bench_function(BenchmarkId::new(name, "new_damping"), |b| {
        b.iter(|| redamp(&curvature, &solver, lambda(0.2)).map(black_box));
    });
}

fn kinds(criterion: &mut Criterion) {
    for ctx in contexts() {
        let mut group = criterion.benchmark_group(ctx.backend().name());
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300));
        let again = |ctx: &Ctx<f64>| {
            let ctx = ctx.clone();
            move |c: &Dense<f64>, _: &_, lambda| c.damped(&ctx, lambda)
        };
        let whole = gallery::spd::<f64>(ORDER, 1e4, 1);
        kind(&mut group, &ctx, "dense", || Dense::new(whole.clone()), again(&ctx));

        let entries: Vec<f64> = (0..ORDER).map(|i| 1.0 / (1 + i) as f64).collect();
        kind(&mut group, &ctx, "diagonal", || Diagonal::new(entries.clone()), |c, _, lambda| c.damped(&ctx, lambda));

        let block = gallery::spd::<f64>(ORDER / 8, 1e4, 2);
        let blocks = || (0..8).map(|_| Dense::new(block.clone())).collect::<Result<Vec<_>>>().map(BlockDiagonal::new);
        kind(&mut group, &ctx, "block_diagonal_of_8_dense", blocks, |c, _, lambda| c.damped(&ctx, lambda));

        let (a, s) = (gallery::spd::<f64>(SIDE, 1e3, 4), gallery::spd::<f64>(ORDER / SIDE, 1e3, 5));
        let exact = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
        kind(&mut group, &ctx, "kronecker_exact", exact, |_, inverse, lambda| inverse.redamp(lambda));
        let factored = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Factored { pi: PiRule::Trace });
        kind(&mut group, &ctx, "kronecker_factored", factored, |c, _, lambda| c.damped(&ctx, lambda));

        let products = SymmetricDense::new(whole.clone()).expect("square");
        let free = || Ok(MatrixFree::new(&products, Definiteness::PositiveSemidefinite));
        kind(&mut group, &ctx, "matrix_free", free, |c, _, lambda| c.damped(&ctx, lambda));
        group.finish();
    }
}

criterion_group!(benches, kinds);
criterion_main!(benches);
