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
