//! The index thread: the only writer of the shared subscription index.
//!
//! Each core has a pair of rings to it: deltas one way, answers the other. What waits in all rings is
//! applied as one batch, the batch is published as an epoch, and then the answers go out, each with
//! the epoch: a SUBACK that leaves after it is true. Nobody waits for room: a core pulls its deltas
//! only while its ring has room, and answers that find none wait here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::ids::{CoreId, FilterId};
use crate::base::wake_flag::WakeFlag;
use crate::metrics::{CoreMetrics, Counter, Gauge};
use crate::routing::IndexBytes;
use crate::routing::delta::Delta;
use crate::routing::exclusive::ClaimToken;
use crate::routing::local::{LocalDelta, PendingFilter};
use crate::routing::writer::IndexWriter;
use crate::runtime::wake::Wakers;
use crate::shard::subscribe::{Decision, IndexAnswer};

/// Deltas and answers that one core's rings hold.
const RING_ENTRIES: usize = 1024;
/// Deltas taken from one core for one batch: a bounded delay for the SUBACKs of the others.
const BATCH_PER_CORE: usize = 1024;
/// How often memory that cores still may read is looked at, while there is any.
const RECLAIM_EVERY: Duration = Duration::from_millis(10);
/// Sleep when nothing is to be done: only a stop that came without a wake ends it.
const IDLE: Duration = Duration::from_secs(1);

/// A delta on its way to the index thread.
#[derive(Debug)]
enum OwnedDelta {
    Add {
        token: PendingFilter,
        filter: Box<str>,
    },
    Remove {
        filter: FilterId,
    },
    Claim {
        token: ClaimToken,
        topic: Box<str>,
    },
    Release {
        topic: Box<str>,
    },
}

/// A core's end.
#[derive(Debug)]
pub struct IndexPort {
    deltas: Producer<OwnedDelta>,
    answers: Consumer<IndexAnswer>,
    door: Arc<Door>,
}

/// How to wake and stop the index thread.
#[derive(Debug)]
struct Door {
    flag: WakeFlag,
    thread: std::sync::OnceLock<Thread>,
    stop: AtomicBool,
}

/// The index thread.
#[derive(Debug)]
pub struct Indexer {
    door: Arc<Door>,
    thread: JoinHandle<()>,
}

/// The index thread's ends towards one core.
struct CoreLink {
    core: CoreId,
    deltas: Consumer<OwnedDelta>,
    answers: Producer<IndexAnswer>,
    /// Answers that found no room.
    waiting: VecDeque<IndexAnswer>,
}

impl IndexPort {
    /// Sends a delta; false if the ring is full (the delta is then not taken: ask before).
    pub fn has_room(&self) -> bool {
        !self.deltas.is_full()
    }

    /// Sends a delta. The caller has asked [`Self::has_room`].
    pub fn send(&mut self, delta: LocalDelta<'_>) {
        let owned = match delta {
            LocalDelta::Add { token, filter } => OwnedDelta::Add {
                token,
                filter: filter.into(),
            },
            LocalDelta::Remove { filter } => OwnedDelta::Remove { filter },
            LocalDelta::Claim { token, topic } => OwnedDelta::Claim {
                token,
                topic: topic.into(),
            },
            LocalDelta::Release { topic } => OwnedDelta::Release {
                topic: topic.into(),
            },
        };
        let sent = self.deltas.push(owned);
        assert!(sent.is_ok(), "the caller has asked for room");
    }

    /// After a batch of deltas: wakes the index thread if it sleeps.
    pub fn ring(&self) {
        self.door.wake();
    }

    /// The next answer.
    pub fn answer(&mut self) -> Option<IndexAnswer> {
        self.answers.pop().ok()
    }

    /// Memory in bytes of both rings.
    pub fn held_bytes(&self) -> usize {
        self.deltas.buffer().capacity() * size_of::<OwnedDelta>()
            + self.answers.buffer().capacity() * size_of::<IndexAnswer>()
    }

    /// Whether an answer waits.
    pub fn has_work(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl Door {
    fn wake(&self) {
        if self.flag.take_sleeper()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Indexer {
    /// Starts the index thread.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start(
        writer: IndexWriter,
        cores: u8,
        wakers: Arc<Wakers>,
        metrics: CoreMetrics,
    ) -> std::io::Result<(Self, Vec<IndexPort>)> {
        let door = Arc::new(Door {
            flag: WakeFlag::default(),
            thread: std::sync::OnceLock::new(),
            stop: AtomicBool::new(false),
        });
        let (links, ports) = (0..cores).map(|core| link(CoreId(core), &door)).unzip();
        let mut worker = Worker {
            writer,
            links,
            wakers,
            door: Arc::clone(&door),
            metrics,
        };
        let thread = thread::Builder::new()
            .name("index".to_owned())
            .spawn(move || worker.run())?;
        let _ = door.thread.set(thread.thread().clone());
        Ok((Self { door, thread }, ports))
    }

    /// Ends the thread; the cores have ended before.
    pub fn stop(self) {
        self.door.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // A panic in the index thread has been reported by its own message.
        let _ = self.thread.join();
    }
}

fn link(core: CoreId, door: &Arc<Door>) -> (CoreLink, IndexPort) {
    let (delta_in, deltas) = RingBuffer::new(RING_ENTRIES);
    let (answers, answer_out) = RingBuffer::new(RING_ENTRIES);
    (
        CoreLink {
            core,
            deltas,
            answers,
            waiting: VecDeque::new(),
        },
        IndexPort {
            deltas: delta_in,
            answers: answer_out,
            door: Arc::clone(door),
        },
    )
}

struct Worker {
    writer: IndexWriter,
    links: Vec<CoreLink>,
    wakers: Arc<Wakers>,
    door: Arc<Door>,
    metrics: CoreMetrics,
}

impl Worker {
    fn run(&mut self) {
        while !self.door.stop.load(Ordering::Acquire) {
            let applied = self.batch();
            let sent = self.answer();
            self.writer.reclaim();
            self.report();
            if !applied && !sent {
                self.sleep();
            }
        }
    }

    /// Applies what waits as one epoch; says whether there was anything.
    fn batch(&mut self) -> bool {
        // Memory that a core may still read is bounded: no new changes until some of it is free.
        if self.writer.is_backlogged() {
            return false;
        }
        let mut fresh: Vec<(usize, Decision)> = Vec::new();
        let mut deltas = 0;
        for (at, link) in self.links.iter_mut().enumerate() {
            for _ in 0..BATCH_PER_CORE {
                let Ok(delta) = link.deltas.pop() else {
                    break;
                };
                deltas += 1;
                if let Some(decision) = apply(&mut self.writer, link.core, &delta) {
                    fresh.push((at, decision));
                }
            }
        }
        if deltas > 0 {
            let epoch = self.writer.publish();
            self.metrics.add(Counter::IndexDeltas, deltas);
            self.metrics.inc(Counter::IndexBatches);
            self.metrics.set(Gauge::IndexEpoch, epoch.0);
            for (at, decision) in fresh {
                let answer = IndexAnswer { decision, epoch };
                self.links[at].waiting.push_back(answer);
            }
        }
        deltas > 0
    }

    /// Sends answers as far as there is room; says whether any went.
    fn answer(&mut self) -> bool {
        let mut any = false;
        for link in &mut self.links {
            let mut sent = false;
            while let Some(answer) = link.waiting.front() {
                if link.answers.push(*answer).is_err() {
                    break;
                }
                link.waiting.pop_front();
                sent = true;
            }
            if sent {
                self.wakers.wake_from_outside(link.core.index());
            }
            any |= sent;
        }
        any
    }

    fn report(&self) {
        let (bytes, epochs) = (self.writer.bytes(), self.writer.epochs());
        let metrics = &self.metrics;
        metrics.set(Gauge::Topics, self.writer.len() as u64);
        metrics.set(Gauge::IndexBytes, total(&bytes) as u64);
        metrics.set(Gauge::IndexRetiredBytes, bytes.retired as u64);
        metrics.set(Gauge::IndexOldestEpoch, epochs.oldest_in_use().0);
    }

    fn sleep(&mut self) {
        self.door.flag.prepare_sleep();
        let busy = self.links.iter().any(|link| !link.deltas.is_empty());
        let unfinished = self.links.iter().any(|link| !link.waiting.is_empty());
        let full = self.writer.is_backlogged();
        if !busy || full {
            let soon = full || unfinished || self.writer.retired_len() > 0;
            thread::park_timeout(if soon { RECLAIM_EVERY } else { IDLE });
        }
        self.door.flag.awake();
    }
}

/// Applies one delta; an `Add` and a `Claim` have an answer.
fn apply(writer: &mut IndexWriter, core: CoreId, delta: &OwnedDelta) -> Option<Decision> {
    match delta {
        OwnedDelta::Add { token, filter } => {
            let applied = writer.apply(Delta::Add { filter, core });
            let filter = applied.ok().map(|applied| applied.filter);
            Some(Decision::Filter {
                token: *token,
                filter,
            })
        }
        OwnedDelta::Claim { token, topic } => Some(Decision::Claim {
            token: *token,
            granted: writer.claims.claim(topic, core),
        }),
        OwnedDelta::Release { topic } => {
            writer.claims.release(topic, core);
            None
        }
        OwnedDelta::Remove { filter } => {
            let removed = writer.apply(Delta::Remove {
                filter: *filter,
                core,
            });
            debug_assert!(removed.is_ok(), "removing needs no memory");
            None
        }
    }
}

/// Memory of the index in bytes.
fn total(bytes: &IndexBytes) -> usize {
    bytes.filters + bytes.slots + bytes.shapes + bytes.edges + bytes.retired + bytes.free
}
