//! SUBSCRIBE and SUBACK (3.8, 3.9): the packets.

use bench_harness::codec::{Packet, Property, Subscribe, SubscriptionOptions, Version};

use crate::peer::{PATIENCE, collect, subscribe_with, texts};
use crate::raw::{self, packet};
use crate::world::{BOTH, anyone, breaks, fresh, publish, subscribe_all};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

#[test]
fn other_flags_are_malformed() {
    for version in BOTH {
        let bytes = raw::subscribe(version, b"f", 0);
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut wrong = bytes.clone();
            wrong[0] = 0x80 | flags;
            breaks(version, &wrong, &[MALFORMED]);
        }
    }
}

#[test]
fn filters_are_text() {
    for version in BOTH {
        for bad in [&b"\xFF"[..], b"\xED\xA0\x80", b"a\0"] {
            breaks(version, &raw::subscribe(version, bad, 0), &[MALFORMED]);
        }
    }
}

#[test]
fn at_least_one_filter() {
    for version in BOTH {
        let body = [vec![0, 1], raw::properties(version, &[])].concat();
        let codes = [MALFORMED, PROTOCOL_ERROR];
        breaks(version, &packet(0x82, &body), &codes);
        // A filter without its options.
        let body = [body, raw::field(b"f")].concat();
        breaks(version, &packet(0x82, &body), &codes);
    }
}

#[test]
fn reserved_bits_and_qos_three_are_malformed() {
    for version in BOTH {
        let codes = [MALFORMED, PROTOCOL_ERROR];
        breaks(version, &raw::subscribe(version, b"f", 0x03), &codes);
        for options in [0x40, 0x80, 0xC0] {
            breaks(
                version,
                &raw::subscribe(version, b"f", options),
                &[MALFORMED],
            );
        }
    }
    for options in [0x04, 0x08, 0x10, 0x20] {
        breaks(
            Version::V311,
            &raw::subscribe(Version::V311, b"f", options),
            &[],
        );
    }
}

#[test]
fn retain_handling_three_is_refused() {
    let bytes = raw::subscribe(Version::V5, b"f", 0x30);
    breaks(Version::V5, &bytes, &[MALFORMED, PROTOCOL_ERROR]);
}

#[test]
fn no_local_on_a_shared_subscription_is_refused() {
    let bytes = raw::subscribe(Version::V5, b"$share/group/f", 0x04);
    breaks(Version::V5, &bytes, &[PROTOCOL_ERROR]);
}

#[test]
fn it_is_acknowledged_with_its_identifier() {
    for version in BOTH {
        let mut client = anyone(version);
        for id in [1_u16, 500, 0xFFFF] {
            let subscribe = Subscribe {
                packet_id: id,
                filters: vec![(fresh("f"), SubscriptionOptions::qos(0))],
                ..Subscribe::default()
            };
            client.send(&Packet::Subscribe(subscribe)).unwrap();
            match client.expect(PATIENCE).unwrap() {
                Packet::SubAck(ack) => assert_eq!(ack.packet_id, id),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn several_filters_have_one_suback_with_a_code_each_in_order() {
    for version in BOTH {
        let base = fresh("several");
        let filters: Vec<String> = (0..6).map(|n| format!("{base}/{n}")).collect();
        let wanted = [2, 0, 1, 0, 2, 1];
        let with_qos: Vec<(&str, SubscriptionOptions)> = filters
            .iter()
            .zip(wanted)
            .map(|(f, qos)| (f.as_str(), SubscriptionOptions::qos(qos)))
            .collect();
        let mut client = anyone(version);
        assert_eq!(subscribe_all(&mut client, &with_qos), wanted);
        // Each is a subscription of its own.
        for (filter, qos) in filters.iter().zip(wanted) {
            publish(version, filter, 2, filter);
            let got = collect(&mut client, 1);
            assert_eq!((got[0].qos, texts(&got)), (qos, vec![filter.clone()]));
        }
    }
}

#[test]
fn codes_tell_success_and_failure_apart() {
    for version in BOTH {
        let base = fresh("codes");
        let (good, bad, last) = (base.clone(), format!("{base}/#/x"), format!("{base}/y"));
        let qos = SubscriptionOptions::qos;
        // A filter that is wrong may end the connection; if not, it alone fails.
        let mut client = anyone(version);
        let filters = [&good, &bad, &last].map(|f| (f.clone(), qos(1)));
        let subscribe = Subscribe {
            packet_id: 1,
            filters: filters.to_vec(),
            ..Subscribe::default()
        };
        client.send(&Packet::Subscribe(subscribe)).unwrap();
        match client.expect(PATIENCE) {
            Ok(Packet::SubAck(ack)) => {
                assert_eq!((ack.codes[0], ack.codes[2]), (1, 1));
                let failure = if version == Version::V5 { 0x8F } else { 0x80 };
                assert_eq!(ack.codes[1], failure);
            }
            Ok(Packet::Disconnect(farewell)) => {
                assert!([0x8F, 0x81, 0x82].contains(&farewell.code));
            }
            Err(bench_harness::client::Error::Closed) => assert_eq!(version, Version::V311),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn subscription_identifiers_have_their_range() {
    let mut client = anyone(Version::V5);
    let options = SubscriptionOptions::qos(0);
    for id in [1, 127, 128, 268_435_455] {
        let property = vec![Property::SubscriptionIdentifier(id)];
        assert_eq!(
            subscribe_with(&mut client, &fresh("f"), options, property),
            0
        );
    }
    for properties in [&[0x0B, 0][..], &[0x0B, 1, 0x0B, 2], &[0x02, 0, 0, 0, 1]] {
        let body = [
            vec![0, 1],
            raw::properties(Version::V5, properties),
            raw::field(b"f"),
            vec![0],
        ]
        .concat();
        let codes = [MALFORMED, PROTOCOL_ERROR];
        breaks(Version::V5, &packet(0x82, &body), &codes);
    }
}

#[test]
fn shared_subscriptions_are_granted_as_announced() {
    // Either they are offered and work, or CONNACK says no and so does the SUBACK.
    let mut client = anyone(Version::V5);
    let offered = client.connack.properties.find(|p| match p {
        Property::SharedSubscriptionAvailable(yes) => Some(*yes == 1),
        _ => None,
    });
    let code = client.subscribe("$share/group/f", 1).unwrap();
    if offered.unwrap_or(true) {
        assert_eq!(code, 1);
    } else {
        assert_eq!(code, 0x9E);
    }
}

#[test]
fn the_same_filter_twice_in_one_packet_is_replaced_within_it() {
    for version in BOTH {
        let topic = fresh("twice");
        let mut client = anyone(version);
        let qos = SubscriptionOptions::qos;
        let filters = [(topic.as_str(), qos(0)), (topic.as_str(), qos(2))];
        assert_eq!(subscribe_all(&mut client, &filters), [0, 2]);
        publish(version, &topic, 2, "x");
        assert_eq!(collect(&mut client, 1)[0].qos, 2);
        client.expect_nothing(crate::peer::SILENCE).unwrap();
    }
}
