//! Kernels of the BLAS and LAPACK that the program is linked with (OpenBLAS, Accelerate, MKL, reference).
//!
//! Differs     every argument is checked here, since a library's own handler may stop the process; triangles are checked
//!             for NaN before and after, since no library's status can be trusted on NaN; the eigensolver is syevd, never
//!             syevr, on a matrix at the scale of 1; workspace sizes come from the documented formulas in 64-bit, since a
//!             size returned as an `f32` is rounded. Cholesky factors and their solves up to order 64 are loops of our
//!             own (`small`).
//! Memory      syevd keeps its workspace (2n² scalars, 5n integers) in one buffer a thread.
//! Threads     OpenBLAS has one count for the whole process. Calls that want the same count run at once, a call that
//!             wants another one waits for those and then sets it. Other code in the process that calls OpenBLAS itself
//!             is not part of this, and inherits the last count. Every other library decides on its own threads.
//! Integers    the 32-bit interface: a dimension, a leading dimension or a workspace above 2³¹ - 1 is an error.
//! Laws        tests/backends.rs, tests/factorizations.rs, tests/allocations.rs.
//! Reference   E. Anderson et al., LAPACK Users' Guide, 3rd ed., 1999.
#![allow(unsafe_code)]

// The libraries: named here so that the linker keeps them, and nobody has to write `extern crate`.
#[cfg(any(
    feature = "openblas-system",
    feature = "openblas-static",
    feature = "accelerate",
    feature = "intel-mkl",
    feature = "netlib"
))]
use blas_src as _;
#[cfg(any(feature = "accelerate", feature = "intel-mkl", feature = "netlib"))]
use lapack_src as _;
#[cfg(any(feature = "openblas-system", feature = "openblas-static"))]
use openblas_src as _;

use std::cell::Cell;

use super::mirror::mirror_lower;
use super::{Backend, check, small};
use crate::error::{Error, Result, check_len};
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

#[cfg(any(feature = "openblas-system", feature = "openblas-static"))]
mod openblas;
#[cfg(any(feature = "openblas-system", feature = "openblas-static"))]
use openblas as library;
#[cfg(not(any(feature = "openblas-system", feature = "openblas-static")))]
mod library {
    //! A library without a thread count that we could set.

    use crate::error::Result;

    /// A call in progress.
    pub(super) struct Call(());

    pub(super) fn enter(_threads: i32) -> Result<Call> {
        Ok(Call(()))
    }

    pub(super) fn details() -> String {
        let (mut major, mut minor, mut patch) = (0, 0, 0);
        // SAFETY: writes three integers through three valid, distinct references.
        unsafe { lapack::ilaver(&mut major, &mut minor, &mut patch) };
        format!("LAPACK {major}.{minor}.{patch}, 32-bit integers, threads as the library decides")
    }
}

/// The BLAS and LAPACK that the program is linked with.
///
/// ```
/// use pullback::{Ctx, Mat, backend::Blas};
/// let ctx = Ctx::<f64>::new(Blas).with_threads(2);
/// let mut a = Mat::from_diagonal(&[4.0, 9.0]);
/// ctx.potrf(a.as_mut())?;
/// assert_eq!(a[(1, 1)], 3.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Blas;

/// A size as the library's integer.
fn int(name: &'static str, x: usize) -> Result<i32> {
    i32::try_from(x).map_err(|_| Error::invalid(name, format!("{x} does not fit the library's 32-bit integers")))
}

/// (rows, columns, leading dimension) as the library's integers.
fn dims<T: Scalar>(a: MatRef<'_, T>) -> Result<(i32, i32, i32)> {
    Ok((int("rows", a.nrows())?, int("columns", a.ncols())?, int("leading dimension", a.ld())?))
}

fn trans(op: Op) -> u8 {
    match op {
        Op::No => b'N',
        Op::Transpose => b'T',
    }
}

/// c ← β c, without reading c when β = 0.
fn scale<T: Scalar>(beta: T, c: &mut [T]) {
    if beta == T::ZERO {
        c.fill(T::ZERO);
    } else if beta != T::ONE {
        c.iter_mut().for_each(|c| *c *= beta);
    }
}

/// Smallest workspaces that LAPACK documents for syevd with vectors: (1 + 6n + 2n², 3 + 5n); never less than 1.
fn syevd_workspace(n: usize) -> Option<(usize, usize)> {
    let n = n as u64;
    let work = n.checked_mul(n)?.checked_mul(2)?.checked_add(n.checked_mul(6)?)?.checked_add(1)?;
    Some((usize::try_from(work).ok()?, usize::try_from(n.checked_mul(5)?.checked_add(3)?).ok()?))
}

/// The larger of a documented size and a queried one, the latter rounded up past the precision of `T`.
fn at_least<T: Scalar>(documented: usize, queried: T) -> usize {
    let queried = (queried.f64() * (1.0 + T::EPS.f64())).ceil();
    // a cast from f64 saturates, and NaN gives 0
    documented.max(queried as usize)
}

macro_rules! backend {
    ($t:ident, $gemm:ident, $gemv:ident, $syrk:ident, $trsm:ident, $potrf:ident, $potrs:ident, $potri:ident, $syevd:ident, $workspace:ident) => {
        thread_local! {
            static $workspace: Cell<(Vec<$t>, Vec<i32>)> = const { Cell::new((Vec::new(), Vec::new())) };
        }

        impl Backend<$t> for Blas {
            fn name(&self) -> &'static str {
                "blas"
            }

            fn details(&self) -> String {
                library::details()
            }

            fn gemm(
                &self,
                threads: usize,
                alpha: $t,
                a: MatRef<'_, $t>,
                ta: Op,
                b: MatRef<'_, $t>,
                tb: Op,
                beta: $t,
                mut c: MatMut<'_, $t>,
            ) -> Result<()> {
                let (m, n, k) = check::gemm(a, ta, b, tb, c.rb())?;
                if m == 0 || n == 0 || k == 0 || alpha == 0.0 {
                    c.cols_mut().for_each(|c| scale(beta, c));
                    return Ok(());
                }
                let (m, n, ldc) = dims(c.rb())?;
                let ((_, _, lda), (_, _, ldb), k) = (dims(a)?, dims(b)?, int("inner dimension", k)?);
                let _running = library::enter(int("threads", threads)?)?;
                // SAFETY: the shapes agree (check::gemm) and none is 0; each view guarantees ld >= rows and a slice of
                // (columns - 1) ld + rows elements, which is all that gemm touches of it; c does not alias a or b, being
                // a mutable borrow; every integer was converted with a check.
                unsafe {
                    blas::$gemm(
                        trans(ta),
                        trans(tb),
                        m,
                        n,
                        k,
                        alpha,
                        a.as_slice(),
                        lda,
                        b.as_slice(),
                        ldb,
                        beta,
                        c.as_mut_slice(),
                        ldc,
                    );
                }
                Ok(())
            }

            fn gemv(
                &self,
                threads: usize,
                alpha: $t,
                a: MatRef<'_, $t>,
                ta: Op,
                x: &[$t],
                beta: $t,
                y: &mut [$t],
            ) -> Result<()> {
                let (m, n) = ta.shape(a.shape());
                check_len("gemv", n, x.len())?;
                check_len("gemv", m, y.len())?;
                scale(beta, y);
                if m == 0 || n == 0 || alpha == 0.0 {
                    return Ok(());
                }
                let (rows, cols, lda) = dims(a)?;
                let _running = library::enter(int("threads", threads)?)?;
                // SAFETY: x and y have the lengths of op(a) (checked above, none is 0) and stride 1; the view guarantees
                // lda >= rows and (cols - 1) lda + rows elements; y does not alias, being a mutable borrow.
                unsafe { blas::$gemv(trans(ta), rows, cols, alpha, a.as_slice(), lda, x, 1, 1.0, y, 1) };
                Ok(())
            }

            fn syrk_lower(
                &self,
                threads: usize,
                alpha: $t,
                a: MatRef<'_, $t>,
                ta: Op,
                beta: $t,
                mut c: MatMut<'_, $t>,
            ) -> Result<()> {
                let (n, k) = check::syrk(a, ta, c.rb())?;
                if n == 0 || k == 0 || alpha == 0.0 {
                    (0..n).for_each(|j| scale(beta, &mut c.col_mut(j)[j..]));
                    return Ok(());
                }
                let ((n, _, ldc), (_, _, lda), k) = (dims(c.rb())?, dims(a)?, int("inner dimension", k)?);
                let _running = library::enter(int("threads", threads)?)?;
                // SAFETY: c is n x n and a is k x n or n x k as the transpose flag says (check::syrk), none 0; each view
                // guarantees its ld and length; c does not alias a; only the lower triangle of c is touched.
                unsafe {
                    blas::$syrk(b'L', trans(ta.flipped()), n, k, alpha, a.as_slice(), lda, beta, c.as_mut_slice(), ldc);
                }
                Ok(())
            }

            fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, $t>, tl: Op, mut b: MatMut<'_, $t>) -> Result<()> {
                check::trsm(side, l, b.rb())?;
                if b.nrows() == 0 || b.ncols() == 0 {
                    return Ok(());
                }
                let ((m, n, ldb), (_, _, ldl)) = (dims(b.rb())?, dims(l)?);
                let side = match side {
                    Side::Left => b'L',
                    Side::Right => b'R',
                };
                let _running = library::enter(int("threads", threads)?)?;
                // SAFETY: l is square with the order of b's rows (left) or columns (right) (check::trsm), none 0; each
                // view guarantees its ld and length; b does not alias l, being a mutable borrow.
                unsafe {
                    blas::$trsm(side, b'L', trans(tl), b'N', m, n, 1.0, l.as_slice(), ldl, b.as_mut_slice(), ldb);
                }
                Ok(())
            }

            fn potrf(&self, threads: usize, mut a: MatMut<'_, $t>) -> Result<()> {
                let refused = |pivot| Error::NotPositiveDefinite { op: "potrf", pivot };
                if check::potrf(a.rb())? <= small::ORDER {
                    return small::cholesky(a).map_err(refused);
                }
                let (n, _, lda) = dims(a.rb())?;
                let mut info = 0;
                {
                    let _running = library::enter(int("threads", threads)?)?;
                    // SAFETY: a is n x n with n > 0, and the view guarantees lda >= n and (n - 1) lda + n elements.
                    unsafe { lapack::$potrf(b'L', n, a.as_mut_slice(), lda, &mut info) };
                }
                // the triangle was finite: a NaN on the diagonal of L is a pivot that overflowed on the way
                let bad = match usize::try_from(info) {
                    Ok(0) => (0..a.ncols()).position(|j| !a.at(j, j).is_finite()),
                    Ok(info) => Some(info - 1),
                    Err(_) => return Err(Error::invalid("potrf", "the library refused its arguments")),
                };
                match bad {
                    Some(pivot) => Err(refused(pivot)),
                    None => check::finite_lower("potrf", a.rb()),
                }
            }

            fn potrs(&self, threads: usize, l: MatRef<'_, $t>, mut b: MatMut<'_, $t>) -> Result<()> {
                if check::trsm(Side::Left, l, b.rb())? <= small::ORDER && b.ncols() <= small::COLUMNS {
                    small::solve(l, &[Op::No, Op::Transpose], b);
                    return Ok(());
                }
                if b.ncols() == 0 {
                    return Ok(());
                }
                let ((n, k, ldb), (_, _, ldl), mut info) = (dims(b.rb())?, dims(l)?, 0);
                let _running = library::enter(int("threads", threads)?)?;
                // SAFETY: l is square with the order of b's rows (check::trsm), neither being 0; each view guarantees its
                // ld and length; b does not alias l, being a mutable borrow.
                unsafe { lapack::$potrs(b'L', n, k, l.as_slice(), ldl, b.as_mut_slice(), ldb, &mut info) };
                if info == 0 { Ok(()) } else { Err(Error::invalid("potrs", "the library refused its arguments")) }
            }

            fn potri_work(&self, _n: usize) -> (usize, usize) {
                (0, 0) // LAPACK inverts in place
            }

            fn potri(&self, threads: usize, mut l: MatMut<'_, $t>, work: MatMut<'_, $t>) -> Result<()> {
                if check::potri(l.rb(), work.rb(), (0, 0))? == 0 {
                    return Ok(());
                }
                let (n, _, ldl) = dims(l.rb())?;
                let mut info = 0;
                {
                    let _running = library::enter(int("threads", threads)?)?;
                    // SAFETY: l is n x n with n > 0, and the view guarantees ldl >= n and (n - 1) ldl + n elements.
                    unsafe { lapack::$potri(b'L', n, l.as_mut_slice(), ldl, &mut info) };
                }
                if info != 0 {
                    // a zero on the diagonal of L: the inverse is infinite
                    return Err(Error::not_finite("potri"));
                }
                mirror_lower(threads, l.rb_mut())?;
                check::finite_lower("potri", l.rb())
            }

            fn syevd(&self, threads: usize, mut a: MatMut<'_, $t>, w: &mut [$t]) -> Result<()> {
                let order = check::syevd(a.rb(), w)?;
                if order == 0 {
                    return Ok(());
                }
                let (n, _, lda) = dims(a.rb())?;
                let (documented, integers) = syevd_workspace(order)
                    .ok_or_else(|| Error::invalid("order", format!("{order} needs more workspace than memory")))?;
                let scale = check::power_of_two_scale(a.rb());
                if !scale.is_one() {
                    (0..order).for_each(|j| a.col_mut(j)[j..].iter_mut().for_each(|x| *x = scale.scale(*x)));
                }
                let (mut queried, mut queried_integers, mut info) = ([0.0 as $t], [0i32], 0);
                let threads = int("threads", threads)?;
                // SAFETY: with both sizes -1 syevd only writes the wanted sizes into the two one-element workspaces; a
                // and w are valid as below.
                unsafe {
                    lapack::$syevd(
                        b'V',
                        b'L',
                        n,
                        a.as_mut_slice(),
                        lda,
                        w,
                        &mut queried,
                        -1,
                        &mut queried_integers,
                        -1,
                        &mut info,
                    );
                }
                let length = at_least(documented, queried[0]);
                let integers = integers.max(usize::try_from(queried_integers[0]).unwrap_or(0));
                let (lwork, liwork) = (int("workspace", length)?, int("workspace", integers)?);
                let (mut work, mut iwork) = $workspace.take();
                work.resize(work.len().max(length), 0.0);
                iwork.resize(iwork.len().max(integers), 0);
                {
                    let _running = library::enter(threads)?;
                    // SAFETY: a is n x n with n > 0 and the view guarantees its ld and length; w has n elements
                    // (check::syevd); the workspaces have at least lwork and liwork elements, which are at least the
                    // documented minima and what the query asked for.
                    unsafe {
                        lapack::$syevd(
                            b'V',
                            b'L',
                            n,
                            a.as_mut_slice(),
                            lda,
                            w,
                            &mut work,
                            lwork,
                            &mut iwork,
                            liwork,
                            &mut info,
                        );
                    }
                }
                $workspace.set((work, iwork));
                if info != 0 {
                    return Err(Error::NoConvergence { op: "syevd" });
                }
                w.iter_mut().for_each(|w| *w = scale.unscale(*w));
                check::finite_slice("syevd", w)?;
                check::finite("syevd", a.rb())
            }
        }
    };
}
backend!(f32, sgemm, sgemv, ssyrk, strsm, spotrf, spotrs, spotri, ssyevd, WORKSPACE_F32);
backend!(f64, dgemm, dgemv, dsyrk, dtrsm, dpotrf, dpotrs, dpotri, dsyevd, WORKSPACE_F64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_follow_the_documented_formula_in_64_bits() {
        assert_eq!(syevd_workspace(1), Some((9, 8)));
        assert_eq!(syevd_workspace(100), Some((20_601, 503)));
        // beyond the library's integers, not wrapped around
        let (work, _) = syevd_workspace(40_000).expect("fits 64 bits");
        assert_eq!(work, 3_200_240_001);
        assert!(int("workspace", work).is_err());
        assert_eq!(syevd_workspace(usize::MAX), None);
    }

    #[test]
    fn a_queried_size_is_rounded_up_and_never_below_the_formula() {
        assert_eq!(at_least(10, 7.0f64), 10);
        assert!(at_least(10, 16_777_216.0f32) > 16_777_216);
        assert_eq!(at_least(10, f32::NAN), 10);
    }
}
