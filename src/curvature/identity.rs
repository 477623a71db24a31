//! [`ScaledIdentity`]: curvature C = σI, the simplest one, closed under + λI.
//!
//! ```text
//! (σI + λI)⁻¹ b = b / (σ + λ)
//! ```
//! Cost        n multiplications an application or a solve; two numbers.
//! Laws        tests/composed.rs.
//! Reference   chapter section 2.2 (gradient descent is preconditioned by a multiple of the identity).

use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::{HasDiagonal, Identity, LinearOperator, Preconditioner, Scaled, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// C = σI of order n.
///
/// ```
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, curvature::ScaledIdentity};
/// let ctx = Ctx::<f64>::default();
/// let solver = ScaledIdentity::new(2, 3.0)?.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![4.0, 8.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert_eq!(x.as_slice(), [1.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScaledIdentity<T> {
    operator: Scaled<T, Identity>,
}

impl<T: Scalar> ScaledIdentity<T> {
    /// σI of order n; a negative σ makes the curvature indefinite.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn new(dim: usize, sigma: T) -> Result<Self> {
        if !sigma.is_finite() {
            return Err(Error::not_finite("ScaledIdentity"));
        }
        Ok(Self { operator: Scaled::new(Identity::new(dim), sigma) })
    }

    /// σ.
    pub fn sigma(&self) -> T {
        self.operator.factor()
    }
}

impl<T: Scalar> LinearOperator<T> for ScaledIdentity<T> {
    fn shape(&self) -> (usize, usize) {
        self.operator.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.operator.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.operator.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for ScaledIdentity<T> {}

impl<T: Scalar> HasDiagonal<T> for ScaledIdentity<T> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.operator.diagonal(ctx, out)
    }
}

impl<T: Scalar> HasTrace<T> for ScaledIdentity<T> {
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(self.dim() as f64) * self.sigma())
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for ScaledIdentity<T> {
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of((self.dim() as f64).sqrt()) * self.sigma().abs())
    }
}

/// √σ I.
impl<T: Scalar> HasSquareRoot<T> for ScaledIdentity<T> {
    type Root<'a> = Scaled<T, Identity>;

    fn square_root(&self, _ctx: &Ctx<T>) -> Result<Scaled<T, Identity>> {
        if self.sigma() < T::ZERO {
            return Err(Error::NotPositiveDefinite { op: "ScaledIdentity::square_root", pivot: 0 });
        }
        Ok(Scaled::new(*self.operator.inner(), self.sigma().sqrt()))
    }
}

impl<T: Scalar> Curvature<T> for ScaledIdentity<T> {
    type Solver = ScaledIdentityInverse<T>;

    fn definiteness(&self) -> Definiteness {
        if self.sigma() >= T::ZERO { Definiteness::PositiveSemidefinite } else { Definiteness::Indefinite }
    }

    fn damped(&self, _ctx: &Ctx<T>, lambda: Damping<T>) -> Result<ScaledIdentityInverse<T>> {
        let damped = self.sigma() + lambda.get();
        if damped <= T::ZERO {
            return Err(Error::NotPositiveDefinite { op: "ScaledIdentity::damped", pivot: 0 });
        }
        if !(damped.is_finite() && (T::ONE / damped).is_finite()) {
            return Err(Error::not_finite("ScaledIdentity::damped"));
        }
        Ok(ScaledIdentityInverse { dim: self.dim(), damped, lambda })
    }
}

/// (σI + λI)⁻¹ with σ + λ > 0.
///
/// ```
/// use pullback::curvature::{HasLogDeterminant, ScaledIdentity};
/// use pullback::{Ctx, Curvature, Damping};
/// let solver = ScaledIdentity::new(3, 1.0)?.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// assert!((solver.log_determinant() - 8f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScaledIdentityInverse<T> {
    dim: usize,
    /// σ + λ.
    damped: T,
    lambda: Damping<T>,
}

impl<T: Scalar> LinearOperator<T> for ScaledIdentityInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.dim, self.dim)
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (y, x) in y.cols_mut().zip(x.cols()) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x / self.damped);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for ScaledIdentityInverse<T> {}
impl<T: Scalar> Preconditioner<T> for ScaledIdentityInverse<T> {}

impl<T: Scalar> DampedSolver<T> for ScaledIdentityInverse<T> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        SolvePath::Elementwise
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for ScaledIdentityInverse<T> {
    fn log_determinant(&self) -> T {
        T::of(self.dim as f64 * self.damped.f64().ln())
    }
}

/// I / √(σ + λ).
impl<T: Scalar> HasInverseSquareRoot<T> for ScaledIdentityInverse<T> {
    type Root<'a> = Scaled<T, Identity>;

    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<Scaled<T, Identity>> {
        Ok(Scaled::new(Identity::new(self.dim), T::ONE / self.damped.sqrt()))
    }
}
