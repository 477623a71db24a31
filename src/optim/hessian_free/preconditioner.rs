//! [`InnerPreconditioner`]: what preconditions the conjugate gradient inside a Hessian-free step.
//!
//! | part | M | passes when renewed |
//! |---|---|---|
//! | [`NoPreconditioner`] | I | 0 |
//! | [`MartensDiagonal`](super::MartensDiagonal) | diag(E[g²] + λ + η)^α | 2 |
//! | [`KroneckerInner`](super::KroneckerInner) | K-FAC, EKFAC, block-tridiagonal K-FAC at λ + η | 2 |

use crate::backend::Ctx;
use crate::curvature::Damping;
use crate::error::Result;
use crate::linop::Preconditioner;
use crate::optim::{Objective, Passes};
use crate::scalar::Scalar;

/// Makes, for every step, the preconditioner of its inner solve.
pub trait InnerPreconditioner<T: Scalar, O: Objective<T> + ?Sized> {
    /// Learns from θ and the curvature's part of the batch what B = G + (λ+η)I is like. `damping` is λ + η, the very
    /// shift of B. Passes that were needed are added to `passes`.
    ///
    /// # Errors
    /// Those of the objective and of the factorizations.
    fn prepare(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        part: &O::Batch,
        damping: Damping<T>,
        passes: &mut Passes,
    ) -> Result<()>;

    /// M⁻¹ of the last `prepare`; `None` is the identity.
    fn get(&self) -> Option<&dyn Preconditioner<T>>;
}

/// Plain conjugate gradient.
///
/// ```
/// use pullback::optim::{HessianFree, HessianFreeOptions, NoPreconditioner};
/// assert!(HessianFree::<f64, _>::new(HessianFreeOptions::default(), NoPreconditioner).is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NoPreconditioner;

impl<T: Scalar, O: Objective<T> + ?Sized> InnerPreconditioner<T, O> for NoPreconditioner {
    fn prepare(
        &mut self,
        _ctx: &Ctx<T>,
        _objective: &O,
        _theta: &[T],
        _part: &O::Batch,
        _damping: Damping<T>,
        _passes: &mut Passes,
    ) -> Result<()> {
        Ok(())
    }

    fn get(&self) -> Option<&dyn Preconditioner<T>> {
        None
    }
}

/// One that is chosen at run time.
impl<T: Scalar, O: Objective<T> + ?Sized, P: InnerPreconditioner<T, O> + ?Sized> InnerPreconditioner<T, O> for Box<P> {
    fn prepare(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        part: &O::Batch,
        damping: Damping<T>,
        passes: &mut Passes,
    ) -> Result<()> {
        (**self).prepare(ctx, objective, theta, part, damping, passes)
    }

    fn get(&self) -> Option<&dyn Preconditioner<T>> {
        (**self).get()
    }
}
