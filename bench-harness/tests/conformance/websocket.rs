//! MQTT over WebSocket (6): frames, and the sub-protocol.

use std::io::Write;

use bench_harness::codec::{Packet, Version};

use crate::broker::Broker;
use crate::peer::{clean, collect, message, subscriber, texts};
use crate::raw;
use crate::world::{BOTH, fresh, send};
use crate::ws_peer::{MQTT, WsClient, frame, request};

/// A broker with a listener of each kind.
fn broker() -> Broker {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--listen",
        "ws://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    assert_eq!(broker.listening, ["tcp:default", "ws:default"]);
    broker
}

fn connect_bytes(version: Version) -> Vec<u8> {
    Packet::Connect(clean(version, &fresh("ws")).connect).to_bytes(version)
}

/// Takes binary frames until they hold a whole packet of fewer than 128 bytes, and nothing more.
fn packet(ws: &mut WsClient) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < 2 || got.len() < 2 + usize::from(got[1]) {
        let frame = ws.next().expect("the server goes on");
        assert_eq!(frame.first, 0x82, "a whole binary message: {frame:?}");
        got.extend(frame.payload);
    }
    assert_eq!(got.len(), 2 + usize::from(got[1]), "{got:x?}");
    got
}

/// Takes a CONNACK that accepts.
fn connack(ws: &mut WsClient) {
    let ack = packet(ws);
    assert_eq!((ack[0], ack[3]), (0x20, 0), "{ack:x?}");
}

#[test]
fn what_is_no_binary_frame_ends_the_connection() {
    let broker = broker();
    let [tcp, ws] = broker.addresses[..] else {
        panic!("two listeners");
    };
    for version in BOTH {
        let topic = fresh("text");
        let mut witness = subscriber(tcp, version, &fresh("witness"), &topic, 0);
        // In a text frame not even what would be a packet counts.
        let publish = raw::publish(version, topic.as_bytes(), b"never");
        for frames in [
            frame(0x81, &publish),
            [frame(0x01, &publish[..1]), frame(0x80, &publish[1..])].concat(),
        ] {
            let mut client = WsClient::open(ws);
            client.send(&connect_bytes(version));
            connack(&mut client);
            client.stream.write_all(&frames).unwrap();
            client.expect_close(1003);
        }
        // Before CONNECT neither.
        let mut client = WsClient::open(ws);
        let text = frame(0x81, &connect_bytes(version));
        client.stream.write_all(&text).unwrap();
        client.expect_close(1003);
        let mut mark = subscriber(tcp, version, &fresh("mark"), "unused", 0);
        send(&mut mark, message(&topic, "mark"));
        assert_eq!(texts(&collect(&mut witness, 1)), ["mark"]);
    }
}

#[test]
fn packets_span_frames_and_share_them() {
    let broker = broker();
    let [tcp, ws] = broker.addresses[..] else {
        panic!("two listeners");
    };
    for version in BOTH {
        let topic = fresh("pieces");
        let mut witness = subscriber(tcp, version, &fresh("witness"), &topic, 0);
        let long = "x".repeat(1000);
        let stream = [
            connect_bytes(version),
            raw::publish(version, topic.as_bytes(), b"first"),
            raw::publish(version, topic.as_bytes(), long.as_bytes()),
            raw::subscribe(version, b"answers", 0),
            vec![0xC0, 0x00],
        ]
        .concat();
        // From a byte a frame, through frames that end within packets, to one frame for all.
        for size in [1, 2, 7, 100, stream.len()] {
            let mut client = WsClient::open(ws);
            let frames: Vec<u8> = stream
                .chunks(size)
                .flat_map(|piece| frame(0x82, piece))
                .collect();
            client.stream.write_all(&frames).unwrap();
            assert_eq!(texts(&collect(&mut witness, 2)), ["first", &long]);
            let mut answers = Vec::new();
            while !answers.ends_with(&[0xD0, 0x00]) {
                let frame = client.next().expect("the server goes on");
                assert_eq!(frame.first, 0x82, "{frame:?}");
                answers.extend(frame.payload);
            }
            assert_eq!(answers[0], 0x20, "{answers:x?}");
            let suback = answers.len() - 2 - if version == Version::V5 { 6 } else { 5 };
            assert_eq!(answers[suback], 0x90, "{answers:x?}");
        }
    }
}

#[test]
fn the_server_selects_mqtt() {
    let broker = broker();
    for offer in [
        MQTT,
        "Sec-WebSocket-Protocol: chat, mqtt",
        "Sec-WebSocket-Protocol: mqtt, chat",
        "sec-websocket-protocol: chat\r\nSec-WebSocket-Protocol: mqtt",
    ] {
        for version in BOTH {
            let mut client = WsClient::ask(broker.addresses[1], &request("/mqtt", &[offer]));
            let answer = &client.answer;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{offer}: {answer}");
            let selected: Vec<&str> = answer
                .lines()
                .filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "))
                .collect();
            assert_eq!(selected, ["mqtt"], "{offer}: {answer}");
            client.send(&connect_bytes(version));
            connack(&mut client);
        }
    }
}

#[test]
fn who_does_not_offer_mqtt_is_refused() {
    let broker = broker();
    let others: [&[&str]; 3] = [
        &[],
        &["Sec-WebSocket-Protocol: chat"],
        &["Sec-WebSocket-Protocol: MQTT"],
    ];
    for offer in others {
        let client = WsClient::ask(broker.addresses[1], &request("/mqtt", offer));
        assert!(client.answer.starts_with("HTTP/1.1 400 "), "{offer:?}");
    }
}
