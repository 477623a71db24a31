//! Sweeps over many λ against separate solves and the dense matrix; multi-shift conjugate gradient by its own laws.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use std::sync::atomic::{AtomicUsize, Ordering};

use curvature_support::conformance::damping;
use curvature_support::*;
use pullback::curvature::{
    BlockDiagonal, DampingSweep, Definiteness, Dense, DenseJacobian, Diagonal, DirectPath, DirectSampleSpace,
    EigenKronecker, HasDampingSweep, Kronecker, KroneckerDamping, KroneckerN, MatrixFree, PiRule, SampleSpace,
    ScaledIdentity, SolveReport,
};
use pullback::kronecker::KroneckerEigen;
use pullback::krylov::{CgOptions, CgStop, MultiShiftReport, StallRule, multi_shift_cg, pcg};
use pullback::linop::{Shifted, SymmetricDense};
use pullback::testing::{contexts, tolerance};
use pullback::{
    Ctx, Curvature, DampedSolver, Damping, Error, LinearOperator, Mat, MatMut, MatRef, Result, Scalar, SelfAdjoint,
};

const LAMBDAS: [f64; 6] = [0.5, 1e-2, 3.0, 1e4, 0.5, 40.0];

fn lambdas<T: Scalar>() -> Vec<Damping<T>> {
    LAMBDAS.iter().map(|&lambda| damping(lambda)).collect()
}

fn swept<T: Scalar, C: HasDampingSweep<T>>(ctx: &Ctx<T>, c: &C, b: &Mat<T>) -> (Vec<SolveReport>, Vec<Mat<T>>) {
    let mut x = vec![Mat::from_fn(b.nrows(), b.ncols(), |_, _| T::nan()); LAMBDAS.len()];
    let sweep = c.sweep(ctx).unwrap();
    assert_eq!(sweep.dim(), b.nrows());
    let reports = sweep.solve_sweep(ctx, b.as_ref(), &lambdas(), &mut x).unwrap();
    assert_eq!(reports.len(), LAMBDAS.len());
    (reports, x)
}

/// A sweep is as many separate solves; `size` is the norm of C.
fn equals_separate_solves<T: Scalar, C: HasDampingSweep<T>>(place: &str, c: &C, size: f64) {
    let b = random::<T>(c.dim(), 3, 1);
    for ctx in contexts::<T>() {
        let (reports, x) = swept(&ctx, c, &b);
        for ((lambda, x), report) in lambdas::<T>().into_iter().zip(&x).zip(&reports) {
            let mut want = Mat::zeros(b.nrows(), 3);
            c.damped(&ctx, lambda).unwrap().solve(&ctx, b.as_ref(), want.as_mut()).unwrap();
            // factored damping adds up to as much again on either side
            let kappa = 1.0 + size / lambda.get().f64() + 2.0 * (size / lambda.get().f64()).sqrt();
            let error = distance(x, &want.cast());
            let limit = tolerance::<T>(b.nrows(), kappa) * norm(&want);
            let place = format!("{place}, lambda {:e} on {} in {}", lambda.get(), ctx.backend().name(), T::NAME);
            assert!(error <= limit, "{place}: {error:e} above {limit:e}");
            assert_eq!(*report, SolveReport::Direct, "{place}");
        }
    }
}

fn direct_kinds<T: Scalar>() {
    for n in [0, 1, 2, 31, 33] {
        for (k, m) in [spd::<T>(n, 100.0, 2), low_rank(n, n / 3, 3), Mat::zeros(n, n)].into_iter().enumerate() {
            equals_separate_solves(&format!("dense {k} of order {n}"), &Dense::new(m).unwrap(), 1.0);
        }
        let d = random::<T>(n, 1, 4).map(|x| x.abs());
        equals_separate_solves("diagonal", &Diagonal::new(d.as_slice().to_vec()).unwrap(), 1.0);
    }
    for (d_in, d_out) in [(0, 2), (1, 1), (5, 4), (2, 33)] {
        let full = (spd::<T>(d_in, 10.0, 5), spd::<T>(d_out, 10.0, 6));
        let flat = (low_rank::<T>(d_in, d_in.div_ceil(2), 7), low_rank::<T>(d_out, 1, 8));
        for (a, s) in [full, flat] {
            for rule in [None, Some(PiRule::Trace), Some(PiRule::OperatorNorm), Some(PiRule::Fixed(T::of(2.0)))] {
                let kind = rule.map_or(KroneckerDamping::Exact, |pi| KroneckerDamping::Factored { pi });
                let c = Kronecker::new(a.clone(), s.clone(), kind).unwrap();
                equals_separate_solves(&format!("{kind:?} of {d_in} x {d_out}"), &c, 4.0);
            }
        }
    }
    let block = |seed| Dense::new(spd::<T>(7, 30.0, seed)).unwrap();
    let blocks = BlockDiagonal::new(vec![block(9), block(10)]);
    equals_separate_solves("blocks", &blocks, 1.0);
    equals_separate_solves("nested", &BlockDiagonal::new(vec![blocks.clone(), BlockDiagonal::new(vec![])]), 1.0);
    equals_separate_solves("no blocks", &BlockDiagonal::<T, Dense<T>>::new(vec![]), 1.0);
}

/// Kinds of which no λ asks for a factorization.
fn free_kinds<T: Scalar>() {
    for n in [0, 1, 31, 33] {
        equals_separate_solves("identity", &ScaledIdentity::new(n, T::of(0.75)).unwrap(), 1.0);
        for rows in [1, 5, 40] {
            let j = random::<T>(rows, n, 15);
            let size = norm(&j).powi(2);
            let j = DenseJacobian::new(j).unwrap();
            equals_separate_solves(&format!("{rows} cases, order {n}"), &SampleSpace::new(&j), size);
            for path in [DirectPath::Primal, DirectPath::Kernel] {
                equals_separate_solves(&format!("{path:?}, order {n}"), &DirectSampleSpace::new(&j, path), size);
            }
        }
    }
    for (d_in, d_out) in [(0, 2), (1, 1), (5, 4), (2, 33)] {
        let (a, s) = (spd::<T>(d_in, 10.0, 5), spd::<T>(d_out, 10.0, 6));
        let basis = KroneckerEigen::new(&Ctx::default(), a.clone(), s.clone()).unwrap();
        equals_separate_solves("eigenbases", &EigenKronecker::uncorrected(basis).unwrap(), 4.0);
        for kind in [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }] {
            let c = KroneckerN::new(vec![a.clone(), Mat::identity(2), s.clone()], kind).unwrap();
            equals_separate_solves(&format!("{kind:?} of {d_in} x 2 x {d_out}"), &c, 4.0);
        }
    }
}

/// Where `damped` fails for one λ, so does the sweep, before anything is written.
fn failures<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    let b = random::<T>(2, 1, 11);
    fn run<T: Scalar, C: HasDampingSweep<T>>(ctx: &Ctx<T>, c: &C, b: &Mat<T>, out: &mut [Mat<T>]) -> Result<()> {
        c.sweep(ctx)?.solve_sweep(ctx, b.as_ref(), &lambdas(), out).map(|_| ())
    }
    let m = Mat::from_diagonal(&[T::ONE, -T::ONE]);
    let mut x = vec![Mat::zeros(2, 1); LAMBDAS.len()];
    let refused = |r: Result<()>| assert!(matches!(r, Err(Error::NotPositiveDefinite { .. })), "{r:?}");
    refused(run(&ctx, &Dense::new(m.clone()).unwrap(), &b, &mut x));
    refused(run(&ctx, &Diagonal::new(vec![T::ONE, -T::ONE]).unwrap(), &b, &mut x));
    refused(run(&ctx, &ScaledIdentity::new(2, -T::ONE).unwrap(), &b, &mut x));
    let kind = KroneckerDamping::Factored { pi: PiRule::Fixed(T::of(0.5)) };
    refused(run(&ctx, &Kronecker::new(m, Mat::identity(1), kind).unwrap(), &b, &mut x));
    assert!(x.iter().all(|x| x.as_slice() == [T::ZERO; 2]));
    let c = Diagonal::new(vec![T::ONE; 2]).unwrap();
    let shape = |r: Result<()>| assert!(matches!(r, Err(Error::Shape { .. })), "{r:?}");
    shape(run(&ctx, &c, &random(3, 1, 12), &mut x));
    shape(run(&ctx, &c, &random(2, 2, 12), &mut x));
    shape(run(&ctx, &c, &b, &mut x[1..]));
}

/// Products, counted.
struct Counted<T> {
    inner: SymmetricDense<T>,
    products: AtomicUsize,
}

impl<T: Scalar> Counted<T> {
    fn new(m: Mat<T>) -> Self {
        Self { inner: SymmetricDense::new(m).unwrap(), products: AtomicUsize::new(0) }
    }
}

impl<T: Scalar> LinearOperator<T> for Counted<T> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.products.fetch_add(1, Ordering::Relaxed);
        self.inner.apply_into(ctx, x, y)
    }
}
impl<T: Scalar> SelfAdjoint<T> for Counted<T> {}

/// One Krylov space for all λ: the true residuals meet the tolerance, with the products of the smallest λ alone.
fn one_krylov_space<T: Scalar>() {
    for n in [1, 2, 33, 64] {
        let (m, b) = (spd::<T>(n, 100.0, 13), random::<T>(n, 3, 14));
        for ctx in contexts::<T>() {
            let products = Counted::new(m.clone());
            let options = CgOptions { relative_tolerance: T::EPS.sqrt(), ..CgOptions::default() };
            let c = MatrixFree::new(&products, Definiteness::PositiveSemidefinite).with_options(options).unwrap();
            let (reports, x) = swept(&ctx, &c, &b);
            let together = products.products.swap(0, Ordering::Relaxed);
            let mut most = 0;
            for ((&lambda, x), report) in LAMBDAS.iter().zip(&x).zip(&reports) {
                let SolveReport::Iterative { iterations, relative_residual, stop } = *report else { panic!("direct") };
                assert_eq!(stop, CgStop::Converged, "lambda {lambda} of order {n} in {}", T::NAME);
                let system = shifted(&m.cast(), T::of(lambda).f64());
                let limit = 2.0 * T::EPS.f64().sqrt() + tolerance::<T>(n, 100.0);
                let product = times(&system, &x.cast());
                for j in 0..3 {
                    let column = |f: &dyn Fn(usize) -> f64| (0..n).map(|i| f(i).powi(2)).sum::<f64>().sqrt();
                    let residual = column(&|i| b[(i, j)].f64() - product[(i, j)]) / column(&|i| b[(i, j)].f64());
                    assert!(residual <= limit, "lambda {lambda} of order {n}: {residual:e} above {limit:e}");
                    assert!(residual <= relative_residual + tolerance::<T>(n, 100.0), "reported {relative_residual:e}");
                }
                most = most.max(iterations);
            }
            assert_eq!(together, most + LAMBDAS.len(), "order {n}");
            let mut separate = Mat::zeros(n, 3);
            c.damped(&ctx, damping(1e-2)).unwrap().solve(&ctx, b.as_ref(), separate.as_mut()).unwrap();
            let alone = products.products.load(Ordering::Relaxed);
            // sums in another order may cost a few steps
            assert!(
                most <= alone + alone / 10 + 2,
                "{most} iterations for all, {alone} products for the smallest alone"
            );
        }
    }
}

fn run<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    shifts: &[f64],
    b: &Mat<T>,
    options: &CgOptions<T>,
) -> Result<(MultiShiftReport, Vec<Mat<T>>)> {
    let shifts: Vec<T> = shifts.iter().map(|&s| T::of(s)).collect();
    let mut x = vec![Mat::from_fn(b.nrows(), b.ncols(), |_, _| T::nan()); shifts.len()];
    let mut views: Vec<MatMut<'_, T>> = x.iter_mut().map(Mat::as_mut).collect();
    let report = multi_shift_cg(ctx, a, &shifts, b.as_ref(), &mut views, options)?;
    Ok((report, x))
}

/// Step by step each shifted run is conjugate gradient on its own matrix.
fn iterates_are_those_of_cg<T: Scalar>() {
    let (m, b) = (spd::<T>(40, 30.0, 15), random::<T>(40, 2, 16));
    let a = SymmetricDense::new(m).unwrap();
    let ctx = Ctx::<T>::reference();
    let shifts = [0.25, 0.05, 2.0];
    for steps in [0, 1, 2, 3, 5, 8] {
        let options = CgOptions { relative_tolerance: T::ZERO, max_iterations: steps, ..CgOptions::from_zero() };
        let (report, x) = run(&ctx, &a, &shifts, &b, &options).unwrap();
        for (k, &shift) in shifts.iter().enumerate() {
            let mut want = Mat::zeros(40, 2);
            let shifted = Shifted::new(&a, T::of(shift));
            pcg(&ctx, &shifted, None, b.as_ref(), want.as_mut(), &options).unwrap();
            let error = distance(&x[k], &want.cast());
            let limit = tolerance::<T>(40, 31.0 / shift) * norm(&want);
            assert!(error <= limit, "{steps} steps, shift {shift}: {error:e} above {limit:e} in {}", T::NAME);
            let worst = report.worst(k);
            assert_eq!((worst.stop, worst.iterations), (CgStop::IterationLimit, steps));
        }
    }
}

fn stops<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let options = CgOptions::default();
    let b = random::<T>(3, 2, 17);
    // indefinite at the smallest shift
    let indefinite = SymmetricDense::new(Mat::from_diagonal(&[T::ONE, -T::ONE, T::of(-2.0)])).unwrap();
    let (report, x) = run(&ctx, &indefinite, &[0.5, 10.0], &b, &options).unwrap();
    assert_eq!(report.worst(0).stop, CgStop::NonPositiveCurvature);
    assert!(x.iter().all(|x| x.as_ref().is_finite()));
    let (report, _) = run(&ctx, &indefinite, &[3.0, 10.0], &b, &options).unwrap();
    assert_eq!((report.worst(0).stop, report.worst(1).stop), (CgStop::Converged, CgStop::Converged));
    // NaN in the operator, NaN or zero in b
    let nan = SymmetricDense::new(Mat::from_diagonal(&[T::ONE, T::nan(), T::ONE])).unwrap();
    let (report, x) = run(&ctx, &nan, &[1.0], &b, &options).unwrap();
    assert_eq!(report.worst(0).stop, CgStop::Breakdown);
    assert!(x[0].as_ref().is_finite());
    let one = SymmetricDense::new(Mat::<T>::identity(3)).unwrap();
    let mut mixed = b.clone();
    mixed[(1, 0)] = T::nan();
    mixed.as_mut().col_mut(1).fill(T::ZERO);
    let (report, x) = run(&ctx, &one, &[1.0], &mixed, &options).unwrap();
    assert_eq!(report.shift(0)[0].stop, CgStop::Breakdown);
    assert_eq!((report.shift(0)[1].stop, report.shift(0)[1].relative_residual), (CgStop::Converged, 0.0));
    assert!(x[0].as_ref().is_finite());
    // no shifts, no columns, no rows
    assert_eq!(run(&ctx, &one, &[], &b, &options).unwrap().0.products(), 0);
    assert_eq!(run(&ctx, &one, &[1.0], &Mat::zeros(3, 0), &options).unwrap().0.products(), 0);
    let empty = SymmetricDense::new(Mat::<T>::zeros(0, 0)).unwrap();
    assert_eq!(run(&ctx, &empty, &[1.0], &Mat::zeros(0, 2), &options).unwrap().0.worst(0).stop, CgStop::Converged);
    // misuse
    let stall = CgOptions { stall: Some(StallRule::default()), ..options };
    assert!(matches!(run(&ctx, &one, &[1.0], &b, &stall), Err(Error::InvalidParameter { .. })));
    assert!(matches!(run(&ctx, &one, &[f64::NAN], &b, &options), Err(Error::InvalidParameter { .. })));
    assert!(matches!(run(&ctx, &one, &[1.0], &random(4, 1, 18), &options), Err(Error::Shape { .. })));
    let short = multi_shift_cg(&ctx, &one, &[T::ONE], b.as_ref(), &mut [], &options);
    assert!(matches!(short, Err(Error::Shape { .. })));
}

/// A scale of b or of (A, shifts) by powers of two changes no digit.
fn scales<T: Scalar>() {
    let (m, b) = (spd::<T>(12, 30.0, 19), random::<T>(12, 1, 20));
    let ctx = Ctx::<T>::reference();
    let options = CgOptions::default();
    let (_, want) = run(&ctx, &SymmetricDense::new(m.clone()).unwrap(), &[0.5, 8.0], &b, &options).unwrap();
    for exponent in [-60, 60] {
        let factor = T::of(2.0).powi(exponent);
        let big = SymmetricDense::new(m.map(|x| x * factor)).unwrap();
        let shifts = [0.5, 8.0].map(|s| s * factor.f64());
        let (_, x) = run(&ctx, &big, &shifts, &b.map(|b| b * factor), &options).unwrap();
        assert_eq!(x, want, "2^{exponent} in {}", T::NAME);
    }
}

for_both!(direct_kinds, free_kinds, failures, one_krylov_space, iterates_are_those_of_cg, stops, scales);
