//! The webhook: EMQX 4's bodies, in the order of each client's doings, and nobody waits for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bench_harness::codec::Version;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::http::Api;
use crate::http_stub::HttpStub;
use crate::peer::{PATIENCE, clean, collect, connect, leave, ping, subscriber};

/// A service that says what it was sent and answers with `status`.
fn service(status: impl Fn() -> u16 + Send + Sync + 'static) -> (HttpStub, Receiver<Value>) {
    let (told, heard): (Sender<Value>, _) = channel();
    let stub = HttpStub::start(move |request| {
        assert!(request.head.starts_with("post /hook "), "{}", request.head);
        assert!(request.head.contains("authorization: bearer x"));
        let body = serde_json::from_str(&request.body).unwrap();
        let _ = told.send(body);
        (status(), String::new())
    });
    (stub, heard)
}

fn arguments(stub: &HttpStub, actions: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "webhook.enable=true".to_owned(),
        format!("webhook.url=http://{}/hook", stub.address),
        "webhook.authorization=Bearer x".to_owned(),
    ];
    for (at, (action, topic)) in actions.iter().enumerate() {
        all.push(format!("webhook.rules.{at}.action={action}"));
        all.push(format!("webhook.rules.{at}.topic={topic}"));
    }
    all.extend(more.iter().map(|text| (*text).to_owned()));
    let pairs = all.into_iter().flat_map(|text| ["--set".to_owned(), text]);
    pairs.collect()
}

fn next(heard: &Receiver<Value>) -> Value {
    heard.recv_timeout(PATIENCE).unwrap()
}

fn assert_fields(body: &Value, wanted: &Value) {
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&body[field], value, "{field} of {body}");
    }
}

#[test]
fn events_of_a_client_come_in_their_order_with_the_bodies_of_emqx_4() {
    let (stub, heard) = service(|| 200);
    let actions = [
        ("on_client_connect", "#"),
        ("on_client_connack", "#"),
        ("on_client_connected", "#"),
        ("on_client_subscribe", "#"),
        ("on_session_subscribed", "a/#"),
        ("on_message_publish", "a/+"),
        ("on_message_delivered", "a/+"),
        ("on_message_acked", "a/+"),
        ("on_client_disconnected", "#"),
        ("on_session_terminated", "#"),
    ];
    let arguments = arguments(&stub, &actions, &["webhook.encode_payload=base64"]);
    let mut all = vec!["--cores", "1"];
    all.extend(arguments.iter().map(String::as_str));
    let broker = Broker::with(&all);
    let mut options = clean(Version::V311, "d");
    options.connect.username = Some("ann".to_owned());
    options.connect.keep_alive_s = 9;
    let mut client = connect(broker.address(), &options);
    client.subscribe("a/+", 1).unwrap();
    client.publish("b", 0, b"not told").unwrap();
    client.publish("a/b", 0, b"hi").unwrap();
    collect(&mut client, 1);
    ping(&mut client);
    leave(client);
    let who = json!({ "clientid": "d", "username": "ann" });
    let from = json!({ "from_client_id": "d", "topic": "a/b", "payload": "aGk=", "retain": false });
    for (action, more) in [
        (
            "client_connect",
            json!({ "ipaddress": "127.0.0.1", "keepalive": 9, "proto_ver": 4 }),
        ),
        ("client_connack", json!({ "conn_ack": "success" })),
        ("client_connected", json!({ "keepalive": 9 })),
        (
            "client_subscribe",
            json!({ "topic": "a/+", "opts": { "qos": 1 } }),
        ),
        ("session_subscribed", json!({ "topic": "a/+" })),
        ("message_publish", from.clone()),
        ("message_delivered", from),
        ("client_disconnected", json!({ "reason": "normal" })),
        ("session_terminated", json!({})),
    ] {
        let body = next(&heard);
        assert_eq!(body["action"], action, "{body}");
        assert_fields(&body, &more);
        if action == "message_publish" {
            assert_fields(&body, &json!({ "from_username": "ann", "qos": 0 }));
            assert!(body.get("clientid").is_none(), "{body}");
            assert!(body["ts"].as_u64().unwrap() > 1_700_000_000_000);
        } else {
            assert_fields(&body, &who);
        }
    }
}

#[test]
fn an_acknowledged_message_is_told_with_its_receiver() {
    let (stub, heard) = service(|| 200);
    let arguments = arguments(&stub, &[("on_message_acked", "t")], &[]);
    let mut all = vec!["--cores", "1"];
    all.extend(arguments.iter().map(String::as_str));
    let broker = Broker::with(&all);
    let mut receiver = subscriber(broker.address(), Version::V5, "r", "t", 1);
    let mut sender = connect(broker.address(), &clean(Version::V5, "s"));
    sender.publish("t", 1, b"x").unwrap();
    collect(&mut receiver, 1);
    let wanted = json!({
        "action": "message_acked", "clientid": "r", "from_client_id": "s", "payload": "x", "qos": 1,
    });
    assert_fields(&next(&heard), &wanted);
}

#[test]
fn a_service_that_fails_is_asked_again_raises_an_alarm_and_holds_nobody_up() {
    let (stub, heard) = service({
        let begun = Instant::now();
        move || {
            let broken = begun.elapsed() < Duration::from_millis(1500);
            if broken { 500 } else { 200 }
        }
    });
    let arguments = arguments(
        &stub,
        &[("on_client_connected", "#")],
        &["webhook.max_retries=1", "webhook.pool_size=1"],
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let api = Api::with(1, &arguments);
    let _client = connect(api.mqtt(), &clean(Version::V5, "c"));
    next(&heard);
    next(&heard);
    let raised = api.until("/api/v5/alarms", |all| all["meta"]["count"] == 1);
    assert_eq!(raised["data"][0]["name"], "webhook_down");
    // Those who come later are told of once the service is well, which ends the alarm.
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    while api.get("/api/v5/alarms")["meta"]["count"] == 1 {
        assert!(Instant::now() < deadline, "the alarm stays");
        number += 1;
        let _client = connect(api.mqtt(), &clean(Version::V5, &format!("c{number}")));
        std::thread::sleep(Duration::from_millis(100));
    }
    let over = api.get("/api/v5/alarms?activated=false");
    assert_eq!(over["data"][0]["name"], "webhook_down");
    let text = api.as_nobody("GET", "/metrics", None).text;
    assert!(text.contains("\nmillrace_webhook_dropped_total 0\n"));
    assert!(!text.contains("\nmillrace_webhook_failed_total 0\n"));
    assert!(!text.contains("\nmillrace_webhook_sent_total 0\n"));
}

#[test]
fn what_finds_its_queue_full_is_counted() {
    let (_stub, address) = {
        // Takes connections and never answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    let url = format!("webhook.url=http://{address}/hook");
    let api = Api::with(
        1,
        &[
            "--set",
            "webhook.enable=true",
            "--set",
            &url,
            "--set",
            "webhook.pool_size=1",
            "--set",
            "webhook.max_buffer_events=4",
            "--set",
            "webhook.rules.1.action=on_message_publish",
        ],
    );
    let mut client = connect(api.mqtt(), &clean(Version::V5, "c"));
    for _ in 0..20 {
        client.publish("t", 1, b"x").unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = api.as_nobody("GET", "/metrics", None).text;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("millrace_webhook_dropped_total "));
        let dropped: u32 = line.unwrap().parse().unwrap();
        if dropped >= 14 {
            break;
        }
        assert!(Instant::now() < deadline, "{dropped} dropped");
        std::thread::sleep(Duration::from_millis(10));
    }
}
