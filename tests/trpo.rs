//! TRPO: the step at the radius, the acceptance rule, what a rejection leaves, the natural gradient by a dense oracle.
#![cfg(feature = "nn")]

use pullback::nn::Loss;
use pullback::optim::line_search::SearchStop;
use pullback::optim::{Objective, Optimizer, PolicyObjective, Trpo, TrpoOptions};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{Fault, LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, MatMut, MatRef, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/policies.rs"]
mod policies;
#[path = "common/resumed.rs"]
mod resumed;

use policies::*;

fn conforms<T: Scalar>() {
    let options = TrpoOptions { radius: 0.1, ..TrpoOptions::default() };
    let goal = Goal { steps: 20, share: 0.01 };
    optimizer::check(&Setup::<T>::default(), "trpo", goal, || Trpo::new(options)).assert_passed();
}

fn resumes<T: Scalar>() {
    let case = case::<T>(Loss::SoftmaxCrossEntropy, None, 30, 4);
    let batches = [case.batch.clone(), case.policy.select(&case.batch, &[0, 3, 5, 7, 11, 20]).unwrap()];
    let make = || Trpo::new(TrpoOptions::default()).unwrap();
    resumed::resumes_bitwise("trpo", make, &case.policy, &case.theta, &batches, 3);
}

/// Every accepted step raises the surrogate and stays within 1.5 δ; both are measured anew.
fn every_step_is_accepted_within_the_radius_or_taken_back<T: Scalar>() {
    let (mut accepted, mut halved) = (0, 0);
    for (loss, radius) in LOSSES.into_iter().flat_map(|l| [1e-3, 1e-2, 0.3, 3.0].map(|r| (l, r))) {
        for ctx in contexts::<T>() {
            for seed in 0..6 {
                let case = case::<T>(loss, None, 33, seed);
                let mut trpo = Trpo::new(TrpoOptions { radius, ..TrpoOptions::default() }).unwrap();
                let old = case.policy.distributions(&ctx, &case.theta, &case.batch).unwrap();
                let before = case.policy.loss(&ctx, &case.theta, &case.batch).unwrap();
                let mut theta = case.theta.clone();
                let report = trpo.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
                let (loss, divergence) =
                    case.policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &case.batch).unwrap();
                let place = format!("{}, radius {radius}: {report:?}", case.name);
                assert_eq!(report.loss_before, before, "{place}");
                if report.rejected {
                    assert!(theta == case.theta, "{place}");
                } else {
                    assert!(loss < before && divergence <= 1.5 * radius, "{divergence}: {place}");
                    assert_eq!(report.loss_after, Some(loss), "{place}");
                    accepted += 1;
                    halved += usize::from(report.alpha.unwrap() < T::ONE);
                }
            }
        }
    }
    // the rule is met from both sides
    assert!(accepted > 60 && halved > 0, "{accepted} accepted, {halved} of them halved");
}

/// s = √(2δ / xᵀFx) x: the first trial is at the radius of the quadratic model, along (F + cI)⁻¹∇h.
fn the_full_step_is_the_natural_gradient_at_the_radius<T: Scalar>() {
    for loss in LOSSES {
        let case = case::<T>(loss, None, 40, 2);
        for ctx in contexts::<T>() {
            let n = case.theta.len();
            // so many iterations that CG is exact up to its tolerance; a radius so small that s is accepted whole
            let options = TrpoOptions { radius: 1e-4, cg_iterations: 4 * n, ..TrpoOptions::default() };
            let (mut trpo, mut theta) = (Trpo::new(options).unwrap(), case.theta.clone());
            let report = trpo.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
            assert_eq!((report.rejected, report.alpha), (false, Some(T::ONE)), "{report:?}");
            let s: Vec<T> = theta.iter().zip(&case.theta).map(|(&new, &old)| new - old).collect();
            let fisher = case.policy.fisher(&ctx, &case.theta, &case.batch).unwrap();
            let mut fs = vec![T::ZERO; n];
            fisher.apply(&ctx, MatRef::from_column(&s), MatMut::from_column(&mut fs)).unwrap();
            let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum::<f64>();
            let half = 0.5 * dot(&s, &fs);
            // θ + s rounds s, which is some hundredth of θ
            let tol = 100.0 * tolerance::<T>(n, 1.0);
            assert!((half / 1e-4 - 1.0).abs() <= tol, "{}: ½ sᵀFs = {half:e}", case.name);
            // (F + cI) s is parallel to -∇h
            let mut gradient = vec![T::ZERO; n];
            case.policy.loss_grad(&ctx, &case.theta, &case.batch, &mut gradient).unwrap();
            let image: Vec<T> = fs.iter().zip(&s).map(|(&f, &s)| f + T::of(0.1) * s).collect();
            let cosine = -dot(&image, &gradient) / (dot(&image, &image) * dot(&gradient, &gradient)).sqrt();
            // CG's tolerance of 1e-5 for the residual is relative to ‖∇h‖ here
            let relative = 1e-5 / dot(&gradient, &gradient).sqrt();
            assert!(1.0 - cosine <= relative.powi(2) + tol, "{}: cosine {cosine}", case.name);
        }
    }
}

/// On a quadratic whose step is far within the minimum, the first trial is taken and ρ is near 1.
fn rho_is_near_one_for_small_radii<T: Scalar>() {
    let (h, batch) = (LeastSquares::<T>::new(2, 4, T::ZERO), Regression::random(2, 4, 50, 3));
    for ctx in contexts::<T>() {
        let mut theta = gallery::uniform::<T>(8, 1, 5).into_vec();
        let options = TrpoOptions { radius: 1e-6, ..TrpoOptions::default() };
        let report = Trpo::new(options).unwrap().step(&ctx, &h, &mut theta, &batch).unwrap();
        // the linear model leaves out ½ sᵀGs = δ, a thousandth of the slope, and the loss rounds
        let slope = -report.predicted_change.unwrap().f64();
        let tol = 2e-6 / slope + tolerance::<T>(50, 1.0) * report.loss_before.f64() / slope;
        assert!((report.rho.unwrap().f64() - 1.0).abs() <= tol, "{report:?}");
    }
}

/// Where every point is worse, ten halvings are tried, and θ keeps its bits.
fn a_rejected_step_leaves_theta<T: Scalar>() {
    let batch = Regression::<T>::random(3, 5, 40, 1);
    let start = gallery::uniform::<T>(15, 1, 2).into_vec();
    for ctx in contexts::<T>() {
        let cliff = LeastSquares::<T>::new(3, 5, T::of(0.01)).with_fault(Fault::Cliff(start.clone()));
        let (mut theta, mut trpo) = (start.clone(), Trpo::new(TrpoOptions::default()).unwrap());
        let report = trpo.step(&ctx, &cliff, &mut theta, &batch).unwrap();
        let search = report.search.unwrap();
        assert_eq!((report.rejected, search.evaluations, search.stop), (true, 11, SearchStop::EvaluationLimit));
        assert_eq!((search.alpha, report.loss_after), (0.0, None));
        assert!(theta == start);
    }
}

/// A divergence above 1.5 δ rejects a point whose surrogate is fine: with a slack of 1 and no halving, some steps of a large
/// radius go, which the slack of 100 lets pass.
#[test]
fn the_divergence_alone_can_reject() {
    let ctx = Ctx::<f64>::reference();
    let rejected = |slack: f64| {
        let options = TrpoOptions { radius: 1.0, backtracks: 0, slack, ..TrpoOptions::default() };
        let step = |seed: u64| {
            let case = case::<f64>(Loss::SoftmaxCrossEntropy, None, 40, seed);
            let mut theta = case.theta.clone();
            Trpo::new(options).unwrap().step(&ctx, &case.policy, &mut theta, &case.batch).unwrap().rejected
        };
        (0..20).filter(|&seed| step(seed)).count()
    };
    let (tight, loose) = (rejected(1.0), rejected(100.0));
    assert!(tight > loose, "{tight} {loose}");
}

#[test]
fn options_outside_their_domain_are_refused() {
    let base = TrpoOptions::default();
    for options in [
        TrpoOptions { radius: 0.0, ..base },
        TrpoOptions { radius: f64::NAN, ..base },
        TrpoOptions { damping: -1.0, ..base },
        TrpoOptions { cg_iterations: 0, ..base },
        TrpoOptions { cg_tolerance: f64::INFINITY, ..base },
        TrpoOptions { slack: 0.5, ..base },
    ] {
        assert!(matches!(Trpo::new(options), Err(Error::InvalidParameter { .. })), "{options:?}");
    }
    assert_eq!(Trpo::new(base).unwrap().options(), &base);
}

for_both!(
    conforms,
    resumes,
    every_step_is_accepted_within_the_radius_or_taken_back,
    the_full_step_is_the_natural_gradient_at_the_radius,
    rho_is_near_one_for_small_radii,
    a_rejected_step_leaves_theta,
);
