//! A real mosquitto as a bridge to the real binary, and messages both ways: each comes once, with its
//! RETAIN flag, and none goes round.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Publish, Version};

use crate::broker::{Broker, Scratch};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long is listened for what must not come.
const SILENCE: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(20);

/// A mosquitto that bridges everything below `b/` both ways; killed when the value goes.
struct Mosquitto {
    child: Child,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Mosquitto {
    fn bridged_to(broker: SocketAddr, version: &str, extra: &str) -> Self {
        let scratch = Scratch::new();
        let port = free_port();
        let file = scratch.path("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
             connection to-millrace\naddress {broker}\nbridge_protocol_version {version}\n\
             topic b/# both 1\nremote_clientid bridge\nrestart_timeout 1\n\
             notifications false\ncleansession false\n{extra}\n"
        );
        std::fs::write(&file, text).unwrap();
        // Where Debian has it is not in the path of every user.
        let mut command = Command::new("env");
        command.args(["PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin", "mosquitto"]);
        command.arg("-c").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mosquitto = Self {
            child: child.expect("mosquitto is installed"),
            address,
            _scratch: scratch,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(POLL);
        }
        mosquitto
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn client(address: SocketAddr, id: &str, filter: Option<&str>) -> Client {
    let mut options = Options::new(Version::V5, id);
    options.timeout = PATIENCE;
    let mut client = Client::connect(address, &options).unwrap();
    if let Some(filter) = filter {
        assert_eq!(client.subscribe(filter, 1).unwrap(), 1);
    }
    client
}

/// The next message, acknowledged.
fn next(client: &mut Client) -> Publish {
    let publish = client.expect_publish().unwrap();
    if let Some(packet_id) = publish.packet_id {
        let ack = bench_harness::codec::Ack {
            packet_id,
            ..Default::default()
        };
        client.send(&Packet::PubAck(ack)).unwrap();
    }
    publish
}

fn text(publish: &Publish) -> (String, String, bool) {
    let payload = String::from_utf8_lossy(&publish.payload).into_owned();
    (publish.topic.clone(), payload, publish.retain)
}

fn retained(client: &mut Client, topic: &str, payload: &str) {
    let packet_id = Some(client.packet_id());
    let publish = Publish {
        qos: 1,
        retain: true,
        topic: topic.to_owned(),
        packet_id,
        payload: payload.into(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish)).unwrap();
    let answer = client.expect(PATIENCE).unwrap();
    assert!(matches!(answer, Packet::PubAck(_)), "{answer:?}");
}

/// Publishes on one side until the other side hears it: the bridge is up.
fn await_bridge(from: &mut Client, to: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        from.publish("b/probe", 0, b"probe").unwrap();
        if to.expect_nothing(Duration::from_millis(200)).is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "the bridge does not come up");
    }
    // What was sent before the bridge's queue was empty.
    while to.expect_nothing(SILENCE).is_err() {}
}

/// What there is to see from both sides.
fn both_ways(version: &str, extra: &str) {
    let broker = Broker::start(2);
    let mosquitto = Mosquitto::bridged_to(broker.address(), version, extra);
    let mut here = client(broker.address(), "here", Some("b/#"));
    let mut there = client(mosquitto.address, "there", Some("b/#"));
    let mut writer_here = client(broker.address(), "writer", None);
    let mut writer_there = client(mosquitto.address, "writer", None);
    await_bridge(&mut writer_here, &mut there);
    await_bridge(&mut writer_there, &mut here);
    while here.expect_nothing(SILENCE).is_err() {}
    while there.expect_nothing(SILENCE).is_err() {}

    let say = |topic: &str, payload: &str, retain| (topic.to_owned(), payload.to_owned(), retain);
    writer_here.publish("b/x", 1, b"from here").unwrap();
    assert_eq!(text(&next(&mut here)), say("b/x", "from here", false));
    assert_eq!(text(&next(&mut there)), say("b/x", "from here", false));
    writer_there.publish("b/y", 1, b"from there").unwrap();
    assert_eq!(text(&next(&mut here)), say("b/y", "from there", false));
    assert_eq!(text(&next(&mut there)), say("b/y", "from there", false));
    // Nothing goes round.
    here.expect_nothing(SILENCE).unwrap();
    there.expect_nothing(SILENCE).unwrap();

    // What is retained on one side is retained on the other.
    retained(&mut writer_here, "b/kept/here", "1");
    retained(&mut writer_there, "b/kept/there", "2");
    for side in [&mut here, &mut there] {
        next(side);
        next(side);
        side.expect_nothing(SILENCE).unwrap();
    }
    for (at, address) in [broker.address(), mosquitto.address]
        .into_iter()
        .enumerate()
    {
        let mut late = client(address, "late", None);
        for (topic, payload) in [("b/kept/here", "1"), ("b/kept/there", "2")] {
            late.subscribe(topic, 1).unwrap();
            let got = next(&mut late);
            assert_eq!(text(&got), say(topic, payload, true), "side {at}");
        }
    }
    broker.stop();
}

#[test]
#[ignore = "needs mosquitto, which scripts/test.sh installs"]
fn version_3_1_1() {
    both_ways("mqttv311", "");
}

#[test]
#[ignore = "needs mosquitto, which scripts/test.sh installs"]
fn version_3_1() {
    both_ways("mqttv31", "");
}

#[test]
#[ignore = "needs mosquitto, which scripts/test.sh installs"]
fn version_5() {
    both_ways("mqttv50", "");
}
