//! What operators trace: rules that say whose doings are wanted, and what cores tell of them.
//!
//! A core looks at the rules only while there are some. What it tells never waits: what the control
//! plane has no room for is lost, and counted at the rule, so that the trace itself can say so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;
use crate::mqtt::version::Version;

/// One trace, as cores go by it.
#[derive(Debug)]
pub struct TraceRule {
    /// Its number, not used twice.
    pub id: u32,
    /// Whose doings are wanted.
    pub by: TraceBy,
    /// Bytes of a payload that are told.
    pub payload_bytes_max: usize,
    /// Events that found no room since they were last asked for.
    lost: AtomicU64,
}

/// Whose doings are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceBy {
    /// A client's.
    ClientId(CompactString),
    /// Those that have to do with a topic that this filter matches.
    Topic(Box<str>),
    /// Those of clients that come from there.
    Ip(IpAddr),
}

/// All traces.
pub type TraceRules = Arc<[Arc<TraceRule>]>;

impl TraceRule {
    /// A rule of which nothing is lost yet.
    pub fn new(id: u32, by: TraceBy, payload_bytes_max: usize) -> Self {
        Self {
            id,
            by,
            payload_bytes_max,
            lost: AtomicU64::new(0),
        }
    }

    /// Whether an event of that client, about that topic if any, is wanted.
    pub fn wants(&self, client_id: &str, ip: Option<IpAddr>, topic: Option<&str>) -> bool {
        match &self.by {
            TraceBy::ClientId(wanted) => wanted == client_id,
            TraceBy::Topic(filter) => {
                topic.is_some_and(|topic| &**filter == topic || topic_matches(filter, topic))
            }
            TraceBy::Ip(wanted) => ip == Some(*wanted),
        }
    }

    /// Counts an event that found no room.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many found no room since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Something that a core tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// When, microseconds of UNIX time.
    pub at_us: u64,
    /// The numbers of the traces that want it.
    pub traces: SmallVec<[u32; 4]>,
    /// The client's id; empty while it has none.
    pub client_id: CompactString,
    /// The user name, if it has one.
    pub username: Option<Box<str>>,
    /// The other end, if there is a connection.
    pub peer: Option<SocketAddr>,
    /// What it was.
    pub what: TracedWhat,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracedWhat {
    /// CONNECT has come.
    Connect {
        /// Protocol version.
        version: Version,
        /// It wants a new session.
        clean_start: bool,
        /// Seconds.
        keep_alive_s: u16,
        /// It has a will.
        has_will: bool,
    },
    /// CONNACK was sent.
    ConnAck {
        /// Reason code of MQTT 5.
        reason: u8,
        /// There was a session.
        session_present: bool,
    },
    /// Who it is has been decided.
    Authenticated {
        /// Reason code of MQTT 5; 0 = it may enter.
        reason: u8,
        /// Nobody was asked.
        anonymous: bool,
    },
    /// Whether it may do something has been decided.
    Authorized {
        /// `publish` or `subscribe`.
        action: &'static str,
        /// What it is about.
        topic: Box<str>,
        /// Whether it may.
        allowed: bool,
    },
    /// PUBLISH has come, or was sent.
    Publish {
        /// It was sent.
        sent: bool,
        /// The message.
        message: Box<TracedMessage>,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, PINGREQ, PINGRESP, SUBACK, UNSUBACK, DISCONNECT or AUTH has
    /// come, or was sent.
    Packet {
        /// It was sent.
        sent: bool,
        /// Its name.
        name: &'static str,
        /// Its packet identifier; 0 where there is none.
        packet_id: u16,
        /// Its reason code, where it has one.
        reason: Option<u8>,
    },
    /// A filter of a SUBSCRIBE.
    Subscribe {
        /// The filter.
        filter: Box<str>,
        /// The QoS that is asked for.
        qos: QoS,
        /// Reason code of MQTT 5.
        reason: u8,
    },
    /// A filter of an UNSUBSCRIBE.
    Unsubscribe {
        /// The filter.
        filter: Box<str>,
        /// Reason code of MQTT 5.
        reason: u8,
    },
    /// A message, or its delivery to this client, was dropped.
    Dropped {
        /// Its topic.
        topic: Box<str>,
        /// Why, in EMQX's words.
        reason: &'static str,
        /// Only the delivery to this client.
        delivery: bool,
    },
    /// The connection has ended.
    Disconnected {
        /// Why, in EMQX's words.
        reason: &'static str,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedMessage {
    /// The topic.
    pub topic: Box<str>,
    /// The beginning of the payload, or all of it.
    pub payload: Box<[u8]>,
    /// Bytes of the whole payload.
    pub payload_bytes: usize,
    /// The QoS.
    pub qos: QoS,
    /// The flag.
    pub retain: bool,
    /// Its packet identifier; 0 at QoS 0.
    pub packet_id: u16,
}

impl Traced {
    /// Memory in bytes, roughly.
    pub fn bytes(&self) -> usize {
        let more = match &self.what {
            TracedWhat::Publish { message, .. } => {
                size_of::<TracedMessage>() + message.topic.len() + message.payload.len()
            }
            TracedWhat::Authorized { topic, .. } | TracedWhat::Dropped { topic, .. } => topic.len(),
            TracedWhat::Subscribe { filter, .. } | TracedWhat::Unsubscribe { filter, .. } => {
                filter.len()
            }
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_wants_what_it_names() {
        let rule = |by| TraceRule::new(1, by, 10);
        let ip = |text: &str| Some(text.parse().unwrap());
        let client = rule(TraceBy::ClientId("c".into()));
        assert!(client.wants("c", None, None) && !client.wants("d", None, Some("c")));
        let topic = rule(TraceBy::Topic("a/+".into()));
        assert!(topic.wants("c", None, Some("a/b")) && !topic.wants("c", None, Some("a")));
        assert!(topic.wants("c", None, Some("a/+")), "a subscription to it");
        assert!(!topic.wants("a/b", None, None));
        let from = rule(TraceBy::Ip("192.0.2.1".parse().unwrap()));
        assert!(from.wants("c", ip("192.0.2.1"), None) && !from.wants("c", None, None));
        assert!(!from.wants("c", ip("192.0.2.2"), None));
        from.lose();
        from.lose();
        assert_eq!((from.take_lost(), from.take_lost()), (2, 0));
    }
}
