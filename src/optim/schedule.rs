//! Schedules: a rate, a damping or a momentum as a function of the number of steps done.
//!
//! ```text
//! constant      x₀
//! step          x₀ f^⌊k/every⌋
//! exponential   x₀ f^k
//! inverse       x₀ / (1 + t k)
//! cosine        end + (x₀ - end) (1 + cos(π min(k/steps, 1))) / 2
//! warm-up       (k + 1)/w of the first value after it, for k < w; then the schedule behind it from its own 0
//! momentum      min(1 - 2^(-1 - log₂(⌊k/250⌋ + 1)), μ_max)
//! ```
//! Cost        a few flops a step; no state but the caller's k.
//! Laws        tests/schedules.rs.
//! Reference   H. Robbins, S. Monro, Ann. Math. Statist. 22 (1951) 400-407 (inverse); I. Loshchilov, F. Hutter, ICLR 2017,
//!             arXiv:1608.03983 (cosine); I. Sutskever, J. Martens, G. Dahl, G. Hinton, ICML 2013, Eq 5 (momentum).

use crate::error::{Error, Result};

/// How the value moves from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Decline {
    /// Not at all.
    Constant,
    /// Times `factor` after every `every` steps.
    Step {
        /// f > 0.
        factor: f64,
        /// Steps between changes, at least 1.
        every: u64,
    },
    /// Times `factor` after every step.
    Exponential {
        /// f > 0.
        factor: f64,
    },
    /// x₀ / (1 + t k).
    Inverse {
        /// t >= 0.
        rate: f64,
    },
    /// Half a cosine down to `end`, where it stays.
    Cosine {
        /// The value after `steps`, positive.
        end: f64,
        /// At least 1.
        steps: u64,
    },
}

/// A positive value for every step, perhaps after a linear warm-up.
///
/// ```
/// use pullback::optim::{Decline, Schedule};
/// let rate = Schedule::new(0.5, Decline::Step { factor: 0.5, every: 10 })?.with_warm_up(4);
/// assert_eq!([rate.at(0), rate.at(3), rate.at(4), rate.at(13), rate.at(14)], [0.125, 0.5, 0.5, 0.5, 0.25]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Schedule {
    start: f64,
    decline: Decline,
    warm_up: u64,
}

impl Schedule {
    /// Starts at x₀.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless every number is finite and in its domain.
    pub fn new(start: f64, decline: Decline) -> Result<Self> {
        let positive = |name, x: f64| {
            if x > 0.0 && x.is_finite() { Ok(()) } else { Err(Error::invalid(name, format!("{x} must be positive"))) }
        };
        let steps = |name, n: u64| if n > 0 { Ok(()) } else { Err(Error::invalid(name, "must be at least 1 step")) };
        positive("schedule.start", start)?;
        match decline {
            Decline::Constant => {}
            Decline::Step { factor, every } => {
                positive("schedule.factor", factor)?;
                steps("schedule.every", every)?;
            }
            Decline::Exponential { factor } => positive("schedule.factor", factor)?,
            Decline::Inverse { rate: 0.0 } => {}
            Decline::Inverse { rate } => positive("schedule.rate", rate)?,
            Decline::Cosine { end, steps: n } => {
                positive("schedule.end", end)?;
                steps("schedule.steps", n)?;
            }
        }
        Ok(Self { start, decline, warm_up: 0 })
    }

    /// With so many steps of linear warm-up before.
    #[must_use]
    pub fn with_warm_up(self, steps: u64) -> Self {
        Self { warm_up: steps, ..self }
    }

    /// The value of the step before which `k` were done; never 0, never infinite.
    pub fn at(&self, k: u64) -> f64 {
        if k < self.warm_up {
            return self.start * ((k + 1) as f64 / self.warm_up as f64);
        }
        let k = k - self.warm_up;
        let value = match self.decline {
            Decline::Constant => self.start,
            Decline::Step { factor, every } => self.start * factor.powf((k / every) as f64),
            Decline::Exponential { factor } => self.start * factor.powf(k as f64),
            Decline::Inverse { rate } => self.start / (1.0 + rate * k as f64),
            Decline::Cosine { end, steps } => {
                let part = (k as f64 / steps as f64).min(1.0);
                end + 0.5 * (self.start - end) * (1.0 + (std::f64::consts::PI * part).cos())
            }
        };
        value.clamp(f64::MIN_POSITIVE, f64::MAX)
    }
}

/// The rising momentum coefficient of Sutskever et al.: 0.5, then 0.75 from step 250 on, 0.833, 0.875, ... up to μ_max.
///
/// # Errors
/// [`Error::InvalidParameter`] unless 0 <= μ_max < 1.
pub fn rising_momentum(k: u64, most: f64) -> Result<f64> {
    if !(0.0..1.0).contains(&most) {
        return Err(Error::invalid("momentum", format!("{most} must be in [0, 1)")));
    }
    // 2^(-1 - log₂ x) = 1 / (2 x)
    Ok((1.0 - 0.5 / ((k / 250) as f64 + 1.0)).min(most))
}
