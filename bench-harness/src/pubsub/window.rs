//! How far a publisher's receivers are, so that its window closes on the slowest of them.
//!
//! A message has left the window once every receiver has seen it or a later one. Each worker knows
//! that for its own receivers ([`Seen`]) and publishes its lowest unseen sequence; the publisher
//! takes the least over the workers.

use std::collections::VecDeque;

/// One worker's receivers of one publisher.
#[derive(Debug, Default)]
pub(super) struct Seen {
    receivers: u32,
    /// Every receiver has seen all messages before this one.
    head: u64,
    /// How many receivers have seen each message from `head` on; empty with a single receiver.
    counts: VecDeque<u32>,
}

impl Seen {
    pub(super) fn add_receiver(&mut self) {
        self.receivers += 1;
    }

    /// The first message that some receiver has not seen; none without receivers.
    pub(super) fn head(&self) -> u64 {
        if self.receivers == 0 {
            u64::MAX
        } else {
            self.head
        }
    }

    /// One receiver has seen `from..to`. Says whether the head moved.
    #[inline]
    pub(super) fn advance(&mut self, from: u64, to: u64) -> bool {
        if self.receivers == 1 && self.counts.is_empty() {
            self.head = to;
            return true;
        }
        for sequence in from.max(self.head)..to {
            let index = usize::try_from(sequence - self.head).unwrap_or(usize::MAX);
            if index >= self.counts.len() {
                self.counts.resize(index + 1, 0);
            }
            self.counts[index] += 1;
        }
        self.drop_complete()
    }

    /// A receiver is gone and holds nothing up any more. Says whether the head moved.
    pub(super) fn retire_receiver(&mut self) -> bool {
        self.receivers = self.receivers.saturating_sub(1);
        self.drop_complete() || self.receivers == 0
    }

    fn drop_complete(&mut self) -> bool {
        let before = self.head;
        while self
            .counts
            .front()
            .is_some_and(|count| *count >= self.receivers)
        {
            self.counts.pop_front();
            self.head += 1;
        }
        self.head > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_receiver_that_is_gone_holds_nothing_up() {
        let mut seen = Seen::default();
        assert_eq!(seen.head(), u64::MAX);
        seen.add_receiver();
        seen.add_receiver();
        assert!(!seen.advance(0, 5));
        assert!(seen.advance(0, 2));
        assert_eq!(seen.head(), 2);
        assert!(seen.retire_receiver());
        assert_eq!(seen.head(), 5);
        assert!(seen.retire_receiver());
        assert_eq!(seen.head(), u64::MAX);
    }

    proptest! {
        #[test]
        fn the_head_is_the_slowest_receiver(
            receivers in 1usize..6,
            steps in prop::collection::vec((0usize..6, 1u64..5), 0..80),
        ) {
            let mut seen = Seen::default();
            (0..receivers).for_each(|_| seen.add_receiver());
            let mut next = vec![0u64; receivers];
            for (receiver, step) in steps {
                let from = &mut next[receiver % receivers];
                let before = seen.head();
                let moved = seen.advance(*from, *from + step);
                *from += step;
                prop_assert_eq!(seen.head(), next.iter().copied().min().unwrap());
                prop_assert_eq!(moved, seen.head() != before);
            }
        }
    }
}
