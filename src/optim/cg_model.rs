//! [`CgModel`]: the Hessian or the Gauss-Newton matrix by products alone.
//!
//! ```text
//! (C + λD) δ = -∇h   by conjugate gradient from zero, preconditioned by diag(max(C_ii, 0) + λD_i) where that is asked for
//! ```
//! A direction of non-positive curvature ends the iteration with a step that descends (Nocedal and Wright, algorithm 7.1).
//!
//! Cost        a gradient, one forward pass, and 2 passes a product; P products once for an exact diagonal, a fixed number
//!             for an estimated one, none where neither the metric nor the preconditioner wants it. About eight n-vectors.
//! Laws        tests/newton.rs.
//! Reference   J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., section 7.1; J. Martens, ICML 2010.

use super::damping_metric::{Scaling, metric_form};
use super::{
    CurvatureMatrix, CurvatureObjective, DampingMetric, DiagonalSource, LocalModel, ModelSource, ModelStep, Passes,
    dot, take_gradient,
};
use crate::backend::Ctx;
use crate::curvature::SolveReport;
use crate::error::Result;
use crate::krylov::{CgOptions, CgStart, NegativeCurvature, pcg};
use crate::linop::{DiagonalMetric, MetricInverse, Preconditioner, Scaled, SelfAdjoint, Shifted, Sum};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Matrix-free local models of any [`CurvatureObjective`].
///
/// ```
/// use pullback::optim::{CgModel, CurvatureMatrix};
/// let model = CgModel::<f64>::new(CurvatureMatrix::GaussNewton).with_jacobi();
/// assert_eq!(model.options().max_iterations, 1000);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct CgModel<T> {
    matrix: CurvatureMatrix,
    options: CgOptions<T>,
    jacobi: bool,
    diagonal: DiagonalSource,
    scaling: Scaling<T>,
}

impl<T: Scalar> CgModel<T> {
    /// √ε, at most 1000 iterations, no preconditioner, D = I.
    pub fn new(matrix: CurvatureMatrix) -> Self {
        let options = CgOptions { negative_curvature: NegativeCurvature::FollowDirection, ..CgOptions::from_zero() };
        Self { matrix, options, jacobi: false, diagonal: DiagonalSource::default(), scaling: Scaling::default() }
    }

    /// With other settings of the iteration, which starts from zero whatever they say.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`CgOptions::check`].
    pub fn with_options(self, options: CgOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options: CgOptions { start: CgStart::Zero, ..options }, ..self })
    }

    /// With the diagonal of C + λD as the preconditioner.
    #[must_use]
    pub fn with_jacobi(self) -> Self {
        Self { jacobi: true, ..self }
    }

    /// With another way to the diagonal.
    #[must_use]
    pub fn with_diagonal(self, diagonal: DiagonalSource) -> Self {
        Self { diagonal, ..self }
    }

    /// With another D.
    #[must_use]
    pub fn with_metric(self, metric: DampingMetric) -> Self {
        Self { scaling: Scaling::new(metric), ..self }
    }

    /// The settings of the iteration.
    pub fn options(&self) -> &CgOptions<T> {
        &self.options
    }
}

impl<T: Scalar, O: CurvatureObjective<T> + ?Sized> ModelSource<T, O> for CgModel<T> {
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>> {
        let mut gradient = Vec::new();
        let loss = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let c = objective.curvature(ctx, self.matrix, theta, batch)?;
        let mut passes = Passes { forward: 2, backward: 1, ..Passes::default() };
        let wanted = self.jacobi || self.scaling.metric() == DampingMetric::Diagonal;
        let (diagonal, products) = if wanted { self.diagonal.diagonal(ctx, &*c)? } else { (Vec::new(), 0) };
        passes += self.matrix.passes(products);
        let d = self.scaling.update(theta.len(), || Ok(diagonal.clone()))?;
        let jacobi = self.jacobi.then_some(diagonal);
        Ok(Box::new(CgLocal { loss, gradient, c, matrix: self.matrix, options: &self.options, d, jacobi, passes }))
    }
}

struct CgLocal<'a, T> {
    loss: T,
    gradient: Vec<T>,
    c: Box<dyn SelfAdjoint<T> + 'a>,
    matrix: CurvatureMatrix,
    options: &'a CgOptions<T>,
    d: Option<Vec<T>>,
    /// The diagonal of C, for the preconditioner.
    jacobi: Option<Vec<T>>,
    passes: Passes,
}

impl<T: Scalar> CgLocal<'_, T> {
    fn preconditioner(&self, lambda: T) -> Result<Option<MetricInverse<DiagonalMetric<T>>>> {
        let Some(diagonal) = &self.jacobi else { return Ok(None) };
        let entry = |(i, &c): (usize, &T)| {
            let damping = self.d.as_ref().map_or(lambda, |d| lambda * d[i]);
            let sum = c.max(T::ZERO) + damping;
            if sum > T::ZERO { sum } else { T::ONE }
        };
        let entries = diagonal.iter().enumerate().map(entry).collect();
        Ok(Some(MetricInverse(DiagonalMetric::new(entries)?)))
    }
}

impl<T: Scalar> LocalModel<T> for CgLocal<'_, T> {
    fn loss(&self) -> T {
        self.loss
    }

    fn gradient(&self) -> &[T] {
        &self.gradient
    }

    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>> {
        let inverse = self.preconditioner(lambda)?;
        let inverse = inverse.as_ref().map(|inverse| inverse as &dyn Preconditioner<T>);
        let (b, x) = (MatRef::from_column(&self.gradient), MatMut::from_column(delta));
        let report = match &self.d {
            None => pcg(ctx, &Shifted::new(&self.c, lambda), inverse, b, x, self.options)?,
            Some(d) => {
                let damping = Scaled::new(DiagonalMetric::new(d.clone())?, lambda);
                pcg(ctx, &Sum::new(&self.c, damping)?, inverse, b, x, self.options)?
            }
        };
        self.passes += self.matrix.passes(report.products() as u64);
        delta.iter_mut().for_each(|d| *d = -*d);
        let (iterations, relative_residual) = (report.iterations(), report.relative_residual());
        Ok(ModelStep { lambda, solve: SolveReport::Iterative { iterations, relative_residual, stop: report.stop() } })
    }

    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        let mut image = ctx.scratch(v.len(), 1);
        self.c.apply(ctx, MatRef::from_column(v), image.as_mut())?;
        self.passes += self.matrix.passes(1);
        Ok(dot(v, image.as_slice()))
    }

    fn metric_form(&self, v: &[T]) -> f64 {
        metric_form(self.d.as_deref(), v)
    }

    fn passes(&self) -> Passes {
        self.passes
    }
}
