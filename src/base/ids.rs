//! Small identities that cross layers and cores.

/// A core of the data plane; 62 stands for the control plane in a [`CoreSet`](super::core_set::CoreSet).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CoreId(pub u8);

/// A topic filter in the shared index: the address of its node there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FilterId(pub u32);

/// The number of an applied batch of index changes. 64 bits: it never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Epoch(pub u64);
