//! What happens when Cholesky meets a pivot that is not positive: an error by default, and on request a wider
//! arithmetic, then a clipped spectrum, each reported.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use curvature_support::conformance::damping;
use curvature_support::*;
use pullback::curvature::{
    BlockDiagonal, Dense, FactorInverse, HasInverseSquareRoot, HasLogDeterminant, Kronecker, KroneckerDamping,
    OnFailure, PiRule, Recovery, SolvePath,
};
use pullback::factor::{PositiveFactor, SymEigen};
use pullback::testing::ratios::{self, THRESHOLD};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, Scalar};

fn recovered<T: Scalar>(ctx: &Ctx<T>, m: &Mat<T>, shift: f64) -> PositiveFactor<T> {
    PositiveFactor::new(ctx, m.clone(), T::of(shift), OnFailure::Recover).unwrap()
}

fn refused<V>(result: Result<V, Error>) {
    assert!(matches!(result.map(|_| ()), Err(Error::NotPositiveDefinite { .. })));
}

/// v vᵀ with entries that are exact in T, plus σ I with σ far below ε: plain Cholesky loses σ, the wider one holds it.
fn hidden_shift<T: Scalar>(n: usize) -> (Mat<T>, f64) {
    // integers: every product is exact, so that v vᵀ is of rank one to the last bit
    let v = |i: usize| 1.0 + (i % 3) as f64;
    (Mat::from_fn(n, n, |i, j| T::of(v(i) * v(j))), T::EPS.f64() / 64.0)
}

fn higher_precision<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [2, 3, 31, 33, 64] {
            let (m, shift) = hidden_shift::<T>(n);
            refused(PositiveFactor::new(&ctx, m.clone(), T::of(shift), OnFailure::Error));
            let factor = recovered(&ctx, &m, shift);
            assert_eq!(factor.recovery(), Recovery::HigherPrecision, "order {n} on {}", ctx.backend().name());
            let l = factor.cholesky().unwrap().l();
            let ratio = ratios::cholesky(m.as_ref(), l);
            assert!(ratio < THRESHOLD, "order {n}: ratio {ratio}");
            // the smallest pivots carry σ: the determinant is that of the exact matrix, (|v|² + σ) σ^(n-1)
            let square: f64 = (0..n).map(|i| m[(i, i)].f64()).sum();
            let want = (square + shift).ln() + (n as f64 - 1.0) * shift.ln();
            let got = factor.log_determinant().f64();
            let limit = tolerance::<T>(n, 1.0) * n as f64 * shift.ln().abs();
            assert!((got - want).abs() <= limit, "order {n}: log det {got:e}, exact {want:e}");
        }
    }
}

/// Matrices that are semidefinite but for rounding, and a shift that does not cover it.
fn clipped<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [2, 3, 31, 33, 64] {
            // beyond what the rounding of a factorization can make positive, on any backend
            let mut w = vec![1.0; n];
            w[n - 1] = -8.0 * n as f64 * T::EPS.f64();
            let m = with_spectrum::<T>(&w, 1);
            for (shift, expected) in [(0.0, n as f64 * T::EPS.f64()), (1e-3 * T::EPS.f64(), n as f64 * T::EPS.f64())] {
                refused(PositiveFactor::new(&ctx, m.clone(), T::of(shift), OnFailure::Error));
                let factor = recovered(&ctx, &m, shift);
                let Recovery::ClippedSpectrum { count, floor } = factor.recovery() else {
                    panic!("order {n}: {:?}", factor.recovery())
                };
                assert_eq!(count, 1, "order {n}");
                assert!((floor / expected - 1.0).abs() <= tolerance::<T>(n, 1.0), "floor {floor:e}, {expected:e}");
                assert!(factor.cholesky().is_none());
                clipped_laws(&ctx, factor, &m, floor);
            }
        }
    }
}

/// The clipped factor is the inverse of the clipped matrix under each of its names.
fn clipped_laws<T: Scalar>(ctx: &Ctx<T>, factor: PositiveFactor<T>, m: &Mat<T>, floor: f64) {
    let n = m.nrows();
    let kappa = 1.0 / floor;
    let eigen = SymEigen::new(&Ctx::<f64>::default(), m.cast()).unwrap();
    let log: f64 = eigen.values().iter().map(|w| w.max(floor).ln()).sum();
    // the eigenvalues of M are known to n ε, and log changes by n ε / w
    let limit = tolerance::<T>(n, 1.0) * n as f64 + tolerance::<T>(1, 1.0) * log.abs();
    assert!((factor.log_determinant().f64() - log).abs() <= limit, "log det {} and {log}", factor.log_determinant());

    let b = random::<T>(n, 2, 2);
    let mut x = b.clone();
    factor.solve_in_place(ctx, x.as_mut()).unwrap();
    let mut root = Mat::zeros(n, n);
    factor.inverse_root(ctx, Mat::identity(n).as_ref(), root.as_mut()).unwrap();
    let inverse: Mat<f64> = factor.into_inverse(ctx).unwrap().cast();
    let limit = tolerance::<T>(n, 1.0) * kappa;
    let error = distance(&x, &times(&inverse, &b.cast()));
    assert!(error <= limit * norm(&b), "inverse and solve differ by {error:e}");
    let root: Mat<f64> = root.cast();
    let error = distance(&times(&root, &root.transposed()), &inverse);
    assert!(error <= limit, "root and inverse differ by {error:e}");
    let (least, largest) = extremes(&inverse);
    assert!(least > 0.0 && largest <= kappa * (1.0 + tolerance::<T>(n, 1.0)), "{least:e}, {largest:e}");
}

fn curvatures_recover<T: Scalar>() {
    // a rank-one matrix with rounding below zero that λ does not cover
    let below = 64.0 * T::EPS.f64();
    let m = with_spectrum::<T>(&[1.0, 1.0, -below, 0.5], 3);
    let lambda = damping::<T>(8.0 * T::EPS.f64());
    for ctx in contexts::<T>() {
        let dense = Dense::new(m.clone()).unwrap();
        refused(dense.damped(&ctx, lambda));
        let solver = dense.clone().with_on_failure(OnFailure::Recover).damped(&ctx, lambda).unwrap();
        assert_eq!(solver.path(), SolvePath::Eigen);
        // the floor is λ, which is above n ε
        assert_eq!(solver.recovery(), Recovery::ClippedSpectrum { count: 1, floor: lambda.get().f64() });
        assert!(solver.log_determinant().is_finite());
        let root = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap();
        assert!(root.as_ref().is_finite());

        // without need nothing is done, nothing is claimed, and no bit changes
        let easy = dense.clone().with_on_failure(OnFailure::Recover).damped(&ctx, damping(0.1)).unwrap();
        assert_eq!((easy.path(), easy.recovery()), (SolvePath::Cholesky, Recovery::None));
        let plain = dense.damped(&ctx, damping(0.1)).unwrap();
        assert_eq!(easy.to_dense(&ctx).unwrap(), plain.to_dense(&ctx).unwrap());

        // blocks add up
        let blocks = BlockDiagonal::new(vec![dense.clone(), dense.clone()]);
        refused(blocks.damped(&ctx, lambda));
        let recovering = || Dense::new(m.clone()).unwrap().with_on_failure(OnFailure::Recover);
        let solver = BlockDiagonal::new(vec![recovering(), recovering()]).damped(&ctx, lambda).unwrap();
        assert_eq!(solver.recovery(), Recovery::ClippedSpectrum { count: 2, floor: lambda.get().f64() });

        // a factored Kronecker: √λ is split so unevenly that it does not cover the rounding of A
        let kind = KroneckerDamping::Factored { pi: PiRule::Fixed(T::of(1e-3) * T::EPS.sqrt()) };
        let c = Kronecker::new(m.clone(), Mat::identity(2), kind).unwrap();
        refused(c.damped(&ctx, lambda));
        let solver = c.with_on_failure(OnFailure::Recover).damped(&ctx, lambda).unwrap();
        assert!(matches!(solver.recovery(), Recovery::ClippedSpectrum { count: 1, .. }), "{:?}", solver.recovery());
        assert!(solver.to_dense(&ctx).unwrap().as_ref().is_finite());
        // the exact path takes negative products as zero, and says so where they are more than rounding
        let negative = with_spectrum::<T>(&[1.0, -0.25, 0.5], 4);
        let exact = |m: &Mat<T>| {
            let c = Kronecker::new(m.clone(), Mat::identity(2), KroneckerDamping::Exact).unwrap();
            c.damped(&ctx, damping(0.1)).unwrap().recovery()
        };
        assert_eq!(exact(&negative), Recovery::ClippedSpectrum { count: 2, floor: T::of(0.1).f64() });
        assert_eq!(exact(&low_rank(6, 2, 5)), Recovery::None);
    }
}

/// Recovery is for rounding: wrong signs, NaN, infinity and a zero matrix without a shift stay errors.
fn errors_stay_errors<T: Scalar>() {
    for ctx in contexts::<T>() {
        for policy in [OnFailure::Error, OnFailure::Recover] {
            let new = |m: Mat<T>, shift: f64| PositiveFactor::new(&ctx, m, T::of(shift), policy);
            refused(new(with_spectrum(&[1.0, -0.1, 0.5], 6), 0.01));
            refused(new(Mat::zeros(3, 3), 0.0));
            refused(new(Mat::from_diagonal(&[-T::ONE]), 0.0));
            for bad in [T::nan(), T::infinity()] {
                let m = Mat::from_fn(
                    3,
                    3,
                    |i, j| if (i, j) == (2, 1) { bad } else { if i == j { T::ONE } else { T::ZERO } },
                );
                assert!(matches!(new(m, 0.1).map(|_| ()), Err(Error::NotFinite { .. })), "{bad}");
            }
            assert!(matches!(new(Mat::zeros(2, 3), 0.1).map(|_| ()), Err(Error::Shape { .. })));
            assert_eq!(new(Mat::zeros(0, 0), 0.0).unwrap().dim(), 0);
            assert_eq!(new(Mat::zeros(3, 3), 0.5).unwrap().recovery(), Recovery::None);
            let ranked = new(low_rank(6, 2, 7), 0.1).unwrap();
            assert_eq!(ranked.recovery(), Recovery::None);
        }
        let inverse = FactorInverse::with_on_failure(&ctx, Mat::zeros(2, 2).as_ref(), T::ONE, OnFailure::Recover);
        assert_eq!(inverse.unwrap().recovery(), Recovery::None);
    }
}

/// Scaling by powers of 4 changes neither the path nor a digit of the recovery.
fn scales<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (m, shift) = hidden_shift::<T>(5);
        for exponent in [-30, -1, 1, 30] {
            let factor = 2f64.powi(exponent);
            let scaled = recovered(&ctx, &m.map(|x| x * T::of(factor)), shift * factor);
            assert_eq!(scaled.recovery(), Recovery::HigherPrecision, "2^{exponent}");
            let plain = recovered(&ctx, &m, shift);
            let error = scaled.log_determinant().f64() - plain.log_determinant().f64() - 5.0 * factor.ln();
            assert!(error.abs() <= tolerance::<T>(5, 1.0) * 5.0 * shift.ln().abs(), "2^{exponent}: {error:e}");
        }
    }
}

for_both!(higher_precision, clipped, curvatures_recover, errors_stay_errors, scales);

#[test]
fn recoveries_add_up_to_the_worst() {
    let clipped = |count, floor| Recovery::ClippedSpectrum { count, floor };
    let all = [Recovery::None, Recovery::HigherPrecision, clipped(2, 0.5)];
    for (i, &a) in all.iter().enumerate() {
        for (j, &b) in all.iter().enumerate().filter(|&(j, _)| j != i) {
            assert_eq!(a.and(b), all[i.max(j)]);
        }
    }
    assert_eq!(clipped(2, 0.5).and(clipped(3, 0.25)), clipped(5, 0.5));
    assert_eq!(Recovery::None.and(Recovery::None), Recovery::None);
}
