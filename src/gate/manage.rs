//! What the control plane asks of a core about its clients, subscriptions and messages, and what the
//! core answers. Every request is one bounded step of the core: who wants a whole list asks again with
//! the cursor of the last page.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use std::sync::Arc;

use compact_str::CompactString;

use crate::gate::event::Tables;
use crate::gate::observe::Announcements;
use crate::gate::reply::Reply;
use crate::gate::slow_subs::{SlowRow, SlowSettings};
use crate::gate::topic_counts::TopicTable;
use crate::gate::trace::TraceRules;
use crate::mqtt::decode_subscribe::SubscribeOptions;
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::{SharedFilter, topic_matches};
use crate::mqtt::version::Version;

/// A request to one core. Loss: the channel of the core was full and the sender tries again, or
/// answers "busy".
#[derive(Debug)]
pub enum Manage {
    /// The next clients of this core from an index on.
    Clients {
        /// 0, or the cursor of the page before.
        from: u64,
        /// Which ones.
        query: Arc<ClientQuery>,
        /// At most so many.
        max: usize,
        /// Takes the page.
        reply: Reply<Page<ClientRow>>,
    },
    /// One client, which is at home here.
    Client {
        /// Its id.
        client_id: CompactString,
        /// Takes it; nothing if there is no session.
        reply: Reply<Option<ClientRow>>,
    },
    /// End a session, and its connection if there is one.
    Kick {
        /// Its client id.
        client_id: CompactString,
        /// Whether there was one.
        reply: Reply<bool>,
    },
    /// Another keep-alive interval for a connected client.
    KeepAlive {
        /// Its id.
        client_id: CompactString,
        /// Seconds; 0 = none.
        seconds: u16,
        /// Whether it is connected.
        reply: Reply<bool>,
    },
    /// Subscribe a connected client.
    Subscribe {
        /// Its id.
        client_id: CompactString,
        /// Valid filters with the options of each.
        filters: Vec<(CompactString, SubscribeOptions)>,
        /// Reason codes in the order of the filters once all are in force; nothing if the client is
        /// not connected.
        reply: Reply<Option<Vec<u8>>>,
    },
    /// End subscriptions of a client.
    Unsubscribe {
        /// Its id.
        client_id: CompactString,
        /// The filters.
        filters: Vec<CompactString>,
        /// For each filter whether there was a subscription; nothing if there is no session.
        reply: Reply<Option<Vec<bool>>>,
    },
    /// The next subscriptions of one client.
    SubscriptionsOf {
        /// Its id.
        client_id: CompactString,
        /// 0, or the cursor of the page before.
        from: u64,
        /// At most so many.
        max: usize,
        /// Takes the page; nothing if there is no session.
        reply: Reply<Option<Page<SubscriptionRow>>>,
    },
    /// The next subscriptions of all clients of this core.
    Subscriptions {
        /// 0, or the cursor of the page before.
        from: u64,
        /// Which ones.
        query: Arc<SubscriptionQuery>,
        /// At most so many.
        max: usize,
        /// Takes the page.
        reply: Reply<Page<SubscriptionRow>>,
    },
    /// The next filters that this core has subscribers of and no core of a lower number has.
    Topics {
        /// 0, or the cursor of the page before.
        from: u64,
        /// At most so many.
        max: usize,
        /// Takes the page.
        reply: Reply<Page<String>>,
    },
    /// Whether anyone on any core has subscribed to exactly this filter.
    Topic {
        /// The filter.
        filter: String,
        /// Takes the answer.
        reply: Reply<bool>,
    },
    /// Messages that wait in a session, or that are on their way to its client.
    Messages {
        /// The session's client id.
        client_id: CompactString,
        /// Which of the two.
        which: Waiting,
        /// 0, or the cursor of the page before.
        from: u64,
        /// At most so many.
        max: usize,
        /// Takes the page; nothing if there is no session.
        reply: Reply<Option<Page<MessageRow>>>,
    },
    /// Publish a message.
    Publish {
        /// The message.
        message: Box<NewMessage>,
        /// Takes what became of it.
        reply: Reply<Published>,
    },
    /// The next retained messages of this core.
    Retained {
        /// Those whose topics match this filter.
        filter: String,
        /// Whether the payloads are wanted.
        payloads: bool,
        /// Absent at first, then the bookmark of the page before.
        bookmark: Option<Bookmark>,
        /// At most so many.
        max: usize,
        /// Takes the page; no bookmark is the end.
        reply: Reply<(Vec<MessageRow>, Option<Bookmark>)>,
    },
    /// The retained message of a topic, which is at home here.
    RetainedOf {
        /// The topic.
        topic: String,
        /// Takes it.
        reply: Reply<Option<MessageRow>>,
    },
    /// Forget the retained message of a topic, which is at home here.
    ForgetRetained {
        /// The topic.
        topic: String,
        /// Whether there was one.
        reply: Reply<bool>,
    },
    /// Publish what the broker says of itself; see [`Announcement`](crate::gate::observe::Announcement).
    Announce {
        /// All of it.
        messages: Announcements,
        /// Which is the first.
        from: usize,
        /// Which is the first that is left, because the way to another core is full; or how many there
        /// are.
        reply: Reply<usize>,
    },
    /// Whether anyone on any core has subscribed to something below `$SYS`.
    IsSysWanted {
        /// Takes the answer.
        reply: Reply<bool>,
    },
    /// Bring the gauges up to date.
    Refresh {
        /// Done.
        reply: Reply<()>,
    },
    /// How large the tables are, as far as that is known without a walk over one.
    Tables {
        /// Takes their sizes.
        reply: Reply<Tables>,
    },
    /// From now on look at this.
    Look {
        /// At what.
        at: Look,
        /// Done.
        reply: Reply<()>,
    },
    /// The slow subscriptions that this core has found.
    SlowSubs {
        /// Forget them then.
        forget: bool,
        /// Takes them, in no order.
        reply: Reply<Vec<SlowRow>>,
    },
    /// Something about delayed messages.
    Delayed(AboutDelayed),
}

/// What a core looks at for operators.
#[derive(Debug)]
pub enum Look {
    /// These traces.
    Traces(TraceRules),
    /// These topics; none if nothing is chosen.
    Topics(Option<Arc<TopicTable>>),
    /// Slow subscriptions, or not.
    SlowSubs(Option<SlowSettings>),
}

/// A step about the delayed messages of a core.
#[derive(Debug)]
pub enum AboutDelayed {
    /// The next of them.
    List {
        /// 0, or the cursor of the page before.
        from: u64,
        /// At most so many.
        max: usize,
        /// Takes the page.
        reply: Reply<Page<DelayedRow>>,
    },
    /// One of them, with its payload.
    One {
        /// Its number on this core.
        id: u64,
        /// Takes it.
        reply: Reply<Option<DelayedRow>>,
    },
    /// Forget one.
    Forget {
        /// Its number on this core.
        id: u64,
        /// Whether it was there.
        reply: Reply<bool>,
    },
}

/// A delayed message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelayedRow {
    /// Its number on its core, not used twice.
    pub id: u64,
    /// Its core.
    pub core: u8,
    /// Where it is going.
    pub topic: String,
    /// Its payload, if the whole message was asked for.
    pub payload: Option<Vec<u8>>,
    /// QoS as published.
    pub qos: u8,
    /// RETAIN as published.
    pub retain: bool,
    /// The client that published it; empty if that was the broker.
    pub client_id: CompactString,
    /// When it was received, microseconds of UNIX time.
    pub received_us: u64,
    /// When it is published, microseconds of UNIX time.
    pub publish_us: u64,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found in this step; may be empty though there is more.
    pub rows: Vec<T>,
    /// Where the next page begins; nothing at the end. Never 0.
    pub next: Option<u64>,
}

/// The place of a walk that only the core can read.
pub struct Bookmark(pub Box<dyn Any + Send>);

impl std::fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bookmark")
    }
}

/// What is known of one client: its session and its connection, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Its id.
    pub client_id: CompactString,
    /// The name it gave in CONNECT.
    pub username: Option<Box<str>>,
    /// Protocol version of the last CONNECT.
    pub version: Version,
    /// Whether the last CONNECT wanted a new session.
    pub clean_start: bool,
    /// When the session was made, UNIX time in seconds.
    pub created_s: u64,
    /// When the client connected, or went away if it is not connected, UNIX time in seconds.
    pub since_s: u64,
    /// How long the session outlives its connection, seconds; `u32::MAX` is for ever.
    pub expiry_s: u32,
    /// Subscriptions, shared ones included.
    pub subscriptions: u32,
    /// Messages on their way to the client.
    pub inflight: usize,
    /// How many may be.
    pub inflight_max: u16,
    /// Messages that wait.
    pub queued: usize,
    /// QoS 2 messages that the client has not released.
    pub awaiting_rel: usize,
    /// The connection; nothing when the client is away.
    pub connection: Option<ConnectionRow>,
}

/// What is known of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRow {
    /// The other end.
    pub peer: SocketAddr,
    /// Number of the listener it came in by.
    pub listener: u8,
    /// Keep-alive in force, seconds; 0 = none.
    pub keep_alive_s: u16,
    /// It said that it is a bridge.
    pub is_bridge: bool,
    /// Bytes that wait to be sent.
    pub out_bytes: usize,
}

/// Which clients a list is to hold; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientQuery {
    /// Exactly these ids; none is any.
    pub client_ids: Vec<String>,
    /// Exactly these user names; none is any.
    pub usernames: Vec<String>,
    /// Part of the id.
    pub like_client_id: Option<String>,
    /// Part of the user name.
    pub like_username: Option<String>,
    /// The address, without the port.
    pub ip: Option<IpAddr>,
    /// Connected, or away.
    pub connected: Option<bool>,
    /// Clean start.
    pub clean_start: Option<bool>,
    /// Protocol version.
    pub version: Option<Version>,
    /// Bounds of the session's creation, UNIX time in seconds.
    pub created_s: Bounds,
    /// Bounds of the moment it connected, UNIX time in seconds.
    pub connected_s: Bounds,
    /// Bounds of the length of the queue.
    pub queued: Bounds,
}

impl ClientQuery {
    /// Whether a client is meant.
    pub fn fits(&self, row: &ClientRow) -> bool {
        let seen = SeenClient {
            client_id: &row.client_id,
            username: row.username.as_deref(),
            connected: row.connection.is_some(),
            clean_start: row.clean_start,
            version: row.version,
            created_s: row.created_s,
            since_s: row.since_s,
            queued: row.queued as u64,
            ip: row.connection.map(|connection| connection.peer.ip()),
        };
        self.holds(&seen)
    }

    /// Whether a client is meant, of which so much is known.
    pub fn holds(&self, seen: &SeenClient<'_>) -> bool {
        let like = |part: &Option<String>, text: Option<&str>| {
            let part = part.as_deref();
            part.is_none_or(|part| text.is_some_and(|text| text.contains(part)))
        };
        let among = |wanted: &[String], text: Option<&str>| {
            wanted.is_empty() || text.is_some_and(|text| wanted.iter().any(|wanted| wanted == text))
        };
        let same = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        same(self.connected, seen.connected)
            && same(self.clean_start, seen.clean_start)
            && self.version.is_none_or(|wanted| wanted == seen.version)
            && self.ip.is_none_or(|wanted| seen.ip == Some(wanted))
            && self.created_s.holds(seen.created_s)
            && self.queued.holds(seen.queued)
            && (self.connected_s == Bounds::default()
                || seen.connected && self.connected_s.holds(seen.since_s))
            && like(&self.like_client_id, Some(seen.client_id))
            && like(&self.like_username, seen.username)
            && among(&self.client_ids, Some(seen.client_id))
            && among(&self.usernames, seen.username)
    }
}

/// What a [`ClientQuery`] looks at.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields of the query and of the row")]
pub struct SeenClient<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub connected: bool,
    pub clean_start: bool,
    pub version: Version,
    pub created_s: u64,
    pub since_s: u64,
    pub queued: u64,
    pub ip: Option<IpAddr>,
}

/// At least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Not less.
    pub min: Option<u64>,
    /// Not more.
    pub max: Option<u64>,
}

impl Bounds {
    /// Whether a value lies between.
    pub fn holds(self, value: u64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// One subscription of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// The client.
    pub client_id: CompactString,
    /// The filter as the client wrote it.
    pub filter: String,
    /// Granted options.
    pub options: SubscribeOptions,
    /// Subscription identifier.
    pub identifier: Option<u32>,
    /// Whether the session outlives its connection.
    pub durable: bool,
}

/// Which subscriptions a list is to hold; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionQuery {
    /// Exactly this filter (without the prefix of a shared one).
    pub filter: Option<String>,
    /// Filters that match this topic.
    pub match_topic: Option<String>,
    /// Granted QoS.
    pub qos: Option<QoS>,
    /// Shared subscriptions of this group.
    pub group: Option<String>,
}

impl SubscriptionQuery {
    /// Whether a subscription is meant.
    pub fn fits(&self, row: &SubscriptionRow) -> bool {
        let Ok(parts) = SharedFilter::parse(&row.filter) else {
            return false;
        };
        let filter = parts.filter.as_str();
        let group = self.group.as_deref();
        self.filter.as_deref().is_none_or(|wanted| wanted == filter)
            && self.qos.is_none_or(|qos| qos == row.options.qos)
            && group.is_none_or(|group| parts.group == Some(group))
            && self
                .match_topic
                .as_deref()
                .is_none_or(|topic| topic_matches(filter, topic))
    }
}

/// The two places where messages of a session lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Not sent yet.
    Queued,
    /// Sent and not acknowledged.
    Inflight,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Its place in the order of arrival or of sending, for the cursor.
    pub number: u64,
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The encoded properties.
    pub properties: Vec<u8>,
    /// QoS of the delivery, or as published.
    pub qos: QoS,
    /// When the broker received it, microseconds of UNIX time.
    pub received_us: u64,
    /// When it expires, microseconds of UNIX time.
    pub expires_us: Option<NonZeroU64>,
    /// Client id of the publisher, if it is at home on the same core.
    pub from: Option<CompactString>,
}

/// A message that the control plane publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// A valid topic name.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Encoded properties that go on to subscribers.
    pub properties: Vec<u8>,
    /// The QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds until it expires.
    pub expiry_s: Option<u32>,
    /// In whose name; then the core must be its home.
    pub client_id: Option<CompactString>,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// On its way to its subscribers.
    Sent,
    /// Nobody has subscribed to it.
    NoSubscribers,
    /// Not taken: the topic has more levels than allowed.
    Refused,
    /// Not taken: the way to another core is full. It can be tried again.
    Busy,
}
