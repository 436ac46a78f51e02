//! What the broker says of itself as messages, below `$SYS`: published by a core on the control plane's
//! behalf, past all access rules, at QoS 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::base::ids::CoreId;
use crate::control::cores::{Cores, Unanswered};
use crate::gate::manage::Manage;
use crate::gate::observe::{Announcement, Announcements};

/// Announcements that may wait: some seconds of the busiest broker's comings and goings, and 8 MiB.
const WAITING_MAX: usize = 16_384;
/// Announcements that a core publishes in one step.
const STEP_MAX: usize = 32;
/// Pause while the way to another core is full.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// All go by one core: so what is said of one client keeps its order.
const SPEAKER: CoreId = CoreId(0);

/// Takes announcements without ever waiting; clones are the same.
#[derive(Clone)]
pub struct Announcer {
    queue: mpsc::Sender<Announcement>,
    dropped: Arc<AtomicU64>,
}

impl Announcer {
    /// The queue, and what is to be given to [`speak`].
    pub fn new() -> (Self, mpsc::Receiver<Announcement>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let announcer = Self {
            queue,
            dropped: Arc::default(),
        };
        (announcer, waiting)
    }

    /// Has something published; what finds the queue full is counted.
    pub fn say(&self, topic: String, payload: impl Into<Vec<u8>>) {
        self.put(topic, payload.into(), false);
    }

    /// The same for what is to be retained.
    pub fn say_retained(&self, topic: String, payload: impl Into<Vec<u8>>) {
        self.put(topic, payload.into(), true);
    }

    fn put(&self, topic: String, payload: Vec<u8>, retain: bool) {
        let message = Announcement {
            topic,
            payload,
            retain,
        };
        if self.queue.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Publishes what waits, until nobody announces any more.
pub async fn speak(cores: Cores, mut waiting: mpsc::Receiver<Announcement>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, STEP_MAX).await > 0 {
        let all: Announcements = batch.drain(..).collect();
        let mut done = 0;
        while done < all.len() {
            let messages = Arc::clone(&all);
            let from = done;
            let step = |reply| Manage::Announce {
                messages,
                from,
                reply,
            };
            match cores.ask(SPEAKER, step).await {
                Ok(far) if far > done => done = far,
                Ok(_) => sleep(TRY_AGAIN_AFTER).await,
                // The broker stops, or this core is stuck: what was to be said is late anyway.
                Err(Unanswered) => break,
            }
        }
    }
}

/// Whether anybody has subscribed to something below `$SYS`.
pub async fn is_anyone_listening(cores: &Cores) -> bool {
    let asked = cores.ask(SPEAKER, |reply| Manage::IsSysWanted { reply });
    asked.await.unwrap_or(false)
}
