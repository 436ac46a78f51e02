//! Records on their way to another core, staged until its lane has room.
//!
//! A record is a run of bytes behind a 4-byte head: its length, and one bit that says that an owned
//! parcel (a socket, a large block) goes with it. Records and parcels keep one order because a
//! parcel is always announced by its record. The lane carries exactly these bytes, so that a flush
//! is a copy of whole records.

use std::collections::VecDeque;

/// Bytes of a record's head.
pub const RECORD_HEAD_BYTES: usize = 4;

/// Longest record in bytes, without its head: half of the smallest lane, so that an empty lane
/// always has room. What is longer crosses as a parcel.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 - RECORD_HEAD_BYTES;

/// Memory in bytes that a staged queue keeps when it runs empty.
const STAGED_KEPT_BYTES: usize = 64 * 1024;

/// Parcels' room that a staged queue keeps when it runs empty.
const STAGED_KEPT_PARCELS: usize = 64;

/// The bit of a record's head that announces a parcel.
const PARCEL_BIT: u32 = 1 << 31;

/// A record's head, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Bytes of the record after its head.
    pub len: usize,
    /// Whether a parcel goes with it.
    pub parcel: bool,
}

impl RecordHead {
    /// Reads a head.
    pub fn decode(bytes: [u8; RECORD_HEAD_BYTES]) -> Self {
        let word = u32::from_le_bytes(bytes);
        Self {
            len: (word & !PARCEL_BIT) as usize,
            parcel: word & PARCEL_BIT != 0,
        }
    }

    /// Writes a head.
    pub fn encode(self) -> [u8; RECORD_HEAD_BYTES] {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        assert!(
            self.len <= RECORD_BYTES_MAX,
            "a record of {len} bytes must cross as a parcel"
        );
        (len | if self.parcel { PARCEL_BIT } else { 0 }).to_le_bytes()
    }
}

/// The outbox of one core towards another: records and parcels in order, consumed from the front.
///
/// It has no limit of its own: its owner counts [`Staged::bytes`] and pauses producers (or sheds)
/// above the limit of an outbox, since only the owner knows which.
#[derive(Debug)]
pub struct Staged<P> {
    bytes: Vec<u8>,
    /// Where the first record that still waits begins.
    head: usize,
    parcels: VecDeque<P>,
}

impl<P> Default for Staged<P> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            head: 0,
            parcels: VecDeque::new(),
        }
    }
}

/// What fits into a lane: whole records from the front of a [`Staged`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Bytes, heads included.
    pub bytes: usize,
    /// Records in them.
    pub records: usize,
    /// Parcels that go with them.
    pub parcels: usize,
}

impl<P> Staged<P> {
    /// Appends one record; `write` appends its bytes to what it is given.
    pub fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(false, write);
    }

    /// Appends one record together with the parcel that it announces.
    pub fn record_with(&mut self, parcel: P, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(true, write);
        self.parcels.push_back(parcel);
    }

    fn append(&mut self, parcel: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let head = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
        let from = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - from;
        self.bytes[head..from].copy_from_slice(&RecordHead { len, parcel }.encode());
    }

    /// Bytes that wait, heads included, parcels not.
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Parcels that wait.
    pub fn parcels(&self) -> usize {
        self.parcels.len()
    }

    /// Memory in bytes, that of parcels not counted.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.parcels.capacity() * size_of::<P>()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.head == self.bytes.len()
    }

    /// The bytes that wait, from the first record on.
    pub fn front(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// As many whole records from the front as fit into so many bytes and parcels.
    pub fn batch(&self, room_bytes: usize, room_parcels: usize) -> Batch {
        let front = self.front();
        let mut batch = Batch::default();
        while let Some(head) = front[batch.bytes..].first_chunk() {
            let head = RecordHead::decode(*head);
            let bytes = batch.bytes + RECORD_HEAD_BYTES + head.len;
            let parcels = batch.parcels + usize::from(head.parcel);
            if bytes > room_bytes || parcels > room_parcels {
                break;
            }
            batch = Batch {
                bytes,
                records: batch.records + 1,
                parcels,
            };
        }
        batch
    }

    /// Takes the first parcel.
    pub fn take_parcel(&mut self) -> Option<P> {
        self.parcels.pop_front()
    }

    /// Forgets so many bytes at the front, which were copied out; `bytes` ends at a record's end.
    pub fn consume(&mut self, bytes: usize) {
        self.head += bytes;
        assert!(
            self.head <= self.bytes.len(),
            "more was consumed than was staged"
        );
        if self.is_empty() {
            self.reset();
        } else if self.head >= STAGED_KEPT_BYTES && self.head >= self.bytes.len() / 2 {
            // The rest is moved at most once for as many bytes that left before it.
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Empties the queue and gives back memory that a burst made it take.
    fn reset(&mut self) {
        self.head = 0;
        self.bytes.clear();
        self.bytes.shrink_to(STAGED_KEPT_BYTES);
        if self.parcels.is_empty() && self.parcels.capacity() > STAGED_KEPT_PARCELS {
            self.parcels.shrink_to(STAGED_KEPT_PARCELS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_whole_and_in_order() {
        let mut staged = Staged::default();
        staged.record(|out| out.extend_from_slice(b"one"));
        staged.record_with('p', |out| out.extend_from_slice(b"two"));
        staged.record(|_| {});
        assert_eq!(staged.batch(6, 9), Batch::default());
        assert_eq!(
            staged.batch(7, 0),
            Batch {
                bytes: 7,
                records: 1,
                parcels: 0
            }
        );
        assert_eq!(
            staged.batch(100, 0),
            Batch {
                bytes: 7,
                records: 1,
                parcels: 0
            }
        );
        assert_eq!(
            staged.batch(100, 1),
            Batch {
                bytes: 18,
                records: 3,
                parcels: 1
            }
        );
        staged.consume(7);
        let head = RecordHead::decode(*staged.front().first_chunk().unwrap());
        assert_eq!(
            head,
            RecordHead {
                len: 3,
                parcel: true
            }
        );
        assert_eq!(staged.take_parcel(), Some('p'));
        staged.consume(11);
        assert!(staged.is_empty());
    }

    #[test]
    fn memory_of_a_burst_goes_back_when_it_is_over() {
        let mut staged: Staged<()> = Staged::default();
        let record = [7_u8; 1000];
        for _ in 0..1000 {
            staged.record(|out| out.extend_from_slice(&record));
        }
        while !staged.is_empty() {
            let batch = staged.batch(10_000, 0);
            staged.consume(batch.bytes);
        }
        assert!(staged.bytes.capacity() <= STAGED_KEPT_BYTES);
    }

    #[test]
    #[should_panic(expected = "must cross as a parcel")]
    fn a_record_that_is_too_long_is_our_own_mistake() {
        let mut staged: Staged<()> = Staged::default();
        staged.record(|out| out.resize(out.len() + RECORD_BYTES_MAX + 1, 0));
    }
}
