//! The quadratic model on two directions: its minimum, its guards, and the reduction ratio on exact quadratics.

use proptest::prelude::*;
use pullback::optim::{LevenbergMarquardt, QuadraticModel, SubspaceStep};
use pullback::testing::tolerance;

fn dot(x: &[f64; 3], y: &[f64; 3]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The model of h(θ) = ½ θᵀ diag(c) θ + gᵀθ + η/2 ‖θ‖² at θ = 0 on the span of two vectors.
fn model(c: &[f64; 3], g: &[f64; 3], v: [&[f64; 3]; 2], l2: f64, lambda: f64) -> QuadraticModel {
    let form = |x: &[f64; 3], y: &[f64; 3]| (0..3).map(|i| c[i] * x[i] * y[i]).sum::<f64>();
    let table =
        |f: &dyn Fn(&[f64; 3], &[f64; 3]) -> f64| [[f(v[0], v[0]), f(v[0], v[1])], [f(v[1], v[0]), f(v[1], v[1])]];
    QuadraticModel { gram: table(&form), inner: table(&dot), slope: [dot(g, v[0]), dot(g, v[1])], l2, lambda }
}

fn triple(range: std::ops::Range<f64>) -> impl Strategy<Value = [f64; 3]> {
    prop::array::uniform3(range)
}

proptest! {
    #[test]
    fn the_minimizer_is_not_beaten_and_predicts_half_its_slope(
        c in triple(0.1..5.0), g in triple(-2.0..2.0), d in triple(-1.0..1.0), e in triple(-1.0..1.0),
        l2 in 0.0..0.5f64, lambda in 0.0..2.0f64, da in -0.5..0.5f64, dm in -0.5..0.5f64,
    ) {
        let model = model(&c, &g, [&d, &e], l2, lambda);
        let det = model.inner[0][0] * model.inner[1][1] - model.inner[0][1].powi(2);
        prop_assume!(det > 0.01 * model.inner[0][0] * model.inner[1][1] && model.inner[0][0] > 0.01);
        let best = model.minimize(f64::EPSILON).unwrap();
        let value = model.change(best, true);
        let slope = model.slope[0] * best.alpha + model.slope[1] * best.momentum;
        let tol = tolerance::<f64>(3, 1e4);
        // M(δ) = ½ ∇hᵀδ at the minimum
        prop_assert!((value - 0.5 * slope).abs() <= tol * (1.0 + slope.abs()));
        prop_assert!(value <= tol);
        let other = SubspaceStep { alpha: best.alpha + da, momentum: best.momentum + dm };
        prop_assert!(model.change(other, true) >= value - tol * (1.0 + value.abs()));
        // Eq 26: momentum 0
        let along = model.minimize_alpha(0.0).unwrap();
        prop_assert!(model.change(along, true) >= value - tol * (1.0 + value.abs()));
        let expected = -model.slope[0] / (model.gram[0][0] + (l2 + lambda) * model.inner[0][0]);
        prop_assert!((along.alpha - expected).abs() <= tol * (1.0 + expected.abs()));
    }

    /// ρ = 1 on a quadratic without λ in the model; with it, ρ = 1 + ½λ‖δ‖² / |M|.
    #[test]
    fn reduction_ratio_on_an_exact_quadratic(
        c in triple(0.1..5.0), g in triple(0.5..2.0), d in triple(-1.0..1.0), lambda in 0.01..10.0f64,
    ) {
        let model = model(&c, &g, [&d, &[0.0; 3]], 0.0, lambda);
        prop_assume!(model.slope[0].abs() > 0.1 && model.inner[0][0] > 0.05);
        let step = model.minimize(f64::EPSILON).unwrap();
        let actual = model.change(step, false);
        let rho = |damped: bool| LevenbergMarquardt::reduction_ratio(0.0, actual, model.change(step, damped));
        let tol = tolerance::<f64>(3, 1e6);
        prop_assert!((rho(false) - 1.0).abs() <= tol);
        let excess = 0.5 * lambda * step.alpha.powi(2) * model.inner[0][0] / model.change(step, true).abs();
        prop_assert!((rho(true) - 1.0 - excess).abs() <= tol);
        prop_assert!(rho(true) >= 1.0 && rho(true) <= 2.0 + tol);
    }
}

#[test]
fn large_damping_gives_two_with_lambda_in_the_model_and_one_without() {
    let (c, g) = ([1.0, 2.0, 3.0], [1.0, -1.0, 0.5]);
    let d = [-1.0, 1.0, -0.5];
    let model = model(&c, &g, [&d, &[0.0; 3]], 0.0, 1e9);
    let step = model.minimize(f64::EPSILON).unwrap();
    // the step tends to -g/λ
    assert!((step.alpha * 1e9 - 1.0).abs() < 1e-8);
    let actual = model.change(step, false);
    let rho = |damped: bool| LevenbergMarquardt::reduction_ratio(0.0, actual, model.change(step, damped));
    assert!((rho(true) - 2.0).abs() < 1e-8, "{}", rho(true));
    assert!((rho(false) - 1.0).abs() < 1e-8, "{}", rho(false));
}

#[test]
fn a_parallel_or_zero_second_direction_is_left_out_and_a_zero_first_one_gives_no_step() {
    let (c, g, d) = ([1.0, 2.0, 3.0], [1.0, -1.0, 0.5], [-1.0, 1.0, -0.5]);
    let twice = d.map(|x| 2.0 * x);
    for second in [twice, [0.0; 3]] {
        let step = model(&c, &g, [&d, &second], 0.1, 0.1).minimize(1e-12).unwrap();
        assert_eq!(step.momentum, 0.0);
        assert!(step.alpha > 0.0);
    }
    assert_eq!(model(&c, &g, [&[0.0; 3], &d], 0.1, 0.1).minimize(1e-12), None);
    assert_eq!(model(&[f64::NAN; 3], &g, [&d, &d], 0.1, 0.1).minimize(1e-12), None);
}
