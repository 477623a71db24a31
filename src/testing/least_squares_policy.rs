//! [`LeastSquares`] as a policy: cases are Gaussians of unit variance around W x, so that its Gauss-Newton matrix is their
//! Fisher matrix.

use super::{LeastSquares, Regression};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatRef, Op};
use crate::optim::{CurvatureMatrix, CurvatureObjective, Objective, PolicyObjective};
use crate::scalar::Scalar;

impl<T: Scalar> LeastSquares<T> {
    /// W X.
    fn means(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>) -> Result<Mat<T>> {
        check_len("theta", self.layout().len(), theta.len())?;
        let (w, x) = (self.layout().blocks()[0].view(theta)?, batch.inputs());
        let mut means = Mat::zeros(w.nrows(), x.ncols());
        ctx.gemm(T::ONE, w, Op::No, x.as_ref(), Op::No, T::ZERO, means.as_mut())?;
        Ok(means)
    }
}

impl<T: Scalar> PolicyObjective<T> for LeastSquares<T> {
    fn distributions(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>) -> Result<Mat<T>> {
        self.count_forward();
        self.means(ctx, theta, batch)
    }

    /// ½ ‖W_old x - W x‖², a mean over cases.
    fn loss_and_divergence(
        &self,
        ctx: &Ctx<T>,
        old: MatRef<'_, T>,
        theta: &[T],
        batch: &Regression<T>,
    ) -> Result<(T, f64)> {
        let (means, loss) = (self.means(ctx, theta, batch)?, self.loss(ctx, theta, batch)?);
        check_shape("divergence: old distributions", means.shape(), old.shape())?;
        let apart = means.as_ref().cols().zip(old.cols());
        let squares = apart.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a.f64() - b.f64()).powi(2)));
        Ok((loss, squares.sum::<f64>() / (2.0 * means.ncols().max(1) as f64)))
    }

    fn fisher<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Regression<T>,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        self.curvature(ctx, CurvatureMatrix::GaussNewton, theta, batch)
    }

    fn case_count(&self, batch: &Regression<T>) -> usize {
        batch.inputs().ncols()
    }

    fn select(&self, batch: &Regression<T>, cases: &[usize]) -> Result<Regression<T>> {
        if cases.is_empty() || cases.iter().any(|&n| n >= batch.inputs().ncols()) {
            return Err(Error::invalid("cases", format!("{cases:?} of {}", batch.inputs().ncols())));
        }
        let part = |m: &Mat<T>| Mat::from_fn(m.nrows(), cases.len(), |i, j| m[(i, cases[j])]);
        Regression::new(part(batch.inputs()), part(batch.targets()))
    }
}
