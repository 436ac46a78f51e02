//! What cores ask about access, for sources that are no table in memory.
//!
//! A core asks once for each action and topic that its rules leave open and that it has no fresh answer
//! for. The connection handles nothing until all answers to its packet are there, or their time
//! (`authorization.timeout`) is over. Questions of one core are limited to
//! [`ACCESS_QUESTIONS_MAX`](crate::base::limits::ACCESS_QUESTIONS_MAX); further connections wait.

use std::net::SocketAddr;

use crate::access::acl::Action;
use crate::base::ids::CoreId;
use crate::base::slab::Key;

/// May this client do this?
#[derive(Clone, Debug)]
pub struct AccessQuestion {
    /// Goes back with the answer.
    pub ticket: AccessTicket,
    /// The client id.
    pub client_id: Box<str>,
    /// The user name, if there is one.
    pub username: Option<Box<str>>,
    /// The other end.
    pub peer: SocketAddr,
    /// The number of the listener the client came in by.
    pub listener: u8,
    /// The common name of its certificate.
    pub cert_common_name: Option<Box<str>>,
    /// The subject of its certificate.
    pub cert_subject: Option<Box<str>>,
    /// What its login said of it, by name.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// What it wants to do.
    pub action: Action,
    /// To which topic, or filter without the marks of a share.
    pub topic: Box<str>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessTicket {
    /// The core that asks.
    pub core: CoreId,
    /// The connection.
    pub connection: Key,
    /// The packet of that connection.
    pub packet: u64,
    /// The question about that packet.
    pub number: u16,
}

/// What others say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessReply {
    /// It may.
    Allow,
    /// It may not.
    Deny,
    /// None of them has anything to say.
    Ignore,
    /// They could not be asked. Counted, otherwise as if they had nothing to say.
    Unavailable,
}

/// The answer to one question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessAnswer {
    /// The one of the question.
    pub ticket: AccessTicket,
    /// What they say.
    pub reply: AccessReply,
}

/// An answer that is remembered for a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachedAccess {
    /// What it wants to do.
    pub action: Action,
    /// To which topic or filter.
    pub topic: Box<str>,
    /// Whether it may.
    pub allowed: bool,
    /// For how long this is remembered, milliseconds.
    pub ends_in_ms: u64,
}
