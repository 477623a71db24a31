//! Claim: Hessian-free steps are the damped Gauss-Newton steps that their parts say: solved exactly they are those of a
//! dense solve, they go to -∇h/λ for a large λ, solve a quadratic at once, take the kept iterate that the rule says, count
//! their passes, and leave everything where they reject.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/resumed.rs"]
mod resumed;

use pullback::factor::Cholesky;
use pullback::krylov::KeepIterates;
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, HessianFree, HessianFreeOptions, InnerStop, ModelDamping, NoPreconditioner,
    Objective, Optimizer, Passes, SubsetObjective,
};
use pullback::testing::optimizer::{Goal, check};
use pullback::testing::{Fault, LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatMut, Scalar};
use resumed::resumes_bitwise;

const D: (usize, usize) = (3, 7);

fn problem<T: Scalar>(l2: f64, cases: usize) -> (LeastSquares<T>, Regression<T>, Vec<T>) {
    let theta = gallery::uniform::<T>(D.0 * D.1, 1, 5).into_vec();
    (LeastSquares::new(D.0, D.1, T::of(l2)), Regression::random(D.0, D.1, cases, 6), theta)
}

/// CG to rounding, without a stall rule.
fn exact<T: Scalar>(lambda: f64) -> HessianFreeOptions<T> {
    HessianFreeOptions { lambda, stall: None, warm_start: None, cg_iterations: 400, ..HessianFreeOptions::default() }
}

fn hf<T: Scalar>(options: HessianFreeOptions<T>) -> HessianFree<T, NoPreconditioner> {
    HessianFree::new(options, NoPreconditioner).expect("options")
}

fn norm<T: Scalar>(x: impl Iterator<Item = T>) -> f64 {
    x.map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

/// -(G + λI)⁻¹∇h by a dense solve in f64.
fn dense_step<T: Scalar>(h: &LeastSquares<T>, batch: &Regression<T>, theta: &[T], lambda: f64) -> Vec<f64> {
    let ctx = Ctx::<T>::reference();
    let g = h.curvature(&ctx, CurvatureMatrix::GaussNewton, theta, batch).unwrap().to_dense(&ctx).unwrap();
    let mut gradient = vec![T::ZERO; theta.len()];
    h.loss_grad(&ctx, theta, batch, &mut gradient).unwrap();
    let n = theta.len();
    let damped = Mat::from_fn(n, n, |i, j| g[(i, j)].f64() + if i == j { lambda } else { 0.0 });
    let ctx = Ctx::<f64>::reference();
    let mut step: Vec<f64> = gradient.iter().map(|g| -g.f64()).collect();
    Cholesky::new(&ctx, damped).unwrap().solve_in_place(&ctx, MatMut::from_column(&mut step)).unwrap();
    step
}

fn an_exact_inner_solve_is_the_damped_gauss_newton_step<T: Scalar>() {
    for lambda in [1e-2, 1.0, 45.0] {
        for ctx in contexts::<T>() {
            let (h, batch, start) = problem::<T>(0.01, 40);
            let mut theta = start.clone();
            let report = hf(exact(lambda)).step(&ctx, &h, &mut theta, &batch).unwrap();
            let want = dense_step(&h, &batch, &start, lambda);
            let error = norm(theta.iter().zip(&start).zip(&want).map(|((&t, &s), &w)| (t - s).f64() - w));
            let kappa = (3.0 + lambda) / lambda; // inputs in [-1, 1]: G's largest eigenvalue is a few
            let limit =
                tolerance::<T>(start.len(), kappa) * norm(want.iter().copied()).max(norm(start.iter().copied()));
            assert!(error <= limit, "lambda {lambda}: {error:e} > {limit:e}");
            assert!(!report.rejected && report.alpha == Some(T::ONE));
        }
    }
}

fn a_quadratic_is_solved_in_one_step_and_rho_is_one<T: Scalar>() {
    let (h, batch, start) = problem::<T>(0.1, 40);
    let (ctx, mut theta) = (Ctx::reference(), start.clone());
    let mut method = hf(HessianFreeOptions { lambda_range: (1e-30, 1.0), ..exact(1e-30) });
    let report = method.step(&ctx, &h, &mut theta, &batch).unwrap();
    let (mut gradient, mut before) = (vec![T::ZERO; theta.len()], vec![T::ZERO; theta.len()]);
    h.loss_grad(&ctx, &theta, &batch, &mut gradient).unwrap();
    h.loss_grad(&ctx, &start, &batch, &mut before).unwrap();
    let limit = tolerance::<T>(theta.len(), 30.0);
    let rest = norm(gradient.iter().copied()) / norm(before.iter().copied());
    assert!(rest <= limit, "{rest:e}");
    // h and its model differ by rounding of h, which is a few times the decrease
    let drop = (report.loss_before - report.loss_after.unwrap()).f64();
    let limit = tolerance::<T>(theta.len(), 10.0) * report.loss_before.f64() / drop;
    assert!((report.rho.unwrap().f64() - 1.0).abs() <= limit, "{:?}", report.rho);
}

fn for_a_large_lambda_the_step_is_the_gradient_over_lambda<T: Scalar>() {
    let (h, batch, start) = problem::<T>(0.0, 40);
    let (ctx, lambda) = (Ctx::reference(), 1e3);
    let mut gradient = vec![T::ZERO; start.len()];
    h.loss_grad(&ctx, &start, &batch, &mut gradient).unwrap();
    for (model, limit) in [(ModelDamping::Excluded, 1.0), (ModelDamping::Included, 2.0)] {
        let mut theta = start.clone();
        let report = hf(HessianFreeOptions { model, ..exact(lambda) }).step(&ctx, &h, &mut theta, &batch).unwrap();
        let pairs = theta.iter().zip(&start).zip(&gradient);
        let off = norm(pairs.map(|((&t, &s), &g)| (t - s).f64() * lambda + g.f64()));
        // ‖(G + λI)⁻¹ - I/λ‖ <= ‖G‖/λ², and θ's rounding times λ
        let bound = 3.0 / lambda + lambda * tolerance::<T>(1, 1.0) * norm(start.iter().copied());
        assert!(off <= bound * norm(gradient.iter().copied()).max(1.0), "{off:e}");
        // h's rounding against a decrease of ‖∇h‖²/λ
        let rounding = tolerance::<T>(start.len(), 1.0) * lambda;
        let rho = report.rho.unwrap().f64();
        assert!((rho - limit).abs() <= 2.0 * limit * 3.0 / lambda + rounding, "{model:?}: {rho}");
    }
}

fn passes_are_those_of_the_chapter_and_those_that_were_asked_for<T: Scalar>() {
    let (h, batch, mut theta) = problem::<T>(0.01, 40);
    let ctx = Ctx::reference();
    for keep in [KeepIterates::None, KeepIterates::martens()] {
        for curvature_cases in [None, Some(10)] {
            let options = HessianFreeOptions { keep, curvature_cases, lambda: 1.0, ..HessianFreeOptions::default() };
            let mut method = hf(options);
            for step in 0..6 {
                h.take_passes();
                let report = method.step(&ctx, &h, &mut theta, &batch).unwrap();
                assert_eq!(report.passes, h.take_passes());
                let k = report.inner.unwrap().iterations as u64;
                // one product for the true residual, one for a warm start
                let products = if k > 0 { k + 1 } else { 0 } + u64::from(step > 0);
                assert_eq!((report.passes.jvp, report.passes.vjp, report.passes.backward), (products, products, 1));
                if keep == KeepIterates::None && !report.rejected && report.alpha == Some(T::ONE) {
                    // gradient, B, the chosen iterate, and the part twice
                    let forward = 3 + if curvature_cases.is_some() { 2 } else { 0 };
                    assert_eq!(report.passes.forward, forward);
                    assert_eq!(report.passes.total(), 2 * products + forward + 1);
                }
            }
        }
    }
}

fn a_warm_start_is_the_decayed_final_iterate<T: Scalar>() {
    // no iteration is possible after the first step but from the decayed start: K = 1, and the model says where it began
    let (h, batch, start) = problem::<T>(0.01, 40);
    let ctx = Ctx::reference();
    let options = HessianFreeOptions { lambda: 1.0, omega: None, ..HessianFreeOptions::default() };
    let mut warm = hf(options);
    let mut theta = start.clone();
    warm.step(&ctx, &h, &mut theta, &batch).unwrap();
    let last: Vec<T> = warm.last_iterate().unwrap().to_vec();
    // the second step with an enormous tolerance takes no iteration at all: its only iterate is 0.95 of the last one
    let at_once = HessianFreeOptions { relative_tolerance: T::of(1e6), ..options };
    let mut still = hf(at_once);
    let json = serde_json::to_value(&warm).unwrap();
    let mut value = serde_json::to_value(&still).unwrap();
    value["iterate"] = json["iterate"].clone();
    still = serde_json::from_value(value).unwrap();
    let report = still.step(&ctx, &h, &mut theta.clone(), &batch).unwrap();
    assert_eq!(report.inner.unwrap().iterations, 0);
    assert!(!report.rejected, "the law is about an accepted step: {report:?}");
    let next = still.last_iterate().expect("an accepted step is remembered");
    let decay = T::of(0.95);
    assert!(next.iter().zip(&last).all(|(&n, &l)| n == decay * l));
    // from zero, nothing is remembered
    let mut cold = hf(HessianFreeOptions { warm_start: None, ..options });
    cold.step(&ctx, &h, &mut start.clone(), &batch).unwrap();
    assert!(cold.last_iterate().is_none());
}

fn rejection_leaves_theta_and_raises_lambda<T: Scalar>() {
    let (sound, batch, start) = problem::<T>(0.01, 40);
    // λ rises although nothing adapts it
    for omega in [Some(0.8), None] {
        let (mut method, mut theta) = (hf(HessianFreeOptions { omega, ..Default::default() }), start.clone());
        method.step(&Ctx::reference(), &sound, &mut theta, &batch).unwrap();
        assert!(method.last_iterate().is_some());
        let (lambda, before) = (method.lambda(), theta.clone());
        let h = LeastSquares::new(D.0, D.1, T::of(0.01)).with_fault(Fault::Cliff(theta.clone()));
        let report = method.step(&Ctx::reference(), &h, &mut theta, &batch).unwrap();
        assert!(report.rejected && report.rho == Some(T::of(f64::NEG_INFINITY)));
        assert_eq!(theta, before);
        assert_eq!(method.lambda(), lambda / omega.unwrap_or(2.0 / 3.0));
        assert!(method.last_iterate().is_none(), "the next solve starts from zero");
        assert_eq!(report.search.unwrap().evaluations, 60);
    }
}

fn curvature_goes_round_the_parts_of_the_batch<T: Scalar>() {
    // undamped, on a part of as many cases as inputs: step k is -(X_k X_kᵀ/n)⁻¹ ∇h with the k-th part
    let (h, batch, start) = problem::<T>(0.01, 40);
    let ctx = Ctx::reference();
    let options = HessianFreeOptions { curvature_cases: Some(12), omega: None, keep: KeepIterates::None, ..exact(1.0) };
    let (mut method, mut theta) = (hf(options), start);
    for range in [0..13, 13..26, 26..40, 0..13] {
        let part = h.subset(&batch, range.clone()).unwrap();
        let before = theta.clone();
        let mut gradient = vec![T::ZERO; theta.len()];
        h.loss_grad(&ctx, &theta, &batch, &mut gradient).unwrap();
        let report = method.step(&ctx, &h, &mut theta, &batch).unwrap();
        let alpha = report.alpha.unwrap().f64();
        // (G_k + λI) δ = -α ∇h
        let g = h.curvature(&ctx, CurvatureMatrix::GaussNewton, &before, &part).unwrap();
        let delta = Mat::from_fn(theta.len(), 1, |i, _| theta[i] - before[i]);
        let mut image = Mat::zeros(theta.len(), 1);
        g.apply(&ctx, delta.as_ref(), image.as_mut()).unwrap();
        let off = norm((0..theta.len()).map(|i| image[(i, 0)].f64() + delta[(i, 0)].f64() + alpha * gradient[i].f64()));
        let limit = tolerance::<T>(theta.len(), 5.0) * norm(before.iter().copied()).max(1.0);
        assert!(off <= limit, "{range:?}: {off:e} > {limit:e}");
    }
}

fn a_run_is_resumed_to_the_same_bits<T: Scalar>() {
    let (h, batch, start) = problem::<T>(0.01, 40);
    let options = HessianFreeOptions { cg_iterations: 4, curvature_cases: Some(10), ..HessianFreeOptions::default() };
    resumes_bitwise("hessian-free", || hf(options), &h, &start, std::slice::from_ref(&batch), 3);
}

fn it_is_an_optimizer<T: Scalar>() {
    let make = || HessianFree::<T, _>::new(HessianFreeOptions { lambda: 1.0, ..Default::default() }, NoPreconditioner);
    check(&Setup::default(), "hessian-free", Goal { steps: 10, share: 1e-2 }, make).assert_passed();
}

fn nothing_moves_at_a_stationary_point_and_nothing_is_asked<T: Scalar>() {
    let (h, batch, start) = problem::<T>(0.0, 40);
    let batch = Regression::new(batch.inputs().clone(), Mat::zeros(D.0, 40)).unwrap();
    let mut theta = vec![T::ZERO; start.len()];
    let report = hf::<T>(HessianFreeOptions::default()).step(&Ctx::reference(), &h, &mut theta, &batch).unwrap();
    assert_eq!((report.passes, report.rejected), (Passes::GRADIENT, false));
}

fn the_inner_end_is_reported<T: Scalar>() {
    let (h, batch, mut theta) = problem::<T>(0.01, 40);
    let options = HessianFreeOptions { cg_iterations: 2, ..exact(1.0) };
    let report = hf(options).step(&Ctx::reference(), &h, &mut theta, &batch).unwrap();
    let inner = report.inner.unwrap();
    assert_eq!(inner.iterations, 2);
    assert_eq!(inner.stop, InnerStop::Krylov(pullback::krylov::CgStop::IterationLimit));
}

for_both!(
    an_exact_inner_solve_is_the_damped_gauss_newton_step,
    a_quadratic_is_solved_in_one_step_and_rho_is_one,
    for_a_large_lambda_the_step_is_the_gradient_over_lambda,
    passes_are_those_of_the_chapter_and_those_that_were_asked_for,
    a_warm_start_is_the_decayed_final_iterate,
    rejection_leaves_theta_and_raises_lambda,
    curvature_goes_round_the_parts_of_the_batch,
    a_run_is_resumed_to_the_same_bits,
    it_is_an_optimizer,
    nothing_moves_at_a_stationary_point_and_nothing_is_asked,
    the_inner_end_is_reported,
);

#[test]
fn options_outside_their_domain_are_refused() {
    let sound = HessianFreeOptions::<f64>::default();
    for options in [
        HessianFreeOptions { lambda: 0.0, ..sound },
        HessianFreeOptions { lambda_range: (50.0, 60.0), ..sound },
        HessianFreeOptions { omega: Some(1.0), ..sound },
        HessianFreeOptions { curvature_cases: Some(0), ..sound },
        HessianFreeOptions { warm_start: Some(f64::NAN), ..sound },
        HessianFreeOptions { relative_tolerance: -1.0, ..sound },
    ] {
        let refused = HessianFree::new(options, NoPreconditioner);
        assert!(matches!(refused, Err(Error::InvalidParameter { .. })), "{options:?}");
    }
}
