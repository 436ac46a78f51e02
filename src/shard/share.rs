//! Shared subscriptions: `$share/<group>/<filter>` and `$queue/<filter>` [MQTT5 4.8.2], for clients of
//! every version.
//!
//! A group, that is a group's name and a filter, has a home core: the hash of the two. It alone knows
//! the members of all cores, chooses, and holds the group's queue. To the index the group is one
//! subscriber of its filter on that core (a session number of the range [`GROUPS_FROM`]), so a message
//! reaches the home core once a group, by the way of any other. The path is publisher's core, group's
//! core, member's core.
//!
//! - A SUBSCRIBE sends `Join`. SUBACK leaves with the answer, which comes when the filter is in force.
//!   No stored messages are sent [MQTT5 4.8.2].
//! - A message goes to one online member. While nobody is online, or has room, it waits in the group's
//!   queue, once for all; see [`group`] for who is chosen.
//! - What a member has been given lies in its session, marked with a [`ShareTag`]. Each QoS 1 or 2
//!   delivery that is over, whatever became of it, returns room to the group (`Acked`, counted up to
//!   one record a turn).
//! - When a client goes away, what it has not acknowledged goes back (`Returned`) and to its old place
//!   in the group's order; so does what arrives for it meanwhile. Only what was sent to it at QoS 2 is
//!   its own for ever: it is completed when the client comes back, and ends with the session
//!   [MQTT-4.8.2-4, 4.8.2-5]. At QoS 1 both is allowed, and the next member is sooner there.
//! - After an UNSUBSCRIBE what the client was sent is completed with it [MQTT-3.10.4-4]; what waited in
//!   its session's queue goes back.
//! - The queue's limits are those of a session's; what comes back is beyond them, since a window counted
//!   it, and is the oldest when something has to go.
//! - A group ends with its last member, and its queue with it, counted.
//!
//! Order: messages of a publisher keep theirs with one member as long as nobody comes or goes.

pub mod group;
pub mod home;
pub mod memberships;
pub mod queue;
pub mod records;

use ahash::RandomState;
use compact_str::CompactString;

use crate::base::ids::CoreId;
use crate::base::slab::Key;
use crate::mqtt::decode_subscribe::SubscribeEntry;
use crate::mqtt::message::Publication;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::is_shared;
use crate::routing::local::SubOptions;
use crate::session::queue::{Delivery, ShareTag};
use crate::session::state::NONE;
use crate::shard::Shard;
use crate::shard::clients::Clients;
use crate::shard::fanout::{Fanout, Grant, identifiers};
use crate::shard::outbox::Outboxes;
use crate::shard::share::home::Groups;
use crate::shard::share::memberships::{Membership, Memberships};
use crate::shard::share::records::{Join, Joined, Sent, ShareRecord};
use crate::shard::subscribe::granted_reason;

/// From here on the session numbers of the local index are groups; a core has fewer sessions.
pub const GROUPS_FROM: u32 = 1 << 26;

/// Both ends of shared subscriptions on one core.
pub struct Shares {
    /// Of this core's sessions.
    pub memberships: Memberships,
    /// Groups whose home is this core.
    pub groups: Groups,
}

impl Shares {
    /// Nobody shares anything. The seed must come from the system's random numbers.
    pub fn new(seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed.map(|word| word.rotate_left(17));
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self {
            memberships: Memberships::new(hasher.clone()),
            groups: Groups::new(hasher, a ^ d),
        }
    }

    /// Whether a session has this shared subscription.
    pub fn is_member(&self, session: u32, filter: &str) -> bool {
        self.memberships.find(session, text_of(filter)).is_some()
    }

    /// Gives a message of its group to a session of this core; false if it cannot take it.
    pub fn hand_over(&self, sent: Sent, fanout: &mut Fanout<'_>, clients: &mut Clients) -> bool {
        let membership = self.memberships.get(sent.share);
        let Some(membership) = membership.filter(|m| clients.is_online(m.session)) else {
            return false;
        };
        let grant = Grant {
            qos: sent.qos,
            retain_as_published: membership.options.retain_as_published(),
            identifiers: identifiers(membership.identifier),
            share: ShareTag {
                membership: Key::unpack(sent.share).index,
                seq: sent.seq,
            },
        };
        clients.deliver(membership.session, fanout, &grant);
        true
    }

    /// Tells groups which deliveries are over.
    pub fn tell_done(&mut self, clients: &mut Clients, outboxes: &mut Outboxes) {
        if clients.shares_done.is_empty() {
            return;
        }
        let mut done = std::mem::take(&mut clients.shares_done);
        done.sort_unstable();
        for run in done.chunk_by(|a, b| a == b) {
            let Some((key, membership)) = self.memberships.at(run[0]) else {
                continue;
            };
            let (share, home) = (key.pack(), membership.home);
            let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
            if home == clients.core {
                self.groups.acked(home, share, count);
            } else {
                ShareRecord::Acked { share, count }.stage(outboxes, home);
            }
        }
        done.clear();
        clients.shares_done = done;
    }

    /// Gives back to its group what a session of this core has not taken.
    fn give_back(
        &mut self,
        (share, home, group): (u64, CoreId, u64),
        delivery: Delivery,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
    ) {
        let sent = Sent {
            group,
            share,
            seq: delivery.share.seq,
            qos: delivery.qos,
        };
        if home == clients.core {
            return self.groups.returned(home, sent, delivery.message, clients);
        }
        ShareRecord::Returned(sent, delivery.message.view()).stage(outboxes, home);
        clients.budget.release(delivery.message);
    }
}

/// Group and filter of a shared subscription's filter, with a slash between them.
fn text_of(filter: &str) -> &str {
    // `$queue/` is the group of that name.
    filter.strip_prefix("$share/").unwrap_or(filter)
}

impl Shard {
    /// One shared filter of a SUBSCRIBE; `waiter` names it in the answer.
    pub(super) fn share_subscribe(
        &mut self,
        session_index: u32,
        suback: Key,
        waiter: u64,
        entry: &SubscribeEntry<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return ReasonCode::UnspecifiedError;
        };
        let qos = entry.options.qos.as_u8();
        let qos = qos.min(self.clients.rules.max_qos_allowed);
        let qos = QoS::from_u8(qos).unwrap_or_default();
        let text = text_of(entry.filter);
        let home = self.homes.of_group(text);
        let memberships = &mut self.shares.memberships;
        let share = match memberships.find(session_index, text) {
            Some(index) => memberships.at(index).map_or(0, |(key, _)| key.pack()),
            None => {
                session.subscriptions += 1;
                let first = &mut session.first_membership;
                memberships.insert(session_index, first, home, text).pack()
            }
        };
        let window = session.window;
        if let Some(membership) = memberships.get_mut(share) {
            let asked = entry.options;
            let handling = asked.retain_handling as u8;
            membership.options =
                SubOptions::new(qos.as_u8(), false, asked.retain_as_published, handling);
            membership.identifier = identifier;
        }
        let join = Join {
            share,
            waiter,
            qos,
            window,
            text,
        };
        let answer = if home == self.clients.core {
            self.join(home, &join)
        } else {
            ShareRecord::Join(join).stage(&mut self.outboxes, home);
            None
        };
        match answer {
            Some(joined) if joined.granted => self.note_group(&joined),
            Some(_) => {
                self.forget_membership(share);
                return ReasonCode::QuotaExceeded;
            }
            None => {
                if let Some(pending) = self.subacks.get_mut(suback) {
                    pending.outstanding += 1;
                }
            }
        }
        granted_reason(qos)
    }

    /// Ends a session's shared subscription; false if it had none [MQTT-3.10.4-5].
    pub(super) fn share_unsubscribe(&mut self, session_index: u32, filter: &str) -> bool {
        debug_assert!(is_shared(filter), "the caller has looked");
        let found = self.shares.memberships.find(session_index, text_of(filter));
        let Some(index) = found else {
            return false;
        };
        self.shares.tell_done(&mut self.clients, &mut self.outboxes);
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return false;
        };
        let waiting = session.leave_share(index);
        session.subscriptions -= 1;
        let first = &mut session.first_membership;
        let Some((key, gone)) = self.shares.memberships.remove(index, first) else {
            return false;
        };
        self.leave(key.pack(), gone.home);
        for delivery in waiting {
            let from = (key.pack(), gone.home, gone.group);
            let (clients, outboxes) = (&mut self.clients, &mut self.outboxes);
            self.shares.give_back(from, delivery, clients, outboxes);
        }
        true
    }

    /// The client of a session has gone: others get what it has not acknowledged.
    pub(super) fn shares_go_away(&mut self, session_index: u32) {
        let Some(members) = self.memberships_of(session_index) else {
            return;
        };
        self.shares.tell_done(&mut self.clients, &mut self.outboxes);
        for (key, home, _) in &members {
            let share = key.pack();
            if *home == self.clients.core {
                self.shares.groups.offline(*home, share);
            } else {
                ShareRecord::Offline { share }.stage(&mut self.outboxes, *home);
            }
        }
        let session = self.clients.registry.at_mut(session_index);
        let taken = session.map(|s| s.take_shared()).unwrap_or_default();
        for delivery in taken {
            let Some((key, membership)) = self.shares.memberships.at(delivery.share.membership)
            else {
                self.clients.budget.release(delivery.message);
                continue;
            };
            let from = (key.pack(), membership.home, membership.group);
            let (clients, outboxes) = (&mut self.clients, &mut self.outboxes);
            self.shares.give_back(from, delivery, clients, outboxes);
        }
    }

    /// The client of a session has come back.
    pub(super) fn shares_come_back(&mut self, session_index: u32) {
        let Some(members) = self.memberships_of(session_index) else {
            return;
        };
        let session = self.clients.registry.at(session_index);
        let window = session.map_or(0, |session| session.window);
        for (key, home, _) in members {
            let share = key.pack();
            if home == self.clients.core {
                self.shares.groups.online(home, share, window);
            } else {
                ShareRecord::Online { share, window }.stage(&mut self.outboxes, home);
            }
        }
    }

    /// A session ends: it leaves all its groups.
    pub(super) fn leave_shares(&mut self, session_index: u32) {
        let Some(members) = self.memberships_of(session_index) else {
            return;
        };
        self.shares.tell_done(&mut self.clients, &mut self.outboxes);
        for (key, home, _) in members {
            self.forget_membership(key.pack());
            self.leave(key.pack(), home);
        }
    }

    /// A record of another core that concerns shared subscriptions.
    pub(super) fn take_share(&mut self, from: CoreId, record: &ShareRecord<'_>) {
        match *record {
            ShareRecord::Join(join) => {
                if let Some(joined) = self.join(from, &join) {
                    ShareRecord::Joined(joined).stage(&mut self.outboxes, from);
                }
            }
            ShareRecord::Joined(joined) => self.joined(&joined),
            ShareRecord::Leave { share } => self.left(from, share),
            ShareRecord::Online { share, window } => {
                self.shares.groups.online(from, share, window);
            }
            ShareRecord::Offline { share } => self.shares.groups.offline(from, share),
            ShareRecord::Acked { share, count } => self.shares.groups.acked(from, share, count),
            ShareRecord::Deliver(sent, publication) => {
                self.take_delivery(from, sent, publication);
            }
            ShareRecord::Returned(sent, publication) => {
                let message = crate::mqtt::message::Message::from_publication(&publication);
                self.clients.budget.charge(&message);
                let clients = &mut self.clients;
                self.shares.groups.returned(from, sent, message, clients);
            }
        }
    }

    /// What is due between members and groups; says whether more of it could be done right now.
    pub(super) fn work_shares(&mut self) -> bool {
        self.shares.tell_done(&mut self.clients, &mut self.outboxes);
        self.shares.pump(&mut self.clients, &mut self.outboxes)
    }

    /// Whether nothing waits that would be driven on without an event.
    pub(super) fn shares_are_idle(&self) -> bool {
        self.clients.shares_done.is_empty() && self.shares.groups.is_idle()
    }

    /// The answer to a `Join` of a session of this core.
    pub(super) fn joined(&mut self, joined: &Joined) {
        if joined.epoch > self.routes.index.epoch() {
            // What is matched in this turn behind the SUBACK must know the filter.
            self.routes.index.pass();
        }
        if joined.granted {
            self.note_group(joined);
        } else {
            self.forget_membership(joined.share);
        }
        let refused = (!joined.granted).then_some(ReasonCode::QuotaExceeded);
        self.settle_waiter(joined.waiter, refused);
    }

    /// A message of a group for a session of this core.
    fn take_delivery(&mut self, from: CoreId, sent: Sent, publication: Publication<'_>) {
        let mut fanout = Fanout::new(publication);
        if !self.shares.hand_over(sent, &mut fanout, &mut self.clients) {
            ShareRecord::Returned(sent, publication).stage(&mut self.outboxes, from);
        }
        fanout.finish(&mut self.clients.budget);
    }

    fn note_group(&mut self, joined: &Joined) {
        if let Some(membership) = self.shares.memberships.get_mut(joined.share) {
            membership.group = joined.group;
        }
    }

    /// Takes a membership out of this core's tables.
    fn forget_membership(&mut self, share: u64) {
        let index = Key::unpack(share).index;
        let present = self.shares.memberships.get(share).map(|m| m.session);
        let Some(session) = present.and_then(|session| self.clients.registry.at_mut(session))
        else {
            return;
        };
        session.leave_share(index);
        session.subscriptions -= 1;
        let first = &mut session.first_membership;
        self.shares.memberships.remove(index, first);
    }

    fn leave(&mut self, share: u64, home: CoreId) {
        if home == self.clients.core {
            self.left(home, share);
        } else {
            ShareRecord::Leave { share }.stage(&mut self.outboxes, home);
        }
    }

    /// Names, home cores and groups of a session's memberships; absent if it has none.
    fn memberships_of(&self, session_index: u32) -> Option<Vec<(Key, CoreId, u64)>> {
        let first = self.clients.registry.at(session_index)?.first_membership;
        if first == NONE {
            return None;
        }
        let each = |(key, m): (Key, &Membership)| (key, m.home, m.group);
        Some(
            self.shares
                .memberships
                .of_session(first)
                .map(each)
                .collect(),
        )
    }
}

/// The name of the group in a text of group and filter.
fn group_name(text: &str) -> &str {
    text.split_once('/').map_or(text, |(group, _)| group)
}

/// The text as a group keeps it.
fn owned_text(text: &str) -> CompactString {
    CompactString::from(text)
}
