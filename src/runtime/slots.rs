//! The state of every direct descriptor of a core: 8 bytes each, in segments that are made when
//! first used.

use super::completion::GENERATION_MASK;

/// Slots in one segment: 8 KiB.
const SEGMENT_SLOTS: usize = 1024;

/// A connection lives in the slot.
pub(super) const OPEN: u8 = 1;
/// A receive of the slot is in the kernel.
pub(super) const RECEIVING: u8 = 1 << 1;
/// The caller wants no bytes for now.
pub(super) const PAUSED: u8 = 1 << 2;
/// The receive waits for buffers.
pub(super) const STARVED: u8 = 1 << 3;
/// The peer sends no more.
pub(super) const ENDED: u8 = 1 << 4;
/// The caller has closed the slot.
pub(super) const CLOSING: u8 = 1 << 5;
/// The kernel has taken the descriptor out of its table.
pub(super) const OUT_OF_TABLE: u8 = 1 << 6;
/// Closed by the caller with bytes that are sent first, and still in the table: until the peer
/// has closed too, or the linger is over.
pub(super) const LINGERING: u8 = 1 << 7;

/// One slot.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Slot {
    /// Low 24 bits the generation, high 8 bits flags.
    packed: u32,
    /// Low 31 bits the index of the send that is queued or in flight, plus one; the highest bit is
    /// the caller's mark.
    send: u32,
}

/// The caller's mark in [`Slot::send`].
const MARK: u32 = 1 << 31;

const _: () = assert!(
    size_of::<Slot>() == 8,
    "a million idle connections pay for every byte"
);

impl Slot {
    pub(super) fn generation(self) -> u32 {
        self.packed & GENERATION_MASK
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.packed & (u32::from(flag) << 24) != 0
    }

    pub(super) fn set(&mut self, flag: u8) {
        self.packed |= u32::from(flag) << 24;
    }

    pub(super) fn clear(&mut self, flag: u8) {
        self.packed &= !(u32::from(flag) << 24);
    }

    pub(super) fn send(self) -> Option<u32> {
        (self.send & !MARK).checked_sub(1)
    }

    pub(super) fn set_send(&mut self, send: Option<u32>) {
        self.send = self.send & MARK | send.map_or(0, |index| index + 1);
    }

    pub(super) fn is_marked(self) -> bool {
        self.send & MARK != 0
    }

    pub(super) fn mark(&mut self) {
        self.send |= MARK;
    }
}

/// All slots of a plane.
pub(super) struct Slots {
    segments: Vec<Option<Box<[Slot; SEGMENT_SLOTS]>>>,
    limit: u32,
}

impl Slots {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            segments: Vec::new(),
            limit,
        }
    }

    /// Makes a free slot an open one.
    pub(super) fn open(&mut self, index: u32, generation: u32) {
        assert!(
            index < self.limit,
            "slot {index} lies beyond the table of direct descriptors"
        );
        let (segment, at) = split(index);
        if segment >= self.segments.len() {
            self.segments.resize_with(segment + 1, || None);
        }
        let segment = self.segments[segment]
            .get_or_insert_with(|| Box::new([Slot::default(); SEGMENT_SLOTS]));
        let slot = &mut segment[at];
        assert!(
            !slot.has(OPEN),
            "slot {index} is in use: a second owner would close the first"
        );
        *slot = Slot {
            packed: generation & GENERATION_MASK,
            send: 0,
        };
        slot.set(OPEN);
    }

    /// The state of a slot; of one that never was open, a free one.
    pub(super) fn at(&self, index: u32) -> Slot {
        let (segment, at) = split(index);
        match self.segments.get(segment) {
            Some(Some(segment)) => segment[at],
            _ => Slot::default(),
        }
    }

    /// An open slot, to be changed.
    pub(super) fn open_mut(&mut self, index: u32) -> &mut Slot {
        let (segment, at) = split(index);
        let slot = self
            .segments
            .get_mut(segment)
            .and_then(Option::as_mut)
            .map(|s| &mut s[at]);
        slot.filter(|slot| slot.has(OPEN))
            .expect("the caller names slots that it has installed")
    }

    /// The slot, if it is open with this generation.
    pub(super) fn current(&self, index: u32, generation: u32) -> Option<Slot> {
        let slot = self.at(index);
        (slot.has(OPEN) && slot.generation() == generation).then_some(slot)
    }

    /// Slots for which there is memory.
    pub(super) fn places(&self) -> usize {
        self.segments.iter().flatten().count() * SEGMENT_SLOTS
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let directory = self.segments.capacity() * size_of::<Option<Box<[Slot; SEGMENT_SLOTS]>>>();
        directory + self.places() * size_of::<Slot>()
    }

    /// Makes a slot free.
    pub(super) fn free(&mut self, index: u32) {
        *self.open_mut(index) = Slot::default();
    }
}

fn split(index: u32) -> (usize, usize) {
    (
        index as usize / SEGMENT_SLOTS,
        index as usize % SEGMENT_SLOTS,
    )
}
