//! Objectives whose gradient and Gauss-Newton matrix come from one Jacobian: ∇ = Jᵀr, G = JᵀJ.

use super::Objective;
use crate::backend::Ctx;
use crate::curvature::JacobianSource;
use crate::error::Result;
use crate::scalar::Scalar;

/// A loss to second order around θ.
#[derive(Debug)]
pub struct Linearization<T, J> {
    /// h(θ), L2 included; a loss that is not finite is a value, not an error.
    pub loss: T,
    /// J (N x P), with the reduction's weight and the root of the output Hessian in it.
    pub jacobian: J,
    /// r (N): Jᵀr is the gradient of the data term. Unspecified where the loss is not finite.
    pub residual: Vec<T>,
}

/// An objective that can be linearized: h(θ) = data(θ) + η/2 ‖θ‖² with ∇data = Jᵀr and Gauss-Newton matrix JᵀJ.
///
/// For a sum of squares ½‖r(θ)‖², J is the Jacobian of r. For the losses of `nn` r and J carry the square root of the
/// output Hessian.
///
/// ```
/// use pullback::curvature::DenseJacobian;
/// use pullback::optim::{Linearization, Objective, ParamLayout, ResidualObjective};
/// use pullback::{Ctx, Mat, Result};
/// /// ½ (2θ - t)²
/// struct Line(ParamLayout);
/// impl Objective<f64> for Line {
///     type Batch = f64;
///     fn layout(&self) -> &ParamLayout {
///         &self.0
///     }
///     fn loss(&self, _: &Ctx<f64>, theta: &[f64], t: &f64) -> Result<f64> {
///         Ok(0.5 * (2.0 * theta[0] - t).powi(2))
///     }
///     fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], t: &f64, grad: &mut [f64]) -> Result<f64> {
///         grad[0] = 2.0 * (2.0 * theta[0] - t);
///         self.loss(ctx, theta, t)
///     }
/// }
/// impl ResidualObjective<f64> for Line {
///     type Jacobian<'a> = DenseJacobian<f64>;
///     fn linearize<'a>(
///         &'a self,
///         ctx: &Ctx<f64>,
///         theta: &'a [f64],
///         t: &'a f64,
///     ) -> Result<Linearization<f64, DenseJacobian<f64>>> {
///         let jacobian = DenseJacobian::new(Mat::from_diagonal(&[2.0]))?;
///         Ok(Linearization { loss: self.loss(ctx, theta, t)?, jacobian, residual: vec![2.0 * theta[0] - t] })
///     }
/// }
/// let line = Line(ParamLayout::new([(1, 1)]));
/// assert_eq!(line.linearize(&Ctx::default(), &[1.0], &5.0)?.residual, [-3.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
pub trait ResidualObjective<T: Scalar>: Objective<T> {
    /// J at fixed θ and batch.
    type Jacobian<'a>: JacobianSource<T>
    where
        Self: 'a;

    /// h(θ), J and r on the batch.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape); [`Error::NotFinite`](crate::Error::NotFinite) where r has no finite
    /// value.
    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Self::Batch,
    ) -> Result<Linearization<T, Self::Jacobian<'a>>>;
}
