//! One shard's turn, as its driver does it; see `shard/mod.rs` for the order.

use crate::base::ids::CoreId;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::Connection;
use crate::shard::cross::{Parcel, stage_handover};
use crate::shard::handshake::{Handover, Handshake, Step};
use crate::shard::subscribe::IndexAnswer;
use crate::sim::net::{Stage, address_of, conn_of};
use crate::sim::world::{Phase, World};
use std::collections::{BTreeMap, VecDeque};

#[cfg(doc)]
use crate::shard::clients::Effects;

/// A shard and what its driver keeps.
pub struct Core {
    /// The shard.
    pub shard: Shard,
    /// Answers of the index thread that have come.
    pub answers: VecDeque<IndexAnswer>,
    /// Until this step of the world it does nothing.
    pub stalled_until: u64,
    /// When it last had a turn, milliseconds.
    pub turned_ms: u64,
    parked: bool,
    handshakes: BTreeMap<usize, Handshake>,
    /// Connections by slot.
    slots: BTreeMap<u32, usize>,
    /// Clients that came home in this turn, in order.
    arrivals: Vec<usize>,
}

/// What the kernel tells.
enum Completion {
    Bytes(usize, Vec<u8>),
    Ended(usize),
    Sent(usize),
}

impl Core {
    /// A core that sleeps.
    pub fn new(shard: Shard) -> Self {
        Self {
            shard,
            answers: VecDeque::new(),
            stalled_until: 0,
            turned_ms: 0,
            parked: true,
            handshakes: BTreeMap::new(),
            slots: BTreeMap::new(),
            arrivals: Vec::new(),
        }
    }

    /// A connection was accepted.
    pub fn accept(&mut self, conn: usize) {
        let handshake = self.shard.begin_handshake(0, address_of(conn));
        self.handshakes.insert(conn, handshake);
    }
}

impl World {
    /// Whether a core has a reason to wake up, or is awake.
    pub fn wants_turn(&self, core: usize) -> bool {
        let timer = self.cores[core].shard.next_timer_ms();
        timer.is_some_and(|at| at <= self.now.ms)
            || self.is_at_work(core)
            || self
                .open_conns_of(core)
                .any(|id| self.conns[id].has_input())
    }

    /// Whether a core has something to do but timers and what clients send.
    pub fn is_at_work(&self, core: usize) -> bool {
        !self.cores[core].answers.is_empty()
            || !self.cores[core].shard.may_sleep()
            || self.lanes_to(core).any(|lane| !lane.is_empty())
            || self.open_conns_of(core).any(|id| self.conns[id].closing)
    }

    /// One turn.
    pub fn turn(&mut self, core: usize) {
        let completions = self.take_completions(core);
        self.index_between();
        if self.cores[core].parked {
            self.cores[core].parked = false;
            self.cores[core].shard.unpark();
        }
        self.cores[core].shard.begin_turn(self.now);
        self.cores[core].turned_ms = self.now.ms;
        self.index_between();
        for completion in completions {
            self.complete(core, completion);
        }
        self.take_records(core);
        self.index_between();
        while let Some(answer) = self.cores[core].answers.pop_front() {
            self.cores[core].shard.index_applied(answer);
        }
        self.cores[core].shard.work();
        self.pull_deltas(core);
        self.flush(core);
        self.cores[core].shard.end_turn();
        self.carry_out(core);
        let chance = if self.phase >= Phase::Rest { 100 } else { 60 };
        if self.cores[core].shard.may_sleep() && self.rng.percent(chance) {
            self.cores[core].parked = true;
            self.cores[core].shard.park();
        }
    }

    /// Something of all that came; bytes cut at random places.
    fn take_completions(&mut self, core: usize) -> Vec<Completion> {
        let mut completions = Vec::new();
        let open: Vec<usize> = self.open_conns_of(core).collect();
        for id in open {
            let conn = &mut self.conns[id];
            if !conn.has_input() || self.rng.percent(30) {
                continue;
            }
            if conn.can_send() || conn.can_close() {
                completions.push(Completion::Sent(id));
            }
            if conn.paused || conn.closing {
                continue;
            }
            if !conn.up.is_empty() {
                let len = conn.up.len();
                let count = if self.rng.percent(50) {
                    len
                } else {
                    self.rng.range(1, len)
                };
                let bytes: Vec<u8> = conn.up.drain(..count).collect();
                completions.push(Completion::Bytes(id, bytes));
            } else if conn.up_ended && !conn.end_seen {
                conn.end_seen = true;
                completions.push(Completion::Ended(id));
            }
        }
        completions
    }

    fn complete(&mut self, core: usize, completion: Completion) {
        match completion {
            Completion::Bytes(id, bytes) => {
                self.conns[id].heard_ms = self.now.ms;
                match self.conns[id].stage {
                    Stage::Handshake(_) => self.handshake_bytes(core, id, &bytes),
                    Stage::Home(_, slot) => self.cores[core].shard.receive(slot, &bytes),
                    Stage::Crossing | Stage::Closed => {}
                }
            }
            Completion::Ended(id) => match self.conns[id].stage {
                Stage::Handshake(_) => {
                    self.cores[core].handshakes.remove(&id);
                    let shard = &mut self.cores[core].shard;
                    shard.handshake_ended(0, CloseReason::Closed);
                    self.close_conn(id);
                }
                Stage::Home(_, slot) => {
                    self.cores[core]
                        .shard
                        .peer_closed(slot, CloseReason::Closed);
                }
                Stage::Crossing | Stage::Closed => {}
            },
            Completion::Sent(id) => self.go_on_sending(core, id),
        }
    }

    fn handshake_bytes(&mut self, core: usize, id: usize, bytes: &[u8]) {
        let Some(mut handshake) = self.cores[core].handshakes.remove(&id) else {
            return;
        };
        let shard = &mut self.cores[core].shard;
        match shard.handshake_bytes(&mut handshake, bytes) {
            Step::Wait => {
                self.cores[core].handshakes.insert(id, handshake);
            }
            Step::Refuse(answer) => {
                self.conns[id].sending.extend(answer);
                self.conns[id].push_down();
                self.close_conn(id);
            }
            Step::Say(_) | Step::Ask(_) => {
                debug_assert!(false, "nobody is authenticated in the simulation");
            }
            Step::Home(home, handover) => {
                self.conns[id].stage = Stage::Crossing;
                if home.index() == core {
                    self.arrive(core, handover);
                } else {
                    stage_handover(&mut shard.outboxes, home, handover);
                }
            }
        }
    }

    fn arrive(&mut self, core: usize, handover: Box<Handover>) {
        self.cores[core].arrivals.push(conn_of(handover.peer));
        self.cores[core].shard.arrive(handover);
    }

    fn take_records(&mut self, core: usize) {
        let count = self.cores.len();
        let first = self.rng.below(count);
        for from in (0..count).map(|offset| (first + offset) % count) {
            // All that is there: what asks for stored messages relies on it.
            while let Some((record, parcel)) = self.lane(from, core).take() {
                self.stats.records_crossed += 1;
                if let Some(Parcel::Handover(handover)) = &parcel {
                    self.cores[core].arrivals.push(conn_of(handover.peer));
                }
                let from = CoreId(u8::try_from(from).unwrap_or(0));
                self.cores[core].shard.take_record(from, &record, parcel);
            }
        }
        self.cores[core].shard.lanes_emptied();
    }

    fn pull_deltas(&mut self, core: usize) {
        while self.index.has_room(core) {
            let Some(delta) = self.cores[core].shard.next_delta() else {
                return;
            };
            self.index.send(core, delta);
        }
    }

    fn flush(&mut self, core: usize) {
        let targets: Vec<CoreId> = self.cores[core].shard.outboxes.waiting().collect();
        for target in targets {
            let at = core * self.cores.len() + target.index();
            let lane = &mut self.lanes[at];
            if lane.stalled_until > self.step {
                continue;
            }
            let outboxes = &mut self.cores[core].shard.outboxes;
            outboxes.flush(target, |staged| lane.flush(staged));
            if outboxes.waiting().any(|core| core == target) {
                self.stats.lanes_full += 1;
            }
        }
    }

    /// Does what the shard asks for, in the order of [`Effects`].
    fn carry_out(&mut self, core: usize) {
        let mut effects = std::mem::take(&mut self.cores[core].shard.clients.effects);
        let mut arrivals = std::mem::take(&mut self.cores[core].arrivals);
        for (key, _) in effects.install.drain(..) {
            let connections = &self.cores[core].shard.clients.connections;
            let Some(peer) = connections.at(key.index).map(|c: &Connection| c.peer) else {
                self.ledger
                    .fail("a connection to be installed is not there");
                return;
            };
            let id = conn_of(peer.into());
            arrivals.retain(|arrival| *arrival != id);
            self.conns[id].stage = Stage::Home(core, key.index);
            self.conns[id].heard_ms = self.now.ms;
            let old = self.cores[core].slots.insert(key.index, id);
            if old.is_some() {
                self.ledger.fail("a slot was given away twice");
            }
        }
        for ((_, _, answer), id) in effects.refuse.drain(..).zip(arrivals) {
            self.conns[id].sending.extend(answer);
            self.conns[id].push_down();
            self.close_conn(id);
            self.stats.refused += 1;
        }
        self.cores[core]
            .shard
            .clients
            .effects
            .dirty
            .append(&mut effects.dirty);
        self.send_dirty(core);
        for (slots, paused) in [(effects.pause, true), (effects.resume, false)] {
            for slot in slots {
                if let Some(id) = self.cores[core].slots.get(&slot) {
                    self.conns[*id].paused = paused;
                    self.stats.pauses += u64::from(paused);
                }
            }
        }
        for key in effects.close {
            if let Some(id) = self.cores[core].slots.get(&key.index).copied() {
                self.conns[id].closing = true;
                let unread = !self.conns[id].up.is_empty();
                self.ledger.server_ends(id, unread, self.now.ms);
                self.try_close(core, id);
            }
        }
    }

    fn send_dirty(&mut self, core: usize) {
        loop {
            let clients = &mut self.cores[core].shard.clients;
            let dirty = std::mem::take(&mut clients.effects.dirty);
            if dirty.is_empty() {
                return;
            }
            for slot in dirty {
                let clients = &mut self.cores[core].shard.clients;
                let Some(out) = clients.take_out(slot) else {
                    continue;
                };
                let Some(id) = self.cores[core].slots.get(&slot).copied() else {
                    self.ledger.fail("bytes for a slot without a connection");
                    return;
                };
                for run in out.runs() {
                    self.conns[id].sending.extend(run);
                }
                self.conns[id].push_down();
                let clients = &mut self.cores[core].shard.clients;
                clients.give_spare(out);
                if !self.conns[id].sending.is_empty() {
                    clients.blocked(slot);
                    self.stats.blocks += 1;
                }
            }
        }
    }

    /// A socket takes bytes again, or a connection waits to be closed.
    fn go_on_sending(&mut self, core: usize, id: usize) {
        if self.conns[id].closing {
            return self.try_close(core, id);
        }
        self.conns[id].push_down();
        if let (true, Stage::Home(_, slot)) =
            (self.conns[id].sending.is_empty(), self.conns[id].stage)
        {
            self.cores[core].shard.drained(slot);
        }
    }

    /// Closes what has nothing more to send, or takes too long over it.
    fn try_close(&mut self, core: usize, id: usize) {
        let Stage::Home(_, slot) = self.conns[id].stage else {
            return;
        };
        self.conns[id].push_down();
        if self.conns[id].sending.is_empty()
            && let Some(out) = self.cores[core].shard.clients.force_out(slot)
        {
            for run in out.runs() {
                self.conns[id].sending.extend(run);
            }
            self.cores[core].shard.clients.give_spare(out);
            self.conns[id].push_down();
        }
        let patience = if self.ledger.is_abandoned(id) { 50 } else { 2 };
        if self.conns[id].sending.is_empty() || self.rng.percent(patience) {
            self.cores[core].slots.remove(&slot);
            self.cores[core].shard.slot_closed(slot);
            self.close_conn(id);
        }
    }

    fn close_conn(&mut self, id: usize) {
        let unread = !self.conns[id].up.is_empty();
        self.conns[id].close(self.now.ms);
        self.ledger.server_ends(id, unread, self.now.ms);
        self.open.retain(|open| *open != id);
    }
}
