//! Clients' comings and goings, with EMQX's bodies.

use bench_harness::codec::{Packet, Properties, Unsubscribe, Version};
use serde_json::Value;

use super::{NODE, gather};
use crate::broker::Broker;
use crate::peer::{SILENCE, clean, connect, leave, ping, subscriber, vanish};

fn topic(client_id: &str, event: &str) -> String {
    format!("$SYS/brokers/{NODE}/clients/{client_id}/{event}")
}

#[test]
fn comings_and_goings_are_told_to_who_listens() {
    let broker = Broker::start(2);
    let address = broker.address();
    let filter = topic("+", "+");
    let mut watcher = subscriber(address, Version::V5, "watcher", &filter, 0);
    let mut options = clean(Version::V311, "dev/1");
    options.connect.username = Some("ann".to_owned());
    options.connect.keep_alive_s = 77;
    // A client id with a slash has an event one level deeper.
    assert_eq!(watcher.subscribe(&topic("dev/1", "+"), 0).unwrap(), 0);
    let mut device = connect(address, &options);
    let came = topic("dev/1", "connected");
    let body = gather(&mut watcher, |all| all.contains_key(&came)).remove(&came);
    let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
    for (field, wanted) in [
        ("clientid", Value::from("dev/1")),
        ("username", "ann".into()),
        ("ipaddress", "127.0.0.1".into()),
        ("proto_ver", 4.into()),
        ("proto_name", "MQTT".into()),
        ("keepalive", 77.into()),
        ("connack", 0.into()),
        ("clean_start", true.into()),
        ("expiry_interval", 0.into()),
        ("sockport", address.port().into()),
    ] {
        assert_eq!(body[field], wanted, "{field}: {body}");
    }
    assert!(body["ts"].as_u64().unwrap() > 1_700_000_000_000, "{body}");
    assert!(body["connected_at"].is_u64(), "{body}");
    ping(&mut device);
    leave(device);
    let went = topic("dev/1", "disconnected");
    let body = gather(&mut watcher, |all| all.contains_key(&went)).remove(&went);
    let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
    assert_eq!(body["reason"], "normal", "{body}");
    assert_eq!(body["clientid"], "dev/1");
    assert!(body["disconnected_at"].is_u64(), "{body}");
}

#[test]
fn reasons_are_those_of_emqx_and_a_name_that_is_not_there_is_undefined() {
    let broker = Broker::start(1);
    let address = broker.address();
    let mut watcher = subscriber(address, Version::V5, "w", &topic("d", "disconnected"), 0);
    let went = topic("d", "disconnected");
    let mut reason = |end: &dyn Fn()| {
        end();
        let body = gather(&mut watcher, |all| all.contains_key(&went)).remove(&went);
        let body: Value = serde_json::from_str(&body.unwrap()).unwrap();
        assert_eq!(body["username"], "undefined");
        body["reason"].as_str().unwrap().to_owned()
    };
    let vanishes = || vanish(connect(address, &clean(Version::V311, "d")));
    assert_eq!(reason(&vanishes), "tcp_closed");
    let mut first = None;
    let mut second = None;
    first.replace(connect(address, &clean(Version::V5, "d")));
    second.replace(connect(address, &clean(Version::V5, "d")));
    assert_eq!(reason(&|| ()), "discarded");
    drop((first, second));
}

#[test]
fn subscriptions_are_told_when_the_settings_say_so() {
    let quiet = Broker::start(1);
    let loud = Broker::with(&[
        "--cores",
        "1",
        "--set",
        "sys_topics.sys_event_messages.client_subscribed=true",
        "--set",
        "sys_topics.sys_event_messages.client_unsubscribed=true",
        "--set",
        "sys_topics.sys_event_messages.client_connected=false",
    ]);
    let mut silent = subscriber(
        quiet.address(),
        Version::V5,
        "w",
        &topic("d", "subscribed"),
        0,
    );
    let _device = subscriber(quiet.address(), Version::V5, "d", "a/+", 1);
    assert!(silent.expect(SILENCE).is_err());
    let mut watcher = subscriber(loud.address(), Version::V5, "w", &topic("d", "+"), 0);
    let mut device = subscriber(loud.address(), Version::V5, "d", "a/+", 1);
    let came = topic("d", "subscribed");
    let all = gather(&mut watcher, |all| all.contains_key(&came));
    assert!(!all.contains_key(&topic("d", "connected")), "{all:?}");
    let body: Value = serde_json::from_str(&all[&came]).unwrap();
    assert_eq!(body["topic"], "a/+", "{body}");
    assert_eq!(body["subopts"]["qos"], 1, "{body}");
    let unsubscribe = Unsubscribe {
        packet_id: device.packet_id(),
        properties: Properties::default(),
        filters: vec!["a/+".to_owned()],
    };
    device.send(&Packet::Unsubscribe(unsubscribe)).unwrap();
    let went = topic("d", "unsubscribed");
    let all = gather(&mut watcher, |all| all.contains_key(&went));
    let body: Value = serde_json::from_str(&all[&went]).unwrap();
    assert_eq!(body["topic"], "a/+", "{body}");
}
