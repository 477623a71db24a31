//! The K-FAC preconditioner, usable alone: activations and output gradients in, a direction out.
//!
//! ```text
//! layer ℓ:  A_ℓ = E[ā āᵀ],  S_ℓ = E[g gᵀ]  (moving averages, Eq 25)
//!           U_ℓ = (A_ℓ ⊗ S_ℓ + λI)⁻¹ V_ℓ,  exactly through eigenbases (Eq 23) or with factored damping (Eq 22, 24)
//! ```
//! No model type of ours is needed: a caller who has a layer's homogeneous activations (d_in+1 x cases), its
//! pseudo-gradients (d_out x cases) and a gradient matrix (d_out x d_in+1) gets the preconditioned gradient.
//!
//! Failure policy: a layer whose refresh fails keeps its old inverse; this is counted and reported, and becomes an
//! error after `tolerated_failures` in a row, or at once where there is no old inverse to keep.
//!
//! Cost        statistics cases·(d_in² + d_out²) flops, refresh d_in³ + d_out³ (inverse) or about 9 times that (eigen),
//!             application 2 d_out d_in (d_in + d_out) (twice that through eigenbases), a layer.
//! Laws        tests/kfac_preconditioner.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671.

use super::{CaptureSink, ParamLayout};
use crate::backend::Ctx;
use crate::curvature::{Damping, KroneckerDamping, KroneckerInverse};
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;
use crate::stats::{Decay, KroneckerFactors};

/// Options of a [`KfacPreconditioner`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreconditionerOptions<T> {
    /// ε of the moving averages (Eq 25).
    pub decay: Decay,
    /// Exact damping through eigenbases, or factored damping with π.
    pub damping: KroneckerDamping<T>,
    /// Failed refreshes in a row that a layer survives on its old inverse.
    pub tolerated_failures: usize,
}

/// What a refresh did.
#[derive(Debug, Clone, Default)]
pub struct RefreshReport {
    /// Layers with a new inverse.
    pub refreshed: usize,
    /// Layers that kept their old inverse, with the reason.
    pub failed: Vec<(usize, Error)>,
}

/// Block-diagonal Kronecker-factored preconditioner of a network of dense layers.
///
/// ```
/// use pullback::{Ctx, Damping, Mat, optim::{KfacPreconditioner, ParamLayout, PreconditionerOptions, CaptureSink}};
/// use pullback::{curvature::KroneckerDamping, stats::Decay};
/// let ctx = Ctx::<f64>::default();
/// // one layer: 1 output, 1 input and a bias
/// let layout = ParamLayout::new([(1, 2)]);
/// let options =
///     PreconditionerOptions { decay: Decay::DEFAULT, damping: KroneckerDamping::Exact, tolerated_failures: 3 };
/// let mut kfac = KfacPreconditioner::new(&layout, options);
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
pub struct KfacPreconditioner<T> {
    options: PreconditionerOptions<T>,
    layout: ParamLayout,
    layers: Vec<Layer<T>>,
}

#[derive(Debug)]
struct Layer<T> {
    index: usize,
    factors: KroneckerFactors<T>,
    inverse: Option<KroneckerInverse<T>>,
    /// Value of `factors.updates()` at which the inverse was made.
    made_at: u64,
    failures: usize,
    last_failure: Option<Error>,
}

impl<T: Scalar> Layer<T> {
    /// A new inverse at λ: from the cached eigenbases where only λ has changed, else from the statistics.
    fn renew(&mut self, ctx: &Ctx<T>, damping: KroneckerDamping<T>, lambda: Damping<T>) -> Result<()> {
        let current = self.made_at == self.factors.updates();
        let redamped = self.inverse.as_ref().filter(|_| current).and_then(|inverse| inverse.redamp(lambda).ok());
        let inverse = match redamped {
            Some(inverse) => inverse,
            None if self.factors.updates() == 0 => {
                return Err(Error::invalid("refresh", "no statistics yet: call begin_update and add a batch"));
            }
            // straight from the accumulators, without the copies of a snapshot
            None => KroneckerInverse::new(ctx, self.factors.a(), self.factors.s(), damping, lambda)?,
        };
        self.inverse = Some(inverse);
        self.made_at = self.factors.updates();
        Ok(())
    }

    fn refresh(&mut self, ctx: &Ctx<T>, options: &PreconditionerOptions<T>, lambda: Damping<T>) -> Result<()> {
        let Err(error) = self.renew(ctx, options.damping, lambda) else {
            (self.failures, self.last_failure) = (0, None);
            return Ok(());
        };
        self.failures += 1;
        self.last_failure = Some(error.clone());
        if self.inverse.is_none() {
            Err(error)
        } else if self.failures > options.tolerated_failures {
            Err(Error::RepeatedFailure { op: "K-FAC refresh", failures: self.failures, last: Box::new(error) })
        } else {
            Ok(())
        }
    }
}

impl<T: Scalar> KfacPreconditioner<T> {
    /// For weight matrices laid out like `layout`, without statistics yet.
    pub fn new(layout: &ParamLayout, options: PreconditionerOptions<T>) -> Self {
        let layer = |(index, block): (usize, &super::ParamBlock)| Layer {
            index,
            factors: KroneckerFactors::new(block.rows, block.cols, options.decay),
            inverse: None,
            made_at: 0,
            failures: 0,
            last_failure: None,
        };
        let layers = layout.blocks().iter().enumerate().map(layer).collect();
        Self { options, layout: layout.clone(), layers }
    }

    /// Begins an update of every layer's statistics: what is added until the next call is one batch.
    pub fn begin_update(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.factors.begin());
    }

    /// Statistics of a layer.
    pub fn factors(&self, layer: usize) -> Option<&KroneckerFactors<T>> {
        self.layers.get(layer).map(|layer| &layer.factors)
    }

    /// The damped inverse of a layer; `None` before the first refresh.
    pub fn inverse(&self, layer: usize) -> Option<&KroneckerInverse<T>> {
        self.layers.get(layer).and_then(|layer| layer.inverse.as_ref())
    }

    /// Whether every layer has an inverse.
    pub fn is_ready(&self) -> bool {
        self.layers.iter().all(|layer| layer.inverse.is_some())
    }

    /// Makes new inverses from the statistics at λ, the layers side by side over the thread budget. With exact damping
    /// and unchanged statistics only λ is exchanged, at no factorization.
    ///
    /// # Errors
    /// [`Error::RepeatedFailure`] after too many failures of a layer in a row; the failure itself where there is no old
    /// inverse to keep.
    pub fn refresh(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<RefreshReport> {
        let options = self.options;
        let mut order: Vec<&mut Layer<T>> = self.layers.iter_mut().collect();
        // largest first, so that no thread is left with the largest at the end
        order.sort_by_key(|layer| {
            let cubed = |n: usize| (n as u128).pow(3);
            std::cmp::Reverse(cubed(layer.factors.a().nrows()) + cubed(layer.factors.s().nrows()))
        });
        ctx.for_each(&mut order, |ctx, layer| layer.refresh(ctx, &options, lambda))?;
        let mut report = RefreshReport::default();
        for layer in &mut self.layers {
            match &layer.last_failure {
                Some(error) => report.failed.push((layer.index, error.clone())),
                None => report.refreshed += 1,
            }
        }
        Ok(report)
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
        let block = self.layout.blocks().get(layer);
        let block = block.ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))?;
        check_shape("precondition_layer: V", (block.rows, block.cols), v.shape())?;
        check_shape("precondition_layer: U", (block.rows, block.cols), u.shape())?;
        let inverse = self.inverse(layer);
        let inverse = inverse.ok_or_else(|| Error::invalid("precondition", "no inverse yet: call refresh first"))?;
        inverse.precondition_matrix(ctx, v, u)
    }

    fn layer_mut(&mut self, layer: usize) -> Result<&mut Layer<T>> {
        self.layers.get_mut(layer).ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
    }
}

impl<T: Scalar> CaptureSink<T> for KfacPreconditioner<T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer_mut(layer)?.factors.add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer_mut(layer)?.factors.add_gradients(ctx, g, weight)
    }
}
