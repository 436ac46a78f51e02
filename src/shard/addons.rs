//! What EMQX adds to MQTT, as a shard goes by it. Everything here is off or empty unless it is
//! configured, and is then one predictable branch on the way of a message.

pub use crate::gate::rules::addons::{AddonRules, Priorities};

/// The switches that are looked at for each delivery, beside what the delivery touches anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliverySwitches {
    /// Deliver at the greater QoS.
    pub upgrade_qos: bool,
    /// A listener has a mountpoint.
    pub mounted: bool,
    /// Topics have priorities.
    pub ranked: bool,
}

impl DeliverySwitches {
    /// As the settings say.
    pub fn new(rules: &AddonRules) -> Self {
        Self {
            upgrade_qos: rules.upgrade_qos,
            mounted: rules.has_mountpoints(),
            ranked: !rules.priorities.is_empty(),
        }
    }
}
