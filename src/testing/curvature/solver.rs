//! The laws of the solver that damping yields, at one λ after the other.

use super::Subject;
use crate::curvature::{Curvature, DampedSolver, Damping, Fidelity, SolvePath, SolveReport};
use crate::error::{Error, Result};
use crate::krylov::CgStop;
use crate::mat::Mat;
use crate::scalar::Scalar;
use crate::testing::dense::{differing, distance, norm, row_sum_norm, shifted, times};
use crate::testing::{Measure, Padded, Recorder, gallery, tolerance};

/// One damped system.
struct Solve<'a, T: Scalar, C: Curvature<T>> {
    subject: &'a Subject<'a, T, C>,
    solver: &'a C::Solver,
    lambda: Damping<T>,
    place: String,
    /// The matrix that the solver inverts.
    system: Mat<f64>,
    kappa: f64,
}

pub(super) fn measure<T: Scalar, C: Curvature<T>>(r: &mut Recorder, subject: &Subject<'_, T, C>) {
    let mut last: Option<f64> = None;
    for (relative, lambda) in subject.dampings() {
        let place = subject.at(relative);
        let mut solver = None;
        r.holds("damps", &place, || {
            solver = Some(subject.c.damped(subject.ctx, lambda)?);
            Ok(true)
        });
        let Some(solver) = solver else { continue };
        let system = subject.claim.system(&subject.matrix, lambda.get());
        let kappa = subject.condition(&system, lambda) * subject.claim.condition;
        let solve = Solve { subject, solver: &solver, lambda, place, system, kappa };
        solve.statements(r);
        solve.residual(r);
        solve.repetition(r);
        solve.views(r);
        solve.shapes(r);
        last = solve.growth(r, last);
    }
}

impl<T: Scalar, C: Curvature<T>> Solve<'_, T, C> {
    /// X for B, from old contents that would spread if they were read.
    fn solve(&self, b: &Mat<T>) -> Result<(Mat<T>, SolveReport)> {
        let mut x = Mat::from_fn(b.nrows(), b.ncols(), |_, _| T::nan());
        let report = self.solver.solve(self.subject.ctx, b.as_ref(), x.as_mut())?;
        Ok((x, report))
    }

    /// tolerance(n, κ), and the relative residual that an iterative solver owns up to, taken for every column.
    fn relative(&self, report: &SolveReport) -> f64 {
        let owned = match report {
            SolveReport::Direct => 0.0,
            SolveReport::Iterative { relative_residual, .. } => *relative_residual,
        };
        tolerance::<T>(self.subject.b.nrows(), self.kappa) + owned
    }

    /// The bound of ‖x - y‖ for two solutions with such residuals: the inverse is at most 1/λ_min.
    fn apart(&self, x: &Mat<T>, report: &SolveReport) -> f64 {
        let rounding = tolerance::<T>(self.subject.b.nrows(), self.kappa);
        let owned = self.relative(report) - rounding;
        let spread = 2.0 * owned * norm(&self.subject.b) * self.kappa / row_sum_norm(&self.system);
        rounding * norm(x) + if owned > 0.0 { spread } else { 0.0 }
    }

    fn statements(&self, r: &mut Recorder) {
        let (solver, b) = (self.solver, &self.subject.b);
        let claimed = self.subject.claim.fidelity;
        r.holds("states order, damping and fidelity", &self.place, || {
            let fidelity = solver.fidelity() == claimed || b.nrows() == 0;
            Ok(solver.dim() == b.nrows() && solver.damping() == self.lambda && fidelity)
        });
        r.holds("reports as its fidelity says", &self.place, || {
            let (_, report) = self.solve(b)?;
            let iterates = matches!(solver.path(), SolvePath::ConjugateGradient | SolvePath::Lsmr);
            Ok(match report {
                SolveReport::Direct => !iterates && (solver.fidelity() != Fidelity::Iterative || b.nrows() == 0),
                SolveReport::Iterative { relative_residual, stop, .. } => {
                    solver.fidelity() == Fidelity::Iterative
                        && relative_residual >= 0.0
                        && (stop != CgStop::Converged || relative_residual < 1.0)
                }
            })
        });
    }

    fn residual(&self, r: &mut Recorder) {
        let b = &self.subject.b;
        r.bound("solves its system", &self.place, || {
            let (x, report) = self.solve(b)?;
            let residual = distance(b, &times(&self.system, &x.cast())?);
            Ok((residual, self.relative(&report) * norm(b)))
        });
        r.bound("tends to b over lambda", &self.place, || {
            let (x, report) = self.solve(b)?;
            // ‖λ M⁻¹ - I‖ = ‖M⁻¹(M - λI)‖ <= ‖M - λI‖ / λ_min
            let lambda = self.lambda.get();
            let smallest = self.subject.smallest(self.lambda);
            let drift = norm(&shifted(&self.system, -lambda.f64())) / smallest;
            let scaled = x.map(|x| lambda * x);
            let owned = self.relative(&report) * lambda.f64() / smallest;
            Ok((distance(&scaled, b), (drift + owned) * norm(b)))
        });
    }

    fn repetition(&self, r: &mut Recorder) {
        let (b, ctx) = (&self.subject.b, self.subject.ctx);
        r.law("damps repeatably", &self.place, || {
            let (x, _) = self.solve(b)?;
            let mut again = x.clone();
            self.subject.c.damped(ctx, self.lambda)?.solve(ctx, b.as_ref(), again.as_mut())?;
            Ok(Measure::count(differing(&x, &again)))
        });
        r.law("solves repeatably", &self.place, || {
            let (x, again) = (self.solve(b)?.0, self.solve(b)?.0);
            self.solve(&b.map(|b| b * T::of(0.5) + T::ONE))?;
            Ok(Measure::count(differing(&x, &again) + differing(&x, &self.solve(b)?.0)))
        });
        r.law("solve reads no old contents", &self.place, || {
            let mut x = gallery::uniform::<T>(b.nrows(), b.ncols(), 9);
            self.solver.solve(ctx, b.as_ref(), x.as_mut())?;
            let fresh = self.solve(b)?.0;
            let not_finite = fresh.as_slice().iter().filter(|x| !x.is_finite()).count();
            Ok(Measure::count(differing(&x, &fresh) + not_finite))
        });
        r.holds("solve returns its scratch", &self.place, || {
            self.solve(b)?;
            let high = ctx.high_water();
            self.solve(b)?;
            self.solve(b)?;
            Ok(ctx.high_water() == high)
        });
    }

    fn views(&self, r: &mut Recorder) {
        let (b, ctx) = (&self.subject.b, self.subject.ctx);
        r.law("solve keeps to padded views", &self.place, || {
            let old = Mat::from_fn(b.nrows(), b.ncols(), |_, _| T::nan());
            let (pb, mut px) = (Padded::new(b, 2), Padded::new(&old, 3));
            self.solver.solve(ctx, pb.view(), px.view_mut())?;
            let (x, report) = self.solve(b)?;
            let error = distance(&px.view().to_owned(), &x);
            Ok(Measure::ratio(error, self.apart(&x, &report)).worse(Measure::count(px.spoiled())))
        });
        r.bound("solves a block column by column", &self.place, || {
            let (x, report) = self.solve(b)?;
            let mut alone = Mat::zeros(b.nrows(), b.ncols());
            for j in 0..b.ncols() {
                let column = Mat::from_fn(b.nrows(), 1, |i, _| b[(i, j)]);
                alone.as_mut().col_mut(j).copy_from_slice(self.solve(&column)?.0.as_slice());
            }
            Ok((distance(&alone, &x), self.apart(&x, &report)))
        });
    }

    fn shapes(&self, r: &mut Recorder) {
        let (n, ctx) = (self.subject.b.nrows(), self.subject.ctx);
        r.holds("solve refuses wrong shapes", &self.place, || {
            let refused = |b: (usize, usize), x: (usize, usize)| {
                let (b, mut x) = (Mat::zeros(b.0, b.1), Mat::zeros(x.0, x.1));
                matches!(self.solver.solve(ctx, b.as_ref(), x.as_mut()), Err(Error::Shape { .. }))
            };
            Ok(refused((n + 1, 2), (n, 2)) && refused((n, 2), (n + 1, 2)) && refused((n, 3), (n, 2)))
        });
        r.holds("solves no right-hand side", &self.place, || {
            self.solver.solve(ctx, Mat::zeros(n, 0).as_ref(), Mat::zeros(n, 0).as_mut())?;
            self.subject.c.quadratic_form(ctx, Mat::zeros(n, 0).as_ref(), &mut []).map(|()| true)
        });
    }

    /// ‖x‖ at this λ; it must lie below the one at the smaller λ before.
    fn growth(&self, r: &mut Recorder, last: Option<f64>) -> Option<f64> {
        let now = self.solve(&self.subject.b).map(|(x, _)| norm(&x)).ok();
        if let (Some(last), true) = (last, self.subject.b.nrows() > 0) {
            r.holds("shrinks as the damping grows", &self.place, || Ok(now.is_some_and(|now| now < last)));
        }
        now.or(last)
    }
}
