//! Figures, nodes, listeners, bans, alarms, the configuration, the document.

use std::collections::BTreeSet;
use std::fs;

use bench_harness::client::{Client, Error};
use bench_harness::codec::Version;
use serde_json::{Value, json};

use super::{Api, fields};
use crate::broker::{Scratch, source};
use crate::peer::{PATIENCE, clean, collect, connect, ping, subscriber};

#[test]
fn counters_gauges_and_nodes_tell_what_happened() {
    let api = Api::start(2);
    let mut client = subscriber(api.mqtt(), Version::V5, "c", "t", 1);
    client.publish("t", 0, b"x").unwrap();
    collect(&mut client, 1);
    let metrics = api.get("/api/v5/metrics?aggregate=true");
    for (name, count) in [
        ("client.connected", 1),
        ("messages.received", 1),
        ("messages.sent", 1),
        ("packets.subscribe.received", 1),
    ] {
        assert_eq!(metrics[name], json!(count), "{name}");
    }
    let of_nodes = api.get("/api/v5/metrics");
    let node = of_nodes[0]["node"].as_str().unwrap().to_owned();
    assert_eq!(of_nodes[0]["client.connected"], 1);
    let stats = api.get("/api/v5/stats?aggregate=true");
    for name in [
        "connections.count",
        "live_connections.count",
        "subscriptions.count",
        "topics.count",
    ] {
        assert_eq!(stats[name], 1, "{name}: {stats}");
    }
    drop(client);
    let stats = api.until("/api/v5/stats?aggregate=true", |stats| {
        stats["connections.count"] == 0
    });
    assert_eq!(stats["connections.max"], 1, "{stats}");
    let told = api.get(&format!("/api/v5/nodes/{node}"));
    assert_eq!(
        (&told["node_status"], &told["cores"]),
        (&json!("running"), &json!(2))
    );
    assert!(told["process_memory"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(api.get("/api/v5/nodes")[0]["node"], json!(node));
    assert_eq!(api.get("/api/v5/brokers")[0]["node"], json!(node));
    assert_eq!(
        api.get(&format!("/api/v5/nodes/{node}/metrics"))["client.connected"],
        1
    );
    assert_eq!(
        api.get(&format!("/api/v5/nodes/{node}/stats"))["connections.count"],
        0
    );
    assert_eq!(api.ask("GET", "/api/v5/nodes/x", None).status, 404);
    let current = api.get("/api/v5/monitor_current");
    assert!(
        current["received_msg_rate"].is_u64() && current["connections"] == 0,
        "{current}"
    );
    assert!(api.get("/api/v5/monitor?latest=60").is_array());
    assert_eq!(api.delete("/api/v5/monitor").status, 204);
    let codes = api.get("/api/v5/error_codes");
    assert!(fields(&codes, "code").contains(&"CLIENTID_NOT_FOUND".to_owned()));
    assert_eq!(
        api.get("/api/v5/error_codes/NOT_FOUND")["code"],
        "NOT_FOUND"
    );
}

#[test]
fn listeners_are_told_with_why_connections_ended() {
    let api = Api::start(2);
    drop(subscriber(api.mqtt(), Version::V5, "c", "t", 1));
    let listed = api.until("/api/v5/listeners", |all| {
        all[0]["shutdown_count"]["closed"] == 1
    });
    assert_eq!(fields(&listed, "id"), ["tcp:default"]);
    assert_eq!(listed[0]["bind"], json!(api.mqtt().to_string()));
    assert_eq!(api.get("/api/v5/listeners/tcp:default")["running"], true);
    assert_eq!(
        api.ask("GET", "/api/v5/listeners/tcp:none", None).status,
        404
    );
    assert_eq!(
        api.ask("POST", "/api/v5/listeners/tcp:none/stop", None)
            .status,
        404
    );
}

#[test]
fn a_listener_is_stopped_and_started_and_its_clients_stay() {
    let api = Api::start(2);
    let mut client = subscriber(api.mqtt(), Version::V5, "c", "t", 1);
    let path = "/api/v5/listeners/tcp:default";
    assert_eq!(api.get(path)["current_connections"], 1);
    assert_eq!(api.ask("POST", &format!("{path}/stop"), None).status, 204);
    assert_eq!(api.get(path)["running"], false);
    assert!(std::net::TcpStream::connect(api.mqtt()).is_err());
    ping(&mut client);
    assert_eq!(api.ask("POST", &format!("{path}/start"), None).status, 204);
    ping(&mut connect(api.mqtt(), &clean(Version::V311, "new")));
    let restart = api.ask("PUT", "/api/v4/listeners/mqtt:tcp:default/restart", None);
    assert_eq!(restart.body["code"], 0, "{restart:?}");
    assert_eq!(api.get(path)["running"], true);
    ping(&mut client);
}

#[test]
fn bans_are_kept_listed_and_ended() {
    let api = Api::start(1);
    let new = json!({ "as": "clientid", "who": "bad/one", "reason": "noise" });
    let made = api.post("/api/v5/banned", &new);
    assert_eq!(
        (made.status, &made.body["until"]),
        (200, &json!("infinity")),
        "{made:?}"
    );
    assert_eq!(made.body["by"], "admin");
    let until =
        json!({ "as": "peerhost_net", "who": "10.0.0.0/8", "until": "2999-01-01T00:00:00Z" });
    assert_eq!(api.post("/api/v5/banned", &until).status, 200);
    assert_eq!(api.get("/api/v5/banned")["meta"]["count"], 2);
    assert_eq!(
        fields(&api.get("/api/v5/banned?clientid=bad%2Fone")["data"], "who"),
        ["bad/one"]
    );
    for wrong in [
        json!({ "as": "clientid", "who": "" }),
        json!({ "as": "shoe_size", "who": "x" }),
        json!({ "as": "peerhost", "who": "x" }),
        json!({ "as": "peerhost_net", "who": "10.0.0.0/33" }),
        json!({ "as": "username_re", "who": "(" }),
        json!({ "as": "clientid", "who": "x", "until": "2001-01-01T00:00:00Z" }),
        json!({ "as": "clientid", "who": "x", "until": "soon" }),
    ] {
        assert_eq!(api.post("/api/v5/banned", &wrong).status, 400, "{wrong}");
    }
    assert_eq!(api.delete("/api/v5/banned/clientid/bad%2Fone").status, 204);
    assert_eq!(api.delete("/api/v5/banned/clientid/bad%2Fone").status, 404);
    assert_eq!(api.delete("/api/v5/banned/shoe_size/x").status, 400);
    assert_eq!(api.delete("/api/v5/banned").status, 204);
    assert_eq!(api.get("/api/v5/banned")["data"], json!([]));
}

#[test]
fn who_is_banned_goes_and_is_refused_also_after_a_restart_until_the_ban_is_ended() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    let api = Api::with(2, &arguments);
    let options = |id: &str| {
        let mut options = clean(Version::V5, id);
        options.connect.username = Some("ann".to_owned());
        options
    };
    let mut client = connect(api.mqtt(), &options("bad"));
    let mut other = connect(api.mqtt(), &options("good"));
    for ban in [
        json!({ "as": "clientid", "who": "bad" }),
        json!({ "as": "clientid_re", "who": "^worse-" }),
    ] {
        assert_eq!(api.post("/api/v5/banned", &ban).status, 200);
    }
    while !matches!(client.expect(PATIENCE), Err(Error::Closed)) {}
    ping(&mut other);
    let refused = |api: &Api, id: &str| Client::connect(api.mqtt(), &options(id)).is_err();
    assert!(refused(&api, "bad") && refused(&api, "worse-1") && !refused(&api, "good"));
    api.broker.stop();
    let api = Api::with(2, &arguments);
    assert!(refused(&api, "bad") && refused(&api, "worse-1"));
    assert_eq!(api.delete("/api/v5/banned/clientid/bad").status, 204);
    let deadline = std::time::Instant::now() + PATIENCE;
    while refused(&api, "bad") {
        assert!(std::time::Instant::now() < deadline, "the ban is over");
    }
    assert!(refused(&api, "worse-1"));
    assert_eq!(api.delete("/api/v5/banned").status, 204);
    while refused(&api, "worse-1") {
        assert!(std::time::Instant::now() < deadline, "all bans are over");
    }
}

#[test]
fn alarms_and_the_configuration_can_be_read() {
    let api = Api::with(1, &["--set", "mqtt.max_inflight=77"]);
    assert_eq!(api.get("/api/v5/alarms")["data"], json!([]));
    assert_eq!(api.get("/api/v5/alarms?activated=false")["data"], json!([]));
    assert_eq!(
        api.post("/api/v5/alarms/force_deactivate", &json!({ "name": "x" }))
            .status,
        404
    );
    assert_eq!(api.delete("/api/v5/alarms").status, 204);
    let all = api.get("/api/v5/configs");
    assert_eq!(all["mqtt"]["max_inflight"], 77);
    assert_eq!(api.get("/api/v5/configs/mqtt")["max_inflight"], 77);
    assert_eq!(api.get("/api/v5/configs?key=http")["listen_v4"], "off");
    assert!(!all.to_string().contains("correct horse"), "{all}");
    let settings = api.get("/api/v5/configs_settings");
    let mut settings = settings.as_array().unwrap().iter();
    let inflight = settings
        .find(|setting| setting["key"] == "mqtt.max_inflight")
        .unwrap();
    assert_eq!(inflight["origin"], "--set");
    assert_eq!(api.ask("GET", "/api/v5/configs/nothing", None).status, 404);
}

/// Every path of the document with its methods.
fn endpoints(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = item
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>();
        let path = path.clone();
        methods
            .into_iter()
            .map(move |method| format!("{} {path}", method.to_uppercase()))
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_document_in_docs_is_that_of_the_broker_and_every_endpoint_asks_who_you_are() {
    let api = Api::start(1);
    let served = api.as_nobody("GET", "/api-docs/swagger.json", None);
    assert_eq!(served.status, 200);
    let kept = source("docs/openapi.json");
    let pretty = format!("{:#}\n", served.body);
    if std::env::var_os("MILLRACE_WRITE_DOCS").is_some() {
        fs::write(&kept, &pretty).unwrap();
    }
    let written = fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        written == pretty,
        "docs/openapi.json is stale; write it anew with MILLRACE_WRITE_DOCS=1"
    );
    let open = super::every::OPEN;
    let endpoints = endpoints(&served.body);
    assert!(endpoints.len() > 60, "{endpoints:?}");
    for endpoint in &endpoints {
        let (method, path) = endpoint.split_once(' ').unwrap();
        let path = path.replace(['{', '}'], "");
        let answer = api.as_nobody(method, &path, None);
        assert_eq!(
            answer.status == 401,
            !open.contains(&endpoint.as_str()),
            "{endpoint}: {answer:?}"
        );
    }
}
