//! Claim: Levenberg-Marquardt is Gauss-Newton at one end of λ and gradient descent at the other; both conventions of ρ are
//! what they say; in Marquardt's metric the units of parameters do not matter; and a rejected step moves λ alone.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod newton_support;
#[path = "common/resumed.rs"]
mod resumed;

use newton_support::{Derivatives, Function, InCoordinates, gap, length, run};
use pullback::curvature::{SampleSpaceOptions, SampleSpacePath};
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::{
    CurvatureMatrix, DampingMetric, DampingRule, DenseModel, GaussNewton, KernelModel, LevenbergMarquardt,
    LevenbergMarquardtMethod, ModelDamping, ModelSource, Objective, Optimizer, StepReport,
};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{Fault, LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Mat, Scalar};
use resumed::resumes_bitwise;

fn start<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

fn levenberg<T: Scalar>(lambda: f64, model: ModelDamping) -> LevenbergMarquardtMethod<T> {
    let rule = LevenbergMarquardt::new(lambda, 2.0 / 3.0, lambda * 1e-9, lambda * 1e9).unwrap();
    LevenbergMarquardtMethod::levenberg(rule, model).unwrap()
}

fn network() -> (Mlp<f64>, Batch<f64>, Vec<f64>) {
    let net = Mlp::builder(2).layer(4, Activation::Tanh).layer(1, Activation::Identity).build().unwrap();
    let x = gallery::uniform::<f64>(2, 30, 3);
    let y = Mat::from_fn(1, 30, |_, j| (3.0 * x[(0, j)]).sin() * x[(1, j)]);
    let (batch, theta) = (net.batch(x.as_ref(), y.as_ref()).unwrap(), net.init(Init::GlorotUniform, 5));
    (net, batch, theta)
}

fn rho_on_a_quadratic<T: Scalar>() {
    let (h, batch) = (LeastSquares::<T>::new(2, 4, T::of(0.02)), Regression::random(2, 4, 15, 8));
    let theta: Vec<T> = start::<T>(8, 9).iter().map(|&w| T::of(3.0) * w).collect();
    for ctx in &contexts::<T>() {
        for lambda in [1e-2, 1.0, 30.0] {
            let step = |model| run(ctx, levenberg::<T>(lambda, model), &h, &theta, &batch, 1).1[0];
            let (without, with) = (step(ModelDamping::Excluded), step(ModelDamping::Included));
            let change = without.predicted_change.unwrap().f64();
            // ρ divides a difference of losses by the change: both are known to a rounding of the loss
            let limit = tolerance::<T>(8 * 15, without.loss_before.f64() / change.abs());
            let rho = without.rho.unwrap().f64();
            assert!((rho - 1.0).abs() <= limit, "λ = {lambda} left out: ρ = {rho}, limit {limit:e}");
            let squared = with.step_norm.unwrap().f64().powi(2);
            let want = 1.0 + 0.5 * lambda * squared / -with.predicted_change.unwrap().f64();
            let rho = with.rho.unwrap().f64();
            assert!((rho - want).abs() <= 4.0 * limit, "λ = {lambda} counted: ρ = {rho}, expected {want}");
            assert!(want > 1.0 && want < 2.0, "{want}");
        }
    }
}

#[test]
fn at_a_large_lambda_the_step_is_gradient_descent_and_rho_two_or_one() {
    let (net, batch, theta) = network();
    for ctx in &contexts::<f64>() {
        let mut gradient = vec![0.0; theta.len()];
        net.loss_grad(ctx, &theta, &batch, &mut gradient).unwrap();
        for lambda in [1e4, 1e5] {
            for (model, limit) in [(ModelDamping::Included, 2.0), (ModelDamping::Excluded, 1.0)] {
                let (after, reports) = run(ctx, levenberg(lambda, model), &net, &theta, &batch, 1);
                let want: Vec<f64> = theta.iter().zip(&gradient).map(|(w, g)| w - g / lambda).collect();
                // what is left out is of relative size ‖G‖/λ, with ‖G‖ < 100
                let error = gap(&after, &want) / (length(&gradient) / lambda);
                assert!(error <= 1e2 / lambda, "λ = {lambda}: off by {error:e} of the step");
                let rho = reports[0].rho.unwrap();
                assert!((rho - limit).abs() <= 1e2 / lambda, "{model:?} at {lambda}: ρ = {rho}");
            }
        }
        // in Marquardt's metric: -D⁻¹g/λ
        let mut after = theta.clone();
        let dense = DenseModel::new(CurvatureMatrix::GaussNewton).with_metric(DampingMetric::Diagonal);
        let mut method = LevenbergMarquardtMethod::<f64>::marquardt(1e4).unwrap().with_source(dense);
        method.step(ctx, &net, &mut after, &batch).unwrap();
        let c = pullback::optim::CurvatureObjective::curvature(&net, ctx, CurvatureMatrix::GaussNewton, &theta, &batch);
        let c = pullback::LinearOperator::to_dense(&c.unwrap(), ctx).unwrap();
        let want: Vec<f64> = (0..theta.len()).map(|i| theta[i] - gradient[i] / c[(i, i)] / 1e4).collect();
        assert!(gap(&after, &want) <= 2e-3 * gap(&want, &theta), "in the metric: {:e}", gap(&after, &want));
    }
}

#[test]
fn at_a_small_lambda_the_step_is_gauss_newton() {
    let (h, batch) = (LeastSquares::<f64>::new(2, 4, 0.0), Regression::random(2, 4, 15, 8));
    let theta = start::<f64>(8, 9);
    for ctx in &contexts::<f64>() {
        let want = run(ctx, GaussNewton::new(0.0).unwrap(), &h, &theta, &batch, 1).0;
        let error = |lambda: f64, model| gap(&run(ctx, levenberg(lambda, model), &h, &theta, &batch, 1).0, &want);
        let (coarse, fine) = (error(1e-4, ModelDamping::Included), error(1e-6, ModelDamping::Included));
        // the error is proportional to λ
        assert!(coarse > 50.0 * fine && fine > 0.0, "{coarse:e} at 1e-4, {fine:e} at 1e-6");
        let marquardt = LevenbergMarquardtMethod::<f64>::marquardt(1e-10).unwrap();
        assert!(gap(&run(ctx, marquardt, &h, &theta, &batch, 1).0, &want) <= 1e-8 * length(&want));
    }
}

/// How far four steps with these models depend on the units, relative to the way gone.
fn in_units<S>(units: &[f64], source: S) -> f64
where
    S: for<'a> ModelSource<f64, InCoordinates<'a, Mlp<f64>>> + Clone,
{
    let (ctx, (net, batch, theta)) = (Ctx::reference(), network());
    let plain = InCoordinates { inner: &net, b: Mat::identity(theta.len()) };
    let changed = InCoordinates { inner: &net, b: Mat::from_diagonal(units) };
    let phi: Vec<f64> = theta.iter().zip(units).map(|(w, s)| w / s).collect();
    let method = || LevenbergMarquardtMethod::<f64>::marquardt(1e-2).unwrap().with_source(source.clone());
    let want = run(&ctx, method(), &plain, &theta, &batch, 4).0;
    let found = changed.theta(&run(&ctx, method(), &changed, &phi, &batch, 4).0);
    gap(&found, &want) / gap(&want, &theta)
}

#[test]
fn marquardts_metric_does_not_see_units() {
    let n = network().2.len();
    // powers of two from 2^-20 to 2^20
    let units: Vec<f64> = (0..n).map(|i| f64::powi(2.0, (17 * i % 41) as i32 - 20)).collect();
    let kernel = |path, metric: DampingMetric| {
        KernelModel::new(SampleSpaceOptions { path, ..SampleSpaceOptions::default() }).unwrap().with_metric(metric)
    };
    let dense = DenseModel::new(CurvatureMatrix::GaussNewton).with_metric(DampingMetric::Diagonal);
    // each of four solves at λ >= 1e-2/3^4 in a metric in which ‖C‖ <= n
    let limit = tolerance::<f64>(4 * n, n as f64 * 1e4);
    for (name, error) in [
        ("primal", in_units(&units, kernel(SampleSpacePath::Primal, DampingMetric::Diagonal))),
        ("kernel", in_units(&units, kernel(SampleSpacePath::Kernel, DampingMetric::Diagonal))),
        ("dense", in_units(&units, dense)),
    ] {
        assert!(error <= limit, "{name}: {error:e}, limit {limit:e}");
    }
    let seen = in_units(&units, kernel(SampleSpacePath::Primal, DampingMetric::Identity));
    assert!(seen > 1e-2, "Levenberg's metric sees units: {seen:e}");
}

/// log cosh x, of a curvature that fades.
fn fading(p: &[f64]) -> Derivatives {
    let x = p[0];
    (x.cosh().ln(), vec![x.tanh()], Mat::from_diagonal(&[1.0 / x.cosh().powi(2)]))
}

#[test]
fn the_metric_keeps_the_largest_curvature_seen() {
    let (ctx, f) = (Ctx::<f64>::reference(), Function::new(1, fading));
    let source = || DenseModel::new(CurvatureMatrix::Hessian).with_metric(DampingMetric::Diagonal);
    let method = || {
        let rule = DampingRule::Fixed(1.0);
        LevenbergMarquardtMethod::<f64>::marquardt(1.0).unwrap().with_source(source()).with_rule(rule).unwrap()
    };
    let mut seen = method();
    let mut x = vec![0.5];
    seen.step(&ctx, &f, &mut x, &()).unwrap();
    let largest = 1.0 / f64::cosh(0.5).powi(2);
    // later, where the curvature is small, D is still that of the first step
    let mut x = vec![2.0];
    seen.step(&ctx, &f, &mut x, &()).unwrap();
    let (g, c) = (f64::tanh(2.0), 1.0 / f64::cosh(2.0).powi(2));
    let want = 2.0 - g / (c + largest);
    assert!((x[0] - want).abs() <= tolerance::<f64>(4, 1.0), "{} for {want}", x[0]);
    let mut x = vec![2.0];
    method().step(&ctx, &f, &mut x, &()).unwrap();
    let want = 2.0 - g / (2.0 * c);
    assert!((x[0] - want).abs() <= tolerance::<f64>(4, 1e2), "{} for {want}", x[0]);
    // but no more than 1/ε of the present curvature; where there is none now, what it was
    let mut x = vec![20.0];
    seen.step(&ctx, &f, &mut x, &()).unwrap();
    let c = 1.0 / f64::cosh(20.0).powi(2);
    let bounded = c / f64::EPSILON;
    assert!(bounded < 0.5 * largest);
    let want = 20.0 - f64::tanh(20.0) / (c + bounded);
    assert!((x[0] - want).abs() <= tolerance::<f64>(4, 1.0) * 20.0, "{} for {want}", x[0]);
    let mut x = vec![400.0];
    seen.step(&ctx, &f, &mut x, &()).unwrap();
    let want = 400.0 - 1.0 / bounded;
    assert!((x[0] - want).abs() <= tolerance::<f64>(4, 1.0) * 400.0, "{} for {want}", x[0]);
}

#[test]
fn a_rejected_step_moves_lambda_alone() {
    let (ctx, theta) = (Ctx::<f64>::reference(), start::<f64>(6, 9));
    let cliff = LeastSquares::new(2, 3, 0.0).with_fault(Fault::Cliff(theta.clone()));
    let batch = Regression::random(2, 3, 15, 8);
    let mut nielsen = LevenbergMarquardtMethod::<f64>::marquardt(1e-3).unwrap();
    let mut after = theta.clone();
    let report = nielsen.step(&ctx, &cliff, &mut after, &batch).unwrap();
    assert!(report.rejected && after == theta);
    // ν = 2, 4, 8, ...: λ grows by 2^(1 + 2 + ... + m) in m trials, until the step is below what changes θ
    let trials = report.passes.forward as i32 - 1;
    assert!((8..=16).contains(&trials), "{trials} trials");
    assert_eq!(nielsen.assembly().rule().lambda(), 1e-3 * f64::powi(2.0, trials * (trials + 1) / 2));
    let mut martens = levenberg::<f64>(1.0, ModelDamping::Included);
    martens.step(&ctx, &cliff, &mut after, &batch).unwrap();
    let lambda = martens.assembly().rule().lambda();
    assert!((lambda / 1.5f64.powi(16) - 1.0).abs() <= tolerance::<f64>(16, 1.0), "{lambda}");
    assert_eq!(after, theta);
}

#[test]
fn a_step_is_tried_again_until_the_loss_falls() {
    let (net, batch, theta) = network();
    let reports = |method| -> Vec<StepReport<f64>> { run(&Ctx::reference(), method, &net, &theta, &batch, 60).1 };
    for method in [
        LevenbergMarquardtMethod::<f64>::marquardt(1e-9).unwrap(),
        levenberg(1e-9, ModelDamping::Included),
        levenberg(1e-9, ModelDamping::Excluded),
    ] {
        let said = reports(method);
        for report in said.iter().filter(|r| !r.rejected) {
            assert!(report.loss_after.unwrap() <= report.loss_before, "{report:?}");
        }
        let (first, last) = (said[0].loss_before, said[59].loss_before);
        assert!(last < 1e-2 * first, "{first} to {last}");
        assert!(said.iter().any(|r| r.passes.forward > 2), "λ is far too small at first: some step is tried again");
    }
}

fn passes_the_suite_of_optimizers<T: Scalar>() {
    let (setup, goal) = (Setup::<T>::default(), Goal { steps: 4, share: 1e-3 });
    let marquardt = || LevenbergMarquardtMethod::<T>::marquardt(1e-3);
    optimizer::check(&setup, "Levenberg-Marquardt", goal, marquardt).assert_passed();
    let dense = || DenseModel::new(CurvatureMatrix::GaussNewton).with_metric(DampingMetric::Diagonal);
    optimizer::check(&setup, "dense", goal, || Ok(marquardt()?.with_source(dense()))).assert_passed();
    for model in [ModelDamping::Included, ModelDamping::Excluded] {
        optimizer::check(&setup, "Levenberg", goal, || Ok(levenberg::<T>(1e-3, model))).assert_passed();
    }
}

fn a_run_goes_on_where_it_was_stored<T: Scalar>() {
    let (h, theta) = (LeastSquares::<T>::new(2, 4, T::of(0.01)), start::<T>(8, 31));
    let batches = [Regression::random(2, 4, 9, 32), Regression::random(2, 4, 9, 33)];
    let marquardt = || LevenbergMarquardtMethod::<T>::marquardt(0.1).unwrap();
    resumes_bitwise("levenberg-marquardt", marquardt, &h, &theta, &batches, 3);
    let martens = || levenberg::<T>(0.1, ModelDamping::Included);
    resumes_bitwise("levenberg-marquardt of the chapter", martens, &h, &theta, &batches, 3);
}

for_both!(rho_on_a_quadratic, passes_the_suite_of_optimizers, a_run_goes_on_where_it_was_stored);
