//! [`AnyCapable`]: curvatures of different kinds behind one type that keeps their capabilities.
//!
//! [`AnyCurvature`](super::AnyCurvature) asks nothing of a kind but a direct solver, and so can promise nothing more.
//! This one asks for every capability (all direct kinds of this crate have them all), and a block-diagonal of such
//! blocks has a trace, a log-determinant, samples.
//!
//! Cost        one virtual call an operation; solver and roots are boxed.
//! Laws        tests/capabilities.rs (each capability agrees with that before erasure, bit for bit).

use std::sync::Arc;

use super::any::{Forms, curvature_behind};
use super::{
    Curvature, DampedInverse, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, Recovery, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

type Root<'a, T> = Box<dyn LinearOperator<T> + 'a>;

/// The object-safe shadow of a capable curvature.
trait Erased<T: Scalar>: Forms<T> + HasDiagonal<T> + HasTrace<T> + HasFrobeniusNorm<T> {
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Box<dyn ErasedInverse<T>>>;
    fn root(&self, ctx: &Ctx<T>) -> Result<Root<'_, T>>;
}

impl<T: Scalar, C> Erased<T> for C
where
    C: Curvature<T> + HasDiagonal<T> + HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T>,
    C::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T> + 'static,
{
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Box<dyn ErasedInverse<T>>> {
        Ok(Box::new(Curvature::damped(self, ctx, lambda)?))
    }

    fn root(&self, ctx: &Ctx<T>) -> Result<Root<'_, T>> {
        Ok(Box::new(self.square_root(ctx)?))
    }
}

/// The object-safe shadow of a capable solver.
trait ErasedInverse<T: Scalar>: DampedInverse<T> + HasLogDeterminant<T> {
    fn root(&self, ctx: &Ctx<T>) -> Result<Root<'_, T>>;
}

impl<T: Scalar, D: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T>> ErasedInverse<T> for D {
    fn root(&self, ctx: &Ctx<T>) -> Result<Root<'_, T>> {
        Ok(Box::new(self.inverse_square_root(ctx)?))
    }
}

/// Any curvature with a direct solver and every capability. Clones share it.
///
/// ```
/// use pullback::curvature::{AnyCapable, BlockDiagonal, Dense, Diagonal, HasLogDeterminant, HasTrace};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let mixed = BlockDiagonal::new(vec![
///     AnyCapable::new(Diagonal::new(vec![1.0])?),
///     AnyCapable::new(Dense::new(Mat::from_diagonal(&[3.0]))?),
/// ]);
/// assert_eq!(mixed.trace(&ctx)?, 4.0);
/// let inverse = mixed.damped(&ctx, Damping::try_from(1.0)?)?;
/// assert!((inverse.log_determinant() - 8f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyCapable<T: Scalar>(Arc<dyn Erased<T>>);

impl<T: Scalar> AnyCapable<T> {
    /// Erases the kind.
    pub fn new<C>(curvature: C) -> Self
    where
        C: Curvature<T> + HasDiagonal<T> + HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T> + 'static,
        C::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T> + 'static,
    {
        Self(Arc::new(curvature))
    }
}

curvature_behind!(AnyCapable, AnyCapableInverse<T>, AnyCapableInverse);

impl<T: Scalar> HasDiagonal<T> for AnyCapable<T> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.0.diagonal(ctx, out)
    }
}

impl<T: Scalar> HasTrace<T> for AnyCapable<T> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        self.0.trace(ctx)
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for AnyCapable<T> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        self.0.frobenius_norm(ctx)
    }
}

impl<T: Scalar> HasSquareRoot<T> for AnyCapable<T> {
    type Root<'a> = Box<dyn LinearOperator<T> + 'a>;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        self.0.root(ctx)
    }
}

/// The solver of an [`AnyCapable`]: any direct solver, with log-determinant and inverse root.
///
/// ```
/// use pullback::curvature::{AnyCapable, Diagonal, HasInverseSquareRoot};
/// use pullback::{Ctx, Curvature, Damping, LinearOperator};
/// let ctx = Ctx::<f64>::default();
/// let solver = AnyCapable::new(Diagonal::new(vec![3.0])?).damped(&ctx, Damping::try_from(1.0)?)?;
/// assert_eq!(solver.inverse_square_root(&ctx)?.to_dense(&ctx)?[(0, 0)], 0.5);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct AnyCapableInverse<T: Scalar>(Box<dyn ErasedInverse<T>>);

impl<T: Scalar> std::fmt::Debug for AnyCapableInverse<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnyCapableInverse").field("damping", &self.damping()).finish_non_exhaustive()
    }
}

impl<T: Scalar> LinearOperator<T> for AnyCapableInverse<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for AnyCapableInverse<T> {}
impl<T: Scalar> Preconditioner<T> for AnyCapableInverse<T> {}

impl<T: Scalar> DampedSolver<T> for AnyCapableInverse<T> {
    fn dim(&self) -> usize {
        self.0.shape().0
    }

    fn damping(&self) -> Damping<T> {
        self.0.damping()
    }

    fn fidelity(&self) -> Fidelity {
        self.0.fidelity()
    }

    fn path(&self) -> SolvePath {
        self.0.path()
    }

    fn recovery(&self) -> Recovery {
        self.0.recovery()
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.0.solve_into(ctx, b, x)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for AnyCapableInverse<T> {
    fn log_determinant(&self) -> T {
        self.0.log_determinant()
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for AnyCapableInverse<T> {
    type Root<'a> = Box<dyn LinearOperator<T> + 'a>;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        self.0.root(ctx)
    }
}
