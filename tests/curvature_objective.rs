//! Products with G and H against differences of gradients and against the dense matrices; the layer that a NaN names;
//! batches cut into parts.
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{ACTIVATIONS, Case, LOSSES, REDUCTIONS, case, forward, gap, output_hessian};
use pullback::nn::{Activation, Init, Loss, Mlp};
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, MomentumKind, Objective, Optimizer, Passes, Sgd, SubsetObjective,
};
use pullback::testing::{LeastSquares, Regression, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatRef};

const ETA: f64 = 0.03;

fn net(loss: Loss) -> Mlp<f64> {
    let builder = Mlp::builder(3).layer(4, Activation::Tanh).layer(3, Activation::Tanh).layer(2, Activation::Identity);
    builder.loss(loss).l2(ETA).build().unwrap()
}

fn product<O: CurvatureObjective<f64>>(o: &O, which: CurvatureMatrix, theta: &[f64], batch: &O::Batch) -> Mat<f64> {
    let ctx = Ctx::reference();
    let operator = o.curvature(&ctx, which, theta, batch).unwrap();
    let mut dense = Mat::zeros(theta.len(), theta.len());
    operator.apply(&ctx, Mat::identity(theta.len()).as_ref(), dense.as_mut()).unwrap();
    dense
}

/// H by central differences of the gradient.
fn differences<O: Objective<f64>>(o: &O, theta: &[f64], batch: &O::Batch) -> Mat<f64> {
    let (ctx, n, step) = (Ctx::reference(), theta.len(), f64::EPSILON.cbrt());
    let gradient = |j: usize, sign: f64| {
        let (mut moved, mut g) = (theta.to_vec(), vec![0.0; n]);
        moved[j] += sign * step;
        o.loss_grad(&ctx, &moved, batch, &mut g).unwrap();
        g
    };
    let columns: Vec<_> = (0..n).map(|j| (gradient(j, 1.0), gradient(j, -1.0))).collect();
    Mat::from_fn(n, n, |i, j| (columns[j].0[i] - columns[j].1[i]) / (2.0 * step))
}

fn largest(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    a.as_slice().iter().zip(b.as_slice()).fold(0.0, |m, (a, b)| if (a - b).abs() <= m { m } else { (a - b).abs() })
}

/// Central differences with the step ε^⅓ err by about ε^⅔.
fn difference_error() -> f64 {
    100.0 * tolerance::<f64>(1, 1.0).powf(2.0 / 3.0)
}

#[test]
fn the_hessian_is_the_derivative_of_the_gradient() {
    for loss in [Loss::SquaredError, Loss::SoftmaxCrossEntropy] {
        let net = net(loss);
        let (x, t) = (gallery::uniform(3, 7, 1), Mat::from_fn(2, 7, |i, j| f64::from(u8::from(j % 2 == i))));
        let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
        let theta = net.init(Init::GlorotUniform, 2);
        let expected = differences(&net, &theta, &batch);
        let found = product(&net, CurvatureMatrix::Hessian, &theta, &batch);
        assert!(largest(&found, &expected) <= difference_error(), "{loss:?}: {}", largest(&found, &expected));
        // G is another matrix, and the L2 term is in both
        let gauss_newton = product(&net, CurvatureMatrix::GaussNewton, &theta, &batch);
        assert!(!(largest(&gauss_newton, &expected) <= difference_error()));
        let least = pullback::factor::SymEigen::new(&Ctx::reference(), gauss_newton).unwrap().values()[0];
        assert!(least >= ETA * (1.0 - tolerance::<f64>(100, 10.0)), "{least}");
    }
}

/// w JᵀH_z J + η I, with J's columns by products and H_z from std's functions.
fn formed_gauss_newton(c: &Case<f64>) -> Mat<f64> {
    let ctx = Ctx::reference();
    let ((ws, _), (d, n, p)) = (forward(&ctx, c), (c.net.outputs(), c.batch.cases(), c.theta.len()));
    let column = |k: usize| {
        let (v, mut jv): (Vec<f64>, _) = ((0..p).map(|i| f64::from(u8::from(i == k))).collect(), Mat::zeros(d, n));
        c.net.jvp(&ctx, &c.theta, &c.batch, &ws, &v, jv.as_mut()).unwrap();
        jv
    };
    let columns: Vec<Mat<f64>> = (0..p).map(column).collect();
    let hessians: Vec<Mat<f64>> = ws.outputs().cols().map(|z| output_hessian(c.net.output_loss(), z)).collect();
    let weight = c.net.reduction().weight(n);
    Mat::from_fn(p, p, |i, j| {
        let case = |(at, h): (usize, &Mat<f64>)| -> f64 {
            (0..d)
                .flat_map(|a| (0..d).map(move |b| (a, b)))
                .map(|(a, b)| columns[i][(a, at)] * h[(a, b)] * columns[j][(b, at)])
                .sum()
        };
        weight * hessians.iter().enumerate().map(case).sum::<f64>() + if i == j { c.net.l2() } else { 0.0 }
    })
}

/// Every activation, loss, reduction, with an L2 term and without, and output layers that are curved.
#[test]
fn both_matrices_are_those_of_the_definition() {
    for hidden in ACTIVATIONS {
        for (loss, reduction) in LOSSES.into_iter().flat_map(|loss| REDUCTIONS.map(|reduction| (loss, reduction))) {
            for (output, l2) in [(Activation::Identity, 0.0), (Activation::Identity, ETA), (Activation::Tanh, ETA)] {
                let c = case::<f64>(&[3, 4, 2], hidden, output, loss, reduction, l2, 3, 17);
                let found = product(&c.net, CurvatureMatrix::GaussNewton, &c.theta, &c.batch);
                let error = gap(found.as_slice(), formed_gauss_newton(&c).as_slice());
                assert!(error <= tolerance::<f64>(32, 1.0), "G of {}, L2 {l2}: {error:e}", c.name);
                let found = product(&c.net, CurvatureMatrix::Hessian, &c.theta, &c.batch);
                let error = gap(found.as_slice(), differences(&c.net, &c.theta, &c.batch).as_slice());
                assert!(error <= difference_error(), "H of {}, L2 {l2}: {error:e}", c.name);
            }
        }
    }
}

#[test]
fn on_a_quadratic_both_matrices_are_the_hessian_and_cost_what_they_say() {
    let (problem, batch) = (LeastSquares::new(2, 3, ETA), Regression::random(2, 3, 9, 4));
    let theta = gallery::uniform::<f64>(6, 1, 5).into_vec();
    let expected = differences(&problem, &theta, &batch);
    for which in [CurvatureMatrix::GaussNewton, CurvatureMatrix::Hessian] {
        let found = product(&problem, which, &theta, &batch);
        assert!(largest(&found, &expected) <= difference_error(), "{which:?}");
        let ctx = Ctx::reference();
        let operator = problem.curvature(&ctx, which, &theta, &batch).unwrap();
        problem.take_passes();
        let mut y = Mat::zeros(6, 1);
        for _ in 0..3 {
            operator.apply(&ctx, MatRef::from_column(&theta), y.as_mut()).unwrap();
        }
        drop(operator);
        assert_eq!(problem.take_passes(), which.passes(3), "{which:?}");
    }
    assert_eq!(CurvatureMatrix::GaussNewton.passes(3), Passes { jvp: 3, vjp: 3, ..Passes::default() });
    assert_eq!(CurvatureMatrix::Hessian.passes(3).total(), 6);
}

#[test]
fn a_nan_in_a_layer_is_an_error_that_names_it() {
    let (ctx, net) = (Ctx::reference(), net(Loss::SquaredError));
    let (x, t) = (gallery::uniform(3, 5, 1), gallery::uniform(2, 5, 2));
    let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
    for (layer, block) in net.layout().blocks().iter().enumerate() {
        let mut theta = net.init(Init::GlorotUniform, 3);
        theta[block.offset] = f64::NAN;
        assert_eq!(net.first_not_finite(&ctx, &theta, &batch), Some(layer));
        let before: Vec<u64> = theta.iter().map(|w| w.to_bits()).collect();
        let mut sgd = Sgd::new(0.1, 0.5, MomentumKind::HeavyBall).unwrap();
        let error = sgd.step(&ctx, &net, &mut theta, &batch).unwrap_err();
        assert!(matches!(error, Error::NotFinite { op: "loss", layer: Some(l) } if l == layer), "{layer}: {error}");
        assert_eq!(before, theta.iter().map(|w| w.to_bits()).collect::<Vec<_>>());
    }
}

/// h of the whole batch is the mean of h over its parts, weighted by their cases.
fn parts_add_up<O: SubsetObjective<f64>>(o: &O, theta: &[f64], batch: &O::Batch)
where
    O::Batch: Sized,
{
    let (ctx, n) = (Ctx::reference(), o.cases(batch));
    let loss = |cases: std::ops::Range<usize>| {
        let weight = cases.len() as f64 / n as f64;
        let part = o.subset(batch, cases.clone()).unwrap();
        assert_eq!(o.cases(&part), cases.len());
        weight * o.loss(&ctx, theta, &part).unwrap()
    };
    let whole = o.loss(&ctx, theta, batch).unwrap();
    for cut in [1, n / 2, n - 1] {
        let sum = loss(0..cut) + loss(cut..n);
        assert!((sum - whole).abs() <= tolerance::<f64>(50 * n, 1.0) * whole.abs(), "{cut}: {sum} {whole}");
    }
    #[allow(clippy::reversed_empty_ranges)]
    for bad in [0..0, n..n, 0..n + 1, 3..2] {
        assert!(matches!(o.subset(batch, bad), Err(Error::InvalidParameter { .. })));
    }
}

#[test]
fn a_batch_is_the_sum_of_its_parts() {
    let problem = LeastSquares::new(2, 3, ETA);
    parts_add_up(&problem, &gallery::uniform::<f64>(6, 1, 5).into_vec(), &Regression::random(2, 3, 9, 4));
    let net = net(Loss::SquaredError);
    let (x, t) = (gallery::uniform(3, 8, 1), gallery::uniform(2, 8, 2));
    let batch = net.batch(x.as_ref(), t.as_ref()).unwrap();
    parts_add_up(&net, &net.init(Init::GlorotUniform, 3), &batch);
}
