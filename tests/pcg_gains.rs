//! What conjugate gradient offers beside the solution: iterates kept, decayed starts, its coefficients, a step along
//! negative curvature; its bound against the condition number, Martens' stop as a golden sequence.

mod cg_support;
#[macro_use]
#[path = "common/for_both.rs"]
mod for_both;

use cg_support::*;
use pullback::curvature::{Curvature, Damping, Diagonal};
use pullback::krylov::{
    CgOptions, CgReport, CgStart, CgStop, KeepIterates, NegativeCurvature, StallRule, largest_ritz_value, pcg,
};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Error, Mat, Preconditioner, Scalar};

fn solve<T: Scalar>(ctx: &Ctx<T>, a: &Mat<f64>, b: &Mat<T>, x: &mut Mat<T>, options: &CgOptions<T>) -> CgReport<T> {
    pcg(ctx, &operator::<T>(a), None, b.as_ref(), x.as_mut(), options).expect("valid arguments")
}

#[test]
fn the_sequence_of_kept_iterates_is_that_of_the_published_code() {
    let martens = KeepIterates::martens();
    let kept: Vec<usize> = (0..=200).filter(|&j| martens.keeps(j)).collect();
    assert_eq!(kept, [5, 7, 9, 11, 15, 19, 25, 32, 41, 54, 69, 90, 117, 152, 197]);
    assert!((0..50).all(|j| !KeepIterates::None.keeps(j)));
    // steps of less than one keep every iterate once, and are found at once
    assert!((5..50).all(|j| KeepIterates::Geometric { first: 5.0, ratio: 1.0 + 1e-9 }.keeps(j)));
    assert!((1..50).all(|j| KeepIterates::Geometric { first: 1.0, ratio: 1.01 }.keeps(j)));
}

fn kept_iterates<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 129;
        let a = with_spectrum(&graded(n, 1e4), 3);
        let b: Mat<T> = random(n, 2, 4).cast();
        let full = CgOptions {
            keep: KeepIterates::martens(),
            relative_tolerance: T::ZERO,
            max_iterations: 30,
            ..CgOptions::from_zero()
        };
        let mut x = Mat::zeros(n, 2);
        let report = solve(&ctx, &a, &b, &mut x, &full);
        for (j, column) in report.columns().iter().enumerate() {
            let at: Vec<usize> = column.kept().iter().map(|kept| kept.iteration).collect();
            assert_eq!(at, [5, 7, 9, 11, 15, 19, 25, 30]);
            for kept in column.kept() {
                let mut cut = Mat::zeros(n, 2);
                let shorter = CgOptions { max_iterations: kept.iteration, keep: KeepIterates::None, ..full };
                let expected = solve(&ctx, &a, &b, &mut cut, &shorter);
                assert_eq!(kept.x, cut.as_ref().col(j), "iterate {}", kept.iteration);
                assert_eq!(kept.model, expected.columns()[j].model);
                assert!(expected.columns()[j].kept().is_empty());
            }
            let models: Vec<f64> = column.kept().iter().map(|kept| kept.model).collect();
            assert!(models.windows(2).all(|pair| pair[1] < pair[0]), "the model falls: {models:?}");
        }
    }
}

fn decayed_starts<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 33;
        let a = with_spectrum(&graded(n, 50.0), 5);
        let (b, given): (Mat<T>, Mat<T>) = (random(n, 2, 6).cast(), random(n, 2, 7).cast());
        let decay = T::of(0.95);
        let few = CgOptions { max_iterations: 3, relative_tolerance: T::ZERO, ..CgOptions::default() };
        let mut decayed = given.clone();
        solve(&ctx, &a, &b, &mut decayed, &CgOptions { start: CgStart::Decayed(decay), ..few });
        let mut by_hand = given.map(|x| decay * x);
        solve(&ctx, &a, &b, &mut by_hand, &few);
        assert_eq!(decayed, by_hand);
        let mut zero = given.clone();
        solve(&ctx, &a, &b, &mut zero, &CgOptions { start: CgStart::Decayed(T::ZERO), ..few });
        let mut cold = given.clone();
        solve(&ctx, &a, &b, &mut cold, &CgOptions { start: CgStart::Zero, ..few });
        assert_eq!(zero, cold);
    }
}

fn coefficients<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (n, kappa) = (64, 40.0);
        let a = with_spectrum(&graded(n, kappa), 8);
        let b: Mat<T> = random(n, 1, 9).cast();
        let options = CgOptions { coefficients: true, ..CgOptions::from_zero() };
        let (mut x, mut plain) = (Mat::zeros(n, 1), Mat::zeros(n, 1));
        let report = solve(&ctx, &a, &b, &mut x, &options);
        let without = solve(&ctx, &a, &b, &mut plain, &CgOptions::from_zero());
        assert_eq!(x, plain);
        assert!(without.columns()[0].lanczos().is_none());
        let lanczos = report.columns()[0].lanczos().expect("asked for");
        assert_eq!((lanczos.steps(), lanczos.betas()[0]), (report.iterations(), 0.0));
        let values = lanczos.ritz_values(&ctx).unwrap();
        let slack = tolerance::<T>(n, kappa) * kappa;
        assert!(values[0] >= 1.0 - slack && values[values.len() - 1] <= kappa + slack, "{values:?}");
        // after so many steps the ends are found: within a tenth, by the number of iterations
        let condition = lanczos.condition_estimate(&ctx).unwrap().expect("definite");
        assert!(condition <= kappa * (1.0 + slack) && condition >= 0.9 * kappa, "{condition}");
        let other = largest_ritz_value(&ctx, &operator::<T>(&a), lanczos.steps(), 1).unwrap().value;
        assert!((values[values.len() - 1] / other - 1.0).abs() <= 0.05, "{other}");
    }
}

fn coefficients_of_few_distinct_eigenvalues<T: Scalar>() {
    for ctx in contexts::<T>() {
        for preconditioned in [false, true] {
            let (n, distinct) = (31, 3);
            // M⁻¹A has the eigenvalues 1, 2, 3 (of A itself without M)
            let d: Vec<f64> = (0..n).map(|i| if preconditioned { 1.0 + (i % 7) as f64 } else { 1.0 }).collect();
            let a = Mat::from_diagonal(&(0..n).map(|i| d[i] * (1 + i % distinct) as f64).collect::<Vec<_>>());
            let m = Diagonal::new(d.iter().map(|&d| T::of(d)).collect()).unwrap();
            let tiny = Damping::new(T::of(f64::from(f32::MIN_POSITIVE))).unwrap();
            let m = m.damped(&ctx, tiny).unwrap();
            let b: Mat<T> = random(n, 1, 10).cast();
            let mut x = Mat::zeros(n, 1);
            let options = CgOptions { coefficients: true, max_iterations: distinct, ..CgOptions::from_zero() };
            let m_inv = preconditioned.then_some(&m as &dyn Preconditioner<T>);
            let report = pcg(&ctx, &operator::<T>(&a), m_inv, b.as_ref(), x.as_mut(), &options).unwrap();
            let values = report.columns()[0].lanczos().unwrap().ritz_values(&ctx).unwrap();
            assert_eq!(values.len(), distinct);
            for (i, value) in values.iter().enumerate() {
                assert!((value - (i + 1) as f64).abs() <= tolerance::<T>(n, 10.0), "{values:?}");
            }
        }
    }
}

/// ‖x_k - x‖_A <= 2 ((√κ - 1)/(√κ + 1))^k ‖x_0 - x‖_A
fn the_bound_of_the_condition_number<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, kappa) in [(33, 10.0), (65, 100.0), (128, 1000.0)] {
            let a = with_spectrum(&graded(n, kappa), 11);
            let b: Mat<T> = random(n, 1, 12).cast();
            let exact = dense_solve(&a, &b.cast());
            let energy = |x: &Mat<f64>| {
                let e = Mat::from_fn(n, 1, |i, _| x[(i, 0)] - exact[(i, 0)]);
                let ae = product(&a, &e);
                (0..n).map(|i| e[(i, 0)] * ae[(i, 0)]).sum::<f64>().max(0.0).sqrt()
            };
            let every = KeepIterates::Geometric { first: 1.0, ratio: 1.01 };
            let options = CgOptions { keep: every, ..CgOptions::from_zero() };
            let mut x = Mat::zeros(n, 1);
            let report = solve(&ctx, &a, &b, &mut x, &options);
            let start = energy(&Mat::zeros(n, 1));
            let rate = (kappa.sqrt() - 1.0) / (kappa.sqrt() + 1.0);
            assert!(report.columns()[0].kept().len() > 10);
            for kept in report.columns()[0].kept() {
                let x = Mat::from_fn(n, 1, |i, _| kept.x[i].f64());
                let bound = 2.0 * rate.powi(kept.iteration as i32) * start;
                let slack = tolerance::<T>(n, kappa) * start;
                assert!(energy(&x) <= bound + slack, "{} above {bound} at {}", energy(&x), kept.iteration);
            }
        }
    }
}

fn negative_curvature_is_followed<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 17;
        let b: Mat<T> = random(n, 1, 13).cast();
        let follow = CgOptions { negative_curvature: NegativeCurvature::FollowDirection, ..CgOptions::from_zero() };
        // at the first direction: x = b, φ = ½ bᵀA b - bᵀb
        let a = with_spectrum(&graded(n, 5.0).iter().map(|w| -w).collect::<Vec<_>>(), 14);
        let mut x = Mat::zeros(n, 1);
        let report = solve(&ctx, &a, &b, &mut x, &follow);
        let column = &report.columns()[0];
        assert_eq!((column.stop, column.iterations), (CgStop::NonPositiveCurvature, 1));
        assert!(column.negative_curvature().is_some());
        assert!(relative_error(x.as_ref(), b.as_ref()) <= tolerance::<T>(1, 1.0));
        let model = dense_model(&a, &b.cast(), &x.cast(), 0);
        assert!((column.model - model).abs() <= tolerance::<T>(n, 5.0) * model.abs());
        let squares: f64 = b.as_slice().iter().map(|b| b.f64().powi(2)).sum();
        assert!(column.model <= -squares * (1.0 - tolerance::<T>(n, 1.0)), "φ falls by at least rᵀp");
        let residual = report.relative_residual();
        let true_one = product(&a, &x.cast());
        let size = |f: &dyn Fn(usize) -> f64| (0..n).map(|i| f(i).powi(2)).sum::<f64>().sqrt();
        let expected = size(&|i| b[(i, 0)].f64() - true_one[(i, 0)]) / size(&|i| b[(i, 0)].f64());
        assert!((residual - expected).abs() <= tolerance::<T>(n, 5.0) * expected);
        // later: as without the policy
        let mut spectrum = graded(n, 10.0);
        spectrum[0] = -0.01;
        let a = with_spectrum(&spectrum, 15);
        let (mut x, mut stopped) = (Mat::zeros(n, 1), Mat::zeros(n, 1));
        let tight = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 1.0)), ..follow };
        let report = solve(&ctx, &a, &b, &mut x, &tight);
        let stop = NegativeCurvature::Stop;
        solve(&ctx, &a, &b, &mut stopped, &CgOptions { negative_curvature: stop, ..tight });
        assert!(report.stop() == CgStop::NonPositiveCurvature && report.iterations() > 1);
        assert_eq!(x, stopped);
    }
}

for_both!(
    kept_iterates,
    decayed_starts,
    coefficients,
    coefficients_of_few_distinct_eigenvalues,
    the_bound_of_the_condition_number,
    negative_curvature_is_followed,
);

/// φ_j = -1 + q^j: with k = max(10, ⌈0.1 j⌉), the relative progress of k steps falls below 5e-4 k first at a step that
/// can be counted by hand.
#[test]
fn martens_stop_on_a_golden_sequence() {
    let first = |ratio: f64| {
        let models: Vec<f64> = (0..1000).map(|j| ratio.powi(j) - 1.0).collect();
        (1..models.len()).find(|&j| StallRule::default().stalled(&models[..=j]))
    };
    // (q^(j-10) - q^j)/(1 - q^j) < 0.005: 0.5^(j-10) (1 - 2^-10) < 0.005 (1 - 2^-j), so j - 10 = 8
    assert_eq!(first(0.5), Some(18));
    // 0.9^(j-10) (1 - 0.9^10) < 0.005 (1 - 0.9^j): 0.9^(j-10) < 0.00767, j - 10 = 47
    assert_eq!(first(0.9), Some(57));
    // beyond j = 100 the window grows: at 320, k = 32 and 0.99^288 (1 - 0.99^32) = 0.0152 < 0.016 (1 - 0.99^320)
    assert_eq!(first(0.99), Some(320));
    // the model must be negative where the window starts
    assert!(!StallRule::default().stalled(&[1.0; 30]) && StallRule::default().stalled(&[-1.0; 12]));
    assert!(!StallRule::default().stalled(&[-1.0; 11]), "j > k");
}

#[test]
fn options_outside_their_domain_are_named() {
    let fine = CgOptions::<f64>::default();
    let keep = |first, ratio| CgOptions { keep: KeepIterates::Geometric { first, ratio }, ..fine };
    for (options, wrong) in [
        (CgOptions { start: CgStart::Decayed(f64::NAN), ..fine }, "start"),
        (keep(0.5, 1.3), "keep.first"),
        (keep(f64::NAN, 1.3), "keep.first"),
        (keep(5.0, 1.0), "keep.ratio"),
        (keep(5.0, f64::INFINITY), "keep.ratio"),
    ] {
        match options.check() {
            Err(Error::InvalidParameter { name, .. }) => assert_eq!(name, wrong),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}
