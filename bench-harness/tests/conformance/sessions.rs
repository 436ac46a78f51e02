//! Sessions (4.1): what is kept between connections, for how long, and what ends it.

use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Properties, Property, Version};

use crate::peer::{SILENCE, clean, collect, connect, leave, message, persistent, success, texts};
use crate::world::{
    BOTH, address, assert_alive, expect_cut, fresh, publish, publish_all, pubrec, pubrel, release,
    send, with_qos,
};

const V5: Version = Version::V5;

/// A session of version 5 that lives so long.
fn expiring(id: &str, seconds: u32) -> Options {
    let mut options = persistent(V5, id);
    options.connect.properties = Properties(vec![Property::SessionExpiryInterval(seconds)]);
    options
}

/// A client with a session that has a subscription, a message in flight and a message waiting.
fn busy(version: Version, id: &str, topic: &str) -> Client {
    let mut client = connect(address(), &persistent(version, id));
    client.subscribe(topic, 1).unwrap();
    publish(version, topic, 1, "in flight");
    client.expect_publish().unwrap();
    client
}

#[test]
fn a_clean_start_discards_the_session() {
    for version in BOTH {
        let (id, topic) = (fresh("clean"), fresh("clean"));
        drop(busy(version, &id, &topic));
        publish(version, &topic, 1, "waiting");
        let mut client = connect(address(), &clean(version, &id));
        assert!(!client.connack.session_present);
        publish(version, &topic, 1, "not subscribed");
        client.expect_nothing(SILENCE).unwrap();
        // It does not come back later.
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        assert!(!client.connack.session_present);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn a_clean_start_discards_a_connected_session_too() {
    for version in BOTH {
        let (id, topic) = (fresh("clean"), fresh("clean"));
        let mut old = busy(version, &id, &topic);
        let mut new = connect(address(), &clean(version, &id));
        assert!(!new.connack.session_present);
        expect_cut(version, &mut old, &[0x8E]);
        publish(version, &topic, 1, "x");
        new.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn a_session_is_resumed_with_all_it_holds() {
    for version in BOTH {
        let (id, topic) = (fresh("resume"), fresh("resume"));
        let mut client = busy(version, &id, &topic);
        // A message of QoS 2 from the client that is not released yet.
        send(&mut client, with_qos(message(&fresh("t"), "x"), 2, 8));
        assert_eq!(pubrec(&mut client).0, 8);
        drop(client);
        publish(version, &topic, 1, "waiting");
        let mut client = connect(address(), &persistent(version, &id));
        assert!(client.connack.session_present);
        assert_eq!(texts(&collect(&mut client, 2)), ["in flight", "waiting"]);
        assert_eq!(release(&mut client, 8), 0);
        publish(version, &topic, 1, "live");
        assert_eq!(texts(&collect(&mut client, 1)), ["live"]);
    }
}

#[test]
fn without_a_session_a_new_one_is_made() {
    for version in BOTH {
        let (id, topic) = (fresh("make"), fresh("make"));
        let mut client = connect(address(), &persistent(version, &id));
        assert!(!client.connack.session_present);
        client.subscribe(&topic, 1).unwrap();
        leave(client);
        publish(version, &topic, 1, "x");
        let mut client = connect(address(), &persistent(version, &id));
        assert!(client.connack.session_present);
        assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
    }
}

#[test]
fn messages_are_stored_while_a_client_is_away() {
    for version in BOTH {
        let (id, topic) = (fresh("away"), fresh("away"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        drop(client);
        let wanted: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let qos = |number| 1 + u8::from(number % 2 == 0);
        let messages = wanted.iter().enumerate();
        let messages = messages.map(|(number, text)| (qos(number), text.as_str()));
        publish_all(version, &topic, messages);
        let mut client = connect(address(), &persistent(version, &id));
        let got = collect(&mut client, 20);
        assert_eq!(texts(&got), wanted);
        assert!(got.iter().all(|p| !p.dup));
    }
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    for version in BOTH {
        let (id, topic) = (fresh("short"), fresh("short"));
        let mut client = connect(address(), &clean(version, &id));
        client.subscribe(&topic, 1).unwrap();
        leave(client);
        publish(version, &topic, 1, "x");
        let mut client = connect(address(), &persistent(version, &id));
        assert!(!client.connack.session_present);
        publish(version, &topic, 1, "x");
        client.expect_nothing(SILENCE).unwrap();
    }
    // Clean start 0 makes no difference in version 5.
    let id = fresh("short");
    leave(connect(address(), &expiring(&id, 0)));
    assert!(
        !connect(address(), &expiring(&id, 0))
            .connack
            .session_present
    );
}

#[test]
fn a_session_is_kept_until_its_expiry() {
    let id = fresh("expiry");
    leave(connect(address(), &expiring(&id, 60)));
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        connect(address(), &expiring(&id, 60))
            .connack
            .session_present
    );
    let id = fresh("never");
    leave(connect(address(), &expiring(&id, u32::MAX)));
    assert!(
        connect(address(), &expiring(&id, 0))
            .connack
            .session_present
    );
}

#[test]
fn a_session_is_discarded_after_its_expiry() {
    let (id, topic) = (fresh("expired"), fresh("expired"));
    let mut client = connect(address(), &expiring(&id, 1));
    client.subscribe(&topic, 1).unwrap();
    leave(client);
    std::thread::sleep(Duration::from_millis(2500));
    let mut client = connect(address(), &expiring(&id, 60));
    assert!(!client.connack.session_present);
    publish(V5, &topic, 1, "x");
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn a_session_lasts_as_long_as_its_connection() {
    let (id, topic) = (fresh("lasts"), fresh("lasts"));
    let mut client = connect(address(), &expiring(&id, 1));
    client.subscribe(&topic, 1).unwrap();
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        client.expect_nothing(Duration::from_millis(300)).unwrap();
    }
    publish(V5, &topic, 1, "still here");
    assert_eq!(texts(&collect(&mut client, 1)), ["still here"]);
    for version in BOTH {
        let mut client = connect(address(), &clean(version, &fresh("lasts")));
        let topic = fresh("lasts");
        client.subscribe(&topic, 1).unwrap();
        assert_alive(&mut client);
        publish(version, &topic, 1, "x");
        assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
    }
}

#[test]
fn the_newest_connect_sets_the_expiry() {
    let id = fresh("newest");
    leave(connect(address(), &expiring(&id, 60)));
    let client = connect(address(), &expiring(&id, 0));
    assert!(client.connack.session_present);
    leave(client);
    assert!(
        !connect(address(), &expiring(&id, 60))
            .connack
            .session_present
    );
}

#[test]
fn a_take_over_hands_the_session_to_the_new_connection() {
    for version in BOTH {
        let (id, topic) = (fresh("take"), fresh("take"));
        let mut old = busy(version, &id, &topic);
        let mut new = connect(address(), &persistent(version, &id));
        assert!(new.connack.session_present);
        expect_cut(version, &mut old, &[0x8E]);
        assert_eq!(texts(&collect(&mut new, 1)), ["in flight"]);
        publish(version, &topic, 1, "live");
        assert_eq!(texts(&collect(&mut new, 1)), ["live"]);
    }
}

#[test]
fn both_kinds_of_unfinished_exchange_come_again_with_their_identifiers() {
    for version in BOTH {
        let (id, topic) = (fresh("both"), fresh("both"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 2).unwrap();
        let messages = [(2, "released"), (2, "open"), (1, "one")];
        publish_all(version, &topic, messages);
        let first: Vec<_> = (0..3).map(|_| client.expect_publish().unwrap()).collect();
        let released = first[0].packet_id.unwrap();
        client.send(&Packet::PubRec(success(released))).unwrap();
        assert_eq!(pubrel(&mut client), released);
        drop(client);
        let mut client = connect(address(), &persistent(version, &id));
        assert_eq!(pubrel(&mut client), released);
        for before in &first[1..] {
            let now = client.expect_publish().unwrap();
            assert_eq!((now.packet_id, now.dup), (before.packet_id, true));
            assert_eq!(now.payload, before.payload);
        }
        client.expect_nothing(SILENCE).unwrap();
    }
}
