//! Shared subscriptions: who shares what, and what a group promises.
//!
//! Each client shares one filter only, so that a delivery on a shared topic belongs to one group; no
//! ordinary filter matches those topics. The promises: a message goes to members only; never to a
//! second one, unless it was sent at QoS 1 to one whose connection has ended since; a QoS 2 delivery is
//! the only one; and nothing of QoS 1 and 2 is lost while one member whose session lasts was there all
//! the time.

use crate::config::ShareStrategy;
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::sim::checker::Delivery;
use crate::sim::ledger::{Ledger, Published, Subscription};
use crate::sim::world::World;

/// Topics that only shared filters match.
const TOPICS: [&str; 3] = ["s/0", "s/1", "s/0/1"];
/// Shared filters.
const SHARES: [&str; 3] = ["$share/g/s/0", "$queue/s/#", "$share/g/s/+"];
/// Ordinary filters that match none of the topics.
const OTHERS: [&str; 6] = ["t/0", "t/+", "t/#", "u", "r/#", "w/#"];
/// All ways to choose.
const STRATEGIES: [ShareStrategy; 6] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::HashClientId,
    ShareStrategy::HashTopic,
    ShareStrategy::Local,
];

/// A member got a message of its group.
#[derive(Clone, Copy, Debug)]
pub struct SharedReceipt {
    conn: usize,
    qos: QoS,
}

impl World {
    /// A filter for a client where subscriptions are shared.
    pub fn share_filter(&mut self, who: usize) -> &'static str {
        if self.rng.percent(self.plan.share_chance) {
            SHARES[who % SHARES.len()]
        } else {
            OTHERS[self.rng.below(OTHERS.len())]
        }
    }

    /// QoS of a shared subscription: seldom 0, where losses are no loss.
    pub fn share_qos(&mut self) -> QoS {
        if self.rng.percent(3) {
            QoS::AtMostOnce
        } else {
            *self.rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce])
        }
    }

    /// A topic of a message where subscriptions are shared, if it is to be one of theirs.
    pub fn share_topic(&mut self) -> Option<&'static str> {
        let shared = self.plan.share_chance > 0 && self.rng.percent(75);
        shared.then(|| *self.rng.pick(&TOPICS))
    }

    /// The strategy of a run.
    pub fn choose_strategy(&mut self) {
        if self.plan.share_chance > 0 {
            let strategy = *self.rng.pick(&STRATEGIES);
            self.rules.share_strategy = strategy;
            for core in &mut self.cores {
                core.shard.clients.rules.share_strategy = strategy;
            }
        }
    }
}

/// Whether only shared filters match a topic.
pub fn is_shared_topic(topic: &str) -> bool {
    topic.starts_with("s/")
}

impl Ledger {
    /// A message of a group came to a member.
    pub fn judge_shared(
        &mut self,
        delivery: &Delivery<'_>,
        number: usize,
        message: &Published,
    ) -> Result<(), String> {
        let log = &self.sessions[delivery.session];
        let of_topic = |s: &&Subscription| topic_matches(&s.filter, delivery.topic);
        let Some(group) = log.subscriptions.iter().find(of_topic) else {
            return Err("no member of a group".into());
        };
        let receipt = SharedReceipt {
            conn: log.conn,
            qos: delivery.qos,
        };
        let name = (group.full.clone(), number);
        let receipts = self.shared.entry(name).or_default();
        self.shared_repeats += u64::from(!receipts.is_empty());
        receipts.push(receipt);
        let routed_twice = message.qos == QoS::AtLeastOnce && message.attempts > 1;
        // Clients read late, so which of them got it first is not known.
        let for_ever = |receipt: &&SharedReceipt| {
            let over = self.conns[receipt.conn].ended_ms.is_some();
            receipt.qos != QoS::AtLeastOnce || !over
        };
        if !routed_twice && receipts.iter().filter(for_ever).count() > 1 {
            return Err(format!("it went to two: {receipts:?}"));
        }
        if self.disturbed || delivery.dup {
            return Ok(());
        }
        let key = (
            message.client,
            message.topic.clone(),
            message.qos,
            delivery.qos,
        );
        let log = &mut self.sessions[delivery.session];
        match log.order.insert(key, number) {
            Some(before) if before > number => Err(format!("after message {before}")),
            _ => Ok(()),
        }
    }

    /// Groups with a member that lasts have lost nothing of QoS 1 and 2.
    pub fn check_shared(&mut self) {
        let mut groups: Vec<(String, String)> = self
            .shared_subscriptions()
            .map(|(_, s)| (s.full.clone(), s.filter.clone()))
            .collect();
        groups.sort();
        groups.dedup();
        for (group, filter) in groups {
            for (number, message) in self.published.iter().enumerate() {
                let matches = topic_matches(&filter, &message.topic);
                let come = self.shared.contains_key(&(group.clone(), number));
                if matches && !come && self.is_due_to_group(&group, message) {
                    let text = format!("group {group}: message {number} {message:?} never came");
                    return self.fail(text);
                }
            }
        }
    }

    fn is_due_to_group(&self, group: &str, message: &Published) -> bool {
        if message.qos == QoS::AtMostOnce || message.acked.is_none() || message.empty {
            return false;
        }
        let of_group = || self.shared_subscriptions().filter(|(_, s)| s.full == group);
        let lasts = of_group()
            .any(|(session, s)| !self.sessions[session].ended && s.certain(message, u64::MAX));
        // QoS 2 ends with the session that it was sent to; what was sent before an UNSUBSCRIBE as well.
        let excused = of_group().any(|(session, s)| {
            let ended = self.sessions[session].ended;
            let qos = |qos: QoS| s.versions.iter().any(|v| v.qos == qos);
            let with_session = message.qos == QoS::ExactlyOnce && qos(QoS::ExactlyOnce);
            qos(QoS::AtMostOnce) || (ended && (with_session || s.unsub_sent.is_some()))
        });
        lasts && !excused
    }

    fn shared_subscriptions(&self) -> impl Iterator<Item = (usize, &Subscription)> {
        self.sessions.iter().enumerate().flat_map(|(session, log)| {
            let shared = log.subscriptions.iter().filter(|s| s.is_shared());
            shared.map(move |s| (session, s))
        })
    }
}
