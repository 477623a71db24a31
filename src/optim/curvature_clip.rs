//! Clipping by the norm that a curvature gives: a bound on how far the model's predictions move.
//!
//! ```text
//! v ← v min(1, √(c / (vᵀ C v)))
//! ```
//! With the Fisher matrix for C, ½ vᵀ C v is to second order the KL divergence from the old predictions to the new. For
//! v = α U, U = C⁻¹∇h, the form is α² ∇hᵀU and needs no product: `norm_constraint` of [`StepRule`](super::StepRule).
//!
//! Cost        n flops beside the quadratic form.
//! Laws        tests/schedules.rs.
//! Reference   J. Ba, R. Grosse, J. Martens, Distributed second-order optimization using Kronecker-factored
//!             approximations, ICLR 2017, section 5.

use super::sgd::positive;
use crate::backend::Ctx;
use crate::curvature::Curvature;
use crate::error::{Error, Result};
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// Keeps vᵀ C v at or below c.
///
/// ```
/// use pullback::optim::CurvatureClip;
/// let clip = CurvatureClip::new(4.0)?;
/// assert_eq!((clip.factor(1.0)?, clip.factor(16.0)?), (1.0, 0.5));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CurvatureClip {
    limit: f64,
}

impl CurvatureClip {
    /// # Errors
    /// [`Error::InvalidParameter`] unless c is finite and positive.
    pub fn new(limit: f64) -> Result<Self> {
        positive("clip", limit)?;
        Ok(Self { limit })
    }

    /// c.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// min(1, √(c / q)) for q = vᵀ C v; 1 where q <= 0, which no step makes longer.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when q is not finite.
    pub fn factor(&self, quadratic_form: f64) -> Result<f64> {
        if !quadratic_form.is_finite() {
            return Err(Error::not_finite("CurvatureClip"));
        }
        Ok(if quadratic_form > self.limit { (self.limit / quadratic_form).sqrt() } else { 1.0 })
    }

    /// Shortens v, and returns the factor.
    ///
    /// # Errors
    /// Those of [`Curvature::quadratic_form`]; [`Error::NotFinite`], v being left alone.
    pub fn apply<T: Scalar, C: Curvature<T> + ?Sized>(&self, ctx: &Ctx<T>, curvature: &C, v: &mut [T]) -> Result<f64> {
        let mut form = [T::ZERO];
        curvature.quadratic_form(ctx, MatRef::from_column(v), &mut form)?;
        let factor = self.factor(form[0].f64())?;
        if factor < 1.0 {
            v.iter_mut().for_each(|v| *v *= T::of(factor));
        }
        Ok(factor)
    }
}
