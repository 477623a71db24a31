//! After one warm-up call, applying, solving and preconditioning allocate nothing: counted by the global allocator.
//!
//! One test in a file of its own, since a global allocator belongs to the whole program; the counter is per thread.

#[path = "common/counting_allocator.rs"]
mod counting_allocator;
mod curvature_support;

use counting_allocator::{CountingAllocator, second_run};
use curvature_support::conformance::damping;
use curvature_support::{low_rank, random, spd};
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, BlockTridiagonal, Dense, Diagonal, EigenKronecker, Kronecker, KroneckerDamping,
    KroneckerN, Permuted, PiRule, Restricted, ScaledIdentity,
};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::linop::{Scaled, Shifted};
use pullback::{Ctx, Curvature, DampedInverse, DampedSolver, HasDiagonal, LinearOperator, Mat, Scalar};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn quiet<T: Scalar, C>(name: &str, ctx: &Ctx<T>, c: &C)
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    let (n, columns) = (c.dim(), 3);
    let solver = c.damped(ctx, damping(0.1)).unwrap();
    let (b, mut x, mut forms) = (random::<T>(n, columns, 1), Mat::zeros(n, columns), vec![T::ZERO; columns]);
    let count = second_run(|| {
        c.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
        c.apply_add(ctx, T::ONE, b.as_ref(), x.as_mut()).unwrap();
        c.quadratic_form(ctx, b.as_ref(), &mut forms).unwrap();
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        solver.precondition(ctx, b.as_ref(), x.as_mut()).unwrap();
        solver.apply(ctx, b.as_ref(), x.as_mut()).unwrap();
        let column = b.as_ref().submatrix(0, 0, n, 1).unwrap();
        solver.solve(ctx, column, x.as_mut().submatrix(0, 1, n, 1).unwrap()).unwrap();
    });
    assert_eq!(count, 0, "{name} on {} in {}", ctx.backend().name(), T::NAME);
}

fn every_kind<T: Scalar>(ctx: &Ctx<T>) {
    let (a, s) = (spd::<T>(9, 10.0, 2), low_rank::<T>(5, 2, 3));
    let kron = |damping| Kronecker::new(a.clone(), s.clone(), damping).unwrap();
    let split = KroneckerDamping::Factored { pi: PiRule::Trace };
    let dense = || Dense::new(spd::<T>(20, 10.0, 4)).unwrap();
    let diagonal = Diagonal::new(vec![T::ONE; 40]).unwrap();
    quiet("diagonal", ctx, &diagonal);
    quiet("dense", ctx, &dense());
    quiet("exact Kronecker", ctx, &kron(KroneckerDamping::Exact));
    quiet("factored Kronecker", ctx, &kron(split));
    let basis = KroneckerEigen::new(ctx, a.clone(), s.clone()).unwrap();
    quiet("EKFAC", ctx, &EigenKronecker::uncorrected(basis).unwrap());
    for damping in [KroneckerDamping::Exact, split] {
        quiet("three factors", ctx, &KroneckerN::new(vec![spd(2, 10.0, 5), a.clone(), s.clone()], damping).unwrap());
    }
    quiet("blocks", ctx, &BlockDiagonal::new(vec![kron(split), kron(KroneckerDamping::Exact)]));
    let mixed = vec![AnyCurvature::new(dense()), AnyCurvature::new(kron(KroneckerDamping::Exact))];
    quiet("mixed blocks", ctx, &BlockDiagonal::new(mixed));

    let joined = |m: &Mat<T>, n: &Mat<T>| KroneckerProduct::new(m.clone(), n.clone()).unwrap();
    let (chain, links) = (vec![joined(&a, &s); 3], vec![joined(&a.map(|x| T::of(0.5) * x), &s); 2]);
    quiet("block-tridiagonal", ctx, &BlockTridiagonal::new(ctx, chain, links, PiRule::Trace).unwrap());
    quiet("scaled identity", ctx, &ScaledIdentity::new(7, T::ONE).unwrap());
    quiet("scaled", ctx, &Scaled::new(kron(split), T::of(2.0)));
    quiet("shifted", ctx, &Shifted::new(dense(), T::ONE));
    quiet("permuted", ctx, &Permuted::new(kron(split), (0..45).rev().collect()).unwrap());
    quiet("restricted", ctx, &Restricted::new(kron(split), (3..30).rev().collect()).unwrap());

    let mut d = vec![T::ZERO; 45];
    let c = kron(KroneckerDamping::Exact);
    assert_eq!(second_run(|| c.diagonal(ctx, &mut d).unwrap()), 0);
    for c in [kron(KroneckerDamping::Exact), kron(split)] {
        let inverse = c.damped(ctx, damping(0.1)).unwrap();
        let (v, mut out) = (random::<T>(5, 9, 5), Mat::zeros(5, 9));
        let count = second_run(|| {
            inverse.precondition_matrix(ctx, v.as_ref(), out.as_mut()).unwrap();
            inverse.precondition_in_place(ctx, out.as_mut()).unwrap();
            inverse.redamp(damping(0.5)).map(drop).unwrap_or_default();
        });
        // the refusal of a factored inverse formats its reason
        let refusals = usize::from(inverse.pi().is_some());
        assert!(count <= refusals, "{count} on {}", ctx.backend().name());
    }
}

#[test]
fn nothing_is_allocated_after_warm_up() {
    let probe = second_run(|| drop(std::hint::black_box(vec![1u8; 64])));
    assert!(probe > 0, "the counter must see an allocation, or the law below says nothing");
    for ctx in pullback::testing::contexts::<f32>() {
        every_kind(&ctx);
    }
    for ctx in pullback::testing::contexts::<f64>() {
        every_kind(&ctx);
    }
}
