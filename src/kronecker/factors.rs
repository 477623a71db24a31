//! Products with a Kronecker product of any number of factors, never formed.
//!
//! ```text
//! y = (op(F_1) ⊗ op(F_2) ⊗ ... ⊗ op(F_k)) x,      x a tensor whose last index runs fastest
//! ```
//! One factor at a time, the last first: with x as an n_k x m matrix X, the product Xᵀ op(F_k)ᵀ (m x m_k) has the index of
//! F_k gone to the slowest place and that of F_{k-1} come to the fastest. After k such steps every factor has been applied
//! and the indices are in order again, each step one gemm on contiguous memory and no transposition of data.
//!
//! Cost        square factors of orders n_i: 2 n Σ n_i flops a vector of n = Π n_i, against 2n²; two scratch vectors.
//! Laws        tests/kronecker3.rs (equals nested Kronecker products, formed).
//! Reference   C. F. Van Loan, The ubiquitous Kronecker product, J. Comput. Appl. Math. 123 (2000),
//!             doi:10.1016/S0377-0427(00)00393-9, section 8 (the shuffle algorithm).

use super::apply::Factor;
use crate::backend::Ctx;
use crate::error::{Error, Result, check_shape};
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Y ← (op(F_1) ⊗ ... ⊗ op(F_k)) X; the empty product is the 1 x 1 identity.
///
/// ```
/// use pullback::{Ctx, Mat, Op, kronecker::kronecker_factors_apply};
/// let factors = [[1.0, 2.0].as_slice(), &[3.0], &[1.0, 10.0]].map(Mat::from_diagonal);
/// let (x, mut y) = (Mat::from_fn(4, 1, |_, _| 1.0), Mat::zeros(4, 1));
/// kronecker_factors_apply(&Ctx::default(), factors.iter().map(|f| (f.as_ref(), Op::No)), x.as_ref(), y.as_mut())?;
/// assert_eq!(y.as_slice(), [3.0, 30.0, 6.0, 60.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`]; [`Error::InvalidParameter`] when the shape of the product, or of a product on the way, overflows.
pub fn kronecker_factors_apply<'a, T: Scalar>(
    ctx: &Ctx<T>,
    factors: impl DoubleEndedIterator<Item = Factor<'a, T>> + Clone,
    x: MatRef<'_, T>,
    mut y: MatMut<'_, T>,
) -> Result<()> {
    let shapes = || factors.clone().map(|(f, op)| op.shape(f.shape()));
    let overflow = || Error::invalid("factors", "the shape of their Kronecker product overflows");
    let m = shapes().try_fold(1usize, |m, (rows, _)| m.checked_mul(rows)).ok_or_else(overflow)?;
    let n = shapes().try_fold(1usize, |n, (_, columns)| n.checked_mul(columns)).ok_or_else(overflow)?;
    check_shape("kronecker_factors_apply: X", (n, x.ncols()), x.shape())?;
    check_shape("kronecker_factors_apply: Y", (m, x.ncols()), y.shape())?;
    if m == 0 || n == 0 {
        y.fill(T::ZERO);
        return Ok(());
    }
    let mut size = n;
    let mut largest = n;
    for (rows, columns) in shapes().rev() {
        size = (size / columns).checked_mul(rows).ok_or_else(overflow)?;
        largest = largest.max(size);
    }
    let (mut current, mut next) = (ctx.scratch(largest, 1), ctx.scratch(largest, 1));
    for (x, y) in x.cols().zip(y.cols_mut()) {
        current.as_mut_slice()[..n].copy_from_slice(x);
        let mut size = n;
        for (factor, op) in factors.clone().rev() {
            let (rows, columns) = op.shape(factor.shape());
            let rest = size / columns;
            let tensor = MatRef::from_slice(&current.as_slice()[..size], columns, rest, columns)?;
            size = rest * rows;
            let product = MatMut::from_slice(&mut next.as_mut_slice()[..size], rest, rows, rest)?;
            ctx.gemm(T::ONE, tensor, Op::Transpose, factor, op.flipped(), T::ZERO, product)?;
            std::mem::swap(&mut current, &mut next);
        }
        y.copy_from_slice(&current.as_slice()[..m]);
    }
    Ok(())
}
