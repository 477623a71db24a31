//! Claim: after a warm-up call the passes of the MLP harness allocate nothing on one thread, nor do steps of SGD, Adam and
//! K-FAC, those with a refresh included.
//!
//! The reference and faer backends are counted through the global allocator; a native BLAS allocates on its own side.
//! On more threads a fork allocates its tasks, and `Ctx::for_each` a list of them: on one thread neither is there.
#![cfg(feature = "nn")]

#[path = "common/counting_allocator.rs"]
mod counting_allocator;
mod nn_fixture;

use counting_allocator::{CountingAllocator, allocations};
use nn_fixture::{LOSSES, Random, case};
use pullback::curvature::KroneckerDamping;
use pullback::nn::{Activation, Batch, GgnOperator, HessianOperator, Loss, Mlp, Reduction};
use pullback::optim::{
    Adam, CaptureSink, FisherKind, Kfac, KfacOptions, LayeredObjective, MomentumKind, Objective, Optimizer, Sgd,
};
use pullback::testing::contexts;
use pullback::{Ctx, LinearOperator, Mat, MatMut, MatRef, Result, Scalar};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// What the second of two equal calls allocates.
fn warm(mut work: impl FnMut()) -> usize {
    work();
    let before = allocations();
    work();
    allocations() - before
}

/// Takes everything and keeps nothing.
struct Null;

impl<T: Scalar> CaptureSink<T> for Null {
    fn activations(&mut self, _: &Ctx<T>, _: usize, _: MatRef<'_, T>, _: T) -> Result<()> {
        Ok(())
    }
    fn gradients(&mut self, _: &Ctx<T>, _: usize, _: MatRef<'_, T>, _: T) -> Result<()> {
        Ok(())
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(warm(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
    assert_eq!(warm(|| ()), 0);
}

#[test]
fn every_pass_allocates_nothing_once_warm() {
    fn check<T: Scalar>() {
        for loss in LOSSES {
            for ctx in contexts::<T>() {
                let c = case::<T>(
                    &[9, 17, 5, 8],
                    Activation::Tanh,
                    Activation::Softplus,
                    loss,
                    Reduction::Mean,
                    0.1,
                    33,
                    61,
                );
                let (net, theta, batch) = (&c.net, &c.theta[..], &c.batch);
                let mut random = Random::new(62);
                let (v, mut out) = (random.vector::<T>(theta.len(), 1.0), vec![T::ZERO; theta.len()]);
                let (mut z, mut gram) = (Mat::zeros(8, 33), Mat::zeros(2, 2));
                let mut ws = net.workspace();
                let none = |pass: &str, calls: usize| {
                    assert_eq!(calls, 0, "{} {loss:?} {}: {pass} allocates", T::NAME, ctx.backend().name());
                };
                none("loss", warm(|| _ = net.loss(&ctx, theta, batch).unwrap()));
                none("loss_grad", warm(|| _ = net.loss_grad(&ctx, theta, batch, &mut out).unwrap()));
                none("forward", warm(|| _ = net.forward(&ctx, theta, batch, &mut ws).unwrap()));
                none("backward", warm(|| net.backward(&ctx, theta, batch, &mut ws, &mut out).unwrap()));
                none("jvp", warm(|| net.jvp(&ctx, theta, batch, &ws, &v, z.as_mut()).unwrap()));
                none("vjp", warm(|| net.vjp(&ctx, theta, batch, &ws, z.as_ref(), &mut out).unwrap()));
                none("ggn_product", warm(|| net.ggn_product(&ctx, theta, batch, &ws, &v, &mut out).unwrap()));
                none("hessian_product", warm(|| net.hessian_product(&ctx, theta, batch, &ws, &v, &mut out).unwrap()));
                none(
                    "ggn_gram",
                    warm(|| net.ggn_gram(&ctx, theta, batch, &mut ws, &[&v, theta], gram.as_mut()).unwrap()),
                );
                for kind in [FisherKind::Exact, FisherKind::MonteCarlo, FisherKind::Empirical] {
                    let capture = || net.capture(&ctx, theta, batch, &mut ws, kind, 20, 1, &mut Null).unwrap();
                    none("capture", warm(capture));
                }
                let ggn = GgnOperator::new(&ctx, net, theta, batch).unwrap();
                let hessian = HessianOperator::new(&ctx, net, theta, batch).unwrap();
                let apply = |a: &dyn LinearOperator<T>, out: &mut [T]| {
                    a.apply(&ctx, MatRef::from_column(&v), MatMut::from_column(out)).unwrap();
                };
                none("GgnOperator", warm(|| apply(&ggn, &mut out)));
                none("HessianOperator", warm(|| apply(&hessian, &mut out)));
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_batch_is_refilled_in_place() {
    let mut random = Random::new(63);
    let (x, t) = (random.matrix::<f32>(6, 40, 1.0), random.matrix::<f32>(2, 40, 1.0));
    let mut batch = Batch::new(x.as_ref(), t.as_ref()).unwrap();
    let some: Vec<usize> = (0..30).rev().collect();
    assert_eq!(warm(|| batch.select(x.as_ref(), Some(t.as_ref()), &some).unwrap()), 0);
    assert_eq!(batch.targets().at(1, 0), t[(1, 29)]);
    assert_eq!(warm(|| batch.refill(x.as_ref(), Some(t.as_ref())).unwrap()), 0);
    assert_eq!(batch.inputs().at(6, 39), 1.0);
    assert_eq!(batch.inputs().at(3, 39), x[(3, 39)]);
}

/// What each of a run's steps allocates after `warm_up` of them, and whether it refreshed the inverses.
fn steps<T: Scalar>(ctx: &Ctx<T>, mut optimizer: impl Optimizer<T, Mlp<T>>, warm_up: usize) -> Vec<(usize, bool)> {
    let c = case::<T>(
        &[10, 20, 1],
        Activation::Tanh,
        Activation::Identity,
        Loss::SquaredError,
        Reduction::Mean,
        1e-3,
        32,
        64,
    );
    let mut theta = c.theta.clone();
    let mut step = || {
        let before = allocations();
        let report = optimizer.step(ctx, &c.net, &mut theta, &c.batch).unwrap();
        (allocations() - before, report.refreshed)
    };
    (0..warm_up).for_each(|_| _ = step());
    // two periods of the defaults
    (0..10).map(|_| step()).collect()
}

#[test]
fn optimizer_steps_allocate_nothing_once_warm() {
    fn check<T: Scalar>() {
        for ctx in contexts::<T>() {
            let name = ctx.backend().name();
            let none = |optimizer: &str, steps: &[(usize, bool)]| {
                assert!(steps.iter().all(|&(count, _)| count == 0), "{optimizer}, {} {name}: {steps:?}", T::NAME);
            };
            let rate = T::of(1e-3);
            for kind in [MomentumKind::HeavyBall, MomentumKind::Nesterov] {
                none("SGD", &steps(&ctx, Sgd::new(rate, T::of(0.9), kind).unwrap(), 1));
            }
            none("Adam", &steps(&ctx, Adam::new(rate).unwrap(), 1));
            let kfac = |options| steps(&ctx, Kfac::new(options).unwrap(), 6);
            let defaults = kfac(KfacOptions::default());
            none("K-FAC", &defaults);
            let refreshes = defaults.iter().filter(|step| step.1).count();
            assert!(0 < refreshes && refreshes < defaults.len(), "steps of both kinds: {defaults:?}");
            // Cholesky factors in place of inverses, for layers that prefer them
            none("K-FAC, a refresh a step", &kfac(KfacOptions { refresh_interval: 1, ..Default::default() }));
            // the textbook eigensolver works on two matrices of its own
            if name != "reference" {
                none(
                    "K-FAC, exact damping",
                    &kfac(KfacOptions { damping: KroneckerDamping::Exact, ..Default::default() }),
                );
            }
        }
    }
    check::<f32>();
    check::<f64>();
}
