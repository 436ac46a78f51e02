//! The session record: one a client id, on its home core, for as long as the session lives.

use std::num::NonZeroU32;

use compact_str::CompactString;

use crate::mqtt::message::Message;
use crate::mqtt::version::Version;
use crate::session::awaiting_rel::AwaitingRel;
use crate::session::inflight::Inflight;
use crate::session::queue::{Delivery, Queue};
use crate::session::will::Will;

/// No connection, no subscription, nothing next: the absent value of the `u32` links.
pub const NONE: u32 = u32::MAX;
/// Session Expiry Interval that never ends [MQTT5 3.1.2.11.2].
pub const NEVER_S: u32 = u32::MAX;

/// A client's session. `connection == NONE` means that the client is away.
#[derive(Debug)]
pub struct Session {
    /// The client id; unique on this core because the id determines the core.
    pub client_id: CompactString,
    /// Index of the connection on this core, or [`NONE`].
    pub connection: u32,
    /// Head of the session's subscriptions in the core's local index, or [`NONE`].
    pub first_subscription: u32,
    /// Number of subscriptions, pending ones included.
    pub subscriptions: u32,
    /// Head of the session's shared subscriptions in the core's table, or [`NONE`].
    pub first_membership: u32,
    /// Seconds for which the session lives on without a connection; [`NEVER_S`] = for ever.
    pub expiry_s: u32,
    /// Second since process start in which the connection began, or ended if there is none now.
    pub since_s: u32,
    /// Second since process start in which the session was made.
    pub created_s: u32,
    /// Protocol version of the last CONNECT.
    pub version: Version,
    /// The second for which a timer for the end of the session is in the wheel.
    pub expiry_armed_s: Option<NonZeroU32>,
    /// Stored retained messages are on their way to this session.
    pub replaying: bool,
    /// The last CONNECT wanted a new session.
    pub clean_start: bool,
    /// Smaller of the client's Receive Maximum and our `max_inflight`.
    pub window: u16,
    /// Who the client says it is: absent if it gave no name.
    pub identity: Option<Box<Identity>>,
    /// Messages in flight, queued and half received: absent until needed.
    pub traffic: Option<Box<Traffic>>,
    /// The will of the present connection, or one that waits for its delay.
    pub will: Option<Box<Will>>,
}

/// What a client's CONNECT says of who it is, besides its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user name.
    pub username: Box<str>,
}

/// What a session holds while messages are on their way.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Sent and not acknowledged.
    pub inflight: Inflight,
    /// Not sent yet.
    pub queue: Queue,
    /// QoS 2 received and not released.
    pub awaiting_rel: AwaitingRel,
    /// A timer for identifiers that are never released is in the wheel.
    pub awaiting_rel_armed: bool,
}

impl Session {
    /// A new session of a client that is about to be connected.
    pub fn new(client_id: CompactString, version: Version) -> Self {
        Self {
            client_id,
            connection: NONE,
            first_subscription: NONE,
            subscriptions: 0,
            first_membership: NONE,
            expiry_s: 0,
            since_s: 0,
            created_s: 0,
            version,
            expiry_armed_s: None,
            replaying: false,
            clean_start: false,
            identity: None,
            window: 0,
            traffic: None,
            will: None,
        }
    }

    /// Whether the client is connected.
    pub fn is_connected(&self) -> bool {
        self.connection != NONE
    }

    /// The user name of the last CONNECT, if it had one.
    pub fn username(&self) -> Option<&str> {
        self.identity.as_deref().map(|identity| &*identity.username)
    }

    /// The traffic part, made when first needed.
    pub fn traffic_mut(&mut self) -> &mut Traffic {
        self.traffic.get_or_insert_with(Box::default)
    }

    /// Gives the memory of an idle session back.
    pub fn shrink(&mut self) {
        let idle = self.traffic.as_ref().is_some_and(|traffic| {
            traffic.inflight.is_empty()
                && traffic.queue.is_empty()
                && traffic.awaiting_rel.is_empty()
        });
        if idle && !self.is_connected() {
            self.traffic = None;
        }
    }

    /// The client has gone: takes out what came through shared subscriptions and may go to others, in
    /// the order in which it came.
    pub fn take_shared(&mut self) -> Vec<Delivery> {
        let Some(traffic) = self.traffic.as_mut() else {
            return Vec::new();
        };
        let mut taken = traffic.inflight.take_shared();
        taken.extend(traffic.queue.take_shared(None));
        taken
    }

    /// The client leaves a shared subscription: takes out what it has not been sent.
    pub fn leave_share(&mut self, membership: u32) -> Vec<Delivery> {
        let Some(traffic) = self.traffic.as_mut() else {
            return Vec::new();
        };
        traffic.inflight.forget_share(membership);
        traffic.queue.take_shared(Some(membership))
    }

    /// Takes all messages out; the session is about to end.
    pub fn drain_messages(&mut self) -> Vec<Message> {
        let Some(mut traffic) = self.traffic.take() else {
            return Vec::new();
        };
        let mut messages: Vec<Message> = traffic.inflight.drain().collect();
        messages.extend(traffic.queue.drain().map(|delivery| delivery.message));
        messages
    }
}

const _: () = assert!(
    size_of::<Session>() <= 88,
    "a million sessions must stay small"
);
