//! Users of the built-in database, remembered answers about rights, and bans: by the API, from outside.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bench_harness::client::{Client, Options};
use bench_harness::codec::Version;
use serde_json::json;

use super::{ctl, until};
use crate::broker::Scratch;
use crate::http::Api;
use crate::http_stub::HttpStub;
use crate::peer::{clean, connect, leave, vanish};

const USERS: &str = "/api/v5/authentication/password_based:built_in_database";

fn named(user: &str, password: &str) -> Options {
    let mut options = clean(Version::V5, user);
    options.connect.username = Some(user.to_owned());
    options.connect.password = Some(password.as_bytes().to_vec());
    options
}

fn enters(api: &Api, user: &str, password: &str) -> bool {
    match Client::connect(api.mqtt(), &named(user, password)) {
        Ok(client) => {
            leave(client);
            true
        }
        Err(_) => false,
    }
}

/// A broker with a table of users, one of them from a file, and one for SCRAM; `begun` is its directory.
fn with_users(begun: &Scratch) -> Api {
    let (data, path) = (begun.path("data"), begun.path("m.toml"));
    let csv = begun.path("users.csv");
    fs::write(&csv, "user_id,password\nfirst,first-word\n").unwrap();
    let text = format!(
        "[[authentication]]\nmechanism = 'password_based'\nbackend = 'built_in_database'\n\
         bootstrap_type = 'plain'\nbootstrap_file = '{}'\n\
         [[authentication]]\nmechanism = 'scram'\nbackend = 'built_in_database'\n",
        csv.display()
    );
    fs::write(&path, text).unwrap();
    let (path, data) = (path.to_str().unwrap(), data.to_str().unwrap());
    Api::with(1, &["--config", path, "--data-dir", data])
}

const SCRAM: &str = "/api/v5/authentication/scram:built_in_database/users";

#[test]
fn users_are_added_changed_imported_deleted_and_kept() {
    let scratch = Scratch::new();
    let api = with_users(&scratch);
    assert!(enters(&api, "first", "first-word") && !enters(&api, "ann", "one"));
    let users = format!("{USERS}/users");
    let new = json!({ "user_id": "ann", "password": "one", "is_superuser": true });
    let added = api.ask("POST", &users, Some(&new));
    let shown = json!({ "user_id": "ann", "is_superuser": true });
    assert_eq!((added.status, &added.body), (201, &shown));
    assert!(enters(&api, "ann", "one"));
    let of_ann = format!("{users}/ann");
    let change = json!({ "password": "two", "is_superuser": false });
    let changed = api.ask("PUT", &of_ann, Some(&change));
    assert_eq!(
        (changed.status, &changed.body["is_superuser"]),
        (200, &json!(false))
    );
    assert!(enters(&api, "ann", "two") && !enters(&api, "ann", "one"));
    let list = json!([{ "user_id": "bob", "password": "b", "is_superuser": true },
        { "user_id": "ann", "password": "three" }]);
    let taken = api.ask("POST", &format!("{USERS}/import_users"), Some(&list));
    let report = json!({ "total": 2, "success": 1, "override": 1, "failed": 0 });
    assert_eq!(taken.body, report);
    assert!(enters(&api, "bob", "b") && enters(&api, "ann", "three"));
    let page = api
        .ask("GET", &format!("{users}?like_user_id=b&limit=1"), None)
        .body;
    assert_eq!(
        page["data"],
        json!([{ "user_id": "bob", "is_superuser": true }])
    );
    assert_eq!(page["meta"]["count"], 1);
    assert_eq!(api.ask("GET", &users, None).body["meta"]["count"], 3);
    let added = api.ask(
        "POST",
        SCRAM,
        Some(&json!({ "user_id": "s", "password": "x" })),
    );
    assert_eq!(added.status, 201, "{added:?}");
    let members = api.ask("GET", "/api/v5/authentication", None).body;
    assert_eq!(members[0]["id"], "password_based:built_in_database");
    assert!(members[0]["success"].as_u64() > Some(3), "{members}");
    api.broker.stop();
    let api = with_users(&scratch);
    assert!(enters(&api, "ann", "three") && enters(&api, "bob", "b"));
    assert!(enters(&api, "first", "first-word"));
    let kept = api.ask("GET", SCRAM, None).body;
    assert_eq!(
        kept["data"],
        json!([{ "user_id": "s", "is_superuser": false }])
    );
    let one = api.ask("GET", &of_ann, None).body;
    assert_eq!(one, json!({ "user_id": "ann", "is_superuser": false }));
    assert_eq!(api.ask("DELETE", &of_ann, None).status, 204);
    assert!(!enters(&api, "ann", "three"));
    api.broker.stop();
}

#[test]
fn what_is_wrong_about_users_is_refused() {
    let scratch = Scratch::new();
    let api = with_users(&scratch);
    let users = format!("{USERS}/users");
    let first = json!({ "user_id": "first", "password": "x" });
    for (method, path, body, status) in [
        ("POST", users.clone(), Some(first), 409),
        ("GET", format!("{users}/nobody"), None, 404),
        ("PUT", format!("{users}/nobody"), Some(json!({})), 404),
        ("DELETE", format!("{users}/nobody"), None, 404),
        (
            "GET",
            "/api/v5/authentication/jwt/users".to_owned(),
            None,
            404,
        ),
        ("GET", format!("{users}?listener=tcp:default"), None, 404),
        (
            "POST",
            users.clone(),
            Some(json!({ "user_id": "", "password": "x" })),
            400,
        ),
        (
            "POST",
            format!("{USERS}/import_users"),
            Some(json!([{ "user_id": "x" }])),
            400,
        ),
    ] {
        let answer = api.ask(method, &path, body.as_ref());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    api.broker.stop();
}

#[test]
fn answers_about_rights_are_shown_and_forgotten() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let stub = HttpStub::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        (200, r#"{"result":"allow"}"#.to_owned())
    });
    let sources = format!(
        r#"authorization.sources.remote=[{{"type":"http","url":"http://{}/acl"}}]"#,
        stub.address
    );
    let api = Api::with(2, &["--set", &sources]);
    let mut client = connect(api.mqtt(), &clean(Version::V5, "c"));
    let mut subscribe = |times| {
        assert_eq!(client.subscribe("a/b", 0).unwrap(), 0);
        assert_eq!(asked.load(Ordering::Relaxed), times);
    };
    subscribe(1);
    subscribe(1);
    let cache = "/api/v5/clients/c/authorization/cache";
    let row = &api.ask("GET", cache, None).body[0];
    assert_eq!(
        (&row["access"], &row["topic"], &row["result"]),
        (&json!("subscribe"), &json!("a/b"), &json!("allow"),)
    );
    let row = &api.ask("GET", "/api/v4/clients/c/acl_cache", None).body["data"][0];
    assert_eq!(row["topic"], "a/b");
    assert_eq!(api.ask("DELETE", cache, None).status, 204);
    subscribe(2);
    assert_eq!(
        api.ask("DELETE", "/api/v5/authorization/cache", None)
            .status,
        204
    );
    assert_eq!(api.ask("GET", cache, None).body, json!([]));
    subscribe(3);
    for (line, times) in [
        (["acl", "cache-clean", "all"], 4),
        (["authz", "cache-clean", "c"], 5),
    ] {
        assert_eq!(ctl(&api.broker, &line).out, "ok\n");
        subscribe(times);
    }
    assert_eq!(api.ask("DELETE", "/api/v4/acl-cache", None).body["code"], 0);
    subscribe(6);
    assert_eq!(
        api.ask("GET", "/api/v5/clients/x/authorization/cache", None)
            .status,
        404
    );
    assert_eq!(ctl(&api.broker, &["acl", "cache-clean", "x"]).code, Some(1));
    api.broker.stop();
}

#[test]
fn bans_of_the_bootstrap_file_and_of_flapping_clients_are_shown_and_ended() {
    let scratch = Scratch::new();
    let file = scratch.path("bans.csv");
    fs::write(&file, "as,who,reason,by\nclientid,stolen,lost,ops\n").unwrap();
    let file = format!("banned.bootstrap_file={}", file.display());
    let api = Api::with(
        2,
        &[
            "--set",
            &file,
            "--set",
            "flapping_detect.enable=true",
            "--set",
            "flapping_detect.max_count=2",
        ],
    );
    let is_in = |name: &str| {
        Client::connect(api.mqtt(), &clean(Version::V5, name))
            .map(leave)
            .is_ok()
    };
    assert!(!is_in("stolen"));
    until(
        || match Client::connect(api.mqtt(), &clean(Version::V5, "restless")) {
            Ok(client) => {
                vanish(client);
                false
            }
            Err(_) => true,
        },
    );
    let banned = || api.ask("GET", "/api/v5/banned", None).body["data"].clone();
    until(|| banned().as_array().unwrap().len() == 2);
    assert!(!is_in("restless"));
    let rows = banned();
    assert_eq!(
        (&rows[0]["who"], &rows[0]["by"]),
        (&json!("restless"), &json!("flapping detector"))
    );
    assert_eq!(
        (&rows[1]["who"], &rows[1]["reason"]),
        (&json!("stolen"), &json!("lost"))
    );
    for name in ["restless", "stolen"] {
        let path = format!("/api/v5/banned/clientid/{name}");
        assert_eq!(api.ask("DELETE", &path, None).status, 204);
        assert_eq!(api.ask("DELETE", &path, None).status, 404);
        assert!(is_in(name), "{name}");
    }
    assert_eq!(banned(), json!([]));
    api.broker.stop();
}
