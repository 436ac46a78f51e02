//! The shared subscription index: filter -> the cores that have subscribers to it.
//!
//! One table changed in place by one writer (the index thread), read by every core without locks,
//! reference counts or copies. The path of a change: a core sends a [`Delta`]; the writer takes
//! what is waiting, [applies](super::writer::IndexWriter::apply) each delta by a few Release
//! stores, and [publishes](super::writer::IndexWriter::publish) the batch, whose number goes back
//! with the filter ids. From then on every turn that passed this epoch sees the change. Each filter
//! changes by one store (a bit of its mask, or its slot), so no snapshot of the whole is needed:
//! filters are independent, and what was not acknowledged yet may be seen or not.
//!
//! What is unlinked is retired with the number of its batch and freed by the writer when every core
//! has passed it or is parked (`base/epoch.rs`). The address of a filter's node is its id, and may
//! be reused afterwards: cores keep the epoch in which their entry was born and pass over ids that
//! were matched before (`local.rs`).
//!
//! A look-up goes: hash of the whole topic, one probe (exact filters); then one probe for each
//! live shape of this topic length (`shape.rs`); then the overflow trie, if there is one.
//!
//! Measured with `cargo bench --bench index` (CPU time, 2 virtual CPUs shared with other work; one
//! million filters "device/%08d/cmd", then one million "device/%08d/+/status" beside them):
//!
//! | | |
//! | --- | --- |
//! | bytes a filter, exact (19 bytes of text) / wildcard (24) | 50 (32 + 17) / 57 |
//! | exact hit: one topic / 1000 topics / random of 1M / the same, warmed | 11 / 18 to 25 / 150 to 190 / 100 to 120 ns |
//! | miss, 1000 topics | 12 ns |
//! | one wildcard match: one topic / random of 1M | 38 / 330 to 390 ns |
//! | ten wildcard matches (ten shapes), one topic | 135 to 150 ns |
//! | exact hit of a topic length with eight shapes | 31 to 34 ns |
//! | 128 shapes, 100 of them in the trie: topic matches none / all | 50 to 60 / 2900 ns |
//! | delta, add and remove, batches of 1 to 1000 | 75 to 150 ns |

use std::io;
use std::sync::Arc;

use super::arena::{Address, Arena};
use super::hash::Hashes;
use super::node;
use super::reader::IndexReader;
use super::shape::{Shape, ShapeLists, filter_hash};
use super::table::Table;
use super::trie::Trie;
use super::writer::IndexWriter;
use crate::base::atomic::AtomicU64;
use crate::base::epoch::{Epochs, EpochsHandle};

#[cfg(doc)]
use super::delta::Delta;

/// What the writer and the readers share.
#[derive(Debug)]
pub struct SharedIndex {
    pub(super) arena: Arc<Arena>,
    pub(super) hashes: Hashes,
    pub(super) filters: Table,
    pub(super) shapes: ShapeLists,
    pub(super) trie: Trie,
    /// Live filters below `$SYS`: while there are none, nothing need be said there.
    pub(super) sys_filters: AtomicU64,
}

impl SharedIndex {
    /// An empty index, with one reader for each of the cores `0..cores` (all parked). The seed must
    /// come from the system's random numbers. Fails if the system grants no address space.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        cores: u8,
        seed: [u64; 4],
    ) -> io::Result<(IndexWriter, Vec<IndexReader>, EpochsHandle)> {
        Ok(Self::within(Arena::reserve()?, cores, seed))
    }

    /// The same in a given arena.
    pub(super) fn within(
        arena: Arena,
        cores: u8,
        seed: [u64; 4],
    ) -> (IndexWriter, Vec<IndexReader>, EpochsHandle) {
        let shared = Arc::new(Self {
            arena: Arc::new(arena),
            hashes: Hashes::new(seed),
            filters: Table::new(),
            shapes: ShapeLists::new(),
            trie: Trie::new(),
            sys_filters: AtomicU64::new(0),
        });
        let (epochs, readers) = Epochs::new(cores);
        let readers = readers
            .into_iter()
            .map(|epoch| IndexReader::new(Arc::clone(&shared), epoch))
            .collect();
        let handle = epochs.handle();
        (IndexWriter::new(shared, epochs, seed), readers, handle)
    }

    /// The node of a filter by its text.
    pub(super) fn find(&self, filter: &str, place: &Place) -> Option<Address> {
        let is_it = |address| node::text_is(&self.arena, address, filter.as_bytes());
        let in_table = place
            .hash
            .and_then(|hash| self.filters.find(&self.arena, hash, is_it));
        if in_table.is_some() || !place.wildcard || self.trie.is_empty() {
            return in_table;
        }
        self.trie.find(&self.arena, &self.hashes, filter)
    }
}

/// Whether a filter's first level is `$SYS`.
pub(super) fn is_sys(filter: &str) -> bool {
    let rest = filter.strip_prefix("$SYS");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a filter belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) wildcard: bool,
    /// Its hash in the table; none for wildcard filters that are too deep for a shape.
    pub(super) hash: Option<u64>,
    pub(super) shape: Option<Shape>,
}

impl Place {
    pub(super) fn of(hashes: &Hashes, filter: &str) -> Self {
        let wildcard = filter.bytes().any(|byte| byte == b'+' || byte == b'#');
        if !wildcard {
            return Self {
                wildcard,
                hash: Some(hashes.whole(filter.as_bytes())),
                shape: None,
            };
        }
        let shape = Shape::of(filter);
        Self {
            wildcard,
            hash: shape.map(|_| filter_hash(hashes, filter)),
            shape,
        }
    }
}
