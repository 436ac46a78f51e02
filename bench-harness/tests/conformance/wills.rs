//! Wills (3.1.2.5).

use bench_harness::client::{Client, Options};
use bench_harness::codec::{Properties, Property, Publish, Version, Will};

use crate::peer::{SILENCE, clean, collect, connect, leave, persistent, subscriber, texts, vanish};
use crate::raw;
use crate::world::{BOTH, address, expect_cut, fresh, listener, publish, refused};

pub fn will(topic: &str, payload: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        ..Will::default()
    }
}

pub fn with_will(mut options: Options, will: Will) -> Options {
    options.connect.will = Some(will);
    options
}

/// Nothing but the mark comes.
fn nothing_before_mark(version: Version, heir: &mut Client, topic: &str) {
    publish(version, topic, 1, "mark");
    assert_eq!(texts(&collect(heir, 1)), ["mark"]);
    heir.expect_nothing(SILENCE).unwrap();
}

fn heir_of(version: Version, topic: &str) -> Client {
    subscriber(address(), version, &fresh("heir"), topic, 2)
}

#[test]
fn is_published_when_the_connection_is_lost() {
    for version in BOTH {
        for (cause, bytes) in [("vanished", None), ("broke a rule", Some([0xF7, 0x00]))] {
            let topic = fresh("lost");
            let mut heir = heir_of(version, &topic);
            let options = with_will(clean(version, &fresh("w")), will(&topic, cause));
            let mut client = connect(address(), &options);
            if let Some(bytes) = bytes {
                client.send_raw(&bytes).unwrap();
                expect_cut(version, &mut client, &[0x81]);
            }
            vanish(client);
            assert_eq!(texts(&collect(&mut heir, 1)), [cause]);
        }
    }
}

#[test]
fn is_published_when_its_connection_is_taken_over() {
    for version in BOTH {
        let (id, topic) = (fresh("taken"), fresh("taken"));
        let mut heir = heir_of(version, &topic);
        let options = with_will(clean(version, &id), will(&topic, "old"));
        let mut old = connect(address(), &options);
        let new = connect(address(), &clean(version, &id));
        expect_cut(version, &mut old, &[0x8E]);
        assert_eq!(texts(&collect(&mut heir, 1)), ["old"]);
        leave(new);
        heir.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn has_its_own_qos() {
    for version in BOTH {
        for qos in 0..=2 {
            let topic = fresh("qos");
            let mut heir = heir_of(version, &topic);
            let will = Will {
                qos,
                ..will(&topic, "x")
            };
            vanish(connect(
                address(),
                &with_will(clean(version, &fresh("w")), will),
            ));
            assert_eq!(collect(&mut heir, 1)[0].qos, qos);
        }
    }
}

#[test]
fn is_not_retained_unless_it_says_so() {
    for version in BOTH {
        let topic = fresh("plain");
        let mut heir = heir_of(version, &topic);
        let options = with_will(clean(version, &fresh("w")), will(&topic, "x"));
        vanish(connect(address(), &options));
        assert!(!collect(&mut heir, 1)[0].retain);
        heir_of(version, &topic).expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn is_retained_if_it_says_so() {
    for version in BOTH {
        let topic = fresh("retained");
        let mut heir = heir_of(version, &topic);
        let will = Will {
            retain: true,
            qos: 1,
            ..will(&topic, "x")
        };
        vanish(connect(
            address(),
            &with_will(clean(version, &fresh("w")), will),
        ));
        assert!(!collect(&mut heir, 1)[0].retain);
        let got = collect(&mut heir_of(version, &topic), 1);
        assert_eq!((got[0].retain, texts(&got)), (true, vec!["x".to_owned()]));
    }
}

#[test]
fn without_the_flag_nothing_is_published() {
    for version in BOTH {
        let (id, topic) = (fresh("none"), fresh("none"));
        let mut heir = heir_of(version, &topic);
        // An earlier connection's will is not used for a later one.
        leave(connect(
            address(),
            &with_will(persistent(version, &id), will(&topic, "old")),
        ));
        vanish(connect(address(), &persistent(version, &id)));
        nothing_before_mark(version, &mut heir, &topic);
    }
}

#[test]
fn is_published_once() {
    for version in BOTH {
        let (id, topic) = (fresh("once"), fresh("once"));
        let mut heir = heir_of(version, &topic);
        let options = with_will(persistent(version, &id), will(&topic, "x"));
        vanish(connect(address(), &options));
        assert_eq!(texts(&collect(&mut heir, 1)), ["x"]);
        vanish(connect(address(), &persistent(version, &id)));
        nothing_before_mark(version, &mut heir, &topic);
    }
}

#[test]
fn of_a_refused_connect_is_not_published() {
    for version in BOTH {
        let topic = fresh("refused");
        let mut heir = heir_of(version, &topic);
        let connect = raw::Connect::new(version, &fresh("w"));
        refused(version, &connect.with_will(0x01, topic.as_bytes(), b"x"));
        nothing_before_mark(version, &mut heir, &topic);
    }
}

#[test]
fn its_topic_is_a_topic_name() {
    for version in BOTH {
        for topic in [&b"a/+"[..], b"#", b"", b"\xFF", b"a\0"] {
            let connect = raw::Connect::new(version, &fresh("w"));
            let ack = refused(version, &connect.with_will(0, topic, b"x"));
            if version == Version::V5 {
                let code = ack.unwrap().code;
                assert!([0x81, 0x82, 0x90].contains(&code), "{code:#x}");
            }
        }
    }
}

#[test]
fn keeps_its_properties_and_their_order() {
    let topic = fresh("properties");
    let mut heir = listener(Version::V5, &topic, 1);
    let pair = |n: &str, v: &str| Property::UserProperty(n.to_owned(), v.to_owned());
    let kept = vec![
        Property::PayloadFormatIndicator(1),
        Property::ContentType("text".to_owned()),
        Property::ResponseTopic("answer".to_owned()),
        Property::CorrelationData(vec![0, 1, 2]),
        pair("z", "1"),
        pair("a", "2"),
        pair("z", "1"),
    ];
    let will = Will {
        properties: Properties(kept.clone()),
        ..will(&topic, "x")
    };
    vanish(connect(
        address(),
        &with_will(clean(Version::V5, &fresh("w")), will),
    ));
    let got: Publish = heir.expect_publish().unwrap();
    let users = |properties: &[Property]| -> Vec<Property> {
        let is_user = |p: &&Property| matches!(p, Property::UserProperty(..));
        properties.iter().filter(is_user).cloned().collect()
    };
    assert_eq!(users(&got.properties.0), users(&kept));
    for property in &kept {
        assert!(got.properties.0.contains(property), "{property:?}");
    }
    assert_eq!(got.properties.0.len(), kept.len());
}

#[test]
fn its_expiry_begins_when_it_is_published() {
    let topic = fresh("expiry");
    let mut heir = listener(Version::V5, &topic, 1);
    let will = Will {
        properties: Properties(vec![Property::MessageExpiryInterval(100)]),
        ..will(&topic, "x")
    };
    let client = connect(address(), &with_will(clean(Version::V5, &fresh("w")), will));
    heir.expect_nothing(std::time::Duration::from_secs(3))
        .unwrap();
    vanish(client);
    let got = heir.expect_publish().unwrap();
    let [Property::MessageExpiryInterval(left)] = got.properties.0[..] else {
        panic!("{got:?}");
    };
    // Three seconds have gone since CONNECT, hardly one since it was published.
    assert!((98..=100).contains(&left), "{left}");
}
