//! A broker of one shard in the hands of a test: driver, index thread, sockets and clock.
//!
//! What the broker sends is read back as one short line a packet: `publish t=p q1 #1 retain`,
//! `puback 1 0x10`, `suback 1 [0, 128]`.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::read_lines;
use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::gate::authn::AuthnRequest;
use crate::metrics::{CoreMetrics, Counter};
use crate::mqtt::decode_connect::{Connect, ConnectProperties, Will, WillProperties};
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_client::{
    encode_client_disconnect, encode_connect, encode_pingreq, encode_publish, encode_subscribe,
    encode_unsubscribe,
};
use crate::mqtt::encode_publish::OutgoingPublish;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::routing::delta::Delta;
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::{LocalDelta, PendingFilter};
use crate::routing::reader::IndexReader;
use crate::routing::shared::SharedIndex;
use crate::routing::writer::IndexWriter;
use crate::shard::addons::AddonRules;
use crate::shard::close::CloseReason;
use crate::shard::handshake::{Handover, Step};
use crate::shard::outgoing::Outgoing;
use crate::shard::rules::Rules;
use crate::shard::subscribe::{Decision, IndexAnswer};
use crate::shard::{Shard, ShardParts};

/// Turns after which a broker that still has something to do is stuck.
const TURNS_MAX: usize = 5_000;

/// The shard and everything around it.
pub(super) struct Broker {
    pub(super) shard: Shard,
    /// The sockets whose client does not read.
    pub(super) blocked: BTreeSet<u32>,
    /// The rings to other cores take nothing.
    pub(super) lanes_full: bool,
    /// The index thread does not answer.
    pub(super) index_stands: bool,
    /// Records that went to other cores.
    pub(super) crossed: Vec<(CoreId, Vec<u8>)>,
    /// Slots that the shard has asked to close, in order.
    pub(super) closed: Vec<u32>,
    /// Questions about access that nobody has answered.
    #[allow(clippy::vec_box, reason = "they come in boxes")]
    pub(super) access_questions: Vec<Box<crate::gate::access::AccessQuestion>>,
    /// Slots from which nothing is received for now.
    pub(super) paused: BTreeSet<u32>,
    /// What was said to clients that found no room at home.
    pub(super) refused: Vec<Vec<u8>>,
    /// What the control plane was asked about connected clients.
    #[allow(clippy::vec_box, reason = "they come as boxes")]
    pub(super) questions: Vec<Box<AuthnRequest>>,
    /// What was told to those who trace.
    #[allow(clippy::vec_box, reason = "they come in boxes")]
    pub(super) traced: Vec<Box<crate::gate::trace::Traced>>,
    pub(super) now: Now,
    writer: IndexWriter,
    /// The readers of the other cores, which sleep.
    others: Vec<IndexReader>,
    deltas: Vec<OwnedDelta>,
    versions: BTreeMap<u32, Version>,
    wire: BTreeMap<u32, Vec<u8>>,
}

enum OwnedDelta {
    Add(PendingFilter, String),
    Remove(crate::base::ids::FilterId),
    Claim(ClaimToken, String),
    Release(String),
}

/// The rules of a broker whose settings are at their defaults.
pub(super) fn rules() -> Rules {
    Rules {
        max_packet_size: 1 << 20,
        max_clientid_len: 65_535,
        max_topic_levels: 128,
        max_qos_allowed: 2,
        max_topic_alias: 65_535,
        max_topic_alias_out: 64,
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
        max_inflight: 32,
        max_awaiting_rel: 100,
        await_rel_timeout_s: 300,
        session_expiry_s: 7200,
        max_session_expiry_s: u32::MAX,
        max_sessions: u32::MAX,
        max_mqueue_len: 1000,
        mqueue_store_qos0: true,
        max_subscriptions: u32::MAX,
        max_out_queue_bytes: 1 << 20,
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
        queue_memory_bytes: 64 << 20,
        max_connections: 1000,
        addons: Default::default(),
    }
}

impl Broker {
    /// One core under the default rules.
    pub(super) fn new() -> Self {
        Self::with(1, rules())
    }

    /// One core under changed rules.
    pub(super) fn ruled(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = rules();
        change(&mut rules);
        Self::with(1, rules)
    }

    /// One core with the add-ons that a configuration gives.
    pub(super) fn configured(text: &str) -> Self {
        let config = crate::config::Config::from_text_for_tests(text);
        Self::ruled(|rules| {
            rules.addons = std::sync::Arc::new(AddonRules::new(&config));
            rules.max_inflight = config.mqtt.max_inflight;
            rules.max_mqueue_len = config.mqtt.max_mqueue_len.map_or(0, |len| len as usize);
        })
    }

    /// The first of so many cores; the others sleep.
    pub(super) fn with(cores: u8, rules: Rules) -> Self {
        let seed = [1, 2, 3, 4];
        let (writer, mut readers, epochs) = SharedIndex::new(cores, seed).unwrap();
        let index = readers.remove(0);
        let now = Now {
            ms: 10_000,
            unix_us: 1_700_000_000_000_000,
        };
        let mut shard = Shard::new(ShardParts {
            core: CoreId(0),
            cores,
            rules,
            hash_key: [7; 16],
            seed,
            index,
            epochs,
            metrics: CoreMetrics::detached(),
            now,
        });
        shard.begin_turn(now);
        Self {
            shard,
            blocked: BTreeSet::new(),
            lanes_full: false,
            index_stands: false,
            crossed: Vec::new(),
            closed: Vec::new(),
            access_questions: Vec::new(),
            traced: Vec::new(),
            paused: BTreeSet::new(),
            refused: Vec::new(),
            questions: Vec::new(),
            now,
            writer,
            others: readers,
            deltas: Vec::new(),
            versions: BTreeMap::new(),
            wire: BTreeMap::new(),
        }
    }

    /// The accepting core's part of a connection: the home-coming client, or what it is refused with.
    pub(super) fn handshake(&mut self, bytes: &[u8]) -> Result<Box<Handover>, Vec<u8>> {
        let peer = "127.0.0.1:4000".parse().unwrap();
        let mut handshake = self.shard.begin_handshake(0, peer);
        match self.shard.handshake_bytes(&mut handshake, bytes) {
            Step::Home(_, handover) => Ok(handover),
            Step::Refuse(last) => Err(last),
            step => panic!("neither accepted nor refused: {step:?}"),
        }
    }

    /// Connects, with further packets right behind CONNECT. Returns the slot; CONNACK is in
    /// [`Self::sent`].
    pub(super) fn enter(&mut self, client: &Client<'_>, behind: &[u8]) -> u32 {
        let mut bytes = client.bytes();
        bytes.extend_from_slice(behind);
        let handover = self.handshake(&bytes).expect("the CONNECT is accepted");
        self.arrive(handover, client.version)
    }

    /// An accepted client comes home; returns the slot.
    pub(super) fn arrive(&mut self, handover: Box<Handover>, version: Version) -> u32 {
        self.shard.arrive(handover);
        let (key, _) = *self.shard.clients.effects.install.last().unwrap();
        self.wire.remove(&key.index);
        self.versions.insert(key.index, version);
        self.run();
        key.index
    }

    /// Connects and takes CONNACK away; says whether a session was resumed.
    pub(super) fn connect(&mut self, client: &Client<'_>) -> u32 {
        let slot = self.enter(client, &[]);
        let sent = self.sent(slot);
        assert!(sent[0].starts_with("connack"), "{sent:?}");
        self.keep(slot, &sent[1..]);
        slot
    }

    /// Connects, whatever else waits for the client.
    pub(super) fn connect_again(&mut self, client: &Client<'_>) -> u32 {
        let slot = self.enter(client, &[]);
        self.wire.remove(&slot);
        slot
    }

    /// Bytes come from a client; nothing else happens yet.
    pub(super) fn receive(&mut self, slot: u32, packet: &impl Packet) {
        let version = self.versions.get(&slot).copied().unwrap_or(Version::V5);
        self.shard.receive(slot, &packet.bytes(version));
    }

    /// Bytes come from a client, and everything that follows from them happens.
    pub(super) fn send(&mut self, slot: u32, packet: &impl Packet) {
        self.receive(slot, packet);
        self.run();
    }

    /// Sends and returns what the same client gets.
    pub(super) fn ask(&mut self, slot: u32, packet: &impl Packet) -> Vec<String> {
        self.send(slot, packet);
        self.sent(slot)
    }

    /// The client is gone without a word.
    pub(super) fn cut(&mut self, slot: u32) {
        self.shard.peer_closed(slot, CloseReason::Closed);
        self.run();
    }

    /// Turns until the core would sleep without a deadline.
    pub(super) fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            let held = self.lanes_full || self.index_stands;
            if (self.shard.may_sleep() && self.deltas.is_empty()) || held {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }

    /// Time goes by, in at least a hundred steps.
    pub(super) fn wait_ms(&mut self, ms: u64) {
        let end_ms = self.now.ms + ms;
        let tick_ms = (ms / 100).clamp(100, 60_000);
        while self.now.ms < end_ms {
            let step = (end_ms - self.now.ms).min(tick_ms);
            self.now.ms += step;
            self.now.unix_us += step * 1000;
            self.shard.begin_turn(self.now);
            self.run();
        }
    }

    /// The rest of a turn, and the beginning of the next.
    pub(super) fn turn(&mut self) {
        self.shard.lanes_emptied();
        self.step_index();
        self.shard.work();
        self.pull_deltas();
        self.flush();
        self.shard.end_turn();
        self.carry_out();
        self.now.unix_us += 10;
        self.shard.begin_turn(self.now);
    }

    /// Another core subscribes.
    pub(super) fn subscribe_elsewhere(&mut self, core: CoreId, filter: &str) {
        self.writer.apply(Delta::Add { filter, core }).unwrap();
        self.writer.publish();
        assert!(core.index() <= self.others.len());
        self.shard.begin_turn(self.now);
    }

    /// The socket of a client takes bytes again.
    pub(super) fn unblock(&mut self, slot: u32) {
        self.blocked.remove(&slot);
        self.shard.drained(slot);
        self.run();
    }

    /// What is known here of a client that is not looked at any more.
    pub(super) fn forget(&mut self, slot: u32) {
        self.versions.remove(&slot);
        self.wire.remove(&slot);
    }

    /// Filters and bytes of the shared index.
    pub(super) fn shared_index(&self) -> (u64, u64) {
        let bytes = self.writer.bytes();
        let parts = [bytes.filters, bytes.slots, bytes.shapes, bytes.edges];
        let held = parts.iter().sum::<usize>() + bytes.retired + bytes.free;
        (self.writer.len() as u64, held as u64)
    }

    /// What a client got since it was last asked, a line a packet.
    pub(super) fn sent(&mut self, slot: u32) -> Vec<String> {
        let version = self.versions.get(&slot).copied().unwrap_or(Version::V5);
        read_lines(&self.wire.remove(&slot).unwrap_or_default(), version)
    }

    /// The same, PUBLISH packets only, and only their payloads.
    pub(super) fn payloads(&mut self, slot: u32) -> Vec<String> {
        let lines = self.sent(slot);
        let publish = |line: &String| {
            let rest = line.strip_prefix("publish ")?;
            let (_, rest) = rest.split_once('=')?;
            Some(rest.split(' ').next()?.to_owned())
        };
        lines.iter().filter_map(publish).collect()
    }

    /// Bytes that a client got since it was last asked.
    pub(super) fn raw(&mut self, slot: u32) -> Vec<u8> {
        self.wire.remove(&slot).unwrap_or_default()
    }

    /// A counter.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.shard.clients.metrics.count(counter)
    }

    /// A socket of which the driver has got rid.
    pub(super) fn slot_closed(&mut self, slot: u32) {
        assert!(self.closed.contains(&slot), "nobody asked to close it");
        self.shard.slot_closed(slot);
    }

    fn keep(&mut self, slot: u32, lines: &[String]) {
        assert!(lines.is_empty(), "beside CONNACK: {lines:?}");
        self.wire.remove(&slot);
    }

    fn step_index(&mut self) {
        if self.index_stands || self.deltas.is_empty() {
            return;
        }
        let mut answers = Vec::new();
        for delta in self.deltas.drain(..) {
            match delta {
                OwnedDelta::Add(token, filter) => {
                    let core = CoreId(0);
                    let add = Delta::Add {
                        filter: &filter,
                        core,
                    };
                    let filter = Some(self.writer.apply(add).unwrap().filter);
                    answers.push(Decision::Filter { token, filter });
                }
                OwnedDelta::Remove(filter) => {
                    let core = CoreId(0);
                    self.writer.apply(Delta::Remove { filter, core }).unwrap();
                }
                OwnedDelta::Claim(token, topic) => {
                    let granted = self.writer.claims.claim(&topic, CoreId(0));
                    answers.push(Decision::Claim { token, granted });
                }
                OwnedDelta::Release(topic) => self.writer.claims.release(&topic, CoreId(0)),
            }
        }
        let epoch = self.writer.publish();
        for decision in answers {
            self.shard.index_applied(IndexAnswer { decision, epoch });
        }
        self.writer.reclaim();
    }

    fn pull_deltas(&mut self) {
        while let Some(delta) = self.shard.next_delta() {
            self.deltas.push(match delta {
                LocalDelta::Add { token, filter } => OwnedDelta::Add(token, filter.to_owned()),
                LocalDelta::Remove { filter } => OwnedDelta::Remove(filter),
                LocalDelta::Claim { token, topic } => OwnedDelta::Claim(token, topic.to_owned()),
                LocalDelta::Release { topic } => OwnedDelta::Release(topic.to_owned()),
            });
        }
    }

    fn flush(&mut self) {
        let waiting: Vec<CoreId> = self.shard.outboxes.waiting().collect();
        if self.lanes_full {
            return;
        }
        for target in waiting {
            let crossed = &mut self.crossed;
            self.shard.outboxes.flush(target, |staged| {
                let batch = staged.batch(usize::MAX, usize::MAX);
                crossed.push((target, staged.front()[..batch.bytes].to_vec()));
                for _ in 0..batch.parcels {
                    staged.take_parcel();
                }
                staged.consume(batch.bytes);
                batch.records
            });
        }
    }

    /// What `runtime::core` does with the effects.
    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.shard.clients.effects);
        for (key, _) in effects.install.drain(..) {
            let first = self.shard.clients.first_out(key.index).unwrap_or_default();
            self.put_on_wire(key.index, &first);
        }
        for (_, _, last) in effects.refuse.drain(..) {
            self.refused.push(last);
        }
        for slot in effects.dirty.drain(..) {
            if self.blocked.contains(&slot) {
                self.shard.clients.blocked(slot);
            } else if let Some(out) = self.shard.clients.take_out(slot) {
                self.put_on_wire(slot, &out);
                self.shard.clients.give_spare(out);
            }
        }
        self.questions.append(&mut effects.ask);
        self.paused.extend(effects.pause.drain(..));
        for slot in effects.resume.drain(..) {
            self.paused.remove(&slot);
        }
        for key in effects.close.drain(..) {
            let sent = !self.blocked.contains(&key.index);
            if let Some(last) = self.shard.clients.last_out(key.index, sent)
                && sent
            {
                self.put_on_wire(key.index, &last);
            }
            self.closed.push(key.index);
        }
        self.access_questions.append(&mut effects.questions);
        self.traced.append(&mut effects.traced);
        effects.dirty.append(&mut self.shard.clients.effects.dirty);
        self.shard.clients.effects = effects;
    }

    fn put_on_wire(&mut self, slot: u32, out: &Outgoing) {
        assert!(
            !self.closed.contains(&slot) || !out.is_empty(),
            "an empty send"
        );
        let wire = self.wire.entry(slot).or_default();
        for run in out.runs() {
            wire.extend_from_slice(run);
        }
    }
}

/// A client as its CONNECT describes it.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) version: Version,
    pub(super) clean: bool,
    pub(super) expiry_s: u32,
    pub(super) keep_alive_s: u16,
    pub(super) receive_maximum: u16,
    pub(super) max_packet_size: Option<u32>,
    pub(super) will: Option<Will<'a>>,
    pub(super) auth_method: Option<&'a str>,
    pub(super) username: Option<&'a str>,
    pub(super) bridge: bool,
}

/// A 5.0 client whose session does not outlive its connection.
pub(super) fn v5(id: &str) -> Client<'_> {
    Client {
        id,
        version: Version::V5,
        clean: true,
        expiry_s: 0,
        keep_alive_s: 0,
        receive_maximum: u16::MAX,
        max_packet_size: None,
        will: None,
        auth_method: None,
        username: None,
        bridge: false,
    }
}

/// A 3.1.1 client.
pub(super) fn v311(id: &str, clean: bool) -> Client<'_> {
    Client {
        version: Version::V311,
        clean,
        ..v5(id)
    }
}

impl<'a> Client<'a> {
    /// The same with a session that lives on for so long.
    pub(super) fn keeps(self, expiry_s: u32) -> Self {
        Self {
            clean: false,
            expiry_s,
            ..self
        }
    }

    /// The same with a user name.
    pub(super) fn named(self, username: &'a str) -> Self {
        Self {
            username: Some(username),
            ..self
        }
    }

    /// The same with a will.
    pub(super) fn wills(self, topic: &'a str, delay_s: u32) -> Self {
        Self {
            will: Some(Will {
                topic,
                payload: b"will",
                qos: QoS::AtMostOnce,
                retain: false,
                properties: WillProperties {
                    delay_interval: delay_s,
                    ..WillProperties::default()
                },
            }),
            ..self
        }
    }

    /// CONNECT.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let properties = ConnectProperties {
            session_expiry_interval: self.expiry_s,
            receive_maximum: self.receive_maximum,
            maximum_packet_size: self.max_packet_size,
            authentication_method: self.auth_method,
            ..ConnectProperties::default()
        };
        encode_connect(
            &mut out,
            &Connect {
                version: self.version,
                bridge: self.bridge,
                clean_start: self.clean,
                keep_alive: self.keep_alive_s,
                client_id: self.id,
                will: self.will,
                username: self.username,
                password: None,
                properties,
            },
        );
        out
    }
}

/// What a client sends.
pub(super) trait Packet {
    /// As it is on the wire.
    fn bytes(&self, version: Version) -> Vec<u8>;
}

impl Packet for Vec<u8> {
    fn bytes(&self, _: Version) -> Vec<u8> {
        self.clone()
    }
}

/// PUBLISH.
#[derive(Clone, Copy)]
pub(super) struct Pub<'a> {
    payload: &'a [u8],
    head: OutgoingPublish<'a>,
}

/// PUBLISH of QoS 0.
pub(super) fn publish<'a>(topic: &'a str, payload: &'a str) -> Pub<'a> {
    Pub {
        payload: payload.as_bytes(),
        head: OutgoingPublish {
            topic,
            ..OutgoingPublish::default()
        },
    }
}

impl Pub<'_> {
    pub(super) fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.head.qos = QoS::from_u8(qos).unwrap();
        self.head.packet_id = packet_id;
        self
    }

    pub(super) fn retain(mut self) -> Self {
        self.head.retain = true;
        self
    }

    pub(super) fn dup(mut self) -> Self {
        self.head.dup = true;
        self
    }

    pub(super) fn expires(mut self, seconds: u32) -> Self {
        self.head.message_expiry_interval = Some(seconds);
        self
    }

    pub(super) fn alias(mut self, alias: u16) -> Self {
        self.head.topic_alias = Some(alias);
        self
    }
}

impl Packet for Pub<'_> {
    fn bytes(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        encode_publish(&mut out, version, &self.head, self.payload);
        out
    }
}

/// SUBSCRIBE.
pub(super) struct Sub<'a> {
    packet_id: u16,
    identifier: Option<u32>,
    entries: Vec<SubscribeEntry<'a>>,
}

/// SUBSCRIBE with filters and their QoS.
pub(super) fn subscribe<'a>(packet_id: u16, filters: &[(&'a str, u8)]) -> Sub<'a> {
    let entry = |&(filter, qos): &(&'a str, u8)| SubscribeEntry {
        filter,
        options: SubscribeOptions {
            qos: QoS::from_u8(qos).unwrap(),
            ..SubscribeOptions::default()
        },
    };
    Sub {
        packet_id,
        identifier: None,
        entries: filters.iter().map(entry).collect(),
    }
}

impl Sub<'_> {
    pub(super) fn identifier(mut self, identifier: u32) -> Self {
        self.identifier = Some(identifier);
        self
    }

    /// Changes the options of all filters.
    pub(super) fn options(mut self, change: impl Fn(&mut SubscribeOptions)) -> Self {
        for entry in &mut self.entries {
            change(&mut entry.options);
        }
        self
    }
}

impl Packet for Sub<'_> {
    fn bytes(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        let (id, identifier) = (self.packet_id, self.identifier);
        encode_subscribe(&mut out, version, id, identifier, &self.entries);
        out
    }
}

/// UNSUBSCRIBE.
pub(super) struct Unsub<'a>(pub(super) u16, pub(super) &'a [&'a str]);

impl Packet for Unsub<'_> {
    fn bytes(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, version, self.0, self.1);
        out
    }
}

/// PUBACK (4), PUBREC (5), PUBREL (6), PUBCOMP (7) with a reason code, 0 being left out.
pub(super) fn ack(kind: u8, packet_id: u16, reason: u8) -> Vec<u8> {
    let first = kind << 4 | if kind == 6 { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    match reason {
        0 => vec![first, 2, high, low],
        reason => vec![first, 3, high, low, reason],
    }
}

/// PINGREQ.
pub(super) fn ping() -> Vec<u8> {
    let mut out = Vec::new();
    encode_pingreq(&mut out);
    out
}

/// DISCONNECT.
pub(super) struct Bye(pub(super) ReasonCode, pub(super) Option<u32>);

impl Packet for Bye {
    fn bytes(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        let disconnect = Disconnect {
            reason: self.0,
            session_expiry_interval: self.1,
            ..Disconnect::default()
        };
        encode_client_disconnect(&mut out, version, &disconnect);
        out
    }
}

/// Several packets in one run of bytes, as a 5.0 client sends them.
pub(super) fn run_of(packets: &[&dyn Packet]) -> Vec<u8> {
    packets.iter().flat_map(|p| p.bytes(Version::V5)).collect()
}
