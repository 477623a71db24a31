//! Generalized advantages against their definition, and at both ends of λ.

use proptest::prelude::*;
use pullback::Error;
use pullback::optim::AdvantageEstimator;
use pullback::testing::tolerance;

/// Σ_l (γλ)ˡ δ_{t+l}, term by term.
fn by_definition(gamma: f64, lambda: f64, rewards: &[f64], values: &[f64]) -> Vec<f64> {
    let delta = |t: usize| rewards[t] + gamma * values[t + 1] - values[t];
    let sum = |t: usize| (t..rewards.len()).map(|u| (gamma * lambda).powi((u - t) as i32) * delta(u)).sum();
    (0..rewards.len()).map(sum).collect()
}

proptest! {
    #[test]
    fn the_recursion_is_the_sum(
        gamma in 0.0..=1.0f64, lambda in 0.0..=1.0f64,
        steps in prop::collection::vec((-10.0..10.0f64, -10.0..10.0f64), 0..130), last in -10.0..10.0f64,
    ) {
        let (rewards, mut values): (Vec<f64>, Vec<f64>) = steps.into_iter().unzip();
        values.push(last);
        let gae = AdvantageEstimator::new(gamma, lambda)?;
        let found = gae.advantages(&rewards, &values)?;
        let expected = by_definition(gamma, lambda, &rewards, &values);
        prop_assert_eq!(found.len(), expected.len());
        let scale = 30.0 * (rewards.len() + 1) as f64; // |δ| <= 30
        for (f, e) in found.iter().zip(&expected) {
            prop_assert!((f - e).abs() <= tolerance::<f64>(rewards.len(), 1.0) * scale, "{} {}", f, e);
        }
    }

    /// λ = 1: the discounted return, bootstrapped at the end, less the value; λ = 0: the temporal difference.
    #[test]
    fn the_ends_of_lambda(gamma in 0.0..=1.0f64, rewards in prop::collection::vec(-1.0..1.0f64, 1..50)) {
        let values: Vec<f64> = (0..=rewards.len()).map(|t| (t as f64).sin()).collect();
        let of = |lambda| AdvantageEstimator::new(gamma, lambda).unwrap().advantages(&rewards, &values).unwrap();
        let (one, zero) = (of(1.0), of(0.0));
        let mut discounted = values[rewards.len()];
        for t in (0..rewards.len()).rev() {
            discounted = rewards[t] + gamma * discounted;
            let tol = tolerance::<f64>(rewards.len(), 1.0) * (rewards.len() + 2) as f64;
            prop_assert!((one[t] - (discounted - values[t])).abs() <= tol);
            prop_assert_eq!(zero[t], rewards[t] + gamma * values[t + 1] - values[t]);
        }
    }
}

#[test]
fn numbers_outside_their_domain_are_refused() {
    for (gamma, lambda) in [(-0.1, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 1.1), (f64::NAN, 0.5), (0.5, f64::NAN)] {
        assert!(matches!(AdvantageEstimator::new(gamma, lambda), Err(Error::InvalidParameter { .. })));
    }
    let gae = AdvantageEstimator::new(0.9, 0.8).unwrap();
    assert_eq!((gae.gamma(), gae.lambda()), (0.9, 0.8));
    assert!(matches!(gae.advantages(&[1.0], &[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(gae.advantages(&[f64::NAN], &[1.0, 1.0]), Err(Error::NotFinite { .. })));
    assert!(matches!(gae.advantages(&[1.0], &[1.0, f64::INFINITY]), Err(Error::NotFinite { .. })));
    assert!(gae.advantages(&[], &[3.0]).unwrap().is_empty());
}
