//! The receive buffers that all connections of a core share: a ring of provided buffers.
//!
//! The kernel takes a buffer when bytes come, not when a receive is armed, so idle connections hold
//! none. A buffer belongs to the kernel, or to a completion between its arrival and
//! [`BufferRing::give_back`].
#![allow(unsafe_code)] // Memory shared with the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::completion::PlaneConfig;

/// The group number of the one buffer ring of a plane.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The buffers of one plane.
pub(super) struct BufferRing {
    /// `count` entries, page-aligned, shared with the kernel.
    entries: *mut BufRingEntry,
    /// `count` buffers of `buffer_bytes` each.
    memory: *mut u8,
    count: u16,
    buffer_bytes: u32,
    /// The next entry to fill; free running.
    tail: u16,
    /// Buffers given back since the last publish.
    unpublished: u16,
    /// Set when the kernel may still hold the memory: it is then never freed.
    pub(super) leak: bool,
}

impl BufferRing {
    /// Maps the memory and fills the ring with all buffers.
    pub(super) fn new(config: &PlaneConfig) -> io::Result<Self> {
        assert!(
            config.buffers.is_power_of_two(),
            "the kernel masks the tail"
        );
        let entries = map(entries_bytes(config.buffers))?.cast();
        let memory = map(memory_bytes(config.buffers, config.buffer_bytes))?;
        let mut ring = Self {
            entries,
            memory,
            count: config.buffers,
            buffer_bytes: config.buffer_bytes,
            tail: 0,
            unpublished: 0,
            leak: false,
        };
        for id in 0..ring.count {
            ring.give_back(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Makes the ring known to the kernel, which uses it until the io_uring is closed.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: `entries` is page-aligned memory of `count` entries that lives as long as `self`;
        // the plane drops `self` after it has cancelled everything, or leaks it.
        unsafe {
            submitter.register_buf_ring_with_flags(self.entries as u64, self.count, BUFFER_GROUP, 0)
        }
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(
            id < self.count,
            "the kernel names only buffers that it was given"
        );
        let len = len.min(self.buffer_bytes as usize);
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: the range lies inside the mapping, and the kernel does not write to a buffer
        // between the completion that names it and `give_back`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.add(offset), len) }
    }

    /// Hands a buffer back; the kernel sees it at the next [`BufferRing::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < self.count, "only buffers of this ring come back");
        let offset = usize::from(id) * self.buffer_bytes as usize;
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `at` is below `count`; the entry is not the kernel's before the tail passes it.
        // The first entry overlays the tail in its last two bytes, which none of the three setters
        // touches.
        unsafe {
            let entry = &mut *self.entries.add(at);
            entry.set_addr(self.memory.add(offset) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        self.unpublished += 1;
    }

    /// Shows the kernel what was given back; says how many those are.
    pub(super) fn publish(&mut self) -> usize {
        if self.unpublished > 0 {
            // SAFETY: the tail lies inside the first entry, is aligned for a u16, and is only ever
            // accessed atomically: by us here and by the kernel, which reads it.
            let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
            tail.store(self.tail, Ordering::Release);
        }
        usize::from(std::mem::take(&mut self.unpublished))
    }

    /// Memory in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        entries_bytes(self.count) + memory_bytes(self.count, self.buffer_bytes)
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        // SAFETY: both are whole mappings made by `map` with these lengths; the plane has made sure
        // that the kernel uses them no more, or set `leak`.
        unsafe {
            libc::munmap(self.entries.cast(), entries_bytes(self.count));
            libc::munmap(
                self.memory.cast(),
                memory_bytes(self.count, self.buffer_bytes),
            );
        }
    }
}

fn entries_bytes(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}

fn memory_bytes(count: u16, buffer_bytes: u32) -> usize {
    usize::from(count) * buffer_bytes as usize
}

/// Maps zeroed, populated, page-aligned memory: touched at start, so that it counts as the idle
/// broker's.
fn map(bytes: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing
    // that exists.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped.cast())
}
