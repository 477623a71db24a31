//! Preconditioned gradient descent: descent in coordinates w̃ with θ = R w̃ + b (Eq 7).
//!
//! ```text
//! θ ← θ - α P ∇h(θ),   P = R Rᵀ                                 (Eq 8)
//! w̃ ← w̃ - α Rᵀ∇h(R w̃ + b),   of curvature H̃ = Rᵀ H R           (Eq 9)
//! ```
//! P is any fixed [`Preconditioner`]: a diagonal, an incomplete Cholesky factorization, the inverse of a damped curvature.
//!
//! Deviations  P does not change with θ; where it should, a new optimizer is assembled. A run can be saved where P can: for
//!             a preconditioner that is no serde value the parts are assembled again, there is no other state but the last α.
//! Cost        one gradient, one product with P, the search; no state of its own.
//! Laws        tests/descent_methods.rs (equal to gradient descent in w̃).
//! Reference   J. Nocedal, S. J. Wright, Numerical Optimization (2006), section 5.1.

use super::line_search::{FixedStep, StrongWolfe};
use super::{AcceptedStep, Descent, Direction, DirectionReport, Objective};
use crate::backend::Ctx;
use crate::error::{Result, check_len};
use crate::linop::Preconditioner;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Gradient descent with a fixed preconditioner; α = 1 is tried first.
///
/// ```
/// use pullback::curvature::precondition::Jacobi;
/// use pullback::optim::{Optimizer, PreconditionedGradient};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::{Ctx, Damping};
/// let (ctx, h, batch) = (Ctx::default(), LeastSquares::new(1, 2, 0.0), Regression::random(1, 2, 9, 1));
/// let mut theta = [1.0, -1.0];
/// let p = Jacobi::from_diagonal(vec![0.3, 1.0], Damping::try_from(0.1)?)?;
/// let report = PreconditionedGradient::new(p).step(&ctx, &h, &mut theta, &batch)?;
/// assert!(report.loss_after < Some(report.loss_before));
/// # Ok::<(), pullback::Error>(())
/// ```
pub type PreconditionedGradient<T, P, S = StrongWolfe> = Descent<T, PreconditionedDirection<P>, S>;

/// p = -P ∇h.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PreconditionedDirection<P>(P);

impl<P> PreconditionedDirection<P> {
    /// With this P.
    pub fn new(preconditioner: P) -> Self {
        Self(preconditioner)
    }

    /// P.
    pub fn preconditioner(&self) -> &P {
        &self.0
    }
}

impl<T: Scalar, P: Preconditioner<T>> PreconditionedGradient<T, P, StrongWolfe> {
    /// With a step size that a search finds.
    pub fn new(preconditioner: P) -> Self {
        Self::assemble(PreconditionedDirection(preconditioner), StrongWolfe::default())
    }
}

impl<T: Scalar, P: Preconditioner<T>> PreconditionedGradient<T, P, FixedStep> {
    /// With the step size α.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α is finite and positive.
    pub fn fixed(preconditioner: P, alpha: f64) -> Result<Self> {
        Ok(Self::assemble(PreconditionedDirection(preconditioner), FixedStep::new(alpha)?))
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized, P: Preconditioner<T>> Direction<T, O> for PreconditionedDirection<P> {
    fn direction(
        &mut self,
        ctx: &Ctx<T>,
        _objective: &O,
        _batch: &O::Batch,
        _theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport> {
        check_len("preconditioner", self.0.dim(), gradient.len())?;
        self.0.apply(ctx, MatRef::from_column(gradient), MatMut::from_column(out))?;
        out.iter_mut().for_each(|p| *p = -*p);
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, _ctx: &Ctx<T>, _step: AcceptedStep<'_, T>) -> Result<()> {
        Ok(())
    }

    fn reset(&mut self) {}

    fn wants_change(&self) -> bool {
        false
    }

    fn minimizes_model(&self) -> bool {
        true
    }
}
