//! Armijo's backtracking: α₀, β α₀, β² α₀, ... until φ(α) <= φ(0) + c α φ'(0).
//!
//! Deviations  A value that is not finite is not accepted. Where no α is, the answer is α = 0.
//! Cost        one forward pass for each α.
//! Laws        tests/line_search.rs.
//! Reference   L. Armijo, Pacific J. Math. 16 (1966) 1-3; the defaults c = 10⁻², β = 0.8, 60 trials are those of Martens'
//!             Hessian-free code.

use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::{Error, Result};
use crate::optim::LineFunction;

/// Backtracking until the decrease is a share c of what the slope promises.
///
/// ```
/// use pullback::Result;
/// use pullback::optim::LineFunction;
/// use pullback::optim::line_search::{Armijo, LineSearch, SearchStart, SearchStop};
/// /// (α - 1)²
/// struct Parabola;
/// impl LineFunction for Parabola {
///     fn value(&mut self, alpha: f64) -> Result<f64> {
///         Ok((alpha - 1.0).powi(2))
///     }
///     fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
///         Ok((self.value(alpha)?, 2.0 * (alpha - 1.0)))
///     }
/// }
/// let start = SearchStart { value: 1.0, slope: -2.0, initial: 4.0 };
/// let found = Armijo { factor: 0.5, ..Armijo::default() }.search(&mut Parabola, start)?;
/// assert_eq!((found.alpha, found.stop), (1.0, SearchStop::Accepted));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Armijo {
    /// c, in (0, 1).
    pub sufficient_decrease: f64,
    /// β, in (0, 1).
    pub factor: f64,
    /// Most values of α to try.
    pub max_evaluations: usize,
}

impl Default for Armijo {
    fn default() -> Self {
        Self { sufficient_decrease: 1e-2, factor: 0.8, max_evaluations: 60 }
    }
}

impl Armijo {
    /// # Errors
    /// [`Error::InvalidParameter`] for an option outside its domain.
    pub fn check(&self) -> Result<()> {
        for (name, x) in [("sufficient_decrease", self.sufficient_decrease), ("factor", self.factor)] {
            if !(x > 0.0 && x < 1.0) {
                return Err(Error::invalid(name, format!("{x} must be in (0, 1)")));
            }
        }
        Ok(())
    }
}

impl LineSearch for Armijo {
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        self.check()?;
        let nothing =
            |evaluations, stop| SearchReport { alpha: 0.0, value: Some(start.value), slope: None, evaluations, stop };
        if !(start.slope < 0.0) {
            return Ok(nothing(0, SearchStop::NotDescent));
        }
        let mut alpha = start.initial;
        for evaluations in 1..=self.max_evaluations {
            let value = line.value(alpha)?;
            if value.is_finite() && value <= start.value + self.sufficient_decrease * alpha * start.slope {
                let stop = SearchStop::Accepted;
                return Ok(SearchReport { alpha, value: Some(value), slope: None, evaluations, stop });
            }
            alpha *= self.factor;
        }
        Ok(nothing(self.max_evaluations, SearchStop::EvaluationLimit))
    }
}
