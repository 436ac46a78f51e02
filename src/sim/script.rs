//! Scripted clients in the simulated world: a test says what each does, a seed how many cores there
//! are, in which order they have their turns, where bytes are cut and how full lanes are.
//!
//! No client acts by itself here; time stands nearly still but for [`Script::wait_ms`].

use std::collections::BTreeMap;

use crate::mqtt::decode_connect::{Connect, ConnectProperties, Will};
use crate::mqtt::decode_server::{ServerPacket, decode_server};
use crate::mqtt::encode_client::encode_connect;
use crate::mqtt::frame::next_frame;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::ledger::{ConnLog, End};
use crate::sim::net::{Conn, Stage};
use crate::sim::plan::Plan;
use crate::sim::world::World;

/// Rounds after which the broker must have come to rest.
const ROUNDS_MAX: usize = 3_000;
/// Time of one step of waiting, milliseconds.
const WAIT_STEP_MS: u64 = 250;

/// A packet that a client got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// CONNACK: session present.
    ConnAck(bool),
    /// PUBLISH.
    Publish {
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// QoS.
        qos: QoS,
        /// Packet identifier.
        id: u16,
        /// DUP.
        dup: bool,
        /// RETAIN.
        retain: bool,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP: its type and identifier.
    Ack(u8, u16),
    /// SUBACK or UNSUBACK.
    SubAck(u16, Vec<u8>),
    /// DISCONNECT.
    Disconnect(ReasonCode),
    /// Anything else.
    Other,
}

/// A client as its CONNECT describes it.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// Client id.
    pub name: &'a str,
    /// Protocol version.
    pub version: Version,
    /// Clean start.
    pub clean: bool,
    /// Session expiry (5.0).
    pub expiry_s: u32,
    /// Keep-alive.
    pub keep_alive_s: u16,
    /// Receive Maximum (5.0).
    pub receive_maximum: u16,
    /// Will.
    pub will: Option<Will<'a>>,
}

impl<'a> Guest<'a> {
    /// A 5.0 client whose session ends with its connection.
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            version: Version::V5,
            clean: true,
            expiry_s: 0,
            keep_alive_s: 0,
            receive_maximum: u16::MAX,
            will: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut properties = ConnectProperties::default();
        if self.version.is_v5() {
            properties.session_expiry_interval = self.expiry_s;
            properties.receive_maximum = self.receive_maximum;
        }
        let mut out = Vec::new();
        encode_connect(
            &mut out,
            &Connect {
                version: self.version,
                bridge: false,
                clean_start: self.clean,
                keep_alive: self.keep_alive_s,
                client_id: self.name,
                will: self.will,
                username: None,
                password: None,
                properties,
            },
        );
        out
    }
}

/// The world in the hands of a script.
pub struct Script {
    /// The world.
    pub world: World,
    versions: BTreeMap<usize, Version>,
    heard: BTreeMap<usize, Vec<u8>>,
}

impl Script {
    /// A world without clients of its own.
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let plan = Plan {
            clients: 0,
            rivals: 0,
            ..plan.clone()
        };
        Self {
            world: World::new(seed, &plan, false),
            versions: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// A client connects; its CONNACK comes with [`Self::settle`].
    pub fn connect(&mut self, guest: &Guest<'_>) -> usize {
        let world = &mut self.world;
        let core = world.rng.below(world.cores.len());
        let id = world.conns.len();
        let room = world.rng.range(200, 5000);
        world.conns.push(Conn::new(0, core, room, world.now.ms));
        world.open.push(id);
        world.cores[core].accept(id);
        world.ledger.conns.push(ConnLog {
            client: 0,
            sent: 0,
            sent_ms: world.now.ms,
            clean: guest.clean,
            connack: None,
            connack_ms: None,
            expiry_s: guest.expiry_s,
            will: None,
            end: End::Open,
            ended_ms: None,
            closed_ms: None,
            unread: false,
            next: None,
            abandoned: false,
            keep_alive_s: 0,
            turned_ms: 0,
        });
        self.versions.insert(id, guest.version);
        self.send(id, &guest.bytes());
        id
    }

    /// A client sends.
    pub fn send(&mut self, id: usize, bytes: &[u8]) {
        self.world.conns[id].up.extend(bytes);
    }

    /// A client closes its socket.
    pub fn cut(&mut self, id: usize) {
        self.world.conns[id].up_ended = true;
        self.world.conns[id].down.clear();
        self.world.ledger.conns[id].abandoned = true;
    }

    /// The broker is told to end a connection.
    pub fn kick(&mut self, id: usize) {
        if let Stage::Home(core, slot) = self.world.conns[id].stage {
            let shard = &mut self.world.cores[core].shard;
            let tell = Some(ReasonCode::AdministrativeAction);
            shard.close(slot, crate::shard::close::CloseReason::Closed, tell);
        }
    }

    /// Whether the broker has closed a connection.
    pub fn is_closed(&self, id: usize) -> bool {
        self.world.conns[id].stage == Stage::Closed
    }

    /// Everything that is under way comes to its end.
    ///
    /// # Panics
    /// If it does not.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            self.world.step += 1;
            let cores = self.world.cores.len();
            let first = self.world.rng.below(cores);
            let mut busy = false;
            for core in (0..cores).map(|at| (at + first) % cores) {
                let wants = self.world.wants_turn(core);
                busy |= wants;
                // One that is awake without need lets the others know how far it is.
                if self.world.rng.percent(if wants { 70 } else { 15 }) {
                    self.world.turn(core);
                }
            }
            busy |= self.world.index.is_busy();
            self.world.step_index();
            for id in 0..self.world.conns.len() {
                let down = &mut self.world.conns[id].down;
                if !down.is_empty() {
                    busy = true;
                    self.heard.entry(id).or_default().extend(down.drain(..));
                }
            }
            if let Some(failure) = &self.world.ledger.failure {
                panic!("{failure}");
            }
            // What is stored comes a moment after the SUBACK.
            let tick = busy && self.world.rng.percent(20);
            self.world.advance_ms(u64::from(tick));
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 2 {
                return;
            }
        }
        let cores = 0..self.world.cores.len();
        let awake: Vec<_> = cores
            .filter(|core| self.world.wants_turn(*core))
            .map(|core| {
                let shard = &self.world.cores[core].shard;
                (core, shard.census(), shard.next_timer_ms())
            })
            .collect();
        panic!("no rest at {:?}: {awake:?}", self.world.now);
    }

    /// Time goes by.
    pub fn wait_ms(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(WAIT_STEP_MS.max(ms / 40));
            left -= step;
            self.world.advance_ms(step);
            self.settle();
        }
    }

    /// What a client got since it was last asked.
    ///
    /// # Panics
    /// If it is no MQTT.
    pub fn take(&mut self, id: usize) -> Vec<Heard> {
        let version = self.versions.get(&id).copied().unwrap_or(Version::V5);
        let bytes = self.heard.remove(&id).unwrap_or_default();
        let mut rest = &bytes[..];
        let mut heard = Vec::new();
        while !rest.is_empty() {
            let Ok(Some(frame)) = next_frame(rest, u32::MAX) else {
                panic!("no whole packets: {rest:02x?}");
            };
            match decode_server(&frame, version) {
                Ok(packet) => heard.push(note(&packet)),
                Err(error) => panic!("{error:?}"),
            }
            rest = &rest[frame.wire_len..];
        }
        heard
    }

    /// The first steps of a shutdown: nobody is let in or heard, wills are published.
    pub fn shut_down(&mut self) {
        for core in &mut self.world.cores {
            core.shard.stop_accepting();
            core.shard.stop_reading();
        }
        for core in &mut self.world.cores {
            core.shard.publish_all_wills();
        }
        self.settle();
    }
}

fn note(packet: &ServerPacket<'_>) -> Heard {
    match packet {
        ServerPacket::ConnAck(ack) => {
            assert!(!ack.reason.is_error(), "refused: {:?}", ack.reason);
            Heard::ConnAck(ack.session_present)
        }
        ServerPacket::Publish(publish) => Heard::Publish {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            id: publish.packet_id,
            dup: publish.dup,
            retain: publish.retain,
        },
        ServerPacket::PubAck(ack) => Heard::Ack(4, ack.packet_id),
        ServerPacket::PubRec(ack) => Heard::Ack(5, ack.packet_id),
        ServerPacket::PubRel(ack) => Heard::Ack(6, ack.packet_id),
        ServerPacket::PubComp(ack) => Heard::Ack(7, ack.packet_id),
        ServerPacket::SubAck(ack) | ServerPacket::UnsubAck(ack) => {
            Heard::SubAck(ack.packet_id, ack.reasons.to_vec())
        }
        ServerPacket::Disconnect(packet) => Heard::Disconnect(packet.reason),
        ServerPacket::PingResp | ServerPacket::Auth(_) => Heard::Other,
    }
}
