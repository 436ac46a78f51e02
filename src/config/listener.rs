//! Listeners: their kinds, `--listen` URLs, and the list that comes of both.

use std::fmt;
use std::net::SocketAddr;

use super::kind::Raw;
use super::quantity::parse_address;
use super::sections::TcpListener;
use super::values::{Origin, Problem, Values};

/// The longest name of a listener, in bytes: it stands in logs and metrics.
const NAME_LEN_MAX: usize = 32;

/// What a listener speaks below MQTT. All kinds are known by name; only TCP can be opened so far.
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

    /// Whether this version opens listeners of that kind; if not, the sentence to say.
    pub(crate) fn available(self) -> Result<(), String> {
        match self {
            Self::Tcp => Ok(()),
            _ => Err(format!(
                "listeners of kind `{}` are not available in this version; only `tcp` is",
                self.name()
            )),
        }
    }
}

/// One listener to open. It is enabled: those that are not do not get here.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// What it speaks.
    pub kind: ListenerKind,
    /// Its name, unique within its kind.
    pub name: String,
    /// Its settings.
    pub settings: TcpListener,
}

impl fmt::Display for Listener {
    /// The listener's id, as in logs: `tcp:default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.name)
    }
}

/// Whether a listener may have that name.
pub(crate) fn is_listener_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !name.is_empty() && name.len() <= NAME_LEN_MAX && name.bytes().all(fits)
}

/// The kind and address of a `--listen` URL, `KIND://ADDR:PORT`.
fn parse_url(url: &str) -> Result<(ListenerKind, SocketAddr), String> {
    let (kind, rest) = url
        .split_once("://")
        .ok_or_else(|| "this is not KIND://ADDR:PORT, such as tcp://0.0.0.0:1883".to_owned())?;
    let kind = ListenerKind::named(kind).ok_or_else(|| {
        format!("there is no listener of kind `{kind}`; the kinds are tcp, ssl, ws, wss, unix")
    })?;
    kind.available()?;
    let address = rest.strip_suffix('/').unwrap_or(rest);
    let address = parse_address(address).ok_or_else(|| {
        format!("`{address}` is not an IP address with a port, such as 0.0.0.0:1883 or [::1]:1883")
    })?;
    Ok((kind, address))
}

/// Lays `--listen` URLs over everything else: they replace the listener `default`, are named
/// `default`, `default2`, ... and keep the other settings that were given for `default`.
pub(crate) fn lay_urls(values: &mut Values, urls: &[String]) -> Result<(), Vec<Problem>> {
    let origin = |url: &str| Origin::Option(format!("--listen {url}"));
    let mut problems = Vec::new();
    let mut addresses = Vec::new();
    for url in urls {
        match parse_url(url) {
            Ok((_, address)) => addresses.push((url, address)),
            Err(what) => problems.push(Problem::at(origin(url), what)),
        }
    }
    let shared: Vec<(String, Raw, Origin)> = values
        .below("listeners.tcp.default")
        .into_iter()
        .map(|(key, given)| (key.to_owned(), given.raw.clone(), given.origin.clone()))
        .collect();
    for (index, (url, address)) in addresses.into_iter().enumerate() {
        let name = match index {
            0 => "default".to_owned(),
            _ => format!("default{}", index + 1),
        };
        let prefix = format!("listeners.tcp.{name}");
        for (key, raw, origin) in &shared {
            let key = format!("{prefix}.{key}");
            if values.origin(&key).is_none() {
                problems.extend(values.lay(&key, raw.clone(), origin.clone()).err());
            }
        }
        let bind = Raw::Bare(address.to_string());
        problems.extend(
            values
                .lay(&format!("{prefix}.bind"), bind, origin(url))
                .err(),
        );
        let enable = Raw::Bare("true".to_owned());
        problems.extend(
            values
                .lay(&format!("{prefix}.enable"), enable, origin(url))
                .err(),
        );
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// The listeners to open, by name; `default` alone when none was configured.
pub(crate) fn listeners(values: &Values) -> Result<Vec<Listener>, Vec<Problem>> {
    let mut names: Vec<String> = Vec::new();
    for (key, _) in values.below("listeners.tcp") {
        let name = key.split('.').next().unwrap_or(key);
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        names.push("default".to_owned());
    }
    let mut problems = Vec::new();
    let mut enabled = Vec::new();
    for name in names {
        let prefix = format!("listeners.tcp.{name}");
        if name != "default" && values.origin(&format!("{prefix}.bind")).is_none() {
            problems.push(missing_bind(values, &prefix));
        }
        let settings = TcpListener::read(values, &prefix);
        if settings.enable {
            enabled.push(Listener {
                kind: ListenerKind::Tcp,
                name,
                settings,
            });
        }
    }
    problems.extend(collisions(&enabled));
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
        let bind = listener.settings.bind;
        let earlier = listeners
            .iter()
            .take(index)
            .find(|other| other.settings.bind == bind);
        if let Some(earlier) = earlier.filter(|_| bind.port() != 0) {
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
        let show = |l: &Listener| format!("{l} {}", l.settings.bind);
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
            let want = (ListenerKind::Tcp, want.parse().unwrap());
            assert_eq!(parse_url(url), Ok(want), "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, want) in [
            (
                "wss://0.0.0.0:8084",
                "listeners of kind `wss` are not available in this version; only `tcp` is",
            ),
            (
                "unix:///run/x.sock",
                "listeners of kind `unix` are not available in this version; only `tcp` is",
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
        let problems = lay_urls(&mut values, &urls(&["ws://:1", "tcp://:2", "x"])).unwrap_err();
        assert_eq!(
            said(problems),
            [
                "--listen ws://:1: listeners of kind `ws` are not available in this version; only \
                 `tcp` is",
                "--listen x: this is not KIND://ADDR:PORT, such as tcp://0.0.0.0:1883",
            ]
        );
    }
}
