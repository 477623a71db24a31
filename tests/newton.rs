//! Claim: Newton and Gauss-Newton solve quadratics in one step, do not see affine changes of parameters, and square the
//! error near a minimum; damping cures what undamped Newton does to a nearly linear loss; an indefinite Hessian is handled
//! by λ or by |H|; and the four sources of local models agree where they must.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod newton_support;
#[path = "common/resumed.rs"]
mod resumed;

use newton_support::{Derivatives, Function, InCoordinates, gap, length, product, run};
use pullback::curvature::{KroneckerDamping, SampleSpaceOptions, SampleSpacePath};
use pullback::factor::SymEigen;
use pullback::krylov::CgOptions;
use pullback::nn::{Activation, Init, Loss, Mlp};
use pullback::optim::line_search::{Armijo, FixedStep};
use pullback::optim::{
    CgModel, CurvatureMatrix, CurvatureObjective, DampedNewton, DampingMetric, DampingRule, DenseModel, DiagonalSource,
    FisherKind, GaussNewton, Indefinite, KernelModel, KroneckerModel, Newton, Objective, Optimizer,
};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Op, Scalar};
use resumed::resumes_bitwise;

fn start<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

/// Largest and smallest eigenvalue of the curvature.
fn spectrum<O: CurvatureObjective<f64>>(h: &O, theta: &[f64], batch: &O::Batch) -> (f64, f64) {
    let ctx = Ctx::reference();
    let c = h.curvature(&ctx, CurvatureMatrix::GaussNewton, theta, batch).unwrap().to_dense(&ctx).unwrap();
    let values = SymEigen::new(&ctx, c).unwrap().values().to_vec();
    (values[values.len() - 1], values[0])
}

fn quadratics_in_one_step<T: Scalar>() {
    for (d_out, d_in, cases) in [(1, 1, 3), (2, 3, 20), (3, 11, 40)] {
        let (h, batch) = (LeastSquares::<T>::new(d_out, d_in, T::of(0.01)), Regression::random(d_out, d_in, cases, 5));
        let theta = start::<T>(d_out * d_in, 6);
        for ctx in &contexts::<T>() {
            let after = |theta: Vec<T>| {
                let mut gradient = vec![T::ZERO; theta.len()];
                h.loss_grad(ctx, &theta, &batch, &mut gradient).unwrap();
                length(&gradient)
            };
            let before = after(theta.clone());
            let newton = run(ctx, Newton::<T>::undamped().unwrap(), &h, &theta, &batch, 1).0;
            let gauss = run(ctx, GaussNewton::<T>::new(0.0).unwrap(), &h, &theta, &batch, 1).0;
            let kernel = GaussNewton::<T>::new(0.0).unwrap().with_source(KernelModel::default());
            let kernel = run(ctx, kernel, &h, &theta, &batch, 1).0;
            // the curvature of mean squares is about 1, of condition up to 1/η
            let limit = tolerance::<T>(d_in * d_out + cases, 1e2) * (1.0 + before);
            for (name, theta) in [("Newton", newton), ("Gauss-Newton", gauss), ("kernel", kernel)] {
                let left = after(theta);
                assert!(left <= limit, "{name}, {d_out} x {d_in}: gradient {left:e} of {before:e}, limit {limit:e}");
            }
        }
    }
}

/// Eq 4: J(z) = log(1 + exp(-z)), J' = -σ(-z), J'' = σ(z) σ(-z).
fn positive_example(z: &[f64]) -> Derivatives {
    let sigma = |z: f64| 1.0 / (1.0 + (-z).exp());
    let z = z[0];
    let value = if z > 0.0 { (-z).exp().ln_1p() } else { z.exp().ln_1p() - z };
    (value, vec![-sigma(-z)], Mat::from_diagonal(&[sigma(z) * sigma(-z)]))
}

/// A positive and a negative example of the same logit; the minimum is at 0.
fn both_examples(z: &[f64]) -> Derivatives {
    let ((a, g, h), (b, k, l)) = (positive_example(z), positive_example(&[-z[0]]));
    (a + b, vec![g[0] - k[0]], Mat::from_diagonal(&[h[(0, 0)] + l[(0, 0)]]))
}

#[test]
fn undamped_newton_leaps_on_the_logistic_loss_and_damping_cures_it() {
    let (ctx, single) = (Ctx::<f64>::reference(), Function::new(1, positive_example));
    for z in [-5.0, -10.0, -15.0] {
        let (after, _) = run(&ctx, Newton::undamped().unwrap(), &single, &[z], &(), 1);
        // z - J'/J'' = z + 1/σ(z) = z + 1 + exp(-z): the chapter's z₀ + exp(-z)
        let want = z + 1.0 + f64::exp(-z);
        let error = (after[0] - want).abs();
        assert!(error <= tolerance::<f64>(4, 1.0) * want, "{} from {z}, expected {want}", after[0]);
        for eta in [0.1, 1.0] {
            let (after, reports) = run(&ctx, Newton::damped(eta).unwrap(), &single, &[z], &(), 1);
            // at most |J'|/η <= 1/η, and in the right direction
            assert!(after[0] > z && after[0] - z <= 1.0 / eta, "{} from {z} at {eta}", after[0]);
            let change = reports[0].predicted_change.unwrap();
            assert!(change < 0.0, "{change}");
        }
    }
    // with a minimum to miss: z - sinh z
    let both = Function::new(1, both_examples);
    let mut newton = Newton::undamped().unwrap();
    let (mut z, mut sizes) = (vec![3.0], vec![3.0f64]);
    for _ in 0..4 {
        let before = z[0];
        if newton.step(&ctx, &both, &mut z, &()).is_err() {
            break; // the curvature is exactly zero out there
        }
        let want = before - f64::sinh(before);
        assert!((z[0] - want).abs() <= tolerance::<f64>(4, 1e2) * want.abs(), "{} for {want}", z[0]);
        sizes.push(z[0].abs());
    }
    assert!(sizes.len() > 2 && sizes.windows(2).all(|w| w[1] > 2.0 * w[0]), "diverges: {sizes:?}");
    let (z, _) = run(&ctx, Newton::damped(0.5).unwrap(), &both, &[3.0], &(), 60);
    assert!(z[0].abs() <= 1e3 * f64::EPSILON, "damped: {}", z[0]);
    let searched = Newton::undamped().unwrap().with_search(Armijo::default());
    let (z, _) = run(&ctx, searched, &both, &[3.0], &(), 30);
    assert!(z[0].abs() <= 1e3 * f64::EPSILON, "with a search: {}", z[0]);
}

/// Σ exp(c_i x_i) + ½ x_i², strongly convex (f'' >= 1), its minimum at negative x.
fn exponentials(x: &[f64]) -> Derivatives {
    let c = [0.5, 1.0, 1.5];
    let terms = x.iter().zip(c).map(|(&x, c)| ((c * x).exp() + 0.5 * x * x, c * (c * x).exp() + x, c, x));
    let (mut value, mut gradient, mut hessian) = (0.0, Vec::new(), Mat::zeros(3, 3));
    for (i, (v, g, c, x)) in terms.enumerate() {
        value += v;
        gradient.push(g);
        hessian[(i, i)] = c * c * (c * x).exp() + 1.0;
    }
    (value, gradient, hessian)
}

#[test]
fn newton_squares_the_error() {
    let (ctx, f) = (Ctx::<f64>::reference(), Function::new(3, exponentials));
    let best = run(&ctx, Newton::undamped().unwrap(), &f, &[0.0; 3], &(), 20).0;
    let errors: Vec<f64> =
        (0..5).map(|k| gap(&run(&ctx, Newton::undamped().unwrap(), &f, &[0.0; 3], &(), k).0, &best)).collect();
    assert!(errors[0] > 0.5, "{errors:?}");
    // ‖e₊‖ <= max f'''/(2 min f'') ‖e‖², with f''' <= 1.5³ for x <= 0 and f'' >= 1
    let constant = 1.5f64.powi(3) / 2.0;
    for pair in errors.windows(2) {
        let bound = constant * pair[0] * pair[0] + tolerance::<f64>(3, 4.0);
        assert!(pair[1] <= bound, "{errors:?}");
    }
    // and the bound says something: two digits become five become ten
    assert!(errors[4] < 1e-9, "{errors:?}");
}

/// x² + y⁴/4 - y²/2: a saddle at 0, minima at y = ±1.
fn saddle(p: &[f64]) -> Derivatives {
    let (x, y) = (p[0], p[1]);
    let value = x * x + 0.25 * y.powi(4) - 0.5 * y * y;
    (value, vec![2.0 * x, y.powi(3) - y], Mat::from_diagonal(&[2.0, 3.0 * y * y - 1.0]))
}

#[test]
fn at_a_saddle_newton_climbs_and_lambda_or_absolute_values_descend() {
    let (ctx, f, from) = (Ctx::<f64>::reference(), Function::new(2, saddle), [0.0, 0.3]);
    let loss = |x: &[f64]| Objective::<f64>::loss(&f, &ctx, x, &()).unwrap();
    let climbed = run(&ctx, Newton::undamped().unwrap(), &f, &from, &(), 1).0;
    assert!(loss(&climbed) > loss(&from), "to {climbed:?}");
    assert!(length(&run(&ctx, Newton::undamped().unwrap(), &f, &from, &(), 20).0) <= 1e-12, "the saddle attracts");
    let (slope, curvature): (f64, f64) = (f64::powi(0.3, 3) - 0.3, 3.0 * 0.09 - 1.0);
    for (indefinite, lambda, size) in [
        (Indefinite::Absolute, 0.0, curvature.abs()),
        (Indefinite::Absolute, 0.5, curvature.abs() + 0.5),
        // λ = 2 |c| makes c into |c|; a larger one stands
        (Indefinite::Shift, 0.0, curvature.abs()),
        (Indefinite::Shift, 3.0, 3.0 + curvature),
    ] {
        let newton = || Newton::with_indefinite(lambda, indefinite).unwrap();
        let (there, reports) = run(&ctx, newton(), &f, &from, &(), 1);
        let want = 0.3 - slope / size;
        assert!((there[1] - want).abs() <= tolerance::<f64>(4, 1.0), "{indefinite:?}: {} for {want}", there[1]);
        assert!(loss(&there) < loss(&from), "{indefinite:?} at {lambda}");
        let in_force = reports[0].lambda.unwrap();
        let expected = if indefinite == Indefinite::Shift { lambda.max(2.0 * curvature.abs()) } else { lambda };
        assert!((in_force - expected).abs() <= tolerance::<f64>(4, 1.0), "{indefinite:?}: λ = {in_force}");
        let there = run(&ctx, newton().with_search(Armijo::default()), &f, &from, &(), 200).0;
        assert!(gap(&there, &[0.0, 1.0]) <= 1e-7, "{indefinite:?} ends at {there:?}");
    }
    // conjugate gradient: negative curvature on the way ends it with a step that descends
    let truncated =
        DampedNewton::new(CgModel::new(CurvatureMatrix::Hessian), DampingRule::Fixed(0.0), Armijo::default());
    let there = run(&ctx, truncated.unwrap(), &f, &from, &(), 60).0;
    assert!(gap(&there, &[0.0, 1.0]) <= 1e-7, "truncated Newton ends at {there:?}");
}

struct Problem {
    net: Mlp<f64>,
    batch: pullback::nn::Batch<f64>,
    theta: Vec<f64>,
}

/// More residuals than parameters, so that G is positive definite.
fn problem(loss: Loss) -> Problem {
    let net = Mlp::builder(2).layer(3, Activation::Tanh).layer(2, Activation::Identity).loss(loss).build().unwrap();
    let x = gallery::uniform::<f64>(2, 40, 3);
    let y = gallery::uniform::<f64>(2, 40, 4).map(|v| if loss == Loss::SquaredError { v } else { f64::from(v > 0.0) });
    let (batch, mut theta) = (net.batch(x.as_ref(), y.as_ref()).unwrap(), net.init(Init::GlorotUniform, 5));
    theta.iter_mut().zip(start::<f64>(17, 7)).for_each(|(w, noise)| *w += 0.2 * noise);
    Problem { net, batch, theta }
}

/// A change of coordinates of condition about 30.
fn coordinates(n: usize) -> Mat<f64> {
    let a = gallery::uniform::<f64>(n, n, 11);
    Mat::from_fn(n, n, |i, j| 0.3 * a[(i, j)] + if i == j { 1.0 + i as f64 / n as f64 } else { 0.0 })
}

/// θ after a step in either coordinates: the gap, relative to the way gone.
fn seen_in_coordinates<P, Q>(p: &Problem, plain: P, changed: Q) -> f64
where
    P: Optimizer<f64, Mlp<f64>>,
    Q: for<'a> Optimizer<f64, InCoordinates<'a, Mlp<f64>>>,
{
    let ctx = Ctx::reference();
    let there = InCoordinates { inner: &p.net, b: coordinates(p.theta.len()) };
    // from the same point, to rounding: φ first, θ = B φ
    let phi = start::<f64>(p.theta.len(), 13).iter().map(|w| 0.5 * w).collect::<Vec<_>>();
    let theta = product(&there.b, Op::No, &phi);
    let (after, _) = run(&ctx, plain, &p.net, &theta, &p.batch, 1);
    let (phi, _) = run(&ctx, changed, &there, &phi, &p.batch, 1);
    gap(&there.theta(&phi), &after) / gap(&after, &theta)
}

#[test]
fn undamped_methods_do_not_see_an_affine_change_of_parameters() {
    for loss in [Loss::SquaredError, Loss::BernoulliCrossEntropy] {
        let p = problem(loss);
        let (largest, smallest) = spectrum(&p.net, &p.theta, &p.batch);
        // solves lose κ of each system; the change of coordinates squares its own condition into one of them
        let limit = tolerance::<f64>(17, 1e3 * (largest / smallest));
        assert!(limit < 1e-4, "κ = {:e} says nothing", largest / smallest);
        let damped = seen_in_coordinates(&p, GaussNewton::new(1.0).unwrap(), GaussNewton::new(1.0).unwrap());
        assert!(damped > 1e-2, "damping is not invariant: {damped:e}");
        let newton = || Newton::undamped().unwrap();
        let gauss = || GaussNewton::new(0.0).unwrap();
        let kernel = || gauss().with_source(KernelModel::default());
        for (name, error) in [
            ("Newton", seen_in_coordinates(&p, newton(), newton())),
            ("Gauss-Newton", seen_in_coordinates(&p, gauss(), gauss())),
            ("Gauss-Newton by J", seen_in_coordinates(&p, kernel(), kernel())),
        ] {
            assert!(error <= limit, "{name}, {loss:?}: {error:e}, limit {limit:e}");
        }
    }
}

fn on_path<T: Scalar>(path: SampleSpacePath) -> KernelModel<T> {
    let iteration = CgOptions { relative_tolerance: T::EPS, ..CgOptions::from_zero() };
    KernelModel::new(SampleSpaceOptions { path, iteration, ..SampleSpaceOptions::default() }).unwrap()
}

const PATHS: [SampleSpacePath; 5] = [
    SampleSpacePath::Auto,
    SampleSpacePath::Primal,
    SampleSpacePath::Kernel,
    SampleSpacePath::ConjugateGradient,
    SampleSpacePath::Lsmr,
];

/// One damped Gauss-Newton step by every source, where the block is a Kronecker product.
fn sources_agree<T: Scalar>() {
    for (d_out, d_in, cases) in [(1, 1, 1), (2, 5, 3), (3, 4, 33)] {
        for eta in [0.0, 0.05] {
            for metric in [DampingMetric::Identity, DampingMetric::Diagonal] {
                let h = LeastSquares::<T>::new(d_out, d_in, T::of(eta));
                let batch = Regression::random(d_out, d_in, cases, 21);
                let theta = start::<T>(d_out * d_in, 22);
                for ctx in &contexts::<T>() {
                    let lambda = 0.1;
                    let plain = GaussNewton::<T>::new(lambda).unwrap();
                    let dense = DenseModel::new(CurvatureMatrix::GaussNewton).with_metric(metric);
                    let (want, said) = run(ctx, plain.clone().with_source(dense), &h, &theta, &batch, 1);
                    // d_ii <= 1 here, of C's norm at most d_in
                    let limit = tolerance::<T>(d_out * (d_in + cases), d_in as f64 / lambda) * (1.0 + length(&theta));
                    let place = format!("{d_out} x {d_in}, {cases} cases, η = {eta}, {metric:?}, {}", T::NAME);
                    let agrees = |name: &str, (found, report): (Vec<T>, Vec<pullback::optim::StepReport<T>>)| {
                        let error = gap(&found, &want);
                        assert!(error <= limit, "{name}, {place}: off by {error:e}, limit {limit:e}");
                        let (a, b) = (report[0].predicted_change.unwrap(), said[0].predicted_change.unwrap());
                        let size = 1.0 + said[0].loss_before.f64();
                        assert!((a.f64() - b.f64()).abs() <= limit * size, "{name}, {place}: predicts {a} for {b}");
                    };
                    for path in PATHS {
                        let source = on_path::<T>(path).with_metric(metric);
                        let found = run(ctx, plain.clone().with_source(source), &h, &theta, &batch, 1);
                        agrees(&format!("{path:?}"), found);
                    }
                    let options = CgOptions { relative_tolerance: T::EPS, ..CgOptions::default() };
                    let cg = CgModel::new(CurvatureMatrix::GaussNewton).with_options(options).unwrap();
                    let cg = cg.with_metric(metric);
                    for source in [cg.clone(), cg.with_jacobi()] {
                        agrees("CG", run(ctx, plain.clone().with_source(source), &h, &theta, &batch, 1));
                    }
                    let source = KroneckerModel::new(FisherKind::Exact, KroneckerDamping::Exact).with_metric(metric);
                    let kronecker = plain.clone().with_source(source);
                    if metric == DampingMetric::Diagonal && eta > 0.0 {
                        let refused = kronecker.clone().step(ctx, &h, &mut theta.clone(), &batch);
                        assert!(matches!(refused, Err(Error::InvalidParameter { name: "metric", .. })), "{place}");
                    } else {
                        agrees("Kronecker", run(ctx, kronecker, &h, &theta, &batch, 1));
                    }
                }
            }
        }
    }
}

/// On a network: dense = kernel = CG for every λ of a model that is asked several times.
#[test]
fn a_model_answers_for_one_lambda_after_the_other() {
    use pullback::optim::{LocalModel, ModelSource};
    let p = problem(Loss::SquaredError);
    for ctx in &contexts::<f64>() {
        for metric in [DampingMetric::Identity, DampingMetric::Diagonal] {
            let mut dense = DenseModel::new(CurvatureMatrix::GaussNewton).with_metric(metric);
            let mut sources: Vec<_> = PATHS.iter().map(|&path| on_path::<f64>(path).with_metric(metric)).collect();
            for lambda in [1e-3, 0.1, 10.0] {
                let solve = |model: &mut dyn LocalModel<f64>, lambda: f64| {
                    let mut delta = vec![0.0; p.theta.len()];
                    model.step(ctx, lambda, &mut delta).unwrap();
                    delta
                };
                let mut model = dense.model(ctx, &p.net, &p.theta, &p.batch).unwrap();
                let want: Vec<_> = [lambda, 2.0 * lambda, 7.0 * lambda].map(|l| solve(&mut *model, l)).into();
                drop(model);
                for source in &mut sources {
                    let path = source.options().path;
                    let mut model = source.model(ctx, &p.net, &p.theta, &p.batch).unwrap();
                    for (factor, want) in [1.0, 2.0, 7.0].into_iter().zip(&want) {
                        let error = gap(&solve(&mut *model, factor * lambda), want);
                        let limit = tolerance::<f64>(80, 1e2 / lambda) * length(want);
                        assert!(error <= limit, "{path:?}, λ = {factor} · {lambda}: {error:e}, limit {limit:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_estimated_diagonal_preconditions_too() {
    let (ctx, p) = (Ctx::<f64>::reference(), problem(Loss::SquaredError));
    let options = CgOptions { relative_tolerance: 1e-12, ..CgOptions::default() };
    let cg = CgModel::new(CurvatureMatrix::GaussNewton).with_options(options).unwrap().with_jacobi();
    let estimated = cg.clone().with_diagonal(DiagonalSource::Estimated { products: 40, seed: 3 });
    let method = || GaussNewton::new(0.1).unwrap();
    let (exact, first) = run(&ctx, method().with_source(cg), &p.net, &p.theta, &p.batch, 1);
    let (found, second) = run(&ctx, method().with_source(estimated), &p.net, &p.theta, &p.batch, 1);
    assert!(gap(&exact, &found) <= 1e-9 * gap(&exact, &p.theta), "the diagonal is in the preconditioner alone");
    let diagonal = |passes: pullback::optim::Passes, iterations: usize| passes.jvp - iterations as u64;
    let iterations = |r: &[pullback::optim::StepReport<f64>]| r[0].inner.unwrap().iterations;
    // beyond the iteration: the diagonal, the quadratic form, perhaps a last true residual
    let (a, b) = (diagonal(first[0].passes, iterations(&first)), diagonal(second[0].passes, iterations(&second)));
    assert!((18..=21).contains(&a) && (41..=44).contains(&b), "{a} and {b} products beside the iteration");
}

#[test]
fn a_value_that_is_not_finite_is_an_error_that_names_the_layer() {
    let (ctx, mut p) = (Ctx::<f64>::reference(), problem(Loss::SquaredError));
    let last = p.net.layout().blocks()[1].range().start;
    p.theta[last] = f64::NAN;
    fn check<P: Optimizer<f64, Mlp<f64>>>(name: &str, ctx: &Ctx<f64>, p: &Problem, mut method: P) {
        let mut theta = p.theta.clone();
        let outcome = method.step(ctx, &p.net, &mut theta, &p.batch);
        assert!(matches!(outcome, Err(Error::NotFinite { layer: Some(1), .. })), "{name}: {outcome:?}");
        assert!(theta.iter().zip(&p.theta).all(|(a, b)| a.to_bits() == b.to_bits()), "{name} moved θ");
    }
    let kronecker = KroneckerModel::new(FisherKind::Exact, KroneckerDamping::Exact);
    check("Newton", &ctx, &p, Newton::undamped().unwrap());
    check("kernel", &ctx, &p, GaussNewton::new(0.1).unwrap().with_source(KernelModel::default()));
    check("CG", &ctx, &p, GaussNewton::new(0.1).unwrap().with_source(CgModel::new(CurvatureMatrix::GaussNewton)));
    check("Kronecker", &ctx, &p, GaussNewton::new(0.1).unwrap().with_source(kronecker));
}

fn passes_the_suite_of_optimizers<T: Scalar>() {
    let (setup, goal) = (Setup::<T>::default(), Goal { steps: 2, share: 1e-3 });
    let damped = || GaussNewton::<T>::new(1e-3);
    optimizer::check(&setup, "Newton", goal, Newton::<T>::undamped).assert_passed();
    optimizer::check(&setup, "damped Newton", goal, || Ok(Newton::<T>::damped(1e-3)?.with_search(Armijo::default())))
        .assert_passed();
    optimizer::check(&setup, "Gauss-Newton", goal, damped).assert_passed();
    optimizer::check(&setup, "kernel", goal, || Ok(damped()?.with_source(KernelModel::default()))).assert_passed();
    optimizer::check(&setup, "CG", goal, || {
        Ok(damped()?.with_source(CgModel::new(CurvatureMatrix::GaussNewton).with_jacobi()))
    })
    .assert_passed();
    optimizer::check(&setup, "Kronecker", goal, || {
        Ok(damped()?.with_source(KroneckerModel::new(FisherKind::Exact, KroneckerDamping::Exact)))
    })
    .assert_passed();
}

fn a_run_goes_on_where_it_was_stored<T: Scalar>() {
    let (h, theta) = (LeastSquares::<T>::new(2, 4, T::of(0.01)), start::<T>(8, 31));
    let batches = [Regression::random(2, 4, 9, 32), Regression::random(2, 4, 9, 33)];
    let metric = DampingMetric::Diagonal;
    resumes_bitwise("newton", || Newton::<T>::damped(0.1).unwrap(), &h, &theta, &batches, 3);
    let gauss = || GaussNewton::<T>::new(0.1).unwrap();
    let kernel = || gauss().with_source(KernelModel::default().with_metric(metric)).with_search(Armijo::default());
    resumes_bitwise("gauss-newton by the kernel", kernel, &h, &theta, &batches, 3);
    let cg = || gauss().with_source(CgModel::new(CurvatureMatrix::GaussNewton).with_metric(metric).with_jacobi());
    resumes_bitwise("gauss-newton by conjugate gradient", cg, &h, &theta, &batches, 3);
    let sampled = KroneckerModel::new(FisherKind::MonteCarlo, KroneckerDamping::Exact);
    resumes_bitwise("sampled factors", || gauss().with_source(sampled.clone()), &h, &theta, &batches, 3);
}

#[test]
fn options_outside_their_domain_are_refused() {
    for lambda in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(Newton::<f64>::damped(lambda).is_err() && GaussNewton::<f64>::new(lambda).is_err());
    }
    let step = FixedStep::new(1.0).unwrap();
    let assembly = DampedNewton::<f64, _, _>::new((), DampingRule::Fixed(1.0), step).unwrap();
    assert!(assembly.clone().with_trials(0).is_err());
    assert!(assembly.with_rule(DampingRule::Fixed(-1.0)).is_err());
    // stored state is held to the same
    let stored = serde_json::to_string(&Newton::<f64>::damped(0.5).unwrap()).unwrap();
    assert!(serde_json::from_str::<Newton<f64>>(&stored).is_ok());
    assert!(serde_json::from_str::<Newton<f64>>(&stored.replace("0.5", "-0.5")).is_err());
}

#[test]
fn a_singular_undamped_system_is_an_error() {
    // two equal columns of J, no L2 term, and a gradient that is not zero
    let (ctx, h) = (Ctx::<f64>::reference(), LeastSquares::new(1, 2, 0.0));
    let batch = Regression::new(Mat::from_fn(2, 3, |_, _| 1.0), Mat::from_fn(1, 3, |_, j| j as f64)).unwrap();
    let mut theta = vec![0.0; 2];
    let mut kernel = GaussNewton::new(0.0).unwrap().with_source(KernelModel::default());
    let outcome = kernel.step(&ctx, &h, &mut theta, &batch);
    assert!(matches!(outcome, Err(Error::NotPositiveDefinite { .. })), "{outcome:?}");
    let outcome = Newton::undamped().unwrap().step(&ctx, &h, &mut theta, &batch);
    assert!(matches!(outcome, Err(Error::Singular { .. })), "{outcome:?}");
    assert_eq!(theta, [0.0; 2]);
}

for_both!(quadratics_in_one_step, sources_agree, passes_the_suite_of_optimizers, a_run_goes_on_where_it_was_stored,);
