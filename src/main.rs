//! The broker's process: command line, checks, signals, exit code.

use std::io::Write;
use std::process::ExitCode;

use crossbeam_channel::Receiver;
use millrace::boot::{self, Refusal, run::Broker};
use millrace::cli::estimate::{self, Load};
use millrace::cli::{Arguments, Task};
use millrace::ctl;
use millrace::runtime::log;
use millrace::shutdown::{self, Ending, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

#[cfg(not(feature = "count-allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: millrace::runtime::allocator::Counting<mimalloc::MiMalloc> =
    millrace::runtime::allocator::Counting(mimalloc::MiMalloc);

/// Usage, configuration, or the machine: nothing was started.
const EXIT_REFUSED: u8 = 2;
/// The broker failed while it ran, or its shutdown was cut short.
const EXIT_FAILED: u8 = 1;
/// Signals that may wait to be handled.
const SIGNALS_MAX: usize = 16;

fn main() -> ExitCode {
    boot::prepare_memory();
    let arguments = Arguments::of_process();
    let done = match &arguments.task {
        Task::Run => run(&arguments),
        Task::Check => check(&arguments),
        Task::Ctl(words) => ctl(&arguments, words),
        Task::Doctor => Ok(doctor(&arguments)),
        Task::Estimate(load) => Ok(estimate(&arguments, load)),
    };
    match done {
        Ok(code) => code,
        Err(refusal) => {
            // Standard error may be closed; then the exit code must do.
            let _ = writeln!(std::io::stderr(), "{refusal}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn check(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let report = boot::check(arguments)?;
    let _ = writeln!(std::io::stdout(), "{}", report.lines.join("\n"));
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_REFUSED)
    })
}

/// `ctl`: 0; 1 when the broker does not run or says no; 2 for usage.
fn ctl(arguments: &Arguments, words: &[String]) -> Result<ExitCode, Refusal> {
    let data_dir = boot::load::data_dir(arguments)?;
    let mut out = std::io::stdout().lock();
    let (why, code) = match ctl::run(&data_dir, words, arguments.json, &mut out) {
        Ok(()) | Err(ctl::Failure::Unread) => return Ok(ExitCode::SUCCESS),
        Err(ctl::Failure::Usage(how)) => (how, EXIT_REFUSED),
        Err(ctl::Failure::Failed(why)) => (why, EXIT_FAILED),
    };
    let _ = writeln!(std::io::stderr(), "{why}");
    Ok(ExitCode::from(code))
}

fn doctor(arguments: &Arguments) -> ExitCode {
    let findings = boot::doctor::examine(arguments);
    let text = match arguments.json {
        true => findings.to_json().to_string(),
        false => findings.to_text(),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    match findings.ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_FAILED),
    }
}

fn estimate(arguments: &Arguments, load: &Load) -> ExitCode {
    let answer = estimate::estimate(load);
    let text = match arguments.json {
        true => serde_json::to_string(&answer).unwrap_or_default(),
        false => answer.to_text(),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let signals = signals()?;
    let ready = boot::prepare(arguments)?;
    let log = log::start(&ready.config.log)
        .map_err(|error| Refusal::from(format!("the log cannot be started: {error}")))?;
    for warning in ready.config.warnings(&ready.machine) {
        tracing::warn!("{warning}");
    }
    let broker = boot::run::start(&ready)?;
    broker.control.set_log(log.control());
    announce(&broker);
    let ending = shutdown::wait(&broker, &signals, ready.config.node.shutdown_timeout);
    let code = match &ending {
        Ending::Clean => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ending::Failed(why) => {
            tracing::error!("{why}");
            ExitCode::from(EXIT_FAILED)
        }
    };
    broker.listeners.remove_files();
    drop(log);
    if ending != Ending::Clean {
        // Cores that do not end would keep the process.
        std::process::exit(i32::from(EXIT_FAILED));
    }
    broker.control.stop();
    broker.indexer.stop();
    if let Some(tls) = broker.tls {
        tls.stop();
    }
    Ok(code)
}

/// One line a listener, then `ready`.
fn announce(broker: &Broker) {
    let mut out = std::io::stdout().lock();
    for (name, address) in &broker.listening {
        let _ = writeln!(out, "listening {name} {address}");
    }
    let _ = writeln!(out, "ready");
    let _ = out.flush();
}

/// Signals of the process, from a thread that waits for them.
fn signals() -> Result<Receiver<Signal>, Refusal> {
    let refused = |error| Refusal::from(format!("signals cannot be handled: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP]).map_err(refused)?;
    let (tell, heard) = crossbeam_channel::bounded(SIGNALS_MAX);
    let wait = move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGUSR1 => Signal::Report,
                SIGHUP => Signal::Reload,
                _ => Signal::Stop,
            };
            // A signal too many is as good as none.
            let _ = tell.try_send(signal);
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map_err(refused)?;
    Ok(heard)
}
