//! The K-FAC optimizer: its step against the dense quadratic model, its damping rule, its refusals.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;

use nets::{Problem, Spec, dense_ggn, problem};
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::factor::Cholesky;
use pullback::nn::{Activation, Loss, Reduction, Workspace};
use pullback::optim::{
    CurvatureClip, DampingAdaptation, FisherKind, GammaRule, Kfac, KfacOptions, ModelDamping, Objective, Optimizer,
    Rejection, StepRule,
};
use pullback::stats::Decay;
use pullback::testing::tolerance;
use pullback::{Ctx, Error, MatMut, Op};

type Optim = Kfac<f64, Workspace<f64>>;

fn net(loss: Loss, seed: u64) -> Problem {
    let spec =
        Spec { widths: vec![4, 5, 3], activation: Activation::Tanh, loss, reduction: Reduction::Mean, cases: 60 };
    problem(&spec, seed)
}

fn adaptation(interval: u64, model: ModelDamping) -> Option<DampingAdaptation> {
    Some(DampingAdaptation { interval, omega: 0.5, min: 1e-16, max: 1e12, model })
}

fn both() -> [KroneckerDamping<f64>; 2] {
    [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }]
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn gradient(ctx: &Ctx<f64>, p: &Problem) -> Vec<f64> {
    let mut grad = vec![0.0; p.theta.len()];
    p.net.loss_grad(ctx, &p.theta, &p.batch, &mut grad).unwrap();
    grad
}

/// (G + λI) δ + ∇h at θ, dense.
fn model_gradient(ctx: &Ctx<f64>, p: &Problem, lambda: f64, delta: &[f64]) -> Vec<f64> {
    let mut out = gradient(ctx, p);
    ctx.gemv(1.0, dense_ggn(ctx, p).as_ref(), Op::No, delta, 1.0, &mut out).unwrap();
    out.iter_mut().zip(delta).for_each(|(o, d)| *o += lambda * d);
    out
}

#[test]
fn alpha_and_momentum_minimize_the_dense_quadratic_model_over_their_span() {
    let ctx = Ctx::default();
    for damping in both() {
        for loss in [Loss::SquaredError, Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy] {
            let mut p = net(loss, 7);
            let options = KfacOptions { lambda: 0.1, adaptation: None, damping, ..KfacOptions::default() };
            let mut kfac: Optim = Kfac::new(options).unwrap();
            let mut previous = vec![0.0; p.theta.len()];
            for step in 0..5 {
                let before = p.theta.clone();
                let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
                let delta = kfac.last_update().unwrap().to_vec();
                let moved = Problem { theta: before, ..p };
                let residual = model_gradient(&ctx, &moved, 0.1, &delta);
                let scale = dot(&gradient(&ctx, &moved), &delta).abs();
                let tol = tolerance::<f64>(moved.theta.len(), 100.0) * scale;
                // optimality over span{d, δ₀}, which holds δ and δ₀
                assert!(dot(&residual, &delta).abs() <= tol, "step {step}: {:e}", dot(&residual, &delta));
                assert!(dot(&residual, &previous).abs() <= tol * 10.0, "step {step} {loss:?}");
                // M(δ) = ½ ∇hᵀδ, and below zero: a descent direction
                let predicted = report.predicted_change.unwrap();
                assert!((predicted - 0.5 * dot(&gradient(&ctx, &moved), &delta)).abs() <= tol);
                assert!(predicted < 0.0);
                assert_eq!(report.momentum == Some(0.0), step == 0);
                let passes = if step == 0 { 1 } else { 2 };
                assert_eq!((report.passes.forward, report.passes.backward, report.passes.jvp), (1, 2, passes));
                previous = delta;
                p = Problem { theta: p.theta, ..moved };
            }
        }
    }
}

#[test]
fn a_linear_least_squares_problem_is_solved_in_one_step() {
    // one linear layer and squared error: A ⊗ S is the Hessian, so K-FAC is Newton
    let spec = Spec {
        widths: vec![4, 3],
        activation: Activation::Identity,
        loss: Loss::SquaredError,
        reduction: Reduction::Mean,
        cases: 50,
    };
    let ctx = Ctx::default();
    for damping in both() {
        let mut p = problem(&spec, 1);
        let options = KfacOptions {
            lambda: 1e-14,
            adaptation: adaptation(1, ModelDamping::Excluded),
            damping,
            fisher: FisherKind::Exact,
            ..KfacOptions::default()
        };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        let rest = gradient(&ctx, &p);
        let tol = tolerance::<f64>(50, 1e3);
        // √λ = 1e-7 enters the factored inverse to first order, the exact one as λ
        let bias = if damping == KroneckerDamping::Exact { 1e-13 } else { 1e-6 };
        assert!(dot(&rest, &rest).sqrt() <= tol + bias, "{damping:?}: {:e}", dot(&rest, &rest).sqrt());
        assert!((report.rho.unwrap() - 1.0).abs() <= tol + bias);
    }
}

#[test]
fn rho_tends_to_two_with_lambda_in_the_model_and_to_one_without() {
    let ctx = Ctx::default();
    for (model, limit) in [(ModelDamping::Included, 2.0), (ModelDamping::Excluded, 1.0)] {
        let mut p = net(Loss::SquaredError, 2);
        // the factored inverse reaches the limit as 1/√λ only
        let damping = KroneckerDamping::Exact;
        let options = KfacOptions { lambda: 1e6, adaptation: adaptation(1, model), damping, ..KfacOptions::default() };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        let g = gradient(&ctx, &p);
        let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        // the loss changes by 1e-6 of itself: half of the digits are left
        assert!((report.rho.unwrap() - limit).abs() < 1e-4, "{model:?}: {:?}", report.rho);
        let delta = kfac.last_update().unwrap();
        assert!(delta.iter().zip(&g).all(|(d, g)| (d * 1e6 + g).abs() <= 1e-4 * (1.0 + g.abs())));
        // conservative steps lower λ
        assert_eq!(kfac.lambda(), 0.5e6);
    }
}

fn huge_steps(rejection: Rejection) -> KfacOptions<f64> {
    KfacOptions {
        lambda: 1e-3,
        adaptation: adaptation(1000, ModelDamping::Included),
        step: StepRule::Fixed { learning_rate: 1e6, momentum: 0.5, norm_constraint: None },
        rejection,
        ..KfacOptions::default()
    }
}

#[test]
fn a_step_that_raises_the_loss_is_taken_back_bit_for_bit() {
    let ctx = Ctx::default();
    let mut p = net(Loss::SquaredError, 3);
    let start = p.theta.clone();
    let mut kfac: Optim = Kfac::new(huge_steps(Rejection::EveryStep)).unwrap();
    let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
    assert!(report.rejected && report.loss_after.unwrap() > report.loss_before);
    assert_eq!(p.theta, start);
    assert_eq!(kfac.lambda(), 2e-3);
    assert!(kfac.last_update().unwrap().iter().all(|&u| u == 0.0), "the momentum restarts from zero");
    // the control: without rejection the same step is kept
    let mut kfac: Optim = Kfac::new(huge_steps(Rejection::Never)).unwrap();
    let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
    assert!(!report.rejected);
    assert_ne!(p.theta, start);
}

#[test]
fn a_loss_that_is_not_finite_takes_the_unmeasured_step_back() {
    let ctx = Ctx::default();
    let mut p = net(Loss::SquaredError, 3);
    let start = p.theta.clone();
    let mut options = huge_steps(Rejection::WhenMeasured);
    options.step = StepRule::Fixed { learning_rate: 1e200, momentum: 0.0, norm_constraint: None };
    let mut kfac: Optim = Kfac::new(options).unwrap();
    assert!(!kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap().rejected);
    assert_ne!(p.theta, start);
    let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
    assert!(report.rejected && !report.loss_before.is_finite());
    assert_eq!(p.theta, start);
}

#[test]
fn parameters_that_are_not_finite_are_an_error_that_moves_nothing() {
    let ctx = Ctx::default();
    let mut p = net(Loss::SquaredError, 3);
    p.theta[2] = f64::NAN;
    let before: Vec<u64> = p.theta.iter().map(|w| w.to_bits()).collect();
    let mut kfac: Optim = Kfac::new(KfacOptions::default()).unwrap();
    let error = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error:?}");
    assert_eq!(p.theta.iter().map(|w| w.to_bits()).collect::<Vec<_>>(), before);
    let error = kfac.step(&ctx, &p.net, &mut [0.0; 3], &p.batch).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }));
}

#[test]
fn the_norm_constraint_bounds_the_predicted_change() {
    let ctx = Ctx::default();
    for c in [1e-4, 1e-2, 1e9] {
        let mut p = net(Loss::SquaredError, 4);
        let g = gradient(&ctx, &p);
        let (learning_rate, lambda) = (0.5, 1e-3);
        let options = KfacOptions {
            lambda,
            adaptation: None,
            step: StepRule::Fixed { learning_rate, momentum: 0.0, norm_constraint: Some(c) },
            rejection: Rejection::Never,
            ..KfacOptions::default()
        };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        // δ = -α U and gᵀU > 0, so α² gᵀU = -α gᵀδ
        let alpha = report.alpha.unwrap();
        let size = -alpha * dot(&g, kfac.last_update().unwrap());
        assert!(size <= c * (1.0 + tolerance::<f64>(40, 1.0)), "{c}: {size}");
        assert_eq!(alpha < learning_rate, c < 1.0);
        // α by the clip of the form α² gᵀU
        let form = learning_rate * learning_rate * size / (alpha * alpha);
        let expected = learning_rate * CurvatureClip::new(c).unwrap().factor(form).unwrap();
        assert!((alpha - expected).abs() <= tolerance::<f64>(40, 1.0) * expected, "{c}: {alpha}, {expected}");
    }
}

#[test]
fn the_gamma_search_keeps_the_best_of_three() {
    let ctx = Ctx::default();
    for damping in both() {
        let run = |gamma| {
            let mut p = net(Loss::SquaredError, 5);
            let options = KfacOptions { lambda: 0.05, adaptation: None, gamma, damping, ..KfacOptions::default() };
            let mut kfac: Optim = Kfac::new(options).unwrap();
            kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
            // T₂ = 1: the second step searches
            kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap()
        };
        let fixed = run(GammaRule::FollowLambda);
        let searched = run(GammaRule::Search { interval: 1, omega: 0.5, max: 1.0 });
        assert!(searched.predicted_change < fixed.predicted_change, "{damping:?}");
        let (old, new) = (fixed.preconditioner_damping.unwrap(), searched.preconditioner_damping.unwrap());
        let ratio = (new / old).sqrt();
        assert!([0.5, 2.0].iter().any(|r| (ratio - r).abs() <= tolerance::<f64>(4, 1.0)), "{ratio}");
    }
}

#[test]
fn equal_seeds_give_equal_bits_and_other_seeds_do_not() {
    let run = |threads: usize, seed: u64| {
        let ctx = Ctx::default().with_threads(threads);
        let mut p = net(Loss::BernoulliCrossEntropy, 6);
        let mut kfac: Optim = Kfac::new(KfacOptions { seed, ..KfacOptions::default() }).unwrap();
        (0..8).for_each(|_| {
            kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        });
        p.theta
    };
    for threads in [1, 2] {
        assert_eq!(run(threads, 1), run(threads, 1));
    }
    assert_ne!(run(1, 1), run(1, 2));
    let (one, two) = (run(1, 1), run(2, 1));
    let distance = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // eight damped steps at condition about 1e3
    assert!(distance <= tolerance::<f64>(60 * 8, 1e3), "{distance:e}");
}

#[test]
fn statistics_from_a_large_batch_are_the_first_step_s_curvature() {
    // with as many extra estimates as one can wish the first direction no longer depends on the first step's sample
    let ctx = Ctx::default();
    let exact = |kind, estimates| {
        let mut p = net(Loss::SquaredError, 8);
        let options = KfacOptions {
            adaptation: None,
            fisher: kind,
            decay: Decay::new(0.9999).unwrap(),
            ..KfacOptions::default()
        };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        for _ in 0..estimates {
            kfac.estimate_statistics(&ctx, &p.net, &p.theta, &p.batch).unwrap();
        }
        kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        kfac.last_update().unwrap().to_vec()
    };
    let target = exact(FisherKind::Exact, 0);
    let distance = |x: &[f64]| {
        let difference: Vec<f64> = x.iter().zip(&target).map(|(x, t)| x - t).collect();
        (dot(&difference, &difference) / dot(&target, &target)).sqrt()
    };
    let (few, many) = (distance(&exact(FisherKind::MonteCarlo, 0)), distance(&exact(FisherKind::MonteCarlo, 400)));
    assert!(many < 0.25 * few, "{few} {many}");
}

#[test]
fn the_iterate_average_is_the_mean_of_what_was_seen() {
    let ctx = Ctx::default();
    let mut p = net(Loss::SquaredError, 9);
    let options = KfacOptions { averaging: Some((Decay::new(0.99).unwrap(), 2)), ..KfacOptions::default() };
    let mut kfac: Optim = Kfac::new(options).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
        seen.push(p.theta.clone());
    }
    let average = kfac.averaged().unwrap();
    for (i, mean) in average.iter().enumerate() {
        let expected = seen[1..].iter().map(|t| t[i]).sum::<f64>() / 3.0;
        assert!((mean - expected).abs() <= tolerance::<f64>(4, 1.0) * (1.0 + expected.abs()));
    }
}

#[test]
fn an_undamped_dense_solve_agrees_with_the_exact_blocks_on_one_layer() {
    // ties the optimizer to the dense oracle: one logistic-regression layer on one case is exact for K-FAC
    let spec = Spec {
        widths: vec![3, 2],
        activation: Activation::Identity,
        loss: Loss::BernoulliCrossEntropy,
        reduction: Reduction::Mean,
        cases: 1,
    };
    let ctx = Ctx::default();
    let mut p = problem(&spec, 10);
    let lambda = 0.01;
    let options = KfacOptions {
        lambda,
        adaptation: None,
        damping: KroneckerDamping::Exact,
        fisher: FisherKind::Exact,
        step: StepRule::Fixed { learning_rate: 1.0, momentum: 0.0, norm_constraint: None },
        rejection: Rejection::Never,
        ..KfacOptions::default()
    };
    let mut expected: Vec<f64> = gradient(&ctx, &p).iter().map(|g| -g).collect();
    let mut damped = dense_ggn(&ctx, &p);
    (0..damped.nrows()).for_each(|i| damped[(i, i)] += lambda);
    Cholesky::new(&ctx, damped).unwrap().solve_in_place(&ctx, MatMut::from_column(&mut expected)).unwrap();
    let mut kfac: Optim = Kfac::new(options).unwrap();
    kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
    let delta = kfac.last_update().unwrap();
    let tol = tolerance::<f64>(8, 1.0 / lambda);
    assert!(delta.iter().zip(&expected).all(|(d, e)| (d - e).abs() <= tol), "{delta:?} {expected:?}");
}

#[test]
fn options_outside_their_domain_are_named() {
    let name = |options: KfacOptions<f64>| match Kfac::<f64, Workspace<f64>>::new(options) {
        Err(Error::InvalidParameter { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let base = KfacOptions::<f64>::default;
    assert_eq!(name(KfacOptions { lambda: 0.0, ..base() }), "damping");
    assert_eq!(name(KfacOptions { refresh_interval: 0, ..base() }), "refresh_interval");
    assert_eq!(name(KfacOptions { statistics_interval: 0, ..base() }), "statistics_interval");
    assert_eq!(name(KfacOptions { statistics_cases: Some(0), ..base() }), "statistics_cases");
    assert_eq!(
        name(KfacOptions { adaptation: adaptation(0, ModelDamping::Included), ..base() }),
        "adaptation.interval"
    );
    let gamma = GammaRule::Search { interval: 20, omega: 1.0, max: 1.0 };
    assert_eq!(name(KfacOptions { gamma, ..base() }), "gamma omega");
    let step = StepRule::Fixed { learning_rate: 0.1, momentum: 1.0, norm_constraint: None };
    assert_eq!(name(KfacOptions { step, ..base() }), "momentum");
}
