//! Iterate averaging: θ̄ ← ξ_k θ̄ + (1 - ξ_k) θ with ξ_k = min(1 - 1/k, ξ), k counted from where averaging starts.
//!
//! Cost        3n flops and one n-vector.
//! Laws        tests beside (burn-in is the plain mean; a constant iterate is its own average).
//! Reference   J. Martens, R. Grosse, ICML 2015, section 13.

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
