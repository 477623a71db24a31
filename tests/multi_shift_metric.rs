//! Claim: multi-shift conjugate gradient in a metric solves (A + σM) X = B for every σ as a dense solver does, in the
//! iterations of the preconditioned run for the smallest shift, and is the plain method where M = I.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod cg_support;

use cg_support::*;
use pullback::kronecker::KroneckerMetric;
use pullback::krylov::{CgOptions, CgStop, MultiShiftReport, multi_shift_cg, multi_shift_cg_in_metric, pcg};
use pullback::linop::{DenseMetric, DiagonalMetric, Identity, Metric, MetricInverse, Scaled, Sum, SymmetricDense};
use pullback::testing::{contexts, gallery, relative_error, tolerance};
use pullback::{Ctx, Error, Mat, Result, Scalar};

const SHIFTS: [f64; 5] = [1.0, 0.01, 30.0, 0.01, 0.5];

fn solve<T: Scalar>(
    ctx: &Ctx<T>,
    a: &Mat<T>,
    metric: &dyn Metric<T>,
    b: &Mat<T>,
    options: &CgOptions<T>,
) -> Result<(MultiShiftReport, Vec<Mat<T>>)> {
    let mut x = vec![Mat::from_fn(b.nrows(), b.ncols(), |_, _| T::nan()); SHIFTS.len()];
    let mut views: Vec<_> = x.iter_mut().map(Mat::as_mut).collect();
    let shifts = SHIFTS.map(T::of);
    let a = SymmetricDense::new(a.clone()).unwrap();
    let report = multi_shift_cg_in_metric(ctx, &a, metric, &shifts, b.as_ref(), &mut views, options)?;
    Ok((report, x))
}

/// M from 1 to 100 and A from 1 to 100, unrelated.
fn metrics<T: Scalar>(ctx: &Ctx<T>, n: usize) -> Vec<Box<dyn Metric<T>>> {
    let entries = (0..n).map(|i| T::of(1.0 + 99.0 * i as f64 / n as f64)).collect();
    vec![
        Box::new(Identity::new(n)),
        Box::new(DiagonalMetric::new(entries).unwrap()),
        Box::new(DenseMetric::new(ctx, with_spectrum(&graded(n, 100.0), 31).cast()).unwrap()),
    ]
}

/// A + σM in f64, of the rounded A and M.
fn system<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, metric: &dyn Metric<T>, shift: f64) -> Mat<f64> {
    let (a, m): (Mat<f64>, Mat<f64>) = (a.cast(), metric.to_dense(ctx).unwrap().cast());
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] + T::of(shift).f64() * m[(i, j)])
}

fn agrees_with_dense<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 3, 31, 33, 64] {
            let a: Mat<T> = with_spectrum(&graded(n, 100.0), 32).cast();
            let b: Mat<T> = random(n, 3, 33).cast();
            for metric in metrics(&ctx, n) {
                let options = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 100.0)), ..CgOptions::default() };
                let (report, x) = solve(&ctx, &a, &*metric, &b, &options).unwrap();
                for (s, (shift, x)) in SHIFTS.into_iter().zip(&x).enumerate() {
                    let place = format!("shift {shift}, order {n}, {} in {}", ctx.backend().name(), T::NAME);
                    assert_eq!(report.worst(s).stop, CgStop::Converged, "{place}");
                    let system = system(&ctx, &a, &*metric, shift);
                    let exact = dense_solve(&system, &b.cast());
                    // residual within the tolerance and its rounding, times the condition of A + σM
                    let limit = 4.0 * tolerance::<T>(n, 100.0) * 100.0;
                    let error = relative_error(x.cast::<f64>().as_ref(), exact.as_ref());
                    assert!(error <= limit, "{place}: {error:e} above {limit:e}");
                    let product = product(&system, &x.cast());
                    let off = relative_error(product.as_ref(), b.cast::<f64>().as_ref());
                    let reported = report.worst(s).relative_residual;
                    let scale = (n as f64).sqrt();
                    assert!(off <= scale * (reported + tolerance::<T>(n, 100.0)), "{place}: {off:e}, {reported:e}");
                }
            }
        }
    }
}

/// x of the smallest shift is the iterate of pcg on A + σ_0 M with M⁻¹, and every other shift is that of its own run.
fn iterates_are_those_of_pcg<T: Scalar>() {
    let n = 24;
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&graded(n, 20.0), 34).cast();
        let b: Mat<T> = random(n, 2, 35).cast();
        let entries: Vec<T> = (0..n).map(|i| T::of(1.0 + (i % 5) as f64)).collect();
        let metric = DiagonalMetric::new(entries).unwrap();
        for max_iterations in [1, 2, 5, 8] {
            let options = CgOptions { max_iterations, relative_tolerance: T::ZERO, ..CgOptions::from_zero() };
            let (report, x) = solve(&ctx, &a, &metric, &b, &options).unwrap();
            for (s, (shift, x)) in SHIFTS.into_iter().zip(&x).enumerate() {
                let system =
                    Sum::new(SymmetricDense::new(a.clone()).unwrap(), Scaled::new(metric.clone(), T::of(shift)))
                        .unwrap();
                let inverse = MetricInverse(metric.clone());
                let mut want = Mat::zeros(n, 2);
                pcg(&ctx, &system, Some(&inverse), b.as_ref(), want.as_mut(), &options).unwrap();
                let error = relative_error(x.as_ref(), want.as_ref());
                let limit = tolerance::<T>(n, 100.0);
                assert!(error <= limit, "shift {shift}, {max_iterations} steps in {}: {error:e}", T::NAME);
                assert_eq!(report.worst(s).iterations, max_iterations);
            }
            assert_eq!(report.products(), max_iterations + SHIFTS.len());
        }
    }
}

/// M = I is the plain method to the bit; M near A needs few iterations, and M = A one.
fn metrics_at_the_ends<T: Scalar>() {
    let n = 33;
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&graded(n, 1000.0), 36).cast();
        let b: Mat<T> = random(n, 2, 37).cast();
        let options = CgOptions::default();
        let (report, x) = solve(&ctx, &a, &Identity::new(n), &b, &options).unwrap();
        let mut plain = vec![Mat::zeros(n, 2); SHIFTS.len()];
        let mut views: Vec<_> = plain.iter_mut().map(Mat::as_mut).collect();
        let operator = SymmetricDense::new(a.clone()).unwrap();
        let other = multi_shift_cg(&ctx, &operator, &SHIFTS.map(T::of), b.as_ref(), &mut views, &options).unwrap();
        assert_eq!((report.clone(), x), (other, plain));
        let own = DenseMetric::new(&ctx, a.clone()).unwrap();
        let (one, _) = solve(&ctx, &a, &own, &b, &options).unwrap();
        for s in 0..SHIFTS.len() {
            assert_eq!((one.worst(s).stop, one.worst(s).iterations), (CgStop::Converged, 1), "{}", T::NAME);
        }
        assert!(report.worst(1).iterations > 10);
    }
}

/// The bound of conjugate gradient with the condition of F⁻¹A F⁻ᵀ + σI, which falls with σ.
#[test]
fn the_energy_error_obeys_the_chebyshev_bound_of_the_pencil() {
    let n = 64;
    for ctx in contexts::<f64>() {
        // A = W D W and M = W², so that M⁻¹A has the eigenvalues of D
        let (w, d) = (with_spectrum(&graded(n, 50.0), 38), with_spectrum(&graded(n, 100.0), 39));
        let (a, m) = (product(&product(&w, &d), &w), product(&w, &w));
        let metric = DenseMetric::new(&ctx, m.clone()).unwrap();
        let b = random(n, 1, 40);
        for (s, shift) in SHIFTS.into_iter().enumerate() {
            let system = system(&ctx, &a, &metric, shift);
            let exact = dense_solve(&system, &b);
            let energy = |x: &Mat<f64>| {
                let e = Mat::from_fn(n, 1, |i, _| x[(i, 0)] - exact[(i, 0)]);
                let image = product(&system, &e);
                (0..n).map(|i| e[(i, 0)] * image[(i, 0)]).sum::<f64>().max(0.0).sqrt()
            };
            let at_start = energy(&Mat::zeros(n, 1));
            let root = ((100.0 + shift) / (1.0 + shift)).sqrt();
            for max_iterations in [1, 3, 8, 20] {
                let options = CgOptions { max_iterations, relative_tolerance: 0.0, ..CgOptions::default() };
                let (_, x) = solve(&ctx, &a, &metric, &b, &options).unwrap();
                let rate = (root - 1.0) / (root + 1.0);
                let bound = (2.0 * rate.powi(max_iterations as i32) + tolerance::<f64>(n, 2500.0 * 100.0)) * at_start;
                assert!(energy(&x[s]) <= bound, "shift {shift}, {max_iterations}: {:e} of {bound:e}", energy(&x[s]));
            }
        }
    }
}

/// A metric with the structure of K-FAC: M_A ⊗ M_S.
#[test]
fn a_kronecker_metric_serves() {
    let ctx = Ctx::<f64>::default();
    let factor = |n, seed| with_spectrum(&graded(n, 10.0), seed);
    let metric = KroneckerMetric::new(&ctx, factor(4, 41), factor(5, 42)).unwrap();
    let a = with_spectrum(&graded(20, 30.0), 43);
    let b = random(20, 1, 44);
    let (report, x) = solve(&ctx, &a, &metric, &b, &CgOptions::default()).unwrap();
    for (s, (shift, x)) in SHIFTS.into_iter().zip(&x).enumerate() {
        assert_eq!(report.worst(s).stop, CgStop::Converged);
        let exact = dense_solve(&system(&ctx, &a, &metric, shift), &b);
        let error = relative_error(x.as_ref(), exact.as_ref());
        assert!(error <= 100.0 * f64::EPSILON.sqrt(), "shift {shift}: {error:e}");
    }
}

/// A scale of b, or of A and the metric, by powers of two changes no digit.
fn scales<T: Scalar>() {
    let (n, ctx) = (12, Ctx::<T>::reference());
    let a: Mat<T> = with_spectrum(&graded(n, 30.0), 45).cast();
    let b: Mat<T> = random(n, 1, 46).cast();
    let entries: Vec<T> = (0..n).map(|i| T::of(1.0 + (i % 5) as f64)).collect();
    let of = |a: &Mat<T>, exponent: i32, b: &Mat<T>| {
        // powers of four have exact roots
        let scaled = entries.iter().map(|&m| m * T::of(4.0).powi(exponent)).collect();
        solve(&ctx, a, &DiagonalMetric::new(scaled).unwrap(), b, &CgOptions::default()).unwrap()
    };
    let (_, want) = of(&a, 0, &b);
    for exponent in [-20, 20] {
        let scaled = of(&gallery::scaled(&a, 2 * exponent), exponent, &gallery::scaled(&b, 2 * exponent)).1;
        assert_eq!(scaled, want, "A and M, 4^{exponent} in {}", T::NAME);
        let back: Vec<Mat<T>> = want.iter().map(|x| gallery::scaled(x, exponent)).collect();
        assert_eq!(of(&a, 0, &gallery::scaled(&b, exponent)).1, back, "b, 2^{exponent} in {}", T::NAME);
    }
}

fn stops<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let b: Mat<T> = random(3, 2, 47).cast();
    let metric = DiagonalMetric::new(vec![T::ONE, T::of(2.0), T::of(4.0)]).unwrap();
    let options = CgOptions::default();
    let diagonal = |d: [f64; 3]| Mat::from_diagonal(&d.map(T::of));
    let (report, x) = solve(&ctx, &diagonal([-9.0, 1.0, 1.0]), &metric, &b, &options).unwrap();
    assert_eq!(report.worst(1).stop, CgStop::NonPositiveCurvature);
    assert!(x.iter().all(|x| x.as_ref().is_finite()));
    let (report, x) = solve(&ctx, &diagonal([1.0, f64::NAN, 1.0]), &metric, &b, &options).unwrap();
    assert_eq!(report.worst(0).stop, CgStop::Breakdown);
    assert!(x.iter().all(|x| x.as_ref().is_finite()));
    let (report, x) = solve(&ctx, &Mat::zeros(3, 3), &metric, &b, &options).unwrap();
    // A = 0: x = M⁻¹b / σ, in one step
    assert_eq!((report.worst(2).stop, report.worst(2).iterations), (CgStop::Converged, 1));
    assert!((x[0][(2, 0)].f64() - b[(2, 0)].f64() / 4.0).abs() <= tolerance::<T>(3, 1.0));
    let (report, x) = solve(&ctx, &Mat::identity(3), &metric, &Mat::zeros(3, 2), &options).unwrap();
    assert_eq!((report.worst(0).stop, report.products()), (CgStop::Converged, 0));
    assert_eq!(x[0], Mat::zeros(3, 2));
    let mut bad = b.clone();
    bad[(1, 0)] = T::nan();
    let (report, x) = solve(&ctx, &Mat::identity(3), &metric, &bad, &options).unwrap();
    assert_eq!((report.shift(0)[0].stop, report.shift(0)[1].stop), (CgStop::Breakdown, CgStop::Converged));
    assert!(x[0].as_ref().is_finite());
    let wrong = solve(&ctx, &Mat::identity(3), &Identity::new(4), &b, &options);
    assert!(matches!(wrong, Err(Error::Shape { .. })));
}

for_both!(agrees_with_dense, iterates_are_those_of_pcg, metrics_at_the_ends, scales, stops);
