//! Layer 5: the control plane. One tokio runtime on threads of its own; it meets the cores in `gate/`
//! only and never makes one wait.
//!
//! - [`context`]: what every part of it sees; [`cores`]: asking the cores; [`clock`]: the wall clock
//! - [`state`]: what is kept over restarts
//! - [`http`]: the API; [`dashboard`]: the web page that uses it
//! - [`monitor`]: figures over time; [`alarms`], [`alarms_watch`], [`bans`]: what is wrong, and who is not let in
//! - [`prometheus`], [`sys_topics`]: figures for others; [`names`]: those of EMQX
//! - [`observers`]: who wants to know what cores see; [`presence`]: comings and goings as messages;
//!   [`announce`]: publishes them; [`webhook`]: sends them to a service
//! - [`authn`]: who may enter; [`stapling`]: OCSP responses
//! - [`trace`], [`topic_metrics`], [`slow_subs`]: what operators look into
//! - [`machine`]: what the kernel tells
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Here are locks: no core waits for one.

pub mod alarms;
pub mod alarms_watch;
pub mod announce;
pub mod authn;
pub mod bans;
pub mod clock;
pub mod context;
pub mod cores;
pub mod dashboard;
pub mod http;
pub mod machine;
pub mod monitor;
pub mod names;
pub mod observers;
pub mod presence;
pub mod prometheus;
pub mod slow_subs;
pub mod stapling;
pub mod state;
pub mod sys_topics;
pub mod topic_metrics;
pub mod trace;
pub mod webhook;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::base::home::Homes;
use crate::config::Config;
use crate::control::announce::Announcer;
use crate::control::authn::Authn;
use crate::control::context::Context;
use crate::control::http::serve::Server;
use crate::control::http::serve::socket::ControlSocket;
use crate::gate::listeners::ListenerControl;
use crate::gate::log::LogControl;
use crate::gate::port::Gate;
use crate::gate::tls::TlsDesk;
use crate::metrics::MetricsRegistry;

/// Threads of the runtime: what they do is rare or waits for others.
const WORKERS: usize = 2;
/// How long tasks may go on when the broker ends.
const END_WAIT: Duration = Duration::from_secs(2);

/// What the control plane is made of.
pub struct ControlParts<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The data directory, which is this process's own.
    pub data_dir: &'a Path,
    /// The way to the cores.
    pub gate: Gate,
    /// The figures of the data plane.
    pub metrics: MetricsRegistry,
    /// Which core is the home of a client id.
    pub homes: Homes,
    /// The way to the threads that do TLS handshakes, if there are any.
    pub tls: Option<TlsDesk>,
}

/// What operators look into is looked at from now on, as it was before the start.
async fn start_lenses(context: &Arc<Context>) -> Result<(), String> {
    let silent = |_| "a core does not answer".to_owned();
    trace::start(context).await?;
    topic_metrics::start(context).await.map_err(silent)?;
    slow_subs::start(context).await.map_err(silent)
}

/// The control plane at work.
pub struct Control {
    runtime: Runtime,
    context: Arc<Context>,
    servers: Vec<Server>,
    /// Its file goes when the control plane stops.
    socket: ControlSocket,
}

impl Control {
    /// Starts the runtime's threads, reads what was kept, binds the addresses of the API.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn start(parts: ControlParts<'_>) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| format!("the control plane's threads cannot be started: {error}"))?;
        let socket = ControlSocket::bind(parts.data_dir)?;
        stapling::start(runtime.handle(), parts.config, parts.tls.as_ref())?;
        let authn = Authn::start(runtime.handle(), &parts.gate, parts.config)?;
        let (announcer, waiting) = Announcer::new();
        let context = Arc::new(Context::new(parts, authn, announcer)?);
        runtime.spawn(announce::speak(context.cores.clone(), waiting));
        observers::start(runtime.handle(), &context)?;
        runtime.block_on(start_lenses(&context))?;
        let servers = http::serve::bind(&context.config)?;
        if !servers.is_empty() {
            http::users::make_first(&context)?;
        }
        Ok(Self {
            runtime,
            context,
            servers,
            socket,
        })
    }

    /// The log can be changed from now on.
    pub fn set_log(&self, log: Arc<dyn LogControl>) {
        self.context.set_log(log);
    }

    /// Tells the cores who is banned; to be called before the listeners are open.
    pub fn tell_bans(&self) {
        bans::tell_all(&self.context);
    }

    /// The listeners are open: the API is served from now on. Says where.
    pub fn serve(&mut self, listeners: Arc<dyn ListenerControl>) -> Vec<(String, SocketAddr)> {
        self.context.set_listeners(listeners);
        let _guard = self.runtime.enter();
        monitor::start(&self.context);
        sys_topics::start(&self.context);
        alarms_watch::start(&self.context);
        let mut addresses = Vec::new();
        for server in self.servers.drain(..) {
            addresses.push((server.name.to_owned(), server.address));
            http::serve::start(server, &self.context);
        }
        self.socket.start(&self.context);
        addresses
    }

    /// The broker begins to stop: it is not ready any more.
    pub fn stopping(&self) {
        self.context.set_stopping();
    }

    /// Where tasks of the control plane run.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Ends the runtime; what is not done in two seconds is cut off.
    pub fn stop(self) {
        self.runtime.shutdown_timeout(END_WAIT);
    }
}
