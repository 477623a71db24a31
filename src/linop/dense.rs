//! A dense matrix as an operator, general and symmetric.

use super::{HasDiagonal, LinearOperator, SelfAdjoint, TransposeOperator};
use crate::backend::Ctx;
use crate::error::{Result, check_len, check_shape};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A general m x n matrix as an operator.  2mnk flops an application.
#[derive(Debug, Clone)]
pub struct DenseOperator<T>(Mat<T>);

impl<T: Scalar> DenseOperator<T> {
    /// Takes the matrix.
    pub fn new(a: Mat<T>) -> Self {
        Self(a)
    }
}

impl<T: Scalar> LinearOperator<T> for DenseOperator<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.0.as_ref(), Op::No, x, Op::No, T::ZERO, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(alpha, self.0.as_ref(), Op::No, x, Op::No, T::ONE, y)
    }
}

impl<T: Scalar> TransposeOperator<T> for DenseOperator<T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.0.as_ref(), Op::Transpose, x, Op::No, T::ZERO, y)
    }
}

/// A symmetric n x n matrix as a self-adjoint operator.
#[derive(Debug, Clone)]
pub struct SymmetricDense<T>(Mat<T>);

impl<T: Scalar> SymmetricDense<T> {
    /// Takes the symmetric part (A + Aᵀ)/2.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when A is not square.
    pub fn new(mut a: Mat<T>) -> Result<Self> {
        check_shape("SymmetricDense", (a.nrows(), a.nrows()), a.shape())?;
        let half = T::of(0.5);
        for j in 0..a.ncols() {
            for i in j + 1..a.nrows() {
                // halves first: the sum of two huge entries must not overflow
                let s = half * a[(i, j)] + half * a[(j, i)];
                (a[(i, j)], a[(j, i)]) = (s, s);
            }
        }
        Ok(Self(a))
    }

    /// The symmetric matrix.
    pub fn matrix(&self) -> &Mat<T> {
        &self.0
    }
}

impl<T: Scalar> LinearOperator<T> for SymmetricDense<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.0.as_ref(), Op::No, x, Op::No, T::ZERO, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(alpha, self.0.as_ref(), Op::No, x, Op::No, T::ONE, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for SymmetricDense<T> {}

impl<T: Scalar> HasDiagonal<T> for SymmetricDense<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.0.nrows(), out.len())?;
        out.iter_mut().enumerate().for_each(|(i, d)| *d = self.0[(i, i)]);
        Ok(())
    }
}
