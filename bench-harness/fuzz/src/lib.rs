//! What the targets share: an allocator that remembers the largest request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The system's allocator, measured.
pub struct Measured;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn note(bytes: usize) {
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every request is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Measured {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

/// Bytes of the largest request that `work` made, and the number of its requests. One thread only.
pub fn requests<T>(work: impl FnOnce() -> T) -> (T, usize, u64) {
    LARGEST.store(0, Ordering::Relaxed);
    let before = COUNT.load(Ordering::Relaxed);
    let result = work();
    let count = COUNT.load(Ordering::Relaxed) - before;
    (result, LARGEST.load(Ordering::Relaxed), count)
}
