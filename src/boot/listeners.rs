//! The listeners of a running broker: opened at the start, stopped and started again on demand.
#![allow(clippy::disallowed_types)] // A lock of the control side; no core ever sees it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::base::ids::CoreId;
use crate::config::{Bind, Listener};
use crate::gate::command::Command;
use crate::gate::listeners::{ListenerControl, ListenerState};
use crate::gate::port::Gate;
use crate::gate::reply::Reply;
use crate::runtime::front::Front;
use crate::runtime::listener::{self, ListenerConfig, SocketFile};

/// How long a command waits for room in the channel of a core before it is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// Tries until a core counts as gone: some seconds.
const TRIES_MAX: usize = 500;
/// How long all cores together have to close a listener's sockets.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// All listeners.
pub struct Listeners {
    gate: Gate,
    fronts: Arc<[Front]>,
    listeners: Vec<Listener>,
    /// By number.
    open: Mutex<Vec<Place>>,
}

/// Where a listener is.
struct Place {
    /// Address with the bound port, or file: also of one that is stopped.
    bound: Bind,
    /// Whether it accepts.
    running: bool,
    /// The file, while there is one.
    file: Option<SocketFile>,
}

/// Sockets of a listener, one a core, before any core has them.
struct Bound {
    bind: Bind,
    file: Option<SocketFile>,
    sockets: Vec<OwnedFd>,
}

impl Listeners {
    /// Opens all listeners on all cores, or none.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn open(listeners: &[Listener], fronts: Arc<[Front]>, gate: &Gate) -> Result<Self, String> {
        let mut bound = Vec::new();
        for listener in listeners {
            bound.push(bind(listener, &listener.bind, usize::from(gate.cores()))?);
        }
        let mut places = Vec::new();
        for (number, bound) in bound.into_iter().enumerate() {
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            give_to_cores(gate, number, bound.sockets)?;
            places.push(Place {
                bound: bound.bind,
                running: true,
                file: bound.file,
            });
        }
        Ok(Self {
            gate: gate.clone(),
            fronts,
            listeners: listeners.to_vec(),
            open: Mutex::new(places),
        })
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // What a panic left behind is as good as what was there before: each field is set at once.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self, id: &str) -> Result<(usize, &Listener), String> {
        let mut all = self.listeners.iter().enumerate();
        all.find(|(_, listener)| listener.to_string() == id)
            .ok_or_else(|| format!("there is no listener `{id}`"))
    }

    /// Removes the files of Unix sockets, at the end.
    pub fn remove_files(&self) {
        for place in self.places().iter_mut() {
            place.file = None;
        }
    }
}

impl ListenerControl for Listeners {
    fn states(&self) -> Vec<ListenerState> {
        let places = self.places();
        let all = self.listeners.iter().zip(self.fronts.iter()).zip(&*places);
        all.map(|((listener, front), place)| ListenerState {
            id: listener.to_string(),
            kind: listener.kind.name(),
            bind: place.bound.to_string(),
            running: place.running,
            current_connections: front.share.connections(),
            max_connections: front.share.max_connections(),
            proxy_protocol: front.proxy.is_some(),
        })
        .collect()
    }

    fn stop(&self, id: &str) -> Result<(), String> {
        let (number, _) = self.number(id)?;
        let mut places = self.places();
        let Some(place) = places.get_mut(number).filter(|place| place.running) else {
            return Ok(());
        };
        let cores = self.gate.cores();
        let (tell, told) = bounded(usize::from(cores));
        for core in 0..cores {
            let tell = tell.clone();
            let command = Command::StopListening {
                listener: u8::try_from(number).unwrap_or(u8::MAX),
                done: Reply::new(move |()| {
                    // Who waited for it may have gone.
                    let _ = tell.try_send(());
                }),
            };
            ask(&self.gate, CoreId(core), command)?;
        }
        for _ in 0..cores {
            told.recv_timeout(STOP_WITHIN)
                .map_err(|_| format!("the listener {id} does not stop on all cores"))?;
        }
        place.running = false;
        place.file = None;
        Ok(())
    }

    fn start(&self, id: &str) -> Result<(), String> {
        let (number, listener) = self.number(id)?;
        let mut places = self.places();
        let Some(place) = places.get_mut(number).filter(|place| !place.running) else {
            return Ok(());
        };
        let bound = bind(listener, &place.bound, usize::from(self.gate.cores()))?;
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        give_to_cores(&self.gate, number, bound.sockets)?;
        place.file = bound.file;
        place.running = true;
        Ok(())
    }
}

fn bind(listener: &Listener, wanted: &Bind, cores: usize) -> Result<Bound, String> {
    let settings = &listener.settings;
    let bound = match wanted {
        Bind::Ip(address) => bind_address(listener, *address, cores),
        Bind::Path(path) => listener::bind_unix(path, listener.mode, settings.backlog, cores).map(
            |(file, sockets)| Bound {
                bind: wanted.clone(),
                file: Some(file),
                sockets,
            },
        ),
    };
    bound.map_err(|error| format!("listener {listener} cannot be opened on {wanted}: {error}"))
}

fn bind_address(listener: &Listener, address: SocketAddr, cores: usize) -> std::io::Result<Bound> {
    let settings = &listener.settings;
    let wanted = ListenerConfig {
        address,
        backlog: settings.backlog,
        nodelay: settings.nodelay,
        send_timeout: settings.send_timeout,
    };
    listener::bind(&wanted, cores).map(|(address, sockets)| Bound {
        bind: Bind::Ip(address),
        file: None,
        sockets,
    })
}

fn give_to_cores(gate: &Gate, listener: u8, sockets: Vec<OwnedFd>) -> Result<(), String> {
    for (core, socket) in sockets.into_iter().enumerate() {
        let core = CoreId(u8::try_from(core).unwrap_or(u8::MAX));
        ask(gate, core, Command::Listen { listener, socket })?;
    }
    Ok(())
}

/// Asks a core, waiting for room in its channel.
pub(super) fn ask(gate: &Gate, core: CoreId, mut command: Command) -> Result<(), String> {
    for _ in 0..TRIES_MAX {
        match gate.ask(core, command) {
            Ok(()) => return Ok(()),
            Err(back) => command = back,
        }
        crossbeam_channel::after(RETRY).recv().ok();
    }
    Err(format!("core {} takes no commands", core.0))
}

#[cfg(test)]
#[path = "listeners_tests.rs"]
mod tests;
