//! Every curvature against the conformance suite, one test for each (kind, scalar, backend), and the agreement of all
//! kinds on the same matrix.
//!
//! A bound is `tolerance(n, κ)` times the norms of the operands, κ being that of the damped matrix at hand.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use std::sync::Arc;

use curvature_support::conformance::{conforms_direct, damping, factored_system};
use curvature_support::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Definiteness, Dense, Diagonal, HasLogDeterminant, Kronecker, KroneckerDamping,
    MatrixFree, PiRule, SolveReport,
};
use pullback::krylov::CgStop;
use pullback::linop::SymmetricDense;
use pullback::testing::{Claim, Report, Setup, capability, contexts, curvature, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, Mat, Scalar, conformance};

fn factored<T>() -> KroneckerDamping<T> {
    KroneckerDamping::Factored { pi: PiRule::Trace }
}

conformance! {
    fn diagonal<T>(setup) {
        [0, 1, 2, 3, 31, 33, 64, 129].into_iter().flat_map(|n| {
            let d = random::<T>(n, 1, 5).map(|x| x.abs()).into_vec();
            let claim = Claim::exact("diagonal", Mat::from_diagonal(&d).cast());
            let make = |_: &Ctx<T>| Diagonal::new(d.clone());
            [conforms_direct(setup, &claim, make), capability::check_diagonal(setup, &claim, make)]
        }).collect()
    }

    fn dense<T>(setup) {
        let orders = [0, 1, 2, 3, 31, 33, 64, 129].into_iter();
        let matrices = orders.flat_map(|n| [spd::<T>(n, 100.0, 6), low_rank::<T>(n, n / 3, 7)]);
        matrices.flat_map(|matrix| {
            let claim = Claim::exact("dense", matrix.cast());
            let make = |_: &Ctx<T>| Dense::new(matrix.clone());
            [conforms_direct(setup, &claim, make), capability::check_diagonal(setup, &claim, make)]
        }).collect()
    }

    fn kronecker<T>(setup) {
        factor_pairs::<T>().into_iter().flat_map(|(a, s)| {
            let claim = Claim::exact("exact Kronecker", kron(&a, &s));
            let make = |_: &Ctx<T>| Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
            [conforms_direct(setup, &claim, make), capability::check_diagonal(setup, &claim, make)]
        }).collect()
    }

    fn factored_kronecker<T>(setup) {
        let rules = [PiRule::Trace, PiRule::Frobenius, PiRule::Fixed(T::of(0.5))];
        factor_pairs::<T>().iter().flat_map(|(a, s)| rules.map(|pi| {
            let claim = Claim::exact(format!("Kronecker by {pi:?}"), kron(a, s));
            let claim = claim.factored(|lambda| factored_system(a, s, pi, lambda));
            conforms_direct(setup, &claim, |_| Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Factored { pi }))
        })).collect()
    }

    fn blocks<T>(setup) {
        composite_kinds(setup)
    }

    fn matrix_free<T>(setup) {
        [0, 1, 2, 33, 64].into_iter().map(|n| {
            let matrix = spd::<T>(n, 100.0, 6);
            let claim = Claim::exact("matrix-free", matrix.cast()).iterative();
            curvature::check(setup, &claim, |_| {
                Ok(MatrixFree::new(SymmetricDense::new(matrix.clone())?, Definiteness::PositiveSemidefinite))
            })
        }).collect()
    }
}

/// Two positive definite factors and two of half rank, over shapes with empty, single and block-straddling sides.
fn factor_pairs<T: Scalar>() -> Vec<(Mat<T>, Mat<T>)> {
    let shapes = [(0, 3), (3, 0), (1, 1), (1, 33), (33, 1), (2, 3), (5, 4), (31, 2), (3, 32), (43, 3), (11, 12)];
    let pairs = shapes.into_iter().flat_map(|(d_in, d_out): (usize, usize)| {
        let full = (spd::<T>(d_in, 10.0, 8), spd::<T>(d_out, 10.0, 9));
        let flat = (low_rank::<T>(d_in, d_in.div_ceil(2), 8), low_rank::<T>(d_out, d_out.div_ceil(2), 9));
        [full, flat]
    });
    pairs.collect()
}

fn composite_kinds<T: Scalar>(setup: &Setup<T>) -> Report {
    let (a, s, m) = (spd::<T>(4, 10.0, 10), spd::<T>(3, 10.0, 11), spd::<T>(5, 10.0, 12));
    let exact = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
    let split = || Kronecker::new(a.clone(), s.clone(), factored());
    let dense = || Dense::new(m.clone());
    let (wide_m, product) = (m.cast::<f64>(), kron(&a, &s));
    let two = assembled(&[wide_m.clone(), wide_m.clone()]);
    let blocks = || Ok(BlockDiagonal::new(vec![dense()?, dense()?]));
    let nested =
        || Ok(BlockDiagonal::new(vec![blocks()?, BlockDiagonal::new(vec![]), BlockDiagonal::new(vec![dense()?])]));
    let tail = assembled(&[two.clone(), wide_m.clone()]);
    // one factored block makes the whole factored
    let matrix = assembled(&[wide_m.clone(), product.clone(), tail.clone()]);
    let mixed = Claim::exact("mixed blocks", matrix).factored(|lambda: T| {
        let split = factored_system(&a, &s, PiRule::Trace, lambda);
        assembled(&[shifted(&wide_m, lambda.f64()), split, shifted(&tail, lambda.f64())])
    });
    let exactly = |name: &str, matrix: &Mat<f64>| Claim::<T>::exact(name, matrix.clone());
    let kronecker_blocks = assembled(&[product.clone(), product.clone()]);
    let reports = [
        conforms_direct(setup, &exactly("no blocks", &Mat::zeros(0, 0)), |_| {
            Ok(BlockDiagonal::<T, Dense<T>>::new(vec![]))
        }),
        conforms_direct(setup, &exactly("blocks", &two), |_| blocks()),
        capability::check_diagonal(setup, &exactly("blocks", &two), |_| blocks()),
        conforms_direct(setup, &exactly("nested blocks", &tail), |_| nested()),
        conforms_direct(setup, &exactly("Kronecker blocks", &kronecker_blocks), |_| {
            Ok(BlockDiagonal::new(vec![exact()?, exact()?]))
        }),
        conforms_direct(setup, &mixed, |_| {
            let blocks = [AnyCurvature::new(dense()?), AnyCurvature::new(split()?), AnyCurvature::new(nested()?)];
            Ok(BlockDiagonal::new(blocks.into()))
        }),
        conforms_direct(setup, &exactly("erased", &product), |_| exact().map(AnyCurvature::new)),
        conforms_direct(setup, &exactly("boxed", &product), |_| exact().map(Box::new)),
        conforms_direct(setup, &exactly("shared", &product), |_| exact().map(Arc::new)),
        exact().map_or_else(
            |_| Report::default(),
            |kept| curvature::check_direct(setup, &exactly("borrowed", &product), |_| Ok(&kept)),
        ),
    ];
    reports.into_iter().collect()
}

for_both!(erasure_changes_no_bit, all_kinds_agree_on_a_diagonal_matrix, kronecker_agrees_with_dense);

/// A nested, erased or borrowed form gives the very bits of the plain one.
fn erasure_changes_no_bit<T: Scalar>() {
    let (a, s, b) = (spd::<T>(6, 10.0, 20), spd::<T>(5, 10.0, 21), random::<T>(30, 2, 22));
    let plain = Kronecker::new(a, s, factored()).unwrap();
    let erased = AnyCurvature::new(BlockDiagonal::new(vec![AnyCurvature::new(plain.clone())]));
    for ctx in contexts::<T>() {
        let (mut x, mut y) = (Mat::zeros(30, 2), Mat::zeros(30, 2));
        for k in 0..2 {
            let one = b.as_ref().submatrix(0, k, 30, 1).unwrap();
            plain
                .damped(&ctx, damping(0.1))
                .unwrap()
                .solve(&ctx, one, x.as_mut().submatrix(0, k, 30, 1).unwrap())
                .unwrap();
            erased
                .damped(&ctx, damping(0.1))
                .unwrap()
                .solve(&ctx, one, y.as_mut().submatrix(0, k, 30, 1).unwrap())
                .unwrap();
        }
        assert_eq!(x, y, "{}", ctx.backend().name());
    }
}

fn solved<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, c: &C, lambda: f64, b: &Mat<T>) -> Mat<T> {
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    c.damped(ctx, damping(lambda)).unwrap().solve(ctx, b.as_ref(), x.as_mut()).unwrap();
    x
}

/// diag(a) ⊗ diag(s) as a diagonal, as 1 x 1 blocks, as a dense matrix and as a Kronecker product, from well to ill
/// conditioned and at extreme scales: each solution within tolerance(n, κ) of the elementwise one.
fn all_kinds_agree_on_a_diagonal_matrix<T: Scalar>() {
    for (kappa, exponent) in [(1.0, 0), (1e3, 0), (1e3, 20), (1e3, -20)] {
        let scale = 2f64.powi(exponent);
        let (a, s) = (graded(5, kappa), graded(4, kappa));
        let (a, s): (Vec<T>, Vec<T>) =
            (a.iter().map(|&x| T::of(x * scale)).collect(), s.iter().map(|&x| T::of(x)).collect());
        let d: Vec<T> = a.iter().flat_map(|&a| s.iter().map(move |&s| a * s)).collect();
        let (b, lambda) = (random::<T>(20, 2, 23), scale / kappa);
        let limit = tolerance::<T>(20, 1.0 + kappa);
        for ctx in contexts::<T>() {
            let want: Mat<f64> = solved(&ctx, &Diagonal::new(d.clone()).unwrap(), lambda, &b).cast();
            let one = |&d: &T| Diagonal::new(vec![d]).unwrap();
            let kron = Kronecker::new(Mat::from_diagonal(&a), Mat::from_diagonal(&s), KroneckerDamping::Exact).unwrap();
            let dense = || Dense::new(Mat::from_diagonal(&d)).unwrap();
            let others = [
                ("1 x 1 blocks", solved(&ctx, &BlockDiagonal::new(d.iter().map(one).collect()), lambda, &b)),
                ("dense", solved(&ctx, &dense(), lambda, &b)),
                ("Kronecker", solved(&ctx, &kron, lambda, &b)),
                ("erased", solved(&ctx, &AnyCurvature::new(dense()), lambda, &b)),
            ];
            for (name, x) in others {
                let error = distance(&x, &want) / norm(&want);
                assert!(error <= limit, "{name}, kappa {kappa:e}, 2^{exponent}: {error:e} above {limit:e}");
            }
            // a posteriori: ‖x - x*‖ <= κ ‖r‖/‖b‖ ‖x*‖ with the true residual that CG reports
            let products = SymmetricDense::new(Mat::from_diagonal(&d)).unwrap();
            let free = MatrixFree::new(&products, Definiteness::PositiveSemidefinite);
            let mut x = Mat::zeros(20, 2);
            let report = free.damped(&ctx, damping(lambda)).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            let SolveReport::Iterative { relative_residual, stop, .. } = report else {
                panic!("matrix-free solves iterate: {report:?}");
            };
            assert_eq!(stop, CgStop::Converged);
            let limit = limit + 20f64.sqrt() * (1.0 + kappa) * relative_residual;
            let error = distance(&x, &want) / norm(&want);
            assert!(error <= limit, "matrix-free, kappa {kappa:e}, 2^{exponent}: {error:e} above {limit:e}");
        }
    }
}

/// Exact Kronecker damping against Cholesky of the formed matrix: ill conditioned, rank deficient, and scaled.
fn kronecker_agrees_with_dense<T: Scalar>() {
    let ill = (spd::<T>(7, 300.0, 24), spd::<T>(5, 300.0, 25));
    let flat = (low_rank::<T>(7, 2, 26), low_rank::<T>(5, 1, 27));
    let zero = (Mat::zeros(7, 7), spd::<T>(5, 10.0, 28));
    for (a, s) in [ill, flat, zero] {
        for exponent in [0, 24, -24] {
            let a = a.map(|x| x * T::of(2.0).powi(exponent));
            let formed = kron(&a, &s);
            let (b, lambda) = (random::<T>(35, 2, 29), 2f64.powi(exponent) * 1e-2);
            let (least, largest) = extremes(&shifted(&formed, lambda));
            let limit = tolerance::<T>(35, largest / least);
            for ctx in contexts::<T>() {
                let c = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
                let dense = Dense::new(formed.cast()).unwrap();
                let (x, want) = (solved(&ctx, &c, lambda, &b), solved(&ctx, &dense, lambda, &b).cast());
                let error = distance(&x, &want) / norm(&want);
                assert!(error <= limit, "2^{exponent}: {error:e} above {limit:e}");
                let (got, want) = (
                    c.damped(&ctx, damping(lambda)).unwrap().log_determinant().f64(),
                    dense.damped(&ctx, damping(lambda)).unwrap().log_determinant().f64(),
                );
                let limit = limit + tolerance::<T>(1, 1.0) * want.abs();
                assert!((got - want).abs() <= limit, "2^{exponent}: log det {got:e}, dense {want:e}");
            }
        }
    }
}

#[test]
fn bad_matrices_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    let not_finite = |r: Result<(), Error>| assert!(matches!(r, Err(Error::NotFinite { .. })), "{r:?}");
    for bad in [f64::NAN, f64::INFINITY] {
        let m = Mat::from_fn(2, 2, |i, j| if i != j { bad } else { 1.0 });
        let exact = KroneckerDamping::Exact;
        not_finite(Diagonal::new(vec![1.0, bad]).map(|_| ()));
        not_finite(Dense::new(m.clone()).map(|_| ()));
        not_finite(Kronecker::new(m.clone(), Mat::identity(2), exact).map(|_| ()));
        not_finite(Kronecker::new(Mat::identity(2), m, exact).map(|_| ()));
    }
    let huge = Mat::from_diagonal(&[1e200]);
    let overflowing = Kronecker::new(huge.clone(), huge, KroneckerDamping::Exact).unwrap();
    not_finite(overflowing.damped(&ctx, damping(1.0)).map(|_| ()));
    not_finite(Diagonal::new(vec![f64::MAX]).unwrap().damped(&ctx, damping(f64::MAX)).map(|_| ()));

    assert!(matches!(Dense::new(Mat::<f64>::zeros(2, 3)), Err(Error::Shape { .. })));
    let ragged = Kronecker::new(Mat::<f64>::zeros(2, 3), Mat::identity(2), KroneckerDamping::Exact);
    assert!(matches!(ragged, Err(Error::Shape { .. })));
    for pi in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let damping = KroneckerDamping::Factored { pi: PiRule::Fixed(pi) };
        let c = Kronecker::new(Mat::identity(1), Mat::identity(1), damping);
        assert!(matches!(c, Err(Error::InvalidParameter { .. })));
    }
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Damping::<f64>::try_from(lambda).is_err() && Damping::new(lambda).is_none());
    }

    // not positive definite by more than λ: the pivot is named
    let d = vec![1.0, 2.0, -3.0];
    let pivot = |r: Result<(), Error>| matches!(r, Err(Error::NotPositiveDefinite { pivot: 2, .. }));
    let indefinite = Diagonal::new(d.clone()).unwrap();
    assert_eq!(indefinite.definiteness(), Definiteness::Indefinite);
    assert!(pivot(indefinite.damped(&ctx, damping(3.0)).map(|_| ())));
    assert!(pivot(Dense::new(Mat::from_diagonal(&d)).unwrap().damped(&ctx, damping(1.0)).map(|_| ())));
    assert!(indefinite.damped(&ctx, damping(3.5)).is_ok());
    let c =
        Kronecker::new(Mat::from_diagonal(&d), Mat::identity(1), KroneckerDamping::Factored { pi: PiRule::Fixed(1.0) });
    assert!(pivot(c.unwrap().damped(&ctx, damping(1.0)).map(|_| ())));
    // an error of one block is the error of the whole
    let blocks = BlockDiagonal::new(vec![Diagonal::new(vec![1.0]).unwrap(), indefinite]);
    assert_eq!(blocks.definiteness(), Definiteness::Indefinite);
    assert!(pivot(blocks.damped(&ctx, damping(1.0)).map(|_| ())));
}
