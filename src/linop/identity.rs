//! The identity: the preconditioner that does nothing.

use super::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::backend::Ctx;
use crate::error::{Result, check_len};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// The n x n identity.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    dim: usize,
}

impl Identity {
    /// The identity of order n.
    pub fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl<T: Scalar> LinearOperator<T> for Identity {
    fn shape(&self) -> (usize, usize) {
        (self.dim, self.dim)
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.copy_from(x)
    }
}

impl<T: Scalar> SelfAdjoint<T> for Identity {}
impl<T: Scalar> Preconditioner<T> for Identity {}

impl<T: Scalar> HasDiagonal<T> for Identity {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim, out.len())?;
        out.fill(T::ONE);
        Ok(())
    }
}
