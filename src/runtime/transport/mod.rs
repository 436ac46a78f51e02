//! What may lie between MQTT's bytes and a socket's: TLS records, WebSocket frames. A plain TCP
//! connection has none of it and pays nothing for it.

/// One connection's wrapping. It holds no I/O: the driver hands it what came and sends what it made.
pub trait Envelope: Send {
    /// Takes bytes as they came from the socket; appends what they hold to `plain` and what the peer
    /// must be sent because of them (pongs, TLS alerts, key updates) to `reply`.
    ///
    /// # Errors
    /// The connection is over; `reply` is still sent before it is closed.
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd>;

    /// Wraps bytes for the peer, appended to `wire`.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>);

    /// The last words when our side closes (a close frame, `close_notify`), appended to `wire`.
    fn close(&mut self, wire: &mut Vec<u8>);

    /// Bytes of memory it holds, for the tables of memory.
    fn held_bytes(&self) -> usize;
}

/// Why an envelope takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeEnd {
    /// The peer ended it in order.
    Closed,
    /// The peer broke its protocol.
    Broken,
}
