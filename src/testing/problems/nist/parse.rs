//! The format of NIST's files: text of fixed places, which the head of each file states.
//!
//! ```text
//! Dataset Name:  Misra1a           (Misra1a.dat)
//!                Starting Values   (lines 41 to 42)         b1 =   500   250   2.3894212918E+02  2.7070075241E+00
//!                Certified Values  (lines 41 to 47)         Residual Sum of Squares:   1.2455138894E-01
//!                Data              (lines 61 to 74)         10.07E0   77.6E0
//! ```
//! Everything that is stated twice is compared: lines with observations, parameters with the model's, observations less
//! parameters with the degrees of freedom. So a file that was cut, or lost a line, is refused.
//!
//! Laws        tests/nist.rs.

use std::ops::RangeInclusive;

use super::{Difficulty, Model, Parameter, Regression};
use crate::error::{Error, Result};

/// The lines of a file; rows count from 1.
struct Lines<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
}

/// A line that was searched: its row, and what follows the text that was searched for.
struct Found<'a> {
    row: usize,
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn error(&self, row: usize, what: impl Into<String>) -> Error {
        Error::Data { file: self.file.to_owned(), row: Some(row), what: what.into() }
    }

    fn line(&self, row: usize) -> Result<&'a str> {
        let missing = || self.error(self.lines.len(), format!("the file ends here, line {row} is missing"));
        row.checked_sub(1).and_then(|at| self.lines.get(at)).copied().ok_or_else(missing)
    }

    /// The first line that starts with a text, blanks apart.
    fn starting(&self, text: &str) -> Result<Found<'a>> {
        let found = self.lines.iter().enumerate().find_map(|(at, line)| {
            line.trim_start().strip_prefix(text).map(|rest| Found { row: at + 1, rest: rest.trim() })
        });
        found.ok_or_else(|| self.error(self.lines.len(), format!("the file ends, and no line starts with `{text}`")))
    }

    /// The rows that the head states for a section: "(lines 41 to 42)".
    fn section(&self, name: &str) -> Result<RangeInclusive<usize>> {
        let Found { row, rest } = self.starting(name)?;
        let numbers: Vec<usize> =
            rest.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
        match numbers[..] {
            [first, last] if first >= 1 && first <= last => Ok(first..=last),
            _ => Err(self.error(row, format!("`{name}` needs its lines as (lines FIRST to LAST)"))),
        }
    }

    fn number(&self, row: usize, text: &str) -> Result<f64> {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(self.error(row, format!("`{text}` is no finite number"))),
        }
    }

    fn numbers<const K: usize>(&self, row: usize, text: &str, what: &str) -> Result<[f64; K]> {
        let parts = text.split_whitespace().map(|part| self.number(row, part)).collect::<Result<Vec<_>>>()?;
        let found = parts.len();
        parts.try_into().map_err(|_| self.error(row, format!("{found} numbers, {what} needs {K}")))
    }

    fn count(&self, name: &str) -> Result<usize> {
        let Found { row, rest } = self.starting(name)?;
        rest.parse().map_err(|_| self.error(row, format!("`{name}` needs a whole number, found `{rest}`")))
    }
}

pub(super) fn parse(file: &str, text: &str) -> Result<Regression> {
    let lines = Lines { file, lines: text.lines().collect() };
    if lines.line(1)?.trim() != "NIST/ITL StRD" {
        return Err(lines.error(1, "the first line must be `NIST/ITL StRD`"));
    }
    let model = model(&lines)?;
    let parameters = parameters(&lines, model)?;
    let Found { row, rest } = lines.starting("Residual Sum of Squares:")?;
    let [residual_sum] = lines.numbers(row, rest, "a residual sum of squares")?;
    let (response, predictors) = observations(&lines, model)?;
    let free = lines.count("Degrees of Freedom:")?;
    // NIST's own slip: Rat43 states 9, while its certified deviations are those of 15 - 4
    let slip = model == Model::Rat43 && free == 9;
    if free + parameters.len() != response.len() && !slip {
        let row = lines.starting("Degrees of Freedom:")?.row;
        let what =
            format!("{free} degrees of freedom, but {} observations, {} parameters", response.len(), parameters.len());
        return Err(lines.error(row, what));
    }
    Ok(Regression { model, difficulty: difficulty(&lines)?, parameters, residual_sum, response, predictors })
}

fn model(lines: &Lines<'_>) -> Result<Model> {
    let Found { row, rest } = lines.starting("Dataset Name:")?;
    let name = rest.split_whitespace().next().unwrap_or("");
    Model::named(name).ok_or_else(|| lines.error(row, format!("`{name}` is none of the 27 regressions")))
}

fn difficulty(lines: &Lines<'_>) -> Result<Difficulty> {
    const LEVELS: [(&str, Difficulty); 3] =
        [("Lower", Difficulty::Lower), ("Average", Difficulty::Average), ("Higher", Difficulty::Higher)];
    let found = LEVELS.into_iter().find(|(level, _)| {
        lines
            .lines
            .iter()
            .any(|line| line.trim().strip_prefix(level).is_some_and(|rest| rest == " Level of Difficulty"))
    });
    found.map(|(_, difficulty)| difficulty).ok_or_else(|| {
        lines.error(lines.lines.len(), "no line reads `Lower`, `Average` or `Higher Level of Difficulty`")
    })
}

/// Lines `b1 = start1 start2 certified deviation`.
fn parameters(lines: &Lines<'_>, model: Model) -> Result<Vec<Parameter>> {
    let section = lines.section("Starting Values")?;
    let (stated, needed) = (section.clone().count(), model.parameters());
    if stated != needed {
        let row = lines.starting("Starting Values")?.row;
        return Err(lines.error(row, format!("{stated} lines of parameters, {} has {needed}", model.name())));
    }
    let parameter = |(j, row): (usize, usize)| {
        let name = format!("b{}", j + 1);
        let line = lines.line(row)?;
        let rest = line.trim_start().strip_prefix(&name).and_then(|rest| rest.trim_start().strip_prefix('='));
        let rest = rest.ok_or_else(|| lines.error(row, format!("expected `{name} =`, found `{}`", line.trim())))?;
        let [first, second, certified, deviation] = lines.numbers(row, rest, "a parameter")?;
        Ok(Parameter { starts: [first, second], certified, deviation })
    };
    section.enumerate().map(parameter).collect()
}

/// y and x; log y where the model is one of log y.
fn observations(lines: &Lines<'_>, model: Model) -> Result<(Vec<f64>, Vec<[f64; 2]>)> {
    // blanks follow in the head, a colon where the columns are named
    let section = lines.section("Data  ")?;
    let (stated, counted) = (section.clone().count(), lines.count("Number of Observations:")?);
    if stated != counted {
        let row = lines.starting("Number of Observations:")?.row;
        return Err(lines.error(row, format!("{counted} observations, but {stated} lines of data")));
    }
    let last = *section.end();
    let (mut response, mut predictors) = (Vec::with_capacity(counted), Vec::with_capacity(counted));
    for row in section {
        let line = lines.line(row)?;
        let (y, x) = if model.predictors() == 1 {
            let [y, x] = lines.numbers(row, line, "an observation")?;
            (y, [x, 0.0])
        } else {
            let [y, x1, x2] = lines.numbers(row, line, "an observation")?;
            (y, [x1, x2])
        };
        if model.of_logarithm() && y <= 0.0 {
            return Err(lines.error(row, format!("the model needs log y, but y is {y}")));
        }
        response.push(if model.of_logarithm() { y.ln() } else { y });
        predictors.push(x);
    }
    if let Some(extra) = (last..lines.lines.len()).find(|&at| !lines.lines[at].trim().is_empty()) {
        return Err(lines.error(extra + 1, format!("data after line {last}, the last that the head states")));
    }
    Ok((response, predictors))
}
