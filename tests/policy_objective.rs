//! Networks as policies: the surrogate from its definition, its gradient against differences, the Fisher matrix as the
//! Hessian of the divergence, the clip, minibatches, refusals.
#![cfg(feature = "nn")]

use pullback::nn::{Activation, Loss, Mlp, Policy, Reduction};
use pullback::optim::{LayeredObjective, Objective, PolicyObjective};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/policies.rs"]
mod policies;

use policies::*;

const SIZES: [usize; 6] = [1, 2, 31, 33, 64, 129];

/// log π_θ(a|s) of every case by hand, from the outputs.
fn log_probabilities(loss: Loss, z: &Mat<f64>, actions: &Mat<f64>) -> Vec<f64> {
    let case = |n: usize| -> f64 {
        let (z, a) = (z.as_ref().col(n), actions.as_ref().col(n));
        match loss {
            Loss::SoftmaxCrossEntropy => {
                let total: f64 = z.iter().map(|z| z.exp()).sum();
                z.iter().zip(a).map(|(z, a)| a * (z.exp() / total).ln()).sum()
            }
            Loss::SquaredError => z.iter().zip(a).map(|(z, a)| -0.5 * (z - a).powi(2)).sum(),
            Loss::BernoulliCrossEntropy => {
                let p = |z: f64| 1.0 / (1.0 + (-z).exp());
                z.iter().zip(a).map(|(&z, a)| a * p(z).ln() + (1.0 - a) * (1.0 - p(z)).ln()).sum()
            }
        }
    };
    (0..z.ncols()).map(case).collect()
}

fn outputs<T: Scalar>(ctx: &Ctx<T>, case: &Case<T>, theta: &[T]) -> Mat<f64> {
    case.policy.distributions(ctx, theta, &case.batch).unwrap().cast()
}

/// h and the divergence are what the definitions say, at the policy that acted and elsewhere.
fn the_surrogate_and_the_divergence_are_their_definitions<T: Scalar>() {
    for (loss, clip) in LOSSES.into_iter().flat_map(|loss| [(loss, None), (loss, Some(0.2))]) {
        for cases in SIZES {
            let case = case::<T>(loss, clip, cases, 3);
            let actions: Mat<f64> = case.batch.cases().targets().to_owned().cast();
            for ctx in contexts::<T>() {
                let old = case.policy.distributions(&ctx, &case.theta, &case.batch).unwrap();
                let theta = moved(&case.theta, 0.3, 4);
                let (z_old, z) = (old.cast::<f64>(), outputs(&ctx, &case, &theta));
                let before = log_probabilities(loss, &z_old, &actions);
                let now = log_probabilities(loss, &z, &actions);
                let terms = before.iter().zip(&now).zip(case.batch.advantages()).map(|((b, n), a)| {
                    let ratio = (n - b).exp();
                    clip.map_or(ratio * a, |e| (ratio * a).min(ratio.clamp(1.0 - e, 1.0 + e) * a))
                });
                let expected = -terms.clone().sum::<f64>() / cases as f64;
                let size = terms.map(f64::abs).sum::<f64>() / cases as f64;
                let (found, divergence) =
                    case.policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &case.batch).unwrap();
                // the exponents are differences of losses of order 10
                let tol = 10.0 * tolerance::<T>(STATES, 1.0);
                assert!((found.f64() - expected).abs() <= tol * size, "{}: h {found}, not {expected}", case.name);
                assert_eq!(found, case.policy.loss(&ctx, &theta, &case.batch).unwrap(), "{}", case.name);
                let by_hand = mean_divergence(loss, &z_old, &z);
                assert!((divergence - by_hand).abs() <= tol, "{}: KL {divergence}, not {by_hand}", case.name);
                assert!(divergence > 0.0, "{}: KL {divergence}", case.name);
            }
        }
    }
}

fn mean_divergence(loss: Loss, old: &Mat<f64>, new: &Mat<f64>) -> f64 {
    let p = |z: f64| 1.0 / (1.0 + (-z).exp());
    let case = |n: usize| -> f64 {
        let (o, z) = (old.as_ref().col(n), new.as_ref().col(n));
        let pairs = o.iter().zip(z);
        match loss {
            Loss::SoftmaxCrossEntropy => {
                let log_sum = |z: &[f64]| z.iter().map(|z| z.exp()).sum::<f64>().ln();
                let (a, b) = (log_sum(o), log_sum(z));
                pairs.map(|(o, z)| (o - a).exp() * ((o - a) - (z - b))).sum()
            }
            Loss::SquaredError => pairs.map(|(o, z)| 0.5 * (o - z).powi(2)).sum(),
            Loss::BernoulliCrossEntropy => pairs
                .map(|(&o, &z)| p(o) * (p(o) / p(z)).ln() + (1.0 - p(o)) * ((1.0 - p(o)) / (1.0 - p(z))).ln())
                .sum(),
        }
    };
    (0..old.ncols()).map(case).sum::<f64>() / old.ncols() as f64
}

/// At the policy that acted the gradient is -mean A ∇log π; elsewhere it is that of the differences.
#[test]
fn the_gradient_is_that_of_differences() {
    let ctx = Ctx::<f64>::reference();
    for (loss, clip) in LOSSES.into_iter().flat_map(|loss| [(loss, None), (loss, Some(0.2))]) {
        for (size, seed) in [(0.0, 5), (0.02, 6), (0.5, 7)] {
            let case = case::<f64>(loss, clip, 40, seed);
            // at the acting policy a clipped ratio of 1 is inside its interval: smooth
            let theta = moved(&case.theta, size, seed);
            let mut grad = vec![0.0; theta.len()];
            case.policy.loss_grad(&ctx, &theta, &case.batch, &mut grad).unwrap();
            let step = f64::EPSILON.cbrt();
            for i in 0..theta.len() {
                let at = |x: f64| {
                    let mut theta = theta.clone();
                    theta[i] += x;
                    case.policy.loss(&ctx, &theta, &case.batch).unwrap()
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                // the third derivative, of order 10, by step², and rounding by 1/step: both ε^(2/3)
                let tol = 100.0 * step * step;
                assert!((grad[i] - difference).abs() <= tol, "{}: {i}: {} {difference}", case.name, grad[i]);
            }
        }
    }
}

/// F v against differences of the divergence's gradient: ½ d²/dt² KL(θ, θ + t v) at 0 is ½ vᵀF v.
#[test]
fn the_fisher_matrix_is_the_hessian_of_the_divergence() {
    let ctx = Ctx::<f64>::reference();
    for loss in LOSSES {
        let case = case::<f64>(loss, None, 50, 11);
        let old = case.policy.distributions(&ctx, &case.theta, &case.batch).unwrap();
        let fisher = case.policy.fisher(&ctx, &case.theta, &case.batch).unwrap();
        let n = case.theta.len();
        for seed in 0..6 {
            let v = moved(&vec![0.0; n], 1.0, seed);
            let mut fv = Mat::zeros(n, 1);
            fisher.apply(&ctx, pullback::MatRef::from_column(&v), fv.as_mut()).unwrap();
            let form: f64 = v.iter().zip(fv.as_slice()).map(|(v, f)| v * f).sum();
            // KL(t) + KL(-t) has no odd terms; its fourth-order term is t² of the second
            let t = f64::EPSILON.powf(0.25) / form.sqrt();
            let at = |t: f64| {
                let theta: Vec<f64> = case.theta.iter().zip(&v).map(|(w, v)| w + t * v).collect();
                case.policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &case.batch).unwrap().1
            };
            let second = (at(t) + at(-t)) / (t * t);
            let tol = 1e3 * f64::EPSILON.sqrt();
            assert!((second - form).abs() <= tol * form, "{}: {second} {form}", case.name);
        }
    }
}

/// The clip: no gradient from a case whose ratio has left the interval in the direction that its advantage wants, all of it
/// where the ratio left the other way.
fn the_clip_holds_back_what_it_must_and_nothing_else<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    for loss in LOSSES {
        for seed in 0..20 {
            for sign in [1.0, -1.0] {
                let (states, actions, _) = data::<T>(loss, 1, seed);
                let (plain, clipped) = (Policy::new(net(loss)).unwrap(), Policy::clipped(net(loss), 0.1).unwrap());
                let theta = plain.net().init(pullback::nn::Init::GlorotUniform, seed);
                let batch = plain.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &[sign]).unwrap();
                let there = moved(&theta, 0.5, seed);
                let grad = |policy: &Policy<T>| {
                    let mut grad = vec![T::ZERO; theta.len()];
                    policy.loss_grad(&ctx, &there, &batch, &mut grad).unwrap();
                    grad
                };
                let mut ws = plain.workspace();
                plain.forward(&ctx, &there, &batch, &mut ws).unwrap();
                let ratio = (batch.old_losses()[0] - ws.case_losses()[0]).exp();
                let held = if sign > 0.0 { ratio > 1.1 } else { ratio < 0.9 };
                let (with, without) = (grad(&clipped), grad(&plain));
                assert!(without.iter().any(|&g| g != T::ZERO));
                if held {
                    assert!(with.iter().all(|&g| g == T::ZERO), "{loss:?}, ratio {ratio}, advantage {sign}");
                } else {
                    assert_eq!(with, without, "{loss:?}, ratio {ratio}, advantage {sign}");
                }
            }
        }
    }
}

/// Both happen in the law above, for every loss.
#[test]
fn the_clip_s_law_meets_both_sides() {
    for loss in LOSSES {
        let mut seen = [false; 4];
        for seed in 0..20 {
            let (states, actions, _) = data::<f64>(loss, 1, seed);
            let ctx = Ctx::reference();
            let policy = Policy::new(net::<f64>(loss)).unwrap();
            let theta = policy.net().init(pullback::nn::Init::GlorotUniform, seed);
            let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &[1.0]).unwrap();
            let ratio = -policy.loss(&ctx, &moved(&theta, 0.5, seed), &batch).unwrap();
            (seen[0], seen[1]) = (seen[0] || ratio > 1.1, seen[1] || ratio <= 1.1);
            (seen[2], seen[3]) = (seen[2] || ratio < 0.9, seen[3] || ratio >= 0.9);
        }
        assert_eq!(seen, [true; 4], "{loss:?}");
    }
}

/// A minibatch is its cases: the means over two halves make the mean over all.
fn minibatches_are_their_cases<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let case = case::<T>(Loss::SoftmaxCrossEntropy, Some(0.2), 20, 9);
    let theta = moved(&case.theta, 0.3, 1);
    let loss = |cases: &[usize]| {
        let part = case.policy.select(&case.batch, cases).unwrap();
        assert_eq!(case.policy.case_count(&part), cases.len());
        case.policy.loss(&ctx, &theta, &part).unwrap().f64()
    };
    let (odd, even): (Vec<usize>, Vec<usize>) = (0..20).partition(|n| n % 2 == 1);
    let whole = case.policy.loss(&ctx, &theta, &case.batch).unwrap().f64();
    assert!((0.5 * (loss(&odd) + loss(&even)) - whole).abs() <= tolerance::<T>(20, 1.0));
    assert!(loss(&odd) != loss(&even));
    for wrong in [&[][..], &[20]] {
        assert!(matches!(case.policy.select(&case.batch, wrong), Err(Error::InvalidParameter { .. })));
    }
}

#[test]
fn an_action_that_became_certain_does_not_overflow() {
    // a Gaussian whose action was 20 deviations off, and is expected now: the ratio is e^200
    let ctx = Ctx::<f32>::reference();
    let policy = Policy::new(Mlp::<f32>::builder(1).layer(1, Activation::Identity).build().unwrap()).unwrap();
    let (one, action) = (Mat::from_fn(1, 1, |_, _| 1.0), Mat::from_fn(1, 1, |_, _| 20.0));
    let batch = policy.batch(&ctx, &[0.0, 0.0], one.as_ref(), action.as_ref(), &[1.0]).unwrap();
    let mut grad = [1.0; 2];
    let loss = policy.loss_grad(&ctx, &[10.0, 10.0], &batch, &mut grad).unwrap();
    assert!(loss.is_finite() && loss < -1e12 && grad == [0.0; 2], "{loss} {grad:?}");
}

#[test]
fn what_is_no_policy_is_refused() {
    let ctx = Ctx::<f64>::reference();
    let sum = Mlp::<f64>::builder(1).layer(1, Activation::Identity).reduction(Reduction::Sum).build().unwrap();
    assert!(matches!(Policy::new(sum), Err(Error::InvalidParameter { name: "reduction", .. })));
    for epsilon in [0.0, 1.0, -0.1, f64::NAN] {
        let refused = Policy::clipped(net::<f64>(Loss::SquaredError), epsilon);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "clip", .. })));
    }
    let policy = Policy::new(net::<f64>(Loss::SoftmaxCrossEntropy)).unwrap();
    let (states, actions, advantages) = data::<f64>(Loss::SoftmaxCrossEntropy, 4, 1);
    let theta = vec![0.0; policy.layout().len()];
    let batch = |theta: &[f64], actions: &Mat<f64>, advantages: &[f64]| {
        policy.batch(&ctx, theta, states.as_ref(), actions.as_ref(), advantages).map(|_| ())
    };
    assert!(batch(&theta, &actions, &advantages).is_ok());
    assert!(matches!(batch(&theta[1..], &actions, &advantages), Err(Error::Shape { .. })));
    assert!(matches!(batch(&theta, &actions, &advantages[1..]), Err(Error::Shape { .. })));
    assert!(matches!(batch(&theta, &actions, &[f64::NAN; 4]), Err(Error::NotFinite { .. })));
    assert!(matches!(batch(&vec![f64::NAN; theta.len()], &actions, &advantages), Err(Error::NotFinite { .. })));
    assert!(matches!(batch(&theta, &actions.map(|a| 2.0 * a), &advantages), Err(Error::InvalidParameter { .. })));
    let good = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages).unwrap();
    let short = Mat::zeros(ACTIONS, 3);
    assert!(matches!(policy.loss_and_divergence(&ctx, short.as_ref(), &theta, &good), Err(Error::Shape { .. })));
}

for_both!(
    the_surrogate_and_the_divergence_are_their_definitions,
    the_clip_holds_back_what_it_must_and_nothing_else,
    minibatches_are_their_cases,
);
