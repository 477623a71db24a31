//! A batch's gradient preconditioned through its factors: P vec(G Āᵀ) without forming G Āᵀ where that is cheaper.
//!
//! ```text
//! factored   S̃⁻¹ (G Āᵀ) Ã⁻¹ = (S̃⁻¹ G)(Ã⁻¹ Ā)ᵀ
//! exact      Q_S (((Q_Sᵀ G)(Q_Aᵀ Ā)ᵀ) ⊘ D) Q_Aᵀ
//! ```
//! with Ā (d_in x B) a layer's inputs and G (d_out x B) the gradients of its pre-activations: their product has rank B, and
//! two of the square products act on B columns in place of d_in or d_out.
//!
//! Cost        beside the product G Āᵀ itself, 2B(d_in² + d_out²) flops in place of 2 d_in d_out (d_in + d_out); the exact
//!             path twice the latter for the way back. Whichever is less is taken.
//! Laws        tests/batch_product.rs (equals the preconditioned product at sizes on both sides of the choice).

use super::kronecker_inverse::{Parts, damped_reciprocal};
use super::kronecker_range::Range;
use super::{DampedSolver, EigenKroneckerInverse, KroneckerInverse};
use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Whether factors of `cases` columns are cheaper to precondition than their d_out x d_in product.
///
/// ```
/// use pullback::curvature::batch_factors_are_cheaper;
/// assert!(batch_factors_are_cheaper(512, 785, 1000));
/// assert!(!batch_factors_are_cheaper(512, 251, 30));
/// ```
pub fn batch_factors_are_cheaper(cases: usize, d_in: usize, d_out: usize) -> bool {
    let (b, m, n) = (cases as f64, d_in as f64, d_out as f64);
    b * (m * m + n * n) < m * n * (m + n)
}

/// Flops of the exact path from the factors, beside their product: to the eigenbases and back.
fn rotated_product(cases: usize, d_in: usize, d_out: usize) -> f64 {
    let (b, m, n) = (cases as f64, d_in as f64, d_out as f64);
    2.0 * b * (m * m + n * n) + 2.0 * m * n * (m + n)
}

/// out ← α G Āᵀ in scratch, handed on.
pub(crate) fn form_product<T: Scalar>(
    ctx: &Ctx<T>,
    alpha: T,
    g: MatRef<'_, T>,
    a: MatRef<'_, T>,
    then: impl FnOnce(MatRef<'_, T>) -> Result<()>,
) -> Result<()> {
    let mut v = ctx.scratch(g.nrows(), a.nrows());
    ctx.gemm(alpha, g, Op::No, a, Op::Transpose, T::ZERO, v.as_mut())?;
    then(v.as_ref())
}

impl<T: Scalar> KroneckerInverse<T> {
    /// out ← α P(G Āᵀ), d_out x d_in, for G d_out x B and Ā d_in x B: the preconditioned gradient of a batch.
    ///
    /// ```
    /// use pullback::curvature::{Kronecker, KroneckerDamping};
    /// use pullback::{Ctx, Curvature, Damping, Mat};
    /// let ctx = Ctx::<f64>::default();
    /// let c = Kronecker::new(Mat::identity(3), Mat::identity(2), KroneckerDamping::Exact)?;
    /// let inverse = c.damped(&ctx, Damping::try_from(1.0)?)?;
    /// let (a, g) = (Mat::from_fn(3, 1, |i, _| i as f64), Mat::from_fn(2, 1, |_, _| 4.0)); // one case
    /// let mut out = Mat::zeros(2, 3);
    /// inverse.precondition_product(&ctx, 1.0, g.as_ref(), a.as_ref(), out.as_mut())?;
    /// assert!((out[(1, 2)] - 4.0).abs() < 1e-14); // 4 · 2 / (1 + λ)
    /// # Ok::<(), pullback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn precondition_product(
        &self,
        ctx: &Ctx<T>,
        alpha: T,
        g: MatRef<'_, T>,
        a: MatRef<'_, T>,
        mut out: MatMut<'_, T>,
    ) -> Result<()> {
        let (d_in, d_out) = self.factor_dims();
        if !batch_factors_are_cheaper(a.ncols(), d_in, d_out) {
            return form_product(ctx, alpha, g, a, |v| self.precondition_matrix(ctx, v, out));
        }
        match &self.parts {
            Parts::Exact(eigen) => {
                if let Some(range) = Range::of(eigen, self.damping())
                    && range.flops() < rotated_product(a.ncols(), d_in, d_out)
                {
                    ctx.gemm(alpha, g, Op::No, a, Op::Transpose, T::ZERO, out.rb_mut())?;
                    return range.solve_in_place(ctx, out);
                }
                eigen.scale_product(ctx, |v| eigen.scale(&damped_reciprocal(self.damping()), v), alpha, g, a, out)
            }
            Parts::Factored { a: a_inverse, s: s_inverse, .. } => {
                let (mut x, mut y) = (ctx.scratch(d_in, a.ncols()), ctx.scratch(d_out, g.ncols()));
                ctx.gemm(T::ONE, a_inverse.matrix().as_ref(), Op::No, a, Op::No, T::ZERO, x.as_mut())?;
                ctx.gemm(T::ONE, s_inverse.matrix().as_ref(), Op::No, g, Op::No, T::ZERO, y.as_mut())?;
                ctx.gemm(alpha, y.as_ref(), Op::No, x.as_ref(), Op::Transpose, T::ZERO, out)
            }
        }
    }
}

impl<T: Scalar> EigenKroneckerInverse<T> {
    /// out ← α P(G Āᵀ), d_out x d_in, for G d_out x B and Ā d_in x B: the preconditioned gradient of a batch.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn precondition_product(
        &self,
        ctx: &Ctx<T>,
        alpha: T,
        g: MatRef<'_, T>,
        a: MatRef<'_, T>,
        out: MatMut<'_, T>,
    ) -> Result<()> {
        let basis = self.curvature().basis();
        if batch_factors_are_cheaper(a.ncols(), basis.left().dim(), basis.right().dim()) {
            basis.scale_product(ctx, self.divide(), alpha, g, a, out)
        } else {
            form_product(ctx, alpha, g, a, |v| self.precondition_matrix(ctx, v, out))
        }
    }
}
