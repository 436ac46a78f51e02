//! What goes to other cores, and the acknowledgements that wait until it has gone.
//!
//! A record is staged at its source and flushed to the target's ring once a turn. A PUBLISH of QoS
//! 1 or 2 is acknowledged when every target has taken the message over, that is: when the record
//! is in the target's ring. So an acknowledgement carries the turn in which its records were staged,
//! and leaves when all its targets have flushed that turn. Acknowledgements leave in one order, the
//! order of the PUBLISHes; one that has to wait holds back those behind it, at longest until the
//! target's next drain.

use std::collections::VecDeque;

use crate::base::core_set::CoreSet;
use crate::base::ids::{CoreId, Epoch};
use crate::base::limits::{OUTBOX_BYTES_MAX, OUTBOX_PARCEL_BYTES_MAX, OUTBOX_PARCELS_MAX};
use crate::base::slab::Key;
use crate::base::staged::Staged;
use crate::mqtt::reason::ReasonCode;
use crate::shard::cross::Parcel;

/// The outboxes of one core, one a target.
pub struct Outboxes {
    targets: Vec<Target>,
    turn: u64,
    /// Bytes staged towards one core above which producers wait.
    limit_bytes: usize,
    /// Outboxes above it: asked for at each PUBLISH, so it is kept.
    over_limit: u32,
}

struct Target {
    staged: Staged<Parcel>,
    /// Bytes of each parcel that is staged, in order, and of all.
    parcel_sizes: VecDeque<usize>,
    parcel_bytes: usize,
    /// Turns whose records still wait.
    marks: VecDeque<Mark>,
    staged_records: u64,
    flushed_records: u64,
    /// Records staged up to the last trim.
    trimmed_records: u64,
}

/// A turn whose records still wait.
#[derive(Clone, Copy, Debug)]
struct Mark {
    turn: u64,
    /// The epoch that the turn began with.
    epoch: Epoch,
    /// The moment of its beginning, milliseconds since process start.
    ms: u64,
    /// Records staged by its end.
    end: u64,
}

impl Target {
    fn is_over(&self, limit_bytes: usize) -> bool {
        self.staged.bytes() > limit_bytes
            || self.staged.parcels() > OUTBOX_PARCELS_MAX
            || self.parcel_bytes > OUTBOX_PARCEL_BYTES_MAX
    }

    /// Forgets the sizes of parcels that have gone.
    fn settle_parcels(&mut self) {
        while self.parcel_sizes.len() > self.staged.parcels() {
            self.parcel_bytes -= self.parcel_sizes.pop_front().unwrap_or(0);
        }
    }
}

impl Outboxes {
    /// Empty outboxes towards `cores` cores; the one to itself is never used.
    pub fn new(cores: u8) -> Self {
        let target = || Target {
            staged: Staged::default(),
            parcel_sizes: VecDeque::new(),
            parcel_bytes: 0,
            marks: VecDeque::new(),
            staged_records: 0,
            flushed_records: 0,
            trimmed_records: 0,
        };
        Self {
            targets: (0..cores).map(|_| target()).collect(),
            turn: 0,
            limit_bytes: OUTBOX_BYTES_MAX,
            over_limit: 0,
        }
    }

    /// Sets another limit than [`OUTBOX_BYTES_MAX`], for simulations that want to reach it.
    pub fn set_limit_bytes(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// The number of the present turn.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Stages a record for a core.
    pub fn record(&mut self, target: CoreId, write: impl FnOnce(&mut Vec<u8>)) {
        self.stage(target, None, |staged| staged.record(write));
    }

    /// Stages a record with the parcel that it announces.
    pub fn record_with(
        &mut self,
        target: CoreId,
        parcel: Parcel,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let bytes = parcel.bytes();
        self.stage(target, Some(bytes), |staged| {
            staged.record_with(parcel, write);
        });
    }

    fn stage(
        &mut self,
        target: CoreId,
        parcel_bytes: Option<usize>,
        add: impl FnOnce(&mut Staged<Parcel>),
    ) {
        let target = &mut self.targets[target.index()];
        let was_over = target.is_over(self.limit_bytes);
        add(&mut target.staged);
        if let Some(bytes) = parcel_bytes {
            target.parcel_sizes.push_back(bytes);
            target.parcel_bytes += bytes;
        }
        target.staged_records += 1;
        self.over_limit += u32::from(!was_over && target.is_over(self.limit_bytes));
    }

    /// Whether a producer has to wait because an outbox is over its limit.
    pub fn over_limit(&self) -> bool {
        self.over_limit > 0
    }

    /// Whether an outbox has room for what has no socket to pause (replays, wills).
    pub fn has_room(&self, target: CoreId) -> bool {
        let target = &self.targets[target.index()];
        target.staged.bytes() < self.limit_bytes / 2
            && target.staged.parcels() < OUTBOX_PARCELS_MAX / 2
            && target.parcel_bytes < OUTBOX_PARCEL_BYTES_MAX / 2
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.targets.iter().all(|target| target.staged.is_empty())
    }

    /// The targets for which something waits.
    pub fn waiting(&self) -> impl Iterator<Item = CoreId> + '_ {
        self.targets
            .iter()
            .enumerate()
            .filter(|(_, target)| !target.staged.is_empty())
            .map(|(index, _)| CoreId(u8::try_from(index).unwrap_or(u8::MAX)))
    }

    /// What waits for one target, for the driver to flush; it says how many records went.
    pub fn flush(&mut self, target: CoreId, flush: impl FnOnce(&mut Staged<Parcel>) -> usize) {
        let target = &mut self.targets[target.index()];
        let was_over = target.is_over(self.limit_bytes);
        target.flushed_records += flush(&mut target.staged) as u64;
        target.settle_parcels();
        self.over_limit -= u32::from(was_over && !target.is_over(self.limit_bytes));
    }

    /// Ends a turn that began with `epoch` at `ms`: remembers which turns are not wholly flushed.
    pub fn end_turn(&mut self, epoch: Epoch, ms: u64) {
        for target in &mut self.targets {
            while target
                .marks
                .front()
                .is_some_and(|mark| mark.end <= target.flushed_records)
            {
                target.marks.pop_front();
            }
            let marked = target
                .marks
                .back()
                .map_or(target.flushed_records, |mark| mark.end);
            if target.staged_records > marked {
                target.marks.push_back(Mark {
                    turn: self.turn,
                    epoch,
                    ms,
                    end: target.staged_records,
                });
            }
        }
        self.turn += 1;
    }

    /// Epoch and moment of the oldest turn whose records are not wholly flushed.
    pub fn oldest_unsent(&self) -> Option<(Epoch, u64)> {
        let oldest = self
            .targets
            .iter()
            .filter_map(|target| target.marks.front());
        oldest.map(|mark| (mark.epoch, mark.ms)).min()
    }

    /// Whether all targets have taken what was staged for them up to the end of `turn`.
    fn has_flushed(&self, targets: CoreSet, turn: u64) -> bool {
        targets.iter().all(|core| {
            self.targets[core.index()]
                .marks
                .front()
                .is_none_or(|oldest| oldest.turn > turn)
        })
    }

    /// Records staged so far, to all targets.
    pub fn staged_records(&self) -> u64 {
        self.targets
            .iter()
            .map(|target| target.staged_records)
            .sum()
    }

    /// Frees the memory of outboxes that were not used since the last call: with N cores there are
    /// N times N of them.
    pub fn trim(&mut self) {
        for target in &mut self.targets {
            let used = target.staged_records != target.trimmed_records;
            target.trimmed_records = target.staged_records;
            if !used && target.staged.is_empty() && target.marks.is_empty() {
                target.staged = Staged::default();
                target.parcel_sizes = VecDeque::new();
                target.marks = VecDeque::new();
            }
        }
    }

    /// Memory in bytes.
    pub fn held_bytes(&self) -> usize {
        let held = |target: &Target| {
            size_of::<Target>()
                + target.staged.held_bytes()
                + target.parcel_sizes.capacity() * size_of::<usize>()
                + target.marks.capacity() * size_of::<Mark>()
        };
        self.targets.iter().map(held).sum()
    }

    /// Bytes that wait, parcels not counted.
    pub fn bytes(&self) -> usize {
        self.targets
            .iter()
            .map(|target| target.staged.bytes())
            .sum()
    }
}

/// An acknowledgement that waits for its message to be taken over.
#[derive(Debug)]
pub struct PendingAck {
    /// Whom it goes to.
    pub connection: Key,
    /// The PUBLISH it answers.
    pub packet_id: u16,
    /// PUBREC instead of PUBACK.
    pub qos2: bool,
    /// Its reason code.
    pub reason: ReasonCode,
    /// The cores that must have taken the message.
    pub waits: CoreSet,
    /// The turn in which the message was staged.
    pub turn: u64,
}

/// Acknowledgements of one core that wait, in the order in which they leave.
#[derive(Default)]
pub struct AckFifo {
    waiting: VecDeque<PendingAck>,
}

impl AckFifo {
    /// Appends an acknowledgement.
    pub fn push(&mut self, ack: PendingAck) {
        self.waiting.push_back(ack);
    }

    /// The next acknowledgement that may leave.
    pub fn pop_ready(&mut self, outboxes: &Outboxes) -> Option<PendingAck> {
        let first = self.waiting.front()?;
        if !outboxes.has_flushed(first.waits, first.turn) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Acknowledgements that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_that_is_not_used_gives_its_memory_back() {
        let mut outboxes = Outboxes::new(2);
        let empty = outboxes.held_bytes();
        outboxes.record(CoreId(1), |out| out.push(7));
        outboxes.trim();
        outboxes.trim();
        assert!(outboxes.held_bytes() > empty, "a record waits");
        flush(&mut outboxes, 1);
        outboxes.end_turn(Epoch(1), 0);
        outboxes.end_turn(Epoch(2), 0);
        outboxes.record(CoreId(1), |out| out.push(7));
        flush(&mut outboxes, 1);
        outboxes.end_turn(Epoch(3), 0);
        outboxes.trim();
        assert!(outboxes.held_bytes() > empty, "it was used lately");
        outboxes.trim();
        assert_eq!(outboxes.held_bytes(), empty);
    }

    fn ack(turn: u64, waits: CoreSet) -> PendingAck {
        PendingAck {
            connection: Key {
                index: 0,
                generation: 1,
            },
            packet_id: 1,
            qos2: false,
            reason: ReasonCode::Success,
            waits,
            turn,
        }
    }

    /// Flushes at most `records` records of those waiting for core 1.
    fn flush(outboxes: &mut Outboxes, records: usize) {
        outboxes.flush(CoreId(1), |staged| {
            let mut bytes = 0;
            let mut done = 0;
            while done < records && bytes < staged.bytes() {
                let batch = staged.batch(usize::MAX, usize::MAX);
                assert!(
                    batch.records >= records - done,
                    "the test flushes what is there"
                );
                bytes += 5;
                done += 1;
            }
            staged.consume(bytes);
            done
        });
    }

    #[test]
    fn large_messages_make_producers_wait_by_their_bytes() {
        let mut outboxes = Outboxes::new(2);
        let large = |bytes| Parcel::Long(vec![0; bytes]);
        for _ in 0..100 {
            outboxes.record_with(CoreId(1), large(4096), |_| {});
        }
        assert!(!outboxes.over_limit() && outboxes.has_room(CoreId(1)));
        outboxes.record_with(CoreId(1), large(OUTBOX_PARCEL_BYTES_MAX), |_| {});
        assert!(outboxes.over_limit() && !outboxes.has_room(CoreId(1)));
        outboxes.flush(CoreId(1), |staged| {
            let batch = staged.batch(usize::MAX, usize::MAX);
            for _ in 0..batch.parcels {
                staged.take_parcel();
            }
            staged.consume(batch.bytes);
            batch.records
        });
        assert!(!outboxes.over_limit() && outboxes.has_room(CoreId(1)));
        assert_eq!(outboxes.targets[1].parcel_bytes, 0);
    }

    #[test]
    fn an_ack_leaves_when_its_turn_is_flushed_whatever_comes_after() {
        let mut outboxes = Outboxes::new(2);
        let mut acks = AckFifo::default();
        let other = CoreSet::single(CoreId(1));
        for turn in 0..3 {
            outboxes.record(CoreId(1), |out| out.push(turn));
            acks.push(ack(outboxes.turn(), other));
            outboxes.end_turn(Epoch(turn.into()), 0);
        }
        assert!(acks.pop_ready(&outboxes).is_none());
        flush(&mut outboxes, 1);
        outboxes.record(CoreId(1), |out| out.push(9));
        outboxes.end_turn(Epoch(9), 0);
        assert_eq!(acks.pop_ready(&outboxes).map(|ack| ack.turn), Some(0));
        assert!(acks.pop_ready(&outboxes).is_none());
        flush(&mut outboxes, 3);
        outboxes.end_turn(Epoch(9), 0);
        assert_eq!(acks.pop_ready(&outboxes).map(|ack| ack.turn), Some(1));
        assert_eq!(acks.pop_ready(&outboxes).map(|ack| ack.turn), Some(2));
        assert!(acks.is_empty() && outboxes.is_empty());
    }
}
