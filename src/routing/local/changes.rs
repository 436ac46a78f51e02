//! What the index thread has to be told, and what it has not answered yet.
//!
//! One state a filter, never a log: a filter that comes and goes between two pulls costs one place
//! in the queue, and may cost no delta at all.

use std::collections::{HashMap, VecDeque};

use hashbrown::HashTable;

use super::slab::number_of;
use super::types::{LocalDelta, PendingFilter};
use crate::base::ids::FilterId;

/// Filters of one core that wait for the index thread's answer (about 100 bytes and the text
/// each). A core that has this many is faster than the index thread by far; further SUBSCRIBEs to
/// unknown filters are refused.
pub const PENDING_FILTERS_MAX: usize = 1 << 20;

/// Entries that the queue and the map of leaving filters keep room for when they are empty.
const CAPACITY_KEPT: usize = 1024;

/// A filter whose id is not known yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    text: Box<str>,
    /// Subscriptions that wait for it; each knows its place here.
    pub(super) subscriptions: Vec<u32>,
    /// The caller's tokens, one for each SUBSCRIBE.
    pub(super) waiters: Vec<u64>,
}

/// A filter that nobody on this core wants any more.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    born: u64,
    /// False: someone came back before the Remove was pulled.
    wanted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Dirty {
    Add(u32),
    Remove(FilterId),
}

/// The state of all filters of a core that are on their way in or out.
#[derive(Debug)]
pub(super) struct Changes {
    hashes: ahash::RandomState,
    by_text: HashTable<u32>,
    pending: Vec<Pending>,
    free: Vec<u32>,
    leaving: HashMap<u32, Leaving, ahash::RandomState>,
    dirty: VecDeque<Dirty>,
}

impl Changes {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        let hashes = ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            leaving: HashMap::with_hasher(hashes.clone()),
            hashes,
            by_text: HashTable::new(),
            pending: Vec::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
        }
    }

    /// Filters that wait for an answer.
    pub(super) fn pending_len(&self) -> usize {
        self.by_text.len()
    }

    /// Filters that the index thread has to be told about.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    pub(super) fn find(&self, filter: &str) -> Option<PendingFilter> {
        if self.by_text.is_empty() {
            return None;
        }
        let hash = self.hashes.hash_one(filter);
        let is_it = |at: &u32| *self.pending[*at as usize].text == *filter;
        self.by_text
            .find(hash, is_it)
            .map(|number| PendingFilter(*number))
    }

    /// Begins to wait for a filter; `None` at the limit.
    pub(super) fn begin(&mut self, filter: &str) -> Option<PendingFilter> {
        if self.pending_len() >= PENDING_FILTERS_MAX {
            return None;
        }
        let pending = Pending {
            text: filter.into(),
            ..Pending::default()
        };
        let number = if let Some(number) = self.free.pop() {
            self.pending[number as usize] = pending;
            number
        } else {
            self.pending.push(pending);
            number_of(self.pending.len() - 1)
        };
        let (hashes, all) = (&self.hashes, &self.pending);
        let hash = |number: &u32| hashes.hash_one(&*all[*number as usize].text);
        self.by_text.insert_unique(hash(&number), number, hash);
        self.dirty.push_back(Dirty::Add(number));
        Some(PendingFilter(number))
    }

    pub(super) fn text(&self, filter: PendingFilter) -> &str {
        &self.pending[filter.0 as usize].text
    }

    pub(super) fn get(&self, filter: PendingFilter) -> &Pending {
        &self.pending[filter.0 as usize]
    }

    pub(super) fn get_mut(&mut self, filter: PendingFilter) -> &mut Pending {
        &mut self.pending[filter.0 as usize]
    }

    /// Ends the waiting for a filter.
    pub(super) fn end(&mut self, filter: PendingFilter) -> Pending {
        let pending = std::mem::take(&mut self.pending[filter.0 as usize]);
        let hash = self.hashes.hash_one(&*pending.text);
        if let Ok(entry) = self.by_text.find_entry(hash, |at| *at == filter.0) {
            entry.remove();
        }
        self.free.push(filter.0);
        if self.by_text.is_empty() {
            // After a storm of connects nothing of it stays.
            self.pending = Vec::new();
            self.free = Vec::new();
            self.by_text = HashTable::new();
        }
        pending
    }

    /// The last subscription to a filter, known since `born`, has gone.
    pub(super) fn leave(&mut self, filter: FilterId, born: u64) {
        let leaving = Leaving { born, wanted: true };
        if self.leaving.insert(filter.0, leaving).is_none() {
            self.dirty.push_back(Dirty::Remove(filter));
        }
    }

    /// Someone came for a filter whose Remove has not been pulled: it stays, known since then.
    pub(super) fn come_back(&mut self, filter: FilterId) -> Option<u64> {
        let leaving = self.leaving.get_mut(&filter.0)?;
        let wanted = std::mem::replace(&mut leaving.wanted, false);
        wanted.then_some(leaving.born)
    }

    /// The next delta for the index thread, which counts as sent.
    pub(super) fn next(&mut self) -> Option<LocalDelta<'_>> {
        loop {
            let Some(dirty) = self.dirty.pop_front() else {
                self.give_back();
                return None;
            };
            match dirty {
                Dirty::Add(number) => {
                    let filter = PendingFilter(number);
                    let pending = self.get(filter);
                    if pending.subscriptions.is_empty() && pending.waiters.is_empty() {
                        self.end(filter);
                        continue;
                    }
                    return Some(LocalDelta::Add {
                        token: filter,
                        filter: self.text(filter),
                    });
                }
                Dirty::Remove(filter) => {
                    let leaving = self.leaving.remove(&filter.0);
                    if leaving.is_some_and(|leaving| leaving.wanted) {
                        return Some(LocalDelta::Remove { filter });
                    }
                }
            }
        }
    }

    /// After a storm of goings nothing of it stays.
    fn give_back(&mut self) {
        if self.dirty.capacity() > CAPACITY_KEPT {
            self.dirty = VecDeque::new();
        }
        if self.leaving.capacity() > CAPACITY_KEPT {
            self.leaving = HashMap::with_hasher(self.hashes.clone());
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self.pending.iter().map(|pending| pending.text.len()).sum();
        texts
            + self.pending.capacity() * size_of::<Pending>()
            + self.by_text.allocation_size()
            + self.leaving.capacity() * 32
            + self.dirty.capacity() * size_of::<Dirty>()
    }
}
