//! How noisy the gradient of one batch is, from batches whose gradients were averaged at the same θ, in the metric of the
//! preconditioner P, in which steps are made: directions of little curvature hold little of the gradient and much noise.
//!
//! ```text
//! a = gᵀP g of one batch,  b = ḡᵀP ḡ:   E a = GᵀP G + v,  E b = GᵀP G + v/k      v = tr PΣ, Σ the covariance of g
//! v̂ = (a - b) k/(k-1),   Ŝ = (k b - a)/(k-1),   N = mean v̂ / mean Ŝ              batches whose mean is half noise
//! ```
//! Cost        one more application of P, where N is measured.
//! Laws        tests below.
//! Reference   S. McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.

/// Moving means of v̂ and Ŝ.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct NoiseScale {
    variance: f64,
    signal: f64,
    seen: u32,
}

/// Estimates that the means remember.
const MEMORY: u32 = 8;

impl NoiseScale {
    /// Takes gᵀP g of one of k >= 2 batches, and of their mean.
    pub(super) fn add(&mut self, k: u64, of_one: f64, of_mean: f64) {
        let k = k as f64;
        let (variance, signal) = ((of_one - of_mean) * k, k * of_mean - of_one);
        self.seen = (self.seen + 1).min(MEMORY);
        let weight = 1.0 / f64::from(self.seen);
        self.variance += weight * (variance / (k - 1.0) - self.variance);
        self.signal += weight * (signal / (k - 1.0) - self.signal);
    }

    /// N; infinite where there is nothing but noise, `None` before the first estimate.
    pub(super) fn batches(&self) -> Option<f64> {
        let ratio = if self.signal > 0.0 { self.variance.max(0.0) / self.signal } else { f64::INFINITY };
        (self.seen > 0).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_a_constructed_sample() {
        // g = ±e₂ + 3 e₁: |G|² = 9, and a variance of 1 with as many of either sign: its sample estimate k/(k-1)
        for k in [2u64, 4, 10] {
            let mut noise = NoiseScale::default();
            assert_eq!(noise.batches(), None);
            (0..40).for_each(|_| noise.add(k, 10.0, 9.0));
            let v = k as f64 / (k as f64 - 1.0);
            let expected = v / (10.0 - v);
            assert!((noise.batches().unwrap() - expected).abs() < 1e-12, "{k}");
        }
        let mut noise = NoiseScale::default();
        noise.add(2, 4.0, 4.0);
        assert_eq!(noise.batches(), Some(0.0), "equal batches");
        noise.add(2, 40.0, 1.0);
        assert_eq!(noise.batches(), Some(f64::INFINITY), "opposite ones");
    }
}
