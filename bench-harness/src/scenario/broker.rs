//! The broker of a scenario: started for it, or found; asked for its tables; ended.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::RunArgs;
use super::file::BrokerNeeds;
use crate::failure::{Context, Failure};
use crate::probe::Probe;
use crate::sys;

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an orderly end may take: a million connections have to be closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// How much of what a dead broker said is told.
const LAST_WORDS_BYTES: usize = 2000;

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) target: String,
    pub(crate) pid: Option<u32>,
    pub(crate) name: String,
    /// What was started, or nothing.
    pub(crate) command: String,
    /// It prints its tables on SIGUSR1, which would end another one.
    can_report: bool,
    child: Option<Child>,
    folder: Option<PathBuf>,
    /// Where it prints its reports, and how much of that has been read.
    err: Option<PathBuf>,
    read: u64,
}

impl Broker {
    /// Starts the broker of a scenario, or finds the one that is named.
    pub(crate) fn new(args: &RunArgs, needs: &BrokerNeeds) -> Result<Self, Failure> {
        if let Some(target) = &args.target {
            return Self::found(args, target);
        }
        let folder = std::env::temp_dir().join(format!(
            "bench-harness-{}-{}",
            std::process::id(),
            crate::load::random_u32()
        ));
        fs::create_dir_all(&folder).context(format!("cannot make {}", folder.display()))?;
        let port = free_port()?;
        let words = command(args, needs, port, &folder);
        let mut broker = Self {
            target: format!("127.0.0.1:{port}"),
            pid: None,
            name: name(args, &words),
            command: words.join(" "),
            can_report: args.broker_command.is_none(),
            child: None,
            err: Some(folder.join("err")),
            folder: Some(folder),
            read: 0,
        };
        broker.start(&words, port)?;
        Ok(broker)
    }

    fn found(args: &RunArgs, target: &str) -> Result<Self, Failure> {
        use std::net::ToSocketAddrs;
        let address = target
            .to_socket_addrs()
            .context(format!("cannot resolve the target {target}"))?
            .next()
            .ok_or_else(|| Failure::Usage(format!("cannot resolve the target {target}")))?;
        let pid = Probe::find(args.broker_pid, &address).map(|probe| probe.pid);
        let mut broker = Self {
            target: target.to_owned(),
            pid,
            name: args.broker_name.clone().unwrap_or_default(),
            command: String::new(),
            can_report: args.broker_err.is_some(),
            child: None,
            folder: None,
            err: args.broker_err.clone(),
            read: 0,
        };
        broker.skip_what_was_said();
        Ok(broker)
    }

    fn start(&mut self, words: &[String], port: u16) -> Result<(), Failure> {
        let folder = self.folder.clone().unwrap_or_default();
        let file = |name: &str| {
            File::create(folder.join(name)).context(format!("cannot write in {}", folder.display()))
        };
        let child = Command::new(&words[0])
            .args(&words[1..])
            // A Ctrl-C is for the harness, which ends it then.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()
            .context(format!("cannot start {}", words[0]))?;
        self.pid = Some(child.id());
        self.child = Some(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if !self.is_alive() || Instant::now() > deadline {
                return Err(Failure::Broker(format!(
                    "the broker did not start: {}",
                    self.last_words()
                )));
            }
            thread::sleep(POLL);
        }
        self.skip_what_was_said();
        Ok(())
    }

    pub(crate) fn probe(&self) -> Option<Probe> {
        self.pid.map(|pid| Probe { pid })
    }

    /// False when what was started has ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => true,
        }
    }

    fn skip_what_was_said(&mut self) {
        let length = self.err.as_ref().and_then(|path| fs::metadata(path).ok());
        self.read = length.map_or(0, |data| data.len());
    }

    /// Asks for a report; [`Self::take_report`] has it a moment later. False when it has none.
    pub(crate) fn ask_for_report(&self) -> bool {
        self.pid
            .is_some_and(|pid| self.can_report && sys::send_signal(pid, libc::SIGUSR1).is_ok())
    }

    /// The last whole report since the last call.
    pub(crate) fn take_report(&mut self) -> Option<Value> {
        let mut file = File::open(self.err.as_ref()?).ok()?;
        file.seek(SeekFrom::Start(self.read)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
        self.read += end as u64;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let report = text.lines().rev().find(|line| line.starts_with('{'))?;
        serde_json::from_str(report).ok()
    }

    /// Asks and waits; none when there is no answer in time.
    pub(crate) fn report(&mut self) -> Option<Value> {
        if !self.ask_for_report() {
            return None;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            thread::sleep(POLL);
            if let Some(report) = self.take_report() {
                return Some(report);
            }
        }
        None
    }

    /// The end of what it said on standard error.
    pub(crate) fn last_words(&self) -> String {
        let bytes = self.err.as_ref().and_then(|path| fs::read(path).ok());
        let bytes = bytes.unwrap_or_default();
        let from = bytes.len().saturating_sub(LAST_WORDS_BYTES);
        String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
    }

    /// Ends what was started; says how when it did not end in order.
    pub(crate) fn stop(&mut self) -> Option<String> {
        let mut child = self.child.take()?;
        if let Ok(Some(status)) = child.try_wait() {
            return Some(format!("it had ended ({status}): {}", self.last_words()));
        }
        drop(sys::send_signal(child.id(), libc::SIGTERM));
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                let words = self.last_words();
                return (!status.success()).then(|| format!("it ended with {status}: {words}"));
            }
            thread::sleep(POLL);
        }
        drop(child.kill());
        drop(child.wait());
        Some(format!(
            "it did not end within {} s",
            STOP_TIMEOUT.as_secs()
        ))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
        if let Some(folder) = &self.folder {
            drop(fs::remove_dir_all(folder));
        }
    }
}

fn name(args: &RunArgs, words: &[String]) -> String {
    let program = Path::new(&words[0]).file_name();
    let program = program.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match (&args.broker_name, &args.broker_command) {
        (Some(name), _) => name.clone(),
        (None, None) => "millrace".to_owned(),
        (None, Some(_)) => program,
    }
}

/// The words of the command that starts the broker.
fn command(args: &RunArgs, needs: &BrokerNeeds, port: u16, folder: &Path) -> Vec<String> {
    let cores = args.cores.unwrap_or(needs.cores).to_string();
    let folder = folder.display().to_string();
    if let Some(command) = &args.broker_command {
        let fill = |word: &str| {
            word.replace("{port}", &port.to_string())
                .replace("{cores}", &cores)
                .replace("{dir}", &folder)
        };
        return command.split_whitespace().map(fill).collect();
    }
    let mut words = vec![
        args.broker.display().to_string(),
        "--cores".to_owned(),
        cores,
    ];
    words.extend(["--listen".to_owned(), format!("tcp://127.0.0.1:{port}")]);
    words.extend(["--data-dir".to_owned(), format!("{folder}/data")]);
    words.extend(["--set".to_owned(), "http.listen=off".to_owned()]);
    for setting in needs.settings.iter().chain(&args.broker_settings) {
        words.extend(["--set".to_owned(), setting.clone()]);
    }
    words
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    let address = listener.local_addr().context("cannot find a free port")?;
    Ok(address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(line: &str) -> RunArgs {
        let words = ["bench-harness", "run", "s.json"];
        let words = words.into_iter().chain(line.split_whitespace());
        match crate::cli::Cli::parse_from(words).command {
            crate::cli::Command::Run(args) => args,
            _ => unreachable!("the line says run"),
        }
    }

    #[test]
    fn a_command_gets_its_port_and_folder() {
        let needs = BrokerNeeds {
            cores: 7,
            settings: vec!["a.b=1".to_owned()],
        };
        let mut given = args("");
        given.broker_command = Some("peer -p {port} -n {cores} {dir}/conf".to_owned());
        let words = command(&given, &needs, 99, Path::new("/x"));
        assert_eq!(words, ["peer", "-p", "99", "-n", "7", "/x/conf"]);
        let words = command(&args("--cores 3"), &needs, 99, Path::new("/x")).join(" ");
        assert!(
            words.contains("--cores 3 --listen tcp://127.0.0.1:99"),
            "{words}"
        );
        assert!(words.ends_with("--set a.b=1"), "{words}");
    }

    #[test]
    fn a_program_that_ends_is_no_broker() {
        let mut given = args("");
        given.broker_command = Some("false".to_owned());
        let error = Broker::new(&given, &BrokerNeeds::default()).unwrap_err();
        assert!(error.to_string().contains("did not start"), "{error}");
    }

    #[test]
    fn reports_are_whole_lines() {
        let path = std::env::temp_dir().join(format!("bench-report-{}", std::process::id()));
        fs::write(&path, "before\n").unwrap();
        let mut broker = Broker {
            target: String::new(),
            pid: None,
            name: String::new(),
            command: String::new(),
            can_report: true,
            child: None,
            folder: None,
            err: Some(path.clone()),
            read: 7,
        };
        assert_eq!(broker.take_report(), None);
        fs::write(&path, "before\nlog\n{\"a\":1}\n{\"b\"").unwrap();
        assert_eq!(broker.take_report(), Some(serde_json::json!({"a": 1})));
        fs::write(&path, "before\nlog\n{\"a\":1}\n{\"b\":2}\n").unwrap();
        assert_eq!(broker.take_report(), Some(serde_json::json!({"b": 2})));
        fs::remove_file(path).unwrap();
    }
}
