//! The search of Moré and Thuente for the strong Wolfe conditions.
//!
//! ```text
//! φ(α) <= φ(0) + c₁ α φ'(0),   |φ'(α)| <= c₂ |φ'(0)|
//! ```
//! Until a trial meets the first with φ' >= 0, the interval is narrowed for ψ(α) = φ(α) - c₁ α φ'(0), afterwards for φ.
//!
//! Deviations  Where two values differ by less than rounding, their difference is taken from the slopes (trapezoid), and
//!             the first condition becomes (2c₁ - 1) φ'(0) >= φ'(α): near a minimum h is known to √ε only in θ, its gradient
//!             to ε. After a value or slope that is not finite the next trial lies a tenth of the way, and never again as
//!             far. A search that ends without an acceptable α gives the lowest it met.
//! Cost        one loss and gradient for each trial; two or three trials are common.
//! Laws        tests/line_search.rs (the evaluations and points of the paper's six tables, the noise floor, regions that are
//!             not finite).
//! Reference   J. J. Moré, D. J. Thuente, ACM Trans. Math. Software 20 (1994) 286-307, doi 10.1145/192115.192132;
//!             J. Nocedal, S. J. Wright, Numerical Optimization (2006), section 3.5.

use super::interpolation::{Interval, narrow};
use super::trials::{Trial, Trials, Wolfe};
use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::Result;
use crate::optim::LineFunction;

/// How far beyond the best point an interval without a bracket goes: 1.1 to 4 times the last step.
const EXTRAPOLATION: [f64; 2] = [1.1, 4.0];
/// An interval that two trials did not shorten to this share is halved.
const SHORTENED: f64 = 0.66;
/// Share of the way that is kept after a trial that is not finite.
const CONTRACTION: f64 = 0.1;

/// Safeguarded cubic interpolation until the strong Wolfe conditions hold.
///
/// ```text
/// φ(α) <= φ(0) + c₁ α φ'(0),   |φ'(α)| <= c₂ |φ'(0)|
/// ```
/// ```
/// use pullback::Result;
/// use pullback::optim::LineFunction;
/// use pullback::optim::line_search::{LineSearch, SearchStart, StrongWolfe};
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
/// let start = SearchStart { value: 1.0, slope: -2.0, initial: 1e-3 };
/// let found = StrongWolfe { curvature: 0.1, ..StrongWolfe::default() }.search(&mut Parabola, start)?;
/// assert!((found.alpha - 1.0).abs() <= 0.1 && found.accepted());
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StrongWolfe {
    /// c₁, below c₂ and ½.
    pub sufficient_decrease: f64,
    /// c₂, below 1.
    pub curvature: f64,
    /// Most trials.
    pub max_evaluations: usize,
}

/// c₁ = 10⁻⁴, c₂ = 0.9, 30 trials: for directions of Newton's kind. Conjugate gradients ask for c₂ = 0.1.
impl Default for StrongWolfe {
    fn default() -> Self {
        Self { sufficient_decrease: 1e-4, curvature: 0.9, max_evaluations: 30 }
    }
}

impl StrongWolfe {
    fn wolfe(&self) -> Wolfe {
        Wolfe { decrease: self.sufficient_decrease, curvature: self.curvature, strong: true }
    }

    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for an option outside its domain.
    pub fn check(&self) -> Result<()> {
        self.wolfe().check(self.max_evaluations)
    }
}

/// The same trial with its value less c₁ α φ'(0).
fn tilted(t: Trial, by: f64) -> Trial {
    Trial { value: t.value - by * t.alpha, slope: t.slope - by, ..t }
}

/// The value at a trial; from the slopes where it cannot be told from the value at `from`.
fn discerned(t: Trial, from: Trial, noise: f64) -> Trial {
    if (t.value - from.value).abs() > noise {
        return t;
    }
    Trial { value: from.value + 0.5 * (from.slope + t.slope) * (t.alpha - from.alpha), ..t }
}

/// Where the trial after α may lie while no bracket is known.
fn outward(best: f64, alpha: f64) -> [f64; 2] {
    EXTRAPOLATION.map(|factor| alpha + factor * (alpha - best))
}

impl LineSearch for StrongWolfe {
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        self.check()?;
        let mut trials = Trials::new(line, start, 0.0);
        if !(start.slope < 0.0) {
            return Ok(trials.give_up(SearchStop::NotDescent));
        }
        let tilt = self.sufficient_decrease * start.slope;
        let mut interval = Interval { best: trials.origin(), other: trials.origin(), bracketed: false };
        let (mut width, mut older_width) = (f64::INFINITY, f64::INFINITY);
        let (mut alpha, mut ceiling, mut for_psi) = (start.initial, f64::INFINITY, true);
        let mut limits = outward(0.0, alpha);
        while trials.evaluations < self.max_evaluations {
            let trial = trials.take(alpha)?;
            if let Some(stop) = trials.verdict(trial, self.wolfe()) {
                return Ok(trials.accept(trial, stop));
            }
            if !trial.is_finite() {
                ceiling = ceiling.min(alpha);
                alpha = interval.best.alpha + CONTRACTION * (alpha - interval.best.alpha);
                if !interval.bracketed {
                    limits = outward(interval.best.alpha, alpha);
                }
                continue;
            }
            let seen = discerned(trial, interval.best, trials.noise);
            let enough = seen.value <= start.value + tilt * alpha;
            for_psi &= !(enough && seen.slope >= 0.0);
            if for_psi && !enough && seen.value <= interval.best.value {
                let Interval { best, other, bracketed } = interval;
                let mut psi = Interval { best: tilted(best, tilt), other: tilted(other, tilt), bracketed };
                alpha = narrow(&mut psi, tilted(seen, tilt), limits);
                let (best, other) = (tilted(psi.best, -tilt), tilted(psi.other, -tilt));
                interval = Interval { best, other, bracketed: psi.bracketed };
            } else {
                alpha = narrow(&mut interval, seen, limits);
            }
            let (x, y) = (interval.best.alpha, interval.other.alpha);
            if interval.bracketed {
                if (y - x).abs() >= SHORTENED * older_width {
                    alpha = x + 0.5 * (y - x);
                }
                (older_width, width) = (width, (y - x).abs());
                limits = [x.min(y), x.max(y)];
                if !(alpha > limits[0] && alpha < limits[1]) {
                    alpha = x + 0.5 * (y - x);
                }
                if width <= trials.resolution() * limits[1] || self.is_lost(&trials, x, alpha) {
                    return Ok(trials.give_up(SearchStop::TooShort));
                }
                continue;
            }
            if alpha >= ceiling {
                alpha = x + 0.5 * (ceiling - x);
            }
            if !alpha.is_finite() {
                return Ok(trials.give_up(SearchStop::Unbounded));
            }
            limits = outward(x, alpha);
        }
        Ok(trials.give_up(SearchStop::EvaluationLimit))
    }
}

impl StrongWolfe {
    /// Whether nothing was found and the change of φ that the slope promises at α is far below what φ can show.
    fn is_lost(&self, trials: &Trials<'_>, best: f64, alpha: f64) -> bool {
        best == 0.0 && alpha * trials.start.slope.abs() <= trials.resolution() * trials.noise
    }
}
