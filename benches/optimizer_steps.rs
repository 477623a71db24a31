//! Question: what do the first steps of each optimizer cost on the same network and cases, and what share of them is
//! gradients?
//!
//! Three steps from the same start, on the networks of `train` that suit the whole family: the diabetes regression
//! 10-20-1 on its 354 cases, and an autoencoder 64-30-10-30-64 of 256 digits (without those that do not fit). The passes of
//! the three steps stand in the name of each line.

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use pullback::nn::data::{diabetes, digits};
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::Passes;
use pullback::{Ctx, Result};

type Failure = Box<dyn std::error::Error>;

#[allow(dead_code)] // the example uses more of it
#[path = "../examples/train/args.rs"]
mod args;
#[allow(dead_code)]
#[path = "../examples/train/defaults.rs"]
mod defaults;
#[allow(dead_code)]
#[path = "../examples/train/kinds.rs"]
mod kinds;
#[allow(dead_code)]
#[path = "../examples/train/racers.rs"]
mod racers;

use args::Task;
use kinds::Kind;
use racers::{Racer, Tuned, racer};

type T = f32;
const STEPS: usize = 3;

fn tuned(task: Task) -> Tuned {
    Tuned {
        sgd: defaults::sgd(task, 64),
        adam: defaults::adam(task, 64),
        natural_gradient: defaults::NATURAL_GRADIENT,
        damping: defaults::DAMPING,
        hf_damping: defaults::HF_DAMPING,
        fixed_damping: defaults::FIXED_DAMPING,
        budget: None,
        seed: 1,
    }
}

/// Name, task, network and cases.
type Problem = (&'static str, Task, Mlp<T>, Batch<T>);

fn problems() -> Result<[Problem; 2]> {
    let set = diabetes::load::<T>()?.split(0.2, 1)?.0;
    let set = set.standardized(&set.standardization()?)?;
    let regression =
        Mlp::<T>::builder(10).layer(20, Activation::Tanh).layer(1, Activation::Identity).l2(defaults::L2 as T);
    let regression = regression.build()?;
    let targets = set.target_matrix().unwrap_or_else(|| set.inputs());
    let patients = Batch::new(set.inputs(), targets)?;
    let images = digits::load::<T>()?;
    let images = Batch::autoencoder(images.inputs().submatrix(0, 0, 64, 256)?)?;
    let autoencoder = Mlp::<T>::autoencoder(&[64, 30, 10], Activation::Tanh).l2(defaults::L2 as T).build()?;
    Ok([
        ("regression 10-20-1", Task::Regress, regression, patients),
        ("autoencoder 64-30-10", Task::Autoencoder, autoencoder, images),
    ])
}

fn steps(ctx: &Ctx<T>, racer: &mut Racer<T>, net: &Mlp<T>, theta: &mut [T], batch: &Batch<T>) -> Result<Passes> {
    let mut passes = Passes::default();
    for _ in 0..STEPS {
        passes += racer.step(ctx, net, theta, batch)?.passes;
    }
    Ok(passes)
}

fn all(criterion: &mut Criterion) {
    let ctx = Ctx::<T>::default().with_threads(1);
    for (name, task, net, batch) in problems().expect("bundled data") {
        let (tuned, start) = (tuned(task), net.init(Init::GlorotUniform, 1));
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        for &kind in Kind::ALL {
            if racers::misfit(kind, &net, batch.cases()).is_some() {
                continue;
            }
            let fresh = || (racer(kind, &tuned, &ctx, &net, &start, &batch).expect("fits"), start.clone());
            let (mut one, mut theta) = fresh();
            let passes = steps(&ctx, &mut one, &net, &mut theta, &batch).expect("finite");
            group.bench_function(BenchmarkId::new(kind.name(), passes.total()), |bench| {
                bench.iter_batched(
                    fresh,
                    |(mut one, mut theta)| steps(&ctx, &mut one, &net, &mut theta, &batch),
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
