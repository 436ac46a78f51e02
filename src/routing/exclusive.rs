//! Exclusive topics: which core holds which, decided by the index thread in the order of its deltas.
//!
//! A core asks once a topic however many of its sessions want it (the core decides among its own), and
//! gives up what it holds with a release. Both travel in the ring of the core's deltas, so a release
//! is always before the same core's next claim.

use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashMap;

use crate::base::ids::CoreId;
use crate::base::limits::EXCLUSIVE_TOPICS_MAX;

/// A claim that the index thread has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClaimToken(pub u32);

/// Who holds which topic.
#[derive(Debug, Default)]
pub struct Claims {
    held: HashMap<Box<str>, CoreId, BuildHasherDefault<AHasher>>,
}

impl Claims {
    /// A core wants a topic for itself; says whether it has it now.
    pub fn claim(&mut self, topic: &str, core: CoreId) -> bool {
        if self.held.len() >= EXCLUSIVE_TOPICS_MAX || self.held.contains_key(topic) {
            return false;
        }
        self.held.insert(topic.into(), core);
        true
    }

    /// A core gives up a topic that it holds.
    pub fn release(&mut self, topic: &str, core: CoreId) {
        let holder = self.held.get(topic).copied();
        debug_assert_eq!(holder, Some(core), "only the holder gives up");
        if holder == Some(core) {
            self.held.remove(topic);
        }
    }

    /// Topics held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no topic is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
