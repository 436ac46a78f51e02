//! How much one connection may send: token buckets for messages and bytes.
//!
//! A bucket may be overdrawn by what has come already; the connection is then not read from until it
//! is level again, so that the rate holds over time. Absent where no limit is set.

use std::num::NonZeroU64;

/// A rate and what may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// So many in `per_ms`.
    pub amount: NonZeroU64,
    /// The time for `amount`, milliseconds.
    pub per_ms: NonZeroU64,
    /// What a connection that was silent may send at once.
    pub burst: u64,
}

/// What happens to what is too much.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Excess {
    /// Nothing is read until the rate allows it.
    #[default]
    Pause,
    /// Messages are dropped.
    Drop,
}

/// The limits of the connections of one listener.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ConnectionLimits {
    /// PUBLISH packets.
    pub messages: Option<RateLimit>,
    /// Bytes received.
    pub bytes: Option<RateLimit>,
    /// What happens to what is too much.
    pub excess: Excess,
}

impl ConnectionLimits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

/// The buckets of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Nothing is read until then, milliseconds since process start.
    pub paused_until_ms: Option<u64>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(limits: &ConnectionLimits, now_ms: u64) -> Self {
        let bucket = |rate: RateLimit| Bucket::full(rate, now_ms);
        Self {
            messages: limits.messages.map(bucket),
            bytes: limits.bytes.map(bucket),
            paused_until_ms: None,
        }
    }

    /// Takes what has come, and says for how long nothing more may.
    pub fn take(&mut self, messages: u64, bytes: u64, now_ms: u64) -> Option<u64> {
        let of_messages = self.messages.as_mut().map(|b| b.take(messages, now_ms));
        let of_bytes = self.bytes.as_mut().map(|b| b.take(bytes, now_ms));
        let wait_ms = of_messages.max(of_bytes).unwrap_or(0);
        (wait_ms > 0).then_some(wait_ms)
    }

    /// Takes a message if there is room for it.
    pub fn admit(&mut self, bytes: u64, now_ms: u64) -> bool {
        let fits = |bucket: &mut Option<Bucket>, n| {
            bucket.as_mut().is_none_or(|bucket| bucket.holds(n, now_ms))
        };
        let admitted = fits(&mut self.messages, 1) && fits(&mut self.bytes, bytes);
        if admitted {
            self.take(1, bytes, now_ms);
        }
        admitted
    }
}

/// Counts in units of 1/`per_ms`, so that nothing is lost by rounding.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: RateLimit,
    /// What is left, in the unit; below zero when overdrawn.
    level: i128,
    filled_ms: u64,
}

impl Bucket {
    fn full(rate: RateLimit, now_ms: u64) -> Self {
        Self {
            rate,
            level: Self::unit(rate) * i128::from(rate.burst),
            filled_ms: now_ms,
        }
    }

    fn unit(rate: RateLimit) -> i128 {
        i128::from(rate.per_ms.get())
    }

    fn fill(&mut self, now_ms: u64) {
        let gone_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = now_ms;
        let came = i128::from(gone_ms) * i128::from(self.rate.amount.get());
        let most = Self::unit(self.rate) * i128::from(self.rate.burst);
        self.level = (self.level + came).min(most);
    }

    /// Whether so much is left; what is larger than the bucket needs a full one.
    fn holds(&mut self, n: u64, now_ms: u64) -> bool {
        self.fill(now_ms);
        self.level >= Self::unit(self.rate) * i128::from(n.min(self.rate.burst))
    }

    /// Takes so much; says after how many milliseconds it is level again.
    fn take(&mut self, n: u64, now_ms: u64) -> u64 {
        self.fill(now_ms);
        self.level -= Self::unit(self.rate) * i128::from(n);
        if self.level >= 0 {
            return 0;
        }
        let amount = i128::from(self.rate.amount.get());
        u64::try_from((amount - 1 - self.level) / amount).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u64, per_ms: u64, burst: u64) -> RateLimit {
        RateLimit {
            amount: NonZeroU64::new(amount).unwrap(),
            per_ms: NonZeroU64::new(per_ms).unwrap(),
            burst,
        }
    }

    fn limits(messages: Option<RateLimit>, bytes: Option<RateLimit>) -> ConnectionLimits {
        ConnectionLimits {
            messages,
            bytes,
            excess: Excess::Pause,
        }
    }

    #[test]
    fn the_rate_holds_over_time() {
        // 1024 bytes a second, 4096 at once.
        let limits = limits(None, Some(rate(1024, 1000, 4096)));
        let mut limiter = Limiter::new(&limits, 0);
        let (mut now_ms, mut sent) = (0, 0_u64);
        while now_ms < 100_000 {
            sent += 700;
            now_ms += limiter.take(1, 700, now_ms).unwrap_or(0);
        }
        let allowed = 4096 + 1024 * now_ms / 1000;
        assert!(
            (allowed - 700..=allowed + 700).contains(&sent),
            "{sent} of {allowed}"
        );
    }

    #[test]
    fn the_slower_of_two_buckets_counts() {
        let limits = limits(Some(rate(10, 1000, 10)), Some(rate(1000, 1000, 1000)));
        let mut limiter = Limiter::new(&limits, 0);
        assert_eq!(limiter.take(10, 100, 0), None);
        assert_eq!(limiter.take(1, 0, 0), Some(100));
        assert_eq!(limiter.take(0, 1900, 0), Some(1000));
        assert_eq!(limiter.take(0, 0, 1000), None);
    }

    #[test]
    fn dropping_takes_what_fits() {
        let limits = limits(Some(rate(1, 60_000, 2)), None);
        let mut limiter = Limiter::new(&limits, 0);
        let admitted: Vec<bool> = (0..4).map(|_| limiter.admit(9, 0)).collect();
        assert_eq!(admitted, [true, true, false, false]);
        assert!(!limiter.admit(9, 59_999));
        assert!(limiter.admit(9, 60_000));
    }
}
