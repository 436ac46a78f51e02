//! The writer of the shared index: one, on the index thread.

use std::sync::Arc;

use super::arena::Address;
use super::delta::{Applied, CORE_MAX, Delta};
use super::exclusive::Claims;
use super::memory::{IndexBytes, IndexFull, Kind, Memory, RETIRED_BLOCKS_MAX};
use super::node::{self, FLAG_IN_TRIE, FLAG_WILDCARD, node_words};
use super::shape::ShapeCounts;
use super::shared::{Place, SharedIndex, is_sys};
use super::table::TableCounts;
use super::trie::TrieWriter;
use crate::base::atomic::Ordering;
use crate::base::core_set::CoreSet;
use crate::base::epoch::Epochs;
use crate::base::ids::{CoreId, Epoch, FilterId};

/// Deltas that the index thread should put into one batch at most: about 0.3 ms of work, after which
/// SUBACKs leave and memory is reclaimed.
pub const BATCH_DELTAS_MAX: usize = 1024;

/// Applies deltas, publishes batches, frees memory. See `shared.rs` for the protocol.
#[derive(Debug)]
pub struct IndexWriter {
    shared: Arc<SharedIndex>,
    epochs: Epochs,
    memory: Memory,
    filters: TableCounts,
    shapes: ShapeCounts,
    trie: TrieWriter,
    len: usize,
    in_trie: usize,
    text: Vec<u8>,
    /// Which core holds which exclusive topic: decided in the order of the deltas.
    pub claims: Claims,
}

impl IndexWriter {
    pub(super) fn new(shared: Arc<SharedIndex>, epochs: Epochs, seed: [u64; 4]) -> Self {
        Self {
            memory: Memory::new(Arc::clone(&shared.arena)),
            shared,
            epochs,
            filters: TableCounts::new(),
            shapes: ShapeCounts::new(seed),
            trie: TrieWriter::new(),
            len: 0,
            in_trie: 0,
            text: Vec::new(),
            claims: Claims::default(),
        }
    }

    /// Applies one delta. It is in force with the next [`Self::publish`] (and may be seen before).
    ///
    /// # Errors
    /// [`IndexFull`] for an `Add` for which there is no memory: nothing has changed, and the
    /// SUBSCRIBE is to be refused.
    pub fn apply(&mut self, delta: Delta<'_>) -> Result<Applied, IndexFull> {
        match delta {
            Delta::Add { filter, core } => self.add(filter, core),
            Delta::Remove { filter, core } => Ok(self.remove(filter, core)),
        }
    }

    /// Ends the batch. The epoch goes back to the cores with the answers: a SUBACK may leave once
    /// its delta's batch is published.
    pub fn publish(&mut self) -> Epoch {
        let epoch = self.epochs.publish();
        self.memory.published(epoch);
        epoch
    }

    /// Frees what every core has passed. Returns the number of blocks freed.
    pub fn reclaim(&mut self) -> usize {
        if self.memory.retired_len() == 0 {
            return 0;
        }
        self.memory.reclaim(self.epochs.oldest_in_use())
    }

    /// Whether so much waits for readers to pass that no more deltas should be taken. The cores
    /// hold theirs as coalesced state meanwhile, and pending SUBACKs wait.
    pub fn is_backlogged(&self) -> bool {
        self.memory.retired_len() >= RETIRED_BLOCKS_MAX
    }

    /// Blocks of memory that wait for readers to pass.
    pub fn retired_len(&self) -> usize {
        self.memory.retired_len()
    }

    /// Live filters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Live filters that found no room among the shapes and cost more to match.
    pub fn overflow_len(&self) -> usize {
        self.in_trie
    }

    /// Live shapes of wildcard filters.
    pub fn shapes_len(&self) -> usize {
        self.shapes.len()
    }

    /// Edges of the overflow trie.
    pub fn edges_len(&self) -> usize {
        self.trie.len()
    }

    /// Memory by use.
    pub fn bytes(&self) -> IndexBytes {
        self.memory.bytes()
    }

    /// How far the readers are.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    fn add(&mut self, filter: &str, core: CoreId) -> Result<Applied, IndexFull> {
        assert!(
            core.0 <= CORE_MAX,
            "a delta names a core or the control plane"
        );
        assert!(
            u16::try_from(filter.len()).is_ok(),
            "a valid filter has at most 65535 bytes"
        );
        let bit = CoreSet::single(core).0;
        let place = Place::of(&self.shared.hashes, filter);
        if let Some(address) = self.shared.find(filter, &place) {
            let mask = self.shared.arena.word(address);
            let old = mask.load(Ordering::Relaxed);
            mask.store(old | bit, Ordering::Release);
            return Ok(Applied {
                filter: FilterId(address),
                changed: old & bit == 0,
            });
        }
        let address = self.link_new(filter, &place, bit)?;
        self.len += 1;
        self.count_sys(filter, true);
        Ok(Applied {
            filter: FilterId(address),
            changed: true,
        })
    }

    fn link_new(&mut self, filter: &str, place: &Place, cores: u64) -> Result<Address, IndexFull> {
        let words = node_words(filter.len());
        let address = self.memory.allocate(Kind::Filter, words)?;
        let linked = self.link(filter, place, address, cores);
        if linked.is_err() {
            self.memory.free_unseen(Kind::Filter, address, words);
        }
        linked.map(|()| address)
    }

    fn link(
        &mut self,
        filter: &str,
        place: &Place,
        address: Address,
        cores: u64,
    ) -> Result<(), IndexFull> {
        let shared = &*self.shared;
        let (arena, memory, text) = (&*shared.arena, &mut self.memory, filter.as_bytes());
        let Some(hash) = place.hash else {
            return self.link_in_trie(filter, address, cores);
        };
        let Some(shape) = place.shape else {
            node::write(arena, address, cores, 0, text);
            return self.filters.insert(&shared.filters, memory, hash, address);
        };
        let (lists, hashes) = (&shared.shapes, &shared.hashes);
        if !self.shapes.admit(lists, memory, hashes, shape, filter)? {
            return self.link_in_trie(filter, address, cores);
        }
        node::write(arena, address, cores, FLAG_WILDCARD, text);
        let linked = self.filters.insert(&shared.filters, memory, hash, address);
        if linked.is_err() {
            self.shapes.release(lists, memory, shape);
        }
        linked
    }

    fn link_in_trie(
        &mut self,
        filter: &str,
        address: Address,
        cores: u64,
    ) -> Result<(), IndexFull> {
        let shared = &*self.shared;
        let flags = FLAG_WILDCARD | FLAG_IN_TRIE;
        node::write(&shared.arena, address, cores, flags, filter.as_bytes());
        let (trie, hashes) = (&shared.trie, &shared.hashes);
        self.trie
            .insert(trie, &mut self.memory, hashes, filter, address)?;
        self.in_trie += 1;
        Ok(())
    }

    fn remove(&mut self, filter: FilterId, core: CoreId) -> Applied {
        assert!(
            core.0 <= CORE_MAX,
            "a delta names a core or the control plane"
        );
        let bit = CoreSet::single(core).0;
        let Some(mask) = self.shared.arena.words().get(filter.0 as usize) else {
            return Applied {
                filter,
                changed: false,
            };
        };
        let old = mask.load(Ordering::Relaxed);
        let changed = old & bit != 0;
        debug_assert!(changed, "a core removes a filter that it did not add");
        if changed {
            mask.store(old & !bit, Ordering::Release);
            if old == bit {
                self.unlink(filter.0);
            }
        }
        Applied { filter, changed }
    }

    /// Takes a filter that nobody wants out, and retires its node.
    fn unlink(&mut self, address: Address) {
        let shared = Arc::clone(&self.shared);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        node::read_text(&shared.arena, address, &mut text);
        let filter = std::str::from_utf8(&text).unwrap_or_default();
        let memory = &mut self.memory;
        if node::flags(&shared.arena, address) & FLAG_IN_TRIE != 0 {
            self.trie
                .remove(&shared.trie, memory, &shared.hashes, filter);
            self.in_trie -= 1;
        } else {
            let place = Place::of(&shared.hashes, filter);
            let hash = place.hash.unwrap_or_default();
            let linked = self.filters.remove(&shared.filters, memory, hash, address);
            debug_assert!(linked, "a live filter is in the table");
            if let Some(shape) = place.shape {
                self.shapes.release(&shared.shapes, memory, shape);
            }
        }
        memory.retire(Kind::Filter, address, node_words(text.len()));
        self.len -= 1;
        self.count_sys(filter, false);
        self.text = text;
    }

    fn count_sys(&self, filter: &str, is_new: bool) {
        if !is_sys(filter) {
            return;
        }
        // One writer: what it reads is what it wrote.
        let count = &self.shared.sys_filters;
        let before = count.load(Ordering::Relaxed);
        let now = if is_new { before + 1 } else { before - 1 };
        count.store(now, Ordering::Release);
    }
}
