//! Certificates against the dense truth: residuals, backward errors and condition estimates; broken solvers are exposed.
//! Also the gap of Eq 24 and the operator-norm rule for π, against the formed matrices.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use curvature_support::conformance::{damping, factored_system};
use curvature_support::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Certificate, Definiteness, Dense, Diagonal, Fidelity, Kronecker, KroneckerDamping,
    MatrixFree, OnFailure, PiRule, Recovery, SolvePath, SolveReport, certified_solve, certify, compare_damped_steps,
    condition_estimate, factored_damping_gap,
};
use pullback::factor::SymEigen;
use pullback::krylov::{CgOptions, largest_ritz_value};
use pullback::linop::SymmetricDense;
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, Mat, MatMut, MatRef, Result, Scalar};

/// The largest column of ‖B - M X‖ / ‖B‖, in f64.
fn dense_residual<T: Scalar>(system: &Mat<f64>, b: &Mat<T>, x: &Mat<T>) -> f64 {
    let product = times(system, &x.cast());
    let column = |j: usize| {
        let (mut r, mut size) = (0f64, 0f64);
        for i in 0..b.nrows() {
            r += (b[(i, j)].f64() - product[(i, j)]).powi(2);
            size += b[(i, j)].f64().powi(2);
        }
        (r / size).sqrt()
    };
    (0..b.ncols()).map(column).fold(0.0, f64::max)
}

fn certified<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, c: &C, lambda: f64, b: &Mat<T>) -> (Certificate, Mat<T>) {
    let solver = c.damped(ctx, damping(lambda)).unwrap();
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    let certificate = certified_solve(ctx, c, &solver, b.as_ref(), x.as_mut()).unwrap();
    (certificate, x)
}

/// Every exact kind: backward stable, the residual of the dense matrix, a condition within a factor of 3 from below.
fn exact_kinds<T: Scalar>() {
    let (a, s, m) = (spd::<T>(6, 20.0, 1), spd::<T>(5, 20.0, 2), spd::<T>(30, 1e3, 3));
    let d = random::<T>(30, 1, 4).map(|x| x.abs());
    let dense = || Dense::new(m.clone()).unwrap();
    let exact = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
    let diagonal = || Diagonal::new(d.as_slice().to_vec()).unwrap();
    let wide: Mat<f64> = m.cast();
    let kinds = [
        ("dense", AnyCurvature::new(dense()), wide.clone(), SolvePath::Cholesky),
        ("Kronecker", AnyCurvature::new(exact()), kron(&a, &s), SolvePath::Eigen),
        ("diagonal", AnyCurvature::new(diagonal()), Mat::from_diagonal(d.as_slice()).cast(), SolvePath::Elementwise),
        (
            "blocks",
            AnyCurvature::new(BlockDiagonal::new(vec![dense(), dense()])),
            assembled(&[wide.clone(), wide]),
            SolvePath::Blocks,
        ),
    ];
    for (name, c, matrix, path) in kinds {
        let n = matrix.nrows();
        let b = random::<T>(n, 3, 5);
        for ctx in contexts::<T>() {
            for lambda in [1e-2, 1.0, 1e2] {
                let place = format!("{name}, lambda {lambda} on {} in {}", ctx.backend().name(), T::NAME);
                let system = shifted(&matrix, T::of(lambda).f64());
                let (certificate, x) = certified(&ctx, &c, lambda, &b);
                assert!(certificate.is_backward_stable(), "{place}: {certificate}");
                assert_eq!((certificate.path, certificate.recovery), (path, Recovery::None), "{place}");
                assert_eq!((certificate.fidelity, certificate.solves_nearby_system()), (Fidelity::Exact, false));
                assert_eq!(certificate.report, Some(SolveReport::Direct));
                let (least, largest) = extremes(&system);
                let want = dense_residual(&system, &b, &x);
                // both residuals are known to the rounding of a product
                let limit = tolerance::<T>(n, 1.0) * largest * norm(&x) / norm(&b);
                assert!(
                    (certificate.relative_residual - want).abs() <= limit,
                    "{place}: {certificate}, dense {want:e}"
                );
                assert_eq!(certificate.residuals.len(), 3);
                let kappa = largest / least;
                let slack = 1.0 + tolerance::<T>(n, kappa);
                assert!(certificate.condition <= kappa * slack, "{place}: {certificate}, condition {kappa:e}");
                assert!(certificate.condition >= kappa / 3.0, "{place}: {certificate}, condition {kappa:e}");
                assert!(certificate.norm <= largest * slack && certificate.norm >= 0.5 * largest, "{place}");
            }
        }
    }
}

/// The condition of matrices of the gallery, from below and within a factor of 3.
fn conditions<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    for n in [1, 2, 3, 33, 64] {
        for (name, m) in [
            ("spd", gallery::spd::<T>(n, 1e4, 6)),
            ("clustered", gallery::clustered(n, 7)),
            ("graded", gallery::graded(n, 1e-2, 8)),
            ("deficient", gallery::rank_deficient(n, n.div_ceil(2), 9)),
            ("zero", Mat::zeros(n, n)),
        ] {
            let lambda = 1e-3;
            let c = Dense::new(m.clone()).unwrap();
            let solver = c.damped(&ctx, damping(lambda)).unwrap();
            let (norm, condition) = condition_estimate(&ctx, &c, &solver, 16, 10).unwrap();
            let (least, largest) = extremes(&shifted(&m.cast(), T::of(lambda).f64()));
            let kappa = largest / least;
            let slack = 1.0 + tolerance::<T>(n, kappa);
            let place = format!("{name} of order {n} in {}: {condition:e}, true {kappa:e}", T::NAME);
            assert!(condition <= kappa * slack && condition >= kappa / 3.0, "{place}");
            assert!(norm <= largest * slack && norm >= largest / 2.0, "{place}");
        }
    }
}

/// A solver that states another λ than it solves with.
struct Stale<D> {
    inner: D,
    claimed: f64,
}

impl<T: Scalar, D: DampedSolver<T>> DampedSolver<T> for Stale<D> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }
    fn damping(&self) -> Damping<T> {
        damping(self.claimed)
    }
    fn fidelity(&self) -> Fidelity {
        self.inner.fidelity()
    }
    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.inner.solve_into(ctx, b, x)
    }
}

fn broken_solvers<T: Scalar>() {
    let m = spd::<T>(20, 100.0, 11);
    let (c, other) = (Dense::new(m.clone()).unwrap(), Dense::new(spd::<T>(20, 100.0, 12)).unwrap());
    let b = random::<T>(20, 2, 13);
    for ctx in contexts::<T>() {
        let honest = Stale { inner: c.damped(&ctx, damping(0.1)).unwrap(), claimed: 0.1 };
        let stale = Stale { inner: c.damped(&ctx, damping(0.1)).unwrap(), claimed: 0.2 };
        let foreign = Stale { inner: other.damped(&ctx, damping(0.1)).unwrap(), claimed: 0.1 };
        let mut x = Mat::zeros(20, 2);
        let certificate = certified_solve(&ctx, &c, &honest, b.as_ref(), x.as_mut()).unwrap();
        assert!(certificate.is_backward_stable() && certificate.path == SolvePath::Unstated, "{certificate}");
        for (name, solver) in [("stale", &stale), ("foreign", &foreign)] {
            let certificate = certified_solve(&ctx, &c, solver, b.as_ref(), x.as_mut()).unwrap();
            assert!(!certificate.is_backward_stable(), "{name}: {certificate}");
            assert!(certificate.relative_residual > 1e-2, "{name}: {certificate}");
        }
        // an X of one's own, with one wrong entry, or one that is not a number
        let solver = c.damped(&ctx, damping(0.1)).unwrap();
        solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        assert!(certify(&ctx, &c, &solver, b.as_ref(), x.as_ref()).unwrap().is_backward_stable());
        let right = x[(7, 1)];
        for (wrong, finite) in [(right + T::of(0.01), true), (T::nan(), false)] {
            x[(7, 1)] = wrong;
            let certificate = certify(&ctx, &c, &solver, b.as_ref(), x.as_ref()).unwrap();
            assert!(!certificate.is_backward_stable(), "{certificate}");
            assert_eq!(certificate.relative_residual.is_finite(), finite);
            assert!(certificate.residuals[0] <= certificate.rounding * 100.0, "the other column is as it was");
        }
    }
}

/// A factored solver says that it solves a nearby system; the residual is that of the exact one.
fn factored_solvers<T: Scalar>() {
    let (a, s, b) = (spd::<T>(5, 10.0, 14), spd::<T>(4, 10.0, 15), random::<T>(20, 2, 16));
    let kind = KroneckerDamping::Factored { pi: PiRule::Trace };
    let c = Kronecker::new(a.clone(), s.clone(), kind).unwrap();
    for ctx in contexts::<T>() {
        let (certificate, x) = certified(&ctx, &c, 0.1, &b);
        let want = dense_residual(&shifted(&kron(&a, &s), T::of(0.1).f64()), &b, &x);
        assert!((certificate.relative_residual - want).abs() <= tolerance::<T>(20, 100.0), "{certificate}");
        assert!(certificate.solves_nearby_system() && !certificate.is_backward_stable());
        assert_eq!(certificate.path, SolvePath::FactoredCholesky);
        assert!(certificate.to_string().contains("nearby"), "{certificate}");
    }
}

/// Iterative solvers: the residual that they report is the one that is certified.
fn iterative_solvers<T: Scalar>() {
    let products = SymmetricDense::new(spd::<T>(33, 100.0, 17)).unwrap();
    let b = random::<T>(33, 2, 18);
    for ctx in contexts::<T>() {
        let options = CgOptions { max_iterations: 6, ..CgOptions::default() };
        let c = MatrixFree::new(&products, Definiteness::PositiveSemidefinite).with_options(options).unwrap();
        let (certificate, _) = certified(&ctx, &c, 1e-2, &b);
        assert_eq!((certificate.path, certificate.fidelity), (SolvePath::ConjugateGradient, Fidelity::Iterative));
        let Some(SolveReport::Iterative { relative_residual, .. }) = certificate.report else { panic!("no report") };
        assert!((certificate.relative_residual - relative_residual).abs() <= tolerance::<T>(33, 100.0));
        assert!(!certificate.is_backward_stable(), "six iterations do not solve it: {certificate}");
    }
}

fn edges<T: Scalar>() {
    for ctx in contexts::<T>() {
        // recovery is told
        let c = Dense::new(Mat::from_diagonal(&[T::ONE, -T::EPS])).unwrap().with_on_failure(OnFailure::Recover);
        let b = random::<T>(2, 1, 19);
        let (certificate, _) = certified(&ctx, &c, T::EPS.f64() / 2.0, &b);
        assert!(matches!(certificate.recovery, Recovery::ClippedSpectrum { count: 1, .. }), "{certificate}");
        assert!(certificate.to_string().contains("raised"), "{certificate}");
        // no rows, no columns, zero right-hand sides
        let empty = Dense::new(Mat::<T>::zeros(0, 0)).unwrap();
        let (certificate, _) = certified(&ctx, &empty, 1.0, &Mat::zeros(0, 2));
        assert_eq!((certificate.relative_residual, certificate.condition), (0.0, 1.0));
        let c = Diagonal::new(vec![T::ONE; 3]).unwrap();
        let (certificate, _) = certified(&ctx, &c, 1.0, &Mat::zeros(3, 0));
        assert!(certificate.residuals.is_empty() && certificate.is_backward_stable());
        let (certificate, mut x) = certified(&ctx, &c, 1.0, &Mat::zeros(3, 1));
        assert_eq!(certificate.residuals, [0.0]);
        x[(1, 0)] = T::ONE;
        let solver = c.damped(&ctx, damping(1.0)).unwrap();
        let missed = certify(&ctx, &c, &solver, Mat::zeros(3, 1).as_ref(), x.as_ref()).unwrap();
        assert!(missed.residuals[0].is_infinite() && !missed.is_backward_stable(), "{missed}");
        let wrong = certify(&ctx, &c, &solver, Mat::zeros(4, 1).as_ref(), x.as_ref());
        assert!(matches!(wrong, Err(Error::Shape { .. })));
        let wrong = certify(&ctx, &c, &solver, Mat::zeros(3, 2).as_ref(), x.as_ref());
        assert!(matches!(wrong, Err(Error::Shape { .. })));
    }
    // sizes whose squares leave the range
    let ctx = Ctx::<f64>::default();
    for scale in [1e-200, 1e200] {
        let c = Dense::new(spd::<f64>(10, 50.0, 20).map(|x| x * scale)).unwrap();
        let b = random::<f64>(10, 1, 21).map(|x| x * scale);
        let (certificate, _) = certified(&ctx, &c, 0.1 * scale, &b);
        assert!(certificate.is_backward_stable() && certificate.norm.is_finite(), "{scale:e}: {certificate}");
    }
}

/// Ã ⊗ S̃ - A ⊗ S - λI, formed and decomposed, against the closed form.
fn gap_of_eq_24<T: Scalar>() {
    let pairs = [
        (spd::<T>(5, 100.0, 22), spd::<T>(4, 30.0, 23)),
        (low_rank(5, 2, 24), low_rank(4, 1, 25)),
        (Mat::zeros(3, 3), spd(3, 10.0, 26)),
        (Mat::zeros(2, 2), Mat::zeros(3, 3)),
        (spd(1, 1.0, 27), spd(7, 10.0, 28)),
    ];
    let ctx = Ctx::<T>::default();
    for (a, s) in &pairs {
        for rule in [PiRule::Trace, PiRule::Frobenius, PiRule::OperatorNorm, PiRule::Fixed(T::of(3.0))] {
            for lambda in [1e-4, 1.0, 1e3] {
                let lambda = damping::<T>(lambda);
                let gap = factored_damping_gap(&ctx, a.as_ref(), s.as_ref(), rule, lambda).unwrap();
                let factored = factored_system(a, s, rule, lambda.get());
                let exact = shifted(&kron(a, s), lambda.get().f64());
                let n = exact.nrows();
                let difference = Mat::from_fn(n, n, |i, j| factored[(i, j)] - exact[(i, j)]);
                let (least, largest) = extremes(&difference);
                let limit = tolerance::<T>(n, 1.0) * norm(&factored);
                let place = format!("{rule:?}, lambda {:e}: {gap:?}", lambda.get());
                assert!(gap.smallest >= 0.0 && gap.smallest_ratio >= 0.0, "{place}");
                assert!((gap.smallest - least).abs() <= limit, "{place}, formed {least:e}");
                assert!((gap.largest - largest).abs() <= limit, "{place}, formed {largest:e}");
                let size = extremes(&exact).1;
                assert!((gap.relative_norm - largest / size).abs() <= limit / size, "{place}");
                // the generalized eigenvalues of (gap, exact), by E^-1/2 G E^-1/2
                let ctx64 = Ctx::<f64>::default();
                let root = SymEigen::new(&ctx64, exact).unwrap().map_to_dense(&ctx64, |w| 1.0 / w.sqrt()).unwrap();
                let (least, largest) = extremes(&times(&times(&root, &difference), &root));
                let limit = limit / lambda.get().f64();
                assert!((gap.smallest_ratio - least).abs() <= limit, "{place}, formed {least:e}");
                assert!((gap.largest_ratio - largest).abs() <= limit, "{place}, formed {largest:e}");
            }
        }
    }
}

fn steps_compared<T: Scalar>() {
    let (a, s, b) = (spd::<T>(5, 20.0, 29), spd::<T>(4, 20.0, 30), random::<T>(20, 1, 31));
    let ctx = Ctx::<T>::default();
    for lambda in [1e-3, 0.1, 10.0] {
        let lambda = damping::<T>(lambda);
        let steps = compare_damped_steps(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, lambda, b.as_slice()).unwrap();
        let exact = shifted(&kron(&a, &s), lambda.get().f64());
        let solve = |m: &Mat<f64>| {
            let eigen = SymEigen::new(&Ctx::<f64>::default(), m.clone()).unwrap();
            times(&eigen.map_to_dense(&Ctx::default(), |w| 1.0 / w).unwrap(), &b.cast())
        };
        let (x, y) = (solve(&exact), solve(&factored_system(&a, &s, PiRule::Trace, lambda.get())));
        let inner = |x: &Mat<f64>, y: &Mat<f64>| times(&x.transposed(), y)[(0, 0)];
        let q = |d: &Mat<f64>| inner(&b.cast(), d) - 0.5 * inner(d, &times(&exact, d));
        let limit = tolerance::<T>(20, row_sum_norm(&exact) / lambda.get().f64());
        let near = |got: f64, want: f64| assert!((got - want).abs() <= limit, "{steps:?}: {got:e} and {want:e}");
        near(steps.length_ratio, norm(&y) / norm(&x));
        near(steps.cosine, inner(&x, &y) / norm(&x) / norm(&y));
        near(steps.relative_distance, distance(&y, &x) / norm(&x));
        near(steps.decrease_ratio, q(&y) / q(&x));
        assert!(steps.length_ratio <= 1.0 + limit && steps.decrease_ratio <= 1.0 + limit && steps.decrease_ratio > 0.0);
        // no component is shorter by more than the gap allows
        let gap = factored_damping_gap(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, lambda).unwrap();
        assert!(steps.length_ratio >= 1.0 / (1.0 + gap.largest_ratio) - limit, "{steps:?}, {gap:?}");
        assert!(steps.length_ratio <= 1.0 / (1.0 + gap.smallest_ratio) + limit, "{steps:?}, {gap:?}");
    }
    let zero = compare_damped_steps(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, damping(1.0), &[T::ZERO; 20]).unwrap();
    assert_eq!((zero.length_ratio, zero.cosine, zero.relative_distance, zero.decrease_ratio), (1.0, 1.0, 0.0, 1.0));
}

/// π by operator norm: the ratio of the largest eigenvalues, which makes the gap's norm smallest.
fn operator_norm_rule<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    let rule = PiRule::OperatorNorm;
    for n in [1, 2, 3, 33, 65] {
        let (a, s) = (spd::<T>(n, 100.0, 32), spd::<T>(3, 5.0, 33).map(|x| T::of(7.0) * x));
        let ((_, top_a), (_, top_s)) = (extremes(&a.cast()), extremes(&s.cast()));
        let (got, want) = (rule.pi(a.as_ref(), s.as_ref()).f64(), (top_a / top_s).sqrt());
        // exact after n steps; half of 0.103 (ln n / 23)² in expectation from there on, with a factor of 2
        let limit = if n <= 24 { tolerance::<T>(n, 1.0) } else { 0.103 * ((n as f64).ln() / 23.0).powi(2) };
        assert!((got / want - 1.0).abs() <= limit, "order {n}: pi {got}, by eigenvalues {want}");
        for factor in [0.8, 1.25] {
            let at = |pi: f64| {
                factored_damping_gap(&ctx, a.as_ref(), s.as_ref(), PiRule::Fixed(T::of(pi)), damping(0.3))
                    .unwrap()
                    .largest
            };
            assert!(at(got) < at(factor * got), "order {n} at {factor} pi");
        }
        // scales, upper triangles, and what has no answer
        for exponent in [-30, 30] {
            let scaled = a.map(|x| x * T::of(4.0).powi(exponent));
            let (one, other) = (rule.pi(scaled.as_ref(), s.as_ref()).f64(), got * 2f64.powi(exponent));
            assert!((one / other - 1.0).abs() <= tolerance::<T>(n, 1.0), "4^{exponent}: {one:e}, {other:e}");
        }
        let lower = Mat::from_fn(n, n, |i, j| if i >= j { a[(i, j)] } else { T::nan() });
        assert_eq!(rule.pi(lower.as_ref(), s.as_ref()).f64(), got);
        for bad in [
            Mat::zeros(3, 3),
            Mat::zeros(0, 0),
            Mat::from_diagonal(&[T::nan(), T::ONE]),
            Mat::from_diagonal(&[-T::ONE]),
        ] {
            assert_eq!(rule.pi(bad.as_ref(), s.as_ref()), T::ONE, "{bad:?}");
            assert_eq!(rule.pi(s.as_ref(), bad.as_ref()), T::ONE, "{bad:?}");
        }
    }
    let flat = low_rank::<T>(6, 1, 34);
    let want = extremes(&flat.cast()).1.sqrt();
    assert!((rule.pi(flat.as_ref(), Mat::identity(2).as_ref()).f64() / want - 1.0).abs() <= tolerance::<T>(6, 1.0));
}

/// θ is below λ_max, an eigenvalue lies within the residual, and n steps find λ_max.
fn ritz_values<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    for n in [1, 2, 5, 33] {
        let m = spd::<T>(n, 100.0, 35);
        let eigen = SymEigen::new(&Ctx::<f64>::default(), m.cast()).unwrap();
        let a = SymmetricDense::new(m).unwrap();
        for steps in [1, 2, 8, n] {
            let found = largest_ritz_value(&ctx, &a, steps, 36).unwrap();
            let (top, limit) = (*eigen.values().last().unwrap(), tolerance::<T>(n, 1.0));
            assert!(found.value <= top * (1.0 + limit), "{found:?}, {top}");
            let nearest = eigen.values().iter().map(|w| (w - found.value).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= found.residual + limit, "{found:?}: the nearest eigenvalue is {nearest:e} away");
            assert!(steps < n || found.value >= top * (1.0 - limit), "{found:?}, {top}");
            assert!(found.steps <= steps.min(n));
        }
    }
}

for_both!(
    exact_kinds,
    conditions,
    broken_solvers,
    factored_solvers,
    iterative_solvers,
    edges,
    gap_of_eq_24,
    steps_compared,
    operator_norm_rule,
    ritz_values
);
