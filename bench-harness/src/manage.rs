//! What operators cost the clients: a QoS 0 load runs beside many idle connections, calm, then while the
//! list of all clients is walked, while figures are scraped, while a dashboard is open; in rounds, so that
//! a machine that changes in between does not decide. The idle connections are another process's
//! (`connect`), see `scripts/manage-load.sh`.

mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Map, Value, json};

use crate::cli::{Cli, Command, ManageArgs, PubsubArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::histogram::Times;
use crate::probe::Probe;
use crate::pubsub;
use crate::results::{HarnessFigures, Report};
use crate::sys;
use http::Api;

/// Begins each entry of a list of clients once.
const ENTRY: &str = "\"clientid\":";
/// What an open overview asks for, every second.
const DASHBOARD: &[&str] = &[
    "/api/v5/monitor_current",
    "/api/v5/monitor?latest=600",
    "/api/v5/nodes",
    "/api/v5/stats?aggregate=true",
    "/api/v5/alarms",
    "/api/v5/clients?limit=50",
];

/// What operators do while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// One page after the other, from the first to the last and again, by number and by cursor in turns.
    Walk,
    Scrape,
    Dashboard,
}

/// One round: calm before each, so that what is compared lies close together.
const ROUND: [Doing; 6] = [
    Doing::Nothing,
    Doing::Walk,
    Doing::Nothing,
    Doing::Scrape,
    Doing::Nothing,
    Doing::Dashboard,
];

impl Doing {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "calm",
            Self::Walk => "walk",
            Self::Scrape => "scrape",
            Self::Dashboard => "dashboard",
        }
    }
}

/// What came of the requests of a phase.
#[derive(Clone, Debug, Default)]
struct Asked {
    requests: u64,
    bytes: u64,
    slowest: Duration,
    /// Entries of each walk that came to the end of the list.
    walks: Vec<u64>,
}

/// A load with what was asked meanwhile.
struct Phase {
    doing: Doing,
    load: Report,
    asked: Asked,
}

impl Phase {
    fn p99_us(&self) -> f64 {
        self.load.number("latency_us_p99").unwrap_or(f64::NAN)
    }

    fn row(&self) -> Value {
        let of = |name: &str| self.load.measured.get(name).cloned();
        json!({
            "doing": self.doing.name(),
            "latency_us_p50": of("latency_us_p50"),
            "latency_us_p99": of("latency_us_p99"),
            "latency_us_max": of("latency_us_max"),
            "deliveries": of("deliveries"),
            "lost": of("lost"),
            "broker_cpu_percent": of("broker_cpu_percent"),
            "harness_lag_us_p99": self.load.harness.lag_us_p99,
            "requests": self.asked.requests,
            "bytes": self.asked.bytes,
            "slowest_request_ms": self.asked.slowest.as_millis(),
            "entries_of_walks": self.asked.walks,
        })
    }
}

/// Runs the scenario.
///
/// # Errors
/// A broker that does not do what the run needs.
pub fn run(args: &ManageArgs) -> Result<Report, Failure> {
    let environment = Environment::read();
    let probe = Probe::find(args.common.broker_pid, &args.common.target_address()?);
    let cpu_before = sys::own_cpu();
    let clients = Api::connect(args)?.number("/api/v5/monitor_current", "live_connections")?;
    let mut phases = Vec::new();
    for _ in 0..args.rounds {
        for doing in ROUND {
            phases.push(phase(args, doing)?);
        }
    }
    let mut lag = Times::new();
    for phase in &phases {
        lag.record_ns(phase.load.harness.lag_us_p99 * 1000);
    }
    let own_cpu = sys::own_cpu().saturating_sub(cpu_before).as_secs_f64();
    let workers = phases.first().map_or(0, |phase| phase.load.harness.workers);
    let harness = HarnessFigures::new(workers, &lag, own_cpu);
    let measured = measured(args, clients, &phases);
    let mut report = Report::new(
        &args.common,
        "manage",
        environment,
        probe,
        harness,
        measured,
    );
    report.judge("clients", ">=", args.min_clients);
    report.judge("entries_missing", "=", Some(0.0));
    report.judge("lost", "=", Some(0.0));
    for name in ["walk_p99_ratio", "scrape_p99_ratio", "dashboard_p99_ratio"] {
        report.judge(name, "<=", args.max_ratio);
    }
    Ok(report)
}

fn measured(args: &ManageArgs, clients: u64, phases: &[Phase]) -> Map<String, Value> {
    let mut m = Map::new();
    let mut put = |name: &str, value: Value| m.insert(name.to_owned(), value);
    put("clients", json!(clients));
    put("streams", json!(args.streams));
    put("rate_per_stream", json!(args.rate));
    put("rounds", json!(args.rounds));
    put("phase_seconds", json!(args.duration));
    let median_of = |doing: Doing| {
        let of = phases.iter().filter(|phase| phase.doing == doing);
        median(of.map(Phase::p99_us).collect())
    };
    put("calm_latency_us_p99", json!(median_of(Doing::Nothing)));
    for doing in [Doing::Walk, Doing::Scrape, Doing::Dashboard] {
        let name = doing.name();
        put(&format!("{name}_latency_us_p99"), json!(median_of(doing)));
        let ratios = ratios(phases, doing);
        put(&format!("{name}_p99_ratios"), json!(ratios));
        put(&format!("{name}_p99_ratio"), json!(median(ratios)));
    }
    let walks: Vec<u64> = phases.iter().flat_map(|p| p.asked.walks.clone()).collect();
    put("walks", json!(walks.len()));
    // The load's own connections are listed as well; whoever was there before must not be missing.
    let least = walks.iter().min().copied();
    put(
        "entries_missing",
        json!(least.map(|least| clients.saturating_sub(least))),
    );
    let lost = phases.iter().filter_map(|phase| phase.load.number("lost"));
    put("lost", json!(lost.sum::<f64>()));
    put(
        "phases",
        Value::Array(phases.iter().map(Phase::row).collect()),
    );
    m
}

/// The p99 of each phase of a kind, as so many times that of the calm just before it: on a machine that
/// others use as well, what lies close together can be compared.
fn ratios(phases: &[Phase], doing: Doing) -> Vec<f64> {
    let pairs = phases.windows(2).filter_map(|pair| match pair {
        [calm, phase] if phase.doing == doing => Some(phase.p99_us() / calm.p99_us().max(1.0)),
        _ => None,
    });
    pairs.map(|ratio| (ratio * 1000.0).round() / 1000.0).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The load for some seconds while something is done.
fn phase(args: &ManageArgs, doing: Doing) -> Result<Phase, Failure> {
    let load = load(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    let operator = {
        let (args, stop) = (args.clone(), Arc::clone(&stop));
        thread::spawn(move || operate(&args, doing, &stop))
    };
    let load = pubsub::run(&load);
    stop.store(true, Ordering::Relaxed);
    let asked = operator.join();
    let asked = asked.unwrap_or_else(|_| Err(Failure::Broker("the operator died".to_owned())))?;
    let load = load?;
    Ok(Phase { doing, load, asked })
}

/// Pairs at QoS 0 on a schedule.
fn load(args: &ManageArgs) -> Result<PubsubArgs, Failure> {
    let (streams, rate) = (args.streams.to_string(), args.rate.to_string());
    let duration = args.duration.to_string();
    let words = [
        "bench-harness",
        "pubsub",
        "--target",
        &args.common.target,
        "-p",
        &streams,
        "-s",
        &streams,
        "-q",
        "0",
        "--rate",
        &rate,
        "--duration",
        &duration,
        "--no-results",
        "--quiet",
    ];
    let parsed = Cli::try_parse_from(words).map_err(|error| Failure::Usage(error.to_string()))?;
    match parsed.command {
        Command::Pubsub(mut load) => {
            load.common = args.common.clone();
            Ok(load)
        }
        _ => Failure::usage("the load is no load"),
    }
}

fn operate(args: &ManageArgs, doing: Doing, stop: &AtomicBool) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    if doing == Doing::Nothing {
        return Ok(asked);
    }
    let mut api = Api::connect(args)?;
    let every = Duration::from_millis(args.every_ms);
    let paths: Vec<&str> = match (doing, args.dashboard.is_empty()) {
        (Doing::Scrape, _) => vec!["/api/v5/prometheus/stats"],
        (_, true) => DASHBOARD.to_vec(),
        (_, false) => args.dashboard.iter().map(String::as_str).collect(),
    };
    let mut by_cursor = false;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if doing == Doing::Walk {
            walk(args, &mut api, by_cursor, stop, &mut asked)?;
            by_cursor = !by_cursor;
            continue;
        }
        for path in &paths {
            api.get(path, &mut asked)?;
        }
        let left = every.saturating_sub(begun.elapsed());
        thread::sleep(left);
    }
    Ok(asked)
}

/// One walk over the list of clients, or a part of it when the time is over.
fn walk(
    args: &ManageArgs,
    api: &mut Api,
    by_cursor: bool,
    stop: &AtomicBool,
    asked: &mut Asked,
) -> Result<(), Failure> {
    let limit = args.page;
    let (mut entries, mut place) = (0, if by_cursor { "none" } else { "1" }.to_owned());
    loop {
        let path = match by_cursor {
            true => format!("/api/v5/clients_v2?limit={limit}&cursor={place}"),
            false => format!("/api/v5/clients?limit={limit}&page={place}"),
        };
        let page = api.get(&path, asked)?;
        entries += page.matches(ENTRY).count() as u64;
        let next = match by_cursor {
            true => after(page, "\"cursor\":\"", '"').map(str::to_owned),
            false if page.contains("\"hasnext\":true") => {
                place.parse().ok().map(|page: u64| (page + 1).to_string())
            }
            false => None,
        };
        match next {
            None => {
                asked.walks.push(entries);
                return Ok(());
            }
            // The first walk is ended in any case: whether it is complete is to be known.
            Some(_) if stop.load(Ordering::Relaxed) && !asked.walks.is_empty() => return Ok(()),
            Some(next) => place = next,
        }
    }
}

/// What stands between a text and a character.
fn after<'a>(text: &'a str, begins: &str, ends: char) -> Option<&'a str> {
    let (_, rest) = text.rsplit_once(begins)?;
    rest.split(ends).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_found_behind_the_entries() {
        let page = r#"{"data":[{"clientid":"\"cursor\":\"x"}],"meta":{"cursor":"77","limit":1}}"#;
        assert_eq!(after(page, "\"cursor\":\"", '"'), Some("77"));
        assert_eq!(page.matches(ENTRY).count(), 1);
        assert_eq!(after("{}", "\"cursor\":\"", '"'), None);
    }

    #[test]
    fn the_middle_one_counts() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
