//! Chapters 1 and 2: text, integers, flags, packet identifiers.

use std::io::Read;

use bench_harness::codec::{Packet, Properties, Property, Publish, UnsubAck, Unsubscribe, Version};

use crate::peer::{PATIENCE, SILENCE, collect, message, subscribe_with};
use crate::raw::{self, packet};
use crate::world::{
    BOTH, address, anyone, assert_alive, breaks, fresh, listener, puback, pubrec, refused, release,
    send, with_qos,
};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// Sends text in every place that a client's text may stand: all have to be refused.
fn refused_as_text(version: Version, bad: &[u8]) {
    breaks(version, &raw::publish(version, bad, b"x"), &[MALFORMED]);
    breaks(version, &raw::subscribe(version, bad, 0), &[MALFORMED]);
    breaks(version, &raw::unsubscribe(version, bad), &[MALFORMED]);
    let mut connect = raw::Connect::new(version, "");
    connect.fields[0] = bad.to_vec();
    refused_as_malformed(version, &connect.bytes());
    let connect = raw::Connect::new(version, &fresh("text"));
    refused_as_malformed(version, &connect.clone().with(0x80, &[bad]).bytes());
    refused_as_malformed(version, &connect.with_will(0, bad, b"x"));
}

fn refused_as_malformed(version: Version, bytes: &[u8]) {
    let code = refused(version, bytes).map(|ack| ack.code);
    let wanted = (version == Version::V5).then_some(MALFORMED);
    assert_eq!(code, wanted, "{version:?} {bytes:x?}");
}

#[test]
fn ill_formed_utf8_is_refused() {
    for version in BOTH {
        for bad in [
            &b"a\xC3\x28"[..],
            b"\xED\xA0\x80",
            b"\xF4\x90\x80\x80",
            b"a\x80",
            b"\xC0\xAF",
        ] {
            refused_as_text(version, bad);
        }
    }
}

#[test]
fn the_null_character_is_refused() {
    for version in BOTH {
        refused_as_text(version, b"a\0b");
    }
}

#[test]
fn a_byte_order_mark_is_a_character_like_others() {
    for version in BOTH {
        let plain = fresh("bom");
        let marked = format!("\u{FEFF}{plain}");
        let mut with = listener(version, &marked, 0);
        let mut without = listener(version, &plain, 0);
        let mut publisher = anyone(version);
        publisher.publish(&marked, 0, b"marked").unwrap();
        publisher.publish(&plain, 0, b"plain").unwrap();
        let got = with.expect_publish().unwrap();
        assert_eq!((got.topic, got.payload), (marked, b"marked".to_vec()));
        let got = without.expect_publish().unwrap();
        assert_eq!((got.topic, got.payload), (plain, b"plain".to_vec()));
        with.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn integers_have_their_shortest_form() {
    // Received: a PINGREQ whose length takes two bytes, a property length that takes two.
    breaks(Version::V5, &[0xC0, 0x80, 0x00], &[MALFORMED]);
    let body = [raw::field(b"t"), vec![0x80, 0x00]].concat();
    breaks(Version::V5, &packet(0x30, &body), &[MALFORMED]);
    // Five bytes are too many in any version.
    for version in BOTH {
        breaks(version, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[MALFORMED]);
    }
    // Sent: lengths on both sides of each limit; the codec accepts nothing but the shortest form.
    let topic = fresh("length");
    let overhead = 2 + topic.len() + 1;
    let mut subscriber = listener(Version::V5, &topic, 0);
    let mut publisher = anyone(Version::V5);
    for length in [127, 128, 16_383, 16_384] {
        let payload = vec![b'x'; length - overhead];
        publisher.publish(&topic, 0, &payload).unwrap();
        assert_eq!(subscriber.expect_publish().unwrap().payload, payload);
    }
}

#[test]
fn both_strings_of_a_user_property_are_text() {
    for bad in [&b"\xC3\x28"[..], b"a\0"] {
        for pair in [[bad, b"v"], [b"n", bad]] {
            let property = [vec![0x26], raw::field(pair[0]), raw::field(pair[1])].concat();
            let publish = raw::publish_with(Version::V5, b"t", &property, b"x");
            breaks(Version::V5, &publish, &[MALFORMED]);
        }
    }
}

#[test]
fn reserved_flags_of_the_fixed_header_are_refused() {
    for version in BOTH {
        let no_properties = raw::properties(version, &[]);
        let filter = [vec![0, 1], no_properties, raw::field(b"f")].concat();
        let subscription = [&filter[..], &[0]].concat();
        let packets: [(u8, &[u8], u8); 8] = [
            (0x40, &[0, 1], 0),
            (0x50, &[0, 1], 0),
            (0x60, &[0, 1], 2),
            (0x70, &[0, 1], 0),
            (0x80, &subscription, 2),
            (0xA0, &filter, 2),
            (0xC0, &[], 0),
            (0xE0, &[], 0),
        ];
        for (kind, body, right) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                breaks(version, &packet(kind | flags, body), &[MALFORMED]);
            }
        }
    }
}

#[test]
fn flags_of_connect_are_refused() {
    for version in BOTH {
        for flags in 1..16 {
            let mut bytes = raw::Connect::new(version, &fresh("flags")).bytes();
            bytes[0] |= flags;
            assert_eq!(refused(version, &bytes), None);
        }
    }
}

#[test]
fn packet_types_that_do_not_exist_are_refused() {
    for version in BOTH {
        breaks(version, &[0x00, 0x00], &[MALFORMED, PROTOCOL_ERROR]);
        // What only a server sends.
        for kind in [0x20, 0x90, 0xB0, 0xD0] {
            breaks(
                version,
                &packet(kind, &[0, 1]),
                &[MALFORMED, PROTOCOL_ERROR],
            );
        }
    }
    breaks(Version::V311, &packet(0xF0, &[]), &[]);
}

#[test]
fn packet_identifier_zero_is_refused() {
    for version in BOTH {
        let none = raw::properties(version, &[]);
        let filter = raw::field(fresh("zero").as_bytes());
        let codes = [MALFORMED, PROTOCOL_ERROR];
        let subscribe = [&[0, 0][..], &none, &filter, &[0]].concat();
        breaks(version, &packet(0x82, &subscribe), &codes);
        let unsubscribe = [&[0, 0][..], &none, &filter].concat();
        breaks(version, &packet(0xA2, &unsubscribe), &codes);
        for first in [0x32, 0x34] {
            let publish = [&filter[..], &[0, 0], &none].concat();
            breaks(version, &packet(first, &publish), &codes);
        }
    }
}

#[test]
fn identifiers_to_a_client_are_not_zero_and_not_in_use() {
    for version in BOTH {
        let topic = fresh("used");
        let mut subscriber = listener(version, &topic, 2);
        let mut publisher = anyone(version);
        let mut ids = Vec::new();
        for number in 0..20 {
            publisher.publish(&topic, 1 + number % 2, b"x").unwrap();
            // Nothing is acknowledged, so all of them stay in use.
            ids.push(subscriber.expect_publish().unwrap().packet_id.unwrap());
        }
        assert!(!ids.contains(&0));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 20, "{ids:?}");
    }
}

#[test]
fn qos_0_has_no_packet_identifier() {
    for version in BOTH {
        let topic = fresh("bare");
        let mut subscriber = listener(version, &topic, 2);
        // If an identifier were read here, the payload would lose two bytes.
        let mut publisher = anyone(version);
        publisher.publish(&topic, 0, &[0, 1, 2]).unwrap();
        let none = raw::properties(version, &[]);
        let body = [raw::field(topic.as_bytes()), none, vec![0, 1, 2]].concat();
        let expected = packet(0x30, &body);
        subscriber
            .stream()
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        let mut got = vec![0; expected.len()];
        subscriber.stream().read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
        assert_alive(&mut subscriber);
    }
}

#[test]
fn acknowledgements_repeat_the_packet_identifier() {
    for version in BOTH {
        let topic = fresh("ids");
        let mut client = anyone(version);
        for id in [1, 0x1234, 0xFFFF] {
            send(&mut client, with_qos(message(&topic, "one"), 1, id));
            assert_eq!(puback(&mut client).0, id);
            send(&mut client, with_qos(message(&topic, "two"), 2, id));
            assert_eq!(pubrec(&mut client).0, id);
            release(&mut client, id);
        }
    }
}

#[test]
fn suback_and_unsuback_repeat_the_packet_identifier() {
    for version in BOTH {
        let mut client = anyone(version);
        for id in [7_u16, 0xABCD, 0xFFFF] {
            let mut bytes = raw::subscribe(version, fresh("f").as_bytes(), 1);
            bytes[2..4].copy_from_slice(&id.to_be_bytes());
            client.send_raw(&bytes).unwrap();
            let Packet::SubAck(ack) = client.expect(PATIENCE).unwrap() else {
                panic!("no SUBACK");
            };
            assert_eq!((ack.packet_id, ack.codes), (id, vec![1]));
            let unsubscribe = Unsubscribe {
                packet_id: id,
                filters: vec![fresh("f")],
                ..Unsubscribe::default()
            };
            client.send(&Packet::Unsubscribe(unsubscribe)).unwrap();
            let Packet::UnsubAck(UnsubAck { packet_id, .. }) = client.expect(PATIENCE).unwrap()
            else {
                panic!("no UNSUBACK");
            };
            assert_eq!(packet_id, id);
        }
    }
}

#[test]
fn no_properties_are_a_length_of_zero() {
    let topic = fresh("empty");
    let subscriber = listener(Version::V5, &topic, 0);
    anyone(Version::V5).publish(&topic, 0, b"").unwrap();
    let expected = packet(0x30, &[raw::field(topic.as_bytes()), vec![0]].concat());
    subscriber
        .stream()
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let mut got = vec![0; expected.len()];
    subscriber.stream().read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
    // A PUBLISH that ends before its property length is malformed.
    let missing = packet(0x30, &raw::field(topic.as_bytes()));
    breaks(Version::V5, &missing, &[MALFORMED]);
}

#[test]
fn a_property_length_beyond_the_packet_is_malformed() {
    let body = [raw::field(b"t"), vec![5, 0x01]].concat();
    breaks(Version::V5, &packet(0x30, &body), &[MALFORMED]);
}

#[test]
fn a_stream_is_cut_into_packets_wherever_it_was_cut() {
    for version in BOTH {
        let topic = fresh("stream");
        let mut bytes = raw::Connect::new(version, &fresh("slow")).bytes();
        bytes.extend(raw::subscribe(version, topic.as_bytes(), 0));
        bytes.extend(raw::publish(version, topic.as_bytes(), b"one"));
        let mut client = bench_harness::client::Client::open(address(), version).unwrap();
        for byte in &bytes {
            client.send_raw(&[*byte]).unwrap();
        }
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::ConnAck(_))));
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::SubAck(_))));
        assert_eq!(client.expect_publish().unwrap().payload, b"one");
        let many = raw::publish(version, topic.as_bytes(), b"many").repeat(50);
        client.send_raw(&many).unwrap();
        assert_eq!(collect(&mut client, 50).len(), 50);
    }
}

#[test]
fn user_properties_may_repeat_and_text_is_kept() {
    let topic = fresh("pairs");
    let mut subscriber = anyone(Version::V5);
    subscribe_with(
        &mut subscriber,
        &topic,
        bench_harness::codec::SubscriptionOptions::qos(0),
        vec![],
    );
    let pairs = vec![
        Property::UserProperty("\u{FEFF}n".to_owned(), "\u{1F600}".to_owned()),
        Property::UserProperty("\u{FEFF}n".to_owned(), String::new()),
    ];
    let publish = Publish {
        properties: Properties(pairs.clone()),
        ..message(&topic, "x")
    };
    let mut publisher = anyone(Version::V5);
    send(&mut publisher, publish);
    assert_eq!(subscriber.expect_publish().unwrap().properties.0, pairs);
}
