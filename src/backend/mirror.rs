//! The upper triangle of a symmetric matrix from its lower one, shared between the threads: a quarter of the matrix is
//! transposed at once, then both diagonal quarters, which share nothing, are done side by side.
//!
//! Cost        n²/2 reads and writes.
//! Laws        the test below; tests/backends.rs (both triangles of syrk and potri).

use crate::error::Result;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Order up to which a second thread costs more than it brings.
const SERIAL: usize = 384;
/// Rows and columns transposed at once: whole cache lines of both sides.
const TILE: usize = 16;

/// Copies the strictly lower triangle of a square matrix onto the upper one.
pub(super) fn mirror_lower<T: Scalar>(threads: usize, mut a: MatMut<'_, T>) -> Result<()> {
    let n = a.nrows();
    if threads <= 1 || n <= SERIAL {
        a.mirror_lower();
        return Ok(());
    }
    let half = (n / 2).next_multiple_of(TILE);
    let (left, mut right) = a.split_at_col(half);
    let below = left.rb().submatrix(half, 0, n - half, half)?;
    transpose(threads, below, right.rb_mut().submatrix(0, 0, half, n - half)?)?;
    let (top, bottom) = (left.submatrix(0, 0, half, half)?, right.submatrix(half, 0, n - half, n - half)?);
    let shares = (threads - threads / 2, threads / 2);
    let (first, second) = rayon::join(|| mirror_lower(shares.0, top), || mirror_lower(shares.1, bottom));
    first.and(second)
}

/// to ← fromᵀ; columns of `to` are shared.
fn transpose<T: Scalar>(threads: usize, from: MatRef<'_, T>, mut to: MatMut<'_, T>) -> Result<()> {
    let (m, n) = to.shape();
    if threads > 1 && n > TILE {
        let cut = n * (threads / 2) / threads;
        let (left, right) = to.split_at_col(cut);
        let (upper, lower) = (from.submatrix(0, 0, cut, m)?, from.submatrix(cut, 0, n - cut, m)?);
        let shares = (threads / 2, threads - threads / 2);
        let (first, second) = rayon::join(|| transpose(shares.0, upper, left), || transpose(shares.1, lower, right));
        return first.and(second);
    }
    let mut tile = [[T::ZERO; TILE]; TILE];
    for j0 in (0..n).step_by(TILE) {
        let width = TILE.min(n - j0);
        for i0 in (0..m).step_by(TILE) {
            let height = TILE.min(m - i0);
            for i in 0..height {
                let column = &from.col(i0 + i)[j0..][..width];
                column.iter().zip(&mut tile).for_each(|(&x, column)| column[i] = x);
            }
            for (j, column) in tile.iter().enumerate().take(width) {
                to.col_mut(j0 + j)[i0..][..height].copy_from_slice(&column[..height]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::Mat;

    #[test]
    fn the_upper_triangle_is_the_lower_one_for_any_number_of_threads() {
        for n in [0, 1, 2, SERIAL, SERIAL + 1, SERIAL + 15, 2 * SERIAL + 1] {
            for threads in [1, 2, 3, 5] {
                let ld = n + 3;
                let mut data: Vec<f64> = (0..ld * n).map(|k| k as f64).collect();
                let given = data.clone();
                let view = MatMut::from_slice(&mut data, n, n, ld.max(1)).expect("a view");
                mirror_lower(threads, view).expect("square");
                let expected = |i: usize, j: usize| given[if i < n { i.max(j) + i.min(j) * ld } else { i + j * ld }];
                let same = (0..n).all(|j| (0..ld).all(|i| data[i + j * ld] == expected(i, j)));
                assert!(same, "n = {n}, {threads} threads");
            }
        }
        assert!(mirror_lower(2, Mat::<f32>::zeros(0, 0).as_mut()).is_ok());
    }
}
