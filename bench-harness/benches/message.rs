//! What a message costs above the sockets: codec, match, delivery, ring.
//!
//! `cargo bench --bench message` prints nanoseconds of CPU time an item. `... -- CASE N` does the case N
//! times and prints nothing: under callgrind, by the difference of two N, that gives instructions an
//! item, which other work on the machine does not change (`scripts/instructions.sh`).
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use millrace::access::rules::AccessRules;
use millrace::base::ids::CoreId;
use millrace::base::staged::Staged;
use millrace::base::time::Now;
use millrace::boot::run::rules;
use millrace::config::{Config, Machine};
use millrace::metrics::CoreMetrics;
use millrace::mqtt::encode_publish::{OutgoingPublish, encode_publish_head};
use millrace::mqtt::frame::next_frame;
use millrace::mqtt::packet::decode;
use millrace::mqtt::qos::QoS;
use millrace::mqtt::version::Version;
use millrace::routing::delta::{Delta, Hit};
use millrace::routing::local::LocalDelta;
use millrace::routing::reader::IndexReader;
use millrace::routing::shared::SharedIndex;
use millrace::routing::writer::IndexWriter;
use millrace::runtime::mesh::{MeshEnd, mesh};
use millrace::shard::handshake::Step;
use millrace::shard::subscribe::{Decision, IndexAnswer};
use millrace::shard::{Shard, ShardParts};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOPIC: &str = "site/4711/device/state";
const PAYLOAD_BYTES: usize = 64;
/// Messages that come in one piece, and records of one batch.
const BATCH: usize = 16;
const ITEMS: usize = 400_000;
const PACKET_BYTES_MAX: u32 = 1 << 20;
const SEED: [u64; 4] = [1, 2, 3, 4];
const CORE: CoreId = CoreId(0);

/// A case: its name, and what makes the function that does so many items.
type Case = (&'static str, fn() -> Box<dyn FnMut(usize)>);

const CASES: &[Case] = &[
    ("decode-qos0", || decode_publish(Version::V311, 0)),
    ("decode-qos1-v5", || decode_publish(Version::V5, 1)),
    ("encode-qos0", || encode(Version::V311, QoS::AtMostOnce)),
    ("encode-qos1-v5", || encode(Version::V5, QoS::AtLeastOnce)),
    ("match-exact", || match_topic(&[TOPIC])),
    ("match-plus", || match_topic(&["site/+/device/state"])),
    ("deliver-1", || deliver(&[TOPIC], 0)),
    ("deliver-16", || deliver(&[TOPIC; 16], 0)),
    ("deliver-plus", || deliver(&["site/+/device/state"], 0)),
    ("deliver-shared-4", || {
        deliver(&["$share/g/site/+/device/state"; 4], 0)
    }),
    ("ring", ring),
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [case, items] = arguments.as_slice() {
        let (_, make) = CASES.iter().find(|(name, _)| name == case).unwrap();
        return make()(items.parse().unwrap());
    }
    if arguments.iter().any(|a| a == "--list") {
        return CASES.iter().for_each(|(name, _)| println!("{name}"));
    }
    for (name, make) in CASES {
        let mut run = make();
        run(ITEMS / 4);
        let start = cpu_ns();
        run(ITEMS);
        println!(
            "{name:<20} {:>8.1} ns",
            (cpu_ns() - start) as f64 / ITEMS as f64
        );
    }
}

/// CPU time of this thread, so that other load on the machine does not count as time.
fn cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split(' ').next().unwrap().parse().unwrap()
}

/// A string with its length before it.
fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough here");
    let mut out = vec![first, u8::try_from(body.len()).unwrap()];
    out.extend_from_slice(body);
    out
}

fn publish(version: Version, qos: u8) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, TOPIC);
    if qos > 0 {
        body.extend_from_slice(&[0, 1]);
    }
    if version.is_v5() {
        body.push(0);
    }
    body.resize(body.len() + PAYLOAD_BYTES, 7);
    packet(0x30 | qos << 1, &body)
}

fn decode_publish(version: Version, qos: u8) -> Box<dyn FnMut(usize)> {
    let bytes = publish(version, qos);
    Box::new(move |items| {
        for _ in 0..items {
            let frame = next_frame(black_box(&bytes), PACKET_BYTES_MAX)
                .unwrap()
                .unwrap();
            black_box(decode(&frame, version).unwrap());
        }
    })
}

fn encode(version: Version, qos: QoS) -> Box<dyn FnMut(usize)> {
    let mut out = Vec::with_capacity(4096);
    Box::new(move |items| {
        for _ in 0..items {
            out.clear();
            let publish = OutgoingPublish {
                topic: black_box(TOPIC),
                payload_len: PAYLOAD_BYTES,
                qos,
                packet_id: 7,
                ..OutgoingPublish::default()
            };
            encode_publish_head(&mut out, version, &publish);
            black_box(&out);
        }
    })
}

fn match_topic(filters: &'static [&'static str]) -> Box<dyn FnMut(usize)> {
    let (mut writer, mut readers, _) = SharedIndex::new(1, SEED).unwrap();
    let mut reader = readers.remove(0);
    reader.unpark();
    let others: Vec<String> = (0..1000).map(|n| format!("site/{n}/device/cmd")).collect();
    for filter in filters
        .iter()
        .copied()
        .chain(others.iter().map(String::as_str))
    {
        writer.apply(Delta::Add { filter, core: CORE }).unwrap();
    }
    writer.publish();
    reader.pass();
    let mut hits: Vec<Hit> = Vec::new();
    Box::new(move |items| {
        let _ = &writer;
        for _ in 0..items {
            reader.matches(black_box(TOPIC), &mut hits);
            assert_eq!(hits.len(), 1);
        }
    })
}

/// A shard with its index thread and no sockets.
struct Core {
    shard: Shard,
    writer: IndexWriter,
    _others: Vec<IndexReader>,
    now: Now,
}

impl Core {
    fn new() -> Self {
        let machine = Machine {
            cpus: 1,
            memory_bytes: 4 << 30,
            descriptors_hard: 1 << 16,
        };
        let config = Config::defaults(&machine);
        let (writer, mut readers, epochs) = SharedIndex::new(1, SEED).unwrap();
        let now = Now {
            ms: 1000,
            unix_us: 1_700_000_000_000_000,
        };
        let mut shard = Shard::new(ShardParts {
            core: CORE,
            cores: 1,
            rules: rules(&config, 1, Arc::new(AccessRules::open())),
            hash_key: [7; 16],
            seed: SEED,
            index: readers.remove(0),
            epochs,
            metrics: CoreMetrics::detached(),
            now,
        });
        shard.unpark();
        shard.begin_turn(now);
        Self {
            shard,
            writer,
            _others: readers,
            now,
        }
    }

    /// Connects a client, which subscribes to a filter unless that is empty; returns its slot.
    fn connect(&mut self, id: &str, filter: &str, qos: u8) -> u32 {
        let mut body = Vec::new();
        string(&mut body, "MQTT");
        body.extend_from_slice(&[4, 2, 0, 0]);
        string(&mut body, id);
        let peer = "127.0.0.1:4000".parse().unwrap();
        let mut handshake = self.shard.begin_handshake(0, peer);
        let step = self
            .shard
            .handshake_bytes(&mut handshake, &packet(0x10, &body));
        let Step::Home(_, handover) = step else {
            panic!("not accepted");
        };
        self.shard.arrive(handover);
        let (key, _) = *self.shard.clients.effects.install.last().unwrap();
        self.turn();
        if !filter.is_empty() {
            let mut body = vec![0, 1];
            string(&mut body, filter);
            body.push(qos);
            self.shard.receive(key.index, &packet(0x82, &body));
            while !self.shard.may_sleep() {
                self.turn();
            }
        }
        key.index
    }

    /// The rest of a turn, as `runtime::core` does it, and the beginning of the next.
    fn turn(&mut self) {
        self.shard.lanes_emptied();
        self.shard.work();
        self.index_thread();
        self.shard.end_turn();
        let mut effects = std::mem::take(&mut self.shard.clients.effects);
        for (key, _) in effects.install.drain(..) {
            let first = self.shard.clients.first_out(key.index).unwrap_or_default();
            self.shard.clients.give_spare(first);
        }
        for slot in effects.dirty.drain(..) {
            if let Some(out) = self.shard.clients.take_out(slot) {
                black_box(&out);
                self.shard.clients.give_spare(out);
            }
        }
        effects.append(&mut self.shard.clients.effects);
        self.shard.clients.effects = effects;
        self.now.unix_us += 10;
        self.shard.begin_turn(self.now);
    }

    fn index_thread(&mut self) {
        let mut answers = Vec::new();
        while let Some(delta) = self.shard.next_delta() {
            if let LocalDelta::Add { token, filter } = delta {
                let add = Delta::Add { filter, core: CORE };
                let filter = Some(self.writer.apply(add).unwrap().filter);
                answers.push(Decision::Filter { token, filter });
            }
        }
        if !answers.is_empty() {
            let epoch = self.writer.publish();
            for decision in answers {
                self.shard.index_applied(IndexAnswer { decision, epoch });
            }
            self.writer.reclaim();
        }
    }
}

/// Bytes of PUBLISH packets in, bytes for each subscriber out.
fn deliver(filters: &'static [&'static str], qos: u8) -> Box<dyn FnMut(usize)> {
    let mut core = Core::new();
    for (n, filter) in filters.iter().enumerate() {
        core.connect(&format!("subscriber-{n}"), filter, qos);
    }
    let publisher = core.connect("publisher", "", 0);
    let bytes = publish(Version::V311, qos).repeat(BATCH);
    Box::new(move |items| {
        for _ in 0..items / BATCH {
            core.shard.receive(publisher, black_box(&bytes));
            core.turn();
        }
    })
}

/// Records from one core's outbox through the ring into another core's hands.
fn ring() -> Box<dyn FnMut(usize)> {
    let mut ends: Vec<MeshEnd<()>> = mesh(2);
    let mut staged = Staged::default();
    Box::new(move |items| {
        for _ in 0..items / BATCH {
            for _ in 0..BATCH {
                staged.record(|out| out.extend_from_slice(black_box(&[7; 128])));
            }
            assert!(ends[0].flush(1, &mut staged).all);
            ends[1].drain(usize::MAX, &mut |_, record, _| {
                black_box(record);
            });
        }
    })
}
