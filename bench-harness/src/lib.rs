//! Load generator and judge for MQTT brokers.
//!
//! It shares no code with the broker it was written for, so that no bug can hide in what both
//! use, and it drives any broker, so that all are measured by the same program.
//!
//! - [`cli`]: the options; [`run`]: the entry.
//! - [`connect`]: many connections on a schedule; [`pubsub`]: messages, each one judged;
//!   [`retained`]: what many retained messages cost; [`manage`]: what operators cost.
//! - [`scenario`]: all of that from files, with the broker and a time series;
//!   [`report`]: results as a page.
//! - [`codec`]: a complete MQTT codec (3.1, 3.1.1, 5.0); [`client`]: a scripted client for
//!   black-box tests; `wire`: the fast path of load runs.
//! - `payload`, `checker`: what a message carries and what its arrival means.
//! - `sys`: sockets and epoll, the only unsafe code; `load`: workers, source addresses.
//! - `probe`, `environment`, `results`, `histogram`, `interval`, `progress`: what is
//!   reported.
//!
//! Load comes from a few worker threads, each with its own epoll and its own descriptor table.
//! Schedules are open-loop: what is due is sent when it is due, and latency counts from then.

mod checker;
pub mod cli;
pub mod client;
mod clock;
pub mod codec;
pub mod connect;
mod environment;
mod failure;
mod histogram;
mod interval;
mod load;
pub mod manage;
mod payload;
mod probe;
mod progress;
pub mod pubsub;
mod reference;
mod relay;
pub mod report;
pub mod results;
pub mod retained;
pub mod scenario;
mod sys;
mod wire;

pub use failure::Failure;

use cli::{Cli, Command};
use results::Report;

/// Does what the command line says, prints the result and writes it. None when nothing was measured.
///
/// # Errors
/// See [`Failure`]; a verdict that fails is not an error but stands in the report.
#[allow(clippy::print_stdout)] // The summary is the program's output.
pub fn run(cli: &Cli) -> Result<Option<Report>, Failure> {
    let (report, common) = match &cli.command {
        Command::Relay(args) => match relay::run(args)? {},
        Command::Run(args) => return scenario::run(args).map(Some),
        Command::Report(args) => return report::run(args).map(|()| None),
        Command::Reference(args) => match reference::run(args)? {},
        Command::Connect(args) => (connect::run(args)?, &args.common),
        Command::Pubsub(args) => (pubsub::run(args)?, &args.common),
        Command::Retained(args) => (retained::run(args)?, &args.common),
        Command::Manage(args) => (manage::run(args)?, &args.common),
    };
    report.print();
    if !common.no_results {
        println!("  written to {}", report.write(common)?.display());
    }
    Ok(Some(report))
}
