//! What EMQX adds to MQTT, over sockets.

use std::time::Duration;

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Packet, Properties, Property, Publish, Unsubscribe, Version, Will};

use crate::broker::{Broker, Scratch, say};
use crate::peer::{
    SILENCE, VERSIONS, clean, collect, connect, numbered, persistent, ping, subscriber, texts,
    vanish,
};

const QUOTA_EXCEEDED: u8 = 0x97;
const FILTER_INVALID: u8 = 0x8F;

fn start(arguments: &[&str]) -> Broker {
    let mut all = vec!["--cores", "2"];
    for argument in arguments {
        all.extend(["--set", argument]);
    }
    Broker::with(&all)
}

/// Publishes at QoS 1 or 2 and returns the reason code of the first answer.
fn publish_code(client: &mut Client, topic: &str, qos: u8, payload: &str) -> u8 {
    let id = client.packet_id();
    let publish = Publish {
        qos,
        topic: topic.to_owned(),
        packet_id: Some(id),
        payload: payload.into(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish)).unwrap();
    match client.expect(Duration::from_secs(20)).unwrap() {
        Packet::PubAck(ack) | Packet::PubRec(ack) if ack.packet_id == id => ack.code,
        other => panic!("no answer but {other:?}"),
    }
}

fn unsubscribe(client: &mut Client, filter: &str) {
    let packet_id = client.packet_id();
    let unsubscribe = Unsubscribe {
        packet_id,
        filters: vec![filter.to_owned()],
        ..Unsubscribe::default()
    };
    client.send(&Packet::Unsubscribe(unsubscribe)).unwrap();
    let answer = client.expect(Duration::from_secs(20)).unwrap();
    assert!(matches!(answer, Packet::UnsubAck(_)), "{answer:?}");
}

#[test]
fn delayed_messages_come_though_their_publishers_are_gone() {
    for cores in ["1", "2", "8"] {
        let broker = Broker::with(&["--cores", cores]);
        for version in VERSIONS {
            let mut to = subscriber(broker.address(), version, "to", "#", 1);
            // Publishers of several home cores, which are gone when their messages are due.
            for at in 0..8 {
                let mut from = connect(broker.address(), &clean(version, &format!("from{at}")));
                from.publish("$delayed/2/t", 1, format!("{at}").as_bytes())
                    .unwrap();
                from.publish("$delayed/1/t", 2, format!("{at}").as_bytes())
                    .unwrap();
                vanish(from);
            }
            let mut got = texts(&collect(&mut to, 16));
            got.sort();
            let mut want = [numbered("", 8), numbered("", 8)].concat();
            want.sort();
            assert_eq!(got, want);
            to.expect_nothing(SILENCE).unwrap();
        }
        broker.stop();
    }
}

#[test]
fn delayed_messages_that_are_refused() {
    let broker = start(&["delayed.max_delayed_messages=2"]);
    let mut client = connect(broker.address(), &clean(Version::V5, "a"));
    let mut old = connect(broker.address(), &clean(Version::V311, "old"));
    assert_eq!(publish_code(&mut client, "$delayed/x/t", 1, ""), 0x10);
    assert_eq!(
        publish_code(&mut client, "$delayed/9999999999/t", 2, ""),
        0x10
    );
    // The limit is divided among the cores: one for each here.
    assert_eq!(
        publish_code(&mut client, "$delayed/60/$SYS/topic", 1, ""),
        0
    );
    assert_eq!(
        publish_code(&mut client, "$delayed/60/t", 1, ""),
        QUOTA_EXCEEDED
    );
    assert_eq!(
        publish_code(&mut client, "$delayed/60/t", 2, ""),
        QUOTA_EXCEEDED
    );
    assert_eq!(
        publish_code(&mut client, "t", 1, ""),
        0x10,
        "others are not concerned"
    );
    for _ in 0..3 {
        assert_eq!(
            publish_code(&mut old, "$delayed/60/t", 1, ""),
            0,
            "it cannot be told"
        );
    }
    broker.stop();
}

#[test]
fn an_exclusive_topic_is_one_clients() {
    let broker = start(&["mqtt.exclusive_subscription=true"]);
    for version in VERSIONS {
        let refused = if version == Version::V5 {
            QUOTA_EXCEEDED
        } else {
            0x80
        };
        let address = broker.address();
        let mut first = subscriber(address, version, "first", "$exclusive/t", 1);
        let mut second = connect(address, &clean(version, "second"));
        assert_eq!(second.subscribe("$exclusive/t", 1).unwrap(), refused);
        assert_eq!(second.subscribe("t", 0).unwrap(), 0);
        second.publish("t", 0, b"both").unwrap();
        assert_eq!(texts(&collect(&mut first, 1)), ["both"]);
        assert_eq!(texts(&collect(&mut second, 1)), ["both"]);
        unsubscribe(&mut first, "$exclusive/t");
        assert_eq!(second.subscribe("$exclusive/t", 1).unwrap(), 1);
        assert_eq!(first.subscribe("$exclusive/t", 1).unwrap(), refused);
        // The broker sees the end of the connection at some time.
        vanish(second);
        await_grant(&mut first, refused);
        // A session that lives on without its client keeps what it has.
        let mut keeper = connect(address, &persistent(version, "keeper"));
        assert_eq!(keeper.subscribe("$exclusive/kept", 1).unwrap(), 1);
        vanish(keeper);
        assert_eq!(first.subscribe("$exclusive/kept", 1).unwrap(), refused);
        let end = connect(address, &clean(version, "keeper"));
        await_grant_of(&mut first, "$exclusive/kept", refused);
        drop(end);
        vanish(first);
    }
    broker.stop();
}

fn await_grant(client: &mut Client, refused: u8) {
    await_grant_of(client, "$exclusive/t", refused);
}

fn await_grant_of(client: &mut Client, filter: &str, refused: u8) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let code = client.subscribe(filter, 1).unwrap();
        if code == 1 {
            return;
        }
        assert_eq!(code, refused);
        assert!(
            std::time::Instant::now() < deadline,
            "{filter} is never free"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_claim_at_once_and_one_wins() {
    const CLIENTS: usize = 8;
    let broker = Broker::with(&["--cores", "4", "--set", "mqtt.exclusive_subscription=true"]);
    let names = numbered("claimant", CLIENTS);
    let address = broker.address();
    let mut clients: Vec<Client> = names
        .iter()
        .map(|name| connect(address, &clean(Version::V5, name)))
        .collect();
    for round in 0..50 {
        let filter = format!("$exclusive/race/{round}");
        let codes: Vec<u8> = std::thread::scope(|scope| {
            let ask = |client| scope.spawn(|| ask(client, &filter));
            let asked: Vec<_> = clients.iter_mut().map(ask).collect();
            asked
                .into_iter()
                .map(|answer| answer.join().unwrap())
                .collect()
        });
        let winners = codes.iter().filter(|code| **code == 2).count();
        let losers = codes.iter().filter(|code| **code == QUOTA_EXCEEDED).count();
        assert_eq!(
            (winners, losers),
            (1, CLIENTS - 1),
            "round {round}: {codes:?}"
        );
    }
    broker.stop();
}

fn ask(client: &mut Client, filter: &str) -> u8 {
    client.subscribe(filter, 2).unwrap()
}

#[test]
fn exclusive_topics_are_off_unless_asked_for() {
    let broker = Broker::start(1);
    let mut client = connect(broker.address(), &clean(Version::V5, "a"));
    assert_eq!(client.subscribe("$exclusive/t", 1).unwrap(), FILTER_INVALID);
    broker.stop();
}

#[test]
fn topics_are_rewritten_by_the_rules_of_a_file() {
    let scratch = Scratch::new();
    let file = scratch.path("broker.toml");
    let text = "[[rewrite]]\naction = 'all'\nsource_topic = 'x/#'\nre = '^x/y/(.+)$'\n\
                dest_topic = 'z/y/$1'\n\
                [[rewrite]]\naction = 'all'\nsource_topic = 'x/y/+'\nre = '^x/(.+)$'\n\
                dest_topic = 'never/$1'\n\
                [[rewrite]]\naction = 'publish'\nsource_topic = 'own/#'\nre = '^own/(.+)$'\n\
                dest_topic = 'of/${username}/${clientid}/$1'\n";
    std::fs::write(&file, text).unwrap();
    let broker = Broker::with(&["--cores", "2", "--config", file.to_str().unwrap()]);
    for version in VERSIONS {
        let address = broker.address();
        let mut to = subscriber(address, version, "to", "x/y/1", 1);
        assert_eq!(to.subscribe("of/#", 1).unwrap(), 1);
        let mut options = clean(version, "from");
        options.connect.username = Some("ann".to_owned());
        options.connect.will = Some(Will {
            topic: "own/will".to_owned(),
            payload: b"gone".to_vec(),
            ..Will::default()
        });
        let mut from = connect(address, &options);
        from.publish("x/y/1", 1, b"1").unwrap();
        from.publish("z/y/1", 1, b"2").unwrap();
        from.publish("own/a", 1, b"3").unwrap();
        from.publish("x/1", 0, b"to nobody").unwrap();
        vanish(from);
        let got = collect(&mut to, 4);
        let topics: Vec<&str> = got.iter().map(|publish| &*publish.topic).collect();
        let want = ["z/y/1", "z/y/1", "of/ann/from/a", "of/ann/from/will"];
        assert_eq!(topics, want);
        unsubscribe(&mut to, "x/y/1");
        to.publish("z/y/1", 0, b"nobody").unwrap();
        ping(&mut to);
    }
    broker.stop();
}

#[test]
fn a_wrong_rule_ends_the_start_with_its_place() {
    let scratch = Scratch::new();
    let file = scratch.path("broker.toml");
    let text = "[[rewrite]]\nsource_topic = 'x/#'\nre = '^x/(.+$'\ndest_topic = 'y/$1'\n";
    std::fs::write(&file, text).unwrap();
    let said = say(&["--config", file.to_str().unwrap(), "--check"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("broker.toml:3: key `rewrite.1.re`"), "{all}");
}

#[test]
fn everybody_is_subscribed_at_connect() {
    let broker = start(&[
        "auto_subscribe.topics.1.topic=c/${clientid}",
        "auto_subscribe.topics.1.qos=1",
        "auto_subscribe.topics.1.rh=1",
        "auto_subscribe.topics.2.topic=u/%u",
    ]);
    let address = broker.address();
    let mut from = connect(address, &clean(Version::V5, "from"));
    let kept = Publish {
        retain: true,
        qos: 1,
        packet_id: Some(7),
        ..crate::peer::message("c/to", "kept")
    };
    from.send(&Packet::Publish(kept)).unwrap();
    assert!(matches!(
        from.expect(Duration::from_secs(20)),
        Ok(Packet::PubAck(_))
    ));
    for version in VERSIONS {
        let mut options = persistent(version, "to");
        options.connect.username = Some("ann".to_owned());
        let mut to = connect(address, &options);
        assert!(!to.connack.session_present);
        assert_eq!(texts(&collect(&mut to, 1)), ["kept"]);
        // What the client sends right behind CONNECT finds the subscriptions in force.
        to.publish("u/ann", 0, b"own").unwrap();
        assert_eq!(texts(&collect(&mut to, 1)), ["own"]);
        vanish(to);
        from.publish("c/to", 1, b"while away").unwrap();
        let mut to = connect(address, &options);
        assert!(to.connack.session_present || version == Version::V31);
        assert_eq!(texts(&collect(&mut to, 1)), ["while away"]);
        to.expect_nothing(SILENCE).unwrap();
        vanish(to);
        let last = connect(address, &clean(version, "to"));
        vanish(last);
    }
    broker.stop();
}

#[test]
fn a_mountpoint_parts_clients() {
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
    let mut all = subscriber(plain, Version::V5, "all", "#", 1);
    for version in VERSIONS {
        let mut options = clean(version, "dev");
        options.connect.will = Some(Will {
            topic: "will".to_owned(),
            payload: b"gone".to_vec(),
            ..Will::default()
        });
        let mut device = connect(mounted, &options);
        assert_eq!(device.subscribe("#", 1).unwrap(), 1);
        assert_eq!(device.subscribe("$share/g/s", 1).unwrap(), 1);
        device.publish("up", 0, b"1").unwrap();
        let own = collect(&mut device, 1);
        assert_eq!((&*own[0].topic, texts(&own)), ("up", vec!["1".to_owned()]));
        all.publish("at/dev/down", 0, b"2").unwrap();
        all.publish("down", 0, b"not for it").unwrap();
        all.publish("at/other/down", 0, b"not for it").unwrap();
        all.publish("at/dev/s", 0, b"3").unwrap();
        let got = collect(&mut device, 3);
        let mut topics: Vec<&str> = got.iter().map(|publish| &*publish.topic).collect();
        topics.sort_unstable();
        assert_eq!(topics, ["down", "s", "s"]);
        device.expect_nothing(SILENCE).unwrap();
        vanish(device);
        let got = collect(&mut all, 6);
        assert_eq!(got[0].topic, "at/dev/up");
        assert_eq!(got[5].topic, "at/dev/will");
    }
    let refused = Client::connect(mounted, &clean(Version::V5, "a/b"));
    assert!(refused.is_err(), "its id would leave its place");
    broker.stop();
}

#[test]
fn priorities_upgrades_and_loops() {
    let broker = start(&[
        "mqtt.mqueue_priorities=high=5",
        "mqtt.upgrade_qos=true",
        "mqtt.ignore_loop_deliver=true",
    ]);
    let address = broker.address();
    for version in VERSIONS {
        let mut sleeper = connect(address, &persistent(version, "sleeper"));
        assert_eq!(sleeper.subscribe("#", 1).unwrap(), 1);
        // Of its own it gets nothing, except in version 5, where it would have to say so.
        sleeper.publish("low", 0, b"own").unwrap();
        if version == Version::V5 {
            assert_eq!(texts(&collect(&mut sleeper, 1)), ["own"]);
        }
        sleeper.expect_nothing(SILENCE).unwrap();
        vanish(sleeper);
        let mut from = connect(address, &clean(version, "from"));
        for (topic, payload) in [("low", "1"), ("high", "2"), ("low", "3"), ("high", "4")] {
            from.publish(topic, 1, payload.as_bytes()).unwrap();
        }
        from.publish("low", 0, b"5").unwrap();
        ping(&mut from);
        let mut sleeper = connect(address, &persistent(version, "sleeper"));
        let got = collect(&mut sleeper, 5);
        assert_eq!(texts(&got), ["2", "4", "1", "3", "5"]);
        assert!(got.iter().all(|publish| publish.qos == 1));
        drop((sleeper, from));
        vanish(connect(address, &clean(version, "sleeper")));
    }
    broker.stop();
}

#[test]
fn what_is_not_acknowledged_comes_again_in_version_3() {
    let broker = start(&["mqtt.retry_interval=1s"]);
    let address = broker.address();
    let mut from = connect(address, &clean(Version::V5, "from"));
    for version in VERSIONS {
        let mut to = subscriber(address, version, "to", "t", 1);
        from.publish("t", 1, b"x").unwrap();
        let first = to.expect_publish().unwrap();
        assert!(!first.dup);
        if version == Version::V5 {
            to.expect_nothing(Duration::from_millis(2500)).unwrap();
            continue;
        }
        let again = to.expect_publish().unwrap();
        assert!(again.dup && again.packet_id == first.packet_id && again.payload == b"x");
        to.send(&crate::peer::answer(&again).unwrap()).unwrap();
        to.expect_nothing(Duration::from_millis(2500)).unwrap();
    }
    broker.stop();
}

fn asking(client_id: &str) -> Options {
    let mut options = clean(Version::V5, client_id);
    let asks = Property::RequestResponseInformation(1);
    options.connect.properties = Properties(vec![asks]);
    options
}

#[test]
fn response_information_for_who_asks() {
    let broker = start(&["mqtt.response_information=answers/"]);
    let told = |client: &Client| {
        client.connack.properties.find(|property| match property {
            Property::ResponseInformation(text) => Some(text.clone()),
            _ => None,
        })
    };
    let client = connect(broker.address(), &asking("a"));
    assert_eq!(told(&client).as_deref(), Some("answers/"));
    let client = connect(broker.address(), &clean(Version::V5, "b"));
    assert_eq!(told(&client), None);
    broker.stop();
}
