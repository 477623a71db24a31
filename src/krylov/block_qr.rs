//! The thin QR factorization of a residual block in place, with columns dropped that are rounding; views of scratch.
//!
//! ```text
//! W = Q S up to what was dropped,   QᵀQ = I,   Q n x r,   S r x k in row echelon form
//! ```
//! [`ThinQr`](crate::factor::ThinQr) is the same for a block at hand; here the columns are differences of vectors of length
//! `unit`, whose rounding is no direction even where nothing else is left.
//!
//! Cost        about 8nrk flops by products with one column; k numbers of scratch.
//! Laws        tests/block_cg.rs (deflation).
//! Reference   A. A. Dubrulle, ETNA 12 (2001) 216-233; B. N. Parlett, The Symmetric Eigenvalue Problem, 1998, section 6.9.

use crate::backend::sums::norm;
use crate::backend::{Ctx, Scratch};
use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// What rounding leaves of an n-vector of length 1.
pub(super) fn level<T: Scalar>(n: usize) -> f64 {
    8.0 * (n as f64).sqrt() * T::EPS.f64()
}

/// The thin QR factorization in place: Q (n x r) and S (r x k in the corner of the square S given), r being returned. A
/// column of which 8 √n ε (`unit` + ‖w‖) or less is left is dropped. Columns are finite.
pub(super) fn orthonormalize<T: Scalar>(
    ctx: &Ctx<T>,
    mut w: MatMut<'_, T>,
    mut s: MatMut<'_, T>,
    work: &mut [T],
    unit: f64,
) -> Result<usize> {
    const PASSES: usize = 4;
    let (n, k) = w.shape();
    let level = level::<T>(n);
    let mut rank = 0;
    s.fill(T::ZERO);
    for j in 0..k {
        let (left, mut right) = w.rb_mut().split_at_col(j);
        let (basis, column) = (left.rb().submatrix(0, 0, n, rank)?, right.col_mut(0));
        let whole = norm(column);
        let mut now = whole;
        let projections = &mut work[..rank];
        for _ in 0..PASSES {
            ctx.gemv(T::ONE, basis, Op::Transpose, column, T::ZERO, projections)?;
            ctx.gemv(-T::ONE, basis, Op::No, projections, T::ONE, column)?;
            s.col_mut(j).iter_mut().zip(&*projections).for_each(|(s, &c)| *s += c);
            let before = std::mem::replace(&mut now, norm(column));
            if now > 0.5 * before || now == 0.0 {
                break;
            }
        }
        if !(now > level * (unit + whole)) || rank == n {
            continue;
        }
        let divisor = T::of(now);
        column.iter_mut().for_each(|w| *w /= divisor);
        *s.at_mut(rank, j) = divisor;
        if rank < j {
            let (mut left, right) = w.rb_mut().split_at_col(j);
            left.col_mut(rank).copy_from_slice(right.rb().col(0));
        }
        rank += 1;
    }
    Ok(rank)
}

/// The first k columns as a matrix.
pub(super) fn head<'s, T: Scalar>(block: &'s Scratch<'_, T>, n: usize, k: usize) -> Result<MatRef<'s, T>> {
    MatRef::from_slice(&block.as_slice()[..n * k], n, k, n.max(1))
}

/// The first k columns as a matrix, to write.
pub(super) fn head_mut<'s, T: Scalar>(block: &'s mut Scratch<'_, T>, n: usize, k: usize) -> Result<MatMut<'s, T>> {
    MatMut::from_slice(&mut block.as_mut_slice()[..n * k], n, k, n.max(1))
}

/// The upper left rows x cols part of a k x k matrix.
pub(super) fn corner<'s, T: Scalar>(
    square: &'s Scratch<'_, T>,
    k: usize,
    rows: usize,
    cols: usize,
) -> Result<MatRef<'s, T>> {
    MatRef::from_slice(square.as_slice(), k, k, k.max(1))?.submatrix(0, 0, rows, cols)
}

/// The upper left rows x cols part of a k x k matrix, to write.
pub(super) fn corner_mut<'s, T: Scalar>(
    square: &'s mut Scratch<'_, T>,
    k: usize,
    rows: usize,
    cols: usize,
) -> Result<MatMut<'s, T>> {
    MatMut::from_slice(square.as_mut_slice(), k, k, k.max(1))?.submatrix(0, 0, rows, cols)
}
