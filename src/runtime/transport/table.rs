//! The envelopes of a core's connections, by slot. Connections without one are not in here.

use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashMap;

use crate::base::envelope::{Envelope, EnvelopeEnd};
use crate::shard::outgoing::Outgoing;

/// Slots whose envelopes share one map, so that growing moves a thousand entries and not a million.
const SEGMENT_SLOTS: u32 = 1024;

/// Room that the buffers between two calls keep: two of the largest receive buffers.
const SCRATCH_BYTES_KEPT: usize = 32 * 1024;

type Segment = HashMap<u32, Box<dyn Envelope>, BuildHasherDefault<AHasher>>;

/// All of them, and memory that is used again for each.
#[derive(Default)]
pub(crate) struct Envelopes {
    segments: Vec<Segment>,
    count: usize,
    /// What the last bytes held.
    plain: Vec<u8>,
    /// Pieces of a send, joined.
    joined: Vec<u8>,
}

/// What bytes from a socket have led to.
pub(crate) struct Opened<'a> {
    /// Plain bytes, maybe none.
    pub(crate) plain: &'a [u8],
    /// Whether the connection is over.
    pub(crate) end: Result<(), EnvelopeEnd>,
}

impl Envelopes {
    /// The envelope of the connection in a slot.
    pub(crate) fn insert(&mut self, slot: u32, envelope: Box<dyn Envelope>) {
        let at = segment(slot);
        if self.segments.len() <= at {
            self.segments.resize_with(at + 1, Segment::default);
        }
        let before = self.segments[at].insert(slot, envelope);
        assert!(before.is_none(), "a slot has one connection at a time");
        self.count += 1;
    }

    /// Takes it out again.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Box<dyn Envelope>> {
        let removed = self.segments.get_mut(segment(slot))?.remove(&slot);
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// Bytes came from the socket of a slot; what is to be answered is appended to `reply`. None for
    /// a slot without envelope.
    pub(crate) fn open(
        &mut self,
        slot: u32,
        wire: &[u8],
        reply: &mut Vec<u8>,
    ) -> Option<Opened<'_>> {
        let envelope = self.segments.get_mut(segment(slot))?.get_mut(&slot)?;
        self.plain.clear();
        self.plain.shrink_to(SCRATCH_BYTES_KEPT);
        let end = envelope.receive(wire, &mut self.plain, reply);
        Some(Opened {
            plain: &self.plain,
            end,
        })
    }

    /// Wraps what a connection is sent, appended to `wire`.
    pub(crate) fn wrap(&mut self, slot: u32, out: &Outgoing, wire: &mut Vec<u8>) {
        let at = segment(slot);
        let found = self.segments.get_mut(at).and_then(|s| s.get_mut(&slot));
        if let Some(envelope) = found {
            envelope.send(contiguous(out, &mut self.joined), wire);
        }
    }

    /// Envelopes held.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Memory in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let entry = size_of::<(u32, Box<dyn Envelope>)>() + 1;
        let all = self.segments.iter();
        let places: usize = all.clone().map(|s| s.capacity() * entry).sum();
        let envelopes: usize = all
            .flat_map(|segment| segment.values())
            .map(|envelope| envelope.held_bytes())
            .sum();
        let segments = self.segments.capacity() * size_of::<Segment>();
        segments + places + envelopes + self.plain.capacity() + self.joined.capacity()
    }

    /// Frees what a burst made it take.
    pub(crate) fn trim(&mut self) {
        self.plain = Vec::new();
        self.joined = Vec::new();
        if self.count == 0 {
            self.segments = Vec::new();
        }
    }
}

/// The bytes of a send in one run.
pub(crate) fn contiguous<'a>(out: &'a Outgoing, joined: &'a mut Vec<u8>) -> &'a [u8] {
    if out.shared.is_empty() {
        return &out.bytes;
    }
    joined.clear();
    joined.shrink_to(SCRATCH_BYTES_KEPT);
    out.runs().for_each(|run| joined.extend_from_slice(run));
    joined
}

fn segment(slot: u32) -> usize {
    (slot / SEGMENT_SLOTS) as usize
}
