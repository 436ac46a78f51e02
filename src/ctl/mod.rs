//! Layer 6: `broker ctl`, the HTTP API for people at a terminal.
//!
//! It speaks to the running broker by `ctl.sock` in the data directory and to nothing else, so it
//! names no other room. Commands and what they print follow EMQX's, both spellings where EMQX 4 and 5
//! differ; `--json` prints what the API said.
//!
//! - [`client`]: the few lines of HTTP that are needed; [`commands`]: each command
//! - [`forms`]: an answer as text

pub mod client;
pub mod commands;
pub mod forms;

use std::io::{self, Write};
use std::path::Path;

use client::Client;

/// Why a command was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such command: exit code 2.
    Usage(String),
    /// The broker does not run, or says no: exit code 1.
    Failed(String),
    /// Whoever reads the answer, such as `head`, has had enough: there is nothing more to do.
    Unread,
}

impl From<io::Error> for Failure {
    /// Of the terminal; the sockets' errors are told with more words.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(format!("the answer cannot be written: {error}")),
        }
    }
}

/// Does what the words say with the broker of a data directory and prints the answer.
///
/// # Errors
/// A sentence, or how to use the command.
pub fn run(
    data_dir: &Path,
    words: &[String],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["help"] {
        return Ok(writeln!(out, "{}", commands::usage(""))?);
    }
    commands::run(&Client::of(data_dir), &words, json, out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(gone), Failure::Unread);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(Failure::from(full), Failure::Failed(_)));
    }
}
