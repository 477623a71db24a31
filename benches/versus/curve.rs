//! Training on MNIST for a number of seconds, from the θ and through the batches that everybody uses.

use std::time::Instant;

use pullback::nn::data::idx;
use pullback::nn::{Activation, Batch, Mlp, Workspace};
use pullback::optim::{Kfac, KfacOptions, Optimizer};
use pullback::stats::Decay;
use serde_json::{Value, json};

use crate::inputs::{BATCH, WIDTHS, read_order, read_start, save_parameters};
use crate::{Failure, Settings};

/// η of the L2 term, part of the training loss of every program.
const L2: f32 = 1e-5;

/// ε of the statistics: at this many steps younger ones serve better than the default's.
const DECAY: f64 = 0.9;

/// Trains with the defaults, this initial λ, [`DECAY`] and the gradients of so many batches in an update, and saves θ. Every
/// step counts, the first one too.
pub fn train(settings: &Settings, seconds: f64, damping: f64, update_interval: u64) -> Result<Value, Failure> {
    let folder = settings.mnist.as_ref().ok_or("no --mnist FOLDER")?;
    let (data, _) = idx::read_directory::<f32>(folder)?;
    let ctx = settings.context::<f32>()?;
    let net: Mlp<f32> = Mlp::autoencoder(&WIDTHS, Activation::Tanh).l2(L2).build()?;
    let mut theta = read_start(&settings.folder)?;
    let order = read_order(&settings.folder)?;
    let options = KfacOptions { lambda: damping, decay: Decay::new(DECAY)?, update_interval, ..KfacOptions::default() };
    let mut optimizer: Kfac<f32, Workspace<f32>> = Kfac::new(options)?;
    let mut batch = Batch::autoencoder(data.inputs().submatrix(0, 0, WIDTHS[0], BATCH)?)?;
    let start = Instant::now();
    let mut batches = 0;
    for cases in order.chunks_exact(BATCH) {
        if start.elapsed().as_secs_f64() >= seconds {
            break;
        }
        batch.select(data.inputs(), None, cases)?;
        optimizer.step(&ctx, &net, &mut theta, &batch)?;
        batches += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let file = format!("pullback_{}_{damping}_{update_interval}.f32", settings.backend);
    save_parameters(&settings.folder, &file, &theta)?;
    Ok(json!({ "batches": batches, "seconds": seconds, "parameters": file }))
}
