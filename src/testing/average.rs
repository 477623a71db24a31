//! The laws of an exponential moving average without start-up bias, the form in which statistics are accumulated.
//!
//! ```text
//! m_k = ε_k m_{k-1} + (1 - ε_k) x_k,   ε_k = min(1 - 1/k, ε)
//! ```
//! An average is a closure that takes x_k and returns m_k. The values fed lie in [1, 2), so that a second moment can be
//! tested through the square roots.
//!
//! Cost        forty updates of a vector of five.
//! Laws        tests/broken_implementors.rs (an average whose count is off by one).

use super::dense::{differing, distance, norm};
use super::{Measure, Recorder, Report, Setup, gallery, tolerance};
use crate::error::Result;
use crate::mat::Mat;
use crate::scalar::Scalar;
use crate::stats::Decay;

/// What [`check`] measures.
pub const LAWS: [&str; 5] = [
    "takes the first value whole",
    "is the plain mean in the burn-in",
    "forgets with its decay afterwards",
    "keeps a constant",
    "repeats bit for bit",
];

const LEN: usize = 5;

/// Holds the average that `make` builds for a decay ε to the recursion.
///
/// ```
/// use pullback::stats::MovingAverage;
/// use pullback::testing::{Setup, average};
/// let report = average::check::<f64, _>(&Setup::default(), "recursion", |decay| {
///     let (mut count, mut mean) = (MovingAverage::new(decay), vec![0.0; 5]);
///     move |x: &[f64]| {
///         let keep = count.advance();
///         mean.iter_mut().zip(x).for_each(|(m, x)| *m = keep * *m + (1.0 - keep) * x);
///         Ok(mean.clone())
///     }
/// });
/// report.assert_passed();
/// ```
pub fn check<T: Scalar, U: FnMut(&[T]) -> Result<Vec<T>>>(
    setup: &Setup<T>,
    name: &str,
    make: impl Fn(Decay) -> U,
) -> Report {
    let mut r = Recorder::new("average", setup.seed);
    for epsilon in [0.0, 0.5, 0.9] {
        let place = format!("{name}, decay {epsilon}, in {}", T::NAME);
        let feed = |values: &[Mat<T>]| -> Result<Vec<Mat<T>>> {
            let mut update = make(Decay::new(epsilon)?);
            values.iter().map(|x| Mat::from_vec(update(x.as_slice())?, LEN, 1)).collect()
        };
        let values: Vec<Mat<T>> = (0..13).map(|k| positive(setup.seed.wrapping_mul(16).wrapping_add(k))).collect();
        // ε_k < ε up to this update
        let burn_in = (1.0 / (1.0 - epsilon)).floor() as usize;
        let off = |range: std::ops::Range<usize>| -> Result<Measure> {
            let (got, want) = (feed(&values)?, recursion(&values, epsilon));
            let ratio =
                |k: usize| Measure::ratio(distance(&got[k], &want[k]), tolerance::<T>(k + 1, 1.0) * norm(&want[k]));
            Ok(range.filter(|&k| k < got.len()).map(ratio).fold(Measure::holds(true), Measure::worse))
        };
        r.law("takes the first value whole", &place, || off(0..1));
        r.law("is the plain mean in the burn-in", &place, || off(0..burn_in));
        r.law("forgets with its decay afterwards", &place, || off(burn_in..values.len()));
        r.law("keeps a constant", &place, || {
            let same = vec![values[0].clone(); values.len()];
            let bound = tolerance::<T>(same.len(), 1.0) * norm(&values[0]);
            let ratios = feed(&same)?.into_iter().map(|m| Measure::ratio(distance(&m, &values[0]), bound));
            Ok(ratios.fold(Measure::holds(true), Measure::worse))
        });
        r.law("repeats bit for bit", &place, || {
            let (first, again) = (feed(&values)?, feed(&values)?);
            Ok(Measure::count(first.iter().zip(&again).map(|(a, b)| differing(a, b)).sum()))
        });
    }
    r.into()
}

/// Entries in [1, 2).
fn positive<T: Scalar>(seed: u64) -> Mat<T> {
    gallery::uniform::<T>(LEN, 1, seed).map(|x| T::of(1.5) + T::of(0.5) * x)
}

/// m_1, m_2, ... in `f64`.
fn recursion<T: Scalar>(values: &[Mat<T>], epsilon: f64) -> Vec<Mat<f64>> {
    let mut mean = Mat::<f64>::zeros(LEN, 1);
    let step = |(k, x): (usize, &Mat<T>)| {
        let keep = (1.0 - 1.0 / (k + 1) as f64).min(epsilon);
        mean = Mat::from_fn(LEN, 1, |i, _| keep * mean[(i, 0)] + (1.0 - keep) * x[(i, 0)].f64());
        mean.clone()
    };
    values.iter().enumerate().map(step).collect()
}
