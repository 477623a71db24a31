//! [`PivotedCholesky`]: the first k columns of a Cholesky factorization with diagonal pivoting.
//!
//! ```text
//! C ≈ F Fᵀ,   column t:  p = argmax d,  g = C e_p - F F_pᵀ,  f_t = g / √g_p,  d -= f_t²      (d starts as diag C)
//! M = F Fᵀ + λI,   κ(M⁻¹(C + λI)) <= 1 + tr(C - F Fᵀ)/λ
//! ```
//! For a positive semidefinite C the trace of the error, Σ d, is known at every step and bounds its norm: the bound on
//! κ holds without probability. C of rank at most k is met exactly, to rounding.
//!
//! Cost        a product a column, one after the other, 2nk² flops; 8nk² and 9k³ once for the eigenvectors of F Fᵀ;
//!             8nkm flops for m columns; nk numbers. A new λ is free.
//! Deviations  M⁻¹ is applied through the eigenvectors of F Fᵀ, not by the Woodbury identity, which cancels where λ is
//!             small.
//! Laws        tests/built_preconditioners.rs.
//! Reference   H. Harbrecht, M. Peters, R. Schneider, Appl. Numer. Math. 62 (2012) 428-440,
//!             doi 10.1016/j.apnum.2011.10.001.

use super::deflation::Deflation;
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result};
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// (F Fᵀ + λI)⁻¹ with F the first columns of a pivoted Cholesky factor of C.
///
/// ```
/// use pullback::curvature::precondition::PivotedCholesky;
/// use pullback::linop::SymmetricDense;
/// use pullback::{Ctx, Damping, Mat};
/// let c = SymmetricDense::new(Mat::from_diagonal(&[1.0, 9.0, 4.0]))?;
/// let m = PivotedCholesky::new(&Ctx::<f64>::default(), &c, Damping::try_from(0.5)?, 2)?;
/// assert_eq!(m.pivots(), [1, 2]);
/// assert_eq!(m.trace_error(), 1.0);
/// assert_eq!(m.condition_bound(), 3.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PivotedCholesky<T> {
    spectrum: Deflation<T>,
    lambda: Damping<T>,
    pivots: Vec<usize>,
    trace_error: f64,
}

impl<T: Scalar> PivotedCholesky<T> {
    /// At most `rank` columns; fewer where what is left is rounding.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] naming a diagonal entry that is negative beyond rounding, [`Error::NotFinite`],
    /// those of the operator.
    pub fn new(ctx: &Ctx<T>, c: &(impl HasDiagonal<T> + ?Sized), lambda: Damping<T>, rank: usize) -> Result<Self> {
        let n = c.dim();
        let mut left = vec![T::ZERO; n];
        c.diagonal(ctx, &mut left)?;
        check::finite_slice("PivotedCholesky", &left)?;
        let size = left.iter().fold(T::ZERO, |m, &d| m.max(d.abs()));
        let rounding = T::of(8.0 * n as f64 * T::EPS.f64()) * size;
        if let Some(pivot) = left.iter().position(|&d| d < -rounding) {
            return Err(Error::NotPositiveDefinite { op: "PivotedCholesky", pivot });
        }
        let most = rank.min(n);
        let mut f = Mat::zeros(n, most);
        let mut pivots = Vec::with_capacity(most);
        let (mut unit, mut column) = (vec![T::ZERO; n], vec![T::ZERO; n]);
        while pivots.len() < most {
            let pivot = (1..n).fold(0, |best, i| if left[i] > left[best] { i } else { best });
            if left[pivot] <= rounding {
                break;
            }
            unit[pivot] = T::ONE;
            c.apply(ctx, MatRef::from_column(&unit), MatMut::from_column(&mut column))?;
            unit[pivot] = T::ZERO;
            check::finite_slice("PivotedCholesky: product", &column)?;
            let done = f.as_ref().submatrix(0, 0, n, pivots.len())?;
            let row: Vec<T> = done.cols().map(|f| f[pivot]).collect();
            ctx.gemv(-T::ONE, done, Op::No, &row, T::ONE, &mut column)?;
            if column[pivot] <= T::ZERO {
                break; // the diagonal that is left is rounding
            }
            let root = column[pivot].sqrt();
            let next = f.as_mut().submatrix(0, pivots.len(), n, 1)?;
            for ((f, &g), d) in next.into_slice().iter_mut().zip(&column).zip(&mut left) {
                *f = g / root;
                *d -= *f * *f;
            }
            left[pivot] = T::ZERO;
            pivots.push(pivot);
        }
        let used = f.as_ref().submatrix(0, 0, n, pivots.len())?;
        let spectrum = Deflation::of_factor(ctx, used, T::ZERO)?;
        let trace_error = left.iter().map(|d| d.f64().max(0.0)).sum();
        Ok(Self { spectrum, lambda, pivots, trace_error })
    }

    /// The same factor with another λ, in O(1) and the pivots.
    pub fn redamp(&self, lambda: Damping<T>) -> Self {
        Self { lambda, ..self.clone() }
    }

    /// λ.
    pub fn damping(&self) -> Damping<T> {
        self.lambda
    }

    /// The columns of C that were read, in order.
    pub fn pivots(&self) -> &[usize] {
        &self.pivots
    }

    /// The eigenvalues of F Fᵀ, descending and positive.
    pub fn eigenvalues(&self) -> &[T] {
        self.spectrum.values()
    }

    /// tr(C - F Fᵀ), which bounds ‖C - F Fᵀ‖.
    pub fn trace_error(&self) -> f64 {
        self.trace_error
    }

    /// 1 + tr(C - F Fᵀ)/λ: no condition number of the preconditioned matrix is larger, up to rounding.
    pub fn condition_bound(&self) -> f64 {
        1.0 + self.trace_error / self.lambda.get().f64()
    }
}

impl<T: Scalar> LinearOperator<T> for PivotedCholesky<T> {
    fn shape(&self) -> (usize, usize) {
        (self.spectrum.dim(), self.spectrum.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.spectrum.apply(ctx, self.lambda.get(), x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for PivotedCholesky<T> {}
impl<T: Scalar> Preconditioner<T> for PivotedCholesky<T> {}
