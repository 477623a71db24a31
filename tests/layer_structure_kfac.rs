//! The K-FAC optimizer with every structure of its layers: it trains, falls back under a small limit, and with corrected
//! eigenvalues (EKFAC) follows the statistics at every step and carries the eigenvalues over at a refresh.
#![cfg(feature = "nn")]

use pullback::curvature::{EigenKronecker, KroneckerDamping, PiRule};
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{FactorLimit, Kfac, KfacOptions, LayerStructure, Objective, Optimizer};
use pullback::stats::{DiagonalRule, InputSplit};
use pullback::testing::gallery::uniform;
use pullback::testing::tolerance;
use pullback::{Ctx, Curvature, Error, LinearOperator, Mat};

fn both() -> [KroneckerDamping<f64>; 2] {
    [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }]
}

/// A small autoencoder on inputs of low rank.
fn autoencoder() -> (Mlp<f64>, Batch<f64>, Vec<f64>) {
    let net = Mlp::autoencoder(&[12, 8, 3], Activation::Tanh).l2(1e-5).build().unwrap();
    let (u, v) = (uniform::<f64>(12, 3, 5), uniform::<f64>(3, 60, 6));
    let logit = |i: usize, j: usize| (0..3).map(|k| 2.0 * u[(i, k)] * v[(k, j)]).sum::<f64>();
    let x = Mat::from_fn(12, 60, |i, j| 1.0 / (1.0 + (-2.0 * logit(i, j)).exp()));
    let batch = Batch::autoencoder(x.as_ref()).unwrap();
    let theta = net.init(Init::GlorotUniform, 7);
    (net, batch, theta)
}

#[test]
fn kfac_trains_an_autoencoder_with_corrected_eigenvalues_and_carries_them_over() {
    const INTERVAL: u64 = 5;
    let ctx = Ctx::<f64>::default();
    let (net, batch, mut theta) = autoencoder();
    let options = KfacOptions {
        structure: LayerStructure::EigenKronecker,
        lambda: 1.0,
        refresh_interval: INTERVAL,
        ..KfacOptions::default()
    };
    let mut kfac: Kfac<f64, Workspace<f64>> = Kfac::new(options).unwrap();
    let start = net.loss(&ctx, &theta, &batch).unwrap();
    let mut last = None;
    for step in 0..40u64 {
        let report = kfac.step(&ctx, &net, &mut theta, &batch).unwrap();
        let preconditioner = kfac.preconditioner().unwrap();
        for l in 0..4 {
            assert_eq!(preconditioner.structure(l), Some(LayerStructure::EigenKronecker));
        }
        let now = preconditioner.eigen_moments(0).unwrap().snapshot().unwrap().unwrap();
        if let Some(old) = &last {
            let old: &EigenKronecker<f64> = old;
            assert_eq!(now.basis().shares_with(old.basis()), !report.refreshed, "step {step}: a basis a refresh");
            // the statistics of this step are mixed in before the basis changes, so what was carried over is still
            // there with weight ε: S* >= ε S*_old in the new basis, entry for entry
            let epsilon = (1.0 - 1.0 / preconditioner.eigen_moments(0).unwrap().updates() as f64).min(0.95);
            let carried = old.rebased(&ctx, now.basis()).unwrap();
            let size = carried.values().as_slice().iter().fold(0f64, |m, x| m.max(*x));
            for (new, old) in now.values().as_slice().iter().zip(carried.values().as_slice()) {
                assert!(*new >= epsilon * old - tolerance::<f64>(13, 10.0) * size, "step {step}: {new:e} from {old:e}");
            }
            assert_ne!(now.values(), old.values(), "step {step}: statistics at every step");
        }
        // and the inverse in use is that of the eigenvalues of now, refreshed or not
        let inverse = preconditioner.inverse(0).unwrap();
        let want = now.damped(&ctx, inverse.damping()).unwrap();
        assert_eq!(inverse.to_dense(&ctx).unwrap(), want.to_dense(&ctx).unwrap(), "step {step}");
        last = Some(now);
    }
    let end = net.loss(&ctx, &theta, &batch).unwrap();
    assert!(end < 0.75 * start, "{start} to {end}");
}

#[test]
fn every_structure_trains_and_a_small_limit_falls_back() {
    let ctx = Ctx::<f64>::default();
    let (net, batch, theta) = autoencoder();
    let split = InputSplit { outer: 3, inner: 4, bias: true };
    let start = net.loss(&ctx, &theta, &batch).unwrap();
    let run = |options: KfacOptions<f64>, structures: Option<Vec<LayerStructure>>| {
        let mut kfac: Kfac<f64, Workspace<f64>> = match structures {
            Some(structures) => Kfac::with_structures(options, structures).unwrap(),
            None => Kfac::new(options).unwrap(),
        };
        let mut theta = theta.clone();
        for _ in 0..30 {
            kfac.step(&ctx, &net, &mut theta, &batch).unwrap();
        }
        let chosen: Vec<LayerStructure> =
            (0..4).map(|l| kfac.preconditioner().unwrap().structure(l).unwrap()).collect();
        (net.loss(&ctx, &theta, &batch).unwrap(), chosen)
    };
    let factored = LayerStructure::Diagonal { rule: DiagonalRule::Factored };
    for damping in both() {
        let options = KfacOptions { lambda: 1.0, damping, ..KfacOptions::default() };
        let (end, chosen) = run(options, None);
        assert!(end < 0.8 * start && chosen == [LayerStructure::Kronecker; 4], "{chosen:?}: {end}");
        for structure in
            [LayerStructure::EigenKronecker, factored, LayerStructure::Diagonal { rule: DiagonalRule::Exact }]
        {
            let (end, chosen) = run(KfacOptions { structure, ..options }, None);
            assert!(end < 0.9 * start && chosen == [structure; 4], "{structure:?}: {start} to {end}");
        }
        // 13² + 8² numbers twice, in the outer layers, are above this limit; 9² + 3² in the inner ones are not
        let limit = FactorLimit { bytes: 8.0 * 350.0, flops: f64::INFINITY };
        let (end, chosen) = run(KfacOptions { limit, ..options }, None);
        let inner = LayerStructure::Kronecker;
        assert_eq!(chosen, [factored, inner, inner, factored]);
        assert!(end < 0.9 * start, "{start} to {end}");
        // the inputs of the first layer form a matrix: three factors are within it
        let auto = LayerStructure::default();
        let first = LayerStructure::Auto { corrected: false, split: Some(split) };
        let (end, chosen) = run(KfacOptions { limit, ..options }, Some(vec![first, auto, auto, auto]));
        assert_eq!(chosen, [LayerStructure::ThreeFactor { split }, inner, inner, factored]);
        assert!(end < 0.9 * start, "{start} to {end}");
    }
    let few: Kfac<f64, Workspace<f64>> = Kfac::with_structures(KfacOptions::default(), vec![factored]).unwrap();
    let mut few = few;
    let refused = few.step(&ctx, &net, &mut theta.clone(), &batch);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}
