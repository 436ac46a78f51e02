//! The allocator: what it keeps for itself, and, in a build with the feature `count-allocations`, how
//! often a thread asks it for memory.
#![allow(unsafe_code)] // Calls into the allocator.

#[cfg(feature = "count-allocations")]
pub use counting::Counting;

/// Allocations of this thread so far; 0 in a build that does not count them.
pub fn allocations() -> u64 {
    #[cfg(feature = "count-allocations")]
    return counting::allocations();
    #[cfg(not(feature = "count-allocations"))]
    0
}

/// Gives back what this thread's part of the allocator keeps for allocations to come, such as the
/// last page of each size when it is empty. It lets go of them by itself only while it is asked for
/// memory, so that a burst before a quiet time would be held for good: with 18,000 connections of
/// which 4,500 came at once, 325 bytes each instead of 250.
pub fn give_back() {
    // SAFETY: no pointers are involved; the allocator looks at this thread's own pages.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(feature = "count-allocations")]
mod counting {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::Cell;

    thread_local! {
        static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn allocations() -> u64 {
        ALLOCATIONS.get()
    }

    /// An allocator that counts, for each thread, how often memory is asked for or moved.
    pub struct Counting<A>(pub A);

    fn count() {
        // A thread that is ending has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    }

    // SAFETY: every call goes to the allocator within, unchanged.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller keeps to the contract of the same method.
            unsafe { self.0.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller keeps to the contract of the same method.
            unsafe { self.0.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
            count();
            // SAFETY: the caller keeps to the contract of the same method.
            unsafe { self.0.realloc(memory, layout, bytes) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: the caller keeps to the contract of the same method.
            unsafe { self.0.dealloc(memory, layout) }
        }
    }
}
