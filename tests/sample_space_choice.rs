//! Claim: the path chosen for JᵀJ + λI is the one of least predicted flops, its costs can be read, and what a failed
//! factorization needed is said.

mod curvature_support;

use curvature_support::conformance::damping;
use curvature_support::{extremes, random, times};
use pullback::curvature::{
    DenseJacobian, DirectPath, JacobianCosts, JacobianSource, PathCosts, Recovery, SampleSpace, SampleSpaceOptions,
    SampleSpacePath, SolvePath, kernel_crossover,
};
use pullback::krylov::CgOptions;
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, Mat};

const DIRECT: [DirectPath; 2] = [DirectPath::Primal, DirectPath::Kernel];
const PATHS: [SampleSpacePath; 4] =
    [SampleSpacePath::Primal, SampleSpacePath::Kernel, SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr];

fn gram(j: &Mat<f64>) -> Mat<f64> {
    times(&j.transposed(), j)
}

#[test]
fn the_choice_is_the_cheapest_prediction() {
    let ctx = Ctx::<f64>::default();
    let mut seen = Vec::new();
    // wide, tall, and large but well conditioned
    for (n, p, lambda) in [(4, 60, 1e-3), (60, 4, 1e-3), (60, 50, 1e6), (50, 60, 1e6), (1, 1, 1.0), (300, 40, 1e-6)] {
        let j = DenseJacobian::new(random(n, p, 79)).unwrap();
        let c = SampleSpace::new(&j);
        let solver = c.damped(&ctx, damping(lambda)).unwrap();
        let plan = *solver.plan().unwrap();
        assert_eq!(plan, c.plan(&ctx, damping(lambda)).unwrap(), "the same choice again");
        let all = PATHS.map(|path| plan.costs.of(path));
        assert!(all.iter().all(|&other| plan.costs.of(plan.path) <= other), "{n} x {p}: {plan:?}");
        assert_eq!(plan.costs.of(SampleSpacePath::Auto), plan.costs.of(plan.path));
        assert_eq!(plan.costs, PathCosts::predict(n, p, j.costs(), 1, plan.iterations));
        // the estimate of ‖J‖² is from below, and within a factor of the truth
        let truth = extremes(&gram(j.matrix())).1;
        assert!(plan.squared_norm <= truth * (1.0 + tolerance::<f64>(n + p, 1.0)), "{plan:?}, truth {truth}");
        assert!(plan.squared_norm >= 0.5 * truth, "{plan:?}, truth {truth}");
        let want = match plan.path {
            SampleSpacePath::Primal => SolvePath::Primal,
            SampleSpacePath::Kernel => SolvePath::Kernel,
            SampleSpacePath::ConjugateGradient => SolvePath::ConjugateGradient,
            SampleSpacePath::Lsmr => SolvePath::Lsmr,
            SampleSpacePath::Auto => unreachable!("a plan names a path"),
        };
        assert_eq!(solver.path(), want);
        seen.push(want);
    }
    assert!([SolvePath::Primal, SolvePath::Kernel].iter().all(|path| seen.contains(path)), "{seen:?}");
    assert!(seen.contains(&SolvePath::ConjugateGradient) || seen.contains(&SolvePath::Lsmr), "{seen:?}");
}

#[test]
fn limits_and_numbers_of_solves_enter_the_choice() {
    let ctx = Ctx::<f64>::default();
    let j = DenseJacobian::new(random(30, 200, 80)).unwrap();
    let plan = |options| SampleSpace::new(&j).with_options(options).unwrap().plan(&ctx, damping(1e-4)).unwrap();
    let default = SampleSpaceOptions::default();
    assert_eq!(plan(default).path, SampleSpacePath::Kernel);
    let tight = plan(SampleSpaceOptions { max_numbers: 30 * 30 - 1, ..default }).path;
    assert!(matches!(tight, SampleSpacePath::ConjugateGradient | SampleSpacePath::Lsmr), "{tight:?}");
    let many = plan(SampleSpaceOptions { solves: 10, ..default }).costs;
    let one = plan(default).costs;
    assert_eq!(many.lsmr, 10.0 * one.lsmr);
    assert!(many.kernel < 10.0 * one.kernel);
    let bad = CgOptions { relative_tolerance: f64::NAN, ..CgOptions::default() };
    let outcome = SampleSpace::new(&j).with_options(SampleSpaceOptions { iteration: bad, ..default });
    assert!(matches!(outcome, Err(Error::InvalidParameter { .. })));
}

#[test]
fn the_predicted_crossover_is_where_the_flops_meet() {
    for p in [0, 1, 2, 17, 100, 1000] {
        let n = kernel_crossover(p);
        let costs = |n| PathCosts::predict(n, p, JacobianCosts::dense(n, p), 1, 1.0);
        assert!(costs(n).primal <= costs(n).kernel, "{p}");
        assert!(n == 0 || costs(n - 1).kernel < costs(n - 1).primal, "{p}");
    }
}

/// λ far below ε‖J‖²: Cholesky may fail, and what is done about it is said.
#[test]
fn a_failed_cholesky_is_recovered_and_reported() {
    // two equal rows of ones and threes that round: J Jᵀ + λI is singular in f32
    let j = Mat::from_fn(6, 40, |i, k| ((k * k + 7 * i % 3) % 11) as f32 / 10.0 - 0.37 * (i % 3) as f32);
    let c = SampleSpace::new(DenseJacobian::new(j.clone()).unwrap());
    let lambda = damping::<f32>(1e-12);
    let mut recovered = 0;
    for ctx in contexts::<f32>() {
        for path in DIRECT {
            let solver = c.direct(&ctx, lambda, path).unwrap();
            match solver.recovery() {
                Recovery::None => continue,
                Recovery::ClippedSpectrum { floor, .. } => assert_eq!(floor, f64::from(1e-12f32)),
                other => panic!("{other:?}"),
            }
            recovered += 1;
            let r = random::<f32>(6, 1, 81);
            let mut x = Mat::zeros(40, 1);
            solver.solve_residual(&ctx, r.as_ref(), x.as_mut()).unwrap();
            assert!(x.as_ref().is_finite());
        }
        // positive definite whatever rounding did: the spectrum never fails
        let spectrum = c.spectrum(&ctx, DirectPath::Primal).unwrap();
        let negative = spectrum.values().iter().filter(|&&w| w < 0.0).count();
        let solver = spectrum.damped(lambda).unwrap();
        match solver.recovery() {
            Recovery::None => assert_eq!(negative, 0),
            Recovery::ClippedSpectrum { count, .. } => assert_eq!(count, negative),
            other => panic!("{other:?}"),
        }
    }
    assert!(recovered > 0, "the matrix was meant to defeat Cholesky");
}

#[test]
fn effective_dimension_counts_what_damping_leaves() {
    let ctx = Ctx::<f64>::default();
    let c = SampleSpace::new(DenseJacobian::new(Mat::from_diagonal(&[1.0, 2.0, 0.0])).unwrap());
    let spectrum = c.spectrum(&ctx, DirectPath::Kernel).unwrap();
    let got = spectrum.effective_dimension(damping(1.0));
    assert!((got - (0.5 + 0.8)).abs() <= tolerance::<f64>(3, 1.0), "{got}");
}
