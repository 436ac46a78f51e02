//! `broker start`, `stop`, `restart`: a broker in the background, for those who have no service manager.
//!
//! Whether one runs is told by the lock of its data directory, which goes with the process; which
//! process it is, by `broker.pid` beside it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::boot::data_dir::DataDir;
use crate::boot::{Refusal, load, sys};
use crate::cli::Arguments;
use crate::ctl;

/// The file with the number of the process.
const PID_FILE: &str = "broker.pid";
/// What a broker in the background says.
const LOG_FILE: &str = "broker.log";
/// Bytes of it that are shown when the start fails.
const LOG_SHOWN: usize = 4096;
/// How often is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a start may take.
const START_LOOKS_MAX: usize = 1200;
/// How long an end may take beyond `node.shutdown_timeout`, whose greatest value is an hour.
const STOP_LOOKS_MAX: usize = 73_200;

/// Writes down which process has the directory; it is this one. Without it `broker stop` says that it
/// does not know whom to tell, so a failure is no reason not to start.
pub(super) fn note_process(data_dir: &Path) {
    if let Err(error) = fs::write(data_dir.join(PID_FILE), format!("{}\n", std::process::id())) {
        tracing::warn!(%error, "{PID_FILE} cannot be written");
    }
}

/// Whether a broker has the directory.
fn is_running(data_dir: &Path) -> bool {
    data_dir.exists() && DataDir::examine(data_dir).is_err()
}

fn pause() {
    crossbeam_channel::after(LOOK_EVERY).recv().ok();
}

/// Starts this program again in the background, with the same words but for `verb`, and waits until
/// clients can connect.
///
/// # Errors
/// One runs already, or why it does not start.
pub fn start(arguments: &Arguments, verb: &str) -> Result<String, Refusal> {
    let data_dir = load::data_dir(arguments)?;
    let shown = data_dir.display();
    let refused = |what: &str, error: std::io::Error| Refusal::from(format!("{what}: {error}"));
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data_dir);
    made.map_err(|error| refused(&format!("the data directory {shown} cannot be made"), error))?;
    if is_running(&data_dir) {
        return Err(format!("a broker runs with the data directory {shown} already").into());
    }
    let log_path = data_dir.join(LOG_FILE);
    let mut open = OpenOptions::new();
    let log = open.create(true).append(true).mode(0o600).open(&log_path);
    let log =
        log.map_err(|error| refused(&format!("{} cannot be written", log_path.display()), error))?;
    let began = log.metadata().map_or(0, |data| data.len());
    let mut child =
        spawn(verb, log).map_err(|error| refused("the broker cannot be started", error))?;
    for _ in 0..START_LOOKS_MAX {
        if let Ok(Some(_)) = child.try_wait() {
            let said = said_since(&log_path, began);
            return Err(format!("the broker has not started; it said:\n{said}").into());
        }
        let ready = ctl::run(
            &data_dir,
            &["status".to_owned()],
            true,
            &mut std::io::sink(),
        );
        if ready.is_ok() {
            let (pid, log) = (child.id(), log_path.display());
            return Ok(format!(
                "millrace is started (process {pid}); its log is {log}"
            ));
        }
        pause();
    }
    Err("the broker does not become ready; see its log"
        .to_owned()
        .into())
}

/// The same program with the same words, in a group of its own, so that what ends the terminal's
/// programs does not end it.
fn spawn(verb: &str, log: File) -> std::io::Result<Child> {
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(at) = words.iter().rposition(|word| word == verb) {
        words[at] = "console".into();
    }
    Command::new(std::env::current_exe()?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// The end of what was logged behind a place.
fn said_since(path: &Path, began: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let began = usize::try_from(began).unwrap_or(usize::MAX);
    let own = bytes.get(began..).unwrap_or_default();
    let shown = own
        .get(own.len().saturating_sub(LOG_SHOWN)..)
        .unwrap_or_default();
    String::from_utf8_lossy(shown).trim_end().to_owned()
}

/// Ends the broker of the data directory in order, and waits for it.
///
/// # Errors
/// None runs, or it does not end.
pub fn stop(arguments: &Arguments) -> Result<String, Refusal> {
    let data_dir = load::data_dir(arguments)?;
    let shown = data_dir.display();
    if !is_running(&data_dir) {
        return Err(format!("no broker runs with the data directory {shown}").into());
    }
    let path = data_dir.join(PID_FILE);
    let pid = fs::read_to_string(&path).ok();
    let pid: Option<i32> = pid.and_then(|pid| pid.trim().parse().ok());
    let pid = pid.filter(|pid| *pid > 1).ok_or_else(|| {
        format!(
            "{} does not say which process it is; end it with SIGTERM",
            path.display()
        )
    })?;
    sys::terminate(pid)
        .map_err(|error| Refusal::from(format!("process {pid} cannot be told to end: {error}")))?;
    for _ in 0..STOP_LOOKS_MAX {
        if !is_running(&data_dir) {
            return Ok("millrace is stopped".to_owned());
        }
        pause();
    }
    Err(format!("process {pid} does not end").into())
}

/// Both; one that does not run is started.
///
/// # Errors
/// As those.
pub fn restart(arguments: &Arguments) -> Result<String, Refusal> {
    if is_running(&load::data_dir(arguments)?) {
        stop(arguments)?;
    }
    start(arguments, "restart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_tells_whether_one_runs() {
        let dir = std::env::temp_dir().join(format!("millrace-service-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        assert!(!is_running(&dir));
        let held = DataDir::open(&dir).unwrap();
        note_process(&dir);
        assert!(is_running(&dir));
        let pid = fs::read_to_string(dir.join(PID_FILE)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        drop(held);
        assert!(!is_running(&dir));
        fs::write(dir.join(LOG_FILE), "before\nafter\n").unwrap();
        assert_eq!(said_since(&dir.join(LOG_FILE), 7), "after");
        assert_eq!(said_since(&dir.join(LOG_FILE), 700), "");
        fs::remove_dir_all(&dir).unwrap();
    }
}
