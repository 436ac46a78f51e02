//! The message queue of a session (`mqueue`): what waits for room in the window or for the client.
//!
//! When it is full, QoS 0 goes first, oldest first, and then the oldest of QoS 1 and 2; what comes
//! in is newer and stays, unless it is itself the QoS 0 message that has to go.
//!
//! Where topics have priorities (`mqtt.mqueue_priorities`), each priority has a lane of its own that
//! keeps its order; the lowest loses first, and lanes take turns so that none starves. Without
//! priorities nothing of that exists.

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

/// Waiting deliveries: in the order of their arrival, or by the priorities of their topics.
#[derive(Debug, Default)]
pub struct Queue {
    plain: Lane,
    arrivals: u64,
    /// Where topics have priorities: all that waits. Absent while nothing does.
    ranked: Option<Box<Ranked>>,
}

/// Waiting deliveries in the order of their arrival.
#[derive(Debug, Default)]
struct Lane {
    /// QoS 0, with the arrival number.
    unacked: VecDeque<(u64, Delivery)>,
    /// QoS 1 and 2, with the arrival number.
    acked: VecDeque<(u64, Delivery)>,
}

impl Lane {
    fn len(&self) -> usize {
        self.unacked.len() + self.acked.len()
    }

    fn is_empty(&self) -> bool {
        self.unacked.is_empty() && self.acked.is_empty()
    }

    fn push(&mut self, arrival: u64, delivery: Delivery) {
        let lane = if delivery.qos == QoS::AtMostOnce {
            &mut self.unacked
        } else {
            &mut self.acked
        };
        lane.push_back((arrival, delivery));
    }

    /// Whether a delivery that comes to a full lane would itself have to go.
    fn turns_away(&self, delivery: &Delivery) -> bool {
        delivery.qos == QoS::AtMostOnce && self.unacked.is_empty()
    }

    fn pop(&mut self) -> Option<Delivery> {
        let qos0 = self.unacked.front().map(|(arrival, _)| *arrival);
        let rest = self.acked.front().map(|(arrival, _)| *arrival);
        let lane = match (qos0, rest) {
            (Some(a), Some(b)) if a < b => &mut self.unacked,
            (Some(_), None) => &mut self.unacked,
            _ => &mut self.acked,
        };
        lane.pop_front().map(|(_, delivery)| delivery)
    }

    fn peek_qos(&self) -> Option<QoS> {
        match (self.unacked.front(), self.acked.front()) {
            (Some((a, _)), Some((b, _))) if a < b => Some(QoS::AtMostOnce),
            (Some(_), None) => Some(QoS::AtMostOnce),
            (_, Some((_, delivery))) => Some(delivery.qos),
            (None, None) => None,
        }
    }

    /// What waits with an arrival number of at least `from`, in the order of arrival.
    fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Delivery)> {
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

    fn drop_oldest(&mut self) -> Option<Delivery> {
        let lane = if self.unacked.is_empty() {
            &mut self.acked
        } else {
            &mut self.unacked
        };
        lane.pop_front().map(|(_, delivery)| delivery)
    }

    /// Moves those that leave to `taken`.
    fn take(&mut self, leaves: impl Fn(&Delivery) -> bool, taken: &mut Vec<(u64, Delivery)>) {
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
    }
}

/// A lane for each priority, the highest first.
///
/// In a round each lane may send as many messages as its priority says (at least one); higher ones go
/// first, and a new round begins when no lane that holds something may send. So the lowest waits for
/// one round at most.
#[derive(Debug, Default)]
struct Ranked {
    lanes: Vec<RankedLane>,
}

#[derive(Debug)]
struct RankedLane {
    rank: u16,
    /// Messages it may still send in this round.
    credit: u16,
    lane: Lane,
}

impl RankedLane {
    /// Messages it may send in a round.
    fn share(&self) -> u16 {
        self.rank.max(1)
    }
}

impl Ranked {
    fn len(&self) -> usize {
        self.lanes.iter().map(|ranked| ranked.lane.len()).sum()
    }

    fn lane_mut(&mut self, rank: u16) -> &mut Lane {
        let at = self.lanes.partition_point(|ranked| ranked.rank > rank);
        if self.lanes.get(at).is_none_or(|ranked| ranked.rank != rank) {
            let mut fresh = RankedLane {
                rank,
                credit: 0,
                lane: Lane::default(),
            };
            fresh.credit = fresh.share();
            self.lanes.insert(at, fresh);
        }
        &mut self.lanes[at].lane
    }

    /// The lane whose turn it is.
    fn next(&self) -> Option<usize> {
        let mut holding = self.holding();
        let first = holding.clone().next();
        let with_credit = holding.find(|(_, ranked)| ranked.credit > 0);
        with_credit.or(first).map(|(at, _)| at)
    }

    fn holding(&self) -> impl Iterator<Item = (usize, &RankedLane)> + Clone {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter(|(_, ranked)| !ranked.lane.is_empty())
    }

    fn pop(&mut self) -> Option<Delivery> {
        let at = self.next()?;
        if self.lanes[at].credit == 0 {
            for ranked in &mut self.lanes {
                ranked.credit = ranked.share();
            }
        }
        let ranked = &mut self.lanes[at];
        ranked.credit -= 1;
        ranked.lane.pop()
    }

    /// The lowest lane that holds something.
    fn lowest(&mut self) -> Option<&mut RankedLane> {
        let lanes = self.lanes.iter_mut();
        lanes.rev().find(|ranked| !ranked.lane.is_empty())
    }
}

impl Queue {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.plain.len() + self.ranked.as_ref().map_or(0, |ranked| ranked.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.ranked.is_none()
    }

    /// Whether QoS 0 messages wait.
    pub fn has_qos0(&self) -> bool {
        let of_rank = |ranked: &Ranked| ranked.lanes.iter().any(|r| !r.lane.unacked.is_empty());
        !self.plain.unacked.is_empty() || self.ranked.as_ref().is_some_and(|r| of_rank(r))
    }

    /// Takes a delivery in under a limit of `max_len` messages (0 = unlimited).
    pub fn push(&mut self, delivery: Delivery, max_len: usize) -> Overflow {
        let mut overflow = Overflow::None;
        if max_len != 0 && self.len() >= max_len {
            if self.plain.turns_away(&delivery) {
                return Overflow::Dropped(delivery);
            }
            overflow = self.drop_oldest().map_or(Overflow::None, Overflow::Dropped);
        }
        self.arrivals += 1;
        self.plain.push(self.arrivals, delivery);
        overflow
    }

    /// The same where topics have priorities: when it is full, the lowest priority loses its oldest
    /// message, be it the one that comes.
    pub fn push_ranked(&mut self, delivery: Delivery, rank: u16, max_len: usize) -> Overflow {
        let mut overflow = Overflow::None;
        if max_len != 0 && self.len() >= max_len {
            let lowest = self.ranked.as_mut().and_then(|ranked| ranked.lowest());
            if let Some(lowest) = lowest {
                let is_lowest = lowest.rank == rank && lowest.lane.turns_away(&delivery);
                if rank < lowest.rank || is_lowest {
                    return Overflow::Dropped(delivery);
                }
            }
            overflow = self.drop_oldest().map_or(Overflow::None, Overflow::Dropped);
        }
        self.arrivals += 1;
        let ranked = self.ranked.get_or_insert_default();
        ranked.lane_mut(rank).push(self.arrivals, delivery);
        overflow
    }

    /// The delivery whose turn it is: the one that waits longest, where topics are alike.
    pub fn pop(&mut self) -> Option<Delivery> {
        let Some(ranked) = &mut self.ranked else {
            return self.plain.pop();
        };
        let next = ranked.pop();
        self.forget_ranks();
        next
    }

    /// The next delivery without taking it.
    pub fn peek_qos(&self) -> Option<QoS> {
        let Some(ranked) = &self.ranked else {
            return self.plain.peek_qos();
        };
        let next = ranked.lanes.get(ranked.next()?)?;
        next.lane.peek_qos()
    }

    /// What waits with an arrival number of at least `from`, in the order of arrival. (Where topics have
    /// priorities all of it is put into order first.)
    pub fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Delivery)> {
        let lanes = self.ranked.iter().flat_map(|ranked| &ranked.lanes);
        let mut ranked: Vec<_> = lanes.flat_map(|r| r.lane.iter_from(from)).collect();
        ranked.sort_by_key(|(arrival, _)| *arrival);
        self.plain.iter_from(from).chain(ranked)
    }

    /// Takes out the message that has to go first when memory is short.
    pub fn drop_oldest(&mut self) -> Option<Delivery> {
        let Some(ranked) = &mut self.ranked else {
            return self.plain.drop_oldest();
        };
        let dropped = ranked.lowest().and_then(|lowest| lowest.lane.drop_oldest());
        self.forget_ranks();
        dropped
    }

    /// Takes out what came through shared subscriptions (through one of them, if one is named), in the
    /// order of arrival.
    pub fn take_shared(&mut self, membership: Option<u32>) -> Vec<Delivery> {
        let leaves = |delivery: &Delivery| match membership {
            Some(one) => delivery.share.membership == one,
            None => delivery.share.is_shared(),
        };
        let mut taken: Vec<(u64, Delivery)> = Vec::new();
        self.plain.take(leaves, &mut taken);
        for ranked in self.ranked.iter_mut().flat_map(|r| &mut r.lanes) {
            ranked.lane.take(leaves, &mut taken);
        }
        self.forget_ranks();
        taken.sort_by_key(|(arrival, _)| *arrival);
        taken.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Gives up everything; yields what waited so that its memory can be accounted.
    pub fn drain(&mut self) -> impl Iterator<Item = Delivery> + '_ {
        let ranked = self.ranked.take().map(|ranked| ranked.lanes);
        let ranked = ranked.into_iter().flatten().map(|ranked| ranked.lane);
        let ranked = ranked.flat_map(|lane| lane.unacked.into_iter().chain(lane.acked));
        let plain = self
            .plain
            .unacked
            .drain(..)
            .chain(self.plain.acked.drain(..));
        plain.chain(ranked).map(|(_, delivery)| delivery)
    }

    /// Lanes exist while something waits: `is_empty` is one look then, and the memory goes.
    fn forget_ranks(&mut self) {
        if self.ranked.as_ref().is_some_and(|ranked| ranked.len() == 0) {
            self.ranked = None;
        }
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

    fn ranked(queue: &mut Queue, entries: &[(&str, u16)]) {
        for (name, rank) in entries {
            let pushed = queue.push_ranked(delivery(name, QoS::AtLeastOnce), *rank, 0);
            assert_eq!(dropped(&pushed), None);
        }
    }

    #[test]
    fn higher_priorities_go_first_and_the_lowest_is_not_starved() {
        let mut queue = Queue::default();
        for at in 0..8 {
            ranked(&mut queue, &[("low", 0), ("high", 3)]);
            assert_eq!(queue.len(), 2 * (at + 1));
        }
        let order: Vec<String> = std::iter::from_fn(|| {
            let qos = queue.peek_qos()?;
            let next = queue.pop()?;
            assert_eq!(qos, next.qos, "what was seen is what comes");
            Some(name(&next))
        })
        .collect();
        let round = ["high", "high", "high", "low"];
        assert_eq!(order[..4], round);
        assert_eq!(order[4..8], round);
        assert_eq!(order[8..11], ["high", "high", "low"]);
        assert!(queue.is_empty() && queue.ranked.is_none());
    }

    #[test]
    fn a_priority_keeps_its_order() {
        let mut queue = Queue::default();
        ranked(
            &mut queue,
            &[("a1", 1), ("b1", 2), ("a2", 1), ("b2", 2), ("a3", 1)],
        );
        let order: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|d| name(&d))
            .collect();
        assert_eq!(order, ["b1", "b2", "a1", "a2", "a3"]);
    }

    #[test]
    fn the_lowest_priority_loses_its_oldest() {
        let mut queue = Queue::default();
        ranked(&mut queue, &[("a1", 1), ("b1", 2), ("a2", 1), ("b2", 2)]);
        let mut push = |name: &str, rank| {
            let pushed = queue.push_ranked(delivery(name, QoS::AtLeastOnce), rank, 4);
            dropped(&pushed).unwrap()
        };
        assert_eq!(push("a3", 1), "a1");
        assert_eq!(push("c1", 0), "c1", "it is the lowest itself");
        assert_eq!(push("b3", 2), "a2");
        assert_eq!(push("b4", 2), "a3");
        assert_eq!(push("b5", 2), "b1");
        assert_eq!(queue.len(), 4);
        assert_eq!(queue.drain().count(), 4);
        assert!(queue.is_empty());
    }

    proptest::proptest! {
        /// However messages come and go, none is lost or doubled, each priority keeps its order, and
        /// nothing waits for longer than all others together may send in a round.
        #[test]
        fn nothing_is_lost_and_nothing_starves(
            steps in proptest::collection::vec((0_u16..4, proptest::bool::weighted(0.6)), 1..300),
        ) {
            let mut queue = Queue::default();
            let mut model: Vec<VecDeque<usize>> = vec![VecDeque::new(); 4];
            let mut waited = [0_usize; 4];
            for (at, (rank, push)) in steps.into_iter().enumerate() {
                if push {
                    let message = delivery(&format!("{rank}/{at}"), QoS::AtLeastOnce);
                    queue.push_ranked(message, rank, 0);
                    model[usize::from(rank)].push_back(at);
                    continue;
                }
                let Some(next) = queue.pop() else {
                    proptest::prop_assert!(model.iter().all(VecDeque::is_empty));
                    continue;
                };
                let text = name(&next);
                let (rank, number) = text.split_once('/').unwrap();
                let (rank, number): (usize, usize) =
                    (rank.parse().unwrap(), number.parse().unwrap());
                proptest::prop_assert_eq!(model[rank].pop_front(), Some(number));
                for (other, waits) in waited.iter_mut().enumerate() {
                    *waits = if other == rank || model[other].is_empty() { 0 } else { *waits + 1 };
                    proptest::prop_assert!(*waits <= 2 * (1 + 1 + 2 + 3));
                }
            }
            proptest::prop_assert_eq!(queue.len(), model.iter().map(VecDeque::len).sum::<usize>());
        }
    }

    #[test]
    fn among_qos_0_the_newest_stays() {
        let mut queue = Queue::default();
        queue.push(delivery("a", QoS::AtMostOnce), 1);
        let next = queue.push(delivery("b", QoS::AtMostOnce), 1);
        assert_eq!(dropped(&next).as_deref(), Some("a"));
    }
}
