//! What an outsider, or a client that wants more than it may have, tries: each attack of
//! `docs/attacks.tsv` that no other test proves to come to nothing. A module a group.

mod acl;
mod api;
mod auth;
mod exhaustion;
mod protocol;
mod table;
mod tls;
mod websocket;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Publish, Version};

use crate::broker::Broker;
use crate::peer::{PATIENCE, clean, connect};

const V5: Version = Version::V5;
const V311: Version = Version::V311;
const DENIED: u8 = 0x87;
const QUOTA: u8 = 0x97;
/// It may, and nobody wants it.
const NOBODY: u8 = 0x10;

/// A broker of two cores with these settings.
fn broker(settings: &[&str]) -> Broker {
    let mut arguments = vec!["--cores", "2"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Broker::with(&arguments)
}

/// Options of a client with a name, and a password if there is one.
fn named(version: Version, id: &str, user: &str, password: Option<&str>) -> Options {
    let mut options = clean(version, id);
    options.connect.username = Some(user.to_owned());
    options.connect.password = password.map(|text| text.as_bytes().to_vec());
    options
}

/// The code of the CONNACK.
fn code(address: SocketAddr, options: &Options) -> u8 {
    match Client::connect(address, options) {
        Ok(_) => 0,
        Err(bench_harness::client::Error::Unexpected(packet)) => match *packet {
            Packet::ConnAck(ack) => ack.code,
            other => panic!("no CONNACK but {other:?}"),
        },
        Err(other) => panic!("{other}"),
    }
}

/// The code of the PUBACK.
fn publish_code(client: &mut Client, topic: &str) -> u8 {
    let packet_id = client.packet_id();
    let publish = Publish {
        topic: topic.to_owned(),
        qos: 1,
        packet_id: Some(packet_id),
        payload: b"attack".to_vec(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::PubAck(ack) if ack.packet_id == packet_id => ack.code,
        other => panic!("no PUBACK but {other:?}"),
    }
}

/// A socket that waits as long as anything may take.
fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the other side closes.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return got,
            Ok(len) => got.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return got,
            Err(error) => panic!("it is not closed: {error}, after {got:?}"),
        }
    }
}

/// What comes of bytes on a connection of their own, until the other side closes.
fn told(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(address);
    // It may have closed before all is sent.
    let _ = stream.write_all(bytes);
    until_closed(&mut stream)
}

/// A client of this broker works.
fn works(broker: &Broker) {
    let mut client = connect(broker.address(), &clean(V5, "works"));
    assert_eq!(client.subscribe("works", 0).unwrap(), 0);
    client.publish("works", 0, b"it does").unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"it does");
}

/// Bytes of memory that the broker's process has.
fn memory(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}
