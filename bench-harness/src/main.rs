//! The program: options in, a report out, the verdict as the exit code.

use std::process::ExitCode;

use bench_harness::cli::Cli;
use bench_harness::results::Report;
use clap::Parser;

#[allow(clippy::print_stderr)] // The one place that tells a person why nothing was measured.
fn main() -> ExitCode {
    match bench_harness::run(&Cli::parse()) {
        Ok(report) if report.as_ref().is_none_or(Report::passed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("bench-harness: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
