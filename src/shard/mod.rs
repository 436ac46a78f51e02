//! Layer 4: one core's broker, sans-I/O. The driver (`runtime/`) or the simulation (`sim/`) owns a
//! [`Shard`], hands it bytes, records and the time, and carries out its [`Effects`].
//!
//! One turn, in this order (architecture: "One core"):
//! 1. [`Shard::begin_turn`]: the time; the index's epoch, after completions were taken
//! 2. bytes: [`Shard::handshake_bytes`], [`Shard::receive`]; records of other cores:
//!    [`Shard::take_record`]; answers of the index thread: [`Shard::index_applied`]
//! 3. [`Shard::work`]: timers, suspended connections, wills, replays
//! 4. the driver flushes the outboxes, then [`Shard::end_turn`] lets acknowledgements go, then the
//!    driver carries out the effects
//!
//! - [`handshake`]: accept to an accepted CONNECT, on any core; [`arrive`]: the same at home;
//!   [`auth`]: who may enter; [`auth_again`]: the same while connected
//! - [`receive`]: bytes to packets; [`publish`], [`subscribe`], [`acks`]: what they do; [`access`]:
//!   whether they may; [`quota`]: how much; [`bans`]: who is not let in; `inherit`: who comes back to
//!   a session
//! - [`deliver`], [`fanout`], [`aliases`]: messages to clients; [`cross`], [`outbox`]: messages to
//!   other cores
//! - [`share`]: shared subscriptions; [`replay`]: stored messages; [`timers`], [`close`]: what ends
//! - [`addons`]: what EMQX adds to MQTT: [`delayed`], [`exclusive`], [`rewrite`], [`mountpoint`],
//!   `auto_subscribe`; `retry` sends again
//! - [`observe`]: what is told to those who watch; [`lens`]: what operators look at
//! - [`manage`]: what operators ask; [`stop`] holds the steps of a shutdown
//! - `settings`: other rules while it runs; [`offers`]: what clients were told of them
//! - [`clients`], [`connection`], [`registry`], [`memory`]: the tables; [`census`] counts them

pub mod access;
pub mod acks;
pub mod addons;
pub mod aliases;
pub mod arrive;
pub mod auth;
pub mod auth_again;
mod auto_subscribe;
pub mod bans;
pub mod census;
pub mod clients;
pub mod close;
pub mod connection;
pub mod cross;
pub mod delayed;
pub mod deliver;
pub mod exclusive;
pub mod fanout;
pub mod handshake;
pub mod home;
mod inherit;
pub mod lens;
pub mod manage;
pub mod memory;
pub mod mountpoint;
pub mod observe;
pub mod offers;
pub mod outbox;
pub mod outgoing;
pub mod publish;
pub mod quota;
pub mod receive;
pub mod registry;
pub mod replay;
mod retry;
pub mod rewrite;
mod settings;
pub mod share;
mod slow_subs;
pub mod stop;
pub mod subscribe;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
pub mod timers;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::epoch::EpochsHandle;
use crate::base::ids::{CoreId, Epoch, FilterId};
use crate::base::slab::Slab;
use crate::base::time::Now;
use crate::base::wheel::TimerWheel;
pub use crate::gate::rules;
use crate::gate::rules::Rules;
use crate::metrics::{CoreMetrics, Counter};
use crate::mqtt::message::{Message, Publication};
use crate::routing::delta::Hit;
use crate::routing::local::LocalIndex;
use crate::routing::reader::IndexReader;
use crate::routing::retained::{RetainedLimits, RetainedStore};
use crate::shard::addons::DeliverySwitches;
use crate::shard::clients::{Clients, Effects, OutQueues};
use crate::shard::cross::{CrossCore, Parcel};
use crate::shard::delayed::DelayedMessages;
use crate::shard::exclusive::ExclusiveTopics;
use crate::shard::home::Homes;
use crate::shard::memory::Budget;
use crate::shard::offers::Offers;
use crate::shard::outbox::{AckFifo, Outboxes};
use crate::shard::registry::Registry;
use crate::shard::replay::{Replays, StoredMessage};
use crate::shard::rewrite::Rewriter;
use crate::shard::share::Shares;
use crate::shard::subscribe::{MergedSubscriber, PendingSuback};

/// Milliseconds of one tick of the timers.
const TICK_MS: u64 = 100;

/// Everything one core's broker owns.
pub struct Shard {
    /// Connections and sessions.
    pub clients: Clients,
    /// What goes to other cores.
    pub outboxes: Outboxes,
    /// Acknowledgements that wait until messages have gone to other cores.
    acks: AckFifo,
    routes: Routes,
    shares: Shares,
    replays: Replays,
    homes: Homes,
    asking: access::Asking,
    door: bans::Doorkeeper,
    /// Clients whose authentication is waited for.
    authn: auth::Waiting,
    cores: u8,
    /// No new client is taken in.
    stopping: bool,
    /// Of what clients send, acknowledgements are handled only.
    deaf: bool,
    /// SUBSCRIBEs that wait for the index thread.
    subacks: Slab<PendingSuback>,
    /// Messages whose time has not come.
    delayed: DelayedMessages,
    /// Topics that sessions of this core claim for themselves.
    exclusive: ExclusiveTopics,
    /// Rules that change topics.
    rewriter: Rewriter,
    /// Topics of PUBLISH packets may have to be changed.
    changes_topics: bool,
    /// Wills to be published.
    pending_wills: VecDeque<Message>,
    /// Connections that wait for an outbox or the index.
    suspended: Vec<u32>,
    /// The number of client ids assigned, and what makes them unlike those of another start.
    assigned_ids: u64,
    salt: u64,
    /// Records taken in from other cores.
    taken_records: u64,
    /// Where the next clients are that are told good-bye.
    farewell_at: u32,
    /// Greatest lateness of a timer since the figures were last asked for.
    timer_lag_ms: u64,
    /// The last turn that took in all that lay in the lanes when it began.
    lanes_emptied_turn: u64,
    /// The epoch that this turn began with.
    turn_epoch: Epoch,
    // Memory that is used again in each turn.
    suspended_spare: Vec<u32>,
    hits: Vec<Hit>,
    filters: Vec<FilterId>,
    merged: Vec<MergedSubscriber>,
    due: Vec<u64>,
    alias_topic: String,
    properties: Vec<u8>,
}

/// Who wants what.
pub struct Routes {
    /// The shared index, as this core reads it.
    pub index: IndexReader,
    /// How far the other cores have read it.
    pub epochs: EpochsHandle,
    /// This core's own subscribers.
    pub local: LocalIndex,
    /// The retained messages whose topics fall to this core.
    pub retained: RetainedStore<StoredMessage>,
}

/// What a shard is made of.
pub struct ShardParts {
    /// Its core.
    pub core: CoreId,
    /// Number of cores.
    pub cores: u8,
    /// What is allowed.
    pub rules: Rules,
    /// Key of the client id hash, from the data directory.
    pub hash_key: [u8; 16],
    /// Random numbers for tables and assigned ids.
    pub seed: [u64; 4],
    /// The core's reader of the shared index.
    pub index: IndexReader,
    /// How far all cores have read it.
    pub epochs: EpochsHandle,
    /// Counters.
    pub metrics: CoreMetrics,
    /// The moment of the start.
    pub now: Now,
}

impl Shard {
    /// A shard without clients.
    pub fn new(parts: ShardParts) -> Self {
        let rules = parts.rules;
        let addons = Arc::clone(&rules.addons);
        let rewriter = Rewriter::new(&addons.rewrite);
        let clients = Clients {
            core: parts.core,
            now: parts.now,
            connections: Slab::with_limit(rules.max_connections),
            registry: Registry::new(parts.seed),
            outs: OutQueues::default(),
            budget: Budget::new(rules.queue_memory_bytes),
            longest_queue: (u32::MAX, 0),
            queue_search: 0,
            shares_done: Vec::new(),
            replays_fed: Vec::new(),
            partial_bytes: 0,
            wheel: TimerWheel::new(parts.now.ms, TICK_MS),
            metrics: parts.metrics,
            effects: Effects::default(),
            switches: DeliverySwitches::new(&addons),
            watch: None,
            offers: Offers::new(&rules),
            lens: None,
            rules,
        };
        let retained =
            RetainedStore::new(retained_limits(&clients.rules, parts.cores), parts.seed[3]);
        let routes = Routes {
            index: parts.index,
            epochs: parts.epochs,
            local: LocalIndex::new(parts.seed),
            retained,
        };
        Self {
            clients,
            outboxes: Outboxes::new(parts.cores),
            acks: AckFifo::default(),
            routes,
            shares: Shares::new(parts.seed),
            replays: Replays::default(),
            homes: Homes::new(parts.hash_key, parts.cores),
            asking: access::Asking::default(),
            door: bans::Doorkeeper::new(parts.seed),
            authn: auth::Waiting::default(),
            cores: parts.cores,
            stopping: false,
            deaf: false,
            subacks: Slab::default(),
            delayed: DelayedMessages::new(addons.max_delayed_messages, parts.cores),
            exclusive: ExclusiveTopics::default(),
            changes_topics: !rewriter.keeps_topics() || addons.has_mountpoints(),
            rewriter,
            pending_wills: VecDeque::new(),
            suspended: Vec::new(),
            assigned_ids: 0,
            salt: parts.seed[0] ^ parts.seed[1],
            taken_records: 0,
            farewell_at: 0,
            timer_lag_ms: 0,
            lanes_emptied_turn: 0,
            turn_epoch: Epoch::default(),
            suspended_spare: Vec::new(),
            hits: Vec::new(),
            filters: Vec::new(),
            merged: Vec::new(),
            due: Vec::new(),
            alias_topic: String::new(),
            properties: Vec::new(),
        }
    }

    /// The only shard of a broker with one core and nobody to index for it.
    #[cfg(test)]
    pub fn for_tests(rules: Rules) -> Self {
        let index = crate::routing::shared::SharedIndex::new(1, [1, 2, 3, 4]);
        let (_, mut readers, epochs) = index.expect("there is address space for an index");
        Self::new(ShardParts {
            core: CoreId(0),
            cores: 1,
            rules,
            hash_key: [7; 16],
            seed: [5, 6, 7, 8],
            index: readers.remove(0),
            epochs,
            metrics: CoreMetrics::detached(),
            now: Now::default(),
        })
    }

    /// Begins a turn. Call it when the turn's completions have been taken from the kernel and before
    /// any is handled: what a client sent after its SUBACK is then matched with that subscription.
    pub fn begin_turn(&mut self, now: Now) {
        self.clients.now = now;
        self.turn_epoch = self.routes.index.pass();
    }

    /// The core is about to sleep.
    pub fn park(&mut self) {
        self.routes.index.park();
    }

    /// The core woke up; [`Self::begin_turn`] follows.
    pub fn unpark(&mut self) {
        self.routes.index.unpark();
    }

    /// A record came from another core.
    pub fn take_record(&mut self, from: CoreId, record: &[u8], parcel: Option<Parcel>) {
        self.taken_records += 1;
        if let (true, Some(Parcel::Long(long))) = (record.is_empty(), &parcel) {
            return self.take_cross(from, long, None);
        }
        self.take_cross(from, record, parcel);
    }

    /// All that other cores had sent when this turn began has been taken in.
    pub fn lanes_emptied(&mut self) {
        self.lanes_emptied_turn = self.outboxes.turn();
    }

    fn take_cross(&mut self, from: CoreId, record: &[u8], parcel: Option<Parcel>) {
        match (cross::read(record), parcel) {
            (Some(CrossCore::Handover), Some(Parcel::Handover(handover))) => {
                self.clients.metrics.inc(Counter::HandoverReceived);
                debug_assert_eq!(self.homes.of_client(&handover.client_id), self.clients.core);
                self.arrive(handover);
            }
            (
                Some(CrossCore::Publish {
                    epoch,
                    retain_here,
                    filters,
                    publication,
                }),
                parcel,
            ) => {
                let block = match &parcel {
                    Some(Parcel::Publication(block)) => Some(block),
                    _ => None,
                };
                let in_block = || block.map(|block| Publication::from_record(block));
                if let Some(publication) = publication.or_else(in_block) {
                    self.take_publication(&publication, block, epoch, filters);
                    if retain_here {
                        self.retain(&publication);
                    }
                }
            }
            (Some(CrossCore::Share(record)), _) => self.take_share(from, &record),
            (Some(CrossCore::Question(question)), _) => self.asked(from, question),
            (Some(CrossCore::Cancel { replay }), _) => self.cancel_asked(from, replay),
            (
                Some(CrossCore::Stored {
                    replay,
                    publication: Some(publication),
                }),
                _,
            ) => {
                self.stored(replay, &publication);
            }
            (Some(CrossCore::Answered { replay, more }), _) => self.answered(replay, more),
            (_, _) => debug_assert!(false, "a record that this broker did not write"),
        }
    }

    /// What is due without anything having come; says whether there is more of it right now.
    pub fn work(&mut self) -> bool {
        let more_timers = self.fire_timers();
        let more_expired = self.sweep_retained();
        self.resume_suspended();
        self.publish_wills();
        self.publish_delayed();
        self.advance_replays();
        let more_shares = self.work_shares();
        let more_bans = self.sweep_banned();
        self.clients.budget.sweep();
        more_timers || more_expired || more_shares || more_bans
    }

    /// The outboxes have been flushed as far as the rings had room: acknowledgements go.
    pub fn end_turn(&mut self) {
        let turn_ms = self.clients.now.ms;
        self.outboxes.end_turn(self.turn_epoch, turn_ms);
        let oldest = self.outboxes.oldest_unsent();
        self.routes.index.settle(oldest, turn_ms);
        self.release_acks();
    }

    /// Whether nothing waits that would be driven on without an event.
    pub fn may_sleep(&self) -> bool {
        self.outboxes.is_empty()
            && self.clients.effects.is_empty()
            && self.suspended.is_empty()
            && self.pending_wills.is_empty()
            && self.delayed.is_idle()
            && self.exclusive.dirty_len() == 0
            && self.replays.is_idle()
            && self.clients.replays_fed.is_empty()
            && self.shares_are_idle()
            && self.routes.local.dirty_len() == 0
    }

    /// When the next timer is due, milliseconds since process start.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.clients.wheel.next_due_ms()
    }

    /// Whether an outbox is so full that producers have to wait.
    fn outboxes_over_limit(&self) -> bool {
        self.outboxes.over_limit()
    }
}

fn retained_limits(rules: &Rules, cores: u8) -> RetainedLimits {
    let messages = match rules.max_retained_messages {
        0 => u32::MAX,
        all => u32::try_from(all.div_ceil(usize::from(cores))).unwrap_or(u32::MAX),
    };
    RetainedLimits {
        messages_max: messages,
        payload_bytes_max: rules.max_retained_payload,
        bytes_max: rules.retained_memory_bytes,
        topic_levels_max: rules.max_topic_levels,
    }
}
