//! The decoder: all packets of all versions from both sides, cut anywhere. Decoded = encoded, and
//! decoding allocates nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::mqtt::reencode::{check_stream, decode_all};
use millrace_fuzz::{Measured, requests};

#[global_allocator]
static MEASURED: Measured = Measured;

/// Limits of the size of a packet, one of which the first byte chooses.
const LIMITS: [u32; 4] = [u32::MAX, 1 << 20, 64, 12];

fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let limit = LIMITS[usize::from(*first) % LIMITS.len()];
    let (_, _, count) = requests(|| decode_all(stream, limit));
    assert_eq!(count, 0, "decoding allocates");
    check_stream(stream, limit);
});
