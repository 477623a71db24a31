//! Settings of conjugate gradient: tolerances, iteration budget, starting point, Martens' stall rule, which iterates are
//! kept, and what happens at a direction of non-positive curvature.
//!
//! Laws        tests/pcg.rs, tests/pcg_gains.rs.
//! Reference   J. Martens, Deep learning via Hessian-free optimization, ICML 2010, section 4.4 (the stall rule).

use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Where conjugate gradient starts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CgStart<T> {
    /// From the X passed in (a warm start). One extra product, unless X is zero.
    #[default]
    Given,
    /// From zero; the old contents of X are not read.
    Zero,
    /// From that multiple of the X passed in, a finite one: 0.95 of the solution of the problem before in Martens' code.
    Decayed(T),
}

/// Which iterates are kept beside the last one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum KeepIterates {
    /// None.
    #[default]
    None,
    /// Those after ⌈`first` · `ratio`^q⌉ iterations, q = 0, 1, ..., and the last: log(iterations) copies of x.
    Geometric {
        /// The first one, at least 1.
        first: f64,
        /// Above 1.
        ratio: f64,
    },
}

impl KeepIterates {
    /// The values of Martens' code: 5, 7, 9, 11, 15, 19, 25, 32, ..., which is ⌈5 · 1.3^q⌉.
    pub fn martens() -> Self {
        KeepIterates::Geometric { first: 5.0, ratio: 1.3 }
    }

    /// Whether the iterate after that many iterations is one of the sequence.
    pub fn keeps(&self, iteration: usize) -> bool {
        let KeepIterates::Geometric { first, ratio } = *self else { return false };
        if iteration == 0 {
            return false;
        }
        // the first q beyond iteration - 1, and its neighbours against rounding
        let q = (((iteration - 1) as f64 / first).ln() / ratio.ln()).floor().max(0.0);
        [q - 1.0, q, q + 1.0].into_iter().any(|q| q >= 0.0 && (first * ratio.powf(q)).ceil() == iteration as f64)
    }
}

/// What happens at a direction p with pᵀA p <= 0. However it is chosen, [`CgColumn`](super::CgColumn) offers p.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum NegativeCurvature {
    /// The column stops with the iterate it has.
    #[default]
    Stop,
    /// As `Stop`, but where no step has been taken the first direction is one: x₀ + p, p = M⁻¹(b - A x₀), so that a
    /// Newton step always goes downhill (Nocedal and Wright, algorithm 7.1). φ falls by at least rᵀp.
    FollowDirection,
}

/// Stop when the quadratic model falls too slowly: at step i with k = max(`min_window`, ⌈`fraction` i⌉),
///
/// ```text
/// i > k,  φ(x_i-k) < 0,  (φ(x_i) - φ(x_i-k)) / φ(x_i) < k · progress
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StallRule {
    /// Fewest steps that are looked back.
    pub min_window: usize,
    /// Share of the steps done so far that is looked back.
    pub fraction: f64,
    /// Relative progress asked of each step.
    pub progress: f64,
}

/// The values of Martens 2010: 10 steps, 0.1, 5e-4.
impl Default for StallRule {
    fn default() -> Self {
        Self { min_window: 10, fraction: 0.1, progress: 5e-4 }
    }
}

impl StallRule {
    /// Whether the model values φ(x_0), ..., φ(x_i) have stalled at step i.
    pub fn stalled(&self, models: &[f64]) -> bool {
        let i = models.len().saturating_sub(1);
        let window = self.min_window.max((self.fraction * i as f64).ceil() as usize);
        if i <= window {
            return false;
        }
        let (now, before) = (models[i], models[i - window]);
        before < 0.0 && (now - before) / now < window as f64 * self.progress
    }
}

/// Settings of [`pcg`](super::pcg).
///
/// A column has converged when ‖b - A x‖ <= max(`relative_tolerance` ‖b‖, `absolute_tolerance`).
///
/// ```
/// use pullback::krylov::{CgOptions, StallRule};
/// let options = CgOptions::<f32> { max_iterations: 250, stall: Some(StallRule::default()), ..CgOptions::from_zero() };
/// assert_eq!(options.relative_tolerance, f32::EPSILON.sqrt());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct CgOptions<T> {
    /// Tolerance relative to ‖b‖; finite, not negative.
    pub relative_tolerance: T,
    /// Tolerance for ‖b - A x‖ itself; finite, not negative.
    pub absolute_tolerance: T,
    /// Most iterations of a column.
    pub max_iterations: usize,
    /// Warm start, decayed or not, or zero.
    pub start: CgStart<T>,
    /// Martens' rule, off by default.
    pub stall: Option<StallRule>,
    /// Iterates to keep, none by default.
    pub keep: KeepIterates,
    /// What to do about a direction of non-positive curvature; to stop, by default.
    pub negative_curvature: NegativeCurvature,
    /// Whether to keep α and β of every step for [`CgColumn::lanczos`](super::CgColumn::lanczos); not by default.
    pub coefficients: bool,
}

/// Starts from the X given; √ε relative, 0 absolute, 1000 iterations, no stall rule, nothing kept.
impl<T: Scalar> Default for CgOptions<T> {
    fn default() -> Self {
        Self {
            relative_tolerance: T::EPS.sqrt(),
            absolute_tolerance: T::ZERO,
            max_iterations: 1000,
            start: CgStart::Given,
            stall: None,
            keep: KeepIterates::None,
            negative_curvature: NegativeCurvature::Stop,
            coefficients: false,
        }
    }
}

impl<T: Scalar> CgOptions<T> {
    /// The defaults, but starting from zero whatever X holds.
    pub fn from_zero() -> Self {
        Self { start: CgStart::Zero, ..Self::default() }
    }

    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let tolerance = |name, value: T| {
            let valid = value.is_finite() && value >= T::ZERO;
            if valid { Ok(()) } else { Err(Error::invalid(name, format!("{value} must be finite and not negative"))) }
        };
        tolerance("relative_tolerance", self.relative_tolerance)?;
        tolerance("absolute_tolerance", self.absolute_tolerance)?;
        match self.start {
            CgStart::Decayed(decay) if !decay.is_finite() => {
                return Err(Error::invalid("start", format!("the decay {decay} must be finite")));
            }
            _ => {}
        }
        match self.keep {
            KeepIterates::Geometric { first, .. } if !(first >= 1.0 && first.is_finite()) => {
                return Err(Error::invalid("keep.first", format!("{first} must be finite and at least 1")));
            }
            KeepIterates::Geometric { ratio, .. } if !(ratio > 1.0 && ratio.is_finite()) => {
                return Err(Error::invalid("keep.ratio", format!("{ratio} must be finite and above 1")));
            }
            _ => {}
        }
        match self.stall {
            Some(rule) if rule.min_window == 0 => Err(Error::invalid("stall.min_window", "must be at least 1")),
            Some(rule) if !(rule.fraction >= 0.0 && rule.fraction.is_finite()) => {
                Err(Error::invalid("stall.fraction", format!("{} must be finite and not negative", rule.fraction)))
            }
            Some(rule) if !(rule.progress > 0.0 && rule.progress.is_finite()) => {
                Err(Error::invalid("stall.progress", format!("{} must be finite and positive", rule.progress)))
            }
            _ => Ok(()),
        }
    }

    /// [`CgOptions::check`], and that nothing is asked for which only [`pcg`](super::pcg) has, since it belongs to one
    /// column with a run of its own.
    pub(super) fn check_shared(&self) -> Result<()> {
        self.check()?;
        let refused = |name| Err(Error::invalid(name, "is for pcg alone: the solves here share one run"));
        if self.stall.is_some() {
            refused("stall")
        } else if self.keep != KeepIterates::None {
            refused("keep")
        } else if self.coefficients {
            refused("coefficients")
        } else if self.negative_curvature != NegativeCurvature::Stop {
            refused("negative_curvature")
        } else {
            Ok(())
        }
    }
}
