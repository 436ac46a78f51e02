//! Who wants a message: the shared index (filter -> cores) and a core's own (filter -> sessions).
//!
//! - `shared`: the protocol of the shared index; `writer` and `reader` are its two ends, `delta`
//!   what goes between them
//! - `exclusive`: which core holds which exclusive topic, kept by the writer
//! - `local`: one core's subscribers
//! - `topic_match`: one filter against one topic
//! - below: `table` (hash table changed in place), `shape` (wildcards by tuple space), `trie` (their
//!   overflow), `node` (a filter's record), `hash`, `memory` (allocation and grace), `arena` (the
//!   mapping; the only unsafe code here)

mod arena;
pub mod delta;
pub mod exclusive;
mod hash;
pub mod local;
mod memory;
mod node;
pub mod reader;
pub mod retained;
pub mod shape;
pub mod shared;
mod table;
#[cfg(test)]
mod tests;
pub mod topic_match;
mod trie;
pub mod writer;

pub use memory::{IndexBytes, IndexFull, RETIRED_BLOCKS_MAX};
