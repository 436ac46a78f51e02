//! The subscribers of a filter that has more than one on this core.
//!
//! An entry is one word with all that a fan-out needs, so that the walk touches nothing else:
//! the subscription's number (30 bits), the session (27), the options and whether there is a
//! subscription identifier (7). Lists of 2 to 16 live in blocks of 2, 4, 8 or 16 entries cut from
//! shared segments; longer ones in segments of their own.

use super::slab::{Slab, number_of};

/// Words of a segment that small blocks are cut from, and entries of a large list's segment.
const SEGMENT: usize = 4096;
/// Entries of the blocks by class.
const BLOCK: [usize; 4] = [2, 4, 8, 16];
/// The class of lists in segments of their own.
const LARGE: u8 = 4;
/// A large list goes back to a small block at this length, well below the largest block.
const LARGE_MIN: usize = 8;

const SESSION_BITS: u32 = 27;
const FLAG_BITS: u32 = 7;
/// Sessions a core can number (134 million).
pub(super) const SESSIONS_MAX: u32 = 1 << SESSION_BITS;
/// Subscriptions a core can number (a billion, 28 GB of them).
pub(super) const SUBSCRIPTIONS_MAX: u32 = 1 << (64 - SESSION_BITS - FLAG_BITS);

const _: () = assert!(BLOCK[BLOCK.len() - 1] > LARGE_MIN && LARGE as usize == BLOCK.len());

/// One subscriber as a list holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) fn new(subscription: u32, session: u32, flags: u8) -> Self {
        let subscription = u64::from(subscription) << (SESSION_BITS + FLAG_BITS);
        Self(subscription | u64::from(session) << FLAG_BITS | u64::from(flags))
    }

    #[inline]
    pub(super) fn flags(self) -> u8 {
        self.0.to_le_bytes()[0] & ((1 << FLAG_BITS) - 1)
    }

    #[inline]
    pub(super) fn session(self) -> u32 {
        let [a, b, c, d, ..] = (self.0 >> FLAG_BITS).to_le_bytes();
        u32::from_le_bytes([a, b, c, d]) & (SESSIONS_MAX - 1)
    }

    #[inline]
    pub(super) fn subscription(self) -> u32 {
        let [a, b, c, d, ..] = (self.0 >> (SESSION_BITS + FLAG_BITS)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    born: u64,
    len: u32,
    block: u32,
    class: u8,
}

const _: () = assert!(size_of::<List>() == 24);

/// Blocks of one size.
#[derive(Debug, Default)]
struct Blocks {
    segments: Vec<Box<[Entry]>>,
    used: usize,
    free: Vec<u32>,
}

impl Blocks {
    fn allocate(&mut self, size: usize) -> u32 {
        if let Some(block) = self.free.pop() {
            return block;
        }
        let per_segment = SEGMENT / size;
        if self.used == self.segments.len() * per_segment {
            self.segments
                .push(vec![Entry(0); SEGMENT].into_boxed_slice());
        }
        self.used += 1;
        number_of(self.used - 1)
    }

    #[inline]
    fn block(&self, block: u32, size: usize) -> &[Entry] {
        let start = block as usize * size;
        &self.segments[start / SEGMENT][start % SEGMENT..][..size]
    }

    fn block_mut(&mut self, block: u32, size: usize) -> &mut [Entry] {
        let start = block as usize * size;
        &mut self.segments[start / SEGMENT][start % SEGMENT..][..size]
    }

    fn bytes(&self) -> usize {
        self.segments.len() * SEGMENT * 8 + self.free.capacity() * 4
    }
}

/// All lists of a core.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: Slab<List>,
    small: [Blocks; BLOCK.len()],
    large: Vec<Vec<Vec<Entry>>>,
    large_free: Vec<u32>,
}

/// A list's entries: one slice, and the segments after it.
pub(super) type Slices<'a> = (&'a [Entry], &'a [Vec<Entry>]);

impl Lists {
    /// A list of two.
    pub(super) fn create(&mut self, born: u64, entries: [Entry; 2]) -> u32 {
        let block = self.small[0].allocate(BLOCK[0]);
        self.small[0]
            .block_mut(block, BLOCK[0])
            .copy_from_slice(&entries);
        self.lists.insert(List {
            born,
            len: 2,
            block,
            class: 0,
        })
    }

    pub(super) fn born(&self, list: u32) -> u64 {
        self.lists.get(list).born
    }

    pub(super) fn len(&self, list: u32) -> usize {
        self.lists.get(list).len as usize
    }

    #[inline]
    pub(super) fn entries(&self, list: u32) -> Slices<'_> {
        let list = self.lists.get(list);
        if list.class == LARGE {
            return (&[], &self.large[list.block as usize]);
        }
        let class = usize::from(list.class);
        let block = self.small[class].block(list.block, BLOCK[class]);
        (&block[..list.len as usize], &[])
    }

    /// Replaces the entry at a position.
    pub(super) fn set(&mut self, list: u32, at: u32, entry: Entry) {
        let list = *self.lists.get(list);
        *self.slot(list, at as usize) = entry;
    }

    fn slot(&mut self, list: List, at: usize) -> &mut Entry {
        if list.class == LARGE {
            return &mut self.large[list.block as usize][at / SEGMENT][at % SEGMENT];
        }
        let class = usize::from(list.class);
        &mut self.small[class].block_mut(list.block, BLOCK[class])[at]
    }

    /// Appends an entry and returns its position.
    pub(super) fn push(&mut self, number: u32, entry: Entry) -> u32 {
        let mut list = *self.lists.get(number);
        let at = list.len;
        let block_len = BLOCK.get(usize::from(list.class));
        if block_len.is_some_and(|block_len| at as usize == *block_len) {
            list = self.moved(list, list.class + 1);
        }
        if list.class == LARGE {
            push_segmented(&mut self.large[list.block as usize], entry);
        } else {
            *self.slot(list, at as usize) = entry;
        }
        list.len += 1;
        *self.lists.get_mut(number) = list;
        at
    }

    /// Removes the entry at a position; the last one takes its place and is returned if it moved.
    pub(super) fn swap_remove(&mut self, number: u32, at: u32) -> Option<Entry> {
        let mut list = *self.lists.get(number);
        let last_at = list.len - 1;
        let last = *self.slot(list, last_at as usize);
        *self.slot(list, at as usize) = last;
        list.len = last_at;
        if list.class == LARGE {
            pop_segmented(&mut self.large[list.block as usize]);
            if list.len as usize == LARGE_MIN {
                list = self.moved(list, LARGE - 1);
            }
        } else if list.class > 0 && list.len as usize * 4 <= BLOCK[usize::from(list.class)] {
            list = self.moved(list, list.class - 1);
        }
        *self.lists.get_mut(number) = list;
        (at != last_at).then_some(last)
    }

    /// Ends a list and returns when it was born.
    pub(super) fn remove(&mut self, number: u32) -> u64 {
        let list = self.lists.remove(number);
        self.release(list);
        list.born
    }

    /// The same list in a block of another class.
    fn moved(&mut self, list: List, class: u8) -> List {
        let mut entries = [Entry(0); BLOCK[BLOCK.len() - 1]];
        let len = list.len as usize;
        for (at, entry) in entries.iter_mut().enumerate().take(len) {
            *entry = *self.slot(list, at);
        }
        self.release(list);
        let block = if class == LARGE {
            self.allocate_large(&entries[..len])
        } else {
            let (blocks, size) = (
                &mut self.small[usize::from(class)],
                BLOCK[usize::from(class)],
            );
            let block = blocks.allocate(size);
            blocks.block_mut(block, size)[..len].copy_from_slice(&entries[..len]);
            block
        };
        List {
            block,
            class,
            ..list
        }
    }

    fn allocate_large(&mut self, entries: &[Entry]) -> u32 {
        let mut first = Vec::with_capacity(entries.len() * 2);
        first.extend_from_slice(entries);
        if let Some(number) = self.large_free.pop() {
            self.large[number as usize] = vec![first];
            return number;
        }
        self.large.push(vec![first]);
        number_of(self.large.len() - 1)
    }

    fn release(&mut self, list: List) {
        if list.class == LARGE {
            self.large[list.block as usize] = Vec::new();
            self.large_free.push(list.block);
        } else {
            self.small[usize::from(list.class)].free.push(list.block);
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let small: usize = self.small.iter().map(Blocks::bytes).sum();
        let segments = self.large.iter().flatten();
        let large: usize = segments.map(|segment| segment.capacity() * 8).sum();
        let heads = self.large.capacity() * size_of::<Vec<Vec<Entry>>>();
        self.lists.bytes() + small + large + heads
    }
}

fn push_segmented(segments: &mut Vec<Vec<Entry>>, entry: Entry) {
    match segments.last_mut() {
        Some(last) if last.len() < SEGMENT => last.push(entry),
        _ => {
            let mut next = Vec::with_capacity(SEGMENT);
            next.push(entry);
            segments.push(next);
        }
    }
}

fn pop_segmented(segments: &mut Vec<Vec<Entry>>) {
    if let Some(last) = segments.last_mut() {
        last.pop();
        if last.is_empty() {
            segments.pop();
        }
    }
}
