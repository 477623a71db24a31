//! [`SampleSpaceSolver`]: (JᵀJ + λI) X = B on whatever path was chosen; and its iterative paths.
//!
//! ```text
//! CG       on JᵀJ + λI, for g = Jᵀr too
//! LSMR     min ‖J x - r‖² + λ‖x‖²                       for g = Jᵀr
//!          min ‖[J; √λ I] x - [0; g/√λ]‖²               for any other g: the same normal equations
//! ```
//! Cost        two products an iteration, as in the files of conjugate gradient and LSMR; damping is free.
//! Deviations  an iteration stopped early is not linear in B, so a solver that may iterate is no preconditioner; the
//!             direct ones are, by [`SampleSpaceSolver::into_direct`] or
//!             [`SampleSpace::direct`](super::SampleSpace::direct).
//! Laws        tests/sample_space.rs.
//! Reference   D. C.-L. Fong, M. Saunders, 2011, doi 10.1137/10079687X.

use super::{JacobianSource, PathPlan, SampleSpace, SampleSpaceInverse, SampleSpacePath};
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::curvature::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, MatrixFree, MatrixFreeSolver, Recovery, SolvePath,
    SolveReport,
};
use crate::error::{Result, check_shape};
use crate::krylov::{CgOptions, CgStop, LsmrOptions, LsmrReport, LsmrStop, lsmr};
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Solves (JᵀJ + λI) X = B, directly or by an iteration.
///
/// It is no preconditioner, since the path may be an iteration:
///
/// ```compile_fail,E0277
/// use pullback::curvature::{DenseJacobian, SampleSpaceSolver};
/// use pullback::DampedInverse;
/// fn precondition_with(_: &impl DampedInverse<f64>) {}
/// fn no(solver: &SampleSpaceSolver<f64, DenseJacobian<f64>>) {
///     precondition_with(solver);
/// }
/// ```
///
/// ```
/// use pullback::curvature::{DenseJacobian, SampleSpace, SampleSpaceOptions, SampleSpacePath};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let options = SampleSpaceOptions { path: SampleSpacePath::Lsmr, ..SampleSpaceOptions::default() };
/// let j = DenseJacobian::new(Mat::from_fn(1, 3, |_, _| 1.0))?;
/// let solver = SampleSpace::new(&j).with_options(options)?.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(3, 1);
/// solver.solve_residual(&ctx, Mat::from_diagonal(&[8.0]).as_ref(), x.as_mut())?;
/// assert!((x[(1, 0)] - 2.0).abs() < 1e-14);
/// assert!(solver.into_direct().is_none());
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
pub struct SampleSpaceSolver<T: Scalar, J> {
    kind: Kind<T, J>,
    plan: Option<PathPlan>,
}

#[derive(Debug)]
enum Kind<T: Scalar, J> {
    Direct(SampleSpaceInverse<T, J>),
    ConjugateGradient { solver: MatrixFreeSolver<T, SampleSpace<T, J>>, jacobian: J },
    Lsmr { jacobian: J, lambda: Damping<T>, options: LsmrOptions<T> },
}

impl<T: Scalar, J> From<SampleSpaceInverse<T, J>> for SampleSpaceSolver<T, J> {
    fn from(inverse: SampleSpaceInverse<T, J>) -> Self {
        Self { kind: Kind::Direct(inverse), plan: None }
    }
}

/// The solver by LSMR, or by conjugate gradient.
pub(super) fn iterative<T: Scalar, J: JacobianSource<T> + Clone>(
    jacobian: J,
    lambda: Damping<T>,
    path: SampleSpacePath,
    options: CgOptions<T>,
) -> Result<SampleSpaceSolver<T, J>> {
    let kind = if path == SampleSpacePath::Lsmr {
        let options = LsmrOptions {
            normal_tolerance: options.relative_tolerance,
            // rounding stops what the tolerance would not
            relative_tolerance: T::EPS,
            residual_tolerance: T::EPS,
            max_iterations: options.max_iterations,
            ..LsmrOptions::default()
        };
        Kind::Lsmr { jacobian, lambda, options }
    } else {
        let products = SampleSpace::new(jacobian.clone());
        let free = MatrixFree::new(products, Definiteness::PositiveSemidefinite).with_options(options)?;
        // the curvature's own damping needs no context: it factors nothing
        Kind::ConjugateGradient { solver: free.damped(&Ctx::reference(), lambda)?, jacobian }
    };
    Ok(SampleSpaceSolver { kind, plan: None })
}

impl<T: Scalar, J: JacobianSource<T> + Clone> SampleSpaceSolver<T, J> {
    pub(super) fn with_plan(self, plan: Option<PathPlan>) -> Self {
        Self { plan, ..self }
    }

    /// The choice by cost that led here; `None` where the options named the path.
    pub fn plan(&self) -> Option<&PathPlan> {
        self.plan.as_ref()
    }

    /// The direct solver, where the path is one.
    pub fn into_direct(self) -> Option<SampleSpaceInverse<T, J>> {
        match self.kind {
            Kind::Direct(inverse) => Some(inverse),
            _ => None,
        }
    }

    /// X ← (JᵀJ + λI)⁻¹ Jᵀ R for residuals R (N x K): the minimizer of ‖J x - r‖² + λ‖x‖² for each column.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), and those of the products.
    pub fn solve_residual(&self, ctx: &Ctx<T>, r: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<SolveReport> {
        let jacobian = match &self.kind {
            Kind::Direct(inverse) => {
                inverse.solve_residual(ctx, r, x)?;
                return Ok(SolveReport::Direct);
            }
            Kind::ConjugateGradient { jacobian, .. } | Kind::Lsmr { jacobian, .. } => jacobian,
        };
        let (n, p) = jacobian.shape();
        check_shape("solve_residual: R", (n, r.ncols()), r.shape())?;
        check_shape("solve_residual: X", (p, r.ncols()), x.shape())?;
        let mut g = ctx.scratch(p, r.ncols());
        jacobian.apply_transpose_into(ctx, r, g.as_mut())?;
        let Kind::Lsmr { lambda, options, .. } = &self.kind else { return self.solve_into(ctx, g.as_ref(), x) };
        let options = LsmrOptions { damping: lambda.get(), ..*options };
        let mut worst = Worst::default();
        for k in 0..r.ncols() {
            let report = lsmr(ctx, jacobian, r.col(k), x.col_mut(k), &options)?;
            // ‖g - (JᵀJ + λI) x‖ is ‖Āᵀr̄‖
            worst.add(&report, report.normal_residual_norm / norm(g.as_ref().col(k)));
        }
        Ok(worst.report())
    }
}

impl<T: Scalar, J: JacobianSource<T> + Clone> DampedSolver<T> for SampleSpaceSolver<T, J> {
    fn dim(&self) -> usize {
        match &self.kind {
            Kind::Direct(inverse) => inverse.dim(),
            Kind::ConjugateGradient { solver, .. } => solver.dim(),
            Kind::Lsmr { jacobian, .. } => jacobian.shape().1,
        }
    }

    fn damping(&self) -> Damping<T> {
        match &self.kind {
            Kind::Direct(inverse) => inverse.damping(),
            Kind::ConjugateGradient { solver, .. } => solver.damping(),
            Kind::Lsmr { lambda, .. } => *lambda,
        }
    }

    fn fidelity(&self) -> Fidelity {
        match &self.kind {
            Kind::Direct(_) => Fidelity::Exact,
            Kind::ConjugateGradient { .. } | Kind::Lsmr { .. } => Fidelity::Iterative,
        }
    }

    fn path(&self) -> SolvePath {
        match &self.kind {
            Kind::Direct(inverse) => inverse.path(),
            Kind::ConjugateGradient { .. } => SolvePath::ConjugateGradient,
            Kind::Lsmr { .. } => SolvePath::Lsmr,
        }
    }

    fn recovery(&self) -> Recovery {
        match &self.kind {
            Kind::Direct(inverse) => inverse.recovery(),
            Kind::ConjugateGradient { .. } | Kind::Lsmr { .. } => Recovery::None,
        }
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<SolveReport> {
        let (jacobian, lambda, options) = match &self.kind {
            Kind::Direct(inverse) => return inverse.solve_into(ctx, b, x),
            Kind::ConjugateGradient { solver, .. } => return solver.solve_into(ctx, b, x),
            Kind::Lsmr { jacobian, lambda, options } => (jacobian, *lambda, options),
        };
        let (n, p) = jacobian.shape();
        let root = lambda.get().sqrt();
        let augmented = Augmented { jacobian, root };
        let mut rhs = ctx.scratch(n + p, 1);
        let mut worst = Worst::default();
        for k in 0..b.ncols() {
            rhs.as_mut_slice()[..n].fill(T::ZERO);
            rhs.as_mut_slice()[n..].iter_mut().zip(b.col(k)).for_each(|(r, &b)| *r = b / root);
            let report = lsmr(ctx, &augmented, rhs.as_slice(), x.col_mut(k), options)?;
            worst.add(&report, report.normal_residual_norm / norm(b.col(k)));
        }
        Ok(worst.report())
    }
}

/// The worst of several columns.
struct Worst {
    iterations: usize,
    relative_residual: f64,
    stop: CgStop,
}

impl Default for Worst {
    fn default() -> Self {
        Self { iterations: 0, relative_residual: 0.0, stop: CgStop::Converged }
    }
}

impl Worst {
    /// `relative` is 0/0 for a right-hand side of zero, whose solution is exact.
    fn add(&mut self, report: &LsmrReport, relative: f64) {
        let exact = report.normal_residual_norm == 0.0;
        let relative = if exact {
            0.0
        } else if relative.is_finite() {
            relative
        } else {
            f64::INFINITY
        };
        self.iterations = self.iterations.max(report.iterations);
        self.relative_residual = self.relative_residual.max(relative);
        self.stop = self.stop.max(match report.stop {
            LsmrStop::Converged | LsmrStop::Compatible => CgStop::Converged,
            LsmrStop::ConditionLimit | LsmrStop::IterationLimit => CgStop::IterationLimit,
            LsmrStop::Breakdown => CgStop::Breakdown,
        });
    }

    fn report(self) -> SolveReport {
        let Self { iterations, relative_residual, stop } = self;
        SolveReport::Iterative { iterations, relative_residual, stop }
    }
}

/// [J; √λ I], (N + P) x P.
struct Augmented<'a, T, J> {
    jacobian: &'a J,
    root: T,
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for Augmented<'_, T, J> {
    fn shape(&self) -> (usize, usize) {
        let (n, p) = self.jacobian.shape();
        (n + p, p)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (n, columns) = (self.jacobian.shape().0, x.ncols());
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y[n..].iter_mut().zip(x).for_each(|(y, &x)| *y = self.root * x);
        }
        self.jacobian.apply_into(ctx, x, y.submatrix(0, 0, n, columns)?)
    }
}

impl<T: Scalar, J: JacobianSource<T>> TransposeOperator<T> for Augmented<'_, T, J> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let n = self.jacobian.shape().0;
        self.jacobian.apply_transpose_into(ctx, x.submatrix(0, 0, n, x.ncols())?, y.rb_mut())?;
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(&x[n..]).for_each(|(y, &x)| *y += self.root * x);
        }
        Ok(())
    }
}
