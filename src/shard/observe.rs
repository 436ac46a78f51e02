//! What a core tells the control plane while that wants to know: who comes and goes, who subscribes to
//! what, messages of chosen topics. With nothing wanted, each of these is one branch.

use std::sync::Arc;

use crate::base::limits::SEEN_PER_TURN_MAX;
use crate::gate::observe::{
    Announcements, Kinds, Seen, SeenClient, SeenConnection, SeenMessage, SeenWhat, Watch, is_wanted,
};
use crate::metrics::Counter;
use crate::mqtt::decode_subscribe::SubscribeOptions;
use crate::mqtt::message::{Publication, PublisherRef};
use crate::mqtt::qos::QoS;
use crate::session::queue::Delivery;
use crate::session::state::NONE;
use crate::shard::Shard;
use crate::shard::clients::Clients;
use crate::shard::close::CloseReason;

/// The lower part of a publisher that is no session: see [`Clients::publisher`].
const NO_SESSION: u64 = (1 << 56) - 1;

impl Shard {
    /// From now on this is wanted.
    pub fn watch(&mut self, watch: Arc<Watch>) {
        self.clients.watch = (!watch.is_empty()).then_some(watch);
    }

    /// Whether anybody, on any core, has subscribed to something below `$SYS`.
    pub fn is_sys_wanted(&self) -> bool {
        self.routes.index.has_sys_filters()
    }

    /// Whether somebody wants to know of such an event.
    #[inline]
    fn is_watched(&self, kind: Kinds) -> bool {
        let Some(watch) = &self.clients.watch else {
            return false;
        };
        watch.always.has(kind) || watch.for_sys.has(kind) && self.is_sys_wanted()
    }

    /// A client is connected.
    #[inline]
    pub(super) fn see_connected(&mut self, session_index: u32) {
        if !self.is_watched(Kinds::CONNECTED) {
            return;
        }
        let Some(session) = self.clients.registry.at(session_index) else {
            return;
        };
        let what = SeenWhat::Connected {
            clean_start: session.clean_start,
            expiry_s: session.expiry_s,
        };
        self.clients.tell_of(session_index, what);
    }

    /// A connection has ended; its session still names it.
    #[inline]
    pub(super) fn see_disconnected(&mut self, session_index: u32, reason: CloseReason) {
        if self.is_watched(Kinds::DISCONNECTED) {
            let what = SeenWhat::Disconnected {
                reason: reason.emqx_name(),
            };
            self.clients.tell_of(session_index, what);
        }
    }

    /// A client has subscribed.
    #[inline]
    pub(super) fn see_subscribed(
        &mut self,
        session_index: u32,
        filter: &str,
        options: SubscribeOptions,
    ) {
        if self.is_watched(Kinds::SUBSCRIBED) {
            let filter = filter.into();
            let what = SeenWhat::Subscribed { filter, options };
            self.clients.tell_of(session_index, what);
        }
    }

    /// A client has unsubscribed.
    #[inline]
    pub(super) fn see_unsubscribed(&mut self, session_index: u32, filter: &str) {
        if self.is_watched(Kinds::UNSUBSCRIBED) {
            let filter = filter.into();
            self.clients
                .tell_of(session_index, SeenWhat::Unsubscribed { filter });
        }
    }

    /// A session is about to end.
    #[inline]
    pub(super) fn see_terminated(&mut self, session_index: u32) {
        if self.is_watched(Kinds::TERMINATED) {
            self.clients.tell_of(session_index, SeenWhat::Terminated);
        }
    }

    /// A client publishes.
    #[inline]
    pub(super) fn see_published(&mut self, session_index: u32, publication: &Publication<'_>) {
        let Some(watch) = &self.clients.watch else {
            return;
        };
        if is_wanted(&watch.published, publication.topic) {
            let message = self.clients.seen_message(publication, publication.qos);
            self.clients
                .tell_of(session_index, SeenWhat::Published(message));
        }
    }

    /// Publishes what the broker says of itself from the place `from` on: no rule of access is asked,
    /// and what nobody wants counts as nothing. Returns how far it came: not to the end while the way
    /// to another core is full.
    pub(super) fn announce(&mut self, all: &Announcements, from: usize) -> usize {
        // Whoever has a SUBACK gets what is published after it.
        self.routes.index.pass();
        let publisher = u64::from(self.clients.core.0) << 56 | NO_SESSION;
        let mut done = from;
        for message in all.iter().skip(from) {
            if self.outboxes_over_limit() {
                break;
            }
            self.route(&Publication {
                topic: &message.topic,
                payload: &message.payload,
                properties: &[],
                qos: QoS::AtMostOnce,
                retain: message.retain && self.clients.rules.retain_available,
                received_us: self.clients.now.unix_us,
                expires_us: None,
                publisher: PublisherRef(publisher),
            });
            done += 1;
        }
        done
    }
}

impl Clients {
    /// A message is sent to a subscriber.
    #[inline]
    pub(super) fn see_delivered(&mut self, slot: u32, publication: &Publication<'_>, qos: QoS) {
        let Some(watch) = &self.watch else {
            return;
        };
        if is_wanted(&watch.delivered, publication.topic)
            && let Some(connection) = self.connections.at(slot)
        {
            let session_index = connection.session;
            let message = self.seen_message(publication, qos);
            self.tell_of(session_index, SeenWhat::Delivered(message));
        }
    }

    /// A subscriber has acknowledged a message.
    #[inline]
    pub(super) fn see_acked(&mut self, session_index: u32, delivery: &Delivery) {
        let Some(watch) = &self.watch else {
            return;
        };
        let publication = delivery.message.view();
        if is_wanted(&watch.acked, publication.topic) {
            let message = self.seen_message(&publication, delivery.qos);
            self.tell_of(session_index, SeenWhat::Acked(message));
        }
    }

    fn seen_message(&self, publication: &Publication<'_>, qos: QoS) -> SeenMessage {
        let publisher = publication.publisher.0;
        let index = u32::try_from(publisher & u64::from(u32::MAX)).unwrap_or(NONE);
        let is_here = self.publisher(index) == publisher;
        let from = self.registry.at(index).filter(|_| is_here);
        SeenMessage {
            topic: publication.topic.into(),
            payload: publication.payload.into(),
            qos,
            retain: publication.retain,
            from: from.map(|session| session.client_id.clone()),
        }
    }

    #[cold]
    fn tell_of(&mut self, session_index: u32, what: SeenWhat) {
        if self.effects.seen.len() >= SEEN_PER_TURN_MAX {
            return self.metrics.inc(Counter::ObservedDropped);
        }
        let Some(session) = self.registry.at(session_index) else {
            return;
        };
        let connection = self.connections.at(session.connection);
        let connection = connection.map(|connection| SeenConnection {
            peer: connection.peer.into(),
            listener: connection.listener,
            keep_alive_s: connection.keep_alive_s.map_or(0, Into::into),
        });
        self.effects.seen.push(Box::new(Seen {
            at_ms: self.now.unix_us / 1000,
            client: SeenClient {
                client_id: session.client_id.clone(),
                username: session.username().map(Into::into),
                version: session.version,
                connection,
            },
            what,
        }));
    }
}
