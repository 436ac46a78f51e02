//! Retained messages (3.3.1.3).

use bench_harness::client::Client;
use bench_harness::codec::{Properties, Property, Publish, SubscriptionOptions, Version};

use crate::peer::{
    SILENCE, clean, collect, connect, leave, message, persistent, subscribe_with, texts,
};
use crate::world::{
    BOTH, address, anyone, fresh, listener, puback, publish, publish_retained, send, with_qos,
};

fn retain(version: Version, topic: &str, qos: u8, payload: &str) {
    let mut publisher = anyone(version);
    let publish = Publish {
        retain: true,
        ..with_qos(message(topic, payload), qos, 1)
    };
    send(&mut publisher, publish);
    match qos {
        0 => publisher.publish(&fresh("barrier"), 1, b"").unwrap(),
        1 => assert_eq!(puback(&mut publisher).0, 1),
        _ => {
            assert_eq!(crate::world::pubrec(&mut publisher).0, 1);
            crate::world::release(&mut publisher, 1);
        }
    }
}

/// What a new subscriber gets, waiting for `count` messages and then for silence.
fn stored(version: Version, filter: &str, count: usize) -> Vec<Publish> {
    let mut subscriber = listener(version, filter, 2);
    let got = collect(&mut subscriber, count);
    subscriber.expect_nothing(SILENCE).unwrap();
    got
}

fn options(retain_handling: u8, retain_as_published: bool) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: 1,
        retain_as_published,
        retain_handling,
        ..SubscriptionOptions::default()
    }
}

fn resubscribe(client: &mut Client, filter: &str, retain_handling: u8) {
    let options = options(retain_handling, false);
    assert_eq!(subscribe_with(client, filter, options, vec![]), 1);
}

#[test]
fn the_last_one_is_stored_with_its_qos() {
    for version in BOTH {
        for qos in 0..=2 {
            let topic = fresh("kept");
            retain(version, &topic, 2 - qos, "old");
            retain(version, &topic, qos, "new");
            // QoS 0 has no acknowledgement that says when it is stored: the live copy does.
            if qos == 0 {
                let mut witness = listener(version, &topic, 0);
                let mut last = witness.expect_publish().unwrap();
                while last.payload != b"new" {
                    last = witness.expect_publish().unwrap();
                }
            }
            let got = stored(version, &topic, 1);
            assert_eq!(texts(&got), ["new"]);
            assert_eq!((got[0].qos, got[0].dup), (qos, false));
        }
    }
}

#[test]
fn a_new_subscription_gets_one_for_each_topic() {
    for version in BOTH {
        let base = fresh("each");
        for leaf in ["a", "b", "c/d"] {
            publish_retained(version, &format!("{base}/{leaf}"), leaf);
        }
        let mut got = texts(&stored(version, &format!("{base}/#"), 3));
        got.sort_unstable();
        assert_eq!(got, ["a", "b", "c/d"]);
        let mut got = texts(&stored(version, &format!("{base}/+"), 2));
        got.sort_unstable();
        assert_eq!(got, ["a", "b"]);
    }
}

#[test]
fn a_new_subscription_gets_it_with_the_retain_flag() {
    for version in BOTH {
        let topic = fresh("flag");
        publish_retained(version, &topic, "x");
        assert!(stored(version, &topic, 1)[0].retain);
    }
}

#[test]
fn an_established_subscription_gets_it_without_the_retain_flag() {
    for version in BOTH {
        let topic = fresh("live");
        let mut subscriber = listener(version, &topic, 1);
        publish_retained(version, &topic, "x");
        let got = collect(&mut subscriber, 1);
        assert_eq!((got[0].retain, texts(&got)), (false, vec!["x".to_owned()]));
    }
}

#[test]
fn an_empty_one_is_delivered_and_removes_the_stored_one() {
    for version in BOTH {
        let topic = fresh("empty");
        publish_retained(version, &topic, "x");
        let mut subscriber = listener(version, &topic, 1);
        assert_eq!(texts(&collect(&mut subscriber, 1)), ["x"]);
        publish_retained(version, &topic, "");
        let got = collect(&mut subscriber, 1);
        assert_eq!((got[0].retain, got[0].payload.len()), (false, 0));
        assert_eq!(stored(version, &topic, 0), []);
    }
}

#[test]
fn an_empty_one_is_not_stored() {
    for version in BOTH {
        let topic = fresh("void");
        publish_retained(version, &topic, "");
        assert_eq!(stored(version, &topic, 0), []);
    }
}

#[test]
fn without_the_flag_nothing_is_stored_replaced_or_removed() {
    for version in BOTH {
        let topic = fresh("plain");
        publish(version, &topic, 1, "not stored");
        assert_eq!(stored(version, &topic, 0), []);
        publish_retained(version, &topic, "kept");
        publish(version, &topic, 1, "not stored");
        publish(version, &topic, 1, "");
        assert_eq!(texts(&stored(version, &topic, 1)), ["kept"]);
    }
}

#[test]
fn qos_0_replaces_what_was_stored() {
    for version in BOTH {
        let topic = fresh("zero");
        publish_retained(version, &topic, "one");
        let mut witness = listener(version, &topic, 0);
        assert_eq!(texts(&collect(&mut witness, 1)), ["one"]);
        retain(version, &topic, 0, "zero");
        assert_eq!(texts(&collect(&mut witness, 1)), ["zero"]);
        // The new one may be dropped at any time, the old one must be gone.
        let mut late = listener(version, &topic, 0);
        match late.expect(SILENCE) {
            Ok(bench_harness::codec::Packet::Publish(got)) => assert_eq!(got.payload, b"zero"),
            Err(bench_harness::client::Error::Timeout) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn it_outlives_the_session_of_its_publisher() {
    for version in BOTH {
        let topic = fresh("outlive");
        let mut publisher = connect(address(), &persistent(version, &fresh("gone")));
        let publish = Publish {
            retain: true,
            ..with_qos(message(&topic, "stays"), 1, 1)
        };
        send(&mut publisher, publish);
        puback(&mut publisher);
        leave(publisher);
        let mut publisher = connect(address(), &clean(version, &fresh("gone")));
        let publish = Publish {
            retain: true,
            ..with_qos(message(&format!("{topic}/b"), "stays"), 1, 1)
        };
        send(&mut publisher, publish);
        puback(&mut publisher);
        leave(publisher);
        assert_eq!(texts(&stored(version, &topic, 1)), ["stays"]);
        assert_eq!(stored(version, &format!("{topic}/b"), 1).len(), 1);
    }
}

#[test]
fn handling_0_sends_them_with_every_subscribe() {
    let topic = fresh("handling");
    publish_retained(Version::V5, &topic, "x");
    let mut client = anyone(Version::V5);
    for _ in 0..3 {
        resubscribe(&mut client, &topic, 0);
        let got = collect(&mut client, 1);
        assert!(got[0].retain && got[0].payload == b"x");
    }
}

#[test]
fn handling_1_sends_them_with_a_new_subscription_only() {
    let topic = fresh("handling");
    publish_retained(Version::V5, &topic, "x");
    let mut client = anyone(Version::V5);
    resubscribe(&mut client, &topic, 1);
    assert!(collect(&mut client, 1)[0].retain);
    resubscribe(&mut client, &topic, 1);
    client.expect_nothing(SILENCE).unwrap();
    crate::world::unsubscribe_all(&mut client, &[&topic]);
    resubscribe(&mut client, &topic, 1);
    assert!(collect(&mut client, 1)[0].retain);
}

#[test]
fn handling_2_sends_none() {
    let topic = fresh("handling");
    publish_retained(Version::V5, &topic, "x");
    let mut client = anyone(Version::V5);
    resubscribe(&mut client, &topic, 2);
    client.expect_nothing(SILENCE).unwrap();
    publish(Version::V5, &topic, 1, "live");
    assert_eq!(texts(&collect(&mut client, 1)), ["live"]);
}

#[test]
fn the_flag_is_kept_as_published_if_asked_for() {
    let topic = fresh("rap");
    let mut keeps = anyone(Version::V5);
    assert_eq!(
        subscribe_with(&mut keeps, &topic, options(2, true), vec![]),
        1
    );
    let mut clears = anyone(Version::V5);
    assert_eq!(
        subscribe_with(&mut clears, &topic, options(2, false), vec![]),
        1
    );
    for (retain, kept) in [(true, [true, false]), (false, [false, false])] {
        if retain {
            publish_retained(Version::V5, &topic, "retained");
        } else {
            publish(Version::V5, &topic, 1, "plain");
        }
        let flags = [&mut keeps, &mut clears].map(|client| collect(client, 1)[0].retain);
        assert_eq!(flags, kept);
    }
}

#[test]
fn a_stored_one_comes_at_the_lower_qos_with_the_identifier_of_the_subscription() {
    let topic = fresh("stored");
    retain(Version::V5, &topic, 2, "x");
    for granted in 0..=2 {
        let mut client = anyone(Version::V5);
        let identifier = Property::SubscriptionIdentifier(77);
        let options = SubscriptionOptions::qos(granted);
        subscribe_with(&mut client, &topic, options, vec![identifier.clone()]);
        let got = collect(&mut client, 1);
        assert_eq!((got[0].qos, got[0].retain), (granted, true));
        assert_eq!(got[0].properties.0, [identifier]);
    }
}

#[test]
fn a_stored_one_has_the_retain_flag_whatever_the_options() {
    let topic = fresh("stored");
    publish_retained(Version::V5, &topic, "x");
    for retain_as_published in [false, true] {
        let mut client = anyone(Version::V5);
        let options = options(0, retain_as_published);
        subscribe_with(&mut client, &topic, options, vec![]);
        assert!(collect(&mut client, 1)[0].retain);
    }
}

#[test]
fn a_stored_one_expires_and_says_what_is_left() {
    let base = fresh("expiry");
    for (leaf, seconds) in [("short", 1), ("long", 100)] {
        let mut publisher = anyone(Version::V5);
        let publish = Publish {
            retain: true,
            properties: Properties(vec![Property::MessageExpiryInterval(seconds)]),
            ..with_qos(message(&format!("{base}/{leaf}"), leaf), 1, 1)
        };
        send(&mut publisher, publish);
        puback(&mut publisher);
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let got = stored(Version::V5, &format!("{base}/+"), 1);
    assert_eq!(texts(&got), ["long"]);
    let [Property::MessageExpiryInterval(left)] = got[0].properties.0[..] else {
        panic!("{got:?}");
    };
    assert!((60..=98).contains(&left), "{left}");
}

#[test]
fn its_properties_are_stored_with_it() {
    let topic = fresh("stored");
    let kept = vec![
        Property::ContentType("text".to_owned()),
        Property::UserProperty("b".to_owned(), "1".to_owned()),
        Property::UserProperty("a".to_owned(), "2".to_owned()),
    ];
    let mut publisher = anyone(Version::V5);
    let publish = Publish {
        retain: true,
        properties: Properties(kept.clone()),
        ..with_qos(message(&topic, "x"), 1, 1)
    };
    send(&mut publisher, publish);
    puback(&mut publisher);
    assert_eq!(stored(Version::V5, &topic, 1)[0].properties.0, kept);
}

#[test]
fn handling_1_knows_the_subscriptions_of_a_resumed_session() {
    let (id, topic) = (fresh("handling"), fresh("handling"));
    publish_retained(Version::V5, &topic, "x");
    let mut client = connect(address(), &persistent(Version::V5, &id));
    resubscribe(&mut client, &topic, 1);
    assert!(collect(&mut client, 1)[0].retain);
    leave(client);
    let mut client = connect(address(), &persistent(Version::V5, &id));
    resubscribe(&mut client, &topic, 1);
    client.expect_nothing(SILENCE).unwrap();
}
