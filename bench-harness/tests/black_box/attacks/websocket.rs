//! What is tried by way of a WebSocket.

use std::io::Write;

use super::{dial, told, until_closed};
use crate::broker::Broker;
use crate::ws_peer::{CONNACK, MQTT, WsClient, connect_packet, frame, request};

fn broker(more: &[&str]) -> Broker {
    let mut arguments = vec!["--cores", "2", "--listen", "ws://127.0.0.1:0"];
    for setting in more {
        arguments.extend(["--set", setting]);
    }
    Broker::with(&arguments)
}

fn status(client: &WsClient) -> &str {
    client.answer.split(' ').nth(1).unwrap_or("")
}

fn works(broker: &Broker) {
    let mut ws = WsClient::open(broker.address());
    ws.send(&connect_packet("works"));
    ws.expect(CONNACK);
}

#[test]
fn other_paths_lead_nowhere() {
    let broker = broker(&[]);
    for path in [
        "/",
        "//mqtt",
        "/mqtt/",
        "/mqtt/..",
        "/mqtt/../mqtt",
        "/./mqtt",
        "/%6dqtt",
        "/mqtt%2f",
        "/MQTT",
        "/mqtt;x",
        "/mqtt%00",
        "*",
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/api/v5/clients",
        "/status",
    ] {
        let client = WsClient::ask(broker.address(), &request(path, &[MQTT]));
        let status = status(&client);
        assert!(
            ["404", "400"].contains(&status),
            "{path}: {}",
            client.answer
        );
    }
    works(&broker);
}

#[test]
fn a_request_hides_no_other_one() {
    let broker = broker(&[]);
    let second = request("/mqtt", &[MQTT]);
    for header in [
        format!("Content-Length: {}", second.len()),
        "Transfer-Encoding: chunked".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5".to_owned(),
        " folded: x".to_owned(),
        "No-Colon".to_owned(),
        "Bad Name: x".to_owned(),
    ] {
        let first = request("/elsewhere", &[MQTT, &header]);
        let said = told(broker.address(), (first + &second).as_bytes());
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{header}: {said}");
        assert!(said.starts_with("HTTP/1.1 4"), "{header}: {said}");
    }
    // What follows an accepted request is frames, whatever it looks like.
    let mut ws = WsClient::open(broker.address());
    ws.stream.write_all(second.as_bytes()).unwrap();
    ws.expect_close(1002);
    works(&broker);
}

#[test]
fn a_head_is_as_large_as_allowed() {
    let broker = broker(&[]);
    let many: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let text = format!("GET /mqtt HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let said = told(broker.address(), text.as_bytes());
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 431 "),
            "{said}"
        );
    }
    works(&broker);
}

#[test]
fn another_method_version_or_key_opens_nothing() {
    let broker = broker(&[]);
    let good = request("/mqtt", &[MQTT]);
    for (from, to) in [
        ("GET ", "POST "),
        ("GET ", "CONNECT "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Version: 13", "Version: 8"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        ("Sec-WebSocket-Key", "X-Key"),
    ] {
        let client = WsClient::ask(broker.address(), &good.replace(from, to));
        assert!(
            status(&client).starts_with('4'),
            "{from} -> {to}: {}",
            client.answer
        );
    }
    works(&broker);
}

#[test]
fn compressed_frames_that_nobody_agreed_on_are_refused() {
    let broker = broker(&[]);
    let mut ws = WsClient::open(broker.address());
    // A few bytes that would become very many.
    ws.stream.write_all(&frame(0xC2, &[0; 100])).unwrap();
    ws.expect_close(1002);
    works(&broker);
}

#[test]
fn endless_pieces_and_giant_frames_are_refused() {
    let broker = broker(&["listeners.ws.default.websocket.max_frame_size=1KB"]);
    // A frame of 2^62 bytes is refused by its head.
    let mut ws = WsClient::open(broker.address());
    ws.stream
        .write_all(&[0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
        .unwrap();
    ws.expect_close(1009);
    // A message in pieces without end is a stream: its packets are judged one by one.
    let mut ws = WsClient::open(broker.address());
    ws.stream
        .write_all(&frame(0x02, &connect_packet("c")))
        .unwrap();
    ws.expect(CONNACK);
    let mut sent = 0;
    let piece = frame(
        0x00,
        &[&[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0; 1000]].concat(),
    );
    while sent < 1000 && ws.stream.write_all(&piece).is_ok() {
        sent += 1;
    }
    ws.expect_close(1000);
    works(&broker);
}

#[test]
fn a_page_of_another_site_is_refused_whatever_its_case() {
    let broker = broker(&[
        "listeners.ws.default.websocket.check_origin_enable=true",
        "listeners.ws.default.websocket.allow_origin_absence=false",
        "listeners.ws.default.websocket.check_origins=https://good.example",
    ]);
    for (origin, status_wanted) in [
        ("Origin: https://good.example", "101"),
        ("Origin: https://good.example.evil.example", "403"),
        ("Origin: https://evil.example/?https://good.example", "403"),
        ("Origin: http://good.example", "403"),
        ("Origin: null", "403"),
        (
            "Origin: https://good.example\r\nOrigin: https://evil.example",
            "403",
        ),
        ("X: y", "403"),
    ] {
        let client = WsClient::ask(broker.address(), &request("/mqtt", &[MQTT, origin]));
        let got = status(&client);
        let refused = got.starts_with('4') && status_wanted == "403";
        assert!(
            got == status_wanted || refused,
            "{origin}: {}",
            client.answer
        );
    }
}

#[test]
fn who_is_silent_after_the_request_is_cut() {
    let broker = broker(&["mqtt.idle_timeout=1s"]);
    // Before the request, in it, after it, and in the first frame.
    let whole = request("/mqtt", &[MQTT]);
    let begun = [whole.as_bytes(), &[0x82, 0xFE]].concat();
    for bytes in [b"", &whole.as_bytes()[..40], whole.as_bytes(), &begun[..]] {
        let mut stream = dial(broker.address());
        stream.write_all(bytes).unwrap();
        until_closed(&mut stream);
    }
    works(&broker);
}
