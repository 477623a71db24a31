//! Claim: `loss_grad`, and `forward` + `backward`, return the derivative of `loss`, for every activation, loss,
//! reduction and depth; sum, mean and L2 scale as they say; misuse is an `Err`; NaN is a value.
//!
//! A central difference of step h has the error h² |f'''| / 6 + ε |f| c / h. With h = ε^(1/3) both terms are of the
//! order ε^(2/3), and the bound below is h² (M₃ / 6 + c |f|).
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{Case, case, forward, gap, zoo};
use pullback::nn::{Activation, Batch, Loss, Mlp, Reduction};
use pullback::optim::{LayeredObjective, Objective};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, Scalar};

/// Third derivatives along one coordinate: inputs and parameters in [-1, 1], at most 3 layers, at most 4 cases summed.
const M3: f64 = 60.0;
/// Rounding errors of one loss, in ε |loss|.
const LOSS_ROUNDING: f64 = 16.0;

fn gradient<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>) -> (T, Vec<T>) {
    let mut grad = vec![T::nan(); c.theta.len()];
    let loss = c.net.loss_grad(ctx, &c.theta, &c.batch, &mut grad).unwrap();
    (loss, grad)
}

/// z by loops and std's functions.
fn outputs_by_formula(c: &Case<f64>) -> Vec<f64> {
    let mut z = Vec::new();
    for x in c.batch.inputs().cols() {
        let mut a = x[..x.len() - 1].to_vec();
        for (layer, block) in c.net.layers().iter().zip(c.net.layout().blocks()) {
            let w = block.view(&c.theta).unwrap();
            let s = (0..layer.width).map(|i| (0..a.len()).map(|k| w.at(i, k) * a[k]).sum::<f64>() + w.at(i, a.len()));
            a = s
                .map(|s| match layer.activation {
                    Activation::Tanh => s.tanh(),
                    Activation::Logistic => 1.0 / (1.0 + (-s).exp()),
                    Activation::Relu => s.max(0.0),
                    Activation::Softplus => s.exp().ln_1p(),
                    Activation::Identity => s,
                })
                .collect();
        }
        z.extend(a);
    }
    z
}

#[test]
fn the_forward_pass_is_that_of_the_formula_for_batches_of_any_size() {
    for ctx in contexts::<f64>() {
        for c in zoo::<f64>() {
            let (mut ws, _) = forward(&ctx, &c);
            let error = gap(ws.outputs().to_owned().as_slice(), &outputs_by_formula(&c));
            assert!(error <= tolerance::<f64>(16, 1.0), "{}: {error:e}", c.name);
            // the same workspace for fewer, more, and as many cases
            for cases in [1, 33, 3] {
                let x = nn_fixture::Random::new(18).matrix(3, cases, 1.0);
                let t = nn_fixture::Random::new(19).targets(c.net.output_loss(), c.net.outputs(), cases);
                let batch = Batch::new(x.as_ref(), t.as_ref()).unwrap();
                c.net.forward(&ctx, &c.theta, &batch, &mut ws).unwrap();
                let other = Case { name: String::new(), net: c.net.clone(), theta: c.theta.clone(), batch };
                let error = gap(ws.outputs().to_owned().as_slice(), &outputs_by_formula(&other));
                assert!(error <= tolerance::<f64>(16, 1.0), "{} with {cases} cases: {error:e}", c.name);
            }
        }
    }
}

#[test]
fn gradients_are_central_differences_of_the_loss() {
    let h = f64::EPSILON.cbrt();
    for ctx in contexts::<f64>() {
        for c in zoo::<f64>() {
            let (loss, grad) = gradient(&ctx, &c);
            let limit = h * h * (M3 / 6.0 + LOSS_ROUNDING * loss.abs().max(1.0));
            let mut theta = c.theta.clone();
            for k in 0..theta.len() {
                let mut at = |x: f64| {
                    theta[k] = x;
                    c.net.loss(&ctx, &theta, &c.batch).unwrap()
                };
                let (up, down) = (c.theta[k] + h, c.theta[k] - h);
                let slope = (at(up) - at(down)) / (up - down);
                at(c.theta[k]);
                let error = (slope - grad[k]).abs();
                assert!(error <= limit, "{}: parameter {k}: {slope} against {} (error {error:e})", c.name, grad[k]);
            }
        }
    }
}

#[test]
fn forward_and_backward_agree_with_loss_and_loss_grad() {
    fn check<T: Scalar>() {
        for ctx in contexts::<T>() {
            for c in zoo::<T>() {
                let (loss, grad) = gradient(&ctx, &c);
                let (mut ws, value) = forward(&ctx, &c);
                let mut back = vec![T::nan(); c.theta.len()];
                c.net.backward(&ctx, &c.theta, &c.batch, &mut ws, &mut back).unwrap();
                assert_eq!((loss, &grad), (value, &back), "{}", c.name);
                assert_eq!(loss, c.net.loss(&ctx, &c.theta, &c.batch).unwrap(), "{}", c.name);
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn single_precision_follows_double_on_every_backend() {
    for ((single, double), wide) in zoo::<f32>().iter().zip(zoo::<f64>()).zip(zoo::<f32>()) {
        // the same numbers: f64 parameters and batch are replaced by the f32 ones, widened
        let theta: Vec<f64> = wide.theta.iter().map(|t| t.f64()).collect();
        let (x, t) = (wide.batch.inputs(), wide.batch.targets());
        let x = x.submatrix(0, 0, wide.batch.input_dim(), x.ncols()).unwrap().to_owned().cast::<f64>();
        let batch = Batch::new(x.as_ref(), t.to_owned().cast::<f64>().as_ref()).unwrap();
        let exact = Case { name: double.name, net: double.net, theta, batch };
        let (want, want_grad) = gradient(&Ctx::reference(), &exact);
        for ctx in contexts::<f32>() {
            let (got, grad) = gradient(&ctx, single);
            let limit = tolerance::<f32>(8, 2.0);
            assert!(gap(&[got], &[want]) <= limit, "{}: {got} against {want}", single.name);
            assert!(gap(&grad, &want_grad) <= limit, "{}: {:e}", single.name, gap(&grad, &want_grad));
        }
    }
}

#[test]
fn a_sum_is_cases_times_a_mean() {
    let ctx = Ctx::<f64>::reference();
    for loss in nn_fixture::LOSSES {
        let make = |r| case::<f64>(&[3, 4, 2], Activation::Tanh, Activation::Identity, loss, r, 0.0, 5, 11);
        let (sum, sum_grad) = gradient(&ctx, &make(Reduction::Sum));
        let (mean, mean_grad) = gradient(&ctx, &make(Reduction::Mean));
        let scaled: Vec<f64> = mean_grad.iter().map(|g| 5.0 * g).collect();
        assert!(gap(&[sum], &[5.0 * mean]) <= tolerance::<f64>(2, 1.0), "{loss:?}: {sum} against 5 x {mean}");
        assert!(gap(&sum_grad, &scaled) <= tolerance::<f64>(8, 1.0), "{loss:?}");
        assert!((sum - mean).abs() > 0.1, "the two reductions must differ");
    }
}

#[test]
fn the_l2_term_covers_every_parameter() {
    fn check<T: Scalar>() {
        let eta = 0.375;
        for reduction in nn_fixture::REDUCTIONS {
            let make = |l2| {
                let (hidden, output, loss) = (Activation::Relu, Activation::Identity, Loss::SoftmaxCrossEntropy);
                case::<T>(&[3, 4, 2], hidden, output, loss, reduction, l2, 5, 12)
            };
            for ctx in contexts::<T>() {
                let (with, without) = (make(eta), make(0.0));
                let ((loss, grad), (plain, plain_grad)) = (gradient(&ctx, &with), gradient(&ctx, &without));
                let square: f64 = with.theta.iter().map(|t| t.f64() * t.f64()).sum();
                let limit = tolerance::<T>(2, 1.0);
                assert!(gap(&[loss], &[plain.f64() + 0.5 * eta * square]) <= limit, "{}", with.name);
                let want: Vec<f64> = plain_grad.iter().zip(&with.theta).map(|(g, t)| g.f64() + eta * t.f64()).collect();
                assert!(gap(&grad, &want) <= limit, "{}", with.name);
                assert_eq!(with.net.l2(), T::of(eta));
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn parts_of_a_large_batch_add_up() {
    fn check<T: Scalar>() {
        for loss in nn_fixture::LOSSES {
            for cases in [1, 2, 3, 31, 33, 64] {
                let c = case::<T>(
                    &[3, 5, 2],
                    Activation::Tanh,
                    Activation::Identity,
                    loss,
                    Reduction::Mean,
                    0.1,
                    cases,
                    13,
                );
                let net = |chunk| {
                    let builder = Mlp::builder(3).layer(5, Activation::Tanh).layer(2, Activation::Identity);
                    builder.loss(loss).l2(T::of(0.1)).chunk(chunk).build().unwrap()
                };
                for ctx in contexts::<T>() {
                    let (loss, grad) = gradient(&ctx, &c);
                    for chunk in [1, 2, 32, 64] {
                        let mut part = vec![T::nan(); grad.len()];
                        let net = net(chunk);
                        let value = net.loss_grad(&ctx, &c.theta, &c.batch, &mut part).unwrap();
                        let limit = tolerance::<T>(cases, 1.0);
                        assert!(gap(&[value], &[loss]) <= limit && gap(&part, &grad) <= limit, "{} {chunk}", c.name);
                        let metrics = net.evaluate(&ctx, &c.theta, &c.batch).unwrap();
                        assert!(gap(&[metrics.loss], &[loss]) <= limit, "{} {chunk}", c.name);
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn evaluation_is_what_predictions_say() {
    let ctx = Ctx::<f64>::default();
    for loss in nn_fixture::LOSSES {
        let c = case::<f64>(&[3, 6, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Sum, 0.0, 40, 14);
        let metrics = c.net.evaluate(&ctx, &c.theta, &c.batch).unwrap();
        let p = c.net.predict(&ctx, &c.theta, &c.batch).unwrap();
        let (mut squared, mut right) = (0.0, 0);
        let argmax = |x: &[f64]| (0..x.len()).max_by(|&i, &j| x[i].total_cmp(&x[j])).unwrap();
        for (p, t) in p.as_ref().cols().zip(c.batch.targets().cols()) {
            squared += p.iter().zip(t).map(|(p, t)| (p - t) * (p - t)).sum::<f64>() / 40.0;
            right += usize::from(argmax(p) == argmax(t));
            if loss == Loss::SoftmaxCrossEntropy {
                assert!((p.iter().sum::<f64>() - 1.0).abs() <= tolerance::<f64>(3, 1.0));
            }
        }
        assert!(gap(&[metrics.squared_error], &[squared]) <= tolerance::<f64>(40, 1.0), "{loss:?}");
        assert_eq!(metrics.accuracy, f64::from(right as u32) / 40.0, "{loss:?}");
        assert_eq!(metrics.loss, c.net.loss(&ctx, &c.theta, &c.batch).unwrap(), "{loss:?}");
    }
}

#[test]
fn results_do_not_depend_on_the_thread_count() {
    // wide enough that the elementwise work is shared; the reference kernels use one thread
    let c = case::<f32>(
        &[40, 300, 40],
        Activation::Tanh,
        Activation::Identity,
        Loss::BernoulliCrossEntropy,
        Reduction::Mean,
        0.01,
        400,
        15,
    );
    let one = Ctx::<f32>::reference();
    let (loss, grad) = gradient(&one, &c);
    for threads in [2, 3, 4] {
        let (other, other_grad) = gradient(&one.with_threads(threads), &c);
        assert_eq!((loss, &grad), (other, &other_grad), "{threads} threads");
    }
}

#[test]
fn nan_and_overflow_are_values_not_panics() {
    for ctx in contexts::<f32>() {
        for mut c in zoo::<f32>() {
            for poison in [f32::NAN, f32::INFINITY, f32::MAX] {
                c.theta.fill(poison);
                let (loss, _) = gradient(&ctx, &c);
                assert!(!loss.is_finite() || poison == f32::MAX, "{}: {poison} gave {loss}", c.name);
                c.net.evaluate(&ctx, &c.theta, &c.batch).unwrap();
            }
        }
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let ctx = Ctx::<f64>::reference();
    let c = case::<f64>(
        &[3, 4, 2],
        Activation::Tanh,
        Activation::Identity,
        Loss::SquaredError,
        Reduction::Mean,
        0.0,
        5,
        16,
    );
    let n = c.theta.len();
    let mut grad = vec![0.0; n];
    let shape = |r: Result<f64, Error>| assert!(matches!(r, Err(Error::Shape { .. })), "{r:?}");
    shape(c.net.loss(&ctx, &c.theta[1..], &c.batch));
    shape(c.net.loss_grad(&ctx, &c.theta, &c.batch, &mut grad[1..]));
    let narrow = Batch::new(Mat::zeros(2, 5).as_ref(), Mat::zeros(2, 5).as_ref()).unwrap();
    shape(c.net.loss(&ctx, &c.theta, &narrow));
    let narrow = Batch::new(Mat::zeros(3, 5).as_ref(), Mat::zeros(1, 5).as_ref()).unwrap();
    shape(c.net.loss(&ctx, &c.theta, &narrow));

    let mut ws = c.net.workspace();
    let no_forward = c.net.backward(&ctx, &c.theta, &c.batch, &mut ws, &mut grad);
    assert!(matches!(no_forward, Err(Error::InvalidParameter { name: "workspace", .. })), "{no_forward:?}");
    c.net.forward(&ctx, &c.theta, &c.batch, &mut ws).unwrap();
    let other = Batch::new(Mat::zeros(3, 4).as_ref(), Mat::zeros(2, 4).as_ref()).unwrap();
    let other_batch = c.net.backward(&ctx, &c.theta, &other, &mut ws, &mut grad);
    assert!(matches!(other_batch, Err(Error::Shape { .. })), "{other_batch:?}");
}

#[test]
fn impossible_networks_and_batches_are_errors() {
    let invalid = |r: Result<Mlp<f64>, Error>| assert!(matches!(r, Err(Error::InvalidParameter { .. })), "{r:?}");
    invalid(Mlp::builder(3).build());
    invalid(Mlp::builder(0).layer(1, Activation::Tanh).build());
    invalid(Mlp::builder(3).layer(0, Activation::Tanh).build());
    invalid(Mlp::builder(3).layer(1, Activation::Tanh).l2(-1.0).build());
    invalid(Mlp::builder(3).layer(1, Activation::Tanh).l2(f64::NAN).build());
    invalid(Mlp::builder(3).layer(1, Activation::Tanh).chunk(0).build());
    invalid(Mlp::builder(usize::MAX).layer(2, Activation::Tanh).build());
    invalid(Mlp::autoencoder(&[8], Activation::Tanh).build());

    let (x, bad) = (Mat::<f64>::zeros(2, 3), Mat::from_fn(2, 3, |i, j| if (i, j) == (1, 2) { f64::NAN } else { 0.0 }));
    assert!(matches!(Batch::new(x.as_ref(), Mat::zeros(1, 4).as_ref()), Err(Error::Shape { .. })));
    assert!(matches!(Batch::new(bad.as_ref(), x.as_ref()), Err(Error::NotFinite { .. })));
    assert!(matches!(Batch::new(x.as_ref(), bad.as_ref()), Err(Error::NotFinite { .. })));
    assert!(matches!(Batch::autoencoder(Mat::<f64>::zeros(2, 0).as_ref()), Err(Error::InvalidParameter { .. })));
    let mut batch = Batch::autoencoder(x.as_ref()).unwrap();
    assert!(matches!(batch.select(x.as_ref(), None, &[0, 3]), Err(Error::InvalidParameter { .. })));
    assert_eq!(batch.cases(), 3, "a failed refill leaves the batch as it was");

    let net = Mlp::<f64>::builder(2).layer(2, Activation::Identity).loss(Loss::SoftmaxCrossEntropy).build().unwrap();
    let half = Mat::from_fn(2, 3, |_, _| 0.5);
    assert!(net.batch(x.as_ref(), half.as_ref()).is_ok());
    assert!(matches!(net.batch(x.as_ref(), x.as_ref()), Err(Error::InvalidParameter { name: "targets", .. })));
}

#[test]
fn an_autoencoder_mirrors_its_encoder() {
    let net = Mlp::<f64>::autoencoder(&[8, 5, 3, 2], Activation::Logistic).build().unwrap();
    let shape: Vec<_> = net.layers().iter().map(|l| (l.inputs, l.width, l.activation)).collect();
    let (logistic, linear) = (Activation::Logistic, Activation::Identity);
    let want = [(8, 5, logistic), (5, 3, logistic), (3, 2, linear), (2, 3, logistic), (3, 5, logistic), (5, 8, linear)];
    assert_eq!(shape, want);
    assert_eq!(net.output_loss(), Loss::BernoulliCrossEntropy);
    // sharing the inputs as targets changes nothing
    let mut random = nn_fixture::Random::new(17);
    let x = random.targets::<f64>(Loss::BernoulliCrossEntropy, 8, 6);
    let theta = random.vector(net.layout().len(), 1.0);
    let ctx = Ctx::reference();
    let shared = net.loss(&ctx, &theta, &Batch::autoencoder(x.as_ref()).unwrap()).unwrap();
    let mut selected = Batch::new(x.as_ref(), x.as_ref()).unwrap();
    assert_eq!(shared, net.loss(&ctx, &theta, &selected).unwrap());
    selected.select(x.as_ref(), Some(x.as_ref()), &[5, 4, 3, 2, 1, 0]).unwrap();
    let reversed = net.loss(&ctx, &theta, &selected).unwrap();
    assert!(gap(&[reversed], &[shared]) <= tolerance::<f64>(6, 1.0));
}
