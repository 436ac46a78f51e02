//! The command line.
//!
//! Options that stand for a setting are read as that setting, so that they have its range, its
//! errors and its place in the order of sources. Sub-commands ask about a broker instead of being one.
//!
//! - [`mod@estimate`]: what a load will take
//! - [`mod@import`]: configurations of other brokers

pub mod estimate;
pub mod import;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config;
use estimate::Load;

/// Version and commit, such as `0.1.0 (1a2b3c4d5)`.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("MILLRACE_COMMIT"),
    ")"
);

/// The largest number of an estimate that is not an error of the keyboard.
const AMOUNT_MAX: f64 = 1e12;

/// What was said on the command line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--cores`.
    pub cores: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--listen`, in order.
    pub listen: Vec<String>,
    /// `--set`, in order.
    pub set: Vec<String>,
    /// What is to be done.
    pub task: Task,
    /// `--json`, of sub-commands.
    pub json: bool,
}

/// What the process is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Task {
    /// To be a broker.
    #[default]
    Run,
    /// `--check`: whether it could be one.
    Check,
    /// `ctl`: to tell one that runs what to do, in these words.
    Ctl(Vec<String>),
    /// `doctor`: to look at the machine.
    Doctor,
    /// `estimate`: to say what a load will take.
    Estimate(Load),
    /// `import`: to make a configuration of that of another broker.
    Import(import::Request),
    /// `start`: to be a broker in the background.
    Start,
    /// `stop`: to end the one that runs.
    Stop,
    /// `restart`: both.
    Restart,
}

impl Arguments {
    /// Of this process. Ends it after `--help` and `--version` (exit code 0) and when the usage is
    /// wrong (exit code 2).
    pub fn of_process() -> Self {
        Self::from(command().get_matches())
    }

    /// Of a given command line, whose first word is the program.
    pub fn parse<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        command().try_get_matches_from(words).map(Self::from)
    }

    /// Options that stand for one setting: option, setting, value.
    pub fn options(&self) -> Vec<(&'static str, &'static str, String)> {
        let cores = self
            .cores
            .iter()
            .map(|cores| ("--cores", "node.cores", cores.clone()));
        let data_dir = self
            .data_dir
            .iter()
            .map(|dir| ("--data-dir", "node.data_dir", dir.clone()));
        cores.chain(data_dir).collect()
    }
}

impl From<ArgMatches> for Arguments {
    fn from(mut matches: ArgMatches) -> Self {
        let mut json = false;
        let task = match matches.remove_subcommand() {
            Some((name, mut matches)) => {
                json = matches.get_flag("json");
                task_of(&name, &mut matches)
            }
            None if matches.get_flag("check") => Task::Check,
            None => Task::Run,
        };
        let mut many = |id: &str| {
            matches
                .remove_many(id)
                .map_or_else(Vec::new, Iterator::collect)
        };
        Self {
            listen: many("listen"),
            set: many("set"),
            config: matches.remove_one("config"),
            cores: matches.remove_one("cores"),
            data_dir: matches.remove_one("data-dir"),
            task,
            json,
        }
    }
}

fn task_of(name: &str, matches: &mut ArgMatches) -> Task {
    match name {
        "ctl" => Task::Ctl(
            matches
                .remove_many("words")
                .map_or_else(Vec::new, Iterator::collect),
        ),
        "doctor" => Task::Doctor,
        "import" => Task::Import(import_of(matches)),
        "console" => Task::Run,
        "ping" => Task::Ctl(vec!["ping".to_owned()]),
        "start" => Task::Start,
        "stop" => Task::Stop,
        "restart" => Task::Restart,
        _ => {
            let mut number = |id: &str| matches.remove_one(id).unwrap_or_default();
            Task::Estimate(Load {
                publish_rate: number("publish-rate"),
                deliveries: number("deliveries"),
                payload: number("payload"),
                tls_share: number("tls-share"),
                subscriptions: number("subscriptions"),
                connections: matches.remove_one("connections").unwrap_or_default(),
                qos: matches.remove_one("qos").unwrap_or_default(),
            })
        }
    }
}

fn import_of(matches: &mut ArgMatches) -> import::Request {
    let Some((from, mut matches)) = matches.remove_subcommand() else {
        return import::Request::default();
    };
    let from = match from.as_str() {
        "mosquitto" => import::From::Mosquitto,
        _ => import::From::Emqx,
    };
    let mut path = |id: &str| matches.try_remove_one::<PathBuf>(id).ok().flatten();
    import::Request {
        from,
        file: path("file").unwrap_or_default(),
        acl: path("acl"),
        plugins: path("plugins"),
        out: path("out").unwrap_or_default(),
        force: matches.get_flag("force"),
    }
}

/// The whole command line as clap wants it.
pub fn command() -> Command {
    Command::new("millrace")
        .bin_name("broker")
        .version(VERSION)
        .about("Millrace, an MQTT broker: one thread a core, io_uring, a million connections.")
        .long_about(
            "Millrace, an MQTT broker: one thread a core, io_uring, a million connections.\n\n\
             Without options it listens on 0.0.0.0:1883 and uses every CPU. Settings come from, in \
             rising precedence: defaults, the file of --config, changes made at run time, the \
             environment (MILLRACE_MQTT__MAX_PACKET_SIZE for mqtt.max_packet_size), --set, and the \
             other options.\n\n\
             Exit codes: 0; 1 for a failure while running, or a sub-command that was not done; 2 for \
             usage, configuration, or a machine that lacks something.",
        )
        .after_help("Use --help for the list of all settings.")
        .after_long_help(config::help())
        .args(options())
        .subcommands([ctl(), doctor(), estimate(), import()])
        .subcommands(service())
}

fn ctl() -> Command {
    Command::new("ctl")
        .about("Tell a running broker what to do: `ctl help` lists the commands")
        .long_about(
            "Tell a running broker what to do, over ctl.sock in its data directory (--data-dir, or \
             the configuration's). `ctl help` lists the commands. Write -- before a word that \
             begins with a dash.",
        )
        .arg(Arg::new("words").value_name("COMMAND").num_args(0..))
        .arg(json())
}

fn doctor() -> Command {
    Command::new("doctor")
        .about(
            "Look at the machine and say what should be changed; exit code 1 if a must is missing",
        )
        .arg(json())
}

fn estimate() -> Command {
    Command::new("estimate")
        .about("Say what a load will take: CPU, memory, open files, by measured figures")
        .arg(
            amount("connections", "N", "Clients connected at a time")
                .required(true)
                .value_parser(value_parser!(u64).range(0..=1_000_000_000)),
        )
        .arg(
            amount("publish-rate", "N", "Messages in, a second, of all clients").default_value("0"),
        )
        .arg(amount("deliveries", "N", "Subscribers that get each message").default_value("1"))
        .arg(amount("payload", "BYTES", "Bytes of a payload").default_value("100"))
        .arg(
            amount("qos", "QOS", "QoS of the messages: 0, 1 or 2")
                .default_value("0")
                .value_parser(value_parser!(u8).range(0..=2)),
        )
        .arg(amount("tls-share", "PERCENT", "Connections that are TLS").default_value("0"))
        .arg(amount("subscriptions", "N", "Subscriptions of each client").default_value("1"))
        .arg(json())
}

fn import() -> Command {
    let path = |name: &'static str, help: &'static str| {
        let option = Arg::new(name).long(name).value_name("PATH").help(help);
        option.value_parser(value_parser!(PathBuf))
    };
    let out = || path("out", "Write the configuration there").default_value("millrace.toml");
    let force = || {
        let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
        force.help("Replace files that are there")
    };
    let emqx = Command::new("emqx")
        .about("EMQX 4's emqx.conf")
        .arg(path("file", "Its emqx.conf").required(true))
        .arg(path(
            "acl",
            "Its acl.conf, which this broker reads as it is",
        ))
        .arg(path(
            "plugins",
            "The directory with its plugins' files (etc/plugins)",
        ))
        .args([out(), force()]);
    let mosquitto = Command::new("mosquitto")
        .about("mosquitto.conf, with the files of users and rules it names")
        .arg(path("file", "Its mosquitto.conf").required(true))
        .args([out(), force()]);
    Command::new("import")
        .about("Make a configuration of that of another broker")
        .long_about(
            "Make a configuration of that of another broker. Each line of it names the line it comes \
             from; what is not carried over stands at its top and on standard error, with file, line \
             and reason.\n\nExit codes: 0 if everything was carried over; 1 if something was not; 2 if \
             nothing was written.",
        )
        .subcommand_required(true)
        .subcommands([emqx, mosquitto])
        .arg(json().hide(true))
}

/// The words of EMQX's start script.
fn service() -> [Command; 5] {
    [
        (
            "console",
            "Run in the foreground, which is what happens without a command",
        ),
        (
            "start",
            "Run in the background; standard error goes to broker.log in the data directory",
        ),
        (
            "stop",
            "End the broker that runs with the data directory, in order",
        ),
        ("restart", "Both"),
        (
            "ping",
            "Say pong if a broker runs with the data directory; exit code 1 if not",
        ),
    ]
    .map(|(name, about)| Command::new(name).about(about).arg(json().hide(true)))
}

fn json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Answer in JSON")
}

/// An option that is a number from 0 on, unless another parser is set.
fn amount(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    let read = |text: &str| {
        let number: Option<f64> = text.parse().ok();
        let number = number.filter(|number| (0.0..=AMOUNT_MAX).contains(number));
        number.ok_or_else(|| format!("`{text}` is no number from 0 to {AMOUNT_MAX}"))
    };
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .value_parser(read)
}

fn options() -> [Arg; 6] {
    [
        option("config", "FILE", "Read settings from this TOML file")
            .short('c')
            .value_parser(value_parser!(PathBuf)),
        option(
            "cores",
            "N",
            "Run on this many cores [default: every CPU it may use]",
        )
        .long_help(
            "Run on this many cores: node.cores. Each is a pinned thread with its own share of \
                 the connections. The default is every CPU this process may use.",
        ),
        option(
            "listen",
            "KIND://ADDR:PORT",
            "Listen there instead of the default; repeatable",
        )
        .action(ArgAction::Append)
        .long_help(
            "Listen there instead of on the default listener, such as tcp://127.0.0.1:1883, \
                 tcp://[::1]:1883, or tcp://0.0.0.0:0 for any free port. Repeatable: the listeners \
                 are named default, default2, ... KIND is tcp (or mqtt).",
        ),
        option(
            "set",
            "KEY=VALUE",
            "Set one setting, such as mqtt.max_inflight=64; repeatable",
        )
        .action(ArgAction::Append),
        option(
            "data-dir",
            "DIR",
            "Keep data there: node.data_dir [default: ./data]",
        ),
        Arg::new("check")
            .long("check")
            .action(ArgAction::SetTrue)
            .help("Check configuration and machine, say what was found, and exit with 0 or 2"),
    ]
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .value_parser(NonEmptyStringValueParser::new())
        // Sub-commands need to find the same configuration.
        .global(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::parse(line.split(' '))
    }

    #[test]
    fn clap_finds_no_fault() {
        command().debug_assert();
    }

    #[test]
    fn every_option_is_read() {
        let line = "broker --config m.toml --cores 4 --listen tcp://:1 --listen tcp://:2 --set a=b \
                    --set c=d --data-dir /x --check";
        let arguments = parse(line).unwrap();
        let want = Arguments {
            config: Some(PathBuf::from("m.toml")),
            cores: Some("4".to_owned()),
            data_dir: Some("/x".to_owned()),
            listen: vec!["tcp://:1".to_owned(), "tcp://:2".to_owned()],
            set: vec!["a=b".to_owned(), "c=d".to_owned()],
            task: Task::Check,
            json: false,
        };
        assert_eq!(arguments, want);
        let options = [
            ("--cores", "node.cores", "4".to_owned()),
            ("--data-dir", "node.data_dir", "/x".to_owned()),
        ];
        assert_eq!(arguments.options(), options);
        assert_eq!(parse("broker").unwrap(), Arguments::default());
    }

    #[test]
    fn sub_commands_have_words_and_options() {
        let arguments = parse("broker ctl --data-dir /x clients kick c1 --json").unwrap();
        let words = ["clients", "kick", "c1"].map(str::to_owned).to_vec();
        assert_eq!(arguments.task, Task::Ctl(words));
        assert_eq!(arguments.data_dir.as_deref(), Some("/x"));
        assert!(arguments.json);
        let words = ["topics", "show", "-a"].map(str::to_owned).to_vec();
        let dashed = parse("broker --data-dir /y ctl -- topics show -a").unwrap();
        assert_eq!((dashed.task, dashed.json), (Task::Ctl(words), false));
        assert_eq!(dashed.data_dir.as_deref(), Some("/y"));
        assert_eq!(parse("broker doctor --cores 2").unwrap().task, Task::Doctor);
        let line = "broker estimate --connections 5 --publish-rate 1.5 --qos 2";
        let Task::Estimate(load) = parse(line).unwrap().task else {
            panic!("no estimate");
        };
        assert_eq!((load.connections, load.qos), (5, 2));
        assert_eq!([load.publish_rate, load.deliveries], [1.5, 1.0]);
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for line in [
            "broker --nonsense",
            "broker run",
            "broker --cores",
            "broker --set=",
            "broker ctl --nonsense",
            "broker estimate",
            "broker estimate --connections -1",
            "broker estimate --connections 1 --qos 3",
            "broker estimate --connections 1 --payload NaN",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn version_names_program_version_and_commit() {
        let said = parse("broker --version").unwrap_err();
        assert_eq!(said.exit_code(), 0);
        let want = format!(
            "millrace {} ({})\n",
            env!("CARGO_PKG_VERSION"),
            env!("MILLRACE_COMMIT")
        );
        assert_eq!(said.to_string(), want);
    }

    #[test]
    fn help_is_short_or_whole() {
        let short = parse("broker -h").unwrap_err().to_string();
        let long = parse("broker --help").unwrap_err().to_string();
        for option in [
            "--config",
            "--cores",
            "--listen",
            "--set",
            "--data-dir",
            "--check",
        ] {
            assert!(short.contains(option) && long.contains(option), "{option}");
        }
        assert!(short.lines().count() < 30, "{short}");
        assert!(long.contains("mqtt.max_packet_size = 1MB"), "{long}");
        assert!(!short.contains("mqtt.max_packet_size"));
    }
}
