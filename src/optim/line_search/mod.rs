//! Line searches: how far to go along a descent direction.
//!
//! | search | accepts α when | file |
//! |---|---|---|
//! | [`FixedStep`] | always | `fixed.rs` |
//! | [`Armijo`] | φ(α) <= φ(0) + c α φ'(0), from an initial α downwards | `armijo.rs` |
//! | [`StrongWolfe`] | that, and \|φ'(α)\| <= c₂ \|φ'(0)\|: Moré and Thuente | `strong_wolfe.rs` |
//! | [`HagerZhang`] | the Wolfe conditions, or slopes alone near a minimum | `hager_zhang.rs` |
//! | [`GridSearch`] | φ(α) is the lowest of 2⁰, 2⁻¹, ..., 2⁻³⁰ | `grid.rs` |
//! | [`SecantStep`] | exact where h is quadratic | `secant.rs` |

mod armijo;
mod fixed;
mod grid;
mod hager_zhang;
mod interpolation;
mod secant;
mod strong_wolfe;
mod trials;

pub use armijo::Armijo;
pub use fixed::FixedStep;
pub use grid::GridSearch;
pub use hager_zhang::HagerZhang;
pub use secant::SecantStep;
pub use strong_wolfe::StrongWolfe;

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
    /// Values at 0 and α are too close to be told apart; the slopes meet the conditions.
    AcceptedBySlope,
    /// φ'(0) is not negative: the direction does not descend.
    NotDescent,
    /// No α was acceptable within the number of evaluations allowed.
    EvaluationLimit,
    /// α fell below what changes θ.
    TooShort,
    /// φ falls along the line without an end that the search could find.
    Unbounded,
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

impl SearchReport {
    /// Whether α meets what the search asks for.
    pub fn accepted(&self) -> bool {
        matches!(self.stop, SearchStop::Accepted | SearchStop::AcceptedBySlope)
    }
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
