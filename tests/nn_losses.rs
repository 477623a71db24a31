//! Claim: each loss has the value, gradient, Hessian and square root of its formula, in the tails too.
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{LOSSES, Random, gap, output_hessian};
use pullback::nn::{Loss, Reduction};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Mat, Op, Scalar};

/// ℓ of one case by std's functions in f64, the textbook way (for moderate z).
fn textbook(loss: Loss, z: &[f64], t: &[f64]) -> f64 {
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter()
        .zip(t)
        .map(|(z, t)| match loss {
            Loss::BernoulliCrossEntropy => {
                let p = 1.0 / (1.0 + (-z).exp());
                -t * p.ln() - (1.0 - t) * (1.0 - p).ln()
            }
            Loss::SoftmaxCrossEntropy => -t * (z.exp() / sum).ln(),
            Loss::SquaredError => 0.5 * (z - t) * (z - t),
        })
        .sum()
}

fn sizes() -> impl Iterator<Item = (usize, usize)> {
    // around the 64 outputs of a tile
    [(1, 1), (2, 3), (3, 1), (31, 2), (63, 2), (64, 3), (65, 2), (129, 2), (300, 130)].into_iter()
}

#[test]
fn values_are_those_of_the_textbook() {
    fn check<T: Scalar>() {
        let mut random = Random::new(41);
        for loss in LOSSES {
            for (d, n) in sizes() {
                let (z, t) = (random.matrix::<T>(d, n, 4.0), random.targets::<T>(loss, d, n));
                let mut by_case = vec![f64::NAN; n];
                let sum = loss.value(&Ctx::reference(), z.as_ref(), t.as_ref(), &mut by_case).unwrap();
                let (z, t) = (z.cast::<f64>(), t.cast::<f64>());
                let want: Vec<f64> = (0..n).map(|j| textbook(loss, z.as_ref().col(j), t.as_ref().col(j))).collect();
                assert!(gap(&by_case, &want) <= tolerance::<T>(1, 2.0), "{loss:?} {d}x{n}: {:e}", gap(&by_case, &want));
                assert_eq!(sum, by_case.iter().sum::<f64>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_gradient_is_prediction_minus_target_and_threads_change_nothing() {
    fn check<T: Scalar>() {
        let mut random = Random::new(42);
        for loss in LOSSES {
            for (d, n) in sizes() {
                let (z, t) = (random.matrix::<T>(d, n, 4.0), random.targets::<T>(loss, d, n));
                let pass = |threads| {
                    let ctx = Ctx::reference().with_threads(threads);
                    let (mut dz, mut by_case) = (Mat::<T>::zeros(d, n), vec![0.0; n]);
                    let sum = loss.value_gradient(&ctx, z.as_ref(), t.as_ref(), &mut by_case, dz.as_mut()).unwrap();
                    (sum, by_case, dz)
                };
                let one = pass(1);
                assert!(one == pass(2) && one == pass(3), "{loss:?} {d}x{n}");
                let mut p = z.clone();
                loss.predict(&Ctx::reference(), p.as_mut());
                let want: Vec<f64> = p.as_slice().iter().zip(t.as_slice()).map(|(p, t)| p.f64() - t.f64()).collect();
                assert!(gap(one.2.as_slice(), &want) <= tolerance::<T>(1, 1.0), "{loss:?} {d}x{n}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn hessian_and_square_root_are_those_of_the_formula() {
    fn check<T: Scalar>() {
        let ctx = Ctx::<T>::reference();
        let mut random = Random::new(43);
        for loss in LOSSES {
            for d in [1, 2, 3, 10, 33, 65] {
                let z = random.matrix::<T>(d, 1, 3.0);
                let h = output_hessian(loss, z.cast::<f64>().as_slice());
                // H_z, S, Sᵀ by columns
                let by_columns = |product: &dyn Fn(&mut Mat<T>)| {
                    let mut all = Mat::<f64>::zeros(d, d);
                    for k in 0..d {
                        let mut v = Mat::from_fn(d, 1, |i, _| if i == k { T::ONE } else { T::ZERO });
                        product(&mut v);
                        all.as_mut().col_mut(k).copy_from_slice(v.cast::<f64>().as_slice());
                    }
                    all
                };
                let got = by_columns(&|v| loss.hessian_product(&ctx, z.as_ref(), v.as_mut()).unwrap());
                let s = by_columns(&|v| loss.factor_product(&ctx, z.as_ref(), Op::No, v.as_mut()).unwrap());
                let st = by_columns(&|v| loss.factor_product(&ctx, z.as_ref(), Op::Transpose, v.as_mut()).unwrap());
                let columns = by_columns(&|v| {
                    let k = v.as_slice().iter().position(|&x| x == T::ONE).unwrap();
                    loss.factor_column(&ctx, z.as_ref(), k, v.as_mut()).unwrap();
                });
                let limit = tolerance::<T>(2, 1.0);
                let square = Mat::from_fn(d, d, |i, j| (0..d).map(|k| s[(i, k)] * s[(j, k)]).sum::<f64>());
                assert!(
                    gap(got.as_slice(), h.as_slice()) <= limit,
                    "{loss:?} {d}: {:e}",
                    gap(got.as_slice(), h.as_slice())
                );
                assert!(gap(square.as_slice(), h.as_slice()) <= limit, "{loss:?} {d}: S Sᵀ");
                assert!(gap(st.as_slice(), s.transposed().as_slice()) <= limit, "{loss:?} {d}: Sᵀ");
                assert_eq!(columns, s, "{loss:?} {d}: columns of S");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn tails_keep_their_digits() {
    fn check<T: Scalar>() {
        let ctx = Ctx::<T>::reference();
        let limit = tolerance::<T>(1, 1.0);
        let close = |got: f64, want: f64| assert!((got - want).abs() <= limit * want.abs(), "{got:e} against {want:e}");
        for z in [20.0, 40.0, 80.0] {
            // ℓ(z, 1) = log1p(e^-z) and ∂ℓ/∂z at t = 0 for -z: numbers near e^-z, which 1 - p would lose
            let x = Mat::from_fn(2, 1, |i, _| T::of(if i == 0 { z } else { -z }));
            let t = Mat::from_fn(2, 1, |i, _| T::of(if i == 0 { 1.0 } else { 0.0 }));
            let (mut dz, mut by_case) = (Mat::zeros(2, 1), [0.0]);
            let sum = Loss::BernoulliCrossEntropy
                .value_gradient(&ctx, x.as_ref(), t.as_ref(), &mut by_case, dz.as_mut())
                .unwrap();
            close(sum, 2.0 * (-z).exp().ln_1p());
            close(dz[(1, 0)].f64(), (-z).exp() / (1.0 + (-z).exp()));
            let mut v = Mat::from_fn(2, 1, |_, _| T::ONE);
            Loss::BernoulliCrossEntropy.hessian_product(&ctx, x.as_ref(), v.as_mut()).unwrap();
            close(v[(0, 0)].f64(), (-z).exp() / (1.0 + (-z).exp()).powi(2));
            assert_eq!(v[(0, 0)], v[(1, 0)]);
        }
        // logits whose exponentials overflow
        let huge = Mat::from_fn(3, 1, |i, _| T::of([1e30, -1e30, 0.0][i]));
        for loss in [Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy] {
            let t = Mat::from_fn(3, 1, |i, _| if i == 0 { T::ONE } else { T::ZERO });
            let (mut dz, mut by_case) = (Mat::zeros(3, 1), [0.0]);
            let sum = loss.value_gradient(&ctx, huge.as_ref(), t.as_ref(), &mut by_case, dz.as_mut()).unwrap();
            let want = if loss == Loss::BernoulliCrossEntropy { std::f64::consts::LN_2 } else { 0.0 };
            assert!((sum - want).abs() <= limit, "{loss:?}: {sum}");
            assert!(dz.as_ref().is_finite());
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_nan_output_gives_a_nan_loss() {
    for loss in LOSSES {
        let z = Mat::from_fn(3, 2, |i, j| if (i, j) == (1, 1) { f32::NAN } else { 0.0 });
        let mut by_case = [0.0; 2];
        let sum = loss.value(&Ctx::reference(), z.as_ref(), Mat::zeros(3, 2).as_ref(), &mut by_case).unwrap();
        assert!(sum.is_nan() && by_case[0].is_finite() && by_case[1].is_nan(), "{loss:?}");
        assert_eq!(loss.correct(z.as_ref(), Mat::zeros(3, 2).as_ref()).unwrap(), 1, "{loss:?}");
    }
}

#[test]
fn one_output_is_classified_by_its_side() {
    let z = Mat::from_vec(vec![0.7, 0.3, -2.0, 0.6], 1, 4).unwrap();
    let t = Mat::from_vec(vec![1.0, 1.0, 0.0, 0.0], 1, 4).unwrap();
    assert_eq!(Loss::SquaredError.correct(z.as_ref(), t.as_ref()).unwrap(), 2);
    assert_eq!(Loss::BernoulliCrossEntropy.correct(z.as_ref(), t.as_ref()).unwrap(), 3);
}

#[test]
fn squared_error_is_that_of_the_prediction() {
    let z = Mat::from_vec(vec![0.0, 0.0, 3.0, -1.0], 2, 2).unwrap();
    let t = Mat::from_vec(vec![1.0, 0.0, 1.0, 0.0], 2, 2).unwrap();
    let (ctx, mut out) = (Ctx::<f64>::reference(), [0.0; 2]);
    let sum = Loss::SquaredError.squared_error(&ctx, z.as_ref(), t.as_ref(), &mut out).unwrap();
    assert_eq!((sum, out), (6.0, [1.0, 5.0]));
    Loss::BernoulliCrossEntropy.squared_error(&ctx, z.as_ref(), t.as_ref(), &mut out).unwrap();
    assert_eq!(out[0], 0.5);
    Loss::SoftmaxCrossEntropy.squared_error(&ctx, z.as_ref(), t.as_ref(), &mut out).unwrap();
    assert_eq!(out[0], 0.5);
}

#[test]
fn reductions_weigh_a_case() {
    assert_eq!((Reduction::Sum.weight(8), Reduction::Mean.weight(8)), (1.0, 0.125));
}

#[test]
fn wrong_shapes_and_targets_are_errors() {
    let ctx = Ctx::<f64>::reference();
    let (z, t) = (Mat::zeros(2, 3), Mat::zeros(3, 2));
    let mut by_case = [0.0; 3];
    for loss in LOSSES {
        let shape = |failed: bool| assert!(failed, "{loss:?}");
        shape(matches!(loss.value(&ctx, z.as_ref(), t.as_ref(), &mut by_case), Err(Error::Shape { .. })));
        shape(matches!(loss.value(&ctx, z.as_ref(), z.as_ref(), &mut by_case[1..]), Err(Error::Shape { .. })));
        shape(matches!(loss.hessian_product(&ctx, z.as_ref(), t.clone().as_mut()), Err(Error::Shape { .. })));
        shape(matches!(loss.factor_product(&ctx, z.as_ref(), Op::No, t.clone().as_mut()), Err(Error::Shape { .. })));
        shape(matches!(loss.sample_gradient(&ctx, z.as_ref(), 1, t.clone().as_mut()), Err(Error::Shape { .. })));
        shape(matches!(loss.squared_error(&ctx, z.as_ref(), t.as_ref(), &mut by_case), Err(Error::Shape { .. })));
        shape(matches!(loss.correct(z.as_ref(), t.as_ref()), Err(Error::Shape { .. })));
        let direction = loss.factor_column(&ctx, z.as_ref(), 2, z.clone().as_mut());
        assert!(matches!(direction, Err(Error::InvalidParameter { name: "direction", .. })), "{loss:?}");
    }
    let column = |x: [f64; 2]| Mat::from_vec(x.to_vec(), 2, 1).unwrap();
    let check = |loss: Loss, x| loss.check_targets(column(x).as_ref()).is_ok();
    assert!(check(Loss::BernoulliCrossEntropy, [0.0, 1.0]) && !check(Loss::BernoulliCrossEntropy, [0.0, 1.5]));
    assert!(check(Loss::SoftmaxCrossEntropy, [0.25, 0.75]) && !check(Loss::SoftmaxCrossEntropy, [0.5, 0.6]));
    assert!(!check(Loss::SoftmaxCrossEntropy, [-0.5, 1.5]));
    assert!(check(Loss::SquaredError, [-7.0, 9.0]) && !check(Loss::SquaredError, [f64::NAN, 0.0]));
}
