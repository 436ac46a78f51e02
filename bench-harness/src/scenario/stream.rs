//! Messages alone: how they are measured, in one round or several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::Run;
use super::broker::Broker;
use super::file::Messages;
use super::hold::{self, Seen};
use super::sampler::{Ending, Sampler};
use crate::cli::{Cli, Command, PubsubArgs};
use crate::clock::Clock;
use crate::connect::watch::{Counts, Observer, Phase, Step};
use crate::failure::Failure;
use crate::interval::Intervals;
use crate::pubsub;
use crate::results::Report;

/// One delivery in so many is a sample.
const SAMPLE_EVERY: usize = 1000;
const POLL: Duration = Duration::from_millis(20);
/// Figures of which the median of all rounds counts.
const MEDIANS: [&str; 7] = [
    "cpu_us_per_message",
    "cpu_us_per_delivery",
    "deliveries_per_second",
    "messages_per_second",
    "latency_us_p50",
    "latency_us_p99",
    "latency_us_p999",
];
/// Figures that add up.
const SUMS: [&str; 5] = [
    "messages_sent",
    "deliveries",
    "lost",
    "duplicates",
    "other_faults",
];

/// Runs it.
pub(super) fn run(
    run: &Run<'_>,
    mut broker: Broker,
    messages: &Messages,
) -> Result<Report, Failure> {
    let args = pubsub_args(run, &broker, messages);
    let intervals = Arc::new(Intervals::on(SAMPLE_EVERY));
    let ending = Ending {
        stop: run.stop.clone(),
        ..Ending::default()
    };
    let mut sampler = hold::sampler(run, &mut broker, ending, Arc::clone(&intervals))?;
    let reports = watched(&mut sampler, || {
        rounds(&args, messages, &intervals, &run.stop)
    });
    let seen = Seen::new(sampler);
    let mut report = summary(reports?)?;
    seen.complete(run, &mut report, broker);
    Ok(report)
}

/// Does something while the sampler takes its points.
pub(super) fn watched<T: Send>(sampler: &mut Sampler<'_>, what: impl FnOnce() -> T + Send) -> T {
    let clock = Clock::start();
    let nothing = Intervals::off();
    let start_ns = clock.now_ns();
    let counts = || Counts {
        now_ns: clock.now_ns(),
        start_ns,
        ..Counts::default()
    };
    thread::scope(|scope| {
        let working = scope.spawn(what);
        while !working.is_finished() {
            thread::sleep(POLL);
            if sampler.tick(Phase::Hold, counts(), &nothing) != Step::GoOn {
                break;
            }
        }
        let result = working.join();
        sampler.finish(counts(), &nothing);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The same load as often as wanted.
pub(super) fn rounds(
    args: &PubsubArgs,
    messages: &Messages,
    intervals: &Arc<Intervals>,
    stop: &AtomicBool,
) -> Result<Vec<Report>, Failure> {
    let mut reports = Vec::new();
    for _ in 0..messages.rounds.max(1) {
        if stop.load(Ordering::Relaxed) && !reports.is_empty() {
            break;
        }
        reports.push(pubsub::run_observed(args, Arc::clone(intervals))?);
    }
    Ok(reports)
}

/// The options of the load.
pub(super) fn pubsub_args(run: &Run<'_>, broker: &Broker, messages: &Messages) -> PubsubArgs {
    let mut words = vec!["bench-harness".to_owned(), "pubsub".to_owned()];
    words.extend(run.common(broker));
    for (name, value) in [
        ("topology", messages.topology.clone()),
        ("publishers", messages.publishers.to_string()),
        ("subscribers", messages.subscribers.to_string()),
        ("qos", messages.qos.to_string()),
        ("size", messages.size.to_string()),
        ("duration", messages.duration_seconds.to_string()),
        // Some brokers refuse connections without; it outlasts any run.
        ("keep-alive", "3600".to_owned()),
    ] {
        words.push(format!("--{name}={value}"));
    }
    if let Some(rate) = messages.rate {
        words.push(format!("--rate={rate}"));
    } else if let Some(window) = messages.window {
        words.push(format!("--window={window}"));
    }
    match Cli::parse_from(words).command {
        Command::Pubsub(args) => args,
        _ => unreachable!("the words say pubsub"),
    }
}

/// Medians and sums of several rounds.
pub(super) fn figures(reports: &[Report]) -> Map<String, Value> {
    let mut figures = Map::new();
    for name in MEDIANS {
        figures.insert(name.to_owned(), json!(median(reports, name)));
    }
    for name in SUMS {
        let sum: f64 = reports
            .iter()
            .filter_map(|report| report.number(name))
            .sum();
        figures.insert(name.to_owned(), json!(sum));
    }
    let each = reports
        .iter()
        .map(|report| report.number("cpu_us_per_message"));
    let each: Vec<Option<f64>> = each.collect();
    figures.insert("cpu_us_per_message_each".to_owned(), json!(each));
    figures
}

/// None when no round measured it.
fn median(reports: &[Report], name: &str) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(|r| r.number(name)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The last round, with the figures of all of them; void when each was.
fn summary(mut reports: Vec<Report>) -> Result<Report, Failure> {
    let figures = figures(&reports);
    let has_valid = reports.iter().any(|report| !report.void);
    let Some(mut last) = reports.pop() else {
        return Err(Failure::Broker("no round was run".to_owned()));
    };
    last.measured.extend(figures);
    if has_valid {
        last.void = false;
        last.void_reasons.clear();
    }
    Ok(last)
}
