//! CONNECT: section 3.1 of each version.

use super::{assert_error, block, connect, packet, string};
use crate::mqtt::property::UserProperties;
use crate::mqtt::qos::QoS;
use crate::mqtt::version::Version::{self, V5, V31, V311};

/// A CONNECT with `tail` after the keep-alive.
fn with_flags(version: Version, flags: u8, tail: &[&[u8]]) -> Vec<u8> {
    let name = string(version.protocol_name());
    let mut parts: Vec<&[u8]> = vec![&name];
    let fixed = [version.level(), flags, 0, 60];
    parts.push(&fixed);
    parts.extend(tail);
    packet(0x10, &parts)
}

/// A CONNECT of 5.0 with these properties and the client identifier `c`.
fn with_properties(parts: &[&[u8]]) -> Vec<u8> {
    with_flags(V5, 0x02, &[&block(parts), &string("c")])
}

#[test]
fn example_of_the_specification() {
    // Figure 3-6 of 5.0: user name, password, no will, clean start, keep-alive 10, expiry 10.
    let bytes = packet(
        0x10,
        &[
            &[
                0, 4, b'M', b'Q', b'T', b'T', 5, 0xC2, 0, 10, 5, 17, 0, 0, 0, 10,
            ],
            &string("id"),
            &string("user"),
            &string("pass"),
        ],
    );
    let packet = connect(&bytes).unwrap();
    assert_eq!(
        (packet.version, packet.clean_start, packet.keep_alive),
        (V5, true, 10)
    );
    assert_eq!((packet.client_id, packet.username), ("id", Some("user")));
    assert_eq!(packet.password, Some(&b"pass"[..]));
    assert_eq!(packet.properties.session_expiry_interval, 10);
    assert_eq!(packet.properties.receive_maximum, 65_535);
    assert!(packet.properties.request_problem_information);
    assert!(!packet.bridge && packet.will.is_none());
}

#[test]
fn names_and_levels() {
    type Outcome = Result<(Version, bool), Option<Version>>;
    let cases: [(&str, u8, Outcome); 13] = [
        ("MQIsdp", 3, Ok((V31, false))),
        ("MQIsdp", 0x83, Ok((V31, true))),
        ("MQTT", 4, Ok((V311, false))),
        ("MQTT", 0x84, Ok((V311, true))),
        ("MQTT", 5, Ok((V5, false))),
        ("MQTT", 0x85, Err(Some(V311))),
        ("MQTT", 3, Err(Some(V311))),
        ("MQTT", 0, Err(Some(V311))),
        ("MQTT", 6, Err(Some(V5))),
        ("MQIsdp", 4, Err(Some(V311))),
        ("mqtt", 4, Err(None)),
        ("", 4, Err(None)),
        ("HTTP", 4, Err(None)),
    ];
    for (name, level, expected) in cases {
        let tail = if level == 5 { block(&[]) } else { Vec::new() };
        let bytes = packet(
            0x10,
            &[&string(name), &[level, 2, 0, 0], &tail, &string("c")],
        );
        match (connect(&bytes), expected) {
            (Ok(packet), Ok(expected)) => assert_eq!((packet.version, packet.bridge), expected),
            (Err(refused), Err(answer)) => {
                assert_eq!(refused.answer, answer, "{name} {level}");
                assert_eq!(refused.error.reason.as_u8(), 0x84);
                let rule = if answer.is_some() {
                    "MQTT-3.1.2-2"
                } else {
                    "MQTT-3.1.2-1"
                };
                assert_error::<()>(Err(refused.error), 0x84, rule, &bytes);
            }
            (got, expected) => panic!("{name} {level}: {got:?} instead of {expected:?}"),
        }
    }
    let cut_off = packet(0x10, &[&[0, 4, b'M', b'Q']]);
    assert_eq!(connect(&cut_off).unwrap_err().answer, None);
}

type Refusal = (Version, Vec<u8>, u8, &'static str);

#[track_caller]
fn assert_refused(table: Vec<Refusal>) {
    for (version, bytes, reason, rule) in table {
        let refused = connect(&bytes).expect_err(rule);
        assert_error::<()>(Err(refused.error), reason, rule, &bytes);
        let told = version == V5 || reason == 0x85;
        assert_eq!(refused.answer, told.then_some(version), "{rule}");
    }
}

#[test]
fn refused_flags() {
    let c = string("c");
    let will = [string("w"), string("payload")].concat();
    let v5_will = [block(&[]), string("w"), string("payload")].concat();
    let v3 = |version, flags, tail: &[&[u8]]| with_flags(version, flags, tail);
    let v5 = |flags, tail: &[&[u8]]| with_flags(V5, flags, &[&[&[0][..]], tail].concat());
    assert_refused(vec![
        (V311, v3(V311, 0x03, &[&c]), 0x81, "MQTT-3.1.2-3"),
        (V5, v5(0x03, &[&c]), 0x81, "MQTT-3.1.2-3"),
        (V311, v3(V311, 0x0A, &[&c]), 0x81, "MQTT-3.1.2-11"),
        (V5, v5(0x12, &[&c]), 0x81, "MQTT-3.1.2-11"),
        (V311, v3(V311, 0x22, &[&c]), 0x81, "MQTT-3.1.2-13"),
        (V5, v5(0x22, &[&c]), 0x81, "MQTT-3.1.2-13"),
        (V31, v3(V31, 0x1E, &[&c, &will]), 0x81, "MQTT-3.1.2-12"),
        (V311, v3(V311, 0x1E, &[&c, &will]), 0x81, "MQTT-3.1.2-12"),
        (V5, v5(0x1E, &[&c, &v5_will]), 0x81, "MQTT-3.1.2-12"),
        (V31, v3(V31, 0x42, &[&c, &c]), 0x81, "MQTT-3.1.2-22"),
        (V311, v3(V311, 0x42, &[&c, &c]), 0x81, "MQTT-3.1.2-22"),
    ]);
}

#[test]
fn refused_fields() {
    let c = string("c");
    let empty = string("");
    let v31 = |flags, tail: &[&[u8]]| with_flags(V31, flags, tail);
    let v311 = |flags, tail: &[&[u8]]| with_flags(V311, flags, tail);
    let v5 = |flags, tail: &[&[u8]]| with_flags(V5, flags, &[&[&[0][..]], tail].concat());
    assert_refused(vec![
        (V31, v31(0x02, &[&empty]), 0x85, "MQTT-3.1.3-8"),
        (V311, v311(0x00, &[&empty]), 0x85, "MQTT-3.1.3-8"),
        (V311, v311(0x02, &[]), 0x81, "1.2"),
        (V311, v311(0x82, &[&c]), 0x81, "1.2"),
        (V311, v311(0xC2, &[&c, &c]), 0x81, "1.2"),
        (V311, v311(0x02, &[&c, &[0]]), 0x81, "2.1.4"),
        (V31, v31(0x02, &[&c, &c]), 0x81, "2.1.4"),
        (V5, v5(0x02, &[&c, &c]), 0x81, "2.1.4"),
        (V5, with_flags(V5, 0x02, &[&c]), 0x81, "1.2"),
        (V311, v311(0x02, &[&string("a\0")]), 0x81, "MQTT-1.5.4-2"),
        (
            V311,
            v311(0x02, &[&string([0xED, 0xA0, 0x80])]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (
            V311,
            v311(0x82, &[&c, &string([0xFF])]),
            0x81,
            "MQTT-1.5.4-1",
        ),
        (
            V311,
            v311(0x06, &[&c, &string("a/+"), &c]),
            0x90,
            "MQTT-4.7.0-1",
        ),
        (
            V5,
            v5(0x06, &[&c, &[0], &string("#"), &c]),
            0x90,
            "MQTT-4.7.0-1",
        ),
        (V5, v5(0x06, &[&c, &[0], &empty, &c]), 0x90, "MQTT-4.7.3-1"),
    ]);
}

#[test]
fn refused_length() {
    let mut not_minimal = with_properties(&[]);
    not_minimal[1] |= 0x80;
    not_minimal.insert(2, 0);
    assert_refused(vec![(V5, not_minimal, 0x81, "MQTT-1.5.5-1")]);
}

#[test]
fn refused_properties() {
    let name = string("n");
    let table: Vec<(Vec<u8>, u8, &str)> = vec![
        (with_properties(&[&[0x21, 0, 0]]), 0x82, "3.1.2.11.3"),
        (with_properties(&[&[0x27, 0, 0, 0, 0]]), 0x82, "3.1.2.11.4"),
        (with_properties(&[&[0x17, 2]]), 0x82, "2.2.2.2"),
        (with_properties(&[&[0x19, 2]]), 0x82, "2.2.2.2"),
        (
            with_properties(&[&[0x11, 0, 0, 0, 1], &[0x11, 0, 0, 0, 1]]),
            0x82,
            "2.2.2.2",
        ),
        (
            with_properties(&[&[0x22, 0, 1], &[0x22, 0, 1]]),
            0x82,
            "2.2.2.2",
        ),
        (with_properties(&[&[0x16], &name]), 0x82, "3.1.2.11.10"),
        // Topic alias, will delay, and an identifier that does not exist.
        (with_properties(&[&[0x23, 0, 0]]), 0x81, "2.2.2.2"),
        (with_properties(&[&[0x18, 0, 0, 0, 1]]), 0x81, "2.2.2.2"),
        (with_properties(&[&[0x7F, 0]]), 0x81, "2.2.2.2"),
        (
            with_properties(&[&[0x91, 0x00, 0, 0, 0, 1]]),
            0x81,
            "2.2.2.2",
        ),
        (with_properties(&[&[0x11, 0, 0, 1]]), 0x81, "1.2"),
        (
            with_flags(V5, 2, &[&[0x80, 0x00], &string("c")]),
            0x81,
            "MQTT-1.5.5-1",
        ),
        (with_flags(V5, 2, &[&[0x7F], &string("c")]), 0x81, "1.2"),
    ];
    for (bytes, reason, rule) in table {
        let refused = connect(&bytes).expect_err(rule);
        assert_eq!(refused.answer, Some(V5));
        assert_error::<()>(Err(refused.error), reason, rule, &bytes);
    }
}

#[test]
fn every_property() {
    let bytes = with_properties(&[
        &[0x26],
        &string("k"),
        &string("v"),
        &[
            0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 7, 0x27, 0, 0, 1, 0, 0x22, 0, 9, 0x19, 1, 0x17,
            0,
        ],
        &[0x15],
        &string("SCRAM"),
        &[0x16],
        &string([0, 1]),
        &[0x26],
        &string("k"),
        &string("w"),
    ]);
    let properties = connect(&bytes).unwrap().properties;
    assert_eq!(properties.session_expiry_interval, u32::MAX);
    assert_eq!(properties.receive_maximum, 7);
    assert_eq!(properties.maximum_packet_size, Some(256));
    assert_eq!(properties.topic_alias_maximum, 9);
    assert!(properties.request_response_information && !properties.request_problem_information);
    assert_eq!(properties.authentication_method, Some("SCRAM"));
    assert_eq!(properties.authentication_data, Some(&[0, 1][..]));
    let pairs: Vec<_> = properties.user_properties.collect();
    assert_eq!(pairs, [("k", "v"), ("k", "w")]);
    assert!(!properties.user_properties.is_empty() && UserProperties::new(&[]).is_empty());
}

#[test]
fn will_of_5_0() {
    let format_and_type = [&[0x01, 1, 0x03][..], &string("text")].concat();
    let tail = [&[0x26][..], &string("k"), &string("v")].concat();
    let will_block = block(&[
        &[0x18, 0, 0, 0, 5],
        &format_and_type,
        &[0x02, 0, 0, 0, 6],
        &tail,
    ]);
    let bytes = with_flags(
        V5,
        0x2E | 0x80,
        &[
            &[0],
            &string("c"),
            &will_block,
            &string("w/t"),
            &string("bye"),
            &string("u"),
        ],
    );
    let packet = connect(&bytes).unwrap();
    let will = packet.will.unwrap();
    assert_eq!((will.topic, will.payload), ("w/t", &b"bye"[..]));
    assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
    assert_eq!(will.properties.delay_interval, 5);
    assert_eq!(will.properties.message_expiry_interval, Some(6));
    assert_eq!(will.properties.payload_format_indicator, Some(true));
    assert_eq!(will.properties.content_type, Some("text"));
    assert_eq!(will.properties.forwardable.as_slice(), None);
    let mut forwarded = Vec::new();
    will.properties.forwardable.write_to(&mut forwarded);
    assert_eq!(forwarded, [format_and_type, tail].concat());
    assert_eq!(packet.username, Some("u"));
}

#[test]
fn what_3_1_allows() {
    let c = string("c");
    // The reserved bit and will bits without a will are disregarded.
    assert!(connect(&with_flags(V31, 0x3B, &[&c])).is_ok());
    // User name and password may be missing although their flags are set.
    let missing = with_flags(V31, 0xC2, &[&c]);
    assert_eq!(connect(&missing).unwrap().username, None);
    let no_password = with_flags(V31, 0xC2, &[&c, &c]);
    let packet = connect(&no_password).unwrap();
    assert_eq!((packet.username, packet.password), (Some("c"), None));
    let long = with_flags(V31, 0x02, &[&string("c".repeat(24))]);
    assert_eq!(connect(&long).unwrap().client_id.len(), 24);
}

#[test]
fn what_others_allow() {
    let password_alone = with_flags(V5, 0x42, &[&[0], &string("c"), &string([0xFF, 0])]);
    assert_eq!(
        connect(&password_alone).unwrap().password,
        Some(&[0xFF, 0][..])
    );
    for bytes in [
        with_flags(V311, 0x02, &[&string("")]),
        with_flags(V5, 0x02, &[&[0], &string("")]),
        with_flags(V5, 0x00, &[&[0], &string("")]),
    ] {
        assert_eq!(connect(&bytes).unwrap().client_id, "");
    }
}
