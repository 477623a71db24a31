//! Triangular algorithms by halves: Cholesky, triangular inverse, XᵀX, syrk and trsm around faer's gemm.
//!
//! Why not faer's own: its Cholesky writes above the diagonal, and its triangular routines fork inside every small
//! product, which costs more than it gains and stalls on a busy machine. Here threads split the work near the top, into
//! parts that share nothing, and each part runs on one thread. The split depends on shapes and thread count alone, so
//! results repeat bit for bit.
//!
//! Cost        as the kernels they serve: n³/3 Cholesky, n³/3 inverse, n³/3 XᵀX, n²k syrk and trsm.

use faer::dyn_stack::{MemStack, StackReq};
use faer::linalg::cholesky::llt::factor::{self as llt, LltError, LltRegularization};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::{matmul, temp_mat_scratch, temp_mat_zeroed, triangular_inverse, triangular_solve};
use faer::mat::AsMatMut;
use faer::{Accum, Par, Spec};

use super::{Real, View, ViewMut, parallelism, worth_a_fork};

/// Order up to which faer's own routine does it.
const BLOCK: usize = 128;

/// Where to cut n > [`BLOCK`]: near the middle, at a multiple of the vector length.
fn middle(n: usize) -> usize {
    (n / 2).next_multiple_of(16)
}

/// Two independent parts: each on half of the threads where `work` (multiplications) pays for it, else one after the
/// other.
fn both(threads: usize, work: usize, first: impl FnOnce(usize) + Send, second: impl FnOnce(usize) + Send) {
    if worth_a_fork(threads, work) {
        let half = threads / 2;
        rayon::join(|| first(threads - half), || second(half));
    } else {
        first(1);
        second(1);
    }
}

fn volume(a: usize, b: usize, c: usize) -> usize {
    a.saturating_mul(b).saturating_mul(c)
}

/// Lower triangle of c ← [c +] α a aᵀ.
pub(super) fn syrk<T: Real>(mut c: ViewMut<'_, T>, accumulate: Accum, a: View<'_, T>, alpha: T, threads: usize) {
    let (n, k) = (a.nrows(), a.ncols());
    if n <= BLOCK {
        let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        triangular::matmul(c, lower, accumulate, a, full, a.transpose(), full, alpha, Par::Seq);
        return;
    }
    let shared = worth_a_fork(threads, volume(n, n, k) / 2);
    let at = if shared { equal_areas(n, threads) } else { middle(n) };
    let (mut c11, _, c21, c22) = c.as_mut().split_at_mut(at, at);
    let (a1, a2) = a.split_at_row(at);
    let left = |t| {
        syrk(c11.as_mut(), accumulate, a1, alpha, t);
        matmul::matmul(c21, accumulate, a2, a1.transpose(), alpha, parallelism(t, volume(n - at, at, k)));
    };
    if shared {
        // the first columns and the triangle right of them, each by its own threads
        let right = threads / 2;
        rayon::join(|| left(threads - right), || syrk(c22, accumulate, a2, alpha, right));
    } else {
        left(1);
        syrk(c22, accumulate, a2, alpha, 1);
    }
}

/// Columns of a lower triangle of order n that leave to the other columns the share of half of the threads, rounded down.
fn equal_areas(n: usize, threads: usize) -> usize {
    let rest = (threads / 2) as f64 / threads as f64;
    ((n as f64 * (1.0 - rest.sqrt())) as usize).next_multiple_of(16).min(n - 1)
}

/// b ← l⁻¹ b for a lower triangular l (`upper` = false), or l⁻ᵀ b. Columns of b are shared among the threads.
pub(super) fn solve<T: Real>(l: View<'_, T>, upper: bool, b: ViewMut<'_, T>, threads: usize) {
    let (n, k) = (b.nrows(), b.ncols());
    let work = volume(n, n, k) / 2;
    if worth_a_fork(threads, work) && k >= 2 * threads {
        let (left, right) = b.split_at_col_mut(k / threads * (threads - threads / 2));
        both(threads, work, |t| solve(l, upper, left, t), |t| solve(l, upper, right, t));
    } else if upper {
        triangular_solve::solve_upper_triangular_in_place(l.transpose(), b, Par::Seq);
    } else {
        triangular_solve::solve_lower_triangular_in_place(l, b, Par::Seq);
    }
}

/// Scratch of [`cholesky`].
pub(super) fn cholesky_scratch<T: Real>(n: usize) -> StackReq {
    let block = n.min(BLOCK);
    StackReq::all_of(&[
        temp_mat_scratch::<T>(block, block),
        llt::cholesky_in_place_scratch::<T>(block, Par::Seq, Spec::default()),
    ])
}

/// Lower triangle of to ← from, column by column: faer's own copy goes element by element.
fn copy_lower<T: Real>(mut to: ViewMut<'_, T>, from: View<'_, T>) {
    let n = from.nrows();
    for j in 0..from.ncols() {
        let (mut to, from) = (to.as_mut().col_mut(j).subrows_mut(j, n - j), from.col(j).subrows(j, n - j));
        match (to.as_mut().try_as_col_major_mut(), from.try_as_col_major()) {
            (Some(to), Some(from)) => to.as_slice_mut().copy_from_slice(from.as_slice()),
            _ => to.copy_from(from),
        }
    }
}

/// A = L Lᵀ in the lower triangle: L₁₁, then L₂₁ = A₂₁ L₁₁⁻ᵀ, then the rest A₂₂ - L₂₁ L₂₁ᵀ. `Err` holds the pivot that is
/// not positive.
pub(super) fn cholesky<T: Real>(a: ViewMut<'_, T>, threads: usize, stack: &mut MemStack) -> Result<(), usize> {
    let n = a.nrows();
    if n <= BLOCK {
        // in a copy, since faer's factorization writes above the diagonal
        let (mut block, stack) = temp_mat_zeroed::<T, _, _>(n, n, stack);
        let mut block = AsMatMut::as_mat_mut(&mut block);
        copy_lower(block.as_mut(), a.as_ref());
        let regularization = LltRegularization::default();
        return match llt::cholesky_in_place(block.as_mut(), regularization, Par::Seq, stack, Spec::default()) {
            Ok(_) => {
                copy_lower(a, block.as_ref());
                Ok(())
            }
            Err(LltError::NonPositivePivot { index }) => Err(index),
        };
    }
    let half = middle(n);
    let (mut a11, _, mut a21, mut a22) = a.split_at_mut(half, half);
    cholesky(a11.as_mut(), threads, stack)?;
    solve(a11.as_ref(), false, a21.as_mut().transpose_mut(), threads);
    syrk(a22.as_mut(), Accum::Add, a21.as_ref(), -T::ONE, threads);
    cholesky(a22, threads, stack).map_err(|pivot| pivot + half)
}

/// Lower triangle of x ← l⁻¹: X₂₁ = -L₂₂⁻¹ (L₂₁ X₁₁).
pub(super) fn invert<T: Real>(mut x: ViewMut<'_, T>, l: View<'_, T>, threads: usize) {
    let n = l.nrows();
    if n <= BLOCK {
        triangular_inverse::invert_lower_triangular(x, l, Par::Seq);
        return;
    }
    let half = middle(n);
    let (mut x11, _, mut x21, x22) = x.as_mut().split_at_mut(half, half);
    let (l11, _, l21, l22) = l.split_at(half, half);
    both(threads, volume(n, n, n) / 24, |t| invert(x11.as_mut(), l11, t), |t| invert(x22, l22, t));
    times_lower(x21.as_mut(), l21, x11.as_ref(), -T::ONE, threads);
    solve(l22, false, x21, threads);
}

/// c ← α a x for a lower triangular x. Rows are shared among the threads.
fn times_lower<T: Real>(c: ViewMut<'_, T>, a: View<'_, T>, x: View<'_, T>, alpha: T, threads: usize) {
    let (m, n) = (a.nrows(), a.ncols());
    let work = volume(m, n, n) / 2;
    if worth_a_fork(threads, work) && m >= 2 * threads {
        let at = m / threads * (threads - threads / 2);
        let (top, bottom) = c.split_at_row_mut(at);
        let (a_top, a_bottom) = a.split_at_row(at);
        let (first, second) =
            (|t| times_lower(top, a_top, x, alpha, t), |t| times_lower(bottom, a_bottom, x, alpha, t));
        both(threads, work, first, second);
        return;
    }
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    triangular::matmul(c, full, Accum::Replace, a, full, x, lower, alpha, Par::Seq);
}

/// c ← xᵀ b for a lower triangular x. Columns are shared among the threads.
fn upper_times<T: Real>(c: ViewMut<'_, T>, x: View<'_, T>, b: View<'_, T>, threads: usize) {
    let (m, n) = (b.nrows(), b.ncols());
    let work = volume(m, m, n) / 2;
    if worth_a_fork(threads, work) && n >= 2 * threads {
        let at = n / threads * (threads - threads / 2);
        let (left, right) = c.split_at_col_mut(at);
        let (b_left, b_right) = b.split_at_col(at);
        both(threads, work, |t| upper_times(left, x, b_left, t), |t| upper_times(right, x, b_right, t));
        return;
    }
    let (upper, full) = (BlockStructure::TriangularUpper, BlockStructure::Rectangular);
    triangular::matmul(c, full, Accum::Replace, x.transpose(), upper, b, full, T::ONE, Par::Seq);
}

/// Lower triangle of p ← xᵀ x for a lower triangular x:
/// P₁₁ = X₁₁ᵀX₁₁ + X₂₁ᵀX₂₁,  P₂₁ = X₂₂ᵀX₂₁,  P₂₂ = X₂₂ᵀX₂₂.
pub(super) fn gram<T: Real>(mut p: ViewMut<'_, T>, x: View<'_, T>, threads: usize) {
    let n = x.nrows();
    let (lower, upper) = (BlockStructure::TriangularLower, BlockStructure::TriangularUpper);
    if n <= BLOCK {
        triangular::matmul(p, lower, Accum::Replace, x.transpose(), upper, x, lower, T::ONE, Par::Seq);
        return;
    }
    let half = middle(n);
    let (mut p11, _, p21, p22) = p.as_mut().split_at_mut(half, half);
    let (x11, _, x21, x22) = x.split_at(half, half);
    both(threads, volume(n, n, n) / 24, |t| gram(p11.as_mut(), x11, t), |t| gram(p22, x22, t));
    syrk(p11, Accum::Add, x21.transpose(), T::ONE, threads);
    upper_times(p21, x22, x21, threads);
}
