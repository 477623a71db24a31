//! The argument checks that every backend calls first, so that one error describes one mistake on all of them.

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

/// A square, finite lower triangle and an n x n scratch. Returns n.
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`].
pub fn potri<T: Scalar>(l: MatRef<'_, T>, work: MatRef<'_, T>) -> Result<usize> {
    let n = square("potri", l)?;
    check_shape("potri", (n, n), work.shape())?;
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
    finite_cols(op, (0..a.ncols()).map(|j| &a.col(j)[j.min(a.nrows())..]))
}

/// `Ok` when the view holds no NaN or infinity.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn finite<T: Scalar>(op: &'static str, a: MatRef<'_, T>) -> Result<()> {
    finite_cols(op, a.cols())
}

/// `Ok` when the slice holds no NaN or infinity.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn finite_slice<T: Scalar>(op: &'static str, x: &[T]) -> Result<()> {
    finite_cols(op, std::iter::once(x))
}

fn finite_cols<'a, T: Scalar>(op: &'static str, mut cols: impl Iterator<Item = &'a [T]>) -> Result<()> {
    // 0 x is 0 for finite x and NaN otherwise: a branch-free sum that vectorizes
    let all_finite = cols.all(|c| c.iter().fold(T::ZERO, |acc, &x| acc + T::ZERO * x) == T::ZERO);
    if all_finite { Ok(()) } else { Err(Error::NotFinite { op }) }
}

/// Two powers of two: `multiply` brings max|a_ij| of a lower triangle into [1, 2), `undo` takes eigenvalues back.
#[derive(Debug, Clone, Copy)]
pub struct PowerOfTwoScale<T> {
    /// Factor for the matrix; 1 for a zero matrix.
    pub multiply: T,
    /// Its exact inverse.
    pub undo: T,
}

/// The exact scaling that makes an eigensolver scale-equivariant: multiplying by a power of two changes no digit.
///
/// The factor stays within the powers whose inverse is finite and normal, so tiny matrices are brought as near to 1
/// as that allows.
pub fn power_of_two_scale<T: Scalar>(a: MatRef<'_, T>) -> PowerOfTwoScale<T> {
    let max = (0..a.ncols()).flat_map(|j| &a.col(j)[j.min(a.nrows())..]).fold(T::ZERO, |m, &x| m.max(x.abs()));
    if max == T::ZERO || !max.is_finite() {
        return PowerOfTwoScale { multiply: T::ONE, undo: T::ONE };
    }
    let largest = T::max_value().f64().log2().floor() as i32 - 1;
    // floor(log2(max)); f64 holds every f32 exactly, and subnormal f64 are brought up first
    let exponent = if max.f64() < f64::MIN_POSITIVE {
        (max.f64() * 2f64.powi(60)).log2().floor() as i32 - 60
    } else {
        max.f64().log2().floor() as i32
    };
    let exponent = exponent.clamp(-largest, largest);
    PowerOfTwoScale { multiply: T::of(2.0).powi(-exponent), undo: T::of(2.0).powi(exponent) }
}
