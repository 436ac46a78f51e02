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
    /// Messages: alone, or measured with the connections and without them.
    pub(crate) messages: Option<Messages>,
    /// The connections are cut at once, and come back while messages flow between others.
    pub(crate) storm: Option<Storm>,
    /// Messages to subscribers that do not read, while `messages` flow between others.
    pub(crate) flood: Option<Messages>,
    /// The same load in several sizes.
    pub(crate) growth: Option<Growth>,
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
    /// While they are held, so many a second leave and come again.
    #[serde(default)]
    pub(crate) churn_rate: f64,
}

/// Messages through topics.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Messages {
    /// As `pubsub` names them.
    pub(crate) topology: String,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    #[serde(default)]
    pub(crate) qos: u8,
    #[serde(default = "sixty_four")]
    pub(crate) size: usize,
    /// Messages a second and publisher; without it as many as `window` allows.
    pub(crate) rate: Option<f64>,
    pub(crate) window: Option<u32>,
    pub(crate) duration_seconds: f64,
    /// How often it is measured; the median counts.
    #[serde(default = "one_usize")]
    pub(crate) rounds: usize,
}

/// All connections are cut once they have settled.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storm {
    /// 0 to 1.
    pub(crate) share: f64,
    /// Handshakes at once, a worker, while they come back.
    pub(crate) in_flight: usize,
    /// How long messages flow from the cut on.
    pub(crate) window_seconds: f64,
}

/// Sizes of what is held while a load is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Growth {
    /// Idle connections.
    #[serde(default)]
    pub(crate) connections: Vec<usize>,
    /// Filters, each different from all others, of a few connections.
    #[serde(default)]
    pub(crate) filters: Vec<usize>,
    /// Connections a second of the ramps.
    pub(crate) connect_rate: f64,
    /// SUBSCRIBE and UNSUBSCRIBE packets a second while SUBACKs are timed.
    pub(crate) subscribes_per_second: f64,
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
fn sixty_four() -> usize {
    64
}
fn one_usize() -> usize {
    1
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
        let has = (
            scenario.connections.is_some(),
            scenario.messages.is_some(),
            scenario.storm.is_some(),
            scenario.flood.is_some(),
            scenario.growth.is_some(),
        );
        match has {
            (true, _, false, false, false) | (false, true, false, false, false) => Ok(scenario),
            (true, true, true, false, false) | (false, true, false, _, false) => Ok(scenario),
            (false, true, false, false, true) => Ok(scenario),
            (false, false, ..) => Err("there is nothing to do in it".to_owned()),
            _ => Err(
                "what stands in it does not go together: see bench-harness/README.md".to_owned(),
            ),
        }
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
        self.messages = self.messages.map(|m| m.scaled(scale, time_scale));
        self.flood = self.flood.map(|m| m.scaled(scale, time_scale));
        if let Some(storm) = &mut self.storm {
            storm.window_seconds *= time_scale;
        }
        if let Some(growth) = &mut self.growth {
            let sizes = growth.connections.iter_mut().chain(&mut growth.filters);
            sizes.for_each(|size| *size = scaled_count(*size, scale));
            growth.connect_rate *= scale / time_scale;
            growth.subscribes_per_second *= scale;
        }
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
        self.churn_rate *= scale / time_scale;
        self
    }
}

impl Messages {
    /// Fewer clients; what each of them does stays.
    fn scaled(mut self, scale: f64, time_scale: f64) -> Self {
        self.publishers = scaled_count(self.publishers, scale);
        self.subscribers = scaled_count(self.subscribers, scale);
        self.duration_seconds *= time_scale;
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
            churn_rate: 0.0,
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
            r#"{"name": "g", "about": "a", "storm": {"share": 1, "in_flight": 9, "window_seconds": 9}}"#,
            r#"{"name": "g", "about": "a", "connections": {"count": 1, "rate": 1, "holds": 2}}"#,
        ] {
            assert!(Scenario::parse(text).is_err(), "{text}");
        }
    }
}
