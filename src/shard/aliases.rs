//! Topic aliases towards one client [MQTT5 3.3.2.3.4]: which topics it knows by a number.
//!
//! A topic is bound to an alias by the first PUBLISH that carries both, and named by the alias alone from
//! then on. Bindings are the connection's and go with it. They are entered when the packet lies in the
//! connection's out-queue: it leaves from there, or the connection ends. When all aliases are in use the
//! one that was not used for longest gets the new topic; its memory is used again.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::num::NonZeroU16;

use ahash::AHasher;

use crate::base::limits::ALIASED_TOPIC_BYTES_MAX;
use crate::mqtt::encode_publish::publish_wire_len;
use crate::mqtt::message::Publication;
use crate::shard::clients::Clients;
use crate::shard::fanout::{Wire, outgoing};

/// Bytes of the property that holds an alias: a topic that is not longer gains nothing.
const PROPERTY_BYTES: usize = 3;

/// How a PUBLISH names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireAlias {
    /// The alias.
    pub id: NonZeroU16,
    /// The topic goes along: the client does not know the alias, or knows it for another one.
    pub binds: bool,
}

/// The aliases of one connection, at most as many as client and settings allow.
#[derive(Debug)]
pub struct OutAliases {
    most: u16,
    /// The binding of alias 1, 2 and so on.
    bindings: Vec<Binding>,
    uses: u64,
}

#[derive(Debug)]
struct Binding {
    hash: u64,
    /// The number of its last use.
    used: u64,
    topic: String,
}

impl OutAliases {
    /// No binding yet, and at most so many.
    pub fn new(most: NonZeroU16) -> Self {
        Self {
            most: most.get(),
            bindings: Vec::new(),
            uses: 0,
        }
    }

    /// The alias of a topic, or the one that it may get; none for topics that are not worth one.
    pub fn of(&mut self, topic: &str) -> Option<WireAlias> {
        if !(PROPERTY_BYTES + 1..=ALIASED_TOPIC_BYTES_MAX).contains(&topic.len()) {
            return None;
        }
        self.uses += 1;
        let hash = hash(topic);
        let known = |binding: &Binding| binding.hash == hash && binding.topic == topic;
        if let Some(at) = self.bindings.iter().position(known) {
            self.bindings[at].used = self.uses;
            return alias(at, false);
        }
        if self.bindings.len() < usize::from(self.most) {
            return alias(self.bindings.len(), true);
        }
        let places = self.bindings.iter().enumerate();
        let oldest = places.min_by_key(|(_, binding)| binding.used);
        oldest.and_then(|(at, _)| alias(at, true))
    }

    /// A packet that binds an alias, as [`Self::of`] gave it, is on its way.
    pub fn bind(&mut self, id: NonZeroU16, topic: &str) {
        let at = usize::from(id.get()) - 1;
        if at >= self.bindings.len() {
            self.bindings.push(Binding {
                hash: 0,
                used: 0,
                topic: String::new(),
            });
        }
        if let Some(binding) = self.bindings.get_mut(at) {
            binding.hash = hash(topic);
            binding.used = self.uses;
            binding.topic.clear();
            binding.topic.push_str(topic);
        }
    }
}

fn alias(at: usize, binds: bool) -> Option<WireAlias> {
    let id = u16::try_from(at + 1).ok().and_then(NonZeroU16::new)?;
    Some(WireAlias { id, binds })
}

fn hash(topic: &str) -> u64 {
    BuildHasherDefault::<AHasher>::default().hash_one(topic)
}

impl Clients {
    /// The same packet with an alias, if the client takes any. The caller puts it into the out-queue.
    #[inline]
    pub fn aliased<'a>(
        &mut self,
        slot: u32,
        publication: &Publication<'_>,
        wire: Wire<'a>,
    ) -> Wire<'a> {
        match self.connections.at(slot) {
            Some(connection) if connection.extra.is_some() => {
                self.with_alias(slot, publication, wire)
            }
            _ => wire,
        }
    }

    #[cold]
    fn with_alias<'a>(
        &mut self,
        slot: u32,
        publication: &Publication<'_>,
        wire: Wire<'a>,
    ) -> Wire<'a> {
        let Some(connection) = self.connections.at_mut(slot) else {
            return wire;
        };
        let max_packet_size = connection.max_packet_size as usize;
        let extra = connection.extra.as_deref_mut();
        let Some(aliases) = extra.and_then(|extra| extra.out_aliases.as_mut()) else {
            return wire;
        };
        let Some(alias) = aliases.of(publication.topic) else {
            return wire;
        };
        let aliased = Wire {
            alias: Some(alias),
            ..wire
        };
        if alias.binds {
            // The packet fits without the alias, which takes bytes more.
            let len = publish_wire_len(wire.version, &outgoing(publication, aliased));
            if len > max_packet_size {
                return wire;
            }
            aliases.bind(alias.id, publication.topic);
        }
        aliased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(most: u16) -> OutAliases {
        OutAliases::new(NonZeroU16::new(most).unwrap())
    }

    /// As a PUBLISH does it; `+` marks the binding of an alias.
    fn publish(aliases: &mut OutAliases, topic: &str) -> String {
        match aliases.of(topic) {
            None => "-".to_owned(),
            Some(WireAlias { id, binds: false }) => id.to_string(),
            Some(WireAlias { id, binds: true }) => {
                aliases.bind(id, topic);
                format!("+{id}")
            }
        }
    }

    #[test]
    fn the_one_not_used_for_longest_gets_the_new_topic() {
        let mut aliases = table(2);
        let topics = ["aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb", "cccc"];
        let used: Vec<String> = topics.iter().map(|t| publish(&mut aliases, t)).collect();
        assert_eq!(used, ["+1", "+2", "1", "+2", "1", "+2", "+1"]);
    }

    #[test]
    fn what_was_not_sent_binds_nothing() {
        let mut aliases = table(2);
        for _ in 0..2 {
            assert!(aliases.of("topic").unwrap().binds);
        }
        assert_eq!(publish(&mut aliases, "topic"), "+1");
        assert_eq!(publish(&mut aliases, "topic"), "1");
    }

    #[test]
    fn topics_that_gain_nothing_or_hold_much_get_none() {
        let mut aliases = table(2);
        assert_eq!(publish(&mut aliases, "abc"), "-");
        let long = "x".repeat(ALIASED_TOPIC_BYTES_MAX);
        assert_eq!(publish(&mut aliases, &long), "+1");
        assert_eq!(publish(&mut aliases, &format!("{long}x")), "-");
    }

    proptest::proptest! {
        /// A client that follows the bindings always finds the topic that was meant.
        #[test]
        fn a_client_finds_the_topic(most in 1_u16..5, topics in proptest::collection::vec(0_u8..9, 0..200)) {
            let mut aliases = table(most);
            let mut known = std::collections::BTreeMap::new();
            for number in topics {
                let topic = format!("topic/{number}");
                let alias = aliases.of(&topic).unwrap();
                proptest::prop_assert!(alias.id.get() <= most);
                if alias.binds {
                    aliases.bind(alias.id, &topic);
                    known.insert(alias.id, topic);
                } else {
                    proptest::prop_assert_eq!(known.get(&alias.id), Some(&topic));
                }
            }
        }
    }
}
