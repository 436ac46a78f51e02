//! `connect`: many connections opened on a schedule and kept, with what they cost the broker.

pub(crate) mod tls;
pub(crate) mod watch;
mod worker;
mod ws;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::ConnectArgs;
use crate::clock::Clock;
use crate::codec::{Connect, Packet, Properties, Property, Version};
use crate::environment::Environment;
use crate::failure::{Context, Failure};
use crate::histogram::Times;
use crate::interval::Intervals;
use crate::load::{self, Sources};
use crate::probe::{self, MemorySample, Probe};
use crate::progress::Progress;
use crate::results::{HarnessFigures, Report};
use crate::sys;
use tls::TlsPlan;
use watch::{Nobody, Observer, Watch};
use worker::{STORM_STEPS, Worker};

/// How long workers get to be ready before the first connect is due.
const START_DELAY: Duration = Duration::from_millis(100);
/// Connections that are not back after so long do not come back.
const STORM_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What every worker needs to know.
struct Plan {
    clock: Clock,
    target: SocketAddr,
    sources: Sources,
    version: Version,
    connections: usize,
    workers: usize,
    start_ns: u64,
    /// Between two connects; 0 opens them as fast as they are answered.
    interval_ns: f64,
    in_flight_max: usize,
    connect_timeout_ns: u64,
    ping_interval_ns: u64,
    /// How long after its end a connection is opened again; none leaves it.
    reconnect_ns: Option<u64>,
    /// Between two connections of one worker that leave and come again while held; 0 = none does.
    churn_interval_ns: f64,
    /// How many in a thousand connections a storm cuts.
    storm_steps: usize,
    client_ids: ClientIds,
    /// A CONNECT whose client id is still to be filled in, and where it stands.
    connect_template: Vec<u8>,
    client_id_offset: usize,
    subscribe_own: bool,
    abort: bool,
    tls: Option<TlsPlan>,
    /// The request for a WebSocket, if one is spoken.
    ws_request: Option<Vec<u8>>,
}

/// Client ids of one length: prefix, zeros, number.
struct ClientIds {
    prefix: String,
    length: usize,
}

impl ClientIds {
    fn write(&self, index: usize, out: &mut [u8]) {
        out.fill(b'0');
        out[..self.prefix.len()].copy_from_slice(self.prefix.as_bytes());
        let mut rest = index;
        for digit in out[self.prefix.len()..].iter_mut().rev() {
            *digit = b"0123456789"[rest % 10];
            rest /= 10;
        }
    }
}

/// Counters that a worker publishes each turn; one writer each.
#[derive(Default)]
#[repr(align(128))]
struct Counters {
    connected: AtomicU64,
    open: AtomicU64,
    failed: AtomicU64,
    has_stormed: AtomicU64,
    disconnected: AtomicU64,
    pongs: AtomicU64,
}

struct Shared {
    counters: Vec<Counters>,
    storm: AtomicBool,
    /// The hold has begun, and with it the churn.
    churn: AtomicBool,
    stop: AtomicBool,
    intervals: Intervals,
}

impl Shared {
    fn sum(&self, pick: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters
            .iter()
            .map(|c| pick(c).load(Ordering::Relaxed))
            .sum()
    }
}

/// What a worker hands back.
struct Tally {
    connect_latency: Times,
    reconnect_latency: Times,
    subscribe_latency: Times,
    ping_latency: Times,
    lag: Times,
    failures: BTreeMap<String, u64>,
    disconnects: BTreeMap<String, u64>,
    connected: u64,
    last_connected_ns: u64,
    cut: u64,
    churned: u64,
    reconnected: u64,
    last_reconnected_ns: u64,
    pings: u64,
    pongs: u64,
    tls_full: u64,
    tls_resumed: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            connect_latency: Times::new(),
            reconnect_latency: Times::new(),
            subscribe_latency: Times::new(),
            ping_latency: Times::new(),
            lag: Times::new(),
            failures: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            connected: 0,
            last_connected_ns: 0,
            cut: 0,
            churned: 0,
            reconnected: 0,
            last_reconnected_ns: 0,
            pings: 0,
            pongs: 0,
            tls_full: 0,
            tls_resumed: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.connect_latency.add(&other.connect_latency);
        self.reconnect_latency.add(&other.reconnect_latency);
        self.subscribe_latency.add(&other.subscribe_latency);
        self.ping_latency.add(&other.ping_latency);
        self.lag.add(&other.lag);
        for (total, part) in [
            (&mut self.failures, &other.failures),
            (&mut self.disconnects, &other.disconnects),
        ] {
            for (reason, count) in part {
                *total.entry(reason.clone()).or_default() += count;
            }
        }
        self.connected += other.connected;
        self.last_connected_ns = self.last_connected_ns.max(other.last_connected_ns);
        self.cut += other.cut;
        self.churned += other.churned;
        self.reconnected += other.reconnected;
        self.last_reconnected_ns = self.last_reconnected_ns.max(other.last_reconnected_ns);
        self.pings += other.pings;
        self.pongs += other.pongs;
        self.tls_full += other.tls_full;
        self.tls_resumed += other.tls_resumed;
    }
}

/// What was read from the broker's process at the turns of the run.
#[derive(Default)]
struct BrokerSamples {
    memory_before: Option<MemorySample>,
    memory_ramped: Option<MemorySample>,
    memory_held: Option<MemorySample>,
    slab_before: Option<u64>,
    slab_ramped: Option<u64>,
    ramp_cpu: Option<Duration>,
    hold_cpu: Option<Duration>,
    hold: Duration,
    storm: Option<Duration>,
}

/// Runs the load and judges it.
///
/// # Errors
/// Options that cannot be met, or a system call the run cannot do without.
pub fn run(args: &ConnectArgs) -> Result<Report, Failure> {
    run_observed(args, &mut Nobody)
}

/// Runs the load while `observer` looks on.
pub(crate) fn run_observed(
    args: &ConnectArgs,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let environment = Environment::read();
    let plan = Arc::new(plan(args)?);
    let probe = Probe::find(args.common.broker_pid, &plan.target);
    let shared = Arc::new(Shared {
        counters: (0..plan.workers).map(|_| Counters::default()).collect(),
        storm: AtomicBool::new(false),
        churn: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        intervals: observer
            .sample_every()
            .map_or_else(Intervals::off, Intervals::on),
    });
    let mut samples = BrokerSamples {
        memory_before: probe.and_then(Probe::memory),
        slab_before: probe::kernel_slab_bytes(),
        ..BrokerSamples::default()
    };
    let cpu_before = probe.and_then(Probe::cpu);
    let own_cpu_before = sys::own_cpu();
    let mut threads = Vec::new();
    for number in 0..plan.workers {
        let (plan, shared) = (Arc::clone(&plan), Arc::clone(&shared));
        let body = move || Worker::new(&plan, &shared, number).and_then(Worker::run);
        let builder = thread::Builder::new().name(format!("connect-{number}"));
        threads.push(builder.spawn(body).context("cannot start a worker")?);
    }
    let mut watch = Watch {
        args,
        plan: &plan,
        shared: &shared,
        probe,
        has_died: &|| threads.iter().any(thread::JoinHandle::is_finished),
        observer: &mut *observer,
        progress: Progress::new(args.common.quiet),
        is_over: false,
    };
    watch.run(cpu_before.as_ref(), &mut samples);
    let counts = shared.counts(&plan);
    shared.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::new();
    for thread in threads {
        let result = thread
            .join()
            .map_err(|_| Failure::Broker("a worker panicked".to_owned()))?;
        tally.add(&result.context("a worker's system call failed")?);
    }
    observer.finish(counts, &shared.intervals);
    let own_cpu = sys::own_cpu().saturating_sub(own_cpu_before).as_secs_f64();
    let harness = HarnessFigures::new(plan.workers, &tally.lag, own_cpu);
    let measured = measured(&plan, &tally, &samples);
    let mut report = Report::new(
        &args.common,
        "connect",
        environment,
        probe,
        harness,
        measured,
    );
    judge(args, &mut report);
    Ok(report)
}

/// Options that contradict themselves.
fn check(args: &ConnectArgs) -> Result<(), Failure> {
    if !(0.0..=1.0).contains(&args.storm) || args.reconnect.is_some_and(|delay| delay < 0.0) {
        return Failure::usage("--storm is a share of 0 to 1, --reconnect not negative");
    }
    if args.connections == 0 || args.rate < 0.0 || args.hold < 0.0 || args.settle < 0.0 {
        return Failure::usage("connections must be at least 1, times and rates not negative");
    }
    let digits = args.connections.to_string().len();
    let length = args.client_id_length;
    if args.client_id_prefix.len() + digits > length || length > 1000 {
        return Failure::usage(format!(
            "client ids of {length} bytes do not hold '{}' and {digits} digits",
            args.client_id_prefix
        ));
    }
    Ok(())
}

fn plan(args: &ConnectArgs) -> Result<Plan, Failure> {
    let target = args.common.target_address()?;
    check(args)?;
    let length = args.client_id_length;
    let client_ids = ClientIds {
        prefix: args.client_id_prefix.clone(),
        length,
    };
    let (connect_template, client_id_offset) = connect_template(args);
    let tls = args
        .tls
        .then(|| {
            let own = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
            TlsPlan::new(&args.tls_server, args.tls_version, args.tls_resume, own)
        })
        .transpose()
        .map_err(Failure::Usage)?;
    let workers = load::worker_count(&args.common, args.connections)?;
    let clock = Clock::start();
    let seconds_ns = |s: f64| {
        Duration::from_secs_f64(s)
            .as_nanos()
            .try_into()
            .unwrap_or(u64::MAX)
    };
    Ok(Plan {
        clock,
        target,
        sources: Sources::new(&args.common, &target, args.connections),
        version: args.common.mqtt_version.into(),
        connections: args.connections,
        workers,
        start_ns: clock.now_ns() + seconds_ns(START_DELAY.as_secs_f64()),
        interval_ns: if args.rate > 0.0 {
            1e9 / args.rate
        } else {
            0.0
        },
        in_flight_max: args.in_flight.max(1),
        connect_timeout_ns: args.common.connect_timeout.saturating_mul(1_000_000_000),
        ping_interval_ns: seconds_ns(args.ping_interval.unwrap_or_else(|| args.keep_alive.into())),
        reconnect_ns: args
            .reconnect
            .or_else(|| (args.storm > 0.0 || args.churn > 0.0).then_some(0.0))
            .map(seconds_ns),
        churn_interval_ns: if args.churn > 0.0 {
            1e9 * workers as f64 / args.churn
        } else {
            0.0
        },
        storm_steps: storm_steps(args.storm),
        client_ids,
        connect_template,
        client_id_offset,
        subscribe_own: args.subscribe_own,
        abort: args.abort,
        tls,
        ws_request: args
            .ws
            .as_ref()
            .map(|path| ws::request(path, &target.to_string())),
    })
}

/// A share of 0 to 1 in steps of [`STORM_STEPS`].
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The share is checked.
fn storm_steps(share: f64) -> usize {
    (share * STORM_STEPS as f64).round() as usize
}

/// The CONNECT of all connections; the client id is made of a byte that occurs nowhere else, by
/// which its place is found.
fn connect_template(args: &ConnectArgs) -> (Vec<u8>, usize) {
    let placeholder = "\u{1}".repeat(args.client_id_length);
    let version = args.common.mqtt_version.into();
    let mut connect = Connect::new(version, &placeholder);
    connect.clean_start = !args.no_clean;
    connect.keep_alive_s = args.keep_alive;
    connect.username.clone_from(&args.common.username);
    connect.password = args
        .common
        .password
        .as_ref()
        .map(|p| p.clone().into_bytes());
    if args.no_clean {
        connect.properties = Properties(vec![Property::SessionExpiryInterval(3600)]);
    }
    let bytes = Packet::Connect(connect).to_bytes(version);
    let offset = bytes
        .windows(placeholder.len())
        .position(|window| window == placeholder.as_bytes())
        .expect("the packet holds its client id");
    (bytes, offset)
}

fn measured(plan: &Plan, tally: &Tally, samples: &BrokerSamples) -> Map<String, Value> {
    let mut m = Map::new();
    let count = |map: &BTreeMap<String, u64>| map.values().sum::<u64>();
    let connected = tally.connected;
    let ramp_ns = tally.last_connected_ns.saturating_sub(plan.start_ns);
    m.insert("connections".into(), json!(plan.connections));
    m.insert("connected".into(), json!(connected));
    m.insert("failed_connects".into(), json!(count(&tally.failures)));
    m.insert("failed_connects_by_reason".into(), json!(tally.failures));
    m.insert("disconnects".into(), json!(count(&tally.disconnects)));
    m.insert("disconnects_by_reason".into(), json!(tally.disconnects));
    m.insert("ramp_seconds".into(), json!(round3(ramp_ns as f64 / 1e9)));
    m.insert(
        "connects_per_second".into(),
        json!((connected as f64 / (ramp_ns as f64 / 1e9).max(1e-9)).round()),
    );
    tally.connect_latency.write_to(&mut m, "latency");
    m.insert("reconnected".into(), json!(tally.reconnected));
    m.insert("cut_by_storm".into(), json!(tally.cut));
    m.insert("churned".into(), json!(tally.churned));
    if plan.storm_steps > 0 {
        let storm = samples.storm.map(|storm| round3(storm.as_secs_f64()));
        m.insert("storm_seconds".into(), json!(storm));
    }
    tally
        .reconnect_latency
        .write_to(&mut m, "reconnect_latency");
    tally
        .subscribe_latency
        .write_to(&mut m, "subscribe_latency");
    tally.ping_latency.write_to(&mut m, "ping_latency");
    m.insert("pings".into(), json!(tally.pings));
    m.insert("pongs".into(), json!(tally.pongs));
    if plan.tls.is_some() {
        m.insert("tls_handshakes_full".into(), json!(tally.tls_full));
        m.insert("tls_handshakes_resumed".into(), json!(tally.tls_resumed));
    }
    write_broker(&mut m, connected.max(1) as f64, samples);
    m
}

fn write_broker(m: &mut Map<String, Value>, connected: f64, samples: &BrokerSamples) {
    let per_connect = samples
        .ramp_cpu
        .map(|cpu| round3(cpu.as_secs_f64() * 1e6 / connected));
    m.insert("cpu_us_per_connect".into(), json!(per_connect));
    let idle = samples
        .hold_cpu
        .map(|cpu| round3(100.0 * cpu.as_secs_f64() / samples.hold.as_secs_f64().max(1e-9)));
    m.insert("idle_cpu_percent".into(), json!(idle));
    m.insert(
        "hold_seconds".into(),
        json!(round3(samples.hold.as_secs_f64())),
    );
    let user = |sample: Option<MemorySample>| sample.map(MemorySample::user_bytes);
    m.insert("idle_user_bytes".into(), json!(user(samples.memory_before)));
    m.insert(
        "ramped_user_bytes".into(),
        json!(user(samples.memory_ramped)),
    );
    m.insert("held_user_bytes".into(), json!(user(samples.memory_held)));
    let growth = |before: Option<u64>, after: Option<u64>| {
        let (before, after) = before.zip(after)?;
        Some(((after as f64 - before as f64) / connected * 10.0).round() / 10.0)
    };
    let (before, ramped) = (user(samples.memory_before), user(samples.memory_ramped));
    m.insert(
        "user_bytes_per_connection".into(),
        json!(growth(before, ramped)),
    );
    let held = user(samples.memory_held);
    m.insert(
        "held_user_bytes_per_connection".into(),
        json!(growth(before, held)),
    );
    m.insert(
        "held_growth_bytes_per_connection".into(),
        json!(growth(ramped, held)),
    );
    let slab = growth(samples.slab_before, samples.slab_ramped);
    m.insert(
        "kernel_slab_bytes_per_connection_both_ends".into(),
        json!(slab),
    );
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn judge(args: &ConnectArgs, report: &mut Report) {
    report.judge("failed_connects", "<=", args.max_failed_connects);
    report.judge("disconnects", "<=", args.max_disconnects);
    report.judge(
        "user_bytes_per_connection",
        "<=",
        args.max_user_bytes_per_connection,
    );
    report.judge("idle_user_bytes", "<=", args.max_idle_user_bytes);
    report.judge("idle_cpu_percent", "<=", args.max_idle_cpu_percent);
    report.judge("storm_seconds", "<=", args.max_storm_seconds);
    report.judge("cpu_us_per_connect", "<=", args.max_cpu_us_per_connect);
    report.judge("latency_us_p99", "<=", args.max_latency_us_p99);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_have_their_length() {
        let ids = ClientIds {
            prefix: "bench-".to_owned(),
            length: 20,
        };
        let mut out = [0; 20];
        ids.write(12_345, &mut out);
        assert_eq!(&out, b"bench-00000000012345");
    }
}
