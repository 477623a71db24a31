//! R8: conjugate gradient reports the residual of the x that it returns, and negative curvature with its direction.

use pullback::curvature::{Curvature, Definiteness, MatrixFree, SolveReport};
use pullback::krylov::{CgOptions, CgStop, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::{gallery, tolerance};
use pullback::{Ctx, DampedSolver, Mat, Scalar};

use super::{damping, norm, place, times};

/// ‖b - A x‖ / ‖b‖ of one column, in `f64`.
fn residual<T: Scalar>(a: &Mat<T>, x: &Mat<T>, b: &Mat<T>) -> f64 {
    let ax = times(a, x);
    norm(&Mat::from_fn(b.nrows(), 1, |i, _| b[(i, 0)].f64() - ax[(i, 0)])) / norm(b)
}

pub fn true_residuals<T: Scalar>(ctx: &Ctx<T>) {
    // the condition decides how far the running residual drifts from the true one; ask for more than T can give
    for (n, condition, seed) in [(1, 1.0, 1), (5, 10.0, 2), (33, 1e3, 3), (64, 0.1 / T::EPS.f64(), 4)] {
        let a = gallery::spd::<T>(n, condition, seed);
        let operator = SymmetricDense::new(a.clone()).expect("square");
        let b = gallery::uniform::<T>(n, 1, seed);
        for (relative_tolerance, max_iterations) in [(1e-2, 1000), (0.0, 10 * n), (1e-3, 2)] {
            let options =
                CgOptions { relative_tolerance: T::of(relative_tolerance), max_iterations, ..CgOptions::from_zero() };
            let mut x = Mat::zeros(n, 1);
            let report = pcg(ctx, &operator, None, b.as_ref(), x.as_mut(), &options).expect("shapes");
            let (said, is) = (report.relative_residual(), residual(operator.matrix(), &x, &b));
            // computing b - A x in T rounds by n ε (‖A‖ ‖x‖ + ‖b‖) / ‖b‖
            let limit = tolerance::<T>(n, 1.0 + norm(&a) * norm(&x) / norm(&b));
            let what = format!("{} n = {n}, condition {condition:e}: {:?}", place(ctx), report.stop());
            assert!((said - is).abs() <= limit, "{what}: said {said:e}, is {is:e}, limit {limit:e}");
            assert!(x.as_ref().is_finite(), "{what}");
        }
    }
    drifted_residuals(ctx);
    negative_curvature(ctx);
}

/// From a start that is far too large the running residual goes to zero, and the true one stays at its rounding: the
/// report must tell the latter.
fn drifted_residuals<T: Scalar>(ctx: &Ctx<T>) {
    for n in [5, 33] {
        let a = gallery::spd::<T>(n, 10.0, 7);
        let operator = SymmetricDense::new(a.clone()).expect("square");
        let (b, start) = (gallery::uniform::<T>(n, 1, 8), gallery::uniform::<T>(n, 1, 9));
        let mut x = start.map(|x| x / T::EPS.sqrt());
        let options = CgOptions { relative_tolerance: T::EPS, max_iterations: 10 * n, ..CgOptions::default() };
        let report = pcg(ctx, &operator, None, b.as_ref(), x.as_mut(), &options).expect("shapes");
        let (said, is) = (report.relative_residual(), residual(operator.matrix(), &x, &b));
        let limit = tolerance::<T>(n, 1.0 + norm(&a) * norm(&x) / norm(&b));
        let what = format!("{} n = {n}: said {said:e}, is {is:e}, limit {limit:e}", place(ctx));
        assert!((said - is).abs() <= limit, "{what}");
        if T::NAME == "f64" {
            assert!(is > 2.0 * limit, "{what}: no drift, so this says nothing");
        }
    }
}

fn negative_curvature<T: Scalar>(ctx: &Ctx<T>) {
    let what = place(ctx);
    for n in [1, 2, 9, 33usize] {
        for negative in [1, n.div_ceil(2)] {
            let w: Vec<f64> = (0..n).map(|i| if i < negative { -1.0 } else { 1.0 + i as f64 }).collect();
            let a = gallery::with_spectrum::<T>(&w, 5);
            let operator = SymmetricDense::new(a.clone()).expect("square");
            let (b, mut x) = (gallery::uniform::<T>(n, 1, 6), Mat::zeros(n, 1));
            let options = CgOptions { relative_tolerance: T::ZERO, ..CgOptions::from_zero() };
            let report = pcg(ctx, &operator, None, b.as_ref(), x.as_mut(), &options).expect("shapes");
            assert_eq!(report.stop(), CgStop::NonPositiveCurvature, "{what} n = {n}");
            let (direction, curvature) = report.columns()[0].negative_curvature().expect("a direction");
            assert!(curvature <= 0.0, "{what}: {curvature:e}");
            let p = Mat::from_vec(direction.to_vec(), n, 1).expect("n entries");
            let form: f64 = times(&a, &p).as_slice().iter().zip(p.as_slice()).map(|(ap, p)| ap * p.f64()).sum();
            let limit = tolerance::<T>(n, norm(&a)) * norm(&p).powi(2);
            assert!((form - curvature).abs() <= limit, "{what} n = {n}: pᵀAp {form:e}, said {curvature:e}");
            // through a damped solver: the report says so, and enough damping cures it
            let free = MatrixFree::new(&operator, Definiteness::Indefinite);
            let stop = |lambda: f64| {
                let solver = free.damped(ctx, damping(lambda)).expect("free");
                match solver.solve(ctx, b.as_ref(), Mat::zeros(n, 1).as_mut()).expect("shapes") {
                    SolveReport::Iterative { stop, .. } => stop,
                    other => panic!("{other:?} of an iteration"),
                }
            };
            assert_eq!(stop(2.0), CgStop::Converged, "{what} n = {n}");
            if n == negative {
                assert_eq!(stop(0.5), CgStop::NonPositiveCurvature, "{what} n = {n}");
            }
        }
    }
}
