//! Ways around access rules: wildcards, prefixes, rewriting, mountpoints, other people's sessions.

use std::io::{Read, Write};

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Will};

use super::{DENIED, NOBODY, V5, broker, dial, named, publish_code};
use crate::broker::{Broker, Scratch};
use crate::peer::{
    SILENCE, clean, collect, connect, leave, persistent, ping, subscriber, texts, vanish,
};

const RULES: &str = r#"
{allow, {user, "root"}, all, all}.
{allow, {user, "amy"}, all, ["amy/#"]}.
{allow, {user, "ben"}, all, ["ben/#"]}.
{deny, all, all, ["secret/#"]}.
{allow, all, all, ["open/#", "in/#", "c/${clientid}", "own/#"]}.
{deny, all}.
"#;

struct Ruled {
    broker: Broker,
    _scratch: Scratch,
}

impl Ruled {
    fn with(settings: &[&str]) -> Self {
        let scratch = Scratch::new();
        let path = scratch.path("acl.conf");
        std::fs::write(&path, RULES).unwrap();
        let file = format!("authorization.sources.file.path={}", path.display());
        let mut all = vec![file.as_str(), "mqtt.exclusive_subscription=true"];
        all.extend(settings);
        Self {
            broker: broker(&all),
            _scratch: scratch,
        }
    }

    fn enter(&self, options: &Options) -> Client {
        connect(self.broker.address(), options)
    }

    /// Somebody who hears everything.
    fn root(&self) -> Client {
        let mut root = self.enter(&named(V5, "root", "root", None));
        assert_eq!(root.subscribe("#", 1).unwrap(), 1);
        root
    }
}

#[test]
fn no_prefix_opens_a_denied_topic() {
    let ruled = Ruled::with(&[]);
    let mut root = ruled.root();
    for topic in [
        "secret/x",
        "$delayed/1/secret/x",
        "$delayed/0/secret/x",
        "$delayed/4294967295/secret/x",
        "$delayed/1/$delayed/1/secret/x",
        "$delayed//secret/x",
        "$delayed/1/",
        "$share/g/secret/x",
        "$queue/secret/x",
        "$exclusive/secret/x",
        "$SYS/x",
        "secret",
        "/secret/x",
    ] {
        let mut client = ruled.enter(&clean(V5, "c"));
        assert_eq!(publish_code(&mut client, topic), DENIED, "{topic}");
    }
    for filter in [
        "secret/x",
        "secret/#",
        "#",
        "+/x",
        "+/#",
        "+/+",
        "secret",
        "$share/g/secret/x",
        "$share/g/#",
        "$share/g/+/x",
        "$share/g/$share/h/secret/x",
        "$queue/secret/x",
        "$queue/#",
        "$exclusive/secret/x",
        "$exclusive/#",
        "$share/g/$exclusive/secret/x",
        "$exclusive/$share/g/secret/x",
        "$queue/$share/g/secret/x",
        "$delayed/1/secret/x",
        "$SYS/#",
        "$SYS/brokers/+/clients/#",
    ] {
        let mut client = ruled.enter(&clean(V5, "c"));
        // A filter that is none ends the connection.
        let code = client.subscribe(filter, 1).unwrap_or(0x8F);
        assert!(code >= 0x80, "{filter}: {code:#x}");
    }
    let mut client = ruled.enter(&clean(V5, "c"));
    let code = publish_code(&mut client, "$delayed/1/open/x");
    assert_eq!(code, 0, "what is allowed goes on");
    assert_eq!(collect(&mut root, 1)[0].topic, "open/x");
    root.expect_nothing(SILENCE).unwrap();
}

#[test]
fn client_ids_with_wildcards_hear_nobody_else() {
    let ruled = Ruled::with(&[
        "auto_subscribe.topics.1.topic=c/${clientid}",
        "auto_subscribe.topics.1.qos=1",
    ]);
    let mut root = ruled.enter(&named(V5, "root", "root", None));
    for id in ["+", "#", "+/x", "x/#", "victim/../+"] {
        let mut client = ruled.enter(&clean(V5, id));
        for filter in [
            format!("c/{id}"),
            "c/victim".to_owned(),
            "c/+".to_owned(),
            "c/#".to_owned(),
        ] {
            let code = client.subscribe(&filter, 1).unwrap();
            assert!(code >= 0x80, "{id}: {filter}");
        }
        root.publish("c/victim", 1, b"for the victim").unwrap();
        ping(&mut client);
        client.expect_nothing(SILENCE).unwrap();
    }
    let mut victim = ruled.enter(&clean(V5, "victim"));
    root.publish("c/victim", 1, b"for the victim").unwrap();
    assert_eq!(texts(&collect(&mut victim, 1)), ["for the victim"]);
}

/// A file of settings with rules of rewriting.
fn rewriting(scratch: &Scratch, rules: &[[&str; 3]]) -> String {
    let text: String = rules
        .iter()
        .map(|[source, re, to]| {
            format!(
                "[[rewrite]]\naction='all'\nsource_topic='{source}'\nre='{re}'\ndest_topic='{to}'\n"
            )
        })
        .collect();
    let file = scratch.path("broker.toml");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn rewriting_takes_nobody_further_than_its_rules() {
    let scratch = Scratch::new();
    let rules = scratch.path("acl.conf");
    std::fs::write(&rules, RULES).unwrap();
    let config = rewriting(
        &scratch,
        &[
            ["secret/#", "^secret/(.+)$", "open/$1"],
            ["own/#", "^own/(.+)$", "of/${clientid}/$1"],
            ["in/#", "^in/([^/]+)$", "inbox/$1"],
        ],
    );
    let file = format!("authorization.sources.file.path={}", rules.display());
    let broker = Broker::with(&["--cores", "2", "--config", &config, "--set", &file]);
    let mut root = connect(broker.address(), &named(V5, "root", "root", None));
    for filter in ["of/#", "inbox/#", "secret/#", "open/#"] {
        assert_eq!(root.subscribe(filter, 1).unwrap(), 1);
    }
    // Denied is what the client says, though the rule would lead to what it may do.
    let mut client = connect(broker.address(), &clean(V5, "c"));
    assert_eq!(publish_code(&mut client, "secret/x"), DENIED);
    assert_eq!(client.subscribe("secret/x", 1).unwrap(), DENIED);
    // What the groups of a rule take up stays what it is.
    assert_eq!(publish_code(&mut client, "in/x"), 0);
    assert_eq!(collect(&mut root, 1)[0].topic, "inbox/x");
    assert_eq!(publish_code(&mut client, "in/../secret"), NOBODY);
    assert_eq!(
        client.subscribe("in/+", 1).unwrap(),
        1,
        "inbox/+, as the rule says"
    );
    // A client id cannot widen the place that is its own.
    for id in ["+", "#", "a/#"] {
        let mut client = connect(broker.address(), &clean(V5, id));
        client.subscribe("own/x", 1).unwrap();
        let mut victim = connect(broker.address(), &clean(V5, "victim"));
        victim.publish("own/x", 1, b"private").unwrap();
        assert_eq!(collect(&mut root, 1)[0].topic, "of/victim/x");
        ping(&mut client);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn nothing_leads_out_of_a_mountpoint() {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--set",
        "listeners.tcp.default.mountpoint=at/${clientid}/",
        "--set",
        "listeners.tcp.plain.bind=127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    let (mounted, plain) = (broker.addresses[0], broker.addresses[1]);
    for id in ["+", "#", "a/b", "../x", "a/"] {
        assert!(Client::connect(mounted, &clean(V5, id)).is_err(), "{id}");
    }
    let mut inside = connect(mounted, &clean(V5, "in"));
    for filter in [
        "#",
        "+/#",
        "../#",
        "../../#",
        "/#",
        "$share/g/#",
        "$queue/#",
        "$SYS/#",
    ] {
        assert!(inside.subscribe(filter, 1).unwrap() < 3, "{filter}");
    }
    let mut outside = subscriber(plain, V5, "out", "#", 1);
    let mut other = connect(plain, &clean(V5, "other"));
    for topic in ["secret", "at/other/x", "/x", "../x"] {
        other.publish(topic, 1, b"not for it").unwrap();
    }
    collect(&mut outside, 4);
    ping(&mut inside);
    inside.expect_nothing(SILENCE).unwrap();
    for topic in ["../../secret", "/secret", "$SYS/x", "$delayed/1/secret"] {
        inside.publish(topic, 0, b"from inside").unwrap();
    }
    let got = collect(&mut outside, 3);
    assert!(
        got.iter().all(|got| got.topic.starts_with("at/in/")),
        "{got:?}"
    );
    let late = collect(&mut outside, 1);
    assert_eq!(late[0].topic, "at/in/secret");
}

#[test]
fn a_session_of_one_tenant_is_not_for_another() {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--set",
        "listeners.tcp.default.mountpoint=tenant-a/",
        "--set",
        "listeners.tcp.other.bind=127.0.0.1:0",
        "--set",
        "listeners.tcp.other.mountpoint=tenant-b/",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    let (ours, theirs) = (broker.addresses[0], broker.addresses[1]);
    let mut own = connect(ours, &persistent(V5, "shared-id"));
    assert_eq!(own.subscribe("#", 1).unwrap(), 1);
    leave(own);
    let mut from = connect(ours, &clean(V5, "from"));
    from.publish("x", 1, b"of tenant a").unwrap();
    let mut thief = connect(theirs, &persistent(V5, "shared-id"));
    assert!(!thief.connack.session_present);
    from.publish("x", 1, b"of tenant a").unwrap();
    ping(&mut thief);
    thief.expect_nothing(SILENCE).unwrap();
}

#[test]
fn a_session_is_no_way_to_the_rights_of_who_left_it() {
    let ruled = Ruled::with(&[]);
    let with = |user: &str| {
        let mut options = persistent(V5, "one-id");
        options.connect.username = Some(user.to_owned());
        options
    };
    let mut amy = ruled.enter(&with("amy"));
    assert_eq!(amy.subscribe("amy/#", 1).unwrap(), 1);
    vanish(amy);
    let mut root = ruled.enter(&named(V5, "root", "root", None));
    root.publish("amy/x", 1, b"for amy").unwrap();
    let mut ben = ruled.enter(&with("ben"));
    assert!(!ben.connack.session_present);
    root.publish("amy/x", 1, b"for amy").unwrap();
    ping(&mut ben);
    ben.expect_nothing(SILENCE).unwrap();
    assert_eq!(ben.subscribe("ben/#", 1).unwrap(), 1);
    vanish(ben);
    let ben = ruled.enter(&with("ben"));
    assert!(ben.connack.session_present, "his own he keeps");
}

#[test]
fn wills_go_only_where_their_client_may_publish() {
    let ruled = Ruled::with(&[]);
    let mut root = ruled.root();
    for topic in [
        "secret/x",
        "$delayed/1/secret/x",
        "$SYS/x",
        "secret/x/../../open/x",
    ] {
        for retain in [false, true] {
            let mut options = clean(V5, "c");
            options.connect.will = Some(Will {
                topic: topic.to_owned(),
                payload: b"will".to_vec(),
                retain,
                ..Will::default()
            });
            vanish(ruled.enter(&options));
        }
    }
    let mut client = ruled.enter(&clean(V5, "c"));
    client.publish("open/x", 1, b"last").unwrap();
    assert_eq!(texts(&collect(&mut root, 1)), ["last"]);
    root.expect_nothing(SILENCE).unwrap();
}

#[test]
fn rights_do_not_grow_while_connected() {
    // A filter that was denied is not heard by subscribing again, or by another's subscription.
    let ruled = Ruled::with(&[]);
    let mut root = ruled.root();
    let mut client = ruled.enter(&clean(V5, "c"));
    for _ in 0..3 {
        assert_eq!(client.subscribe("secret/x", 1).unwrap(), DENIED);
    }
    assert_eq!(client.subscribe("open/x", 1).unwrap(), 1);
    let mut other = ruled.enter(&named(V5, "other", "root", None));
    other.publish("secret/x", 1, b"secret").unwrap();
    collect(&mut root, 1);
    ping(&mut client);
    client.expect_nothing(SILENCE).unwrap();
}

const PROXY: &str = "listeners.tcp.default.proxy_protocol=true";

/// Behind this header everybody comes from far away.
fn from_afar(broker: &Broker, filter: &str) -> u8 {
    let mut stream = dial(broker.address());
    let header = "PROXY TCP4 198.51.100.7 127.0.0.1 4711 1883\r\n";
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(Packet::Connect(clean(V5, "far").connect).to_bytes(V5));
    stream.write_all(&bytes).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut connack = vec![0; usize::from(head[1])];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!((head[0], connack[1]), (0x20, 0));
    let len = u8::try_from(filter.len()).unwrap();
    let packet = [
        &[0x82, len + 6, 0, 1, 0, 0, len][..],
        filter.as_bytes(),
        &[0],
    ]
    .concat();
    stream.write_all(&packet).unwrap();
    let mut suback = [0; 6];
    stream.read_exact(&mut suback).unwrap();
    assert_eq!(suback[..5], [0x90, 4, 0, 1, 0]);
    suback[5]
}

#[test]
fn strangers_hear_neither_sys_nor_everything_at_once() {
    let open = broker(&[PROXY]);
    for filter in [
        "$SYS/#",
        "$SYS/brokers",
        "$SYS/brokers/+/clients/#",
        "#",
        "+/#",
        "$share/g/#",
        "$queue/#",
        "$share/g/$SYS/#",
    ] {
        assert_eq!(from_afar(&open, filter), DENIED, "{filter}");
    }
    for filter in ["a/#", "+", "+/x", "a"] {
        assert_eq!(from_afar(&open, filter), 0, "{filter}");
    }
    // This machine may, as with EMQX.
    let near = broker(&[]);
    let mut client = connect(near.address(), &clean(V5, "near"));
    for filter in ["#", "+/#", "$SYS/#"] {
        assert_eq!(client.subscribe(filter, 0).unwrap(), 0, "{filter}");
    }
    // Who wants it otherwise says so.
    let all = broker(&[PROXY, "authorization.sources.file.enable=false"]);
    assert_eq!(from_afar(&all, "#"), 0);
}
