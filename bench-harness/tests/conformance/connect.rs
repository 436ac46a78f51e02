//! CONNECT (3.1): what is accepted and what is not.

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Properties, Property, Version};

use crate::peer::{PATIENCE, SILENCE, clean, connect, persistent, subscriber};
use crate::raw;
use crate::world::{
    BOTH, address, anyone, assert_alive, expect_cut, fresh, listener, publish, refused, try_connect,
};

const MALFORMED: u8 = 0x81;

/// Not a valid CONNECT: version 5 says so, 3.1.1 closes without a word.
fn refused_as_malformed(version: Version, bytes: &[u8]) {
    let code = refused(version, bytes).map(|ack| ack.code);
    let wanted = (version == Version::V5).then_some(MALFORMED);
    assert_eq!(code, wanted, "{version:?} {bytes:x?}");
}

fn accepted(bytes: &[u8], version: Version) -> Client {
    let mut client = Client::open(address(), version).unwrap();
    client.send_raw(bytes).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::ConnAck(ack) if ack.code == 0 => client,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_packet_has_to_be_connect() {
    for version in BOTH {
        let first = [
            raw::publish(version, b"t", b"x"),
            raw::subscribe(version, b"t", 0),
            raw::unsubscribe(version, b"t"),
            vec![0xC0, 0x00],
            vec![0xE0, 0x00],
            vec![0x40, 0x02, 0x00, 0x01],
            vec![0xF0, 0x00],
        ];
        for bytes in first {
            assert_eq!(refused(version, &bytes), None, "{bytes:x?}");
        }
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    for version in BOTH {
        let id = fresh("twice");
        let mut client = connect(address(), &clean(version, &id));
        let again = Packet::Connect(clean(version, &id).connect);
        client.send(&again).unwrap();
        expect_cut(version, &mut client, &[0x82]);
    }
}

#[test]
fn another_protocol_name_is_not_served() {
    for version in BOTH {
        for name in [&b"mqtt"[..], b"MQT", b"MQTTX", b"HTTP", b""] {
            let mut connect = raw::Connect::new(version, &fresh("name"));
            connect.name = name.to_vec();
            let answer = refused(version, &connect.bytes());
            let code = answer.map_or(0x84, |ack| ack.code);
            assert_eq!(code, 0x84, "{name:?}");
        }
    }
}

#[test]
fn another_protocol_level_is_told_so() {
    for level in [0, 1, 2, 3] {
        let mut connect = raw::Connect::new(Version::V311, &fresh("level"));
        connect.level = level;
        let ack = refused(Version::V311, &connect.bytes()).unwrap();
        assert_eq!(ack.code, 0x01, "{level}");
    }
    for level in [6, 7, 100] {
        let mut connect = raw::Connect::new(Version::V5, &fresh("level"));
        connect.level = level;
        let ack = refused(Version::V5, &connect.bytes()).unwrap();
        assert_eq!(ack.code, 0x84, "{level}");
    }
}

#[test]
fn the_reserved_connect_flag_is_refused() {
    for version in BOTH {
        let connect = raw::Connect::new(version, &fresh("reserved")).with(0x01, &[]);
        refused_as_malformed(version, &connect.bytes());
    }
}

#[test]
fn will_fields_are_there_with_the_will_flag_only() {
    for version in BOTH {
        let id = fresh("will");
        let connect = raw::Connect::new(version, &id);
        // Flag without fields, and without the payload only.
        refused_as_malformed(version, &connect.clone().with(0x04, &[]).bytes());
        if version == Version::V311 {
            refused_as_malformed(version, &connect.clone().with(0x04, &[b"t"]).bytes());
        }
        // Fields without the flag.
        refused_as_malformed(version, &connect.clone().with(0, &[b"t", b"x"]).bytes());
        drop(accepted(&connect.with_will(0, b"t", b"x"), version));
    }
}

#[test]
fn will_qos_and_will_retain_need_the_will_flag() {
    for version in BOTH {
        for flags in [0x08, 0x10, 0x18, 0x20] {
            let connect = raw::Connect::new(version, &fresh("qos")).with(flags, &[]);
            refused_as_malformed(version, &connect.bytes());
        }
    }
}

#[test]
fn will_qos_three_is_refused() {
    for version in BOTH {
        let connect = raw::Connect::new(version, &fresh("three"));
        refused_as_malformed(version, &connect.with_will(0x18, b"t", b"x"));
    }
}

#[test]
fn the_user_name_is_there_if_its_flag_is_set() {
    for version in BOTH {
        let connect = raw::Connect::new(version, &fresh("user"));
        refused_as_malformed(version, &connect.clone().with(0x80, &[]).bytes());
        refused_as_malformed(version, &connect.clone().with(0, &[b"user"]).bytes());
        drop(accepted(&connect.with(0x80, &[b"user"]).bytes(), version));
    }
}

#[test]
fn the_password_is_there_if_its_flag_is_set() {
    for version in BOTH {
        let connect = raw::Connect::new(version, &fresh("pass"));
        refused_as_malformed(version, &connect.clone().with(0xC0, &[b"user"]).bytes());
        let extra = connect.clone().with(0x80, &[b"user", b"word"]);
        refused_as_malformed(version, &extra.bytes());
        let right = connect.with(0xC0, &[b"user", b"\x00\xFF"]);
        drop(accepted(&right.bytes(), version));
    }
}

#[test]
fn a_password_without_user_name_is_for_version_5() {
    let connect = raw::Connect::new(Version::V311, &fresh("lone")).with(0x40, &[b"word"]);
    refused_as_malformed(Version::V311, &connect.bytes());
    let connect = raw::Connect::new(Version::V5, &fresh("lone")).with(0x40, &[b"word"]);
    drop(accepted(&connect.bytes(), Version::V5));
}

#[test]
fn payload_fields_come_in_their_order() {
    for version in BOTH {
        let (id, topic) = (fresh("order"), fresh("order"));
        let mut heir = listener(version, &topic, 0);
        let mut options = clean(version, &id);
        options.connect.username = Some("user".to_owned());
        options.connect.password = Some(b"word".to_vec());
        options.connect.will = Some(bench_harness::codec::Will {
            topic: topic.clone(),
            payload: b"gone".to_vec(),
            ..Default::default()
        });
        drop(connect(address(), &options));
        // In another order topic or payload would be other text.
        let will = heir.expect_publish().unwrap();
        assert_eq!((will.topic, will.payload), (topic, b"gone".to_vec()));
    }
}

#[test]
fn the_client_identifier_names_the_session() {
    for version in BOTH {
        let (one, topic) = (fresh("Session"), fresh("session"));
        let other = one.to_lowercase();
        let mut client = connect(address(), &persistent(version, &one));
        client.subscribe(&topic, 1).unwrap();
        drop(client);
        publish(version, &topic, 1, "kept");
        let client = connect(address(), &persistent(version, &other));
        assert!(!client.connack.session_present, "another identifier");
        let mut client = connect(address(), &persistent(version, &one));
        assert!(client.connack.session_present);
        assert_eq!(client.expect_publish().unwrap().payload, b"kept");
    }
}

#[test]
fn a_connect_without_client_identifier_field_is_refused() {
    for version in BOTH {
        let mut connect = raw::Connect::new(version, "");
        connect.fields.clear();
        refused_as_malformed(version, &connect.bytes());
    }
}

#[test]
fn client_identifiers_of_1_to_23_letters_and_digits_are_allowed() {
    for version in BOTH {
        let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for id in [
            &letters[..1],
            &letters[..23],
            &letters[23..46],
            &letters[39..],
        ] {
            // Two versions use the same identifier one after the other.
            let mut client = connect(address(), &clean(version, id));
            assert_alive(&mut client);
        }
    }
}

#[test]
fn an_empty_client_identifier_is_replaced_by_a_unique_one() {
    for version in BOTH {
        let topic = fresh("nobody");
        let mut first = connect(address(), &clean(version, ""));
        let mut second = connect(address(), &clean(version, ""));
        // Both stay, each with a session of its own.
        first.subscribe(&topic, 0).unwrap();
        assert_alive(&mut second);
        publish(version, &topic, 0, "x");
        assert_eq!(first.expect_publish().unwrap().payload, b"x");
        second.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn an_assigned_client_identifier_is_returned_and_can_be_used() {
    let topic = fresh("assigned");
    let mut options = persistent(Version::V5, "");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut client = connect(address(), &options);
        client.subscribe(&topic, 1).unwrap();
        let assigned = client.connack.properties.find(|p| match p {
            Property::AssignedClientIdentifier(id) => Some(id.clone()),
            _ => None,
        });
        ids.push(assigned.expect("an assigned client identifier"));
    }
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        options.connect.client_id = id;
        assert!(connect(address(), &options).connack.session_present);
    }
}

#[test]
fn in_3_1_1_an_empty_client_identifier_needs_a_clean_session() {
    let mut options = clean(Version::V311, "");
    options.connect.clean_start = false;
    let ack = try_connect(address(), &options).unwrap_err().unwrap();
    assert_eq!(ack.code, 0x02);
}

#[test]
fn what_does_not_conform_is_closed() {
    for version in BOTH {
        let whole = raw::Connect::new(version, &fresh("trailing")).bytes();
        // Bytes behind the last field.
        let mut body = whole[2..].to_vec();
        body.push(0);
        refused_as_malformed(version, &raw::packet(0x10, &body));
        // A field that is longer than the packet.
        let cut = &whole[2..whole.len() - 1];
        refused_as_malformed(version, &raw::packet(0x10, cut));
    }
}

#[test]
fn properties_of_connect_have_their_range() {
    let wrong: [(&[u8], u8); 8] = [
        (&[0x21, 0, 0], 0x82),                         // receive maximum 0
        (&[0x27, 0, 0, 0, 0], 0x82),                   // maximum packet size 0
        (&[0x19, 2], 0x82),                            // request response information 2
        (&[0x17, 2], 0x82),                            // request problem information 2
        (&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], 0x82), // twice
        (&[0x16, 0, 1, b'x'], 0x82),                   // authentication data without a method
        (&[0x24, 1], 0x81),                            // maximum QoS, a server's property
        (&[0x7F, 1], 0x81),                            // no property
    ];
    for (bytes, wanted) in wrong {
        let mut connect = raw::Connect::new(Version::V5, &fresh("range"));
        connect.properties = bytes.to_vec();
        let ack = refused(Version::V5, &connect.bytes()).unwrap();
        assert!(
            [wanted, 0x81, 0x82].contains(&ack.code),
            "{bytes:x?}: {ack:?}"
        );
    }
}

#[test]
fn a_connected_client_with_the_same_identifier_is_cut_off() {
    for version in BOTH {
        let id = fresh("same");
        let mut first = connect(address(), &clean(version, &id));
        let mut second = connect(address(), &clean(version, &id));
        expect_cut(version, &mut first, &[0x8E]);
        assert_alive(&mut second);
    }
}

#[test]
fn an_accepted_connect_is_acknowledged_with_zero() {
    for version in BOTH {
        let client = anyone(version);
        assert_eq!(client.connack.code, 0);
        assert!(!client.connack.session_present);
    }
}

#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    for version in BOTH {
        let topic = fresh("behind");
        let mut witness = subscriber(address(), version, &fresh("witness"), &topic, 1);
        let mut refusals = vec![
            raw::Connect::new(version, &fresh("x"))
                .with(0x01, &[])
                .bytes(),
        ];
        let mut unknown = raw::Connect::new(version, &fresh("x"));
        unknown.level = if version == Version::V5 { 9 } else { 2 };
        refusals.push(unknown.bytes());
        for mut bytes in refusals {
            bytes.extend(raw::publish(version, topic.as_bytes(), b"never"));
            refused(version, &bytes);
        }
        publish(version, &topic, 0, "last");
        assert_eq!(witness.expect_publish().unwrap().payload, b"last");
    }
}

#[test]
fn packets_may_follow_connect_at_once() {
    for version in BOTH {
        let topic = fresh("hasty");
        let mut bytes = raw::Connect::new(version, &fresh("hasty")).bytes();
        bytes.extend(raw::subscribe(version, topic.as_bytes(), 0));
        bytes.extend(raw::publish(version, topic.as_bytes(), b"hello"));
        let mut client = accepted(&bytes, version);
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::SubAck(_))));
        assert_eq!(client.expect_publish().unwrap().payload, b"hello");
    }
}

#[test]
fn user_properties_of_connect_are_accepted() {
    let mut options = clean(Version::V5, &fresh("pairs"));
    let pair = Property::UserProperty("n".to_owned(), "v".to_owned());
    options.connect.properties = Properties(vec![pair.clone(), pair]);
    assert_alive(&mut connect(address(), &options));
}
