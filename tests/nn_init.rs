//! Claim: initial parameters have the counts and moments of their scheme, and depend on the seed alone.
//!
//! Moments of N samples are held to z standard errors with z = 6: a false alarm has probability below 2e-9 a check.
#![cfg(feature = "nn")]

use pullback::nn::{Activation, Init, Mlp};
use pullback::optim::Objective;

const Z: f64 = 6.0;

fn net(activation: Activation) -> Mlp<f64> {
    Mlp::builder(100).layer(80, activation).layer(90, activation).layer(5, Activation::Identity).build().unwrap()
}

/// The weights of layer l (biases apart), and the biases.
fn layer(net: &Mlp<f64>, theta: &[f64], l: usize) -> (Vec<f64>, Vec<f64>) {
    let block = &net.layout().blocks()[l];
    let (w, b) = theta[block.range()].split_at(block.rows * (block.cols - 1));
    (w.to_vec(), b.to_vec())
}

/// Mean 0 and the given variance, for samples whose fourth moment is `kurtosis` · variance².
fn check_moments(name: &str, x: &[f64], variance: f64, kurtosis: f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let square = x.iter().map(|x| x * x).sum::<f64>() / n;
    assert!(mean.abs() <= Z * (variance / n).sqrt(), "{name}: mean {mean}");
    let error = Z * variance * ((kurtosis - 1.0) / n).sqrt();
    assert!((square - variance).abs() <= error, "{name}: variance {square}, not {variance} ± {error}");
}

#[test]
fn sparse_units_have_fifteen_connections_of_the_right_size() {
    for (activation, first, second, last) in [
        (Activation::Logistic, 1.0, 1.0, 1.0),
        (Activation::Relu, 1.0, 1.0, 1.0),
        (Activation::Tanh, 0.5, 0.25, 0.5),
        (Activation::Softplus, 0.1, 0.1, 1.0),
    ] {
        let net = net(activation);
        let theta = net.init(Init::sparse(), 3);
        for (l, deviation) in [first, second, last].into_iter().enumerate() {
            let (w, b) = layer(&net, &theta, l);
            assert!(b.iter().all(|&b| b == 0.0), "biases start at 0");
            let rows = b.len();
            for unit in 0..rows {
                let incoming = w.iter().skip(unit).step_by(rows).filter(|&&w| w != 0.0).count();
                assert_eq!(incoming, 15, "{activation:?}: unit {unit} of layer {l}");
            }
            let weights: Vec<f64> = w.into_iter().filter(|&w| w != 0.0).collect();
            check_moments(&format!("{activation:?} layer {l}"), &weights, deviation * deviation, 3.0);
        }
    }
}

#[test]
fn sparse_connections_reach_every_input_alike() {
    // 15 of 100 inputs for each of 80 units: an input has Binomial(80, 0.15) outgoing weights
    let net = net(Activation::Logistic);
    let theta = net.init(Init::sparse(), 4);
    let (w, b) = layer(&net, &theta, 0);
    for (input, column) in w.chunks_exact(b.len()).enumerate() {
        let outgoing = column.iter().filter(|&&w| w != 0.0).count() as f64;
        assert!((outgoing - 12.0).abs() <= Z * (80.0f64 * 0.15 * 0.85).sqrt(), "input {input}: {outgoing}");
    }
    // fewer inputs than connections: all of them
    let narrow = Mlp::<f64>::builder(4).layer(3, Activation::Tanh).build().unwrap();
    assert_eq!(narrow.init(Init::sparse(), 1).iter().filter(|&&w| w != 0.0).count(), 12);
    assert!(narrow.init(Init::Sparse { connections: 0 }, 1).iter().all(|&w| w == 0.0));
}

#[test]
fn glorot_and_he_have_their_variances() {
    let net = net(Activation::Relu);
    let (glorot, he) = (net.init(Init::GlorotUniform, 5), net.init(Init::HeNormal, 5));
    for (l, shape) in net.layers().iter().enumerate() {
        let (d_in, d_out) = (shape.inputs as f64, shape.width as f64);
        let (w, b) = layer(&net, &glorot, l);
        check_moments(&format!("Glorot layer {l}"), &w, 2.0 / (d_in + d_out), 1.8);
        assert!(w.iter().all(|w| w.abs() <= (6.0 / (d_in + d_out)).sqrt()) && b.iter().all(|&b| b == 0.0));
        let (w, b) = layer(&net, &he, l);
        check_moments(&format!("He layer {l}"), &w, 2.0 / d_in, 3.0);
        assert!(b.iter().all(|&b| b == 0.0));
    }
}

#[test]
fn equal_seeds_give_equal_parameters_in_both_precisions() {
    let single = Mlp::<f32>::builder(100).layer(80, Activation::Tanh).layer(5, Activation::Identity).build().unwrap();
    let double = Mlp::<f64>::builder(100).layer(80, Activation::Tanh).layer(5, Activation::Identity).build().unwrap();
    for init in [Init::sparse(), Init::GlorotUniform, Init::HeNormal] {
        let theta = double.init(init, 6);
        assert_eq!(theta, double.init(init, 6));
        assert_ne!(theta, double.init(init, 7));
        let rounded: Vec<f32> = theta.iter().map(|&t| t as f32).collect();
        assert_eq!(single.init(init, 6), rounded);
    }
}
