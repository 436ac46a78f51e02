//! Progress on standard error: one line rewritten on a terminal, else a line every few seconds.
#![allow(clippy::print_stderr)] // Progress is for the one who watches.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Prints at most every second on a terminal and every five seconds elsewhere.
pub(crate) struct Progress {
    is_terminal: bool,
    quiet: bool,
    last: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            is_terminal: stderr().is_terminal(),
            quiet,
            last: Instant::now(),
        }
    }

    /// Prints what `line` says when it is time to.
    pub(crate) fn tick(&mut self, line: impl FnOnce() -> String) {
        let interval = Duration::from_secs(if self.is_terminal { 1 } else { 5 });
        if self.quiet || self.last.elapsed() < interval {
            return;
        }
        self.last = Instant::now();
        if self.is_terminal {
            eprint!("\r\x1b[K{}", line());
        } else {
            eprintln!("{}", line());
        }
        drop(stderr().flush());
    }

    /// Leaves the rewritten line.
    pub(crate) fn finish(&self) {
        if self.is_terminal && !self.quiet {
            eprint!("\r\x1b[K");
        }
    }
}
