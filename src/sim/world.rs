//! Shards, lanes, the index thread and clients in one thread, driven step by step by a seed.

use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::metrics::{CoreMetrics, Counter};
use crate::mqtt::version::Version;
use crate::routing::shared::SharedIndex;
use crate::shard::connection::HEARD_UNIT_MS;
use crate::shard::rules::Rules;
use crate::shard::{Shard, ShardParts};
use crate::sim::client::{Client, State};
use crate::sim::index_thread::IndexThread;
use crate::sim::lanes::Lane;
use crate::sim::ledger::Ledger;
use crate::sim::net::{Conn, Stage};
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::sim::turn::Core;
use crate::sim::verdict::Stats;

/// Rounds after which everything must have come to rest.
const REST_ROUNDS_MAX: u64 = 4000;
/// Rounds at rest after which nothing more is expected.
const QUIET_ROUNDS: u64 = 6;
/// Allowed lateness of the end of a silent connection, milliseconds: the unit in which the last
/// sign of life is kept, a tick of the wheel, and its rounding.
const SILENCE_SLACK_MS: u64 = 400;

/// What a run goes through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Everybody subscribes (only where that comes first).
    Setup,
    /// Everything at random.
    Traffic,
    /// No faults, nobody begins anything; what is under way comes to its end.
    Rest,
    /// Everybody ends his session.
    Farewell,
}

/// The whole.
pub struct World {
    /// The make-up.
    pub plan: Plan,
    /// What the shards are told.
    pub rules: Rules,
    /// Where it is.
    pub phase: Phase,
    /// The source of all chance.
    pub rng: Rng,
    /// The time.
    pub now: Now,
    /// Steps so far.
    pub step: u64,
    /// Shards.
    pub cores: Vec<Core>,
    /// From core `a` to core `b`: number `a * cores + b`.
    pub lanes: Vec<Lane>,
    /// The index thread.
    pub index: IndexThread,
    /// Clients.
    pub clients: Vec<Client>,
    /// All connections there ever were.
    pub conns: Vec<Conn>,
    /// Those that the broker has not closed.
    pub open: Vec<usize>,
    /// What happened.
    pub ledger: Ledger,
    /// Figures.
    pub stats: Stats,
}

impl World {
    /// The world of a seed; `traced` keeps the last events in words.
    pub fn new(seed: u64, plan: &Plan, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let cores = rng.range(plan.cores.0, plan.cores.1);
        let now = Now {
            ms: 1000,
            unix_us: 1_700_000_000_000_000,
        };
        let rules = rules(plan);
        let (writer, shards) = shards(cores, &rules, &mut rng, now);
        let lanes = (0..cores * cores)
            .map(|_| {
                let bytes = rng.range(plan.lane_bytes.0, plan.lane_bytes.1);
                Lane::new(bytes, rng.range(plan.lane_parcels.0, plan.lane_parcels.1))
            })
            .collect();
        let clients = (0..plan.clients + plan.rivals)
            .map(|at| client(at, plan, &mut rng))
            .collect();
        let ledger = Ledger {
            trace: traced.then(Default::default),
            ..Ledger::default()
        };
        Self {
            plan: plan.clone(),
            rules,
            phase: if plan.overflow {
                Phase::Setup
            } else {
                Phase::Traffic
            },
            rng,
            now,
            step: 0,
            cores: shards
                .into_iter()
                .map(|mut shard| {
                    shard.outboxes.set_limit_bytes(plan.outbox_bytes);
                    Core::new(shard)
                })
                .collect(),
            lanes,
            index: IndexThread::new(writer, cores),
            clients,
            conns: Vec::new(),
            open: Vec::new(),
            ledger,
            stats: Stats::default(),
        }
    }

    /// Runs to the end; what went wrong lies in the ledger.
    pub fn run(&mut self) {
        self.choose_strategy();
        while self.phase == Phase::Setup && self.is_well() {
            self.one_step();
            let ready = |c: &Client| c.ready && matches!(c.state, State::Online | State::Away);
            if self.clients.iter().all(ready) {
                self.phase = Phase::Traffic;
            } else if self.step > 200_000 {
                self.ledger.fail("the clients never get ready");
            }
        }
        let end = self.step + self.plan.steps;
        while self.step < end && self.is_well() {
            self.one_step();
        }
        self.come_to_rest(Phase::Rest);
        if self.is_well() {
            self.judge_rest();
        }
        self.come_to_rest(Phase::Farewell);
        if self.is_well() {
            self.judge_emptiness();
        }
        self.stats.digest = self.ledger.digest;
    }

    fn is_well(&self) -> bool {
        self.ledger.failure.is_none()
    }

    fn one_step(&mut self) {
        self.step += 1;
        if self.rng.percent(self.plan.fault_chance) && self.phase == Phase::Traffic {
            self.fault();
        }
        match self.rng.below(100) {
            0..45 => {
                let core = self.rng.below(self.cores.len());
                let idle = !self.wants_turn(core) && self.rng.percent(80);
                if !idle && self.cores[core].stalled_until <= self.step {
                    self.turn_and_look(core);
                }
            }
            45..60 => self.step_index(),
            60..94 => {
                let who = self.rng.below(self.clients.len());
                self.act(who);
            }
            _ => {
                let jump = self.rng.below(self.plan.time_jump_ms.max(1));
                self.advance_ms(jump as u64);
            }
        }
    }

    /// Something stands still for a while.
    fn fault(&mut self) {
        let until = self.step + self.rng.range(50, 600) as u64;
        match self.rng.below(4) {
            0 => {
                let core = self.rng.below(self.cores.len());
                self.cores[core].stalled_until = until;
            }
            1 => self.index.stalled_until = until,
            _ => {
                let lane = self.rng.below(self.lanes.len());
                self.lanes[lane].stalled_until = until;
            }
        }
    }

    /// Time goes by.
    pub fn advance_ms(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_us += ms * 1000;
    }

    fn turn_and_look(&mut self, core: usize) {
        self.stats.turns += 1;
        self.turn(core);
        self.check_silence(core);
    }

    /// Connections that were silent for too long are ended in the turn that sees it.
    fn check_silence(&mut self, core: usize) {
        // While packets are held back the shard takes the client for alive.
        for id in self.open_conns_of(core).collect::<Vec<_>>() {
            let Stage::Home(_, slot) = self.conns[id].stage else {
                continue;
            };
            let connection = self.cores[core].shard.clients.connections.at(slot);
            let heard_ms = connection.map_or(0, |c| u64::from(c.last_heard) * HEARD_UNIT_MS);
            self.conns[id].heard_ms = self.conns[id].heard_ms.max(heard_ms);
        }
        let late = self.open_conns_of(core).find(|id| {
            let conn = &self.conns[*id];
            let allowed_ms = u64::from(self.ledger.conns[*id].keep_alive_s) * 1500;
            let silence_ms = self.now.ms - conn.heard_ms;
            let home = matches!(conn.stage, Stage::Home(..)) && !conn.closing && !conn.paused;
            home && allowed_ms > 0 && silence_ms > allowed_ms + SILENCE_SLACK_MS
        });
        if let Some(id) = late {
            self.ledger
                .fail(format!("connection {id} is silent for too long"));
        }
    }

    /// The index thread goes some way.
    pub fn step_index(&mut self) {
        if self.index.stalled_until > self.step {
            return;
        }
        let cores = &mut self.cores;
        self.index.step(&mut self.rng, |core, answer| {
            cores[core].answers.push_back(answer);
        });
    }

    /// The index thread may go on while a shard is in its turn.
    pub fn index_between(&mut self) {
        if self.rng.percent(20) {
            self.step_index();
        }
    }

    /// The open connections that a core has, in handshake or at home.
    pub fn open_conns_of(&self, core: usize) -> impl Iterator<Item = usize> {
        self.open.iter().copied().filter(move |id| {
            matches!(self.conns[*id].stage,
                Stage::Handshake(at) | Stage::Home(at, _) if at == core)
        })
    }

    /// The lanes towards a core.
    pub fn lanes_to(&self, core: usize) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().skip(core).step_by(self.cores.len())
    }

    /// The lane from one core to another.
    pub fn lane(&mut self, from: usize, to: usize) -> &mut Lane {
        &mut self.lanes[from * self.cores.len() + to]
    }

    /// Lets everything come to its end without further faults.
    fn come_to_rest(&mut self, phase: Phase) {
        self.phase = phase;
        for core in &mut self.cores {
            core.stalled_until = 0;
        }
        for lane in &mut self.lanes {
            lane.stalled_until = 0;
        }
        self.index.stalled_until = 0;
        for core in 0..self.cores.len() {
            self.turn_and_look(core);
        }
        let mut quiet = 0;
        for _ in 0..REST_ROUNDS_MAX {
            if !self.is_well() || quiet > QUIET_ROUNDS {
                return;
            }
            self.step += 1;
            let mut busy = false;
            for core in 0..self.cores.len() {
                // Asleep unless something wakes it: what it forgets to say stays undone.
                if self.wants_turn(core) {
                    self.turn_and_look(core);
                }
                busy |= self.is_at_work(core);
            }
            busy |= self.index.is_busy();
            self.step_index();
            for who in 0..self.clients.len() {
                self.act(who);
                busy |= !self.is_settled(who);
            }
            self.advance_ms(if busy { 5 } else { 1000 });
            quiet = if busy { 0 } else { quiet + 1 };
        }
        let unsettled: Vec<usize> = (0..self.clients.len())
            .filter(|who| !self.is_settled(*who))
            .collect();
        let waking: Vec<usize> = (0..self.cores.len())
            .filter(|core| self.wants_turn(*core))
            .collect();
        let census: Vec<_> = waking
            .iter()
            .map(|core| self.cores[*core].shard.census())
            .collect();
        let open: Vec<_> = self.open.iter().map(|id| (*id, &self.conns[*id])).collect();
        self.ledger.fail(format!(
            "no rest in {phase:?}: clients {unsettled:?}, cores {waking:?} {census:?}, index {}, open {open:?}",
            self.index.is_busy()
        ));
    }

    /// Whether a client waits for nothing.
    fn is_settled(&self, who: usize) -> bool {
        let client = &self.clients[who];
        let unread = client.conn.is_some_and(|id| {
            let unheard = !self.conns[id].up.is_empty() && !client.only_pings;
            let unread = !self.conns[id].down.is_empty() && client.pings == 0;
            unheard || unread || !self.conns[id].sending.is_empty()
        });
        let at_rest = match self.phase {
            Phase::Farewell => client.done && client.state == State::Away,
            // Rivals would throw each other out for ever.
            _ if client.rival => true,
            _ => client.is_idle(),
        };
        at_rest && !unread
    }

    fn judge_rest(&mut self) {
        let dropped: u64 = self
            .cores
            .iter()
            .map(|c| drops(&c.shard.clients.metrics))
            .sum();
        self.stats.dropped = dropped;
        if self.plan.overflow {
            let missing = self.ledger.missing(true).len() as u64;
            if missing != dropped {
                self.ledger.fail(format!(
                    "{missing} messages are missing, {dropped} were counted"
                ));
            }
            return;
        }
        self.ledger.check_missing();
        self.ledger.check_shared();
        self.stats.shared = self.ledger.shared.len() as u64;
        self.stats.shared_repeats = self.ledger.shared_repeats;
        self.ledger.check_retained(dropped == 0);
        self.stats.wills = self.ledger.check_wills();
    }

    /// Nobody is there any more: neither is anything else.
    fn judge_emptiness(&mut self) {
        if !self.open.is_empty() {
            self.ledger
                .fail(format!("connections {:?} are open", self.open));
        }
        let (mut staged, mut taken) = (0, 0);
        for core in 0..self.cores.len() {
            let shard = &self.cores[core].shard;
            let left = shard.census();
            if left != Default::default() {
                self.ledger.fail(format!("core {core} keeps {left:?}"));
            }
            let crossing = self.cores[core].shard.crossing();
            staged += crossing.staged;
            taken += crossing.taken;
        }
        if staged != taken {
            self.ledger
                .fail(format!("{staged} records staged, {taken} taken"));
        }
        if !self.index.writer.is_empty() {
            let left = self.index.writer.len();
            self.ledger.fail(format!("the index keeps {left} filters"));
        }
    }
}

/// Deliveries that were counted as dropped. Own messages of who asked for none of them are no loss.
fn drops(metrics: &CoreMetrics) -> u64 {
    [
        Counter::DeliveryDroppedTooLarge,
        Counter::DeliveryDroppedQueueFull,
        Counter::DeliveryDroppedQos0Msg,
        Counter::DeliveryDroppedExpired,
        Counter::DeliveryDroppedOutQueueFull,
        Counter::DeliveryDroppedMemory,
        Counter::DeliveryDroppedSessionEnded,
    ]
    .into_iter()
    .map(|counter| metrics.count(counter))
    .sum()
}

fn shards(
    cores: usize,
    rules: &Rules,
    rng: &mut Rng,
    now: Now,
) -> (crate::routing::writer::IndexWriter, Vec<Shard>) {
    let cores = u8::try_from(cores).unwrap_or(1);
    let seed = [rng.word(), rng.word(), rng.word(), rng.word()];
    let index = SharedIndex::new(cores, seed);
    let (writer, readers, epochs) = match index {
        Ok(index) => index,
        Err(error) => panic!("no address space for an index: {error}"),
    };
    let hash_key = std::array::from_fn(|_| rng.word().to_le_bytes()[0]);
    let shards = readers
        .into_iter()
        .map(|index| {
            Shard::new(ShardParts {
                core: CoreId(index.core().0),
                cores,
                rules: rules.clone(),
                hash_key,
                seed: std::array::from_fn(|_| rng.word()),
                index,
                epochs: epochs.clone(),
                metrics: CoreMetrics::detached(),
                now,
            })
        })
        .collect();
    (writer, shards)
}

fn client(at: usize, plan: &Plan, rng: &mut Rng) -> Client {
    let rival = at >= plan.clients;
    let version = *rng.pick(&[Version::V5, Version::V5, Version::V311, Version::V31]);
    // 3.1 does not say whether there was a session, so its clients keep none.
    let persistent = version != Version::V31 && rng.percent(70);
    let is_v5 = version.is_v5();
    let keep_alive = rng.range(plan.keep_alive_s.0, plan.keep_alive_s.1);
    Client {
        name: if rival {
            format!("rival-{}", at % 2)
        } else {
            format!("client-{at}")
        },
        version,
        persistent,
        expiry_s: if persistent {
            *rng.pick::<u32>(if plan.overflow {
                &[100_000]
            } else {
                &[3, 60, 100_000]
            })
        } else {
            0
        },
        receive_maximum: if is_v5 {
            *rng.pick(&[1, 2, 20])
        } else {
            u16::MAX
        },
        keep_alive_s: u16::try_from(keep_alive).unwrap_or(0),
        slow: rng.percent(plan.slow_chance),
        rival,
        to_publish: plan.publishes,
        conn: None,
        last_conn: None,
        state: State::Away,
        inbox: Vec::new(),
        session: None,
        out: Vec::new(),
        packet_id: 0,
        acks_due: Default::default(),
        unreleased: Default::default(),
        owed: Default::default(),
        last_id: 0,
        fresh_seen: false,
        aliases_heard: Default::default(),
        outstanding: 0,
        asked: Default::default(),
        pings: 0,
        only_pings: true,
        disconnected: false,
        sent_ms: 0,
        aliases: Default::default(),
        ready: false,
        done: false,
    }
}

fn rules(plan: &Plan) -> Rules {
    Rules {
        max_packet_size: 64 * 1024,
        max_clientid_len: 64,
        max_topic_levels: 16,
        max_qos_allowed: 2,
        max_topic_alias: 10,
        max_topic_alias_out: 3,
        server_reference: None,
        response_information: None,
        retain_available: true,
        wildcard_subscription: true,
        shared_subscription: true,
        share_strategy: crate::config::ShareStrategy::RoundRobin,
        share_groups: Default::default(),
        idle_timeout_ms: 15_000,
        server_keepalive_s: None,
        keepalive_multiplier_permille: 1500,
        max_inflight: plan.max_inflight,
        max_awaiting_rel: 100,
        await_rel_timeout_s: 1_000_000,
        session_expiry_s: 60,
        max_session_expiry_s: u32::MAX,
        max_sessions: u32::MAX,
        max_mqueue_len: plan.max_mqueue_len,
        mqueue_store_qos0: true,
        max_subscriptions: 1000,
        max_out_queue_bytes: plan.max_out_queue_bytes,
        allow_anonymous: true,
        access: crate::access::rules::AccessRules::open().into(),
        limits: Default::default(),
        flapping: None,
        overload: crate::access::overload::OverloadRules::OFF,
        listener_ids: Default::default(),
        authn: Default::default(),
        max_retained_messages: 0,
        max_retained_payload: 1 << 20,
        retained_expiry_s: 0,
        retained_memory_bytes: usize::MAX,
        queue_memory_bytes: plan.queue_memory_bytes,
        max_connections: 10_000,
        addons: Default::default(),
    }
}
