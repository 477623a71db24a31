//! Claim: J v, Jᵀ u, G v and H v are the products with the matrices of the definition, for every activation, loss,
//! reduction and depth.
//!
//! J is formed from `jvp` and held against central differences of the outputs; G against Jᵀ H_z J with H_z from std's
//! functions; H against central differences of gradients. Differences have the error bound that tests/nn_gradients.rs
//! derives: h² (M₃ / 6 + c), h = ε^(1/3).
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{Case, Random, case, dot, forward, gap, output_hessian, zoo};
use pullback::linop::Shifted;
use pullback::nn::{Activation, GgnOperator, HessianOperator, Loss, Reduction};
use pullback::optim::{LayeredObjective, Objective};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Scalar};

/// Third derivatives of outputs along one parameter, and of the loss along three (inputs and parameters in [-1, 1]).
const M3: f64 = 400.0;
/// Rounding errors of one output or gradient, in ε times its size.
const ROUNDING: f64 = 64.0;

/// J, (d_out cases) x P, by columns.
fn jacobian<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>) -> Mat<T> {
    let (ws, _) = forward(ctx, c);
    let (d, n, p) = (c.net.outputs(), c.batch.cases(), c.theta.len());
    let mut j = Mat::zeros(d * n, p);
    let mut v = vec![T::ZERO; p];
    for k in 0..p {
        v[k] = T::ONE;
        let mut column = Mat::zeros(d, n);
        c.net.jvp(ctx, &c.theta, &c.batch, &ws, &v, column.as_mut()).unwrap();
        j.as_mut().col_mut(k).copy_from_slice(column.as_slice());
        v[k] = T::ZERO;
    }
    j
}

/// w Jᵀ H_z J in f64.
fn formed_ggn(ctx: &Ctx<f64>, c: &Case<f64>) -> Mat<f64> {
    let (ws, _) = forward(ctx, c);
    let j = jacobian(ctx, c);
    let (d, p) = (c.net.outputs(), c.theta.len());
    let weight = c.net.reduction().weight(c.batch.cases());
    let mut g = Mat::zeros(p, p);
    for (case, z) in ws.outputs().cols().enumerate() {
        let h = output_hessian(c.net.output_loss(), z);
        let row = |i: usize, k: usize| j[(case * d + i, k)];
        for k in 0..p {
            let hj: Vec<f64> = (0..d).map(|i| (0..d).map(|l| h[(i, l)] * row(l, k)).sum()).collect();
            for m in 0..p {
                g[(m, k)] += weight * (0..d).map(|i| row(i, m) * hj[i]).sum::<f64>();
            }
        }
    }
    g
}

fn ggn<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>) -> Mat<T> {
    GgnOperator::new(ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(ctx).unwrap()
}

fn hessian<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>) -> Mat<T> {
    HessianOperator::new(ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(ctx).unwrap()
}

#[test]
fn jvp_is_the_derivative_of_the_outputs() {
    let h = f64::EPSILON.cbrt();
    let ctx = Ctx::reference();
    for c in zoo::<f64>() {
        let j = jacobian(&ctx, &c);
        let (mut ws, _) = forward(&ctx, &c);
        let mut theta = c.theta.clone();
        for k in 0..theta.len() {
            let mut at = |x: f64| {
                theta[k] = x;
                c.net.forward(&ctx, &theta, &c.batch, &mut ws).unwrap();
                ws.outputs().to_owned().into_vec()
            };
            let (up, down) = (c.theta[k] + h, c.theta[k] - h);
            let (above, below) = (at(up), at(down));
            at(c.theta[k]);
            let slope: Vec<f64> = above.iter().zip(&below).map(|(a, b)| (a - b) / (up - down)).collect();
            let error = gap(j.as_ref().col(k), &slope);
            assert!(error <= h * h * (M3 / 6.0 + ROUNDING), "{}: parameter {k}: {error:e}", c.name);
        }
    }
}

#[test]
fn vjp_is_the_adjoint_of_jvp() {
    fn check<T: Scalar>() {
        for ctx in contexts::<T>() {
            for (seed, c) in zoo::<T>().iter().enumerate() {
                let mut random = Random::new(seed as u64);
                let (ws, _) = forward(&ctx, c);
                let v = random.vector::<T>(c.theta.len(), 1.0);
                let u = random.matrix::<T>(c.net.outputs(), c.batch.cases(), 1.0);
                let mut jv = Mat::zeros(u.nrows(), u.ncols());
                c.net.jvp(&ctx, &c.theta, &c.batch, &ws, &v, jv.as_mut()).unwrap();
                let mut ju = vec![T::nan(); v.len()];
                c.net.vjp(&ctx, &c.theta, &c.batch, &ws, u.as_ref(), &mut ju).unwrap();
                let (left, right) = (dot(jv.as_slice(), u.as_slice()), dot(&v, &ju));
                assert!(gap(&[left], &[right]) <= tolerance::<T>(16, 1.0), "{}: {left} against {right}", c.name);
                // and of the formed J
                let j = jacobian(&ctx, c);
                let want: Vec<f64> = j.as_ref().cols().map(|column| dot(column, u.as_slice())).collect();
                assert!(gap(&ju, &want) <= tolerance::<T>(16, 1.0), "{}", c.name);
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_ggn_product_is_that_of_the_formed_matrix() {
    for ctx in contexts::<f64>() {
        for c in zoo::<f64>() {
            let (got, want) = (ggn(&ctx, &c), formed_ggn(&ctx, &c));
            assert!(gap(got.as_slice(), want.as_slice()) <= tolerance::<f64>(32, 1.0), "{}", c.name);
        }
    }
}

#[test]
fn the_ggn_is_symmetric_and_positive_semidefinite() {
    fn check<T: Scalar>() {
        for ctx in contexts::<T>() {
            for (seed, c) in zoo::<T>().iter().enumerate() {
                let g = ggn(&ctx, c);
                let limit = tolerance::<T>(32, 1.0);
                assert!(gap(g.as_slice(), g.transposed().as_slice()) <= limit, "{}", c.name);
                let v = Random::new(seed as u64).vector::<f64>(c.theta.len(), 1.0);
                let gv: Vec<f64> = g.as_ref().cols().map(|column| dot(column, &v)).collect();
                let (form, size) = (dot(&gv, &v), dot(&v, &v));
                let scale = g.as_slice().iter().fold(1.0, |m: f64, x| m.max(x.f64().abs()));
                assert!(form >= -limit * scale * size, "{}: vᵀGv = {form}", c.name);
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_gram_matrix_is_that_of_the_ggn() {
    fn check<T: Scalar>() {
        for ctx in contexts::<T>() {
            for (seed, c) in zoo::<T>().iter().enumerate() {
                let mut random = Random::new(seed as u64);
                let (mut ws, _) = forward(&ctx, c);
                let vectors: Vec<Vec<T>> = (0..3).map(|_| random.vector(c.theta.len(), 0.5)).collect();
                let views: Vec<&[T]> = vectors.iter().map(Vec::as_slice).collect();
                let mut gram = Mat::from_fn(3, 3, |_, _| T::nan());
                c.net.ggn_gram(&ctx, &c.theta, &c.batch, &mut ws, &views, gram.as_mut()).unwrap();
                let mut gv = vec![T::nan(); c.theta.len()];
                for j in 0..3 {
                    c.net.ggn_product(&ctx, &c.theta, &c.batch, &ws, &vectors[j], &mut gv).unwrap();
                    let want: Vec<f64> = vectors.iter().map(|v| dot(v, &gv)).collect();
                    let limit = tolerance::<T>(64, 1.0);
                    assert!(gap(gram.as_ref().col(j), &want) <= limit, "{}: {gram:?} {want:?}", c.name);
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_hessian_product_is_the_derivative_of_the_gradient() {
    let h = f64::EPSILON.cbrt();
    let ctx = Ctx::reference();
    for c in zoo::<f64>() {
        let hessian = hessian(&ctx, &c);
        let mut theta = c.theta.clone();
        for k in 0..theta.len() {
            let mut at = |x: f64| {
                theta[k] = x;
                let mut grad = vec![f64::NAN; theta.len()];
                c.net.loss_grad(&ctx, &theta, &c.batch, &mut grad).unwrap();
                grad
            };
            let (up, down) = (c.theta[k] + h, c.theta[k] - h);
            let (above, below) = (at(up), at(down));
            at(c.theta[k]);
            let slope: Vec<f64> = above.iter().zip(&below).map(|(a, b)| (a - b) / (up - down)).collect();
            let error = gap(hessian.as_ref().col(k), &slope);
            assert!(error <= h * h * (M3 / 6.0 + ROUNDING), "{}: parameter {k}: {error:e}", c.name);
        }
    }
}

#[test]
fn products_agree_on_every_backend_and_in_single_precision() {
    for (c, single) in zoo::<f64>().iter().zip(zoo::<f32>()) {
        let want = (ggn(&Ctx::reference(), c), hessian(&Ctx::reference(), c));
        for ctx in contexts::<f64>() {
            assert!(gap(ggn(&ctx, c).as_slice(), want.0.as_slice()) <= tolerance::<f64>(32, 1.0), "{}", c.name);
            assert!(gap(hessian(&ctx, c).as_slice(), want.1.as_slice()) <= tolerance::<f64>(32, 1.0), "{}", c.name);
        }
        // parameters and data are rounded too: κ covers the derivative of the products
        for ctx in contexts::<f32>() {
            let limit = tolerance::<f32>(32, 8.0);
            assert!(gap(ggn(&ctx, &single).as_slice(), want.0.as_slice()) <= limit, "{}", single.name);
            assert!(gap(hessian(&ctx, &single).as_slice(), want.1.as_slice()) <= limit, "{}", single.name);
        }
    }
}

#[test]
fn for_one_linear_layer_hessian_and_ggn_are_the_formula() {
    // s = W ā: both are w Σ_cases (ā āᵀ) ⊗ H_z
    let ctx = Ctx::<f64>::reference();
    for loss in nn_fixture::LOSSES {
        for reduction in nn_fixture::REDUCTIONS {
            let c = case::<f64>(&[3, 2], Activation::Tanh, Activation::Identity, loss, reduction, 0.0, 4, 5);
            let (ws, _) = forward(&ctx, &c);
            let (d, a) = (2, c.batch.inputs());
            let mut want = Mat::<f64>::zeros(8, 8);
            for (case, z) in ws.outputs().cols().enumerate() {
                let h = output_hessian(loss, z);
                for k in 0..8 {
                    for m in 0..8 {
                        let weight = reduction.weight(4) * a.at(m / d, case) * a.at(k / d, case);
                        want[(m, k)] += weight * h[(m % d, k % d)];
                    }
                }
            }
            let limit = tolerance::<f64>(8, 1.0);
            assert!(gap(ggn(&ctx, &c).as_slice(), want.as_slice()) <= limit, "{}", c.name);
            assert!(gap(hessian(&ctx, &c).as_slice(), want.as_slice()) <= limit, "{}", c.name);
        }
    }
}

/// max|H - G| over the diagonal blocks of the layers, and over the rest.
fn block_gaps(ctx: &Ctx<f64>, c: &Case<f64>) -> (f64, f64) {
    let (h, g) = (hessian(ctx, c), ggn(ctx, c));
    let layer = |k: usize| c.net.layout().blocks().iter().position(|b| b.range().contains(&k)).unwrap();
    let (mut inside, mut outside) = (0.0, 0.0);
    for k in 0..h.ncols() {
        for m in 0..h.nrows() {
            let gap = (h[(m, k)] - g[(m, k)]).abs();
            let side = if layer(k) == layer(m) { &mut inside } else { &mut outside };
            *side = f64::max(*side, gap);
        }
    }
    (inside, outside)
}

#[test]
fn where_outputs_are_linear_in_each_layer_the_diagonal_blocks_agree() {
    // piecewise linear networks: z is linear in any single W, so H and G have the same blocks on the diagonal, and
    // differ elsewhere; a curved activation (control) breaks the diagonal too
    let ctx = Ctx::reference();
    for loss in nn_fixture::LOSSES {
        for (hidden, agree) in [
            (Activation::Relu, true),
            (Activation::Identity, true),
            (Activation::Tanh, false),
            (Activation::Softplus, false),
        ] {
            let c = case::<f64>(&[3, 5, 4, 2], hidden, Activation::Identity, loss, Reduction::Mean, 0.0, 6, 21);
            let (inside, outside) = block_gaps(&ctx, &c);
            let limit = tolerance::<f64>(32, 1.0);
            assert_eq!(inside <= limit, agree, "{}: {inside:e}", c.name);
            assert!(outside > 1e3 * limit, "{}: {outside:e}", c.name);
        }
    }
}

#[test]
fn curvature_leaves_the_l2_term_to_a_shift() {
    let ctx = Ctx::<f64>::reference();
    let make = |l2| {
        case::<f64>(&[3, 4, 2], Activation::Tanh, Activation::Identity, Loss::SquaredError, Reduction::Mean, l2, 5, 6)
    };
    let (plain, damped) = (make(0.0), make(0.5));
    assert_eq!(ggn(&ctx, &plain), ggn(&ctx, &damped));
    let h = HessianOperator::new(&ctx, &damped.net, &damped.theta, &damped.batch).unwrap();
    let full = Shifted::new(h, damped.net.l2()).to_dense(&ctx).unwrap();
    let want = hessian(&ctx, &plain);
    assert!((0..want.ncols()).all(|k| full[(k, k)] == want[(k, k)] + 0.5));
}

#[test]
fn sums_scale_curvature_by_the_number_of_cases() {
    let ctx = Ctx::<f64>::reference();
    for loss in nn_fixture::LOSSES {
        let make = |r| case::<f64>(&[3, 4, 2], Activation::Logistic, Activation::Identity, loss, r, 0.0, 5, 7);
        let (sum, mean) = (make(Reduction::Sum), make(Reduction::Mean));
        for (sum, mean) in [(ggn(&ctx, &sum), ggn(&ctx, &mean)), (hessian(&ctx, &sum), hessian(&ctx, &mean))] {
            assert!(gap(sum.as_slice(), mean.map(|x| 5.0 * x).as_slice()) <= tolerance::<f64>(8, 1.0), "{loss:?}");
        }
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let ctx = Ctx::<f64>::reference();
    let c =
        case::<f64>(&[3, 4, 2], Activation::Tanh, Activation::Identity, Loss::SquaredError, Reduction::Mean, 0.0, 5, 8);
    let (mut ws, _) = forward(&ctx, &c);
    let n = c.theta.len();
    let (v, mut out, mut z) = (vec![0.0; n], vec![0.0; n], Mat::zeros(2, 5));
    let shape = |r: Result<(), Error>| assert!(matches!(r, Err(Error::Shape { .. })), "{r:?}");
    shape(c.net.jvp(&ctx, &c.theta, &c.batch, &ws, &v[1..], z.as_mut()));
    shape(c.net.jvp(&ctx, &c.theta, &c.batch, &ws, &v, Mat::zeros(2, 4).as_mut()));
    shape(c.net.vjp(&ctx, &c.theta, &c.batch, &ws, Mat::zeros(3, 5).as_ref(), &mut out));
    shape(c.net.vjp(&ctx, &c.theta, &c.batch, &ws, z.as_ref(), &mut out[1..]));
    shape(c.net.ggn_product(&ctx, &c.theta, &c.batch, &ws, &v[1..], &mut out));
    shape(c.net.ggn_product(&ctx, &c.theta, &c.batch, &ws, &v, &mut out[1..]));
    shape(c.net.hessian_product(&ctx, &c.theta, &c.batch, &ws, &v[1..], &mut out));
    shape(c.net.hessian_product(&ctx, &c.theta[1..], &c.batch, &ws, &v, &mut out));
    shape(c.net.ggn_gram(&ctx, &c.theta, &c.batch, &mut ws, &[&v], Mat::zeros(2, 1).as_mut()));
    shape(c.net.ggn_gram(&ctx, &c.theta, &c.batch, &mut ws, &[&v[1..]], Mat::zeros(1, 1).as_mut()));
    let empty = c.net.workspace();
    let no_forward = c.net.ggn_product(&ctx, &c.theta, &c.batch, &empty, &v, &mut out);
    assert!(matches!(no_forward, Err(Error::InvalidParameter { name: "workspace", .. })), "{no_forward:?}");
}
