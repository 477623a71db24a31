//! ACKTR: the clip of its step size, the momentum's average of clipped steps, cold steps, exact blocks.
#![cfg(feature = "nn")]

use pullback::nn::{Activation, Init, Loss, Mlp, Policy, Workspace};
use pullback::optim::{
    Acktr, AcktrOptions, CaptureSink, Divergence, FisherKind, KfacPreconditioner, LayeredObjective, Objective,
    Optimizer, PolicyObjective, PreconditionerOptions,
};
use pullback::stats::Decay;
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{Setup, contexts, tolerance};
use pullback::{Ctx, Damping, Error, LinearOperator, MatMut, MatRef, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/policies.rs"]
mod policies;
#[path = "common/resumed.rs"]
mod resumed;

use policies::*;

type Optim<T> = Acktr<T, Workspace<T>>;

fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum()
}

fn conforms<T: Scalar>() {
    let options = AcktrOptions { radius: 0.1, cold_steps: 2, fisher: FisherKind::Exact, ..AcktrOptions::default() };
    let goal = Goal { steps: 60, share: 0.05 };
    optimizer::check(&Setup::<T>::default(), "acktr", goal, || Acktr::new(options)).assert_passed();
}

fn resumes<T: Scalar>() {
    let case = case::<T>(Loss::SoftmaxCrossEntropy, None, 30, 4);
    let batches = [case.batch.clone(), case.policy.select(&case.batch, &[0, 3, 5, 7, 11, 20]).unwrap()];
    for (cold_steps, refresh_interval) in [(0, 1), (2, 3), (9, 1)] {
        let make = || Acktr::new(AcktrOptions { cold_steps, refresh_interval, ..AcktrOptions::default() }).unwrap();
        resumed::resumes_bitwise("acktr", make, &case.policy, &case.theta, &batches, 4);
    }
}

/// η = min(η_max, √(2δ / q)) with q = ∇hᵀΔ or ΔᵀFΔ, from Δ as the optimizer holds it.
fn the_step_size_is_clipped_to_the_radius<T: Scalar>() {
    for (loss, divergence) in LOSSES.into_iter().flat_map(|l| [Divergence::Damped, Divergence::Exact].map(|d| (l, d))) {
        let case = case::<T>(loss, None, 33, 7);
        for (ctx, radius) in contexts::<T>().iter().flat_map(|c| [1e-6, 1e-3, 1e9].map(|r| (c, r))) {
            let options = AcktrOptions { radius, divergence, cold_steps: 0, ..AcktrOptions::default() };
            let (mut acktr, mut theta) = (Optim::<T>::new(options).unwrap(), case.theta.clone());
            let report = acktr.step(ctx, &case.policy, &mut theta, &case.batch).unwrap();
            let delta = acktr.direction().unwrap();
            let n = delta.len();
            let (mut gradient, mut image) = (vec![T::ZERO; n], vec![T::ZERO; n]);
            case.policy.loss_grad(ctx, &case.theta, &case.batch, &mut gradient).unwrap();
            let fisher = case.policy.fisher(ctx, &case.theta, &case.batch).unwrap();
            fisher.apply(ctx, MatRef::from_column(delta), MatMut::from_column(&mut image)).unwrap();
            let exact = dot(delta, &image);
            let q = if divergence == Divergence::Exact { exact } else { dot(&gradient, delta) };
            let expected = (2.0 * radius / q).sqrt().min(0.25);
            let eta = report.alpha.unwrap().f64();
            let tol = 10.0 * tolerance::<T>(n, 1.0);
            assert!((eta / expected - 1.0).abs() <= tol, "{}, {divergence:?}: {eta} {expected}", case.name);
            // clipped for the small radii, not for the large one
            assert_eq!(eta < 0.2499, radius < 1.0, "{}: {eta}", case.name);
            if divergence == Divergence::Exact {
                assert!(0.5 * eta * eta * exact <= radius * (1.0 + 4.0 * tol));
            }
        }
    }
}

/// Δ is the K-FAC preconditioner's, from the captures of the same batch.
fn the_direction_is_k_fac_s<T: Scalar>() {
    let case = case::<T>(Loss::SoftmaxCrossEntropy, None, 33, 8);
    for ctx in contexts::<T>() {
        let options = AcktrOptions { cold_steps: 0, fisher: FisherKind::Exact, ..AcktrOptions::default() };
        let (mut acktr, mut theta) = (Optim::<T>::new(options).unwrap(), case.theta.clone());
        acktr.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
        let mut kfac = KfacPreconditioner::new(case.policy.layout(), PreconditionerOptions::default()).unwrap();
        let (net, mut ws) = (case.policy.net(), case.policy.workspace());
        net.forward(&ctx, &case.theta, case.batch.cases(), &mut ws).unwrap();
        kfac.begin_update();
        let sink: &mut dyn CaptureSink<T> = &mut kfac;
        net.capture(&ctx, &case.theta, case.batch.cases(), &mut ws, FisherKind::Exact, 33, 0, sink).unwrap();
        kfac.refresh(&ctx, Damping::try_from(0.01).unwrap()).unwrap();
        let mut gradient = vec![T::ZERO; theta.len()];
        case.policy.loss_grad(&ctx, &case.theta, &case.batch, &mut gradient).unwrap();
        let mut expected = gradient.clone();
        kfac.precondition(&ctx, &gradient, &mut expected).unwrap();
        assert_eq!(acktr.direction().unwrap(), &expected[..], "{}", ctx.backend().name());
    }
}

/// v is an average of clipped steps: where F̂ stays, ½ vᵀF̂v <= δ at every step, whatever the gradients.
#[test]
fn momentum_stays_within_the_radius() {
    // one linear layer under squared error, the states ±e_i: A and S are exact and the same in every batch
    let net = Mlp::<f64>::builder(2).layer(2, Activation::Identity).build().unwrap();
    let policy = Policy::new(net).unwrap();
    let ctx = Ctx::reference();
    let states = pullback::Mat::from_fn(2, 8, |i, n| if i == (n / 2) % 2 { 1.0 - 2.0 * (n % 2) as f64 } else { 0.0 });
    let radius = 1e-3;
    let options = AcktrOptions {
        radius,
        cold_steps: 0,
        learning_rate: 1e6,
        fisher: FisherKind::Exact,
        divergence: Divergence::Exact,
        ..AcktrOptions::default()
    };
    let mut acktr = Optim::<f64>::new(options).unwrap();
    let mut theta = policy.net().init(Init::GlorotUniform, 1);
    let mut largest = 0.0f64;
    for seed in 0..60 {
        let (_, actions, advantages) = data::<f64>(Loss::SquaredError, 8, seed);
        // the same gradient again and again for a while: v comes close to the radius
        let actions = if seed < 40 { actions.map(|_| 1.0) } else { actions };
        let advantages = if seed < 40 { vec![1.0; 8] } else { advantages };
        let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages).unwrap();
        acktr.step(&ctx, &policy, &mut theta, &batch).unwrap();
        let v = acktr.last_update().unwrap();
        let mut image = vec![0.0; v.len()];
        let fisher = policy.fisher(&ctx, &theta, &batch).unwrap();
        fisher.apply(&ctx, MatRef::from_column(v), MatMut::from_column(&mut image)).unwrap();
        largest = largest.max(0.5 * dot(v, &image));
    }
    assert!(largest <= radius * (1.0 + tolerance::<f64>(100, 1.0)), "{largest:e}");
    assert!(largest >= 0.5 * radius, "{largest:e}: the law is far from its bound and says nothing");
}

/// Cold steps are gradient steps with momentum.
fn cold_steps_follow_the_gradient<T: Scalar>() {
    let case = case::<T>(Loss::SquaredError, None, 20, 3);
    let ctx = Ctx::<T>::reference();
    let options = AcktrOptions { cold_steps: 3, cold_learning_rate: 0.125, momentum: 0.5, ..AcktrOptions::default() };
    let (mut acktr, mut theta) = (Optim::<T>::new(options).unwrap(), case.theta.clone());
    let (mut expected, mut v) = (case.theta.clone(), vec![T::ZERO; case.theta.len()]);
    for step in 0..4 {
        let mut gradient = vec![T::ZERO; theta.len()];
        case.policy.loss_grad(&ctx, &expected, &case.batch, &mut gradient).unwrap();
        for ((w, v), &g) in expected.iter_mut().zip(&mut v).zip(&gradient) {
            *v = T::of(0.5) * *v - T::of(0.5 * 0.125) * g;
            *w += *v;
        }
        let report = acktr.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
        assert_eq!(theta == expected, step < 3, "step {step}");
        assert_eq!(report.refreshed, step == 3);
        assert_eq!(acktr.direction().is_some(), step == 3);
    }
    assert_eq!(acktr.preconditioner().unwrap().factors(0).unwrap().updates(), 4, "cold steps gather statistics");
}

#[test]
fn options_outside_their_domain_are_refused() {
    let base = AcktrOptions::default();
    assert_eq!(base.decay, Decay::new(0.99).unwrap());
    for options in [
        AcktrOptions { learning_rate: 0.0, ..base },
        AcktrOptions { radius: f64::NAN, ..base },
        AcktrOptions { momentum: 1.0, ..base },
        AcktrOptions { damping: 0.0, ..base },
        AcktrOptions { cold_learning_rate: -1.0, ..base },
        AcktrOptions { refresh_interval: 0, ..base },
    ] {
        assert!(matches!(Optim::<f64>::new(options), Err(Error::InvalidParameter { .. })), "{options:?}");
    }
    let mut acktr = Optim::<f64>::new(base).unwrap();
    assert!(acktr.set_learning_rate(f64::NAN).is_err() && acktr.options() == &base);
    acktr.set_learning_rate(0.5).unwrap();
    assert_eq!(acktr.options().learning_rate, 0.5);
}

for_both!(
    conforms,
    resumes,
    the_step_size_is_clipped_to_the_radius,
    the_direction_is_k_fac_s,
    cold_steps_follow_the_gradient,
);
