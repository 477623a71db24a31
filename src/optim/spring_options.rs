//! Settings of SPRING.
//!
//! Laws        tests/spring.rs.
//! Reference   G. Goldshlager, N. Abrahamsen, L. Lin, A Kaczmarz-inspired approach to accelerate the optimization of
//!             neural network wavefunctions, J. Comput. Phys. 516 (2024), arXiv:2401.10190 (the defaults).

use super::sgd::{fraction, positive};
use crate::curvature::{SampleSpaceOptions, SampleSpacePath};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Settings of [`Spring`](super::Spring).
///
/// ```
/// use pullback::optim::SpringOptions;
/// let plain = SpringOptions::<f32> { momentum: 0.0, ..SpringOptions::default() }; // damped Gauss-Newton
/// assert!(plain.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct SpringOptions<T> {
    /// λ; finite and positive.
    pub lambda: f64,
    /// μ in [0, 1): how much of the last direction is kept. It amplifies steps by at most 1/√(1 - μ²).
    pub momentum: f64,
    /// α at the first step; finite and positive.
    pub learning_rate: f64,
    /// k-th step with α / (1 + decay k); finite, not negative.
    pub decay: f64,
    /// Largest ‖update‖²; a longer update is scaled down.
    pub max_squared_norm: Option<f64>,
    /// How the damped systems are solved.
    pub solve: SampleSpaceOptions<T>,
}

/// λ = 1e-3, μ = 0.99, α = 0.05 / (1 + 1e-4 k), ‖update‖² <= 1e-3, through the kernel.
impl<T: Scalar> Default for SpringOptions<T> {
    fn default() -> Self {
        Self {
            lambda: 1e-3,
            momentum: 0.99,
            learning_rate: 0.05,
            decay: 1e-4,
            max_squared_norm: Some(1e-3),
            solve: SampleSpaceOptions { path: SampleSpacePath::Kernel, ..SampleSpaceOptions::default() },
        }
    }
}

impl<T: Scalar> SpringOptions<T> {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        positive("damping", T::of(self.lambda))?;
        fraction("momentum", self.momentum)?;
        positive("learning rate", self.learning_rate)?;
        if !(self.decay >= 0.0 && self.decay.is_finite()) {
            return Err(Error::invalid("decay", format!("{} must be finite and not negative", self.decay)));
        }
        self.max_squared_norm.map_or(Ok(()), |limit| positive("largest squared norm", limit))?;
        self.solve.check()
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> crate::error::Restored for SpringOptions<T> {
    fn check_restored(&self) -> Result<()> {
        self.check()
    }
}
