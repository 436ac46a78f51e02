//! DISCONNECT (3.14), both ways.

use bench_harness::client::Client;
use bench_harness::codec::{Disconnect, Packet, Properties, Property, Version, Will};

use crate::peer::{PATIENCE, SILENCE, clean, connect, persistent, subscriber};
use crate::raw::{self, packet};
use crate::world::{BOTH, address, anyone, breaks, expect_cut, fresh, publish, refused};

fn with_will(version: Version, topic: &str) -> Client {
    let mut options = clean(version, &fresh("willing"));
    options.connect.will = Some(Will {
        topic: topic.to_owned(),
        payload: b"will".to_vec(),
        ..Will::default()
    });
    connect(address(), &options)
}

/// A will that was published would come before the mark.
fn mark_is_first(version: Version, heir: &mut Client, topic: &str) {
    publish(version, topic, 0, "mark");
    assert_eq!(heir.expect_publish().unwrap().payload, b"mark");
    heir.expect_nothing(SILENCE).unwrap();
}

#[test]
fn reserved_flags_are_malformed() {
    for version in BOTH {
        let topic = fresh("flags");
        let mut heir = subscriber(address(), version, &fresh("heir"), &topic, 0);
        for flags in 1..16 {
            // In 3.1.1 only the will tells that it was no normal end.
            let mut client = with_will(version, &topic);
            client.send_raw(&packet(0xE0 | flags, &[])).unwrap();
            expect_cut(version, &mut client, &[0x81]);
            assert_eq!(heir.expect_publish().unwrap().payload, b"will");
        }
    }
}

#[test]
fn a_malformed_one_is_an_abnormal_end() {
    for version in BOTH {
        let topic = fresh("malformed");
        let mut heir = subscriber(address(), version, &fresh("heir"), &topic, 0);
        let mut client = with_will(version, &topic);
        client.send_raw(&[0xE1, 0x00]).unwrap();
        expect_cut(version, &mut client, &[0x81]);
        assert_eq!(heir.expect_publish().unwrap().payload, b"will");
    }
}

#[test]
fn it_discards_the_will() {
    for version in BOTH {
        let topic = fresh("discard");
        let mut heir = subscriber(address(), version, &fresh("heir"), &topic, 0);
        let mut client = with_will(version, &topic);
        let normal = Packet::Disconnect(Disconnect::default());
        client.send(&normal).unwrap();
        assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
        mark_is_first(version, &mut heir, &topic);
    }
    // The long form says the same.
    let topic = fresh("discard");
    let mut heir = subscriber(address(), Version::V5, &fresh("heir"), &topic, 0);
    let mut client = with_will(Version::V5, &topic);
    client.send_raw(&packet(0xE0, &[0x00, 0x00])).unwrap();
    assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
    mark_is_first(Version::V5, &mut heir, &topic);
}

#[test]
fn another_reason_code_keeps_the_will() {
    for code in [0x04, 0x80, 0x83, 0x99] {
        let topic = fresh("keep");
        let mut heir = subscriber(address(), Version::V5, &fresh("heir"), &topic, 0);
        let mut client = with_will(Version::V5, &topic);
        let disconnect = Disconnect {
            code,
            ..Disconnect::default()
        };
        client.send(&Packet::Disconnect(disconnect)).unwrap();
        client.expect_closed(PATIENCE).unwrap();
        assert_eq!(heir.expect_publish().unwrap().payload, b"will");
    }
}

#[test]
fn nothing_is_processed_after_it() {
    for version in BOTH {
        let topic = fresh("after");
        let mut witness = subscriber(address(), version, &fresh("witness"), &topic, 0);
        let mut client = anyone(version);
        let mut bytes = vec![0xE0, 0x00];
        bytes.extend(raw::publish(version, topic.as_bytes(), b"never"));
        client.send_raw(&bytes).unwrap();
        client.expect_closed(PATIENCE).unwrap();
        publish(version, &topic, 0, "mark");
        assert_eq!(witness.expect_publish().unwrap().payload, b"mark");
    }
}

#[test]
fn the_server_sends_none_before_connack() {
    // `refused` takes a CONNACK or an end, nothing else.
    for bytes in [
        raw::publish(Version::V5, b"t", b"x"),
        vec![0xC0, 0x00],
        vec![0x00, 0x00],
        raw::Connect::new(Version::V5, &fresh("x"))
            .with(1, &[])
            .bytes(),
        packet(0x10, &[0xFF; 20]),
    ] {
        refused(Version::V5, &bytes);
    }
}

#[test]
fn the_servers_has_a_code_and_no_session_expiry_and_is_the_last() {
    let causes: [(&[u8], u8); 4] = [
        (&[0xC1, 0x00], 0x81),
        (&[0x32, 0x05, 0x00, 0x01, b't', 0x00, 0x00], 0x82),
        (&[0xD0, 0x00], 0x82),
        (&[0x30, 0x05, 0x00, 0x01, b'#', 0x00, b'x'], 0x90),
    ];
    for (bytes, _) in causes {
        let mut client = connect(address(), &persistent(Version::V5, &fresh("cut")));
        client.send_raw(bytes).unwrap();
        // A packet behind it would be an error of `expect_closed`; the codec knows the codes.
        let farewell = client.expect_closed(PATIENCE).unwrap().unwrap();
        assert!(farewell.code >= 0x80, "{farewell:?}");
        let expiry = |p: &Property| matches!(p, Property::SessionExpiryInterval(_));
        assert!(!farewell.properties.0.iter().any(expiry), "{farewell:?}");
    }
}

#[test]
fn it_may_change_the_session_expiry() {
    let id = fresh("change");
    let mut client = connect(address(), &persistent(Version::V5, &id));
    let disconnect = Disconnect {
        properties: Properties(vec![Property::SessionExpiryInterval(0)]),
        ..Disconnect::default()
    };
    client.send(&Packet::Disconnect(disconnect)).unwrap();
    client.expect_closed(PATIENCE).unwrap();
    let client = connect(address(), &persistent(Version::V5, &id));
    assert!(!client.connack.session_present);
}

#[test]
fn it_may_not_make_a_session_outlive_a_connection_that_began_with_zero() {
    let id = fresh("outlive");
    let mut client = connect(address(), &clean(Version::V5, &id));
    let disconnect = Disconnect {
        properties: Properties(vec![Property::SessionExpiryInterval(100)]),
        ..Disconnect::default()
    };
    client.send(&Packet::Disconnect(disconnect)).unwrap();
    expect_cut(Version::V5, &mut client, &[0x82]);
    let client = connect(address(), &persistent(Version::V5, &id));
    assert!(!client.connack.session_present);
}

#[test]
fn other_codes_are_refused() {
    for code in [0x01, 0x8E, 0x93 + 0x20, 0xFF] {
        let mut client = anyone(Version::V5);
        client.send_raw(&packet(0xE0, &[code])).unwrap();
        let ended = client.expect_closed(PATIENCE).unwrap();
        if let Some(farewell) = ended {
            assert!([0x81, 0x82].contains(&farewell.code), "{farewell:?}");
        }
    }
}

#[test]
fn in_3_1_1_it_has_no_body() {
    breaks(Version::V311, &packet(0xE0, &[0x00]), &[]);
}
