//! Capabilities of a curvature and of its solver against the dense matrices they stand for.

use pullback::curvature::{
    HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, sample_normal,
};
use pullback::factor::Cholesky;
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, HasDiagonal, LinearOperator, Mat, Scalar};

use super::curvature_support::conformance::{damping, diagonal_agrees};
use super::curvature_support::{distance, norm, row_sum_norm, shifted, times};

/// R Rᵀ in f64.
fn square<T: Scalar>(ctx: &Ctx<T>, root: &impl LinearOperator<T>) -> Mat<f64> {
    let root: Mat<f64> = root.to_dense(ctx).unwrap().cast();
    times(&root, &root.transposed())
}

/// Trace, Frobenius norm, diagonal, roots, log-determinant and draws of `c`, which claims to be `matrix`, and to be damped
/// to `system(λ)`.
pub fn capabilities_agree<T, C>(name: &str, c: &C, matrix: &Mat<f64>, system: impl Fn(f64) -> Mat<f64>)
where
    T: Scalar,
    C: Curvature<T> + HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T> + HasDiagonal<T>,
    C::Solver: HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    let n = matrix.nrows();
    diagonal_agrees(c);
    for ctx in contexts::<T>() {
        let place = format!("{name} of order {n} in {}", T::NAME);
        let limit = tolerance::<T>(n, 1.0) * norm(matrix);
        let trace: f64 = (0..n).map(|i| matrix[(i, i)]).sum();
        let error = (c.trace(&ctx).unwrap().f64() - trace).abs();
        // |tr M| <= √n ‖M‖_F
        assert!(error <= limit * (n as f64).sqrt(), "{place}: trace is off by {error:e}");
        let error = (c.frobenius_norm(&ctx).unwrap().f64() - norm(matrix)).abs();
        assert!(error <= limit, "{place}: Frobenius norm is off by {error:e}");
        let root = c.square_root(&ctx).unwrap();
        let error = distance(&square(&ctx, &root), matrix);
        assert!(error <= limit, "{place}: R R' is off by {error:e}, limit {limit:e}");

        let (mut once, mut again) = (Mat::zeros(n, 2), Mat::zeros(n, 2));
        sample_normal(&ctx, &root, 7, once.as_mut()).unwrap();
        sample_normal(&ctx, &root, 7, again.as_mut()).unwrap();
        assert_eq!(once, again, "{place}: equal seeds, equal draws");

        let size = if norm(matrix) > 0.0 { norm(matrix) } else { 1.0 };
        for relative in [1e-1, 10.0] {
            let lambda = T::of(relative * size).f64();
            let (solver, system) = (c.damped(&ctx, damping(lambda)).unwrap(), system(lambda));
            let kappa = row_sum_norm(&system) / lambda;
            let want = Cholesky::new(&Ctx::reference(), system.clone()).unwrap().log_determinant();
            let error = (solver.log_determinant().f64() - want).abs();
            // each of n logarithms is of a number known to a relative κ ε; the sum is rounded once
            let limit = n as f64 * tolerance::<T>(n, kappa) + tolerance::<T>(1, 1.0) * want.abs();
            assert!(error <= limit, "{place}: log-determinant is off by {error:e}, limit {limit:e}");
            let root = solver.inverse_square_root(&ctx).unwrap();
            let error = distance(&times(&system, &square(&ctx, &root)), &shifted(&Mat::zeros(n, n), 1.0));
            let limit = tolerance::<T>(n, kappa) * (n as f64).sqrt();
            assert!(error <= limit, "{place}: M R R' is off I by {error:e}, limit {limit:e}");
        }
    }
}
