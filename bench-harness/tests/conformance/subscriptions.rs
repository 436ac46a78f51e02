//! What a subscription does (3.8.4): delivery, replacing, options.

use bench_harness::codec::{Property, SubscriptionOptions, Version};

use crate::peer::{SILENCE, clean, collect, connect, message, persistent, subscribe_with, texts};
use crate::world::{BOTH, address, anyone, fresh, listener, publish, publish_retained, send};

#[test]
fn messages_have_the_lower_of_both_qos() {
    for version in BOTH {
        for granted in 0..=2 {
            let topic = fresh("lower");
            let mut subscriber = listener(version, &topic, granted);
            for published in 0..=2 {
                publish(version, &topic, published, "x");
                let got = collect(&mut subscriber, 1);
                assert_eq!(got[0].qos, granted.min(published));
            }
        }
    }
}

#[test]
fn the_same_filter_again_replaces_the_subscription() {
    for version in BOTH {
        let topic = fresh("replace");
        let mut client = anyone(version);
        for qos in [2, 0, 1] {
            assert_eq!(client.subscribe(&topic, qos).unwrap(), qos);
            publish(version, &topic, 2, "x");
            let got = collect(&mut client, 1);
            assert_eq!(got[0].qos, qos);
            client.expect_nothing(SILENCE).unwrap();
        }
        // One UNSUBSCRIBE ends it.
        crate::world::unsubscribe_all(&mut client, &[&topic]);
        publish(version, &topic, 1, "x");
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn replacing_sends_retained_messages_again() {
    for version in BOTH {
        let topic = fresh("again");
        publish_retained(version, &topic, "stored");
        let mut client = anyone(version);
        for _ in 0..2 {
            client.subscribe(&topic, 1).unwrap();
            let got = collect(&mut client, 1);
            assert!(got[0].retain && got[0].payload == b"stored");
        }
    }
}

#[test]
fn replacing_loses_no_message() {
    for version in BOTH {
        let topic = fresh("stream");
        let mut client = listener(version, &topic, 1);
        let publisher = std::thread::spawn({
            let topic = topic.clone();
            move || {
                let mut publisher = anyone(version);
                for number in 0..200 {
                    let text = format!("{number}");
                    publisher.publish(&topic, 1, text.as_bytes()).unwrap();
                }
            }
        });
        let mut got = Vec::new();
        let mut replaced = 0;
        while got.len() < 200 {
            if got.len() % 20 == 0 && replaced < got.len() / 20 {
                replaced += 1;
                let bytes = crate::raw::subscribe(version, topic.as_bytes(), 1);
                client.send_raw(&bytes).unwrap();
            }
            match client.expect(crate::peer::PATIENCE).unwrap() {
                bench_harness::codec::Packet::Publish(publish) => {
                    client
                        .send(&crate::peer::answer(&publish).unwrap())
                        .unwrap();
                    got.push(publish);
                }
                bench_harness::codec::Packet::SubAck(ack) => assert_eq!(ack.codes, [1]),
                other => panic!("{other:?}"),
            }
        }
        publisher.join().unwrap();
        let wanted: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        assert_eq!(texts(&got), wanted);
    }
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let (id, topic) = (fresh("local"), fresh("local"));
    let options = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::qos(1)
    };
    let mut client = connect(address(), &clean(Version::V5, &id));
    assert_eq!(subscribe_with(&mut client, &topic, options, vec![]), 1);
    client.publish(&topic, 1, b"own").unwrap();
    publish(Version::V5, &topic, 1, "of another");
    assert_eq!(texts(&collect(&mut client, 1)), ["of another"]);
    // Without the option a client hears itself.
    let mut client = anyone(Version::V5);
    client.subscribe(&topic, 0).unwrap();
    send(&mut client, message(&topic, "own"));
    assert_eq!(client.expect_publish().unwrap().payload, b"own");
}

#[test]
fn no_local_holds_for_the_client_identifier_not_the_connection() {
    let (id, topic) = (fresh("local"), fresh("local"));
    let options = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::qos(1)
    };
    let mut client = connect(address(), &persistent(Version::V5, &id));
    assert_eq!(subscribe_with(&mut client, &topic, options, vec![]), 1);
    drop(client);
    let mut client = connect(address(), &persistent(Version::V5, &id));
    assert!(client.connack.session_present);
    client.publish(&topic, 1, b"own").unwrap();
    publish(Version::V5, &topic, 1, "of another");
    assert_eq!(texts(&collect(&mut client, 1)), ["of another"]);
}

#[test]
fn an_acknowledged_message_is_in_every_matching_session() {
    for version in BOTH {
        let topic = fresh("every");
        let filters = [topic.clone(), format!("{topic}/#"), "+".to_owned()];
        let ids: Vec<String> = filters.iter().map(|_| fresh("every")).collect();
        for (id, filter) in ids.iter().zip(&filters[..2]) {
            let mut client = connect(address(), &persistent(version, id));
            client.subscribe(filter, 1).unwrap();
        }
        let mut here = listener(version, &topic, 2);
        publish(version, &topic, 1, "x");
        assert_eq!(texts(&collect(&mut here, 1)), ["x"]);
        for id in &ids[..2] {
            let mut client = connect(address(), &persistent(version, id));
            assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
        }
    }
}

#[test]
fn no_local_of_one_subscription_does_not_concern_another() {
    let base = fresh("local");
    let topic = format!("{base}/x");
    let options = |no_local| SubscriptionOptions {
        no_local,
        ..SubscriptionOptions::qos(1)
    };
    let mut client = anyone(Version::V5);
    let one = vec![Property::SubscriptionIdentifier(1)];
    let two = vec![Property::SubscriptionIdentifier(2)];
    subscribe_with(&mut client, &topic, options(true), one);
    subscribe_with(
        &mut client,
        &format!("{base}/#"),
        options(false),
        two.clone(),
    );
    send(&mut client, message(&topic, "own"));
    let got = client.expect_publish().unwrap();
    assert_eq!((&got.payload[..], &got.properties.0), (&b"own"[..], &two));
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn replacing_changes_options_and_identifier() {
    let topic = fresh("options");
    let mut client = anyone(Version::V5);
    let first = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::qos(0)
    };
    let identifier = vec![Property::SubscriptionIdentifier(5)];
    subscribe_with(&mut client, &topic, first, identifier);
    let second = SubscriptionOptions {
        retain_as_published: true,
        ..SubscriptionOptions::qos(0)
    };
    subscribe_with(&mut client, &topic, second, vec![]);
    let mut own = message(&topic, "own");
    own.retain = true;
    send(&mut client, own);
    let got = client.expect_publish().unwrap();
    assert_eq!((got.retain, got.properties.0.len()), (true, 0));
}

#[test]
fn subscription_identifiers_are_kept_with_the_session() {
    let (id, topic) = (fresh("kept"), fresh("kept"));
    let identifier = vec![Property::SubscriptionIdentifier(9)];
    let mut client = connect(address(), &persistent(Version::V5, &id));
    let options = SubscriptionOptions::qos(1);
    subscribe_with(&mut client, &topic, options, identifier.clone());
    crate::peer::leave(client);
    publish(Version::V5, &topic, 1, "waited");
    let mut client = connect(address(), &persistent(Version::V5, &id));
    assert_eq!(collect(&mut client, 1)[0].properties.0, identifier);
    publish(Version::V5, &topic, 1, "live");
    assert_eq!(collect(&mut client, 1)[0].properties.0, identifier);
}
