//! The block-tridiagonal K-FAC preconditioner, usable alone: activations and output gradients of a chain of layers in, a
//! direction out.
//!
//! ```text
//! F̂⁻¹ = Ξᵀ diag(Σ_1⁻¹, ..., Σ_L⁻¹) Ξ     with the damped factors of every layer and the cross moments of neighbours
//! ```
//! (see [`BlockTridiagonalInverse`]). Beside what [`KfacPreconditioner`](super::KfacPreconditioner) is fed, it takes
//! A_{i-1,i} and S_{i,i+1}; damping is factored, since A ⊗ S + λI has no such inverse.
//!
//! Failure policy: a refresh makes the inverse of the whole chain. One that fails keeps the old one; this is counted and
//! reported for every layer, and becomes an error after `tolerated_failures` in a row, or at once where there is no old
//! inverse to keep.
//!
//! Cost        see [`costs`](super::costs): a refresh about 12 times, an application 4 times that of block-diagonal K-FAC.
//! Laws        tests/kfac_tridiagonal.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671, sections 4.3 and 6.

use super::{CaptureSink, ParamLayout, RefreshReport};
use crate::backend::Ctx;
use crate::curvature::{BlockTridiagonalInverse, Damping, FactorPair, PiRule};
use crate::error::{Error, Result, check_len};
use crate::linop::LinearOperator;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;
use crate::stats::{CrossFactors, Decay, KroneckerFactors};

/// Options of a [`TridiagonalPreconditioner`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct TridiagonalOptions<T> {
    /// ε of the moving averages (Eq 25).
    pub decay: Decay,
    /// How √λ is split between the factors of each layer.
    pub pi: PiRule<T>,
    /// Failed refreshes in a row that the old inverse is kept.
    pub tolerated_failures: usize,
}

/// Block-tridiagonal Kronecker-factored preconditioner of a chain of dense layers.
///
/// ```
/// use pullback::optim::{CaptureSink, ParamLayout, TridiagonalOptions, TridiagonalPreconditioner};
/// use pullback::{Ctx, Damping, Mat, curvature::PiRule, stats::Decay};
/// let ctx = Ctx::<f64>::default();
/// let layout = ParamLayout::new([(1, 1), (1, 1)]); // two layers of one weight
/// let options = TridiagonalOptions { decay: Decay::DEFAULT, pi: PiRule::Trace, tolerated_failures: 3 };
/// let mut kfac = TridiagonalPreconditioner::new(&layout, options);
/// let row = |x: [f64; 2]| Mat::from_vec(x.to_vec(), 1, 2); // two cases
/// let (a, next, g) = (row([1.0, 1.0])?, row([1.0, -1.0])?, row([1.0, 1.0])?);
/// kfac.begin_update();
/// for (layer, input) in [&a, &next].into_iter().enumerate() {
///     kfac.activations(&ctx, layer, input.as_ref(), 0.5)?;
///     kfac.gradients(&ctx, layer, g.as_ref(), 0.5)?;
/// }
/// kfac.cross_activations(&ctx, 0, a.as_ref(), next.as_ref(), 0.5)?; // uncorrelated: the blocks stay apart
/// kfac.cross_gradients(&ctx, 0, g.as_ref(), g.as_ref(), 0.5)?;
/// kfac.refresh(&ctx, Damping::try_from(1.0)?)?;
/// let mut direction = [0.0; 2];
/// kfac.precondition(&ctx, &[4.0, 8.0], &mut direction)?; // (1 + 1)(1 + 1) for each
/// assert!((direction[0] - 1.0).abs() < 1e-14 && (direction[1] - 2.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct TridiagonalPreconditioner<T> {
    options: TridiagonalOptions<T>,
    layout: ParamLayout,
    factors: Vec<KroneckerFactors<T>>,
    cross: Vec<CrossFactors<T>>,
    inverse: Option<BlockTridiagonalInverse<T>>,
    failures: usize,
}

impl<T: Scalar> TridiagonalPreconditioner<T> {
    /// For weight matrices laid out like `layout`, each layer feeding the next; without statistics yet.
    pub fn new(layout: &ParamLayout, options: TridiagonalOptions<T>) -> Self {
        let blocks = layout.blocks();
        let own = blocks.iter().map(|b| KroneckerFactors::new(b.rows, b.cols, options.decay));
        let between = blocks
            .windows(2)
            .map(|pair| CrossFactors::new((pair[0].rows, pair[0].cols), (pair[1].rows, pair[1].cols), options.decay));
        let (factors, cross) = (own.collect(), between.collect());
        Self { options, layout: layout.clone(), factors, cross, inverse: None, failures: 0 }
    }

    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.layout.len()
    }

    /// `Ok` with n parameters and the factors of each layer.
    #[cfg(feature = "serde")]
    pub(super) fn check_restored(&self, n: usize) -> Result<()> {
        let layers = self.layout.blocks().len();
        check_len("K-FAC: parameters", n, self.layout.len())?;
        check_len("K-FAC: layers", layers, self.factors.len())?;
        check_len("K-FAC: neighbours", layers.saturating_sub(1), self.cross.len())?;
        self.inverse.as_ref().map_or(Ok(()), |inverse| check_len("K-FAC: inverse", n, inverse.shape().0))
    }

    /// Begins an update of all statistics: what is added until the next call is one batch.
    pub fn begin_update(&mut self) {
        self.factors.iter_mut().for_each(KroneckerFactors::begin);
        self.cross.iter_mut().for_each(CrossFactors::begin);
    }

    /// Statistics of a layer.
    pub fn factors(&self, layer: usize) -> Option<&KroneckerFactors<T>> {
        self.factors.get(layer)
    }

    /// Statistics between a layer and the next one.
    pub fn cross_factors(&self, layer: usize) -> Option<&CrossFactors<T>> {
        self.cross.get(layer)
    }

    /// The damped inverse of the chain; `None` before the first refresh.
    pub fn inverse(&self) -> Option<&BlockTridiagonalInverse<T>> {
        self.inverse.as_ref()
    }

    /// Whether there is an inverse.
    pub fn is_ready(&self) -> bool {
        self.inverse.is_some()
    }

    /// Makes a new inverse from the statistics at λ, the layers side by side over the thread budget.
    ///
    /// # Errors
    /// [`Error::RepeatedFailure`] after too many failures in a row; the failure itself where there is no old inverse to
    /// keep.
    pub fn refresh(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<RefreshReport> {
        let layers = self.factors.len();
        let error = match self.renewed(ctx, lambda) {
            Ok(inverse) => {
                (self.inverse, self.failures) = (Some(inverse), 0);
                return Ok(RefreshReport { refreshed: layers, failed: Vec::new() });
            }
            Err(error) => error,
        };
        self.failures += 1;
        if self.inverse.is_none() {
            Err(error)
        } else if self.failures > self.options.tolerated_failures {
            Err(Error::RepeatedFailure { op: "K-FAC refresh", failures: self.failures, last: Box::new(error) })
        } else {
            let failed = (0..layers).map(|layer| (layer, error.clone())).collect();
            Ok(RefreshReport { refreshed: 0, failed })
        }
    }

    fn renewed(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<BlockTridiagonalInverse<T>> {
        if self.factors.iter().any(|f| f.updates() == 0) {
            return Err(Error::invalid("refresh", "no statistics yet: call begin_update and add a batch"));
        }
        let diagonal: Vec<FactorPair<'_, T>> = self.factors.iter().map(|f| (f.a(), f.s())).collect();
        let cross: Vec<FactorPair<'_, T>> = self.cross.iter().map(|c| (c.a(), c.s())).collect();
        BlockTridiagonalInverse::new(ctx, &diagonal, &cross, self.options.pi, lambda)
    }

    /// out ← F̂⁻¹ g for flat g and out.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::InvalidParameter`] before the first refresh.
    pub fn precondition(&self, ctx: &Ctx<T>, gradient: &[T], out: &mut [T]) -> Result<()> {
        check_len("precondition: gradient", self.layout.len(), gradient.len())?;
        check_len("precondition: out", self.layout.len(), out.len())?;
        let inverse = self.inverse.as_ref();
        let inverse = inverse.ok_or_else(|| Error::invalid("precondition", "no inverse yet: call refresh first"))?;
        inverse.apply(ctx, MatRef::from_column(gradient), MatMut::from_column(out))
    }
}

fn existing<S>(layers: &mut [S], layer: usize) -> Result<&mut S> {
    layers.get_mut(layer).ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
}

impl<T: Scalar> CaptureSink<T> for TridiagonalPreconditioner<T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        existing(&mut self.factors, layer)?.add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        existing(&mut self.factors, layer)?.add_gradients(ctx, g, weight)
    }

    fn wants_cross_moments(&self) -> bool {
        true
    }

    fn cross_activations(
        &mut self,
        ctx: &Ctx<T>,
        layer: usize,
        a: MatRef<'_, T>,
        next: MatRef<'_, T>,
        weight: T,
    ) -> Result<()> {
        existing(&mut self.cross, layer)?.add_activations(ctx, a, next, weight)
    }

    fn cross_gradients(
        &mut self,
        ctx: &Ctx<T>,
        layer: usize,
        g: MatRef<'_, T>,
        next: MatRef<'_, T>,
        weight: T,
    ) -> Result<()> {
        existing(&mut self.cross, layer)?.add_gradients(ctx, g, next, weight)
    }
}
