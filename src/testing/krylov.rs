//! The laws of an iterative solver of A X = B that sees A through products only.
//!
//! ```text
//! residual     ‖b - A x‖ / ‖b‖ of the x returned is what the solver reports, and small where it says "converged"
//! termination  as many iterations as A has distinct eigenvalues
//! start        the solution does not depend on the X passed in;  x(2ᵏ b) = 2ᵏ x(b)
//! breakdown    NaN products, an indefinite or a singular A: a value and a finite X, no error and no claim of convergence
//! ```
//! A solver is a closure; what a column reports, the worst column of a block reports.
//!
//! Cost        about forty runs on matrices of order up to 64, for each context.
//! Laws        tests/broken_implementors.rs.
//! Reference   Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 6.11 (termination).

use super::dense::{differing, distance, norm, row_sum_norm, times};
use super::{Measure, Padded, Recorder, Report, Setup, gallery, tolerance};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::{FnOperator, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// What a run reports, the worst over its columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Whether every column met the tolerance.
    pub converged: bool,
    /// The largest ‖b - A x‖ / ‖b‖ of the X returned.
    pub relative_residual: f64,
    /// The largest number of iterations.
    pub iterations: usize,
}

/// The matrices that a solver is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Symmetric positive definite ones (CG).
    PositiveDefinite,
    /// Symmetric ones of any sign (MINRES).
    Symmetric,
}

/// What [`check`] measures.
pub const LAWS: [&str; 13] = [
    "converges",
    "reports the true residual",
    "converged means a small residual",
    "terminates with the distinct eigenvalues",
    "does not depend on the start",
    "scales with b",
    "a zero right-hand side gives zero",
    "a breakdown is a value",
    "repeats bit for bit",
    "keeps to padded views",
    "solves a block column by column",
    "refuses wrong shapes",
    "serves zero sizes",
];

/// Holds `solve(ctx, a, b, x, relative tolerance)` to the laws.
///
/// ```
/// use pullback::krylov::{CgOptions, CgStop, pcg};
/// use pullback::testing::{Setup, krylov::{self, Domain, Outcome}};
/// let report = krylov::check::<f64>(&Setup::default(), "pcg", Domain::PositiveDefinite, |ctx, a, b, x, tolerance| {
///     let report = pcg(ctx, a, None, b, x, &CgOptions { relative_tolerance: tolerance, ..CgOptions::default() })?;
///     let (converged, iterations) = (report.stop() == CgStop::Converged, report.iterations());
///     Ok(Outcome { converged, relative_residual: report.relative_residual(), iterations })
/// });
/// report.assert_passed();
/// ```
pub fn check<T: Scalar>(
    setup: &Setup<T>,
    name: &str,
    domain: Domain,
    solve: impl Fn(&Ctx<T>, &dyn SelfAdjoint<T>, MatRef<'_, T>, MatMut<'_, T>, T) -> Result<Outcome>,
) -> Report {
    let mut r = Recorder::new("krylov", setup.seed);
    for ctx in &setup.contexts {
        let place = format!("{name} on {} in {}", ctx.backend().name(), T::NAME);
        let subject = Subject { ctx, domain, solve: &solve, place, seed: setup.seed };
        for n in [1, 2, 3, 31, 33, 64] {
            subject.accuracy(&mut r, n, 100.0);
        }
        for (n, distinct) in [(8, 1), (31, 2), (33, 3), (64, 5)] {
            subject.termination(&mut r, n, distinct);
        }
        subject.hard_problems(&mut r);
        subject.breakdowns(&mut r);
        subject.invariances(&mut r);
        subject.arguments(&mut r);
    }
    r.into()
}

struct Subject<'a, T, F> {
    ctx: &'a Ctx<T>,
    domain: Domain,
    solve: &'a F,
    place: String,
    seed: u64,
}

/// A run: what was reported, the X returned, the true relative residual and what rounding leaves of it.
struct Run<T> {
    outcome: Outcome,
    x: Mat<T>,
    residual: f64,
    rounding: f64,
}

impl<T: Scalar, F> Subject<'_, T, F>
where
    F: Fn(&Ctx<T>, &dyn SelfAdjoint<T>, MatRef<'_, T>, MatMut<'_, T>, T) -> Result<Outcome>,
{
    fn b(&self, n: usize, columns: usize) -> Mat<T> {
        gallery::uniform(n, columns, self.seed.wrapping_mul(16).wrapping_add(1))
    }

    fn spectrum(&self, w: &[f64]) -> Mat<T> {
        gallery::with_spectrum(w, self.seed.wrapping_mul(16).wrapping_add(2))
    }

    fn run_from(&self, a: &Mat<T>, b: &Mat<T>, mut x: Mat<T>, limit: f64) -> Result<Run<T>> {
        let operator = SymmetricDense::new(a.clone())?;
        let outcome = (self.solve)(self.ctx, &operator, b.as_ref(), x.as_mut(), T::of(limit))?;
        let wide: Mat<f64> = a.cast();
        let product = times(&wide, &x.cast())?;
        let mut worst = (0.0, 0.0);
        for j in 0..b.ncols() {
            let column = |m: &Mat<f64>| Mat::from_fn(m.nrows(), 1, |i, _| m[(i, j)]);
            let (bj, xj) = (column(&b.cast()), column(&x.cast()));
            let size = norm(&bj);
            let error = distance(&bj, &column(&product)) / if size > 0.0 { size } else { 1.0 };
            let rounding = tolerance::<T>(a.nrows(), 1.0) * (row_sum_norm(&wide) * norm(&xj) / size + 1.0);
            worst = (if error <= worst.0 { worst.0 } else { error }, f64::max(worst.1, rounding));
        }
        Ok(Run { outcome, x, residual: worst.0, rounding: worst.1 })
    }

    fn run(&self, a: &Mat<T>, b: &Mat<T>, limit: f64) -> Result<Run<T>> {
        self.run_from(a, b, Mat::zeros(b.nrows(), b.ncols()), limit)
    }

    /// The tolerance of a usual run.
    fn usual() -> f64 {
        T::EPS.f64().sqrt()
    }

    fn accuracy(&self, r: &mut Recorder, n: usize, condition: f64) {
        let place = format!("{}, order {n}, condition {condition}", self.place);
        let (a, b) = (gallery::spd::<T>(n, condition, self.seed), self.b(n, 2));
        r.holds("converges", &place, || Ok(self.run(&a, &b, Self::usual())?.outcome.converged));
        self.residual(r, &place, &a, &b);
    }

    fn residual(&self, r: &mut Recorder, place: &str, a: &Mat<T>, b: &Mat<T>) {
        r.bound("reports the true residual", place, || {
            let run = self.run(a, b, Self::usual())?;
            Ok(((run.outcome.relative_residual - run.residual).abs(), run.rounding))
        });
        r.bound("converged means a small residual", place, || {
            let run = self.run(a, b, Self::usual())?;
            // a residual carried along by a recurrence may pass the tolerance by its rounding
            let passed = (run.residual, 2.0 * Self::usual() + run.rounding);
            Ok(if run.outcome.converged { passed } else { (0.0, 1.0) })
        });
    }

    /// Matrices that a budget does not suffice for, or that have no solution.
    fn hard_problems(&self, r: &mut Recorder) {
        let n = 48;
        let reciprocal = 1.0 / T::EPS.f64();
        let near_singular: Mat<T> = gallery::spd(n, reciprocal, self.seed);
        self.residual(r, &format!("{}, condition 1/eps", self.place), &near_singular, &self.b(n, 1));
        let singular = Mat::from_fn(n, n, |i, j| if i == j && i > 0 { T::ONE + T::of(i as f64) } else { T::ZERO });
        self.residual(r, &format!("{}, singular and inconsistent", self.place), &singular, &self.b(n, 1));
        let indefinite: Vec<f64> = (0..n).map(|i| if i % 7 == 0 { -2.0 } else { 1.0 + (i % 3) as f64 }).collect();
        let (indefinite, place) = (self.spectrum(&indefinite), format!("{}, indefinite", self.place));
        self.residual(r, &place, &indefinite, &self.b(n, 1));
        if self.domain == Domain::Symmetric {
            r.holds("converges", &place, || Ok(self.run(&indefinite, &self.b(n, 1), Self::usual())?.outcome.converged));
        }
    }

    fn termination(&self, r: &mut Recorder, n: usize, distinct: usize) {
        let place = format!("{}, order {n}, {distinct} distinct eigenvalues", self.place);
        r.law("terminates with the distinct eigenvalues", place, || {
            let w: Vec<f64> = (0..n).map(|i| (1 + i % distinct) as f64).collect();
            let run = self.run(&self.spectrum(&w), &self.b(n, 1), tolerance::<T>(n, distinct as f64))?;
            let steps = Measure { value: run.outcome.iterations as f64, limit: distinct as f64 };
            Ok(steps.worse(Measure::holds(run.outcome.converged)))
        });
    }

    fn breakdowns(&self, r: &mut Recorder) {
        let n = 9;
        r.holds("a breakdown is a value", format!("{}, NaN products", self.place), || {
            let nan = FnOperator::new(n, |_: &[T], out: &mut [T]| {
                out.fill(T::nan());
                Ok::<(), std::convert::Infallible>(())
            });
            let (b, mut x) = (self.b(n, 2), Mat::zeros(n, 2));
            let outcome = (self.solve)(self.ctx, &nan, b.as_ref(), x.as_mut(), T::of(Self::usual()))?;
            Ok(!outcome.converged && x.as_ref().is_finite())
        });
        for bad in [T::nan(), T::infinity()] {
            r.holds("a breakdown is a value", format!("{}, {bad} in b", self.place), || {
                let (a, mut b, mut x) = (SymmetricDense::new(Mat::identity(n))?, self.b(n, 2), Mat::zeros(n, 2));
                b[(4, 1)] = bad;
                let outcome = (self.solve)(self.ctx, &a, b.as_ref(), x.as_mut(), T::of(Self::usual()))?;
                Ok(!outcome.converged && x.as_ref().is_finite())
            });
        }
        r.holds("a zero right-hand side gives zero", &self.place, || {
            let run = self.run(&gallery::spd(n, 10.0, self.seed), &Mat::zeros(n, 2), Self::usual())?;
            Ok(run.outcome.converged && run.x == Mat::zeros(n, 2))
        });
    }

    fn invariances(&self, r: &mut Recorder) {
        let (n, condition) = (33, 50.0);
        let (a, b) = (gallery::spd::<T>(n, condition, self.seed), self.b(n, 2));
        // ‖x - y‖ <= 2 κ (tolerance + rounding) ‖x‖ for two solutions within the tolerance
        let apart = |run: &Run<T>| 2.0 * condition * (2.0 * Self::usual() + run.rounding) * norm(&run.x);
        r.bound("does not depend on the start", &self.place, || {
            let (cold, start) = (self.run(&a, &b, Self::usual())?, gallery::uniform(n, 2, 17));
            let warm = self.run_from(&a, &b, start, Self::usual())?;
            Ok((distance(&warm.x, &cold.x), apart(&cold)))
        });
        r.law("scales with b", &self.place, || {
            let plain = self.run(&a, &b, Self::usual())?;
            let off = |exponent: i32| -> Result<Measure> {
                let scaled = self.run(&a, &gallery::scaled(&b, exponent), Self::usual())?;
                let back = gallery::scaled(&scaled.x, -exponent);
                let converged = Measure::holds(scaled.outcome.converged);
                Ok(Measure::ratio(distance(&back, &plain.x), apart(&plain)).worse(converged))
            };
            Ok(off(50)?.worse(off(-50)?))
        });
        r.law("repeats bit for bit", &self.place, || {
            let first = self.run(&a, &b, Self::usual())?;
            let again = self.run(&a, &b, Self::usual())?;
            Ok(Measure::count(differing(&first.x, &again.x)).worse(Measure::holds(first.outcome == again.outcome)))
        });
        r.bound("solves a block column by column", &self.place, || {
            let together = self.run(&a, &b, Self::usual())?;
            let mut alone = Mat::zeros(n, 2);
            for j in 0..2 {
                let column = Mat::from_fn(n, 1, |i, _| b[(i, j)]);
                alone.as_mut().col_mut(j).copy_from_slice(self.run(&a, &column, Self::usual())?.x.as_slice());
            }
            Ok((distance(&alone, &together.x), apart(&together)))
        });
        r.law("keeps to padded views", &self.place, || {
            let plain = self.run(&a, &b, Self::usual())?;
            let (pb, mut px) = (Padded::new(&b, 2), Padded::new(&Mat::zeros(n, 2), 3));
            let operator = SymmetricDense::new(a.clone())?;
            (self.solve)(self.ctx, &operator, pb.view(), px.view_mut(), T::of(Self::usual()))?;
            let near = Measure::ratio(distance(&px.view().to_owned(), &plain.x), apart(&plain));
            Ok(near.worse(Measure::count(px.spoiled())))
        });
    }

    fn arguments(&self, r: &mut Recorder) {
        r.holds("refuses wrong shapes", &self.place, || {
            let a = SymmetricDense::new(Mat::identity(3))?;
            let refused = |b: (usize, usize), x: (usize, usize)| {
                let (b, mut x) = (Mat::zeros(b.0, b.1), Mat::zeros(x.0, x.1));
                let outcome = (self.solve)(self.ctx, &a, b.as_ref(), x.as_mut(), T::of(Self::usual()));
                matches!(outcome, Err(Error::Shape { .. }))
            };
            Ok(refused((4, 1), (3, 1)) && refused((3, 1), (4, 1)) && refused((3, 2), (3, 1)))
        });
        for (n, columns) in [(0, 0), (0, 2), (4, 0)] {
            r.holds("serves zero sizes", format!("{}, {n}x{columns}", self.place), || {
                let run = self.run(&Mat::identity(n), &Mat::zeros(n, columns), Self::usual())?;
                Ok(run.outcome.converged && run.outcome.iterations == 0)
            });
        }
    }
}
