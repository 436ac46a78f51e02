//! Durations, recorded by one writer and read by anyone.
//!
//! An hdrhistogram is not for two threads, so a writer has cells of its own: eight to each power of
//! two, that is within 12.5% of the value. The reader puts all writers' cells into one
//! hdrhistogram.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// What is timed, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Latency {
    /// From a core's waking to the end of its turn.
    Turn,
    /// From an accept to the CONNACK that lets the client in.
    Connect,
    /// From a SUBSCRIBE to its SUBACK.
    Subscribe,
    /// From a question about a client to its answer.
    Authenticate,
}

/// Number of [`Latency`]s.
pub const LATENCIES: usize = Latency::ALL.len();

const STEPS_BITS: u32 = 3;
const STEPS: u64 = 1 << STEPS_BITS;
/// Values from 2^32 us (71 minutes) on count as the last cell.
const POWERS: u32 = 32;
const CELLS: usize = ((POWERS - STEPS_BITS + 1) << STEPS_BITS) as usize;
const LAST_VALUE: u64 = (1 << POWERS) - 1;

pub(super) struct LatencyCells([AtomicU64; CELLS]);

impl Latency {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Turn,
        Self::Connect,
        Self::Subscribe,
        Self::Authenticate,
    ];

    /// The dotted name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Turn => "latency.turn_us",
            Self::Connect => "latency.connect_us",
            Self::Subscribe => "latency.subscribe_us",
            Self::Authenticate => "latency.authenticate_us",
        }
    }
}

impl Latency {
    /// What is timed, in one sentence.
    pub fn help(self) -> &'static str {
        match self {
            Self::Turn => "From a core's waking to the end of its turn.",
            Self::Connect => "From an accept to the CONNACK that lets the client in.",
            Self::Subscribe => "From a SUBSCRIBE to its SUBACK.",
            Self::Authenticate => "From a question about a client to its answer.",
        }
    }
}

impl LatencyCells {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; CELLS])
    }

    pub(super) fn cell_of(&self, us: u64) -> &AtomicU64 {
        &self.0[index_of(us)]
    }
}

/// Adds up the cells of all writers; a cell counts with its least value.
pub(super) fn sum<'a>(writers: impl Iterator<Item = &'a LatencyCells>) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LAST_VALUE, 2).expect("the bounds are valid constants");
    for cells in writers {
        for (index, cell) in cells.0.iter().enumerate() {
            let count = cell.load(Ordering::Relaxed);
            if count > 0 {
                histogram.saturating_record_n(least_value_of(index), count);
            }
        }
    }
    histogram
}

/// Values below 16 have a cell each; above, eight cells share a power of two.
#[expect(clippy::cast_possible_truncation, reason = "the value is below 2^32")]
fn index_of(us: u64) -> usize {
    let value = us.min(LAST_VALUE);
    let power = value.checked_ilog2().unwrap_or(0);
    if power < STEPS_BITS {
        return value as usize;
    }
    let shift = power - STEPS_BITS;
    (((u64::from(shift) + 1) << STEPS_BITS) + (value >> shift) - STEPS) as usize
}

fn least_value_of(index: usize) -> u64 {
    let (power, step) = (index as u64 >> STEPS_BITS, index as u64 & (STEPS - 1));
    if power == 0 {
        step
    } else {
        (STEPS + step) << (power - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_begins_at_its_least_value() {
        for index in 0..CELLS {
            let least = least_value_of(index);
            assert_eq!(index_of(least), index);
            if least > 0 {
                assert_eq!(index_of(least - 1), index - 1);
            }
        }
        assert_eq!(index_of(LAST_VALUE), CELLS - 1);
        assert_eq!(index_of(u64::MAX), CELLS - 1);
    }
}
