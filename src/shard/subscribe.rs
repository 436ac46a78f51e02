//! SUBSCRIBE and UNSUBSCRIBE, the answers of the index thread, and deliveries to this core's own
//! subscribers.
//!
//! A filter that this core knows is in force at once. One that is new to the core waits until the
//! index thread has applied it; then every PUBLISH that any core receives after the SUBACK is matched
//! with it.

use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::base::ids::{Epoch, FilterId};
use crate::base::limits::RETAINED_SWEEP_PER_TURN;
use crate::base::slab::Key;
use crate::gate::reply::Reply;
use crate::metrics::{Counter, Latency};
use crate::mqtt::decode_subscribe::{
    RetainHandling, Subscribe, SubscribeEntry, SubscribeOptions, Unsubscribe,
};
use crate::mqtt::encode_suback::{encode_suback, encode_unsuback};
use crate::mqtt::message::Publication;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::{has_wildcard, is_shared, is_within_levels};
use crate::mqtt::version::Version;
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::{LocalDelta, PendingFilter, SubOptions, Subscriber};
use crate::routing::retained::{Put, Refusal};
use crate::session::queue::ShareTag;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::cross::Filters;
use crate::shard::exclusive::EXCLUSIVE_PREFIX;
use crate::shard::fanout::{Fanout, Grant, identifiers};
use crate::shard::receive::Fault;
use crate::shard::replay::{StoredMessage, stored_version};
use crate::shard::share::GROUPS_FROM;

/// A SUBSCRIBE that is not answered yet.
#[derive(Debug)]
pub struct PendingSuback {
    connection: Key,
    session: u32,
    answer: Answer,
    /// When it came, microseconds of UNIX time.
    begun_us: u64,
    /// Reason codes in the order of the filters.
    reasons: SmallVec<[u8; 8]>,
    /// Filters that the index thread has not applied yet.
    pub(super) outstanding: u32,
    /// When the first of `replays` was announced.
    announced: u64,
    /// Subscriptions that get stored messages once the SUBACK has left.
    replays: Vec<WantedReplay>,
}

/// Who waits for the reason codes.
#[derive(Debug)]
enum Answer {
    /// The client, for a SUBACK with this packet identifier.
    Client(u16),
    /// An operator.
    Operator(Reply<Option<Vec<u8>>>),
    /// Nobody: the client did not ask.
    Nobody,
}

/// A subscription that is to get the stored messages of its filter.
#[derive(Debug, Clone)]
pub struct WantedReplay {
    /// The filter.
    pub filter: compact_str::CompactString,
    /// Granted QoS.
    pub qos: QoS,
    /// Subscription identifier, if any.
    pub identifier: Option<u32>,
}

/// One subscriber of a message that several filters matched.
#[derive(Clone, Copy, Debug)]
pub struct MergedSubscriber(Subscriber);

/// An answer of the index thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexAnswer {
    /// What it decided.
    pub decision: Decision,
    /// The epoch from which on it is in force.
    pub epoch: Epoch,
}

/// What the index thread decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// To an `Add`.
    Filter {
        /// What was asked for.
        token: PendingFilter,
        /// The filter's id; absent if the index has no room for it.
        filter: Option<FilterId>,
    },
    /// To a `Claim`.
    Claim {
        /// What was asked for.
        token: ClaimToken,
        /// Whether this core has the topic now.
        granted: bool,
    },
}

impl Shard {
    /// SUBSCRIBE from a client [MQTT5 3.8].
    pub fn subscribe(&mut self, slot: u32, packet: &Subscribe<'_>) -> Result<(), Fault> {
        self.clients.metrics.inc(Counter::ClientSubscribe);
        let identifier = packet.subscription_identifier;
        let answer = Answer::Client(packet.packet_id);
        let permits = self.may_subscribe(slot, packet)?;
        let entries = packet.filters().zip(permits);
        self.subscribe_all(slot, entries, identifier, answer);
        Ok(())
    }

    /// Subscribes a client in its place; the reason codes go to the operator who asked for it.
    pub(super) fn subscribe_by_operator(
        &mut self,
        slot: u32,
        filters: &[(CompactString, SubscribeOptions)],
        reply: Reply<Option<Vec<u8>>>,
    ) {
        let entries = filters.iter().map(|(filter, options)| SubscribeEntry {
            filter,
            options: *options,
        });
        let entries = entries.map(|entry| (entry, true));
        self.subscribe_all(slot, entries, None, Answer::Operator(reply));
    }

    /// Subscribes a client to what it did not ask for, which nobody is told.
    pub(super) fn subscribe_silently<'f>(
        &mut self,
        slot: u32,
        entries: impl Iterator<Item = (SubscribeEntry<'f>, bool)>,
    ) {
        self.subscribe_all(slot, entries, None, Answer::Nobody);
    }

    /// Subscribes to what is allowed of `entries`.
    fn subscribe_all<'f>(
        &mut self,
        slot: u32,
        entries: impl Iterator<Item = (SubscribeEntry<'f>, bool)>,
        identifier: Option<u32>,
        answer: Answer,
    ) {
        let by_client = matches!(answer, Answer::Client(_));
        let Some((key, session)) = self.begin_suback(slot, answer) else {
            return;
        };
        for (position, (entry, allowed)) in entries.enumerate() {
            let reason = if !allowed {
                self.clients.rules.access.denied_subscription
            } else if by_client {
                self.subscribe_own(slot, session, (key, position), &entry, identifier)
            } else {
                self.subscribe_one(session, key, position, &entry, identifier)
            };
            if let Some(pending) = self.subacks.get_mut(key) {
                pending.reasons.push(reason.as_u8());
            }
            self.look_subscribed(session, &entry, reason);
            if !reason.is_error() {
                self.see_subscribed(session, entry.filter, entry.options);
            }
        }
        self.settle_suback(key);
    }

    /// One filter as the client wrote it. (Others name filters as the index has them.)
    fn subscribe_own(
        &mut self,
        slot: u32,
        session: u32,
        (key, position): (Key, usize),
        entry: &SubscribeEntry<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let Some(filter) = self.own_filter(slot, entry.filter) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let entry = SubscribeEntry {
            filter: &filter,
            options: self.own_options(slot, entry.options),
        };
        self.subscribe_one(session, key, position, &entry, identifier)
    }

    /// Begins to wait for the filters of a SUBSCRIBE.
    fn begin_suback(&mut self, slot: u32, answer: Answer) -> Option<(Key, u32)> {
        let connection = self.clients.connections.key_at(slot)?;
        let entry = self.clients.connections.at_mut(slot)?;
        entry.awaits_index += 1;
        let session = entry.session;
        let key = self.subacks.insert(PendingSuback {
            connection,
            session,
            answer,
            begun_us: self.clients.now.unix_us,
            reasons: SmallVec::new(),
            // One for the caller itself: an answer cannot overtake it.
            outstanding: 1,
            announced: 0,
            replays: Vec::new(),
        });
        Some((key, session))
    }

    /// UNSUBSCRIBE from a client [MQTT5 3.10].
    pub fn unsubscribe(&mut self, slot: u32, packet: &Unsubscribe<'_>) {
        let Some((session_index, version)) = self
            .clients
            .connections
            .at(slot)
            .map(|c| (c.session, c.version))
        else {
            return;
        };
        self.clients.metrics.inc(Counter::ClientUnsubscribe);
        let mut reasons: SmallVec<[u8; 8]> = SmallVec::new();
        for asked in packet.filters() {
            let filter = self.own_filter(slot, asked);
            let removed = filter.is_some_and(|f| {
                let removed = self.unsubscribe_one(session_index, &f);
                if removed {
                    self.see_unsubscribed(session_index, &f);
                }
                removed
            });
            let reason = if removed {
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            };
            reasons.push(reason.as_u8());
            self.look_unsubscribed(session_index, asked, reason);
        }
        let count = if version.is_v5() { reasons.len() } else { 0 };
        if self.takes_answer(slot, count) {
            self.clients.metrics.inc(Counter::PacketsUnsubackSent);
            self.clients
                .look_sent(slot, "UNSUBACK", packet.packet_id, None);
            if let Some(out) = self.clients.out(slot) {
                encode_unsuback(&mut out.bytes, version, packet.packet_id, &reasons);
            }
        }
    }

    /// Whether a client takes a SUBACK or UNSUBACK with so many reason codes [MQTT-3.1.2-24]. If not,
    /// it can never know how it stands, and the connection ends.
    fn takes_answer(&mut self, slot: u32, reasons: usize) -> bool {
        let max = self.clients.connections.at(slot);
        let max = max.map_or(0, |connection| connection.max_packet_size as usize);
        let fits = ANSWER_HEAD_BYTES_MAX + reasons <= max;
        if !fits {
            let code = Some(ReasonCode::PacketTooLarge);
            self.close(slot, CloseReason::FrameTooLarge, code);
        }
        fits
    }

    /// Ends all subscriptions of a session.
    pub fn drop_subscriptions(&mut self, session_index: u32) {
        self.leave_shares(session_index);
        if !self.exclusive.is_empty() {
            self.exclusive.release_all(session_index);
        }
        if let Some(session) = self.clients.registry.at_mut(session_index) {
            self.routes
                .local
                .remove_session(&mut session.first_subscription);
            session.subscriptions = 0;
        }
    }

    /// The next change for the index thread; pulled while its ring has room.
    pub fn next_delta(&mut self) -> Option<LocalDelta<'_>> {
        if self.exclusive.dirty_len() > 0 {
            return self.exclusive.next_delta();
        }
        self.routes.local.next_delta()
    }

    /// The index thread has answered.
    pub fn index_applied(&mut self, answer: IndexAnswer) {
        if answer.epoch > self.routes.index.epoch() {
            // The batch was published after this turn began. What is matched in this turn behind the
            // SUBACK must know it, and nothing of an older match is held here.
            self.routes.index.pass();
        }
        let (token, filter) = match answer.decision {
            Decision::Filter { token, filter } => (token, filter),
            Decision::Claim { token, granted } => return self.claim_answered(token, granted),
        };
        let local = &mut self.routes.local;
        let waiters = match filter {
            Some(filter) => local.applied(token, filter, answer.epoch),
            None => local.refused(token),
        };
        let refused = filter.is_none();
        for waiter in waiters {
            if !self.group_applied(waiter, !refused) {
                self.settle_waiter(waiter, refused.then_some(ReasonCode::QuotaExceeded));
            }
        }
    }

    /// One filter of a SUBSCRIBE is in force, or refused.
    pub(super) fn settle_waiter(&mut self, waiter: u64, refused: Option<ReasonCode>) {
        let (key, position) = unpack_waiter(waiter);
        let Some(key) = self.suback_key(key) else {
            return;
        };
        match refused {
            Some(reason) => self.settle_position(key, position, reason),
            None => self.settle_suback(key),
        }
    }

    /// One filter of a SUBSCRIBE is decided: this is its reason code.
    pub(super) fn settle_position(&mut self, key: Key, position: usize, reason: ReasonCode) {
        let pending = self.subacks.get_mut(key);
        if let Some(place) = pending.and_then(|s| s.reasons.get_mut(position)) {
            *place = reason.as_u8();
        }
        self.settle_suback(key);
    }

    /// A message came from another core for subscribers here.
    pub fn take_publication(
        &mut self,
        publication: &Publication<'_>,
        block: Option<&Arc<[u8]>>,
        epoch: Epoch,
        ids: Filters<'_>,
    ) {
        let mut filters = std::mem::take(&mut self.filters);
        filters.clear();
        filters.extend(ids.iter());
        self.deliver_here(publication, block, &filters, epoch);
        self.filters = filters;
    }

    /// Gives a message to this core's subscribers of the filters that matched in `epoch`. Filters
    /// that overlap give a session one copy: at the highest QoS, with all identifiers.
    pub fn deliver_here(
        &mut self,
        publication: &Publication<'_>,
        block: Option<&Arc<[u8]>>,
        filters: &[FilterId],
        epoch: Epoch,
    ) {
        let mut fanout = Fanout::of_block(*publication, block);
        if let [filter] = filters {
            for subscriber in self.routes.local.subscribers(*filter, epoch) {
                if let Some(group) = group_of(&subscriber) {
                    let (clients, outboxes) = (&mut self.clients, &mut self.outboxes);
                    self.shares.offer(group, &mut fanout, clients, outboxes);
                } else if !self.clients.is_own(publication, &subscriber) {
                    let grant = grant_of(&subscriber);
                    self.clients
                        .deliver(subscriber.session, &mut fanout, &grant);
                }
            }
        } else {
            self.deliver_merged(&mut fanout, filters, epoch);
        }
        fanout.finish(&mut self.clients.budget);
        if publication.retain && self.replays.is_running() {
            self.note_live(publication, filters, epoch);
        }
    }

    /// Stores or clears the retained message of a topic [MQTT-3.3.1-5, 3.3.1-6].
    pub fn retain(&mut self, publication: &Publication<'_>) {
        let version = stored_version(publication);
        if publication.payload.is_empty() {
            self.routes.retained.remove(publication.topic, version);
            return;
        }
        let mut stored = *publication;
        let life_s = u64::from(self.clients.rules.retained_expiry_s);
        if stored.expires_us.is_none() && life_s > 0 {
            stored.expires_us =
                std::num::NonZeroU64::new(publication.received_us + life_s * 1_000_000);
        }
        let message = crate::mqtt::message::Message::from_publication(&stored);
        let put = self
            .routes
            .retained
            .put(publication.topic, StoredMessage(message));
        self.clients.metrics.inc(match put {
            Put::Stored | Put::Replaced(_) => Counter::MessagesRetained,
            Put::Refused(Refusal::PayloadTooLarge) => Counter::RetainedRefusedTooLarge,
            Put::Refused(Refusal::TooManyLevels) => Counter::RetainedRefusedTooManyLevels,
            Put::Refused(Refusal::TooManyMessages | Refusal::TooManyBytes) => {
                Counter::RetainedRefusedFull
            }
            Put::Refused(Refusal::Older) => Counter::RetainedRefusedOlder,
        });
    }

    /// Forgets stored messages that have expired, a bounded step; says whether there is more to look
    /// at.
    pub fn sweep_retained(&mut self) -> bool {
        let now_us = self.clients.now.unix_us;
        let metrics = &self.clients.metrics;
        self.routes
            .retained
            .sweep(now_us, RETAINED_SWEEP_PER_TURN, |_, _| {
                metrics.inc(Counter::RetainedExpired);
            })
    }

    fn subscribe_one(
        &mut self,
        session_index: u32,
        suback: Key,
        position: usize,
        entry: &SubscribeEntry<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let exclusive = entry.filter.strip_prefix(EXCLUSIVE_PREFIX);
        let filter = exclusive.unwrap_or(entry.filter);
        if let Err(reason) = self.check_filter(session_index, filter) {
            return reason;
        }
        if exclusive.is_some() {
            return self.exclusive_subscribe(session_index, suback, position, entry, identifier);
        }
        if is_shared(entry.filter) {
            let waiter = pack_waiter(suback, position);
            return self.share_subscribe(session_index, suback, waiter, entry, identifier);
        }
        self.subscribe_plain(session_index, suback, position, entry, identifier)
    }

    /// One filter of a SUBSCRIBE that is neither shared nor claimed.
    pub(super) fn subscribe_plain(
        &mut self,
        session_index: u32,
        suback: Key,
        position: usize,
        entry: &SubscribeEntry<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        assert!(
            session_index < GROUPS_FROM,
            "a core has fewer sessions than 2^26"
        );
        let asked = entry.options;
        let qos = asked.qos.as_u8().min(self.clients.rules.max_qos_allowed);
        let options = SubOptions::new(
            qos,
            asked.no_local,
            asked.retain_as_published,
            asked.retain_handling as u8,
        );
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return ReasonCode::UnspecifiedError;
        };
        let outcome = self.routes.local.subscribe(
            &self.routes.index,
            session_index,
            &mut session.first_subscription,
            entry.filter,
            options,
            identifier,
            pack_waiter(suback, position),
        );
        let Ok(outcome) = outcome else {
            return ReasonCode::QuotaExceeded;
        };
        session.subscriptions += u32::from(!outcome.existing);
        let granted = QoS::from_u8(qos).unwrap_or_default();
        let Some(pending) = self.subacks.get_mut(suback) else {
            return ReasonCode::UnspecifiedError;
        };
        pending.outstanding += u32::from(outcome.pending.is_some());
        let wants_stored = match asked.retain_handling {
            RetainHandling::SendAlways => true,
            RetainHandling::SendIfNew => !outcome.existing,
            RetainHandling::DoNotSend => false,
        };
        if wants_stored {
            if pending.replays.is_empty() {
                pending.announced = self.replays.announce(session_index);
                session.replaying = true;
            }
            pending.replays.push(WantedReplay {
                filter: entry.filter.into(),
                qos: granted,
                identifier,
            });
        }
        granted_reason(granted)
    }

    /// Whether a filter may be subscribed to.
    fn check_filter(&self, session_index: u32, filter: &str) -> Result<(), ReasonCode> {
        let rules = &self.clients.rules;
        if is_shared(filter) && !rules.shared_subscription {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if !rules.wildcard_subscription && has_wildcard(filter) {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if !is_within_levels(filter, rules.max_topic_levels) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let Some(session) = self.clients.registry.at(session_index) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let (local, index) = (&self.routes.local, &self.routes.index);
        let first = session.first_subscription;
        let is_new = || {
            if is_shared(filter) {
                return !self.shares.is_member(session_index, filter);
            }
            !local.is_subscribed(index, session_index, first, filter)
        };
        if session.subscriptions >= rules.max_subscriptions && is_new() {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    pub(super) fn unsubscribe_one(&mut self, session_index: u32, filter: &str) -> bool {
        if is_shared(filter) {
            return self.share_unsubscribe(session_index, filter);
        }
        let filter = filter.strip_prefix(EXCLUSIVE_PREFIX).unwrap_or(filter);
        if !self.exclusive.is_empty() {
            self.exclusive.release(filter, session_index);
        }
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return false;
        };
        let first = &mut session.first_subscription;
        let removed =
            self.routes
                .local
                .unsubscribe(&self.routes.index, session_index, first, filter);
        session.subscriptions -= u32::from(removed);
        if session.replaying {
            self.stop_replays(session_index, filter);
        }
        removed
    }

    /// One of the filters of a SUBSCRIBE is in force; after the last its SUBACK leaves.
    fn settle_suback(&mut self, key: Key) {
        let Some(pending) = self.subacks.get_mut(key) else {
            return;
        };
        pending.outstanding -= 1;
        if pending.outstanding > 0 {
            return;
        }
        let Some(pending) = self.subacks.remove(key) else {
            return;
        };
        let Some(connection) = self.clients.connections.get_mut(pending.connection) else {
            return;
        };
        connection.awaits_index -= 1;
        let version = connection.version;
        let slot = pending.connection.index;
        if crate::shard::deliver::closing(connection) {
            return;
        }
        let session = pending.session;
        let (announced, replays) = (pending.announced, pending.replays);
        match pending.answer {
            Answer::Operator(reply) => reply.send(Some(pending.reasons.to_vec())),
            Answer::Nobody => self.count_auto_subscribed(&pending.reasons),
            Answer::Client(packet_id) => {
                let took_us = self.clients.now.unix_us.saturating_sub(pending.begun_us);
                self.clients.metrics.record(Latency::Subscribe, took_us);
                if !self.send_suback(slot, version, packet_id, pending.reasons) {
                    return;
                }
            }
        }
        if !replays.is_empty() {
            self.begin_replays(session, announced, replays);
        }
    }

    /// Sends SUBACK, or ends the connection.
    fn send_suback(
        &mut self,
        slot: u32,
        version: Version,
        packet_id: u16,
        mut reasons: SmallVec<[u8; 8]>,
    ) -> bool {
        if !version.is_v5() {
            // 3.x knows one failure only [MQTT-3.9.3-2 of 3.1.1].
            for reason in reasons.iter_mut().filter(|reason| **reason >= 0x80) {
                *reason = crate::mqtt::reason::SUBACK_FAILURE_V311;
            }
        }
        if !self.takes_answer(slot, reasons.len()) {
            return false;
        }
        self.clients.metrics.inc(Counter::PacketsSubackSent);
        self.clients.look_sent(slot, "SUBACK", packet_id, None);
        if let Some(out) = self.clients.out(slot) {
            encode_suback(&mut out.bytes, version, packet_id, &reasons);
        }
        true
    }

    fn deliver_merged(&mut self, fanout: &mut Fanout<'_>, filters: &[FilterId], epoch: Epoch) {
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        for filter in filters {
            merged.extend(
                self.routes
                    .local
                    .subscribers(*filter, epoch)
                    .map(MergedSubscriber),
            );
        }
        merged.retain(|s| !self.clients.is_own(&fanout.publication, &s.0));
        // Unstable: it needs no memory.
        merged.sort_unstable_by_key(|subscriber| subscriber.0.session);
        for group in merged.chunk_by(|a, b| a.0.session == b.0.session) {
            if let Some(group) = group_of(&group[0].0) {
                let (clients, outboxes) = (&mut self.clients, &mut self.outboxes);
                self.shares.offer(group, fanout, clients, outboxes);
                continue;
            }
            let mut grant = grant_of(&group[0].0);
            for MergedSubscriber(subscriber) in &group[1..] {
                let other = grant_of(subscriber);
                grant.qos = grant.qos.max(other.qos);
                grant.retain_as_published |= other.retain_as_published;
                grant.identifiers.extend(other.identifiers);
            }
            self.clients.deliver(group[0].0.session, fanout, &grant);
        }
        self.merged = merged;
    }

    /// Tells running replays that a retained message of this topic came live.
    fn note_live(&mut self, publication: &Publication<'_>, filters: &[FilterId], epoch: Epoch) {
        for filter in filters {
            for subscriber in self.routes.local.subscribers(*filter, epoch) {
                let session = self.clients.registry.at(subscriber.session);
                if session.is_some_and(|session| session.replaying) {
                    self.replays.note_live(subscriber.session, publication);
                }
            }
        }
    }

    fn suback_key(&self, packed: Key) -> Option<Key> {
        let key = self.subacks.key_at(packed.index)?;
        (key.generation & WAITER_GENERATION == packed.generation).then_some(key)
    }
}

impl crate::shard::clients::Clients {
    /// Whether a subscriber does not want a message because it is its own [MQTT-3.8.3-3], which is
    /// counted.
    fn is_own(&self, publication: &Publication<'_>, subscriber: &Subscriber) -> bool {
        let own = subscriber.options.no_local()
            && publication.publisher.0 == self.publisher(subscriber.session);
        if own {
            self.metrics.inc(Counter::DeliveryDroppedNoLocal);
        }
        own
    }
}

/// Bytes of the longest SUBACK or UNSUBACK without its reason codes: fixed header, packet identifier,
/// no properties.
const ANSWER_HEAD_BYTES_MAX: usize = 5 + 2 + 1;

/// Bits of a SUBACK's generation that a waiter holds.
const WAITER_GENERATION: u32 = 0xFFFF;

/// The index's name for one filter of a SUBSCRIBE.
fn pack_waiter(key: Key, position: usize) -> u64 {
    let position = u64::from(u16::try_from(position).unwrap_or(u16::MAX));
    u64::from(key.index) << 32 | u64::from(key.generation & WAITER_GENERATION) << 16 | position
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the word is split into its parts"
)]
fn unpack_waiter(waiter: u64) -> (Key, usize) {
    let generation = (waiter >> 16) as u32 & WAITER_GENERATION;
    let index = (waiter >> 32) as u32;
    (Key { index, generation }, usize::from(waiter as u16))
}

fn grant_of(subscriber: &Subscriber) -> Grant {
    Grant {
        qos: QoS::from_u8(subscriber.options.qos()).unwrap_or_default(),
        retain_as_published: subscriber.options.retain_as_published(),
        identifiers: identifiers(subscriber.subscription_identifier),
        share: ShareTag::NONE,
    }
}

/// The group of shared subscribers that a subscriber of the local index stands for, if it does.
fn group_of(subscriber: &Subscriber) -> Option<u32> {
    subscriber.session.checked_sub(GROUPS_FROM)
}

/// The reason code that grants a QoS.
pub(super) fn granted_reason(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
