//! A whole connection, however its bytes come.

use proptest::prelude::*;

use super::*;
use crate::ws::deflate::{DeflateRules, agree};

const REQUEST: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";

fn new(rules: WebSocketRules) -> WebSocket {
    WebSocket::new(Arc::new(rules), true)
}

/// A frame as a client sends it, with the mask 0 (which is one like any other).
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let len = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// Everything that comes of a stream: plain bytes, replies, and the end.
fn hear<'a>(
    socket: &mut WebSocket,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<u8>, Result<(), EnvelopeEnd>) {
    let (mut plain, mut reply, mut end) = (Vec::new(), Vec::new(), Ok(()));
    for piece in pieces {
        end = socket.receive(piece, &mut plain, &mut reply);
        if end.is_err() {
            break;
        }
    }
    (plain, reply, end)
}

fn open() -> WebSocket {
    let mut socket = new(WebSocketRules::default());
    let (plain, reply, end) = hear(&mut socket, [REQUEST]);
    assert!(plain.is_empty() && end.is_ok() && reply.starts_with(b"HTTP/1.1 101 "));
    socket
}

#[test]
fn packets_span_frames_and_share_them() {
    let mut socket = open();
    let told = ToldPeer {
        ip: Some("192.0.2.9".parse().unwrap()),
        port: None,
    };
    assert_eq!(socket.told_peer(), Some(told));
    assert_eq!(socket.told_peer(), None, "once");
    let stream = [
        client_frame(0x02, b"\x30\x05"),
        client_frame(0x89, b"hi"),
        client_frame(0x80, b"\0\x01a12\xc0\0"),
        client_frame(0x82, b"\xc0\0"),
    ];
    let (plain, reply, end) = hear(&mut socket, [&stream.concat()[..]]);
    assert_eq!(plain, b"\x30\x05\0\x01a12\xc0\0\xc0\0");
    assert_eq!((&reply[..], end), (&b"\x8a\x02hi"[..], Ok(())));
    let mut wire = Vec::new();
    socket.send(b"\xd0\0\xd0\0", &mut wire);
    assert_eq!(wire, b"\x82\x04\xd0\0\xd0\0");
}

#[test]
fn frames_may_come_with_the_request() {
    let mut socket = new(WebSocketRules::default());
    let stream = [REQUEST, &client_frame(0x82, b"abc")].concat();
    let (plain, _, end) = hear(&mut socket, [&stream[..]]);
    assert_eq!((&plain[..], end), (&b"abc"[..], Ok(())));
}

#[test]
fn text_is_not_taken() {
    let mut socket = open();
    let stream = [client_frame(0x82, b"abc"), client_frame(0x81, b"text")].concat();
    let (plain, reply, end) = hear(&mut socket, [&stream[..]]);
    assert_eq!(plain, b"abc");
    assert_eq!(reply, b"\x88\x02\x03\xeb");
    assert_eq!(end, Err(EnvelopeEnd::Broken));
    let mut wire = Vec::new();
    socket.send(b"x", &mut wire);
    socket.close(&mut wire);
    assert!(wire.is_empty(), "nothing follows a close frame");
    let again = hear(&mut socket, [&b"more"[..]]);
    assert_eq!(again, (Vec::new(), Vec::new(), Err(EnvelopeEnd::Broken)));
}

#[test]
fn both_sides_close_once() {
    let mut socket = open();
    let stream = [
        client_frame(0x82, b"\xe0\0"),
        client_frame(0x88, b"\x03\xe9"),
    ]
    .concat();
    let (plain, reply, end) = hear(&mut socket, [&stream[..]]);
    assert_eq!(
        (&plain[..], &reply[..]),
        (&b"\xe0\0"[..], &b"\x88\x02\x03\xe9"[..])
    );
    assert_eq!(end, Err(EnvelopeEnd::Closed));

    let mut socket = open();
    let mut wire = Vec::new();
    socket.close(&mut wire);
    socket.close(&mut wire);
    assert_eq!(wire, b"\x88\x02\x03\xe8");
}

#[test]
fn a_refusal_says_why_and_bytes_that_are_no_http_get_none() {
    let mut socket = new(WebSocketRules::default());
    let (_, reply, end) = hear(&mut socket, [&b"GET / HTTP/1.1\r\n\r\n"[..]]);
    assert!(reply.starts_with(b"HTTP/1.1 404 ") && end == Err(EnvelopeEnd::Broken));
    let mut socket = new(WebSocketRules::default());
    let (_, reply, end) = hear(&mut socket, [&b"\x10\x0e\0\x04MQTT"[..]]);
    assert!(reply.is_empty() && end == Err(EnvelopeEnd::Broken));
}

#[test]
fn each_packet_has_its_frame_when_wanted() {
    let mut socket = new(WebSocketRules {
        one_packet_a_frame: true,
        ..WebSocketRules::default()
    });
    let _ = hear(&mut socket, [REQUEST]);
    let long = [&[0x30, 0x83, 0x01][..], &[7; 131]].concat();
    let mut wire = Vec::new();
    socket.send(
        &[b"\xd0\0", &long[..], b"\x40\x02\0\x01"].concat(),
        &mut wire,
    );
    let want = [
        b"\x82\x02\xd0\0",
        &b"\x82\x7e\0\x86"[..],
        &long,
        b"\x82\x04\x40\x02\0\x01",
    ];
    assert_eq!(wire, want.concat());
}

#[test]
fn an_idle_one_holds_nothing_beyond_itself() {
    let mut socket = open();
    let _ = hear(
        &mut socket,
        [&client_frame(0x89, b"ping")[..], &client_frame(0x82, b"x")],
    );
    assert_eq!(socket.held_bytes(), size_of::<WebSocket>());
}

proptest! {
    #[test]
    fn any_split_of_a_connection_says_the_same(
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5),
    ) {
        let mut stream = REQUEST.to_vec();
        for payload in &payloads {
            stream.extend(client_frame(0x82, payload));
            stream.extend(client_frame(0x89, payload));
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        let (mut one, mut other) = (new(WebSocketRules::default()), new(WebSocketRules::default()));
        let whole = hear(&mut one, [&stream[..]]);
        prop_assert_eq!(&whole.0, &payloads.concat());
        prop_assert_eq!(hear(&mut other, pieces), whole);
    }

    #[test]
    fn never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), opened in any::<bool>()) {
        let mut socket = new(WebSocketRules::default());
        if opened {
            let _ = hear(&mut socket, [REQUEST]);
        }
        let _ = hear(&mut socket, [&bytes[..]]);
    }
}

const DEFLATE: DeflateRules = DeflateRules {
    level: 6,
    server_takeover: false,
    client_takeover: false,
    server_window_bits: 15,
    client_window_bits: 15,
};

/// A connection with which compression was agreed on.
fn open_compressed(rules: WebSocketRules) -> WebSocket {
    let head = REQUEST.strip_suffix(b"\r\n").unwrap();
    let offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let mut socket = new(rules);
    let (_, reply, end) = hear(&mut socket, [&[head, &offer[..]].concat()[..]]);
    let answer = String::from_utf8(reply).unwrap();
    assert!(end.is_ok() && answer.contains("\r\nSec-WebSocket-Extensions: permessage-deflate; "));
    socket
}

fn deflating() -> WebSocketRules {
    WebSocketRules {
        deflate: Some(DEFLATE),
        inflated_bytes_max: 2000,
        ..WebSocketRules::default()
    }
}

#[test]
fn compressed_messages_and_others_are_one_stream() {
    let mut socket = open_compressed(deflating());
    let stream = [
        client_frame(0x42, b"\xf2\x48\xcd"),
        client_frame(0x89, b"hi"),
        client_frame(0x80, b"\xc9\xc9\x07\x00"),
        client_frame(0x82, b", world"),
    ];
    let (plain, reply, end) = hear(&mut socket, [&stream.concat()[..]]);
    assert_eq!(
        (&plain[..], &reply[..]),
        (&b"Hello, world"[..], &b"\x8a\x02hi"[..])
    );
    assert!(end.is_ok());
    let mut wire = Vec::new();
    socket.send(&[0; 1000], &mut wire);
    assert!(wire[0] == 0xc2 && wire.len() < 40, "{wire:?}");
    let told = socket.told_peer();
    assert!(
        told.is_some() && socket.limits().compression,
        "what is told goes, the rest stays"
    );
}

#[test]
fn more_than_a_packet_may_have_is_not_inflated() {
    // 1500 zero bytes each.
    let mut packer = Deflate::new(
        agree(DEFLATE, ["permessage-deflate"].into_iter()).unwrap(),
        1,
    );
    let mut wire = Vec::new();
    packer.push(Kind::Binary, &[0; 1500], &mut wire);
    let frame = client_frame(0xc2, &wire[2..]);
    let mut socket = open_compressed(deflating());
    for _ in 0..3 {
        let (plain, _, end) = hear(&mut socket, [&frame[..]]);
        assert_eq!((plain.len(), end), (1500, Ok(())));
    }
    // Two in one receive are more than a packet, as one that is too long by itself is.
    let (plain, reply, end) = hear(&mut socket, [&[&frame[..], &frame].concat()[..]]);
    assert_eq!((plain.len(), &reply[..]), (1500, &b"\x88\x02\x03\xf1"[..]));
    assert_eq!(end, Err(EnvelopeEnd::Broken));
}

#[test]
fn compression_is_for_those_who_agreed_on_it() {
    let mut socket = open();
    let (plain, reply, end) = hear(&mut socket, [&client_frame(0xc2, b"\xf2\x48\x05\0")[..]]);
    assert!(plain.is_empty() && end == Err(EnvelopeEnd::Broken));
    assert_eq!(reply, b"\x88\x02\x03\xea");
    // Off: an offer is not answered, and nothing is held for it.
    let idle = open().held_bytes();
    let head = REQUEST.strip_suffix(b"\r\n").unwrap();
    let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut socket = new(WebSocketRules::default());
    let (_, reply, _) = hear(&mut socket, [&[head, &offer[..]].concat()[..]]);
    assert!(!String::from_utf8(reply).unwrap().contains("Extensions"));
    assert_eq!(socket.held_bytes(), idle);
    assert_eq!(idle, size_of::<WebSocket>());
}
