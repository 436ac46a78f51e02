//! PUBLISH and its acknowledgements, in both directions.

use std::sync::Arc;

use super::support::{Broker, Bye, Client, ack, publish, rules, run_of, subscribe, v5, v311};
use crate::base::ids::CoreId;
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;
use crate::shard::cross::Parcel;

#[test]
fn each_quality_of_service_is_answered() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 0)]));
    // [MQTT-4.3.1-1, 4.3.2-4, 4.3.3-8]; 0x10: nobody has subscribed.
    assert_eq!(broker.ask(slot, &publish("t", "0")), ["publish t=0"]);
    let qos1 = publish("t", "1").qos(1, 5);
    assert_eq!(broker.ask(slot, &qos1), ["publish t=1", "puback 5"]);
    let qos2 = publish("t", "2").qos(2, 6);
    assert_eq!(broker.ask(slot, &qos2), ["publish t=2", "pubrec 6"]);
    assert_eq!(broker.ask(slot, &ack(6, 6, 0)), ["pubcomp 6"]);
    assert_eq!(
        broker.ask(slot, &publish("u", "").qos(1, 7)),
        ["puback 7 0x10"]
    );
    assert_eq!(
        broker.ask(slot, &publish("u", "").qos(2, 8)),
        ["pubrec 8 0x10"]
    );
    assert_eq!(broker.count(Counter::MessagesDroppedNoSubscribers), 2);
}

#[test]
fn qos_2_is_delivered_once_across_reconnects() {
    let mut broker = Broker::new();
    let listener = broker.connect(&v5("l"));
    broker.ask(listener, &subscribe(1, &[("t", 2)]));
    let slot = broker.connect(&v5("a").keeps(100));
    assert_eq!(broker.ask(slot, &publish("t", "x").qos(2, 9)), ["pubrec 9"]);
    broker.cut(slot);
    let slot = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(broker.sent(slot), ["connack present"]);
    // [MQTT-4.3.3-10]
    assert_eq!(
        broker.ask(slot, &publish("t", "x").qos(2, 9).dup()),
        ["pubrec 9"]
    );
    assert_eq!(broker.payloads(listener), ["x"]);
    assert_eq!(broker.count(Counter::PacketsPublishInuse), 1);
    assert_eq!(broker.ask(slot, &ack(6, 9, 0)), ["pubcomp 9"]);
    broker.send(slot, &publish("t", "y").qos(2, 9));
    assert_eq!(broker.payloads(listener), ["y"]);
}

#[test]
fn acknowledgements_of_what_is_unknown() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    // Kind, reason, answer.
    let cases: [(u8, u8, &[&str]); 6] = [
        (4, 0, &[]),
        (5, 0, &["pubrel 3 0x92"]),
        (5, 0x80, &[]),
        (6, 0, &["pubcomp 3 0x92"]),
        (7, 0, &[]),
        (4, 0x97, &[]),
    ];
    for (kind, reason, answer) in cases {
        assert_eq!(
            broker.ask(slot, &ack(kind, 3, reason)),
            answer,
            "{kind} {reason:x}"
        );
    }
    for (counter, times) in [
        (Counter::PacketsPubackMissed, 2),
        (Counter::PacketsPubrecMissed, 2),
        (Counter::PacketsPubrelMissed, 1),
        (Counter::PacketsPubcompMissed, 1),
    ] {
        assert_eq!(broker.count(counter), times, "{}", counter.name());
    }
}

#[test]
fn a_qos_2_delivery_step_by_step() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 2)]));
    assert_eq!(
        broker.ask(slot, &publish("t", "x").qos(2, 1)),
        ["publish t=x q2 #1", "pubrec 1"]
    );
    assert_eq!(broker.ask(slot, &ack(5, 1, 0)), ["pubrel 1"]);
    assert_eq!(broker.ask(slot, &ack(5, 1, 0)), ["pubrel 1"], "again");
    assert_eq!(broker.ask(slot, &ack(7, 1, 0)), Vec::<String>::new());
    assert_eq!(broker.count(Counter::MessagesAcked), 1);
    assert_eq!(broker.shard.clients.budget.used(), 0);
}

#[test]
fn a_pubrec_that_refuses_ends_the_delivery() {
    // [MQTT-4.3.3-4]
    let mut broker = Broker::new();
    let client = Client {
        receive_maximum: 1,
        ..v5("a")
    };
    let slot = broker.connect(&client);
    broker.ask(slot, &subscribe(1, &[("t", 2)]));
    broker.send(slot, &publish("t", "x").qos(2, 1));
    broker.send(slot, &publish("t", "y").qos(2, 2));
    broker.sent(slot);
    assert_eq!(broker.ask(slot, &ack(5, 1, 0x97)), ["publish t=y q2 #2"]);
}

#[test]
fn the_window_is_the_clients_receive_maximum() {
    // [MQTT-3.3.4-9]
    let mut broker = Broker::new();
    let slot = broker.connect(&Client {
        receive_maximum: 2,
        ..v5("a")
    });
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    for id in 1..=4 {
        broker.send(slot, &publish("t", &id.to_string()).qos(1, id));
    }
    assert_eq!(broker.payloads(slot), ["1", "2"]);
    broker.send(slot, &ack(4, 1, 0));
    assert_eq!(broker.sent(slot), ["publish t=3 q1 #3"]);
}

#[test]
fn a_smaller_window_holds_for_what_is_sent_again() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(100));
    broker.ask(slot, &subscribe(1, &[("t", 2)]));
    for id in 1..=4 {
        broker.send(
            slot,
            &publish("t", &id.to_string()).qos(1 + id as u8 % 2, id),
        );
    }
    broker.sent(slot);
    broker.send(slot, &ack(5, 1, 0));
    broker.cut(slot);
    let client = Client {
        receive_maximum: 1,
        ..v5("a").keeps(100)
    };
    let slot = broker.enter(&client, &[]);
    assert_eq!(broker.sent(slot), ["connack present", "pubrel 1"]);
    broker.send(slot, &publish("t", "5").qos(1, 5));
    assert_eq!(broker.sent(slot), ["puback 5"]);
    assert_eq!(broker.ask(slot, &ack(7, 1, 0)), ["publish t=2 q1 #2 dup"]);
    assert_eq!(broker.ask(slot, &ack(4, 2, 0)), ["publish t=3 q2 #3 dup"]);
    broker.send(slot, &ack(5, 3, 0));
    assert_eq!(broker.sent(slot), ["pubrel 3"]);
    assert_eq!(broker.ask(slot, &ack(7, 3, 0)), ["publish t=4 q1 #4 dup"]);
    assert_eq!(broker.ask(slot, &ack(4, 4, 0)), ["publish t=5 q1 #5"]);
}

#[test]
fn acknowledgements_wait_for_other_cores_in_order() {
    let mut broker = Broker::with(2, rules());
    broker.subscribe_elsewhere(CoreId(1), "far");
    let slot = broker.connect(&v5("a"));
    broker.lanes_full = true;
    broker.send(slot, &publish("far", "x").qos(1, 1));
    broker.send(slot, &publish("near", "x").qos(2, 2));
    assert_eq!(broker.sent(slot), Vec::<String>::new());
    broker.lanes_full = false;
    broker.run();
    assert_eq!(broker.sent(slot), ["puback 1", "pubrec 2 0x10"]);
    assert_eq!(broker.crossed.len(), 1);
}

#[test]
fn nothing_follows_a_disconnect() {
    // [MQTT-3.14.4-1]
    let mut broker = Broker::with(2, rules());
    broker.subscribe_elsewhere(CoreId(1), "far");
    let slot = broker.connect(&v5("a"));
    broker.lanes_full = true;
    broker.send(slot, &publish("far", "x").qos(1, 1));
    broker.send(slot, &v5("a").bytes());
    broker.lanes_full = false;
    broker.run();
    assert_eq!(broker.sent(slot), ["disconnect 0x82"]);
    broker.slot_closed(slot);
    let next = broker.enter(&v5("b"), &[]);
    assert_eq!(next, slot, "the slot is used again");
    assert_eq!(broker.sent(next), ["connack"]);
}

#[test]
fn what_the_broker_does_not_offer_ends_the_connection() {
    let deep = "a/".repeat(200);
    let cases = [
        ("QoS", publish("t", "").qos(2, 1), "disconnect 0x9B"),
        ("retain", publish("t", "").retain(), "disconnect 0x9A"),
        ("levels", publish(&deep, ""), "disconnect 0x90"),
        ("alias", publish("t", "").alias(9), "disconnect 0x94"),
        ("unknown alias", publish("", "").alias(8), "disconnect 0x82"),
    ];
    for (what, packet, answer) in cases {
        let mut broker = Broker::ruled(|rules| {
            rules.max_qos_allowed = 1;
            rules.retain_available = false;
            rules.max_topic_alias = 8;
        });
        let slot = broker.connect(&v5("a"));
        assert_eq!(broker.ask(slot, &packet), [answer], "{what}");
        assert_eq!(broker.closed, [slot]);
    }
}

#[test]
fn an_alias_stands_for_its_topic_on_its_connection_only() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(10));
    broker.ask(slot, &subscribe(1, &[("#", 0)]));
    broker.send(slot, &publish("t", "1").alias(1));
    broker.send(slot, &publish("", "2").alias(1));
    broker.send(slot, &publish("u", "3").alias(1));
    broker.send(slot, &publish("", "4").alias(1));
    assert_eq!(
        broker.sent(slot),
        ["publish t=1", "publish t=2", "publish u=3", "publish u=4"]
    );
    broker.cut(slot);
    let slot = broker.connect(&v5("a").keeps(10));
    assert_eq!(
        broker.ask(slot, &publish("", "5").alias(1)),
        ["disconnect 0x82"]
    );
}

#[test]
fn a_5_0_client_is_held_to_the_receive_maximum_it_was_told() {
    let mut broker = Broker::ruled(|rules| rules.max_awaiting_rel = 2);
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &publish("t", "").qos(2, 1));
    broker.send(slot, &publish("t", "").qos(2, 2));
    broker.sent(slot);
    // [MQTT-3.3.4-7]
    assert_eq!(
        broker.ask(slot, &publish("t", "").qos(2, 3)),
        ["disconnect 0x93"]
    );
    assert_eq!(broker.count(Counter::MessagesDroppedReceiveMaximum), 1);
    assert_eq!(broker.count(Counter::ShutdownReceiveMaximum), 1);

    let slot = broker.connect(&v311("b", true));
    for id in 1..=5 {
        broker.send(slot, &publish("t", "").qos(2, id));
    }
    assert_eq!(broker.sent(slot).len(), 5, "3.1.1 has no such rule");
}

#[test]
fn the_expiry_left_is_told_and_what_expired_is_not_sent() {
    // [MQTT-3.3.2-5, 3.3.2-6]
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(100));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    broker.cut(slot);
    let other = broker.connect(&v5("b"));
    broker.send(other, &publish("t", "long").qos(1, 1).expires(60));
    broker.send(other, &publish("t", "short").qos(1, 2).expires(20));
    broker.wait_ms(30_000);
    let slot = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(
        broker.sent(slot),
        ["connack present", "publish t=long q1 #1 30s"]
    );
    assert_eq!(broker.count(Counter::DeliveryDroppedExpired), 1);
}

#[test]
fn malformed_packets_end_the_connection() {
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("type 0", vec![0, 0], "disconnect 0x81"),
        ("QoS 3", vec![0x36, 5, 0, 1, b't', 0, 1], "disconnect 0x81"),
        (
            "id 0",
            vec![0x32, 6, 0, 1, b't', 0, 0, 0],
            "disconnect 0x82",
        ),
        ("wildcard", vec![0x30, 4, 0, 1, b'#', 0], "disconnect 0x90"),
        (
            "too long",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            "disconnect 0x95",
        ),
        ("only servers", vec![0xD0, 0], "disconnect 0x82"),
    ];
    for (what, bytes, answer) in cases {
        let mut broker = Broker::new();
        let slot = broker.connect(&v5("a"));
        assert_eq!(broker.ask(slot, &bytes), [answer], "{what}");
        assert_eq!(broker.closed, [slot], "{what}");
    }
}

#[test]
fn packets_may_come_in_pieces_of_any_size() {
    let packets = run_of(&[
        &subscribe(1, &[("t", 1)]),
        &publish("t", "one").qos(1, 1),
        &ack(4, 1, 0),
        &publish("t", "two"),
        &Bye(ReasonCode::Success, None),
    ]);
    for piece in [1, 2, 3, 7, packets.len()] {
        let mut broker = Broker::new();
        let slot = broker.connect(&v5("a"));
        for bytes in packets.chunks(piece) {
            broker.send(slot, &bytes.to_vec());
        }
        let expected = [
            "suback 1 [1]",
            "publish t=one q1 #1",
            "puback 1",
            "publish t=two",
        ];
        assert_eq!(broker.sent(slot), expected, "pieces of {piece}");
        assert_eq!(broker.closed, [slot]);
    }
}

#[test]
fn a_large_message_takes_one_count_a_core_and_none_a_subscriber() {
    let mut broker = Broker::with(3, rules());
    for n in 0..4 {
        let slot = broker.connect(&v5(&format!("s{n}")));
        broker.send(slot, &subscribe(1, &[("t", 0)]));
    }
    for core in [1, 2] {
        broker.subscribe_elsewhere(CoreId(core), "t");
    }
    let slot = broker.connect(&v5("p"));
    broker.receive(slot, &publish("t", &"x".repeat(8000)));
    let mut blocks = Vec::new();
    for core in [1, 2] {
        broker.shard.outboxes.flush(CoreId(core), |staged| {
            let batch = staged.batch(usize::MAX, usize::MAX);
            blocks.push(staged.take_parcel());
            staged.consume(batch.bytes);
            batch.records
        });
    }
    let [
        Some(Parcel::Publication(one)),
        Some(Parcel::Publication(other)),
    ] = &blocks[..]
    else {
        panic!("{blocks:?}");
    };
    assert!(Arc::ptr_eq(one, other), "the cores share one copy");
    // One for each of the two, and one for the four subscribers here.
    assert_eq!(Arc::strong_count(one), 3);
}
