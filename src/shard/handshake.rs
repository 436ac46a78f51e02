//! From accept to an accepted CONNECT, on the accepting core.
//!
//! A socket in handshake is an ordinary descriptor of the driver. Here its bytes are collected until
//! CONNECT is complete and judged: version, limits, credentials. What passes is handed over to the
//! home core of its client id, together with the bytes that came behind CONNECT; what does not pass
//! gets its refusal and is closed.
//!
//! Where the control plane has to be asked (see [`crate::shard::auth`]) the handshake waits: the
//! driver sends the question and arms no receive until there is an answer. With enhanced
//! authentication [MQTT5 4.12] AUTH packets come and go before that, still on this core.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use compact_str::CompactString;

use crate::base::envelope::{Envelope, PeerNames};
use crate::base::ids::CoreId;
use crate::base::limits::{AUTHN_DATA_BYTES_MAX, AUTHN_STEPS_MAX, HANDSHAKE_BYTES_MAX};
use crate::gate::authn::{AuthnRequest, Exchange, Grant, Place, Secret, Ticket, Verdict};
use crate::metrics::Counter;
use crate::mqtt::decode_auth::Auth;
use crate::mqtt::decode_connect::{Connect, ConnectError, decode_connect};
use crate::mqtt::encode_connack::{ConnAckProperties, encode_connack};
use crate::mqtt::encode_disconnect::encode_auth;
use crate::mqtt::error::DecodeError;
use crate::mqtt::frame::{PacketType, next_frame};
use crate::mqtt::packet::{ClientPacket, decode};
use crate::mqtt::property::UserProperties;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::is_within_levels;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::auth::{Applicant, Entry, Identity, Pending, identity_of, question};
use crate::shard::close::CloseReason;
use crate::shard::lens::About;

/// Bytes of the largest CONNACK without a client id: a header of 5 and 9 properties of fixed size.
const CONNACK_BYTES_MAX: u32 = 36;
/// Bytes of the property that names an assigned client id.
const ASSIGNED_ID_BYTES_MAX: u32 = 3 + 25;
/// Bytes that method and data take in CONNACK beside their own.
const METHOD_BYTES_MAX: u32 = 3 + 3;

/// A socket whose CONNECT is not complete, or whose client is being authenticated.
#[derive(Debug)]
pub struct Handshake {
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// What the client's certificate says, if it showed one.
    pub peer_names: Option<Box<PeerNames>>,
    /// When it is given up unless it waits for an answer, milliseconds since process start.
    pub deadline_ms: u64,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What came so far.
    received: Vec<u8>,
    /// The authentication under way.
    trial: Option<Box<Trial>>,
}

/// A client's socket, with what lies between it and MQTT.
#[derive(Debug)]
pub struct ClientSocket {
    /// The socket, with no operation in flight.
    pub fd: OwnedFd,
    /// TLS, WebSocket, or none.
    pub envelope: Option<Box<dyn Envelope>>,
}

/// An authentication that has begun.
#[derive(Debug)]
struct Trial {
    applicant: Applicant,
    pending: Pending,
}

impl Handshake {
    /// Whether an answer of the control plane is waited for; until when, milliseconds since process
    /// start.
    pub fn waits_until_ms(&self) -> Option<u64> {
        let trial = self.trial.as_ref()?;
        (trial.pending.serial != 0).then_some(trial.pending.deadline_ms)
    }

    /// Whether it waits for the answer with that number.
    pub fn awaits(&self, serial: u64) -> bool {
        let trial = self.trial.as_ref();
        serial != 0 && trial.is_some_and(|trial| trial.pending.serial == serial)
    }
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
    /// What is known of the client besides.
    pub identity: Option<Box<Identity>>,
    /// The last data of enhanced authentication, for CONNACK.
    pub auth_data: Option<Vec<u8>>,
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
    /// Say this and receive on.
    Say(Vec<u8>),
    /// Ask the control plane, and receive nothing until there is an answer. The driver enters the
    /// number of the socket as the ticket's place.
    Ask(Box<AuthnRequest>),
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
            peer_names: None,
            deadline_ms,
            accepted_us: self.clients.now.unix_us,
            received: Vec::new(),
            trial: None,
        }
    }

    /// Bytes came on a socket in handshake.
    pub fn handshake_bytes(&mut self, handshake: &mut Handshake, bytes: &[u8]) -> Step {
        self.clients
            .metrics
            .add(Counter::BytesReceived, bytes.len() as u64);
        handshake.received.extend_from_slice(bytes);
        let judged = if handshake.trial.is_some() {
            self.exchange(handshake)
        } else {
            self.judge(handshake)
        };
        self.step(handshake, judged)
    }

    /// The control plane has answered the open question about a handshake.
    pub fn handshake_answer(&mut self, handshake: &mut Handshake, verdict: Verdict) -> Step {
        let judged = self.decide(handshake, verdict);
        self.step(handshake, judged)
    }

    /// A handshake with its socket ended before its client was accepted.
    pub fn handshake_over(&mut self, handshake: &mut Handshake, reason: CloseReason) {
        if handshake.waits_until_ms().is_some() {
            self.authn.end();
        }
        handshake.trial = None;
        self.count_close(handshake.listener, reason);
    }

    /// A socket of a listener ended before anything was heard of it.
    pub fn handshake_ended(&mut self, listener: u8, reason: CloseReason) {
        self.count_close(listener, reason);
    }

    fn step(&mut self, handshake: &Handshake, judged: Result<Step, Refusal>) -> Step {
        match judged {
            Ok(step) => step,
            Err(refusal) => {
                self.trace_refusal(handshake, &refusal);
                self.count_close(handshake.listener, refusal.reason);
                if !refusal.last.is_empty() {
                    self.count_refusal(refusal.code);
                }
                Step::Refuse(refusal.last)
            }
        }
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
        let version = connect.version;
        let taken = connect.properties.maximum_packet_size;
        let refused = |reason| Refusal::of(version, reason).unless_too_large(taken);
        let names = handshake.peer_names.as_deref();
        let username = self.clients.rules.authn.username(&connect, names);
        let client_id = self
            .clients
            .rules
            .authn
            .client_id(&connect, names, username);
        self.trace_connect(handshake.peer, &connect, (client_id, username));
        self.turned_away(client_id, username, handshake.peer.ip())
            .map_err(refused)?;
        self.admit(&connect, client_id).map_err(refused)?;
        let (username, client_id) = (username.map(Box::from), CompactString::from(client_id));
        let assigned = connect.client_id.is_empty();
        let mut applicant = Applicant {
            version,
            connect_len,
            client_id,
            assigned,
            username,
            method: connect.properties.authentication_method.map(Box::from),
            max_packet_size: taken.unwrap_or(u32::MAX),
        };
        let entry = self.entry(handshake.listener, &applicant);
        if let Entry::Closed(reason) = entry {
            self.clients.metrics.inc(Counter::AuthenticationFailure);
            self.trace_decision(handshake.peer, &applicant, (reason, false));
            return Err(refused(reason));
        }
        if applicant.client_id.is_empty() {
            let core = self.clients.core;
            let assigned = self
                .homes
                .assign_client_id(core, &mut self.assigned_ids, self.salt);
            applicant.client_id = assigned.into();
        }
        if matches!(entry, Entry::Ask) {
            let password = connect.password.map(Secret::new);
            let data = connect.properties.authentication_data.map(<[u8]>::to_vec);
            let secret = connect.password.map(|password| span(received, password));
            // What was sent as password is not kept, and does not go to another core.
            if let Some(secret) = secret {
                handshake.received[secret].fill(0);
            }
            return self.ask(handshake, applicant, password, data);
        }
        let metrics = &self.clients.metrics;
        metrics.inc(Counter::ClientAuthAnonymous);
        metrics.inc(Counter::AuthenticationSuccess);
        metrics.inc(Counter::AuthenticationSuccessAnonymous);
        let success = (ReasonCode::Success, true);
        self.trace_decision(handshake.peer, &applicant, success);
        Ok(self.go_home(handshake, applicant, None))
    }

    /// Sends a client home.
    fn go_home(
        &mut self,
        handshake: &mut Handshake,
        mut applicant: Applicant,
        mut grant: Option<Grant>,
    ) -> Step {
        let home = self.homes.of_client(&applicant.client_id);
        let auth_data = grant.as_mut().and_then(|grant| grant.data.take());
        let identity = identity_of(&mut applicant, handshake, grant);
        let handover = Handover {
            received: std::mem::take(&mut handshake.received),
            connect_len: applicant.connect_len,
            client_id: applicant.client_id,
            assigned: applicant.assigned,
            listener: handshake.listener,
            peer: handshake.peer,
            accepted_us: handshake.accepted_us,
            identity,
            auth_data,
            socket: None,
        };
        Step::Home(home, Box::new(handover))
    }

    /// The first question about a client.
    fn ask(
        &mut self,
        handshake: &mut Handshake,
        applicant: Applicant,
        password: Option<Secret>,
        data: Option<Vec<u8>>,
    ) -> Result<Step, Refusal> {
        let version = applicant.version;
        let (ticket, pending) = self
            .open_question(0, None)
            .ok_or_else(|| Refusal::of(version, ReasonCode::QuotaExceeded))?;
        let mut request = question(ticket, &applicant, handshake, password);
        request.exchange = applicant.method.clone().map(|method| {
            Box::new(Exchange {
                method,
                data: data.unwrap_or_default(),
                state: None,
                again: false,
            })
        });
        handshake.trial = Some(Box::new(Trial { applicant, pending }));
        Ok(Step::Ask(request))
    }

    /// A new question if there may be one more; its place is the driver's to enter.
    pub(super) fn open_question(
        &mut self,
        steps: u8,
        state: Option<Secret>,
    ) -> Option<(Ticket, Pending)> {
        let clients = &self.clients;
        if self.authn.is_full(&clients.rules.authn) {
            clients.metrics.inc(Counter::AuthenticationRefusedBusy);
            return None;
        }
        let pending = Pending {
            serial: self.authn.begin(),
            asked_us: clients.now.unix_us,
            deadline_ms: clients.now.ms + clients.rules.authn.timeout_ms,
            steps: steps + 1,
            state,
        };
        let ticket = Ticket {
            core: clients.core,
            place: Place::Handshake(u32::MAX),
            serial: pending.serial,
        };
        Some((ticket, pending))
    }

    /// The client answers a step of enhanced authentication: only AUTH and DISCONNECT may come now
    /// [MQTT-3.1.2-30].
    fn exchange(&mut self, handshake: &mut Handshake) -> Result<Step, Refusal> {
        let Some(mut trial) = handshake.trial.take() else {
            return Ok(Step::Wait);
        };
        let (version, connect_len) = (trial.applicant.version, trial.applicant.connect_len);
        let refused = |reason| Refusal::of(version, reason);
        let behind = handshake.received.get(connect_len..).unwrap_or_default();
        let max = self.clients.rules.max_packet_size;
        let Some(frame) = next_frame(behind, max).map_err(|error| refused(error.reason))? else {
            if behind.len() > HANDSHAKE_BYTES_MAX {
                return Err(refused(ReasonCode::PacketTooLarge));
            }
            handshake.trial = Some(trial);
            return Ok(Step::Wait);
        };
        let wire_len = frame.wire_len;
        let auth = match decode(&frame, version).map_err(|error| refused(error.reason))? {
            ClientPacket::Auth(auth) => auth,
            ClientPacket::Disconnect(_) => return Err(Refusal::with_nothing(CloseReason::Normal)),
            _ => return Err(refused(ReasonCode::ProtocolError)),
        };
        self.clients.metrics.inc(Counter::PacketsAuthReceived);
        if auth.authentication_method != trial.applicant.method.as_deref() {
            // [MQTT-4.12.0-5]
            return Err(refused(ReasonCode::BadAuthenticationMethod));
        }
        let steps = trial.pending.steps;
        if auth.reason != ReasonCode::ContinueAuthentication || steps >= AUTHN_STEPS_MAX {
            return Err(refused(ReasonCode::ProtocolError));
        }
        let data = auth.authentication_data.unwrap_or_default().to_vec();
        let state = trial.pending.state.take();
        handshake
            .received
            .drain(connect_len..connect_len + wire_len);
        let (ticket, pending) = self
            .open_question(steps, None)
            .ok_or_else(|| refused(ReasonCode::QuotaExceeded))?;
        let mut request = question(ticket, &trial.applicant, handshake, None);
        request.exchange = trial.applicant.method.clone().map(|method| {
            Box::new(Exchange {
                method,
                data,
                state,
                again: false,
            })
        });
        trial.pending = pending;
        handshake.trial = Some(trial);
        Ok(Step::Ask(request))
    }

    /// What an answer means for a handshake.
    fn decide(&mut self, handshake: &mut Handshake, verdict: Verdict) -> Result<Step, Refusal> {
        let Some(mut trial) = handshake.trial.take() else {
            return Ok(Step::Wait);
        };
        self.authn.end();
        let version = trial.applicant.version;
        let refused = |reason| Err(Refusal::of(version, reason));
        let metrics = &self.clients.metrics;
        match verdict {
            _ if self.stopping => refused(ReasonCode::ServerShuttingDown),
            Verdict::Allow(grant) => {
                self.count_answer(trial.pending.asked_us, true);
                let Trial { applicant, .. } = *trial;
                let success = (ReasonCode::Success, false);
                self.trace_decision(handshake.peer, &applicant, success);
                Ok(self.go_home(handshake, applicant, Some(*grant)))
            }
            Verdict::Deny(reason) => {
                self.count_answer(trial.pending.asked_us, false);
                self.trace_decision(handshake.peer, &trial.applicant, (reason, false));
                refused(reason)
            }
            Verdict::Continue { data, state } => {
                let Some(method) = trial.applicant.method.clone() else {
                    return refused(ReasonCode::ImplementationSpecificError);
                };
                // Before it has been answered a client has nothing to send [MQTT-3.1.2-30].
                if handshake.received.len() > trial.applicant.connect_len {
                    return refused(ReasonCode::ProtocolError);
                }
                let reason = ReasonCode::ContinueAuthentication;
                let packet = auth_packet(reason, &method, Some(&data));
                // The method cannot go on with a client that does not take it [MQTT-3.1.2-24].
                if packet.len() > trial.applicant.max_packet_size as usize {
                    return refused(ReasonCode::PacketTooLarge);
                }
                metrics.inc(Counter::PacketsAuthSent);
                trial.pending.serial = 0;
                trial.pending.state = Some(state);
                handshake.deadline_ms = self.clients.now.ms + self.clients.rules.idle_timeout_ms;
                handshake.trial = Some(trial);
                Ok(Step::Say(packet))
            }
            Verdict::Busy => {
                metrics.inc(Counter::AuthenticationRefusedBusy);
                refused(ReasonCode::QuotaExceeded)
            }
            Verdict::Unavailable => {
                metrics.inc(Counter::AuthenticationRefusedTimeout);
                refused(ReasonCode::ServerUnavailable)
            }
        }
    }

    /// Tells those who trace of a handshake that ends, with as much of its client as is known.
    fn trace_refusal(&mut self, handshake: &Handshake, refusal: &Refusal) {
        if !self.clients.is_tracing() {
            return;
        }
        let max = self.clients.rules.max_packet_size;
        let frame = next_frame(&handshake.received, max).ok().flatten();
        let connect = frame.and_then(|frame| decode_connect(&frame).ok());
        let (names, authn) = (handshake.peer_names.as_deref(), &self.clients.rules.authn);
        let username = connect
            .as_ref()
            .and_then(|connect| authn.username(connect, names));
        let client_id = connect
            .as_ref()
            .map(|connect| authn.client_id(connect, names, username));
        let about = About {
            client_id: client_id.unwrap_or_default(),
            username,
            peer: Some(handshake.peer),
        };
        self.clients
            .trace_end(about, refusal.reason, refusal.told());
    }

    /// Whether a well-formed CONNECT is welcome.
    fn admit(&self, connect: &Connect<'_>, client_id: &str) -> Result<(), ReasonCode> {
        let rules = &self.clients.rules;
        if self.stopping {
            return Err(ReasonCode::ServerShuttingDown);
        }
        if client_id.len() > rules.max_clientid_len {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        // [MQTT-3.1.3-8 of 3.1.1]: without an id there is no session to keep.
        if connect.client_id.is_empty() && !connect.version.is_v5() && !connect.clean_start {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.client_id.is_empty() && connect.version == Version::V31 {
            return Err(ReasonCode::ClientIdentifierNotValid);
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
        let mut connack_bytes = CONNACK_BYTES_MAX;
        if connect.client_id.is_empty() {
            connack_bytes += ASSIGNED_ID_BYTES_MAX;
        }
        if let Some(method) = connect.properties.authentication_method {
            let method = u32::try_from(method.len()).unwrap_or(u32::MAX);
            connack_bytes += METHOD_BYTES_MAX + AUTHN_DATA_BYTES_MAX + method;
        }
        let taken = connect.properties.maximum_packet_size;
        if taken.is_some_and(|bytes| bytes < connack_bytes) {
            return Err(ReasonCode::PacketTooLarge);
        }
        Ok(())
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
    fn of(version: Version, code: ReasonCode) -> Self {
        Self {
            last: refusal(version, code),
            code,
            reason: CloseReason::of_refusal(code),
        }
    }

    /// Says nothing to a client that takes no packet of this size [MQTT-3.1.2-24].
    fn unless_too_large(mut self, taken: Option<u32>) -> Self {
        if taken.is_some_and(|most| self.last.len() > most as usize) {
            self.last = Vec::new();
        }
        self
    }

    fn with_nothing(reason: CloseReason) -> Self {
        Self {
            last: Vec::new(),
            code: ReasonCode::MalformedPacket,
            reason,
        }
    }

    /// The reason code that the client is told.
    fn told(&self) -> Option<ReasonCode> {
        (!self.last.is_empty()).then_some(self.code)
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

/// An AUTH of the server.
pub(super) fn auth_packet(reason: ReasonCode, method: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let auth = Auth {
        reason,
        authentication_method: Some(method),
        authentication_data: data,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    encode_auth(&mut out, &auth);
    out
}

/// Where a part that was borrowed from a whole lies in it.
fn span(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let at = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    let end = (at + part.len()).min(whole.len());
    at.min(end)..end
}
