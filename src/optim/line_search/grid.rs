//! The best of a geometric grid of step sizes.
//!
//! ```text
//! α ∈ {1, ½, ¼, ..., 2⁻³⁰},   the α with the lowest φ
//! ```
//! Deviations  An α whose value is not finite is passed over; where no value lies below φ(0) the answer is α = 0.
//! Cost        one forward pass for each α, 31 by default, whatever the first ones give.
//! Laws        tests/line_search.rs.
//! Reference   J. Müller, M. Zeinhofer, Achieving high accuracy with PINNs via energy natural gradient descent, ICML 2023,
//!             arXiv:2302.13163 (its code searches this grid).

use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::Result;
use crate::optim::LineFunction;

/// Every α = 2⁰, 2⁻¹, ..., 2⁻ᵏ is tried, the lowest value wins.
///
/// ```
/// use pullback::Result;
/// use pullback::optim::LineFunction;
/// use pullback::optim::line_search::{GridSearch, LineSearch, SearchStart};
/// /// (α - 0.3)²
/// struct Parabola;
/// impl LineFunction for Parabola {
///     fn value(&mut self, alpha: f64) -> Result<f64> {
///         Ok((alpha - 0.3).powi(2))
///     }
///     fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
///         Ok((self.value(alpha)?, 2.0 * (alpha - 0.3)))
///     }
/// }
/// let start = SearchStart { value: 0.09, slope: -0.6, initial: 1.0 };
/// let found = GridSearch::default().search(&mut Parabola, start)?;
/// assert_eq!((found.alpha, found.evaluations), (0.25, 31));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GridSearch {
    /// k of the smallest α = 2⁻ᵏ.
    pub halvings: u32,
}

impl Default for GridSearch {
    fn default() -> Self {
        Self { halvings: 30 }
    }
}

impl LineSearch for GridSearch {
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        let at_start = SearchReport {
            alpha: 0.0,
            value: Some(start.value),
            slope: None,
            evaluations: 0,
            stop: SearchStop::TooShort,
        };
        if !(start.slope < 0.0) {
            return Ok(SearchReport { stop: SearchStop::NotDescent, ..at_start });
        }
        let (mut found, mut lowest, mut alpha) = (at_start, start.value, 1.0);
        for _ in 0..=self.halvings {
            let value = line.value(alpha)?;
            found.evaluations += 1;
            if value < lowest && value.is_finite() {
                lowest = value;
                found = SearchReport { alpha, value: Some(value), stop: SearchStop::Accepted, ..found };
            }
            alpha *= 0.5;
        }
        Ok(found)
    }
}
