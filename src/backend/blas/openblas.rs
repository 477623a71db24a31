//! OpenBLAS's thread count, version and integer width.

use std::ffi::{CStr, c_char, c_int};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, Result};

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_num_threads() -> c_int;
    fn openblas_get_config() -> *const c_char;
    fn openblas_get_corename() -> *const c_char;
    fn openblas_get_parallel() -> c_int;
}

/// How the library was built.
#[derive(Clone, Copy, PartialEq)]
enum Build {
    /// Without threads and without locks: one call at a time.
    Sequential,
    /// Its own threads; the count is one number for the process.
    Pthreads,
    /// OpenMP's threads; the count belongs to the calling thread.
    OpenMp,
    /// 64-bit integers, which the bindings do not speak.
    WideIntegers,
}

fn text(c: *const c_char) -> String {
    // SAFETY: OpenBLAS returns a pointer to a static NUL-terminated string.
    unsafe { CStr::from_ptr(c) }.to_string_lossy().trim().to_owned()
}

fn config() -> String {
    // SAFETY: no preconditions; the result is a static NUL-terminated string.
    text(unsafe { openblas_get_config() })
}

fn build() -> Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    *BUILD.get_or_init(|| {
        if config().contains("USE64BITINT") {
            return Build::WideIntegers;
        }
        // SAFETY: reads a constant of the library.
        match unsafe { openblas_get_parallel() } {
            0 => Build::Sequential,
            1 => Build::Pthreads,
            _ => Build::OpenMp,
        }
    })
}

/// The count that was set last (0: never), the calls that run under it, and those that wait for another one.
struct Running {
    threads: i32,
    calls: usize,
    waiting: usize,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { threads: 0, calls: 0, waiting: 0 });
static IDLE: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Running> {
    // three integers: a panic elsewhere cannot leave them in a bad state
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call in progress; dropping it ends the call.
pub(super) struct Call(());

impl Drop for Call {
    fn drop(&mut self) {
        let mut running = lock();
        running.calls -= 1;
        // a call of the system, which takes longer than a small solve
        if running.calls == 0 && running.waiting > 0 {
            IDLE.notify_all();
        }
    }
}

/// Starts a call that may use `threads` threads: at once when the library has that count, else when the calls of
/// another count have ended. The guard must be dropped before any other call of this thread.
pub(super) fn enter(threads: i32) -> Result<Call> {
    let build = build();
    if build == Build::WideIntegers {
        return Err(Error::BackendUnavailable {
            backend: "blas",
            reason: "this OpenBLAS was built with 64-bit integers (ILP64); link one with 32-bit integers (LP64)",
        });
    }
    let mut running = lock();
    while running.calls > 0 && (running.threads != threads || build == Build::Sequential) {
        running.waiting += 1;
        running = IDLE.wait(running).unwrap_or_else(PoisonError::into_inner);
        running.waiting -= 1;
    }
    if running.threads != threads || build == Build::OpenMp {
        running.threads = threads;
        // SAFETY: any positive count is legal (the library caps it), and no call of ours is running, or (OpenMP) the
        // count belongs to this thread alone.
        unsafe { openblas_set_num_threads(threads.max(1)) };
    }
    running.calls += 1;
    Ok(Call(()))
}

/// Version, build options, kernel, integer width and threads.
pub(super) fn details() -> String {
    // SAFETY: both calls read constants of the library.
    let (core, threads) = unsafe { (text(openblas_get_corename()), openblas_get_num_threads()) };
    let (width, mode) = match build() {
        Build::WideIntegers => (64, "unusable here: needs 32-bit integers"),
        Build::Sequential => (32, "no threads"),
        Build::Pthreads => (32, "own threads"),
        Build::OpenMp => (32, "OpenMP threads"),
    };
    format!("{}, {core} kernels, {width}-bit integers, {mode} ({threads} now)", config())
}
