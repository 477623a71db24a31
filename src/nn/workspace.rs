//! [`Workspace`]: what a forward pass leaves for the passes after it.
//!
//! ```text
//! hidden layer l   ā_l, (d_l + 1) x cases, ld d_l + 1: a product writes the top d_l rows, the last row stays 1
//! output layer     z, d_L x cases, and ∂ℓ/∂z of the same shape
//! ```
//! Storage     (Σ_hidden (d_l + 1) + 2 d_L) cases numbers; buffers grow and are never given back.

use super::batch::view;
use super::columns;
use super::{Batch, Layer, Mlp};
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// Activations and output gradients of the last forward pass; made by
/// [`LayeredObjective::workspace`](crate::optim::LayeredObjective::workspace).
#[derive(Debug, Clone, Default)]
pub struct Workspace<T> {
    pub(super) layers: Vec<Layer>,
    /// Cases of the last complete forward pass; 0 when there is none.
    pub(super) cases: usize,
    pub(super) hidden: Vec<Vec<T>>,
    pub(super) outputs: Vec<T>,
    pub(super) output_gradient: Vec<T>,
    pub(super) case_loss: Vec<f64>,
}

impl<T: Scalar> Workspace<T> {
    /// Makes room for a forward pass and forgets the last one.
    pub(super) fn prepare(&mut self, layers: &[Layer], cases: usize) {
        self.cases = 0;
        if self.layers != layers {
            *self = Self {
                layers: layers.to_vec(),
                hidden: vec![Vec::new(); layers.len().saturating_sub(1)],
                ..Self::default()
            };
        }
        let grow = |buffer: &mut Vec<T>, rows: usize| {
            if buffer.len() < rows * cases {
                // ones: the rows of ones of the new columns are then in place
                buffer.resize(rows * cases, T::ONE);
            }
        };
        for (buffer, layer) in self.hidden.iter_mut().zip(layers) {
            grow(buffer, layer.width + 1);
        }
        let outputs = layers.last().map_or(0, |l| l.width);
        grow(&mut self.outputs, outputs);
        grow(&mut self.output_gradient, outputs);
        self.case_loss.resize(cases, 0.0);
    }

    /// Number of cases of the last forward pass.
    pub fn cases(&self) -> usize {
        self.cases
    }

    /// The network's outputs z, d_out x cases.
    pub fn outputs(&self) -> MatRef<'_, T> {
        view(&self.outputs, self.layers.last().map_or(0, |l| l.width), self.cases)
    }

    /// ∂ℓ/∂z of each case (without the reduction's weight), d_out x cases.
    pub fn output_gradient(&self) -> MatRef<'_, T> {
        view(&self.output_gradient, self.layers.last().map_or(0, |l| l.width), self.cases)
    }

    /// The loss ℓ of each case.
    pub fn case_losses(&self) -> &[f64] {
        &self.case_loss[..self.cases]
    }

    /// ā of hidden layer `layer`, (d + 1) x cases, the last row being 1.
    pub(super) fn homogeneous(&self, layer: usize) -> MatRef<'_, T> {
        view(&self.hidden[layer], self.layers[layer].width + 1, self.cases)
    }

    /// a = φ(s) of any layer, d x cases.
    pub(super) fn activation(&self, layer: usize) -> MatRef<'_, T> {
        if layer + 1 == self.layers.len() {
            return self.outputs();
        }
        columns::top(self.homogeneous(layer), self.layers[layer].width, 0, self.cases)
    }

    /// What layer `layer` multiplies: ā of the layer before it, or the batch's inputs.
    pub(super) fn layer_input<'a>(&'a self, layer: usize, inputs: MatRef<'a, T>) -> MatRef<'a, T> {
        if layer == 0 { inputs } else { self.homogeneous(layer - 1) }
    }

    /// Checks θ and that this workspace holds a forward pass of `mlp` on as many cases as `batch` has.
    pub(super) fn check(&self, mlp: &Mlp<T>, theta: &[T], batch: &Batch<T>) -> Result<()> {
        mlp.check(theta, batch)?;
        if self.cases == 0 || self.layers != mlp.layers() {
            return Err(Error::invalid("workspace", "call forward with this network first"));
        }
        check_shape("workspace", (mlp.outputs(), self.cases), (mlp.outputs(), batch.cases()))
    }
}

impl<T: Scalar> Mlp<T> {
    /// Checks the length of θ and the shape of a batch.
    pub(super) fn check(&self, theta: &[T], batch: &Batch<T>) -> Result<()> {
        check_len("theta", crate::optim::Objective::layout(self).len(), theta.len())?;
        check_shape("batch: inputs", (self.inputs(), batch.cases()), (batch.input_dim(), batch.cases()))?;
        check_shape("batch: targets", (self.outputs(), batch.cases()), (batch.target_dim(), batch.cases()))
    }
}
