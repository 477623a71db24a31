//! Small policies of every kind, with states, actions and advantages.

#![allow(dead_code)] // each test file uses its part

use pullback::nn::{Activation, Init, Loss, Mlp, Policy, PolicyBatch};
use pullback::random::Draws;
use pullback::{Ctx, Mat, Scalar};

pub const LOSSES: [Loss; 3] = [Loss::SoftmaxCrossEntropy, Loss::SquaredError, Loss::BernoulliCrossEntropy];

pub const STATES: usize = 3;
pub const ACTIONS: usize = 2;

pub struct Case<T: Scalar> {
    pub name: String,
    pub policy: Policy<T>,
    pub theta: Vec<T>,
    pub batch: PolicyBatch<T>,
}

pub fn net<T: Scalar>(loss: Loss) -> Mlp<T> {
    let builder = Mlp::builder(STATES).layer(4, Activation::Tanh).layer(ACTIONS, Activation::Identity);
    builder.loss(loss).build().unwrap()
}

/// A column of states, targets in the loss's domain, normal advantages.
pub fn data<T: Scalar>(loss: Loss, cases: usize, seed: u64) -> (Mat<T>, Mat<T>, Vec<f64>) {
    let mut draws = Draws::new(seed, 1);
    let states = Mat::from_fn(STATES, cases, |_, _| T::of(draws.normal()));
    let mut actions = Mat::zeros(ACTIONS, cases);
    for n in 0..cases {
        match loss {
            Loss::SoftmaxCrossEntropy => actions[(draws.below(ACTIONS), n)] = T::ONE,
            Loss::SquaredError => (0..ACTIONS).for_each(|i| actions[(i, n)] = T::of(draws.normal())),
            Loss::BernoulliCrossEntropy => (0..ACTIONS).for_each(|i| actions[(i, n)] = T::of(draws.below(2) as f64)),
        }
    }
    (states, actions, (0..cases).map(|_| draws.normal()).collect())
}

pub fn case<T: Scalar>(loss: Loss, clip: Option<f64>, cases: usize, seed: u64) -> Case<T> {
    let policy = match clip {
        None => Policy::new(net(loss)),
        Some(epsilon) => Policy::clipped(net(loss), epsilon),
    }
    .unwrap();
    let theta = policy.net().init(Init::GlorotUniform, seed);
    let (states, actions, advantages) = data::<T>(loss, cases, seed);
    let ctx = Ctx::<T>::reference();
    let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages).unwrap();
    Case { name: format!("{loss:?}, clip {clip:?}, {cases} cases, seed {seed}"), policy, theta, batch }
}

/// θ moved by normal draws of this size.
pub fn moved<T: Scalar>(theta: &[T], size: f64, seed: u64) -> Vec<T> {
    let mut draws = Draws::new(seed, 2);
    theta.iter().map(|&w| w + T::of(size * draws.normal())).collect()
}
