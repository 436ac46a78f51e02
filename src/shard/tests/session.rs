//! Sessions: resumed, taken over, discarded, ended.

use super::support::{Broker, Bye, Client, ack, publish, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;
use crate::shard::close::CloseReason;

#[test]
fn who_finds_a_session() {
    let v311_kept = v311("a", false);
    let v5_kept = v5("a").keeps(100);
    let v5_short = Client {
        clean: false,
        ..v5("a")
    };
    // First client, second client; CONNACK of the second after the first was cut.
    let cases = [
        (v5_kept, v5_kept, "connack present"),
        (v5_kept, v5_short, "connack present"),
        (v5_kept, v5("a"), "connack"),
        (v5("a"), v5_kept, "connack"),
        (v5_short, v5_kept, "connack"),
        (v311_kept, v311_kept, "connack present"),
        (v311_kept, v311("a", true), "connack"),
        (v311("a", true), v311_kept, "connack"),
        (v311_kept, v5_kept, "connack present"),
    ];
    for (number, (first, second, expected)) in cases.into_iter().enumerate() {
        let mut broker = Broker::new();
        let slot = broker.connect(&first);
        broker.cut(slot);
        let slot = broker.enter(&second, &[]);
        assert_eq!(broker.sent(slot), [expected], "case {number}");
        assert_eq!(broker.shard.clients.registry.len(), 1);
    }
}

#[test]
fn a_session_keeps_subscriptions_and_what_is_unacknowledged_in_order() {
    // [MQTT-4.4.0-1, 4.6.0-1]
    let client = v5("a").keeps(100);
    let mut broker = Broker::new();
    let slot = broker.connect(&client);
    broker.ask(slot, &subscribe(1, &[("t", 2)]));
    let other = broker.connect(&v5("b"));
    for (payload, qos) in [("1", 1), ("2", 2), ("3", 2)] {
        broker.send(other, &publish("t", payload).qos(qos, 1));
        broker.send(other, &ack(6, 1, 0));
    }
    broker.send(slot, &ack(5, 2, 0));
    broker.cut(slot);
    broker.send(other, &publish("t", "4").qos(1, 2));
    broker.send(other, &publish("t", "5"));
    let slot = broker.enter(&client, &[]);
    let expected = [
        "connack present",
        "publish t=1 q1 #1 dup",
        "pubrel 2",
        "publish t=3 q2 #3 dup",
        "publish t=4 q1 #4",
        "publish t=5",
    ];
    assert_eq!(broker.sent(slot), expected);
}

#[test]
fn a_second_connection_takes_the_session_over() {
    // [MQTT-3.1.4-3]
    let client = v5("a").keeps(100);
    let mut broker = Broker::new();
    let first = broker.connect(&client);
    broker.ask(first, &subscribe(1, &[("t", 1)]));
    let second = broker.enter(&client, &[]);
    assert_ne!(
        first, second,
        "the slot is not free before its socket is closed"
    );
    assert_eq!(broker.sent(first), ["disconnect 0x8E"]);
    assert_eq!(broker.sent(second), ["connack present"]);
    broker.send(first, &publish("t", "late"));
    broker.send(second, &publish("t", "x").qos(1, 1));
    assert_eq!(broker.sent(second), ["publish t=x q1 #1", "puback 1"]);
    assert_eq!(broker.sent(first), Vec::<String>::new());
    assert_eq!(broker.count(Counter::SessionTakenover), 1);
    assert_eq!(broker.count(Counter::ShutdownTakenover), 1);
    broker.slot_closed(first);
    assert_eq!(broker.ask(second, &publish("t", "y")), ["publish t=y"]);
}

#[test]
fn a_clean_start_discards() {
    let mut broker = Broker::new();
    let first = broker.connect(&v5("a").keeps(100));
    broker.ask(first, &subscribe(1, &[("t", 1)]));
    let second = broker.enter(&v5("a"), &[]);
    assert_eq!(broker.sent(second), ["connack"]);
    assert_eq!(broker.ask(second, &publish("t", "x")), Vec::<String>::new());
    assert_eq!(broker.count(Counter::SessionDiscarded), 1);
    assert_eq!(broker.count(Counter::ShutdownDiscarded), 1);
    assert!(broker.shard.crossing().idle);
}

#[test]
fn messages_to_a_closing_connection_wait_in_the_session() {
    let client = v5("a").keeps(100);
    let mut broker = Broker::new();
    let slot = broker.connect(&client);
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    let other = broker.connect(&v5("b"));
    broker.shard.peer_closed(slot, CloseReason::Closed);
    broker.send(other, &publish("t", "x").qos(1, 1));
    assert_eq!(broker.sent(slot), Vec::<String>::new());
    broker.slot_closed(slot);
    let slot = broker.enter(&client, &[]);
    assert_eq!(broker.sent(slot), ["connack present", "publish t=x q1 #1"]);
}

#[test]
fn disconnect_may_change_the_life_of_the_session() {
    // [MQTT-3.14.2-2]
    let bye = |expiry_s| Bye(ReasonCode::Success, Some(expiry_s));
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(100));
    broker.send(slot, &bye(0));
    assert!(broker.shard.clients.registry.is_empty());
    let slot = broker.connect(&v5("b").keeps(10));
    broker.send(slot, &bye(100));
    broker.wait_ms(50_000);
    assert_eq!(broker.shard.clients.registry.len(), 1);
    broker.wait_ms(60_000);
    assert!(broker.shard.clients.registry.is_empty());
    let slot = broker.connect(&v5("c"));
    assert_eq!(broker.ask(slot, &bye(100)), ["disconnect 0x82"]);
}

#[test]
fn qos_0_waits_for_who_is_away_only_if_so_configured() {
    for store in [true, false] {
        let mut broker = Broker::ruled(|rules| rules.mqueue_store_qos0 = store);
        let slot = broker.connect(&v5("a").keeps(100));
        broker.ask(slot, &subscribe(1, &[("t", 1)]));
        broker.cut(slot);
        let other = broker.connect(&v5("b"));
        broker.send(other, &publish("t", "x"));
        let slot = broker.enter(&v5("a").keeps(100), &[]);
        assert_eq!(broker.payloads(slot).len(), usize::from(store));
        assert_eq!(
            broker.count(Counter::DeliveryDroppedQos0Msg),
            u64::from(!store)
        );
    }
}

#[test]
fn a_session_that_ends_leaves_nothing() {
    let mut broker = Broker::new();
    let other = broker.connect(&v5("b"));
    for _ in 0..3 {
        let slot = broker.connect(&v5("a"));
        broker.ask(slot, &subscribe(1, &[("t", 2), ("t/#", 1), ("+", 0)]));
        for id in 1..=50 {
            broker.send(other, &publish("t", "x").qos(1, id));
        }
        broker.send(slot, &publish("t", "y").qos(2, 1));
        broker.cut(slot);
        broker.slot_closed(slot);
    }
    let census = broker.shard.census();
    assert_eq!((census.connections, census.sessions), (1, 1));
    assert_eq!((census.subscriptions, census.filters), (0, 0));
    assert_eq!((census.queue_bytes, census.out_queues), (0, 0));
}
