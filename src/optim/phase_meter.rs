//! The speed of each phase of a [`Kfac`](super::Kfac) step: seconds a flop, as medians of the last runs of it.
//!
//! A rate, not a time, so that it stands when batches grow; a median, so that a pause of the machine is not taken for a
//! cost. What has not run yet borrows: another share of the cases, the other path, at last the gradient.
//!
//! Laws        tests/overhead_budget.rs, the tests below.

use super::StepReport;
use super::kfac_phases::Phases;
use crate::scalar::Scalar;

/// The last runs of a phase.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Rates {
    last: Vec<f64>,
    next: usize,
}

impl Rates {
    const KEPT: usize = 15;
    /// A run that took so many times the median was disturbed.
    const DISTURBED: f64 = 4.0;

    /// Takes one run; gives its seconds back, or fewer where it was disturbed.
    fn add(&mut self, seconds: f64, flops: f64) -> f64 {
        let rate = seconds / flops.max(1.0);
        let most = self.median().map_or(f64::INFINITY, |median| Self::DISTURBED * median);
        if self.last.len() < Self::KEPT {
            self.last.push(rate);
        } else {
            self.last[self.next % Self::KEPT] = rate;
        }
        self.next = (self.next + 1) % Self::KEPT;
        rate.min(most) * flops.max(1.0)
    }

    fn median(&self) -> Option<f64> {
        let mut sorted = self.last.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// The rates of all phases.
pub(super) type Meter = Phases<Rates>;

/// The seconds of one step; a phase that it did not have is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Laps {
    /// Of the budget itself.
    pub(super) planning: f64,
    pub(super) gradient: f64,
    pub(super) pass: f64,
    pub(super) statistics: Option<f64>,
    pub(super) refresh: Option<f64>,
    pub(super) solve: Option<f64>,
    pub(super) probe: Option<f64>,
}

impl Laps {
    /// From a report, the seconds of planning, of its statistics and of its pass over θ; `update` where θ was to be changed.
    pub(super) fn of<T: Scalar>(
        report: &StepReport<T>,
        planning: f64,
        statistics: f64,
        pass: f64,
        update: bool,
    ) -> Self {
        let seconds = report.seconds;
        Self {
            planning,
            gradient: seconds.gradient,
            pass,
            statistics: (statistics > 0.0).then_some(statistics),
            refresh: report.refreshed.then_some(seconds.curvature - statistics),
            solve: update.then_some(seconds.solve),
            probe: report.loss_after.map(|_| seconds.search - pass),
        }
    }
}

impl Meter {
    /// Takes the laps of a step with statistics of this share and this path; gives what the step took, and what a step of
    /// SGD on its batch would have, disturbances left out.
    pub(super) fn add(&mut self, laps: &Laps, flops: &Phases<f64>, share: usize, path: usize) -> (f64, f64) {
        let sgd = self.gradient.add(laps.gradient, flops.gradient) + self.pass.add(laps.pass, flops.pass);
        let mut beyond = 0.0;
        let mut run = |rates: &mut Rates, seconds: Option<f64>, flops: f64| {
            beyond += seconds.map_or(0.0, |seconds| rates.add(seconds, flops));
        };
        run(&mut self.statistics[share], laps.statistics, flops.statistics[share]);
        run(&mut self.refresh[path], laps.refresh, flops.refresh[path]);
        run(&mut self.solve[path], laps.solve, flops.solve[path]);
        run(&mut self.probe, laps.probe, flops.probe);
        (sgd + beyond, sgd)
    }

    /// Seconds of every phase, from its rate or a borrowed one; `None` before the first step.
    pub(super) fn seconds(&self, flops: &Phases<f64>) -> Option<Phases<f64>> {
        let gradient = self.gradient.median()?;
        let of = |rates: &Rates| rates.median();
        let other = |rates: &[Rates; 2], i: usize| of(&rates[i]).or_else(|| of(&rates[1 - i])).unwrap_or(gradient);
        let share = |i: usize| {
            let mut near: Vec<usize> = (0..self.statistics.len()).collect();
            near.sort_by_key(|j| j.abs_diff(i));
            near.into_iter().find_map(|j| of(&self.statistics[j])).unwrap_or(gradient)
        };
        let each = |flops: [f64; 2], rates: &[Rates; 2]| [0, 1].map(|i| flops[i] * other(rates, i));
        Some(Phases {
            gradient: flops.gradient * gradient,
            pass: flops.pass * of(&self.pass).unwrap_or(gradient),
            statistics: std::array::from_fn(|i| flops.statistics[i] * share(i)),
            refresh: each(flops.refresh, &self.refresh),
            solve: each(flops.solve, &self.solve),
            probe: flops.probe * of(&self.probe).unwrap_or(gradient),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_forgets_and_a_pause_counts_little() {
        let mut rates = Rates::default();
        assert_eq!(rates.median(), None);
        for _ in 0..Rates::KEPT {
            assert_eq!(rates.add(2.0, 1.0), 2.0);
        }
        assert_eq!(rates.add(1000.0, 1.0), 8.0, "four medians");
        assert_eq!(rates.median(), Some(2.0));
        (0..Rates::KEPT).for_each(|_| _ = rates.add(6.0, 2.0));
        assert_eq!(rates.median(), Some(3.0), "seconds a flop");
        assert_eq!(rates.last.len(), Rates::KEPT);
    }

    #[test]
    fn what_has_not_run_borrows_the_rate_of_its_neighbour() {
        let flops = Phases {
            gradient: 10.0,
            pass: 1.0,
            statistics: [8.0, 4.0, 2.0, 1.0],
            refresh: [5.0, 45.0],
            solve: [3.0, 6.0],
            probe: 2.0,
        };
        let mut meter = Meter::default();
        assert_eq!(meter.seconds(&flops), None);
        let laps = Laps { gradient: 10.0, pass: 1.0, ..Laps::default() };
        assert_eq!(meter.add(&laps, &flops, 0, 0), (11.0, 11.0));
        assert_eq!(meter.seconds(&flops), Some(flops), "all at the gradient's rate");
        let laps = Laps { statistics: Some(8.0), refresh: Some(10.0), solve: Some(9.0), probe: Some(8.0), ..laps };
        let (whole, sgd) = meter.add(&laps, &flops, 1, 0);
        assert_eq!((whole, sgd), (46.0, 11.0));
        let seconds = meter.seconds(&flops).unwrap();
        assert_eq!(seconds.statistics, [16.0, 8.0, 4.0, 2.0], "2 s a flop");
        assert_eq!((seconds.refresh, seconds.solve), ([10.0, 90.0], [9.0, 18.0]));
        assert_eq!(seconds.probe, 8.0);
    }
}
