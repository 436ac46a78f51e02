//! One core's turn: the plane's completions, the inboxes, the shard's work, the outboxes, the
//! effects; in this order, each step bounded (architecture: "One core").
//!
//! The index's epoch is passed when the turn's completions have been taken from the kernel and before
//! the first of them is handled: a PUBLISH that came after a SUBACK is matched with its subscription.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::envelope::EnvelopeEnd;
use crate::base::ids::CoreId;
use crate::base::limits::{FAREWELL_MS, MANAGE_STEPS_PER_TURN, MESH_BYTES_PER_TURN};
use crate::base::slab::Key;
use crate::gate::authn::{AuthnAnswer, Place, Verdict};
use crate::gate::command::Command;
use crate::gate::event::{Tables, What};
use crate::gate::port::GatePort;
use crate::metrics::{Counter, Gauge, Latency};
use crate::runtime::allocator;
use crate::runtime::clock::Clock;
use crate::runtime::completion::{Completion, PlaneCounters, Wait};
use crate::runtime::door::Door;
use crate::runtime::front::Front;
use crate::runtime::indexer::IndexPort;
use crate::runtime::mesh::MeshEnd;
use crate::runtime::park::{CoreLoop, Next};
use crate::runtime::plane::{Actions, Plane};
use crate::runtime::transport::desk::Desk;
use crate::runtime::transport::table::Envelopes;
use crate::runtime::wake::Wakers;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::Flags;
use crate::shard::cross::Parcel;
use crate::shard::handshake::ClientSocket;
use crate::shard::outgoing::Outgoing;

/// Sleep while something waits that no event announces: room in a full ring, an epoch of another
/// core, a client that does not read.
const POLL: Duration = Duration::from_micros(500);
/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Figures that the shard does not count itself are copied to the metrics so often.
const FIGURES_EVERY_MS: u64 = 500;
/// Memory that was not needed for so long is given back.
const TRIM_EVERY_MS: u64 = 10_000;
/// So much trimmed memory is the end of a burst, whose memory the allocator is to give back as well.
const GIVE_BACK_BYTES: usize = 64 * 1024;
/// Bytes of an envelope's own answers (pongs, TLS records) that may wait for a client that does not
/// read: some hundred pings that nobody needs answered twice.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Generations as the plane reports them.
const GENERATION_MASK: u32 = crate::runtime::completion::GENERATION_MASK;

/// What a core is made of, apart from its plane, which its own thread makes.
pub struct CoreParts {
    /// Its core.
    pub core: CoreId,
    /// The broker of the core.
    pub shard: Shard,
    /// The rings to and from the other cores.
    pub mesh: MeshEnd<Parcel>,
    /// The rings to and from the index thread.
    pub index: IndexPort,
    /// The way to and from the control plane.
    pub gate: GatePort,
    /// How to wake the others.
    pub wakers: Arc<Wakers>,
    /// The listeners, by number.
    pub listeners: Arc<[Front]>,
    /// Where sockets of TLS listeners go first, if there are any.
    pub desk: Option<Box<dyn Desk>>,
    /// Sockets that this core may have in handshake.
    pub handshakes_max: usize,
    /// The clock of all cores.
    pub clock: Clock,
}

/// A core at work.
pub struct Core {
    plane: Plane,
    inner: Inner,
    slept: bool,
    counted: PlaneCounters,
    figures_at_ms: u64,
    trim_at_ms: u64,
}

/// Everything but the plane, which calls back into it.
struct Inner {
    shard: Shard,
    mesh: MeshEnd<Parcel>,
    index: IndexPort,
    gate: GatePort,
    wakers: Arc<Wakers>,
    door: Door,
    envelopes: Envelopes,
    clock: Clock,
    farewell: Option<Farewell>,
    exit: bool,
}

/// The last step of a shutdown in progress.
struct Farewell {
    /// When clients that do not read are cut.
    force_at_ms: u64,
}

impl Core {
    /// Takes up work on this thread.
    ///
    /// # Errors
    /// When the core cannot be woken for want of descriptors.
    pub fn new(parts: CoreParts, mut plane: Plane) -> io::Result<Self> {
        parts.wakers.join(parts.core.index(), &mut plane)?;
        parts.gate.tell(What::Started);
        let mut door = Door::new(parts.listeners, parts.handshakes_max);
        if let Some(desk) = parts.desk {
            door.set_desk(desk);
        }
        let inner = Inner {
            shard: parts.shard,
            mesh: parts.mesh,
            index: parts.index,
            gate: parts.gate,
            wakers: parts.wakers,
            door,
            envelopes: Envelopes::default(),
            clock: parts.clock,
            farewell: None,
            exit: false,
        };
        Ok(Self {
            plane,
            inner,
            slept: false,
            counted: PlaneCounters::default(),
            figures_at_ms: 0,
            trim_at_ms: 0,
        })
    }

    /// What the core wants now that its turn is over.
    fn next(&mut self, more: bool) -> Next {
        let inner = &mut self.inner;
        if inner.exit {
            return Next::Stop;
        }
        if more || inner.has_inbox_work() || !inner.shard.clients.effects.is_empty() {
            return Next::Again;
        }
        let polls = !inner.shard.may_sleep() || inner.farewell.is_some();
        let now_ms = inner.shard.clients.now.ms;
        let linger = self.plane.linger_left().unwrap_or(SLEEP_MAX);
        let due_ms = [inner.shard.next_timer_ms(), inner.door.next_due_ms()];
        let wait_ms = due_ms
            .into_iter()
            .flatten()
            .min()
            .map(|due| due.saturating_sub(now_ms));
        let sleep = wait_ms
            .map_or(SLEEP_MAX, Duration::from_millis)
            .min(SLEEP_MAX)
            .min(linger);
        Next::Idle {
            at_most: if polls { sleep.min(POLL) } else { sleep },
        }
    }

    /// Gives back what bursts have left behind, now and then.
    fn trim(&mut self) {
        let inner = &mut self.inner;
        let now_ms = inner.shard.clients.now.ms;
        if now_ms < self.trim_at_ms {
            return;
        }
        self.trim_at_ms = now_ms + TRIM_EVERY_MS;
        let before = inner.trimmed_bytes(&self.plane);
        self.plane.trim();
        inner.shard.clients.trim();
        inner.shard.outboxes.trim();
        inner.door.trim();
        inner.envelopes.trim();
        let trimmed = before.saturating_sub(inner.trimmed_bytes(&self.plane));
        if trimmed >= GIVE_BACK_BYTES {
            allocator::give_back();
        }
    }

    /// Copies figures of the plane and of tables to the metrics, now and then.
    fn publish_figures(&mut self) {
        let inner = &mut self.inner;
        let now_ms = inner.shard.clients.now.ms;
        if now_ms < self.figures_at_ms {
            return;
        }
        self.figures_at_ms = now_ms + FIGURES_EVERY_MS;
        let (now, before) = (*self.plane.counters(), self.counted);
        self.counted = now;
        let metrics = &inner.shard.clients.metrics;
        metrics.add(Counter::RingEnters, now.enters - before.enters);
        metrics.add(
            Counter::RingCompletions,
            now.completions - before.completions,
        );
        metrics.add(
            Counter::RingEnobufs,
            now.buffers_exhausted - before.buffers_exhausted,
        );
        metrics.add(Counter::RingSends, now.sends - before.sends);
        metrics.add(
            Counter::RingShortSends,
            now.sends_blocked - before.sends_blocked,
        );
        metrics.add(Counter::CloseLingered, now.lingers - before.lingers);
        metrics.add(
            Counter::CloseLingerCut,
            now.lingers_cut - before.lingers_cut,
        );
        metrics.add(Counter::Parks, now.sleeps - before.sleeps);
        inner.shard.publish_figures();
        metrics_of_handshakes(inner);
        let metrics = &inner.shard.clients.metrics;
        metrics.set(Gauge::Allocations, allocator::allocations());
    }
}

/// Why a connection ended whose receive did. The kernel gives up what it could not deliver with
/// the last error it had from the network, if it had one, and with ETIMEDOUT otherwise.
fn reason_of_end(errno: i32) -> CloseReason {
    match errno {
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => CloseReason::TimedOut,
        _ => CloseReason::Closed,
    }
}

/// Why a connection ended whose send failed.
fn reason_of_send(errno: i32) -> CloseReason {
    match (errno, reason_of_end(errno)) {
        (_, CloseReason::TimedOut) => CloseReason::TimedOut,
        (libc::ECONNRESET, _) => CloseReason::Closed,
        _ => CloseReason::SendFailed,
    }
}

fn metrics_of_handshakes(inner: &Inner) {
    inner
        .shard
        .clients
        .metrics
        .set(Gauge::Handshakes, inner.door.handshakes() as u64);
}

impl CoreLoop for Core {
    fn plane(&mut self) -> &mut Plane {
        &mut self.plane
    }

    fn turn(&mut self, wait: Wait<'_>) -> io::Result<Next> {
        let slept = std::mem::take(&mut self.slept);
        let (plane, inner) = (&mut self.plane, &mut self.inner);
        let mut begun = false;
        let stats = plane.turn(wait, &mut |actions, completion| {
            if !std::mem::replace(&mut begun, true) {
                inner.begin(slept);
            }
            inner.on_completion(actions, completion);
        })?;
        if !begun {
            inner.begin(slept);
        }
        let more = inner.take_in(plane);
        let more = inner.shard.work() | more | (stats.backlog > 0);
        inner.send_deltas();
        let more = inner.flush_outboxes(plane) | more;
        inner.shard.end_turn();
        inner.say_farewell();
        inner.ask_authn(plane);
        inner.carry_out(plane);
        self.publish_figures();
        self.inner.count_turn();
        self.trim();
        let next = self.next(more);
        if matches!(next, Next::Idle { .. }) {
            // Between two turns the core reads nothing of the index, whether it sleeps or not.
            self.inner.shard.park();
            self.slept = true;
        }
        Ok(next)
    }

    fn has_inbox_work(&self) -> bool {
        self.inner.has_inbox_work()
    }
}

impl Inner {
    fn begin(&mut self, slept: bool) {
        if slept {
            self.shard.unpark();
        }
        self.shard.begin_turn(self.clock.now());
    }

    fn count_turn(&mut self) {
        let (clients, now) = (&self.shard.clients, self.clock.now());
        clients.metrics.inc(Counter::Turns);
        let us = now.unix_us.saturating_sub(clients.now.unix_us);
        clients.metrics.record(Latency::Turn, us);
        self.shard.note_turn(us);
    }

    fn has_inbox_work(&self) -> bool {
        !self.mesh.inbox_is_empty()
            || self.index.has_work()
            || self.gate.has_work()
            || self.door.has_work()
    }

    fn on_completion(&mut self, plane: &mut Actions, completion: Completion<'_>) {
        match completion {
            Completion::Received {
                slot,
                generation,
                marked,
                bytes,
            } => {
                if !self.is_present(slot, generation) {
                } else if marked {
                    self.open_bytes(plane, slot, bytes);
                } else {
                    self.shard.receive(slot, bytes);
                }
            }
            Completion::Ended {
                slot,
                generation,
                errno,
            } => {
                if self.is_present(slot, generation) {
                    self.shard.peer_closed(slot, reason_of_end(errno));
                }
            }
            Completion::SendFailed {
                slot,
                generation,
                errno,
            } => {
                if self.is_present(slot, generation) {
                    self.shard.peer_closed(slot, reason_of_send(errno));
                }
            }
            Completion::Drained { slot, generation } => {
                if self.is_present(slot, generation) {
                    self.shard.drained(slot);
                }
            }
            Completion::Closed { slot, generation } => {
                let present = self.is_present(slot, generation);
                debug_assert!(present, "a slot closes once");
                if present && let Some(listener) = self.shard.slot_closed(slot) {
                    self.door.connection_closed(listener);
                }
            }
            Completion::ReceivePaused { .. } | Completion::Woken => {}
            at_the_door => self.door.on_completion(&mut self.shard, plane, at_the_door),
        }
    }

    fn is_present(&self, slot: u32, generation: u32) -> bool {
        let tenant = self.shard.clients.connections.key_at(slot);
        tenant.is_some_and(|key| key.generation & GENERATION_MASK == generation)
    }

    /// Records of other cores, answers of the index thread, commands; says whether more waits.
    fn take_in(&mut self, plane: &mut Plane) -> bool {
        let Self { shard, mesh, .. } = self;
        let drained = mesh.drain(MESH_BYTES_PER_TURN, &mut |source, record, parcel| {
            shard.take_record(
                CoreId(u8::try_from(source).unwrap_or(u8::MAX)),
                record,
                parcel,
            );
        });
        if !drained.more {
            shard.lanes_emptied();
        }
        while let Some(answer) = self.index.answer() {
            self.shard.index_applied(answer);
        }
        while let Some(answer) = self.gate.authn_answer() {
            self.answered(plane, *answer);
        }
        let mut steps = MANAGE_STEPS_PER_TURN;
        while steps > 0
            && let Some(command) = self.gate.take()
        {
            steps -= usize::from(matches!(command, Command::Manage(_)));
            self.obey(plane, command);
        }
        self.door.take_back(&mut self.shard, plane);
        self.door.expire(&mut self.shard, plane);
        if self.door.has_just_stopped() {
            self.tell(What::AcceptingStopped);
        }
        drained.more
    }

    /// The control plane has decided about a client, or could not be asked.
    fn answered(&mut self, plane: &mut Plane, answer: AuthnAnswer) {
        match answer.ticket.place {
            Place::Handshake(_) => self.door.answer(&mut self.shard, plane, answer),
            Place::Connection(_) => self.shard.connection_answer(answer),
        }
    }

    /// Sends the questions about clients to the control plane.
    fn ask_authn(&mut self, plane: &mut Plane) {
        while let Some(request) = self.door.question().or_else(|| self.shard.question()) {
            if let Err(request) = self.gate.ask_authn(request) {
                let answer = AuthnAnswer {
                    ticket: request.ticket,
                    verdict: Verdict::Busy,
                };
                self.answered(plane, answer);
            }
        }
    }

    /// Tells the control plane; what it has no room for is counted.
    fn tell(&self, what: What) {
        let told = self.gate.tell(what);
        self.shard.clients.metrics.inc(if told {
            Counter::GateEvents
        } else {
            Counter::GateEventsDropped
        });
    }

    fn obey(&mut self, plane: &mut Plane, command: Command) {
        self.shard.clients.metrics.inc(Counter::GateCommands);
        match command {
            Command::Listen { listener, socket } => self.door.listen(plane, listener, socket),
            Command::StopListening { listener, done } => {
                self.door.stop_listening(plane, listener, done);
            }
            Command::Manage(request) => self.shard.manage(*request),
            Command::ReportTables => {
                self.tell(What::Tables(self.tables(plane)));
            }
            Command::ReportCrossing => {
                self.tell(What::Crossing(self.shard.crossing()));
            }
            Command::SetAccess(rules) => self.shard.set_access(rules),
            Command::Ban(ban) => {
                self.shard.ban(ban);
            }
            Command::Unban(who) => {
                self.shard.unban(&who);
            }
            Command::Access(answer) => self.shard.access_answered(answer),
            Command::DrainAccessCache(client_id) => {
                self.shard.drain_access_cache(client_id.as_deref());
            }
            Command::Watch(watch) => self.shard.watch(watch),
            Command::StopAccepting => {
                self.shard.stop_accepting();
                self.door.stop(&mut self.shard, plane);
            }
            Command::StopReading => {
                self.shard.stop_reading();
                self.tell(What::ReadingStopped);
            }
            Command::PublishWills => {
                self.shard.publish_all_wills();
                self.tell(What::WillsPublished);
            }
            Command::Farewell => {
                plane.hasten();
                let force_at_ms = self.shard.clients.now.ms + FAREWELL_MS;
                self.farewell.get_or_insert(Farewell { force_at_ms });
            }
            Command::Exit => self.exit = true,
        }
    }

    /// Memory in bytes of what [`Core::trim`] looks at; trimming never makes it more.
    fn trimmed_bytes(&self, plane: &Plane) -> usize {
        let clients = &self.shard.clients;
        let shard = clients.out_queue_bytes() + self.shard.outboxes.held_bytes();
        plane.trimmed_bytes() + shard + self.door.held_bytes()
    }

    /// The shard's tables and those of its driver.
    fn tables(&self, plane: &Plane) -> Tables {
        let mut tables = self.shard.tables();
        let rings = self.index.held_bytes() + self.gate.held_bytes();
        let own = [
            ("receive buffers", 0, plane.receive_buffer_bytes()),
            ("handshakes", self.door.handshakes(), self.door.held_bytes()),
            (
                "envelopes",
                self.envelopes.len(),
                self.envelopes.held_bytes(),
            ),
            ("lanes between cores", 0, self.mesh.held_bytes()),
            ("other rings", 0, rings),
        ];
        let rows = plane.tables().into_iter().chain(own);
        let row = |(name, entries, bytes)| (name, entries as u64, bytes as u64);
        tables.rows.extend(rows.map(row));
        tables
    }

    /// Pulls changes for the index thread while its ring has room.
    fn send_deltas(&mut self) {
        let mut sent = false;
        while self.index.has_room() {
            let Some(delta) = self.shard.next_delta() else {
                break;
            };
            self.index.send(delta);
            sent = true;
        }
        if sent {
            self.index.ring();
        }
    }

    /// One batch and at most one wake a core. Says whether producers waited for it and may go on at once:
    /// they would find room after a sleep of [`POLL`] otherwise.
    fn flush_outboxes(&mut self, plane: &mut Plane) -> bool {
        if self.shard.outboxes.is_empty() {
            return false;
        }
        let producers_waited = self.shard.outboxes.over_limit();
        let waiting: smallvec::SmallVec<[CoreId; 16]> = self.shard.outboxes.waiting().collect();
        for target in waiting {
            let mesh = &mut self.mesh;
            let mut moved = 0;
            let mut bytes = 0;
            let mut all = true;
            self.shard.outboxes.flush(target, |staged| {
                let flushed = mesh.flush(target.index(), staged);
                moved = flushed.moved.records;
                bytes = flushed.moved.bytes;
                all = flushed.all;
                moved
            });
            let metrics = &self.shard.clients.metrics;
            metrics.add(Counter::MeshRecords, moved as u64);
            metrics.add(Counter::MeshBytes, bytes as u64);
            if !all {
                metrics.inc(Counter::MeshFull);
            }
            if moved > 0 && self.wakers.wake_from_core(plane, target.index()) {
                metrics.inc(Counter::MeshWakes);
            }
        }
        producers_waited && !self.shard.outboxes.over_limit()
    }

    /// The last step of a shutdown: a batch of clients a turn.
    fn say_farewell(&mut self) {
        let Some(farewell) = &self.farewell else {
            return;
        };
        let force = self.shard.clients.now.ms >= farewell.force_at_ms;
        self.shard.farewell(force);
        if self.shard.clients.connections.is_empty() {
            self.farewell = None;
            self.tell(What::FarewellDone);
        }
    }

    /// Bytes of a connection with an envelope.
    fn open_bytes(&mut self, plane: &mut Actions, slot: u32, wire: &[u8]) {
        let mut reply = plane.buffer();
        let Some(opened) = self.envelopes.open(slot, wire, &mut reply.bytes) else {
            return plane.recycle(reply);
        };
        let end = opened.end;
        if !opened.plain.is_empty() {
            self.shard.receive(slot, opened.plain);
        }
        plane.send(slot, reply);
        if plane.given_while_blocked(slot) > REPLY_BYTES_MAX {
            return self.shard.close(slot, CloseReason::SendFailed, None);
        }
        match end {
            Ok(()) => {}
            Err(EnvelopeEnd::Closed) => self.shard.peer_closed(slot, CloseReason::Closed),
            Err(EnvelopeEnd::Broken) => self.shard.peer_closed(slot, CloseReason::Malformed),
        }
    }

    /// What goes to a socket for what a connection is sent.
    fn wrapped(&mut self, plane: &mut Actions, slot: u32, out: Outgoing) -> Outgoing {
        let mut wire = plane.buffer();
        self.envelopes.wrap(slot, &out, &mut wire.bytes);
        self.shard.clients.give_spare(out);
        wire
    }

    /// Enters a connection that has come home.
    fn install(&mut self, plane: &mut Actions, key: Key, socket: ClientSocket, first: Outgoing) {
        let slot = key.index;
        let Some(envelope) = socket.envelope else {
            return plane.install(slot, key.generation, socket.fd, first);
        };
        self.envelopes.insert(slot, envelope);
        let first = self.wrapped(plane, slot, first);
        plane.install(slot, key.generation, socket.fd, first);
        plane.mark(slot);
        // It may have ended already, behind the CONNECT.
        self.open_bytes(plane, slot, &[]);
    }

    /// The last bytes of a connection with an envelope, which ends with it. One that the peer has
    /// closed gets no words beyond what it was to get anyway.
    fn last_words(
        &mut self,
        plane: &mut Actions,
        slot: u32,
        last: Option<Outgoing>,
    ) -> Option<Outgoing> {
        let mut last = last.map(|last| self.wrapped(plane, slot, last));
        let envelope = self.envelopes.remove(slot);
        if !plane.has_ended(slot)
            && let Some(mut envelope) = envelope
        {
            let words = last.get_or_insert_with(|| plane.buffer());
            envelope.close(&mut words.bytes);
        }
        last
    }

    fn is_closing(&self, slot: u32) -> bool {
        let connection = self.shard.clients.connections.at(slot);
        connection.is_some_and(|connection| connection.flags.has(Flags::CLOSING))
    }

    /// What the shard asks for, in the order of its effects.
    fn carry_out(&mut self, plane: &mut Plane) {
        let mut effects = std::mem::take(&mut self.shard.clients.effects);
        for (key, socket) in effects.install.drain(..) {
            let first = self.shard.clients.first_out(key.index).unwrap_or_default();
            if let Some(socket) = socket {
                self.install(plane, key, socket, first);
                self.shard.clients.give_spare(plane.buffer());
            }
        }
        for (socket, listener, last) in effects.refuse.drain(..) {
            if let Some(socket) = socket {
                self.door.refuse_taken(plane, socket, &last);
            }
            self.door.connection_closed(listener);
        }
        for slot in effects.dirty.drain(..) {
            if self.is_closing(slot) {
                continue; // Its last bytes go with the close.
            }
            if plane.is_blocked(slot) {
                self.shard.clients.blocked(slot);
            } else if let Some(mut out) = self.shard.clients.take_out(slot) {
                if plane.is_marked(slot) {
                    out = self.wrapped(plane, slot, out);
                }
                plane.send(slot, out);
                self.shard.clients.give_spare(plane.buffer());
            }
        }
        for slot in effects.pause.drain(..) {
            plane.pause_receive(slot);
        }
        for slot in effects.resume.drain(..) {
            plane.resume_receive(slot);
        }
        for key in effects.close.drain(..) {
            let cut = plane.is_blocked(key.index);
            let mut last = self.shard.clients.last_out(key.index, !cut);
            if plane.is_marked(key.index) {
                last = self.last_words(plane, key.index, last);
            }
            plane.close(key.index, last);
        }
        for question in effects.questions.drain(..) {
            if let Err(question) = self.gate.ask_access(question) {
                self.shard.access_not_asked(&question);
            }
        }
        for seen in effects.seen.drain(..) {
            let told = self.gate.tell_seen(seen);
            self.shard.clients.metrics.inc(if told {
                Counter::ObservedTold
            } else {
                Counter::ObservedDropped
            });
        }
        for traced in effects.traced.drain(..) {
            match self.gate.tell_traced(traced) {
                Ok(()) => self.shard.clients.metrics.inc(Counter::TraceTold),
                Err(traced) => self.shard.trace_lost(&traced),
            }
        }
        // The lists' memory is used again; what was asked for meanwhile comes in the next turn.
        effects.append(&mut self.shard.clients.effects);
        self.shard.clients.effects = effects;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sockets_are_reasons_of_their_own() {
        assert_eq!(reason_of_end(0), CloseReason::Closed);
        assert_eq!(reason_of_end(libc::ECONNRESET), CloseReason::Closed);
        assert_eq!(reason_of_end(libc::ETIMEDOUT), CloseReason::TimedOut);
        assert_eq!(reason_of_send(libc::ETIMEDOUT), CloseReason::TimedOut);
        assert_eq!(reason_of_send(libc::EHOSTUNREACH), CloseReason::TimedOut);
        assert_eq!(reason_of_send(libc::ECONNRESET), CloseReason::Closed);
        assert_eq!(reason_of_send(libc::EPIPE), CloseReason::SendFailed);
    }
}
