//! Cholesky factor, inverse and solves of small matrices: panels of four columns against tiles of eight rows, in place.
//!
//! ```text
//! factor     L₂₁ = (A₂₁ - Σ_p l_p l_pᵀ) L₁₁⁻ᵀ, panel by panel, after L₁₁ of the same sum over the columns p before it
//! inverse    Y = L⁻ᵀ in the same way, (L Lᵀ)⁻¹ = Y Yᵀ
//! solve      L x = b by panels of columns, Lᵀ x = b by inner products with them
//! ```
//! For the backends on libraries: on small matrices a library's set-up takes longer than the arithmetic. A tile stays in
//! vector registers (the loops over it are unrolled, and compiled for the CPU at run time); the order of every sum depends
//! on shapes alone. Nothing above the diagonal is touched.
//!
//! Cost        n³/3 flops a factor, 2n³/3 an inverse, 2n² a solve.
//! Laws        tests/backends.rs, tests/factorizations.rs (orders on both sides of every tile).
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., sections 3.1 and 4.2.

use pulp::Arch;

use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Order up to which a factor, an inverse or a solve goes this way.
pub(super) const ORDER: usize = 64;

/// Right-hand sides up to which a solve does.
pub(super) const COLUMNS: usize = 4;

/// For the panels j.. of C columns in 0..n: of four, then of one.
macro_rules! panels {
    ($n:expr, |$j:ident, $C:ident| $body:expr) => {{
        let (mut $j, n) = (0, $n);
        while $j + 4 <= n {
            const $C: usize = 4;
            $body;
            $j += 4;
        }
        while $j < n {
            const $C: usize = 1;
            $body;
            $j += 1;
        }
    }};
}

/// For the tiles i.. of W rows in from..to: of eight, then of what is left.
macro_rules! tiles {
    ($from:expr, $to:expr, |$i:ident, $W:ident| $body:expr) => {{
        let (mut $i, to) = ($from, $to);
        while $i + 8 <= to {
            const $W: usize = 8;
            $body;
            $i += 8;
        }
        tiles!(@rest $i, to, $W, [4, 2, 1], $body);
    }};
    (@rest $i:ident, $to:ident, $W:ident, [$($width:literal),+], $body:expr) => {
        $(if $to - $i >= $width {
            const $W: usize = $width;
            $body;
            $i += $width;
        })+
        let _ = $i;
    };
}

/// A = L Lᵀ in the lower triangle; `Err` holds the pivot that is not positive (or NaN). Otherwise L is finite: an entry
/// that overflowed would have made the pivot of its row negative or NaN.
pub(super) fn cholesky<T: Scalar>(a: MatMut<'_, T>) -> Result<(), usize> {
    let (n, ld, a) = (a.ncols(), a.ld(), a.into_slice());
    Arch::new().dispatch(
        #[inline(always)]
        || factor(n, a, ld),
    )
}

/// (L Lᵀ)⁻¹ in place of L, both triangles; `work` (n x n) is overwritten.
pub(super) fn inverse<T: Scalar>(l: MatMut<'_, T>, mut work: MatMut<'_, T>) {
    // zeros below the diagonal of Y fill up its tiles
    work.fill(T::ZERO);
    let (n, ld, ld_y) = (l.ncols(), l.ld(), work.ld());
    let (l, y) = (l.into_slice(), work.into_slice());
    Arch::new().dispatch(
        #[inline(always)]
        || {
            invert(n, l, ld, y, ld_y);
            square(n, l, ld, y, ld_y);
        },
    );
}

/// B ← op(L)⁻¹ B for each op in turn.
pub(super) fn solve<T: Scalar>(l: MatRef<'_, T>, ops: &[Op], mut b: MatMut<'_, T>) {
    let (n, ld, l) = (l.ncols(), l.ld(), l.as_slice());
    for x in b.cols_mut() {
        match n {
            1 => solve_corner::<T, 1>(l, ld, ops, x),
            2 => solve_corner::<T, 2>(l, ld, ops, x),
            3 => solve_corner::<T, 3>(l, ld, ops, x),
            4 => solve_corner::<T, 4>(l, ld, ops, x),
            _ => Arch::new().dispatch(
                #[inline(always)]
                || {
                    for op in ops {
                        match op {
                            Op::No => solve_lower(l, ld, x),
                            Op::Transpose => solve_upper(l, ld, x),
                        }
                    }
                },
            ),
        }
    }
}

/// sums[c][r] = Σ_p s(c, p) x(r, p) over the columns p of X and S.
#[inline(always)]
fn products<T: Scalar, const W: usize, const C: usize>(
    (x, ld_x): (&[T], usize),
    (s, ld_s): (&[T], usize),
    columns: usize,
) -> [[T; W]; C] {
    let mut sums = [[T::ZERO; W]; C];
    for p in 0..columns {
        let (x, s) = (&x[p * ld_x..][..W], &s[p * ld_s..][..C]);
        for (sums, &s) in sums.iter_mut().zip(s) {
            sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += s * x);
        }
    }
    sums
}

/// A triangle on the diagonal, by columns, and the reciprocals of its diagonal.
struct Corner<T, const C: usize> {
    l: [[T; C]; C],
    reciprocals: [T; C],
}

impl<T: Scalar, const C: usize> Corner<T, C> {
    const ZERO: Self = Self { l: [[T::ZERO; C]; C], reciprocals: [T::ZERO; C] };

    /// Rows and columns j.. of L.
    #[inline(always)]
    fn new(l: &[T], ld: usize, j: usize) -> Self {
        let mut corner = Self::ZERO;
        for c in 0..C {
            let column = &l[(j + c) * ld + j..][..C];
            corner.l[c][c..].copy_from_slice(&column[c..]);
            corner.reciprocals[c] = T::ONE / column[c];
        }
        corner
    }

    /// X ← X L⁻ᵀ, X by columns.
    #[inline(always)]
    fn divide<const W: usize>(&self, x: &mut [[T; W]; C]) {
        for c in 0..C {
            let mut column = x[c];
            for p in 0..c {
                column.iter_mut().zip(&x[p]).for_each(|(y, &x)| *y -= self.l[p][c] * x);
            }
            x[c] = column.map(|x| x * self.reciprocals[c]);
        }
    }

    /// v ← L⁻¹ v.
    #[inline(always)]
    fn lower(&self, v: &mut [T; C]) {
        for c in 0..C {
            for p in 0..c {
                v[c] -= self.l[p][c] * v[p];
            }
            v[c] *= self.reciprocals[c];
        }
    }

    /// v ← L⁻ᵀ v.
    #[inline(always)]
    fn upper(&self, v: &mut [T; C]) {
        for c in (0..C).rev() {
            for p in c + 1..C {
                v[c] -= self.l[c][p] * v[p];
            }
            v[c] *= self.reciprocals[c];
        }
    }
}

#[inline(always)]
fn factor<T: Scalar>(n: usize, a: &mut [T], ld: usize) -> Result<(), usize> {
    panels!(n, |j, C| {
        let corner = factor_corner::<T, C>(a, ld, j)?;
        tiles!(j + C, n, |i, W| {
            let mut x = products::<T, W, C>((&a[i..], ld), (&a[j..], ld), j);
            for (c, x) in x.iter_mut().enumerate() {
                x.iter_mut().zip(&a[(j + c) * ld + i..][..W]).for_each(|(x, &a)| *x = a - *x);
            }
            corner.divide(&mut x);
            for (c, x) in x.iter().enumerate() {
                a[(j + c) * ld + i..][..W].copy_from_slice(x);
            }
        });
    });
    Ok(())
}

/// L₁₁ of the panel j.., written and returned.
#[inline(always)]
fn factor_corner<T: Scalar, const C: usize>(a: &mut [T], ld: usize, j: usize) -> Result<Corner<T, C>, usize> {
    let sums = products::<T, C, C>((&a[j..], ld), (&a[j..], ld), j);
    let mut corner = Corner::<T, C>::ZERO;
    for c in 0..C {
        let column = &mut a[(j + c) * ld + j..][..C];
        for r in c..C {
            let mut x = column[r] - sums[c][r];
            for p in 0..c {
                x -= corner.l[p][c] * corner.l[p][r];
            }
            if r > c {
                x *= corner.reciprocals[c];
            } else if x > T::ZERO {
                x = x.sqrt();
                // finite, the root of the smallest positive number included
                corner.reciprocals[c] = T::ONE / x;
            } else {
                return Err(j + c);
            }
            corner.l[c][r] = x;
            column[r] = x;
        }
    }
    Ok(corner)
}

/// Y ← L⁻ᵀ in the upper triangle of zeros.
#[inline(always)]
fn invert<T: Scalar>(n: usize, l: &[T], ld: usize, y: &mut [T], ld_y: usize) {
    panels!(n, |j, C| {
        let corner = Corner::<T, C>::new(l, ld, j);
        tiles!(0, j, |i, W| {
            // rows i.. of Y begin in column i
            let sums = products::<T, W, C>((&y[i * ld_y + i..], ld_y), (&l[i * ld + j..], ld), j - i);
            let mut x = sums.map(|column| column.map(|x| -x));
            corner.divide(&mut x);
            for (c, x) in x.iter().enumerate() {
                y[(j + c) * ld_y + i..][..W].copy_from_slice(x);
            }
        });
        let mut x = [[T::ZERO; C]; C];
        (0..C).for_each(|c| x[c][c] = T::ONE);
        corner.divide(&mut x);
        for (c, x) in x.iter().enumerate() {
            y[(j + c) * ld_y + j..][..C].copy_from_slice(x);
        }
    });
}

/// Lower triangle of P ← Y Yᵀ, and what a corner reaches above it.
#[inline(always)]
fn square<T: Scalar>(n: usize, p: &mut [T], ld: usize, y: &[T], ld_y: usize) {
    panels!(n, |j, C| {
        tiles!(j, n, |i, W| {
            let x = products::<T, W, C>((&y[i * ld_y + i..], ld_y), (&y[i * ld_y + j..], ld_y), n - i);
            for (c, x) in x.iter().enumerate() {
                p[(j + c) * ld + i..][..W].copy_from_slice(x);
            }
        });
    });
}

/// A solve that is one corner.
#[inline(always)]
fn solve_corner<T: Scalar, const C: usize>(l: &[T], ld: usize, ops: &[Op], x: &mut [T]) {
    let corner = Corner::<T, C>::new(l, ld, 0);
    let mut v = [T::ZERO; C];
    v.copy_from_slice(x);
    for op in ops {
        match op {
            Op::No => corner.lower(&mut v),
            Op::Transpose => corner.upper(&mut v),
        }
    }
    x.copy_from_slice(&v);
}

#[inline(always)]
fn solve_lower<T: Scalar>(l: &[T], ld: usize, x: &mut [T]) {
    panels!(x.len(), |j, C| {
        let mut v = [T::ZERO; C];
        v.copy_from_slice(&x[j..j + C]);
        Corner::<T, C>::new(l, ld, j).lower(&mut v);
        x[j..j + C].copy_from_slice(&v);
        tiles!(j + C, x.len(), |i, W| {
            let x = &mut x[i..i + W];
            for (c, &v) in v.iter().enumerate() {
                x.iter_mut().zip(&l[(j + c) * ld + i..][..W]).for_each(|(x, &l)| *x -= v * l);
            }
        });
    });
}

#[inline(always)]
fn solve_upper<T: Scalar>(l: &[T], ld: usize, x: &mut [T]) {
    let whole = x.len() - x.len() % 4;
    (whole..x.len()).rev().for_each(|j| solve_upper_panel::<T, 1>(l, ld, x, j));
    (0..whole).step_by(4).rev().for_each(|j| solve_upper_panel::<T, 4>(l, ld, x, j));
}

#[inline(always)]
fn solve_upper_panel<T: Scalar, const C: usize>(l: &[T], ld: usize, x: &mut [T], j: usize) {
    let mut sums = [[T::ZERO; 8]; C];
    tiles!(j + C, x.len(), |i, W| {
        for (c, sums) in sums.iter_mut().enumerate() {
            let terms = x[i..i + W].iter().zip(&l[(j + c) * ld + i..][..W]);
            sums.iter_mut().zip(terms).for_each(|(sum, (&x, &l))| *sum += x * l);
        }
    });
    let mut v = [T::ZERO; C];
    for (c, s) in sums.iter().enumerate() {
        v[c] = x[j + c] - (((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7])));
    }
    Corner::<T, C>::new(l, ld, j).upper(&mut v);
    x[j..j + C].copy_from_slice(&v);
}
