//! The latest removals, by the hash of their topic.
//!
//! Two cores' messages for one topic may arrive in the wrong order: the clearing one first, then the
//! older one that it should have cleared. A stored message is protected by its version; where
//! nothing is stored, this memory says what was removed. One place a hash, and a later removal takes
//! the place of an earlier one: what is forgotten is at worst an order that two publishers could
//! have had as well.

use crate::base::limits::{RETAINED_REMOVALS_REMEMBERED, RETAINED_REORDER_US_MAX};

use super::Version;

#[derive(Default)]
pub(super) struct Removals {
    /// Empty until there is a removal.
    places: Vec<Removal>,
}

#[derive(Clone, Copy, Default)]
struct Removal {
    topic_hash: u64,
    version: Version,
}

impl Removals {
    pub(super) fn note(&mut self, topic_hash: u64, version: Version) {
        if self.places.is_empty() {
            self.places = vec![Removal::default(); RETAINED_REMOVALS_REMEMBERED];
        }
        self.places[place_of(topic_hash)] = Removal {
            topic_hash,
            version,
        };
    }

    /// Whether a message of this topic and version was removed before it arrived.
    pub(super) fn overtook(&self, topic_hash: u64, version: Version) -> bool {
        self.places
            .get(place_of(topic_hash))
            .is_some_and(|removal| {
                removal.topic_hash == topic_hash && !supersedes(version, removal.version)
            })
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Removal>()
    }
}

/// Whether what has version `new` takes the place of what has version `old`.
pub(super) fn supersedes(new: Version, old: Version) -> bool {
    new >= old || old.0 - new.0 > RETAINED_REORDER_US_MAX
}

fn place_of(topic_hash: u64) -> usize {
    (topic_hash >> 32) as usize & (RETAINED_REMOVALS_REMEMBERED - 1)
}
