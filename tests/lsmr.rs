//! Claim: LSMR gives the damped least-squares solution of the dense normal equations, stops for the reason it names,
//! reports residuals of the x it returns, and neither allocates nor loses digits to scale.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;
mod curvature_support;

use counting_allocator::{CountingAllocator, allocations};
use curvature_support::*;
use pullback::factor::Cholesky;
use pullback::krylov::{LsmrOptions, LsmrReport, LsmrStop, lsmr};
use pullback::linop::{DenseOperator, TransposeOperator, Transposed};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatMut, MatRef, Result, Scalar};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Only rounding stops it.
fn exact<T: Scalar>(lambda: f64) -> LsmrOptions<T> {
    LsmrOptions {
        damping: T::of(lambda),
        relative_tolerance: T::EPS,
        residual_tolerance: T::EPS,
        max_iterations: 4000,
        ..LsmrOptions::default()
    }
}

fn solved<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, b: &Mat<T>, opts: &LsmrOptions<T>) -> (Mat<T>, LsmrReport) {
    let mut x = Mat::from_fn(a.ncols(), 1, |_, _| T::nan());
    let operator = DenseOperator::new(a.clone());
    let report = lsmr(ctx, &operator, b.as_slice(), x.as_mut_slice(), opts).unwrap();
    (x, report)
}

/// (AᵀA + λI)⁻¹ Aᵀb in f64, and the extreme eigenvalues of the matrix.
fn normal_equations(a: &Mat<f64>, b: &Mat<f64>, lambda: f64) -> (Mat<f64>, (f64, f64)) {
    let ctx = Ctx::reference();
    let system = shifted(&times(&a.transposed(), a), lambda);
    let mut x = times(&a.transposed(), b);
    Cholesky::new(&ctx, system.clone()).unwrap().solve_in_place(&ctx, x.as_mut()).unwrap();
    (x, extremes(&system))
}

/// ‖b - A x‖² + λ‖x‖² under its root, and ‖Aᵀ(b - A x) - λ x‖, in f64.
fn residuals(a: &Mat<f64>, b: &Mat<f64>, x: &Mat<f64>, lambda: f64) -> (f64, f64) {
    let ax = times(a, x);
    let r = Mat::from_fn(b.nrows(), 1, |i, _| b[(i, 0)] - ax[(i, 0)]);
    let back = times(&a.transposed(), &r);
    let g = Mat::from_fn(x.nrows(), 1, |i, _| back[(i, 0)] - lambda * x[(i, 0)]);
    (norm(&r).hypot(lambda.sqrt() * norm(x)), norm(&g))
}

const SHAPES: [(usize, usize); 10] =
    [(1, 1), (2, 3), (3, 2), (1, 20), (20, 1), (31, 33), (33, 31), (64, 20), (20, 64), (129, 40)];

fn equals_the_normal_equations<T: Scalar>() {
    for (m, n) in SHAPES {
        let (a, b) = (random::<T>(m, n, 51), random::<T>(m, 1, 52));
        let (wide_a, wide_b) = (a.cast::<f64>(), b.cast::<f64>());
        for lambda in [1e-2, 1.0, 100.0] {
            let (want, (least, largest)) = normal_equations(&wide_a, &wide_b, lambda);
            // the backward error ε‖Ā‖ of a least-squares solution costs κ‖x‖ + κ²‖r̄‖/‖Ā‖
            let kappa = (largest / least).sqrt();
            let r = residuals(&wide_a, &wide_b, &want, lambda).0;
            for ctx in contexts::<T>() {
                let (x, report) = solved(&ctx, &a, &b, &exact(lambda));
                let place = format!("{m} x {n}, lambda {lambda}, {} {}: {report:?}", ctx.backend().name(), T::NAME);
                assert!(report.stop <= LsmrStop::Compatible, "{place}");
                let limit = tolerance::<T>(m.max(n), kappa) * (norm(&want) + kappa * r / largest.sqrt());
                let error = distance(&x, &want);
                assert!(error <= limit, "{place}: off by {error:e}, limit {limit:e}");
            }
        }
    }
}

fn reports_what_it_returns<T: Scalar>() {
    for (m, n) in SHAPES {
        let (a, b) = (random::<T>(m, n, 53), random::<T>(m, 1, 54));
        for (lambda, max_iterations) in [(0.0, 1), (0.5, 2), (0.5, 1000), (0.0, 3)] {
            let opts = LsmrOptions { max_iterations, damping: T::of(lambda), ..LsmrOptions::default() };
            for ctx in contexts::<T>() {
                let (x, report) = solved(&ctx, &a, &b, &opts);
                let (r, g) = residuals(&a.cast(), &b.cast(), &x.cast(), lambda);
                let scale = tolerance::<T>(m + n, 1.0);
                let size = norm(&a);
                assert!((report.residual_norm - r).abs() <= scale * norm(&b), "{report:?}: |r| {r:e}");
                let limit = scale * size * norm(&b);
                assert!((report.normal_residual_norm - g).abs() <= limit, "{report:?}: |A'r| {g:e}");
                assert!((report.solution_norm - norm(&x)).abs() <= scale * norm(&x));
                assert!(report.iterations <= max_iterations);
                // later the bidiagonal matrix repeats itself
                let bound = (1.0 + scale) * size.hypot((n as f64 * lambda).sqrt());
                assert!(report.operator_norm <= bound || max_iterations > 3, "{report:?}");
            }
        }
    }
}

/// ‖Āᵀr̄‖ falls from budget to budget: the property that LSMR has and LSQR has not.
#[test]
fn the_normal_residual_falls_monotonically() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (random::<f64>(40, 30, 55), random::<f64>(40, 1, 56));
    let mut last = f64::INFINITY;
    for max_iterations in 0..25 {
        let (_, report) = solved(&ctx, &a, &b, &LsmrOptions { max_iterations, ..exact(0.01) });
        let rounding = tolerance::<f64>(40, 1.0) * norm(&a) * norm(&b);
        assert!(report.normal_residual_norm <= last + rounding, "{max_iterations}: {report:?}, before {last:e}");
        last = report.normal_residual_norm;
    }
}

/// The estimates of ‖r̄‖ and ‖Āᵀr̄‖ stop at the very iteration whose x has them: a tolerance between two neighbours is
/// met by the second.
#[test]
fn the_estimates_are_those_of_the_iterate() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (random::<f64>(30, 20, 57), random::<f64>(30, 1, 58));
    for lambda in [0.0, 0.3] {
        let none = LsmrOptions { relative_tolerance: 0.0, residual_tolerance: 0.0, ..exact(lambda) };
        let at = |max_iterations| solved(&ctx, &a, &b, &LsmrOptions { max_iterations, ..none }).1;
        let start = norm(&times(&a.transposed(), &b));
        for k in 1..12 {
            let (before, now) = (at(k - 1), at(k));
            let between = |before: f64, now: f64| (before * now).sqrt();
            let residual_tolerance = between(before.residual_norm, now.residual_norm) / norm(&b);
            let (_, report) = solved(&ctx, &a, &b, &LsmrOptions { residual_tolerance, ..none });
            assert_eq!((report.iterations, report.stop), (k, LsmrStop::Compatible), "lambda {lambda}: {report:?}");
            let normal_tolerance = between(before.normal_residual_norm, now.normal_residual_norm) / start;
            let (_, report) = solved(&ctx, &a, &b, &LsmrOptions { normal_tolerance, ..none });
            assert_eq!((report.iterations, report.stop), (k, LsmrStop::Converged), "lambda {lambda}: {report:?}");
        }
    }
}

#[test]
fn every_stop_is_reached_and_true() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (random::<f64>(30, 20, 57), random::<f64>(30, 1, 58));
    let loose = LsmrOptions { relative_tolerance: 1e-3, residual_tolerance: 0.0, ..exact(0.0) };
    let (_, report) = solved(&ctx, &a, &b, &loose);
    assert_eq!(report.stop, LsmrStop::Converged);
    assert!(report.normal_residual_norm <= 1.01 * 1e-3 * report.operator_norm * report.residual_norm, "{report:?}");

    let normal = LsmrOptions { relative_tolerance: 0.0, normal_tolerance: 1e-5, residual_tolerance: 0.0, ..exact(0.1) };
    let (_, report) = solved(&ctx, &a, &b, &normal);
    assert_eq!(report.stop, LsmrStop::Converged);
    let start = norm(&times(&a.transposed(), &b));
    assert!(report.normal_residual_norm <= 1.01e-5 * start, "{report:?}");

    let compatible = times(&a, &random(20, 1, 59));
    let opts = LsmrOptions { relative_tolerance: 0.0, residual_tolerance: 1e-6, ..exact(0.0) };
    let (_, report) = solved(&ctx, &a, &compatible, &opts);
    assert_eq!(report.stop, LsmrStop::Compatible);
    assert!(report.residual_norm <= 1.01e-6 * norm(&compatible), "{report:?}");

    let d: Vec<f64> = graded(20, 1e6);
    let (_, report) =
        solved(&ctx, &Mat::from_diagonal(&d), &random(20, 1, 60), &LsmrOptions { condition_limit: 1e3, ..exact(0.0) });
    assert_eq!(report.stop, LsmrStop::ConditionLimit);
    assert!(report.condition >= 1e3 && report.condition <= 1.01e6, "{report:?}");

    let (x, report) = solved(&ctx, &a, &b, &LsmrOptions { max_iterations: 2, ..exact(0.0) });
    assert_eq!((report.stop, report.iterations), (LsmrStop::IterationLimit, 2));
    assert!(x.as_ref().is_finite());

    for bad in [f64::NAN, f64::INFINITY] {
        let mut poisoned = a.clone();
        poisoned[(3, 4)] = bad;
        let (x, report) = solved(&ctx, &poisoned, &b, &exact(0.1));
        assert_eq!(report.stop, LsmrStop::Breakdown);
        assert!(x.as_ref().is_finite());
        let mut rhs = b.clone();
        rhs[(7, 0)] = bad;
        let (x, report) = solved(&ctx, &a, &rhs, &exact(0.1));
        assert_eq!(report.stop, LsmrStop::Breakdown);
        assert!(x.as_ref().is_finite());
    }
}

#[test]
fn zero_problems_are_solved_at_once() {
    let ctx = Ctx::<f64>::default();
    for (m, n) in [(0, 0), (0, 3), (3, 0), (4, 2)] {
        let (x, report) = solved(&ctx, &Mat::zeros(m, n), &random(m, 1, 61), &exact(0.5));
        assert_eq!((report.stop, report.iterations), (LsmrStop::Converged, 0), "{m} x {n}");
        assert!(x.as_slice().iter().all(|&x| x == 0.0));
    }
    let poisoned = Mat::from_fn(2, 2, |_, _| f64::NAN);
    let (x, report) = solved(&ctx, &poisoned, &Mat::zeros(2, 1), &exact(0.5));
    assert_eq!((x.as_slice(), report.stop), (&[0.0, 0.0][..], LsmrStop::Converged));
}

/// Rank deficient and undamped: the least-norm solution, which lies in the range of Aᵀ.
#[test]
fn a_deficient_rank_gives_the_least_norm() {
    let left = random::<f64>(25, 4, 62);
    let right = random::<f64>(4, 15, 63);
    let (a, b) = (times(&left, &right), random::<f64>(25, 1, 64));
    for ctx in contexts::<f64>() {
        let (x, report) = solved(&ctx, &a, &b, &exact(0.0));
        assert!(report.stop <= LsmrStop::Compatible, "{report:?}");
        // x = Aᵀ y: it is orthogonal to the null space, which (I - R⁺R) spans
        let gram = times(&right, &right.transposed());
        let mut y = times(&right, &x);
        Cholesky::new(&ctx, gram.clone()).unwrap().solve_in_place(&ctx, y.as_mut()).unwrap();
        let (least, largest) = extremes(&gram);
        let error = distance(&x, &times(&right.transposed(), &y));
        assert!(error <= tolerance::<f64>(25, largest / least) * norm(&x), "off the range of A' by {error:e}");
    }
}

/// b times 2^e gives x times 2^e, digit for digit.
fn equivariant_under_scales<T: Scalar>() {
    let largest = if T::NAME == "f32" { 100 } else { 900 };
    let (a, b) = (random::<T>(12, 7, 65), random::<T>(12, 1, 66));
    for ctx in contexts::<T>() {
        let (x, report) = solved(&ctx, &a, &b, &exact(0.1));
        for e in [-largest, -3, 3, largest] {
            let factor = T::of(2.0).powi(e);
            let (scaled, other) = solved(&ctx, &a, &b.map(|x| x * factor), &exact(0.1));
            assert_eq!(scaled, x.map(|x| x * factor), "2^{e}");
            assert_eq!((other.stop, other.iterations), (report.stop, report.iterations), "2^{e}");
        }
    }
}

fn transposes_are_adjoint<T: Scalar>() {
    for (m, n) in SHAPES {
        let a = DenseOperator::new(random::<T>(m, n, 67));
        let (x, y) = (random::<T>(n, 2, 68), random::<T>(m, 2, 69));
        for ctx in contexts::<T>() {
            let (mut ax, mut aty) = (Mat::zeros(m, 2), Mat::zeros(n, 2));
            a.apply(&ctx, x.as_ref(), ax.as_mut()).unwrap();
            a.apply_transpose(&ctx, y.as_ref(), aty.as_mut()).unwrap();
            for k in 0..2 {
                let dot =
                    |u: &Mat<T>, v: &Mat<T>| -> f64 { (0..u.nrows()).map(|i| u[(i, k)].f64() * v[(i, k)].f64()).sum() };
                let limit = tolerance::<T>(m + n, 1.0) * norm(&x) * norm(&y) * ((m * n) as f64).sqrt();
                assert!((dot(&ax, &y) - dot(&x, &aty)).abs() <= limit);
            }
            let transposed = Transposed::new(&a);
            assert_eq!(transposed.to_dense(&ctx).unwrap(), a.to_dense(&ctx).unwrap().transposed());
            assert_eq!(Transposed::new(transposed).shape(), (m, n));
        }
    }
}

for_both!(equals_the_normal_equations, reports_what_it_returns, equivariant_under_scales, transposes_are_adjoint);

#[test]
fn bad_arguments_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    let a = DenseOperator::new(Mat::zeros(3, 2));
    let run = |b: usize, x: usize, opts: LsmrOptions<f64>| lsmr(&ctx, &a, &vec![0.0; b], &mut vec![0.0; x], &opts);
    assert!(matches!(run(2, 2, exact(0.0)), Err(Error::Shape { .. })));
    assert!(matches!(run(3, 3, exact(0.0)), Err(Error::Shape { .. })));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        for opts in [
            LsmrOptions { damping: bad, ..LsmrOptions::default() },
            LsmrOptions { relative_tolerance: bad, ..LsmrOptions::default() },
            LsmrOptions { normal_tolerance: bad, ..LsmrOptions::default() },
            LsmrOptions { residual_tolerance: bad, ..LsmrOptions::default() },
        ] {
            assert!(matches!(run(3, 2, opts), Err(Error::InvalidParameter { .. })), "{opts:?}");
        }
    }
    let opts = LsmrOptions { condition_limit: 1.0, ..LsmrOptions::default() };
    assert!(matches!(run(3, 2, opts), Err(Error::InvalidParameter { name: "condition_limit", .. })));
    assert!(matches!(
        a.apply_transpose(&ctx, Mat::zeros(2, 1).as_ref(), Mat::zeros(2, 1).as_mut()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        a.apply_transpose(&ctx, Mat::zeros(3, 1).as_ref(), Mat::zeros(3, 1).as_mut()),
        Err(Error::Shape { .. })
    ));
}

/// An operator that fails on its second product.
struct Failing(std::sync::atomic::AtomicUsize);

impl LinearOperator<f64> for Failing {
    fn shape(&self) -> (usize, usize) {
        (2, 2)
    }
    fn apply_into(&self, _: &Ctx<f64>, _: MatRef<'_, f64>, _: MatMut<'_, f64>) -> Result<()> {
        Err(Error::invalid("product", "it failed"))
    }
}

impl TransposeOperator<f64> for Failing {
    fn apply_transpose_into(&self, _: &Ctx<f64>, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        y.copy_from(x)
    }
}

#[test]
fn errors_of_the_operator_come_through() {
    let failing = Failing(Default::default());
    let outcome = lsmr(&Ctx::default(), &failing, &[1.0, 1.0], &mut [0.0; 2], &LsmrOptions::default());
    assert!(matches!(outcome, Err(Error::InvalidParameter { name: "product", .. })));
    assert_eq!(failing.0.into_inner(), 1);
}

#[test]
fn nothing_is_allocated_once_warm() {
    let a = DenseOperator::new(random::<f64>(40, 30, 70));
    let b = random::<f64>(40, 1, 71);
    let mut x = vec![0.0; 30];
    for ctx in contexts::<f64>().into_iter().filter(|ctx| ctx.backend().name() != "blas") {
        let mut run = || lsmr(&ctx, &a, b.as_slice(), &mut x, &exact(0.1)).unwrap().iterations;
        run();
        let before = allocations();
        let iterations = run();
        assert_eq!(allocations() - before, 0, "{}", ctx.backend().name());
        assert!(iterations > 5);
    }
}
