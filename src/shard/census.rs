//! What a shard holds, counted: for simulations, which know what it must be.

use crate::shard::Shard;

/// Entries of every table and queue that clients fill; all are 0 when there is no client.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs, reason = "the names of the tables")]
pub struct Census {
    pub connections: usize,
    pub sessions: usize,
    pub subscriptions: usize,
    pub filters: usize,
    pub pending_filters: usize,
    pub unsent_deltas: usize,
    pub out_queues: usize,
    pub outbox_bytes: usize,
    pub pending_acks: usize,
    pub pending_subacks: usize,
    pub pending_wills: usize,
    pub delayed: usize,
    pub exclusive: usize,
    pub suspended: usize,
    pub replays: usize,
    pub cursors: usize,
    pub queue_bytes: usize,
    pub memberships: usize,
    pub groups: usize,
    pub group_members: usize,
    pub group_messages: usize,
}

impl Shard {
    /// Counts everything.
    pub fn census(&self) -> Census {
        let (replays, cursors) = self.replays.counts();
        let (groups, group_members) = self.shares.groups.counts();
        Census {
            connections: self.clients.connections.len() as usize,
            sessions: self.clients.registry.len() as usize,
            subscriptions: self.routes.local.len(),
            filters: self.routes.local.filters_len(),
            pending_filters: self.routes.local.pending_len(),
            unsent_deltas: self.routes.local.dirty_len(),
            out_queues: self.clients.outs.len(),
            outbox_bytes: self.outboxes.bytes(),
            pending_acks: self.acks.len(),
            pending_subacks: self.subacks.len() as usize,
            pending_wills: self.pending_wills.len(),
            delayed: self.delayed.len(),
            exclusive: self.exclusive.len(),
            suspended: self.suspended.len(),
            replays,
            cursors,
            queue_bytes: self.clients.budget.used(),
            memberships: self.shares.memberships.len(),
            groups,
            group_members,
            group_messages: self.shares.groups.waiting(),
        }
    }
}
