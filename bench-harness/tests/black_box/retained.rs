//! Retained messages.

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Publish, SubscriptionOptions, Version};

use crate::broker::Broker;
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, answer, clean, collect, connect, leave, message, numbered,
    subscribe_with, subscriber, texts,
};

/// Publishes a retained message at QoS 1 and waits for the acknowledgement.
fn retain(client: &mut Client, topic: &str, payload: &str) {
    let publish = Publish {
        qos: 1,
        retain: true,
        packet_id: Some(client.packet_id()),
        ..message(topic, payload)
    };
    client.send(&Packet::Publish(publish)).unwrap();
    assert!(matches!(
        client.expect(PATIENCE).unwrap(),
        Packet::PubAck(_)
    ));
}

#[test]
fn are_stored_replaced_cleared_and_marked() {
    for cores in [1, 2, 8] {
        let broker = Broker::start(cores);
        for version in VERSIONS {
            let mut from = connect(broker.address(), &clean(version, "from"));
            let mut live = subscriber(broker.address(), version, "live", "r/+", 1);
            for text in ["old", "new"] {
                retain(&mut from, "r/a", text);
            }
            let got = collect(&mut live, 2);
            assert!(
                got.iter().all(|publish| !publish.retain),
                "live ones are not marked"
            );
            let mut late = subscriber(broker.address(), version, "late", "r/#", 1);
            let got = collect(&mut late, 1);
            assert_eq!((texts(&got), got[0].retain), (vec!["new".to_owned()], true));
            retain(&mut from, "r/a", "");
            assert_eq!(texts(&collect(&mut live, 1)), [""]);
            let mut later = subscriber(broker.address(), version, "later", "r/a", 1);
            later.expect_nothing(SILENCE).unwrap();
            for client in [from, live, later] {
                leave(client);
            }
            collect(&mut late, 1);
            leave(late);
        }
        broker.stop();
    }
}

#[test]
fn hundreds_come_by_wildcard_each_once() {
    let broker = Broker::start(4);
    let mut from = connect(broker.address(), &clean(Version::V311, "from"));
    for number in 0..300 {
        retain(&mut from, &format!("many/{number}/x"), &number.to_string());
    }
    for (version, qos) in [(Version::V31, 0), (Version::V311, 1), (Version::V5, 2)] {
        let mut to = subscriber(broker.address(), version, "to", "many/+/x", qos);
        let mut got = texts(&collect(&mut to, 300));
        let mut wanted = numbered("", 300);
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted);
        to.expect_nothing(SILENCE).unwrap();
        leave(to);
    }
    broker.stop();
}

#[test]
fn options_of_version_5_decide() {
    let broker = Broker::start(2);
    let mut from = connect(broker.address(), &clean(Version::V5, "from"));
    retain(&mut from, "o/x", "stored");
    let options = |retain_as_published, retain_handling| SubscriptionOptions {
        retain_as_published,
        retain_handling,
        ..SubscriptionOptions::qos(1)
    };
    let mut to = connect(broker.address(), &clean(Version::V5, "to"));
    assert_eq!(subscribe_with(&mut to, "o/+", options(false, 2), vec![]), 1);
    to.expect_nothing(SILENCE).unwrap();
    assert_eq!(subscribe_with(&mut to, "o/+", options(false, 1), vec![]), 1);
    to.expect_nothing(SILENCE).unwrap();
    assert_eq!(subscribe_with(&mut to, "o/+", options(false, 0), vec![]), 1);
    assert_eq!(texts(&collect(&mut to, 1)), ["stored"]);
    leave(to);
    let mut to = connect(broker.address(), &clean(Version::V5, "to"));
    assert_eq!(subscribe_with(&mut to, "o/x", options(true, 1), vec![]), 1);
    assert_eq!(texts(&collect(&mut to, 1)), ["stored"]);
    retain(&mut from, "o/x", "published");
    let got = match to.expect(PATIENCE).unwrap() {
        Packet::Publish(publish) => publish,
        other => panic!("unexpected {other:?}"),
    };
    to.send(&answer(&got).unwrap()).unwrap();
    assert_eq!(
        (got.payload.as_slice(), got.retain),
        (&b"published"[..], true)
    );
    broker.stop();
}
