//! How a K-FAC run spends an overhead budget: which plan there is for a limit.
//!
//! ```text
//! overhead    1 + (U + S(c)/Iₛ + R/Iᵣ) / (k G)      G a step of SGD, U an update, S statistics of c cases, R a refresh;
//!                                                    k batches an update, Iₛ and Iᵣ updates between
//! staleness   (k + N) √(1 + N/k) (1 + aₛ (Iₛ-1)) (1 + aᵣ (Iᵣ-1)) (1 + a_c log₂ B/c) (1 + a_e [inverses])
//! plan        the least staleness with overhead <= limit, over all k, Iₛ, Iᵣ, c and both paths
//! ```
//! Staleness is how many batches a given progress takes, in a unit of its own. N is the gradient noise scale in batches: with
//! k of them an update, progress a batch is 1/(k + N) (McCandlish et al.), and what noise is left when the loss no longer
//! falls is in proportion to 1 + N/k. That matters late only, and counts by its root: the product is least at k = N/2. Old
//! statistics, old inverses, few cases and factored damping make a direction worse by the weights below.
//!
//! Cost        some thousand prices, each a handful of flops.
//! Laws        tests/overhead_budget.rs (against all plans one by one; monotone in the limit).
//! Reference   the chapter's section 5.5; S. McCandlish et al. 2018, arXiv:1812.06162 (progress against batch size).

use super::costs::KfacCosts;

/// How the damped inverses are made and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DampingPath {
    /// Factored damping: two Cholesky inverses a layer (Eq 22, 24).
    Inverses,
    /// Exact damping: two eigendecompositions a layer (Eq 23).
    Eigenbases,
}

/// What a run with an [`OverheadBudget`](super::OverheadBudget) has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KfacPlan {
    /// Batches whose gradients make one update.
    pub update_interval: u64,
    /// Updates between statistics.
    pub statistics_interval: u64,
    /// The statistics use one in so many cases of their batch.
    pub statistics_share: usize,
    /// Updates between refreshes.
    pub refresh_interval: u64,
    /// By which path.
    pub path: DampingPath,
}

impl KfacPlan {
    /// Intervals between statistics, and between refreshes, that a plan may have.
    pub const INTERVALS: [u64; 12] = [1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56];
    /// Shares of the cases that statistics may use.
    pub const SHARES: [usize; 4] = [1, 2, 4, 8];
    /// Most batches an update.
    pub const LONGEST: u64 = 1000;

    /// Everything at every batch, on all cases, with exact damping: nothing can be fresher.
    pub const FRESHEST: Self = Self {
        update_interval: 1,
        statistics_interval: 1,
        statistics_share: 1,
        refresh_interval: 1,
        path: DampingPath::Eigenbases,
    };

    /// How many cases of a batch the statistics use; `None` for all.
    pub fn statistics_cases(&self, batch: usize) -> Option<usize> {
        (self.statistics_share > 1).then(|| batch.div_ceil(self.statistics_share).max(1))
    }

    /// The place of the share in [`KfacPlan::SHARES`]; `None` for another one.
    pub(super) fn share_index(&self) -> Option<usize> {
        Self::SHARES.iter().position(|&share| share == self.statistics_share)
    }

    /// Batches that a given progress takes, up to a factor, at a noise of N batches: what a plan is judged by.
    pub fn staleness(&self, noise: f64) -> f64 {
        let worse = |weight: f64, by: f64| 1.0 + weight * by;
        let k = self.update_interval as f64;
        (k + noise)
            * (1.0 + noise / k).sqrt()
            * worse(STATISTICS, self.statistics_interval as f64 - 1.0)
            * worse(REFRESH, self.refresh_interval as f64 - 1.0)
            * worse(CASES, f64::from(self.statistics_share.max(1).ilog2()))
            * worse(FACTORED, if self.path == DampingPath::Inverses { 1.0 } else { 0.0 })
    }
}

/// aₛ: worsening by statistics that are an update older.
const STATISTICS: f64 = 0.01;
/// aᵣ: the same of the inverses.
const REFRESH: f64 = 0.01;
/// a_c: worsening by half of the cases.
const CASES: f64 = 0.05;
/// a_e: worsening by factored in place of exact damping.
const FACTORED: f64 = 0.02;

/// What the phases of a [`Kfac`](super::Kfac) run cost, all in one unit (seconds or flops).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanCosts {
    /// A step of SGD.
    pub gradient: f64,
    /// Statistics, by [`KfacPlan::SHARES`] of the cases; infinite where a share is none.
    pub statistics: [f64; KfacPlan::SHARES.len()],
    /// Refresh and update by inverses.
    pub inverses: DampingPathCosts,
    /// Refresh and update by eigenbases; infinite where this path is closed.
    pub eigenbases: DampingPathCosts,
}

/// What depends on the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DampingPathCosts {
    /// All inverses or eigenbases once.
    pub refresh: f64,
    /// From a gradient to new parameters: direction, quadratic model, and the loss after it where that is measured.
    pub update: f64,
}

impl DampingPathCosts {
    /// Of a path that is closed.
    pub const CLOSED: Self = Self { refresh: f64::INFINITY, update: f64::INFINITY };
}

impl PlanCosts {
    /// Mean cost of a batch under the plan, over that of a step of SGD.
    pub fn overhead(&self, plan: &KfacPlan) -> f64 {
        let path = match plan.path {
            DampingPath::Inverses => self.inverses,
            DampingPath::Eigenbases => self.eigenbases,
        };
        let costs = KfacCosts {
            gradient: self.gradient,
            statistics: plan.share_index().map_or(f64::INFINITY, |i| self.statistics[i]),
            refresh: path.refresh,
            update: path.update,
        };
        let each_batch = costs.overhead(plan.statistics_interval as usize, plan.refresh_interval as usize);
        1.0 + (each_batch - 1.0) / plan.update_interval as f64
    }

    /// The plan of least staleness at a noise of N batches whose overhead is within the limit; where there is none, the
    /// cheapest of all.
    pub fn best_plan(&self, limit: f64, noise: f64) -> KfacPlan {
        let least = |plans: &mut dyn Iterator<Item = KfacPlan>| {
            plans.min_by(|a, b| a.staleness(noise).total_cmp(&b.staleness(noise)))
        };
        // falls in k to N/2, then rises: the whole numbers beside it, or the smallest that fits
        let beside = [(0.5 * noise).floor() as u64, (0.5 * noise).ceil() as u64];
        let frequencies = |plan| {
            let least_within = self.most_frequent(plan, limit)?;
            let k = beside.map(|k| k.clamp(least_within.update_interval, KfacPlan::LONGEST));
            least(&mut k.into_iter().map(|update_interval| KfacPlan { update_interval, ..plan }))
        };
        let best = least(&mut self.candidates().filter_map(frequencies));
        let rarest = |plan| KfacPlan { update_interval: KfacPlan::LONGEST, ..plan };
        let cheapest = || {
            let all = self.candidates().map(rarest);
            all.min_by(|a, b| self.overhead(a).total_cmp(&self.overhead(b)))
        };
        best.or_else(cheapest).unwrap_or(KfacPlan::FRESHEST)
    }

    /// Every plan with an update at every batch. No refresh comes more often than what it is made of.
    fn candidates(&self) -> impl Iterator<Item = KfacPlan> {
        let intervals = KfacPlan::INTERVALS;
        let pairs = intervals.into_iter().flat_map(move |s| intervals.into_iter().map(move |r| (s, r)));
        pairs.filter(|(s, r)| r >= s).flat_map(|(statistics_interval, refresh_interval)| {
            KfacPlan::SHARES.into_iter().flat_map(move |statistics_share| {
                [DampingPath::Eigenbases, DampingPath::Inverses].map(|path| KfacPlan {
                    update_interval: 1,
                    statistics_interval,
                    statistics_share,
                    refresh_interval,
                    path,
                })
            })
        })
    }

    /// The plan with the smallest update interval that is within the limit.
    fn most_frequent(&self, plan: KfacPlan, limit: f64) -> Option<KfacPlan> {
        let guess = ((self.overhead(&plan) - 1.0) / (limit - 1.0)).ceil();
        if !(guess <= KfacPlan::LONGEST as f64) {
            return None; // too dear, or a path that is closed
        }
        // the quotient may round across a whole number
        let guess = (guess as u64).max(1);
        let mut near = guess.saturating_sub(1).max(1)..=(guess + 1).min(KfacPlan::LONGEST);
        let with = |update_interval| KfacPlan { update_interval, ..plan };
        near.find(|&k| self.overhead(&with(k)) <= limit).map(with)
    }
}
