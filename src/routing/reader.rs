//! A core's eyes on the shared index.

use std::sync::Arc;

use super::delta::Hit;
use super::node;
use super::shape::TopicLevels;
use super::shared::{Place, SharedIndex};
use super::trie::Stack;
use crate::base::atomic::Ordering;
use crate::base::core_set::CoreSet;
use crate::base::epoch::Reader;
use crate::base::ids::{CoreId, Epoch, FilterId};

/// Bytes of a reader's scratch space that are kept between look-ups; what a giant topic needed
/// beyond is given back.
const SCRATCH_BYTES_MAX: usize = 4096;

/// Topics of one [`IndexReader::warm`]: about as many misses as a core keeps in flight.
pub const WARM_TOPICS_MAX: usize = 16;

/// The reader of one core. Call [`Self::pass`] once a turn; filter ids and hits that are kept
/// longer carry the epoch of their match (see `local.rs`).
#[derive(Debug)]
pub struct IndexReader {
    shared: Arc<SharedIndex>,
    epoch: Reader,
    levels: Box<TopicLevels>,
    text: Vec<u8>,
    stack: Stack,
    /// Probes of the table and filters compared since the last look: what a match costs, in a measure
    /// that is the same on every machine.
    #[cfg(test)]
    pub(super) work: u64,
}

impl IndexReader {
    pub(super) fn new(shared: Arc<SharedIndex>, epoch: Reader) -> Self {
        Self {
            shared,
            epoch,
            levels: Box::new(TopicLevels::new()),
            text: Vec::new(),
            stack: Stack::new(),
            #[cfg(test)]
            work: 0,
        }
    }

    /// Replaces `out` by the filters that match a valid topic name, each once, in no order.
    pub fn matches(&mut self, topic: &str, out: &mut Vec<Hit>) {
        debug_assert!(!self.epoch.is_parked(), "a parked core reads nothing");
        out.clear();
        let shared = &*self.shared;
        let bytes = topic.as_bytes();
        let arena = &*shared.arena;
        let mut work = 1;
        let exact = shared
            .filters
            .find(arena, shared.hashes.whole(bytes), |address| {
                work += 1;
                node::text_is(arena, address, bytes)
            });
        self.note_work(work);
        let shared = &*self.shared;
        if let Some(address) = exact {
            push(shared, address, out);
        }
        self.match_shapes(bytes, out);
        if !self.shared.trie.is_empty() {
            self.match_trie(bytes, out);
        }
    }

    /// Brings the index's cache lines for up to [`WARM_TOPICS_MAX`] topics near, which
    /// [`Self::matches`] is about to be asked for: the misses of a group overlap instead of adding
    /// up. Worth it when topics are many and random; exact filters only.
    pub fn warm<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let shared = &*self.shared;
        let mut nodes = [0; WARM_TOPICS_MAX];
        for (node, topic) in nodes.iter_mut().zip(topics) {
            let hash = shared.hashes.whole(topic.as_bytes());
            *node = shared.filters.peek(&shared.arena, hash);
        }
        let heads = nodes.map(|node| shared.arena.word(node).load(Ordering::Relaxed));
        std::hint::black_box(heads);
    }

    #[inline]
    fn match_shapes(&mut self, topic: &[u8], out: &mut Vec<Hit>) {
        let shared = &*self.shared;
        let slashes = topic.iter().filter(|byte| **byte == b'/').count();
        let Some(list) = shared.shapes.list(&shared.arena, slashes + 1) else {
            return;
        };
        let (levels, text) = (&mut *self.levels, &mut self.text);
        levels.split(&shared.hashes, topic, list.deepest());
        let mut work = 0;
        list.for_each_candidate(&shared.hashes, levels, |shape, hash| {
            let mut written = false;
            work += 1;
            let found = shared.filters.find(&shared.arena, hash, |address| {
                work += 1;
                if !written {
                    levels.write_filter(topic, shape, text);
                    written = true;
                }
                node::text_is(&shared.arena, address, text)
            });
            if let Some(address) = found {
                push(shared, address, out);
            }
        });
        if text.capacity() > SCRATCH_BYTES_MAX {
            text.clear();
            text.shrink_to(SCRATCH_BYTES_MAX);
        }
        self.note_work(work);
    }

    /// Counts in tests; outside of them the compiler removes the counting.
    #[inline]
    fn note_work(&mut self, work: u64) {
        #[cfg(test)]
        {
            self.work += work;
        }
        #[cfg(not(test))]
        let _ = work;
    }

    #[cold]
    fn match_trie(&mut self, topic: &[u8], out: &mut Vec<Hit>) {
        let shared = &*self.shared;
        let (arena, hashes) = (&*shared.arena, &shared.hashes);
        shared
            .trie
            .matches(arena, hashes, topic, &mut self.stack, |address| {
                push(shared, address, out);
            });
        if self.stack.capacity() * size_of_val(&(0u32, 0u32)) > SCRATCH_BYTES_MAX {
            self.stack = Stack::new();
        }
    }

    /// The id of a live filter by its text.
    pub fn find(&self, filter: &str) -> Option<FilterId> {
        let place = Place::of(&self.shared.hashes, filter);
        self.shared.find(filter, &place).map(FilterId)
    }

    /// The text of a filter: one that this core has added, or a hit of this turn. `None` if the id
    /// is not one of a live filter as far as can be told.
    pub fn filter_text(&mut self, filter: FilterId) -> Option<&str> {
        self.text.clear();
        node::read_text(&self.shared.arena, filter.0, &mut self.text);
        let text = std::str::from_utf8(&self.text).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Whether anybody, on any core, has subscribed to something below `$SYS`.
    pub fn has_sys_filters(&self) -> bool {
        self.shared.sys_filters.load(Ordering::Acquire) > 0
    }

    /// The cores that want a filter, which is subject to the same rule as [`Self::filter_text`].
    pub fn cores(&self, filter: FilterId) -> CoreSet {
        let word = self.shared.arena.words().get(filter.0 as usize);
        CoreSet(word.map_or(0, |word| word.load(Ordering::Acquire)))
    }

    /// Ends the last turn and begins the next; see [`Reader::pass`].
    pub fn pass(&mut self) -> Epoch {
        self.epoch.pass()
    }

    /// To be called at the end of a turn; see [`Reader::settle`].
    pub fn settle(&mut self, oldest: Option<(Epoch, u64)>, turn_ms: u64) {
        self.epoch.settle(oldest, turn_ms);
    }

    /// To be called before the core sleeps; see [`Reader::park`].
    pub fn park(&mut self) {
        self.epoch.park();
    }

    /// Begins the first turn after sleeping; see [`Reader::unpark`].
    pub fn unpark(&mut self) -> Epoch {
        self.epoch.unpark()
    }

    /// The epoch that this turn's matches carry.
    pub fn epoch(&self) -> Epoch {
        self.epoch.epoch()
    }

    /// The core that reads.
    pub fn core(&self) -> CoreId {
        self.epoch.core()
    }
}

#[inline]
fn push(shared: &SharedIndex, address: u32, out: &mut Vec<Hit>) {
    let cores = shared.arena.word(address).load(Ordering::Acquire);
    // A filter whose last core has just left is on its way out.
    if cores != 0 {
        out.push(Hit {
            filter: FilterId(address),
            cores: CoreSet(cores),
        });
    }
}
