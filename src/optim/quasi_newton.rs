//! What BFGS and L-BFGS share: the first matrix, and what is done with a pair (s, y) of little or negative curvature.
//!
//! ```text
//! Powell's damping   ŷ = ϑ y + (1 - ϑ) B s,   ϑ = (1 - c) sᵀBs / (sᵀBs - sᵀy)   where sᵀy < c sᵀBs
//! ```
//! so that sᵀŷ = c sᵀBs > 0. Since s = -α B⁻¹∇h, B s = -α ∇h costs nothing.
//!
//! Laws        tests/descent_methods.rs, tests/descent_rules.rs.
//! Reference   M. J. D. Powell, A fast algorithm for nonlinearly constrained optimization calculations, Lecture Notes in
//!             Mathematics 630 (1978) 144-157, doi 10.1007/BFb0067703.

use super::AcceptedStep;
use crate::backend::sums::{dot, norm};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// The first approximation of the inverse Hessian.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InitialMatrix {
    /// I for the first step, then (sᵀy / yᵀy) I: of the first pair for BFGS, of the newest for L-BFGS.
    #[default]
    Scaled,
    /// γ I.
    Fixed(f64),
}

/// What to do with a pair of which sᵀy is small or negative.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CurvatureRule {
    /// Leave it out where sᵀy <= c ‖s‖ ‖y‖.
    Skip(f64),
    /// Powell's damping: mix y with B s until sᵀy = c sᵀBs.
    Damp(f64),
}

/// Leave out what is no curvature at all: c = 10⁻¹⁰.
impl Default for CurvatureRule {
    fn default() -> Self {
        CurvatureRule::Skip(1e-10)
    }
}

impl InitialMatrix {
    pub(super) fn check(self) -> Result<()> {
        match self {
            InitialMatrix::Fixed(gamma) => super::sgd::positive("gamma", gamma),
            InitialMatrix::Scaled => Ok(()),
        }
    }

    pub(super) fn before_pairs(self) -> f64 {
        match self {
            InitialMatrix::Fixed(gamma) => gamma,
            InitialMatrix::Scaled => 1.0,
        }
    }
}

impl CurvatureRule {
    pub(super) fn check(self) -> Result<()> {
        let (CurvatureRule::Skip(c) | CurvatureRule::Damp(c)) = self;
        if c > 0.0 && c < 1.0 {
            Ok(())
        } else {
            Err(Error::invalid("curvature rule", format!("{c} must be in (0, 1)")))
        }
    }

    /// Writes the y to learn from; sᵀy, or `None` where there is nothing to learn.
    pub(super) fn admit<T: Scalar>(self, taken: &AcceptedStep<'_, T>, y: &mut Vec<T>) -> Option<f64> {
        y.clear();
        y.extend_from_slice(taken.change);
        let mut sy = dot(taken.step, y);
        match self {
            CurvatureRule::Skip(c) if !(sy > c * norm(taken.step) * norm(y)) => return None,
            CurvatureRule::Skip(_) => {}
            CurvatureRule::Damp(c) => {
                let sbs = -taken.alpha * dot(taken.step, taken.gradient);
                if !(sbs > 0.0) {
                    return None;
                }
                if sy < c * sbs {
                    let share = (1.0 - c) * sbs / (sbs - sy);
                    let (own, model) = (T::of(share), T::of((share - 1.0) * taken.alpha));
                    y.iter_mut().zip(taken.gradient).for_each(|(y, &g)| *y = own * *y + model * g);
                    sy = dot(taken.step, y);
                }
            }
        }
        (sy > 0.0 && sy.is_finite() && dot(y, y) > 0.0).then_some(sy)
    }
}
