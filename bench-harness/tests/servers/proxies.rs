//! Real load balancers in front of the broker: they hide the client's address, and the PROXY header
//! brings it back.
//!
//! That the address arrived is seen from outside by an access rule that denies it: the client's own
//! address is 127.0.0.2 towards the proxy, and 127.0.0.1 is the proxy's.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Publish, Version};

use crate::broker::{Broker, Scratch, run, source};
use crate::process::{Certificates, Server, find, free_address, skipped};

const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with a plain listener and one that expects PROXY headers; `rules` are the latter's.
fn broker(rules: &str) -> Broker {
    let rules = format!("listeners.tcp.balanced.access_rules={rules}");
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "ws://127.0.0.1:0",
        "--set",
        "listeners.tcp.balanced.bind=127.0.0.1:0",
        "--set",
        "listeners.tcp.balanced.proxy_protocol=true",
        "--set",
        "listeners.tcp.balanced.proxy_protocol_trusted=127.0.0.1",
        "--set",
        "mqtt.peer_cert_as_clientid=cn",
        "--set",
        &rules,
    ]);
    assert_eq!(
        broker.listening,
        ["tcp:balanced", "tcp:default", "ws:default"]
    );
    broker
}

const BALANCED: usize = 0;
const DIRECT: usize = 1;
const WS: usize = 2;

fn options(client_id: &str) -> Options {
    let mut options = Options::new(Version::V311, client_id);
    options.timeout = PATIENCE;
    options
}

/// A message from behind the proxy reaches a client that is connected directly.
fn passes_on(through: SocketAddr, broker: &Broker, topic: &str) {
    let mut direct = Client::connect(broker.addresses[DIRECT], &options("direct")).unwrap();
    assert_eq!(direct.subscribe(topic, 0).unwrap(), 0);
    let mut behind = Client::connect(through, &options("behind")).unwrap();
    let publish = Publish {
        topic: topic.to_owned(),
        payload: b"through".to_vec(),
        ..Publish::default()
    };
    behind.send(&Packet::Publish(publish)).unwrap();
    match direct.expect(PATIENCE).unwrap() {
        Packet::Publish(publish) => assert_eq!(publish.payload, b"through"),
        other => panic!("{other:?}"),
    }
}

/// What real clients say through TLS: a message is published and one is received.
fn mosquitto_publishes(port: u16, certificates: &Certificates, client_id: &str, topic: &str) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "localhost", "-p", &port.to_string(), "-q", "1"]);
    command.args(["-i", client_id, "-t", topic, "-m", "through"]);
    command.args(["--cafile", &certificates.text("ca.pem")]);
    let said = run(&mut command, PATIENCE);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Whether a client gets in by a listener that denies its address.
fn is_refused(through: SocketAddr) -> bool {
    Client::connect(through, &options("denied")).is_err()
}

/// The proxy hides who we are, its header says it: an address that is denied does not get in.
fn header_is_judged(proxy: &dyn Fn(SocketAddr) -> (Server, SocketAddr)) {
    for (rules, refused) in [
        ("deny 127.0.0.0/8", true),
        ("allow 127.0.0.1, deny all", false),
    ] {
        let broker = broker(rules);
        let (_proxy, through) = proxy(broker.addresses[BALANCED]);
        assert_eq!(is_refused(through), refused, "{rules}");
    }
}

#[test]
fn haproxy_with_version_1_and_2() {
    let Some(haproxy) = find("haproxy") else {
        return skipped("haproxy_with_version_1_and_2", "HAProxy is not there");
    };
    let scratch = Scratch::new();
    for option in ["send-proxy", "send-proxy-v2"] {
        let start = |backend: SocketAddr| {
            let front = free_address();
            let config = format!(
                "defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
                 listen mqtt\n mode tcp\n bind {front}\n server broker {backend} {option}\n"
            );
            let file = scratch.path("haproxy.cfg");
            fs::write(&file, config).unwrap();
            let mut command = Command::new(&haproxy);
            command.args(["-db", "-f"]).arg(file);
            (Server::start(&mut command, &scratch, front), front)
        };
        let broker = broker("allow all");
        let (_proxy, front) = start(broker.addresses[BALANCED]);
        passes_on(front, &broker, option);
        header_is_judged(&start);
    }
}

/// A block of `docs/listeners.md`.
fn documented(language: &str) -> String {
    let text = fs::read_to_string(source("docs/listeners.md")).unwrap();
    let (_, block) = text.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// HAProxy with the configuration that the documentation recommends, with our addresses and files.
fn documented_haproxy(
    scratch: &Scratch,
    certificates: &Certificates,
    broker: &Broker,
) -> (Server, SocketAddr, SocketAddr) {
    let (tls, wss) = (free_address(), free_address());
    let mut config = documented("haproxy");
    for (from, to) in [
        (":8883", tls.to_string()),
        (":8084", wss.to_string()),
        ("127.0.0.1:1884", broker.addresses[BALANCED].to_string()),
        ("127.0.0.1:8083", broker.addresses[WS].to_string()),
        ("/etc/haproxy/broker.pem", certificates.text("both.pem")),
        ("/etc/haproxy/clients-ca.pem", certificates.text("ca.pem")),
        ("maxconn 100000", "maxconn 1000".to_owned()),
    ] {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, &to);
    }
    let file = scratch.path("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(find("haproxy").unwrap());
    command.args(["-db", "-f"]).arg(file);
    (Server::start(&mut command, scratch, tls), tls, wss)
}

#[test]
fn haproxy_that_terminates_tls_as_documented() {
    let test = "haproxy_that_terminates_tls_as_documented";
    if find("haproxy").is_none() || find("mosquitto_sub").is_none() {
        return skipped(test, "HAProxy or mosquitto's clients are not there");
    }
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "device-7");
    let broker = broker("allow all");
    let (_proxy, tls, wss) = documented_haproxy(&scratch, &certificates, &broker);

    // Without a certificate of its own the client has the name that it says.
    let mut direct = Client::connect(broker.addresses[DIRECT], &options("direct")).unwrap();
    direct.subscribe("tls/#", 0).unwrap();
    mosquitto_publishes(tls.port(), &certificates, "says-so", "tls/none");
    let Packet::Publish(publish) = direct.expect(PATIENCE).unwrap() else {
        panic!("no message");
    };
    assert_eq!(publish.topic, "tls/none");

    // With one, it has the name in that: its session is found under it.
    subscribes_with_certificate(tls.port(), &certificates);
    for (client_id, present) in [("says-so", false), ("device-7", true)] {
        let mut options = options(client_id);
        options.connect.clean_start = false;
        let client = Client::connect(broker.addresses[DIRECT], &options).unwrap();
        assert_eq!(client.connack.session_present, present, "{client_id}");
    }
    if find("curl").is_some() {
        websocket_over_tls(wss.port(), &certificates);
    }
}

/// Leaves a session behind, by a client that shows a certificate.
fn subscribes_with_certificate(port: u16, certificates: &Certificates) {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "localhost", "-p", &port.to_string()]);
    command.args(["-q", "1", "-c", "-E", "-i", "says-so", "-t", "kept/#"]);
    command.args(["--cafile", &certificates.text("ca.pem")]);
    command.args(["--cert", &certificates.text("client.pem")]);
    command.args(["--key", &certificates.text("client.key")]);
    let said = run(&mut command, PATIENCE);
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn websocket_over_tls(port: u16, certificates: &Certificates) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--http1.1", "-i", "-N", "--max-time", "2"]);
    command.args(["--cacert", &certificates.text("ca.pem")]);
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        command.args(["-H", header]);
    }
    command.arg(format!("https://localhost:{port}/mqtt"));
    let said = run(&mut command, PATIENCE);
    assert!(said.out.contains("101 Switching Protocols"), "{said:?}");
    assert!(
        said.out.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{said:?}"
    );
}

#[test]
fn nginx_with_version_1() {
    let test = "nginx_with_version_1";
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let (Some(nginx), true) = (find("nginx"), fs::exists(module).unwrap()) else {
        return skipped(test, "nginx with its stream module is not there");
    };
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "device-7");
    let start = |backend: SocketAddr| {
        let (plain, tls) = (free_address(), free_address());
        let folder = scratch.path("");
        let folder = folder.display();
        let (pem, key) = (
            certificates.text("server.pem"),
            certificates.text("server.key"),
        );
        let config = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/err.log;\n\
             load_module {module};\nevents {{ worker_connections 512; }}\nstream {{\n\
             server {{ listen {plain}; proxy_pass {backend}; proxy_protocol on; }}\n\
             server {{ listen {tls} ssl; ssl_certificate {pem}; ssl_certificate_key {key};\n\
             proxy_pass {backend}; proxy_protocol on; }}\n}}\n"
        );
        let file = scratch.path("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(&nginx);
        command.arg("-c").arg(file).arg("-p").arg(scratch.path(""));
        (Server::start(&mut command, &scratch, plain), plain, tls)
    };
    let broker = broker("allow all");
    let (proxy, plain, tls) = start(broker.addresses[BALANCED]);
    passes_on(plain, &broker, "nginx");
    if find("mosquitto_pub").is_some() {
        mosquitto_publishes(tls.port(), &certificates, "tls", "nginx/tls");
    }
    drop(proxy);
    header_is_judged(&|backend| {
        let (proxy, plain, _) = start(backend);
        (proxy, plain)
    });
}

#[test]
fn envoy_with_version_2() {
    let envoy = source("target/test-tools/envoy/envoy/_bin/envoy");
    if !envoy.exists() {
        return skipped("envoy_with_version_2", "Envoy is not there");
    }
    let scratch = Scratch::new();
    let start = |backend: SocketAddr| {
        let front = free_address();
        let file = scratch.path("envoy.json");
        fs::write(&file, envoy_config(front, backend).to_string()).unwrap();
        let mut command = Command::new(&envoy);
        command.arg("-c").arg(file);
        command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn"]);
        (Server::start(&mut command, &scratch, front), front)
    };
    let broker = broker("allow all");
    let (proxy, front) = start(broker.addresses[BALANCED]);
    passes_on(front, &broker, "envoy");
    drop(proxy);
    header_is_judged(&start);
}

fn envoy_config(front: SocketAddr, backend: SocketAddr) -> serde_json::Value {
    let address = |at: SocketAddr| {
        serde_json::json!({ "socket_address": {
            "address": at.ip().to_string(), "port_value": at.port() } })
    };
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    serde_json::json!({ "static_resources": {
        "listeners": [{
            "name": "mqtt", "address": address(front),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": kind("filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "mqtt", "cluster": "broker" } }] }] }],
        "clusters": [{
            "name": "broker", "type": "STATIC", "connect_timeout": "3s",
            "load_assignment": { "cluster_name": "broker", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": address(backend) } }] }] },
            "transport_socket": {
                "name": "envoy.transport_sockets.upstream_proxy_protocol",
                "typed_config": {
                    "@type": kind("transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"),
                    "config": { "version": "V2" },
                    "transport_socket": {
                        "name": "envoy.transport_sockets.raw_buffer",
                        "typed_config": {
                            "@type": kind("transport_sockets.raw_buffer.v3.RawBuffer") } } } } }] } })
}

/// A balancer's own check: it connects, says nothing or that it speaks for itself, and goes.
#[test]
fn health_checks_are_no_clients() {
    let broker = broker("allow all");
    for _ in 0..10 {
        drop(TcpStream::connect(broker.addresses[BALANCED]).unwrap());
    }
    let mut direct = Client::connect(broker.addresses[DIRECT], &options("direct")).unwrap();
    direct.send(&Packet::PingReq).unwrap();
    assert_eq!(direct.expect(PATIENCE).unwrap(), Packet::PingResp);
}
