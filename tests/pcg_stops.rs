//! Every reason why conjugate gradient stops, edge cases, misuse: whatever happens, X holds a finite iterate.

mod cg_support;

use cg_support::*;
use pullback::krylov::{CgOptions, CgStart, CgStop, StallRule, pcg};
use pullback::linop::{FnOperator, Identity, Scaled};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, Scalar};
use std::sync::atomic::{AtomicUsize, Ordering};

type Never = std::convert::Infallible;

fn indefinite<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 33] {
            let mut spectrum = graded(n, 10.0);
            spectrum[n / 2] = -3.0;
            let a = with_spectrum(&spectrum, 1);
            let b: Mat<T> = random(n, 2, 2).cast();
            let mut x = Mat::zeros(n, 2);
            let tight = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 1.0)), ..CgOptions::default() };
            let report = pcg(&ctx, &operator::<T>(&a), None, b.as_ref(), x.as_mut(), &tight).unwrap();
            for (j, column) in report.columns().iter().enumerate() {
                assert_eq!(column.stop, CgStop::NonPositiveCurvature);
                let (p, curvature) = column.negative_curvature().expect("the direction is reported");
                let p = Mat::from_vec(p.iter().map(|p| p.f64()).collect(), n, 1).unwrap();
                let ap = product(&a, &p);
                let dense: f64 = (0..n).map(|i| p[(i, 0)] * ap[(i, 0)]).sum();
                let size: f64 = (0..n).map(|i| p[(i, 0)].powi(2)).sum::<f64>() * 10.0;
                assert!(curvature <= 0.0 && dense <= tolerance::<T>(n, 1.0) * size);
                assert!((curvature - dense).abs() <= tolerance::<T>(n, 1.0) * size, "{curvature} against {dense}");
                // the last iterate: finite, no worse than the start
                assert!(column.model <= 0.0 && x.as_ref().col(j).iter().all(|x| x.is_finite()));
                // p descends: pᵀ∇φ(x) = pᵀ(A x - b) < 0
                let ax = product(&a, &x.cast());
                let slope: f64 = (0..n).map(|i| p[(i, 0)] * (ax[(i, j)] - b[(i, j)].f64())).sum();
                assert!(slope < 0.0, "slope {slope}");
            }
        }
    }
}

#[test]
fn negative_curvature_is_reported_with_its_direction() {
    indefinite::<f32>();
    indefinite::<f64>();
}

#[test]
fn zero_curvature_counts_as_non_positive() {
    let nothing = FnOperator::new(3, |_: &[f64], out: &mut [f64]| {
        out.fill(0.0);
        Ok::<(), Never>(())
    });
    let (b, mut x) = (random(3, 1, 3), Mat::zeros(3, 1));
    let report = pcg(&Ctx::default(), &nothing, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    let column = &report.columns()[0];
    assert_eq!((column.stop, column.iterations), (CgStop::NonPositiveCurvature, 0));
    let (p, curvature) = column.negative_curvature().unwrap();
    assert!(curvature == 0.0 && p.len() == 3 && p.iter().any(|&p| p != 0.0));
    assert_eq!((column.relative_residual, x), (1.0, Mat::zeros(3, 1)));
}

fn bad_preconditioner<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 16;
        let a = operator::<T>(&with_spectrum(&graded(n, 10.0), 4));
        let b: Mat<T> = random(n, 2, 5).cast();
        let mut x: Mat<T> = random(n, 2, 6).cast();
        let start = x.clone();
        let negative = Trusted(Scaled::new(Identity::new(n), -T::ONE));
        let report = pcg(&ctx, &a, Some(&negative), b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert!(report.columns().iter().all(|c| c.stop == CgStop::PreconditionerNotPositive && c.iterations == 0));
        assert_eq!(x, start);
        // indefinite: found on the way, with the progress made so far kept
        let mut spectrum = graded(n, 10.0);
        spectrum[0] = -1.0;
        let indefinite = Trusted(operator::<T>(&with_spectrum(&spectrum, 7)));
        let mut x = Mat::zeros(n, 2);
        let report = pcg(&ctx, &a, Some(&indefinite), b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert_eq!(report.stop(), CgStop::PreconditionerNotPositive);
        assert!(x.as_ref().is_finite() && report.columns().iter().all(|c| c.model <= 0.0));
    }
}

#[test]
fn a_preconditioner_that_is_not_positive_is_found_out() {
    bad_preconditioner::<f32>();
    bad_preconditioner::<f64>();
}

/// A is fine for the first products, then turns bad.
fn turning_bad<T: Scalar>(bad: T, products: usize) {
    let n = 12;
    let calls = AtomicUsize::new(0);
    let good = operator::<T>(&with_spectrum(&graded(n, 100.0), 8));
    let matrix = good.matrix().clone();
    let faulty = FnOperator::new(n, |v: &[T], out: &mut [T]| {
        Ctx::reference().gemv(T::ONE, matrix.as_ref(), pullback::Op::No, v, T::ZERO, out)?;
        if calls.fetch_add(1, Ordering::Relaxed) >= products {
            out[n / 2] = bad;
        }
        Ok::<(), Error>(())
    });
    let b: Mat<T> = random(n, 1, 9).cast();
    let mut x = Mat::zeros(n, 1);
    let report = pcg(&Ctx::reference(), &faulty, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    let column = &report.columns()[0];
    assert_eq!((column.stop, column.iterations), (CgStop::Breakdown, products));
    assert!(!column.relative_residual.is_nan());
    // x is the iterate that a run with this budget gives
    let mut expected = Mat::zeros(n, 1);
    let budget = CgOptions { max_iterations: products, ..CgOptions::default() };
    let clean = pcg(&Ctx::reference(), &good, None, b.as_ref(), expected.as_mut(), &budget).unwrap();
    let error = pullback::testing::relative_error(x.as_ref(), expected.as_ref());
    assert!(error <= tolerance::<T>(n, 100.0), "{error:e}");
    assert!((column.model - clean.columns()[0].model).abs() <= tolerance::<T>(n, 100.0) * column.model.abs());
}

#[test]
fn nan_and_infinity_in_products_break_down_with_the_last_iterate() {
    for products in [0, 1, 4] {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            turning_bad::<f64>(bad, products);
            turning_bad::<f32>(bad as f32, products);
        }
    }
}

#[test]
fn a_step_that_would_overflow_is_not_taken() {
    // alpha = 2^100 takes x from 2^60 beyond the range of f32
    let tiny = Scaled::new(Identity::new(2), 2f32.powi(-100));
    let b = Mat::from_fn(2, 1, |_, _| 2f32.powi(60));
    let mut x = Mat::from_fn(2, 1, |_, _| 2f32.powi(50));
    let start = x.clone();
    let report = pcg(&Ctx::default(), &tiny, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    assert_eq!((report.stop(), report.iterations()), (CgStop::Breakdown, 0));
    assert_eq!(x, start);
}

#[test]
fn a_residual_that_would_overflow_is_not_taken() {
    // no symmetric matrix: A p is huge and almost orthogonal to p, so that r - alpha A p overflows and x + alpha p does not
    let huge = FnOperator::new(3, |_: &[f32], out: &mut [f32]| {
        out.copy_from_slice(&[1e30, -1e30, 1e-20]);
        Ok::<(), Never>(())
    });
    let (b, mut x) = (Mat::from_fn(3, 1, |_, _| 1f32), Mat::zeros(3, 1));
    let report = pcg(&Ctx::default(), &huge, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    assert_eq!((report.stop(), report.iterations()), (CgStop::Breakdown, 0));
    assert_eq!((x, report.columns()[0].model), (Mat::zeros(3, 1), 0.0));
}

#[test]
fn convergence_that_the_last_product_belies_is_a_breakdown() {
    let calls = AtomicUsize::new(0);
    let identity_once = FnOperator::new(3, |v: &[f64], out: &mut [f64]| {
        out.copy_from_slice(v);
        if calls.fetch_add(1, Ordering::Relaxed) > 0 {
            out[1] = f64::NAN;
        }
        Ok::<(), Never>(())
    });
    let (b, mut x) = (random(3, 1, 24), Mat::zeros(3, 1));
    let report = pcg(&Ctx::default(), &identity_once, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    assert_eq!((report.stop(), report.iterations()), (CgStop::Breakdown, 1));
    assert_eq!(report.relative_residual(), f64::INFINITY);
    assert_eq!(x, b);
}

fn bad_inputs<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 9;
        let a = operator::<T>(&with_spectrum(&graded(n, 4.0), 10));
        for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
            // bad b in column 0, bad x in column 1, column 2 is fine
            let mut b: Mat<T> = random(n, 3, 11).cast();
            let mut x: Mat<T> = random(n, 3, 12).cast();
            b[(4, 0)] = bad;
            x[(n - 1, 1)] = bad;
            let start = x.clone();
            let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
            let stops: Vec<CgStop> = report.columns().iter().map(|c| c.stop).collect();
            assert_eq!(stops, [CgStop::Breakdown, CgStop::Breakdown, CgStop::Converged]);
            assert_eq!(x.as_ref().col(0), start.as_ref().col(0), "left as it was");
            assert!(x.as_ref().col(1).iter().all(|&x| x == T::ZERO), "no finite iterate was given");
            assert!(x.as_ref().is_finite());
            assert_eq!(report.columns()[0].relative_residual, f64::INFINITY);
            assert_eq!(report.columns()[1].relative_residual, 1.0);
            assert!(report.columns()[2].relative_residual <= 2.0 * T::EPS.sqrt().f64());
        }
        // an operator that is NaN throughout
        let nan = FnOperator::new(n, |_: &[T], out: &mut [T]| {
            out.fill(T::nan());
            Ok::<(), Never>(())
        });
        let b: Mat<T> = random(n, 1, 13).cast();
        let mut x: Mat<T> = random(n, 1, 14).cast();
        let start = x.clone();
        let report = pcg(&ctx, &nan, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert_eq!((report.stop(), report.iterations(), x), (CgStop::Breakdown, 0, start));
        // a preconditioner that is NaN
        let mut x: Mat<T> = Mat::zeros(n, 1);
        let report = pcg(&ctx, &a, Some(&Trusted(nan)), b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert_eq!((report.stop(), report.iterations(), x), (CgStop::Breakdown, 0, Mat::zeros(n, 1)));
    }
}

#[test]
fn nan_and_infinity_in_arguments_break_down_column_by_column() {
    bad_inputs::<f32>();
    bad_inputs::<f64>();
}

#[test]
fn the_iteration_limit_is_kept() {
    for ctx in contexts::<f64>() {
        let a = operator(&with_spectrum(&graded(50, 1000.0), 15));
        let b = random(50, 2, 16);
        for limit in [0, 1, 7] {
            let mut x = Mat::zeros(50, 2);
            let options = CgOptions { max_iterations: limit, ..CgOptions::default() };
            let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &options).unwrap();
            assert!(report.columns().iter().all(|c| c.stop == CgStop::IterationLimit && c.iterations == limit));
            assert!(report.relative_residual() > options.relative_tolerance);
        }
    }
}

#[test]
fn the_stall_rule_stops_at_the_first_step_that_satisfies_it() {
    let n = 300;
    let a = operator(&with_spectrum(&graded(n, 1e6), 17));
    let (b, mut x) = (random(n, 1, 18), Mat::zeros(n, 1));
    let options = CgOptions { relative_tolerance: 0.0, stall: Some(StallRule::default()), ..CgOptions::default() };
    let report = pcg(&Ctx::default(), &a, None, b.as_ref(), x.as_mut(), &options).unwrap();
    let column = &report.columns()[0];
    assert_eq!(column.stop, CgStop::ModelStalled);
    let models = column.models();
    assert_eq!(models.len(), column.iterations + 1);
    // Martens 2010, section 4.4, written out
    let satisfied = |i: usize| {
        let k = usize::max(10, (0.1 * i as f64).ceil() as usize);
        i > k && models[i - k] < 0.0 && (models[i] - models[i - k]) / models[i] < k as f64 * 0.0005
    };
    assert_eq!((1..models.len()).find(|&i| satisfied(i)), Some(column.iterations));
    assert!(column.iterations > 20, "{} steps", column.iterations);
    // without the rule it goes on
    let mut x = Mat::zeros(n, 1);
    let options = CgOptions { stall: None, max_iterations: column.iterations + 50, ..options };
    let report = pcg(&Ctx::default(), &a, None, b.as_ref(), x.as_mut(), &options).unwrap();
    assert_eq!((report.stop(), report.iterations()), (CgStop::IterationLimit, options.max_iterations));
    assert!(report.columns()[0].models().is_empty());
}

#[test]
fn tolerances_are_relative_or_absolute_whichever_is_larger() {
    let a = operator(&with_spectrum(&graded(40, 100.0), 19));
    let b = random(40, 1, 20).map(|b| 1000.0 * b);
    let norm_b = b.as_slice().iter().map(|b| b * b).sum::<f64>().sqrt();
    let solve = |relative: f64, absolute: f64| {
        let options =
            CgOptions { relative_tolerance: relative, absolute_tolerance: absolute, ..CgOptions::from_zero() };
        let mut x = Mat::zeros(40, 1);
        pcg(&Ctx::default(), &a, None, b.as_ref(), x.as_mut(), &options).unwrap()
    };
    let (relative, absolute) = (solve(1e-6, 0.0), solve(0.0, 1e-6 * norm_b));
    assert_eq!(relative.iterations(), absolute.iterations());
    assert!(solve(1e-3, 1e-6 * norm_b).iterations() < relative.iterations());
    assert!(solve(1e-6, 1e-3 * norm_b).iterations() < relative.iterations());
    assert_eq!(solve(0.0, norm_b).iterations(), 0);
    assert_eq!(solve(1.0, 0.0).iterations(), 0);
}

#[test]
fn zero_right_hand_sides_give_zero_at_once() {
    for ctx in contexts::<f64>() {
        let n = 5;
        let a = operator(&with_spectrum(&graded(n, 3.0), 21));
        let b = Mat::from_fn(n, 3, |i, j| if j == 1 { i as f64 + 1.0 } else { 0.0 });
        let mut x = Mat::from_fn(n, 3, |_, j| if j == 2 { f64::NAN } else { 1.0 });
        let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        for j in [0, 2] {
            let column = &report.columns()[j];
            assert_eq!((column.stop, column.iterations, column.relative_residual), (CgStop::Converged, 0, 0.0));
            assert!(x.as_ref().col(j).iter().all(|&x| x == 0.0));
        }
        assert!(report.columns()[1].iterations > 0);
    }
    // beside a column that warm-starts, and with an operator that turns even zero into NaN
    let nan = FnOperator::new(2, |_: &[f64], out: &mut [f64]| {
        out.fill(f64::NAN);
        Ok::<(), Never>(())
    });
    let (b, mut x) = (Mat::from_fn(2, 2, |_, j| j as f64), Mat::from_fn(2, 2, |_, _| 1.0));
    let report = pcg(&Ctx::default(), &nan, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    let (zero, other) = (&report.columns()[0], &report.columns()[1]);
    assert_eq!((zero.stop, zero.model, zero.relative_residual), (CgStop::Converged, 0.0, 0.0));
    assert_eq!(other.stop, CgStop::Breakdown);
}

#[test]
fn sizes_zero_and_one() {
    for ctx in contexts::<f64>() {
        for (n, k) in [(0, 0), (0, 3), (4, 0)] {
            let a = operator(&with_spectrum(&vec![2.0; n], 22));
            let mut x = Mat::zeros(n, k);
            let m_inv = Identity::new(n);
            let b = Mat::zeros(n, k);
            let report = pcg(&ctx, &a, Some(&m_inv), b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
            assert_eq!((report.columns().len(), report.stop(), report.products()), (k, CgStop::Converged, 0));
        }
        let a = operator(&Mat::from_diagonal(&[4.0]));
        let (b, mut x) = (Mat::from_diagonal(&[-6.0]), Mat::zeros(1, 1));
        let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert_eq!((report.stop(), report.iterations(), x[(0, 0)]), (CgStop::Converged, 1, -1.5));
        assert_eq!(report.columns()[0].model, -4.5);
    }
}

#[test]
fn misuse_is_an_error() {
    let ctx = Ctx::<f64>::default();
    let a = Identity::new(3);
    let m4 = Identity::new(4);
    let run = |rows: usize, xs: (usize, usize), m: Option<&Identity>, options: &CgOptions<f64>| {
        let (b, mut x) = (Mat::zeros(rows, 2), Mat::zeros(xs.0, xs.1));
        let m = m.map(|m| m as &dyn pullback::Preconditioner<f64>);
        pcg(&ctx, &a, m, b.as_ref(), x.as_mut(), options).map(|_| ())
    };
    let fine = CgOptions::default();
    run(3, (3, 2), Some(&a), &fine).unwrap();
    for (rows, xs, m) in [(4, (4, 2), None), (3, (3, 1), None), (3, (4, 2), None), (3, (3, 2), Some(&m4))] {
        assert!(matches!(run(rows, xs, m, &fine), Err(Error::Shape { .. })), "{rows} {xs:?}");
    }
    let stall = |rule| CgOptions { stall: Some(rule), ..fine };
    for (options, wrong) in [
        (CgOptions { relative_tolerance: f64::NAN, ..fine }, "relative_tolerance"),
        (CgOptions { relative_tolerance: -1.0, ..fine }, "relative_tolerance"),
        (CgOptions { absolute_tolerance: f64::INFINITY, ..fine }, "absolute_tolerance"),
        (stall(StallRule { min_window: 0, ..StallRule::default() }), "stall.min_window"),
        (stall(StallRule { fraction: f64::NAN, ..StallRule::default() }), "stall.fraction"),
        (stall(StallRule { progress: 0.0, ..StallRule::default() }), "stall.progress"),
    ] {
        match run(3, (3, 2), None, &options) {
            Err(Error::InvalidParameter { name, .. }) => assert_eq!(name, wrong),
            other => panic!("{wrong}: {other:?}"),
        }
    }
    // an error of user code comes through
    let failing = FnOperator::new(3, |_: &[f64], _: &mut [f64]| Err(std::fmt::Error));
    let (b, mut x) = (random(3, 1, 23), Mat::zeros(3, 1));
    let result = pcg(&ctx, &failing, None, b.as_ref(), x.as_mut(), &CgOptions::from_zero());
    assert!(matches!(result, Err(Error::External(_))));
    assert_eq!(CgOptions::<f64>::from_zero().start, CgStart::Zero);
}
