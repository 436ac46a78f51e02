//! Delayed messages, by bytes.

use super::support::{Broker, ack, publish, subscribe, v5, v311};
use crate::metrics::Counter;

#[test]
fn a_message_waits_whatever_becomes_of_its_publisher() {
    let mut broker = Broker::configured("");
    let from = broker.connect(&v5("from"));
    assert_eq!(
        broker.ask(from, &publish("$delayed/10/t", "x").qos(1, 1)),
        ["puback 1"]
    );
    assert_eq!(broker.count(Counter::MessagesDelayed), 1);
    broker.cut(from);
    broker.wait_ms(9_000);
    // Who is subscribed when it is due gets it.
    let to = broker.connect(&v5("to"));
    broker.ask(to, &subscribe(1, &[("t", 1), ("$delayed/#", 0)]));
    assert_eq!(broker.sent(to), [""; 0]);
    broker.wait_ms(1_100);
    assert_eq!(broker.sent(to), ["publish t=x q1 #1"]);
    broker.send(to, &ack(4, 1, 0));
    assert_eq!(broker.shard.census().queue_bytes, 0);
}

#[test]
fn messages_come_when_they_are_due_not_in_the_order_they_came() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 0)]));
    let moment = broker.now.unix_us / 1_000_000 + 20;
    for (delay, payload) in [
        ("30", "c"),
        ("10", "a"),
        (&*moment.to_string(), "b"),
        ("0", "now"),
    ] {
        broker.send(slot, &publish(&format!("$delayed/{delay}/t"), payload));
    }
    broker.wait_ms(200);
    assert_eq!(broker.payloads(slot), ["now"]);
    broker.wait_ms(31_000);
    assert_eq!(broker.payloads(slot), ["a", "b", "c"]);
}

#[test]
fn what_is_no_delay_is_acknowledged_and_dropped() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("#", 0), ("$delayed/#", 0)]));
    for (at, topic) in [
        "$delayed/x/t",
        "$delayed/5",
        "$delayed/5/",
        "$delayed/9999999999/t",
    ]
    .into_iter()
    .enumerate()
    {
        let id = u16::try_from(at).unwrap() + 1;
        let got = broker.ask(slot, &publish(topic, "x").qos(1, id));
        assert_eq!(got, [format!("puback {id} 0x10")], "{topic}");
    }
    broker.wait_ms(10_000);
    assert_eq!(broker.sent(slot), [""; 0]);
    assert_eq!(broker.count(Counter::MessagesDroppedDelayedInvalid), 4);
    assert_eq!(broker.count(Counter::MessagesDelayed), 0);
}

#[test]
fn no_more_wait_than_may() {
    let mut broker = Broker::configured("[delayed]\nmax_delayed_messages = 2\n");
    let slot = broker.connect(&v5("a"));
    let old = broker.connect(&v311("old", true));
    broker.ask(slot, &subscribe(1, &[("t", 0)]));
    for id in 1..=2 {
        broker.send(slot, &publish("$delayed/10/t", "x").qos(1, id));
    }
    broker.sent(slot);
    let full = publish("$delayed/10/t", "y");
    assert_eq!(broker.ask(slot, &full.qos(1, 3)), ["puback 3 0x97"]);
    assert_eq!(broker.ask(slot, &full.qos(2, 4)), ["pubrec 4 0x97"]);
    assert_eq!(broker.ask(old, &full.qos(1, 3)), ["puback 3"]);
    assert_eq!(broker.ask(old, &full.qos(2, 4)), ["pubrec 4"]);
    assert_eq!(broker.ask(old, &full.qos(2, 4).dup()), ["pubrec 4"]);
    assert_eq!(broker.count(Counter::MessagesDroppedDelayedFull), 4);
    broker.wait_ms(10_100);
    assert_eq!(broker.payloads(slot), ["x", "x"]);
    // The identifier that was refused is free; there is room again.
    assert_eq!(broker.ask(slot, &full.qos(2, 4)), ["pubrec 4"]);
}

#[test]
fn they_leave_memory_to_others() {
    let mut broker = Broker::ruled(|rules| {
        let config = crate::config::Config::from_text_for_tests("");
        rules.addons = std::sync::Arc::new(crate::shard::addons::AddonRules::new(&config));
        rules.queue_memory_bytes = 10_000;
    });
    let slot = broker.connect(&v5("a"));
    let payload = "x".repeat(1_000);
    let mut refused = 0;
    for id in 1..20 {
        let got = broker.ask(slot, &publish("$delayed/10/t", &payload).qos(1, id));
        refused += usize::from(got[0].ends_with("0x97"));
    }
    assert!((10..13).contains(&refused), "{refused}");
    assert_eq!(
        broker.count(Counter::MessagesDroppedDelayedMemory),
        refused as u64
    );
    broker.wait_ms(10_200);
    assert_eq!(broker.shard.census().queue_bytes, 0);
}

#[test]
fn expiry_counts_from_the_publish_and_retain_is_kept() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 0)]));
    broker.send(slot, &publish("$delayed/10/t", "dies").expires(5));
    broker.send(
        slot,
        &publish("$delayed/10/t", "lives").expires(15).retain(),
    );
    broker.wait_ms(10_100);
    assert_eq!(broker.sent(slot), ["publish t=lives 5s"]);
    assert_eq!(broker.count(Counter::MessagesDroppedDelayedExpired), 1);
    let got = broker.ask(slot, &subscribe(2, &[("t", 0)]));
    assert_eq!(got, ["suback 2 [0]", "publish t=lives retain 5s"]);
}

#[test]
fn a_retained_message_is_as_old_as_its_publishing() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &publish("$delayed/10/t", "later").retain());
    broker.wait_ms(5_000);
    broker.send(slot, &publish("t", "sooner").retain());
    broker.wait_ms(6_000);
    let got = broker.ask(slot, &subscribe(1, &[("t", 0)]));
    assert_eq!(got, ["suback 1 [0]", "publish t=later retain"]);
}

#[test]
fn topics_of_the_broker_and_a_broker_that_delays_nothing() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("$SYS/x", 0)]));
    broker.send(slot, &publish("$delayed/1/$SYS/x", "p"));
    broker.wait_ms(1_100);
    assert_eq!(broker.payloads(slot), ["p"]);
    let mut broker = Broker::configured("[delayed]\nenable = false\n");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("$delayed/#", 0)]));
    broker.send(slot, &publish("$delayed/1/t", "p"));
    assert_eq!(broker.sent(slot), ["publish $delayed/1/t=p"]);
}

#[test]
fn an_operator_sees_and_deletes_them() {
    let mut broker = Broker::configured("");
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("#", 0)]));
    for at in 1..=5 {
        let topic = format!("$delayed/1{at}/t/{at}");
        broker.send(slot, &publish(&topic, &at.to_string()));
    }
    let (first, next) = broker.shard.delayed_page(0, 3);
    let topics: Vec<&str> = first.iter().map(|info| info.topic.as_str()).collect();
    assert_eq!(topics, ["t/1", "t/2", "t/3"]);
    assert_eq!(first[0].client_id, "a");
    let wait_us = first[0].publish_us - broker.now.unix_us;
    assert!((10_900_000..=11_000_000).contains(&wait_us), "{wait_us}");
    let (second, end) = broker.shard.delayed_page(next.unwrap(), 3);
    assert_eq!((second.len(), end), (2, None));
    let whole = broker.shard.delayed_message(first[1].id).unwrap();
    assert_eq!(whole.payload.as_deref(), Some(&b"2"[..]));
    assert!(broker.shard.delete_delayed(first[1].id));
    assert!(!broker.shard.delete_delayed(first[1].id));
    assert!(broker.shard.delete_delayed(second[0].id));
    broker.wait_ms(16_000);
    assert_eq!(broker.payloads(slot), ["1", "3", "5"]);
    assert_eq!(broker.shard.census().queue_bytes, 0);
}

#[test]
fn they_wait_for_room_towards_other_cores() {
    let mut broker = Broker::with(2, {
        let mut rules = super::support::rules();
        let config = crate::config::Config::from_text_for_tests("");
        rules.addons = std::sync::Arc::new(crate::shard::addons::AddonRules::new(&config));
        rules
    });
    broker.subscribe_elsewhere(crate::base::ids::CoreId(1), "t");
    let slot = broker.connect(&v5("a"));
    let payload = "x".repeat(400);
    for _ in 0..5_000 {
        broker.send(slot, &publish("$delayed/5/t", &payload));
    }
    broker.lanes_full = true;
    broker.wait_ms(5_200);
    for _ in 0..200 {
        broker.turn();
    }
    let left = broker.shard.census().delayed;
    assert!(
        (1..4_500).contains(&left),
        "the outbox is full: {left} wait"
    );
    broker.lanes_full = false;
    broker.run();
    assert_eq!(broker.shard.census().delayed, 0);
}
