//! K-FAC's preconditioners as operators over flat θ, so that a Krylov method can be preconditioned by them.
//!
//! ```text
//! x ↦ P x,   P = diag((A_ℓ ⊗ S_ℓ + λI)⁻¹)   or the block-tridiagonal inverse Ξᵀ Λ Ξ
//! ```
//! Between refreshes each is a fixed, linear, positive definite map, which is what
//! [`Preconditioner`] promises; before the first refresh a product is an error.
//!
//! Cost        that of an application, a column.
//! Laws        tests/hessian_free_preconditioners.rs.
//! Reference   chapter section 6.

use super::kfac_blocks::EitherPreconditioner;
use super::{KfacPreconditioner, TridiagonalPreconditioner};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

macro_rules! operator {
    ($($kind:ident),+) => {$(
        impl<T: Scalar> LinearOperator<T> for $kind<T> {
            fn shape(&self) -> (usize, usize) {
                (self.len(), self.len())
            }

            fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
                x.cols().zip(y.cols_mut()).try_for_each(|(x, y)| self.precondition(ctx, x, y))
            }
        }

        impl<T: Scalar> SelfAdjoint<T> for $kind<T> {}
        impl<T: Scalar> Preconditioner<T> for $kind<T> {}
    )+};
}
operator!(KfacPreconditioner, TridiagonalPreconditioner, EitherPreconditioner);

impl<T: Scalar> EitherPreconditioner<T> {
    fn len(&self) -> usize {
        match self {
            EitherPreconditioner::Diagonal(p) => p.len(),
            EitherPreconditioner::Tridiagonal(p) => p.len(),
        }
    }
}
