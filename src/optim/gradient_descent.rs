//! Gradient descent, with a fixed or a searched step.
//!
//! ```text
//! θ ← θ - α ∇h(θ)
//! ```
//! For momentum see [`Sgd`](super::Sgd).
//!
//! Cost        one gradient and the search; no state of its own.
//! Laws        tests/descent_methods.rs (rotations; descent).
//! Reference   A. Cauchy, Comptes Rendus 25 (1847) 536-538; L. Armijo, Pacific J. Math. 16 (1966) 1-3.

use super::line_search::{FixedStep, StrongWolfe};
use super::{AcceptedStep, Descent, Direction, DirectionReport, Objective};
use crate::backend::Ctx;
use crate::error::Result;
use crate::scalar::Scalar;

/// Gradient descent: [`GradientDescent::new`] searches its step, [`GradientDescent::fixed`] is given one.
///
/// ```
/// use pullback::optim::{GradientDescent, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h, batch) = (Ctx::default(), LeastSquares::new(1, 2, 0.0), Regression::random(1, 2, 9, 1));
/// let mut theta = [1.0, -1.0];
/// let mut descent = GradientDescent::fixed(0.1)?;
/// let report = descent.step(&ctx, &h, &mut theta, &batch)?;
/// assert_eq!(report.alpha, Some(0.1));
/// # Ok::<(), pullback::Error>(())
/// ```
pub type GradientDescent<T, S = StrongWolfe> = Descent<T, SteepestDescent, S>;

/// p = -∇h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SteepestDescent;

impl<T: Scalar> GradientDescent<T, StrongWolfe> {
    /// With a step size that a search finds: c₂ = 0.1, for a direction without a scale.
    pub fn new() -> Self {
        Self::assemble(SteepestDescent, StrongWolfe { curvature: 0.1, ..StrongWolfe::default() })
    }
}

impl<T: Scalar> Default for GradientDescent<T, StrongWolfe> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Scalar> GradientDescent<T, FixedStep> {
    /// With the step size α.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α is finite and positive.
    pub fn fixed(alpha: f64) -> Result<Self> {
        Ok(Self::assemble(SteepestDescent, FixedStep::new(alpha)?))
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized> Direction<T, O> for SteepestDescent {
    fn direction(
        &mut self,
        _ctx: &Ctx<T>,
        _objective: &O,
        _batch: &O::Batch,
        _theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport> {
        out.iter_mut().zip(gradient).for_each(|(p, &g)| *p = -g);
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, _ctx: &Ctx<T>, _step: AcceptedStep<'_, T>) -> Result<()> {
        Ok(())
    }

    fn reset(&mut self) {}

    fn wants_change(&self) -> bool {
        false
    }
}
