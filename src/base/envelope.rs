//! What may lie between MQTT's bytes and a socket's: TLS records, WebSocket frames. A plain TCP
//! connection has none of it and pays nothing for it.

use std::fmt;
use std::net::IpAddr;

/// One connection's wrapping. It holds no I/O: the driver hands it what came and sends what it made.
pub trait Envelope: Send {
    /// Takes bytes as they came from the socket; appends what they hold to `plain` and what the peer
    /// must be sent because of them (pongs, TLS alerts, key updates) to `reply`. Also called with no
    /// bytes, when what it holds already may have become readable.
    ///
    /// # Errors
    /// The connection is over; what is in `plain` is still handled, and `reply` is still sent before
    /// it is closed. Every later call says the same.
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd>;

    /// Wraps bytes for the peer, appended to `wire`. Appends nothing once it is closed.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>);

    /// The last words when our side closes (a close frame, `close_notify`), appended to `wire`;
    /// nothing the second time.
    fn close(&mut self, wire: &mut Vec<u8>);

    /// Bytes of memory it holds, for the tables of memory.
    fn held_bytes(&self) -> usize;

    /// Who the peer is when that was said inside the envelope, by a proxy in front; once.
    fn told_peer(&mut self) -> Option<ToldPeer> {
        None
    }
}

impl fmt::Debug for dyn Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope")
    }
}

/// Why an envelope takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeEnd {
    /// The peer ended it in order.
    Closed,
    /// The peer broke its protocol.
    Broken,
}

/// An address that a proxy gave, or a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ToldPeer {
    /// The address.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
}

/// What a client's certificate is reduced to, by our own TLS or by a proxy; only the names that a
/// setting uses are there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerNames {
    /// The subject's common name.
    pub common_name: Option<Box<str>>,
    /// The subject's distinguished name.
    pub subject: Option<Box<str>>,
    /// The certificate, DER in base64.
    pub crt: Option<Box<str>>,
    /// The certificate, PEM.
    pub pem: Option<Box<str>>,
    /// MD5 of the DER certificate in hexadecimal digits.
    pub md5: Option<Box<str>>,
}

/// A TLS connection (outer) with a WebSocket (inner) in it.
#[derive(Debug)]
pub struct Stacked {
    outer: Box<dyn Envelope>,
    inner: Box<dyn Envelope>,
}

impl Stacked {
    /// `outer` is next to the socket, `inner` next to MQTT.
    pub fn new(outer: Box<dyn Envelope>, inner: Box<dyn Envelope>) -> Self {
        Self { outer, inner }
    }

    /// Bytes that the outer envelope has unwrapped already.
    ///
    /// # Errors
    /// As [`Envelope::receive`].
    pub fn receive_unwrapped(
        &mut self,
        between: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        let mut answer = Vec::new();
        let end = self.inner.receive(between, plain, &mut answer);
        if !answer.is_empty() {
            self.outer.send(&answer, reply);
        }
        if end.is_err() {
            self.outer.close(reply);
        }
        end
    }
}

impl Envelope for Stacked {
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        // Freed at once, so that an idle connection holds nothing of it.
        let mut between = Vec::new();
        let outer = self.outer.receive(wire, &mut between, reply);
        let inner = self.receive_unwrapped(&between, plain, reply);
        inner.and(outer)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let mut between = Vec::with_capacity(plain.len() + FRAME_ROOM);
        self.inner.send(plain, &mut between);
        if !between.is_empty() {
            self.outer.send(&between, wire);
        }
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        let mut words = Vec::new();
        self.inner.close(&mut words);
        if !words.is_empty() {
            self.outer.send(&words, wire);
        }
        self.outer.close(wire);
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.outer.held_bytes() + self.inner.held_bytes()
    }

    fn told_peer(&mut self) -> Option<ToldPeer> {
        self.inner.told_peer()
    }
}

/// Bytes that a WebSocket's frame adds at most.
const FRAME_ROOM: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles each byte on the way out; on the way in takes one of two; ends at a zero.
    struct Twice {
        closed: bool,
    }

    impl Envelope for Twice {
        fn receive(
            &mut self,
            wire: &[u8],
            plain: &mut Vec<u8>,
            reply: &mut Vec<u8>,
        ) -> Result<(), EnvelopeEnd> {
            for pair in wire.chunks(2) {
                match pair.first() {
                    Some(0) => return Err(EnvelopeEnd::Closed),
                    Some(b'?') => reply.extend_from_slice(b"!!"),
                    Some(byte) => plain.push(*byte),
                    None => {}
                }
            }
            Ok(())
        }

        fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
            wire.extend(plain.iter().flat_map(|byte| [*byte, *byte]));
        }

        fn close(&mut self, wire: &mut Vec<u8>) {
            if !std::mem::replace(&mut self.closed, true) {
                wire.extend_from_slice(&[0, 0]);
            }
        }

        fn held_bytes(&self) -> usize {
            1
        }
    }

    #[test]
    fn one_envelope_in_another() {
        let twice = || Box::new(Twice { closed: false });
        let mut both = Stacked::new(twice(), twice());
        let (mut plain, mut reply, mut wire) = (Vec::new(), Vec::new(), Vec::new());
        both.send(b"ab", &mut wire);
        assert_eq!(wire, b"aaaabbbb");
        assert_eq!(both.receive(&wire, &mut plain, &mut reply), Ok(()));
        assert_eq!((&plain[..], reply.len()), (&b"ab"[..], 0));
        assert_eq!(both.receive(b"????", &mut plain, &mut reply), Ok(()));
        assert_eq!(reply, b"!!!!", "both answer, the outer for itself");
        reply.clear();
        let end = both.receive(b"cccc\0\0", &mut plain, &mut reply);
        assert_eq!(end, Err(EnvelopeEnd::Closed));
        assert_eq!(plain, b"abc");
        wire.clear();
        both.close(&mut wire);
        assert_eq!(wire, [0; 6]);
    }
}
