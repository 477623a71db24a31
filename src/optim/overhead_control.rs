//! Holds a [`Kfac`](super::Kfac) run to its [`OverheadBudget`]: prices plans by the phases measured so far, adopts the best
//! one within the limit, and pays back what was spent too much.
//!
//! ```text
//! debt    e ← (1-ε) e + step - limit · SGD step        in steps of SGD, ε = 1/2000
//! credit  C exp(-b/T)                                   after b batches, C = 60 steps of SGD, T = 1000
//! target  limit - (e - credit)/H                        H = 50 batches, within half and three times limit - 1
//! ```
//! The plan is that of [`PlanCosts::best_plan`](super::PlanCosts::best_plan) for the target. Where what a plan costs is not
//! what was predicted, the debt moves the target until the mean is the limit: the integral part of a controller. A run starts
//! on credit, since its first updates bring most, and early statistics are soon out of date. By flops there is neither
//! clock nor debt, nor credit.
//!
//! Cost        a plan every 16 batches, every 256 where a gradient takes microseconds; the noise every 16 updates, a
//!             direction each.
//! Laws        the tests below; tests/overhead_budget.rs.

use super::kfac_phases::Phases;
use super::overhead_budget::{CostBasis, OverheadBudget, OverheadReport};
use super::phase_meter::{Laps, Meter};
use super::{DampingPath, KfacPlan};

/// Share of the sums that a batch forgets.
const FORGOTTEN: f64 = 1.0 / 2000.0;
/// Batches to pay a debt back in.
const HORIZON: f64 = 50.0;
/// C and T: steps of SGD that a run is lent at its start, and the batches in which all but 1/e of them are to be paid back.
const CREDIT: f64 = 60.0;
const REPAYMENT: f64 = 1000.0;
/// Batches between plans and updates between measures of the noise, after the first few updates.
const PERIOD: u64 = 16;
/// A hundred times the flops that are done in the time of a plan, and the most batches that a plan is kept for them.
const PLAN_FLOPS: f64 = 2e8;
const LONGEST_PERIOD: u64 = 256;
/// N before it is measured, and the largest that is believed: batches of one epoch are not independent.
const NOISE: f64 = 1.0;
const MOST_NOISE: f64 = 16.0;
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
    /// Batches so far, and when the plan was made.
    seen: u64,
    planned: u64,
    spent: f64,
    sgd: f64,
    /// Of these sums, which forget.
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
            seen: 0,
            planned: 0,
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

    /// Whether noise is measured in the update to come.
    pub(super) fn measures_noise(&self) -> bool {
        self.young() || self.updates.is_multiple_of(PERIOD)
    }

    fn young(&self) -> bool {
        self.updates < 5
    }

    /// The plan for the next update, on batches of so many cases with this noise scale; exact damping only where told.
    /// Where noise is measured, the update is one of two batches at least: from them it is seen.
    pub(super) fn choose(
        &mut self,
        cases: usize,
        probes: f64,
        exact: impl FnOnce() -> bool,
        noise: Option<f64>,
        flops: impl FnOnce() -> Phases<f64>,
    ) -> KfacPlan {
        let resized = self.plan.is_none() || self.cases != cases;
        if resized {
            (self.cases, self.flops) = (cases, flops());
        }
        let period = ((PLAN_FLOPS / self.flops.gradient) as u64).clamp(PERIOD, LONGEST_PERIOD);
        let plan = self.plan.filter(|_| !resized && !self.young() && self.seen < self.planned + period);
        let plan = plan.unwrap_or_else(|| self.plan_anew(probes, exact(), noise));
        let least = if self.measures_noise() { 2 } else { 1 };
        KfacPlan { update_interval: plan.update_interval.max(least), ..plan }
    }

    fn plan_anew(&mut self, probes: f64, exact: bool, noise: Option<f64>) -> KfacPlan {
        let timed = self.budget.basis == CostBasis::Seconds;
        let seconds = if timed { self.meter.seconds(&self.flops) } else { None };
        let costs = seconds.unwrap_or(self.flops).plan_costs(probes, exact);
        let (target, noise) = (self.target(), noise.unwrap_or(NOISE).min(MOST_NOISE));
        let best = costs.best_plan(target, noise);
        let stays = |plan: &KfacPlan| {
            let worth = (1.0 - WORTH_A_CHANGE) * plan.staleness(noise);
            costs.overhead(plan) <= target && best.staleness(noise) > worth
        };
        let plan = self.plan.filter(stays).unwrap_or(best);
        (self.plan, self.predicted, self.planned) = (Some(plan), costs.overhead(&plan), self.seen);
        plan
    }

    fn target(&self) -> f64 {
        let OverheadBudget { limit, basis } = self.budget;
        if basis == CostBasis::Flops {
            return limit;
        }
        let step = self.sgd / self.batches.max(1.0);
        let debt = if step > 0.0 { (self.spent - limit * self.sgd) / step } else { 0.0 };
        let credit = CREDIT * (-(self.seen as f64) / REPAYMENT).exp();
        let extra = limit - 1.0;
        limit - ((debt - credit) / HORIZON).clamp(-2.0 * extra, 0.5 * extra)
    }

    /// Takes the laps of a step.
    pub(super) fn observe(&mut self, laps: &Laps) {
        self.updates += u64::from(laps.solve.is_some());
        self.seen += 1;
        let Some(plan) = self.plan.filter(|_| self.budget.basis == CostBasis::Seconds) else { return };
        if laps.refresh.is_some() {
            self.path = plan.path;
        }
        if self.updates < 2 {
            return; // what the first update takes is memory
        }
        let share = plan.share_index().unwrap_or(0);
        let (spent, sgd) = self.meter.add(laps, &self.flops, share, self.path.index());
        let kept = 1.0 - FORGOTTEN;
        self.spent = kept * self.spent + spent + laps.planning;
        self.sgd = kept * self.sgd + sgd;
        self.batches = kept * self.batches + 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which the phases take what their flops say, but refresh and statistics twice that.
    struct Machine {
        flops: Phases<f64>,
        control: OverheadControl,
        spent: f64,
        batches: u64,
        updates: u64,
    }

    impl Machine {
        fn new(limit: f64) -> Self {
            let flops = Phases {
                gradient: 0.95e9,
                pass: 0.05e9,
                statistics: [0.9e9, 0.45e9, 0.22e9, 0.11e9],
                refresh: [0.5e9, 6e9],
                solve: [1.3e9, 1.9e9],
                probe: 0.3e9,
            };
            let control = OverheadControl::new(OverheadBudget::seconds(limit));
            Self { flops, control, spent: 0.0, batches: 0, updates: 0 }
        }

        /// The batches of one update.
        fn update(&mut self) {
            let flops = self.flops;
            let plan = self.control.choose(256, 0.2, || false, Some(0.1), || flops);
            let share = plan.share_index().unwrap();
            let sgd = Laps { gradient: flops.gradient * 1e-9, pass: flops.pass * 1e-9, ..Laps::default() };
            let due = |interval: u64| self.updates.is_multiple_of(interval);
            for batch in 1..=plan.update_interval {
                let mut laps = sgd;
                if batch == plan.update_interval {
                    laps.statistics = due(plan.statistics_interval).then(|| 2e-9 * flops.statistics[share]);
                    laps.refresh = due(plan.refresh_interval).then(|| 2e-9 * flops.refresh[plan.path.index()]);
                    laps.solve = Some(1e-9 * flops.solve[plan.path.index()]);
                    laps.probe = due(5).then_some(1e-9 * flops.probe);
                }
                let parts = [laps.statistics, laps.refresh, laps.solve, laps.probe];
                self.spent += laps.gradient + laps.pass + parts.iter().flatten().sum::<f64>();
                self.control.observe(&laps);
            }
            (self.batches, self.updates) = (self.batches + plan.update_interval, self.updates + 1);
        }
    }

    #[test]
    fn the_mean_comes_to_the_limit_and_a_run_never_owes_more_than_the_credit() {
        for limit in [1.2, 1.5, 2.0, 4.0] {
            let mut machine = Machine::new(limit);
            while machine.batches < 20_000 {
                machine.update();
                // beyond the credit, what an update takes before its phases are known
                let debt = machine.spent - limit * machine.batches as f64;
                assert!(debt <= CREDIT + 5.0, "{limit}: {debt} after {} batches", machine.batches);
            }
            let mean = machine.spent / machine.batches as f64;
            // less where what the rest would buy is not worth a change
            assert!(mean <= 1.01 * limit && mean >= 0.88 * limit, "{limit}: {mean}");
            let measured = machine.control.report().unwrap().measured.unwrap();
            assert!((measured / mean - 1.0).abs() < 0.03, "{limit}: {measured} {mean}");
        }
    }

    #[test]
    fn a_run_starts_on_credit() {
        let updates = |batches: u64| {
            let mut machine = Machine::new(1.2);
            while machine.batches < batches {
                machine.update();
            }
            machine.updates as f64
        };
        let early = updates(100) / 100.0;
        let late = (updates(6000) - updates(4000)) / 2000.0;
        assert!(early > 1.5 * late, "{early} {late}");
    }

    #[test]
    fn by_flops_there_is_neither_credit_nor_debt() {
        let mut control = OverheadControl::new(OverheadBudget::flops(1.5));
        let machine = Machine::new(1.5);
        control.choose(256, 0.0, || false, None, || machine.flops);
        assert_eq!(control.target(), 1.5);
        assert!(control.report().unwrap().predicted <= 1.5);
    }
}
