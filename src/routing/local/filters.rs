//! Filter id -> where its subscribers are. 64 hash tables, so that growth moves a 64th at a time.

use hashbrown::HashTable;

use crate::base::ids::FilterId;

const SEGMENTS: usize = 64;
/// Below this capacity a table is not worth shrinking.
const SHRINK_MIN: usize = 64;

const LIST: u32 = 1 << 31;

/// The subscribers of a filter: one, or a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head {
    One(u32),
    List(u32),
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    filter: u32,
    head: u32,
}

impl Slot {
    fn new(filter: FilterId, head: Head) -> Self {
        let head = match head {
            Head::One(subscription) => subscription,
            Head::List(list) => list | LIST,
        };
        Self {
            filter: filter.0,
            head,
        }
    }

    fn head(self) -> Head {
        if self.head & LIST == 0 {
            Head::One(self.head)
        } else {
            Head::List(self.head & !LIST)
        }
    }
}

/// The map.
#[derive(Debug)]
pub(super) struct Filters {
    segments: Box<[HashTable<Slot>]>,
    len: usize,
}

/// Ids are addresses that our allocator chose, so no seed is needed; but they are multiples of
/// block sizes and must be spread.
#[inline]
fn hash_of(filter: u32) -> u64 {
    let spread = u64::from(filter).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ spread >> 32
}

#[inline]
fn segment_of(hash: u64) -> usize {
    (hash >> 48) as usize % SEGMENTS
}

impl Filters {
    pub(super) fn new() -> Self {
        Self {
            segments: (0..SEGMENTS).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, filter: FilterId) -> Option<Head> {
        let hash = hash_of(filter.0);
        let segment = &self.segments[segment_of(hash)];
        let slot = segment.find(hash, |slot| slot.filter == filter.0);
        slot.map(|slot| slot.head())
    }

    pub(super) fn set(&mut self, filter: FilterId, head: Head) {
        let hash = hash_of(filter.0);
        let segment = &mut self.segments[segment_of(hash)];
        let new = Slot::new(filter, head);
        if let Some(slot) = segment.find_mut(hash, |slot| slot.filter == filter.0) {
            *slot = new;
            return;
        }
        segment.insert_unique(hash, new, |slot| hash_of(slot.filter));
        self.len += 1;
    }

    pub(super) fn remove(&mut self, filter: FilterId) {
        let hash = hash_of(filter.0);
        let segment = &mut self.segments[segment_of(hash)];
        let Ok(entry) = segment.find_entry(hash, |slot| slot.filter == filter.0) else {
            return;
        };
        entry.remove();
        self.len -= 1;
        if segment.capacity() > SHRINK_MIN && segment.len() * 8 < segment.capacity() {
            segment.shrink_to(segment.len() * 2, |slot| hash_of(slot.filter));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.segments.iter().map(HashTable::allocation_size).sum()
    }
}
