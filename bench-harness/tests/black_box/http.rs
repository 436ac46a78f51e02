//! The HTTP API of the running broker, each endpoint by what it does to clients.

mod access;
mod clients;
mod dashboard;
mod diagnose;
mod effects;
mod every;
mod figures;
mod lists;
mod messages;
mod prometheus;
mod v4;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::peer::PATIENCE;

/// The password of the first user in these tests.
const PASSWORD: &str = "correct horse";

/// A broker with its API, and a login or key for it.
pub struct Api {
    pub broker: Broker,
    address: SocketAddr,
    authorization: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Value,
    pub text: String,
}

impl Api {
    /// A broker of so many cores, asked with an administrator's API key.
    pub fn start(cores: u32) -> Self {
        Self::with(cores, &[])
    }

    /// The same with further arguments.
    pub fn with(cores: u32, arguments: &[&str]) -> Self {
        let cores = cores.to_string();
        let password = format!("dashboard.default_password={PASSWORD}");
        let mut all = vec![
            "--cores",
            &cores,
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            &password,
        ];
        all.extend(arguments);
        let broker = Broker::with(&all);
        let address = broker.http.expect("the API's address is printed");
        let mut api = Self {
            broker,
            address,
            authorization: String::new(),
        };
        api.authorization = format!("Bearer {}", api.login("admin", PASSWORD));
        api
    }

    /// Where clients connect.
    pub fn mqtt(&self) -> SocketAddr {
        self.broker.address()
    }

    /// Logs in; the token.
    pub fn login(&self, username: &str, password: &str) -> String {
        let body = json!({ "username": username, "password": password });
        let answer = self.as_nobody("POST", "/api/v5/login", Some(&body));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// Asks as the administrator.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_as(&self.authorization, method, path, body)
    }

    /// Asks without saying who.
    pub fn as_nobody(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_as("", method, path, body)
    }

    /// Asks with this `Authorization`.
    pub fn ask_as(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(ToString::to_string);
        let mut headers = String::new();
        if !who.is_empty() {
            headers = format!("Authorization: {who}\r\n");
        }
        if body.is_some() {
            headers.push_str("Content-Type: application/json\r\n");
        }
        raw(
            self.address,
            method,
            path,
            &headers,
            body.unwrap_or_default().as_bytes(),
        )
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None)
    }

    /// Makes a key of a role; the `Authorization` for it.
    pub fn key(&self, name: &str, role: &str) -> String {
        let answer = self.post("/api/v5/api_key", &json!({ "name": name, "role": role }));
        assert_eq!(answer.status, 200, "{answer:?}");
        let part = |field: &str| answer.body[field].as_str().unwrap().to_owned();
        basic(&part("api_key"), &part("api_secret"))
    }

    /// Asks until the answer is as wished.
    pub fn until(&self, path: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let body = self.get(path);
            if wished(&body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path}: {body}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// One request on a connection of its own.
pub fn raw(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too large is answered before it has been read.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (headers, text) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{read:?}: {text}"));
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        headers: headers.to_ascii_lowercase(),
        body: serde_json::from_str(text).unwrap_or(Value::Null),
        text: text.to_owned(),
    }
}

/// The header of a key and its secret.
pub fn basic(key: &str, secret: &str) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::from("Basic ");
    for three in format!("{key}:{secret}").as_bytes().chunks(3) {
        let word = three
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for digit in 0..4 {
            let at = (word >> (18 - 6 * digit)) as usize & 63;
            let is_padding = digit > three.len();
            encoded.push(if is_padding {
                '='
            } else {
                char::from(digits[at])
            });
        }
    }
    encoded
}

/// The values of a field of a list.
pub fn fields(list: &Value, field: &str) -> Vec<String> {
    let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let of = |row: &Value| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.iter().map(of).collect()
}
