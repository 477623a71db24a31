//! Kernels on faer, pure Rust: the default backend.
//!
//! Differs     the eigensolver gets its matrix at the scale of 1 (by a power of two, exactly): from n = 129 on it loses
//!             accuracy, silently, when the norm is far from 1. Triangular kernels are cut by halves around its
//!             gemm (`blocked`); up to order 64 they are loops of our own (`small`).
//! Memory      factorizations keep their scratch in one buffer a thread, as large as the largest call needed.
//! Threads     `threads` bounds the tasks a call forks on rayon's current pool; small products stay on one thread.
//! Laws        tests/backends.rs, tests/factorizations.rs (scales 2^k), tests/allocations.rs.

mod blocked;

use std::cell::Cell;

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::{evd, matmul};
use faer::mat::AsMatMut;
use faer::{Accum, Par, Spec};

use super::mirror::mirror_lower;
use super::reference::scale;
use super::{Backend, check, small};
use crate::error::{Error, Result};
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// Kernels on [faer](https://docs.rs/faer), pure Rust.
///
/// ```
/// use pullback::{Ctx, Mat, backend::Faer};
/// let ctx = Ctx::<f32>::new(Faer).with_threads(2);
/// let mut a = Mat::from_diagonal(&[4.0, 9.0]);
/// ctx.potrf(a.as_mut())?;
/// assert_eq!(a[(1, 1)], 3.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Faer;

type View<'a, T> = faer::MatRef<'a, T>;
type ViewMut<'a, T> = faer::MatMut<'a, T>;

/// Both scalars, as faer sees them.
trait Real: Scalar + faer::traits::RealField {}
impl Real for f32 {}
impl Real for f64 {}

fn view<T>(a: MatRef<'_, T>) -> View<'_, T>
where
    T: Scalar,
{
    faer::MatRef::from_column_major_slice_with_stride(a.as_slice(), a.nrows(), a.ncols(), a.ld())
}

fn view_op<T: Scalar>(a: MatRef<'_, T>, op: Op) -> View<'_, T> {
    match op {
        Op::No => view(a),
        Op::Transpose => view(a).transpose(),
    }
}

fn view_mut<T: Scalar>(a: MatMut<'_, T>) -> ViewMut<'_, T> {
    let (nrows, ncols, ld) = (a.nrows(), a.ncols(), a.ld());
    faer::MatMut::from_column_major_slice_with_stride_mut(a.into_slice(), nrows, ncols, ld)
}

/// Whether `work` multiplications pay for waking another thread.
fn worth_a_fork(threads: usize, work: usize) -> bool {
    const FORK: usize = 1 << 21;
    threads > 1 && work >= FORK
}

fn parallelism(threads: usize, work: usize) -> Par {
    if worth_a_fork(threads, work) { Par::rayon(threads) } else { Par::Seq }
}

thread_local! {
    static BUFFER: Cell<Option<MemBuffer>> = const { Cell::new(None) };
}

/// Runs `f` with at least `need` bytes from this thread's buffer.
fn with_stack<R>(need: StackReq, f: impl FnOnce(&mut MemStack) -> R) -> R {
    let bytes = need.unaligned_bytes_required();
    // taken, not borrowed: a fork inside f may run another call of ours on this thread
    let mut buffer = BUFFER.take().filter(|b| b.len() >= bytes).unwrap_or_else(|| {
        const CACHE_LINE: usize = 64;
        MemBuffer::new(StackReq::new_aligned::<u8>(bytes, CACHE_LINE))
    });
    let result = f(MemStack::new(&mut buffer));
    BUFFER.set(Some(buffer));
    result
}

/// A copy at another scale, and faer's own.
fn syevd_scratch<T: Real>(n: usize, par: Par) -> StackReq {
    let own = evd::self_adjoint_evd_scratch::<T>(n, evd::ComputeEigenvectors::Yes, par, Spec::default());
    faer::linalg::temp_mat_scratch::<T>(n, n).and(own)
}

impl<T: Real> Backend<T> for Faer {
    fn name(&self) -> &'static str {
        "faer"
    }

    fn details(&self) -> String {
        format!("faer 0.24: pure Rust, 64-bit integers, threads of rayon's pool ({})", rayon::current_num_threads())
    }

    fn gemm(
        &self,
        threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        b: MatRef<'_, T>,
        tb: Op,
        beta: T,
        mut c: MatMut<'_, T>,
    ) -> Result<()> {
        let (m, n, k) = check::gemm(a, ta, b, tb, c.rb())?;
        let nothing_to_add = k == 0 || alpha == T::ZERO;
        if beta != T::ZERO || nothing_to_add {
            c.cols_mut().for_each(|c| scale(beta, c));
        }
        if m == 0 || n == 0 || nothing_to_add {
            return Ok(());
        }
        let accumulate = if beta == T::ZERO { Accum::Replace } else { Accum::Add };
        let par = parallelism(threads, m.saturating_mul(n).saturating_mul(k));
        matmul::matmul(view_mut(c), accumulate, view_op(a, ta), view_op(b, tb), alpha, par);
        Ok(())
    }

    fn syrk_lower(
        &self,
        threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        beta: T,
        mut c: MatMut<'_, T>,
    ) -> Result<()> {
        let (n, k) = check::syrk(a, ta, c.rb())?;
        let nothing_to_add = k == 0 || alpha == T::ZERO;
        if beta != T::ZERO || nothing_to_add {
            (0..n).for_each(|j| scale(beta, &mut c.col_mut(j)[j..]));
        }
        if n == 0 || nothing_to_add {
            return Ok(());
        }
        let accumulate = if beta == T::ZERO { Accum::Replace } else { Accum::Add };
        blocked::syrk(view_mut(c), accumulate, view_op(a, ta.flipped()), alpha, threads);
        Ok(())
    }

    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, T>, tl: Op, b: MatMut<'_, T>) -> Result<()> {
        check::trsm(side, l, b.rb())?;
        if b.nrows() == 0 || b.ncols() == 0 {
            return Ok(());
        }
        if side == Side::Left && l.ncols() <= small::ORDER && b.ncols() <= small::COLUMNS {
            small::solve(l, &[tl], b);
            return Ok(());
        }
        let (l, b) = (view(l), view_mut(b));
        match side {
            Side::Left => blocked::solve(l, tl == Op::Transpose, b, threads),
            // X op(L) = B is op(L)ᵀ Xᵀ = Bᵀ
            Side::Right => blocked::solve(l, tl == Op::No, b.transpose_mut(), threads),
        }
        Ok(())
    }

    fn potrs(&self, threads: usize, l: MatRef<'_, T>, mut b: MatMut<'_, T>) -> Result<()> {
        if check::trsm(Side::Left, l, b.rb())? <= small::ORDER && b.ncols() <= small::COLUMNS {
            small::solve(l, &[Op::No, Op::Transpose], b);
            return Ok(());
        }
        Backend::<T>::trsm(self, threads, Side::Left, l, Op::No, b.rb_mut())?;
        Backend::<T>::trsm(self, threads, Side::Left, l, Op::Transpose, b)
    }

    fn potrf(&self, threads: usize, mut a: MatMut<'_, T>) -> Result<()> {
        let n = check::potrf(a.rb())?;
        let refused = |pivot| Error::NotPositiveDefinite { op: "potrf", pivot };
        if n <= small::ORDER {
            return small::cholesky(a).map_err(refused);
        }
        with_stack(blocked::cholesky_scratch::<T>(n), |stack| blocked::cholesky(view_mut(a.rb_mut()), threads, stack))
            .map_err(refused)?;
        check::finite_lower("potrf", a.rb())
    }

    fn potri(&self, threads: usize, mut l: MatMut<'_, T>, mut work: MatMut<'_, T>) -> Result<()> {
        let n = check::potri(l.rb(), work.rb(), (l.nrows(), l.nrows()))?;
        if n <= small::ORDER {
            small::inverse(l.rb_mut(), work);
        } else {
            blocked::invert(view_mut(work.rb_mut()), view(l.rb()), threads);
            blocked::gram(view_mut(l.rb_mut()), view(work.rb()), threads);
        }
        mirror_lower(threads, l.rb_mut())?;
        check::finite_lower("potri", l.rb())
    }

    fn syevd_workspace(&self, n: usize) -> usize {
        syevd_scratch::<T>(n, Par::Seq).unaligned_bytes_required() / size_of::<T>()
    }

    fn syevd(&self, threads: usize, mut a: MatMut<'_, T>, w: &mut [T]) -> Result<()> {
        let n = check::syevd(a.rb(), w)?;
        if n == 0 {
            return Ok(());
        }
        let scale = check::power_of_two_scale(a.rb());
        let par = parallelism(threads, n.saturating_mul(n).saturating_mul(n));
        let params: Spec<evd::SelfAdjointEvdParams, T> = Spec::default();
        with_stack(syevd_scratch::<T>(n, par), |stack| {
            let (mut copy, stack) = faer::linalg::temp_mat_zeroed::<T, _, _>(n, n, stack);
            let mut copy = AsMatMut::as_mat_mut(&mut copy);
            for j in 0..n {
                let column = copy.as_mut().col_mut(j).subrows_mut(j, n - j);
                let Some(column) = column.try_as_col_major_mut() else {
                    unreachable!("faer's scratch is column-major")
                };
                column.as_slice_mut().iter_mut().zip(&a.col(j)[j..]).for_each(|(to, &x)| *to = scale.scale(x));
            }
            let values = faer::diag::DiagMut::from_slice_mut(&mut *w);
            evd::self_adjoint_evd(copy.as_ref(), values, Some(view_mut(a.rb_mut())), par, stack, params)
        })
        .map_err(|evd::EvdError::NoConvergence| Error::NoConvergence { op: "syevd" })?;
        w.iter_mut().for_each(|w| *w = scale.unscale(*w));
        check::finite_slice("syevd", w)?;
        check::finite("syevd", a.rb())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::Mat;
    use crate::testing::{gallery, ratios};

    /// faer's solver as it is, without the change of scale.
    fn unscaled<T: Real>(a: &Mat<T>) -> f64 {
        let n = a.nrows();
        let (mut q, mut w) = (Mat::zeros(n, n), vec![T::ZERO; n]);
        let params: Spec<evd::SelfAdjointEvdParams, T> = Spec::default();
        let need = evd::self_adjoint_evd_scratch::<T>(n, evd::ComputeEigenvectors::Yes, Par::Seq, params);
        let values = faer::diag::DiagMut::from_slice_mut(&mut w);
        with_stack(need, |stack| {
            evd::self_adjoint_evd(view(a.as_ref()), values, Some(view_mut(q.as_mut())), Par::Seq, stack, params)
        })
        .expect("converges");
        ratios::eigen(a.as_ref(), q.as_ref(), &w)
    }

    #[test]
    fn without_the_change_of_scale_the_eigensolver_loses_accuracy() {
        let (single, double) = (gallery::spd::<f32>(200, 1e3, 11), gallery::spd::<f64>(200, 1e3, 11));
        assert!(unscaled(&single) < ratios::THRESHOLD && unscaled(&double) < ratios::THRESHOLD);
        // when this fails, faer has cured it and the change of scale may go
        assert!(unscaled(&gallery::scaled(&single, -25)) > 100.0 * ratios::THRESHOLD);
        assert!(unscaled(&gallery::scaled(&double, -60)) > 100.0 * ratios::THRESHOLD);
    }
}
