//! The writer's side of the arena: blocks handed out, retired, and freed after the grace period.
//!
//! Small blocks grow from the bottom of the arena and are kept in one free list a size (linked
//! through their first words; nobody reads a free block). Large ones (a page and more: slot arrays
//! and very long filters) are whole pages from the top; when freed their pages go back to the
//! system and only address space stays reserved. Blocks are not split or joined: what one size
//! used at its peak stays with that size.

use std::collections::VecDeque;
use std::sync::Arc;

use super::arena::{Address, Arena, zero};
use crate::base::atomic::Ordering;
use crate::base::ids::Epoch;

/// Up to this many words each size has its own free list (1 KiB; nearly all filters).
const WORDS_EXACT_MAX: usize = 128;
/// Between that and a page, sizes are rounded up to this many words.
const WORDS_STEP: usize = 32;
/// Words of a page (4 KiB).
const WORDS_PAGE: usize = 512;
/// Free lists of small blocks.
const SMALL_LISTS: usize = WORDS_EXACT_MAX + 1 + (WORDS_PAGE - WORDS_EXACT_MAX) / WORDS_STEP;
/// Free lists of large blocks: one for each power of two of pages.
const LARGE_LISTS: usize = 23;
/// The arena's first words are never handed out: addresses 0 and 1 mean empty and tombstone.
const ADDRESS_FIRST: Address = 2;

/// Retired blocks at which the index thread should take no more deltas until the readers have
/// passed (16 bytes each, 16 MiB): a core that hangs in a turn must not eat the memory.
pub const RETIRED_BLOCKS_MAX: usize = 1 << 20;

/// The arena, or what was granted of it, is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexFull;

impl std::fmt::Display for IndexFull {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the memory reserved for the subscription index is used up")
    }
}

impl std::error::Error for IndexFull {}

/// What a block is for; the breakdown of the bytes goes by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Filter,
    Slots,
    Shapes,
    Edge,
}

const KINDS: [Kind; 4] = [Kind::Filter, Kind::Slots, Kind::Shapes, Kind::Edge];

/// The index's bytes by what they are used for. Their sum is what the arena has touched, but for
/// pages that were given back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IndexBytes {
    /// Nodes of the live filters.
    pub filters: usize,
    /// Slot arrays of the hash tables.
    pub slots: usize,
    /// Lists of shapes.
    pub shapes: usize,
    /// Edges of the overflow trie.
    pub edges: usize,
    /// Retired, waiting for readers to pass.
    pub retired: usize,
    /// Small blocks that are free for reuse.
    pub free: usize,
}

/// One block waiting for its grace period.
#[derive(Debug)]
struct Retired {
    epoch: Epoch,
    address: Address,
    words: u32,
}

const _: () = assert!(size_of::<Retired>() == 16);

/// The writer's allocator.
#[derive(Debug)]
pub(super) struct Memory {
    arena: Arc<Arena>,
    /// End of the small blocks (words).
    small_end: usize,
    /// Start of the large blocks (words). The arena's end is a page's end.
    large_start: usize,
    small_free: [Address; SMALL_LISTS],
    large_free: [Vec<Address>; LARGE_LISTS],
    retired: VecDeque<Retired>,
    /// The epoch that the batch in work will be.
    batch: Epoch,
    live_words: [usize; KINDS.len()],
    retired_words: usize,
    free_words: usize,
}

impl Memory {
    pub(super) fn new(arena: Arc<Arena>) -> Self {
        Self {
            large_start: arena.words().len(),
            arena,
            small_end: ADDRESS_FIRST as usize,
            small_free: [0; SMALL_LISTS],
            large_free: std::array::from_fn(|_| Vec::new()),
            retired: VecDeque::new(),
            batch: Epoch(1),
            live_words: [0; KINDS.len()],
            retired_words: 0,
            free_words: 0,
        }
    }

    pub(super) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// A block of at least `words` words with undefined content.
    pub(super) fn allocate(&mut self, kind: Kind, words: usize) -> Result<Address, IndexFull> {
        let address = match block_size(words) {
            Size::Small { list, words } => self.allocate_small(list, words)?,
            Size::Large { list, words } => self.allocate_large(list, words)?,
        };
        self.live_words[kind as usize] += block_size(words).words();
        Ok(address)
    }

    /// A block of zeroes.
    pub(super) fn allocate_zeroed(
        &mut self,
        kind: Kind,
        words: usize,
    ) -> Result<Address, IndexFull> {
        let address = self.allocate(kind, words)?;
        // Large blocks are fresh pages, or were discarded.
        if let Size::Small { words, .. } = block_size(words) {
            zero(&self.arena.words()[address as usize..address as usize + words]);
        }
        Ok(address)
    }

    fn allocate_small(&mut self, list: usize, words: usize) -> Result<Address, IndexFull> {
        let head = self.small_free[list];
        if head != 0 {
            let next = self.arena.word(head).load(Ordering::Relaxed);
            self.small_free[list] = u32::try_from(next).unwrap_or(0);
            self.free_words -= words;
            return Ok(head);
        }
        if self.small_end + words > self.large_start {
            return Err(IndexFull);
        }
        let address = u32::try_from(self.small_end).map_err(|_| IndexFull)?;
        self.small_end += words;
        Ok(address)
    }

    fn allocate_large(&mut self, list: usize, words: usize) -> Result<Address, IndexFull> {
        let free = self.large_free.get_mut(list).ok_or(IndexFull)?;
        if let Some(address) = free.pop() {
            return Ok(address);
        }
        if self.small_end + words > self.large_start {
            return Err(IndexFull);
        }
        self.large_start -= words;
        u32::try_from(self.large_start).map_err(|_| IndexFull)
    }

    /// Gives back a block that no reader can have seen.
    pub(super) fn free_unseen(&mut self, kind: Kind, address: Address, words: usize) {
        self.live_words[kind as usize] -= block_size(words).words();
        self.free(address, words);
    }

    /// Gives up a block that was unlinked in this batch: it is freed when every reader has passed.
    pub(super) fn retire(&mut self, kind: Kind, address: Address, words: usize) {
        let block = block_size(words).words();
        self.live_words[kind as usize] -= block;
        self.retired_words += block;
        self.retired.push_back(Retired {
            epoch: self.batch,
            address,
            words: u32::try_from(words).unwrap_or(u32::MAX),
        });
    }

    /// The batch in work has been published as `epoch`.
    pub(super) fn published(&mut self, epoch: Epoch) {
        self.batch = Epoch(epoch.0 + 1);
    }

    /// Frees what was retired up to `oldest`. Returns the number of blocks.
    pub(super) fn reclaim(&mut self, oldest: Epoch) -> usize {
        let before = self.retired.len();
        while let Some(first) = self.retired.front() {
            if first.epoch > oldest {
                break;
            }
            let (address, words) = (first.address, first.words as usize);
            self.retired.pop_front();
            self.retired_words -= block_size(words).words();
            self.free(address, words);
        }
        // After a storm the list gives its memory back.
        if self.retired.is_empty() && self.retired.capacity() > 1 << 12 {
            self.retired.shrink_to(1 << 10);
        }
        before - self.retired.len()
    }

    fn free(&mut self, address: Address, words: usize) {
        match block_size(words) {
            Size::Small { list, words } => {
                let next = u64::from(self.small_free[list]);
                self.arena.word(address).store(next, Ordering::Relaxed);
                self.small_free[list] = address;
                self.free_words += words;
            }
            Size::Large { list, words } => {
                self.arena.discard(address, words);
                self.large_free[list].push(address);
            }
        }
    }

    pub(super) fn retired_len(&self) -> usize {
        self.retired.len()
    }

    pub(super) fn bytes(&self) -> IndexBytes {
        let live = |kind: Kind| self.live_words[kind as usize] * 8;
        IndexBytes {
            filters: live(Kind::Filter),
            slots: live(Kind::Slots),
            shapes: live(Kind::Shapes),
            edges: live(Kind::Edge),
            retired: self.retired_words * 8,
            free: self.free_words * 8,
        }
    }
}

/// The block that serves a number of words: its free list and its real size.
#[derive(Clone, Copy)]
enum Size {
    Small { list: usize, words: usize },
    Large { list: usize, words: usize },
}

impl Size {
    fn words(self) -> usize {
        match self {
            Self::Small { words, .. } | Self::Large { words, .. } => words,
        }
    }
}

fn block_size(words: usize) -> Size {
    if words <= WORDS_EXACT_MAX {
        let words = words.max(1);
        return Size::Small { list: words, words };
    }
    if words < WORDS_PAGE {
        let steps = (words - WORDS_EXACT_MAX).div_ceil(WORDS_STEP);
        let words = WORDS_EXACT_MAX + steps * WORDS_STEP;
        if words < WORDS_PAGE {
            let list = WORDS_EXACT_MAX + steps;
            return Size::Small { list, words };
        }
    }
    let pages = words.div_ceil(WORDS_PAGE).next_power_of_two();
    Size::Large {
        list: pages.trailing_zeros() as usize,
        words: pages * WORDS_PAGE,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(Arc::new(Arena::reserve().unwrap()))
    }

    #[test]
    fn blocks_hold_what_was_asked_for_and_never_overlap() {
        let mut memory = memory();
        let mut blocks = Vec::new();
        for words in [1, 2, 127, 128, 129, 160, 161, 480, 511, 512, 513, 5000] {
            let size = block_size(words).words();
            assert!(size >= words);
            let address = memory.allocate(Kind::Filter, words).unwrap() as usize;
            assert!(address >= ADDRESS_FIRST as usize);
            blocks.push((address, address + size));
        }
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }

    #[test]
    fn a_block_is_reused_only_after_its_epoch() {
        let mut memory = memory();
        for words in [4, 1024] {
            let first = memory.allocate(Kind::Slots, words).unwrap();
            memory.retire(Kind::Slots, first, words);
            let epoch = memory.batch;
            memory.published(epoch);
            assert_eq!(memory.reclaim(Epoch(epoch.0 - 1)), 0);
            let second = memory.allocate(Kind::Slots, words).unwrap();
            assert_ne!(first, second);
            assert_eq!(memory.reclaim(epoch), 1);
            assert_eq!(memory.allocate_zeroed(Kind::Slots, words).unwrap(), first);
            assert_eq!(memory.arena().word(first).load(Ordering::Relaxed), 0);
            assert_eq!(memory.retired_len(), 0);
        }
    }

    #[test]
    fn a_large_block_comes_back_zeroed() {
        let mut memory = memory();
        let first = memory.allocate_zeroed(Kind::Slots, 600).unwrap();
        memory.arena().word(first + 599).store(9, Ordering::Relaxed);
        memory.free_unseen(Kind::Slots, first, 600);
        assert_eq!(memory.bytes(), IndexBytes::default());
        assert_eq!(memory.allocate_zeroed(Kind::Slots, 700).unwrap(), first);
        assert_eq!(memory.arena().word(first + 599).load(Ordering::Relaxed), 0);
    }
}
