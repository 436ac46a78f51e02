//! The mesh: a lane from every core to every other, for records and the parcels they announce.
//!
//! A lane is a ring of bytes, which holds whole records only, and a ring of owned parcels. A flush
//! pushes the parcels of a batch before it publishes the batch's bytes, so that whoever reads a
//! record finds its parcel. Each end belongs to one core and cannot be cloned: one producer and one
//! consumer a lane, by type.
//!
//! The rings never deadlock, because draining never waits for room: what a drain produces is staged
//! ([`Staged`]) at its source. Waking the target is the caller's ([`super::wake`]), once a turn.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::staged::{Batch, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, RecordHead, Staged};

/// Memory in bytes that the byte rings of all lanes share.
const MESH_BYTES: usize = 64 * 1024 * 1024;

/// Smallest byte ring: two of the longest records.
const LANE_BYTES_MIN: usize = 2 * (RECORD_BYTES_MAX + RECORD_HEAD_BYTES);

/// Largest byte ring: some thousand small messages, more than a turn brings.
const LANE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a lane for each parcel of it: a parcel comes with a record, and stands for a socket or
/// a large block.
const LANE_BYTES_PER_PARCEL: usize = 512;

/// Takes a record and the parcel it announced.
pub type OnRecord<'a, P> = &'a mut dyn FnMut(&[u8], Option<P>);

/// Takes a record and its parcel together with the core they come from.
pub type OnRecordFrom<'a, P> = &'a mut dyn FnMut(usize, &[u8], Option<P>);

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// What went into the lane. When it is not nothing, the target is to be woken.
    pub moved: Batch,
    /// Whether everything that was staged went.
    pub all: bool,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handled.
    pub records: usize,
    /// Their bytes, heads included.
    pub bytes: usize,
    /// Whether the budget ended it: there may be more.
    pub more: bool,
}

/// The lanes' ends of one core.
#[derive(Debug)]
pub struct MeshEnd<P> {
    core: usize,
    outgoing: Vec<Option<Outlet<P>>>,
    incoming: Vec<Option<Inlet<P>>>,
    /// The source that the next drain begins with.
    next_source: usize,
}

#[derive(Debug)]
struct Outlet<P> {
    bytes: Producer<u8>,
    parcels: Producer<P>,
}

#[derive(Debug)]
struct Inlet<P> {
    bytes: Consumer<u8>,
    parcels: Consumer<P>,
    /// A record that wraps around the ring's end is made whole here.
    scratch: Vec<u8>,
}

/// Makes the ends of all cores.
pub fn mesh<P: Send>(cores: usize) -> Vec<MeshEnd<P>> {
    mesh_with(cores, lane_bytes(cores))
}

fn lane_bytes(cores: usize) -> usize {
    (MESH_BYTES / (cores * cores).max(1)).clamp(LANE_BYTES_MIN, LANE_BYTES_MAX)
}

/// Writes a ring once, so that its memory is the process's from the start and does not come as a
/// surprise under load.
fn touch(ring_in: &mut Producer<u8>, ring_out: &mut Consumer<u8>) {
    if let Ok(chunk) = ring_in.write_chunk_uninit(ring_in.slots()) {
        chunk.fill_from_iter(std::iter::repeat(0));
    }
    if let Ok(chunk) = ring_out.read_chunk(ring_out.slots()) {
        chunk.commit_all();
    }
}

fn mesh_with<P: Send>(cores: usize, lane_bytes: usize) -> Vec<MeshEnd<P>> {
    let parcels = (lane_bytes / LANE_BYTES_PER_PARCEL).max(1);
    let mut ends: Vec<_> = (0..cores)
        .map(|core| MeshEnd::unconnected(core, cores))
        .collect();
    for source in 0..cores {
        for target in (0..cores).filter(|&target| target != source) {
            let (mut bytes_in, mut bytes_out) = RingBuffer::new(lane_bytes);
            touch(&mut bytes_in, &mut bytes_out);
            let (parcels_in, parcels_out) = RingBuffer::new(parcels);
            ends[source].outgoing[target] = Some(Outlet {
                bytes: bytes_in,
                parcels: parcels_in,
            });
            ends[target].incoming[source] = Some(Inlet {
                bytes: bytes_out,
                parcels: parcels_out,
                scratch: Vec::new(),
            });
        }
    }
    ends
}

impl<P> MeshEnd<P> {
    fn unconnected(core: usize, cores: usize) -> Self {
        Self {
            core,
            outgoing: (0..cores).map(|_| None).collect(),
            incoming: (0..cores).map(|_| None).collect(),
            next_source: 0,
        }
    }

    /// The core that these ends belong to.
    pub fn core(&self) -> usize {
        self.core
    }

    /// How many cores the mesh connects.
    pub fn cores(&self) -> usize {
        self.outgoing.len()
    }

    /// Memory in bytes of the lanes that lead away from this core.
    pub fn held_bytes(&self) -> usize {
        let held = |outlet: &Outlet<P>| {
            outlet.bytes.buffer().capacity() + outlet.parcels.buffer().capacity() * size_of::<P>()
        };
        self.outgoing.iter().flatten().map(held).sum()
    }

    /// Moves whole records with their parcels from the front of `staged` into the lane to `target`,
    /// as far as they fit.
    pub fn flush(&mut self, target: usize, staged: &mut Staged<P>) -> Flushed {
        let outlet = self.outgoing[target]
            .as_mut()
            .expect("a core has no lane to itself");
        let moved = outlet.push(staged);
        Flushed {
            moved,
            all: staged.is_empty(),
        }
    }

    /// Takes what came from the other cores, round-robin, up to `budget_bytes` in total but at
    /// least one record: `on(source, record, parcel)`.
    pub fn drain(&mut self, budget_bytes: usize, on: OnRecordFrom<'_, P>) -> Drained {
        let cores = self.incoming.len();
        let first = self.next_source;
        let mut total = Drained::default();
        for step in 0..cores {
            let source = (first + step) % cores;
            let Some(inlet) = &mut self.incoming[source] else {
                continue;
            };
            let left = budget_bytes.saturating_sub(total.bytes);
            if left == 0 && total.records > 0 {
                total.more = true;
                break;
            }
            let one = inlet.drain(left, &mut |record, parcel| on(source, record, parcel));
            total.records += one.records;
            total.bytes += one.bytes;
            total.more |= one.more;
            // The next drain begins after the source that used up the budget, or with the next in
            // turn.
            self.next_source = (source + 1) % cores;
        }
        total
    }

    /// Whether nothing waits in any lane to this core.
    pub fn inbox_is_empty(&self) -> bool {
        self.incoming
            .iter()
            .flatten()
            .all(|inlet| inlet.bytes.is_empty())
    }
}

impl<P> Outlet<P> {
    fn push(&mut self, staged: &mut Staged<P>) -> Batch {
        if staged.is_empty() {
            return Batch::default();
        }
        let batch = staged.batch(self.bytes.slots(), self.parcels.slots());
        for _ in 0..batch.parcels {
            let parcel = staged
                .take_parcel()
                .expect("each announced parcel is staged");
            let pushed = self.parcels.push(parcel);
            assert!(pushed.is_ok(), "the batch was cut to the parcels' room");
        }
        if batch.bytes > 0 {
            let pushed = self.bytes.push_entire_slice(&staged.front()[..batch.bytes]);
            assert!(pushed.is_ok(), "the batch was cut to the ring's room");
            staged.consume(batch.bytes);
        }
        batch
    }
}

impl<P> Inlet<P> {
    fn drain(&mut self, budget_bytes: usize, on: OnRecord<'_, P>) -> Drained {
        let available = self.bytes.slots();
        let mut done = Drained::default();
        if available == 0 {
            return done;
        }
        let Ok(chunk) = self.bytes.read_chunk(available) else {
            return done;
        };
        let (front, wrapped) = chunk.as_slices();
        while done.bytes < available {
            if done.records > 0 && done.bytes >= budget_bytes {
                done.more = true;
                break;
            }
            let head = piece(
                front,
                wrapped,
                done.bytes,
                RECORD_HEAD_BYTES,
                &mut self.scratch,
            );
            let head = *head.first_chunk().expect("a head is whole");
            let head = RecordHead::decode(head);
            let from = done.bytes + RECORD_HEAD_BYTES;
            let record = piece(front, wrapped, from, head.len, &mut self.scratch);
            let parcel = head.parcel.then(|| {
                self.parcels
                    .pop()
                    .expect("a parcel is pushed before its record")
            });
            on(record, parcel);
            done.records += 1;
            done.bytes = from + head.len;
        }
        chunk.commit(done.bytes);
        done
    }
}

/// A run of the two halves; when it lies in both, it is copied together.
fn piece<'a>(
    front: &'a [u8],
    wrapped: &'a [u8],
    from: usize,
    len: usize,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    let end = from + len;
    if end <= front.len() {
        &front[from..end]
    } else if from >= front.len() {
        &wrapped[from - front.len()..end - front.len()]
    } else {
        scratch.clear();
        scratch.extend_from_slice(&front[from..]);
        scratch.extend_from_slice(&wrapped[..end - front.len()]);
        scratch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_byte_rings_share_one_budget() {
        assert_eq!(lane_bytes(1), LANE_BYTES_MAX);
        assert_eq!(lane_bytes(2), LANE_BYTES_MAX);
        assert_eq!(lane_bytes(54), MESH_BYTES / (54 * 54));
        assert_eq!(lane_bytes(1000), LANE_BYTES_MIN);
    }

    #[test]
    fn a_drain_serves_all_sources_in_turn() {
        let mut ends = mesh_with::<()>(3, 1024);
        for source in [1, 2] {
            let mut staged = Staged::default();
            for _ in 0..10 {
                staged.record(|out| out.extend_from_slice(&[7; 16]));
            }
            assert!(ends[source].flush(0, &mut staged).all);
        }
        let mut sources = Vec::new();
        for _ in 0..4 {
            let drained = ends[0].drain(60, &mut |source, _, _| sources.push(source));
            assert!(drained.more);
        }
        assert_eq!(sources, [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
        while ends[0]
            .drain(60, &mut |source, _, _| sources.push(source))
            .more
        {}
        assert_eq!(sources.len(), 20);
        assert!(ends[0].inbox_is_empty());
    }

    #[test]
    fn the_largest_record_fits_the_smallest_lane() {
        let mut ends = mesh_with::<()>(2, LANE_BYTES_MIN);
        let mut staged = Staged::default();
        for round in 0..5_u8 {
            staged.record(|out| out.extend_from_slice(&[round; RECORD_BYTES_MAX]));
            staged.record(|out| out.push(round));
            while !ends[0].flush(1, &mut staged).all {
                ends[1].drain(1, &mut |_, _, _: Option<()>| {});
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Stage { len: usize, parcel: bool },
        Flush,
        Drain { budget: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..60_usize, any::<bool>()).prop_map(|(len, parcel)| Step::Stage { len, parcel }),
            2 => Just(Step::Flush),
            2 => (0..200_usize).prop_map(|budget| Step::Drain { budget }),
        ]
    }

    proptest! {
        /// Under a ring of 128 bytes and 2 parcels everything arrives, once, in order, each parcel
        /// with its record.
        #[test]
        fn order_and_completeness(steps in prop::collection::vec(step(), 1..200)) {
            let mut ends = mesh_with::<u32>(2, 128);
            let (push, pop) = RingBuffer::new(2);
            ends[0].outgoing[1].as_mut().unwrap().parcels = push;
            ends[1].incoming[0].as_mut().unwrap().parcels = pop;

            let mut staged = Staged::default();
            let mut expected: VecDeque<(Vec<u8>, Option<u32>)> = VecDeque::new();
            let mut number = 0_u32;
            let check = |ends: &mut Vec<MeshEnd<u32>>, expected: &mut VecDeque<_>, budget| {
                ends[1].drain(budget, &mut |source, record, parcel| {
                    assert_eq!(source, 0);
                    assert_eq!(expected.pop_front(), Some((record.to_vec(), parcel)));
                })
            };
            for step in steps {
                match step {
                    Step::Stage { len, parcel } => {
                        number += 1;
                        let byte = u8::try_from(number % 251).unwrap();
                        let record = vec![byte; len];
                        if parcel {
                            staged.record_with(number, |out| out.extend_from_slice(&record));
                        } else {
                            staged.record(|out| out.extend_from_slice(&record));
                        }
                        expected.push_back((record, parcel.then_some(number)));
                    }
                    Step::Flush => {
                        ends[0].flush(1, &mut staged);
                    }
                    Step::Drain { budget } => {
                        check(&mut ends, &mut expected, budget);
                    }
                }
            }
            while !ends[0].flush(1, &mut staged).all || !ends[1].inbox_is_empty() {
                check(&mut ends, &mut expected, 1000);
            }
            prop_assert!(expected.is_empty());
        }
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        const RECORDS: u32 = 20_000;
        let mut ends = mesh_with::<Box<u32>>(2, 512);
        let mut consumer = ends.pop().unwrap();
        let mut producer = ends.pop().unwrap();
        let sender = std::thread::spawn(move || {
            let mut staged = Staged::default();
            for number in 0..RECORDS {
                let bytes = number.to_le_bytes();
                if number % 7 == 0 {
                    staged.record_with(Box::new(number), |out| out.extend_from_slice(&bytes));
                } else {
                    staged.record(|out| out.extend_from_slice(&bytes));
                }
                while staged.bytes() > 400 && !producer.flush(1, &mut staged).all {
                    std::thread::yield_now();
                }
            }
            while !producer.flush(1, &mut staged).all {
                std::thread::yield_now();
            }
        });
        let mut next = 0;
        while next < RECORDS {
            let drained = consumer.drain(300, &mut |_, record, parcel| {
                assert_eq!(record, next.to_le_bytes());
                assert_eq!(
                    parcel.map(|number| *number),
                    (next % 7 == 0).then_some(next)
                );
                next += 1;
            });
            if drained.records == 0 {
                std::thread::yield_now();
            }
        }
        sender.join().unwrap();
    }
}
