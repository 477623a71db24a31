//! Proximal optimization: distances and their gradients, passes, the minimum of the proximal objective, and the table of
//! its approximations against direct dense computations.
#![cfg(feature = "nn")]

#[macro_use]
#[path = "common/for_both.rs"]
mod for_both;

use pullback::factor::{Cholesky, Lu};
use pullback::krylov::CgOptions;
use pullback::nn::{Activation, Batch, Init, Loss, Mlp, Reduction};
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, InnerMinimizer, InnerStop, LossOrder, MomentumKind, Objective, Optimizer,
    OutputDistance, OutputProximity, Passes, Proximal, ProximalModel, ProximalModelOptions, ProximalOptions, Sgd,
};
use pullback::testing::optimizer::{self, Goal};
use pullback::testing::{LeastSquares, Regression, Setup, contexts, gallery, tolerance};
use pullback::{Ctx, Error, Mat, MatMut, Scalar};

const LOSSES: [Loss; 3] = [Loss::SquaredError, Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy];
const DISTANCES: [OutputDistance; 2] = [OutputDistance::Squared, OutputDistance::KullbackLeibler];

/// A small network, two batches, θ.
fn network<T: Scalar>(loss: Loss, reduction: Reduction, l2: f64, seed: u64) -> (Mlp<T>, Batch<T>, Batch<T>, Vec<T>) {
    let net = Mlp::builder(3)
        .layer(5, Activation::Tanh)
        .layer(2, Activation::Identity)
        .loss(loss)
        .reduction(reduction)
        .l2(T::of(l2))
        .build()
        .unwrap();
    let batch = |cases: usize, seed: u64| {
        let x = gallery::uniform::<T>(3, cases, seed);
        let u = gallery::uniform::<T>(2, cases, seed ^ 9);
        let t = Mat::from_fn(2, cases, |i, j| match loss {
            Loss::SquaredError => u[(i, j)],
            Loss::BernoulliCrossEntropy => T::of(0.5) + T::of(0.5) * u[(i, j)],
            Loss::SoftmaxCrossEntropy => T::of(f64::from(u8::from(i == j % 2))),
        });
        net.batch(x.as_ref(), t.as_ref()).unwrap()
    };
    let (one, other) = (batch(7, seed), batch(11, seed + 100));
    let theta = net.init(Init::GlorotUniform, seed);
    (net, one, other, theta)
}

fn all<T: Scalar>() -> impl Iterator<Item = (String, OutputDistance, Mlp<T>, Batch<T>, Batch<T>, Vec<T>)> {
    LOSSES.into_iter().flat_map(|loss| [Reduction::Mean, Reduction::Sum].map(|r| (loss, r))).flat_map(|(loss, r)| {
        DISTANCES.map(|distance| {
            let (net, one, other, theta) = network(loss, r, 0.01, 3);
            (format!("{loss:?} {r:?} {distance:?}"), distance, net, one, other, theta)
        })
    })
}

fn moved<T: Scalar>(theta: &[T], by: f64) -> Vec<T> {
    let d = gallery::uniform::<T>(theta.len(), 1, 77);
    theta.iter().zip(d.as_slice()).map(|(&w, &d)| w + T::of(by) * d).collect()
}

/// z of every case, by the textbook.
fn outputs<T: Scalar>(net: &Mlp<T>, theta: &[T], batch: &Batch<T>) -> Mat<f64> {
    let mut a: Mat<f64> = batch.inputs().to_owned().cast();
    let blocks = net.layout().blocks();
    for (l, block) in blocks.iter().enumerate() {
        let w: Mat<f64> = block.view(theta).unwrap().to_owned().cast();
        let s = pullback::testing::dense::times(&w, &a).unwrap();
        let last = l + 1 == blocks.len();
        a = Mat::from_fn(s.nrows() + usize::from(!last), s.ncols(), |i, j| match i {
            i if i == s.nrows() => 1.0,
            i if last => s[(i, j)],
            i => s[(i, j)].tanh(),
        });
    }
    a
}

fn divergence(loss: Loss, distance: OutputDistance, from: &[f64], to: &[f64]) -> f64 {
    let squares: f64 = from.iter().zip(to).map(|(a, b)| 0.5 * (a - b).powi(2)).sum();
    if distance == OutputDistance::Squared {
        return squares;
    }
    match loss {
        Loss::SquaredError => squares,
        Loss::BernoulliCrossEntropy => from
            .iter()
            .zip(to)
            .map(|(a, b)| {
                let (p, q) = (1.0 / (1.0 + (-a).exp()), 1.0 / (1.0 + (-b).exp()));
                p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
            })
            .sum(),
        Loss::SoftmaxCrossEntropy => {
            let softmax = |z: &[f64]| {
                let sum: f64 = z.iter().map(|z| z.exp()).sum();
                z.iter().map(|z| z.exp() / sum).collect::<Vec<_>>()
            };
            softmax(from).iter().zip(softmax(to)).map(|(p, q)| p * (p / q).ln()).sum()
        }
    }
}

fn distances_are_what_they_say<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, distance, net, batch, _, theta) in all::<T>() {
            let anchor = net.anchor(&ctx, &theta, &batch, distance).unwrap();
            let at_start = net.distance(&ctx, &theta, &anchor).unwrap().f64();
            assert!(at_start.abs() <= tolerance::<T>(10, 1.0), "{place}: {at_start}");
            let there = moved(&theta, 0.5);
            let (z0, z) = (outputs(&net, &theta, &batch), outputs(&net, &there, &batch));
            let cases = batch.cases();
            let each = |j| divergence(net.output_loss(), distance, z0.as_ref().col(j), z.as_ref().col(j));
            let expected = (0..cases).map(each).sum::<f64>() / cases as f64;
            let mut gradient = vec![T::ZERO; theta.len()];
            let value = net.distance_grad(&ctx, &there, &anchor, &mut gradient).unwrap().f64();
            assert!((value - expected).abs() <= tolerance::<T>(20, 4.0), "{place}: {value} against {expected}");
            assert_eq!(value, net.distance(&ctx, &there, &anchor).unwrap().f64());
            // central differences, in the precision that they have
            let h = T::EPS.f64().cbrt();
            for i in [0, 7, theta.len() - 1] {
                let at = |d: f64| {
                    let mut w = there.clone();
                    w[i] += T::of(d);
                    net.distance(&ctx, &w, &anchor).unwrap().f64()
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                assert!((slope - gradient[i].f64()).abs() <= 64.0 * h * h, "{place} {i}: {slope} {}", gradient[i]);
            }
        }
    }
}

/// h + λ E ρ in the passes of h.
fn the_joint_anchor_is_the_sum<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, distance, net, batch, _, theta) in all::<T>() {
            let (mut gradient, mut plain) = (vec![T::ZERO; theta.len()], vec![T::ZERO; theta.len()]);
            let weight = 0.7;
            let (value, joint) =
                net.loss_grad_joint(&ctx, &theta, &batch, distance, T::of(weight), &mut gradient).unwrap();
            assert_eq!((value, &gradient), (net.loss_grad(&ctx, &theta, &batch, &mut plain).unwrap(), &plain));
            let same = distance == OutputDistance::KullbackLeibler || net.output_loss() == Loss::SquaredError;
            assert_eq!(joint.is_some(), same, "{place}");
            let Some(joint) = joint else { continue };
            let there = moved(&theta, 0.5);
            let anchor = net.anchor(&ctx, &theta, &batch, distance).unwrap();
            let mut part = vec![T::ZERO; theta.len()];
            let sum = net.loss_grad(&ctx, &there, &batch, &mut plain).unwrap().f64()
                + weight * net.distance_grad(&ctx, &there, &anchor, &mut part).unwrap().f64();
            let found = net.distance_grad(&ctx, &there, &joint, &mut gradient).unwrap().f64();
            assert!((found - sum).abs() <= tolerance::<T>(40, sum.abs()), "{place}: {found} against {sum}");
            for ((&g, &a), &b) in gradient.iter().zip(&plain).zip(&part) {
                let expected = a.f64() + weight * b.f64();
                assert!((g.f64() - expected).abs() <= tolerance::<T>(40, 4.0), "{place}: {g} against {expected}");
            }
        }
    }
}

fn options<T: Scalar>(weight: f64, function: f64, distance: OutputDistance) -> ProximalOptions<T> {
    let (weight_space, function_space) = (T::of(weight), T::of(function));
    ProximalOptions { weight_space, function_space, distance, ..ProximalOptions::default() }
}

/// ∇Q by the definition.
fn proximal_gradient<T: Scalar>(
    ctx: &Ctx<T>,
    (net, batch, elsewhere): (&Mlp<T>, &Batch<T>, &Batch<T>),
    options: &ProximalOptions<T>,
    start: &[T],
    w: &[T],
) -> Vec<T> {
    let (mut gradient, mut part) = (vec![T::ZERO; w.len()], vec![T::ZERO; w.len()]);
    net.loss_grad(ctx, w, batch, &mut gradient).unwrap();
    let anchor = net.anchor(ctx, start, elsewhere, options.distance).unwrap();
    net.distance_grad(ctx, w, &anchor, &mut part).unwrap();
    let terms = w.iter().zip(start).zip(&part);
    gradient.iter_mut().zip(terms).for_each(|(g, ((&w, &start), &p))| {
        *g += options.function_space * p + options.weight_space * (w - start);
    });
    gradient
}

fn size<T: Scalar>(x: &[T]) -> f64 {
    x.iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

fn the_step_is_stationary<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, distance, net, batch, other, theta) in all::<T>() {
            let tolerance = T::EPS.sqrt() * T::of(8.0);
            let inner = InnerMinimizer::Bfgs { max_iterations: 400, tolerance };
            let options = ProximalOptions { inner, ..options::<T>(0.5, 2.0, distance) };
            for elsewhere in [&batch, &other] {
                let (mut w, mut proximal) = (theta.clone(), Proximal::new(options).unwrap());
                let shared = std::ptr::eq(elsewhere, &batch);
                let report = if shared {
                    proximal.step(&ctx, &net, &mut w, &batch).unwrap()
                } else {
                    proximal.step_on(&ctx, &net, &mut w, &batch, elsewhere).unwrap()
                };
                let problem = (&net, &batch, elsewhere);
                let first = size(&proximal_gradient(&ctx, problem, &options, &theta, &theta));
                let last = size(&proximal_gradient(&ctx, problem, &options, &theta, &w));
                let stop = report.inner.unwrap().stop;
                assert!(stop == InnerStop::Converged || T::NAME == "f32", "{place}: {report:?}");
                // in f32 the search may end where differences of Q are rounding
                let limit = if T::NAME == "f32" { 100.0 } else { 10.0 };
                assert!(last <= limit * tolerance.f64() * first, "{place}: {last} of {first}, {report:?}");
                let after = net.loss(&ctx, &w, &batch).unwrap();
                assert!(report.loss_after == Some(after) && after < report.loss_before, "{place}");
                assert!(!report.rejected && report.step_norm.unwrap() > T::ZERO);
            }
        }
    }
}

/// The chapter's counts: 2K where the first forward pass is reused.
fn gradient_steps_and_their_passes<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, distance, net, batch, other, theta) in all::<T>() {
            let (steps, rate) = (4, T::of(0.05));
            let inner = InnerMinimizer::Gradient { steps, rate };
            let options = ProximalOptions { inner, ..options::<T>(0.3, 1.5, distance) };
            let k = steps as u64;
            let joint = distance == OutputDistance::KullbackLeibler || net.output_loss() == Loss::SquaredError;
            for (elsewhere, shared) in [(&batch, true), (&other, false)] {
                let mut w = theta.clone();
                let mut proximal = Proximal::new(options).unwrap();
                let report = if shared {
                    proximal.step(&ctx, &net, &mut w, &batch).unwrap()
                } else {
                    proximal.step_on(&ctx, &net, &mut w, &batch, elsewhere).unwrap()
                };
                let expected = if shared && joint { 2 * k } else { 2 * k + 2 * k - 1 };
                assert_eq!(report.passes.total(), expected, "{place}, shared: {shared}");
                let mut by_hand = theta.clone();
                for _ in 0..steps {
                    let g = proximal_gradient(&ctx, (&net, &batch, elsewhere), &options, &theta, &by_hand);
                    by_hand.iter_mut().zip(&g).for_each(|(w, &g)| *w -= rate * g);
                }
                for (a, b) in w.iter().zip(&by_hand) {
                    assert!((*a - *b).f64().abs() <= tolerance::<T>(40, 1.0), "{place}: {a} {b}");
                }
            }
            // no distance: those of the loss
            let alone = ProximalOptions { function_space: T::ZERO, ..options };
            let report = Proximal::new(alone).unwrap().step(&ctx, &net, &mut theta.clone(), &batch).unwrap();
            assert_eq!(report.passes, Passes { forward: k, backward: k, ..Passes::default() });
        }
    }
}

fn model<T: Scalar>(loss: LossOrder, function: f64, weight: f64) -> ProximalModel<T> {
    let solve = CgOptions { relative_tolerance: T::of(tolerance::<T>(8, 1.0)), ..CgOptions::from_zero() };
    let (function_space, weight_space) = (T::of(function), T::of(weight));
    ProximalModel::new(ProximalModelOptions { loss, function_space, weight_space, solve }).unwrap()
}

/// First order with weight-space proximity is gradient descent of rate 1/λ, to the bit.
fn first_order_is_gradient_descent<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, _, net, batch, _, theta) in all::<T>() {
            let (mut a, mut b) = (theta.clone(), theta.clone());
            let lambda = 8.0;
            let mut sgd = Sgd::new(T::of(1.0 / lambda), T::ZERO, MomentumKind::HeavyBall).unwrap();
            for _ in 0..3 {
                let proximal = model(LossOrder::First, 0.0, lambda).step(&ctx, &net, &mut a, &batch).unwrap();
                let plain = sgd.step(&ctx, &net, &mut b, &batch).unwrap();
                assert_eq!((&a, proximal.passes, proximal.alpha), (&b, plain.passes, plain.alpha), "{place}");
            }
            // one gradient step on Q is the same
            let inner = InnerMinimizer::Gradient { steps: 1, rate: T::of(1.0 / lambda) };
            let options = ProximalOptions { inner, ..options(lambda, 3.0, OutputDistance::KullbackLeibler) };
            let (mut c, mut d) = (theta.clone(), theta.clone());
            Proximal::new(options).unwrap().step(&ctx, &net, &mut c, &batch).unwrap();
            model(LossOrder::First, 0.0, lambda).step(&ctx, &net, &mut d, &batch).unwrap();
            let same = c.iter().zip(&d).all(|(c, d)| (*c - *d).f64().abs() <= tolerance::<T>(1, 4.0));
            assert!(same, "{place}");
        }
    }
}

fn dense<T: Scalar>(ctx: &Ctx<T>, net: &Mlp<T>, matrix: CurvatureMatrix, theta: &[T], batch: &Batch<T>) -> Mat<f64> {
    net.curvature(ctx, matrix, theta, batch).unwrap().to_dense(ctx).unwrap().cast()
}

/// δ by a dense solve in f64.
fn against_dense<T: Scalar>(place: &str, theta: &[T], w: &[T], matrix: Mat<f64>, gradient: &[T], kappa: f64) {
    let mut rhs: Vec<f64> = gradient.iter().map(|g| -g.f64()).collect();
    let lu = Lu::new(matrix).unwrap();
    lu.solve_in_place(&Ctx::reference(), MatMut::from_column(&mut rhs)).unwrap();
    let error = size(&w.iter().zip(theta).zip(&rhs).map(|((&w, &t), r)| (w - t).f64() - r).collect::<Vec<f64>>());
    let limit = tolerance::<T>(theta.len(), kappa) * (size(&rhs) + size(theta));
    assert!(error <= limit, "{place}: {error} above {limit}");
}

fn the_other_rows_of_the_table<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, _, net, batch, _, theta) in all::<T>() {
            let mut gradient = vec![T::ZERO; theta.len()];
            net.loss_grad(&ctx, &theta, &batch, &mut gradient).unwrap();
            let (h, g) = (CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton);
            let (hessian, gauss_newton) = (dense(&ctx, &net, h, &theta, &batch), dense(&ctx, &net, g, &theta, &batch));
            let n = theta.len();
            let shifted = |m: &dyn Fn(usize, usize) -> f64, shift: f64| {
                Mat::from_fn(n, n, |i, j| m(i, j) + if i == j { shift } else { 0.0 })
            };
            let (lambda, function) = (20.0, 1.5);
            let run = |order, function, lambda| {
                let mut w = theta.clone();
                let report = model(order, function, lambda).step(&ctx, &net, &mut w, &batch).unwrap();
                assert!(!report.rejected && report.predicted_change.unwrap() < T::ZERO, "{place}: {report:?}");
                w
            };
            // damped Newton, damped Gauss-Newton
            for (kind, matrix) in [(h, &hessian), (g, &gauss_newton)] {
                let w = run(LossOrder::Second(kind), 0.0, lambda);
                let expected = shifted(&|i, j| matrix[(i, j)], lambda);
                against_dense(&format!("{place} {kind:?}"), &theta, &w, expected, &gradient, 4.0);
            }
            // damped natural gradient: λ_F δ = -(F + λ_W/λ_F)⁻¹ ∇h, F without the L2 term
            let eta = net.l2().f64();
            let w = run(LossOrder::First, function, 1.0);
            let fisher = |i: usize, j: usize| gauss_newton[(i, j)] - if i == j { eta } else { 0.0 };
            let natural = shifted(&|i, j| function * fisher(i, j), 1.0);
            against_dense(&format!("{place} natural"), &theta, &w, natural, &gradient, 40.0);
            // with the same matrix twice: the function-space proximity is redundant (chapter section 4)
            let w = run(LossOrder::Second(g), function, lambda);
            let both = shifted(&|i, j| gauss_newton[(i, j)] + function * fisher(i, j), lambda);
            against_dense(&format!("{place} both"), &theta, &w, both, &gradient, 4.0);
        }
    }
}

/// G - ηI is the Hessian of the distance at w₀, for a distance of the kind of the loss and a mean.
fn the_distance_is_quadratic_with_the_fisher_matrix<T: Scalar>() {
    if T::NAME == "f32" {
        return; // differences of distances of 1e-6 have no digits there
    }
    for ctx in contexts::<T>() {
        for loss in LOSSES {
            let (net, batch, _, theta) = network::<T>(loss, Reduction::Mean, 0.0, 4);
            let g = dense(&ctx, &net, CurvatureMatrix::GaussNewton, &theta, &batch);
            let anchor = net.anchor(&ctx, &theta, &batch, OutputDistance::KullbackLeibler).unwrap();
            let d: Vec<f64> = moved(&vec![T::ZERO; theta.len()], 1e-3).iter().map(|d| d.f64()).collect();
            let there: Vec<T> = theta.iter().zip(&d).map(|(&w, &d)| w + T::of(d)).collect();
            let n = d.len();
            let quadratic: f64 = (0..n * n).map(|k| 0.5 * d[k / n] * g[(k / n, k % n)] * d[k % n]).sum();
            let found = net.distance(&ctx, &there, &anchor).unwrap().f64();
            // the next order is of the size of the step
            assert!((found / quadratic - 1.0).abs() <= 0.01, "{loss:?}: {found} against {quadratic}");
        }
    }
}

fn a_quadratic_is_minimized_exactly<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (d_out, d_in) = (2, 4);
        let h = LeastSquares::<T>::new(d_out, d_in, T::of(0.1));
        let batch = Regression::random(d_out, d_in, 20, 9);
        let theta = gallery::uniform::<T>(d_out * d_in, 1, 5).into_vec();
        let (weight, function) = (0.5, 2.0);
        let mut w = theta.clone();
        let inner = InnerMinimizer::Bfgs { max_iterations: 100, tolerance: T::of(tolerance::<T>(2, 1.0)) };
        let options = ProximalOptions { inner, ..options(weight, function, OutputDistance::Squared) };
        Proximal::new(options).unwrap().step(&ctx, &h, &mut w, &batch).unwrap();
        // h is quadratic: the model with C = G is Q itself
        let mut exact = theta.clone();
        let order = LossOrder::Second(CurvatureMatrix::GaussNewton);
        model(order, function, weight).step(&ctx, &h, &mut exact, &batch).unwrap();
        let error = size(&w.iter().zip(&exact).map(|(&a, &b)| (a - b).f64()).collect::<Vec<f64>>());
        let limit = if T::NAME == "f32" { T::EPS.f64().sqrt() } else { tolerance::<T>(d_out * d_in, 100.0) };
        assert!(error <= limit * size(&exact), "{error}");
    }
}

fn passes_the_suite<T: Scalar>() {
    let inner = InnerMinimizer::Gradient { steps: 5, rate: T::of(0.3) };
    let near = |inner| ProximalOptions { inner, ..options::<T>(0.2, 0.5, OutputDistance::Squared) };
    let goal = Goal { steps: 30, share: 0.05 };
    optimizer::check(&Setup::<T>::default(), "proximal by gradients", goal, || Proximal::new(near(inner)))
        .assert_passed();
    let inner = ProximalOptions::default().inner;
    optimizer::check(&Setup::<T>::default(), "proximal by BFGS", goal, || Proximal::new(near(inner))).assert_passed();
    let natural = || Ok(model(LossOrder::First, 1.0, 0.1));
    optimizer::check(&Setup::<T>::default(), "proximal model", goal, natural).assert_passed();
}

for_both!(
    distances_are_what_they_say,
    the_joint_anchor_is_the_sum,
    the_step_is_stationary,
    gradient_steps_and_their_passes,
    first_order_is_gradient_descent,
    the_other_rows_of_the_table,
    the_distance_is_quadratic_with_the_fisher_matrix,
    a_quadratic_is_minimized_exactly,
    passes_the_suite,
);

#[test]
fn a_run_that_was_stored_goes_on_to_the_same_bits() {
    let ctx = Ctx::<f64>::default();
    let (net, batch, _, theta) = network::<f64>(Loss::SoftmaxCrossEntropy, Reduction::Mean, 0.01, 6);
    let mut proximal = Proximal::new(options(0.5, 1.0, OutputDistance::KullbackLeibler)).unwrap();
    let mut w = theta;
    proximal.step(&ctx, &net, &mut w, &batch).unwrap();
    let stored = serde_json::to_string(&proximal).unwrap();
    let mut resumed: Proximal<f64> = serde_json::from_str(&stored).unwrap();
    let mut other = w.clone();
    proximal.step(&ctx, &net, &mut w, &batch).unwrap();
    resumed.step(&ctx, &net, &mut other, &batch).unwrap();
    assert_eq!(w, other);
    let stored = serde_json::to_string(&model::<f64>(LossOrder::First, 1.0, 0.5)).unwrap();
    let mut resumed: ProximalModel<f64> = serde_json::from_str(&stored).unwrap();
    let (mut a, mut b) = (w.clone(), w);
    resumed.step(&ctx, &net, &mut a, &batch).unwrap();
    model::<f64>(LossOrder::First, 1.0, 0.5).step(&ctx, &net, &mut b, &batch).unwrap();
    assert_eq!(a, b);
}

#[test]
fn an_indefinite_model_is_rejected_and_theta_kept() {
    let ctx = Ctx::<f64>::default();
    let (net, batch, _, theta) = network::<f64>(Loss::SquaredError, Reduction::Mean, 0.0, 8);
    let far = moved(&theta, 4.0);
    let hessian = dense(&ctx, &net, CurvatureMatrix::Hessian, &far, &batch);
    let tiny = 1e-6;
    let n = far.len();
    let shifted = Mat::from_fn(n, n, |i, j| hessian[(i, j)] + if i == j { tiny } else { 0.0 });
    assert!(matches!(Cholesky::new(&ctx, shifted), Err(Error::NotPositiveDefinite { .. })), "indefinite");
    let mut w = far.clone();
    let order = LossOrder::Second(CurvatureMatrix::Hessian);
    let report = model(order, 0.0, tiny).step(&ctx, &net, &mut w, &batch).unwrap();
    assert!(report.rejected && w == far, "{report:?}");
}

#[test]
fn inner_steps_that_leave_the_numbers_are_taken_back() {
    let ctx = Ctx::<f64>::default();
    let (net, batch, other, theta) = network::<f64>(Loss::SquaredError, Reduction::Mean, 0.5, 8);
    let inner = InnerMinimizer::Gradient { steps: 3, rate: 1e200 };
    for function in [0.0, 1.0] {
        let options = ProximalOptions { inner, ..options(1.0, function, OutputDistance::Squared) };
        let mut w = theta.clone();
        let report = Proximal::new(options).unwrap().step_on(&ctx, &net, &mut w, &batch, &other).unwrap();
        assert!(report.rejected && report.step_norm.is_none() && w == theta, "{report:?}");
    }
}

#[test]
fn settings_outside_their_domain_are_named() {
    let fine = ProximalOptions::<f64>::default();
    let gradient = |steps, rate| ProximalOptions { inner: InnerMinimizer::Gradient { steps, rate }, ..fine };
    let bfgs = |max_iterations, tolerance| ProximalOptions {
        inner: InnerMinimizer::Bfgs { max_iterations, tolerance },
        ..fine
    };
    for (options, wrong) in [
        (ProximalOptions { weight_space: -1.0, ..fine }, "weight_space"),
        (ProximalOptions { function_space: f64::NAN, ..fine }, "function_space"),
        (gradient(0, 0.1), "inner.steps"),
        (gradient(1, 0.0), "inner.rate"),
        (bfgs(0, 0.1), "inner.max_iterations"),
        (bfgs(1, -0.1), "inner.tolerance"),
    ] {
        assert!(
            matches!(Proximal::new(options), Err(Error::InvalidParameter { name, .. }) if name == wrong),
            "{wrong}"
        );
    }
    let model = |weight_space, function_space| {
        ProximalModel::<f64>::new(ProximalModelOptions { weight_space, function_space, ..Default::default() })
    };
    assert!(model(0.0, 0.0).is_err() && model(1.0, -1.0).is_err() && model(1.0, 0.0).is_ok());
}
