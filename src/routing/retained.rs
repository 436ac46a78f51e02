//! One core's part of the retained messages: those whose topic's hash falls to it.
//!
//! Two ways lead to a message. An exact topic is one probe of a hash table. A filter with wildcards
//! walks the tree of levels by a [`Cursor`], whose cost follows what it finds and not what is
//! stored, in steps as small as the caller's budget: a replay of a million messages neither stalls
//! the core nor has to be given up.
//!
//! The text of a topic is not kept as such: the tree's levels are it. Measured with a million topics
//! and values of 8 bytes (2 shared vCPUs, mimalloc, one run each):
//!
//! | topics | RSS a message | put ns | get hot ns | replay ns a match |
//! | --- | --- | --- | --- | --- |
//! | `device/<unique>/status` | 279 | 1091 | 133 | 104 to 149 |
//! | `device/<unique>` | 218 | 583 | 89 | 105 to 129 |
//! | `site/1000/dev/100000/sensor/10` | 168 | 506 | 71 | 130 to 135 |
//!
//! 10 matches behind a literal prefix (`site/7/dev/777/sensor/+`) and 10 found by a rare level
//! (`+/+/+/777/#`) both cost 2.2 us among that million.
//!
//! Of two values of one topic that with the greater [`Version`] stays, whatever the order in which
//! they come from different cores; a removal has a version too. Only what seems older by more than
//! `RETAINED_REORDER_US_MAX` counts as new: then the wall clock was set back.

mod cursor;
mod id_map;
mod removals;
mod text_table;
mod tree;

use ahash::RandomState;

use crate::base::slab::Slab;

pub use cursor::{Cursor, Progress};
use removals::{Removals, supersedes};
use text_table::TextTable;
use tree::{NONE, Tree};

/// Time of receipt (microseconds since the UNIX epoch) and the core that received.
pub type Version = (u64, u8);

/// What the store has to know of a value.
pub trait Stored {
    /// Decides which of two values of one topic is the later one.
    fn version(&self) -> Version;
    /// When the value is no longer to be given out, microseconds since the UNIX epoch.
    fn expires_us(&self) -> Option<u64>;
    /// Bytes of the payload, for its limit.
    fn payload_bytes(&self) -> usize;
    /// Bytes the value has allocated, for the memory limit and the report.
    fn bytes(&self) -> usize;
}

/// What one core may retain.
#[derive(Clone, Copy, Debug)]
pub struct RetainedLimits {
    /// Messages (this core's lease of the broker's limit).
    pub messages_max: u32,
    /// Bytes of one payload.
    pub payload_bytes_max: usize,
    /// Bytes of everything together, the values as they say themselves.
    pub bytes_max: usize,
    /// Levels of a topic: each may cost a node.
    pub topic_levels_max: usize,
}

/// What became of a value that was put.
#[derive(PartialEq, Eq, Debug)]
pub enum Put<M> {
    /// The first of its topic.
    Stored,
    /// Stored in place of this one.
    Replaced(M),
    /// Not stored; what was there, stays.
    Refused(Refusal),
}

/// Why a value was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The topic has a later one, or a later removal.
    Older,
    /// As many messages as allowed.
    TooManyMessages,
    /// The payload is over its limit.
    PayloadTooLarge,
    /// All together would be over their limit.
    TooManyBytes,
    /// The topic has too many levels.
    TooManyLevels,
}

/// The retained messages of one core. See the module.
pub struct RetainedStore<M> {
    limits: RetainedLimits,
    tree: Tree,
    messages: Slab<Message<M>>,
    /// Hash of the whole topic -> its node.
    topics: TextTable,
    removals: Removals,
    value_bytes: usize,
    sweep: Sweep,
}

struct Message<M> {
    node: u32,
    value: M,
}

/// Progress of the search for expired messages.
struct Sweep {
    /// No message expires before this.
    next_expiry_us: u64,
    /// Index of the message looked at next; 0 between two passes.
    at: u32,
    /// What `next_expiry_us` will be after the pass.
    next_expiry_after_us: u64,
}

impl<M: Stored> RetainedStore<M> {
    /// Other limits from now on; what is stored stays.
    pub fn set_limits(&mut self, limits: RetainedLimits) {
        self.limits = limits;
    }

    /// An empty store. `hash_seed` is secret and random: topics are hostile input.
    pub fn new(limits: RetainedLimits, hash_seed: u64) -> Self {
        let hasher = RandomState::with_seeds(hash_seed, !hash_seed, hash_seed.rotate_left(32), 1);
        Self {
            limits,
            tree: Tree::new(hasher),
            messages: Slab::default(),
            topics: TextTable::new(),
            removals: Removals::default(),
            value_bytes: 0,
            sweep: Sweep {
                next_expiry_us: u64::MAX,
                at: 0,
                next_expiry_after_us: u64::MAX,
            },
        }
    }

    /// Makes `value` the retained message of a topic (a valid topic name), unless there is a later
    /// one or a limit forbids it.
    pub fn put(&mut self, topic: &str, value: M) -> Put<M> {
        let hash = self.tree.hash(topic);
        let node = self.find(topic, hash);
        if let Err(refusal) = self.check(topic, hash, node, &value) {
            return Put::Refused(refusal);
        }
        self.value_bytes += value.bytes();
        self.sweep.note(value.expires_us());
        let Some(node) = node else {
            let message = self.messages.insert(Message { node: NONE, value });
            let node = self.tree.add(topic, message.index);
            self.message_mut(message.index).node = node;
            self.topics.insert(hash, node);
            return Put::Stored;
        };
        let index = self.tree.node(node).message;
        let old = std::mem::replace(&mut self.message_mut(index).value, value);
        self.value_bytes -= old.bytes();
        Put::Replaced(old)
    }

    /// Takes out the message of a topic, unless it is later than `version`: a PUBLISH without
    /// payload clears what was retained before it [MQTT-3.3.1-6], also what arrives after it but is
    /// older.
    pub fn remove(&mut self, topic: &str, version: Version) -> Option<M> {
        let hash = self.tree.hash(topic);
        let stored = self
            .find(topic, hash)
            .map(|node| self.tree.node(node).message);
        if stored.is_some_and(|index| !supersedes(version, self.message(index).value.version())) {
            return None;
        }
        self.removals.note(hash, version);
        self.take(stored?, hash)
    }

    /// The message of a topic.
    pub fn get(&self, topic: &str, now_us: u64) -> Option<&M> {
        let node = self.find(topic, self.tree.hash(topic))?;
        self.live_at(node, now_us)
    }

    /// Begins a replay of all messages whose topics match a filter (valid, without `$share`).
    pub fn query(&self, filter: &str) -> Cursor {
        Cursor::new(
            &self.tree,
            self.find(filter, self.tree.hash(filter)),
            filter,
        )
    }

    /// Looks at up to `budget` messages for expired ones, takes those out and hands them to
    /// `expired`. Costs nothing as long as none can have expired. True when a pass is under way,
    /// that is, another call finds more to look at.
    pub fn sweep(&mut self, now_us: u64, budget: usize, mut expired: impl FnMut(&str, M)) -> bool {
        if self.sweep.at == 0 && now_us < self.sweep.next_expiry_us {
            return false;
        }
        if self.sweep.at == 0 {
            // Every message will be seen in this pass.
            self.sweep.next_expiry_after_us = u64::MAX;
        }
        let mut topic = String::new();
        for _ in 0..budget {
            let index = self.sweep.at;
            if index >= self.messages.index_bound() {
                self.sweep.end_pass();
                return false;
            }
            self.sweep.at += 1;
            let Some(message) = self.messages.at(index) else {
                continue;
            };
            match message.value.expires_us() {
                Some(at_us) if at_us <= now_us => {
                    self.tree.write_topic(message.node, &mut topic);
                    if let Some(value) = self.take(index, self.tree.hash(&topic)) {
                        expired(&topic, value);
                    }
                }
                expires_us => self.sweep.note(expires_us),
            }
        }
        true
    }

    /// Messages, expired ones that were not collected yet included.
    pub fn len(&self) -> u32 {
        self.messages.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes allocated, the values' own included (an estimate where B-trees are concerned).
    pub fn bytes(&self) -> usize {
        self.tree.bytes()
            + self.messages.bytes()
            + self.topics.bytes()
            + self.removals.bytes()
            + self.value_bytes
    }

    /// Bytes in use: what was freed and is kept for reuse does not count.
    fn used_bytes(&self) -> usize {
        let messages = self.messages.len() as usize;
        let places = messages * (size_of::<Message<M>>() + TextTable::ENTRY_BYTES);
        self.tree.used_bytes() + places + self.value_bytes
    }

    fn check(&self, topic: &str, hash: u64, node: Option<u32>, value: &M) -> Result<(), Refusal> {
        let old = node.map(|node| &self.message(self.tree.node(node).message).value);
        let is_older = match old {
            Some(old) => !supersedes(value.version(), old.version()),
            None => self.removals.overtook(hash, value.version()),
        };
        if is_older {
            return Err(Refusal::Older);
        }
        if value.payload_bytes() > self.limits.payload_bytes_max {
            return Err(Refusal::PayloadTooLarge);
        }
        // What replaces a larger one is welcome even when memory is used up.
        let more = value.bytes().saturating_sub(old.map_or(0, Stored::bytes));
        if more > 0 && self.used_bytes().saturating_add(more) > self.limits.bytes_max {
            return Err(Refusal::TooManyBytes);
        }
        if old.is_some() {
            return Ok(());
        }
        if self.messages.len() >= self.limits.messages_max {
            return Err(Refusal::TooManyMessages);
        }
        let levels = topic.bytes().filter(|&byte| byte == b'/').count() + 1;
        if levels > self.limits.topic_levels_max {
            return Err(Refusal::TooManyLevels);
        }
        Ok(())
    }

    fn find(&self, topic: &str, hash: u64) -> Option<u32> {
        self.topics
            .find(hash, |node| self.tree.is_topic(node, topic))
    }

    /// The message that ends at a node, if there is one and it has not expired.
    fn live_at(&self, node: u32, now_us: u64) -> Option<&M> {
        let value = &self.messages.at(self.tree.node(node).message)?.value;
        value
            .expires_us()
            .is_none_or(|at_us| at_us > now_us)
            .then_some(value)
    }

    fn take(&mut self, index: u32, topic_hash: u64) -> Option<M> {
        let message = self.messages.remove_at(index)?;
        self.topics.remove(topic_hash, message.node);
        self.tree.remove(message.node);
        self.value_bytes -= message.value.bytes();
        Some(message.value)
    }

    fn message(&self, index: u32) -> &Message<M> {
        self.messages
            .at(index)
            .expect("a topic's node has a message")
    }

    fn message_mut(&mut self, index: u32) -> &mut Message<M> {
        self.messages
            .at_mut(index)
            .expect("a topic's node has a message")
    }
}

impl Sweep {
    fn note(&mut self, expires_us: Option<u64>) {
        if let Some(at_us) = expires_us {
            self.next_expiry_us = self.next_expiry_us.min(at_us);
            self.next_expiry_after_us = self.next_expiry_after_us.min(at_us);
        }
    }

    fn end_pass(&mut self) {
        self.next_expiry_us = self.next_expiry_after_us;
        self.next_expiry_after_us = u64::MAX;
        self.at = 0;
    }
}

#[cfg(test)]
mod tests;
