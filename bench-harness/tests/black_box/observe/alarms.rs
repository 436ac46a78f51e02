//! Alarms: raised by what is wrong, told below `$SYS`, shown by the API, ended by operators.

use bench_harness::codec::Version;
use serde_json::{Value, json};

use super::{NODE, gather};
use crate::http::Api;
use crate::peer::subscriber;

#[test]
fn what_is_wrong_at_two_checks_is_told_and_shown_and_can_be_ended() {
    let api = Api::with(
        1,
        &[
            "--set",
            "sysmon.check_interval=1s",
            "--set",
            "sysmon.sysmem_high_watermark=1",
            "--set",
            "sysmon.cpu_high_watermark=100",
        ],
    );
    let prefix = format!("$SYS/brokers/{NODE}/alarms");
    let filter = format!("{prefix}/+");
    let mut client = subscriber(api.mqtt(), Version::V5, "c", &filter, 0);
    let name = "high_system_memory_usage";
    let told = |all: &std::collections::BTreeMap<String, String>, event: &str| {
        let body = all.get(&format!("{prefix}/{event}"))?;
        let body: Value = serde_json::from_str(body).unwrap();
        (body["name"] == name).then_some(body)
    };
    let all = gather(&mut client, |all| told(all, "activate").is_some());
    let body = told(&all, "activate").unwrap();
    assert_eq!(body["activated"], true, "{body}");
    assert_eq!(body["deactivate_at"], "infinity");
    assert!(body["activate_at"].as_u64().unwrap() > 1_700_000_000_000_000);
    assert_eq!(body["details"]["high_watermark"], 1);
    let is_it = |rows: &Value| {
        let rows = rows["data"].as_array().unwrap();
        rows.iter().any(|row| row["name"] == name)
    };
    assert!(is_it(&api.get("/api/v5/alarms")));
    let ended = api.post("/api/v5/alarms/force_deactivate", &json!({ "name": name }));
    assert_eq!(ended.status, 204);
    let all = gather(&mut client, |all| told(all, "deactivate").is_some());
    let body = told(&all, "deactivate").unwrap();
    assert_eq!(body["activated"], false, "{body}");
    assert!(body["deactivate_at"].is_u64(), "{body}");
    assert!(is_it(&api.get("/api/v5/alarms?activated=false")));
}

#[test]
fn a_backend_that_does_not_answer_is_a_resource_that_is_down() {
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", closed.local_addr().unwrap());
    drop(closed);
    let scratch = crate::broker::Scratch::new();
    let file = scratch.path("millrace.toml");
    let text = format!(
        "[[authentication]]\nmechanism = \"password_based\"\nbackend = \"http\"\nmethod = \"post\"\n\
         url = \"{url}\"\n[authentication.body]\nclientid = \"${{clientid}}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let api = Api::with(
        1,
        &["--config", config, "--set", "sysmon.check_interval=1s"],
    );
    for _ in 0..5 {
        let options = crate::peer::clean(Version::V5, "c");
        assert!(bench_harness::client::Client::connect(api.mqtt(), &options).is_err());
    }
    let name = "resource_down/authentication/mqtt:global/password_based:http";
    let alarms = api.until("/api/v5/alarms", |rows| {
        let rows = rows["data"].as_array().unwrap();
        rows.iter().any(|row| row["name"] == name)
    });
    assert!(alarms.to_string().contains("resource down"), "{alarms}");
}
