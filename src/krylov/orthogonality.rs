//! How Lanczos keeps its basis orthogonal: never, always, or where an estimate says that it has to.
//!
//! With ω_{j,i} = v_jᵀv_i, exact Lanczos coefficients and rounding ϑ of the order of ε ‖A‖,
//!
//! ```text
//! β_j ω_{j+1,i} = β_i ω_{j,i+1} + (α_i - α_j) ω_{j,i} + β_{i-1} ω_{j,i-1} - β_{j-1} ω_{j-1,i} + ϑ
//! ```
//! Where some |ω_{j+1,i}| exceeds √ε, v_{j+1} is orthogonalized against the whole basis, and so is v_{j+2}, since two
//! vectors enter the recurrence. A basis that is orthogonal to √ε is enough for T to be the projection of A to ε.
//!
//! Deviations  The estimate of Parlett and Scott's selective orthogonalization, the Ritz vectors that have converged, would
//!             cost an eigendecomposition of T a step; Simon's costs 7j flops and finds the same steps. ϑ is taken at its
//!             size √n ε ‖A‖ with the sign of the rest, where Simon draws it at random: never below, and repeatable.
//! Cost        7j flops at step j; two lists of j numbers while the recursion runs.
//! Laws        tests/lanczos_orthogonality.rs.
//! Reference   B. N. Parlett, D. S. Scott, The Lanczos algorithm with selective orthogonalization, Math. Comp. 33 (1979)
//!             217-238, doi 10.1090/S0025-5718-1979-0514820-3; H. D. Simon, The Lanczos algorithm with partial
//!             reorthogonalization, Math. Comp. 42 (1984) 115-142, doi 10.1090/S0025-5718-1984-0725988-X.

/// When Lanczos orthogonalizes a new vector against its whole basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reorthogonalization {
    /// Never: the basis is not kept, and loses its orthogonality once a Ritz value has converged.
    None,
    /// At every step: ‖VᵀV - I‖ stays at ε.
    #[default]
    Full,
    /// Where the estimate of the orthogonality passes √ε: ‖VᵀV - I‖ stays at √ε, the Ritz values are those of the full one
    /// to ε, and there are no copies.
    Selective,
}

/// The state of the decision.
pub(super) enum Guard {
    Never,
    Always,
    Selective(Estimate),
}

impl Guard {
    pub(super) fn new(kind: Reorthogonalization) -> Self {
        match kind {
            Reorthogonalization::None => Self::Never,
            Reorthogonalization::Full => Self::Always,
            Reorthogonalization::Selective => Self::Selective(Estimate::default()),
        }
    }

    /// Whether the basis is kept.
    pub(super) fn keeps(&self) -> bool {
        !matches!(self, Self::Never)
    }
}

/// ω_{j,i} and ω_{j-1,i}, the last entry of either being 1.
#[derive(Default)]
pub(super) struct Estimate {
    now: Vec<f64>,
    before: Vec<f64>,
    /// Whether the vector before was orthogonalized on its own account.
    again: bool,
}

/// The coefficients before step j, and those of step j; β before any reorthogonalization.
pub(super) struct Step<'a> {
    pub(super) alphas: &'a [f64],
    pub(super) betas: &'a [f64],
    pub(super) alpha: f64,
    pub(super) beta: f64,
    /// A lower bound of ‖A‖.
    pub(super) size: f64,
}

impl Estimate {
    /// Goes on to v_{j+1}; whether that must be orthogonalized. `level` is what orthogonalization reaches.
    pub(super) fn advance(&mut self, step: &Step<'_>, level: f64, limit: f64) -> bool {
        let j = step.alphas.len();
        if j == 0 {
            self.now.push(1.0);
        }
        let rounding = level * step.size;
        // in place of ω_{j-1}: entry i is read before it is written, and no other
        self.before.resize(j + 1, 0.0);
        let mut worst = 0f64;
        for i in 0..j {
            let below = if i > 0 { step.betas[i - 1] * self.now[i - 1] } else { 0.0 };
            let exact = step.betas[i] * self.now[i + 1] + (step.alphas[i] - step.alpha) * self.now[i] + below
                - step.betas[j - 1] * self.before[i];
            let omega = (exact + rounding.copysign(exact)) / step.beta;
            worst = if omega.abs() <= worst { worst } else { omega.abs() };
            self.before[i] = omega;
        }
        self.before[j] = level;
        self.before.push(1.0);
        std::mem::swap(&mut self.now, &mut self.before);
        let needed = !(worst <= limit);
        let act = needed || self.again;
        if act {
            self.now[..=j].fill(level);
        }
        self.again = needed && !self.again;
        act
    }
}
