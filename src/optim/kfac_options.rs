//! Options of [`Kfac`](super::Kfac), each a value with the default of the paper's code where it has one.

use super::{
    EigenUpdate, FactorLimit, FisherKind, KfacBlocks, LayerStructure, ModelDamping, OverheadBudget, RefreshSchedule,
};
use crate::curvature::{KroneckerDamping, PiRule};
use crate::error::{Error, Result};
use crate::scalar::Scalar;
use crate::stats::Decay;

/// How the length of a step is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StepRule {
    /// α, and μ if `momentum`, minimize the exact quadratic model of the batch (Eq 26, 27): one or two forward products
    /// a step, no learning rate. For batches that are large or growing: the model fits the batch, noise included.
    QuadraticModel {
        /// Whether the previous update is a second direction (Eq 27).
        momentum: bool,
    },
    /// θ ← θ + v, v ← μ v - α U with given α and μ.
    Fixed {
        /// α.
        learning_rate: f64,
        /// μ.
        momentum: f64,
        /// c of a [`CurvatureClip`](super::CurvatureClip) in the norm of the preconditioner's own matrix: α is shortened by
        /// min(1, √(c / (α² ∇hᵀU))), a bound on the predicted KL change (Ba, Grosse, Martens 2017).
        norm_constraint: Option<f64>,
    },
}

/// How γ, the square root of the preconditioner's damping, follows λ.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum GammaRule {
    /// γ² = λ + η always.
    FollowLambda,
    /// Every `interval` steps the best of {ωγ, γ, γ/ω} by the quadratic model, within [sqrt(η + λ_min), max]; starts at
    /// sqrt(λ + η). Three refreshes in such a step.
    Search {
        /// T₂.
        interval: u64,
        /// ω₂; the paper's is sqrt(19/20)^T₂.
        omega: f64,
        /// Largest γ; the paper's is 1.
        max: f64,
    },
}

/// When the loss after a step is measured, and a step that raised it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Rejection {
    /// At every step: one more forward pass each.
    EveryStep,
    /// Where ρ is measured anyway.
    #[default]
    WhenMeasured,
    /// Never: a step is only reported.
    Never,
}

/// Whether the gradient of a batch is formed before it is preconditioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum GradientForm {
    /// Always: P ∇h.
    Formed,
    /// In each layer as it is cheaper: P(w G Āᵀ) from the formed product or through the factors
    /// ([`KfacPreconditioner::precondition_product`](super::KfacPreconditioner::precondition_product)). The same update up
    /// to rounding, without ∇h and its norm in the report. Only where it is cheaper for some layer, and where nothing else
    /// needs ∇h: the L2 term (P θ would cost what is saved), the norm constraint, the γ search and the tridiagonal
    /// blocks do, and then it is formed.
    #[default]
    ByCost,
}

/// The adaptation of λ by ρ.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DampingAdaptation {
    /// T₁: updates between verdicts.
    pub interval: u64,
    /// ω₁ of one verdict; the paper's is (19/20)^T₁.
    pub omega: f64,
    /// Smallest λ.
    pub min: f64,
    /// Largest λ.
    pub max: f64,
    /// Whether λ is part of the model in ρ.
    pub model: ModelDamping,
}

/// Everything that a [`Kfac`](super::Kfac) run depends on beside the problem.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KfacOptions<T> {
    /// Initial λ.
    pub lambda: f64,
    /// How λ adapts; `None` keeps it.
    pub adaptation: Option<DampingAdaptation>,
    /// How γ follows.
    pub gamma: GammaRule,
    /// Whether the preconditioner couples neighbouring layers.
    pub blocks: KfacBlocks,
    /// Exact or factored damping of the blocks.
    pub damping: KroneckerDamping<T>,
    /// How eigenbases, of exact damping and of EKFAC, are brought up to date.
    pub eigenbases: EigenUpdate,
    /// The structure of every layer's block, where none of its own is given; [`LayerStructure::EigenKronecker`] is EKFAC.
    pub structure: LayerStructure,
    /// What a layer may cost under [`LayerStructure::Auto`].
    pub limit: FactorLimit,
    /// Which second moments of output gradients.
    pub fisher: FisherKind,
    /// ε of the statistics.
    pub decay: Decay,
    /// k: batches whose gradients are averaged into one update; steps between updates leave θ as it is. Intervals below
    /// count updates. Statistics and the quadratic model are those of the last of the k batches.
    pub update_interval: u64,
    /// Updates between updates of the statistics.
    pub statistics_interval: u64,
    /// Cases of the batch that the statistics use, the first ones; `None` uses all. (The paper uses 1/8 of the batch.)
    pub statistics_cases: Option<usize>,
    /// T₃: updates between refreshes of the inverses; the first three refresh always.
    pub refresh_interval: u64,
    /// Whether all layers are refreshed at the same steps.
    pub refresh_schedule: RefreshSchedule,
    /// Whether ∇h is formed.
    pub gradient: GradientForm,
    /// How long a step is.
    pub step: StepRule,
    /// When a step is taken back.
    pub rejection: Rejection,
    /// Decay of the iterate average and the step from which it runs; `None` keeps no average.
    pub averaging: Option<(Decay, u64)>,
    /// Failed refreshes in a row that a layer survives on its old inverse.
    pub tolerated_failures: usize,
    /// Seed of the sampled targets.
    pub seed: u64,
    /// What a step may cost; intervals, `statistics_cases` and `damping` are then chosen by it. γ must follow λ.
    pub budget: Option<OverheadBudget>,
}

impl<T: Scalar> Default for KfacOptions<T> {
    fn default() -> Self {
        let interval = 5;
        Self {
            lambda: 1.0,
            adaptation: Some(DampingAdaptation {
                interval,
                omega: 0.95f64.powi(5),
                min: 1e-8,
                max: 1e8,
                model: ModelDamping::Included,
            }),
            gamma: GammaRule::FollowLambda,
            blocks: KfacBlocks::Diagonal,
            damping: KroneckerDamping::Factored { pi: PiRule::Trace },
            eigenbases: EigenUpdate::Full,
            structure: LayerStructure::default(),
            limit: FactorLimit::default(),
            fisher: FisherKind::MonteCarlo,
            decay: Decay::DEFAULT,
            update_interval: 1,
            statistics_interval: 1,
            statistics_cases: None,
            refresh_interval: interval,
            refresh_schedule: RefreshSchedule::Together,
            gradient: GradientForm::default(),
            step: StepRule::QuadraticModel { momentum: true },
            rejection: Rejection::WhenMeasured,
            averaging: None,
            tolerated_failures: 3,
            seed: 0,
            budget: None,
        }
    }
}

impl<T: Scalar> KfacOptions<T> {
    /// # Errors
    /// [`Error::InvalidParameter`] for an interval of 0 steps, a number outside its domain.
    pub(in crate::optim) fn validate(&self) -> Result<()> {
        let positive = |name, x: f64| {
            if x.is_finite() && x > 0.0 { Ok(()) } else { Err(Error::invalid(name, format!("{x} must be positive"))) }
        };
        let interval = |name, steps: u64| {
            if steps > 0 { Ok(()) } else { Err(Error::invalid(name, "must be at least 1")) }
        };
        self.budget.map_or(Ok(()), OverheadBudget::validate)?;
        self.blocks.check(self)?;
        self.structure.check_fisher(self.fisher)?;
        self.eigenbases.check()?;
        interval("update_interval", self.update_interval)?;
        interval("statistics_interval", self.statistics_interval)?;
        interval("refresh_interval", self.refresh_interval)?;
        let together = self.blocks == KfacBlocks::Tridiagonal || matches!(self.gamma, GammaRule::Search { .. });
        if self.refresh_schedule == RefreshSchedule::InTurn && together {
            let reason = "coupled layers and a search of gamma need all layers at once";
            return Err(Error::invalid("refresh_schedule", reason));
        }
        if self.statistics_cases == Some(0) {
            return Err(Error::invalid("statistics_cases", "must be at least 1 case"));
        }
        if let Some(adaptation) = self.adaptation {
            interval("adaptation.interval", adaptation.interval)?;
        }
        if let GammaRule::Search { interval: steps, omega, max } = self.gamma {
            interval("gamma interval", steps)?;
            positive("gamma max", max)?;
            if self.budget.is_some() {
                return Err(Error::invalid(
                    "overhead budget",
                    "a search for gamma takes refreshes that no plan counts",
                ));
            }
            if !(omega > 0.0 && omega < 1.0) {
                return Err(Error::invalid("gamma omega", format!("{omega} must be in (0, 1)")));
            }
        }
        if let StepRule::Fixed { learning_rate, momentum, norm_constraint } = self.step {
            positive("learning_rate", learning_rate)?;
            if !(0.0..1.0).contains(&momentum) {
                return Err(Error::invalid("momentum", format!("{momentum} must be in [0, 1)")));
            }
            norm_constraint.map_or(Ok(()), |c| positive("norm_constraint", c))?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> crate::error::Restored for KfacOptions<T> {
    fn check_restored(&self) -> Result<()> {
        self.validate()
    }
}
