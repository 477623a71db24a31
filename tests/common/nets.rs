//! Small networks with data, and the dense matrices of their layers.

#![allow(dead_code)] // each test file uses its part

use pullback::backend::check;
use pullback::curvature::KroneckerDamping;
use pullback::nn::{Activation, Batch, GgnOperator, Init, Loss, Mlp, Reduction};
use pullback::optim::{CaptureSink, FisherKind, LayeredObjective, Objective};
use pullback::stats::{Decay, KroneckerFactors};
use pullback::{Ctx, LinearOperator, Mat, MatRef, Result};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

pub struct Problem {
    pub net: Mlp<f64>,
    pub batch: Batch<f64>,
    pub theta: Vec<f64>,
}

pub struct Spec {
    pub widths: Vec<usize>,
    pub activation: Activation,
    pub loss: Loss,
    pub reduction: Reduction,
    pub cases: usize,
}

/// A network on random data, at random parameters (biases too).
pub fn problem(spec: &Spec, seed: u64) -> Problem {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut builder = Mlp::builder(spec.widths[0]).loss(spec.loss).reduction(spec.reduction);
    for (i, &width) in spec.widths.iter().enumerate().skip(1) {
        let last = i + 1 == spec.widths.len();
        builder = builder.layer(width, if last { Activation::Identity } else { spec.activation });
    }
    let net = builder.build().unwrap();
    let outputs = net.outputs();
    let x = Mat::from_fn(net.inputs(), spec.cases, |_, _| rng.random_range(-1.5..1.5));
    let t = match spec.loss {
        Loss::SquaredError => Mat::from_fn(outputs, spec.cases, |_, _| rng.random_range(-1.0..1.0)),
        Loss::BernoulliCrossEntropy => Mat::from_fn(outputs, spec.cases, |_, _| rng.random_range(0.0..1.0)),
        Loss::SoftmaxCrossEntropy => Mat::from_fn(outputs, spec.cases, |i, j| f64::from(u8::from(j % outputs == i))),
    };
    let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
    let mut theta = net.init(Init::GlorotUniform, seed);
    theta.iter_mut().for_each(|w| *w += rng.random_range(-0.3..0.3));
    Problem { net, batch, theta }
}

/// Captured factors of every layer.
pub struct Factors(pub Vec<KroneckerFactors<f64>>);

impl CaptureSink<f64> for Factors {
    fn activations(&mut self, ctx: &Ctx<f64>, layer: usize, a: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.0[layer].add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<f64>, layer: usize, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.0[layer].add_gradients(ctx, g, weight)
    }
}

/// Factors of `objective` at θ on the batch.
pub fn factors<O: LayeredObjective<f64>>(
    ctx: &Ctx<f64>,
    objective: &O,
    theta: &[f64],
    batch: &O::Batch,
    kind: FisherKind,
    samples: std::ops::Range<u64>,
) -> Factors {
    let blocks = objective.layout().blocks();
    let decay = Decay::new(0.999_999).unwrap(); // the plain mean over the samples
    let mut factors = Factors(blocks.iter().map(|b| KroneckerFactors::new(b.rows, b.cols, decay)).collect());
    let mut ws = objective.workspace();
    for sample in samples {
        objective.forward(ctx, theta, batch, &mut ws).unwrap();
        factors.0.iter_mut().for_each(KroneckerFactors::begin);
        objective.capture(ctx, theta, batch, &mut ws, kind, usize::MAX, sample, &mut factors).unwrap();
    }
    factors
}

/// A ⊗ S of a layer, dense.
pub fn kronecker_block(ctx: &Ctx<f64>, factors: &Factors, layer: usize) -> Mat<f64> {
    factors.0[layer].snapshot(KroneckerDamping::Exact).unwrap().unwrap().to_dense(ctx).unwrap()
}

/// The dense Gauss-Newton matrix of the data term.
pub fn dense_ggn(ctx: &Ctx<f64>, p: &Problem) -> Mat<f64> {
    GgnOperator::new(ctx, &p.net, &p.theta, &p.batch).unwrap().to_dense(ctx).unwrap()
}

/// A layer's diagonal block of a matrix over θ.
pub fn block_of(matrix: &Mat<f64>, net: &Mlp<f64>, layer: usize) -> Mat<f64> {
    let range = net.layout().blocks()[layer].range();
    matrix.as_ref().submatrix(range.start, range.start, range.len(), range.len()).unwrap().to_owned()
}

/// Largest over smallest eigenvalue of a symmetric positive definite matrix; infinite when singular.
pub fn condition(ctx: &Ctx<f64>, matrix: &Mat<f64>) -> f64 {
    check::square("condition", matrix.as_ref()).unwrap();
    let eigen = pullback::factor::SymEigen::new(ctx, matrix.clone()).unwrap();
    let (min, max) = (eigen.values()[0], eigen.values()[eigen.dim() - 1]);
    if min > 0.0 { max / min } else { f64::INFINITY }
}
