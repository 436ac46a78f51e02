//! Version 3.1 as the field speaks it, and the bridge bit that is set on levels 3 and 4.

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Version};

use crate::peer::{PATIENCE, clean, collect, connect, persistent, texts};
use crate::raw;
use crate::world::{address, assert_alive, fresh, publish, publish_retained, refused, release};

const V31: Version = Version::V31;

fn connect_bytes(name: &[u8], level: u8, client_id: &str) -> Vec<u8> {
    let connect = raw::Connect {
        name: name.to_vec(),
        level,
        ..raw::Connect::new(V31, client_id)
    };
    connect.bytes()
}

#[test]
fn a_client_is_served_at_every_qos() {
    let topic = fresh("old");
    let mut client = connect(address(), &clean(V31, &fresh("old")));
    client.subscribe(&topic, 2).unwrap();
    for qos in 0..=2 {
        publish(V31, &topic, qos, &qos.to_string());
        let got = collect(&mut client, 1);
        assert_eq!((got[0].qos, texts(&got)), (qos, vec![qos.to_string()]));
    }
}

#[test]
fn a_session_is_resumed_without_the_flag_that_says_so() {
    let (id, topic) = (fresh("old"), fresh("old"));
    let mut client = connect(address(), &persistent(V31, &id));
    client.subscribe(&topic, 1).unwrap();
    drop(client);
    publish(V31, &topic, 1, "kept");
    let mut client = connect(address(), &persistent(V31, &id));
    assert!(!client.connack.session_present);
    assert_eq!(texts(&collect(&mut client, 1)), ["kept"]);
}

#[test]
fn an_empty_client_identifier_is_refused() {
    let ack = refused(V31, &connect_bytes(b"MQIsdp", 3, "")).unwrap();
    assert_eq!(ack.code, 0x02);
}

#[test]
fn a_client_identifier_of_more_than_23_characters_is_accepted() {
    let id = format!("{}{}", fresh("long"), "x".repeat(40));
    assert_alive(&mut connect(address(), &clean(V31, &id)));
}

#[test]
fn name_and_level_belong_together() {
    for (name, level) in [(&b"MQIsdp"[..], 4), (b"MQIsdp", 5), (b"MQTT", 3)] {
        let ack = refused(Version::V311, &connect_bytes(name, level, &fresh("mixed")));
        assert_eq!(ack.unwrap().code, 0x01, "{level}");
    }
}

#[test]
fn dup_is_allowed_where_3_1_had_it() {
    let mut client = connect(address(), &clean(V31, &fresh("dup")));
    let mut subscribe = raw::subscribe(V31, fresh("f").as_bytes(), 1);
    subscribe[0] |= 0x08;
    client.send_raw(&subscribe).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::SubAck(_))));
    client.send_raw(&[0x6A, 0x02, 0x00, 0x07]).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::PubComp(_))));
    assert_eq!(release(&mut client, 8), 0);
}

#[test]
fn a_bridge_sees_the_retain_flag_as_it_was_published() {
    for (name, level) in [(&b"MQTT"[..], 0x84), (b"MQIsdp", 0x83)] {
        let topic = fresh("bridge");
        let mut bridge = Client::open(address(), Version::V311).unwrap();
        let bytes = connect_bytes(name, level, &fresh("bridge"));
        bridge.send_raw(&bytes).unwrap();
        match bridge.expect(PATIENCE).unwrap() {
            Packet::ConnAck(ack) => assert_eq!(ack.code, 0),
            other => panic!("{other:?}"),
        }
        bridge.subscribe(&topic, 1).unwrap();
        publish_retained(Version::V311, &topic, "retained");
        assert!(collect(&mut bridge, 1)[0].retain);
        publish(Version::V311, &topic, 1, "plain");
        assert!(!collect(&mut bridge, 1)[0].retain);
    }
}
