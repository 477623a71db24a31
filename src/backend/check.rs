//! The argument checks that every backend calls first, so that one error describes one mistake on all of them.

use super::reduce::vectorized;
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{MatRef, Op, Side};
use crate::scalar::Scalar;

/// Shapes of C ← op(A) op(B). Returns (M, N, K).
///
/// # Errors
/// [`Error::Shape`].
pub fn gemm<T: Scalar>(
    a: MatRef<'_, T>,
    ta: Op,
    b: MatRef<'_, T>,
    tb: Op,
    c: MatRef<'_, T>,
) -> Result<(usize, usize, usize)> {
    let (m, k) = ta.shape(a.shape());
    let (kb, n) = tb.shape(b.shape());
    check_shape("gemm", (k, n), (kb, n))?;
    check_shape("gemm", (m, n), c.shape())?;
    Ok((m, n, k))
}

/// Shapes of C ← op(A)ᵀ op(A). Returns (N, K).
///
/// # Errors
/// [`Error::Shape`].
pub fn syrk<T: Scalar>(a: MatRef<'_, T>, ta: Op, c: MatRef<'_, T>) -> Result<(usize, usize)> {
    let (k, n) = ta.shape(a.shape());
    check_shape("syrk", (n, n), c.shape())?;
    Ok((n, k))
}

/// Shapes of a triangular solve. Returns the order of L.
///
/// # Errors
/// [`Error::Shape`].
pub fn trsm<T: Scalar>(side: Side, l: MatRef<'_, T>, b: MatRef<'_, T>) -> Result<usize> {
    let n = square("trsm", l)?;
    match side {
        Side::Left => check_shape("trsm", (n, b.ncols()), b.shape())?,
        Side::Right => check_shape("trsm", (b.nrows(), n), b.shape())?,
    }
    Ok(n)
}

/// A square, finite lower triangle. Returns its order.
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`].
pub fn potrf<T: Scalar>(a: MatRef<'_, T>) -> Result<usize> {
    let n = square("potrf", a)?;
    finite_lower("potrf", a)?;
    Ok(n)
}

/// A square, finite lower triangle and a scratch of the shape that the backend asks for. Returns n.
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`].
pub fn potri<T: Scalar>(l: MatRef<'_, T>, work: MatRef<'_, T>, needed: (usize, usize)) -> Result<usize> {
    let n = square("potri", l)?;
    check_shape("potri", needed, work.shape())?;
    finite_lower("potri", l)?;
    Ok(n)
}

/// A square, finite lower triangle and room for its eigenvalues. Returns its order.
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`].
pub fn syevd<T: Scalar>(a: MatRef<'_, T>, w: &[T]) -> Result<usize> {
    let n = square("syevd", a)?;
    check_len("syevd", n, w.len())?;
    finite_lower("syevd", a)?;
    Ok(n)
}

/// `Ok(n)` for an n x n view.
///
/// # Errors
/// [`Error::Shape`].
pub fn square<T: Scalar>(op: &'static str, a: MatRef<'_, T>) -> Result<usize> {
    check_shape(op, (a.nrows(), a.nrows()), a.shape())?;
    Ok(a.nrows())
}

/// `Ok` when the lower triangle holds no NaN or infinity.  n²/2 reads.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn finite_lower<T: Scalar>(op: &'static str, a: MatRef<'_, T>) -> Result<()> {
    finite_cols(op, a.nrows(), (0..a.ncols()).map(|j| &a.col(j)[j.min(a.nrows())..]))
}

/// `Ok` when the view holds no NaN or infinity.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn finite<T: Scalar>(op: &'static str, a: MatRef<'_, T>) -> Result<()> {
    finite_cols(op, a.nrows(), a.cols())
}

/// `Ok` when the slice holds no NaN or infinity.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn finite_slice<T: Scalar>(op: &'static str, x: &[T]) -> Result<()> {
    finite_cols(op, x.len(), std::iter::once(x))
}

fn finite_cols<'a, T: Scalar>(op: &'static str, rows: usize, cols: impl Iterator<Item = &'a [T]>) -> Result<()> {
    /// Below so many rows the choice of the vector instructions takes longer than what they save.
    const FEW: usize = 32;
    let found = if rows < FEW {
        all_finite(cols)
    } else {
        vectorized(
            #[inline(always)]
            || all_finite(cols),
        )
    };
    if found { Ok(()) } else { Err(Error::not_finite(op)) }
}

#[inline(always)]
fn all_finite<'a, T: Scalar>(mut cols: impl Iterator<Item = &'a [T]>) -> bool {
    // no branch within a column: comparisons joined by "and" vectorize, where a sum of floats would have to keep its order
    cols.all(|c| c.iter().fold(true, |finite, &x| finite & (x.abs() < T::infinity())))
}

/// An exact change of scale: the power of two that brings max|a_ij| of a lower triangle into [1, 2).
///
/// Each direction is a product of two normal powers of two, so that even a subnormal matrix comes up to 1 and no
/// digit changes on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerOfTwoScale<T> {
    multiply: [T; 2],
    undo: [T; 2],
}

impl<T: Scalar> PowerOfTwoScale<T> {
    /// x at the scale of 1.
    #[inline]
    pub fn scale(&self, x: T) -> T {
        x * self.multiply[0] * self.multiply[1]
    }

    /// x back at the scale of the matrix; rounds (once) only where the result is subnormal.
    #[inline]
    pub fn unscale(&self, x: T) -> T {
        x * self.undo[0] * self.undo[1]
    }

    /// The scaling as one number: the nearest power of two that is finite and has a normal inverse.
    pub fn factor(&self) -> T {
        (self.multiply[0] * self.multiply[1]).min(T::ONE / T::min_positive_value())
    }

    /// Whether the matrix is at the scale of 1 already.
    pub fn is_one(&self) -> bool {
        self.multiply == [T::ONE; 2]
    }
}

/// The exact scaling that makes an eigensolver equivariant under powers of two; 1 for a zero matrix.
pub fn power_of_two_scale<T: Scalar>(a: MatRef<'_, T>) -> PowerOfTwoScale<T> {
    let max = vectorized(
        #[inline(always)]
        || (0..a.ncols()).map(|j| largest(&a.col(j)[j.min(a.nrows())..])).fold(T::ZERO, T::max),
    );
    if max == T::ZERO || !max.is_finite() {
        return PowerOfTwoScale { multiply: [T::ONE; 2], undo: [T::ONE; 2] };
    }
    let exponent = floor_log2(max);
    // 2^-e as two factors, each (and its inverse) a normal number: e is at most 1023 in size, or 1074 when subnormal
    let half = exponent / 2;
    let pair = |sign: i32| [power_of_two(sign * half), power_of_two(sign * (exponent - half))];
    PowerOfTwoScale { multiply: pair(-1), undo: pair(1) }
}

/// max |x_i| without the NaN among them, by lanes that vectorize: a maximum does not depend on the order.
#[inline(always)]
fn largest<T: Scalar>(x: &[T]) -> T {
    const LANES: usize = 16;
    let larger = |max: T, x: T| if x.abs() > max { x.abs() } else { max };
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [T::ZERO; LANES];
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, x);
        }
    }
    rest.iter().chain(&lanes).fold(T::ZERO, |max, &x| larger(max, x))
}

/// floor(log2 x) of a finite positive x, exactly.
fn floor_log2<T: Scalar>(x: T) -> i32 {
    let (mantissa, exponent, _) = x.integer_decode();
    i32::from(exponent) + 63 - mantissa.leading_zeros() as i32
}

/// 2^e for |e| <= 1022.
fn power_of_two<T: Scalar>(e: i32) -> T {
    T::of(f64::from_bits(((1023 + i64::from(e)) as u64) << 52))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::Mat;

    fn comes_to_one_and_back<T: Scalar>(x: T) {
        let scale = power_of_two_scale(Mat::from_diagonal(&[T::ZERO, x]).as_ref());
        let y = scale.scale(x).abs();
        assert!(y >= T::ONE && y < T::ONE + T::ONE, "{x:e} became {y:e}");
        assert_eq!(scale.unscale(scale.scale(x)), x);
    }

    #[test]
    fn every_magnitude_comes_to_one_exactly_subnormal_and_huge_ones_too() {
        for e in -149..128 {
            let x = 2f64.powi(e) as f32;
            comes_to_one_and_back(x);
            comes_to_one_and_back(-x);
            comes_to_one_and_back(x.next_up());
            comes_to_one_and_back(f32::MAX.min(x * 1.999_999_9));
        }
        for e in -1074..1024 {
            let x = if e < -1022 { f64::from_bits(1 << (e + 1074)) } else { 2f64.powi(e) };
            comes_to_one_and_back(x);
            comes_to_one_and_back(-x.next_up());
            comes_to_one_and_back(f64::MAX.min(x * 1.999_999_999_999_999_8));
        }
    }

    #[test]
    fn a_zero_matrix_keeps_its_scale_and_the_upper_triangle_is_not_read() {
        assert!(power_of_two_scale(Mat::<f64>::zeros(3, 3).as_ref()).is_one());
        assert!(power_of_two_scale(Mat::<f32>::zeros(0, 0).as_ref()).is_one());
        let a = Mat::from_fn(2, 2, |i, j| if i < j { f64::NAN } else { 1.5 });
        assert!(power_of_two_scale(a.as_ref()).is_one());
    }
}
