//! [`FactorInverse`]: (M + σI)⁻¹ as a matrix, what factored damped inverses are joined from.
//!
//! ```text
//! M + σI = L Lᵀ,  (M + σI)⁻¹ = L⁻ᵀ L⁻¹
//! ```
//! Cost        n³ flops; n² numbers. In scratch that is there ([`invert`]) nothing is allocated.
//! Laws        tests/curvature_kronecker.rs, tests/kfac_allocations.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 6.3.

use crate::backend::{Ctx, check};
use crate::curvature::Recovery;
use crate::error::Result;
use crate::factor::{OnFailure, PositiveFactor, log_determinant};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// (M + shift I)⁻¹ as a matrix with its log-determinant: one factor of a factored damped inverse.
///
/// Factors of many layers can be inverted in any order and in parallel, then joined by
/// [`KroneckerInverse::from_inverses`](super::KroneckerInverse::from_inverses).
///
/// ```
/// use pullback::{Ctx, Mat, curvature::FactorInverse};
/// let half = FactorInverse::new(&Ctx::<f64>::default(), Mat::identity(3).as_ref(), 1.0)?;
/// assert!((half.matrix()[(2, 2)] - 0.5).abs() < 1e-15);
/// assert!((half.log_determinant() - 8f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct FactorInverse<T> {
    inverse: Mat<T>,
    shift: T,
    log_determinant: T,
    recovery: Recovery,
}

impl<T: Scalar> FactorInverse<T> {
    /// Inverts M + shift I by Cholesky; only the lower triangle of M is read.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) with the pivot,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Shape`](crate::Error::Shape).
    pub fn new(ctx: &Ctx<T>, m: MatRef<'_, T>, shift: T) -> Result<Self> {
        Self::with_on_failure(ctx, m, shift, OnFailure::Error)
    }

    /// [`FactorInverse::new`] with a say in what happens when a pivot is not positive.
    ///
    /// # Errors
    /// As [`FactorInverse::new`]; with [`OnFailure::Recover`] as [`PositiveFactor::new`].
    pub fn with_on_failure(ctx: &Ctx<T>, m: MatRef<'_, T>, shift: T, on_failure: OnFailure) -> Result<Self> {
        check::square("FactorInverse", m)?;
        let factor = PositiveFactor::new(ctx, m.to_owned(), shift, on_failure)?;
        let (log_determinant, recovery) = (factor.log_determinant(), factor.recovery());
        Ok(Self { inverse: factor.into_inverse(ctx)?, shift, log_determinant, recovery })
    }

    /// What the factorization needed beyond a first attempt.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// (M + shift I)⁻¹, both triangles.
    pub fn matrix(&self) -> &Mat<T> {
        &self.inverse
    }

    /// What was added to the diagonal.
    pub fn shift(&self) -> T {
        self.shift
    }

    /// log det(M + shift I).
    pub fn log_determinant(&self) -> T {
        self.log_determinant
    }

    /// Takes (M + shift I)⁻¹ and its log-determinant as [`invert`] made them, in the memory of this one.
    pub(super) fn replace(&mut self, inverse: MatRef<'_, T>, shift: T, log_determinant: T) -> Result<()> {
        self.inverse.as_mut().copy_from(inverse)?;
        (self.shift, self.log_determinant, self.recovery) = (shift, log_determinant, Recovery::None);
        Ok(())
    }
}

/// out ← (M + shift I)⁻¹ by Cholesky, both triangles; only the lower triangle of M is read. Returns log det(M + shift I).
pub(super) fn invert<T: Scalar>(ctx: &Ctx<T>, m: MatRef<'_, T>, shift: T, mut out: MatMut<'_, T>) -> Result<T> {
    factor_damped(ctx, m, shift, out.rb_mut())?;
    let log_determinant = log_determinant(out.rb());
    ctx.potri(out)?;
    Ok(log_determinant)
}

/// out ← L of M + shift I = L Lᵀ in the lower triangle, of which alone M's is read.
pub(super) fn factor_damped<T: Scalar>(ctx: &Ctx<T>, m: MatRef<'_, T>, shift: T, mut out: MatMut<'_, T>) -> Result<()> {
    let n = check::square("damped factor", m)?;
    out.copy_from(m)?;
    (0..n).for_each(|i| *out.at_mut(i, i) += shift);
    ctx.potrf(out)
}
