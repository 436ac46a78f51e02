//! `mosquitto.conf`: a setting a line, with the settings of a listener behind it.

use std::collections::BTreeMap;

use crate::cli::import::mosquitto_access::{rules_of, users_of};
use crate::cli::import::sheet::{Place, Sheet, plain};
use crate::cli::import::{Imported, Text};
use crate::config::quoted;

/// Settings that make the section of a bridge; everything behind `connection` is its own.
const BRIDGE: &[&str] = &["connection", "address", "addresses", "topic", "start_type"];
/// Makes a value, as TOML.
type Converted = fn(&str) -> String;

/// Settings of the broker, ours, and what makes the value.
const GLOBAL: &[(&str, &str, Converted)] = &[
    ("max_packet_size", "mqtt.max_packet_size", plain),
    (
        "message_size_limit",
        "mqtt.max_packet_size",
        packet_of_payload,
    ),
    ("retain_available", "mqtt.retain_available", plain),
    ("max_inflight_messages", "mqtt.max_inflight", or_greatest),
    ("max_queued_messages", "mqtt.max_mqueue_len", or_infinity),
    ("queue_qos0_messages", "mqtt.mqueue_store_qos0", plain),
    ("upgrade_outgoing_qos", "mqtt.upgrade_qos", plain),
    (
        "persistent_client_expiration",
        "mqtt.session_expiry_interval",
        expiry,
    ),
    ("max_keepalive", "mqtt.server_keepalive", plain),
    ("sys_interval", "sys_topics.sys_msg_interval", seconds),
    ("max_qos", "mqtt.max_qos_allowed", plain),
    ("max_topic_alias", "mqtt.max_topic_alias", plain),
    (
        "use_username_as_clientid",
        "mqtt.use_username_as_clientid",
        plain,
    ),
];
/// What nothing here needs, and why.
const NEEDLESS: &[(&str, &str)] = &[
    (
        "autosave_interval",
        "there is no file that is saved now and then",
    ),
    (
        "autosave_on_changes",
        "there is no file that is saved now and then",
    ),
    (
        "allow_duplicate_messages",
        "each subscription that matches gets its copy",
    ),
    (
        "allow_zero_length_clientid",
        "it is always so, as MQTT has it",
    ),
    (
        "check_retain_source",
        "rights are looked at when a message is published",
    ),
    ("connection_messages", "see log.level"),
    ("log_timestamp", "each line of the log has its time"),
    ("log_timestamp_format", "each line of the log has its time"),
    ("pid_file", "`broker start` keeps one in the data directory"),
    (
        "retry_interval",
        "messages are sent again when a client comes back; see mqtt.retry_interval",
    ),
    (
        "set_tcp_nodelay",
        "it is so by default: listeners.<kind>.<name>.nodelay",
    ),
    (
        "per_listener_settings",
        "settings of a listener stand with it",
    ),
    ("tls_keyform", "keys are PEM files"),
    ("websockets_log_level", "see log.level"),
];
/// What there is nothing for, and why.
const LOST: &[(&str, &str)] = &[
    (
        "persistence_file",
        "sessions and retained messages are kept in memory",
    ),
    (
        "persistence_location",
        "sessions and retained messages are kept in memory",
    ),
    (
        "max_queued_bytes",
        "the bytes of all queues together are bounded: node.queue_memory",
    ),
    (
        "max_inflight_bytes",
        "the bytes of all queues together are bounded: node.queue_memory",
    ),
    (
        "memory_limit",
        "the bytes of all queues together are bounded: node.queue_memory",
    ),
    (
        "auto_id_prefix",
        "ids that the broker gives have a form of their own",
    ),
    (
        "clientid_prefixes",
        "use a rule on the client id in the file of access rules",
    ),
    (
        "include_dir",
        "its files are not looked at; import them as well, or paste them in",
    ),
    ("user", "the service manager says as whom the broker runs"),
    (
        "log_facility",
        "the log goes to standard error; the service manager keeps it",
    ),
    ("plugin", "there are no plugins of that kind"),
    ("auth_plugin", "there are no plugins of that kind"),
    ("psk_file", "there are no pre-shared keys"),
    ("psk_hint", "there are no pre-shared keys"),
    ("capath", "name the one file: ssl_options.cacertfile"),
    ("tls_engine", "keys are PEM files"),
    ("dhparamfile", "the groups of Diffie and Hellman are fixed"),
    (
        "bind_interface",
        "name an address instead: listeners.<kind>.<name>.bind",
    ),
    ("http_dir", "no files are served"),
    (
        "http_api",
        "the HTTP API has an address of its own: http.listen",
    ),
];
/// Packets of so many bytes hold the topic and properties beside a payload.
const BESIDE_PAYLOAD: u64 = 65_536;
/// The largest packet there can be.
const PACKET_MAX: u64 = 268_435_455;

/// A line of the file.
#[derive(Debug, Clone)]
struct Line {
    key: String,
    value: String,
    place: Place,
}

/// A listener with what stands behind it.
#[derive(Debug, Default)]
struct Listener {
    lines: Vec<Line>,
}

/// A configuration of mosquitto as one of this broker.
///
/// `read` gives the text of a file that it names; `base` is the path of the new file without its ending,
/// beside which those of users and rules will lie.
///
/// # Errors
/// A sentence: it makes no configuration.
pub fn import(
    file: &Text,
    base: &str,
    read: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Imported, String> {
    let mut sheet = Sheet::default();
    sheet.remark(format!("Made from mosquitto's {}.", file.name));
    let (mut general, listeners) = parts(file, &mut sheet);
    let first = Listener {
        lines: take_listener_lines(&mut general, &listeners),
    };
    let has_listeners = !listeners.is_empty() || !first.lines.is_empty();
    let mut names = BTreeMap::new();
    for listener in std::iter::once(first).chain(listeners) {
        write_listener(listener, &mut names, &mut general, &mut sheet);
    }
    access(&general, has_listeners, (base, read), &mut sheet);
    for line in general {
        global(&line, &mut sheet);
    }
    sheet.finish()
}

/// The lines before the first listener, and the listeners; bridges are noted.
fn parts(file: &Text, sheet: &mut Sheet) -> (Vec<Line>, Vec<Listener>) {
    let (mut general, mut listeners) = (Vec::new(), Vec::<Listener>::new());
    let mut in_bridge = false;
    for (index, text) in file.text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let place = Place {
            file: file.name.clone(),
            line: index + 1,
            what: key.to_owned(),
        };
        in_bridge = match key {
            "connection" => true,
            "listener" => false,
            _ => in_bridge,
        };
        if in_bridge || BRIDGE.contains(&key) || key.starts_with("bridge_") {
            sheet.lose(&place, "there are no bridges to other brokers");
            continue;
        }
        let line = Line {
            key: key.to_owned(),
            value: value.trim().to_owned(),
            place,
        };
        match (key, listeners.last_mut()) {
            ("listener", _) => listeners.push(Listener { lines: vec![line] }),
            (key, Some(listener)) if is_of_listener(key) => listener.lines.push(line),
            _ => general.push(line),
        }
    }
    (general, listeners)
}

/// Whether a setting is a listener's when it stands behind one.
fn is_of_listener(key: &str) -> bool {
    const OF_LISTENER: &[&str] = &[
        "port",
        "bind_address",
        "protocol",
        "max_connections",
        "mount_point",
        "cafile",
        "capath",
        "certfile",
        "keyfile",
        "crlfile",
        "ciphers",
        "ciphers_tls1.3",
        "require_certificate",
        "tls_version",
        "use_identity_as_username",
        "use_subject_as_username",
        "socket_domain",
        "websockets_origin",
        "listener_allow_anonymous",
        "enable_proxy_protocol",
        "accept_protocol_versions",
        "bind_interface",
        "dhparamfile",
        "tls_engine",
        "tls_keyform",
        "http_dir",
        "psk_hint",
        "set_tcp_nodelay",
    ];
    OF_LISTENER.contains(&key)
}

/// What stands before the first `listener` line and is of a listener makes one, if it has a port.
fn take_listener_lines(general: &mut Vec<Line>, listeners: &[Listener]) -> Vec<Line> {
    let has_place = general
        .iter()
        .any(|l| l.key == "port" || l.key == "bind_address");
    if !has_place && !listeners.is_empty() {
        return Vec::new();
    }
    let (own, rest) = general
        .drain(..)
        .partition(|line| is_of_listener(&line.key));
    *general = rest;
    own
}

fn find<'l>(lines: &'l [Line], key: &str) -> Option<&'l Line> {
    lines.iter().rev().find(|line| line.key == key)
}

/// Address and port, or the path of a Unix socket.
fn bind_of(lines: &[Line]) -> Result<(bool, String), &'static str> {
    let listener = find(lines, "listener");
    let mut words = listener.map_or("", |l| l.value.as_str()).split_whitespace();
    let port = words
        .next()
        .or_else(|| find(lines, "port").map(|l| l.value.as_str()));
    let host = words
        .next()
        .or_else(|| find(lines, "bind_address").map(|l| l.value.as_str()));
    let port = port.unwrap_or("1883");
    if port == "0" {
        return host
            .map(|path| (true, path.to_owned()))
            .ok_or("it has no port");
    }
    let host = match (host, find(lines, "socket_domain").map(|l| l.value.as_str())) {
        (None, Some("ipv6")) => "[::]",
        (None, _) => "0.0.0.0",
        (Some("localhost"), _) => "127.0.0.1",
        (Some(host), _) => host,
    };
    Ok((
        false,
        match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        },
    ))
}

fn write_listener(
    listener: Listener,
    names: &mut BTreeMap<&'static str, u32>,
    general: &mut Vec<Line>,
    sheet: &mut Sheet,
) {
    let lines = listener.lines;
    let Some(first) = lines.first() else {
        return;
    };
    let (is_unix, bind) = match bind_of(&lines) {
        Ok(bind) => bind,
        Err(why) => return sheet.lose(&first.place, why),
    };
    let is_web = find(&lines, "protocol").is_some_and(|l| l.value == "websockets");
    let is_tls = find(&lines, "certfile").is_some();
    let kind = match (is_unix, is_web, is_tls) {
        (true, ..) => "unix",
        (_, true, true) => "wss",
        (_, true, false) => "ws",
        (_, false, true) => "ssl",
        (_, false, false) => "tcp",
    };
    let count = names.entry(kind).or_default();
    *count += 1;
    let prefix = match *count {
        1 => format!("listeners.{kind}.default"),
        count => format!("listeners.{kind}.listener{count}"),
    };
    let place = find(&lines, "listener")
        .or_else(|| find(&lines, "port"))
        .unwrap_or(first);
    sheet.set(format!("{prefix}.bind"), quoted(&bind), &place.place);
    for line in lines {
        listener_setting(&prefix, line, general, sheet);
    }
}

fn listener_setting(prefix: &str, line: Line, general: &mut Vec<Line>, sheet: &mut Sheet) {
    let place = line.place.clone();
    let mut set = |key: &str, value: String| sheet.set(format!("{prefix}.{key}"), value, &place);
    match (line.key.as_str(), line.value.as_str()) {
        ("listener" | "port" | "bind_address" | "protocol" | "socket_domain", _) => {}
        ("max_connections", "-1") => {}
        ("max_connections", value) => set("max_connections", plain(value)),
        ("mount_point", value) => set("mountpoint", quoted(value)),
        ("cafile", path) => set("ssl_options.cacertfile", quoted(path)),
        ("certfile", path) => set("ssl_options.certfile", quoted(path)),
        ("keyfile", path) => set("ssl_options.keyfile", quoted(path)),
        ("crlfile", path) => {
            set("ssl_options.enable_crl_check", "true".to_owned());
            set("ssl_options.crl_file", quoted(path));
        }
        ("require_certificate", "true") => {
            set("ssl_options.verify", quoted("verify_peer"));
            set("ssl_options.fail_if_no_peer_cert", "true".to_owned());
        }
        ("require_certificate", _) => {}
        ("tls_version", "tlsv1.3") => set("ssl_options.versions", quoted("tlsv1.3")),
        ("tls_version", _) => set("ssl_options.versions", quoted("tlsv1.3,tlsv1.2")),
        ("ciphers" | "ciphers_tls1.3", list) => {
            set("ssl_options.ciphers", quoted(&list.replace(':', ",")));
        }
        ("websockets_origin", origin) => {
            set("websocket.check_origin_enable", "true".to_owned());
            set("websocket.check_origins", format!("[{}]", quoted(origin)));
        }
        ("enable_proxy_protocol", version) => {
            set("proxy_protocol", (version != "0").to_string());
        }
        ("use_identity_as_username", "true") => {
            sheet.set("mqtt.peer_cert_as_username", quoted("cn"), &place);
        }
        ("use_subject_as_username", "true") => {
            sheet.set("mqtt.peer_cert_as_username", quoted("dn"), &place);
        }
        ("use_identity_as_username" | "use_subject_as_username", _) => {}
        ("listener_allow_anonymous", "true") => set("enable_authn", "false".to_owned()),
        ("listener_allow_anonymous", _) => {}
        ("accept_protocol_versions", _) => sheet.lose(&place, "all versions are spoken"),
        _ => general.push(line),
    }
}

/// Where new files lie, and how others are read.
type Files<'a> = (&'a str, &'a dyn Fn(&str) -> Result<String, String>);

/// Users, rules, and who enters without a name.
fn access(general: &[Line], has_listeners: bool, files: Files<'_>, sheet: &mut Sheet) {
    let anonymous = find(general, "allow_anonymous");
    let is_open = anonymous.map_or(!has_listeners, |line| line.value == "true");
    let users = find(general, "password_file").filter(|line| users(line, files, sheet));
    match (anonymous, users) {
        (Some(line), Some(_)) if is_open => sheet.lose(
            &line.place,
            "where users have passwords nobody enters without a name; enable_authn = false lets \
             everybody in by one listener",
        ),
        (Some(line), _) => sheet.set("mqtt.allow_anonymous", is_open.to_string(), &line.place),
        (None, None) if !is_open => {
            let place = Place {
                file: "mosquitto".to_owned(),
                line: 0,
                what: "its default where a listener is configured".to_owned(),
            };
            sheet.set("mqtt.allow_anonymous", "false", &place);
        }
        (None, _) => {}
    }
    if let Some(line) = find(general, "acl_file") {
        rules(line, files, sheet);
    }
}

/// Users become a file of ours; says whether there is one.
fn users(line: &Line, (base, read): Files<'_>, sheet: &mut Sheet) -> bool {
    let text = match read(&line.value) {
        Ok(text) => text,
        Err(why) => {
            sheet.lose(&line.place, format!("its file cannot be read: {why}"));
            return false;
        }
    };
    let name = line.value.clone();
    let csv = users_of(&Text { name, text }, sheet);
    let field = |key: &str, value: &str| (key.to_owned(), value.to_owned(), line.place.clone());
    let hash = "{ name = \"pbkdf2\", mac_fun = \"sha512\", iterations = 101, dk_length = 64 }";
    sheet.table(
        "authentication",
        vec![
            field("mechanism", "\"password_based\""),
            field("backend", "\"built_in_database\""),
            field("password_hash_algorithm", hash),
            field("bootstrap_type", "\"hash\""),
            field("bootstrap_file", &quoted(&format!("{base}.users.csv"))),
        ],
    );
    sheet.file("users.csv", csv);
    true
}

/// Rules become a file of ours.
fn rules(line: &Line, (base, read): Files<'_>, sheet: &mut Sheet) {
    let text = match read(&line.value) {
        Ok(text) => text,
        Err(why) => {
            return sheet.lose(&line.place, format!("its file cannot be read: {why}"));
        }
    };
    let name = line.value.clone();
    let own = rules_of(&Text { name, text }, sheet);
    let path = quoted(&format!("{base}.acl.conf"));
    sheet.set("authorization.sources.file.path", path, &line.place);
    sheet.set("authorization.no_match", quoted("deny"), &line.place);
    sheet.file("acl.conf", own);
    sheet.remark(
        "Rights to read are looked at when a client subscribes (mosquitto: at each message): who \
         subscribes to more than it may read gets nothing of it.",
    );
}

fn global(line: &Line, sheet: &mut Sheet) {
    let (key, value, place) = (line.key.as_str(), line.value.as_str(), &line.place);
    match (key, value) {
        ("allow_anonymous" | "password_file" | "acl_file", _) => return,
        ("persistence", "true") => {
            return sheet.lose(place, "sessions and retained messages are kept in memory");
        }
        ("persistence", _) => return sheet.drop(place, "nothing is kept on disk"),
        ("log_dest", "stderr" | "stdout" | "none") => {
            return sheet.drop(place, "the log goes to standard error");
        }
        ("log_dest", _) => {
            let why = "the log goes to standard error; the service manager keeps it";
            return sheet.lose(place, why);
        }
        ("log_type", level) => return log_type(level, place, sheet),
        _ => {}
    }
    if let Some((_, own, of)) = GLOBAL.iter().find(|(known, ..)| *known == key) {
        sheet.set(*own, of(value), place);
        if key == "sys_interval" {
            sheet.set("sys_topics.mosquitto", "true", place);
        }
        return;
    }
    let named =
        |table: &'static [(&str, &'static str)]| table.iter().find(|(known, _)| *known == key);
    if let Some((_, why)) = named(NEEDLESS) {
        sheet.drop(place, *why);
    } else if let Some((_, why)) = named(LOST) {
        sheet.lose(place, *why);
    } else {
        let why = match key {
            key if key.starts_with("plugin_") || key.starts_with("auth_opt_") => {
                "there are no plugins of that kind"
            }
            _ => "this broker has nothing of that name",
        };
        sheet.lose(place, why);
    }
}

/// Each line adds a kind of line; the least severe of them is the level.
fn log_type(kind: &str, place: &Place, sheet: &mut Sheet) {
    let level = match kind {
        "debug" | "all" | "subscribe" | "unsubscribe" | "websockets" => "debug",
        "information" | "notice" => "info",
        "warning" => "warning",
        "error" => "error",
        "none" => return sheet.lose(place, "errors are always logged"),
        _ => return sheet.lose(place, "there is no such kind of line"),
    };
    const LEVELS: &[&str] = &["error", "warning", "info", "debug"];
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    let before = LEVELS
        .iter()
        .find(|known| sheet.has_value("log.level", &quoted(known)));
    if before.is_none_or(|before| rank(before) < rank(level)) {
        sheet.set("log.level", quoted(level), place);
    }
}

fn or_infinity(value: &str) -> String {
    match value {
        "0" => quoted("infinity"),
        other => plain(other),
    }
}

fn or_greatest(value: &str) -> String {
    match value {
        "0" => "65535".to_owned(),
        other => plain(other),
    }
}

fn seconds(value: &str) -> String {
    match value {
        "0" => quoted("disabled"),
        other => quoted(&format!("{other}s")),
    }
}

/// The packet that holds such a payload.
fn packet_of_payload(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(0) => PACKET_MAX.to_string(),
        Ok(bytes) => bytes
            .saturating_add(BESIDE_PAYLOAD)
            .min(PACKET_MAX)
            .to_string(),
        Err(_) => plain(value),
    }
}

/// `14d`, `2m` (months), `1y`, as mosquitto has them.
fn expiry(value: &str) -> String {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = value.strip_prefix(digits).unwrap_or_default();
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        "m" => 30 * 24,
        "y" => 365 * 24,
        _ => return plain(value),
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(hours))
    {
        Some(hours) => quoted(&format!("{hours}h")),
        None => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = include_str!("testdata/mosquitto.conf");
    const PASSWORDS: &str = include_str!("testdata/mosquitto.passwd");
    const RULES: &str = include_str!("testdata/mosquitto.acl");

    fn read(name: &str) -> Result<String, String> {
        match name {
            "/etc/mosquitto/passwd" => Ok(PASSWORDS.to_owned()),
            "/etc/mosquitto/acl" => Ok(RULES.to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn imported(text: &str) -> Imported {
        let file = Text {
            name: "m.conf".to_owned(),
            text: text.to_owned(),
        };
        import(&file, "out/new", &read).unwrap()
    }

    fn has(done: &Imported, line: &str) {
        let found = done
            .toml
            .lines()
            .any(|l| l.starts_with(&format!("{line} # ")));
        assert!(found, "{line}\n{}", done.toml);
    }

    #[test]
    fn a_whole_configuration() {
        let done = imported(CONF);
        for line in [
            "listeners.tcp.default.bind = \"0.0.0.0:1883\"",
            "listeners.tcp.default.max_connections = 1000",
            "listeners.ssl.default.bind = \"192.0.2.1:8883\"",
            "listeners.ssl.default.ssl_options.certfile = \"/etc/mosquitto/certs/server.crt\"",
            "listeners.ssl.default.ssl_options.verify = \"verify_peer\"",
            "listeners.ssl.default.ssl_options.fail_if_no_peer_cert = true",
            "mqtt.peer_cert_as_username = \"cn\"",
            "listeners.ws.default.bind = \"[::]:9001\"",
            "listeners.unix.default.bind = \"/run/mosquitto/mosquitto.sock\"",
            "mqtt.session_expiry_interval = \"336h\"",
            "mqtt.max_inflight = 65535",
            "mqtt.max_mqueue_len = 5000",
            "mqtt.max_packet_size = 1065536",
            "mqtt.retain_available = true",
            "authorization.no_match = \"deny\"",
            "authorization.sources.file.path = \"out/new.acl.conf\"",
            "bootstrap_file = \"out/new.users.csv\"",
            "log.level = \"info\"",
        ] {
            has(&done, line);
        }
        let lost = done.lost.join("\n");
        for why in [
            "persistence: sessions and retained messages are kept in memory",
            "connection: there are no bridges",
            "topic: there are no bridges",
            "log_dest: the log goes to standard error",
        ] {
            assert!(lost.contains(why), "{why}\n{lost}");
        }
        assert!(
            done.needless
                .iter()
                .any(|line| line.contains("autosave_interval"))
        );
        assert_eq!(done.files.len(), 2);
    }

    #[test]
    fn who_enters_without_a_name() {
        has(&imported("listener 1884\n"), "mqtt.allow_anonymous = false");
        has(
            &imported("listener 1884\nallow_anonymous true\n"),
            "mqtt.allow_anonymous = true",
        );
        let both =
            imported("listener 1884\nallow_anonymous true\npassword_file /etc/mosquitto/passwd\n");
        assert!(
            both.lost[0].contains("allow_anonymous: where users have passwords"),
            "{:?}",
            both.lost
        );
        let none = imported("password_file /nowhere\n");
        assert!(none.lost[0].ends_with("its file cannot be read: no such file"));
    }

    #[test]
    fn names_and_places_of_listeners() {
        let done = imported("port 1885\nbind_address ::1\nlistener 1 localhost\nlistener 0\n");
        has(&done, "listeners.tcp.default.bind = \"[::1]:1885\"");
        has(&done, "listeners.tcp.listener2.bind = \"127.0.0.1:1\"");
        assert!(
            done.lost[0].ends_with("listener: it has no port"),
            "{:?}",
            done.lost
        );
        let done = imported("listener 1883 some.name\n");
        assert!(
            done.lost[0].contains("listeners.tcp.default.bind"),
            "{:?}",
            done.lost
        );
    }

    #[test]
    fn times_and_levels() {
        assert_eq!(expiry("2m"), "\"1440h\"");
        assert_eq!(expiry("1y"), "\"8760h\"");
        assert_eq!(expiry("soon"), "\"soon\"");
        has(
            &imported("log_type error\nlog_type warning\nlog_type error\n"),
            "log.level = \"warning\"",
        );
        has(
            &imported("sys_interval 10\n"),
            "sys_topics.mosquitto = true",
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_there_is_a_configuration_or_a_sentence(
            lines in proptest::collection::vec("(listener|port|cafile|max_qos|log_type|x) [ -~]{0,12}", 0..12),
        ) {
            let file = Text { name: "m".to_owned(), text: lines.join("\n") };
            let _ = import(&file, "b", &read);
        }
    }
}
