//! The shard's part of an orderly shutdown, step by step as the driver is told.

use crate::gate::event::{Crossing, Tables};
use crate::metrics::Gauge;
use crate::mqtt::reason::ReasonCode;
use crate::session::state::NONE;
use crate::session::will::WillFate;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::Flags;

/// Clients that are told good-bye in one turn.
const FAREWELLS_PER_TURN: usize = 256;

impl Shard {
    /// From now on no client is taken in.
    pub fn stop_accepting(&mut self) {
        self.stopping = true;
    }

    /// From now on nothing that clients send is handled.
    pub fn stop_reading(&mut self) {
        self.deaf = true;
    }

    /// Publishes the wills of all sessions: in memory they end with the process.
    pub fn publish_all_wills(&mut self) {
        let sessions: Vec<u32> = self
            .clients
            .registry
            .iter()
            .map(|(index, _)| index)
            .collect();
        for session in sessions {
            let connection = self.clients.registry.at(session).map(|s| s.connection);
            self.judge_will(connection.unwrap_or(NONE));
            self.settle_will(session, WillFate::Publish);
        }
    }

    /// Tells a batch of clients that the broker stops, and closes them. Those whose socket takes
    /// nothing are left for later unless `force`. Says whether there may be more.
    pub fn farewell(&mut self, force: bool) -> bool {
        // In each turn from where the last one ended, so that all turns together see each client a few
        // times only.
        let from = std::mem::take(&mut self.farewell_at);
        let batch: Vec<u32> = self
            .clients
            .connections
            .iter_from(from)
            .filter(|(_, c)| {
                !c.flags.has(Flags::CLOSING) && (force || !c.flags.has(Flags::BLOCKED))
            })
            .take(FAREWELLS_PER_TURN)
            .map(|(key, _)| key.index)
            .collect();
        let code = match self.clients.rules.server_reference {
            Some(_) => ReasonCode::UseAnotherServer,
            None => ReasonCode::ServerShuttingDown,
        };
        for slot in &batch {
            self.close(*slot, CloseReason::Shutdown, Some(code));
        }
        if batch.len() == FAREWELLS_PER_TURN {
            self.farewell_at = batch.last().map_or(0, |slot| slot + 1);
        }
        !batch.is_empty() || from > 0
    }

    /// How far records to and from other cores have come.
    pub fn crossing(&self) -> Crossing {
        Crossing {
            staged: self.outboxes.staged_records(),
            taken: self.taken_records,
            idle: self.outboxes.is_empty() && self.pending_wills.is_empty() && self.acks.is_empty(),
        }
    }

    /// Sets the gauges of the tables.
    pub fn publish_figures(&mut self) {
        let lag_us = std::mem::take(&mut self.timer_lag_ms) * 1000;
        let (clients, metrics) = (&self.clients, &self.clients.metrics);
        let live = u64::from(clients.connections.len());
        metrics.set(Gauge::LiveConnections, live);
        metrics.set(Gauge::Connections, u64::from(clients.registry.len()));
        metrics.set(Gauge::Sessions, u64::from(clients.registry.len()));
        let shared = self.shares.memberships.len();
        let (groups, _) = self.shares.groups.counts();
        let all = (self.routes.local.len() + shared).saturating_sub(groups);
        metrics.set(Gauge::Subscriptions, all as u64);
        metrics.set(Gauge::SubscriptionsShared, shared as u64);
        metrics.set(Gauge::Retained, u64::from(self.routes.retained.len()));
        metrics.set(Gauge::Delayed, self.delayed.len() as u64);
        metrics.set(Gauge::QueuedBytes, clients.budget.used() as u64);
        metrics.set(Gauge::OutboxBytes, self.outboxes.bytes() as u64);
        let retained_bytes = self.routes.retained.bytes() as u64;
        metrics.set(Gauge::RetainedBytes, retained_bytes);
        metrics.set(Gauge::PartialBytes, clients.partial_bytes as u64);
        metrics.set(Gauge::TurnLagUs, lag_us);
        metrics.set(Gauge::Timers, clients.wheel.len() as u64);
    }

    /// The sizes of the tables.
    pub fn tables(&self) -> Tables {
        let mut tables = self.tables_at_a_glance();
        let clients = &self.clients;
        let (entries, bytes) = (clients.outs.len() as u64, clients.out_queue_bytes() as u64);
        tables.rows.push(("out-queues", entries, bytes));
        tables
    }

    /// The sizes of the tables but the out-queues, each of which would have to be looked at.
    pub fn tables_at_a_glance(&self) -> Tables {
        let clients = &self.clients;
        let row = |name, entries: usize, bytes: usize| (name, entries as u64, bytes as u64);
        Tables {
            rows: vec![
                row(
                    "connections",
                    clients.connections.len() as usize,
                    clients.connections.bytes(),
                ),
                row(
                    "sessions",
                    clients.registry.len() as usize,
                    clients.registry.session_bytes(),
                ),
                row(
                    "client ids",
                    clients.registry.len() as usize,
                    clients.registry.client_id_bytes(),
                ),
                row(
                    "local index",
                    self.routes.local.len(),
                    self.routes.local.bytes(),
                ),
                row(
                    "retained",
                    self.routes.retained.len() as usize,
                    self.routes.retained.bytes(),
                ),
                row(
                    "shared subscriptions",
                    self.shares.memberships.len(),
                    self.shares.memberships.bytes() + self.shares.groups.bytes(),
                ),
                row("timers", clients.wheel.len(), clients.wheel.bytes()),
                row("queued messages", 0, clients.budget.used()),
                row("outboxes", 0, self.outboxes.held_bytes()),
            ],
        }
    }
}
