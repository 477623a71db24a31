//! [`MatrixFreeInMetric`]: C seen through products, damped in a metric, solved by conjugate gradient on C + λM.
//!
//! Only products with M are needed. Preconditioned by M⁻¹ ([`MetricInverse`](crate::linop::MetricInverse)), the iterates
//! are those of conjugate gradient on F⁻¹ C F⁻ᵀ + λI.
//!
//! Cost        a solve one product with C and one with M an iteration and one of each at the end.
//! Laws        tests/damping_metric.rs.
//! Reference   Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 9.2.1 (the split preconditioner).

use std::fmt;

use super::{Curvature, Damping, Definiteness, MatrixFree, MatrixFreeSolver};
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::linop::{LinearOperator, Scaled, SelfAdjoint, Sum};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A matrix-free C whose λ multiplies M.
///
/// ```
/// use pullback::curvature::{Definiteness, MatrixFree};
/// use pullback::linop::{DiagonalMetric, SymmetricDense};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let products = SymmetricDense::new(Mat::from_diagonal(&[1.0, 3.0]))?;
/// let metric = DiagonalMetric::new(vec![1.0, 3.0])?;
/// let c = MatrixFree::new(&products, Definiteness::PositiveSemidefinite).in_metric(metric)?;
/// let mut x = Mat::zeros(2, 1);
/// c.damped(&ctx, Damping::try_from(1.0)?)?.solve(&ctx, Mat::from_vec(vec![2.0, 6.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-7 && (x[(1, 0)] - 1.0).abs() < 1e-7);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Clone)]
pub struct MatrixFreeInMetric<T, A, M> {
    inner: MatrixFree<T, A>,
    metric: M,
}

impl<T: Scalar, A: SelfAdjoint<T>> MatrixFree<T, A> {
    /// With λ multiplying M, positive definite by the caller's promise; settings and preconditioner stay. M is a handle
    /// that is cheap to clone, like the operator.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when its order is not that of C.
    pub fn in_metric<M: SelfAdjoint<T>>(self, metric: M) -> Result<MatrixFreeInMetric<T, A, M>> {
        check_shape("MatrixFree: metric", self.shape(), metric.shape())?;
        Ok(MatrixFreeInMetric { inner: self, metric })
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, M: SelfAdjoint<T>> fmt::Debug for MatrixFreeInMetric<T, A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatrixFreeInMetric").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, M: SelfAdjoint<T>> LinearOperator<T> for MatrixFreeInMetric<T, A, M> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, M: SelfAdjoint<T>> SelfAdjoint<T> for MatrixFreeInMetric<T, A, M> {}

impl<T, A, M> Curvature<T> for MatrixFreeInMetric<T, A, M>
where
    T: Scalar,
    A: SelfAdjoint<T> + Clone,
    M: SelfAdjoint<T> + Clone,
{
    type Solver = MatrixFreeSolver<T, Sum<A, Scaled<T, M>>>;

    fn definiteness(&self) -> Definiteness {
        self.inner.definiteness()
    }

    fn damped(&self, _ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let metric = Scaled::new(self.metric.clone(), lambda.get());
        let system = Sum::new(self.inner.products().clone(), metric)?;
        // λ is in the operator already
        Ok(self.inner.solver_of(system, T::ZERO, lambda))
    }

    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        check_shape("add_damping: X", (self.dim(), x.ncols()), x.shape())?;
        check_shape("add_damping: Y", x.shape(), y.shape())?;
        self.metric.apply_add(ctx, lambda.get(), x, y)
    }
}
