//! Determinism: the same bits for the same thread count, alone or side by side, and near ones for another count.

use super::Subject;
use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;
use crate::testing::dense::differing;
use crate::testing::{Measure, Recorder, tolerance};

const CONDITION: f64 = 10.0;

pub(super) fn measure<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    // large enough to be cut into blocks and shared among threads; the textbook loops know neither
    let n = if s.ctx.backend().name() == "reference" { 40 } else { 150 };
    for threads in [1, 2] {
        r.law("repeats bit for bit", s.at(format_args!("order {n}, {threads} threads")), || {
            let ctx = s.ctx.with_threads(threads);
            let (first, mut changed) = (all_kernels(s, &ctx, n)?, 0);
            for _ in 0..2 {
                changed += differing(&first, &all_kernels(s, &ctx, n)?);
            }
            Ok(Measure::count(changed))
        });
    }
    let place = s.at(format_args!("order {}", n - 20));
    r.law("concurrent calls equal lone ones", &place, || side_by_side(s, n - 20).map(Measure::count));
    r.law("two threads agree with one", s.at(format_args!("order {n}")), || {
        let (one, two) = (all_kernels(s, s.ctx, n)?, all_kernels(s, &s.ctx.with_threads(2), n)?);
        // the solve multiplies by the condition, the entries of the products are at most n; the eigenvectors, last, are
        // determined up to their signs only
        let determined = one.as_slice().len() - n * n;
        let bound = tolerance::<T>(n, CONDITION * n as f64);
        let off = |(a, b): (&T, &T)| Measure::ratio((a.f64() - b.f64()).abs(), bound);
        Ok(one
            .as_slice()
            .iter()
            .zip(two.as_slice())
            .take(determined)
            .map(off)
            .fold(Measure::holds(true), Measure::worse))
    });
}

/// One of each kernel: all results in one column.
fn all_kernels<T: Scalar>(s: &Subject<'_, T>, ctx: &Ctx<T>, n: usize) -> Result<Mat<T>> {
    let (a, b, spd) = (s.uniform(n, n + 5, 19), s.uniform(n + 5, n, 20), s.spd(n, CONDITION, 21));
    let (mut product, mut gram, mut l, mut q) = (Mat::zeros(n, n), Mat::zeros(n, n), spd.clone(), spd);
    ctx.gemm(T::ONE, a.as_ref(), Op::No, b.as_ref(), Op::No, T::ZERO, product.as_mut())?;
    ctx.syrk(T::ONE, b.as_ref(), Op::No, T::ZERO, gram.as_mut())?;
    ctx.potrf(l.as_mut())?;
    let mut solved = product.clone();
    ctx.potrs(l.as_ref(), solved.as_mut())?;
    let mut inverse = l;
    ctx.potri(inverse.as_mut())?;
    let (mut y, mut w) = (vec![T::ZERO; n], vec![T::ZERO; n]);
    ctx.gemv(T::ONE, b.as_ref(), Op::Transpose, b.as_ref().col(0), T::ZERO, &mut y)?;
    ctx.syevd(q.as_mut(), &mut w)?;
    let matrices = [product, gram, solved, inverse];
    let all = matrices.iter().flat_map(|m| m.as_slice().to_vec()).chain(y).chain(w);
    let all: Vec<T> = all.chain(q.into_vec()).collect();
    let len = all.len();
    Mat::from_vec(all, len, 1)
}

/// How many numbers differ when eight one-thread calls, and calls of one and of two threads, run at the same time.
fn side_by_side<T: Scalar>(s: &Subject<'_, T>, n: usize) -> Result<usize> {
    let alone = all_kernels(s, s.ctx, n)?;
    let mut results = vec![Mat::zeros(0, 0); 8];
    s.ctx.with_threads(4).for_each(&mut results, |ctx, result| {
        *result = all_kernels(s, ctx, n)?;
        Ok(())
    })?;
    let mut changed: usize = results.iter().map(|result| differing(result, &alone)).sum();
    let two = all_kernels(s, &s.ctx.with_threads(2), n)?;
    let outcomes: Vec<Result<usize>> = std::thread::scope(|scope| {
        let run = |threads: usize| {
            let (alone, two) = (&alone, &two);
            scope.spawn(move || {
                let got = all_kernels(s, &s.ctx.with_threads(threads), n)?;
                Ok(differing(&got, if threads == 1 { alone } else { two }))
            })
        };
        let running: Vec<_> = [1, 2, 1, 2].into_iter().map(run).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|outcome| outcome.unwrap_or(Ok(1))).collect()
    });
    for outcome in outcomes {
        changed += outcome?;
    }
    Ok(changed)
}
