//! Faulty moving averages; the off-by-one count is the classic.

use super::*;
use pullback::stats::Decay;
use pullback::testing::average;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// ε_k = min(1 - 1/(k+1), ε): starts as if there had been a zero before.
    CountsFromOne,
    /// ε from the first update on.
    NoBurnIn,
    ForgetsTooFast,
    WeightsBelowOne,
    Jitters,
}

fn report(fault: Fault) -> Report {
    let calls = Arc::new(Calls::default());
    average::check(&setup(), "faulty", |decay: Decay| {
        let (mut k, mut mean, calls) = (0, vec![0.0; 5], Arc::clone(&calls));
        move |x: &[f64]| {
            k += 1;
            let epsilon = if fault == Fault::ForgetsTooFast { decay.get().powi(2) } else { decay.get() };
            let burn_in = match fault {
                Fault::CountsFromOne => 1.0 - 1.0 / f64::from(k + 1),
                Fault::NoBurnIn if k > 1 => 1.0,
                _ => 1.0 - 1.0 / f64::from(k),
            };
            let keep = burn_in.min(epsilon);
            let weight = if fault == Fault::WeightsBelowOne { 0.9 } else { 1.0 } * (1.0 - keep);
            mean.iter_mut().zip(x).for_each(|(m, x)| *m = keep * *m + weight * x);
            let factor = if fault == Fault::Jitters { calls.jitter() } else { 1.0 };
            Ok(mean.iter().map(|m| m * factor).collect())
        }
    })
}

pub fn sound() -> Report {
    report(Fault::None)
}

pub fn all() -> Vec<Broken> {
    let broken =
        |name, fault, laws: &[&'static str]| Broken { name, report: report(fault), breaks: of("average", laws) };
    vec![
        broken("count off by one", Fault::CountsFromOne, &["takes the first value whole", "keeps a constant"]),
        broken("no burn-in", Fault::NoBurnIn, &["is the plain mean in the burn-in"]),
        broken("decay squared", Fault::ForgetsTooFast, &["forgets with its decay afterwards"]),
        broken("weights that sum to less than one", Fault::WeightsBelowOne, &["keeps a constant"]),
        broken("last bit changes", Fault::Jitters, &["repeats bit for bit"]),
    ]
}
