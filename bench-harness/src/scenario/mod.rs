//! `run`: a scenario from a file, its broker included, with a time series, samples and a report.
//!
//! - `args`, `file`: what is asked for; `broker`: the broker's process
//! - `hold`: connections that are opened and kept; `stream`: messages alone; `beside`: messages beside
//!   connections, also while these storm; `flood`: messages beside queues that fill; `growth`: one load
//!   in several sizes
//! - `sampler`, `series`, `jtl`: what is written down meanwhile
//! - `output`: where it all goes

pub mod args;
mod beside;
mod broker;
mod file;
mod flood;
mod growth;
mod hold;
mod jtl;
mod output;
mod sampler;
mod series;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::{Context, Failure};
use crate::results::Report;
use args::RunArgs;
use broker::Broker;
use file::{Limit, Scenario};
use output::Output;

/// What every kind of scenario is run with.
struct Run<'a> {
    args: &'a RunArgs,
    scenario: Scenario,
    output: Output,
    /// Somebody wants the run to end; what was measured until then is written.
    stop: Arc<AtomicBool>,
}

/// Runs a scenario, prints its result and writes it.
///
/// # Errors
/// A file that is no scenario, a broker that does not start, or a system call the run cannot do
/// without.
pub fn run(args: &RunArgs) -> Result<Report, Failure> {
    if args.scale <= 0.0 || args.time_scale <= 0.0 {
        return Failure::usage("--scale and --time-scale are above 0");
    }
    let mut scenario = Scenario::read(&args.scenario)?.scaled(args.scale, args.time_scale);
    if let Some(name) = &args.name {
        scenario.name.clone_from(name);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot take signals")?;
    }
    // The broker inherits it.
    crate::sys::raise_descriptor_limit();
    let run = Run {
        output: Output::new(args, &scenario.name),
        args,
        scenario,
        stop,
    };
    let mut report = match &run.scenario {
        Scenario {
            growth: Some(growth),
            ..
        } => growth::run(&run, growth)?,
        scenario => {
            let broker = Broker::new(args, &scenario.broker)?;
            match (&scenario.connections, &scenario.messages, &scenario.flood) {
                (Some(_), Some(messages), _) => beside::run(&run, broker, messages)?,
                (None, Some(messages), Some(flood)) => flood::run(&run, broker, messages, flood)?,
                (None, Some(messages), None) => stream::run(&run, broker, messages)?,
                _ => hold::run(&run, broker)?,
            }
        }
    };
    run.judge(&mut report);
    run.output.finish(&mut report)?;
    Ok(report)
}

impl Run<'_> {
    fn judge(&self, report: &mut Report) {
        for (name, limit) in &self.scenario.limits {
            let (relation, limit) = match limit {
                Limit::Max(limit) => ("<=", *limit),
                Limit::Min(limit) => (">=", *limit),
                Limit::Equal(limit) => ("=", *limit),
            };
            report.judge(name, relation, Some(limit));
        }
    }

    /// The options that every load of this run has, with the broker it goes to.
    fn common(&self, broker: &Broker) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut put = |name: &str, value: String| words.push(format!("--{name}={value}"));
        put("target", broker.target.clone());
        put("source-net", self.args.source_net.to_string());
        put("lag-limit-ms", self.scenario.lag_limit_ms.to_string());
        put("scenario", self.scenario.name.clone());
        put("broker-name", broker.name.clone());
        put("broker-settings", broker.command.clone());
        if let Some(pid) = broker.pid {
            put("broker-pid", pid.to_string());
        }
        if let Some(commit) = &self.args.commit {
            put("commit", commit.clone());
        }
        if self.args.quiet {
            words.push("--quiet".to_owned());
        }
        words
    }
}
