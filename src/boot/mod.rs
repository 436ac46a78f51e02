//! From the command line to a broker that may start: configuration, machine, data directory.

pub mod access;
pub mod data_dir;
pub mod doctor;
pub mod import;
pub mod listeners;
pub mod load;
pub mod machine;
pub mod preflight;
pub mod report;
pub mod run;
pub mod service;
pub mod settings;
mod sys;
mod tls;

use std::fmt;
use std::sync::Arc;

use crate::access::bans::Ban;
use crate::access::rules::AccessRules;
use crate::cli::Arguments;
use crate::config::{Config, ConfigError, InForce, Machine};
use data_dir::DataDir;
use preflight::Facts;

/// All that is settled before the first thread and the first listener. (No `Debug`: the key stays out
/// of logs.)
pub struct Ready {
    /// The configuration.
    pub config: Arc<Config>,
    /// The same with what it was made of, for changes.
    pub in_force: InForce,
    /// The command line, which is looked at again when the configuration is read again.
    pub arguments: Arguments,
    /// The machine it was made for.
    pub machine: Machine,
    /// What of io_uring is optional and there, among other facts.
    pub facts: Facts,
    /// What clients may do.
    pub access: Arc<AccessRules>,
    /// Who is not let in from the start.
    pub bans: Arc<[Arc<Ban>]>,
    /// The data directory, locked as long as this lives.
    pub data_dir: DataDir,
    /// The key that gives each client id its home core.
    pub hash_key: [u8; 16],
}

/// Why the broker does not start: sentences for the user, exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// At least one.
    pub sentences: Vec<String>,
}

impl fmt::Display for Refusal {
    /// One sentence a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences.join("\n"))
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let sentences = error.problems.iter().map(ToString::to_string).collect();
        Self { sentences }
    }
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self {
            sentences: vec![sentence],
        }
    }
}

/// The first thing in the process, before any table grows.
pub fn prepare_memory() {
    sys::forbid_huge_pages();
}

/// Loads the configuration, raises the limits, runs every check, locks the data directory.
pub fn prepare(arguments: &Arguments) -> Result<Ready, Refusal> {
    let (in_force, machine, facts) = settle(arguments)?;
    let config = Arc::clone(in_force.config());
    let failed = preflight::outcomes(&config, &facts)
        .into_iter()
        .filter_map(Result::err);
    let mut sentences: Vec<String> = failed.collect();
    sentences.extend(tls::check(&config).into_iter().filter_map(Result::err));
    if !sentences.is_empty() {
        return Err(Refusal { sentences });
    }
    let access = access::rules(&config, 0)?;
    let bans = access::bans(&config)?;
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let hash_key = data_dir.hash_key()?;
    service::note_process(data_dir.path());
    Ok(Ready {
        config,
        in_force,
        arguments: arguments.clone(),
        machine,
        facts,
        access: access.into(),
        bans,
        data_dir,
        hash_key,
    })
}

/// What `--check` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One line a check, then the warnings.
    pub lines: Vec<String>,
    /// Whether every check succeeded.
    pub ok: bool,
}

/// `--check`: loads the configuration and runs every check, without making or keeping anything.
pub fn check(arguments: &Arguments) -> Result<Report, Refusal> {
    let (in_force, machine, facts) = settle(arguments)?;
    let config = in_force.config();
    let mut outcomes = vec![Ok("the configuration is valid".to_owned())];
    outcomes.extend(preflight::outcomes(config, &facts));
    outcomes.extend(tls::check(config));
    outcomes.extend(access::check(config));
    outcomes.push(preflight::check_data_dir(&config.node.data_dir));
    let certificates = doctor::certificates::examine(config, doctor::unix_s());
    outcomes.extend(certificates.into_iter().map(doctor::Finding::outcome));
    let warnings = config.warnings(&machine).into_iter();
    let mut lines: Vec<String> = outcomes.iter().map(line).collect();
    lines.extend(warnings.map(|warning| format!("warning: {warning}")));
    Ok(Report {
        lines,
        ok: outcomes.iter().all(Result::is_ok),
    })
}

fn line(outcome: &preflight::Outcome) -> String {
    match outcome {
        Ok(found) => format!("ok: {found}"),
        Err(sentence) => format!("FAILED: {sentence}"),
    }
}

fn settle(arguments: &Arguments) -> Result<(InForce, Machine, Facts), Refusal> {
    let (machine, limits) = machine::look()
        .map_err(|error| Refusal::from(format!("the machine cannot be examined: {error}")))?;
    let in_force = load::load(arguments, &machine)?;
    Ok((in_force, machine, Facts::gather(limits)))
}
