//! Rules for λ: fixed, Levenberg-Marquardt (chapter section 4.1), Nielsen.
//!
//! ```text
//! ρ = (h(θ + δ) - h(θ)) / M(δ)
//! Levenberg-Marquardt   ρ < 1/4: λ ← λ/ω;   ρ > 3/4: λ ← ω λ                       M with λ in it, or without
//! Nielsen               ρ > 0: λ ← λ max(1/3, 1 - (2ρ - 1)³), ν ← 2;   else λ ← ν λ, ν ← 2ν          M without
//! ```
//! Nielsen's rule is smooth in ρ, and gets out of a λ that is far too small in few trials, since ν doubles.
//!
//! Laws        tests beside, tests/levenberg_marquardt_method.rs.
//! Reference   J. Martens, ICML 2010, section 4.1; H. Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05,
//!             Technical University of Denmark.

use super::{LevenbergMarquardt, ModelDamping};
use crate::error::{Error, Result};

/// Nielsen's λ and ν.
///
/// ```
/// use pullback::optim::Nielsen;
/// let mut rule = Nielsen::new(1.0)?;
/// rule.update(1.0); // a model that was right
/// assert_eq!(rule.lambda(), 1.0 / 3.0);
/// rule.update(-1.0);
/// rule.update(-1.0);
/// assert_eq!(rule.lambda(), 8.0 / 3.0); // ν = 2, then 4
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Nielsen {
    lambda: f64,
    growth: f64,
}

impl Nielsen {
    /// λ is kept within these bounds, so that no sequence of verdicts makes it zero or infinite in `f32`.
    pub const BOUNDS: [f64; 2] = [1e-30, 1e30];

    /// Starts at λ.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless λ is within the bounds.
    pub fn new(lambda: f64) -> Result<Self> {
        let [min, max] = Self::BOUNDS;
        if !(lambda >= min && lambda <= max) {
            return Err(Error::invalid("damping", format!("{lambda} must be within [{min}, {max}]")));
        }
        Ok(Self { lambda, growth: 2.0 })
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// Moves λ by the verdict of ρ; NaN counts as the worst.
    pub fn update(&mut self, rho: f64) {
        let [min, max] = Self::BOUNDS;
        if rho > 0.0 {
            self.lambda = (self.lambda * (1.0 - (2.0 * rho - 1.0).powi(3)).max(1.0 / 3.0)).max(min);
            self.growth = 2.0;
        } else {
            self.lambda = (self.lambda * self.growth).min(max);
            self.growth = (2.0 * self.growth).min(max);
        }
    }
}

#[cfg(feature = "serde")]
impl crate::error::Restored for Nielsen {
    fn check_restored(&self) -> Result<()> {
        Self::new(self.lambda)?;
        if !(self.growth >= 2.0 && self.growth.is_finite()) {
            return Err(Error::invalid("growth", format!("{} must be finite and at least 2", self.growth)));
        }
        Ok(())
    }
}

/// What λ does from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DampingRule {
    /// Nothing; zero leaves the model undamped.
    Fixed(f64),
    /// Follows the thresholds of ρ.
    LevenbergMarquardt {
        /// λ and its bounds.
        rule: LevenbergMarquardt,
        /// Whether λ counts in the M of ρ.
        model: ModelDamping,
    },
    /// Follows ρ smoothly; λ is left out of M.
    Nielsen(Nielsen),
}

impl DampingRule {
    /// # Errors
    /// [`Error::InvalidParameter`] unless a fixed λ is finite and not negative.
    pub fn check(&self) -> Result<()> {
        match self {
            DampingRule::Fixed(lambda) if !(*lambda >= 0.0 && lambda.is_finite()) => {
                Err(Error::invalid("damping", format!("{lambda} must be finite and not negative")))
            }
            _ => Ok(()),
        }
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        match self {
            DampingRule::Fixed(lambda) => *lambda,
            DampingRule::LevenbergMarquardt { rule, .. } => rule.lambda(),
            DampingRule::Nielsen(rule) => rule.lambda(),
        }
    }

    /// Whether λ follows ρ, so that the loss after a step has to be known.
    pub fn adapts(&self) -> bool {
        !matches!(self, DampingRule::Fixed(_))
    }

    /// Whether λ counts in M.
    pub fn model(&self) -> ModelDamping {
        match self {
            DampingRule::LevenbergMarquardt { model, .. } => *model,
            DampingRule::Fixed(_) => ModelDamping::Included,
            DampingRule::Nielsen(_) => ModelDamping::Excluded,
        }
    }

    /// Moves λ by the verdict of ρ; NaN counts as the worst.
    pub fn update(&mut self, rho: f64) {
        match self {
            DampingRule::Fixed(_) => {}
            DampingRule::LevenbergMarquardt { rule, .. } => rule.update(rho),
            DampingRule::Nielsen(rule) => rule.update(rho),
        }
    }
}

#[cfg(feature = "serde")]
impl crate::error::Restored for DampingRule {
    fn check_restored(&self) -> Result<()> {
        self.check()?;
        match self {
            DampingRule::Fixed(_) => Ok(()),
            DampingRule::LevenbergMarquardt { rule, .. } => rule.check_restored(),
            DampingRule::Nielsen(rule) => rule.check_restored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nielsen_stays_within_its_bounds() {
        let mut rule = Nielsen::new(1.0).unwrap();
        (0..2000).for_each(|_| rule.update(f64::NAN));
        assert_eq!(rule.lambda(), Nielsen::BOUNDS[1]);
        (0..2000).for_each(|_| rule.update(1.0));
        assert_eq!(rule.lambda(), Nielsen::BOUNDS[0]);
        // ρ = 1/2 is right as it is
        let mut rule = Nielsen::new(1.0).unwrap();
        rule.update(0.5);
        assert_eq!(rule.lambda(), 1.0);
    }

    #[test]
    fn parameters_are_checked() {
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Nielsen::new(lambda).is_err());
        }
        assert!(DampingRule::Fixed(0.0).check().is_ok());
        assert!(DampingRule::Fixed(-1.0).check().is_err() && DampingRule::Fixed(f64::NAN).check().is_err());
    }
}
