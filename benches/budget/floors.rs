//! Exact against factored damping where λ may fall to a floor and no further: the losses behind the floor under which a
//! budget takes no eigenbases (docs/damping.md).

use pullback::Ctx;
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::Workspace;
use pullback::nn::data::{Minibatches, Partial};
use pullback::optim::{DampingAdaptation, Kfac, KfacOptions, KfacPreconditioner, Objective, Optimizer};

use crate::Failure;
use crate::networks::{DAMPING, Network};

const FLOORS: [f64; 6] = [1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2];
const UPDATE_INTERVAL: u64 = 2;
const BATCHES: u64 = 1500;

type Optim = Kfac<f32, Workspace<f32>>;

/// Loss and mean eigenvalue at the end.
fn train(
    ctx: &Ctx<f32>,
    network: &Network,
    damping: KroneckerDamping<f32>,
    min: f64,
    seed: u64,
) -> Result<(f64, f64), Failure> {
    let mut options = KfacOptions {
        lambda: DAMPING,
        damping,
        update_interval: UPDATE_INTERVAL,
        refresh_interval: 1,
        seed,
        ..KfacOptions::default()
    };
    options.adaptation = options.adaptation.map(|adaptation| DampingAdaptation { min, ..adaptation });
    let mut kfac: Optim = Kfac::new(options)?;
    let mut theta = network.net.init(network.init, seed);
    let mut order = Minibatches::new(network.train.len(), network.batch, seed, Partial::Drop)?;
    let mut batch = network.first_case()?;
    for _ in 0..BATCHES {
        network.select(&mut batch, order.next_batch())?;
        kfac.step(ctx, &network.net, &mut theta, &batch)?;
    }
    let mean = kfac.preconditioner().and_then(KfacPreconditioner::mean_eigenvalue);
    Ok((network.loss(ctx, &theta)?, mean.unwrap_or(f64::NAN)))
}

/// A table of losses by floor.
pub fn markdown(ctx: &Ctx<f32>, network: &Network, seeds: std::ops::RangeInclusive<u64>) -> Result<String, Failure> {
    let count = seeds.clone().count();
    let mut text = format!(
        "**{}**, B = {}, {BATCHES} batches, {UPDATE_INTERVAL} an update, statistics and refresh at every update, {count} seeds\n\n\
         | λ at least | over the mean eigenvalue | exact: median (least to most) | factored |\n|---|---|---|---|\n",
        network.name.name(),
        network.batch,
    );
    for floor in FLOORS {
        let mut means = Vec::new();
        let mut losses = |damping| -> Result<String, Failure> {
            let mut losses = Vec::new();
            for seed in seeds.clone() {
                let (loss, mean) = train(ctx, network, damping, floor, seed)?;
                losses.push(loss);
                means.push(mean);
            }
            losses.sort_by(f64::total_cmp);
            Ok(format!("{:.2} ({:.2} to {:.2})", losses[count / 2], losses[0], losses[count - 1]))
        };
        let exact = losses(KroneckerDamping::Exact)?;
        let factored = losses(KroneckerDamping::Factored { pi: PiRule::Trace })?;
        means.sort_by(f64::total_cmp);
        let ratio = (floor + f64::from(network.net.l2())) / means[means.len() / 2];
        text += &format!("| {floor:.0e} | {ratio:.0e} | {exact} | {factored} |\n");
    }
    Ok(text)
}
