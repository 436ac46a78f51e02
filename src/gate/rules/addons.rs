//! What EMQX adds to MQTT, as cores go by it. Everything here is off or empty unless it is configured.

use std::hash::BuildHasherDefault;
use std::num::NonZeroU64;

use ahash::AHasher;
use hashbrown::HashMap;

use crate::config::{AutoSubscription, Config, DefaultPriority, RewriteSettings, Template};
use crate::mqtt::version::Version;

/// The settings, shared by all cores.
#[derive(Debug, Default)]
pub struct AddonRules {
    /// Whether `$delayed/` means anything.
    pub delayed: bool,
    /// Most delayed messages in all; 0 = unlimited.
    pub max_delayed_messages: usize,
    /// Whether `$exclusive/` may be subscribed to.
    pub exclusive_subscription: bool,
    /// Deliver at the greater QoS.
    pub upgrade_qos: bool,
    /// Clients of 3.x get nothing of their own.
    pub ignore_loop_deliver: bool,
    /// After so long a 3.x client is sent again what it has not acknowledged.
    pub retry_interval_ms: Option<NonZeroU64>,
    /// The empty message that clears a topic goes to nobody.
    pub stop_publish_clear_msg: bool,
    /// Priorities of topics in session queues.
    pub priorities: Priorities,
    /// Topic rewrite.
    pub rewrite: Vec<RewriteSettings>,
    /// Subscriptions made for every client.
    pub auto_subscribe: Vec<AutoSubscription>,
    /// By the listener's number.
    pub mountpoints: Vec<Option<Template>>,
}

impl AddonRules {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let (mqtt, messaging) = (&config.mqtt, &config.messaging);
        let most = messaging.delayed.max_delayed_messages;
        let listeners = config.listeners.iter();
        Self {
            delayed: messaging.delayed.enable,
            max_delayed_messages: most.map_or(0, |most| most as usize),
            exclusive_subscription: mqtt.exclusive_subscription,
            upgrade_qos: mqtt.upgrade_qos,
            ignore_loop_deliver: mqtt.ignore_loop_deliver,
            retry_interval_ms: mqtt.retry_interval.and_then(|interval| {
                NonZeroU64::new(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
            }),
            stop_publish_clear_msg: config.retainer.stop_publish_clear_msg,
            priorities: Priorities::new(&mqtt.mqueue_priorities, mqtt.mqueue_default_priority),
            rewrite: messaging.rewrite.clone(),
            auto_subscribe: messaging.auto_subscribe.clone(),
            mountpoints: listeners.map(|l| l.settings.mountpoint.clone()).collect(),
        }
    }

    /// Whether any listener has a mountpoint.
    pub fn has_mountpoints(&self) -> bool {
        self.mountpoints.iter().any(Option::is_some)
    }

    /// The mountpoint of a listener.
    pub fn mountpoint(&self, listener: u8) -> Option<&Template> {
        self.mountpoints.get(usize::from(listener))?.as_ref()
    }

    /// After how long a client of that version is sent again what it has not acknowledged.
    pub fn retry_ms(&self, version: Version) -> Option<NonZeroU64> {
        self.retry_interval_ms.filter(|_| !version.is_v5())
    }
}

/// The priorities of topics in session queues.
#[derive(Debug, Default)]
pub struct Priorities {
    by_topic: HashMap<String, u8, BuildHasherDefault<AHasher>>,
    /// Of every other topic.
    default: u16,
}

/// Above every priority that can be given.
const HIGHEST: u16 = 256;

impl Priorities {
    fn new(given: &[(String, u8)], default: DefaultPriority) -> Self {
        Self {
            by_topic: given.iter().cloned().collect(),
            default: match default {
                DefaultPriority::Lowest => 0,
                DefaultPriority::Highest => HIGHEST,
            },
        }
    }

    /// Whether all topics are alike.
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// The priority of a topic: 1 to 255 as given, else 0 or 256.
    pub fn of(&self, topic: &str) -> u16 {
        let given = self.by_topic.get(topic);
        given.map_or(self.default, |given| u16::from(*given))
    }
}

#[cfg(test)]
impl Priorities {
    /// Of a few topics.
    pub fn for_tests(given: &[(&str, u8)], default: DefaultPriority) -> Self {
        let given: Vec<_> = given.iter().map(|(t, p)| ((*t).to_owned(), *p)).collect();
        Self::new(&given, default)
    }
}
