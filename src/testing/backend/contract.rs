//! Zero sizes, NaN and infinity, failing pivots, overflow, wrong shapes: one behaviour for one mistake.

use super::{Subject, nan};
use crate::error::{Error, Result};
use crate::mat::{Mat, MatRef, Op, Side};
use crate::scalar::Scalar;
use crate::testing::dense::differing;
use crate::testing::{Measure, Recorder};

pub(super) fn measure<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    r.law("serves zero sizes", &s.place, || empty_products(s).map(Measure::count));
    r.law("serves zero sizes", &s.place, || empty_solves(s).map(Measure::count));
    for (n, at) in [(3, 1), (17, 16), (33, 0), (70, 41), (130, 129)] {
        for bad in [T::nan(), T::infinity()] {
            let place = s.at(format_args!("order {n}, {bad} in row {at}"));
            r.law("propagates NaN and infinity", &place, || propagation(s, n, at, bad).map(Measure::count));
        }
    }
    r.holds("a zero pivot of trsm gives infinity", &s.place, || {
        let mut x = Mat::from_fn(2, 1, |_, _| T::ONE);
        s.ctx.trsm(Side::Left, Mat::from_diagonal(&[T::ONE, T::ZERO]).as_ref(), Op::No, x.as_mut())?;
        Ok(x[(0, 0)] == T::ONE && !x[(1, 0)].is_finite())
    });
    refusals(r, s);
    pivots(r, s);
    overflow(r, s);
    r.law("refuses wrong shapes", &s.place, || Ok(Measure::count(accepted_shapes(s))));
    r.holds("a huge leading dimension gives no lie", &s.place, || {
        let data = [T::ONE, T::of(2.0)];
        let a = MatRef::from_slice(&data, 2, 1, 1 << 33)?;
        let mut c = Mat::zeros(1, 1);
        Ok(match s.ctx.gemm(T::ONE, a, Op::Transpose, a, Op::No, T::ZERO, c.as_mut()) {
            Ok(()) => c[(0, 0)] == T::of(5.0),
            Err(error) => matches!(error, Error::InvalidParameter { .. }),
        })
    });
}

/// How many entries of products over empty sizes are wrong.
fn empty_products<T: Scalar>(s: &Subject<'_, T>) -> Result<usize> {
    let (ctx, empty) = (s.ctx, |m, n| Mat::<T>::zeros(m, n));
    for (m, n, k) in [(0, 0, 0), (0, 3, 2), (3, 0, 2), (0, 0, 2), (0, 3, 0)] {
        let (a, b, mut c) = (empty(m, k), empty(k, n), empty(m, n));
        ctx.gemm(T::ONE, a.as_ref(), Op::No, b.as_ref(), Op::No, T::ONE, c.as_mut())?;
    }
    // an empty sum is 0
    let mut c = nan(2, 3);
    ctx.gemm(T::ONE, empty(2, 0).as_ref(), Op::No, empty(0, 3).as_ref(), Op::No, T::ZERO, c.as_mut())?;
    let mut wrong = differing(&c, &empty(2, 3));
    let mut c = Mat::from_fn(2, 2, |_, _| T::ONE);
    ctx.syrk(T::ONE, empty(0, 2).as_ref(), Op::No, T::of(3.0), c.as_mut())?;
    wrong += differing(&c, &Mat::from_fn(2, 2, |_, _| T::of(3.0)));
    ctx.syrk(T::ONE, empty(5, 0).as_ref(), Op::No, T::ZERO, empty(0, 0).as_mut())?;
    let mut y = [T::nan(); 2];
    ctx.gemv(T::ONE, empty(2, 0).as_ref(), Op::No, &[], T::ZERO, &mut y)?;
    wrong += y.iter().filter(|&&y| y != T::ZERO).count();
    ctx.gemv(T::ONE, empty(2, 0).as_ref(), Op::Transpose, &[T::ONE; 2], T::ZERO, &mut [])?;
    Ok(wrong)
}

fn empty_solves<T: Scalar>(s: &Subject<'_, T>) -> Result<usize> {
    let (ctx, empty, l) = (s.ctx, |m, n| Mat::<T>::zeros(m, n), s.triangle(3, 1));
    for side in [Side::Left, Side::Right] {
        ctx.trsm(side, empty(0, 0).as_ref(), Op::No, empty(0, 0).as_mut())?;
    }
    ctx.trsm(Side::Left, l.as_ref(), Op::No, empty(3, 0).as_mut())?;
    ctx.trsm(Side::Right, l.as_ref(), Op::No, empty(0, 3).as_mut())?;
    ctx.trsm(Side::Left, empty(0, 0).as_ref(), Op::Transpose, empty(0, 3).as_mut())?;
    ctx.potrf(empty(0, 0).as_mut())?;
    ctx.potri(empty(0, 0).as_mut())?;
    ctx.potrs(empty(0, 0).as_ref(), empty(0, 2).as_mut())?;
    ctx.syevd(empty(0, 0).as_mut(), &mut [])?;
    Ok(0)
}

/// How many entries are finite that depend on the bad one, or not finite that do not.
fn propagation<T: Scalar>(s: &Subject<'_, T>, n: usize, at: usize, bad: T) -> Result<usize> {
    let (ctx, clean) = (s.ctx, s.uniform(n, n, 13).map(|x| x + T::of(2.0)));
    let count = |m: &Mat<T>, finite: &dyn Fn(usize, usize) -> bool| {
        let entries = (0..m.ncols()).flat_map(|j| (0..m.nrows()).map(move |i| (i, j)));
        entries.filter(|&(i, j)| m[(i, j)].is_finite() != finite(i, j)).count()
    };
    let mut a = clean.clone();
    a[(at, n / 2)] = bad;
    let (mut c, mut y) = (Mat::zeros(n, n), Mat::zeros(n, 1));
    ctx.gemm(T::ONE, a.as_ref(), Op::No, clean.as_ref(), Op::No, T::ZERO, c.as_mut())?;
    let mut wrong = count(&c, &|i, _| i != at);
    ctx.syrk(T::ONE, a.as_ref(), Op::Transpose, T::ZERO, c.as_mut())?;
    wrong += count(&c, &|i, j| i != at && j != at);
    ctx.gemv(T::ONE, a.as_ref(), Op::No, clean.as_ref().col(0), T::ZERO, y.as_mut_slice())?;
    wrong += count(&y, &|i, _| i != at);
    let mut x = clean.clone();
    x[(at, 0)] = bad;
    // no zero in the triangle, so that every later row depends on the bad one
    let l = s.triangle(n, 14).map(|l| l + T::of(0.01));
    ctx.trsm(Side::Left, l.as_ref(), Op::No, x.as_mut())?;
    Ok(wrong + count(&x, &|i, j| i < at || j != 0))
}

fn refusals<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    for n in [1, 2, 5, 33, 130] {
        for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
            for (i, j) in [(0, 0), (n - 1, 0), (n - 1, n - 1), (n / 2, n / 2)] {
                let place = s.at(format_args!("order {n}, {bad} at ({i}, {j})"));
                r.law("factorizations refuse what is not finite", &place, || {
                    let mut a = s.spd(n, 4.0, 15);
                    a[(i, j)] = bad;
                    let outcomes = [
                        s.ctx.potrf(a.clone().as_mut()),
                        s.ctx.potri(a.clone().as_mut()),
                        s.ctx.syevd(a.clone().as_mut(), &mut vec![T::ZERO; n]),
                    ];
                    let named = |(outcome, name): (&Result<()>, &str)| matches!(outcome, Err(Error::NotFinite { op, .. }) if *op == name);
                    let pairs = outcomes.iter().zip(["potrf", "potri", "syevd"]);
                    Ok(Measure::count(pairs.filter(|&pair| !named(pair)).count()))
                });
            }
        }
    }
}

/// LAPACK's matrix types PO 3, 4 and 5: row and column k zeroed, and variants with a pivot below 0.
fn pivots<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    for n in [1, 2, 3, 4, 5, 16, 17, 33, 64, 65, 129, 200] {
        for k in [0, 1, n / 3, n / 2, n - 1].into_iter().filter(|&k| k < n) {
            let place = s.at(format_args!("order {n}, pivot {k}"));
            r.law("names the failing pivot", &place, || {
                let good = s.spd(n, 10.0, 16);
                let zeroed = Mat::from_fn(n, n, |i, j| if i == k || j == k { T::ZERO } else { good[(i, j)] });
                let mut negative = good.clone();
                negative[(k, k)] = -T::ONE;
                // a second bad pivot further on must not hide the first
                let mut two = negative.clone();
                two[(n - 1, n - 1)] = -T::ONE;
                let wrong = [zeroed, negative, two].into_iter().filter(|a| {
                    let outcome = s.ctx.potrf(a.clone().as_mut());
                    !matches!(outcome, Err(Error::NotPositiveDefinite { op: "potrf", pivot }) if pivot == k)
                });
                Ok(Measure::count(wrong.count()))
            });
        }
    }
}

fn overflow<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    let (tiny, huge) = (T::min_positive_value(), T::max_value() / T::of(4.0));
    r.holds("overflow is a typed error", s.at(format_args!("potrf of order 3")), || {
        // L(2, 0) overflows to infinity, then 0 · ∞ and a pivot that is NaN or -∞
        let mut a = Mat::identity(3);
        (a[(0, 0)], a[(2, 0)], a[(2, 1)]) = (tiny, huge, T::of(0.5));
        Ok(matches!(s.ctx.potrf(a.as_mut()), Err(Error::NotPositiveDefinite { pivot: 2, .. })))
    });
    for n in [1, 3, 40, 130] {
        for diagonal in [T::ZERO, tiny * T::of(0.25)] {
            let place = s.at(format_args!("potri of order {n}, {diagonal:e} on the diagonal"));
            r.holds("overflow is a typed error", place, || {
                let mut l = s.triangle(n, 17);
                l[(n - 1, n - 1)] = diagonal;
                Ok(matches!(s.ctx.potri(l.as_mut()), Err(Error::NotFinite { op: "potri", .. })))
            });
        }
        if n > 1 {
            r.holds("overflow is a typed error", s.at(format_args!("syevd of order {n}")), || {
                // the eigenvalue n · max overflows
                let mut a = Mat::from_fn(n, n, |_, _| T::max_value());
                let outcome = s.ctx.syevd(a.as_mut(), &mut vec![T::ZERO; n]);
                Ok(matches!(outcome, Err(Error::NotFinite { op: "syevd", .. })))
            });
        }
    }
}

/// How many calls with shapes that do not fit return something else than `Error::Shape`.
fn accepted_shapes<T: Scalar>(s: &Subject<'_, T>) -> usize {
    let (ctx, one, zero) = (s.ctx, T::ONE, T::ZERO);
    let (a, mut c, eye) = (s.uniform(3, 4, 18), Mat::zeros(3, 3), Mat::identity(4));
    let (x, mut y) = ([one; 4], [zero; 4]);
    let outcomes = [
        ctx.gemm(one, a.as_ref(), Op::No, a.as_ref(), Op::No, zero, c.as_mut()),
        ctx.gemm(one, a.as_ref(), Op::Transpose, a.as_ref(), Op::No, zero, c.as_mut()),
        ctx.syrk(one, a.as_ref(), Op::No, zero, c.as_mut()),
        ctx.syrk_lower(one, a.as_ref(), Op::Transpose, zero, Mat::zeros(3, 4).as_mut()),
        ctx.gemv(one, a.as_ref(), Op::No, &x[..3], zero, &mut y[..3]),
        ctx.gemv(one, a.as_ref(), Op::No, &x, zero, &mut y),
        ctx.trsm(Side::Left, a.as_ref(), Op::No, c.as_mut()),
        ctx.trsm(Side::Left, eye.as_ref(), Op::No, c.as_mut()),
        ctx.trsm(Side::Right, eye.as_ref(), Op::No, c.as_mut()),
        ctx.potrf(a.clone().as_mut()),
        ctx.potri(a.clone().as_mut()),
        ctx.backend().potri(1, c.as_mut(), Mat::zeros(2, 2).as_mut()),
        ctx.potrs(eye.as_ref(), c.as_mut()),
        ctx.syevd(a.clone().as_mut(), &mut y[..3]),
        ctx.syevd(c.as_mut(), &mut y[..2]),
    ];
    outcomes.iter().filter(|outcome| !matches!(outcome, Err(Error::Shape { .. }))).count()
}
