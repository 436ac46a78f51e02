//! QoS 2 (4.3.3), both ways.

use std::time::Duration;

use bench_harness::client::Client;
use bench_harness::codec::{Ack, Packet, Properties, Property, Publish, Version};

use crate::peer::{PATIENCE, SILENCE, collect, connect, message, persistent, success, texts};
use crate::raw;
use crate::world::{
    BOTH, address, anyone, assert_alive, breaks, fresh, listener, pubcomp, publish, pubrec, pubrel,
    release, send, with_qos,
};

/// A persistent client that has received one message of QoS 2 and not answered.
fn holder(version: Version, text: &str) -> (String, Client, Publish) {
    let (id, topic) = (fresh("holder"), fresh("holder"));
    let mut client = connect(address(), &persistent(version, &id));
    client.subscribe(&topic, 2).unwrap();
    publish(version, &topic, 2, text);
    let got = client.expect_publish().unwrap();
    assert_eq!((got.qos, got.dup), (2, false));
    (id, client, got)
}

fn back(version: Version, id: &str) -> Client {
    let client = connect(address(), &persistent(version, id));
    assert!(client.connack.session_present);
    client
}

#[test]
fn new_messages_have_an_unused_identifier_and_no_dup() {
    for version in BOTH {
        let topic = fresh("new");
        let mut subscriber = listener(version, &topic, 2);
        let mut publisher = anyone(version);
        let mut open = Vec::new();
        for number in 0..10 {
            publisher.publish(&topic, 2, b"x").unwrap();
            let got = subscriber.expect_publish().unwrap();
            assert_eq!((got.qos, got.dup), (2, false));
            let id = got.packet_id.unwrap();
            assert!(id != 0 && !open.contains(&id), "{id} is in use: {open:?}");
            open.push(id);
            if number % 2 == 0 {
                // Until PUBCOMP it stays in use.
                subscriber.send(&Packet::PubRec(success(id))).unwrap();
                assert_eq!(pubrel(&mut subscriber), id);
            }
        }
    }
}

#[test]
fn without_pubrec_the_publish_comes_again() {
    for version in BOTH {
        let (id, client, first) = holder(version, "x");
        drop(client);
        let again = back(version, &id).expect_publish().unwrap();
        assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
        assert_eq!(again.payload, b"x");
    }
}

#[test]
fn pubrec_is_answered_with_pubrel() {
    for version in BOTH {
        let (_, mut client, first) = holder(version, "x");
        let id = first.packet_id.unwrap();
        client.send(&Packet::PubRec(success(id))).unwrap();
        assert_eq!(pubrel(&mut client), id);
        client.send(&Packet::PubComp(success(id))).unwrap();
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn without_pubcomp_the_pubrel_comes_again_and_never_the_publish() {
    for version in BOTH {
        let (id, mut client, first) = holder(version, "x");
        let packet_id = first.packet_id.unwrap();
        client.send(&Packet::PubRec(success(packet_id))).unwrap();
        assert_eq!(pubrel(&mut client), packet_id);
        drop(client);
        for _ in 0..2 {
            let mut client = back(version, &id);
            assert_eq!(pubrel(&mut client), packet_id);
            client.expect_nothing(SILENCE).unwrap();
        }
        let mut client = back(version, &id);
        assert_eq!(pubrel(&mut client), packet_id);
        client.send(&Packet::PubComp(success(packet_id))).unwrap();
        assert_alive(&mut client);
        drop(client);
        back(version, &id).expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn a_repeated_pubrec_gets_pubrel_again() {
    for version in BOTH {
        let (_, mut client, first) = holder(version, "x");
        let id = first.packet_id.unwrap();
        for _ in 0..2 {
            client.send(&Packet::PubRec(success(id))).unwrap();
            assert_eq!(pubrel(&mut client), id);
        }
    }
}

#[test]
fn a_negative_pubrec_ends_the_exchange() {
    let (id, mut client, first) = holder(Version::V5, "x");
    let refusal = Ack {
        packet_id: first.packet_id.unwrap(),
        code: 0x97,
        ..Ack::default()
    };
    client.send(&Packet::PubRec(refusal)).unwrap();
    client.expect_nothing(SILENCE).unwrap();
    drop(client);
    back(Version::V5, &id).expect_nothing(SILENCE).unwrap();
}

#[test]
fn a_message_once_sent_does_not_expire() {
    let (id, topic) = (fresh("sent"), fresh("sent"));
    let mut client = connect(address(), &persistent(Version::V5, &id));
    client.subscribe(&topic, 2).unwrap();
    let expiring = Publish {
        properties: Properties(vec![Property::MessageExpiryInterval(1)]),
        ..with_qos(message(&topic, "x"), 2, 1)
    };
    let mut publisher = anyone(Version::V5);
    send(&mut publisher, expiring);
    assert_eq!(pubrec(&mut publisher).0, 1);
    let first = client.expect_publish().unwrap();
    drop(client);
    std::thread::sleep(Duration::from_millis(1500));
    let again = back(Version::V5, &id).expect_publish().unwrap();
    assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
    // The other half: what has expired meanwhile is still released in order.
    assert_eq!(release(&mut publisher, 1), 0);
}

#[test]
fn the_exchange_goes_on_after_the_message_has_expired() {
    let topic = fresh("expired");
    let mut publisher = anyone(Version::V5);
    let mut subscriber = listener(Version::V5, &topic, 2);
    let expiring = Publish {
        properties: Properties(vec![Property::MessageExpiryInterval(1)]),
        ..with_qos(message(&topic, "x"), 2, 5)
    };
    send(&mut publisher, expiring.clone());
    assert_eq!(pubrec(&mut publisher), (5, 0));
    std::thread::sleep(Duration::from_millis(1500));
    let again = Publish {
        dup: true,
        ..expiring
    };
    send(&mut publisher, again);
    assert_eq!(pubrec(&mut publisher), (5, 0));
    assert_eq!(release(&mut publisher, 5), 0);
    assert_eq!(collect(&mut subscriber, 1).len(), 1);
}

#[test]
fn a_publish_is_answered_with_pubrec_and_owned() {
    for version in BOTH {
        let (id, topic) = (fresh("owned"), fresh("owned"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        drop(client);
        let mut publisher = anyone(version);
        send(&mut publisher, with_qos(message(&topic, "x"), 2, 0x0304));
        assert_eq!(pubrec(&mut publisher), (0x0304, 0));
        drop(publisher);
        let mut client = back(version, &id);
        assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
    }
}

#[test]
fn a_repeated_publish_is_delivered_once() {
    for version in BOTH {
        let (id, topic) = (fresh("once"), fresh("once"));
        let mut subscriber = listener(version, &topic, 2);
        let mut publisher = connect(address(), &persistent(version, &id));
        let first = with_qos(message(&topic, "x"), 2, 3);
        send(&mut publisher, first.clone());
        assert_eq!(pubrec(&mut publisher), (3, 0));
        let again = Publish { dup: true, ..first };
        send(&mut publisher, again.clone());
        assert_eq!(pubrec(&mut publisher), (3, 0));
        drop(publisher);
        // The identifier is remembered by the session, not by the connection.
        let mut publisher = back(version, &id);
        send(&mut publisher, again);
        assert_eq!(pubrec(&mut publisher), (3, 0));
        assert_eq!(release(&mut publisher, 3), 0);
        assert_eq!(collect(&mut subscriber, 1).len(), 1);
        subscriber.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn pubrel_is_answered_with_pubcomp() {
    for version in BOTH {
        let mut client = anyone(version);
        for id in [1, 0xFFFF] {
            send(&mut client, with_qos(message(&fresh("rel"), "x"), 2, id));
            assert_eq!(pubrec(&mut client).0, id);
            assert_eq!(release(&mut client, id), 0);
        }
        // Also when nothing is known of it; version 5 has a code for that.
        client.send(&Packet::PubRel(success(99))).unwrap();
        let (id, code) = pubcomp(&mut client);
        assert_eq!(id, 99);
        let wanted = if version == Version::V5 { 0x92 } else { 0 };
        assert_eq!(code, wanted);
    }
}

#[test]
fn a_released_identifier_is_a_new_publication() {
    for version in BOTH {
        let topic = fresh("reuse");
        let mut subscriber = listener(version, &topic, 2);
        let mut publisher = anyone(version);
        for (text, dup) in [("a", false), ("b", true)] {
            let publish = Publish {
                dup,
                ..with_qos(message(&topic, text), 2, 4)
            };
            send(&mut publisher, publish);
            assert_eq!(pubrec(&mut publisher).0, 4);
            assert_eq!(release(&mut publisher, 4), 0);
        }
        assert_eq!(texts(&collect(&mut subscriber, 2)), ["a", "b"]);
    }
}

#[test]
fn flags_of_pubrel_are_refused() {
    for version in BOTH {
        for flags in (0..16).filter(|flags| *flags != 2) {
            breaks(version, &raw::packet(0x60 | flags, &[0, 1]), &[0x81]);
        }
    }
}

#[test]
fn an_unknown_pubrec_gets_pubrel_or_its_code() {
    let mut client = anyone(Version::V5);
    client.send(&Packet::PubRec(success(55))).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::PubRel(ack) => assert_eq!((ack.packet_id, ack.code), (55, 0x92)),
        other => panic!("{other:?}"),
    }
    client.send(&Packet::PubComp(success(56))).unwrap();
    assert_alive(&mut client);
}

#[test]
fn acknowledgements_with_other_codes_are_refused() {
    for (first, code) in [(0x40, 0x01), (0x50, 0x92), (0x62, 0x10), (0x70, 0x80)] {
        let bytes = raw::packet(first, &[0, 1, code, 0]);
        breaks(Version::V5, &bytes, &[0x81, 0x82]);
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_the_messages() {
    for version in BOTH {
        let base = fresh("acks");
        let mut subscriber = listener(version, &format!("{base}/a/#"), 2);
        let mut publisher = anyone(version);
        let mut bytes = Vec::new();
        for id in 1..=40_u16 {
            let side = if id % 2 == 0 { "a" } else { "b" };
            let topic = format!("{base}/{side}/{id}");
            let publish = with_qos(message(&topic, "x"), 2, 1000 - id);
            bytes.extend(Packet::Publish(publish).to_bytes(version));
        }
        publisher.send_raw(&bytes).unwrap();
        for id in 1..=40 {
            assert_eq!(pubrec(&mut publisher).0, 1000 - id);
        }
        // The other way: PUBREL in the order of PUBREC, whatever that is.
        let mut ids: Vec<u16> = (0..20)
            .map(|_| subscriber.expect_publish().unwrap().packet_id.unwrap())
            .collect();
        ids.swap(3, 11);
        for id in &ids {
            subscriber.send(&Packet::PubRec(success(*id))).unwrap();
        }
        for id in &ids {
            assert_eq!(pubrel(&mut subscriber), *id);
        }
    }
}

#[test]
fn a_new_session_remembers_no_identifiers() {
    for version in BOTH {
        let (id, topic) = (fresh("new"), fresh("new"));
        let mut subscriber = listener(version, &topic, 2);
        for (text, options) in [
            ("a", persistent(version, &id)),
            ("b", crate::peer::clean(version, &id)),
        ] {
            let mut publisher = connect(address(), &options);
            send(&mut publisher, with_qos(message(&topic, text), 2, 3));
            assert_eq!(pubrec(&mut publisher), (3, 0));
        }
        assert_eq!(texts(&collect(&mut subscriber, 2)), ["a", "b"]);
    }
}
