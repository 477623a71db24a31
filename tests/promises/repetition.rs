//! R9: the same bits from run to run. R10: no allocation after a first call.

use pullback::curvature::{
    BlockDiagonal, BlockTridiagonal, Dense, DenseJacobian, Diagonal, DirectPath, DirectSampleSpace, EigenKronecker,
    InMetric, Kronecker, KroneckerDamping, KroneckerN, LowRank, Permuted, PiRule, Restricted, SampleSpace,
    SampleSpaceOptions, SampleSpacePath, ScaledIdentity,
};
use pullback::factor::{Cholesky, SymEigen};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::krylov::{CgOptions, CgReport, pcg, pcg_into};
use pullback::linop::{DiagonalMetric, Scaled, Shifted, SymmetricDense};
use pullback::testing::{gallery, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, LinearOperator, Mat, Op, Scalar, Side};

use super::counting_allocator::allocations;
use super::{damping, place};

const COLUMNS: usize = 3;
/// Of the positive definite matrices below.
const CONDITION: f64 = 20.0;

/// One result of each part of the library, on matrices large enough to be cut into blocks and shared among threads.
fn everything<T: Scalar>(ctx: &Ctx<T>) -> Vec<(&'static str, Mat<T>)> {
    // the textbook loops know neither blocks nor threads
    let n = if ctx.backend().name() == "reference" { 40 } else { 160 };
    let (spd, b) = (gallery::spd::<T>(n, CONDITION, 1), gallery::uniform::<T>(n, COLUMNS, 2));
    let square = gallery::uniform::<T>(n, n, 3);
    let (mut product, mut gram) = (Mat::zeros(n, n), Mat::zeros(n, n));
    ctx.gemm(T::ONE, square.as_ref(), Op::No, spd.as_ref(), Op::No, T::ZERO, product.as_mut()).expect("shapes");
    ctx.syrk(T::ONE, square.as_ref(), Op::No, T::ZERO, gram.as_mut()).expect("shapes");
    let chol = Cholesky::new(ctx, spd.clone()).expect("definite");
    let mut solved = b.clone();
    chol.solve_in_place(ctx, solved.as_mut()).expect("shapes");
    let eigen = SymEigen::new(ctx, spd.clone()).expect("finite");
    let root = eigen.map_to_dense(ctx, T::sqrt).expect("positive");
    let values = Mat::from_vec(eigen.values().to_vec(), n, 1).expect("n values");

    let (a, s) = (gallery::spd::<T>(n / 4, CONDITION, 4), gallery::spd::<T>(8, CONDITION, 5));
    let long = gallery::uniform::<T>(2 * n, COLUMNS, 6);
    let mut damped = [long.clone(), long.clone()];
    for (x, rule) in damped.iter_mut().zip([KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }])
    {
        let c = Kronecker::new(a.clone(), s.clone(), rule).expect("finite");
        c.damped(ctx, damping(0.1)).expect("definite").solve(ctx, long.as_ref(), x.as_mut()).expect("shapes");
    }
    let [exact, factored] = damped;
    let operator = SymmetricDense::new(spd).expect("square");
    let mut iterated = Mat::zeros(n, COLUMNS);
    let options = CgOptions { relative_tolerance: T::ZERO, max_iterations: 6, ..CgOptions::from_zero() };
    pcg(ctx, &operator, None, b.as_ref(), iterated.as_mut(), &options).expect("shapes");
    vec![
        ("product", product),
        ("gram", gram),
        ("Cholesky solve", solved),
        ("inverse", chol.into_inverse(ctx).expect("finite")),
        ("square root", root),
        ("eigenvalues", values),
        ("exact Kronecker solve", exact),
        ("factored Kronecker solve", factored),
        ("conjugate gradient", iterated),
    ]
}

/// Run to run the same bits, for 1 thread and for 2; between them the rounding of another order of sums.
pub fn determinism<T: Scalar>(ctx: &Ctx<T>) {
    let runs = [1, 2].map(|threads| {
        let ctx = ctx.with_threads(threads);
        let first = everything(&ctx);
        for _ in 0..2 {
            for ((name, got), (_, want)) in everything(&ctx).iter().zip(&first) {
                assert!(got == want, "{} with {threads} threads: {name} changed from run to run", place(&ctx));
            }
        }
        // another context, with a fresh pool, is no different
        let fresh = everything(
            &pullback::testing::contexts::<T>()
                .into_iter()
                .find(|other| other.backend().name() == ctx.backend().name())
                .expect("the same backend")
                .with_threads(threads),
        );
        assert!(fresh.iter().zip(&first).all(|((_, a), (_, b))| a == b), "{}: another context", place(&ctx));
        first
    });
    for ((name, one), (_, two)) in runs[0].iter().zip(&runs[1]) {
        let (error, limit) =
            (relative_error(two.as_ref(), one.as_ref()), tolerance::<T>(one.nrows(), CONDITION * CONDITION));
        assert!(error <= limit, "{}: {name} with 2 threads is off by {error:e}, limit {limit:e}", place(ctx));
    }
}

/// Allocations of the second of two runs.
fn second_run(mut work: impl FnMut() -> pullback::Result<()>) -> usize {
    work().expect("first run");
    let before = allocations();
    work().expect("second run");
    allocations() - before
}

fn solves<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, name: &str, c: &C) {
    let solver = c.damped(ctx, damping(0.1)).expect("definite");
    let (b, mut x) = (gallery::uniform::<T>(c.dim(), COLUMNS, 1), Mat::zeros(c.dim(), COLUMNS));
    let mut forms = [T::ZERO; COLUMNS];
    let count = second_run(|| {
        solver.solve(ctx, b.as_ref(), x.as_mut())?;
        c.apply(ctx, b.as_ref(), x.as_mut())?;
        c.apply_add(ctx, T::ONE, b.as_ref(), x.as_mut())?;
        c.quadratic_form(ctx, b.as_ref(), &mut forms)
    });
    assert_eq!(count, 0, "{} {name}", place(ctx));
}

/// With one thread; the eigensolver of the textbook loops works on two matrices of its own.
pub fn no_allocation<T: Scalar>(ctx: &Ctx<T>) {
    let probe = second_run(|| {
        drop(std::hint::black_box(vec![1u8; 64]));
        Ok(())
    });
    assert!(probe > 0, "the counter must see an allocation, or this promise says nothing");
    let n = 40;
    let spd = gallery::spd::<T>(n, CONDITION, 1);
    let chol = Cholesky::new(ctx, spd.clone()).expect("definite");
    let eigen = SymEigen::new(ctx, spd.clone()).expect("finite");
    let (b, mut c) = (gallery::uniform::<T>(n, n, 2), Mat::zeros(n, n));
    let mut w = vec![T::ZERO; n];
    let count = second_run(|| {
        ctx.gemm(T::ONE, spd.as_ref(), Op::No, b.as_ref(), Op::No, T::ZERO, c.as_mut())?;
        ctx.syrk(T::ONE, b.as_ref(), Op::No, T::ZERO, c.as_mut())?;
        ctx.gemv(T::ONE, b.as_ref(), Op::No, spd.as_ref().col(0), T::ZERO, &mut w)?;
        ctx.trsm(Side::Left, chol.l(), Op::No, c.as_mut())?;
        c.as_mut().copy_from(spd.as_ref())?;
        ctx.potrf(c.as_mut())?;
        chol.inverse_into(ctx, c.as_mut())?;
        chol.solve_in_place(ctx, c.as_mut())?;
        eigen.map_apply(ctx, T::sqrt, b.as_ref(), c.as_mut())
    });
    assert_eq!(count, 0, "{} kernels", place(ctx));
    if ctx.backend().name() != "reference" {
        let count = second_run(|| {
            c.as_mut().copy_from(spd.as_ref())?;
            ctx.syevd(c.as_mut(), &mut w)
        });
        assert_eq!(count, 0, "{} syevd", place(ctx));
    }
    let (a, s) = (gallery::spd::<T>(5, CONDITION, 3), gallery::rank_deficient::<T>(8, 3, 4));
    let kronecker = |damping| Kronecker::new(a.clone(), s.clone(), damping).expect("finite");
    let dense = Dense::new(spd.clone()).expect("finite");
    solves(ctx, "diagonal", &Diagonal::new(vec![T::ONE; n]).expect("finite"));
    solves(ctx, "dense", &dense);
    solves(ctx, "exact Kronecker", &kronecker(KroneckerDamping::Exact));
    solves(ctx, "factored Kronecker", &kronecker(KroneckerDamping::Factored { pi: PiRule::Trace }));
    solves(ctx, "blocks", &BlockDiagonal::new(vec![dense.clone(), dense.clone()]));
    structures(ctx, &dense, (&a, &s));
    let operator = SymmetricDense::new(spd).expect("square");
    let mut report = CgReport::default();
    let count =
        second_run(|| pcg_into(ctx, &operator, None, b.as_ref(), c.as_mut(), &CgOptions::from_zero(), &mut report));
    assert_eq!(count, 0, "{} conjugate gradient", place(ctx));
}

/// The kinds that are made of rows, of an eigenbasis, of several factors or of another kind.
fn structures<T: Scalar>(ctx: &Ctx<T>, dense: &Dense<T>, (a, s): (&Mat<T>, &Mat<T>)) {
    let n = LinearOperator::<T>::shape(dense).0;
    solves(ctx, "low rank", &LowRank::scaled_identity(T::ONE, gallery::uniform(n, 4, 6)).expect("finite"));
    let basis = KroneckerEigen::new(ctx, a.clone(), s.clone()).expect("finite");
    solves(ctx, "EKFAC", &EigenKronecker::uncorrected(basis).expect("finite"));
    for damping in [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }] {
        let factors = vec![gallery::spd(2, CONDITION, 7), a.clone(), s.clone()];
        solves(ctx, "three factors", &KroneckerN::new(factors, damping).expect("finite"));
    }
    let pair = |scale: f64| KroneckerProduct::new(a.map(|x| T::of(scale) * x), s.clone()).expect("fits");
    let chain = BlockTridiagonal::new(ctx, vec![pair(1.0); 3], vec![pair(0.25); 2], PiRule::Trace);
    solves(ctx, "block-tridiagonal", &chain.expect("consistent"));
    let j = DenseJacobian::new(gallery::uniform::<T>(9, n, 8)).expect("finite");
    for path in [DirectPath::Primal, DirectPath::Kernel] {
        solves(ctx, "sample space", &DirectSampleSpace::new(&j, path));
    }
    for path in [SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr] {
        let options = SampleSpaceOptions { path, ..SampleSpaceOptions::default() };
        solves(ctx, "sample space, iterative", &SampleSpace::new(&j).with_options(options).expect("valid"));
    }
    solves(ctx, "scaled identity", &ScaledIdentity::new(n, T::ONE).expect("positive"));
    solves(ctx, "scaled", &Scaled::new(dense.clone(), T::of(2.0)));
    solves(ctx, "shifted", &Shifted::new(dense.clone(), T::ONE));
    solves(ctx, "permuted", &Permuted::new(dense.clone(), (0..n).rev().collect()).expect("an order"));
    solves(ctx, "restricted", &Restricted::new(dense.clone(), (1..n / 2).collect()).expect("rows"));
    let ones = DiagonalMetric::new(vec![T::ONE; n]).expect("positive");
    solves(ctx, "metric I", &InMetric::new(ctx, dense.clone(), ones).expect("orders"));
}
