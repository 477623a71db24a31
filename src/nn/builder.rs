//! [`MlpBuilder`]: a network is described layer by layer and checked once.

use super::{Activation, Layer, Loss, Mlp, Reduction};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Collects the description of an [`Mlp`]; see [`Mlp::builder`].
#[derive(Debug, Clone)]
pub struct MlpBuilder<T> {
    inputs: usize,
    layers: Vec<Layer>,
    loss: Loss,
    reduction: Reduction,
    l2: T,
    chunk: Option<usize>,
}

impl<T: Scalar> MlpBuilder<T> {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            inputs,
            layers: Vec::new(),
            loss: Loss::SquaredError,
            reduction: Reduction::Mean,
            l2: T::ZERO,
            chunk: None,
        }
    }

    /// Appends a dense layer with bias. The last layer's outputs are what the loss sees: logits for the
    /// cross-entropies, so its activation is usually [`Activation::Identity`].
    #[must_use]
    pub fn layer(mut self, width: usize, activation: Activation) -> Self {
        let inputs = self.layers.last().map_or(self.inputs, |l| l.width);
        self.layers.push(Layer { inputs, width, activation });
        self
    }

    /// The loss (default: squared error).
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// How cases are reduced (default: mean).
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// η of η/2 ‖θ‖² over all parameters, biases included (default: 0).
    #[must_use]
    pub fn l2(mut self, eta: T) -> Self {
        self.l2 = eta;
        self
    }

    /// Most cases that [`Objective::loss`](crate::optim::Objective::loss) and `loss_grad` hold activations of at once
    /// (default: as many as fit 2²³ numbers); larger batches are worked through in parts.
    #[must_use]
    pub fn chunk(mut self, cases: usize) -> Self {
        self.chunk = Some(cases);
        self
    }

    /// Checks the description.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`]: no layer, a width of 0, a negative or not finite η, a chunk of 0 cases, more
    /// parameters than can be addressed.
    pub fn build(self) -> Result<Mlp<T>> {
        if self.layers.is_empty() {
            return Err(Error::invalid("layers", "a network needs at least one layer"));
        }
        if self.inputs == 0 || self.layers.iter().any(|l| l.width == 0) {
            return Err(Error::invalid("layers", "every width must be at least 1"));
        }
        if !(self.l2.is_finite() && self.l2 >= T::ZERO) {
            return Err(Error::invalid("l2", format!("{} must be finite and not negative", self.l2)));
        }
        if self.chunk == Some(0) {
            return Err(Error::invalid("chunk", "at least one case at a time"));
        }
        let size = |l: &Layer| l.inputs.checked_add(1)?.checked_mul(l.width);
        if self.layers.iter().try_fold(0usize, |sum, l| sum.checked_add(size(l)?)).is_none() {
            return Err(Error::invalid("layers", "more parameters than can be addressed"));
        }
        let units: usize = self.inputs + self.layers.iter().map(|l| 2 * l.width + 1).sum::<usize>();
        let chunk = self.chunk.unwrap_or(((1 << 23) / units).max(64));
        Ok(Mlp::from_parts(self.layers, self.loss, self.reduction, self.l2, chunk))
    }
}
