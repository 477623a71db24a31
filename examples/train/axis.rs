//! An axis of the plot, linear or logarithmic, with round numbers for ticks however short its range.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Between these many ticks an axis is readable.
const FEWEST: usize = 5;
const MOST: f64 = 9.0;

/// Coordinates of one axis.
pub struct Axis {
    range: Range<f64>,
    log: bool,
}

impl Axis {
    pub fn linear(range: Range<f64>) -> Self {
        Self { range, log: false }
    }

    /// Over positive numbers only.
    pub fn log(range: Range<f64>) -> Self {
        Self { range, log: true }
    }

    fn scale(&self, x: f64) -> f64 {
        if self.log { x.log10() } else { x }
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return self.even_ticks();
        }
        // coarse sets for many decades, fine ones for a part of one
        let sets: [&[f64]; 4] = [&[1.0], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]];
        for set in sets {
            let decades = self.range.start.log10().floor() as i32..=self.range.end.log10().floor() as i32;
            let all = decades.flat_map(|k| set.iter().map(move |m| m * 10f64.powi(k)));
            let ticks: Vec<f64> = all.filter(|x| self.range.contains(x)).collect();
            if ticks.len() >= FEWEST {
                return ticks;
            }
        }
        self.even_ticks()
    }

    fn even_ticks(&self) -> Vec<f64> {
        let span = self.range.end - self.range.start;
        let decade = 10f64.powf((span / MOST).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|step| span / step <= MOST);
        let step = step.unwrap_or(span);
        let first = (self.range.start / step).ceil() as i64;
        (first..).map(|k| k as f64 * step).take_while(|x| *x <= self.range.end).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let (start, end) = (self.scale(self.range.start), self.scale(self.range.end));
        let part = (self.scale(*value) - start) / (end - start);
        low + (f64::from(high - low) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    /// Without more digits than the number needs.
    fn format_ext(&self, x: &f64) -> String {
        if *x == 0.0 {
            return "0".to_owned();
        }
        if !(1e-3..1e6).contains(&x.abs()) {
            return format!("{x:.0e}");
        }
        let digits = (2 - x.abs().log10().floor() as i32).clamp(0, 5) as usize;
        let text = format!("{x:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}
