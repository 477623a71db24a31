//! Line searches: how far to go along a descent direction.
//!
//! | search | accepts α when | file |
//! |---|---|---|
//! | [`FixedStep`] | always | `fixed.rs` |
//! | [`Armijo`] | φ(α) <= φ(0) + c α φ'(0), from an initial α downwards | `armijo.rs` |

mod armijo;
mod fixed;

pub use armijo::Armijo;
pub use fixed::FixedStep;

use super::LineFunction;
use crate::error::Result;

/// Where a search starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchStart {
    /// φ(0).
    pub value: f64,
    /// φ'(0), negative.
    pub slope: f64,
    /// The first α to try; a search with an α of its own ignores it.
    pub initial: f64,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SearchStop {
    /// α meets the conditions.
    Accepted,
    /// φ'(0) is not negative: the direction does not descend.
    NotDescent,
    /// No α was acceptable within the number of evaluations allowed.
    EvaluationLimit,
    /// α fell below what changes θ.
    TooShort,
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SearchReport {
    /// The step size; 0 where the search found nothing better than the start.
    pub alpha: f64,
    /// φ(α), where it was evaluated; φ(0) for α = 0.
    pub value: Option<f64>,
    /// φ'(α), where it was evaluated.
    pub slope: Option<f64>,
    /// Evaluations of φ or φ'.
    pub evaluations: usize,
    /// Why the search ended.
    pub stop: SearchStop,
}

/// Finds a step size along a line.
pub trait LineSearch: std::fmt::Debug + Send + Sync {
    /// An α that the search accepts, or the best it met (α = 0 where nothing was better than the start). When φ'(α) was
    /// evaluated, its point was the last one whose slope was.
    ///
    /// # Errors
    /// Those of φ; a value that is not finite is not acceptable, but no error.
    fn search(&self, line: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport>;
}
