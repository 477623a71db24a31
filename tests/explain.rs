//! `StepReport::explain`: what a report holds is seen, what it does not hold is not, and lines are short.

use pullback::krylov::CgStop;
use pullback::optim::line_search::{SearchReport, SearchStop};
use pullback::optim::{
    Adam, DampingPath, InnerReport, InnerStop, Kfac, KfacOptions, KfacPlan, Optimizer, OverheadReport, Passes,
    PhaseSeconds, StepReport,
};
use pullback::testing::{LeastSquares, Regression};
use pullback::{Ctx, Scalar};

fn full() -> StepReport<f64> {
    StepReport {
        loss_before: 123.456789,
        loss_after: Some(121.1),
        gradient_norm: Some(1.5),
        step_norm: Some(0.25),
        lambda: Some(0.1),
        preconditioner_damping: Some(0.11),
        radius: Some(3.0),
        rho: Some(0.95),
        predicted_change: Some(-2.4),
        alpha: Some(-0.3),
        momentum: Some(0.8),
        inner: Some(InnerReport { iterations: 17, stop: InnerStop::Krylov(CgStop::ModelStalled) }),
        search: Some(SearchReport { alpha: 1.0, value: None, slope: None, evaluations: 4, stop: SearchStop::TooShort }),
        restarted: false,
        rejected: true,
        refreshed: true,
        failed_refreshes: 2,
        passes: Passes { forward: 1, backward: 2, jvp: 3, vjp: 4, hvp: 5 },
        seconds: PhaseSeconds { gradient: 1e-3, curvature: 2e-3, solve: 3e-3, search: 4e-3 },
    }
}

#[test]
fn everything_is_seen_and_nothing_that_is_absent() {
    let text = full().explain().to_string();
    let phrases = [
        "loss 123.5 -> 121.1 (-2.357, model -2.4, rho 0.95)",
        "lambda 0.1",
        "gamma2 0.11",
        "radius 3",
        "alpha -0.3",
        "mu 0.8",
        "|g| 1.5",
        "|step| 0.25",
        "17 inner (model stalled)",
        "search 4 (too short)",
        "rejected",
        "refreshed",
        "2 refreshes failed",
        "passes 1f 2b 3j 4v 5h",
        "10 ms (gradient 1, curvature 2, solve 3, search 4)",
    ];
    for phrase in phrases {
        assert!(text.contains(phrase), "{phrase} in\n{text}");
    }
    let bare = StepReport::<f64>::first_order(2.0).explain().to_string();
    assert_eq!(bare, "loss 2, passes 1f 1b");
}

#[test]
fn an_overhead_report_is_a_sentence() {
    let plan = KfacPlan {
        update_interval: 4,
        statistics_interval: 2,
        statistics_share: 4,
        refresh_interval: 10,
        path: DampingPath::Inverses,
    };
    let report = OverheadReport { limit: 1.5, plan, predicted: 1.481, measured: Some(1.5123) };
    assert_eq!(
        report.to_string(),
        "budget 1.5x, predicted 1.481x, measured 1.512x, update every 4 batches,\n  \
         statistics every 2 updates on 1/4 of the cases,\n  refresh every 10 updates by inverses"
    );
    let fresh = OverheadReport { limit: 4.0, plan: KfacPlan::FRESHEST, predicted: 3.0, measured: None };
    let text = fresh.to_string();
    for phrase in ["update every batch", "statistics every update on all cases", "refresh every update by eigenbases"] {
        assert!(text.contains(phrase), "{phrase} in\n{text}");
    }
    assert!(!text.contains("measured"));
    // nothing is left to be bought, or all is spent
    let saturated = [3.0, 3.9].map(|predicted| OverheadReport { predicted, ..fresh }.is_saturated());
    assert_eq!((saturated, report.is_saturated()), ([true, false], false));
    assert!(text.ends_with("all that helps"), "{text}");
    for x in [1e-300, 1.0 / 3.0, 9.87654321e300, f64::NAN] {
        let longest = KfacPlan { update_interval: u64::MAX, refresh_interval: u64::MAX, ..plan };
        let text = OverheadReport { limit: x, plan: longest, predicted: x, measured: Some(x) }.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn lines_have_at_most_eighty_columns_whatever_the_numbers() {
    let numbers = [0.0, 1.0, -1.23456789e-300, 9.87654321e300, f64::NAN, f64::NEG_INFINITY, 99999.95, 0.00012345];
    for x in numbers {
        let some = Some(x);
        let report = StepReport {
            loss_before: x,
            loss_after: some,
            gradient_norm: some,
            step_norm: some,
            lambda: some,
            preconditioner_damping: some,
            radius: some,
            rho: some,
            predicted_change: some,
            alpha: some,
            momentum: some,
            ..full()
        };
        let text = report.explain().to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

/// The reports of the optimizers fill three lines at most, and say where the time went.
#[test]
fn reports_of_real_steps_are_filled_and_fit_three_lines() {
    let (ctx, problem) = (Ctx::<f64>::reference(), LeastSquares::new(2, 3, 0.01));
    let batch = Regression::random(2, 3, 10, 1);
    let check =
        |name: &str, report: StepReport<f64>, phases: &[fn(&PhaseSeconds) -> f64], before: &[f64], now: &[f64]| {
            let text = report.explain().to_string();
            assert!(text.lines().count() <= 3, "{name}:\n{text}");
            assert!(phases.iter().all(|phase| phase(&report.seconds) > 0.0), "{name}: {:?}", report.seconds);
            let moved = before.iter().zip(now).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let told = report.step_norm.unwrap();
            assert!((moved - told).abs() <= 1e3 * f64::EPS * (1.0 + moved), "{name}: {moved} {told}");
        };
    let start = vec![0.3; 6];
    let mut theta = start.clone();
    let report = Adam::new(0.1).unwrap().step(&ctx, &problem, &mut theta, &batch).unwrap();
    check("adam", report, &[|s| s.gradient, |s| s.search], &start, &theta);
    assert!(report.gradient_norm.unwrap() > 0.0 && report.alpha == Some(0.1));
    let mut theta = start.clone();
    let report = Kfac::new(KfacOptions::default()).unwrap().step(&ctx, &problem, &mut theta, &batch).unwrap();
    check("kfac", report, &[|s| s.gradient, |s| s.curvature, |s| s.solve, |s| s.search], &start, &theta);
    assert!(report.gradient_norm.unwrap() > 0.0);
}
