//! The queue of a group: what waits for a member to come, or for room in one's window.
//!
//! Every message has a place in the order of its group, its sequence number. What a member gives back
//! goes to its old place, so however many members go away, and in whatever order their records come,
//! what was published first is handed out first. When the queue is full the mqueue rule holds: QoS 0
//! goes first, oldest first, then the oldest of QoS 1 and 2.

use std::collections::VecDeque;

use crate::mqtt::message::Message;
use crate::mqtt::qos::QoS;

/// Waiting messages in the order of their sequence numbers.
#[derive(Debug, Default)]
pub struct GroupQueue {
    /// QoS 0 as published.
    unacked: VecDeque<(u32, Message)>,
    /// QoS 1 and 2 as published.
    acked: VecDeque<(u32, Message)>,
}

/// Whether one sequence number is before another. They wrap round: a message that is 2^31 messages
/// late loses its place, nothing else.
fn is_before(one: u32, other: u32) -> bool {
    other.wrapping_sub(one).wrapping_sub(1) < u32::MAX / 2
}

impl GroupQueue {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.unacked.len() + self.acked.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.unacked.is_empty() && self.acked.is_empty()
    }

    /// Whether a new message of this QoS has to go behind what waits.
    pub fn holds_back(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => !self.unacked.is_empty(),
            _ => !self.is_empty(),
        }
    }

    /// Puts a message to its place; yields who has to go under a limit of `max_len` messages (0 =
    /// unlimited).
    pub fn insert(&mut self, seq: u32, message: Message, max_len: usize) -> Option<Message> {
        let qos = message.view().qos;
        let full = max_len != 0 && self.len() >= max_len;
        if full && qos == QoS::AtMostOnce && self.unacked.is_empty() {
            return Some(message);
        }
        let lane = if qos == QoS::AtMostOnce {
            &mut self.unacked
        } else {
            &mut self.acked
        };
        let at = lane.partition_point(|(other, _)| is_before(*other, seq));
        lane.insert(at, (seq, message));
        if full { self.drop_oldest() } else { None }
    }

    /// The message that is next.
    pub fn peek(&self) -> Option<&Message> {
        let next = match (self.unacked.front(), self.acked.front()) {
            (Some(a), Some(b)) if is_before(a.0, b.0) => Some(a),
            (a, None) => a,
            (_, b) => b,
        };
        next.map(|(_, message)| message)
    }

    /// Takes the message that is next.
    pub fn pop(&mut self) -> Option<(u32, Message)> {
        let unacked_first = match (self.unacked.front(), self.acked.front()) {
            (Some(a), Some(b)) => is_before(a.0, b.0),
            (a, None) => a.is_some(),
            (None, Some(_)) => false,
        };
        if unacked_first {
            self.unacked.pop_front()
        } else {
            self.acked.pop_front()
        }
    }

    /// Takes out the message that has to go first when there is no room.
    pub fn drop_oldest(&mut self) -> Option<Message> {
        let lane = if self.unacked.is_empty() {
            &mut self.acked
        } else {
            &mut self.unacked
        };
        lane.pop_front().map(|(_, message)| message)
    }

    /// Gives up everything.
    pub fn drain(&mut self) -> impl Iterator<Item = Message> + '_ {
        self.unacked
            .drain(..)
            .chain(self.acked.drain(..))
            .map(|(_, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Publication, PublisherRef};

    fn message(name: &str, qos: QoS) -> Message {
        Message::from_publication(&Publication {
            topic: name,
            payload: &[],
            properties: &[],
            qos,
            retain: false,
            received_us: 0,
            expires_us: None,
            publisher: PublisherRef::BROKER,
        })
    }

    fn rest(queue: &mut GroupQueue) -> Vec<String> {
        std::iter::from_fn(|| {
            let peeked = queue.peek().map(|m| m.view().topic.to_owned());
            let popped = queue.pop().map(|(_, m)| m.view().topic.to_owned());
            assert_eq!(peeked, popped);
            popped
        })
        .collect()
    }

    #[test]
    fn what_comes_back_goes_to_its_old_place() {
        let mut queue = GroupQueue::default();
        for (seq, name) in [(4, "e"), (5, "f"), (0, "a"), (2, "c"), (1, "b"), (3, "d")] {
            let qos = if seq == 2 {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            };
            let seq = u32::wrapping_add(u32::MAX - 2, seq);
            assert!(queue.insert(seq, message(name, qos), 0).is_none());
        }
        assert_eq!(rest(&mut queue), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn when_full_qos_0_goes_first_then_the_oldest() {
        let mut queue = GroupQueue::default();
        let gone = |m: Option<Message>| m.map(|m| m.view().topic.to_owned());
        queue.insert(1, message("a", QoS::AtLeastOnce), 2);
        queue.insert(2, message("b", QoS::AtMostOnce), 2);
        let next = queue.insert(3, message("c", QoS::ExactlyOnce), 2);
        assert_eq!(gone(next).as_deref(), Some("b"));
        let next = queue.insert(4, message("d", QoS::AtMostOnce), 2);
        assert_eq!(gone(next).as_deref(), Some("d"));
        let next = queue.insert(5, message("e", QoS::AtLeastOnce), 2);
        assert_eq!(gone(next).as_deref(), Some("a"));
        // The oldest is what comes back.
        let next = queue.insert(0, message("z", QoS::AtLeastOnce), 2);
        assert_eq!(gone(next).as_deref(), Some("z"));
        assert_eq!(rest(&mut queue), ["c", "e"]);
    }
}
