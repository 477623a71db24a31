//! Iterate averaging: θ̄ ← ξ_k θ̄ + (1 - ξ_k) θ with ξ_k = min(1 - 1/k, ξ), k counted from where averaging starts.
//!
//! Polynomial decay forgets in proportion to what was seen, without a time constant:
//! ```text
//! θ̄_k = (1 - (ζ+1)/(k+ζ)) θ̄_{k-1} + (ζ+1)/(k+ζ) θ_k          ζ = 0: the plain mean; weights grow like k^ζ
//! ```
//! Cost        3n flops and one n-vector.
//! Laws        tests beside (burn-in is the plain mean; a constant iterate is its own average).
//! Reference   J. Martens, R. Grosse, ICML 2015, section 13; O. Shamir, T. Zhang, ICML 2013, arXiv:1212.1824, section 4.

use crate::error::{Error, Result};
use crate::scalar::Scalar;
use crate::stats::{Decay, MovingAverage};

/// A running average of iterates, without start-up bias.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct IterateAverage<T> {
    average: MovingAverage,
    start: u64,
    seen: u64,
    theta: Vec<T>,
}

impl<T: Scalar> IterateAverage<T> {
    /// Averages with ξ from the given step on (the first step is step 1).
    pub fn new(decay: Decay, start: u64) -> Self {
        Self { average: MovingAverage::new(decay), start, seen: 0, theta: Vec::new() }
    }

    /// Takes the iterate of the next step.
    pub fn update(&mut self, theta: &[T]) {
        self.seen += 1;
        if self.seen < self.start {
            return;
        }
        let xi = T::of(self.average.advance());
        self.theta.resize(theta.len(), T::ZERO);
        for (mean, &now) in self.theta.iter_mut().zip(theta) {
            *mean = xi * *mean + (T::ONE - xi) * now;
        }
    }

    /// θ̄; `None` before averaging has started.
    pub fn get(&self) -> Option<&[T]> {
        (self.average.updates() > 0).then_some(&self.theta)
    }
}

/// A running average whose weights grow like a power of the step.
///
/// ```
/// use pullback::optim::PolynomialAverage;
/// let mut average = PolynomialAverage::new(1)?;
/// [3.0, 6.0].iter().for_each(|&theta| average.update(&[theta]));
/// assert_eq!(average.get(), Some(&[5.0][..])); // (1·3 + 2·6) / 3
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct PolynomialAverage<T> {
    power: u32,
    seen: u64,
    theta: Vec<T>,
}

impl<T: Scalar> PolynomialAverage<T> {
    /// With ζ, the power with which weights grow.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] beyond ζ = 1000, where only the last iterates count.
    pub fn new(power: u32) -> Result<Self> {
        if power > 1000 {
            return Err(Error::invalid("power", format!("{power} must be at most 1000")));
        }
        Ok(Self { power, seen: 0, theta: Vec::new() })
    }

    /// Takes the iterate of the next step.
    pub fn update(&mut self, theta: &[T]) {
        self.seen += 1;
        let zeta = f64::from(self.power);
        let share = T::of((zeta + 1.0) / (self.seen as f64 + zeta));
        self.theta.resize(theta.len(), T::ZERO);
        for (mean, &now) in self.theta.iter_mut().zip(theta) {
            *mean = (T::ONE - share) * *mean + share * now;
        }
    }

    /// θ̄; `None` before the first iterate.
    pub fn get(&self) -> Option<&[T]> {
        (self.seen > 0).then_some(&self.theta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_the_plain_mean_and_then_forgets() {
        let mut average = IterateAverage::new(Decay::new(0.5).unwrap(), 3);
        average.update(&[100.0]);
        average.update(&[100.0]);
        assert_eq!(average.get(), None);
        for (theta, mean) in [(4.0, 4.0), (2.0, 3.0), (7.0, 5.0)] {
            average.update(&[theta]);
            assert_eq!(average.get(), Some(&[mean][..]));
        }
    }
}
