//! The run's clock: nanoseconds since the harness started, the same in all of its threads.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When the first clock of the process was started: loads that run together share their times.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// A copyable clock; all copies share their origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that started at 0 with the first of them.
    pub(crate) fn start() -> Self {
        Self(*ORIGIN.get_or_init(Instant::now))
    }

    #[inline]
    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long until `due_ns`, at most `limit`.
    pub(crate) fn until(self, due_ns: u64, limit: Duration) -> Duration {
        Duration::from_nanos(due_ns.saturating_sub(self.now_ns())).min(limit)
    }
}
