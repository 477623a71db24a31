//! What a step reports: values, never printed by the library.
//!
//! Laws        tests/passes.rs (every optimizer against a network that counts, and the norms).

use std::time::{Duration, Instant};

use crate::krylov::CgStop;
use crate::scalar::Scalar;

use super::line_search::SearchReport;

/// Passes through the network for one batch, by kind (the chapter's unit of cost, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Passes {
    /// Loss evaluations.
    pub forward: u64,
    /// Gradients and pseudo-gradients, beyond the forward pass.
    pub backward: u64,
    /// Jacobian-vector products J v.
    pub jvp: u64,
    /// Vector-Jacobian products Jᵀu; a Gauss-Newton product is one J v and one Jᵀu.
    pub vjp: u64,
    /// Products with the Hessian: a forward and a backward pass each.
    pub hvp: u64,
}

impl Passes {
    /// A loss and its gradient.
    pub const GRADIENT: Passes = Passes { forward: 1, backward: 1, jvp: 0, vjp: 0, hvp: 0 };

    /// All of them, each counted as one, but products with the Hessian as two.
    pub fn total(self) -> u64 {
        self.forward + self.backward + self.jvp + self.vjp + 2 * self.hvp
    }
}

impl std::ops::AddAssign for Passes {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.jvp += other.jvp;
        self.vjp += other.vjp;
        self.hvp += other.hvp;
    }
}

/// Why an iteration inside a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InnerStop {
    /// The reason of a Krylov method.
    Krylov(CgStop),
    /// An inner optimizer met its tolerance.
    Converged,
    /// An inner optimizer used all the iterations that it was allowed.
    IterationLimit,
    /// An inner optimizer found no step that lowers its objective.
    NoProgress,
}

/// The iteration inside a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InnerReport {
    /// How many iterations.
    pub iterations: usize,
    /// Why they ended.
    pub stop: InnerStop,
}

/// Where the time of a step went.
///
/// Equal to every other, so that two reports of the same step are equal whatever the clock said.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PhaseSeconds {
    /// Loss and gradient.
    pub gradient: f64,
    /// Statistics and factorizations, or the formation of a curvature matrix.
    pub curvature: f64,
    /// The direction: solves, and the products of a Krylov method.
    pub solve: f64,
    /// Quadratic model, line search, acceptance.
    pub search: f64,
}

impl PartialEq for PhaseSeconds {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl PhaseSeconds {
    /// All phases.
    pub fn total(self) -> f64 {
        self.gradient + self.curvature + self.solve + self.search
    }
}

impl std::ops::AddAssign for PhaseSeconds {
    fn add_assign(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.curvature += other.curvature;
        self.solve += other.solve;
        self.search += other.search;
    }
}

/// Times phases one after the other: every call gives the seconds since the last.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap: Duration = now - self.0;
        self.0 = now;
        lap.as_secs_f64()
    }
}

/// One optimizer step. What does not apply to an optimizer is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct StepReport<T> {
    /// h(θ) on the batch before the step.
    pub loss_before: T,
    /// h on the same batch after the step, where it was evaluated.
    pub loss_after: Option<T>,
    /// ‖∇h(θ)‖ before the step.
    pub gradient_norm: Option<T>,
    /// ‖δ‖ of the step.
    pub step_norm: Option<T>,
    /// λ during this step.
    pub lambda: Option<T>,
    /// γ², the damping of the preconditioner, during this step.
    pub preconditioner_damping: Option<T>,
    /// Radius of the trust region during this step.
    pub radius: Option<T>,
    /// Reduction ratio ρ (Eq 14), where it was measured.
    pub rho: Option<T>,
    /// M(δ): the change of h that the quadratic model predicts.
    pub predicted_change: Option<T>,
    /// Step size α along the preconditioned gradient.
    pub alpha: Option<T>,
    /// Momentum coefficient μ of the previous update.
    pub momentum: Option<T>,
    /// The iteration inside the step.
    pub inner: Option<InnerReport>,
    /// The line search.
    pub search: Option<SearchReport>,
    /// Whether the direction was begun anew from the gradient alone.
    pub restarted: bool,
    /// Whether the step was taken back because the loss rose or was not finite.
    pub rejected: bool,
    /// Whether factorizations were refreshed in this step, of all layers or of those whose turn it was.
    pub refreshed: bool,
    /// Layers whose refresh failed in this step and which kept their old inverse.
    pub failed_refreshes: usize,
    /// Passes of this step.
    pub passes: Passes,
    /// Seconds of this step, by phase.
    pub seconds: PhaseSeconds,
}

impl<T: Scalar> StepReport<T> {
    /// A step that evaluated loss and gradient once.
    pub fn first_order(loss_before: T) -> Self {
        Self { loss_before, passes: Passes::GRADIENT, ..Self::default() }
    }

    /// h after the step minus h before it, where the former was evaluated.
    pub fn actual_change(&self) -> Option<T> {
        self.loss_after.map(|after| after - self.loss_before)
    }
}
