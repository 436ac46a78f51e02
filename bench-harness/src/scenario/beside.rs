//! Messages beside many connections: measured alone, with the connections, and alone again; or while the
//! connections are cut and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Run;
use super::broker::Broker;
use super::file::Messages;
use super::hold::{self, Seen};
use super::sampler::{Beside, Ending};
use super::stream;
use crate::cli::{ConnectArgs, PubsubArgs};
use crate::connect;
use crate::failure::Failure;
use crate::interval::{Intervals, Recent};
use crate::results::Report;

const SAMPLE_EVERY: usize = 1000;
const POLL: Duration = Duration::from_millis(50);
/// The message load's addresses lie so far behind those of the connections.
const NET_DISTANCE: u8 = 100;

/// Runs it.
pub(super) fn run(
    run: &Run<'_>,
    mut broker: Broker,
    messages: &Messages,
) -> Result<Report, Failure> {
    let connections = hold::wanted_connections(run)?;
    let connect_args = hold::connect_args(run, &broker, connections);
    let mut pubsub_args = stream::pubsub_args(run, &broker, messages);
    pubsub_args.common.source_net = run.args.source_net.wrapping_add(NET_DISTANCE);
    pubsub_args.common.quiet = true;
    let intervals = Arc::new(Intervals::on(SAMPLE_EVERY));
    let beside = Arc::new(Beside::default());
    let ending = Ending {
        stop: run.stop.clone(),
        until: None,
        beside: Arc::clone(&beside),
    };
    let mut sampler = hold::sampler(run, &mut broker, ending, Arc::clone(&intervals))?;
    let load = Load {
        connect: &connect_args,
        pubsub: &pubsub_args,
        messages,
        intervals: &intervals,
        beside: &beside,
        stop: &run.stop,
    };
    let is_storm = run.scenario.storm.is_some();
    let result = match is_storm {
        true => load
            .storm(&mut sampler)
            .map(|(report, stream)| (report, vec![stream], Vec::new())),
        false => load.with_and_without(&mut sampler),
    };
    let seen = Seen::new(sampler);
    let (mut report, with, without) = result?;
    let m = &mut report.measured;
    if is_storm {
        write_storm(m, &with, &seen);
    } else {
        write_ratios(m, &with, &without);
    }
    seen.complete(run, &mut report, broker);
    Ok(report)
}

/// Two loads and what they share.
struct Load<'a> {
    connect: &'a ConnectArgs,
    pubsub: &'a PubsubArgs,
    messages: &'a Messages,
    intervals: &'a Arc<Intervals>,
    beside: &'a Beside,
    stop: &'a AtomicBool,
}

impl Load<'_> {
    fn rounds(&self) -> Result<Vec<Report>, Failure> {
        stream::rounds(self.pubsub, self.messages, self.intervals, self.stop)
    }

    /// The connections' report, the rounds beside them, the rounds without them.
    fn with_and_without(
        &self,
        sampler: &mut super::sampler::Sampler<'_>,
    ) -> Result<(Report, Vec<Report>, Vec<Report>), Failure> {
        let mut without = self.rounds()?;
        let (report, with) = thread::scope(|scope| {
            let holding = scope.spawn(|| connect::run_observed(self.connect, sampler));
            while !self.beside.is_holding.load(Ordering::Relaxed) && !holding.is_finished() {
                thread::sleep(POLL);
            }
            let with = self.rounds();
            self.beside.is_over.store(true, Ordering::Relaxed);
            (holding.join(), with)
        });
        let report = report.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        if !self.stop.load(Ordering::Relaxed) {
            without.extend(self.rounds()?);
        }
        Ok((report, with?, without))
    }

    /// The connections' report, and that of the messages, which flow from before the storm to its end.
    fn storm(
        &self,
        sampler: &mut super::sampler::Sampler<'_>,
    ) -> Result<(Report, Report), Failure> {
        let (report, stream) = thread::scope(|scope| {
            let holding = scope.spawn(|| connect::run_observed(self.connect, sampler));
            while !self.beside.is_ramped.load(Ordering::Relaxed) && !holding.is_finished() {
                thread::sleep(POLL);
            }
            let stream = crate::pubsub::run_observed(self.pubsub, Arc::clone(self.intervals));
            self.beside.is_over.store(true, Ordering::Relaxed);
            (holding.join(), stream)
        });
        let report = report.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((report, stream?))
    }
}

fn write_ratios(m: &mut Map<String, Value>, with: &[Report], without: &[Report]) {
    let (with, without) = (stream::figures(with), stream::figures(without));
    for (name, ratio) in [
        ("cpu_us_per_message", "cpu_ratio"),
        ("latency_us_p50", "latency_p50_ratio"),
        ("latency_us_p99", "latency_p99_ratio"),
        ("deliveries_per_second", "throughput_ratio"),
    ] {
        let of = |figures: &Map<String, Value>| figures.get(name).and_then(Value::as_f64);
        let value = of(&with)
            .zip(of(&without))
            .map(|(with, without)| with / without.max(1e-9));
        m.insert(
            ratio.to_owned(),
            json!(value.map(|v| (v * 1000.0).round() / 1000.0)),
        );
    }
    let lost = |figures: &Map<String, Value>| {
        let count = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        count("lost") + count("duplicates") + count("other_faults")
    };
    m.insert(
        "message_faults".to_owned(),
        json!(lost(&with) + lost(&without)),
    );
    for (prefix, figures) in [("beside", with), ("alone", without)] {
        for (name, value) in figures {
            m.insert(format!("{prefix}_{name}"), value);
        }
    }
}

fn write_storm(m: &mut Map<String, Value>, stream: &[Report], seen: &Seen) {
    let p99 = |phase: &str| {
        seen.deliveries
            .get(phase)
            .and_then(|times| times.us_at(99.0))
    };
    let p50 = |phase: &str| {
        seen.deliveries
            .get(phase)
            .and_then(|times| times.us_at(50.0))
    };
    let (calm, storm) = (p99("settle"), p99("storm"));
    m.insert("calm_latency_us_p50".to_owned(), json!(p50("settle")));
    m.insert("calm_latency_us_p99".to_owned(), json!(calm));
    m.insert("storm_latency_us_p50".to_owned(), json!(p50("storm")));
    m.insert("storm_latency_us_p99".to_owned(), json!(storm));
    let count = seen.deliveries.get("storm").map_or(0, Recent::count);
    m.insert("storm_deliveries".to_owned(), json!(count));
    let ratio = calm
        .zip(storm)
        .map(|(calm, storm)| storm as f64 / calm.max(1) as f64);
    m.insert(
        "storm_latency_ratio".to_owned(),
        json!(ratio.map(|r| (r * 100.0).round() / 100.0)),
    );
    for (name, value) in stream::figures(stream) {
        m.insert(format!("stream_{name}"), value);
    }
}
