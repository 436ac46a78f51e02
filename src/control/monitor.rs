//! Figures over time: a sample every ten seconds, the last six hours of them, and the highest value
//! that each gauge had.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::machine::Machine;
use crate::metrics::{Counter, Gauge, MetricsRegistry, TOTALS};

/// Seconds between two samples.
pub const SAMPLE_EVERY_S: u64 = 10;
/// Samples that are kept: six hours, 260 KB.
const SAMPLES_MAX: usize = 2160;

/// The state of things at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, milliseconds of UNIX time.
    pub at_ms: u64,
    /// Messages received so far.
    pub received: u64,
    /// Messages sent so far.
    pub sent: u64,
    /// Messages and deliveries dropped so far.
    pub dropped: u64,
    /// Bytes received so far.
    pub received_bytes: u64,
    /// Bytes sent so far.
    pub sent_bytes: u64,
    /// Connections accepted so far.
    pub connected: u64,
    /// Connections ended so far.
    pub disconnected: u64,
    /// Connections, those of sessions whose client is away included.
    pub connections: u64,
    /// Connected clients.
    pub live_connections: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Filters.
    pub topics: u64,
    /// Retained messages.
    pub retained: u64,
}

impl Sample {
    /// The figures now, as the cores last published them.
    pub fn take(metrics: &MetricsRegistry) -> Self {
        let total = |name: &str| {
            let found = TOTALS.iter().find(|total| total.name == name);
            found.map_or(0, |total| metrics.total(total))
        };
        Self {
            at_ms: clock::unix_ms(),
            received: total("messages.received"),
            sent: total("messages.sent"),
            dropped: total("messages.dropped") + total("delivery.dropped"),
            received_bytes: metrics.count(Counter::BytesReceived),
            sent_bytes: metrics.count(Counter::BytesSent),
            connected: metrics.count(Counter::ClientConnected),
            disconnected: metrics.count(Counter::ClientDisconnected),
            connections: metrics.gauge(Gauge::Connections),
            live_connections: metrics.gauge(Gauge::LiveConnections),
            subscriptions: metrics.gauge(Gauge::Subscriptions),
            topics: metrics.gauge(Gauge::Topics),
            retained: metrics.gauge(Gauge::Retained),
        }
    }
}

/// The samples of the last hours.
#[derive(Default)]
pub struct Monitor {
    samples: Mutex<VecDeque<Sample>>,
    greatest: Mutex<BTreeMap<&'static str, u64>>,
    /// Processor time in use over the last samples, and the ticks at the last one.
    cpu: Mutex<(f64, (u64, u64))>,
}

impl Monitor {
    /// The samples from a moment on, oldest first.
    pub fn since(&self, at_ms: u64) -> Vec<Sample> {
        let samples = lock(&self.samples);
        samples
            .iter()
            .filter(|sample| sample.at_ms >= at_ms)
            .copied()
            .collect()
    }

    /// The latest sample.
    pub fn latest(&self) -> Option<Sample> {
        lock(&self.samples).back().copied()
    }

    /// Forgets all samples.
    pub fn clear(&self) {
        lock(&self.samples).clear();
    }

    /// Notes the present value of a gauge; returns the greatest it had.
    pub fn greatest(&self, name: &'static str, now: u64) -> u64 {
        let mut greatest = lock(&self.greatest);
        let value = greatest.entry(name).or_insert(0);
        *value = now.max(*value);
        *value
    }

    /// How much of the machine's processor time was in use between the last two samples, percent.
    pub fn cpu_percent(&self) -> f64 {
        lock(&self.cpu).0
    }

    fn note_cpu(&self, ticks: (u64, u64)) {
        let mut cpu = lock(&self.cpu);
        let all = ticks.1.saturating_sub(cpu.1.1);
        let busy = ticks.0.saturating_sub(cpu.1.0);
        if all > 0 {
            *cpu = (busy as f64 * 100.0 / all as f64, ticks);
        }
    }

    fn push(&self, sample: Sample) {
        let mut samples = lock(&self.samples);
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples from now on. Call it within the runtime.
pub fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(SAMPLE_EVERY_S));
        loop {
            tick.tick().await;
            context.cores.refresh().await;
            context.monitor.note_cpu(Machine::look().cpu_ticks);
            context.monitor.push(Sample::take(&context.metrics));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_samples_go_and_the_greatest_values_stay() {
        let monitor = Monitor::default();
        for at_ms in 0..SAMPLES_MAX as u64 + 5 {
            monitor.push(Sample {
                at_ms,
                ..Sample::default()
            });
        }
        assert_eq!(monitor.since(0).len(), SAMPLES_MAX);
        assert_eq!(monitor.since(0)[0].at_ms, 5);
        assert_eq!(monitor.since(10).len(), SAMPLES_MAX - 5);
        assert_eq!(monitor.greatest("a", 7), 7);
        assert_eq!(monitor.greatest("a", 3), 7);
    }
}
