//! The K-FAC preconditioner used alone, as a foreign framework would: activations, output gradients, a gradient matrix.

use pullback::curvature::{Kronecker, KroneckerDamping, PiRule};
use pullback::optim::{CaptureSink, KfacPreconditioner, ParamLayout, PreconditionerOptions};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, Mat, MatMut, MatRef, Scalar};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;

const SHAPES: [(usize, usize); 3] = [(5, 4), (1, 6), (33, 6)];

fn random<T: Scalar>(rng: &mut impl Rng, m: usize, n: usize) -> Mat<T> {
    Mat::from_fn(m, n, |_, _| T::of(rng.random_range(-1.0..1.0)))
}

fn options<T: Scalar>(damping: KroneckerDamping<T>) -> PreconditionerOptions<T> {
    PreconditionerOptions { damping, tolerated_failures: 2, ..PreconditionerOptions::default() }
}

fn both<T: Scalar>() -> [KroneckerDamping<T>; 2] {
    [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }]
}

fn feed<T: Scalar>(ctx: &Ctx<T>, kfac: &mut KfacPreconditioner<T>, rng: &mut impl Rng) {
    const CASES: usize = 50;
    kfac.begin_update();
    for (layer, (rows, cols)) in SHAPES.into_iter().enumerate() {
        let weight = T::of(1.0 / CASES as f64);
        kfac.activations(ctx, layer, random(rng, cols, CASES).as_ref(), weight).unwrap();
        kfac.gradients(ctx, layer, random(rng, rows, CASES).as_ref(), weight).unwrap();
    }
}

/// Every block solved through the snapshot's own damped solver.
fn block_by_block<T: Scalar>(
    ctx: &Ctx<T>,
    kfac: &KfacPreconditioner<T>,
    damping: KroneckerDamping<T>,
    lambda: f64,
    gradient: &[T],
) -> Vec<T> {
    let layout = ParamLayout::new(SHAPES);
    let mut expected = vec![T::ZERO; layout.len()];
    for (layer, block) in layout.blocks().iter().enumerate() {
        let snapshot: Kronecker<T> = kfac.factors(layer).unwrap().snapshot(damping).unwrap().unwrap();
        let solver = snapshot.damped(ctx, Damping::try_from(lambda).unwrap()).unwrap();
        let b = MatRef::from_column(&gradient[block.range()]);
        solver.solve(ctx, b, MatMut::from_column(&mut expected[block.range()])).unwrap();
    }
    expected
}

fn agrees<T: Scalar>() {
    for ctx in contexts::<T>() {
        for threads in [1, 2] {
            let ctx = ctx.with_threads(threads);
            for damping in both() {
                let mut rng = Pcg64::seed_from_u64(3);
                let layout = ParamLayout::new(SHAPES);
                let mut kfac = KfacPreconditioner::new(&layout, options(damping)).unwrap();
                (0..3).for_each(|_| feed(&ctx, &mut kfac, &mut rng));
                let gradient = random::<T>(&mut rng, layout.len(), 1);
                let mut out = vec![T::ZERO; layout.len()];
                for lambda in [1e-2, 1.0, 1e-2] {
                    let report = kfac.refresh(&ctx, Damping::try_from(lambda).unwrap()).unwrap();
                    assert_eq!((report.refreshed, report.failed.len()), (3, 0));
                    kfac.precondition(&ctx, gradient.as_slice(), &mut out).unwrap();
                    let expected = block_by_block(&ctx, &kfac, damping, lambda, gradient.as_slice());
                    // eigenvalues of the blocks are below 2, so the condition is below 2/λ
                    let error = relative_error(MatRef::from_column(&out), MatRef::from_column(&expected));
                    assert!(error <= tolerance::<T>(33, 2.0 / lambda), "{error:e} {damping:?} {lambda}");
                }
            }
        }
    }
}

#[test]
fn preconditioning_is_the_damped_solve_of_every_snapshot() {
    agrees::<f32>();
    agrees::<f64>();
}

#[test]
fn a_new_lambda_gives_another_answer() {
    // the control of the test above: an inverse that kept a stale λ would pass a comparison with itself
    for damping in both::<f64>() {
        let ctx = Ctx::reference();
        let mut rng = Pcg64::seed_from_u64(3);
        let layout = ParamLayout::new(SHAPES);
        let mut kfac = KfacPreconditioner::new(&layout, options(damping)).unwrap();
        feed(&ctx, &mut kfac, &mut rng);
        let gradient = random::<f64>(&mut rng, layout.len(), 1);
        let mut outs = [1e-2, 1.0].map(|lambda| {
            kfac.refresh(&ctx, Damping::try_from(lambda).unwrap()).unwrap();
            let mut out = vec![0.0; layout.len()];
            kfac.precondition(&ctx, gradient.as_slice(), &mut out).unwrap();
            out
        });
        let [small, large] = &mut outs;
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(norm(small) > 2.0 * norm(large));
    }
}

#[test]
fn a_failed_refresh_keeps_the_old_inverse_and_becomes_an_error_after_three_in_a_row() {
    let ctx = Ctx::<f64>::default();
    let mut rng = Pcg64::seed_from_u64(4);
    let layout = ParamLayout::new(SHAPES);
    for damping in both() {
        let mut kfac = KfacPreconditioner::new(&layout, options(damping)).unwrap();
        let lambda = Damping::try_from(0.1).unwrap();
        feed(&ctx, &mut kfac, &mut rng);
        kfac.refresh(&ctx, lambda).unwrap();
        let gradient = random::<f64>(&mut rng, layout.len(), 1);
        let (mut before, mut after) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
        kfac.precondition(&ctx, gradient.as_slice(), &mut before).unwrap();

        // layer 1's statistics are poisoned
        kfac.begin_update();
        kfac.gradients(&ctx, 1, Mat::from_vec(vec![f64::NAN], 1, 1).unwrap().as_ref(), 1.0).unwrap();
        for _ in 0..2 {
            let report = kfac.refresh(&ctx, lambda).unwrap();
            assert_eq!(report.refreshed, 2);
            assert!(matches!(report.failed[..], [(1, Error::NotFinite { .. })]), "{:?}", report.failed);
            kfac.precondition(&ctx, gradient.as_slice(), &mut after).unwrap();
            let block = layout.blocks()[1].range();
            assert_eq!(before[block.clone()], after[block]);
        }
        let error = kfac.refresh(&ctx, lambda).unwrap_err();
        assert!(matches!(error, Error::RepeatedFailure { failures: 3, .. }), "{error:?}");
        // still usable: the caller may raise the damping or stop
        kfac.precondition(&ctx, gradient.as_slice(), &mut after).unwrap();
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::reference();
    let layout = ParamLayout::new(SHAPES);
    let mut kfac = KfacPreconditioner::new(&layout, options(KroneckerDamping::Exact)).unwrap();
    let lambda = Damping::try_from(0.1).unwrap();
    let mut out = vec![0.0; layout.len()];
    assert!(matches!(kfac.refresh(&ctx, lambda), Err(Error::InvalidParameter { name: "refresh", .. })));
    let unready = kfac.precondition(&ctx, &vec![1.0; layout.len()], &mut out);
    assert!(matches!(unready, Err(Error::InvalidParameter { name: "precondition", .. })));
    assert!(matches!(kfac.precondition(&ctx, &[1.0], &mut out), Err(Error::Shape { .. })));
    kfac.begin_update();
    let wrong = Mat::zeros(3, 2);
    assert!(matches!(kfac.activations(&ctx, 0, wrong.as_ref(), 1.0), Err(Error::Shape { .. })));
    assert!(matches!(kfac.activations(&ctx, 9, wrong.as_ref(), 1.0), Err(Error::InvalidParameter { .. })));
}
