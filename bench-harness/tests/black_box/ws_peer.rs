//! A WebSocket client that sends exactly what it is told, frame by frame.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::peer::PATIENCE;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

pub struct WsClient {
    pub stream: TcpStream,
    /// The head of the answer to the request.
    pub answer: String,
}

/// A request for a WebSocket, with more headers.
pub fn request(path: &str, headers: &[&str]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

pub const MQTT: &str = "Sec-WebSocket-Protocol: mqtt";

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
    out
}

impl WsClient {
    /// Sends a request and reads the answer's head.
    pub fn ask(address: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte).unwrap() {
                0 => break,
                _ => answer.push(byte[0]),
            }
        }
        Self {
            stream,
            answer: String::from_utf8(answer).unwrap(),
        }
    }

    /// A connection that was accepted.
    pub fn open(address: SocketAddr) -> Self {
        let client = Self::ask(address, &request("/mqtt", &[MQTT]));
        assert!(
            client.answer.starts_with("HTTP/1.1 101 "),
            "{}",
            client.answer
        );
        client
    }

    /// Sends MQTT bytes in a frame.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(&frame(0x82, bytes)).unwrap();
    }

    /// The next frame; none when the server has closed.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        if self.stream.read(&mut head[..1]).unwrap() == 0 {
            return None;
        }
        self.stream.read_exact(&mut head[1..]).unwrap();
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let mut length = [0; 8];
        let len = match head[1] {
            126 => {
                self.stream.read_exact(&mut length[6..]).unwrap();
                u64::from_be_bytes(length)
            }
            127 => {
                self.stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame {
            first: head[0],
            payload,
        })
    }

    /// Expects these MQTT bytes, in whatever frames.
    pub fn expect(&mut self, bytes: &[u8]) {
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            let frame = self.next().expect("the server goes on");
            assert_eq!(frame.first, 0x82, "{frame:?}");
            got.extend(frame.payload);
        }
        assert_eq!(got, bytes);
    }

    /// Expects a close frame with this code, and the end.
    pub fn expect_close(&mut self, code: u16) {
        let want = Frame {
            first: 0x88,
            payload: code.to_be_bytes().to_vec(),
        };
        assert_eq!(self.next(), Some(want));
        assert_eq!(self.next(), None);
    }
}

/// A CONNECT of 3.1.1, clean, without keep-alive.
pub fn connect_packet(client_id: &str) -> Vec<u8> {
    let len = u8::try_from(12 + client_id.len()).unwrap();
    let id_len = u8::try_from(client_id.len()).unwrap();
    [
        &[0x10, len, 0, 4],
        &b"MQTT\x04\x02\0\0\0"[..],
        &[id_len],
        client_id.as_bytes(),
    ]
    .concat()
}

pub const CONNACK: &[u8] = b"\x20\x02\0\0";
