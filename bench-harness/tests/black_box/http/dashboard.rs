//! The dashboard's files, and the figures of its first page. The page itself is tested in a browser:
//! `bench-harness/tests/dashboard`.

use std::time::Instant;

use super::{Api, raw};
use crate::peer::{PATIENCE, clean, collect, connect, subscriber};

use bench_harness::codec::Version;

#[test]
fn the_page_is_served_to_everyone_with_a_policy() {
    let api = Api::start(1);
    let page = api.as_nobody("GET", "/", None);
    assert_eq!(page.status, 200);
    assert!(page.text.starts_with("<!doctype html>"), "{}", page.text);
    let policy = page
        .headers
        .lines()
        .find(|line| line.starts_with("content-security-policy:"));
    let policy = policy.expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(
        !policy.contains("unsafe") && !policy.contains("http:"),
        "{policy}"
    );
    let script = api.as_nobody("GET", "/dashboard/app.js", None);
    assert!(
        script.headers.contains("content-type: text/javascript"),
        "{}",
        script.headers
    );
    let tag = script
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let known = format!("If-None-Match: {}\r\n", tag.replace("w/", "W/"));
    let again = raw(
        api.broker.http.unwrap(),
        "GET",
        "/dashboard/app.js",
        &known,
        b"",
    );
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(
        api.as_nobody("GET", "/dashboard/../secret", None).status,
        404
    );
    assert_eq!(api.as_nobody("POST", "/", None).status, 405);
    // A link of another site may lead to the page, but no page of another site to the API.
    let foreign = "Sec-Fetch-Site: cross-site\r\n";
    let address = api.broker.http.unwrap();
    assert_eq!(raw(address, "GET", "/", foreign, b"").status, 200);
    assert_eq!(raw(address, "GET", "/status", foreign, b"").status, 403);
}

#[test]
fn the_page_can_be_switched_off() {
    let api = Api::with(1, &["--set", "http.dashboard=false"]);
    for path in ["/", "/dashboard", "/dashboard/app.js"] {
        assert_eq!(api.as_nobody("GET", path, None).status, 404, "{path}");
    }
    assert_eq!(api.ask("GET", "/api/v5/overview", None).status, 200);
}

#[test]
fn the_overview_tells_of_cores_tables_and_drops() {
    let api = Api::start(2);
    let mut all = subscriber(api.mqtt(), Version::V5, "all", "to/#", 0);
    let mut one = connect(api.mqtt(), &clean(Version::V5, "one"));
    one.publish("to/1", 0, b"x").unwrap();
    one.publish("to/nobody", 0, b"x").unwrap();
    one.publish("elsewhere", 0, b"x").unwrap();
    collect(&mut all, 2);
    let told = api.until("/api/v5/overview", |told| {
        told["counts"]["live_connections"] == 2
            && told["dropped"]["messages.dropped.no_subscribers"] == 1
    });
    assert_eq!(told["totals"]["received"], 3);
    assert_eq!(told["totals"]["sent"], 2);
    assert_eq!(told["totals"]["dropped"], 1);
    assert_eq!(told["counts"]["subscriptions"], 1);
    let cores = told["cores"].as_array().unwrap();
    let sum = |field: &str| {
        cores
            .iter()
            .map(|core| core[field].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((cores.len(), sum("live_connections")), (2, 2));
    assert_eq!((sum("received"), sum("sent")), (3, 2));
    let tables = told["memory"]["tables"].as_array().unwrap();
    let table = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap();
    assert_eq!(table("connections")["entries"], 2);
    assert!(table("connections")["bytes"].as_u64().unwrap() > 0);
    assert!(told["memory"]["process"].as_u64().unwrap() > 0);
    // Somebody worked for this: in the end each core's thread has used time.
    let deadline = Instant::now() + PATIENCE;
    let worked = |told: &serde_json::Value| {
        let cores = told["cores"].as_array().unwrap();
        cores.iter().all(|core| core["cpu_ms"].as_u64() > Some(0))
    };
    while !worked(&api.get("/api/v5/overview")) {
        assert!(Instant::now() < deadline, "the cores used no time");
    }
}
