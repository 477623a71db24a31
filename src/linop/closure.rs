//! [`FnOperator`]: a closure as an operator - how a foreign framework hands in its matrix-vector products.

use std::marker::PhantomData;

use super::{LinearOperator, SelfAdjoint};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A symmetric n x n operator given by a closure v ↦ A v on single vectors; blocks are applied column by column.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, linop::FnOperator};
/// let twice = FnOperator::new(3, |v: &[f64], out: &mut [f64]| {
///     out.iter_mut().zip(v).for_each(|(o, v)| *o = 2.0 * v);
///     Ok::<(), std::convert::Infallible>(())
/// });
/// assert_eq!(twice.to_dense(&Ctx::default())?[(1, 1)], 2.0);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct FnOperator<T, F> {
    dim: usize,
    mvp: F,
    scalar: PhantomData<fn(T)>,
}

impl<T: Scalar, F> FnOperator<T, F> {
    /// `mvp(v, out)` must write A v into `out`; A must be symmetric.
    pub fn new<E>(dim: usize, mvp: F) -> Self
    where
        F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
        E: std::error::Error + Send + Sync + 'static,
    {
        Self { dim, mvp, scalar: PhantomData }
    }
}

impl<T, F, E> LinearOperator<T> for FnOperator<T, F>
where
    T: Scalar,
    F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    fn shape(&self) -> (usize, usize) {
        (self.dim, self.dim)
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            (self.mvp)(x, y).map_err(Error::external)?;
        }
        Ok(())
    }
}

impl<T, F, E> SelfAdjoint<T> for FnOperator<T, F>
where
    T: Scalar,
    F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
}
