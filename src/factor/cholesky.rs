//! Cholesky factorization A = L Lᵀ of a symmetric positive definite n x n matrix.
//!
//! Cost        factor n³/3 flops, solve 2n²k for k right-hand sides, inverse 2n³/3 more, log-determinant n.
//! Laws        tests/factorizations.rs (LAPACK's ratios, scale equivariance, failing pivot), tests/backends.rs.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., section 4.2.

use crate::backend::{Ctx, check};
use crate::error::{Result, check_shape};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// A = L Lᵀ, factored once, solved with many times.
///
/// ```
/// use pullback::{Ctx, Mat, factor::Cholesky};
/// let ctx = Ctx::<f64>::default();
/// let chol = Cholesky::new(&ctx, Mat::from_diagonal(&[4.0, 9.0]))?;
/// assert!((chol.log_determinant() - 36f64.ln()).abs() < 1e-14);
/// assert!((chol.inverse(&ctx)?[(0, 0)] - 0.25).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", try_from = "Stored<T>")
)]
pub struct Cholesky<T> {
    l: Mat<T>,
}

/// A factor as it is read, before its shape is believed.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(bound = "T: Scalar")]
struct Stored<T> {
    l: Mat<T>,
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Stored<T>> for Cholesky<T> {
    type Error = crate::error::Error;
    fn try_from(Stored { l }: Stored<T>) -> Result<Self> {
        check::square("Cholesky", l.as_ref())?;
        Ok(Self { l })
    }
}

impl<T: Scalar> Cholesky<T> {
    /// Factors A, of which only the lower triangle is read.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) with the failing pivot,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Shape`](crate::Error::Shape).
    pub fn new(ctx: &Ctx<T>, mut a: Mat<T>) -> Result<Self> {
        ctx.potrf(a.as_mut())?;
        Ok(Self { l: a })
    }

    /// Takes a lower triangle with a positive diagonal.
    pub(super) fn from_l(l: Mat<T>) -> Self {
        Self { l }
    }

    /// Takes another factor of the same order, in the memory of this one.
    pub(crate) fn replace(&mut self, l: MatRef<'_, T>) -> Result<()> {
        self.l.as_mut().copy_from(l)
    }

    /// Order of the matrix.
    pub fn dim(&self) -> usize {
        self.l.nrows()
    }

    /// The factor: L in the lower triangle; the strict upper triangle is unspecified.
    pub fn l(&self) -> MatRef<'_, T> {
        self.l.as_ref()
    }

    /// Solves A X = B in place of B (n x k).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn solve_in_place(&self, ctx: &Ctx<T>, b: MatMut<'_, T>) -> Result<()> {
        ctx.potrs(self.l.as_ref(), b)
    }

    /// A⁻¹, both triangles.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) when it overflows.
    pub fn inverse(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        let mut inverse = self.l.clone();
        ctx.potri(inverse.as_mut())?;
        Ok(inverse)
    }

    /// Writes A⁻¹, both triangles, without an allocation after warm-up.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn inverse_into(&self, ctx: &Ctx<T>, mut out: MatMut<'_, T>) -> Result<()> {
        check_shape("inverse_into", self.l.shape(), out.shape())?;
        out.copy_from(self.l.as_ref())?;
        ctx.potri(out)
    }

    /// Consumes the factor for A⁻¹, both triangles, in the same memory.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) when it overflows.
    pub fn into_inverse(mut self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        ctx.potri(self.l.as_mut())?;
        Ok(self.l)
    }

    /// log det A = 2 Σ log L_ii, which cannot overflow.
    pub fn log_determinant(&self) -> T {
        log_determinant(self.l())
    }

    /// Refactors a new matrix of the same order into the same memory. On error the factor is unusable and the value
    /// is consumed.
    ///
    /// # Errors
    /// As [`Cholesky::new`].
    pub fn refactor(mut self, ctx: &Ctx<T>, a: MatRef<'_, T>) -> Result<Self> {
        check::square("refactor", a)?;
        self.l.as_mut().copy_from(a)?;
        Self::new(ctx, self.l)
    }
}

/// log det(L Lᵀ) = 2 Σ log L_ii.
pub(crate) fn log_determinant<T: Scalar>(l: MatRef<'_, T>) -> T {
    let sum: T = (0..l.nrows()).map(|i| l.at(i, i).ln()).sum();
    sum + sum
}
