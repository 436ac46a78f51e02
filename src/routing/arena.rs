//! The memory of the shared index: one reserved range of 64-bit atomic words, addressed by `u32`.
//!
//! Every access is an atomic load or store, so that a reader with a stale or wrong address reads a
//! wrong value at worst: memory safety does not hang on the grace periods, only correctness does.
//! The range is reserved at once (`MAP_NORESERVE`) and costs nothing until it is touched; a page
//! that is discarded costs nothing again.
#![allow(unsafe_code)] // mmap, munmap, madvise, and the view of the mapping as a slice

use std::io;

use crate::base::atomic::AtomicU64;

/// Words that 32-bit addresses can reach: 32 GiB.
const WORDS_MAX: usize = 1 << 32;
/// A machine that grants less than this (an address space limit, strict overcommit) is told so.
const WORDS_MIN: usize = 1 << 23;

/// Under loom and Miri there is no mapping; the models need a handful of words.
#[cfg(any(loom, miri))]
const WORDS_ON_HEAP: usize = if cfg!(loom) { 192 } else { 1 << 17 };

/// Where a word lies, in words from the start of the arena. 0 and 1 are never handed out.
pub(super) type Address = u32;

/// The reserved range.
#[derive(Debug)]
pub(super) struct Arena {
    #[cfg(not(any(loom, miri)))]
    start: std::ptr::NonNull<AtomicU64>,
    #[cfg(not(any(loom, miri)))]
    words: usize,
    #[cfg(any(loom, miri))]
    heap: Box<[AtomicU64]>,
}

#[cfg(not(any(loom, miri)))]
// SAFETY: the arena owns its mapping, and all access to it is by atomics.
unsafe impl Send for Arena {}
#[cfg(not(any(loom, miri)))]
// SAFETY: as above; `discard` is called by the one writer and is a write like any other.
unsafe impl Sync for Arena {}

#[cfg(not(any(loom, miri)))]
impl Arena {
    /// Reserves 32 GiB of address space, or the largest half, quarter, ... that is granted.
    pub(super) fn reserve() -> io::Result<Self> {
        let mut words = WORDS_MAX;
        loop {
            match Self::with_words(words) {
                Err(_) if words > WORDS_MIN => words /= 2,
                granted_or_not => return granted_or_not,
            }
        }
    }

    /// An arena of this size (whole pages).
    pub(super) fn with_words(words: usize) -> io::Result<Self> {
        Self::map(words).map(|start| Self { start, words })
    }

    fn map(words: usize) -> io::Result<std::ptr::NonNull<AtomicU64>> {
        // SAFETY: a new anonymous mapping touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        std::ptr::NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at null"))
    }

    /// All words.
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `map` made `words` zeroed words at `start`, aligned to a page; every bit pattern
        // is an AtomicU64; the mapping ends in `drop`, which no borrow survives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// Sets whole pages to zero and gives them back to the system.
    pub(super) fn discard(&self, address: Address, words: usize) {
        let range = &self.words()[address as usize..address as usize + words];
        // SAFETY: the range lies in our mapping (the slice above), starts and ends at pages (the
        // allocator's large blocks), and belongs to the writer that calls; its pages read as zero
        // afterwards, which is a value of AtomicU64.
        let done = unsafe {
            libc::madvise(
                range.as_ptr().cast_mut().cast(),
                size_of_val(range),
                libc::MADV_DONTNEED,
            )
        };
        if done != 0 {
            zero(range);
        }
    }
}

#[cfg(not(any(loom, miri)))]
impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `map` made exactly this mapping, and `&mut self` says that nobody reads it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * 8) };
    }
}

#[cfg(any(loom, miri))]
impl Arena {
    pub(super) fn reserve() -> io::Result<Self> {
        debug_assert!(WORDS_ON_HEAP < WORDS_MIN && WORDS_MIN < WORDS_MAX);
        Self::with_words(WORDS_ON_HEAP)
    }

    pub(super) fn with_words(words: usize) -> io::Result<Self> {
        let heap = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { heap })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.heap
    }

    pub(super) fn discard(&self, address: Address, words: usize) {
        zero(&self.words()[address as usize..address as usize + words]);
    }
}

impl Arena {
    /// The word at an address.
    #[inline]
    pub(super) fn word(&self, address: Address) -> &AtomicU64 {
        &self.words()[address as usize]
    }
}

/// Writes zeroes.
pub(super) fn zero(words: &[AtomicU64]) {
    for word in words {
        word.store(0, crate::base::atomic::Ordering::Relaxed);
    }
}
