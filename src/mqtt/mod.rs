//! The wire format of MQTT 3.1, 3.1.1 and 5.0, sans-I/O: bytes in, typed packets out, and back.
//!
//! Decoding borrows from the receive buffer and allocates nothing; a packet that exists is
//! valid in the version it was decoded for. Statement numbers are those of the OASIS standard
//! for MQTT 5.0 unless they say 3.1.1.
//!
//! The way of a packet in: [`frame::next_frame`] cuts it out of the stream,
//! [`decode_connect::decode_connect`] or [`packet::decode`] reads it. The way out: one
//! `encode_*` function a packet appends it to a buffer. [`message::Publication`] is what a
//! PUBLISH becomes between the two.

pub mod decode_ack;
pub mod decode_auth;
pub mod decode_connect;
pub mod decode_disconnect;
pub mod decode_publish;
pub mod decode_server;
pub mod decode_subscribe;
pub mod encode_ack;
pub mod encode_client;
pub mod encode_connack;
pub mod encode_disconnect;
pub mod encode_publish;
pub mod encode_suback;
pub mod error;
pub mod frame;
pub mod message;
pub mod packet;
pub mod property;
pub mod qos;
mod reader;
pub mod reason;
#[cfg(any(test, fuzzing))]
pub mod reencode;
pub mod topic;
pub mod varint;
pub mod version;
mod writer;

#[cfg(test)]
mod tests;
