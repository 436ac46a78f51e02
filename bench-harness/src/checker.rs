//! Follows one stream of numbered messages and says what was lost, doubled or out of order.
//!
//! A stream is what one receiver (or one shared group) gets of one publisher's topic. While all
//! arrives in order it is one number. What is skipped is kept as intervals, at most
//! [`GAPS_MAX`]; past that the oldest interval is given up as lost, and a message that
//! arrives for it later is counted as `unclassified`, since it cannot be told from a duplicate.

use std::collections::VecDeque;

/// The most intervals of missing messages a stream keeps: 1 MiB a stream at worst.
const GAPS_MAX: usize = 65_536;

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next message, or one further on; `advance` is by how much the stream moved.
    Next { advance: u64 },
    /// A message that had been skipped.
    Late,
    /// A message that had arrived before.
    Duplicate,
    /// Late or duplicate: the stream no longer knows.
    Unclassified,
}

/// One stream; sequence numbers start at 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    next: u64,
    given_up: u64,
    gaps: Option<Box<Gaps>>,
}

#[derive(Clone, Debug, Default)]
struct Gaps {
    /// Missing intervals, first and end (exclusive), ascending.
    intervals: VecDeque<(u64, u64)>,
    given_up_end: u64,
}

impl Stream {
    /// Takes note of an arrival.
    #[inline]
    pub(crate) fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::Next { advance: 1 };
        }
        self.arrive_out_of_turn(sequence)
    }

    #[cold]
    fn arrive_out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence < self.next {
            return match &mut self.gaps {
                Some(gaps) => gaps.fill(sequence),
                None => Arrival::Duplicate,
            };
        }
        let gaps = self.gaps.get_or_insert_default();
        gaps.intervals.push_back((self.next, sequence));
        if gaps.intervals.len() > GAPS_MAX
            && let Some((first, end)) = gaps.intervals.pop_front()
        {
            self.given_up += end - first;
            gaps.given_up_end = end;
        }
        let advance = sequence + 1 - self.next;
        self.next = sequence + 1;
        Arrival::Next { advance }
    }

    /// Messages of `sent` that have not arrived.
    pub(crate) fn missing(&self, sent: u64) -> u64 {
        let in_gaps = self.gaps.as_ref().map_or(0, |gaps| {
            gaps.intervals.iter().map(|(first, end)| end - first).sum()
        });
        sent.saturating_sub(self.next) + in_gaps + self.given_up
    }

    /// The greatest sequence number seen, plus one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

impl Gaps {
    fn fill(&mut self, sequence: u64) -> Arrival {
        let index = self.intervals.partition_point(|(_, end)| *end <= sequence);
        match self.intervals.get(index).copied() {
            Some((first, end)) if first <= sequence => {
                self.split(index, first, end, sequence);
                Arrival::Late
            }
            _ if sequence < self.given_up_end => Arrival::Unclassified,
            _ => Arrival::Duplicate,
        }
    }

    fn split(&mut self, index: usize, first: u64, end: u64, sequence: u64) {
        match (first == sequence, sequence + 1 == end) {
            (true, true) => drop(self.intervals.remove(index)),
            (true, false) => self.intervals[index].0 = sequence + 1,
            (false, true) => self.intervals[index].1 = sequence,
            (false, false) => {
                self.intervals[index].1 = sequence;
                self.intervals.insert(index + 1, (sequence + 1, end));
            }
        }
    }
}

/// Sums over all streams of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Sent, and never delivered although a subscription matched.
    pub(crate) lost: u64,
    /// Delivered again without the DUP flag.
    pub(crate) duplicates: u64,
    /// Delivered again with the DUP flag at QoS 1.
    pub(crate) redelivered: u64,
    /// Delivered after a later message of the same publisher and topic.
    pub(crate) out_of_order: u64,
    /// Payloads that are not what was sent.
    pub(crate) corrupt: u64,
    /// Delivered to a client whose filters do not match, or under another topic.
    pub(crate) misdelivered: u64,
    /// Delivered at another QoS than the lesser of publication and subscription.
    pub(crate) wrong_qos: u64,
    /// Delivered to an established subscription with the retain flag set.
    pub(crate) wrong_retain: u64,
    /// Intact messages of another run.
    pub(crate) foreign: u64,
    /// Late or duplicate, no longer to be told apart.
    pub(crate) unclassified: u64,
    /// Packets that break the protocol or answer nothing.
    pub(crate) protocol_errors: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.redelivered += other.redelivered;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.misdelivered += other.misdelivered;
        self.wrong_qos += other.wrong_qos;
        self.wrong_retain += other.wrong_retain;
        self.foreign += other.foreign;
        self.unclassified += other.unclassified;
        self.protocol_errors += other.protocol_errors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_swap_is_one_late_message_and_no_loss() {
        let mut stream = Stream::default();
        assert_eq!(stream.arrive(0), Arrival::Next { advance: 1 });
        assert_eq!(stream.arrive(2), Arrival::Next { advance: 2 });
        assert_eq!(stream.missing(4), 2);
        assert_eq!(stream.arrive(1), Arrival::Late);
        assert_eq!(stream.arrive(1), Arrival::Duplicate);
        assert_eq!(stream.arrive(3), Arrival::Next { advance: 1 });
        assert_eq!(stream.missing(4), 0);
    }

    #[test]
    fn more_gaps_than_are_kept_are_still_counted() {
        let mut stream = Stream::default();
        let kept = GAPS_MAX as u64;
        for n in 0..kept + 10 {
            stream.arrive(2 * n + 1);
        }
        assert_eq!(stream.missing(2 * (kept + 10)), kept + 10);
        assert_eq!(stream.arrive(0), Arrival::Unclassified);
        assert_eq!(stream.arrive(20), Arrival::Late);
        assert_eq!(stream.arrive(21), Arrival::Duplicate);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_numbers(arrivals in prop::collection::vec(0u64..60, 0..120)) {
            let mut stream = Stream::default();
            let mut seen = HashSet::new();
            let mut highest = None;
            for n in arrivals {
                let arrival = stream.arrive(n);
                let is_new = seen.insert(n);
                let is_ahead = highest.is_none_or(|h| n > h);
                highest = highest.max(Some(n));
                match arrival {
                    Arrival::Next { .. } => prop_assert!(is_new && is_ahead),
                    Arrival::Late => prop_assert!(is_new && !is_ahead),
                    Arrival::Duplicate => prop_assert!(!is_new),
                    Arrival::Unclassified => prop_assert!(false),
                }
                prop_assert_eq!(stream.missing(60), 60 - seen.len() as u64);
            }
        }
    }
}
