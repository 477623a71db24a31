//! The parts of `testing::problems`: jets, the objective of a formula, and the run of an optimizer on it.

#[path = "common/differences.rs"]
mod differences;

use differences::derivatives_hold;
use pullback::optim::{
    MomentumKind, Objective, Optimizer, Passes, ResidualObjective, Sgd, StepReport, SubsetObjective,
};
use pullback::testing::problems::{Formula, Jet, Limits, MoreGarbowHillstrom, Number, Stop, SumOfSquares, minimize};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Result};

/// f, f', f'' of a function of one variable at v.
fn derivatives(f: impl Fn(Jet) -> Jet, v: f64) -> [f64; 3] {
    let y = f(Jet::new(v, 1.0, 1.0));
    assert_eq!(y.first(), y.second());
    [y.value(), y.first(), y.mixed()]
}

#[test]
fn jets_know_the_derivatives_of_calculus() {
    let v = 0.7f64;
    let (s, c, e, q) = (v.sin(), v.cos(), v.exp(), 1.0 + v * v);
    type Row = (&'static str, fn(Jet) -> Jet, [f64; 3]);
    let table: [Row; 14] = [
        ("exp", |x| x.exp(), [e, e, e]),
        ("ln", |x| x.ln(), [v.ln(), 1.0 / v, -1.0 / (v * v)]),
        ("sin", |x| x.sin(), [s, c, -s]),
        ("cos", |x| x.cos(), [c, -s, -c]),
        ("atan", |x| x.atan(), [v.atan(), 1.0 / q, -2.0 * v / (q * q)]),
        ("sqrt", |x| x.sqrt(), [v.sqrt(), 0.5 * v.powf(-0.5), -0.25 * v.powf(-1.5)]),
        ("abs", |x| (-x).abs(), [v, 1.0, 0.0]),
        ("square", |x| x.square(), [v * v, 2.0 * v, 2.0]),
        ("powi 3", |x| x.powi(3), [v.powi(3), 3.0 * v * v, 6.0 * v]),
        ("powi -2", |x| x.powi(-2), [v.powi(-2), -2.0 * v.powi(-3), 6.0 * v.powi(-4)]),
        ("powi 0", |x| x.powi(0), [1.0, 0.0, 0.0]),
        ("pow", |x| x.pow(Jet::of(2.5)), [v.powf(2.5), 2.5 * v.powf(1.5), 3.75 * v.powf(0.5)]),
        ("power of 2", |x| Jet::of(2.0).pow(x), {
            let (p, l) = (2f64.powf(v), 2f64.ln());
            [p, l * p, l * l * p]
        }),
        ("quotient", |x| (x * 3.0 - 1.0) / (-x + 2.0) / 5.0 + 4.0, {
            // (3x - 1)/(2 - x) = -3 + 5/(2 - x)
            let d = 2.0 - v;
            [(-3.0 + 5.0 / d) / 5.0 + 4.0, 1.0 / (d * d), 2.0 / (d * d * d)]
        }),
    ];
    for (name, f, expected) in table {
        for (found, expected) in derivatives(f, v).into_iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(error <= tolerance::<f64>(1, 1.0) * expected.abs().max(1.0), "{name}: {found} for {expected}");
        }
    }
}

#[test]
fn jets_of_two_variables_hold_the_mixed_derivative() {
    // f = x e^{xy} / y - y:  f_x = e^{xy} (1 + xy)/y,  f_y = x e^{xy} (x/y - 1/y²) - 1,  f_xy = e^{xy} (2x + x²y)/y - f_x/y
    let (x, y) = (0.4f64, 1.3f64);
    let (jx, jy) = (Jet::new(x, 1.0, 0.0), Jet::new(y, 0.0, 1.0));
    let f = jx * (jx * jy).exp() / jy - jy;
    let e = (x * y).exp();
    let fx = e * (1.0 + x * y) / y;
    let expected = [x * e / y - y, fx, x * e * (x / y - 1.0 / (y * y)) - 1.0, e * (2.0 * x + x * x * y) / y - fx / y];
    for (found, expected) in [f.value(), f.first(), f.second(), f.mixed()].into_iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance::<f64>(4, 1.0), "{found} for {expected}");
    }
    let sums: Jet = [jx, jy].into_iter().sum();
    let products: Jet = [jx, jy, jy].into_iter().product();
    assert_eq!((sums.value(), sums.first(), sums.second(), sums.mixed()), (x + y, 1.0, 1.0, 0.0));
    assert!((products.mixed() - 2.0 * y).abs() <= tolerance::<f64>(1, 1.0) * 2.0 * y);
}

/// Curvature in r that differs from zero, an odd number of parameters, and one that r does not see.
#[derive(Debug)]
struct Odd;

impl Formula for Odd {
    fn shape(&self) -> (usize, usize) {
        (2, 3)
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        r[0] = x[0].square() * x[1] - 2.0;
        r[1] = x[1].exp() + x[0] * 0.5;
    }
}

#[test]
fn an_objective_of_a_formula_has_its_derivatives() {
    let h = SumOfSquares::new(Odd);
    assert_eq!(h.shape(), (2, 3));
    for x in [[1.0, 0.5, 0.0], [-2.0, 0.1, 7.0]] {
        derivatives_hold("odd", &h, &x);
    }
}

#[test]
fn an_objective_refuses_other_lengths_and_says_where_r_ends() {
    let (h, ctx) = (SumOfSquares::new(Odd), Ctx::<f64>::reference());
    for x in [&[1.0, 2.0][..], &[0.0; 4], &[]] {
        assert!(matches!(h.loss(&ctx, x, &()), Err(Error::Shape { .. })));
        assert!(matches!(h.loss_grad(&ctx, x, &(), &mut [0.0; 3]), Err(Error::Shape { .. })));
        assert!(matches!(h.linearize(&ctx, x, &()), Err(Error::Shape { .. })));
    }
    assert!(matches!(h.loss_grad(&ctx, &[0.0; 3], &(), &mut [0.0; 2]), Err(Error::Shape { .. })));
    assert_eq!(h.cases(&()), 1);
    assert!(h.subset(&(), 0..1).is_ok());
    for cases in [0..0, 0..2, 1..2] {
        assert!(matches!(h.subset(&(), cases), Err(Error::InvalidParameter { .. })));
    }
    // a loss that overflows is a value, a Jacobian that does is not
    assert_eq!(h.loss(&ctx, &[0.0, 800.0, 0.0], &()).unwrap(), f64::INFINITY);
    assert!(matches!(h.linearize(&ctx, &[0.0, 800.0, 0.0], &()), Err(Error::NotFinite { .. })));
}

/// Says and does what it is told, step after step: new values of θ_0, or an error.
struct Scripted(Vec<Option<f64>>);

impl Optimizer<f64, SumOfSquares> for Scripted {
    fn step(&mut self, _: &Ctx<f64>, _: &SumOfSquares, theta: &mut [f64], _: &()) -> Result<StepReport<f64>> {
        match self.0.pop() {
            Some(Some(value)) => theta[0] = value,
            Some(None) => return Err(Error::not_finite("script")),
            None => {}
        }
        Ok(StepReport { passes: Passes::GRADIENT, ..StepReport::default() })
    }
}

/// ½ x², so that the loss is known from θ.
#[derive(Debug)]
struct Parabola;

impl Formula for Parabola {
    fn shape(&self) -> (usize, usize) {
        (1, 1)
    }

    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
        r[0] = x[0];
    }
}

#[test]
fn a_run_ends_where_its_limits_say() {
    let run = |script: &[Option<f64>], limits: Limits| {
        let mut optimizer = Scripted(script.iter().rev().copied().collect());
        let outcome = minimize(&Ctx::reference(), &mut optimizer, &SumOfSquares::new(Parabola), &(), &[8.0], limits);
        outcome.unwrap()
    };
    let short = Limits { steps: 50, passes: u64::MAX, idle: 5, target: None };
    let falls = [Some(4.0), Some(2.0), Some(3.0), Some(1.0)];
    // idle after the last fall: steps and passes are those of the fall, θ is the best
    let outcome = run(&falls, short);
    assert_eq!((outcome.theta[0], outcome.loss, outcome.steps, outcome.stop), (1.0, 0.5, 4, Stop::Idle));
    assert_eq!(outcome.passes.total(), 8);
    let outcome = run(&falls, Limits { target: Some(2.0), ..short });
    assert_eq!((outcome.theta[0], outcome.steps, outcome.stop), (2.0, 2, Stop::Target));
    let outcome = run(&falls, Limits { passes: 5, ..short });
    assert_eq!((outcome.theta[0], outcome.steps, outcome.stop), (2.0, 2, Stop::Passes));
    let outcome = run(&falls, Limits { steps: 3, ..short });
    assert_eq!((outcome.theta[0], outcome.steps, outcome.stop), (2.0, 2, Stop::Steps));
    let outcome = run(&[Some(4.0), None], short);
    assert_eq!((outcome.theta[0], outcome.steps), (4.0, 1));
    assert!(matches!(&outcome.stop, Stop::Failed(what) if what.contains("script")), "{:?}", outcome.stop);
    let outcome = run(&falls, Limits { target: Some(32.0), ..short });
    assert_eq!((outcome.theta[0], outcome.steps, outcome.stop), (8.0, 0, Stop::Target));
    // steps that raise the loss, or lose it, are idle ones
    let outcome = run(&[Some(9.0), Some(f64::NAN), Some(10.0), Some(11.0), Some(12.0), Some(1.0)], short);
    assert_eq!((outcome.theta[0], outcome.steps, outcome.stop), (8.0, 0, Stop::Idle));
}

#[test]
fn a_first_order_method_solves_the_linear_problem() {
    let problem = MoreGarbowHillstrom::LinearFullRank;
    let mut sgd = Sgd::new(0.5, 0.0, MomentumKind::HeavyBall).unwrap();
    let h = SumOfSquares::new(problem);
    let outcome = minimize(&Ctx::reference(), &mut sgd, &h, &(), &problem.start(), Limits::default()).unwrap();
    assert_eq!(outcome.stop, Stop::Idle);
    assert_eq!(problem.solved(2.0 * outcome.loss, 2.0 * outcome.loss), Some(problem.minima()[0]));
}
