//! Answers of the API as EMQX's command line prints them.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Columns of a name in `broker stats` and `broker metrics`.
const FIGURE_COLUMNS: usize = 30;
/// Columns of a name below a listener.
const LISTENER_COLUMNS: usize = 16;
/// Columns of a name in `broker`.
const BROKER_COLUMNS: usize = 10;

/// A value as a word: strings bare, what is not there as `undefined`.
pub fn word(value: &Value) -> String {
    match value {
        Value::Null => "undefined".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Seconds of UNIX time of an RFC 3339 moment; 0 is one that cannot be read.
fn unix_s(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_default();
    OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp)
}

/// A client in one line. What this broker does not count for each client is not in it.
pub fn client(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    let peer = match (row["ip_address"].as_str(), row["port"].as_u64()) {
        (Some(ip), Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        _ => "undefined".to_owned(),
    };
    let last = match row["connected"].as_bool() {
        Some(true) => format!("connected_at={}", unix_s(&row["connected_at"])),
        _ => format!("disconnected_at={}", unix_s(&row["disconnected_at"])),
    };
    format!(
        "Client ({}, username={}, peername={peer}, clean_start={}, keepalive={}, \
         session_expiry_interval={}, subscriptions={}, inflight={}, awaiting_rel={}, \
         enqueued_msgs={}, connected={}, created_at={}, {last})",
        of("clientid"),
        of("username"),
        of("clean_start"),
        of("keepalive"),
        of("expiry_interval"),
        of("subscriptions_cnt"),
        of("inflight_cnt"),
        of("awaiting_rel_cnt"),
        of("mqueue_len"),
        of("connected"),
        unix_s(&row["created_at"]),
    )
}

/// A route: filter and node.
pub fn route(row: &Value) -> String {
    format!("{} -> {}", word(&row["topic"]), word(&row["node"]))
}

/// A subscription: who, to what, with which QoS.
pub fn subscription(row: &Value) -> String {
    let (who, topic) = (word(&row["clientid"]), word(&row["topic"]));
    format!("{who} -> {topic}:{}", word(&row["qos"]))
}

/// A listener in several lines.
pub fn listener(row: &Value) -> String {
    let mut text = word(&row["id"]);
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("\n  {name:<LISTENER_COLUMNS$}: {value}"));
    };
    line("listen_on", &word(&row["bind"]));
    line("acceptors", &word(&row["acceptors"]));
    line("proxy_protocol", &word(&row["proxy_protocol"]));
    line("enable", &word(&row["enable"]));
    line("running", &word(&row["running"]));
    line("current_conn", &word(&row["current_connections"]));
    line("max_conns", &word(&row["max_connections"]));
    let ends = row["shutdown_count"].as_object();
    let ends = ends.into_iter().flat_map(Map::iter);
    let ends: Vec<String> = ends
        .map(|(why, count)| format!("{{{why},{count}}}"))
        .collect();
    line("shutdown_count", &format!("[{}]", ends.join(",")));
    text
}

/// Names and figures, one a line.
pub fn figures(all: &Value) -> String {
    let all = all.as_object().into_iter().flat_map(Map::iter);
    let lines: Vec<String> = all
        .filter(|(_, value)| value.is_number())
        .map(|(name, value)| format!("{name:<FIGURE_COLUMNS$}: {value}"))
        .collect();
    lines.join("\n")
}

/// What `broker` says.
pub fn broker(row: &Value) -> String {
    let uptime = row["uptime"].as_u64().unwrap_or(0);
    let lines = [
        ("sysdescr", word(&row["sysdescr"])),
        ("version", word(&row["version"])),
        ("uptime", duration(uptime / 1000)),
        ("datetime", word(&row["datetime"])),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<BROKER_COLUMNS$}: {value}"));
    lines.join("\n")
}

/// Seconds as people say them.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let mut text = String::new();
    for (count, unit) in [
        (days, "days"),
        (hours % 24, "hours"),
        (minutes % 60, "minutes"),
    ] {
        if count > 0 || !text.is_empty() {
            text.push_str(&format!("{count} {unit}, "));
        }
    }
    format!("{text}{} seconds", seconds % 60)
}

/// A ban in one line.
pub fn ban(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    format!(
        "banned({}:{}, by={}, reason={}, at={}, until={})",
        of("as"),
        of("who"),
        of("by"),
        of("reason"),
        of("at"),
        of("until")
    )
}

/// A user of the API in one line.
pub fn user(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    let (name, role, about) = (of("username"), of("role"), of("description"));
    format!("{name} role={role} description={about}")
}

/// An API key in one line; the secret is there once only.
pub fn api_key(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    let mut text = format!(
        "{} api_key={} role={} enable={} expired_at={}",
        of("name"),
        of("api_key"),
        of("role"),
        of("enable"),
        of("expired_at")
    );
    if let Some(secret) = row["api_secret"].as_str() {
        text.push_str(&format!(" api_secret={secret}"));
    }
    text
}

/// An API key as EMQX 4 tells of an application. Its secret is not kept.
pub fn application(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    let expired = match of("expired_at") {
        end if end == "infinity" => "undefined".to_owned(),
        end => end,
    };
    // One that was made as an application has its id for a name, and its name beside it.
    let (name, about) = match row["name"] == row["api_key"] {
        true => (of("desc"), String::new()),
        false => (of("name"), of("desc")),
    };
    format!(
        "app_id: {}, secret: ******, name: {name}, desc: {about}, status: {}, expired: {expired}",
        of("api_key"),
        of("enable"),
    )
}

/// A setting as a line of the configuration file.
pub fn setting(row: &Value) -> String {
    let (key, origin) = (word(&row["key"]), word(&row["origin"]));
    format!("{key} = {}    # {origin}", row["value"])
}

/// The nodes, in EMQX's words.
pub fn cluster(nodes: &Value) -> String {
    let names = |running: bool| {
        let nodes = nodes.as_array().into_iter().flatten();
        let with = nodes.filter(|node| (node["node_status"] == "running") == running);
        let quoted: Vec<String> = with
            .map(|node| format!("'{}'", word(&node["node"])))
            .collect();
        quoted.join(",")
    };
    format!(
        "Cluster status: #{{running_nodes => [{}],stopped_nodes => [{}]}}",
        names(true),
        names(false)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_is_one_line() {
        let mut row = json!({
            "clientid": "c1", "username": null, "ip_address": "127.0.0.1", "port": 56138,
            "clean_start": true, "keepalive": 60, "expiry_interval": 0, "subscriptions_cnt": 1,
            "inflight_cnt": 2, "awaiting_rel_cnt": 3, "mqueue_len": 4, "connected": true,
            "created_at": "2020-02-21T02:23:17Z", "connected_at": "2020-02-21T02:23:17.5Z",
        });
        let want = "Client (c1, username=undefined, peername=127.0.0.1:56138, clean_start=true, \
                    keepalive=60, session_expiry_interval=0, subscriptions=1, inflight=2, \
                    awaiting_rel=3, enqueued_msgs=4, connected=true, created_at=1582251797, \
                    connected_at=1582251797)";
        assert_eq!(client(&row), want);
        row["ip_address"] = json!("::1");
        assert!(client(&row).contains("peername=[::1]:56138,"));
    }

    #[test]
    fn a_listener_is_a_block_with_its_ends() {
        let row = json!({
            "id": "tcp:default", "bind": "0.0.0.0:1883", "acceptors": 2, "proxy_protocol": false,
            "enable": true, "running": true, "current_connections": 7,
            "max_connections": "infinity",
            "shutdown_count": { "keepalive_timeout": 3, "normal": 1 },
        });
        let want = "tcp:default\n  listen_on       : 0.0.0.0:1883\n  acceptors       : 2\n  \
                    proxy_protocol  : false\n  enable          : true\n  running         : true\n  \
                    current_conn    : 7\n  max_conns       : infinity\n  \
                    shutdown_count  : [{keepalive_timeout,3},{normal,1}]";
        assert_eq!(listener(&row), want);
    }

    #[test]
    fn figures_stand_in_columns() {
        let all = json!({ "bytes.received": 5, "node": "n" });
        assert_eq!(figures(&all), "bytes.received                : 5");
    }

    #[test]
    fn time_is_told_from_its_largest_unit_on() {
        assert_eq!(duration(25), "25 seconds");
        assert_eq!(duration(3600), "1 hours, 0 minutes, 0 seconds");
        assert_eq!(duration(90061), "1 days, 1 hours, 1 minutes, 1 seconds");
    }

    #[test]
    fn nodes_are_running_or_not() {
        let nodes = json!([{ "node": "a@b", "node_status": "running" }, { "node": "c@d" }]);
        let want = "Cluster status: #{running_nodes => ['a@b'],stopped_nodes => ['c@d']}";
        assert_eq!(cluster(&nodes), want);
    }
}
