//! A real browser: a page with MQTT.js publishes and subscribes over WebSocket.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Publish, Version};
use serde_json::{Value, json};

use crate::broker::{Broker, Scratch, source};
use crate::process::{Server, find, free_address, skipped};

const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "target/test-tools/node/node_modules/mqtt/dist/mqtt.min.js";

/// The page: it says in its title what it has come to.
const PAGE: &str = r#"<!doctype html><title>begun</title><script src="/mqtt.js"></script><script>
  const client = mqtt.connect("ws://BROKER/mqtt", { clientId: "page", protocolVersion: 5 });
  client.on("error", (error) => { document.title = "error " + error.message; });
  client.on("connect", () => client.subscribe("to/page", { qos: 1 }, () => {
    client.publish("from/page", "hello \u6c34", { qos: 2 });
  }));
  client.on("message", (topic, payload) => { document.title = "got " + payload.toString(); });
</script>"#;

/// Serves the page and the script to whoever asks.
fn serve(listener: TcpListener, broker: SocketAddr) {
    let page = PAGE.replace("BROKER", &broker.to_string());
    let script = fs::read_to_string(source(SCRIPT)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let len = stream.read(&mut request).unwrap_or(0);
            let wants_script = request[..len].starts_with(b"GET /mqtt.js ");
            let (kind, body) = match wants_script {
                true => ("text/javascript", &script),
                false => ("text/html; charset=utf-8", &page),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
}

/// A session of WebDriver.
struct Browser {
    driver: SocketAddr,
    session: String,
}

impl Browser {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        ask(
            self.driver,
            method,
            &format!("/session/{}{path}", self.session),
            body,
        )
    }

    fn title(&self) -> String {
        let title = self.ask("GET", "/title", &Value::Null);
        title.as_str().unwrap_or_default().to_owned()
    }

    fn wait_for_title(&self, want: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let title = self.title();
            if title == want {
                return;
            }
            assert!(!title.starts_with("error"), "{title}");
            assert!(
                Instant::now() < deadline,
                "the title is `{title}`, not `{want}`"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.ask("DELETE", "", &Value::Null);
        }
    }
}

/// One request of HTTP.
fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(driver).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (head, body) = read_answer(&mut stream);
    assert!(
        head.starts_with("http/1.1 200"),
        "{method} {path}: {head} {body}"
    );
    let json: Value = serde_json::from_str(&body).unwrap();
    json["value"].clone()
}

/// Head, in small letters, and body of an answer.
fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_page_in_a_browser_publishes_and_subscribes() {
    let test = "a_page_in_a_browser_publishes_and_subscribes";
    let (Some(chromium), Some(chromedriver)) = (find("chromium"), find("chromedriver")) else {
        return skipped(test, "Chromium and its driver are not there");
    };
    if !source(SCRIPT).exists() {
        return skipped(test, "MQTT.js is not there");
    }
    let scratch = Scratch::new();
    // The page's own origin and no other may connect.
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", page.local_addr().unwrap());
    let origins = format!("listeners.ws.default.websocket.check_origins={origin}");
    let broker = Broker::with(&[
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "ws://127.0.0.1:0",
        "--set",
        "listeners.ws.default.websocket.check_origin_enable=true",
        "--set",
        "listeners.ws.default.websocket.allow_origin_absence=false",
        "--set",
        &origins,
    ]);
    let driver = free_address();
    let mut command = Command::new(chromedriver);
    command
        .arg(format!("--port={}", driver.port()))
        .env("HOME", scratch.path(""));
    let _driver = Server::start(&mut command, &scratch, driver);
    let arguments = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        format!("--user-data-dir={}", scratch.path("profile").display()),
    ];
    let wanted = json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": chromium, "args": arguments } } } });
    let session = ask(driver, "POST", "/session", &wanted);
    let browser = Browser {
        driver,
        session: session["sessionId"].as_str().unwrap().to_owned(),
    };

    let mut options = Options::new(Version::V5, "peer");
    options.timeout = PATIENCE;
    let mut peer = Client::connect(broker.addresses[0], &options).unwrap();
    peer.subscribe("from/page", 0).unwrap();
    serve(page, broker.addresses[1]);
    let url = json!({ "url": format!("{origin}/") });
    browser.ask("POST", "/url", &url);
    match peer.expect(PATIENCE).unwrap() {
        Packet::Publish(publish) => assert_eq!(publish.payload, "hello \u{6c34}".as_bytes()),
        other => panic!("{other:?}"),
    }
    let publish = Publish {
        topic: "to/page".to_owned(),
        payload: b"back".to_vec(),
        ..Publish::default()
    };
    peer.send(&Packet::Publish(publish)).unwrap();
    browser.wait_for_title("got back");
}
