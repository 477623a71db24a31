//! The training loop: one optimizer, one budget, losses taken on a fixed schedule.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pullback::nn::data::{Dataset, Minibatches, Partial};
use pullback::nn::{Batch, Metrics, Mlp};
use pullback::optim::checkpoint::Run as Saved;
use pullback::optim::{
    Decline, GrowingBatch, Objective, ParamLayout, Passes, PhaseSeconds, PolynomialAverage, Schedule as Declining,
    StepReport,
};
use pullback::{Ctx, Error, Scalar};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::kinds::{Cases, Kind};
use crate::log::{End, Report, Step, record};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::racers::{Racer, Tuned, racer};
use crate::schedule::{Budget, Schedule};

/// Most cases of each part that the losses on the way are taken on.
pub const EVALUATION_CASES: usize = 2000;

/// Cases in one evaluation pass, which bounds memory.
const PART: usize = 4096;

/// Receives what happens.
pub trait Recorder {
    /// After each step.
    fn progress(&mut self, progress: &Progress);
    /// After each step, where it was asked for.
    fn explain(&mut self, step: u64, text: &str);
    /// After each step, where it was asked for.
    fn report(&mut self, report: Report);
    /// Losses at the start, on schedule, and at the end.
    fn step(&mut self, step: Step);
    /// Last of all.
    fn end(&mut self, end: End);
}

/// Trains from the problem's start until the budget is spent, the flag is set or a step fails.
pub fn train<T: Scalar>(
    ctx: &Ctx<T>,
    problem: &Problem<T>,
    (kind, tuned): (Kind, &Tuned),
    budget: Budget,
    saves: &Saves<'_>,
    seed: u64,
    interrupted: &AtomicBool,
    recorder: &mut dyn Recorder,
) -> Result<(), Error> {
    let Problem { train, test, net, .. } = problem;
    let cases = problem.cases(kind);
    let order = Minibatches::new(train.len(), cases, seed, Partial::Drop)?;
    let mut batch = first_case(train)?;
    // a batch that stays is the first cases, in their order; others are drawn
    let stays = kind.cases() == Cases::Full;
    let first: Vec<usize> = if stays { (0..cases).collect() } else { order.clone().next_batch().to_vec() };
    batch.select(train.inputs(), train.target_matrix(), &first)?;
    let fresh = || {
        let began = Instant::now();
        let racer = racer(kind, tuned, ctx, net, &problem.start, &batch)?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(State {
            racer,
            theta: problem.start.clone(),
            average: saves.args.average.map(PolynomialAverage::new).transpose()?,
            order,
            steps: 0,
            seconds,
            passes: Passes::default(),
            phases: PhaseSeconds { curvature: seconds, ..PhaseSeconds::default() },
        })
    };
    let mut state = saves.resumed(net.layout(), fresh)?;
    let mut judge = Judge::new(ctx, problem, seed)?;
    let State { steps, seconds, passes, phases, .. } = state;
    let name = kind.name();
    let mut run = Run { name, steps, seconds, passes, phases, lambda: None, rho: None, report: None };
    let rate = saves.args.decay.map(|rate| Declining::new(tuned.sgd.0, Decline::Inverse { rate })).transpose()?;
    let growing = saves.args.grow_batch.map(|k| GrowingBatch::new(cases, train.len(), k)).transpose()?;
    let mut schedule = Schedule::new(budget);
    let mut error = None;
    let mut evaluated = None;
    loop {
        let over = budget.is_spent(run.steps, run.seconds) || interrupted.load(Ordering::Relaxed) || error.is_some();
        if (schedule.due(run.steps, run.seconds) || over) && evaluated != Some(run.steps) {
            evaluated = Some(run.steps);
            let losses = [judge.sampled(state.judged(), train)?.loss, judge.sampled(state.judged(), test)?.loss];
            recorder.step(run.step(losses));
        }
        if saves.due(run.steps, over) {
            (state.steps, state.seconds) = (run.steps, run.seconds);
            (state.passes, state.phases) = (run.passes, run.phases);
            saves.save(net.layout(), &state)?;
        }
        if over {
            break;
        }
        let began = Instant::now();
        if !stays {
            let grown = growing.map(|growing| state.draw(growing.cases(run.steps + 1)));
            let drawn = grown.as_deref().unwrap_or_else(|| state.order.next_batch());
            batch.select(train.inputs(), train.target_matrix(), drawn)?;
        }
        if let Some(rate) = rate {
            state.racer.set_rate(rate.at(run.steps))?;
        }
        match state.racer.step(ctx, net, &mut state.theta, &batch) {
            Ok(report) => {
                let State { average, theta, .. } = &mut state;
                average.iter_mut().for_each(|average| average.update(theta));
                run.seconds += began.elapsed().as_secs_f64();
                if saves.args.log_steps {
                    recorder.report(Report { optimizer: name, step: run.steps, report: record(&report) });
                }
                run.count(&report);
                if saves.args.explain {
                    recorder.explain(run.steps, &report.explain().to_string());
                }
                recorder.progress(&run.progress(budget, report.loss_before.f64()));
            }
            Err(e) => error = Some(e.to_string()),
        }
    }
    let (on_train, on_test) = (judge.all(state.judged(), train)?, judge.all(state.judged(), test)?);
    recorder.end(End {
        optimizer: name,
        cases,
        steps: run.steps,
        seconds: run.seconds,
        passes: run.passes.total(),
        train_loss: on_train.loss,
        test_loss: on_test.loss,
        train_error: on_train.squared_error * problem.error_unit,
        test_error: on_test.squared_error * problem.error_unit,
        accuracy: train.labels().map(|_| on_test.accuracy),
        overhead: state.racer.overhead().map(|report| report.to_string()),
        interrupted: interrupted.load(Ordering::Relaxed),
        error,
    });
    Ok(())
}

/// All that the steps to come depend on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "T: Scalar")]
struct State<T: Scalar> {
    racer: Racer<T>,
    theta: Vec<T>,
    average: Option<PolynomialAverage<T>>,
    order: Minibatches,
    steps: u64,
    seconds: f64,
    passes: Passes,
    phases: PhaseSeconds,
}

impl<T: Scalar> State<T> {
    /// The parameters that losses are taken at.
    fn judged(&self) -> &[T] {
        self.average.as_ref().and_then(PolynomialAverage::get).unwrap_or(&self.theta)
    }

    /// The next cases: as many minibatches as it takes.
    fn draw(&mut self, cases: usize) -> Vec<usize> {
        let mut drawn = self.order.next_batch().to_vec();
        while drawn.len() < cases {
            let missing = cases - drawn.len();
            drawn.extend(self.order.next_batch().iter().take(missing));
        }
        drawn
    }
}

/// When and where a run is saved, and what it goes on from.
pub struct Saves<'a> {
    /// What must agree between the two runs.
    pub kind: String,
    pub args: &'a Args,
}

impl Saves<'_> {
    fn due(&self, steps: u64, over: bool) -> bool {
        self.args.checkpoint.is_some() && (over || (steps > 0 && steps.is_multiple_of(self.args.checkpoint_every)))
    }

    fn save<T: Scalar>(&self, layout: &ParamLayout, state: &State<T>) -> Result<(), Error> {
        let run = Saved { kind: &self.kind, layout };
        self.args.checkpoint.as_ref().map_or(Ok(()), |path| run.save::<T, _>(path, state))
    }

    fn resumed<T: Scalar>(
        &self,
        layout: &ParamLayout,
        fresh: impl FnOnce() -> Result<State<T>, Error>,
    ) -> Result<State<T>, Error> {
        let run = Saved { kind: &self.kind, layout };
        self.args.resume.as_ref().map_or_else(fresh, |path| run.load::<T, _>(path))
    }
}

/// The counters of one optimizer.
struct Run<T> {
    name: &'static str,
    steps: u64,
    seconds: f64,
    passes: Passes,
    phases: PhaseSeconds,
    lambda: Option<f64>,
    rho: Option<f64>,
    /// The last step.
    report: Option<StepReport<T>>,
}

impl<T: Scalar> Run<T> {
    fn count(&mut self, report: &StepReport<T>) {
        self.steps += 1;
        self.passes += report.passes;
        self.phases += report.seconds;
        self.report = Some(*report);
        self.lambda = report.lambda.map(|l| l.f64());
        // measured every few steps only: the last one stands
        self.rho = report.rho.map(|r| r.f64()).or(self.rho);
    }

    fn step(&self, [train_loss, test_loss]: [f64; 2]) -> Step {
        let finite = |x: Option<f64>| x.filter(|x| x.is_finite());
        Step {
            optimizer: self.name,
            step: self.steps,
            seconds: self.seconds,
            passes: self.passes.total(),
            train_loss,
            test_loss,
            lambda: finite(self.lambda),
            rho: finite(self.rho),
            passes_by_kind: self.passes,
            phases: self.phases,
            report: self.report.as_ref().map(record),
        }
    }

    fn progress(&self, budget: Budget, loss: f64) -> Progress {
        let fraction = budget.fraction(self.steps, self.seconds);
        let seconds_left = (fraction > 0.0).then(|| self.seconds * (1.0 / fraction - 1.0));
        Progress { fraction, loss, lambda: self.lambda, seconds_left }
    }
}

/// Takes losses, with one batch that is filled again and again.
struct Judge<'a, T> {
    ctx: &'a Ctx<T>,
    net: &'a Mlp<T>,
    seed: u64,
    batch: Batch<T>,
}

impl<'a, T: Scalar> Judge<'a, T> {
    fn new(ctx: &'a Ctx<T>, problem: &'a Problem<T>, seed: u64) -> Result<Self, Error> {
        Ok(Self { ctx, net: &problem.net, seed, batch: first_case(&problem.train)? })
    }

    /// On a fixed sample.
    fn sampled(&mut self, theta: &[T], set: &Dataset<T>) -> Result<Metrics, Error> {
        if set.len() <= EVALUATION_CASES {
            return self.all(theta, set);
        }
        let cases = Minibatches::new(set.len(), EVALUATION_CASES, self.seed, Partial::Drop)?.next_batch().to_vec();
        self.on(theta, set, &cases)
    }

    fn all(&mut self, theta: &[T], set: &Dataset<T>) -> Result<Metrics, Error> {
        self.on(theta, set, &(0..set.len()).collect::<Vec<_>>())
    }

    /// Mean over the cases; the L2 term, the same in every part, is its own mean.
    fn on(&mut self, theta: &[T], set: &Dataset<T>, cases: &[usize]) -> Result<Metrics, Error> {
        let mut mean = Metrics { loss: 0.0, squared_error: 0.0, accuracy: 0.0 };
        for part in cases.chunks(PART) {
            self.batch.select(set.inputs(), set.target_matrix(), part)?;
            let found = self.net.evaluate(self.ctx, theta, &self.batch)?;
            let weight = part.len() as f64 / cases.len() as f64;
            mean.loss += weight * found.loss;
            mean.squared_error += weight * found.squared_error;
            mean.accuracy += weight * found.accuracy;
        }
        Ok(mean)
    }
}

/// A batch to be refilled.
fn first_case<T: Scalar>(set: &Dataset<T>) -> Result<Batch<T>, Error> {
    let targets = set.target_matrix().map(|t| t.submatrix(0, 0, t.nrows(), 1)).transpose()?;
    let inputs = set.inputs().submatrix(0, 0, set.d_in(), 1)?;
    match targets {
        Some(targets) => Batch::new(inputs, targets),
        None => Batch::autoencoder(inputs),
    }
}
