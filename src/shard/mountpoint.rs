//! Mountpoints: what a listener puts before every topic and filter of its clients, and takes off
//! again from what they get.
//!
//! Everything is mounted, as with EMQX, topics that begin with `$` included: a mounted client sees
//! nothing of the broker's `$SYS`. In `$share/<group>/<filter>`, `$queue/`, `$exclusive/` and
//! `$delayed/<seconds>/` only what follows is mounted. Topics are checked against rights and rewritten
//! before they are mounted, so rules are written in the clients' terms.
//!
//! The text lies with the connection and is made when it comes home; a message keeps its whole topic
//! wherever it waits, and the prefix is left out when it is sent.

use std::borrow::Cow;

use crate::access::rules::real_topic;
use crate::config::{Piece, Template};
use crate::metrics::Counter;
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::topic::MAX_TOPIC_BYTES;
use crate::session::will::Will;
use crate::shard::Shard;
use crate::shard::clients::Clients;
use crate::shard::connection::Connection;
use crate::shard::exclusive::EXCLUSIVE_PREFIX;
use crate::shard::rewrite::{Rewritten, Who};

/// The text of a mountpoint for one client; absent if the client has a value that may not stand
/// there.
pub fn text(template: &Template, client_id: &str, username: Option<&str>) -> Option<String> {
    let mut out = String::new();
    let fits = template.fill(&mut out, |piece| match piece {
        Piece::ClientId => placeable(client_id),
        Piece::Username => username.and_then(placeable),
        _ => None,
    });
    (fits && out.len() < MAX_TOPIC_BYTES).then_some(out)
}

/// A value that stays within one level of a topic.
pub fn placeable(value: &str) -> Option<&str> {
    let fits = !value
        .bytes()
        .any(|byte| matches!(byte, b'/' | b'+' | b'#' | 0));
    fits.then_some(value)
}

impl Connection {
    /// What is put before topics; nothing for most.
    pub fn mountpoint(&self) -> &str {
        let extra = self.extra.as_ref();
        extra.and_then(|e| e.mountpoint.as_deref()).unwrap_or("")
    }

    /// The client's user name.
    pub fn username(&self) -> Option<&str> {
        let identity = self.extra.as_ref()?.identity.as_ref()?;
        identity.username.as_deref()
    }
}

impl Shard {
    /// The topic that a client's PUBLISH is for: rewritten and mounted. Absent if it is too long then.
    pub(super) fn own_topic<'t>(&self, slot: u32, topic: &'t str) -> Option<Cow<'t, str>> {
        if !self.changes_topics {
            return Some(Cow::Borrowed(topic));
        }
        let Some(connection) = self.clients.connections.at(slot) else {
            return Some(Cow::Borrowed(topic));
        };
        let rewritten = match self.clients.who(connection) {
            Some(who) => self.rewriter.topic(topic, who),
            None => Rewritten::No,
        };
        let topic = self.unless_invalid(rewritten, topic);
        mounted("", connection.mountpoint(), topic)
    }

    /// The filter that a client's SUBSCRIBE or UNSUBSCRIBE is for; see [`Self::own_topic`].
    pub(super) fn own_filter<'t>(&self, slot: u32, filter: &'t str) -> Option<Cow<'t, str>> {
        if self.rewriter.keeps_filters() && !self.clients.switches.mounted {
            return Some(Cow::Borrowed(filter));
        }
        let Some(connection) = self.clients.connections.at(slot) else {
            return Some(Cow::Borrowed(filter));
        };
        let (prefix, real) = split_prefix(filter);
        let rewritten = match self.clients.who(connection) {
            Some(who) => self.rewriter.filter(real, who),
            None => Rewritten::No,
        };
        let real = self.unless_invalid(rewritten, real);
        mounted(prefix, connection.mountpoint(), real)
    }

    /// A filter of one's own, mounted.
    pub(super) fn mounted_filter(&self, slot: u32, filter: &str) -> Option<String> {
        let mountpoint = self.clients.connections.at(slot)?.mountpoint();
        let (prefix, real) = split_prefix(filter);
        mounted(prefix, mountpoint, Cow::Borrowed(real)).map(Cow::into_owned)
    }

    /// The will of a connection that ends, allowed already, with its own topic, which may be delayed as
    /// well. None if that is too long with its mountpoint: it could not be published.
    pub(super) fn own_will(&mut self, slot: u32, mut will: Box<Will>) -> Option<Box<Will>> {
        if !self.changes_topics {
            return Some(will);
        }
        let view = will.message.view();
        let real = match self.clients.rules.addons.delayed {
            true => real_topic(view.topic),
            false => view.topic,
        };
        let (delay, _) = view.topic.split_at(view.topic.len() - real.len());
        let own = self.own_topic(slot, real);
        let own = own.and_then(|topic| mounted(delay, "", topic));
        let message = own.map(|topic| {
            Message::from_publication(&Publication {
                topic: &topic,
                ..view
            })
        });
        if let Some(message) = &message {
            self.clients.budget.charge(message);
        }
        let old = match message {
            Some(message) => std::mem::replace(&mut will.message, message),
            None => {
                self.clients.budget.release(will.message);
                return None;
            }
        };
        self.clients.budget.release(old);
        Some(will)
    }

    fn unless_invalid<'t>(&self, rewritten: Rewritten, topic: &'t str) -> Cow<'t, str> {
        match rewritten {
            Rewritten::No => Cow::Borrowed(topic),
            Rewritten::To(topic) => Cow::Owned(topic),
            Rewritten::Invalid => {
                self.clients.metrics.inc(Counter::RewriteInvalid);
                Cow::Borrowed(topic)
            }
        }
    }
}

/// The part of a filter that says how it is subscribed to, and the real filter.
fn split_prefix(filter: &str) -> (&str, &str) {
    let real = if let Some(rest) = filter.strip_prefix("$share/") {
        rest.split_once('/').map_or(rest, |(_, real)| real)
    } else if let Some(real) = filter.strip_prefix("$queue/") {
        real
    } else {
        filter.strip_prefix(EXCLUSIVE_PREFIX).unwrap_or(filter)
    };
    filter.split_at(filter.len() - real.len())
}

/// Prefix, mountpoint and topic together, if they are not too long.
fn mounted<'t>(prefix: &str, mountpoint: &str, real: Cow<'t, str>) -> Option<Cow<'t, str>> {
    let len = prefix.len() + mountpoint.len() + real.len();
    let whole = if prefix.is_empty() && mountpoint.is_empty() {
        real
    } else {
        Cow::Owned([prefix, mountpoint, &real].concat())
    };
    (len <= MAX_TOPIC_BYTES).then_some(whole)
}

impl Clients {
    /// Whose topics a connection's are.
    pub(super) fn who<'c>(&'c self, connection: &'c Connection) -> Option<Who<'c>> {
        let session = self.registry.at(connection.session)?;
        Some(Who {
            client_id: &session.client_id,
            username: connection.username(),
        })
    }

    /// Bytes of a message's topic that a client is not shown.
    #[inline]
    pub fn hidden_bytes(&self, connection: &Connection, publication: &Publication<'_>) -> u16 {
        if !self.switches.mounted {
            return 0;
        }
        let mountpoint = connection.mountpoint();
        let rest = publication.topic.strip_prefix(mountpoint);
        // A session may have come by another listener before: its older topics are shown whole.
        let hidden = rest.filter(|rest| !rest.is_empty());
        hidden.map_or(0, |_| u16::try_from(mountpoint.len()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_a_level() {
        assert_eq!(placeable("a b$"), Some("a b$"));
        for value in ["a/b", "#", "a+", "\0"] {
            assert_eq!(placeable(value), None, "{value}");
        }
    }
}
