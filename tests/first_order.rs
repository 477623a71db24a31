//! Sgd and Adam: their recursions on a quadratic, their invariances, their errors.

use proptest::prelude::*;
use pullback::optim::{Adam, MomentumKind, Objective, Optimizer, ParamLayout, Sgd};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Mat, Op, Result};

/// h(θ) = ½ θᵀHθ - bᵀθ; the batch is b.
struct Quadratic {
    h: Mat<f64>,
    layout: ParamLayout,
}

impl Quadratic {
    fn new(h: Mat<f64>) -> Self {
        let layout = ParamLayout::new([(h.nrows(), 1)]);
        Self { h, layout }
    }
}

impl Objective<f64> for Quadratic {
    type Batch = [f64];

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &[f64]) -> Result<f64> {
        self.loss_grad(ctx, theta, batch, &mut vec![0.0; theta.len()])
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &[f64], grad: &mut [f64]) -> Result<f64> {
        ctx.gemv(1.0, self.h.as_ref(), Op::No, theta, 0.0, grad)?;
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let loss = 0.5 * dot(theta, grad) - dot(theta, batch);
        grad.iter_mut().zip(batch).for_each(|(g, b)| *g -= b);
        Ok(loss)
    }
}

fn run<O: Optimizer<f64, Quadratic>>(
    optimizer: &mut O,
    problem: &Quadratic,
    b: &[f64],
    start: &[f64],
    k: usize,
) -> Vec<f64> {
    let ctx = Ctx::reference();
    let mut theta = start.to_vec();
    for _ in 0..k {
        optimizer.step(&ctx, problem, &mut theta, b).unwrap();
    }
    theta
}

fn close(a: &[f64], b: &[f64], tol: f64) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tol * (1.0 + b.abs()))
}

#[test]
fn heavy_ball_on_one_eigenvalue_follows_its_two_term_recursion() {
    // θ_{k+1} = (1 + μ - αh) θ_k - μ θ_{k-1}
    let (h, alpha, mu) = (3.0, 0.1, 0.7);
    let problem = Quadratic::new(Mat::from_diagonal(&[h]));
    let (mut previous, mut now) = (1.0, 1.0);
    for k in 1..=10 {
        (previous, now) = (now, (1.0 + mu - alpha * h) * now - mu * previous);
        let mut sgd = Sgd::new(alpha, mu, MomentumKind::HeavyBall).unwrap();
        assert!(close(&run(&mut sgd, &problem, &[0.0], &[1.0], k), &[now], tolerance::<f64>(k, 1.0)));
    }
}

#[test]
fn nesterov_equals_the_look_ahead_form() {
    // the published form keeps y = θ + μ v and takes the gradient there; its y is our θ
    let (h, alpha, mu) = (2.0, 0.15, 0.8);
    let problem = Quadratic::new(Mat::from_diagonal(&[h]));
    let (mut theta, mut v) = (1.0, 0.0);
    let mut look_ahead = theta;
    for _ in 0..12 {
        v = mu * v - alpha * h * look_ahead;
        theta += v;
        look_ahead = theta + mu * v;
    }
    let mut sgd = Sgd::new(alpha, mu, MomentumKind::Nesterov).unwrap();
    assert!(close(&run(&mut sgd, &problem, &[0.0], &[1.0], 12), &[look_ahead], tolerance::<f64>(12, 1.0)));
}

#[test]
fn adam_steps_by_its_learning_rate_along_the_sign_at_first() {
    let problem = Quadratic::new(Mat::from_diagonal(&[1e-3, 1.0, 1e3]));
    let theta = run(&mut Adam::new(0.01).unwrap(), &problem, &[0.0; 3], &[1.0, -1.0, 1.0], 1);
    // ε = 1e-8 beside |g| >= 1e-3 changes the step by 1e-5 of itself
    assert!(close(&theta, &[0.99, -0.99, 0.99], 0.01 * 1e-5 + tolerance::<f64>(1, 1.0)), "{theta:?}");
}

#[test]
fn adam_follows_the_published_recursion() {
    let (alpha, b1, b2, eps, h) = (0.05, 0.9, 0.999, 1e-8, 4.0);
    let problem = Quadratic::new(Mat::from_diagonal(&[h]));
    let (mut theta, mut m, mut v) = (2.0f64, 0.0f64, 0.0f64);
    for k in 1..=20 {
        let g = h * theta - 1.0;
        m = b1 * m + (1.0 - b1) * g;
        v = b2 * v + (1.0 - b2) * g * g;
        theta -= alpha * (m / (1.0 - b1.powi(k))) / ((v / (1.0 - b2.powi(k))).sqrt() + eps);
    }
    let ours = run(&mut Adam::new(alpha).unwrap(), &problem, &[1.0], &[2.0], 20);
    assert!(close(&ours, &[theta], tolerance::<f64>(200, 1.0)), "{ours:?} {theta}");
}

proptest! {
    /// Gradient descent commutes with a rotation of the parameters, Adam does not: the negative control.
    #[test]
    fn gradient_descent_commutes_with_rotations_and_adam_does_not(angle in 0.3..1.2f64, ratio in 2.0..50.0f64) {
        let (c, s) = (angle.cos(), angle.sin());
        let rotate = |x: &[f64]| vec![c * x[0] - s * x[1], s * x[0] + c * x[1]];
        let q = Mat::from_vec(vec![c, s, -s, c], 2, 2).unwrap();
        let ctx = Ctx::reference();
        let (mut qh, mut qhq) = (Mat::zeros(2, 2), Mat::zeros(2, 2));
        let h = Mat::from_diagonal(&[1.0, ratio]);
        ctx.gemm(1.0, q.as_ref(), Op::No, h.as_ref(), Op::No, 0.0, qh.as_mut()).unwrap();
        ctx.gemm(1.0, qh.as_ref(), Op::No, q.as_ref(), Op::Transpose, 0.0, qhq.as_mut()).unwrap();
        let (plain, turned) = (Quadratic::new(h), Quadratic::new(qhq));
        let (b, start) = ([0.5, -1.0], [1.0, 2.0]);
        let sgd = || Sgd::new(0.5 / ratio, 0.5, MomentumKind::HeavyBall).unwrap();
        let here = rotate(&run(&mut sgd(), &plain, &b, &start, 5));
        let there = run(&mut sgd(), &turned, &rotate(&b), &rotate(&start), 5);
        let tol = tolerance::<f64>(50, ratio);
        prop_assert!(close(&here, &there, tol));
        let adam = || Adam::new(0.1).unwrap();
        let here = rotate(&run(&mut adam(), &plain, &b, &start, 5));
        let there = run(&mut adam(), &turned, &rotate(&b), &rotate(&start), 5);
        prop_assert!(!close(&here, &there, tol));
    }
}

#[test]
fn bad_parameters_and_bad_numbers_are_typed_errors_and_leave_theta_alone() {
    assert!(matches!(Sgd::new(0.0, 0.5, MomentumKind::HeavyBall), Err(Error::InvalidParameter { .. })));
    assert!(matches!(Sgd::new(f64::NAN, 0.5, MomentumKind::HeavyBall), Err(Error::InvalidParameter { .. })));
    assert!(matches!(Sgd::new(0.1, 1.0, MomentumKind::HeavyBall), Err(Error::InvalidParameter { .. })));
    assert!(matches!(Adam::with_parameters(0.1, 0.9, 1.0, 1e-8), Err(Error::InvalidParameter { .. })));
    let problem = Quadratic::new(Mat::from_diagonal(&[f64::NAN, 1.0]));
    let mut theta = [1.0, 1.0];
    let mut sgd = Sgd::new(0.1, 0.0, MomentumKind::HeavyBall).unwrap();
    let outcome = sgd.step(&Ctx::reference(), &problem, &mut theta, &[0.0, 0.0]);
    assert!(matches!(outcome, Err(Error::NotFinite { op: "loss", .. })));
    assert_eq!(theta, [1.0, 1.0]);
    let outcome = sgd.step(&Ctx::reference(), &problem, &mut [1.0], &[0.0]);
    assert!(matches!(outcome, Err(Error::Shape { .. })));
}
