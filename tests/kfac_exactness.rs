//! Where K-FAC's block is the Gauss-Newton block: on deep linear networks with squared error, and for one case; and
//! that the sampled factors converge to the exact ones.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;

use nets::{Spec, block_of, dense_ggn, factors, kronecker_block, problem};
use pullback::Ctx;
use pullback::nn::{Activation, Loss, Reduction};
use pullback::optim::{FisherKind, Objective};
use pullback::testing::{relative_error, tolerance};

const LOSSES: [Loss; 3] = [Loss::SquaredError, Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy];

fn spec(activation: Activation, loss: Loss, reduction: Reduction, cases: usize) -> Spec {
    Spec { widths: vec![3, 4, 2, 3], activation, loss, reduction, cases }
}

/// Largest relative error over the layers between A ⊗ S and the Gauss-Newton block.
fn distance(spec: &Spec, seed: u64, kind: FisherKind) -> f64 {
    let ctx = Ctx::default();
    let p = problem(spec, seed);
    let ggn = dense_ggn(&ctx, &p);
    let factors = factors(&ctx, &p.net, &p.theta, &p.batch, kind, 0..1);
    (0..p.net.layers().len())
        .map(|l| relative_error(kronecker_block(&ctx, &factors, l).as_ref(), block_of(&ggn, &p.net, l).as_ref()))
        .fold(0.0, f64::max)
}

#[test]
fn deep_linear_networks_with_squared_error_are_exact_for_any_number_of_cases() {
    for reduction in [Reduction::Mean, Reduction::Sum] {
        for cases in [1, 2, 7, 40] {
            let linear = spec(Activation::Identity, Loss::SquaredError, reduction, cases);
            let error = distance(&linear, 1, FisherKind::Exact);
            assert!(error <= tolerance::<f64>(cases + 4, 10.0), "{reduction:?} {cases}: {error:e}");
        }
    }
    // the control: with a curved activation the factorization is an approximation
    let curved = spec(Activation::Tanh, Loss::SquaredError, Reduction::Mean, 7);
    assert!(distance(&curved, 1, FisherKind::Exact) > 1e-3);
    // and the observed targets do not give the Fisher matrix
    let linear = spec(Activation::Identity, Loss::SquaredError, Reduction::Mean, 7);
    assert!(distance(&linear, 1, FisherKind::Empirical) > 1e-3);
}

#[test]
fn one_case_is_exact_for_every_activation_and_loss() {
    for loss in LOSSES {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            for activation in
                [Activation::Tanh, Activation::Logistic, Activation::Relu, Activation::Softplus, Activation::Identity]
            {
                let error = distance(&spec(activation, loss, reduction, 1), 2, FisherKind::Exact);
                assert!(error <= tolerance::<f64>(8, 100.0), "{loss:?} {activation:?}: {error:e}");
            }
        }
    }
}

#[test]
fn sampled_factors_converge_to_the_exact_ones() {
    const SAMPLES: u64 = 4000;
    let ctx = Ctx::default();
    for loss in LOSSES {
        let p = problem(&spec(Activation::Tanh, loss, Reduction::Mean, 5), 3);
        let exact = factors(&ctx, &p.net, &p.theta, &p.batch, FisherKind::Exact, 0..1);
        let sampled = factors(&ctx, &p.net, &p.theta, &p.batch, FisherKind::MonteCarlo, 0..SAMPLES);
        for (layer, (exact, sampled)) in exact.0.iter().zip(&sampled.0).enumerate() {
            let n = exact.s().nrows();
            for j in 0..n {
                for i in j..n {
                    // S_ij is a mean of SAMPLES independent g_i g_j averages. Var(g_i g_j) <= c S_ii S_jj with c = 2 for
                    // Gaussian and at most about 9 for bounded targets here; 6.5 standard deviations of 60 entries
                    // leave a false alarm below 1e-8
                    let deviation = 3.0 * (exact.s().at(i, i) * exact.s().at(j, j) / SAMPLES as f64).sqrt();
                    let difference = (sampled.s().at(i, j) - exact.s().at(i, j)).abs();
                    assert!(difference <= 6.5 * deviation, "{loss:?} layer {layer} ({i}, {j}): {difference:e}");
                }
            }
            let error = relative_error(sampled.a(), exact.a());
            assert!(
                error <= tolerance::<f64>(SAMPLES as usize, 1.0),
                "activations do not depend on targets: {error:e}"
            );
        }
    }
}

#[test]
fn the_convergence_test_has_power() {
    // factors from observed targets, held to the bound of the test above, must fail it
    let ctx = Ctx::default();
    let p = problem(&spec(Activation::Tanh, Loss::SquaredError, Reduction::Mean, 5), 3);
    let exact = factors(&ctx, &p.net, &p.theta, &p.batch, FisherKind::Exact, 0..1);
    let observed = factors(&ctx, &p.net, &p.theta, &p.batch, FisherKind::Empirical, 0..1);
    let last = p.net.layout().blocks().len() - 1;
    let (exact, observed) = (exact.0[last].s(), observed.0[last].s());
    let caught = (0..exact.nrows()).flat_map(|j| (j..exact.nrows()).map(move |i| (i, j))).any(|(i, j)| {
        let deviation = 3.0 * (exact.at(i, i) * exact.at(j, j) / 4000.0).sqrt();
        (observed.at(i, j) - exact.at(i, j)).abs() > 6.5 * deviation
    });
    assert!(caught);
}
