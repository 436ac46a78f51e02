//! Judges every delivery of one worker's subscribers.

use super::plan::{Part, Plan};
use super::window::Seen;
use crate::checker::{Arrival, Faults, Stream};
use crate::cli::{OverlapCopies, Topology};
use crate::histogram::Times;
use crate::interval::{Kind, Part as RecentPart};
use crate::payload::Unreadable;
use crate::wire::PublishView;

/// A subscriber's streams.
pub(super) struct Subscriber {
    pub(super) index: usize,
    /// One a publisher it gets messages from; none in a shared group.
    streams: Vec<Stream>,
    /// In a shared group, by publisher: the greatest number this member has seen, plus one.
    member_next: Vec<u64>,
    corrupt: u64,
}

impl Subscriber {
    pub(super) fn new(plan: &Plan, index: usize) -> Self {
        let streams = plan.streams(index);
        let (alone, in_group) = if plan.topology == Topology::Shared {
            (0, streams)
        } else {
            (streams, 0)
        };
        Self {
            index,
            streams: vec![Stream::default(); alone],
            member_next: vec![0; in_group],
            corrupt: 0,
        }
    }
}

/// What one worker's subscribers got.
pub(super) struct Judge<'a> {
    plan: &'a Plan,
    expected_qos: u8,
    pub(super) faults: Faults,
    pub(super) latency: Times,
    pub(super) recent: RecentPart,
    /// All deliveries, faulty ones too.
    pub(super) deliveries: u64,
    /// Deliveries that were expected, and corrupt ones, which stand for one.
    pub(super) arrived: u64,
    pub(super) last_delivery_ns: u64,
    pub(super) overlap_copies: u64,
    pub(super) churn_deliveries: u64,
    /// How far this worker's receivers are, by publisher.
    seen: Vec<Seen>,
    /// Publishers for whom that changed this turn; each once.
    pub(super) advanced: Vec<usize>,
    is_advanced: Vec<bool>,
    /// The shared group's streams, by publisher.
    group: Vec<Stream>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(plan: &'a Plan, parts: &[Part], recent: RecentPart) -> Self {
        let is_group = plan.topology == Topology::Shared;
        Self {
            plan,
            expected_qos: plan.qos.min(plan.sub_qos),
            faults: Faults::default(),
            latency: Times::new(),
            recent,
            deliveries: 0,
            arrived: 0,
            last_delivery_ns: 0,
            overlap_copies: 0,
            churn_deliveries: 0,
            seen: receivers(plan, parts),
            advanced: Vec::new(),
            is_advanced: vec![false; plan.publishers],
            group: vec![Stream::default(); if is_group { plan.publishers } else { 0 }],
        }
    }

    /// Judges one delivery to a subscriber.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        subscriber: &mut Subscriber,
        publish: &PublishView<'_>,
        now_ns: u64,
    ) {
        self.deliveries += 1;
        let header = match self.plan.format.read(publish.payload, now_ns) {
            Ok(header) => header,
            Err(Unreadable::Foreign) => return self.faults.foreign += 1,
            Err(Unreadable::Corrupt) => {
                self.faults.corrupt += 1;
                self.arrived += 1;
                return subscriber.corrupt += 1;
            }
        };
        let publisher = header.publisher as usize;
        let stream = (publisher < self.plan.publishers)
            .then(|| self.plan.stream_index(subscriber.index, publisher))
            .flatten();
        let Some(stream) = stream else {
            return self.faults.misdelivered += 1;
        };
        if publish.topic != self.plan.topic(publisher).as_bytes() {
            return self.faults.misdelivered += 1;
        }
        self.faults.wrong_qos += u64::from(publish.qos != self.expected_qos);
        self.faults.wrong_retain += u64::from(publish.retain);
        let (arrival, before) = if self.plan.topology == Topology::Shared {
            let next = &mut subscriber.member_next[stream];
            let arrival = self.group[publisher].arrive(header.sequence);
            let is_behind = header.sequence < *next;
            self.faults.out_of_order += u64::from(is_behind && arrival != Arrival::Duplicate);
            *next = (*next).max(header.sequence + 1);
            (arrival, *next)
        } else {
            let stream = &mut subscriber.streams[stream];
            let before = stream.next();
            let arrival = stream.arrive(header.sequence);
            self.faults.out_of_order += u64::from(arrival == Arrival::Late);
            (arrival, before)
        };
        let repeats_last = header.sequence + 1 == before;
        if let Arrival::Next { advance } = arrival {
            self.advance(
                publisher,
                header.sequence + 1 - advance,
                header.sequence + 1,
            );
        }
        self.count(arrival, publish, repeats_last);
        if matches!(arrival, Arrival::Next { .. } | Arrival::Late) {
            let latency_ns = now_ns.saturating_sub(header.scheduled_ns);
            self.latency.record_ns(latency_ns);
            // Sampled by their numbers in the stream.
            let number = usize::try_from(header.sequence).unwrap_or(usize::MAX);
            self.recent
                .record(Kind::Delivery, number, now_ns, latency_ns);
            self.last_delivery_ns = now_ns;
        }
    }

    fn count(&mut self, arrival: Arrival, publish: &PublishView<'_>, repeats_last: bool) {
        match arrival {
            Arrival::Next { .. } | Arrival::Late => self.arrived += 1,
            Arrival::Unclassified => self.faults.unclassified += 1,
            Arrival::Duplicate if publish.dup && publish.qos == 1 => self.faults.redelivered += 1,
            Arrival::Duplicate
                if repeats_last
                    && self.plan.overlap_copies == OverlapCopies::Each
                    && self.plan.overlap() > 1 =>
            {
                self.overlap_copies += 1;
            }
            Arrival::Duplicate => self.faults.duplicates += 1,
        }
    }

    #[inline]
    fn advance(&mut self, publisher: usize, from: u64, to: u64) {
        if self.seen[publisher].advance(from, to) {
            self.note_advanced(publisher);
        }
    }

    fn note_advanced(&mut self, publisher: usize) {
        if !std::mem::replace(&mut self.is_advanced[publisher], true) {
            self.advanced.push(publisher);
        }
    }

    /// Makes every publisher learn how far this worker's receivers are.
    pub(super) fn advance_all(&mut self) {
        (0..self.plan.publishers).for_each(|publisher| self.note_advanced(publisher));
    }

    /// The first message of a publisher that some receiver here has not seen.
    pub(super) fn take_head(&mut self, publisher: usize) -> u64 {
        self.is_advanced[publisher] = false;
        self.seen[publisher].head()
    }

    /// The connection of a subscriber is lost: no window waits for it any more.
    pub(super) fn retire(&mut self, subscriber: &Subscriber) {
        for stream in 0..subscriber.streams.len() {
            let publisher = self.plan.publisher_of_stream(subscriber.index, stream);
            if self.seen[publisher].retire_receiver() {
                self.note_advanced(publisher);
            }
        }
    }

    /// Judges a delivery to a client that subscribes and unsubscribes all the time: it has to be
    /// intact, no more can be said.
    pub(super) fn deliver_to_churner(&mut self, publish: &PublishView<'_>, now_ns: u64) {
        self.churn_deliveries += 1;
        match self.plan.format.read(publish.payload, now_ns) {
            Ok(_) => {}
            Err(Unreadable::Foreign) => self.faults.foreign += 1,
            Err(Unreadable::Corrupt) => self.faults.corrupt += 1,
        }
    }

    /// Counts what a subscriber has not got; `sent` tells how many messages a publisher has sent.
    /// A corrupt message stands for one that is missing.
    pub(super) fn close(&mut self, subscriber: &Subscriber, sent: impl Fn(usize) -> u64) {
        if self.plan.topology == Topology::Shared {
            // The group as a whole is closed once; its corrupt messages count against it.
            self.faults.lost = self.faults.lost.saturating_sub(subscriber.corrupt);
            return;
        }
        let missing: u64 = subscriber
            .streams
            .iter()
            .enumerate()
            .map(|(n, stream)| {
                stream.missing(sent(self.plan.publisher_of_stream(subscriber.index, n)))
            })
            .sum();
        self.faults.lost += missing.saturating_sub(subscriber.corrupt);
    }

    /// Counts what the shared group has not got; before its members are closed.
    pub(super) fn close_group(&mut self, sent: impl Fn(usize) -> u64) {
        let missing = self
            .group
            .iter()
            .enumerate()
            .map(|(p, stream)| stream.missing(sent(p)));
        self.faults.lost += missing.sum::<u64>();
    }
}

/// The receivers of each publisher among `parts`; a shared group is one receiver.
fn receivers(plan: &Plan, parts: &[Part]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = (0..plan.publishers).map(|_| Seen::default()).collect();
    let mut subscribers = parts.iter().filter_map(|part| match part {
        Part::Subscriber(n) => Some(*n),
        _ => None,
    });
    if plan.topology == Topology::Shared {
        if subscribers.next().is_some() {
            seen.iter_mut().for_each(Seen::add_receiver);
        }
        return seen;
    }
    for subscriber in subscribers {
        for stream in 0..plan.streams(subscriber) {
            seen[plan.publisher_of_stream(subscriber, stream)].add_receiver();
        }
    }
    seen
}
