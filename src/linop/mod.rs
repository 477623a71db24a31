//! Linear operators on blocks of vectors: Y(M x K) ← A(M x N) X(N x K), a vector being K = 1.
//!
//! The public [`LinearOperator::apply`] checks shapes and calls the kernel `apply_into`, which an implementor writes
//! together with `shape`: two methods make an operator.
//!
//! Promises are traits: [`SelfAdjoint`] says A = Aᵀ, [`Preconditioner`] says a fixed, linear, positive definite map,
//! [`HasDiagonal`] says the diagonal is known. [`TransposeOperator`] adds products with Aᵀ.

mod blocks;
mod closure;
mod compose;
mod dense;
mod identity;
mod metric;
mod transpose;

pub use blocks::Blocks;
pub use closure::FnOperator;
pub use compose::{Beside, Scaled, Shifted, Sum};
pub use dense::{DenseOperator, SymmetricDense};
pub use identity::Identity;
pub use metric::{BlockMetric, DenseMetric, DiagonalMetric, Metric, MetricInverse, whitened};
pub use transpose::{TransposeOperator, Transposed};

use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// A linear map that can be applied to blocks of vectors.
pub trait LinearOperator<T: Scalar>: Send + Sync {
    /// (rows, columns) of the matrix.
    fn shape(&self) -> (usize, usize);

    /// Kernel: Y ← A X. The shapes are already valid; Y's old contents must not be read.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()>;

    /// Y ← A X with shapes checked.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), and those of `apply_into`.
    fn apply(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (m, n) = self.shape();
        check_shape("apply: X", (n, x.ncols()), x.shape())?;
        check_shape("apply: Y", (m, x.ncols()), y.shape())?;
        self.apply_into(ctx, x, y)
    }

    /// Y ← Y + α A X. One scratch of the size of Y unless an implementor does better.
    ///
    /// # Errors
    /// As `apply`.
    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let mut ax = ctx.scratch(y.nrows(), y.ncols());
        self.apply(ctx, x, ax.as_mut())?;
        for (y, ax) in y.cols_mut().zip(ax.as_ref().cols()) {
            y.iter_mut().zip(ax).for_each(|(y, &ax)| *y += alpha * ax);
        }
        Ok(())
    }

    /// A I, the dense matrix: the oracle of every test.  N applications.
    ///
    /// # Errors
    /// As `apply`.
    fn to_dense(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        let (m, n) = self.shape();
        let mut dense = Mat::zeros(m, n);
        self.apply(ctx, Mat::identity(n).as_ref(), dense.as_mut())?;
        Ok(dense)
    }
}

/// A promise: A = Aᵀ (so the operator is square).
pub trait SelfAdjoint<T: Scalar>: LinearOperator<T> {
    /// The order n of the n x n matrix.
    fn dim(&self) -> usize {
        self.shape().0
    }
}

/// A promise: a fixed, linear, positive definite map r ↦ M⁻¹ r.
///
/// A truncated iterative solve is not linear in r and must not implement this.
pub trait Preconditioner<T: Scalar>: SelfAdjoint<T> {}

/// Capability: the diagonal is known.
pub trait HasDiagonal<T: Scalar>: SelfAdjoint<T> {
    /// Writes the n diagonal entries.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when `out.len() != n`.
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Scalar, A: LinearOperator<T> + ?Sized> LinearOperator<T> for $pointer {
            fn shape(&self) -> (usize, usize) {
                (**self).shape()
            }
            fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                (**self).apply_into(ctx, x, y)
            }
            fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                (**self).apply_add(ctx, alpha, x, y)
            }
            fn to_dense(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
                (**self).to_dense(ctx)
            }
        }
        impl<T: Scalar, A: TransposeOperator<T> + ?Sized> TransposeOperator<T> for $pointer {
            fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                (**self).apply_transpose_into(ctx, x, y)
            }
        }
        impl<T: Scalar, A: SelfAdjoint<T> + ?Sized> SelfAdjoint<T> for $pointer {}
        impl<T: Scalar, A: Preconditioner<T> + ?Sized> Preconditioner<T> for $pointer {}
        impl<T: Scalar, A: HasDiagonal<T> + ?Sized> HasDiagonal<T> for $pointer {
            fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
                (**self).diagonal(ctx, out)
            }
        }
    )+};
}
forward!(&A, Box<A>, std::sync::Arc<A>);
