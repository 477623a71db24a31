//! Steihaug's and the generalized Lanczos method against the dense solution of the trust-region problem, in the norm of
//! the preconditioner too; their optimality, order and breakdowns.

mod cg_support;
#[macro_use]
#[path = "common/for_both.rs"]
mod for_both;

use cg_support::*;
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{CgOptions, CgStop, StallRule, TrustRegionReport, gltr, pcg, steihaug};
use pullback::linop::{FnOperator, Identity, Scaled};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, Preconditioner, Scalar};

type Never = std::convert::Infallible;

/// A problem in f64: A, M (with its inverse), b.
struct Problem {
    a: Mat<f64>,
    m: Mat<f64>,
    m_inv: Mat<f64>,
    b: Mat<f64>,
    preconditioned: bool,
}

impl Problem {
    fn new(spectrum: &[f64], preconditioned: bool, seed: u64) -> Self {
        let n = spectrum.len();
        let d = if preconditioned { graded(n, 4.0) } else { vec![1.0; n] };
        let (m, m_inv) =
            (with_spectrum(&d, seed + 1), with_spectrum(&d.iter().map(|d| 1.0 / d).collect::<Vec<_>>(), seed + 1));
        Self { a: with_spectrum(spectrum, seed), m, m_inv, b: random(n, 1, seed + 2), preconditioned }
    }

    fn run<T: Scalar>(&self, ctx: &Ctx<T>, exact: bool, radius: f64, steps: usize) -> (TrustRegionReport, Mat<f64>) {
        let (a, m) = (operator::<T>(&self.a), Trusted(operator::<T>(&self.m_inv)));
        let m = self.preconditioned.then_some(&m as &dyn Preconditioner<T>);
        let b: Mat<T> = self.b.cast();
        let mut x = Mat::zeros(b.nrows(), 1);
        let tight = T::of(tolerance::<T>(b.nrows(), 1.0));
        let options = CgOptions { max_iterations: steps, relative_tolerance: tight, ..CgOptions::default() };
        let solve = if exact { gltr } else { steihaug };
        let report = solve(ctx, &a, m, b.as_slice(), radius, x.as_mut_slice(), &options).expect("valid arguments");
        (report, x.cast())
    }

    fn norm(&self, x: &Mat<f64>) -> f64 {
        let mx = product(&self.m, x);
        (0..x.nrows()).map(|i| x[(i, 0)] * mx[(i, 0)]).sum::<f64>().sqrt()
    }

    fn model(&self, x: &Mat<f64>) -> f64 {
        dense_model(&self.a, &self.b, x, 0)
    }

    /// The exact solution by an eigendecomposition in the variable y = Lᵀx, M = L Lᵀ, and bisection for the multiplier.
    fn dense(&self, radius: f64) -> (f64, Mat<f64>) {
        let (n, ctx) = (self.a.nrows(), Ctx::reference());
        let l = Cholesky::new(&ctx, self.m.clone()).unwrap();
        // L⁻¹ A L⁻ᵀ and L⁻¹ b by solving with L on either side
        let lower = Mat::from_fn(n, n, |i, j| if i >= j { l.l().at(i, j) } else { 0.0 });
        let inverse = forward_inverse(&lower);
        let c = product(&product(&inverse, &self.a), &inverse.transposed());
        let c = Mat::from_fn(n, n, |i, j| 0.5 * (c[(i, j)] + c[(j, i)]));
        let eigen = SymEigen::new(&ctx, c).unwrap();
        let q = eigen.vectors().to_owned();
        let g = product(&q.transposed(), &product(&inverse, &self.b));
        let w = eigen.values();
        // by s = w_0 + μ, which may be tiny
        let length = |s: f64| (0..n).map(|i| (g[(i, 0)] / (w[i] - w[0] + s)).powi(2)).sum::<f64>().sqrt();
        let mut s = w[0];
        if w[0] <= 0.0 || length(w[0]) > radius {
            let (mut low, mut high) = (w[0].max(0.0), w[0].max(0.0) + euclidean(&g) / radius + 1.0);
            for _ in 0..200 {
                s = 0.5 * (low + high);
                if length(s) > radius { low = s } else { high = s }
            }
        }
        let mu = s - w[0];
        let y = Mat::from_fn(n, 1, |i, _| g[(i, 0)] / (w[i] - w[0] + s));
        (mu, product(&inverse.transposed(), &product(&q, &y)))
    }
}

fn euclidean(g: &Mat<f64>) -> f64 {
    g.as_slice().iter().map(|g| g * g).sum::<f64>().sqrt()
}

/// L⁻¹ by forward substitution.
fn forward_inverse(l: &Mat<f64>) -> Mat<f64> {
    let n = l.nrows();
    let mut x = Mat::identity(n);
    for j in 0..n {
        for i in 0..n {
            let sum: f64 = (0..i).map(|k| l[(i, k)] * x[(k, j)]).sum();
            x[(i, j)] = (x[(i, j)] - sum) / l[(i, i)];
        }
    }
    x
}

fn indefinite(n: usize) -> Vec<f64> {
    graded(n, 20.0).iter().enumerate().map(|(i, w)| if i % 5 == 2 { -0.3 * w } else { *w }).collect()
}

fn problems() -> impl Iterator<Item = (String, Problem)> {
    let sizes = [1, 2, 3, 8, 31, 33];
    sizes.into_iter().flat_map(|n| [false, true].map(|m| (n, m))).flat_map(|(n, m)| {
        [("definite", graded(n, 20.0)), ("indefinite", indefinite(n))].map(|(name, spectrum)| {
            let seed = 100 * n as u64 + u64::from(m);
            (format!("{name}, order {n}, preconditioned: {m}, seed {seed}"), Problem::new(&spectrum, m, seed))
        })
    })
}

const RADII: [f64; 4] = [0.01, 0.3, 2.0, 1e4];

fn the_dense_solution<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, problem) in problems() {
            let n = problem.a.nrows();
            for radius in RADII {
                let (report, x) = problem.run(&ctx, true, radius, 10 * n);
                let (mu, expected) = problem.dense(radius);
                let place = format!("{place}, radius {radius}: {report:?}, μ = {mu}");
                // what rounding in A, b and M⁻¹ leaves of φ, at the size of its terms
                let size = radius.min(problem.norm(&expected));
                let terms = size * (20.0 * size + 2.0 * (n as f64).sqrt());
                let slack = tolerance::<T>(n, 8.0) * terms;
                let (found, best) = (problem.model(&x), problem.model(&expected));
                assert!((found - best).abs() <= slack, "{found} against {best}, {place}");
                assert!((report.model - found).abs() <= slack, "{place}");
                assert!((report.norm - problem.norm(&x)).abs() <= tolerance::<T>(n, 8.0) * radius, "{place}");
                assert!(report.norm <= radius * (1.0 + tolerance::<T>(n, 8.0)), "{place}");
                assert_eq!(report.on_boundary, mu > 0.0, "{place}");
                let stop = if report.on_boundary { CgStop::TrustRegionBoundary } else { CgStop::Converged };
                assert_eq!(report.stop, stop, "{place}");
                let scale = 20.0 + mu + (n as f64).sqrt() / radius;
                assert!((report.multiplier - mu).abs() <= tolerance::<T>(n, 100.0) * scale, "{place}");
            }
        }
    }
}

/// (A + μ M) x = b where M x is asked of the dense M.
fn the_conditions_of_optimality<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, problem) in problems() {
            let n = problem.a.nrows();
            for radius in RADII {
                let (report, x) = problem.run(&ctx, true, radius, 10 * n);
                let (ax, mx) = (product(&problem.a, &x), product(&problem.m, &x));
                let off = |i: usize| ax[(i, 0)] + report.multiplier * mx[(i, 0)] - problem.b[(i, 0)];
                let residual = (0..n).map(|i| off(i).powi(2)).sum::<f64>().sqrt();
                let size = (20.0 + 4.0 * report.multiplier) * report.norm + (n as f64).sqrt();
                assert!(residual <= tolerance::<T>(n, 8.0) * size, "{residual}, {place}, radius {radius}: {report:?}");
                assert!(report.multiplier >= 0.0);
            }
        }
    }
}

fn steihaug_inside_is_conjugate_gradient<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 31, 64] {
            let a = operator::<T>(&with_spectrum(&graded(n, 30.0), 7));
            let b: Mat<T> = random(n, 1, 8).cast();
            let (mut x, mut y) = (Mat::zeros(n, 1), Mat::zeros(n, 1));
            let options = CgOptions::from_zero();
            let cg = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &options).unwrap();
            let inside = steihaug(&ctx, &a, None, b.as_slice(), 1e6, y.as_mut_slice(), &options).unwrap();
            assert_eq!(x, y);
            assert_eq!((inside.stop, inside.iterations), (cg.stop(), cg.iterations()));
            assert_eq!((inside.model, inside.multiplier, inside.on_boundary), (cg.columns()[0].model, 0.0, false));
            let norm = y.as_slice().iter().map(|y| y.f64().powi(2)).sum::<f64>().sqrt();
            assert!((inside.norm - norm).abs() <= tolerance::<T>(n, 30.0) * norm);
        }
    }
}

fn steps_lengthen_and_the_model_falls<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (place, problem) in problems() {
            let n = problem.a.nrows();
            for (radius, exact) in RADII.into_iter().flat_map(|radius| [(radius, false), (radius, true)]) {
                let runs: Vec<_> = (0..=n.min(12)).map(|k| problem.run(&ctx, exact, radius, k)).collect();
                for (pair, k) in runs.windows(2).zip(1..) {
                    let ((before, x), (after, y)) = (&pair[0], &pair[1]);
                    let place = format!("{place}, radius {radius}, exact: {exact}, step {k}");
                    let slack = tolerance::<T>(n, 20.0);
                    let moved = after.iterations > before.iterations;
                    let size = after.model.abs() + slack;
                    assert!(after.model <= before.model + slack * size && (!moved || after.model < 0.0), "{place}");
                    let (short, long) = (problem.norm(x), problem.norm(y));
                    assert!(long >= short * (1.0 - slack), "{short} then {long}, {place}");
                    assert!(exact || (after.norm - long).abs() <= slack * long, "{place}");
                    assert!(long <= radius * (1.0 + slack), "{place}");
                }
            }
        }
    }
}

fn the_exact_solution_is_no_worse<T: Scalar>() {
    for ctx in contexts::<T>() {
        let mut better = 0;
        for (place, problem) in problems() {
            for radius in RADII {
                let n = problem.a.nrows();
                let (truncated, _) = problem.run(&ctx, false, radius, 10 * n);
                let (exact, _) = problem.run(&ctx, true, radius, 10 * n);
                let slack = tolerance::<T>(n, 20.0) * truncated.model.abs();
                assert!(exact.model <= truncated.model + slack, "{place}, radius {radius}: {exact:?} {truncated:?}");
                better += usize::from(exact.model < 1.01 * truncated.model);
                // Yuan: half of the best reduction, where A is positive definite
                if place.starts_with("definite") {
                    assert!(truncated.model <= 0.5 * exact.model + slack, "{place}, radius {radius}");
                }
            }
        }
        assert!(better > 5, "a percent better in {better} cases");
    }
}

/// As many dimensions as there are distinct eigenvalues hold the solution, inside or on the boundary.
fn distinct_eigenvalues_bound_the_steps<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, distinct) in [(8, 1), (31, 2), (64, 5)] {
            let problem = Problem::new(&clustered(n, distinct), false, 40 + n as u64);
            for (radius, exact) in [(0.1, true), (1e3, true), (1e3, false)] {
                let (report, x) = problem.run(&ctx, exact, radius, 10 * n);
                assert_eq!(report.on_boundary, radius < 1.0);
                assert!(report.iterations <= distinct + usize::from(!exact && distinct > 2), "{report:?}");
                let best = problem.model(&problem.dense(radius).1);
                assert!((problem.model(&x) - best).abs() <= tolerance::<T>(n, 10.0) * best.abs(), "{report:?}");
            }
        }
    }
}

fn powers_of_two_change_no_digit<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    let problem = Problem::new(&indefinite(33), false, 3);
    let a = operator::<T>(&problem.a);
    let b: Mat<T> = problem.b.cast();
    for solve in [steihaug::<T>, gltr::<T>] {
        let run = |exponent: i32| {
            let scale = T::of(2f64.powi(exponent));
            let scaled = b.map(|b| scale * b);
            let mut x = Mat::zeros(33, 1);
            let radius = 0.7 * 2f64.powi(exponent);
            let options = CgOptions::default();
            let report = solve(&ctx, &a, None, scaled.as_slice(), radius, x.as_mut_slice(), &options).unwrap();
            (x.map(|x| x / scale), report.model / 2f64.powi(2 * exponent), report.multiplier)
        };
        assert!(run(0) == run(40) && run(0) == run(-40));
    }
}

for_both!(
    the_dense_solution,
    the_conditions_of_optimality,
    steihaug_inside_is_conjugate_gradient,
    steps_lengthen_and_the_model_falls,
    the_exact_solution_is_no_worse,
    distinct_eigenvalues_bound_the_steps,
    powers_of_two_change_no_digit,
);

#[test]
fn the_hard_case_is_reported() {
    // b has no part in the direction of the negative eigenvalue: the Krylov space does not show it
    let a = operator::<f64>(&Mat::from_diagonal(&[-2.0, 1.0, 3.0]));
    let (b, mut x) = ([0.0, 1.0, 1.0], [0.0; 3]);
    let report = gltr(&Ctx::default(), &a, None, &b, 5.0, &mut x, &CgOptions::default()).unwrap();
    assert!(report.exhausted && !report.on_boundary && report.iterations == 2);
    assert!((x[1] - 1.0).abs() <= tolerance::<f64>(3, 3.0) && x[0] == 0.0);
    // nearly so: the multiplier comes close to -θ_1 = 2, and the step along the eigenvector fills the radius
    let radius = 5.0f64;
    for part in [1e-3, 1e-6, 1e-9] {
        let b = [part, 1.0, 1.0];
        let options = CgOptions { relative_tolerance: 0.0, ..CgOptions::default() };
        let report = gltr(&Ctx::default(), &a, None, &b, radius, &mut x, &options).unwrap();
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(report.on_boundary && (norm - radius).abs() <= tolerance::<f64>(3, 10.0) * radius, "{report:?}");
        // φ = -½ bᵀ(A + μ)⁻¹b - ½ μ Δ², at μ = 2 and up to the part that is left out
        let limit = -0.5 * (1.0 / 3.0 + 1.0 / 5.0) - radius.powi(2);
        let left_out = part * radius + tolerance::<f64>(3, 10.0) * radius.powi(2);
        assert!(report.model <= limit && report.model >= limit - 2.0 * left_out, "{} near {limit}", report.model);
        assert!((report.multiplier - 2.0).abs() <= part, "{report:?}");
    }
}

#[test]
fn breakdowns_are_values() {
    let ctx = Ctx::<f64>::default();
    let n = 5;
    let nan = FnOperator::new(n, |_: &[f64], out: &mut [f64]| {
        out.fill(f64::NAN);
        Ok::<(), Never>(())
    });
    let identity = Identity::new(n);
    let negative = Trusted(Scaled::new(Identity::new(n), -1.0));
    let b = random(n, 1, 1);
    let mut infinite = b.clone();
    infinite[(2, 0)] = f64::INFINITY;
    for solve in [steihaug::<f64>, gltr::<f64>] {
        let mut x = vec![7.0; n];
        let options = CgOptions::default();
        let report = solve(&ctx, &nan, None, b.as_slice(), 1.0, &mut x, &options).unwrap();
        assert_eq!((report.stop, report.model, x.clone()), (CgStop::Breakdown, 0.0, vec![0.0; n]));
        let report = solve(&ctx, &identity, Some(&Trusted(&nan)), b.as_slice(), 1.0, &mut x, &options).unwrap();
        assert_eq!((report.stop, x.clone()), (CgStop::Breakdown, vec![0.0; n]));
        let report = solve(&ctx, &identity, None, infinite.as_slice(), 1.0, &mut x, &options).unwrap();
        assert_eq!((report.stop, x.clone()), (CgStop::Breakdown, vec![0.0; n]));
        let report = solve(&ctx, &identity, Some(&negative), b.as_slice(), 1.0, &mut x, &options).unwrap();
        assert_eq!((report.stop, x.clone()), (CgStop::PreconditionerNotPositive, vec![0.0; n]));
        let report = solve(&ctx, &identity, None, &vec![0.0; n], 1.0, &mut x, &options).unwrap();
        assert_eq!((report.stop, report.products), (CgStop::Converged, 0));
        let none = CgOptions { max_iterations: 0, ..options };
        assert_eq!(
            solve(&ctx, &identity, None, b.as_slice(), 1.0, &mut x, &none).unwrap().stop,
            CgStop::IterationLimit
        );
        let slow = operator(&with_spectrum(&graded(300, 1e6), 4));
        let (b, mut x) = (random(300, 1, 5), vec![0.0; 300]);
        let rule = CgOptions { stall: Some(StallRule::default()), relative_tolerance: 0.0, ..options };
        let report = solve(&ctx, &slow, None, b.as_slice(), 1e9, &mut x, &rule).unwrap();
        assert_eq!(report.stop, CgStop::ModelStalled);
        assert_eq!(solve(&ctx, &Identity::new(0), None, &[], 1.0, &mut [], &options).unwrap().stop, CgStop::Converged);
    }
}

#[test]
fn misuse_is_an_error() {
    let (ctx, a, m4) = (Ctx::<f64>::default(), Identity::new(3), Identity::new(4));
    for solve in [steihaug::<f64>, gltr::<f64>] {
        let run = |n: usize, len: usize, m: Option<&dyn Preconditioner<f64>>, radius: f64| {
            solve(&ctx, &a, m, &vec![1.0; n], radius, &mut vec![0.0; len], &CgOptions::default())
        };
        run(3, 3, None, 1.0).unwrap();
        for (n, len, m) in [(4, 4, None), (3, 2, None), (3, 3, Some(&m4 as &dyn Preconditioner<f64>))] {
            assert!(matches!(run(n, len, m, 1.0), Err(Error::Shape { .. })));
        }
        for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(run(3, 3, None, radius), Err(Error::InvalidParameter { name: "radius", .. })));
        }
    }
}
