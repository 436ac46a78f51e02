//! PUBLISH: section 3.3.

use super::{VERSIONS, assert_error, block, from_client, from_server, packet, string};
use crate::mqtt::decode_publish::Publish;
use crate::mqtt::packet::ClientPacket;
use crate::mqtt::property::properties;
use crate::mqtt::qos::QoS;
use crate::mqtt::version::Version::{self, V5, V31, V311};

fn publish(bytes: &[u8], version: Version) -> Publish<'_> {
    match from_client(bytes, version) {
        Ok(ClientPacket::Publish(publish)) => publish,
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

/// A QoS 0 PUBLISH of 5.0 to `t` with these properties and the payload `p`.
fn with_properties(parts: &[&[u8]]) -> Vec<u8> {
    packet(0x30, &[&string("t"), &block(parts), b"p"])
}

#[test]
fn examples() {
    // Figure 3-9 of 5.0: topic a/b, packet identifier 10, no properties.
    let bytes = [0x32, 0x08, 0, 3, b'a', b'/', b'b', 0, 10, 0];
    let v5 = publish(&bytes, V5);
    assert_eq!(
        (v5.topic, v5.packet_id, v5.qos),
        ("a/b", 10, QoS::AtLeastOnce)
    );
    assert!(v5.payload.is_empty() && !v5.dup && !v5.retain);
    // The same bytes in 3.1.1 have a payload of one byte.
    assert_eq!(publish(&bytes, V311).payload, [0]);
    let bytes = [0x3D, 0x06, 0, 1, b'a', 0, 1, b'x'];
    let all = publish(&bytes, V31);
    assert!(all.dup && all.retain && all.qos == QoS::ExactlyOnce);
    assert_eq!((all.packet_id, all.payload), (1, &b"x"[..]));
    for version in [V31, V311] {
        let bytes = packet(0x31, &[&string("a"), b"payload"]);
        let zero = publish(&bytes, version);
        assert_eq!(
            (zero.packet_id, zero.payload, zero.retain),
            (0, &b"payload"[..], true)
        );
    }
}

#[test]
fn refused_in_every_version() {
    let table: Vec<(Vec<u8>, u8, &str)> = vec![
        (
            packet(0x36, &[&string("a"), &[0, 1, 0]]),
            0x81,
            "MQTT-3.3.1-4",
        ),
        (
            packet(0x3E, &[&string("a"), &[0, 1, 0]]),
            0x81,
            "MQTT-3.3.1-4",
        ),
        (packet(0x38, &[&string("a"), &[0]]), 0x81, "MQTT-3.3.1-2"),
        (
            packet(0x32, &[&string("a"), &[0, 0, 0]]),
            0x82,
            "MQTT-2.2.1-3",
        ),
        (
            packet(0x34, &[&string("a"), &[0, 0, 0]]),
            0x82,
            "MQTT-2.2.1-3",
        ),
        (packet(0x30, &[&string("a/#"), &[0]]), 0x90, "MQTT-3.3.2-2"),
        (
            packet(0x30, &[&string("a/+/b"), &[0]]),
            0x90,
            "MQTT-3.3.2-2",
        ),
        (packet(0x30, &[&string("a+"), &[0]]), 0x90, "MQTT-3.3.2-2"),
        (packet(0x30, &[&string("a\0b"), &[0]]), 0x81, "MQTT-1.5.4-2"),
        (
            packet(0x30, &[&string([b'a', 0xFF]), &[0]]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (
            packet(0x30, &[&string([0xC0, 0x80]), &[0]]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (
            packet(0x30, &[&string([0xED, 0xBF, 0xBF]), &[0]]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (
            packet(0x30, &[&string([0xF4, 0x90, 0x80, 0x80]), &[0]]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (packet(0x30, &[&[0, 9], b"short"]), 0x81, "1.2"),
        (packet(0x30, &[&[0]]), 0x81, "1.2"),
        (packet(0x30, &[]), 0x81, "1.2"),
        (packet(0x32, &[&string("a")]), 0x81, "1.2"),
        (packet(0x32, &[&string("a"), &[0]]), 0x81, "1.2"),
    ];
    for version in VERSIONS {
        for (bytes, reason, rule) in &table {
            assert_error(from_client(bytes, version), *reason, rule, bytes);
        }
    }
}

#[test]
fn empty_topic() {
    let bytes = packet(0x30, &[&string(""), &[0]]);
    assert_error(from_client(&bytes, V31), 0x90, "MQTT-4.7.3-1", &bytes);
    assert_error(from_client(&bytes, V311), 0x90, "MQTT-4.7.3-1", &bytes);
    assert_error(from_client(&bytes, V5), 0x82, "3.3.2.1", &bytes);
    let with_alias = packet(0x30, &[&string(""), &block(&[&[0x23, 0, 3]]), b"p"]);
    let publish = publish(&with_alias, V5);
    assert_eq!(
        (publish.topic, publish.properties.topic_alias),
        ("", Some(3))
    );
}

#[test]
fn refused_properties() {
    let table: Vec<(Vec<u8>, u8, &str)> = vec![
        (with_properties(&[&[0x23, 0, 0]]), 0x94, "MQTT-3.3.2-8"),
        (
            with_properties(&[&[0x23, 0, 1], &[0x23, 0, 1]]),
            0x82,
            "2.2.2.2",
        ),
        (with_properties(&[&[0x0B, 1]]), 0x82, "MQTT-3.3.4-6"),
        (
            with_properties(&[&[0x08], &string("a/#")]),
            0x82,
            "MQTT-3.3.2-14",
        ),
        (
            with_properties(&[&[0x08], &string("")]),
            0x82,
            "MQTT-4.7.3-1",
        ),
        (with_properties(&[&[0x01, 2]]), 0x82, "2.2.2.2"),
        (with_properties(&[&[0x01, 0], &[0x01, 0]]), 0x82, "2.2.2.2"),
        (with_properties(&[&[0x11, 0, 0, 0, 1]]), 0x81, "2.2.2.2"),
        (with_properties(&[&[0x1F], &string("r")]), 0x81, "2.2.2.2"),
        (with_properties(&[&[0x00]]), 0x81, "2.2.2.2"),
        (with_properties(&[&[0x26], &string("k")]), 0x81, "1.2"),
        (
            with_properties(&[&[0x03], &string("\0")]),
            0x81,
            "MQTT-1.5.4-2",
        ),
        (
            with_properties(&[&[0x26], &string("k"), &string([0xFF])]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (packet(0x30, &[&string("t")]), 0x81, "1.2"),
        (packet(0x30, &[&string("t"), &[2, 1]]), 0x81, "1.2"),
    ];
    for (bytes, reason, rule) in table {
        assert_error(from_client(&bytes, V5), reason, rule, &bytes);
    }
}

#[test]
fn every_property() {
    let bytes = with_properties(&[
        &[0x01, 1, 0x02, 0, 0, 1, 0, 0x23, 0, 8],
        &[0x08],
        &string("reply/to"),
        &[0x09],
        &string([0, 255]),
        &[0x26],
        &string("k"),
        &string("v"),
        &[0x03],
        &string("json"),
    ]);
    let publish = publish(&bytes, V5);
    assert_eq!(publish.payload, b"p");
    let found = publish.properties;
    assert_eq!(found.payload_format_indicator, Some(true));
    assert_eq!(found.message_expiry_interval, Some(256));
    assert_eq!(found.topic_alias, Some(8));
    assert_eq!(found.response_topic, Some("reply/to"));
    assert_eq!(found.correlation_data, Some(&[0, 255][..]));
    assert_eq!(found.content_type, Some("json"));
    assert_eq!(properties(found.raw).count(), 7);
}

#[test]
fn forwardable_is_borrowed_when_it_lies_together() {
    let user = [&[0x26][..], &string("k"), &string("v")].concat();
    let format = [0x01, 1];
    let (alias, expiry) = ([0x23, 0, 1], [0x02, 0, 0, 0, 9]);
    type Parts<'a> = &'a [&'a [u8]];
    let cases: [(Parts<'_>, Parts<'_>, bool); 8] = [
        (&[], &[], true),
        (&[&alias], &[], true),
        (&[&alias, &expiry], &[], true),
        (&[&user, &format], &[&user, &format], true),
        (&[&alias, &user, &format, &expiry], &[&user, &format], true),
        (&[&user, &alias, &format], &[&user, &format], false),
        (&[&expiry, &user, &alias, &user], &[&user, &user], false),
        (
            &[&user, &alias, &user, &expiry, &format],
            &[&user, &user, &format],
            false,
        ),
    ];
    for (sent, forwarded, contiguous) in cases {
        let bytes = with_properties(sent);
        let forwardable = publish(&bytes, V5).properties.forwardable;
        let expected = forwarded.concat();
        assert_eq!(forwardable.as_slice().is_some(), contiguous);
        assert_eq!(
            (forwardable.len(), forwardable.is_empty()),
            (expected.len(), expected.is_empty())
        );
        let mut written = Vec::new();
        forwardable.write_to(&mut written);
        assert_eq!(written, expected);
        let mut scratch = vec![7; 3];
        assert_eq!(forwardable.resolve(&mut scratch), expected);
    }
}

#[test]
fn payload_format() {
    let good = packet(
        0x30,
        &[&string("t"), &block(&[&[0x01, 1]]), "\u{e4}".as_bytes()],
    );
    assert!(publish(&good, V5).check_payload_format().is_ok());
    let bad = packet(0x30, &[&string("t"), &block(&[&[0x01, 1]]), &[0xFF]]);
    assert_error(
        publish(&bad, V5).check_payload_format(),
        0x99,
        "3.3.2.3.2",
        &bad,
    );
    let unchecked = packet(0x30, &[&string("t"), &block(&[&[0x01, 0]]), &[0xFF]]);
    assert!(publish(&unchecked, V5).check_payload_format().is_ok());
}

#[test]
fn a_server_names_subscriptions() {
    let bytes = with_properties(&[&[0x0B, 1], &[0x01, 0], &[0x0B, 0x80, 1]]);
    let Ok(super::ServerPacket::Publish(publish)) = from_server(&bytes, V5) else {
        panic!("not accepted");
    };
    let identifiers: Vec<_> = publish.properties.subscription_identifiers().collect();
    assert_eq!(identifiers, [1, 128]);
    assert_eq!(
        publish.properties.forwardable.as_slice(),
        Some(&[0x01, 0][..])
    );
    let zero = with_properties(&[&[0x0B, 0]]);
    assert_error(from_server(&zero, V5), 0x82, "3.8.2.1.2", &zero);
}
