//! A simulated client: what it remembers. What it does is in `act.rs`, what it hears in `hear.rs`.

use std::collections::{BTreeMap, VecDeque};

use crate::mqtt::version::Version;

/// Where a client is in the life of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No connection.
    Away,
    /// CONNECT was sent.
    Greeting,
    /// CONNACK came.
    Online,
    /// DISCONNECT was sent; the broker is to close.
    Leaving,
}

/// What an outgoing message of QoS 1 or 2 waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaits {
    /// PUBACK.
    Ack,
    /// PUBREC.
    Rec,
    /// PUBCOMP.
    Comp,
}

/// An outgoing message of QoS 1 or 2.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Its packet identifier.
    pub packet_id: u16,
    /// The message.
    pub message: usize,
    /// What it waits for.
    pub awaits: Awaits,
}

/// An acknowledgement that the client owes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owed {
    /// PUBACK.
    Ack(u16),
    /// PUBREC.
    Rec(u16),
    /// PUBCOMP.
    Comp(u16),
}

/// A SUBSCRIBE or UNSUBSCRIBE that is not answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its packet identifier.
    pub packet_id: u16,
    /// UNSUBSCRIBE.
    pub unsubscribe: bool,
    /// The ledger's subscriptions, in the order of the filters; for SUBSCRIBE with the version.
    pub subscriptions: Vec<(usize, usize)>,
}

/// A client of one client id.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its client id.
    pub name: String,
    /// Protocol version.
    pub version: Version,
    /// Its sessions outlive connections.
    pub persistent: bool,
    /// Session expiry it asks for (5.0).
    pub expiry_s: u32,
    /// Receive Maximum it asks for (5.0).
    pub receive_maximum: u16,
    /// Keep-alive it asks for.
    pub keep_alive_s: u16,
    /// Reads seldom.
    pub slow: bool,
    /// Fights over a client id: its promises are not checked.
    pub rival: bool,
    /// Messages it may still publish.
    pub to_publish: usize,
    /// Its connection.
    pub conn: Option<usize>,
    /// Its last connection.
    pub last_conn: Option<usize>,
    /// Where it is.
    pub state: State,
    /// Bytes that are no whole packet yet.
    pub inbox: Vec<u8>,
    /// Its session in the ledger.
    pub session: Option<usize>,
    /// Outgoing messages, oldest first.
    pub out: Vec<Outgoing>,
    /// The packet identifier used last.
    pub packet_id: u16,
    /// PUBACK and PUBREC in the order in which they have to come on this connection.
    pub acks_due: VecDeque<(Awaits, u16)>,
    /// Incoming QoS 2 messages that are not released.
    pub unreleased: BTreeMap<u16, usize>,
    /// Acknowledgements it owes.
    pub owed: VecDeque<Owed>,
    /// The packet identifier that the broker used last.
    pub last_id: u16,
    /// A message without DUP came on this connection.
    pub fresh_seen: bool,
    /// Topic aliases that the broker has set up on this connection.
    pub aliases_heard: BTreeMap<u16, String>,
    /// Messages of QoS 1 and 2 that it has not acknowledged on this connection.
    pub outstanding: usize,
    /// Requests that are not answered, oldest first.
    pub asked: VecDeque<Asked>,
    /// PINGRESPs to come.
    pub pings: usize,
    /// The broker has said DISCONNECT on this connection.
    pub disconnected: bool,
    /// It has sent nothing but pings since it last sent something else that was read.
    pub only_pings: bool,
    /// When it last sent something, milliseconds.
    pub sent_ms: u64,
    /// Topic aliases it has set up on this connection.
    pub aliases: BTreeMap<u16, String>,
    /// It has subscribed, where that comes before everything else.
    pub ready: bool,
    /// It is done: its session is to end.
    pub done: bool,
}

impl Client {
    /// A packet identifier that is free.
    pub fn next_packet_id(&mut self) -> u16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            let id = self.packet_id;
            let used = self.out.iter().any(|out| out.packet_id == id)
                || self.asked.iter().any(|asked| asked.packet_id == id);
            if !used {
                return id;
            }
        }
    }

    /// Forgets what belongs to a connection.
    pub fn forget_connection(&mut self) {
        self.inbox.clear();
        self.acks_due.clear();
        self.owed.clear();
        self.fresh_seen = false;
        self.outstanding = 0;
        self.asked.clear();
        self.pings = 0;
        self.disconnected = false;
        self.aliases.clear();
        self.aliases_heard.clear();
    }

    /// Forgets what belongs to a session.
    pub fn forget_session(&mut self) {
        self.out.clear();
        self.unreleased.clear();
        self.last_id = 0;
    }

    /// Whether nothing is left to be done but by the broker.
    pub fn is_idle(&self) -> bool {
        self.state == State::Online
            && self.out.is_empty()
            && self.owed.is_empty()
            && self.asked.is_empty()
            && self.unreleased.is_empty()
    }
}
