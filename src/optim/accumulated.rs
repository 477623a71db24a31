//! Gradients of several batches at the same θ, averaged into one: a batch k times as large, for one update.
//!
//! ```text
//! ḡ = 1/k Σ ∇h_i(θ),    h_k the loss of the last batch, on which the step is judged
//! change of the mean loss by δ  ≈  h_k(θ+δ) - h_k(θ) + (ḡ - ∇h_k)ᵀδ
//! ```
//! The estimate is exact where the batches differ by linear functions of θ: what the other batches' gradients say of δ is
//! used, so that noise of the last one is not taken for a failure of the model.
//!
//! Cost        an n-vector; n additions a batch; 4n an update.
//! Laws        tests/overhead_budget.rs.

use super::dot;
use super::noise_scale::NoiseScale;
#[cfg(feature = "serde")]
use crate::error::{Result, check_len};
use crate::scalar::Scalar;

/// The sum of the gradients so far; after the last one, that one alone.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) struct Accumulated<T> {
    sum: Vec<T>,
    pub(super) batches: u64,
    /// Σ ‖∇h_i‖².
    squares: f64,
    pub(super) noise: NoiseScale,
}

impl<T: Scalar> Accumulated<T> {
    /// Whether the next gradient is the last of k.
    pub(super) fn is_last(&self, k: u64) -> bool {
        self.batches + 1 >= k
    }

    /// Takes a batch's gradient, of this length; true when there are k of them, `gradient` being their mean then.
    pub(super) fn add(&mut self, k: u64, length: f64, gradient: &mut [T]) -> bool {
        if self.batches == 0 {
            self.sum.clear();
            if k <= 1 {
                return true;
            }
            self.squares = 0.0;
            self.sum.extend_from_slice(gradient);
        } else {
            self.sum.iter_mut().zip(&*gradient).for_each(|(s, &g)| *s += g);
        }
        self.batches += 1;
        self.squares += length * length;
        if self.batches < k {
            return false;
        }
        let share = 1.0 / self.batches as f64;
        for (s, g) in self.sum.iter_mut().zip(&mut *gradient) {
            (*s, *g) = (*g, *s * T::of(share));
        }
        if self.batches > 1 {
            self.noise.add(self.batches, share * self.squares, dot(gradient, gradient));
        }
        self.batches = 0;
        true
    }

    /// (ḡ - ∇h_k)ᵀδ, after the last batch.
    pub(super) fn beyond_last(&self, mean: &[T], update: &[T]) -> f64 {
        if self.sum.is_empty() { 0.0 } else { dot(mean, update) - dot(&self.sum, update) }
    }

    #[cfg(feature = "serde")]
    pub(super) fn check_restored(&self, n: usize) -> Result<()> {
        if self.batches == 0 { Ok(()) } else { check_len("K-FAC: sum of gradients", n, self.sum.len()) }
    }
}
