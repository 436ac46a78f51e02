//! A real Prometheus scrapes the broker.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::Version;
use serde_json::Value;

use crate::broker::{Broker, Scratch};
use crate::process::{Server, find, free_address, skipped};

/// How long a figure may take from the broker to Prometheus's answer: it scrapes every second.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Prometheus answers to a query; nothing before it is ready.
fn query(address: SocketAddr, expression: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request =
        format!("GET /api/v1/query?query={expression} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// Waits until a figure has a value.
fn until(server: &Server, address: SocketAddr, expression: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = query(address, expression).unwrap_or_default();
        if answer["data"]["result"][0]["value"][1] == wanted {
            return;
        }
        let log = || server.log();
        assert!(
            Instant::now() < deadline,
            "{expression}: {answer}\n{}",
            log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_real_prometheus_finds_figures_under_both_names() {
    let Some(program) = find("prometheus") else {
        return skipped("prometheus", "prometheus is not installed");
    };
    let broker = Broker::with(&[
        "--cores",
        "1",
        "--set",
        "http.listen=127.0.0.1:0",
        "--set",
        "prometheus.emqx_names=true",
    ]);
    let target = broker.http.unwrap();
    let scratch = Scratch::new();
    let address = free_address();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: broker\n  \
         static_configs: [{{targets: [\"{target}\"]}}]\n"
    );
    let file = scratch.path("prometheus.yml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            scratch.path("tsdb").display()
        ))
        .arg(format!("--web.listen-address={address}"));
    let server = Server::start(&mut command, &scratch, address);
    until(&server, address, "up", "1");
    let mut options = Options::new(Version::V5, "c");
    options.timeout = PATIENCE;
    let mut client = Client::connect(broker.address(), &options).unwrap();
    client.subscribe("t", 1).unwrap();
    client.publish("t", 1, b"x").unwrap();
    until(&server, address, "millrace_connections", "1");
    until(&server, address, "emqx_connections_count", "1");
    until(&server, address, "millrace_messages_received_total", "1");
    // A histogram that it can take quantiles of.
    until(
        &server,
        address,
        "millrace_connect_duration_seconds_count",
        "1",
    );
    let expression = "count(millrace_connect_duration_seconds_bucket)";
    until(&server, address, expression, "24");
}
