//! What may lie between MQTT's bytes and a socket's: TLS records, WebSocket frames. A plain TCP
//! connection has none of it and pays nothing for it.
//!
//! [`table`] holds the envelopes of a core's connections; [`desk`] is where sockets go whose
//! envelope takes long to begin; [`tls`] is TLS.

pub mod desk;
pub(super) mod table;
pub mod tls;
#[cfg(test)]
mod tls_tests;

pub use crate::base::envelope::{Envelope, EnvelopeEnd, PeerNames, Stacked, ToldPeer};
