//! The clock of the data plane: read once a turn, handed down as numbers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::Now;

/// Counts from the start of the process; the same on all cores.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Now {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            ms,
            unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
