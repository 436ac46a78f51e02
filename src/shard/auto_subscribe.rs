//! What is done for a client when it connects: subscriptions that it did not ask for, and options that
//! clients of 3.x have no words for.

use crate::config::{AutoSubscription, Piece};
use crate::metrics::Counter;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeEntry, SubscribeOptions};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::SharedFilter;
use crate::shard::Shard;
use crate::shard::connection::Flags;
use crate::shard::handshake::Handover;
use crate::shard::mountpoint::{placeable, text};
use std::net::SocketAddr;
use std::sync::Arc;

impl Shard {
    /// Makes a client's mountpoint, if its listener has one.
    pub(super) fn keep_mountpoint(&mut self, slot: u32, client_id: &str) {
        let addons = &self.clients.rules.addons;
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return;
        };
        if let Some(template) = addons.mountpoint(connection.listener) {
            let mountpoint = text(template, client_id, connection.username());
            connection.extra_mut().mountpoint = mountpoint.map(Into::into);
        }
    }

    /// Why a client cannot be let in by its listener: the mountpoint would be wrong.
    pub(super) fn unmountable(&self, handover: &Handover) -> Option<ReasonCode> {
        let template = self.clients.rules.addons.mountpoint(handover.listener)?;
        let identity = handover.identity.as_ref();
        let username = identity.and_then(|identity| identity.username.as_deref());
        if text(template, &handover.client_id, Some("u")).is_none() {
            return Some(ReasonCode::ClientIdentifierNotValid);
        }
        let fits = text(template, &handover.client_id, username).is_some();
        (!fits).then_some(ReasonCode::BadUserNameOrPassword)
    }

    /// Counts subscriptions that were made for a client, or not.
    pub(super) fn count_auto_subscribed(&self, reasons: &[u8]) {
        let refused = reasons.iter().filter(|reason| **reason >= 0x80).count();
        let metrics = &self.clients.metrics;
        metrics.add(Counter::AutoSubscribeFailed, refused as u64);
        metrics.add(Counter::AutoSubscribed, (reasons.len() - refused) as u64);
    }

    /// The options that a SUBSCRIBE of this client has. Version 3 has none to say, so its bridges get
    /// the RETAIN flag as published and nothing of their own, as other brokers treat them, and
    /// `mqtt.ignore_loop_deliver` keeps what is theirs from all others.
    pub(super) fn own_options(&self, slot: u32, asked: SubscribeOptions) -> SubscribeOptions {
        let Some(connection) = self.clients.connections.at(slot) else {
            return asked;
        };
        if connection.version.is_v5() {
            return asked;
        }
        let bridge = connection.flags.has(Flags::BRIDGE);
        SubscribeOptions {
            no_local: bridge || self.clients.rules.addons.ignore_loop_deliver,
            retain_as_published: bridge,
            ..asked
        }
    }

    /// Makes the subscriptions that every client gets, as if it had asked for them, but without a
    /// SUBACK. What the client sends is handled when they are in force. They are mounted, not rewritten.
    pub(super) fn auto_subscribe(&mut self, slot: u32) {
        let addons = Arc::clone(&self.clients.rules.addons);
        if addons.auto_subscribe.is_empty() {
            return;
        }
        let mut wanted = Vec::new();
        for one in &addons.auto_subscribe {
            let options = options_of(one);
            let filled = self.filled(slot, one);
            let allowed = filled
                .as_deref()
                .is_some_and(|filter| self.may_auto_subscribe(slot, filter, options.qos));
            let filter = filled.and_then(|filter| self.mounted_filter(slot, &filter));
            match filter {
                Some(filter) => wanted.push((filter, options, allowed)),
                None => self.clients.metrics.inc(Counter::AutoSubscribeFailed),
            }
        }
        let entries = wanted.iter().map(|(filter, options, allowed)| {
            let options = *options;
            (SubscribeEntry { filter, options }, *allowed)
        });
        self.subscribe_silently(slot, entries);
    }

    /// The filter of an automatic subscription for one client.
    fn filled(&self, slot: u32, one: &AutoSubscription) -> Option<String> {
        let connection = self.clients.connections.at(slot)?;
        let session = self.clients.registry.at(connection.session)?;
        let peer = SocketAddr::from(connection.peer);
        let (host, port) = (peer.ip().to_string(), peer.port().to_string());
        let mut out = String::new();
        let filled = one.topic.fill(&mut out, |piece| match piece {
            Piece::ClientId => placeable(&session.client_id),
            Piece::Username => connection.username().and_then(placeable),
            Piece::Host => Some(&host),
            Piece::Port => Some(&port),
            Piece::Text(_) | Piece::Group(_) => None,
        });
        (filled && SharedFilter::parse(&out).is_ok()).then_some(out)
    }
}

fn options_of(one: &AutoSubscription) -> SubscribeOptions {
    SubscribeOptions {
        qos: QoS::from_u8(one.qos).unwrap_or_default(),
        no_local: one.nl == 1,
        retain_as_published: one.rap == 1,
        retain_handling: match one.rh {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    }
}
