//! Claim: LSQR gives the damped least-squares solution of the dense normal equations by the iterates of conjugate gradient
//! on them, obeys their bound, and beside LSMR has the smaller residual and the larger normal residual.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod cg_support;

use cg_support::*;
use pullback::krylov::{CgOptions, LsmrOptions, LsmrReport, LsmrStop, lsmr, lsqr, pcg};
use pullback::linop::{DenseOperator, FnOperator};
use pullback::testing::dense::{distance, norm, shifted};
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Error, Mat, Scalar};

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

/// That many steps, whatever the residuals.
fn budget<T: Scalar>(lambda: f64, max_iterations: usize) -> LsmrOptions<T> {
    let none = LsmrOptions { relative_tolerance: T::ZERO, residual_tolerance: T::ZERO, ..exact(lambda) };
    LsmrOptions { max_iterations, ..none }
}

fn solved<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, b: &Mat<T>, opts: &LsmrOptions<T>) -> (Mat<T>, LsmrReport) {
    let mut x = Mat::from_fn(a.ncols(), 1, |_, _| T::nan());
    let report = lsqr(ctx, &DenseOperator::new(a.clone()), b.as_slice(), x.as_mut_slice(), opts).unwrap();
    assert!(x.as_ref().is_finite(), "{report:?}");
    (x, report)
}

/// AᵀA + λI and Aᵀb in f64.
fn normal_equations<T: Scalar>(a: &Mat<T>, b: &Mat<T>, lambda: f64) -> (Mat<f64>, Mat<f64>) {
    let (a, b): (Mat<f64>, Mat<f64>) = (a.cast(), b.cast());
    (shifted(&product(&a.transposed(), &a), lambda), product(&a.transposed(), &b))
}

/// A (m x n) with singular values from 1/κ to 1.
fn graded_rectangle(m: usize, n: usize, kappa: f64, seed: u64) -> Mat<f64> {
    let (u, v) = (orthogonal(m, seed), orthogonal(n, seed + 1));
    let w = graded(m.min(n), kappa);
    let middle = Mat::from_fn(m, n, |i, j| if i == j { w[i] / kappa } else { 0.0 });
    product(&product(&u, &middle), &v)
}

const SHAPES: [(usize, usize); 10] =
    [(1, 1), (2, 3), (3, 2), (1, 20), (20, 1), (31, 33), (33, 31), (64, 20), (20, 64), (129, 40)];

fn equals_the_normal_equations<T: Scalar>() {
    for (m, n) in SHAPES {
        let (a, b): (Mat<T>, Mat<T>) = (random(m, n, 71).cast(), random(m, 1, 72).cast());
        for lambda in [1e-2, 1.0, 100.0] {
            let (system, rhs) = normal_equations(&a, &b, T::of(lambda).f64());
            let want = dense_solve(&system, &rhs);
            // ‖A‖² <= ‖A‖_F²; the backward error ε‖Ā‖ costs κ‖x‖ + κ²‖r̄‖/‖Ā‖
            let largest = norm(&a).powi(2) + lambda;
            let kappa = (largest / lambda).sqrt();
            let r = residual(&a, &b, &want, lambda);
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

/// Every matrix of the gallery, whatever its signs and rank, whole and by half of its columns or rows: the damped solution of
/// dense algebra, by LSQR and by LSMR.
fn solve_the_gallery<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    for (named, n) in gallery::named().flat_map(|named| [3, 20, 33].map(|n| (named, n))) {
        let whole = named.matrix::<T>(n);
        let part = |m: usize, n: usize| Mat::from_fn(m, n, |i, j| whole[(i, j)]);
        for a in [part(n, n), part(n, n / 2), part(n / 2, n)] {
            let ((m, n), b) = (a.shape(), random(a.nrows(), 1, 91).cast::<T>());
            for share in [1e-3, 1.0] {
                // damping by a share of ‖A‖²; a zero matrix has none
                let largest = norm(&a).powi(2);
                let lambda = T::of(share * if largest > 0.0 { largest } else { 1.0 });
                let (system, rhs) = normal_equations(&a, &b, lambda.f64());
                let want = dense_solve(&system, &rhs);
                let kappa = ((largest + lambda.f64()) / lambda.f64()).sqrt();
                let r = residual(&a, &b, &want, lambda.f64());
                let limit = tolerance::<T>(m.max(n), kappa) * (norm(&want) + r / lambda.f64().sqrt());
                let opts = LsmrOptions { damping: lambda, ..exact(0.0) };
                let (x, of_lsqr) = solved(&ctx, &a, &b, &opts);
                let (mut y, operator) = (Mat::zeros(n, 1), DenseOperator::new(a.clone()));
                let of_lsmr = lsmr(&ctx, &operator, b.as_slice(), y.as_mut_slice(), &opts).unwrap();
                for (method, x, report) in [("LSQR", x, of_lsqr), ("LSMR", y, of_lsmr)] {
                    let place = format!("{method}, {} {m} x {n}, {share} in {}: {report:?}", named.name, T::NAME);
                    assert!(report.stop <= LsmrStop::Compatible, "{place}");
                    let error = distance(&x, &want);
                    assert!(error <= limit, "{place}: off by {error:e}, limit {limit:e}");
                }
            }
        }
    }
}

/// √(‖b - A x‖² + λ‖x‖²).
fn residual<T: Scalar>(a: &Mat<T>, b: &Mat<T>, x: &Mat<f64>, lambda: f64) -> f64 {
    let ax = product(&a.cast(), x);
    distance(&ax, &b.cast::<f64>()).hypot(lambda.sqrt() * norm(x))
}

fn reports_what_it_returns<T: Scalar>() {
    for (m, n) in SHAPES {
        let (a, b): (Mat<T>, Mat<T>) = (random(m, n, 73).cast(), random(m, 1, 74).cast());
        for (lambda, k) in [(0.0, 1), (0.5, 2), (0.5, 1000), (0.0, 3)] {
            let opts = LsmrOptions { max_iterations: k, damping: T::of(lambda), ..LsmrOptions::default() };
            for ctx in contexts::<T>() {
                let (x, report) = solved(&ctx, &a, &b, &opts);
                let (system, rhs) = normal_equations(&a, &b, lambda);
                let (r, g) = (residual(&a, &b, &x.cast(), lambda), distance(&product(&system, &x.cast()), &rhs));
                let scale = tolerance::<T>(m + n, 1.0);
                let size = norm(&a);
                assert!((report.residual_norm - r).abs() <= scale * norm(&b), "{report:?}: |r| {r:e}");
                assert!((report.normal_residual_norm - g).abs() <= scale * size * norm(&b), "{report:?}: |A'r| {g:e}");
                assert!((report.solution_norm - norm(&x)).abs() <= scale * norm(&x));
                assert!(report.iterations <= k);
                let bound = (1.0 + scale) * size.hypot((n as f64 * lambda).sqrt());
                assert!(report.operator_norm <= bound || k > 3, "{report:?}");
                assert!(report.condition >= 1.0);
            }
        }
    }
}

/// Step by step the iterate of conjugate gradient on the normal equations, within its bound; ‖r̄‖ falls.
fn is_conjugate_gradient_on_the_normal_equations<T: Scalar>() {
    let kappa = 20.0;
    for (m, n) in [(40, 24), (24, 40)] {
        let (a, b): (Mat<T>, Mat<T>) = (graded_rectangle(m, n, kappa, 75).cast(), random(m, 1, 76).cast());
        for lambda in [0.0, 0.01] {
            let (system, rhs) = normal_equations(&a, &b, T::of(lambda).f64());
            let spread = ((1.0 + lambda) / (kappa.powi(-2) + lambda)).sqrt();
            for ctx in contexts::<T>() {
                let solution = solved(&ctx, &a, &b, &exact(lambda)).0.cast::<f64>();
                let energy = |x: &Mat<f64>| {
                    let e = Mat::from_fn(n, 1, |i, _| x[(i, 0)] - solution[(i, 0)]);
                    let image = product(&system, &e);
                    (0..n).map(|i| e[(i, 0)] * image[(i, 0)]).sum::<f64>().max(0.0).sqrt()
                };
                let (at_start, mut last) = (energy(&Mat::zeros(n, 1)), f64::INFINITY);
                for k in [1, 2, 3, 5, 8, 13, 21] {
                    let (x, report) = solved(&ctx, &a, &b, &budget(lambda, k));
                    assert_eq!((report.iterations, report.stop), (k, LsmrStop::IterationLimit));
                    let rounding = tolerance::<T>(m, kappa * kappa);
                    let bound = (2.0 * ((spread - 1.0) / (spread + 1.0)).powi(k as i32) + rounding) * at_start;
                    assert!(energy(&x.cast()) <= bound, "{m} x {n}, λ {lambda}, step {k}: {:e}", energy(&x.cast()));
                    assert!(report.residual_norm <= last + rounding * norm(&b), "step {k}: the residual rose");
                    last = report.residual_norm;
                    if k > 8 {
                        continue; // rounding drives the two recurrences apart
                    }
                    let options = CgOptions { max_iterations: k, relative_tolerance: 0.0, ..CgOptions::default() };
                    let mut want = Mat::zeros(n, 1);
                    let products = operator::<f64>(&system);
                    pcg(&Ctx::default(), &products, None, rhs.as_ref(), want.as_mut(), &options).unwrap();
                    let error = distance(&x, &want);
                    assert!(error <= 10.0 * rounding * norm(&want), "step {k} in {}: {error:e}", T::NAME);
                }
            }
        }
    }
}

/// At every budget LSQR has the smaller ‖r̄‖ and LSMR the smaller ‖Āᵀr̄‖; neither in the other's place.
#[test]
fn each_minimizes_its_own_residual() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (graded_rectangle(50, 30, 300.0, 77), random(50, 1, 78));
    let operator = DenseOperator::new(a.clone());
    let mut strictly = 0;
    for k in 1..25 {
        let (_, of_lsqr) = solved(&ctx, &a, &b, &budget(0.0, k));
        let mut x = vec![0.0; 30];
        let of_lsmr = lsmr(&ctx, &operator, b.as_slice(), &mut x, &budget(0.0, k)).unwrap();
        let rounding = tolerance::<f64>(50, 300.0) * norm(&b);
        assert!(of_lsqr.residual_norm <= of_lsmr.residual_norm + rounding, "step {k}");
        assert!(of_lsmr.normal_residual_norm <= of_lsqr.normal_residual_norm + rounding, "step {k}");
        strictly += usize::from(of_lsmr.normal_residual_norm < 0.9 * of_lsqr.normal_residual_norm);
    }
    assert!(strictly > 5, "two methods, not one: {strictly}");
}

/// The estimates of ‖r̄‖ and ‖Āᵀr̄‖ stop at the very iteration whose x has them.
#[test]
fn the_estimates_are_those_of_the_iterate() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (random(30, 20, 79), random(30, 1, 80));
    for lambda in [0.0, 0.3] {
        let at = |k| solved(&ctx, &a, &b, &budget(lambda, k)).1;
        let start = norm(&product(&a.transposed(), &b));
        let none = LsmrOptions { max_iterations: 4000, ..budget(lambda, 0) };
        for k in 1..12 {
            let (before, now) = (at(k - 1), at(k));
            let residual_tolerance = (before.residual_norm * now.residual_norm).sqrt() / norm(&b);
            let (_, report) = solved(&ctx, &a, &b, &LsmrOptions { residual_tolerance, ..none });
            assert_eq!((report.iterations, report.stop), (k, LsmrStop::Compatible), "lambda {lambda}: {report:?}");
            // ‖Āᵀr̄‖ may rise: the first of the steps below the geometric mean
            let normal_tolerance = 1.001 * now.normal_residual_norm / start;
            let first = (1..=k).find(|&k| at(k).normal_residual_norm <= normal_tolerance * start);
            let (_, report) = solved(&ctx, &a, &b, &LsmrOptions { normal_tolerance, ..none });
            assert_eq!((Some(report.iterations), report.stop), (first, LsmrStop::Converged), "lambda {lambda}");
        }
    }
}

#[test]
fn every_stop_is_reached_and_true() {
    let ctx = Ctx::<f64>::default();
    let (a, b) = (random(30, 20, 81), random(30, 1, 82));
    let (_, report) =
        solved(&ctx, &a, &b, &LsmrOptions { relative_tolerance: 1e-3, residual_tolerance: 0.0, ..exact(0.0) });
    assert_eq!(report.stop, LsmrStop::Converged);
    assert!(report.normal_residual_norm <= 1.01e-3 * report.operator_norm * report.residual_norm, "{report:?}");
    let compatible = product(&a, &random(20, 1, 83));
    let opts = LsmrOptions { relative_tolerance: 0.0, residual_tolerance: 1e-6, ..exact(0.0) };
    let (_, report) = solved(&ctx, &a, &compatible, &opts);
    assert_eq!(report.stop, LsmrStop::Compatible);
    assert!(report.residual_norm <= 1.01e-6 * norm(&compatible), "{report:?}");
    let ill = Mat::from_diagonal(&graded(20, 1e6));
    let (_, report) = solved(&ctx, &ill, &random(20, 1, 84), &LsmrOptions { condition_limit: 1e3, ..exact(0.0) });
    assert_eq!(report.stop, LsmrStop::ConditionLimit);
    // in Frobenius norms at most √n · √n times the condition
    assert!(report.condition >= 1e3 && report.condition <= 20.0 * 1e6, "{report:?}");
    let (_, report) = solved(&ctx, &a, &b, &budget(0.0, 2));
    assert_eq!((report.stop, report.iterations), (LsmrStop::IterationLimit, 2));
    for bad in [f64::NAN, f64::INFINITY] {
        let (mut poisoned, mut rhs) = (a.clone(), b.clone());
        (poisoned[(3, 4)], rhs[(7, 0)]) = (bad, bad);
        assert_eq!(solved(&ctx, &poisoned, &b, &exact(0.1)).1.stop, LsmrStop::Breakdown);
        assert_eq!(solved(&ctx, &a, &rhs, &exact(0.1)).1.stop, LsmrStop::Breakdown);
    }
    // zero problems, zero sizes, b = 0 beside NaN
    for (m, n) in [(0, 0), (0, 3), (3, 0), (4, 2)] {
        let (x, report) = solved(&ctx, &Mat::zeros(m, n), &random(m, 1, 85), &exact(0.5));
        assert_eq!((report.stop, report.iterations, x), (LsmrStop::Converged, 0, Mat::zeros(n, 1)), "{m} x {n}");
    }
    let (x, report) = solved(&ctx, &Mat::from_fn(2, 2, |_, _| f64::NAN), &Mat::zeros(2, 1), &exact(0.5));
    assert_eq!((x, report.stop), (Mat::zeros(2, 1), LsmrStop::Converged));
}

/// Rank deficient and undamped: the least-norm solution, Aᵀ(A Aᵀ)⁺b, here of a full-rank product of factors.
#[test]
fn a_deficient_rank_gives_the_least_norm() {
    let (left, right) = (random(25, 4, 86), random(4, 15, 87));
    let (a, b) = (product(&left, &right), random(25, 1, 88));
    // x = Rᵀ(R Rᵀ)⁻¹ (LᵀL)⁻¹ Lᵀ b
    let inner = dense_solve(&product(&left.transposed(), &left), &product(&left.transposed(), &b));
    let want = product(&right.transposed(), &dense_solve(&product(&right, &right.transposed()), &inner));
    for ctx in contexts::<f64>() {
        let (x, report) = solved(&ctx, &a, &b, &exact(0.0));
        assert!(report.stop <= LsmrStop::Compatible, "{report:?}");
        let error = distance(&x, &want) / norm(&want);
        assert!(error <= tolerance::<f64>(25, 100.0), "{error:e}");
    }
}

fn equivariant_under_scales<T: Scalar>() {
    let largest = if T::NAME == "f32" { 100 } else { 900 };
    let (a, b): (Mat<T>, Mat<T>) = (random(12, 7, 89).cast(), random(12, 1, 90).cast());
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

#[test]
fn bad_arguments_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    let a = DenseOperator::new(Mat::zeros(3, 2));
    let run = |b: usize, x: usize, opts: LsmrOptions<f64>| lsqr(&ctx, &a, &vec![0.0; b], &mut vec![0.0; x], &opts);
    assert!(matches!(run(2, 2, exact(0.0)), Err(Error::Shape { .. })));
    assert!(matches!(run(3, 3, exact(0.0)), Err(Error::Shape { .. })));
    assert!(matches!(run(3, 2, exact(-1.0)), Err(Error::InvalidParameter { name: "damping", .. })));
    let failing = Mistaken(FnOperator::new(2, |_: &[f64], _: &mut [f64]| Err(std::fmt::Error)));
    let outcome = lsqr(&ctx, &failing, &[1.0, 1.0], &mut [0.0; 2], &exact(0.0));
    assert!(matches!(outcome, Err(Error::External(_))));
}

/// A self-adjoint operator as one with a transpose.
struct Mistaken<A>(A);

impl<A: pullback::LinearOperator<f64>> pullback::LinearOperator<f64> for Mistaken<A> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(
        &self,
        ctx: &Ctx<f64>,
        x: pullback::MatRef<'_, f64>,
        y: pullback::MatMut<'_, f64>,
    ) -> pullback::Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

impl<A: pullback::LinearOperator<f64>> pullback::linop::TransposeOperator<f64> for Mistaken<A> {
    fn apply_transpose_into(
        &self,
        ctx: &Ctx<f64>,
        x: pullback::MatRef<'_, f64>,
        y: pullback::MatMut<'_, f64>,
    ) -> pullback::Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

for_both!(
    equals_the_normal_equations,
    solve_the_gallery,
    reports_what_it_returns,
    is_conjugate_gradient_on_the_normal_equations,
    equivariant_under_scales,
);
