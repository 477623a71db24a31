//! [`Shifted`] curvatures: C + μI, with the solver of C.
//!
//! ```text
//! (C + μI) + λI = C + (λ + μ) I
//! ```
//! An L2 term η/2 ‖θ‖² makes the curvature of its loss one of these. μ may be negative as long as λ + μ is positive.
//!
//! Cost        that of C, and n multiplications a vector.
//! Laws        tests/composed.rs.
//! Reference   chapter section 4 (the Hessian of an L2 term acts like damping).

use super::scaled::{ScaledSolver, derived};
use super::{Curvature, Damping, Definiteness, HasFrobeniusNorm, HasSquareRoot, HasTrace};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::{Beside, Identity, LinearOperator, Scaled, SelfAdjoint, Shifted};
use crate::scalar::Scalar;

impl<T: Scalar, C: Curvature<T>> Curvature<T> for Shifted<T, C> {
    type Solver = ScaledSolver<T, C::Solver>;

    fn definiteness(&self) -> Definiteness {
        if self.shift() >= T::ZERO { self.inner().definiteness() } else { Definiteness::Indefinite }
    }

    /// # Errors
    /// [`Error::InvalidParameter`] unless λ + μ is a damping; those of C.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let inner = self.inner().damped(ctx, derived(lambda.get() + self.shift(), "λ + shift")?)?;
        Ok(ScaledSolver::renamed(inner, lambda))
    }
}

impl<T: Scalar, C: HasTrace<T>> HasTrace<T> for Shifted<T, C> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        Ok(self.inner().trace(ctx)? + T::of(self.dim() as f64) * self.shift())
    }
}

/// ‖C + μI‖² = ‖C‖² + 2 μ tr C + n μ²; for a negative μ the sum cancels, to half of the digits at worst.
impl<T: Scalar, C: HasFrobeniusNorm<T> + HasTrace<T>> HasFrobeniusNorm<T> for Shifted<T, C> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        let (norm, trace) = (self.inner().frobenius_norm(ctx)?.f64(), self.inner().trace(ctx)?.f64());
        let (n, shift) = (self.dim() as f64, self.shift().f64());
        let size = norm.max(shift.abs());
        if size == 0.0 {
            return Ok(T::ZERO);
        }
        let (norm, trace, shift) = (norm / size, trace / size, shift / size);
        Ok(T::of(size * (norm * norm + 2.0 * shift * trace + n * shift * shift).max(0.0).sqrt()))
    }
}

/// [R √μ I] for μ >= 0.
impl<T: Scalar, C: HasSquareRoot<T>> HasSquareRoot<T> for Shifted<T, C> {
    type Root<'a>
        = Beside<C::Root<'a>, Scaled<T, Identity>>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        if self.shift() < T::ZERO {
            return Err(Error::invalid("shift", "a square root of C + μI is known for μ >= 0 only"));
        }
        let root = self.inner().square_root(ctx)?;
        let n = root.shape().0;
        Beside::new(root, Scaled::new(Identity::new(n), self.shift().sqrt()))
    }
}
