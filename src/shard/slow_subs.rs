//! Subscriptions to which messages come late: the slowest of this core.

use hashbrown::HashMap;

use crate::base::limits::SLOW_SENT_MAX;
use crate::gate::slow_subs::{SlowRow, SlowSettings, SlowSpan};

/// How long a message that was sent is waited for, microseconds, when room for others is needed.
const SENT_LIFE_US: u64 = 60_000_000;
/// How often room is looked for, microseconds.
const SWEEP_EVERY_US: u64 = 1_000_000;

/// The slowest subscriptions of a core.
pub(super) struct SlowSubs {
    settings: SlowSettings,
    /// By a hash of client id and topic.
    rows: HashMap<u64, SlowRow, ahash::RandomState>,
    /// When messages were sent that wait for an acknowledgement, microseconds of UNIX time, by session
    /// and packet identifier; only where that is what is measured.
    sent: HashMap<(u32, u16), u64, ahash::RandomState>,
    swept_us: u64,
}

impl SlowSubs {
    pub(super) fn new(settings: SlowSettings) -> Self {
        // Both tables are small, and names that collide gain their owners one row for two. (Random seeds
        // are a feature that this crate does not ask for.)
        let hasher = ahash::RandomState::with_seeds(0x736C, 0x6F77, 0x7375, 0x6273);
        Self {
            settings,
            rows: HashMap::with_hasher(hasher.clone()),
            sent: HashMap::with_hasher(hasher),
            swept_us: 0,
        }
    }

    pub(super) fn span(&self) -> SlowSpan {
        self.settings.span
    }

    /// A message was sent; false if there is no room to remember it.
    pub(super) fn sent(&mut self, session_index: u32, packet_id: u16, now_us: u64) -> bool {
        if self.sent.len() >= SLOW_SENT_MAX && now_us >= self.swept_us + SWEEP_EVERY_US {
            self.swept_us = now_us;
            self.sent
                .retain(|_, sent_us| now_us.saturating_sub(*sent_us) < SENT_LIFE_US);
        }
        let has_room = self.sent.len() < SLOW_SENT_MAX;
        if has_room {
            self.sent.insert((session_index, packet_id), now_us);
        }
        has_room
    }

    /// It was acknowledged: when it had been sent.
    pub(super) fn acked(&mut self, session_index: u32, packet_id: u16) -> Option<u64> {
        self.sent.remove(&(session_index, packet_id))
    }

    /// How long a message took to a subscriber.
    pub(super) fn note(&mut self, (client_id, topic): (&str, &str), took_ms: u64, now_ms: u64) {
        if took_ms < self.settings.threshold_ms {
            return;
        }
        let key = self.rows.hasher().hash_one((client_id, topic));
        if let Some(row) = self.rows.get_mut(&key) {
            row.took_ms = row.took_ms.max(took_ms);
            row.at_ms = now_ms;
            return;
        }
        if self.rows.len() >= self.settings.most && !self.make_room(took_ms, now_ms) {
            return;
        }
        let row = SlowRow {
            client_id: client_id.into(),
            topic: topic.into(),
            took_ms,
            at_ms: now_ms,
        };
        self.rows.insert(key, row);
    }

    /// Forgets those that are over, or the least slow if that is less slow than this.
    fn make_room(&mut self, took_ms: u64, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        if self.rows.len() < self.settings.most {
            return true;
        }
        let least = self.rows.iter().min_by_key(|(_, row)| row.took_ms);
        let least = least.filter(|(_, row)| row.took_ms < took_ms);
        let Some(key) = least.map(|(key, _)| *key) else {
            return false;
        };
        self.rows.remove(&key).is_some()
    }

    fn forget_old(&mut self, now_ms: u64) {
        let life_ms = self.settings.expire_ms;
        self.rows
            .retain(|_, row| now_ms.saturating_sub(row.at_ms) < life_ms);
    }

    /// Those that are not over.
    pub(super) fn rows(&mut self, now_ms: u64, forget: bool) -> Vec<SlowRow> {
        self.forget_old(now_ms);
        let rows = self.rows.values().cloned().collect();
        if forget {
            self.rows.clear();
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(most: usize) -> SlowSubs {
        SlowSubs::new(SlowSettings {
            threshold_ms: 500,
            most,
            expire_ms: 10_000,
            span: SlowSpan::Response,
        })
    }

    fn seen(slow: &mut SlowSubs, now_ms: u64) -> Vec<(String, u64)> {
        let rows = slow.rows(now_ms, false).into_iter();
        let mut rows: Vec<_> = rows
            .map(|row| (row.client_id.to_string(), row.took_ms))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn the_slowest_are_kept_and_forgotten_in_time() {
        let mut slow = slow(2);
        slow.note(("a", "t"), 499, 0);
        assert!(seen(&mut slow, 0).is_empty());
        slow.note(("a", "t"), 500, 0);
        slow.note(("a", "t"), 700, 1);
        slow.note(("a", "t"), 600, 2);
        slow.note(("b", "t"), 600, 2);
        slow.note(("c", "t"), 600, 3);
        let of = |name: &str, ms| (name.to_owned(), ms);
        assert_eq!(seen(&mut slow, 3), [of("a", 700), of("b", 600)]);
        slow.note(("c", "t"), 601, 3);
        assert_eq!(seen(&mut slow, 3), [of("a", 700), of("c", 601)]);
        assert_eq!(seen(&mut slow, 10_002), [of("c", 601)]);
        slow.note(("d", "t"), 501, 10_002);
        assert_eq!(slow.rows(10_002, true).len(), 2);
        assert!(seen(&mut slow, 10_002).is_empty());
    }

    #[test]
    fn what_was_sent_is_remembered_as_far_as_there_is_room() {
        let mut slow = slow(2);
        assert!(slow.sent(1, 7, 100));
        assert_eq!(slow.acked(1, 7), Some(100));
        assert_eq!(slow.acked(1, 7), None);
        for number in 0..SLOW_SENT_MAX {
            assert!(slow.sent(u32::try_from(number).unwrap(), 1, 100));
        }
        assert!(!slow.sent(u32::MAX, 1, 100));
        assert!(slow.sent(u32::MAX, 1, 100 + SENT_LIFE_US), "all are old");
    }
}
