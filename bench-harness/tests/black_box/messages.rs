//! Messages between clients of every version, at every QoS, on few and on many cores.

use std::thread;

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Properties, Property, Publish, SubscriptionOptions, Version};

use crate::broker::Broker;
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, clean, collect, connect, leave, message, numbered, ping,
    subscribe_with, subscriber, texts,
};

/// So many clients that every core has some, at least at 2 cores.
const CLIENTS: usize = 6;
const MESSAGES: usize = 30;

#[test]
fn every_version_and_qos_on_2_cores() {
    every_version_and_qos(2);
}

#[test]
fn every_version_and_qos_on_8_cores() {
    every_version_and_qos(8);
}

#[test]
fn every_version_and_qos_on_1_core() {
    every_version_and_qos(1);
}

fn every_version_and_qos(cores: u32) {
    let broker = Broker::start(cores);
    for from in VERSIONS {
        for to in VERSIONS {
            for qos in 0..3 {
                many_to_many(&broker, from, to, qos);
            }
        }
    }
    broker.stop();
}

/// All subscribers get all messages of all publishers, each publisher's in order.
fn many_to_many(broker: &Broker, from: Version, to: Version, qos: u8) {
    let address = broker.address();
    let name = |role: &str, number: usize| format!("{role}{number}");
    let mut subscribers: Vec<Client> = (0..CLIENTS)
        .map(|number| subscriber(address, to, &name("s", number), "m/+", qos))
        .collect();
    let publishers: Vec<Client> = (0..CLIENTS)
        .map(|number| connect(address, &clean(from, &name("p", number))))
        .collect();
    let senders: Vec<_> = publishers
        .into_iter()
        .enumerate()
        .map(|(number, mut client)| {
            thread::spawn(move || {
                for text in numbered("", MESSAGES) {
                    let topic = format!("m/{number}");
                    client.publish(&topic, qos, text.as_bytes()).unwrap();
                }
                leave(client);
            })
        })
        .collect();
    for subscriber in &mut subscribers {
        let got = collect(subscriber, CLIENTS * MESSAGES);
        assert!(
            got.iter()
                .all(|publish| publish.qos == qos && !publish.dup && !publish.retain)
        );
        for number in 0..CLIENTS {
            let topic = format!("m/{number}");
            let of_one: Vec<Publish> = got
                .iter()
                .filter(|publish| publish.topic == topic)
                .cloned()
                .collect();
            assert_eq!(
                texts(&of_one),
                numbered("", MESSAGES),
                "{from:?} {to:?} {qos}"
            );
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for mut subscriber in subscribers {
        subscriber.expect_nothing(SILENCE / 20).unwrap();
        leave(subscriber);
    }
}

#[test]
fn the_lower_qos_of_publisher_and_subscriber_counts() {
    let broker = Broker::start(2);
    for published in 0..3 {
        for granted in 0..3 {
            let version = VERSIONS[usize::from(published)];
            let mut to = subscriber(broker.address(), version, "to", "a/b", granted);
            let mut from = connect(broker.address(), &clean(Version::V311, "from"));
            from.publish("a/b", published, b"x").unwrap();
            let got = collect(&mut to, 1);
            assert_eq!(got[0].qos, published.min(granted));
            leave(to);
            leave(from);
        }
    }
    broker.stop();
}

#[test]
fn wildcards_match_as_the_specification_says() {
    let broker = Broker::start(4);
    let cases: [(&str, &[&str]); 9] = [
        ("sport/#", &["sport", "sport/tennis", "sport/tennis/p1"]),
        ("sport/+", &["sport/", "sport/tennis"]),
        ("+/tennis", &["/tennis", "sport/tennis"]),
        ("+/+", &["/tennis", "sport/", "sport/tennis"]),
        (
            "#",
            &[
                "/tennis",
                "sport",
                "sport/",
                "sport/tennis",
                "sport/tennis/p1",
            ],
        ),
        ("+", &["sport"]),
        ("sport/tennis", &["sport/tennis"]),
        ("sport/+/p1", &["sport/tennis/p1"]),
        ("$sport/#", &["$sport/x"]),
    ];
    let topics = [
        "$sport/x",
        "/tennis",
        "sport",
        "sport/",
        "sport/tennis",
        "sport/tennis/p1",
    ];
    let mut clients: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, (filter, _))| {
            subscriber(broker.address(), Version::V5, &format!("c{n}"), filter, 0)
        })
        .collect();
    let mut from = connect(broker.address(), &clean(Version::V5, "from"));
    for topic in topics {
        // QoS 1, so that its end is known to be everyone's end.
        from.publish(topic, 1, topic.as_bytes()).unwrap();
    }
    for (client, (filter, wanted)) in clients.iter_mut().zip(&cases) {
        let expected = if *filter == "sport/#" {
            vec!["sport", "sport/", "sport/tennis", "sport/tennis/p1"]
        } else {
            wanted.to_vec()
        };
        let got = collect(client, expected.len());
        assert_eq!(texts(&got), expected, "{filter}");
        client.expect_nothing(SILENCE / 4).unwrap();
    }
    broker.stop();
}

#[test]
fn overlapping_subscriptions_and_unsubscribe() {
    let broker = Broker::start(2);
    let mut to = subscriber(broker.address(), Version::V311, "to", "a/#", 0);
    assert_eq!(to.subscribe("a/+", 2).unwrap(), 2);
    assert_eq!(to.subscribe("a/b", 1).unwrap(), 1);
    let mut from = connect(broker.address(), &clean(Version::V311, "from"));
    from.publish("a/b", 2, b"once").unwrap();
    let got = collect(&mut to, 1);
    assert_eq!((got[0].qos, texts(&got)), (2, vec!["once".to_owned()]));
    for filter in ["a/+", "a/b"] {
        unsubscribe(&mut to, filter);
    }
    from.publish("a/b", 2, b"less").unwrap();
    let got = collect(&mut to, 1);
    assert_eq!((got[0].qos, texts(&got)), (0, vec!["less".to_owned()]));
    unsubscribe(&mut to, "a/#");
    from.publish("a/b", 2, b"none").unwrap();
    to.expect_nothing(SILENCE).unwrap();
    broker.stop();
}

fn unsubscribe(client: &mut Client, filter: &str) {
    let packet_id = client.packet_id();
    let unsubscribe = bench_harness::codec::Unsubscribe {
        packet_id,
        filters: vec![filter.to_owned()],
        ..Default::default()
    };
    client.send(&Packet::Unsubscribe(unsubscribe)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::UnsubAck(ack) => assert_eq!(ack.packet_id, packet_id),
        other => panic!("no UNSUBACK but {other:?}"),
    }
}

#[test]
fn version_5_carries_properties_and_options() {
    let broker = Broker::start(2);
    let mut to = connect(broker.address(), &clean(Version::V5, "to"));
    let identifier = Property::SubscriptionIdentifier(77);
    let no_local = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::qos(1)
    };
    assert_eq!(
        subscribe_with(&mut to, "p/#", no_local, vec![identifier.clone()]),
        1
    );
    to.send(&Packet::Publish(message("p/own", "own"))).unwrap();
    let carried = vec![
        Property::PayloadFormatIndicator(1),
        Property::ContentType("text/plain".to_owned()),
        Property::ResponseTopic("answers/here".to_owned()),
        Property::CorrelationData(vec![0, 1, 255]),
        Property::UserProperty("a".to_owned(), "1".to_owned()),
        Property::UserProperty("a".to_owned(), "2".to_owned()),
    ];
    let mut from = connect(broker.address(), &clean(Version::V5, "from"));
    let mut publish = message("p/x", "text");
    publish.properties = Properties(carried.clone());
    from.send(&Packet::Publish(publish)).unwrap();
    let got = collect(&mut to, 1).remove(0);
    assert_eq!(
        (got.topic.as_str(), got.payload.as_slice()),
        ("p/x", &b"text"[..])
    );
    for property in carried.iter().chain([&identifier]) {
        assert!(
            got.properties.0.contains(property),
            "{property:?} in {got:?}"
        );
    }
    assert_eq!(got.properties.0.len(), carried.len() + 1, "{got:?}");
    let users: Vec<&Property> = got
        .properties
        .0
        .iter()
        .filter(|property| matches!(property, Property::UserProperty(..)))
        .collect();
    assert_eq!(users, [&carried[4], &carried[5]], "their order is kept");
    broker.stop();
}

#[test]
fn large_and_empty_payloads_arrive_whole() {
    let broker = Broker::start(2);
    let mut clients: Vec<_> = (0..4)
        .map(|n| {
            subscriber(
                broker.address(),
                VERSIONS[n % 3],
                &format!("c{n}"),
                "big",
                1,
            )
        })
        .collect();
    let mut from = connect(broker.address(), &clean(Version::V311, "from"));
    let sizes = [
        0, 1, 127, 128, 511, 512, 513, 16_383, 16_384, 65_535, 65_536, 1_000_000,
    ];
    for size in sizes {
        let payload: Vec<u8> = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        from.publish("big", 1, &payload).unwrap();
        for client in &mut clients {
            let got = collect(client, 1);
            assert_eq!(got[0].payload.len(), size);
            assert!(got[0].payload == payload, "altered at {size} bytes");
        }
    }
    broker.stop();
}

#[test]
fn packets_may_come_in_pieces_and_in_heaps() {
    let broker = Broker::start(2);
    for version in VERSIONS {
        let mut to = subscriber(broker.address(), version, "to", "t", 0);
        let mut from = Client::open(broker.address(), version).unwrap();
        let mut bytes = Packet::Connect(clean(version, "from").connect).to_bytes(version);
        for text in numbered("", 3) {
            bytes.extend(Packet::Publish(message("t", text)).to_bytes(version));
        }
        from.stream().set_nodelay(true).unwrap();
        for byte in &bytes {
            from.send_raw(std::slice::from_ref(byte)).unwrap();
        }
        assert_eq!(texts(&collect(&mut to, 3)), numbered("", 3));
        assert!(matches!(from.expect(PATIENCE).unwrap(), Packet::ConnAck(ack) if ack.code == 0));
        let heap: Vec<u8> = numbered("h", 900)
            .into_iter()
            .flat_map(|text| Packet::Publish(message("t", text)).to_bytes(version))
            .collect();
        from.send_raw(&heap).unwrap();
        assert_eq!(texts(&collect(&mut to, 900)), numbered("h", 900));
        ping(&mut from);
        leave(from);
        leave(to);
    }
    broker.stop();
}

#[test]
fn what_is_not_mqtt_ends_its_own_connection_only() {
    let broker = Broker::start(2);
    let mut good = subscriber(broker.address(), Version::V5, "good", "t", 0);
    let hostile: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xC0, 0],                            // PINGREQ before CONNECT
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], // a length of five bytes
        &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'X', 4, 2, 0, 0, 0, 0],
        &[0x00, 0x00],
        &[0xFF; 100],
    ];
    for bytes in hostile {
        let mut bad = Client::open(broker.address(), Version::V311).unwrap();
        bad.send_raw(bytes).unwrap();
        match bad.expect(PATIENCE) {
            Ok(Packet::ConnAck(ack)) => assert_ne!(ack.code, 0),
            Ok(other) => panic!("{bytes:?} was answered with {other:?}"),
            Err(bench_harness::client::Error::Closed) => {}
            Err(why) => panic!("{bytes:?}: {why}"),
        }
    }
    good.publish("t", 0, b"still here").unwrap();
    assert_eq!(texts(&collect(&mut good, 1)), ["still here"]);
    broker.stop();
}
