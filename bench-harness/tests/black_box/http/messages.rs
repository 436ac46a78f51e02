//! Publishing, retained messages, topics.

use bench_harness::codec::{Property, Version};
use serde_json::json;

use super::{Api, fields};
use crate::peer::{SILENCE, clean, collect, connect, subscriber, texts};

#[test]
fn what_is_published_arrives_with_all_that_belongs_to_it() {
    let api = Api::start(2);
    let mut client = subscriber(api.mqtt(), Version::V5, "c", "p/#", 2);
    let message = json!({
        "topic": "p/1", "payload": "AAECAw==", "payload_encoding": "base64", "qos": 2,
        "properties": {
            "message_expiry_interval": 60, "response_topic": "answer", "correlation_data": "c",
            "content_type": "bytes", "payload_format_indicator": 0,
            "user_properties": { "one": "1", "two": "2" },
        },
    });
    let answer = api.post("/api/v5/publish", &message);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.body["id"].as_str().is_some_and(|id| id.len() == 32),
        "{answer:?}"
    );
    let came = collect(&mut client, 1).remove(0);
    assert_eq!(
        (came.topic.as_str(), came.payload.as_slice(), came.qos),
        ("p/1", &[0, 1, 2, 3][..], 2)
    );
    for wanted in [
        Property::ResponseTopic("answer".to_owned()),
        Property::CorrelationData(b"c".to_vec()),
        Property::ContentType("bytes".to_owned()),
        Property::UserProperty("one".to_owned(), "1".to_owned()),
        Property::UserProperty("two".to_owned(), "2".to_owned()),
    ] {
        assert!(
            came.properties.0.contains(&wanted),
            "{wanted:?} in {came:?}"
        );
    }
    let expires = came
        .properties
        .0
        .iter()
        .any(|p| matches!(p, Property::MessageExpiryInterval(_)));
    assert!(expires, "{came:?}");
}

#[test]
fn nobody_is_202_and_wrong_is_400() {
    let api = Api::start(2);
    let answer = api.post("/api/v5/publish", &json!({ "topic": "t", "payload": "" }));
    assert_eq!(
        (answer.status, &answer.body["reason_code"]),
        (202, &json!(16)),
        "{answer:?}"
    );
    for (wrong, code) in [
        (json!({ "topic": "a/#", "payload": "" }), "BAD_TOPIC"),
        (json!({ "topic": "", "payload": "" }), "BAD_TOPIC"),
        (
            json!({ "topic": "t", "payload": "", "qos": 3 }),
            "BAD_REQUEST",
        ),
        (
            json!({ "topic": "t", "payload": "*", "payload_encoding": "base64" }),
            "BAD_REQUEST",
        ),
        (
            json!({ "topic": "t", "payload": "", "payload_encoding": "hex" }),
            "BAD_REQUEST",
        ),
        (json!({ "topic": "t" }), "BAD_REQUEST"),
        (json!([]), "BAD_REQUEST"),
    ] {
        let answer = api.post("/api/v5/publish", &wrong);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!(code)),
            "{wrong}: {answer:?}"
        );
    }
    let deep = vec!["x"; 200].join("/");
    let answer = api.post("/api/v5/publish", &json!({ "topic": deep, "payload": "" }));
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn a_bulk_keeps_its_order_across_cores() {
    let api = Api::start(4);
    let mut client = subscriber(api.mqtt(), Version::V311, "c", "bulk/#", 1);
    let messages: Vec<_> = (0..200)
        .map(|n| {
            json!({ "topic": format!("bulk/{}", n % 7), "payload": n.to_string(), "qos": 1,
                    "clientid": "publisher" })
        })
        .collect();
    let answer = api.post("/api/v5/publish/bulk", &json!(messages));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body.as_array().unwrap().len(), 200);
    let came = texts(&collect(&mut client, 200));
    let wanted: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(came, wanted);
    let one_is_wrong =
        json!([{ "topic": "bulk/1", "payload": "" }, { "topic": "#", "payload": "" }]);
    assert_eq!(api.post("/api/v5/publish/bulk", &one_is_wrong).status, 400);
    let one_has_nobody =
        json!([{ "topic": "bulk/1", "payload": "" }, { "topic": "x", "payload": "" }]);
    assert_eq!(
        api.post("/api/v5/publish/bulk", &one_has_nobody).status,
        202
    );
    assert_eq!(collect(&mut client, 1).len(), 1);
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn retained_messages_are_listed_read_and_forgotten() {
    let api = Api::start(3);
    for n in 0..250 {
        let message =
            json!({ "topic": format!("r/{n}"), "payload": "x", "retain": true, "qos": 1 });
        assert_eq!(api.post("/api/v5/publish", &message).status, 202);
    }
    let list = "/api/v5/mqtt/retainer/messages";
    // A message goes to the core that keeps its topic.
    api.until(&format!("{list}?limit=1000"), |told| {
        told["data"].as_array().unwrap().len() == 250
    });
    let mut seen = Vec::new();
    for page in 1..=3 {
        let told = api.get(&format!("{list}?page={page}&limit=100"));
        assert_eq!(told["meta"]["hasnext"], page < 3, "{told}");
        seen.extend(fields(&told["data"], "topic"));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 250);
    let some = api.get(&format!("{list}?topic=%2B%2F7"));
    assert_eq!(fields(&some["data"], "topic"), ["r/7"]);
    let wrong = api.ask("GET", &format!("{list}?topic=r%2F1%2B"), None);
    assert_eq!(
        (wrong.status, &wrong.body["code"]),
        (400, &json!("BAD_TOPIC"))
    );
    let one = api.get("/api/v5/mqtt/retainer/message/r%2F7");
    assert_eq!((&one["payload"], &one["qos"]), (&json!("eA=="), &json!(1)));
    assert_eq!(
        api.delete("/api/v5/mqtt/retainer/message/r%2F7").status,
        204
    );
    assert_eq!(
        api.delete("/api/v5/mqtt/retainer/message/r%2F7").status,
        404
    );
    assert_eq!(
        api.ask("GET", "/api/v5/mqtt/retainer/message/r%2F7", None)
            .status,
        404
    );
    let mut client = connect(api.mqtt(), &clean(Version::V5, "c"));
    client.subscribe("r/7", 0).unwrap();
    client.expect_nothing(SILENCE).unwrap();
    assert_eq!(api.delete(list).status, 204);
    assert_eq!(api.get(list)["data"], json!([]));
    assert_eq!(api.get("/api/v5/mqtt/retainer")["enable"], true);
}

#[test]
fn a_filter_that_is_none_forgets_nothing() {
    let api = Api::start(2);
    for topic in ["keep/1", "keep/2", "drop/1"] {
        let message = json!({ "topic": topic, "payload": "x", "retain": true });
        assert_eq!(api.post("/api/v5/publish", &message).status, 202);
    }
    let list = "/api/v5/mqtt/retainer/messages";
    let all = |count: usize| {
        api.until(list, |told| told["data"].as_array().unwrap().len() == count);
    };
    all(3);
    for wrong in ["keep%2F%23%2Fx", "keep%2B"] {
        let answer = api.delete(&format!("{list}?topic={wrong}"));
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("BAD_TOPIC"))
        );
    }
    all(3);
    assert_eq!(api.delete(&format!("{list}?topic=drop%2F%23")).status, 204);
    let mut kept = fields(&api.get(list)["data"], "topic");
    kept.sort();
    assert_eq!(kept, ["keep/1", "keep/2"]);
}

#[test]
fn topics_are_each_listed_once() {
    let api = Api::start(3);
    let mut clients = Vec::new();
    for n in 0..6 {
        let mut client = connect(api.mqtt(), &clean(Version::V311, &format!("c{n}")));
        client.subscribe("common/#", 0).unwrap();
        client.subscribe(&format!("own/{n}"), 0).unwrap();
        clients.push(client);
    }
    let mut told = fields(&api.get("/api/v5/topics")["data"], "topic");
    told.sort();
    let mut wanted: Vec<String> = (0..6).map(|n| format!("own/{n}")).collect();
    wanted.insert(0, "common/#".to_owned());
    assert_eq!(told, wanted);
    assert_eq!(
        api.get("/api/v5/topics/common%2F%23")[0]["topic"],
        "common/#"
    );
    assert_eq!(api.ask("GET", "/api/v5/topics/none", None).status, 404);
    drop(clients);
    api.until("/api/v5/topics", |told| told["data"] == json!([]));
}
