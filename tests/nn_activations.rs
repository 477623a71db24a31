//! Claim: activations over matrices equal std's functions to the few ulps that src/nn/elementary.rs states, on every
//! vector length, leading dimension and thread count; derivatives taken from the activation value equal the analytic
//! ones; infinities and NaN go where they must.
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{ACTIVATIONS, Random};
use pullback::nn::Activation;
use pullback::testing::tolerance;
use pullback::{Ctx, Error, Mat, Scalar};

/// φ, φ' and φ'' by std's functions in f64.
fn exact(activation: Activation, s: f64) -> [f64; 3] {
    let p = 1.0 / (1.0 + (-s).exp());
    let q = 1.0 / (1.0 + s.exp()); // 1 - p
    match activation {
        Activation::Tanh => {
            let sech2 = s.cosh().powi(-2);
            [s.tanh(), sech2, -2.0 * s.tanh() * sech2]
        }
        Activation::Logistic => [p, p * q, p * q * (q - p)],
        Activation::Relu => [s.max(0.0), f64::from(u8::from(s > 0.0)), 0.0],
        Activation::Softplus => [s.max(0.0) + (-s.abs()).exp().ln_1p(), p, p * q],
        Activation::Identity => [s, 1.0, 0.0],
    }
}

#[test]
fn values_and_derivatives_are_those_of_the_formulas() {
    fn check<T: Scalar>() {
        for activation in ACTIVATIONS {
            for k in -400..=400 {
                let s = T::of(f64::from(k) / 16.0);
                let a = activation.value(s);
                let [value, first, second] = exact(activation, s.f64());
                // relative error of the value; the derivatives, taken from a rounded a, are right to ε absolutely
                let limit = tolerance::<T>(1, 1.0);
                assert!((a.f64() - value).abs() <= limit * value.abs(), "{activation:?}({s}) = {a}, not {value}");
                let slope = activation.derivative(a).f64();
                assert!((slope - first).abs() <= limit, "{activation:?}'({s}) = {slope}, not {first}");
                let curve = activation.second_derivative(a).f64();
                assert!((curve - second).abs() <= limit, "{activation:?}''({s}) = {curve}, not {second}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn matrices_are_done_entry_by_entry_for_every_length_and_thread_count() {
    fn check<T: Scalar>() {
        let mut random = Random::new(31);
        // lengths around vector registers; the last one is large enough to be shared between threads
        for (rows, cols) in [(0, 3), (1, 1), (2, 5), (3, 3), (7, 2), (31, 4), (33, 3), (64, 2), (129, 5), (1000, 150)] {
            let (s, d) = (random.matrix::<T>(rows + 1, cols, 8.0), random.matrix::<T>(rows, cols, 1.0));
            for activation in ACTIVATIONS {
                for threads in [1, 2, 3] {
                    let ctx = Ctx::<T>::reference().with_threads(threads);
                    let (mut a, mut scaled) = (s.clone(), d.clone());
                    // the top rows of a taller matrix, as in a homogeneous buffer
                    activation.apply(&ctx, a.as_mut().submatrix(0, 0, rows, cols).unwrap());
                    let top = a.as_ref().submatrix(0, 0, rows, cols).unwrap();
                    activation.scale_by_derivative(&ctx, top, scaled.as_mut()).unwrap();
                    for j in 0..cols {
                        assert_eq!(a[(rows, j)], s[(rows, j)], "the row below is padding");
                        for i in 0..rows {
                            let want = activation.value(s[(i, j)]);
                            assert_eq!(a[(i, j)], want, "{activation:?} {rows}x{cols} ({i}, {j})");
                            assert_eq!(scaled[(i, j)], d[(i, j)] * activation.derivative(want), "{activation:?}'");
                        }
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn infinities_and_nan_go_where_they_must() {
    fn check<T: Scalar>() {
        let (inf, nan, big) = (T::infinity(), T::nan(), T::max_value());
        for activation in ACTIVATIONS {
            assert!(activation.value(nan).is_nan(), "{activation:?}");
            let (low, high) = match activation {
                Activation::Tanh => (-T::ONE, T::ONE),
                Activation::Logistic => (T::ZERO, T::ONE),
                Activation::Relu | Activation::Softplus => (T::ZERO, inf),
                Activation::Identity => (-inf, inf),
            };
            assert_eq!((activation.value(-inf), activation.value(inf)), (low, high), "{activation:?}");
            assert!(activation.value(big).is_finite() && activation.value(-big).is_finite(), "{activation:?}");
            for x in [-big, -T::ONE, T::ZERO, T::min_positive_value(), big] {
                assert!(activation.derivative(activation.value(x)).is_finite(), "{activation:?} at {x}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn shapes_that_differ_are_an_error() {
    let ctx = Ctx::<f64>::reference();
    let result = Activation::Tanh.scale_by_derivative(&ctx, Mat::zeros(2, 3).as_ref(), Mat::zeros(3, 2).as_mut());
    assert!(matches!(result, Err(Error::Shape { .. })));
}
