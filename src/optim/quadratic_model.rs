//! The exact quadratic model on the span of two directions: step size and momentum without tuning (section 6, Eq 26-27).
//!
//! ```text
//! M(δ) = ∇hᵀδ + ½ δᵀ(G + (λ+η)I) δ,      δ = α d + μ δ₀
//! [α; μ] = -B⁻¹ [∇hᵀd; ∇hᵀδ₀],           B = Vᵀ(G + (λ+η)I)V,  V = [d δ₀]
//! ```
//! With μ = 0 this is Eq 26, α = -∇hᵀd / dᵀGd. The chapter's displayed expansion of the cost lacks the ½ on its α²
//! term; its Eq 26 is the minimum of the expansion with the ½.
//!
//! Cost        one Jacobian-vector product a direction for VᵀGV, and 4 inner products of n-vectors.
//! Laws        tests/quadratic_model.rs (minimum over the span, ρ = 1 on quadratics, parallel directions).
//! Reference   J. Martens, R. Grosse, ICML 2015, sections 6.4 and 7.

/// M on span{d, δ₀}: everything needed of an n-dimensional problem, in seven numbers and two weights.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QuadraticModel {
    /// VᵀGV, G the data term's Gauss-Newton matrix.
    pub gram: [[f64; 2]; 2],
    /// VᵀV.
    pub inner: [[f64; 2]; 2],
    /// Vᵀ∇h.
    pub slope: [f64; 2],
    /// η, always part of the model: the L2 term is quadratic.
    pub l2: f64,
    /// λ.
    pub lambda: f64,
}

/// The minimizer over the span.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SubspaceStep {
    /// α, the coefficient of d.
    pub alpha: f64,
    /// μ, the coefficient of δ₀.
    pub momentum: f64,
}

impl QuadraticModel {
    /// B = Vᵀ(G + (λ+η)I)V at (i, j).
    fn damped(&self, i: usize, j: usize) -> f64 {
        self.gram[i][j] + (self.l2 + self.lambda) * self.inner[i][j]
    }

    /// M(α d + μ δ₀), with ½ λ ‖δ‖² or without.
    pub fn change(&self, step: SubspaceStep, with_damping: bool) -> f64 {
        let w = [step.alpha, step.momentum];
        let shift = self.l2 + if with_damping { self.lambda } else { 0.0 };
        let mut sum = 0.0;
        for i in 0..2 {
            sum += self.slope[i] * w[i];
            for j in 0..2 {
                sum += 0.5 * w[i] * w[j] * (self.gram[i][j] + shift * self.inner[i][j]);
            }
        }
        sum
    }

    /// The minimizer of the damped model.
    ///
    /// `noise` is the relative rounding of the gram matrix: a δ₀ that is parallel to d to within it, or zero, is left
    /// out. `None` when even the one-dimensional model has no minimum (a zero direction, or numbers that are not
    /// finite).
    pub fn minimize(&self, noise: f64) -> Option<SubspaceStep> {
        let (b00, b01, b11) = (self.damped(0, 0), self.damped(0, 1), self.damped(1, 1));
        if !(b00 > 0.0 && b00.is_finite() && self.slope[0].is_finite()) {
            return None;
        }
        let determinant = b00 * b11 - b01 * b01;
        if b11 > 0.0 && determinant > noise * b00 * b11 {
            let alpha = (b01 * self.slope[1] - b11 * self.slope[0]) / determinant;
            let momentum = (b01 * self.slope[0] - b00 * self.slope[1]) / determinant;
            if alpha.is_finite() && momentum.is_finite() {
                return Some(SubspaceStep { alpha, momentum });
            }
        }
        Some(SubspaceStep { alpha: -self.slope[0] / b00, momentum: 0.0 })
    }

    /// The best α for a given μ.
    pub fn minimize_alpha(&self, momentum: f64) -> Option<SubspaceStep> {
        let (b00, b01) = (self.damped(0, 0), self.damped(0, 1));
        (b00 > 0.0 && b00.is_finite())
            .then(|| SubspaceStep { alpha: -(self.slope[0] + b01 * momentum) / b00, momentum })
    }
}
