//! The overflow trie: wildcard filters whose shape found no room (or that are too deep for one).
//!
//! All edges lie in one hash table keyed by (parent's address, level), so a node has no list of
//! children. Changed in place by the one writer:
//!
//! ```text
//! word 0   children u29 << 34 | '#' child << 33 | '+' child << 32 | address of the filter's node, or 0
//! word 1   parent u32 << 32 | length u16
//! word 2.. the level's text, padded with zeroes
//! ```
//!
//! A stable filter is never missed: the nodes on its path have children or a filter, so they stay
//! linked. A node is linked before its parent says that it has a child, and unlinked after. An
//! unlinked node is retired like any other memory; a reader that still stands on it finds no
//! children there, which belonged to filters that are gone.

use super::arena::{Address, Arena};
use super::hash::Hashes;
use super::memory::{IndexFull, Kind, Memory};
use super::node::{stored_text_is, write_text};
use super::table::{Table, TableCounts};
use crate::base::atomic::{AtomicU64, Ordering};

/// The address that stands for the root, whose word 0 lies outside of the arena.
const ROOT: Address = 0;

const PLUS_CHILD: u64 = 1 << 32;
const MULTI_CHILD: u64 = 1 << 33;
const LITERAL_CHILD: u64 = 1 << 34;
const CHILDREN: u64 = !0 << 32;

/// The shared part.
#[derive(Debug)]
pub(super) struct Trie {
    edges: Table,
    root: AtomicU64,
}

/// A reader's stack: nodes to visit and where their next level begins in the topic.
pub(super) type Stack = Vec<(Address, u32)>;

/// The topic has no further level.
const END: u32 = u32::MAX;

/// The bit or count by which a parent knows of a child.
fn child_unit(level: &[u8]) -> u64 {
    match level {
        b"+" => PLUS_CHILD,
        b"#" => MULTI_CHILD,
        _ => LITERAL_CHILD,
    }
}

fn filter_of(word: u64) -> Option<Address> {
    let [a, b, c, d, ..] = word.to_le_bytes();
    let address = u32::from_le_bytes([a, b, c, d]);
    (address != 0).then_some(address)
}

fn edge_words(level: &[u8]) -> usize {
    2 + level.len().div_ceil(8)
}

fn edge_head(parent: Address, level: &[u8]) -> u64 {
    u64::from(parent) << 32 | level.len() as u64
}

impl Trie {
    pub(super) fn new() -> Self {
        Self {
            edges: Table::new(),
            root: AtomicU64::new(0),
        }
    }

    /// Whether no filter overflowed.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.root.load(Ordering::Acquire) == 0
    }

    fn state<'a>(&'a self, arena: &'a Arena, node: Address) -> &'a AtomicU64 {
        if node == ROOT {
            &self.root
        } else {
            arena.word(node)
        }
    }

    fn child(
        &self,
        arena: &Arena,
        hashes: &Hashes,
        parent: Address,
        level: &[u8],
    ) -> Option<Address> {
        let head = edge_head(parent, level);
        self.edges
            .find(arena, hashes.edge(parent, level), |address| {
                arena.word(address + 1).load(Ordering::Relaxed) == head
                    && stored_text_is(arena, address + 2, level, 0)
            })
    }

    /// The node of a filter that hangs here.
    pub(super) fn find(&self, arena: &Arena, hashes: &Hashes, filter: &str) -> Option<Address> {
        let mut node = ROOT;
        for level in filter.split('/') {
            node = self.child(arena, hashes, node, level.as_bytes())?;
        }
        filter_of(self.state(arena, node).load(Ordering::Acquire))
    }

    /// Calls `hit` with the node of each filter that matches the topic.
    pub(super) fn matches(
        &self,
        arena: &Arena,
        hashes: &Hashes,
        topic: &[u8],
        stack: &mut Stack,
        mut hit: impl FnMut(Address),
    ) {
        stack.clear();
        stack.push((ROOT, 0));
        while let Some((node, start)) = stack.pop() {
            let state = self.state(arena, node).load(Ordering::Acquire);
            // [MQTT-4.7.2-1]
            let wildcards = node != ROOT || topic.first() != Some(&b'$');
            if wildcards && state & MULTI_CHILD != 0 {
                let multi = self.child(arena, hashes, node, b"#");
                let state = multi.map(|node| self.state(arena, node).load(Ordering::Acquire));
                state.and_then(filter_of).into_iter().for_each(&mut hit);
            }
            if start == END {
                filter_of(state).into_iter().for_each(&mut hit);
                continue;
            }
            let (level, next) = split_level(topic, start);
            if wildcards && state & PLUS_CHILD != 0 {
                let plus = self.child(arena, hashes, node, b"+");
                stack.extend(plus.map(|node| (node, next)));
            }
            if state >= LITERAL_CHILD {
                let literal = self.child(arena, hashes, node, level);
                stack.extend(literal.map(|node| (node, next)));
            }
        }
    }
}

/// The level of a topic that begins at `start`, and where the next one begins.
fn split_level(topic: &[u8], start: u32) -> (&[u8], u32) {
    let rest = topic.get(start as usize..).unwrap_or(&[]);
    match rest.iter().position(|byte| *byte == b'/') {
        Some(len) => (
            &rest[..len],
            u32::try_from(len + 1).map_or(END, |len| start + len),
        ),
        None => (rest, END),
    }
}

/// The writer's part.
#[derive(Debug)]
pub(super) struct TrieWriter {
    edges: TableCounts,
}

impl TrieWriter {
    pub(super) fn new() -> Self {
        Self {
            edges: TableCounts::new(),
        }
    }

    /// Hangs up a filter's node; the filter must not be here. On an error nothing has changed.
    pub(super) fn insert(
        &mut self,
        trie: &Trie,
        memory: &mut Memory,
        hashes: &Hashes,
        filter: &str,
        address: Address,
    ) -> Result<(), IndexFull> {
        let mut path = vec![(ROOT, "")];
        for level in filter.split('/') {
            let parent = path.last().map_or(ROOT, |(node, _)| *node);
            let known = trie.child(memory.arena(), hashes, parent, level.as_bytes());
            let node = match known {
                Some(node) => node,
                None => match self.add_edge(trie, memory, hashes, parent, level.as_bytes()) {
                    Ok(node) => node,
                    Err(full) => {
                        self.prune(trie, memory, hashes, path);
                        return Err(full);
                    }
                },
            };
            path.push((node, level));
        }
        let last = path.last().map_or(ROOT, |(node, _)| *node);
        let state = trie.state(memory.arena(), last);
        let value = state.load(Ordering::Relaxed) & CHILDREN | u64::from(address);
        state.store(value, Ordering::Release);
        Ok(())
    }

    fn add_edge(
        &mut self,
        trie: &Trie,
        memory: &mut Memory,
        hashes: &Hashes,
        parent: Address,
        level: &[u8],
    ) -> Result<Address, IndexFull> {
        let node = memory.allocate(Kind::Edge, edge_words(level))?;
        let arena = memory.arena();
        arena.word(node).store(0, Ordering::Relaxed);
        arena
            .word(node + 1)
            .store(edge_head(parent, level), Ordering::Relaxed);
        write_text(arena, node + 2, level);
        let hash = hashes.edge(parent, level);
        if let Err(full) = self.edges.insert(&trie.edges, memory, hash, node) {
            memory.free_unseen(Kind::Edge, node, edge_words(level));
            return Err(full);
        }
        let state = trie.state(memory.arena(), parent);
        let value = state.load(Ordering::Relaxed) + child_unit(level);
        state.store(value, Ordering::Release);
        Ok(node)
    }

    /// Takes a filter off, with the nodes that served it alone.
    pub(super) fn remove(
        &mut self,
        trie: &Trie,
        memory: &mut Memory,
        hashes: &Hashes,
        filter: &str,
    ) {
        let mut path = vec![(ROOT, "")];
        for level in filter.split('/') {
            let parent = path.last().map_or(ROOT, |(node, _)| *node);
            let Some(node) = trie.child(memory.arena(), hashes, parent, level.as_bytes()) else {
                return;
            };
            path.push((node, level));
        }
        let last = path.last().map_or(ROOT, |(node, _)| *node);
        let state = trie.state(memory.arena(), last);
        let value = state.load(Ordering::Relaxed) & CHILDREN;
        state.store(value, Ordering::Release);
        self.prune(trie, memory, hashes, path);
    }

    /// Unlinks the nodes at the end of a path that have neither filter nor children.
    fn prune(
        &mut self,
        trie: &Trie,
        memory: &mut Memory,
        hashes: &Hashes,
        mut path: Vec<(Address, &str)>,
    ) {
        while let Some((node, level)) = path.pop() {
            if node == ROOT || trie.state(memory.arena(), node).load(Ordering::Relaxed) != 0 {
                return;
            }
            let parent = path.last().map_or(ROOT, |(node, _)| *node);
            let level = level.as_bytes();
            let state = trie.state(memory.arena(), parent);
            let value = state.load(Ordering::Relaxed) - child_unit(level);
            state.store(value, Ordering::Release);
            let hash = hashes.edge(parent, level);
            self.edges.remove(&trie.edges, memory, hash, node);
            memory.retire(Kind::Edge, node, edge_words(level));
        }
    }

    /// Edges in the trie.
    pub(super) fn len(&self) -> usize {
        self.edges.len()
    }
}
