//! Messages: those that wait in a session, the retained ones, and publishing in someone's name.

use std::num::NonZeroU64;
use std::ops::ControlFlow;

use compact_str::CompactString;

use crate::base::ids::CoreId;
use crate::base::limits::{MANAGE_BYTES_PER_STEP, MANAGE_SCAN_PER_STEP};
use crate::gate::manage::{Bookmark, MessageRow, NewMessage, Page, Published, Waiting};
use crate::metrics::Counter;
use crate::mqtt::message::{Publication, PublisherRef};
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::is_within_levels;
use crate::routing::retained::{Cursor, Progress};
use crate::session::queue::Delivery;
use crate::shard::Shard;

/// The lower part of a publisher that is no session: see [`crate::shard::clients::Clients::publisher`].
const NO_SESSION: u64 = (1 << 56) - 1;

impl Shard {
    pub(super) fn messages_of(
        &self,
        client_id: &str,
        which: Waiting,
        from: u64,
        max: usize,
    ) -> Option<Page<MessageRow>> {
        let index = self.clients.registry.find(client_id)?;
        let session = self.clients.registry.at(index)?;
        let mut page = Page {
            rows: Vec::new(),
            next: None,
        };
        let Some(traffic) = &session.traffic else {
            return Some(page);
        };
        let mut bytes = 0;
        let mut take = |number: u64, delivery: &Delivery| {
            if page.rows.len() == max || bytes >= MANAGE_BYTES_PER_STEP {
                page.next = page.rows.last().map(|row: &MessageRow| row.number + 1);
                return ControlFlow::Break(());
            }
            bytes += delivery.message.len();
            let publication = delivery.message.view();
            page.rows
                .push(self.message_row(number, &publication, delivery.qos));
            ControlFlow::Continue(())
        };
        // Done or not, the page says it.
        let _ = match which {
            Waiting::Queued => traffic
                .queue
                .iter_from(from)
                .try_for_each(|(n, d)| take(n, d)),
            Waiting::Inflight => traffic
                .inflight
                .iter_from(from)
                .try_for_each(|(n, d)| take(n, d)),
        };
        Some(page)
    }

    fn message_row(&self, number: u64, publication: &Publication<'_>, qos: QoS) -> MessageRow {
        MessageRow {
            number,
            topic: publication.topic.to_owned(),
            payload: publication.payload.to_vec(),
            properties: publication.properties.to_vec(),
            qos,
            received_us: publication.received_us,
            expires_us: publication.expires_us,
            from: self.client_of(publication.publisher),
        }
    }

    /// The client id of a publisher that is at home here.
    fn client_of(&self, publisher: PublisherRef) -> Option<CompactString> {
        let index = u32::try_from(publisher.0 & u64::from(u32::MAX)).ok()?;
        if self.clients.publisher(index) != publisher.0 {
            return None;
        }
        Some(self.clients.registry.at(index)?.client_id.clone())
    }

    /// Publishes a message of the control plane.
    pub(super) fn publish_for(&mut self, message: &NewMessage) -> Published {
        if self.outboxes_over_limit() {
            return Published::Busy;
        }
        if !is_within_levels(&message.topic, self.clients.rules.max_topic_levels) {
            return Published::Refused;
        }
        // Whoever has a SUBACK gets what is published after it: the batch of his filter may be younger
        // than this turn, of which nothing is held here.
        self.routes.index.pass();
        let client = message.client_id.as_deref();
        let session = client.and_then(|id| self.clients.registry.find(id));
        let nobody = u64::from(self.clients.core.0) << 56 | NO_SESSION;
        let now_us = self.clients.now.unix_us;
        let rules = &self.clients.rules;
        let qos = QoS::from_u8(message.qos.as_u8().min(rules.max_qos_allowed));
        let publication = Publication {
            topic: &message.topic,
            payload: &message.payload,
            properties: &message.properties,
            qos: qos.unwrap_or_default(),
            retain: message.retain && rules.retain_available,
            received_us: now_us,
            expires_us: message
                .expiry_s
                .and_then(|seconds| NonZeroU64::new(now_us + u64::from(seconds) * 1_000_000)),
            publisher: PublisherRef(session.map_or(nobody, |index| self.clients.publisher(index))),
        };
        let routed = self.route(&publication);
        self.look_published_for(client, &publication, routed.wanted);
        self.clients.metrics.inc(Counter::MessagesPublishedByApi);
        if !routed.wanted {
            self.clients
                .metrics
                .inc(Counter::MessagesDroppedNoSubscribers);
        }
        if routed.subscribed {
            Published::Sent
        } else {
            Published::NoSubscribers
        }
    }

    /// Retained messages whose topics match, a step of the walk.
    pub(super) fn list_retained(
        &self,
        (filter, payloads): (&str, bool),
        bookmark: Option<Bookmark>,
        max: usize,
    ) -> (Vec<MessageRow>, Option<Bookmark>) {
        let kept = bookmark.and_then(|bookmark| bookmark.0.downcast::<Cursor>().ok());
        let mut cursor = kept.unwrap_or_else(|| Box::new(self.routes.retained.query(filter)));
        let (mut rows, mut bytes, mut budget) = (Vec::new(), 0, MANAGE_SCAN_PER_STEP);
        let now_us = self.clients.now.unix_us;
        let store = &self.routes.retained;
        let progress = cursor.next(store, now_us, &mut budget, |_, stored| {
            if rows.len() == max || bytes >= MANAGE_BYTES_PER_STEP {
                return ControlFlow::Break(());
            }
            let mut publication = stored.0.view();
            if !payloads {
                publication.payload = &[];
            }
            bytes += publication.record_len();
            rows.push(self.message_row(0, &publication, publication.qos));
            ControlFlow::Continue(())
        });
        let bookmark = (progress != Progress::Done).then_some(Bookmark(cursor));
        (rows, bookmark)
    }

    pub(super) fn retained_of(&self, topic: &str) -> Option<MessageRow> {
        let stored = self.routes.retained.get(topic, self.clients.now.unix_us)?;
        let publication = stored.0.view();
        Some(self.message_row(0, &publication, publication.qos))
    }

    pub(super) fn forget_retained(&mut self, topic: &str) -> bool {
        let CoreId(core) = self.clients.core;
        let version = (self.clients.now.unix_us, core);
        self.routes.retained.remove(topic, version).is_some()
    }
}
