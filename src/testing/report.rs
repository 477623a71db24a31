//! [`Report`]: what a conformance suite found, law by law. Values, not panics: the verdict is the caller's.
//!
//! Every law is measured at many places (orders, damping, backends); the report keeps the worst of them. A measurement is
//! an error over the bound that rounding explains (limit 1), or a count of things that must not happen (limit 0). A NaN
//! never passes.

use std::fmt::{Display, Formatter, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Result;

/// One number that a law is judged by: it holds when `value <= limit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// What was measured.
    pub value: f64,
    /// The largest value that passes.
    pub limit: f64,
}

impl Measure {
    /// An error in units of its bound: value = error / bound, limit 1. No error at all has ratio 0 whatever the bound.
    pub fn ratio(error: f64, bound: f64) -> Self {
        Self { value: if error == 0.0 { 0.0 } else { error / bound }, limit: 1.0 }
    }

    /// How often something happened that must not.
    pub fn count(violations: usize) -> Self {
        Self { value: violations as f64, limit: 0.0 }
    }

    /// A statement that is true or not.
    pub fn holds(statement: bool) -> Self {
        Self::count(usize::from(!statement))
    }

    /// The worse of two: NaN above all, then a failure above a pass, then the larger share of the limit.
    pub fn worse(self, other: Self) -> Self {
        if badness(&other) > badness(&self) { other } else { self }
    }

    /// Whether the law holds here.
    pub fn passed(&self) -> bool {
        self.value <= self.limit
    }
}

/// An order of badness over all measures: passes in [0, 1], failures above, NaN at infinity.
fn badness(m: &Measure) -> f64 {
    match (m.passed(), m.value.is_nan() || m.limit.is_nan()) {
        (_, true) => f64::INFINITY,
        (true, _) => m.value.max(0.0) / m.limit.max(f64::MIN_POSITIVE),
        (false, _) => (1.0 + m.value / m.limit.max(1.0)).min(f64::MAX),
    }
}

/// One law at the worst place where it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// The suite it belongs to.
    pub suite: &'static str,
    /// Its name, an entry of the suite's `LAWS`.
    pub name: &'static str,
    /// The worst measurement.
    pub measure: Measure,
    /// The error or panic text of a computation that did not finish.
    pub error: Option<String>,
    /// At how many places the law was measured.
    pub places: usize,
    /// What was measured there: implementor, order, backend, scalar, parameters.
    pub place: String,
    /// The seed of the random input: [`Setup::seeded`](super::Setup::seeded) with it repeats the measurement.
    pub seed: u64,
}

impl Law {
    /// Whether the law held everywhere.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.measure.passed()
    }

    fn badness(&self) -> f64 {
        if self.error.is_some() { f64::INFINITY } else { badness(&self.measure) }
    }
}

/// The laws that one or several suites measured.
///
/// ```
/// use pullback::testing::{Measure, Recorder, Report};
/// let mut recorder = Recorder::new("arithmetic", 7);
/// recorder.law("addition", "1 + 1", || Ok(Measure::ratio(f64::abs(1.0 + 1.0 - 2.0), f64::EPSILON)));
/// recorder.law("division", "0 / 0", || Ok(Measure::ratio(0.0 / 0.0, 1.0)));
/// let report: Report = recorder.into();
/// assert!(!report.passed());
/// assert_eq!(report.failures().next().unwrap().name, "division");
/// ```
#[must_use = "a report that nobody reads holds nobody to a law"]
#[derive(Debug, Clone, Default)]
pub struct Report {
    laws: Vec<Law>,
}

impl Report {
    /// Every law that was measured, in the order of the suites.
    pub fn laws(&self) -> &[Law] {
        &self.laws
    }

    /// The laws that did not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Law> {
        self.laws.iter().filter(|law| !law.passed())
    }

    /// Whether at least one law was measured and all of them held.
    pub fn passed(&self) -> bool {
        !self.laws.is_empty() && self.laws.iter().all(Law::passed)
    }

    /// The law of this name in a suite.
    pub fn law(&self, suite: &str, name: &str) -> Option<&Law> {
        self.laws.iter().find(|law| (law.suite, law.name) == (suite, name))
    }

    /// Puts another report in: the same law of the same suite keeps its worst place.
    pub fn merge(&mut self, other: Report) {
        other.laws.into_iter().for_each(|law| self.add(law));
    }

    /// Nothing when every law held.
    ///
    /// # Panics
    /// With the table, and the place and seed of each failure, when a law did not hold or none was measured.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{} of {} laws failed\n{self}", self.failures().count(), self.laws.len());
    }

    fn add(&mut self, law: Law) {
        match self.laws.iter_mut().find(|known| (known.suite, known.name) == (law.suite, law.name)) {
            None => self.laws.push(law),
            Some(known) => {
                let places = known.places + law.places;
                if law.badness() > known.badness() {
                    *known = law;
                }
                known.places = places;
            }
        }
    }
}

impl FromIterator<Report> for Report {
    fn from_iter<I: IntoIterator<Item = Report>>(reports: I) -> Self {
        let mut all = Self::default();
        reports.into_iter().for_each(|report| all.merge(report));
        all
    }
}

const WIDTH: usize = 80;

/// A table of 80 columns; failures say where they happened and with which seed.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "     {:<57}{:>8}{:>5}{:>5}", "law", "measured", "<=", "at")?;
        for law in &self.laws {
            let verdict = if law.passed() { "ok" } else { "FAIL" };
            let name = format!("{}: {}", law.suite, law.name);
            let value = if law.error.is_some() { "error".to_owned() } else { format!("{:.1e}", law.measure.value) };
            writeln!(f, "{verdict:<4} {name:<57}{value:>8}{:>5}{:>5}", law.measure.limit, law.places)?;
            if !law.passed() {
                wrapped(f, &format!("at {}, seed {}", law.place, law.seed))?;
                law.error.iter().try_for_each(|error| wrapped(f, &format!("error: {error}")))?;
            }
        }
        Ok(())
    }
}

/// Text under the name column, broken at spaces.
fn wrapped(f: &mut Formatter<'_>, text: &str) -> std::fmt::Result {
    const INDENT: &str = "       ";
    let mut line = String::from(INDENT);
    for word in text.split_whitespace() {
        if line.len() > INDENT.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{}", line.trim_end())?;
            line = String::from(INDENT);
        }
        write!(line, "{word} ")?;
    }
    writeln!(f, "{}", line.trim_end())
}

/// Collects the measurements of one suite into a [`Report`]; what a suite of your own is written with.
#[derive(Debug)]
pub struct Recorder {
    suite: &'static str,
    seed: u64,
    report: Report,
}

impl Recorder {
    /// An empty report of a suite whose random input comes from `seed`.
    pub fn new(suite: &'static str, seed: u64) -> Self {
        Self { suite, seed, report: Report::default() }
    }

    /// Measures a law at a place. An error is a failure with its text, and so is a panic of the implementor.
    pub fn law(&mut self, name: &'static str, place: impl Display, measure: impl FnOnce() -> Result<Measure>) {
        let failed = |text: String| (Measure { value: f64::NAN, limit: 0.0 }, Some(text));
        let (measure, error) = match catch_unwind(AssertUnwindSafe(measure)) {
            Ok(Ok(measure)) => (measure, None),
            Ok(Err(error)) => failed(error.to_string()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                failed(format!("panicked: {}", text.unwrap_or("no message")))
            }
        };
        let place = place.to_string();
        self.report.add(Law { suite: self.suite, name, measure, error, places: 1, place, seed: self.seed });
    }

    /// Builds an implementor; the law "builds" is that this succeeds.
    pub fn build<A>(&mut self, place: impl Display, make: impl FnOnce() -> Result<A>) -> Option<A> {
        let mut built = None;
        self.holds("builds", place, || {
            built = Some(make()?);
            Ok(true)
        });
        built
    }

    /// Measures a law that has its bound and its error apart: the ratio must not exceed 1.
    pub fn bound(&mut self, name: &'static str, place: impl Display, pair: impl FnOnce() -> Result<(f64, f64)>) {
        self.law(name, place, || pair().map(|(error, bound)| Measure::ratio(error, bound)));
    }

    /// Measures a statement.
    pub fn holds(&mut self, name: &'static str, place: impl Display, statement: impl FnOnce() -> Result<bool>) {
        self.law(name, place, || statement().map(Measure::holds));
    }
}

impl From<Recorder> for Report {
    fn from(recorder: Recorder) -> Self {
        recorder.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn errors_panics_and_nan_are_failures_and_the_worst_place_is_kept() {
        let mut r = Recorder::new("suite", 3);
        r.bound("ratio", "first", || Ok((1.0, 2.0)));
        r.bound("ratio", "second", || Ok((3.0, 2.0)));
        r.bound("ratio", "third", || Ok((0.0, 2.0)));
        r.bound("nan", "a", || Ok((f64::NAN, 1.0)));
        r.holds("nan", "b", || Ok(false));
        r.holds("error", "here", || Err(Error::not_finite("x")));
        r.holds("panic", "there", || panic!("message {}", 5));
        r.holds("fine", "everywhere", || Ok(true));
        r.bound("no bound", "zero over zero", || Ok((0.0, 0.0)));
        let report = Report::from(r);
        let failures: Vec<&str> = report.failures().map(|law| law.name).collect();
        assert_eq!(failures, ["ratio", "nan", "error", "panic"]);
        let ratio = report.law("suite", "ratio").unwrap();
        assert_eq!((ratio.places, ratio.place.as_str(), ratio.measure.value), (3, "second", 1.5));
        assert!(report.law("suite", "nan").unwrap().measure.value.is_nan());
        assert_eq!(report.law("suite", "panic").unwrap().error.as_deref(), Some("panicked: message 5"));
        let text = report.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("second, seed 3") && text.contains("FAIL suite: nan"), "{text}");
        assert!(!Report::default().passed(), "nothing was measured");
    }
}
