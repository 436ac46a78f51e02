//! The HTTP API in the hands of those who have no login, or too small a one.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::json;

use super::{dial, until_closed};
use crate::http::{Api, basic, raw};
use crate::peer::PATIENCE;

/// The status of what comes of these bytes; 0 if nothing does.
fn status(address: SocketAddr, bytes: &[u8]) -> u16 {
    let mut stream = dial(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let said = String::from_utf8_lossy(&until_closed(&mut stream)).into_owned();
    let code = said.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

fn http(api: &Api) -> SocketAddr {
    api.broker.http.unwrap()
}

#[test]
fn no_path_leads_past_the_login() {
    let api = Api::start(1);
    for path in [
        "/api/v5/../v5/clients",
        "/api/v5/%63lients",
        "//api/v5/clients",
        "/api/v5//clients",
        "/api/v5/clients/",
        "/api/v5/clients%00",
        "/api/v5/clients;x=/status",
        "/status/../api/v5/clients",
        "/api/v5/status/../clients",
        "/API/V5/CLIENTS",
        "/api/v5/clients?_auth=admin:public",
        "/api/v4/clients",
        "/api/v4/../v5/clients",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc/passwd",
        "/data/control.redb",
        "/.git/config",
    ] {
        let answer = api.as_nobody("GET", path, None);
        assert!(
            [400, 401, 404].contains(&answer.status),
            "{path}: {answer:?}"
        );
        assert!(
            !answer.text.contains("root:") && answer.body["data"].is_null(),
            "{path}"
        );
    }
    for method in ["TRACE", "CONNECT", "OPTIONS", "PROPFIND", "HEAD", "PUT"] {
        let answer = raw(
            http(&api),
            method,
            "/api/v5/clients",
            "X-Secret: s\r\n",
            b"",
        );
        assert!(answer.status >= 400, "{method}: {answer:?}");
        assert!(!answer.text.contains("X-Secret"), "{method}");
    }
}

#[test]
fn headers_are_no_login() {
    let api = Api::start(1);
    for headers in [
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Original-URL: /status\r\nX-Rewrite-URL: /status\r\n",
        "X-HTTP-Method-Override: GET\r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic Og==\r\n",
        "Authorization: Basic YWRtaW46cHVibGlj\r\n",
        "Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZQ==\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer null\r\n",
        "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.\r\n",
        "Cookie: token=admin\r\n",
    ] {
        let answer = raw(http(&api), "GET", "/api/v5/clients", headers, b"");
        assert_eq!(answer.status, 401, "{headers}: {answer:?}");
    }
}

#[test]
fn a_viewer_cannot_make_itself_more() {
    let api = Api::start(1);
    let new = json!({ "username": "eve", "password": "long enough", "role": "viewer" });
    assert_eq!(api.post("/api/v5/users", &new).status, 200);
    let eve = format!("Bearer {}", api.login("eve", "long enough"));
    let role = json!({ "role": "administrator" });
    let password = json!({ "old_pwd": "long enough", "new_pwd": "taken over" });
    let key = json!({ "name": "mine", "role": "administrator" });
    for (method, path, body) in [
        ("PUT", "/api/v5/users/eve", &role),
        ("POST", "/api/v5/users/admin/change_pwd", &password),
        ("POST", "/api/v5/users", &new),
        ("DELETE", "/api/v5/users/admin", &role),
        ("POST", "/api/v5/api_key", &key),
        ("PUT", "/api/v5/configs", &role),
        ("POST", "/api/v5/publish", &role),
        ("POST", "/api/v5/banned", &role),
        ("DELETE", "/api/v5/clients/x", &role),
        ("POST", "/api/v5/listeners/tcp:default/stop", &role),
        ("DELETE", "/api/v5/mqtt/retainer/message/x", &role),
        ("POST", "/api/v4/mqtt/publish", &role),
    ] {
        let answer = api.ask_as(&eve, method, path, Some(body));
        assert!(
            [403, 404, 405].contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        let changed = answer.status == 404 && answer.text.contains("eve");
        assert!(!changed, "{answer:?}");
    }
    assert_eq!(api.ask_as(&eve, "GET", "/api/v5/clients", None).status, 200);
    // Users' passwords and keys' secrets are nobody's to read.
    for path in ["/api/v5/users", "/api/v5/api_key", "/api/v5/configs"] {
        let answer = api.ask("GET", path, None);
        assert!(!answer.text.contains("correct horse"), "{path}");
        assert!(
            !answer.text.contains("pwdhash") && !answer.text.contains("argon2"),
            "{path}"
        );
    }
}

#[test]
fn what_was_taken_back_opens_nothing() {
    let api = Api::start(1);
    let new = json!({ "username": "old", "password": "long enough", "role": "administrator" });
    assert_eq!(api.post("/api/v5/users", &new).status, 200);
    let token = format!("Bearer {}", api.login("old", "long enough"));
    let other = format!("Bearer {}", api.login("old", "long enough"));
    let of = |who: &str| api.ask_as(who, "GET", "/api/v5/clients", None).status;
    assert_eq!((of(&token), of(&other)), (200, 200));
    // After a logout, a change of password, a deletion.
    assert_eq!(
        api.ask_as(&token, "POST", "/api/v5/logout", None).status,
        204
    );
    assert_eq!(of(&token), 401);
    let change = json!({ "old_pwd": "long enough", "new_pwd": "longer still" });
    let path = "/api/v5/users/old/change_pwd";
    assert_eq!(api.ask("POST", path, Some(&change)).status, 204);
    assert_eq!(of(&other), 401);
    let token = format!("Bearer {}", api.login("old", "longer still"));
    assert_eq!(of(&token), 200);
    assert_eq!(api.delete("/api/v5/users/old").status, 204);
    assert_eq!(of(&token), 401);
    assert_eq!(of(&basic("old", "longer still")), 401);
    let key = api.key("k", "administrator");
    assert_eq!(of(&key), 200);
    assert_eq!(api.delete("/api/v5/api_key/k").status, 204);
    assert_eq!(of(&key), 401);
}

#[test]
fn requests_that_two_readers_read_differently_are_refused() {
    let api = Api::start(1);
    let second = "GET /api/v5/clients HTTP/1.1\r\nHost: x\r\n\r\n";
    for head in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Bad Name: x\r\n\r\n",
        "X: a\0b\r\n\r\n",
    ] {
        let text = format!("POST /api/v5/login HTTP/1.1\r\nHost: x\r\n{head}{second}");
        let status = status(http(&api), text.as_bytes());
        assert!(
            status == 0 || (400..500).contains(&status),
            "{head}: {status}"
        );
    }
    let many: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(2 << 20));
    for headers in [many, long] {
        let text = format!("GET /status HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let status = status(http(&api), text.as_bytes());
        assert!(status == 0 || (400..500).contains(&status), "{status}");
    }
    assert_eq!(api.as_nobody("GET", "/status", None).status, 200);
}

#[test]
fn a_page_cannot_call_by_a_host_of_its_own() {
    // DNS rebinding: the browser believes that our address is the page's own host.
    let api = Api::start(1);
    let address = http(&api);
    for (host, origin) in [
        ("evil.example", "http://evil.example"),
        ("127.0.0.1", "http://evil.example"),
        ("evil.example:80", "null"),
    ] {
        let text = format!(
            "GET /api/v5/clients HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        );
        let status = status(address, text.as_bytes());
        assert!([401, 403].contains(&status), "{host} {origin}: {status}");
    }
}

#[test]
fn who_says_nothing_or_little_keeps_nobody_from_the_api() {
    let api = Api::start(1);
    let address = http(&api);
    // More than there are places; half of them begin a request.
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..1100 {
        let mut stream = TcpStream::connect(address).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /api/v5/clients HT").unwrap();
        }
        held.push(stream);
    }
    let begun = Instant::now();
    let answer = api.ask("GET", "/api/v5/clients", None);
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() < PATIENCE);
    drop(held);
}

#[test]
fn who_dribbles_a_request_is_cut() {
    let api = Api::start(1);
    let address = http(&api);
    let held: Vec<TcpStream> = (0..1000)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut slow = dial(address);
    let request = b"GET /status HTTP/1.1\r\nHost: x\r\n";
    let mut sent = 0;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE * 3 {
        let byte = request.get(sent).copied().unwrap_or(b'x');
        if slow.write_all(&[byte]).is_err() {
            break;
        }
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(
        begun.elapsed() < PATIENCE * 3,
        "a byte now and then is waited for"
    );
    drop(held);
}
