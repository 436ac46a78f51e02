//! What a core's door knows of each listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::config::{
    AccessRule, DeflateOpts, Listener, ListenerKind, Network, Piggyback, Takeover,
    WebSocketSettings,
};
use crate::metrics::Counter;
use crate::runtime::admission::ListenerShare;
use crate::ws::deflate::DeflateRules;
use crate::ws::socket::WebSocket;
use crate::ws::upgrade::WebSocketRules;

/// The address of clients that have none, on a Unix socket.
pub const LOCAL_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What comes before the part of a packet that its length counts.
const PACKET_HEAD_BYTES_MAX: u64 = 5;

/// One listener, the same for all cores.
#[derive(Debug)]
pub struct Front {
    /// Its limits, and what is counted for them.
    pub share: ListenerShare,
    /// Whether TLS comes before everything but a PROXY header.
    pub tls: bool,
    /// Whether it is a Unix socket, whose clients have no address.
    pub unix: bool,
    /// What comes before everything else.
    pub proxy: Option<ProxyFront>,
    /// Who may connect.
    pub access: Vec<AccessRule>,
    /// What is asked of a WebSocket, where that is spoken.
    pub websocket: Option<WebSocketFront>,
}

/// A PROXY header is awaited.
#[derive(Debug)]
pub struct ProxyFront {
    /// For so long.
    pub timeout_ms: u64,
    /// From these.
    pub trusted: Vec<Network>,
}

/// A WebSocket is awaited.
#[derive(Debug)]
pub struct WebSocketFront {
    /// What is asked of it.
    pub rules: Arc<WebSocketRules>,
    /// Proxies that are believed who the client is.
    pub trusted: Vec<Network>,
}

impl Front {
    /// A plain listener.
    pub fn plain(share: ListenerShare) -> Self {
        Self {
            share,
            tls: false,
            unix: false,
            proxy: None,
            access: Vec::new(),
            websocket: None,
        }
    }

    /// As configured; a packet has at most `packet_bytes_max`.
    pub fn of(listener: &Listener, packet_bytes_max: u32) -> Self {
        let settings = &listener.settings;
        let share = ListenerShare::new(
            settings.max_connections,
            settings.max_conn_rate,
            settings.max_conn_burst,
        );
        let timeout_ms = settings.proxy_protocol_timeout.as_millis();
        Self {
            tls: listener.kind.is_tls(),
            unix: listener.kind == ListenerKind::Unix,
            proxy: settings.proxy_protocol.then(|| ProxyFront {
                timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX),
                trusted: settings.proxy_protocol_trusted.clone(),
            }),
            access: settings.access_rules.clone(),
            websocket: listener
                .websocket
                .as_ref()
                .map(|settings| WebSocketFront::of(settings, packet_bytes_max)),
            ..Self::plain(share)
        }
    }

    /// Why a socket from this address is closed at once, if it is: what counts that.
    pub fn refuses(&self, ip: IpAddr) -> Option<Counter> {
        match &self.proxy {
            Some(proxy) if !self.unix && !proxy.trusts(ip) => Some(Counter::AcceptRefusedProxy),
            // The rules are for the address in the header.
            Some(_) => None,
            None => (!self.admits(ip)).then_some(Counter::AcceptRefusedAccessRules),
        }
    }

    /// Whether a client with this address may connect.
    pub fn admits(&self, ip: IpAddr) -> bool {
        self.unix || AccessRule::admit(&self.access, ip)
    }
}

impl ProxyFront {
    /// Whether a header is believed that comes from this address.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(ip))
    }
}

/// What is agreed to with clients that offer compression.
fn deflate(opts: &DeflateOpts) -> DeflateRules {
    DeflateRules {
        level: opts.level.number(),
        server_takeover: opts.server_context_takeover == Takeover::Takeover,
        client_takeover: opts.client_context_takeover == Takeover::Takeover,
        server_window_bits: opts.server_max_window_bits,
        client_window_bits: opts.client_max_window_bits,
    }
}

impl WebSocketFront {
    fn of(settings: &WebSocketSettings, packet_bytes_max: u32) -> Self {
        let frame_bytes_max = settings.max_frame_size.unwrap_or(u64::MAX);
        let rules = WebSocketRules {
            path: settings.mqtt_path.clone(),
            protocols: settings.supported_subprotocols.clone(),
            fail_if_no_protocol: settings.fail_if_no_subprotocol,
            check_origin: settings.check_origin_enable,
            allow_origin_absence: settings.allow_origin_absence,
            origins: settings.check_origins.clone(),
            address_header: settings.proxy_address_header.clone(),
            port_header: settings.proxy_port_header.clone(),
            frame_bytes_max,
            one_packet_a_frame: settings.mqtt_piggyback == Piggyback::Single,
            deflate: settings.compress.then(|| deflate(&settings.deflate_opts)),
            inflated_bytes_max: frame_bytes_max
                .min(u64::from(packet_bytes_max) + PACKET_HEAD_BYTES_MAX),
        };
        Self {
            rules: Arc::new(rules),
            trusted: settings.proxy_trusted.clone(),
        }
    }

    /// The envelope of a connection from this address.
    pub fn begin(&self, ip: IpAddr) -> Box<WebSocket> {
        let trusted = self.trusted.iter().any(|network| network.contains(ip));
        Box::new(WebSocket::new(Arc::clone(&self.rules), trusted))
    }
}
