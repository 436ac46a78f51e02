//! What depends on settings: each test has a broker of its own.

use bench_harness::codec::{Packet, Property, SubscriptionOptions, Version, Will};

use crate::broker::Broker;
use crate::peer::{PATIENCE, SILENCE, clean, collect, connect, message, subscriber};
use crate::wills::{will, with_will};
use crate::world::{
    BOTH, expect_cut, fresh, puback, pubrec, release, send, subscribe_all, try_connect, with_qos,
};

const V5: Version = Version::V5;

fn broker(settings: &[&str]) -> Broker {
    let mut arguments = vec!["--cores", "1"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Broker::with(&arguments)
}

#[test]
fn a_lower_maximum_qos_is_announced_and_every_subscription_is_granted() {
    for maximum in [0, 1] {
        let broker = broker(&[&format!("mqtt.max_qos_allowed={maximum}")]);
        let mut client = connect(broker.address(), &clean(V5, "c"));
        let announced = client.connack.properties.find(|p| match p {
            Property::MaximumQos(qos) => Some(*qos),
            _ => None,
        });
        assert_eq!(announced, Some(maximum));
        let qos = SubscriptionOptions::qos;
        let filters = [("a", qos(0)), ("b", qos(1)), ("c", qos(2))];
        let granted = subscribe_all(&mut client, &filters);
        assert_eq!(granted, [0, maximum.min(1), maximum.min(2)]);
        send(&mut client, with_qos(message("a", "x"), maximum + 1, 1));
        expect_cut(V5, &mut client, &[0x9B]);
    }
}

#[test]
fn a_will_beyond_the_maximum_qos_is_refused() {
    let broker = broker(&["mqtt.max_qos_allowed=1"]);
    for version in BOTH {
        let will = Will {
            qos: 2,
            ..will("w", "x")
        };
        let options = with_will(clean(version, &fresh("c")), will);
        let ack = try_connect(broker.address(), &options).unwrap_err();
        if version == V5 {
            assert_eq!(ack.unwrap().code, 0x9B);
        }
    }
}

#[test]
fn a_retained_will_is_refused_where_nothing_is_retained() {
    let broker = broker(&["mqtt.retain_available=false"]);
    for version in BOTH {
        let will = Will {
            retain: true,
            ..will("w", "x")
        };
        let options = with_will(clean(version, &fresh("c")), will);
        let ack = try_connect(broker.address(), &options).unwrap_err();
        if version == V5 {
            assert_eq!(ack.unwrap().code, 0x9A);
        }
    }
    for version in BOTH {
        let mut client = connect(broker.address(), &clean(version, &fresh("c")));
        let publish = bench_harness::codec::Publish {
            retain: true,
            ..message("t", "x")
        };
        send(&mut client, publish);
        expect_cut(version, &mut client, &[0x9A]);
    }
}

#[test]
fn who_may_not_come_in_is_refused_and_nothing_of_it_is_processed() {
    let broker = broker(&["mqtt.allow_anonymous=false"]);
    for version in BOTH {
        let options = clean(version, &fresh("c"));
        let mut bytes = Packet::Connect(options.connect.clone()).to_bytes(version);
        bytes.extend([0xC0, 0x00]);
        let ack = crate::world::refused_at(broker.address(), version, &bytes).unwrap();
        let codes: &[u8] = if version == V5 {
            &[0x86, 0x87]
        } else {
            &[0x04, 0x05]
        };
        assert!(codes.contains(&ack.code), "{ack:?}");
    }
}

#[test]
fn a_client_identifier_that_is_too_long_is_refused() {
    let broker = broker(&["mqtt.max_clientid_len=23"]);
    for (version, code) in [(Version::V311, 0x02), (V5, 0x85)] {
        drop(connect(broker.address(), &clean(version, &"x".repeat(23))));
        let options = clean(version, &"x".repeat(24));
        let ack = try_connect(broker.address(), &options).unwrap_err();
        assert_eq!(ack.unwrap().code, code);
    }
}

#[test]
fn a_server_keep_alive_is_announced_and_in_force() {
    let broker = broker(&["mqtt.server_keepalive=1s"]);
    let mut options = clean(V5, "c");
    options.connect.keep_alive_s = 600;
    let mut client = connect(broker.address(), &options);
    let announced = client.connack.properties.find(|p| match p {
        Property::ServerKeepAlive(seconds) => Some(*seconds),
        _ => None,
    });
    assert_eq!(announced, Some(1));
    expect_cut(V5, &mut client, &[0x8D]);
}

#[test]
fn wildcards_that_are_not_offered_are_refused() {
    let broker = broker(&["mqtt.wildcard_subscription=false"]);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    let offered = client.connack.properties.find(|p| match p {
        Property::WildcardSubscriptionAvailable(yes) => Some(*yes),
        _ => None,
    });
    assert_eq!(offered, Some(0));
    assert_eq!(client.subscribe("a/+", 0).unwrap(), 0xA2);
    let mut client = connect(broker.address(), &clean(Version::V311, "d"));
    assert_eq!(client.subscribe("a/#", 0).unwrap(), 0x80);
}

#[test]
fn the_receive_maximum_is_announced_and_3_1_1_knows_none() {
    let broker = broker(&["mqtt.max_awaiting_rel=2"]);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    let announced = client.connack.properties.find(|p| match p {
        Property::ReceiveMaximum(maximum) => Some(*maximum),
        _ => None,
    });
    assert_eq!(announced, Some(2));
    for id in 1..=2 {
        send(&mut client, with_qos(message("t", "x"), 2, id));
        assert_eq!(pubrec(&mut client).0, id);
    }
    // What is released makes room, what repeats needs none.
    assert_eq!(release(&mut client, 1), 0);
    send(&mut client, with_qos(message("t", "x"), 1, 3));
    assert_eq!(puback(&mut client).0, 3);
    send(&mut client, with_qos(message("t", "x"), 2, 1));
    assert_eq!(pubrec(&mut client).0, 1);
    let again = bench_harness::codec::Publish {
        dup: true,
        ..with_qos(message("t", "x"), 2, 2)
    };
    send(&mut client, again);
    assert_eq!(pubrec(&mut client).0, 2);
    send(&mut client, with_qos(message("t", "x"), 1, 3));
    expect_cut(V5, &mut client, &[0x93]);

    // A client of 3.1.1 loses nothing.
    let mut heir = subscriber(broker.address(), V5, "heir", "t", 0);
    let mut client = connect(broker.address(), &clean(Version::V311, "d"));
    for id in 1..=5 {
        send(&mut client, with_qos(message("t", "x"), 2, id));
        assert_eq!(pubrec(&mut client).0, id);
    }
    send(&mut client, with_qos(message("t", "x"), 1, 9));
    assert_eq!(puback(&mut client).0, 9);
    assert_eq!(collect(&mut heir, 6).len(), 6);
}

#[test]
fn a_packet_beyond_the_announced_maximum_is_refused() {
    let broker = broker(&["mqtt.max_packet_size=256B"]);
    for version in BOTH {
        let mut client = connect(broker.address(), &clean(version, &fresh("c")));
        if version == V5 {
            let announced = client.connack.properties.find(|p| match p {
                Property::MaximumPacketSize(bytes) => Some(*bytes),
                _ => None,
            });
            assert_eq!(announced, Some(256));
        }
        client.publish("t", 0, &[0; 200]).unwrap();
        crate::world::assert_alive(&mut client);
        client.publish("t", 0, &[0; 300]).unwrap();
        expect_cut(version, &mut client, &[0x95]);
    }
}

#[test]
fn a_connection_without_connect_is_closed() {
    let broker = broker(&["mqtt.idle_timeout=1s"]);
    for version in BOTH {
        let mut client = bench_harness::client::Client::open(broker.address(), version).unwrap();
        assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
    }
}

#[test]
fn a_topic_alias_beyond_the_announced_maximum_is_refused() {
    for maximum in [0, 5] {
        let broker = broker(&[&format!("mqtt.max_topic_alias={maximum}")]);
        let mut client = connect(broker.address(), &clean(V5, "c"));
        let announced = client.connack.properties.find(|p| match p {
            Property::TopicAliasMaximum(maximum) => Some(*maximum),
            _ => None,
        });
        assert_eq!(announced.unwrap_or(0), maximum);
        for alias in [maximum, maximum + 1] {
            if alias > 0 {
                let mut publish = message("t", "x");
                publish.properties.0 = vec![Property::TopicAlias(alias)];
                send(&mut client, publish);
            }
        }
        expect_cut(V5, &mut client, &[0x94]);
    }
}

#[test]
fn the_receive_maximum_is_of_one_connection() {
    let broker = broker(&["mqtt.max_awaiting_rel=2"]);
    let options = crate::peer::persistent(V5, "c");
    let mut client = connect(broker.address(), &options);
    for id in 1..=2 {
        send(&mut client, with_qos(message("t", "x"), 2, id));
        assert_eq!(pubrec(&mut client).0, id);
    }
    drop(client);
    let mut client = connect(broker.address(), &options);
    assert!(client.connack.session_present);
    for id in 3..=4 {
        send(&mut client, with_qos(message("t", "x"), 2, id));
        assert_eq!(pubrec(&mut client), (id, 0x10));
    }
    for id in 1..=4 {
        assert_eq!(release(&mut client, id), 0, "{id} is known");
    }
}

#[test]
fn a_client_is_referred_to_another_server() {
    let reference = "mqtt.server_reference=other.example:1883";
    let broker = broker(&[reference]);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    let mut small = clean(V5, "small");
    small
        .connect
        .properties
        .0
        .push(Property::MaximumPacketSize(40));
    let mut small = connect(broker.address(), &small);
    let mut old = connect(broker.address(), &clean(Version::V311, "old"));
    broker.signal("TERM");
    let farewell = client.expect_closed(PATIENCE).unwrap().unwrap();
    assert_eq!(farewell.code, 0x9C);
    let is = |property: &Property| farewell.properties.0.contains(property);
    assert!(is(&Property::ServerReference(
        "other.example:1883".to_owned()
    )));
    assert!(
        farewell
            .properties
            .0
            .iter()
            .any(|p| matches!(p, Property::ReasonString(_)))
    );
    let farewell = small.expect_closed(PATIENCE).unwrap().unwrap();
    let len = Packet::Disconnect(farewell.clone()).to_bytes(V5).len();
    assert!(farewell.code == 0x9C && len <= 40, "{farewell:?}");
    assert_eq!(old.expect_closed(PATIENCE).unwrap(), None);
    let mut broker = broker;
    broker.expect_orderly_end();
}

#[test]
fn response_information_is_given_to_who_asks() {
    let broker = broker(&["mqtt.response_information=answers/to"]);
    let told = |asks: &[Property]| {
        let mut options = clean(V5, &fresh("c"));
        options.connect.properties.0.extend_from_slice(asks);
        let client = connect(broker.address(), &options);
        client.connack.properties.find(|p| match p {
            Property::ResponseInformation(text) => Some(text.clone()),
            _ => None,
        })
    };
    let asks = Property::RequestResponseInformation(1);
    assert_eq!(
        told(std::slice::from_ref(&asks)).as_deref(),
        Some("answers/to")
    );
    assert_eq!(told(&[]), None);
    assert_eq!(told(&[Property::RequestResponseInformation(0)]), None);
    assert_eq!(
        told(&[asks, Property::MaximumPacketSize(36)]),
        None,
        "it has no room"
    );
}

/// How often a message is looked for twice: one in forty came twice while only epochs told apart what is
/// stored and what comes live.
const ROUNDS: usize = 100;

#[test]
fn a_retained_message_published_behind_suback_comes_once() {
    let broker = Broker::start(8);
    let at = broker.address();
    let round = move |_| {
        let topic = fresh("race");
        let mut publisher = connect(at, &clean(V5, &fresh("p")));
        let mut client = connect(at, &clean(V5, &fresh("s")));
        client.subscribe(&topic, 2).unwrap();
        let publish = bench_harness::codec::Publish {
            retain: true,
            ..with_qos(message(&topic, "x"), 2, 1)
        };
        send(&mut publisher, publish);
        assert_eq!(pubrec(&mut publisher), (1, 0));
        assert!(!collect(&mut client, 1)[0].retain);
        client.expect_nothing(SILENCE).unwrap();
    };
    let work = move || (0..ROUNDS).for_each(round);
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A broker where nobody may publish to `secret` or subscribe to it, and the scratch of its rules.
fn with_rules() -> (Broker, crate::broker::Scratch) {
    let scratch = crate::broker::Scratch::new();
    let file = scratch.path("acl.conf");
    let rules = "{deny, all, all, [\"secret\"]}.\n{allow, all}.\n";
    std::fs::write(&file, rules).unwrap();
    let path = format!("authorization.sources.file.path={}", file.display());
    (broker(&[&path]), scratch)
}

#[test]
fn a_publish_that_is_not_authorized_is_acknowledged_and_delivered_to_nobody() {
    let (broker, _scratch) = with_rules();
    let mut heir = subscriber(broker.address(), V5, "heir", "+", 0);
    for version in BOTH {
        let mut client = connect(broker.address(), &clean(version, &fresh("c")));
        let code = if version == V5 { 0x87 } else { 0 };
        send(&mut client, message("secret", "x"));
        send(&mut client, with_qos(message("secret", "x"), 1, 1));
        assert_eq!(puback(&mut client), (1, code));
        send(&mut client, with_qos(message("secret", "x"), 2, 2));
        assert_eq!(pubrec(&mut client), (2, code));
        if version != V5 {
            assert_eq!(release(&mut client, 2), 0);
        }
        send(&mut client, with_qos(message("open", "y"), 1, 3));
        assert_eq!(puback(&mut client), (3, 0));
    }
    let got = collect(&mut heir, 2);
    assert!(got.iter().all(|p| p.topic == "open"), "{got:?}");
    heir.expect_nothing(SILENCE).unwrap();
}

#[test]
fn after_a_pubrec_that_refuses_the_identifier_is_a_new_publication() {
    let (broker, _scratch) = with_rules();
    let mut heir = subscriber(broker.address(), V5, "heir", "open", 2);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    send(&mut client, with_qos(message("secret", "x"), 2, 7));
    assert_eq!(pubrec(&mut client), (7, 0x87));
    send(&mut client, with_qos(message("open", "y"), 2, 7));
    assert_eq!(pubrec(&mut client), (7, 0));
    assert_eq!(release(&mut client, 7), 0);
    assert_eq!(crate::peer::texts(&collect(&mut heir, 1)), ["y"]);
}

#[test]
fn a_subscription_that_is_not_authorized_is_refused() {
    let (broker, _scratch) = with_rules();
    for (version, code) in [(Version::V311, 0x80), (V5, 0x87)] {
        let mut client = connect(broker.address(), &clean(version, &fresh("c")));
        let qos = SubscriptionOptions::qos;
        let filters = [("secret", qos(1)), ("open", qos(1))];
        assert_eq!(subscribe_all(&mut client, &filters), [code, 1]);
    }
}

#[test]
fn what_the_settings_exclude_has_its_own_code() {
    let broker = broker(&[
        "mqtt.max_topic_levels=3",
        "mqtt.shared_subscription=false",
        "mqtt.max_subscriptions=2",
    ]);
    let at = broker.address();
    let mut client = connect(at, &clean(V5, "c"));
    send(&mut client, message("1/2/3", "x"));
    crate::world::assert_alive(&mut client);
    let qos = SubscriptionOptions::qos;
    let filters = [
        ("1/2/3/#", qos(0)),
        ("$share/g/t", qos(0)),
        ("a", qos(0)),
        ("b", qos(0)),
        ("c", qos(0)),
    ];
    let granted = subscribe_all(&mut client, &filters);
    assert_eq!(granted, [0x8F, 0x9E, 0, 0, 0x97]);
    send(&mut client, message("1/2/3/4", "x"));
    expect_cut(V5, &mut client, &[0x90]);
    let will = will("1/2/3/4", "x");
    let ack = try_connect(at, &with_will(clean(V5, "d"), will)).unwrap_err();
    assert_eq!(ack.unwrap().code, 0x90);
}
