//! What CONNACK has said to clients. A client goes by that as long as it is connected, so it is held
//! to that and not to what the settings have become since.
//!
//! A connection names its offer by one byte; connections of one time share one.

use crate::base::slab::Slab;
use crate::gate::rules::Rules;
use crate::shard::connection::Connection;

/// Offers that may be told apart at once; a connection has one byte for its own.
const OFFERS_MAX: usize = 256;

/// Limits that were announced to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Maximum Packet Size.
    pub max_packet_size: u32,
    /// Receive Maximum.
    pub receive_maximum: u16,
    /// Topic Alias Maximum.
    pub max_topic_alias: u16,
    /// Maximum QoS.
    pub max_qos: u8,
    /// Retain Available.
    pub retain: bool,
    /// Wildcard Subscription Available.
    pub wildcards: bool,
    /// Shared Subscription Available.
    pub shared: bool,
}

impl From<&Rules> for Offer {
    fn from(rules: &Rules) -> Self {
        Self {
            max_packet_size: rules.max_packet_size,
            receive_maximum: rules.max_awaiting_rel,
            max_topic_alias: rules.max_topic_alias,
            max_qos: rules.max_qos_allowed,
            retain: rules.retain_available,
            wildcards: rules.wildcard_subscription,
            shared: rules.shared_subscription,
        }
    }
}

/// The offers that connections of this core have had.
#[derive(Debug)]
pub struct Offers {
    /// At least one.
    all: Vec<Offer>,
    /// The one that new connections get.
    current: u8,
}

impl Offers {
    /// One, for everybody.
    pub fn new(rules: &Rules) -> Self {
        Self {
            all: vec![rules.into()],
            current: 0,
        }
    }

    /// What new connections get: a name for [`Connection::offer`].
    pub fn current(&self) -> u8 {
        self.current
    }

    /// The offer of that name.
    #[inline]
    pub fn of(&self, name: u8) -> &Offer {
        let own = self.all.get(usize::from(name));
        own.unwrap_or_else(|| &self.all[usize::from(self.current)])
    }

    /// From now on new connections get this. Where as many offers as can be named are still somebody's,
    /// those who have the newest one get this as well.
    pub fn change(&mut self, offer: Offer, connections: &Slab<Connection>) {
        if let Some(at) = self.all.iter().position(|known| *known == offer) {
            self.current = name_of(at);
        } else if self.all.len() < OFFERS_MAX {
            self.all.push(offer);
            self.current = name_of(self.all.len() - 1);
        } else {
            let mut used = [false; OFFERS_MAX];
            for (_, connection) in connections.iter_range(0, connections.index_bound()) {
                used[usize::from(connection.offer)] = true;
            }
            let free = used.iter().position(|used| !used);
            self.current = free.map_or(self.current, name_of);
            self.all[usize::from(self.current)] = offer;
        }
    }
}

fn name_of(at: usize) -> u8 {
    u8::try_from(at).expect("there are at most 256 offers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::version::Version;
    use std::net::SocketAddr;

    fn offer(max_packet_size: u32) -> Offer {
        Offer {
            max_packet_size,
            ..Offer::from(&Rules::for_tests())
        }
    }

    #[test]
    fn an_offer_stays_that_of_its_connections_and_names_are_used_again() {
        let mut offers = Offers::new(&Rules::for_tests());
        let mut connections: Slab<Connection> = Slab::default();
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut held = Vec::new();
        for size in 0..600 {
            offers.change(offer(1000 + size), &connections);
            assert_eq!(offers.of(offers.current()), &offer(1000 + size));
            if size < 3 {
                let mut connection = Connection::new(0, Version::V5, 0, peer.into());
                connection.offer = offers.current();
                held.push(connection.offer);
                connections.insert(connection);
            }
        }
        for (size, name) in (0..).zip(held) {
            assert_eq!(
                offers.of(name),
                &offer(1000 + size),
                "still what it was told"
            );
        }
    }

    #[test]
    fn the_same_again_is_no_other_offer() {
        let (mut offers, none) = (Offers::new(&Rules::for_tests()), Slab::default());
        offers.change(offer(7), &none);
        let seven = offers.current();
        offers.change(Offer::from(&Rules::for_tests()), &none);
        assert_eq!(offers.current(), 0);
        offers.change(offer(7), &none);
        assert_eq!(offers.current(), seven);
    }
}
