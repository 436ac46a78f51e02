//! The DISCONNECT of the server (3.14.2.1, 4.13): each cause and its code, all against one broker whose
//! settings make every cause possible.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Version};

use crate::broker::Broker;
use crate::peer::{PATIENCE, clean, connect};
use crate::raw::{self, packet};
use crate::world::{expect_cut, fresh};

const V5: Version = Version::V5;
const PASSWORD: &str = "correct horse";

fn broker() -> Broker {
    let password = format!("dashboard.default_password={PASSWORD}");
    let mut arguments = vec!["--cores", "2"];
    for setting in [
        "mqtt.max_packet_size=256B",
        "mqtt.max_topic_alias=2",
        "mqtt.max_qos_allowed=1",
        "mqtt.retain_available=false",
        "http.listen=127.0.0.1:0",
        &password,
    ] {
        arguments.extend(["--set", setting]);
    }
    Broker::with(&arguments)
}

/// The cause in words, the bytes of a connected client, and the code of the DISCONNECT.
fn causes() -> Vec<(&'static str, Vec<u8>, u8)> {
    let publish = |first: u8, properties: &[u8]| {
        let mut id = raw::field(b"t");
        if first & 0x06 != 0 {
            id.extend([0, 1]);
        }
        let body = [id, raw::properties(V5, properties), b"x".to_vec()].concat();
        packet(first, &body)
    };
    let connect = Packet::Connect(clean(V5, "again").connect).to_bytes(V5);
    vec![
        ("a reserved flag", vec![0xC1, 0x00], 0x81),
        ("a packet type that is none", vec![0x00, 0x00], 0x81),
        (
            "a length of five bytes",
            vec![0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            0x81,
        ),
        (
            "a packet that ends within a field",
            packet(0x30, &[0, 9, b't']),
            0x81,
        ),
        ("QoS 3", publish(0x36, &[]), 0x81),
        ("a second CONNECT", connect, 0x82),
        ("a packet of servers only", vec![0xD0, 0x00], 0x82),
        ("a property twice", publish(0x30, &[0x01, 0, 0x01, 0]), 0x82),
        ("AUTH without a method", packet(0xF0, &[]), 0x82),
        (
            "a topic with a wildcard",
            raw::publish(V5, b"a/+", b"x"),
            0x90,
        ),
        ("topic alias 0", publish(0x30, &[0x23, 0, 0]), 0x94),
        (
            "a topic alias beyond the maximum",
            publish(0x30, &[0x23, 0, 3]),
            0x94,
        ),
        (
            "a packet that is too large",
            raw::publish(V5, b"t", &[0; 300]),
            0x95,
        ),
        ("a retained message where none is", publish(0x31, &[]), 0x9A),
        ("a QoS beyond the maximum", publish(0x34, &[]), 0x9B),
    ]
}

#[test]
fn what_a_client_does_wrong_has_its_code() {
    let broker = broker();
    for (cause, bytes, code) in causes() {
        let mut client = connect(broker.address(), &clean(V5, &fresh("wrong")));
        client.send_raw(&bytes).unwrap();
        let farewell = client.expect_closed(PATIENCE);
        let farewell = farewell.unwrap_or_else(|why| panic!("{cause}: {why}"));
        let got = farewell.map(|disconnect| disconnect.code);
        assert_eq!(got, Some(code), "{cause}");
    }
}

#[test]
fn what_a_client_cannot_help_has_its_code() {
    let mut broker = broker();
    let at = broker.address();
    // Nothing came for one and a half keep-alives.
    let mut options = clean(V5, "silent");
    options.connect.keep_alive_s = 1;
    expect_cut(V5, &mut connect(at, &options), &[0x8D]);
    // Another connection of the same name.
    let mut old = connect(at, &clean(V5, "same"));
    let _new = connect(at, &clean(V5, "same"));
    expect_cut(V5, &mut old, &[0x8E]);
    // An operator.
    let mut kicked = connect(at, &clean(V5, "kicked"));
    kick(broker.http.unwrap(), "kicked");
    expect_cut(V5, &mut kicked, &[0x98]);
    // The end of the server.
    let mut last: Vec<Client> = (0..4)
        .map(|_| connect(at, &clean(V5, &fresh("last"))))
        .collect();
    broker.signal("TERM");
    for client in &mut last {
        expect_cut(V5, client, &[0x8B]);
    }
    broker.expect_orderly_end();
}

/// Has the HTTP API close a client's connection.
fn kick(api: SocketAddr, client_id: &str) {
    let login = format!(r#"{{"username":"admin","password":"{PASSWORD}"}}"#);
    let answer = ask(api, "POST /api/v5/login", "", &login);
    let (_, token) = answer.split_once(r#""token":""#).expect(&answer);
    let (token, _) = token.split_once('"').unwrap();
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let request = format!("DELETE /api/v5/clients/{client_id}");
    let answer = ask(api, &request, &authorization, "");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

fn ask(api: SocketAddr, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
