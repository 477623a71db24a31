//! Conjugate gradient, MINRES and LSQR allocate nothing after a first call.

mod cg_support;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use cg_support::*;
use counting_allocator::{CountingAllocator, allocations};
use pullback::curvature::{Curvature, DampedSolver, Damping, Definiteness, MatrixFree};
use pullback::krylov::{
    CgOptions, CgReport, KeepIterates, LsmrOptions, MinresOptions, StallRule, lsqr, minres, pcg_into,
};
use pullback::linop::{DenseOperator, Identity};
use pullback::{Ctx, Mat, Preconditioner, Scalar};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn allocations_of(work: impl FnOnce()) -> usize {
    let before = allocations();
    work();
    allocations() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
    assert_eq!(allocations_of(|| ()), 0);
}

fn second_call_allocates_nothing<T: Scalar>(ctx: &Ctx<T>, a: &Mat<f64>, m_inv: Option<&dyn Preconditioner<T>>) {
    let n = a.nrows();
    let a = operator::<T>(a);
    let b: Mat<T> = random(n, 3, 1).cast();
    let plain = CgOptions { stall: Some(StallRule::default()), ..CgOptions::from_zero() };
    let everything = CgOptions { keep: KeepIterates::martens(), coefficients: true, ..plain };
    for options in [plain, everything] {
        second_call_with(ctx, &a, m_inv, &b, &options);
    }
}

fn second_call_with<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn pullback::SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &Mat<T>,
    options: &CgOptions<T>,
) {
    let mut x = Mat::zeros(b.nrows(), 3);
    let mut report = CgReport::default();
    let mut stops = Vec::with_capacity(2);
    let mut solve = |x: &mut Mat<T>| {
        pcg_into(ctx, a, m_inv, b.as_ref(), x.as_mut(), options, &mut report).unwrap();
        stops.push((report.stop(), report.iterations()));
    };
    assert!(allocations_of(|| solve(&mut x)) > 0, "the first call fills the report");
    assert_eq!(allocations_of(|| solve(&mut x)), 0, "{}", ctx.backend().name());
    assert_eq!(stops[0], stops[1]);
}

#[test]
fn a_second_call_allocates_nothing() {
    let n = 40;
    let definite = with_spectrum(&graded(n, 20.0), 2);
    let mut spectrum = graded(n, 20.0);
    spectrum[3] = -2.0;
    let indefinite = with_spectrum(&spectrum, 2); // directions are reported
    for a in [&definite, &indefinite] {
        // a backend's own kernels may allocate: the oracle's do not
        second_call_allocates_nothing::<f32>(&Ctx::reference(), a, None);
        second_call_allocates_nothing::<f64>(&Ctx::reference(), a, None);
        second_call_allocates_nothing::<f64>(&Ctx::reference(), a, Some(&Identity::new(n)));
    }
}

#[test]
fn a_second_matrix_free_solve_allocates_nothing() {
    let ctx = Ctx::<f64>::reference();
    let a = operator(&with_spectrum(&graded(40, 20.0), 3));
    let curvature = MatrixFree::new(&a, Definiteness::PositiveSemidefinite);
    let solver = curvature.damped(&ctx, Damping::new(0.5).unwrap()).unwrap();
    let (b, mut x) = (random(40, 2, 4), Mat::zeros(40, 2));
    let mut solve = || {
        solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    };
    assert!(allocations_of(&mut solve) > 0);
    assert_eq!(allocations_of(&mut solve), 0);
}

#[test]
fn second_calls_of_minres_and_lsqr_allocate_nothing() {
    let (n, ctx) = (40, Ctx::<f64>::reference());
    let a = operator(&with_spectrum(&graded(n, 20.0), 5));
    let (b, mut x, identity) = (random(n, 1, 6), vec![0.0; n], Identity::new(n));
    for m_inv in [None, Some(&identity as &dyn Preconditioner<f64>)] {
        let mut solve = || minres(&ctx, &a, m_inv, b.as_slice(), &mut x, &MinresOptions::default()).unwrap().iterations;
        let first = solve();
        assert_eq!(allocations_of(|| assert_eq!(solve(), first)), 0);
        assert!(first > 5);
    }
    let tall = DenseOperator::new(random(n, 20, 7));
    let mut solve = || lsqr(&ctx, &tall, b.as_slice(), &mut x[..20], &LsmrOptions::default()).unwrap().iterations;
    let first = solve();
    assert_eq!(allocations_of(|| assert_eq!(solve(), first)), 0);
    assert!(first > 5);
}
