//! A table that hands out small integers instead of pointers.
//!
//! Connections, sessions and the like are named by a `u32` index that fits into a completion's user
//! data. An index is used again after its entry is gone, so whoever keeps one across turns keeps a
//! [`Key`]: index and generation. The generation of a place goes up when its entry is removed, and
//! a key of an earlier tenant finds nothing.
//!
//! Entries lie in segments that are allocated one at a time and never move: a table of a million
//! entries grows without a pause and without a peak in memory. A vacant place holds its generation
//! and the link of the free list where the entry would be, so a place costs at most 8 bytes beside
//! its entry (for entries aligned to 8 or less). Segments are kept once allocated.

use std::fmt;

use crate::base::limits::SLAB_SEGMENT_ENTRIES;

/// Names one entry for as long as it exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Place in the table.
    pub index: u32,
    /// Which tenant of that place; never 0.
    pub generation: u32,
}

impl Key {
    /// As one word, for user data and timer keys; never 0 for a key that a slab gave out.
    pub fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// From what [`Self::pack`] gave.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the word is split into its halves"
    )]
    pub fn unpack(word: u64) -> Self {
        Self {
            index: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}

/// A segmented table of one core. See the module.
pub struct Slab<T> {
    /// All segments but the last are full of places; none ever grows beyond its first allocation.
    segments: Vec<Vec<Place<T>>>,
    /// Head of the free list, last in first out, or [`NONE`].
    free_head: u32,
    /// Places ever used: vacant and occupied ones.
    places: u32,
    /// Occupied places.
    len: u32,
    /// Most entries at one time.
    limit: u32,
}

enum Place<T> {
    Vacant { generation: u32, next_free: u32 },
    Occupied { generation: u32, entry: T },
}

/// End of the free list.
const NONE: u32 = u32::MAX;
const SEGMENT_SHIFT: u32 = SLAB_SEGMENT_ENTRIES.trailing_zeros();
const SEGMENT_MASK: u32 = (1 << SEGMENT_SHIFT) - 1;

const _: () = assert!(size_of::<Place<u64>>() <= 8 + 8);
const _: () = assert!(size_of::<Place<[u64; 12]>>() <= 96 + 8);
const _: () = assert!(size_of::<Place<u32>>() <= 4 + 8);
const _: () = assert!(size_of::<Place<Box<u64>>>() <= 8 + 8);

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::with_limit(NONE)
    }
}

impl<T> Slab<T> {
    /// An empty table that holds at most `limit` entries. Allocates nothing yet.
    pub fn with_limit(limit: u32) -> Self {
        Self {
            segments: Vec::new(),
            free_head: NONE,
            places: 0,
            len: 0,
            limit,
        }
    }

    /// Adds an entry; the place freed last is used first.
    ///
    /// # Panics
    /// When the table is full: ask [`Self::is_full`] first, or use [`Self::try_insert`].
    pub fn insert(&mut self, entry: T) -> Key {
        let Ok(key) = self.try_insert(entry) else {
            panic!("the caller looks whether the slab is full before it inserts");
        };
        key
    }

    /// Adds an entry, or gives it back when the table is full.
    ///
    /// # Errors
    /// The entry, when the table holds its limit.
    pub fn try_insert(&mut self, entry: T) -> Result<Key, T> {
        if self.is_full() {
            return Err(entry);
        }
        self.len += 1;
        let index = self.free_head;
        if index == NONE {
            return Ok(self.append(entry));
        }
        let place = self
            .place_mut(index)
            .expect("the free list names places that exist");
        let Place::Vacant {
            generation,
            next_free,
        } = *place
        else {
            panic!("the free list names vacant places only");
        };
        *place = Place::Occupied { generation, entry };
        self.free_head = next_free;
        Ok(Key { index, generation })
    }

    /// The index that the next [`Self::insert`] will use.
    pub fn vacant_index(&self) -> u32 {
        if self.free_head == NONE {
            self.places
        } else {
            self.free_head
        }
    }

    /// The entry of a key, unless it was removed.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.place(key.index)? {
            Place::Occupied { generation, entry } if *generation == key.generation => Some(entry),
            _ => None,
        }
    }

    /// The entry of a key, unless it was removed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.place_mut(key.index)? {
            Place::Occupied { generation, entry } if *generation == key.generation => Some(entry),
            _ => None,
        }
    }

    /// Whatever entry is at this place now.
    pub fn at(&self, index: u32) -> Option<&T> {
        match self.place(index)? {
            Place::Occupied { entry, .. } => Some(entry),
            Place::Vacant { .. } => None,
        }
    }

    /// Whatever entry is at this place now.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.place_mut(index)? {
            Place::Occupied { entry, .. } => Some(entry),
            Place::Vacant { .. } => None,
        }
    }

    /// Generation of the entry at this place, or of the next one when it is vacant; nothing for a
    /// place that was never used.
    pub fn generation(&self, index: u32) -> Option<u32> {
        self.place(index).map(Place::generation)
    }

    /// The key of the entry at this place.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        match self.place(index)? {
            Place::Occupied { generation, .. } => Some(Key {
                index,
                generation: *generation,
            }),
            Place::Vacant { .. } => None,
        }
    }

    /// Whether the key's entry exists.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Takes out the entry of a key; every copy of the key is void from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        if self.contains(key) {
            self.remove_at(key.index)
        } else {
            None
        }
    }

    /// Takes out whatever entry is at this place.
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        let next_free = self.free_head;
        let place = self.place_mut(index)?;
        let Place::Occupied { generation, .. } = *place else {
            return None;
        };
        let vacant = Place::Vacant {
            generation: next_generation(generation),
            next_free,
        };
        let Place::Occupied { entry, .. } = std::mem::replace(place, vacant) else {
            panic!("the place was occupied a line above");
        };
        self.free_head = index;
        self.len -= 1;
        Some(entry)
    }

    /// Entries.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the table holds as many entries as it may.
    pub fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Most entries the table may hold.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Entries that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.segments.len() * SLAB_SEGMENT_ENTRIES
    }

    /// Every index given out so far is below this.
    pub fn index_bound(&self) -> u32 {
        self.places
    }

    /// Bytes allocated by the table itself, not by what its entries own.
    pub fn bytes(&self) -> usize {
        self.segments.capacity() * size_of::<Vec<Place<T>>>()
            + self.capacity() * size_of::<Place<T>>()
    }

    /// All entries, in order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.iter_from(0)
    }

    /// The entries from this index on. A page that must stop after so many *places*, vacant ones
    /// included, uses [`Self::iter_range`].
    pub fn iter_from(&self, index: u32) -> impl Iterator<Item = (Key, &T)> {
        self.iter_range(index, self.places)
    }

    /// The entries whose index is at least `from` and below `to`: work bounded by `to - from`.
    pub fn iter_range(&self, from: u32, to: u32) -> impl Iterator<Item = (Key, &T)> {
        (from..to.min(self.places)).filter_map(|index| match self.place(index)? {
            Place::Occupied { generation, entry } => Some((
                Key {
                    index,
                    generation: *generation,
                },
                entry,
            )),
            Place::Vacant { .. } => None,
        })
    }

    /// A place never used before.
    fn append(&mut self, entry: T) -> Key {
        let index = self.places;
        assert!(
            index != NONE,
            "a slab holds fewer entries than a u32 has values"
        );
        if index & SEGMENT_MASK == 0 {
            self.segments.push(Vec::with_capacity(SLAB_SEGMENT_ENTRIES));
        }
        let segment = self
            .segments
            .last_mut()
            .expect("a segment was pushed for its first place");
        let generation = 1;
        segment.push(Place::Occupied { generation, entry });
        self.places += 1;
        Key { index, generation }
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        self.segments
            .get((index >> SEGMENT_SHIFT) as usize)?
            .get((index & SEGMENT_MASK) as usize)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.segments
            .get_mut((index >> SEGMENT_SHIFT) as usize)?
            .get_mut((index & SEGMENT_MASK) as usize)
    }
}

impl<T> Place<T> {
    fn generation(&self) -> u32 {
        match *self {
            Self::Vacant { generation, .. } | Self::Occupied { generation, .. } => generation,
        }
    }
}

/// Leaves out 0, so that a packed key is never 0.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_finds_its_own_entry_only() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.vacant_index(), first.index);
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_ne!(second.generation, first.generation);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.at(second.index), Some(&"second"));
        assert_eq!(Key::unpack(second.pack()), second);
    }

    #[test]
    fn generations_skip_zero() {
        assert_eq!(next_generation(u32::MAX), 1);
    }

    #[test]
    fn the_limit_holds() {
        let mut slab = Slab::with_limit(2);
        let key = slab.insert(1);
        slab.insert(2);
        assert!(slab.is_full());
        assert_eq!(slab.try_insert(3), Err(3));
        slab.remove(key);
        assert!(slab.try_insert(3).is_ok());
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn segments_are_added_one_at_a_time() {
        let mut slab = Slab::default();
        let count = 3 * SLAB_SEGMENT_ENTRIES + 1;
        for n in 0..count {
            slab.insert(n as u64);
        }
        assert_eq!(slab.capacity(), 4 * SLAB_SEGMENT_ENTRIES);
        assert!(slab.bytes() <= slab.capacity() * 16 + 4 * 24);
        assert_eq!(slab.iter_range(1000, 1030).count(), 30);
        assert_eq!(slab.iter_from(3000).count(), count - 3000);
        assert_eq!(slab.at(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u8..4, any::<u16>()), 1..400)) {
            let mut slab = Slab::default();
            let mut model: BTreeMap<Key, u16> = BTreeMap::new();
            let mut removed = Vec::new();
            for (what, number) in steps {
                if what < 2 || model.is_empty() {
                    let expected_index = slab.vacant_index();
                    let key = slab.insert(number);
                    prop_assert_eq!(key.index, expected_index);
                    prop_assert!(key.pack() != 0);
                    prop_assert!(model.insert(key, number).is_none());
                } else {
                    let nth = usize::from(number) % model.len();
                    let key = *model.keys().nth(nth).unwrap();
                    let entry = if what == 2 { slab.remove(key) } else { slab.remove_at(key.index) };
                    prop_assert_eq!(entry, model.remove(&key));
                    removed.push(key);
                }
                prop_assert_eq!(slab.len() as usize, model.len());
            }
            for key in removed {
                prop_assert_eq!(slab.get(key), None);
                prop_assert_eq!(slab.remove(key), None);
            }
            let seen: BTreeMap<Key, u16> = slab.iter().map(|(key, entry)| (key, *entry)).collect();
            prop_assert_eq!(&seen, &model);
            for (key, entry) in &mut model {
                prop_assert_eq!(slab.key_at(key.index), Some(*key));
                prop_assert_eq!(slab.generation(key.index), Some(key.generation));
                prop_assert_eq!(slab.get_mut(*key), Some(entry));
            }
        }
    }
}
