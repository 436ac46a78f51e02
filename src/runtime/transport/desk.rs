//! Where sockets go whose envelope takes long to begin (TLS handshakes): threads of their own, off
//! the latency path. The door hands a socket in; it comes back with its envelope through a channel
//! whose sender wakes the core, and [`Door::adopt`](crate::runtime::door::Door::adopt) goes on.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::base::envelope::{Envelope, PeerNames};
use crate::shard::close::CloseReason;

/// A socket on its way to the desk. Nothing is in flight for it.
#[derive(Debug)]
pub struct Errand {
    /// The socket: blocking, close-on-exec.
    pub fd: OwnedFd,
    /// The listener it came in by.
    pub listener: u8,
    /// The other end; what a PROXY header said has been taken over.
    pub peer: SocketAddr,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What came already, such as bytes behind a PROXY header.
    pub received: Vec<u8>,
    /// What a proxy in front said of the client's certificate.
    pub peer_names: Option<Box<PeerNames>>,
}

/// A socket that comes back.
#[derive(Debug)]
pub struct Adopted {
    /// The socket: blocking again, with nothing in flight.
    pub fd: OwnedFd,
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What its bytes go through from now on.
    pub envelope: Box<dyn Envelope>,
    /// What the envelope held already, unwrapped.
    pub plain: Vec<u8>,
    /// What the client's certificate says.
    pub peer_names: Option<Box<PeerNames>>,
}

/// What comes of an errand. The desk has closed the socket of one that failed.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on.
    Done(Box<Adopted>),
    /// It is over: the listener it came in by, and why.
    Failed(u8, CloseReason),
}

/// One core's way to the threads and back.
pub trait Desk: Send {
    /// Hands a socket in. Never waits.
    ///
    /// # Errors
    /// The errand, when there is no room.
    fn hand_in(&mut self, errand: Errand) -> Result<(), Errand>;

    /// The next that is over.
    fn hand_out(&mut self) -> Option<Outcome>;

    /// Whether [`Self::hand_out`] would find one. Asked before the core sleeps; whoever sends an
    /// outcome wakes the core after that.
    fn has_work(&self) -> bool;
}
