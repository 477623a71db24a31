//! A global allocator that counts: allocations and bytes of each thread, allocations, bytes and the most bytes of the
//! process.
#![allow(dead_code)] // every program asks for some of it

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

static ALL_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static ALL_LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counting.
pub struct CountingAllocator;

impl CountingAllocator {
    /// Of an allocation or a reallocation.
    fn count(bytes: isize) {
        // no thread-local storage any more: the thread is ending, nobody will ask
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        ALL_ALLOCATIONS.fetch_add(1, Relaxed);
        Self::hold(bytes);
    }

    fn hold(bytes: isize) {
        let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
        let live = ALL_LIVE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(live, Relaxed);
    }
}

/// Allocations (and reallocations) of this thread so far.
pub fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

/// Allocations (and reallocations) of all threads so far.
pub fn all_allocations() -> usize {
    ALL_ALLOCATIONS.load(Relaxed)
}

/// Bytes that this thread has allocated and not freed; what it has freed for others is counted off.
pub fn live() -> isize {
    LIVE.with(Cell::get)
}

/// The most bytes that the process held during `work` beyond those it held before, and what `work` returned. Other threads
/// must not work on something else meanwhile.
pub fn peak_during<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = ALL_LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    (usize::try_from(PEAK.load(Relaxed) - before).unwrap_or(0), result)
}

/// Allocations of the second of two runs.
pub fn second_run(mut run: impl FnMut()) -> usize {
    run();
    let before = allocations();
    run();
    allocations() - before
}

// SAFETY: every method forwards its arguments unchanged to the system's allocator; counting touches no memory of theirs.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as isize);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::hold(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
