//! Clients: lists, look-ups, and what ends or changes one.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use crate::base::limits::MANAGE_SCAN_PER_STEP;
use crate::gate::manage::{ClientQuery, ClientRow, ConnectionRow, Page, SeenClient};
use crate::mqtt::reason::ReasonCode;
use crate::session::state::{NONE, Session};
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::{Connection, Flags};
use crate::shard::manage::{place, walk};
use crate::shard::timers::Timer;

impl Shard {
    pub(super) fn list_clients(
        &self,
        from: u64,
        query: &ClientQuery,
        max: usize,
    ) -> Page<ClientRow> {
        let bound = self.clients.registry.index_bound();
        walk(place(from), bound, (max, MANAGE_SCAN_PER_STEP), |index| {
            let session = self.clients.registry.at(index)?;
            self.fits(session, query).then(|| self.client_row(index))?
        })
    }

    /// What is known of the session at an index and of its connection.
    pub(super) fn client_row(&self, index: u32) -> Option<ClientRow> {
        let session = self.clients.registry.at(index)?;
        let traffic = session.traffic.as_ref();
        let connection = self.clients.connections.at(session.connection);
        Some(ClientRow {
            client_id: session.client_id.clone(),
            username: session.username().map(Into::into),
            version: session.version,
            clean_start: session.clean_start,
            created_s: self.unix_s(session.created_s),
            since_s: self.unix_s(session.since_s),
            expiry_s: session.expiry_s,
            subscriptions: session.subscriptions,
            inflight: traffic.map_or(0, |traffic| traffic.inflight.len()),
            inflight_max: session.window,
            queued: traffic.map_or(0, |traffic| traffic.queue.len()),
            awaiting_rel: traffic.map_or(0, |traffic| traffic.awaiting_rel.len()),
            connection: connection.map(|connection| self.connection_row(connection)),
        })
    }

    fn connection_row(&self, connection: &Connection) -> ConnectionRow {
        ConnectionRow {
            peer: connection.peer.into(),
            listener: connection.listener,
            keep_alive_s: connection.keep_alive_s.map_or(0, NonZeroU16::get),
            is_bridge: connection.flags.has(Flags::BRIDGE),
            out_bytes: self.clients.out_bytes(connection),
        }
    }

    /// A second since process start as UNIX time.
    fn unix_s(&self, second: u32) -> u64 {
        let now = self.clients.now;
        let ago = now.seconds().saturating_sub(u64::from(second));
        (now.unix_us / 1_000_000).saturating_sub(ago)
    }

    fn fits(&self, session: &Session, query: &ClientQuery) -> bool {
        let connection = self.clients.connections.at(session.connection);
        query.holds(&SeenClient {
            client_id: &session.client_id,
            username: session.username(),
            connected: session.is_connected(),
            clean_start: session.clean_start,
            version: session.version,
            created_s: self.unix_s(session.created_s),
            since_s: self.unix_s(session.since_s),
            queued: waiting(session),
            ip: connection.map(|c| SocketAddr::from(c.peer).ip()),
        })
    }

    /// Ends a session by an operator's wish: a 5.0 client is told, the will is published, nothing
    /// stays. False if there is none.
    pub fn kick(&mut self, client_id: &str) -> bool {
        let Some(index) = self.clients.registry.find(client_id) else {
            return false;
        };
        let slot = self
            .clients
            .registry
            .at(index)
            .map_or(NONE, |s| s.connection);
        if slot != NONE {
            let tell = Some(ReasonCode::AdministrativeAction);
            self.disconnect(slot, CloseReason::Kicked, tell);
        }
        self.end_session(index);
        true
    }

    /// Changes the keep-alive of a connected client; false if there is none.
    pub(super) fn set_keep_alive(&mut self, client_id: &str, seconds: u16) -> bool {
        let Some(slot) = self.connected_slot(client_id) else {
            return false;
        };
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return false;
        };
        let before = connection.keep_alive_s;
        connection.keep_alive_s = NonZeroU16::new(seconds);
        // A timer that is there asks again by itself, but later than a shorter interval ends.
        let sooner = before.is_none_or(|before| seconds < before.get());
        if let (true, Some(at_ms)) = (sooner, self.keep_alive_deadline_ms(slot)) {
            self.arm(Timer::KeepAlive, slot, at_ms);
        }
        true
    }

    /// The connection of a client, if it has one that is not about to end.
    pub(super) fn connected_slot(&self, client_id: &str) -> Option<u32> {
        let index = self.clients.registry.find(client_id)?;
        let slot = self.clients.registry.at(index)?.connection;
        let connection = self.clients.connections.at(slot)?;
        (!connection.flags.has(Flags::CLOSING)).then_some(slot)
    }
}

fn waiting(session: &Session) -> u64 {
    session.traffic.as_ref().map_or(0, |t| t.queue.len() as u64)
}
