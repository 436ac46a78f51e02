//! A real server of a test; it ends with its value.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::broker::{Scratch, source};

/// Starts with other ports before it is given up.
const TRIES: usize = 2;

/// A server.
pub struct Server {
    name: &'static str,
    scratch: Scratch,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts the server of that name; see `server.sh`.
    pub fn start(name: &'static str) -> Self {
        Self::prepared(name, |_| ())
    }

    /// Starts it at the port where another has ended.
    pub fn at(name: &'static str, port: u16) -> Self {
        Self::begin(name, port, |_| ()).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts it after its directory was prepared. Another may take a port that was free, so there are
    /// several tries.
    pub fn prepared(name: &'static str, prepare: impl Fn(&Scratch)) -> Self {
        let mut tries = (0..TRIES).map(|_| Self::begin(name, free_ports(), &prepare));
        let started = tries.find(|started| started.is_ok());
        let again = || Self::begin(name, free_ports(), &prepare);
        let started = started.unwrap_or_else(again);
        started.unwrap_or_else(|why| panic!("{why}"))
    }

    fn begin(name: &'static str, port: u16, prepare: impl Fn(&Scratch)) -> Result<Self, String> {
        let scratch = Scratch::new();
        prepare(&scratch);
        let server = Self {
            name,
            scratch,
            port,
        };
        let output = server.script("start");
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(server),
            false => Err(format!("{name} cannot be started: {said}")),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn directory(&self) -> PathBuf {
        self.scratch.path("")
    }

    fn script(&self, verb: &str) -> Output {
        let script = source("bench-harness/tests/servers/server.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(self.name).arg(self.directory());
        command.args([&self.port.to_string(), verb]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.output().unwrap()
    }

    /// Runs a client's program, which has to succeed; returns what it says.
    pub fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script("stop");
    }
}

/// The first of three free ports in a row, with those 10,000 above (a cluster's bus) below 65,536.
fn free_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 55_000 {
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            let bus = (10_000..10_003).all(|offset| free(port + offset));
            if free(port + 1) && free(port + 2) && bus {
                return port;
            }
        }
    }
    panic!("no free ports");
}
