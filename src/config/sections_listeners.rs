//! The settings of listeners. What all kinds have in common is written once; the kinds differ in
//! their addresses and in what lies between MQTT and the socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::authn::{AuthnProvider, AuthnProviders};
use super::kind::{Address, FilePath, Flag, Rate, bytes, choice, integer, span, text, unless};
use super::network::{ACCESS_RULES, AccessRule, Mode, NETWORKS, Network, UrlPath, WORDS};
use super::sections_access::{Quota, QuotaKind, RateAndBurst, RateAndBurstKind, RateExceeded};
use super::sections_authn::{EnableAuthn, EnableAuthnKind};
use super::sections_deflate::DeflateOpts;
use super::sections_messaging::Pattern;
use super::setting::{Change, Section, Setting, parses_to, section};
use super::template::{Places, Template};
use super::values::Values;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const TENTH: Duration = Duration::from_millis(100);

/// What a listener of any kind has, whatever it speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSettings {
    /// Connections on all cores together.
    pub max_connections: Option<u32>,
    /// New connections a second.
    pub max_conn_rate: Option<u32>,
    /// Those that may come at once above the rate.
    pub max_conn_burst: Option<u32>,
    /// Connections that may wait to be accepted, on each core.
    pub backlog: u32,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_USER_TIMEOUT.
    pub send_timeout: Duration,
    /// A PROXY header comes first.
    pub proxy_protocol: bool,
    /// How long it may take.
    pub proxy_protocol_timeout: Duration,
    /// Who may send one.
    pub proxy_protocol_trusted: Vec<Network>,
    /// Who may connect.
    pub access_rules: Vec<AccessRule>,
    /// PUBLISH packets of one connection.
    pub messages_rate: Option<Quota>,
    /// How many more at once.
    pub messages_burst: u32,
    /// Bytes of one connection.
    pub bytes_rate: Option<Quota>,
    /// How many more at once.
    pub bytes_burst: u32,
    /// Both in one.
    pub rate_limit: Option<RateAndBurst>,
    /// What happens above the rate.
    pub rate_exceeded: RateExceeded,
    /// What is put before the topics of clients.
    pub mountpoint: Option<Template>,
    /// Whether clients are authenticated.
    pub enable_authn: EnableAuthn,
    /// By whom, instead of the chain for all.
    pub authentication: Vec<AuthnProvider>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        TcpListener::default().common()
    }
}

/// Declares the section of a kind whose address is an IP address.
macro_rules! network_listener {
    (
        $(#[doc = $doc:literal])+
        pub struct $Section:ident at $prefix:literal, bind $bind:literal
    ) => {
        section! {
            $(#[doc = $doc])+
            pub struct $Section at $prefix {
                /// Address and port. A port alone means every IPv4 address; `[::]:1883` takes IPv6
                /// and IPv4; port 0 lets the system choose.
                bind: SocketAddr = $bind, Address, Restart;

                /// Whether the listener is opened.
                enable: bool = "true", Flag, Restart;

                /// Connections this listener may hold, on all cores together.
                max_connections: Option<u32> = "infinity",
                    unless(&["infinity"], integer(1, u32::MAX as u64)), Live;

                /// New connections a second this listener takes, on all cores together. Those above
                /// it wait in the backlog.
                max_conn_rate: Option<u32> = "infinity", unless(&["infinity"], Rate), Live;

                /// Connections that may come at once above an even rate of `max_conn_rate`. `auto`
                /// is a tenth of a second's worth.
                max_conn_burst: Option<u32> = "auto",
                    unless(&["auto"], integer(1, u32::MAX as u64)), Live;

                /// PUBLISH packets that one connection may send.
                messages_rate: Option<Quota> = "infinity", unless(&["infinity"], QuotaKind), Restart;

                /// How many more a connection may send at once that sent fewer before.
                messages_burst: u32 = "0", integer(0, u32::MAX as u64), Restart;

                /// Bytes that one connection may send.
                bytes_rate: Option<Quota> = "infinity", unless(&["infinity"], QuotaKind), Restart;

                /// How many more bytes a connection may send at once that sent fewer before.
                bytes_burst: u32 = "0", bytes(0, u32::MAX as u64), Restart;

                /// The same in EMQX 3's form: bytes a second, and bytes at once. Goes before `bytes_rate`.
                rate_limit: Option<RateAndBurst> = "infinity",
                    unless(&["infinity"], RateAndBurstKind), Restart;

                /// What happens to a connection above its rate. `pause`: nothing is read from it until the rate
                /// allows it. `drop`: messages are dropped, at QoS 1 and 2 with 0x97.
                rate_exceeded: RateExceeded = "pause", choice(RateExceeded::WORDS), Restart;

                /// Connections that may wait to be accepted, on each core. The kernel caps it at
                /// `net.core.somaxconn`. The default is that cap's own default: when many devices
                /// reconnect at once they wait here instead of sending their SYN again a second
                /// later.
                backlog: u32 = "4096", integer(1, 65535), Restart;

                /// Whether small packets are sent at once (TCP_NODELAY).
                nodelay: bool = "true", Flag, Restart;

                /// How long a client may leave what was sent to it without an acknowledgement, or not
                /// read so that nothing can be sent, until its connection is broken
                /// (TCP_USER_TIMEOUT).
                send_timeout: Duration = "15s", span(SECOND, HOUR), Restart;

                /// Whether every connection begins with a PROXY header, version 1 or 2, as load
                /// balancers send it. The address in it is the client's from then on, also for
                /// `access_rules`.
                proxy_protocol: bool = "false", Flag, Restart;

                /// How long the PROXY header may take.
                proxy_protocol_timeout: Duration = "3s", span(TENTH, HOUR), Restart;

                /// Who may send a PROXY header; others are closed. By default everyone who can reach
                /// the listener: name the load balancers where others can reach it as well, because
                /// whoever sends the header chooses the address it names.
                proxy_protocol_trusted: Vec<Network> = "0.0.0.0/0, ::/0", NETWORKS, Restart;

                /// Who may connect: `allow` or `deny`, then `all`, an address or a network. The first
                /// rule that fits decides; who fits none may connect.
                access_rules: Vec<AccessRule> = "allow all", ACCESS_RULES, Restart;

                /// Put before every topic and filter of the listener's clients, and taken off again from what
                /// they get: they see nothing else. `${clientid}` (`%c`) and `${username}` (`%u`) are the
                /// client's; one whose values are absent or hold `/`, `+` or `#` is refused.
                mountpoint: Option<Template> = "none",
                    unless(&["none", ""], Pattern(Places::Client)), Restart;

                /// Whether clients of this listener are authenticated. `quick_deny_anonymous`: those
                /// without a user name are refused before anybody is asked. `false`: everybody enters.
                enable_authn: EnableAuthn = "true", EnableAuthnKind, Restart;

                /// Who authenticates the clients of this listener, instead of `authentication`. `[]`:
                /// as there.
                authentication: Vec<AuthnProvider> = "[]", AuthnProviders, Restart;
            }
        }

        impl $Section {
            /// What it shares with the other kinds.
            pub fn common(&self) -> ListenerSettings {
                ListenerSettings {
                    max_connections: self.max_connections,
                    max_conn_rate: self.max_conn_rate,
                    max_conn_burst: self.max_conn_burst,
                    backlog: self.backlog,
                    nodelay: self.nodelay,
                    send_timeout: self.send_timeout,
                    proxy_protocol: self.proxy_protocol,
                    proxy_protocol_timeout: self.proxy_protocol_timeout,
                    proxy_protocol_trusted: self.proxy_protocol_trusted.clone(),
                    access_rules: self.access_rules.clone(),
                    messages_rate: self.messages_rate,
                    messages_burst: self.messages_burst,
                    bytes_rate: self.bytes_rate,
                    bytes_burst: self.bytes_burst,
                    rate_limit: self.rate_limit,
                    rate_exceeded: self.rate_exceeded,
                    mountpoint: self.mountpoint.clone(),
                    enable_authn: self.enable_authn,
                    authentication: self.authentication.clone(),
                }
            }
        }
    };
}

network_listener! {
    /// A TCP listener. `<name>` is free (letters, digits, `_`, `-`). Without any listener configured
    /// there is one, `default`, on `0.0.0.0:1883`; a listener of another name must have its `bind`.
    /// `--listen` replaces the listener `default`.
    pub struct TcpListener at "listeners.tcp.<name>", bind "0.0.0.0:1883"
}

network_listener! {
    /// A WebSocket listener; see `docs/listeners.md`.
    pub struct WsListener at "listeners.ws.<name>", bind "0.0.0.0:8083"
}

network_listener! {
    /// A TLS listener; see `docs/tls.md`. It needs at least `ssl_options.certfile` and
    /// `ssl_options.keyfile`.
    pub struct SslListener at "listeners.ssl.<name>", bind "0.0.0.0:8883"
}

network_listener! {
    /// A listener for WebSocket over TLS; see `docs/listeners.md` and `docs/tls.md`.
    pub struct WssListener at "listeners.wss.<name>", bind "0.0.0.0:8084"
}

section! {
    /// A listener on a Unix domain socket. The address of its clients is 127.0.0.1.
    pub struct UnixListener at "listeners.unix.<name>" {
        /// The file. One that a broker left behind is replaced; it is removed at the end.
        bind: PathBuf = "/run/millrace.sock", FilePath, Restart;

        /// Whether the listener is opened.
        enable: bool = "true", Flag, Restart;

        /// Permissions of the file: who may write to it may connect.
        mode: u32 = "0660", Mode, Restart;

        /// Connections this listener may hold, on all cores together.
        max_connections: Option<u32> = "infinity",
            unless(&["infinity"], integer(1, u32::MAX as u64)), Live;

        /// New connections a second this listener takes, on all cores together. Those above it wait in
        /// the backlog.
        max_conn_rate: Option<u32> = "infinity", unless(&["infinity"], Rate), Live;

        /// Connections that may come at once above an even rate of `max_conn_rate`. `auto` is a tenth
        /// of a second's worth.
        max_conn_burst: Option<u32> = "auto",
            unless(&["auto"], integer(1, u32::MAX as u64)), Live;

        /// PUBLISH packets that one connection may send.
        messages_rate: Option<Quota> = "infinity", unless(&["infinity"], QuotaKind), Restart;

        /// How many more a connection may send at once that sent fewer before.
        messages_burst: u32 = "0", integer(0, u32::MAX as u64), Restart;

        /// Bytes that one connection may send.
        bytes_rate: Option<Quota> = "infinity", unless(&["infinity"], QuotaKind), Restart;

        /// How many more bytes a connection may send at once that sent fewer before.
        bytes_burst: u32 = "0", bytes(0, u32::MAX as u64), Restart;

        /// The same in EMQX 3's form: bytes a second, and bytes at once. Goes before `bytes_rate`.
        rate_limit: Option<RateAndBurst> = "infinity",
            unless(&["infinity"], RateAndBurstKind), Restart;

        /// What happens to a connection above its rate. `pause`: nothing is read from it until the rate
        /// allows it. `drop`: messages are dropped, at QoS 1 and 2 with 0x97.
        rate_exceeded: RateExceeded = "pause", choice(RateExceeded::WORDS), Restart;

        /// Connections that may wait to be accepted.
        backlog: u32 = "4096", integer(1, 65535), Restart;

        /// Whether every connection begins with a PROXY header, version 1 or 2.
        proxy_protocol: bool = "false", Flag, Restart;

        /// How long the PROXY header may take.
        proxy_protocol_timeout: Duration = "3s", span(TENTH, HOUR), Restart;

        /// Put before every topic and filter of the listener's clients, and taken off again from what
        /// they get: they see nothing else. `${clientid}` (`%c`) and `${username}` (`%u`) are the
        /// client's; one whose values are absent or hold `/`, `+` or `#` is refused.
        mountpoint: Option<Template> = "none",
            unless(&["none", ""], Pattern(Places::Client)), Restart;

        /// Whether clients of this listener are authenticated. `quick_deny_anonymous`: those without a
        /// user name are refused before anybody is asked. `false`: everybody enters.
        enable_authn: EnableAuthn = "true", EnableAuthnKind, Restart;

        /// Who authenticates the clients of this listener, instead of `authentication`. `[]`: as there.
        authentication: Vec<AuthnProvider> = "[]", AuthnProviders, Restart;
    }
}

impl UnixListener {
    /// What it shares with the other kinds.
    pub fn common(&self) -> ListenerSettings {
        ListenerSettings {
            max_connections: self.max_connections,
            max_conn_rate: self.max_conn_rate,
            max_conn_burst: self.max_conn_burst,
            backlog: self.backlog,
            proxy_protocol: self.proxy_protocol,
            proxy_protocol_timeout: self.proxy_protocol_timeout,
            messages_rate: self.messages_rate,
            messages_burst: self.messages_burst,
            bytes_rate: self.bytes_rate,
            bytes_burst: self.bytes_burst,
            rate_limit: self.rate_limit,
            rate_exceeded: self.rate_exceeded,
            mountpoint: self.mountpoint.clone(),
            enable_authn: self.enable_authn,
            authentication: self.authentication.clone(),
            ..ListenerSettings::default()
        }
    }
}

/// Declares what a listener asks of a WebSocket.
macro_rules! websocket_section {
    (
        $(#[doc = $doc:literal])+
        pub struct $Section:ident at $prefix:literal
    ) => {
        section! {
            $(#[doc = $doc])+
            pub struct $Section at $prefix {
                /// The path a client must ask for; for others the answer is 404.
                mqtt_path: String = "/mqtt", UrlPath, Restart;

                /// `multiple`: what is sent to a client at once is one frame, whatever the number of
                /// packets. `single`: one packet a frame, for clients that need it.
                mqtt_piggyback: Piggyback = "multiple", choice(Piggyback::WORDS), Restart;

                /// Whether a client must offer one of the `supported_subprotocols`.
                fail_if_no_subprotocol: bool = "true", Flag, Restart;

                /// The sub-protocols that are taken; the first of the client's that is one is chosen.
                supported_subprotocols: Vec<String> =
                    "mqtt,mqttv3.1,mqtt-v3,mqtt-v3.1.1,mqtt-v5", WORDS, Restart;

                /// Whether the header `Origin`, by which browsers say from which page a script comes, is
                /// compared with `check_origins`.
                check_origin_enable: bool = "false", Flag, Restart;

                /// With `check_origin_enable`: whether a client without that header may connect, as all
                /// that are no browsers are.
                allow_origin_absence: bool = "true", Flag, Restart;

                /// The origins that may connect, with `check_origin_enable`.
                check_origins: Vec<String> =
                    "http://localhost:18083, http://127.0.0.1:18083", WORDS, Restart;

                /// The header in which a proxy names the client's address; of several the first counts.
                proxy_address_header: String = "X-Forwarded-For", text(64), Restart;

                /// The header in which a proxy names the client's port.
                proxy_port_header: String = "X-Forwarded-Port", text(64), Restart;

                /// The proxies whose headers are believed. From others they are ignored, because
                /// whoever sends the header chooses the address it names.
                proxy_trusted: Vec<Network> = "127.0.0.0/8, ::1", NETWORKS, Restart;

                /// The largest payload of one frame. (A packet may come in any number of frames;
                /// `mqtt.max_packet_size` bounds it.)
                max_frame_size: Option<u64> = "infinity",
                    unless(&["infinity"], bytes(64, 1 << 40)), Restart;

                /// Whether messages are compressed for clients that offer it (permessage-deflate). What a
                /// message holds is bounded by `max_frame_size` and `mqtt.max_packet_size`.
                compress: bool = "false", Flag, Restart;
            }
        }

        impl $Section {
            /// The same for both kinds.
            pub fn common(self, deflate_opts: DeflateOpts) -> WebSocketSettings {
                WebSocketSettings {
                    mqtt_path: self.mqtt_path,
                    mqtt_piggyback: self.mqtt_piggyback,
                    fail_if_no_subprotocol: self.fail_if_no_subprotocol,
                    supported_subprotocols: self.supported_subprotocols,
                    check_origin_enable: self.check_origin_enable,
                    allow_origin_absence: self.allow_origin_absence,
                    check_origins: self.check_origins,
                    proxy_address_header: self.proxy_address_header,
                    proxy_port_header: self.proxy_port_header,
                    proxy_trusted: self.proxy_trusted,
                    max_frame_size: self.max_frame_size,
                    compress: self.compress,
                    deflate_opts,
                }
            }
        }
    };
}

/// What a listener asks of a WebSocket; see the settings `listeners.ws.<name>.websocket.*`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each is documented where it is declared
pub struct WebSocketSettings {
    pub mqtt_path: String,
    pub mqtt_piggyback: Piggyback,
    pub fail_if_no_subprotocol: bool,
    pub supported_subprotocols: Vec<String>,
    pub check_origin_enable: bool,
    pub allow_origin_absence: bool,
    pub check_origins: Vec<String>,
    pub proxy_address_header: String,
    pub proxy_port_header: String,
    pub proxy_trusted: Vec<Network>,
    pub max_frame_size: Option<u64>,
    pub compress: bool,
    pub deflate_opts: DeflateOpts,
}

websocket_section! {
    /// How a WebSocket listener speaks with its clients.
    pub struct WsWebSocket at "listeners.ws.<name>.websocket"
}

websocket_section! {
    /// How a listener for WebSocket over TLS speaks with its clients.
    pub struct WssWebSocket at "listeners.wss.<name>.websocket"
}

/// Packets in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piggyback {
    /// Any number.
    Multiple,
    /// One.
    Single,
}

impl Piggyback {
    const WORDS: &'static [(&'static str, Self)] =
        &[("multiple", Self::Multiple), ("single", Self::Single)];
}
