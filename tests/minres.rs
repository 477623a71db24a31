//! Claim: MINRES gives the solution of dense algebra for symmetric matrices of any sign, obeys its bounds, reports the
//! residuals of the x it returns, and stops for the reason it names: at a singular system at a least-squares solution.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod cg_support;

use cg_support::*;
use pullback::factor::Lu;
use pullback::krylov::{CgOptions, CgStart, MinresOptions, MinresReport, MinresStop, minres, pcg};
use pullback::linop::{DiagonalMetric, FnOperator, MetricInverse, Shifted, SymmetricDense};
use pullback::testing::dense::{distance, norm};
use pullback::testing::gallery::{self, Sign};
use pullback::testing::krylov::{Domain, Outcome};
use pullback::testing::{self, contexts, relative_error, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Preconditioner, Scalar, SelfAdjoint, conformance};

fn solve<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &Mat<T>,
    options: &MinresOptions<T>,
) -> (Mat<T>, MinresReport) {
    let mut x = Mat::from_fn(b.nrows(), 1, |_, _| T::nan());
    let report = minres(ctx, a, m_inv, b.as_slice(), x.as_mut_slice(), options).unwrap();
    assert!(x.as_ref().is_finite(), "{report:?}");
    (x, report)
}

/// Stops at the tolerance only.
fn strict<T: Scalar>(tolerance: f64) -> MinresOptions<T> {
    MinresOptions { relative_tolerance: T::of(tolerance), normal_tolerance: T::ZERO, ..MinresOptions::default() }
}

/// After that many iterations, whatever the residual.
fn budget<T: Scalar>(max_iterations: usize) -> MinresOptions<T> {
    MinresOptions { max_iterations, ..strict(0.0) }
}

/// Eigenvalues of both signs in [1/κ, 1].
fn both_signs(n: usize, kappa: f64) -> Vec<f64> {
    graded(n, kappa).iter().enumerate().map(|(i, w)| if i % 3 == 1 { -w / kappa } else { w / kappa }).collect()
}

fn residual(a: &Mat<f64>, b: &Mat<f64>, x: &Mat<f64>) -> Mat<f64> {
    let ax = product(a, x);
    Mat::from_fn(b.nrows(), 1, |i, _| b[(i, 0)] - ax[(i, 0)])
}

conformance! {
    fn suite<T>(setup) {
        let plain = |jacobi: bool| testing::krylov::check(setup, "minres", Domain::Symmetric, |ctx, a, b, mut x, tolerance| {
            pullback::error::check_shape("X", b.shape(), x.shape())?;
            let options = MinresOptions { relative_tolerance: tolerance, ..MinresOptions::default() };
            let metric = MetricInverse(DiagonalMetric::new(vec![T::of(4.0); b.nrows()])?);
            let m_inv = jacobi.then_some(&metric as &dyn Preconditioner<T>);
            let mut worst = Outcome { converged: true, relative_residual: 0.0, iterations: 0 };
            for (j, b) in b.cols().enumerate() {
                let report = minres(ctx, a, m_inv, b, x.col_mut(j), &options)?;
                worst.converged &= report.stop == MinresStop::Converged;
                worst.relative_residual = worst.relative_residual.max(report.relative_residual);
                worst.iterations = worst.iterations.max(report.iterations);
            }
            Ok(worst)
        });
        [plain(false), plain(true)].into_iter().collect()
    }
}

fn agrees_with_dense<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 3, 31, 32, 33, 64, 127, 129] {
            for kappa in [1.0, 10.0, 100.0] {
                let a: Mat<T> = with_spectrum(&both_signs(n, kappa), 51).cast();
                let b: Mat<T> = random(n, 1, 52).cast();
                let mut want = b.cast::<f64>();
                Lu::new(a.cast::<f64>()).unwrap().solve_in_place(&Ctx::reference(), want.as_mut()).unwrap();
                let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), None, &b, &strict(tolerance::<T>(n, kappa)));
                let place = format!("order {n}, condition {kappa} on {} in {}", ctx.backend().name(), T::NAME);
                assert_eq!(report.stop, MinresStop::Converged, "{place}: {report:?}");
                // a relative residual of n ε κ, times κ
                let error = relative_error(x.cast::<f64>().as_ref(), want.as_ref());
                let limit = 4.0 * tolerance::<T>(n, kappa) * kappa * (n as f64).sqrt();
                assert!(error <= limit, "{place}: {error:e} above {limit:e}");
            }
        }
    }
}

/// Every matrix of the gallery of moderate condition, whatever its signs.
fn solves_the_gallery<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    for (named, n) in gallery::named().flat_map(|named| [3, 20, 33].map(|n| (named, n))) {
        let known = (named.eigenvalues)(n).map(|w| {
            let sizes = w.iter().map(|w| w.abs());
            sizes.clone().fold(0.0, f64::max) / sizes.fold(f64::INFINITY, f64::min)
        });
        let condition = known.or((named.condition)(n)).unwrap_or(f64::INFINITY);
        if named.sign == Sign::Semidefinite || !(condition <= 1e3) {
            continue;
        }
        let (a, b) = (named.matrix::<T>(n), random(n, 1, 53).cast::<T>());
        let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), None, &b, &strict(T::EPS.f64().sqrt()));
        assert_eq!(report.stop, MinresStop::Converged, "{} of order {n} in {}: {report:?}", named.name, T::NAME);
        let off = norm(&residual(&a.cast(), &b.cast(), &x.cast())) / norm(&b);
        assert!(off <= 2.0 * T::EPS.f64().sqrt() + tolerance::<T>(n, condition), "{}: {off:e}", named.name);
    }
}

/// ‖r_k‖ <= 2 ((κ-1)/(κ+1))^⌊k/2⌋ ‖b‖ where the signs are mixed, with √κ and k where they are not; and it never rises.
#[test]
fn the_residual_obeys_the_bounds_of_its_condition() {
    let n = 64;
    for ctx in contexts::<f64>() {
        for kappa in [4.0f64, 30.0, 300.0] {
            for definite in [true, false] {
                let w = if definite { graded(n, kappa) } else { both_signs(n, kappa) };
                let (a, b) = (with_spectrum(&w, 54), random(n, 1, 55));
                let (rate, power) = if definite {
                    ((kappa.sqrt() - 1.0) / (kappa.sqrt() + 1.0), 1)
                } else {
                    ((kappa - 1.0) / (kappa + 1.0), 2)
                };
                let mut last = 1.0;
                for k in 0..40 {
                    let (x, _) = solve(&ctx, &operator(&a), None, &b, &budget(k));
                    let now = norm(&residual(&a, &b, &x)) / norm(&b);
                    let rounding = tolerance::<f64>(n, kappa);
                    let bound = 2.0 * rate.powi((k / power) as i32) + rounding;
                    assert!(now <= bound, "definite {definite}, κ {kappa}, step {k}: {now:e} above {bound:e}");
                    assert!(now <= last + rounding, "step {k}: the residual rose from {last:e} to {now:e}");
                    if definite {
                        let mut cg = Mat::zeros(n, 1);
                        let options = CgOptions { max_iterations: k, relative_tolerance: 0.0, ..CgOptions::default() };
                        pcg(&ctx, &operator(&a), None, b.as_ref(), cg.as_mut(), &options).unwrap();
                        let of_cg = norm(&residual(&a, &b, &cg)) / norm(&b);
                        assert!(now <= of_cg + rounding, "step {k}: {now:e}, conjugate gradient {of_cg:e}");
                    }
                    last = now;
                }
            }
        }
    }
}

fn reports_what_it_returns<T: Scalar>() {
    let (n, kappa) = (33, 30.0);
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&both_signs(n, kappa), 56).cast();
        let b: Mat<T> = random(n, 1, 57).cast();
        let entries: Vec<T> = (0..n).map(|i| T::of([1.0, 4.0, 0.25][i % 3])).collect();
        let metric = DiagonalMetric::new(entries.clone()).unwrap();
        let inverse = MetricInverse(metric);
        let in_metric = |r: &Mat<f64>| (0..n).map(|i| r[(i, 0)].powi(2) / entries[i].f64()).sum::<f64>().sqrt();
        for preconditioned in [false, true] {
            let m_inv = preconditioned.then_some(&inverse as &dyn Preconditioner<T>);
            let length = |r: &Mat<f64>| if preconditioned { in_metric(r) } else { norm(r) };
            for k in [0, 1, 2, 5, 13, 34] {
                let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), m_inv, &b, &budget(k));
                let r = residual(&a.cast(), &b.cast(), &x.cast());
                let limit = tolerance::<T>(n, 16.0 * kappa);
                assert!((report.relative_residual - norm(&r) / norm(&b)).abs() <= limit, "{report:?}");
                let relative = length(&r) / length(&b.cast());
                assert!((report.residual_estimate - relative).abs() <= limit, "{report:?}: {relative:e}");
                assert_eq!((report.iterations, report.products), (k, k + usize::from(k > 0)));
                // between 1 and the condition of M^-½ A M^-½, at most 16 κ
                assert!(report.condition >= 1.0 && report.condition <= 16.0 * kappa * (1.0 + limit), "{report:?}");
                assert!(report.operator_norm <= 4.0 * (1.0 + limit), "{report:?}");
            }
        }
    }
}

/// With M = F Fᵀ the iterates are F⁻ᵀ those of F⁻¹A F⁻ᵀ and F⁻¹b.
fn a_preconditioner_is_a_change_of_variables<T: Scalar>() {
    let (n, kappa) = (24, 20.0);
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&both_signs(n, kappa), 58).cast();
        let b: Mat<T> = random(n, 1, 59).cast();
        // powers of four: F is exact
        let root = |i: usize| T::of([1.0, 2.0, 0.5][i % 3]);
        let metric = DiagonalMetric::new((0..n).map(|i| root(i) * root(i)).collect()).unwrap();
        let whitened = SymmetricDense::new(Mat::from_fn(n, n, |i, j| a[(i, j)] / root(i) / root(j))).unwrap();
        let white_b = Mat::from_fn(n, 1, |i, _| b[(i, 0)] / root(i));
        for k in [1, 2, 3, 6, 11] {
            let (x, _) = solve(&ctx, &operator::<T>(&a.cast()), Some(&MetricInverse(metric.clone())), &b, &budget(k));
            let (y, _) = solve(&ctx, &whitened, None, &white_b, &budget(k));
            let want = Mat::from_fn(n, 1, |i, _| y[(i, 0)] / root(i));
            let error = relative_error(x.as_ref(), want.as_ref());
            assert!(error <= tolerance::<T>(n, 16.0 * kappa), "step {k} in {}: {error:e}", T::NAME);
        }
    }
}

fn a_shift_is_that_of_the_operator<T: Scalar>() {
    let n = 31;
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&graded(n, 10.0), 60).cast();
        let b: Mat<T> = random(n, 1, 61).cast();
        for shift in [-4.03, 0.5, -20.0] {
            let options = MinresOptions { shift: T::of(shift), ..budget(6) };
            let (x, _) = solve(&ctx, &operator::<T>(&a.cast()), None, &b, &options);
            let shifted = Shifted::new(operator::<T>(&a.cast()), T::of(shift));
            let (want, _) = solve(&ctx, &shifted, None, &b, &budget(6));
            let error = relative_error(x.as_ref(), want.as_ref());
            assert!(error <= tolerance::<T>(n, 100.0), "shift {shift} in {}: {error:e}", T::NAME);
        }
    }
}

/// A singular system: solved where it can be, else a least-squares solution and the value that says so.
fn singular_systems<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [3, 8, 33, 64] {
            let w: Vec<f64> = (0..n).map(|i| [0.0, 1.0, -2.0, 0.5][i % 4]).collect();
            for a in [Mat::from_diagonal(&w).cast::<T>(), with_spectrum(&w, 62).cast()] {
                let place = format!("order {n} on {} in {}", ctx.backend().name(), T::NAME);
                let consistent: Mat<T> = product(&a.cast(), &random(n, 1, 63)).cast();
                let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), None, &consistent, &MinresOptions::default());
                assert_eq!(report.stop, MinresStop::Converged, "consistent, {place}: {report:?}");
                let off = norm(&residual(&a.cast(), &consistent.cast(), &x.cast())) / norm(&consistent);
                assert!(off <= 2.0 * T::EPS.f64().sqrt() + tolerance::<T>(n, 4.0), "{place}: {off:e}");

                let b: Mat<T> = random(n, 1, 64).cast();
                let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), None, &b, &MinresOptions::default());
                assert_eq!(report.stop, MinresStop::LeastSquares, "inconsistent, {place}: {report:?}");
                assert!(report.iterations <= 4 && report.relative_residual > 0.1, "{place}: {report:?}");
                let r = residual(&a.cast(), &b.cast(), &x.cast());
                let back = norm(&product(&a.cast(), &r));
                let limit = 4.0 * MinresOptions::<T>::default().normal_tolerance.f64() * norm(&r);
                assert!(back <= limit + tolerance::<T>(n, 4.0) * norm(&b), "{place}: A r is {back:e}");
            }
        }
        // the zero operator: x = 0 is a least-squares solution, found by one product
        let (x, report) = solve(&ctx, &operator::<T>(&Mat::zeros(4, 4)), None, &random(4, 1, 65).cast(), &strict(0.0));
        assert_eq!((report.stop, report.iterations, report.products), (MinresStop::LeastSquares, 0, 1));
        assert_eq!((x, report.relative_residual), (Mat::zeros(4, 1), 1.0));
    }
}

/// From x₀ the iterates are x₀ + those of Ā d = r₀; a solution stays; tolerances and the report are relative to b; nothing
/// is worse than the start.
fn warm_starts<T: Scalar>() {
    let (n, kappa) = (31, 20.0);
    let metric = MetricInverse(DiagonalMetric::new((0..n).map(|i| T::of([1.0, 4.0, 0.25][i % 3])).collect()).unwrap());
    let given = |options: MinresOptions<T>| MinresOptions { start: CgStart::Given, ..options };
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&both_signs(n, kappa), 70).cast();
        let (b, start): (Mat<T>, Mat<T>) = (random(n, 1, 71).cast(), random(n, 1, 72).cast());
        let shift = T::of(0.03125);
        let full = Mat::from_fn(n, n, |i, j| a[(i, j)].f64() + if i == j { shift.f64() } else { 0.0 });
        let r = residual(&full, &b.cast(), &start.cast());
        let from = |start: &Mat<T>, m_inv, options: &MinresOptions<T>| {
            let mut x = start.clone();
            let report =
                minres(&ctx, &operator::<T>(&a.cast()), m_inv, b.as_slice(), x.as_mut_slice(), options).unwrap();
            assert!(x.as_ref().is_finite(), "{report:?}");
            (x, report)
        };
        for m_inv in [None, Some(&metric as &dyn Preconditioner<T>)] {
            let place = format!("{} on {} in {}", m_inv.is_some(), ctx.backend().name(), T::NAME);
            let limit = tolerance::<T>(n, 16.0 * kappa);
            for k in [0, 1, 2, 5, 9] {
                let options = MinresOptions { shift, ..budget(k) };
                let (d, _) = solve(&ctx, &operator::<T>(&a.cast()), m_inv, &r.cast(), &options);
                let (x, report) = from(&start, m_inv, &given(options));
                let want = Mat::from_fn(n, 1, |i, _| start[(i, 0)].f64() + d[(i, 0)].f64());
                let error = relative_error(x.cast::<f64>().as_ref(), want.as_ref());
                assert!(error <= limit, "step {k}, {place}: {error:e}");
                let left = norm(&residual(&full, &b.cast(), &x.cast())) / norm(&b);
                assert!((report.relative_residual - left).abs() <= limit, "{place}: {report:?}, {left}");
                assert_eq!((report.iterations, report.products), (k, k + 1 + usize::from(k > 0)), "{place}");
                let worst = norm(&r) / norm(&b) * if m_inv.is_some() { 4.0 } else { 1.0 };
                assert!(left <= worst * (1.0 + limit), "{place}: {left} from {worst}");
            }
            // from the solution: nothing to do, not a bit changes, and a multiple of it decays to it
            let options = MinresOptions { shift, ..strict(tolerance::<T>(n, kappa)) };
            let (solution, report) = from(&start, m_inv, &given(options));
            assert_eq!(report.stop, MinresStop::Converged, "{place}: {report:?}");
            let looser = MinresOptions { relative_tolerance: T::of(8.0) * options.relative_tolerance, ..options };
            let (x, report) = from(&solution, m_inv, &given(looser));
            assert_eq!((report.stop, report.iterations, report.products), (MinresStop::Converged, 0, 1), "{place}");
            assert_eq!(x, solution, "{place}");
            let decayed = MinresOptions { start: CgStart::Decayed(T::of(0.5)), ..looser };
            let (x, report) = from(&solution.map(|x| x + x), m_inv, &decayed);
            assert_eq!((report.iterations, x), (0, solution), "{place}");
        }
        // what is not finite is not started from; from zero it is not read
        let mut poisoned = start.clone();
        poisoned[(3, 0)] = T::nan();
        let (x, report) = from(&poisoned, None, &given(strict(0.1)));
        assert_eq!((report.stop, report.products, x), (MinresStop::Breakdown, 0, Mat::zeros(n, 1)));
        assert_eq!(from(&poisoned, None, &strict(0.1)).1.stop, MinresStop::Converged);
        // an exact start of a small system, and b = 0
        let (mut x, half) = (vec![T::of(2.0); 3], operator::<T>(&Mat::from_diagonal(&[0.5, -0.5, 2.0])));
        let exact = [T::ONE, -T::ONE, T::of(4.0)];
        let report = minres(&ctx, &half, None, &exact, &mut x, &given(strict(0.0))).unwrap();
        assert_eq!((report.stop, report.iterations, report.relative_residual), (MinresStop::Converged, 0, 0.0));
        let report = minres(&ctx, &half, None, &[T::ZERO; 3], &mut x, &given(strict(0.0))).unwrap();
        assert_eq!((report.stop, report.products, x), (MinresStop::Converged, 0, vec![T::ZERO; 3]));
    }
}

/// b times 2^e gives x times 2^e, A times 2^e gives x times 2^-e, digit for digit.
fn scales<T: Scalar>(exponents: &[(i32, i32)]) {
    let n = 24;
    let a: Mat<T> = with_spectrum(&both_signs(n, 30.0), 66).cast();
    let b: Mat<T> = random(n, 1, 67).cast();
    let power = |e: i32| T::of(2.0).powi(e);
    for ctx in contexts::<T>() {
        let of = |a: &Mat<T>, b: &Mat<T>| {
            let (x, report) = solve(&ctx, &SymmetricDense::new(a.clone()).unwrap(), None, b, &MinresOptions::default());
            (x, report.stop, report.iterations, report.relative_residual)
        };
        let (x, stop, iterations, relative) = of(&a, &b);
        for &(ea, eb) in exponents {
            let want = (x.map(|x| x * power(eb - ea)), stop, iterations, relative);
            assert_eq!(of(&a.map(|x| x * power(ea)), &b.map(|x| x * power(eb))), want, "A 2^{ea}, b 2^{eb}");
        }
    }
}

#[test]
fn powers_of_two_change_no_digit() {
    scales::<f32>(&[(0, 90), (0, -90), (40, -40), (-40, 40)]);
    scales::<f64>(&[(0, 900), (0, -900), (300, -300), (-300, 300), (400, 900)]);
}

fn breakdowns<T: Scalar>() {
    let n = 5;
    for ctx in contexts::<T>() {
        let a = operator::<T>(&with_spectrum(&both_signs(n, 4.0), 68));
        let b: Mat<T> = random(n, 1, 69).cast();
        let nan = FnOperator::new(n, |_: &[T], out: &mut [T]| {
            out.fill(T::nan());
            Ok::<(), std::convert::Infallible>(())
        });
        let default = MinresOptions::default();
        let (x, report) = solve(&ctx, &nan, None, &b, &default);
        assert_eq!((report.stop, report.iterations, x), (MinresStop::Breakdown, 0, Mat::zeros(n, 1)));
        let (_, report) = solve(&ctx, &a, Some(&Trusted(&nan)), &b, &default);
        assert_eq!((report.stop, report.iterations), (MinresStop::Breakdown, 0));
        for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
            let mut b = b.clone();
            b[(2, 0)] = bad;
            let (_, report) = solve(&ctx, &a, None, &b, &default);
            assert_eq!((report.stop, report.relative_residual), (MinresStop::Breakdown, f64::INFINITY));
        }
        for (sign, at_once) in [(-1.0, true), (1.0, false)] {
            // negative throughout, or in one direction that b does not show
            let m_inv = Mat::from_fn(n, n, |i, j| {
                T::of(if i != j {
                    0.0
                } else if i == 0 {
                    -1.0
                } else {
                    sign
                })
            });
            let mut b = b.clone();
            b[(0, 0)] = T::ZERO;
            let m_inv = Trusted(SymmetricDense::new(m_inv).unwrap());
            let (_, report) = solve(&ctx, &a, Some(&m_inv), &b, &strict(0.0));
            assert_eq!(report.stop, MinresStop::PreconditionerNotPositive, "{report:?}");
            assert_eq!(report.products == 0, at_once, "{report:?}");
        }
        // b = 0 beside NaN, a spent budget, no rows
        let (x, report) = solve(&ctx, &nan, None, &Mat::zeros(n, 1), &default);
        assert_eq!((report.stop, report.products, x), (MinresStop::Converged, 0, Mat::zeros(n, 1)));
        let (_, report) = solve(&ctx, &a, None, &b, &budget(0));
        assert_eq!((report.stop, report.relative_residual), (MinresStop::IterationLimit, 1.0));
        let (_, report) = solve(&ctx, &operator::<T>(&Mat::zeros(0, 0)), None, &Mat::zeros(0, 1), &default);
        assert_eq!((report.stop, report.products), (MinresStop::Converged, 0));
    }
}

#[test]
fn a_last_product_that_belies_the_recurrence_is_a_breakdown() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let once = FnOperator::new(3, |v: &[f64], out: &mut [f64]| {
        out.copy_from_slice(v);
        if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            out[1] = f64::NAN;
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let (x, report) = solve(&Ctx::default(), &once, None, &Mat::from_fn(3, 1, |i, _| 1.0 + i as f64), &strict(1e-8));
    assert_eq!((report.stop, report.relative_residual), (MinresStop::Breakdown, f64::INFINITY));
    assert!(distance(&x, &Mat::<f64>::from_fn(3, 1, |i, _| 1.0 + i as f64)) <= tolerance::<f64>(3, 4.0));
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let a = operator::<f64>(&Mat::identity(3));
    let m4 = Trusted(operator::<f64>(&Mat::identity(4)));
    let run = |b: usize, x: usize, m_inv: Option<&dyn Preconditioner<f64>>, options: MinresOptions<f64>| {
        minres(&ctx, &a, m_inv, &vec![1.0; b], &mut vec![0.0; x], &options)
    };
    let fine = MinresOptions::default();
    for (b, x, m_inv) in [(4, 4, None), (3, 4, None), (3, 3, Some(&m4 as &dyn Preconditioner<f64>))] {
        assert!(matches!(run(b, x, m_inv, fine), Err(Error::Shape { .. })));
    }
    for (options, wrong) in [
        (MinresOptions { shift: f64::NAN, ..fine }, "shift"),
        (MinresOptions { relative_tolerance: -1.0, ..fine }, "relative_tolerance"),
        (MinresOptions { normal_tolerance: f64::INFINITY, ..fine }, "normal_tolerance"),
        (MinresOptions { start: CgStart::Decayed(f64::NAN), ..fine }, "start"),
    ] {
        assert!(matches!(run(3, 3, None, options), Err(Error::InvalidParameter { name, .. }) if name == wrong));
    }
    let failing = FnOperator::new(3, |_: &[f64], _: &mut [f64]| Err(std::fmt::Error));
    assert!(matches!(minres(&ctx, &failing, None, &[1.0; 3], &mut [0.0; 3], &fine), Err(Error::External(_))));
    assert_eq!(a.shape(), (3, 3));
}

for_both!(
    agrees_with_dense,
    solves_the_gallery,
    reports_what_it_returns,
    a_preconditioner_is_a_change_of_variables,
    a_shift_is_that_of_the_operator,
    singular_systems,
    warm_starts,
    breakdowns,
);
