//! The trust-region problem of a tridiagonal matrix.
//!
//! ```text
//! minimize ½ hᵀT h - γ e₁ᵀh subject to ‖h‖ <= Δ;   h(μ) = (T + μ I)⁻¹ γ e₁,   1/‖h(μ)‖ = 1/Δ on the boundary
//! Newton      μ += (‖h‖ - Δ)/Δ · ‖h‖² / (hᵀ(T + μ I)⁻¹h)
//! ```
//! The function 1/‖h(μ)‖ is concave and grows to the right of -θ_1, so that Newton's method from the left of the root
//! stays there and converges; a bracket keeps every other start. Where T has no positive definite h(μ) with ‖h‖ >= Δ
//! to rounding (the hard case), h(-θ_1) + τ u with an eigenvector u of θ_1 solves the problem.
//!
//! Cost        about 12k flops for each factorization of order k, which succeeds in about five steps from a good guess.
//! Laws        tests/trust_region.rs.
//! Reference   J. J. More, D. C. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553-572, doi 10.1137/0904038.

/// A solution: h, the multiplier μ, whether ‖h‖ = Δ.
pub(super) struct Secular {
    pub h: Vec<f64>,
    pub multiplier: f64,
    pub on_boundary: bool,
}

/// T = tridiag(off, diagonal, off).
pub(super) struct Tridiagonal<'a> {
    pub diagonal: &'a [f64],
    pub off: &'a [f64],
}

/// LᵀDL of T + μ I with positive D.
struct Factor {
    pivots: Vec<f64>,
    multipliers: Vec<f64>,
}

impl Factor {
    fn solve(&self, mut x: Vec<f64>) -> Vec<f64> {
        for i in 1..x.len() {
            x[i] -= self.multipliers[i - 1] * x[i - 1];
        }
        x.iter_mut().zip(&self.pivots).for_each(|(x, d)| *x /= d);
        for i in (1..x.len()).rev() {
            x[i - 1] -= self.multipliers[i - 1] * x[i];
        }
        x
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

impl Tridiagonal<'_> {
    /// `None` where T + μ I is not positive definite.
    fn factor(&self, shift: f64) -> Option<Factor> {
        let k = self.diagonal.len();
        let (mut pivots, mut multipliers) = (Vec::with_capacity(k), Vec::with_capacity(k));
        for i in 0..k {
            let mut pivot = self.diagonal[i] + shift;
            if i > 0 {
                let l = self.off[i - 1] / pivots[i - 1];
                pivot -= l * self.off[i - 1];
                multipliers.push(l);
            }
            if !(pivot > 0.0 && pivot.is_finite()) {
                return None;
            }
            pivots.push(pivot);
        }
        Some(Factor { pivots, multipliers })
    }

    /// Largest absolute row sum.
    fn size(&self) -> f64 {
        let off = |i: usize| self.off.get(i).map_or(0.0, |off| off.abs());
        let row = |i: usize| self.diagonal[i].abs() + off(i) + if i > 0 { off(i - 1) } else { 0.0 };
        (0..self.diagonal.len()).map(row).fold(0.0, f64::max)
    }

    /// ½ hᵀT h - γ h_1.
    pub fn model(&self, gamma: f64, h: &[f64]) -> f64 {
        let diagonal: f64 = self.diagonal.iter().zip(h).map(|(d, h)| d * h * h).sum();
        let off: f64 = self.off.iter().zip(h.windows(2)).map(|(off, h)| off * h[0] * h[1]).sum();
        0.5 * diagonal + off - gamma * h.first().copied().unwrap_or(0.0)
    }

    /// The minimizer in the ball; `guess` is where the search for μ starts. `None` where the numbers overflow.
    pub fn minimize(&self, gamma: f64, radius: f64, guess: f64) -> Option<Secular> {
        let start = |k: usize| -> Vec<f64> { (0..k).map(|i| if i == 0 { gamma } else { 0.0 }).collect() };
        let k = self.diagonal.len();
        if let Some(factor) = self.factor(0.0) {
            let h = factor.solve(start(k));
            if norm(&h) <= radius {
                return Some(Secular { h, multiplier: 0.0, on_boundary: false });
            }
        }
        // beyond `high` every h(μ) is shorter than the radius
        let (mut low, mut high) = (0.0, self.size() + gamma / radius);
        high += 4.0 * f64::EPSILON * high;
        let mut mu = if guess > low && guess < high { guess } else { 0.5 * (low + high) };
        let mut inside: Option<Vec<f64>> = None;
        for _ in 0..200 {
            let mut next = None;
            if let Some(factor) = self.factor(mu) {
                let h = factor.solve(start(k));
                let length = norm(&h);
                if (length - radius).abs() <= 4.0 * f64::EPSILON * radius {
                    return Some(Secular { h, multiplier: mu, on_boundary: true });
                }
                let slope: f64 = factor.solve(h.clone()).iter().zip(&h).map(|(a, b)| a * b).sum();
                next = Some(mu + (length - radius) / radius * (length * length / slope));
                if length > radius {
                    low = mu;
                } else {
                    high = mu;
                    inside = Some(h);
                }
            } else {
                low = mu;
            }
            if high - low <= 2.0 * f64::EPSILON * high {
                break;
            }
            mu = next.filter(|&next| next > low && next < high).unwrap_or(0.5 * (low + high));
        }
        let h = match inside {
            Some(h) => h,
            None => self.factor(high)?.solve(start(k)),
        };
        let h = self.reach(h, high, radius)?;
        Some(Secular { h, multiplier: high, on_boundary: true })
    }

    /// h + τ u on the boundary, u the direction in which T + μ I is smallest, by inverse iteration.
    fn reach(&self, mut h: Vec<f64>, shift: f64, radius: f64) -> Option<Vec<f64>> {
        let factor = self.factor(shift)?;
        let mut u = vec![1.0; h.len()];
        for _ in 0..4 {
            u = factor.solve(u);
            let length = norm(&u);
            if !(length > 0.0 && length.is_finite()) {
                return None;
            }
            u.iter_mut().for_each(|u| *u /= length);
        }
        let along: f64 = h.iter().zip(&u).map(|(h, u)| h * u).sum();
        let length = norm(&h);
        let rest = ((radius - length) * (radius + length)).max(0.0);
        // the shorter of the two ways
        let root = (along * along + rest).sqrt();
        let tau = if along >= 0.0 { rest / (root + along) } else { -rest / (root - along) };
        if tau.is_finite() {
            h.iter_mut().zip(&u).for_each(|(h, u)| *h += tau * u);
        }
        h.iter().all(|h| h.is_finite()).then_some(h)
    }
}
