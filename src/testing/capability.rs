//! The laws of what a curvature or a solver can tell beyond products and solves, one function for each capability trait.
//!
//! ```text
//! diagonal    d_i = C_ii                     log det     log det M, by Cholesky of the dense M in f64
//! trace       Σ C_ii                         root        R Rᵀ = C
//! norm        ‖C‖_F                          inverse root   M R Rᵀ = I
//! ```
//! M is C + λI, or the nearby matrix that the claim states. The law "repeats" asks for the same bits on a second call.
//!
//! Cost        one dense copy and one answer, or three dampings and a factorization of n³/3 flops, for each context.
//! Laws        tests/broken_implementors.rs.

use super::dense::{differing, distance, norm, row_sum_norm, times};
use super::{Claim, Measure, Recorder, Report, Setup, tolerance};
use crate::backend::Ctx;
use crate::curvature::{
    Curvature, Damping, HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace,
};
use crate::error::{Error, Result};
use crate::factor::Cholesky;
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// Every law of this suite; a function measures those that name its capability, and "builds".
pub const LAWS: [&str; 8] = [
    "builds",
    "tells its diagonal",
    "diagonal refuses wrong lengths",
    "tells its trace",
    "tells its Frobenius norm",
    "has a square root",
    "tells its log-determinant",
    "has an inverse square root",
];

/// λ in units of ‖C‖_F at which solvers are asked.
const MULTIPLES: [f64; 3] = [1e-2, 1.0, 1e2];

/// Runs `measure` on each context with the operator that `make` builds and its matrix.
fn each<T: Scalar, A: SelfAdjoint<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
    measure: impl Fn(&mut Recorder, &Ctx<T>, &A, &Mat<f64>, &str),
) -> Report {
    let mut r = Recorder::new("capability", setup.seed);
    for ctx in &setup.contexts {
        if let Some(a) = r.build(&claim.name, || make(ctx)) {
            let dense = || a.to_dense(ctx).map(|m| m.cast()).unwrap_or_else(|_| Mat::zeros(0, 0));
            let matrix = claim.matrix.clone().unwrap_or_else(dense);
            measure(&mut r, ctx, &a, &matrix, &claim.place(ctx, a.shape()));
        }
    }
    r.into()
}

/// [`HasDiagonal`]: entry by entry, and an error for a slice of another length.
///
/// ```
/// use pullback::{linop::Identity, testing::{Claim, Setup, capability}};
/// let claim = Claim::<f32>::unknown("identity");
/// capability::check_diagonal(&Setup::default(), &claim, |_| Ok(Identity::new(4))).assert_passed();
/// ```
pub fn check_diagonal<T: Scalar, A: HasDiagonal<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    each(setup, claim, make, |r, ctx, a, matrix, place| {
        let n = a.dim();
        let ask = || {
            let mut d = Mat::from_fn(n, 1, |_, _| T::nan());
            a.diagonal(ctx, d.as_mut_slice()).map(|()| d)
        };
        r.law("tells its diagonal", place, || {
            let (d, want) = (ask()?, Mat::from_fn(n, 1, |i, _| matrix[(i, i)]));
            let ratio = Measure::ratio(distance(&d, &want), tolerance::<T>(n, claim.condition) * norm(matrix));
            Ok(ratio.worse(Measure::count(differing(&d, &ask()?))))
        });
        r.holds("diagonal refuses wrong lengths", place, || {
            let refused = |len: usize| matches!(a.diagonal(ctx, &mut vec![T::ZERO; len]), Err(Error::Shape { .. }));
            Ok(refused(n + 1) && (n == 0 || refused(n - 1)))
        });
    })
}

/// [`HasTrace`].
pub fn check_trace<T: Scalar, A: HasTrace<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    each(setup, claim, make, |r, ctx, a, matrix, place| {
        r.law("tells its trace", place, || {
            let (got, again) = (a.trace(ctx)?, a.trace(ctx)?);
            let diagonal = (0..matrix.nrows()).map(|i| matrix[(i, i)]);
            let (want, scale) = (diagonal.clone().sum::<f64>(), diagonal.map(f64::abs).sum::<f64>());
            // a trace from another form (eigenvalues, factors) has the rounding of the whole matrix
            let bound = tolerance::<T>(a.dim(), claim.condition) * scale.max(norm(matrix));
            Ok(Measure::ratio((got.f64() - want).abs(), bound).worse(Measure::holds(got == again)))
        });
    })
}

/// [`HasFrobeniusNorm`].
pub fn check_frobenius_norm<T: Scalar, A: HasFrobeniusNorm<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    each(setup, claim, make, |r, ctx, a, matrix, place| {
        r.law("tells its Frobenius norm", place, || {
            let (got, again, want) = (a.frobenius_norm(ctx)?, a.frobenius_norm(ctx)?, norm(matrix));
            let ratio = Measure::ratio((got.f64() - want).abs(), tolerance::<T>(a.dim(), claim.condition) * want);
            Ok(ratio.worse(Measure::holds(got == again)))
        });
    })
}

/// [`HasSquareRoot`]: R Rᵀ is the matrix.
pub fn check_square_root<T: Scalar, A: HasSquareRoot<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    each(setup, claim, make, |r, ctx, a, matrix, place| {
        r.bound("has a square root", place, || {
            let root: Mat<f64> = a.square_root(ctx)?.to_dense(ctx)?.cast();
            let error = distance(&times(&root, &root.transposed())?, matrix);
            let order = root.nrows().max(root.ncols());
            Ok((error, tolerance::<T>(order, claim.condition) * norm(&root).powi(2)))
        });
    })
}

/// Runs `measure` on the solver at every λ, with the matrix that it inverts and a bound of that one's condition.
fn each_solver<T: Scalar, C: Curvature<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<C>,
    measure: impl Fn(&mut Recorder, &Ctx<T>, &C::Solver, &Mat<f64>, f64, &str),
) -> Report {
    each(setup, claim, make, |r, ctx, c, matrix, place| {
        let size = if norm(matrix) > 0.0 { norm(matrix) } else { 1.0 };
        for multiple in MULTIPLES {
            let Some(lambda) = Damping::new(T::of(multiple * size)) else { continue };
            let place = format!("{place}, lambda {multiple:e} of the norm");
            let system = claim.system(matrix, lambda.get());
            let kappa = row_sum_norm(&system) / lambda.get().f64() * claim.condition;
            if let Some(solver) = r.build(&place, || c.damped(ctx, lambda)) {
                measure(r, ctx, &solver, &system, kappa, &place);
            }
        }
    })
}

/// [`HasLogDeterminant`] of the solver, C being positive semidefinite.
///
/// A relative change of ε κ of the matrix changes each of n logarithms by that much.
pub fn check_log_determinant<T: Scalar, C: Curvature<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<C>,
) -> Report
where
    C::Solver: HasLogDeterminant<T>,
{
    each_solver(setup, claim, make, |r, _, solver, system, kappa, place| {
        r.bound("tells its log-determinant", place, || {
            let want = Cholesky::new(&Ctx::reference(), system.clone())?.log_determinant();
            let got = solver.log_determinant().f64();
            let bound = tolerance::<T>(system.nrows(), kappa) + tolerance::<T>(1, 1.0) * want.abs();
            Ok(((got - want).abs(), bound))
        });
    })
}

/// [`HasInverseSquareRoot`] of the solver, C being positive semidefinite: M R Rᵀ = I.
pub fn check_inverse_square_root<T: Scalar, C: Curvature<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<C>,
) -> Report
where
    C::Solver: HasInverseSquareRoot<T>,
{
    each_solver(setup, claim, make, |r, ctx, solver, system, kappa, place| {
        r.bound("has an inverse square root", place, || {
            let root: Mat<f64> = solver.inverse_square_root(ctx)?.to_dense(ctx)?.cast();
            let product = times(system, &times(&root, &root.transposed())?)?;
            let n = system.nrows();
            let order = root.nrows().max(root.ncols());
            Ok((distance(&product, &Mat::<f64>::identity(n)), tolerance::<T>(order, kappa) * (n as f64).sqrt()))
        });
    })
}
