//! [`PositiveFactor`]: a symmetric positive definite M + σI, factored by Cholesky, and where that fails and the caller
//! has asked for it, in two more ways, each reported.
//!
//! ```text
//! 1  M + σI = L Lᵀ                                     Recovery::None
//! 2  the same in a wider arithmetic, L rounded once     Recovery::HigherPrecision
//! 3  M + σI = Q W Qᵀ, w_i ← max(w_i, floor)             Recovery::ClippedSpectrum
//!    floor = max(σ, n ε max|w|)
//! ```
//! A positive semidefinite M has no eigenvalue of M + σI below σ, so the floor σ is what M would have had without its
//! rounding; n ε max|w| is the accuracy of the eigenvalues themselves. Step 3 repairs rounding, not signs: an
//! eigenvalue below -√ε max|w| is an error as before, and so are NaN, infinity and a zero matrix without a shift.
//!
//! Cost        n³/3 flops; on failure 25 n³/3 more for `f64` (n³/3 in `f64` for `f32`), then about 9n³.
//! Laws        tests/recovery.rs.
//! Reference   N. J. Higham, Computing a nearest symmetric positive semidefinite matrix, Linear Algebra Appl. 103
//!             (1988), doi:10.1016/0024-3795(88)90223-6 (the clipped spectrum is the nearest in Frobenius norm).

use super::{Cholesky, SymEigen, wide};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// What to do when a Cholesky factorization meets a pivot that is not positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum OnFailure {
    /// Return [`Error::NotPositiveDefinite`].
    #[default]
    Error,
    /// Go on to a wider arithmetic, then to a clipped spectrum; [`Recovery`] says which.
    Recover,
}

/// What had to be done to factor a matrix that plain Cholesky refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Recovery {
    /// Nothing: the first attempt succeeded.
    #[default]
    None,
    /// The factorization was repeated in a higher precision.
    HigherPrecision,
    /// Eigenvalues of the damped matrix below `floor` were raised to it.
    ClippedSpectrum {
        /// How many.
        count: usize,
        /// The value they were raised to.
        floor: f64,
    },
}

impl Recovery {
    /// Both together: the last resort of the two; clipped eigenvalues add up, and the larger floor counts.
    pub fn and(self, other: Self) -> Self {
        use Recovery::{ClippedSpectrum, HigherPrecision, None};
        match (self, other) {
            (ClippedSpectrum { count: n, floor: a }, ClippedSpectrum { count: m, floor: b }) => {
                ClippedSpectrum { count: n + m, floor: a.max(b) }
            }
            (clipped @ ClippedSpectrum { .. }, _) | (_, clipped @ ClippedSpectrum { .. }) => clipped,
            (HigherPrecision, _) | (_, HigherPrecision) => HigherPrecision,
            (None, None) => None,
        }
    }
}

/// M + σI, positive definite, factored.
///
/// ```
/// use pullback::factor::{OnFailure, PositiveFactor, Recovery};
/// use pullback::{Ctx, Error, Mat};
/// let ctx = Ctx::<f64>::default();
/// let nearly = Mat::from_diagonal(&[1.0, -1e-17]); // semidefinite but for rounding
/// let refused = PositiveFactor::new(&ctx, nearly.clone(), 0.0, OnFailure::Error);
/// assert!(matches!(refused, Err(Error::NotPositiveDefinite { pivot: 1, .. })));
/// let factor = PositiveFactor::new(&ctx, nearly, 0.0, OnFailure::Recover)?;
/// assert_eq!(factor.recovery(), Recovery::ClippedSpectrum { count: 1, floor: 2.0 * f64::EPSILON });
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct PositiveFactor<T> {
    form: Form<T>,
    recovery: Recovery,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
enum Form<T> {
    Cholesky(Cholesky<T>),
    /// All values positive.
    Clipped(SymEigen<T>),
}

impl<T: Scalar> PositiveFactor<T> {
    /// Factors M + σI, of which only the lower triangle is read.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] with the pivot, [`Error::NotFinite`], [`Error::Shape`],
    /// [`Error::NoConvergence`].
    pub fn new(ctx: &Ctx<T>, m: Mat<T>, shift: T, on_failure: OnFailure) -> Result<Self> {
        check::square("PositiveFactor", m.as_ref())?;
        let original = (on_failure == OnFailure::Recover).then(|| m.clone());
        let mut shifted = m;
        (0..shifted.nrows()).for_each(|i| shifted[(i, i)] += shift);
        match (Cholesky::new(ctx, shifted), original) {
            (Ok(factor), _) => Ok(Self { form: Form::Cholesky(factor), recovery: Recovery::None }),
            (Err(refused @ Error::NotPositiveDefinite { .. }), Some(m)) => Self::recovered(ctx, m, shift, refused),
            (Err(error), _) => Err(error),
        }
    }

    fn recovered(ctx: &Ctx<T>, m: Mat<T>, shift: T, refused: Error) -> Result<Self> {
        if let Some(l) = wide::cholesky(m.as_ref(), shift) {
            return Ok(Self { form: Form::Cholesky(Cholesky::from_l(l)), recovery: Recovery::HigherPrecision });
        }
        let n = m.nrows();
        let eigen = SymEigen::new(ctx, m)?;
        let shifted = |w: T| w + shift;
        let largest = eigen.values().iter().fold(T::ZERO, |max, &w| max.max(shifted(w).abs()));
        let floor = (T::of(n as f64) * T::EPS * largest).max(shift);
        let least = eigen.values().first().copied().map_or(T::ZERO, shifted);
        if !(floor > T::ZERO && least >= -T::EPS.sqrt() * largest) {
            return Err(refused);
        }
        let count = eigen.values().iter().filter(|&&w| shifted(w) < floor).count();
        let clipped = eigen.map_values(|w| shifted(w).max(floor));
        let recovery = Recovery::ClippedSpectrum { count, floor: floor.f64() };
        Ok(Self { form: Form::Clipped(clipped), recovery })
    }

    /// Order of the matrix.
    pub fn dim(&self) -> usize {
        match &self.form {
            Form::Cholesky(factor) => factor.dim(),
            Form::Clipped(eigen) => eigen.dim(),
        }
    }

    /// What the factorization needed beyond a first attempt.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The Cholesky factor, unless the spectrum was clipped.
    pub fn cholesky(&self) -> Option<&Cholesky<T>> {
        match &self.form {
            Form::Cholesky(factor) => Some(factor),
            Form::Clipped(_) => None,
        }
    }

    /// Y ← (M + σI)⁻¹ X, shapes already checked.
    pub(crate) fn solve_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        match &self.form {
            Form::Cholesky(factor) => {
                y.copy_from(x)?;
                factor.solve_in_place(ctx, y)
            }
            Form::Clipped(eigen) => eigen.map_apply(ctx, |w| T::ONE / w, x, y),
        }
    }

    /// Solves (M + σI) X = B in place of B (n x k).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn solve_in_place(&self, ctx: &Ctx<T>, mut b: MatMut<'_, T>) -> Result<()> {
        match &self.form {
            Form::Cholesky(factor) => factor.solve_in_place(ctx, b),
            Form::Clipped(eigen) => {
                let mut copy = ctx.scratch(b.nrows(), b.ncols());
                copy.as_mut().copy_from(b.rb())?;
                eigen.map_apply(ctx, |w| T::ONE / w, copy.as_ref(), b.rb_mut())
            }
        }
    }

    /// Y ← R X for an n x n root of the inverse, R Rᵀ = (M + σI)⁻¹: R = L⁻ᵀ, or Q W^(-1/2).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn inverse_root(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        match &self.form {
            Form::Cholesky(factor) => {
                y.copy_from(x)?;
                ctx.trsm(Side::Left, factor.l(), Op::Transpose, y)
            }
            Form::Clipped(eigen) => {
                let mut scaled = ctx.scratch(x.nrows(), x.ncols());
                scaled.as_mut().copy_from(x)?;
                for column in scaled.as_mut().cols_mut() {
                    column.iter_mut().zip(eigen.values()).for_each(|(x, &w)| *x /= w.sqrt());
                }
                ctx.gemm(T::ONE, eigen.vectors(), Op::No, scaled.as_ref(), Op::No, T::ZERO, y)
            }
        }
    }

    /// Consumes the factor for (M + σI)⁻¹, both triangles.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when it overflows.
    pub fn into_inverse(self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        match self.form {
            Form::Cholesky(factor) => factor.into_inverse(ctx),
            Form::Clipped(eigen) => eigen.map_to_dense(ctx, |w| T::ONE / w),
        }
    }

    /// log det(M + σI), of the clipped spectrum where it was clipped.
    pub fn log_determinant(&self) -> T {
        match &self.form {
            Form::Cholesky(factor) => factor.log_determinant(),
            Form::Clipped(eigen) => T::of(eigen.values().iter().map(|w| w.f64().ln()).sum()),
        }
    }
}
