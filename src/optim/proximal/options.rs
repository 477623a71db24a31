//! Settings of [`Proximal`](super::Proximal).
//!
//! Laws        tests/proximal.rs.

use super::OutputDistance;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// How Q is minimized.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InnerMinimizer<T> {
    /// K steps w ← w - α ∇Q(w).
    Gradient {
        /// K, at least 1.
        steps: usize,
        /// α > 0.
        rate: T,
    },
    /// BFGS with a search for the weak Wolfe conditions: n² numbers, for networks of some hundred parameters.
    Bfgs {
        /// Most iterations, at least 1.
        max_iterations: usize,
        /// Converged when ‖∇Q‖ has fallen to this share of what it was at w₀; not negative.
        tolerance: T,
    },
}

/// Settings of [`Proximal`](super::Proximal).
///
/// ```
/// use pullback::optim::{InnerMinimizer, ProximalOptions};
/// let both = ProximalOptions { function_space: 1.0, weight_space: 0.1, ..ProximalOptions::default() };
/// assert!(matches!(both.inner, InnerMinimizer::Bfgs { .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProximalOptions<T> {
    /// λ_W >= 0.
    pub weight_space: T,
    /// λ_F >= 0; nothing is evaluated for 0.
    pub function_space: T,
    /// ρ.
    pub distance: OutputDistance,
    /// How Q is minimized.
    pub inner: InnerMinimizer<T>,
}

/// λ_W = 1, λ_F = 0, up to 200 iterations of BFGS until ∇Q has fallen to √ε of its size.
impl<T: Scalar> Default for ProximalOptions<T> {
    fn default() -> Self {
        Self {
            weight_space: T::ONE,
            function_space: T::ZERO,
            distance: OutputDistance::default(),
            inner: InnerMinimizer::Bfgs { max_iterations: 200, tolerance: T::EPS.sqrt() },
        }
    }
}

impl<T: Scalar> ProximalOptions<T> {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        not_negative("weight_space", self.weight_space)?;
        not_negative("function_space", self.function_space)?;
        match self.inner {
            InnerMinimizer::Gradient { steps: 0, .. } => Err(Error::invalid("inner.steps", "must be at least 1")),
            InnerMinimizer::Gradient { rate, .. } => crate::optim::sgd::positive("inner.rate", rate),
            InnerMinimizer::Bfgs { max_iterations: 0, .. } => {
                Err(Error::invalid("inner.max_iterations", "must be at least 1"))
            }
            InnerMinimizer::Bfgs { tolerance, .. } => not_negative("inner.tolerance", tolerance),
        }
    }
}

/// `Ok` for a finite number that is not negative.
pub(super) fn not_negative<T: Scalar>(name: &'static str, x: T) -> Result<()> {
    let valid = x.is_finite() && x >= T::ZERO;
    if valid { Ok(()) } else { Err(Error::invalid(name, format!("{x} must be finite and not negative"))) }
}
