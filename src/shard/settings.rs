//! Other settings from now on: the only place where a core's rules change.

use std::sync::Arc;

use crate::gate::rules::Rules;
use crate::shard::addons::DeliverySwitches;
use crate::shard::rewrite::Rewriter;
use crate::shard::{Shard, retained_limits};

impl Shard {
    /// These rules hold from this turn on. What a connection was told at its CONNECT stays its own, as
    /// do its window, its keep-alive and the topic that its listener puts before its own.
    ///
    /// What memory the core has, and how many connections, was settled at its start.
    pub fn set_rules(&mut self, rules: &Rules) {
        let clients = &mut self.clients;
        let mut rules = rules.clone();
        // A reload of access rules that came in between is not undone.
        if rules.access.version < clients.rules.access.version {
            rules.access = Arc::clone(&clients.rules.access);
        }
        rules.queue_memory_bytes = clients.rules.queue_memory_bytes;
        rules.max_connections = clients.rules.max_connections;
        let addons = &rules.addons;
        clients.switches = DeliverySwitches::new(addons);
        self.rewriter = Rewriter::new(&addons.rewrite);
        self.changes_topics = !self.rewriter.keeps_topics() || addons.has_mountpoints();
        self.delayed
            .set_limit(addons.max_delayed_messages, self.cores);
        let limits = retained_limits(&rules, self.cores);
        self.routes.retained.set_limits(limits);
        clients.offers.change((&rules).into(), &clients.connections);
        clients.rules = rules;
    }
}
