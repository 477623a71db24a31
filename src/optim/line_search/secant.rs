//! One secant step on the slope: the exact minimizer along a line where h is quadratic.
//!
//! ```text
//! α = α₀ φ'(0) / (φ'(0) - φ'(α₀))
//! ```
//! Deviations  Where φ' does not rise, or φ(α) is not below φ(0), the answer is α = 0. The value is compared with rounding
//!             allowed for, since a quadratic's minimum is flat.
//! Cost        two losses and gradients.
//! Laws        tests/line_search.rs, tests/descent_methods.rs (the finite termination of conjugate
//!             gradients and of quasi-Newton methods asks for it).

use super::trials::Trials;
use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::Result;
use crate::optim::LineFunction;

/// The exact step on a quadratic, from the slopes at 0 and at the initial α.
///
/// ```
/// use pullback::Result;
/// use pullback::optim::LineFunction;
/// use pullback::optim::line_search::{LineSearch, SearchStart, SecantStep};
/// /// (α - 3)²
/// struct Parabola;
/// impl LineFunction for Parabola {
///     fn value(&mut self, alpha: f64) -> Result<f64> {
///         Ok((alpha - 3.0).powi(2))
///     }
///     fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
///         Ok((self.value(alpha)?, 2.0 * (alpha - 3.0)))
///     }
/// }
/// let start = SearchStart { value: 9.0, slope: -6.0, initial: 1.0 };
/// assert_eq!(SecantStep.search(&mut Parabola, start)?.alpha, 3.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SecantStep;

impl LineSearch for SecantStep {
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        let mut trials = Trials::new(line, start, 0.0);
        if !(start.slope < 0.0) {
            return Ok(trials.give_up(SearchStop::NotDescent));
        }
        let first = trials.take(start.initial)?;
        let alpha = start.initial * (start.slope / (start.slope - first.slope));
        if !(alpha > 0.0 && alpha.is_finite()) {
            return Ok(trials.give_up(SearchStop::Unbounded));
        }
        let found = if alpha == start.initial { first } else { trials.take(alpha)? };
        if found.is_finite() && found.value <= start.value + trials.noise {
            return Ok(trials.accept(found, SearchStop::Accepted));
        }
        Ok(trials.give_up(SearchStop::TooShort))
    }
}
