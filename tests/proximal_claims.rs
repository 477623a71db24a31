//! The chapter's claims about its figure 1, as ratios of the numbers behind our own, over seeds.
//!
//! Every ratio is relative to the change at the example; the three proximities are compared at the weights that move the
//! example by about three quarters of its surprise.
#![cfg(feature = "nn")]

#[path = "../examples/proximal_figure/figure.rs"]
mod figure;

use std::sync::OnceLock;

use figure::{Change, Figure, Proximity, SURPRISE};

const SEEDS: std::ops::Range<u64> = 0..6;
const POINTS: usize = 105;
const ITERATIONS: usize = 400;

/// A figure, and its changes by weight for every proximity.
struct Measured {
    seed: u64,
    figure: Figure,
    changes: [Vec<(f64, Change)>; 3],
}

/// Computed once for all tests.
fn measured() -> &'static [Measured] {
    static ALL: OnceLock<Vec<Measured>> = OnceLock::new();
    ALL.get_or_init(|| {
        let measure = |seed| {
            let figure = Figure::new(seed, POINTS, ITERATIONS).expect("the network fits");
            let changes = Proximity::ALL.map(|proximity| {
                let curves = figure.curves(proximity, &proximity.lambdas(7)).expect("finite");
                curves.iter().map(|curve| (curve.lambda, figure.change(curve))).collect()
            });
            Measured { seed, figure, changes }
        };
        SEEDS.map(measure).collect()
    })
}

/// The law for the changes by weights, functions, both, at the weight that moves the example closest to 3/4 of the way.
fn over_seeds(law: impl Fn(u64, Change, Change, Change)) {
    for Measured { seed, changes, .. } in measured() {
        let [weights, functions, both] = changes.each_ref().map(|changes| {
            let off = |change: &Change| (change.example - 0.75).abs();
            let all = changes.iter().map(|(_, change)| *change);
            let best = all.min_by(|a, b| off(a).total_cmp(&off(b))).expect("some weights");
            assert!(off(&best) <= 0.15, "seed {seed}: {best:?}");
            best
        });
        println!("seed {seed}\n  weights   {weights:?}\n  functions {functions:?}\n  both      {both:?}");
        law(*seed, weights, functions, both);
    }
}

#[test]
fn the_current_model_fits_its_data() {
    for Measured { seed, figure, .. } in measured() {
        let squares = figure.ts.iter().zip(&figure.current.at_data).map(|(t, f)| (t - f).powi(2));
        let rms = (squares.sum::<f64>() / figure.ts.len() as f64).sqrt();
        assert!(rms <= 0.05 * SURPRISE, "seed {seed}: {rms}");
        assert!((figure.example.1 - figure.current.at_example - SURPRISE).abs() <= f64::EPSILON * 4.0);
    }
}

#[test]
fn the_example_moves_more_as_the_weight_falls() {
    for Measured { seed, changes, .. } in measured() {
        for (changes, proximity) in changes.iter().zip(Proximity::ALL) {
            for pair in changes.windows(2) {
                let ((large, little), (small, much)) = (pair[0], pair[1]);
                let falls = large > small && little.example < much.example;
                assert!(falls && little.example > 0.0 && much.example < 1.0, "seed {seed}: {proximity:?} {pair:?}");
            }
        }
    }
}

#[test]
fn weight_space_proximity_alone_changes_predictions_globally() {
    over_seeds(|seed, weights, _, _| {
        assert!(weights.data >= 0.5, "seed {seed}: {weights:?}");
        assert!(weights.far >= 0.25, "seed {seed}: the other cluster moves too, {weights:?}");
        assert!(weights.gap >= 0.5, "seed {seed}: {weights:?}");
    });
}

#[test]
fn function_space_proximity_alone_makes_a_spike() {
    over_seeds(|seed, weights, functions, both| {
        assert!(functions.data <= 0.08, "seed {seed}: the data stays, {functions:?}");
        assert!(functions.data <= 0.125 * weights.data, "seed {seed}: {functions:?} {weights:?}");
        assert!(functions.bend >= 10.0 * both.bend, "seed {seed}: a spike, {functions:?} {both:?}");
        assert!(functions.gap >= 8.0 * functions.data, "seed {seed}: the gap is free, {functions:?}");
    });
}

#[test]
fn both_proximities_are_local_and_smooth() {
    over_seeds(|seed, weights, functions, both| {
        assert!(both.data <= 0.4 * weights.data, "seed {seed}: local, {both:?} {weights:?}");
        assert!(both.far <= 0.25 * weights.far, "seed {seed}: the other cluster stays, {both:?} {weights:?}");
        assert!(both.bend <= 0.1 * functions.bend, "seed {seed}: smooth, {both:?} {functions:?}");
    });
}
