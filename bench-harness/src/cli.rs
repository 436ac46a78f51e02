//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::codec::Version;
use crate::failure::{Context, Failure};

/// Load generator and judge for MQTT brokers.
///
/// Exit codes: 0 all verdicts hold, 1 a verdict fails or the run broke off, 2 wrong usage.
#[derive(Parser, Debug)]
#[command(name = "bench-harness", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a scenario from a file, its broker included.
    Run(crate::scenario::args::RunArgs),
    /// Put results into one HTML page with plots.
    Report(crate::report::ReportArgs),
    /// Open many connections at a rate, keep them, measure latency, memory and idle CPU.
    Connect(ConnectArgs),
    /// Send messages through topics and check every delivery.
    Pubsub(PubsubArgs),
    /// Store many retained messages, look some up, get all of them, and watch a stream meanwhile.
    Retained(RetainedArgs),
    /// Measure what walking the list of clients, scraping and a dashboard cost a QoS 0 load.
    Manage(ManageArgs),
    /// Take plain connections and speak TLS 1.3 to a broker for them.
    Relay(RelayArgs),
    /// Copy bytes from publishers to subscribers with the least work that is possible: no broker, but
    /// what brokers are compared with (QoS 0, one topic a publisher).
    Reference(ReferenceArgs),
}

/// Options of `reference`.
#[derive(Args, Clone, Debug)]
pub struct ReferenceArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub listen: String,
    /// Measure so many round trips between two sleeping threads first, and print what a wake takes.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub wakes: u32,
}

/// Options of `relay`.
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: String,
    /// The broker's TLS listener.
    #[arg(long, value_name = "ADDR:PORT")]
    pub target: String,
    /// Copy without TLS, for comparison.
    #[arg(long)]
    pub plain: bool,
}

/// MQTT versions by their usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum VersionArg {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5", alias = "5.0")]
    V5,
}

impl From<VersionArg> for Version {
    fn from(arg: VersionArg) -> Self {
        match arg {
            VersionArg::V31 => Self::V31,
            VersionArg::V311 => Self::V311,
            VersionArg::V5 => Self::V5,
        }
    }
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum TlsVersionArg {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

/// Options of every sub-command.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The broker's address.
    #[arg(
        long,
        short,
        default_value = "127.0.0.1:1883",
        value_name = "HOST:PORT"
    )]
    pub target: String,
    /// MQTT version.
    #[arg(long = "version", value_enum, default_value = "3.1.1")]
    pub mqtt_version: VersionArg,
    /// User name for every connection.
    #[arg(long)]
    pub username: Option<String>,
    /// Password for every connection.
    #[arg(long)]
    pub password: Option<String>,
    /// Worker threads; by default two at most, and more when the connections need more
    /// descriptors than one thread's table holds.
    #[arg(long)]
    pub workers: Option<usize>,
    /// First source network for a loopback target: connections come from 127.0.NET.1 upward.
    #[arg(long, default_value_t = 1, value_name = "NET")]
    pub source_net: u8,
    /// Seconds until an unanswered connect has failed.
    #[arg(long, default_value_t = 30)]
    pub connect_timeout: u64,
    /// The broker's process; by default the local owner of the listening port.
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// The broker's name in the result.
    #[arg(long, default_value = "")]
    pub broker_name: String,
    /// The broker's version in the result.
    #[arg(long, default_value = "")]
    pub broker_version: String,
    /// The broker's settings in the result.
    #[arg(long, default_value = "")]
    pub broker_settings: String,
    /// Folder of the results.
    #[arg(long, default_value = "results")]
    pub out: PathBuf,
    /// Print the result only.
    #[arg(long)]
    pub no_results: bool,
    /// No progress on standard error.
    #[arg(long)]
    pub quiet: bool,
    /// The scenario's name, which is also its folder.
    #[arg(long)]
    pub scenario: Option<String>,
    /// The commit in the result; by default git's.
    #[arg(long)]
    pub commit: Option<String>,
    /// Milliseconds by which the harness may be behind its own schedule (p99) before the run is
    /// void.
    #[arg(long, default_value_t = 20)]
    pub lag_limit_ms: u64,
}

/// Options of `connect`.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// Options of every sub-command.
    #[command(flatten)]
    pub common: Common,
    /// Connections to open.
    #[arg(long, short = 'n', default_value_t = 1000)]
    pub connections: usize,
    /// Connects a second; 0 opens them as fast as they are answered.
    #[arg(long, short, default_value_t = 1000.0)]
    pub rate: f64,
    /// Handshakes in flight at most, a worker, when the rate is 0 and for reconnects.
    #[arg(long, default_value_t = 256)]
    pub in_flight: usize,
    /// Seconds to keep the connections once all are open.
    #[arg(long, default_value_t = 5.0)]
    pub hold: f64,
    /// Seconds between the last connect and the samples of memory and idle CPU.
    #[arg(long, default_value_t = 2.0)]
    pub settle: f64,
    /// Keep-alive in seconds; 0 switches it off.
    #[arg(long, default_value_t = 300)]
    pub keep_alive: u16,
    /// Seconds between a connection's PINGREQs; by default the keep-alive, 0 sends none.
    #[arg(long)]
    pub ping_interval: Option<f64>,
    /// Client ids are this and the connection's number, filled with zeros to their length.
    #[arg(long, default_value = "bench-")]
    pub client_id_prefix: String,
    /// Length of the client ids in bytes.
    #[arg(long, default_value_t = 20)]
    pub client_id_length: usize,
    /// Each connection subscribes to one filter of its own.
    #[arg(long)]
    pub subscribe_own: bool,
    /// Keep the session after the connection (clean session off; session expiry 1 hour in 5.0).
    #[arg(long, overrides_with = "clean")]
    pub no_clean: bool,
    /// Clean session (the default).
    #[arg(long)]
    pub clean: bool,
    /// Open again what failed or was lost, after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub reconnect: Option<f64>,
    /// Before the hold, cut this share (0 to 1) of the connections at once and measure how long
    /// they take to come back, with at most --in-flight handshakes a worker.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub storm: f64,
    /// Speak TLS; the broker's certificate is not judged.
    #[arg(long)]
    pub tls: bool,
    /// With --tls: the version.
    #[arg(long, value_enum, default_value = "1.3")]
    pub tls_version: TlsVersionArg,
    /// With --tls: the server that is asked for.
    #[arg(long, default_value = "localhost")]
    pub tls_server: String,
    /// With --tls: connections resume each other's sessions.
    #[arg(long)]
    pub tls_resume: bool,
    /// With --tls: PEM file with a certificate of the client's.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<std::path::PathBuf>,
    /// With --tls-cert: PEM file with its key.
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<std::path::PathBuf>,
    /// Speak WebSocket, at this path; with --tls over TLS.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/mqtt")]
    pub ws: Option<String>,
    /// End the connections by closing, without DISCONNECT.
    #[arg(long)]
    pub abort: bool,
    /// Verdict: failed connects at most.
    #[arg(long)]
    pub max_failed_connects: Option<f64>,
    /// Verdict: connections lost while holding, at most.
    #[arg(long)]
    pub max_disconnects: Option<f64>,
    /// Verdict: the broker's user-space bytes a connection, at most.
    #[arg(long)]
    pub max_user_bytes_per_connection: Option<f64>,
    /// Verdict: the broker's user-space bytes before the first connection, at most.
    #[arg(long)]
    pub max_idle_user_bytes: Option<f64>,
    /// Verdict: the broker's CPU while holding, in percent of one CPU, at most.
    #[arg(long)]
    pub max_idle_cpu_percent: Option<f64>,
    /// Verdict: the broker's CPU a connect in microseconds, at most.
    #[arg(long)]
    pub max_cpu_us_per_connect: Option<f64>,
    /// Verdict: seconds until all are back after a storm, at most.
    #[arg(long)]
    pub max_storm_seconds: Option<f64>,
    /// Verdict: p99 of the connect latency in microseconds, at most.
    #[arg(long)]
    pub max_latency_us_p99: Option<f64>,
}

/// Who gets whose messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Publisher i to subscriber i; the more numerous side wraps around.
    Pairs,
    /// All publishers to one topic that all subscribers have.
    FanIn,
    /// All subscribers have every publisher's topic.
    FanOut,
    /// The subscribers are one shared group over all topics.
    Shared,
    /// Pairs, each subscriber with an exact, two single-level and a multi-level filter that overlap.
    Wildcard,
}

/// How often one message may reach one subscriber through overlapping filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverlapCopies {
    /// Once in all.
    Once,
    /// Up to once for each filter; repeats are counted as `overlap_copies`.
    Each,
}

/// Options of `pubsub`.
#[derive(Args, Clone, Debug)]
pub struct PubsubArgs {
    /// Options of every sub-command.
    #[command(flatten)]
    pub common: Common,
    /// Publishers.
    #[arg(long, short, default_value_t = 1)]
    pub publishers: usize,
    /// Subscribers.
    #[arg(long, short, default_value_t = 1)]
    pub subscribers: usize,
    /// Who gets whose messages.
    #[arg(long, value_enum, default_value = "pairs")]
    pub topology: Topology,
    /// With pairs and fan-out: each filter has a `+` and matches the same one topic.
    #[arg(long)]
    pub plus: bool,
    /// QoS of the messages.
    #[arg(long, short, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// QoS of the subscriptions; by default that of the messages.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub sub_qos: Option<u8>,
    /// Bytes a message; at least 16, from 32 on with the full header.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Messages a publisher; by default 10,000, or no limit when a duration is given.
    #[arg(long, short)]
    pub messages: Option<u64>,
    /// Messages a second and publisher, on a schedule that waits for nobody.
    #[arg(long, short, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Messages a publisher may have on their way (not yet seen by its subscribers, or not yet
    /// acknowledged); by default 100.
    #[arg(long, short)]
    pub window: Option<u32>,
    /// Unacknowledged messages a publisher may have at QoS 1 and 2 with --rate.
    #[arg(long, default_value_t = 10_000)]
    pub max_in_flight: u32,
    /// Seconds to publish for.
    #[arg(long, short)]
    pub duration: Option<f64>,
    /// Seconds without a delivery after which what is missing is lost.
    #[arg(long, default_value_t = 3.0)]
    pub drain: f64,
    /// Seconds without progress after which a closed-loop window is opened again.
    #[arg(long, default_value_t = 5.0)]
    pub stall: f64,
    /// Receive maximum announced by the clients (5.0).
    #[arg(long)]
    pub receive_maximum: Option<u16>,
    /// Keep-alive in seconds; 0 switches it off. No PINGREQ is sent: it must outlast the run.
    #[arg(long, default_value_t = 0)]
    pub keep_alive: u16,
    /// Publish with the retain flag, and clear the topics at the end.
    #[arg(long)]
    pub retain: bool,
    /// SUBSCRIBE and UNSUBSCRIBE packets a second to overlapping filters while the run goes.
    #[arg(long, default_value_t = 0.0)]
    pub churn: f64,
    /// Connections that churn.
    #[arg(long, default_value_t = 4)]
    pub churn_connections: usize,
    /// Further subscribers that stop reading once subscribed.
    #[arg(long, default_value_t = 0)]
    pub slow_subscribers: usize,
    /// Seconds from the start in which the subscribers do not read, so that queues fill.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub pause_subscribers: f64,
    /// How often one message may reach one subscriber through overlapping filters.
    #[arg(long, value_enum, default_value = "once")]
    pub overlap_copies: OverlapCopies,
    /// Connections opened a second before the run.
    #[arg(long, default_value_t = 5000.0)]
    pub connect_rate: f64,
    /// Verdict: exactly this many lost.
    #[arg(long)]
    pub expect_loss: Option<f64>,
    /// Verdict: exactly as many lost as the last number this shell command prints after the run,
    /// for example the broker's own count of drops.
    #[arg(long, value_name = "COMMAND")]
    pub expect_loss_from: Option<String>,
    /// Verdict: exactly this many duplicates.
    #[arg(long)]
    pub expect_duplicates: Option<f64>,
    /// Verdict: exactly this many out of order.
    #[arg(long)]
    pub expect_order_errors: Option<f64>,
    /// Verdict: exactly this many altered payloads.
    #[arg(long)]
    pub expect_corrupt: Option<f64>,
    /// Verdict: exactly this many other faults (misdelivered, wrong QoS, protocol errors,
    /// connections lost).
    #[arg(long)]
    pub expect_other_faults: Option<f64>,
    /// Verdict: p99 of the end-to-end latency in microseconds, at most.
    #[arg(long)]
    pub max_latency_us_p99: Option<f64>,
    /// Verdict: the broker's CPU a delivery in microseconds, at most.
    #[arg(long)]
    pub max_cpu_us_per_delivery: Option<f64>,
    /// Verdict: deliveries a second, at least.
    #[arg(long)]
    pub min_deliveries_per_second: Option<f64>,
}

/// Options of `retained`.
#[derive(Args, Clone, Debug)]
pub struct RetainedArgs {
    /// Options of every sub-command.
    #[command(flatten)]
    pub common: Common,
    /// Retained messages for the first measurement.
    #[arg(long, default_value_t = 1_000)]
    pub few: usize,
    /// Retained messages for the second one.
    #[arg(long, default_value_t = 100_000)]
    pub many: usize,
    /// Look-ups of a pattern with ten matches, of which the median counts.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Bytes of a retained message.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// QoS of the subscriptions, 0 or 1.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// Messages a second of the stream.
    #[arg(long, short, default_value_t = 500.0)]
    pub rate: f64,
    /// Seconds of the stream alone, and at least of the stream beside subscribers to `#`, in each round.
    #[arg(long, short, default_value_t = 4.0)]
    pub duration: f64,
    /// Seconds without a message after which what is missing is lost.
    #[arg(long, default_value_t = 5.0)]
    pub drain: f64,
    /// Leave the messages there.
    #[arg(long)]
    pub keep: bool,
    /// Verdict: a look-up among many takes so many times the time of one among few, at most.
    #[arg(long)]
    pub max_leaf_ratio: Option<f64>,
    /// Verdict: the stream's p99 beside subscribers to `#` is so many times that without, at most.
    #[arg(long)]
    pub max_stream_ratio: Option<f64>,
}

/// Options of `manage`.
#[derive(Args, Clone, Debug)]
pub struct ManageArgs {
    /// Options of every sub-command.
    #[command(flatten)]
    pub common: Common,
    /// The broker's HTTP API.
    #[arg(long, default_value = "127.0.0.1:18083", value_name = "ADDR:PORT")]
    pub api: String,
    /// An API key and its secret, with a colon between; a viewer's is enough.
    #[arg(long, value_name = "KEY:SECRET")]
    pub api_key: String,
    /// Pairs of publisher and subscriber.
    #[arg(long, default_value_t = 10)]
    pub streams: usize,
    /// Messages a second of each publisher.
    #[arg(long, short, default_value_t = 200.0)]
    pub rate: f64,
    /// Seconds of each phase.
    #[arg(long, short, default_value_t = 20.0)]
    pub duration: f64,
    /// Rounds: calm, walk, calm, scrape, calm, dashboard. Each is compared with the calm before it, and the
    /// median of the rounds counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Entries of a page of the list of clients, 1 to 10000.
    #[arg(long, default_value_t = 1000)]
    pub page: usize,
    /// Milliseconds between scrapes, and between what an open dashboard asks for.
    #[arg(long, default_value_t = 1000)]
    pub every_ms: u64,
    /// A path that an open dashboard asks for; repeatable, instead of those of the overview.
    #[arg(long, value_name = "PATH")]
    pub dashboard: Vec<String>,
    /// Verdict: clients that are connected before the load, at least.
    #[arg(long)]
    pub min_clients: Option<f64>,
    /// Verdict: the load's p99 meanwhile is so many times that of the calm, at most.
    #[arg(long)]
    pub max_ratio: Option<f64>,
}

impl Common {
    /// The broker's address, resolved.
    pub(crate) fn target_address(&self) -> Result<SocketAddr, Failure> {
        let what = format!("cannot resolve the target {}", self.target);
        let resolved = self.target.to_socket_addrs().context(what.clone())?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        // Only IPv4 has many loopback addresses to come from.
        let preferred = addresses
            .iter()
            .find(|a| a.is_ipv4())
            .or_else(|| addresses.first());
        preferred.copied().ok_or(Failure::Usage(what))
    }
}
