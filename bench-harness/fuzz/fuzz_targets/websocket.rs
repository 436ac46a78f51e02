//! A WebSocket from its request on, in pieces of any size: the same bytes give the same payload, answers and
//! end however they are cut, what is held stays small, and what the broker sends is read by a client's rules.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use millrace::base::envelope::{Envelope, EnvelopeEnd};
use millrace::ws::frame::CONTROL_BYTES_MAX;
use millrace::ws::http::HEAD_BYTES_MAX;
use millrace::ws::socket::WebSocket;
use millrace::ws::upgrade::WebSocketRules;

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct Outcome {
    plain: Vec<u8>,
    reply: Vec<u8>,
    end: Option<EnvelopeEnd>,
}

fn run(rules: &Arc<WebSocketRules>, trusted: bool, pieces: &[&[u8]]) -> Outcome {
    let mut socket = WebSocket::new(Arc::clone(rules), trusted);
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    let mut end = None;
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let told = socket.receive(piece, &mut plain, &mut reply);
        // The request, or one control frame; vectors grow by doubling.
        let held = HEAD_BYTES_MAX.max(fed).max(CONTROL_BYTES_MAX) * 2 + 1024;
        assert!(socket.held_bytes() <= held, "{} bytes held", socket.held_bytes());
        if let Err(ended) = told {
            end = Some(ended);
            break;
        }
    }
    let told = socket.told_peer();
    assert!(trusted || told.is_none(), "a stranger is believed");
    if end.is_some() {
        let before = reply.len();
        assert!(socket.receive(b"\x82\x80abcd", &mut plain, &mut reply).is_err());
        socket.send(b"x", &mut reply);
        socket.close(&mut reply);
        assert_eq!(reply.len(), before, "something is said after the end");
    }
    Outcome { plain, reply, end }
}

fn cut<'a>(mut bytes: &'a [u8], seed: u8) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut step = u32::from(seed) | 1;
    while !bytes.is_empty() {
        step = step.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let len = ((step >> 16) as usize % 40 + 1).min(bytes.len());
        let (piece, rest) = bytes.split_at(len);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fuzz_target!(|data: &[u8]| {
    let [flags, seed, rest @ ..] = data else {
        return;
    };
    let rules = Arc::new(WebSocketRules {
        check_origin: flags & 1 != 0,
        allow_origin_absence: flags & 2 == 0,
        origins: vec!["http://a.example".to_owned()],
        fail_if_no_protocol: flags & 4 == 0,
        frame_bytes_max: if flags & 8 == 0 { u64::MAX } else { 100 },
        one_packet_a_frame: flags & 16 != 0,
        ..WebSocketRules::default()
    });
    let trusted = flags & 32 != 0;
    let mut wire = Vec::new();
    if flags & 128 == 0 {
        wire.extend_from_slice(REQUEST);
    }
    wire.extend_from_slice(rest);
    let whole = run(&rules, trusted, &[&wire]);
    let pieces = run(&rules, trusted, &cut(&wire, *seed));
    assert_eq!(whole.end, pieces.end);
    assert_eq!(whole.plain, pieces.plain);
    assert_eq!(whole.reply, pieces.reply);
    assert!(whole.plain.len() <= wire.len(), "more comes out than went in");
});
