//! The command line.
//!
//! Options that stand for a setting are read as that setting, so that they have its range, its
//! errors and its place in the order of sources.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config;

/// Version and commit, such as `0.1.0 (1a2b3c4d5)`.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("MILLRACE_COMMIT"),
    ")"
);

/// What was said on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// `--check`.
    pub check: bool,
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
            check: matches.get_flag("check"),
        }
    }
}

/// The whole command line as clap wants it.
fn command() -> Command {
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
             Exit codes: 0; 1 for a failure while running; 2 for usage, configuration, or a machine \
             that lacks something.",
        )
        .after_help("Use --help for the list of all settings.")
        .after_long_help(config::help())
        .args(options())
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
            check: true,
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
    fn wrong_usage_exits_with_2() {
        for line in [
            "broker --nonsense",
            "broker run",
            "broker --cores",
            "broker --set=",
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
