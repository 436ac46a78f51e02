//! Groups of shared subscribers in every combination of strategy, number of members, kind of session
//! and what happens to them. What must come of it is known exactly, because one thing happens at a
//! time.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ShareStrategy;
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_ack::encode_puback;
use crate::mqtt::encode_client::{encode_client_disconnect, encode_publish, encode_subscribe};
use crate::mqtt::encode_publish::OutgoingPublish;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::plan::Plan;
use crate::sim::script::{Guest, Heard, Script};

/// All ways to choose.
pub(super) const STRATEGIES: [ShareStrategy; 6] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::HashClientId,
    ShareStrategy::HashTopic,
    ShareStrategy::Local,
];

/// What happens to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Story {
    /// All stay and acknowledge at once: everything comes once; per publisher in order, and to one
    /// member where the strategy says so.
    AllStay,
    /// One that has acknowledged nothing loses its connection: what it had goes to the others.
    OneCrashes,
    /// All are away while messages come: the group keeps them once, and who comes first gets them in
    /// order.
    AllAway,
    /// As before, but who comes first goes again without acknowledging: what it had comes first to the
    /// next one.
    HeadOfQueue,
}

/// A combination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) strategy: ShareStrategy,
    pub(super) members: usize,
    pub(super) publishers: usize,
    pub(super) v5: bool,
    /// `$queue/` instead of `$share/g/`.
    pub(super) queue: bool,
    /// Sessions outlive connections.
    pub(super) persistent: bool,
    /// The one that crashes says DISCONNECT.
    pub(super) polite: bool,
    pub(super) story: Story,
}

/// All combinations.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for strategy in STRATEGIES {
        for story in [
            Story::AllStay,
            Story::OneCrashes,
            Story::AllAway,
            Story::HeadOfQueue,
        ] {
            for members in 1..=4 {
                for bits in 0..16_u8 {
                    let persistent = bits & 1 > 0;
                    let waits = matches!(story, Story::AllAway | Story::HeadOfQueue);
                    // A group without a session is no group; one alone has nobody to take over.
                    let alone = members == 1 && story == Story::OneCrashes;
                    if (waits && (!persistent || members == 1)) || alone {
                        continue;
                    }
                    cases.push(Case {
                        strategy,
                        members,
                        publishers: 1 + usize::from(bits & 2 > 0),
                        v5: bits & 4 > 0,
                        queue: bits & 8 > 0,
                        persistent,
                        polite: bits & 2 > 0,
                        story,
                    });
                }
            }
        }
    }
    cases
}

struct Run<'a> {
    script: Script,
    case: &'a Case,
    publishers: Vec<usize>,
    members: Vec<usize>,
    /// Messages so far, and who published each.
    published: Vec<usize>,
    /// Who got each message, in order, and under which identifier.
    got: BTreeMap<u8, Vec<usize>>,
    /// What each member was sent and has not acknowledged: identifier and message.
    owed: Vec<Vec<(u16, u8)>>,
    /// What each member got, in order.
    order: Vec<Vec<u8>>,
}

/// Runs a combination; says whether a message went to a second member.
pub(super) fn run(seed: u64, plan: &Plan, case: &Case) -> bool {
    let mut script = Script::new(seed, plan);
    for core in &mut script.world.cores {
        core.shard.clients.rules.share_strategy = case.strategy;
    }
    let publishers = (0..case.publishers)
        .map(|at| script.connect(&Guest::new(&format!("publisher-{at}"))))
        .collect();
    let mut run = Run {
        script,
        case,
        publishers,
        members: Vec::new(),
        published: Vec::new(),
        got: BTreeMap::new(),
        owed: vec![Vec::new(); case.members],
        order: vec![Vec::new(); case.members],
    };
    for member in 0..case.members {
        let conn = run.join(member, false);
        run.members.push(conn);
    }
    match case.story {
        Story::AllStay => run.all_stay(),
        Story::OneCrashes => run.one_crashes(),
        Story::AllAway => run.all_away(),
        Story::HeadOfQueue => run.head_of_queue(),
    }
    run.got.values().any(|by| by.len() > 1)
}

impl Run<'_> {
    fn version(&self) -> Version {
        if self.case.v5 {
            Version::V5
        } else {
            Version::V311
        }
    }

    fn join(&mut self, member: usize, present: bool) -> usize {
        let version = self.version();
        let conn = self.script.connect(&Guest {
            version,
            clean: !self.case.persistent,
            expiry_s: if self.case.persistent { 50_000 } else { 0 },
            ..Guest::new(&format!("member-{member}"))
        });
        if !present {
            let mut out = Vec::new();
            let entry = SubscribeEntry {
                filter: if self.case.queue {
                    "$queue/s/+"
                } else {
                    "$share/g/s/+"
                },
                options: SubscribeOptions {
                    qos: QoS::AtLeastOnce,
                    ..SubscribeOptions::default()
                },
            };
            encode_subscribe(&mut out, version, 1, None, &[entry]);
            self.script.send(conn, &out);
        }
        self.script.settle();
        let heard = self.script.take(conn);
        assert_eq!(heard[0], Heard::ConnAck(present));
        if !present {
            assert_eq!(heard[1..], [Heard::SubAck(1, vec![1])]);
            return conn;
        }
        self.note(member, &heard[1..]);
        conn
    }

    fn publish(&mut self, publisher: usize) {
        let number = self.published.len();
        self.published.push(publisher);
        let packet_id = u16::try_from(number).unwrap_or(0) + 1;
        let mut out = Vec::new();
        let topics = ["s/0", "s/1"];
        let head = OutgoingPublish {
            topic: topics[publisher % 2],
            qos: QoS::AtLeastOnce,
            packet_id,
            ..OutgoingPublish::default()
        };
        let payload = [u8::try_from(number).unwrap_or(0)];
        encode_publish(&mut out, Version::V5, &head, &payload);
        let conn = self.publishers[publisher];
        self.script.send(conn, &out);
        self.script.settle();
        let heard = self.script.take(conn);
        let acked = heard.contains(&Heard::Ack(4, packet_id));
        assert!(acked, "not acknowledged: {heard:?}");
    }

    fn note(&mut self, member: usize, heard: &[Heard]) {
        for packet in heard {
            match packet {
                Heard::Publish {
                    payload, id, dup, ..
                } => {
                    let number = payload[0];
                    let known = self.owed[member].iter().any(|(_, n)| *n == number);
                    assert!(!known || *dup, "{number} twice to one member");
                    if known {
                        continue;
                    }
                    self.owed[member].push((*id, number));
                    self.order[member].push(number);
                    self.got.entry(number).or_default().push(member);
                }
                other => panic!("a member hears {other:?}"),
            }
        }
    }

    /// All members read; those of `acknowledging` answer until nothing more comes.
    fn read(&mut self, acknowledging: &BTreeSet<usize>) {
        loop {
            let mut any = false;
            for member in 0..self.case.members {
                let heard = self.script.take(self.members[member]);
                self.note(member, &heard);
                if !acknowledging.contains(&member) {
                    continue;
                }
                for (id, _) in std::mem::take(&mut self.owed[member]) {
                    let mut out = Vec::new();
                    encode_puback(&mut out, self.version(), id, ReasonCode::Success);
                    self.script.send(self.members[member], &out);
                    any = true;
                }
            }
            self.script.settle();
            if !any {
                return;
            }
        }
    }

    fn leave(&mut self, member: usize, polite: bool) {
        let conn = self.members[member];
        if polite {
            let mut out = Vec::new();
            encode_client_disconnect(&mut out, self.version(), &Disconnect::default());
            self.script.send(conn, &out);
        } else {
            self.script.cut(conn);
        }
        self.script.settle();
        assert!(self.script.is_closed(conn));
    }

    fn everyone(&self) -> BTreeSet<usize> {
        (0..self.case.members).collect()
    }

    fn publish_some(&mut self, count: usize) {
        for _ in 0..count {
            let publisher = self.script.world.rng.below(self.case.publishers);
            self.publish(publisher);
        }
    }

    /// Each publisher's messages came to each member in their order.
    fn judge_order(&self) {
        for (member, order) in self.order.iter().enumerate() {
            for publisher in 0..self.case.publishers {
                let own: Vec<u8> = order
                    .iter()
                    .copied()
                    .filter(|n| self.published[usize::from(*n)] == publisher)
                    .collect();
                assert!(own.is_sorted(), "member {member} got {own:?}");
            }
        }
    }

    fn judge_all_came(&self) {
        for number in 0..self.published.len() {
            let number = u8::try_from(number).unwrap_or(0);
            assert!(self.got.contains_key(&number), "{number} never came");
        }
    }

    fn judge_once(&self) {
        for (number, by) in &self.got {
            assert_eq!(by.len(), 1, "{number} went to {by:?}");
        }
    }

    fn all_stay(&mut self) {
        let everyone = self.everyone();
        for _ in 0..self.script.world.rng.range(4, 12) {
            self.publish_some(1);
            if self.script.world.rng.percent(60) {
                self.read(&everyone);
            }
        }
        self.read(&everyone);
        self.judge_all_came();
        self.judge_once();
        self.judge_order();
        if self.keeps_to_one() {
            for publisher in 0..self.case.publishers {
                let by: BTreeSet<usize> = self
                    .got
                    .iter()
                    .filter(|(n, _)| self.published[usize::from(**n)] == publisher)
                    .map(|(_, by)| by[0])
                    .collect();
                assert!(by.len() <= 1, "publisher {publisher}: {by:?}");
            }
        }
        if self.case.strategy == ShareStrategy::RoundRobin && self.case.members > 1 {
            let counts: Vec<usize> = self.order.iter().map(Vec::len).collect();
            let most = counts.iter().max().copied().unwrap_or(0);
            assert!(most < self.published.len(), "one got all: {counts:?}");
        }
    }

    /// A publisher (who has one topic here) stays with one member.
    fn keeps_to_one(&self) -> bool {
        matches!(
            self.case.strategy,
            ShareStrategy::Sticky | ShareStrategy::HashClientId | ShareStrategy::HashTopic
        )
    }

    fn one_crashes(&mut self) {
        let victim = self.script.world.rng.below(self.case.members);
        let mut others = self.everyone();
        others.remove(&victim);
        for _ in 0..self.script.world.rng.range(3, 9) {
            self.publish_some(1);
            self.read(&others);
        }
        let had: Vec<u8> = self.owed[victim].iter().map(|(_, n)| *n).collect();
        self.leave(victim, self.case.polite);
        self.owed[victim].clear();
        let before: Vec<usize> = self.order.iter().map(Vec::len).collect();
        self.read(&others);
        for number in &had {
            let by = &self.got[number];
            assert_eq!(by.len(), 2, "{number} had {by:?}");
            assert!(others.contains(&by[1]), "{number} went to {by:?}");
        }
        // What was given back came in its order.
        for member in &others {
            let again = &self.order[*member][before[*member]..];
            let back: Vec<u8> = again.iter().copied().filter(|n| had.contains(n)).collect();
            for publisher in 0..self.case.publishers {
                let own = |n: &&u8| self.published[usize::from(**n)] == publisher;
                assert!(back.iter().filter(own).is_sorted(), "{back:?}");
            }
        }
        self.publish_some(2);
        self.read(&others);
        self.judge_all_came();
        for (number, by) in &self.got {
            let allowed = 1 + usize::from(had.contains(number));
            assert!(by.len() <= allowed, "{number} went to {by:?}");
        }
    }

    fn all_leave(&mut self) {
        for member in 0..self.case.members {
            self.leave(member, self.case.polite);
        }
    }

    fn all_away(&mut self) {
        self.all_leave();
        let count = self.script.world.rng.range(2, 8);
        self.publish_some(count);
        let first = self.script.world.rng.below(self.case.members);
        for member in (0..self.case.members).map(|at| (at + first) % self.case.members) {
            self.members[member] = self.join(member, true);
            self.read(&BTreeSet::from([member]));
            if member == first {
                let expected: Vec<u8> = (0..count).filter_map(|n| u8::try_from(n).ok()).collect();
                assert_eq!(
                    self.order[first], expected,
                    "the group's queue in its order"
                );
            }
        }
        self.judge_all_came();
        self.judge_once();
    }

    fn head_of_queue(&mut self) {
        self.all_leave();
        let count = self.script.world.rng.range(4, 9);
        self.publish_some(count);
        let first = self.script.world.rng.below(self.case.members);
        self.members[first] = self.join(first, true);
        let had: Vec<u8> = self.owed[first].iter().map(|(_, n)| *n).collect();
        assert!(!had.is_empty(), "nobody was there but {first}");
        self.leave(first, self.case.polite);
        self.owed[first].clear();
        let next = (first + 1) % self.case.members;
        self.members[next] = self.join(next, true);
        self.read(&BTreeSet::from([next]));
        let expected: Vec<u8> = (0..count).filter_map(|n| u8::try_from(n).ok()).collect();
        assert_eq!(self.order[next], expected, "what {first} had comes first");
    }
}
