//! UNSUBSCRIBE and UNSUBACK (3.10, 3.11).

use bench_harness::codec::{Packet, SubscriptionOptions, Version};

use crate::peer::{SILENCE, collect, connect, persistent, success, texts};
use crate::raw::{self, packet};
use crate::world::{
    BOTH, address, anyone, assert_alive, breaks, fresh, listener, publish, publish_all,
    subscribe_all, unsubscribe_all,
};

const MALFORMED: u8 = 0x81;

/// The codes of version 5; an UNSUBACK of 3.1.1 has none.
fn codes(version: Version, codes: &[u8]) -> Vec<u8> {
    if version == Version::V5 {
        codes.to_vec()
    } else {
        Vec::new()
    }
}

#[test]
fn other_flags_are_malformed() {
    for version in BOTH {
        let bytes = raw::unsubscribe(version, b"f");
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut wrong = bytes.clone();
            wrong[0] = 0xA0 | flags;
            breaks(version, &wrong, &[MALFORMED]);
        }
    }
}

#[test]
fn filters_are_text() {
    for version in BOTH {
        for bad in [&b"\xFF"[..], b"\xED\xA0\x80", b"a\0"] {
            breaks(version, &raw::unsubscribe(version, bad), &[MALFORMED]);
        }
    }
}

#[test]
fn at_least_one_filter() {
    for version in BOTH {
        let body = [vec![0, 1], raw::properties(version, &[])].concat();
        breaks(version, &packet(0xA2, &body), &[MALFORMED, 0x82]);
    }
}

#[test]
fn filters_are_compared_character_by_character() {
    for version in BOTH {
        let base = fresh("Exact");
        let filter = format!("{base}/+");
        let mut client = listener(version, &filter, 1);
        let others = [
            format!("{base}/#"),
            format!("{base}/a"),
            format!("{base}/+/"),
            filter.to_lowercase(),
        ];
        for other in &others {
            let answer = unsubscribe_all(&mut client, &[other]);
            assert_eq!(answer, codes(version, &[0x11]), "{other}");
        }
        publish(version, &format!("{base}/a"), 1, "still");
        assert_eq!(texts(&collect(&mut client, 1)), ["still"]);
        let answer = unsubscribe_all(&mut client, &[&filter]);
        assert_eq!(answer, codes(version, &[0]));
        publish(version, &format!("{base}/a"), 1, "no more");
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn no_new_message_is_added_after_it() {
    for version in BOTH {
        let (id, topic) = (fresh("stop"), fresh("stop"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 1).unwrap();
        unsubscribe_all(&mut client, &[&topic]);
        publish(version, &topic, 1, "here");
        client.expect_nothing(SILENCE).unwrap();
        drop(client);
        publish(version, &topic, 1, "away");
        let mut client = connect(address(), &persistent(version, &id));
        assert!(client.connack.session_present);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn deliveries_that_have_begun_are_completed() {
    for version in BOTH {
        let (id, topic) = (fresh("begun"), fresh("begun"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        publish_all(version, &topic, [(1, "one"), (2, "two")]);
        let one = client.expect_publish().unwrap();
        let two = client.expect_publish().unwrap();
        unsubscribe_all(&mut client, &[&topic]);
        // The exchange of QoS 2 goes on.
        let rec = Packet::PubRec(success(two.packet_id.unwrap()));
        client.send(&rec).unwrap();
        assert_eq!(crate::world::pubrel(&mut client), two.packet_id.unwrap());
        drop(client);
        // What has not been acknowledged comes again.
        let mut client = connect(address(), &persistent(version, &id));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            match client.expect(crate::peer::PATIENCE).unwrap() {
                Packet::Publish(again) => {
                    assert_eq!((again.packet_id, again.dup), (one.packet_id, true));
                    kinds.push(1);
                }
                Packet::PubRel(ack) => {
                    assert_eq!(Some(ack.packet_id), two.packet_id);
                    kinds.push(2);
                }
                other => panic!("{other:?}"),
            }
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [1, 2]);
    }
}

#[test]
fn it_is_acknowledged_even_if_nothing_is_deleted() {
    for version in BOTH {
        let mut client = anyone(version);
        // The helper checks the identifier.
        let answer = unsubscribe_all(&mut client, &[&fresh("never")]);
        assert_eq!(answer, codes(version, &[0x11]));
        assert_alive(&mut client);
    }
}

#[test]
fn several_filters_have_one_unsuback_in_their_order() {
    for version in BOTH {
        let base = fresh("several");
        let topics: Vec<String> = (0..4).map(|n| format!("{base}/{n}")).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut client = anyone(version);
        let filters: Vec<(&str, SubscriptionOptions)> = [0, 2, 3]
            .map(|n| (names[n], SubscriptionOptions::qos(1)))
            .to_vec();
        subscribe_all(&mut client, &filters);
        let answer = unsubscribe_all(&mut client, &[names[2], names[1], names[0]]);
        assert_eq!(answer, codes(version, &[0x00, 0x11, 0x00]));
        for topic in &topics {
            publish(version, topic, 1, topic);
        }
        assert_eq!(texts(&collect(&mut client, 1)), [names[3]]);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn properties_that_do_not_belong_are_refused() {
    let bytes = raw::properties(Version::V5, &[0x0B, 1]);
    let body = [vec![0, 1], bytes, raw::field(b"f")].concat();
    breaks(Version::V5, &packet(0xA2, &body), &[MALFORMED, 0x82]);
}

#[test]
fn the_same_filter_twice_is_deleted_once() {
    for version in BOTH {
        let topic = fresh("twice");
        let mut client = listener(version, &topic, 1);
        let answer = unsubscribe_all(&mut client, &[&topic, &topic]);
        assert_eq!(answer, codes(version, &[0x00, 0x11]));
        publish(version, &topic, 1, "x");
        client.expect_nothing(SILENCE).unwrap();
    }
}
