//! Handing messages to clients: the window, the queue, and what happens when neither has room.

use crate::base::limits::{
    QUEUE_DROPS_MAX, QUEUE_SEARCH_MAX, QUEUE_SEARCHES_MAX, SHARED_PAYLOAD_BYTES_MIN,
};
use crate::base::slab::Slab;
use crate::metrics::Counter;
use crate::mqtt::encode_publish::{MAX_WIRE_LEN, publish_wire_len};
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::session::inflight::Stage;
use crate::session::queue::{Delivery, Overflow, Queue};
use crate::session::state::{NONE, Retry};
use crate::shard::clients::Clients;
use crate::shard::connection::{Connection, Flags};
use crate::shard::fanout::{Fanout, Grant, Wire, is_expired, outgoing, write_publish};

impl Clients {
    /// Gives a message to one session, as far as its subscriptions grant it.
    pub fn deliver(&mut self, session_index: u32, fanout: &mut Fanout<'_>, grant: &Grant) {
        let Some(session) = self.registry.at(session_index) else {
            return;
        };
        self.metrics.inc(Counter::MessagesDelivered);
        let qos = self.granted_qos(fanout.publication.qos, grant.qos);
        let slot = session.connection;
        let Some(connection) = self.connections.at(slot).filter(|c| !closing(c)) else {
            let retain = fanout.replay || (fanout.publication.retain && grant.retain_as_published);
            return self.keep_for_later(session_index, fanout, qos, retain, grant);
        };
        let retain = fanout.replay || (fanout.publication.retain && grant.retain_as_published);
        let wire = Wire {
            version: connection.version,
            qos,
            dup: false,
            retain,
            packet_id: 0,
            identifiers: &grant.identifiers,
            hidden: self.hidden_bytes(connection, &fanout.publication),
            now_us: self.now.unix_us,
            alias: None,
        };
        if is_too_large(connection, &fanout.publication, wire) {
            self.metrics.inc(Counter::DeliveryDroppedTooLarge);
            self.look_dropped(session_index, fanout.publication.topic, "too_large");
            return self.share_done(grant.share, qos);
        }
        let waits = |queue: &Queue| {
            if qos == QoS::AtMostOnce {
                queue.has_qos0()
            } else {
                !queue.is_empty()
            }
        };
        let overtakes = session
            .traffic
            .as_ref()
            .is_some_and(|traffic| waits(&traffic.queue));
        match (qos, self.has_room(slot)) {
            // A replay asks for no more than the queue has room for.
            (QoS::AtMostOnce, false) if !fanout.replay => {
                self.metrics.inc(Counter::DeliveryDroppedOutQueueFull);
                self.look_dropped(session_index, fanout.publication.topic, "out_queue_full");
            }
            (QoS::AtMostOnce, true) if !overtakes => self.send(slot, fanout, wire),
            (_, true) if !overtakes => self.send_acked(slot, session_index, fanout, wire, grant),
            _ => self.keep_for_later(session_index, fanout, qos, retain, grant),
        }
    }

    /// The QoS of a delivery [MQTT-3.8.4-8].
    #[inline]
    pub fn granted_qos(&self, published: QoS, subscribed: QoS) -> QoS {
        if self.switches.upgrade_qos {
            published.max(subscribed)
        } else {
            published.min(subscribed)
        }
    }

    /// Sends what a session has to be sent again, then what waits in its queue, as far as window and
    /// out-queue have room.
    pub fn pump(&mut self, session_index: u32) {
        while self.resend_next(session_index) {}
        while let Some((slot, delivery)) = self.next_queued(session_index) {
            self.send_queued(slot, session_index, delivery);
        }
    }

    /// The client is back: what was in flight when it left is sent again in the original order,
    /// PUBREL where the message is no longer needed; then the queue [MQTT-4.4.0-1].
    pub fn replay_session(&mut self, session_index: u32) {
        let traffic = self
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut());
        if let Some(traffic) = traffic {
            traffic.inflight.rewind();
            traffic.awaiting_rel.begin_connection();
            if traffic.retry == Retry::Never {
                traffic.retry = Retry::Unknown; // another version may have come
            }
            let in_flight = !traffic.inflight.is_empty();
            self.pump(session_index);
            if in_flight {
                self.arm_retry_of(session_index);
            }
        }
    }

    /// Sends the next of what has to be sent again; false if there is none or no room.
    fn resend_next(&mut self, session_index: u32) -> bool {
        let Some(session) = self.registry.at(session_index) else {
            return false;
        };
        let (slot, window) = (session.connection, session.window);
        let all_sent = session
            .traffic
            .as_ref()
            .is_none_or(|traffic| traffic.inflight.is_sent_again());
        if all_sent || live(&mut self.connections, slot).is_none() || !self.has_room(slot) {
            return false;
        }
        let next = self
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut())
            .and_then(|traffic| traffic.inflight.next_unsent(window))
            .map(|(packet_id, stage)| (packet_id, stage.clone()));
        match next {
            Some((packet_id, Stage::Sent(delivery))) => {
                // At QoS 2 what was sent does not expire [MQTT-4.3.3-7].
                let expires = delivery.qos != QoS::ExactlyOnce;
                if expires && is_expired(&delivery.message.view(), self.now.unix_us) {
                    self.metrics.inc(Counter::DeliveryDroppedExpired);
                    self.look_dropped(session_index, delivery.message.view().topic, "expired");
                    self.give_up(slot, session_index, packet_id, delivery.qos);
                } else if self.fits(slot, &delivery) {
                    self.resend(slot, &delivery, packet_id, true);
                } else {
                    self.give_up(slot, session_index, packet_id, delivery.qos);
                }
                self.budget.release(delivery.message);
            }
            Some((packet_id, _)) => self.send_pubrel(slot, packet_id, ReasonCode::Success),
            None => return false,
        }
        true
    }

    /// What was sent once is not sent again: it has expired, or the client now takes no packet of its
    /// size, in which case it counts as delivered [MQTT-3.1.2-25]. A client that got it at QoS 2 remembers
    /// the identifier until PUBREL, so that follows.
    fn give_up(&mut self, slot: u32, session_index: u32, packet_id: u16, qos: QoS) {
        let traffic = self
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut());
        let Some(traffic) = traffic else {
            return;
        };
        let delivery = match qos {
            QoS::ExactlyOnce => traffic.inflight.pubrec(packet_id, false).1,
            _ => traffic.inflight.give_up(packet_id),
        };
        if let Some(delivery) = delivery {
            self.let_go(delivery);
        }
        if qos == QoS::ExactlyOnce {
            self.send_pubrel(slot, packet_id, ReasonCode::Success);
        }
    }

    /// Sends a delivery that has left the queue.
    fn send_queued(&mut self, slot: u32, session_index: u32, delivery: Delivery) {
        if is_expired(&delivery.message.view(), self.now.unix_us) {
            self.metrics.inc(Counter::DeliveryDroppedExpired);
            self.look_dropped(session_index, delivery.message.view().topic, "expired");
            self.share_done(delivery.share, delivery.qos);
        } else if self.fits(slot, &delivery) {
            let packet_id = match delivery.qos {
                QoS::AtMostOnce => 0,
                _ => self
                    .registry
                    .at_mut(session_index)
                    .map_or(0, |s| s.traffic_mut().inflight.push(delivery.clone())),
            };
            self.arm_retry_of(session_index);
            self.resend(slot, &delivery, packet_id, false);
        } else {
            self.share_done(delivery.share, delivery.qos);
        }
        self.budget.release(delivery.message);
    }

    /// Forgets messages, which gives their memory back.
    pub fn release_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.budget.release(message);
        }
    }

    /// The next queued delivery that may be sent now.
    fn next_queued(&mut self, session_index: u32) -> Option<(u32, Delivery)> {
        let session = self.registry.at(session_index)?;
        let slot = session.connection;
        let next = session.traffic.as_ref()?.queue.peek_qos()?;
        live(&mut self.connections, slot)?;
        if !self.has_room(slot) {
            return None;
        }
        let session = self.registry.at_mut(session_index)?;
        let window = self.budget.window(session.window);
        let traffic = session.traffic.as_mut()?;
        if next != QoS::AtMostOnce && !traffic.inflight.has_room(window) {
            return None;
        }
        traffic.queue.pop().map(|delivery| (slot, delivery))
    }

    /// Whether a connection's out-queue has room; if not, its session is served when it has.
    pub(super) fn has_room(&mut self, slot: u32) -> bool {
        let full = self
            .connections
            .at(slot)
            .is_none_or(|connection| self.out_is_full(connection));
        if full && let Some(connection) = self.connections.at_mut(slot) {
            connection.flags.set(Flags::STARVED);
        }
        !full
    }

    fn out_is_full(&self, connection: &Connection) -> bool {
        connection.out != NONE && self.out_bytes(connection) >= self.rules.max_out_queue_bytes
    }

    /// Whether the client takes a delivery; if not, it is counted as dropped.
    fn fits(&mut self, slot: u32, delivery: &Delivery) -> bool {
        let Some(connection) = self.connections.at(slot) else {
            return false;
        };
        let wire = self.wire_of(connection, delivery, 0, false);
        let fits = !is_too_large(connection, &delivery.message.view(), wire);
        let session_index = connection.session;
        if !fits {
            self.metrics.inc(Counter::DeliveryDroppedTooLarge);
            self.look_dropped(session_index, delivery.message.view().topic, "too_large");
        }
        fits
    }

    fn wire_of<'a>(
        &self,
        connection: &Connection,
        delivery: &'a Delivery,
        packet_id: u16,
        dup: bool,
    ) -> Wire<'a> {
        Wire {
            version: connection.version,
            qos: delivery.qos,
            dup: dup && delivery.qos != QoS::AtMostOnce,
            retain: delivery.retain,
            packet_id,
            identifiers: &delivery.identifiers,
            hidden: self.hidden_bytes(connection, &delivery.message.view()),
            now_us: self.now.unix_us,
            alias: None,
        }
    }

    fn send(&mut self, slot: u32, fanout: &mut Fanout<'_>, wire: Wire<'_>) {
        let wire = self.aliased(slot, &fanout.publication, wire);
        let Some(out) = self
            .open_out(slot)
            .and_then(|index| self.outs.at_mut(index))
        else {
            return;
        };
        fanout.write(out, wire, &mut self.budget);
        self.count_sent(wire.qos);
        self.see_delivered(slot, &fanout.publication, wire.qos);
        self.look_delivered(slot, &fanout.publication, &wire);
    }

    fn send_acked(
        &mut self,
        slot: u32,
        session_index: u32,
        fanout: &mut Fanout<'_>,
        wire: Wire<'_>,
        grant: &Grant,
    ) {
        let Some(session) = self.registry.at_mut(session_index) else {
            return;
        };
        let window = self.budget.window(session.window);
        let traffic = session.traffic_mut();
        if !traffic.queue.is_empty() || !traffic.inflight.has_room(window) {
            return self.keep_for_later(session_index, fanout, wire.qos, wire.retain, grant);
        }
        let packet_id = traffic.inflight.push(Delivery {
            message: fanout.message(&mut self.budget),
            qos: wire.qos,
            retain: wire.retain,
            identifiers: grant.identifiers.clone(),
            share: grant.share,
        });
        let retry = traffic.retry;
        self.send(slot, fanout, Wire { packet_id, ..wire });
        if retry == Retry::Unknown {
            self.arm_retry(session_index);
        }
    }

    /// Sends one delivery that is owned already.
    pub(super) fn resend(&mut self, slot: u32, delivery: &Delivery, packet_id: u16, dup: bool) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let publication = delivery.message.view();
        let wire = self.wire_of(connection, delivery, packet_id, dup);
        let wire = self.aliased(slot, &publication, wire);
        let Some(out) = self.out(slot) else {
            return;
        };
        write_publish(out, &publication, wire, Some(&delivery.message));
        if publication.payload.len() >= SHARED_PAYLOAD_BYTES_MIN {
            self.budget.keep_spliced(delivery.message.clone());
        }
        self.count_sent(delivery.qos);
        self.see_delivered(slot, &publication, delivery.qos);
        self.look_delivered(slot, &publication, &wire);
    }

    /// Puts a message into a session's queue, under the limits of session and core.
    fn keep_for_later(
        &mut self,
        session_index: u32,
        fanout: &mut Fanout<'_>,
        qos: QoS,
        retain: bool,
        grant: &Grant,
    ) {
        let topic = fanout.publication.topic;
        if qos == QoS::AtMostOnce && !self.rules.mqueue_store_qos0 && !fanout.replay {
            self.metrics.inc(Counter::DeliveryDroppedQos0Msg);
            return self.look_dropped(session_index, topic, "qos0_msg");
        }
        if qos == QoS::AtMostOnce && !self.budget.allows_qos0() {
            self.metrics.inc(Counter::DeliveryDroppedMemory);
            return self.look_dropped(session_index, topic, "memory");
        }
        if self.budget.is_full() && !self.make_room(session_index) {
            self.metrics.inc(Counter::DeliveryDroppedMemory);
            self.look_dropped(session_index, topic, "memory");
            return self.share_done(grant.share, qos);
        }
        let delivery = Delivery {
            message: fanout.message(&mut self.budget),
            qos,
            retain,
            identifiers: grant.identifiers.clone(),
            share: grant.share,
        };
        let max_len = self.rules.max_mqueue_len;
        let Some(session) = self.registry.at_mut(session_index) else {
            return self.let_go(delivery);
        };
        let queue = &mut session.traffic_mut().queue;
        let overflow = if self.switches.ranked {
            let rank = self.rules.addons.priorities.of(fanout.publication.topic);
            queue.push_ranked(delivery, rank, max_len)
        } else {
            queue.push(delivery, max_len)
        };
        let len = queue.len();
        if len > self.longest_queue.1 {
            self.longest_queue = (session_index, len);
        }
        if let Overflow::Dropped(victim) = overflow {
            let (counter, why) = match victim.qos {
                QoS::AtMostOnce => (Counter::DeliveryDroppedQos0Msg, "qos0_msg"),
                _ => (Counter::DeliveryDroppedQueueFull, "queue_full"),
            };
            self.metrics.inc(counter);
            self.look_dropped(session_index, victim.message.view().topic, why);
            self.let_go(victim);
        }
    }

    /// The memory of the core is used up: the longest queue loses its oldest messages. Says whether
    /// there is room now; what is in flight cannot be had back.
    pub fn make_room(&mut self, otherwise: u32) -> bool {
        let mut searches_in_vain = 0;
        for _ in 0..QUEUE_DROPS_MAX {
            if !self.budget.is_full() {
                return true;
            }
            if !self.drop_from_longest(otherwise) {
                searches_in_vain += 1;
                if searches_in_vain == QUEUE_SEARCHES_MAX {
                    return false;
                }
            }
        }
        !self.budget.is_full()
    }

    /// The longest queue, or another if that is not known, loses its oldest message.
    fn drop_from_longest(&mut self, otherwise: u32) -> bool {
        self.refresh_longest(otherwise);
        for victim in [self.longest_queue.0, otherwise] {
            let Some(traffic) = self
                .registry
                .at_mut(victim)
                .and_then(|s| s.traffic.as_mut())
            else {
                continue;
            };
            let dropped = traffic.queue.drop_oldest();
            self.longest_queue = (victim, traffic.queue.len());
            if let Some(delivery) = dropped {
                self.metrics.inc(Counter::DeliveryDroppedMemory);
                self.look_dropped(victim, delivery.message.view().topic, "memory");
                self.let_go(delivery);
                return true;
            }
        }
        false
    }

    /// Looks for a longer queue when the one that is known has shrunk: somebody who reads may have had it
    /// for a moment, or it has lost what it had.
    fn refresh_longest(&mut self, otherwise: u32) {
        let known = self.longest_queue.0;
        let len = self.queue_len(known);
        if known != otherwise && len > 1 {
            return;
        }
        self.longest_queue = (known, len);
        let bound = self.registry.index_bound();
        for _ in 0..bound.min(QUEUE_SEARCH_MAX) {
            self.queue_search = (self.queue_search + 1) % bound;
            let len = self.queue_len(self.queue_search);
            let is_longer = len > self.longest_queue.1 || self.longest_queue.0 == otherwise;
            if len > 0 && is_longer && self.queue_search != otherwise {
                self.longest_queue = (self.queue_search, len);
            }
        }
    }

    fn queue_len(&self, session_index: u32) -> usize {
        let session = self.registry.at(session_index);
        let traffic = session.and_then(|session| session.traffic.as_ref());
        traffic.map_or(0, |traffic| traffic.queue.len())
    }

    /// Whether messages reach the client of a session now.
    pub fn is_online(&self, session_index: u32) -> bool {
        let session = self.registry.at(session_index);
        let connection = session.and_then(|s| self.connections.at(s.connection));
        connection.is_some_and(|connection| !closing(connection))
    }

    fn count_sent(&mut self, qos: QoS) {
        self.metrics.inc(Counter::PacketsPublishSent);
        self.metrics.inc(match qos {
            QoS::AtMostOnce => Counter::MessagesQos0Sent,
            QoS::AtLeastOnce => Counter::MessagesQos1Sent,
            QoS::ExactlyOnce => Counter::MessagesQos2Sent,
        });
    }
}

/// [MQTT-3.1.2-24]: whether the client takes no packet of this size.
fn is_too_large(connection: &Connection, publication: &Publication<'_>, wire: Wire<'_>) -> bool {
    let max = connection.max_packet_size as usize;
    // Most clients take everything, and most messages are far from the largest packet there can be.
    if max == MAX_WIRE_LEN && publication.record_len() < MAX_WIRE_LEN / 2 {
        return false;
    }
    publish_wire_len(wire.version, &outgoing(publication, wire)) > max
}

/// Whether a connection is on its way out: its session is treated as away.
pub fn closing(connection: &Connection) -> bool {
    connection.flags.has(Flags::CLOSING)
}

/// The connection of a slot unless it is on its way out.
pub fn live(connections: &mut Slab<Connection>, slot: u32) -> Option<&mut Connection> {
    connections
        .at_mut(slot)
        .filter(|connection| !closing(connection))
}
