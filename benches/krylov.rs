//! Question: how many products and how much time do the Krylov methods take to a residual of 1e-8, on one matrix of order
//! 512: alone, as a block of eight, and for least squares?
//!
//! The matrix has condition 1e4 (`graded`), or a cluster and eight small outliers (`outliers`), where a block shows what it
//! is for. The products of each run stand in the name of its line, counted in columns: a block product of eight columns is
//! eight.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pullback::krylov::{CgOptions, CgStop, LsmrOptions, MinresOptions, block_cg, lsmr, lsqr, minres, pcg};
use pullback::linop::{DenseOperator, SymmetricDense};
use pullback::testing::gallery;
use pullback::{Ctx, Mat};

const ORDER: usize = 512;
const COLUMNS: usize = 8;
const TOLERANCE: f64 = 1e-8;

fn contexts() -> Vec<Ctx<f64>> {
    let all = pullback::testing::contexts::<f64>();
    let fast: Vec<_> = all.iter().filter(|ctx| ctx.backend().name() != "reference").cloned().collect();
    if fast.is_empty() { all } else { fast }
}

fn problems() -> [(&'static str, Mat<f64>); 2] {
    let outliers: Vec<f64> =
        (0..ORDER).map(|i| if i < COLUMNS { 1e-4 * (1 + i) as f64 } else { 1.0 + i as f64 / ORDER as f64 }).collect();
    [("graded", gallery::spd(ORDER, 1e4, 1)), ("outliers", gallery::with_spectrum(&outliers, 1))]
}

fn symmetric(criterion: &mut Criterion) {
    for ctx in contexts() {
        for (problem, matrix) in problems() {
            let mut group = criterion.benchmark_group(format!("{problem} on {}", ctx.backend().name()));
            group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            let a = SymmetricDense::new(matrix).expect("square");
            let b = gallery::uniform::<f64>(ORDER, COLUMNS, 2);
            let mut x = Mat::zeros(ORDER, COLUMNS);
            let cg = CgOptions { relative_tolerance: TOLERANCE, max_iterations: 20_000, ..CgOptions::from_zero() };

            let first = Mat::from_vec(b.as_ref().col(0).to_vec(), ORDER, 1).expect("one column");
            let mut alone = Mat::zeros(ORDER, 1);
            let report = pcg(&ctx, &a, None, first.as_ref(), alone.as_mut(), &cg).expect("shapes fit");
            assert_eq!(report.stop(), CgStop::Converged);
            group.bench_function(BenchmarkId::new("pcg, products", report.products()), |bench| {
                bench.iter(|| pcg(&ctx, &a, None, first.as_ref(), alone.as_mut(), &cg));
            });

            let options = MinresOptions {
                relative_tolerance: TOLERANCE,
                normal_tolerance: 0.0,
                max_iterations: 20_000,
                ..MinresOptions::default()
            };
            let report = minres(&ctx, &a, None, first.as_slice(), alone.as_mut_slice(), &options).expect("shapes fit");
            group.bench_function(BenchmarkId::new("minres, products", report.products), |bench| {
                bench.iter(|| minres(&ctx, &a, None, first.as_slice(), alone.as_mut_slice(), &options));
            });

            let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &cg).expect("shapes fit");
            let products: usize = report.columns().iter().map(|c| c.iterations + 1).sum();
            group.bench_function(BenchmarkId::new("pcg of 8 columns, products", products), |bench| {
                bench.iter(|| pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &cg));
            });

            let report = block_cg(&ctx, &a, None, b.as_ref(), x.as_mut(), &cg).expect("shapes fit");
            assert_eq!(report.stop(), CgStop::Converged);
            let products = report.widths().iter().sum::<usize>() + COLUMNS;
            group.bench_function(BenchmarkId::new("block_cg of 8 columns, products", products), |bench| {
                bench.iter(|| block_cg(&ctx, &a, None, b.as_ref(), x.as_mut(), &cg));
            });
            group.finish();
        }
    }
}

fn least_squares(criterion: &mut Criterion) {
    for ctx in contexts() {
        let mut group = criterion.benchmark_group(format!("least squares on {}", ctx.backend().name()));
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        // condition 100: ‖Aᵀr‖ falls as conjugate gradient does at 1e4
        let a = DenseOperator::new(gallery::spd::<f64>(ORDER, 100.0, 1));
        let b = gallery::uniform::<f64>(ORDER, 1, 2);
        let mut x = vec![0.0; ORDER];
        let options = LsmrOptions {
            relative_tolerance: 0.0,
            residual_tolerance: 0.0,
            normal_tolerance: TOLERANCE,
            max_iterations: 20_000,
            ..LsmrOptions::default()
        };
        let report = lsqr(&ctx, &a, b.as_slice(), &mut x, &options).expect("shapes fit");
        // one with A and one with Aᵀ an iteration, three more
        group.bench_function(BenchmarkId::new("lsqr, products", 2 * report.iterations + 3), |bench| {
            bench.iter(|| lsqr(&ctx, &a, b.as_slice(), &mut x, &options));
        });
        let report = lsmr(&ctx, &a, b.as_slice(), &mut x, &options).expect("shapes fit");
        group.bench_function(BenchmarkId::new("lsmr, products", 2 * report.iterations + 3), |bench| {
            bench.iter(|| lsmr(&ctx, &a, b.as_slice(), &mut x, &options));
        });
        group.finish();
    }
}

criterion_group!(benches, symmetric, least_squares);
criterion_main!(benches);
