//! Starts the real broker for a test and ends it with the test, whatever happens in between.
//!
//! Each broker has a scratch directory of its own and a port that the system chose. What it writes to
//! standard error is kept in that directory and shown when a test fails.
#![allow(dead_code)] // Each test binary uses its own part.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an orderly end may take: the default of `node.shutdown_timeout`, and time for a busy
/// machine.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a program that only says something may take.
const SAY_TIMEOUT: Duration = Duration::from_secs(20);
/// Many brokers run at once: none has an API at the usual port. `--set` says otherwise.
const HTTP_LISTEN: &str = "MILLRACE_HTTP__LISTEN";
const POLL: Duration = Duration::from_millis(5);

/// The program under test: the one Cargo built, or that of `BROKER_UNDER_TEST`.
pub fn program() -> PathBuf {
    std::env::var_os("BROKER_UNDER_TEST").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_broker")),
        PathBuf::from,
    )
}

/// A directory that goes with its value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty directory.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running broker; killed when the value goes.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where it listens, in the order of its listeners.
    pub addresses: Vec<SocketAddr>,
    /// The ids of its listeners.
    pub listening: Vec<String>,
    /// Where its HTTP API is: nowhere unless the arguments say otherwise.
    pub http: Option<SocketAddr>,
    /// Where EMQX 4's tools find it as well.
    pub http_v4: Option<SocketAddr>,
    scratch: Scratch,
}

impl Broker {
    /// A broker of so many cores on a port of its own.
    pub fn start(cores: u32) -> Self {
        Self::with(&["--cores", &cores.to_string()])
    }

    /// A broker with these arguments, on a port of its own unless they say `--listen`.
    pub fn with(arguments: &[&str]) -> Self {
        Self::try_with(arguments).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Like [`Self::with`]; the error says how the start failed.
    pub fn try_with(arguments: &[&str]) -> Result<Self, String> {
        let scratch = Scratch::new();
        let log = scratch.path("stderr");
        let mut command = Command::new(program());
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "tcp://127.0.0.1:0"]);
        }
        if !arguments.contains(&"--data-dir") {
            command.arg("--data-dir").arg(scratch.path("data"));
        }
        command.args(arguments);
        command.env(HTTP_LISTEN, "off");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let mut broker = Self {
            child,
            addresses: Vec::new(),
            listening: Vec::new(),
            http: None,
            http_v4: None,
            scratch,
        };
        broker.wait_until_ready(&lines)?;
        // Keeps reading, so that the broker never waits for its standard output.
        thread::spawn(move || for _ in lines {});
        Ok(broker)
    }

    fn wait_until_ready(&mut self, lines: &Receiver<String>) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("not ready in time; it said:\n{}", self.log()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.wait_at_most(SAY_TIMEOUT);
                    return Err(format!("ended with {status:?}; it said:\n{}", self.log()));
                }
            };
            if line == "ready" {
                assert!(!self.listening.is_empty(), "ready without a listener");
                return Ok(());
            }
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["listening", name, address] if name.contains(':') => {
                    self.listening.push((*name).to_owned());
                    match name.starts_with("unix:") {
                        true => assert!(address.starts_with('/'), "{line}"),
                        false => self.addresses.push(address.parse().unwrap()),
                    }
                }
                ["listening", "http", address] => self.http = Some(address.parse().unwrap()),
                ["listening", "http_v4", address] => {
                    self.http_v4 = Some(address.parse().unwrap());
                }
                _ => return Err(format!("an unknown line on standard output: {line}")),
            }
        }
    }

    /// Where the first listener is.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path("stderr")).unwrap_or_default()
    }

    /// Its scratch directory.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path("")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(status.success(), "{line}");
    }

    /// How it ended; `None` when it did not within `timeout`.
    pub fn wait_at_most(&mut self, timeout: Duration) -> Option<ExitStatus> {
        wait_at_most(&mut self.child, timeout)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and an end with exit code 0 within the deadline; returns what it logged.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        self.expect_orderly_end();
        self.log()
    }

    /// Waits for an end with exit code 0.
    pub fn expect_orderly_end(&mut self) {
        let status = self.wait_at_most(STOP_TIMEOUT);
        let status = status.unwrap_or_else(|| panic!("it did not end in time"));
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the broker (pid {}) said:\n{}", self.pid(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

fn wait_at_most(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// What a program said that ended by itself.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs the broker where it is expected to end by itself.
pub fn say(arguments: &[&str]) -> Said {
    run(Command::new(program()).args(arguments), SAY_TIMEOUT)
}

/// Runs a program that has to end within `timeout`; it is killed and the test fails if it does not.
pub fn run(command: &mut Command, timeout: Duration) -> Said {
    command.stdin(Stdio::null()).env(HTTP_LISTEN, "off");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let pid = child.id();
    let (send, receive) = channel();
    thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(timeout) {
        Ok(output) => said(&output.unwrap()),
        Err(_) => {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {pid}")])
                .status();
            let output = receive.recv_timeout(SAY_TIMEOUT).unwrap().unwrap();
            panic!(
                "{command:?} did not end in {timeout:?}: {:?}",
                said(&output)
            );
        }
    }
}

fn said(output: &Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A file of the source tree.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
