//! A WebSocket echo server made of the broker's own WebSocket code, for the Autobahn suite to judge:
//! the broker itself takes no text and echoes nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use millrace::ws::deflate::{Deflate, DeflateRules};
use millrace::ws::frame::{self, Event, FrameLimits, Frames, Kind};
use millrace::ws::http::head_end;
use millrace::ws::upgrade::{WebSocketRules, judge};
use millrace::ws::utf8::Utf8;

/// The longest message that the suite sends.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// Serves on a port of its own until the process ends, with compression as the rules say.
pub fn serve(deflate: Option<DeflateRules>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let rules = Arc::new(WebSocketRules {
        path: "/".to_owned(),
        fail_if_no_protocol: false,
        deflate,
        ..WebSocketRules::default()
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let rules = Arc::clone(&rules);
            // A peer that goes away is no concern here.
            thread::spawn(move || echo(stream.unwrap(), &rules).ok());
        }
    });
    address
}

fn echo(mut stream: TcpStream, rules: &WebSocketRules) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let end = loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..len]);
        if let Ok(Some(end)) = head_end(&received, 0) {
            break end;
        }
    };
    let accepted = match judge(&received[..end], rules, false) {
        Ok(accepted) => accepted,
        Err(refused) => return stream.write_all(&refused.answer()),
    };
    stream.write_all(&accepted.answer)?;
    let agreed = accepted.compression;
    let mut echo = Echo {
        deflate: agreed.map(|agreed| Deflate::new(agreed, MESSAGE_BYTES_MAX)),
        ..Echo::default()
    };
    let mut rest = received.split_off(end);
    loop {
        let mut answer = Vec::new();
        let goes_on = echo.take(&rest, &mut answer);
        stream.write_all(&answer)?;
        if !goes_on {
            return Ok(());
        }
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        rest = buffer[..len].to_vec();
    }
}

/// One connection.
#[derive(Default)]
struct Echo {
    frames: Frames,
    message: Vec<u8>,
    text: Utf8,
    deflate: Option<Deflate>,
}

impl Echo {
    /// Takes bytes; whether the connection goes on.
    fn take(&mut self, mut wire: &[u8], answer: &mut Vec<u8>) -> bool {
        let limits = FrameLimits {
            frame_bytes_max: MESSAGE_BYTES_MAX,
            compression: self.deflate.is_some(),
        };
        loop {
            let before = self.message.len();
            match self.frames.next(&mut wire, &mut self.message, limits) {
                Ok(None) => return true,
                Ok(Some(Event::Data {
                    kind,
                    compressed,
                    last,
                })) => {
                    let inflated = !compressed || self.inflate(before, last);
                    if !inflated || (kind == Kind::Text && !self.is_text(before, last)) {
                        frame::push_close(answer, Some(frame::INVALID_PAYLOAD));
                        return false;
                    }
                    if last {
                        let message = std::mem::take(&mut self.message);
                        match &mut self.deflate {
                            Some(deflate) => deflate.push(kind, &message, answer),
                            None => frame::push_data(answer, kind, false, &message),
                        }
                    }
                }
                Ok(Some(Event::Ping)) => frame::push_pong(answer, self.frames.control()),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    frame::push_close(answer, code);
                    return false;
                }
                Err(code) => {
                    frame::push_close(answer, Some(code));
                    return false;
                }
            }
        }
    }

    /// Puts what a compressed piece holds in its place.
    fn inflate(&mut self, from: usize, last: bool) -> bool {
        let piece = self.message.split_off(from);
        let deflate = self.deflate.as_mut();
        deflate.is_some_and(|deflate| {
            let room = MESSAGE_BYTES_MAX;
            deflate
                .inflate(&piece, last, &mut self.message, room)
                .is_ok()
        })
    }

    fn is_text(&mut self, from: usize, last: bool) -> bool {
        let fits = self.text.take(&self.message[from..]).is_ok();
        fits && (!last || self.text.end().is_ok())
    }
}
