//! Names of things that are not pointers: small integers that index a table of one core.

/// A core of the data plane: the executor that owns one shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CoreId(pub u8);

impl CoreId {
    /// As an index into per-core tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Address of a filter's node in the shared index. Reused after the filter is gone: who keeps one
/// also keeps the [`Epoch`] in which it was born.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FilterId(pub u32);

/// Number of a batch that the index thread has applied. 64 bits: never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Epoch(pub u64);
