//! Why connections end, counted a listener under EMQX's names: each reason is provoked and then read from
//! the report.

use std::io::Read;
use std::time::{Duration, Instant};

use bench_harness::client::Client;
use bench_harness::codec::{Auth, Packet, Properties, Version};

use crate::broker::Broker;
use crate::peer::{PATIENCE, clean, connect, leave, message, subscriber, vanish};

const V5: Version = Version::V5;

/// The latest report, after one was asked for.
pub fn report(broker: &Broker) -> serde_json::Value {
    let reports = |log: &str| {
        let lines = log.split_inclusive('\n');
        let whole = lines.filter(|line| line.starts_with('{') && line.ends_with("}\n"));
        whole.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = reports(&broker.log()).len();
    broker.signal("USR1");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = reports(&broker.log()).get(before) {
            return serde_json::from_str(line).unwrap();
        }
        assert!(Instant::now() < deadline, "no report: {}", broker.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How often connections of a listener have ended for a reason.
fn count(broker: &Broker, listener: &str, reason: &str) -> u64 {
    let report = report(broker);
    let count = &report["listeners"][listener]["shutdown_count"][reason];
    count
        .as_u64()
        .unwrap_or_else(|| panic!("no {reason} of {listener}: {report}"))
}

/// Waits until a reason is counted that often; the end of a connection is not heard of at once.
fn expect_count(broker: &Broker, reason: &str, times: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = count(broker, "tcp:default", reason);
        if now == times {
            return;
        }
        assert!(
            now < times && Instant::now() < deadline,
            "{reason}: {now} of {times}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends bytes that end the connection.
fn cut_by(broker: &Broker, bytes: &[u8]) {
    let mut client = connect(broker.address(), &clean(V5, "cut"));
    client.send_raw(bytes).unwrap();
    assert!(client.expect_closed(PATIENCE).unwrap().is_some());
}

#[test]
fn what_clients_do_is_counted() {
    let broker = Broker::with(&["--cores", "2", "--set", "mqtt.max_packet_size=256B"]);
    let at = broker.address();

    leave(connect(at, &clean(V5, "a")));
    expect_count(&broker, "normal", 1);

    vanish(connect(at, &clean(V5, "a")));
    expect_count(&broker, "closed", 1);
    assert_eq!(count(&broker, "tcp:default", "tcp_closed"), 1);

    cut_by(&broker, &[0x00, 0x00]);
    expect_count(&broker, "function_clause", 1);
    assert_eq!(count(&broker, "tcp:default", "frame_error"), 1);

    cut_by(&broker, &[0x30, 0xFF, 0x7F]);
    expect_count(&broker, "frame_too_large", 1);

    let again = Packet::Connect(clean(V5, "cut").connect).to_bytes(V5);
    cut_by(&broker, &again);
    expect_count(&broker, "proto_unexpected_c", 1);

    let method = vec![bench_harness::codec::Property::AuthenticationMethod(
        "m".to_owned(),
    )];
    let auth = Auth {
        code: 0x19,
        properties: Properties(method),
    };
    cut_by(&broker, &Packet::Auth(auth).to_bytes(V5));
    expect_count(&broker, "protocol_error", 1);
    broker.stop();
}

#[test]
fn what_another_connection_does_is_counted() {
    let broker = Broker::start(2);
    let at = broker.address();
    let old = connect(at, &clean(V5, "a"));
    let mut resumes = clean(V5, "a");
    resumes.connect.clean_start = false;
    let second = connect(at, &resumes);
    expect_count(&broker, "takenover", 1);
    assert_eq!(count(&broker, "tcp:default", "takeovered"), 1);
    let third = connect(at, &clean(V5, "a"));
    expect_count(&broker, "discarded", 1);
    drop((old, second, third));
    broker.stop();
}

#[test]
fn silence_is_counted() {
    let broker = Broker::with(&["--cores", "1", "--set", "mqtt.idle_timeout=1s"]);
    let mut mute = Client::open(broker.address(), V5).unwrap();
    let mut options = clean(V5, "a");
    options.connect.keep_alive_s = 1;
    let mut silent = connect(broker.address(), &options);
    assert_eq!(mute.expect_closed(PATIENCE).unwrap(), None);
    expect_count(&broker, "idle_timeout", 1);
    assert_eq!(silent.expect_closed(PATIENCE).unwrap().unwrap().code, 0x8D);
    expect_count(&broker, "keepalive_timeout", 1);
    broker.stop();
}

#[test]
fn limits_are_counted() {
    let broker = Broker::with(&[
        "--cores",
        "1",
        "--set",
        "mqtt.max_awaiting_rel=1",
        "--set",
        "mqtt.max_clientid_len=23",
        "--set",
        "node.max_connections_per_core=4",
    ]);
    let at = broker.address();
    let mut client = connect(at, &clean(V5, "a"));
    for id in 1..=2 {
        let publish = bench_harness::codec::Publish {
            qos: 2,
            packet_id: Some(id),
            ..message("t", "x")
        };
        client.send(&Packet::Publish(publish)).unwrap();
    }
    assert!(matches!(
        client.expect(PATIENCE).unwrap(),
        Packet::PubRec(_)
    ));
    assert_eq!(client.expect_closed(PATIENCE).unwrap().unwrap().code, 0x93);
    expect_count(&broker, "receive_maximum", 1);

    let try_connect = |id: &str| {
        let mut client = Client::open(at, V5).unwrap();
        let connect = Packet::Connect(clean(V5, id).connect);
        client.send(&connect).unwrap();
        match client.expect(PATIENCE).unwrap() {
            Packet::ConnAck(ack) => (ack.code, client),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(try_connect(&"x".repeat(24)).0, 0x85);
    expect_count(&broker, "not_authorized", 1);

    let mut held = Vec::new();
    loop {
        match try_connect(&format!("held{}", held.len())) {
            (0, client) => held.push(client),
            (code, _) => break assert_eq!(code, 0x97),
        }
        assert!(held.len() <= 4);
    }
    expect_count(&broker, "server_busy", 1);
    drop(held);
    broker.stop();
}

#[test]
fn who_reads_nothing_is_counted() {
    let timeout = "listeners.tcp.default.send_timeout=1s";
    let broker = Broker::with(&["--cores", "1", "--set", timeout]);
    let to = subscriber(broker.address(), V5, "to", "t", 0);
    let mut from = connect(broker.address(), &clean(V5, "from"));
    // More than the sockets hold.
    for _ in 0..200 {
        from.publish("t", 0, &[0; 64 * 1024]).unwrap();
    }
    expect_count(&broker, "etimedout", 1);
    // What was sent before may be read; then it ends.
    let mut stream = to.stream();
    let _ = stream.read(&mut [0; 1024]);
    broker.stop();
}

#[test]
fn each_listener_has_its_own_count() {
    let other = "listeners.tcp.other.bind=127.0.0.1:0";
    let broker = Broker::with(&["--cores", "2", "--set", other]);
    assert_eq!(broker.addresses.len(), 2);
    for address in &broker.addresses {
        leave(connect(*address, &clean(V5, "a")));
    }
    leave(connect(broker.addresses[1], &clean(V5, "a")));
    expect_count(&broker, "normal", 1);
    assert_eq!(count(&broker, "tcp:other", "normal"), 2);
    broker.stop();
}
