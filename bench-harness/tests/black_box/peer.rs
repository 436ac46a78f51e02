//! What the scripts of these tests have in common: connecting, and receiving with all acknowledgements.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{
    Ack, Packet, Properties, Property, Publish, Subscribe, SubscriptionOptions, Version,
};

pub const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
/// How long anything that is expected may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long is listened for what must not come.
pub const SILENCE: Duration = Duration::from_millis(200);

/// Options of a clean connection.
pub fn clean(version: Version, client_id: &str) -> Options {
    let mut options = Options::new(version, client_id);
    options.timeout = PATIENCE;
    options
}

/// Options of a connection whose session outlives it by an hour.
pub fn persistent(version: Version, client_id: &str) -> Options {
    let mut options = clean(version, client_id);
    options.connect.clean_start = false;
    if version == Version::V5 {
        let expiry = Property::SessionExpiryInterval(3600);
        options.connect.properties = Properties(vec![expiry]);
    }
    options
}

/// Connects, or fails with the reason.
pub fn connect(address: SocketAddr, options: &Options) -> Client {
    Client::connect(address, options)
        .unwrap_or_else(|why| panic!("{}: {why}", options.connect.client_id))
}

/// Connects a clean client that has one subscription.
pub fn subscriber(
    address: SocketAddr,
    version: Version,
    client_id: &str,
    filter: &str,
    qos: u8,
) -> Client {
    let mut client = connect(address, &clean(version, client_id));
    assert_eq!(client.subscribe(filter, qos).unwrap(), qos, "{filter}");
    client
}

/// Subscribes with options and properties of version 5 and returns the code.
pub fn subscribe_with(
    client: &mut Client,
    filter: &str,
    options: SubscriptionOptions,
    properties: Vec<Property>,
) -> u8 {
    let packet_id = client.packet_id();
    let subscribe = Subscribe {
        packet_id,
        properties: Properties(properties),
        filters: vec![(filter.to_owned(), options)],
    };
    client.send(&Packet::Subscribe(subscribe)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::SubAck(ack) if ack.packet_id == packet_id => ack.codes[0],
        other => panic!("no SUBACK but {other:?}"),
    }
}

/// Says good-bye and waits until the broker has closed.
pub fn leave(mut client: Client) {
    client
        .send(&Packet::Disconnect(
            bench_harness::codec::Disconnect::default(),
        ))
        .unwrap();
    assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
}

/// Closes without a word.
pub fn vanish(client: Client) {
    drop(client);
}

/// Takes messages until `count` are there and every hand-shake of QoS 2 is over.
pub fn collect(client: &mut Client, count: usize) -> Vec<Publish> {
    let deadline = Instant::now() + PATIENCE;
    let mut publishes: Vec<Publish> = Vec::new();
    let mut unreleased = 0;
    while publishes.len() < count || unreleased > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        let packet = client
            .expect(left)
            .unwrap_or_else(|why| panic!("{why}, with {} of {count} messages", publishes.len()));
        match packet {
            Packet::Publish(publish) => {
                if let Some(answer) = answer(&publish) {
                    unreleased += usize::from(publish.qos == 2);
                    client.send(&answer).unwrap();
                }
                publishes.push(publish);
            }
            Packet::PubRel(ack) => {
                unreleased -= 1;
                client
                    .send(&Packet::PubComp(success(ack.packet_id)))
                    .unwrap();
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    publishes
}

/// The first answer to a PUBLISH.
pub fn answer(publish: &Publish) -> Option<Packet> {
    let id = publish.packet_id?;
    Some(if publish.qos == 1 {
        Packet::PubAck(success(id))
    } else {
        Packet::PubRec(success(id))
    })
}

/// An acknowledgement without a word more.
pub fn success(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

/// A PUBLISH of QoS 0.
pub fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Publish {
    Publish {
        topic: topic.to_owned(),
        payload: payload.into(),
        ..Publish::default()
    }
}

/// Waits until the broker has taken in all that `client` sent: it answers in order.
pub fn ping(client: &mut Client) {
    client.send(&Packet::PingReq).unwrap();
    assert_eq!(client.expect(PATIENCE).unwrap(), Packet::PingResp);
}

/// The payloads, as text.
pub fn texts(publishes: &[Publish]) -> Vec<String> {
    let text = |publish: &Publish| String::from_utf8_lossy(&publish.payload).into_owned();
    publishes.iter().map(text).collect()
}

/// `prefix0`, `prefix1`, ...
pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}
