//! Power laws through measured points, and where a cost crosses a limit.
//!
//! ```text
//! log y = c + p log x,   p by least squares,   its standard error √(Σ r² / ((n - 2) Σ (log x - mean)²)),  r the residuals
//! ```
//! Laws        tests/power_law.rs.

/// y ∝ xᵖ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    /// p.
    pub exponent: f64,
    /// Of p; `None` for two points, through which every line goes exactly.
    pub standard_error: Option<f64>,
}

/// The points with the largest x that an exponent is fitted to: half of them, rounded up, but three where there are so many.
/// `points` are in ascending order.
pub fn largest_half<P>(points: &[P]) -> &[P] {
    let n = points.len();
    &points[n - n.div_ceil(2).max(3).min(n)..]
}

/// Fits all points (x, y); `None` where fewer than two different x are left, or a number is not positive.
pub fn power_law(points: &[(f64, f64)]) -> Option<PowerLaw> {
    if !points.iter().all(|&(x, y)| x > 0.0 && y > 0.0) {
        return None;
    }
    let logs: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (x_mean, y_mean) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut xx, mut xy) = (0.0, 0.0);
    for (x, y) in &logs {
        xx += (x - x_mean).powi(2);
        xy += (x - x_mean) * (y - y_mean);
    }
    if !(xx > 0.0) {
        return None;
    }
    let exponent = xy / xx;
    let squares: f64 = logs.iter().map(|(x, y)| (y - y_mean - exponent * (x - x_mean)).powi(2)).sum();
    let standard_error = (logs.len() > 2).then(|| (squares / ((n - 2.0) * xx)).sqrt());
    Some(PowerLaw { exponent, standard_error })
}

/// Up to which x a cost stays within a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// At no measured x.
    Nowhere,
    /// Up to this x, between two measured ones.
    UpTo(f64),
    /// Up to the largest measured x, and perhaps beyond.
    Everywhere,
}

/// The x from which on all costs (x, y) are above the limit: interpolated between the last point within it and the next,
/// on logarithmic scales. `points` are in ascending order, with positive numbers.
pub fn reach(points: &[(f64, f64)], limit: f64) -> Reach {
    let Some(last) = points.iter().rposition(|&(_, y)| y <= limit) else { return Reach::Nowhere };
    let Some(&(x1, y1)) = points.get(last + 1) else { return Reach::Everywhere };
    let (x0, y0) = points[last];
    Reach::UpTo(x0 * (x1 / x0).powf((limit / y0).ln() / (y1 / y0).ln()))
}
