//! [`Dense`]: a symmetric positive semidefinite matrix held whole, closed under + λI.
//!
//! ```text
//! C + λI = L Lᵀ,  (C + λI) X = B by two triangular solves
//! ```
//! Cost        factor n³/3 flops, solve 2n²k for k right-hand sides; 2n² numbers. Trace n, Frobenius norm n², root 9n³.
//! Laws        tests/curvatures.rs, tests/descent.rs, tests/capabilities.rs, tests/recovery.rs.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., section 4.2.

use super::roots::{DenseInverseRoot, eigen_root};
use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, Recovery, SolvePath, SolveReport,
};
use crate::backend::{Ctx, check, sums};
use crate::error::Result;
use crate::factor::{OnFailure, PositiveFactor};
use crate::linop::{DenseOperator, HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// A dense C, positive semidefinite by promise. Where the promise is broken by more than λ, `damped` fails with the
/// pivot, unless [`Dense::with_on_failure`] asks for a recovery.
///
/// ```
/// use pullback::{Ctx, Curvature, Damping, Error, Mat, curvature::Dense};
/// let ctx = Ctx::<f64>::default();
/// let indefinite = Dense::new(Mat::from_diagonal(&[1.0, -2.0]))?;
/// let failed = indefinite.damped(&ctx, Damping::try_from(1.0)?);
/// assert!(matches!(failed, Err(Error::NotPositiveDefinite { pivot: 1, .. })));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dense<T> {
    matrix: SymmetricDense<T>,
    on_failure: OnFailure,
}

impl<T: Scalar> Dense<T> {
    /// Takes the symmetric part (C + Cᵀ)/2.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when C is not square, [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn new(c: Mat<T>) -> Result<Self> {
        let matrix = SymmetricDense::new(c)?;
        check::finite("Dense", matrix.matrix().as_ref())?;
        Ok(Self { matrix, on_failure: OnFailure::Error })
    }

    /// With another answer to a pivot that is not positive; [`DampedSolver::recovery`] of the solver says what was done.
    pub fn with_on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }

    /// What `damped` does when a pivot is not positive.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// The symmetric matrix.
    pub fn matrix(&self) -> &Mat<T> {
        self.matrix.matrix()
    }
}

impl<T: Scalar> LinearOperator<T> for Dense<T> {
    fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.matrix.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.matrix.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for Dense<T> {}

impl<T: Scalar> HasDiagonal<T> for Dense<T> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.matrix.diagonal(ctx, out)
    }
}

impl<T: Scalar> HasTrace<T> for Dense<T> {
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::trace(self.matrix()).get()))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for Dense<T> {
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::frobenius(self.matrix()).get()))
    }
}

impl<T: Scalar> HasSquareRoot<T> for Dense<T> {
    type Root<'a> = DenseOperator<T>;

    /// Q D^(1/2) of C = Q D Qᵀ.
    fn square_root(&self, ctx: &Ctx<T>) -> Result<DenseOperator<T>> {
        Ok(DenseOperator::new(eigen_root(ctx, "Dense::square_root", self.matrix().clone())?))
    }
}

impl<T: Scalar> Curvature<T> for Dense<T> {
    type Solver = DenseInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<DenseInverse<T>> {
        let factor = PositiveFactor::new(ctx, self.matrix().clone(), lambda.get(), self.on_failure)?;
        Ok(DenseInverse { factor, lambda })
    }
}

/// (C + λI)⁻¹ as a Cholesky factor, or as an eigendecomposition where the spectrum had to be clipped.
///
/// ```
/// use pullback::curvature::{Dense, HasLogDeterminant};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let solver = Dense::new(Mat::identity(2))?.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// assert!((solver.log_determinant() - 4f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseInverse<T> {
    factor: PositiveFactor<T>,
    lambda: Damping<T>,
}

impl<T: Scalar> DenseInverse<T> {
    /// The factor of C + λI.
    pub fn factor(&self) -> &PositiveFactor<T> {
        &self.factor
    }
}

impl<T: Scalar> HasLogDeterminant<T> for DenseInverse<T> {
    fn log_determinant(&self) -> T {
        self.factor.log_determinant()
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for DenseInverse<T> {
    type Root<'a> = DenseInverseRoot<'a, T>;

    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<DenseInverseRoot<'_, T>> {
        Ok(DenseInverseRoot::new(&self.factor))
    }
}

impl<T: Scalar> LinearOperator<T> for DenseInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.factor.dim(), self.factor.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.factor.solve_into(ctx, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for DenseInverse<T> {}
impl<T: Scalar> Preconditioner<T> for DenseInverse<T> {}

impl<T: Scalar> DampedSolver<T> for DenseInverse<T> {
    fn dim(&self) -> usize {
        self.factor.dim()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        match self.factor.cholesky() {
            Some(_) => SolvePath::Cholesky,
            None => SolvePath::Eigen,
        }
    }

    fn recovery(&self) -> Recovery {
        self.factor.recovery()
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}
