//! [`Dense`]: a symmetric positive semidefinite matrix held whole, closed under + λI.
//!
//! ```text
//! C + λI = L Lᵀ,  (C + λI) X = B by two triangular solves
//! ```
//! Cost        factor n³/3 flops, solve 2n²k for k right-hand sides; 2n² numbers.
//! Laws        tests/curvatures.rs, tests/descent.rs.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., section 4.2.

use super::{Curvature, DampedSolver, Damping, Definiteness, Fidelity, SolvePath, SolveReport};
use crate::backend::{Ctx, check};
use crate::error::Result;
use crate::factor::Cholesky;
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// A dense C, positive semidefinite by promise. Where the promise is broken by more than λ, `damped` fails with the
/// pivot.
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
}

impl<T: Scalar> Dense<T> {
    /// Takes the symmetric part (C + Cᵀ)/2.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when C is not square, [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn new(c: Mat<T>) -> Result<Self> {
        let matrix = SymmetricDense::new(c)?;
        check::finite("Dense", matrix.matrix().as_ref())?;
        Ok(Self { matrix })
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

impl<T: Scalar> Curvature<T> for Dense<T> {
    type Solver = DenseInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<DenseInverse<T>> {
        let mut shifted = self.matrix().clone();
        (0..shifted.nrows()).for_each(|i| shifted[(i, i)] += lambda.get());
        Ok(DenseInverse { factor: Cholesky::new(ctx, shifted)?, lambda })
    }
}

/// (C + λI)⁻¹ as a Cholesky factor.
///
/// ```
/// use pullback::{Ctx, Curvature, Damping, Mat, curvature::Dense};
/// let solver = Dense::new(Mat::identity(2))?.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// assert!((solver.log_determinant() - 4f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseInverse<T> {
    factor: Cholesky<T>,
    lambda: Damping<T>,
}

impl<T: Scalar> DenseInverse<T> {
    /// The factor of C + λI.
    pub fn cholesky(&self) -> &Cholesky<T> {
        &self.factor
    }

    /// log det(C + λI).
    pub fn log_determinant(&self) -> T {
        self.factor.log_determinant()
    }
}

impl<T: Scalar> LinearOperator<T> for DenseInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.factor.dim(), self.factor.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.copy_from(x)?;
        self.factor.solve_in_place(ctx, y)
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
        SolvePath::Cholesky
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}
