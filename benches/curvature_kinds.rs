//! Question: what does each kind of curvature cost to build, to damp, to solve with for 1 and 32 right-hand sides, and
//! when λ changes?
//!
//! Every kind has about the same order (1 024); `new_damping` takes the shortest way that the kind offers: another λ
//! in the same eigenbasis, or a new factorization.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime};
use pullback::curvature::{
    BlockDiagonal, BlockTridiagonal, Definiteness, Dense, DenseJacobian, Diagonal, DirectPath, DirectSampleSpace,
    EigenKronecker, Kronecker, KroneckerDamping, KroneckerN, LowRank, MatrixFree, Permuted, PiRule, Restricted,
    ScaledIdentity, SumCurvature,
};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::linop::{Scaled, Shifted, SymmetricDense};
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

/// A new factorization for another λ.
fn again<C: Curvature<f64>>(ctx: &Ctx<f64>) -> impl Fn(&C, &C::Solver, Damping<f64>) -> Result<C::Solver> {
    move |c, _, lambda| c.damped(ctx, lambda)
}

fn unstructured(group: &mut BenchmarkGroup<'_, WallTime>, ctx: &Ctx<f64>) {
    let whole = gallery::spd::<f64>(ORDER, 1e4, 1);
    let dense = || Dense::new(whole.clone());
    kind(group, ctx, "dense", dense, again(ctx));

    let entries: Vec<f64> = (0..ORDER).map(|i| 1.0 / (1 + i) as f64).collect();
    kind(group, ctx, "diagonal", || Diagonal::new(entries.clone()), again(ctx));
    kind(group, ctx, "scaled_identity", || ScaledIdentity::new(ORDER, 2.0), again(ctx));

    let block = gallery::spd::<f64>(ORDER / 8, 1e4, 2);
    let blocks = || (0..8).map(|_| Dense::new(block.clone())).collect::<Result<Vec<_>>>().map(BlockDiagonal::new);
    kind(group, ctx, "block_diagonal_of_8_dense", blocks, again(ctx));

    let products = SymmetricDense::new(whole.clone()).expect("square");
    let free = || Ok(MatrixFree::new(&products, Definiteness::PositiveSemidefinite));
    kind(group, ctx, "matrix_free", free, again(ctx));
    kind(group, ctx, "scaled_dense", || Ok(Scaled::new(dense()?, 2.0)), again(ctx));
    kind(group, ctx, "shifted_dense", || Ok(Shifted::new(dense()?, 2.0)), again(ctx));
    let reversed = || Permuted::new(dense()?, (0..ORDER).rev().collect());
    kind(group, ctx, "permuted_dense", reversed, again(ctx));
    let half = || Restricted::new(dense()?, (0..ORDER).step_by(2).collect());
    kind(group, ctx, "restricted_to_half_of_dense", half, again(ctx));
}

fn low_rank(group: &mut BenchmarkGroup<'_, WallTime>, ctx: &Ctx<f64>) {
    let u = gallery::uniform::<f64>(ORDER, ORDER / 16, 6);
    kind(group, ctx, "low_rank_of_64", || LowRank::new(vec![0.5; ORDER], u.clone()), again(ctx));

    let j = gallery::uniform::<f64>(ORDER / 16, ORDER, 7);
    for (name, path) in [("sample_space_kernel", DirectPath::Kernel), ("sample_space_primal", DirectPath::Primal)] {
        let build = || Ok(DirectSampleSpace::new(DenseJacobian::new(j.clone())?, path));
        kind(group, ctx, name, build, again(ctx));
    }
}

fn kronecker(group: &mut BenchmarkGroup<'_, WallTime>, ctx: &Ctx<f64>) {
    let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
    let (a, s) = (gallery::spd::<f64>(SIDE, 1e3, 4), gallery::spd::<f64>(ORDER / SIDE, 1e3, 5));
    let exactly = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
    kind(group, ctx, "kronecker_exact", exactly, |_, inverse, lambda| inverse.redamp(lambda));
    let split = || Kronecker::new(a.clone(), s.clone(), factored);
    kind(group, ctx, "kronecker_factored", split, again(ctx));

    let three = || KroneckerN::new(vec![a.clone(), gallery::spd(4, 10.0, 8), gallery::spd(8, 10.0, 9)], factored);
    kind(group, ctx, "kronecker_of_three_factored", three, again(ctx));

    let corrected = || {
        let basis = KroneckerEigen::new(ctx, a.clone(), s.clone())?;
        EigenKronecker::uncorrected(basis)
    };
    kind(group, ctx, "eigen_kronecker", corrected, |_, inverse, lambda| inverse.redamp(lambda));

    let layer = || KroneckerProduct::new(gallery::spd(16, 10.0, 10), gallery::spd(32, 10.0, 11));
    let chain = || {
        // weak enough for a positive definite chain
        let (cross_a, cross_s) = (gallery::uniform::<f64>(16, 16, 12), gallery::uniform::<f64>(32, 32, 13));
        let cross = KroneckerProduct::new(cross_a.map(|x| 1e-3 * x), cross_s.map(|x| 1e-3 * x))?;
        BlockTridiagonal::new(ctx, vec![layer()?, layer()?], vec![cross], PiRule::Trace)
    };
    kind(group, ctx, "block_tridiagonal_of_2", chain, again(ctx));

    let noisy = || SumCurvature::new(exactly()?, ScaledIdentity::new(ORDER, 0.5)?);
    kind(group, ctx, "kronecker_plus_identity", noisy, again(ctx));
}

fn kinds(criterion: &mut Criterion) {
    for ctx in contexts() {
        let mut group = criterion.benchmark_group(ctx.backend().name());
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300));
        unstructured(&mut group, &ctx);
        low_rank(&mut group, &ctx);
        kronecker(&mut group, &ctx);
        group.finish();
    }
}

criterion_group!(benches, kinds);
criterion_main!(benches);
