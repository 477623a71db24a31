//! potrf, potri, potrs and syevd: against the reference, and by LAPACK's ratios.

use super::Subject;
use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::Mat;
use crate::scalar::Scalar;
use crate::testing::{Measure, Padded, Recorder, gallery, ratios, relative_error, tolerance};

const ORDERS: [usize; 18] = [1, 2, 3, 4, 5, 7, 11, 16, 17, 22, 31, 32, 33, 64, 65, 127, 128, 129];
const EIGEN_ORDERS: [usize; 9] = [1, 2, 3, 4, 16, 31, 33, 64, 129];
const CONDITION: f64 = 10.0;

/// A ratio of LAPACK's against its threshold.
fn lapack(ratio: f64) -> Measure {
    Measure { value: ratio, limit: ratios::THRESHOLD }
}

pub(super) fn measure<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>) {
    ORDERS.into_iter().for_each(|n| cholesky(r, s, n));
    EIGEN_ORDERS.into_iter().for_each(|n| eigen(r, s, n));
}

fn cholesky<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, n: usize) {
    let place = s.at(format_args!("order {n}, condition {CONDITION}"));
    let (a, reference) = (s.spd(n, CONDITION, 11), Ctx::<T>::reference());
    let limit = tolerance::<T>(n, CONDITION);
    let factor = || -> Result<Padded<T>> {
        let mut l = Padded::lower(&a, 3);
        s.ctx.potrf(l.view_mut()).map(|()| l)
    };
    let inverse = || -> Result<Padded<T>> {
        let mut l = factor()?;
        s.ctx.potri(l.view_mut()).map(|()| l)
    };
    let triangle = |l: &Padded<T>| Mat::from_fn(n, n, |i, j| if i >= j { l.view().at(i, j) } else { T::ZERO });
    r.law("potrf is the Cholesky factor", &place, || {
        let (l, mut want) = (triangle(&factor()?), a.clone());
        reference.potrf(want.as_mut())?;
        let want = Mat::from_fn(n, n, |i, j| if i >= j { want[(i, j)] } else { T::ZERO });
        let near = Measure::ratio(relative_error(l.as_ref(), want.as_ref()), limit);
        Ok(near.worse(lapack(ratios::cholesky(a.as_ref(), l.as_ref()))))
    });
    r.law("potri is the inverse", &place, || {
        let x = inverse()?.view().to_owned();
        let asymmetric = (0..n).flat_map(|j| (0..j).map(move |i| (i, j))).filter(|&(i, j)| x[(i, j)] != x[(j, i)]);
        let exact = Measure::count(asymmetric.count());
        Ok(exact.worse(lapack(ratios::inverse(a.as_ref(), x.as_ref()))))
    });
    r.law("potrs solves", &place, || {
        let b = s.uniform(n, 3, 23);
        let mut x = Padded::new(&b, 2);
        s.ctx.potrs(factor()?.view(), x.view_mut())?;
        let spoiled = Measure::count(x.spoiled());
        // the ratio has no factor n, so the limit has it
        let ratio = ratios::solve(a.as_ref(), x.view(), b.as_ref());
        Ok(spoiled.worse(Measure { value: ratio, limit: ratios::THRESHOLD * n as f64 }))
    });
    r.law("leaves the padding alone", &place, || Ok(Measure::count(factor()?.spoiled() + inverse()?.spoiled())));
    r.law("leaves the upper triangle alone", &place, || Ok(Measure::count(factor()?.spoiled_upper())));
}

fn eigen<T: Scalar>(r: &mut Recorder, s: &Subject<'_, T>, n: usize) {
    let place = s.at(format_args!("order {n}"));
    let exact: Vec<f64> = (0..n).map(|i| i as f64 / n as f64 - 0.3).collect();
    let a: Mat<T> = gallery::with_spectrum(&exact, s.seed.wrapping_mul(64).wrapping_add(12));
    let decompose = |a: &Mat<T>| -> Result<(Padded<T>, Vec<T>)> {
        let (mut q, mut w) = (Padded::lower(a, 2), vec![T::nan(); n]);
        s.ctx.syevd(q.view_mut(), &mut w).map(|()| (q, w))
    };
    r.law("syevd has the eigenvalues", &place, || {
        let (_, w) = decompose(&a)?;
        let off = |(got, want): (&T, &f64)| Measure::ratio((got.f64() - want).abs(), tolerance::<T>(n, 1.0));
        let ascending = Measure::holds(w.windows(2).all(|pair| pair[0] <= pair[1]));
        Ok(w.iter().zip(&exact).map(off).fold(ascending, Measure::worse))
    });
    r.law("syevd has the eigenvectors", &place, || {
        let (q, w) = decompose(&a)?;
        let residual = lapack(ratios::eigen(a.as_ref(), q.view(), &w));
        Ok(residual.worse(lapack(ratios::orthogonality(q.view()))))
    });
    r.law("syevd is equivariant under powers of two", &place, || {
        let (plain, exponents) = (decompose(&a)?.1, [60, -60]);
        let off = |exponent: i32| -> Result<Measure> {
            let (_, w) = decompose(&gallery::scaled(&a, exponent))?;
            let back = w.iter().map(|w| w.f64() * 2f64.powi(-exponent));
            let bound = tolerance::<T>(n, 1.0);
            let ratio = |(got, want): (f64, &T)| Measure::ratio((got - want.f64()).abs(), bound);
            Ok(back.zip(&plain).map(ratio).fold(Measure::holds(true), Measure::worse))
        };
        Ok(off(exponents[0])?.worse(off(exponents[1])?))
    });
    r.law("leaves the padding alone", &place, || Ok(Measure::count(decompose(&a)?.0.spoiled())));
}
