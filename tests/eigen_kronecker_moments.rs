//! The statistics of EKFAC: second moments in a Kronecker eigenbasis follow the moving average written out, are carried over
//! when the basis is refreshed, scale exactly, and refuse what they cannot use.

mod curvature_support;

use curvature_support::*;
use pullback::curvature::{HasTrace, KroneckerDamping};
use pullback::stats::{Decay, EigenKroneckerMoments};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Result, Scalar};

fn follows_the_formula<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (d_in, d_out, cases) = (6, 4, 9);
        let mut moments = EigenKroneckerMoments::<T>::new(d_out, d_in, Decay::new(0.7).unwrap());
        let weight = T::of(1.0 / cases as f64);
        let update = |moments: &mut EigenKroneckerMoments<T>, seed: u64| {
            let (a, g) =
                (random::<T>(d_in, cases, seed), [random::<T>(d_out, cases, seed + 1), random(d_out, cases, seed + 2)]);
            moments.begin();
            moments.factors_mut().add_activations(&ctx, a.as_ref(), weight).unwrap();
            for g in &g {
                moments.factors_mut().add_gradients(&ctx, g.as_ref(), weight).unwrap();
                moments.add_pairs(&ctx, a.as_ref(), g.as_ref(), weight).unwrap();
            }
            (a, g)
        };
        update(&mut moments, 1);
        assert!(moments.snapshot().unwrap().is_none() && moments.updates() == 0, "no basis, nothing gathered");
        moments.refresh_basis(&ctx).unwrap();
        let kfac = moments.factors().snapshot(KroneckerDamping::Exact).unwrap().unwrap();
        let start = moments.snapshot().unwrap().unwrap();
        let limit = tolerance::<T>(d_in * d_out, 1.0);
        let dense: Mat<f64> = kfac.to_dense(&ctx).unwrap().cast();
        assert!(distance(&start.to_dense(&ctx).unwrap(), &dense) <= limit * norm(&dense), "it starts as A ⊗ S");
        let basis = moments.basis().unwrap().clone();
        let (u, v) =
            (basis.left().vectors().to_owned().cast::<f64>(), basis.right().vectors().to_owned().cast::<f64>());
        let mut want = Mat::<f64>::zeros(d_out, d_in);
        for k in 1..=6 {
            let (a, g) = update(&mut moments, 10 * k as u64);
            let epsilon = (1.0 - 1.0 / f64::from(k)).min(0.7);
            let a = times(&u.transposed(), &a.cast());
            let mut batch = Mat::<f64>::zeros(d_out, d_in);
            for g in &g {
                let g = times(&v.transposed(), &g.cast());
                for case in 0..cases {
                    for j in 0..d_in {
                        for i in 0..d_out {
                            batch[(i, j)] += weight.f64() * (g[(i, case)] * a[(j, case)]).powi(2);
                        }
                    }
                }
            }
            want = Mat::from_fn(d_out, d_in, |i, j| epsilon * want[(i, j)] + (1.0 - epsilon) * batch[(i, j)]);
            let values = moments.snapshot().unwrap().unwrap();
            let error = distance(values.values(), &want);
            assert!(error <= limit * norm(&want), "update {k}: {error:e}");
            assert!(moments.updates() == k as u64 && moments.is_paired());
        }
        // a refresh: a new basis, the same operator up to what the basis cannot hold, the same trace
        let before = moments.snapshot().unwrap().unwrap();
        moments.refresh_basis(&ctx).unwrap();
        let after = moments.snapshot().unwrap().unwrap();
        assert!(!after.basis().shares_with(before.basis()));
        let carried = before.rebased(&ctx, after.basis()).unwrap();
        assert_eq!(after.values(), carried.values());
        assert!(distance(after.values(), &before.values().cast()) > 0.01 * norm(&want), "the basis did move");
        assert!((after.trace(&ctx).unwrap() - before.trace(&ctx).unwrap()).f64().abs() <= limit * norm(&want) * 5.0);
        // and another refresh from the same statistics changes nothing but rounding
        moments.refresh_basis(&ctx).unwrap();
        let again = moments.snapshot().unwrap().unwrap();
        assert!(distance(again.values(), &after.values().cast()) <= limit * norm(&want));
    }
}

#[test]
fn moments_follow_the_moving_average_and_are_carried_over() {
    follows_the_formula::<f32>();
    follows_the_formula::<f64>();
}

#[test]
fn moments_scale_with_powers_of_two_to_the_bit() {
    let ctx = Ctx::<f64>::reference();
    let gather = |scale: f64| {
        let (a, g) = (random::<f64>(5, 8, 3).map(|x| scale * x), random::<f64>(3, 8, 4));
        let mut moments = EigenKroneckerMoments::new(3, 5, Decay::DEFAULT);
        for _ in 0..2 {
            moments.begin();
            moments.factors_mut().add_activations(&ctx, a.as_ref(), 0.125).unwrap();
            moments.factors_mut().add_gradients(&ctx, g.as_ref(), 0.125).unwrap();
            moments.add_pairs(&ctx, a.as_ref(), g.as_ref(), 0.125).unwrap();
            moments.refresh_basis(&ctx).unwrap();
        }
        moments.snapshot().unwrap().unwrap().values().clone()
    };
    let unit = gather(1.0);
    for e in [-40, 3, 60] {
        assert_eq!(gather(2f64.powi(e)), unit.map(|x| x * 4f64.powi(e)), "scale 2^{e}");
    }
}

#[test]
fn moments_refuse_what_they_cannot_use() {
    let ctx = Ctx::<f64>::reference();
    let mut moments = EigenKroneckerMoments::new(2, 3, Decay::DEFAULT);
    let (a, g) = (random::<f64>(3, 4, 1), random::<f64>(2, 4, 2));
    let invalid = |r: Result<()>| assert!(matches!(r, Err(Error::InvalidParameter { .. })), "{r:?}");
    invalid(moments.refresh_basis(&ctx));
    invalid(moments.add_pairs(&ctx, a.as_ref(), g.as_ref(), 1.0));
    moments.begin();
    assert!(matches!(moments.add_pairs(&ctx, g.as_ref(), g.as_ref(), 1.0), Err(Error::Shape { .. })));
    assert!(matches!(moments.add_pairs(&ctx, a.as_ref(), a.as_ref(), 1.0), Err(Error::Shape { .. })));
    moments.factors_mut().add_activations(&ctx, a.as_ref(), 1.0).unwrap();
    moments.factors_mut().add_gradients(&ctx, g.as_ref(), 1.0).unwrap();
    moments.refresh_basis(&ctx).unwrap();
    assert!(moments.is_paired());
    moments.begin();
    assert!(!moments.is_paired(), "an update without pairs is noticed");
    let nan = Mat::from_fn(3, 4, |_, _| f64::NAN);
    moments.add_pairs(&ctx, nan.as_ref(), g.as_ref(), 1.0).unwrap();
    assert!(matches!(moments.snapshot(), Err(Error::NotFinite { .. })));
    // a refresh from poisoned statistics fails and leaves the basis
    let basis = moments.basis().unwrap().clone();
    assert!(moments.refresh_basis(&ctx).is_err());
    assert!(moments.basis().unwrap().shares_with(&basis));
}
