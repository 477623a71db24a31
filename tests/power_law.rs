//! Claim: the fit behind the exponents of `cargo bench --bench scaling` finds a power law, says how well it knows it, and
//! finds where a cost crosses a limit.

#[path = "../benches/scaling/fit.rs"]
mod fit;

use fit::{Reach, largest_half, power_law, reach};
use proptest::prelude::*;
use pullback::testing::gallery::Random;
use pullback::testing::tolerance;

fn widths(n: u32) -> Vec<f64> {
    (0..n).map(|i| 64.0 * 2f64.powi(i as i32)).collect()
}

/// c xᵖ at the widths, each times e^noise.
fn points(n: u32, c: f64, p: f64, mut noise: impl FnMut() -> f64) -> Vec<(f64, f64)> {
    widths(n).into_iter().map(|x| (x, c * x.powf(p) * noise().exp())).collect()
}

proptest! {
    #[test]
    fn an_exact_power_law_is_recovered_without_an_error(n in 2u32..9, c in 1e-9..1e9, p in -4.0..4.0) {
        let law = power_law(&points(n, c, p, || 0.0)).unwrap();
        // logarithms of numbers up to e^60, compared over differences of at least log 2
        let bound = tolerance::<f64>(n as usize, 60.0 / 2f64.ln());
        prop_assert!((law.exponent - p).abs() <= bound, "{law:?}");
        prop_assert_eq!(law.standard_error.is_some(), n > 2);
        prop_assert!(law.standard_error.unwrap_or(0.0) <= bound, "{law:?}");
    }

    #[test]
    fn units_do_not_matter(p in -4.0..4.0, unit in 1e-6..1e6, seed: u64) {
        let mut random = Random::new(seed);
        let measured = points(7, 1.0, p, || 0.3 * random.next_f64());
        let law = power_law(&measured).unwrap();
        for other in [
            power_law(&measured.iter().map(|&(x, y)| (x, unit * y)).collect::<Vec<_>>()).unwrap(),
            power_law(&measured.iter().map(|&(x, y)| (unit * x, y)).collect::<Vec<_>>()).unwrap(),
        ] {
            let bound = tolerance::<f64>(7, 60.0 / 2f64.ln());
            prop_assert!((law.exponent - other.exponent).abs() <= bound, "{law:?} {other:?}");
            let errors = law.standard_error.zip(other.standard_error).unwrap();
            prop_assert!((errors.0 - errors.1).abs() <= bound, "{law:?} {other:?}");
        }
    }

    #[test]
    fn a_cost_crosses_its_limit_where_the_power_law_says(c in 1e-3..1e3, p in 0.5..3.0, at in 70.0..4000.0) {
        let costs = points(7, c, p, || 0.0);
        let Reach::UpTo(x) = reach(&costs, c * f64::powf(at, p)) else { panic!("it crosses between the widths") };
        prop_assert!((x / at - 1.0).abs() <= tolerance::<f64>(7, 60.0 / 2f64.ln()), "{x} {at}");
    }
}

#[test]
fn the_standard_error_is_that_of_the_noise() {
    const FITS: usize = 4000;
    let (mut random, mut errors, mut claimed) = (Random::new(5), 0.0, 0.0);
    for _ in 0..FITS {
        let law = power_law(&points(5, 1.0, 2.0, || 0.2 * random.next_f64())).unwrap();
        errors += (law.exponent - 2.0f64).powi(2);
        claimed += law.standard_error.unwrap().powi(2);
    }
    // both estimate the variance of p; relative standard deviations of such means: √(2/FITS) and √(2/(3 FITS)) for normal
    // noise, less for uniform; five of both
    let ratio = claimed / errors;
    let spread = 5.0 * ((2.0 + 2.0 / 3.0) / FITS as f64).sqrt();
    assert!((ratio - 1.0).abs() <= spread, "{ratio} against ±{spread}");
    assert!(errors > 0.0);
}

#[test]
fn what_cannot_be_fitted_is_not() {
    assert_eq!(power_law(&[]), None);
    assert_eq!(power_law(&[(2.0, 3.0)]), None);
    assert_eq!(power_law(&[(2.0, 3.0), (2.0, 4.0)]), None, "one x");
    for bad in [0.0, -1.0, f64::NAN] {
        assert_eq!(power_law(&[(1.0, 1.0), (2.0, bad)]), None, "{bad}");
        assert_eq!(power_law(&[(bad, 1.0), (2.0, 1.0)]), None, "{bad}");
    }
}

#[test]
fn the_largest_half_is_at_least_three_points() {
    let half = |n: usize| largest_half(&(0..n).collect::<Vec<_>>()).to_vec();
    assert_eq!(half(8), [4, 5, 6, 7]);
    assert_eq!(half(7), [3, 4, 5, 6]);
    assert_eq!(half(4), [1, 2, 3]);
    assert_eq!((half(2), half(0)), (vec![0, 1], vec![]));
}

#[test]
fn a_limit_may_be_out_of_reach_or_never_met() {
    // dearer again at small widths: what counts is from where on the cost stays above
    let costs = [(64.0, 5.0), (128.0, 2.0), (256.0, 4.0), (512.0, 8.0)];
    assert_eq!(reach(&costs, 1.0), Reach::Nowhere);
    assert_eq!(reach(&costs, 8.0), Reach::Everywhere);
    assert_eq!(reach(&costs, 4.0), Reach::UpTo(256.0));
    assert_eq!(reach(&[], 1.0), Reach::Nowhere);
}
