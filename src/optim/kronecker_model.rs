//! [`KroneckerModel`]: K-FAC's blocks of this batch as the curvature of a local model.
//!
//! ```text
//! C = blockdiag(A_ℓ ⊗ S_ℓ) + ηI,        A = E[ā āᵀ],  S = E[g gᵀ]  on the batch
//! D = I,  or  blockdiag(diag A_ℓ ⊗ diag S_ℓ)
//! ```
//! Where G is block-diagonal and its blocks are Kronecker products, this is the damped Gauss-Newton step; everywhere else
//! C is K-FAC's approximation of G, in the step and in the change that the model predicts.
//!
//! Deviations  No moving averages: [`Kfac`](super::Kfac) has them, and a model of exact products along its direction. The
//!             metric has no memory, since a running maximum is no Kronecker product; it needs η = 0, since D and I are
//!             not damped together. Factored damping solves with (A + π√λ' I) ⊗ (S + √λ'/π I), λ' = λ + η.
//! Cost        a gradient, a capture (as many backward passes as outputs for [`FisherKind::Exact`], counted as one), about
//!             9 (d_in³ + d_out³) flops a layer once, 4 d_in d_out (d_in + d_out) a λ.
//! Laws        tests/newton.rs, tests/natural_gradient.rs.
//! Reference   chapter section 5; J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671.

use super::damping_metric::metric_form;
use super::{
    CaptureSink, DampingMetric, FisherKind, LayeredObjective, LocalModel, ModelSource, ModelStep, Passes,
    finite_gradient, finite_loss,
};
use crate::backend::Ctx;
use crate::curvature::{
    BlockDiagonal, BlockDiagonalInverse, Congruence, Curvature, DampedSolver, Damping, Kronecker, KroneckerDamping,
    KroneckerInverse,
};
use crate::error::{Error, Result, check_len};
use crate::kronecker::KroneckerMetric;
use crate::linop::{BlockMetric, Metric};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;
use crate::stats::{Decay, KroneckerFactors};

/// Kronecker-factored local models of any [`LayeredObjective`].
///
/// ```
/// use pullback::curvature::KroneckerDamping;
/// use pullback::optim::{FisherKind, KroneckerModel};
/// let model = KroneckerModel::<f64>::new(FisherKind::Exact, KroneckerDamping::Exact);
/// assert_eq!(model.fisher(), FisherKind::Exact);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerModel<T> {
    fisher: FisherKind,
    damping: KroneckerDamping<T>,
    metric: DampingMetric,
    /// Models so far: each samples targets of its own.
    samples: u64,
}

impl<T: Scalar> KroneckerModel<T> {
    /// D = I.
    pub fn new(fisher: FisherKind, damping: KroneckerDamping<T>) -> Self {
        Self { fisher, damping, metric: DampingMetric::Identity, samples: 0 }
    }

    /// With another D.
    #[must_use]
    pub fn with_metric(self, metric: DampingMetric) -> Self {
        Self { metric, ..self }
    }

    /// How S is taken.
    pub fn fisher(&self) -> FisherKind {
        self.fisher
    }
}

struct Factors<T>(Vec<KroneckerFactors<T>>);

impl<T: Scalar> Factors<T> {
    fn layer(&mut self, layer: usize) -> Result<&mut KroneckerFactors<T>> {
        self.0.get_mut(layer).ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
    }
}

impl<T: Scalar> CaptureSink<T> for Factors<T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_gradients(ctx, g, weight)
    }

    fn gradient_moment(&mut self, _ctx: &Ctx<T>, layer: usize, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_gradient_moment(m, weight)
    }
}

type Blocks<T> = BlockDiagonal<T, Kronecker<T>>;
type BlockScaling<T> = BlockMetric<T, KroneckerMetric<T>>;

/// diag A ⊗ diag S of every block, and its entries.
fn marquardt<T: Scalar>(ctx: &Ctx<T>, c: &Blocks<T>) -> Result<(BlockScaling<T>, Vec<T>)> {
    let block = |c: &Kronecker<T>| KroneckerMetric::marquardt(ctx, c.a().as_ref(), c.s().as_ref(), T::EPS.sqrt());
    let metrics = c.blocks().iter().map(block).collect::<Result<Vec<_>>>()?;
    let mut entries = Vec::new();
    for metric in &metrics {
        let (a, s) = metric.factors();
        let (a, s) = (a.matrix(), s.matrix());
        (0..a.nrows()).for_each(|i| entries.extend((0..s.nrows()).map(|j| a[(i, i)] * s[(j, j)])));
    }
    Ok((BlockMetric::new(metrics), entries))
}

impl<T: Scalar, O: LayeredObjective<T> + ?Sized> ModelSource<T, O> for KroneckerModel<T> {
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>> {
        let (layout, eta) = (objective.layout(), objective.l2());
        check_len("theta", layout.len(), theta.len())?;
        if self.metric == DampingMetric::Diagonal && eta != T::ZERO {
            return Err(Error::invalid(
                "metric",
                "a Kronecker-factored model has one of its own only without an L2 term",
            ));
        }
        let (mut workspace, mut gradient) = (objective.workspace(), vec![T::ZERO; theta.len()]);
        let loss = objective.forward(ctx, theta, batch, &mut workspace)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        objective.backward(ctx, theta, batch, &mut workspace, &mut gradient)?;
        finite_gradient(layout, &gradient)?;
        let of_block = |b: &super::ParamBlock| KroneckerFactors::new(b.rows, b.cols, Decay::DEFAULT);
        let mut factors = Factors(layout.blocks().iter().map(of_block).collect());
        factors.0.iter_mut().for_each(KroneckerFactors::begin);
        let all = usize::MAX;
        objective.capture(ctx, theta, batch, &mut workspace, self.fisher, all, self.samples, &mut factors)?;
        self.samples += 1;
        let snapshot = |f: &KroneckerFactors<T>| f.snapshot(self.damping).transpose();
        let c = BlockDiagonal::new(factors.0.iter().filter_map(snapshot).collect::<Result<_>>()?);
        let metric = match self.metric {
            DampingMetric::Identity => None,
            DampingMetric::Diagonal => {
                let (metric, entries) = marquardt(ctx, &c)?;
                Some(InOwnMetric { transformed: c.congruent(ctx, &metric)?, metric, entries })
            }
        };
        let mut passes = Passes::GRADIENT;
        passes += objective.capture_passes(self.fisher);
        Ok(Box::new(KroneckerLocal { loss, gradient, eta, c, metric, inverse: None, passes }))
    }
}

struct InOwnMetric<T> {
    transformed: Blocks<T>,
    metric: BlockScaling<T>,
    entries: Vec<T>,
}

struct KroneckerLocal<T> {
    loss: T,
    gradient: Vec<T>,
    eta: T,
    c: Blocks<T>,
    metric: Option<InOwnMetric<T>>,
    inverse: Option<BlockDiagonalInverse<T, KroneckerInverse<T>>>,
    passes: Passes,
}

impl<T: Scalar> LocalModel<T> for KroneckerLocal<T> {
    fn loss(&self) -> T {
        self.loss
    }

    fn gradient(&self) -> &[T] {
        &self.gradient
    }

    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>> {
        let damping = Damping::try_from((lambda + self.eta).f64())?;
        let c = self.metric.as_ref().map_or(&self.c, |own| &own.transformed);
        let exact = c.blocks().iter().all(|c| c.kronecker_damping() == KroneckerDamping::Exact);
        let inverse = match &self.inverse {
            Some(last) if exact => last.redamped(damping, KroneckerInverse::redamp)?,
            _ => c.damped(ctx, damping)?,
        };
        let mut rhs = ctx.scratch(delta.len(), 1);
        rhs.as_mut_slice().iter_mut().zip(&self.gradient).for_each(|(b, &g)| *b = -g);
        let metric = self.metric.as_ref().map(|own| &own.metric);
        if let Some(metric) = metric {
            metric.whiten(ctx, rhs.as_mut())?;
        }
        let solve = inverse.solve(ctx, rhs.as_ref(), MatMut::from_column(delta))?;
        if let Some(metric) = metric {
            metric.whiten_transposed(ctx, MatMut::from_column(delta))?;
        }
        self.inverse = Some(inverse);
        Ok(ModelStep { lambda, solve })
    }

    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        let mut form = [T::ZERO];
        self.c.quadratic_form(ctx, MatRef::from_column(v), &mut form)?;
        Ok(form[0].f64() + self.eta.f64() * metric_form(None, v))
    }

    fn metric_form(&self, v: &[T]) -> f64 {
        metric_form(self.metric.as_ref().map(|own| &own.entries[..]), v)
    }

    fn passes(&self) -> Passes {
        self.passes
    }
}
