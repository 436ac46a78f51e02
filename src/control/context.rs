//! What every part of the control plane sees.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::config::Config;
use crate::control::ControlParts;
use crate::control::clock;
use crate::control::cores::Cores;
use crate::control::http::pages::Places;
use crate::control::http::session::Sessions;
use crate::control::monitor::Monitor;
use crate::control::state::State;
use crate::metrics::MetricsRegistry;

/// One broker, as its control plane sees it.
pub struct Context {
    /// The configuration it was started with.
    pub config: Config,
    /// The cores.
    pub cores: Cores,
    /// Their figures.
    pub metrics: MetricsRegistry,
    /// What is kept over restarts.
    pub state: State,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Where pages of long lists begin.
    pub places: Places,
    /// Figures over time.
    pub monitor: Monitor,
    started_ms: u64,
    messages: AtomicU64,
    listening: OnceLock<Vec<(String, SocketAddr)>>,
    stopping: AtomicBool,
}

impl Context {
    /// Reads what was kept.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn new(parts: ControlParts<'_>) -> Result<Self, String> {
        let state = State::open(parts.data_dir).map_err(|error| error.to_string())?;
        Ok(Self {
            config: parts.config.clone(),
            cores: Cores::new(parts.gate, parts.homes),
            metrics: parts.metrics,
            state,
            sessions: Sessions::default(),
            places: Places::default(),
            monitor: Monitor::default(),
            started_ms: clock::unix_ms(),
            messages: AtomicU64::new(0),
            listening: OnceLock::new(),
            stopping: AtomicBool::new(false),
        })
    }

    /// The broker's name.
    pub fn node(&self) -> &str {
        &self.config.node.name
    }

    /// Milliseconds since the start.
    pub fn uptime_ms(&self) -> u64 {
        clock::unix_ms().saturating_sub(self.started_ms)
    }

    /// A number for a message that nothing else has.
    pub fn next_message_id(&self) -> String {
        let number = self.messages.fetch_add(1, Ordering::Relaxed);
        format!("{:016X}{number:016X}", clock::unix_ms())
    }

    /// The open listeners by number: id and address.
    pub fn listening(&self) -> &[(String, SocketAddr)] {
        self.listening.get().map_or(&[], Vec::as_slice)
    }

    /// The id of a listener by its number.
    pub fn listener(&self, number: u8) -> &str {
        let listener = self.listening().get(usize::from(number));
        listener.map_or("unknown", |(id, _)| id)
    }

    /// Whether clients are taken in: the listeners are open and it does not stop.
    pub fn is_ready(&self) -> bool {
        self.listening.get().is_some() && !self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn set_listening(&self, listening: &[(String, SocketAddr)]) {
        // Set once, by the start.
        let _ = self.listening.set(listening.to_vec());
    }

    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
