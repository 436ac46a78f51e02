//! What cores tell the control plane about clients and messages while it wants to know.
//!
//! The control plane says once what it wants ([`Watch`]); a core that is told nothing tells nothing. What
//! is told is lost, and counted, when the control plane does not keep up: nobody waits for it.

use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::mqtt::decode_subscribe::SubscribeOptions;
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::mqtt::version::Version;

/// A kind of event, and a set of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Kinds(u8);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// A client is connected.
    pub const CONNECTED: Self = Self(1);
    /// The connection of a client has ended.
    pub const DISCONNECTED: Self = Self(1 << 1);
    /// A client has subscribed to a filter.
    pub const SUBSCRIBED: Self = Self(1 << 2);
    /// A client has unsubscribed from a filter.
    pub const UNSUBSCRIBED: Self = Self(1 << 3);
    /// A session has ended.
    pub const TERMINATED: Self = Self(1 << 4);

    /// Whether all of `other` are among them.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the control plane wants to know.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Events that are wanted always.
    pub always: Kinds,
    /// Events that are wanted while anybody has subscribed to something below `$SYS`.
    pub for_sys: Kinds,
    /// Filters of messages that are wanted when they are published.
    pub published: Vec<Box<str>>,
    /// Filters of messages that are wanted when they are sent to a subscriber.
    pub delivered: Vec<Box<str>>,
    /// Filters of messages that are wanted when a subscriber has acknowledged them.
    pub acked: Vec<Box<str>>,
}

impl Watch {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a topic is among what filters name.
pub fn is_wanted(filters: &[Box<str>], topic: &str) -> bool {
    filters.iter().any(|filter| topic_matches(filter, topic))
}

/// Something that a core has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When, milliseconds of UNIX time.
    pub at_ms: u64,
    /// Whose doing it was.
    pub client: SeenClient,
    /// What it was.
    pub what: SeenWhat,
}

/// Who it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenClient {
    /// The client id.
    pub client_id: CompactString,
    /// The user name, if it has one.
    pub username: Option<Box<str>>,
    /// Protocol version.
    pub version: Version,
    /// The connection, if there is one.
    pub connection: Option<SeenConnection>,
}

/// By which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenConnection {
    /// The other end.
    pub peer: SocketAddr,
    /// Number of the listener.
    pub listener: u8,
    /// Keep-alive in force, seconds.
    pub keep_alive_s: u16,
}

/// What it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SeenWhat {
    /// It is connected.
    Connected {
        /// It wanted a new session.
        clean_start: bool,
        /// How long the session outlives the connection, seconds.
        expiry_s: u32,
    },
    /// Its connection has ended.
    Disconnected {
        /// EMQX's word for why.
        reason: &'static str,
    },
    /// It has subscribed.
    Subscribed {
        /// The filter.
        filter: Box<str>,
        /// With what options.
        options: SubscribeOptions,
    },
    /// It has unsubscribed.
    Unsubscribed {
        /// The filter.
        filter: Box<str>,
    },
    /// Its session has ended.
    Terminated,
    /// It has published.
    Published(SeenMessage),
    /// It was sent a message.
    Delivered(SeenMessage),
    /// It has acknowledged a message.
    Acked(SeenMessage),
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenMessage {
    /// The topic.
    pub topic: Box<str>,
    /// The payload.
    pub payload: Box<[u8]>,
    /// The QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Who published it, if that is known.
    pub from: Option<CompactString>,
}

impl Seen {
    /// Memory in bytes, roughly.
    pub fn bytes(&self) -> usize {
        let more = match &self.what {
            SeenWhat::Subscribed { filter, .. } | SeenWhat::Unsubscribed { filter } => filter.len(),
            SeenWhat::Published(message)
            | SeenWhat::Delivered(message)
            | SeenWhat::Acked(message) => message.topic.len() + message.payload.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

/// What the broker says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether it is retained.
    pub retain: bool,
}

/// Several of them, in their order.
pub type Announcements = Arc<[Announcement]>;
