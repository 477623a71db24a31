//! The map shared by the low-rank preconditioners: eigenvalues known in a subspace, one value for all the others.
//!
//! ```text
//! M⁻¹ = U diag(1/(w_i + λ)) Uᵀ + 1/(tail + λ) (I - U Uᵀ),   UᵀU = I
//! ```
//! The projection I - U Uᵀ is applied twice: what rounding leaves of a large eigendirection in the complement would
//! otherwise outweigh its own term where (w_1 + λ) / (tail + λ) > 1/ε, and M⁻¹ would not be positive definite.
//!
//! Cost        8nrk flops for k columns; n r numbers, shared by all λ.
//! Laws        tests/built_preconditioners.rs (through the preconditioners built on it).
//! Reference   L. Giraud, J. Langou, M. Rozložník, The loss of orthogonality in the Gram-Schmidt orthogonalization
//!             process, Comput. Math. Appl. 50 (2005), doi:10.1016/j.camwa.2005.08.009 (why twice is enough).

use std::sync::Arc;

use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::{SymEigen, ThinQr};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// U, w and the value for the complement.
#[derive(Debug, Clone)]
pub(super) struct Deflation<T> {
    u: Arc<Mat<T>>,
    values: Arc<Vec<T>>,
    pub(super) tail: T,
}

impl<T: Scalar> Deflation<T> {
    /// Nothing is known: M = λI.
    pub(super) fn nothing(n: usize) -> Self {
        Self { u: Arc::new(Mat::zeros(n, 0)), values: Arc::default(), tail: T::ZERO }
    }

    /// The eigenpairs of F Fᵀ - νI with a positive eigenvalue, in descending order; `tail` is 0.
    ///
    /// F = Q R, R Rᵀ = W diag(w) Wᵀ, U = Q W: U is orthonormal to rounding whatever the condition of F.
    pub(super) fn of_factor(ctx: &Ctx<T>, f: MatRef<'_, T>, shift: T) -> Result<Self> {
        let qr = ThinQr::new(ctx, f)?;
        let r = qr.rank();
        let mut small = Mat::zeros(r, r);
        ctx.syrk(T::ONE, qr.r().as_ref(), Op::Transpose, T::ZERO, small.as_mut())?;
        let eigen = SymEigen::new(ctx, small)?;
        let order: Vec<usize> = (0..r).rev().filter(|&i| eigen.values()[i] > shift).collect();
        let mut w = Mat::zeros(r, order.len());
        for (to, &from) in w.as_mut().cols_mut().zip(&order) {
            to.copy_from_slice(eigen.vectors().col(from));
        }
        let mut u = Mat::zeros(f.nrows(), order.len());
        ctx.gemm(T::ONE, qr.q().as_ref(), Op::No, w.as_ref(), Op::No, T::ZERO, u.as_mut())?;
        let values = order.iter().map(|&i| eigen.values()[i] - shift).collect();
        Ok(Self { u: Arc::new(u), values: Arc::new(values), tail: T::ZERO })
    }

    pub(super) fn dim(&self) -> usize {
        self.u.nrows()
    }

    pub(super) fn u(&self) -> &Mat<T> {
        &self.u
    }

    /// w, descending.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Y ← M⁻¹ X.
    pub(super) fn apply(&self, ctx: &Ctx<T>, lambda: T, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let u = self.u.as_ref().as_ref();
        let (mut along, mut left) = (ctx.scratch(u.ncols(), x.ncols()), ctx.scratch(u.ncols(), x.ncols()));
        ctx.gemm(T::ONE, u, Op::Transpose, x, Op::No, T::ZERO, along.as_mut())?;
        y.copy_from(x)?;
        ctx.gemm(-T::ONE, u, Op::No, along.as_ref(), Op::No, T::ONE, y.rb_mut())?;
        ctx.gemm(T::ONE, u, Op::Transpose, y.rb(), Op::No, T::ZERO, left.as_mut())?;
        ctx.gemm(-T::ONE, u, Op::No, left.as_ref(), Op::No, T::ONE, y.rb_mut())?;
        for column in along.as_mut().cols_mut() {
            column.iter_mut().zip(&*self.values).for_each(|(a, &w)| *a /= w + lambda);
        }
        let rest = T::ONE / (self.tail + lambda);
        y.cols_mut().for_each(|column| column.iter_mut().for_each(|y| *y *= rest));
        ctx.gemm(T::ONE, u, Op::No, along.as_ref(), Op::No, T::ONE, y)
    }

    /// Y ← Y - U diag(w) Uᵀ X.
    pub(super) fn subtract(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let u = self.u.as_ref().as_ref();
        let mut along = ctx.scratch(u.ncols(), x.ncols());
        ctx.gemm(T::ONE, u, Op::Transpose, x, Op::No, T::ZERO, along.as_mut())?;
        for column in along.as_mut().cols_mut() {
            column.iter_mut().zip(&*self.values).for_each(|(a, &w)| *a *= w);
        }
        ctx.gemm(-T::ONE, u, Op::No, along.as_ref(), Op::No, T::ONE, y)
    }
}
