//! Shared subscriptions, on few and on many cores.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Error};
use bench_harness::codec::{Packet, Properties, Property, Publish, Version};

use crate::broker::Broker;
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, answer, clean, collect, connect, leave, message, numbered,
    persistent, subscriber, success, texts, vanish,
};

const MEMBERS: usize = 5;
const MESSAGES: usize = 60;

/// Receives, with all acknowledgements, until all members together have `all` messages.
fn receive(mut client: Client, all: usize, come: Arc<AtomicUsize>) -> JoinHandle<Vec<Publish>> {
    thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        let mut got = Vec::new();
        while come.load(Ordering::Relaxed) < all && Instant::now() < deadline {
            match client.expect(Duration::from_millis(20)) {
                Ok(Packet::Publish(publish)) => {
                    if let Some(answer) = answer(&publish) {
                        client.send(&answer).unwrap();
                    }
                    got.push(publish);
                    come.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Packet::PubRel(ack)) => client
                    .send(&Packet::PubComp(success(ack.packet_id)))
                    .unwrap(),
                Ok(other) => panic!("unexpected {other:?}"),
                Err(Error::Timeout) => {}
                Err(why) => panic!("{why}"),
            }
        }
        got
    })
}

/// Publishes numbered messages to `topic`.
fn publish_all(address: SocketAddr, id: &str, topic: &str, qos: u8) {
    let mut from = connect(address, &clean(Version::V5, id));
    for text in numbered("", MESSAGES) {
        from.publish(topic, qos, text.as_bytes()).unwrap();
    }
    leave(from);
}

#[test]
fn each_message_goes_to_one_member_of_each_group() {
    for cores in [1, 2, 8] {
        let broker = Broker::start(cores);
        for (number, version) in VERSIONS.into_iter().enumerate() {
            for qos in 0..3 {
                let topic = format!("jobs/{number}/{qos}");
                let filters = [
                    format!("$share/one/{topic}"),
                    format!("$share/two/jobs/{number}/+"),
                    format!("$queue/{topic}"),
                ];
                each_to_one(broker.address(), version, qos, &topic, &filters);
            }
        }
        broker.stop();
    }
}

fn each_to_one(address: SocketAddr, version: Version, qos: u8, topic: &str, filters: &[String]) {
    let groups: Vec<Vec<JoinHandle<Vec<Publish>>>> = filters
        .iter()
        .enumerate()
        .map(|(group, filter)| {
            let come = Arc::new(AtomicUsize::new(0));
            let member = |number| {
                let id = format!("{topic}-{group}-{number}");
                let client = subscriber(address, version, &id, filter, qos);
                receive(client, MESSAGES, Arc::clone(&come))
            };
            (0..MEMBERS).map(member).collect()
        })
        .collect();
    publish_all(address, "from", topic, qos);
    for members in groups {
        let mut all = BTreeMap::new();
        for member in members {
            let got = member.join().unwrap();
            assert!(!got.is_empty(), "{version:?} {qos}: a member got nothing");
            for publish in got {
                assert_eq!(publish.qos, qos);
                *all.entry(publish.payload).or_insert(0) += 1;
            }
        }
        assert_eq!(all.len(), MESSAGES, "{version:?} {qos}");
        assert!(all.values().all(|times| *times == 1), "{version:?} {qos}");
    }
}

#[test]
fn what_members_leave_undone_goes_to_those_who_stay() {
    for cores in [1, 2, 8] {
        let broker = Broker::start(cores);
        let address = broker.address();
        let mut lazy: Vec<Client> = (0..3)
            .map(|n| {
                let id = format!("lazy-{n}");
                let mut client = connect(address, &persistent(Version::V311, &id));
                assert_eq!(client.subscribe("$share/g/work", 1).unwrap(), 1);
                client
            })
            .collect();
        let stays = subscriber(address, Version::V5, "stays", "$share/g/work", 1);
        publish_all(address, "from", "work", 1);
        // They have got some, and have acknowledged nothing.
        assert!(!lazy[0].expect_publish().unwrap().payload.is_empty());
        let last = lazy.pop().unwrap();
        leave_with_messages(last);
        lazy.into_iter().for_each(vanish);
        let come = Arc::new(AtomicUsize::new(0));
        let got = receive(stays, MESSAGES, come).join().unwrap();
        let mut all = texts(&got);
        all.sort_unstable();
        let mut due = numbered("", MESSAGES);
        due.sort_unstable();
        assert_eq!(all, due, "{cores} cores");
        broker.stop();
    }
}

/// Says good-bye whatever comes meanwhile.
fn leave_with_messages(mut client: Client) {
    client
        .send(&Packet::Disconnect(
            bench_harness::codec::Disconnect::default(),
        ))
        .unwrap();
    while client.expect(PATIENCE).is_ok() {}
}

#[test]
fn while_all_are_away_the_group_keeps_what_comes() {
    for cores in [1, 3] {
        let broker = Broker::start(cores);
        let address = broker.address();
        let ids = ["a", "b", "c"];
        for id in ids {
            let mut client = connect(address, &persistent(Version::V5, id));
            assert_eq!(client.subscribe("$queue/later/#", 2).unwrap(), 2);
            leave(client);
        }
        publish_all(address, "from", "later/on", 2);
        let mut first = connect(address, &persistent(Version::V5, "b"));
        assert!(first.connack.session_present);
        assert_eq!(
            texts(&collect(&mut first, MESSAGES)),
            numbered("", MESSAGES)
        );
        first.expect_nothing(SILENCE).unwrap();
        // A retained message is none for a group.
        let mut retained = message("later/still", "x");
        retained.retain = true;
        first.send(&Packet::Publish(retained)).unwrap();
        assert_eq!(texts(&collect(&mut first, 1)), ["x"]);
        let mut late = connect(address, &clean(Version::V5, "late"));
        assert_eq!(late.subscribe("$share/new/later/#", 1).unwrap(), 1);
        late.expect_nothing(SILENCE).unwrap();
        leave(late);
        leave(first);
        broker.stop();
    }
}

#[test]
fn a_refused_message_is_offered_to_nobody_else_and_off_is_off() {
    let broker = Broker::start(2);
    let address = broker.address();
    let mut a = subscriber(address, Version::V5, "a", "$share/g/r", 1);
    publish_one(address, "r");
    let publish = a.expect_publish().unwrap();
    let mut b = subscriber(address, Version::V5, "b", "$share/g/r", 1);
    let refusal = bench_harness::codec::Ack {
        packet_id: publish.packet_id.unwrap(),
        code: 0x97,
        properties: Properties::default(),
    };
    a.send(&Packet::PubAck(refusal)).unwrap();
    vanish(a);
    b.expect_nothing(SILENCE).unwrap();
    let offered = |client: &Client| {
        let of = |p: &Property| matches!(p, Property::SharedSubscriptionAvailable(0));
        !client.connack.properties.0.iter().any(of)
    };
    assert!(offered(&b));
    leave(b);
    broker.stop();
    let broker = Broker::with(&["--cores", "2", "--set", "mqtt.shared_subscription=false"]);
    let mut a = connect(broker.address(), &clean(Version::V5, "a"));
    assert!(!offered(&a));
    assert_eq!(a.subscribe("$share/g/r", 1).unwrap(), 0x9E);
    leave(a);
    broker.stop();
}

fn publish_one(address: SocketAddr, topic: &str) {
    let mut from = connect(address, &clean(Version::V311, "one"));
    from.publish(topic, 1, b"x").unwrap();
    leave(from);
}
