//! Decoding allocates nothing, whatever comes: a program of its own, whose allocator counts.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)] // A global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use millrace::mqtt::decode_connect::decode_connect;
use millrace::mqtt::decode_server::decode_server;
use millrace::mqtt::frame::{PacketType, next_frame};
use millrace::mqtt::packet::{ClientPacket, decode};
use millrace::mqtt::version::Version;
use proptest::prelude::*;

struct Counted;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every request is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// Decodes all packets of a stream as everything they could be; says how many were accepted.
fn decode_all(bytes: &[u8]) -> usize {
    let mut accepted = 0;
    let mut rest = bytes;
    while let Ok(Some(frame)) = next_frame(rest, u32::MAX) {
        if frame.packet_type == PacketType::Connect {
            accepted += usize::from(decode_connect(&frame).is_ok());
        }
        for version in [Version::V31, Version::V311, Version::V5] {
            accepted += usize::from(decode_server(&frame, version).is_ok());
            match decode(&frame, version) {
                Ok(ClientPacket::Subscribe(subscribe)) => accepted += subscribe.filters().count(),
                Ok(ClientPacket::Unsubscribe(packet)) => accepted += packet.filters().count(),
                Ok(_) => accepted += 1,
                Err(_) => {}
            }
        }
        rest = &rest[frame.wire_len..];
    }
    accepted
}

/// A packet of some type whose body is made of parts that often fit.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0..4_u8).prop_map(|byte| vec![byte]),
        Just(b"\0\x04MQTT\x05\x02\0\0\0\0\x01a".to_vec()),
        Just(b"\0\x04MQTT\x04\x02\0\0\0\x01a".to_vec()),
        Just(b"\0\x01\0\0\x03a/+".to_vec()),
        Just(b"\x26\0\x01a\0\x01b".to_vec()),
        Just(vec![0, 1]),
        prop::collection::vec(any::<u8>(), 0..200),
    ];
    let firsts = [
        0x10, 0x20, 0x32, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0,
        0xF0,
    ];
    let first = prop::sample::select(firsts.to_vec());
    (first, prop::collection::vec(part, 0..6)).prop_map(|(first, parts)| {
        let body = parts.concat();
        let mut bytes = vec![first];
        let mut len = body.len();
        while len >= 128 {
            bytes.push(u8::try_from(len % 128).unwrap() | 128);
            len /= 128;
        }
        bytes.push(u8::try_from(len).unwrap());
        bytes.extend(body);
        bytes
    })
}

#[test]
fn decoding_allocates_nothing() {
    let mut accepted = 0;
    let config = ProptestConfig::with_cases(3_000);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let streams = prop::collection::vec(packet(), 1..4);
    let seen = std::cell::RefCell::new(&mut accepted);
    runner
        .run(&streams, |packets| {
            let stream = packets.concat();
            let before = COUNT.get();
            let taken = decode_all(&stream);
            prop_assert_eq!(COUNT.get(), before);
            **seen.borrow_mut() += taken;
            Ok(())
        })
        .unwrap();
    // Enough of it was taken for valid.
    assert!(accepted > 300, "{accepted}");
}
