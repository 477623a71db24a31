//! The K-FAC preconditioner, usable alone: activations and output gradients in, a direction out.
//!
//! ```text
//! layer ℓ:  A_ℓ = E[ā āᵀ],  S_ℓ = E[g gᵀ]  (moving averages, Eq 25)
//!           U_ℓ = (A_ℓ ⊗ S_ℓ + λI)⁻¹ V_ℓ,  exactly through eigenbases (Eq 23) or with factored damping (Eq 22, 24)
//! ```
//! That is the structure [`LayerStructure::Kronecker`]; a layer may have another one: corrected eigenvalues (EKFAC), three
//! factors for very wide inputs, a diagonal where factors are too large. By default it is A ⊗ S within the [`FactorLimit`].
//!
//! No model type of ours is needed: a caller who has a layer's homogeneous activations (d_in+1 x cases), its
//! pseudo-gradients (d_out x cases) and a gradient matrix (d_out x d_in+1) gets the preconditioned gradient.
//!
//! Failure policy: a layer whose refresh fails keeps its old inverse; this is counted and reported, and becomes an
//! error after `tolerated_failures` in a row, or at once where there is no old inverse to keep.
//!
//! Cost        statistics cases·(d_in² + d_out²) flops, refresh d_in³ + d_out³ (inverse) or about 9 times that (eigen),
//!             application 2 d_out d_in (d_in + d_out) (twice that through eigenbases), a layer; other structures:
//!             [`LayerStructure::cost`].
//! Laws        tests/kfac_preconditioner.rs, tests/layer_structure.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671.

use super::costs::LayerShape;
use super::layer_block::{LayerBlock, Statistics};
use super::refresh_schedule::slots;
use super::{CaptureSink, EigenUpdate, FactorLimit, LayerStructure, ParamLayout, TrackedBases};
use crate::backend::Ctx;
use crate::curvature::{DampedInverse, Damping, KroneckerDamping, PiRule};
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;
use crate::stats::{Decay, EigenKroneckerMoments, KroneckerFactors};

/// Options of a [`KfacPreconditioner`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct PreconditionerOptions<T> {
    /// ε of the moving averages (Eq 25).
    pub decay: Decay,
    /// Exact damping through eigenbases, or factored damping with π.
    pub damping: KroneckerDamping<T>,
    /// How eigenbases, of exact damping and of EKFAC, are brought up to date at a refresh.
    pub eigenbases: EigenUpdate,
    /// Failed refreshes in a row that a layer survives on its old inverse.
    pub tolerated_failures: usize,
    /// The structure of every layer, where none of its own is given.
    pub structure: LayerStructure,
    /// What a layer may cost under [`LayerStructure::Auto`].
    pub limit: FactorLimit,
    /// Updates that a refresh is to serve: where they are few, factored damping keeps Cholesky factors in place of inverses
    /// ([`LayerShape::prefers_cholesky`]).
    pub updates_per_refresh: u64,
}

/// ε = 0.95, factored damping with π by trace, 3 failures, A ⊗ S within the default limit, 5 updates a refresh.
impl<T: Scalar> Default for PreconditionerOptions<T> {
    fn default() -> Self {
        Self {
            decay: Decay::DEFAULT,
            damping: KroneckerDamping::Factored { pi: PiRule::Trace },
            eigenbases: EigenUpdate::Full,
            tolerated_failures: 3,
            structure: LayerStructure::default(),
            limit: FactorLimit::default(),
            updates_per_refresh: 5,
        }
    }
}

/// What a refresh did.
#[derive(Debug, Clone, Default)]
pub struct RefreshReport {
    /// Layers with a new inverse.
    pub refreshed: usize,
    /// Layers that kept their old inverse, with the reason.
    pub failed: Vec<(usize, Error)>,
}

/// Block-diagonal preconditioner, Kronecker-factored where the layers allow, of a network of dense layers.
///
/// ```
/// use pullback::{Ctx, Damping, Mat, optim::{KfacPreconditioner, ParamLayout, PreconditionerOptions, CaptureSink}};
/// use pullback::curvature::KroneckerDamping;
/// let ctx = Ctx::<f64>::default();
/// // one layer: 1 output, 1 input and a bias
/// let layout = ParamLayout::new([(1, 2)]);
/// let options = PreconditionerOptions { damping: KroneckerDamping::Exact, ..PreconditionerOptions::default() };
/// let mut kfac = KfacPreconditioner::new(&layout, options)?;
/// let activations = Mat::from_vec(vec![1.0, 1.0, -1.0, 1.0], 2, 2)?; // two cases, inputs 1 and -1
/// let gradients = Mat::from_vec(vec![0.5, 0.5], 1, 2)?;
/// kfac.begin_update();
/// kfac.activations(&ctx, 0, activations.as_ref(), 0.5)?; // weight 1/cases: second moments are means
/// kfac.gradients(&ctx, 0, gradients.as_ref(), 0.5)?;
/// kfac.refresh(&ctx, Damping::new(0.75).unwrap())?;
/// let mut direction = [0.0; 2];
/// kfac.precondition(&ctx, &[3.0, 1.0], &mut direction)?; // A = I, S = 1/4: divides by 1/4 + 3/4
/// assert!((direction[0] - 3.0).abs() < 1e-12 && (direction[1] - 1.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KfacPreconditioner<T> {
    options: PreconditionerOptions<T>,
    layout: ParamLayout,
    layers: Vec<LayerBlock<T>>,
}

impl<T: Scalar> KfacPreconditioner<T> {
    /// For weight matrices laid out like `layout`, without statistics yet.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the structure in the options does not fit a layer, or for a tolerance that is
    /// negative.
    pub fn new(layout: &ParamLayout, options: PreconditionerOptions<T>) -> Result<Self> {
        Self::with_structures(layout, options, &vec![options.structure; layout.blocks().len()])
    }

    /// With a structure of its own for every layer.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many structures as layers; [`Error::InvalidParameter`] when a structure does
    /// not fit its layer.
    pub fn with_structures(
        layout: &ParamLayout,
        options: PreconditionerOptions<T>,
        structures: &[LayerStructure],
    ) -> Result<Self> {
        check_len("structures", layout.blocks().len(), structures.len())?;
        options.eigenbases.check()?;
        let layer = |(index, (block, wanted)): (usize, (&super::ParamBlock, &LayerStructure))| {
            let shape = LayerShape { d_in: block.cols, d_out: block.rows };
            let structure = wanted.resolve(shape, options.damping, options.limit)?;
            let cost = structure.cost(shape, options.damping).flops;
            LayerBlock::new(index, block, structure, cost, &options)
        };
        let layers = layout.blocks().iter().zip(structures).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { options, layout: layout.clone(), layers })
    }

    /// The structure that a layer has got, never `Auto`.
    pub fn structure(&self, layer: usize) -> Option<LayerStructure> {
        self.layers.get(layer).map(|layer| layer.structure)
    }

    /// The shape and structure of every layer.
    pub(super) fn layers(&self) -> Vec<(LayerShape, LayerStructure)> {
        let shape = |block: &super::ParamBlock| LayerShape { d_in: block.cols, d_out: block.rows };
        self.layout.blocks().iter().zip(&self.layers).map(|(block, layer)| (shape(block), layer.structure)).collect()
    }

    /// The mean eigenvalue of the blocks A ⊗ S, Σ tr A tr S over the number of parameters of the layers that have both:
    /// what a λ is small or large against. `None` before statistics, or without such layers.
    pub fn mean_eigenvalue(&self) -> Option<f64> {
        let trace = |m: MatRef<'_, T>| (0..m.nrows()).map(|i| m.at(i, i).f64()).sum::<f64>();
        let factors = (0..self.layers.len()).filter_map(|layer| self.factors(layer));
        let (sum, count) = factors.fold((0.0, 0), |(sum, count), f| {
            (sum + trace(f.a()) * trace(f.s()), count + f.a().nrows() * f.s().nrows())
        });
        (sum > 0.0).then(|| sum / count as f64)
    }

    /// The damping of refreshes to come, and the updates that each is to serve.
    pub(super) fn set_refreshes(&mut self, damping: KroneckerDamping<T>, updates: u64) {
        (self.options.damping, self.options.updates_per_refresh) = (damping, updates);
    }

    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.layout.len()
    }

    /// Begins an update of every layer's statistics: what is added until the next call is one batch.
    pub fn begin_update(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.statistics.begin());
    }

    /// A and S of a layer; `None` where its structure has none.
    pub fn factors(&self, layer: usize) -> Option<&KroneckerFactors<T>> {
        match &self.layers.get(layer)?.statistics {
            Statistics::Kronecker(factors) => Some(factors),
            Statistics::EigenKronecker(moments) => Some(moments.factors()),
            Statistics::ThreeFactor(_) | Statistics::Diagonal(_) => None,
        }
    }

    /// The corrected eigenvalues of a layer and their basis; `None` for another structure.
    pub fn eigen_moments(&self, layer: usize) -> Option<&EigenKroneckerMoments<T>> {
        match &self.layers.get(layer)?.statistics {
            Statistics::EigenKronecker(moments) => Some(moments),
            _ => None,
        }
    }

    /// The damped inverse of a layer, over vec of its d_out x d_in matrix; `None` before the first refresh.
    pub fn inverse(&self, layer: usize) -> Option<&dyn DampedInverse<T>> {
        self.layers.get(layer).and_then(LayerBlock::inverse)
    }

    /// Whether every layer has an inverse.
    pub fn is_ready(&self) -> bool {
        self.layers.iter().all(LayerBlock::is_ready)
    }

    /// Makes new inverses from the statistics at λ, the layers side by side over the thread budget. With exact damping
    /// and unchanged statistics only λ is exchanged, at no factorization. Corrected eigenvalues are taken to the new basis.
    ///
    /// # Errors
    /// [`Error::RepeatedFailure`] after too many failures of a layer in a row; the failure itself where there is no old
    /// inverse to keep.
    pub fn refresh(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<RefreshReport> {
        self.refresh_where(ctx, lambda, |_| true)
    }

    /// [`KfacPreconditioner::refresh`] of the layers whose turn it is at a step of [`RefreshSchedule::InTurn`]: in
    /// `interval` steps in a row each layer has one, spread by cost. The others [`follow`](KfacPreconditioner::follow).
    ///
    /// # Errors
    /// As [`KfacPreconditioner::refresh`]; [`Error::InvalidParameter`] for an interval of 0 steps.
    ///
    /// [`RefreshSchedule::InTurn`]: super::RefreshSchedule::InTurn
    pub fn refresh_in_turn(
        &mut self,
        ctx: &Ctx<T>,
        lambda: Damping<T>,
        step: u64,
        interval: u64,
    ) -> Result<RefreshReport> {
        let turn = step.checked_rem(interval).ok_or_else(|| Error::invalid("interval", "must be at least 1 step"))?;
        let slots = slots(&self.layers.iter().map(|layer| layer.cost).collect::<Vec<_>>(), interval);
        let options = self.options;
        for layer in self.layers.iter_mut().filter(|layer| slots[layer.index] != turn) {
            layer.follow(ctx, &options, lambda)?;
        }
        self.refresh_where(ctx, lambda, |layer| slots[layer] == turn)
    }

    /// Updates of a layer's statistics that its factorization has not seen; `None` before the first refresh.
    pub fn staleness(&self, layer: usize) -> Option<u64> {
        self.layers.get(layer).and_then(LayerBlock::staleness)
    }

    /// How often eigenbases were kept and how often computed anew since the beginning, under [`EigenUpdate::Tracked`].
    pub fn tracked_bases(&self) -> TrackedBases {
        self.layers.iter().fold(TrackedBases::default(), |all, layer| all + layer.bases)
    }

    fn refresh_where(
        &mut self,
        ctx: &Ctx<T>,
        lambda: Damping<T>,
        due: impl Fn(usize) -> bool,
    ) -> Result<RefreshReport> {
        let options = self.options;
        // the due ones, largest first, so that no thread is left with the largest at the end; in place, without an allocation
        let waits = |layer: &LayerBlock<T>| !due(layer.index);
        self.layers.sort_unstable_by(|a, b| {
            waits(a).cmp(&waits(b)).then(b.cost.total_cmp(&a.cost)).then(a.index.cmp(&b.index))
        });
        let count = self.layers.iter().take_while(|layer| !waits(layer)).count();
        let outcome = ctx.for_each(&mut self.layers[..count], |ctx, layer| layer.refresh(ctx, &options, lambda));
        self.layers.sort_unstable_by_key(|layer| layer.index);
        outcome?;
        let mut report = RefreshReport::default();
        for layer in self.layers.iter().filter(|layer| due(layer.index)) {
            match &layer.last_failure {
                Some(error) => report.failed.push((layer.index, error.clone())),
                None => report.refreshed += 1,
            }
        }
        Ok(report)
    }

    /// Brings up to date, between refreshes, what costs no factorization: corrected eigenvalues in their present basis, and
    /// diagonals, with λ. Layers of another structure, or without an inverse, stay as they are.
    ///
    /// # Errors
    /// As [`KfacPreconditioner::refresh`].
    pub fn follow(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<()> {
        let options = self.options;
        self.layers.iter_mut().try_for_each(|layer| layer.follow(ctx, &options, lambda))
    }

    /// out ← P g for flat g and out, P the damped inverse of every block.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::InvalidParameter`] before the first refresh.
    pub fn precondition(&self, ctx: &Ctx<T>, gradient: &[T], out: &mut [T]) -> Result<()> {
        check_len("precondition: gradient", self.layout.len(), gradient.len())?;
        check_len("precondition: out", self.layout.len(), out.len())?;
        for (layer, block) in self.layout.blocks().iter().enumerate() {
            self.precondition_layer(ctx, layer, block.view(gradient)?, block.view_mut(out)?)?;
        }
        Ok(())
    }

    /// U ← the layer's damped inverse applied to V, both d_out x (d_in+1).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::InvalidParameter`] before the first refresh or for a layer that does not exist.
    pub fn precondition_layer(&self, ctx: &Ctx<T>, layer: usize, v: MatRef<'_, T>, u: MatMut<'_, T>) -> Result<()> {
        let block = self.block(layer)?;
        check_shape("precondition_layer: V", (block.rows, block.cols), v.shape())?;
        check_shape("precondition_layer: U", (block.rows, block.cols), u.shape())?;
        self.layers[layer].precondition(ctx, v, u)
    }

    /// U ← α times the layer's damped inverse applied to G Āᵀ, the gradient of a batch with inputs Ā (d_in x cases) and
    /// pre-activation gradients G (d_out x cases), by the cheaper of two ways: through the factors,
    /// 2 cases (d_in² + d_out²) flops, or through the product, 2 d_in d_out (d_in + d_out).
    ///
    /// # Errors
    /// As [`KfacPreconditioner::precondition_layer`].
    pub fn precondition_product(
        &self,
        ctx: &Ctx<T>,
        layer: usize,
        alpha: T,
        g: MatRef<'_, T>,
        a: MatRef<'_, T>,
        u: MatMut<'_, T>,
    ) -> Result<()> {
        let block = self.block(layer)?;
        check_shape("precondition_product: G", (block.rows, a.ncols()), g.shape())?;
        check_shape("precondition_product: Ā", (block.cols, g.ncols()), a.shape())?;
        check_shape("precondition_product: U", (block.rows, block.cols), u.shape())?;
        self.layers[layer].precondition_product(ctx, alpha, g, a, u)
    }

    /// Whether some layer is cheaper to precondition through the factors of so many cases.
    pub(super) fn prefers_factors(&self, cases: usize) -> bool {
        let mut layers = self.layers.iter().zip(self.layout.blocks());
        layers.any(|(layer, block)| layer.prefers_factors(cases, block))
    }

    fn block(&self, layer: usize) -> Result<&super::ParamBlock> {
        let block = self.layout.blocks().get(layer);
        block.ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
    }

    /// `Ok` with n parameters, a block for each layer, and blocks of the layers' orders.
    #[cfg(feature = "serde")]
    pub(super) fn check_restored(&self, n: usize) -> Result<()> {
        check_len("K-FAC: parameters", n, self.layout.len())?;
        check_len("K-FAC: layers", self.layout.blocks().len(), self.layers.len())?;
        for (layer, block) in self.layers.iter().zip(self.layout.blocks()) {
            layer.inverse().map_or(Ok(()), |inverse| {
                check_len("K-FAC: block", block.len(), crate::curvature::DampedSolver::dim(inverse))
            })?;
        }
        Ok(())
    }

    fn statistics(&mut self, layer: usize) -> Result<&mut Statistics<T>> {
        let layer_ref = self.layers.get_mut(layer).map(|layer| &mut layer.statistics);
        layer_ref.ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
    }
}

impl<T: Scalar> CaptureSink<T> for KfacPreconditioner<T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.statistics(layer)?.activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.statistics(layer)?.gradients(ctx, g, weight)
    }

    fn pairs(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.statistics(layer)?.pairs(ctx, a, g, weight)
    }

    fn gradient_moment(&mut self, _ctx: &Ctx<T>, layer: usize, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.statistics(layer)?.gradient_moment(m, weight)
    }
}
