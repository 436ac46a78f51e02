//! The log: lines go to standard error by a thread of their own.
//!
//! A core that logs formats its line and hands it to a bounded channel; it never waits for the
//! terminal, the pipe or the disk behind standard error. When the channel is full the line is
//! dropped and counted, and the writer reports the count with the next line it writes.
//!
//! What clients can cause (a malformed packet, a refused CONNECT) is logged through a [`RateLimit`],
//! one a kind of message, owned by the core; it is told the time.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{fmt as lines_of, reload};

use crate::config::{Log, LogFormat, LogLevel};
use crate::gate::log::LogControl;

/// Lines that may wait for the writer: at 200 bytes each about 1.6 MB, a second of a flood.
const LINES_MAX: usize = 8192;

/// How long the end of the process waits for standard error to take the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the log alive; when dropped, what was logged before is written out.
pub struct LogGuard {
    stop: Option<Sender<()>>,
    done: Receiver<()>,
    writer: Option<JoinHandle<()>>,
    flush_timeout: Duration,
    control: Arc<dyn LogControl>,
}

impl LogGuard {
    /// For changing the log while it is written.
    pub fn control(&self) -> Arc<dyn LogControl> {
        Arc::clone(&self.control)
    }
}

impl Drop for LogGuard {
    /// Waits until the writer is done, but not for a standard error that takes nothing.
    fn drop(&mut self) {
        self.stop = None;
        let finished = self.done.recv_timeout(self.flush_timeout).is_ok();
        if let Some(writer) = self.writer.take().filter(|_| finished) {
            // The writer only panics by a bug of its own, and there is no log left to say so.
            let _ = writer.join();
        }
    }
}

/// Starts the log of this process on standard error. Only the first call of a process succeeds.
pub fn start(settings: &Log) -> io::Result<LogGuard> {
    let (lines, mut guard) = start_writer(io::stderr(), LINES_MAX, FLUSH_TIMEOUT)?;
    let (filter, handle) = reload::Layer::new(filter_of(settings.level));
    let written = tracing_subscriber::registry().with(filter);
    let layer = lines_of::layer().with_writer(lines);
    let set = match settings.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal();
            let layer = layer.with_ansi(colours);
            tracing::subscriber::set_global_default(written.with(layer))
        }
        LogFormat::Json => {
            let layer = layer.event_format(JsonLines);
            tracing::subscriber::set_global_default(written.with(layer))
        }
    };
    let change: Change =
        Box::new(move |filter| handle.reload(filter).map_err(|why| why.to_string()));
    set.map_err(io::Error::other)?;
    guard.control = Arc::new(Level {
        at: AtomicU8::new(place_of(settings.level)),
        change,
    });
    Ok(guard)
}

/// Puts another filter in place.
type Change = Box<dyn Fn(LevelFilter) -> Result<(), String> + Send + Sync>;

/// The level in force.
struct Level {
    /// Its place in [`LEVELS`].
    at: AtomicU8,
    change: Change,
}

/// All levels with their filters.
const LEVELS: [(LogLevel, LevelFilter); 5] = [
    (LogLevel::Error, LevelFilter::ERROR),
    (LogLevel::Warn, LevelFilter::WARN),
    (LogLevel::Info, LevelFilter::INFO),
    (LogLevel::Debug, LevelFilter::DEBUG),
    (LogLevel::Trace, LevelFilter::TRACE),
];

fn place_of(level: LogLevel) -> u8 {
    let place = LEVELS.iter().position(|(named, _)| *named == level);
    u8::try_from(place.unwrap_or(0)).unwrap_or(0)
}

fn filter_of(level: LogLevel) -> LevelFilter {
    let found = LEVELS.iter().find(|(named, _)| *named == level);
    found.map_or(LevelFilter::INFO, |(_, filter)| *filter)
}

impl LogControl for Level {
    fn level(&self) -> LogLevel {
        let at = usize::from(self.at.load(Ordering::Relaxed));
        LEVELS.get(at).map_or(LogLevel::Info, |(level, _)| *level)
    }

    fn set_level(&self, level: LogLevel) -> Result<(), String> {
        (self.change)(filter_of(level))?;
        self.at.store(place_of(level), Ordering::Relaxed);
        Ok(())
    }
}

/// The producers' end: makes a writer for each event.
#[derive(Clone)]
struct Lines {
    channel: Sender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Lines {
    /// Takes one whole line: the formatter writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.channel.try_send(line.to_vec()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start_writer(
    output: impl Write + Send + 'static,
    lines_max: usize,
    flush_timeout: Duration,
) -> io::Result<(Lines, LogGuard)> {
    let (channel, waiting) = bounded(lines_max);
    let (stop, stopped) = bounded(0);
    let (finish, done) = bounded(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        channel,
        dropped: Arc::clone(&dropped),
    };
    let write = move || {
        write_lines(output, &waiting, &stopped, &dropped);
        let _ = finish.send(());
    };
    let writer = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(write)?;
    let guard = LogGuard {
        stop: Some(stop),
        done,
        writer: Some(writer),
        flush_timeout,
        control: Arc::new(Level {
            at: AtomicU8::new(place_of(LogLevel::Info)),
            change: Box::new(|_| Err("the log has not been started".to_owned())),
        }),
    };
    Ok((lines, guard))
}

/// The writer's thread: until the guard goes, then what still waits.
fn write_lines(
    mut output: impl Write,
    waiting: &Receiver<Vec<u8>>,
    stopped: &Receiver<()>,
    dropped: &AtomicU64,
) {
    loop {
        select! {
            recv(waiting) -> line => match line {
                Ok(line) => write_batch(&mut output, &line, waiting, dropped),
                Err(_) => return,
            },
            recv(stopped) -> _ => {
                write_batch(&mut output, &[], waiting, dropped);
                return;
            }
        }
    }
}

/// One line and everything that came meanwhile, then a flush. An error of the output is not reported:
/// there is nowhere left to report to.
fn write_batch(
    output: &mut impl Write,
    first: &[u8],
    waiting: &Receiver<Vec<u8>>,
    dropped: &AtomicU64,
) {
    let _ = output.write_all(first);
    // At most one channel's worth, so that the count below is reported under a flood as well.
    for line in waiting
        .try_iter()
        .take(waiting.capacity().unwrap_or(LINES_MAX))
    {
        let _ = output.write_all(&line);
    }
    let lost = dropped.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let _ = writeln!(
            output,
            "{lost} log lines dropped: they came faster than they could be written"
        );
    }
    let _ = output.flush();
}

/// One JSON object a line: `ts`, `level`, `target`, `msg`, and the event's fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut object = JsonFields::default();
        let metadata = event.metadata();
        object.put("ts", time.into());
        object.put(
            "level",
            metadata.level().as_str().to_ascii_lowercase().into(),
        );
        object.put("target", metadata.target().into());
        event.record(&mut object);
        writeln!(writer, "{}", serde_json::Value::Object(object.0))
    }
}

#[derive(Default)]
struct JsonFields(serde_json::Map<String, serde_json::Value>);

impl JsonFields {
    fn put(&mut self, name: &str, value: serde_json::Value) {
        let name = if name == "message" { "msg" } else { name };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }
}

/// Holds back messages of one kind that clients can cause: `burst` at once, `per_second` after that.
/// Owned by one core, which tells it the time.
#[derive(Debug, Clone)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
    /// Thousandths of a message that may pass now.
    credit_milli: u64,
    refilled_ms: u64,
    suppressed: u64,
}

impl RateLimit {
    /// A limit that lets `burst` messages through at once. Both are at least 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        assert!(
            per_second > 0 && burst > 0,
            "a rate limit of nothing would hide every message"
        );
        Self {
            per_second,
            burst,
            credit_milli: u64::from(burst) * 1000,
            refilled_ms: 0,
            suppressed: 0,
        }
    }

    /// Whether a message may be logged at `now_ms` (of any clock that does not go back). `Some`
    /// holds how many were held back since the last one; when not 0, say `suppressed N more`.
    pub fn admit(&mut self, now_ms: u64) -> Option<u64> {
        let passed_ms = now_ms.saturating_sub(self.refilled_ms);
        let earned = passed_ms.saturating_mul(u64::from(self.per_second));
        let full = u64::from(self.burst) * 1000;
        self.credit_milli = self.credit_milli.saturating_add(earned).min(full);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        match self.credit_milli.checked_sub(1000) {
            Some(rest) => {
                self.credit_milli = rest;
                Some(self.take_suppressed())
            }
            None => {
                self.suppressed += 1;
                None
            }
        }
    }

    /// How many were held back and not yet told of; for a line now and then when nothing follows.
    pub fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test machine stalls.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// An output whose bytes the test receives; it waits for a permit before each write when it has
    /// a gate.
    struct Spy {
        written: Sender<Vec<u8>>,
        gate: Option<Receiver<()>>,
    }

    impl Write for Spy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn spy(gate: Option<Receiver<()>>) -> (Spy, Receiver<Vec<u8>>) {
        let (written, seen) = crossbeam_channel::unbounded();
        (Spy { written, gate }, seen)
    }

    fn text(seen: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(seen.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn lines_are_written_in_order_before_the_guard_is_gone() {
        let (output, seen) = spy(None);
        let (lines, guard) = start_writer(output, 1000, PATIENCE).unwrap();
        let want: Vec<String> = (0..1000).map(|number| format!("{number}\n")).collect();
        for line in &want {
            (&mut &lines).write_all(line.as_bytes()).unwrap();
        }
        drop(guard);
        assert_eq!(text(&seen), want.concat());
    }

    #[test]
    fn a_full_channel_drops_and_counts() {
        let (open, gate) = bounded(0);
        let (output, seen) = spy(Some(gate));
        let (lines, guard) = start_writer(output, 2, PATIENCE).unwrap();
        for _ in 0..20 {
            assert_eq!((&mut &lines).write(b"line\n").unwrap(), 5);
        }
        // The writer holds at most one line, the channel two: the rest was dropped at once.
        let lost = lines.dropped.load(Ordering::Relaxed);
        assert!((17..=18).contains(&lost), "{lost}");
        drop(open);
        drop(guard);
        let want =
            format!("{lost} log lines dropped: they came faster than they could be written\n");
        let got = text(&seen);
        assert_eq!(got.matches("line\n").count() as u64, 20 - lost);
        assert!(got.contains(&want), "{got}");
    }

    #[test]
    fn another_level_is_in_force_once_it_could_be_put_in_place() {
        let level = Level {
            at: AtomicU8::new(place_of(LogLevel::Info)),
            change: Box::new(|filter| match filter {
                LevelFilter::TRACE => Err("no".to_owned()),
                _ => Ok(()),
            }),
        };
        assert_eq!(level.level(), LogLevel::Info);
        level.set_level(LogLevel::Debug).unwrap();
        assert_eq!(level.level(), LogLevel::Debug);
        level.set_level(LogLevel::Trace).unwrap_err();
        assert_eq!(level.level(), LogLevel::Debug);
        for (level, filter) in LEVELS {
            assert_eq!(filter_of(level), filter);
        }
    }

    #[test]
    fn json_lines_are_objects() {
        let (output, seen) = spy(None);
        let (lines, guard) = start_writer(output, 16, PATIENCE).unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines)
            .event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(client_id = "a\"b", count = 3, open = true, "refused {}", 1);
        });
        drop(guard);
        let object: serde_json::Value = serde_json::from_str(&text(&seen)).unwrap();
        assert_eq!(object["msg"], "refused 1");
        assert_eq!(object["level"], "warn");
        assert_eq!(object["client_id"], "a\"b");
        assert_eq!(object["count"], 3);
        assert_eq!(object["open"], true);
        assert!(object["ts"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_rate_limit_lets_a_burst_through_then_its_rate() {
        let mut limit = RateLimit::new(2, 3);
        let admitted: Vec<_> = (0..5).map(|_| limit.admit(10_000)).collect();
        assert_eq!(admitted, [Some(0), Some(0), Some(0), None, None]);
        assert_eq!(limit.admit(10_499), None);
        assert_eq!(limit.admit(10_500), Some(3));
        assert_eq!(limit.admit(10_500), None);
        assert_eq!(limit.take_suppressed(), 1);
        // Idle for long earns the burst, no more; a clock that went back earns nothing.
        let admitted: Vec<_> = (0..4).map(|_| limit.admit(9_000_000)).collect();
        assert_eq!(admitted, [Some(0), Some(0), Some(0), None]);
        assert_eq!(limit.admit(0), None);
        assert_eq!(limit.admit(u64::MAX), Some(2));
    }
}
