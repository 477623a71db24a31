//! [`Kfac`]'s two dealings with its overhead budget: plans before an update, seconds after each batch.
//!
//! Laws        tests/overhead_budget.rs.

use super::Kfac;
use crate::error::{Error, Result};
use crate::optim::kfac_phases::{Phases, probes, takes_exact_damping};
use crate::optim::phase_meter::Laps;
use crate::optim::{LayeredObjective, StepReport};
use crate::scalar::Scalar;

impl<T: Scalar, W> Kfac<T, W> {
    /// Before the first batch of an update: the intervals and the damping that the budget has chosen, where it has.
    pub(super) fn follow_budget<O>(&mut self, objective: &O, batch: &O::Batch) -> Result<()>
    where
        O: LayeredObjective<T, Workspace = W>,
    {
        let lambda = self.lambda();
        let (Some(control), Some(state)) = (&mut self.control, &mut self.state) else { return Ok(()) };
        if state.accumulated.batches > 0 {
            return Ok(());
        }
        let cases = objective.factored_cases(batch);
        let cases = cases.ok_or_else(|| Error::invalid("overhead budget", "the objective tells no factored_cases"))?;
        let options = &mut self.options;
        let flops = || Phases::flops(options, &state.preconditioner.layers(objective.layout()), cases);
        let exact = || takes_exact_damping(lambda + objective.l2().f64(), state.preconditioner.mean_eigenvalue());
        let plan = control.choose(cases, probes(options), exact, state.noise.batches(), flops);
        options.update_interval = plan.update_interval;
        options.statistics_interval = plan.statistics_interval;
        options.statistics_cases = plan.statistics_cases(cases);
        options.refresh_interval = plan.refresh_interval;
        options.damping = plan.path.damping(options.damping);
        state.preconditioner.set_refreshes(options.damping, plan.refresh_interval);
        Ok(())
    }

    /// After a batch. Planning joins the report last, so that it counts for no phase.
    pub(super) fn observe(
        &mut self,
        report: &mut StepReport<T>,
        planning: f64,
        statistics: f64,
        pass: f64,
        update: bool,
    ) {
        if let Some(control) = &mut self.control {
            control.observe(&Laps::of(report, planning, statistics, pass, update));
        }
        report.seconds.search += planning;
    }
}
