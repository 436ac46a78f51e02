//! Who may use the API: logins, keys, roles, locks, other sites' pages.

use serde_json::json;

use super::{Api, PASSWORD, basic, raw};
use crate::broker::{Broker, Scratch, say};

#[test]
fn without_a_login_there_is_the_status_only() {
    let api = Api::start(1);
    for path in ["/status", "/api/v5/status"] {
        let answer = api.as_nobody("GET", path, None);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text.contains("is running"), "{answer:?}");
    }
    let json = api.as_nobody("GET", "/status?format=json", None).body;
    assert_eq!(json["app_status"], "running");
    for (method, path) in [
        ("GET", "/api/v5/clients"),
        ("DELETE", "/api/v5/clients/x"),
        ("GET", "/api/v4/clients"),
        ("DELETE", "/api/v2/clients/x"),
        ("POST", "/api/v5/publish"),
        ("GET", "/api/v5/users"),
        ("GET", "/api/v5/configs"),
    ] {
        let answer = api.as_nobody(method, path, None);
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (401, &json!("UNAUTHORIZED")),
            "{path}"
        );
        assert!(answer.headers.contains("www-authenticate"), "{answer:?}");
    }
    for wrong in ["Bearer x", "Basic eDp5", "Basic !", "Digest x", "x"] {
        assert_eq!(
            api.ask_as(wrong, "GET", "/api/v5/clients", None).status,
            401,
            "{wrong}"
        );
    }
    assert_eq!(api.ask("GET", "/api/v5/nothing", None).status, 404);
    let answer = api.ask("PATCH", "/api/v5/clients", None);
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (405, &json!("METHOD_NOT_ALLOWED"))
    );
}

#[test]
fn roles_bound_what_keys_and_users_may_do() {
    let api = Api::start(1);
    let (viewer, publisher) = (api.key("look", "viewer"), api.key("push", "publisher"));
    let message = json!({ "topic": "t", "payload": "x" });
    let of = |who: &str, method: &str, path: &str| {
        let body = (method == "POST").then_some(&message);
        api.ask_as(who, method, path, body).status
    };
    assert_eq!(of(&viewer, "GET", "/api/v5/clients"), 200);
    assert_eq!(of(&viewer, "POST", "/api/v5/publish"), 403);
    assert_eq!(of(&viewer, "DELETE", "/api/v5/clients/x"), 403);
    assert_eq!(of(&viewer, "DELETE", "/api/v4/clients/x"), 403);
    assert_eq!(of(&publisher, "POST", "/api/v5/publish"), 202);
    assert_eq!(of(&publisher, "POST", "/api/v4/mqtt/publish"), 200);
    assert_eq!(of(&publisher, "GET", "/api/v5/clients"), 403);
    // A key that is switched off, or gone, or over, is none.
    let off = json!({ "enable": false });
    assert_eq!(
        api.ask("PUT", "/api/v5/api_key/look", Some(&off)).status,
        200
    );
    assert_eq!(of(&viewer, "GET", "/api/v5/clients"), 401);
    let past = json!({ "enable": true, "expired_at": "2020-01-01T00:00:00Z" });
    assert_eq!(
        api.ask("PUT", "/api/v5/api_key/look", Some(&past)).body["expired"],
        true
    );
    assert_eq!(of(&viewer, "GET", "/api/v5/clients"), 401);
    assert_eq!(api.delete("/api/v5/api_key/push").status, 204);
    assert_eq!(of(&publisher, "POST", "/api/v5/publish"), 401);
    assert_eq!(api.get("/api/v5/api_key").as_array().unwrap().len(), 1);
    let again = api.post("/api/v5/api_key", &json!({ "name": "look" }));
    assert_eq!(
        (again.status, &again.body["code"]),
        (409, &json!("ALREADY_EXISTS"))
    );
}

#[test]
fn users_come_change_and_go() {
    let api = Api::start(1);
    let new = json!({ "username": "ann", "password": "long enough", "role": "viewer" });
    assert_eq!(api.post("/api/v5/users", &new).status, 200);
    assert_eq!(api.post("/api/v5/users", &new).status, 409);
    let short = json!({ "username": "bob", "password": "short" });
    assert_eq!(api.post("/api/v5/users", &short).status, 400);
    let ann = format!("Bearer {}", api.login("ann", "long enough"));
    assert_eq!(api.ask_as(&ann, "GET", "/api/v5/clients", None).status, 200);
    assert_eq!(
        api.ask_as(&ann, "DELETE", "/api/v5/users/admin", None)
            .status,
        403
    );
    let change = json!({ "old_pwd": "long enough", "new_pwd": "longer still" });
    let path = "/api/v5/users/ann/change_pwd";
    assert_eq!(api.ask_as(&ann, "POST", path, Some(&change)).status, 204);
    assert_eq!(api.ask_as(&ann, "GET", "/api/v5/clients", None).status, 401);
    let ann = format!("Bearer {}", api.login("ann", "longer still"));
    // The last administrator stays one.
    assert_eq!(api.delete("/api/v5/users/admin").status, 400);
    let role = json!({ "role": "administrator" });
    assert_eq!(api.ask("PUT", "/api/v5/users/ann", Some(&role)).status, 200);
    assert_eq!(
        api.ask_as(&ann, "DELETE", "/api/v5/users/admin", None)
            .status,
        204
    );
    assert_eq!(api.ask("GET", "/api/v5/clients", None).status, 401);
    assert_eq!(api.ask_as(&ann, "POST", "/api/v5/logout", None).status, 204);
    assert_eq!(api.ask_as(&ann, "GET", "/api/v5/clients", None).status, 401);
}

#[test]
fn five_wrong_logins_lock() {
    let api = Api::start(1);
    let login = |name: &str, password: &str| {
        let body = json!({ "username": name, "password": password });
        let answer = api.as_nobody("POST", "/api/v5/login", Some(&body));
        (answer.status, answer.body["code"].clone())
    };
    for _ in 0..5 {
        assert_eq!(login("admin", "wrong"), (401, json!("BAD_USERNAME_OR_PWD")));
    }
    assert_eq!(login("admin", PASSWORD), (401, json!("LOGIN_LOCKED")));
    assert_eq!(
        login("other", "x"),
        (401, json!("LOGIN_LOCKED")),
        "the address is locked as well"
    );
    // Who is logged in stays so.
    assert_eq!(api.ask("GET", "/api/v5/clients", None).status, 200);
}

#[test]
fn pages_of_other_sites_and_large_bodies_are_refused() {
    let api = Api::start(1);
    let address = api.broker.http.unwrap();
    let origin = "Origin: http://elsewhere\r\n";
    let answer = raw(address, "GET", "/api/v5/clients", origin, b"");
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (403, &json!("CROSS_SITE"))
    );
    let headers = format!("Authorization: {}\r\n", api.authorization);
    let own = format!("{headers}Origin: http://{address}\r\n");
    let answer = raw(address, "GET", "/api/v5/clients", &own, b"");
    assert_eq!(answer.status, 200);
    assert!(
        !answer.headers.contains("access-control-allow"),
        "{answer:?}"
    );
    let headers = format!("{headers}Content-Type: application/json\r\n");
    let large = vec![b' '; 1024 * 1024 + 1];
    let answer = raw(address, "POST", "/api/v5/publish", &headers, &large);
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (413, &json!("PAYLOAD_TOO_LARGE"))
    );
    let answer = raw(address, "POST", "/api/v5/publish", &headers, b"{");
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (400, &json!("BAD_REQUEST"))
    );
    let missing = api.post("/api/v5/publish", &json!({ "payload": "x" }));
    assert_eq!(
        (missing.status, &missing.body["code"]),
        (400, &json!("BAD_REQUEST"))
    );
}

#[test]
fn the_first_start_says_a_password_once_and_users_and_keys_stay() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let arguments = [
        "--cores",
        "1",
        "--data-dir",
        data,
        "--set",
        "http.listen=127.0.0.1:0",
    ];
    let first = Broker::with(&arguments);
    let log = first.log();
    let said = log
        .split("with the password ")
        .nth(1)
        .expect("the password is in the log");
    let password = said.split(' ').next().unwrap().to_owned();
    let mut api = Api {
        address: first.http.unwrap(),
        broker: first,
        authorization: String::new(),
    };
    api.authorization = format!("Bearer {}", api.login("admin", &password));
    let key = api.key("k", "administrator");
    api.broker.stop();
    let second = Broker::with(&arguments);
    assert!(!second.log().contains("password"), "{}", second.log());
    let api = Api {
        address: second.http.unwrap(),
        broker: second,
        authorization: key,
    };
    assert_eq!(api.ask("GET", "/api/v5/clients", None).status, 200);
    api.login("admin", &password);
    assert_eq!(
        api.ask_as(&basic("k", "x"), "GET", "/api/v5/clients", None)
            .status,
        401
    );
}

#[test]
fn an_address_in_use_is_refused_with_a_sentence() {
    let api = Api::start(1);
    let taken = format!("http.listen={}", api.broker.http.unwrap());
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let said = say(&[
        "--listen",
        "tcp://127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
        "--set",
        &taken,
    ]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("http.listen") && said.err.contains("in use"),
        "{said:?}"
    );
    assert!(!said.out.contains("listening"), "{said:?}");
}
