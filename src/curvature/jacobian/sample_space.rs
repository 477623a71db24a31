//! [`SampleSpace`]: the curvature C = JᵀJ of a Jacobian given in any way, solved in the space that is cheaper.
//!
//! ```text
//! C v = Jᵀ(J v),   vᵀC v = ‖J v‖²,   tr C = ‖J‖²_F,   ‖C‖_F = ‖J Jᵀ‖_F,   R = Jᵀ  (R Rᵀ = C)
//! ```
//! Cost        two products an application, one a quadratic form; the diagonal and the trace as the giver says; ‖C‖_F
//!             the smaller of J Jᵀ and JᵀJ. `damped`: by the path, see [`PathCosts`](super::PathCosts).
//! Laws        tests/sample_space.rs.
//! Reference   Y. Ren, D. Goldfarb, 2019, arXiv:1906.02353.

use super::plan::expected_iterations;
use super::solver::iterative;
use super::{
    DirectPath, JacobianSource, PathCosts, PathPlan, SampleSpaceInverse, SampleSpaceOptions, SampleSpacePath,
    SampleSpaceSolver, SampleSpaceSpectrum, squared_norm,
};
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::curvature::{
    Curvature, Damping, Definiteness, FreeSweep, HasDampingSweep, HasFrobeniusNorm, HasSquareRoot, HasTrace,
};
use crate::error::{Result, check_len, check_shape};
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint, Transposed};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Steps of the power method that look at ‖J‖² before a choice.
const POWER_STEPS: usize = 6;

/// C = JᵀJ.
///
/// J is a handle that is cheap to clone: `&J` borrows for as long as a solver lives, `Arc<J>` shares.
///
/// ```
/// use pullback::curvature::{DenseJacobian, SampleSpace, SolvePath};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let j = DenseJacobian::new(Mat::from_fn(2, 40, |i, j| (i + j) as f64 / 40.0))?;
/// let solver = SampleSpace::new(&j).damped(&ctx, Damping::try_from(0.1)?)?;
/// let plan = solver.plan().expect("the path was chosen");
/// assert!(plan.costs.kernel < plan.costs.primal); // 2 x 2 against 40 x 40
/// assert_eq!(solver.path(), SolvePath::Kernel);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SampleSpace<T, J> {
    jacobian: J,
    options: SampleSpaceOptions<T>,
}

impl<T: Scalar, J: JacobianSource<T>> SampleSpace<T, J> {
    /// JᵀJ, with the default [`SampleSpaceOptions`]: the path is chosen by cost.
    pub fn new(jacobian: J) -> Self {
        Self { jacobian, options: SampleSpaceOptions::default() }
    }

    /// With another path, other limits, other settings of the iterations.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`SampleSpaceOptions::check`].
    pub fn with_options(self, options: SampleSpaceOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..self })
    }

    /// J.
    pub fn jacobian(&self) -> &J {
        &self.jacobian
    }

    /// The choice by cost at λ, whatever path the options name. A few products for the estimate of ‖J‖².
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), and those of the products.
    pub fn plan(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<PathPlan> {
        let (n, p) = self.jacobian.shape();
        let squared_norm = squared_norm(ctx, &self.jacobian, POWER_STEPS)?;
        let iterations = expected_iterations((n, p), squared_norm, lambda.get(), &self.options.iteration);
        let costs = PathCosts::predict(n, p, self.jacobian.costs(), self.options.solves, iterations);
        Ok(PathPlan { path: costs.cheapest(self.options.max_numbers, n, p), costs, iterations, squared_norm })
    }

    /// The solver with a factorization, which may precondition.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::NoConvergence`](crate::Error::NoConvergence),
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) when the matrix cannot be addressed, and those of
    /// the products.
    pub fn direct(&self, ctx: &Ctx<T>, lambda: Damping<T>, path: DirectPath) -> Result<SampleSpaceInverse<T, J>>
    where
        J: Clone,
    {
        SampleSpaceInverse::new(ctx, self.jacobian.clone(), path, lambda)
    }

    /// One eigendecomposition for every λ.
    ///
    /// # Errors
    /// As [`SampleSpace::direct`].
    pub fn spectrum(&self, ctx: &Ctx<T>, path: DirectPath) -> Result<SampleSpaceSpectrum<T, J>>
    where
        J: Clone,
    {
        SampleSpaceSpectrum::new(ctx, self.jacobian.clone(), path)
    }
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for SampleSpace<T, J> {
    fn shape(&self) -> (usize, usize) {
        let p = self.jacobian.shape().1;
        (p, p)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let mut jx = ctx.scratch(self.jacobian.shape().0, x.ncols());
        self.jacobian.apply_into(ctx, x, jx.as_mut())?;
        self.jacobian.apply_transpose_into(ctx, jx.as_ref(), y)
    }
}

impl<T: Scalar, J: JacobianSource<T>> SelfAdjoint<T> for SampleSpace<T, J> {}

impl<T: Scalar, J: JacobianSource<T>> HasDiagonal<T> for SampleSpace<T, J> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.jacobian.shape().1, out.len())?;
        self.jacobian.column_squares(ctx, out)
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasTrace<T> for SampleSpace<T, J> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        let mut squares = ctx.scratch(self.jacobian.shape().1, 1);
        self.jacobian.column_squares(ctx, squares.as_mut_slice())?;
        Ok(T::of(squares.as_slice().iter().map(|s| s.f64()).sum()))
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasFrobeniusNorm<T> for SampleSpace<T, J> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        let (n, p) = self.jacobian.shape();
        let product = if n <= p { self.jacobian.kernel(ctx)? } else { self.jacobian.gram(ctx)? };
        Ok(T::of(norm(product.as_slice())))
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasSquareRoot<T> for SampleSpace<T, J> {
    type Root<'a>
        = Transposed<T, &'a J>
    where
        Self: 'a;

    /// Jᵀ, P x N.
    fn square_root(&self, _ctx: &Ctx<T>) -> Result<Transposed<T, &J>> {
        Ok(Transposed::new(&self.jacobian))
    }
}

/// ‖J v_k‖² for each column.
fn forms<T: Scalar, J: JacobianSource<T>>(ctx: &Ctx<T>, j: &J, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
    let (n, p) = j.shape();
    check_shape("quadratic_form", (p, v.ncols()), v.shape())?;
    check_len("quadratic_form", v.ncols(), out.len())?;
    let mut jv = ctx.scratch(n, v.ncols());
    j.apply_into(ctx, v, jv.as_mut())?;
    for (out, jv) in out.iter_mut().zip(jv.as_ref().cols()) {
        *out = jv.iter().map(|&x| x * x).sum();
    }
    Ok(())
}

impl<T: Scalar, J: JacobianSource<T> + Clone> Curvature<T> for SampleSpace<T, J> {
    type Solver = SampleSpaceSolver<T, J>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    /// By the path of the options; [`SampleSpaceSolver::plan`] tells what was chosen and why.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<SampleSpaceSolver<T, J>> {
        let plan = match self.options.path {
            SampleSpacePath::Auto => Some(self.plan(ctx, lambda)?),
            _ => None,
        };
        let solver = match plan.map_or(self.options.path, |plan| plan.path) {
            SampleSpacePath::Primal => SampleSpaceSolver::from(self.direct(ctx, lambda, DirectPath::Primal)?),
            SampleSpacePath::Kernel => SampleSpaceSolver::from(self.direct(ctx, lambda, DirectPath::Kernel)?),
            path => iterative(self.jacobian.clone(), lambda, path, self.options.iteration)?,
        };
        Ok(solver.with_plan(plan))
    }

    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        forms(ctx, &self.jacobian, v, out)
    }
}

/// By the smaller of the two spectra, whatever path the options name: the solves are direct.
impl<T: Scalar, J: JacobianSource<T> + Clone> HasDampingSweep<T> for SampleSpace<T, J> {
    type Sweep<'a>
        = FreeSweep<'a, T, SampleSpaceInverse<T, J>>
    where
        Self: 'a;

    fn sweep(&self, ctx: &Ctx<T>) -> Result<Self::Sweep<'_>> {
        let (n, p) = self.jacobian.shape();
        spectral_sweep(ctx, self, if n < p { DirectPath::Kernel } else { DirectPath::Primal })
    }
}

fn spectral_sweep<'a, T: Scalar, J: JacobianSource<T> + Clone + 'a>(
    ctx: &Ctx<T>,
    c: &SampleSpace<T, J>,
    path: DirectPath,
) -> Result<FreeSweep<'a, T, SampleSpaceInverse<T, J>>> {
    let spectrum = c.spectrum(ctx, path)?;
    Ok(FreeSweep::new(c.dim(), move |_, lambda| spectrum.damped(lambda)))
}

/// C = JᵀJ whose solver always factors one given system: it may precondition, and be a block of
/// [`BlockDiagonal`](crate::curvature::BlockDiagonal).
///
/// ```
/// use pullback::curvature::{DenseJacobian, DirectPath, DirectSampleSpace};
/// use pullback::{Ctx, Curvature, DampedInverse, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = DirectSampleSpace::new(DenseJacobian::new(Mat::from_fn(1, 3, |_, _| 1.0))?, DirectPath::Kernel);
/// let (g, mut x) = (Mat::from_fn(3, 1, |_, _| 8.0), Mat::zeros(3, 1));
/// c.damped(&ctx, Damping::try_from(1.0)?)?.precondition(&ctx, g.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 2.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DirectSampleSpace<T, J> {
    inner: SampleSpace<T, J>,
    path: DirectPath,
}

impl<T: Scalar, J: JacobianSource<T>> DirectSampleSpace<T, J> {
    /// JᵀJ, solved on `path`.
    pub fn new(jacobian: J, path: DirectPath) -> Self {
        Self { inner: SampleSpace::new(jacobian), path }
    }

    /// With everything a [`SampleSpace`] can tell.
    pub fn sample_space(&self) -> &SampleSpace<T, J> {
        &self.inner
    }
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for DirectSampleSpace<T, J> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y)
    }
}

impl<T: Scalar, J: JacobianSource<T>> SelfAdjoint<T> for DirectSampleSpace<T, J> {}

impl<T: Scalar, J: JacobianSource<T>> HasDiagonal<T> for DirectSampleSpace<T, J> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.inner.diagonal(ctx, out)
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasTrace<T> for DirectSampleSpace<T, J> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        self.inner.trace(ctx)
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasFrobeniusNorm<T> for DirectSampleSpace<T, J> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        self.inner.frobenius_norm(ctx)
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasSquareRoot<T> for DirectSampleSpace<T, J> {
    type Root<'a>
        = Transposed<T, &'a J>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Transposed<T, &J>> {
        self.inner.square_root(ctx)
    }
}

impl<T: Scalar, J: JacobianSource<T> + Clone> Curvature<T> for DirectSampleSpace<T, J> {
    type Solver = SampleSpaceInverse<T, J>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<SampleSpaceInverse<T, J>> {
        self.inner.direct(ctx, lambda, self.path)
    }

    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        forms(ctx, self.inner.jacobian(), v, out)
    }
}

impl<T: Scalar, J: JacobianSource<T> + Clone> HasDampingSweep<T> for DirectSampleSpace<T, J> {
    type Sweep<'a>
        = FreeSweep<'a, T, SampleSpaceInverse<T, J>>
    where
        Self: 'a;

    /// By the spectrum of the system of this path.
    fn sweep(&self, ctx: &Ctx<T>) -> Result<Self::Sweep<'_>> {
        spectral_sweep(ctx, &self.inner, self.path)
    }
}
