//! Decides when a run is over: all has arrived, or what is missing will not come.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::plan::{Plan, Schedule};
use super::{POLL_INTERVAL, Shared};
use crate::cli::PubsubArgs;
use crate::probe::{Probe, RunTimes};
use crate::progress::Progress;

/// How often a quiet broker that wanted the CPU, or used it, gets another drain time.
const GRACES_MAX: u32 = 20;

/// Notices that nothing has happened for a while, and whether the broker could have acted.
///
/// A broker that got no CPU has not stalled. So the first quiet time only leads to a second one, in
/// which the broker's threads are watched: had they to wait for a CPU, or did they use one, a
/// further one follows.
struct Quiet {
    limit: Duration,
    probe: Option<Probe>,
    activity: u64,
    since: Instant,
    second: Option<(Instant, RunTimes)>,
    graces: u32,
}

impl Quiet {
    fn new(args: &PubsubArgs, probe: Option<Probe>) -> Self {
        let limit = Duration::from_secs_f64(args.drain);
        Self {
            limit,
            probe,
            activity: 0,
            since: Instant::now(),
            second: None,
            graces: 0,
        }
    }

    /// Takes note of the sum of all that can happen.
    fn note(&mut self, activity: u64) {
        if activity != self.activity {
            self.activity = activity;
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        self.second = None;
        self.graces = 0;
    }

    /// Whether nothing will happen any more.
    fn is_final(&mut self) -> bool {
        if self.since.elapsed() < self.limit {
            return false;
        }
        let Some(times) = self.probe.and_then(Probe::run_times) else {
            return true;
        };
        let Some((start, earlier)) = self.second else {
            self.second = Some((Instant::now(), times));
            return false;
        };
        let elapsed = start.elapsed();
        if elapsed < self.limit {
            return false;
        }
        let was_busy = times.waiting.saturating_sub(earlier.waiting) > elapsed / 4
            || times.running.saturating_sub(earlier.running) > elapsed / 4;
        if was_busy && self.graces < GRACES_MAX {
            self.graces += 1;
            self.second = Some((Instant::now(), times));
            return false;
        }
        true
    }
}

/// Waits until everything expected has arrived, or nothing more comes.
pub(super) fn until_over(
    args: &PubsubArgs,
    plan: &Plan,
    shared: &Shared,
    has_ended: &dyn Fn() -> bool,
    probe: Option<Probe>,
    progress: &mut Progress,
) {
    let mut quiet = Quiet::new(args, probe);
    let mut last_print = (0, Instant::now());
    while !has_ended() {
        thread::sleep(POLL_INTERVAL);
        let (expected, arrived) = (shared.sum(|w| &w.expected), shared.sum(|w| &w.arrived));
        let done = shared.sum(|w| &w.publishers_done);
        quiet.note(shared.sum(|w| &w.deliveries) + shared.sum(|w| &w.acked) + done);
        if plan.clock.now_ns() < shared.start_ns().saturating_add(plan.pause_ns) {
            quiet.restart();
        }
        let is_over = done == plan.publishers as u64;
        if is_over {
            shared.publishing_is_over.store(true, Ordering::Relaxed);
        }
        // A publisher whose acknowledgements never come must not keep the run for ever.
        let may_end = is_over || is_all_sent(plan, shared, quiet.since.elapsed());
        if (is_over && arrived >= expected) || (may_end && quiet.is_final()) {
            return;
        }
        progress.tick(|| {
            let rate = (arrived - last_print.0) as f64 / last_print.1.elapsed().as_secs_f64();
            last_print = (arrived, Instant::now());
            progress_line(plan, shared, arrived, rate)
        });
    }
}

/// Whether no message is to come any more, be they sent or held back by the broker.
fn is_all_sent(plan: &Plan, shared: &Shared, quiet: Duration) -> bool {
    let elapsed_ns = plan.clock.now_ns().saturating_sub(shared.start_ns());
    match plan.schedule {
        Schedule::Open { interval_ns } => elapsed_ns > plan.due_ns(interval_ns, 0, plan.messages),
        // A window that is only waiting for what is lost opens again after the stall time.
        Schedule::Closed { .. } => quiet > Duration::from_nanos(plan.stall_ns) * 2,
    }
}

fn progress_line(plan: &Plan, shared: &Shared, arrived: u64, rate: f64) -> String {
    let sent = shared.sum(|w| &w.sent);
    let elapsed_s = plan.clock.now_ns().saturating_sub(shared.start_ns()) as f64 / 1e9;
    let total = plan.messages.saturating_mul(plan.publishers as u64);
    let by_rate_s = total.saturating_sub(sent) as f64 * elapsed_s / (sent as f64).max(1.0);
    let left_s = (plan.duration_ns as f64 / 1e9 - elapsed_s)
        .min(by_rate_s)
        .max(0.0);
    format!(
        "{sent} sent, {arrived} of {} arrived, {rate:.0}/s, {left_s:.0} s left",
        shared.sum(|w| &w.expected)
    )
}
