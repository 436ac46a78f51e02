//! The index thread in steps: takes deltas, applies them, publishes the batch, answers. Shards run
//! between any two of these.

use std::collections::VecDeque;

use crate::base::ids::{CoreId, Epoch, FilterId};
use crate::routing::delta::Delta;
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::{LocalDelta, PendingFilter};
use crate::routing::writer::IndexWriter;
use crate::shard::subscribe::{Decision, IndexAnswer};
use crate::sim::rng::Rng;

/// Deltas of one core that wait for the thread at most.
const WAITING_MAX: usize = 4;

/// A delta on its way.
#[derive(Debug)]
enum Waiting {
    Add(PendingFilter, Box<str>),
    Remove(FilterId),
    Claim(ClaimToken, Box<str>),
    Release(Box<str>),
}

/// The thread and its queues.
pub struct IndexThread {
    /// The writer.
    pub writer: IndexWriter,
    /// Until this step of the world it does nothing.
    pub stalled_until: u64,
    waiting: Vec<VecDeque<Waiting>>,
    /// Applied and not published.
    applied: Vec<(usize, Decision)>,
    changed: bool,
    /// Published and not sent.
    answers: VecDeque<(usize, IndexAnswer)>,
}

impl IndexThread {
    /// The thread of so many cores.
    pub fn new(writer: IndexWriter, cores: usize) -> Self {
        Self {
            writer,
            stalled_until: 0,
            waiting: (0..cores).map(|_| VecDeque::new()).collect(),
            applied: Vec::new(),
            changed: false,
            answers: VecDeque::new(),
        }
    }

    /// Whether a core may send one more delta.
    pub fn has_room(&self, core: usize) -> bool {
        self.waiting[core].len() < WAITING_MAX
    }

    /// A core's delta.
    pub fn send(&mut self, core: usize, delta: LocalDelta<'_>) {
        self.waiting[core].push_back(match delta {
            LocalDelta::Add { token, filter } => Waiting::Add(token, filter.into()),
            LocalDelta::Remove { filter } => Waiting::Remove(filter),
            LocalDelta::Claim { token, topic } => Waiting::Claim(token, topic.into()),
            LocalDelta::Release { topic } => Waiting::Release(topic.into()),
        });
    }

    /// Whether something is on its way.
    pub fn is_busy(&self) -> bool {
        self.changed
            || !self.applied.is_empty()
            || !self.answers.is_empty()
            || self.waiting.iter().any(|queue| !queue.is_empty())
    }

    /// Goes some way; the answers come out as `(core, answer)`.
    pub fn step(&mut self, rng: &mut Rng, mut answer: impl FnMut(usize, IndexAnswer)) {
        if rng.percent(60) {
            for _ in 0..rng.range(1, 6) {
                let core = rng.below(self.waiting.len());
                self.apply_one(core);
            }
        }
        if self.changed && rng.percent(60) {
            let epoch = self.writer.publish();
            self.changed = false;
            self.publish(epoch);
        }
        if rng.percent(60) {
            for _ in 0..rng.range(1, 4) {
                if let Some((core, applied)) = self.answers.pop_front() {
                    answer(core, applied);
                }
            }
        }
        if rng.percent(50) {
            self.writer.reclaim();
        }
    }

    fn apply_one(&mut self, core: usize) {
        let id = CoreId(u8::try_from(core).unwrap_or(0));
        match self.waiting[core].pop_front() {
            Some(Waiting::Add(token, filter)) => {
                let delta = Delta::Add {
                    filter: &filter,
                    core: id,
                };
                let filter = self.writer.apply(delta).ok().map(|applied| applied.filter);
                self.applied
                    .push((core, Decision::Filter { token, filter }));
                self.changed = true;
            }
            Some(Waiting::Remove(filter)) => {
                let delta = Delta::Remove { filter, core: id };
                let applied = self.writer.apply(delta);
                assert!(applied.is_ok_and(|a| a.changed), "a core leaves once");
                self.changed = true;
            }
            Some(Waiting::Claim(token, topic)) => {
                let granted = self.writer.claims.claim(&topic, id);
                self.applied
                    .push((core, Decision::Claim { token, granted }));
                self.changed = true;
            }
            Some(Waiting::Release(topic)) => self.writer.claims.release(&topic, id),
            None => {}
        }
    }

    fn publish(&mut self, epoch: Epoch) {
        for (core, decision) in self.applied.drain(..) {
            let answer = IndexAnswer { decision, epoch };
            self.answers.push_back((core, answer));
        }
    }
}
