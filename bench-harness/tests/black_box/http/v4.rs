//! EMQX 4's management API: envelope, result codes, paging, and that it does what it says.

use bench_harness::codec::Version;
use serde_json::{Value, json};

use super::{Api, fields};
use crate::peer::{PATIENCE, VERSIONS, clean, collect, connect, subscriber, texts};

#[test]
fn clients_are_told_and_kicked_by_every_path_there_was() {
    let api = Api::start(2);
    for path in [
        "/api/v4/clients/c",
        "/api/v4/nodes/millrace@127.0.0.1/clients/c",
        "/api/v3/clients/c",
        "/api/v3/connections/c",
        "/api/v2/clients/c",
    ] {
        let mut client = connect(api.mqtt(), &clean(Version::V311, "c"));
        let told = api.get("/api/v4/clients/c");
        assert_eq!(
            (&told["code"], &told["data"][0]["clientid"]),
            (&json!(0), &json!("c"))
        );
        assert_eq!(told["data"][0]["proto_ver"], 4);
        let answer = api.delete(path);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (200, &json!(0)),
            "{path}"
        );
        let result = path.contains("/clients") && !path.contains("v4");
        assert_eq!(
            answer.body["result"],
            if result { json!([]) } else { Value::Null },
            "{path}"
        );
        client.expect_closed(PATIENCE).unwrap();
        assert_eq!(api.get("/api/v4/clients/c")["data"], json!([]));
        assert_eq!(api.delete(path).body["code"], 112, "{path}");
    }
    assert_eq!(
        api.ask("GET", "/api/v4/nodes/other/clients", None).status,
        404
    );
}

#[test]
fn lists_have_their_envelope() {
    let api = Api::start(2);
    let mut clients = Vec::new();
    for n in 0..5 {
        clients.push(subscriber(
            api.mqtt(),
            Version::V5,
            &format!("c{n}"),
            &format!("t/{n}"),
            1,
        ));
    }
    let first = api.get("/api/v4/clients?_page=1&_limit=2");
    assert_eq!(
        first["meta"],
        json!({ "page": 1, "limit": 2, "count": 5, "hasnext": true })
    );
    let last = api.get("/api/v4/clients?_page=3&_limit=2");
    assert_eq!(
        (
            last["data"].as_array().unwrap().len(),
            &last["meta"]["hasnext"]
        ),
        (1, &json!(false))
    );
    let like = api.get("/api/v4/clients?_like_clientid=3");
    assert_eq!(
        (fields(&like["data"], "clientid"), &like["meta"]["count"]),
        (vec!["c3".to_owned()], &json!(-1))
    );
    assert_eq!(api.get("/api/v4/subscriptions")["meta"]["count"], 5);
    assert_eq!(
        fields(&api.get("/api/v4/subscriptions/c2")["data"], "topic"),
        ["t/2"]
    );
    let matched = api.get("/api/v4/subscriptions?_match_topic=t%2F1");
    assert_eq!(fields(&matched["data"], "clientid"), ["c1"]);
    assert_eq!(
        api.get("/api/v4/routes")["data"].as_array().unwrap().len(),
        5
    );
    assert_eq!(
        fields(&api.get("/api/v4/routes/t%2F4")["data"], "topic"),
        ["t/4"]
    );
    assert_eq!(api.get("/api/v4/routes/none")["data"], json!([]));
    assert_eq!(api.get("/api/v4/clients?_limit=x")["code"], 108);
}

#[test]
fn figures_and_the_index_have_their_envelope() {
    let api = Api::start(2);
    let clients: Vec<_> = (0..5)
        .map(|n| subscriber(api.mqtt(), Version::V5, &format!("c{n}"), "t", 1))
        .collect();
    for path in [
        "brokers",
        "nodes",
        "stats",
        "metrics",
        "listeners",
        "alarms",
        "alarms/activated",
        "banned",
    ] {
        let told = api.get(&format!("/api/v4/{path}"));
        assert_eq!(told["code"], 0, "{path}: {told}");
        assert!(told["data"].is_array(), "{path}: {told}");
    }
    let node = "/api/v4/nodes/millrace@127.0.0.1";
    assert_eq!(api.get(node)["data"]["node_status"], "Running");
    assert_eq!(
        api.get(&format!("{node}/stats"))["data"]["connections.count"],
        5
    );
    assert_eq!(
        api.get(&format!("{node}/metrics"))["data"]["client.connected"],
        5
    );
    assert_eq!(
        api.get("/api/v4/stats")["data"][0]["stats"]["sessions.count"],
        5
    );
    assert_eq!(api.delete("/api/v4/acl-cache").body["code"], 0);
    assert!(api.get("/api/v4")["data"].as_array().unwrap().len() > 30);
    drop(clients);
}

#[test]
fn messages_and_subscriptions_by_the_old_paths() {
    let api = Api::start(2);
    for version in VERSIONS {
        let mut client = connect(api.mqtt(), &clean(version, "c"));
        let done =
            |answer: super::Answer| assert_eq!(answer.body, json!({ "code": 0 }), "{answer:?}");
        done(api.post(
            "/api/v4/mqtt/subscribe",
            &json!({ "topics": "a,b", "clientid": "c", "qos": 1 }),
        ));
        done(api.post(
            "/api/v4/mqtt/publish",
            &json!({ "topic": "a", "payload": "1", "clientid": "x" }),
        ));
        let both = json!({ "topics": "a,b", "payload": "Mg==", "encoding": "base64", "qos": 1 });
        done(api.post("/api/v4/mqtt/publish", &both));
        // Without a publisher only one topic's messages keep an order.
        let mut came = texts(&collect(&mut client, 3));
        came.sort();
        assert_eq!(came, ["1", "2", "2"]);
        let batch =
            json!([{ "topic": "a", "payload": { "n": 3 } }, { "topic": "#", "payload": "" }]);
        let answer = api.post("/api/v4/mqtt/publish_batch", &batch).body;
        assert_eq!(
            (&answer["data"][0]["code"], &answer["data"][1]["code"]),
            (&json!(0), &json!(115))
        );
        assert_eq!(texts(&collect(&mut client, 1)), ["{\"n\":3}"]);
        done(api.post(
            "/api/v4/mqtt/unsubscribe",
            &json!({ "topic": "a", "clientid": "c" }),
        ));
        let batch =
            json!([{ "topic": "b", "clientid": "c" }, { "topic": "b", "clientid": "none" }]);
        let answer = api.post("/api/v4/mqtt/unsubscribe_batch", &batch).body;
        assert_eq!(
            (&answer["data"][0]["code"], &answer["data"][1]["code"]),
            (&json!(0), &json!(112))
        );
        let batch = json!([{ "topic": "d", "clientid": "c", "qos": 0 }]);
        assert_eq!(
            api.post("/api/v4/mqtt/subscribe_batch", &batch).body["data"][0]["code"],
            0
        );
        assert_eq!(
            fields(&api.get("/api/v4/subscriptions/c")["data"], "topic"),
            ["d"]
        );
        let offline = json!({ "topic": "a", "clientid": "none" });
        assert_eq!(
            api.post("/api/v4/mqtt/subscribe", &offline).body["code"],
            112
        );
        assert_eq!(
            api.post("/api/v4/mqtt/publish", &json!({ "payload": "x" }))
                .body["code"],
            107
        );
        assert_eq!(
            api.post(
                "/api/v4/mqtt/publish",
                &json!({ "topic": "+", "payload": "" })
            )
            .body["code"],
            115
        );
    }
}

#[test]
fn a_port_of_its_own_and_bans_for_five_minutes() {
    let api = Api::with(1, &["--set", "http.listen_v4=127.0.0.1:0"]);
    let ban = json!({ "as": "username", "who": "bad" });
    let made = api.post("/api/v4/banned", &ban).body;
    let (at, until) = (
        made["data"]["at"].as_u64().unwrap(),
        made["data"]["until"].as_u64().unwrap(),
    );
    assert!((299..=300).contains(&(until - at)), "{made}");
    assert_eq!(fields(&api.get("/api/v4/banned")["data"], "who"), ["bad"]);
    assert_eq!(
        api.delete("/api/v4/banned/username/bad").body,
        json!({ "code": 0 })
    );
    assert_eq!(api.get("/api/v4/banned")["data"], json!([]));
    assert_eq!(api.delete("/api/v4/banned/shoe/bad").body["code"], 108);
}

#[test]
fn bodies_are_json_whatever_their_type_says() {
    let api = Api::start(1);
    let mut client = subscriber(api.mqtt(), Version::V311, "c", "t", 1);
    let key = api.key("curl", "publisher");
    let body =
        br#"{"topic":"t","payload":"Hello World","qos":1,"retain":false,"clientid":"example"}"#;
    // As `curl -d` sends them, and without any.
    for kind in ["Content-Type: application/x-www-form-urlencoded\r\n", ""] {
        let headers = format!("Authorization: {key}\r\n{kind}");
        let address = api.broker.http.unwrap();
        let answer = super::raw(address, "POST", "/api/v4/mqtt/publish", &headers, body);
        assert_eq!(answer.body, json!({ "code": 0 }), "{answer:?}");
        assert_eq!(texts(&collect(&mut client, 1)), ["Hello World"]);
        let answer = super::raw(address, "POST", "/api/v4/mqtt/publish", &headers, b"{");
        assert_eq!((answer.status, &answer.body["code"]), (200, &json!(109)));
        let answer = super::raw(address, "POST", "/api/v4/mqtt/publish", &headers, b"7");
        assert_eq!((answer.status, &answer.body["code"]), (200, &json!(108)));
    }
}
