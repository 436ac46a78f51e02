//! What operators change, as clients and later requests see it, and what is refused, where it stands in
//! no file of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bench_harness::codec::{Packet, Version};
use serde_json::{Value, json};

use super::{Api, fields};
use crate::broker::say;
use crate::http_stub::HttpStub;
use crate::peer::{PATIENCE, SILENCE, clean, connect, ping, subscriber};

/// What tests of bodies send: method, path, body, status.
type Wrong = (&'static str, &'static str, Value, u16);

fn assert_refused(api: &Api, all: Vec<Wrong>) {
    for (method, path, body, status) in all {
        let answer = api.ask(method, path, Some(&body));
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(answer.body["code"].is_string(), "{answer:?}");
    }
}

#[test]
fn a_keep_alive_that_was_shortened_ends_who_is_silent() {
    let api = Api::start(2);
    let paths = [
        ("/api/v5/clients/silent/keepalive", Version::V5),
        ("/api/v4/clients/silent/keepalive", Version::V311),
    ];
    for (path, version) in paths {
        let mut options = clean(version, "silent");
        options.connect.keep_alive_s = 300;
        let mut client = connect(api.mqtt(), &options);
        let answer = api.ask("PUT", path, Some(&json!({ "interval": 1 })));
        assert_eq!(answer.status, 200, "{answer:?}");
        let last = client.expect_closed(PATIENCE).unwrap();
        let told = (version == Version::V5).then_some(0x8D);
        assert_eq!(last.map(|last| last.code), told);
    }
    let ended =
        api.get("/api/v5/metrics?aggregate=true")["shutdown_count.keepalive_timeout"].clone();
    assert_eq!(ended, 2);
    assert_refused(
        &api,
        vec![
            (
                "PUT",
                "/api/v5/clients/nobody/keepalive",
                json!({ "interval": 1 }),
                404,
            ),
            (
                "PUT",
                "/api/v5/clients/nobody/keepalive",
                json!({ "interval": 65_536 }),
                400,
            ),
        ],
    );
    let path = "/api/v4/clients/nobody/keepalive";
    let answer = api.ask("PUT", path, Some(&json!({ "interval": 1 })));
    assert_eq!((answer.status, &answer.body["code"]), (200, &json!(112)));
}

#[test]
fn who_is_not_there_cannot_be_subscribed() {
    let api = Api::start(1);
    let one = json!({ "topic": "t" });
    let many = json!([{ "topic": "t" }]);
    let of = |what: &str| format!("/api/v5/clients/nobody/{what}");
    for (what, body) in [
        ("subscribe", &one),
        ("subscribe/bulk", &many),
        ("unsubscribe", &one),
        ("unsubscribe/bulk", &many),
    ] {
        let answer = api.post(&of(what), body);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (404, &json!("CLIENTID_NOT_FOUND")),
            "{what}"
        );
    }
    let _client = connect(api.mqtt(), &clean(Version::V5, "c"));
    let (bad, none) = (json!({ "topic": "a/#/b" }), json!({}));
    for (what, body) in [
        ("subscribe", &bad),
        ("subscribe", &none),
        ("unsubscribe", &none),
    ] {
        let answer = api.post(&format!("/api/v5/clients/c/{what}"), body);
        assert_eq!(answer.status, 400, "{what} {body}: {answer:?}");
        let bulk = json!([{ "topic": "good" }, body]);
        let answer = api.post(&format!("/api/v5/clients/c/{what}/bulk"), &bulk);
        assert_eq!(answer.status, 400, "{what} {bulk}: {answer:?}");
    }
    // Not even the good one of a bulk is done.
    assert_eq!(api.get("/api/v5/clients/c/subscriptions"), json!([]));
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    assert_refused(
        &api,
        vec![("POST", "/api/v5/clients/kickout/bulk", json!(many), 400)],
    );
}

#[test]
fn a_listener_that_was_stopped_is_restarted_by_every_path() {
    let api = Api::start(2);
    let mut stays = connect(api.mqtt(), &clean(Version::V311, "stays"));
    let path = "/api/v5/listeners/tcp:default";
    for (method, restart, status) in [
        ("POST", "/api/v5/listeners/tcp:default/restart", 204),
        ("PUT", "/api/v4/listeners/mqtt:tcp:default/restart", 200),
        ("PUT", "/api/v4/listeners/mqtt:tcp:external/restart", 200),
    ] {
        assert_eq!(api.post(&format!("{path}/stop"), &json!({})).status, 204);
        assert!(std::net::TcpStream::connect(api.mqtt()).is_err());
        let listed = api.get("/api/v5/listeners_status");
        assert_eq!(listed[0]["status"]["running"], false, "{listed}");
        assert_eq!(api.ask(method, restart, None).status, status);
        ping(&mut connect(api.mqtt(), &clean(Version::V311, "new")));
        ping(&mut stays);
        let listed = api.get("/api/v5/listeners_status");
        assert_eq!(listed[0]["status"]["running"], true, "{listed}");
    }
}

#[test]
fn figures_over_time_come_and_are_forgotten() {
    let api = Api::start(1);
    let _client = connect(api.mqtt(), &clean(Version::V5, "c"));
    let node = api.get("/api/v5/nodes")[0]["node"]
        .as_str()
        .unwrap()
        .to_owned();
    let current = api.get(&format!("/api/v5/monitor_current/nodes/{node}"));
    assert_eq!(current["live_connections"], 1, "{current}");
    let path = format!("/api/v5/monitor/nodes/{node}");
    let rows = api.until(&path, |rows| rows[0]["connections"] == 1);
    assert!(rows[0]["time_stamp"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(api.get("/api/v5/monitor")[0], rows[0]);
    assert_eq!(api.get("/api/v5/monitor?latest=60")[0], rows[0]);
    assert_eq!(api.delete("/api/v5/monitor").status, 204);
    assert_eq!(api.get("/api/v5/monitor"), json!([]));
    for path in ["/api/v5/metrics", "/api/v5/stats"] {
        let answer = api.ask("GET", &format!("{path}?aggregate=perhaps"), None);
        assert_eq!(answer.status, 400, "{path}");
    }
    assert_eq!(api.ask("GET", "/api/v5/monitor?latest=x", None).status, 400);
    assert_eq!(api.ask("GET", "/api/v5/configs?key=x", None).status, 404);
}

#[test]
fn one_api_key_is_read_changed_and_removed() {
    let api = Api::start(1);
    let key = api.key("one", "viewer");
    let told = api.get("/api/v5/api_key/one");
    assert_eq!(
        (&told["role"], &told["enable"], &told["expired_at"]),
        (&json!("viewer"), &json!(true), &json!("infinity"))
    );
    assert!(told["api_secret"].is_null(), "told once: {told}");
    let answer = api.ask(
        "PUT",
        "/api/v5/api_key/one",
        Some(&json!({ "role": "publisher", "desc": "pump" })),
    );
    assert_eq!(answer.body["desc"], "pump", "{answer:?}");
    assert_eq!(api.ask_as(&key, "GET", "/api/v5/clients", None).status, 403);
    assert_refused(
        &api,
        vec![
            (
                "PUT",
                "/api/v5/api_key/none",
                json!({ "enable": false }),
                404,
            ),
            (
                "PUT",
                "/api/v5/api_key/one",
                json!({ "expired_at": "soon" }),
                400,
            ),
            ("PUT", "/api/v5/api_key/one", json!({ "role": "king" }), 400),
            ("POST", "/api/v5/api_key", json!({ "name": "a b" }), 400),
            ("POST", "/api/v5/api_key", json!({ "name": "one" }), 409),
            (
                "POST",
                "/api/v5/api_key",
                json!({ "name": "x", "expired_at": "soon" }),
                400,
            ),
        ],
    );
    assert_eq!(api.delete("/api/v5/api_key/one").status, 204);
    assert_eq!(api.delete("/api/v5/api_key/one").status, 404);
    assert_eq!(api.ask("GET", "/api/v5/api_key/one", None).status, 404);
    assert_eq!(api.ask_as(&key, "GET", "/api/v5/clients", None).status, 401);
}

#[test]
fn users_that_are_wrong_or_not_there_are_refused() {
    let api = Api::start(1);
    let password = json!({ "old_pwd": super::PASSWORD, "new_pwd": "long enough" });
    let wrong = json!({ "old_pwd": "wrong", "new_pwd": "long enough" });
    let short = json!({ "old_pwd": super::PASSWORD, "new_pwd": "short" });
    let new = |name: &str| json!({ "username": name, "password": "long enough" });
    assert_refused(
        &api,
        vec![
            (
                "PUT",
                "/api/v5/users/nobody",
                json!({ "role": "viewer" }),
                404,
            ),
            (
                "PUT",
                "/api/v5/users/admin",
                json!({ "role": "viewer" }),
                400,
            ),
            ("POST", "/api/v5/users/nobody/change_pwd", password, 404),
            ("POST", "/api/v5/users/admin/change_pwd", wrong, 400),
            ("POST", "/api/v5/users/admin/change_pwd", short, 400),
            ("POST", "/api/v5/users", new("a b"), 400),
            ("POST", "/api/v5/users", new("admin"), 409),
            ("POST", "/api/v5/login", json!({ "username": "admin" }), 400),
        ],
    );
    assert_eq!(api.delete("/api/v5/users/nobody").status, 404);
    assert_eq!(api.delete("/api/v5/users/admin").status, 400);
    // Of all this nothing has happened.
    let listed = api.get("/api/v5/users");
    assert_eq!(fields(&listed, "username"), ["admin"]);
    assert_eq!(fields(&listed, "role"), ["administrator"]);
    api.login("admin", super::PASSWORD);
}

#[test]
fn alarms_that_are_over_are_forgotten() {
    let api = Api::with(
        1,
        &[
            "--set",
            "sysmon.check_interval=1s",
            "--set",
            "sysmon.sysmem_high_watermark=1",
        ],
    );
    let name = "high_system_memory_usage";
    let is_it = |rows: &Value| fields(&rows["data"], "name").contains(&name.to_owned());
    api.until("/api/v5/alarms", is_it);
    let v4 = api.get("/api/v4/alarms/activated");
    let rows = v4["data"][0]["alarms"].clone();
    assert!(fields(&rows, "name").contains(&name.to_owned()), "{v4}");
    let end = json!({ "name": name });
    assert_eq!(api.post("/api/v4/alarms/deactivated", &end).body["code"], 0);
    let over = "/api/v5/alarms?activated=false";
    assert!(is_it(&api.get(over)));
    let v4 = api.get("/api/v4/alarms/deactivated");
    assert_eq!(v4["data"][0]["alarms"][0]["name"], name, "{v4}");
    assert_eq!(api.delete("/api/v5/alarms").status, 204);
    assert!(!is_it(&api.get(over)));
    // It comes back, since its cause is still there.
    api.until("/api/v5/alarms", is_it);
    assert_eq!(api.post("/api/v4/alarms/deactivated", &end).body["code"], 0);
    assert_eq!(api.delete("/api/v4/alarms/deactivated").body["code"], 0);
    assert!(!is_it(&api.get(over)));
    let none = json!({ "name": "none" });
    assert_eq!(
        api.post("/api/v4/alarms/deactivated", &none).body["code"],
        108
    );
}

#[test]
fn answers_about_access_are_forgotten_by_every_path() {
    let denies = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&denies);
    let stub = HttpStub::start(move |_| {
        let result = ["allow", "deny"][usize::from(asked.load(Ordering::Relaxed))];
        (200, format!(r#"{{"result":"{result}"}}"#))
    });
    let source = format!(
        r#"authorization.sources.remote=[{{"type":"http","url":"http://{}/acl"}}]"#,
        stub.address
    );
    let api = Api::with(2, &["--set", &source]);
    let directory = api.broker.directory().join("data");
    let ctl = |words: &[&str]| {
        let mut all = vec!["ctl", "--data-dir", directory.to_str().unwrap()];
        all.extend(words);
        say(&all)
    };
    let mut client = connect(api.mqtt(), &clean(Version::V5, "c"));
    let delete = |path: &str| assert!(api.delete(path).status < 300, "{path}");
    let ways: [&dyn Fn(); 7] = [
        &|| delete("/api/v5/clients/c/authorization/cache"),
        &|| delete("/api/v5/authorization/cache"),
        &|| delete("/api/v4/clients/c/acl_cache"),
        &|| delete("/api/v4/acl-cache"),
        &|| assert_eq!(ctl(&["acl", "cache-clean", "all"]).out, "ok\n"),
        &|| assert_eq!(ctl(&["acl", "cache-clean", "c"]).out, "ok\n"),
        &|| {
            let node = ["authz", "cache-clean", "node", "millrace@127.0.0.1"];
            assert_eq!(ctl(&node).out, "ok\n");
        },
    ];
    for forget in ways {
        denies.store(false, Ordering::Relaxed);
        api.delete("/api/v5/authorization/cache");
        assert_eq!(client.subscribe("t", 0).unwrap(), 0);
        denies.store(true, Ordering::Relaxed);
        assert_eq!(client.subscribe("t", 0).unwrap(), 0, "remembered");
        forget();
        assert_eq!(client.subscribe("t", 0).unwrap(), 0x87);
    }
    assert_eq!(
        api.delete("/api/v5/clients/x/authorization/cache").status,
        404
    );
    assert_eq!(api.delete("/api/v4/clients/x/acl_cache").body["code"], 112);
    assert_eq!(api.get("/api/v4/clients/c/acl_cache")["data"], json!([]));
    assert!(
        ctl(&["acl", "cache-clean", "x"])
            .err
            .contains("no client `x`")
    );
    assert_eq!(ctl(&["acl", "cache-clean", "node", "x"]).code, Some(1));
}

#[test]
fn messages_on_their_way_are_told_page_by_page() {
    let api = Api::start(2);
    let mut client = subscriber(api.mqtt(), Version::V5, "c", "q", 1);
    for n in 0..3 {
        let message = json!({ "topic": "q", "payload": n.to_string(), "qos": 1 });
        assert_eq!(api.post("/api/v5/publish", &message).status, 200);
        assert!(matches!(
            client.expect(PATIENCE).unwrap(),
            Packet::Publish(_)
        ));
    }
    client.expect_nothing(SILENCE).unwrap();
    let path = "/api/v5/clients/c/inflight_messages?payload=plain&limit=2";
    let first = api.get(path);
    assert_eq!(fields(&first["data"], "payload"), ["0", "1"]);
    let position = first["meta"]["position"].as_str().unwrap();
    let second = api.get(&format!("{path}&position={position}"));
    assert_eq!(fields(&second["data"], "payload"), ["2"]);
    for wrong in ["payload=x", "position=x", "max_payload_bytes=x"] {
        let path = format!("/api/v5/clients/c/inflight_messages?{wrong}");
        assert_eq!(api.ask("GET", &path, None).status, 400, "{wrong}");
    }
}

#[test]
fn nodes_are_this_one_in_emqx_4s_paths_too() {
    let api = Api::start(1);
    let mut options = clean(Version::V311, "c");
    options.connect.username = Some("ann".to_owned());
    let _client = connect(api.mqtt(), &options);
    let node = "millrace@127.0.0.1";
    let about = api.get(&format!("/api/v4/brokers/{node}"));
    assert_eq!(about["data"]["node_status"], "Running", "{about}");
    assert_eq!(api.get("/api/v4/brokers")["data"][0]["node"], node);
    assert_eq!(api.get("/api/v4/nodes")["data"][0]["connections"], 1);
    for path in ["brokers/x", "nodes/x", "nodes/x/clients", "nodes/x/stats"] {
        let answer = api.ask("GET", &format!("/api/v4/{path}"), None);
        assert_eq!(answer.status, 404, "{path}");
    }
    let of_node = format!("/api/v4/nodes/{node}");
    for path in ["clients", "clients/c", "clients/username/ann"] {
        let told = api.get(&format!("{of_node}/{path}"));
        assert_eq!(fields(&told["data"], "clientid"), ["c"], "{path}");
    }
    for path in ["subscriptions", "subscriptions/c", "listeners", "alarms"] {
        assert_eq!(api.get(&format!("{of_node}/{path}"))["code"], 0, "{path}");
    }
}
