//! Exponential moving averages without start-up bias (Eq 25).
//!
//! ```text
//! m_k = ε_k m_{k-1} + (1 - ε_k) x_k,   ε_k = min(1 - 1/k, ε)
//! ```
//! ε_1 = 0, so the first value is taken whole, and until 1 - 1/k reaches ε the average is the plain mean: that is the
//! burn-in. The time constant afterwards is 1/(1 - ε) updates.

use crate::error::{Error, Result};

/// ε of an exponential moving average: 0 <= ε < 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(into = "f64", try_from = "f64"))]
pub struct Decay(f64);

impl From<Decay> for f64 {
    fn from(decay: Decay) -> f64 {
        decay.0
    }
}

impl TryFrom<f64> for Decay {
    type Error = Error;
    fn try_from(epsilon: f64) -> Result<Self> {
        Self::new(epsilon)
    }
}

impl Decay {
    /// 0.95, the chapter's default: an average over about the last 20 batches.
    pub const DEFAULT: Decay = Decay(0.95);

    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 <= ε < 1.
    pub fn new(epsilon: f64) -> Result<Self> {
        if (0.0..1.0).contains(&epsilon) {
            Ok(Self(epsilon))
        } else {
            Err(Error::invalid("decay", format!("{epsilon} must be in [0, 1)")))
        }
    }

    /// ε.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Decay {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counts updates and says with which ε_k the next one is mixed in.
///
/// ```
/// use pullback::stats::{Decay, MovingAverage};
/// let mut average = MovingAverage::new(Decay::new(0.6)?);
/// let weights: Vec<f64> = (0..4).map(|_| average.advance()).collect();
/// assert_eq!(weights, [0.0, 0.5, 0.6, 0.6]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MovingAverage {
    decay: Decay,
    updates: u64,
}

impl MovingAverage {
    /// No update yet.
    pub fn new(decay: Decay) -> Self {
        Self { decay, updates: 0 }
    }

    /// Begins the next update and returns its ε_k.
    pub fn advance(&mut self) -> f64 {
        self.updates += 1;
        (1.0 - 1.0 / self.updates as f64).min(self.decay.get())
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}
