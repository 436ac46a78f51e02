//! What every part of the control plane sees.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::Config;
use crate::control::ControlParts;
use crate::control::announce::Announcer;
use crate::control::authn::Authn;
use crate::control::clock;
use crate::control::cores::Cores;
use crate::control::http::pages::Places;
use crate::control::http::session::Sessions;
use crate::control::monitor::Monitor;
use crate::control::slow_subs::SlowSubs;
use crate::control::state::State;
use crate::control::topic_metrics::TopicMetrics;
use crate::control::trace::Traces;
use crate::control::webhook;
use crate::gate::listeners::ListenerControl;
use crate::gate::log::LogControl;
use crate::metrics::MetricsRegistry;

/// What is known of a listener by its number.
type IdAndPort = (String, u16);

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
    /// Those who authenticate clients.
    pub authn: Arc<Authn>,
    /// Publishes what the broker says of itself.
    pub announcer: Announcer,
    /// What became of the webhook's events.
    pub webhook: Arc<webhook::Figures>,
    /// Traces.
    pub traces: Traces,
    /// Figures of chosen topics.
    pub topic_metrics: TopicMetrics,
    /// Slow subscriptions.
    pub slow_subs: SlowSubs,
    started_ms: u64,
    messages: AtomicU64,
    /// The listeners, and their ids and ports in their order.
    listeners: OnceLock<(Arc<dyn ListenerControl>, Vec<IdAndPort>)>,
    log: OnceLock<Arc<dyn LogControl>>,
    stopping: AtomicBool,
}

impl Context {
    /// Reads what was kept.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn new(
        parts: ControlParts<'_>,
        authn: Arc<Authn>,
        announcer: Announcer,
    ) -> Result<Self, String> {
        let state = State::open(parts.data_dir).map_err(|error| error.to_string())?;
        Ok(Self {
            config: parts.config.clone(),
            cores: Cores::new(parts.gate, parts.homes),
            metrics: parts.metrics,
            state,
            sessions: Sessions::default(),
            places: Places::default(),
            monitor: Monitor::default(),
            authn,
            announcer,
            webhook: Arc::default(),
            traces: Traces::new(parts.data_dir),
            topic_metrics: TopicMetrics::default(),
            slow_subs: SlowSubs::default(),
            started_ms: clock::unix_ms(),
            messages: AtomicU64::new(0),
            listeners: OnceLock::new(),
            log: OnceLock::new(),
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

    /// The listeners; nothing before they are open.
    pub fn listeners(&self) -> Option<Arc<dyn ListenerControl>> {
        self.listeners.get().map(|(control, _)| Arc::clone(control))
    }

    /// The id of a listener by its number.
    pub fn listener(&self, number: u8) -> &str {
        let ids = self.listeners.get().map(|(_, ids)| ids);
        let id = ids.and_then(|ids| ids.get(usize::from(number)));
        id.map_or("unknown", |(id, _)| id)
    }

    /// The port of a listener by its number; 0 before the listeners are open.
    pub fn port_of(&self, number: u8) -> u16 {
        let ids = self.listeners.get().map(|(_, ids)| ids);
        let found = ids.and_then(|ids| ids.get(usize::from(number)));
        found.map_or(0, |(_, port)| *port)
    }

    /// Whether clients are taken in: the listeners are open and it does not stop.
    pub fn is_ready(&self) -> bool {
        self.listeners.get().is_some() && !self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn set_listeners(&self, listeners: Arc<dyn ListenerControl>) {
        let ids = listeners
            .states()
            .into_iter()
            .map(|state| {
                let port = state.bind.rsplit_once(':');
                let port = port.and_then(|(_, port)| port.parse().ok());
                (state.id, port.unwrap_or(0))
            })
            .collect();
        // Set once, by the start.
        let _ = self.listeners.set((listeners, ids));
    }

    /// The log, if it can be changed.
    pub fn log(&self) -> Option<Arc<dyn LogControl>> {
        self.log.get().map(Arc::clone)
    }

    pub(super) fn set_log(&self, log: Arc<dyn LogControl>) {
        // Set once, by the start.
        let _ = self.log.set(log);
    }

    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
