//! [`DenseModel`]: the Hessian or the Gauss-Newton matrix, formed column by column and factored.
//!
//! ```text
//! C = [C e_1, ..., C e_P],        δ(λ) = -(C + λD)⁻¹ ∇h
//! ```
//! Cost        a gradient, and one forward pass and P products for C (2 passes each); P² numbers; of a solve see
//!             [`Indefinite`]: P³/3 flops a λ, or about 9P³ once.
//! Laws        tests/newton.rs.
//! Reference   chapter section 2.1, Eq 3 and 5.

use super::damping_metric::{Scaling, metric_form};
use super::dense_system::DenseSystem;
use super::{
    CurvatureMatrix, CurvatureObjective, DampingMetric, Indefinite, LocalModel, ModelSource, ModelStep, Passes,
    take_gradient,
};
use crate::backend::Ctx;
use crate::curvature::SolveReport;
use crate::error::Result;
use crate::scalar::Scalar;

/// Dense local models of any [`CurvatureObjective`].
///
/// ```
/// use pullback::optim::{CurvatureMatrix, DenseModel, Indefinite};
/// let model = DenseModel::<f64>::new(CurvatureMatrix::Hessian).with_indefinite(Indefinite::Absolute);
/// assert_eq!(model.indefinite(), Indefinite::Absolute);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct DenseModel<T> {
    matrix: CurvatureMatrix,
    indefinite: Indefinite,
    scaling: Scaling<T>,
}

impl<T: Scalar> DenseModel<T> {
    /// D = I, λ raised where the matrix is not positive definite.
    pub fn new(matrix: CurvatureMatrix) -> Self {
        Self { matrix, indefinite: Indefinite::default(), scaling: Scaling::new(DampingMetric::Identity) }
    }

    /// With another answer to a matrix that is not positive definite.
    #[must_use]
    pub fn with_indefinite(self, indefinite: Indefinite) -> Self {
        Self { indefinite, ..self }
    }

    /// With another D.
    #[must_use]
    pub fn with_metric(self, metric: DampingMetric) -> Self {
        Self { scaling: Scaling::new(metric), ..self }
    }

    /// C.
    pub fn matrix(&self) -> CurvatureMatrix {
        self.matrix
    }

    /// What is done about a matrix that is not positive definite.
    pub fn indefinite(&self) -> Indefinite {
        self.indefinite
    }
}

impl<T: Scalar, O: CurvatureObjective<T> + ?Sized> ModelSource<T, O> for DenseModel<T> {
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>> {
        let mut gradient = Vec::new();
        let loss = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let c = objective.curvature(ctx, self.matrix, theta, batch)?.to_dense(ctx)?;
        let mut passes = Passes { forward: 2, backward: 1, ..Passes::default() };
        passes += self.matrix.passes(theta.len() as u64);
        let d = self.scaling.update(theta.len(), || Ok((0..theta.len()).map(|i| c[(i, i)]).collect()))?;
        let system = DenseSystem::new(c, d.as_deref(), self.indefinite)?;
        Ok(Box::new(DenseLocal { loss, gradient, system, d, passes }))
    }
}

struct DenseLocal<T> {
    loss: T,
    gradient: Vec<T>,
    system: DenseSystem<T>,
    d: Option<Vec<T>>,
    passes: Passes,
}

impl<T: Scalar> LocalModel<T> for DenseLocal<T> {
    fn loss(&self) -> T {
        self.loss
    }

    fn gradient(&self) -> &[T] {
        &self.gradient
    }

    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>> {
        let lambda = self.system.solve(ctx, lambda, &self.gradient, delta)?;
        delta.iter_mut().for_each(|d| *d = -*d);
        Ok(ModelStep { lambda, solve: SolveReport::Direct })
    }

    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        self.system.form(ctx, v)
    }

    fn metric_form(&self, v: &[T]) -> f64 {
        metric_form(self.d.as_deref(), v)
    }

    fn passes(&self) -> Passes {
        self.passes
    }
}
