//! [`AnyCurvature`]: curvatures of different kinds behind one type, for heterogeneous blocks.
//!
//! Cost        one virtual call an operation; the solver is boxed once a `damped`.
//! Deviations  only curvatures whose solver is a [`DampedInverse`] can be erased, so a block-diagonal of erased
//!             blocks may always precondition. The diagonal and other capabilities are not known through the erasure:
//!             [`AnyCapable`](super::AnyCapable) keeps them and asks for them.
//! Laws        tests/curvatures.rs (every erased kind agrees with itself before erasure).

use std::sync::Arc;

use super::{Curvature, DampedInverse, Damping, Definiteness};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// What of a [`Curvature`] does not name its solver, object-safe.
pub(super) trait Forms<T: Scalar>: SelfAdjoint<T> {
    fn definiteness(&self) -> Definiteness;
    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()>;
    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()>;
}

impl<T: Scalar, C: Curvature<T>> Forms<T> for C {
    fn definiteness(&self) -> Definiteness {
        Curvature::definiteness(self)
    }

    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        Curvature::quadratic_form(self, ctx, v, out)
    }

    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        Curvature::add_damping(self, ctx, lambda, x, y)
    }
}

/// The object-safe shadow of [`Curvature`].
trait Erased<T: Scalar>: Forms<T> {
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Box<dyn DampedInverse<T>>>;
}

impl<T: Scalar, C: Curvature<T>> Erased<T> for C
where
    C::Solver: DampedInverse<T> + 'static,
{
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Box<dyn DampedInverse<T>>> {
        Ok(Box::new(Curvature::damped(self, ctx, lambda)?))
    }
}

/// A newtype over a shared shadow as the curvature that it hides: `$any` with solver `$solver`, which `$wrap` makes of what
/// the shadow gives.
macro_rules! curvature_behind {
    ($any:ident, $solver:ty, $wrap:expr) => {
        impl<T: Scalar> std::fmt::Debug for $any<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($any)).field("dim", &self.dim()).finish_non_exhaustive()
            }
        }

        impl<T: Scalar> LinearOperator<T> for $any<T> {
            fn shape(&self) -> (usize, usize) {
                self.0.shape()
            }

            fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                self.0.apply_into(ctx, x, y)
            }

            fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                self.0.apply_add(ctx, alpha, x, y)
            }

            fn to_dense(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
                self.0.to_dense(ctx)
            }
        }

        impl<T: Scalar> SelfAdjoint<T> for $any<T> {}

        impl<T: Scalar> Curvature<T> for $any<T> {
            type Solver = $solver;

            fn definiteness(&self) -> Definiteness {
                self.0.definiteness()
            }

            fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<$solver> {
                self.0.damped(ctx, lambda).map($wrap)
            }

            fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
                self.0.quadratic_form(ctx, v, out)
            }

            fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                self.0.add_damping(ctx, lambda, x, y)
            }
        }
    };
}
pub(super) use curvature_behind;

/// Any curvature with a direct solver. Clones share it.
///
/// ```
/// use pullback::curvature::{AnyCurvature, BlockDiagonal, Dense, Diagonal};
/// use pullback::{Ctx, Curvature, DampedInverse, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let mixed = BlockDiagonal::new(vec![
///     AnyCurvature::new(Diagonal::new(vec![1.0])?),
///     AnyCurvature::new(Dense::new(Mat::from_diagonal(&[3.0]))?),
/// ]);
/// let inverse = mixed.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// inverse.precondition(&ctx, Mat::from_vec(vec![2.0, 8.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert_eq!(x.as_slice(), [1.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Clone)]
pub struct AnyCurvature<T: Scalar>(Arc<dyn Erased<T>>);

impl<T: Scalar> AnyCurvature<T> {
    /// Erases the kind.
    pub fn new<C>(curvature: C) -> Self
    where
        C: Curvature<T> + 'static,
        C::Solver: DampedInverse<T> + 'static,
    {
        Self(Arc::new(curvature))
    }
}

curvature_behind!(AnyCurvature, Box<dyn DampedInverse<T>>, std::convert::identity);
