//! Claim: a SPRING step is the minimizer of the problem it names; without momentum it is the damped Gauss-Newton step;
//! it descends; and an error leaves θ and the optimizer as they were.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;
mod nn_fixture;

use curvature_support::{distance, norm, random, shifted, times};
use nn_fixture::{LOSSES, Random, case};
use pullback::curvature::{DenseJacobian, JacobianSource, SampleSpaceOptions, SampleSpacePath};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::CgOptions;
use pullback::nn::{Activation, Batch, Init, Loss, Mlp, MlpJacobian, Reduction};
use pullback::optim::{
    Linearization, Objective, Optimizer, ParamLayout, ResidualObjective, Spring, SpringOptions, StepReport,
};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, Result, Scalar};

/// ½ ‖A θ - b‖² + η/2 ‖θ‖², b being the batch.
struct LeastSquares<T> {
    a: Mat<T>,
    eta: T,
    layout: ParamLayout,
}

impl<T: Scalar> LeastSquares<T> {
    fn new(a: Mat<T>, eta: f64) -> Self {
        let layout = ParamLayout::new([(a.ncols(), 1)]);
        Self { a, eta: T::of(eta), layout }
    }

    fn residual(&self, theta: &[T], b: &[T]) -> Vec<T> {
        let row = |i: usize| -> T { (0..self.a.ncols()).map(|k| self.a[(i, k)] * theta[k]).sum() };
        b.iter().enumerate().map(|(i, &b)| row(i) - b).collect()
    }
}

impl<T: Scalar> Objective<T> for LeastSquares<T> {
    type Batch = [T];

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn l2(&self) -> T {
        self.eta
    }

    fn loss(&self, _: &Ctx<T>, theta: &[T], b: &[T]) -> Result<T> {
        let squares = |x: &[T]| -> T { x.iter().map(|&x| x * x).sum() };
        Ok(T::of(0.5) * (squares(&self.residual(theta, b)) + self.eta * squares(theta)))
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], b: &[T], grad: &mut [T]) -> Result<T> {
        let r = self.residual(theta, b);
        for (k, g) in grad.iter_mut().enumerate() {
            *g = self.a.as_ref().col(k).iter().zip(&r).map(|(&a, &r)| a * r).sum::<T>() + self.eta * theta[k];
        }
        self.loss(ctx, theta, b)
    }
}

impl<T: Scalar> ResidualObjective<T> for LeastSquares<T> {
    type Jacobian<'a> = DenseJacobian<T>;

    fn linearize<'a>(&'a self, ctx: &Ctx<T>, theta: &'a [T], b: &'a [T]) -> Result<Linearization<T, DenseJacobian<T>>> {
        let residual = self.residual(theta, b);
        Ok(Linearization { loss: self.loss(ctx, theta, b)?, jacobian: DenseJacobian::new(self.a.clone())?, residual })
    }
}

fn column<T: Scalar>(x: &[T]) -> Mat<f64> {
    Mat::from_fn(x.len(), 1, |i, _| x[i].f64())
}

/// argmin ‖J p - r‖² + λ‖p - μ φ‖² + η‖p - θ‖² in f64: (JᵀJ + (λ + η)I) p = Jᵀr + λ μ φ + η θ.
fn argmin(j: &Mat<f64>, r: &Mat<f64>, terms: [(f64, Mat<f64>); 2]) -> Mat<f64> {
    let shift: f64 = terms.iter().map(|(weight, _)| weight).sum();
    let mut p = times(&j.transposed(), r);
    for (weight, center) in terms {
        (0..p.nrows()).for_each(|i| p[(i, 0)] += weight * center[(i, 0)]);
    }
    let system = shifted(&times(&j.transposed(), j), shift);
    let ctx = Ctx::reference();
    Cholesky::new(&ctx, system).unwrap().solve_in_place(&ctx, p.as_mut()).unwrap();
    p
}

fn scaled(x: &Mat<f64>, s: f64) -> Mat<f64> {
    x.map(|v| s * v)
}

/// A path; where it iterates, to rounding.
fn solve<T: Scalar>(path: SampleSpacePath) -> SampleSpaceOptions<T> {
    let iteration = CgOptions { relative_tolerance: T::EPS, ..CgOptions::from_zero() };
    SampleSpaceOptions { path, iteration, ..SampleSpaceOptions::default() }
}

const PATHS: [SampleSpacePath; 5] = [
    SampleSpacePath::Auto,
    SampleSpacePath::Primal,
    SampleSpacePath::Kernel,
    SampleSpacePath::ConjugateGradient,
    SampleSpacePath::Lsmr,
];

/// Several steps on changing batches: φ, the update and the report of each.
fn steps_are_the_argmin<T: Scalar>() {
    for (n, p) in [(1, 1), (3, 20), (20, 3), (17, 33), (33, 31)] {
        for eta in [0.0, 0.2] {
            for path in PATHS {
                let objective = LeastSquares::new(random::<T>(n, p, 100), eta);
                let j = objective.a.cast::<f64>();
                let options = SpringOptions {
                    lambda: 0.1,
                    momentum: 0.9,
                    learning_rate: 0.5,
                    decay: 0.25,
                    max_squared_norm: None,
                    solve: solve(path),
                };
                for ctx in contexts::<T>() {
                    let mut spring = Spring::new(options).unwrap();
                    let mut theta = random::<T>(p, 1, 101).into_vec();
                    let mut last = Mat::zeros(p, 1);
                    for k in 0..4 {
                        let b = random::<T>(n, 1, 102 + k).into_vec();
                        let before = theta.clone();
                        let r = column(&objective.residual(&before, &b));
                        let report = spring.step(&ctx, &objective, &mut theta, &b).unwrap();
                        let centers = [(0.1, scaled(&last, 0.9)), (eta, column(&before))];
                        let want = argmin(&j, &r, centers);
                        let phi = column(spring.direction().unwrap());
                        let place = format!("{n} x {p}, eta {eta}, {path:?}, step {k} on {}", ctx.backend().name());
                        // ‖(JᵀJ + s)⁻¹Jᵀ‖ <= 1/2√s; the prior is taken back through J
                        let kappa = 1.0 + norm(&j).powi(2) / (0.1 + eta);
                        let sizes = norm(&want) + norm(&r) + norm(&last) + norm(&column(&before));
                        let limit = tolerance::<T>(n.max(p), kappa) * sizes;
                        let error = distance(&phi, &want);
                        assert!(error <= limit, "{place}: off by {error:e}, limit {limit:e}");
                        let alpha = 0.5 / (1.0 + 0.25 * k as f64);
                        let moved = Mat::from_fn(p, 1, |i, _| before[i].f64() - alpha * phi[(i, 0)]);
                        let rounding = tolerance::<T>(1, 1.0) * (norm(&moved) + norm(&phi));
                        assert!(distance(&column(&theta), &moved) <= rounding, "{place}: the update");
                        assert!((report.alpha.unwrap().f64() - alpha).abs() <= tolerance::<T>(1, 1.0), "{place}");
                        assert!((report.lambda.unwrap().f64() - 0.1).abs() <= tolerance::<T>(1, 1.0), "{place}");
                        assert_eq!(report.loss_before, objective.loss(&ctx, &before, &b).unwrap(), "{place}");
                        // what a path that iterates, or is chosen by a norm of J, takes is for tests/passes.rs
                        let (prior, jvp) = (u64::from(k > 0 || eta > 0.0), report.passes.jvp);
                        let direct = matches!(path, SampleSpacePath::Primal | SampleSpacePath::Kernel);
                        assert!(jvp == prior || (!direct && jvp > prior), "{place}: {jvp} products");
                        last = phi;
                    }
                }
            }
        }
    }
}

fn plain<T: Scalar>(lambda: f64, path: SampleSpacePath) -> SpringOptions<T> {
    SpringOptions { lambda, momentum: 0.0, learning_rate: 1.0, decay: 0.0, max_squared_norm: None, solve: solve(path) }
}

/// μ = 0 on a network: θ - (G + (λ + η)I)⁻¹∇h, with G and ∇h from the network's own products.
fn without_momentum_it_is_damped_gauss_newton<T: Scalar>() {
    for loss in LOSSES {
        for eta in [0.0, 0.1] {
            let c = case::<T>(&[3, 5, 2], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, eta, 7, 103);
            let p = c.theta.len();
            for ctx in contexts::<T>() {
                let j = MlpJacobian::new(&ctx, &c.net, &c.theta, &c.batch).unwrap();
                let ggn = j.gram(&ctx).unwrap().cast::<f64>();
                let mut gradient = Mat::zeros(p, 1);
                c.net.loss_grad(&ctx, &c.theta, &c.batch, gradient.as_mut_slice()).unwrap();
                let lambda = 0.05;
                let system = shifted(&ggn, lambda + eta);
                let wide = Ctx::reference();
                let mut want = gradient.cast::<f64>();
                Cholesky::new(&wide, system).unwrap().solve_in_place(&wide, want.as_mut()).unwrap();
                let largest = *SymEigen::new(&wide, ggn).unwrap().values().last().unwrap();
                for path in PATHS {
                    let mut spring = Spring::new(plain(lambda, path)).unwrap();
                    let mut theta = c.theta.clone();
                    spring.step(&ctx, &c.net, &mut theta, &c.batch).unwrap();
                    let phi = column(spring.direction().unwrap());
                    let kappa = 1.0 + largest / (lambda + eta);
                    // r carries 1/√p beside the gradient
                    let r = c.net.linearize(&ctx, &c.theta, &c.batch).unwrap().residual;
                    let sizes = norm(&want) + norm(&column(&r)) / lambda.sqrt() + norm(&column(&c.theta));
                    let limit = tolerance::<T>(2 * p, kappa) * sizes;
                    let error = distance(&phi, &want);
                    assert!(error <= limit, "{} {path:?}: off by {error:e}, limit {limit:e}", c.name);
                }
            }
        }
    }
}

/// What the batch does not see keeps what the last direction said, times μ.
fn the_unseen_part_is_kept<T: Scalar>() {
    let (n, p) = (2, 6);
    let first = |k: usize| Mat::from_fn(n, p, |i, c| if c == 2 * k + i { T::ONE } else { T::ZERO });
    let options = SpringOptions { momentum: 0.5, ..plain(0.25, SampleSpacePath::Kernel) };
    let mut spring = Spring::new(options).unwrap();
    let ctx = Ctx::<T>::default();
    let mut theta = vec![T::ZERO; p];
    let b = [T::of(-5.0), T::of(10.0)];
    spring.step(&ctx, &LeastSquares::new(first(0), 0.0), &mut theta, &b).unwrap();
    let near = |got: &[T], want: [f64; 2]| {
        let error = got.iter().zip(want).fold(0.0, |m: f64, (g, w)| m.max((g.f64() - w).abs()));
        assert!(error <= tolerance::<T>(p, 1.25) * 8.0, "{got:?}, expected {want:?}");
    };
    // r / (1 + λ)
    let seen: Vec<T> = spring.direction().unwrap()[..2].to_vec();
    near(&seen, [4.0, -8.0]);
    spring.step(&ctx, &LeastSquares::new(first(1), 0.0), &mut theta, &b).unwrap();
    let half: Vec<T> = seen.iter().map(|&x| T::of(0.5) * x).collect();
    assert_eq!(spring.direction().unwrap()[..2], half);
    near(&spring.direction().unwrap()[2..4], [4.0, -8.0]);
    assert_eq!(spring.direction().unwrap()[4..], [T::ZERO; 2]);
}

fn a_regression_is_learned<T: Scalar>() {
    let net = Mlp::builder(1).layer(20, Activation::Tanh).layer(1, Activation::Identity).build().unwrap();
    let x = Mat::from_fn(1, 16, |_, j| T::of(j as f64 / 4.0 - 2.0));
    let t = x.map(|x| (T::of(2.0) * x).sin());
    let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
    for ctx in contexts::<T>() {
        for momentum in [0.0, 0.8] {
            let mut theta = net.init(Init::GlorotUniform, 104);
            let options = SpringOptions { momentum, learning_rate: 0.3, max_squared_norm: None, ..Default::default() };
            let mut spring = Spring::new(options).unwrap();
            let before = net.loss(&ctx, &theta, &batch).unwrap();
            for _ in 0..60 {
                spring.step(&ctx, &net, &mut theta, &batch).unwrap();
            }
            let after = net.loss(&ctx, &theta, &batch).unwrap();
            assert!(after < T::of(0.02) * before, "mu {momentum}: {before:e} to {after:e}");
        }
    }
}

for_both!(
    steps_are_the_argmin,
    without_momentum_it_is_damped_gauss_newton,
    the_unseen_part_is_kept,
    a_regression_is_learned
);

#[test]
fn classification_losses_descend() {
    let ctx = Ctx::<f64>::default();
    for loss in [Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy] {
        let c = case::<f64>(&[4, 12, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 1e-3, 20, 105);
        let mut theta = c.theta.clone();
        let options = SpringOptions { lambda: 1e-2, momentum: 0.5, learning_rate: 0.2, ..SpringOptions::default() };
        let mut spring = Spring::new(SpringOptions { max_squared_norm: None, ..options }).unwrap();
        let before = c.net.loss(&ctx, &theta, &c.batch).unwrap();
        for _ in 0..30 {
            spring.step(&ctx, &c.net, &mut theta, &c.batch).unwrap();
        }
        let after = c.net.loss(&ctx, &theta, &c.batch).unwrap();
        assert!(after < before, "{loss:?}: {before} to {after}");
    }
}

#[test]
fn a_long_update_is_cut_to_its_limit() {
    let ctx = Ctx::<f64>::default();
    let objective = LeastSquares::new(random::<f64>(5, 9, 106), 0.0);
    let b = Random::new(107).vector::<f64>(5, 10.0);
    let start = vec![0.0; 9];
    let run = |limit: Option<f64>| -> (Vec<f64>, StepReport<f64>) {
        let options = SpringOptions { max_squared_norm: limit, ..plain(1e-3, SampleSpacePath::Kernel) };
        let mut theta = start.clone();
        let report = Spring::new(options).unwrap().step(&ctx, &objective, &mut theta, &b).unwrap();
        (theta, report)
    };
    let (free, report) = run(None);
    assert_eq!(report.alpha, Some(1.0));
    let (cut, report) = run(Some(1e-4));
    let (long, short) = (norm(&column(&free)), norm(&column(&cut)));
    assert!(long > 1.0 && (short - 1e-2).abs() <= 1e-2 * tolerance::<f64>(9, 1.0), "{long} cut to {short}");
    assert!((report.alpha.unwrap() - short / long).abs() <= tolerance::<f64>(9, 1.0));
    let (loose, _) = run(Some(2.0 * long * long));
    assert_eq!(loose, free);
    // between the limit and its root: a limit is one of the square
    let small: Vec<f64> = b.iter().map(|b| b * 5e-3 / long).collect();
    let mut theta = start.clone();
    let options = SpringOptions { max_squared_norm: Some(1e-4), ..plain(1e-3, SampleSpacePath::Kernel) };
    let report = Spring::new(options).unwrap().step(&ctx, &objective, &mut theta, &small).unwrap();
    assert_eq!(report.alpha, Some(1.0));
}

#[test]
fn errors_leave_parameters_and_state_alone() {
    let ctx = Ctx::<f64>::default();
    let good = LeastSquares::new(random::<f64>(3, 4, 108), 0.0);
    let bad = LeastSquares::new(Mat::from_fn(3, 4, |_, _| f64::MAX), 0.0);
    let b = [1.0, 2.0, 3.0];
    let mut spring = Spring::new(SpringOptions::default()).unwrap();
    let mut theta = vec![0.1, 0.2, 0.3, 0.4];
    spring.step(&ctx, &good, &mut theta, &b).unwrap();
    let (kept, phi, rate) = (theta.clone(), spring.direction().unwrap().to_vec(), spring.learning_rate());
    let same = |spring: &Spring<f64>, theta: &[f64]| {
        assert_eq!((theta, spring.direction().unwrap()), (&kept[..], &phi[..]));
        assert_eq!(spring.learning_rate(), rate);
    };
    let outcome = spring.step(&ctx, &bad, &mut theta, &b);
    assert!(matches!(outcome, Err(Error::NotFinite { op: "loss", .. })), "{outcome:?}");
    same(&spring, &theta);
    // a finite loss, but J Jᵀ overflows
    let steep = LeastSquares::new(Mat::from_fn(3, 4, |i, k| if k == i { 1e160 } else { 0.0 }), 0.0);
    let mut origin = vec![0.0; 4];
    let outcome = spring.step(&ctx, &steep, &mut origin, &b);
    assert!(matches!(outcome, Err(Error::NotFinite { .. })), "{outcome:?}");
    assert_eq!(origin, [0.0; 4]);
    same(&spring, &theta);
    let outcome = spring.step(&ctx, &good, &mut theta[..3], &b);
    assert!(matches!(outcome, Err(Error::Shape { .. })), "{outcome:?}");
    let other = LeastSquares::new(random::<f64>(3, 5, 109), 0.0);
    let outcome = spring.step(&ctx, &other, &mut [0.0; 5], &b);
    assert!(matches!(outcome, Err(Error::Shape { .. })), "{outcome:?}");
    same(&spring, &theta);

    // a network that is certain and wrong has no finite residual
    let net = Mlp::<f32>::builder(1).layer(1, Activation::Identity).loss(Loss::BernoulliCrossEntropy).build().unwrap();
    let one = Mat::from_fn(1, 1, |_, _| 1.0f32);
    let batch = Batch::new(one.as_ref(), one.as_ref()).unwrap();
    let mut theta = [-300.0f32, 0.0];
    let outcome = Spring::new(SpringOptions::default()).unwrap().step(&Ctx::default(), &net, &mut theta, &batch);
    assert!(matches!(outcome, Err(Error::NotFinite { op: "residual", .. })), "{outcome:?}");
    assert_eq!(theta, [-300.0, 0.0]);
}

#[test]
fn bad_options_are_typed_errors() {
    let with = |change: &dyn Fn(&mut SpringOptions<f64>)| {
        let mut options = SpringOptions::default();
        change(&mut options);
        Spring::new(options)
    };
    assert!(with(&|_| ()).is_ok());
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let wrong = |change: &dyn Fn(&mut SpringOptions<f64>)| {
            assert!(matches!(with(change), Err(Error::InvalidParameter { .. })));
        };
        wrong(&|o| o.lambda = bad);
        wrong(&|o| o.momentum = bad);
        wrong(&|o| o.learning_rate = bad);
        wrong(&|o| o.decay = bad);
        wrong(&|o| o.max_squared_norm = Some(bad));
        wrong(&|o| o.solve.iteration.absolute_tolerance = bad);
        let mut spring = with(&|_| ()).unwrap();
        assert!(matches!(spring.set_lambda(bad), Err(Error::InvalidParameter { .. })));
        assert_eq!(spring.options().lambda, 1e-3);
        spring.set_lambda(0.5).unwrap();
        assert_eq!(spring.options().lambda, 0.5);
    }
    assert!(matches!(with(&|o| o.momentum = 1.0), Err(Error::InvalidParameter { .. })));
    assert!(matches!(with(&|o| o.lambda = 0.0), Err(Error::InvalidParameter { .. })));
}
