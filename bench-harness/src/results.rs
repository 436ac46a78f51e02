//! A run's result: the file under `results/` (schema 1) and the summary on standard output.
#![allow(clippy::print_stdout)] // The summary is the program's output.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::Common;
use crate::environment::{Environment, commit, utc_now};
use crate::failure::{Context, Failure};
use crate::histogram::Times;
use crate::probe::Probe;

/// A limit set by an option, and whether the run kept to it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The measured field.
    pub name: String,
    /// The comparison that `value` has to stand: `=`, `<=` or `>=`.
    pub relation: &'static str,
    /// The option's value.
    pub limit: f64,
    /// What was measured; none when it could not be.
    pub value: Option<f64>,
    /// Whether it holds; false when nothing was measured.
    pub ok: bool,
}

/// The harness's own part in the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HarnessFigures {
    pub(crate) workers: usize,
    pub(crate) lag_us_p99: u64,
    pub(crate) lag_us_max: u64,
    pub(crate) cpu_seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct BrokerFigures {
    name: String,
    version: String,
    settings: String,
    pid: Option<u32>,
}

/// Everything a run has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    schema: u32,
    scenario: String,
    date: String,
    commit: String,
    command: Vec<String>,
    environment: Environment,
    broker: BrokerFigures,
    pub(crate) harness: HarnessFigures,
    /// The harness itself lagged: the figures say nothing about the broker.
    pub void: bool,
    /// Why the run is void.
    pub void_reasons: Vec<String>,
    /// The measured fields, units in their names.
    pub measured: Map<String, Value>,
    /// One for each limit given.
    pub verdicts: Vec<Verdict>,
    /// Further fields of the file, such as a time series, which are not printed.
    #[serde(skip)]
    details: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(
        common: &Common,
        scenario: &str,
        environment: Environment,
        probe: Option<Probe>,
        harness: HarnessFigures,
        measured: Map<String, Value>,
    ) -> Self {
        let lag_limit_us = common.lag_limit_ms * 1000;
        let mut void_reasons = Vec::new();
        if harness.lag_us_p99 > lag_limit_us {
            void_reasons.push(format!(
                "the harness was behind its own schedule: p99 {} us, limit {lag_limit_us} us",
                harness.lag_us_p99
            ));
        }
        Self {
            schema: 1,
            scenario: common
                .scenario
                .clone()
                .unwrap_or_else(|| scenario.to_owned()),
            date: utc_now(),
            commit: common.commit.clone().unwrap_or_else(commit),
            command: std::env::args().collect(),
            environment,
            broker: BrokerFigures {
                name: common.broker_name.clone(),
                version: common.broker_version.clone(),
                settings: common.broker_settings.clone(),
                pid: probe.map(|p| p.pid),
            },
            harness,
            void: !void_reasons.is_empty(),
            void_reasons,
            measured,
            verdicts: Vec::new(),
            details: Map::new(),
        }
    }

    /// Adds a field to the file.
    pub(crate) fn detail(&mut self, name: &str, value: Value) {
        self.details.insert(name.to_owned(), value);
    }

    /// When the run began, and what was measured.
    pub(crate) fn began(&mut self, date: &str, commit: &str) {
        date.clone_into(&mut self.date);
        commit.clone_into(&mut self.commit);
    }

    /// Judges one measured field against an option's limit; nothing without a limit.
    pub(crate) fn judge(&mut self, name: &str, relation: &'static str, limit: Option<f64>) {
        let Some(limit) = limit else { return };
        let value = self.measured.get(name).and_then(Value::as_f64);
        let ok = value.is_some_and(|value| match relation {
            "=" => (value - limit).abs() < f64::EPSILON,
            "<=" => value <= limit,
            _ => value >= limit,
        });
        self.verdicts.push(Verdict {
            name: name.to_owned(),
            relation,
            limit,
            value,
            ok,
        });
    }

    /// A field of `measured` as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.measured.get(name).and_then(Value::as_f64)
    }

    /// Whether every verdict holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.ok)
    }

    /// Writes `OUT/SCENARIO/DATE-COMMIT.json` and returns its path.
    pub(crate) fn write(&self, common: &Common) -> Result<PathBuf, Failure> {
        let directory = common.out.join(&self.scenario);
        let path = directory.join(format!("{}-{}.json", self.date, self.commit));
        self.write_to(&path)?;
        Ok(path)
    }

    /// Writes the file.
    pub(crate) fn write_to(&self, path: &Path) -> Result<(), Failure> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .context(format!("cannot make {}", directory.display()))?;
        }
        fs::write(path, self.text()).context(format!("cannot write {}", path.display()))
    }

    /// The file as a value.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_default()
    }

    /// The file's text. The details are long: each of their fields has one line.
    fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        let end = text.trim_end_matches(['}', '\n']).len();
        text.truncate(end);
        for (name, value) in &self.details {
            text.push_str(&format!(",\n  \"{name}\": "));
            match value {
                Value::Object(fields) if !fields.is_empty() => {
                    let lines = fields.iter().map(|(k, v)| format!("    {}: {v}", json!(k)));
                    let lines: Vec<String> = lines.collect();
                    text.push_str(&format!("{{\n{}\n  }}", lines.join(",\n")));
                }
                other => text.push_str(&other.to_string()),
            }
        }
        text.push_str("\n}\n");
        text
    }

    /// Prints what a person wants to know.
    pub(crate) fn print(&self) {
        println!("{} ({}, commit {})", self.scenario, self.date, self.commit);
        for (name, value) in &self.measured {
            match value {
                Value::Object(map) if map.is_empty() => {}
                Value::Null => println!("  {name:<34} not measured"),
                other => println!("  {name:<34} {other}"),
            }
        }
        let h = &self.harness;
        println!(
            "  harness: {} workers, lag p99 {} us, max {} us, {:.2} s CPU",
            h.workers, h.lag_us_p99, h.lag_us_max, h.cpu_seconds
        );
        for reason in &self.void_reasons {
            println!("  VOID: {reason}");
        }
        for v in &self.verdicts {
            let value = v
                .value
                .map_or_else(|| "not measured".to_owned(), |v| v.to_string());
            let word = if v.ok { "ok" } else { "FAILED" };
            println!(
                "  {word:<6} {} = {value} (wanted {} {})",
                v.name, v.relation, v.limit
            );
        }
    }
}

impl HarnessFigures {
    pub(crate) fn new(workers: usize, lag: &Times, cpu_seconds: f64) -> Self {
        let (lag_us_p99, lag_us_max) = (lag.us_at(99.0), lag.us_max());
        Self {
            workers,
            lag_us_p99,
            lag_us_max,
            cpu_seconds: (cpu_seconds * 1000.0).round() / 1e3,
        }
    }
}
