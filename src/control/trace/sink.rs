//! The file of a trace. Its size is bounded: when it is full it says so and takes nothing more.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::trace::line::{self, Style};
use crate::gate::trace::Traced;

/// Where lines go.
pub struct Sink {
    style: Style,
    bytes_max: u64,
    file: Mutex<Out>,
}

struct Out {
    file: BufWriter<File>,
    bytes: u64,
    /// Nothing more is written: it is full, or the disk is.
    full: bool,
}

impl Sink {
    /// Appends to a file, which is the broker's own.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, style: Style, bytes_max: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(path)?;
        let bytes = file.metadata()?.len();
        let out = Out {
            file: BufWriter::new(file),
            bytes,
            full: false,
        };
        Ok(Self {
            style,
            bytes_max,
            file: Mutex::new(out),
        })
    }

    /// One event.
    pub fn write(&self, traced: &Traced) {
        if let Some(line) = line::of(&self.style, traced) {
            self.put(&line, traced.at_us);
        }
    }

    /// So many events found no room on their way here.
    pub fn lost(&self, events: u64, at_us: u64) {
        if events > 0 {
            self.put(&line::lost(&self.style, events, at_us), at_us);
        }
    }

    /// Whether it takes nothing more.
    pub fn is_full(&self) -> bool {
        self.out().full
    }

    /// Writes out what lies in memory.
    pub fn flush(&self) {
        let mut out = self.out();
        if out.file.flush().is_err() {
            out.full = true;
        }
    }

    fn put(&self, line: &str, at_us: u64) {
        let mut out = self.out();
        if out.full {
            return;
        }
        let last = line::full(&self.style, self.bytes_max, at_us);
        let bytes = (line.len() + 1) as u64;
        let fits = out.bytes + bytes + last.len() as u64 <= self.bytes_max;
        let line = if fits { line } else { &last };
        out.full = !fits;
        out.bytes += (line.len() + 1) as u64;
        if writeln!(out.file, "{line}").is_err() {
            out.full = true;
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::trace::record::{Formatter, Level, PayloadEncode};
    use crate::gate::trace::TracedWhat;

    #[test]
    fn a_full_file_says_so_and_takes_nothing_more() {
        let dir = std::env::temp_dir().join(format!("millrace-sink-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("trace.log");
        let style = Style {
            formatter: Formatter::Text,
            payload_encode: PayloadEncode::Text,
            payload_limit: 10,
            level: Level::Debug,
        };
        let sink = Sink::open(&path, style, 1000).unwrap();
        let event = Traced {
            at_us: 1_764_030_602_000_000,
            traces: [1].into_iter().collect(),
            client_id: "c".into(),
            username: None,
            peer: None,
            what: TracedWhat::Disconnected { reason: "kicked" },
        };
        sink.lost(3, event.at_us);
        for _ in 0..100 {
            sink.write(&event);
        }
        sink.flush();
        assert!(sink.is_full());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 1001, "{}", text.len());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("3 events"), "{text}");
        assert!(lines[1].contains("kicked"), "{text}");
        assert!(lines.last().unwrap().contains("1000 bytes"), "{text}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
