//! Every setting of the broker, declared once.
//!
//! Names follow EMQX 5 where the meaning is the same. The documentation of a field is also its entry
//! in `docs/configuration.md` and in `broker --help`. A setting appears here with the code that
//! honours it, never before.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{FilePath, Flag, Seconds, bytes, choice, decimal, integer, span, text, unless};
use super::sections_access::{
    Authorization, AuthorizationCache, AuthorizationFile, Banned, FlappingDetect,
    OverloadProtection, Profile,
};
use super::sections_authn::{AccessSources, AuthnSettings, CertName, GlobalAuthn};
use super::sections_deflate::{DeflateOpts, WSS_DEFLATE_OPTS};
use super::sections_diagnose::{SlowSubs, Trace};
use super::sections_http::{Dashboard, Http, HttpTls};
use super::sections_listeners::{
    SslListener, TcpListener, UnixListener, WsListener, WsWebSocket, WssListener, WssWebSocket,
};
use super::sections_messaging::{AutoSubscription, Delayed, Priorities, RewriteSettings};
use super::sections_observe::{Prometheus, SysEventMessages, SysTopics, Sysmon};
use super::sections_tls::{
    OcspOptions, SniOptions, SslOptions, Tls, WSS_OCSP_OPTIONS, WSS_OPTIONS, WSS_SNI_OPTIONS,
};
use super::sections_webhook::{Webhook, WebhookRule};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::Values;

/// The most cores a broker runs on: sets of cores are one 64-bit word, two bits of which are taken.
pub const CORES_MAX: u16 = 62;

/// The largest MQTT packet: the remaining length has four bytes of seven bits.
const PACKET_BYTES_MAX: u64 = 268_435_455;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest expiry MQTT can name, apart from "never": 2^32 - 2 seconds.
const EXPIRY_MAX: Duration = Duration::from_secs(0xFFFF_FFFE);

/// Every section, in the order of the reference.
pub(crate) const SECTIONS: &[Section] = &[
    Node::SECTION,
    TcpListener::SECTION,
    WsListener::SECTION,
    WsWebSocket::SECTION,
    DeflateOpts::SECTION,
    UnixListener::SECTION,
    SslListener::SECTION,
    SslOptions::SECTION,
    OcspOptions::SECTION,
    SniOptions::SECTION,
    WssListener::SECTION,
    WssWebSocket::SECTION,
    WSS_DEFLATE_OPTS,
    WSS_OPTIONS,
    WSS_OCSP_OPTIONS,
    WSS_SNI_OPTIONS,
    Tls::SECTION,
    Mqtt::SECTION,
    Authorization::SECTION,
    AuthorizationCache::SECTION,
    AuthorizationFile::SECTION,
    AccessSources::SECTION,
    Banned::SECTION,
    FlappingDetect::SECTION,
    OverloadProtection::SECTION,
    GlobalAuthn::SECTION,
    AuthnSettings::SECTION,
    ShareGroupSettings::SECTION,
    Retainer::SECTION,
    Delayed::SECTION,
    RewriteSettings::SECTION,
    AutoSubscription::SECTION,
    Http::SECTION,
    HttpTls::SECTION,
    Dashboard::SECTION,
    Prometheus::SECTION,
    SysTopics::SECTION,
    SysEventMessages::SECTION,
    Sysmon::SECTION,
    Trace::SECTION,
    SlowSubs::SECTION,
    Webhook::SECTION,
    WebhookRule::SECTION,
    Log::SECTION,
];

section! {
    /// The process: its name, its place on disk, its share of the machine.
    pub struct Node at "node" {
        /// The name of this broker, by which logs and monitoring tell it from others.
        name: String = "millrace@127.0.0.1", text(255), Restart;

        /// Directory for everything the broker keeps. Made with mode 0700 when it is missing; locked,
        /// so that no second broker uses it.
        data_dir: PathBuf = "./data", FilePath, Restart;

        /// How careful the defaults are. `open`: anybody may enter and do anything unless settings say
        /// otherwise, with a warning at the start. `hardened`: listeners without TLS on loopback
        /// addresses only, nobody without authentication, and what no access rule allows is denied.
        profile: Profile = "open", choice(Profile::WORDS), Restart;

        /// How long an orderly shutdown may take. What is not done by then is cut, counted, and the
        /// exit code is 1.
        shutdown_timeout: Duration = "15s", span(SECOND, HOUR), Live;

        /// Number of cores: one pinned thread with its own connections each. `auto` is the number of
        /// CPUs this process may use. More than that works, but is slower.
        cores: Option<u16> = "auto", unless(&["auto"], integer(1, CORES_MAX as u64)), Restart;

        /// Whether each core's thread stays on one CPU.
        pin_cores: bool = "true", Flag, Restart;

        /// How long an idle core looks for work before it sleeps. More is lower latency at more CPU.
        spin_before_park: Duration = "0", span(Duration::ZERO, SECOND), Restart;

        /// Memory for queued messages of all connections and sessions together, divided evenly among
        /// the cores. At 80% of a core's part QoS 0 is no longer queued; at 100% the longest queue
        /// loses its oldest message and new connections are refused. Packets that have not wholly come
        /// may take a quarter more. `auto` is half of what the
        /// machine or its control group allows.
        queue_memory: Option<u64> = "auto", unless(&["auto"], bytes(16 << 20, 1 << 46)), Restart;

        /// Connections one core may hold. `auto` is what the kernel allows: the hard limit of open
        /// files (which bounds each core's table, not the process), at most 1048576.
        max_connections_per_core: Option<u32> = "auto", unless(&["auto"], integer(1, 1 << 20)), Restart;
    }
}

section! {
    /// The protocol: what clients may do, and the limits of one connection or session.
    pub struct Mqtt at "mqtt" {
        /// The largest packet a client may send. MQTT 5 clients are told in CONNACK.
        max_packet_size: u32 = "1MB", bytes(64, PACKET_BYTES_MAX), Live;

        /// The longest client id, in bytes.
        max_clientid_len: u16 = "65535", integer(23, 65535), Live;

        /// The most levels a topic name or filter may have.
        max_topic_levels: u16 = "128", integer(1, 65535), Live;

        /// The highest QoS a client may publish with, and a subscription is granted.
        max_qos_allowed: u8 = "2", integer(0, 2), Live;

        /// The most topic aliases a client may use towards the broker.
        max_topic_alias: u16 = "65535", integer(0, 65535), Live;

        /// The most topic aliases the broker uses towards one client, if the client takes that many.
        max_topic_alias_out: u16 = "64", integer(0, 1024), Live;

        /// Another server that MQTT 5 clients are referred to (0x9C) when this broker stops: names and
        /// ports, such as `a.example:1883 b.example`.
        server_reference: Option<String> = "none", unless(&["none", ""], text(1024)), Live;

        /// The Response Information of CONNACK for MQTT 5 clients that ask for it: the beginning of the
        /// topics for their responses, by convention.
        response_information: Option<String> = "none", unless(&["none", ""], text(1024)), Live;

        /// Whether retained messages are taken. If not, a retained PUBLISH ends the connection.
        retain_available: bool = "true", Flag, Live;

        /// Whether filters may hold the wildcards `+` and `#`.
        wildcard_subscription: bool = "true", Flag, Live;

        /// Whether clients may share subscriptions: `$share/<group>/<filter>` and `$queue/<filter>`.
        shared_subscription: bool = "true", Flag, Live;

        /// How a shared subscription chooses who gets a message. `round_robin`: in turn. `random`.
        /// `sticky`: a publisher's messages go to one member as long as that one is there.
        /// `hash_clientid` (`hash`) and `hash_topic`: by the publisher, by the topic. `local`: in turn
        /// among members on the publisher's core, else among all.
        shared_subscription_strategy: ShareStrategy = "round_robin",
            choice(ShareStrategy::WORDS), Live;

        /// Whether a client may claim a topic for itself alone: `$exclusive/<topic>`. Whoever comes
        /// second gets 0x97.
        exclusive_subscription: bool = "false", Flag, Restart;

        /// Whether clients of 3.1 and 3.1.1 get none of what they have published themselves, as MQTT 5
        /// clients can say for themselves.
        ignore_loop_deliver: bool = "false", Flag, Restart;

        /// Whether a message is delivered at the greater of its QoS and the subscription's, not at the
        /// lesser.
        upgrade_qos: bool = "false", Flag, Restart;

        /// After how long a QoS 1 or 2 message that a connected client of 3.1 or 3.1.1 has not
        /// acknowledged is sent again; half of it may be added. (MQTT 5 forbids it for its clients.)
        retry_interval: Option<Duration> = "30s",
            unless(&["infinity", "0"], span(SECOND, DAY)), Restart;

        /// Whether clients are let in without authentication. If not, every client is refused: no
        /// other way in is configured.
        /// Whether clients are let in on listeners that have no `authentication`. If not, they are
        /// refused there. With `authentication` it decides.
        allow_anonymous: bool = "true", Flag, Live;

        /// Whether a client's user name becomes its client id, before anything else is done with it.
        use_username_as_clientid: bool = "false", Flag, Restart;

        /// What of a client's certificate becomes its user name, whatever CONNECT says: `cn` common
        /// name, `dn` distinguished name, `crt` DER in base64, `pem`, `md5`.
        peer_cert_as_username: Option<CertName> = "disabled",
            unless(&["disabled"], CertName::KIND), Restart;

        /// What of a client's certificate becomes its client id.
        peer_cert_as_clientid: Option<CertName> = "disabled",
            unless(&["disabled"], CertName::KIND), Restart;

        /// How long a new connection may take until its CONNECT is complete.
        idle_timeout: Duration = "15s", span(SECOND, HOUR), Live;

        /// Keep-alive interval that is imposed on clients that ask for a longer one or for none; MQTT 5
        /// clients are told in CONNACK.
        server_keepalive: Option<u16> = "disabled", unless(&["disabled"], Seconds), Live;

        /// A client is cut off when nothing came from it for its keep-alive interval times this. MQTT
        /// names 1.5.
        keepalive_multiplier: f64 = "1.5", decimal(1.0, 10.0), Live;

        /// QoS 1 and 2 messages on their way to one client at once; a client's own Receive Maximum
        /// may lower it.
        max_inflight: u16 = "32", integer(1, 65535), Live;

        /// QoS 1 and 2 messages from one MQTT 5 client that are not acknowledged (the Receive Maximum in
        /// CONNACK); more end the connection with 0x93. Clients of 3.x are not held to it.
        max_awaiting_rel: u16 = "100", integer(1, 65535), Live;

        /// How long a QoS 2 message waits for its PUBREL until its packet identifier is forgotten. A
        /// client that sends the message again after that publishes it a second time.
        await_rel_timeout: Duration = "300s", span(SECOND, DAY), Live;

        /// How long the session of an MQTT 3.1 or 3.1.1 client with clean session 0 is kept after it
        /// disconnected. (An MQTT 5 client says so itself.)
        session_expiry_interval: Option<Duration> = "2h",
            unless(&["infinity"], span(SECOND, EXPIRY_MAX)), Live;

        /// Messages that wait in one session, while its client is away or its window is full. When
        /// full, the oldest is dropped, QoS 0 first.
        max_mqueue_len: Option<u32> = "1000",
            unless(&["infinity", "0"], integer(1, u32::MAX as u64)), Live;

        /// Whether QoS 0 messages are queued as well.
        mqueue_store_qos0: bool = "true", Flag, Live;

        /// Topics whose messages leave a session's queue before those of others, by their priority.
        mqueue_priorities: Vec<(String, u8)> = "disabled", Priorities, Restart;

        /// The priority of topics that `mqueue_priorities` does not name: below or above all of them.
        mqueue_default_priority: DefaultPriority = "lowest",
            choice(&[("lowest", DefaultPriority::Lowest), ("highest", DefaultPriority::Highest)]),
            Restart;

        /// Subscriptions one session may have.
        max_subscriptions: Option<u32> = "infinity",
            unless(&["infinity"], integer(1, u32::MAX as u64)), Live;

        /// Bytes that may wait in the broker for one connection that does not read. Beyond it QoS 0 is
        /// dropped, and QoS 1 and 2 wait in the session's queue. (EMQX: `tcp_options.high_watermark`.)
        max_out_queue: u32 = "1MB", bytes(4 << 10, 1 << 30), Live;
    }
}

section! {
    /// Retained messages.
    pub struct Retainer at "retainer" {
        /// How many are stored. When full, a message to a new topic is delivered but not stored.
        max_retained_messages: Option<u32> = "infinity",
            unless(&["infinity", "0"], integer(1, u32::MAX as u64)), Live;

        /// The largest payload that is stored. A larger one is delivered but not stored.
        max_payload_size: u32 = "1MB", bytes(1, PACKET_BYTES_MAX), Live;

        /// How long a message is stored that does not name its own expiry; `0` is for ever.
        expiry_interval: Option<Duration> = "infinity",
            unless(&["infinity", "0"], span(SECOND, EXPIRY_MAX)), Live;

        /// Whether the empty message that clears a topic goes to nobody.
        stop_publish_clear_msg: bool = "false", Flag, Restart;
    }
}

/// The priority of topics that have none of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultPriority {
    /// Below all others.
    #[default]
    Lowest,
    /// Above all others.
    Highest,
}

section! {
    /// The log, written to standard error.
    pub struct Log at "log" {
        /// The least severe level that is written.
        level: LogLevel = "info", choice(LogLevel::WORDS), Restart;

        /// `text` is for people, `json` is one object a line.
        format: LogFormat = "text", choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]), Restart;
    }
}

/// How a shared subscription chooses who of its members gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// In turn.
    #[default]
    RoundRobin,
    /// By chance.
    Random,
    /// Always the same for one publisher, chosen in turn.
    Sticky,
    /// By the publisher.
    HashClientId,
    /// By the topic.
    HashTopic,
    /// In turn among members on the publisher's core, if there are any.
    Local,
}

impl ShareStrategy {
    /// EMQX's words.
    const WORDS: &'static [(&'static str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("random", Self::Random),
        ("sticky", Self::Sticky),
        ("hash_clientid", Self::HashClientId),
        ("hash", Self::HashClientId),
        ("hash_topic", Self::HashTopic),
        ("local", Self::Local),
    ];
}

/// What one group of shared subscribers has for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroup {
    /// The group's name.
    pub name: String,
    /// How it chooses.
    pub strategy: ShareStrategy,
}

section! {
    /// One group of shared subscribers, by its name.
    pub struct ShareGroupSettings at "broker.shared_subscription_group.<name>" {
        /// How this group chooses who gets a message; see `mqtt.shared_subscription_strategy`.
        strategy: ShareStrategy = "round_robin", choice(ShareStrategy::WORDS), Live;
    }
}

impl ShareGroupSettings {
    /// The groups that were given a strategy of their own.
    pub(crate) fn groups(values: &Values) -> Vec<ShareGroup> {
        let prefix = "broker.shared_subscription_group";
        let named = values.below(prefix).into_iter();
        let names = named.filter_map(|(key, _)| key.split_once('.').map(|(name, _)| name));
        names
            .map(|name| ShareGroup {
                name: name.to_owned(),
                strategy: Self::read(values, &format!("{prefix}.{name}")).strategy,
            })
            .collect()
    }
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed that the broker needed.
    Error,
    /// Something is wrong that the broker can live with.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// EMQX says `warning`; both are taken.
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warning", Self::Warn),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
