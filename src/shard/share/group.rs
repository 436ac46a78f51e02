//! One group of shared subscribers as its home core sees it: who is there, and who gets the next
//! message.
//!
//! A member is *online* while its client is connected, and *ready* while besides fewer messages are
//! under way to it than its window holds. Both are lists, so that a choice costs the same in a group of
//! ten thousand.
//!
//! Strategies without a key (`round_robin`, `random`, `local`) choose among the ready ones, so a slow
//! member gets less and what nobody has room for waits in the group's queue. Strategies with a key
//! (`sticky`, the hashes) choose among the online ones whatever their window: a publisher's messages
//! stay in their order with one member and wait in the queue of its session if they must, under that
//! queue's limits. In the group's queue they would hold up the messages of all others.

use std::hash::BuildHasherDefault;

use ahash::AHasher;
use compact_str::CompactString;
use hashbrown::HashMap;

use crate::base::ids::CoreId;
use crate::base::limits::{SHARE_CANDIDATES_MAX, STICKY_PUBLISHERS_MAX};
use crate::base::slab::Slab;
use crate::config::ShareStrategy;
use crate::mqtt::qos::QoS;
use crate::session::state::NONE;
use crate::shard::share::queue::GroupQueue;

/// A session that shares a subscription.
#[derive(Debug)]
pub struct Member {
    /// The core of its session.
    pub core: CoreId,
    /// That core's name for the membership.
    pub share: u64,
    /// Its group.
    pub group: u32,
    /// Granted QoS.
    pub qos: QoS,
    /// Messages of QoS 1 and 2 that may be under way to it.
    pub window: u16,
    /// Messages of QoS 1 and 2 that are.
    pub outstanding: u32,
    /// Place in the group's list of online members, or [`NONE`].
    online_at: u32,
    /// Place in the group's list of ready members, or [`NONE`].
    ready_at: u32,
}

impl Member {
    /// A member that is not there yet.
    pub fn new(core: CoreId, share: u64, group: u32) -> Self {
        Self {
            core,
            share,
            group,
            qos: QoS::AtMostOnce,
            window: 0,
            outstanding: 0,
            online_at: NONE,
            ready_at: NONE,
        }
    }

    /// Whether its client is connected.
    pub fn is_online(&self) -> bool {
        self.online_at != NONE
    }

    fn has_room(&self) -> bool {
        self.qos == QoS::AtMostOnce || self.outstanding < u32::from(self.window)
    }
}

/// Who waits to hear that the group's filter is in force.
#[derive(Clone, Copy, Debug)]
pub struct Joiner {
    /// Its core.
    pub core: CoreId,
    /// That core's name for the membership.
    pub share: u64,
    /// That core's name for the SUBSCRIBE.
    pub waiter: u64,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    /// Group and filter, with a slash between them.
    pub text: CompactString,
    /// How it chooses.
    pub strategy: ShareStrategy,
    /// Head of its one subscription in the core's local index.
    pub first_subscription: u32,
    /// The filter is in force.
    pub in_force: bool,
    /// Who waits for that.
    pub joiners: Vec<Joiner>,
    /// Members, online or not.
    pub members: u32,
    /// Messages that wait.
    pub queue: GroupQueue,
    /// Is in the list of groups to be looked at.
    pub dirty: bool,
    next_seq: u32,
    online: Vec<u32>,
    ready: Vec<u32>,
    cursor: usize,
    sticky: HashMap<u64, u32, BuildHasherDefault<AHasher>>,
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// QoS as published.
    pub qos: QoS,
    /// The publisher; its core is in the top byte.
    pub publisher: u64,
    /// Hash of the topic.
    pub topic_hash: u64,
    /// A random number.
    pub random: u64,
}

/// Who gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// This member.
    Member(u32),
    /// Nobody is there, or has room.
    Nobody,
    /// The way to who should get it is full for now.
    Blocked,
}

impl Group {
    /// A group without members.
    pub fn new(text: CompactString, strategy: ShareStrategy) -> Self {
        Self {
            text,
            strategy,
            first_subscription: NONE,
            in_force: false,
            joiners: Vec::new(),
            members: 0,
            queue: GroupQueue::default(),
            dirty: false,
            next_seq: 0,
            online: Vec::new(),
            ready: Vec::new(),
            cursor: 0,
            sticky: HashMap::default(),
        }
    }

    /// The filter that its messages match.
    pub fn filter(&self) -> &str {
        self.text.split_once('/').map_or("", |(_, filter)| filter)
    }

    /// The place of a new message in the group's order.
    pub fn next_seq(&mut self) -> u32 {
        self.next_seq = self.next_seq.wrapping_add(1);
        self.next_seq
    }

    /// Enters a member in the lists or takes it out, after a change.
    pub fn settle(&mut self, members: &mut Slab<Member>, index: u32, online: bool) {
        let Some(member) = members.at(index) else {
            return;
        };
        let ready = online && member.has_room();
        if member.is_online() != online {
            list(&mut self.online, members, index, online, |m| {
                &mut m.online_at
            });
        }
        if members
            .at(index)
            .is_some_and(|m| (m.ready_at != NONE) != ready)
        {
            list(&mut self.ready, members, index, ready, |m| &mut m.ready_at);
        }
    }

    /// Who gets the next message. `reachable` says whether records to a core are taken now.
    pub fn choose(
        &mut self,
        members: &Slab<Member>,
        ask: &Ask,
        reachable: impl Fn(CoreId) -> bool,
    ) -> Choice {
        match self.strategy {
            ShareStrategy::RoundRobin => self.in_turn(members, ask, None, reachable),
            ShareStrategy::Random => {
                self.cursor = index_of(ask.random, usize::MAX >> 1);
                self.in_turn(members, ask, None, reachable)
            }
            ShareStrategy::Local => {
                let core = u8::try_from(ask.publisher >> 56).map(CoreId).ok();
                match self.in_turn(members, ask, core, &reachable) {
                    Choice::Nobody => self.in_turn(members, ask, None, reachable),
                    chosen => chosen,
                }
            }
            ShareStrategy::HashClientId => self.by_key(members, mix(ask.publisher), reachable),
            ShareStrategy::HashTopic => self.by_key(members, ask.topic_hash, reachable),
            ShareStrategy::Sticky => self.stuck(members, ask, reachable),
        }
    }

    /// The next one in turn, of one core if that is asked for.
    fn in_turn(
        &mut self,
        members: &Slab<Member>,
        ask: &Ask,
        core: Option<CoreId>,
        reachable: impl Fn(CoreId) -> bool,
    ) -> Choice {
        let list = if ask.qos == QoS::AtMostOnce {
            &self.online
        } else {
            &self.ready
        };
        let mut refusals = 0;
        // A division a message is dear; the cursor is beyond the list only after a random number, or when
        // members have gone.
        let mut at = self.cursor;
        if at >= list.len() {
            at = at.checked_rem(list.len()).unwrap_or(0);
        }
        for _ in 0..list.len() {
            let next = if at + 1 < list.len() { at + 1 } else { 0 };
            let index = list[std::mem::replace(&mut at, next)];
            let Some(member) = members.at(index) else {
                continue;
            };
            if core.is_some_and(|core| member.core != core) {
                continue;
            }
            if reachable(member.core) {
                self.cursor = at;
                return Choice::Member(index);
            }
            refusals += 1;
            if refusals == SHARE_CANDIDATES_MAX {
                break;
            }
        }
        if refusals > 0 {
            Choice::Blocked
        } else {
            Choice::Nobody
        }
    }

    fn by_key(
        &self,
        members: &Slab<Member>,
        key: u64,
        reachable: impl Fn(CoreId) -> bool,
    ) -> Choice {
        let Some(len) = std::num::NonZeroUsize::new(self.online.len()) else {
            return Choice::Nobody;
        };
        let index = self.online[index_of(key, len.get())];
        take_if_reachable(members, index, reachable)
    }

    /// A publisher keeps its member while that is online. Beyond so many publishers the choice is by
    /// hash, which needs no memory.
    fn stuck(
        &mut self,
        members: &Slab<Member>,
        ask: &Ask,
        reachable: impl Fn(CoreId) -> bool,
    ) -> Choice {
        let bound = self.sticky.get(&ask.publisher).copied();
        let there = |index: u32| {
            let at = members.at(index).map_or(NONE, |member| member.online_at);
            self.online.get(at as usize) == Some(&index)
        };
        if let Some(index) = bound.filter(|index| there(*index)) {
            return take_if_reachable(members, index, reachable);
        }
        if bound.is_none() && self.sticky.len() >= STICKY_PUBLISHERS_MAX {
            return self.by_key(members, mix(ask.publisher), reachable);
        }
        if self.online.is_empty() {
            return Choice::Nobody;
        }
        let index = self.online[self.cursor % self.online.len()];
        self.cursor = self.cursor.wrapping_add(1);
        self.sticky.insert(ask.publisher, index);
        take_if_reachable(members, index, reachable)
    }
}

fn take_if_reachable(
    members: &Slab<Member>,
    index: u32,
    reachable: impl Fn(CoreId) -> bool,
) -> Choice {
    match members.at(index) {
        Some(member) if reachable(member.core) => Choice::Member(index),
        _ => Choice::Blocked,
    }
}

/// Enters a member in a list of its group, or takes it out; `place` is where it keeps its place.
fn list(
    list: &mut Vec<u32>,
    members: &mut Slab<Member>,
    index: u32,
    enter: bool,
    place: impl Fn(&mut Member) -> &mut u32,
) {
    let Some(member) = members.at_mut(index) else {
        return;
    };
    if enter {
        *place(member) = u32::try_from(list.len()).unwrap_or(NONE);
        return list.push(index);
    }
    let at = std::mem::replace(place(member), NONE);
    list.swap_remove(at as usize);
    if let Some(moved) = list.get(at as usize).copied()
        && let Some(member) = members.at_mut(moved)
    {
        *place(member) = at;
    }
}

/// Spreads neighbours.
fn mix(key: u64) -> u64 {
    let wide = u128::from(key ^ 0x9E37_79B9_7F4A_7C15) * u128::from(0xD6E8_FEB8_6659_FD93_u64);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    let folded = (wide >> 64) as u64 ^ wide as u64;
    folded
}

/// A number below `len` from a hash.
fn index_of(hash: u64, len: usize) -> usize {
    usize::try_from(hash % len as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        group: Group,
        members: Slab<Member>,
    }

    impl Fixture {
        fn new(strategy: ShareStrategy, cores: &[u8]) -> Self {
            let mut members = Slab::default();
            let mut group = Group::new("g/t".into(), strategy);
            for (share, core) in cores.iter().enumerate() {
                let mut member = Member::new(CoreId(*core), share as u64, 0);
                (member.qos, member.window) = (QoS::AtLeastOnce, 2);
                let index = members.insert(member).index;
                group.settle(&mut members, index, true);
            }
            Self { group, members }
        }

        fn ask(publisher: u64, topic_hash: u64) -> Ask {
            Ask {
                qos: QoS::AtLeastOnce,
                publisher,
                topic_hash,
                random: publisher.wrapping_mul(0x1234_5678_9ABC_DEF1),
            }
        }

        /// Who gets it; it counts as under way.
        fn send(&mut self, ask: Ask) -> Option<u32> {
            let choice = self.group.choose(&self.members, &ask, |_| true);
            let Choice::Member(index) = choice else {
                return None;
            };
            self.members.at_mut(index).unwrap().outstanding += 1;
            self.group.settle(&mut self.members, index, true);
            Some(index)
        }

        fn online(&mut self, index: u32, online: bool) {
            self.group.settle(&mut self.members, index, online);
        }
    }

    #[test]
    fn in_turn_until_nobody_has_room() {
        let mut f = Fixture::new(ShareStrategy::RoundRobin, &[0, 1, 2]);
        let mut got = [0; 3];
        let first: Vec<u32> = (0..3)
            .map(|_| f.send(Fixture::ask(1, 1)).unwrap())
            .collect();
        assert_eq!(first, [0, 1, 2]);
        for index in first {
            got[index as usize] += 1;
        }
        while let Some(index) = f.send(Fixture::ask(1, 1)) {
            got[index as usize] += 1;
        }
        assert_eq!(got, [2, 2, 2]);
        // QoS 0 needs no room.
        let ask = Ask {
            qos: QoS::AtMostOnce,
            ..Fixture::ask(1, 1)
        };
        assert!(matches!(
            f.group.choose(&f.members, &ask, |_| true),
            Choice::Member(_)
        ));
        f.members.at_mut(1).unwrap().outstanding = 1;
        f.online(1, true);
        assert_eq!(f.send(Fixture::ask(1, 1)), Some(1));
        for index in 0..3 {
            f.online(index, false);
        }
        assert_eq!(f.group.choose(&f.members, &ask, |_| true), Choice::Nobody);
    }

    #[test]
    fn every_strategy_reaches_everybody_and_only_who_is_online() {
        use ShareStrategy::{HashClientId, HashTopic, Local, Random, RoundRobin, Sticky};
        for strategy in [RoundRobin, Random, Sticky, HashClientId, HashTopic, Local] {
            let mut f = Fixture::new(strategy, &[0, 1, 2, 0]);
            f.online(2, false);
            let mut got = [0; 4];
            for number in 0..400 {
                let ask = Fixture::ask(number, mix(number));
                let index = f.send(ask).unwrap();
                got[index as usize] += 1;
                f.members.at_mut(index).unwrap().outstanding = 0;
                f.online(index, true);
            }
            assert_eq!(got[2], 0, "{strategy:?}");
            let least = if strategy == Local { 0 } else { 80 };
            assert!(
                [0, 1, 3].iter().all(|at| got[*at] >= least),
                "{strategy:?} {got:?}"
            );
        }
    }

    #[test]
    fn with_a_key_the_window_does_not_count() {
        use ShareStrategy::{HashClientId, HashTopic, Sticky};
        for strategy in [Sticky, HashClientId, HashTopic] {
            let mut f = Fixture::new(strategy, &[0, 1, 2]);
            for key in 0..10 {
                let first = f.send(Fixture::ask(key, key)).unwrap();
                for _ in 0..20 {
                    let next = f.send(Fixture::ask(key, key));
                    assert_eq!(next, Some(first), "{strategy:?}");
                }
            }
        }
    }

    #[test]
    fn sticky_holds_while_others_come_and_go() {
        let mut f = Fixture::new(ShareStrategy::Sticky, &[0, 0, 0, 0]);
        let bound: Vec<u32> = (0..4)
            .map(|key| f.send(Fixture::ask(key, 0)).unwrap())
            .collect();
        assert_eq!(bound, [0, 1, 2, 3]);
        f.online(0, false);
        assert_eq!(f.send(Fixture::ask(1, 0)), Some(1));
        assert_eq!(f.send(Fixture::ask(3, 0)), Some(3));
        assert_ne!(f.send(Fixture::ask(0, 0)), Some(0));
        f.online(0, true);
        assert_eq!(f.send(Fixture::ask(2, 0)), Some(2));
    }

    #[test]
    fn local_prefers_the_publishers_core() {
        let mut f = Fixture::new(ShareStrategy::Local, &[0, 1, 0, 2]);
        let from = |core: u64| Fixture::ask(core << 56, 0);
        assert_eq!(f.send(from(1)), Some(1));
        assert_eq!(f.send(from(1)), Some(1));
        assert_ne!(f.send(from(1)), Some(1), "its window is full");
        let anywhere = f.send(from(7));
        assert!(anywhere.is_some());
    }

    #[test]
    fn a_full_way_is_gone_round_if_there_is_another() {
        let mut f = Fixture::new(ShareStrategy::RoundRobin, &[1, 0]);
        let ask = Fixture::ask(1, 1);
        let only_0 = |core: CoreId| core.0 == 0;
        for _ in 0..3 {
            assert_eq!(f.group.choose(&f.members, &ask, only_0), Choice::Member(1));
        }
        assert_eq!(f.group.choose(&f.members, &ask, |_| false), Choice::Blocked);
    }
}
