//! Claim: no step is longer than the radius, which follows its rule; the method converges from anywhere, leaves saddles,
//! and converges fast in the end; and it is Newton's method where the region is wide.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod newton_support;
#[path = "common/resumed.rs"]
mod resumed;

use newton_support::{Derivatives, Function, gap, length, run};
use pullback::krylov::CgStop;
use pullback::optim::{
    CurvatureMatrix, DiagonalSource, Forcing, InnerStop, Newton, Objective, Optimizer, RegionSolver, TrustRegionNewton,
    TrustRegionOptions,
};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{Fault, LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Mat, Scalar};
use resumed::resumes_bitwise;

fn start<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

/// 100 (y - x²)² + (1 - x)².
fn rosenbrock(p: &[f64]) -> Derivatives {
    let (x, y) = (p[0], p[1]);
    let r = y - x * x;
    let hessian = Mat::from_vec(vec![1200.0 * x * x - 400.0 * y + 2.0, -400.0 * x, -400.0 * x, 200.0], 2, 2).unwrap();
    (100.0 * r * r + (1.0 - x).powi(2), vec![-400.0 * x * r - 2.0 * (1.0 - x), 200.0 * r], hessian)
}

/// x² + y⁴/4 - y²/2: a saddle at 0, minima at y = ±1.
fn saddle(p: &[f64]) -> Derivatives {
    let (x, y) = (p[0], p[1]);
    let value = x * x + 0.25 * y.powi(4) - 0.5 * y * y;
    (value, vec![2.0 * x, y.powi(3) - y], Mat::from_diagonal(&[2.0, 3.0 * y * y - 1.0]))
}

fn every_kind() -> Vec<TrustRegionOptions> {
    let mut kinds = Vec::new();
    for solver in [RegionSolver::Steihaug, RegionSolver::Gltr] {
        for forcing in [Forcing::EisenstatWalker, Forcing::Fixed(0.1)] {
            for jacobi in [None, Some(DiagonalSource::Exact)] {
                kinds.push(TrustRegionOptions { solver, forcing, jacobi, ..TrustRegionOptions::default() });
            }
        }
    }
    kinds
}

fn method(options: TrustRegionOptions) -> TrustRegionNewton {
    TrustRegionNewton::new(options).unwrap()
}

#[test]
fn it_converges_on_rosenbrocks_valley_within_its_radius() {
    let f = Function::new(2, rosenbrock);
    for ctx in &contexts::<f64>() {
        for options in every_kind() {
            for from in [[-1.2, 1.0], [20.0, -30.0], [-10.0, 7.0]] {
                let (there, reports) = run(ctx, method(options), &f, &from, &(), 150);
                assert!(gap(&there, &[1.0, 1.0]) <= 1e-7, "{options:?} from {from:?}: {there:?}");
                for report in &reports {
                    let (length, radius) = (report.step_norm.unwrap_or(0.0), report.radius.unwrap());
                    let slack = 1.0 + tolerance::<f64>(8, 1e2);
                    // with a preconditioner the region is an ellipsoid
                    assert!(options.jacobi.is_some() || length <= slack * radius, "{length} beyond {radius}");
                    let noise = 10.0 * f64::EPSILON * report.loss_before;
                    let falls = report.loss_after.is_none_or(|after| after <= report.loss_before + noise);
                    assert!(report.rejected || falls, "{report:?}");
                }
            }
        }
    }
}

#[test]
fn it_leaves_saddles_along_negative_curvature() {
    let (ctx, f) = (Ctx::<f64>::reference(), Function::new(2, saddle));
    for options in every_kind() {
        for from in [[1.0, 1e-6], [1e-3, -1e-9], [0.0, 0.3]] {
            let (there, reports) = run(&ctx, method(options), &f, &from, &(), 60);
            assert!((there[1].abs() - 1.0).abs() <= 1e-8 && there[0].abs() <= 1e-8, "{options:?}: {there:?}");
            let negative = |r: &pullback::optim::StepReport<f64>| {
                let stop = r.inner.map(|inner| inner.stop);
                stop == Some(InnerStop::Krylov(CgStop::NonPositiveCurvature))
            };
            let seen = reports.iter().any(negative) || options.solver == RegionSolver::Gltr;
            assert!(seen, "{options:?} from {from:?}: negative curvature was not met");
        }
    }
}

#[test]
fn the_radius_follows_its_rule() {
    let (ctx, f) = (Ctx::<f64>::reference(), Function::new(2, rosenbrock));
    let (mut shrunk, mut grown, mut kept) = (0, 0, 0);
    for solver in [RegionSolver::Steihaug, RegionSolver::Gltr] {
        for (from, radius) in [([-1.2, 1.0], 1.0), ([3.0, -2.0], 0.1), ([-2.0, 3.0], 50.0)] {
            // one trial: what is reported is what the rule saw
            let options = TrustRegionOptions { solver, radius, max_radius: 60.0, trials: 1, ..Default::default() };
            let (mut newton, mut theta) = (method(options), from.to_vec());
            for _ in 0..25 {
                let (radius, before) = (newton.radius(), theta.clone());
                let report = newton.step(&ctx, &f, &mut theta, &()).unwrap();
                let (Some(rho), Some(length)) = (report.rho, report.step_norm) else { break };
                let edge = (length - radius).abs() <= tolerance::<f64>(8, 1e2) * radius;
                let after = newton.radius();
                let close = |want: f64| (after - want).abs() <= tolerance::<f64>(8, 1e2) * want;
                if rho < 0.25 {
                    shrunk += 1;
                    assert!(close(0.25 * length), "ρ = {rho}: {radius} became {after}, ‖δ‖ = {length}");
                } else if rho > 0.75 && edge {
                    grown += 1;
                    assert!(close((2.0 * radius).min(60.0)), "ρ = {rho}: {radius} became {after}");
                } else {
                    kept += 1;
                    assert_eq!(after, radius, "ρ = {rho}, ‖δ‖ = {length}");
                }
                assert_eq!(report.rejected, !(rho > 1e-4));
                assert!(!report.rejected || theta == before, "rejected, but moved");
            }
        }
    }
    assert!(shrunk > 2 && grown > 2 && kept > 2, "{shrunk} shrunk, {grown} grown, {kept} kept");
}

#[test]
fn in_a_wide_region_it_is_newtons_method_and_in_a_narrow_one_gradient_descent() {
    let (h, batch) = (LeastSquares::<f64>::new(2, 4, 0.05), Regression::random(2, 4, 15, 8));
    let theta = start::<f64>(8, 9);
    for ctx in &contexts::<f64>() {
        let want = run(ctx, Newton::undamped().unwrap(), &h, &theta, &batch, 1).0;
        let mut gradient = vec![0.0; 8];
        h.loss_grad(ctx, &theta, &batch, &mut gradient).unwrap();
        for matrix in [CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton] {
            for solver in [RegionSolver::Steihaug, RegionSolver::Gltr] {
                let options = TrustRegionOptions { matrix, solver, ..Default::default() };
                let wide = TrustRegionOptions { radius: 1e3, forcing: Forcing::Fixed(1e-13), ..options };
                let (found, reports) = run(ctx, method(wide), &h, &theta, &batch, 1);
                let limit = tolerance::<f64>(8 * 15, 1e2) * length(&want);
                assert!(gap(&found, &want) <= limit, "{options:?}: {:e}, limit {limit:e}", gap(&found, &want));
                assert!((reports[0].rho.unwrap() - 1.0).abs() <= 1e-10, "its own model: {:?}", reports[0].rho);
                let narrow = 1e-6;
                let found = run(ctx, method(TrustRegionOptions { radius: narrow, ..options }), &h, &theta, &batch, 1).0;
                let scale = narrow / length(&gradient);
                let want: Vec<f64> = theta.iter().zip(&gradient).map(|(w, g)| w - scale * g).collect();
                // what curvature changes is of relative size ‖C‖ Δ/‖g‖
                assert!(gap(&found, &want) <= 1e2 * narrow * scale, "{options:?}: {:e}", gap(&found, &want));
            }
        }
    }
}

#[test]
fn forcing_makes_the_end_fast() {
    // chained: Σ log cosh of mixtures, and a quadratic
    fn valley(x: &[f64]) -> Derivatives {
        let n = x.len();
        let (mut value, mut gradient, mut hessian) = (0.0, vec![0.0; n], Mat::zeros(n, n));
        for k in 0..n {
            let next = (k + 1) % n;
            let s = x[k] - 0.5 * x[next] + 0.1 * k as f64;
            value += s.cosh().ln() + 0.05 * x[k] * x[k];
            let (t, c) = (s.tanh(), s.cosh().powi(-2));
            gradient[k] += t + 0.1 * x[k];
            gradient[next] -= 0.5 * t;
            hessian[(k, k)] += c + 0.1;
            hessian[(next, next)] += 0.25 * c;
            hessian[(k, next)] -= 0.5 * c;
            hessian[(next, k)] -= 0.5 * c;
        }
        (value, gradient, hessian)
    }
    let (ctx, f, from) = (Ctx::<f64>::reference(), Function::new(24, valley), start::<f64>(24, 3));
    let norms = |forcing| -> Vec<f64> {
        let reports = run(&ctx, method(TrustRegionOptions { forcing, ..Default::default() }), &f, &from, &(), 12).1;
        reports.iter().map(|r| r.gradient_norm.unwrap()).collect()
    };
    let (adaptive, fixed) = (norms(Forcing::EisenstatWalker), norms(Forcing::Fixed(0.5)));
    let needed = |norms: &[f64]| norms.iter().position(|&g| g <= 1e-10 * norms[0]);
    assert!(needed(&adaptive).is_some_and(|k| k <= 9), "{adaptive:?}");
    assert!(needed(&fixed).is_none_or(|k| k > needed(&adaptive).unwrap()), "{fixed:?} against {adaptive:?}");
    // superlinear: the last factors fall
    let k = needed(&adaptive).unwrap();
    let factor = |i: usize| adaptive[i] / adaptive[i - 1];
    assert!(factor(k) < 0.1 * factor(k - 2), "{adaptive:?}");
}

#[test]
fn a_rejected_step_moves_the_radius_alone() {
    let (ctx, theta) = (Ctx::<f64>::reference(), start::<f64>(6, 9));
    let cliff = LeastSquares::new(2, 3, 0.0).with_fault(Fault::Cliff(theta.clone()));
    let batch = Regression::random(2, 3, 15, 8);
    let mut newton = method(TrustRegionOptions { trials: 3, radius: 1e-2, ..Default::default() });
    let mut after = theta.clone();
    let report = newton.step(&ctx, &cliff, &mut after, &batch).unwrap();
    assert!(report.rejected && after == theta);
    // every step reaches the edge
    assert!((newton.radius() / (1e-2 / 64.0) - 1.0).abs() <= tolerance::<f64>(8, 1e2), "{}", newton.radius());
    assert_eq!(report.passes.forward, 5, "a gradient, a curvature, three trials: {:?}", report.passes);
}

fn passes_the_suite_of_optimizers<T: Scalar>() {
    let (setup, goal) = (Setup::<T>::default(), Goal { steps: 12, share: 1e-3 });
    for solver in [RegionSolver::Steihaug, RegionSolver::Gltr] {
        for matrix in [CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton] {
            let options = TrustRegionOptions { solver, matrix, ..Default::default() };
            let name = format!("trust region, {solver:?}, {matrix:?}");
            optimizer::check(&setup, &name, goal, || TrustRegionNewton::new(options)).assert_passed();
        }
    }
    let jacobi = TrustRegionOptions { jacobi: Some(DiagonalSource::Exact), ..Default::default() };
    optimizer::check(&setup, "trust region, preconditioned", goal, || TrustRegionNewton::new(jacobi)).assert_passed();
}

fn a_run_goes_on_where_it_was_stored<T: Scalar>() {
    let (h, theta) = (LeastSquares::<T>::new(2, 4, T::of(0.01)), start::<T>(8, 31));
    let batches = [Regression::random(2, 4, 9, 32), Regression::random(2, 4, 9, 33)];
    let newton = || method(TrustRegionOptions { radius: 0.1, ..Default::default() });
    resumes_bitwise("trust region", newton, &h, &theta, &batches, 3);
}

#[test]
fn options_outside_their_domain_are_refused() {
    let good = TrustRegionOptions::default();
    for options in [
        TrustRegionOptions { radius: 0.0, ..good },
        TrustRegionOptions { radius: f64::NAN, ..good },
        TrustRegionOptions { radius: 2.0, max_radius: 1.0, ..good },
        TrustRegionOptions { accept: 0.25, ..good },
        TrustRegionOptions { accept: -0.1, ..good },
        TrustRegionOptions { trials: 0, ..good },
        TrustRegionOptions { max_iterations: 0, ..good },
        TrustRegionOptions { forcing: Forcing::Fixed(1.0), ..good },
        TrustRegionOptions { forcing: Forcing::Fixed(0.0), ..good },
    ] {
        assert!(TrustRegionNewton::new(options).is_err(), "{options:?}");
    }
    let stored = serde_json::to_string(&method(good)).unwrap();
    assert!(serde_json::from_str::<TrustRegionNewton>(&stored).is_ok());
    assert!(serde_json::from_str::<TrustRegionNewton>(&stored.replace("\"trials\":16", "\"trials\":0")).is_err());
}

for_both!(passes_the_suite_of_optimizers, a_run_goes_on_where_it_was_stored);
