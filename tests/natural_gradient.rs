//! Claim: the matrix of a natural gradient step is the Fisher matrix from its definition; the step does not see an affine
//! change of parameters; with a learning rate of one it is the damped Gauss-Newton step.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod newton_support;
#[path = "common/resumed.rs"]
mod resumed;

use newton_support::{InCoordinates, gap, length, product, run};
use pullback::curvature::KroneckerDamping;
use pullback::factor::Cholesky;
use pullback::nn::{Activation, Init, Loss, Mlp};
use pullback::optim::{CgModel, CurvatureMatrix, FisherKind, GaussNewton, KroneckerModel, NaturalGradient, Objective};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Mat, Op, Scalar};
use resumed::resumes_bitwise;

fn start<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

/// The outcomes of a case and their probabilities under the model, given its outputs z.
fn outcomes(loss: Loss, z: &[f64]) -> Vec<(Vec<f64>, f64)> {
    match loss {
        Loss::SoftmaxCrossEntropy => {
            let total: f64 = z.iter().map(|z| z.exp()).sum();
            let hot = |c: usize| (0..z.len()).map(|i| f64::from(i == c)).collect();
            (0..z.len()).map(|c| (hot(c), z[c].exp() / total)).collect()
        }
        _ => (0..1usize << z.len())
            .map(|bits| {
                let y: Vec<f64> = (0..z.len()).map(|i| f64::from(bits >> i & 1 == 1)).collect();
                let sigma = |z: f64| 1.0 / (1.0 + (-z).exp());
                let p = y.iter().zip(z).map(|(&y, &z)| if y == 1.0 { sigma(z) } else { sigma(-z) }).product();
                (y, p)
            })
            .collect(),
    }
}

/// E_x Σ_y p(y|x) ∇log p ∇log pᵀ from gradients of single cases.
fn fisher(net: &Mlp<f64>, theta: &[f64], x: &Mat<f64>, loss: Loss, outputs: usize) -> Mat<f64> {
    let (ctx, n) = (Ctx::<f64>::reference(), theta.len());
    let mut f = Mat::zeros(n, n);
    let mut seen = 0.0;
    for case in 0..x.ncols() {
        let input = Mat::from_fn(x.nrows(), 1, |i, _| x[(i, case)]);
        let target = |y: &[f64]| net.batch(input.as_ref(), Mat::from_fn(outputs, 1, |i, _| y[i]).as_ref()).unwrap();
        // z up to what the loss says: the gradient of the last bias is mean - y
        let mut gradient = vec![0.0; n];
        let zero = outcomes(loss, &vec![0.0; outputs])[0].0.clone();
        net.loss_grad(&ctx, theta, &target(&zero), &mut gradient).unwrap();
        let mean: Vec<f64> = (0..outputs).map(|i| gradient[n - outputs + i] + zero[i]).collect();
        let z: Vec<f64> = match loss {
            Loss::SoftmaxCrossEntropy => mean.iter().map(|p| p.ln()).collect(),
            _ => mean.iter().map(|p| (p / (1.0 - p)).ln()).collect(),
        };
        for (y, p) in outcomes(loss, &z) {
            net.loss_grad(&ctx, theta, &target(&y), &mut gradient).unwrap();
            seen += p;
            for j in 0..n {
                for i in 0..n {
                    f[(i, j)] += p / x.ncols() as f64 * gradient[i] * gradient[j];
                }
            }
        }
    }
    assert!((seen - x.ncols() as f64).abs() < 1e-10, "probabilities add up to one: {seen}");
    f
}

#[test]
fn the_matrix_is_the_fisher_matrix_from_its_definition() {
    for loss in [Loss::SoftmaxCrossEntropy, Loss::BernoulliCrossEntropy] {
        let net = Mlp::builder(2).layer(3, Activation::Tanh).layer(3, Activation::Identity).loss(loss).build().unwrap();
        let x = gallery::uniform::<f64>(2, 6, 3);
        let y = Mat::from_fn(3, 6, |i, j| f64::from(i == j % 3));
        let (batch, theta) = (net.batch(x.as_ref(), y.as_ref()).unwrap(), net.init(Init::GlorotUniform, 5));
        let (alpha, lambda) = (0.3, 0.05);
        for ctx in &contexts::<f64>() {
            let found = run(ctx, NaturalGradient::new(alpha, lambda).unwrap(), &net, &theta, &batch, 1).0;
            let mut f = fisher(&net, &theta, &x, loss, 3);
            (0..theta.len()).for_each(|i| f[(i, i)] += lambda);
            let mut gradient = vec![0.0; theta.len()];
            net.loss_grad(ctx, &theta, &batch, &mut gradient).unwrap();
            let mut step = Mat::from_fn(theta.len(), 1, |i, _| gradient[i]);
            Cholesky::new(ctx, f).unwrap().solve_in_place(ctx, step.as_mut()).unwrap();
            let want: Vec<f64> = theta.iter().zip(step.as_slice()).map(|(w, s)| w - alpha * s).collect();
            let limit = tolerance::<f64>(theta.len(), 10.0 / lambda) * gap(&want, &theta);
            assert!(gap(&found, &want) <= limit, "{loss:?}: {:e}, limit {limit:e}", gap(&found, &want));
        }
    }
}

#[test]
fn an_affine_change_of_parameters_is_not_seen() {
    let net = Mlp::builder(2).layer(3, Activation::Tanh).layer(2, Activation::Identity).build().unwrap();
    let (x, y) = (gallery::uniform::<f64>(2, 40, 3), gallery::uniform::<f64>(2, 40, 4));
    let (ctx, batch) = (Ctx::reference(), net.batch(x.as_ref(), y.as_ref()).unwrap());
    let n = net.layout().len();
    let a = gallery::uniform::<f64>(n, n, 11);
    let b = Mat::from_fn(n, n, |i, j| 0.3 * a[(i, j)] + if i == j { 1.0 + i as f64 / n as f64 } else { 0.0 });
    let (there, phi) = (InCoordinates { inner: &net, b }, start::<f64>(n, 13));
    let theta = product(&there.b, Op::No, &phi);
    let error = |lambda: f64| {
        let method = || NaturalGradient::new(0.5, lambda).unwrap();
        let want = run(&ctx, method(), &net, &theta, &batch, 1).0;
        let found = there.theta(&run(&ctx, method(), &there, &phi, &batch, 1).0);
        gap(&found, &want) / gap(&want, &theta)
    };
    // a solve loses the condition of the Fisher matrix, at most 10⁸ here
    let limit = tolerance::<f64>(n, 1e8);
    assert!(error(0.0) <= limit, "{:e}, limit {limit:e}", error(0.0));
    assert!(error(1.0) > 1e3 * limit, "damping is seen: {:e}", error(1.0));
}

fn with_a_rate_of_one_it_is_damped_gauss_newton<T: Scalar>() {
    let (h, batch) = (LeastSquares::<T>::new(3, 4, T::of(0.02)), Regression::random(3, 4, 20, 8));
    let theta = start::<T>(12, 9);
    for ctx in &contexts::<T>() {
        let lambda = 0.2;
        let want = run(ctx, GaussNewton::<T>::new(lambda).unwrap(), &h, &theta, &batch, 1).0;
        let natural = |rate| NaturalGradient::<T>::new(rate, lambda).unwrap();
        let limit = tolerance::<T>(12 * 20, 4.0 / lambda) * length(&want);
        let found = run(ctx, natural(1.0), &h, &theta, &batch, 1).0;
        assert!(gap(&found, &want) <= limit, "{:e}", gap(&found, &want));
        let (half, reports) = run(ctx, natural(0.5), &h, &theta, &batch, 1);
        let middle: Vec<T> = theta.iter().zip(&want).map(|(&a, &b)| T::of(0.5) * (a + b)).collect();
        assert!(gap(&half, &middle) <= limit, "half the way: {:e}", gap(&half, &middle));
        assert_eq!(reports[0].alpha, Some(T::of(0.5)));
        // exact K-FAC blocks are the Fisher matrix of this model
        let blocks = KroneckerModel::new(FisherKind::Exact, KroneckerDamping::Exact);
        let found = run(ctx, natural(1.0).with_source(blocks), &h, &theta, &batch, 1).0;
        assert!(gap(&found, &want) <= limit, "by blocks: {:e}", gap(&found, &want));
    }
}

fn passes_the_suite_of_optimizers<T: Scalar>() {
    let (setup, goal) = (Setup::<T>::default(), Goal { steps: 20, share: 1e-3 });
    let natural = || NaturalGradient::<T>::new(0.5, 1e-3);
    optimizer::check(&setup, "natural gradient", goal, natural).assert_passed();
    let cg = || CgModel::new(CurvatureMatrix::GaussNewton);
    optimizer::check(&setup, "by CG", goal, || Ok(natural()?.with_source(cg()))).assert_passed();
}

fn a_run_goes_on_where_it_was_stored<T: Scalar>() {
    let (h, theta) = (LeastSquares::<T>::new(2, 4, T::of(0.01)), start::<T>(8, 31));
    let batches = [Regression::random(2, 4, 9, 32), Regression::random(2, 4, 9, 33)];
    let natural = || NaturalGradient::<T>::new(0.3, 0.1).unwrap();
    resumes_bitwise("natural gradient", natural, &h, &theta, &batches, 3);
}

#[test]
fn options_outside_their_domain_are_refused() {
    for (rate, lambda) in [(0.0, 1.0), (f64::NAN, 1.0), (1.0, -1.0), (1.0, f64::NAN)] {
        assert!(NaturalGradient::<f64>::new(rate, lambda).is_err(), "{rate}, {lambda}");
    }
}

for_both!(
    with_a_rate_of_one_it_is_damped_gauss_newton,
    passes_the_suite_of_optimizers,
    a_run_goes_on_where_it_was_stored,
);
