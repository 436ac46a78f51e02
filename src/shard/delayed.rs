//! Delayed messages: `$delayed/<seconds>/<topic>` is published to `<topic>` after so many seconds.
//!
//! A delayed message waits on its publisher's home core, whatever becomes of the session, and is then
//! routed like any other, to who is subscribed at that time. It is charged to the core's budget for
//! queued messages, of which delayed ones leave a fifth for the others. The publisher's PUBACK says
//! that the message is kept: 0x00, or 0x97 when as many as may wait already do. A topic that is wrong
//! in form is acknowledged (0x10) and the message discarded, as with EMQX.
//!
//! RETAIN is kept. The time of receipt is that of the publishing, for it orders retained messages; the
//! expiry counts from the PUBLISH, and what expires before it is due is dropped.

use std::collections::VecDeque;

use compact_str::CompactString;

use crate::base::ids::CoreId;
use crate::base::limits::{DELAYED_PER_TURN, MANAGE_SCAN_PER_STEP};
use crate::base::slab::{Key, Slab};
use crate::base::time::Now;
use crate::gate::manage::DelayedRow;
use crate::metrics::Counter;
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::TopicName;
use crate::shard::Shard;
use crate::shard::fanout::is_expired;
use crate::shard::timers::Timer;

/// What a delayed topic begins with.
pub const DELAYED_PREFIX: &str = "$delayed/";
/// The longest delay in seconds, 49 days; greater numbers are moments of UNIX time.
const SECONDS_MAX: u64 = 4_294_967;

/// A topic below `$delayed/`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DelayedTopic<'a> {
    /// Publish to the topic after so many milliseconds.
    In(u64, &'a str),
    /// Not a valid one: the message is discarded.
    Invalid,
}

impl<'a> DelayedTopic<'a> {
    /// Reads what stands behind [`DELAYED_PREFIX`]. A moment of UNIX time that has passed is now.
    pub fn parse(rest: &'a str, now_unix_us: u64) -> Self {
        let Some((number, topic)) = rest.split_once('/') else {
            return Self::Invalid;
        };
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| digits);
        if TopicName::new(topic).is_err() {
            return Self::Invalid;
        }
        match number {
            Some(seconds) if seconds <= SECONDS_MAX => Self::In(seconds * 1000, topic),
            Some(moment) => {
                let moment_us = u128::from(moment) * 1_000_000;
                let delay_ms = moment_us
                    .saturating_sub(u128::from(now_unix_us))
                    .div_ceil(1000);
                match u64::try_from(delay_ms) {
                    Ok(delay_ms) if delay_ms <= SECONDS_MAX * 1000 => Self::In(delay_ms, topic),
                    _ => Self::Invalid,
                }
            }
            None => Self::Invalid,
        }
    }
}

/// The delayed messages of one core.
pub struct DelayedMessages {
    waiting: Slab<Delayed>,
    /// Due, to be published when the outboxes have room.
    due: VecDeque<Key>,
    /// Most that may wait.
    limit: u32,
}

#[derive(Debug)]
struct Delayed {
    message: Message,
    publisher: CompactString,
    due_ms: u64,
}

impl DelayedMessages {
    /// None, and the part of one of `cores` of the most there may be (0 = unlimited).
    pub fn new(max_messages: usize, cores: u8) -> Self {
        let part = max_messages.div_ceil(usize::from(cores.max(1)));
        let limit = match part {
            0 => u32::MAX - 1,
            part => u32::try_from(part).unwrap_or(u32::MAX - 1),
        };
        Self {
            waiting: Slab::default(),
            due: VecDeque::new(),
            limit,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len() as usize
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether none is due.
    pub fn is_idle(&self) -> bool {
        self.due.is_empty()
    }

    /// Guards an index against reuse.
    pub fn generation(&self, index: u32) -> u32 {
        self.waiting.generation(index).unwrap_or(0)
    }

    /// The timer of a message has fired.
    fn fire(&mut self, index: u32, now_ms: u64) {
        let due = self.waiting.at(index).is_some_and(|d| d.due_ms <= now_ms);
        if due && let Some(key) = self.waiting.key_at(index) {
            self.due.push_back(key);
        }
    }

    fn row(&self, key: Key, (core, now): (CoreId, Now), whole: bool) -> Option<DelayedRow> {
        let delayed = self.waiting.get(key)?;
        let view = delayed.message.view();
        Some(DelayedRow {
            id: key.pack(),
            core: core.0,
            topic: view.topic.to_owned(),
            payload: whole.then(|| view.payload.to_vec()),
            qos: view.qos.as_u8(),
            retain: view.retain,
            client_id: delayed.publisher.clone(),
            received_us: view.received_us,
            publish_us: (now.unix_us + delayed.due_ms * 1000).saturating_sub(now.ms * 1000),
        })
    }
}

impl Shard {
    /// Keeps a message until its time has come; says what the publisher is told.
    pub(super) fn delay(
        &mut self,
        publication: &Publication<'_>,
        delay_ms: u64,
        publisher: CompactString,
    ) -> ReasonCode {
        let metrics = &self.clients.metrics;
        if self.delayed.waiting.len() >= self.delayed.limit {
            metrics.inc(Counter::MessagesDroppedDelayedFull);
            return ReasonCode::QuotaExceeded;
        }
        if !self.clients.budget.allows_qos0() {
            metrics.inc(Counter::MessagesDroppedDelayedMemory);
            return ReasonCode::QuotaExceeded;
        }
        metrics.inc(Counter::MessagesDelayed);
        let message = Message::from_publication(publication);
        self.clients.budget.charge(&message);
        let due_ms = self.clients.now.ms + delay_ms;
        let key = self.delayed.waiting.insert(Delayed {
            message,
            publisher,
            due_ms,
        });
        self.arm(Timer::Delayed, key.index, due_ms);
        ReasonCode::Success
    }

    /// A will to a topic below `$delayed/` waits on; false if this is none.
    pub(super) fn delay_will(&mut self, will: &Publication<'_>) -> bool {
        let rest = will.topic.strip_prefix(DELAYED_PREFIX);
        let Some(rest) = rest.filter(|_| self.clients.rules.addons.delayed) else {
            return false;
        };
        match DelayedTopic::parse(rest, self.clients.now.unix_us) {
            DelayedTopic::In(delay_ms, topic) => {
                let will = Publication { topic, ..*will };
                self.delay(&will, delay_ms, CompactString::default());
            }
            DelayedTopic::Invalid => {
                self.discard_delayed();
            }
        }
        true
    }

    /// A topic below `$delayed/` that means nothing: the message is discarded.
    pub(super) fn discard_delayed(&mut self) -> ReasonCode {
        self.clients
            .metrics
            .inc(Counter::MessagesDroppedDelayedInvalid);
        ReasonCode::NoMatchingSubscribers
    }

    pub(super) fn delayed_due(&mut self, index: u32) {
        self.delayed.fire(index, self.clients.now.ms);
    }

    /// Publishes what is due, a bounded number while the outboxes have room.
    pub(super) fn publish_delayed(&mut self) {
        if self.delayed.due.is_empty() {
            return;
        }
        for _ in 0..DELAYED_PER_TURN {
            if self.outboxes.over_limit() {
                return;
            }
            let Some(key) = self.delayed.due.pop_front() else {
                return;
            };
            if let Some(delayed) = self.delayed.waiting.remove(key) {
                self.publish_one_delayed(&delayed.message.view());
                self.clients.budget.release(delayed.message);
            }
        }
    }

    fn publish_one_delayed(&mut self, stored: &Publication<'_>) {
        let now_us = self.clients.now.unix_us;
        if is_expired(stored, now_us) {
            return self
                .clients
                .metrics
                .inc(Counter::MessagesDroppedDelayedExpired);
        }
        let routed = self.route(&Publication {
            received_us: now_us,
            ..*stored
        });
        if !routed.wanted {
            self.clients
                .metrics
                .inc(Counter::MessagesDroppedNoSubscribers);
        }
    }

    /// Delayed messages from the place `from` on, at most `limit`, without their payloads; and the place
    /// where the next page begins. (Places are not in the order of time.) Looks at a bounded number of
    /// places, so a page may have less than there is.
    pub fn delayed_page(&self, from: u32, limit: usize) -> (Vec<DelayedRow>, Option<u32>) {
        let here = (self.clients.core, self.clients.now);
        let bound = self.delayed.waiting.index_bound();
        let most = u32::try_from(MANAGE_SCAN_PER_STEP).unwrap_or(u32::MAX);
        let mut to = from.saturating_add(most).min(bound);
        let mut page = Vec::new();
        for (key, _) in self.delayed.waiting.iter_range(from, to) {
            if page.len() == limit {
                to = key.index;
                break;
            }
            page.extend(self.delayed.row(key, here, false));
        }
        (page, (to < bound).then_some(to))
    }

    /// One delayed message with its payload.
    pub fn delayed_message(&self, id: u64) -> Option<DelayedRow> {
        let here = (self.clients.core, self.clients.now);
        self.delayed.row(Key::unpack(id), here, true)
    }

    /// Forgets a delayed message; false if it is not there.
    pub fn delete_delayed(&mut self, id: u64) -> bool {
        let Some(delayed) = self.delayed.waiting.remove(Key::unpack(id)) else {
            return false;
        };
        self.clients.budget.release(delayed.message);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: u64 = 1_700_000_000_500_000;

    fn parse(rest: &str) -> DelayedTopic<'_> {
        DelayedTopic::parse(rest, NOW_US)
    }

    #[test]
    fn seconds_and_moments() {
        assert_eq!(parse("5/a/b"), DelayedTopic::In(5_000, "a/b"));
        assert_eq!(parse("0/a"), DelayedTopic::In(0, "a"));
        assert_eq!(parse("3600/$SYS/x"), DelayedTopic::In(3_600_000, "$SYS/x"));
        assert_eq!(parse("4294967/a"), DelayedTopic::In(4_294_967_000, "a"));
        assert_eq!(parse("1700000010/a"), DelayedTopic::In(9_500, "a"));
        assert_eq!(
            parse("1699999999/a"),
            DelayedTopic::In(0, "a"),
            "it has passed"
        );
        assert_eq!(parse("4294968/a"), DelayedTopic::In(0, "a"), "in 1970");
    }

    #[test]
    fn what_is_no_delay() {
        for rest in [
            "",
            "5",
            "5/",
            "/a",
            "x/a",
            "-1/a",
            "+1/a",
            "1.5/a",
            "1704294968/a",
            "99999999999999999999/a",
            "18446744073709551615/a",
        ] {
            assert_eq!(parse(rest), DelayedTopic::Invalid, "{rest}");
        }
    }
}
