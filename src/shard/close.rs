//! The end of connections and sessions, and what it does to wills.

use std::num::NonZeroU32;

use crate::gate::trace::TracedWhat;
use crate::metrics::Counter;
use crate::mqtt::encode_disconnect::encode_disconnect;
use crate::mqtt::message::Message;
use crate::mqtt::reason::ReasonCode;
use crate::session::state::{NEVER_S, NONE};
use crate::session::will::{End, WillFate, fate_at_close};
use crate::shard::Shard;
use crate::shard::clients::Clients;
use crate::shard::connection::{Connection, Flags};
use crate::shard::timers::{HOP_MS, Timer};

/// The timer of a session that is away asks again at least so often, in seconds.
#[expect(clippy::cast_possible_truncation, reason = "about a minute")]
const HOP_S: u32 = (HOP_MS / 1000) as u32;

/// Why a connection ended. Counted under EMQX's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The client sent DISCONNECT.
    Normal,
    /// The client sent DISCONNECT with Will Message (0x04).
    NormalWithWill,
    /// The client closed without DISCONNECT.
    Closed,
    /// Writing to it failed.
    SendFailed,
    /// What was sent was not acknowledged in time, or never read.
    TimedOut,
    /// Nothing came for one and a half keep-alives.
    KeepAliveTimeout,
    /// No CONNECT came in time.
    IdleTimeout,
    /// Bytes that are no MQTT.
    Malformed,
    /// A packet beyond the maximum size.
    FrameTooLarge,
    /// A packet that the protocol does not allow here.
    ProtocolError,
    /// A second CONNECT.
    SecondConnect,
    /// More unacknowledged messages than the Receive Maximum.
    ReceiveMaximum,
    /// Another connection with the same client id took the session.
    TakenOver,
    /// Another connection with the same client id wanted a clean start.
    Discarded,
    /// Not allowed in, or not allowed to do this.
    NotAuthorized,
    /// What the client was authenticated by has expired.
    Expired,
    /// The core has no room.
    ServerBusy,
    /// An operator, or a ban, ended it.
    Kicked,
    /// The broker stops.
    Shutdown,
}

impl CloseReason {
    /// The reason for counting a refused CONNECT.
    pub fn of_refusal(reason: ReasonCode) -> Self {
        match reason {
            ReasonCode::QuotaExceeded
            | ReasonCode::ServerBusy
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::ServerUnavailable => Self::ServerBusy,
            ReasonCode::ServerShuttingDown => Self::Shutdown,
            ReasonCode::NotAuthorized
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::Banned
            | ReasonCode::ClientIdentifierNotValid => Self::NotAuthorized,
            _ => Self::ProtocolError,
        }
    }

    fn counter(self) -> Counter {
        match self {
            Self::Normal | Self::NormalWithWill => Counter::ShutdownNormal,
            Self::Closed => Counter::ShutdownClosed,
            Self::SendFailed => Counter::ShutdownEinval,
            Self::TimedOut => Counter::ShutdownEtimedout,
            Self::KeepAliveTimeout => Counter::ShutdownKeepaliveTimeout,
            Self::IdleTimeout => Counter::ShutdownIdleTimeout,
            Self::Malformed => Counter::ShutdownFunctionClause,
            Self::FrameTooLarge => Counter::ShutdownFrameTooLarge,
            Self::ProtocolError => Counter::ShutdownProtocolError,
            Self::ReceiveMaximum => Counter::ShutdownReceiveMaximum,
            Self::SecondConnect => Counter::ShutdownProtoUnexpectedC,
            Self::TakenOver => Counter::ShutdownTakenover,
            Self::Discarded => Counter::ShutdownDiscarded,
            Self::NotAuthorized => Counter::ShutdownNotAuthorized,
            Self::Expired => Counter::ShutdownExpired,
            Self::ServerBusy => Counter::ShutdownServerBusy,
            Self::Kicked => Counter::ShutdownKicked,
            Self::Shutdown => Counter::ShutdownShutdown,
        }
    }

    /// EMQX's word for it in events.
    pub(super) fn emqx_name(self) -> &'static str {
        match self {
            Self::Closed => "tcp_closed",
            Self::Malformed => "frame_error",
            _ => {
                let name = self.counter().name();
                name.strip_prefix("shutdown_count.").unwrap_or(name)
            }
        }
    }

    /// The reason in words.
    fn text(self) -> &'static str {
        match self {
            Self::Normal | Self::NormalWithWill | Self::Closed => "closed by the client",
            Self::SendFailed => "the connection broke",
            Self::TimedOut => "what was sent was not acknowledged in time",
            Self::KeepAliveTimeout => "no packet came within the keep-alive time",
            Self::IdleTimeout => "no CONNECT came in time",
            Self::Malformed => "a malformed packet",
            Self::FrameTooLarge => "a packet beyond the maximum packet size",
            Self::ProtocolError => "a packet that is not allowed here",
            Self::ReceiveMaximum => "more unacknowledged messages than the receive maximum",
            Self::SecondConnect => "a second CONNECT",
            Self::TakenOver => "another connection took the session over",
            Self::Discarded => "another connection began a new session",
            Self::NotAuthorized => "not authorized",
            Self::Expired => "the credentials have expired",
            Self::ServerBusy => "no room for what the client sends",
            Self::Kicked => "ended by an operator",
            Self::Shutdown => "the broker stops",
        }
    }

    fn end(self) -> End {
        if self == Self::Normal {
            End::Normal
        } else {
            End::Abnormal
        }
    }
}

impl Shard {
    /// Counts the end of a connection or handshake that came by a listener.
    pub fn count_close(&mut self, listener: u8, reason: CloseReason) {
        self.clients.metrics.inc_end(listener, reason.counter());
    }

    /// Ends a connection; a 5.0 client is told `tell`. Its session stays or ends as it wished; its
    /// slot is free when the driver says [`Shard::slot_closed`].
    pub fn close(&mut self, slot: u32, reason: CloseReason, tell: Option<ReasonCode>) {
        let Some(session_index) = self.disconnect(slot, reason, tell) else {
            return;
        };
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        session.connection = NONE;
        let expiry_s = session.expiry_s;
        let fate = session
            .will
            .as_ref()
            .map(|w| fate_at_close(reason.end(), w.delay_s, expiry_s));
        self.settle_will(session_index, fate.unwrap_or(WillFate::Discard));
        if expiry_s == 0 {
            self.end_session(session_index);
        } else {
            self.arm_session_expiry(session_index);
        }
    }

    /// The client has closed its end of a connection, or it can no longer be sent to. Packets that
    /// wait are handled first: a DISCONNECT may be among them.
    pub fn peer_closed(&mut self, slot: u32, reason: CloseReason) {
        match self.clients.connections.at_mut(slot) {
            Some(connection) if connection.flags.has(Flags::SUSPENDED) => {
                connection.flags.set(Flags::PEER_CLOSED);
            }
            _ => self.close(slot, reason, None),
        }
    }

    /// The connection's part of an end: tells the client, drops what is only the connection's, asks
    /// the driver to close. Returns the session, which still names the connection.
    pub fn disconnect(
        &mut self,
        slot: u32,
        reason: CloseReason,
        tell: Option<ReasonCode>,
    ) -> Option<u32> {
        let present = self.clients.connections.at(slot);
        present.filter(|c| !is_closing(c))?;
        self.forget_questions(slot);
        if reason != CloseReason::Normal {
            self.judge_will(slot);
        }
        let connection = self.clients.connections.at(slot)?;
        let (listener, session) = (connection.listener, connection.session);
        self.see_disconnected(session, reason);
        if self.clients.is_tracing() {
            let reason = reason.emqx_name();
            self.clients
                .trace_session(session, None, |_| TracedWhat::Disconnected { reason });
        }
        let connection = self.clients.connections.at(slot)?;
        if let Some(code) = tell.filter(|_| connection.version.is_v5()) {
            let most = connection.max_packet_size as usize;
            self.clients.say_goodbye(slot, most, reason, code);
        }
        self.count_close(listener, reason);
        self.clients.metrics.inc(Counter::ClientDisconnected);
        let key = self.clients.connections.key_at(slot)?;
        let connection = self.clients.connections.at_mut(slot)?;
        connection.flags.set(Flags::CLOSING);
        let received = connection.received.take();
        self.clients.partial_bytes -= received.map_or(0, |bytes| bytes.capacity());
        let extra = connection.extra.take();
        self.authn.forget(extra.as_deref());
        let session = connection.session;
        self.note_disconnect(session, reason);
        self.clients.effects.close.push(key);
        self.replays.abort_of(session, &mut self.clients.registry);
        if !self.deaf {
            // At a shutdown everybody goes, and the messages with them.
            self.shares_go_away(session);
        }
        Some(session)
    }

    /// The driver has closed a connection: its slot is free. Says by which listener it had come.
    pub fn slot_closed(&mut self, slot: u32) -> Option<u8> {
        if let Some(out) = self.clients.force_out(slot) {
            self.clients.give_spare(out);
        }
        self.clients
            .connections
            .remove_at(slot)
            .map(|connection| connection.listener)
    }

    /// Deletes, publishes or delays the will of a session.
    pub fn settle_will(&mut self, session_index: u32, fate: WillFate) {
        let due_ms = self.clients.now.ms;
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        match fate {
            WillFate::Discard => {
                if let Some(will) = session.will.take() {
                    self.clients.budget.release(will.message);
                }
            }
            WillFate::Publish => {
                if let Some(will) = session.will.take() {
                    self.pending_wills.push_back(will.message);
                }
            }
            WillFate::Delay(seconds) => {
                let at_ms = due_ms + u64::from(seconds) * 1000;
                if let Some(will) = session.will.as_mut() {
                    will.due_ms = Some(at_ms);
                    self.arm_will(session_index);
                }
            }
        }
    }

    /// Ends a session: a will that waits is published now [MQTT-3.1.3-9], subscriptions and messages
    /// are dropped.
    pub fn end_session(&mut self, session_index: u32) {
        self.settle_will(session_index, WillFate::Publish);
        self.drop_subscriptions(session_index);
        self.see_terminated(session_index);
        let Some(mut session) = self.clients.registry.remove(session_index) else {
            return;
        };
        let queued = session.traffic.as_ref().map_or(0, |t| t.queue.len());
        self.clients
            .metrics
            .add(Counter::DeliveryDroppedSessionEnded, queued as u64);
        let messages: Vec<Message> = session.drain_messages();
        self.clients.release_all(messages);
        self.clients.metrics.inc(Counter::SessionTerminated);
    }

    /// Starts the clock of a session whose client has gone.
    fn arm_session_expiry(&mut self, session_index: u32) {
        // Rounded up: a session never ends early.
        let now_s = u32::try_from(self.clients.now.ms.div_ceil(1000)).unwrap_or(u32::MAX);
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        session.since_s = now_s;
        self.arm_session_expiry_in(session_index);
    }

    /// Arms the timer for the end of a session unless one is there that is not later.
    pub fn arm_session_expiry_in(&mut self, session_index: u32) {
        let now_s = self.clients.now_s();
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        if session.expiry_s == NEVER_S {
            return;
        }
        let ends_s = session.since_s.saturating_add(session.expiry_s);
        let at_s = ends_s.min(now_s.saturating_add(HOP_S));
        if session
            .expiry_armed_s
            .is_some_and(|armed| armed.get() <= at_s)
        {
            return;
        }
        session.expiry_armed_s = NonZeroU32::new(at_s);
        let at_ms = u64::from(at_s) * 1000;
        self.arm(Timer::SessionExpiry, session_index, at_ms);
    }
}

impl Clients {
    /// Sends DISCONNECT, with a reason in words as far as the client takes packets of its size.
    fn say_goodbye(&mut self, slot: u32, most: usize, reason: CloseReason, code: ReasonCode) {
        self.metrics.inc(Counter::PacketsDisconnectSent);
        self.look_sent(slot, "DISCONNECT", 0, Some(code.as_u8()));
        let elsewhere = matches!(code, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved);
        let reference = self.rules.server_reference.clone().filter(|_| elsewhere);
        let Some(out) = self.out(slot) else {
            return;
        };
        let begin = out.bytes.len();
        // What the client can do without is left out first.
        let words = [
            (Some(reason.text()), reference.as_deref()),
            (None, reference.as_deref()),
            (None, None),
        ];
        for (text, reference) in words {
            out.bytes.truncate(begin);
            encode_disconnect(&mut out.bytes, code, text, reference);
            if out.bytes.len() - begin <= most {
                return;
            }
        }
    }
}

fn is_closing(connection: &Connection) -> bool {
    connection.flags.has(Flags::CLOSING)
}
