//! [`Scaled`] curvatures: s C for s > 0, with the solver of C.
//!
//! ```text
//! s C + λI = s (C + (λ/s) I),   (s C + λI)⁻¹ = (1/s) (C + (λ/s) I)⁻¹
//! ```
//! Everything is inherited: fidelity, path, recovery, capabilities, the right to precondition.
//!
//! Cost        that of C, and n multiplications a vector.
//! Laws        tests/composed.rs.
//! Reference   chapter section 2.1 (a damped step depends on C and λ through their ratio to the gradient's scale).

use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, Recovery, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::{LinearOperator, Preconditioner, Scaled, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A damping computed from another one, or the error that it is none.
pub(super) fn derived<T: Scalar>(lambda: T, from: &str) -> Result<Damping<T>> {
    Damping::new(lambda)
        .ok_or_else(|| Error::invalid("damping", format!("{from} = {lambda:e} must be finite and positive")))
}

impl<T: Scalar, C: Curvature<T>> Curvature<T> for Scaled<T, C> {
    type Solver = ScaledSolver<T, C::Solver>;

    fn definiteness(&self) -> Definiteness {
        if self.factor() >= T::ZERO { self.inner().definiteness() } else { Definiteness::Indefinite }
    }

    /// # Errors
    /// [`Error::InvalidParameter`] unless s is finite and positive and λ/s is a damping; those of C.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let scale = self.factor();
        if !(scale > T::ZERO && scale.is_finite()) {
            return Err(Error::invalid("scale", format!("{scale:e} must be finite and positive to be damped")));
        }
        let inner = self.inner().damped(ctx, derived(lambda.get() / scale, "λ over the scale")?)?;
        Ok(ScaledSolver { inner, scale, lambda })
    }
}

impl<T: Scalar, C: HasTrace<T>> HasTrace<T> for Scaled<T, C> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        Ok(self.factor() * self.inner().trace(ctx)?)
    }
}

impl<T: Scalar, C: HasFrobeniusNorm<T>> HasFrobeniusNorm<T> for Scaled<T, C> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        Ok(self.factor().abs() * self.inner().frobenius_norm(ctx)?)
    }
}

/// √s R.
impl<T: Scalar, C: HasSquareRoot<T>> HasSquareRoot<T> for Scaled<T, C> {
    type Root<'a>
        = Scaled<T, C::Root<'a>>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        if self.factor() < T::ZERO {
            return Err(Error::NotPositiveDefinite { op: "Scaled::square_root", pivot: 0 });
        }
        Ok(Scaled::new(self.inner().square_root(ctx)?, self.factor().sqrt()))
    }
}

/// (s C + λI)⁻¹ by a solver D of C + (λ/s) I; with s = 1 a solver that goes by another name of its λ.
///
/// ```
/// use pullback::curvature::Dense;
/// use pullback::{Ctx, Curvature, DampedInverse, DampedSolver, Damping, Mat, linop::Scaled};
/// let c = Scaled::new(Dense::new(Mat::from_diagonal(&[1.0, 3.0]))?, 2.0);
/// let inverse = c.damped(&Ctx::<f64>::default(), Damping::try_from(2.0)?)?; // diag(4, 8)
/// assert_eq!((inverse.damping().get(), inverse.inner().damping().get()), (2.0, 1.0));
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 8.0), Mat::zeros(2, 1));
/// inverse.precondition(&Ctx::default(), b.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 2.0).abs() < 1e-14 && (x[(1, 0)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScaledSolver<T, D> {
    inner: D,
    scale: T,
    lambda: Damping<T>,
}

impl<T: Scalar, D> ScaledSolver<T, D> {
    /// D under the name of another λ.
    pub(super) fn renamed(inner: D, lambda: Damping<T>) -> Self {
        Self { inner, scale: T::ONE, lambda }
    }

    /// D.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// s.
    pub fn scale(&self) -> T {
        self.scale
    }

    fn divide(&self, mut x: MatMut<'_, T>) {
        if self.scale != T::ONE {
            x.cols_mut().for_each(|x| x.iter_mut().for_each(|x| *x /= self.scale));
        }
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> LinearOperator<T> for ScaledSolver<T, D> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y.rb_mut())?;
        self.divide(y);
        Ok(())
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> SelfAdjoint<T> for ScaledSolver<T, D> {}
impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> Preconditioner<T> for ScaledSolver<T, D> {}

impl<T: Scalar, D: DampedSolver<T>> DampedSolver<T> for ScaledSolver<T, D> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        self.inner.fidelity()
    }

    fn path(&self) -> SolvePath {
        self.inner.path()
    }

    fn recovery(&self) -> Recovery {
        match self.inner.recovery() {
            Recovery::ClippedSpectrum { count, floor } => {
                Recovery::ClippedSpectrum { count, floor: floor * self.scale.f64() }
            }
            other => other,
        }
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, mut x: MatMut<'_, T>) -> Result<SolveReport> {
        let report = self.inner.solve_into(ctx, b, x.rb_mut())?;
        self.divide(x);
        Ok(report)
    }
}

/// n log s + log det(C + (λ/s) I).
impl<T: Scalar, D: HasLogDeterminant<T>> HasLogDeterminant<T> for ScaledSolver<T, D> {
    fn log_determinant(&self) -> T {
        T::of(self.inner.log_determinant().f64() + self.inner.dim() as f64 * self.scale.f64().ln())
    }
}

/// R / √s.
impl<T: Scalar, D: HasInverseSquareRoot<T>> HasInverseSquareRoot<T> for ScaledSolver<T, D> {
    type Root<'a>
        = Scaled<T, D::Root<'a>>
    where
        Self: 'a;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(Scaled::new(self.inner.inverse_square_root(ctx)?, T::ONE / self.scale.sqrt()))
    }
}
