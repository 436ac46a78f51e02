//! Looks on while connections are opened and held: one point of the series at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::broker::Broker;
use super::jtl::Jtl;
use super::series::{Point, Series, TableReport};
use crate::connect::watch::{Counts, Observer, Phase, Step};
use crate::interval::{Gathered, Intervals, Kind, Recent};
use crate::probe::{self, CpuSample, Probe};
use crate::sys;

/// Workers hand in at their next turn, which comes at least so often.
const HAND_IN: Duration = Duration::from_millis(80);

/// CPU times at the last point.
#[derive(Clone, Debug)]
struct Cpu {
    at: Instant,
    broker: Option<CpuSample>,
    harness: Duration,
    machine: Option<(u64, u64)>,
}

impl Cpu {
    fn now(probe: Option<Probe>) -> Self {
        Self {
            at: Instant::now(),
            broker: probe.and_then(Probe::cpu),
            harness: sys::own_cpu(),
            machine: probe::machine_ticks(),
        }
    }

    /// Percent of one CPU: broker, harness, others.
    fn percent_since(&self, earlier: &Self) -> (Option<f64>, f64, Option<f64>) {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64().max(1e-6);
        let percent = |cpu: f64| (1000.0 * cpu / seconds).round() / 10.0;
        let broker = self.broker.as_ref().zip(earlier.broker.as_ref());
        let broker_s = broker.map(|(now, then)| now.since(then).as_secs_f64());
        let harness_s = self.harness.saturating_sub(earlier.harness).as_secs_f64();
        let ticks = sys::clock_ticks_per_second() as f64;
        let others = self.machine.zip(earlier.machine).map(|(now, then)| {
            let busy_s = now.0.saturating_sub(then.0) as f64 / ticks;
            percent((busy_s - harness_s - broker_s.unwrap_or(0.0)).max(0.0))
        });
        (broker_s.map(percent), percent(harness_s), others)
    }
}

/// When a run ends before its plan says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Somebody wants it to.
    pub(crate) stop: Arc<AtomicBool>,
    /// So long after the first connect was due.
    pub(crate) until: Option<Duration>,
    /// Another load beside the connections goes by these.
    pub(crate) beside: Arc<Beside>,
}

/// What a load beside the connections waits for, and says.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// All connections are open.
    pub(crate) is_ramped: AtomicBool,
    /// All connections are open and have settled, and a storm is over.
    pub(crate) is_holding: AtomicBool,
    /// The connections need not be held any longer.
    pub(crate) is_over: AtomicBool,
}

pub(crate) struct Sampler<'a> {
    pub(crate) broker: &'a mut Broker,
    pub(crate) series: Series,
    /// Why the run ended early, if it did.
    pub(crate) cut_short: Option<String>,
    ending: Ending,
    jtl: Option<Jtl>,
    sample_every: usize,
    interval: Duration,
    tables_interval: Duration,
    next: Instant,
    next_tables: Instant,
    /// Set while the workers are handing in.
    asked: Option<Instant>,
    last: Cpu,
    last_counts: Counts,
    pub(crate) dropped: Option<u64>,
    pub(crate) samples_left_out: u64,
    /// Deliveries of a load beside.
    messages: Arc<Intervals>,
    /// Their latencies by phase; what began in one and ended in another counts for the storm.
    pub(crate) deliveries: BTreeMap<&'static str, Recent>,
    last_phase: &'static str,
}

/// What a sampler is to do.
pub(crate) struct Wanted {
    pub(crate) interval_s: f64,
    pub(crate) tables_interval_s: f64,
    /// Of every so many connections the samples are kept.
    pub(crate) sample_every: usize,
    /// Where a load of messages hands in its deliveries.
    pub(crate) messages: Arc<Intervals>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        broker: &'a mut Broker,
        series: Series,
        jtl: Option<Jtl>,
        ending: Ending,
        wanted: &Wanted,
    ) -> Self {
        let last = Cpu::now(broker.probe());
        let interval = Duration::from_secs_f64(wanted.interval_s);
        let tables_interval = Duration::from_secs_f64(wanted.tables_interval_s);
        Self {
            broker,
            series,
            cut_short: None,
            ending,
            jtl,
            sample_every: wanted.sample_every,
            interval,
            tables_interval,
            next: Instant::now() + interval,
            next_tables: Instant::now() + tables_interval,
            asked: None,
            last,
            last_counts: Counts::default(),
            dropped: None,
            samples_left_out: 0,
            messages: Arc::clone(&wanted.messages),
            deliveries: BTreeMap::new(),
            last_phase: "",
        }
    }

    /// The broker's tables now.
    pub(crate) fn take_tables(&mut self, phase: &'static str, time_s: f64) {
        if let Some(report) = self.broker.report() {
            self.note_tables(phase, time_s, &report);
        }
    }

    fn note_tables(&mut self, phase: &'static str, time_s: f64, report: &Value) {
        self.dropped = report["metrics"]["delivery.dropped"].as_u64();
        self.series
            .push_tables(TableReport::new(time_s, phase, report));
    }

    fn take_point(&mut self, phase: &'static str, counts: Counts, intervals: &Intervals) {
        let mut gathered = intervals.take();
        let mut messages = self.messages.take();
        self.note_deliveries(phase, messages.of(Kind::Delivery));
        let cpu = Cpu::now(self.broker.probe());
        let point = self.point(phase, counts, (&gathered, &messages), &cpu);
        self.series.push(point);
        self.last = cpu;
        self.last_counts = counts;
        self.samples_left_out += gathered.samples_left_out + messages.samples_left_out;
        gathered.samples.append(&mut messages.samples);
        if let Some(jtl) = &mut self.jtl {
            let run_ms = counts.now_ns / 1_000_000;
            let origin_ms = unix_ms().saturating_sub(run_ms);
            // A disk that is full must not end the run.
            drop(jtl.write(&mut gathered.samples, origin_ms, counts.open));
        }
    }

    fn note_deliveries(&mut self, phase: &'static str, times: &Recent) {
        let last = std::mem::replace(&mut self.last_phase, phase);
        let counted = if last == Phase::Storm.name() {
            last
        } else {
            phase
        };
        let all = self.deliveries.entry(counted).or_insert_with(Recent::new);
        all.add(times);
    }

    fn point(
        &self,
        phase: &'static str,
        counts: Counts,
        (gathered, messages): (&Gathered, &Gathered),
        cpu: &Cpu,
    ) -> Point {
        let seconds = cpu.at.duration_since(self.last.at).as_secs_f64().max(1e-6);
        let rate = |count: u64| (10.0 * count as f64 / seconds).round() / 10.0;
        let (broker_cpu_percent, harness_cpu_percent, others_cpu_percent) =
            cpu.percent_since(&self.last);
        let (connect, ping) = (gathered.of(Kind::Connect), gathered.of(Kind::Ping));
        let delivery = messages.of(Kind::Delivery);
        let memory = self.broker.probe().and_then(Probe::memory);
        Point {
            time_s: time_s(counts),
            phase,
            open: counts.open,
            connected: counts.connected,
            failed: counts.failed,
            lost: counts.disconnected,
            connects_per_s: rate(connect.count()),
            connect_us_p50: connect.us_at(50.0),
            connect_us_p99: connect.us_at(99.0),
            connect_us_max: connect.us_max(),
            pings_per_s: rate(ping.count()),
            ping_us_p50: ping.us_at(50.0),
            ping_us_p99: ping.us_at(99.0),
            ping_us_max: ping.us_max(),
            deliveries_per_s: rate(delivery.count()),
            delivery_us_p50: delivery.us_at(50.0),
            delivery_us_p99: delivery.us_at(99.0),
            delivery_us_max: delivery.us_max(),
            user_bytes: memory.map(probe::MemorySample::user_bytes),
            broker_cpu_percent,
            harness_cpu_percent,
            others_cpu_percent,
            load_average_1min: probe::load_average(),
            kernel_slab_bytes: probe::kernel_slab_bytes(),
            tcp_buffer_bytes: probe::tcp_buffer_bytes(),
            dropped: self.dropped,
        }
    }

    /// Whether the run has to end, and why.
    fn ends(&mut self, phase: Phase, counts: Counts) -> Option<Step> {
        if self.ending.stop.load(Ordering::Relaxed) {
            self.cut_short = Some(format!("it was stopped in its {} phase", phase.name()));
            return Some(Step::End);
        }
        if !self.broker.is_alive() {
            let words = self.broker.last_words();
            self.cut_short = Some(format!(
                "the broker ended in the {} phase: {words}",
                phase.name()
            ));
            return Some(Step::End);
        }
        let run = Duration::from_nanos(counts.now_ns.saturating_sub(counts.start_ns));
        let beside = &self.ending.beside;
        beside
            .is_ramped
            .fetch_or(phase != Phase::Ramp, Ordering::Relaxed);
        beside
            .is_holding
            .fetch_or(phase == Phase::Hold, Ordering::Relaxed);
        let is_over = beside.is_over.load(Ordering::Relaxed)
            || self.ending.until.is_some_and(|end| run >= end);
        (phase == Phase::Hold && is_over).then_some(Step::NextPhase)
    }
}

impl Observer for Sampler<'_> {
    fn sample_every(&self) -> Option<usize> {
        Some(self.sample_every)
    }

    fn tick(&mut self, phase: Phase, counts: Counts, intervals: &Intervals) -> Step {
        if let Some(step) = self.ends(phase, counts) {
            return step;
        }
        let now = Instant::now();
        match self.asked {
            None if now >= self.next => {
                intervals.ask();
                self.messages.ask();
                self.asked = Some(now);
            }
            Some(asked) if now.duration_since(asked) >= HAND_IN => {
                self.asked = None;
                while self.next <= now {
                    self.next += self.interval;
                }
                if let Some(report) = self.broker.take_report() {
                    self.note_tables(phase.name(), time_s(counts), &report);
                }
                self.take_point(phase.name(), counts, intervals);
                if now >= self.next_tables && self.broker.ask_for_report() {
                    self.next_tables = now + self.tables_interval;
                }
            }
            _ => {}
        }
        Step::GoOn
    }

    fn finish(&mut self, counts: Counts, intervals: &Intervals) {
        self.take_point("end", counts, intervals);
    }
}

fn time_s(counts: Counts) -> f64 {
    let ms = counts.now_ns.saturating_sub(counts.start_ns) / 1_000_000;
    ms as f64 / 1000.0
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}
