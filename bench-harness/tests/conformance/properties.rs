//! Properties of PUBLISH in version 5 (3.3.2.3).

use std::time::Duration;

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Properties, Property, Publish, Version};

use crate::peer::{SILENCE, clean, collect, connect, message, persistent, texts};
use crate::raw;
use crate::world::{
    address, anyone, assert_alive, breaks, expect_cut, fresh, listener, publish, send,
    with_properties, with_qos,
};

const V5: Version = Version::V5;

fn with(publish: Publish, properties: Vec<Property>) -> Publish {
    Publish {
        properties: Properties(properties),
        ..publish
    }
}

/// What a subscriber gets of a message with these properties.
fn passed_on(properties: Vec<Property>) -> Vec<Property> {
    let topic = fresh("pass");
    let mut subscriber = listener(V5, &topic, 0);
    send(&mut anyone(V5), with(message(&topic, "x"), properties));
    subscriber.expect_publish().unwrap().properties.0
}

fn assert_unaltered(property: Property) {
    assert_eq!(passed_on(vec![property.clone()]), [property]);
}

#[test]
fn payload_format_is_passed_on() {
    assert_unaltered(Property::PayloadFormatIndicator(1));
    let zero = passed_on(vec![Property::PayloadFormatIndicator(0)]);
    assert!(zero.is_empty() || zero == [Property::PayloadFormatIndicator(0)]);
}

#[test]
fn response_topic_is_passed_on() {
    assert_unaltered(Property::ResponseTopic("an/answer/\u{FEFF}".to_owned()));
}

#[test]
fn correlation_data_is_passed_on() {
    assert_unaltered(Property::CorrelationData((0..=255).collect()));
    assert_unaltered(Property::CorrelationData(Vec::new()));
}

#[test]
fn content_type_is_passed_on() {
    assert_unaltered(Property::ContentType("text/plain; \u{E9}".to_owned()));
}

#[test]
fn user_properties_are_passed_on_in_their_order() {
    let pair = |n: &str, v: &str| Property::UserProperty(n.to_owned(), v.to_owned());
    let pairs = vec![pair("b", "1"), pair("a", "2"), pair("b", "1"), pair("", "")];
    assert_eq!(passed_on(pairs.clone()), pairs);
}

#[test]
fn text_properties_have_to_be_text() {
    for id in [0x03, 0x08] {
        for bad in [&b"\xFF"[..], b"a\0"] {
            let property = [vec![id], raw::field(bad)].concat();
            breaks(V5, &raw::publish_with(V5, b"t", &property, b"x"), &[0x81]);
        }
    }
}

#[test]
fn a_response_topic_has_no_wildcards() {
    for bad in ["a/+", "#"] {
        let property = [vec![0x08], raw::field(bad.as_bytes())].concat();
        let bytes = raw::publish_with(V5, b"t", &property, b"x");
        breaks(V5, &bytes, &[0x81, 0x82, 0x90]);
    }
}

#[test]
fn properties_come_once_and_in_their_packet() {
    let wrong: [&[u8]; 8] = [
        &[0x01, 1, 0x01, 1],
        &[0x02, 0, 0, 0, 9, 0x02, 0, 0, 0, 9],
        &[0x23, 0, 1, 0x23, 0, 1],
        &[0x01, 2],
        &[0x11, 0, 0, 0, 1], // session expiry belongs to CONNECT
        &[0x21, 0, 1],
        &[0x7E, 0],
        &[0x02, 0, 0],
    ];
    for bytes in wrong {
        let publish = raw::publish_with(V5, b"t", bytes, b"x");
        breaks(V5, &publish, &[0x81, 0x82]);
    }
}

#[test]
fn an_expired_message_is_not_delivered() {
    let (id, topic) = (fresh("late"), fresh("late"));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    subscriber.subscribe(&topic, 1).unwrap();
    drop(subscriber);
    let mut publisher = anyone(V5);
    for (packet_id, expiry) in [(1, 1), (2, 60)] {
        let publish = with_qos(message(&topic, expiry.to_string()), 1, packet_id);
        let expiry = vec![Property::MessageExpiryInterval(expiry)];
        send(&mut publisher, with(publish, expiry));
        crate::world::puback(&mut publisher);
    }
    std::thread::sleep(Duration::from_millis(1500));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    assert_eq!(texts(&collect(&mut subscriber, 1)), ["60"]);
    subscriber.expect_nothing(SILENCE).unwrap();
}

#[test]
fn the_expiry_interval_is_what_is_left() {
    let (id, topic) = (fresh("left"), fresh("left"));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    subscriber.subscribe(&topic, 1).unwrap();
    drop(subscriber);
    let mut publisher = anyone(V5);
    let publish = with_qos(message(&topic, "x"), 1, 1);
    let expiry = vec![Property::MessageExpiryInterval(100)];
    send(&mut publisher, with(publish, expiry));
    crate::world::puback(&mut publisher);
    std::thread::sleep(Duration::from_millis(2100));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    let got = subscriber.expect_publish().unwrap();
    let [Property::MessageExpiryInterval(left)] = got.properties.0[..] else {
        panic!("{got:?}");
    };
    // At least two seconds have gone; a busy machine may take more.
    assert!((60..=98).contains(&left), "{left}");
}

/// A PUBLISH by alias.
fn by_alias(topic: &str, alias: u16, payload: &str) -> Publish {
    with(message(topic, payload), vec![Property::TopicAlias(alias)])
}

fn alias_of(publish: &Publish) -> Option<u16> {
    publish.properties.find(|p| match p {
        Property::TopicAlias(alias) => Some(*alias),
        _ => None,
    })
}

#[test]
fn every_topic_alias_up_to_the_maximum_is_accepted() {
    let base = fresh("alias");
    let mut subscriber = listener(V5, &format!("{base}/#"), 0);
    let mut publisher = anyone(V5);
    let maximum = publisher.connack.properties.find(|p| match p {
        Property::TopicAliasMaximum(maximum) => Some(*maximum),
        _ => None,
    });
    let maximum = maximum.expect("a topic alias maximum");
    for alias in [1, 2, maximum / 2, maximum] {
        let topic = format!("{base}/{alias}");
        send(&mut publisher, by_alias(&topic, alias, "named"));
        send(&mut publisher, by_alias("", alias, "again"));
        for text in ["named", "again"] {
            let got = subscriber.expect_publish().unwrap();
            assert_eq!((&got.topic, &got.payload[..]), (&topic, text.as_bytes()));
            assert_eq!(alias_of(&got), None, "a publisher's alias is its own");
        }
    }
    // An alias can be given to another topic.
    send(&mut publisher, by_alias(&format!("{base}/new"), 1, "x"));
    send(&mut publisher, by_alias("", 1, "x"));
    let got = collect(&mut subscriber, 2);
    assert!(got.iter().all(|p| p.topic.ends_with("/new")), "{got:?}");
}

#[test]
fn topic_aliases_end_with_their_connection() {
    let (id, topic) = (fresh("alias"), fresh("alias"));
    let mut client = connect(address(), &persistent(V5, &id));
    send(&mut client, by_alias(&topic, 3, "x"));
    assert_alive(&mut client);
    drop(client);
    let mut client = connect(address(), &persistent(V5, &id));
    assert!(client.connack.session_present);
    send(&mut client, by_alias("", 3, "x"));
    expect_cut(V5, &mut client, &[0x82, 0x94]);
}

#[test]
fn topic_alias_zero_is_refused() {
    let bytes = raw::publish_with(V5, b"t", &[0x23, 0, 0], b"x");
    breaks(V5, &bytes, &[0x94, 0x82]);
}

/// Publishes to several topics and returns the aliases that came with them.
fn aliases_for(mut subscriber: Client, base: &str) -> Vec<u16> {
    let mut publisher = anyone(V5);
    for round in 0..3 {
        for topic in 0..5 {
            let text = format!("{round}");
            publisher
                .publish(&format!("{base}/{topic}"), 0, text.as_bytes())
                .unwrap();
        }
    }
    let got = collect(&mut subscriber, 15);
    got.iter().filter_map(alias_of).collect()
}

#[test]
fn a_client_that_takes_no_aliases_gets_none() {
    let base = fresh("none");
    let filter = format!("{base}/#");
    assert!(aliases_for(listener(V5, &filter, 0), &base).is_empty());
    let zero = [Property::TopicAliasMaximum(0)];
    let options = with_properties(clean(V5, &fresh("zero")), &zero);
    let mut subscriber = connect(address(), &options);
    subscriber.subscribe(&filter, 0).unwrap();
    assert!(aliases_for(subscriber, &base).is_empty());
}

#[test]
fn aliases_stay_within_what_the_client_takes() {
    let base = fresh("some");
    let two = [Property::TopicAliasMaximum(2)];
    let options = with_properties(clean(V5, &fresh("two")), &two);
    let mut subscriber = connect(address(), &options);
    subscriber.subscribe(&format!("{base}/#"), 0).unwrap();
    let aliases = aliases_for(subscriber, &base);
    assert!(aliases.iter().all(|a| (1..=2).contains(a)), "{aliases:?}");
}

/// Follows the aliases of messages; their topics.
fn resolved(got: &[Publish]) -> Vec<String> {
    let mut known = std::collections::BTreeMap::new();
    let topic = |publish: &Publish| {
        let alias = alias_of(publish);
        if publish.topic.is_empty() {
            return known.get(&alias).cloned().expect("a topic for the alias");
        }
        known.insert(alias, publish.topic.clone());
        publish.topic.clone()
    };
    got.iter().map(topic).collect()
}

#[test]
fn a_client_that_takes_aliases_gets_some() {
    let base = fresh("some");
    let two = [Property::TopicAliasMaximum(2)];
    let options = with_properties(clean(V5, &fresh("two")), &two);
    let mut subscriber = connect(address(), &options);
    subscriber.subscribe(&format!("{base}/#"), 2).unwrap();
    let mut publisher = anyone(V5);
    let topics = ["a", "a", "b", "a", "c", "c", "a", "b", "b"].map(|t| format!("{base}/{t}"));
    for (number, topic) in topics.iter().enumerate() {
        let qos = u8::try_from(number % 3).unwrap();
        publisher.publish(topic, qos, b"x").unwrap();
    }
    let got = collect(&mut subscriber, topics.len());
    assert_eq!(resolved(&got), topics);
    assert!(got.iter().all(|p| alias_of(p).is_some()), "{got:?}");
    assert_eq!(
        got.iter().filter(|p| p.topic.is_empty()).count(),
        5,
        "{got:?}"
    );
}

#[test]
fn aliases_towards_a_client_end_with_the_connection() {
    let (id, topic) = (fresh("again"), fresh("again"));
    let some = [Property::TopicAliasMaximum(9)];
    let options = with_properties(persistent(V5, &id), &some);
    let mut subscriber = connect(address(), &options);
    subscriber.subscribe(&topic, 1).unwrap();
    let mut publisher = anyone(V5);
    for _ in 0..2 {
        publisher.publish(&topic, 1, b"x").unwrap();
        // It is not acknowledged.
        subscriber.expect_publish().unwrap();
    }
    drop(subscriber);
    let mut subscriber = connect(address(), &options);
    let got = collect(&mut subscriber, 2);
    assert!(got.iter().all(|p| p.dup), "{got:?}");
    assert_eq!(resolved(&got), [topic.as_str(), topic.as_str()]);
    assert!(
        !got[0].topic.is_empty() && got[1].topic.is_empty(),
        "{got:?}"
    );
}

#[test]
fn a_message_that_is_too_large_binds_no_alias() {
    let topic = fresh("large");
    let small = [
        Property::TopicAliasMaximum(9),
        Property::MaximumPacketSize(60),
    ];
    let options = with_properties(clean(V5, &fresh("small")), &small);
    let mut subscriber = connect(address(), &options);
    subscriber.subscribe(&topic, 0).unwrap();
    let mut publisher = anyone(V5);
    publisher.publish(&topic, 0, &[0; 60]).unwrap();
    // With the topic it just fits, with an alias beside it it does not.
    let head = 2 + 2 + topic.len() + 1;
    publisher.publish(&topic, 0, &vec![0; 60 - head]).unwrap();
    publisher.publish(&topic, 0, b"x").unwrap();
    publisher.publish(&topic, 0, b"x").unwrap();
    let got = collect(&mut subscriber, 3);
    assert_eq!(alias_of(&got[0]), None);
    assert_eq!(
        resolved(&got),
        [topic.as_str(), topic.as_str(), topic.as_str()]
    );
    assert!(
        !got[1].topic.is_empty() && got[2].topic.is_empty(),
        "{got:?}"
    );
}

#[test]
fn what_expired_in_flight_is_not_sent_again() {
    let (id, topic) = (fresh("flight"), fresh("flight"));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    subscriber.subscribe(&topic, 1).unwrap();
    let mut publisher = anyone(V5);
    for (packet_id, expiry) in [(1, 1), (2, 60), (3, 1)] {
        let publish = with_qos(message(&topic, expiry.to_string()), 1, packet_id);
        send(
            &mut publisher,
            with(publish, vec![Property::MessageExpiryInterval(expiry)]),
        );
        let got = subscriber.expect_publish().unwrap();
        assert_eq!(got.packet_id, Some(packet_id));
    }
    drop(subscriber);
    std::thread::sleep(Duration::from_millis(1500));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    let got = collect(&mut subscriber, 1);
    assert_eq!(texts(&got), ["60"]);
    assert!(got[0].dup && got[0].packet_id == Some(2), "{got:?}");
    subscriber.expect_nothing(SILENCE).unwrap();
    crate::world::publish(V5, &topic, 1, "new");
    let got = collect(&mut subscriber, 1);
    assert_eq!(texts(&got), ["new"]);
    assert_eq!(got[0].packet_id, Some(4));
}

#[test]
fn a_message_of_qos_2_that_is_too_large_now_is_released() {
    let (id, topic) = (fresh("shrink"), fresh("shrink"));
    let mut subscriber = connect(address(), &persistent(V5, &id));
    subscriber.subscribe(&topic, 2).unwrap();
    crate::world::publish(V5, &topic, 2, &"x".repeat(100));
    assert_eq!(subscriber.expect_publish().unwrap().packet_id, Some(1));
    drop(subscriber);
    let small = [Property::MaximumPacketSize(60)];
    let options = with_properties(persistent(V5, &id), &small);
    let mut subscriber = connect(address(), &options);
    // The client may have it: it is told to forget the identifier.
    assert_eq!(crate::world::pubrel(&mut subscriber), 1);
    subscriber
        .send(&Packet::PubComp(crate::peer::success(1)))
        .unwrap();
    crate::world::publish(V5, &topic, 2, "small");
    assert_eq!(texts(&collect(&mut subscriber, 1)), ["small"]);
}

#[test]
fn older_versions_see_the_message_without_properties() {
    let topic = fresh("old");
    let mut subscriber = listener(Version::V311, &topic, 0);
    let pair = Property::UserProperty("n".to_owned(), "v".to_owned());
    send(&mut anyone(V5), with(message(&topic, "x"), vec![pair]));
    assert_eq!(subscriber.expect_publish().unwrap().payload, b"x");
    publish(Version::V311, &topic, 0, "y");
    assert_eq!(subscriber.expect_publish().unwrap().payload, b"y");
}

#[test]
fn an_alias_works_at_every_qos_once_it_has_a_topic() {
    let topic = fresh("alias");
    let mut subscriber = listener(V5, &topic, 2);
    let mut publisher = anyone(V5);
    send(&mut publisher, by_alias(&topic, 7, "0"));
    for qos in 1..=2 {
        let publish = with_qos(by_alias("", 7, &qos.to_string()), qos, u16::from(qos));
        send(&mut publisher, publish);
    }
    let got = collect(&mut subscriber, 3);
    assert_eq!(texts(&got), ["0", "1", "2"]);
    assert!(got.iter().all(|p| p.topic == topic));
    // One that was never given a topic.
    let mut publisher = anyone(V5);
    send(&mut publisher, by_alias("", 8, "x"));
    expect_cut(V5, &mut publisher, &[0x82, 0x94]);
}
