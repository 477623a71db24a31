//! The law of checkpoints: k steps, a file, k steps more are 2k steps, bit for bit, reports included.

#![allow(dead_code)] // each test file uses its part

use pullback::optim::checkpoint::Run;
use pullback::optim::{Objective, Optimizer, PhaseSeconds, StepReport};
use pullback::{Ctx, Scalar};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Steps along the batches, which are taken in turn from `from` on; gives what each step reported, without its times.
fn steps<T: Scalar, O: Objective<T>, P: Optimizer<T, O>>(
    ctx: &Ctx<T>,
    optimizer: &mut P,
    objective: &O,
    theta: &mut [T],
    batches: &[O::Batch],
    range: std::ops::Range<usize>,
) -> Vec<String>
where
    O::Batch: Sized,
{
    let step = |i: usize| {
        let report = optimizer.step(ctx, objective, theta, &batches[i % batches.len()]).unwrap();
        // Debug tells every two floats apart, and a NaN from none
        format!("{:?}", StepReport { seconds: PhaseSeconds::default(), ..report })
    };
    range.map(step).collect()
}

/// Asserts the law for the optimizer that `make` builds, on every backend.
pub fn resumes_bitwise<T: Scalar, O: Objective<T>, P: Optimizer<T, O> + Serialize + DeserializeOwned>(
    name: &str,
    make: impl Fn() -> P,
    objective: &O,
    start: &[T],
    batches: &[O::Batch],
    k: usize,
) where
    O::Batch: Sized,
{
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    for ctx in &pullback::testing::contexts::<T>() {
        let (mut whole, mut theta) = (make(), start.to_vec());
        let expected = steps(ctx, &mut whole, objective, &mut theta, batches, 0..2 * k);

        let (mut first, mut half) = (make(), start.to_vec());
        let mut found = steps(ctx, &mut first, objective, &mut half, batches, 0..k);
        let run = Run { kind: name, layout: objective.layout() };
        run.save::<T, _>(&path, &(&first, &half)).unwrap();
        drop((first, half));
        let (mut second, mut half): (P, Vec<T>) = run.load::<T, _>(&path).unwrap();
        found.extend(steps(ctx, &mut second, objective, &mut half, batches, k..2 * k));

        let place = format!("{name} in {} on {}", T::NAME, ctx.backend().name());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "{place}: the report of step {i}");
        }
        let bits = |theta: &[T]| theta.iter().map(|w| w.f64().to_bits()).collect::<Vec<_>>();
        assert!(bits(&half) == bits(&theta), "{place}: theta differs");
        assert!(bits(&theta) != bits(start), "{place}: nothing moved, the law says nothing");
    }
}
