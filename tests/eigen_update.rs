//! Tracked eigenbases inside K-FAC and EKFAC: kept bases cost no decomposition, those that are not kept are the full ones to
//! the bit, and the inverse in use is that of the eigenvalues of now.

#[path = "common/counting_backend.rs"]
mod counting_backend;
mod curvature_support;

use counting_backend::Counting;
use curvature_support::*;
use pullback::curvature::{Kronecker, KroneckerDamping, KroneckerInverse, PiRule};
use pullback::factor::{SymEigen, Tracking};
use pullback::kronecker::KroneckerEigen;
use pullback::optim::{
    CaptureSink, EigenUpdate, KfacPreconditioner, LayerStructure, ParamLayout, PreconditionerOptions, TrackedBases,
};
use pullback::stats::{Decay, EigenKroneckerMoments};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, LinearOperator, Mat, Result, Scalar};

const SHAPES: [(usize, usize); 2] = [(5, 7), (3, 6)];
const CASES: usize = 40;

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

fn feed<T: Scalar>(ctx: &Ctx<T>, kfac: &mut KfacPreconditioner<T>, seed: u64) {
    kfac.begin_update();
    for (layer, (rows, columns)) in SHAPES.into_iter().enumerate() {
        let (a, g, weight) = (random(columns, CASES, seed), random(rows, CASES, seed + 50), T::of(1.0 / CASES as f64));
        kfac.activations(ctx, layer, a.as_ref(), weight).unwrap();
        kfac.gradients(ctx, layer, g.as_ref(), weight).unwrap();
        kfac.pairs(ctx, layer, a.as_ref(), g.as_ref(), weight).unwrap();
    }
}

fn preconditioner<T: Scalar>(structure: LayerStructure, eigenbases: EigenUpdate) -> KfacPreconditioner<T> {
    let options =
        PreconditionerOptions { damping: KroneckerDamping::Exact, structure, eigenbases, ..Default::default() };
    KfacPreconditioner::new(&ParamLayout::new(SHAPES), options).unwrap()
}

fn kronecker_tracks_each_factor<T: Scalar>() {
    let (a, b) = (spd::<T>(20, 10.0, 1), spd::<T>(9, 10.0, 2));
    let (new_a, new_b) = (spd::<T>(20, 11.0, 1), spd::<T>(9, 50.0, 3));
    for ctx in contexts::<T>() {
        let old = KroneckerEigen::new(&ctx, a.clone(), b.clone()).unwrap();
        for threads in [1, 2] {
            let ctx = ctx.with_threads(threads);
            let (new, how) = old.track(&ctx, new_a.as_ref(), new_b.as_ref(), 0.2).unwrap();
            assert!(matches!(how, [Tracking::Kept { .. }, Tracking::Decomposed { .. }]), "{how:?}");
            for (new, how, old, matrix) in
                [(new.left(), how[0], old.left(), &new_a), (new.right(), how[1], old.right(), &new_b)]
            {
                // side by side each has one thread
                let (want, same) = old.track(&ctx.with_threads(1), matrix.as_ref(), 0.2).unwrap();
                assert!(same == how && want.values() == new.values());
                assert!(want.vectors().as_slice() == new.vectors().as_slice());
            }
        }
    }
}

#[test]
fn a_kronecker_basis_tracks_each_factor() {
    kronecker_tracks_each_factor::<f32>();
    kronecker_tracks_each_factor::<f64>();
}

fn inverse_is_that_of_the_tracked_matrix<T: Scalar>() {
    let (a, s) = (spd::<T>(7, 10.0, 1), spd::<T>(5, 10.0, 2));
    // most of the old and a little of another: another basis, but not far
    let mixed = |m: &Mat<T>, seed| {
        let other = spd::<T>(m.nrows(), 10.0, seed);
        Mat::from_fn(m.nrows(), m.nrows(), |i, j| T::of(0.9) * m[(i, j)] + T::of(0.1) * other[(i, j)])
    };
    let (new_a, new_s) = (mixed(&a, 3), mixed(&s, 4));
    for ctx in contexts::<T>() {
        let (old_lambda, lambda) = (damping(0.5), damping(0.1));
        let old = KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), KroneckerDamping::Exact, old_lambda).unwrap();
        let (tracked, how) = old.track(&ctx, new_a.as_ref(), new_s.as_ref(), lambda, 0.5).unwrap();
        let [Tracking::Kept { .. }, Tracking::Kept { .. }] = how else { panic!("{how:?}") };
        assert_eq!(tracked.damping(), lambda);
        // Q diag(w) Qᵀ of each factor, damped by the dense path
        let nearly = |m: &Mat<T>, new: &Mat<T>| {
            let eigen = SymEigen::new(&ctx, m.clone()).unwrap();
            eigen.track(&ctx, new.as_ref(), 0.5).unwrap().0.map_to_dense(&ctx, |w| w).unwrap()
        };
        let matrix = Kronecker::new(nearly(&a, &new_a), nearly(&s, &new_s), KroneckerDamping::Exact).unwrap();
        let want = matrix.damped(&ctx, lambda).unwrap().to_dense(&ctx).unwrap().cast();
        let error = distance(&tracked.to_dense(&ctx).unwrap(), &want);
        assert!(error <= tolerance::<T>(35, 10.0) * norm(&want), "{error:e}");
        let (full, _) = old.track(&ctx, new_a.as_ref(), new_s.as_ref(), lambda, 0.0).unwrap();
        let again =
            KroneckerInverse::new(&ctx, new_a.as_ref(), new_s.as_ref(), KroneckerDamping::Exact, lambda).unwrap();
        assert_eq!(full.to_dense(&ctx).unwrap(), again.to_dense(&ctx).unwrap());
        let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
        let factored = KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), factored, lambda).unwrap();
        let refused = factored.track(&ctx, a.as_ref(), s.as_ref(), lambda, 0.5);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "track", .. })));
    }
}

#[test]
fn a_tracked_inverse_is_that_of_the_matrix_in_the_kept_basis() {
    inverse_is_that_of_the_tracked_matrix::<f32>();
    inverse_is_that_of_the_tracked_matrix::<f64>();
}

#[test]
fn moments_in_a_kept_basis_stay_as_they_are() {
    let ctx = Ctx::<f64>::default();
    let mut moments = EigenKroneckerMoments::new(4, 6, Decay::DEFAULT);
    let update = |moments: &mut EigenKroneckerMoments<f64>, seed| {
        let (a, g) = (random(6, CASES, seed), random(4, CASES, seed + 1));
        moments.begin();
        moments.factors_mut().add_activations(&ctx, a.as_ref(), 0.1).unwrap();
        moments.factors_mut().add_gradients(&ctx, g.as_ref(), 0.1).unwrap();
        moments.add_pairs(&ctx, a.as_ref(), g.as_ref(), 0.1).unwrap();
    };
    assert!(moments.track_basis(&ctx, 0.1).is_err(), "no statistics yet");
    update(&mut moments, 1);
    assert_eq!(moments.track_basis(&ctx, 0.1).unwrap(), None, "nothing to keep yet");
    update(&mut moments, 3);
    let before = moments.snapshot().unwrap().unwrap();
    let kept = moments.track_basis(&ctx, f64::INFINITY).unwrap();
    assert!(matches!(kept, Some([Tracking::Kept { .. }, Tracking::Kept { .. }])), "{kept:?}");
    let after = moments.snapshot().unwrap().unwrap();
    assert!(after.basis().shares_with(before.basis()) && after.values() == before.values() && moments.is_paired());
    let mut full = moments.clone();
    let how = moments.track_basis(&ctx, 0.0).unwrap();
    assert!(matches!(how, Some([Tracking::Decomposed { .. }, Tracking::Decomposed { .. }])), "{how:?}");
    full.refresh_basis(&ctx).unwrap();
    let (tracked, full) = (moments.snapshot().unwrap().unwrap(), full.snapshot().unwrap().unwrap());
    assert_eq!(tracked.values(), full.values());
    assert_eq!(tracked.to_dense(&ctx).unwrap(), full.to_dense(&ctx).unwrap());
    let refused = moments.track_basis(&ctx, -1.0);
    assert!(matches!(refused, Err(Error::InvalidParameter { name: "tolerance", .. })));
}

/// New statistics and a refresh, some times; the dense inverses after each.
fn refreshes<T: Scalar>(ctx: &Ctx<T>, kfac: &mut KfacPreconditioner<T>) -> Vec<Mat<T>> {
    let mut inverses = Vec::new();
    for round in 0..4 {
        feed(ctx, kfac, 10 * round);
        let report = kfac.refresh(ctx, damping(0.1 + 0.1 * round as f64)).unwrap();
        assert_eq!((report.refreshed, report.failed.len()), (SHAPES.len(), 0));
        inverses.extend((0..SHAPES.len()).map(|l| kfac.inverse(l).unwrap().to_dense(ctx).unwrap()));
    }
    inverses
}

fn zero_tolerance_is_full<T: Scalar>() {
    for ctx in contexts::<T>() {
        for structure in [LayerStructure::Kronecker, LayerStructure::EigenKronecker] {
            let mut tracked = preconditioner(structure, EigenUpdate::Tracked { tolerance: 0.0 });
            let want = refreshes(&ctx, &mut preconditioner(structure, EigenUpdate::Full));
            assert!(refreshes(&ctx, &mut tracked) == want, "{structure:?} on {}", ctx.backend().name());
            // the first refresh had nothing to follow
            assert_eq!(tracked.tracked_bases(), TrackedBases { kept: 0, decomposed: 3 * 2 * SHAPES.len() as u64 });
        }
    }
}

#[test]
fn tracking_without_tolerance_is_the_full_refresh_bit_for_bit() {
    zero_tolerance_is_full::<f32>();
    zero_tolerance_is_full::<f64>();
}

#[test]
fn kept_bases_cost_no_decomposition_and_are_counted() {
    let counting = Counting::default();
    let ctx = Ctx::new(counting.clone());
    for structure in [LayerStructure::Kronecker, LayerStructure::EigenKronecker] {
        let mut kfac = preconditioner(structure, EigenUpdate::Tracked { tolerance: f64::INFINITY });
        let start = counting.factorizations();
        let inverses = refreshes(&ctx, &mut kfac);
        assert_eq!(counting.factorizations() - start, 2 * SHAPES.len(), "those of the first refresh");
        assert_eq!(kfac.tracked_bases(), TrackedBases { kept: 3 * 2 * SHAPES.len() as u64, decomposed: 0 });
        assert!(inverses[..2] != inverses[6..], "the eigenvalues did follow");
        // only λ is new
        kfac.refresh(&ctx, damping(2.0)).unwrap();
        assert_eq!(kfac.tracked_bases().kept, 3 * 2 * SHAPES.len() as u64);
        assert_eq!(kfac.inverse(0).unwrap().damping(), damping(2.0));
        // poisoned statistics fail as ever, and leave the old inverse
        kfac.begin_update();
        let nan = Mat::from_fn(SHAPES[1].1, CASES, |_, _| f64::NAN);
        kfac.activations(&ctx, 1, nan.as_ref(), 1.0).unwrap();
        kfac.pairs(&ctx, 0, random(7, CASES, 1).as_ref(), random(5, CASES, 2).as_ref(), 1.0).unwrap();
        kfac.pairs(&ctx, 1, random(6, CASES, 1).as_ref(), random(3, CASES, 2).as_ref(), 1.0).unwrap();
        let old = kfac.inverse(1).unwrap().to_dense(&ctx).unwrap();
        let report = kfac.refresh(&ctx, damping(2.0)).unwrap();
        assert!(matches!(report.failed[..], [(1, Error::NotFinite { .. })]), "{:?}", report.failed);
        assert_eq!(kfac.inverse(1).unwrap().to_dense(&ctx).unwrap(), old);
    }
}

#[test]
fn a_tolerance_is_a_number_that_is_not_negative() {
    for tolerance in [-0.1, f64::NAN] {
        let eigenbases = EigenUpdate::Tracked { tolerance };
        let options = PreconditionerOptions::<f64> { eigenbases, ..Default::default() };
        let refused: Result<KfacPreconditioner<f64>> = KfacPreconditioner::new(&ParamLayout::new(SHAPES), options);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "tolerance", .. })));
        let options = pullback::optim::KfacOptions { eigenbases, ..Default::default() };
        let refused = pullback::optim::Kfac::<f64, ()>::new(options);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "tolerance", .. })));
    }
}
