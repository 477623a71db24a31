//! What is timed, and how: whole calls, for at least a given time, their inputs restored between them untimed.

use std::time::Instant;

use pullback::Scalar;

use crate::Failure;

/// One row of the table, ready to run.
pub trait Task {
    /// Brings overwritten inputs back; not timed.
    fn restore(&mut self) -> Result<(), Failure>;

    /// The work.
    fn run(&mut self) -> Result<(), Failure>;

    /// Steps in one run: seconds are given for each.
    fn steps(&self) -> usize;

    /// A number of the result, which must be the same for everybody; none where random numbers go into it.
    fn check(&self) -> Option<f64>;
}

/// A task of some state and two functions of it.
pub struct Work<S, R, F> {
    pub state: S,
    pub restore: R,
    pub run: F,
    pub steps: usize,
    pub check: fn(&S) -> Option<f64>,
}

impl<S, R, F> Task for Work<S, R, F>
where
    R: FnMut(&mut S) -> pullback::Result<()>,
    F: FnMut(&mut S) -> pullback::Result<()>,
{
    fn restore(&mut self) -> Result<(), Failure> {
        Ok((self.restore)(&mut self.state)?)
    }

    fn run(&mut self) -> Result<(), Failure> {
        Ok((self.run)(&mut self.state)?)
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn check(&self) -> Option<f64> {
        (self.check)(&self.state)
    }
}

/// A task that overwrites nothing it reads.
pub fn repeatable<'t, S: 't>(
    state: S,
    check: fn(&S) -> Option<f64>,
    run: impl FnMut(&mut S) -> pullback::Result<()> + 't,
) -> Box<dyn Task + 't> {
    Box::new(Work { state, restore: |_: &mut S| Ok(()), run, steps: 1, check })
}

/// ‖x‖.
pub fn norm<T: Scalar>(x: &[T]) -> Option<f64> {
    Some(x.iter().map(|x| x.f64() * x.f64()).sum::<f64>().sqrt())
}

/// One call before any is timed.
pub fn warm_up(task: &mut dyn Task) -> Result<(), Failure> {
    task.restore()?;
    task.run()
}

/// Calls until `seconds` have been timed, at least one.
pub fn turn(task: &mut dyn Task, seconds: f64) -> Result<Vec<f64>, Failure> {
    let (mut times, mut total) = (Vec::new(), 0.0);
    while times.is_empty() || total < seconds {
        task.restore()?;
        let start = Instant::now();
        task.run()?;
        let elapsed = start.elapsed().as_secs_f64();
        total += elapsed;
        times.push(elapsed / task.steps() as f64);
    }
    Ok(times)
}
