//! A scenario as it is written down, and how it shrinks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};

/// The shortest time between two points of a series, seconds.
const SAMPLE_SECONDS_MIN: f64 = 0.25;
/// Cores of a broker that was made for a tenth of the connections, at least.
const CORES_MIN: usize = 2;

/// One file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Also the folder of its results.
    pub(crate) name: String,
    /// What it shows, for people.
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) broker: BrokerNeeds,
    /// Between two points of the time series.
    #[serde(default = "one")]
    pub(crate) sample_seconds: f64,
    /// Between two reports of the broker about its tables.
    #[serde(default = "thirty")]
    pub(crate) tables_seconds: f64,
    /// The harness may be behind its own schedule so much (p99) before the run is void.
    #[serde(default = "twenty_u64")]
    pub(crate) lag_limit_ms: u64,
    /// Connections that are opened and kept.
    pub(crate) connections: Option<Connections>,
    /// The same in JMeter's terms.
    pub(crate) thread_group: Option<ThreadGroup>,
    /// What each measured field may be.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, Limit>,
}

/// What the scenario needs of a broker that is started for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrokerNeeds {
    /// One core's table holds as many connections as files may be open.
    pub(crate) cores: usize,
    /// `key=value`, as `--set` takes them.
    #[serde(default)]
    pub(crate) settings: Vec<String>,
}

impl Default for BrokerNeeds {
    fn default() -> Self {
        Self {
            cores: CORES_MIN,
            settings: Vec::new(),
        }
    }
}

/// Connections that are opened at a rate and kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    pub(crate) count: usize,
    /// Connects a second; 0 opens them as fast as they are answered.
    pub(crate) rate: f64,
    #[serde(default = "three_hundred")]
    pub(crate) keep_alive_seconds: u16,
    /// Between a connection's PINGREQs; by default the keep-alive.
    pub(crate) ping_interval_seconds: Option<f64>,
    #[serde(default = "five")]
    pub(crate) settle_seconds: f64,
    /// How long they are kept once all are open.
    pub(crate) hold_seconds: Option<f64>,
    /// Or: until so long after the first connect.
    pub(crate) until_seconds: Option<f64>,
    /// Each subscribes to a filter of its own.
    #[serde(default)]
    pub(crate) subscribe_own: bool,
    #[serde(default = "twenty")]
    pub(crate) client_id_length: usize,
    /// Handshakes at once, a worker, when the rate is 0.
    #[serde(default = "in_flight")]
    pub(crate) in_flight: usize,
}

/// A thread group with one connection a thread, as JMeter has it: every loop is a think time and a
/// ping.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThreadGroup {
    pub(crate) threads: usize,
    /// Seconds in which all threads start.
    pub(crate) ramp_up: f64,
    pub(crate) loops: u32,
    /// Milliseconds.
    pub(crate) think_time: f64,
}

/// What a measured field may be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Limit {
    Max(f64),
    Min(f64),
    Equal(f64),
}

fn one() -> f64 {
    1.0
}
fn five() -> f64 {
    5.0
}
fn thirty() -> f64 {
    30.0
}
fn three_hundred() -> u16 {
    300
}
fn twenty() -> usize {
    20
}
fn twenty_u64() -> u64 {
    20
}
fn in_flight() -> usize {
    256
}

impl Scenario {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).context(format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut scenario: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (&scenario.connections, scenario.thread_group.take()) {
            (Some(_), Some(_)) => {
                return Err("connections and thread_group are the same thing".to_owned());
            }
            (None, Some(group)) => scenario.connections = Some(group.connections()),
            _ => {}
        }
        if scenario.connections.is_none() {
            return Err("there is nothing to do in it".to_owned());
        }
        Ok(scenario)
    }

    /// With so many times the clients and the time; rates follow.
    #[must_use]
    pub(crate) fn scaled(mut self, scale: f64, time_scale: f64) -> Self {
        self.sample_seconds = (self.sample_seconds * time_scale).max(SAMPLE_SECONDS_MIN);
        self.tables_seconds = (self.tables_seconds * time_scale).max(SAMPLE_SECONDS_MIN);
        if scale < 1.0 {
            self.broker.cores = scaled_count(self.broker.cores, scale).max(CORES_MIN);
        }
        self.connections = self.connections.map(|c| c.scaled(scale, time_scale));
        self
    }
}

impl Connections {
    fn scaled(mut self, scale: f64, time_scale: f64) -> Self {
        self.count = scaled_count(self.count, scale);
        self.rate *= scale / time_scale;
        let interval_seconds = self
            .ping_interval_seconds
            .unwrap_or_else(|| self.keep_alive_seconds.into());
        self.ping_interval_seconds = Some(interval_seconds * time_scale);
        self.settle_seconds *= time_scale;
        self.hold_seconds = self.hold_seconds.map(|s| s * time_scale);
        self.until_seconds = self.until_seconds.map(|s| s * time_scale);
        self
    }
}

impl ThreadGroup {
    fn connections(&self) -> Connections {
        let think_seconds = self.think_time / 1000.0;
        Connections {
            count: self.threads,
            rate: if self.ramp_up > 0.0 {
                self.threads as f64 / self.ramp_up
            } else {
                0.0
            },
            keep_alive_seconds: three_hundred(),
            ping_interval_seconds: Some(think_seconds),
            settle_seconds: 0.0,
            hold_seconds: Some(think_seconds * f64::from(self.loops)),
            until_seconds: None,
            subscribe_own: false,
            client_id_length: twenty(),
            in_flight: in_flight(),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A share of a count.
pub(crate) fn scaled_count(count: usize, scale: f64) -> usize {
    ((count as f64 * scale).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_folder_can_be_read_and_bears_its_file_s_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut found = 0;
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let scenario = Scenario::read(&entry.path()).unwrap();
            assert_eq!(
                entry.file_name(),
                format!("{}.json", scenario.name).as_str()
            );
            assert!(!scenario.about.is_empty());
            found += 1;
        }
        assert!(found > 0);
    }

    #[test]
    fn a_thread_group_is_connections() {
        let text = r#"{"name": "g", "about": "a",
            "thread_group": {"threads": 2000, "ramp_up": 10, "loops": 6, "think_time": 300000}}"#;
        let connections = Scenario::parse(text).unwrap().connections.unwrap();
        assert_eq!(connections.count, 2000);
        assert!((connections.rate - 200.0).abs() < 1e-9);
        assert_eq!(connections.ping_interval_seconds, Some(300.0));
        assert_eq!(connections.hold_seconds, Some(1800.0));
    }

    #[test]
    fn what_shrinks_keeps_its_proportions() {
        let text = r#"{"name": "g", "about": "a", "broker": {"cores": 54},
            "connections": {"count": 1000000, "rate": 1000, "until_seconds": 1800}}"#;
        let small = Scenario::parse(text).unwrap().scaled(0.005, 0.02);
        assert_eq!(small.broker.cores, 2);
        let connections = small.connections.unwrap();
        assert_eq!(connections.count, 5000);
        assert!(
            (connections.rate - 250.0).abs() < 1e-9,
            "20 s instead of 1000 s"
        );
        assert_eq!(connections.ping_interval_seconds, Some(6.0));
        assert_eq!(connections.until_seconds, Some(36.0));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for text in [
            r#"{"name": "g", "about": "a"}"#,
            r#"{"name": "g", "about": "a", "conections": {}}"#,
            r#"{"name": "g", "about": "a", "connections": {"count": 1, "rate": 1, "holds": 2}}"#,
        ] {
            assert!(Scenario::parse(text).is_err(), "{text}");
        }
    }
}
