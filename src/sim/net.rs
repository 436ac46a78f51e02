//! Sockets: bytes each way, with limits, and how each end ended.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where a connection is, as the broker sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// In handshake on this core.
    Handshake(usize),
    /// On its way home.
    Crossing,
    /// At home: core and slot.
    Home(usize, u32),
    /// Gone.
    Closed,
}

/// One TCP connection from a client.
#[derive(Debug)]
pub struct Conn {
    /// The client.
    pub client: usize,
    /// Where the broker has it.
    pub stage: Stage,
    /// Bytes from the client that the broker has not read.
    pub up: VecDeque<u8>,
    /// The client has closed: nothing comes after `up`.
    pub up_ended: bool,
    /// The end of `up` was seen by the broker.
    pub end_seen: bool,
    /// Bytes that the client has not read.
    pub down: VecDeque<u8>,
    /// Most bytes in `down`.
    pub down_capacity: usize,
    /// The rest of a send that the socket had no room for.
    pub sending: VecDeque<u8>,
    /// The broker has said that it wants no bytes for now.
    pub paused: bool,
    /// The broker wants to close when everything is sent.
    pub closing: bool,
    /// When bytes last came to the broker, milliseconds.
    pub heard_ms: u64,
    /// When the broker closed, milliseconds.
    pub closed_ms: Option<u64>,
}

impl Conn {
    /// A connection that has just been accepted by `core`.
    pub fn new(client: usize, core: usize, down_capacity: usize, now_ms: u64) -> Self {
        Self {
            client,
            stage: Stage::Handshake(core),
            up: VecDeque::new(),
            up_ended: false,
            end_seen: false,
            down: VecDeque::new(),
            down_capacity,
            sending: VecDeque::new(),
            paused: false,
            closing: false,
            heard_ms: now_ms,
            closed_ms: None,
        }
    }

    /// Whether the broker has something to do for it.
    pub fn has_input(&self) -> bool {
        let readable = !self.paused && !self.closing && !self.up.is_empty();
        let ended = !self.closing && self.up_ended && self.up.is_empty() && !self.end_seen;
        readable || ended || self.can_send() || self.can_close()
    }

    /// Whether a send can go on (or fail).
    pub fn can_send(&self) -> bool {
        !self.sending.is_empty() && (self.up_ended || self.down.len() < self.down_capacity)
    }

    /// Whether it is to be closed: soon, even if the client does not read.
    pub fn can_close(&self) -> bool {
        self.closing && self.stage != Stage::Closed
    }

    /// Moves what there is room for from `sending` to the client.
    pub fn push_down(&mut self) {
        if self.up_ended {
            // Nobody is there: the kernel drops it.
            self.sending.clear();
            return;
        }
        let room = self.down_capacity.saturating_sub(self.down.len());
        let count = room.min(self.sending.len());
        self.down.extend(self.sending.drain(..count));
    }

    /// The broker has closed.
    pub fn close(&mut self, now_ms: u64) {
        self.stage = Stage::Closed;
        self.closed_ms = Some(now_ms);
        self.sending.clear();
        self.up.clear();
    }
}

/// The address that names a connection to the shard.
pub fn address_of(conn: usize) -> SocketAddr {
    let bits = 0x0A00_0000 | u32::try_from(conn).unwrap_or(0);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), 1)
}

/// The connection that an address names.
pub fn conn_of(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => (ip.to_bits() & 0x00FF_FFFF) as usize,
        IpAddr::V6(_) => usize::MAX,
    }
}
