//! K-FAC's layers refreshed in turn: each once an interval, none older than it, no step with more than its share, and an
//! interval of one step as if together.
#![cfg(feature = "nn")]

#[path = "common/counting_backend.rs"]
mod counting_backend;
#[path = "common/nets.rs"]
mod nets;

use counting_backend::Counting;
use nets::{Problem, Spec, problem};
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Loss, Reduction, Workspace};
use pullback::optim::{
    GammaRule, Kfac, KfacBlocks, KfacOptions, KfacPreconditioner, LayerStructure, Objective, Optimizer,
    PreconditionerOptions, RefreshSchedule, StepReport,
};
use pullback::testing::contexts;
use pullback::{Ctx, Damping, Error};

type Optim = Kfac<f64, Workspace<f64>>;

const LAYERS: usize = 5;

fn deep() -> Problem {
    let spec = Spec {
        widths: vec![4, 6, 3, 3, 6, 4],
        activation: Activation::Tanh,
        loss: Loss::SquaredError,
        reduction: Reduction::Mean,
        cases: 60,
    };
    problem(&spec, 3)
}

fn in_turn(refresh_interval: u64) -> KfacOptions<f64> {
    KfacOptions { refresh_schedule: RefreshSchedule::InTurn, refresh_interval, ..KfacOptions::default() }
}

/// Steps; after each, `look` sees the optimizer and its report.
fn steps(
    ctx: &Ctx<f64>,
    options: KfacOptions<f64>,
    n: u64,
    mut look: impl FnMut(u64, &Optim, StepReport<f64>),
) -> Vec<f64> {
    let Problem { net, batch, mut theta } = deep();
    let mut kfac: Optim = Kfac::new(options).unwrap();
    for step in 0..n {
        let report = kfac.step(ctx, &net, &mut theta, &batch).unwrap();
        look(step, &kfac, report);
    }
    theta
}

fn staleness(kfac: &Optim) -> Vec<u64> {
    let preconditioner = kfac.preconditioner().unwrap();
    (0..LAYERS).map(|layer| preconditioner.staleness(layer).unwrap()).collect()
}

#[test]
fn an_interval_of_one_step_is_together_bit_for_bit() {
    for ctx in contexts::<f64>() {
        for damping in [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }] {
            for structure in [LayerStructure::Kronecker, LayerStructure::EigenKronecker] {
                let (mut turns, mut whole) = (Vec::new(), Vec::new());
                let options = KfacOptions { damping, structure, ..in_turn(1) };
                let a = steps(&ctx, options, 8, |_, _, report| turns.push(report));
                let options = KfacOptions { refresh_schedule: RefreshSchedule::Together, ..options };
                let b = steps(&ctx, options, 8, |_, _, report| whole.push(report));
                assert!(a == b && turns == whole, "{damping:?} {structure:?} on {}", ctx.backend().name());
            }
        }
    }
}

#[test]
fn every_layer_is_refreshed_once_in_every_interval_and_none_is_older() {
    for interval in 1..=8 {
        let mut ages: Vec<Vec<u64>> = Vec::new();
        steps(&Ctx::default(), in_turn(interval), 30, |step, kfac, report| {
            ages.push(staleness(kfac));
            let fresh = ages[step as usize].contains(&0);
            assert_eq!(report.refreshed, fresh, "{interval}: step {step} reports what it did");
            assert_eq!(report.preconditioner_damping.is_some(), fresh);
        });
        assert!(ages[..3].iter().flatten().all(|&age| age == 0), "the first three steps refresh all");
        assert!(ages.iter().flatten().all(|&age| age < interval), "{interval}: {ages:?}");
        for window in ages[3..].windows(interval as usize) {
            for layer in 0..LAYERS {
                let times = window.iter().filter(|ages| ages[layer] == 0).count();
                assert_eq!(times, 1, "{interval}: layer {layer} in {window:?}");
            }
        }
    }
}

#[test]
fn together_all_are_of_one_age() {
    let options = KfacOptions { refresh_schedule: RefreshSchedule::Together, ..in_turn(5) };
    steps(&Ctx::default(), options, 20, |step, kfac, _| {
        let age = if step < 3 {
            0
        } else if step < 5 {
            step - 2
        } else {
            step % 5
        };
        assert_eq!(staleness(kfac), [age; LAYERS], "step {step}");
    });
}

#[test]
fn no_step_has_more_than_its_share_of_the_factorizations() {
    let counting = Counting::default();
    let ctx = Ctx::new(counting.clone());
    let (mut before, mut at) = (0, Vec::new());
    steps(&ctx, in_turn(LAYERS as u64), 3 + 4 * LAYERS as u64, |_, _, _| {
        at.push(counting.factorizations() - before);
        before = counting.factorizations();
    });
    assert!(at[..3].iter().all(|&n| n == 2 * LAYERS), "all in the first steps: {at:?}");
    assert!(at[3..].iter().all(|&n| n == 2), "two factors of one layer in each step: {at:?}");
}

#[test]
fn layers_that_wait_follow_what_is_free() {
    // the eigenvalues of EKFAC take the statistics and the λ of every step, whoever is refreshed
    let options = KfacOptions { structure: LayerStructure::EigenKronecker, ..in_turn(4) };
    let options = KfacOptions { damping: KroneckerDamping::Exact, ..options };
    steps(&Ctx::default(), options, 14, |step, kfac, report| {
        let preconditioner = kfac.preconditioner().unwrap();
        let gamma = report.lambda.unwrap();
        for layer in 0..LAYERS {
            let damping = preconditioner.inverse(layer).unwrap().damping().get();
            assert!((damping / gamma - 1.0).abs() < 1e-14, "step {step}, layer {layer}: {damping} for {gamma}");
        }
    });
}

#[test]
fn it_trains_like_together() {
    let Problem { net, batch, theta } = deep();
    let ctx = Ctx::default();
    let loss = |theta: &[f64]| net.loss(&ctx, theta, &batch).unwrap();
    let turns = steps(&ctx, in_turn(5), 40, |_, _, _| {});
    let whole =
        steps(&ctx, KfacOptions { refresh_schedule: RefreshSchedule::Together, ..in_turn(5) }, 40, |_, _, _| {});
    assert_ne!(turns, whole);
    let (start, turns, whole) = (loss(&theta), loss(&turns), loss(&whole));
    assert!(start - turns > 0.9 * (start - whole), "{start} to {turns} and {whole}");
}

#[test]
fn what_needs_all_layers_at_once_is_refused() {
    let gamma = GammaRule::Search { interval: 3, omega: 0.8, max: 1.0 };
    for options in [KfacOptions { gamma, ..in_turn(5) }, KfacOptions { blocks: KfacBlocks::Tridiagonal, ..in_turn(5) }]
    {
        let refused = Optim::new(options);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "refresh_schedule", .. })));
    }
    let Problem { net, .. } = deep();
    let mut alone = KfacPreconditioner::<f64>::new(net.layout(), PreconditionerOptions::default()).unwrap();
    let ctx = Ctx::default();
    let lambda = Damping::try_from(0.1).unwrap();
    let never = alone.refresh_in_turn(&ctx, lambda, 0, 0);
    assert!(matches!(never, Err(Error::InvalidParameter { name: "interval", .. })), "{never:?}");
    let early = alone.refresh_in_turn(&ctx, lambda, 0, LAYERS as u64);
    assert!(matches!(early, Err(Error::InvalidParameter { name: "refresh", .. })), "{early:?}");
    assert_eq!((alone.staleness(0), alone.staleness(99)), (None, None));
}
