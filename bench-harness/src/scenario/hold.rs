//! Connections that are opened at a rate and held: the plainest scenario.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::Run;
use super::broker::Broker;
use super::file::Connections;
use super::sampler::{Ending, Sampler, Wanted};
use super::series::{Series, TableReport};
use crate::cli::{Cli, Command, ConnectArgs};
use crate::connect;
use crate::failure::Failure;
use crate::interval::{Intervals, Recent};
use crate::probe::MemorySample;
use crate::results::Report;

/// Connections of which the samples are kept, in all.
const SAMPLED_CONNECTIONS: usize = 1000;
/// A hold that only `until` or somebody ends.
const FOREVER_SECONDS: f64 = 1e6;
/// A core that was woken does what it has put off.
const WOKEN: Duration = Duration::from_secs(1);
/// What a burst, or the start, left behind goes within ten seconds, and the next sleep of a core is as
/// long.
const SETTLES_WITHIN: Duration = Duration::from_secs(12);

/// Runs it.
pub(super) fn run(run: &Run<'_>, mut broker: Broker) -> Result<Report, Failure> {
    let connections = wanted_connections(run)?;
    let args = connect_args(run, &broker, connections);
    let ending = Ending {
        stop: run.stop.clone(),
        until: until(run, connections).map(Duration::from_secs_f64),
        ..Ending::default()
    };
    let mut sampler = sampler(run, &mut broker, ending, Arc::new(Intervals::off()))?;
    let result = connect::run_observed(&args, &mut sampler);
    let seen = Seen::new(sampler);
    let mut report = result?;
    seen.complete(run, &mut report, broker);
    Ok(report)
}

pub(super) fn wanted_connections<'a>(run: &'a Run<'_>) -> Result<&'a Connections, Failure> {
    let connections = run.scenario.connections.as_ref();
    connections.ok_or_else(|| Failure::Usage("the scenario has no connections".to_owned()))
}

/// A sampler with its files, which has taken the tables of the idle broker.
pub(super) fn sampler<'a>(
    run: &Run<'_>,
    broker: &'a mut Broker,
    ending: Ending,
    messages: Arc<Intervals>,
) -> Result<Sampler<'a>, Failure> {
    let connections = run.scenario.connections.as_ref();
    let wanted = Wanted {
        interval_s: run.scenario.sample_seconds,
        tables_interval_s: run.scenario.tables_seconds,
        sample_every: connections.map_or(1, |c| c.count.div_ceil(SAMPLED_CONNECTIONS)),
        messages,
    };
    let about = json!({ "scenario": run.scenario, "broker": broker.command });
    let (series, jtl) = (run.output.series(&about)?, run.output.jtl()?);
    thread::sleep(SETTLES_WITHIN);
    let mut sampler = Sampler::new(broker, series, jtl, ending, &wanted);
    // Being asked is what a core wakes up for, and gives back what its start left behind. So the
    // second report is the idle broker's.
    sampler.broker.report();
    thread::sleep(WOKEN);
    sampler.take_tables("idle", 0.0);
    Ok(sampler)
}

/// What a sampler has seen, once it has let go of the broker.
pub(super) struct Seen {
    pub(super) series: Series,
    cut_short: Option<String>,
    samples_left_out: u64,
    pub(super) deliveries: BTreeMap<&'static str, Recent>,
    /// What the broker said last of deliveries it dropped.
    pub(super) dropped: Option<u64>,
}

impl Seen {
    pub(super) fn new(sampler: Sampler<'_>) -> Self {
        Self {
            series: sampler.series,
            cut_short: sampler.cut_short,
            samples_left_out: sampler.samples_left_out,
            deliveries: sampler.deliveries,
            dropped: sampler.dropped,
        }
    }

    /// Ends the broker and writes what was seen into the report.
    pub(super) fn complete(mut self, run: &Run<'_>, report: &mut Report, mut broker: Broker) {
        let after = match self.cut_short {
            Some(_) => None,
            None => after_all_left(&mut broker),
        };
        let m = &mut report.measured;
        m.insert("after_user_bytes".into(), json!(after));
        m.insert("samples_left_out".into(), json!(self.samples_left_out));
        write_series(m, &self.series);
        write_parts(m, &self.series);
        let stopped = broker.stop().or(self.cut_short);
        m.insert("complete".into(), json!(u8::from(stopped.is_none())));
        report.detail("cut_short", json!(stopped));
        report.detail("scenario_file", json!(run.scenario));
        report.detail("series", Value::Object(self.series.columns()));
        report.detail("tables", json!(self.series.tables));
        self.series.is_written();
    }
}

fn until(run: &Run<'_>, connections: &Connections) -> Option<f64> {
    match (run.args.hold, run.args.until) {
        (Some(_), _) => None,
        (None, Some(until)) => Some(until),
        (None, None) => connections.until_seconds,
    }
}

/// The options of the load.
pub(super) fn connect_args(
    run: &Run<'_>,
    broker: &Broker,
    connections: &Connections,
) -> ConnectArgs {
    let hold = match until(run, connections) {
        Some(_) => FOREVER_SECONDS,
        // What flows beside them says when it is over.
        None if run.scenario.messages.is_some() => FOREVER_SECONDS,
        None => run.args.hold.or(connections.hold_seconds).unwrap_or(0.0),
    };
    let ping = connections
        .ping_interval_seconds
        .unwrap_or_else(|| connections.keep_alive_seconds.into());
    let in_flight = match &run.scenario.storm {
        Some(storm) => storm.in_flight,
        None => connections.in_flight,
    };
    let mut words = vec!["bench-harness".to_owned(), "connect".to_owned()];
    words.extend(run.common(broker));
    for (name, value) in [
        ("connections", connections.count.to_string()),
        ("rate", connections.rate.to_string()),
        ("keep-alive", connections.keep_alive_seconds.to_string()),
        ("ping-interval", ping.to_string()),
        ("settle", connections.settle_seconds.to_string()),
        ("hold", hold.to_string()),
        ("client-id-length", connections.client_id_length.to_string()),
        ("in-flight", in_flight.to_string()),
    ] {
        words.push(format!("--{name}={value}"));
    }
    if let Some(storm) = &run.scenario.storm {
        words.push(format!("--storm={}", storm.share));
        words.push("--reconnect=0.1".to_owned());
    }
    if connections.churn_rate > 0.0 {
        words.push(format!("--churn={}", connections.churn_rate));
    }
    if connections.subscribe_own {
        words.push("--subscribe-own".to_owned());
    }
    match Cli::parse_from(words).command {
        Command::Connect(args) => args,
        _ => unreachable!("the words say connect"),
    }
}

/// The broker's memory once all clients are gone and it had time to give back what it can.
fn after_all_left(broker: &mut Broker) -> Option<u64> {
    let probe = broker.probe()?;
    thread::sleep(SETTLES_WITHIN);
    probe.memory().map(MemorySample::user_bytes)
}

/// What the series as a whole says.
pub(super) fn write_series(m: &mut Map<String, Value>, series: &Series) {
    let points = &series.points;
    let mut put = |name: &str, values: Vec<f64>| {
        if values.is_empty() {
            return;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let max = values.iter().copied().fold(f64::MIN, f64::max);
        m.insert(
            format!("{name}_mean"),
            json!((100.0 * mean).round() / 100.0),
        );
        m.insert(format!("{name}_max"), json!(max));
    };
    let all = |pick: fn(&super::series::Point) -> Option<f64>| points.iter().filter_map(pick);
    put("load_average", all(|p| p.load_average_1min).collect());
    put(
        "others_cpu_percent",
        all(|p| p.others_cpu_percent).collect(),
    );
    put(
        "broker_cpu_percent",
        all(|p| p.broker_cpu_percent).collect(),
    );
    put(
        "harness_cpu_percent",
        all(|p| Some(p.harness_cpu_percent)).collect(),
    );
    let peak = points.iter().filter_map(|p| p.user_bytes).max();
    m.insert("peak_user_bytes".into(), json!(peak));
    let dropped = points.iter().filter_map(|p| p.dropped).next_back();
    m.insert("broker_dropped".into(), json!(dropped));
}

/// The broker's memory by part: idle, and the last time while connections were held.
fn write_parts(m: &mut Map<String, Value>, series: &Series) {
    let idle = series.tables.iter().find(|t| t.phase == "idle");
    let held = series.tables.iter().rfind(|t| t.phase != "idle");
    let connected = m.get("connected").and_then(Value::as_f64).unwrap_or(0.0);
    if let (Some(idle), Some(held)) = (idle, held)
        && connected > 0.0
    {
        let of = |report: &TableReport, name: &str| {
            let value = report.bytes.get(name).and_then(Value::as_f64);
            value.unwrap_or(0.0)
        };
        let growth = |name: &String| {
            let bytes = (of(held, name) - of(idle, name)) / connected;
            (name.clone(), json!((10.0 * bytes).round() / 10.0))
        };
        let parts: Map<String, Value> = held.bytes.keys().map(growth).collect();
        m.insert("bytes_per_connection_by_part".into(), json!(parts));
    }
    m.insert("memory_by_part_idle".into(), json!(idle.map(|t| &t.bytes)));
    m.insert("memory_by_part_held".into(), json!(held.map(|t| &t.bytes)));
}
