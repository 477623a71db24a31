//! Claim: what a step reports is what was asked of the network, pass by pass, for every optimizer; and the norms that it
//! reports are those of the gradient and of the step.
#![cfg(feature = "nn")]

#[path = "common/counted.rs"]
mod counted;
#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/optimizers.rs"]
mod optimizers;

use counted::Counted;
use optimizers::{Saved, all};
use pullback::nn::{Activation, Batch, Init, Loss, Mlp};
use pullback::optim::Objective;
use pullback::testing::{gallery, tolerance};
use pullback::{Ctx, Mat, Scalar};

/// A network 4-5-3 with an L2 term or without, two batches; targets are a distribution.
fn problem<T: Scalar>(loss: Loss, l2: f64) -> (Mlp<T>, Vec<T>, Vec<Batch<T>>) {
    let builder = Mlp::builder(4).layer(5, Activation::Tanh).layer(3, Activation::Identity);
    let net = builder.loss(loss).l2(T::of(l2)).build().unwrap();
    let theta = net.init(Init::GlorotUniform, 3);
    let batch = |seed| {
        let x: Mat<T> = gallery::uniform(4, 12, seed);
        let t: Mat<T> = Mat::from_fn(3, 12, |i, j| T::of(f64::from(u8::from((j + seed as usize) % 3 == i))));
        net.batch(x.as_ref(), t.as_ref()).unwrap()
    };
    let batches = vec![batch(1), batch(2)];
    (net, theta, batches)
}

fn length<T: Scalar>(x: impl Iterator<Item = T>) -> f64 {
    x.map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

/// What is wrong with seven steps of an optimizer.
fn faults<T: Scalar>(
    ctx: &Ctx<T>,
    optimizer: &mut dyn Saved<T, Counted<T>>,
    counted: &Counted<T>,
    start: &[T],
    batches: &[Batch<T>],
) -> Vec<String> {
    let (mut theta, mut faults) = (start.to_vec(), Vec::new());
    counted.take();
    for step in 0..7 {
        let (before, batch) = (theta.clone(), &batches[step % 2]);
        let mut gradient = vec![T::ZERO; theta.len()];
        counted.net.loss_grad(ctx, &theta, batch, &mut gradient).unwrap();
        let mut fault = |what: String| faults.push(format!("step {step}: {what}"));
        let report = match optimizer.step(ctx, counted, &mut theta, batch) {
            Ok(report) => report,
            Err(error) => {
                fault(error.to_string());
                break;
            }
        };
        let done = counted.take();
        if report.passes != done {
            fault(format!("reports {:?}, {done:?} were made", report.passes));
        }
        let mut near = |name, said: Option<T>, found: f64, scale: f64| {
            let limit = tolerance::<T>(theta.len(), 4.0) * scale;
            if !said.is_some_and(|said| (said.f64() - found).abs() <= limit) {
                fault(format!("{name} {said:?}, found {found}"));
            }
        };
        let size = length(gradient.iter().copied());
        near("gradient norm", report.gradient_norm, size, size);
        let moved = length(theta.iter().zip(&before).map(|(&w, &old)| w - old));
        // the step of one that was rejected is that of the trial, or none
        let said = if report.rejected { Some(T::ZERO) } else { report.step_norm };
        near("step norm", said, moved, length(theta.iter().copied()));
    }
    faults
}

fn reports_say_what_was_done<T: Scalar>() {
    let (ctx, mut found) = (Ctx::<T>::reference(), Vec::new());
    for (loss, l2) in [(Loss::SquaredError, 0.0), (Loss::SoftmaxCrossEntropy, 0.01)] {
        let (net, start, batches) = problem::<T>(loss, l2);
        let counted = Counted::new(net);
        for entry in all::<T, Counted<T>>(start.len()) {
            let faults = faults(&ctx, &mut *(entry.make)(), &counted, &start, &batches);
            found.extend(faults.first().map(|first| format!("{}, {loss:?}, {}: {first}", entry.name, T::NAME)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
for_both!(reports_say_what_was_done);
