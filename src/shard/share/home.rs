//! The home core's side: groups, their members, and the way of a message from one to the other.

use std::hash::BuildHasherDefault;

use ahash::{AHasher, RandomState};
use hashbrown::{HashMap, HashTable};

use crate::base::ids::{CoreId, Epoch};
use crate::base::limits::{GROUP_DISPATCHES_PER_TURN, QUEUE_DROPS_MAX};
use crate::base::slab::{Key, Slab};
use crate::config::ShareStrategy;
use crate::metrics::Counter;
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::qos::QoS;
use crate::routing::local::SubOptions;
use crate::session::state::NONE;
use crate::shard::Shard;
use crate::shard::clients::Clients;
use crate::shard::fanout::{Fanout, is_expired};
use crate::shard::outbox::Outboxes;
use crate::shard::share::group::{Ask, Choice, Group, Joiner, Member};
use crate::shard::share::records::{Join, Joined, Sent, ShareRecord};
use crate::shard::share::{GROUPS_FROM, Shares, group_name, owned_text};

/// The bit of a waiter of the local index that says that a group waits.
const GROUP_WAITER: u64 = 1 << 63;

/// Groups whose home is this core, with their members on all cores.
pub struct Groups {
    groups: Slab<Group>,
    by_text: HashTable<u32>,
    members: Slab<Member>,
    /// Members by their core and its name for the membership.
    by_share: HashMap<(CoreId, u64), u32, BuildHasherDefault<AHasher>>,
    /// Groups that may have something to hand out.
    dirty: Vec<u32>,
    hasher: RandomState,
    random: u64,
}

impl Groups {
    /// No groups.
    pub fn new(hasher: RandomState, random: u64) -> Self {
        Self {
            groups: Slab::default(),
            by_text: HashTable::new(),
            members: Slab::default(),
            by_share: HashMap::default(),
            dirty: Vec::new(),
            hasher,
            random,
        }
    }

    /// Groups and members.
    pub fn counts(&self) -> (usize, usize) {
        (self.groups.len() as usize, self.members.len() as usize)
    }

    /// Messages that wait in all groups.
    pub fn waiting(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.queue.len()).sum()
    }

    /// Memory of the tables in bytes, queues not counted.
    pub fn bytes(&self) -> usize {
        self.groups.bytes() + self.members.bytes() + self.by_text.allocation_size()
    }

    /// Whether no group has to be looked at.
    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Deliveries to a member are over.
    pub fn acked(&mut self, core: CoreId, share: u64, count: u32) {
        if let Some(index) = self.by_share.get(&(core, share)).copied() {
            if let Some(member) = self.members.at_mut(index) {
                member.outstanding = member.outstanding.saturating_sub(count);
            }
            self.settle(index, None);
        }
    }

    /// The client of a member has come back.
    pub fn online(&mut self, core: CoreId, share: u64, window: u16) {
        if let Some(index) = self.by_share.get(&(core, share)).copied() {
            if let Some(member) = self.members.at_mut(index) {
                member.window = window;
            }
            self.settle(index, Some(true));
        }
    }

    /// The client of a member has gone.
    pub fn offline(&mut self, core: CoreId, share: u64) {
        if let Some(index) = self.by_share.get(&(core, share)).copied() {
            self.settle(index, Some(false));
        }
    }

    /// A member has not taken a message: it goes to its old place. Takes over the reference.
    pub fn returned(&mut self, from: CoreId, sent: Sent, message: Message, clients: &mut Clients) {
        if sent.qos != QoS::AtMostOnce {
            self.acked(from, sent.share, 1);
        }
        let key = Key::unpack(sent.group);
        if self.groups.get(key).is_none() {
            clients.metrics.inc(Counter::DeliveryDroppedSessionEnded);
            return clients.budget.release(message);
        }
        // It was counted by a window until now, never by the queue.
        self.keep(key.index, sent.seq, message, 0, clients);
        self.touch(key.index);
    }

    /// Puts a message into a group's queue, under a limit of `max_len` messages (0 = unlimited) and the
    /// core's. Takes over the reference.
    fn keep(
        &mut self,
        index: u32,
        seq: u32,
        message: Message,
        max_len: usize,
        clients: &mut Clients,
    ) {
        let Some(group) = self.groups.at_mut(index) else {
            return clients.budget.release(message);
        };
        if message.view().qos == QoS::AtMostOnce {
            let reason = if !clients.rules.mqueue_store_qos0 {
                Some(Counter::DeliveryDroppedQos0Msg)
            } else if !clients.budget.allows_qos0() {
                Some(Counter::DeliveryDroppedMemory)
            } else {
                None
            };
            if let Some(reason) = reason {
                clients.metrics.inc(reason);
                return clients.budget.release(message);
            }
        }
        for _ in 0..QUEUE_DROPS_MAX {
            if !clients.budget.is_full() {
                break;
            }
            let Some(oldest) = group.queue.drop_oldest() else {
                break;
            };
            clients.metrics.inc(Counter::DeliveryDroppedMemory);
            clients.budget.release(oldest);
        }
        if clients.budget.is_full() && !clients.make_room(NONE) {
            clients.metrics.inc(Counter::DeliveryDroppedMemory);
            return clients.budget.release(message);
        }
        if let Some(victim) = group.queue.insert(seq, message, max_len) {
            clients.metrics.inc(match victim.view().qos {
                QoS::AtMostOnce => Counter::DeliveryDroppedQos0Msg,
                _ => Counter::DeliveryDroppedQueueFull,
            });
            clients.budget.release(victim);
        }
    }

    /// Looks at a member after a change, and has its group looked at if that may help to hand something
    /// out.
    fn settle(&mut self, index: u32, online: Option<bool>) {
        let Some(member) = self.members.at(index) else {
            return;
        };
        let (at, online) = (member.group, online.unwrap_or_else(|| member.is_online()));
        self.enlist(at, index, online);
        let waits = |group: &Group| !group.queue.is_empty();
        if online && self.groups.at(at).is_some_and(waits) {
            self.touch(at);
        }
    }

    fn enlist(&mut self, at: u32, index: u32, online: bool) {
        if let Some(group) = self.groups.at_mut(at) {
            group.settle(&mut self.members, index, online);
        }
    }

    /// Has a group looked at in this turn.
    fn touch(&mut self, index: u32) {
        if let Some(group) = self.groups.at_mut(index)
            && !std::mem::replace(&mut group.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        let is_it = |index: &u32| self.groups.at(*index).is_some_and(|g| g.text == text);
        self.by_text.find(hash, is_it).copied()
    }

    fn insert(&mut self, group: Group) -> u32 {
        let hash = self.hasher.hash_one(group.text.as_str());
        let index = self.groups.insert(group).index;
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.by_text.insert_unique(hash, index, |other| {
            groups
                .at(*other)
                .map_or(0, |group| hasher.hash_one(group.text.as_str()))
        });
        index
    }

    fn remove(&mut self, index: u32) -> Option<Group> {
        let group = self.groups.remove_at(index)?;
        let hash = self.hasher.hash_one(group.text.as_str());
        if let Ok(entry) = self.by_text.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        Some(group)
    }

    /// Enters a member, or changes what it was granted.
    fn enter(&mut self, at: u32, core: CoreId, join: &Join<'_>) {
        let name = (core, join.share);
        let index = match self.by_share.get(&name).copied() {
            Some(index) => index,
            None => {
                let index = self.members.insert(Member::new(core, join.share, at)).index;
                self.by_share.insert(name, index);
                if let Some(group) = self.groups.at_mut(at) {
                    group.members += 1;
                }
                index
            }
        };
        if let Some(member) = self.members.at_mut(index) {
            (member.qos, member.window) = (join.qos, join.window);
        }
        self.settle(index, Some(true));
    }

    fn choose(
        &mut self,
        at: u32,
        publication: &Publication<'_>,
        (own, outboxes): (CoreId, &Outboxes),
    ) -> Choice {
        let Some(group) = self.groups.at_mut(at) else {
            return Choice::Nobody;
        };
        let topic_hash = match group.strategy {
            ShareStrategy::HashTopic => self.hasher.hash_one(publication.topic),
            _ => 0,
        };
        let random = match group.strategy {
            ShareStrategy::Random => next_random(&mut self.random),
            _ => 0,
        };
        let ask = Ask {
            qos: publication.qos,
            publisher: publication.publisher.0,
            topic_hash,
            random,
        };
        let reachable = |core| core == own || outboxes.has_room(core);
        group.choose(&self.members, &ask, reachable)
    }
}

/// The next random number: xorshift, which is good enough to spread messages.
fn next_random(random: &mut u64) -> u64 {
    let mut x = *random | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *random = x;
    x
}

impl Shares {
    /// A message that a group's filter has matched.
    pub fn offer(
        &mut self,
        at: u32,
        fanout: &mut Fanout<'_>,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
    ) {
        let publication = fanout.publication;
        let Some(group) = self.groups.groups.at_mut(at) else {
            return;
        };
        let seq = group.next_seq();
        if !group.queue.holds_back(publication.qos) {
            let way = (clients.core, &*outboxes);
            match self.groups.choose(at, &publication, way) {
                Choice::Member(member) => {
                    return self.send(at, member, seq, fanout, clients, outboxes);
                }
                Choice::Nobody => {}
                Choice::Blocked => self.groups.touch(at),
            }
        }
        let message = fanout.message(&mut clients.budget);
        let max_len = clients.rules.max_mqueue_len;
        self.groups.keep(at, seq, message, max_len, clients);
    }

    /// Hands out what waits in groups, a bounded number of messages; says whether more could be.
    pub fn pump(&mut self, clients: &mut Clients, outboxes: &mut Outboxes) -> bool {
        let mut budget = GROUP_DISPATCHES_PER_TURN;
        for _ in 0..self.groups.dirty.len() {
            let at = self.groups.dirty[0];
            self.groups.dirty.swap_remove(0);
            if let Some(group) = self.groups.groups.at_mut(at) {
                group.dirty = false;
            }
            if self.pump_group(at, &mut budget, clients, outboxes) {
                self.groups.touch(at);
            }
        }
        budget == 0
    }

    /// Says whether the group has to be looked at again in the next turn.
    fn pump_group(
        &mut self,
        at: u32,
        budget: &mut usize,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
    ) -> bool {
        loop {
            let Some(next) = self
                .groups
                .groups
                .at(at)
                .and_then(|g| g.queue.peek().cloned())
            else {
                return false;
            };
            if *budget == 0 {
                clients.budget.release(next);
                return true;
            }
            *budget -= 1;
            let expired = is_expired(&next.view(), clients.now.unix_us);
            let choice = if expired {
                clients.metrics.inc(Counter::DeliveryDroppedExpired);
                Choice::Nobody
            } else {
                let way = (clients.core, &*outboxes);
                self.groups.choose(at, &next.view(), way)
            };
            if !expired && !matches!(choice, Choice::Member(_)) {
                clients.budget.release(next);
                return choice == Choice::Blocked;
            }
            let popped = self.groups.groups.at_mut(at).and_then(|g| g.queue.pop());
            let Some((seq, message)) = popped else {
                return false;
            };
            clients.budget.release(next);
            if let Choice::Member(member) = choice {
                let mut fanout = Fanout::owned(&message);
                self.send(at, member, seq, &mut fanout, clients, outboxes);
                fanout.finish(&mut clients.budget);
            }
            clients.budget.release(message);
        }
    }

    /// Sends a message to the member that was chosen.
    fn send(
        &mut self,
        at: u32,
        index: u32,
        seq: u32,
        fanout: &mut Fanout<'_>,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
    ) {
        let groups = &mut self.groups;
        let (Some(key), Some(member)) = (groups.groups.key_at(at), groups.members.at_mut(index))
        else {
            return;
        };
        let qos = clients.granted_qos(fanout.publication.qos, member.qos);
        let (core, share) = (member.core, member.share);
        let group = key.pack();
        let sent = Sent {
            group,
            share,
            seq,
            qos,
        };
        if qos != QoS::AtMostOnce {
            member.outstanding += 1;
            let online = member.is_online();
            groups.enlist(at, index, online);
        }
        if core != clients.core {
            ShareRecord::Deliver(sent, fanout.publication).stage(outboxes, core);
        } else if !self.hand_over(sent, fanout, clients) {
            debug_assert!(false, "on its own core the group knows who is there");
            let message = fanout.message(&mut clients.budget);
            self.groups.returned(core, sent, message, clients);
        }
    }
}

impl Shard {
    /// A session joins a group of this core. The answer is absent while the index thread is asked.
    pub(super) fn join(&mut self, core: CoreId, join: &Join<'_>) -> Option<Joined> {
        let at = match self.shares.groups.find(join.text) {
            Some(at) => at,
            None => match self.begin_group(join.text) {
                Some(at) => at,
                None => {
                    return Some(Joined {
                        share: join.share,
                        waiter: join.waiter,
                        group: 0,
                        epoch: Epoch::default(),
                        granted: false,
                    });
                }
            },
        };
        let groups = &mut self.shares.groups;
        groups.enter(at, core, join);
        let joiner = Joiner {
            core,
            share: join.share,
            waiter: join.waiter,
        };
        let group = groups.groups.at_mut(at)?;
        if group.in_force {
            return Some(self.group_answer(at, joiner, true));
        }
        group.joiners.push(joiner);
        None
    }

    /// Makes a group and subscribes it to its filter; absent if too many filters wait for the index.
    fn begin_group(&mut self, text: &str) -> Option<u32> {
        let strategy = self.clients.rules.share_strategy_of(group_name(text));
        let groups = &mut self.shares.groups;
        let at = groups.insert(Group::new(owned_text(text), strategy));
        let key = groups.groups.key_at(at)?;
        let group = groups.groups.at_mut(at)?;
        assert!(at < GROUPS_FROM, "a core has at most 2^26 groups");
        let waiter = GROUP_WAITER | u64::from(key.index) << 32 | u64::from(key.generation);
        let mut first = group.first_subscription;
        let outcome = self.routes.local.subscribe(
            &self.routes.index,
            GROUPS_FROM + at,
            &mut first,
            group.filter(),
            SubOptions::new(2, false, true, 0),
            None,
            waiter,
        );
        group.first_subscription = first;
        match outcome {
            Ok(outcome) => {
                group.in_force = outcome.pending.is_none();
                Some(at)
            }
            Err(_) => {
                groups.remove(at);
                None
            }
        }
    }

    /// The index thread has answered to a waiter of the local index; false if that was no group.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the word is split into its parts"
    )]
    pub(in crate::shard) fn group_applied(&mut self, waiter: u64, granted: bool) -> bool {
        if waiter & GROUP_WAITER == 0 {
            return false;
        }
        let key = Key {
            index: (waiter >> 32) as u32 & (GROUPS_FROM - 1),
            generation: waiter as u32,
        };
        let Some(group) = self.shares.groups.groups.get_mut(key) else {
            return true;
        };
        group.in_force = granted;
        let joiners = std::mem::take(&mut group.joiners);
        for joiner in joiners {
            self.tell_joiner(key.index, joiner, granted);
            if !granted {
                self.left(joiner.core, joiner.share);
            }
        }
        true
    }

    /// A membership has ended, and with the last one the group.
    pub(super) fn left(&mut self, core: CoreId, share: u64) {
        let groups = &mut self.shares.groups;
        let Some(index) = groups.by_share.remove(&(core, share)) else {
            return;
        };
        groups.settle(index, Some(false));
        let Some(at) = groups.members.remove_at(index).map(|m| m.group) else {
            return;
        };
        let Some(group) = groups.groups.at_mut(at) else {
            return;
        };
        group.members -= 1;
        let last = group.members == 0;
        // Every `Join` has its answer, also that of who is no longer there.
        let (gone, others): (Vec<_>, _) = std::mem::take(&mut group.joiners)
            .into_iter()
            .partition(|joiner| (joiner.core, joiner.share) == (core, share));
        group.joiners = others;
        for joiner in gone {
            self.tell_joiner(at, joiner, false);
        }
        if last {
            self.end_group(at);
        }
    }

    fn end_group(&mut self, at: u32) {
        let Some(mut group) = self.shares.groups.remove(at) else {
            return;
        };
        self.routes
            .local
            .remove_session(&mut group.first_subscription);
        for message in group.queue.drain() {
            self.clients
                .metrics
                .inc(Counter::DeliveryDroppedSessionEnded);
            self.clients.budget.release(message);
        }
    }

    fn tell_joiner(&mut self, at: u32, joiner: Joiner, granted: bool) {
        let joined = self.group_answer(at, joiner, granted);
        if joiner.core == self.clients.core {
            self.joined(&joined);
        } else {
            ShareRecord::Joined(joined).stage(&mut self.outboxes, joiner.core);
        }
    }

    fn group_answer(&self, at: u32, joiner: Joiner, granted: bool) -> Joined {
        let key = self.shares.groups.groups.key_at(at);
        Joined {
            share: joiner.share,
            waiter: joiner.waiter,
            group: key.map_or(0, Key::pack),
            epoch: self.routes.index.epoch(),
            granted,
        }
    }
}
