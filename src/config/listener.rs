//! Listeners: their kinds, `--listen` URLs, and the list that comes of both.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::kind::Raw;
use super::quantity::parse_address;
use super::sections_deflate::DeflateOpts;
use super::sections_listeners::{
    ListenerSettings, SslListener, TcpListener, UnixListener, WebSocketSettings, WsListener,
    WsWebSocket, WssListener, WssWebSocket,
};
use super::sections_tls::TlsListenerSettings;
use super::values::{Origin, Problem, Values};

/// The longest name of a listener, in bytes: it stands in logs and metrics.
const NAME_LEN_MAX: usize = 32;

/// The most listeners: their numbers are 8 bits wide.
const LISTENERS_MAX: usize = 255;

/// What a listener speaks below MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKind {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Ssl,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// A Unix domain socket.
    Unix,
}

impl ListenerKind {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("tcp", Self::Tcp),
        ("mqtt", Self::Tcp),
        ("ssl", Self::Ssl),
        ("tls", Self::Ssl),
        ("mqtts", Self::Ssl),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("unix", Self::Unix),
    ];

    /// All of them, in the order in which they are reported.
    const ALL: &'static [Self] = &[Self::Tcp, Self::Ssl, Self::Ws, Self::Wss, Self::Unix];

    /// The kind of that name; `mqtt` is `tcp`, `tls` and `mqtts` are `ssl`.
    pub fn named(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| *kind)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }

    /// Whether TLS comes before what else it speaks.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::Wss)
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An address with a port.
    Ip(SocketAddr),
    /// A file.
    Path(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Bind {
    /// Whether only this machine can reach it.
    pub fn is_inside(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Path(_) => true,
        }
    }

    /// Whether nobody else may have it: port 0 is another one each time.
    fn is_one_place(&self) -> bool {
        !matches!(self, Self::Ip(address) if address.port() == 0)
    }
}

/// One listener to open.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// What it speaks.
    pub kind: ListenerKind,
    /// Its name, unique within its kind.
    pub name: String,
    /// Where it listens.
    pub bind: Bind,
    /// What it shares with all kinds.
    pub settings: ListenerSettings,
    /// Permissions of the file, for a Unix socket.
    pub mode: u32,
    /// What it asks of a WebSocket, if it speaks that.
    pub websocket: Option<WebSocketSettings>,
    /// What it has of TLS, if it speaks that.
    pub tls: Option<TlsListenerSettings>,
}

impl fmt::Display for Listener {
    /// The listener's id, as in logs: `tcp:default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.name)
    }
}

impl Listener {
    /// Reads one; none when it is not enabled.
    fn read(values: &Values, kind: ListenerKind, name: &str) -> Option<Self> {
        let prefix = format!("listeners.{}.{name}", kind.name());
        let mut websocket = None;
        let mut mode = 0;
        let (enable, bind, settings) = match kind {
            ListenerKind::Tcp => {
                let section = TcpListener::read(values, &prefix);
                (section.enable, Bind::Ip(section.bind), section.common())
            }
            ListenerKind::Ssl => {
                let section = SslListener::read(values, &prefix);
                (section.enable, Bind::Ip(section.bind), section.common())
            }
            ListenerKind::Wss => {
                let section = WssListener::read(values, &prefix);
                let prefix = format!("{prefix}.websocket");
                let deflate = DeflateOpts::read(values, &format!("{prefix}.deflate_opts"));
                websocket = Some(WssWebSocket::read(values, &prefix).common(deflate));
                (section.enable, Bind::Ip(section.bind), section.common())
            }
            ListenerKind::Ws => {
                let section = WsListener::read(values, &prefix);
                let prefix = format!("{prefix}.websocket");
                let deflate = DeflateOpts::read(values, &format!("{prefix}.deflate_opts"));
                websocket = Some(WsWebSocket::read(values, &prefix).common(deflate));
                (section.enable, Bind::Ip(section.bind), section.common())
            }
            ListenerKind::Unix => {
                let section = UnixListener::read(values, &prefix);
                let settings = section.common();
                mode = section.mode;
                (section.enable, Bind::Path(section.bind), settings)
            }
        };
        enable.then(|| Self {
            kind,
            name: name.to_owned(),
            bind,
            settings,
            mode,
            websocket,
            tls: kind
                .is_tls()
                .then(|| TlsListenerSettings::read(values, kind, name)),
        })
    }
}

/// Whether a listener may have that name.
pub(crate) fn is_listener_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !name.is_empty() && name.len() <= NAME_LEN_MAX && name.bytes().all(fits)
}

/// The kind and address of a `--listen` URL, `KIND://ADDR:PORT` or `unix:///PATH`.
fn parse_url(url: &str) -> Result<(ListenerKind, Bind), String> {
    let (kind, rest) = url
        .split_once("://")
        .ok_or_else(|| "this is not KIND://ADDR:PORT, such as tcp://0.0.0.0:1883".to_owned())?;
    let kind = ListenerKind::named(kind).ok_or_else(|| {
        format!("there is no listener of kind `{kind}`; the kinds are tcp, ssl, ws, wss, unix")
    })?;
    if kind == ListenerKind::Unix {
        return if rest.starts_with('/') && rest.len() > 1 {
            Ok((kind, Bind::Path(PathBuf::from(rest))))
        } else {
            Err("this is not unix:///PATH, such as unix:///run/millrace.sock".to_owned())
        };
    }
    let address = rest.strip_suffix('/').unwrap_or(rest);
    let address = parse_address(address).ok_or_else(|| {
        format!("`{address}` is not an IP address with a port, such as 0.0.0.0:1883 or [::1]:1883")
    })?;
    Ok((kind, Bind::Ip(address)))
}

/// Lays `--listen` URLs over everything else: they replace the listeners `default`, are named
/// `default`, `default2`, ... within their kind and keep the other settings that were given for the
/// kind's `default`.
pub(crate) fn lay_urls(values: &mut Values, urls: &[String]) -> Result<(), Vec<Problem>> {
    let origin = |url: &str| Origin::Option(format!("--listen {url}"));
    let mut problems = Vec::new();
    let mut named: Vec<ListenerKind> = Vec::new();
    for url in urls {
        let (kind, bind) = match parse_url(url) {
            Ok(parsed) => parsed,
            Err(what) => {
                problems.push(Problem::at(origin(url), what));
                continue;
            }
        };
        named.push(kind);
        let count = named.iter().filter(|other| **other == kind).count();
        let name = match count {
            1 => "default".to_owned(),
            _ => format!("default{count}"),
        };
        let prefix = format!("listeners.{}.{name}", kind.name());
        problems.extend(keep_shared(values, kind, &prefix));
        for (key, value) in [("bind", bind.to_string()), ("enable", "true".to_owned())] {
            let key = format!("{prefix}.{key}");
            problems.extend(values.lay(&key, Raw::Bare(value), origin(url)).err());
        }
    }
    if !named.is_empty() {
        problems.extend(close_other_defaults(values, &named));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Gives a listener what was given for the `default` of its kind and not for it.
fn keep_shared(values: &mut Values, kind: ListenerKind, prefix: &str) -> Vec<Problem> {
    let shared: Vec<(String, Raw, Origin)> = values
        .below(&format!("listeners.{}.default", kind.name()))
        .into_iter()
        .filter(|(key, _)| *key != "bind" && *key != "enable")
        .map(|(key, given)| (key.to_owned(), given.raw.clone(), given.origin.clone()))
        .collect();
    let mut problems = Vec::new();
    for (key, raw, origin) in shared {
        let key = format!("{prefix}.{key}");
        if values.origin(&key).is_none() {
            problems.extend(values.lay(&key, raw, origin).err());
        }
    }
    problems
}

/// What is named with `--listen` replaces the `default` of the other kinds as well.
fn close_other_defaults(values: &mut Values, named: &[ListenerKind]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for kind in ListenerKind::ALL {
        let prefix = format!("listeners.{}.default", kind.name());
        if !named.contains(kind) && !values.below(&prefix).is_empty() {
            let origin = Origin::Option("--listen".to_owned());
            let off = Raw::Bare("false".to_owned());
            problems.extend(values.lay(&format!("{prefix}.enable"), off, origin).err());
        }
    }
    problems
}

/// The names of a kind's listeners that anything was given for.
fn names(values: &Values, kind: ListenerKind) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (key, _) in values.below(&format!("listeners.{}", kind.name())) {
        let name = key.split('.').next().unwrap_or(key);
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The listeners to open, by kind and name; `tcp:default` alone when none was configured.
pub(crate) fn listeners(values: &Values) -> Result<Vec<Listener>, Vec<Problem>> {
    let mut all: Vec<(ListenerKind, String)> = Vec::new();
    for kind in ListenerKind::ALL {
        all.extend(names(values, *kind).into_iter().map(|name| (*kind, name)));
    }
    if all.is_empty() {
        all.push((ListenerKind::Tcp, "default".to_owned()));
    }
    let mut problems = Vec::new();
    let mut enabled = Vec::new();
    for (kind, name) in all {
        let prefix = format!("listeners.{}.{name}", kind.name());
        if name != "default" && values.origin(&format!("{prefix}.bind")).is_none() {
            problems.push(missing_bind(values, &prefix));
        }
        enabled.extend(Listener::read(values, kind, &name));
    }
    problems.extend(collisions(&enabled));
    if enabled.len() > LISTENERS_MAX {
        let what = format!("there are more than {LISTENERS_MAX} listeners");
        problems.push(Problem::overall(what));
    }
    if enabled.is_empty() && problems.is_empty() {
        problems.push(Problem::overall(
            "no listener is enabled; enable one or name one with --listen tcp://0.0.0.0:1883",
        ));
    }
    if problems.is_empty() {
        Ok(enabled)
    } else {
        Err(problems)
    }
}

fn missing_bind(values: &Values, prefix: &str) -> Problem {
    let first = values
        .below(prefix)
        .first()
        .map(|(_, given)| given.origin.clone());
    Problem {
        origin: first,
        key: Some(format!("{prefix}.bind")),
        what: "the listener needs its address, such as \"0.0.0.0:1884\"".to_owned(),
    }
}

/// Two listeners on one address: the kernel would share connections among them.
fn collisions(listeners: &[Listener]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let bind = &listener.bind;
        let earlier = listeners
            .iter()
            .take(index)
            .find(|other| other.bind == *bind);
        if let Some(earlier) = earlier.filter(|_| bind.is_one_place()) {
            problems.push(Problem::overall(format!(
                "the listeners {earlier} and {listener} have the same address, {bind}"
            )));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    fn listed(values: &Values) -> Vec<String> {
        let listeners = listeners(values).unwrap();
        let show = |l: &Listener| format!("{l} {}", l.bind);
        listeners.iter().map(show).collect()
    }

    fn said(problems: Vec<Problem>) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    fn set(values: &mut Values, key: &str, value: &str) {
        values
            .lay(key, Raw::Bare(value.to_owned()), Origin::Set)
            .unwrap();
    }

    #[test]
    fn urls_name_kind_and_address() {
        for (url, want) in [
            ("tcp://127.0.0.1:1883", "127.0.0.1:1883"),
            ("mqtt://127.0.0.1:1883/", "127.0.0.1:1883"),
            ("tcp://[::1]:1883", "[::1]:1883"),
            ("tcp://0.0.0.0:0", "0.0.0.0:0"),
            ("tcp://:1883", "0.0.0.0:1883"),
        ] {
            let want = (ListenerKind::Tcp, Bind::Ip(want.parse().unwrap()));
            assert_eq!(parse_url(url), Ok(want), "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, want) in [
            (
                "unix://run/x.sock",
                "this is not unix:///PATH, such as unix:///run/millrace.sock",
            ),
            (
                "http://0.0.0.0:80",
                "there is no listener of kind `http`; the kinds are tcp, ssl, ws, wss, unix",
            ),
            (
                "0.0.0.0:1883",
                "this is not KIND://ADDR:PORT, such as tcp://0.0.0.0:1883",
            ),
            (
                "tcp://0.0.0.0",
                "`0.0.0.0` is not an IP address with a port, such as 0.0.0.0:1883 or [::1]:1883",
            ),
        ] {
            assert_eq!(parse_url(url), Err(want.to_owned()), "{url}");
        }
    }

    #[test]
    fn without_configuration_there_is_the_default() {
        assert_eq!(listed(&Values::default()), ["tcp:default 0.0.0.0:1883"]);
    }

    #[test]
    fn a_named_listener_stands_alone_and_needs_an_address() {
        let mut values = Values::default();
        set(&mut values, "listeners.tcp.plant.backlog", "7");
        let want = "--set: key `listeners.tcp.plant.bind`: the listener needs its address, such as \
                    \"0.0.0.0:1884\"";
        assert_eq!(said(listeners(&values).unwrap_err()), [want]);
        set(&mut values, "listeners.tcp.plant.bind", "127.0.0.1:1884");
        assert_eq!(listed(&values), ["tcp:plant 127.0.0.1:1884"]);
    }

    #[test]
    fn urls_replace_the_default_and_keep_its_other_settings() {
        let mut values = Values::default();
        set(&mut values, "listeners.tcp.default.bind", "1.1.1.1:1");
        set(&mut values, "listeners.tcp.default.enable", "false");
        set(&mut values, "listeners.tcp.default.backlog", "7");
        set(&mut values, "listeners.tcp.default2.backlog", "8");
        set(&mut values, "listeners.tcp.plant.bind", "127.0.0.1:1884");
        let given = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "mqtt://127.0.0.2:5"];
        lay_urls(&mut values, &urls(&given)).unwrap();
        let want = [
            "tcp:default 127.0.0.1:0",
            "tcp:default2 [::1]:0",
            "tcp:default3 127.0.0.2:5",
            "tcp:plant 127.0.0.1:1884",
        ];
        assert_eq!(listed(&values), want);
        let backlogs = listeners(&values)
            .unwrap()
            .into_iter()
            .map(|l| l.settings.backlog);
        assert_eq!(backlogs.collect::<Vec<_>>(), [7, 8, 7, 4096]);
    }

    #[test]
    fn one_address_has_one_listener_but_port_0_many() {
        let mut values = Values::default();
        lay_urls(
            &mut values,
            &urls(&["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]),
        )
        .unwrap();
        assert!(listeners(&values).is_ok());
        lay_urls(
            &mut values,
            &urls(&["tcp://127.0.0.1:9", "tcp://127.0.0.1:9"]),
        )
        .unwrap();
        let want = "the listeners tcp:default and tcp:default2 have the same address, 127.0.0.1:9";
        assert_eq!(said(listeners(&values).unwrap_err()), [want]);
    }

    #[test]
    fn no_listener_at_all_is_an_error() {
        let mut values = Values::default();
        set(&mut values, "listeners.tcp.default.enable", "false");
        let said = said(listeners(&values).unwrap_err());
        assert!(
            said.iter().all(|s| s.starts_with("no listener is enabled")),
            "{said:?}"
        );
    }

    #[test]
    fn every_wrong_url_is_reported_with_its_option() {
        let mut values = Values::default();
        let problems = lay_urls(&mut values, &urls(&["quic://:1", "tcp://:2", "x"])).unwrap_err();
        assert_eq!(
            said(problems),
            [
                "--listen quic://:1: there is no listener of kind `quic`; the kinds are tcp, ssl, ws, \
                 wss, unix",
                "--listen x: this is not KIND://ADDR:PORT, such as tcp://0.0.0.0:1883",
            ]
        );
    }

    #[test]
    fn every_kind_has_its_own_defaults() {
        let mut values = Values::default();
        set(&mut values, "listeners.ws.default.max_connections", "7");
        set(&mut values, "listeners.unix.default.mode", "0600");
        set(&mut values, "listeners.ws.panel.bind", "127.0.0.1:9");
        set(&mut values, "listeners.ws.panel.websocket.mqtt_path", "/x");
        let want = [
            "ws:default 0.0.0.0:8083",
            "ws:panel 127.0.0.1:9",
            "unix:default /run/millrace.sock",
        ];
        assert_eq!(listed(&values), want);
        let all = listeners(&values).unwrap();
        let path = |l: &Listener| l.websocket.as_ref().map(|w| w.mqtt_path.clone());
        assert_eq!(path(&all[0]).as_deref(), Some("/mqtt"));
        assert_eq!(path(&all[1]).as_deref(), Some("/x"));
        assert_eq!((path(&all[2]), all[2].mode), (None, 0o600));
        assert_eq!(all[0].settings.max_connections, Some(7));
    }

    #[test]
    fn urls_of_other_kinds_replace_every_default() {
        let mut values = Values::default();
        set(&mut values, "listeners.tcp.default.backlog", "7");
        set(
            &mut values,
            "listeners.ws.default.websocket.mqtt_path",
            "/x",
        );
        let given = ["ws://127.0.0.1:0", "unix:///tmp/a.sock", "ws://[::1]:0"];
        lay_urls(&mut values, &urls(&given)).unwrap();
        let want = [
            "ws:default 127.0.0.1:0",
            "ws:default2 [::1]:0",
            "unix:default /tmp/a.sock",
        ];
        assert_eq!(listed(&values), want);
        let all = listeners(&values).unwrap();
        assert!(
            all[..2]
                .iter()
                .all(|l| l.websocket.as_ref().unwrap().mqtt_path == "/x")
        );
    }
}
