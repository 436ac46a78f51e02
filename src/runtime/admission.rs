//! How many connections a listener takes, and how fast: the only state that cores share on the
//! accept path.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Stands for no limit of connections.
const UNLIMITED: u32 = u32::MAX;

/// Accepts that may come at once above an even rate, as a share of one second.
const BURST_MS: u64 = 100;

/// What all cores know of one listener.
#[derive(Debug)]
pub struct ListenerShare {
    /// [`UNLIMITED`] for no limit.
    max_connections: AtomicU32,
    /// Sockets accepted and not yet closed.
    connections: AtomicU32,
    /// Microseconds between two accepts at the greatest rate; 0 = unlimited.
    interval_us: AtomicU64,
    /// By how much accepts may run ahead of that rate, milliseconds.
    burst_ms: AtomicU64,
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
        let share = Self {
            max_connections: AtomicU32::new(UNLIMITED),
            connections: AtomicU32::new(0),
            interval_us: AtomicU64::new(0),
            burst_ms: AtomicU64::new(0),
            next_us: AtomicU64::new(0),
        };
        share.set_limits(max_connections, max_conn_rate, max_conn_burst);
        share
    }

    /// Other limits from now on. Connections that are there stay, however many.
    pub fn set_limits(
        &self,
        max_connections: Option<u32>,
        max_conn_rate: Option<u32>,
        max_conn_burst: Option<u32>,
    ) {
        let interval_us = max_conn_rate.map_or(0, |rate| 1_000_000 / u64::from(rate.max(1)));
        let burst_ms = |burst: u32| u64::from(burst) * interval_us / 1000;
        let burst_ms = max_conn_burst.map_or(BURST_MS, burst_ms);
        let max_connections = max_connections.unwrap_or(UNLIMITED);
        // One accept may see some of the new limits and some of the old ones, which harms nobody.
        self.max_connections
            .store(max_connections, Ordering::Relaxed);
        self.interval_us.store(interval_us, Ordering::Relaxed);
        self.burst_ms.store(burst_ms, Ordering::Relaxed);
        // What had to wait under the old rate need not.
        self.next_us.store(0, Ordering::Relaxed);
    }

    /// A socket was accepted.
    pub fn accepted(&self, now_ms: u64) -> Admission {
        let count = self.connections.fetch_add(1, Ordering::Relaxed);
        if self.max_connections().is_some_and(|max| count >= max) {
            self.closed();
            return Admission::Full;
        }
        let interval_us = self.interval_us.load(Ordering::Relaxed);
        if interval_us == 0 {
            return Admission::Take;
        }
        let now_us = now_ms * 1000;
        let advance = |next: u64| Some(next.max(now_us) + interval_us);
        let next = self
            .next_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        let ahead_ms = next.unwrap_or_else(|next| next).saturating_sub(now_us) / 1000;
        if ahead_ms < self.burst_ms.load(Ordering::Relaxed).max(1) {
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
        let max = self.max_connections.load(Ordering::Relaxed);
        (max != UNLIMITED).then_some(max)
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
    fn limits_may_change() {
        let share = ListenerShare::new(Some(1), Some(10), Some(1));
        assert_eq!(share.accepted(1000), Admission::Take);
        assert_eq!(share.accepted(1000), Admission::Full);
        share.set_limits(Some(3), None, None);
        assert_eq!(share.accepted(1000), Admission::Take);
        assert_eq!(share.max_connections(), Some(3));
        share.set_limits(None, Some(1), Some(1));
        assert_eq!(share.accepted(1000), Admission::Take);
        assert!(matches!(share.accepted(1000), Admission::TakeAndPause(_)));
        assert_eq!((share.max_connections(), share.connections()), (None, 4));
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
