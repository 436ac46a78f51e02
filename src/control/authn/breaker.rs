//! Leaves a backend alone that has failed several times, and says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which a backend is not asked for a while.
const FAILURES_MAX: u32 = 5;
/// The first such while; it doubles with each failure that follows.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How a backend has done lately; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker(Arc<Mutex<Lately>>);

#[derive(Debug, Default)]
struct Lately {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Whether the backend is not to be asked now. When the time is over one is let through to try; the
    /// others wait for what becomes of it.
    pub(super) fn is_paused(&self) -> bool {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lately.closed_until {
            Some(until) if until > Instant::now() => true,
            Some(_) => {
                let pause = pause_after(lately.failures);
                lately.closed_until = Some(Instant::now() + pause);
                false
            }
            None => false,
        }
    }

    /// Whether it has failed so often that it is left alone, and has not worked since.
    pub(super) fn is_down(&self) -> bool {
        let lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.failures >= FAILURES_MAX
    }

    /// It has answered.
    pub(super) fn worked(&self, backend: &str) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = lately.closed_until.take().is_some();
        lately.failures = 0;
        drop(lately);
        if paused {
            tracing::info!(backend, "access control: the backend works again");
        }
    }

    /// It has failed.
    pub(super) fn failed(&self, backend: &str, what: &str) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lately.failures = lately.failures.saturating_add(1);
        let failures = lately.failures;
        if failures >= FAILURES_MAX {
            lately.closed_until = Some(Instant::now() + pause_after(failures));
        }
        drop(lately);
        // The first, then those after which it is left alone for longer and longer.
        if failures == 1 || failures >= FAILURES_MAX {
            tracing::warn!(
                backend,
                failures,
                error = what,
                "access control: a backend failed and was passed over"
            );
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(FAILURES_MAX).min(10);
    (PAUSE_MIN * 2_u32.pow(doublings)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_down_after_several_failures_until_it_works() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed("b", "no");
        }
        assert!(!breaker.is_down() && !breaker.is_paused());
        breaker.failed("b", "no");
        assert!(breaker.is_down() && breaker.clone().is_down() && breaker.is_paused());
        breaker.worked("b");
        assert!(!breaker.is_down() && !breaker.is_paused());
    }
}
