//! Bans: who is kept out at CONNECT, and who has to go when a ban is new.
//!
//! A ban is looked for on the accepting core, before anybody is asked for credentials, and again at
//! home, with the names that the login gave the client. Clients that come and go too often are banned
//! by their home core.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::bans::{Ban, BanTable, BanWho};
use crate::access::flapping::Flapping;
use crate::access::overload::Overload;
use crate::base::limits::{BAN_SWEEP_PER_TURN, BANS_MAX};
use crate::gate::manage::Page;
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::handshake::Handover;

/// What a core knows of those whom it does not let in.
pub struct Doorkeeper {
    bans: BanTable,
    /// Those of them that this core has made itself, in the order in which they were made.
    own: VecDeque<Arc<Ban>>,
    flapping: Flapping,
    overload: Overload,
    /// The next connection to be compared with the bans, while new ones have not been compared with
    /// all.
    sweep_at: Option<u32>,
}

impl Doorkeeper {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        Self {
            bans: BanTable::new(seed),
            own: VecDeque::new(),
            flapping: Flapping::new(seed),
            overload: Overload::default(),
            sweep_at: None,
        }
    }
}

impl Shard {
    /// Enters a ban; clients whom it means and who are connected have to go. Says whether there was
    /// room for it.
    pub fn ban(&mut self, ban: Arc<Ban>) -> bool {
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let client = match &ban.who {
            BanWho::ClientId(id) => Some(self.clients.registry.find(id)),
            _ => None,
        };
        let holds = ban.holds(now_unix_s);
        if !self.door.bans.add(ban, now_unix_s) {
            self.clients.metrics.inc(Counter::BannedRefused);
            return false;
        }
        match client {
            _ if !holds => {}
            Some(session) => {
                let session = session.and_then(|index| self.clients.registry.at(index));
                if let Some(slot) = session.map(|session| session.connection) {
                    self.kick_banned(slot);
                }
            }
            None => self.door.sweep_at = Some(0),
        }
        true
    }

    /// Lifts a ban; says whether there was one.
    pub fn unban(&mut self, who: &BanWho) -> bool {
        self.door.bans.remove(who)
    }

    /// The bans of this core.
    pub fn bans(&self) -> &BanTable {
        &self.door.bans
    }

    /// Why nobody like this may enter now.
    pub(super) fn turned_away(
        &self,
        client_id: &str,
        username: Option<&str>,
        peer: IpAddr,
    ) -> Result<(), ReasonCode> {
        if self.is_overloaded() {
            self.clients.metrics.inc(Counter::OverloadRefused);
            // 3.x knows it as "server unavailable".
            return Err(ReasonCode::ConnectionRateExceeded);
        }
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let ban = self.door.bans.find(client_id, username, peer, now_unix_s);
        if ban.is_some() {
            self.clients.metrics.inc(Counter::ClientBanned);
            return Err(ReasonCode::Banned);
        }
        Ok(())
    }

    /// Whether a client that has come home is banned under the names that it has now.
    pub(super) fn is_banned(&self, handover: &Handover) -> bool {
        let username = handover.identity.as_deref();
        let username = username.and_then(|identity| identity.username.as_deref());
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let peer = handover.peer.ip();
        let ban = self
            .door
            .bans
            .find(&handover.client_id, username, peer, now_unix_s);
        if ban.is_some() {
            self.clients.metrics.inc(Counter::ClientBanned);
        }
        ban.is_some()
    }

    /// A turn of the driver took so long.
    pub fn note_turn(&mut self, us: u64) {
        let (rules, now_ms) = (self.clients.rules.overload, self.clients.now.ms);
        if self.door.overload.note_turn(us, rules, now_ms) {
            self.clients.metrics.inc(Counter::OverloadBegun);
        }
    }

    /// Whether nobody new is let in, because the core has enough to do.
    pub fn is_overloaded(&self) -> bool {
        self.door.overload.is_closed(self.clients.now.ms)
    }

    /// A connection has ended: its client may be one of those that come and go too often.
    pub(super) fn note_disconnect(&mut self, session_index: u32, reason: CloseReason) {
        let Some(rules) = self.clients.rules.flapping else {
            return;
        };
        // What the broker itself ends is not the client's doing.
        if matches!(reason, CloseReason::Shutdown | CloseReason::Kicked) {
            return;
        }
        let now = self.clients.now;
        let Some(session) = self.clients.registry.at(session_index) else {
            return;
        };
        let client_id = &session.client_id;
        if !self.door.flapping.disconnected(client_id, rules, now.ms) {
            return;
        }
        let at_unix_s = now.unix_us / 1_000_000;
        let ban = Ban {
            who: BanWho::ClientId(client_id.as_str().into()),
            by: "flapping detector".into(),
            reason: "flapping is detected".into(),
            at_unix_s,
            until_unix_s: Some(at_unix_s + rules.ban_s),
        };
        self.clients.metrics.inc(Counter::ClientFlapping);
        let ban = Arc::new(ban);
        if !self.door.bans.add(Arc::clone(&ban), at_unix_s) {
            return self.clients.metrics.inc(Counter::BannedRefused);
        }
        let own = &mut self.door.own;
        while own.front().is_some_and(|old| !old.holds(at_unix_s)) || own.len() >= BANS_MAX {
            own.pop_front();
        }
        own.push_back(ban);
    }

    /// Some of the bans that this core has made itself and that hold, from a place on.
    pub fn own_bans(&self, from: u64, max: usize) -> Page<Arc<Ban>> {
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let own = &self.door.own;
        let rows = own.iter().skip(from).take(max);
        let holds = |ban: &&Arc<Ban>| ban.holds(now_unix_s) && self.door.bans.has(ban);
        let next = from.saturating_add(max);
        Page {
            rows: rows.filter(holds).cloned().collect(),
            next: (next < own.len()).then_some(next as u64),
        }
    }

    /// Compares some connections with the bans, while there are new ones; says whether there are more
    /// to compare.
    pub(super) fn sweep_banned(&mut self) -> bool {
        let Some(from) = self.door.sweep_at else {
            return false;
        };
        let bound = self.clients.connections.index_bound();
        let to = bound.min(from.saturating_add(BAN_SWEEP_PER_TURN));
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        let mut banned = Vec::new();
        for (key, connection) in self.clients.connections.iter_range(from, to) {
            let bans = &self.door.bans;
            let found = self.with_subject(connection, |subject| {
                bans.find(
                    subject.client_id,
                    subject.username,
                    subject.peer,
                    now_unix_s,
                )
                .is_some()
            });
            if found {
                banned.push(key.index);
            }
        }
        for slot in banned {
            self.kick_banned(slot);
        }
        self.door.sweep_at = (to < bound).then_some(to);
        self.door.sweep_at.is_some()
    }

    fn kick_banned(&mut self, slot: u32) {
        self.close(
            slot,
            CloseReason::Kicked,
            Some(ReasonCode::AdministrativeAction),
        );
    }
}
