//! A client comes home: take-over, session, CONNACK, replay.

use std::num::{NonZeroU16, NonZeroU64};

use crate::gate::trace::TracedWhat;
use crate::metrics::{Counter, Latency};
use crate::mqtt::decode_connect::{Connect, Will as ConnectWill, decode_connect};
use crate::mqtt::encode_connack::{ConnAckProperties, encode_connack};
use crate::mqtt::encode_publish::MAX_WIRE_LEN;
use crate::mqtt::frame::next_frame;
use crate::mqtt::message::{Message, Publication, PublisherRef};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::session::state::{Identity, Session};
use crate::session::will::{Will, WillFate, fate_at_take_over};
use crate::shard::Shard;
use crate::shard::aliases::OutAliases;
use crate::shard::close::CloseReason;
use crate::shard::connection::{Connection, Flags};
use crate::shard::handshake::{Handover, refusal};
use crate::shard::lens::About;
use crate::shard::timers::Timer;

/// Bytes of the largest packet there can be.
#[expect(clippy::cast_possible_truncation, reason = "28 bits")]
const LARGEST: u32 = MAX_WIRE_LEN as u32;

impl Shard {
    /// Takes a client over whose home is this core. Hand-overs of one client id are served in the
    /// order of their arrival here.
    pub fn arrive(&mut self, mut handover: Box<Handover>) {
        let received = std::mem::take(&mut handover.received);
        let (packet, unread) = received.split_at(handover.connect_len.min(received.len()));
        let Some(connect) = decode_again(packet, self.clients.rules.max_packet_size) else {
            return debug_assert!(false, "the accepting core has decoded this CONNECT");
        };
        let banned = self.is_banned(&handover).then_some(ReasonCode::Banned);
        let no_entry = banned.or_else(|| self.no_room(&handover.client_id));
        if let Some(reason) = no_entry.or_else(|| self.unmountable(&handover)) {
            self.trace_turned_away(&handover, reason);
            self.count_close(handover.listener, CloseReason::of_refusal(reason));
            self.count_refusal(reason);
            self.clients.metrics.inc(Counter::HandoverRefused);
            let (socket, listener) = (handover.socket.take(), handover.listener);
            let last = refusal(connect.version, reason);
            self.clients.effects.refuse.push((socket, listener, last));
            return;
        }
        let (session_index, present) = self.open_session(&handover, &connect);
        let slot = self.open_connection(session_index, &mut handover, &connect);
        self.ask_about_will(slot);
        self.shares_come_back(session_index);
        self.greet(slot, session_index, &handover, &connect, present);
        self.see_connected(session_index);
        if self.clients.is_tracing() {
            self.clients
                .trace_session(session_index, None, |_| TracedWhat::ConnAck {
                    reason: ReasonCode::Success.as_u8(),
                    session_present: present,
                });
        }
        self.auto_subscribe(slot);
        self.clients.replay_session(session_index);
        if !unread.is_empty() {
            self.take_bytes(slot, unread);
        }
    }

    fn trace_turned_away(&mut self, handover: &Handover, reason: ReasonCode) {
        if self.clients.is_tracing() {
            let identity = handover.identity.as_deref();
            let about = About {
                client_id: &handover.client_id,
                username: identity.and_then(|identity| identity.username.as_deref()),
                peer: Some(handover.peer),
            };
            let why = CloseReason::of_refusal(reason);
            self.clients.trace_end(about, why, Some(reason));
        }
    }

    /// Why a client cannot be taken in now. Who comes back to a session is welcome even when the
    /// memory for messages is used up: only so what waits for it goes.
    fn no_room(&self, client_id: &str) -> Option<ReasonCode> {
        let is_new = || self.clients.registry.find(client_id).is_none();
        if self.stopping {
            Some(ReasonCode::ServerShuttingDown)
        } else if self.clients.connections.is_full() || (self.clients.budget.is_full() && is_new())
        {
            Some(ReasonCode::QuotaExceeded)
        } else {
            None
        }
    }

    /// Finds or makes the session; says whether there was one to resume.
    fn open_session(&mut self, handover: &Handover, connect: &Connect<'_>) -> (u32, bool) {
        let found = self.clients.registry.find(&handover.client_id);
        if let Some(index) = found {
            self.take_over(index, connect.clean_start);
        }
        match self.clients.registry.find(&handover.client_id) {
            Some(index) if !connect.clean_start => {
                self.clients.metrics.inc(Counter::SessionResumed);
                (index, true)
            }
            _ => {
                let mut session = Session::new(handover.client_id.clone(), connect.version);
                session.created_s = self.clients.now_s();
                self.clients.metrics.inc(Counter::SessionCreated);
                (self.clients.registry.insert(session), false)
            }
        }
    }

    /// Ends the present connection of a session, and the session itself if the newcomer wants none
    /// of it or it does not outlive its connection [MQTT-3.1.4-3, 3.1.2-4].
    fn take_over(&mut self, session_index: u32, clean_start: bool) {
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        let (slot, expiry_s) = (session.connection, session.expiry_s);
        let connected = session.is_connected();
        let delay_s = session.will.as_ref().map_or(0, |will| will.delay_s);
        if connected {
            let (reason, counter) = if clean_start {
                (CloseReason::Discarded, Counter::SessionDiscarded)
            } else {
                (CloseReason::TakenOver, Counter::SessionTakenover)
            };
            self.disconnect(slot, reason, Some(ReasonCode::SessionTakenOver));
            self.clients.metrics.inc(counter);
        }
        let fate = if connected {
            fate_at_take_over(delay_s, expiry_s, clean_start)
        } else if clean_start {
            WillFate::Publish
        } else {
            WillFate::Discard
        };
        self.settle_will(session_index, fate);
        if clean_start || (connected && expiry_s == 0) {
            if !connected && clean_start {
                self.clients.metrics.inc(Counter::SessionDiscarded);
            }
            self.end_session(session_index);
        }
    }

    /// Enters the connection and prepares the session for it.
    fn open_connection(
        &mut self,
        session_index: u32,
        handover: &mut Handover,
        connect: &Connect<'_>,
    ) -> u32 {
        let version = connect.version;
        let peer = handover.peer.into();
        let mut connection = Connection::new(session_index, version, handover.listener, peer);
        connection.last_heard = self.clients.heard_now();
        let max_packet_size = connect.properties.maximum_packet_size;
        connection.max_packet_size = max_packet_size.map_or(LARGEST, |max| max.min(LARGEST));
        connection.keep_alive_s = self.clients.rules.keep_alive(connect.keep_alive);
        if connect.bridge {
            connection.flags.set(Flags::BRIDGE);
        }
        let aliases = connect.properties.topic_alias_maximum;
        if let Some(most) = NonZeroU16::new(aliases.min(self.clients.rules.max_topic_alias_out)) {
            connection.extra_mut().out_aliases = Some(OutAliases::new(most));
        }
        let key = self.clients.connections.insert(connection);
        self.clients
            .effects
            .install
            .push((key, handover.socket.take()));
        self.keep_identity(key.index, handover.identity.take());
        let window = connect
            .properties
            .receive_maximum
            .min(self.clients.rules.max_inflight);
        let expiry_s = self.session_expiry_s(connect);
        self.keep_mountpoint(key.index, &handover.client_id);
        let will = connect
            .will
            .as_ref()
            .map(|will| self.will(session_index, will));
        let since_s = self.clients.now_s();
        let known = self.identity(key.index).and_then(|i| i.username.as_deref());
        let username = known.or(connect.username).map(Into::into);
        if let Some(session) = self.clients.registry.at_mut(session_index) {
            session.connection = key.index;
            session.since_s = since_s;
            session.clean_start = connect.clean_start;
            session.identity = username.map(|username| Box::new(Identity { username }));
            session.version = version;
            session.window = window;
            session.expiry_s = expiry_s;
            session.will = will;
        }
        if let Some(at_ms) = self.keep_alive_deadline_ms(key.index) {
            self.arm(Timer::KeepAlive, key.index, at_ms);
        }
        key.index
    }

    /// How long the session outlives its connection.
    fn session_expiry_s(&self, connect: &Connect<'_>) -> u32 {
        match (connect.version.is_v5(), connect.clean_start) {
            (true, _) => connect.properties.session_expiry_interval,
            (false, true) => 0,
            (false, false) => self.clients.rules.session_expiry_s,
        }
    }

    fn will(&mut self, session_index: u32, will: &ConnectWill<'_>) -> Box<Will> {
        let mut scratch = Vec::new();
        let properties = will.properties.forwardable.resolve(&mut scratch);
        let message = Message::from_publication(&Publication {
            topic: will.topic,
            payload: will.payload,
            properties,
            qos: will.qos,
            retain: will.retain,
            received_us: 0,
            // Until the will is published this is the interval itself; see `publish_wills`.
            expires_us: will
                .properties
                .message_expiry_interval
                .and_then(|seconds| NonZeroU64::new(u64::from(seconds) * 1_000_000 + 1)),
            publisher: PublisherRef(self.clients.publisher(session_index)),
        });
        self.clients.budget.charge(&message);
        Box::new(Will {
            message,
            delay_s: will.properties.delay_interval,
            due_ms: None,
            armed_ms: None,
        })
    }

    /// Sends CONNACK with what this broker offers [MQTT5 3.2.2.3].
    fn greet(
        &mut self,
        slot: u32,
        session_index: u32,
        handover: &Handover,
        connect: &Connect<'_>,
        present: bool,
    ) {
        let rules = self.clients.rules.clone();
        let expiry_s = self
            .clients
            .registry
            .at(session_index)
            .map_or(0, |s| s.expiry_s);
        let asked = connect.properties.session_expiry_interval;
        let properties = ConnAckProperties {
            session_expiry_interval: (expiry_s != asked).then_some(expiry_s),
            receive_maximum: Some(rules.max_awaiting_rel),
            maximum_qos: QoS::from_u8(rules.max_qos_allowed).filter(|qos| *qos < QoS::ExactlyOnce),
            retain_available: Some(rules.retain_available),
            maximum_packet_size: Some(rules.max_packet_size),
            assigned_client_identifier: handover.assigned.then_some(handover.client_id.as_str()),
            topic_alias_maximum: Some(rules.max_topic_alias),
            wildcard_subscription_available: Some(rules.wildcard_subscription),
            subscription_identifier_available: Some(true),
            shared_subscription_available: Some(rules.shared_subscription),
            server_keep_alive: rules
                .keep_alive(connect.keep_alive)
                .map(NonZeroU16::get)
                .filter(|seconds| *seconds != connect.keep_alive),
            // The method of CONNECT, once it has succeeded [MQTT-4.12.0-4].
            authentication_method: connect.properties.authentication_method,
            authentication_data: handover.auth_data.as_deref(),
            ..ConnAckProperties::default()
        };
        let asks = connect.properties.request_response_information;
        let information = rules.response_information.as_deref().filter(|_| asks);
        let most = connect.properties.maximum_packet_size;
        let Some(out) = self.clients.out(slot) else {
            return;
        };
        let version = connect.version;
        // 3.1 has no session-present flag [MQTT-3.2.2-2 is of 3.1.1].
        let present = present && version != Version::V31;
        put_connack(
            &mut out.bytes,
            version,
            present,
            &properties,
            information,
            most,
        );
        let took_us = self
            .clients
            .now
            .unix_us
            .saturating_sub(handover.accepted_us);
        self.clients.metrics.record(Latency::Connect, took_us);
        self.clients.metrics.inc(Counter::ClientConnack);
        self.clients.metrics.inc(Counter::ClientConnected);
        self.clients.metrics.inc(Counter::PacketsConnackSent);
    }
}

/// Appends the CONNACK that accepts. Response information that does not fit beside the rest is left out;
/// the rest does fit, as `admit` has seen.
fn put_connack(
    out: &mut Vec<u8>,
    version: Version,
    present: bool,
    properties: &ConnAckProperties<'_>,
    information: Option<&str>,
    most: Option<u32>,
) {
    let begin = out.len();
    for response_information in [information, None] {
        out.truncate(begin);
        let properties = ConnAckProperties {
            response_information,
            ..*properties
        };
        encode_connack(out, version, present, ReasonCode::Success, &properties);
        let len = out.len() - begin;
        if most.is_none_or(|most| len <= most as usize) {
            return;
        }
    }
}

fn decode_again(packet: &[u8], max_packet_size: u32) -> Option<Connect<'_>> {
    let frame = next_frame(packet, max_packet_size).ok()??;
    decode_connect(&frame).ok()
}
