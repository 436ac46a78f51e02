//! Bytes that nobody meant: no panic, no byte read past the packet, nothing after the last field; and
//! what they decode to survives being encoded.

use super::{UNLIMITED, VERSIONS};
use crate::mqtt::decode_connect::decode_connect;
use crate::mqtt::decode_server::decode_server;
use crate::mqtt::frame::{Frame, PacketType, next_frame};
use crate::mqtt::packet::{ClientPacket, decode};
use crate::mqtt::property::properties;
use crate::mqtt::reencode::check_stream;
use crate::mqtt::version::Version;
use proptest::prelude::*;

/// Decodes a frame as everything it could be, and reads everything that is decoded lazily.
fn read_all(frame: &Frame<'_>) {
    if frame.packet_type == PacketType::Connect {
        let _ = std::hint::black_box(format!("{:?}", decode_connect(frame)));
    }
    for version in VERSIONS {
        let _ = std::hint::black_box(format!("{:?}", decode_server(frame, version)));
        match decode(frame, version) {
            Ok(ClientPacket::Subscribe(subscribe)) => {
                let bytes: usize = subscribe
                    .filters()
                    .map(|entry| 3 + entry.filter.len())
                    .sum();
                check_entries(version, bytes, frame.body.len());
            }
            Ok(ClientPacket::Unsubscribe(unsubscribe)) => {
                let bytes: usize = unsubscribe.filters().map(|filter| 2 + filter.len()).sum();
                check_entries(version, bytes, frame.body.len());
            }
            Ok(ClientPacket::Publish(publish)) => {
                let known = properties(publish.properties.raw).count();
                assert_eq!(known == 0, publish.properties.raw.is_empty());
                let mut forwarded = Vec::new();
                publish.properties.forwardable.write_to(&mut forwarded);
                assert_eq!(forwarded.len(), publish.properties.forwardable.len());
            }
            _ => {}
        }
    }
}

/// A list is never empty, and the iterators see every entry that the decoder checked.
fn check_entries(version: Version, bytes: usize, body_len: usize) {
    assert!(bytes > 0);
    if version.is_v5() {
        assert!(3 + bytes <= body_len);
    } else {
        assert_eq!(2 + bytes, body_len);
    }
}

/// Bodies that look a little like packets: lengths and identifiers that often fit.
fn plausible_body() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0..4_u8).prop_map(|byte| vec![byte]),
        Just(b"\0\x04MQTT".to_vec()),
        Just(b"\0\x06MQIsdp".to_vec()),
        "[a-c/+#$]{0,5}".prop_map(super::string),
        (0..43_u8, any::<[u8; 4]>(), 1..5_usize).prop_map(|(id, value, len)| [
            &[id][..],
            &value[..len]
        ]
        .concat()),
        ("[a-c]{0,3}", "[a-c]{0,3}").prop_map(|(name, value)| {
            [&[0x26][..], &super::string(name), &super::string(value)].concat()
        }),
        Just(vec![0, 1]),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_stream_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_stream(&bytes, UNLIMITED);
        let mut rest = &bytes[..];
        while let Ok(Some(frame)) = next_frame(rest, UNLIMITED) {
            prop_assert!(frame.wire_len >= 2 && frame.wire_len <= rest.len());
            prop_assert!(rest[..frame.wire_len].ends_with(frame.body));
            read_all(&frame);
            rest = &rest[frame.wire_len..];
        }
    }

    #[test]
    fn plausible_packets(first: u8, body in plausible_body()) {
        let bytes = super::packet(first, &[&body]);
        check_stream(&bytes, UNLIMITED);
        if let Ok(Some(frame)) = next_frame(&bytes, UNLIMITED) {
            read_all(&frame);
        }
    }

    #[test]
    fn plausible_packets_of_each_type(index in 0..15_usize, body in plausible_body()) {
        let first = [0x10, 0x20, 0x32, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xE0, 0xF0, 0x3B];
        let bytes = super::packet(first[index], &[&body]);
        check_stream(&bytes, UNLIMITED);
        if let Ok(Some(frame)) = next_frame(&bytes, UNLIMITED) {
            read_all(&frame);
        }
    }
}
