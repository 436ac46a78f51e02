//! What is the same for every endpoint of the document (that each asks for a login is tested where the
//! document is): roles, bodies, paging, names that nobody
//! has. An endpoint that is added is tested here without a word.

use std::fs;

use serde_json::Value;

use super::{Answer, Api, raw};
use crate::broker::source;

/// Endpoints that ask nobody who he is.
pub const OPEN: &[&str] = &[
    "GET /status",
    "GET /api/v5/status",
    "POST /api/v5/login",
    "GET /metrics",
    "GET /api/v5/prometheus/stats",
];

/// What a role that may only look, or only publish, may do as well.
const OWN: &[&str] = &["POST /api/v5/logout"];

/// A name that nothing has.
const NOTHING: &str = "no-such-thing";

/// One endpoint of the document.
struct Endpoint {
    method: String,
    /// With names that nothing has in the place of its parts.
    path: String,
    /// As the document writes it: method and path.
    name: String,
    operation: Value,
}

impl Endpoint {
    fn has_answer(&self, status: u16) -> bool {
        !self.operation["responses"][status.to_string()].is_null()
    }

    fn takes_json(&self) -> bool {
        !self.operation["requestBody"]["content"]["application/json"].is_null()
    }

    fn has_parameter(&self, name: &str, place: &str) -> bool {
        let parameters = self.operation["parameters"].as_array();
        let mut parameters = parameters.into_iter().flatten();
        parameters.any(|one| one["name"] == name && one["in"] == place)
    }

    fn is_open(&self) -> bool {
        OPEN.contains(&self.name.as_str())
    }

    fn looks(&self) -> bool {
        self.method == "GET"
    }
}

fn endpoints() -> Vec<Endpoint> {
    let text = fs::read_to_string(source("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            // A kind of ban is the one part of a path that cannot have any name.
            let path_of_nothing =
                path.replace("{as}", "clientid")
                    .split('/')
                    .fold(String::new(), |path, part| match part {
                        "" => path,
                        part if part.starts_with('{') => format!("{path}/{NOTHING}"),
                        part => format!("{path}/{part}"),
                    });
            all.push(Endpoint {
                path: path_of_nothing,
                name: format!("{method} {path}"),
                method,
                operation: operation.clone(),
            });
        }
    }
    assert!(all.len() > 60);
    all
}

/// An error as the API tells it.
fn assert_error(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let told = |field: &str| answer.body[field].as_str().is_some_and(|t| !t.is_empty());
    assert!(told("code") && told("message"), "{what}: {answer:?}");
}

#[test]
fn who_may_only_look_changes_nothing() {
    let api = Api::start(1);
    let viewer = api.key("look", "viewer");
    for endpoint in endpoints().iter().filter(|endpoint| !endpoint.is_open()) {
        let answer = api.ask_as(&viewer, &endpoint.method, &endpoint.path, None);
        match endpoint.looks() || OWN.contains(&endpoint.name.as_str()) {
            true => assert!(
                answer.status != 403 && answer.status < 500,
                "{}: {answer:?}",
                endpoint.name
            ),
            false => assert_error(&answer, 403, &endpoint.name),
        }
    }
}

#[test]
fn who_may_only_publish_does_nothing_else() {
    let api = Api::start(1);
    let publisher = api.key("push", "publisher");
    for endpoint in endpoints().iter().filter(|endpoint| !endpoint.is_open()) {
        let answer = api.ask_as(&publisher, &endpoint.method, &endpoint.path, None);
        let may = endpoint.name.starts_with("POST /api/v5/publish")
            || OWN.contains(&endpoint.name.as_str());
        match may {
            true => assert!(answer.status != 403, "{}: {answer:?}", endpoint.name),
            false => assert_error(&answer, 403, &endpoint.name),
        }
    }
}

#[test]
fn a_body_has_to_be_json_of_the_right_shape_and_size() {
    let api = Api::start(1);
    let address = api.broker.http.unwrap();
    let large = vec![b' '; 1024 * 1024 + 1];
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.takes_json()) {
        let headers = format!(
            "Authorization: {}\r\nContent-Type: application/json\r\n",
            api.authorization
        );
        let of = |body: &[u8]| raw(address, &endpoint.method, &endpoint.path, &headers, body);
        for body in [&b""[..], b"{", b"7", b"\"text\""] {
            let what = format!("{} with {}", endpoint.name, String::from_utf8_lossy(body));
            assert_error(&of(body), 400, &what);
        }
        assert!(endpoint.has_answer(413), "{}", endpoint.name);
        assert_error(&of(&large), 413, &endpoint.name);
        let other = format!(
            "Authorization: {}\r\nContent-Type: text/plain\r\n",
            api.authorization
        );
        let answer = raw(address, &endpoint.method, &endpoint.path, &other, b"{}");
        assert_error(&answer, 400, &endpoint.name);
    }
}

#[test]
fn what_has_a_name_that_nothing_has_is_not_found() {
    let api = Api::start(1);
    let named = endpoints().into_iter().filter(|endpoint| {
        endpoint.has_answer(404) && endpoint.path.contains(NOTHING) && !endpoint.takes_json()
    });
    let mut count = 0;
    for endpoint in named {
        let answer = api.ask(&endpoint.method, &endpoint.path, None);
        assert_error(&answer, 404, &endpoint.name);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn pages_have_their_limits() {
    let api = Api::start(1);
    let mut count = 0;
    for endpoint in endpoints() {
        for (name, wrong) in [
            ("limit", &["0", "10001", "x", "-1"][..]),
            ("page", &["0", "x"]),
        ] {
            if !endpoint.has_parameter(name, "query") {
                continue;
            }
            for value in wrong {
                let path = format!("{}?{name}={value}", endpoint.path);
                let answer = api.ask(&endpoint.method, &path, None);
                assert_error(&answer, 400, &path);
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
}
