//! Laws of preconditioned conjugate gradient: finite termination, agreement with dense solves, the convergence bound,
//! column by column, warm starts, model values, exact scale equivariance. Negative controls show that they can fail.

mod cg_support;

use cg_support::*;
use pullback::krylov::{CgOptions, CgStart, CgStop, StallRule, pcg};
use pullback::linop::{FnOperator, Identity, SymmetricDense};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Mat, MatMut, Preconditioner, Scalar};

fn finite_termination<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [8, 31, 33, 64, 129] {
            for distinct in [1, 2, 3, 5, 8] {
                let a = operator::<T>(&with_spectrum(&clustered(n, distinct), n as u64));
                terminates_in(&ctx, &a, None, distinct, distinct as f64).unwrap();
            }
        }
    }
}

/// A = W D W and M = W²: A is far from clustered, M⁻¹A has the eigenvalues of D.
fn preconditioned_pair<T: Scalar>(n: usize, distinct: usize) -> (SymmetricDense<T>, SymmetricDense<T>, f64) {
    let w = graded(n, 4.0);
    let (q, d) = (orthogonal(n, 5), with_spectrum(&clustered(n, distinct), 6));
    let function = |f: &dyn Fn(f64) -> f64| {
        let values: Vec<f64> = w.iter().map(|&w| f(w)).collect();
        product(&product(&q, &Mat::from_diagonal(&values)), &q.transposed())
    };
    let root = function(&|w| w);
    let a = product(&product(&root, &d), &root);
    (operator(&a), operator(&function(&|w| 1.0 / (w * w))), 16.0 * distinct as f64)
}

fn preconditioned_termination<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [32, 65] {
            for distinct in [1, 2, 3, 5, 8] {
                let (a, m_inv, kappa) = preconditioned_pair::<T>(n, distinct);
                terminates_in(&ctx, &a, Some(&Trusted(m_inv)), distinct, kappa).unwrap();
            }
        }
    }
}

#[test]
fn as_many_steps_as_distinct_eigenvalues() {
    finite_termination::<f32>();
    finite_termination::<f64>();
}

#[test]
fn as_many_steps_as_distinct_eigenvalues_of_the_preconditioned_matrix() {
    preconditioned_termination::<f32>();
    preconditioned_termination::<f64>();
}

#[test]
fn the_termination_law_detects_asymmetry_and_wrong_preconditioners() {
    let (ctx, n, distinct) = (Ctx::<f64>::default(), 64, 5);
    let a = with_spectrum(&clustered(n, distinct), 1);
    terminates_in(&ctx, &operator(&a), None, distinct, 5.0).unwrap();
    // symmetric part as before, with a small skew part on top
    let skewed = Mat::from_fn(n, n, |i, j| a[(i, j)] + if i < j { 0.01 } else { -0.01 });
    let mvp = |v: &[f64], out: &mut [f64]| Ctx::reference().gemv(1.0, skewed.as_ref(), pullback::Op::No, v, 0.0, out);
    assert!(terminates_in(&ctx, &FnOperator::new(n, mvp), None, distinct, 5.0).is_err());
    // a preconditioner that is positive definite, but unrelated to A
    let unrelated = Trusted(operator(&with_spectrum(&graded(n, 10.0), 2)));
    assert!(terminates_in(&ctx, &operator(&a), Some(&unrelated), distinct, 50.0).is_err());
    // and one of the right family with one wrong entry
    let (a, m_inv, kappa) = preconditioned_pair::<f64>(n, distinct);
    let mut wrong = m_inv.matrix().clone();
    wrong[(3, 3)] *= 1.5;
    terminates_in(&ctx, &a, Some(&Trusted(m_inv)), distinct, kappa).unwrap();
    assert!(terminates_in(&ctx, &a, Some(&Trusted(SymmetricDense::new(wrong).unwrap())), distinct, kappa).is_err());
}

fn exact_inverse<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 33, 64] {
            let kappa = 50.0;
            let a = with_spectrum(&graded(n, kappa), 3);
            let inverse = dense_solve(&a, &Mat::identity(n));
            terminates_in(&ctx, &operator(&a), Some(&Trusted(operator(&inverse))), 1, 16.0 * kappa).unwrap();
        }
    }
}

#[test]
fn the_exact_inverse_as_preconditioner_needs_one_step() {
    exact_inverse::<f32>();
    exact_inverse::<f64>();
}

fn dense_agreement<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, kappa) in [(1, 1.0), (2, 10.0), (3, 100.0), (31, 10.0), (32, 100.0), (129, 1000.0)] {
            // round A and b to T first: the oracle must solve the same system
            let a: Mat<f64> = operator::<T>(&with_spectrum(&graded(n, kappa), 4)).matrix().cast();
            let b: Mat<f64> = random(n, 2, 9).cast::<T>().cast();
            let exact = dense_solve(&a, &b);
            let options = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 1.0)), ..CgOptions::default() };
            let mut x = Mat::zeros(n, 2);
            let report = pcg(&ctx, &operator(&a), None, b.cast().as_ref(), x.as_mut(), &options).unwrap();
            assert_eq!(report.stop(), CgStop::Converged, "n = {n}, {}", T::NAME);
            let error = relative_error(x.cast::<f64>().as_ref(), exact.as_ref());
            let limit = 4.0 * tolerance::<T>(n, kappa);
            assert!(error <= limit, "n = {n}, kappa = {kappa}: {error:e} above {limit:e}");
        }
    }
}

#[test]
fn agrees_with_a_dense_solve() {
    dense_agreement::<f32>();
    dense_agreement::<f64>();
}

#[test]
fn the_energy_error_obeys_the_chebyshev_bound() {
    for ctx in contexts::<f64>() {
        for kappa in [4.0, 100.0, 10_000.0] {
            let n = 64;
            let a = with_spectrum(&graded(n, kappa), 8);
            let (b, exact) = (random(n, 1, 10), dense_solve(&a, &random(n, 1, 10)));
            let energy = |x: &Mat<f64>| {
                let e = Mat::from_fn(n, 1, |i, _| x[(i, 0)] - exact[(i, 0)]);
                let ae = product(&a, &e);
                (0..n).map(|i| e[(i, 0)] * ae[(i, 0)]).sum::<f64>().max(0.0).sqrt()
            };
            let at_start = energy(&Mat::zeros(n, 1));
            let rate = (kappa.sqrt() - 1.0) / (kappa.sqrt() + 1.0);
            for i in [1, 2, 3, 5, 8, 13, 21, 34] {
                let mut x = Mat::zeros(n, 1);
                let options = CgOptions { relative_tolerance: 0.0, max_iterations: i, ..CgOptions::default() };
                pcg(&ctx, &operator(&a), None, b.as_ref(), x.as_mut(), &options).unwrap();
                let bound = (2.0 * rate.powi(i as i32) + tolerance::<f64>(n, kappa)) * at_start;
                assert!(energy(&x) <= bound, "kappa = {kappa}, i = {i}: {:e} above {bound:e}", energy(&x));
            }
        }
    }
}

/// Columns of very different difficulty, solved together and one by one, through products that treat columns alone.
fn column_by_column<T: Scalar>() {
    let n = 33;
    let spectrum: Vec<f64> = clustered(n, 6);
    let (q, a) = (orthogonal(n, 12), operator::<T>(&with_spectrum(&spectrum, 12)));
    let free = random(n, 6, 13);
    // column j lies in the span of j eigenspaces, so it needs j steps; column 0 is zero
    let b =
        Mat::<f64>::from_fn(n, 6, |i, j| (0..n).filter(|e| e % 6 < j).map(|e| q[(i, e)] * (1.0 + free[(e, j)])).sum());
    let b: Mat<T> = b.cast();
    let matrix = a.matrix().clone();
    let alone = FnOperator::new(n, |v: &[T], out: &mut [T]| {
        Ctx::reference().gemv(T::ONE, matrix.as_ref(), pullback::Op::No, v, T::ZERO, out)
    });
    let jacobi = Trusted(
        SymmetricDense::new(Mat::from_fn(n, n, |i, j| if i == j { T::ONE / matrix[(i, i)] } else { T::ZERO })).unwrap(),
    );
    for m_inv in [None, Some(&jacobi as &dyn Preconditioner<T>)] {
        let ctx = Ctx::reference();
        let options = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 6.0)), ..CgOptions::default() };
        let mut together = Mat::zeros(n, 6);
        let report = pcg(&ctx, &alone, m_inv, b.as_ref(), together.as_mut(), &options).unwrap();
        for j in 0..6 {
            let bj = b.as_ref().submatrix(0, j, n, 1).unwrap();
            let mut x = Mat::zeros(n, 1);
            let single = pcg(&ctx, &alone, m_inv, bj, x.as_mut(), &options).unwrap();
            assert_eq!(x.as_slice(), together.as_ref().col(j), "column {j}");
            assert_eq!(single.stop(), report.columns()[j].stop);
            assert_eq!(single.iterations(), report.columns()[j].iterations);
            assert_eq!(single.columns()[0].model, report.columns()[j].model);
            if m_inv.is_none() {
                assert_eq!(single.iterations(), j, "steps of a right-hand side in {j} eigenspaces");
            }
        }
        assert_eq!(report.products(), report.iterations() + 1);
    }
}

#[test]
fn many_right_hand_sides_are_solved_as_if_alone() {
    column_by_column::<f32>();
    column_by_column::<f64>();
}

fn warm_start<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 40;
        let kappa = 10.0;
        let a = operator::<T>(&with_spectrum(&graded(n, kappa), 14));
        let b: Mat<T> = random(n, 3, 15).cast();
        let options = CgOptions { relative_tolerance: T::of(tolerance::<T>(n, 1.0)), ..CgOptions::default() };
        let mut x = Mat::zeros(n, 3);
        let cold = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &options).unwrap();
        assert!(cold.iterations() > 5);
        let solution = x.clone();
        let looser = CgOptions { relative_tolerance: T::of(4.0 * tolerance::<T>(n, 1.0)), ..options };
        let again = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &looser).unwrap();
        assert_eq!((again.stop(), again.iterations(), again.products()), (CgStop::Converged, 0, 1));
        assert_eq!(x, solution);
        // from zero, X is not read
        x.as_mut().fill(T::nan());
        let fresh = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions { start: CgStart::Zero, ..options });
        assert_eq!(fresh.unwrap().iterations(), cold.iterations());
        assert_eq!(x, solution);
        // from nearby, fewer steps
        x.as_mut_slice().iter_mut().for_each(|x| *x *= T::of(1.001));
        let near = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert!(near.iterations() < cold.iterations());
        assert!(near.relative_residual() <= 2.0 * CgOptions::<T>::default().relative_tolerance.f64());
    }
}

#[test]
fn a_warm_start_at_the_solution_does_nothing() {
    warm_start::<f32>();
    warm_start::<f64>();
}

fn identity_preconditioner<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 7, 64, 129] {
            let a = operator::<T>(&with_spectrum(&graded(n, 30.0), 16));
            let b: Mat<T> = random(n, 3, 17).cast();
            let (mut plain, mut with) = (Mat::zeros(n, 3), Mat::zeros(n, 3));
            let options = CgOptions::default();
            let first = pcg(&ctx, &a, None, b.as_ref(), plain.as_mut(), &options).unwrap();
            let second = pcg(&ctx, &a, Some(&Identity::new(n)), b.as_ref(), with.as_mut(), &options).unwrap();
            assert_eq!(plain, with);
            assert_eq!(first.iterations(), second.iterations());
        }
    }
}

#[test]
fn the_identity_preconditioner_changes_no_bit() {
    identity_preconditioner::<f32>();
    identity_preconditioner::<f64>();
}

fn model_values<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (n, kappa) = (48, 40.0);
        let a: Mat<f64> = operator::<T>(&with_spectrum(&graded(n, kappa), 18)).matrix().cast();
        let b: Mat<f64> = random(n, 1, 19).cast::<T>().cast();
        let start: Mat<T> = random(n, 1, 20).cast();
        let watch = StallRule { progress: f64::MIN_POSITIVE, ..StallRule::default() };
        let size = dense_model(&a, &b, &dense_solve(&a, &b), 0).abs();
        let limit = tolerance::<T>(n, kappa) * (size + dense_model(&a, &b, &start.cast(), 0).abs());
        let mut last = f64::INFINITY;
        for i in 0..20 {
            let mut x = start.clone();
            let options = CgOptions { max_iterations: i, stall: Some(watch), ..CgOptions::default() };
            let report = pcg(&ctx, &operator(&a), None, b.cast().as_ref(), x.as_mut(), &options).unwrap();
            let column = &report.columns()[0];
            let dense = dense_model(&a, &b, &x.cast(), 0);
            assert!((column.model - dense).abs() <= limit, "step {i}: {} against {dense}", column.model);
            assert!(column.model <= last, "step {i}: the model rose from {last} to {}", column.model);
            assert_eq!(column.models().len(), column.iterations + 1);
            assert_eq!(column.models().last(), Some(&column.model));
            last = column.model;
        }
        assert!(last < 0.0);
    }
}

#[test]
fn model_values_are_those_of_the_dense_quadratic_and_fall() {
    model_values::<f32>();
    model_values::<f64>();
}

/// Scaling A by 2^a and b by 2^b scales x by 2^(b-a) and changes nothing else, not even a bit.
fn scales<T: Scalar>(exponents: &[(i32, i32)]) {
    for ctx in contexts::<T>() {
        let n = 33;
        let power = |e: i32| T::of(2.0).powi(e);
        let a: Mat<T> = operator::<T>(&with_spectrum(&graded(n, 20.0), 21)).matrix().clone();
        let b: Mat<T> = random(n, 2, 22).cast();
        let solve = |a: &Mat<T>, b: &Mat<T>| {
            let mut x = Mat::zeros(n, 2);
            let a = SymmetricDense::new(a.clone()).unwrap();
            let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
            assert_eq!(report.stop(), CgStop::Converged);
            (x, report.iterations(), report.relative_residual())
        };
        let (x, iterations, residual) = solve(&a, &b);
        for &(ea, eb) in exponents {
            let scaled = solve(&a.map(|v| v * power(ea)), &b.map(|v| v * power(eb)));
            let expected = (x.map(|v| v * power(eb - ea)), iterations, residual);
            assert_eq!(scaled, expected, "A 2^{ea}, b 2^{eb}, {} {}", T::NAME, ctx.backend().name());
        }
    }
}

#[test]
fn powers_of_two_change_no_bit() {
    scales::<f32>(&[(0, 90), (0, -90), (40, -40), (-40, 40), (60, 100), (-60, -100)]);
    scales::<f64>(&[(0, 900), (0, -900), (300, -300), (-300, 300), (900, 800), (-900, -800)]);
}

#[test]
fn columns_of_a_larger_matrix_serve_as_well() {
    let (n, ctx) = (20, Ctx::<f64>::default());
    let a = operator(&with_spectrum(&graded(n, 5.0), 23));
    let b = random(n, 2, 24);
    let mut plain = Mat::zeros(n, 2);
    pcg(&ctx, &a, None, b.as_ref(), plain.as_mut(), &CgOptions::default()).unwrap();
    let mut padded = vec![7.0; 2 * (n + 3)];
    padded[..n].fill(0.0);
    padded[n + 3..2 * n + 3].fill(0.0);
    let view = MatMut::from_slice(&mut padded, n, 2, n + 3).unwrap();
    pcg(&ctx, &a, None, b.as_ref(), view, &CgOptions::default()).unwrap();
    assert!(
        relative_error(pullback::MatRef::from_column(&padded[..n]), plain.as_ref().submatrix(0, 0, n, 1).unwrap())
            <= tolerance::<f64>(n, 5.0)
    );
    assert_eq!(padded[n..n + 3], [7.0; 3], "padding");
    assert_eq!(padded[2 * n + 3..], [7.0; 3], "padding");
}
