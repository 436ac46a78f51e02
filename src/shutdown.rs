//! Signals, and the order in which a broker stops (architecture: "Shutdown").
//!
//! Accepting stops, reading stops, the rings run empty, wills are published, the rings run empty
//! again, clients are told and closed, cores end. Each step waits for every core, up to the deadline;
//! what is not done by then is cut and counted. A second signal ends the process at once.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use crate::boot::run::Broker;
use crate::gate::command::Command;
use crate::gate::event::{Crossing, Event, What};
use crate::gate::reply::Reply;
use crate::gate::settings::SettingsControl;
use crate::gate::tls::TlsRequest;

/// A signal of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in order; the second time at once.
    Stop,
    /// SIGUSR1: print the sizes of the tables and all counters.
    Report,
    /// SIGHUP: read configuration, access rules and certificates again.
    Reload,
}

/// How the process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// In order.
    Clean,
    /// A core failed, or the shutdown took too long; what was cut.
    Failed(String),
}

/// How often cores are asked whether anything is still on its way between them.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Runs a broker until a signal ends it or a core fails.
pub fn wait(broker: &Broker, signals: &Receiver<Signal>) -> Ending {
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(Signal::Report) => crate::boot::report::print(broker),
                Ok(Signal::Reload) => reload(broker),
                Ok(Signal::Stop) | Err(_) => break,
            },
            recv(broker.ended) -> end => return ended_early(end.ok()),
        }
    }
    tracing::info!("stopping");
    broker.control.stopping();
    let stop = Stopping {
        broker,
        signals,
        deadline: Instant::now() + broker.settings.config().node.shutdown_timeout,
    };
    match stop.run() {
        Ok(()) => Ending::Clean,
        Err(cut) => Ending::Failed(cut),
    }
}

/// The handshake threads say in the log what became of it.
fn reload(broker: &Broker) {
    broker.settings.reload_and_log();
    let Some(tls) = &broker.tls else {
        return;
    };
    if tls
        .desk()
        .ask(TlsRequest::Reload(Reply::new(drop)))
        .is_err()
    {
        tracing::warn!("certificates are being read already");
    }
}

fn ended_early(end: Option<Result<(), crate::runtime::thread::CoreFailed>>) -> Ending {
    match end {
        Some(Err(failed)) => Ending::Failed(failed.to_string()),
        _ => Ending::Failed("the cores have ended by themselves".to_owned()),
    }
}

struct Stopping<'a> {
    broker: &'a Broker,
    signals: &'a Receiver<Signal>,
    deadline: Instant,
}

impl Stopping<'_> {
    fn run(&self) -> Result<(), String> {
        self.step(
            || Command::StopAccepting,
            |what| matches!(what, What::AcceptingStopped),
        )?;
        self.step(
            || Command::StopReading,
            |what| matches!(what, What::ReadingStopped),
        )?;
        self.run_empty()?;
        self.step(
            || Command::PublishWills,
            |what| matches!(what, What::WillsPublished),
        )?;
        self.run_empty()?;
        self.step(
            || Command::Farewell,
            |what| matches!(what, What::FarewellDone),
        )?;
        self.broker.gate.ask_all(|| Command::Exit);
        match self.broker.ended.recv_deadline(self.deadline) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failed)) => Err(failed.to_string()),
            Err(_) => Err(self.cut("cores did not end")),
        }
    }

    /// One step on every core.
    fn step(&self, command: fn() -> Command, is_done: fn(&What) -> bool) -> Result<(), String> {
        let asked = self.broker.gate.ask_all(command);
        let cores = usize::from(self.broker.gate.cores());
        if asked < cores {
            return Err(format!("{} cores take no commands", cores - asked));
        }
        let mut left = cores;
        while left > 0 {
            let event = self.event(&format!("{left} cores have not done {:?}", command()))?;
            left -= usize::from(is_done(&event.what));
        }
        Ok(())
    }

    /// Waits until nothing is on its way between cores: two rounds in a row in which everything
    /// staged has been taken in and the sums have not changed.
    fn run_empty(&self) -> Result<(), String> {
        let mut before = None;
        loop {
            let round = self.ask_crossing()?;
            let quiet = round.idle && round.staged == round.taken;
            if quiet && before == Some(round) {
                return Ok(());
            }
            before = quiet.then_some(round);
            crossbeam_channel::after(ASK_EVERY).recv().ok();
        }
    }

    fn ask_crossing(&self) -> Result<Crossing, String> {
        let mut left = self.broker.gate.ask_all(|| Command::ReportCrossing);
        let mut sum = Crossing {
            idle: true,
            ..Crossing::default()
        };
        while left > 0 {
            let event = self.event("messages are still on their way between cores")?;
            if let What::Crossing(one) = event.what {
                sum.staged += one.staged;
                sum.taken += one.taken;
                sum.idle &= one.idle;
                left -= 1;
            }
        }
        Ok(sum)
    }

    /// The next event of a core, before the deadline.
    fn event(&self, waiting_for: &str) -> Result<Event, String> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.cut(waiting_for));
            }
            select! {
                recv(self.broker.gate.events()) -> event => {
                    return event.map_err(|_| "the cores are gone".to_owned());
                }
                recv(self.signals) -> signal => {
                    if signal == Ok(Signal::Stop) {
                        return Err("stopped by a second signal".to_owned());
                    }
                }
                recv(self.broker.ended) -> end => match end {
                    Ok(Err(failed)) => return Err(failed.to_string()),
                    _ => return Err("the cores have ended by themselves".to_owned()),
                },
                default(left) => {}
            }
        }
    }

    fn cut(&self, what: &str) -> String {
        let connections = self
            .broker
            .metrics
            .gauge(crate::metrics::Gauge::LiveConnections);
        format!("node.shutdown_timeout is over: {what}; {connections} connections were cut")
    }
}

/// Waits for an event; for reports.
pub fn next_event(events: &Receiver<Event>, timeout: Duration) -> Option<Event> {
    events.recv_timeout(timeout).ok()
}
