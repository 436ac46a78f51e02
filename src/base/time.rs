//! Time as the shard sees it: numbers that the driver (or the simulation) hands in.

/// The moment of a turn: read once by the driver, used by everything in that turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds since the process started; never goes back.
    pub ms: u64,
    /// Microseconds since the UNIX epoch; may jump with the wall clock.
    pub unix_us: u64,
}

impl Now {
    /// Whole seconds since the process started.
    pub fn seconds(self) -> u64 {
        self.ms / 1000
    }
}
