//! Cost against depth, batch, classes and threads; for width see `paying`.

use pullback::Ctx;

use crate::network::{EXACT_STATISTICS, GRADIENT, INVERSES, Network, Part, STATISTICS, UPDATE};
use crate::sweep::{Point, measure, milliseconds, print};
use crate::{Failure, Settings};

const STEP: [Part; 4] = [GRADIENT, STATISTICS, INVERSES, UPDATE];
const WIDTH: usize = 256;

/// So many layers of one width.
pub fn depth(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let (cases, depths) = (512, settings.sizes(&[2, 4, 8, 16, 32]));
    println!("\ndepth: layers of {WIDTH} x {WIDTH}, B = {cases}; ms\n");
    sweep(settings, ctx, "depth", depths, &STEP, |depth| Network::square(WIDTH, depth, cases))
}

/// Cases.
pub fn batch(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let batches = settings.sizes(&[32, 64, 128, 256, 512, 1024, 2048, 4096]);
    println!("\nbatch: 3 layers of {WIDTH} x {WIDTH}; ms\n");
    sweep(settings, ctx, "B", batches, &STEP, |cases| Network::square(WIDTH, 3, cases))
}

/// Outputs, by which exact statistics multiply.
pub fn classes(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let (cases, classes) = (128, settings.sizes(&[2, 5, 10, 20, 50, 100, 200, 500, 1000]));
    println!(
        "\nclasses: {WIDTH}-{WIDTH}-{WIDTH}-classes, B = {cases}; statistics of sampled targets, and of all outputs; ms\n"
    );
    let parts = [GRADIENT, STATISTICS, EXACT_STATISTICS, INVERSES, UPDATE];
    sweep(settings, ctx, "classes", classes, &parts, |classes| Network::classifier(WIDTH, classes, cases))
}

fn sweep(
    settings: &Settings,
    ctx: &Ctx<f32>,
    variable: &str,
    values: &[usize],
    parts: &[Part],
    network: impl Fn(usize) -> pullback::Result<Network>,
) -> Result<(), Failure> {
    let point = |&x: &usize| measure(ctx, x, &network(x)?, parts, |_| true, settings.effort());
    print(variable, parts, &values.iter().map(point).collect::<pullback::Result<Vec<_>>>()?);
    Ok(())
}

/// Threads: no power law, but how much faster.
pub fn threads(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let (width, cases) = (if settings.quick { 128 } else { 1024 }, 512);
    println!("\nthreads: 3 layers of {width} x {width}, B = {cases}; ms, and times as fast as one thread\n");
    let network = Network::square(width, 3, cases)?;
    let all: Vec<Point> = (1..=crate::support::processors())
        .map(|t| measure(&ctx.with_threads(t), t, &network, &STEP, |_| true, settings.effort()))
        .collect::<pullback::Result<_>>()?;
    print!("{:>9}", "threads");
    STEP.iter().for_each(|part| print!(" {:>14}", part.title));
    println!();
    for point in &all {
        print!("{:>9}", point.x);
        for part in 0..STEP.len() {
            let faster = all[0].seconds(part) / point.seconds(part);
            print!(" {:>14}", format!("{} {faster:.2}x", milliseconds(point.seconds(part))));
        }
        println!();
    }
    println!();
    Ok(())
}
