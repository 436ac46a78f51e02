//! Compile-time limits, each with its unit and reason. What a user may want to change is a setting
//! in `config` instead.

/// Entries in one segment of a [`Slab`](crate::base::slab::Slab). Large enough that the directory
/// stays small (a million entries: 977 segments), small enough that a nearly empty slab wastes
/// little and that one more segment is no visible pause.
pub const SLAB_SEGMENT_ENTRIES: usize = 1024;

/// Slots of a [`TimerWheel`](crate::base::wheel::TimerWheel). At ticks of 100 ms one round is
/// 409.6 s, so that the usual keep-alive of 300 s is placed once and never carried over.
pub const WHEEL_SLOTS: usize = 4096;

/// Timers in one segment of a wheel's pool: 16 KiB.
pub const WHEEL_SEGMENT_TIMERS: usize = 1024;

const _: () = assert!(
    SLAB_SEGMENT_ENTRIES.is_power_of_two(),
    "an index is split by shift"
);
const _: () = assert!(WHEEL_SLOTS.is_power_of_two(), "a tick is mapped by mask");
const _: () = assert!(
    WHEEL_SEGMENT_TIMERS.is_power_of_two(),
    "an index is split by shift"
);

/// Hash tables over which the retained topics of a core are spread. Each grows by itself, so that
/// at a million topics one growth moves 16,000 entries and not all of them.
pub const RETAINED_TABLE_SEGMENTS: usize = 64;

/// Children of a level of the retained topics that lie in one sorted vector; beyond it they lie in
/// a B-tree.
pub const RETAINED_CHILDREN_IN_VECTOR: usize = 16;

const _: () = assert!(
    RETAINED_TABLE_SEGMENTS.is_power_of_two(),
    "a hash's top bits choose one"
);

/// Removals of retained messages that a core remembers, so that an older message which arrives
/// after the removal does not come back: 24 KiB, allocated with the first removal. More than what
/// arrives within the delay of a ring between two cores.
pub const RETAINED_REMOVALS_REMEMBERED: usize = 1024;

/// How much later, in microseconds, an older message may arrive over another core's ring. One that
/// is older by more has not been overtaken: the wall clock was set back, and it counts as new.
pub const RETAINED_REORDER_US_MAX: u64 = 10_000_000;

const _: () = assert!(
    RETAINED_REMOVALS_REMEMBERED.is_power_of_two(),
    "a hash is mapped by mask"
);
