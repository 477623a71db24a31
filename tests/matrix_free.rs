//! Matrix-free curvature: its damped solves against dense ones, its reports, borrowed and shared operators.

mod cg_support;

use cg_support::*;
use pullback::curvature::{Curvature, DampedSolver, Damping, Definiteness, Fidelity, MatrixFree, SolveReport};
use pullback::krylov::{CgOptions, CgReport, CgStop};
use pullback::linop::{Identity, SymmetricDense};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Scalar};
use std::sync::Arc;

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).expect("positive")
}

fn shifted(a: &Mat<f64>, lambda: f64) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.nrows(), |i, j| a[(i, j)] + if i == j { lambda } else { 0.0 })
}

fn against_dense<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, rank, lambda) in [(1, 1, 1.0), (3, 2, 0.1), (33, 5, 0.01), (64, 64, 0.5), (129, 40, 0.1)] {
            // positive semidefinite, of rank `rank`
            let spectrum: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 + (i % 7) as f64 } else { 0.0 }).collect();
            let a: Mat<f64> = operator::<T>(&with_spectrum(&spectrum, 1)).matrix().cast();
            let b: Mat<f64> = random(n, 3, 2).cast::<T>().cast();
            let exact = dense_solve(&shifted(&a, lambda), &b);
            let tight = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 1.0)), ..CgOptions::default() };
            let products = Arc::new(operator::<T>(&a));
            let curvature = MatrixFree::new(products, Definiteness::PositiveSemidefinite).with_options(tight).unwrap();
            let solver = curvature.damped(&ctx, damping(lambda)).unwrap();
            assert_eq!((solver.dim(), solver.fidelity()), (n, Fidelity::Iterative));
            let mut x = Mat::from_fn(n, 3, |_, _| T::nan()); // not read
            let report = solver.solve(&ctx, b.cast().as_ref(), x.as_mut()).unwrap();
            let SolveReport::Iterative { iterations, relative_residual, stop } = report else { panic!("{report:?}") };
            assert_eq!(stop, CgStop::Converged, "n = {n}, {}", T::NAME);
            assert!(iterations >= 1 && relative_residual <= 2.0 * tolerance::<T>(n, 1.0 + 7.0 / lambda));
            let error = relative_error(x.cast::<f64>().as_ref(), exact.as_ref());
            let limit = 4.0 * tolerance::<T>(n, 1.0 + 7.0 / lambda);
            assert!(error <= limit, "n = {n}: {error:e} above {limit:e}");
            // the same products, the same quadratic forms
            let mut forms = vec![T::ZERO; 3];
            curvature.quadratic_form(&ctx, b.cast().as_ref(), &mut forms).unwrap();
            let ab = product(&a, &b);
            for (j, form) in forms.iter().enumerate() {
                let dense: f64 = (0..n).map(|i| b[(i, j)] * ab[(i, j)]).sum();
                assert!((form.f64() - dense).abs() <= tolerance::<T>(n, 1.0) * 8.0 * n as f64);
            }
            assert_eq!(curvature.to_dense(&ctx).unwrap(), curvature.products().to_dense(&ctx).unwrap());
        }
    }
}

#[test]
fn damped_solves_agree_with_dense_ones() {
    against_dense::<f32>();
    against_dense::<f64>();
}

#[test]
fn an_indefinite_curvature_is_a_value_in_the_report() {
    for ctx in contexts::<f64>() {
        let mut spectrum = graded(20, 10.0);
        spectrum[4] = -5.0;
        let a = operator(&with_spectrum(&spectrum, 3));
        let curvature = MatrixFree::new(&a, Definiteness::Indefinite);
        assert_eq!(curvature.definiteness(), Definiteness::Indefinite);
        let (b, mut x) = (random(20, 1, 4), Mat::zeros(20, 1));
        let solver = curvature.damped(&ctx, damping(1.0)).unwrap();
        let report = solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        assert!(matches!(report, SolveReport::Iterative { stop: CgStop::NonPositiveCurvature, .. }), "{report:?}");
        assert!(x.as_ref().is_finite());
        let mut detailed = CgReport::default();
        x.as_mut().fill(0.0);
        solver.solve_reported(&ctx, b.as_ref(), x.as_mut(), &mut detailed).unwrap();
        let (p, pap) = detailed.columns()[0].negative_curvature().expect("a direction");
        assert!(p.len() == 20 && pap <= 0.0);
        // enough damping cures it
        let solver = curvature.damped(&ctx, damping(6.0)).unwrap();
        let report = solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        assert!(matches!(report, SolveReport::Iterative { stop: CgStop::Converged, .. }), "{report:?}");
    }
}

#[test]
fn an_exhausted_budget_is_a_value_in_the_report() {
    let ctx = Ctx::<f64>::default();
    let a = operator(&with_spectrum(&graded(60, 1e5), 5));
    let options = CgOptions { max_iterations: 4, ..CgOptions::default() };
    let curvature = MatrixFree::new(&a, Definiteness::PositiveSemidefinite).with_options(options).unwrap();
    let (b, mut x) = (random(60, 2, 6), Mat::zeros(60, 2));
    let report = curvature.damped(&ctx, damping(1e-3)).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    let SolveReport::Iterative { iterations, relative_residual, stop } = report else { panic!("{report:?}") };
    assert_eq!((iterations, stop), (4, CgStop::IterationLimit));
    let residual = {
        let ax = product(&shifted(a.matrix(), 1e-3), &x);
        let norm = |f: &dyn Fn(usize) -> f64| (0..60).map(|i| f(i).powi(2)).sum::<f64>().sqrt();
        (0..2).map(|j| norm(&|i| b[(i, j)] - ax[(i, j)]) / norm(&|i| b[(i, j)])).fold(0.0, f64::max)
    };
    assert!((relative_residual - residual).abs() <= tolerance::<f64>(60, 1e5) * residual);
    assert!(residual > options.relative_tolerance);
}

#[test]
fn preconditioners_are_used_and_their_order_is_checked() {
    for ctx in contexts::<f64>() {
        let (n, lambda) = (30, 0.1);
        let a = with_spectrum(&graded(n, 1000.0), 7);
        let inverse = dense_solve(&shifted(&a, lambda), &Mat::identity(n));
        let exact = Arc::new(Trusted(operator::<f64>(&inverse)));
        let tight = CgOptions { relative_tolerance: tolerance::<f64>(n, 1000.0), ..CgOptions::default() };
        let products = Arc::new(operator::<f64>(&a));
        let plain = MatrixFree::new(products, Definiteness::PositiveSemidefinite).with_options(tight).unwrap();
        let (b, mut x) = (random(n, 2, 8), Mat::zeros(n, 2));
        let mut iterations = |solver: &dyn DampedSolver<f64>| {
            let report = solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            let SolveReport::Iterative { iterations, stop, .. } = report else { panic!("{report:?}") };
            assert_eq!(stop, CgStop::Converged);
            iterations
        };
        assert!(iterations(&plain.damped(&ctx, damping(lambda)).unwrap()) > 10);
        // for one solver, or for all of a curvature
        let one = plain.damped(&ctx, damping(lambda)).unwrap().with_preconditioner(exact.clone()).unwrap();
        assert_eq!(iterations(&one), 1);
        let all = plain.clone().with_preconditioner(exact).unwrap();
        assert_eq!(iterations(&all.damped(&ctx, damping(lambda)).unwrap()), 1);
        let wrong = Arc::new(Identity::new(n + 1));
        assert!(matches!(plain.clone().with_preconditioner(wrong.clone()), Err(Error::Shape { .. })));
        assert!(matches!(one.with_preconditioner(wrong), Err(Error::Shape { .. })));
    }
}

#[test]
fn misuse_is_an_error() {
    let ctx = Ctx::<f64>::default();
    let bad = CgOptions { relative_tolerance: -1.0, ..CgOptions::default() };
    let curvature = MatrixFree::new(Identity::new(3), Definiteness::PositiveSemidefinite);
    assert!(matches!(curvature.clone().with_options(bad), Err(Error::InvalidParameter { .. })));
    let solver = curvature.damped(&ctx, damping(1.0)).unwrap();
    let (b, mut x) = (Mat::zeros(4, 1), Mat::zeros(4, 1));
    assert!(matches!(solver.solve(&ctx, b.as_ref(), x.as_mut()), Err(Error::Shape { .. })));
    let mut report = CgReport::default();
    let result = solver.solve_reported(&ctx, b.as_ref(), x.as_mut(), &mut report);
    assert!(matches!(result, Err(Error::Shape { .. })));
}

/// A borrowed operator and a shared one compile alike; the shared one leaves this scope.
#[test]
fn operators_are_borrowed_or_shared() {
    fn shared() -> impl DampedSolver<f64> + 'static {
        let products = Arc::new(SymmetricDense::new(Mat::from_diagonal(&[1.0, 3.0])).unwrap());
        let curvature = MatrixFree::new(products, Definiteness::PositiveSemidefinite);
        curvature.damped(&Ctx::default(), damping(1.0)).unwrap()
    }
    let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 4.0), Mat::zeros(2, 1));
    shared().solve(&Ctx::default(), b.as_ref(), x.as_mut()).unwrap();
    let expected = Mat::from_vec(vec![2.0, 1.0], 2, 1).unwrap();
    assert!(relative_error(x.as_ref(), expected.as_ref()) <= tolerance::<f64>(2, 4.0));
}
