//! Initial parameters: sparse (Martens 2010), Glorot uniform, He normal; biases 0.
//!
//! ```text
//! sparse   each unit has min(k, d_in) distinct incoming weights from N(0, σ²), the others are 0
//!          σ = 1, halved for a tanh layer, halved again behind a tanh layer, a tenth for softplus
//! Glorot   uniform on ±√(6 / (d_in + d_out))
//! He       N(0, 2 / d_in)
//! ```
//! Every layer has its own generator, seeded by (seed, layer).
//!
//! Deviations  the reference code draws the k inputs with replacement and gives tanh layers a bias of 1/2.
//! Laws        tests/nn_init.rs (counts, moments, replay).
//! Reference   J. Martens, ICML 2010, section 5; X. Glorot, Y. Bengio, AISTATS 2010; K. He et al., ICCV 2015.

use rand_pcg::Pcg32;

use super::loss_sample::{generator, normal_pair, uniform};
use super::{Activation, Layer, Mlp};
use crate::mat::MatMut;
use crate::optim::Objective;
use crate::scalar::Scalar;

/// How initial weights are drawn; biases are 0.
///
/// ```
/// use pullback::nn::{Activation, Init, Mlp};
/// let net = Mlp::<f64>::builder(100).layer(10, Activation::Logistic).build()?;
/// let theta = net.init(Init::sparse(), 1);
/// assert_eq!(theta.iter().filter(|&&w| w != 0.0).count(), 150);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Init {
    /// A few large weights into each unit, so that units differ and do not saturate.
    Sparse {
        /// Incoming non-zero weights of a unit (fewer where there are fewer inputs).
        connections: usize,
    },
    /// Uniform, of a variance that keeps activations and gradients on one scale.
    GlorotUniform,
    /// Normal, of a variance that suits ReLU.
    HeNormal,
}

impl Init {
    /// [`Init::Sparse`] with the 15 connections of Martens 2010.
    pub fn sparse() -> Self {
        Init::Sparse { connections: 15 }
    }
}

impl<T: Scalar> Mlp<T> {
    /// Initial θ; equal seeds give equal parameters (and f32 those of f64, rounded).
    pub fn init(&self, init: Init, seed: u64) -> Vec<T> {
        let mut theta = vec![T::ZERO; self.layout().len()];
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate() {
            let mut rng = generator(seed, l as u64);
            let before = l.checked_sub(1).map(|l| self.layers()[l].activation);
            if let Ok(weights) = block.view_mut(&mut theta) {
                fill(weights, init, layer, before, &mut rng);
            }
        }
        theta
    }
}

fn fill<T: Scalar>(w: MatMut<'_, T>, init: Init, layer: &Layer, before: Option<Activation>, rng: &mut Pcg32) {
    let (d_in, d_out) = (layer.inputs as f64, layer.width as f64);
    match init {
        Init::Sparse { connections } => sparse(w, connections, deviation(layer.activation, before), rng),
        Init::GlorotUniform => {
            let bound = (6.0 / (d_in + d_out)).sqrt();
            each_weight(w, layer, || bound * (2.0 * uniform(rng) - 1.0));
        }
        Init::HeNormal => {
            let deviation = (2.0 / d_in).sqrt();
            let mut spare = None;
            each_weight(w, layer, || deviation * normal(rng, &mut spare));
        }
    }
}

/// Standard deviation of a sparse weight.
fn deviation(own: Activation, before: Option<Activation>) -> f64 {
    let behind_tanh = if before == Some(Activation::Tanh) { 0.5 } else { 1.0 };
    match own {
        Activation::Tanh => 0.5 * behind_tanh,
        Activation::Softplus => 0.1 * behind_tanh,
        Activation::Logistic | Activation::Relu | Activation::Identity => behind_tanh,
    }
}

/// Every weight but the biases, by columns.
fn each_weight<T: Scalar>(mut w: MatMut<'_, T>, layer: &Layer, mut draw: impl FnMut() -> f64) {
    w.cols_mut().take(layer.inputs).flatten().for_each(|w| *w = T::of(draw()));
}

fn sparse<T: Scalar>(mut w: MatMut<'_, T>, connections: usize, deviation: f64, rng: &mut Pcg32) {
    let inputs = w.ncols() - 1;
    let mut order: Vec<usize> = (0..inputs).collect();
    let mut spare = None;
    for unit in 0..w.nrows() {
        for k in 0..connections.min(inputs) {
            // the first k steps of a Fisher-Yates shuffle: k distinct inputs
            order.swap(k, k + (uniform(rng) * (inputs - k) as f64) as usize);
            *w.at_mut(unit, order[k]) = T::of(deviation * normal(rng, &mut spare));
        }
    }
}

/// One N(0, 1); the second of each pair waits in `spare`.
fn normal(rng: &mut Pcg32, spare: &mut Option<f64>) -> f64 {
    spare.take().unwrap_or_else(|| {
        let (x, y) = normal_pair(rng);
        *spare = Some(y);
        x
    })
}
