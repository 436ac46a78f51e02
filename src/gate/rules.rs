//! The settings that cores decide by, as one snapshot: made of the configuration at the start and at
//! each change of it, and given to every core as a command ([`Command::SetRules`]).
//!
//! A core has the values in its own tables: no message looks at anything that is shared.
//!
//! [`Command::SetRules`]: crate::gate::command::Command::SetRules

pub mod addons;
pub mod authn;
mod limits;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::access::flapping::FlappingRules;
use crate::access::limiter::ConnectionLimits;
use crate::access::overload::OverloadRules;
use crate::access::rules::AccessRules;
use crate::config::{Config, ShareGroup, ShareStrategy};
use crate::gate::rules::addons::AddonRules;
use crate::gate::rules::authn::AuthnRules;

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
    /// What the configuration says, for each of so many cores, beside the rules of access.
    pub fn new(config: &Config, cores: u8, access: Arc<AccessRules>) -> Self {
        let (mqtt, retainer) = (&config.mqtt, &config.retainer);
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1.0 to 10.0"
        )]
        let keepalive_multiplier_permille = (mqtt.keepalive_multiplier * 1000.0).round() as u64;
        Self {
            max_packet_size: mqtt.max_packet_size,
            max_clientid_len: usize::from(mqtt.max_clientid_len),
            max_topic_levels: usize::from(mqtt.max_topic_levels),
            max_qos_allowed: mqtt.max_qos_allowed,
            max_topic_alias: mqtt.max_topic_alias,
            max_topic_alias_out: mqtt.max_topic_alias_out,
            server_reference: mqtt.server_reference.as_deref().map(Into::into),
            response_information: mqtt.response_information.as_deref().map(Into::into),
            retain_available: mqtt.retain_available,
            wildcard_subscription: mqtt.wildcard_subscription,
            shared_subscription: mqtt.shared_subscription,
            share_strategy: mqtt.shared_subscription_strategy,
            share_groups: config.share_groups.as_slice().into(),
            idle_timeout_ms: u64::try_from(mqtt.idle_timeout.as_millis()).unwrap_or(u64::MAX),
            server_keepalive_s: mqtt.server_keepalive,
            keepalive_multiplier_permille,
            max_inflight: mqtt.max_inflight,
            max_awaiting_rel: mqtt.max_awaiting_rel,
            await_rel_timeout_s: seconds(mqtt.await_rel_timeout),
            session_expiry_s: mqtt.session_expiry_interval.map_or(u32::MAX, seconds),
            max_session_expiry_s: mqtt.max_session_expiry_interval.map_or(u32::MAX, seconds),
            max_sessions: config.sizing.sessions_per_core,
            max_mqueue_len: mqtt.max_mqueue_len.map_or(0, |len| len as usize),
            mqueue_store_qos0: mqtt.mqueue_store_qos0,
            max_subscriptions: mqtt.max_subscriptions.unwrap_or(u32::MAX),
            max_out_queue_bytes: mqtt.max_out_queue as usize,
            allow_anonymous: mqtt.allow_anonymous,
            access,
            limits: limits::of_connections(config),
            flapping: limits::flapping(config),
            overload: limits::overload(config),
            listener_ids: config
                .listeners
                .iter()
                .map(|l| l.to_string().into())
                .collect(),
            authn: AuthnRules::new(config, cores),
            max_retained_messages: retainer.max_retained_messages.map_or(0, |max| max as usize),
            max_retained_payload: retainer.max_payload_size as usize,
            retained_expiry_s: retainer.expiry_interval.map_or(0, seconds),
            retained_memory_bytes: usize::try_from(config.sizing.retained_bytes_per_core)
                .unwrap_or(usize::MAX),
            queue_memory_bytes: usize::try_from(config.sizing.queue_bytes_per_core)
                .unwrap_or(usize::MAX),
            max_connections: config.sizing.connections_per_core,
            addons: Arc::new(AddonRules::new(config)),
        }
    }

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
