//! Accumulated Kronecker factors against the formula of Eq 25 written out.

use pullback::curvature::KroneckerDamping;
use pullback::stats::{Decay, KroneckerFactors};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Error, LinearOperator, Mat, Scalar};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;

fn random<T: Scalar>(rng: &mut impl Rng, m: usize, n: usize) -> Mat<T> {
    Mat::from_fn(m, n, |_, _| T::of(rng.random_range(-1.0..1.0)))
}

/// Σ weight · x xᵀ in f64.
fn outer<T: Scalar>(x: &Mat<T>, weight: f64) -> Mat<f64> {
    Mat::from_fn(x.nrows(), x.nrows(), |i, j| {
        (0..x.ncols()).map(|k| weight * x[(i, k)].f64() * x[(j, k)].f64()).sum::<f64>()
    })
}

fn mix(old: &mut Mat<f64>, epsilon: f64, new: &Mat<f64>) {
    for (old, new) in old.as_mut_slice().iter_mut().zip(new.as_slice()) {
        *old = epsilon * *old + (1.0 - epsilon) * new;
    }
}

fn symmetric<T: Scalar>(lower: pullback::MatRef<'_, T>) -> Mat<T> {
    let mut full = lower.to_owned();
    full.as_mut().mirror_lower();
    full
}

fn follows_the_formula<T: Scalar>() {
    for ctx in contexts::<T>() {
        let mut rng = Pcg64::seed_from_u64(11);
        for (d_in, d_out, cases) in [(1, 1, 1), (3, 2, 5), (33, 17, 8), (65, 130, 70)] {
            let mut factors = KroneckerFactors::<T>::new(d_out, d_in, Decay::new(0.7).unwrap());
            let (mut a, mut s) = (Mat::zeros(d_in, d_in), Mat::zeros(d_out, d_out));
            for k in 1..=6 {
                let epsilon = (1.0 - 1.0 / f64::from(k)).min(0.7);
                let (x, g) = (random::<T>(&mut rng, d_in, cases), random::<T>(&mut rng, d_out, cases));
                let g2 = random::<T>(&mut rng, d_out, cases);
                let weight = 1.0 / cases as f64;
                factors.begin();
                factors.add_activations(&ctx, x.as_ref(), T::of(weight)).unwrap();
                // two calls of one update add up, as the output directions of an exact Fisher do
                factors.add_gradients(&ctx, g.as_ref(), T::of(weight)).unwrap();
                factors.add_gradients(&ctx, g2.as_ref(), T::of(weight)).unwrap();
                mix(&mut a, epsilon, &outer(&x, weight));
                let mut both = outer(&g, weight);
                both.as_mut_slice().iter_mut().zip(outer(&g2, weight).as_slice()).for_each(|(b, o)| *b += o);
                mix(&mut s, epsilon, &both);
                let tol = tolerance::<T>(cases + 8, 1.0);
                assert!(relative_error(symmetric(factors.a()).as_ref(), a.cast().as_ref()) <= tol);
                assert!(relative_error(symmetric(factors.s()).as_ref(), s.cast().as_ref()) <= tol);
            }
            assert_eq!(factors.updates(), 6);
        }
    }
}

#[test]
fn factors_follow_the_moving_average_formula() {
    follows_the_formula::<f32>();
    follows_the_formula::<f64>();
}

#[test]
fn burn_in_is_the_plain_mean() {
    let ctx = pullback::Ctx::<f64>::reference();
    let mut factors = KroneckerFactors::new(1, 1, Decay::new(0.99).unwrap());
    for k in 1..=20 {
        let x = Mat::from_vec(vec![f64::from(k)], 1, 1).unwrap();
        factors.begin();
        factors.add_activations(&ctx, x.as_ref(), 1.0).unwrap();
        factors.add_gradients(&ctx, x.as_ref(), 1.0).unwrap();
        let mean = (1..=k).map(|i| f64::from(i * i)).sum::<f64>() / f64::from(k);
        assert!((factors.a().at(0, 0) - mean).abs() <= tolerance::<f64>(20, 1.0) * mean);
    }
}

#[test]
fn a_snapshot_does_not_follow_later_updates() {
    let ctx = pullback::Ctx::<f64>::reference();
    let mut factors = KroneckerFactors::new(2, 3, Decay::DEFAULT);
    assert!(factors.snapshot(KroneckerDamping::Exact).unwrap().is_none());
    let mut rng = Pcg64::seed_from_u64(5);
    let mut update = |factors: &mut KroneckerFactors<f64>| {
        factors.begin();
        factors.add_activations(&ctx, random(&mut rng, 3, 4).as_ref(), 0.25).unwrap();
        factors.add_gradients(&ctx, random(&mut rng, 2, 4).as_ref(), 0.25).unwrap();
    };
    update(&mut factors);
    let snapshot = factors.snapshot(KroneckerDamping::Exact).unwrap().unwrap();
    let before = snapshot.to_dense(&ctx).unwrap();
    update(&mut factors);
    assert_eq!(snapshot.to_dense(&ctx).unwrap(), before);
    let after = factors.snapshot(KroneckerDamping::Exact).unwrap().unwrap().to_dense(&ctx).unwrap();
    assert_ne!(after, before);
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = pullback::Ctx::<f64>::reference();
    let mut factors = KroneckerFactors::new(2, 3, Decay::DEFAULT);
    let x = Mat::zeros(3, 4);
    assert!(matches!(factors.add_activations(&ctx, x.as_ref(), 0.25), Err(Error::InvalidParameter { .. })));
    factors.begin();
    assert!(matches!(factors.add_gradients(&ctx, x.as_ref(), 0.25), Err(Error::Shape { .. })));
    for epsilon in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(Decay::new(epsilon), Err(Error::InvalidParameter { .. })));
    }
    factors.add_activations(&ctx, Mat::from_fn(3, 1, |_, _| f64::NAN).as_ref(), 1.0).unwrap();
    assert!(matches!(factors.snapshot(KroneckerDamping::Exact), Err(Error::NotFinite { .. })));
}
