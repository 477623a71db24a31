//! The laws of [`Curvature`] and of the [`DampedSolver`] that damping yields.
//!
//! ```text
//! operator      the laws of a self-adjoint operator (suite "operator")
//! quadratic     vᵀCv is the product's, and >= 0 (to rounding) where C says it is semidefinite
//! residual      ‖b - M x‖ <= tolerance(n, κ) ‖b‖ for the matrix M = C + λI, or the claimed nearby one; an iterative
//!               solver's own relative residual comes on top
//! damping       ‖x‖ falls as λ grows;  ‖λx - b‖ <= ‖M - λI‖/λ ‖b‖;  damped is pure, and repeatable to the bit
//! direct        solve, apply and precondition are one map, and it is a preconditioner (suite "preconditioner")
//! ```
//! λ runs over 0.01 to 10⁴ times ‖C‖_F (from 2 ‖C‖_F where C may be indefinite); κ is the largest row sum of M over the
//! smallest eigenvalue that λ guarantees.
//!
//! Cost        the operator suite, and four times: one `damped`, about twelve solves of two columns; for a direct solver
//!             the preconditioner's suite four times.
//! Laws        tests/broken_implementors.rs (each law rejects an implementor that breaks it).

mod solver;

use super::dense::{differing, norm, times};
use super::operator::check_self_adjoint;
use super::{Claim, Measure, Recorder, Report, Setup, gallery, preconditioner, tolerance};
use crate::backend::Ctx;
use crate::curvature::{Curvature, DampedInverse, DampedSolver, Damping, Definiteness};
use crate::error::{Error, Result};
use crate::linop::LinearOperator;
use crate::mat::Mat;
use crate::scalar::Scalar;

/// What [`check`] measures beside the operator's laws.
pub const LAWS: [&str; 19] = [
    "builds",
    "has the quadratic form of its product",
    "is semidefinite where it says so",
    "refuses wrong shapes in quadratic_form",
    "damps",
    "is not changed by damping",
    "states order, damping and fidelity",
    "solves its system",
    "reports as its fidelity says",
    "damps repeatably",
    "solves repeatably",
    "solve reads no old contents",
    "solve keeps to padded views",
    "solves a block column by column",
    "solve refuses wrong shapes",
    "solves no right-hand side",
    "solve returns its scratch",
    "shrinks as the damping grows",
    "tends to b over lambda",
];

/// What [`check_direct`] measures beside [`LAWS`], and beside the preconditioner's laws.
pub const DIRECT_LAWS: [&str; 1] = ["solve, apply and precondition are one map"];

/// λ in units of ‖C‖_F.
const MULTIPLES: [f64; 4] = [1e-2, 1.0, 1e2, 1e4];
/// The same where C may have eigenvalues down to -‖C‖_F.
const INDEFINITE_MULTIPLES: [f64; 3] = [2.0, 1e2, 1e4];

/// Holds the curvature that `make` builds to the laws, whatever its solver is.
///
/// ```
/// use pullback::curvature::{Definiteness, MatrixFree};
/// use pullback::{Mat, linop::SymmetricDense, testing::{Claim, Setup, curvature, gallery}};
/// let a = gallery::spd::<f64>(6, 10.0, 1);
/// let claim = Claim::exact("products only", a.cast()).iterative();
/// let free = |_: &_| Ok(MatrixFree::new(SymmetricDense::new(a.clone())?, Definiteness::PositiveSemidefinite));
/// curvature::check(&Setup::default(), &claim, free).assert_passed();
/// ```
pub fn check<T: Scalar, C: Curvature<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<C>,
) -> Report {
    let mut report = check_self_adjoint(setup, claim, &make);
    let mut r = Recorder::new("curvature", setup.seed);
    for ctx in &setup.contexts {
        if let Some(c) = r.build(&claim.name, || make(ctx)) {
            let subject = Subject::new(ctx, claim, &c, setup.seed);
            subject.quadratic(&mut r);
            subject.purity(&mut r);
            solver::measure(&mut r, &subject);
        }
    }
    report.merge(r.into());
    report
}

/// Holds a curvature with a direct solver to all of [`check`], and its solver to the laws of a preconditioner.
///
/// ```
/// use pullback::{Mat, curvature::Diagonal, testing::{Claim, Setup, curvature}};
/// let claim = Claim::exact("diagonal", Mat::from_diagonal(&[1.0, 2.0]));
/// curvature::check_direct(&Setup::<f64>::default(), &claim, |_| Diagonal::new(vec![1.0, 2.0])).assert_passed();
/// ```
pub fn check_direct<T: Scalar, C>(setup: &Setup<T>, claim: &Claim<'_, T>, make: impl Fn(&Ctx<T>) -> Result<C>) -> Report
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    let mut report = check(setup, claim, &make);
    let mut r = Recorder::new("curvature", setup.seed);
    for ctx in &setup.contexts {
        let Ok(c) = make(ctx) else { continue };
        let subject = Subject::new(ctx, claim, &c, setup.seed);
        for (relative, lambda) in subject.dampings() {
            r.law("solve, apply and precondition are one map", subject.at(relative), || subject.one_map(lambda));
            let kappa = subject.condition(&claim.system(&subject.matrix, lambda.get()), lambda);
            let name = format!("inverse of {} at lambda {relative:e} of the norm", claim.name);
            let inverse = Claim::unknown(name).with_condition(claim.condition * kappa);
            let here = Setup::on(ctx.clone()).seeded(setup.seed);
            report.merge(preconditioner::check(&here, &inverse, |ctx| make(ctx)?.damped(ctx, lambda)));
        }
    }
    report.merge(r.into());
    report
}

impl<T: Scalar, C: Curvature<T>> Subject<'_, T, C>
where
    C::Solver: DampedInverse<T>,
{
    /// How many numbers of a solution differ by the name under which it is asked for.
    fn one_map(&self, lambda: Damping<T>) -> Result<Measure> {
        let solver = self.c.damped(self.ctx, lambda)?;
        let fresh = || Mat::from_fn(self.b.nrows(), self.b.ncols(), |_, _| T::nan());
        let (mut solved, mut applied, mut preconditioned) = (fresh(), fresh(), fresh());
        solver.solve(self.ctx, self.b.as_ref(), solved.as_mut())?;
        solver.apply(self.ctx, self.b.as_ref(), applied.as_mut())?;
        solver.precondition(self.ctx, self.b.as_ref(), preconditioned.as_mut())?;
        Ok(Measure::count(differing(&solved, &applied) + differing(&solved, &preconditioned)))
    }
}

/// A curvature with the operands of its laws.
struct Subject<'a, T, C> {
    ctx: &'a Ctx<T>,
    claim: &'a Claim<'a, T>,
    c: &'a C,
    place: String,
    matrix: Mat<f64>,
    b: Mat<T>,
}

impl<'a, T: Scalar, C: Curvature<T>> Subject<'a, T, C> {
    fn new(ctx: &'a Ctx<T>, claim: &'a Claim<'a, T>, c: &'a C, seed: u64) -> Self {
        let n = c.dim();
        let dense = || c.to_dense(ctx).map(|m| m.cast()).unwrap_or_else(|_| Mat::zeros(n, n));
        let matrix = claim.matrix.clone().unwrap_or_else(dense);
        let b = gallery::uniform(n, 2, seed.wrapping_mul(8).wrapping_add(3));
        Self { ctx, claim, c, place: claim.place(ctx, c.shape()), matrix, b }
    }

    /// ‖C‖_F, and 1 for a zero matrix: the unit of λ.
    fn size(&self) -> f64 {
        let size = norm(&self.matrix);
        if size > 0.0 && size.is_finite() { size } else { 1.0 }
    }

    fn dampings(&self) -> Vec<(f64, Damping<T>)> {
        let multiples: &[f64] = match self.c.definiteness() {
            Definiteness::PositiveSemidefinite => &MULTIPLES,
            Definiteness::Indefinite => &INDEFINITE_MULTIPLES,
        };
        let damping = |&multiple| Damping::new(T::of(multiple * self.size())).map(|lambda| (multiple, lambda));
        multiples.iter().filter_map(damping).collect()
    }

    fn at(&self, relative: f64) -> String {
        format!("{}, lambda {relative:e} of the norm", self.place)
    }

    /// The smallest eigenvalue of C + λI that definiteness guarantees.
    fn smallest(&self, lambda: Damping<T>) -> f64 {
        match self.c.definiteness() {
            Definiteness::PositiveSemidefinite => lambda.get().f64(),
            Definiteness::Indefinite => lambda.get().f64() - norm(&self.matrix),
        }
    }

    /// A bound for the condition of the damped matrix.
    fn condition(&self, system: &Mat<f64>, lambda: Damping<T>) -> f64 {
        super::dense::row_sum_norm(system) / self.smallest(lambda)
    }

    fn quadratic(&self, r: &mut Recorder) {
        let Self { ctx, claim, c, place, matrix, b } = self;
        let n = b.nrows();
        let forms = || -> Result<Vec<T>> {
            let mut forms = vec![T::nan(); b.ncols()];
            c.quadratic_form(ctx, b.as_ref(), &mut forms).map(|()| forms)
        };
        let bound = tolerance::<T>(n, claim.condition) * norm(matrix) * norm(b).powi(2);
        r.law("has the quadratic form of its product", place, || {
            let product = times(matrix, &b.cast())?;
            let forms = forms()?;
            let off = |(k, form): (usize, &T)| {
                let want = super::dense::dot(b.as_ref().col(k), product.as_ref().col(k));
                Measure::ratio((form.f64() - want).abs(), bound)
            };
            Ok(forms.iter().enumerate().map(off).fold(Measure::holds(true), Measure::worse))
        });
        if c.definiteness() == Definiteness::PositiveSemidefinite {
            r.law("is semidefinite where it says so", place, || {
                let below = |form: T| Measure::ratio((-form.f64()).max(0.0), bound);
                Ok(forms()?.into_iter().map(below).fold(Measure::holds(true), Measure::worse))
            });
        }
        r.holds("refuses wrong shapes in quadratic_form", place, || {
            let refused = |rows: usize, forms: usize| {
                let v = Mat::zeros(rows, 2);
                let outcome = c.quadratic_form(ctx, v.as_ref(), &mut vec![T::ZERO; forms]);
                matches!(outcome, Err(Error::Shape { .. }))
            };
            Ok(refused(n, 3) && refused(n, 1) && refused(n + 1, 2))
        });
    }

    fn purity(&self, r: &mut Recorder) {
        let Self { ctx, c, place, b, .. } = self;
        r.law("is not changed by damping", place, || {
            let apply = || {
                let mut y = Mat::zeros(b.nrows(), b.ncols());
                c.apply(ctx, b.as_ref(), y.as_mut()).map(|()| y)
            };
            let before = apply()?;
            for (_, lambda) in self.dampings() {
                c.damped(ctx, lambda)?;
            }
            Ok(Measure::count(differing(&before, &apply()?)))
        });
    }
}
