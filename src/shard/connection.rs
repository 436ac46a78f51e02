//! One connected client as its home core sees it.

use std::hash::BuildHasherDefault;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use ahash::AHasher;
use hashbrown::HashMap;

use crate::access::limiter::Limiter;
use crate::mqtt::version::Version;
use crate::session::state::NONE;
use crate::shard::access::Asked;
use crate::shard::aliases::OutAliases;
use crate::shard::auth::Identity;

/// A client whose CONNECT was accepted. Lives on one core, at the index that is also its slot in
/// the connection plane. What an idle client does not need is absent.
#[derive(Debug)]
pub struct Connection {
    /// Its session on this core.
    pub session: u32,
    /// What it is to be sent at the end of the turn: an index into the core's out-queues, or
    /// [`NONE`].
    pub out: u32,
    /// Received bytes that could not be handled yet: an incomplete packet, or all that came while
    /// the connection was suspended.
    pub received: Option<Box<Vec<u8>>>,
    /// Rarely used state.
    pub extra: Option<Box<Extra>>,
    /// Milliseconds since process start, in units of [`HEARD_UNIT_MS`], when bytes last came.
    pub last_heard: u32,
    /// Largest packet the client takes, fixed header included.
    pub max_packet_size: u32,
    /// Keep-alive in force, seconds; absent = none.
    pub keep_alive_s: Option<NonZeroU16>,
    /// Acknowledgements that wait in the core's FIFO.
    pub pending_acks: u32,
    /// PUBACKs among them, of a 5.0 client.
    pub pending_pubacks: u16,
    /// SUBSCRIBEs whose SUBACK waits for the index.
    pub awaits_index: u16,
    /// State bits.
    pub flags: Flags,
    /// Protocol version.
    pub version: Version,
    /// The listener it came in by.
    pub listener: u8,
    /// What it was told of our limits: a name among [`Offers`](crate::shard::offers::Offers).
    pub offer: u8,
    /// The other end.
    pub peer: Peer,
}

/// Unit of [`Connection::last_heard`]: 32 bits last for 13 years.
pub const HEARD_UNIT_MS: u64 = 100;

/// State that few connections need.
#[derive(Debug, Default)]
pub struct Extra {
    /// Topic aliases the client has set up (5.0).
    pub aliases: HashMap<u16, Box<str>, BuildHasherDefault<AHasher>>,
    /// Bytes of topics in `aliases`.
    pub alias_bytes: usize,
    /// What its listener puts before its topics.
    pub mountpoint: Option<Box<str>>,
    /// Topic aliases that we use towards the client, which takes some (5.0).
    pub out_aliases: Option<OutAliases>,
    /// Who the client is, if anything is known of it besides its id.
    pub identity: Option<Box<Identity>>,
    /// What others were asked about what it may do.
    pub asked: Option<Box<Asked>>,
    /// How much it may send, where that is limited.
    pub limiter: Option<Box<Limiter>>,
}

/// State bits of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(u8);

impl Flags {
    /// Is in the list of connections to flush.
    pub const DIRTY: Self = Self(1);
    /// The socket takes nothing more for now: what comes waits in the out-queue.
    pub const BLOCKED: Self = Self(1 << 1);
    /// Packets are not handled for now (a SUBACK or an outbox is waited for).
    pub const SUSPENDED: Self = Self(1 << 2);
    /// The plane was asked not to receive.
    pub const RECEIVE_PAUSED: Self = Self(1 << 3);
    /// Is being closed: nothing more is handled or delivered.
    pub const CLOSING: Self = Self(1 << 4);
    /// Said that it is a bridge: gets the RETAIN flag as published.
    pub const BRIDGE: Self = Self(1 << 5);
    /// Messages of its session wait for room in the out-queue.
    pub const STARVED: Self = Self(1 << 6);

    /// The client has closed its end; what came before is handled first.
    pub const PEER_CLOSED: Self = Self(1 << 7);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets bits.
    pub fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Clears bits.
    pub fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// An address and port without the padding of [`SocketAddr`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    ip: [u8; 16],
    port: [u8; 2],
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        Self {
            ip,
            port: address.port().to_be_bytes(),
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> Self {
        let ip = Ipv6Addr::from(peer.ip);
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        Self::new(ip, u16::from_be_bytes(peer.port))
    }
}

impl Connection {
    /// A connection that has just come home.
    pub fn new(session: u32, version: Version, listener: u8, peer: Peer) -> Self {
        Self {
            session,
            out: NONE,
            received: None,
            extra: None,
            last_heard: 0,
            max_packet_size: u32::MAX,
            keep_alive_s: None,
            pending_acks: 0,
            pending_pubacks: 0,
            awaits_index: 0,
            flags: Flags::default(),
            version,
            listener,
            offer: 0,
            peer,
        }
    }

    /// The rarely used state, made when first needed.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }
}

const _: () = assert!(
    size_of::<Connection>() <= 64 + 8,
    "a million connections must stay small"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_keeps_its_address() {
        for text in ["127.0.0.1:1883", "[::1]:80", "[2001:db8::7]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
        }
    }
}
