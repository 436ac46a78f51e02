//! The options of `run`.

use std::path::PathBuf;

use clap::Args;

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The scenario: a file of bench-harness/scenarios.
    pub scenario: PathBuf,
    /// Connections, clients and rates are this share of the scenario's.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Times are this share of the scenario's; rates are so many times higher.
    #[arg(long, default_value_t = 1.0)]
    pub time_scale: f64,
    /// A broker that runs already; without it one is started.
    #[arg(long, short, value_name = "HOST:PORT", conflicts_with_all = ["broker", "broker_command"])]
    pub target: Option<String>,
    /// The program to start, with the options of Millrace.
    #[arg(long, value_name = "FILE", default_value = "target/release/broker")]
    pub broker: PathBuf,
    /// What to start instead, as words, in which {port}, {cores} and {dir} (an empty folder) are
    /// filled in. It has to stay in the foreground.
    #[arg(long, value_name = "COMMAND", conflicts_with = "broker")]
    pub broker_command: Option<String>,
    /// Further settings of the broker that is started, as `--set` takes them.
    #[arg(long = "broker-set", value_name = "KEY=VALUE")]
    pub broker_settings: Vec<String>,
    /// Cores of the broker that is started, instead of the scenario's.
    #[arg(long)]
    pub cores: Option<usize>,
    /// With --target: the broker's process; by default the local owner of the listening port.
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// With --target: the file that holds its standard error, where SIGUSR1 makes it print tables.
    #[arg(long, value_name = "FILE")]
    pub broker_err: Option<PathBuf>,
    /// The broker's name in the result; by default that of its program.
    #[arg(long)]
    pub broker_name: Option<String>,
    /// Seconds from the first connect to the end, instead of the scenario's.
    #[arg(long, value_name = "SECONDS")]
    pub until: Option<f64>,
    /// Seconds to hold the connections once all are open, instead of the scenario's.
    #[arg(long, value_name = "SECONDS", conflicts_with = "until")]
    pub hold: Option<f64>,
    /// First source network: connections come from 127.0.NET.1 upward.
    #[arg(long, default_value_t = 1, value_name = "NET")]
    pub source_net: u8,
    /// Folder of the results.
    #[arg(long, default_value = "results")]
    pub out: PathBuf,
    /// Name of the result, instead of the scenario's.
    #[arg(long)]
    pub name: Option<String>,
    /// Print the result only.
    #[arg(long)]
    pub no_results: bool,
    /// No progress on standard error.
    #[arg(long)]
    pub quiet: bool,
    /// The commit in the result; by default git's.
    #[arg(long)]
    pub commit: Option<String>,
}
