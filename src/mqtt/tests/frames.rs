//! The fixed header.

use super::{UNLIMITED, VERSIONS, assert_error, from_client, from_server, packet, string};
use crate::mqtt::frame::{Frame, PacketType, next_frame};
use crate::mqtt::version::Version;

#[test]
fn reserved_type_and_flags() {
    let good: [u8; 15] = [
        0x10, 0x20, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0,
    ];
    for first in 0..=u8::MAX {
        let bytes = [first, 0];
        let result = next_frame(&bytes, UNLIMITED);
        let dup_of_31 = matches!(first, 0x6A | 0x8A | 0xAA);
        if first >> 4 == 0 {
            assert_error(result, 0x81, "2.1.2", &bytes);
        } else if first >> 4 == 3 || good.contains(&first) || dup_of_31 {
            let frame = result.unwrap().unwrap();
            assert_eq!(frame.packet_type.first_byte(frame.flags), first);
        } else {
            assert_error(result, 0x81, "MQTT-2.1.3-1", &bytes);
        }
    }
}

#[test]
fn dup_on_pubrel_subscribe_unsubscribe_is_of_3_1_only() {
    let entry = [&string("a")[..], &[0]].concat();
    for bytes in [
        packet(0x6A, &[&[0, 1]]),
        packet(0x8A, &[&[0, 1], &entry]),
        packet(0xAA, &[&[0, 1], &string("a")]),
    ] {
        assert!(from_client(&bytes, Version::V31).is_ok());
        assert_error(
            from_client(&bytes, Version::V311),
            0x81,
            "MQTT-2.1.3-1",
            &bytes,
        );
        assert_error(
            from_client(&bytes, Version::V5),
            0x81,
            "MQTT-2.1.3-1",
            &bytes,
        );
    }
}

#[test]
fn remaining_length() {
    let bytes = [0xC0, 0x80, 0x80, 0x80, 0x80, 0x01];
    assert_error(next_frame(&bytes, UNLIMITED), 0x81, "1.5.5", &bytes);
    // 0 in two bytes: 3.x does not forbid it.
    let bytes = [0xC0, 0x80, 0x00];
    assert!(from_client(&bytes, Version::V31).is_ok());
    assert!(from_client(&bytes, Version::V311).is_ok());
    assert_error(
        from_client(&bytes, Version::V5),
        0x81,
        "MQTT-1.5.5-1",
        &bytes,
    );
    for (body_len, header) in [(127, 2), (128, 3), (16_383, 3), (16_384, 4), (2_097_152, 5)] {
        let bytes = packet(0x30, &[&string("a"), &vec![0; body_len - 3]]);
        let frame = next_frame(&bytes, UNLIMITED).unwrap().unwrap();
        assert_eq!(
            (frame.body.len(), frame.wire_len),
            (body_len, body_len + header)
        );
        assert!(from_client(&bytes, Version::V311).is_ok());
    }
}

#[test]
fn size_is_checked_as_soon_as_the_length_is_known() {
    let bytes = packet(0x30, &[&[0; 10]]);
    assert!(next_frame(&bytes, 12).unwrap().is_some());
    assert_error(next_frame(&bytes, 11), 0x95, "MQTT-3.2.2-15", &bytes);
    let announced = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    assert_error(
        next_frame(&announced, 1 << 20),
        0x95,
        "MQTT-3.2.2-15",
        &announced,
    );
    assert_eq!(next_frame(&announced[..4], 1 << 20), Ok(None));
}

#[test]
fn only_the_first_packet_is_taken() {
    let bytes = [0xC0, 0x00, 0xE0, 0x00];
    let frame = next_frame(&bytes, UNLIMITED).unwrap();
    let expected = Frame {
        packet_type: PacketType::PingReq,
        flags: 0,
        body: &[],
        wire_len: 2,
    };
    assert_eq!(frame, Some(expected));
}

#[test]
fn packets_of_the_other_side() {
    for version in VERSIONS {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_error(
                from_client(&[first, 0], version),
                0x82,
                "2.1.2",
                &[first, 0],
            );
        }
        assert_error(
            from_client(&[0x10, 0], version),
            0x82,
            "MQTT-3.1.0-2",
            &[0x10, 0],
        );
        for first in [0x10, 0x82, 0xA2, 0xC0] {
            let bytes = [first, 0];
            assert_error(from_server(&bytes, version), 0x82, "2.1.2", &bytes);
        }
    }
    for version in [Version::V31, Version::V311] {
        assert_error(from_client(&[0xF0, 0], version), 0x81, "2.2.1", &[0xF0, 0]);
        assert_error(from_server(&[0xE0, 0], version), 0x82, "2.1.2", &[0xE0, 0]);
    }
}
