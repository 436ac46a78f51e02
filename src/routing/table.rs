//! A hash table that one writer changes in place while readers read it.
//!
//! 256 segments by the top 8 bits of the hash, each an open-addressing array of slots
//! `hash32 << 32 | address`; 0 is empty, 1 a tombstone. A segment's array is found through one
//! word, `log2(slots) << 32 | address`, and is replaced as a whole when it fills up: growth stalls
//! the writer for one segment only, and readers never.
//!
//! A stable entry is never missed: all slots between its home and its place stay non-empty while it
//! lives. An insert takes the first tombstone on its path (so one flapping entry does not lengthen
//! the chain), and a tombstone becomes empty only when its follower is empty, which no path can
//! cross. A reader with the old array of a swapped segment sees the state before the swap.

use super::arena::{Address, Arena};
use super::memory::{IndexFull, Kind, Memory};
use crate::base::atomic::{AtomicU64, Ordering};

/// Segments of a table (one in the models, which have few words).
pub(super) const SEGMENTS: usize = if cfg!(loom) { 1 } else { 256 };
/// Slots of a segment's first array.
const SLOTS_MIN: u32 = if cfg!(loom) { 4 } else { 8 };

const EMPTY: u64 = 0;
const TOMBSTONE: u64 = 1;

/// The shared part: what readers start from.
#[derive(Debug)]
pub(super) struct Table {
    segments: [AtomicU64; SEGMENTS],
}

/// The writer's part.
#[derive(Debug)]
pub(super) struct TableCounts {
    live: [u32; SEGMENTS],
    tombstones: [u32; SEGMENTS],
}

/// One segment's array as a word of [`Table::segments`] names it.
#[derive(Clone, Copy)]
struct Array {
    address: Address,
    log2: u32,
}

impl Array {
    #[inline]
    fn from_word(word: u64) -> Self {
        let [a, b, c, d, log2, ..] = word.to_le_bytes();
        Self {
            address: u32::from_le_bytes([a, b, c, d]),
            log2: u32::from(log2),
        }
    }

    fn word(self) -> u64 {
        u64::from(self.log2) << 32 | u64::from(self.address)
    }

    #[inline]
    fn slots(self, arena: &Arena) -> &[AtomicU64] {
        let start = self.address as usize;
        &arena.words()[start..start + (1 << self.log2)]
    }
}

#[inline]
fn segment_of(hash: u64) -> usize {
    (hash >> 56) as usize % SEGMENTS
}

/// The part of the hash that a slot carries.
#[inline]
fn slot_hash(hash: u64) -> u64 {
    hash & 0xffff_ffff
}

/// The address in a slot.
#[inline]
fn slot_address(slot: u64) -> Address {
    let [a, b, c, d, ..] = slot.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Where the probing for a slot hash begins, and how it goes on (`& mask`).
#[inline]
fn home(slot_hash: u64, mask: usize) -> usize {
    usize::try_from(slot_hash).unwrap_or(0) & mask
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            segments: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The entry with this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(
        &self,
        arena: &Arena,
        hash: u64,
        mut is_it: impl FnMut(Address) -> bool,
    ) -> Option<Address> {
        // Acquire: the array's content was written before its word.
        let word = self.segments[segment_of(hash)].load(Ordering::Acquire);
        if word == 0 {
            return None;
        }
        let slots = Array::from_word(word).slots(arena);
        let mask = slots.len() - 1;
        let wanted = slot_hash(hash);
        let mut at = home(wanted, mask);
        // There is always an empty slot; the bound keeps a broken array from hanging a core.
        for _ in 0..=mask {
            // Acquire: the node was written before its slot.
            let slot = slots[at].load(Ordering::Acquire);
            if slot == EMPTY {
                return None;
            }
            if slot >> 32 == wanted && slot != TOMBSTONE && is_it(slot_address(slot)) {
                return Some(slot_address(slot));
            }
            at = (at + 1) & mask;
        }
        None
    }
}

impl Table {
    /// The address in the slot where the probing for this hash begins (0 or 1 if there is none):
    /// to bring its cache line near.
    #[inline]
    pub(super) fn peek(&self, arena: &Arena, hash: u64) -> Address {
        let word = self.segments[segment_of(hash)].load(Ordering::Acquire);
        if word == 0 {
            return 0;
        }
        let slots = Array::from_word(word).slots(arena);
        slot_address(slots[home(slot_hash(hash), slots.len() - 1)].load(Ordering::Relaxed))
    }
}

impl TableCounts {
    pub(super) fn new() -> Self {
        Self {
            live: [0; SEGMENTS],
            tombstones: [0; SEGMENTS],
        }
    }

    /// Links an entry, which must not be in the table. On an error nothing has changed.
    pub(super) fn insert(
        &mut self,
        table: &Table,
        memory: &mut Memory,
        hash: u64,
        address: Address,
    ) -> Result<(), IndexFull> {
        let segment = segment_of(hash);
        self.make_room(table, memory, segment)?;
        let array = Array::from_word(table.segments[segment].load(Ordering::Relaxed));
        let slots = array.slots(memory.arena());
        let mask = slots.len() - 1;
        let mut at = home(slot_hash(hash), mask);
        loop {
            let slot = slots[at].load(Ordering::Relaxed);
            if slot == EMPTY || slot == TOMBSTONE {
                self.tombstones[segment] -= u32::from(slot == TOMBSTONE);
                break;
            }
            at = (at + 1) & mask;
        }
        let slot = slot_hash(hash) << 32 | u64::from(address);
        slots[at].store(slot, Ordering::Release);
        self.live[segment] += 1;
        Ok(())
    }

    /// Unlinks an entry. Returns whether it was there.
    pub(super) fn remove(
        &mut self,
        table: &Table,
        memory: &mut Memory,
        hash: u64,
        address: Address,
    ) -> bool {
        let segment = segment_of(hash);
        let word = table.segments[segment].load(Ordering::Relaxed);
        if word == 0 {
            return false;
        }
        let slots = Array::from_word(word).slots(memory.arena());
        let Some(at) = position(slots, slot_hash(hash) << 32 | u64::from(address)) else {
            return false;
        };
        self.live[segment] -= 1;
        self.clear(segment, slots, at);
        let (live, len) = (self.live[segment] as usize, slots.len());
        if live * 8 < len && len > SLOTS_MIN as usize {
            // A smaller array is a convenience: without memory the large one stays.
            let _ = self.rebuild(table, memory, segment);
        }
        true
    }

    /// Empties a slot: at once with the tombstones before it where its follower is empty.
    fn clear(&mut self, segment: usize, slots: &[AtomicU64], mut at: usize) {
        let mask = slots.len() - 1;
        if slots[(at + 1) & mask].load(Ordering::Relaxed) != EMPTY {
            slots[at].store(TOMBSTONE, Ordering::Release);
            self.tombstones[segment] += 1;
            return;
        }
        slots[at].store(EMPTY, Ordering::Release);
        loop {
            at = at.wrapping_sub(1) & mask;
            if slots[at].load(Ordering::Relaxed) != TOMBSTONE {
                return;
            }
            slots[at].store(EMPTY, Ordering::Release);
            self.tombstones[segment] -= 1;
        }
    }

    /// Keeps a quarter of the slots empty.
    fn make_room(
        &mut self,
        table: &Table,
        memory: &mut Memory,
        segment: usize,
    ) -> Result<(), IndexFull> {
        let word = table.segments[segment].load(Ordering::Relaxed);
        let used = self.live[segment] + self.tombstones[segment];
        let enough = word != 0 && {
            let slots = 1u64 << Array::from_word(word).log2;
            (u64::from(used) + 1) * 4 <= slots * 3
        };
        if enough {
            return Ok(());
        }
        self.rebuild(table, memory, segment)
    }

    /// Replaces a segment's array by one without tombstones, a quarter to half full. The slots
    /// carry what is needed; the nodes are not touched.
    fn rebuild(
        &mut self,
        table: &Table,
        memory: &mut Memory,
        segment: usize,
    ) -> Result<(), IndexFull> {
        let slots = (self.live[segment] * 2).next_power_of_two().max(SLOTS_MIN);
        let array = Array {
            address: memory.allocate_zeroed(Kind::Slots, slots as usize)?,
            log2: slots.trailing_zeros(),
        };
        let word = table.segments[segment].load(Ordering::Relaxed);
        if word != 0 {
            let old = Array::from_word(word);
            copy_live(old.slots(memory.arena()), array.slots(memory.arena()));
            memory.retire(Kind::Slots, old.address, 1 << old.log2);
        }
        self.tombstones[segment] = 0;
        table.segments[segment].store(array.word(), Ordering::Release);
        Ok(())
    }

    /// Entries in the table.
    pub(super) fn len(&self) -> usize {
        self.live.iter().map(|live| *live as usize).sum()
    }
}

/// Where a slot's value stands.
fn position(slots: &[AtomicU64], value: u64) -> Option<usize> {
    let mask = slots.len() - 1;
    let mut at = home(value >> 32, mask);
    for _ in 0..=mask {
        let slot = slots[at].load(Ordering::Relaxed);
        if slot == value {
            return Some(at);
        }
        if slot == EMPTY {
            return None;
        }
        at = (at + 1) & mask;
    }
    None
}

fn copy_live(from: &[AtomicU64], to: &[AtomicU64]) {
    let mask = to.len() - 1;
    for slot in from.iter().map(|slot| slot.load(Ordering::Relaxed)) {
        if slot == EMPTY || slot == TOMBSTONE {
            continue;
        }
        let mut at = home(slot >> 32, mask);
        while to[at].load(Ordering::Relaxed) != EMPTY {
            at = (at + 1) & mask;
        }
        to[at].store(slot, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::routing::hash::mix;
    use std::sync::Arc;

    fn table() -> (Table, TableCounts, Memory) {
        let memory = Memory::new(Arc::new(Arena::reserve().unwrap()));
        (Table::new(), TableCounts::new(), memory)
    }

    #[test]
    fn a_flapping_entry_does_not_lengthen_its_chain() {
        let (table, mut counts, mut memory) = table();
        for address in 10..14 {
            counts.insert(&table, &mut memory, 5, address).unwrap();
        }
        let bytes = memory.bytes().slots;
        for _ in 0..10_000 {
            assert!(counts.remove(&table, &mut memory, 5, 11));
            assert!(counts.tombstones[0] <= 1);
            counts.insert(&table, &mut memory, 5, 11).unwrap();
            assert_eq!(counts.tombstones[0], 0);
        }
        assert_eq!(memory.bytes().slots, bytes);
        assert_eq!(memory.retired_len(), 0);
    }

    #[test]
    fn tombstones_before_an_empty_slot_become_empty() {
        let (table, mut counts, mut memory) = table();
        for address in 10..15 {
            counts.insert(&table, &mut memory, 7, address).unwrap();
        }
        for address in 11..14 {
            counts.remove(&table, &mut memory, 7, address);
        }
        assert_eq!(counts.tombstones[0], 3);
        counts.remove(&table, &mut memory, 7, 14);
        assert_eq!(counts.tombstones[0], 0);
        assert_eq!(table.find(memory.arena(), 7, |a| a == 10), Some(10));
        assert!(!counts.remove(&table, &mut memory, 7, 14));
    }

    #[test]
    fn a_removed_entry_does_not_hide_those_behind_it() {
        let (table, mut counts, mut memory) = table();
        for address in 10..15 {
            counts.insert(&table, &mut memory, 3, address).unwrap();
        }
        for gone in 10..14 {
            assert!(counts.remove(&table, &mut memory, 3, gone));
            for address in 10..15 {
                let found = table.find(memory.arena(), 3, |a| a == address);
                assert_eq!(found.is_some(), address > gone);
            }
        }
    }

    #[test]
    fn a_table_grows_and_shrinks_with_its_entries() {
        let (table, mut counts, mut memory) = table();
        let hash = |address: u32| mix(u64::from(address));
        let addresses = 2..if cfg!(miri) { 2_000 } else { 100_000 };
        for address in addresses.clone() {
            counts
                .insert(&table, &mut memory, hash(address), address)
                .unwrap();
        }
        let full = memory.bytes().slots;
        assert!(full / counts.len() <= 22, "{full} bytes of slots");
        for address in addresses.clone() {
            let found = table.find(memory.arena(), hash(address), |a| a == address);
            assert_eq!(found, Some(address));
        }
        for address in addresses {
            assert!(counts.remove(&table, &mut memory, hash(address), address));
        }
        assert_eq!(counts.len(), 0);
        assert!(memory.bytes().slots <= SEGMENTS * 8 * 16);
    }
}
