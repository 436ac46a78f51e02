//! From the hash of a text to the index of who owns the text.
//!
//! The texts lie elsewhere; an entry is half the hash and an index, so growing never touches them.
//! Spread over segments that grow one at a time.

use hashbrown::HashTable;

use crate::base::limits::RETAINED_TABLE_SEGMENTS;

pub(super) struct TextTable {
    segments: Box<[HashTable<Entry>]>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    index: u32,
}

const SEGMENT_SHIFT: u32 = u32::BITS - RETAINED_TABLE_SEGMENTS.trailing_zeros();

impl TextTable {
    /// Bytes of one entry.
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

    pub(super) fn new() -> Self {
        Self {
            segments: (0..RETAINED_TABLE_SEGMENTS)
                .map(|_| HashTable::new())
                .collect(),
        }
    }

    /// The index under this hash whose owner says that the text is its own.
    pub(super) fn find(&self, hash: u64, owns: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = kept(hash);
        self.segments[segment_of(hash)]
            .find(spread(hash), |entry| {
                entry.hash == hash && owns(entry.index)
            })
            .map(|entry| entry.index)
    }

    /// Adds an index that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, index: u32) {
        let hash = kept(hash);
        self.segments[segment_of(hash)].insert_unique(
            spread(hash),
            Entry { hash, index },
            |entry| spread(entry.hash),
        );
    }

    pub(super) fn remove(&mut self, hash: u64, index: u32) {
        let hash = kept(hash);
        let found =
            self.segments[segment_of(hash)].find_entry(spread(hash), |entry| entry.index == index);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| size_of_val(segment) + segment.allocation_size())
            .sum()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half the hash is kept")]
fn kept(hash: u64) -> u32 {
    hash as u32
}

fn segment_of(hash: u32) -> usize {
    (hash >> SEGMENT_SHIFT) as usize
}

/// The table wants its entropy in the top and in the low bits of 64.
fn spread(hash: u32) -> u64 {
    let product = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
