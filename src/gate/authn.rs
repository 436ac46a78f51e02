//! Authentication between the planes: a core asks about a client whose CONNECT is well-formed (or
//! that authenticates again), the control plane answers once.
//!
//! Requests have a bounded channel of their own; so have the answers of each core. A core that finds
//! the first full refuses its client; an answer that never comes is given up by the core after
//! `authentication_settings.timeout`. Nothing here is printed that a log must not hold.

use std::fmt;
use std::net::SocketAddr;

use compact_str::CompactString;

use crate::base::envelope::PeerNames;
use crate::base::ids::CoreId;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;

/// Bytes that must not be kept or shown: overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes a copy.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Which client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The core that asks.
    pub core: CoreId,
    /// What waits there.
    pub place: Place,
    /// Tells one question from the next of the same place.
    pub serial: u64,
}

/// What waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A socket in handshake, by its number in the plane.
    Handshake(u32),
    /// A connected client that authenticates again, by its slot.
    Connection(u32),
}

/// A question about one client.
#[derive(Debug)]
pub struct AuthnRequest {
    /// Who asks.
    pub ticket: Ticket,
    /// The client id, after all settings that change it.
    pub client_id: CompactString,
    /// The user name, after all settings that change it.
    pub username: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret>,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener by which it came.
    pub listener: u8,
    /// What its certificate says.
    pub peer_names: Option<Box<PeerNames>>,
    /// Its protocol version.
    pub version: Version,
    /// A step of enhanced authentication.
    pub exchange: Option<Box<Exchange>>,
}

/// A step of enhanced authentication [MQTT5 4.12].
#[derive(Debug)]
pub struct Exchange {
    /// The method.
    pub method: Box<str>,
    /// What the client sent.
    pub data: Vec<u8>,
    /// What the method gave with its last answer; none at the first step.
    pub state: Option<Secret>,
    /// Whether the client is connected and authenticates again.
    pub again: bool,
}

/// The answer to one [`AuthnRequest`].
#[derive(Debug)]
pub struct AuthnAnswer {
    /// The one of the request.
    pub ticket: Ticket,
    /// What is decided.
    pub verdict: Verdict,
}

/// What is decided about a client.
#[derive(Debug)]
pub enum Verdict {
    /// Let in.
    Allow(Box<Grant>),
    /// Refused, for this reason.
    Deny(ReasonCode),
    /// Enhanced authentication goes on: the client is sent `data`, and `state` comes back with what it
    /// answers.
    Continue {
        /// For the client.
        data: Vec<u8>,
        /// For the method.
        state: Secret,
    },
    /// Too much to do: refused with 0x97.
    Busy,
    /// Nobody could say in time: refused with 0x88.
    Unavailable,
}

/// What a client that is let in gets with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// No access rule holds for it.
    pub superuser: bool,
    /// When it is to be disconnected, microseconds of UNIX time.
    pub expires_us: Option<u64>,
    /// Rules for this client alone, asked before all others.
    pub acl: Option<Box<ClientAcl>>,
    /// Named values for placeholders.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// The last data of enhanced authentication, for CONNACK or AUTH.
    pub data: Option<Vec<u8>>,
}

/// Rules that came with a client's authentication (JWT, HTTP).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAcl {
    /// In order; the first that fits decides.
    pub rules: Vec<ClientRule>,
    /// What no rule fits is denied (EMQX 4's form), not left to the other rules.
    pub denies_rest: bool,
}

/// One of a client's own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRule {
    /// Allows or denies.
    pub allow: bool,
    /// Holds for PUBLISH.
    pub publish: bool,
    /// Holds for SUBSCRIBE.
    pub subscribe: bool,
    /// A filter, with placeholders.
    pub topic: Box<str>,
    /// The topic is meant literally (`eq `).
    pub literal: bool,
    /// QoS for which it holds, a bit each; 7 for all.
    pub qos: u8,
    /// Whether it holds for retained (true) or other messages only.
    pub retain: Option<bool>,
}
