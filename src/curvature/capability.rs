//! What a curvature or its solver can tell beyond products and solves. A capability is a trait: where mathematics does not
//! give a quantity from the structure, the trait is missing, and a matrix-free estimate takes its place.
//!
//! ```text
//! on a curvature C         tr C,  ‖C‖_F,  diag C ([`HasDiagonal`](crate::HasDiagonal)),  R with R Rᵀ = C
//! on a solver of C + λI    log det(C + λI),  R with R Rᵀ = (C + λI)⁻¹
//! samples                  R z with z ~ N(0, I) is N(0, R Rᵀ)
//! ```
//! A root R is n x m for any m: it is not the symmetric root in general, only R Rᵀ is determined.
//!
//! Cost        stated by each kind.
//! Laws        tests/capabilities.rs.
//! Reference   N. J. Higham, Functions of Matrices, 2008, chapter 6 (square roots).

use super::DampedSolver;
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::MatMut;
use crate::random::Draws;
use crate::scalar::Scalar;

/// Capability: tr C.
pub trait HasTrace<T: Scalar>: SelfAdjoint<T> {
    /// tr C.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn trace(&self, ctx: &Ctx<T>) -> Result<T>;
}

/// Capability: ‖C‖_F.
pub trait HasFrobeniusNorm<T: Scalar>: SelfAdjoint<T> {
    /// ‖C‖_F, which neither overflows nor underflows where the result does not.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T>;
}

/// Capability: a root R of a positive semidefinite C, R Rᵀ = C.
pub trait HasSquareRoot<T: Scalar>: SelfAdjoint<T> {
    /// R as an n x m operator.
    type Root<'a>: LinearOperator<T>
    where
        Self: 'a;

    /// R with R Rᵀ = C. Negative eigenvalues from rounding count as zero.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) where C is indefinite by more than rounding.
    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>>;
}

/// Capability of a solver: the log-determinant of the matrix that it inverts.
pub trait HasLogDeterminant<T: Scalar>: DampedSolver<T> {
    /// log det(C + λI), or of the nearby matrix that a factored solver inverts.
    fn log_determinant(&self) -> T;
}

/// Capability of a solver: a root R of the inverse, R Rᵀ = (C + λI)⁻¹.
pub trait HasInverseSquareRoot<T: Scalar>: DampedSolver<T> {
    /// R as an n x m operator.
    type Root<'a>: LinearOperator<T>
    where
        Self: 'a;

    /// R with R Rᵀ = (C + λI)⁻¹ (of the nearby matrix for a factored solver).
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Scalar, C: HasTrace<T> + ?Sized> HasTrace<T> for $pointer {
            fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
                (**self).trace(ctx)
            }
        }
        impl<T: Scalar, C: HasFrobeniusNorm<T> + ?Sized> HasFrobeniusNorm<T> for $pointer {
            fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
                (**self).frobenius_norm(ctx)
            }
        }
        impl<T: Scalar, C: HasSquareRoot<T> + ?Sized> HasSquareRoot<T> for $pointer {
            type Root<'a>
                = C::Root<'a>
            where
                Self: 'a;
            fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
                (**self).square_root(ctx)
            }
        }
        impl<T: Scalar, C: HasLogDeterminant<T> + ?Sized> HasLogDeterminant<T> for $pointer {
            fn log_determinant(&self) -> T {
                (**self).log_determinant()
            }
        }
        impl<T: Scalar, C: HasInverseSquareRoot<T> + ?Sized> HasInverseSquareRoot<T> for $pointer {
            type Root<'a>
                = C::Root<'a>
            where
                Self: 'a;
            fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
                (**self).inverse_square_root(ctx)
            }
        }
    )+};
}
forward!(&C, Box<C>, std::sync::Arc<C>);

/// Fills every column of `out` (n x K) with an independent draw from N(0, R Rᵀ): R z, z standard normal. Equal seeds,
/// equal draws.  One application of R to K columns.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) unless `out` has as many rows as R; those of the operator.
pub fn sample_normal<T: Scalar>(
    ctx: &Ctx<T>,
    root: &(impl LinearOperator<T> + ?Sized),
    seed: u64,
    out: MatMut<'_, T>,
) -> Result<()> {
    let (n, m) = root.shape();
    check_shape("sample_normal: out", (n, out.ncols()), out.shape())?;
    let mut draws = Draws::new(seed, 0);
    let mut z = ctx.scratch(m, out.ncols());
    z.as_mut_slice().iter_mut().for_each(|z| *z = T::of(draws.normal()));
    root.apply(ctx, z.as_ref(), out)
}
