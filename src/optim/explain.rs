//! A step in words, what [`StepReport::explain`] shows, and what an overhead budget bought.
//!
//! ```text
//! loss 0.52 -> 0.50 (-0.02, model -0.021, rho 0.95), lambda 0.1, alpha 0.3, mu 0.8,
//!   12 inner (model stalled), passes 2f 1b 3j 2v, 1.2 ms (gradient 0.6, solve 0.5)
//! ```
//! A field that a step does not have is left out.
//!
//! ```text
//! budget 1.5x, predicted 1.48x, measured 1.51x, update every 4 batches,
//!   statistics every 2 updates on 1/4 of the cases,
//!   refresh every 10 updates by inverses
//! ```
//! Laws        tests/explain.rs (every field is seen, absent ones are not, lines stay within 80 columns).

use std::fmt::{Display, Formatter, Result};

use super::line_search::SearchStop;
use super::{DampingPath, InnerStop, OverheadReport, StepReport};
use crate::krylov::CgStop;
use crate::scalar::Scalar;

/// A [`StepReport`] as text of few short lines.
#[derive(Debug, Clone, Copy)]
pub struct Explanation<'a, T>(&'a StepReport<T>);

impl<T: Scalar> StepReport<T> {
    /// The step as text that a person can read, in lines of at most 80 columns: two or three of them.
    ///
    /// ```
    /// use pullback::optim::StepReport;
    /// let report = StepReport { loss_after: Some(0.5), rho: Some(0.9), ..StepReport::<f64>::first_order(0.75) };
    /// assert_eq!(report.explain().to_string(), "loss 0.75 -> 0.5 (-0.25, rho 0.9), passes 1f 1b");
    /// ```
    pub fn explain(&self) -> Explanation<'_, T> {
        Explanation(self)
    }
}

const COLUMNS: usize = 80;

impl<T: Scalar> Display for Explanation<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_parts(f, &parts(self.0))
    }
}

impl Display for OverheadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let plan = self.plan;
        let every = |what: &str, n: u64, [one, many]: [&str; 2]| match n {
            1 => format!("{what} every {one}"),
            n => format!("{what} every {n} {many}"),
        };
        let updates = ["update", "updates"];
        let mut parts = vec![format!("budget {}x", short(self.limit)), format!("predicted {}x", short(self.predicted))];
        parts.extend(self.measured.map(|measured| format!("measured {}x", short(measured))));
        parts.push(every("update", plan.update_interval, ["batch", "batches"]));
        let cases = match plan.statistics_share {
            1 => "all cases".to_owned(),
            share => format!("1/{share} of the cases"),
        };
        parts.push(format!("{} on {cases}", every("statistics", plan.statistics_interval, updates)));
        let path = match plan.path {
            DampingPath::Inverses => "inverses",
            DampingPath::Eigenbases => "eigenbases",
        };
        parts.push(format!("{} by {path}", every("refresh", plan.refresh_interval, updates)));
        if self.is_saturated() {
            parts.push("all that helps".to_owned());
        }
        write_parts(f, &parts)
    }
}

/// Phrases after each other in lines of at most 80 columns.
fn write_parts(f: &mut Formatter<'_>, parts: &[String]) -> Result {
    let mut column = 0;
    for (i, part) in parts.iter().enumerate() {
        let width = part.chars().count();
        // a comma may follow
        if i > 0 && column + 2 + width + 1 > COLUMNS {
            f.write_str(",\n  ")?;
            column = 2;
        } else if i > 0 {
            f.write_str(", ")?;
            column += 2;
        }
        f.write_str(part)?;
        column += width;
    }
    Ok(())
}

/// What there is to say, each in one phrase.
fn parts<T: Scalar>(r: &StepReport<T>) -> Vec<String> {
    let mut parts = vec![loss(r)];
    let fields = [
        ("lambda", r.lambda),
        ("gamma2", r.preconditioner_damping),
        ("radius", r.radius),
        ("alpha", r.alpha),
        ("mu", r.momentum),
        ("|g|", r.gradient_norm),
        ("|step|", r.step_norm),
    ];
    parts.extend(fields.iter().filter_map(|(name, x)| x.map(|x| format!("{name} {}", short(x.f64())))));
    if let Some(inner) = r.inner {
        parts.push(format!("{} inner ({})", inner.iterations, inner_stop(inner.stop)));
    }
    if let Some(search) = r.search {
        parts.push(format!("search {} ({})", search.evaluations, search_stop(search.stop)));
    }
    if r.rejected {
        parts.push("rejected".to_owned());
    }
    if r.refreshed {
        parts.push("refreshed".to_owned());
    }
    if r.failed_refreshes > 0 {
        parts.push(format!("{} refreshes failed", r.failed_refreshes));
    }
    let p = r.passes;
    let kinds = [(p.forward, "f"), (p.backward, "b"), (p.jvp, "j"), (p.vjp, "v"), (p.hvp, "h")];
    let counts: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n}{kind}")).collect();
    if !counts.is_empty() {
        parts.push(format!("passes {}", counts.join(" ")));
    }
    let s = r.seconds;
    if s.total() > 0.0 {
        let phases = [("gradient", s.gradient), ("curvature", s.curvature), ("solve", s.solve), ("search", s.search)];
        let phases = phases.iter().filter(|(_, s)| *s > 0.0).map(|(name, s)| format!("{name} {}", short(1e3 * s)));
        parts.push(format!("{} ms ({})", short(1e3 * s.total()), phases.collect::<Vec<_>>().join(", ")));
    }
    parts
}

/// The loss, and in brackets what is known of its change.
fn loss<T: Scalar>(r: &StepReport<T>) -> String {
    let after = r.loss_after.map_or_else(String::new, |after| format!(" -> {}", short(after.f64())));
    let signed = |x: f64| if x > 0.0 { format!("+{}", short(x)) } else { short(x) };
    let change = r.actual_change().map(|x| signed(x.f64()));
    let model = r.predicted_change.map(|x| format!("model {}", signed(x.f64())));
    let rho = r.rho.map(|x| format!("rho {}", short(x.f64())));
    let known: Vec<String> = [change, model, rho].into_iter().flatten().collect();
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    format!("loss {}{after}{known}", short(r.loss_before.f64()))
}

/// Four significant digits at most, in at most 10 characters.
fn short(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-4..6).contains(&magnitude) {
        return format!("{x:.2e}");
    }
    let text = format!("{x:.*}", (3 - magnitude).max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn inner_stop(stop: InnerStop) -> &'static str {
    match stop {
        InnerStop::Krylov(CgStop::Converged) | InnerStop::Converged => "converged",
        InnerStop::Krylov(CgStop::ModelStalled) => "model stalled",
        InnerStop::Krylov(CgStop::IterationLimit) | InnerStop::IterationLimit => "limit",
        InnerStop::Krylov(CgStop::NonPositiveCurvature) => "negative curvature",
        InnerStop::Krylov(CgStop::PreconditionerNotPositive) => "bad preconditioner",
        InnerStop::Krylov(CgStop::Breakdown) => "breakdown",
        InnerStop::Krylov(CgStop::TrustRegionBoundary) => "boundary",
        InnerStop::NoProgress => "no progress",
    }
}

fn search_stop(stop: SearchStop) -> &'static str {
    match stop {
        SearchStop::Accepted => "accepted",
        SearchStop::AcceptedBySlope => "accepted by slope",
        SearchStop::Unbounded => "unbounded",
        SearchStop::NotDescent => "no descent",
        SearchStop::EvaluationLimit => "limit",
        SearchStop::TooShort => "too short",
    }
}
