//! From accept to an accepted CONNECT, on the accepting core.
//!
//! A socket in handshake is an ordinary descriptor of the driver. Here its bytes are collected until
//! CONNECT is complete and judged: version, limits, credentials. What passes is handed over to the
//! home core of its client id, together with the bytes that came behind CONNECT; what does not pass
//! gets its refusal and is closed.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use compact_str::CompactString;

use crate::base::envelope::{Envelope, PeerNames};
use crate::base::ids::CoreId;
use crate::base::limits::HANDSHAKE_BYTES_MAX;
use crate::metrics::Counter;
use crate::mqtt::decode_connect::{Connect, ConnectError, decode_connect};
use crate::mqtt::encode_connack::{ConnAckProperties, encode_connack};
use crate::mqtt::error::DecodeError;
use crate::mqtt::frame::{PacketType, next_frame};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::is_within_levels;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::mountpoint;

/// Bytes of the largest CONNACK without a client id: a header of 5 and 9 properties of fixed size.
pub(super) const CONNACK_BYTES_MAX: u32 = 36;
/// Bytes of the property that names an assigned client id.
pub(super) const ASSIGNED_ID_BYTES_MAX: u32 = 3 + 25;

/// A socket whose CONNECT is not complete.
#[derive(Debug)]
pub struct Handshake {
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// When it is given up, milliseconds since process start.
    pub deadline_ms: u64,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What came so far.
    received: Vec<u8>,
    /// What its certificate says, where it has shown one.
    pub peer_names: Option<Box<PeerNames>>,
}

/// A client's socket, with what lies between it and MQTT.
#[derive(Debug)]
pub struct ClientSocket {
    /// The socket, with no operation in flight.
    pub fd: OwnedFd,
    /// TLS, WebSocket, or none.
    pub envelope: Option<Box<dyn Envelope>>,
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
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What its certificate says, where it has shown one.
    pub peer_names: Option<Box<PeerNames>>,
    /// The socket; absent in simulation.
    pub socket: Option<ClientSocket>,
}

/// What becomes of a handshake after bytes came.
#[derive(Debug)]
pub enum Step {
    /// CONNECT is not complete.
    Wait,
    /// Refused and counted: say this (maybe nothing), then close.
    Refuse(Vec<u8>),
    /// Accepted: goes home.
    Home(CoreId, Box<Handover>),
}

impl Shard {
    /// A connection was accepted.
    pub fn begin_handshake(&self, listener: u8, peer: SocketAddr) -> Handshake {
        let deadline_ms = self.clients.now.ms + self.clients.rules.idle_timeout_ms;
        Handshake {
            listener,
            peer,
            deadline_ms,
            accepted_us: self.clients.now.unix_us,
            received: Vec::new(),
            peer_names: None,
        }
    }

    /// Bytes came on a socket in handshake.
    pub fn handshake_bytes(&mut self, handshake: &mut Handshake, bytes: &[u8]) -> Step {
        self.clients
            .metrics
            .add(Counter::BytesReceived, bytes.len() as u64);
        handshake.received.extend_from_slice(bytes);
        match self.judge(handshake) {
            Ok(step) => step,
            Err(refusal) => {
                self.count_close(refusal.reason);
                if !refusal.last.is_empty() {
                    self.count_refusal(refusal.code);
                }
                Step::Refuse(refusal.last)
            }
        }
    }

    /// A socket in handshake ended before its CONNECT was accepted.
    pub fn handshake_ended(&mut self, reason: CloseReason) {
        self.count_close(reason);
    }

    /// Counts a CONNACK that refuses.
    pub fn count_refusal(&self, code: ReasonCode) {
        let metrics = &self.clients.metrics;
        metrics.inc(Counter::ClientConnack);
        metrics.inc(Counter::PacketsConnackSent);
        metrics.inc(Counter::PacketsConnackError);
        if CloseReason::of_refusal(code) == CloseReason::NotAuthorized {
            metrics.inc(Counter::PacketsConnackAuthError);
        }
    }

    fn judge(&mut self, handshake: &mut Handshake) -> Result<Step, Refusal> {
        let max = self.clients.rules.max_packet_size;
        let received = &handshake.received;
        let Some(frame) = next_frame(received, max).map_err(Refusal::silent)? else {
            return still_a_connect(received);
        };
        if frame.packet_type != PacketType::Connect {
            return Err(Refusal::with_nothing(CloseReason::Malformed));
        }
        let connect_len = frame.wire_len;
        let connect = decode_connect(&frame).map_err(|error| Refusal::of_connect(&error))?;
        self.clients.metrics.inc(Counter::PacketsConnectReceived);
        self.clients.metrics.inc(Counter::ClientConnect);
        let admitted = self.admit(&connect);
        if let Err(reason) = admitted.and_then(|()| self.mountable(handshake.listener, &connect)) {
            return Err(Refusal {
                last: self.refusal(&connect, reason),
                code: reason,
                reason: CloseReason::of_refusal(reason),
            });
        }
        self.clients.metrics.inc(Counter::ClientAuthAnonymous);
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
        let handover = Handover {
            received: std::mem::take(&mut handshake.received),
            connect_len,
            client_id,
            assigned,
            listener: handshake.listener,
            peer: handshake.peer,
            accepted_us: handshake.accepted_us,
            peer_names: handshake.peer_names.take(),
            socket: None,
        };
        Ok(Step::Home(home, Box::new(handover)))
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
            if !is_within_levels(will.topic, rules.max_topic_levels) {
                return Err(ReasonCode::TopicNameInvalid);
            }
        }
        // A client that takes no CONNACK cannot be told what holds for it [MQTT-3.1.2-24].
        let connack_bytes = if connect.client_id.is_empty() {
            CONNACK_BYTES_MAX + ASSIGNED_ID_BYTES_MAX
        } else {
            CONNACK_BYTES_MAX
        };
        let taken = connect.properties.maximum_packet_size;
        if taken.is_some_and(|bytes| bytes < connack_bytes) {
            return Err(ReasonCode::PacketTooLarge);
        }
        Ok(())
    }
}

impl Shard {
    /// Whether the listener's mountpoint can be made for a client.
    fn mountable(&self, listener: u8, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let Some(template) = self.clients.rules.addons.mountpoint(listener) else {
            return Ok(());
        };
        // An assigned client id is fit.
        if mountpoint::text(template, connect.client_id, Some("u")).is_none() {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        match mountpoint::text(template, connect.client_id, connect.username) {
            Some(_) => Ok(()),
            None => Err(ReasonCode::BadUserNameOrPassword),
        }
    }

    /// A CONNACK that refuses a client for which there is no room; a 5.0 client is told where else to
    /// go, if there is such a place.
    pub(super) fn refusal(&self, connect: &Connect<'_>, reason: ReasonCode) -> Vec<u8> {
        let version = connect.version;
        let elsewhere = self.clients.rules.addons.server_reference.as_deref();
        let for_room = matches!(
            reason,
            ReasonCode::ServerShuttingDown | ReasonCode::QuotaExceeded | ReasonCode::ServerBusy
        );
        let most = connect.properties.maximum_packet_size;
        let fits = |text: &&str| most.is_none_or(|most| text.len() + 16 <= most as usize);
        let elsewhere = elsewhere.filter(|_| for_room && version.is_v5());
        let Some(elsewhere) = elsewhere.filter(fits) else {
            return refusal(version, reason);
        };
        let mut out = Vec::new();
        let properties = ConnAckProperties {
            server_reference: Some(elsewhere),
            ..ConnAckProperties::default()
        };
        let reason = ReasonCode::UseAnotherServer;
        encode_connack(&mut out, version, false, reason, &properties);
        out
    }
}

/// What an incomplete packet may still become.
fn still_a_connect(received: &[u8]) -> Result<Step, Refusal> {
    if received.len() > HANDSHAKE_BYTES_MAX {
        return Err(Refusal::with_nothing(CloseReason::FrameTooLarge));
    }
    match received.first() {
        Some(first) if *first != PacketType::Connect.first_byte(0) => {
            Err(Refusal::with_nothing(CloseReason::Malformed))
        }
        _ => Ok(Step::Wait),
    }
}

/// A handshake that ends: what is said, and how it counts.
struct Refusal {
    last: Vec<u8>,
    code: ReasonCode,
    reason: CloseReason,
}

impl Refusal {
    fn with_nothing(reason: CloseReason) -> Self {
        Self {
            last: Vec::new(),
            code: ReasonCode::MalformedPacket,
            reason,
        }
    }

    /// Bytes that are no packet have no answer.
    fn silent(error: DecodeError) -> Self {
        Self::with_nothing(match error.reason {
            ReasonCode::PacketTooLarge => CloseReason::FrameTooLarge,
            _ => CloseReason::Malformed,
        })
    }

    fn of_connect(error: &ConnectError) -> Self {
        let answer = |version| refusal(version, error.error.reason);
        Self {
            last: error.answer.map(answer).unwrap_or_default(),
            code: error.error.reason,
            reason: CloseReason::Malformed,
        }
    }
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
