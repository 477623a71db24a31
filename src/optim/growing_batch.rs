//! Batches that grow: a small one while the gradient is large beside its noise, all cases at the end.
//!
//! ```text
//! m_k = min(⌊m₁ 2^((k-1)/div)⌋, N),   div = (K - 1) / log₂(N/m₁),   so that m_K = N          k = 1, 2, ...
//! ```
//! Cost        a few flops a step.
//! Laws        tests/schedules.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671, section 13 (m₁ = 1000, K = 500).

use crate::error::{Error, Result};

/// The size of the k-th batch.
///
/// ```
/// use pullback::optim::GrowingBatch;
/// let batch = GrowingBatch::new(1000, 60_000, 500)?;
/// assert_eq!([1, 101, 251, 500, 9999].map(|k| batch.cases(k)), [1000, 2271, 7777, 60_000, 60_000]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GrowingBatch {
    first: usize,
    all: usize,
    steps: u64,
}

impl GrowingBatch {
    /// From m₁ cases to all N at step K.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless 1 <= m₁ <= N and K >= 2.
    pub fn new(first: usize, all: usize, steps: u64) -> Result<Self> {
        if first == 0 || first > all {
            return Err(Error::invalid(
                "first batch",
                format!("{first} must be from 1 to the number of cases ({all})"),
            ));
        }
        if steps < 2 {
            return Err(Error::invalid("steps", "a batch needs at least 2 steps to grow"));
        }
        Ok(Self { first, all, steps })
    }

    /// Steps in which the batch doubles; infinite where it is whole from the start.
    pub fn doubling(&self) -> f64 {
        (self.steps.max(2) - 1) as f64 / (self.all as f64 / self.first as f64).log2()
    }

    /// m_k; k counts from 1, and 0 is taken as 1.
    pub fn cases(&self, k: u64) -> usize {
        // the last one exactly, whatever the exponential rounds to
        if k >= self.steps {
            return self.all;
        }
        let grown = self.first as f64 * (k.saturating_sub(1) as f64 / self.doubling()).exp2();
        (grown as usize).clamp(self.first.min(self.all), self.all)
    }
}
