//! BFGS for a function that comes with its gradient, started with the identity scaled to the first step.
//!
//! ```text
//! p = -H g,   s = α p,   y = g' - g,   H ← (I - s yᵀ/sᵀy) H (I - y sᵀ/sᵀy) + s sᵀ/sᵀy      with H = sᵀy/yᵀy I at first
//! weak Wolfe conditions   φ(α) <= φ(0) + 1e-4 α φ'(0),   φ'(α) >= 0.9 φ'(0)      by bisection and doubling
//! ```
//! The conditions make sᵀy > 0, so that H stays positive definite; a pair that rounding spoils is left out.
//!
//! Cost        an evaluation or two an iteration, 6n² flops; n² numbers and seven n-vectors.
//! Laws        tests/proximal.rs.
//! Reference   J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., algorithm 6.1; A. S. Lewis, M. L. Overton,
//!             Math. Program. 141 (2013) 135-163, doi 10.1007/s10107-012-0514-2 (the search); W. W. Hager, H. Zhang,
//!             SIAM J. Optim. 16 (2005) 170-192, doi 10.1137/030601880 (the approximate condition).

use crate::error::Result;
use crate::optim::{InnerReport, InnerStop, dot};
use crate::scalar::Scalar;

const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;
const TRIALS: usize = 50;

/// Minimizes from x (value and gradient known) and leaves the best point in x.
pub(super) fn minimize<T: Scalar>(
    mut evaluate: impl FnMut(&[T], &mut [T]) -> Result<f64>,
    x: &mut [T],
    mut value: f64,
    gradient: &mut [T],
    max_iterations: usize,
    tolerance: f64,
) -> Result<InnerReport> {
    let n = x.len();
    let threshold = tolerance * dot(gradient, gradient).sqrt();
    let mut inverse: Option<Vec<T>> = None;
    let (mut p, mut trial, mut at_trial) = (vec![T::ZERO; n], vec![T::ZERO; n], vec![T::ZERO; n]);
    for iteration in 0..max_iterations {
        let size = dot(gradient, gradient).sqrt();
        if size <= threshold {
            return Ok(InnerReport { iterations: iteration, stop: InnerStop::Converged });
        }
        for (i, p) in p.iter_mut().enumerate() {
            *p = match &inverse {
                Some(h) => -T::of(dot(&h[i * n..(i + 1) * n], gradient)),
                None => -gradient[i],
            };
        }
        let slope = dot(&p, gradient);
        let rounding = 4.0 * T::EPS.f64() * value.abs();
        // the first step is of length one at most
        let first = if inverse.is_some() { 1.0 } else { (1.0 / size).min(1.0) };
        let (mut alpha, mut low, mut high) = (first, 0.0, f64::INFINITY);
        let mut found = None;
        for _ in 0..TRIALS {
            let step = T::of(alpha);
            trial.iter_mut().zip(&*x).zip(&p).for_each(|((t, &x), &p)| *t = x + step * p);
            let now = evaluate(&trial, &mut at_trial)?;
            let slope_now = dot(&p, &at_trial);
            // where differences of φ are rounding, slopes tell (Hager and Zhang's approximate condition)
            let falls = now <= value + DECREASE * alpha * slope;
            let level = now <= value + rounding && slope_now <= (2.0 * DECREASE - 1.0) * slope;
            if !((falls || level) && slope_now.is_finite()) {
                high = alpha;
            } else if slope_now < SLOPE * slope {
                low = alpha;
            } else {
                found = Some(now);
                break;
            }
            alpha = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * alpha };
        }
        let Some(now) = found.filter(|&now| now < value + rounding) else {
            return Ok(InnerReport { iterations: iteration, stop: InnerStop::NoProgress });
        };
        let s: Vec<T> = trial.iter().zip(&*x).map(|(&t, &x)| t - x).collect();
        let y: Vec<T> = at_trial.iter().zip(&*gradient).map(|(&new, &old)| new - old).collect();
        update(&mut inverse, &s, &y);
        x.copy_from_slice(&trial);
        gradient.copy_from_slice(&at_trial);
        value = now;
    }
    Ok(InnerReport { iterations: max_iterations, stop: InnerStop::IterationLimit })
}

/// H takes up the pair (s, y), unless sᵀy is not safely positive.
fn update<T: Scalar>(inverse: &mut Option<Vec<T>>, s: &[T], y: &[T]) {
    let n = s.len();
    let (sy, yy) = (dot(s, y), dot(y, y));
    if !(sy > T::EPS.f64() * (dot(s, s) * yy).sqrt() && sy.is_finite() && yy.is_finite()) {
        return;
    }
    let h = inverse.get_or_insert_with(|| {
        let scale = T::of(sy / yy);
        (0..n * n).map(|k| if k / n == k % n { scale } else { T::ZERO }).collect()
    });
    let hy: Vec<T> = (0..n).map(|i| T::of(dot(&h[i * n..(i + 1) * n], y))).collect();
    let both = T::of((1.0 + dot(y, &hy) / sy) / sy);
    let cross = T::of(1.0 / sy);
    for (i, row) in h.chunks_exact_mut(n).enumerate() {
        let (si, hyi) = (s[i], hy[i]);
        row.iter_mut()
            .zip(s)
            .zip(&hy)
            .for_each(|((h, &sj), &hyj)| *h += both * si * sj - cross * (hyi * sj + si * hyj));
    }
}
