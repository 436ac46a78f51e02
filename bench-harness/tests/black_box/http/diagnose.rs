//! What operators look into: traces, slow subscriptions, figures of topics, delayed messages, the log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bench_harness::codec::{Packet, Version};
use serde_json::{Value, json};

use super::{Answer, Api, fields};
use crate::broker::Scratch;
use crate::peer::{PATIENCE, answer, clean, collect, connect, leave, ping, subscriber};

const V: Version = Version::V5;

fn trace(api: &Api, body: &Value) -> Value {
    let made = api.post("/api/v5/trace", body);
    assert_eq!(made.status, 200, "{made:?}");
    made.body
}

/// What a trace's file says once it has all of these.
fn log_with(api: &Api, name: &str, wanted: &[&str]) -> String {
    let path = format!("/api/v5/trace/{name}/log?bytes=100000");
    let text = |body: &Value| body["items"].as_str().unwrap().to_owned();
    let body = api.until(&path, |body| {
        let text = text(body);
        wanted.iter().all(|part| text.contains(part))
    });
    text(&body)
}

#[test]
fn a_trace_tells_what_a_client_does_until_it_is_stopped_and_goes_with_its_file() {
    let api = Api::start(2);
    let made = trace(
        &api,
        &json!({ "name": "dev", "type": "clientid", "clientid": "d" }),
    );
    assert_eq!(made["status"], "running", "{made}");
    assert_eq!(made["clientid"], "d");
    let mut other = subscriber(api.mqtt(), V, "other", "t/#", 1);
    let mut device = subscriber(api.mqtt(), V, "d", "c/+", 1);
    device.publish("t/1", 1, b"hello").unwrap();
    collect(&mut other, 1);
    device.publish("nobody", 0, b"x").unwrap();
    other.publish("c/1", 1, b"down").unwrap();
    collect(&mut device, 1);
    ping(&mut device);
    leave(device);
    let text = log_with(&api, "dev", &["connection_terminated"]);
    for part in [
        "packet: CONNECT, proto_ver: 5",
        "[AUTHN] d@127.0.0.1:",
        "packet: CONNACK, reason_code: success(0x00), session_present: false",
        "msg: subscribe, topic: c/+, qos: 1, result: granted_qos1(0x01)",
        "packet: SUBACK",
        "[AUTHZ] d@127.0.0.1:",
        "msg: publish_to, topic: t/1, qos: 1, retain: false, packet_id:",
        "payload: hello",
        "mqtt_packet_sent, packet: PUBACK",
        "msg: message_dropped, topic: nobody, reason: no_subscribers",
        "msg: message_sent, topic: c/1, qos: 1",
        "mqtt_packet_received, packet: PUBACK",
        "packet: PINGREQ",
        "packet: DISCONNECT",
        "msg: connection_terminated, reason: normal",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("other@"), "{text}");
    live_view(&api, &text);
    let stopped = api.ask("PUT", "/api/v5/trace/dev/stop", None);
    assert_eq!(
        (stopped.status, &stopped.body["status"]),
        (200, &json!("stopped"))
    );
    leave(connect(api.mqtt(), &clean(V, "d")));
    let list = api.get("/api/v5/trace");
    assert_eq!(
        list[0]["log_size"]["millrace@127.0.0.1"],
        text.len(),
        "{list}"
    );
    let folder = api.broker.directory().join("data/trace");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(api.delete("/api/v5/trace/dev").status, 204);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(api.delete("/api/v5/trace/dev").status, 404);
    assert_eq!(api.ask("PUT", "/api/v5/trace/dev/stop", None).status, 404);
    assert_eq!(api.ask("GET", "/api/v5/trace/dev/log", None).status, 404);
    assert_eq!(
        api.ask("GET", "/api/v5/trace/dev/download", None).status,
        404
    );
}

/// Its parts, its size, and the whole of it as an archive.
fn live_view(api: &Api, text: &str) {
    // The live view goes on where it was.
    let first = api.get("/api/v5/trace/dev/log?bytes=100");
    let (items, position) = (&first["items"], &first["meta"]["position"]);
    assert_eq!(items.as_str().unwrap(), &text[..100]);
    assert_eq!(
        (position, &first["meta"]["bytes"]),
        (&json!(100), &json!(100))
    );
    let next = api.get("/api/v5/trace/dev/log?bytes=50&position=100");
    assert_eq!(next["items"].as_str().unwrap(), &text[100..150]);
    let end = api.get(&format!("/api/v5/trace/dev/log?position={}", text.len()));
    assert_eq!(
        (&end["items"], &end["meta"]["position"]),
        (&json!(""), &json!(text.len()))
    );
    let detail = api.get("/api/v5/trace/dev/log_detail");
    assert_eq!(detail[0]["size"], text.len(), "{detail}");
    let archive = api.ask("GET", "/api/v5/trace/dev/download", None);
    assert_eq!(archive.status, 200);
    assert!(archive.text.starts_with("PK\u{3}\u{4}") && archive.text.contains("payload: hello"));
    assert!(
        archive.headers.contains("filename=\"dev.zip\""),
        "{}",
        archive.headers
    );
}

#[test]
fn topics_and_addresses_are_traced_and_payloads_are_written_as_wished() {
    let api = Api::with(2, &["--set", "mqtt.allow_anonymous=true"]);
    trace(
        &api,
        &json!({ "name": "topic", "type": "topic", "topic": "a/+", "payload_encode": "hex",
            "formatter": "json" }),
    );
    trace(
        &api,
        &json!({ "name": "from", "type": "ip_address", "ip_address": "127.0.0.1",
            "payload_encode": "hidden" }),
    );
    trace(
        &api,
        &json!({ "name": "cut", "type": "topic", "topic": "a/#", "payload_limit": 2 }),
    );
    let mut client = subscriber(api.mqtt(), V, "s", "a/1", 0);
    client.publish("a/1", 0, &[0xAB, 0x01, b'z']).unwrap();
    client.publish("b", 0, b"secret").unwrap();
    collect(&mut client, 1);
    ping(&mut client);
    let lines = log_with(&api, "topic", &["message_sent"]);
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| rows.iter().find(|row| row["msg"] == message).unwrap();
    assert_eq!(of("publish_to")["payload"], "AB017A", "{lines}");
    assert_eq!(of("message_sent")["clientid"], "s");
    assert_eq!(of("subscribe")["topic"], "a/1");
    assert!(rows.iter().all(|row| row["topic"] != "b"), "{lines}");
    let from = log_with(&api, "from", &["PINGRESP", "topic: b", "payload: ******"]);
    assert!(!from.contains("secret"), "{from}");
    log_with(&api, "cut", &["...(1 bytes not shown)"]);
}

#[test]
fn traces_are_few_bounded_and_only_for_administrators() {
    let api = Api::with(1, &["--set", "trace.max_traces=2"]);
    let viewer = api.key("v", "viewer");
    let of = |name: &str, id: &str| json!({ "name": name, "type": "clientid", "clientid": id });
    let refused = |body: &Value| {
        let answer = api.post("/api/v5/trace", body);
        (
            answer.status,
            answer.body["code"].as_str().unwrap().to_owned(),
        )
    };
    for wrong in [
        json!({ "name": "1", "type": "clientid", "clientid": "c" }),
        json!({ "name": "a/b", "type": "clientid", "clientid": "c" }),
        json!({ "name": "a", "type": "clientid" }),
        json!({ "name": "a", "type": "topic", "topic": "a/#/b" }),
        json!({ "name": "a", "type": "ip_address", "ip_address": "localhost" }),
        json!({ "name": "a", "type": "ruleid", "ruleid": "r" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "end_at": "2020-01-01T00:00:00Z" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "end_at": "2036-01-01T00:00:00Z" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "file": "../x" }),
        json!({ "name": "a", "type": "clientid", "clientid": "c", "payload_encode": "base64" }),
    ] {
        assert_eq!(api.post("/api/v5/trace", &wrong).status, 400, "{wrong}");
    }
    trace(&api, &of("a", "1"));
    assert_eq!(refused(&of("a", "2")), (409, "ALREADY_EXISTS".to_owned()));
    assert_eq!(
        refused(&of("b", "1")),
        (409, "DUPLICATE_CONDITION".to_owned())
    );
    trace(&api, &of("b", "2"));
    assert_eq!(refused(&of("c", "3")), (400, "EXCEED_LIMIT".to_owned()));
    let as_viewer = |method: &str, path: &str| {
        let body = (method != "GET").then(|| of("d", "4"));
        api.ask_as(&viewer, method, path, body.as_ref()).status
    };
    assert_eq!(as_viewer("GET", "/api/v5/trace"), 200);
    assert_eq!(as_viewer("GET", "/api/v5/trace/a/log"), 200);
    for (method, path) in [
        ("POST", "/api/v5/trace"),
        ("DELETE", "/api/v5/trace"),
        ("DELETE", "/api/v5/trace/a"),
        ("PUT", "/api/v5/trace/a/stop"),
        ("PUT", "/api/v5/slow_subscriptions/settings"),
        ("POST", "/api/v5/mqtt/topic_metrics"),
        ("PUT", "/api/v5/log/handlers/console"),
    ] {
        assert_eq!(as_viewer(method, path), 403, "{method} {path}");
    }
    assert_eq!(api.delete("/api/v5/trace").status, 204);
    assert_eq!(api.get("/api/v5/trace"), json!([]));
    // One whose time has not come waits.
    let later = json!({ "name": "later", "type": "clientid", "clientid": "c",
        "start_at": "2099-01-01T00:00:00Z", "end_at": "2099-01-01T01:00:00Z" });
    assert_eq!(trace(&api, &later)["status"], "waiting");
}

#[test]
fn emqx_4_traces_as_well() {
    let api = Api::start(1);
    let all = "/api/v4/trace";
    let wanted = json!({ "name": "t", "type": "topic", "topic": "a" });
    assert_eq!(api.post(all, &wanted).body["code"], 0);
    assert_eq!(api.post(all, &wanted).status, 409);
    let wrong = json!({ "name": "u", "type": "topic", "topic": "a/#/b" });
    assert_eq!(api.post(all, &wrong).body["code"], 108);
    assert_eq!(api.get(all)["data"][0]["status"], "running");
    let mut client = subscriber(api.mqtt(), V, "c", "a", 0);
    client.publish("a", 0, b"x").unwrap();
    log_with(&api, "t", &["message_sent"]);
    let archive = api.ask("GET", "/api/v4/trace/t/download", None);
    assert!(archive.text.contains("message_sent"));
    let stopped = api.ask("PUT", "/api/v4/trace/t/stop", None);
    assert_eq!(stopped.body["data"]["status"], "stopped", "{stopped:?}");
    assert_eq!(api.delete("/api/v4/trace/t").body["code"], 0);
    for (method, path) in [("DELETE", ""), ("PUT", "/stop"), ("GET", "/download")] {
        let answer = api.ask(method, &format!("{all}/t{path}"), None);
        assert_eq!(answer.status, 404, "{method} {answer:?}");
    }
    assert_eq!(api.post(all, &wanted).body["code"], 0);
    assert_eq!(api.delete(all).body["code"], 0);
    assert_eq!(api.get(all)["data"], json!([]));
}

#[test]
fn a_trace_goes_on_after_a_restart_and_ends_when_its_file_is_full() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let arguments = [
        "--data-dir",
        data.to_str().unwrap(),
        "--set",
        "trace.max_file_size=64KB",
    ];
    let api = Api::with(1, &arguments);
    trace(
        &api,
        &json!({ "name": "t", "type": "clientid", "clientid": "c" }),
    );
    leave(connect(api.mqtt(), &clean(V, "c")));
    log_with(&api, "t", &["connection_terminated"]);
    api.broker.stop();
    let api = Api::with(1, &arguments);
    let mut client = connect(api.mqtt(), &clean(V, "c"));
    let deadline = Instant::now() + PATIENCE;
    while api.get("/api/v5/trace")[0]["status"] == "running" {
        assert!(Instant::now() < deadline, "{}", api.get("/api/v5/trace"));
        for _ in 0..100 {
            client
                .publish("topic/of/the/trace", 0, &[b'x'; 500])
                .unwrap();
        }
        ping(&mut client);
    }
    let text = log_with(&api, "t", &["file_full"]);
    assert_eq!(text.matches("packet: CONNECT,").count(), 2, "{text}");
    let size = api.get("/api/v5/trace/t/log_detail")[0]["size"]
        .as_u64()
        .unwrap();
    assert!(size <= 64 * 1024 + 1, "{size}");
}

#[test]
fn who_is_slow_is_listed_the_slowest_first() {
    let api = Api::start(2);
    let settings = "/api/v5/slow_subscriptions/settings";
    let before = api.get(settings);
    assert_eq!(
        before,
        json!({ "enable": false, "threshold": "500ms", "expire_interval": "300s",
            "top_k_num": 10, "stats_type": "whole" })
    );
    let put = |body: &Value| api.ask("PUT", settings, Some(body));
    for (field, wrong) in [
        ("threshold", json!("0ms")),
        ("threshold", json!("soon")),
        ("top_k_num", json!(0)),
        ("top_k_num", json!(1001)),
        ("stats_type", json!("half")),
    ] {
        let mut body = before.clone();
        body[field] = wrong;
        assert_eq!(put(&body).status, 400, "{body}");
    }
    let mut wanted = before.clone();
    wanted["enable"] = json!(true);
    wanted["threshold"] = json!("20ms");
    let changed: Answer = put(&wanted);
    assert_eq!((changed.status, &changed.body), (200, &wanted));
    assert_eq!(api.get(settings), wanted);
    let mut slow = subscriber(api.mqtt(), V, "slow", "t", 1);
    let mut sender = connect(api.mqtt(), &clean(V, "s"));
    sender.publish("t", 1, b"x").unwrap();
    let got = slow.expect_publish().unwrap();
    // It takes its time with the answer.
    std::thread::sleep(Duration::from_millis(60));
    slow.send(&answer(&got).unwrap()).unwrap();
    ping(&mut slow);
    let rows = api.until("/api/v5/slow_subscriptions", |rows| !rows[0].is_null());
    assert_eq!(rows[0]["clientid"], "slow", "{rows}");
    assert_eq!(rows[0]["topic"], "t");
    assert_eq!(rows[0]["node"], "millrace@127.0.0.1");
    assert!(rows[0]["timespan"].as_u64().unwrap() >= 50, "{rows}");
    assert!(rows[0]["last_update_time"].as_u64().unwrap() > 1_700_000_000_000);
    let old = api.get("/api/v4/slow_subscriptions");
    assert_eq!(old["data"][0]["clientid"], "slow", "{old}");
    assert_eq!(api.delete("/api/v4/slow_subscriptions").body["code"], 0);
    assert_eq!(api.delete("/api/v5/slow_subscriptions").status, 204);
    assert_eq!(api.get("/api/v5/slow_subscriptions"), json!([]));
}

#[test]
fn chosen_topics_are_counted() {
    let api = Api::start(2);
    let all = "/api/v5/mqtt/topic_metrics";
    let choose = |topic: &str| api.post(all, &json!({ "topic": topic }));
    assert_eq!(choose("a/b").status, 200);
    assert_eq!(choose("a/b").status, 409);
    assert_eq!(choose("a/#").body["code"], "BAD_TOPIC");
    let mut reader = subscriber(api.mqtt(), V, "r", "a/+", 2);
    let mut sender = connect(api.mqtt(), &clean(V, "s"));
    sender.publish("a/b", 0, b"0").unwrap();
    sender.publish("a/b", 1, b"1").unwrap();
    sender.publish("a/c", 1, b"1").unwrap();
    collect(&mut reader, 3);
    let published = api.post(
        "/api/v5/publish",
        &json!({ "topic": "a/b", "payload": "2" }),
    );
    assert_eq!(published.status, 200);
    collect(&mut reader, 1);
    let one = "/api/v5/mqtt/topic_metrics/a%2Fb";
    let shown = api.until(one, |row| row["metrics"]["messages.out.count"] == 3);
    let figure = |row: &Value, name: &str| row["metrics"][name].clone();
    for (name, wanted) in [
        ("messages.in.count", 3),
        ("messages.qos0.in.count", 2),
        ("messages.qos1.in.count", 1),
        ("messages.qos2.in.count", 0),
        ("messages.qos1.out.count", 1),
        ("messages.dropped.count", 0),
    ] {
        assert_eq!(figure(&shown, name), wanted, "{name}: {shown}");
    }
    assert!(figure(&shown, "messages.in.rate").is_number(), "{shown}");
    let scraped = api.as_nobody("GET", "/metrics", None).text;
    let line = "millrace_topic_received_total{topic=\"a/b\"} 3";
    assert!(scraped.lines().any(|is| is == line), "{scraped}");
    assert!(shown["create_time"].as_str().unwrap().starts_with("20"));
    assert_eq!(fields(&api.get(all), "topic"), ["a/b"]);
    let old = api.get("/api/v4/topic-metrics/a%2Fb");
    assert_eq!(old["data"]["metrics"]["messages.in.count"], 3, "{old}");
    let reset = json!({ "action": "reset", "topic": "a/b" });
    assert_eq!(api.ask("PUT", all, Some(&reset)).status, 204);
    assert_eq!(figure(&api.get(one), "messages.in.count"), 0);
    let unknown = json!({ "action": "reset", "topic": "z" });
    assert_eq!(api.ask("PUT", all, Some(&unknown)).status, 404);
    leave(reader);
    // Until every core knows that the subscriber has gone.
    let deadline = Instant::now() + PATIENCE;
    while figure(&api.get(one), "messages.dropped.count") == 0 {
        assert!(Instant::now() < deadline, "{}", api.get(one));
        sender.publish("a/b", 1, b"3").unwrap();
    }
    assert_eq!(api.delete(one).status, 204);
    assert_eq!(api.delete(one).status, 404);
}

#[test]
fn topics_are_chosen_by_the_older_generation_as_well() {
    let api = Api::start(2);
    let all = "/api/v5/mqtt/topic_metrics";
    let choose = |topic: &str| api.post(all, &json!({ "topic": topic }));
    let made = api.post("/api/v4/topic-metrics", &json!({ "topic": "x" }));
    assert_eq!(made.body["code"], 0, "{made:?}");
    assert_eq!(
        fields(&api.get("/api/v4/topic-metrics")["data"], "topic"),
        ["x"]
    );
    for (method, code) in [
        ("PUT", 0),
        ("DELETE", 0),
        ("PUT", 108),
        ("DELETE", 108),
        ("GET", 108),
    ] {
        let answer = api.ask(method, "/api/v4/topic-metrics/x", None);
        assert_eq!(answer.body["code"], code, "{method} {answer:?}");
    }
    let wrong = api.post("/api/v4/topic-metrics", &json!({ "topic": "#" }));
    assert_eq!(wrong.body["code"], 115, "{wrong:?}");
    assert_eq!(choose("y").status, 200);
    assert_eq!(
        api.ask("PUT", "/api/v4/topic-metrics", None).body["code"],
        0
    );
    assert_eq!(api.delete("/api/v4/topic-metrics").body["code"], 0);
    assert_eq!(api.get(all), json!([]));
}

#[test]
fn delayed_messages_are_listed_shown_and_deleted() {
    let api = Api::start(2);
    let mut sender = connect(api.mqtt(), &clean(V, "s"));
    for n in 0..5 {
        sender
            .publish(&format!("$delayed/600/d/{n}"), 1, b"later")
            .unwrap();
    }
    assert_eq!(api.get("/api/v5/mqtt/delayed")["enable"], true);
    let list = "/api/v5/mqtt/delayed/messages";
    let page = |n: usize| api.get(&format!("{list}?limit=2&page={n}"));
    let mut topics = BTreeSet::new();
    for (number, (rows, more)) in [(2, true), (2, true), (1, false)].into_iter().enumerate() {
        let page = page(number + 1);
        assert_eq!(page["data"].as_array().unwrap().len(), rows, "{page}");
        assert_eq!(page["meta"]["hasnext"], more, "{page}");
        topics.extend(fields(&page["data"], "topic"));
    }
    assert_eq!(topics.len(), 5, "{topics:?}");
    let rows = api.get(list);
    let row = &rows["data"][0];
    assert_eq!(row["from_clientid"], "s", "{row}");
    assert_eq!(row["delayed_interval"], 600);
    assert!(row["delayed_remaining"].as_u64().unwrap() <= 600);
    let of = |row: &Value| {
        let msgid = row["msgid"].as_str().unwrap().to_owned();
        format!("{list}/millrace@127.0.0.1/{msgid}")
    };
    let path = of(row);
    assert_eq!(api.get(&path)["payload"], "bGF0ZXI=");
    assert_eq!(api.delete(&path).status, 204);
    assert_eq!(api.delete(&path).status, 404);
    assert_eq!(
        api.ask("GET", &path, None).body["code"],
        "MESSAGE_ID_NOT_FOUND"
    );
    let wrong = api.ask("GET", &format!("{list}/millrace@127.0.0.1/xyz"), None);
    assert_eq!(
        (wrong.status, &wrong.body["code"]),
        (400, &json!("MESSAGE_ID_SCHEMA_ERROR"))
    );
    let topic = rows["data"][1]["topic"]
        .as_str()
        .unwrap()
        .replace('/', "%2F");
    assert_eq!(api.delete(&format!("{list}/{topic}")).status, 204);
    assert_eq!(api.delete(&format!("{list}/{topic}")).status, 404);
    assert_eq!(api.get(list)["meta"]["count"], 3);
}

#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let api = Api::start(1);
    let handlers = api.get("/api/v5/log/handlers");
    assert_eq!(
        handlers,
        json!([{ "id": "console", "level": "info", "dst": "stderr", "status": "started" }])
    );
    let put = |id: &str, level: &str| {
        let path = format!("/api/v5/log/handlers/{id}");
        api.ask("PUT", &path, Some(&json!({ "level": level })))
    };
    assert_eq!(put("console", "loud").status, 400);
    assert_eq!(put("file", "error").status, 404);
    let changed = put("console", "critical");
    assert_eq!(
        (changed.status, &changed.body["level"]),
        (200, &json!("error"))
    );
    let log = api.broker.stop();
    assert!(!log.contains("stopping"), "{log}");
    let api = Api::start(1);
    assert!(api.broker.stop().contains("stopping"));
}

#[test]
fn what_is_refused_is_traced_with_its_reason() {
    let api = Api::start(1);
    trace(
        &api,
        &json!({ "name": "t", "type": "clientid", "clientid": "bad", "level": "warning" }),
    );
    let ban = json!({ "as": "clientid", "who": "bad" });
    assert_eq!(api.post("/api/v5/banned", &ban).status, 200);
    let deadline = Instant::now() + PATIENCE;
    while let Ok(client) = bench_harness::client::Client::connect(api.mqtt(), &clean(V, "bad")) {
        drop(client);
        assert!(Instant::now() < deadline, "still let in");
    }
    // Levels: what is no warning is not in this trace, but another trace has it.
    trace(
        &api,
        &json!({ "name": "all", "type": "ip_address", "ip_address": "127.0.0.1" }),
    );
    let refused = bench_harness::client::Client::connect(api.mqtt(), &clean(V, "bad"));
    assert!(refused.is_err());
    let text = log_with(&api, "all", &["packet: CONNACK, reason_code: banned(0x8A)"]);
    assert!(text.contains("packet: CONNECT,"), "{text}");
    let mut raw = bench_harness::client::Client::open(api.mqtt(), V).unwrap();
    raw.send_raw(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(
        raw.expect(PATIENCE),
        Err(_) | Ok(Packet::Disconnect(_))
    ));
    log_with(&api, "all", &["reason: frame_error"]);
    let calm = api.get("/api/v5/trace/t/log");
    assert!(
        !calm["items"].as_str().unwrap().contains("CONNECT,"),
        "{calm}"
    );
}
