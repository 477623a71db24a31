//! K-FAC steps on a 10-20-1 network: what they take beyond their arithmetic.

use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{Kfac, KfacOptions, Objective, Optimizer, StepRule};
use pullback::testing::{contexts, gallery};
use pullback::{Ctx, Mat, Result, Scalar};

use crate::arithmetic::Arithmetic;
use crate::turns::Turns;

/// What a step does beside gradient, statistics and preconditioning.
#[derive(Clone, Copy)]
struct Kind {
    cases: usize,
    refresh: bool,
    with_model: bool,
}

/// Default options but for what a row is about: a refresh in every step or in none, α and μ by the model or fixed.
fn options<T: Scalar>(kind: Kind) -> KfacOptions<T> {
    let fixed = StepRule::Fixed { learning_rate: 1e-3, momentum: 0.9, norm_constraint: None };
    let defaults = KfacOptions::default();
    KfacOptions {
        adaptation: None,
        refresh_interval: if kind.refresh { 1 } else { u64::MAX },
        step: if kind.with_model { defaults.step } else { fixed },
        ..defaults
    }
}

fn row<T: Scalar>(turns: &Turns, ctx: &Ctx<T>, kind: Kind) -> Result<()> {
    let Kind { cases, refresh, with_model } = kind;
    let net = Mlp::<T>::builder(10).layer(20, Activation::Tanh).layer(1, Activation::Identity).build()?;
    let (x, t) = (gallery::uniform::<T>(10, cases, 1), gallery::uniform::<T>(1, cases, 2));
    let batch = Batch::new(x.as_ref(), t.as_ref())?;
    let start = net.init(Init::GlorotUniform, 3);
    let mut theta = start.clone();
    let mut weights = [Mat::default(), Mat::default()];
    for (weights, block) in weights.iter_mut().zip(net.layout().blocks()) {
        *weights = block.view(&theta)?.to_owned();
    }
    let mut kfac: Kfac<T, Workspace<T>> = Kfac::new(options(kind))?;
    // the first three steps refresh always
    for _ in 0..3 {
        kfac.step(ctx, &net, &mut theta, &batch)?;
    }
    let mut arithmetic = Arithmetic::new(batch.inputs().to_owned(), t, weights);
    let mut sample = 0;
    // every step from the same weights: a run would converge, and have other steps at the end than at its beginning
    let mut step = || {
        theta.copy_from_slice(&start);
        kfac.step(ctx, &net, &mut theta, &batch).map(drop)
    };
    let medians = turns.time(&mut step, &mut || {
        sample += 1;
        arithmetic.step(ctx, refresh, with_model, sample)
    })?;
    let (ours, direct, overhead) = (1e6 * medians.ours, 1e6 * medians.direct, 1e6 * medians.difference);
    println!(
        "{:<9} {:<4} {cases:>5}  {:<8} {:<6} {ours:>8.2} {direct:>11.2} {overhead:>9.2}",
        ctx.backend().name(),
        T::NAME,
        if refresh { "refresh" } else { "plain" },
        if with_model { "model" } else { "fixed" },
    );
    Ok(())
}

fn rows<T: Scalar>(turns: &Turns) -> Result<()> {
    for ctx in contexts::<T>() {
        for cases in [1, 32, 354] {
            for (refresh, with_model) in [(false, false), (false, true), (true, false), (true, true)] {
                row(turns, &ctx, Kind { cases, refresh, with_model })?;
            }
        }
    }
    Ok(())
}

/// Prints every backend, scalar and kind of step.
pub fn table(turns: &Turns) -> Result<()> {
    println!("K-FAC steps on 10-20-1, one thread: µs a step\n");
    println!(
        "{:<9} {:<4} {:>5}  {:<8} {:<6} {:>8} {:>11} {:>9}",
        "backend", "type", "cases", "step", "α, μ", "ours", "arithmetic", "overhead"
    );
    rows::<f32>(turns)?;
    rows::<f64>(turns)
}
