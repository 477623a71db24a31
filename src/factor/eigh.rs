//! Symmetric eigendecomposition A = Q diag(w) Qᵀ, and functions of A through it.
//!
//! Cost        decomposition about 9n³ flops; f(A) X costs 4n²k flops for k columns; changing f (a new damping) is free.
//! Laws        tests/factorizations.rs (residual, orthogonality, scales 2^k), tests/backends.rs.
//! Reference   N. J. Higham, Functions of Matrices, 2008, chapter 1.

use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A = Q diag(w) Qᵀ with ascending w and orthonormal Q.
///
/// ```
/// use pullback::{Ctx, Mat, factor::SymEigen};
/// let ctx = Ctx::<f64>::default();
/// let eigen = SymEigen::new(&ctx, Mat::from_diagonal(&[9.0, 4.0]))?;
/// let root = eigen.map_to_dense(&ctx, f64::sqrt)?;
/// assert!((root[(0, 0)] - 3.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", try_from = "Stored<T>")
)]
pub struct SymEigen<T> {
    pub(super) vectors: Mat<T>,
    pub(super) values: Vec<T>,
}

/// A decomposition as it is read, before its shapes are believed.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(bound = "T: Scalar")]
struct Stored<T> {
    vectors: Mat<T>,
    values: Vec<T>,
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Stored<T>> for SymEigen<T> {
    type Error = Error;
    fn try_from(Stored { vectors, values }: Stored<T>) -> Result<Self> {
        check_shape("SymEigen", (values.len(), values.len()), vectors.shape())?;
        Ok(Self { vectors, values })
    }
}

impl<T: Scalar> SymEigen<T> {
    /// Decomposes A, of which only the lower triangle is read.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::NoConvergence`], [`Error::Shape`].
    pub fn new(ctx: &Ctx<T>, mut a: Mat<T>) -> Result<Self> {
        let mut values = vec![T::ZERO; a.nrows()];
        ctx.syevd(a.as_mut(), &mut values)?;
        Ok(Self { vectors: a, values })
    }

    /// Takes another decomposition of the same order, in the memory of this one.
    pub(crate) fn replace(&mut self, vectors: MatRef<'_, T>, values: &[T]) -> Result<()> {
        check_len("SymEigen::replace", self.values.len(), values.len())?;
        self.vectors.as_mut().copy_from(vectors)?;
        self.values.copy_from_slice(values);
        Ok(())
    }

    /// Order of the matrix.
    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// Q, one eigenvector a column.
    pub fn vectors(&self) -> MatRef<'_, T> {
        self.vectors.as_ref()
    }

    /// w, ascending.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Q diag(f(w)) Qᵀ for a non-decreasing f, which leaves the values ascending.
    pub(super) fn map_values(self, f: impl Fn(T) -> T) -> Self {
        Self { values: self.values.into_iter().map(f).collect(), ..self }
    }

    /// Y ← f(A) X = Q diag(f(w)) Qᵀ X.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn map_apply(&self, ctx: &Ctx<T>, f: impl Fn(T) -> T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        check_shape("SymEigen::map_apply", (self.dim(), x.ncols()), x.shape())?;
        let q = self.vectors.as_ref();
        let mut rotated = ctx.scratch(self.dim(), x.ncols());
        ctx.gemm(T::ONE, q, Op::Transpose, x, Op::No, T::ZERO, rotated.as_mut())?;
        for column in rotated.as_mut().cols_mut() {
            column.iter_mut().zip(&self.values).for_each(|(r, &w)| *r *= f(w));
        }
        ctx.gemm(T::ONE, q, Op::No, rotated.as_ref(), Op::No, T::ZERO, y)
    }

    /// f(A) as a dense matrix: sqrt, inverse square root, ...
    ///
    /// # Errors
    /// [`Error::NotFinite`] when f maps an eigenvalue to NaN or infinity.
    pub fn map_to_dense(&self, ctx: &Ctx<T>, f: impl Fn(T) -> T) -> Result<Mat<T>> {
        let n = self.dim();
        let mut scaled = self.vectors.clone();
        for (column, &w) in scaled.as_mut().cols_mut().zip(&self.values) {
            let fw = f(w);
            if !fw.is_finite() {
                return Err(Error::not_finite("SymEigen::map_to_dense"));
            }
            column.iter_mut().for_each(|q| *q *= fw);
        }
        let mut dense = Mat::zeros(n, n);
        ctx.gemm(T::ONE, scaled.as_ref(), Op::No, self.vectors.as_ref(), Op::Transpose, T::ZERO, dense.as_mut())?;
        dense.as_mut().mirror_lower();
        Ok(dense)
    }

    /// X ← (A + λI)⁻¹ B, a new λ costing nothing extra.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] when λ + w_min ≤ 0, [`Error::Shape`].
    pub fn solve_damped(&self, ctx: &Ctx<T>, lambda: T, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<()> {
        if let Some(pivot) = self.values.iter().position(|&w| !(w + lambda > T::ZERO)) {
            return Err(Error::NotPositiveDefinite { op: "SymEigen::solve_damped", pivot });
        }
        self.map_apply(ctx, |w| T::ONE / (w + lambda), b, x)
    }

    /// log det A = Σ log w_i; `None` unless every eigenvalue is positive.
    pub fn log_determinant(&self) -> Option<T> {
        self.values.iter().all(|&w| w > T::ZERO).then(|| self.values.iter().map(|w| w.ln()).sum())
    }
}
