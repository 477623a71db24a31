//! Levenberg-Marquardt by QR on NIST's regressions: at least 6 correct digits in every parameter, from both starts.

use pullback::Ctx;
use pullback::optim::LevenbergMarquardtMethod;
use pullback::testing::problems::nist::Regression;
use pullback::testing::problems::{Limits, SumOfSquares, minimize};

/// Names and digits of the regressions that have fewer than 6.
fn short_of_six_digits(start: usize) -> Vec<(&'static str, f64)> {
    let digits = |problem: Regression| {
        let mut optimizer = LevenbergMarquardtMethod::by_qr(1e-3).unwrap();
        let (x, name, h) = (problem.start(start), problem.model().name(), SumOfSquares::new(problem.clone()));
        // MGH10 follows a bent valley from its far start
        let limits = Limits { steps: 10_000, ..Limits::default() };
        let outcome = minimize(&Ctx::reference(), &mut optimizer, &h, &(), &x, limits).unwrap();
        (name, problem.correct_digits(&outcome.theta))
    };
    Regression::all().unwrap().into_iter().map(digits).filter(|&(_, digits)| !(digits >= 6.0)).collect()
}

#[test]
fn six_digits_from_the_near_start() {
    let short = short_of_six_digits(2);
    assert!(short.is_empty(), "fewer than 6 digits: {short:?}");
}

#[test]
fn six_digits_from_the_far_start() {
    let short = short_of_six_digits(1);
    assert!(short.is_empty(), "fewer than 6 digits: {short:?}");
}
