//! What operators look at: traces, figures of chosen topics, slow subscriptions.
//!
//! While they look at nothing the [`Lens`] is absent, and each hook here is one branch on that. The
//! hooks lie beside those of [`crate::shard::observe`], which tell programs; what is told here is for
//! people.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::access::acl::{Action, Verb};
use crate::base::limits::TRACED_PER_TURN_MAX;
use crate::gate::manage::Look;
use crate::gate::slow_subs::SlowSpan;
use crate::gate::topic_counts::{TopicFigure, TopicTable};
use crate::gate::trace::{TraceRules, Traced, TracedMessage, TracedWhat};
use crate::metrics::Counter;
use crate::mqtt::decode_connect::Connect;
use crate::mqtt::decode_subscribe::SubscribeEntry;
use crate::mqtt::message::Publication;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::session::queue::Delivery;
use crate::shard::Shard;
use crate::shard::auth::Applicant;
use crate::shard::clients::Clients;
use crate::shard::close::CloseReason;
use crate::shard::fanout::Wire;
use crate::shard::slow_subs::SlowSubs;

/// How exactly it is known when a session was made, microseconds.
const BORN_WITHIN_US: u64 = 1_000_000;

/// What is looked at.
#[derive(Default)]
pub struct Lens {
    traces: Option<TraceRules>,
    topics: Option<Arc<TopicTable>>,
    slow: Option<SlowSubs>,
}

impl Lens {
    fn is_empty(&self) -> bool {
        self.traces.is_none() && self.topics.is_none() && self.slow.is_none()
    }

    fn count(&self, clients_core: crate::base::ids::CoreId, topic: &str, figure: TopicFigure) {
        if let Some(topics) = &self.topics {
            topics.inc(clients_core, topic, figure);
        }
    }
}

/// Whose doing it is.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) peer: Option<SocketAddr>,
}

impl Shard {
    /// From now on this is looked at.
    pub(super) fn look(&mut self, at: Look) {
        let clients = &mut self.clients;
        let mut lens = clients.lens.take().unwrap_or_default();
        match at {
            Look::Traces(rules) => lens.traces = (!rules.is_empty()).then_some(rules),
            Look::Topics(topics) => lens.topics = topics.filter(|topics| !topics.is_empty()),
            Look::SlowSubs(settings) => lens.slow = settings.map(SlowSubs::new),
        }
        clients.lens = (!lens.is_empty()).then_some(lens);
    }

    /// The slow subscriptions that were found.
    pub(super) fn slow_subs(&mut self, forget: bool) -> Vec<crate::gate::slow_subs::SlowRow> {
        let now_ms = self.clients.now.unix_us / 1000;
        let lens = self.clients.lens.as_mut();
        let slow = lens.and_then(|lens| lens.slow.as_mut());
        slow.map(|slow| slow.rows(now_ms, forget))
            .unwrap_or_default()
    }

    /// A client publishes.
    #[inline]
    pub(super) fn look_published(
        &mut self,
        session_index: u32,
        publication: &Publication<'_>,
        packet_id: u16,
    ) {
        if self.clients.lens.is_some() {
            self.clients.note_published(publication);
            self.clients.trace_message(
                session_index,
                publication,
                (false, publication.qos, publication.retain, packet_id),
            );
        }
    }

    /// The control plane publishes, maybe in a client's name.
    #[inline]
    pub(super) fn look_published_for(
        &mut self,
        client_id: Option<&str>,
        publication: &Publication<'_>,
        wanted: bool,
    ) {
        if self.clients.lens.is_none() {
            return;
        }
        self.clients.note_published(publication);
        let about = About {
            client_id: client_id.unwrap_or_default(),
            username: None,
            peer: None,
        };
        let topic = publication.topic;
        self.clients.trace(about, Some(topic), |max| {
            let how = (false, publication.qos, publication.retain, 0);
            message_of(publication, how, max)
        });
        if !wanted {
            self.clients.note_unwanted(topic);
            self.clients.trace(about, Some(topic), |_| {
                dropped(topic, "no_subscribers", false)
            });
        }
    }

    /// A message is not taken from a client, or nobody wants it.
    #[inline]
    pub(super) fn look_refused(&mut self, slot: u32, topic: &str, reason: &'static str) {
        if self.clients.lens.is_some()
            && let Some(connection) = self.clients.connections.at(slot)
        {
            let session_index = connection.session;
            self.clients.note_unwanted(topic);
            self.clients.trace_session(session_index, Some(topic), |_| {
                dropped(topic, reason, false)
            });
        }
    }

    /// Whether a client may do something has been decided.
    #[inline]
    pub(super) fn look_authorized(
        &mut self,
        slot: u32,
        action: Action,
        topic: &str,
        allowed: bool,
    ) {
        if self.clients.is_tracing()
            && let Some(connection) = self.clients.connections.at(slot)
        {
            let session_index = connection.session;
            let action = match action.verb {
                Verb::Publish => "publish",
                Verb::Subscribe => "subscribe",
            };
            self.clients
                .trace_session(session_index, Some(topic), |_| TracedWhat::Authorized {
                    action,
                    topic: topic.into(),
                    allowed,
                });
        }
    }

    /// CONNECT has come.
    #[inline]
    pub(super) fn trace_connect(
        &mut self,
        peer: SocketAddr,
        connect: &Connect<'_>,
        (client_id, username): (&str, Option<&str>),
    ) {
        if self.clients.is_tracing() {
            let about = About {
                client_id,
                username,
                peer: Some(peer),
            };
            self.clients.trace(about, None, |_| TracedWhat::Connect {
                version: connect.version,
                clean_start: connect.clean_start,
                keep_alive_s: connect.keep_alive,
                has_will: connect.will.is_some(),
            });
        }
    }

    /// Who a client is has been decided: with which reason code, and whether without asking anybody.
    #[inline]
    pub(super) fn trace_decision(
        &mut self,
        peer: SocketAddr,
        applicant: &Applicant,
        (reason, anonymous): (ReasonCode, bool),
    ) {
        if self.clients.is_tracing() {
            let about = About {
                client_id: &applicant.client_id,
                username: applicant.username.as_deref(),
                peer: Some(peer),
            };
            let reason = reason.as_u8();
            self.clients
                .trace(about, None, |_| TracedWhat::Authenticated {
                    reason,
                    anonymous,
                });
        }
    }

    /// A filter of a SUBSCRIBE has been decided, as far as this core can.
    #[inline]
    pub(super) fn look_subscribed(
        &mut self,
        session_index: u32,
        entry: &SubscribeEntry<'_>,
        reason: ReasonCode,
    ) {
        if self.clients.is_tracing() {
            let (filter, reason) = (entry.filter, reason.as_u8());
            self.clients
                .trace_session(session_index, Some(filter), |_| TracedWhat::Subscribe {
                    filter: filter.into(),
                    qos: entry.options.qos,
                    reason,
                });
        }
    }

    /// A filter of an UNSUBSCRIBE is done.
    #[inline]
    pub(super) fn look_unsubscribed(
        &mut self,
        session_index: u32,
        filter: &str,
        reason: ReasonCode,
    ) {
        if self.clients.is_tracing() {
            let reason = reason.as_u8();
            self.clients
                .trace_session(session_index, Some(filter), |_| TracedWhat::Unsubscribe {
                    filter: filter.into(),
                    reason,
                });
        }
    }

    /// An event of a trace found no room on its way to the control plane.
    pub fn trace_lost(&mut self, traced: &Traced) {
        self.clients.lose(&traced.traces);
    }
}

impl Clients {
    /// Whether anything is traced.
    #[inline]
    pub(super) fn is_tracing(&self) -> bool {
        self.lens.as_ref().is_some_and(|lens| lens.traces.is_some())
    }

    /// A message is sent to a subscriber.
    #[inline]
    pub(super) fn look_delivered(
        &mut self,
        slot: u32,
        publication: &Publication<'_>,
        wire: &Wire<'_>,
    ) {
        if self.lens.is_some() {
            self.note_delivered(slot, publication, wire);
        }
    }

    #[cold]
    fn note_delivered(&mut self, slot: u32, publication: &Publication<'_>, wire: &Wire<'_>) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let session_index = connection.session;
        let (core, now_us) = (self.core, self.now.unix_us);
        if let Some(lens) = self.lens.as_mut() {
            lens.count(core, publication.topic, TopicFigure::Out(wire.qos));
            if let Some(slow) = &mut lens.slow
                && slow.span() == SlowSpan::Response
                && wire.qos != QoS::AtMostOnce
                && !slow.sent(session_index, wire.packet_id, now_us)
            {
                self.metrics.inc(Counter::SlowSubsUnmeasured);
            }
        }
        if !wire.dup && !wire.retain {
            let ends = wire.qos == QoS::AtMostOnce;
            self.measure(session_index, publication, |span| match span {
                SlowSpan::Whole => ends.then_some(publication.received_us),
                SlowSpan::Internal => Some(publication.received_us),
                SlowSpan::Response => None,
            });
        }
        let how = (true, wire.qos, wire.retain, wire.packet_id);
        self.trace_message(session_index, publication, how);
    }

    /// A subscriber has acknowledged a message.
    #[inline]
    pub(super) fn look_acked(&mut self, session_index: u32, packet_id: u16, delivery: &Delivery) {
        if self.lens.is_some() {
            self.note_acked(session_index, packet_id, delivery);
        }
    }

    #[cold]
    fn note_acked(&mut self, session_index: u32, packet_id: u16, delivery: &Delivery) {
        let lens = self.lens.as_mut();
        let Some(slow) = lens.and_then(|lens| lens.slow.as_mut()) else {
            return;
        };
        let sent_us = slow.acked(session_index, packet_id);
        // A retained message may have been published long ago.
        if !delivery.retain {
            let publication = delivery.message.view();
            self.measure(session_index, &publication, |span| match span {
                SlowSpan::Whole => Some(publication.received_us),
                SlowSpan::Internal => None,
                SlowSpan::Response => sent_us,
            });
        }
    }

    /// Notes how long it took from the moment that `begun` names, microseconds of UNIX time. What came
    /// before the session is not its fault.
    fn measure(
        &mut self,
        session_index: u32,
        publication: &Publication<'_>,
        begun: impl FnOnce(SlowSpan) -> Option<u64>,
    ) {
        let now = self.now;
        let lens = self.lens.as_mut();
        let Some(slow) = lens.and_then(|lens| lens.slow.as_mut()) else {
            return;
        };
        let (Some(begun_us), Some(session)) = (begun(slow.span()), self.registry.at(session_index))
        else {
            return;
        };
        let age_ms = now.ms.saturating_sub(u64::from(session.created_s) * 1000);
        let born_us = now.unix_us.saturating_sub(age_ms * 1000 + BORN_WITHIN_US);
        if publication.received_us >= born_us {
            let took_ms = now.unix_us.saturating_sub(begun_us) / 1000;
            let client_id = session.client_id.as_str();
            slow.note((client_id, publication.topic), took_ms, now.unix_us / 1000);
        }
    }

    /// The delivery of a message to a session is given up.
    #[inline]
    pub(super) fn look_dropped(&mut self, session_index: u32, topic: &str, reason: &'static str) {
        if self.is_tracing() {
            self.trace_session(session_index, Some(topic), |_| dropped(topic, reason, true));
        }
    }

    /// A packet without a topic was sent.
    #[inline]
    pub(super) fn look_sent(
        &mut self,
        slot: u32,
        name: &'static str,
        packet_id: u16,
        reason: Option<u8>,
    ) {
        if self.is_tracing() {
            self.trace_packet(slot, (true, name), packet_id, reason);
        }
    }

    /// A packet without a topic has come or was sent.
    #[cold]
    pub(super) fn trace_packet(
        &mut self,
        slot: u32,
        (sent, name): (bool, &'static str),
        packet_id: u16,
        reason: Option<u8>,
    ) {
        let session = self.connections.at(slot).map(|c| c.session);
        let Some(session_index) = session else {
            return;
        };
        self.trace_session(session_index, None, |_| TracedWhat::Packet {
            sent,
            name,
            packet_id,
            reason,
        });
    }

    /// A client that has no connection yet will have none: what it is told, and why.
    #[cold]
    pub(super) fn trace_end(
        &mut self,
        about: About<'_>,
        reason: CloseReason,
        told: Option<ReasonCode>,
    ) {
        if let Some(code) = told {
            self.trace(about, None, |_| TracedWhat::ConnAck {
                reason: code.as_u8(),
                session_present: false,
            });
        }
        let reason = reason.emqx_name();
        self.trace(about, None, |_| TracedWhat::Disconnected { reason });
    }

    fn note_published(&mut self, publication: &Publication<'_>) {
        if let Some(lens) = &self.lens {
            lens.count(
                self.core,
                publication.topic,
                TopicFigure::In(publication.qos),
            );
        }
    }

    fn note_unwanted(&mut self, topic: &str) {
        if let Some(lens) = &self.lens {
            lens.count(self.core, topic, TopicFigure::Dropped);
        }
    }

    fn trace_message(
        &mut self,
        session_index: u32,
        publication: &Publication<'_>,
        how: (bool, QoS, bool, u16),
    ) {
        if self.is_tracing() {
            self.trace_session(session_index, Some(publication.topic), |max| {
                message_of(publication, how, max)
            });
        }
    }

    /// Tells of something that the client of a session does, or that is done to it. `what` is given the
    /// bytes of a payload that are wanted.
    #[cold]
    pub(super) fn trace_session(
        &mut self,
        session_index: u32,
        topic: Option<&str>,
        what: impl FnOnce(usize) -> TracedWhat,
    ) {
        let Some(session) = self.registry.at(session_index) else {
            return;
        };
        let connection = self.connections.at(session.connection);
        let about = About {
            client_id: &session.client_id,
            username: session.username(),
            peer: connection.map(|connection| connection.peer.into()),
        };
        let traces = self.lens.as_ref().and_then(|lens| lens.traces.as_ref());
        let traced = traces.and_then(|rules| traced(rules, about, topic, what));
        self.tell_traced(traced);
    }

    /// The same for a client without a session here.
    #[cold]
    pub(super) fn trace(
        &mut self,
        about: About<'_>,
        topic: Option<&str>,
        what: impl FnOnce(usize) -> TracedWhat,
    ) {
        let traces = self.lens.as_ref().and_then(|lens| lens.traces.as_ref());
        let traced = traces.and_then(|rules| traced(rules, about, topic, what));
        self.tell_traced(traced);
    }

    fn tell_traced(&mut self, traced: Option<Box<Traced>>) {
        let Some(mut traced) = traced else {
            return;
        };
        if self.effects.traced.len() >= TRACED_PER_TURN_MAX {
            return self.lose(&traced.traces);
        }
        traced.at_us = self.now.unix_us;
        self.effects.traced.push(traced);
    }

    fn lose(&mut self, traces: &[u32]) {
        self.metrics.inc(Counter::TraceDropped);
        let rules = self.lens.as_ref().and_then(|lens| lens.traces.as_ref());
        let concerned = rules.into_iter().flat_map(|rules| rules.iter());
        for rule in concerned.filter(|rule| traces.contains(&rule.id)) {
            rule.lose();
        }
    }
}

/// The event, if a trace wants it.
fn traced(
    rules: &TraceRules,
    about: About<'_>,
    topic: Option<&str>,
    what: impl FnOnce(usize) -> TracedWhat,
) -> Option<Box<Traced>> {
    let ip = about.peer.map(|peer| peer.ip());
    let wanting = rules
        .iter()
        .filter(|rule| rule.wants(about.client_id, ip, topic));
    let mut payload_bytes_max = 0;
    let mut traces: SmallVec<[u32; 4]> = SmallVec::new();
    for rule in wanting {
        payload_bytes_max = payload_bytes_max.max(rule.payload_bytes_max);
        traces.push(rule.id);
    }
    if traces.is_empty() {
        return None;
    }
    Some(Box::new(Traced {
        at_us: 0,
        traces,
        client_id: about.client_id.into(),
        username: about.username.map(Into::into),
        peer: about.peer,
        what: what(payload_bytes_max),
    }))
}

fn message_of(
    publication: &Publication<'_>,
    (sent, qos, retain, packet_id): (bool, QoS, bool, u16),
    payload_bytes_max: usize,
) -> TracedWhat {
    let payload = publication.payload;
    let wanted = payload.len().min(payload_bytes_max);
    let message = Box::new(TracedMessage {
        topic: publication.topic.into(),
        payload: payload.get(..wanted).unwrap_or_default().into(),
        payload_bytes: payload.len(),
        qos,
        retain,
        packet_id,
    });
    TracedWhat::Publish { sent, message }
}

fn dropped(topic: &str, reason: &'static str, delivery: bool) -> TracedWhat {
    TracedWhat::Dropped {
        topic: topic.into(),
        reason,
        delivery,
    }
}
