//! Follows a run from its first connect to the end of the hold, and lets others look on.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{BrokerSamples, POLL_INTERVAL, Plan, STORM_TIMEOUT, Shared};
use crate::cli::ConnectArgs;
use crate::interval::Intervals;
use crate::probe::{self, CpuSample, Probe};
use crate::progress::Progress;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Ramp,
    Settle,
    Storm,
    Hold,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ramp => "ramp",
            Self::Settle => "settle",
            Self::Storm => "storm",
            Self::Hold => "hold",
        }
    }
}

/// What is to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    GoOn,
    NextPhase,
    /// The run ends here; what was measured counts.
    End,
}

/// Counts of the whole run so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// The run's clock.
    pub(crate) now_ns: u64,
    /// When the first connect was due.
    pub(crate) start_ns: u64,
    pub(crate) connected: u64,
    pub(crate) open: u64,
    pub(crate) failed: u64,
    pub(crate) disconnected: u64,
    pub(crate) pongs: u64,
}

/// Looks on while a run goes.
pub(crate) trait Observer {
    /// Of every so many connections the samples are wanted; none wants no intervals at all.
    fn sample_every(&self) -> Option<usize> {
        None
    }

    /// Called about fifty times a second.
    fn tick(&mut self, _phase: Phase, _counts: Counts, _intervals: &Intervals) -> Step {
        Step::GoOn
    }

    /// All connections have been told to close; the last intervals are there.
    fn finish(&mut self, _counts: Counts, _intervals: &Intervals) {}
}

/// Nobody looks.
pub(crate) struct Nobody;

impl Observer for Nobody {}

pub(super) struct Watch<'a> {
    pub(super) args: &'a ConnectArgs,
    pub(super) plan: &'a Plan,
    pub(super) shared: &'a Shared,
    pub(super) probe: Option<Probe>,
    pub(super) has_died: &'a dyn Fn() -> bool,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) progress: Progress,
    pub(super) is_over: bool,
}

impl Watch<'_> {
    pub(super) fn run(&mut self, cpu_before: Option<&CpuSample>, samples: &mut BrokerSamples) {
        let total = self.plan.connections as u64;
        while self.shared.sum(|c| &c.connected) + self.shared.sum(|c| &c.failed) < total {
            thread::sleep(POLL_INTERVAL);
            if self.turn(Phase::Ramp, None) != Step::GoOn {
                break;
            }
        }
        let cpu_ramped = self.probe.and_then(Probe::cpu);
        samples.ramp_cpu = cpu_ramped
            .as_ref()
            .zip(cpu_before)
            .map(|(after, before)| after.since(before));
        self.pause(self.args.settle, Phase::Settle);
        samples.memory_ramped = self.probe.and_then(Probe::memory);
        samples.slab_ramped = probe::kernel_slab_bytes();
        if self.plan.storm_steps > 0 && !self.is_over {
            samples.storm = self.await_storm();
        }
        let (hold_start, cpu_settled) = (Instant::now(), self.probe.and_then(Probe::cpu));
        self.shared.churn.store(true, Ordering::Relaxed);
        self.pause(self.args.hold, Phase::Hold);
        self.shared.churn.store(false, Ordering::Relaxed);
        self.await_churned();
        let cpu_held = self.probe.and_then(Probe::cpu);
        samples.hold = hold_start.elapsed();
        samples.hold_cpu = cpu_held
            .zip(cpu_settled)
            .map(|(after, before)| after.since(&before));
        samples.memory_held = self.probe.and_then(Probe::memory);
        self.progress.finish();
    }

    /// One look, for all who look on.
    fn turn(&mut self, phase: Phase, left: Option<Duration>) -> Step {
        if self.is_over || (self.has_died)() {
            self.is_over = true;
            return Step::End;
        }
        let (plan, shared) = (self.plan, self.shared);
        self.progress
            .tick(|| progress_line(plan, shared, phase.name(), left));
        let step = self
            .observer
            .tick(phase, shared.counts(plan), &shared.intervals);
        self.is_over |= step == Step::End;
        step
    }

    fn pause(&mut self, seconds: f64, phase: Phase) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            thread::sleep(left.min(POLL_INTERVAL));
            if self.turn(phase, Some(left)) != Step::GoOn {
                return;
            }
        }
    }

    /// What left last is to be back before memory is looked at.
    fn await_churned(&mut self) {
        if self.args.churn > 0.0 {
            self.pause(self.args.settle, Phase::Hold);
        }
    }

    /// Cuts connections and waits until as many are open as before; none when they do not all come
    /// back within [`STORM_TIMEOUT`].
    fn await_storm(&mut self) -> Option<Duration> {
        let wanted = self.shared.sum(|c| &c.open);
        let start = Instant::now();
        let mut last_turn = start;
        self.shared.storm.store(true, Ordering::Release);
        while start.elapsed() < STORM_TIMEOUT {
            thread::sleep(Duration::from_millis(1));
            let all_cut = self.shared.sum(|c| &c.has_stormed) == self.plan.workers as u64;
            if all_cut && self.shared.sum(|c| &c.open) >= wanted {
                return Some(start.elapsed());
            }
            if last_turn.elapsed() >= POLL_INTERVAL {
                last_turn = Instant::now();
                if self.turn(Phase::Storm, None) == Step::End {
                    return None;
                }
            }
        }
        None
    }
}

impl Shared {
    pub(super) fn counts(&self, plan: &Plan) -> Counts {
        Counts {
            now_ns: plan.clock.now_ns(),
            start_ns: plan.start_ns,
            connected: self.sum(|c| &c.connected),
            open: self.sum(|c| &c.open),
            failed: self.sum(|c| &c.failed),
            disconnected: self.sum(|c| &c.disconnected),
            pongs: self.sum(|c| &c.pongs),
        }
    }
}

fn progress_line(plan: &Plan, shared: &Shared, phase: &str, left: Option<Duration>) -> String {
    let Counts {
        connected,
        open,
        failed,
        disconnected,
        pongs,
        ..
    } = shared.counts(plan);
    let elapsed_s = plan.clock.now_ns().saturating_sub(plan.start_ns) as f64 / 1e9;
    let remaining = (plan.connections as u64).saturating_sub(connected + failed) as f64;
    let rate = (connected + failed) as f64 / elapsed_s.max(0.001);
    let left_s = left.map_or_else(|| remaining / rate.max(0.001), |left| left.as_secs_f64());
    format!(
        "{phase}: {connected} of {} connected ({rate:.0}/s), {open} open, {failed} failed, \
         {disconnected} lost, {pongs} pongs, {left_s:.0} s left",
        plan.connections,
    )
}
