//! A sorted map from `u32` for sets that are mostly tiny and sometimes huge.
//!
//! Sorted, not hashed, because a replay that was paused goes on "after this one" whatever was put
//! in or taken out meanwhile.

use std::collections::BTreeMap;

use crate::base::limits::RETAINED_CHILDREN_IN_VECTOR;

/// 16 bytes while it holds at most one entry.
pub(super) enum IdMap<V> {
    Empty,
    One(u32, V),
    #[expect(
        clippy::box_collection,
        reason = "keeps the map of most nodes at 16 bytes"
    )]
    Few(Box<Vec<(u32, V)>>),
    #[expect(
        clippy::box_collection,
        reason = "keeps the map of most nodes at 16 bytes"
    )]
    Many(Box<BTreeMap<u32, V>>),
}

const _: () = assert!(size_of::<IdMap<u32>>() == 16 && size_of::<IdMap<()>>() == 16);

/// Bytes of a B-tree beside each entry's own: nodes filled to about two thirds, links, heads.
const TREE_OVERHEAD_BYTES: usize = 8;

impl<V: Copy> IdMap<V> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Few(entries) => entries.len(),
            Self::Many(entries) => entries.len(),
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<V> {
        match self {
            Self::Empty => None,
            Self::One(only, value) => (*only == id).then_some(*value),
            Self::Few(entries) => entries
                .binary_search_by_key(&id, |entry| entry.0)
                .ok()
                .map(|at| entries[at].1),
            Self::Many(entries) => entries.get(&id).copied(),
        }
    }

    /// The entry with the least id that is not below `bound`.
    pub(super) fn first_from(&self, bound: u32) -> Option<(u32, V)> {
        match self {
            Self::Empty => None,
            Self::One(only, value) => (*only >= bound).then_some((*only, *value)),
            Self::Few(entries) => entries
                .get(entries.partition_point(|entry| entry.0 < bound))
                .copied(),
            Self::Many(entries) => entries
                .range(bound..)
                .next()
                .map(|(&id, &value)| (id, value)),
        }
    }

    /// Adds an entry whose id is not there yet.
    pub(super) fn insert(&mut self, id: u32, value: V) {
        match self {
            Self::Empty => *self = Self::One(id, value),
            Self::One(only, first) => {
                let mut entries = vec![(*only, *first), (id, value)];
                entries.sort_unstable_by_key(|entry| entry.0);
                *self = Self::Few(Box::new(entries));
            }
            Self::Few(entries) if entries.len() < RETAINED_CHILDREN_IN_VECTOR => {
                entries.insert(entries.partition_point(|entry| entry.0 < id), (id, value));
            }
            Self::Few(entries) => {
                let mut tree: BTreeMap<u32, V> = entries.drain(..).collect();
                tree.insert(id, value);
                *self = Self::Many(Box::new(tree));
            }
            Self::Many(entries) => {
                entries.insert(id, value);
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        match self {
            Self::Empty => {}
            Self::One(only, _) => {
                if *only == id {
                    *self = Self::Empty;
                }
            }
            Self::Few(entries) => {
                entries.retain(|entry| entry.0 != id);
                if let [(only, value)] = entries[..] {
                    *self = Self::One(only, value);
                }
            }
            Self::Many(entries) => {
                entries.remove(&id);
                // Half the way up, so that one entry coming and going does not convert each time.
                if entries.len() <= RETAINED_CHILDREN_IN_VECTOR / 2 {
                    let few = entries.iter().map(|(&id, &value)| (id, value)).collect();
                    *self = Self::Few(Box::new(few));
                }
            }
        }
    }

    /// Bytes allocated; an estimate for the B-tree.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::One(..) => 0,
            Self::Few(entries) => {
                size_of::<Vec<(u32, V)>>() + entries.capacity() * size_of::<(u32, V)>()
            }
            Self::Many(entries) => {
                entries.len() * (size_of::<(u32, V)>() * 3 / 2 + TREE_OVERHEAD_BYTES / 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_tree(steps in prop::collection::vec((any::<bool>(), 0u32..60), 1..300)) {
            let mut map = IdMap::Empty;
            let mut model = BTreeMap::new();
            for (insert, id) in steps {
                if !insert {
                    map.remove(id);
                    model.remove(&id);
                } else if map.get(id).is_none() {
                    map.insert(id, id * 2);
                    model.insert(id, id * 2);
                }
                prop_assert_eq!(map.len(), model.len());
                for bound in 0..61 {
                    prop_assert_eq!(map.get(bound), model.get(&bound).copied());
                    let first = model.range(bound..).next().map(|(&id, &value)| (id, value));
                    prop_assert_eq!(map.first_from(bound), first);
                }
            }
        }
    }
}
