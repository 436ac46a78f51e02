//! MQTT over WebSocket, frame by frame.

use std::io::Write;

use bench_harness::codec::Version;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::broker::Broker;
use crate::peer::{collect, message, subscriber, texts};
use crate::ws_peer::{CONNACK, Frame, MQTT, WsClient, connect_packet, frame, request};
use bench_harness::codec::Packet;

fn broker(more: &[&str]) -> Broker {
    let mut arguments = vec!["--cores", "2"];
    arguments.extend([
        "--listen",
        "ws://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    arguments.extend(more);
    let broker = Broker::with(&arguments);
    assert_eq!(broker.listening, ["tcp:default", "ws:default"]);
    broker
}

#[test]
fn both_ways_between_a_websocket_and_tcp() {
    let broker = broker(&[]);
    let mut tcp = subscriber(broker.addresses[0], Version::V5, "tcp", "from/ws", 1);
    // On both cores: the names decide which.
    for name in ["ws-a", "ws-b", "ws-c", "ws-d"] {
        let mut ws = WsClient::open(broker.addresses[1]);
        assert!(ws.answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        ws.send(&connect_packet(name));
        ws.expect(CONNACK);
        ws.send(b"\x82\x0c\0\x01\0\x07from/me\0");
        ws.expect(b"\x90\x03\0\x01\0");
        ws.send(b"\x30\x0b\0\x07from/wshi");
        assert_eq!(texts(&collect(&mut tcp, 1)), ["hi"]);
        tcp.send(&Packet::Publish(message("from/me", "yo")))
            .unwrap();
        ws.expect(b"\x30\x0b\0\x07from/meyo");
        ws.send(b"\xe0\0");
        ws.expect_close(1000);
    }
}

#[test]
fn packets_span_frames_and_share_them_with_control_frames_between() {
    let broker = broker(&[]);
    let mut ws = WsClient::open(broker.addresses[1]);
    let connect = connect_packet("pieces");
    let (first, second) = connect.split_at(7);
    let stream = [
        frame(0x02, first),
        frame(0x89, b"are you there"),
        frame(0x00, &second[..3]),
        frame(0x80, &[&second[3..], b"\xc0"].concat()),
        frame(0x82, b"\0\xc0\0"),
    ];
    for byte in stream.concat() {
        ws.stream.write_all(&[byte]).unwrap();
    }
    let pong = Frame {
        first: 0x8a,
        payload: b"are you there".to_vec(),
    };
    assert_eq!(ws.next(), Some(pong));
    ws.expect(&[CONNACK, b"\xd0\0\xd0\0"].concat());
    ws.stream.write_all(&frame(0x89, b"")).unwrap();
    let pong = Frame {
        first: 0x8a,
        payload: Vec::new(),
    };
    assert_eq!(ws.next(), Some(pong));
    ws.stream.write_all(&frame(0x88, b"\x03\xe9")).unwrap();
    ws.expect_close(1001);
}

#[test]
fn frames_that_break_the_protocol_are_told_so() {
    let broker = broker(&["--set", "listeners.ws.default.websocket.max_frame_size=1KB"]);
    let unmasked = vec![0x82, 1, 0];
    for (connected, bytes, code) in [
        (true, frame(0x81, b"text"), 1003),
        (false, frame(0x81, b"text"), 1003),
        (true, unmasked, 1002),
        (true, frame(0xc2, b"x"), 1002),
        (true, frame(0x83, b""), 1002),
        (true, frame(0x09, b""), 1002),
        (true, frame(0x80, b""), 1002),
        (false, frame(0x88, b"\x03\xee"), 1002),
        (true, frame(0x82, &[0; 1025]), 1009),
    ] {
        let mut ws = WsClient::open(broker.addresses[1]);
        if connected {
            ws.send(&connect_packet("wrong"));
            ws.expect(CONNACK);
        }
        ws.stream.write_all(&bytes).unwrap();
        ws.expect_close(code);
    }
}

#[test]
fn what_is_published_before_a_close_frame_is_delivered() {
    let broker = broker(&[]);
    let mut tcp = subscriber(broker.addresses[0], Version::V311, "tcp", "last/#", 1);
    for name in ["fire-a", "fire-b", "fire-c", "fire-d"] {
        let mut ws = WsClient::open(broker.addresses[1]);
        // One write: CONNECT, message and end come together.
        let mut all = frame(0x82, &connect_packet(name));
        all.extend(frame(0x82, b"\x30\x0b\0\x06last/1bye"));
        all.extend(frame(0x88, b"\x03\xe8"));
        ws.stream.write_all(&all).unwrap();
        assert_eq!(texts(&collect(&mut tcp, 1)), ["bye"]);
        // Nothing follows the answer to a close frame, CONNACK neither.
        ws.expect_close(1000);
    }
}

#[test]
fn requests_that_are_refused_hear_why() {
    let broker = broker(&[
        "--set",
        "listeners.ws.default.websocket.check_origin_enable=true",
        "--set",
        "listeners.ws.default.websocket.check_origins=https://a.example",
    ]);
    let address = broker.addresses[1];
    for (request, status) in [
        (request("/", &[MQTT]), "404"),
        (request("/mqtt", &[]), "400"),
        (
            request("/mqtt", &[MQTT, "Origin: https://b.example"]),
            "403",
        ),
        (
            request("/mqtt", &[MQTT, "Origin: https://a.example"]),
            "101",
        ),
        ("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)),
            "431",
        ),
    ] {
        let client = WsClient::ask(address, &request);
        let got = client.answer.split(' ').nth(1);
        assert_eq!(got, Some(status), "{}", client.answer);
    }
}

#[test]
fn a_refused_connect_is_a_connack_and_a_close_frame() {
    let broker = broker(&["--set", "mqtt.allow_anonymous=false"]);
    let mut ws = WsClient::open(broker.addresses[1]);
    ws.send(&connect_packet("nobody"));
    ws.expect(b"\x20\x02\0\x05");
    ws.expect_close(1000);
}

#[test]
fn pings_of_a_websocket_are_no_keep_alive() {
    let broker = broker(&[]);
    let mut ws = WsClient::open(broker.addresses[1]);
    let mut connect = connect_packet("silent");
    connect[11] = 1; // A keep-alive of 1 s, so 1.5 s until the end.
    ws.send(&connect);
    ws.expect(CONNACK);
    // A writer that keeps pinging until the broker ends it nevertheless.
    let mut writer = ws.stream.try_clone().unwrap();
    let pings = std::thread::spawn(move || {
        for _ in 0..200 {
            if writer.write_all(&frame(0x89, b"x")).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("it was never ended");
    });
    loop {
        match ws.next() {
            Some(frame) if frame.first == 0x8a => {}
            Some(frame) => {
                assert_eq!(frame.payload, b"\x03\xe8");
                break;
            }
            None => panic!("no close frame"),
        }
    }
    drop(ws);
    pings.join().unwrap();
}

#[test]
fn a_shutdown_closes_websockets_in_order() {
    let broker = broker(&[]);
    let mut ws = WsClient::open(broker.addresses[1]);
    ws.send(&connect_packet("last"));
    ws.expect(CONNACK);
    broker.stop();
    ws.expect_close(1000);
}

/// A message's payload as the extension has it: deflate without the four bytes at its end.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut state = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(bytes.len() + 100);
    state
        .compress_vec(bytes, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut state = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 16);
    let whole = [bytes, &[0, 0, 0xff, 0xff]].concat();
    state
        .decompress_vec(&whole, &mut out, FlushDecompress::Sync)
        .unwrap();
    out
}

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// A broker that compresses, and a client with which it has agreed on that.
fn compressing() -> (Broker, impl Fn() -> WsClient) {
    let broker = broker(&[
        "--set",
        "listeners.ws.default.websocket.compress=true",
        "--set",
        "mqtt.max_packet_size=20KB",
    ]);
    let address = broker.addresses[1];
    let open = move || {
        let client = WsClient::ask(address, &request("/mqtt", &[MQTT, OFFER]));
        let agreed = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                      client_no_context_takeover\r\n";
        assert!(client.answer.contains(agreed), "{}", client.answer);
        client
    };
    (broker, open)
}

/// Sends bytes as one compressed message.
fn send_deflated(client: &mut WsClient, bytes: &[u8]) {
    let frame = frame(0xc2, &deflated(bytes));
    client.stream.write_all(&frame).unwrap();
}

#[test]
fn messages_are_compressed_for_those_who_ask() {
    let (broker, open) = compressing();
    let mut client = open();
    send_deflated(&mut client, &connect_packet("deflated"));
    client.expect(CONNACK);
    send_deflated(&mut client, b"\x82\x06\0\x01\0\x01t\0");
    client.expect(b"\x90\x03\0\x01\0");
    let publish = [&b"\x30\x8b\x27\0\x01t"[..], &[b'a'; 5000]].concat();
    send_deflated(&mut client, &publish);
    let got = client.next().unwrap();
    assert!(
        got.first == 0xc2 && got.payload.len() < 100,
        "{}",
        got.payload.len()
    );
    assert_eq!(inflated(&got.payload), publish);
    // A message that is not compressed is one, too; and who does not ask gets none that is.
    client.send(b"\xc0\0");
    client.expect(b"\xd0\0");
    let mut plain = WsClient::open(broker.addresses[1]);
    assert!(!plain.answer.contains("Extensions"), "{}", plain.answer);
    plain.send(&connect_packet("plain"));
    plain.expect(CONNACK);
    broker.stop();
}

#[test]
fn bombs_and_broken_compression_are_cut() {
    let (broker, open) = compressing();
    let mut client = open();
    send_deflated(&mut client, &connect_packet("deflated"));
    client.expect(CONNACK);
    // Two megabytes in two kilobytes, of which nothing is a packet that is too large by itself.
    for is_connected in [false, true] {
        let mut bomb = open();
        if is_connected {
            bomb.send(&connect_packet("bomb"));
            bomb.expect(CONNACK);
        }
        send_deflated(&mut bomb, &b"\xc0\0".repeat(1 << 20));
        let mut last = bomb.next();
        while last.as_ref().is_some_and(|frame| frame.first != 0x88) {
            last = bomb.next();
        }
        let code = last.map(|frame| frame.payload);
        assert_eq!(
            code,
            Some(1009_u16.to_be_bytes().to_vec()),
            "{is_connected}"
        );
    }
    let mut broken = open();
    broken
        .stream
        .write_all(&frame(0xc2, b"\xff\xff\xff"))
        .unwrap();
    broken.expect_close(1007);
    client.send(b"\xc0\0");
    client.expect(b"\xd0\0");
    broker.stop();
}
