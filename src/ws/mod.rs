//! Layer 1: what stands before and around MQTT on a socket, sans-I/O: the PROXY header, WebSocket.
//!
//! - [`proxy`]: the PROXY header, version 1 and 2
//! - [`upgrade`]: the HTTP request that asks for a WebSocket, and its answer; [`http`] reads it
//! - [`frame`]: frames, their masks, and what a peer may not send; [`utf8`] for text
//! - [`deflate`]: compressed messages
//! - [`socket`]: both together, as an [`Envelope`](crate::base::envelope::Envelope)

pub mod deflate;
pub mod frame;
pub mod http;
pub mod proxy;
pub mod socket;
pub mod upgrade;
pub mod utf8;
