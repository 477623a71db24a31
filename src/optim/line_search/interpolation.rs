//! The safeguarded step of Moré and Thuente: the next trial of a search from the ends of its interval.
//!
//! The interval has an end x, the best so far, with φ'(x) towards the other; t is the trial just evaluated. By case, with c
//! the minimizer of the cubic through two values and slopes, q that of a parabola, s that of the secant:
//! ```text
//! φ(t) > φ(x)                              c or the mean of c and q, whichever lies nearer x
//! else, slopes of opposite sign            c or s, whichever lies farther from t
//! else, |φ'(t)| < |φ'(x)|                  nearer of c and s within an interval, the farther outside
//! else                                     c of t and the other end, or the limit outside
//! ```
//! Cost        about 40 flops.
//! Laws        tests/line_search.rs.
//! Reference   J. J. Moré, D. J. Thuente, ACM Trans. Math. Software 20 (1994) 286-307, doi 10.1145/192115.192132, section 4.

use super::trials::Trial;

/// Share of an interval that a trial of the third case may cover.
const COVERED: f64 = 0.66;

/// The interval that a search narrows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    /// The end with the lowest value.
    pub best: Trial,
    pub other: Trial,
    /// Whether a minimizer lies between the ends.
    pub bracketed: bool,
}

/// Minimizer of the cubic through a and b, seen from b: b + r (a - b). With the root γ of its discriminant, zero where it has none.
fn cubic(a: Trial, b: Trial) -> (f64, f64) {
    let h = b.alpha - a.alpha;
    let theta = 3.0 * (a.value - b.value) / h + a.slope + b.slope;
    let s = theta.abs().max(a.slope.abs()).max(b.slope.abs());
    let square = (theta / s).powi(2) - (a.slope / s) * (b.slope / s);
    let gamma = s * square.max(0.0).sqrt() * if h > 0.0 { -1.0 } else { 1.0 };
    let r = ((gamma - b.slope) + theta) / ((gamma - b.slope) + gamma + a.slope);
    (r, gamma)
}

fn along(from: Trial, to: Trial, r: f64) -> f64 {
    from.alpha + r * (to.alpha - from.alpha)
}

/// Zero of the secant of the slopes, seen from t.
fn secant(x: Trial, t: Trial) -> f64 {
    t.alpha + t.slope / (t.slope - x.slope) * (x.alpha - t.alpha)
}

fn nearer(to: f64, a: f64, b: f64) -> bool {
    (a - to).abs() < (b - to).abs()
}

/// Takes a trial into the interval; the next trial, within `limits`.
pub(super) fn narrow(interval: &mut Interval, t: Trial, limits: [f64; 2]) -> f64 {
    let Interval { best: x, other: y, .. } = *interval;
    let opposite = t.slope * x.slope.signum() < 0.0;
    let outward = if t.alpha > x.alpha { limits[1] } else { limits[0] };
    let next = if t.value > x.value {
        interval.bracketed = true;
        let c = along(x, t, cubic(t, x).0);
        let h = t.alpha - x.alpha;
        let q = x.alpha + x.slope / ((x.value - t.value) / h + x.slope) / 2.0 * h;
        if nearer(x.alpha, c, q) { c } else { c + (q - c) / 2.0 }
    } else if opposite {
        interval.bracketed = true;
        let (c, s) = (along(t, x, cubic(x, t).0), secant(x, t));
        if nearer(t.alpha, s, c) { c } else { s }
    } else if t.slope.abs() < x.slope.abs() {
        let ((r, gamma), s) = (cubic(x, t), secant(x, t));
        let c = if r < 0.0 && gamma != 0.0 { along(t, x, r) } else { outward };
        if interval.bracketed {
            let next = if nearer(t.alpha, c, s) { c } else { s };
            let limit = t.alpha + COVERED * (y.alpha - t.alpha);
            if t.alpha > x.alpha { next.min(limit) } else { next.max(limit) }
        } else {
            (if nearer(t.alpha, s, c) { c } else { s }).clamp(limits[0], limits[1])
        }
    } else if interval.bracketed {
        along(t, y, cubic(y, t).0)
    } else {
        outward
    };
    if t.value > x.value {
        interval.other = t;
    } else {
        if opposite {
            interval.other = x;
        }
        interval.best = t;
    }
    next
}
