//! [`Ctx`]: what every computation needs beside its arguments - a backend, pooled scratch, a thread budget.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, Reference};
use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// Backend, scratch pool and thread budget; cheap to clone (clones share backend and pool), `Send + Sync`.
///
/// Methods named like a [`Backend`] kernel call it with this context's thread budget.
///
/// ```
/// use pullback::{Ctx, Mat, Op};
/// let ctx = Ctx::<f64>::default(); // faer where compiled, else a native BLAS, else the reference loops
/// let a = Mat::from_fn(2, 2, |i, j| (i + 2 * j) as f64);
/// let mut c = Mat::zeros(2, 2);
/// ctx.gemm(1.0, a.as_ref(), Op::No, a.as_ref(), Op::Transpose, 0.0, c.as_mut())?;
/// assert_eq!(c[(0, 0)], 4.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Clone)]
pub struct Ctx<T> {
    backend: Arc<dyn Backend<T>>,
    pool: Arc<Pool<T>>,
    threads: usize,
}

#[derive(Default)]
struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
    elements: AtomicUsize,
}

impl<T> Pool<T> {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        // a panic elsewhere cannot leave the list in a bad state
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(any(feature = "faer", feature = "blas"))]
fn for_scalar<T: Scalar, B: Backend<f32> + Backend<f64> + Clone + 'static>(backend: B) -> Arc<dyn Backend<T>> {
    use std::any::Any;
    let single: Arc<dyn Backend<f32>> = Arc::new(backend.clone());
    let double: Arc<dyn Backend<f64>> = Arc::new(backend);
    let pick = |b: Box<dyn Any>| b.downcast::<Arc<dyn Backend<T>>>().ok().map(|b| *b);
    match pick(Box::new(single)).or_else(|| pick(Box::new(double))) {
        Some(backend) => backend,
        None => unreachable!("Scalar is sealed: T is f32 or f64"),
    }
}

impl<T: Scalar> Ctx<T> {
    /// A context on any backend, with one thread.
    pub fn new(backend: impl Backend<T> + 'static) -> Self {
        Self::from_arc(Arc::new(backend))
    }

    /// A context on a shared backend, with one thread.
    pub fn from_arc(backend: Arc<dyn Backend<T>>) -> Self {
        Self { backend, pool: Arc::default(), threads: 1 }
    }

    /// On the textbook loops: the oracle.
    pub fn reference() -> Self {
        Self::new(Reference)
    }

    /// On faer (pure Rust).
    #[cfg(feature = "faer")]
    pub fn faer() -> Self {
        Self::from_arc(for_scalar(super::Faer))
    }

    /// On the BLAS and LAPACK that the program is linked with.
    #[cfg(feature = "blas")]
    pub fn blas() -> Self {
        Self::from_arc(for_scalar(super::Blas))
    }

    /// The same backend and pool with another thread budget (at least 1).
    ///
    /// Threads come from rayon's current pool, whose size caps the budget; a native BLAS uses its own threads.
    pub fn with_threads(&self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self.clone() }
    }

    /// The backend.
    pub fn backend(&self) -> &dyn Backend<T> {
        &*self.backend
    }

    /// The thread budget.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs a program, or a loop of steps, on a thread of rayon's pool (here, with one thread). What forks inside begins at
    /// once; from a thread outside of the pool every call that forks hands its work over and is woken at its end, some ten
    /// microseconds each, a tenth of a K-FAC step of small products.
    ///
    /// ```
    /// use pullback::Ctx;
    /// let ctx = Ctx::<f32>::default().with_threads(2);
    /// assert_eq!(ctx.enter(|| 1 + 1), 2);
    /// ```
    pub fn enter<R: Send>(&self, program: impl FnOnce() -> R + Send) -> R {
        if self.threads == 1 { program() } else { rayon::scope(|_| program()) }
    }

    /// An nrows x ncols scratch matrix from the pool, returned to it on drop. Its contents are unspecified (NaN in
    /// builds with debug assertions). Allocates only when no free buffer is large enough.
    pub fn scratch(&self, nrows: usize, ncols: usize) -> Scratch<'_, T> {
        let need = nrows * ncols;
        if need == 0 {
            // a free buffer taken for nothing would be missing where one is needed
            return Scratch { pool: &self.pool, buffer: Vec::new(), nrows, ncols };
        }
        let mut free = self.pool.free();
        let fitting = (0..free.len()).filter(|&i| free[i].len() >= need).min_by_key(|&i| free[i].len());
        let mut buffer = match fitting {
            Some(i) => free.swap_remove(i),
            None => (0..free.len()).max_by_key(|&i| free[i].len()).map(|i| free.swap_remove(i)).unwrap_or_default(),
        };
        drop(free);
        if buffer.len() < need {
            self.pool.elements.fetch_add(need - buffer.len(), Ordering::Relaxed);
            buffer = Vec::new(); // free the old one first: its contents are not needed
            buffer.resize(need, T::ZERO);
        }
        if cfg!(debug_assertions) {
            buffer[..need].fill(T::nan());
        }
        Scratch { pool: &self.pool, buffer, nrows, ncols }
    }

    /// Most bytes of scratch that were ever allocated at once by this context and its clones.
    pub fn high_water(&self) -> usize {
        self.pool.elements.load(Ordering::Relaxed) * size_of::<T>()
    }

    /// Runs `task` on every item, over up to `threads` items at once, each with a one-thread context. Items are taken
    /// in order (put the largest first); with one thread or one item they run here with the whole budget.
    ///
    /// # Errors
    /// The first error in item order; all items are run.
    pub fn for_each<I: Send>(
        &self,
        items: &mut [I],
        task: impl Fn(&Ctx<T>, &mut I) -> Result<()> + Sync,
    ) -> Result<()> {
        if self.threads == 1 || items.len() <= 1 {
            // every item is run, whatever the ones before it returned
            let mut all = Ok(());
            for item in items {
                all = all.and(task(self, item));
            }
            return all;
        }
        let single = self.with_threads(1);
        let slots: Vec<Mutex<(&mut I, Result<()>)>> = items.iter_mut().map(|item| Mutex::new((item, Ok(())))).collect();
        let next = AtomicUsize::new(0);
        rayon::scope(|scope| {
            for _ in 0..self.threads.min(slots.len()) {
                scope.spawn(|_| {
                    while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                        let outcome = task(&single, &mut *slot.0);
                        slot.1 = outcome;
                    }
                });
            }
        });
        let mut outcomes = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1);
        outcomes.try_for_each(|outcome| outcome)
    }

    /// [`Backend::gemm`]: C ← α op(A) op(B) + β C.
    ///
    /// # Errors
    /// As [`Backend::gemm`].
    pub fn gemm(
        &self,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        b: MatRef<'_, T>,
        tb: Op,
        beta: T,
        c: MatMut<'_, T>,
    ) -> Result<()> {
        self.backend.gemm(self.threads, alpha, a, ta, b, tb, beta, c)
    }

    /// [`Backend::syrk`]: C ← α op(A)ᵀ op(A) + β C, both triangles.
    ///
    /// # Errors
    /// As [`Backend::syrk`].
    pub fn syrk(&self, alpha: T, a: MatRef<'_, T>, ta: Op, beta: T, c: MatMut<'_, T>) -> Result<()> {
        self.backend.syrk(self.threads, alpha, a, ta, beta, c)
    }

    /// [`Backend::syrk_lower`]: the lower triangle only.
    ///
    /// # Errors
    /// As [`Backend::syrk_lower`].
    pub fn syrk_lower(&self, alpha: T, a: MatRef<'_, T>, ta: Op, beta: T, c: MatMut<'_, T>) -> Result<()> {
        self.backend.syrk_lower(self.threads, alpha, a, ta, beta, c)
    }

    /// [`Backend::gemv`]: y ← α op(A) x + β y.
    ///
    /// # Errors
    /// As [`Backend::gemv`].
    pub fn gemv(&self, alpha: T, a: MatRef<'_, T>, ta: Op, x: &[T], beta: T, y: &mut [T]) -> Result<()> {
        self.backend.gemv(self.threads, alpha, a, ta, x, beta, y)
    }

    /// [`Backend::trsm`]: triangular solve in place of B.
    ///
    /// # Errors
    /// As [`Backend::trsm`].
    pub fn trsm(&self, side: Side, l: MatRef<'_, T>, tl: Op, b: MatMut<'_, T>) -> Result<()> {
        self.backend.trsm(self.threads, side, l, tl, b)
    }

    /// [`Backend::potrf`]: Cholesky factor in place.
    ///
    /// # Errors
    /// As [`Backend::potrf`].
    pub fn potrf(&self, a: MatMut<'_, T>) -> Result<()> {
        self.backend.potrf(self.threads, a)
    }

    /// [`Backend::potrs`]: solve with a Cholesky factor in place of B.
    ///
    /// # Errors
    /// As [`Backend::potrs`].
    pub fn potrs(&self, l: MatRef<'_, T>, b: MatMut<'_, T>) -> Result<()> {
        self.backend.potrs(self.threads, l, b)
    }

    /// [`Backend::potri`]: inverse from a Cholesky factor in place, both triangles; scratch from the pool.
    ///
    /// # Errors
    /// As [`Backend::potri`].
    pub fn potri(&self, l: MatMut<'_, T>) -> Result<()> {
        let (rows, columns) = self.backend.potri_work(l.nrows());
        self.backend.potri(self.threads, l, self.scratch(rows, columns).as_mut())
    }

    /// [`Backend::syevd`]: eigenvectors in place, eigenvalues ascending.
    ///
    /// # Errors
    /// As [`Backend::syevd`].
    pub fn syevd(&self, a: MatMut<'_, T>, w: &mut [T]) -> Result<()> {
        self.backend.syevd(self.threads, a, w)
    }
}

/// faer where it is compiled in, else the linked BLAS, else the reference loops; one thread.
impl<T: Scalar> Default for Ctx<T> {
    fn default() -> Self {
        #[cfg(feature = "faer")]
        return Self::faer();
        #[cfg(all(feature = "blas", not(feature = "faer")))]
        return Self::blas();
        #[cfg(not(any(feature = "faer", feature = "blas")))]
        return Self::reference();
    }
}

impl<T> Debug for Ctx<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("backend", &self.backend).field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// A pooled nrows x ncols matrix; see [`Ctx::scratch`].
pub struct Scratch<'p, T: Scalar> {
    pool: &'p Pool<T>,
    buffer: Vec<T>,
    nrows: usize,
    ncols: usize,
}

impl<T: Scalar> Scratch<'_, T> {
    /// The elements, column by column.
    pub fn as_slice(&self) -> &[T] {
        &self.buffer[..self.nrows * self.ncols]
    }

    /// The elements, column by column, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.buffer[..self.nrows * self.ncols]
    }

    /// Borrows it as a contiguous matrix.
    #[allow(clippy::should_implement_trait, clippy::missing_panics_doc)] // a view with a lifetime; cannot panic
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef::from_slice(self.as_slice(), self.nrows, self.ncols, self.nrows.max(1))
            .expect("length fits by construction")
    }

    /// Borrows it as a contiguous matrix, mutably.
    #[allow(clippy::should_implement_trait, clippy::missing_panics_doc)] // a view with a lifetime; cannot panic
    pub fn as_mut(&mut self) -> MatMut<'_, T> {
        let (nrows, ncols) = (self.nrows, self.ncols);
        MatMut::from_slice(self.as_mut_slice(), nrows, ncols, nrows.max(1)).expect("length fits by construction")
    }
}

impl<T: Scalar> Drop for Scratch<'_, T> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() > 0 {
            self.pool.free().push(buffer);
        }
    }
}
