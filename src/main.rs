//! The broker's process: command line, checks, exit code.

use std::io::Write;
use std::process::ExitCode;

use millrace::boot::{self, Refusal};
use millrace::cli::Arguments;
use millrace::runtime::log;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Usage, configuration, or the machine: nothing was started.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    let done = if arguments.check {
        check(&arguments)
    } else {
        run(&arguments)
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

fn run(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let ready = boot::prepare(arguments)?;
    let _log = log::start(&ready.config.log)
        .map_err(|error| Refusal::from(format!("the log cannot be started: {error}")))?;
    for warning in ready.config.warnings(&ready.machine) {
        tracing::warn!("{warning}");
    }
    Ok(ExitCode::SUCCESS)
}
