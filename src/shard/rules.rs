//! The settings that a shard decides by, read from the configuration once.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::access::flapping::FlappingRules;
use crate::access::limiter::ConnectionLimits;
use crate::access::overload::OverloadRules;
use crate::access::rules::AccessRules;
use crate::config::{ShareGroup, ShareStrategy};
use crate::shard::addons::AddonRules;
use crate::shard::auth::AuthnRules;

/// What this core's broker allows and offers. Times in milliseconds or seconds as named.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Largest packet accepted, fixed header included.
    pub max_packet_size: u32,
    /// Longest client id in bytes.
    pub max_clientid_len: usize,
    /// Most levels of a topic or filter.
    pub max_topic_levels: usize,
    /// Highest QoS accepted and granted, 0 to 2.
    pub max_qos_allowed: u8,
    /// Topic aliases a 5.0 client may use towards us; 0 = none.
    pub max_topic_alias: u16,
    /// Topic aliases we use towards one 5.0 client that takes them; 0 = none.
    pub max_topic_alias_out: u16,
    /// Where clients shall go when this broker stops; 5.0 clients are told.
    pub server_reference: Option<Arc<str>>,
    /// What 5.0 clients are told that ask for response information.
    pub response_information: Option<Arc<str>>,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscription: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscription: bool,
    /// How a group of shared subscribers chooses.
    pub share_strategy: ShareStrategy,
    /// Groups that choose in another way.
    pub share_groups: Arc<[ShareGroup]>,
    /// Time from accept to a complete CONNECT.
    pub idle_timeout_ms: u64,
    /// Keep-alive imposed on clients that ask for a longer one or for none.
    pub server_keepalive_s: Option<u16>,
    /// Allowed silence in thousandths of the keep-alive.
    pub keepalive_multiplier_permille: u64,
    /// Most messages in flight to one client.
    pub max_inflight: u16,
    /// Most QoS 1 and 2 messages in flight from a 5.0 client: the Receive Maximum announced.
    pub max_awaiting_rel: u16,
    /// After so long a received QoS 2 identifier that is not released is forgotten.
    pub await_rel_timeout_s: u32,
    /// Life of a persistent 3.x session without a connection; `u32::MAX` = for ever.
    pub session_expiry_s: u32,
    /// Longest life of any session without a connection; `u32::MAX` = for ever.
    pub max_session_expiry_s: u32,
    /// Most sessions of this core.
    pub max_sessions: u32,
    /// Most messages queued for one session; 0 = unlimited.
    pub max_mqueue_len: usize,
    /// Whether QoS 0 is queued for clients that are away.
    pub mqueue_store_qos0: bool,
    /// Most subscriptions of one session.
    pub max_subscriptions: u32,
    /// Most bytes that wait in user space for one connection before QoS 0 is dropped.
    pub max_out_queue_bytes: usize,
    /// Whether clients may connect without credentials.
    pub allow_anonymous: bool,
    /// What clients may do.
    pub access: Arc<AccessRules>,
    /// How much connections may send, by listener; empty if none is limited.
    pub limits: Arc<[ConnectionLimits]>,
    /// When a client comes and goes too often, if that is looked for.
    pub flapping: Option<FlappingRules>,
    /// When nobody new is let in.
    pub overload: OverloadRules,
    /// The listeners' ids, such as `tcp:default`, by number.
    pub listener_ids: Arc<[Box<str>]>,
    /// Who is authenticated, and what names count.
    pub authn: AuthnRules,
    /// Most retained messages in all; 0 = unlimited.
    pub max_retained_messages: usize,
    /// Largest payload that is retained.
    pub max_retained_payload: usize,
    /// Life of a retained message without an expiry of its own; 0 = for ever.
    pub retained_expiry_s: u32,
    /// Byte budget of this core for retained messages and their topics.
    pub retained_memory_bytes: usize,
    /// Byte budget of this core for queued messages.
    pub queue_memory_bytes: usize,
    /// Most connections of this core.
    pub max_connections: u32,
    /// What EMQX adds to MQTT.
    pub addons: Arc<AddonRules>,
}

impl Rules {
    /// How a group of that name chooses.
    pub fn share_strategy_of(&self, group: &str) -> ShareStrategy {
        let own = self.share_groups.iter().find(|own| own.name == group);
        own.map_or(self.share_strategy, |own| own.strategy)
    }

    /// The keep-alive in force for a client that asks for `asked_s` (0 = none) [MQTT-3.1.2-21].
    pub fn keep_alive(&self, asked_s: u16) -> Option<NonZeroU16> {
        match (
            NonZeroU16::new(asked_s),
            self.server_keepalive_s.and_then(NonZeroU16::new),
        ) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Rules {
    /// Everything allowed, usual limits.
    pub fn for_tests() -> Self {
        Self {
            max_packet_size: 64 * 1024,
            max_clientid_len: 64,
            max_topic_levels: 16,
            max_qos_allowed: 2,
            max_topic_alias: 10,
            max_topic_alias_out: 3,
            server_reference: None,
            response_information: None,
            retain_available: true,
            wildcard_subscription: true,
            idle_timeout_ms: 15_000,
            server_keepalive_s: None,
            keepalive_multiplier_permille: 1500,
            max_inflight: 32,
            max_awaiting_rel: 100,
            await_rel_timeout_s: 300,
            session_expiry_s: 60,
            max_session_expiry_s: u32::MAX,
            max_sessions: u32::MAX,
            max_mqueue_len: 100,
            mqueue_store_qos0: true,
            max_subscriptions: 1000,
            max_out_queue_bytes: 1 << 20,
            allow_anonymous: true,
            access: AccessRules::open().into(),
            limits: Vec::new().into(),
            flapping: None,
            overload: OverloadRules::OFF,
            listener_ids: Vec::new().into(),
            authn: AuthnRules::default(),
            max_retained_messages: 0,
            max_retained_payload: 1 << 20,
            retained_expiry_s: 0,
            shared_subscription: true,
            share_strategy: ShareStrategy::default(),
            share_groups: Vec::new().into(),
            retained_memory_bytes: usize::MAX,
            queue_memory_bytes: 1 << 20,
            max_connections: 10_000,
            addons: Arc::default(),
        }
    }
}
