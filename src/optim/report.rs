//! What a step reports: values, never printed by the library.

use crate::scalar::Scalar;

/// Passes through the network for one batch, by kind (the chapter's unit of cost, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passes {
    /// Loss evaluations.
    pub forward: u64,
    /// Gradients and pseudo-gradients.
    pub backward: u64,
    /// Jacobian-vector products.
    pub jvp: u64,
}

impl Passes {
    /// All of them, each counted as one.
    pub fn total(self) -> u64 {
        self.forward + self.backward + self.jvp
    }
}

impl std::ops::AddAssign for Passes {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.jvp += other.jvp;
    }
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport<T> {
    /// h(θ) on the batch before the step.
    pub loss_before: T,
    /// h on the same batch after the step, where it was evaluated.
    pub loss_after: Option<T>,
    /// λ during this step.
    pub lambda: Option<T>,
    /// γ², the damping of the preconditioner, during this step.
    pub preconditioner_damping: Option<T>,
    /// Reduction ratio ρ (Eq 14), where it was measured.
    pub rho: Option<T>,
    /// M(δ): the change of h that the quadratic model predicts.
    pub predicted_change: Option<T>,
    /// Step size α along the preconditioned gradient.
    pub alpha: Option<T>,
    /// Momentum coefficient μ of the previous update.
    pub momentum: Option<T>,
    /// Whether the step was taken back because the loss rose or was not finite.
    pub rejected: bool,
    /// Whether the factorizations were refreshed in this step.
    pub refreshed: bool,
    /// Layers whose refresh failed in this step and which kept their old inverse.
    pub failed_refreshes: usize,
    /// Passes of this step.
    pub passes: Passes,
}

impl<T: Scalar> StepReport<T> {
    /// A step that evaluated loss and gradient once.
    pub fn first_order(loss_before: T) -> Self {
        Self { loss_before, passes: Passes { forward: 1, backward: 1, jvp: 0 }, ..Self::default() }
    }
}
