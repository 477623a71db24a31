//! Residuals of the problems of any n, taken from the lengths of x and r; numbers and letters are the paper's.
//!
//! Laws        tests/more_garbow_hillstrom.rs.
//! Reference   doi 10.1145/355934.355936, section 3.

use super::{Number, fixed};

/// Σ w(j) y(x_j) with j from 1.
fn weighted<N: Number>(x: &[N], term: impl Fn(f64, N) -> N) -> N {
    x.iter().enumerate().map(|(j, &x)| term((j + 1) as f64, x)).sum()
}

/// (20)
pub fn watson<N: Number>(x: &[N], r: &mut [N]) {
    for (i, r) in r.iter_mut().enumerate().take(29) {
        let t = (i + 1) as f64 / 29.0;
        let slope = weighted(&x[1..], |j, x| x * (j * t.powf(j - 1.0)));
        let value = weighted(x, |j, x| x * t.powf(j - 1.0));
        *r = slope - value.square() - 1.0;
    }
    r[29] = x[0];
    r[30] = x[1] - x[0].square() - 1.0;
}

/// (21)
pub fn extended_rosenbrock<N: Number>(x: &[N], r: &mut [N]) {
    x.chunks(2).zip(r.chunks_mut(2)).for_each(|(x, r)| fixed::rosenbrock(x, r));
}

/// (22)
pub fn extended_powell_singular<N: Number>(x: &[N], r: &mut [N]) {
    x.chunks(4).zip(r.chunks_mut(4)).for_each(|(x, r)| fixed::powell_singular(x, r));
}

/// a of problems 23 and 24.
const PENALTY: f64 = 1e-5;

/// (23)
pub fn penalty_1<N: Number>(x: &[N], r: &mut [N]) {
    for (r, &x) in r.iter_mut().zip(x) {
        *r = (x - 1.0) * PENALTY.sqrt();
    }
    r[x.len()] = weighted(x, |_, x| x.square()) - 0.25;
}

/// (24)
pub fn penalty_2<N: Number>(x: &[N], r: &mut [N]) {
    let n = x.len();
    r[0] = x[0] - 0.2;
    for i in 1..n {
        let y = ((i + 1) as f64 / 10.0).exp() + (i as f64 / 10.0).exp();
        r[i] = ((x[i] / 10.0).exp() + (x[i - 1] / 10.0).exp() - y) * PENALTY.sqrt();
    }
    for i in n..2 * n - 1 {
        r[i] = ((x[i - n + 1] / 10.0).exp() - (-0.1f64).exp()) * PENALTY.sqrt();
    }
    r[2 * n - 1] = weighted(x, |j, x| x.square() * (n as f64 - j + 1.0)) - 1.0;
}

/// (25)
pub fn variably_dimensioned<N: Number>(x: &[N], r: &mut [N]) {
    let n = x.len();
    for (r, &x) in r.iter_mut().zip(x) {
        *r = x - 1.0;
    }
    r[n] = weighted(x, |j, x| (x - 1.0) * j);
    r[n + 1] = r[n].square();
}

/// (26)
pub fn trigonometric<N: Number>(x: &[N], r: &mut [N]) {
    let shared = -weighted(x, |_, x| x.cos()) + x.len() as f64;
    for (i, (r, &x)) in r.iter_mut().zip(x).enumerate() {
        *r = shared + (-x.cos() + 1.0) * (i + 1) as f64 - x.sin();
    }
}

/// (27)
pub fn brown_almost_linear<N: Number>(x: &[N], r: &mut [N]) {
    let (n, sum) = (x.len(), weighted(x, |_, x| x));
    for (r, &x) in r.iter_mut().zip(x).take(n - 1) {
        *r = x + sum - (n as f64 + 1.0);
    }
    r[n - 1] = x.iter().copied().product::<N>() - 1.0;
}

/// x_i with x_0 = x_{n+1} = 0, i from 0.
fn bordered<N: Number>(x: &[N], i: usize) -> N {
    i.checked_sub(1).and_then(|i| x.get(i)).copied().unwrap_or(N::of(0.0))
}

/// (28)
pub fn discrete_boundary_value<N: Number>(x: &[N], r: &mut [N]) {
    let h = 1.0 / (x.len() as f64 + 1.0);
    for i in 1..=x.len() {
        let t = i as f64 * h;
        let second = bordered(x, i) * 2.0 - bordered(x, i - 1) - bordered(x, i + 1);
        r[i - 1] = second + (bordered(x, i) + (t + 1.0)).powi(3) * (h * h / 2.0);
    }
}

/// (29)
pub fn discrete_integral_equation<N: Number>(x: &[N], r: &mut [N]) {
    let h = 1.0 / (x.len() as f64 + 1.0);
    for i in 1..=x.len() {
        let t = i as f64 * h;
        let integral = weighted(x, |j, x| {
            let s = j * h;
            let kernel = if s <= t { (1.0 - t) * s } else { t * (1.0 - s) };
            (x + (s + 1.0)).powi(3) * kernel
        });
        r[i - 1] = x[i - 1] + integral * (h / 2.0);
    }
}

/// (30)
pub fn broyden_tridiagonal<N: Number>(x: &[N], r: &mut [N]) {
    for i in 1..=x.len() {
        let own = bordered(x, i);
        r[i - 1] = (-own * 2.0 + 3.0) * own - bordered(x, i - 1) - bordered(x, i + 1) * 2.0 + 1.0;
    }
}

/// (31)
pub fn broyden_banded<N: Number>(x: &[N], r: &mut [N]) {
    for i in 1..=x.len() {
        let own = bordered(x, i);
        let band = (i.saturating_sub(5).max(1)..=(i + 1).min(x.len())).filter(|&j| j != i);
        let others: N = band.map(|j| bordered(x, j) * (bordered(x, j) + 1.0)).sum();
        r[i - 1] = own * (own.square() * 5.0 + 2.0) + 1.0 - others;
    }
}

/// (32)
pub fn linear_full_rank<N: Number>(x: &[N], r: &mut [N]) {
    let shared = weighted(x, |_, x| x) * (2.0 / r.len() as f64) + 1.0;
    for (i, r) in r.iter_mut().enumerate() {
        *r = x.get(i).copied().unwrap_or(N::of(0.0)) - shared;
    }
}

/// (33)
pub fn linear_rank_one<N: Number>(x: &[N], r: &mut [N]) {
    let shared = weighted(x, |j, x| x * j);
    for (i, r) in r.iter_mut().enumerate() {
        *r = shared * (i + 1) as f64 - 1.0;
    }
}

/// (34)
pub fn linear_rank_one_zeros<N: Number>(x: &[N], r: &mut [N]) {
    let (n, m) = (x.len() as f64, r.len());
    let shared = weighted(x, |j, x| if j == 1.0 || j == n { N::of(0.0) } else { x * j });
    for (i, r) in r.iter_mut().enumerate() {
        *r = if i + 1 == m { N::of(-1.0) } else { shared * i as f64 - 1.0 };
    }
}

/// (35)
pub fn chebyquad<N: Number>(x: &[N], r: &mut [N]) {
    r.fill(N::of(0.0));
    for &x in x {
        // T_0, T_1, ... shifted to [0, 1]
        let argument = x * 2.0 - 1.0;
        let (mut last, mut polynomial) = (N::of(1.0), argument);
        for r in r.iter_mut() {
            *r = *r + polynomial;
            (last, polynomial) = (polynomial, argument * polynomial * 2.0 - last);
        }
    }
    for (i, r) in r.iter_mut().enumerate() {
        let order = (i + 1) as f64;
        let integral = if i % 2 == 0 { 0.0 } else { -1.0 / (order * order - 1.0) };
        *r = *r / x.len() as f64 - integral;
    }
}
