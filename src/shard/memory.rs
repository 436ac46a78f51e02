//! The core's byte budget for queued messages (architecture: nothing without a limit).
//!
//! A message that many sessions of the core hold is counted once: it is charged when it is made and
//! released by whoever lets the last reference go, so every drop of a message goes through
//! [`Budget::release`].

use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashSet;

use crate::mqtt::message::Message;

/// Above this share of the budget QoS 0 is no longer queued, in percent.
const QOS0_SHARE_PERCENT: usize = 80;

/// Messages in flight to one session at most while memory is above that share: those that are in flight
/// cannot be had back, those in a queue can.
const SCARCE_WINDOW: u16 = 4;
/// And while the budget is used up: what comes from each session one by one still comes.
const FULL_WINDOW: u16 = 1;

/// Spliced messages that are looked at in one turn.
const SWEEP_PER_TURN: usize = 64;

/// Bytes of messages held by out-queues, windows and session queues of this core.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
    /// Messages whose payload is spliced into sends. The plane lets its references go without
    /// saying so; the one kept here is the last.
    spliced: VecDeque<Message>,
    /// The addresses of those: each is kept once, or the references kept would hold each other.
    kept: HashSet<usize, BuildHasherDefault<AHasher>>,
}

impl Budget {
    /// An empty budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            used: 0,
            limit,
            spliced: VecDeque::new(),
            kept: HashSet::default(),
        }
    }

    /// Counts a message that was just made.
    pub fn charge(&mut self, message: &Message) {
        self.used += message.len();
    }

    /// Lets one reference go; the last one gives the bytes back.
    pub fn release(&mut self, message: Message) {
        if message.shares() == 1 {
            self.used = self.used.saturating_sub(message.len());
        }
    }

    /// Keeps a message that is being spliced into sends until all of them are over. Takes the
    /// caller's reference.
    pub fn keep_spliced(&mut self, message: Message) {
        if self.kept.insert(address(&message)) {
            self.spliced.push_back(message);
        } else {
            self.release(message);
        }
    }

    /// Lets go of messages whose sends are over; looks at a few a turn.
    pub fn sweep(&mut self) {
        for _ in 0..self.spliced.len().min(SWEEP_PER_TURN) {
            let Some(message) = self.spliced.pop_front() else {
                return;
            };
            if message.shares() == 1 {
                self.kept.remove(&address(&message));
                self.release(message);
            } else {
                self.spliced.push_back(message);
            }
        }
    }

    /// Whether QoS 0 may still be queued.
    pub fn allows_qos0(&self) -> bool {
        self.used < self.limit / 100 * QOS0_SHARE_PERCENT
    }

    /// How many messages may be in flight to a session whose window is `window`. Many clients that do
    /// not read would otherwise fill the memory with their windows, of which nothing can be dropped.
    pub fn window(&self, window: u16) -> u16 {
        if self.allows_qos0() {
            window
        } else if self.is_full() {
            window.min(FULL_WINDOW)
        } else {
            window.min(SCARCE_WINDOW)
        }
    }

    /// Whether anything may still be queued without something else going.
    pub fn is_full(&self) -> bool {
        self.used >= self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used
    }
}

/// Names a message for as long as it lives.
fn address(message: &Message) -> usize {
    message.record().as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Publication, PublisherRef};
    use crate::mqtt::qos::QoS;

    #[test]
    fn a_message_spliced_twice_gives_its_bytes_back() {
        let mut budget = Budget::new(1000);
        let message = Message::from_publication(&Publication {
            topic: "t",
            payload: &[0; 100],
            properties: &[],
            qos: QoS::AtMostOnce,
            retain: false,
            received_us: 0,
            expires_us: None,
            publisher: PublisherRef::BROKER,
        });
        budget.charge(&message);
        budget.keep_spliced(message.clone());
        budget.keep_spliced(message.clone());
        budget.release(message);
        assert!(budget.used() > 0);
        budget.sweep();
        assert_eq!(budget.used(), 0);
    }
}
