//! MQTT in a WebSocket: the request, then binary frames whose payloads, one after another, are the
//! bytes of the connection. Packets may span frames and share them [MQTT-6.0.0-2].

use std::sync::Arc;

use crate::base::envelope::{Envelope, EnvelopeEnd, ToldPeer};
use crate::ws::deflate::Deflate;
use crate::ws::frame::{self, CloseCode, Event, FrameLimits, Frames, Kind};
use crate::ws::http::head_end;
use crate::ws::upgrade::{Accepted, Refused, WebSocketRules, judge};

/// One connection's WebSocket.
pub struct WebSocket {
    state: State,
    rules: Arc<WebSocketRules>,
    more: Option<Box<More>>,
}

/// What few connections have.
struct More {
    told: Option<ToldPeer>,
    deflate: Option<Deflate>,
}

enum State {
    /// The request, as far as it has come, and whether proxies are believed.
    Request(Vec<u8>, bool),
    Open(Frames),
    /// Over; nothing is sent any more.
    Over(EnvelopeEnd),
}

const _: () = assert!(
    size_of::<WebSocket>() <= 88,
    "every idle WebSocket connection pays for it"
);

impl WebSocket {
    /// A connection from which nothing has come. What a proxy tells of the client is believed when
    /// it is `trusted`.
    pub fn new(rules: Arc<WebSocketRules>, trusted: bool) -> Self {
        Self {
            state: State::Request(Vec::new(), trusted),
            rules,
            more: None,
        }
    }

    fn limits(&self) -> FrameLimits {
        FrameLimits {
            frame_bytes_max: self.rules.frame_bytes_max,
            compression: self.more.as_ref().is_some_and(|m| m.deflate.is_some()),
        }
    }

    /// Compression, where it was agreed on.
    fn deflate(&mut self) -> Option<&mut Deflate> {
        self.more.as_mut()?.deflate.as_mut()
    }

    /// Collects the request; says what came behind it when it is whole.
    fn take_request<'a>(
        &mut self,
        wire: &'a [u8],
        reply: &mut Vec<u8>,
    ) -> Result<&'a [u8], EnvelopeEnd> {
        let State::Request(head, trusted) = &mut self.state else {
            return Ok(wire);
        };
        let before = head.len();
        head.extend_from_slice(wire);
        let judged = match head_end(head, before) {
            Ok(None) => return Ok(&[]),
            Ok(Some(end)) => {
                let head_len = end.min(head.len());
                judge(&head[..head_len], &self.rules, *trusted).map(|accepted| (accepted, end))
            }
            Err(fault) => Err(Refused::from(fault)),
        };
        match judged {
            Ok((accepted, end)) => {
                let Accepted {
                    answer,
                    told,
                    compression,
                } = accepted;
                let bytes_max = self.rules.inflated_bytes_max;
                let deflate = compression.map(|agreed| Deflate::new(agreed, bytes_max));
                if told.is_some() || deflate.is_some() {
                    self.more = Some(Box::new(More { told, deflate }));
                }
                reply.extend_from_slice(&answer);
                self.state = State::Open(Frames::default());
                Ok(wire.get(end - before..).unwrap_or_default())
            }
            Err(refused) => {
                // Bytes that are no HTTP at all get no answer in HTTP.
                if head.first().is_some_and(u8::is_ascii_uppercase) {
                    reply.extend_from_slice(&refused.answer());
                }
                self.state = State::Over(EnvelopeEnd::Broken);
                Err(EnvelopeEnd::Broken)
            }
        }
    }

    /// A piece of a compressed message; `inflated` bytes have come of this receive's bytes before.
    fn inflate(
        &mut self,
        piece: &[u8],
        last: bool,
        plain: &mut Vec<u8>,
        inflated: u64,
    ) -> Result<(), CloseCode> {
        let room = self.rules.inflated_bytes_max.saturating_sub(inflated);
        match self.deflate() {
            Some(deflate) => deflate.inflate(piece, last, plain, room),
            None => Err(frame::PROTOCOL_ERROR),
        }
    }

    /// Appends a message to `wire`.
    fn push(&mut self, payload: &[u8], wire: &mut Vec<u8>) {
        match self.deflate() {
            Some(deflate) => deflate.push(Kind::Binary, payload, wire),
            None => frame::push_data(wire, Kind::Binary, false, payload),
        }
    }

    /// Takes frames.
    fn take_frames(
        &mut self,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        let limits = self.limits();
        let mut inflated = 0;
        loop {
            let State::Open(frames) = &mut self.state else {
                return Ok(());
            };
            let before = plain.len();
            let (code, end) = match frames.next(&mut wire, plain, limits) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Data {
                    kind: Kind::Text, ..
                })) => {
                    // [MQTT-6.0.0-1]
                    plain.truncate(before);
                    (Some(frame::UNSUPPORTED_DATA), EnvelopeEnd::Broken)
                }
                Ok(Some(Event::Data {
                    compressed: true,
                    last,
                    ..
                })) => {
                    let piece = plain.split_off(before);
                    match self.inflate(&piece, last, plain, inflated) {
                        Ok(()) => {
                            inflated += (plain.len() - before) as u64;
                            continue;
                        }
                        Err(code) => (Some(code), EnvelopeEnd::Broken),
                    }
                }
                Ok(Some(Event::Data { .. } | Event::Pong)) => continue,
                Ok(Some(Event::Ping)) => {
                    frame::push_pong(reply, frames.control());
                    continue;
                }
                Ok(Some(Event::Close(code))) => (code, EnvelopeEnd::Closed),
                Err(code) => (Some(code), EnvelopeEnd::Broken),
            };
            frame::push_close(reply, code);
            self.state = State::Over(end);
            return Err(end);
        }
    }
}

impl Envelope for WebSocket {
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        let wire = match self.state {
            State::Request(..) => self.take_request(wire, reply)?,
            State::Open(_) => wire,
            State::Over(end) => return Err(end),
        };
        self.take_frames(wire, plain, reply)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        if !matches!(self.state, State::Open(_)) || plain.is_empty() {
            return;
        }
        if !self.rules.one_packet_a_frame {
            return self.push(plain, wire);
        }
        let mut rest = plain;
        while !rest.is_empty() {
            let (packet, behind) = rest.split_at(packet_len(rest).min(rest.len()));
            self.push(packet, wire);
            rest = behind;
        }
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        if matches!(self.state, State::Open(_)) {
            frame::push_close(wire, Some(frame::NORMAL));
        }
        if !matches!(self.state, State::Over(_)) {
            self.state = State::Over(EnvelopeEnd::Closed);
        }
    }

    fn held_bytes(&self) -> usize {
        let more = match &self.state {
            State::Request(head, _) => head.capacity(),
            State::Open(frames) => frames.held_bytes(),
            State::Over(_) => 0,
        };
        let deflate = self.more.as_ref().and_then(|rare| rare.deflate.as_ref());
        let rare = deflate.map_or(0, |deflate| size_of::<More>() + deflate.held_bytes());
        size_of::<Self>() + more + rare
    }

    fn told_peer(&mut self) -> Option<ToldPeer> {
        let told = self.more.as_mut()?.told.take();
        if self.more.as_ref().is_some_and(|m| m.deflate.is_none()) {
            self.more = None;
        }
        told
    }
}

/// Bytes of the MQTT packet at the front of `bytes`: a byte, a length of up to four, and so many.
fn packet_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return 2 + at + len;
        }
    }
    bytes.len()
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
