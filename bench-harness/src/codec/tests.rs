//! Vectors written by hand from the specification's figures, then round trips of anything.

use super::*;
use proptest::prelude::*;

fn round_trip(packet: &Packet, version: Version, bytes: &[u8]) {
    assert_eq!(packet.to_bytes(version), bytes);
    assert_eq!(
        decode(bytes, version),
        Ok(Some((packet.clone(), bytes.len())))
    );
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut], version), Ok(None), "cut at {cut}");
    }
}

fn broken_rule(bytes: &[u8], version: Version) -> &'static str {
    decode(bytes, version)
        .expect_err("should be malformed")
        .rule
}

#[test]
fn connect_311_with_everything() {
    let mut connect = Connect::new(Version::V311, "abc");
    connect.keep_alive_s = 10;
    connect.will = Some(Will {
        qos: 1,
        topic: "w".to_owned(),
        payload: b"x".to_vec(),
        ..Will::default()
    });
    connect.username = Some("u".to_owned());
    connect.password = Some(b"p".to_vec());
    let bytes = [
        0x10,
        0x1B,
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        4,
        0b1100_1110,
        0,
        10,
        0,
        3,
        b'a',
        b'b',
        b'c',
        0,
        1,
        b'w',
        0,
        1,
        b'x',
        0,
        1,
        b'u',
        0,
        1,
        b'p',
    ];
    round_trip(&Packet::Connect(connect), Version::V311, &bytes);
}

#[test]
fn connect_31_has_the_old_name() {
    let bytes = [
        0x10, 0x0F, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 0, 0, 1, b'a',
    ];
    round_trip(
        &Packet::Connect(Connect::new(Version::V31, "a")),
        Version::V31,
        &bytes,
    );
}

#[test]
fn connect_5_with_properties() {
    let mut connect = Connect::new(Version::V5, "");
    connect.properties = Properties(vec![
        Property::SessionExpiryInterval(10),
        Property::ReceiveMaximum(20),
    ]);
    let bytes = [
        0x10, 0x15, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 8, 0x11, 0, 0, 0, 10, 0x21, 0, 20, 0,
        0,
    ];
    round_trip(&Packet::Connect(connect), Version::V5, &bytes);
}

#[test]
fn connack_of_each_version() {
    let refused = ConnAck {
        code: 5,
        ..ConnAck::default()
    };
    round_trip(&Packet::ConnAck(refused), Version::V311, &[0x20, 2, 0, 5]);
    let properties = Properties(vec![Property::MaximumQos(1)]);
    let accepted = ConnAck {
        session_present: true,
        code: 0,
        properties,
    };
    round_trip(
        &Packet::ConnAck(accepted),
        Version::V5,
        &[0x20, 5, 1, 0, 2, 0x24, 1],
    );
}

#[test]
fn publish_of_each_qos() {
    let publish = Publish {
        topic: "a/b".to_owned(),
        payload: b"hi".to_vec(),
        ..Publish::default()
    };
    let bytes = [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'];
    round_trip(&Packet::Publish(publish.clone()), Version::V311, &bytes);
    let publish = Publish {
        qos: 2,
        dup: true,
        retain: true,
        packet_id: Some(10),
        ..publish
    };
    let bytes = [0x3D, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i'];
    round_trip(&Packet::Publish(publish), Version::V311, &bytes);
    let publish = Publish {
        properties: Properties(vec![Property::TopicAlias(3)]),
        ..Publish::default()
    };
    let bytes = [0x30, 6, 0, 0, 3, 0x23, 0, 3];
    round_trip(&Packet::Publish(publish), Version::V5, &bytes);
}

#[test]
fn acknowledgements_have_short_forms() {
    let ack = Ack {
        packet_id: 0x1234,
        ..Ack::default()
    };
    round_trip(
        &Packet::PubAck(ack.clone()),
        Version::V311,
        &[0x40, 2, 0x12, 0x34],
    );
    round_trip(
        &Packet::PubRel(ack.clone()),
        Version::V5,
        &[0x62, 2, 0x12, 0x34],
    );
    let coded = Ack {
        code: 0x10,
        ..ack.clone()
    };
    round_trip(
        &Packet::PubRec(coded),
        Version::V5,
        &[0x50, 3, 0x12, 0x34, 0x10],
    );
    // The long form of success is legal too.
    let decoded = decode(&[0x40, 4, 0x12, 0x34, 0, 0], Version::V5);
    assert_eq!(decoded, Ok(Some((Packet::PubAck(ack), 6))));
}

#[test]
fn subscribe_and_its_answers() {
    let options = SubscriptionOptions {
        qos: 1,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
    };
    let subscribe = Subscribe {
        packet_id: 1,
        properties: Properties(vec![Property::SubscriptionIdentifier(300)]),
        filters: vec![("a/#".to_owned(), options)],
    };
    let bytes = [
        0x82, 12, 0, 1, 3, 0x0B, 0xAC, 0x02, 0, 3, b'a', b'/', b'#', 0b10_1101,
    ];
    round_trip(&Packet::Subscribe(subscribe), Version::V5, &bytes);
    let suback = SubAck {
        packet_id: 1,
        codes: vec![1, 0x80],
        ..SubAck::default()
    };
    round_trip(
        &Packet::SubAck(suback),
        Version::V311,
        &[0x90, 4, 0, 1, 1, 0x80],
    );
    let unsubscribe = Unsubscribe {
        packet_id: 2,
        filters: vec!["+".to_owned()],
        ..Unsubscribe::default()
    };
    round_trip(
        &Packet::Unsubscribe(unsubscribe),
        Version::V311,
        &[0xA2, 5, 0, 2, 0, 1, b'+'],
    );
    let unsuback = UnsubAck {
        packet_id: 2,
        codes: vec![0x11],
        ..UnsubAck::default()
    };
    round_trip(
        &Packet::UnsubAck(unsuback),
        Version::V5,
        &[0xB0, 4, 0, 2, 0, 0x11],
    );
}

#[test]
fn the_short_packets() {
    round_trip(&Packet::PingReq, Version::V311, &[0xC0, 0]);
    round_trip(&Packet::PingResp, Version::V5, &[0xD0, 0]);
    round_trip(
        &Packet::Disconnect(Disconnect::default()),
        Version::V311,
        &[0xE0, 0],
    );
    let taken_over = Disconnect {
        code: 0x8E,
        ..Disconnect::default()
    };
    round_trip(
        &Packet::Disconnect(taken_over),
        Version::V5,
        &[0xE0, 1, 0x8E],
    );
    let properties = Properties(vec![
        Property::AuthenticationMethod("m".to_owned()),
        Property::AuthenticationData(vec![7]),
    ]);
    let auth = Auth {
        code: 0x18,
        properties,
    };
    let bytes = [0xF0, 10, 0x18, 8, 0x15, 0, 1, b'm', 0x16, 0, 1, 7];
    round_trip(&Packet::Auth(auth), Version::V5, &bytes);
}

#[test]
fn an_error_names_the_broken_rule() {
    use Version::{V5, V311};
    let cases: &[(&[u8], Version, &str)] = &[
        (&[0x00, 0], V311, "2.1.2"),
        (&[0x36, 4, 0, 1, b'a', 0], V311, "MQTT-3.3.1-4"),
        (&[0x38, 3, 0, 1, b'a'], V311, "MQTT-3.3.1-2"),
        (&[0x60, 2, 0, 1], V311, "MQTT-2.1.3-1"),
        (&[0x80, 6, 0, 1, 0, 1, b'a', 0], V311, "MQTT-2.1.3-1"),
        (&[0xC1, 0], V311, "MQTT-2.1.3-1"),
        (&[0x30, 0x80, 0x80, 0x80, 0x80, 1], V311, "2.1.4"),
        (&[0xC0, 0x80, 0], V5, "MQTT-1.5.5-1"),
        (&[0x30, 3, 0, 1, b'+'], V311, "MQTT-3.3.2-2"),
        (&[0x30, 2, 0, 0], V311, "MQTT-4.7.3-1"),
        (&[0x32, 5, 0, 1, b'a', 0, 0], V311, "MQTT-2.2.1-3"),
        (
            &[0x30, 4, 0, 2, 0xC3, 0x28],
            V311,
            "MQTT-1.5.4-1: not well-formed UTF-8",
        ),
        (
            &[0x30, 4, 0, 2, b'a', 0],
            V311,
            "MQTT-1.5.4-2: U+0000 in a string",
        ),
        (&[0x40, 3, 0, 1, 0], V311, "2.1.4"),
        (&[0x40, 3, 0, 1, 0x55], V5, "2.4"),
        (&[0x82, 2, 0, 1], V311, "MQTT-3.8.3-2"),
        (&[0x82, 6, 0, 1, 0, 1, b'a', 3], V311, "3.8.3.1"),
        (&[0x82, 6, 0, 1, 0, 1, b'a', 4], V311, "MQTT-3.8.3-5"),
        (&[0x82, 7, 0, 1, 0, 2, b'a', b'#', 0], V311, "MQTT-4.7.1-1"),
        (&[0x82, 7, 0, 1, 0, 2, b'a', b'+', 0], V311, "MQTT-4.7.1-2"),
        (&[0x90, 3, 0, 1, 3], V311, "MQTT-3.9.3-2"),
        (&[0x20, 2, 1, 5], V311, "MQTT-3.2.2-6"),
        (&[0x20, 2, 2, 0], V311, "MQTT-3.2.2-1"),
        (&[0x20, 5, 0, 0, 2, 0x24, 2], V5, "2.2.2.2"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x24, 1], V5, "2.2.2.2"),
        (
            &[0x30, 10, 0, 1, b'a', 6, 0x23, 0, 1, 0x23, 0, 1],
            V5,
            "2.2.2.2",
        ),
        (&[0xF0, 0], V311, "2.2.1"),
        (
            &[0x10, 4, 0, 2, b'M', b'Q'],
            V311,
            "2.1.4: the packet ends inside a field",
        ),
    ];
    for (bytes, version, rule) in cases {
        assert_eq!(broken_rule(bytes, *version), *rule, "{bytes:02X?}");
    }
}

#[test]
fn connect_flags_are_held_to_the_rules() {
    let cases = [
        (0b0000_0011, "MQTT-3.1.2-3"),
        (0b0000_1010, "MQTT-3.1.2-11"),
        (0b0001_1110, "MQTT-3.1.2-12"),
        (0b0100_0010, "MQTT-3.1.2-22"),
    ];
    for (flags, rule) in cases {
        let bytes = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0, 0, 0];
        assert_eq!(broken_rule(&bytes, Version::V311), rule);
    }
    let bytes = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0];
    assert_eq!(broken_rule(&bytes, Version::V311), "MQTT-3.1.2-1");
}

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9/ \u{e9}\u{4e2d}]{1,40}"
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn user_properties() -> impl Strategy<Value = Properties> {
    prop::collection::vec(
        (text(), text()).prop_map(|(n, v)| Property::UserProperty(n, v)),
        0..3,
    )
    .prop_map(Properties)
}

fn publish_properties() -> impl Strategy<Value = Properties> {
    let each = (
        prop::option::of((0..2u8).prop_map(Property::PayloadFormatIndicator)),
        prop::option::of(any::<u32>().prop_map(Property::MessageExpiryInterval)),
        prop::option::of(text().prop_map(Property::ContentType)),
        prop::option::of(text().prop_map(Property::ResponseTopic)),
        prop::option::of(binary().prop_map(Property::CorrelationData)),
        prop::option::of((1..=u16::MAX).prop_map(Property::TopicAlias)),
        prop::collection::vec(
            (1u32..268_435_456).prop_map(Property::SubscriptionIdentifier),
            0..3,
        ),
        user_properties(),
    );
    each.prop_map(|(a, b, c, d, e, f, g, h)| {
        let some = [a, b, c, d, e, f].into_iter().flatten();
        Properties(some.chain(g).chain(h.0).collect())
    })
}

fn connack_properties() -> impl Strategy<Value = Properties> {
    let flag = || prop::option::of(0..2u8);
    (
        flag(),
        flag(),
        flag(),
        flag(),
        flag(),
        prop::option::of(text()),
        1..=u16::MAX,
        1..=u32::MAX,
    )
        .prop_map(|(a, b, c, d, e, id, maximum, size)| {
            let some = [
                a.map(Property::MaximumQos),
                b.map(Property::RetainAvailable),
                c.map(Property::WildcardSubscriptionAvailable),
                d.map(Property::SubscriptionIdentifierAvailable),
                e.map(Property::SharedSubscriptionAvailable),
                id.map(Property::AssignedClientIdentifier),
                Some(Property::ReceiveMaximum(maximum)),
                Some(Property::MaximumPacketSize(size)),
                Some(Property::TopicAliasMaximum(maximum)),
                Some(Property::ServerKeepAlive(maximum)),
            ];
            Properties(some.into_iter().flatten().collect())
        })
}

fn will() -> impl Strategy<Value = Will> {
    let properties = (
        any::<u32>().prop_map(Property::WillDelayInterval),
        user_properties(),
    )
        .prop_map(|(delay, user)| Properties([vec![delay], user.0].concat()));
    (0..3u8, any::<bool>(), text(), binary(), properties).prop_map(
        |(qos, retain, topic, payload, properties)| Will {
            qos,
            retain,
            topic,
            payload,
            properties,
        },
    )
}

fn connect() -> impl Strategy<Value = Packet> {
    let properties = (
        any::<u32>().prop_map(Property::SessionExpiryInterval),
        user_properties(),
    )
        .prop_map(|(expiry, user)| Properties([vec![expiry], user.0].concat()));
    let credentials = prop::option::of((text(), prop::option::of(binary())));
    (
        any::<bool>(),
        any::<u16>(),
        text(),
        prop::option::of(will()),
        credentials,
        properties,
    )
        .prop_map(
            |(clean_start, keep_alive_s, client_id, will, credentials, properties)| {
                let (username, password) = credentials.unzip();
                let password = password.flatten();
                let connect = Connect {
                    clean_start,
                    keep_alive_s,
                    will,
                    username,
                    password,
                    properties,
                    ..Connect::new(Version::V5, &client_id)
                };
                Packet::Connect(connect)
            },
        )
}

fn acks() -> impl Strategy<Value = Packet> {
    (0..4usize, 1..=u16::MAX, any::<bool>(), user_properties()).prop_map(
        |(kind, packet_id, is_refused, properties)| match kind {
            0 => {
                let code = if is_refused { 0x97 } else { 0 };
                Packet::PubAck(Ack {
                    packet_id,
                    code,
                    properties,
                })
            }
            1 => {
                let code = if is_refused { 0x80 } else { 0x10 };
                Packet::PubRec(Ack {
                    packet_id,
                    code,
                    properties,
                })
            }
            2 => {
                let code = if is_refused { 0x92 } else { 0 };
                Packet::PubRel(Ack {
                    packet_id,
                    code,
                    properties,
                })
            }
            _ => Packet::PubComp(Ack {
                packet_id,
                code: 0,
                properties,
            }),
        },
    )
}

fn publish() -> impl Strategy<Value = Packet> {
    let flags = (0..3u8, any::<bool>(), any::<bool>(), 1..=u16::MAX);
    (flags, text(), binary(), publish_properties()).prop_map(
        |((qos, dup, retain, id), topic, payload, properties)| {
            let packet_id = (qos > 0).then_some(id);
            let dup = dup && qos > 0;
            Packet::Publish(Publish {
                dup,
                qos,
                retain,
                topic,
                packet_id,
                properties,
                payload,
            })
        },
    )
}

fn subscriptions() -> impl Strategy<Value = Packet> {
    let options = (0..3u8, any::<bool>(), any::<bool>(), 0..3u8).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    );
    let filters = prop::collection::vec((text(), options), 1..5);
    (0..4usize, 1..=u16::MAX, filters, user_properties()).prop_map(
        |(kind, packet_id, filters, properties)| {
            let codes: Vec<u8> = filters.iter().map(|(_, options)| options.qos).collect();
            match kind {
                0 => Packet::Subscribe(Subscribe {
                    packet_id,
                    properties,
                    filters,
                }),
                1 => Packet::SubAck(SubAck {
                    packet_id,
                    properties,
                    codes,
                }),
                2 => {
                    let filters = filters.into_iter().map(|(filter, _)| filter).collect();
                    Packet::Unsubscribe(Unsubscribe {
                        packet_id,
                        properties,
                        filters,
                    })
                }
                _ => {
                    let codes = vec![0x11; codes.len()];
                    Packet::UnsubAck(UnsubAck {
                        packet_id,
                        properties,
                        codes,
                    })
                }
            }
        },
    )
}

fn others() -> impl Strategy<Value = Packet> {
    prop_oneof![
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        user_properties().prop_map(|properties| Packet::Disconnect(Disconnect {
            code: 0x8B,
            properties
        })),
        (any::<bool>(), connack_properties()).prop_map(|(session_present, properties)| {
            Packet::ConnAck(ConnAck {
                session_present,
                code: 0,
                properties,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        packet in prop_oneof![connect(), acks(), publish(), subscriptions(), others()],
        tail in binary(),
    ) {
        let mut bytes = packet.to_bytes(Version::V5);
        let length = bytes.len();
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(decode(&bytes, Version::V5), Ok(Some((packet, length))));
    }

    #[test]
    fn version_311_loses_nothing_but_properties(packet in prop_oneof![publish(), connect()]) {
        let packet = match packet {
            Packet::Publish(p) => Packet::Publish(Publish { properties: Properties::default(), ..p }),
            Packet::Connect(mut c) => {
                c.version = Version::V311;
                c.properties = Properties::default();
                if let Some(will) = &mut c.will {
                    will.properties = Properties::default();
                }
                Packet::Connect(c)
            }
            other => other,
        };
        let bytes = packet.to_bytes(Version::V311);
        prop_assert_eq!(decode(&bytes, Version::V311), Ok(Some((packet, bytes.len()))));
    }

    /// Hostile bytes are refused or wait for more; what is accepted encodes to what is accepted.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64), five in any::<bool>()) {
        let version = if five { Version::V5 } else { Version::V311 };
        if let Ok(Some((packet, _))) = decode(&bytes, version) {
            let again = packet.to_bytes(version);
            prop_assert_eq!(decode(&again, version).map(|d| d.map(|d| d.0)), Ok(Some(packet)));
        }
    }
}
