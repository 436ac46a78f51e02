//! The envelope by bytes, with a client of rustls at the other end.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::server::ServerConfig;
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

use super::tls::{Progress, TlsEnvelope};
use super::{Envelope, EnvelopeEnd};
use crate::runtime::tls_listener::TlsListener;
use crate::runtime::tls_pki::{Ca, Files, Purpose, connection};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn sides(version: &'static SupportedProtocolVersion) -> Sides {
    let ca = Ca::new("ca");
    let files = Files::new();
    let settings = files.settings(&ca.sign("localhost", 1, &Purpose::Server));
    let (listener, _) = TlsListener::load("ssl:default".to_owned(), &settings, 1).unwrap();
    Sides {
        server: listener.config(0).unwrap().config,
        client: Arc::new(ca.client(None, &[version])),
    }
}

/// Both ends of a connection, and what the server has opened.
struct Pair {
    client: ClientConnection,
    server: TlsEnvelope,
    plain: Vec<u8>,
}

impl Pair {
    fn new(sides: &Sides) -> Self {
        Self {
            client: connection(&sides.client, "localhost"),
            server: TlsEnvelope::new(Arc::clone(&sides.server)).unwrap(),
            plain: Vec::new(),
        }
    }

    fn established(sides: &Sides) -> Self {
        let mut pair = Self::new(sides);
        pair.exchange(usize::MAX).unwrap();
        assert!(!pair.client.is_handshaking());
        assert!(pair.server.agreed().is_some());
        pair
    }

    fn client_bytes(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    fn client_takes(&mut self, wire: &[u8]) -> Result<(), rustls::Error> {
        let mut rest = wire;
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Both sides' bytes go over until nobody has any, in pieces of at most so many.
    fn exchange(&mut self, piece: usize) -> Result<(), EnvelopeEnd> {
        loop {
            let wire = self.client_bytes();
            if wire.is_empty() {
                return Ok(());
            }
            let mut reply = Vec::new();
            for piece in wire.chunks(piece) {
                let received = self.server.receive(piece, &mut self.plain, &mut reply);
                if let Err(end) = received {
                    let _ = self.client_takes(&reply);
                    return Err(end);
                }
            }
            self.client_takes(&reply).unwrap();
        }
    }

    fn server_sends(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.server.send(plain, &mut wire);
        wire
    }

    fn client_reads(&mut self, wire: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut rest = wire;
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
            let mut some = vec![0; 64 * 1024];
            while let Ok(count) = self.client.reader().read(&mut some) {
                if count == 0 {
                    break;
                }
                plain.extend_from_slice(&some[..count]);
            }
        }
        plain
    }
}

#[test]
fn bytes_go_both_ways_in_both_versions() {
    for version in VERSIONS {
        let sides = sides(version);
        let mut pair = Pair::established(&sides);
        let agreed = pair.server.agreed().unwrap();
        let want = format!("{:?}", version.version).replace("TLSv1_", "tlsv1.");
        assert_eq!(agreed.version, want);
        assert!(!agreed.resumed);
        pair.client.writer().write_all(b"to the broker").unwrap();
        pair.exchange(usize::MAX).unwrap();
        assert_eq!(pair.plain, b"to the broker");
        let wire = pair.server_sends(b"to the client");
        assert_eq!(pair.client_reads(&wire), b"to the client");
        assert!(pair.server_sends(b"").is_empty());
    }
}

#[test]
fn the_second_connection_resumes() {
    for version in VERSIONS {
        let sides = sides(version);
        let mut first = Pair::established(&sides);
        let wire = first.server_sends(b"x");
        first.client_reads(&wire);
        let second = Pair::established(&sides);
        assert!(second.server.agreed().unwrap().resumed, "{version:?}");
    }
}

#[test]
fn large_messages_take_many_records() {
    let sides = sides(&rustls::version::TLS13);
    let mut pair = Pair::established(&sides);
    let message: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let wire = pair.server_sends(&message);
    assert_eq!(pair.client_reads(&wire), message);
    pair.client.set_buffer_limit(None);
    pair.client.writer().write_all(&message).unwrap();
    pair.exchange(1460).unwrap();
    assert_eq!(pair.plain, message);
}

#[test]
fn an_idle_connection_holds_no_bytes_of_its_peer() {
    let sides = sides(&rustls::version::TLS13);
    let mut pair = Pair::established(&sides);
    let idle = pair.server.held_bytes();
    pair.client.writer().write_all(&[7; 10_000]).unwrap();
    let wire = pair.client_bytes();
    let (first, rest) = wire.split_at(5000);
    let mut reply = Vec::new();
    pair.server
        .receive(first, &mut pair.plain, &mut reply)
        .unwrap();
    assert!(pair.plain.is_empty());
    assert!(pair.server.held_bytes() >= idle + 5000);
    // What is sent meanwhile does not disturb the record that is on its way.
    let sent = pair.server_sends(b"meanwhile");
    pair.server
        .receive(rest, &mut pair.plain, &mut reply)
        .unwrap();
    assert_eq!(pair.plain, [7; 10_000]);
    assert_eq!(pair.server.held_bytes(), idle);
    assert_eq!(pair.client_reads(&sent), b"meanwhile");
}

#[test]
fn an_orderly_end_is_one_for_both_sides() {
    for version in VERSIONS {
        let sides = sides(version);
        let mut pair = Pair::established(&sides);
        pair.client.writer().write_all(b"bye").unwrap();
        pair.client.send_close_notify();
        assert_eq!(pair.exchange(usize::MAX), Err(EnvelopeEnd::Closed));
        assert_eq!(pair.plain, b"bye", "what came before the end counts");
        // The broker may still say something, then closes as well.
        let mut wire = pair.server_sends(b"last words");
        pair.server.close(&mut wire);
        assert_eq!(pair.client_reads(&wire), b"last words");
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
        let again = pair.server.receive(b"x", &mut pair.plain, &mut wire);
        assert_eq!(again, Err(EnvelopeEnd::Closed));
    }
}

#[test]
fn what_is_not_a_record_ends_the_connection_with_an_alert() {
    for version in VERSIONS {
        let sides = sides(version);
        for garbage in [
            &b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            // A record larger than any may be, and one that was not sealed with the key.
            b"\x17\x03\x03\xff\xff\x00\x00\x00",
            b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            let mut pair = Pair::established(&sides);
            let mut reply = Vec::new();
            let end = pair.server.receive(garbage, &mut pair.plain, &mut reply);
            assert_eq!(end, Err(EnvelopeEnd::Broken));
            assert!(pair.client_takes(&reply).is_err(), "the client is told");
            assert!(pair.server_sends(b"no more").is_empty());
            let end = pair.server.receive(b"", &mut pair.plain, &mut reply);
            assert_eq!(end, Err(EnvelopeEnd::Broken));
        }
    }
}

#[test]
fn keys_are_changed_when_the_peer_asks() {
    let sides = sides(&rustls::version::TLS13);
    let mut pair = Pair::established(&sides);
    for round in 0..3_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&[round]).unwrap();
        pair.exchange(3).unwrap();
        assert_eq!(pair.plain.last(), Some(&round));
        let wire = pair.server_sends(&[round]);
        assert_eq!(pair.client_reads(&wire), [round]);
    }
}

#[test]
fn a_hello_again_is_refused_without_a_new_handshake() {
    let sides = sides(&rustls::version::TLS12);
    let mut pair = Pair::established(&sides);
    let mut other = connection(&sides.client, "localhost");
    let mut hello = Vec::new();
    other.write_tls(&mut hello).unwrap();
    let mut reply = Vec::new();
    // In the clear, after keys are in use: it is not even looked at.
    let end = pair.server.receive(&hello, &mut pair.plain, &mut reply);
    assert_eq!(end, Err(EnvelopeEnd::Broken));
}

#[test]
fn endless_handshake_messages_are_cut() {
    let sides = sides(&rustls::version::TLS13);
    let mut server = TlsEnvelope::new(Arc::clone(&sides.server)).unwrap();
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    // A ClientHello that says it is 16 MB long, in records of 16 KB.
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let ended = (0..16).any(|_| server.advance(&record, &mut plain, &mut reply).is_err());
    assert!(
        ended && server.held_bytes() < 200_000,
        "{}",
        server.held_bytes()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the stream is cut, the same comes out.
    #[test]
    fn any_split_of_the_stream_is_the_same_stream(
        piece in 1_usize..600,
        parts in proptest::collection::vec(1_usize..20_000, 1..4),
        new in any::<bool>(),
    ) {
        let sides = sides(VERSIONS[usize::from(new)]);
        let mut pair = Pair::new(&sides);
        pair.exchange(piece).unwrap();
        prop_assert!(!pair.client.is_handshaking());
        let mut want = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let bytes = vec![u8::try_from(index).unwrap(); *part];
            pair.client.writer().write_all(&bytes).unwrap();
            pair.exchange(piece).unwrap();
            want.extend_from_slice(&bytes);
            let wire = pair.server_sends(&bytes);
            prop_assert_eq!(pair.client_reads(&wire), bytes);
        }
        prop_assert_eq!(&pair.plain, &want);
    }

    /// Bytes that are nobody's: an error or nothing, and no more memory than one record takes.
    #[test]
    fn random_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let sides = sides(&rustls::version::TLS13);
        let mut server = TlsEnvelope::new(Arc::clone(&sides.server)).unwrap();
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        let progress = server.advance(&bytes, &mut plain, &mut reply);
        prop_assert!(!matches!(progress, Ok(Progress::Established)));
        prop_assert!(plain.is_empty());
    }
}
