//! Martens' diagonal preconditioner.
//!
//! ```text
//! M = diag( E[(∂ℓ/∂θ)²] + λ + η )^α,   per layer E[(∂ℓ/∂W)²] = (δ∘²)(ā∘²)ᵀ/n,   α = 3/4
//! ```
//! The squared gradients are those of single cases for the observed targets (the empirical Fisher diagonal), so that one
//! forward and one backward pass over the curvature's part of the batch suffice. α = 0 is plain conjugate gradient, bit
//! for bit.
//!
//! Cost        2 passes and 2 n d_in d_out flops a layer; one vector of the length of θ and the objective's workspace.
//! Laws        tests/hessian_free_preconditioners.rs.
//! Reference   J. Martens, Deep learning via Hessian-free optimization, ICML 2010, section 4.7.

use super::InnerPreconditioner;
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::optim::{CaptureSink, FisherKind, LayeredObjective, Passes};
use crate::scalar::Scalar;
use crate::stats::{Decay, DiagonalMoments, DiagonalRule};

/// M⁻¹ as an operator; of length 0 before the first step.
#[derive(Debug, Clone)]
struct Entries<T>(Vec<T>);

impl<T: Scalar> LinearOperator<T> for Entries<T> {
    fn shape(&self) -> (usize, usize) {
        (self.0.len(), self.0.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.0).for_each(|((y, &x), &d)| *y = x * d);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for Entries<T> {}
impl<T: Scalar> Preconditioner<T> for Entries<T> {}

/// `diag(E[g²] + λ + η)^-α`, renewed in every step: nothing is carried from one step to the next.
///
/// ```
/// use pullback::optim::MartensDiagonal;
/// assert_eq!(MartensDiagonal::<f64>::default().exponent(), 0.75);
/// assert!(MartensDiagonal::<f64>::new(-1.0).is_err());
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct MartensDiagonal<T> {
    exponent: f64,
    #[cfg_attr(feature = "serde", serde(skip))]
    inverse: Entries<T>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// α = 3/4.
impl<T> Default for MartensDiagonal<T> {
    fn default() -> Self {
        Self { exponent: 0.75, inverse: Entries::default() }
    }
}

impl<T> MartensDiagonal<T> {
    /// With another α.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 <= α <= 1.
    pub fn new(exponent: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&exponent) {
            return Err(Error::invalid("exponent", format!("{exponent} must be in [0, 1]")));
        }
        Ok(Self { exponent, ..Self::default() })
    }

    /// α.
    pub fn exponent(&self) -> f64 {
        self.exponent
    }
}

/// Squared gradients of every layer.
struct Squares<T>(Vec<DiagonalMoments<T>>);

impl<T: Scalar> Squares<T> {
    fn layer(&mut self, layer: usize) -> Result<&mut DiagonalMoments<T>> {
        self.0.get_mut(layer).ok_or_else(|| Error::invalid("layer", format!("{layer} does not exist")))
    }
}

impl<T: Scalar> CaptureSink<T> for Squares<T> {
    fn activations(&mut self, _: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_activations(a, weight)
    }

    fn gradients(&mut self, _: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_gradients(g, weight)
    }

    fn pairs(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.layer(layer)?.add_pairs(ctx, a, g, weight)
    }
}

impl<T: Scalar, O: LayeredObjective<T> + ?Sized> InnerPreconditioner<T, O> for MartensDiagonal<T> {
    fn prepare(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        part: &O::Batch,
        damping: Damping<T>,
        passes: &mut Passes,
    ) -> Result<()> {
        let layout = objective.layout();
        let moments =
            |b: &crate::optim::ParamBlock| DiagonalMoments::new(b.rows, b.cols, DiagonalRule::Exact, Decay::DEFAULT);
        let mut squares = Squares(layout.blocks().iter().map(moments).collect());
        squares.0.iter_mut().for_each(DiagonalMoments::begin);
        let mut workspace = objective.workspace();
        objective.forward(ctx, theta, part, &mut workspace)?;
        *passes += Passes::GRADIENT;
        objective.capture(ctx, theta, part, &mut workspace, FisherKind::Empirical, usize::MAX, 0, &mut squares)?;
        let power = T::of(-self.exponent);
        self.inverse.0.clear();
        for (layer, moments) in squares.0.iter().enumerate() {
            let diagonal =
                moments.snapshot().map_err(|_| Error::NotFinite { op: "squared gradients", layer: Some(layer) })?;
            let entries = diagonal.iter().flat_map(|d| d.entries());
            self.inverse.0.extend(entries.map(|&d| (d + damping.get()).powf(power)));
        }
        check::finite_slice("MartensDiagonal", &self.inverse.0)
    }

    fn get(&self) -> Option<&dyn Preconditioner<T>> {
        Some(&self.inverse)
    }
}
