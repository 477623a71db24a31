//! PPO: epochs of minibatches as they are said to be, the stop on the divergence, errors that take everything back.
#![cfg(feature = "nn")]

use std::cell::RefCell;

use pullback::nn::{Loss, Policy, PolicyBatch};
use pullback::optim::{
    Adam, InnerStop, MomentumKind, Objective, Optimizer, PolicyObjective, Ppo, PpoOptions, Sgd, StepReport,
};
use pullback::random::Draws;
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{Setup, contexts};
use pullback::{Ctx, Error, Result, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/policies.rs"]
mod policies;
#[path = "common/resumed.rs"]
mod resumed;

use policies::*;

fn conforms<T: Scalar>() {
    let options = PpoOptions { epochs: 3, minibatch: 10, target_divergence: None, seed: 1 };
    let goal = Goal { steps: 20, share: 0.05 };
    let make = || Ppo::new(Adam::new(T::of(0.05))?, options);
    optimizer::check(&Setup::<T>::default(), "ppo", goal, make).assert_passed();
}

fn resumes<T: Scalar>() {
    let case = case::<T>(Loss::SoftmaxCrossEntropy, Some(0.2), 30, 4);
    let batches = [case.batch.clone(), case.policy.select(&case.batch, &[0, 3, 5, 7, 11, 20]).unwrap()];
    let make = || Ppo::new(Adam::new(T::of(0.01)).unwrap(), PpoOptions { minibatch: 7, ..Default::default() }).unwrap();
    resumed::resumes_bitwise("ppo", make, &case.policy, &case.theta, &batches, 3);
}

/// Two epochs are the inner optimizer's steps on the cases in the orders of (seed, epoch).
fn epochs_are_steps_on_shuffled_minibatches<T: Scalar>() {
    for ctx in contexts::<T>() {
        for minibatch in [1, 7, 10, 30, 64] {
            let case = case::<T>(Loss::SoftmaxCrossEntropy, Some(0.2), 30, 6);
            let options = PpoOptions { epochs: 2, minibatch, target_divergence: None, seed: 5 };
            let sgd = || Sgd::new(T::of(0.05), T::of(0.5), MomentumKind::HeavyBall).unwrap();
            let (mut ppo, mut theta) = (Ppo::new(sgd(), options).unwrap(), case.theta.clone());
            let report = ppo.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
            let (mut inner, mut expected) = (sgd(), case.theta.clone());
            let mut order: Vec<usize> = (0..30).collect();
            for epoch in 0..2 {
                Draws::new(5, epoch).shuffle(&mut order);
                for cases in order.chunks(minibatch) {
                    let part = case.policy.select(&case.batch, cases).unwrap();
                    inner.step(&ctx, &case.policy, &mut expected, &part).unwrap();
                }
            }
            assert!(theta == expected, "minibatches of {minibatch}");
            assert_eq!(ppo.epochs(), 2);
            assert_eq!(report.inner.unwrap().stop, InnerStop::IterationLimit);
            let minibatches = 2 * 30u64.div_ceil(minibatch as u64);
            assert_eq!((report.passes.forward, report.passes.backward), (2 + minibatches + 2, minibatches));
        }
    }
}

/// The epochs end with the first after which the divergence exceeds 1.5 times the target, and not before.
fn the_divergence_ends_the_epochs<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let case = case::<T>(Loss::SoftmaxCrossEntropy, Some(0.2), 40, 2);
    let old = case.policy.distributions(&ctx, &case.theta, &case.batch).unwrap();
    let run = |epochs: usize, target: Option<f64>| {
        let options = PpoOptions { epochs, minibatch: 10, target_divergence: target, seed: 3 };
        let (mut ppo, mut theta) = (Ppo::new(Adam::new(T::of(0.005)).unwrap(), options).unwrap(), case.theta.clone());
        let report = ppo.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
        let divergence = case.policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &case.batch).unwrap().1;
        (report.inner.unwrap(), divergence)
    };
    let target = 0.003;
    let first = (1..30).find(|&epochs| run(epochs, None).1 > 1.5 * target).expect("the policy moves");
    assert!(first > 1, "the target is met too soon to say anything");
    let (inner, divergence) = run(30, Some(target));
    assert_eq!((inner.iterations, inner.stop), (first, InnerStop::Converged));
    assert!(divergence > 1.5 * target);
    assert_eq!(run(30, None).0.stop, InnerStop::IterationLimit);
}

/// An inner optimizer that gives up after some steps.
#[derive(Clone)]
struct GivesUp {
    inner: Adam<f64>,
    left: usize,
}

impl Optimizer<f64, Policy<f64>> for GivesUp {
    fn step(
        &mut self,
        ctx: &Ctx<f64>,
        objective: &Policy<f64>,
        theta: &mut [f64],
        batch: &PolicyBatch<f64>,
    ) -> Result<StepReport<f64>> {
        self.left = self.left.checked_sub(1).ok_or(Error::NotFinite { op: "inner", layer: None })?;
        self.inner.step(ctx, objective, theta, batch)
    }
}

#[test]
fn an_error_in_the_middle_takes_everything_back() {
    let ctx = Ctx::reference();
    let case = case::<f64>(Loss::SoftmaxCrossEntropy, Some(0.2), 40, 2);
    let options = PpoOptions { epochs: 3, minibatch: 10, target_divergence: None, seed: 3 };
    let inner = GivesUp { inner: Adam::new(0.02).unwrap(), left: 6 };
    let (mut ppo, theta) = (Ppo::new(inner, options).unwrap(), RefCell::new(case.theta.clone()));
    let failed = ppo.step(&ctx, &case.policy, &mut theta.borrow_mut(), &case.batch);
    assert!(matches!(failed, Err(Error::NotFinite { op: "inner", .. })));
    assert!(*theta.borrow() == case.theta);
    assert_eq!((ppo.epochs(), ppo.inner().left), (0, 6));
    // with enough steps the same optimizer goes on as a new one would
    ppo.inner_mut().left = 100;
    ppo.step(&ctx, &case.policy, &mut theta.borrow_mut(), &case.batch).unwrap();
    let (mut fresh, mut expected) = (Ppo::new(Adam::new(0.02).unwrap(), options).unwrap(), case.theta.clone());
    fresh.step(&ctx, &case.policy, &mut expected, &case.batch).unwrap();
    assert!(*theta.borrow() == expected && expected != case.theta);
}

/// The surrogate rises; held back by the clip, the ratios stay nearer to 1 than without it.
#[test]
fn the_clip_keeps_ratios_near_one() {
    let ctx = Ctx::reference();
    let spread = |clip: Option<f64>| {
        let case = case::<f64>(Loss::SoftmaxCrossEntropy, clip, 60, 12);
        let options = PpoOptions { epochs: 20, minibatch: 20, target_divergence: None, seed: 1 };
        let mut ppo = Ppo::new(Adam::new(0.05).unwrap(), options).unwrap();
        let mut theta = case.theta.clone();
        let report = ppo.step(&ctx, &case.policy, &mut theta, &case.batch).unwrap();
        assert!(report.loss_after.unwrap() < report.loss_before);
        assert_eq!(report.loss_after.unwrap(), case.policy.loss(&ctx, &theta, &case.batch).unwrap());
        let old = case.policy.distributions(&ctx, &case.theta, &case.batch).unwrap();
        case.policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &case.batch).unwrap().1
    };
    let (with, without) = (spread(Some(0.1)), spread(None));
    assert!(with < 0.5 * without, "{with} {without}");
}

#[test]
fn options_outside_their_domain_are_refused() {
    let base = PpoOptions::default();
    for options in [
        PpoOptions { epochs: 0, ..base },
        PpoOptions { minibatch: 0, ..base },
        PpoOptions { target_divergence: Some(0.0), ..base },
        PpoOptions { target_divergence: Some(f64::NAN), ..base },
    ] {
        let refused = Ppo::new((), options);
        assert!(matches!(refused, Err(Error::InvalidParameter { .. })), "{options:?}");
    }
    assert_eq!(Ppo::new((), base).unwrap().options(), &base);
}

for_both!(conforms, resumes, epochs_are_steps_on_shuffled_minibatches, the_divergence_ends_the_epochs);
