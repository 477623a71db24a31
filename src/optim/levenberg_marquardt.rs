//! The Levenberg-Marquardt rule: λ follows the reduction ratio ρ (chapter section 4.1, Eq 14).
//!
//! ```text
//! ρ = (h(θ + δ) - h(θ)) / M(δ),   M(δ) = ½ δᵀ(G + ηI [+ λI])δ + ∇hᵀδ
//! ρ < 1/4 or not a number: λ ← λ/ω;   ρ > 3/4: λ ← ω λ
//! ```
//! Two conventions of M are in use and are not interchangeable: with λ in the model (the chapter; Martens and Grosse
//! 2015) ρ → 2 as λ → ∞, without it (Martens 2010) ρ → 1. Here the choice is a value, [`ModelDamping`].
//!
//! Laws        tests/quadratic_model.rs (ρ on exact quadratics, both large-λ limits), tests beside.
//! Reference   J. Martens, R. Grosse, ICML 2015, section 6.5; J. Martens, ICML 2010, section 4.1.

use crate::error::{Error, Result};

/// Whether λ counts in the predicted change from which ρ is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ModelDamping {
    /// M includes ½ λ ‖δ‖²: the chapter's ρ.
    #[default]
    Included,
    /// M leaves λ out: Martens 2010.
    Excluded,
}

/// λ and the rule that moves it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevenbergMarquardt {
    lambda: f64,
    omega: f64,
    min: f64,
    max: f64,
}

impl LevenbergMarquardt {
    /// Starts at λ; each verdict multiplies it by ω or 1/ω and keeps it within [min, max].
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 < min <= λ <= max and 0 < ω < 1.
    pub fn new(lambda: f64, omega: f64, min: f64, max: f64) -> Result<Self> {
        if !(min > 0.0 && min <= lambda && lambda <= max && max.is_finite()) {
            return Err(Error::invalid("damping", format!("{lambda} must be within [{min}, {max}], both positive")));
        }
        if !(omega > 0.0 && omega < 1.0) {
            return Err(Error::invalid("omega", format!("{omega} must be in (0, 1)")));
        }
        Ok(Self { lambda, omega, min, max })
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// ρ, or NaN where the ratio says nothing: a model that predicts no decrease, or a loss that is not finite.
    pub fn reduction_ratio(loss_before: f64, loss_after: f64, predicted_change: f64) -> f64 {
        if predicted_change < 0.0 && loss_after.is_finite() {
            (loss_after - loss_before) / predicted_change
        } else {
            f64::NAN
        }
    }

    /// Moves λ by the verdict of ρ; NaN counts as the worst.
    pub fn update(&mut self, rho: f64) {
        if rho > 0.75 {
            self.lambda = (self.lambda * self.omega).max(self.min);
        } else if !(rho >= 0.25) {
            self.lambda = (self.lambda / self.omega).min(self.max);
        }
    }

    /// Raises λ once, after a rejected step.
    pub fn raise(&mut self) {
        self.update(f64::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_move_lambda_within_its_bounds() {
        let start = LevenbergMarquardt::new(1.0, 2.0 / 3.0, 0.5, 2.0).unwrap();
        let after = |rho: f64| {
            let mut rule = start;
            rule.update(rho);
            rule.lambda()
        };
        assert_eq!(after(0.9), 2.0 / 3.0);
        assert_eq!(after(0.5), 1.0);
        assert_eq!(after(0.1), 1.5);
        assert_eq!(after(f64::NAN), 1.5);
        let mut rule = start;
        (0..5).for_each(|_| rule.update(f64::NEG_INFINITY));
        assert_eq!(rule.lambda(), 2.0);
        (0..9).for_each(|_| rule.update(1.0));
        assert_eq!(rule.lambda(), 0.5);
    }

    #[test]
    fn a_model_that_predicts_no_decrease_gives_no_ratio() {
        // a rising loss over a rising model would give a positive ratio and lower the damping
        assert!(LevenbergMarquardt::reduction_ratio(1.0, 2.0, 0.5).is_nan());
        assert!(LevenbergMarquardt::reduction_ratio(1.0, f64::INFINITY, -0.5).is_nan());
        assert_eq!(LevenbergMarquardt::reduction_ratio(1.0, 0.5, -0.5), 1.0);
    }

    #[test]
    fn parameters_are_checked() {
        for (lambda, omega, min, max) in
            [(0.0, 0.5, 0.0, 1.0), (2.0, 0.5, 0.1, 1.0), (1.0, 1.0, 0.1, 1.0), (f64::NAN, 0.5, 0.1, 1.0)]
        {
            assert!(LevenbergMarquardt::new(lambda, omega, min, max).is_err());
        }
    }
}
