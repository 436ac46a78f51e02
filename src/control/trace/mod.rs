//! Traces: which there are, when they begin and end, and who writes what cores tell of them.
//!
//! A trace is a record that is kept over restarts ([`record`]) and, while it runs, a rule that cores go
//! by and a file ([`sink`]) whose lines are made in [`mod@line`]. One thread writes; the tasks of the API
//! change records and tell the cores.

pub mod line;
pub mod record;
pub mod sink;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::cores::Unanswered;
use crate::control::state::StateError;
use crate::gate::manage::{Look, Manage};
use crate::gate::port::Gate;
use crate::gate::trace::{TraceRule, TraceRules, Traced};

use record::{Status, TraceRecord};
use sink::Sink;

/// How often it is looked whether a trace begins or ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The folder of the files in the data directory.
const FOLDER: &str = "trace";
/// Events that are written before the files are flushed.
const BATCH_MAX: usize = 4096;

/// Why a trace cannot be made or changed.
#[derive(Debug)]
pub enum TraceError {
    /// There is one of that name.
    Exists,
    /// Another that has not ended looks for the same.
    Duplicate(String),
    /// There are as many as there may be.
    TooMany(usize),
    /// There is none of that name.
    Unknown,
    /// Its file cannot be written.
    File(String),
    /// It cannot be kept.
    State(StateError),
    /// A core does not answer.
    Unanswered,
}

impl From<StateError> for TraceError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<Unanswered> for TraceError {
    fn from(_: Unanswered) -> Self {
        Self::Unanswered
    }
}

/// A trace that runs, or has just ended.
struct Running {
    rule: Arc<TraceRule>,
    sink: Arc<Sink>,
    /// Cores were told that it has ended; what they had told before is still written.
    ended: bool,
}

/// All traces of the broker.
pub struct Traces {
    folder: PathBuf,
    next_id: AtomicU32,
    running: Mutex<BTreeMap<String, Running>>,
    /// Held while records change and cores are told.
    change: tokio::sync::Mutex<()>,
    poke: Sender<()>,
    poked: Receiver<()>,
}

impl Traces {
    /// With their files below this directory.
    pub fn new(data_dir: &Path) -> Self {
        let (poke, poked) = bounded(1);
        Self {
            folder: data_dir.join(FOLDER),
            next_id: AtomicU32::new(1),
            running: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            poke,
            poked,
        }
    }

    /// The file of a trace.
    pub fn path(&self, record: &TraceRecord) -> PathBuf {
        self.folder.join(&record.file)
    }

    /// Bytes of the file of a trace, and when it was last written, seconds of UNIX time.
    pub fn file(&self, record: &TraceRecord) -> (u64, u64) {
        let Ok(about) = std::fs::metadata(self.path(record)) else {
            return (0, record.start_s);
        };
        let since = about
            .modified()
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        (about.len(), since.map_or(record.start_s, |s| s.as_secs()))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks(&self, ids: &[u32]) -> Vec<Arc<Sink>> {
        let running = self.running();
        let named = running.values().filter(|one| ids.contains(&one.rule.id));
        named.map(|one| Arc::clone(&one.sink)).collect()
    }

    /// Says in the files what was lost, and writes out what lies in memory.
    fn flush(&self) {
        let all: Vec<(Arc<TraceRule>, Arc<Sink>)> = self
            .running()
            .values()
            .map(|one| (Arc::clone(&one.rule), Arc::clone(&one.sink)))
            .collect();
        for (rule, sink) in all {
            sink.lost(rule.take_lost(), clock::unix_ms() * 1000);
            sink.flush();
        }
    }

    fn poke(&self) {
        match self.poke.try_send(()) {
            // One that waits is as good as two.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Takes up the traces that were kept, and writes from now on. Call it within the runtime, before clients
/// can connect.
///
/// # Errors
/// A sentence for the user.
pub async fn start(context: &Arc<Context>) -> Result<(), String> {
    let (writer, gate) = (Arc::clone(context), context.cores.gate().clone());
    thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || write(&writer.traces, &gate))
        .map_err(|error| format!("no thread for traces: {error}"))?;
    if !context.state.traces.is_empty() {
        look(context).await;
    }
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            if !context.traces.running().is_empty() || has_some_to_come(&context) {
                look(&context).await;
                context.traces.poke();
            }
        }
    });
    Ok(())
}

fn has_some_to_come(context: &Context) -> bool {
    let now_s = clock::unix_s();
    context.state.traces.read(|all| {
        let mut all = all.values();
        all.any(|record| record.status(now_s) != Status::Stopped)
    })
}

async fn look(context: &Context) {
    let _guard = context.traces.change.lock().await;
    if let Err(error) = apply(context).await {
        tracing::error!("traces: {error:?}");
    }
}

/// What cores tell, into the files, until they have ended.
fn write(traces: &Traces, gate: &Gate) {
    let one = |traced: Box<Traced>| {
        gate.took_traced(&traced);
        for sink in traces.sinks(&traced.traces) {
            sink.write(&traced);
        }
    };
    loop {
        select! {
            recv(gate.traced()) -> first => {
                let Ok(first) = first else {
                    return traces.flush();
                };
                one(first);
                gate.traced().try_iter().take(BATCH_MAX).for_each(one);
            }
            recv(traces.poked) -> _ => {}
        }
        traces.flush();
    }
}

/// Starts what begins, ends what is over, and tells the cores if anything has changed.
async fn apply(context: &Context) -> Result<(), TraceError> {
    let traces = &context.traces;
    let mut changed = end_what_is_over(context)?;
    let now_s = clock::unix_s();
    for (name, record) in context.state.traces.all() {
        let there = traces.running().contains_key(&name);
        if record.status(now_s) == Status::Running && !there {
            let begun = begin(context, &record);
            if begun.is_err() {
                stop_record(context, &name)?;
            }
            begun?;
            changed = true;
        }
    }
    if changed { tell(context).await } else { Ok(()) }
}

/// Notes which have ended, and lets go of those that had ended before. Says whether one has.
fn end_what_is_over(context: &Context) -> Result<bool, TraceError> {
    let now_s = clock::unix_s();
    let mut full = Vec::new();
    let mut changed = false;
    context.traces.running().retain(|name, one| {
        if one.ended {
            return false;
        }
        if one.sink.is_full() {
            full.push(name.clone());
        }
        let record = context.state.traces.get(name);
        let goes_on = record.is_some_and(|record| record.status(now_s) == Status::Running);
        one.ended = !goes_on || one.sink.is_full();
        changed |= one.ended;
        true
    });
    for name in full {
        stop_record(context, &name)?;
    }
    Ok(changed)
}

fn begin(context: &Context, record: &TraceRecord) -> Result<(), TraceError> {
    let traces = &context.traces;
    let most = context.config.observe.trace.max_file_size;
    let path = traces.path(record);
    let opened = std::fs::create_dir_all(&traces.folder)
        .and_then(|()| Sink::open(&path, record.style(), most));
    let sink = opened.map_err(|error| TraceError::File(format!("{}: {error}", path.display())))?;
    let id = traces.next_id.fetch_add(1, Ordering::Relaxed);
    let by = record
        .by()
        .ok_or_else(|| TraceError::File("nobody is named".to_owned()))?;
    let limit = record.payload_limit as usize;
    let one = Running {
        rule: Arc::new(TraceRule::new(id, by, limit)),
        sink: Arc::new(sink),
        ended: false,
    };
    traces.running().insert(record.name.clone(), one);
    Ok(())
}

/// Tells all cores what is traced, and waits until they know.
async fn tell(context: &Context) -> Result<(), TraceError> {
    let rules: TraceRules = {
        let running = context.traces.running();
        let running = running.values().filter(|one| !one.ended);
        running.map(|one| Arc::clone(&one.rule)).collect()
    };
    for core in 0..context.cores.count() {
        let rules = Arc::clone(&rules);
        let at = Look::Traces(rules);
        context
            .cores
            .ask(CoreId(core), |reply| Manage::Look { at, reply })
            .await?;
    }
    Ok(())
}

fn stop_record(context: &Context, name: &str) -> Result<(), TraceError> {
    if let Some(mut record) = context.state.traces.get(name) {
        record.stopped = true;
        record.end_s = record.end_s.min(clock::unix_s());
        context.state.traces.put(name, record)?;
    }
    Ok(())
}

/// Makes a trace; it runs at once if its time has come.
///
/// # Errors
/// Why there is none.
pub async fn create(context: &Context, record: TraceRecord) -> Result<(), TraceError> {
    let _guard = context.traces.change.lock().await;
    let most = usize::from(context.config.observe.trace.max_traces);
    let now_s = clock::unix_s();
    let all = context.state.traces.all();
    if all.iter().any(|(name, _)| *name == record.name) {
        return Err(TraceError::Exists);
    }
    let same = all.iter().find(|(_, other)| {
        let ended = other.status(now_s) == Status::Stopped;
        !ended && (other.kind, &other.of) == (record.kind, &record.of)
    });
    if let Some((name, _)) = same {
        return Err(TraceError::Duplicate(name.clone()));
    }
    if all.len() >= most {
        return Err(TraceError::TooMany(most));
    }
    let name = record.name.clone();
    context.state.traces.put(&name, record)?;
    let applied = apply(context).await;
    if applied.is_err() {
        context.state.traces.remove(&name)?;
    }
    applied
}

/// Ends a trace; its file stays.
///
/// # Errors
/// There is none, or a core does not answer.
pub async fn stop(context: &Context, name: &str) -> Result<TraceRecord, TraceError> {
    let _guard = context.traces.change.lock().await;
    let record = context.state.traces.get(name);
    let record = record.ok_or(TraceError::Unknown)?;
    if record.status(clock::unix_s()) != Status::Stopped {
        stop_record(context, name)?;
        apply(context).await?;
        context.traces.poke();
    }
    Ok(context.state.traces.get(name).unwrap_or(record))
}

/// Forgets a trace and its file.
///
/// # Errors
/// There is none, or a core does not answer.
pub async fn delete(context: &Context, name: &str) -> Result<(), TraceError> {
    let _guard = context.traces.change.lock().await;
    let removed = context.state.traces.remove(name)?;
    let record = removed.ok_or(TraceError::Unknown)?;
    forget(context, std::slice::from_ref(&record)).await
}

/// Forgets all traces and their files.
///
/// # Errors
/// A core does not answer.
pub async fn delete_all(context: &Context) -> Result<(), TraceError> {
    let _guard = context.traces.change.lock().await;
    let records = context.state.traces.clear()?;
    forget(context, &records).await
}

async fn forget(context: &Context, records: &[TraceRecord]) -> Result<(), TraceError> {
    apply(context).await?;
    for record in records {
        context.traces.running().remove(&record.name);
        let others = context.state.traces.all();
        // Two traces may have written to one file, one after the other.
        if !others.iter().any(|(_, other)| other.file == record.file) {
            // It is not there if the trace has never begun.
            let _ = std::fs::remove_file(context.traces.path(record));
        }
    }
    Ok(())
}
