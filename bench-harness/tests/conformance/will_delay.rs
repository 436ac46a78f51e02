//! The will delay interval of version 5 (3.1.3.2.2): which comes first, the delay or the session's end.

use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Disconnect, Packet, Properties, Property, Version};

use crate::peer::{PATIENCE, SILENCE, clean, collect, connect, leave, persistent, texts, vanish};
use crate::wills::{will, with_will};
use crate::world::{address, fresh, listener};

const V5: Version = Version::V5;

/// A session that lives `expiry_s` with a will that waits `delay_s`.
fn delayed(id: &str, topic: &str, expiry_s: u32, delay_s: u32) -> Options {
    let mut will = will(topic, "will");
    will.properties = Properties(vec![Property::WillDelayInterval(delay_s)]);
    let mut options = with_will(persistent(V5, id), will);
    options.connect.properties = Properties(vec![Property::SessionExpiryInterval(expiry_s)]);
    options
}

fn heir_of(topic: &str) -> Client {
    listener(V5, topic, 1)
}

#[test]
fn it_is_published_after_its_delay() {
    let topic = fresh("delay");
    let mut heir = heir_of(&topic);
    vanish(connect(address(), &delayed(&fresh("d"), &topic, 60, 2)));
    let since = Instant::now();
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
    assert!(since.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn it_is_not_published_when_the_client_is_back_in_time() {
    let (id, topic) = (fresh("d"), fresh("delay"));
    let mut heir = heir_of(&topic);
    vanish(connect(address(), &delayed(&id, &topic, 60, 5)));
    let client = connect(address(), &persistent(V5, &id));
    assert!(client.connack.session_present);
    heir.expect_nothing(Duration::from_secs(7)).unwrap();
    leave(client);
    heir.expect_nothing(SILENCE).unwrap();
}

#[test]
fn it_is_not_published_when_the_connection_is_taken_over_with_its_session() {
    let (id, topic) = (fresh("d"), fresh("delay"));
    let mut heir = heir_of(&topic);
    let old = connect(address(), &delayed(&id, &topic, 60, 1));
    let new = connect(address(), &persistent(V5, &id));
    assert!(new.connack.session_present);
    heir.expect_nothing(Duration::from_secs(2)).unwrap();
    drop((old, new));
}

#[test]
fn it_is_published_when_the_session_ends_first() {
    let topic = fresh("delay");
    let mut heir = heir_of(&topic);
    // `collect` would not wait for a delay of ten minutes.
    vanish(connect(address(), &delayed(&fresh("d"), &topic, 1, 600)));
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
    // Without an expiry the session ends at once.
    vanish(connect(address(), &delayed(&fresh("d"), &topic, 0, 600)));
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
}

#[test]
fn it_is_published_when_a_clean_start_ends_the_session() {
    let (id, topic) = (fresh("d"), fresh("delay"));
    let mut heir = heir_of(&topic);
    vanish(connect(address(), &delayed(&id, &topic, 600, 600)));
    heir.expect_nothing(SILENCE).unwrap();
    let client = connect(address(), &clean(V5, &id));
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
    leave(client);
    heir.expect_nothing(SILENCE).unwrap();
}

#[test]
fn disconnect_with_will_starts_the_delay_and_a_normal_one_removes_it() {
    let topic = fresh("delay");
    let mut heir = heir_of(&topic);
    let mut client = connect(address(), &delayed(&fresh("d"), &topic, 60, 1));
    let with_will = Disconnect {
        code: 0x04,
        ..Disconnect::default()
    };
    client.send(&Packet::Disconnect(with_will)).unwrap();
    client.expect_closed(PATIENCE).unwrap();
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
    leave(connect(address(), &delayed(&fresh("d"), &topic, 60, 1)));
    heir.expect_nothing(Duration::from_secs(2)).unwrap();
}

#[test]
fn a_disconnect_that_ends_the_session_ends_the_delay() {
    let topic = fresh("delay");
    let mut heir = heir_of(&topic);
    let mut client = connect(address(), &delayed(&fresh("d"), &topic, 60, 600));
    let with_will = Disconnect {
        code: 0x04,
        properties: Properties(vec![Property::SessionExpiryInterval(0)]),
    };
    client.send(&Packet::Disconnect(with_will)).unwrap();
    client.expect_closed(PATIENCE).unwrap();
    assert_eq!(texts(&collect(&mut heir, 1)), ["will"]);
}
