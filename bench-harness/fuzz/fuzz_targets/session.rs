//! One shard: clients connect, send anything, lose their connections and come back. See `sim/raw.rs`
//! for what must hold; and no request for memory goes far beyond twice the bytes received.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::sim::raw_input;
use millrace_fuzz::{Measured, requests};

#[global_allocator]
static MEASURED: Measured = Measured;

/// Bytes that tables of the broker and of the test may ask for at once. A client may announce 256 MB.
const TABLES_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let ((), largest, _) = requests(|| raw_input::run(data));
    assert!(
        largest <= TABLES_BYTES + 2 * data.len(),
        "{largest} bytes were asked for at once"
    );
});
