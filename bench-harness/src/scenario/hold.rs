//! Connections that are opened at a rate and held: the plainest scenario.

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
use crate::probe::MemorySample;
use crate::results::Report;

/// Connections of which the samples are kept, in all.
const SAMPLED_CONNECTIONS: usize = 1000;
/// A hold that only `until` or somebody ends.
const FOREVER_SECONDS: f64 = 1e6;
/// What a burst, or the start, left behind goes within ten seconds, and the next sleep of a core is as
/// long.
const SETTLES_WITHIN: Duration = Duration::from_secs(12);

/// Runs it.
pub(super) fn run(run: &Run<'_>, mut broker: Broker) -> Result<Report, Failure> {
    let Some(connections) = &run.scenario.connections else {
        return Failure::usage("the scenario has no connections");
    };
    let args = connect_args(run, &broker, connections);
    let ending = Ending {
        stop: run.stop.clone(),
        until: until(run, connections).map(Duration::from_secs_f64),
    };
    let wanted = Wanted {
        interval_s: run.scenario.sample_seconds,
        tables_interval_s: run.scenario.tables_seconds,
        sample_every: connections.count.div_ceil(SAMPLED_CONNECTIONS),
    };
    let about = json!({ "scenario": run.scenario, "broker": broker.command });
    let (series, jtl) = (run.output.series(&about)?, run.output.jtl()?);
    let mut sampler = Sampler::new(&mut broker, series, jtl, ending, &wanted);
    sampler.take_tables("idle", 0.0);
    thread::sleep(SETTLES_WITHIN);
    let result = connect::run_observed(&args, &mut sampler);
    let (mut series, cut_short) = (sampler.series, sampler.cut_short);
    let left_out = sampler.samples_left_out;
    let mut report = result?;
    let after = match cut_short {
        Some(_) => None,
        None => after_all_left(&mut broker),
    };
    let m = &mut report.measured;
    m.insert("after_user_bytes".into(), json!(after));
    m.insert("samples_left_out".into(), json!(left_out));
    write_series(m, &series);
    write_parts(m, &series);
    let stopped = broker.stop().or(cut_short);
    m.insert("complete".into(), json!(u8::from(stopped.is_none())));
    report.detail("cut_short", json!(stopped));
    report.detail("scenario_file", json!(run.scenario));
    report.detail("series", Value::Object(series.columns()));
    report.detail("tables", json!(series.tables));
    series.is_written();
    Ok(report)
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
        None => run.args.hold.or(connections.hold_seconds).unwrap_or(0.0),
    };
    let ping = connections
        .ping_interval_seconds
        .unwrap_or_else(|| connections.keep_alive_seconds.into());
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
        ("in-flight", connections.in_flight.to_string()),
    ] {
        words.push(format!("--{name}={value}"));
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
