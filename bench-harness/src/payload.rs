//! What each message carries so that its receiver can judge it.
//!
//! Full header, 32 bytes, little-endian: magic `MRB1` (4), run (4), publisher (4), checksum (4),
//! sequence (8), scheduled send time in ns since the run's clock started (8). Messages of 16 to 31
//! bytes carry a compact one: magic (1), run (1), publisher (2), checksum (4), sequence (4), time in
//! us (4, wraps after 71 minutes). Fewer than 16 bytes cannot be judged. What follows the header is
//! a publisher's own random-looking filling, the same in each of its messages, so that the sender
//! hashes it once; the receiver hashes all of it.
#![allow(clippy::cast_possible_truncation)] // The compact header truncates on purpose.

/// Bytes of the full header; smaller messages carry the compact one.
pub(crate) const FULL_HEADER_BYTES: usize = 32;
/// Bytes of the compact header, and so the smallest message.
pub(crate) const COMPACT_HEADER_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"MRB1";
const COMPACT_MAGIC: u8 = 0xB1;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) publisher: u32,
    pub(crate) sequence: u64,
    pub(crate) scheduled_ns: u64,
}

/// Why a payload is not one of this run's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not what was sent: wrong length, magic or checksum.
    Corrupt,
    /// Intact, but of another run.
    Foreign,
}

/// Writes and reads the payloads of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    run: u32,
    size: usize,
}

impl Format {
    /// A format for messages of `size` bytes.
    pub(crate) fn new(run: u32, size: usize) -> Self {
        assert!(size >= COMPACT_HEADER_BYTES, "the caller checks the size");
        Self { run, size }
    }

    fn is_full(self) -> bool {
        self.size >= FULL_HEADER_BYTES
    }

    /// The most publishers the header can tell apart.
    pub(crate) fn publishers_max(self) -> u64 {
        if self.is_full() {
            u64::from(u32::MAX)
        } else {
            u64::from(u16::MAX)
        }
    }

    /// The most messages a publisher the header can tell apart.
    pub(crate) fn messages_max(self) -> u64 {
        if self.is_full() {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        }
    }

    /// A publisher's message with everything in place but sequence, time and checksum, and the
    /// hash of its filling.
    pub(crate) fn template(self, publisher: u32) -> (Vec<u8>, u64) {
        let mut bytes = vec![0; self.size];
        let filling = if self.is_full() {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[4..8].copy_from_slice(&self.run.to_le_bytes());
            bytes[8..12].copy_from_slice(&publisher.to_le_bytes());
            FULL_HEADER_BYTES
        } else {
            bytes[0] = COMPACT_MAGIC;
            bytes[1] = self.run as u8;
            bytes[2..4].copy_from_slice(&(publisher as u16).to_le_bytes());
            COMPACT_HEADER_BYTES
        };
        let mut state = u64::from(publisher) << 32 | u64::from(self.run) | 1;
        for byte in &mut bytes[filling..] {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        let hash = hash(&bytes[filling..]);
        (bytes, hash)
    }

    /// Puts sequence, time and checksum into a copy of the template.
    #[inline]
    pub(crate) fn stamp(
        self,
        message: &mut [u8],
        filling_hash: u64,
        sequence: u64,
        scheduled_ns: u64,
    ) {
        if self.is_full() {
            let head = &mut message[..FULL_HEADER_BYTES];
            head[16..24].copy_from_slice(&sequence.to_le_bytes());
            head[24..32].copy_from_slice(&scheduled_ns.to_le_bytes());
            let checksum = full_checksum(head, filling_hash);
            head[12..16].copy_from_slice(&checksum.to_le_bytes());
        } else {
            let head = &mut message[..COMPACT_HEADER_BYTES];
            head[8..12].copy_from_slice(&(sequence as u32).to_le_bytes());
            head[12..16].copy_from_slice(&((scheduled_ns / 1000) as u32).to_le_bytes());
            let checksum = compact_checksum(head, filling_hash);
            head[4..8].copy_from_slice(&checksum.to_le_bytes());
        }
    }

    /// Reads a received payload; `now_ns` completes a compact time.
    #[inline]
    pub(crate) fn read(self, message: &[u8], now_ns: u64) -> Result<Header, Unreadable> {
        if message.len() != self.size {
            return Err(Unreadable::Corrupt);
        }
        if self.is_full() {
            self.read_full(message)
        } else {
            self.read_compact(message, now_ns)
        }
    }

    #[inline]
    fn read_full(self, message: &[u8]) -> Result<Header, Unreadable> {
        let (head, filling) = message.split_at(FULL_HEADER_BYTES);
        let checksum = full_checksum(head, hash(filling));
        if head[..4] != MAGIC || head[12..16] != checksum.to_le_bytes() {
            return Err(Unreadable::Corrupt);
        }
        if word32(head, 4) != self.run {
            return Err(Unreadable::Foreign);
        }
        Ok(Header {
            publisher: word32(head, 8),
            sequence: word64(head, 16),
            scheduled_ns: word64(head, 24),
        })
    }

    #[inline]
    fn read_compact(self, message: &[u8], now_ns: u64) -> Result<Header, Unreadable> {
        let (head, filling) = message.split_at(COMPACT_HEADER_BYTES);
        let checksum = compact_checksum(head, hash(filling));
        if head[0] != COMPACT_MAGIC || head[4..8] != checksum.to_le_bytes() {
            return Err(Unreadable::Corrupt);
        }
        if head[1] != self.run as u8 {
            return Err(Unreadable::Foreign);
        }
        let now_us = now_ns / 1000;
        let age_us = (now_us as u32).wrapping_sub(word32(head, 12));
        // A send time of this very microsecond may lie ahead of a clock read before it.
        let age_us = if age_us > u32::MAX / 2 { 0 } else { age_us };
        Ok(Header {
            publisher: u32::from(u16::from_le_bytes([head[2], head[3]])),
            sequence: u64::from(word32(head, 8)),
            scheduled_ns: now_us.saturating_sub(u64::from(age_us)) * 1000,
        })
    }
}

fn full_checksum(head: &[u8], filling_hash: u64) -> u32 {
    let words = [
        word64(head, 0),
        u64::from(word32(head, 8)),
        word64(head, 16),
        word64(head, 24),
    ];
    finish(words.iter().fold(filling_hash, |h, w| step(h, *w)))
}

fn compact_checksum(head: &[u8], filling_hash: u64) -> u32 {
    let words = [u64::from(word32(head, 0)), word64(head, 8)];
    finish(words.iter().fold(filling_hash, |h, w| step(h, *w)))
}

#[inline]
fn word64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
fn word32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Each step is a bijection in both arguments, so one altered word always alters the hash.
#[inline]
fn step(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
}

#[inline]
fn finish(mut hash: u64) -> u32 {
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (hash ^ (hash >> 32)) as u32
}

/// A hash of the filling; four lanes, so that large messages are hashed at memory speed.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut lanes = [1u64, 2, 3, 4 ^ bytes.len() as u64];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = step(*lane, word64(word, 0));
        }
    }
    let mut words = blocks.remainder().chunks_exact(8);
    for word in &mut words {
        lanes[0] = step(lanes[0], word64(word, 0));
    }
    for byte in words.remainder() {
        lanes[1] = step(lanes[1], u64::from(*byte));
    }
    step(step(step(lanes[0], lanes[1]), lanes[2]), lanes[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(format: Format, sequence: u64, scheduled_ns: u64) -> Vec<u8> {
        let (mut bytes, hash) = format.template(7);
        format.stamp(&mut bytes, hash, sequence, scheduled_ns);
        bytes
    }

    #[test]
    fn what_is_stamped_is_read() {
        for size in [16, 17, 31, 32, 33, 64, 100, 1000] {
            let format = Format::new(0xABCD, size);
            let bytes = message(format, 99, 5_000_000);
            let header = format.read(&bytes, 9_000_000).unwrap();
            assert_eq!(
                header,
                Header {
                    publisher: 7,
                    sequence: 99,
                    scheduled_ns: 5_000_000
                }
            );
        }
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        for size in [16, 29, 32, 75, 200] {
            let format = Format::new(0xABCD, size);
            let good = message(format, 99, 5_000_000);
            for index in 0..size {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[index] ^= 1 << bit;
                    assert_eq!(format.read(&bad, 9_000_000), Err(Unreadable::Corrupt));
                }
            }
        }
    }

    #[test]
    fn another_run_and_another_length_are_told_apart() {
        let format = Format::new(1, 64);
        let foreign = message(Format::new(2, 64), 1, 1);
        assert_eq!(format.read(&foreign, 1), Err(Unreadable::Foreign));
        assert_eq!(format.read(&foreign[..63], 1), Err(Unreadable::Corrupt));
    }

    #[test]
    fn a_compact_time_survives_the_wrap() {
        let format = Format::new(1, 16);
        let wrap_ns = (u64::from(u32::MAX) + 1) * 1000;
        let bytes = message(format, 1, wrap_ns - 2000);
        assert_eq!(
            format.read(&bytes, wrap_ns + 3000).unwrap().scheduled_ns,
            wrap_ns - 2000
        );
        let bytes = message(format, 1, wrap_ns + 4000);
        assert_eq!(
            format.read(&bytes, wrap_ns + 3000).unwrap().scheduled_ns,
            wrap_ns + 3000
        );
    }
}
