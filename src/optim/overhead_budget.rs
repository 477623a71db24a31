//! What a K-FAC step may cost beside a step of SGD, as the user sets it, and what a run reports of it.
//!
//! ```text
//! overhead = mean cost of a step / cost of an SGD step on the same batch      (forward, backward, one pass over θ)
//! ```
//! Laws        tests/overhead_budget.rs.

use super::KfacPlan;
use crate::error::{Error, Result};

/// In what costs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CostBasis {
    /// Seconds: phases are timed as they run, and the plan follows them. Two runs need not take the same steps.
    #[default]
    Seconds,
    /// Floating-point operations by the formulas of [`costs`](super::costs): no clock, so that a run repeats bit for bit.
    Flops,
}

/// The most that an average step of a [`Kfac`](super::Kfac) may cost, in steps of SGD.
///
/// With a budget the run chooses `update_interval`, `statistics_interval`, `statistics_cases`, `refresh_interval` and
/// whether `damping` is exact or factored itself, a [`KfacPlan`]; what the options say of these is not read.
///
/// ```
/// use pullback::optim::{Kfac, KfacOptions, OverheadBudget};
/// let options = |limit| KfacOptions::<f64> { budget: Some(OverheadBudget::seconds(limit)), ..KfacOptions::default() };
/// assert!(Kfac::<f64, ()>::new(options(1.5)).is_ok());
/// assert!(Kfac::<f64, ()>::new(options(1.0)).is_err()); // an update costs something
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverheadBudget {
    /// Largest mean overhead, above 1.
    pub limit: f64,
    /// In what it is counted.
    pub basis: CostBasis,
}

impl OverheadBudget {
    /// Of measured seconds.
    pub fn seconds(limit: f64) -> Self {
        Self { limit, basis: CostBasis::Seconds }
    }

    /// Of predicted flops.
    pub fn flops(limit: f64) -> Self {
        Self { limit, basis: CostBasis::Flops }
    }

    /// # Errors
    /// [`Error::InvalidParameter`] unless the limit is finite and above 1.
    pub(super) fn validate(self) -> Result<()> {
        if self.limit.is_finite() && self.limit > 1.0 {
            Ok(())
        } else {
            Err(Error::invalid("overhead budget", format!("{} must be finite and above 1, a step of SGD", self.limit)))
        }
    }
}

/// What a budget bought so far. Its display is one or two lines of at most 80 columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverheadReport {
    /// The budget.
    pub limit: f64,
    /// The plan in force.
    pub plan: KfacPlan,
    /// Its overhead by the cost model, from the phases measured so far or from flops.
    pub predicted: f64,
    /// The mean over the run, over some thousand batches at most; `None` where no clock is read, and before an update.
    pub measured: Option<f64>,
}

impl OverheadReport {
    /// Whether statistics and inverses are as fresh as they can be and less than nine tenths of the budget is spent: more
    /// would buy nothing. So it is where an update averages many batches for their noise.
    pub fn is_saturated(&self) -> bool {
        let KfacPlan { statistics_interval, statistics_share, refresh_interval, .. } = self.plan;
        let freshest = (statistics_interval, statistics_share, refresh_interval) == (1, 1, 1);
        freshest && self.predicted < 0.9 * self.limit
    }
}
