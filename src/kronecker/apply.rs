//! Products with a Kronecker product that is never formed.
//!
//! ```text
//! (op(A) ⊗ op(B)) vec X = vec(op(B) X op(A)ᵀ)        (Eq 16)
//! ```
//! Cost        op(A) m_a x n_a, op(B) m_b x n_b: the cheaper order of 2 m_b n_a (n_b + m_a) and 2 n_b m_a (n_a + m_b)
//!             flops a vector, against 2 m_a n_a m_b n_b for the formed matrix.
//! Laws        tests/kronecker_identities.rs.
//! Reference   C. F. Van Loan, The ubiquitous Kronecker product, J. Comput. Appl. Math. 123 (2000),
//!             doi:10.1016/S0377-0427(00)00393-9.

use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A factor and how it is read.
pub type Factor<'a, T> = (MatRef<'a, T>, Op);

/// Whether op(B) X comes first (else X op(A)ᵀ): the order with fewer flops.
fn left_first((ma, na): (usize, usize), (mb, nb): (usize, usize)) -> bool {
    let flops = |p: usize, q: usize, r: usize, s: usize| p as f64 * q as f64 * (r as f64 + s as f64);
    flops(mb, na, nb, ma) <= flops(nb, ma, na, mb)
}

/// Y ← α op(B) X op(A)ᵀ + β Y on matrices with any leading dimension.
///
/// ```
/// use pullback::{Ctx, Mat, Op, kronecker::two_sided_product};
/// let (a, b) = (Mat::from_diagonal(&[1.0, 2.0]), Mat::from_diagonal(&[3.0]));
/// let x = Mat::from_vec(vec![1.0, 1.0], 1, 2)?;
/// let mut y = Mat::zeros(1, 2);
/// let ctx = Ctx::default();
/// two_sided_product(&ctx, 1.0, (a.as_ref(), Op::No), (b.as_ref(), Op::No), x.as_ref(), 0.0, y.as_mut())?;
/// assert_eq!(y.as_slice(), [3.0, 6.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape).
pub fn two_sided_product<T: Scalar>(
    ctx: &Ctx<T>,
    alpha: T,
    (a, ta): Factor<'_, T>,
    (b, tb): Factor<'_, T>,
    x: MatRef<'_, T>,
    beta: T,
    y: MatMut<'_, T>,
) -> Result<()> {
    let ((ma, na), (mb, nb)) = (ta.shape(a.shape()), tb.shape(b.shape()));
    check_shape("two_sided_product: X", (nb, na), x.shape())?;
    check_shape("two_sided_product: Y", (mb, ma), y.shape())?;
    if left_first((ma, na), (mb, nb)) {
        let mut bx = ctx.scratch(mb, na);
        ctx.gemm(T::ONE, b, tb, x, Op::No, T::ZERO, bx.as_mut())?;
        ctx.gemm(alpha, bx.as_ref(), Op::No, a, ta.flipped(), beta, y)
    } else {
        let mut xa = ctx.scratch(nb, ma);
        ctx.gemm(T::ONE, x, Op::No, a, ta.flipped(), T::ZERO, xa.as_mut())?;
        ctx.gemm(alpha, b, tb, xa.as_ref(), Op::No, beta, y)
    }
}

/// Y ← α (op(A) ⊗ op(B)) X + β Y, each column of X being vec of an n_b x n_a matrix.
///
/// The product with B is one gemm over all columns of X where their memory is contiguous.
///
/// ```
/// use pullback::{Ctx, Mat, Op, kronecker::kronecker_apply};
/// let (a, b) = (Mat::from_diagonal(&[1.0, 2.0]), Mat::from_diagonal(&[3.0]));
/// let mut y = Mat::zeros(2, 2);
/// let (a, b) = ((a.as_ref(), Op::No), (b.as_ref(), Op::No));
/// kronecker_apply(&Ctx::default(), 1.0, a, b, Mat::identity(2).as_ref(), 0.0, y.as_mut())?;
/// assert_eq!(y, Mat::from_diagonal(&[3.0, 6.0]));
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape).
pub fn kronecker_apply<T: Scalar>(
    ctx: &Ctx<T>,
    alpha: T,
    (a, ta): Factor<'_, T>,
    (b, tb): Factor<'_, T>,
    x: MatRef<'_, T>,
    beta: T,
    mut y: MatMut<'_, T>,
) -> Result<()> {
    let ((ma, na), (mb, nb)) = (ta.shape(a.shape()), tb.shape(b.shape()));
    let count = x.ncols();
    check_shape("kronecker_apply: X", (na * nb, count), x.shape())?;
    check_shape("kronecker_apply: Y", (ma * mb, count), y.shape())?;
    let all_x = x.contiguous_slice();
    let y_is_contiguous = y.rb().contiguous_slice().is_some();
    let left = left_first((ma, na), (mb, nb));
    if let (true, Some(all_x)) = (left && count > 1, all_x) {
        let mut bx = ctx.scratch(mb, na * count);
        let x = MatRef::from_slice(all_x, nb, na * count, nb.max(1))?;
        ctx.gemm(T::ONE, b, tb, x, Op::No, T::ZERO, bx.as_mut())?;
        for k in 0..count {
            let bx = bx.as_ref().submatrix(0, k * na, mb, na)?;
            let y = MatMut::from_slice(y.col_mut(k), mb, ma, mb.max(1))?;
            ctx.gemm(alpha, bx, Op::No, a, ta.flipped(), beta, y)?;
        }
        return Ok(());
    }
    if !left && count > 1 && y_is_contiguous {
        let mut xa = ctx.scratch(nb, ma * count);
        for k in 0..count {
            let x = MatRef::from_slice(x.col(k), nb, na, nb.max(1))?;
            ctx.gemm(T::ONE, x, Op::No, a, ta.flipped(), T::ZERO, xa.as_mut().submatrix(0, k * ma, nb, ma)?)?;
        }
        let y = MatMut::from_slice(y.as_mut_slice(), mb, ma * count, mb.max(1))?;
        return ctx.gemm(alpha, b, tb, xa.as_ref(), Op::No, beta, y);
    }
    for k in 0..count {
        let x = MatRef::from_slice(x.col(k), nb, na, nb.max(1))?;
        let y = MatMut::from_slice(y.col_mut(k), mb, ma, mb.max(1))?;
        two_sided_product(ctx, alpha, (a, ta), (b, tb), x, beta, y)?;
    }
    Ok(())
}
