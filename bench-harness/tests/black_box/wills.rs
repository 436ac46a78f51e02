//! Last wills.

use std::time::Duration;

use bench_harness::client::Options;
use bench_harness::codec::{Disconnect, Packet, Properties, Property, Version, Will};

use crate::broker::Broker;
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, clean, collect, connect, leave, persistent, subscriber, texts,
    vanish,
};

fn with_will(mut options: Options, payload: &str) -> Options {
    options.connect.will = Some(Will {
        qos: 1,
        topic: "wills/x".to_owned(),
        payload: payload.as_bytes().to_vec(),
        ..Will::default()
    });
    options
}

#[test]
fn are_published_when_a_client_vanishes_and_not_when_it_leaves() {
    for cores in [1, 2, 8] {
        let broker = Broker::start(cores);
        let mut heir = subscriber(broker.address(), Version::V5, "heir", "wills/#", 2);
        for version in VERSIONS {
            leave(connect(
                broker.address(),
                &with_will(clean(version, "polite"), "left"),
            ));
            vanish(connect(
                broker.address(),
                &with_will(clean(version, "rude"), "vanished"),
            ));
            let got = collect(&mut heir, 1);
            assert_eq!((texts(&got), got[0].qos), (vec!["vanished".to_owned()], 1));
            let options = with_will(clean(version, "broken"), "broke the rules");
            let mut broken = connect(broker.address(), &options);
            broken.send_raw(&[0xF7, 0x00]).unwrap();
            assert_eq!(texts(&collect(&mut heir, 1)), ["broke the rules"]);
        }
        heir.expect_nothing(SILENCE).unwrap();
        broker.stop();
    }
}

#[test]
fn are_published_after_a_keep_alive_timeout() {
    let broker = Broker::start(2);
    let mut heir = subscriber(broker.address(), Version::V311, "heir", "wills/x", 0);
    let mut options = with_will(clean(Version::V311, "silent"), "silent");
    options.connect.keep_alive_s = 1;
    let silent = connect(broker.address(), &options);
    assert_eq!(texts(&collect(&mut heir, 1)), ["silent"]);
    drop(silent);
    broker.stop();
}

#[test]
fn may_be_retained() {
    let broker = Broker::start(2);
    let mut heir = subscriber(broker.address(), Version::V311, "heir", "wills/x", 0);
    let mut options = with_will(clean(Version::V311, "rude"), "kept");
    options.connect.will.as_mut().unwrap().retain = true;
    vanish(connect(broker.address(), &options));
    assert!(!collect(&mut heir, 1)[0].retain);
    let mut late = subscriber(broker.address(), Version::V311, "late", "wills/x", 0);
    let got = collect(&mut late, 1);
    assert_eq!(
        (texts(&got), got[0].retain),
        (vec!["kept".to_owned()], true)
    );
    broker.stop();
}

#[test]
fn may_be_asked_for_and_delayed_in_version_5() {
    let broker = Broker::start(2);
    let mut heir = subscriber(broker.address(), Version::V5, "heir", "wills/x", 1);
    let options = with_will(clean(Version::V5, "asking"), "asked for");
    let mut asking = connect(broker.address(), &options);
    let with_will_message = Disconnect {
        code: 0x04,
        ..Disconnect::default()
    };
    asking.send(&Packet::Disconnect(with_will_message)).unwrap();
    asking.expect_closed(PATIENCE).unwrap();
    assert_eq!(texts(&collect(&mut heir, 1)), ["asked for"]);

    let mut options = with_will(persistent(Version::V5, "delayed"), "delayed");
    let delay = Properties(vec![Property::WillDelayInterval(2)]);
    options.connect.will.as_mut().unwrap().properties = delay;
    vanish(connect(broker.address(), &options));
    heir.expect_nothing(Duration::from_millis(500)).unwrap();
    // Coming back in time cancels it; leaving again starts anew.
    let back = connect(broker.address(), &options);
    assert!(back.connack.session_present);
    heir.expect_nothing(Duration::from_millis(2500)).unwrap();
    vanish(back);
    assert_eq!(texts(&collect(&mut heir, 1)), ["delayed"]);
    broker.stop();
}
