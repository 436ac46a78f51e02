//! What happens at a limit: of a queue, an out-queue, the core's memory, an outbox.

use super::support::Packet;
use super::support::{Broker, Client, Unsub, ack, ping, publish, rules, run_of, subscribe, v5};
use crate::base::ids::CoreId;
use crate::metrics::Counter;
use crate::mqtt::version::Version;
use crate::shard::connection::Flags;

/// Numbers as payloads of so many bytes, so that they can be told apart.
fn padded(number: usize, bytes: usize) -> String {
    let digits = number.to_string();
    "0".repeat(bytes.saturating_sub(digits.len())) + &digits
}

#[test]
fn a_queue_that_does_not_fit_into_one_send_is_sent_to_its_end() {
    for qos in [0, 1] {
        let mut broker = Broker::ruled(|rules| {
            rules.max_out_queue_bytes = 4096;
            rules.max_inflight = 1000;
        });
        let slot = broker.connect(&v5("a").keeps(100));
        broker.ask(slot, &subscribe(1, &[("t", 1)]));
        broker.cut(slot);
        let other = broker.connect(&v5("b"));
        for number in 0..100 {
            broker.send(other, &publish("t", &padded(number, 500)).qos(qos, 1));
        }
        let slot = broker.enter(&v5("a").keeps(100), &[]);
        assert_eq!(broker.payloads(slot).len(), 100, "QoS {qos}");
    }
}

#[test]
fn a_client_that_does_not_read_loses_qos_0_and_gets_the_rest_later() {
    let mut broker = Broker::ruled(|rules| rules.max_out_queue_bytes = 4096);
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    let other = broker.connect(&v5("b"));
    broker.blocked.insert(slot);
    let mut sent = [0, 0];
    for number in 0..200_usize {
        let qos = number % 2;
        sent[qos] += 1;
        let payload = padded(number, 200);
        let packet = publish("t", &payload).qos(qos as u8, qos as u16);
        broker.send(other, &packet);
    }
    assert_eq!(broker.payloads(slot).len(), 0);
    broker.unblock(slot);
    let mut got = broker.payloads(slot);
    for id in 1..=100 {
        broker.send(slot, &ack(4, id, 0));
        got.extend(broker.payloads(slot));
    }
    let dropped = broker.count(Counter::DeliveryDroppedOutQueueFull);
    assert!(dropped > 0);
    assert_eq!(
        got.len() as u64 + dropped,
        200,
        "each is delivered or counted"
    );
    let odd = got.iter().filter(|p| p.parse::<usize>().unwrap() % 2 == 1);
    assert_eq!(odd.count(), sent[1], "QoS 1 is all there");
    assert_eq!(broker.shard.clients.budget.used(), 0);
}

#[test]
fn a_full_queue_drops_qos_0_first_then_the_oldest() {
    let mut broker = Broker::ruled(|rules| rules.max_mqueue_len = 3);
    let slot = broker.connect(&v5("a").keeps(100));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    broker.cut(slot);
    let other = broker.connect(&v5("b"));
    for (number, qos) in [(1, 1), (2, 0), (3, 1), (4, 1), (5, 0), (6, 1)] {
        broker.send(other, &publish("t", &number.to_string()).qos(qos, number));
    }
    assert_eq!(broker.count(Counter::DeliveryDroppedQos0Msg), 2);
    assert_eq!(broker.count(Counter::DeliveryDroppedQueueFull), 1);
    let slot = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(broker.payloads(slot), ["3", "4", "6"]);
}

#[test]
fn what_is_larger_than_the_client_takes_is_dropped_wherever_it_waits() {
    // [MQTT-3.1.2-25]
    let mut broker = Broker::new();
    let small = Client {
        max_packet_size: Some(50),
        ..v5("a").keeps(100)
    };
    let slot = broker.connect(&v5("a").keeps(100));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    let other = broker.connect(&v5("b"));
    broker.send(other, &publish("t", &padded(1, 100)).qos(1, 1));
    broker.cut(slot);
    broker.send(other, &publish("t", &padded(2, 100)).qos(1, 2));
    broker.send(other, &publish("t", "3").qos(1, 3));
    let slot = broker.enter(&small, &[]);
    assert_eq!(broker.payloads(slot), ["3"]);
    broker.send(other, &publish("t", &padded(4, 100)));
    broker.send(other, &publish("t", "5"));
    assert_eq!(broker.payloads(slot), ["5"]);
    assert_eq!(broker.count(Counter::DeliveryDroppedTooLarge), 3);
    broker.send(slot, &ack(4, 2, 0));
    assert_eq!(broker.shard.clients.budget.used(), 0);
}

#[test]
fn a_suback_that_the_client_does_not_take_ends_the_connection() {
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let small = Client {
        max_packet_size: Some(50),
        ..v5("a")
    };
    let mut broker = Broker::new();
    let slot = broker.connect(&small);
    assert_eq!(
        broker.ask(slot, &subscribe(1, &filters)),
        ["disconnect 0x95"]
    );
    let slot = broker.connect(&small);
    assert_eq!(broker.ask(slot, &Unsub(1, &names)), ["disconnect 0x95"]);
}

#[test]
fn memory_that_is_used_up_costs_the_longest_queue() {
    let mut broker = Broker::ruled(|rules| rules.queue_memory_bytes = 100_000);
    let slot = broker.connect(&v5("long").keeps(100));
    broker.ask(slot, &subscribe(1, &[("small", 1)]));
    broker.cut(slot);
    let slot = broker.connect(&v5("short").keeps(100));
    broker.ask(slot, &subscribe(1, &[("large", 1)]));
    broker.cut(slot);
    let other = broker.connect(&v5("b"));
    for number in 0..500 {
        broker.send(other, &publish("small", &padded(number, 100)).qos(1, 1));
    }
    for number in 0..20 {
        broker.send(other, &publish("large", &padded(number, 10_000)).qos(1, 1));
    }
    let used = broker.shard.clients.budget.used();
    assert!(used < 120_000, "{used}");
    let long = broker.enter(&v5("long").keeps(100), &[]);
    let short = broker.enter(&v5("short").keeps(100), &[]);
    let mut got = 0;
    for slot in [long, short] {
        let mut id = 0;
        loop {
            let payloads = broker.payloads(slot).len() as u16;
            if payloads == 0 {
                break;
            }
            got += u64::from(payloads);
            for _ in 0..payloads {
                id += 1;
                broker.send(slot, &ack(4, id, 0));
            }
        }
    }
    assert_eq!(got + broker.count(Counter::DeliveryDroppedMemory), 520);
    assert_eq!(broker.shard.clients.budget.used(), 0);
}

#[test]
fn memory_that_is_in_flight_cannot_be_had_back_so_windows_are_narrow_when_it_is_scarce() {
    let mut broker = Broker::ruled(|rules| rules.queue_memory_bytes = 100_000);
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    let other = broker.connect(&v5("b"));
    for number in 0..64 {
        broker.send(other, &publish("t", &padded(number, 3000)).qos(1, 1));
    }
    // Up to 80,000 bytes are in flight, up to 100,000 queued behind them.
    let in_flight = broker.payloads(slot).len();
    assert!((25..=27).contains(&in_flight), "{in_flight}");
    let used = broker.shard.clients.budget.used();
    assert!(used < 104_000, "{used}");
    assert!(broker.count(Counter::DeliveryDroppedMemory) >= 29);
}

#[test]
fn who_does_not_read_takes_no_more_than_the_memory_and_who_does_gets_all() {
    let mut broker = Broker::ruled(|rules| rules.queue_memory_bytes = 100_000);
    let stopped: Vec<String> = (0..20).map(|n| format!("stopped{n}")).collect();
    for name in &stopped {
        let slot = broker.connect(&v5(name));
        broker.ask(slot, &subscribe(1, &[(name, 1)]));
    }
    let reader = broker.connect(&v5("reader"));
    broker.ask(reader, &subscribe(1, &[("stream", 1)]));
    let other = broker.connect(&v5("publisher"));
    let mut got = 0;
    for round in 0..30 {
        for name in &stopped {
            broker.send(other, &publish(name, &padded(round, 1000)).qos(1, 1));
        }
        // Three at once, of which the second and third may have to wait for the first one's PUBACK.
        for _ in 0..3 {
            broker.send(other, &publish("stream", &padded(round, 1000)).qos(1, 1));
        }
        loop {
            let payloads = broker.payloads(reader).len();
            if payloads == 0 {
                break;
            }
            for _ in 0..payloads {
                got += 1;
                broker.send(reader, &ack(4, got, 0));
            }
        }
    }
    assert_eq!(got, 90, "the stream is whole");
    // One message a session goes beyond it at most.
    let used = broker.shard.clients.budget.used();
    assert!(used < 125_000, "{used}");
    assert!(broker.count(Counter::DeliveryDroppedMemory) > 400);
}

#[test]
fn a_publisher_waits_for_an_outbox_over_its_limit_and_nothing_else_does() {
    let mut broker = Broker::with(2, rules());
    broker.subscribe_elsewhere(CoreId(1), "far");
    let slot = broker.connect(&v5("a"));
    let other = broker.connect(&v5("b"));
    broker.lanes_full = true;
    let payload = padded(0, 400);
    let mut staged = 0;
    while broker.shard.outboxes.bytes() <= crate::base::limits::OUTBOX_BYTES_MAX {
        broker.send(slot, &publish("far", &payload));
        staged += 1;
    }
    let behind = run_of(&[&publish("far", "last").qos(1, 1), &ping()]);
    assert_eq!(broker.ask(slot, &behind), Vec::<String>::new());
    assert_eq!(broker.ask(other, &ping()), ["pingresp"]);
    // What it sends now is kept, and at last not received any more.
    for _ in 0..200 {
        broker.send(slot, &publish("far", &payload));
    }
    assert!(broker.paused.contains(&slot));
    assert_eq!(broker.count(Counter::ReadPausedOutbox), 1);
    broker.lanes_full = false;
    broker.run();
    assert_eq!(broker.sent(slot), ["pingresp", "puback 1"]);
    assert!(broker.paused.is_empty());
    assert_eq!(broker.count(Counter::PacketsPublishReceived), staged + 201);
}

#[test]
fn large_messages_to_other_cores_are_limited_by_their_number() {
    let mut broker = Broker::with(2, rules());
    broker.subscribe_elsewhere(CoreId(1), "far");
    let slot = broker.connect(&v5("a"));
    broker.lanes_full = true;
    let large = padded(0, 100_000);
    for _ in 0..1000 {
        broker.send(slot, &publish("far", &large));
    }
    let taken = broker.count(Counter::PacketsPublishReceived);
    assert!(taken < 100, "{taken}");
    broker.lanes_full = false;
    broker.run();
}

#[test]
fn packets_behind_a_subscribe_wait_for_the_index_however_often_they_alternate() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let run = run_of(&[
        &subscribe(1, &[("t/1", 0)]),
        &publish("t/1", "x"),
        &subscribe(2, &[("t/2", 0)]),
        &publish("t/2", "y"),
        &subscribe(3, &[("t/3", 0)]),
        &publish("t/3", "z"),
    ]);
    let got = broker.ask(slot, &run);
    let expected = [
        "suback 1 [0]",
        "publish t/1=x",
        "suback 2 [0]",
        "publish t/2=y",
        "suback 3 [0]",
        "publish t/3=z",
    ];
    assert_eq!(got, expected);
}

#[test]
fn subscribes_are_not_piled_up_while_the_index_is_busy() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.index_stands = true;
    for id in 1..=70_000_u32 {
        let id = (id % 60_000 + 1) as u16;
        broker.receive(slot, &subscribe(id, &[("t", 0)]));
        if id.is_multiple_of(1000) {
            broker.run();
        }
    }
    let connection = broker.shard.clients.connections.at(slot).unwrap();
    assert!(connection.awaits_index < 1000);
    assert!(connection.flags.has(Flags::RECEIVE_PAUSED));
    broker.index_stands = false;
    broker.run();
    assert_eq!(broker.sent(slot).len(), 70_000);
}

#[test]
fn incomplete_packets_have_a_share_of_the_memory() {
    let mut broker = Broker::ruled(|rules| rules.queue_memory_bytes = 6 << 20);
    let ids: Vec<String> = (0..3).map(|n| n.to_string()).collect();
    let slots: Vec<u32> = ids.iter().map(|id| broker.connect(&v5(id))).collect();
    let payload = padded(0, 600_000);
    let whole = publish("t", &payload).bytes(Version::V5);
    let (first, rest) = whole.split_at(450_000);
    for slot in &slots {
        broker.send(*slot, &first.to_vec());
    }
    assert_eq!(broker.sent(slots[2]), ["disconnect 0x97"]);
    // Room for the whole packet, since most of it has come.
    assert_eq!(broker.shard.clients.partial_bytes, 2 * whole.len());
    broker.send(slots[0], &rest.to_vec());
    assert_eq!(broker.shard.clients.partial_bytes, whole.len());
    broker.cut(slots[1]);
    assert_eq!(broker.shard.clients.partial_bytes, 0);
    assert_eq!(broker.count(Counter::PacketsPublishReceived), 1);
}

#[test]
fn who_declares_much_and_sends_little_takes_little() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let whole = publish("t", &padded(0, 600_000)).bytes(Version::V5);
    broker.send(slot, &whole[..1000].to_vec());
    assert_eq!(broker.shard.clients.partial_bytes, 2000);
    // Piece by piece, as a socket gives it, the box becomes no larger than the packet.
    for piece in whole[1000..whole.len() - 1].chunks(16_000) {
        broker.send(slot, &piece.to_vec());
    }
    assert_eq!(broker.shard.clients.partial_bytes, whole.len());
    broker.send(slot, &whole[whole.len() - 1..].to_vec());
    assert_eq!(broker.shard.clients.partial_bytes, 0);
}

#[test]
fn subscriptions_are_limited_but_may_be_changed_at_the_limit() {
    let mut broker = Broker::ruled(|rules| rules.max_subscriptions = 2);
    let slot = broker.connect(&v5("a"));
    let three = subscribe(1, &[("a", 0), ("b", 0), ("c", 0)]);
    assert_eq!(broker.ask(slot, &three), ["suback 1 [0, 0, 151]"]);
    assert_eq!(
        broker.ask(slot, &subscribe(2, &[("b", 2)])),
        ["suback 2 [2]"]
    );
    assert_eq!(broker.ask(slot, &Unsub(3, &["a"])), ["unsuback 3 [0]"]);
    assert_eq!(
        broker.ask(slot, &subscribe(4, &[("c", 1)])),
        ["suback 4 [1]"]
    );
}

#[test]
fn messages_of_a_session_that_ends_are_counted() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(10));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    broker.cut(slot);
    let other = broker.connect(&v5("b"));
    for id in 1..=5 {
        broker.send(other, &publish("t", "x").qos(1, id));
    }
    broker.wait_ms(12_000);
    assert_eq!(broker.count(Counter::DeliveryDroppedSessionEnded), 5);
    assert_eq!(broker.shard.clients.budget.used(), 0);
}

/// However large a packet says it is: what is kept of it grows with what has come.
#[test]
fn a_box_takes_at_most_twice_what_has_come() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("c"));
    let announced = vec![0x30, 0x80, 0x80, 0x3F];
    let mut came = announced.len();
    broker.receive(slot, &announced);
    for len in [1, 7, 100, 3_000, 1, 50_000, 1] {
        broker.receive(slot, &vec![0x41; len]);
        came += len;
        let connection = broker.shard.clients.connections.at(slot).unwrap();
        let held = connection.received.as_ref().unwrap();
        assert_eq!(held.len(), came);
        assert!(
            held.capacity() <= 2 * came.max(8),
            "{} of {came}",
            held.capacity()
        );
    }
}
