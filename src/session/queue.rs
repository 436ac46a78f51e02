//! The message queue of a session (`mqueue`): what waits for room in the window or for the client.
//!
//! When it is full, QoS 0 goes first, oldest first, and then the oldest of QoS 1 and 2; what comes
//! in is newer and stays, unless it is itself the QoS 0 message that has to go.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::mqtt::message::Message;
use crate::mqtt::qos::QoS;
use crate::session::state::NONE;

/// The shared subscription through which a delivery came, so that the group can be told what became
/// of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareTag {
    /// The membership on this core, or [`NONE`] for an ordinary subscription.
    pub membership: u32,
    /// The message's place in the order of its group.
    pub seq: u32,
}

impl ShareTag {
    /// An ordinary subscription.
    pub const NONE: Self = Self {
        membership: NONE,
        seq: 0,
    };

    /// Whether a group waits to hear of the delivery.
    pub fn is_shared(self) -> bool {
        self.membership != NONE
    }
}

/// One message as one session is to receive it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message, shared by all sessions of the core that hold it.
    pub message: Message,
    /// QoS of this delivery: the lesser of the publisher's and the subscription's.
    pub qos: QoS,
    /// RETAIN flag of this delivery.
    pub retain: bool,
    /// Subscription identifiers of all subscriptions that matched (5.0).
    pub identifiers: SmallVec<[u32; 1]>,
    /// The shared subscription it came through.
    pub share: ShareTag,
}

const _: () = assert!(
    size_of::<Delivery>() <= 56,
    "queues of a million sessions must stay small"
);

/// Who had to go, so that it can be counted.
#[derive(Debug)]
pub enum Overflow {
    /// Nobody.
    None,
    /// A message was dropped to make room (or was not taken in).
    Dropped(Delivery),
}

/// Waiting deliveries in the order of their arrival.
#[derive(Debug, Default)]
pub struct Queue {
    /// QoS 0, with the arrival number.
    unacked: VecDeque<(u64, Delivery)>,
    /// QoS 1 and 2, with the arrival number.
    acked: VecDeque<(u64, Delivery)>,
    arrivals: u64,
}

impl Queue {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.unacked.len() + self.acked.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.unacked.is_empty() && self.acked.is_empty()
    }

    /// Whether QoS 0 messages wait.
    pub fn has_qos0(&self) -> bool {
        !self.unacked.is_empty()
    }

    /// Takes a delivery in under a limit of `max_len` messages (0 = unlimited).
    pub fn push(&mut self, delivery: Delivery, max_len: usize) -> Overflow {
        let mut overflow = Overflow::None;
        if max_len != 0 && self.len() >= max_len {
            if delivery.qos == QoS::AtMostOnce && self.unacked.is_empty() {
                return Overflow::Dropped(delivery);
            }
            overflow = self.drop_oldest().map_or(Overflow::None, Overflow::Dropped);
        }
        self.arrivals += 1;
        let lane = if delivery.qos == QoS::AtMostOnce {
            &mut self.unacked
        } else {
            &mut self.acked
        };
        lane.push_back((self.arrivals, delivery));
        overflow
    }

    /// The delivery that waits longest.
    pub fn pop(&mut self) -> Option<Delivery> {
        let qos0 = self.unacked.front().map(|(arrival, _)| *arrival);
        let rest = self.acked.front().map(|(arrival, _)| *arrival);
        let lane = match (qos0, rest) {
            (Some(a), Some(b)) if a < b => &mut self.unacked,
            (Some(_), None) => &mut self.unacked,
            _ => &mut self.acked,
        };
        lane.pop_front().map(|(_, delivery)| delivery)
    }

    /// The next delivery without taking it.
    pub fn peek_qos(&self) -> Option<QoS> {
        match (self.unacked.front(), self.acked.front()) {
            (Some((a, _)), Some((b, _))) if a < b => Some(QoS::AtMostOnce),
            (Some(_), None) => Some(QoS::AtMostOnce),
            (_, Some((_, delivery))) => Some(delivery.qos),
            (None, None) => None,
        }
    }

    /// What waits with an arrival number of at least `from`, in the order of arrival.
    pub fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Delivery)> {
        let lane = |lane: &'_ VecDeque<(u64, Delivery)>| {
            lane.partition_point(|(arrival, _)| *arrival < from)
        };
        let mut first = self.unacked.range(lane(&self.unacked)..).peekable();
        let mut second = self.acked.range(lane(&self.acked)..).peekable();
        std::iter::from_fn(move || {
            let unacked_is_next = match (first.peek(), second.peek()) {
                (Some((a, _)), Some((b, _))) => a < b,
                (Some(_), None) => true,
                (None, _) => false,
            };
            let next = if unacked_is_next {
                first.next()
            } else {
                second.next()
            };
            next.map(|(arrival, delivery)| (*arrival, delivery))
        })
    }

    /// Takes out the message that has to go first when memory is short.
    pub fn drop_oldest(&mut self) -> Option<Delivery> {
        let lane = if self.unacked.is_empty() {
            &mut self.acked
        } else {
            &mut self.unacked
        };
        lane.pop_front().map(|(_, delivery)| delivery)
    }

    /// Takes out what came through shared subscriptions (through one of them, if one is named), in the
    /// order of arrival.
    pub fn take_shared(&mut self, membership: Option<u32>) -> Vec<Delivery> {
        let leaves = |delivery: &Delivery| match membership {
            Some(one) => delivery.share.membership == one,
            None => delivery.share.is_shared(),
        };
        let mut taken: Vec<(u64, Delivery)> = Vec::new();
        for lane in [&mut self.unacked, &mut self.acked] {
            if lane.iter().any(|(_, delivery)| leaves(delivery)) {
                for entry in std::mem::take(lane) {
                    if leaves(&entry.1) {
                        taken.push(entry);
                    } else {
                        lane.push_back(entry);
                    }
                }
            }
        }
        taken.sort_by_key(|(arrival, _)| *arrival);
        taken.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Gives up everything; yields what waited so that its memory can be accounted.
    pub fn drain(&mut self) -> impl Iterator<Item = Delivery> + '_ {
        self.unacked
            .drain(..)
            .chain(self.acked.drain(..))
            .map(|(_, delivery)| delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Publication, PublisherRef};

    fn delivery(name: &str, qos: QoS) -> Delivery {
        let message = Message::from_publication(&Publication {
            topic: name,
            payload: &[],
            properties: &[],
            qos,
            retain: false,
            received_us: 0,
            expires_us: None,
            publisher: PublisherRef::BROKER,
        });
        Delivery {
            message,
            qos,
            retain: false,
            identifiers: SmallVec::new(),
            share: ShareTag::NONE,
        }
    }

    fn name(delivery: &Delivery) -> String {
        delivery.message.view().topic.to_owned()
    }

    fn dropped(overflow: &Overflow) -> Option<String> {
        match overflow {
            Overflow::None => None,
            Overflow::Dropped(delivery) => Some(name(delivery)),
        }
    }

    #[test]
    fn keeps_the_order_of_arrival_across_levels() {
        let mut queue = Queue::default();
        for (name, qos) in [
            ("a", QoS::AtLeastOnce),
            ("b", QoS::AtMostOnce),
            ("c", QoS::ExactlyOnce),
            ("d", QoS::AtMostOnce),
        ] {
            assert_eq!(dropped(&queue.push(delivery(name, qos), 0)), None);
        }
        assert_eq!(queue.peek_qos(), Some(QoS::AtLeastOnce));
        let order: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|d| name(&d))
            .collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_was_shared_is_taken_out_in_its_order() {
        let mut queue = Queue::default();
        let tags = [NONE, 1, 2, 1];
        for (at, membership) in tags.into_iter().enumerate() {
            let qos = if at == 1 {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            };
            let share = ShareTag { membership, seq: 0 };
            let message = delivery(&at.to_string(), qos);
            queue.push(Delivery { share, ..message }, 0);
        }
        let names = |taken: Vec<Delivery>| taken.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(queue.take_shared(Some(2))), ["2"]);
        assert_eq!(names(queue.take_shared(None)), ["1", "3"]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn when_full_qos_0_goes_first_then_the_oldest() {
        let mut queue = Queue::default();
        queue.push(delivery("a", QoS::AtLeastOnce), 3);
        queue.push(delivery("b", QoS::AtMostOnce), 3);
        queue.push(delivery("c", QoS::AtLeastOnce), 3);
        let next = queue.push(delivery("d", QoS::AtLeastOnce), 3);
        assert_eq!(dropped(&next).as_deref(), Some("b"));
        let next = queue.push(delivery("e", QoS::AtMostOnce), 3);
        assert_eq!(dropped(&next).as_deref(), Some("e"));
        let next = queue.push(delivery("f", QoS::AtLeastOnce), 3);
        assert_eq!(dropped(&next).as_deref(), Some("a"));
        let order: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|d| name(&d))
            .collect();
        assert_eq!(order, ["c", "d", "f"]);
    }

    #[test]
    fn among_qos_0_the_newest_stays() {
        let mut queue = Queue::default();
        queue.push(delivery("a", QoS::AtMostOnce), 1);
        let next = queue.push(delivery("b", QoS::AtMostOnce), 1);
        assert_eq!(dropped(&next).as_deref(), Some("a"));
    }
}
