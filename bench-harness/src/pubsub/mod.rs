//! `pubsub`: messages through topics, each delivery judged, latency from the scheduled send time.

mod judge;
mod plan;
mod publisher;
mod setup;
mod watch;
mod window;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::checker::Faults;
use crate::cli::PubsubArgs;
use crate::environment::Environment;
use crate::failure::{Context, Failure};
use crate::histogram::Times;
use crate::interval::Intervals;
use crate::probe::{CpuSample, MemorySample, Probe};
use crate::progress::Progress;
use crate::results::{HarnessFigures, Report};
use crate::sys::{self, Wake};
use plan::{Plan, seconds_ns};
use worker::Worker;

/// Between the last SUBACK and the first message.
const START_DELAY: Duration = Duration::from_millis(50);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long after the last expected delivery duplicates are still waited for.
const TAIL: Duration = Duration::from_millis(200);

/// What the workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Setup,
    Run,
    Stop,
}

/// Counters that one worker writes each turn.
#[repr(align(128))]
struct WorkerCounters {
    wake: Wake,
    ready: AtomicU64,
    sent: AtomicU64,
    expected: AtomicU64,
    acked: AtomicU64,
    deliveries: AtomicU64,
    arrived: AtomicU64,
    publishers_done: AtomicU64,
}

/// What a publisher's and its receivers' workers tell each other.
#[repr(align(64))]
struct PublisherCounters {
    sent: AtomicU64,
    /// By worker: the first message that some receiver there has not seen.
    heads: Box<[AtomicU64]>,
}

struct Shared {
    workers: Vec<WorkerCounters>,
    publishers: Vec<PublisherCounters>,
    phase: AtomicU8,
    start_ns: AtomicU64,
    publishing_is_over: AtomicBool,
    setup_error: OnceLock<String>,
    intervals: Arc<Intervals>,
}

impl Shared {
    fn new(plan: &Plan, intervals: Arc<Intervals>) -> Result<Self, Failure> {
        let counters = || {
            Ok(WorkerCounters {
                wake: Wake::new().context("cannot make an eventfd")?,
                ready: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                expected: AtomicU64::new(0),
                acked: AtomicU64::new(0),
                deliveries: AtomicU64::new(0),
                arrived: AtomicU64::new(0),
                publishers_done: AtomicU64::new(0),
            })
        };
        Ok(Self {
            workers: (0..plan.workers)
                .map(|_| counters())
                .collect::<Result<_, Failure>>()?,
            publishers: (0..plan.publishers)
                .map(|_| PublisherCounters {
                    sent: AtomicU64::new(0),
                    heads: (0..plan.workers).map(|_| AtomicU64::new(0)).collect(),
                })
                .collect(),
            phase: AtomicU8::new(Phase::Setup as u8),
            start_ns: AtomicU64::new(u64::MAX),
            publishing_is_over: AtomicBool::new(false),
            setup_error: OnceLock::new(),
            intervals,
        })
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Setup,
            1 => Phase::Run,
            _ => Phase::Stop,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        for worker in &self.workers {
            worker.wake.notify();
        }
    }

    fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Relaxed)
    }

    fn publishing_is_over(&self) -> bool {
        self.publishing_is_over.load(Ordering::Relaxed)
    }

    /// Messages of a publisher that all of its receivers have seen.
    fn seen(&self, publisher: usize) -> u64 {
        let heads = self.publishers[publisher].heads.iter();
        heads
            .map(|head| head.load(Ordering::Relaxed))
            .min()
            .unwrap_or(u64::MAX)
    }

    fn sum(&self, pick: impl Fn(&WorkerCounters) -> &AtomicU64) -> u64 {
        self.workers
            .iter()
            .map(|w| pick(w).load(Ordering::Acquire))
            .sum()
    }
}

/// What a worker hands back.
struct Tally {
    sent: u64,
    expected: u64,
    acked: u64,
    refused_publishes: u64,
    deliveries: u64,
    arrived: u64,
    faults: Faults,
    latency: Times,
    lag: Times,
    last_delivery_ns: u64,
    overlap_copies: u64,
    window_stalls: u64,
    churn_operations: u64,
    churn_deliveries: u64,
    churn_latency: Times,
    slow_subscribers_cut_off: u64,
    connections_lost: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            sent: 0,
            expected: 0,
            acked: 0,
            refused_publishes: 0,
            deliveries: 0,
            arrived: 0,
            faults: Faults::default(),
            latency: Times::new(),
            lag: Times::new(),
            last_delivery_ns: 0,
            overlap_copies: 0,
            window_stalls: 0,
            churn_operations: 0,
            churn_deliveries: 0,
            churn_latency: Times::new(),
            slow_subscribers_cut_off: 0,
            connections_lost: BTreeMap::new(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.acked += other.acked;
        self.refused_publishes += other.refused_publishes;
        self.deliveries += other.deliveries;
        self.arrived += other.arrived;
        self.faults.add(&other.faults);
        self.latency.add(&other.latency);
        self.lag.add(&other.lag);
        self.last_delivery_ns = self.last_delivery_ns.max(other.last_delivery_ns);
        self.overlap_copies += other.overlap_copies;
        self.window_stalls += other.window_stalls;
        self.churn_operations += other.churn_operations;
        self.churn_deliveries += other.churn_deliveries;
        self.churn_latency.add(&other.churn_latency);
        self.slow_subscribers_cut_off += other.slow_subscribers_cut_off;
        for (reason, count) in &other.connections_lost {
            *self.connections_lost.entry(reason.clone()).or_default() += count;
        }
    }
}

/// CPU and memory around the messages.
#[derive(Default)]
struct Costs {
    memory_before: Option<MemorySample>,
    memory_ready: Option<MemorySample>,
    memory_after: Option<MemorySample>,
    broker_cpu: Option<Duration>,
    /// How long threads that could run had no CPU.
    broker_wait: Option<Duration>,
    harness_wait: Option<Duration>,
    harness_cpu: Duration,
    elapsed: Duration,
}

type Workers = Vec<JoinHandle<std::io::Result<Tally>>>;

/// Runs the load and judges it.
///
/// # Errors
/// Options that cannot be met, a broker that does not let the connections in, or a system call the
/// run cannot do without.
pub fn run(args: &PubsubArgs) -> Result<Report, Failure> {
    run_observed(args, Arc::new(Intervals::off()))
}

/// Runs the load; `intervals` gets the latencies of the deliveries meanwhile.
pub(crate) fn run_observed(
    args: &PubsubArgs,
    intervals: Arc<Intervals>,
) -> Result<Report, Failure> {
    let environment = Environment::read();
    let plan = Arc::new(Plan::new(args)?);
    let probe = Probe::find(args.common.broker_pid, &plan.target);
    let shared = Arc::new(Shared::new(&plan, intervals)?);
    let own_cpu_before = sys::own_cpu();
    let mut costs = Costs {
        memory_before: probe.and_then(Probe::memory),
        ..Costs::default()
    };
    let threads = spawn(&plan, &shared)?;
    let mut progress = Progress::new(args.common.quiet);
    let set_up = await_setup(&plan, &shared, &threads, &mut progress);
    if set_up.is_ok() {
        costs.memory_ready = probe.and_then(Probe::memory);
        let cpu_before = probe.and_then(Probe::cpu);
        let own = Probe {
            pid: std::process::id(),
        };
        let waits = || (probe.and_then(Probe::cpu_wait), own.cpu_wait());
        let waits_before = waits();
        let start = shared.start(&plan);
        watch::until_over(
            args,
            &plan,
            &shared,
            &|| has_ended(&threads),
            probe,
            &mut progress,
        );
        costs.broker_cpu = probe.and_then(Probe::cpu).zip(cpu_before).map(since);
        let waits_after = waits();
        let growth = |(after, before): (Duration, Duration)| after.saturating_sub(before);
        costs.broker_wait = waits_after.0.zip(waits_before.0).map(growth);
        costs.harness_wait = waits_after.1.zip(waits_before.1).map(growth);
        costs.harness_cpu = sys::own_cpu().saturating_sub(start.1);
        costs.memory_after = probe.and_then(Probe::memory);
        thread::sleep(TAIL);
    }
    progress.finish();
    shared.enter(Phase::Stop);
    let mut tally = Tally::new();
    for thread in threads {
        let result = thread
            .join()
            .map_err(|_| Failure::Broker("a worker panicked".to_owned()))?;
        tally.add(&result.context("a worker's system call failed")?);
    }
    set_up?;
    costs.elapsed = Duration::from_nanos(tally.last_delivery_ns.saturating_sub(shared.start_ns()));
    let own_cpu = sys::own_cpu().saturating_sub(own_cpu_before).as_secs_f64();
    let harness = HarnessFigures::new(plan.workers, &tally.lag, own_cpu);
    let scenario = scenario(args);
    let measured = measured(&plan, &tally, &costs);
    let mut report = Report::new(
        &args.common,
        &scenario,
        environment,
        probe,
        harness,
        measured,
    );
    judge(args, &mut report)?;
    Ok(report)
}

fn since((after, before): (CpuSample, CpuSample)) -> Duration {
    after.since(&before)
}

fn scenario(args: &PubsubArgs) -> String {
    let topology = format!("{:?}", args.topology).to_lowercase();
    format!("pubsub-{topology}-qos{}", args.qos)
}

impl Shared {
    /// Sets the first message's time and lets the workers go; returns it with the harness's CPU
    /// time so far.
    fn start(&self, plan: &Plan) -> (u64, Duration) {
        let start_ns = plan.clock.now_ns() + seconds_ns(START_DELAY.as_secs_f64());
        self.start_ns.store(start_ns, Ordering::Relaxed);
        let own_cpu = sys::own_cpu();
        self.enter(Phase::Run);
        (start_ns, own_cpu)
    }
}

fn spawn(plan: &Arc<Plan>, shared: &Arc<Shared>) -> Result<Workers, Failure> {
    let mut threads = Vec::new();
    for number in 0..plan.workers {
        let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
        let body = move || Worker::new(&plan, &shared, number).and_then(Worker::run);
        let builder = thread::Builder::new().name(format!("pubsub-{number}"));
        threads.push(builder.spawn(body).context("cannot start a worker")?);
    }
    Ok(threads)
}

fn has_ended(threads: &Workers) -> bool {
    threads.iter().any(JoinHandle::is_finished)
}

fn await_setup(
    plan: &Plan,
    shared: &Shared,
    threads: &Workers,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let all = (0..plan.workers)
        .map(|worker| plan.parts_of(worker).len() as u64)
        .sum::<u64>();
    while shared.sum(|w| &w.ready) < all {
        if let Some(text) = shared.setup_error.get() {
            return Err(Failure::Broker(text.clone()));
        }
        if has_ended(threads) {
            return Ok(());
        }
        thread::sleep(POLL_INTERVAL);
        progress.tick(|| format!("set-up: {} of {all} connections", shared.sum(|w| &w.ready)));
    }
    Ok(())
}

fn measured(plan: &Plan, tally: &Tally, costs: &Costs) -> Map<String, Value> {
    let mut m = Map::new();
    let mut put = |name: &str, value: Value| m.insert(name.to_owned(), value);
    let seconds = costs.elapsed.as_secs_f64().max(1e-9);
    put("publishers", json!(plan.publishers));
    put("subscribers", json!(plan.subscribers));
    put("qos", json!(plan.qos));
    put("sub_qos", json!(plan.sub_qos));
    put("messages_sent", json!(tally.sent));
    put("messages_acknowledged", json!(tally.acked));
    put("publishes_refused", json!(tally.refused_publishes));
    put("deliveries_expected", json!(tally.expected));
    put("deliveries", json!(tally.deliveries));
    put("elapsed_seconds", json!(round3(seconds)));
    put(
        "messages_per_second",
        json!((tally.sent as f64 / seconds).round()),
    );
    put(
        "deliveries_per_second",
        json!((tally.deliveries as f64 / seconds).round()),
    );
    write_faults(&mut put, tally);
    put("overlap_copies", json!(tally.overlap_copies));
    put("window_stalls", json!(tally.window_stalls));
    put(
        "slow_subscribers_cut_off",
        json!(tally.slow_subscribers_cut_off),
    );
    put("churn_operations", json!(tally.churn_operations));
    put("churn_deliveries", json!(tally.churn_deliveries));
    write_costs(&mut put, tally, costs);
    tally.latency.write_to(&mut m, "latency");
    tally.churn_latency.write_to(&mut m, "churn_latency");
    m
}

fn write_faults(put: &mut impl FnMut(&str, Value) -> Option<Value>, tally: &Tally) {
    let f = &tally.faults;
    let connections_lost: u64 = tally.connections_lost.values().sum();
    put("lost", json!(f.lost));
    put("duplicates", json!(f.duplicates));
    put("out_of_order", json!(f.out_of_order));
    put("corrupt", json!(f.corrupt));
    put("redelivered", json!(f.redelivered));
    put("misdelivered", json!(f.misdelivered));
    put("wrong_qos", json!(f.wrong_qos));
    put("wrong_retain", json!(f.wrong_retain));
    put("foreign", json!(f.foreign));
    put("unclassified", json!(f.unclassified));
    put("protocol_errors", json!(f.protocol_errors));
    put("connections_lost", json!(connections_lost));
    put("connections_lost_by_reason", json!(tally.connections_lost));
    let other = f.misdelivered
        + f.wrong_qos
        + f.wrong_retain
        + f.foreign
        + f.unclassified
        + f.protocol_errors
        + tally.refused_publishes
        + connections_lost;
    put("other_faults", json!(other));
}

fn write_costs(put: &mut impl FnMut(&str, Value) -> Option<Value>, tally: &Tally, costs: &Costs) {
    let deliveries = tally.deliveries.max(1) as f64;
    let cpu_s = costs.broker_cpu.map(|cpu| cpu.as_secs_f64());
    let elapsed_s = costs.elapsed.as_secs_f64().max(1e-9);
    put("broker_cpu_seconds", json!(cpu_s.map(round3)));
    put(
        "broker_cpu_percent",
        json!(cpu_s.map(|s| (1000.0 * s / elapsed_s).round() / 10.0)),
    );
    put(
        "cpu_us_per_delivery",
        json!(cpu_s.map(|s| round3(s * 1e6 / deliveries))),
    );
    let sent = tally.sent.max(1) as f64;
    put(
        "cpu_us_per_message",
        json!(cpu_s.map(|s| round3(s * 1e6 / sent))),
    );
    let seconds = |time: Option<Duration>| json!(time.map(|t| round3(t.as_secs_f64())));
    put("broker_cpu_wait_seconds", seconds(costs.broker_wait));
    put("harness_cpu_wait_seconds", seconds(costs.harness_wait));
    let own_ns = costs.harness_cpu.as_secs_f64() * 1e9;
    put(
        "harness_cpu_ns_per_delivery",
        json!((own_ns / deliveries).round()),
    );
    let user = |sample: Option<MemorySample>| sample.map(MemorySample::user_bytes);
    put("idle_user_bytes", json!(user(costs.memory_before)));
    put("ready_user_bytes", json!(user(costs.memory_ready)));
    put("final_user_bytes", json!(user(costs.memory_after)));
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn judge(args: &PubsubArgs, report: &mut Report) -> Result<(), Failure> {
    report.judge("lost", "=", args.expect_loss);
    if let Some(command) = &args.expect_loss_from {
        report.judge("lost", "=", Some(number_from(command)?));
    }
    report.judge("duplicates", "=", args.expect_duplicates);
    report.judge("out_of_order", "=", args.expect_order_errors);
    report.judge("corrupt", "=", args.expect_corrupt);
    report.judge("other_faults", "=", args.expect_other_faults);
    report.judge("latency_us_p99", "<=", args.max_latency_us_p99);
    report.judge("cpu_us_per_delivery", "<=", args.max_cpu_us_per_delivery);
    report.judge(
        "deliveries_per_second",
        ">=",
        args.min_deliveries_per_second,
    );
    Ok(())
}

/// The last number that a shell command prints.
fn number_from(command: &str) -> Result<f64, Failure> {
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .output();
    let output = output.context(format!("cannot run '{command}'"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .split_whitespace()
        .rev()
        .find_map(|word| word.parse().ok());
    number.ok_or_else(|| Failure::Usage(format!("'{command}' printed no number")))
}
