//! How many connections a listener takes, and how fast: the only state that cores share on the
//! accept path.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Accepts that may come at once above an even rate, as a share of one second.
const BURST_MS: u64 = 100;

/// What all cores know of one listener.
#[derive(Debug)]
pub struct ListenerShare {
    max_connections: Option<u32>,
    /// Sockets accepted and not yet closed.
    connections: AtomicU32,
    /// Microseconds between two accepts at the greatest rate; 0 = unlimited.
    interval_us: u64,
    /// By how much accepts may run ahead of that rate, milliseconds.
    burst_ms: u64,
    /// When the next accept is due at that rate, microseconds since process start.
    next_us: AtomicU64,
}

/// What to do with a socket that was just accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Take it.
    Take,
    /// Take it, and accept no other before so many milliseconds are over.
    TakeAndPause(u64),
    /// Close it: the listener has as many as it may.
    Full,
}

impl ListenerShare {
    /// Limits of one listener, over all cores together.
    pub fn new(
        max_connections: Option<u32>,
        max_conn_rate: Option<u32>,
        max_conn_burst: Option<u32>,
    ) -> Self {
        let interval_us = max_conn_rate.map_or(0, |rate| 1_000_000 / u64::from(rate.max(1)));
        let burst_ms = |burst: u32| u64::from(burst) * interval_us / 1000;
        Self {
            max_connections,
            connections: AtomicU32::new(0),
            interval_us,
            burst_ms: max_conn_burst.map_or(BURST_MS, burst_ms),
            next_us: AtomicU64::new(0),
        }
    }

    /// A socket was accepted.
    pub fn accepted(&self, now_ms: u64) -> Admission {
        let count = self.connections.fetch_add(1, Ordering::Relaxed);
        if self.max_connections.is_some_and(|max| count >= max) {
            self.closed();
            return Admission::Full;
        }
        if self.interval_us == 0 {
            return Admission::Take;
        }
        let now_us = now_ms * 1000;
        let advance = |next: u64| Some(next.max(now_us) + self.interval_us);
        let next = self
            .next_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        let ahead_ms = next.unwrap_or_else(|next| next).saturating_sub(now_us) / 1000;
        if ahead_ms < self.burst_ms.max(1) {
            Admission::Take
        } else {
            Admission::TakeAndPause(ahead_ms)
        }
    }

    /// A socket that was taken has been closed.
    pub fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections it may hold.
    pub fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// Sockets open now.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_as_many_as_allowed_and_again_when_some_go() {
        let share = ListenerShare::new(Some(2), None, None);
        assert_eq!(share.accepted(0), Admission::Take);
        assert_eq!(share.accepted(0), Admission::Take);
        assert_eq!(share.accepted(0), Admission::Full);
        share.closed();
        assert_eq!(share.accepted(0), Admission::Take);
        assert_eq!(share.connections(), 2);
    }

    #[test]
    fn pauses_when_accepts_run_ahead_of_the_rate() {
        let share = ListenerShare::new(None, Some(100), None);
        let taken = (0..100)
            .take_while(|_| share.accepted(1000) == Admission::Take)
            .count();
        assert_eq!(taken, 10, "a tenth of a second's worth");
        let bursty = ListenerShare::new(None, Some(100), Some(50));
        let taken = (0..100)
            .take_while(|_| bursty.accepted(1000) == Admission::Take)
            .count();
        assert_eq!(taken, 50);
        assert!(matches!(share.accepted(1000), Admission::TakeAndPause(ms) if ms >= BURST_MS));
        assert_eq!(share.accepted(3000), Admission::Take);
    }
}
