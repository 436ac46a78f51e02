//! Settings while the broker runs: the files are read again, or a request changes some; what is live is
//! given to cores and listeners, and what was changed by request is kept in `overrides.toml`.
#![allow(clippy::disallowed_types)] // Locks of the control side; no core ever sees them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::Value;

use crate::base::ids::CoreId;
use crate::boot::listeners::ask;
use crate::boot::load::{self, OVERRIDES_FILE};
use crate::boot::{Ready, Refusal, access};
use crate::cli::Arguments;
use crate::config::{Changed, Config, InForce, LogLevel, TomlFile};
use crate::gate::command::Command;
use crate::gate::log::LogControl;
use crate::gate::port::Gate;
use crate::gate::reply::Reply;
use crate::gate::rules::Rules;
use crate::gate::settings::{SettingsControl, Unchanged};
use crate::gate::tls::{TlsDesk, TlsReloaded, TlsRequest};
use crate::runtime::front::Front;

/// How long all cores together have to take settings over.
const TAKE_WITHIN: Duration = Duration::from_secs(5);

/// The settings of a running broker.
pub struct Settings {
    gate: Gate,
    fronts: Arc<[Front]>,
    arguments: Arguments,
    data_dir: PathBuf,
    /// Where certificates are read, if any listener speaks TLS.
    tls: Option<TlsDesk>,
    /// The log, once it is known.
    log: OnceLock<Arc<dyn LogControl>>,
    /// One change at a time.
    state: Mutex<State>,
    /// For those who only look.
    config: RwLock<Arc<Config>>,
}

struct State {
    in_force: InForce,
    /// Of the access rules.
    version: u64,
}

impl Settings {
    /// These are in force.
    pub fn new(ready: &Ready, gate: Gate, fronts: Arc<[Front]>, tls: Option<TlsDesk>) -> Self {
        Self {
            gate,
            fronts,
            arguments: ready.arguments.clone(),
            data_dir: ready.data_dir.path().to_owned(),
            tls,
            log: OnceLock::new(),
            config: RwLock::new(Arc::clone(&ready.config)),
            state: Mutex::new(State {
                in_force: ready.in_force.clone(),
                version: 0,
            }),
        }
    }

    /// The log is there: its level follows the settings from now on.
    pub fn set_log(&self, log: Arc<dyn LogControl>) {
        // Set once, by the start.
        let _ = self.log.set(log);
    }

    /// Another level, if the settings say another one than before: one that was set by hand stays
    /// otherwise.
    fn set_level(&self, before: LogLevel, level: LogLevel) {
        let set = self.log.get().filter(|_| before != level);
        if let Some(Err(why)) = set.map(|log| log.set_level(level)) {
            tracing::error!("the log keeps its level: {why}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left behind is as good as what was there before: it is replaced at once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For SIGHUP: everything that can be read again, and lines in the log.
    pub fn reload_and_log(&self) {
        match self.reload() {
            Ok(changed) => {
                for changed in &changed {
                    log_change(changed);
                }
                tracing::info!("configuration and access rules have been read again");
            }
            Err(Unchanged::Wrong(sentences)) => {
                for sentence in sentences {
                    tracing::error!("settings and access rules stay as they are: {sentence}");
                }
            }
            Err(Unchanged::Failed(why)) => tracing::error!("{why}"),
        }
    }

    /// Lets a configuration be in force, with access rules as their file has them now; `keep` comes
    /// when nothing can be wrong any more, and before anybody hears of it.
    fn put_in_force(
        &self,
        state: &mut State,
        next: InForce,
        keep: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Unchanged> {
        let config = Arc::clone(next.config());
        let version = state.version + 1;
        let access = access::rules(&config, version).map_err(wrong)?;
        keep().map_err(|error| {
            let path = self.data_dir.join(OVERRIDES_FILE);
            Unchanged::Failed(format!("{} cannot be written: {error}", path.display()))
        })?;
        self.set_level(state.in_force.config().log.level, config.log.level);
        state.version = version;
        state.in_force = next;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
        for (front, listener) in self.fronts.iter().zip(&config.listeners) {
            front.share.set_limits(
                listener.settings.max_connections,
                listener.settings.max_conn_rate,
                listener.settings.max_conn_burst,
            );
        }
        let rules = Rules::new(&config, self.gate.cores(), Arc::new(access));
        self.tell_cores(&Arc::new(rules))
    }

    /// Gives rules to all cores and waits until they hold.
    fn tell_cores(&self, rules: &Arc<Rules>) -> Result<(), Unchanged> {
        let cores = self.gate.cores();
        let (tell, told) = bounded(usize::from(cores));
        for core in 0..cores {
            let tell = tell.clone();
            let command = Command::SetRules {
                rules: Arc::clone(rules),
                done: Reply::new(move |()| {
                    // Who waited for it may have gone.
                    let _ = tell.try_send(());
                }),
            };
            ask(&self.gate, CoreId(core), command).map_err(Unchanged::Failed)?;
        }
        for _ in 0..cores {
            let late = |_| Unchanged::Failed("a core has not taken the settings over yet".into());
            told.recv_timeout(TAKE_WITHIN).map_err(late)?;
        }
        Ok(())
    }
}

impl SettingsControl for Settings {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<Vec<Changed>, Unchanged> {
        let mut state = self.state();
        let sources =
            load::sources_with_overrides(&self.arguments, &self.data_dir).map_err(wrong)?;
        let (next, changed) = state.in_force.with(&sources).map_err(wrong)?;
        self.put_in_force(&mut state, next, || Ok(()))?;
        Ok(changed)
    }

    fn change(&self, section: &str, body: &Value) -> Result<Vec<Changed>, Unchanged> {
        let mut state = self.state();
        let mut sources =
            load::sources_with_overrides(&self.arguments, &self.data_dir).map_err(wrong)?;
        let text = state.in_force.overridden(&sources, section, body);
        let text = text.map_err(wrong)?;
        let path = self.data_dir.join(OVERRIDES_FILE);
        sources.overrides = Some(TomlFile {
            name: path.display().to_string(),
            text: text.clone(),
        });
        let (next, changed) = state.in_force.with(&sources).map_err(wrong)?;
        self.put_in_force(&mut state, next, || write_whole(&path, &text))?;
        for changed in &changed {
            log_change(changed);
        }
        Ok(changed)
    }

    fn reload_certificates(&self) -> Result<TlsReloaded, Unchanged> {
        let Some(desk) = &self.tls else {
            return Ok(TlsReloaded::default());
        };
        let (tell, told) = bounded(1);
        let request = TlsRequest::Reload(Reply::new(move |reloaded| {
            // Who waited for it may have gone.
            let _ = tell.try_send(reloaded);
        }));
        let busy = |_| Unchanged::Failed("certificates are being read already".to_owned());
        desk.ask(request).map_err(busy)?;
        let late = |_| Unchanged::Failed("certificates have not been read in time".to_owned());
        told.recv_timeout(TAKE_WITHIN).map_err(late)
    }
}

fn log_change(changed: &Changed) {
    let Changed {
        key,
        from,
        to,
        taken,
        ..
    } = changed;
    match taken {
        true => tracing::info!("setting {key} is {to} now (it was {from})"),
        false => tracing::warn!("setting {key} stays {from}: {to} needs a restart"),
    }
}

fn wrong(error: impl Into<Refusal>) -> Unchanged {
    Unchanged::Wrong(error.into().sentences)
}

/// Puts a file in place, whole or not at all, whatever happens meanwhile.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("toml.new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
