//! After one warm-up call, the products, solves and roots of low-rank and sample-space curvature allocate nothing:
//! counted by the global allocator.
#![cfg(feature = "nn")]

#[path = "common/counting_allocator.rs"]
mod counting_allocator;
mod curvature_support;
mod nn_fixture;

use counting_allocator::{CountingAllocator, second_run};
use curvature_support::conformance::damping;
use curvature_support::random;
use nn_fixture::{LOSSES, case};
use pullback::curvature::{
    DenseJacobian, DirectPath, HasInverseSquareRoot, HasSquareRoot, JacobianSource, LowRank, SampleSpace,
    SampleSpaceOptions, SampleSpacePath,
};
use pullback::nn::{Activation, MlpJacobian, Reduction};
use pullback::testing::contexts;
use pullback::{Ctx, Curvature, DampedSolver, HasDiagonal, LinearOperator, Mat, Scalar};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn low_rank<T: Scalar>(ctx: &Ctx<T>) {
    let c = LowRank::scaled_identity(T::ONE, random::<T>(30, 4, 110)).unwrap();
    let solver = c.damped(ctx, damping(0.1)).unwrap();
    let (root, inverse_root) = (c.square_root(ctx).unwrap(), solver.inverse_square_root(ctx).unwrap());
    let (b, z) = (random::<T>(30, 3, 111), random::<T>(34, 3, 112));
    let (mut x, mut forms, mut d) = (Mat::zeros(30, 3), [T::ZERO; 3], vec![T::ZERO; 30]);
    let count = second_run(|| {
        c.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
        c.quadratic_form(ctx, b.as_ref(), &mut forms).unwrap();
        c.diagonal(ctx, &mut d).unwrap();
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        root.apply(ctx, z.as_ref(), x.as_mut()).unwrap();
        inverse_root.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
    });
    assert_eq!(count, 0, "low rank on {} in {}", ctx.backend().name(), T::NAME);
}

fn sample_space<T: Scalar>(name: &str, ctx: &Ctx<T>, j: &impl JacobianSource<T>) {
    let (n, p) = j.shape();
    let c = SampleSpace::new(j);
    let (b, r, mut x) = (random::<T>(p, 2, 113), random::<T>(n, 2, 114), Mat::zeros(p, 2));
    let (mut k, mut d, mut forms) = (Mat::zeros(n, n), vec![T::ZERO; p], [T::ZERO; 2]);
    let count = second_run(|| {
        c.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
        c.quadratic_form(ctx, b.as_ref(), &mut forms).unwrap();
        c.diagonal(ctx, &mut d).unwrap();
        j.kernel_into(ctx, k.as_mut()).unwrap();
    });
    assert_eq!(count, 0, "{name} on {} in {}", ctx.backend().name(), T::NAME);
    for path in [DirectPath::Primal, DirectPath::Kernel] {
        let by_eigen = c.spectrum(ctx, path).unwrap().damped(damping(0.1)).unwrap();
        for solver in [c.direct(ctx, damping(0.1), path).unwrap(), by_eigen] {
            let root = solver.inverse_square_root(ctx).unwrap();
            let count = second_run(|| {
                solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
                solver.solve_residual(ctx, r.as_ref(), x.as_mut()).unwrap();
                root.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
            });
            assert_eq!(count, 0, "{name} by {path:?} on {} in {}", ctx.backend().name(), T::NAME);
        }
    }
    for path in [SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr] {
        let options = SampleSpaceOptions { path, ..SampleSpaceOptions::default() };
        let c = SampleSpace::new(j).with_options(options).unwrap();
        let solver = c.damped(ctx, damping(0.1)).unwrap();
        let count = second_run(|| {
            solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
            solver.solve_residual(ctx, r.as_ref(), x.as_mut()).unwrap();
        });
        assert_eq!(count, 0, "{name} by {path:?} on {} in {}", ctx.backend().name(), T::NAME);
    }
}

fn every_kind<T: Scalar>() {
    // a native BLAS allocates on its own side
    for ctx in contexts::<T>().into_iter().filter(|ctx| ctx.backend().name() != "blas") {
        low_rank(&ctx);
        sample_space("dense J", &ctx, &DenseJacobian::new(random::<T>(9, 20, 115)).unwrap());
        for loss in LOSSES {
            let c = case::<T>(&[3, 5, 2], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, 6, 116);
            let j = MlpJacobian::new(&ctx, &c.net, &c.theta, &c.batch).unwrap();
            sample_space("network", &ctx, &j);
        }
    }
}

#[test]
fn nothing_is_allocated_after_warm_up() {
    let probe = second_run(|| drop(std::hint::black_box(vec![1u8; 64])));
    assert!(probe > 0, "the counter must see an allocation, or the law below says nothing");
    every_kind::<f32>();
    every_kind::<f64>();
}
