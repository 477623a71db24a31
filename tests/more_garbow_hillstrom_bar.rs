//! Floors for how many problems of Moré, Garbow and Hillstrom an optimizer solves, within 5000 passes each.

use pullback::optim::{Batches, Bfgs, BfgsOptions, Marquardt, MarquardtOptions, Objective, Optimizer};
use pullback::testing::problems::{Limits, MoreGarbowHillstrom, SumOfSquares, minimize};
use pullback::{Ctx, Result};

/// Names of the problems that are not solved.
fn unsolved<P: Optimizer<f64, SumOfSquares>>(make: impl Fn() -> Result<P>) -> Vec<&'static str> {
    let solves = |problem: &MoreGarbowHillstrom| {
        let (ctx, h, x) = (Ctx::reference(), SumOfSquares::new(*problem), problem.start());
        let at_start = 2.0 * h.loss(&ctx, &x, &()).unwrap();
        let limits = Limits { passes: 5000, target: Some(problem.target(at_start) / 2.0), ..Limits::default() };
        let outcome = minimize(&ctx, &mut make().unwrap(), &h, &(), &x, limits).unwrap();
        problem.solved(2.0 * outcome.loss, at_start).is_some()
    };
    MoreGarbowHillstrom::ALL.into_iter().filter(|p| !solves(p)).map(MoreGarbowHillstrom::name).collect()
}

#[test]
fn marquardt_solves_nearly_all() {
    let missed = unsolved(|| Marquardt::new(MarquardtOptions::default()));
    assert!(missed.len() <= 1, "{missed:?}");
}

#[test]
fn bfgs_solves_nearly_all() {
    let missed = unsolved(|| Ok(Bfgs::new(BfgsOptions::default())?.with_batches(Batches::Fixed)));
    assert!(missed.len() <= 2, "{missed:?}");
}
