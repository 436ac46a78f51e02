//! One shard in the hands of bytes: whatever clients send, however it is cut, whenever sockets block,
//! the index thread stands still and time jumps. For fuzzing, and for replaying what it found.
//!
//! What must hold: the broker comes to rest; what it says is valid in the client's version, begins with
//! CONNACK and ends with DISCONNECT, and keeps to the client's limits; and when all clients have ended
//! their sessions nothing is left. The input is read by `raw_input.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::metrics::CoreMetrics;
use crate::mqtt::decode_connect::decode_connect;
use crate::mqtt::decode_publish::Publish;
use crate::mqtt::decode_server::{ServerPacket, decode_server};
use crate::mqtt::encode_ack::{encode_puback, encode_pubcomp, encode_pubrec};
use crate::mqtt::frame::next_frame;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::TopicName;
use crate::mqtt::version::Version;
use crate::routing::delta::Delta;
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::{LocalDelta, PendingFilter};
use crate::routing::shared::SharedIndex;
use crate::routing::writer::IndexWriter;
use crate::shard::addons::AddonRules;
use crate::shard::close::CloseReason;
use crate::shard::handshake::{Handover, Handshake, Step};
use crate::shard::outgoing::Outgoing;
use crate::shard::rules::Rules;
use crate::shard::subscribe::{Decision, IndexAnswer};
use crate::shard::{Shard, ShardParts};
use crate::sim::net::{address_of, conn_of};

/// Turns after which a shard that still has something to do is stuck.
const TURNS_MAX: usize = 5_000;

/// A connection, from the client's side.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) version: Version,
    handshake: Option<Handshake>,
    slot: Option<u32>,
    /// Bytes to the broker that it has not taken.
    up: VecDeque<u8>,
    /// The client is gone.
    cut: bool,
    cut_told: bool,
    /// The broker has closed.
    pub(super) closed: bool,
    paused: bool,
    /// The socket takes nothing.
    stuck: bool,
    /// A send that the socket had no room for.
    sending: Vec<u8>,
    /// Bytes from the broker that are no whole packet yet.
    down: Vec<u8>,
    greeted: bool,
    dismissed: bool,
    /// It sends bytes that nobody understands: what it has acknowledged is not known.
    pub(super) wild: bool,
    receive_maximum: u16,
    max_packet_size: u32,
    topic_aliases: u16,
    aliases: BTreeSet<u16>,
    /// Messages in flight to the client.
    outstanding: BTreeSet<u16>,
    /// Acknowledgements that it may send.
    pub(super) owed: VecDeque<Vec<u8>>,
    /// The packet identifier used last.
    pub(super) packet_id: u16,
}

enum OwnedDelta {
    Add(PendingFilter, String),
    Remove(crate::base::ids::FilterId),
    Claim(ClaimToken, String),
    Release(String),
}

/// The shard and everything around it.
pub(super) struct Raw {
    shard: Shard,
    writer: IndexWriter,
    deltas: Vec<OwnedDelta>,
    /// The index thread does not answer.
    pub(super) index_stands: bool,
    now: Now,
    pub(super) conns: Vec<Conn>,
    slots: BTreeMap<u32, usize>,
    arrivals: Vec<usize>,
    /// Client ids that were ever welcome.
    names: BTreeSet<String>,
}

impl Raw {
    /// A shard without clients.
    pub(super) fn new(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = rules();
        change(&mut rules);
        let seed = [1, 2, 3, 4];
        let Ok((writer, mut readers, epochs)) = SharedIndex::new(1, seed) else {
            panic!("no address space for an index");
        };
        let now = Now {
            ms: 10_000,
            unix_us: 1_700_000_000_000_000,
        };
        let mut shard = Shard::new(ShardParts {
            core: CoreId(0),
            cores: 1,
            rules,
            hash_key: [7; 16],
            seed,
            index: readers.remove(0),
            epochs,
            metrics: CoreMetrics::detached(),
            now,
        });
        shard.begin_turn(now);
        Self {
            shard,
            writer,
            deltas: Vec::new(),
            index_stands: false,
            now,
            conns: Vec::new(),
            slots: BTreeMap::new(),
            arrivals: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    /// A client connects.
    pub(super) fn accept(&mut self) -> usize {
        let id = self.conns.len();
        self.conns.push(Conn {
            version: Version::V5,
            handshake: Some(self.shard.begin_handshake(0, address_of(id))),
            slot: None,
            up: VecDeque::new(),
            cut: false,
            cut_told: false,
            closed: false,
            paused: false,
            stuck: false,
            sending: Vec::new(),
            down: Vec::new(),
            greeted: false,
            dismissed: false,
            wild: false,
            receive_maximum: u16::MAX,
            max_packet_size: u32::MAX,
            topic_aliases: 0,
            aliases: BTreeSet::new(),
            outstanding: BTreeSet::new(),
            owed: VecDeque::new(),
            packet_id: 0,
        });
        id
    }

    /// A client sends.
    pub(super) fn send(&mut self, id: usize, bytes: &[u8]) {
        let conn = &mut self.conns[id];
        if !conn.cut && !conn.closed {
            conn.up.extend(bytes);
        }
    }

    /// A client is gone.
    pub(super) fn cut(&mut self, id: usize) {
        self.conns[id].cut = true;
        self.unstick(id);
    }

    /// The socket of a client takes nothing from now on.
    pub(super) fn stick(&mut self, id: usize) {
        self.conns[id].stuck = true;
    }

    /// The socket of a client takes bytes again.
    pub(super) fn unstick(&mut self, id: usize) {
        let conn = &mut self.conns[id];
        if !std::mem::take(&mut conn.stuck) {
            return;
        }
        let bytes = std::mem::take(&mut conn.sending);
        let slot = conn.slot.filter(|_| !conn.closed && !bytes.is_empty());
        self.hear(id, &bytes);
        if let Some(slot) = slot {
            self.shard.clients.drained(slot);
        }
    }

    /// Time goes by.
    pub(super) fn wait_ms(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_us += ms * 1000;
        self.shard.begin_turn(self.now);
        for id in 0..self.conns.len() {
            let handshake = &mut self.conns[id].handshake;
            if handshake
                .as_ref()
                .is_some_and(|h| h.deadline_ms <= self.now.ms)
            {
                *handshake = None;
                self.conns[id].closed = true;
                self.shard.handshake_ended(0, CloseReason::Closed);
            }
        }
    }

    /// Turns until nothing is left to do. Stored messages may wait for a client that reads or
    /// acknowledges nothing; the core sleeps meanwhile.
    pub(super) fn rest(&mut self) {
        for _ in 0..TURNS_MAX {
            let more = self.turn();
            let held = self.index_stands && !self.deltas.is_empty();
            if held || (self.shard.may_sleep() && self.deltas.is_empty() && !more) {
                return;
            }
        }
        panic!("no rest: {:?}", self.shard.census());
    }

    /// One turn; says whether there is more to do right now.
    pub(super) fn turn(&mut self) -> bool {
        self.shard.begin_turn(self.now);
        for id in 0..self.conns.len() {
            self.deliver_up(id);
        }
        self.shard.lanes_emptied();
        self.step_index();
        let mut more = self.shard.work();
        while let Some(delta) = self.shard.next_delta() {
            self.deltas.push(match delta {
                LocalDelta::Add { token, filter } => OwnedDelta::Add(token, filter.to_owned()),
                LocalDelta::Remove { filter } => OwnedDelta::Remove(filter),
                LocalDelta::Claim { token, topic } => OwnedDelta::Claim(token, topic.to_owned()),
                LocalDelta::Release { topic } => OwnedDelta::Release(topic.to_owned()),
            });
        }
        self.shard.end_turn();
        self.carry_out();
        self.now.unix_us += 10;
        more |= self
            .conns
            .iter()
            .any(|c| !c.closed && !c.paused && (!c.up.is_empty() || (c.cut && !c.cut_told)));
        more
    }

    /// Everybody goes and ends his session: nothing is left.
    pub(super) fn end(&mut self) {
        self.index_stands = false;
        for id in 0..self.conns.len() {
            self.cut(id);
        }
        self.rest();
        for name in self.names.clone() {
            let id = self.accept();
            let connect = super::raw_input::last_connect(&name);
            self.send(id, &connect);
            self.rest();
            assert!(self.conns[id].greeted, "{name:?} is not let in");
            self.send(id, &[0xE0, 0]);
            self.rest();
            assert!(self.conns[id].closed, "{name:?} is not let go");
        }
        self.rest();
        // Messages that are spliced into sends are let go some turns later.
        for _ in 0..4 {
            self.turn();
        }
        self.shard.publish_figures();
        self.shard.clients.trim();
        let left = self.shard.census();
        assert_eq!(left, Default::default(), "something is left");
        assert!(self.writer.is_empty(), "the index keeps filters");
    }

    fn deliver_up(&mut self, id: usize) {
        let conn = &mut self.conns[id];
        if conn.closed || conn.paused {
            return;
        }
        if !conn.up.is_empty() {
            let bytes: Vec<u8> = conn.up.drain(..).collect();
            match (conn.slot, conn.handshake.take()) {
                (Some(slot), _) => self.shard.receive(slot, &bytes),
                (None, Some(handshake)) => self.handshake(id, handshake, &bytes),
                (None, None) => {}
            }
        } else if conn.cut && !conn.cut_told {
            conn.cut_told = true;
            if let Some(slot) = conn.slot {
                self.shard.peer_closed(slot, CloseReason::Closed);
            } else if conn.handshake.take().is_some() {
                conn.closed = true;
                self.shard.handshake_ended(0, CloseReason::Closed);
            }
        }
    }

    fn handshake(&mut self, id: usize, mut handshake: Handshake, bytes: &[u8]) {
        match self.shard.handshake_bytes(&mut handshake, bytes) {
            Step::Wait => self.conns[id].handshake = Some(handshake),
            Step::Refuse(_) => self.conns[id].closed = true,
            Step::Say(_) | Step::Ask(_) => {
                unreachable!("without authentication nobody is asked about a client")
            }
            Step::Home(_, handover) => {
                self.learn_limits(id, &handover);
                self.names.insert(handover.client_id.to_string());
                self.arrivals.push(conn_of(handover.peer));
                self.shard.arrive(handover);
            }
        }
    }

    /// What the client has said of itself.
    fn learn_limits(&mut self, id: usize, handover: &Handover) {
        let bytes = &handover.received[..handover.connect_len];
        let Ok(Some(frame)) = next_frame(bytes, u32::MAX) else {
            panic!("a handover begins with a CONNECT");
        };
        let Ok(connect) = decode_connect(&frame) else {
            panic!("a handover begins with a valid CONNECT");
        };
        let conn = &mut self.conns[id];
        conn.version = connect.version;
        conn.receive_maximum = connect.properties.receive_maximum;
        conn.max_packet_size = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        conn.topic_aliases = connect.properties.topic_alias_maximum;
        conn.wild |= handover.received.len() > handover.connect_len;
    }

    fn step_index(&mut self) {
        if self.index_stands || self.deltas.is_empty() {
            return;
        }
        let core = CoreId(0);
        let mut answers = Vec::new();
        for delta in std::mem::take(&mut self.deltas) {
            match delta {
                OwnedDelta::Add(token, filter) => {
                    let add = Delta::Add {
                        filter: &filter,
                        core,
                    };
                    let filter = self.writer.apply(add).ok().map(|a| a.filter);
                    answers.push(Decision::Filter { token, filter });
                }
                OwnedDelta::Remove(filter) => {
                    let applied = self.writer.apply(Delta::Remove { filter, core });
                    assert!(applied.is_ok_and(|a| a.changed), "a core leaves once");
                }
                OwnedDelta::Claim(token, topic) => {
                    let granted = self.writer.claims.claim(&topic, core);
                    answers.push(Decision::Claim { token, granted });
                }
                OwnedDelta::Release(topic) => self.writer.claims.release(&topic, core),
            }
        }
        let epoch = self.writer.publish();
        for decision in answers {
            self.shard.index_applied(IndexAnswer { decision, epoch });
        }
        self.writer.reclaim();
    }

    /// What the driver does with the effects, in their order.
    fn carry_out(&mut self) {
        let effects = std::mem::take(&mut self.shard.clients.effects);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (key, _) in effects.install {
            let connections = &self.shard.clients.connections;
            let Some(peer) = connections.at(key.index).map(|c| c.peer) else {
                panic!("a connection to be installed is not there");
            };
            let id = conn_of(peer.into());
            arrivals.retain(|arrival| *arrival != id);
            self.conns[id].slot = Some(key.index);
            let old = self.slots.insert(key.index, id);
            assert!(old.is_none(), "a slot was given away twice");
        }
        for (_, id) in effects.refuse.iter().zip(arrivals) {
            self.conns[id].closed = true;
        }
        let mut dirty = effects.dirty;
        while !dirty.is_empty() {
            for slot in dirty {
                self.send_out(slot);
            }
            dirty = std::mem::take(&mut self.shard.clients.effects.dirty);
        }
        for (slots, paused) in [(effects.pause, true), (effects.resume, false)] {
            for slot in slots {
                if let Some(id) = self.slots.get(&slot) {
                    self.conns[*id].paused = paused;
                }
            }
        }
        for key in effects.close {
            self.close(key.index);
        }
    }

    fn send_out(&mut self, slot: u32) {
        let Some(out) = self.shard.clients.take_out(slot) else {
            return;
        };
        let Some(id) = self.slots.get(&slot).copied() else {
            panic!("bytes for a slot without a connection");
        };
        let bytes = bytes_of(&out);
        self.shard.clients.give_spare(out);
        if self.conns[id].stuck {
            self.conns[id].sending.extend_from_slice(&bytes);
            self.shard.clients.blocked(slot);
        } else {
            self.hear(id, &bytes);
        }
    }

    fn close(&mut self, slot: u32) {
        let Some(id) = self.slots.remove(&slot) else {
            panic!("a connection that is not there is to be closed");
        };
        let sent = !self.conns[id].stuck;
        if let Some(out) = self.shard.clients.last_out(slot, sent) {
            let bytes = bytes_of(&out);
            if sent {
                self.hear(id, &bytes);
            }
            self.shard.clients.give_spare(out);
        }
        self.shard.slot_closed(slot);
        self.conns[id].closed = true;
        self.conns[id].slot = None;
    }

    /// A client reads.
    fn hear(&mut self, id: usize, bytes: &[u8]) {
        let conn = &mut self.conns[id];
        conn.down.extend_from_slice(bytes);
        let down = std::mem::take(&mut conn.down);
        let mut rest = &down[..];
        while let Some(frame) = match next_frame(rest, u32::MAX) {
            Ok(frame) => frame,
            Err(error) => panic!("connection {id}: {error:?}"),
        } {
            let packet = match decode_server(&frame, conn.version) {
                Ok(packet) => packet,
                Err(error) => panic!("connection {id}: {error:?} in {frame:?}"),
            };
            assert!(
                frame.wire_len <= conn.max_packet_size as usize,
                "larger than the client takes: {packet:?}"
            );
            conn.hear_packet(&packet);
            rest = &rest[frame.wire_len..];
        }
        conn.down = rest.to_vec();
    }
}

impl Conn {
    fn hear_packet(&mut self, packet: &ServerPacket<'_>) {
        assert!(!self.dismissed, "after DISCONNECT: {packet:?}");
        let connack = matches!(packet, ServerPacket::ConnAck(_));
        assert_ne!(self.greeted, connack, "at the wrong time: {packet:?}");
        self.greeted = true;
        let mut answer = Vec::new();
        match packet {
            ServerPacket::ConnAck(ack) => {
                let fresh = !(ack.session_present && ack.reason != ReasonCode::Success);
                assert!(fresh, "[MQTT-3.2.2-6]");
                self.dismissed = ack.reason.is_error();
            }
            ServerPacket::Publish(publish) => return self.hear_publish(publish),
            ServerPacket::PubRec(ack) if ack.reason.is_error() => {}
            ServerPacket::PubRec(ack) => {
                crate::mqtt::encode_ack::encode_pubrel(
                    &mut answer,
                    self.version,
                    ack.packet_id,
                    ReasonCode::Success,
                );
            }
            ServerPacket::PubRel(ack) => {
                let reason = ReasonCode::Success;
                encode_pubcomp(&mut answer, self.version, ack.packet_id, reason);
            }
            ServerPacket::Disconnect(_) => self.dismissed = true,
            _ => {}
        }
        if !answer.is_empty() {
            self.owed.push_back(answer);
        }
    }

    fn hear_publish(&mut self, publish: &Publish<'_>) {
        let properties = &publish.properties;
        if let Some(alias) = properties.topic_alias {
            assert!(alias <= self.topic_aliases, "[MQTT-3.3.2-8]");
            let known = !self.aliases.insert(alias);
            assert!(known || !publish.topic.is_empty(), "an alias for nothing");
        } else {
            assert!(TopicName::new(publish.topic).is_ok(), "{publish:?}");
        }
        if publish.qos == QoS::AtMostOnce {
            return;
        }
        let (id, reason) = (publish.packet_id, ReasonCode::Success);
        let fresh = self.outstanding.insert(id);
        if !self.wild {
            assert!(fresh, "identifier {id} is in use: {publish:?}");
            let window = usize::from(self.receive_maximum);
            assert!(self.outstanding.len() <= window, "[MQTT-3.3.4-9]");
        }
        let mut answer = Vec::new();
        if publish.qos == QoS::AtLeastOnce {
            encode_puback(&mut answer, self.version, id, reason);
        } else {
            encode_pubrec(&mut answer, self.version, id, reason);
        }
        self.owed.push_back(answer);
    }

    /// The oldest acknowledgement that the client owes.
    pub(super) fn next_ack(&mut self) -> Option<Vec<u8>> {
        let ack = self.owed.pop_front()?;
        // PUBACK and PUBCOMP end a message.
        if let [0x40 | 0x70, _, high, low, ..] = ack[..] {
            self.outstanding.remove(&u16::from_be_bytes([high, low]));
        }
        Some(ack)
    }
}

fn bytes_of(out: &Outgoing) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in out.runs() {
        bytes.extend_from_slice(run);
    }
    bytes
}

/// Small limits, so that they are met; but packets as large as there can be.
fn rules() -> Rules {
    Rules {
        max_packet_size: 268_435_460,
        max_inflight: 3,
        max_awaiting_rel: 4,
        max_mqueue_len: 6,
        max_out_queue_bytes: 2000,
        max_subscriptions: 12,
        max_topic_levels: 8,
        addons: Arc::new(AddonRules {
            exclusive_subscription: true,
            ..AddonRules::default()
        }),
        ..Rules::for_tests()
    }
}
