//! What the tests of the MLP harness share: seeded numbers, small networks of every kind, their batches.
#![allow(dead_code)] // each test file uses its part

use pullback::nn::{Activation, Batch, Loss, Mlp, Reduction};
use pullback::optim::{LayeredObjective, Objective};
use pullback::{Ctx, Mat, Scalar};
use rand::Rng;
use rand_pcg::Pcg64;

pub const ACTIVATIONS: [Activation; 5] =
    [Activation::Tanh, Activation::Logistic, Activation::Relu, Activation::Softplus, Activation::Identity];
pub const LOSSES: [Loss; 3] = [Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy, Loss::SquaredError];
pub const REDUCTIONS: [Reduction; 2] = [Reduction::Sum, Reduction::Mean];

/// Seeded numbers.
pub struct Random(Pcg64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Pcg64::new(u128::from(seed), 7))
    }

    /// Uniform on [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform on [-scale, scale).
    pub fn signed(&mut self, scale: f64) -> f64 {
        scale * (2.0 * self.unit() - 1.0)
    }

    pub fn vector<T: Scalar>(&mut self, n: usize, scale: f64) -> Vec<T> {
        (0..n).map(|_| T::of(self.signed(scale))).collect()
    }

    pub fn matrix<T: Scalar>(&mut self, m: usize, n: usize, scale: f64) -> Mat<T> {
        Mat::from_fn(m, n, |_, _| T::of(self.signed(scale)))
    }

    /// Targets in the domain of a loss.
    pub fn targets<T: Scalar>(&mut self, loss: Loss, d: usize, cases: usize) -> Mat<T> {
        let mut t = Mat::from_fn(d, cases, |_, _| 0.0);
        for j in 0..cases {
            let column: Vec<f64> = (0..d).map(|_| self.unit()).collect();
            let sum: f64 = column.iter().sum();
            for (i, x) in column.into_iter().enumerate() {
                t[(i, j)] = match loss {
                    Loss::BernoulliCrossEntropy => x,
                    Loss::SoftmaxCrossEntropy => x / sum,
                    Loss::SquaredError => 4.0 * x - 2.0,
                };
            }
        }
        t.cast()
    }
}

/// A network, its parameters and a batch.
pub struct Case<T> {
    pub name: String,
    pub net: Mlp<T>,
    pub theta: Vec<T>,
    pub batch: Batch<T>,
}

/// One network; the last layer has the activation `output`.
#[allow(clippy::too_many_arguments)]
pub fn case<T: Scalar>(
    widths: &[usize],
    hidden: Activation,
    output: Activation,
    loss: Loss,
    reduction: Reduction,
    l2: f64,
    cases: usize,
    seed: u64,
) -> Case<T> {
    let mut random = Random::new(seed);
    let mut builder = Mlp::builder(widths[0]).loss(loss).reduction(reduction).l2(T::of(l2));
    for (i, &width) in widths.iter().enumerate().skip(1) {
        builder = builder.layer(width, if i + 1 == widths.len() { output } else { hidden });
    }
    let net = builder.build().unwrap();
    let theta = random.vector(net.layout().len(), 1.0);
    let x = random.matrix::<T>(widths[0], cases, 1.0);
    let t = random.targets::<T>(loss, net.outputs(), cases);
    let batch = Batch::new(x.as_ref(), t.as_ref()).unwrap();
    let name = format!("{} {widths:?} {hidden:?} -> {output:?}, {loss:?}, {reduction:?}, seed {seed}", T::NAME);
    Case { name, net, theta, batch }
}

/// Every activation with every loss, reduction and depth 1 to 3, and networks with a curved output layer.
pub fn zoo<T: Scalar>() -> Vec<Case<T>> {
    let mut all = Vec::new();
    for hidden in ACTIVATIONS {
        for loss in LOSSES {
            for reduction in REDUCTIONS {
                for widths in [&[3, 2][..], &[3, 4, 2], &[3, 5, 4, 2]] {
                    let seed = all.len() as u64;
                    all.push(case(widths, hidden, Activation::Identity, loss, reduction, 0.0, 3, seed));
                }
            }
        }
    }
    for output in ACTIVATIONS {
        for loss in LOSSES {
            let seed = 1000 + all.len() as u64;
            all.push(case(&[3, 4, 3], Activation::Tanh, output, loss, Reduction::Mean, 0.0, 4, seed));
        }
    }
    all
}

/// A workspace after a forward pass, and the loss.
pub fn forward<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>) -> (<Mlp<T> as LayeredObjective<T>>::Workspace, T) {
    let mut ws = c.net.workspace();
    let loss = c.net.forward(ctx, &c.theta, &c.batch, &mut ws).unwrap();
    (ws, loss)
}

/// H_z of one case from std's functions: the oracle.
pub fn output_hessian(loss: Loss, z: &[f64]) -> Mat<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
    let softmax = |i: usize| (z[i] - max).exp() / sum;
    let logistic = |i: usize| 1.0 / (1.0 + (-z[i]).exp());
    Mat::from_fn(z.len(), z.len(), |i, j| match loss {
        Loss::BernoulliCrossEntropy if i == j => logistic(i) * logistic(i).mul_add(-1.0, 1.0),
        Loss::SoftmaxCrossEntropy if i == j => softmax(i) * (1.0 - softmax(i)),
        Loss::SoftmaxCrossEntropy => -softmax(i) * softmax(j),
        Loss::SquaredError if i == j => 1.0,
        _ => 0.0,
    })
}

/// max|a - b| / max(1, max|b|); NaN when anything is not finite.
pub fn gap(a: &[impl Scalar], b: &[impl Scalar]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1.0, |m: f64, x| m.max(x.f64().abs()));
    a.iter().zip(b).fold(0.0, |m, (a, b)| {
        let d = (a.f64() - b.f64()).abs() / scale;
        if d <= m { m } else { d }
    })
}

pub fn dot(a: &[impl Scalar], b: &[impl Scalar]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum()
}
