//! Claim: every optimizer goes on after a save and a load as if it had never stopped, bit for bit, reports included.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/optimizers.rs"]
mod optimizers;

use optimizers::{Entry, Saved, all, problem};
use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, SparseLower};
use pullback::nn::Mlp;
use pullback::optim::checkpoint::Run;
use pullback::optim::{Objective, ParamLayout, PhaseSeconds, StepReport};
use pullback::testing::{contexts, gallery};
use pullback::{Ctx, Damping, LinearOperator, Scalar};

fn goes_on_bit_for_bit<T: Scalar>() {
    const HALF: usize = 4;
    let (net, start, batches) = problem::<T>();
    let run = Run { kind: "any", layout: net.layout() };
    let bits = |theta: &[T]| theta.iter().map(|w| w.f64().to_bits()).collect::<Vec<_>>();
    for ctx in contexts::<T>() {
        for Entry { name, make } in all::<T, Mlp<T>>(start.len()) {
            let place = format!("{name} in {} on {}", T::NAME, ctx.backend().name());
            let step = |optimizer: &mut dyn Saved<T, Mlp<T>>, theta: &mut [T], i: usize| {
                let report = optimizer.step(&ctx, &net, theta, &batches[i % 3]).unwrap();
                format!("{:?}", StepReport { seconds: PhaseSeconds::default(), ..report })
            };
            let (mut whole, mut theta) = (make(), start.clone());
            (0..HALF).for_each(|i| drop(step(&mut *whole, &mut theta, i)));
            let bytes = whole.save(&run);
            let (mut again, mut other) = (whole.load(&run, &bytes), theta.clone());
            assert_eq!(again.save(&run), bytes, "{place}: saved twice");
            assert_eq!(again.state(), whole.state(), "{place}: the state");
            for i in HALF..2 * HALF {
                let (expected, found) = (step(&mut *whole, &mut theta, i), step(&mut *again, &mut other, i));
                assert_eq!(found, expected, "{place}: the report of step {i}");
                assert!(bits(&other) == bits(&theta), "{place}: theta after step {i}");
            }
            assert!(bits(&theta) != bits(&start), "{place}: nothing moved, the law says nothing");
        }
    }
}
for_both!(goes_on_bit_for_bit);

/// What a preconditioner is made of comes back as it was, and nothing comes back that none is made of.
#[test]
fn preconditioners_are_values() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "preconditioner", layout: &layout };
    let ctx = Ctx::<f64>::reference();
    let lambda = Damping::try_from(0.5).unwrap();
    let jacobi = Jacobi::from_diagonal(vec![2.0, -1.0, 0.1], lambda).unwrap();
    let bytes = run.to_bytes::<f64, _>(&jacobi).unwrap();
    let back: Jacobi<f64> = run.from_bytes::<f64, _>(&bytes, "memory").unwrap();
    assert_eq!(back.to_dense(&ctx).unwrap(), jacobi.to_dense(&ctx).unwrap());
    assert_eq!((back.damping(), back.floored()), (lambda, 1));
    let not_finite = run.to_bytes::<f64, _>(&(vec![1.0, f64::NAN], lambda)).unwrap();
    assert!(run.from_bytes::<f64, Jacobi<f64>>(&not_finite, "memory").is_err());

    let dense = gallery::spd::<f64>(9, 30.0, 4);
    for threshold in [0.0, 0.2, 1.0] {
        let sparse = SparseLower::from_dense(dense.as_ref(), threshold).unwrap();
        let bytes = run.to_bytes::<f64, _>(&sparse).unwrap();
        assert_eq!(run.from_bytes::<f64, SparseLower<f64>>(&bytes, "memory").unwrap(), sparse);
        let factored = IncompleteCholesky::new(&sparse, lambda).unwrap();
        let bytes = run.to_bytes::<f64, _>(&factored).unwrap();
        let back: IncompleteCholesky<f64> = run.from_bytes::<f64, _>(&bytes, "memory").unwrap();
        assert_eq!(back.to_dense(&ctx).unwrap(), factored.to_dense(&ctx).unwrap());
        assert_eq!(
            (back.shift(), back.attempts(), back.scale()),
            (factored.shift(), factored.attempts(), factored.scale())
        );
    }
    for entries in [vec![(0usize, 1usize, 1.0)], vec![(usize::MAX, 0, 1.0)], vec![(3, 3, 1.0)], vec![(0, 0, f64::NAN)]]
    {
        let bytes = run.to_bytes::<f64, _>(&entries).unwrap();
        assert!(run.from_bytes::<f64, SparseLower<f64>>(&bytes, "memory").is_err(), "{entries:?}");
    }
    let one = SparseLower::from_entries(1, [(0, 0, 1.0)]).unwrap();
    for (scale, pivot) in [(vec![], 1.0), (vec![0.0], 1.0), (vec![f64::NAN], 1.0), (vec![1.0], 0.0)] {
        let factor = SparseLower::from_entries(1, [(0, 0, pivot)]).unwrap();
        let bytes = run.to_bytes::<f64, _>(&(factor, scale, lambda, 0.0, 1usize)).unwrap();
        assert!(run.from_bytes::<f64, IncompleteCholesky<f64>>(&bytes, "memory").is_err());
    }
    let bytes = run.to_bytes::<f64, _>(&(one, vec![1.0], lambda, 0.0, 1usize)).unwrap();
    assert!(run.from_bytes::<f64, IncompleteCholesky<f64>>(&bytes, "memory").is_ok());
}
