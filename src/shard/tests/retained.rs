//! Retained messages: stored, replayed, cleared, refused.

use super::support::{Broker, Client, Unsub, ack, publish, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::decode_subscribe::RetainHandling;

/// A broker that has stored messages on these topics, and a client.
fn broker_with(topics: &[&str]) -> (Broker, u32) {
    let mut broker = Broker::new();
    let publisher = broker.connect(&v5("publisher"));
    for topic in topics {
        broker.send(publisher, &publish(topic, topic).qos(1, 1).retain());
    }
    let slot = broker.connect(&v5("a"));
    (broker, slot)
}

#[test]
fn a_new_subscription_gets_what_is_stored_behind_its_suback() {
    // [MQTT-3.3.1-6, 3.3.1-8]
    let (mut broker, slot) = broker_with(&["a/1", "a/2", "b", "$SYS/x"]);
    let got = broker.ask(slot, &subscribe(1, &[("a/1", 1)]).identifier(5));
    assert_eq!(got, ["suback 1 [1]", "publish a/1=a/1 q1 #1 retain [5]"]);
    let mut got = broker.ask(slot, &subscribe(2, &[("#", 0)]));
    assert_eq!(got.remove(0), "suback 2 [0]");
    got.sort();
    assert_eq!(
        got,
        [
            "publish a/1=a/1 retain",
            "publish a/2=a/2 retain",
            "publish b=b retain"
        ]
    );
}

#[test]
fn retain_handling() {
    // Handling, whether the subscription exists; whether stored messages come [MQTT-3.3.1-9 to 11].
    let cases = [
        (RetainHandling::SendAlways, false, true),
        (RetainHandling::SendAlways, true, true),
        (RetainHandling::SendIfNew, false, true),
        (RetainHandling::SendIfNew, true, false),
        (RetainHandling::DoNotSend, false, false),
        (RetainHandling::DoNotSend, true, false),
    ];
    for (handling, exists, expected) in cases {
        let (mut broker, slot) = broker_with(&["t"]);
        if exists {
            let quiet = subscribe(1, &[("t", 0)]);
            broker.ask(
                slot,
                &quiet.options(|o| o.retain_handling = RetainHandling::DoNotSend),
            );
        }
        let packet = subscribe(2, &[("t", 0)]).options(|o| o.retain_handling = handling);
        let got = broker.ask(slot, &packet);
        assert_eq!(
            got.len(),
            1 + usize::from(expected),
            "{handling:?} {exists}"
        );
    }
}

#[test]
fn an_empty_payload_clears_even_in_the_same_turn() {
    let (mut broker, slot) = broker_with(&["t"]);
    broker.receive(slot, &publish("t", "new").retain());
    broker.receive(slot, &publish("t", "").retain());
    broker.run();
    assert_eq!(
        broker.ask(slot, &subscribe(1, &[("t", 0)])),
        ["suback 1 [0]"]
    );
    broker.receive(slot, &publish("t", "1").retain());
    broker.receive(slot, &publish("t", "2").retain());
    broker.run();
    broker.sent(slot);
    assert_eq!(broker.ask(slot, &Unsub(2, &["t"])), ["unsuback 2 [0]"]);
    let got = broker.ask(slot, &subscribe(3, &[("t", 0)]));
    assert_eq!(got, ["suback 3 [0]", "publish t=2 retain"]);
}

#[test]
fn more_than_the_windows_hold_come_as_the_client_takes_them() {
    let topics: Vec<String> = (0..500).map(|n| format!("t/{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let (mut broker, _) = broker_with(&topics);
    let slot = broker.connect(&Client {
        receive_maximum: 10,
        ..v5("b")
    });
    broker.send(slot, &subscribe(1, &[("t/#", 1)]));
    let mut got = broker.payloads(slot).len();
    for id in 1..=500 {
        broker.receive(slot, &ack(4, id, 0));
        for _ in 0..5 {
            broker.turn();
        }
        got += broker.payloads(slot).len();
    }
    broker.run();
    got += broker.payloads(slot).len();
    assert_eq!(got, 500);
    assert_eq!(broker.count(Counter::RetainedReplays), 1);
    assert!(broker.shard.may_sleep());
}

#[test]
fn large_stored_messages_of_qos_0_are_not_dropped_for_want_of_room() {
    let mut broker = Broker::ruled(|rules| rules.max_out_queue_bytes = 4096);
    let publisher = broker.connect(&v5("publisher"));
    let payload = "x".repeat(2000);
    for number in 0..20 {
        let topic = format!("t/{number}");
        broker.send(publisher, &publish(&topic, &payload).retain());
    }
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &subscribe(1, &[("t/#", 0)]));
    assert_eq!(broker.payloads(slot).len(), 20);
}

#[test]
fn a_client_that_goes_ends_its_replay() {
    let topics: Vec<String> = (0..300).map(|n| format!("t/{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let (mut broker, slot) = broker_with(&topics);
    broker.receive(slot, &subscribe(1, &[("t/#", 1)]));
    for _ in 0..3 {
        broker.turn();
    }
    broker.cut(slot);
    let census = broker.shard.census();
    assert_eq!((census.replays, census.cursors), (0, 0));
    assert!(broker.shard.may_sleep());
}

#[test]
fn subscribing_again_and_again_does_not_pile_up_replays() {
    let (mut broker, slot) = broker_with(&["t"]);
    let filters: Vec<String> = (0..100)
        .map(|n| format!("t{}", "/#".repeat(n % 2)))
        .collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 0)).collect();
    for id in 1..=100 {
        broker.receive(slot, &subscribe(id, &filters));
    }
    broker.turn();
    broker.turn();
    assert!(broker.shard.census().replays <= 32);
    broker.run();
    let got = broker.payloads(slot).len();
    assert!((2..=10_000).contains(&got), "{got}");
    assert!(broker.shard.may_sleep());
}

#[test]
fn stored_messages_expire_and_are_forgotten() {
    let mut broker = Broker::ruled(|rules| rules.retained_expiry_s = 100);
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &publish("own", "x").retain().expires(10));
    broker.send(slot, &publish("general", "x").retain());
    broker.wait_ms(50_000);
    let got = broker.ask(slot, &subscribe(1, &[("#", 0)]));
    assert_eq!(got, ["suback 1 [0]", "publish general=x retain 50s"]);
    broker.wait_ms(60_000);
    assert_eq!(broker.count(Counter::RetainedExpired), 2);
    assert_eq!(
        broker.ask(slot, &subscribe(2, &[("#", 0)])),
        ["suback 2 [0]"]
    );
}

#[test]
fn what_is_over_a_limit_is_delivered_but_not_stored() {
    let mut broker = Broker::ruled(|rules| {
        rules.max_retained_messages = 2;
        rules.max_retained_payload = 4;
    });
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("#", 0)]));
    for (topic, payload) in [
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("a", "4"),
        ("b", "large"),
    ] {
        broker.send(slot, &publish(topic, payload).retain());
    }
    assert_eq!(broker.payloads(slot), ["1", "2", "3", "4", "large"]);
    let other = broker.connect(&v5("b"));
    broker.send(other, &subscribe(1, &[("#", 0)]));
    let mut got = broker.payloads(other);
    got.sort();
    assert_eq!(got, ["2", "4"]);
    assert_eq!(broker.count(Counter::RetainedRefusedFull), 1);
    assert_eq!(broker.count(Counter::RetainedRefusedTooLarge), 1);
    assert_eq!(broker.count(Counter::MessagesRetained), 3);
}

#[test]
fn a_3_1_1_client_gets_stored_messages_whenever_it_subscribes() {
    let (mut broker, _) = broker_with(&["t"]);
    let slot = broker.connect(&v311("b", true));
    for id in 1..=2 {
        let got = broker.ask(slot, &subscribe(id, &[("t", 1)]));
        assert_eq!(got[1], format!("publish t=t q1 #{id} retain"));
    }
}
