//! What a connection sends in a turn: bytes of its own with shared bodies spliced in.
//!
//! Small messages are copied into `bytes`; a large body that goes to many connections of the core
//! stays where it is and is named by a [`SharedPiece`]. The connection plane turns the two into one
//! send.

use std::ops::Range;

use crate::mqtt::message::Message;

/// The bytes that one connection gets in one turn, in order.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The connection's own bytes: headers, acknowledgements, small bodies.
    pub bytes: Vec<u8>,
    /// Bodies spliced into `bytes`, ordered by position.
    pub shared: Vec<SharedPiece>,
}

/// A part of a shared body, spliced into [`Outgoing::bytes`].
#[derive(Clone, Debug)]
pub struct SharedPiece {
    /// The piece comes before `bytes[at]`. Positions never decrease from piece to piece.
    pub at: usize,
    /// The message whose payload it is a part of.
    pub message: Message,
    /// The part of the message's record that is sent.
    pub range: Range<u32>,
}

impl SharedPiece {
    /// The bytes of the piece.
    pub fn as_slice(&self) -> &[u8] {
        &self.message.record()[self.range.start as usize..self.range.end as usize]
    }
}

impl Outgoing {
    /// The length on the wire, in bytes.
    pub fn len(&self) -> usize {
        let shared: usize = self.shared.iter().map(|piece| piece.range.len()).sum();
        self.bytes.len() + shared
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.iter().all(|piece| piece.range.is_empty())
    }

    /// Memory in bytes of its own, shared bodies not counted.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.shared.capacity() * size_of::<SharedPiece>()
    }

    /// Appends a shared body after what is there.
    pub fn push_shared(&mut self, message: Message, range: Range<u32>) {
        let at = self.bytes.len();
        self.shared.push(SharedPiece { at, message, range });
    }

    /// Appends everything of `other` and leaves it empty.
    pub fn append(&mut self, other: &mut Self) {
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        let moved = other.shared.drain(..);
        self.shared.extend(moved.map(|piece| SharedPiece {
            at: piece.at + base,
            ..piece
        }));
    }

    /// The contiguous runs of the whole, in wire order; empty runs are left out.
    pub fn runs(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let spliced = self.shared.iter().flat_map(move |piece| {
            let own = &self.bytes[from..piece.at];
            from = piece.at;
            [own, piece.as_slice()]
        });
        let last = self.shared.last().map_or(0, |piece| piece.at);
        spliced
            .chain([&self.bytes[last..]])
            .filter(|run| !run.is_empty())
    }
}

/// Most buffers kept for reuse: about one submission queue full.
const SPARE_MAX: usize = 1024;

/// A buffer that grew beyond so many bytes is freed instead of kept: at most 16 MiB are.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// Pieces beyond which a buffer is freed instead of kept.
const SPARE_PIECES_MAX: usize = 256;

/// Buffers kept for reuse: as many as were lately in use at a time, so that a steady load allocates
/// nothing and a burst is forgotten.
#[derive(Debug, Default)]
pub struct SpareOutgoing {
    buffers: Vec<Outgoing>,
    /// The fewest that lay here since the last trim: so many were not needed.
    fewest: usize,
}

impl SpareOutgoing {
    /// An empty buffer, if one is kept.
    pub fn take(&mut self) -> Option<Outgoing> {
        let buffer = self.buffers.pop();
        self.fewest = self.fewest.min(self.buffers.len());
        buffer
    }

    /// Keeps the memory of a buffer, unless it is none, too much, or enough is kept.
    pub fn give(&mut self, mut buffer: Outgoing) {
        let fits = (1..=SPARE_BYTES_MAX).contains(&buffer.bytes.capacity())
            && buffer.shared.capacity() <= SPARE_PIECES_MAX;
        if fits && self.buffers.len() < SPARE_MAX {
            buffer.bytes.clear();
            buffer.shared.clear();
            self.buffers.push(buffer);
        }
    }

    /// Frees the buffers that were not needed since the last call.
    pub fn trim(&mut self) {
        // Those at the front have lain longest.
        self.buffers.drain(..self.fewest.min(self.buffers.len()));
        self.buffers.shrink_to(2 * self.buffers.len());
        self.fewest = self.buffers.len();
    }

    /// Buffers kept.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> usize {
        let held: usize = self.buffers.iter().map(Outgoing::held_bytes).sum();
        held + self.buffers.capacity() * size_of::<Outgoing>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Publication, PublisherRef};
    use crate::mqtt::qos::QoS;

    #[test]
    fn spares_are_kept_as_far_as_they_are_used() {
        let mut spare = SpareOutgoing::default();
        let buffer = || Outgoing {
            bytes: Vec::with_capacity(64),
            shared: Vec::new(),
        };
        spare.give(Outgoing::default());
        assert!(spare.is_empty(), "there is no memory to keep");
        for _ in 0..100 {
            spare.give(buffer());
        }
        spare.trim();
        assert_eq!(spare.len(), 100, "they came after the last trim");
        for _ in 0..3 {
            let taken = [spare.take().unwrap(), spare.take().unwrap()];
            taken.into_iter().for_each(|one| spare.give(one));
        }
        spare.trim();
        assert_eq!(spare.len(), 2);
        let taken = [spare.take().unwrap(), spare.take().unwrap()];
        assert!(spare.take().is_none());
        taken.into_iter().for_each(|one| spare.give(one));
        spare.trim();
        assert_eq!(spare.len(), 2);
        spare.trim();
        assert!(spare.is_empty());
    }

    fn wire(out: &Outgoing) -> Vec<u8> {
        out.runs().flatten().copied().collect()
    }

    #[test]
    fn runs_splice_shared_bodies_at_their_positions() {
        let mut out = Outgoing::default();
        let body = Message::from_publication(&Publication {
            topic: "t",
            payload: b"-body-",
            properties: &[],
            qos: QoS::AtMostOnce,
            retain: false,
            received_us: 0,
            expires_us: None,
            publisher: PublisherRef::BROKER,
        });
        let from = body.payload_range().start;
        out.bytes.extend_from_slice(b"ab");
        out.push_shared(body.clone(), from + 1..from + 5);
        out.push_shared(body.clone(), from..from + 1);
        out.bytes.extend_from_slice(b"cd");
        assert_eq!(wire(&out), b"abbody-cd");
        assert_eq!(out.len(), 9);

        let mut more = Outgoing::default();
        more.push_shared(body.clone(), body.payload_range());
        more.bytes.push(b'!');
        out.append(&mut more);
        assert!(more.is_empty());
        assert_eq!(wire(&out), b"abbody-cd-body-!");
    }

    #[test]
    fn an_empty_one_has_no_runs() {
        assert!(Outgoing::default().is_empty());
        assert_eq!(Outgoing::default().runs().count(), 0);
    }
}
