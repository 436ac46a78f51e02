//! Changes of the configuration while the broker runs: what a file, or a request, would change, and the
//! configuration that is in force then.
//!
//! A new configuration is read and checked as a whole first, as a start would. Of it only what is *live*
//! is taken; everything else stays as it was at the start, and is named as something that a start would
//! change.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::kind::Raw;
use super::schema;
use super::shown::value_of;
use super::source::Sources;
use super::values::{Given, Origin, Values};
use super::{Config, ConfigError, Machine};

/// The configuration in force, with the text it was made from. (No `Debug`: there are secrets in it.)
#[derive(Clone)]
pub struct InForce {
    config: Arc<Config>,
    /// What was given at the start: what is not live stays so.
    start: Values,
    /// What is in force.
    pub(super) values: Values,
    machine: Machine,
}

/// A setting that is another one than before.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// Its full name.
    pub key: String,
    /// What was in force; what is secret is not told.
    pub from: Value,
    /// What was asked for.
    pub to: Value,
    /// Whether it is in force now; otherwise it needs a start.
    pub taken: bool,
}

impl InForce {
    /// What a start with these sources gives.
    ///
    /// # Errors
    /// Every problem found.
    pub fn at_start(sources: &Sources, machine: &Machine) -> Result<Self, ConfigError> {
        let values = sources.collect()?;
        Ok(Self {
            config: Arc::new(Config::of(&values, machine)?),
            start: values.clone(),
            values,
            machine: *machine,
        })
    }

    /// The typed settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What is in force with other sources, and what is another one than it was. Nothing is in force
    /// until the caller uses it.
    ///
    /// # Errors
    /// Every problem found; the sources would be refused at a start.
    pub fn with(&self, sources: &Sources) -> Result<(Self, Vec<Changed>), ConfigError> {
        let wanted = sources.collect()?;
        Config::of(&wanted, &self.machine)?;
        let values = self.merged(&wanted);
        let changed = self.differences(&wanted, &values);
        let next = Self {
            config: Arc::new(Config::of(&values, &self.machine)?),
            start: self.start.clone(),
            values,
            machine: self.machine,
        };
        Ok((next, changed))
    }

    /// What is live as wanted, the rest as at the start.
    fn merged(&self, wanted: &Values) -> Values {
        let mut merged = Values::default();
        for (key, given) in self.start.all() {
            if !is_live(key) {
                merged.keep(key, given.clone());
            }
        }
        for (key, given) in wanted.all() {
            if is_live(key) && self.is_open(key) {
                merged.keep(key, given.clone());
            }
        }
        self.keep_listeners(&mut merged);
        merged
    }

    /// Whether a setting is that of a listener that there is, or of none.
    pub(super) fn is_open(&self, key: &str) -> bool {
        listener_of(key).is_none_or(|listener| {
            let mut listeners = self.config.listeners.iter();
            listeners.any(|known| listener_prefix(known) == listener)
        })
    }

    /// A listener that is open stays so when nothing is left of what was said of it.
    fn keep_listeners(&self, values: &mut Values) {
        if self.start.below("listeners").is_empty() {
            return;
        }
        for listener in &self.config.listeners {
            let prefix = listener_prefix(listener);
            if values.below(&prefix).is_empty() {
                let given = Given {
                    raw: Raw::Flag(true),
                    origin: Origin::Option("the start".to_owned()),
                };
                values.keep(&format!("{prefix}.enable"), given);
            }
        }
    }

    fn differences(&self, wanted: &Values, merged: &Values) -> Vec<Changed> {
        let keys = self.values.all().chain(wanted.all());
        let keys: BTreeSet<&str> = keys.map(|(key, _)| key).collect();
        let mut changed = Vec::new();
        for key in keys {
            let (from, to) = (effective(&self.values, key), effective(wanted, key));
            if same(&from, &to) {
                continue;
            }
            let last = key.rsplit('.').next().unwrap_or(key);
            changed.push(Changed {
                taken: same(&effective(merged, key), &to),
                from: value_of(last, &from),
                to: value_of(last, &to),
                key: key.to_owned(),
            });
        }
        changed
    }
}

/// Whether a setting may change while the broker runs.
pub(super) fn is_live(key: &str) -> bool {
    schema::find(key).is_ok_and(|setting| setting.change.is_live())
}

/// The value of a setting as it was written; the default if it was not.
pub(super) fn effective(values: &Values, key: &str) -> Raw {
    let default = || {
        let setting = schema::find(key);
        Raw::Bare(setting.map_or("", |setting| setting.default).to_owned())
    };
    let given = values.given(key);
    given.map_or_else(default, |given| given.raw.clone())
}

/// Whether two spellings are one value: `64` and `"64"` are.
pub(super) fn same(a: &Raw, b: &Raw) -> bool {
    let plain = |raw: &Raw| match raw {
        Raw::Flag(flag) => Some(flag.to_string()),
        Raw::Float(number) => Some(number.to_string()),
        other => other.text(),
    };
    a == b || plain(a).is_some_and(|a| plain(b) == Some(a))
}

/// `listeners.<kind>.<name>`, if a setting is one of a listener.
fn listener_of(key: &str) -> Option<String> {
    let mut parts = key.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (three[0] == "listeners" && parts.next().is_some()).then(|| three.join("."))
}

fn listener_prefix(listener: &super::Listener) -> String {
    format!("listeners.{}.{}", listener.kind.name(), listener.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TomlFile;

    const MACHINE: Machine = Machine {
        cpus: 2,
        memory_bytes: 1 << 30,
        descriptors_hard: 1 << 16,
    };

    fn sources(text: &str) -> Sources {
        Sources {
            file: Some(TomlFile {
                name: "m.toml".to_owned(),
                text: text.to_owned(),
            }),
            ..Sources::default()
        }
    }

    fn in_force(text: &str) -> InForce {
        InForce::at_start(&sources(text), &MACHINE).unwrap_or_else(|error| panic!("{error}"))
    }

    fn told(changed: &[Changed]) -> Vec<String> {
        let line = |c: &Changed| format!("{} {} {} {}", c.key, c.from, c.to, c.taken);
        changed.iter().map(line).collect()
    }

    #[test]
    fn what_is_live_is_taken_and_the_rest_is_named() {
        let start = in_force("[mqtt]\nmax_inflight = 10\n[node]\nname = 'a'\n");
        let text = "[mqtt]\nmax_inflight = 20\nmax_packet_size = '2KB'\n[node]\nname = 'b'\n";
        let (next, changed) = start.with(&sources(text)).unwrap();
        assert_eq!(
            told(&changed),
            [
                "mqtt.max_inflight 10 20 true",
                "mqtt.max_packet_size \"1MB\" \"2KB\" true",
                "node.name \"a\" \"b\" false",
            ]
        );
        let config = next.config();
        let mqtt = &config.mqtt;
        assert_eq!((mqtt.max_inflight, mqtt.max_packet_size), (20, 2048));
        assert_eq!(config.node.name, "a", "until the next start");
        // It is told again as long as it waits for a start; what has gone is the default again.
        let (last, changed) = next.with(&sources("node.name = 'b'\n")).unwrap();
        assert_eq!(told(&changed).len(), 3);
        assert_eq!(last.config().mqtt.max_inflight, 32);
        let (_, changed) = last.with(&sources("node.name = 'a'\n")).unwrap();
        assert_eq!(changed, []);
    }

    #[test]
    fn one_value_in_two_spellings_is_no_change() {
        let start = in_force("mqtt.max_inflight = 32\nmqtt.retain_available = true\n");
        let (_, changed) = start.with(&sources("")).unwrap();
        assert_eq!(changed, []);
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_key() {
        let start = in_force("");
        let Err(error) = start.with(&sources("\n[mqtt]\nmax_inflight = 0\n")) else {
            panic!("it is taken");
        };
        let said = error.to_string();
        assert!(
            said.starts_with("m.toml:3: key `mqtt.max_inflight`: "),
            "{said}"
        );
    }

    #[test]
    fn listeners_stay_those_of_the_start() {
        let start = in_force("listeners.tcp.default.max_connections = 5\n");
        let text = "[listeners.tcp.more]\nbind = '127.0.0.1:9'\nmax_connections = 7\n";
        let (next, changed) = start.with(&sources(text)).unwrap();
        assert_eq!(
            told(&changed),
            [
                "listeners.tcp.default.max_connections 5 \"infinity\" true",
                "listeners.tcp.more.bind \"0.0.0.0:1883\" \"127.0.0.1:9\" false",
                "listeners.tcp.more.max_connections \"infinity\" 7 false",
            ]
        );
        let listeners = &next.config().listeners;
        assert_eq!(listeners.len(), 1);
        assert_eq!(listeners[0].to_string(), "tcp:default");
        assert_eq!(listeners[0].settings.max_connections, None);
    }

    #[test]
    fn a_setting_of_the_listener_that_nobody_named() {
        let start = in_force("");
        let text = "listeners.tcp.default.max_connections = 5\n";
        let (next, changed) = start.with(&sources(text)).unwrap();
        assert!(changed[0].taken);
        assert_eq!(next.config().listeners[0].settings.max_connections, Some(5));
    }

    #[test]
    fn secrets_are_not_told() {
        let start = in_force("dashboard.default_password = 'one'\n");
        let text = "dashboard.default_password = 'two'\n";
        let (_, changed) = start.with(&sources(text)).unwrap();
        let hidden = "dashboard.default_password \"******\" \"******\" false";
        assert_eq!(told(&changed), [hidden]);
    }
}
