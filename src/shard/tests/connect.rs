//! CONNECT and CONNACK, and what is refused.

use super::lines::read_lines;
use super::support::{Broker, ping};
use super::support::{Bye, Client, Packet, publish, run_of, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::decode_server::{ServerPacket, decode_server};
use crate::mqtt::encode_connack::ConnAckProperties;
use crate::mqtt::frame::next_frame;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;

fn v31(id: &str) -> Client<'_> {
    Client {
        version: Version::V31,
        ..v311(id, true)
    }
}

#[test]
fn every_version_gets_its_connack() {
    for client in [v31("a"), v311("a", true), v5("a")] {
        let mut broker = Broker::new();
        let slot = broker.enter(&client, &[]);
        assert_eq!(broker.sent(slot), ["connack"], "{:?}", client.version);
    }
}

#[test]
fn what_is_refused_and_with_which_code() {
    let deep = "a/".repeat(200);
    let sha = Client {
        auth_method: Some("SCRAM"),
        ..v5("a")
    };
    let long = "x".repeat(30);
    // Client; the reason code of the answer, if there is one.
    let cases: [(&str, Client<'_>, Option<&str>); 6] = [
        ("empty id of 3.1", v31(""), Some("connack 0x85")),
        ("empty id to be kept", v311("", false), Some("connack 0x85")),
        ("authentication method", sha, Some("connack 0x8C")),
        ("long id", v5(&long), Some("connack 0x85")),
        (
            "deep will topic",
            v5("a").wills(&deep, 0),
            Some("connack 0x90"),
        ),
        (
            "room for no CONNACK",
            Client {
                max_packet_size: Some(10),
                ..v5("a")
            },
            Some("connack 0x95"),
        ),
    ];
    for (what, client, expected) in cases {
        let mut broker = Broker::ruled(|rules| rules.max_clientid_len = 29);
        let refusal = broker.handshake(&client.bytes()).expect_err(what);
        let lines = read_lines(&refusal, client.version);
        assert_eq!(lines.first().map(String::as_str), expected, "{what}");
        assert_eq!(broker.count(Counter::PacketsConnackError), 1, "{what}");
        assert_eq!(broker.count(Counter::PacketsConnackSent), 1, "{what}");
    }
}

#[test]
fn bytes_that_are_no_connect_have_no_answer() {
    for bytes in [
        ping(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1],
    ] {
        let mut broker = Broker::new();
        assert_eq!(
            broker.handshake(&bytes).expect_err("refused"),
            Vec::<u8>::new()
        );
        assert_eq!(broker.count(Counter::PacketsConnackSent), 0);
    }
}

#[test]
fn nobody_is_let_in_without_authentication_unless_that_is_allowed() {
    let mut broker = Broker::ruled(|rules| rules.allow_anonymous = false);
    let refusal = broker.handshake(&v5("a").bytes()).expect_err("refused");
    assert_eq!(read_lines(&refusal, Version::V5), ["connack 0x87"]);
    assert_eq!(broker.count(Counter::ShutdownNotAuthorized), 1);
}

fn connack_of(
    broker: &mut Broker,
    client: &Client<'_>,
    check: impl FnOnce(&ConnAckProperties<'_>),
) {
    let slot = broker.enter(client, &[]);
    let bytes = broker.raw(slot);
    let frame = next_frame(&bytes, u32::MAX).unwrap().unwrap();
    let Ok(ServerPacket::ConnAck(ack)) = decode_server(&frame, client.version) else {
        panic!("not a CONNACK");
    };
    check(&ack.properties);
}

#[test]
fn connack_says_what_the_broker_offers() {
    let mut broker = Broker::ruled(|rules| {
        rules.max_qos_allowed = 1;
        rules.retain_available = false;
        rules.server_keepalive_s = Some(7);
        rules.max_awaiting_rel = 20;
    });
    connack_of(&mut broker, &v5(""), |properties| {
        assert_eq!(properties.maximum_qos, Some(QoS::AtLeastOnce));
        assert_eq!(properties.retain_available, Some(false));
        assert_eq!(properties.server_keep_alive, Some(7));
        assert_eq!(properties.receive_maximum, Some(20));
        assert_eq!(properties.maximum_packet_size, Some(1 << 20));
        assert_eq!(properties.shared_subscription_available, Some(true));
        assert!(properties.assigned_client_identifier.is_some());
        assert_eq!(properties.session_expiry_interval, None);
    });
}

#[test]
fn a_connack_fits_into_the_smallest_packet_that_is_let_in() {
    // [MQTT-3.1.2-24]
    for (id, max) in [("a", 40), ("", 70)] {
        let client = Client {
            max_packet_size: Some(max),
            ..v5(id)
        };
        let mut broker = Broker::ruled(|rules| {
            rules.server_keepalive_s = Some(1);
            rules.max_qos_allowed = 0;
        });
        let slot = broker.enter(&client, &[]);
        assert!(broker.raw(slot).len() <= max as usize);
    }
}

#[test]
fn packets_right_behind_connect_are_handled_behind_connack() {
    let mut broker = Broker::new();
    let behind = run_of(&[&ping(), &subscribe(1, &[("t", 0)]), &publish("t", "p")]);
    let slot = broker.enter(&v5("a"), &behind);
    assert_eq!(
        broker.sent(slot),
        ["connack", "pingresp", "suback 1 [0]", "publish t=p"]
    );
    let received = broker.count(Counter::BytesReceived);
    assert_eq!(received as usize, v5("a").bytes().len() + behind.len());
}

#[test]
fn a_goodbye_right_behind_connect() {
    let mut broker = Broker::new();
    let behind = Bye(ReasonCode::Success, None).bytes(Version::V5);
    let slot = broker.enter(&v5("a").wills("w", 0), &behind);
    assert_eq!(broker.sent(slot), ["connack"]);
    assert_eq!(broker.closed, [slot]);
    assert_eq!(broker.count(Counter::WillPublished), 0);
    assert!(broker.shard.clients.registry.is_empty());
}

#[test]
fn a_second_connect_ends_the_connection() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    assert_eq!(broker.ask(slot, &v5("a").bytes()), ["disconnect 0x82"]);
    assert_eq!(broker.closed, [slot]);
    assert_eq!(broker.count(Counter::ShutdownProtoUnexpectedC), 1);
}

#[test]
fn a_full_core_refuses() {
    let mut broker = Broker::ruled(|rules| rules.max_connections = 1);
    broker.connect(&v5("a"));
    let handover = broker.handshake(&v5("b").bytes()).unwrap();
    broker.shard.arrive(handover);
    broker.run();
    let refusal = broker.refused.pop().unwrap();
    assert_eq!(read_lines(&refusal, Version::V5), ["connack 0x97"]);
    assert_eq!(broker.count(Counter::PacketsConnackError), 1);
    assert_eq!(broker.count(Counter::HandoverRefused), 1);
}

#[test]
fn connect_and_disconnect_are_counted() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &Bye(ReasonCode::Success, None));
    for counter in [
        Counter::ClientConnect,
        Counter::ClientConnack,
        Counter::ClientConnected,
        Counter::ClientDisconnected,
        Counter::SessionCreated,
        Counter::SessionTerminated,
        Counter::ShutdownNormal,
        Counter::PacketsConnectReceived,
        Counter::PacketsDisconnectReceived,
    ] {
        assert_eq!(broker.count(counter), 1, "{}", counter.name());
    }
}
