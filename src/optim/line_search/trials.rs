//! The evaluations of one search: counted, with the lowest kept.

use super::{SearchReport, SearchStart, SearchStop};
use crate::error::{Error, Result};
use crate::optim::LineFunction;

/// What rounding may do to a value, in units of [`LineFunction::resolution`]: a loss is a sum of many terms.
const ROUNDINGS: f64 = 16.0;

/// φ and φ' at one α.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trial {
    pub alpha: f64,
    pub value: f64,
    pub slope: f64,
}

impl Trial {
    pub fn is_finite(self) -> bool {
        self.value.is_finite() && self.slope.is_finite()
    }
}

/// Bounds of the Wolfe conditions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wolfe {
    /// c₁.
    pub decrease: f64,
    /// c₂.
    pub curvature: f64,
    /// Whether a slope above -c₂ φ'(0) is too steep as well.
    pub strong: bool,
}

impl Wolfe {
    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 < c₁ < c₂ < 1 and c₁ < ½.
    pub fn check(self, max_evaluations: usize) -> Result<()> {
        let (c1, c2) = (self.decrease, self.curvature);
        if !(c1 > 0.0 && c1 < c2 && c2 < 1.0 && c1 < 0.5) {
            return Err(Error::invalid("Wolfe conditions", format!("0 < {c1} < {c2} < 1 and {c1} < 1/2 must hold")));
        }
        if max_evaluations == 0 {
            return Err(Error::invalid("max_evaluations", "at least one is needed"));
        }
        Ok(())
    }
}

/// The evaluations of one search.
pub(super) struct Trials<'a> {
    line: &'a mut dyn LineFunction,
    pub start: SearchStart,
    /// How far two values must differ to be told apart.
    pub noise: f64,
    pub evaluations: usize,
    lowest: Trial,
    last: Option<f64>,
}

impl<'a> Trials<'a> {
    /// `noise`: relative error of the values, that of rounding at least.
    pub fn new(line: &'a mut dyn LineFunction, start: SearchStart, noise: f64) -> Self {
        let noise = noise.max(ROUNDINGS * line.resolution()) * start.value.abs();
        let lowest = Trial { alpha: 0.0, value: start.value, slope: start.slope };
        Self { line, start, noise, evaluations: 0, lowest, last: None }
    }

    /// α = 0.
    pub fn origin(&self) -> Trial {
        Trial { alpha: 0.0, value: self.start.value, slope: self.start.slope }
    }

    /// Distance from 1 to the next number of the scalar of θ.
    pub fn resolution(&self) -> f64 {
        self.line.resolution()
    }

    pub fn take(&mut self, alpha: f64) -> Result<Trial> {
        self.evaluations += 1;
        let (value, slope) = self.line.value_and_slope(alpha)?;
        self.last = Some(alpha);
        let trial = Trial { alpha, value, slope };
        if trial.is_finite() && value < self.lowest.value {
            self.lowest = trial;
        }
        Ok(trial)
    }

    /// Whether the conditions hold at a trial, and by which comparison.
    pub fn verdict(&self, trial: Trial, wolfe: Wolfe) -> Option<SearchStop> {
        let SearchStart { value, slope, .. } = self.start;
        let flat = trial.slope >= wolfe.curvature * slope
            && !(wolfe.strong && trial.slope.abs() > wolfe.curvature * slope.abs());
        // with slopes bounded from below only, a value far below φ(0) is as good as one beside it
        let rise = trial.value - value;
        let close = (if wolfe.strong { rise.abs() } else { rise }) <= self.noise;
        if !trial.is_finite() || !flat {
            None
        } else if trial.value <= value + wolfe.decrease * trial.alpha * slope {
            Some(SearchStop::Accepted)
        } else if close && trial.slope <= (2.0 * wolfe.decrease - 1.0) * slope {
            Some(SearchStop::AcceptedBySlope)
        } else {
            None
        }
    }

    pub fn accept(&self, trial: Trial, stop: SearchStop) -> SearchReport {
        let Trial { alpha, value, slope } = trial;
        let slope = (self.last == Some(alpha)).then_some(slope);
        SearchReport { alpha, value: Some(value), slope, evaluations: self.evaluations, stop }
    }

    /// The lowest that was met, for want of an acceptable one.
    pub fn give_up(&self, stop: SearchStop) -> SearchReport {
        self.accept(self.lowest, stop)
    }
}
