//! The collection of Moré, Garbow and Hillstrom: derivatives by differences, values at published minimizers.

#[path = "common/differences.rs"]
mod differences;

use differences::derivatives_hold;
use pullback::random::Draws;
use pullback::testing::problems::{Formula, MoreGarbowHillstrom as Mgh, SumOfSquares};
use pullback::testing::tolerance;

fn squares(problem: Mgh, x: &[f64]) -> f64 {
    SumOfSquares::new(problem).residuals(x).unwrap().iter().map(|r| r * r).sum()
}

#[test]
fn all_35_are_there_in_the_papers_order() {
    for (at, problem) in Mgh::ALL.into_iter().enumerate() {
        assert_eq!(problem.number(), at + 1);
        assert_eq!(problem.start().len(), problem.shape().1, "{}", problem.name());
        assert!(problem.shape().0 >= problem.shape().1, "{}", problem.name());
        assert!(problem.minima().is_sorted() && !problem.minima().is_empty(), "{}", problem.name());
    }
}

#[test]
fn jacobians_gradients_and_hessians_are_those_of_differences() {
    for problem in Mgh::ALL {
        let h = SumOfSquares::new(problem);
        let start = problem.start();
        let mut draws = Draws::new(5, problem.number() as u64);
        let near: Vec<f64> = start.iter().map(|x| x * (1.0 + 0.1 * draws.unit()) + 0.05 * draws.unit()).collect();
        for x in [&start, &near] {
            derivatives_hold(problem.name(), &h, x);
        }
    }
}

/// f(x₀) where the paper, or a sum by hand, gives it.
#[test]
fn starts_have_the_values_that_a_hand_finds() {
    let table: [(Mgh, f64); 12] = [
        (Mgh::Rosenbrock, 24.2),
        (Mgh::FreudensteinRoth, 400.5),
        (Mgh::Beale, 14.203125),
        (Mgh::HelicalValley, 2500.0),
        (Mgh::PowellSingular, 215.0),
        (Mgh::Wood, 19192.0),
        (Mgh::BrownBadlyScaled, 999_998_000_002.999_9),
        (Mgh::Watson, 30.0),
        (Mgh::ExtendedRosenbrock, 5.0 * 24.2),
        (Mgh::ExtendedPowellSingular, 3.0 * 215.0),
        (Mgh::PenaltyI, 148_032.565_35),
        (Mgh::LinearFullRank, 50.0),
    ];
    for (problem, expected) in table {
        let f = squares(problem, &problem.start());
        assert!(
            (f - expected).abs() <= tolerance::<f64>(30, 1.0) * expected,
            "{}: {f}, not {expected}",
            problem.name()
        );
    }
}

/// Where the paper gives a minimizer.
#[test]
fn published_minimizers_have_the_published_values() {
    let exact: [(Mgh, Vec<f64>); 16] = [
        (Mgh::Rosenbrock, vec![1.0; 2]),
        (Mgh::FreudensteinRoth, vec![5.0, 4.0]),
        (Mgh::BrownBadlyScaled, vec![1e6, 2e-6]),
        (Mgh::Beale, vec![3.0, 0.5]),
        (Mgh::HelicalValley, vec![1.0, 0.0, 0.0]),
        (Mgh::Gulf, vec![50.0, 25.0, 1.5]),
        (Mgh::Box, vec![1.0, 10.0, 1.0]),
        (Mgh::Box, vec![10.0, 1.0, -1.0]),
        (Mgh::PowellSingular, vec![0.0; 4]),
        (Mgh::Wood, vec![1.0; 4]),
        (Mgh::BiggsExp6, vec![1.0, 10.0, 1.0, 5.0, 4.0, 3.0]),
        (Mgh::ExtendedRosenbrock, vec![1.0; 10]),
        (Mgh::ExtendedPowellSingular, vec![0.0; 12]),
        (Mgh::VariablyDimensioned, vec![1.0; 10]),
        (Mgh::BrownAlmostLinear, vec![1.0; 10]),
        (Mgh::LinearFullRank, vec![-1.0; 10]),
    ];
    for (problem, x) in exact {
        let f = squares(problem, &x);
        assert!((f - problem.minima()[0]).abs() <= tolerance::<f64>(99, 1.0), "{} at {x:?}: {f}", problem.name());
    }
    // minimizers of 4 to 6 digits: the value has about twice as many
    let rounded: [(Mgh, Vec<f64>, f64); 4] = [
        (Mgh::FreudensteinRoth, vec![11.4128, -0.896805], 48.9842),
        (Mgh::JennrichSampson, vec![0.257825, 0.257825], 124.362),
        (Mgh::PowellBadlyScaled, vec![1.098159e-5, 9.106147], 0.0),
        (Mgh::BrownAlmostLinear, [vec![0.0; 9], vec![11.0]].concat(), 1.0),
    ];
    for (problem, x, expected) in rounded {
        let f = squares(problem, &x);
        assert!((f - expected).abs() <= 1e-5 * expected.max(1e-3), "{} at {x:?}: {f}", problem.name());
    }
}

#[test]
fn solved_means_at_a_published_minimum() {
    let problem = Mgh::FreudensteinRoth;
    assert_eq!(problem.solved(0.0, 400.5), Some(0.0));
    assert_eq!(problem.solved(48.9842, 400.5), Some(48.9842));
    for f in [1e-6, 30.0, 48.97, 48.99, 400.5, f64::NAN, f64::INFINITY] {
        assert_eq!(problem.solved(f, 400.5), None, "{f}");
    }
}
