//! TLS as an [`Envelope`]: rustls' server side without its buffers.
//!
//! The connection owns bytes of the peer only while a record is incomplete; an idle one holds what
//! rustls keeps to seal and open records, and nothing else. The same value does the handshake, on a
//! handshake thread, and then goes to a core, which opens and seals records with symmetric keys only.

use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};

use super::{Envelope, EnvelopeEnd};

/// Most bytes that sealing adds to a record: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// Bytes of plain text in one record at most.
const RECORD_PLAIN_BYTES: usize = 16 * 1024;
/// What sealing may send ahead of the data: an answer to a key update, with the new record's header.
const KEY_UPDATE_BYTES: usize = 64;
/// The first byte of an alert's record, except when it is sealed by TLS 1.3.
const ALERT: u8 = 0x15;
/// Records that may wait to be sent when a handshake fails: our flight, and the alert.
const LAST_WORDS_MAX: usize = 16;
/// Bytes of an alert at most, sealed.
const ALERT_BYTES: usize = 2 + RECORD_OVERHEAD_BYTES;
/// Incomplete bytes of a peer: the largest handshake message (rustls takes 64 KiB) and the record in
/// which it ends. Beyond it the connection is over.
const INCOMPLETE_BYTES_MAX: usize = 64 * 1024 + RECORD_PLAIN_BYTES + 2048;
/// What rustls keeps on the heap for one established connection: two sealed keys with their state
/// and the lists between calls (measured with a counting allocator; see `docs/tls.md`).
const RUSTLS_HEAP_BYTES: usize = 2400;

/// One connection's TLS.
pub struct TlsEnvelope {
    connection: UnbufferedServerConnection,
    /// Bytes of a record that has not wholly come.
    incomplete: Vec<u8>,
    over: Option<EnvelopeEnd>,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The handshake needs more of the peer.
    Handshaking,
    /// Data may go both ways.
    Established,
    /// The peer has closed in order.
    Closed,
}

/// What a handshake agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// Such as `tlsv1.3`.
    pub version: &'static str,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl TlsEnvelope {
    /// A connection whose handshake is to be done.
    ///
    /// # Errors
    /// When rustls refuses the configuration or the system gives no random numbers.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incomplete: Vec::new(),
            over: None,
        })
    }

    /// Takes bytes of the peer, like [`Envelope::receive`], and says how far the connection is.
    ///
    /// # Errors
    /// What rustls found; the alert is in `reply`.
    pub fn advance(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<Progress, rustls::Error> {
        let mut buffer = std::mem::take(&mut self.incomplete);
        buffer.extend_from_slice(wire);
        let (taken, done) = drive(&mut self.connection, &mut buffer, plain, reply);
        let left = buffer.len().saturating_sub(taken);
        if left > INCOMPLETE_BYTES_MAX || done.is_err() {
            self.over = Some(EnvelopeEnd::Broken);
            return done.and(Err(rustls::Error::PeerSentOversizedRecord));
        }
        if left > 0 {
            self.incomplete = match buffer.get(taken..) {
                Some(rest) if taken > 0 => rest.to_vec(),
                _ => buffer,
            };
        }
        done
    }

    /// What the handshake agreed on; none before it is done.
    pub fn agreed(&self) -> Option<Agreed> {
        let cipher = self.connection.negotiated_cipher_suite()?;
        Some(Agreed {
            version: match self.connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => "tlsv1.2",
                ProtocolVersion::TLSv1_3 => "tlsv1.3",
                _ => "unknown",
            },
            cipher: cipher.suite().as_str().unwrap_or("unknown"),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// The peer's own certificate, DER, if it sent one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = self.connection.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }

    /// Runs `write` when data may be sent, after what rustls itself has to send.
    fn when_writable(
        &mut self,
        wire: &mut Vec<u8>,
        write: impl FnOnce(&mut dyn Writable, &mut Vec<u8>),
    ) {
        while self.over != Some(EnvelopeEnd::Broken) {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut self.incomplete);
            let mut done = true;
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    done = !append(wire, &mut |room| required_encode(data.encode(room)));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    done = false;
                }
                Ok(ConnectionState::PeerClosed) => done = false,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    write(&mut traffic, wire);
                    self.discard(discard);
                    return;
                }
                // Before the end of the handshake nothing can be sent; after an error neither.
                _ => {}
            }
            self.discard(discard);
            if done {
                return;
            }
        }
    }

    fn discard(&mut self, bytes: usize) {
        if bytes > 0 {
            self.incomplete.drain(..bytes.min(self.incomplete.len()));
        }
        if self.incomplete.is_empty() {
            self.incomplete = Vec::new();
        }
    }
}

impl Envelope for TlsEnvelope {
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        if let Some(end) = self.over {
            return Err(end);
        }
        let end = match self.advance(wire, plain, reply) {
            Ok(Progress::Established | Progress::Handshaking) => return Ok(()),
            Ok(Progress::Closed) => EnvelopeEnd::Closed,
            Err(_) => EnvelopeEnd::Broken,
        };
        self.over = Some(end);
        Err(end)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        if plain.is_empty() {
            return;
        }
        let mut exhausted = false;
        self.when_writable(wire, |traffic, wire| {
            let records = plain.len() / RECORD_PLAIN_BYTES + 1;
            let room = plain.len() + records * RECORD_OVERHEAD_BYTES + KEY_UPDATE_BYTES;
            exhausted = !append_sized(wire, room, &mut |room| traffic.seal(plain, room));
        });
        // The keys have sealed as many records as they may.
        if exhausted {
            self.over.get_or_insert(EnvelopeEnd::Broken);
        }
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        self.when_writable(wire, |traffic, wire| {
            append_sized(wire, ALERT_BYTES + KEY_UPDATE_BYTES, &mut |room| {
                traffic.seal_close(room)
            });
        });
        self.over.get_or_insert(EnvelopeEnd::Closed);
    }

    fn held_bytes(&self) -> usize {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        let chain: usize = chain.iter().map(|one| one.len()).sum();
        size_of::<Self>() + self.incomplete.capacity() + RUSTLS_HEAP_BYTES + chain
    }
}

/// Feeds rustls until it needs more or has ended. Says how many bytes it is done with.
fn drive(
    connection: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    plain: &mut Vec<u8>,
    reply: &mut Vec<u8>,
) -> (usize, Result<Progress, rustls::Error>) {
    let mut taken = 0;
    loop {
        let rest = incoming.get_mut(taken..).unwrap_or_default();
        let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(rest);
        let mut end = None;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => plain.extend_from_slice(record.payload),
                        Err(error) => end = Some(Err(error)),
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(reply, &mut |room| required_encode(data.encode(room)));
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::BlockedHandshake) => end = Some(Ok(Progress::Handshaking)),
            Ok(ConnectionState::WriteTraffic(_)) => end = Some(Ok(Progress::Established)),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                end = Some(Ok(Progress::Closed));
            }
            // Early data is not offered, and other states are not known.
            Ok(_) => end = Some(Err(rustls::Error::HandshakeNotComplete)),
            Err(error) => end = Some(Err(error)),
        }
        taken += discard;
        if let Some(end) = end {
            if end.is_err() {
                let rest = incoming.get_mut(taken..).unwrap_or_default();
                last_words(connection, rest, reply);
            }
            return (taken, end);
        }
    }
}

/// After an error: the alert that rustls has made of it. It is the last that is asked of the
/// connection: asked again, rustls would look at the same bytes again and make another alert.
fn last_words(
    connection: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    reply: &mut Vec<u8>,
) {
    for _ in 0..LAST_WORDS_MAX {
        let before = reply.len();
        match connection.process_tls_records(incoming).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(reply, &mut |room| required_encode(data.encode(room)));
            }
            _ => return,
        }
        let record = reply.get(before..).unwrap_or_default();
        let is_alert = record.first() == Some(&ALERT) || record.len() <= ALERT_BYTES;
        if is_alert {
            return;
        }
    }
}

/// What can be sealed when the handshake is done; a trait, since rustls' own type names its side.
trait Writable {
    fn seal(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Option<usize>>;
    fn seal_close(&mut self, room: &mut [u8]) -> Result<usize, Option<usize>>;
}

impl<Side> Writable for rustls::unbuffered::WriteTraffic<'_, Side> {
    fn seal(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Option<usize>> {
        required_encrypt(self.encrypt(plain, room))
    }

    fn seal_close(&mut self, room: &mut [u8]) -> Result<usize, Option<usize>> {
        required_encrypt(self.queue_close_notify(room))
    }
}

/// The bytes written, or how much room is needed, or that nothing can be written any more.
fn required_encode(done: Result<usize, EncodeError>) -> Result<usize, Option<usize>> {
    done.map_err(|error| match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    })
}

fn required_encrypt(done: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    done.map_err(|error| match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    })
}

type Write<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, Option<usize>>;

/// Appends what `write` writes, asking it first how much room it needs.
fn append(out: &mut Vec<u8>, write: Write<'_>) -> bool {
    append_sized(out, 0, write)
}

/// Appends what `write` writes into `room` bytes, or into as many as it asks for.
fn append_sized(out: &mut Vec<u8>, room: usize, write: Write<'_>) -> bool {
    let before = out.len();
    let mut room = room;
    for _ in 0..2 {
        out.resize(before + room, 0);
        match write(out.get_mut(before..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(before + written);
                return true;
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    out.truncate(before);
    false
}
