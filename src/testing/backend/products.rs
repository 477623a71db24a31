//! gemm, syrk, gemv and trsm: values, padding, the triangle that is not read, β = 0 and α = 0.

use super::{OPS, Subject, nan};
use crate::error::Result;
use crate::mat::{Mat, MatRef, Op, Side};
use crate::scalar::Scalar;
use crate::testing::dense::{differing, dot};
use crate::testing::{Measure, Padded, Recorder, tolerance};

const SCALARS: [(f64, f64); 6] = [(1.0, 0.0), (-0.5, 0.0), (1.0, 1.0), (2.0, -0.5), (0.0, 2.0), (0.0, 0.0)];
const SHAPES: [(usize, usize, usize); 16] = [
    (1, 1, 1),
    (2, 3, 1),
    (1, 7, 33),
    (9, 1, 64),
    (3, 2, 0),
    (5, 4, 17),
    (8, 8, 8),
    (16, 31, 15),
    (32, 33, 31),
    (33, 32, 65),
    (63, 64, 2),
    (64, 5, 129),
    (65, 127, 63),
    (127, 65, 16),
    (128, 129, 9),
    (129, 128, 130),
];
const SOLVES: [(usize, usize); 11] =
    [(1, 1), (2, 3), (4, 64), (5, 66), (17, 1), (31, 33), (64, 2), (65, 65), (128, 7), (129, 130), (257, 3)];

/// Element (i, j) of α op(A) op(B) + β C in f64, and the same with absolute values: the scale of its rounding errors.
struct Oracle {
    value: Mat<f64>,
    scale: Mat<f64>,
}

impl Oracle {
    fn product<T: Scalar>(alpha: T, a: (&Mat<T>, Op), b: (&Mat<T>, Op), beta: T, c: &Mat<T>) -> Self {
        let at = |(m, op): (&Mat<T>, Op), i: usize, j: usize| match op {
            Op::No => m[(i, j)].f64(),
            Op::Transpose => m[(j, i)].f64(),
        };
        let k = a.1.shape(a.0.shape()).1;
        let (m, n) = c.shape();
        let rows = Mat::from_fn(k, m, |p, i| at(a, i, p));
        let cols = Mat::from_fn(k, n, |p, j| at(b, p, j));
        let start = |i: usize, j: usize| if beta == T::ZERO { 0.0 } else { beta.f64() * c[(i, j)].f64() };
        let form = |alpha: f64, rows: &Mat<f64>, cols: &Mat<f64>, start: &dyn Fn(usize, usize) -> f64| {
            Mat::from_fn(m, n, |i, j| alpha * dot(rows.as_ref().col(i), cols.as_ref().col(j)) + start(i, j))
        };
        let value = form(alpha.f64(), &rows, &cols, &start);
        let (rows, cols) = (rows.map(f64::abs), cols.map(f64::abs));
        Self { value, scale: form(alpha.f64().abs(), &rows, &cols, &|i, j| start(i, j).abs()) }
    }

    /// The worst entry in units of its own rounding, from row `from_row(j)` of column j on.
    fn off<T: Scalar>(&self, got: MatRef<'_, T>, k: usize, from_row: impl Fn(usize) -> usize) -> Measure {
        let limit = tolerance::<T>(k + 2, 1.0);
        let entries = (0..got.ncols()).flat_map(|j| (from_row(j)..got.nrows()).map(move |i| (i, j)));
        let ratio =
            |(i, j)| Measure::ratio((got.at(i, j).f64() - self.value[(i, j)]).abs(), limit * self.scale[(i, j)]);
        entries.map(ratio).fold(Measure { value: 0.0, limit: 1.0 }, Measure::worse)
    }
}

pub(super) fn measure<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    for (turn, (m, n, k)) in SHAPES.into_iter().enumerate() {
        gemm(r, s, turn, (m, n, k));
        syrk(r, s, turn, (n, k));
        gemv(r, s, (m, n));
    }
    for (n, k) in SOLVES {
        trsm(r, s, (n, k));
    }
}

fn gemm<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, turn: usize, (m, n, k): (usize, usize, usize)) {
    for (pair, (ta, tb)) in OPS.into_iter().flat_map(|ta| OPS.map(|tb| (ta, tb))).enumerate() {
        let (a, b, c) = (s.stored(ta, m, k, 1), s.stored(tb, k, n, 2), s.uniform(m, n, 3));
        let (alpha, beta) = SCALARS[(4 * turn + pair) % SCALARS.len()];
        let (alpha, beta) = (T::of(alpha), T::of(beta));
        let place = s.at(format_args!("gemm {m}x{n}x{k} {ta:?} {tb:?}, alpha {alpha}, beta {beta}"));
        let run = |a: &Mat<T>, b: &Mat<T>, c: &Mat<T>| -> Result<Padded<T>> {
            let (pa, pb, mut pc) = (Padded::new(a, 3), Padded::new(b, 1), Padded::new(c, turn % 4));
            s.ctx.gemm(alpha, pa.view(), ta, pb.view(), tb, beta, pc.view_mut()).map(|()| pc)
        };
        let oracle = Oracle::product(alpha, (&a, ta), (&b, tb), beta, &c);
        r.law("gemm is the product", &place, || Ok(oracle.off(run(&a, &b, &c)?.view(), k, |_| 0)));
        r.law("leaves the padding alone", &place, || Ok(Measure::count(run(&a, &b, &c)?.spoiled())));
        if beta == T::ZERO {
            r.law("beta 0 reads no C", &place, || {
                let (clean, dirty) = (run(&a, &b, &c)?, run(&a, &b, &nan(m, n))?);
                Ok(Measure::count(differing(&clean.view().to_owned(), &dirty.view().to_owned())))
            });
        }
        if alpha == T::ZERO {
            r.law("alpha 0 reads no A and B", &place, || {
                let (na, nb) = (nan(a.nrows(), a.ncols()), nan(b.nrows(), b.ncols()));
                Ok(oracle.off(run(&na, &nb, &c)?.view(), k, |_| 0))
            });
        }
    }
}

fn syrk<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, turn: usize, (n, k): (usize, usize)) {
    for (pair, ta) in OPS.into_iter().enumerate() {
        let (a, mut c) = (s.stored(ta, k, n, 4), s.uniform(n, n, 5));
        c.as_mut().mirror_lower();
        let (alpha, beta) = SCALARS[(2 * turn + pair) % SCALARS.len()];
        let (alpha, beta) = (T::of(alpha), T::of(beta));
        let place = s.at(format_args!("syrk {n}x{k} {ta:?}, alpha {alpha}, beta {beta}"));
        let run = |c: &Mat<T>, both: bool| -> Result<Padded<T>> {
            let (pa, mut pc) = (Padded::new(&a, 2), Padded::lower(c, turn % 4));
            if both {
                s.ctx.syrk(alpha, pa.view(), ta, beta, pc.view_mut())?;
            } else {
                s.ctx.syrk_lower(alpha, pa.view(), ta, beta, pc.view_mut())?;
            }
            Ok(pc)
        };
        let oracle = Oracle::product(alpha, (&a, ta.flipped()), (&a, ta), beta, &c);
        r.law("syrk is the Gram product", &place, || {
            let lower = oracle.off(run(&c, false)?.view(), k, |j| j);
            Ok(lower.worse(oracle.off(run(&c, true)?.view(), k, |_| 0)))
        });
        r.law("leaves the padding alone", &place, || {
            Ok(Measure::count(run(&c, false)?.spoiled() + run(&c, true)?.spoiled()))
        });
        r.law("leaves the upper triangle alone", &place, || Ok(Measure::count(run(&c, false)?.spoiled_upper())));
        if beta == T::ZERO {
            r.law("beta 0 reads no C", &place, || {
                let (clean, dirty) = (run(&c, true)?, run(&nan(n, n), true)?);
                Ok(Measure::count(differing(&clean.view().to_owned(), &dirty.view().to_owned())))
            });
        }
    }
}

fn gemv<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, (m, n): (usize, usize)) {
    for ta in OPS {
        for (alpha, beta) in SCALARS.map(|(a, b)| (T::of(a), T::of(b))) {
            let (a, x, y) = (s.stored(ta, m, n, 6), s.uniform(n, 1, 7), s.uniform(m, 1, 8));
            let place = s.at(format_args!("gemv {m}x{n} {ta:?}, alpha {alpha}, beta {beta}"));
            let run = |y: &Mat<T>| -> Result<Mat<T>> {
                let mut got = y.clone();
                s.ctx.gemv(alpha, Padded::new(&a, 3).view(), ta, x.as_slice(), beta, got.as_mut_slice()).map(|()| got)
            };
            r.law("gemv is the product", &place, || {
                Ok(Oracle::product(alpha, (&a, ta), (&x, Op::No), beta, &y).off(run(&y)?.as_ref(), n, |_| 0))
            });
            if beta == T::ZERO {
                r.law("beta 0 reads no C", &place, || Ok(Measure::count(differing(&run(&y)?, &run(&nan(m, 1))?))));
            }
        }
    }
}

fn trsm<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, (n, k): (usize, usize)) {
    for (side, tl) in [Side::Left, Side::Right].into_iter().flat_map(|side| OPS.map(|tl| (side, tl))) {
        let place = s.at(format_args!("trsm {n}x{k} {side:?} {tl:?}"));
        let l = s.triangle(n, 9);
        let b = if side == Side::Left { s.uniform(n, k, 10) } else { s.uniform(k, n, 10) };
        let run = || -> Result<Padded<T>> {
            let (pl, mut px) = (Padded::lower(&l, 2), Padded::new(&b, 1));
            s.ctx.trsm(side, pl.view(), tl, px.view_mut()).map(|()| px)
        };
        r.law("trsm solves", &place, || {
            let x = run()?.view().to_owned();
            let residual = match side {
                Side::Left => Oracle::product(T::ONE, (&l, tl), (&x, Op::No), -T::ONE, &b),
                Side::Right => Oracle::product(T::ONE, (&x, Op::No), (&l, tl), -T::ONE, &b),
            };
            Ok(residual.off(Mat::<T>::zeros(b.nrows(), b.ncols()).as_ref(), n, |_| 0))
        });
        r.law("leaves the padding alone", &place, || Ok(Measure::count(run()?.spoiled())));
    }
}
