//! Who wants a message: the shared index (filter -> cores) and a core's own (filter -> sessions).

mod arena;
pub mod delta;
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
