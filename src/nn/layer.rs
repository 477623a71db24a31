//! The description of one dense layer.

use super::Activation;

/// a = φ(W ā) with W of `width` x (`inputs` + 1), the bias being the last column.
///
/// ```
/// use pullback::nn::{Activation, Layer};
/// let layer = Layer { inputs: 4, width: 3, activation: Activation::Relu };
/// assert_eq!(layer.shape(), (3, 5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layer {
    /// d_in, without the constant 1.
    pub inputs: usize,
    /// d_out.
    pub width: usize,
    /// φ.
    pub activation: Activation,
}

impl Layer {
    /// Shape of W.
    pub fn shape(&self) -> (usize, usize) {
        (self.width, self.inputs + 1)
    }
}
