//! Damping in a metric: C + λM in place of C + λI, by the change of variables that turns M into I.
//!
//! ```text
//! M = F Fᵀ,   C' = F⁻¹ C F⁻ᵀ,   C + λM = F (C' + λI) Fᵀ,   (C + λM)⁻¹ = F⁻ᵀ (C' + λI)⁻¹ F⁻¹
//! ```
//! M = I is Tikhonov's damping, M = diag C Marquardt's, which no rescaling of a parameter changes; M = P, the matrix of
//! a preconditioner, makes the step interpolate between C⁻¹g and P⁻¹g.
//!
//! | C | M | C' |
//! |---|---|---|
//! | [`Dense`] | any [`Metric`] | dense |
//! | [`Diagonal`] | diagonal | diagonal |
//! | [`Kronecker`] | [`KroneckerMetric`], so also diag(A) ⊗ diag(S) | Kronecker, exact or factored as before |
//! | [`BlockDiagonal`] | a metric for each block, or one diagonal | block-diagonal |
//! | [`MatrixFree`](super::MatrixFree) | any with products | none: [`MatrixFreeInMetric`](super::MatrixFreeInMetric) |
//!
//! Factored damping in a Kronecker metric is (A' + π√λ I) ⊗ (S' + (√λ/π) I) in the new variables.
//!
//! Cost        of `new` two solves with F for each column of C (of A and S); a damped solve one F⁻¹ and one F⁻ᵀ more.
//! Laws        tests/damping_metric.rs.
//! Reference   D. W. Marquardt, An algorithm for least-squares estimation of nonlinear parameters, J. SIAM 11 (1963),
//!             doi:10.1137/0111030; J. J. Moré, The Levenberg-Marquardt algorithm, 1978, doi:10.1007/BFb0067700.

use std::fmt;

use super::{
    BlockDiagonal, Curvature, DampedSolver, Damping, Definiteness, Dense, Diagonal, Fidelity, HasFrobeniusNorm,
    HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, Kronecker, Recovery, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::kronecker::KroneckerMetric;
use crate::linop::{
    BlockMetric, DiagonalMetric, HasDiagonal, Identity, LinearOperator, Metric, Preconditioner, SelfAdjoint, whitened,
};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Capability: F⁻¹ C F⁻ᵀ has a structure with a damped solver.
pub trait Congruence<T: Scalar, M: Metric<T>>: Curvature<T> {
    /// The structure of F⁻¹ C F⁻ᵀ.
    type Transformed: Curvature<T>;

    /// F⁻¹ C F⁻ᵀ.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where C and M are of different orders,
    /// [`Error::NotFinite`](crate::Error::NotFinite) where the result overflows, and those of the metric.
    fn congruent(&self, ctx: &Ctx<T>, metric: &M) -> Result<Self::Transformed>;
}

impl<T: Scalar, M: Metric<T>> Congruence<T, M> for Dense<T> {
    type Transformed = Dense<T>;

    fn congruent(&self, ctx: &Ctx<T>, metric: &M) -> Result<Dense<T>> {
        Ok(Dense::new(whitened(ctx, self.matrix(), metric)?)?.with_on_failure(self.on_failure()))
    }
}

impl<T: Scalar> Congruence<T, DiagonalMetric<T>> for Diagonal<T> {
    type Transformed = Diagonal<T>;

    fn congruent(&self, _ctx: &Ctx<T>, metric: &DiagonalMetric<T>) -> Result<Diagonal<T>> {
        check_shape("Diagonal in a metric", metric.shape(), self.shape())?;
        Diagonal::new(self.entries().iter().zip(metric.entries()).map(|(&d, &m)| d / m).collect())
    }
}

impl<T: Scalar> Congruence<T, Identity> for Diagonal<T> {
    type Transformed = Diagonal<T>;

    fn congruent(&self, _ctx: &Ctx<T>, metric: &Identity) -> Result<Diagonal<T>> {
        check_shape("Diagonal in a metric", LinearOperator::<T>::shape(metric), self.shape())?;
        Ok(self.clone())
    }
}

impl<T: Scalar> Congruence<T, KroneckerMetric<T>> for Kronecker<T> {
    type Transformed = Kronecker<T>;

    fn congruent(&self, ctx: &Ctx<T>, metric: &KroneckerMetric<T>) -> Result<Kronecker<T>> {
        let (a, s) = metric.factors();
        self.with_factors(whitened(ctx, self.a(), a)?, whitened(ctx, self.s(), s)?)
    }
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T>> Congruence<T, BlockMetric<T, M>> for BlockDiagonal<T, C> {
    type Transformed = BlockDiagonal<T, C::Transformed>;

    fn congruent(&self, ctx: &Ctx<T>, metric: &BlockMetric<T, M>) -> Result<Self::Transformed> {
        check_shape("BlockDiagonal in a metric", (metric.blocks().len(), 1), (self.blocks().len(), 1))?;
        let pairs = self.blocks().iter().zip(metric.blocks());
        Ok(BlockDiagonal::new(pairs.map(|(c, m)| c.congruent(ctx, m)).collect::<Result<_>>()?))
    }
}

impl<T: Scalar, C: Congruence<T, DiagonalMetric<T>>> Congruence<T, DiagonalMetric<T>> for BlockDiagonal<T, C> {
    type Transformed = BlockDiagonal<T, C::Transformed>;

    fn congruent(&self, ctx: &Ctx<T>, metric: &DiagonalMetric<T>) -> Result<Self::Transformed> {
        let parts = metric.split(self.blocks().iter().map(C::dim))?;
        let pairs = self.blocks().iter().zip(&parts);
        Ok(BlockDiagonal::new(pairs.map(|(c, m)| c.congruent(ctx, m)).collect::<Result<_>>()?))
    }
}

/// A curvature C whose λ multiplies M: `damped(λ)` solves C + λM.
///
/// ```
/// use pullback::curvature::{Dense, InMetric};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, HasDiagonal, Mat, linop::DiagonalMetric};
/// let ctx = Ctx::<f64>::default();
/// let c = Dense::new(Mat::from_diagonal(&[1.0, 100.0]))?;
/// let scaling = DiagonalMetric::marquardt(&[1.0, 100.0], 1e-8)?;
/// let solver = InMetric::new(&ctx, c, scaling)?.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![2.0, 200.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(1, 0)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct InMetric<T: Scalar, C: Congruence<T, M>, M: Metric<T>> {
    curvature: C,
    transformed: C::Transformed,
    metric: M,
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T>> InMetric<T, C, M> {
    /// Transforms C once, for every λ.
    ///
    /// # Errors
    /// Those of [`Congruence::congruent`].
    pub fn new(ctx: &Ctx<T>, curvature: C, metric: M) -> Result<Self> {
        check_shape("InMetric", curvature.shape(), metric.shape())?;
        let transformed = curvature.congruent(ctx, &metric)?;
        Ok(Self { curvature, transformed, metric })
    }

    /// C.
    pub fn curvature(&self) -> &C {
        &self.curvature
    }

    /// F⁻¹ C F⁻ᵀ, a curvature damped by λI.
    pub fn transformed(&self) -> &C::Transformed {
        &self.transformed
    }

    /// M.
    pub fn metric(&self) -> &M {
        &self.metric
    }
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T>> fmt::Debug for InMetric<T, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMetric").field("dim", &self.curvature.dim()).finish_non_exhaustive()
    }
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T>> LinearOperator<T> for InMetric<T, C, M> {
    fn shape(&self) -> (usize, usize) {
        self.curvature.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.curvature.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.curvature.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T>> SelfAdjoint<T> for InMetric<T, C, M> {}

impl<T: Scalar, C: Congruence<T, M> + HasDiagonal<T>, M: Metric<T>> HasDiagonal<T> for InMetric<T, C, M> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.curvature.diagonal(ctx, out)
    }
}

impl<T: Scalar, C: Congruence<T, M> + HasTrace<T>, M: Metric<T>> HasTrace<T> for InMetric<T, C, M> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        self.curvature.trace(ctx)
    }
}

impl<T: Scalar, C: Congruence<T, M> + HasFrobeniusNorm<T>, M: Metric<T>> HasFrobeniusNorm<T> for InMetric<T, C, M> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        self.curvature.frobenius_norm(ctx)
    }
}

impl<T: Scalar, C: Congruence<T, M> + HasSquareRoot<T>, M: Metric<T>> HasSquareRoot<T> for InMetric<T, C, M> {
    type Root<'a>
        = C::Root<'a>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        self.curvature.square_root(ctx)
    }
}

impl<T: Scalar, C: Congruence<T, M>, M: Metric<T> + Clone> Curvature<T> for InMetric<T, C, M> {
    type Solver = InMetricInverse<<C::Transformed as Curvature<T>>::Solver, M>;

    fn definiteness(&self) -> Definiteness {
        self.curvature.definiteness()
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        Ok(InMetricInverse { inner: self.transformed.damped(ctx, lambda)?, metric: self.metric.clone() })
    }

    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        self.curvature.quadratic_form(ctx, v, out)
    }

    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        check_shape("add_damping: X", (self.dim(), x.ncols()), x.shape())?;
        check_shape("add_damping: Y", x.shape(), y.shape())?;
        self.metric.apply_add(ctx, lambda.get(), x, y)
    }
}

/// (C + λM)⁻¹ = F⁻ᵀ (C' + λI)⁻¹ F⁻¹.
///
/// ```
/// use pullback::curvature::{Diagonal, HasLogDeterminant, InMetric};
/// use pullback::{Ctx, Curvature, Damping, linop::DiagonalMetric};
/// let ctx = Ctx::<f64>::default();
/// let c = InMetric::new(&ctx, Diagonal::new(vec![1.0])?, DiagonalMetric::new(vec![4.0])?)?;
/// let solver = c.damped(&ctx, Damping::try_from(0.5)?)?; // 1 + 0.5 · 4
/// assert!((solver.log_determinant() - 3f64.ln()).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct InMetricInverse<D, M> {
    inner: D,
    metric: M,
}

impl<D, M> InMetricInverse<D, M> {
    /// The solver of C' + λI in the new variables.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<T: Scalar, D: DampedSolver<T>, M: Metric<T>> DampedSolver<T> for InMetricInverse<D, M> {
    fn dim(&self) -> usize {
        DampedSolver::dim(&self.inner)
    }

    /// λ, which multiplies M.
    fn damping(&self) -> Damping<T> {
        self.inner.damping()
    }

    fn fidelity(&self) -> Fidelity {
        self.inner.fidelity()
    }

    fn path(&self) -> SolvePath {
        self.inner.path()
    }

    fn recovery(&self) -> Recovery {
        self.inner.recovery()
    }

    /// An iterative report is that of the new variables.
    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<SolveReport> {
        let mut half = ctx.scratch(b.nrows(), b.ncols());
        half.as_mut().copy_from(b)?;
        self.metric.whiten(ctx, half.as_mut())?;
        let report = self.inner.solve(ctx, half.as_ref(), x.rb_mut())?;
        self.metric.whiten_transposed(ctx, x)?;
        Ok(report)
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>, M: Metric<T>> LinearOperator<T> for InMetricInverse<D, M> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.solve_into(ctx, x, y).map(|_| ())
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>, M: Metric<T>> SelfAdjoint<T> for InMetricInverse<D, M> {}
impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>, M: Metric<T>> Preconditioner<T> for InMetricInverse<D, M> {}

impl<T: Scalar, D: HasLogDeterminant<T>, M: Metric<T>> HasLogDeterminant<T> for InMetricInverse<D, M> {
    /// log det(C + λM) = log det(C' + λI) + log det M.
    fn log_determinant(&self) -> T {
        self.inner.log_determinant() + self.metric.log_determinant()
    }
}

impl<T: Scalar, D: HasInverseSquareRoot<T>, M: Metric<T>> HasInverseSquareRoot<T> for InMetricInverse<D, M> {
    type Root<'a>
        = InMetricRoot<'a, D::Root<'a>, M>
    where
        Self: 'a;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(InMetricRoot { root: self.inner.inverse_square_root(ctx)?, metric: &self.metric })
    }
}

/// F⁻ᵀ R, a root of (C + λM)⁻¹ from the root R of (C' + λI)⁻¹.
#[derive(Debug, Clone)]
pub struct InMetricRoot<'a, R, M> {
    root: R,
    metric: &'a M,
}

impl<T: Scalar, R: LinearOperator<T>, M: Metric<T>> LinearOperator<T> for InMetricRoot<'_, R, M> {
    fn shape(&self) -> (usize, usize) {
        self.root.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.root.apply_into(ctx, x, y.rb_mut())?;
        self.metric.whiten_transposed(ctx, y)
    }
}
