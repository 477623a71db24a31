//! Memory: the most bytes that steps hold, by the allocator, against the formula of `costs::kfac_memory`.

use pullback::Ctx;
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::Workspace;
use pullback::optim::{Kfac, KfacOptions, Optimizer, costs};

use crate::counting_allocator::peak_during;
use crate::fit::{PowerLaw, largest_half, power_law};
use crate::network::Network;
use crate::new_threads::{in_new_threads, pack};
use crate::{Failure, Settings};

const CASES: usize = 512;
/// Steps, each of the first three with a refresh: the last one holds old inverses and new ones, and all scratch.
const STEPS: usize = 3;

/// Against width, for both dampings.
pub fn memory(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let buffers = in_new_threads(1, || settings.context().map(|ctx| peak_during(|| pack(&ctx)).0))?;
    println!(
        "\nmemory: 3 layers of d x d, B = {CASES}; most MB that {STEPS} steps of K-FAC hold beside θ and the batch"
    );
    println!("left out: what products reserve once to pack their blocks in, {:.0} MB a thread\n", buffers as f64 / 1e6);
    println!("{:>9} {:>10} {:>10} {:>10} {:>8}", "width", "damping", "measured", "formula", "ratio");
    let ways = [
        ("factored", KroneckerDamping::Factored { pi: PiRule::Trace }, &[64, 128, 256, 512, 1024, 2048][..]),
        ("exact", KroneckerDamping::Exact, &[64, 128, 256, 512, 1024]),
    ];
    for (name, damping, widths) in ways {
        let mut points = Vec::new();
        for &width in settings.sizes(widths) {
            let mut network = Network::square(width, 3, CASES)?;
            let formula = costs::kfac_memory(ctx, &network.layers, CASES, damping).total();
            let measured = measured(settings, &mut network, damping)?;
            println!(
                "{width:>9} {name:>10} {:>10.2} {:>10.2} {:>8.2}",
                measured / 1e6,
                formula / 1e6,
                measured / formula
            );
            points.push((width as f64, measured, formula));
        }
        let half = largest_half(&points);
        let law =
            |y: &dyn Fn(&(f64, f64, f64)) -> f64| power_law(&half.iter().map(|p| (p.0, y(p))).collect::<Vec<_>>());
        let exponent = |law: Option<PowerLaw>| law.map_or("-".to_owned(), |l| format!("{:.2}", l.exponent));
        println!("{:>9} {name:>10} {:>10} {:>10}", "exponent", exponent(law(&|p| p.1)), exponent(law(&|p| p.2)));
    }
    println!();
    Ok(())
}

/// In threads and a context of its own, whose buffers and pool start empty.
fn measured(settings: &Settings, network: &mut Network, damping: KroneckerDamping<f32>) -> Result<f64, String> {
    let Network { net, batch, theta, .. } = network;
    in_new_threads(settings.threads, || {
        let ctx = settings.context()?;
        pack(&ctx);
        let (peak, done) = peak_during(|| -> pullback::Result<()> {
            let options = KfacOptions { damping, ..KfacOptions::default() };
            let mut optimizer: Kfac<f32, Workspace<f32>> = Kfac::new(options)?;
            (0..STEPS).try_for_each(|_| optimizer.step(&ctx, net, theta, batch).map(drop))
        });
        done.map(|()| peak as f64).map_err(|error| error.to_string())
    })
}
