//! Access rules from a file, with each kind of rule, through the real binary.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Publish, Version, Will};

use crate::broker::{Broker, Scratch, say};
use crate::peer::{PATIENCE, SILENCE, clean, collect, connect, subscriber, texts, vanish};

const RULES: &str = r##"
%% The administrator.
{allow, {user, "root"}, all, all}.
{allow, {user, "dashboard"}, subscribe, ["$SYS/#"]}.
{allow, {username, {re, "^op-"}}, subscribe, ["ops/#"]}.
{allow, {client, "pump"}, publish, ["pumps/state"]}.
{allow, {clientid, {re, "^dev[0-9]+$"}}, pubsub, ["dev/${clientid}/#", "old/%c"]}.
{allow, {ipaddr, "127.0.0.1/32"}, publish, ["local/x"]}.
{allow, {ipaddrs, ["10.0.0.0/8", "192.168.0.0/16"]}, publish, ["far/x"]}.
{allow, {'and', [{user, "amy"}, {ipaddr, "127.0.0.0/8"}]}, publish, ["amy/x"]}.
{allow, {'or', [{user, "ben"}, {client, "ben"}]}, publish, ["ben/x"]}.
{allow, all, {publish, [{qos, [1, 2]}, {retain, false}]}, ["rich/x"]}.
{allow, {listener, "tcp:default"}, publish, ["door/x"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, "secret/#"]}.
{allow, all, subscribe, ["open/#"]}.
{deny, all}.
"##;

struct Ruled {
    broker: Broker,
    scratch: Scratch,
}

impl Ruled {
    fn with(rules: &str, more: &[&str]) -> Self {
        let (scratch, path) = file(rules);
        let setting = format!("authorization.sources.file.path={}", path.display());
        let mut arguments = vec!["--cores", "2", "--set", &setting];
        arguments.extend(more);
        Self {
            broker: Broker::with(&arguments),
            scratch,
        }
    }

    fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    fn client(&self, name: &str) -> Client {
        connect(self.address(), &named(name))
    }
}

fn file(rules: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let path = scratch.path("acl.conf");
    fs::write(&path, rules).unwrap();
    (scratch, path)
}

/// `id`, or `user@id`.
fn named(name: &str) -> Options {
    let (user, id) = match name.split_once('@') {
        Some((user, id)) => (Some(user.to_owned()), id),
        None => (None, name),
    };
    let mut options = clean(Version::V5, id);
    options.connect.username = user;
    options
}

/// The code of the PUBACK or PUBREC.
fn publish(client: &mut Client, topic: &str, qos: u8, retain: bool) -> u8 {
    let packet_id = client.packet_id();
    let publish = Publish {
        topic: topic.to_owned(),
        qos,
        retain,
        packet_id: Some(packet_id),
        payload: b"m".to_vec(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::PubAck(ack) | Packet::PubRec(ack) => ack.code,
        other => panic!("{other:?}"),
    }
}

const DENIED: u8 = 0x87;
const NOBODY: u8 = 0x10;

#[test]
fn each_kind_of_rule_holds() {
    let ruled = Ruled::with(RULES, &[]);
    for (who, topic, allowed) in [
        ("root@x", "secret/x", true),
        ("pump", "pumps/state", true),
        ("pump2", "pumps/state", false),
        ("pump@x", "pumps/state", false),
        ("dev7", "dev/dev7/x", true),
        ("dev7", "dev/dev8/x", false),
        ("dev7", "old/dev7", true),
        ("devx", "dev/devx/x", false),
        ("x", "local/x", true),
        ("x", "far/x", false),
        ("amy@x", "amy/x", true),
        ("x", "amy/x", false),
        ("ben@x", "ben/x", true),
        ("ben", "ben/x", true),
        ("x", "ben/x", false),
        ("x", "rich/x", true),
        ("x", "door/x", true),
        ("x", "open/x", false),
    ] {
        let mut client = ruled.client(who);
        let want = if allowed { NOBODY } else { DENIED };
        assert_eq!(publish(&mut client, topic, 1, false), want, "{who} {topic}");
    }
    let mut client = ruled.client("x");
    assert_eq!(publish(&mut client, "rich/x", 2, false), NOBODY);
    let mut client = ruled.client("x");
    assert_eq!(publish(&mut client, "rich/x", 1, true), DENIED);
    for (who, filter, code) in [
        ("root@x", "#", 0),
        ("dashboard@x", "$SYS/#", 0),
        ("x", "$SYS/#", DENIED),
        ("x", "#", DENIED),
        ("x", "+/+", DENIED),
        ("x", "secret/x", DENIED),
        ("x", "$share/g/secret/x", DENIED),
        ("x", "$queue/secret/x", DENIED),
        ("x", "open/+", 0),
        ("x", "$share/g/open/+", 0),
        ("op-1@x", "ops/#", 0),
        ("op1@x", "ops/#", DENIED),
        ("dev7", "dev/dev7/#", 0),
        ("dev7", "dev/+/#", DENIED),
        ("+", "dev/+/#", DENIED),
        ("#", "dev/#", DENIED),
    ] {
        let mut client = ruled.client(who);
        assert_eq!(client.subscribe(filter, 0).unwrap(), code, "{who} {filter}");
    }
    ruled.broker.stop();
}

#[test]
fn what_is_denied_reaches_nobody() {
    let ruled = Ruled::with(RULES, &[]);
    let address = ruled.address();
    let mut root = ruled.client("root@r");
    assert_eq!(root.subscribe("#", 0).unwrap(), 0);
    // QoS 0 without a word, 3.1.1 with its acknowledgement.
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut client = connect(address, &clean(version, "x"));
        let silent = Publish {
            topic: "secret/x".to_owned(),
            ..Publish::default()
        };
        client.send(&Packet::Publish(silent)).unwrap();
        let code = publish(&mut client, "secret/x", 1, true);
        assert_eq!(code, if version == Version::V5 { DENIED } else { 0 });
    }
    let mut options = named("willing");
    options.connect.will = Some(Will {
        topic: "secret/x".to_owned(),
        payload: b"will".to_vec(),
        ..Will::default()
    });
    vanish(connect(address, &options));
    let mut last = ruled.client("x");
    publish(&mut last, "local/x", 1, false);
    assert_eq!(collect(&mut root, 1)[0].topic, "local/x");
    root.expect_nothing(SILENCE).unwrap();
    ruled.broker.stop();
}

#[test]
fn stored_messages_do_not_leak() {
    let ruled = Ruled::with(RULES, &[]);
    let mut root = ruled.client("root@r");
    publish(&mut root, "secret/x", 1, true);
    publish(&mut root, "open/x", 1, true);
    let mut client = ruled.client("x");
    for filter in ["#", "+/x", "secret/x", "secret/#"] {
        assert_eq!(client.subscribe(filter, 0).unwrap(), DENIED, "{filter}");
    }
    client.expect_nothing(SILENCE).unwrap();
    let mut client = subscriber(ruled.address(), Version::V5, "y", "open/#", 0);
    assert_eq!(collect(&mut client, 1)[0].topic, "open/x");
    client.expect_nothing(SILENCE).unwrap();
    ruled.broker.stop();
}

#[test]
fn a_denial_may_end_the_connection() {
    let ruled = Ruled::with(RULES, &["--set", "authorization.deny_action=disconnect"]);
    let mut client = ruled.client("x");
    let denied = Publish {
        topic: "secret/x".to_owned(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(denied)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::Disconnect(packet) => assert_eq!(packet.code, DENIED),
        other => panic!("{other:?}"),
    }
    ruled.broker.stop();
}

#[test]
fn the_file_is_read_again_at_sighup() {
    let ruled = Ruled::with("{deny, all}.", &[]);
    let mut client = ruled.client("x");
    assert_eq!(publish(&mut client, "x", 1, false), DENIED);
    let wait_for = |log: &str, times: usize| {
        let deadline = Instant::now() + PATIENCE;
        while ruled.broker.log().matches(log).count() < times {
            assert!(Instant::now() < deadline, "{}", ruled.broker.log());
            thread::sleep(Duration::from_millis(10));
        }
    };
    fs::write(ruled.scratch.path("acl.conf"), "{allow, all").unwrap();
    ruled.broker.signal("HUP");
    wait_for("acl.conf line 1: `}` is missing", 1);
    assert_eq!(publish(&mut client, "x", 1, false), DENIED);
    fs::write(ruled.scratch.path("acl.conf"), "{allow, all}.").unwrap();
    ruled.broker.signal("HUP");
    wait_for("access rules have been read again", 1);
    let deadline = Instant::now() + PATIENCE;
    while publish(&mut client, "x", 1, false) == DENIED {
        assert!(Instant::now() < deadline);
    }
    ruled.broker.stop();
}

#[test]
fn bans_of_a_file_hold_from_the_start() {
    let scratch = Scratch::new();
    let path = scratch.path("bans.csv");
    let bans =
        "as,who,reason,by,at,until\nclientid,bad,spam\nusername,mallory\nclientid,past,,,1,2\n";
    fs::write(&path, bans).unwrap();
    let setting = format!("banned.bootstrap_file={}", path.display());
    let broker = Broker::with(&["--cores", "2", "--set", &setting]);
    for (who, banned) in [
        ("bad", true),
        ("mallory@x", true),
        ("past", false),
        ("good", false),
    ] {
        let connected = Client::connect(broker.address(), &named(who));
        assert_eq!(connected.is_err(), banned, "{who}");
        if let Err(why) = connected {
            assert!(
                why.to_string().contains("138") || why.to_string().contains("8A"),
                "{why}"
            );
        }
    }
    broker.stop();
}

#[test]
fn a_rate_holds_over_time() {
    let setting = "listeners.tcp.default.messages_rate=20/s";
    let broker = Broker::with(&["--cores", "2", "--set", setting]);
    let mut client = connect(broker.address(), &named("fast"));
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(publish(&mut client, "x", 1, false), NOBODY);
    }
    // 20 at once and 20 a second; slower machines need longer.
    assert!(
        begun.elapsed() >= Duration::from_millis(1300),
        "{:?}",
        begun.elapsed()
    );
    broker.stop();
}

#[test]
fn without_rules_no_match_decides() {
    let broker = Broker::with(&["--set", "mqtt.acl_nomatch=deny"]);
    let mut client = connect(broker.address(), &named("x"));
    assert_eq!(client.subscribe("x", 0).unwrap(), DENIED);
    broker.stop();
    let broker = Broker::with(&[]);
    let mut client = subscriber(broker.address(), Version::V5, "x", "#", 0);
    publish(&mut connect(broker.address(), &named("y")), "x", 1, false);
    assert_eq!(texts(&collect(&mut client, 1)), ["m"]);
    broker.stop();
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let (_scratch, path) = file("{allow, all}.\n{deny, all, subscribe, [\"#/x\"]}.\n");
    let setting = format!("acl_file={}", path.display());
    let said = Broker::try_with(&["--set", &setting]).err().unwrap();
    assert!(
        said.contains("acl.conf line 2: \"#/x\" is not a topic filter (column 25)"),
        "{said}"
    );
    let checked = say(&["--check", "--set", &setting]);
    assert_eq!(checked.code, Some(2));
    assert!(checked.out.contains("line 2"));
    let missing = Broker::try_with(&["--set", "acl_file=/nowhere/acl.conf"])
        .err()
        .unwrap();
    assert!(
        missing.contains("/nowhere/acl.conf cannot be read"),
        "{missing}"
    );
}

#[test]
fn the_hardened_profile_opens_nothing() {
    let said = Broker::try_with(&[
        "--set",
        "node.profile=hardened",
        "--listen",
        "tcp://0.0.0.0:0",
    ]);
    assert!(
        said.err()
            .unwrap()
            .contains("node.profile is hardened, but listener tcp:default")
    );
    let said = Broker::try_with(&[
        "--set",
        "node.profile=hardened",
        "--set",
        "mqtt.allow_anonymous=true",
    ]);
    assert!(
        said.err()
            .unwrap()
            .contains("lets nobody in without authentication")
    );
    let broker = Broker::with(&["--set", "node.profile=hardened"]);
    assert!(Client::connect(broker.address(), &named("x")).is_err());
    broker.stop();
}
