//! Clients: what is told of them, kicking, subscribing in their place, messages that wait.

use bench_harness::codec::{Packet, Version};
use serde_json::{Value, json};

use super::{Api, fields};
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, clean, collect, connect, leave, persistent, ping, subscriber,
};

#[test]
fn a_client_is_told_of_as_it_is() {
    let api = Api::start(2);
    let mut options = persistent(Version::V5, "device/1");
    options.connect.username = Some("ann".to_owned());
    options.connect.keep_alive_s = 300;
    let mut client = connect(api.mqtt(), &options);
    client.subscribe("a/+", 1).unwrap();
    let path = "/api/v5/clients/device%2F1";
    let told = api.get(path);
    for (field, value) in [
        ("clientid", json!("device/1")),
        ("username", json!("ann")),
        ("proto_ver", json!(5)),
        ("proto_name", json!("MQTT")),
        ("connected", json!(true)),
        ("clean_start", json!(false)),
        ("expiry_interval", json!(3600)),
        ("keepalive", json!(300)),
        ("subscriptions_cnt", json!(1)),
        ("ip_address", json!("127.0.0.1")),
        ("listener", json!("tcp:default")),
    ] {
        assert_eq!(told[field], value, "{field}: {told}");
    }
    let keepalive = api.ask(
        "PUT",
        &format!("{path}/keepalive"),
        Some(&json!({ "interval": 30 })),
    );
    assert_eq!(keepalive.body["keepalive"], 30, "{keepalive:?}");
    leave(client);
    let told = api.until(path, |told| told["connected"] == false);
    assert_eq!(
        (&told["username"], &told["ip_address"]),
        (&json!("ann"), &Value::Null)
    );
    assert!(
        told["disconnected_at"].is_string() && told["connected_at"].is_null(),
        "{told}"
    );
    let nobody = api.ask("GET", "/api/v5/clients/nobody", None);
    assert_eq!(
        (nobody.status, &nobody.body["code"]),
        (404, &json!("CLIENTID_NOT_FOUND"))
    );
}

#[test]
fn who_is_kicked_is_told_and_gone_and_the_will_is_published() {
    let api = Api::start(2);
    for version in VERSIONS {
        let mut heir = subscriber(api.mqtt(), version, "heir", "will", 0);
        let mut options = persistent(version, "victim");
        options.connect.will = Some(bench_harness::codec::Will {
            topic: "will".to_owned(),
            payload: b"gone".to_vec(),
            ..Default::default()
        });
        let mut victim = connect(api.mqtt(), &options);
        assert_eq!(api.delete("/api/v5/clients/victim").status, 204);
        if version == Version::V5 {
            let Packet::Disconnect(last) = victim.expect(PATIENCE).unwrap() else {
                panic!("no DISCONNECT");
            };
            assert_eq!(last.code, 0x98);
        }
        assert_eq!(victim.expect_closed(PATIENCE).unwrap(), None);
        assert_eq!(heir.expect_publish().unwrap().payload, b"gone");
        let again = api.delete("/api/v5/clients/victim");
        assert_eq!(
            (again.status, &again.body["code"]),
            (404, &json!("CLIENTID_NOT_FOUND"))
        );
        let back = connect(api.mqtt(), &persistent(version, "victim"));
        assert!(!back.connack.session_present, "the session is gone");
        assert_eq!(api.delete("/api/v5/clients/victim").status, 204);
    }
    let kicked = api.get("/api/v5/metrics?aggregate=true")["shutdown_count.kicked"].as_u64();
    assert_eq!(kicked, Some(6));
}

#[test]
fn many_are_kicked_at_once() {
    let api = Api::start(2);
    let all: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let mut clients: Vec<_> = all
        .iter()
        .map(|id| connect(api.mqtt(), &clean(Version::V311, id)))
        .collect();
    let mut kept = connect(api.mqtt(), &clean(Version::V311, "kept"));
    let answer = api.post("/api/v5/clients/kickout/bulk", &json!(all));
    assert_eq!(answer.status, 204, "{answer:?}");
    for client in &mut clients {
        client.expect_closed(PATIENCE).unwrap();
    }
    ping(&mut kept);
    assert_eq!(
        fields(&api.get("/api/v5/clients")["data"], "clientid"),
        ["kept"]
    );
}

#[test]
fn a_client_is_subscribed_and_unsubscribed_in_its_place() {
    let api = Api::start(2);
    let mut client = connect(api.mqtt(), &clean(Version::V5, "c"));
    let path = "/api/v5/clients/c";
    let wanted = json!({ "topic": "a/#", "qos": 1 });
    let answer = api.post(&format!("{path}/subscribe"), &wanted);
    assert_eq!(
        (answer.status, &answer.body["qos"]),
        (200, &json!(1)),
        "{answer:?}"
    );
    let more = json!([{ "topic": "b", "qos": 2 }, { "topic": "$share/g/s", "qos": 0 }]);
    assert_eq!(
        api.post(&format!("{path}/subscribe/bulk"), &more).status,
        200
    );
    let mut told = fields(&api.get(&format!("{path}/subscriptions")), "topic");
    told.sort();
    assert_eq!(told, ["$share/g/s", "a/#", "b"]);
    let message = json!({ "topic": "a/b", "payload": "here", "qos": 1 });
    assert_eq!(api.post("/api/v5/publish", &message).status, 200);
    assert_eq!(collect(&mut client, 1)[0].payload, b"here");
    let unwanted = json!({ "topic": "a/#" });
    assert_eq!(
        api.post(&format!("{path}/unsubscribe"), &unwanted).status,
        204
    );
    assert_eq!(api.post("/api/v5/publish", &message).status, 202);
    let unwanted = json!([{ "topic": "b" }, { "topic": "$share/g/s" }]);
    assert_eq!(
        api.post(&format!("{path}/unsubscribe/bulk"), &unwanted)
            .status,
        204
    );
    assert_eq!(api.get(&format!("{path}/subscriptions")), json!([]));
    client.expect_nothing(SILENCE).unwrap();
    for (wrong, status) in [
        (json!({ "topic": "a/#/b" }), 400),
        (json!({ "topic": "a", "qos": 3 }), 400),
        (json!({ "topic": "$share/g/a", "nl": 1 }), 400),
        (json!({}), 400),
    ] {
        let answer = api.post(&format!("{path}/subscribe"), &wrong);
        assert_eq!(answer.status, status, "{wrong}: {answer:?}");
    }
    assert_eq!(
        api.post("/api/v5/clients/nobody/subscribe", &wanted).status,
        404
    );
    assert_eq!(
        api.post(
            "/api/v5/clients/nobody/unsubscribe",
            &json!({ "topic": "a" })
        )
        .status,
        404
    );
}

#[test]
fn messages_that_wait_are_told() {
    let api = Api::start(2);
    let mut client = connect(api.mqtt(), &persistent(Version::V5, "c"));
    client.subscribe("q", 1).unwrap();
    // One stays on its way: it is not acknowledged.
    let publish = |n: u32| {
        let message = json!({ "topic": "q", "payload": format!("{n}"), "qos": 1 });
        assert_eq!(api.post("/api/v5/publish", &message).status, 200);
    };
    publish(0);
    assert!(matches!(
        client.expect(PATIENCE).unwrap(),
        Packet::Publish(_)
    ));
    let inflight = api.get("/api/v5/clients/c/inflight_messages?payload=plain");
    assert_eq!(fields(&inflight["data"], "payload"), ["0"]);
    leave(client);
    api.until("/api/v5/clients/c", |told| told["connected"] == false);
    (1..=5).for_each(publish);
    let mut position = "none".to_owned();
    let mut seen = Vec::new();
    for page in [2, 2, 1, 0] {
        let path =
            format!("/api/v5/clients/c/mqueue_messages?payload=plain&limit=2&position={position}");
        let told = api.get(&path);
        assert_eq!(told["data"].as_array().unwrap().len(), page, "{told}");
        seen.extend(fields(&told["data"], "payload"));
        position = told["meta"]["position"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    assert_eq!(api.get("/api/v5/clients/c")["mqueue_len"], 5);
    let mut back = connect(api.mqtt(), &persistent(Version::V5, "c"));
    assert_eq!(collect(&mut back, 6).len(), 6);
    let wrong = api.ask("GET", "/api/v5/clients/c/mqueue_messages?payload=x", None);
    assert_eq!(
        (wrong.status, &wrong.body["code"]),
        (400, &json!("INVALID_PARAMETER"))
    );
    assert_eq!(
        api.ask("GET", "/api/v5/clients/x/mqueue_messages", None)
            .status,
        404
    );
}
