//! Question: what does damping by a Cholesky inverse cost against damping in an eigenbasis, factor by factor?
//!
//! `refresh` is a new factor, `new_damping` a new λ for an old one, `apply` one product chain with a gradient.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pullback::factor::{Cholesky, SymEigen};
use pullback::testing::gallery;
use pullback::{Ctx, Mat, MatMut, MatRef, Op, Result};

const SIZES: [usize; 3] = [250, 501, 1001];
const DAMPING: f32 = 0.1;

fn native_contexts() -> Vec<Ctx<f32>> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let all = pullback::testing::contexts::<f32>().into_iter().map(|ctx| ctx.with_threads(threads));
    let fast: Vec<_> = all.clone().filter(|ctx| ctx.backend().name() != "reference").collect();
    if fast.is_empty() { all.collect() } else { fast }
}

fn damped(a: &Mat<f32>) -> Mat<f32> {
    let mut damped = a.clone();
    (0..a.nrows()).for_each(|i| damped[(i, i)] += DAMPING);
    damped
}

fn product(ctx: &Ctx<f32>, a: MatRef<'_, f32>, op: Op, b: MatRef<'_, f32>, c: MatMut<'_, f32>) -> Result<()> {
    ctx.gemm(1.0, a, op, b, Op::No, 0.0, c)
}

/// Both ways for one factor of order n, beside a gradient with n columns.
fn compare(criterion: &mut Criterion) {
    for ctx in native_contexts() {
        let mut group = criterion.benchmark_group(ctx.backend().name());
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
        for n in SIZES {
            let a = gallery::spd::<f32>(n, 1e4, 1);
            let shifted = damped(&a);
            let gradient = gallery::uniform::<f32>(n, n, 2);
            let (mut out, mut half) = (Mat::zeros(n, n), Mat::zeros(n, n));
            let eigen = SymEigen::new(&ctx, a.clone()).expect("finite");
            let inverse = Cholesky::new(&ctx, shifted.clone()).and_then(|c| c.into_inverse(&ctx)).expect("definite");
            let q = eigen.vectors();

            group.bench_function(BenchmarkId::new("refresh_or_new_damping_by_inverse", n), |b| {
                b.iter(|| {
                    out.as_mut().copy_from(shifted.as_ref())?;
                    ctx.potrf(out.as_mut())?;
                    ctx.potri(out.as_mut())
                });
            });
            let mut values = vec![0.0; n];
            group.bench_function(BenchmarkId::new("refresh_by_eigenbasis", n), |b| {
                b.iter(|| {
                    out.as_mut().copy_from(a.as_ref())?;
                    ctx.syevd(out.as_mut(), &mut values)
                });
            });
            group.bench_function(BenchmarkId::new("refresh_in_kept_eigenbasis", n), |b| {
                b.iter(|| eigen.track(&ctx, a.as_ref(), f64::INFINITY));
            });
            group.bench_function(BenchmarkId::new("new_damping_by_eigenbasis", n), |b| {
                b.iter(|| {
                    for (column, &wj) in out.as_mut().cols_mut().zip(eigen.values()) {
                        let w = eigen.values().iter();
                        column.iter_mut().zip(w).for_each(|(x, &wi)| *x = 1.0 / (wi * wj + DAMPING));
                    }
                    black_box(out.as_slice()[0])
                });
            });
            group.bench_function(BenchmarkId::new("apply_by_inverse", n), |b| {
                b.iter(|| {
                    product(&ctx, inverse.as_ref(), Op::No, gradient.as_ref(), half.as_mut())?;
                    product(&ctx, half.as_ref(), Op::No, inverse.as_ref(), out.as_mut())
                });
            });
            group.bench_function(BenchmarkId::new("apply_by_eigenbasis", n), |b| {
                b.iter(|| {
                    product(&ctx, q, Op::Transpose, gradient.as_ref(), half.as_mut())?;
                    product(&ctx, half.as_ref(), Op::No, q, out.as_mut())?;
                    product(&ctx, q, Op::No, out.as_ref(), half.as_mut())?;
                    ctx.gemm(1.0, half.as_ref(), Op::No, q, Op::Transpose, 0.0, out.as_mut())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, compare);
criterion_main!(benches);
