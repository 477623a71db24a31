//! Newton's method, undamped and damped.
//!
//! ```text
//! θ ← θ - H⁻¹ ∇h                 (Eq 3)
//! θ ← θ - (H + λI)⁻¹ ∇h          (Eq 5; the chapter's η is λ here)
//! ```
//! Undamped it goes to where the gradient of the quadratic model vanishes: near a minimum that squares the error, near a
//! saddle it climbs, and where h is nearly linear it leaps. Damping bounds the leap by ‖∇h‖/λ; an indefinite H is handled
//! by λ ([`Indefinite::Shift`]) or by |H| ([`Indefinite::Absolute`]).
//!
//! Cost        that of its [`DenseModel`]: 2P + 3 passes, P³/3 flops, P² numbers; of another source, that.
//! Laws        tests/newton.rs (one step on quadratics, affine invariance, squared error, Eq 4 diverges and damping cures).
//! Reference   chapter section 2.1; J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., section 3.3.

use super::damped_newton::{DampedNewton, assembled};
use super::line_search::FixedStep;
use super::{CurvatureMatrix, DampingRule, DenseModel, Indefinite};
use crate::error::Result;
use crate::scalar::Scalar;

/// Newton's method.
///
/// ```
/// use pullback::optim::{Newton, Objective, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h, batch) = (Ctx::<f64>::default(), LeastSquares::new(2, 3, 0.1), Regression::random(2, 3, 20, 1));
/// let (mut newton, mut theta, mut gradient) = (Newton::undamped()?, vec![1.0; 6], vec![0.0; 6]);
/// newton.step(&ctx, &h, &mut theta, &batch)?;
/// h.loss_grad(&ctx, &theta, &batch, &mut gradient)?;
/// assert!(gradient.iter().all(|g| g.abs() < 1e-13)); // a quadratic: one step
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Newton<T, S = DenseModel<T>, L = FixedStep> {
    assembly: DampedNewton<T, S, L>,
}

impl<T: Scalar> Newton<T> {
    /// Eq 3: full steps to the stationary point of the model, whatever it is.
    ///
    /// # Errors
    /// None with these parts.
    pub fn undamped() -> Result<Self> {
        Self::with_indefinite(0.0, Indefinite::Keep)
    }

    /// Eq 5: full steps at a fixed λ, raised where H + λI is not positive definite.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless λ is finite and not negative.
    pub fn damped(lambda: f64) -> Result<Self> {
        Self::with_indefinite(lambda, Indefinite::Shift)
    }

    /// At a fixed λ, with a choice of what to do about an indefinite H.
    ///
    /// # Errors
    /// As [`Newton::damped`].
    pub fn with_indefinite(lambda: f64, indefinite: Indefinite) -> Result<Self> {
        let source = DenseModel::new(CurvatureMatrix::Hessian).with_indefinite(indefinite);
        let assembly = DampedNewton::new(source, DampingRule::Fixed(lambda), FixedStep::new(1.0)?)?;
        Ok(Self { assembly })
    }
}

assembled!(Newton);
