//! Laws of tracked eigenbases on every backend: what is reported is the distance to the matrix, a basis that is kept stays
//! orthonormal and its values within the bounds of theory, and whatever is too far is the full decomposition to the bit.

use pullback::factor::{SymEigen, Tracking};
use pullback::testing::dense::{distance, norm, times};
use pullback::testing::ratios::{self, THRESHOLD};
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Error, Mat, Scalar};

macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod f32_laws { $(#[test] fn $law() { super::contexts::<f32>().iter().for_each(super::$law); })+ }
        mod f64_laws { $(#[test] fn $law() { super::contexts::<f64>().iter().for_each(super::$law); })+ }
    };
}

laws!(
    an_unchanged_matrix_keeps_its_basis_and_values,
    what_is_reported_is_the_distance_to_the_matrix,
    kept_values_obey_the_theorems,
    a_damped_inverse_is_within_its_bound,
    beyond_the_tolerance_it_is_the_full_decomposition,
    powers_of_two_change_the_exponents_alone,
    typed_errors,
);

/// Sizes that straddle blocks; the textbook loops (Jacobi above all) skip the largest, and so do debug builds.
fn orders<T: Scalar>(ctx: &Ctx<T>) -> Vec<usize> {
    let largest = match ctx.backend().name() {
        "reference" => 33,
        _ if cfg!(debug_assertions) => 129,
        _ => 257,
    };
    [0, 1, 2, 3, 31, 32, 33, 64, 127, 128, 129, 257].into_iter().filter(|&n| n <= largest).collect()
}

fn spectra<T: Scalar>(n: usize) -> Vec<(&'static str, Mat<T>)> {
    vec![
        ("well conditioned", gallery::spd(n, 10.0, 6)),
        ("ill conditioned", gallery::spd(n, 0.01 / T::EPS.f64(), 6)),
        ("indefinite", gallery::with_spectrum(&(0..n).map(|i| i as f64 - n as f64 / 3.0).collect::<Vec<_>>(), 7)),
        ("rank deficient", gallery::rank_deficient(n, n / 3, 8)),
        ("clustered", gallery::clustered(n, 9)),
        ("graded", gallery::graded(n, 1e-6, 10)),
        ("identity", Mat::identity(n)),
        ("zero", Mat::zeros(n, n)),
    ]
}

/// A + size ‖A‖_F E with a symmetric E of norm 1.
fn perturbed<T: Scalar>(a: &Mat<T>, size: f64, seed: u64) -> Mat<T> {
    let n = a.nrows();
    let e = gallery::uniform::<f64>(n, n, seed);
    let e = Mat::from_fn(n, n, |i, j| e[(i, j)] + e[(j, i)]);
    let share = size * norm(a) / norm(&e).max(f64::MIN_POSITIVE);
    Mat::from_fn(n, n, |i, j| T::of(a[(i, j)].f64() + share * e[(i, j)]))
}

/// Q diag(f(w)) Qᵀ in f64.
fn assembled<T: Scalar>(eigen: &SymEigen<T>, f: impl Fn(f64) -> f64) -> Mat<f64> {
    let q = eigen.vectors().to_owned().cast::<f64>();
    let scaled = Mat::from_fn(q.nrows(), q.ncols(), |i, j| q[(i, j)] * f(eigen.values()[j].f64()));
    times(&scaled, &q.transposed()).unwrap()
}

fn off(how: Tracking) -> f64 {
    match how {
        Tracking::Kept { off } | Tracking::Decomposed { off } => off,
    }
}

/// Every order, spectrum and size of change: the old decomposition, the new matrix, how it is called.
fn each_change<T: Scalar>(ctx: &Ctx<T>, changes: &[f64], mut law: impl FnMut(&SymEigen<T>, &Mat<T>, &str)) {
    for n in orders(ctx) {
        for (kind, a) in spectra::<T>(n) {
            let old = SymEigen::new(ctx, a.clone()).unwrap();
            for &change in changes {
                let what = format!("{} {} {kind} {n} by {change:e}", ctx.backend().name(), T::NAME);
                law(&old, &perturbed(&a, change, 11), &what);
            }
        }
    }
}

fn an_unchanged_matrix_keeps_its_basis_and_values<T: Scalar>(ctx: &Ctx<T>) {
    each_change(ctx, &[0.0], |old, a, what| {
        let (kept, how) = old.track(ctx, a.as_ref(), 0.0).expect(what);
        assert!(matches!(how, Tracking::Kept { .. }), "{what}: {how:?}");
        let n = a.nrows();
        for (new, old) in kept.values().iter().zip(old.values()) {
            assert!((new.f64() - old.f64()).abs() <= tolerance::<T>(n, 1.0) * norm(a), "{what}: {new} for {old}");
        }
        let ratio = ratios::eigen(a.as_ref(), kept.vectors(), kept.values());
        assert!(ratio < THRESHOLD, "{what}: ratio {ratio}");
    });
}

fn what_is_reported_is_the_distance_to_the_matrix<T: Scalar>(ctx: &Ctx<T>) {
    each_change(ctx, &[1e-3, 0.03, 1.0], |old, a, what| {
        let (kept, how) = old.track(ctx, a.as_ref(), f64::INFINITY).expect(what);
        assert!(matches!(how, Tracking::Kept { .. }), "{what}: {how:?}");
        let (want, size) = (distance(a, &assembled(&kept, |w| w)), norm(a));
        let rounding = tolerance::<T>(a.nrows(), 1.0) * size;
        assert!((off(how) * size - want).abs() <= rounding, "{what}: {how:?} for {}", want / size);
        assert!(ratios::orthogonality(kept.vectors()) < THRESHOLD, "{what}");
        assert!(kept.values().is_sorted(), "{what}: ascending");
        let again = old.track(ctx, a.as_ref(), f64::INFINITY).expect(what);
        let same = again.0.vectors().as_slice() == kept.vectors().as_slice() && again.0.values() == kept.values();
        assert!(same && again.1 == how, "{what}: the same bits again");
    });
}

fn kept_values_obey_the_theorems<T: Scalar>(ctx: &Ctx<T>) {
    each_change(ctx, &[1e-3, 0.03], |old, a, what| {
        let (kept, how) = old.track(ctx, a.as_ref(), f64::INFINITY).expect(what);
        let full = SymEigen::new(ctx, a.clone()).expect(what);
        let rounding = tolerance::<T>(a.nrows(), 1.0) * norm(a);
        // Hoffman and Wielandt
        let square = |(w, v): (&T, &T)| (w.f64() - v.f64()).powi(2);
        let apart = kept.values().iter().zip(full.values()).map(square).sum::<f64>().sqrt();
        assert!(apart <= off(how) * norm(a) + rounding, "{what}: {apart:e}");
        // Schur: sums of the smallest are no smaller than the true ones, and the trace is the same
        let (mut mine, mut least) = (0.0, 0.0);
        for (w, v) in kept.values().iter().zip(full.values()) {
            (mine, least) = (mine + w.f64(), least + v.f64());
            assert!(mine >= least - rounding * a.nrows() as f64, "{what}: {mine:e} below {least:e}");
        }
        assert!((mine - least).abs() <= rounding * a.nrows() as f64, "{what}: trace {mine:e} for {least:e}");
    });
}

fn a_damped_inverse_is_within_its_bound<T: Scalar>(ctx: &Ctx<T>) {
    for n in orders(ctx).into_iter().filter(|n| (1..=64).contains(n)) {
        let a = gallery::spd::<T>(n, 100.0, 12);
        let old = SymEigen::new(ctx, a.clone()).unwrap();
        // a positive semidefinite change, as a moving average is
        let x = gallery::uniform::<f64>(n, 3, 13);
        let square = times(&x, &x.transposed()).unwrap();
        let new = Mat::from_fn(n, n, |i, j| T::of(0.8 * a[(i, j)].f64() + 0.02 * square[(i, j)]));
        let (kept, how) = old.track(ctx, new.as_ref(), f64::INFINITY).unwrap();
        let full = SymEigen::new(&Ctx::<f64>::reference(), new.cast()).unwrap();
        for lambda in [0.01, 0.3] {
            assert!(kept.values().iter().all(|w| w.f64() > -lambda * tolerance::<T>(n, 1.0)), "{n}: {lambda}");
            let inverse = |w: f64| 1.0 / (w + lambda);
            let apart = distance(&assembled(&kept, inverse), &assembled(&full, inverse));
            let bound = off(how) * norm(&new) / (lambda * lambda);
            assert!(apart <= bound + tolerance::<T>(n, 1.0 / lambda) / lambda, "{n} {lambda}: {apart:e} > {bound:e}");
        }
    }
}

fn beyond_the_tolerance_it_is_the_full_decomposition<T: Scalar>(ctx: &Ctx<T>) {
    each_change(ctx, &[0.03, 1.0], |old, a, what| {
        let off = off(old.track(ctx, a.as_ref(), f64::INFINITY).expect(what).1);
        let (_, kept) = old.track(ctx, a.as_ref(), off).expect(what);
        assert_eq!(kept, Tracking::Kept { off }, "{what}: the tolerance itself is within");
        let below = off * (1.0 - 1e-9);
        if below <= tolerance::<T>(a.nrows(), 1.0) {
            return; // a change of a multiple of the identity, or none
        }
        let (new, how) = old.track(ctx, a.as_ref(), below).expect(what);
        assert_eq!(how, Tracking::Decomposed { off }, "{what}");
        let full = SymEigen::new(ctx, a.clone()).expect(what);
        assert!(new.vectors().as_slice() == full.vectors().as_slice() && new.values() == full.values(), "{what}");
    });
}

fn powers_of_two_change_the_exponents_alone<T: Scalar>(ctx: &Ctx<T>) {
    let largest = if T::NAME == "f32" { 80 } else { 600 };
    for n in orders(ctx).into_iter().filter(|n| [3, 33, 129].contains(n)) {
        let a = gallery::spd::<T>(n, 1e3, 14);
        let old = SymEigen::new(ctx, a.clone()).unwrap();
        let new = perturbed(&a, 0.05, 15);
        for tolerance in [0.1, 0.0] {
            let (plain, how) = old.track(ctx, new.as_ref(), tolerance).unwrap();
            for e in [-largest, -largest / 2, -3, 1, largest / 2, largest] {
                let what = format!("{} {n} 2^{e}", ctx.backend().name());
                let (scaled, same) = old.track(ctx, gallery::scaled(&new, e).as_ref(), tolerance).expect(&what);
                assert_eq!(same, how, "{what}");
                assert!(scaled.vectors().as_slice() == plain.vectors().as_slice(), "{what}: vectors");
                for (s, p) in scaled.values().iter().zip(plain.values()) {
                    assert_eq!(s.f64(), p.f64() * 2f64.powi(e), "{what}: values");
                }
            }
        }
    }
}

fn typed_errors<T: Scalar>(ctx: &Ctx<T>) {
    let old = SymEigen::new(ctx, Mat::<T>::identity(3)).unwrap();
    for bad in [T::nan(), T::infinity()] {
        let mut a = Mat::identity(3);
        a[(2, 1)] = bad;
        for tolerance in [0.0, f64::INFINITY] {
            let refused = old.track(ctx, a.as_ref(), tolerance);
            assert!(matches!(refused, Err(Error::NotFinite { .. })), "{refused:?}");
        }
    }
    let mut upper = Mat::identity(3);
    upper[(1, 2)] = T::nan();
    assert!(old.track(ctx, upper.as_ref(), 0.0).is_ok(), "the upper triangle is not read");
    for shape in [(2, 2), (3, 4)] {
        let refused = old.track(ctx, Mat::zeros(shape.0, shape.1).as_ref(), 0.1);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    }
    for tolerance in [-0.1, f64::NAN] {
        let refused = old.track(ctx, Mat::identity(3).as_ref(), tolerance);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "tolerance", .. })), "{refused:?}");
    }
}
