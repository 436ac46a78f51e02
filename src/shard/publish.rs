//! PUBLISH from a client, and the routing of a message to whoever wants it on every core.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::base::core_set::CoreSet;
use crate::base::ids::FilterId;
use crate::base::limits::{ALIAS_BYTES_MAX, CROSS_INLINE_BYTES_MAX};
use crate::metrics::Counter;
use crate::mqtt::decode_ack::Ack;
use crate::mqtt::decode_publish::Publish;
use crate::mqtt::encode_ack::{encode_puback, encode_pubcomp, encode_pubrec};
use crate::mqtt::message::{Publication, PublisherRef};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::is_within_levels;
use crate::routing::delta::Hit;
use crate::session::awaiting_rel::AwaitingRel;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::cross::PublishHead;
use crate::shard::delayed::{DELAYED_PREFIX, DelayedTopic};
use crate::shard::deliver::closing;
use crate::shard::outbox::PendingAck;
use crate::shard::receive::Fault;
use crate::shard::timers::Timer;

/// What becomes of a message from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It is routed.
    Route,
    /// It is routed after so many milliseconds.
    Wait(u64),
    /// It is acknowledged and dropped.
    Discard,
}

/// Where a message went.
#[derive(Clone, Copy, Debug)]
pub struct Routed {
    /// Someone has subscribed to it, or it was retained.
    pub wanted: bool,
    /// Someone has subscribed to it.
    pub subscribed: bool,
    /// Other cores that are to take it over.
    pub waits: CoreSet,
}

impl Shard {
    /// PUBLISH from a client [MQTT5 3.3].
    pub fn publish(&mut self, slot: u32, publish: &Publish<'_>) -> Result<(), Fault> {
        self.check_offered(publish)?;
        let mut alias_topic = std::mem::take(&mut self.alias_topic);
        let topic = self.resolve_alias(slot, publish, &mut alias_topic);
        let result = topic.and_then(|topic| {
            if !self.is_within_quota(slot, publish) {
                self.look_refused(slot, topic, "quota_exceeded");
                return self.refuse_publish(slot, publish, ReasonCode::QuotaExceeded);
            }
            if !self.may_publish(slot, publish, topic)? {
                self.look_refused(slot, topic, "not_authorized");
                return self.refuse_publish(slot, publish, ReasonCode::NotAuthorized);
            }
            if topic.starts_with('$') || self.changes_topics {
                self.publish_special(slot, publish, topic)
            } else {
                self.publish_to(slot, publish, topic, Fate::Route)
            }
        });
        self.alias_topic = alias_topic;
        result
    }

    /// PUBREL from a client: the message is released, its identifier free again.
    pub fn pubrel(&mut self, slot: u32, ack: Ack) {
        let Some((version, session_index)) = self
            .clients
            .connections
            .at(slot)
            .map(|c| (c.version, c.session))
        else {
            return;
        };
        let known = self
            .clients
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut())
            .is_some_and(|traffic| traffic.awaiting_rel.release(ack.packet_id));
        let reason = if known {
            ReasonCode::Success
        } else {
            self.clients.metrics.inc(Counter::PacketsPubrelMissed);
            ReasonCode::PacketIdentifierNotFound
        };
        self.clients.metrics.inc(Counter::PacketsPubcompSent);
        self.clients
            .look_sent(slot, "PUBCOMP", ack.packet_id, Some(reason.as_u8()));
        if let Some(out) = self.clients.out(slot) {
            encode_pubcomp(&mut out.bytes, version, ack.packet_id, reason);
        }
    }

    /// Gives a message to its subscribers on this core and to the cores where there are others.
    pub fn route(&mut self, publication: &Publication<'_>) -> Routed {
        let mut hits = std::mem::take(&mut self.hits);
        self.routes.index.matches(publication.topic, &mut hits);
        if publication.retain
            && publication.payload.is_empty()
            && self.clients.rules.addons.stop_publish_clear_msg
        {
            hits.clear();
        }
        let own = CoreSet::single(self.clients.core);
        let mut targets = CoreSet::EMPTY;
        for hit in &hits {
            targets = targets.union(hit.cores);
        }
        let subscribed = !targets.is_empty();
        let has_own = targets.contains(self.clients.core);
        let keeper = publication
            .retain
            .then(|| self.homes.of_topic(publication.topic));
        if let Some(keeper) = keeper {
            targets.insert(keeper);
        }
        let others = CoreSet(targets.0 & !own.0);
        // A large message is copied once for all cores.
        let large = publication.record_len() > CROSS_INLINE_BYTES_MAX;
        let block = (large && !others.is_empty()).then(|| publication.to_block());
        if has_own {
            self.deliver_own(publication, block.as_ref(), &hits);
        }
        if keeper == Some(self.clients.core) {
            self.retain(publication);
        }
        if !others.is_empty() {
            self.cross(publication, block.as_ref(), &hits, others, keeper);
        }
        self.hits = hits;
        Routed {
            wanted: subscribed || keeper.is_some(),
            subscribed,
            waits: others,
        }
    }

    /// Sends the acknowledgements whose messages have been taken over.
    pub fn release_acks(&mut self) {
        while let Some(ack) = self.acks.pop_ready(&self.outboxes) {
            let Some(connection) = self.clients.connections.get_mut(ack.connection) else {
                continue;
            };
            connection.pending_acks -= 1;
            connection.pending_pubacks -= u16::from(!ack.qos2 && connection.version.is_v5());
            if closing(connection) {
                continue; // nothing follows a DISCONNECT [MQTT-3.14.4-1]
            }
            self.acknowledge(ack.connection.index, ack.packet_id, ack.qos2, ack.reason);
        }
    }

    /// What CONNACK has said that we do not take.
    fn check_offered(&self, publish: &Publish<'_>) -> Result<(), Fault> {
        let rules = &self.clients.rules;
        let refuse = |code| Err(Fault::new(CloseReason::ProtocolError, code));
        if publish.qos.as_u8() > rules.max_qos_allowed {
            return refuse(ReasonCode::QosNotSupported); // [MQTT-3.2.2-11]
        }
        if publish.retain && !rules.retain_available {
            return refuse(ReasonCode::RetainNotSupported); // [MQTT-3.2.2-14]
        }
        if !is_within_levels(publish.topic, rules.max_topic_levels) {
            return refuse(ReasonCode::TopicNameInvalid);
        }
        Ok(())
    }

    /// The topic of a PUBLISH: its own, or the one its alias stands for [MQTT5 3.3.2.3.4].
    fn resolve_alias<'a>(
        &mut self,
        slot: u32,
        publish: &Publish<'a>,
        scratch: &'a mut String,
    ) -> Result<&'a str, Fault> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(publish.topic);
        };
        let invalid = Fault::new(CloseReason::ProtocolError, ReasonCode::TopicAliasInvalid);
        if alias > self.clients.rules.max_topic_alias {
            return Err(invalid);
        }
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return Err(invalid);
        };
        let extra = connection.extra_mut();
        if publish.topic.is_empty() {
            let Some(topic) = extra.aliases.get(&alias) else {
                return Err(Fault::new(
                    CloseReason::ProtocolError,
                    ReasonCode::ProtocolError,
                ));
            };
            scratch.clear();
            scratch.push_str(topic);
            return Ok(scratch);
        }
        if extra
            .aliases
            .get(&alias)
            .is_some_and(|topic| **topic == *publish.topic)
        {
            return Ok(publish.topic);
        }
        let old = extra.aliases.insert(alias, publish.topic.into());
        extra.alias_bytes += publish.topic.len();
        extra.alias_bytes -= old.map_or(0, |old| old.len());
        if extra.alias_bytes > ALIAS_BYTES_MAX {
            return Err(Fault::new(
                CloseReason::ProtocolError,
                ReasonCode::QuotaExceeded,
            ));
        }
        Ok(publish.topic)
    }

    /// A topic that may mean something to the broker itself, or may have to be changed.
    fn publish_special(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), Fault> {
        let rest = topic.strip_prefix(DELAYED_PREFIX);
        let rest = rest.filter(|_| self.clients.rules.addons.delayed);
        let now_us = self.clients.now.unix_us;
        let (fate, topic) = match rest.map(|rest| DelayedTopic::parse(rest, now_us)) {
            None => (Fate::Route, topic),
            Some(DelayedTopic::In(delay_ms, topic)) => (Fate::Wait(delay_ms), topic),
            Some(DelayedTopic::Invalid) => (Fate::Discard, topic),
        };
        let invalid = Fault::new(CloseReason::ProtocolError, ReasonCode::TopicNameInvalid);
        let topic = self.own_topic(slot, topic).ok_or(invalid)?;
        self.publish_to(slot, publish, &topic, fate)
    }

    fn publish_to(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        topic: &str,
        fate: Fate,
    ) -> Result<(), Fault> {
        let Some(connection) = self.clients.connections.at(slot) else {
            return Ok(());
        };
        let session_index = connection.session;
        self.count_published(publish.qos);
        self.check_receive_maximum(slot, publish)?;
        if publish.qos == QoS::ExactlyOnce && self.is_repeated(session_index, publish.packet_id) {
            self.clients.metrics.inc(Counter::PacketsPublishInuse);
            self.acknowledge_in_order(slot, publish, ReasonCode::Success, CoreSet::EMPTY);
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.properties);
        let now_us = self.clients.now.unix_us;
        let publication = Publication {
            topic,
            payload: publish.payload,
            properties: publish.properties.forwardable.resolve(&mut scratch),
            qos: publish.qos,
            retain: publish.retain,
            received_us: now_us,
            expires_us: publish
                .properties
                .message_expiry_interval
                .and_then(|seconds| NonZeroU64::new(now_us + u64::from(seconds) * 1_000_000)),
            publisher: PublisherRef(self.clients.publisher(session_index)),
        };
        self.see_published(session_index, &publication);
        self.look_published(session_index, &publication, publish.packet_id);
        let (reason, waits) = match fate {
            Fate::Route => self.route_for(&publication),
            Fate::Wait(delay_ms) => self.delay_for(session_index, &publication, delay_ms),
            Fate::Discard => (self.discard_delayed(), CoreSet::EMPTY),
        };
        self.properties = scratch;
        if reason == ReasonCode::NoMatchingSubscribers {
            self.look_refused(slot, topic, "no_subscribers");
        }
        // Who is refused does not release [MQTT5 4.3.3]; a 3.x client does not know of it.
        if publish.qos == QoS::ExactlyOnce && !(reason.is_error() && self.is_v5(slot)) {
            self.await_release(session_index, publish.packet_id);
        }
        if publish.qos != QoS::AtMostOnce {
            self.acknowledge_in_order(slot, publish, reason, waits);
        }
        Ok(())
    }

    /// Routes a message; says what its publisher is told, and after which cores.
    fn route_for(&mut self, publication: &Publication<'_>) -> (ReasonCode, CoreSet) {
        let routed = self.route(publication);
        if routed.wanted {
            return (ReasonCode::Success, routed.waits);
        }
        self.clients
            .metrics
            .inc(Counter::MessagesDroppedNoSubscribers);
        (ReasonCode::NoMatchingSubscribers, routed.waits)
    }

    fn delay_for(
        &mut self,
        session_index: u32,
        publication: &Publication<'_>,
        delay_ms: u64,
    ) -> (ReasonCode, CoreSet) {
        let session = self.clients.registry.at(session_index);
        let publisher = session.map(|s| s.client_id.clone()).unwrap_or_default();
        let reason = self.delay(publication, delay_ms, publisher);
        (reason, CoreSet::EMPTY)
    }

    fn is_v5(&self, slot: u32) -> bool {
        let connection = self.clients.connections.at(slot);
        connection.is_some_and(|connection| connection.version.is_v5())
    }

    /// [MQTT-3.3.4-7]: a 5.0 client keeps to the Receive Maximum that it was told: as many messages of
    /// QoS 1 and 2 as have not had their PUBACK or PUBCOMP on this connection. Of an older client, which
    /// was told nothing, nothing is discarded.
    fn check_receive_maximum(&self, slot: u32, publish: &Publish<'_>) -> Result<(), Fault> {
        let Some(connection) = self.clients.connections.at(slot) else {
            return Ok(());
        };
        if publish.qos == QoS::AtMostOnce {
            return Ok(());
        }
        let session = self.clients.registry.at(connection.session);
        let awaiting = session
            .and_then(|session| session.traffic.as_ref())
            .map(|traffic| &traffic.awaiting_rel);
        let repeats = awaiting.is_some_and(|ids| ids.is_current(publish.packet_id));
        if publish.qos == QoS::ExactlyOnce && repeats {
            return Ok(());
        }
        let unreleased = awaiting.map_or(0, AwaitingRel::current);
        let open = u32::from(unreleased) + u32::from(connection.pending_pubacks);
        if open < u32::from(self.clients.rules.max_awaiting_rel) {
            return Ok(());
        }
        let metrics = &self.clients.metrics;
        if !connection.version.is_v5() {
            metrics.inc(Counter::MessagesOverReceiveMaximum);
            return Ok(());
        }
        metrics.inc(Counter::MessagesDroppedReceiveMaximum);
        metrics.inc(Counter::PacketsPublishDropped);
        Err(Fault::new(
            CloseReason::ReceiveMaximum,
            ReasonCode::ReceiveMaximumExceeded,
        ))
    }

    /// Whether a QoS 2 identifier is that of a message we have already [MQTT-4.3.3-10].
    fn is_repeated(&mut self, session_index: u32, packet_id: u16) -> bool {
        let traffic = self
            .clients
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut());
        let Some(traffic) = traffic else {
            return false;
        };
        traffic.awaiting_rel.repeated(packet_id);
        traffic.awaiting_rel.contains(packet_id)
    }

    fn await_release(&mut self, session_index: u32, packet_id: u16) {
        let now_s = self.clients.now_s();
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        let traffic = session.traffic_mut();
        traffic.awaiting_rel.insert(packet_id, now_s);
        if !std::mem::replace(&mut traffic.awaiting_rel_armed, true) {
            let wait_ms = u64::from(self.clients.rules.await_rel_timeout_s) * 1000;
            self.arm(
                Timer::AwaitingRel,
                session_index,
                self.clients.now.ms + wait_ms,
            );
        }
    }

    /// Acknowledges a PUBLISH as soon as `waits` have taken it over, behind those before it.
    pub(super) fn acknowledge_in_order(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        reason: ReasonCode,
        waits: CoreSet,
    ) {
        let qos2 = publish.qos == QoS::ExactlyOnce;
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return;
        };
        if waits.is_empty() && connection.pending_acks == 0 {
            return self.acknowledge(slot, publish.packet_id, qos2, reason);
        }
        connection.pending_acks += 1;
        connection.pending_pubacks += u16::from(!qos2 && connection.version.is_v5());
        let Some(connection) = self.clients.connections.key_at(slot) else {
            return;
        };
        self.acks.push(PendingAck {
            connection,
            packet_id: publish.packet_id,
            qos2,
            reason,
            waits,
            turn: self.outboxes.turn(),
        });
    }

    fn acknowledge(&mut self, slot: u32, packet_id: u16, qos2: bool, reason: ReasonCode) {
        let Some(version) = self.clients.connections.at(slot).map(|c| c.version) else {
            return;
        };
        self.clients.metrics.inc(if qos2 {
            Counter::PacketsPubrecSent
        } else {
            Counter::PacketsPubackSent
        });
        let name = if qos2 { "PUBREC" } else { "PUBACK" };
        let code = Some(reason.as_u8());
        self.clients.look_sent(slot, name, packet_id, code);
        let Some(out) = self.clients.out(slot) else {
            return;
        };
        if qos2 {
            encode_pubrec(&mut out.bytes, version, packet_id, reason);
        } else {
            encode_puback(&mut out.bytes, version, packet_id, reason);
        }
    }

    /// Stages a message for other cores, each with the filters that concern it.
    fn cross(
        &mut self,
        publication: &Publication<'_>,
        block: Option<&Arc<[u8]>>,
        hits: &[Hit],
        others: CoreSet,
        keeper: Option<crate::base::ids::CoreId>,
    ) {
        let epoch = self.routes.index.epoch();
        let mut filters: Vec<FilterId> = std::mem::take(&mut self.filters);
        for core in others.iter() {
            filters.clear();
            filters.extend(
                hits.iter()
                    .filter(|hit| hit.cores.contains(core))
                    .map(|h| h.filter),
            );
            let head = PublishHead {
                epoch,
                retain_here: keeper == Some(core),
                filters: &filters,
            };
            head.stage(&mut self.outboxes, core, publication, block);
        }
        self.filters = filters;
    }

    /// Gives a message to this core's own subscribers.
    fn deliver_own(
        &mut self,
        publication: &Publication<'_>,
        block: Option<&Arc<[u8]>>,
        hits: &[Hit],
    ) {
        let mut filters = std::mem::take(&mut self.filters);
        filters.clear();
        let own = hits.iter().filter(|h| h.cores.contains(self.clients.core));
        filters.extend(own.map(|h| h.filter));
        self.deliver_here(publication, block, &filters, self.routes.index.epoch());
        self.filters = filters;
    }

    pub(super) fn count_published(&mut self, qos: QoS) {
        self.clients.metrics.inc(match qos {
            QoS::AtMostOnce => Counter::MessagesQos0Received,
            QoS::AtLeastOnce => Counter::MessagesQos1Received,
            QoS::ExactlyOnce => Counter::MessagesQos2Received,
        });
    }
}
