//! Dense kernels behind one trait, [`Backend`], and the context [`Ctx`] that carries a backend, scratch and threads.
//!
//! Contract of every kernel (the conformance tests hold each backend to it, with [`Reference`] as the oracle):
//! - Shapes are checked first; a mismatch is [`Error::Shape`], never a panic. Zero-sized arguments are legal.
//! - beta = 0 never reads C, so C may hold NaN; alpha = 0 never reads A or B. Padding rows (ld > m) are never written.
//! - Products and triangular solves propagate NaN and infinity. Factorizations return [`Error::NotFinite`] when the
//!   triangle they read holds one, or when their result would.
//! - A failed [`Backend::potrf`] names the exact index of the first pivot that is not positive; a pivot that is NaN
//!   because a finite matrix overflowed on the way counts as not positive.
//! - For a fixed backend, machine and thread count a result is the same bit for bit.
//!
//! [`Error::Shape`]: crate::Error::Shape
//! [`Error::NotFinite`]: crate::Error::NotFinite

#[cfg(feature = "blas")]
mod blas;
pub mod check;
mod ctx;
#[cfg(feature = "faer")]
mod faer;
mod mirror;
pub(crate) mod reduce;
mod reference;
#[cfg(any(feature = "faer", feature = "blas"))]
mod small;
pub(crate) mod sums;

#[cfg(feature = "blas")]
pub use self::blas::Blas;
#[cfg(feature = "faer")]
pub use self::faer::Faer;
pub use ctx::{Ctx, Scratch};
pub use reference::Reference;

use std::fmt::Debug;

use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// Dense kernels on column-major views. A custom backend writes five: gemm, syrk_lower, trsm, potrf, syevd.
///
/// `threads` is the most threads the call may use (at least 1); a backend without threads ignores it.
pub trait Backend<T: Scalar>: Debug + Send + Sync {
    /// Short name: `"reference"`, `"faer"`, `"blas"`, ...
    fn name(&self) -> &'static str;

    /// One line for people: library, version, integer width, threads.
    fn details(&self) -> String {
        self.name().to_owned()
    }

    /// C(M x N) ← α op(A)(M x K) op(B)(K x N) + β C.  2 M N K flops.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn gemm(
        &self,
        threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        b: MatRef<'_, T>,
        tb: Op,
        beta: T,
        c: MatMut<'_, T>,
    ) -> Result<()>;

    /// Lower triangle of C(N x N) ← α op(A)ᵀ op(A) + β C, op(A) being K x N. The strict upper triangle is neither
    /// read nor written.  N² K flops, half of gemm's.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn syrk_lower(&self, threads: usize, alpha: T, a: MatRef<'_, T>, ta: Op, beta: T, c: MatMut<'_, T>) -> Result<()>;

    /// Solves op(L) X = B ([`Side::Left`]) or X op(L) = B ([`Side::Right`]) in place of B. Only the lower triangle of L
    /// is read; a zero on its diagonal gives infinities.  n² k flops for an n x n L and k right-hand sides.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, T>, tl: Op, b: MatMut<'_, T>) -> Result<()>;

    /// Cholesky A = L Lᵀ: lower triangle of A in, L out; the strict upper triangle is neither read nor written.
    /// n³/3 flops. On error the lower triangle is unspecified.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) with the failing pivot,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Shape`](crate::Error::Shape).
    fn potrf(&self, threads: usize, a: MatMut<'_, T>) -> Result<()>;

    /// Symmetric eigendecomposition A = Q diag(w) Qᵀ: lower triangle of A in, orthonormal columns Q out, w ascending.
    /// About 9 n³ flops. Equivariant under scaling by powers of two.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::NoConvergence`](crate::Error::NoConvergence),
    /// [`Error::Shape`](crate::Error::Shape).
    fn syevd(&self, threads: usize, a: MatMut<'_, T>, w: &mut [T]) -> Result<()>;

    /// [`Backend::syrk_lower`] with both triangles of C defined (only the lower one is read when β ≠ 0).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn syrk(&self, threads: usize, alpha: T, a: MatRef<'_, T>, ta: Op, beta: T, mut c: MatMut<'_, T>) -> Result<()> {
        self.syrk_lower(threads, alpha, a, ta, beta, c.rb_mut())?;
        mirror::mirror_lower(threads, c)
    }

    /// y ← α op(A) x + β y.  2 M N flops.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn gemv(&self, threads: usize, alpha: T, a: MatRef<'_, T>, ta: Op, x: &[T], beta: T, y: &mut [T]) -> Result<()> {
        self.gemm(threads, alpha, a, ta, MatRef::from_column(x), Op::No, beta, MatMut::from_column(y))
    }

    /// Solves L Lᵀ X = B in place of B with L from [`Backend::potrf`].  2 n² k flops.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not fit.
    fn potrs(&self, threads: usize, l: MatRef<'_, T>, mut b: MatMut<'_, T>) -> Result<()> {
        self.trsm(threads, Side::Left, l, Op::No, b.rb_mut())?;
        self.trsm(threads, Side::Left, l, Op::Transpose, b)
    }

    /// Numbers of type `T` that [`Backend::syevd`] works on beside an n x n matrix, in memory of the backend's own.
    fn syevd_workspace(&self, n: usize) -> usize {
        2 * n * n
    }

    /// Shape of the scratch that [`Backend::potri`] needs for an n x n factor.
    fn potri_work(&self, n: usize) -> (usize, usize) {
        (n, n)
    }

    /// (L Lᵀ)⁻¹ in place of L (from [`Backend::potrf`]), both triangles written. `work`, of the shape
    /// [`Backend::potri_work`], is overwritten.
    /// 2n³/3 flops at best.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) when the inverse overflows,
    /// [`Error::Shape`](crate::Error::Shape).
    fn potri(&self, threads: usize, mut l: MatMut<'_, T>, mut work: MatMut<'_, T>) -> Result<()> {
        check::potri(l.rb(), work.rb(), self.potri_work(l.nrows()))?;
        work.fill(T::ZERO);
        for j in 0..work.ncols() {
            *work.at_mut(j, j) = T::ONE;
        }
        self.trsm(threads, Side::Left, l.rb(), Op::No, work.rb_mut())?;
        self.syrk(threads, T::ONE, work.rb(), Op::No, T::ZERO, l.rb_mut())?;
        check::finite_lower("potri", l.rb())
    }
}
