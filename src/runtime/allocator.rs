//! The allocator's own stores.
#![allow(unsafe_code)] // A call into the allocator.

/// Gives back what this thread's part of the allocator keeps for allocations to come, such as the
/// last page of each size when it is empty. It lets go of them by itself only while it is asked for
/// memory, so that a burst before a quiet time would be held for good: with 18,000 connections of
/// which 4,500 came at once, 325 bytes each instead of 250.
pub fn give_back() {
    // SAFETY: no pointers are involved; the allocator looks at this thread's own pages.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
