//! QoS 0 and 1 (4.3.1, 4.3.2), delivery again (4.4).

use std::time::Duration;

use bench_harness::codec::{Ack, Packet, Publish, Version};

use crate::peer::{PATIENCE, SILENCE, collect, connect, message, persistent, success, texts};
use crate::world::{
    BOTH, address, anyone, assert_alive, fresh, listener, puback, publish, publish_all, send,
    with_qos,
};

/// Longer than any timer for sending again would be set in a test, short enough to wait for.
const A_WHILE: Duration = Duration::from_millis(1500);

#[test]
fn qos_0_is_sent_once_without_dup() {
    for version in BOTH {
        let topic = fresh("zero");
        let mut subscriber = listener(version, &topic, 2);
        publish(version, &topic, 0, "x");
        let got = subscriber.expect_publish().unwrap();
        assert_eq!((got.qos, got.dup, got.packet_id), (0, false, None));
        subscriber.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn new_messages_have_an_unused_identifier_and_no_dup() {
    for version in BOTH {
        let topic = fresh("new");
        let mut subscriber = listener(version, &topic, 1);
        let mut publisher = anyone(version);
        let mut open = Vec::new();
        for _ in 0..10 {
            publisher.publish(&topic, 1, b"x").unwrap();
            let got = subscriber.expect_publish().unwrap();
            assert_eq!((got.qos, got.dup), (1, false));
            let id = got.packet_id.unwrap();
            assert!(id != 0 && !open.contains(&id), "{id} is in use: {open:?}");
            open.push(id);
        }
    }
}

#[test]
fn unacknowledged_messages_come_again_and_acknowledged_ones_do_not() {
    for version in BOTH {
        let (id, topic) = (fresh("again"), fresh("again"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 1).unwrap();
        publish_all(version, &topic, [(1, "a"), (1, "b"), (1, "c")]);
        let first: Vec<Publish> = (0..3).map(|_| client.expect_publish().unwrap()).collect();
        let b = first[1].packet_id.unwrap();
        client.send(&Packet::PubAck(success(b))).unwrap();
        assert_alive(&mut client);
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        let again = collect(&mut client, 2);
        assert_eq!(texts(&again), ["a", "c"]);
        for (before, now) in [(&first[0], &again[0]), (&first[2], &again[1])] {
            assert_eq!((now.packet_id, now.dup), (before.packet_id, true));
        }
        assert_alive(&mut client);
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn nothing_is_sent_again_within_a_connection() {
    for version in BOTH {
        let topic = fresh("patient");
        let mut subscriber = listener(version, &topic, 2);
        publish(version, &topic, 1, "x");
        publish(version, &topic, 2, "x");
        subscriber.expect_publish().unwrap();
        subscriber.expect_publish().unwrap();
        subscriber.expect_nothing(A_WHILE).unwrap();
    }
}

#[test]
fn a_publish_is_acknowledged_and_owned() {
    for version in BOTH {
        let (id, topic) = (fresh("owned"), fresh("owned"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 1).unwrap();
        drop(client);
        let mut publisher = anyone(version);
        send(&mut publisher, with_qos(message(&topic, "x"), 1, 0x0102));
        assert_eq!(puback(&mut publisher), (0x0102, 0));
        // Once acknowledged it does not need its publisher any more.
        drop(publisher);
        let mut client = connect(address(), &persistent(version, &id));
        assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
    }
}

#[test]
fn an_acknowledged_identifier_is_a_new_publication() {
    for version in BOTH {
        let topic = fresh("reuse");
        let mut subscriber = listener(version, &topic, 1);
        let mut publisher = anyone(version);
        for (text, dup) in [("a", false), ("b", true), ("c", true)] {
            let again = Publish {
                dup,
                ..with_qos(message(&topic, text), 1, 9)
            };
            send(&mut publisher, again);
            assert_eq!(puback(&mut publisher).0, 9);
        }
        assert_eq!(texts(&collect(&mut subscriber, 3)), ["a", "b", "c"]);
    }
}

#[test]
fn a_negative_puback_is_an_acknowledgement() {
    let (id, topic) = (fresh("negative"), fresh("negative"));
    let mut client = connect(address(), &persistent(Version::V5, &id));
    client.subscribe(&topic, 1).unwrap();
    publish(Version::V5, &topic, 1, "refused");
    let got = client.expect_publish().unwrap();
    let refusal = Ack {
        packet_id: got.packet_id.unwrap(),
        code: 0x80,
        ..Ack::default()
    };
    client.send(&Packet::PubAck(refusal)).unwrap();
    assert_alive(&mut client);
    drop(client);
    let mut client = connect(address(), &persistent(Version::V5, &id));
    assert!(client.connack.session_present);
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn an_unknown_puback_is_ignored() {
    for version in BOTH {
        let mut client = anyone(version);
        client.send(&Packet::PubAck(success(77))).unwrap();
        assert_alive(&mut client);
    }
}

#[test]
fn messages_are_sent_again_in_their_order() {
    for version in BOTH {
        let (id, topic) = (fresh("order"), fresh("order"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        let mut publisher = anyone(version);
        let wanted: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        for (number, text) in wanted.iter().enumerate() {
            let qos = 1 + u8::from(number % 3 == 0);
            publisher.publish(&topic, qos, text.as_bytes()).unwrap();
        }
        let first: Vec<Publish> = (0..12).map(|_| client.expect_publish().unwrap()).collect();
        assert_eq!(texts(&first), wanted);
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        assert_eq!(texts(&collect(&mut client, 12)), wanted);
        assert!(client.expect_nothing(SILENCE).is_ok(), "{PATIENCE:?}");
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_the_messages() {
    for version in BOTH {
        let base = fresh("acks");
        // Someone subscribes to every other topic, so that some have a longer way than others.
        let subscriber = listener(version, &format!("{base}/a/#"), 0);
        let mut publisher = anyone(version);
        let mut bytes = Vec::new();
        for id in 1..=40_u16 {
            let side = if id % 2 == 0 { "a" } else { "b" };
            let topic = format!("{base}/{side}/{id}");
            let publish = with_qos(message(&topic, "x"), 1, 1000 - id);
            bytes.extend(Packet::Publish(publish).to_bytes(version));
        }
        publisher.send_raw(&bytes).unwrap();
        for id in 1..=40 {
            assert_eq!(puback(&mut publisher).0, 1000 - id);
        }
        drop(subscriber);
    }
}
