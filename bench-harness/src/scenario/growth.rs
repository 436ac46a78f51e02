//! How cost grows: one load beside ever more connections, and beside ever more filters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::Run;
use super::broker::Broker;
use super::file::{Growth, Messages};
use super::stream;
use crate::cli::{Cli, Command, ConnectArgs};
use crate::client::{Client, Options};
use crate::codec::{Packet, Subscribe, SubscriptionOptions, Version};
use crate::connect;
use crate::connect::watch::{Counts, Observer, Phase, Step};
use crate::failure::Failure;
use crate::interval::Intervals;
use crate::probe::MemorySample;
use crate::pubsub;
use crate::results::Report;

const POLL: Duration = Duration::from_millis(50);
/// What the start and the ramp leave behind goes within ten seconds.
const SETTLE: Duration = Duration::from_secs(11);
const WOKEN: Duration = Duration::from_secs(1);
/// Clients that hold all filters together.
const HOLDERS: usize = 100;
const FILTERS_PER_PACKET: usize = 100;
/// A broker that takes in a million filters is busy for a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const NET_DISTANCE: u8 = 100;
/// The figures that are set against the logarithm of the size, and their names in the result.
const GROWING: [(&str, &str); 4] = [
    ("cpu_us_per_message", "cpu"),
    ("latency_us_p50", "latency"),
    ("suback_us_p50", "suback"),
    ("epoch_us", "epoch"),
];
const COLUMNS: [&str; 9] = [
    "cpu_us_per_message",
    "latency_us_p50",
    "latency_us_p99",
    "suback_us_p50",
    "suback_us_p99",
    "epoch_us",
    "user_bytes",
    "user_bytes_each",
    "index_bytes",
];

/// What is held while the load is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Connections,
    Filters,
}

impl Held {
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Filters => "filters",
        }
    }
}

/// Runs it: a new broker for each size.
pub(super) fn run(run: &Run<'_>, growth: &Growth) -> Result<Report, Failure> {
    let Some(messages) = &run.scenario.messages else {
        return Failure::usage("growth wants messages to measure");
    };
    let sizes = growth
        .connections
        .iter()
        .map(|size| (Held::Connections, *size));
    let sizes = sizes.chain(growth.filters.iter().map(|size| (Held::Filters, *size)));
    let mut rows: Vec<(Held, usize, Map<String, Value>)> = Vec::new();
    let mut last = None;
    for (held, size) in sizes {
        if run.stop.load(Ordering::Relaxed) {
            break;
        }
        let (row, report) = one_size(run, growth, messages, held, size)?;
        rows.push((held, size, row));
        last = Some(report);
    }
    let Some(mut report) = last else {
        return Failure::usage("growth has no sizes");
    };
    report.void = false;
    report.void_reasons.clear();
    report.measured.clear();
    for held in [Held::Connections, Held::Filters] {
        let of: Vec<_> = rows.iter().filter(|row| row.0 == held).collect();
        write_growth(&mut report.measured, held, &of);
    }
    let is_complete = !run.stop.load(Ordering::Relaxed);
    report
        .measured
        .insert("complete".into(), json!(u8::from(is_complete)));
    report.detail("scenario_file", json!(run.scenario));
    report.detail("table", table(&rows));
    report.detail("plots", plots(&rows));
    Ok(report)
}

/// One row, and the report of its messages.
fn one_size(
    run: &Run<'_>,
    growth: &Growth,
    messages: &Messages,
    held: Held,
    size: usize,
) -> Result<(Map<String, Value>, Report), Failure> {
    let mut broker = Broker::new(run.args, &run.scenario.broker)?;
    thread::sleep(SETTLE);
    // Being asked is what a core wakes up for, and gives back what its start left behind.
    broker.report();
    thread::sleep(WOKEN);
    let before = memory(&broker);
    let is_over = Arc::new(AtomicBool::new(false));
    let is_ramped = Arc::new(AtomicBool::new(false));
    let result = thread::scope(|scope| {
        let (over, ramped) = (Arc::clone(&is_over), Arc::clone(&is_ramped));
        let target = broker.target.clone();
        let connect_args = connect_args(run, &broker, growth, size);
        let holding = scope.spawn(move || match held {
            Held::Connections => hold_connections(&connect_args, over, ramped),
            Held::Filters => hold_filters(&target, size, &over, &ramped),
        });
        while !is_ramped.load(Ordering::Relaxed) && !holding.is_finished() {
            thread::sleep(POLL);
        }
        let measured = measure(run, growth, messages, &mut broker);
        is_over.store(true, Ordering::Relaxed);
        let held = holding.join();
        held.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        measured
    });
    let (mut row, report) = result?;
    let grown = memory_growth(&row, before);
    row.insert(
        "user_bytes_each".into(),
        json!(grown.map(|bytes| round1(bytes / size as f64))),
    );
    if let Some(why) = broker.stop() {
        return Err(Failure::Broker(why));
    }
    Ok((row, report))
}

fn memory(broker: &Broker) -> Option<u64> {
    let probe = broker.probe()?;
    probe.memory().map(MemorySample::user_bytes)
}

fn memory_growth(row: &Map<String, Value>, before: Option<u64>) -> Option<f64> {
    Some(row.get("user_bytes")?.as_f64()? - before? as f64)
}

fn round1(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Measures beside what is held.
fn measure(
    run: &Run<'_>,
    growth: &Growth,
    messages: &Messages,
    broker: &mut Broker,
) -> Result<(Map<String, Value>, Report), Failure> {
    thread::sleep(SETTLE);
    let user_bytes = memory(broker);
    let mut args = stream::pubsub_args(run, broker, messages);
    args.common.source_net = run.args.source_net.wrapping_add(NET_DISTANCE);
    args.common.quiet = true;
    let off = Arc::new(Intervals::off());
    let mut reports = stream::rounds(&args, messages, &off, &run.stop)?;
    let mut row = stream::figures(&reports);
    // The same load, gently, while filters come and go.
    args.churn = growth.subscribes_per_second;
    args.churn_connections = 20;
    if args.rate.is_none() {
        args.window = Some(1);
    }
    let batches = |report: &Option<Value>| {
        let report = report.as_ref()?;
        Some((
            report["metrics"]["index.batches"].as_f64()?,
            report["tables"]["shared index"]["bytes"].as_u64(),
        ))
    };
    let before = broker.report();
    let churned = pubsub::run_observed(&args, off)?;
    let after = broker.report();
    for (name, measured) in [
        ("suback_us_p50", "churn_latency_us_p50"),
        ("suback_us_p99", "churn_latency_us_p99"),
    ] {
        row.insert(name.into(), json!(churned.number(measured)));
    }
    // While subscriptions come without a pause, one epoch follows the other.
    let epochs = batches(&after).zip(batches(&before));
    let epochs = epochs.map(|(after, before)| after.0 - before.0);
    let seconds = churned.number("elapsed_seconds");
    let epoch_us = epochs
        .zip(seconds)
        .map(|(epochs, s)| round1(1e6 * s / epochs.max(1.0)));
    row.insert("epoch_us".into(), json!(epoch_us));
    row.insert(
        "index_bytes".into(),
        json!(batches(&after).and_then(|b| b.1)),
    );
    row.insert("user_bytes".into(), json!(user_bytes));
    let report = reports
        .pop()
        .ok_or_else(|| Failure::Broker("no round was run".to_owned()))?;
    Ok((row, report))
}

fn connect_args(run: &Run<'_>, broker: &Broker, growth: &Growth, size: usize) -> ConnectArgs {
    let mut words = vec!["bench-harness".to_owned(), "connect".to_owned()];
    words.extend(run.common(broker));
    for (name, value) in [
        ("connections", size.to_string()),
        ("rate", growth.connect_rate.to_string()),
        ("settle", "0".to_owned()),
        ("hold", "1000000".to_owned()),
    ] {
        words.push(format!("--{name}={value}"));
    }
    match Cli::parse_from(words).command {
        Command::Connect(args) => args,
        _ => unreachable!("the words say connect"),
    }
}

/// Holds until the measurement is over.
struct Holder {
    is_over: Arc<AtomicBool>,
    is_ramped: Arc<AtomicBool>,
}

impl Observer for Holder {
    fn tick(&mut self, phase: Phase, _: Counts, _: &Intervals) -> Step {
        self.is_ramped
            .fetch_or(phase == Phase::Hold, Ordering::Relaxed);
        match self.is_over.load(Ordering::Relaxed) {
            true => Step::End,
            false => Step::GoOn,
        }
    }
}

fn hold_connections(
    args: &ConnectArgs,
    is_over: Arc<AtomicBool>,
    is_ramped: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let mut holder = Holder { is_over, is_ramped };
    let report = connect::run_observed(args, &mut holder)?;
    match report.number("failed_connects") {
        Some(0.0) => Ok(()),
        failed => Err(Failure::Broker(format!("{failed:?} connects failed"))),
    }
}

/// Every second filter has a wildcard.
fn filter(number: usize) -> String {
    match number % 2 {
        0 => format!("growth/{number}/state"),
        _ => format!("growth/{number}/+"),
    }
}

fn hold_filters(
    target: &str,
    size: usize,
    is_over: &AtomicBool,
    is_ramped: &AtomicBool,
) -> Result<(), Failure> {
    let wrong = |error: crate::client::Error| Failure::Broker(format!("filters: {error}"));
    let address = target
        .parse()
        .map_err(|_| Failure::Usage(format!("{target} is no address")))?;
    let mut clients = Vec::new();
    for holder in 0..HOLDERS {
        let mut options = Options::new(Version::V311, &format!("growth-{holder}"));
        options.connect.keep_alive_s = 0;
        let mut client = Client::connect(address, &options).map_err(wrong)?;
        let mine: Vec<usize> = (holder..size).step_by(HOLDERS).collect();
        for numbers in mine.chunks(FILTERS_PER_PACKET) {
            let options = SubscriptionOptions::qos(0);
            let filters = numbers.iter().map(|n| (filter(*n), options)).collect();
            let packet_id = client.packet_id();
            let subscribe = Subscribe {
                packet_id,
                filters,
                ..Subscribe::default()
            };
            client.send(&Packet::Subscribe(subscribe)).map_err(wrong)?;
            match client.expect(ANSWER_WITHIN).map_err(wrong)? {
                Packet::SubAck(ack) if ack.codes.iter().all(|code| *code < 0x80) => {}
                other => return Err(Failure::Broker(format!("filters were refused: {other:?}"))),
            }
        }
        clients.push(client);
    }
    is_ramped.store(true, Ordering::Relaxed);
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(POLL);
    }
    Ok(())
}

type Row = (Held, usize, Map<String, Value>);

/// By how much each figure grew from the least size to the greatest, as a share of how much the
/// logarithm of the size did: 1 and less is what is wanted.
fn write_growth(m: &mut Map<String, Value>, held: Held, rows: &[&Row]) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return;
    };
    let log = (last.1 as f64).ln() / (first.1 as f64).ln().max(1.0);
    for (figure, name) in GROWING {
        let of = |row: &Row| row.2.get(figure).and_then(Value::as_f64);
        let share = of(last)
            .zip(of(first))
            .map(|(last, first)| last / first.max(1e-9) / log);
        let name = format!("{name}_growth_over_log_of_{}", held.name());
        m.insert(name, json!(share.map(|s| (s * 1000.0).round() / 1000.0)));
    }
    let each = last.2.get("user_bytes_each").cloned().unwrap_or_default();
    m.insert(format!("user_bytes_each_of_{}", held.name()), each);
    let faults = |row: &&Row| {
        let count = |name: &str| row.2.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        count("lost") + count("duplicates") + count("other_faults")
    };
    let faults: f64 = rows.iter().map(faults).sum();
    m.insert(
        format!("message_faults_beside_{}", held.name()),
        json!(faults),
    );
}

fn table(rows: &[Row]) -> Value {
    let mut columns = vec!["beside", "size"];
    columns.extend(COLUMNS);
    let line = |(held, size, figures): &Row| {
        let mut line = vec![json!(held.name()), json!(size)];
        line.extend(COLUMNS.map(|name| figures.get(name).cloned().unwrap_or_default()));
        line
    };
    json!({ "columns": columns, "rows": rows.iter().map(line).collect::<Vec<_>>() })
}

fn plots(rows: &[Row]) -> Value {
    let mut plots = Vec::new();
    for (title, y_label, figures) in [
        (
            "CPU of a message",
            "us",
            &[("cpu_us_per_message", "CPU")][..],
        ),
        (
            "SUBACK while filters come and go",
            "us",
            &[
                ("suback_us_p50", "median"),
                ("suback_us_p99", "99 of 100 below"),
            ],
        ),
        ("Index: an epoch", "us", &[("epoch_us", "epoch")]),
        (
            "Memory",
            "bytes",
            &[("user_bytes", "broker"), ("index_bytes", "shared index")],
        ),
    ] {
        for held in [Held::Connections, Held::Filters] {
            let of: Vec<&Row> = rows.iter().filter(|row| row.0 == held).collect();
            let column = |name: &str| -> Vec<Value> {
                of.iter()
                    .map(|row| row.2.get(name).cloned().unwrap_or_default())
                    .collect()
            };
            let lines: Map<String, Value> = figures
                .iter()
                .map(|(name, legend)| ((*legend).to_owned(), json!(column(name))))
                .collect();
            plots.push(json!({
                "title": format!("{title}, by {}", held.name()),
                "x_label": held.name(), "y_label": y_label, "log_x": true, "log_y": true,
                "x": of.iter().map(|row| row.1).collect::<Vec<_>>(), "lines": lines,
            }));
        }
    }
    json!(plots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_set_against_the_logarithm() {
        let row = |size: usize, cpu: f64| -> Row {
            let figures = json!({"cpu_us_per_message": cpu});
            let figures = figures.as_object().cloned().unwrap();
            (Held::Connections, size, figures)
        };
        let (first, last) = (row(1000, 2.0), row(1_000_000, 4.0));
        let mut m = Map::new();
        write_growth(&mut m, Held::Connections, &[&first, &last]);
        assert_eq!(m["cpu_growth_over_log_of_connections"], json!(1.0));
        assert_eq!(m["suback_growth_over_log_of_connections"], Value::Null);
        let table = table(&[first, last]);
        assert_eq!(table["rows"][1][1], json!(1_000_000));
    }
}
