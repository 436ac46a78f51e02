//! Figures for Prometheus: what they say, who may read them, and what promtool thinks of them.

use std::io::Write;
use std::process::{Command, Stdio};

use bench_harness::codec::Version;

use super::Api;
use crate::peer::{clean, collect, connect, subscriber};

/// The value of a line without labels, or with exactly these.
fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// What promtool says of the names; nothing where it is not installed (`scripts/test.sh` installs it).
fn promtool(text: &str) -> Option<(Option<i32>, String)> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.code(), said))
}

#[test]
fn figures_are_what_happened_and_promtool_finds_nothing_wrong() {
    let api = Api::start(2);
    let mut client = subscriber(api.mqtt(), Version::V5, "c", "t", 1);
    let mut publisher = connect(api.mqtt(), &clean(Version::V5, "p"));
    publisher.publish("t", 1, b"x").unwrap();
    collect(&mut client, 1);
    let answer = api.as_nobody("GET", "/metrics", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = "content-type: text/plain; version=0.0.4";
    assert!(answer.headers.contains(kind), "{}", answer.headers);
    let text = &answer.text;
    for (name, wanted) in [
        ("millrace_messages_received_total", 1.0),
        ("millrace_messages_qos1_received_total", 1.0),
        ("millrace_packets_connect_received_total", 2.0),
        ("millrace_connections", 2.0),
        ("millrace_subscriptions", 1.0),
        ("millrace_connect_duration_seconds_count", 2.0),
        ("millrace_connect_duration_seconds_bucket{le=\"+Inf\"}", 2.0),
    ] {
        assert!((value(text, name) - wanted).abs() < 0.01, "{name}: {text}");
    }
    assert!(value(text, "process_resident_memory_bytes") > 1e6);
    assert!(text.contains("# HELP millrace_messages_qos1_received_total QoS 1 messages received"));
    assert!(text.contains("# TYPE millrace_connect_duration_seconds histogram"));
    assert!(!text.contains("emqx_"), "{text}");
    match promtool(text) {
        Some((code, said)) => assert_eq!(code, Some(0), "{said}"),
        None => println!("NOTE: promtool is not installed: the names were not checked"),
    }
}

#[test]
fn emqx_names_are_served_where_its_tools_look() {
    let api = Api::with(1, &["--set", "prometheus.emqx_names=true"]);
    let _client = subscriber(api.mqtt(), Version::V311, "c", "t", 0);
    for path in [
        "/metrics",
        "/api/v5/prometheus/stats",
        "/api/v4/emqx_prometheus?type=prometheus",
    ] {
        let answer = api.as_nobody("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let text = &answer.text;
        for (name, wanted) in [
            ("emqx_connections_count", 1.0),
            ("emqx_connections_max", 1.0),
            ("emqx_live_connections_count", 1.0),
            ("emqx_topics_count", 1.0),
            ("emqx_subscriptions_count", 1.0),
            ("emqx_client_connected", 1.0),
            ("emqx_client_authenticate", 1.0),
            ("emqx_messages_received", 0.0),
            ("emqx_messages_dropped", 0.0),
            ("emqx_packets_connect_received", 1.0),
            ("emqx_session_created", 1.0),
            ("emqx_cluster_nodes_running", 1.0),
        ] {
            assert!((value(text, name) - wanted).abs() < 0.01, "{path} {name}");
        }
        assert!(value(text, "emqx_bytes_received") > 20.0);
        assert!(value(text, "emqx_vm_used_memory") > 1e6);
        let own = text.contains("millrace_");
        assert_eq!(own, path == "/metrics", "{path}");
        // EMQX's names are not after Prometheus's customs (3), but the text must be readable.
        if let Some((code, said)) = promtool(text) {
            assert!(matches!(code, Some(0 | 3)), "{said}");
        }
    }
}

#[test]
fn figures_can_be_kept_for_those_who_log_in() {
    let api = Api::with(1, &["--set", "prometheus.enable_basic_auth=true"]);
    let viewer = api.key("prometheus", "viewer");
    for path in [
        "/metrics",
        "/api/v5/prometheus/stats",
        "/api/v4/emqx_prometheus",
    ] {
        assert_eq!(api.as_nobody("GET", path, None).status, 401, "{path}");
        assert_eq!(api.ask_as(&viewer, "GET", path, None).status, 200, "{path}");
    }
}
