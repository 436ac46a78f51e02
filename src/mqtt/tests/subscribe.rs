//! SUBSCRIBE, UNSUBSCRIBE and their answers: sections 3.8 to 3.11.

use super::{VERSIONS, assert_error, block, from_client, from_server, packet, string};
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeEntry, SubscribeOptions};
use crate::mqtt::packet::ClientPacket;
use crate::mqtt::qos::QoS;
use crate::mqtt::version::Version::{self, V5, V31, V311};

/// Packet identifier 1 and, in 5.0, an empty property block.
fn head(version: Version) -> &'static [u8] {
    if version == V5 { &[0, 1, 0] } else { &[0, 1] }
}

fn one(version: Version, filter: &str, options: u8) -> Vec<u8> {
    packet(0x82, &[head(version), &string(filter), &[options]])
}

#[test]
fn good_lists() {
    for version in VERSIONS {
        let bytes = packet(
            0x82,
            &[
                head(version),
                &string("a/b"),
                &[1],
                &string("$share/g/c/#"),
                &[2],
            ],
        );
        let Ok(ClientPacket::Subscribe(subscribe)) = from_client(&bytes, version) else {
            panic!("not accepted");
        };
        assert_eq!(
            (subscribe.packet_id, subscribe.subscription_identifier),
            (1, None)
        );
        let options = |qos| SubscribeOptions {
            qos,
            ..SubscribeOptions::default()
        };
        let entries: Vec<_> = subscribe.filters().collect();
        let expected = [
            SubscribeEntry {
                filter: "a/b",
                options: options(QoS::AtLeastOnce),
            },
            SubscribeEntry {
                filter: "$share/g/c/#",
                options: options(QoS::ExactlyOnce),
            },
        ];
        assert_eq!(entries, expected);
    }
    let bytes = packet(0xA2, &[head(V311), &string("a/b"), &string("#")]);
    let Ok(ClientPacket::Unsubscribe(unsubscribe)) = from_client(&bytes, V311) else {
        panic!("not accepted");
    };
    assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a/b", "#"]);
}

#[test]
fn options_and_identifier_of_5_0() {
    let properties = block(&[
        &[0x26],
        &string("k"),
        &string("v"),
        &[0x0B, 0xFF, 0xFF, 0xFF, 0x7F],
    ]);
    let bytes = packet(0x82, &[&[0, 9], &properties, &string("a"), &[0x2D]]);
    let Ok(ClientPacket::Subscribe(subscribe)) = from_client(&bytes, V5) else {
        panic!("not accepted");
    };
    assert_eq!(subscribe.subscription_identifier, Some(268_435_455));
    assert_eq!(subscribe.user_properties.collect::<Vec<_>>(), [("k", "v")]);
    let options = subscribe.filters().next().unwrap().options;
    let expected = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    assert_eq!(options, expected);
    assert_eq!((options.to_byte(V5), options.to_byte(V311)), (0x2D, 1));
}

type Refusal = (Version, Vec<u8>, u8, &'static str);

#[track_caller]
fn assert_refused(table: &[Refusal]) {
    for (version, bytes, reason, rule) in table {
        assert_error(from_client(bytes, *version), *reason, rule, bytes);
    }
}

#[test]
fn refused_options() {
    assert_refused(&[
        (V311, one(V311, "a", 3), 0x81, "MQTT-3.8.3-4"),
        (V5, one(V5, "a", 3), 0x82, "3.8.3.1"),
        (V31, one(V31, "a", 0x04), 0x81, "MQTT-3.8.3-5"),
        (V311, one(V311, "a", 0x10), 0x81, "MQTT-3.8.3-5"),
        (V5, one(V5, "a", 0x40), 0x81, "MQTT-3.8.3-5"),
        (V5, one(V5, "a", 0x80), 0x81, "MQTT-3.8.3-5"),
        (V5, one(V5, "a", 0x30), 0x82, "3.8.3.1"),
        (V5, one(V5, "$share/g/a", 0x04), 0x82, "MQTT-3.8.3-4"),
        (V5, one(V5, "$queue/a", 0x04), 0x82, "MQTT-3.8.3-4"),
    ]);
}

#[test]
fn refused_properties() {
    let subscribe =
        |property: &[u8]| packet(0x82, &[&[0, 1], &block(&[property]), &string("a"), &[0]]);
    let unsubscribe = |property: &[u8]| packet(0xA2, &[&[0, 1], &block(&[property]), &string("a")]);
    assert_refused(&[
        (V5, subscribe(&[0x0B, 0]), 0x82, "3.8.2.1.2"),
        (V5, subscribe(&[0x0B, 1, 0x0B, 1]), 0x82, "2.2.2.2"),
        (V5, subscribe(&[0x11, 0, 0, 0, 1]), 0x81, "2.2.2.2"),
        (V5, unsubscribe(&[0x0B, 1]), 0x81, "2.2.2.2"),
    ]);
}

#[test]
fn refused_lists() {
    let a = string("a");
    for version in VERSIONS {
        let zero = [&[0, 0], &head(version)[2..]].concat();
        let subscribe = |tail: &[&[u8]]| packet(0x82, &[&[head(version)], tail].concat());
        let unsubscribe = |tail: &[&[u8]]| packet(0xA2, &[&[head(version)], tail].concat());
        assert_refused(&[
            (version, subscribe(&[]), 0x82, "MQTT-3.8.3-2"),
            (version, unsubscribe(&[]), 0x82, "MQTT-3.10.3-2"),
            (
                version,
                packet(0x82, &[&zero, &a, &[0]]),
                0x82,
                "MQTT-2.2.1-3",
            ),
            (version, packet(0xA2, &[&zero, &a]), 0x82, "MQTT-2.2.1-3"),
            (version, packet(0x82, &[&[0]]), 0x81, "1.2"),
            (version, subscribe(&[&a]), 0x81, "1.2"),
            (version, subscribe(&[&a, &[0, 0]]), 0x81, "1.2"),
            (version, unsubscribe(&[&a, &[0]]), 0x81, "1.2"),
            (
                version,
                subscribe(&[&string([0xFF]), &[0]]),
                0x81,
                "MQTT-1.5.4-1",
            ),
            (
                version,
                unsubscribe(&[&string("a\0")]),
                0x81,
                "MQTT-1.5.4-2",
            ),
        ]);
    }
}

#[test]
fn refused_filters() {
    for version in VERSIONS {
        for (filter, rule) in [
            ("", "MQTT-4.7.3-1"),
            ("a#", "MQTT-4.7.1-1"),
            ("a/#/b", "MQTT-4.7.1-1"),
            ("a+/b", "MQTT-4.7.1-2"),
            ("$share/g", "MQTT-4.8.2-2"),
            ("$share//a", "MQTT-4.8.2-1"),
            ("$share/g+/a", "MQTT-4.8.2-2"),
        ] {
            let unsubscribe = packet(0xA2, &[head(version), &string("good"), &string(filter)]);
            assert_refused(&[
                (version, one(version, filter, 0), 0x8F, rule),
                (version, unsubscribe, 0x8F, rule),
            ]);
        }
    }
}

#[test]
fn refused_answers() {
    let table: Vec<(Version, Vec<u8>, u8, &str)> = vec![
        (V311, packet(0x90, &[&[0, 1]]), 0x82, "MQTT-3.8.4-6"),
        (V5, packet(0x90, &[&[0, 1, 0]]), 0x82, "MQTT-3.8.4-6"),
        (V311, packet(0x90, &[&[0, 1, 3]]), 0x81, "MQTT-3.9.3-2"),
        (V5, packet(0x90, &[&[0, 1, 0, 0x11]]), 0x82, "2.4"),
        (V311, packet(0xB0, &[&[0, 1, 0]]), 0x81, "3.11.3"),
        (V5, packet(0xB0, &[&[0, 1, 0]]), 0x82, "MQTT-3.11.3-1"),
        (V5, packet(0xB0, &[&[0, 1, 0, 1]]), 0x82, "2.4"),
        (V5, packet(0xB0, &[&[0, 0, 0, 0]]), 0x82, "MQTT-2.2.1-3"),
    ];
    for (version, bytes, reason, rule) in table {
        assert_error(from_server(&bytes, version), reason, rule, &bytes);
    }
}
