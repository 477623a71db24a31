//! A step size that is given.

use super::{LineSearch, SearchReport, SearchStart, SearchStop};
use crate::error::Result;
use crate::optim::LineFunction;
use crate::optim::sgd::positive;

/// α is given; nothing is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FixedStep(f64);

impl FixedStep {
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α is finite and positive.
    pub fn new(alpha: f64) -> Result<Self> {
        positive("step size", alpha)?;
        Ok(Self(alpha))
    }
}

impl LineSearch for FixedStep {
    fn search(&self, _line: &mut dyn LineFunction, _start: SearchStart) -> Result<SearchReport> {
        Ok(SearchReport { alpha: self.0, value: None, slope: None, evaluations: 0, stop: SearchStop::Accepted })
    }
}
