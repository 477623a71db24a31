//! [`SampleSpaceInverse`]: (JᵀJ + λI)⁻¹ by a factorization of the P x P or of the N x N system, and
//! [`SampleSpaceSpectrum`]: every λ from one eigendecomposition.
//!
//! ```text
//! primal     (JᵀJ + λI)⁻¹ g                            factored as it stands
//! kernel     (JᵀJ + λI)⁻¹ g   = (g - Jᵀ(K + λI)⁻¹ J g) / λ,             K = J Jᵀ
//!            (JᵀJ + λI)⁻¹ Jᵀr = Jᵀ(K + λI)⁻¹ r                    no difference: `solve_residual`
//! log det    (P - N) log λ + log det(K + λI)
//! R          primal  L⁻ᵀ            kernel  (I - Jᵀ L⁻ᵀ (L + √λ I)⁻¹ J) / √λ,  K + λI = L Lᵀ     R Rᵀ = (JᵀJ + λI)⁻¹
//!            by eigenvalues Q, w:           (I - Jᵀ Q diag(1 / (w + λ + √λ √(w + λ))) Qᵀ J) / √λ
//! ```
//! Cost        primal: JᵀJ, P³/3, and 2P² a solve. Kernel: K, N³/3, and 2N² and two products a solve (one for
//!             `solve_residual`). Eigenvalues: 9n³ in place of n³/3, then every λ is free. P² or N² numbers.
//! Accuracy    the kernel form of a general g has the cancellation of Woodbury's identity: with κ = 1 + ‖J‖²/λ an
//!             error of ε κ^½ ‖g‖/λ at worst, ε κ^(3/2) relative for a g in the range of Jᵀ. For such a g = Jᵀr
//!             `solve_residual` has no difference of large numbers.
//! Deviations  a Cholesky factorization that rounding defeats (λ below ε‖J‖²) is replaced by an eigendecomposition with
//!             negative eigenvalues raised to 0, and reported as [`Recovery::ClippedSpectrum`].
//! Laws        tests/sample_space.rs, tests/sample_space_choice.rs (recovery), tests/sample_space_allocations.rs.
//! Reference   M. A. Woodbury, memo 42 (1950); Y. Ren, D. Goldfarb, 2019, arXiv:1906.02353; R. Rende et al., A simple
//!             linear algebra identity to optimize large-scale neural network quantum states, 2023, arXiv:2310.05715.

use std::sync::Arc;

use super::{DirectPath, JacobianSource};
use crate::backend::{Ctx, check};
use crate::curvature::{
    DampedSolver, Damping, Fidelity, HasInverseSquareRoot, HasLogDeterminant, Recovery, SolvePath, SolveReport,
};
use crate::error::{Error, Result, check_shape};
use crate::factor::{Cholesky, SymEigen};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// A factorization of S + λI, S being JᵀJ or J Jᵀ.
#[derive(Debug, Clone)]
enum Factor<T> {
    Cholesky(Arc<Cholesky<T>>),
    /// Of S: eigenvalues below 0 count as 0.
    Eigen(Arc<SymEigen<T>>),
}

/// max(w, 0), by promise of a semidefinite S.
fn clipped<T: Scalar>(w: T) -> T {
    w.max(T::ZERO)
}

impl<T: Scalar> Factor<T> {
    fn solve_in_place(&self, ctx: &Ctx<T>, lambda: T, b: MatMut<'_, T>) -> Result<()> {
        match self {
            Factor::Cholesky(factor) => factor.solve_in_place(ctx, b),
            Factor::Eigen(eigen) => {
                let mut rhs = ctx.scratch(b.nrows(), b.ncols());
                rhs.as_mut().copy_from(b.rb())?;
                eigen.map_apply(ctx, |w| T::ONE / (clipped(w) + lambda), rhs.as_ref(), b)
            }
        }
    }

    fn log_determinant(&self, lambda: T) -> f64 {
        match self {
            Factor::Cholesky(factor) => factor.log_determinant().f64(),
            Factor::Eigen(eigen) => eigen.values().iter().map(|&w| (clipped(w) + lambda).f64().ln()).sum(),
        }
    }
}

/// JᵀJ or J Jᵀ.
fn system<T: Scalar, J: JacobianSource<T>>(ctx: &Ctx<T>, jacobian: &J, path: DirectPath) -> Result<Mat<T>> {
    match path {
        DirectPath::Primal => jacobian.gram(ctx),
        DirectPath::Kernel => jacobian.kernel(ctx),
    }
}

/// (JᵀJ + λI)⁻¹ from a factorization; holds J for its products.
///
/// ```
/// use pullback::curvature::{DenseJacobian, DirectPath, HasLogDeterminant, SampleSpace};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let j = DenseJacobian::new(Mat::from_fn(1, 3, |_, _| 1.0))?;
/// let inverse = SampleSpace::new(&j).direct(&ctx, Damping::try_from(1.0)?, DirectPath::Kernel)?;
/// let mut x = Mat::zeros(3, 1);
/// inverse.solve_residual(&ctx, Mat::from_diagonal(&[8.0]).as_ref(), x.as_mut())?;
/// assert!((x[(2, 0)] - 2.0).abs() < 1e-14);
/// assert!((inverse.log_determinant() - 4f64.ln()).abs() < 1e-14); // eigenvalues 4, 1, 1
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SampleSpaceInverse<T, J> {
    jacobian: J,
    path: DirectPath,
    factor: Factor<T>,
    recovery: Recovery,
    lambda: Damping<T>,
}

impl<T: Scalar, J: JacobianSource<T>> SampleSpaceInverse<T, J> {
    pub(super) fn new(ctx: &Ctx<T>, jacobian: J, path: DirectPath, lambda: Damping<T>) -> Result<Self> {
        let mut damped = system(ctx, &jacobian, path)?;
        (0..damped.nrows()).for_each(|i| damped[(i, i)] += lambda.get());
        match Cholesky::new(ctx, damped) {
            Ok(factor) => {
                let factor = Factor::Cholesky(Arc::new(factor));
                Ok(Self { jacobian, path, factor, recovery: Recovery::None, lambda })
            }
            Err(Error::NotPositiveDefinite { .. }) => {
                let mut inverse = SampleSpaceSpectrum::new(ctx, jacobian, path)?.into_damped(lambda)?;
                if inverse.recovery == Recovery::None {
                    // nothing was below zero, but the eigenvalues were needed
                    inverse.recovery = Recovery::ClippedSpectrum { count: 0, floor: lambda.get().f64() };
                }
                Ok(inverse)
            }
            Err(other) => Err(other),
        }
    }

    /// Which system is factored.
    pub fn direct_path(&self) -> DirectPath {
        self.path
    }

    /// X ← (JᵀJ + λI)⁻¹ Jᵀ R for residuals R (N x K), X being P x K: through the kernel without the difference of a
    /// general right-hand side.
    ///
    /// # Errors
    /// [`Error::Shape`], and those of the products.
    pub fn solve_residual(&self, ctx: &Ctx<T>, r: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<()> {
        let (n, p) = self.jacobian.shape();
        check_shape("solve_residual: R", (n, r.ncols()), r.shape())?;
        check_shape("solve_residual: X", (p, r.ncols()), x.shape())?;
        match self.path {
            DirectPath::Primal => {
                self.jacobian.apply_transpose_into(ctx, r, x.rb_mut())?;
                self.factor.solve_in_place(ctx, self.lambda.get(), x)
            }
            DirectPath::Kernel => {
                let mut t = ctx.scratch(n, r.ncols());
                t.as_mut().copy_from(r)?;
                self.factor.solve_in_place(ctx, self.lambda.get(), t.as_mut())?;
                self.jacobian.apply_transpose_into(ctx, t.as_ref(), x)
            }
        }
    }
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for SampleSpaceInverse<T, J> {
    fn shape(&self) -> (usize, usize) {
        let p = self.jacobian.shape().1;
        (p, p)
    }

    fn apply_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<()> {
        let lambda = self.lambda.get();
        match self.path {
            DirectPath::Primal => {
                x.copy_from(b)?;
                self.factor.solve_in_place(ctx, lambda, x)
            }
            DirectPath::Kernel => {
                let mut t = ctx.scratch(self.jacobian.shape().0, b.ncols());
                self.jacobian.apply_into(ctx, b, t.as_mut())?;
                self.factor.solve_in_place(ctx, lambda, t.as_mut())?;
                self.jacobian.apply_transpose_into(ctx, t.as_ref(), x.rb_mut())?;
                for (x, b) in x.cols_mut().zip(b.cols()) {
                    x.iter_mut().zip(b).for_each(|(x, &b)| *x = (b - *x) / lambda);
                }
                Ok(())
            }
        }
    }
}

impl<T: Scalar, J: JacobianSource<T>> SelfAdjoint<T> for SampleSpaceInverse<T, J> {}
impl<T: Scalar, J: JacobianSource<T>> Preconditioner<T> for SampleSpaceInverse<T, J> {}

impl<T: Scalar, J: JacobianSource<T>> DampedSolver<T> for SampleSpaceInverse<T, J> {
    fn dim(&self) -> usize {
        self.jacobian.shape().1
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        match self.path {
            DirectPath::Primal => SolvePath::Primal,
            DirectPath::Kernel => SolvePath::Kernel,
        }
    }

    fn recovery(&self) -> Recovery {
        self.recovery
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasLogDeterminant<T> for SampleSpaceInverse<T, J> {
    fn log_determinant(&self) -> T {
        let (n, p) = self.jacobian.shape();
        let rest = match self.path {
            DirectPath::Primal => 0.0,
            DirectPath::Kernel => (p as f64 - n as f64) * self.lambda.get().f64().ln(),
        };
        T::of(rest + self.factor.log_determinant(self.lambda.get()))
    }
}

impl<T: Scalar, J: JacobianSource<T>> HasInverseSquareRoot<T> for SampleSpaceInverse<T, J> {
    type Root<'a>
        = SampleSpaceInverseRoot<'a, T, J>
    where
        Self: 'a;

    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<SampleSpaceInverseRoot<'_, T, J>> {
        let raised = match (&self.factor, self.path) {
            (Factor::Cholesky(factor), DirectPath::Kernel) => {
                let mut l = factor.l().to_owned();
                (0..l.nrows()).for_each(|i| l[(i, i)] += self.lambda.get().sqrt());
                l
            }
            _ => Mat::zeros(0, 0),
        };
        Ok(SampleSpaceInverseRoot { inverse: self, raised })
    }
}

/// R, P x P, with R Rᵀ = (JᵀJ + λI)⁻¹; the formulas are at the head of this file.
///
/// ```
/// use pullback::curvature::{DenseJacobian, DirectPath, HasInverseSquareRoot, SampleSpace};
/// use pullback::{Ctx, Damping, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let j = DenseJacobian::new(Mat::from_diagonal(&[3f64.sqrt()]))?;
/// let inverse = SampleSpace::new(&j).direct(&ctx, Damping::try_from(1.0)?, DirectPath::Kernel)?;
/// assert!((inverse.inverse_square_root(&ctx)?.to_dense(&ctx)?[(0, 0)] - 0.5).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SampleSpaceInverseRoot<'a, T, J> {
    inverse: &'a SampleSpaceInverse<T, J>,
    /// L + √λ I for the kernel by Cholesky, else empty.
    raised: Mat<T>,
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for SampleSpaceInverseRoot<'_, T, J> {
    fn shape(&self) -> (usize, usize) {
        self.inverse.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let SampleSpaceInverse { jacobian, path, factor, lambda, .. } = self.inverse;
        let root = lambda.get().sqrt();
        if *path == DirectPath::Primal {
            return match factor {
                Factor::Cholesky(factor) => {
                    y.copy_from(x)?;
                    ctx.trsm(Side::Left, factor.l(), Op::Transpose, y)
                }
                Factor::Eigen(eigen) => eigen.map_apply(ctx, |w| T::ONE / (clipped(w) + lambda.get()).sqrt(), x, y),
            };
        }
        let mut t = ctx.scratch(jacobian.shape().0, x.ncols());
        jacobian.apply_into(ctx, x, t.as_mut())?;
        match factor {
            Factor::Cholesky(factor) => {
                ctx.trsm(Side::Left, self.raised.as_ref(), Op::No, t.as_mut())?;
                ctx.trsm(Side::Left, factor.l(), Op::Transpose, t.as_mut())?;
            }
            Factor::Eigen(eigen) => {
                let mut jx = ctx.scratch(jacobian.shape().0, x.ncols());
                jx.as_mut().copy_from(t.as_ref())?;
                let f = |w: T| {
                    let damped = clipped(w) + lambda.get();
                    T::ONE / (damped + root * damped.sqrt())
                };
                eigen.map_apply(ctx, f, jx.as_ref(), t.as_mut())?;
            }
        }
        jacobian.apply_transpose_into(ctx, t.as_ref(), y.rb_mut())?;
        for (y, x) in y.cols_mut().zip(x.cols()) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - *y) / root);
        }
        Ok(())
    }
}

/// The eigendecomposition of J Jᵀ or of JᵀJ: a solver for each λ without another factorization.
///
/// ```
/// use pullback::curvature::{DenseJacobian, DirectPath, HasLogDeterminant, SampleSpace};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let j = DenseJacobian::new(Mat::from_fn(1, 3, |_, _| 1.0))?;
/// let spectrum = SampleSpace::new(&j).spectrum(&ctx, DirectPath::Kernel)?;
/// for lambda in [0.1, 1.0, 10.0] {
///     let inverse = spectrum.damped(Damping::try_from(lambda)?)?; // free
///     assert!((inverse.log_determinant() - (lambda * lambda * (3.0 + lambda)).ln()).abs() < 1e-14);
/// }
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SampleSpaceSpectrum<T, J> {
    jacobian: J,
    path: DirectPath,
    eigen: Arc<SymEigen<T>>,
}

impl<T: Scalar, J: JacobianSource<T>> SampleSpaceSpectrum<T, J> {
    pub(super) fn new(ctx: &Ctx<T>, jacobian: J, path: DirectPath) -> Result<Self> {
        let eigen = Arc::new(SymEigen::new(ctx, system(ctx, &jacobian, path)?)?);
        Ok(Self { jacobian, path, eigen })
    }

    /// The eigenvalues, ascending: those of JᵀJ up to zeros, and up to rounding below zero.
    pub fn values(&self) -> &[T] {
        self.eigen.values()
    }

    /// Σ w / (w + λ): how many directions λ leaves to the data.
    pub fn effective_dimension(&self, lambda: Damping<T>) -> T {
        let lambda = lambda.get().f64();
        T::of(self.values().iter().map(|&w| clipped(w).f64() / (clipped(w).f64() + lambda)).sum())
    }

    /// The solver for λ.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the damped spectrum overflows.
    pub fn damped(&self, lambda: Damping<T>) -> Result<SampleSpaceInverse<T, J>>
    where
        J: Clone,
    {
        self.clone().into_damped(lambda)
    }

    fn into_damped(self, lambda: Damping<T>) -> Result<SampleSpaceInverse<T, J>> {
        let values = self.eigen.values();
        let ends = [values.last().copied().unwrap_or_default() + lambda.get(), T::ONE / lambda.get()];
        check::finite_slice("SampleSpaceSpectrum::damped", &ends)?;
        let count = values.iter().filter(|&&w| w < T::ZERO).count();
        let recovery = match count {
            0 => Recovery::None,
            count => Recovery::ClippedSpectrum { count, floor: lambda.get().f64() },
        };
        Ok(SampleSpaceInverse {
            jacobian: self.jacobian,
            path: self.path,
            factor: Factor::Eigen(self.eigen),
            recovery,
            lambda,
        })
    }
}
