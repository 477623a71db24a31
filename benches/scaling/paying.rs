//! Cost against width, and up to which width a step of K-FAC pays.
//!
//! A step pays while it costs no more gradients than it is worth; that is measured, too: by the steps of the best
//! first-order optimizer that reach the loss of some steps of K-FAC on the digits. Both with the settings of `train`.

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::data::{Minibatches, Partial, digits};
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::costs::{self, KfacCosts, LayerShape};
use pullback::optim::{FactorLimit, LayerStructure, Objective};
use pullback::{Ctx, Mat};

use crate::args::Task;
use crate::fit::{Reach, reach};
use crate::kinds::Kind;
use crate::network::{DIAGONAL, EIGENBASES, GRADIENT, INVERSES, Network, Part, STATISTICS, UPDATE};
use crate::racers::{Tuned, racer};
use crate::sweep::{Point, measure, print};
use crate::{Failure, Settings, defaults};

const CASES: usize = 512;
const DEPTH: usize = 3;
const PARTS: [Part; 6] = [GRADIENT, STATISTICS, INVERSES, UPDATE, EIGENBASES, DIAGONAL];
/// Beyond, eigenbases take minutes.
const WIDEST_EIGENBASES: usize = 2048;
/// Steps between refreshes.
const INTERVALS: [usize; 3] = [1, 5, 20];
const FACTORED: KroneckerDamping<f32> = KroneckerDamping::Factored { pi: PiRule::Trace };

/// Both tables and the verdict.
pub fn width(settings: &Settings, ctx: &Ctx<f32>) -> Result<(), Failure> {
    let widths = settings.sizes(&[64, 128, 256, 512, 1024, 2048, 4096]);
    println!("\nwidth: {DEPTH} layers of d x d, B = {CASES}; ms, median and half the interquartile range");
    println!("diagonal: all that the fallback adds to a gradient; eigenbases left out above {WIDEST_EIGENBASES}\n");
    let mut points = Vec::new();
    for &width in widths {
        let network = Network::square(width, DEPTH, CASES)?;
        let included = |part: &Part| part.title != EIGENBASES.title || width <= WIDEST_EIGENBASES;
        points.push(measure(ctx, width, &network, &PARTS, included, settings.effort())?);
    }
    print("width", &PARTS, &points);
    paying(settings, ctx, &points)
}

/// A layer of the sweep.
fn layer(width: usize) -> LayerShape {
    LayerShape { d_in: width + 1, d_out: width }
}

fn structure(width: usize) -> pullback::Result<LayerStructure> {
    LayerStructure::default().resolve(layer(width), FACTORED, FactorLimit::default())
}

/// Seconds of the phases of K-FAC, from the columns of the table.
fn seconds(point: &Point) -> KfacCosts {
    let [gradient, statistics, refresh, update] = [0, 1, 2, 3].map(|part| point.seconds(part));
    KfacCosts { gradient, statistics, refresh, update }
}

/// Gradients that a step costs where the default limit has taken a diagonal.
fn fallback(point: &Point) -> f64 {
    1.0 + point.seconds(5) / point.seconds(0)
}

fn paying(settings: &Settings, ctx: &Ctx<f32>, points: &[Point]) -> Result<(), Failure> {
    println!("a step of K-FAC in gradients, statistics taken every step, by steps between refreshes; of the fallback;");
    println!("what `LayerStructure::Auto` takes within the default `FactorLimit`, and the cost of that every 5\n");
    let titles = INTERVALS.map(|n| format!("every {n}"));
    println!(
        "{:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "width", titles[0], titles[1], titles[2], "fallback", "Auto", "costs"
    );
    for point in points {
        let kfac = INTERVALS.map(|n| seconds(point).overhead(1, n));
        let (name, cost) = match structure(point.x)? {
            LayerStructure::Kronecker => ("A ⊗ S", kfac[1]),
            _ => ("diagonal", fallback(point)),
        };
        print!("{:>9}", point.x);
        kfac.iter().for_each(|cost| print!(" {cost:>9.2}"));
        println!(" {:>9.2} {name:>10} {cost:>9.2}", fallback(point));
    }
    let worth = Worth::measure(settings, ctx)?;
    println!("\n{}", worth.sentence());
    let widest = points.last().ok_or("no width was measured")?;
    for interval in INTERVALS {
        let costs: Vec<(f64, f64)> = points.iter().map(|p| (p.x as f64, seconds(p).overhead(1, interval))).collect();
        let verdict = match reach(&costs, worth.gradients()) {
            Reach::Nowhere => "at none of these widths".to_owned(),
            Reach::UpTo(width) => format!("up to width {width:.0}"),
            Reach::Everywhere => format!("at every width up to {}", widest.x),
        };
        println!("At that price, refreshed every {interval}, it pays {verdict} (B = {CASES}).");
    }
    let first = first_diagonal()?;
    let layers = [layer(first); DEPTH];
    let flops = KfacCosts {
        gradient: costs::gradient(&layers, CASES),
        statistics: costs::statistics(&layers, CASES, 1),
        refresh: layers.iter().map(|l| l.inverses()).sum(),
        update: layers.iter().map(|l| l.update_by_inverses()).sum(),
    };
    println!(
        "The default limit keeps A ⊗ S below width {first}, where such a step would cost {:.1} gradients by flops, and \
         takes a diagonal from there on: {:.2} gradients at width {}.\n",
        flops.overhead(1, 5),
        fallback(widest),
        widest.x
    );
    Ok(())
}

/// The least width of square layers at which the default limit takes a diagonal.
fn first_diagonal() -> pullback::Result<usize> {
    let (mut within, mut beyond) = (1usize, 1usize << 20);
    while beyond - within > 1 {
        let middle = within.midpoint(beyond);
        if structure(middle)? == LayerStructure::Kronecker {
            within = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(beyond)
}

/// What steps of K-FAC do against those of first order, on the digits.
struct Worth {
    kfac_steps: usize,
    loss: f64,
    /// Name and steps to the same loss; `None` where that was not reached.
    rival: Option<(&'static str, usize)>,
    most: usize,
}

impl Worth {
    /// The default network of `train`, from the same start and through the same batches; losses of all training cases.
    fn measure(settings: &Settings, ctx: &Ctx<f32>) -> Result<Self, Failure> {
        let (kfac_steps, most) = if settings.quick { (5, 100) } else { (100, 10_000) };
        let data = digits::load::<f32>()?.into_reconstruction().split(0.2, 1)?.0;
        let net: Mlp<f32> =
            Mlp::autoencoder(&[64, 200, 100, 50, 10], Activation::Tanh).l2(defaults::L2 as f32).build()?;
        let problem = Problem { start: net.init(Init::sparse(), 1), net, inputs: data.inputs().to_owned() };
        let loss = problem.train(ctx, Kind::Kfac, kfac_steps, f64::NEG_INFINITY)?.1;
        let rivals = [Kind::Sgd, Kind::Adam].map(|kind| (kind.name(), problem.train(ctx, kind, most, loss)));
        let mut rival = None;
        for (name, run) in rivals {
            let (steps, reached) = run?;
            if reached <= loss && rival.is_none_or(|(_, best)| steps < best) {
                rival = Some((name, steps));
            }
        }
        Ok(Self { kfac_steps, loss, rival, most })
    }

    fn gradients(&self) -> f64 {
        self.rival.map_or(self.most, |(_, steps)| steps) as f64 / self.kfac_steps as f64
    }

    fn sentence(&self) -> String {
        let Self { kfac_steps, loss, most, .. } = self;
        let rival = match self.rival {
            Some((name, steps)) => format!("takes {name}, the faster of sgd and adam, {steps} steps: a step is worth"),
            None => format!("{most} steps of sgd or adam do not reach: a step is worth at least"),
        };
        let worth = self.gradients();
        format!(
            "On the digits {kfac_steps} steps of K-FAC come to a training loss of {loss:.2}, which {rival} {worth:.1} gradients."
        )
    }
}

struct Problem {
    net: Mlp<f32>,
    start: Vec<f32>,
    inputs: Mat<f32>,
}

impl Problem {
    /// Steps until the loss of all cases, looked at every few steps, is at most `until`; and that loss.
    fn train(&self, ctx: &Ctx<f32>, kind: Kind, most: usize, until: f64) -> Result<(usize, f64), Failure> {
        const LOOK: usize = 10;
        let Self { net, start, inputs } = self;
        let (all, mut batch) = (Batch::autoencoder(inputs.as_ref())?, Batch::autoencoder(inputs.as_ref())?);
        let mut batches = Minibatches::new(inputs.ncols(), defaults::batch(inputs.ncols()), 1, Partial::Drop)?;
        let (mut theta, mut one) = (start.clone(), racer(kind, &tuned(), ctx, net, start, &all)?);
        for step in 1..=most {
            batch.select(inputs.as_ref(), None, batches.next_batch())?;
            one.step(ctx, net, &mut theta, &batch)?;
            if step == most || step % LOOK == 0 {
                let loss = f64::from(net.loss(ctx, &theta, &all)?);
                if step == most || loss <= until {
                    return Ok((step, loss));
                }
            }
        }
        Err("no step was asked for".into())
    }
}

/// The defaults of `train` on the digits.
fn tuned() -> Tuned {
    Tuned {
        sgd: defaults::sgd(Task::Autoencoder, 64),
        adam: defaults::adam(Task::Autoencoder, 64),
        natural_gradient: defaults::NATURAL_GRADIENT,
        damping: defaults::DAMPING,
        hf_damping: defaults::HF_DAMPING,
        budget: None,
        fixed_damping: defaults::FIXED_DAMPING,
        seed: 1,
    }
}
