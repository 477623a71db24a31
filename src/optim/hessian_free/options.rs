//! Options of [`HessianFree`](super::HessianFree): the defaults are those of Martens' code.

use crate::error::{Error, Result};
use crate::krylov::{CgOptions, KeepIterates, StallRule};
use crate::optim::line_search::Armijo;
use crate::optim::{LevenbergMarquardt, ModelDamping};
use crate::scalar::Scalar;

/// Everything that a [`HessianFree`](super::HessianFree) run depends on beside the problem and the preconditioner.
///
/// ```
/// use pullback::optim::HessianFreeOptions;
/// let options = HessianFreeOptions::<f64>::default();
/// assert_eq!((options.lambda, options.cg_iterations, options.warm_start), (45.0, 250, Some(0.95)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct HessianFreeOptions<T> {
    /// Initial λ.
    pub lambda: f64,
    /// Smallest and largest λ.
    pub lambda_range: (f64, f64),
    /// ω of the rule for λ (Eq 14); `None` keeps λ, but for rejected steps where it is 2/3.
    pub omega: Option<f64>,
    /// Whether ρ's model includes λ; Martens' does not.
    pub model: ModelDamping,
    /// Cases in a part of the batch on which the curvature is taken, one part after the other; `None` is the whole batch.
    pub curvature_cases: Option<usize>,
    /// K: most iterations of conjugate gradient. 0 is K-FAC's end of the spectrum: the step minimizes the exact model on
    /// the span of the preconditioned gradient and, with a warm start, of the last step.
    pub cg_iterations: usize,
    /// Relative residual at which conjugate gradient stops; by default rounding, so that the stall rule decides.
    pub relative_tolerance: T,
    /// Martens' stop rule.
    pub stall: Option<StallRule>,
    /// Decay of the last final iterate, from which conjugate gradient starts; `None` starts from zero.
    pub warm_start: Option<f64>,
    /// Iterates among which backtracking chooses; [`KeepIterates::None`] takes the last.
    pub keep: KeepIterates,
    /// The line search along the chosen iterate.
    pub search: Armijo,
}

impl<T: Scalar> Default for HessianFreeOptions<T> {
    fn default() -> Self {
        Self {
            lambda: 45.0,
            lambda_range: (1e-12, 1e12),
            omega: Some(2.0 / 3.0),
            model: ModelDamping::Excluded,
            curvature_cases: None,
            cg_iterations: 250,
            relative_tolerance: T::EPS,
            stall: Some(StallRule::default()),
            warm_start: Some(0.95),
            keep: KeepIterates::martens(),
            search: Armijo::default(),
        }
    }
}

impl<T: Scalar> HessianFreeOptions<T> {
    /// `Ok` when every option lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the option.
    pub fn check(&self) -> Result<()> {
        self.rule(self.lambda)?;
        if self.curvature_cases == Some(0) {
            return Err(Error::invalid("curvature_cases", "must be at least 1 case"));
        }
        if let Some(decay) = self.warm_start
            && !(decay.is_finite() && decay >= 0.0)
        {
            return Err(Error::invalid("warm_start", format!("{decay} must be finite and not negative")));
        }
        self.search.check()?;
        self.cg().check()
    }

    /// The rule for λ, at λ.
    pub(super) fn rule(&self, lambda: f64) -> Result<LevenbergMarquardt> {
        let (min, max) = self.lambda_range;
        LevenbergMarquardt::new(lambda, self.omega.unwrap_or(2.0 / 3.0), min, max)
    }

    /// Settings of conjugate gradient, the start apart.
    pub(super) fn cg(&self) -> CgOptions<T> {
        CgOptions {
            relative_tolerance: self.relative_tolerance,
            max_iterations: self.cg_iterations,
            stall: self.stall,
            keep: self.keep,
            ..CgOptions::default()
        }
    }
}
