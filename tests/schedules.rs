//! Schedules, growing batches, polynomial averages and clipping: their formulas, their ends, their refusals.

use proptest::prelude::*;
use pullback::curvature::{Curvature, Dense};
use pullback::optim::{CurvatureClip, Decline, GrowingBatch, PolynomialAverage, Schedule, rising_momentum};
use pullback::testing::{gallery, tolerance};
use pullback::{Ctx, Error, Mat, MatRef};

fn close(a: f64, b: f64, n: usize) {
    assert!((a - b).abs() <= tolerance::<f64>(n, 1.0) * b.abs(), "{a} {b}");
}

#[test]
fn every_decline_has_its_formula() {
    for k in [0, 1, 2, 9, 10, 11, 99, 100, 1000] {
        let at = |decline| Schedule::new(0.4, decline).unwrap().at(k);
        let n = 8 + k as usize;
        close(at(Decline::Constant), 0.4, n);
        close(at(Decline::Step { factor: 0.5, every: 10 }), (0..k / 10).fold(0.4, |x, _| x * 0.5), n);
        close(at(Decline::Exponential { factor: 0.99 }), (0..k).fold(0.4, |x, _| x * 0.99), n);
        close(at(Decline::Inverse { rate: 0.25 }), 0.4 / (1.0 + 0.25 * k as f64), n);
        let cosine = at(Decline::Cosine { end: 0.1, steps: 100 });
        let angle = std::f64::consts::PI * (k.min(100) as f64) / 100.0;
        close(cosine, 0.25 + 0.15 * angle.cos(), n);
    }
}

#[test]
fn a_warm_up_is_a_line_and_the_schedule_begins_behind_it() {
    let plain = Schedule::new(0.4, Decline::Exponential { factor: 0.9 }).unwrap();
    let warm = plain.with_warm_up(8);
    (0..8).for_each(|k| close(warm.at(k), 0.05 * (k + 1) as f64, 8));
    (0..50).for_each(|k| assert_eq!(warm.at(8 + k), plain.at(k)));
    assert_eq!(plain.with_warm_up(0).at(0), 0.4);
}

#[test]
fn momentum_rises_as_published() {
    for (k, mu) in [(0, 0.5), (249, 0.5), (250, 0.75), (499, 0.75), (500, 1.0 - 1.0 / 6.0), (750, 0.875)] {
        close(rising_momentum(k, 0.99).unwrap(), mu, 8);
        // the published form
        let published = 1.0 - (-1.0 - ((k / 250) as f64 + 1.0).log2()).exp2();
        close(rising_momentum(k, 0.999).unwrap(), published, 8);
    }
    assert_eq!(rising_momentum(u64::MAX, 0.99).unwrap(), 0.99);
    for most in [1.0, -0.1, f64::NAN] {
        assert!(matches!(rising_momentum(0, most), Err(Error::InvalidParameter { .. })));
    }
}

proptest! {
    #[test]
    fn a_value_is_positive_and_finite_at_every_step(start in 1e-9..1e9f64, factor in 1e-3..1e3f64, k in any::<u64>()) {
        let declines = [
            Decline::Constant,
            Decline::Step { factor, every: 3 },
            Decline::Exponential { factor },
            Decline::Inverse { rate: factor },
            Decline::Cosine { end: factor, steps: 7 },
        ];
        for decline in declines {
            let x = Schedule::new(start, decline).unwrap().with_warm_up(2).at(k);
            prop_assert!(x > 0.0 && x.is_finite(), "{decline:?}: {x}");
        }
    }

    #[test]
    fn a_batch_grows_without_a_step_back_to_all_cases(first in 1usize..500, more in 0usize..10_000, steps in 2u64..600) {
        let batch = GrowingBatch::new(first, first + more, steps).unwrap();
        prop_assert_eq!(batch.cases(1), first);
        prop_assert_eq!(batch.cases(steps), first + more);
        prop_assert!((1..steps).all(|k| batch.cases(k) <= batch.cases(k + 1)));
        if more > 0 {
            let doubled = batch.cases(1 + batch.doubling().ceil() as u64);
            prop_assert!(doubled >= 2 * first - 1 || doubled == first + more, "{doubled}");
        }
    }
}

#[test]
fn the_published_growing_batch() {
    let batch = GrowingBatch::new(1000, 60_000, 500).unwrap();
    assert!((batch.doubling() - 84.478).abs() <= 0.5e-3, "{}", batch.doubling());
    assert_eq!([1, 101, 251, 500].map(|k| batch.cases(k)), [1000, 2271, 7777, 60_000]);
    assert_eq!((batch.cases(0), batch.cases(u64::MAX)), (1000, 60_000));
}

#[test]
fn a_polynomial_average_has_weights_that_grow_like_a_power() {
    // ζ = 1: weights proportional to k; ζ = 2: to k (k + 1)/2
    let weights: [fn(f64) -> f64; 3] = [|_| 1.0, |k| k, |k| k * (k + 1.0)];
    for (power, weight) in weights.into_iter().enumerate() {
        let mut average = PolynomialAverage::<f64>::new(power as u32).unwrap();
        assert_eq!(average.get(), None);
        let (mut sum, mut total) = (0.0, 0.0);
        for k in 1..=40 {
            let theta = (k as f64).sin() + 3.0;
            average.update(&[theta]);
            sum += weight(k as f64) * theta;
            total += weight(k as f64);
            close(average.get().unwrap()[0], sum / total, 200);
        }
    }
    assert!(PolynomialAverage::<f64>::new(1001).is_err());
}

#[test]
fn clipping_bounds_the_curvature_norm_and_keeps_the_direction() {
    let ctx = Ctx::<f64>::reference();
    let matrix: Mat<f64> = gallery::spd(6, 100.0, 3);
    let curvature = Dense::new(matrix).unwrap();
    let form = |v: &[f64]| {
        let mut q = [0.0];
        curvature.quadratic_form(&ctx, MatRef::from_column(v), &mut q).unwrap();
        q[0]
    };
    let v: Vec<f64> = gallery::uniform::<f64>(6, 1, 4).into_vec();
    let q = form(&v);
    for limit in [1e-6 * q, 0.5 * q, 2.0 * q] {
        let (clip, mut clipped) = (CurvatureClip::new(limit).unwrap(), v.clone());
        let factor = clip.apply(&ctx, &curvature, &mut clipped).unwrap();
        close(factor, (limit / q).sqrt().min(1.0), 50);
        close(form(&clipped), limit.min(q), 100);
        clipped.iter().zip(&v).for_each(|(c, v)| close(*c, factor * v, 4));
    }
    let clip = CurvatureClip::new(1.0).unwrap();
    assert_eq!([-1.0, 0.0, 1.0].map(|q| clip.factor(q).unwrap()), [1.0; 3]);
    assert!(matches!(clip.factor(f64::NAN), Err(Error::NotFinite { .. })));
    let mut broken = vec![f64::INFINITY; 6];
    assert!(clip.apply(&ctx, &curvature, &mut broken).is_err());
}

#[test]
fn numbers_outside_their_domains_are_refused() {
    let refused = |start, decline| matches!(Schedule::new(start, decline), Err(Error::InvalidParameter { .. }));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(bad, Decline::Constant));
        assert!(refused(1.0, Decline::Step { factor: bad, every: 1 }));
        assert!(refused(1.0, Decline::Exponential { factor: bad }));
        assert!(refused(1.0, Decline::Cosine { end: bad, steps: 1 }));
        assert!(bad == 0.0 || refused(1.0, Decline::Inverse { rate: bad }));
        assert!(CurvatureClip::new(bad).is_err());
    }
    assert!(refused(1.0, Decline::Step { factor: 0.5, every: 0 }));
    assert!(refused(1.0, Decline::Cosine { end: 0.5, steps: 0 }));
    for (first, all, steps) in [(0, 5, 10), (6, 5, 10), (1, 5, 1)] {
        assert!(matches!(GrowingBatch::new(first, all, steps), Err(Error::InvalidParameter { .. })));
    }
}
