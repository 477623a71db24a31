//! Levenberg-Marquardt by QR: the step is the minimizer of its model, in any units, with digits that JᵀJ loses; rejections
//! and errors move nothing.

use pullback::factor::Lu;
use pullback::optim::line_search::FixedStep;
use pullback::optim::{
    DampedNewton, DampingMetric, DampingRule, GaussNewton, KernelModel, LevenbergMarquardtMethod, Linearization,
    ModelSource, Nielsen, Objective, Optimizer, ParamLayout, Passes, QrModel, ResidualObjective,
};
use pullback::testing::problems::{Formula, MoreGarbowHillstrom, Number, SumOfSquares};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Error, Mat, Op, Result};

type ByQr = LevenbergMarquardtMethod<f64, QrModel<f64>>;

fn marquardt(lambda: f64) -> ByQr {
    LevenbergMarquardtMethod::by_qr(lambda).unwrap()
}

fn lambda(method: &ByQr) -> f64 {
    method.assembly().rule().lambda()
}

/// A sum of squares with an L2 term.
struct Decayed(SumOfSquares, f64);

impl Objective<f64> for Decayed {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        self.0.layout()
    }

    fn l2(&self) -> f64 {
        self.1
    }

    fn loss(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &()) -> Result<f64> {
        Ok(self.0.loss(ctx, theta, batch)? + 0.5 * self.1 * theta.iter().map(|w| w * w).sum::<f64>())
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &(), grad: &mut [f64]) -> Result<f64> {
        self.0.loss_grad(ctx, theta, batch, grad)?;
        grad.iter_mut().zip(theta).for_each(|(g, w)| *g += self.1 * w);
        self.loss(ctx, theta, batch)
    }
}

impl ResidualObjective<f64> for Decayed {
    type Jacobian<'a> = <SumOfSquares as ResidualObjective<f64>>::Jacobian<'a>;

    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        theta: &'a [f64],
        batch: &'a (),
    ) -> Result<Linearization<f64, Self::Jacobian<'a>>> {
        Ok(Linearization { loss: self.loss(ctx, theta, batch)?, ..self.0.linearize(ctx, theta, batch)? })
    }
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// -(JᵀJ + ηI + λD²)⁻¹ ∇h by elimination, D² = diag(JᵀJ + ηI).
fn oracle(ctx: &Ctx<f64>, h: &Decayed, theta: &[f64], lambda: f64) -> Vec<f64> {
    let n = theta.len();
    let line = h.linearize(ctx, theta, &()).unwrap();
    let (j, mut c) = (line.jacobian.matrix().as_ref(), Mat::zeros(n, n));
    ctx.gemm(1.0, j, Op::Transpose, j, Op::No, 0.0, c.as_mut()).unwrap();
    for i in 0..n {
        c[(i, i)] = (c[(i, i)] + h.1) * (1.0 + lambda);
    }
    let mut gradient = vec![0.0; n];
    h.loss_grad(ctx, theta, &(), &mut gradient).unwrap();
    let mut step = Mat::from_fn(n, 1, |i, _| -gradient[i]);
    Lu::new(c).unwrap().solve_in_place(ctx, step.as_mut()).unwrap();
    step.into_vec()
}

#[test]
fn a_step_is_the_minimizer_of_the_damped_model() {
    for ctx in contexts::<f64>() {
        for (problem, eta, lambda) in [
            (MoreGarbowHillstrom::Bard, 0.0, 0.3),
            (MoreGarbowHillstrom::Bard, 0.2, 0.3),
            (MoreGarbowHillstrom::Wood, 0.05, 1.0),
            (MoreGarbowHillstrom::BroydenBanded, 0.0, 1e-3),
            (MoreGarbowHillstrom::Osborne2, 0.01, 0.1),
        ] {
            let (h, start) = (Decayed(SumOfSquares::new(problem), eta), problem.start());
            let mut theta = start.clone();
            let report = marquardt(lambda).step(&ctx, &h, &mut theta, &()).unwrap();
            assert!(!report.rejected, "{problem:?}");
            // λ of the trial that was accepted
            let expected = oracle(&ctx, &h, &start, report.lambda.unwrap());
            let column = |x: &[f64]| Mat::from_fn(x.len(), 1, |i, _| x[i]);
            let found: Vec<f64> = theta.iter().zip(&start).map(|(a, b)| a - b).collect();
            let error = relative_error(column(&found).as_ref(), column(&expected).as_ref());
            // the oracle squares the condition, and θ + δ - θ loses what θ has more than δ
            let limit = tolerance::<f64>(problem.shape().0, 1e4);
            assert!(error <= limit, "{problem:?} on {}: {error:e}", ctx.backend().name());
            assert_eq!(report.passes, Passes { forward: report.passes.forward, ..Passes::GRADIENT });
            assert_eq!(report.loss_before, h.loss(&ctx, &start, &()).unwrap());
            let mut gradient = vec![0.0; start.len()];
            h.loss_grad(&ctx, &start, &(), &mut gradient).unwrap();
            let error = relative_error(
                column(&[report.gradient_norm.unwrap()]).as_ref(),
                column(&[length(&gradient)]).as_ref(),
            );
            assert!(error <= tolerance::<f64>(problem.shape().0, 10.0), "{problem:?}: gradient off by {error:e}");
            assert_eq!(report.loss_after, Some(h.loss(&ctx, &theta, &()).unwrap()));
            let change = report.loss_after.unwrap() - report.loss_before;
            let rho = change / report.predicted_change.unwrap();
            assert!((report.rho.unwrap() - rho).abs() <= tolerance::<f64>(1, 1.0) * rho, "{problem:?}");
        }
    }
}

/// Powers of two on each parameter of a problem: θ in other units.
#[derive(Debug)]
struct Rescaled(MoreGarbowHillstrom, Vec<f64>);

impl Formula for Rescaled {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        let x: Vec<N> = x.iter().zip(&self.1).map(|(&x, &s)| x * s).collect();
        self.0.residuals(&x, r);
    }
}

#[test]
fn units_of_the_parameters_do_not_matter() {
    let ctx = Ctx::<f64>::reference();
    for problem in [MoreGarbowHillstrom::Osborne2, MoreGarbowHillstrom::Wood, MoreGarbowHillstrom::Meyer] {
        let start = problem.start();
        let units: Vec<f64> = (0..start.len()).map(|j| 2f64.powi(7 * j as i32 - 9)).collect();
        let rescaled = SumOfSquares::new(Rescaled(problem, units.clone()));
        let (mut theta, mut other) = (start.clone(), start.iter().zip(&units).map(|(x, u)| x / u).collect::<Vec<_>>());
        let (mut one, mut two) = (marquardt(1e-3), marquardt(1e-3));
        for step in 0..12 {
            one.step(&ctx, &SumOfSquares::new(problem), &mut theta, &()).unwrap();
            two.step(&ctx, &rescaled, &mut other, &()).unwrap();
            let same: Vec<f64> = other.iter().zip(&units).map(|(x, u)| x * u).collect();
            assert_eq!(theta, same, "{problem:?}, step {step}");
            assert_eq!(lambda(&one), lambda(&two));
        }
    }
}

/// r falls nowhere: |r| is least at the start, though J says otherwise.
#[derive(Debug)]
struct Wall;

impl Formula for Wall {
    fn shape(&self) -> (usize, usize) {
        (1, 1)
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        r[0] = if x[0].value() == 1.0 { x[0] } else { N::of(f64::NAN) };
    }
}

#[test]
fn a_rejected_step_leaves_theta_and_raises_lambda() {
    let (ctx, h, mut theta) = (Ctx::<f64>::reference(), SumOfSquares::new(Wall), [1.0]);
    let mut optimizer = marquardt(1e-3);
    let report = optimizer.step(&ctx, &h, &mut theta, &()).unwrap();
    assert!(report.rejected && lambda(&optimizer) > 1e-3);
    assert_eq!(theta, [1.0]);
}

#[test]
fn errors_leave_theta_and_state() {
    let (ctx, problem) = (Ctx::<f64>::reference(), MoreGarbowHillstrom::Rosenbrock);
    let h = SumOfSquares::new(problem);
    let mut optimizer = marquardt(1e-3);
    optimizer.step(&ctx, &h, &mut problem.start(), &()).unwrap();
    let before = optimizer.clone();
    for theta in [vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0], vec![1e300, 1.0]] {
        let mut moved = theta.clone();
        assert!(matches!(optimizer.step(&ctx, &h, &mut moved, &()), Err(Error::NotFinite { .. })), "{theta:?}");
        assert!(moved.iter().zip(&theta).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(optimizer, before);
    }
    assert!(matches!(optimizer.step(&ctx, &h, &mut [1.0], &()), Err(Error::Shape { .. })));
    let other = MoreGarbowHillstrom::Wood;
    let outcome = optimizer.step(&ctx, &SumOfSquares::new(other), &mut other.start(), &());
    assert!(matches!(outcome, Err(Error::Shape { .. })));
    assert_eq!(optimizer, before);
}

#[test]
fn a_stationary_point_is_left_alone() {
    let (ctx, h) = (Ctx::<f64>::reference(), SumOfSquares::new(MoreGarbowHillstrom::Wood));
    let (mut theta, mut optimizer) = (vec![1.0; 4], marquardt(1e-3));
    let report = optimizer.step(&ctx, &h, &mut theta, &()).unwrap();
    assert_eq!((theta, report.rejected, report.gradient_norm), (vec![1.0; 4], false, Some(0.0)));
    assert_eq!(lambda(&optimizer), 1e-3);
}

/// A parameter that r does not depend on stays where it is; the others go on.
#[test]
fn a_parameter_without_effect_stays() {
    #[derive(Debug)]
    struct Blind;
    impl Formula for Blind {
        fn shape(&self) -> (usize, usize) {
            (1, 2)
        }
        fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
            r[0] = x[1].square() - 4.0;
        }
    }
    let (ctx, h, mut theta) = (Ctx::<f64>::reference(), SumOfSquares::new(Blind), [5.0, 1.0]);
    let mut optimizer = marquardt(1e-3);
    for _ in 0..30 {
        optimizer.step(&ctx, &h, &mut theta, &()).unwrap();
    }
    assert_eq!(theta[0], 5.0);
    let mut source = QrModel::default();
    let mut delta = [7.0, 7.0];
    source.model(&ctx, &h, &[5.0, 1.0], &()).unwrap().step(&ctx, 0.0, &mut delta).unwrap();
    assert_eq!(delta[0], 0.0, "whatever stood there before");
    assert!((theta[1] - 2.0).abs() <= tolerance::<f64>(1, 1.0), "{theta:?}");
}

#[test]
fn a_resumed_run_goes_on_bit_for_bit() {
    let (ctx, problem) = (Ctx::<f64>::reference(), MoreGarbowHillstrom::Osborne2);
    let (h, mut theta, mut optimizer) = (SumOfSquares::new(problem), problem.start(), marquardt(1.0));
    for _ in 0..3 {
        optimizer.step(&ctx, &h, &mut theta, &()).unwrap();
    }
    let saved = (serde_json::to_string(&optimizer).unwrap(), theta.clone());
    let go_on = |optimizer: &mut ByQr, theta: &mut Vec<f64>| {
        for _ in 0..4 {
            optimizer.step(&ctx, &h, theta, &()).unwrap();
        }
    };
    go_on(&mut optimizer, &mut theta);
    let (mut resumed, mut again): (ByQr, _) = (serde_json::from_str(&saved.0).unwrap(), saved.1);
    go_on(&mut resumed, &mut again);
    assert_eq!((again, resumed), (theta, optimizer));
}

/// A step that is too long is refused without a look at h, unless θ has no length.
#[test]
fn a_step_far_beyond_theta_is_refused_unseen() {
    let (ctx, problem) = (Ctx::<f64>::reference(), MoreGarbowHillstrom::BroydenBanded);
    let h = SumOfSquares::new(problem);
    let source = || QrModel::default().with_metric(DampingMetric::Diagonal);
    let steps = |longest: f64, theta: &mut [f64]| {
        let rule = DampingRule::Nielsen(Nielsen::new(1e-3).unwrap());
        let method = DampedNewton::new(source(), rule, FixedStep::new(1.0).unwrap()).unwrap();
        let mut method = method.with_longest(Some(longest)).unwrap();
        let report = method.step(&ctx, &h, theta, &()).unwrap();
        (report, method.rule().lambda())
    };
    let mut theta = problem.start();
    // no λ shortens a step to that before it is below what changes θ
    let (report, lambda) = steps(1e-60, &mut theta);
    assert!(report.rejected && report.loss_after.is_none() && theta == problem.start(), "{report:?}");
    assert!(report.passes == Passes::GRADIENT && lambda > 1e12, "{:?}, λ = {lambda:e}", report.passes);
    // a λ that shortens it is found, and the step keeps to the limit: J e_j are the units of the first step
    let line = h.linearize(&ctx, &problem.start(), &()).unwrap();
    let length = |x: &[f64]| {
        let units = line.jacobian.matrix().as_ref();
        x.iter().zip(units.cols()).map(|(x, j)| j.iter().map(|j| (j * x).powi(2)).sum::<f64>()).sum::<f64>().sqrt()
    };
    let taken = |theta: &[f64], start: &[f64]| -> Vec<f64> { theta.iter().zip(start).map(|(a, b)| a - b).collect() };
    let (report, _) = steps(0.05, &mut theta);
    let share = length(&taken(&theta, &problem.start())) / length(&problem.start());
    assert!(!report.rejected && share <= 0.05 && share > 1e-3, "{share}");
    assert!(report.lambda.unwrap() > 1e-3 && report.passes.forward == 2, "{report:?}");
    let mut theta = vec![0.0; problem.start().len()];
    let (report, _) = steps(1e-60, &mut theta);
    assert!(!report.rejected && report.step_norm.unwrap() > 0.0, "{report:?}");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let rule = DampingRule::Fixed(1.0);
        let method = DampedNewton::<f64, _>::new(source(), rule, FixedStep::new(1.0).unwrap()).unwrap();
        assert!(
            matches!(method.with_longest(Some(bad)), Err(Error::InvalidParameter { name: "longest", .. })),
            "{bad}"
        );
    }
}

/// Residuals A x - A x* with the Hilbert matrix A, of condition 10¹⁰ at order 8.
#[derive(Debug)]
struct Hilbert;

const ORDER: usize = 8;

impl Formula for Hilbert {
    fn shape(&self) -> (usize, usize) {
        (ORDER, ORDER)
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        for (i, r) in r.iter_mut().enumerate() {
            *r = x.iter().enumerate().map(|(j, &x)| (x - 1.0) / (i + j + 1) as f64).sum();
        }
    }
}

/// Gauss-Newton at a λ near nothing on an ill-conditioned J: error ε κ by QR, and a loss of all digits by JᵀJ.
#[test]
fn an_ill_conditioned_jacobian_keeps_its_digits() {
    const CONDITION: f64 = 1.6e10;
    let (ctx, h) = (Ctx::<f64>::reference(), SumOfSquares::new(Hilbert));
    fn error<S>(ctx: &Ctx<f64>, h: &SumOfSquares, source: S) -> Option<f64>
    where
        S: ModelSource<f64, SumOfSquares>,
    {
        let mut theta = vec![0.0; ORDER];
        let mut method = GaussNewton::new(0.0).unwrap().with_source(source);
        method.step(ctx, h, &mut theta, &()).ok()?;
        Some(theta.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>().sqrt())
    }
    let by_qr = error(&ctx, &h, QrModel::default()).unwrap();
    assert!(by_qr <= tolerance::<f64>(ORDER, CONDITION), "{by_qr:e}");
    let by_gram = error(&ctx, &h, KernelModel::default());
    assert!(by_gram.is_none_or(|error| error > 1e2 * by_qr && error > 1e-2), "{by_gram:?} by JᵀJ, {by_qr:e} by QR");
}

/// The same steps by three solves, for several λ of one model, with and without an L2 term, in both metrics.
#[test]
fn qr_and_kernel_sources_take_the_same_steps() {
    for ctx in contexts::<f64>() {
        for (problem, eta) in [(MoreGarbowHillstrom::Bard, 0.0), (MoreGarbowHillstrom::Osborne2, 0.3)] {
            let (h, theta) = (Decayed(SumOfSquares::new(problem), eta), problem.start());
            for metric in [DampingMetric::Identity, DampingMetric::Diagonal] {
                let (mut qr, mut kernel) =
                    (QrModel::default().with_metric(metric), KernelModel::default().with_metric(metric));
                let (mut one, mut other) =
                    (qr.model(&ctx, &h, &theta, &()).unwrap(), kernel.model(&ctx, &h, &theta, &()).unwrap());
                let n = theta.len();
                for lambda in [10.0, 0.1, 1.0] {
                    let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
                    one.step(&ctx, lambda, &mut a).unwrap();
                    other.step(&ctx, lambda, &mut b).unwrap();
                    let column = |x: &[f64]| Mat::from_fn(n, 1, |i, _| x[i]);
                    let limit = tolerance::<f64>(problem.shape().0, 1e5);
                    let error = relative_error(column(&a).as_ref(), column(&b).as_ref());
                    assert!(error <= limit, "{problem:?}, η = {eta}, λ = {lambda}, {metric:?}: {error:e}");
                    for (x, y) in [
                        (one.quadratic_form(&ctx, &a).unwrap(), other.quadratic_form(&ctx, &a).unwrap()),
                        (one.metric_form(&a), other.metric_form(&a)),
                        (one.loss(), other.loss()),
                    ] {
                        assert!((x - y).abs() <= limit * y, "{problem:?}, {metric:?}: {x} and {y}");
                    }
                }
            }
        }
    }
}

#[test]
fn settings_are_checked() {
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let outcome = LevenbergMarquardtMethod::<f64, QrModel<f64>>::by_qr(lambda);
        assert!(matches!(outcome, Err(Error::InvalidParameter { .. })), "{lambda}");
    }
}
