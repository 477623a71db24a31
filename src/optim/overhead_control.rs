//! Holds a [`Kfac`](super::Kfac) run to its [`OverheadBudget`]: prices plans by the phases measured so far, adopts the best
//! one within the limit, and pays back what was spent too much.
//!
//! ```text
//! debt    e ← (1-ε) e + step - limit · SGD step        in seconds, ε = 1/2000
//! target  limit - e / (H · SGD step)                    H = 100 batches to pay back in, within half and 1.3 of limit - 1
//! ```
//! The plan is that of [`PlanCosts::best_plan`](super::PlanCosts::best_plan) for the target. Where what a plan costs is not
//! what was predicted, the debt moves the target until the mean is the limit: the integral part of a controller. By flops
//! there is neither clock nor debt.
//!
//! Cost        a plan every 16 updates, some microseconds.
//! Laws        tests/overhead_budget.rs.

use super::kfac_phases::Phases;
use super::overhead_budget::{CostBasis, OverheadBudget, OverheadReport};
use super::phase_meter::{Laps, Meter};
use super::{DampingPath, KfacPlan};

/// Share of the sums that a batch forgets.
const FORGOTTEN: f64 = 1.0 / 2000.0;
/// Batches to pay a debt back in.
const HORIZON: f64 = 100.0;
/// Updates between plans, after the first few.
const PERIOD: u64 = 16;
/// N before it is measured, and the largest that is believed: batches of one epoch are not independent.
const NOISE: f64 = 1.0;
const MOST_NOISE: f64 = 8.0;
/// A plan is left while it holds the target only for one that is better by this share.
const WORTH_A_CHANGE: f64 = 0.02;

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct OverheadControl {
    budget: OverheadBudget,
    /// None before the first batch.
    plan: Option<KfacPlan>,
    predicted: f64,
    /// Flops of the phases, on batches of so many cases.
    flops: Phases<f64>,
    cases: usize,
    meter: Meter,
    /// The path of the inverses in use.
    path: DampingPath,
    updates: u64,
    spent: f64,
    sgd: f64,
    batches: f64,
}

impl OverheadControl {
    pub(super) fn new(budget: OverheadBudget) -> Self {
        Self {
            budget,
            plan: None,
            predicted: f64::NAN,
            flops: Phases::default(),
            cases: 0,
            meter: Meter::default(),
            path: DampingPath::Inverses,
            updates: 0,
            spent: 0.0,
            sgd: 0.0,
            batches: 0.0,
        }
    }

    pub(super) fn report(&self) -> Option<OverheadReport> {
        let measured = (self.sgd > 0.0).then(|| self.spent / self.sgd);
        let &Self { budget: OverheadBudget { limit, .. }, predicted, .. } = self;
        self.plan.map(|plan| OverheadReport { limit, plan, predicted, measured })
    }

    /// Whether the update to come is one before which a plan is made, and in which noise is measured.
    pub(super) fn plans_anew(&self) -> bool {
        self.updates < 5 || self.updates.is_multiple_of(PERIOD)
    }

    /// The plan for the next update, on batches of so many cases with this noise scale. Where a plan is made anew, the
    /// update is one of two batches at least: from them the noise is seen.
    pub(super) fn choose(
        &mut self,
        cases: usize,
        probes: f64,
        noise: Option<f64>,
        flops: impl FnOnce() -> Phases<f64>,
    ) -> Option<KfacPlan> {
        let resized = self.plan.is_none() || self.cases != cases;
        if resized {
            (self.cases, self.flops) = (cases, flops());
        } else if !self.plans_anew() {
            return self.plan;
        }
        let timed = self.budget.basis == CostBasis::Seconds;
        let seconds = if timed { self.meter.seconds(&self.flops) } else { None };
        let costs = seconds.unwrap_or(self.flops).plan_costs(probes);
        let (target, noise) = (self.target(), noise.unwrap_or(NOISE).min(MOST_NOISE));
        let best = costs.best_plan(target, noise);
        let stays = |plan: &KfacPlan| {
            let worth = (1.0 - WORTH_A_CHANGE) * plan.staleness(noise);
            costs.overhead(plan) <= target && best.staleness(noise) > worth
        };
        let plan = self.plan.filter(stays).unwrap_or(best);
        (self.plan, self.predicted) = (Some(plan), costs.overhead(&plan));
        Some(KfacPlan { update_interval: plan.update_interval.max(2), ..plan })
    }

    fn target(&self) -> f64 {
        let OverheadBudget { limit, .. } = self.budget;
        let debt = self.spent - limit * self.sgd;
        let step = self.sgd / self.batches.max(1.0);
        let repaid = if step > 0.0 { debt / (HORIZON * step) } else { 0.0 };
        limit - repaid.clamp(-0.3 * (limit - 1.0), 0.5 * (limit - 1.0))
    }

    /// Takes the laps of a step.
    pub(super) fn observe(&mut self, laps: &Laps) {
        self.updates += u64::from(laps.solve.is_some());
        let Some(plan) = self.plan.filter(|_| self.budget.basis == CostBasis::Seconds) else { return };
        if laps.refresh.is_some() {
            self.path = plan.path;
        }
        if self.updates < 2 {
            return; // what the first update takes is memory
        }
        let share = KfacPlan::SHARES.iter().position(|&share| share == plan.statistics_share).unwrap_or(0);
        let (spent, sgd) = self.meter.add(laps, &self.flops, share, self.path.index());
        let kept = 1.0 - FORGOTTEN;
        self.spent = kept * self.spent + spent;
        self.sgd = kept * self.sgd + sgd;
        self.batches = kept * self.batches + 1.0;
    }
}
