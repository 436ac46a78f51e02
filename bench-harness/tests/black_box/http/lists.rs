//! Long lists, page by page, while clients come and go.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bench_harness::client::Client;
use bench_harness::codec::Version;
use serde_json::{Value, json};

use super::{Api, fields};
use crate::peer::{clean, connect, leave, persistent, subscriber};

/// Sessions that are there all the time.
const KNOWN: usize = 10_000;
/// Threads that make them.
const MAKERS: usize = 4;

/// Makes sessions that stay.
fn make_known(api: &Api) {
    let address = api.mqtt();
    thread::scope(|scope| {
        for maker in 0..MAKERS {
            scope.spawn(move || {
                for n in (maker..KNOWN).step_by(MAKERS) {
                    leave(connect(
                        address,
                        &persistent(Version::V311, &format!("known-{n}")),
                    ));
                }
            });
        }
    });
}

/// The known ones among what a walk has seen: each once.
fn assert_complete(seen: &[String]) {
    let known: Vec<&String> = seen.iter().filter(|id| id.starts_with("known-")).collect();
    let unique: BTreeSet<&String> = known.iter().copied().collect();
    assert_eq!((known.len(), unique.len()), (KNOWN, KNOWN));
}

/// Calls `next` until there is no further page; what all pages held.
fn walk(mut next: impl FnMut(usize) -> (Value, bool)) -> Vec<String> {
    let mut seen = Vec::new();
    for page in 1.. {
        let (data, more) = next(page);
        seen.extend(fields(&data, "clientid"));
        if !more {
            break;
        }
    }
    seen
}

#[test]
fn ten_thousand_clients_are_listed_whole_and_once_while_others_come_and_go() {
    let api = Api::start(2);
    make_known(&api);
    let over = AtomicBool::new(false);
    let address = api.mqtt();
    thread::scope(|scope| {
        for n in 0..2 {
            let over = &over;
            scope.spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("passing-{n}-{}", round % 50);
                    drop(connect(address, &clean(Version::V311, &id)));
                }
            });
        }
        let pages = walk(|page| {
            let told = api.get(&format!(
                "/api/v5/clients?page={page}&limit=300&fields=clientid"
            ));
            (told["data"].clone(), told["meta"]["hasnext"] == true)
        });
        let mut cursor = "none".to_owned();
        let cursors = walk(|_| {
            let path = format!("/api/v5/clients_v2?cursor={cursor}&limit=777&fields=clientid");
            let told = api.get(&path);
            let next = told["meta"]["cursor"].as_str();
            cursor = next.unwrap_or_default().to_owned();
            (told["data"].clone(), next.is_some())
        });
        let old = walk(|page| {
            let told = api.get(&format!("/api/v4/clients?_page={page}&_limit=5000"));
            (told["data"].clone(), told["meta"]["hasnext"] == true)
        });
        over.store(true, Ordering::Relaxed);
        assert_complete(&pages);
        assert_complete(&cursors);
        assert_complete(&old);
    });
    let told = api.get("/api/v5/clients?like_clientid=known-99&limit=1000");
    // 99, 990 to 999, 9900 to 9999.
    assert_eq!(told["data"].as_array().unwrap().len(), 111);
    let told = api.get("/api/v5/clients?limit=1&conn_state=disconnected");
    assert_eq!(
        (
            told["meta"]["hasnext"].clone(),
            told["meta"]["count"].clone()
        ),
        (json!(true), Value::Null)
    );
    let far = api.ask("GET", "/api/v5/clients?page=200000&limit=10000", None);
    assert_eq!(
        (far.status, &far.body["code"]),
        (400, &json!("INVALID_PARAMETER"))
    );
}

/// Lets this process hold the connections of a test.
fn allow_descriptors(count: usize) {
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={count}:"));
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(status.unwrap().success(), "{count} open files are needed");
}

/// Connects the known ones: every second with version 5, a hundred with each user name, each with a
/// subscription of its own.
fn connect_known(api: &Api) -> Vec<Client> {
    let address = api.mqtt();
    let one = |n: usize| {
        let version = [Version::V311, Version::V5][n % 2];
        let mut options = clean(version, &format!("known-{n}"));
        options.connect.username = Some(format!("user-{}", n % 100));
        options.connect.keep_alive_s = 0;
        let mut client = connect(address, &options);
        assert_eq!(client.subscribe(&format!("own/{n}"), 1).unwrap(), 1);
        client
    };
    thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS)
            .map(|maker| scope.spawn(move || (maker..KNOWN).step_by(MAKERS).map(one).collect()))
            .collect();
        let made = makers.into_iter().map(|maker| maker.join().unwrap());
        made.flat_map(|clients: Vec<Client>| clients).collect()
    })
}

/// A field of all rows of a list, page by page.
fn all_pages(api: &Api, path: &str, field: &str) -> Vec<String> {
    let (page_name, limit) = match path.starts_with("/api/v4") {
        true => ("_page", "_limit=3000"),
        false => ("page", "limit=700"),
    };
    let mut seen = Vec::new();
    for page in 1.. {
        let join = if path.contains('?') { '&' } else { '?' };
        let told = api.get(&format!("{path}{join}{limit}&{page_name}={page}"));
        seen.extend(fields(&told["data"], field));
        if told["meta"]["hasnext"] != true {
            break;
        }
    }
    seen
}

#[test]
fn ten_thousand_connected_clients_are_found_by_every_list() {
    allow_descriptors(KNOWN + 2_000);
    let api = Api::start(2);
    let clients = connect_known(&api);
    assert_complete(&all_pages(
        &api,
        "/api/v5/clients?fields=clientid",
        "clientid",
    ));
    let first = api.get("/api/v5/clients?limit=1");
    assert_eq!(first["meta"]["count"], KNOWN, "{first}");
    // Filters, of which each page has to look at many that are not meant.
    for (query, count) in [
        ("conn_state=connected", KNOWN),
        ("conn_state=disconnected", 0),
        ("proto_ver=5", KNOWN / 2),
        ("proto_ver=4&username=user-7", 0),
        ("proto_ver=5&username=user-7", 100),
        ("username=user-7&username=user-8", 200),
        ("like_username=user-9", 1_100),
        ("like_clientid=known-99", 111),
        ("like_clientid=-9999", 1),
        ("clientid=known-4711&clientid=unknown", 1),
        ("ip_address=127.0.0.1&like_clientid=00", 180),
        ("clean_start=false", 0),
        ("gte_created_at=2020-01-01T00:00:00Z&proto_ver=4", KNOWN / 2),
        ("lte_connected_at=2020-01-01T00:00:00Z", 0),
    ] {
        let path = format!("/api/v5/clients?fields=clientid&{query}");
        let seen = all_pages(&api, &path, "clientid");
        let unique: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), unique.len()), (count, count), "{query}");
        let mut by_cursor = Vec::new();
        let mut next = Some("none".to_owned());
        while let Some(cursor) = next {
            let path =
                format!("/api/v5/clients_v2?fields=clientid&limit=999&cursor={cursor}&{query}");
            let told = api.get(&path);
            by_cursor.extend(fields(&told["data"], "clientid"));
            next = told["meta"]["cursor"].as_str().map(str::to_owned);
        }
        // A look-up by id is no walk: `/clients` alone does it.
        if !query.starts_with("clientid=") {
            assert_eq!(by_cursor, seen, "{query}");
        }
    }
    assert_complete(&all_pages(&api, "/api/v4/clients", "clientid"));
    assert_eq!(
        all_pages(&api, "/api/v4/clients?_like_clientid=known-99", "clientid").len(),
        111
    );
    assert_eq!(
        all_pages(&api, "/api/v4/clients?proto_ver=5", "clientid").len(),
        KNOWN / 2
    );
    for path in ["/api/v5/subscriptions", "/api/v4/subscriptions"] {
        assert_complete(&all_pages(&api, path, "clientid"));
    }
    let one = api.get("/api/v5/subscriptions?match_topic=own%2F77");
    assert_eq!(fields(&one["data"], "clientid"), ["known-77"]);
    let mut wanted: Vec<String> = (0..KNOWN).map(|n| format!("own/{n}")).collect();
    wanted.sort_unstable();
    for path in ["/api/v5/topics", "/api/v4/routes"] {
        let mut topics = all_pages(&api, path, "topic");
        topics.sort_unstable();
        assert_eq!(topics, wanted, "{path}");
    }
    drop(clients);
}

#[test]
fn filters_choose_among_clients() {
    let api = Api::start(2);
    let mut all = Vec::new();
    for (id, version, name) in [
        ("sensor-1", Version::V311, Some("ann")),
        ("sensor-2", Version::V5, Some("bob")),
        ("pump-1", Version::V5, None),
    ] {
        let mut options = clean(version, id);
        options.connect.username = name.map(str::to_owned);
        all.push(connect(api.mqtt(), &options));
    }
    leave(connect(api.mqtt(), &persistent(Version::V311, "away")));
    api.until("/api/v5/clients/away", |told| told["connected"] == false);
    let found = |query: &str| {
        let mut ids = fields(
            &api.get(&format!("/api/v5/clients?{query}"))["data"],
            "clientid",
        );
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(found(""), "away pump-1 sensor-1 sensor-2");
    assert_eq!(found("like_clientid=sensor"), "sensor-1 sensor-2");
    assert_eq!(found("username=bob"), "sensor-2");
    assert_eq!(found("like_username=nn"), "sensor-1");
    assert_eq!(found("conn_state=disconnected"), "away");
    assert_eq!(found("conn_state=connected&proto_ver=5"), "pump-1 sensor-2");
    assert_eq!(found("clean_start=false"), "away");
    assert_eq!(found("ip_address=127.0.0.1"), "pump-1 sensor-1 sensor-2");
    assert_eq!(found("ip_address=10.0.0.1"), "");
    assert_eq!(
        found("clientid=pump-1&clientid=away&clientid=none"),
        "away pump-1"
    );
    assert_eq!(found("clientid=pump-1&conn_state=disconnected"), "");
    assert_eq!(
        found("gte_connected_at=2020-01-01T00:00:00Z"),
        "pump-1 sensor-1 sensor-2"
    );
    assert_eq!(found("lte_created_at=1000"), "");
    for wrong in [
        "limit=0",
        "limit=10001",
        "page=0",
        "page=x",
        "conn_state=x",
        "proto_ver=6",
        "ip_address=x",
    ] {
        let answer = api.ask("GET", &format!("/api/v5/clients?{wrong}"), None);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("INVALID_PARAMETER")),
            "{wrong}"
        );
    }
    let names = fields(&api.get("/api/v4/clients/username/ann")["data"], "clientid");
    assert_eq!(names, ["sensor-1"]);
}

#[test]
fn subscriptions_are_listed_whole_and_chosen() {
    let api = Api::start(2);
    let mut many = connect(api.mqtt(), &clean(Version::V5, "many"));
    for n in 0..250 {
        many.subscribe(&format!("m/{n}"), 1).unwrap();
    }
    let mut few = subscriber(api.mqtt(), Version::V311, "few", "m/+", 0);
    few.subscribe("$share/g/m/7", 2).unwrap();
    let list = |query: &str| api.get(&format!("/api/v5/subscriptions?{query}"));
    let mut seen = BTreeSet::new();
    for page in 1..=3 {
        let told = list(&format!("page={page}&limit=100"));
        for row in told["data"].as_array().unwrap() {
            let row = format!("{} {}", row["clientid"], row["topic"]);
            assert!(seen.insert(row.clone()), "{row} twice");
        }
        assert_eq!(told["meta"]["hasnext"], page < 3, "{told}");
    }
    assert_eq!(seen.len(), 252);
    assert_eq!(
        list("clientid=many&limit=1000")["data"]
            .as_array()
            .unwrap()
            .len(),
        250
    );
    assert_eq!(
        api.get("/api/v5/clients/many/subscriptions")
            .as_array()
            .unwrap()
            .len(),
        250
    );
    let of = |query: &str| {
        let mut rows = fields(&list(query)["data"], "topic");
        rows.sort();
        rows.join(" ")
    };
    assert_eq!(of("match_topic=m%2F7"), "$share/g/m/7 m/+ m/7");
    assert_eq!(of("topic=m%2F8"), "m/8");
    assert_eq!(of("share_group=g"), "$share/g/m/7");
    assert_eq!(of("qos=0"), "m/+");
    assert_eq!(of("clientid=few&qos=2"), "$share/g/m/7");
    assert_eq!(of("clientid=nobody"), "");
}
