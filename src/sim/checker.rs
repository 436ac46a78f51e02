//! What must never happen, judged when a client sees it. What must have happened is judged at the
//! end: `ending.rs`.

use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::sim::ledger::{Event, Ledger, Published, Subscription, Version};
use crate::sim::share::is_shared_topic;

/// A PUBLISH that a client got.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Its session.
    pub session: usize,
    /// The message; none if the payload is empty.
    pub message: Option<usize>,
    /// The topic.
    pub topic: &'a str,
    /// QoS of this delivery.
    pub qos: QoS,
    /// DUP flag.
    pub dup: bool,
    /// Its packet identifier had come before.
    pub again: bool,
    /// RETAIN flag.
    pub retain: bool,
    /// Subscription identifiers.
    pub identifiers: Vec<u32>,
    /// The client speaks 5.0.
    pub is_v5: bool,
    /// The time.
    pub now_ms: u64,
}

impl Ledger {
    /// Judges a delivery; says whether it can only have come from the store of retained messages.
    pub fn delivered(&mut self, delivery: &Delivery<'_>) -> bool {
        self.tick();
        let log = &mut self.sessions[delivery.session];
        if !delivery.again {
            let topic = delivery.topic.to_owned();
            log.last_on_topic.insert(topic, delivery.message);
        }
        let Some(number) = delivery.message else {
            self.check_empty(delivery);
            return false;
        };
        let Some(message) = self.published.get_mut(number) else {
            self.fail("a message that nobody published");
            return false;
        };
        message.deliveries += 1;
        let message = message.clone();
        let judged = self
            .judge_message(delivery, &message)
            .and_then(|()| self.judge_grant(delivery, number, &message))
            .and_then(|replay| {
                let copies = if is_shared_topic(delivery.topic) {
                    self.judge_shared(delivery, number, &message)
                } else {
                    self.judge_copies(delivery, number, &message)
                };
                copies.map(|()| replay)
            });
        match judged {
            Ok(replay) => replay,
            Err(what) => {
                self.fail(format!(
                    "message {number} {message:?}, {delivery:?}: {what}"
                ));
                false
            }
        }
    }

    /// A clearing message has no number; it is only known that the topic must be subscribed.
    fn check_empty(&mut self, delivery: &Delivery<'_>) {
        let subscribed = self.sessions[delivery.session]
            .subscriptions
            .iter()
            .any(|s| topic_matches(&s.filter, delivery.topic));
        let stored = delivery.retain && !delivery.is_v5;
        if !subscribed || stored {
            self.fail(format!("{delivery:?} was not asked for"));
        }
    }

    /// What can be said of it without looking at subscriptions.
    fn judge_message(&self, delivery: &Delivery<'_>, message: &Published) -> Result<(), String> {
        if message.topic != delivery.topic {
            return Err("wrong topic".into());
        }
        if message.sent == Event::MAX {
            return Err("the will of a connection that lives".into());
        }
        if delivery.retain && !message.retain {
            return Err("RETAIN on a message that is not retained".into());
        }
        let Some(conn) = message.will_of else {
            return Ok(());
        };
        let log = &self.conns[conn];
        let delay_s = log.will.map_or(0, |(_, delay_s)| delay_s.min(log.expiry_s));
        let clean_since = log.next.is_some_and(|next| self.conns[next].clean);
        let due_ms = log.ended_ms.unwrap_or(u64::MAX) + u64::from(delay_s) * 1000;
        if !clean_since && delivery.now_ms < due_ms {
            return Err(format!("a will before it is due at {due_ms}"));
        }
        Ok(())
    }

    /// Whether a subscription grants it, at this QoS, with these identifiers.
    fn judge_grant(
        &self,
        delivery: &Delivery<'_>,
        number: usize,
        message: &Published,
    ) -> Result<bool, String> {
        let log = &self.sessions[delivery.session];
        // What is on its way between cores goes to who subscribes before it arrives there.
        let (from, to) = (message.sent, None);
        let is_own = message.session == Some(delivery.session) && message.will_of.is_none();
        let matching: Vec<&Subscription> = log
            .subscriptions
            .iter()
            .filter(|s| topic_matches(&s.filter, delivery.topic))
            .collect();
        let live: Vec<&Version> = matching
            .iter()
            .filter(|s| s.possible(from, to))
            .flat_map(|s| s.versions_in(from, to))
            .filter(|v| !(v.no_local && is_own))
            .collect();
        let stored: Vec<&Version> = matching
            .iter()
            .flat_map(|s| &s.versions)
            .filter(|v| delivery.retain && self.may_be_stored_for(v, number, message))
            .collect();
        let highest = live.iter().chain(&stored).map(|v| v.qos).max();
        let Some(highest) = highest else {
            return Err("nobody subscribed to it".into());
        };
        if delivery.qos > message.qos.min(highest) {
            return Err(format!("QoS above {highest:?}"));
        }
        // Whether a client's own will is its own message is left open.
        let own_will = message.will_of.is_some()
            && message.client == log.client
            && live.iter().any(|v| v.no_local);
        let certain = !own_will
            && matching.iter().all(|s| {
                let impossible = !s.possible(from, to);
                let one = s.versions_in(from, to).count() == 1;
                impossible || (one && s.certain(message, Event::MAX))
            });
        let replay = delivery.retain && !live.iter().any(|v| v.retain_as_published);
        if replay && stored.is_empty() {
            return Err("a stored message after a newer one".into());
        }
        if !certain || !stored.is_empty() {
            return Ok(replay);
        }
        let mut identifiers: Vec<u32> = live.iter().filter_map(|v| v.identifier).collect();
        let mut got = delivery.identifiers.clone();
        identifiers.sort_unstable();
        got.sort_unstable();
        if delivery.qos != message.qos.min(highest) {
            return Err(format!("QoS below {highest:?}"));
        }
        if delivery.is_v5 && identifiers != got {
            return Err(format!("identifiers {identifiers:?} were due"));
        }
        let as_published = live.iter().any(|v| v.retain_as_published);
        if delivery.retain != (message.retain && as_published) {
            return Err("RETAIN flag".into());
        }
        Ok(false)
    }

    /// Whether a SUBSCRIBE may be answered with a stored message: it asked for it, nothing newer was
    /// acknowledged before, and the message was not published behind its SUBACK, so that it comes live.
    pub fn may_be_stored_for(&self, version: &Version, number: usize, message: &Published) -> bool {
        let superseded = |other: &Published| {
            other.retain
                && other.topic == message.topic
                && other.acked.is_some_and(|acked| acked < version.sent)
        };
        let behind = version.acked.is_some_and(|acked| acked < message.sent);
        message.retain
            && version.retain_handling < 2
            && !behind
            && !self.published[number + 1..].iter().any(superseded)
    }

    /// Not twice, and not before an older one of the same publisher, topic and QoS.
    fn judge_copies(
        &mut self,
        delivery: &Delivery<'_>,
        number: usize,
        message: &Published,
    ) -> Result<(), String> {
        let log = &self.sessions[delivery.session];
        let replays = log
            .subscriptions
            .iter()
            .filter(|s| topic_matches(&s.filter, delivery.topic))
            .flat_map(|s| &s.versions)
            .filter(|v| self.may_be_stored_for(v, number, message))
            .count();
        let routed = if message.qos == QoS::ExactlyOnce {
            1
        } else {
            message.attempts
        };
        let allowed = routed + u32::try_from(replays).unwrap_or(0);
        let log = &mut self.sessions[delivery.session];
        let receipt = log.received.entry(number).or_default();
        let first = receipt.copies == 0;
        if !delivery.dup || first {
            receipt.copies += 1;
        }
        receipt.exactly_once += u32::from(delivery.qos == QoS::ExactlyOnce);
        if receipt.copies.max(receipt.exactly_once) > allowed {
            return Err(format!("copy {} of {allowed}", receipt.copies));
        }
        if first && !(delivery.retain && message.retain) {
            let (publisher, topic) = (message.client, message.topic.clone());
            let key = (publisher, topic, message.qos, delivery.qos);
            let before = log.order.insert(key, number);
            // What is sent again may come for the first time to who was not there before.
            let again = message.attempts > 1 && message.qos == QoS::AtLeastOnce;
            if let Some(before) = before.filter(|before| *before > number && !again) {
                return Err(format!("after message {before}"));
            }
        }
        Ok(())
    }

    /// The broker has said that nobody wants a message: no subscription may have been in force for
    /// certain.
    pub fn check_unwanted(&mut self, number: usize) {
        let message = &self.published[number];
        let to = message.acked.unwrap_or(Event::MAX);
        let wanted = self.sessions.iter().position(|log| {
            let last = &self.conns[log.conn];
            let cleared = last.next.is_some_and(|next| self.conns[next].clean);
            let alive = !log.ended && !cleared && last.expiry_s > 10_000;
            let certain = |s: &Subscription| {
                topic_matches(&s.filter, &message.topic) && s.certain(message, to)
            };
            alive && log.subscriptions.iter().any(certain)
        });
        if message.attempts == 1
            && let Some(session) = wanted
        {
            let log = &self.sessions[session];
            let text = format!("message {number} {message:?}: session {session} wants it, {log:?}");
            self.fail(text);
        }
    }

    /// Whether a CONNACK must say that there was a session, if that is known.
    pub fn session_present(
        &self,
        session: Option<usize>,
        conn: usize,
        now_ms: u64,
    ) -> Option<bool> {
        let log = &self.conns[conn];
        let Some(session) = session.filter(|_| !log.clean) else {
            return Some(false);
        };
        let last = &self.conns[self.sessions[session].conn];
        if last.expiry_s == 0 {
            return Some(false);
        }
        let expiry_ms = u64::from(last.expiry_s) * 1000;
        if now_ms < last.ended_ms.unwrap_or(now_ms) + expiry_ms {
            return Some(true);
        }
        // Rounded up to a second twice, a tick of the wheel, and some.
        let gone_ms = last
            .closed_ms
            .unwrap_or(u64::MAX)
            .saturating_add(expiry_ms + 2500);
        (log.turned_ms >= gone_ms).then_some(false)
    }
}
