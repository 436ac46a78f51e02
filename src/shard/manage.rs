//! What operators ask of a core, carried out in bounded steps.
//!
//! A step gives out at most [`MANAGE_ROWS_PER_STEP`] entries and looks at no more than
//! [`MANAGE_SCAN_PER_STEP`]; the driver takes up [`MANAGE_STEPS_PER_TURN`] of them a turn. A list is
//! walked by the places of its table: an entry never moves, so who is there from the first page to the
//! last is on exactly one of them, whatever comes and goes meanwhile.
//!
//! [`MANAGE_ROWS_PER_STEP`]: crate::base::limits::MANAGE_ROWS_PER_STEP
//! [`MANAGE_SCAN_PER_STEP`]: crate::base::limits::MANAGE_SCAN_PER_STEP
//! [`MANAGE_STEPS_PER_TURN`]: crate::base::limits::MANAGE_STEPS_PER_TURN

mod clients;
mod delayed;
mod messages;
mod subscriptions;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use crate::base::limits::MANAGE_ROWS_PER_STEP;
use crate::gate::manage::{Manage, Page};
use crate::shard::Shard;

impl Shard {
    /// Carries out one step and answers it.
    pub fn manage(&mut self, request: Manage) {
        match request {
            Manage::Clients {
                from,
                query,
                max,
                reply,
            } => reply.send(self.list_clients(from, &query, rows(max))),
            Manage::Client { client_id, reply } => {
                let found = self.clients.registry.find(&client_id);
                reply.send(found.and_then(|index| self.client_row(index)));
            }
            Manage::Kick { client_id, reply } => reply.send(self.kick(&client_id)),
            Manage::KeepAlive {
                client_id,
                seconds,
                reply,
            } => reply.send(self.set_keep_alive(&client_id, seconds)),
            Manage::Subscribe {
                client_id,
                filters,
                reply,
            } => self.subscribe_for(&client_id, &filters, reply),
            Manage::Unsubscribe {
                client_id,
                filters,
                reply,
            } => reply.send(self.unsubscribe_for(&client_id, &filters)),
            Manage::SubscriptionsOf {
                client_id,
                from,
                max,
                reply,
            } => reply.send(self.subscriptions_of(&client_id, from, rows(max))),
            Manage::Subscriptions {
                from,
                query,
                max,
                reply,
            } => reply.send(self.list_subscriptions(from, &query, rows(max))),
            Manage::Topics { from, max, reply } => reply.send(self.list_topics(from, rows(max))),
            Manage::Topic { filter, reply } => reply.send(self.is_wanted(&filter)),
            about_messages => self.manage_messages(about_messages),
        }
    }

    fn manage_messages(&mut self, request: Manage) {
        match request {
            Manage::Messages {
                client_id,
                which,
                from,
                max,
                reply,
            } => reply.send(self.messages_of(&client_id, which, from, rows(max))),
            Manage::Publish { message, reply } => reply.send(self.publish_for(&message)),
            Manage::Retained {
                filter,
                payloads,
                bookmark,
                max,
                reply,
            } => reply.send(self.list_retained((&filter, payloads), bookmark, rows(max))),
            Manage::RetainedOf { topic, reply } => reply.send(self.retained_of(&topic)),
            Manage::ForgetRetained { topic, reply } => reply.send(self.forget_retained(&topic)),
            Manage::Announce {
                messages,
                from,
                reply,
            } => reply.send(self.announce(&messages, from)),
            Manage::IsSysWanted { reply } => reply.send(self.is_sys_wanted()),
            Manage::Refresh { reply } => {
                self.publish_figures();
                reply.send(());
            }
            Manage::Tables { reply } => reply.send(self.tables_at_a_glance()),
            Manage::Look { at, reply } => {
                self.look(at);
                reply.send(());
            }
            Manage::SlowSubs { forget, reply } => reply.send(self.slow_subs(forget)),
            Manage::Delayed(about) => self.manage_delayed(about),
            _ => debug_assert!(false, "every request has its step"),
        }
    }
}

fn rows(max: usize) -> usize {
    max.min(MANAGE_ROWS_PER_STEP)
}

/// A page of what `look` finds at the places from `from` on, up to `bound`; it looks at `scan` places
/// at most.
fn walk<T>(
    from: u32,
    bound: u32,
    (max, scan): (usize, usize),
    mut look: impl FnMut(u32) -> Option<T>,
) -> Page<T> {
    let mut rows = Vec::new();
    let mut at = from;
    let end = from.saturating_add(u32::try_from(scan).unwrap_or(u32::MAX));
    while at < bound && at < end && rows.len() < max {
        rows.extend(look(at));
        at += 1;
    }
    Page {
        rows,
        next: (at < bound).then_some(u64::from(at)),
    }
}

/// The place that a cursor names.
fn place(from: u64) -> u32 {
    u32::try_from(from).unwrap_or(u32::MAX)
}
