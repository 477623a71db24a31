//! Distribution-free tests of a mean, with a stated false-alarm rate.
//!
//! Empirical Bernstein (Maurer, Pontil, COLT 2009, theorem 4, both sides): for N independent values in an interval of
//! width w, with sample variance V, with probability at least 1 - α,
//!
//! ```text
//! |mean - expectation| <= √(2 V ln(4/α) / N) + 7 w ln(4/α) / (3 (N - 1))
//! ```
//! No distribution is assumed, so α = 1e-6 is the false-alarm rate of each assertion, not an approximation of it. Seeds
//! are fixed: a test that passes once passes always.
#![allow(dead_code)] // each test file uses a part

/// False-alarm rate of one assertion.
pub const ALPHA: f64 = 1e-6;

/// A mean, and how far from it the expectation may lie.
#[derive(Debug, Clone, Copy)]
pub struct Mean {
    pub mean: f64,
    pub limit: f64,
}

impl Mean {
    /// Of independent values that lie in an interval of that width.
    pub fn of(values: &[f64], width: f64) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let range = values.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x))
            - values.iter().fold(f64::INFINITY, |m, &x| m.min(x));
        assert!(range <= width * (1.0 + 1e-9), "values spread over {range}, which was said to be {width}");
        let log = (4.0 / ALPHA).ln();
        Self { mean, limit: (2.0 * variance * log / count).sqrt() + 7.0 * width * log / (3.0 * (count - 1.0)) }
    }

    /// Whether the values may have that expectation; a NaN may not.
    pub fn may_be(&self, expected: f64) -> bool {
        (self.mean - expected).abs() <= self.limit
    }

    /// Whether the values may have an expectation that is not positive.
    pub fn may_be_at_most_zero(&self) -> bool {
        self.mean <= self.limit
    }
}
