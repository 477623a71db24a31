//! Gradients of several batches at the same θ, averaged into one: a batch k times as large, for one update.
//!
//! ```text
//! ḡ = 1/k Σ ∇h_i(θ),    h_k the loss of the last batch, on which the step is judged
//! change of the mean loss by δ  ≈  h_k(θ+δ) - h_k(θ) + (ḡ - ∇h_k)ᵀδ
//! ```
//! The estimate is exact where the batches differ by linear functions of θ: what the other batches' gradients say of δ is
//! used, so that noise of the last one is not taken for a failure of the model.
//!
//! Cost        an n-vector; n additions a batch.
//! Laws        tests/overhead_budget.rs.

use super::dot;
#[cfg(feature = "serde")]
use crate::error::{Result, check_len};
use crate::scalar::Scalar;

/// The sum of the gradients so far; after the last one, that one alone.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) struct Accumulated<T> {
    sum: Vec<T>,
    pub(super) batches: u64,
    /// k of the last mean.
    averaged: u64,
}

impl<T: Scalar> Accumulated<T> {
    /// Whether the next gradient is the last of k.
    pub(super) fn is_last(&self, k: u64) -> bool {
        self.batches + 1 >= k
    }

    /// Takes a batch's gradient; true when there are k of them, `gradient` being their mean then.
    pub(super) fn add(&mut self, k: u64, gradient: &mut [T]) -> bool {
        if self.batches == 0 {
            self.sum.clear();
            if k <= 1 {
                return true;
            }
            self.sum.extend_from_slice(gradient);
        } else {
            self.sum.iter_mut().zip(&*gradient).for_each(|(s, &g)| *s += g);
        }
        self.batches += 1;
        if self.batches < k {
            return false;
        }
        let share = 1.0 / self.batches as f64;
        for (s, g) in self.sum.iter_mut().zip(gradient) {
            (*s, *g) = (*g, *s * T::of(share));
        }
        (self.averaged, self.batches) = (self.batches, 0);
        true
    }

    /// k and ∇h_k, after the last of several batches.
    pub(super) fn last(&self) -> Option<(u64, &[T])> {
        (self.averaged > 1 && !self.sum.is_empty()).then_some((self.averaged, &self.sum))
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
