//! Curvature seen only through products v ↦ C v (Hessian or Gauss-Newton products), damped solves by conjugate
//! gradient.
//!
//! Problem     (C + λI) X = B, with C from any self-adjoint operator and its definiteness by the caller's promise.
//! Cost        damping is free; a solve costs one product with C an iteration and one more at the end.
//! Deviations  A truncated conjugate gradient is not linear in B, so the solver is no
//!             [`Preconditioner`]: it cannot be passed where one is asked for.
//! Laws        tests/pcg.rs.
//! Reference   J. Martens, Deep learning via Hessian-free optimization, ICML 2010.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Curvature, DampedSolver, Damping, Definiteness, Fidelity, SolvePath, SolveReport};
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::krylov::{CgOptions, CgReport, CgStart, pcg_into};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint, Shifted};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

type SharedPreconditioner<T> = Arc<dyn Preconditioner<T>>;

/// A curvature given by products only.
///
/// The operator is a handle that is cheap to clone: `&A` borrows for as long as the solver lives, `Arc<A>` shares.
///
/// ```
/// use pullback::curvature::{Curvature, DampedSolver, Damping, Definiteness, MatrixFree};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let products = SymmetricDense::new(Mat::from_diagonal(&[1.0, 3.0]))?;
/// let curvature = MatrixFree::new(&products, Definiteness::PositiveSemidefinite);
/// let solver = curvature.damped(&ctx, Damping::try_from(1.0)?)?;
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 4.0), Mat::zeros(2, 1));
/// solver.solve(&ctx, b.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 2.0).abs() < 1e-7 && (x[(1, 0)] - 1.0).abs() < 1e-7);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// The solver of a matrix-free curvature is no preconditioner:
///
/// ```compile_fail,E0277
/// use pullback::curvature::{DampedSolver, MatrixFreeSolver};
/// use pullback::{DampedInverse, linop::Identity};
/// fn precondition_with(_: &impl DampedInverse<f64>) {}
/// fn no(solver: &MatrixFreeSolver<f64, Identity>) {
///     precondition_with(solver);
/// }
/// ```
#[derive(Clone)]
pub struct MatrixFree<T, A> {
    products: A,
    definiteness: Definiteness,
    options: CgOptions<T>,
    preconditioner: Option<SharedPreconditioner<T>>,
}

impl<T: Scalar, A: SelfAdjoint<T>> MatrixFree<T, A> {
    /// Takes the products and the caller's promise about their sign; default [`CgOptions`], no preconditioner.
    pub fn new(products: A, definiteness: Definiteness) -> Self {
        Self { products, definiteness, options: CgOptions::default(), preconditioner: None }
    }

    /// With other settings for the solves.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`CgOptions::check`].
    pub fn with_options(self, options: CgOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..self })
    }

    /// With a fixed approximation of (C + λI)⁻¹, of whatever λ, that every solver uses.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when its order is not that of C.
    pub fn with_preconditioner(self, preconditioner: Arc<dyn Preconditioner<T>>) -> Result<Self> {
        check_shape("MatrixFree: preconditioner", self.products.shape(), preconditioner.shape())?;
        Ok(Self { preconditioner: Some(preconditioner), ..self })
    }

    /// A solver of (operator + shift I) X = B with these settings, λ being what it states.
    pub(super) fn solver_of<O>(&self, operator: O, shift: T, lambda: Damping<T>) -> MatrixFreeSolver<T, O>
    where
        O: SelfAdjoint<T>,
    {
        MatrixFreeSolver {
            shifted: Shifted::new(operator, shift),
            damping: lambda,
            options: self.options,
            preconditioner: self.preconditioner.clone(),
            report: Mutex::default(),
        }
    }

    /// Settings of the solves.
    pub fn options(&self) -> &CgOptions<T> {
        &self.options
    }

    /// The operator.
    pub fn products(&self) -> &A {
        &self.products
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> LinearOperator<T> for MatrixFree<T, A> {
    fn shape(&self) -> (usize, usize) {
        self.products.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.products.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.products.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> SelfAdjoint<T> for MatrixFree<T, A> {}

impl<T: Scalar, A: SelfAdjoint<T> + Clone> Curvature<T> for MatrixFree<T, A> {
    type Solver = MatrixFreeSolver<T, A>;

    fn definiteness(&self) -> Definiteness {
        self.definiteness
    }

    fn damped(&self, _ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        Ok(self.solver_of(self.products.clone(), lambda.get(), lambda))
    }
}

/// Solves (C + λI) X = B by preconditioned conjugate gradient.
///
/// A solve that does not converge is no error: the [`SolveReport`] names the reason why it stopped, and X holds the
/// last iterate. [`DampedSolver::solve`] starts from zero; [`MatrixFreeSolver::solve_reported`] can start elsewhere.
pub struct MatrixFreeSolver<T, A> {
    shifted: Shifted<T, A>,
    damping: Damping<T>,
    options: CgOptions<T>,
    preconditioner: Option<SharedPreconditioner<T>>,
    /// Memory of the last solve, for the next one.
    report: Mutex<CgReport<T>>,
}

impl<T: Scalar, A: SelfAdjoint<T>> MatrixFreeSolver<T, A> {
    /// With a preconditioner for this λ.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when its order is not that of C.
    pub fn with_preconditioner(self, preconditioner: Arc<dyn Preconditioner<T>>) -> Result<Self> {
        check_shape("MatrixFreeSolver: preconditioner", self.shifted.shape(), preconditioner.shape())?;
        Ok(Self { preconditioner: Some(preconditioner), ..self })
    }

    /// C + λI.
    pub fn operator(&self) -> &Shifted<T, A> {
        &self.shifted
    }

    /// Solves with everything [`pcg`](crate::krylov::pcg) has to say, from the X given unless the options say zero.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), and those of the operators.
    pub fn solve_reported(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        x: MatMut<'_, T>,
        report: &mut CgReport<T>,
    ) -> Result<()> {
        pcg_into(ctx, &self.shifted, self.preconditioner.as_deref(), b, x, &self.options, report)
    }

    fn kept_report(&self) -> MutexGuard<'_, CgReport<T>> {
        // only whole reports are stored: a panic elsewhere cannot spoil one
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> DampedSolver<T> for MatrixFreeSolver<T, A> {
    fn dim(&self) -> usize {
        self.shifted.dim()
    }

    fn damping(&self) -> Damping<T> {
        self.damping
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Iterative
    }

    fn path(&self) -> SolvePath {
        SolvePath::ConjugateGradient
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        let mut report = std::mem::take(&mut *self.kept_report());
        let options = CgOptions { start: CgStart::Zero, ..self.options };
        pcg_into(ctx, &self.shifted, self.preconditioner.as_deref(), b, x, &options, &mut report)?;
        let summary = SolveReport::Iterative {
            iterations: report.iterations(),
            relative_residual: report.relative_residual(),
            stop: report.stop(),
        };
        *self.kept_report() = report;
        Ok(summary)
    }
}

impl<T: Scalar, A> Debug for MatrixFree<T, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatrixFree")
            .field("definiteness", &self.definiteness)
            .field("options", &self.options)
            .field("preconditioned", &self.preconditioner.is_some())
            .finish_non_exhaustive()
    }
}

impl<T: Scalar, A> Debug for MatrixFreeSolver<T, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatrixFreeSolver")
            .field("damping", &self.damping)
            .field("options", &self.options)
            .field("preconditioned", &self.preconditioner.is_some())
            .finish_non_exhaustive()
    }
}
