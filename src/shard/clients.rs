//! Connections and sessions of one core and everything that touches both: what is needed to hand a
//! message to a client. Routing lies beside it, so that a fan-out may walk the local index while it
//! changes clients.

use std::sync::Arc;

use crate::base::ids::CoreId;
use crate::base::slab::{Key, Slab};
use crate::base::time::Now;
use crate::base::wheel::TimerWheel;
use crate::gate::access::AccessQuestion;
use crate::gate::authn::AuthnRequest;
use crate::gate::observe::{Seen, Watch};
use crate::gate::trace::Traced;
use crate::metrics::{CoreMetrics, Counter};
use crate::session::state::NONE;
use crate::shard::addons::DeliverySwitches;
use crate::shard::connection::{Connection, Flags, HEARD_UNIT_MS};
use crate::shard::handshake::ClientSocket;
use crate::shard::lens::Lens;
use crate::shard::memory::Budget;
use crate::shard::offers::{Offer, Offers};
use crate::shard::outgoing::{Outgoing, SpareOutgoing};
use crate::shard::registry::Registry;
use crate::shard::rules::Rules;

/// Entries that lists of a turn keep room for when memory is trimmed: a few KiB each.
const LIST_ENTRIES_KEPT: usize = 256;

/// The clients whose home is this core.
pub struct Clients {
    /// This core.
    pub core: CoreId,
    /// What is allowed.
    pub rules: Rules,
    /// What connected clients were told of it.
    pub offers: Offers,
    /// What of it is looked at for each delivery.
    pub switches: DeliverySwitches,
    /// What the control plane wants to know, if anything.
    pub watch: Option<Arc<Watch>>,
    /// What operators look at, if at anything.
    pub lens: Option<Box<Lens>>,
    /// The moment of this turn.
    pub now: Now,
    /// Connected clients; the index is the slot in the connection plane.
    pub connections: Slab<Connection>,
    /// Sessions by client id.
    pub registry: Registry,
    /// What is to be sent.
    pub outs: OutQueues,
    /// Memory of queued messages.
    pub budget: Budget,
    /// The session that was last seen to have the longest queue, and how long that was.
    pub longest_queue: (u32, usize),
    /// Where the search for a long queue goes on.
    pub queue_search: u32,
    /// Memberships of shared subscriptions, one for each delivery that is over and that the group has
    /// not been told of.
    pub shares_done: Vec<u32>,
    /// Sessions with replays whose clients have taken something.
    pub replays_fed: Vec<u32>,
    /// Memory of the boxes of connections, for received bytes that wait.
    pub partial_bytes: usize,
    /// Keep-alives, session ends, delayed wills.
    pub wheel: TimerWheel,
    /// Counters.
    pub metrics: CoreMetrics,
    /// What the driver has to do.
    pub effects: Effects,
}

/// What the shard asks of its driver; emptied once a turn, in the order of the fields. What is asked
/// for while they are carried out comes in the next turn, which must not be slept over.
#[derive(Default)]
pub struct Effects {
    /// Sockets that have come home: to be entered at the slot of their connection.
    pub install: Vec<(Key, Option<ClientSocket>)>,
    /// Sockets that cannot come home: the listener they came by, what to say.
    pub refuse: Vec<(Option<ClientSocket>, u8, Vec<u8>)>,
    /// Connections with something to send.
    pub dirty: Vec<u32>,
    /// Connections from which nothing is to be received for now.
    pub pause: Vec<u32>,
    /// Connections from which is to be received again.
    pub resume: Vec<u32>,
    /// Connections that end; what waits for them is sent first.
    pub close: Vec<Key>,
    /// Questions about access.
    pub questions: Vec<Box<AccessQuestion>>,
    /// Questions about clients that authenticate again.
    pub ask: Vec<Box<AuthnRequest>>,
    /// What is to be told to those who watch.
    pub seen: Vec<Box<Seen>>,
    /// What is to be told to those who trace.
    pub traced: Vec<Box<Traced>>,
}

impl Effects {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty()
            && self.install.is_empty()
            && self.refuse.is_empty()
            && self.pause.is_empty()
            && self.resume.is_empty()
            && self.close.is_empty()
            && self.questions.is_empty()
            && self.ask.is_empty()
            && self.seen.is_empty()
            && self.traced.is_empty()
    }

    /// Asks for everything that `more` asks for as well, and empties it.
    pub fn append(&mut self, more: &mut Self) {
        self.install.append(&mut more.install);
        self.refuse.append(&mut more.refuse);
        self.dirty.append(&mut more.dirty);
        self.pause.append(&mut more.pause);
        self.resume.append(&mut more.resume);
        self.close.append(&mut more.close);
        self.questions.append(&mut more.questions);
        self.ask.append(&mut more.ask);
        self.seen.append(&mut more.seen);
        self.traced.append(&mut more.traced);
    }

    /// Frees what a burst made the lists take. The driver has emptied them.
    fn trim(&mut self) {
        self.install.shrink_to(LIST_ENTRIES_KEPT);
        self.refuse.shrink_to(LIST_ENTRIES_KEPT);
        self.dirty.shrink_to(LIST_ENTRIES_KEPT);
        self.pause.shrink_to(LIST_ENTRIES_KEPT);
        self.resume.shrink_to(LIST_ENTRIES_KEPT);
        self.close.shrink_to(LIST_ENTRIES_KEPT);
        self.questions.shrink_to(LIST_ENTRIES_KEPT);
        self.ask.shrink_to(LIST_ENTRIES_KEPT);
        self.seen.shrink_to(LIST_ENTRIES_KEPT);
        self.traced.shrink_to(LIST_ENTRIES_KEPT);
    }

    /// Memory in bytes.
    fn bytes(&self) -> usize {
        self.install.capacity() * size_of::<(Key, Option<ClientSocket>)>()
            + self.refuse.capacity() * size_of::<(Option<ClientSocket>, u8, Vec<u8>)>()
            + (self.dirty.capacity() + self.pause.capacity() + self.resume.capacity())
                * size_of::<u32>()
            + self.close.capacity() * size_of::<Key>()
            + self.questions.capacity() * size_of::<Box<AccessQuestion>>()
            + self.ask.capacity() * size_of::<Box<AuthnRequest>>()
            + self.seen.capacity() * size_of::<Box<Seen>>()
            + self.traced.capacity() * size_of::<Box<Traced>>()
    }
}

/// Out-queues: one for each connection that has something to be sent, none for the others.
#[derive(Default)]
pub struct OutQueues {
    open: Vec<Outgoing>,
    vacant: Vec<u32>,
    spare: SpareOutgoing,
}

impl OutQueues {
    /// Opens an empty one.
    fn open(&mut self) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.open[index as usize] = self.spare.take().unwrap_or_default();
            return index;
        }
        let index = u32::try_from(self.open.len()).unwrap_or(NONE);
        self.open.push(self.spare.take().unwrap_or_default());
        index
    }

    /// An open one.
    pub fn at(&self, index: u32) -> Option<&Outgoing> {
        self.open.get(index as usize)
    }

    /// An open one.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Outgoing> {
        self.open.get_mut(index as usize)
    }

    /// Takes one for sending; its index is free again.
    fn take(&mut self, index: u32) -> Outgoing {
        self.vacant.push(index);
        self.open
            .get_mut(index as usize)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Frees what has not been needed since the last call, and what a burst left behind.
    fn trim(&mut self) {
        self.spare.trim();
        if self.is_empty() && self.open.capacity() > LIST_ENTRIES_KEPT {
            self.open = Vec::new();
            self.vacant = Vec::new();
        }
    }

    /// Memory in bytes, that of buffers kept for reuse included.
    pub fn bytes(&self) -> usize {
        let open: usize = self.open.iter().map(Outgoing::held_bytes).sum();
        let places = self.open.capacity() * size_of::<Outgoing>();
        open + places + self.vacant.capacity() * size_of::<u32>() + self.spare.bytes()
    }

    /// Out-queues in use.
    pub fn len(&self) -> usize {
        self.open.len() - self.vacant.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Clients {
    /// What the client of a slot was told of our limits.
    #[inline]
    pub fn offer_of(&self, slot: u32) -> &Offer {
        let connection = self.connections.at(slot);
        let name = connection.map_or_else(|| self.offers.current(), |connection| connection.offer);
        self.offers.of(name)
    }

    /// Where the next bytes for a connection go; it will be flushed at the end of the turn. None if
    /// the connection is gone.
    pub fn out(&mut self, slot: u32) -> Option<&mut Outgoing> {
        let index = self.open_out(slot)?;
        self.outs.at_mut(index)
    }

    /// The index of a connection's out-queue, opened if need be; see [`Self::out`].
    pub fn open_out(&mut self, slot: u32) -> Option<u32> {
        let connection = self.connections.at_mut(slot)?;
        if connection.out == NONE {
            connection.out = self.outs.open();
        }
        let index = connection.out;
        if !connection.flags.has(Flags::DIRTY) && !connection.flags.has(Flags::BLOCKED) {
            connection.flags.set(Flags::DIRTY);
            self.effects.dirty.push(slot);
        }
        Some(index)
    }

    /// Bytes that wait for a connection in user space.
    pub fn out_bytes(&self, connection: &Connection) -> usize {
        self.outs.at(connection.out).map_or(0, Outgoing::len)
    }

    /// What waits for a connection, for the driver to send. None if there is nothing to send or the
    /// socket takes nothing for now.
    pub fn take_out(&mut self, slot: u32) -> Option<Outgoing> {
        let connection = self.connections.at_mut(slot)?;
        connection.flags.clear(Flags::DIRTY);
        if connection.out == NONE || connection.flags.has(Flags::BLOCKED) {
            return None;
        }
        let (index, session) = (connection.out, connection.session);
        connection.out = NONE;
        let out = self.outs.take(index);
        self.metrics.add(Counter::BytesSent, out.len() as u64);
        self.serve_starved(slot, session);
        Some(out)
    }

    /// The socket of a connection takes nothing more: what comes waits.
    pub fn blocked(&mut self, slot: u32) {
        if let Some(connection) = self.connections.at_mut(slot) {
            connection.flags.set(Flags::BLOCKED);
            connection.flags.clear(Flags::DIRTY);
        }
    }

    /// The socket of a connection takes bytes again: what waits is sent.
    pub fn drained(&mut self, slot: u32) {
        let Some(connection) = self.connections.at_mut(slot) else {
            return;
        };
        connection.flags.clear(Flags::BLOCKED);
        let session = connection.session;
        if connection.out != NONE && !connection.flags.has(Flags::DIRTY) {
            connection.flags.set(Flags::DIRTY);
            self.effects.dirty.push(slot);
        }
        self.serve_starved(slot, session);
    }

    /// Goes on with a session whose messages waited for room in the out-queue.
    fn serve_starved(&mut self, slot: u32, session: u32) {
        let Some(connection) = self.connections.at_mut(slot) else {
            return;
        };
        if connection.flags.has(Flags::STARVED) {
            connection.flags.clear(Flags::STARVED);
            self.pump(session);
            self.feed_replay(session);
        }
    }

    /// The replays of a session want to know when its client has taken something.
    pub fn starve_replay(&mut self, session_index: u32) {
        let Some(session) = self.registry.at(session_index) else {
            return;
        };
        let slot = session.connection;
        if let Some(connection) = self.connections.at_mut(slot) {
            connection.flags.set(Flags::STARVED);
        }
    }

    /// A client has taken something: replays of its session may go on.
    pub fn feed_replay(&mut self, session_index: u32) {
        if self.registry.at(session_index).is_some_and(|s| s.replaying) {
            self.replays_fed.push(session_index);
        }
    }

    /// Takes memory for an out-queue to come, from what has been sent or given up.
    pub fn give_spare(&mut self, out: Outgoing) {
        self.outs.spare.give(out);
    }

    /// Frees memory that a burst left behind and that has not been needed since the last call.
    pub fn trim(&mut self) {
        self.outs.trim();
        self.effects.trim();
    }

    /// Memory in bytes of out-queues and of the lists of a turn.
    pub fn out_queue_bytes(&self) -> usize {
        self.outs.bytes() + self.effects.bytes()
    }

    /// The bytes that a connection which is being closed sends last, if they are `sent` at all.
    pub fn last_out(&mut self, slot: u32, sent: bool) -> Option<Outgoing> {
        let last = self.force_out(slot)?;
        if sent {
            self.metrics.add(Counter::BytesSent, last.len() as u64);
        }
        Some(last)
    }

    /// What waits for a connection, whatever its state.
    pub fn force_out(&mut self, slot: u32) -> Option<Outgoing> {
        let connection = self.connections.at_mut(slot)?;
        connection.flags.clear(Flags::DIRTY);
        if connection.out == NONE {
            return None;
        }
        let index = std::mem::replace(&mut connection.out, NONE);
        Some(self.outs.take(index))
    }

    /// The bytes that a connection which has just come home sends before anything else; what had no
    /// room beside them follows.
    pub fn first_out(&mut self, slot: u32) -> Option<Outgoing> {
        let session = self.connections.at(slot)?.session;
        let first = self.force_out(slot);
        self.metrics.add(
            Counter::BytesSent,
            first.as_ref().map_or(0, Outgoing::len) as u64,
        );
        self.serve_starved(slot, session);
        first
    }

    /// The value that names a session of this core as publisher: core, generation, index.
    pub fn publisher(&self, session_index: u32) -> u64 {
        let generation = self.registry.generation(session_index) & 0x00FF_FFFF;
        u64::from(self.core.0) << 56 | u64::from(generation) << 32 | u64::from(session_index)
    }

    /// Notes that a connection gave a sign of life.
    pub fn heard(&mut self, slot: u32) {
        let now = self.heard_now();
        if let Some(connection) = self.connections.at_mut(slot) {
            connection.last_heard = now;
        }
    }

    /// The present moment in the unit of `last_heard`.
    pub fn heard_now(&self) -> u32 {
        u32::try_from(self.now.ms / HEARD_UNIT_MS).unwrap_or(u32::MAX)
    }

    /// The present second since process start.
    pub fn now_s(&self) -> u32 {
        u32::try_from(self.now.seconds()).unwrap_or(u32::MAX)
    }
}
