//! PUBLISH (3.3): flags, topic, and what goes on to subscribers.

use bench_harness::codec::{Packet, Publish, SubscriptionOptions, Version};

use crate::peer::{
    PATIENCE, SILENCE, collect, connect, message, persistent, subscribe_with, texts,
};
use crate::raw;
use crate::world::{
    BOTH, address, anyone, assert_alive, breaks, fresh, listener, puback, publish, publish_all,
    pubrec, release, send, subscribe_all, with_qos,
};

const MALFORMED: u8 = 0x81;

#[test]
fn what_is_delivered_again_has_dup() {
    for version in BOTH {
        let (id, topic) = (fresh("dup"), fresh("dup"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        publish_all(version, &topic, [(1, "one"), (2, "two")]);
        assert!(!client.expect_publish().unwrap().dup);
        assert!(!client.expect_publish().unwrap().dup);
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        let again = collect(&mut client, 2);
        assert_eq!(texts(&again), ["one", "two"]);
        assert!(again.iter().all(|p| p.dup));
    }
}

#[test]
fn qos_0_has_no_dup() {
    for version in BOTH {
        let topic = fresh("dup");
        let mut subscriber = listener(version, &topic, 2);
        publish(version, &topic, 0, "x");
        let got = subscriber.expect_publish().unwrap();
        assert_eq!((got.qos, got.dup), (0, false));
        let mut bytes = raw::publish(version, topic.as_bytes(), b"x");
        bytes[0] |= 0x08;
        breaks(version, &bytes, &[MALFORMED, 0x82]);
    }
}

#[test]
fn dup_is_not_passed_on() {
    for version in BOTH {
        let topic = fresh("dup");
        let mut subscriber = listener(version, &topic, 2);
        let mut publisher = anyone(version);
        for qos in [1, 2] {
            let again = Publish {
                dup: true,
                ..with_qos(message(&topic, "x"), qos, 7)
            };
            send(&mut publisher, again);
            assert!(!collect(&mut subscriber, 1)[0].dup);
            publisher.expect(PATIENCE).unwrap();
        }
    }
}

#[test]
fn qos_three_is_refused() {
    for version in BOTH {
        let body = [raw::field(b"t"), vec![0, 1], raw::properties(version, &[])].concat();
        for first in [0x36, 0x3E] {
            breaks(version, &raw::packet(first, &body), &[MALFORMED]);
        }
    }
}

#[test]
fn wildcards_in_a_topic_name_are_refused() {
    for version in BOTH {
        for topic in ["a/+", "+", "#", "a/#", "a+b", "a#"] {
            let bytes = raw::publish(version, topic.as_bytes(), b"x");
            breaks(version, &bytes, &[0x90, MALFORMED, 0x82]);
        }
    }
}

#[test]
fn the_topic_name_is_the_first_field() {
    for version in BOTH {
        // No topic at all, one that is longer than the packet, and a right one.
        breaks(version, &raw::packet(0x30, &[]), &[MALFORMED]);
        breaks(version, &raw::packet(0x30, &[0, 9, b'a']), &[MALFORMED]);
        let topic = fresh("first");
        let mut subscriber = listener(version, &topic, 0);
        let mut publisher = anyone(version);
        let bytes = raw::publish(version, topic.as_bytes(), b"payload");
        publisher.send_raw(&bytes).unwrap();
        let got = subscriber.expect_publish().unwrap();
        assert_eq!((got.topic, got.payload), (topic, b"payload".to_vec()));
    }
}

#[test]
fn the_topic_sent_matches_the_filter() {
    for version in BOTH {
        let base = fresh("match");
        let mut subscriber = listener(version, &format!("{base}/+/x"), 0);
        let mut publisher = anyone(version);
        for topic in ["a/x", "a/y", "b/x", "b/x/c", "x"] {
            publisher
                .publish(&format!("{base}/{topic}"), 0, topic.as_bytes())
                .unwrap();
        }
        assert_eq!(texts(&collect(&mut subscriber, 2)), ["a/x", "b/x"]);
        subscriber.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn each_qos_has_its_response() {
    for version in BOTH {
        let topic = fresh("response");
        let mut client = anyone(version);
        send(&mut client, message(&topic, "none"));
        assert_alive(&mut client);
        send(&mut client, with_qos(message(&topic, "one"), 1, 5));
        assert_eq!(puback(&mut client).0, 5);
        send(&mut client, with_qos(message(&topic, "two"), 2, 6));
        assert_eq!(pubrec(&mut client).0, 6);
        assert_eq!(release(&mut client, 6), 0);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn overlapping_subscriptions_get_the_highest_qos() {
    for version in BOTH {
        let base = fresh("overlap");
        let (leaf, all) = (format!("{base}/x"), format!("{base}/#"));
        for (first, second) in [(0, 2), (2, 0), (1, 0), (1, 2)] {
            let mut client = anyone(version);
            let qos = SubscriptionOptions::qos;
            let filters = [(leaf.as_str(), qos(first)), (all.as_str(), qos(second))];
            assert_eq!(subscribe_all(&mut client, &filters), [first, second]);
            publish(version, &leaf, 2, "x");
            // One copy at the highest, or several of which one has it.
            let got = client.expect_publish().unwrap();
            assert_eq!(got.qos, first.max(second));
            client.send(&crate::peer::answer(&got).unwrap()).unwrap();
            if got.qos == 2 {
                assert!(matches!(client.expect(PATIENCE), Ok(Packet::PubRel(_))));
            }
            client.expect_nothing(SILENCE).unwrap();
        }
    }
}

#[test]
fn identifiers_of_all_matching_subscriptions_come_along() {
    use bench_harness::codec::Property;
    let base = fresh("ids");
    let topic = format!("{base}/x");
    let mut client = anyone(Version::V5);
    let filters = [
        (topic.clone(), Some(1)),
        (format!("{base}/+"), Some(268_435_455)),
        (format!("{base}/#"), None),
        (format!("{base}/y"), Some(7)),
    ];
    for (filter, id) in filters {
        let properties = id
            .map(Property::SubscriptionIdentifier)
            .into_iter()
            .collect();
        let options = SubscriptionOptions::qos(1);
        assert_eq!(subscribe_with(&mut client, &filter, options, properties), 1);
    }
    publish(Version::V5, &topic, 1, "x");
    let got = client.expect_publish().unwrap();
    let mut ids: Vec<u32> = got
        .properties
        .0
        .iter()
        .filter_map(|p| match p {
            Property::SubscriptionIdentifier(id) => Some(*id),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 268_435_455]);
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn a_subscription_identifier_from_a_client_is_refused() {
    let bytes = raw::publish_with(Version::V5, b"t", &[0x0B, 5], b"x");
    breaks(Version::V5, &bytes, &[0x82, MALFORMED]);
}

#[test]
fn an_empty_topic_without_alias_is_refused() {
    for version in BOTH {
        breaks(
            version,
            &raw::publish(version, b"", b"x"),
            &[0x82, 0x90, MALFORMED],
        );
    }
}

#[test]
fn without_subscribers_version_5_is_told_or_success() {
    let mut client = anyone(Version::V5);
    let topic = fresh("nobody");
    send(&mut client, with_qos(message(&topic, "x"), 1, 1));
    assert!([0x00, 0x10].contains(&puback(&mut client).1));
    send(&mut client, with_qos(message(&topic, "x"), 2, 2));
    assert!([0x00, 0x10].contains(&pubrec(&mut client).1));
}

#[test]
fn messages_of_every_qos_come_in_the_order_of_their_publisher() {
    for version in BOTH {
        for qos in 0..=2 {
            let topic = fresh("order");
            let mut subscriber = listener(version, &topic, qos);
            let mut publisher = anyone(version);
            for number in 0..30_u16 {
                let text = number.to_string();
                let publish = with_qos(message(&topic, text), qos, number + 1);
                send(&mut publisher, publish);
            }
            let wanted: Vec<String> = (0..30).map(|n| n.to_string()).collect();
            assert_eq!(texts(&collect(&mut subscriber, 30)), wanted);
        }
    }
}
