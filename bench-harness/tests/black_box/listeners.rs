//! Listeners: Unix sockets, who may connect, PROXY headers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::broker::{Broker, Scratch, say};
use crate::peer::PATIENCE;
use crate::ws_peer::{CONNACK, MQTT, WsClient, connect_packet, request};

/// What comes of bytes: the answer, until the broker closes or four bytes have come.
fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The broker may have closed already.
    let _ = client.write_all(bytes);
    let mut got = Vec::new();
    let mut piece = [0; 4];
    while got.len() < CONNACK.len() {
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => got.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    got
}

fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}

#[test]
fn a_unix_socket_from_its_first_client_to_its_end() {
    let scratch = Scratch::new();
    let path = scratch.path("mqtt.sock");
    let arguments = ["--cores", "2", "--listen", &unix(&path)];
    let mode = ["--set", "listeners.unix.default.mode=0600"];
    let broker = Broker::with(&[&arguments[..], &mode].concat());
    assert_eq!(broker.listening, ["unix:default"]);
    let permissions = std::fs::metadata(&path).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    for name in ["a", "b", "c", "d", "e", "f"] {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&connect_packet(name)).unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        assert_eq!(connack, CONNACK);
        client.write_all(b"\xc0\0").unwrap();
        client.read_exact(&mut connack[..2]).unwrap();
        assert_eq!(&connack[..2], b"\xd0\0");
    }
    let second = say(&[&arguments[..], &["--data-dir", "/tmp/none-such"]].concat());
    assert_eq!(second.code, Some(2));
    assert!(second.err.contains("in use"), "{second:?}");
    broker.stop();
    assert!(!path.exists(), "the file goes with the broker");
}

#[test]
fn a_stale_unix_socket_is_replaced_and_another_file_is_not() {
    let scratch = Scratch::new();
    let path = scratch.path("mqtt.sock");
    let mut broker = Broker::with(&["--listen", &unix(&path)]);
    broker.signal("KILL");
    broker.wait_at_most(PATIENCE).unwrap();
    assert!(path.exists(), "nobody could remove it");
    Broker::with(&["--listen", &unix(&path)]).stop();
    std::fs::write(&path, "precious").unwrap();
    let said = Broker::try_with(&["--listen", &unix(&path)]).unwrap_err();
    assert!(said.contains("is no socket"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn access_rules_are_judged_at_accept() {
    let rules = |rules: &str| {
        let set = format!("listeners.tcp.default.access_rules={rules}");
        let broker = Broker::with(&["--set", &set]);
        answer(broker.address(), &connect_packet("x"))
    };
    assert_eq!(rules("deny 127.0.0.0/8"), b"");
    assert_eq!(rules("allow 127.0.0.1, deny all"), CONNACK);
    assert_eq!(rules("deny 10.0.0.0/8, allow all"), CONNACK);
}

const PROXY: &str = "listeners.tcp.default.proxy_protocol=true";
const RULES: &str = "listeners.tcp.default.access_rules=deny 192.0.2.0/24, allow all";

/// A header of version 2 with this source.
fn v2(source: [u8; 4]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&head[..], &source, &[127, 0, 0, 1, 0x10, 0, 7, 91]].concat()
}

#[test]
fn the_address_in_a_proxy_header_is_the_clients() {
    let broker = Broker::with(&["--cores", "2", "--set", PROXY, "--set", RULES]);
    let with = |header: &[u8]| {
        let bytes = [header, &connect_packet("x")].concat();
        answer(broker.address(), &bytes)
    };
    assert_eq!(
        with(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 1883\r\n"),
        CONNACK
    );
    assert_eq!(with(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1883\r\n"), b"");
    assert_eq!(with(b"PROXY TCP6 2001:db8::7 ::1 4711 1883\r\n"), CONNACK);
    assert_eq!(with(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 1883\r\n"), b"");
    assert_eq!(with(b"PROXY UNKNOWN\r\n"), CONNACK);
    assert_eq!(with(&v2([198, 51, 100, 7])), CONNACK);
    assert_eq!(with(&v2([192, 0, 2, 7])), b"");
    assert_eq!(with(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), CONNACK);
    assert_eq!(with(b""), b"", "a header there must be");
    assert_eq!(with(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n"), b"");
    assert_eq!(with(b"\r\n\r\n\0\r\nQUIT\n\x11\0\0\0"), b"");
}

#[test]
fn a_proxy_header_may_come_in_pieces_but_not_late() {
    let timeout = "listeners.tcp.default.proxy_protocol_timeout=300ms";
    // The time for a whole CONNECT is longer than this test waits.
    let idle = "mqtt.idle_timeout=60s";
    let broker = Broker::with(&["--set", PROXY, "--set", timeout, "--set", idle]);
    let mut client = TcpStream::connect(broker.address()).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for byte in [&v2([198, 51, 100, 7])[..], &connect_packet("slow")].concat() {
        client.write_all(&[byte]).unwrap();
    }
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!(connack, CONNACK);
    let mut silent = TcpStream::connect(broker.address()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.write_all(b"PROXY TCP4 ").unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn only_those_who_are_trusted_may_send_a_proxy_header() {
    let trusted = "listeners.tcp.default.proxy_protocol_trusted=10.0.0.0/8";
    let broker = Broker::with(&["--set", PROXY, "--set", trusted]);
    let bytes = [v2([198, 51, 100, 7]), connect_packet("x")].concat();
    assert_eq!(answer(broker.address(), &bytes), b"");
}

#[test]
fn a_proxy_header_comes_before_a_websocket() {
    let broker = Broker::with(&[
        "--listen",
        "ws://127.0.0.1:0",
        "--set",
        "listeners.ws.default.proxy_protocol=true",
    ]);
    let header = "PROXY TCP4 198.51.100.7 127.0.0.1 4711 8083\r\n";
    let request = format!("{header}{}", request("/mqtt", &[MQTT]));
    let mut ws = WsClient::ask(broker.address(), &request);
    assert!(ws.answer.starts_with("HTTP/1.1 101 "), "{}", ws.answer);
    ws.send(&connect_packet("behind"));
    ws.expect(CONNACK);
}
