//! The autoencoder on one batch: gradient, Gauss-Newton product, steps of K-FAC.

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Batch, Mlp, Workspace};
use pullback::optim::{
    DampingAdaptation, Kfac, KfacOptions, LayeredObjective, ModelDamping, Objective, Optimizer, Rejection, StepRule,
};
use pullback::{Ctx, Error};

use crate::inputs::{network, read_images, read_start};
use crate::task::{Task, Work, norm, repeatable};
use crate::{Failure, Settings};

/// The task of a row's words.
pub fn task(settings: &Settings, words: &[&str]) -> Result<Option<Box<dyn Task>>, Failure> {
    let ctx = settings.context::<f32>()?;
    let net = network()?;
    let batch = Batch::autoencoder(read_images(&settings.folder)?.as_ref())?;
    let theta = read_start(&settings.folder)?;
    match *words {
        ["gradient"] => Ok(Some(repeatable(
            vec![0.0; theta.len()],
            |gradient| norm(gradient),
            move |gradient: &mut Vec<f32>| net.loss_grad(&ctx, &theta, &batch, gradient).map(drop),
        ))),
        ["gauss_newton"] => Ok(Some(product(ctx, net, batch, theta))),
        ["kfac", kind, every] => Ok(Some(kfac(ctx, net, batch, theta, kind, every.parse()?)?)),
        _ => Ok(None),
    }
}

/// G v at θ, its forward pass included, as a function of (θ, v).
fn product(ctx: Ctx<f32>, net: Mlp<f32>, batch: Batch<f32>, theta: Vec<f32>) -> Box<dyn Task> {
    let v: Vec<f32> = theta.iter().map(|&w| 0.1 * w + 0.01).collect();
    let (workspace, out): (Workspace<f32>, _) = (net.workspace(), vec![0.0; theta.len()]);
    repeatable(
        (workspace, out),
        |(_, out)| norm(out),
        move |(workspace, out)| {
            net.forward(&ctx, &theta, &batch, workspace)?;
            net.ggn_product(&ctx, &theta, &batch, workspace, &v, out)
        },
    )
}

/// The settings that the peers have too: λ and the learning rate are fixed, or everything adapts. No step is taken back,
/// as no peer does that.
fn options(kind: &str, every: usize) -> KfacOptions<f32> {
    let fixed = StepRule::Fixed { learning_rate: 1e-3, momentum: 0.9, norm_constraint: None };
    let base = KfacOptions {
        lambda: 10.0,
        adaptation: None,
        step: fixed,
        rejection: Rejection::Never,
        refresh_interval: every as u64,
        ..KfacOptions::default()
    };
    let (omega, model) = (0.95f64.powi(5), ModelDamping::Included);
    match kind {
        "adaptive" => KfacOptions {
            lambda: 150.0,
            adaptation: Some(DampingAdaptation { interval: 5, omega, min: 1e-5, max: 1e3, model }),
            step: StepRule::QuadraticModel { momentum: true },
            ..base
        },
        "exact" => KfacOptions { damping: KroneckerDamping::Exact, ..base },
        _ => KfacOptions { damping: KroneckerDamping::Factored { pi: PiRule::Trace }, ..base },
    }
}

/// One whole period of refreshes a run, at least five steps: seconds a step.
fn kfac(
    ctx: Ctx<f32>,
    net: Mlp<f32>,
    batch: Batch<f32>,
    theta: Vec<f32>,
    kind: &str,
    every: usize,
) -> Result<Box<dyn Task>, Failure> {
    let steps = every.max(5);
    let mut optimizer: Kfac<f32, Workspace<f32>> = Kfac::new(options(kind, every))?;
    // the first steps refresh always
    let mut theta = theta;
    for _ in 0..steps {
        optimizer.step(&ctx, &net, &mut theta, &batch)?;
    }
    Ok(Box::new(Work {
        state: (optimizer, theta),
        restore: |_: &mut (Kfac<f32, Workspace<f32>>, Vec<f32>)| Ok(()),
        run: move |(optimizer, theta): &mut (Kfac<f32, Workspace<f32>>, Vec<f32>)| {
            (0..steps).try_for_each(|_| optimizer.step(&ctx, &net, theta, &batch).map(drop))?;
            let finite = theta.iter().all(|w| w.is_finite());
            if finite { Ok(()) } else { Err(Error::NotFinite { op: "theta", layer: None }) }
        },
        steps,
        check: |_| None,
    }))
}
