//! From accept to an accepted CONNECT, on the accepting core.
//!
//! A socket in handshake is an ordinary descriptor of the driver. Here its bytes are collected until
//! CONNECT is complete and judged: version, limits, credentials. What passes is handed over to the
//! home core of its client id, together with the bytes that came behind CONNECT; what does not pass
//! gets its refusal and is closed.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use compact_str::CompactString;

use crate::base::ids::CoreId;
use crate::base::limits::HANDSHAKE_BYTES_MAX;
use crate::metrics::Counter;
use crate::mqtt::decode_connect::{Connect, ConnectError, decode_connect};
use crate::mqtt::encode_connack::{ConnAckProperties, encode_connack};
use crate::mqtt::error::DecodeError;
use crate::mqtt::frame::{PacketType, next_frame};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::close::CloseReason;

/// A socket whose CONNECT is not complete.
#[derive(Debug)]
pub struct Handshake {
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// When it is given up, milliseconds since process start.
    pub deadline_ms: u64,
    /// What came so far.
    received: Vec<u8>,
}

/// A client on its way to its home core.
#[derive(Debug)]
pub struct Handover {
    /// CONNECT and whatever came behind it.
    pub received: Vec<u8>,
    /// Bytes of CONNECT at the front of `received`.
    pub connect_len: usize,
    /// The client id, assigned if the client sent none.
    pub client_id: CompactString,
    /// Whether the client id was assigned by the broker.
    pub assigned: bool,
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// The socket, with no operation in flight; absent in simulation.
    pub socket: Option<OwnedFd>,
}

/// What becomes of a handshake after bytes came.
#[derive(Debug)]
pub enum Step {
    /// CONNECT is not complete.
    Wait,
    /// Refused: say this (maybe nothing), then close.
    Refuse(Vec<u8>, CloseReason),
    /// Accepted: goes home.
    Home(CoreId, Box<Handover>),
}

impl Shard {
    /// A connection was accepted.
    pub fn begin_handshake(&mut self, listener: u8, peer: SocketAddr) -> Handshake {
        self.clients.metrics.inc(Counter::ClientConnect);
        let deadline_ms = self.clients.now.ms + self.clients.rules.idle_timeout_ms;
        Handshake {
            listener,
            peer,
            deadline_ms,
            received: Vec::new(),
        }
    }

    /// Bytes came on a socket in handshake.
    pub fn handshake_bytes(&mut self, handshake: &mut Handshake, bytes: &[u8]) -> Step {
        self.clients
            .metrics
            .add(Counter::BytesReceived, bytes.len() as u64);
        handshake.received.extend_from_slice(bytes);
        let step = self.judge(handshake);
        if let Step::Refuse(_, reason) = &step {
            self.count_close(*reason);
        }
        step
    }

    /// A socket in handshake ended before its CONNECT was accepted.
    pub fn handshake_ended(&mut self, reason: CloseReason) {
        self.count_close(reason);
    }

    fn judge(&mut self, handshake: &mut Handshake) -> Step {
        let max = self.clients.rules.max_packet_size;
        let frame = match next_frame(&handshake.received, max) {
            Ok(Some(frame)) => frame,
            Ok(None) if handshake.received.len() > HANDSHAKE_BYTES_MAX => {
                return Step::Refuse(Vec::new(), CloseReason::FrameTooLarge);
            }
            Ok(None) => return first_byte_is_connect(&handshake.received),
            Err(error) => return refuse_undecodable(&handshake.received, error),
        };
        if frame.packet_type != PacketType::Connect {
            return Step::Refuse(Vec::new(), CloseReason::Malformed);
        }
        let connect_len = frame.wire_len;
        let connect = match decode_connect(&frame) {
            Ok(connect) => connect,
            Err(error) => return refuse_connect(&error),
        };
        self.clients.metrics.inc(Counter::PacketsConnectReceived);
        if let Err(reason) = self.admit(&connect) {
            return refuse(connect.version, reason);
        }
        let assigned = connect.client_id.is_empty();
        let client_id: CompactString = if assigned {
            let core = self.clients.core;
            self.homes
                .assign_client_id(core, &mut self.assigned_ids, self.salt)
                .into()
        } else {
            connect.client_id.into()
        };
        let home = self.homes.of_client(&client_id);
        Step::Home(
            home,
            Box::new(Handover {
                received: std::mem::take(&mut handshake.received),
                connect_len,
                client_id,
                assigned,
                listener: handshake.listener,
                peer: handshake.peer,
                socket: None,
            }),
        )
    }

    /// Whether a well-formed CONNECT is welcome.
    fn admit(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let rules = &self.clients.rules;
        if self.stopping {
            return Err(ReasonCode::ServerShuttingDown);
        }
        if connect.client_id.len() > rules.max_clientid_len {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        // [MQTT-3.1.3-8 of 3.1.1]: without an id there is no session to keep.
        if connect.client_id.is_empty() && !connect.version.is_v5() && !connect.clean_start {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.client_id.is_empty() && connect.version == Version::V31 {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        // No authentication method is offered [MQTT-4.12.0-1].
        if connect.properties.authentication_method.is_some() {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        if !rules.allow_anonymous {
            return Err(ReasonCode::NotAuthorized);
        }
        if let Some(will) = &connect.will {
            if will.qos.as_u8() > rules.max_qos_allowed {
                return Err(ReasonCode::QosNotSupported);
            }
            if will.retain && !rules.retain_available {
                return Err(ReasonCode::RetainNotSupported);
            }
        }
        Ok(())
    }
}

/// An incomplete packet may still become a CONNECT, or not.
fn first_byte_is_connect(received: &[u8]) -> Step {
    match received.first() {
        Some(first) if *first != PacketType::Connect.first_byte(0) => {
            Step::Refuse(Vec::new(), CloseReason::Malformed)
        }
        _ => Step::Wait,
    }
}

/// A frame that cannot be cut: only a CONNECT that is too large has an answer.
fn refuse_undecodable(received: &[u8], error: DecodeError) -> Step {
    let is_connect = received.first() == Some(&PacketType::Connect.first_byte(0));
    if is_connect && error.reason == ReasonCode::PacketTooLarge {
        return Step::Refuse(Vec::new(), CloseReason::FrameTooLarge);
    }
    Step::Refuse(Vec::new(), CloseReason::Malformed)
}

fn refuse_connect(error: &ConnectError) -> Step {
    match error.answer {
        Some(version) => Step::Refuse(refusal(version, error.error.reason), CloseReason::Malformed),
        None => Step::Refuse(Vec::new(), CloseReason::Malformed),
    }
}

fn refuse(version: Version, reason: ReasonCode) -> Step {
    Step::Refuse(refusal(version, reason), CloseReason::of_refusal(reason))
}

/// A CONNACK that refuses [MQTT-3.2.2-7].
pub fn refusal(version: Version, reason: ReasonCode) -> Vec<u8> {
    let mut out = Vec::new();
    encode_connack(
        &mut out,
        version,
        false,
        reason,
        &ConnAckProperties::default(),
    );
    out
}
