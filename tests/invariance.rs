//! Law 2: undamped Newton, Gauss-Newton, natural gradient and K-FAC commute with an affine change of every layer's
//! activations and pre-activations; gradient descent only with a rigid one (chapter section 2.3).
//!
//! The conditions are part of the statement: no damping, no weight decay, the same full batch and step size, exact
//! Fisher factors, homogeneous coordinates, non-singular matrices. A second, weaker law bounds how far the damped
//! versions drift as λ grows, and shows that they do drift.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;
#[path = "common/reparameterized.rs"]
mod reparameterized;

use nets::{Problem, Spec, condition, factors, problem};
use proptest::prelude::*;
use pullback::curvature::{FactorInverse, KroneckerDamping, PiRule};
use pullback::factor::Cholesky;
use pullback::nn::{Activation, HessianOperator, Loss, Mlp, Reduction};
use pullback::optim::{
    CaptureSink, FisherKind, Kfac, KfacOptions, LayeredObjective, Objective, Optimizer, Rejection, StepRule,
    TridiagonalOptions, TridiagonalPreconditioner,
};
use pullback::stats::Decay;
use pullback::testing::tolerance;
use pullback::{Ctx, Damping, LinearOperator, Mat, MatMut, MatRef, Op, Result};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use reparameterized::{Change, Reparameterized};

const STEP: f64 = 0.3;
const STEPS: usize = 3;

fn tanh_net(loss: Loss, seed: u64) -> Problem {
    let spec =
        Spec { widths: vec![2, 3, 2], activation: Activation::Tanh, loss, reduction: Reduction::Mean, cases: 40 };
    problem(&spec, seed)
}

/// Well-conditioned random changes of all layers: affine, or rigid (rotations, no shift).
fn changes(net: &Mlp<f64>, seed: u64, rigid: bool) -> Vec<Change> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut square = |n: usize| -> Mat<f64> {
        if rigid {
            // a product of plane rotations
            let mut q = Mat::identity(n);
            for p in 0..n {
                for r in p + 1..n {
                    let (s, c) = rng.random_range(-3.0..3.0f64).sin_cos();
                    for i in 0..n {
                        (q[(i, p)], q[(i, r)]) = (c * q[(i, p)] - s * q[(i, r)], s * q[(i, p)] + c * q[(i, r)]);
                    }
                }
            }
            q
        } else {
            let spread = 0.8 / n as f64;
            Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) * 1.3 + rng.random_range(-spread..spread))
        }
    };
    let layers = net.layout().blocks().iter().map(|b| (b.rows, b.cols)).collect::<Vec<_>>();
    let mut all: Vec<Change> = layers
        .iter()
        .map(|&(rows, cols)| {
            let (phi, linear) = (square(rows), square(cols - 1));
            let omega = Mat::from_fn(cols, cols, |i, j| match (i + 1 == cols, j + 1 == cols) {
                (true, true) => 1.0,
                (true, false) | (false, true) => 0.0,
                (false, false) => linear[(i, j)],
            });
            Change { phi, omega }
        })
        .collect();
    if !rigid {
        for change in &mut all {
            let last = change.omega.ncols() - 1;
            (0..last).for_each(|i| change.omega[(i, last)] = rng.random_range(-0.7..0.7));
        }
    }
    all
}

/// -(matrix)⁻¹ gradient.
fn newton_direction(ctx: &Ctx<f64>, matrix: Mat<f64>, gradient: &[f64]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let factor = Cholesky::new(ctx, matrix).expect("the condition was checked");
    factor.solve_in_place(ctx, MatMut::from_column(&mut direction)).unwrap();
    direction
}

fn gradient<O: Objective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], batch: &O::Batch) -> Vec<f64> {
    let mut gradient = vec![0.0; theta.len()];
    o.loss_grad(ctx, theta, batch, &mut gradient).unwrap();
    gradient
}

/// The Gauss-Newton matrix, from forward products with unit vectors.
fn ggn<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], batch: &O::Batch) -> Mat<f64> {
    let (n, mut ws) = (theta.len(), o.workspace());
    o.forward(ctx, theta, batch, &mut ws).unwrap();
    let identity = Mat::identity(n);
    let units: Vec<&[f64]> = identity.as_ref().cols().collect();
    let mut gram = Mat::zeros(n, n);
    o.ggn_gram(ctx, theta, batch, &mut ws, &units, gram.as_mut()).unwrap();
    gram
}

/// The Fisher matrix Σ_n Σ_c weight · vec(g ā ᵀ) vec(g āᵀ)ᵀ over all layers, from captured pairs: no Jacobian.
#[derive(Default)]
struct Pairs {
    activations: Vec<Mat<f64>>,
    gradients: Vec<(usize, Mat<f64>, f64)>,
}

impl CaptureSink<f64> for Pairs {
    fn activations(&mut self, _: &Ctx<f64>, layer: usize, a: MatRef<'_, f64>, _: f64) -> Result<()> {
        self.activations.resize(self.activations.len().max(layer + 1), Mat::default());
        self.activations[layer] = a.to_owned();
        Ok(())
    }

    fn gradients(&mut self, _: &Ctx<f64>, layer: usize, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.gradients.push((layer, g.to_owned(), weight));
        Ok(())
    }
}

fn fisher<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], batch: &O::Batch) -> Mat<f64> {
    let mut ws = o.workspace();
    o.forward(ctx, theta, batch, &mut ws).unwrap();
    let mut pairs = Pairs::default();
    o.capture(ctx, theta, batch, &mut ws, FisherKind::Exact, usize::MAX, 0, &mut pairs).unwrap();
    let blocks = o.layout().blocks();
    let cases = pairs.activations[0].ncols();
    let directions = pairs.gradients.iter().filter(|(layer, _, _)| *layer == 0).count();
    // column (direction, case): the whole pseudo-gradient over θ
    let mut all = Mat::zeros(theta.len(), directions * cases);
    let mut seen = vec![0; blocks.len()];
    for (layer, g, weight) in &pairs.gradients {
        let a = &pairs.activations[*layer];
        for n in 0..cases {
            let column = seen[*layer] * cases + n;
            for j in 0..a.nrows() {
                for i in 0..g.nrows() {
                    all[(blocks[*layer].offset + i + j * g.nrows(), column)] = weight.sqrt() * g[(i, n)] * a[(j, n)];
                }
            }
        }
        seen[*layer] += 1;
    }
    let mut f = Mat::zeros(theta.len(), theta.len());
    ctx.syrk(1.0, all.as_ref(), Op::Transpose, 0.0, f.as_mut()).unwrap();
    f
}

fn kfac_direction<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], batch: &O::Batch) -> Vec<f64> {
    let grad = gradient(ctx, o, theta, batch);
    let factors = factors(ctx, o, theta, batch, FisherKind::Exact, 0..1);
    let mut direction = vec![0.0; theta.len()];
    for (factor, block) in factors.0.iter().zip(o.layout().blocks()) {
        let a = FactorInverse::new(ctx, factor.a(), 0.0).unwrap();
        let s = FactorInverse::new(ctx, factor.s(), 0.0).unwrap();
        let mut half = Mat::zeros(block.rows, block.cols);
        let v = block.view(&grad).unwrap();
        ctx.gemm(-1.0, s.matrix().as_ref(), Op::No, v, Op::No, 0.0, half.as_mut()).unwrap();
        let out = block.view_mut(&mut direction).unwrap();
        ctx.gemm(1.0, half.as_ref(), Op::No, a.matrix().as_ref(), Op::No, 0.0, out).unwrap();
    }
    direction
}

/// The block-tridiagonal inverse as nearly undamped as its type allows: √λ is below the rounding of the factors.
fn tridiagonal_direction<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], b: &O::Batch) -> Vec<f64> {
    let inverse = tridiagonal(ctx, o, theta, b);
    let mut direction = vec![0.0; theta.len()];
    inverse.precondition(ctx, &gradient(ctx, o, theta, b), &mut direction).unwrap();
    direction.iter().map(|d| -d).collect()
}

fn tridiagonal<O>(ctx: &Ctx<f64>, o: &O, theta: &[f64], batch: &O::Batch) -> TridiagonalPreconditioner<f64>
where
    O: LayeredObjective<f64>,
{
    let options = TridiagonalOptions { decay: Decay::DEFAULT, pi: PiRule::Trace, tolerated_failures: 0 };
    let mut kfac = TridiagonalPreconditioner::new(o.layout(), options);
    let mut ws = o.workspace();
    o.forward(ctx, theta, batch, &mut ws).unwrap();
    kfac.begin_update();
    o.capture(ctx, theta, batch, &mut ws, FisherKind::Exact, usize::MAX, 0, &mut kfac).unwrap();
    kfac.refresh(ctx, Damping::try_from(1e-36).unwrap()).unwrap();
    kfac
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    GradientDescent,
    GaussNewton,
    NaturalGradient,
    Kfac,
    KfacTridiagonal,
}

fn direction<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, m: Method, o: &O, theta: &[f64], b: &O::Batch) -> Vec<f64> {
    match m {
        Method::GradientDescent => gradient(ctx, o, theta, b).iter().map(|g| -g).collect(),
        Method::GaussNewton => newton_direction(ctx, ggn(ctx, o, theta, b), &gradient(ctx, o, theta, b)),
        Method::NaturalGradient => newton_direction(ctx, fisher(ctx, o, theta, b), &gradient(ctx, o, theta, b)),
        Method::Kfac => kfac_direction(ctx, o, theta, b),
        Method::KfacTridiagonal => tridiagonal_direction(ctx, o, theta, b),
    }
}

/// A singular curvature, as undamped steps can reach where outputs saturate, is outside the law.
const SINGULAR: f64 = 1e8;

/// STEPS steps, and the largest condition of the Gauss-Newton matrix on the way; stops where that is too large.
fn run<O>(ctx: &Ctx<f64>, m: Method, o: &O, theta: &[f64], b: &O::Batch) -> (Vec<f64>, f64)
where
    O: LayeredObjective<f64>,
{
    let (mut theta, mut kappa) = (theta.to_vec(), 1.0f64);
    for _ in 0..STEPS {
        kappa = kappa.max(condition(ctx, &ggn(ctx, o, &theta, b)));
        if m == Method::KfacTridiagonal && kappa <= SINGULAR {
            let inverse = tridiagonal(ctx, o, &theta, b);
            kappa = kappa.max(condition(ctx, &inverse.inverse().unwrap().to_dense(ctx).unwrap()));
        }
        if kappa > SINGULAR {
            break;
        }
        let direction = direction(ctx, m, o, &theta, b);
        theta.iter_mut().zip(direction).for_each(|(w, d)| *w += STEP * d);
    }
    (theta, kappa)
}

/// θ† with T θ† = θ.
fn theta_for(ctx: &Ctx<f64>, p: &Problem, changes: &[Change]) -> Vec<f64> {
    let inverse = |m: &Mat<f64>| {
        let n = m.nrows();
        // (MᵀM)⁻¹Mᵀ by the crate's own Cholesky: M is well-conditioned by construction
        let (mut gram, mut out) = (Mat::zeros(n, n), m.transposed());
        ctx.syrk(1.0, m.as_ref(), Op::No, 0.0, gram.as_mut()).unwrap();
        Cholesky::new(ctx, gram).unwrap().solve_in_place(ctx, out.as_mut()).unwrap();
        out
    };
    let inverses = changes.iter().map(|c| Change { phi: inverse(&c.phi), omega: inverse(&c.omega) }).collect();
    Reparameterized { inner: &p.net, changes: inverses }.to_inner(ctx, &p.theta)
}

/// How far the two runs end apart, relative to how far they went; and the condition of the law's own matrix.
fn drift(m: Method, p: &Problem, changes: Vec<Change>) -> (f64, f64) {
    let ctx = Ctx::default();
    let start = theta_for(&ctx, p, &changes);
    let other = Reparameterized { inner: &p.net, changes };
    let (here, k1) = run(&ctx, m, &p.net, &p.theta, &p.batch);
    let (there, k2) = run(&ctx, m, &other, &start, &p.batch);
    (relative_distance(&other.to_inner(&ctx, &there), &here, &p.theta), k1.max(k2))
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

fn relative_distance(a: &[f64], b: &[f64], start: &[f64]) -> f64 {
    norm(a.iter().zip(b).map(|(a, b)| a - b)) / norm(b.iter().zip(start).map(|(b, s)| b - s))
}

/// The rounding that STEPS solves at this condition may leave; the trajectories amplify it a little each step.
fn limit(n: usize, kappa: f64) -> f64 {
    tolerance::<f64>(n * STEPS, kappa)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn second_order_updates_commute_with_affine_changes(seed in 0u64..1000, change in 0u64..1000) {
        let mut tried = 0;
        for loss in [Loss::SquaredError, Loss::BernoulliCrossEntropy] {
            let p = tanh_net(loss, seed);
            for m in [Method::GaussNewton, Method::NaturalGradient, Method::Kfac, Method::KfacTridiagonal] {
                let (drift, kappa) = drift(m, &p, changes(&p.net, change, false));
                if kappa < SINGULAR {
                    tried += 1;
                    prop_assert!(drift <= limit(p.theta.len(), kappa), "{m:?} {loss:?}: {drift:e}, condition {kappa:e}");
                }
            }
        }
        prop_assume!(tried > 0);
    }

    /// The negative control and its counterpart: gradient descent fails the law, unless the change is rigid.
    #[test]
    fn gradient_descent_commutes_with_rigid_changes_only(seed in 0u64..1000, change in 0u64..1000) {
        let p = tanh_net(Loss::SquaredError, seed);
        let (rigid, kappa) = drift(Method::GradientDescent, &p, changes(&p.net, change, true));
        prop_assume!(kappa < SINGULAR);
        prop_assert!(rigid <= limit(p.theta.len(), 1e2), "{rigid:e}");
        let (affine, kappa) = drift(Method::GradientDescent, &p, changes(&p.net, change, false));
        prop_assume!(kappa < SINGULAR);
        prop_assert!(affine > 1e-2, "{affine:e}");
    }
}

/// tanh(s) = 2σ(2s) - 1: a logistic network with W' = c W T computes the same function.
fn as_logistic(p: &Problem) -> (Mlp<f64>, Vec<Change>) {
    let net = Mlp::builder(2)
        .layer(3, Activation::Logistic)
        .layer(2, Activation::Identity)
        .loss(p.net.output_loss())
        .reduction(p.net.reduction())
        .build()
        .unwrap();
    // tanh activations from logistic ones: a = 2a' - 1; pre-activations s = s'/2 in the hidden layer
    let hidden = Mat::from_fn(4, 4, |i, j| match (i, j) {
        (3, 3) => 1.0,
        (_, 3) => -1.0,
        _ if i == j => 2.0,
        _ => 0.0,
    });
    let double = Mat::from_diagonal(&[2.0; 3]);
    // W' = Φ' W Ω': maps θ to θ'
    let to_logistic =
        vec![Change { phi: double, omega: Mat::identity(3) }, Change { phi: Mat::identity(2), omega: hidden }];
    (net, to_logistic)
}

#[test]
fn a_tanh_network_and_its_logistic_twin_take_the_same_steps() {
    let ctx = Ctx::default();
    let (mut tried, mut chains) = (0, 0);
    for seed in 0..8 {
        let p = tanh_net(Loss::SquaredError, seed);
        let (logistic, map) = as_logistic(&p);
        let to_logistic = Reparameterized { inner: &logistic, changes: map };
        let twin = to_logistic.to_inner(&ctx, &p.theta);
        let losses = (p.net.loss(&ctx, &p.theta, &p.batch).unwrap(), logistic.loss(&ctx, &twin, &p.batch).unwrap());
        assert!((losses.0 - losses.1).abs() <= tolerance::<f64>(40, losses.0));
        for m in [Method::GaussNewton, Method::NaturalGradient, Method::Kfac, Method::KfacTridiagonal] {
            let (here, k1) = run(&ctx, m, &p.net, &p.theta, &p.batch);
            let (there, k2) = run(&ctx, m, &logistic, &twin, &p.batch);
            let kappa = k1.max(k2);
            if kappa >= SINGULAR {
                continue;
            }
            tried += 1;
            chains += usize::from(m == Method::KfacTridiagonal);
            let drift = relative_distance(&there, &to_logistic.to_inner(&ctx, &here), &twin);
            assert!(drift <= limit(twin.len(), kappa), "{m:?}, seed {seed}: {drift:e}, condition {kappa:e}");
        }
        let m = Method::GradientDescent;
        let (here, k1) = run(&ctx, m, &p.net, &p.theta, &p.batch);
        let (there, k2) = run(&ctx, m, &logistic, &twin, &p.batch);
        if k1.max(k2) < SINGULAR {
            assert!(relative_distance(&there, &to_logistic.to_inner(&ctx, &here), &twin) > 1e-2);
        }
    }
    assert!(tried >= 20 && chains >= 4, "only {tried} of 32 runs, {chains} of 8 chains, stayed non-singular");
}

#[test]
fn newton_takes_the_same_step_on_a_tanh_network_and_its_logistic_twin() {
    let ctx = Ctx::default();
    let mut tried = 0;
    for seed in 0..20 {
        let p = tanh_net(Loss::SquaredError, seed);
        let (logistic, map) = as_logistic(&p);
        let to_logistic = Reparameterized { inner: &logistic, changes: map };
        let twin = to_logistic.to_inner(&ctx, &p.theta);
        let hessian = |net: &Mlp<f64>, theta: &[f64]| {
            HessianOperator::new(&ctx, net, theta, &p.batch).unwrap().to_dense(&ctx).unwrap()
        };
        // -H⁻¹∇h by eigenvalues, of whatever sign: Newton's law asks for non-singular, not for positive
        let step = |h: Mat<f64>, g: &[f64]| {
            let eigen = pullback::factor::SymEigen::new(&ctx, h).unwrap();
            let magnitudes = eigen.values().iter().map(|w| w.abs());
            let (low, high) = magnitudes.fold((f64::INFINITY, 0.0f64), |(l, h), w| (l.min(w), h.max(w)));
            let mut d = vec![0.0; g.len()];
            eigen.map_apply(&ctx, |w| -1.0 / w, MatRef::from_column(g), MatMut::from_column(&mut d)).unwrap();
            (d, high / low)
        };
        let (here, k1) = step(hessian(&p.net, &p.theta), &gradient(&ctx, &p.net, &p.theta, &p.batch));
        let (there, k2) = step(hessian(&logistic, &twin), &gradient(&ctx, &logistic, &twin, &p.batch));
        if k1.max(k2) > 1e6 {
            continue;
        }
        tried += 1;
        let zero = vec![0.0; here.len()];
        let drift = relative_distance(&there, &to_logistic.to_inner(&ctx, &here), &zero);
        assert!(drift <= limit(here.len(), k1.max(k2)), "seed {seed}: {drift:e}");
    }
    assert!(tried >= 10, "only {tried} well-conditioned Hessians");
}

/// The optimizer itself, as nearly undamped as its type allows.
fn optimizer_run<O>(ctx: &Ctx<f64>, o: &O, start: &[f64], batch: &O::Batch, lambda: f64) -> Vec<f64>
where
    O: LayeredObjective<f64>,
{
    let options = KfacOptions {
        lambda,
        adaptation: None,
        damping: KroneckerDamping::Exact,
        fisher: FisherKind::Exact,
        decay: pullback::stats::Decay::new(0.0).unwrap(),
        refresh_interval: 1,
        step: StepRule::Fixed { learning_rate: STEP, momentum: 0.0, norm_constraint: None },
        rejection: Rejection::Never,
        ..KfacOptions::default()
    };
    let mut kfac = Kfac::new(options).unwrap();
    let mut theta = start.to_vec();
    for _ in 0..STEPS {
        kfac.step(ctx, o, &mut theta, batch).unwrap();
    }
    theta
}

/// Smallest eigenvalue over all layers' A ⊗ S.
fn smallest_block_eigenvalue<O: LayeredObjective<f64>>(ctx: &Ctx<f64>, o: &O, theta: &[f64], b: &O::Batch) -> f64 {
    let factors = factors(ctx, o, theta, b, FisherKind::Exact, 0..1);
    let lowest = |m: MatRef<'_, f64>| pullback::factor::SymEigen::new(ctx, m.to_owned()).unwrap().values()[0];
    factors.0.iter().map(|f| lowest(f.a()) * lowest(f.s())).fold(f64::INFINITY, f64::min)
}

/// The weaker law: the drift of the damped optimizer is at most of the order of λ over the smallest curvature, and by
/// the time λ is of that order it is really there.
#[test]
fn the_damped_optimizer_drifts_as_lambda_grows() {
    let ctx = Ctx::default();
    for seed in 0..4 {
        let p = tanh_net(Loss::SquaredError, seed);
        let changes = changes(&p.net, seed + 100, false);
        let start = theta_for(&ctx, &p, &changes);
        let other = Reparameterized { inner: &p.net, changes };
        let floor = smallest_block_eigenvalue(&ctx, &p.net, &p.theta, &p.batch)
            .min(smallest_block_eigenvalue(&ctx, &other, &start, &p.batch));
        let drift = |lambda: f64| {
            let here = optimizer_run(&ctx, &p.net, &p.theta, &p.batch, lambda);
            let there = other.to_inner(&ctx, &optimizer_run(&ctx, &other, &start, &p.batch, lambda));
            relative_distance(&there, &here, &p.theta)
        };
        // changes of condition about 2 in each factor, three steps that pass the first difference on
        let slope = 100.0;
        let mut last = 0.0;
        for power in [-9, -7, -5, -3] {
            let ratio = 10f64.powi(power);
            let d = drift(ratio * floor);
            let rounding = limit(p.theta.len(), 1.0 / floor);
            assert!(d <= slope * ratio + rounding, "seed {seed}, λ = {ratio:e} of the floor: {d:e}");
            assert!(d + rounding >= last, "seed {seed}: drift fell from {last:e} to {d:e}");
            last = d;
        }
        let large = drift(100.0 * floor);
        assert!(large > 1e-2, "seed {seed}: {large:e}");
    }
}
