//! The Jacobian of [`LeastSquares`]: r = vec(W X - Y)/√N, so that ∇data = Jᵀr and JᵀJ = (X Xᵀ/N) ⊗ I.

use std::sync::atomic::Ordering;

use super::{Fault, LeastSquares, Regression};
use crate::backend::Ctx;
use crate::curvature::{DenseJacobian, JacobianCosts, JacobianSource};
use crate::error::Result;
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{Mat, MatMut, MatRef};
use crate::optim::{Linearization, ResidualObjective};
use crate::scalar::Scalar;

/// J = (Xᵀ ⊗ I)/√N, which counts its products.
#[derive(Debug)]
pub struct RegressionJacobian<'a, T> {
    h: &'a LeastSquares<T>,
    matrix: DenseJacobian<T>,
}

impl<T: Scalar> LinearOperator<T> for RegressionJacobian<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.h.jvp.fetch_add(x.ncols() as u64, Ordering::Relaxed);
        self.matrix.apply_into(ctx, x, y)
    }
}

impl<T: Scalar> TransposeOperator<T> for RegressionJacobian<'_, T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.h.vjp.fetch_add(x.ncols() as u64, Ordering::Relaxed);
        self.matrix.apply_transpose_into(ctx, x, y)
    }
}

impl<T: Scalar> JacobianSource<T> for RegressionJacobian<'_, T> {
    fn kernel_into(&self, ctx: &Ctx<T>, k: MatMut<'_, T>) -> Result<()> {
        self.matrix.kernel_into(ctx, k)
    }

    fn gram_into(&self, ctx: &Ctx<T>, c: MatMut<'_, T>) -> Result<()> {
        self.matrix.gram_into(ctx, c)
    }

    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.matrix.column_squares(ctx, out)
    }

    fn costs(&self) -> JacobianCosts {
        self.matrix.costs()
    }
}

impl<T: Scalar> ResidualObjective<T> for LeastSquares<T> {
    type Jacobian<'a> = RegressionJacobian<'a, T>;

    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Regression<T>,
    ) -> Result<Linearization<T, RegressionJacobian<'a, T>>> {
        let mut difference = Mat::zeros(0, 0);
        let loss = self.evaluate(ctx, theta, batch, &mut difference)?;
        let (d_out, x) = (batch.targets.nrows(), &batch.inputs);
        let scale = T::of((x.ncols().max(1) as f64).sqrt().recip());
        let mut matrix = Mat::zeros(d_out * x.ncols(), self.layout.len());
        for case in 0..x.ncols() {
            for input in 0..x.nrows() {
                for out in 0..d_out {
                    matrix[(case * d_out + out, input * d_out + out)] = scale * x[(input, case)];
                }
            }
        }
        let mut residual: Vec<T> = difference.as_slice().iter().map(|&r| scale * r).collect();
        if let (Fault::Gradient, Some(first)) = (&self.fault, residual.first_mut()) {
            *first = T::nan();
        }
        Ok(Linearization {
            loss,
            jacobian: RegressionJacobian { h: self, matrix: DenseJacobian::new(matrix)? },
            residual,
        })
    }
}
