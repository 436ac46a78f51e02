//! What happened, as the clients saw it: the ground on which the checker judges.
//!
//! Everything carries the number of the event in which a client did or saw it. What the broker did
//! and when is not known; it lies somewhere between the events around it. So a subscription was in
//! force *possibly* from the sending of SUBSCRIBE to the arrival of UNSUBACK, and *certainly* from
//! the arrival of SUBACK to the sending of UNSUBSCRIBE; a message was routed between its sending and
//! the arrival of its acknowledgement.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;

use crate::mqtt::decode_subscribe::SubscribeEntry;
use crate::mqtt::qos::QoS;
use crate::sim::verdict::Failure;

/// Number of an event.
pub type Event = u64;

/// Lines of the trace that a failure shows.
const TRACE_LINES: usize = 20_000;

/// A message that was published, or may be: a will.
#[derive(Clone, Debug)]
pub struct Published {
    /// Who published it.
    pub client: usize,
    /// The publisher's session.
    pub session: Option<usize>,
    /// Its topic.
    pub topic: String,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// It has no payload: it clears a retained message.
    pub empty: bool,
    /// The connection on which it was first sent.
    pub conn: Option<usize>,
    /// When it was first sent; `Event::MAX` for a will that is not due.
    pub sent: Event,
    /// When its acknowledgement came.
    pub acked: Option<Event>,
    /// How often it was sent.
    pub attempts: u32,
    /// The connection whose will it is.
    pub will_of: Option<usize>,
    /// How often subscribers got it.
    pub deliveries: u32,
}

/// The options of a subscription from one SUBSCRIBE on.
#[derive(Clone, Debug)]
pub struct Version {
    /// When the SUBSCRIBE was sent.
    pub sent: Event,
    /// When its SUBACK came.
    pub acked: Option<Event>,
    /// Granted (until the SUBACK: asked for).
    pub qos: QoS,
    /// Subscription identifier.
    pub identifier: Option<u32>,
    /// Its own messages are not wanted.
    pub no_local: bool,
    /// RETAIN as published.
    pub retain_as_published: bool,
    /// Retain handling, 0 to 2.
    pub retain_handling: u8,
    /// The connection.
    pub conn: usize,
    /// There was no such subscription, for all the client knows.
    pub new: bool,
}

/// A subscription of a session, from SUBSCRIBE to UNSUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its filter.
    pub filter: String,
    /// Options, the last one last; never empty.
    pub versions: Vec<Version>,
    /// When UNSUBSCRIBE was sent.
    pub unsub_sent: Option<Event>,
    /// When UNSUBACK came, or what else proves the end.
    pub unsub_acked: Option<Event>,
}

/// What a session got of one message.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// Copies without DUP.
    pub copies: u32,
    /// Copies accepted at QoS 2.
    pub exactly_once: u32,
}

/// A session, as its client knows it.
#[derive(Clone, Debug, Default)]
pub struct SessionLog {
    /// The client.
    pub client: usize,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The connection that had it last.
    pub conn: usize,
    /// It is known to have ended, or may have.
    pub ended: bool,
    /// What came, by message.
    pub received: BTreeMap<usize, Receipt>,
    /// The message that came last, by topic; none for an empty one.
    pub last_on_topic: BTreeMap<String, Option<usize>>,
    /// The last message first seen, by publisher, topic, published and delivered QoS.
    pub order: BTreeMap<(usize, String, QoS, QoS), usize>,
}

/// How a connection ended, as the client did it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It did not end by the client.
    Open,
    /// The client closed, or went away without a word.
    Lost,
    /// DISCONNECT.
    Normal,
    /// DISCONNECT with Will Message.
    WithWill,
}

/// A connection with its will.
#[derive(Clone, Debug)]
pub struct ConnLog {
    /// The client.
    pub client: usize,
    /// When CONNECT was sent.
    pub sent: Event,
    /// The time of that.
    pub sent_ms: u64,
    /// CONNECT asked for a new session.
    pub clean: bool,
    /// When CONNACK came.
    pub connack: Option<Event>,
    /// The time of that.
    pub connack_ms: Option<u64>,
    /// Session expiry in force, seconds.
    pub expiry_s: u32,
    /// Will: its message and delay in seconds.
    pub will: Option<(usize, u32)>,
    /// How the client ended it.
    pub end: End,
    /// When it began to end, whoever did it, milliseconds.
    pub ended_ms: Option<u64>,
    /// When the broker closed it, milliseconds.
    pub closed_ms: Option<u64>,
    /// The broker had not read everything when it closed.
    pub unread: bool,
    /// The next connection of the same client.
    pub next: Option<usize>,
    /// The client looks no more.
    pub abandoned: bool,
    /// Keep-alive in force, seconds.
    pub keep_alive_s: u16,
    /// All shards had had a turn at this time when CONNECT was sent, milliseconds.
    pub turned_ms: u64,
}

/// Everything that is remembered.
#[derive(Default)]
pub struct Ledger {
    /// Events so far.
    pub events: Event,
    /// Messages by the number in their payload.
    pub published: Vec<Published>,
    /// Sessions.
    pub sessions: Vec<SessionLog>,
    /// Connections; the index is the world's.
    pub conns: Vec<ConnLog>,
    /// The first broken promise.
    pub failure: Option<String>,
    /// The last events, if they are to be shown.
    pub trace: Option<VecDeque<String>>,
    /// Of all bytes that clients sent and got.
    pub digest: u64,
}

impl Ledger {
    /// The next event.
    pub fn tick(&mut self) -> Event {
        self.events += 1;
        self.events
    }

    /// Notes a broken promise; the first one counts.
    pub fn fail(&mut self, what: impl Into<String>) {
        if self.failure.is_none() {
            let what = what.into();
            self.note(format_args!("FAILURE: {what}"));
            self.failure = Some(what);
        }
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: Arguments<'_>) {
        let events = self.events;
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_LINES {
                trace.pop_front();
            }
            trace.push_back(format!("{events}: {line}"));
        }
    }

    /// A SUBSCRIBE to one filter was sent; says which subscription and version it is.
    pub fn subscribes(
        &mut self,
        session: usize,
        conn: usize,
        identifier: Option<u32>,
        entry: &SubscribeEntry<'_>,
    ) -> (usize, usize) {
        let sent = self.tick();
        let subscriptions = &mut self.sessions[session].subscriptions;
        let new = !subscriptions
            .iter()
            .any(|s| s.filter == entry.filter && s.unsub_acked.is_none());
        let version = Version {
            sent,
            acked: None,
            qos: entry.options.qos,
            identifier,
            no_local: entry.options.no_local,
            retain_as_published: entry.options.retain_as_published,
            retain_handling: entry.options.retain_handling as u8,
            conn,
            new,
        };
        let present = subscriptions
            .iter()
            .position(|s| s.filter == entry.filter && s.unsub_sent.is_none());
        let Some(at) = present else {
            subscriptions.push(Subscription {
                filter: entry.filter.to_owned(),
                versions: vec![version],
                unsub_sent: None,
                unsub_acked: None,
            });
            return (subscriptions.len() - 1, 0);
        };
        subscriptions[at].versions.push(version);
        (at, subscriptions[at].versions.len() - 1)
    }

    /// A SUBACK came for one filter: what was before is over.
    pub fn subscribed(&mut self, session: usize, (at, version): (usize, usize)) {
        let event = self.tick();
        let subscriptions = &mut self.sessions[session].subscriptions;
        let filter = subscriptions[at].filter.clone();
        for old in &mut subscriptions[..at] {
            if old.filter == filter {
                old.unsub_acked.get_or_insert(event);
            }
        }
        subscriptions[at].versions[version].acked = Some(event);
    }

    /// An UNSUBSCRIBE was sent; says which subscriptions it may end.
    pub fn unsubscribes(&mut self, session: usize, filter: &str) -> Vec<(usize, usize)> {
        let event = self.tick();
        let subscriptions = &mut self.sessions[session].subscriptions;
        let mut ended = Vec::new();
        for (at, subscription) in subscriptions.iter_mut().enumerate() {
            if subscription.filter == filter && subscription.unsub_acked.is_none() {
                subscription.unsub_sent.get_or_insert(event);
                ended.push((at, 0));
            }
        }
        ended
    }

    /// An UNSUBACK came.
    pub fn unsubscribed(&mut self, session: usize, (at, _): (usize, usize)) {
        let event = self.tick();
        let subscription = &mut self.sessions[session].subscriptions[at];
        subscription.unsub_acked.get_or_insert(event);
    }

    /// Adds bytes to the digest.
    pub fn digest(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// Whether a client looks no more at a connection.
    pub fn is_abandoned(&self, conn: usize) -> bool {
        self.conns.get(conn).is_some_and(|log| log.abandoned)
    }

    /// The client has ended a connection, or let go of it.
    pub fn client_ends(&mut self, conn: usize, end: End, now_ms: u64) {
        let log = &mut self.conns[conn];
        // What is said to a connection that the broker has ended is not heard.
        if log.end == End::Open && log.closed_ms.is_none() {
            log.end = end;
        }
        log.abandoned |= end == End::Lost;
        log.ended_ms.get_or_insert(now_ms);
        if log.end != End::Normal {
            self.allow_will(conn);
        }
    }

    /// The broker has ended a connection; `unread` says that it has not read everything.
    pub fn server_ends(&mut self, conn: usize, unread: bool, now_ms: u64) {
        let log = &mut self.conns[conn];
        log.closed_ms.get_or_insert(now_ms);
        log.ended_ms.get_or_insert(now_ms);
        log.unread |= unread;
        if log.end != End::Normal || unread {
            self.allow_will(conn);
        }
    }

    /// The client has sent a CONNECT on another connection.
    pub fn superseded(&mut self, conn: usize, by: usize, now_ms: u64) {
        let log = &mut self.conns[conn];
        log.next.get_or_insert(by);
        log.ended_ms.get_or_insert(now_ms);
        if log.end != End::Normal || log.closed_ms.is_none() {
            self.allow_will(conn);
        }
    }

    /// From now on the will of a connection may come.
    fn allow_will(&mut self, conn: usize) {
        if let Some((will, _)) = self.conns[conn].will {
            let sent = &mut self.published[will].sent;
            *sent = (*sent).min(self.events);
        }
    }

    /// The failure with the trace.
    pub fn verdict(&mut self, plan: &'static str, seed: u64) -> Result<(), Failure> {
        match self.failure.take() {
            None => Ok(()),
            Some(what) => Err(Failure {
                plan,
                seed,
                what,
                trace: self.trace.take().unwrap_or_default().into(),
            }),
        }
    }
}

impl Subscription {
    /// Whether it may have been in force at some moment of a span.
    pub fn possible(&self, from: Event, to: Option<Event>) -> bool {
        let begun = self.versions.first().map_or(Event::MAX, |v| v.sent);
        to.is_none_or(|to| begun < to) && self.unsub_acked.is_none_or(|end| end > from)
    }

    /// Whether it was in force when a message was routed, which was by `to`. What the client itself
    /// sends behind a SUBSCRIBE finds it in force.
    pub fn certain(&self, message: &Published, to: Event) -> bool {
        let from = message.sent;
        let before = |v: &Version| {
            let same = message.conn == Some(v.conn) && message.attempts == 1;
            v.acked
                .is_some_and(|acked| acked < from || (same && v.sent < from))
        };
        self.versions.iter().any(before) && self.unsub_sent.is_none_or(|end| end > to)
    }

    /// The options that may have been in force at some moment of a span.
    pub fn versions_in(&self, from: Event, to: Option<Event>) -> impl Iterator<Item = &Version> {
        self.versions
            .iter()
            .enumerate()
            .filter_map(move |(at, version)| {
                let begun = to.is_none_or(|to| version.sent < to);
                let replaced = self.versions[at + 1..].iter().filter_map(|v| v.acked).min();
                (begun && replaced.is_none_or(|end| end > from)).then_some(version)
            })
    }
}
