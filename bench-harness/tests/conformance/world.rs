//! What the chapters share: the broker, names that nobody else uses, and the ways a connection ends.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bench_harness::client::{Client, Error, Options};
use bench_harness::codec::{
    ConnAck, Packet, Property, Publish, Subscribe, SubscriptionOptions, Unsubscribe, Version,
};

use crate::broker::Broker;
use crate::peer::{PATIENCE, clean, connect, message, subscriber, success};

/// The versions with a table of statements.
pub const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// The broker of this binary, and who ends it: a static is never dropped.
struct Shared {
    broker: Broker,
    _guard: Child,
}

/// Where the broker of all tests listens.
pub fn address() -> SocketAddr {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let start = || {
        let broker = Broker::start(2);
        let _guard = end_with_this_process(&broker);
        Shared { broker, _guard }
    };
    SHARED.get_or_init(start).broker.address()
}

/// Its standard input ends with this process, however that ends.
fn end_with_this_process(broker: &Broker) -> Child {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -KILL "$1"; rm -rf -- "$2""#, "sh"])
        .arg(broker.pid().to_string())
        .arg(broker.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A name that no other test uses, for a client or a topic.
pub fn fresh(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{word}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A clean client with a fresh identifier.
pub fn anyone(version: Version) -> Client {
    connect(address(), &clean(version, &fresh("anyone")))
}

/// A clean client with a fresh identifier and one subscription.
pub fn listener(version: Version, filter: &str, qos: u8) -> Client {
    subscriber(address(), version, &fresh("listener"), filter, qos)
}

/// Publishes with its acknowledgements, as somebody who goes again.
pub fn publish(version: Version, topic: &str, qos: u8, payload: &str) {
    anyone(version)
        .publish(topic, qos, payload.as_bytes())
        .unwrap_or_else(|why| panic!("{topic}: {why}"));
}

/// Publishes several messages with their acknowledgements. They have one publisher: of several nobody
/// says whose messages come first.
pub fn publish_all<'a>(
    version: Version,
    topic: &str,
    messages: impl IntoIterator<Item = (u8, &'a str)>,
) {
    let mut publisher = anyone(version);
    for (qos, payload) in messages {
        publisher
            .publish(topic, qos, payload.as_bytes())
            .unwrap_or_else(|why| panic!("{topic}: {why}"));
    }
}

/// Publishes a retained message at QoS 1 and waits for its acknowledgement.
pub fn publish_retained(version: Version, topic: &str, payload: &str) {
    let mut publisher = anyone(version);
    let publish = Publish {
        retain: true,
        ..with_qos(message(topic, payload), 1, 1)
    };
    publisher.send(&Packet::Publish(publish)).unwrap();
    assert_eq!(puback(&mut publisher).0, 1);
}

/// The same message at another QoS.
pub fn with_qos(publish: Publish, qos: u8, packet_id: u16) -> Publish {
    let packet_id = (qos > 0).then_some(packet_id);
    Publish {
        qos,
        packet_id,
        ..publish
    }
}

/// Sends a PUBLISH.
pub fn send(client: &mut Client, publish: Publish) {
    client.send(&Packet::Publish(publish)).unwrap();
}

/// The next packet, which has to be a PUBACK: identifier and reason code.
pub fn puback(client: &mut Client) -> (u16, u8) {
    match client.expect(PATIENCE).unwrap() {
        Packet::PubAck(ack) => (ack.packet_id, ack.code),
        other => panic!("no PUBACK but {other:?}"),
    }
}

/// The next packet, which has to be a PUBREC.
pub fn pubrec(client: &mut Client) -> (u16, u8) {
    match client.expect(PATIENCE).unwrap() {
        Packet::PubRec(ack) => (ack.packet_id, ack.code),
        other => panic!("no PUBREC but {other:?}"),
    }
}

/// The next packet, which has to be a PUBREL.
pub fn pubrel(client: &mut Client) -> u16 {
    match client.expect(PATIENCE).unwrap() {
        Packet::PubRel(ack) => ack.packet_id,
        other => panic!("no PUBREL but {other:?}"),
    }
}

/// The next packet, which has to be a PUBCOMP.
pub fn pubcomp(client: &mut Client) -> (u16, u8) {
    match client.expect(PATIENCE).unwrap() {
        Packet::PubComp(ack) => (ack.packet_id, ack.code),
        other => panic!("no PUBCOMP but {other:?}"),
    }
}

/// Sends PUBREL and takes the PUBCOMP; its reason code.
pub fn release(client: &mut Client, packet_id: u16) -> u8 {
    client.send(&Packet::PubRel(success(packet_id))).unwrap();
    let (id, code) = pubcomp(client);
    assert_eq!(id, packet_id);
    code
}

/// Connects with these options, or says how that was refused.
pub fn try_connect(at: SocketAddr, options: &Options) -> Result<Client, Option<ConnAck>> {
    let version = options.connect.version;
    let bytes = Packet::Connect(options.connect.clone()).to_bytes(version);
    let mut client = Client::open(at, version).unwrap();
    client.send_raw(&bytes).unwrap();
    match client.expect(PATIENCE) {
        Ok(Packet::ConnAck(ack)) if ack.code == 0 => {
            client.connack = ack;
            Ok(client)
        }
        first => Err(ended(client, first)),
    }
}

/// Sends what has to be refused instead of a CONNECT, and returns the CONNACK if there was one. The
/// broker has to close in any case, and to send nothing more.
pub fn refused(version: Version, bytes: &[u8]) -> Option<ConnAck> {
    refused_at(address(), version, bytes)
}

/// Like [`refused`], of another broker.
pub fn refused_at(at: SocketAddr, version: Version, bytes: &[u8]) -> Option<ConnAck> {
    let mut client = Client::open(at, version).unwrap();
    client.send_raw(bytes).unwrap();
    let first = client.expect(PATIENCE);
    ended(client, first)
}

fn ended(mut client: Client, first: Result<Packet, Error>) -> Option<ConnAck> {
    match first {
        Ok(Packet::ConnAck(ack)) => {
            assert_ne!(ack.code, 0, "accepted");
            assert!(!ack.session_present, "{ack:?}");
            assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
            Some(ack)
        }
        Err(Error::Closed) => None,
        other => panic!("neither CONNACK nor an end but {other:?}"),
    }
}

/// The broker ends this connection: in version 5 with a DISCONNECT of one of these codes, before that
/// without a word.
pub fn expect_cut(version: Version, client: &mut Client, codes: &[u8]) {
    let farewell = client
        .expect_closed(PATIENCE)
        .unwrap_or_else(|why| panic!("not closed: {why}"));
    if version == Version::V5 {
        let code = farewell.expect("a DISCONNECT with the reason").code;
        assert!(codes.contains(&code), "{code:#x} is not among {codes:x?}");
    } else {
        assert_eq!(
            farewell, None,
            "before version 5 a server has no DISCONNECT"
        );
    }
}

/// A fresh client that sends these bytes is cut off, in version 5 with one of these codes.
#[track_caller]
pub fn breaks(version: Version, bytes: &[u8], codes: &[u8]) {
    let mut client = anyone(version);
    client.send_raw(bytes).unwrap();
    match client.expect_closed(PATIENCE) {
        Ok(Some(farewell)) if version == Version::V5 => assert!(
            codes.contains(&farewell.code),
            "{bytes:x?}: {:#x} is not among {codes:x?}",
            farewell.code
        ),
        Ok(None) if version != Version::V5 => {}
        other => panic!("{version:?} {bytes:x?}: {other:?}"),
    }
}

/// Whether a connection works: it answers a PINGREQ with nothing in between.
pub fn assert_alive(client: &mut Client) {
    crate::peer::ping(client);
}

/// Subscribes to several filters with one SUBSCRIBE; the codes of the SUBACK.
pub fn subscribe_all(client: &mut Client, filters: &[(&str, SubscriptionOptions)]) -> Vec<u8> {
    let packet_id = client.packet_id();
    let own = |(filter, options): &(&str, SubscriptionOptions)| ((*filter).to_owned(), *options);
    let subscribe = Subscribe {
        packet_id,
        filters: filters.iter().map(own).collect(),
        ..Subscribe::default()
    };
    client.send(&Packet::Subscribe(subscribe)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::SubAck(ack) if ack.packet_id == packet_id => ack.codes,
        other => panic!("no SUBACK but {other:?}"),
    }
}

/// Unsubscribes with one UNSUBSCRIBE; the codes of the UNSUBACK.
pub fn unsubscribe_all(client: &mut Client, filters: &[&str]) -> Vec<u8> {
    let packet_id = client.packet_id();
    let unsubscribe = Unsubscribe {
        packet_id,
        filters: filters.iter().map(|f| (*f).to_owned()).collect(),
        ..Unsubscribe::default()
    };
    client.send(&Packet::Unsubscribe(unsubscribe)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::UnsubAck(ack) if ack.packet_id == packet_id => ack.codes,
        other => panic!("no UNSUBACK but {other:?}"),
    }
}

/// Options of version 5 with these properties in the CONNECT beside those there are.
pub fn with_properties(mut options: Options, properties: &[Property]) -> Options {
    options.connect.properties.0.extend_from_slice(properties);
    options
}
