//! Residuals of the problems of fixed n that need no table of measurements; numbers and letters are the paper's.
//!
//! Laws        tests/more_garbow_hillstrom.rs.
//! Reference   doi 10.1145/355934.355936, section 3.

use std::f64::consts::TAU;

use super::Number;

/// i, from 1, with the residual of that number.
fn numbered<N>(r: &mut [N]) -> impl Iterator<Item = (f64, &mut N)> {
    r.iter_mut().enumerate().map(|(i, r)| ((i + 1) as f64, r))
}

/// (1)
pub fn rosenbrock<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = (x[1] - x[0].square()) * 10.0;
    r[1] = -x[0] + 1.0;
}

/// (2)
pub fn freudenstein_roth<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = x[0] + ((-x[1] + 5.0) * x[1] - 2.0) * x[1] - 13.0;
    r[1] = x[0] + ((x[1] + 1.0) * x[1] - 14.0) * x[1] - 29.0;
}

/// (3)
pub fn powell_badly_scaled<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = x[0] * x[1] * 1e4 - 1.0;
    r[1] = (-x[0]).exp() + (-x[1]).exp() - 1.0001;
}

/// (4)
pub fn brown_badly_scaled<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = x[0] - 1e6;
    r[1] = x[1] - 2e-6;
    r[2] = x[0] * x[1] - 2.0;
}

/// (5)
pub fn beale<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip([1.5, 2.25, 2.625]).zip(1..) {
        *r = -(x[0] * (-x[1].powi(i) + 1.0)) + y;
    }
}

/// (6)
pub fn jennrich_sampson<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in numbered(r) {
        *r = -((x[0] * i).exp() + (x[1] * i).exp()) + (2.0 + 2.0 * i);
    }
}

/// (7)
pub fn helical_valley<N: Number>(x: &[N], r: &mut [N]) {
    let half_turn = if x[0].value() < 0.0 { 0.5 } else { 0.0 };
    let turns = (x[1] / x[0]).atan() / TAU + half_turn;
    r[0] = (x[2] - turns * 10.0) * 10.0;
    r[1] = ((x[0].square() + x[1].square()).sqrt() - 1.0) * 10.0;
    r[2] = x[2];
}

/// (11)
pub fn gulf<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in numbered(r) {
        let t = i / 100.0;
        let y = 25.0 + (-50.0 * t.ln()).powf(2.0 / 3.0);
        *r = (-(-x[1] + y).abs().pow(x[2]) / x[0]).exp() - t;
    }
}

/// (12)
pub fn box_three_dimensional<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in numbered(r) {
        let t = 0.1 * i;
        *r = (-x[0] * t).exp() - (-x[1] * t).exp() - x[2] * ((-t).exp() - (-10.0 * t).exp());
    }
}

/// (13)
pub fn powell_singular<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = x[0] + x[1] * 10.0;
    r[1] = (x[2] - x[3]) * 5f64.sqrt();
    r[2] = (x[1] - x[2] * 2.0).square();
    r[3] = (x[0] - x[3]).square() * 10f64.sqrt();
}

/// (14)
pub fn wood<N: Number>(x: &[N], r: &mut [N]) {
    r[0] = (x[1] - x[0].square()) * 10.0;
    r[1] = -x[0] + 1.0;
    r[2] = (x[3] - x[2].square()) * 90f64.sqrt();
    r[3] = -x[2] + 1.0;
    r[4] = (x[1] + x[3] - 2.0) * 10f64.sqrt();
    r[5] = (x[1] - x[3]) / 10f64.sqrt();
}

/// (16)
pub fn brown_dennis<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in numbered(r) {
        let t = i / 5.0;
        *r = (x[0] + x[1] * t - t.exp()).square() + (x[2] + x[3] * t.sin() - t.cos()).square();
    }
}

/// (18)
pub fn biggs_exp6<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in numbered(r) {
        let t = 0.1 * i;
        let y = (-t).exp() - 5.0 * (-10.0 * t).exp() + 3.0 * (-4.0 * t).exp();
        *r = x[2] * (-x[0] * t).exp() - x[3] * (-x[1] * t).exp() + x[5] * (-x[4] * t).exp() - y;
    }
}
