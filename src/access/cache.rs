//! Answers about access that a client has had from others, for a while.
//!
//! Decisions made from rules in memory are not kept: to make one costs no more than to find it.

use std::collections::VecDeque;

use crate::access::acl::{Action, Permission};

/// How answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct CacheRules {
    /// Most answers of one client; 0 keeps none.
    pub size_max: usize,
    /// How long one is good for, milliseconds.
    pub ttl_ms: u64,
}

/// The answers of one client. Absent until the first one comes.
#[derive(Clone, Default, Debug)]
pub struct AnswerCache {
    /// In the order in which they came, which is that of their ends.
    answers: VecDeque<Answer>,
    /// The rules they were given beside: others make them void.
    rules_version: u64,
}

#[derive(Clone, Debug)]
struct Answer {
    action: Action,
    topic: Box<str>,
    permission: Permission,
    ends_ms: u64,
}

impl AnswerCache {
    /// An answer that is still good.
    pub fn find(
        &mut self,
        action: Action,
        topic: &str,
        rules_version: u64,
        now_ms: u64,
    ) -> Option<Permission> {
        if self.rules_version != rules_version {
            self.answers.clear();
            return None;
        }
        while self.answers.front().is_some_and(|a| a.ends_ms <= now_ms) {
            self.answers.pop_front();
        }
        let found = self
            .answers
            .iter()
            .find(|answer| answer.action == action && *answer.topic == *topic);
        found.map(|answer| answer.permission)
    }

    /// Keeps an answer; the oldest makes room.
    pub fn keep(
        &mut self,
        (action, topic, permission): (Action, &str, Permission),
        rules: CacheRules,
        rules_version: u64,
        now_ms: u64,
    ) {
        if self.rules_version != rules_version {
            self.answers.clear();
            self.rules_version = rules_version;
        }
        self.answers
            .retain(|answer| answer.action != action || *answer.topic != *topic);
        while self.answers.len() >= rules.size_max.max(1) {
            self.answers.pop_front();
        }
        if rules.size_max > 0 {
            self.answers.push_back(Answer {
                action,
                topic: topic.into(),
                permission,
                ends_ms: now_ms.saturating_add(rules.ttl_ms),
            });
        }
    }

    /// The answers that are still good: to what, and when they end, milliseconds since process start.
    pub fn good(
        &self,
        rules_version: u64,
        now_ms: u64,
    ) -> impl Iterator<Item = (Action, &str, Permission, u64)> {
        let same = self.rules_version == rules_version;
        let good = self
            .answers
            .iter()
            .filter(move |a| same && a.ends_ms > now_ms);
        good.map(|a| (a.action, &*a.topic, a.permission, a.ends_ms))
    }

    /// Forgets everything.
    pub fn drain(&mut self) {
        self.answers = VecDeque::new();
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::qos::QoS;

    const RULES: CacheRules = CacheRules {
        size_max: 3,
        ttl_ms: 1000,
    };

    #[test]
    fn answers_end_and_make_room() {
        let mut cache = AnswerCache::default();
        let sub = Action::subscribe(QoS::AtMostOnce);
        let publish = Action::publish(QoS::AtMostOnce, false);
        for (at, topic) in ["a", "b", "c", "d"].into_iter().enumerate() {
            cache.keep((sub, topic, Permission::Allow), RULES, 0, at as u64);
        }
        assert_eq!(cache.len(), 3);
        assert_eq!(cache.find(sub, "a", 0, 10), None, "the oldest has gone");
        assert_eq!(cache.find(sub, "d", 0, 10), Some(Permission::Allow));
        assert_eq!(cache.find(publish, "d", 0, 10), None, "another action");
        cache.keep((sub, "d", Permission::Deny), RULES, 0, 20);
        assert_eq!(cache.find(sub, "d", 0, 30), Some(Permission::Deny));
        assert_eq!(cache.find(sub, "d", 0, 1020), None, "its time is over");
        assert!(cache.is_empty());
    }

    #[test]
    fn other_rules_make_answers_void() {
        let mut cache = AnswerCache::default();
        let sub = Action::subscribe(QoS::AtMostOnce);
        cache.keep((sub, "a", Permission::Allow), RULES, 1, 0);
        assert_eq!(cache.find(sub, "a", 2, 0), None);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_cache_of_no_size_keeps_nothing() {
        let mut cache = AnswerCache::default();
        let none = CacheRules {
            size_max: 0,
            ..RULES
        };
        let sub = Action::subscribe(QoS::AtMostOnce);
        cache.keep((sub, "a", Permission::Allow), none, 0, 0);
        assert!(cache.is_empty());
    }
}
