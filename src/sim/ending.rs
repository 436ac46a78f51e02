//! What must have happened by the end, when everything has come to rest.

use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::sim::ledger::{ConnLog, End, Event, Ledger, Published, SessionLog};

impl Ledger {
    /// Deliveries that must have come and did not: session and message. Only where it is certain.
    pub fn missing(&self, with_qos0: bool) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for (session, log) in self.sessions.iter().enumerate() {
            if log.ended {
                continue;
            }
            for (number, message) in self.published.iter().enumerate() {
                if self.is_due(session, log, message, with_qos0)
                    && !log.received.contains_key(&number)
                {
                    missing.push((session, number));
                }
            }
        }
        missing
    }

    fn is_due(&self, session: usize, log: &SessionLog, message: &Published, qos0: bool) -> bool {
        if message.empty || message.will_of.is_some() {
            return false;
        }
        if message.qos == QoS::AtMostOnce && !qos0
            || message.qos > QoS::AtMostOnce && message.acked.is_none()
        {
            return false;
        }
        // What is on its way between cores is governed by the options that it finds there, and lost
        // by an UNSUBSCRIBE that comes first.
        log.subscriptions.iter().any(|s| {
            !s.is_shared()
                && topic_matches(&s.filter, &message.topic)
                && s.certain(message, Event::MAX)
                && s.versions_in(message.sent, None).all(|v| {
                    let is_own = v.no_local && message.session == Some(session);
                    !is_own && (qos0 || v.qos > QoS::AtMostOnce)
                })
        })
    }

    /// QoS 1 and 2 have lost nothing.
    pub fn check_missing(&mut self) {
        if let Some((session, number)) = self.missing(false).first().copied() {
            let client = self.sessions[session].client;
            let message = &self.published[number];
            let text = format!(
                "client {client}, session {session}: message {number} {message:?} never came"
            );
            self.fail(text);
        }
    }

    /// Each subscriber has the newest retained message of a topic; at QoS 0 if nothing was dropped.
    pub fn check_retained(&mut self, with_qos0: bool) {
        let mut newest: Vec<(usize, String)> = Vec::new();
        for (number, message) in self.published.iter().enumerate() {
            if message.retain {
                newest.retain(|(_, topic)| *topic != message.topic);
                newest.push((number, message.topic.clone()));
            }
        }
        for (number, topic) in newest {
            for session in 0..self.sessions.len() {
                if let Some(what) = self.judge_retained(session, number, &topic, with_qos0) {
                    return self.fail(what);
                }
            }
        }
    }

    fn judge_retained(
        &self,
        session: usize,
        number: usize,
        topic: &str,
        with_qos0: bool,
    ) -> Option<String> {
        let log = &self.sessions[session];
        let message = &self.published[number];
        let acked = message.acked?;
        if log.ended || message.session == Some(session) {
            return None;
        }
        let matching = || {
            log.subscriptions
                .iter()
                .filter(|s| topic_matches(&s.filter, topic))
        };
        let mut versions = matching().flat_map(|s| &s.versions);
        // QoS 0 may be lost, and may overtake what waits at another QoS.
        let kept = if versions.clone().any(|v| v.qos > QoS::AtMostOnce) {
            versions.all(|v| v.qos > QoS::AtMostOnce)
        } else {
            with_qos0 && versions.all(|v| v.conn == log.conn)
        };
        // In force from before until now, or asked for later on a connection that lasts.
        let due = kept
            && matching().filter(|s| s.unsub_sent.is_none()).any(|s| {
                let live = s.certain(message, acked);
                let stored = !message.empty
                    && s.versions.last().is_some_and(|v| {
                        let asks = v.retain_handling == 0 || (v.retain_handling == 1 && v.new);
                        asks && v.acked.is_some() && v.conn == log.conn
                    });
                live || stored
            });
        let last = log.last_on_topic.get(topic);
        let expected = (!message.empty).then_some(number);
        if !due || last == Some(&expected) {
            return None;
        }
        let client = log.client;
        Some(format!(
            "client {client}, session {session}: {topic} ends with {last:?} instead of {expected:?}, {message:?}"
        ))
    }

    /// Wills that had to be published were, the others were not.
    pub fn check_wills(&mut self) -> u64 {
        let mut due = 0;
        for conn in 0..self.conns.len() {
            let log = &self.conns[conn];
            let Some((will, delay_s)) = log.will.filter(|_| log.connack.is_some()) else {
                continue;
            };
            let (must, may) = self.will_fate(log, delay_s);
            due += u64::from(must);
            let message = &self.published[will];
            if message.deliveries > 0 && !may {
                let text = format!("connection {conn}: its will {will} came, {log:?}");
                self.fail(text);
            } else if must && let Some(session) = self.misses_will(will) {
                let text =
                    format!("connection {conn}: session {session} misses its will {will}, {log:?}");
                self.fail(text);
            }
        }
        due
    }

    /// Whether a will must, and whether it may have been published.
    fn will_fate(&self, log: &ConnLog, delay_s: u32) -> (bool, bool) {
        let next = log.next.map(|next| &self.conns[next]);
        let closed_first = match (log.closed_ms, next) {
            (Some(closed_ms), Some(next)) => closed_ms < next.sent_ms,
            (closed, None) => closed.is_some(),
            (None, Some(_)) => false,
        };
        if log.end == End::Normal {
            return (false, !closed_first || log.unread);
        }
        if log.ended_ms.is_none() {
            return (false, false);
        }
        let delay_ms = u64::from(delay_s.min(log.expiry_s)) * 1000;
        let Some(next) = next else {
            return (true, true);
        };
        if delay_ms == 0 || next.clean {
            return (true, true);
        }
        let (ended_ms, greeted_ms) = (
            log.ended_ms.unwrap_or(0),
            next.connack_ms.unwrap_or(u64::MAX),
        );
        let resumed_in_time = greeted_ms < ended_ms + delay_ms;
        let late = log
            .closed_ms
            .is_some_and(|closed_ms| next.turned_ms > closed_ms + delay_ms + 500);
        (late, !resumed_in_time)
    }

    /// A session that was subscribed all the time and has not got a will.
    fn misses_will(&self, will: usize) -> Option<usize> {
        let message = &self.published[will];
        if message.qos == QoS::AtMostOnce {
            return None;
        }
        self.sessions.iter().position(|log| {
            let certain = log.subscriptions.iter().any(|s| {
                let at_least_once = s
                    .versions_in(message.sent, None)
                    .all(|v| v.qos > QoS::AtMostOnce && !v.no_local);
                topic_matches(&s.filter, &message.topic)
                    && at_least_once
                    && s.certain(message, Event::MAX)
            });
            !log.ended && certain && !log.received.contains_key(&will)
        })
    }
}
