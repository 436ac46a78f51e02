//! What many clients, or greedy ones, cannot take from the others: entry, memory, time.

use super::support::{Broker, Client, ack, publish, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::version::Version;

/// What a client is refused with when it comes home.
fn refused_at_home(broker: &mut Broker, client: &Client<'_>) -> Option<u8> {
    let handover = broker.handshake(&client.bytes()).expect("it may enter");
    broker.shard.arrive(handover);
    broker.run();
    broker.refused.pop().map(|connack| connack[3])
}

/// A broker whose memory for messages is used up by what waits for clients that are away, each for its
/// own messages.
fn full(clients: usize) -> Broker {
    let mut broker = Broker::ruled(|rules| {
        rules.queue_memory_bytes = 20_000;
        rules.max_inflight = 1000;
    });
    for number in 0..clients {
        let id = format!("away{number}");
        let filter = format!("t/{number}");
        let slot = broker.connect(&v5(&id).keeps(100));
        broker.ask(slot, &subscribe(1, &[(&filter, 1)]));
        broker.cut(slot);
    }
    let from = broker.connect(&v5("from"));
    let payload = "x".repeat(500);
    for number in 0..200 {
        let topic = format!("t/{}", number % clients);
        broker.send(from, &publish(&topic, &payload).qos(1, 1));
        if broker.shard.clients.budget.is_full() {
            return broker;
        }
    }
    panic!("memory is never used up");
}

#[test]
fn who_is_new_is_let_in_when_memory_is_used_up() {
    let mut broker = full(1);
    assert_eq!(refused_at_home(&mut broker, &v5("new")), None);
    let slot = broker.connect(&v5("another"));
    assert_eq!(
        broker.ask(slot, &subscribe(1, &[("u", 0)])),
        ["suback 1 [0]"]
    );
    assert_eq!(broker.ask(slot, &publish("u", "hi")), ["publish u=hi"]);
    let before = broker.count(Counter::DeliveryDroppedMemory);
    assert_eq!(refused_at_home(&mut broker, &v5("w").wills("w", 0)), None);
    assert!(broker.count(Counter::DeliveryDroppedMemory) > before);
}

#[test]
fn room_for_a_will_is_found_in_queues_that_nobody_looks_at() {
    let mut broker = full(40);
    broker.shard.clients.longest_queue = (u32::MAX, 0);
    for number in 0..60 {
        let id = format!("w{number}");
        let client = v5(&id).wills("w", 0);
        assert_eq!(refused_at_home(&mut broker, &client), None, "{number}");
    }
    assert!(broker.count(Counter::DeliveryDroppedMemory) > 0);
}

#[test]
fn a_will_for_which_there_is_no_room_keeps_its_client_out() {
    let mut broker = Broker::ruled(|rules| rules.queue_memory_bytes = 20_000);
    let from = broker.connect(&v5("from"));
    let payload = "x".repeat(500);
    // One message is in flight to each, and nothing of it is acknowledged: it cannot be had back.
    for number in 0..60 {
        let (id, filter) = (format!("deaf{number}"), format!("t/{number}"));
        let slot = broker.connect(&v5(&id));
        broker.ask(slot, &subscribe(1, &[(&filter, 1)]));
        broker.send(from, &publish(&filter, &payload).qos(1, 1));
        assert_eq!(broker.payloads(slot).len(), 1, "{number}");
    }
    assert!(broker.shard.clients.budget.is_full());
    let code = refused_at_home(&mut broker, &v5("w").wills("w", 0));
    assert_eq!(code, Some(0x97));
    assert_eq!(broker.count(Counter::SessionRefusedMemory), 1);
    assert_eq!(refused_at_home(&mut broker, &v5("new")), None);
}

#[test]
fn sessions_are_as_many_as_allowed() {
    let mut broker = Broker::ruled(|rules| rules.max_sessions = 2);
    let slot = broker.connect(&v5("a").keeps(100));
    broker.cut(slot);
    broker.connect(&v5("b"));
    assert_eq!(refused_at_home(&mut broker, &v5("c")), Some(0x97));
    assert_eq!(refused_at_home(&mut broker, &v311("c", true)), Some(3));
    assert_eq!(broker.count(Counter::SessionRefusedFull), 2);
    // Who has a session comes back to it, also to end it.
    assert_eq!(refused_at_home(&mut broker, &v5("a").keeps(100)), None);
    let slot = broker.connect(&v5("a"));
    broker.cut(slot);
    assert_eq!(refused_at_home(&mut broker, &v5("c")), None);
}

#[test]
fn no_session_outlives_its_client_for_longer_than_allowed() {
    let mut broker = Broker::ruled(|rules| rules.max_session_expiry_s = 50);
    let left = |broker: &Broker, id: &str| {
        let registry = &broker.shard.clients.registry;
        registry.at(registry.find(id).unwrap()).unwrap().expiry_s
    };
    let slot = broker.enter(&v5("a").keeps(u32::MAX), &[]);
    // Session Expiry Interval, four bytes.
    assert!(
        broker
            .raw(slot)
            .windows(5)
            .any(|bytes| bytes == [0x11, 0, 0, 0, 50])
    );
    assert_eq!(left(&broker, "a"), 50);
    // DISCONNECT asks for more.
    let disconnect = [0xE0, 7, 0, 5, 0x11, 0, 0, 0xFF, 0xFF];
    broker.send(slot, &disconnect.to_vec());
    assert_eq!(left(&broker, "a"), 50);
    broker.connect(&v311("b", false));
    assert_eq!(left(&broker, "b"), 50);
    let slot = broker.enter(&v5("c").keeps(20), &[]);
    assert!(
        !broker
            .raw(slot)
            .windows(3)
            .any(|bytes| bytes == [0x11, 0, 0])
    );
    assert_eq!(left(&broker, "c"), 20);
    broker.wait_ms(60_000);
    assert!(broker.shard.clients.registry.find("a").is_none());
}

#[test]
fn retained_messages_have_their_own_memory() {
    let mut broker = Broker::ruled(|rules| {
        rules.retained_memory_bytes = 20_000;
        rules.queue_memory_bytes = 20_000;
    });
    let from = broker.connect(&v5("from"));
    let payload = "x".repeat(1000);
    for number in 0..100 {
        let topic = format!("t/{number}");
        broker.send(from, &publish(&topic, &payload).retain());
    }
    let stored = broker.count(Counter::MessagesRetained);
    assert!((10..20).contains(&stored), "{stored}");
    assert_eq!(broker.count(Counter::RetainedRefusedFull), 100 - stored);
    assert_eq!(broker.shard.clients.budget.used(), 0);
    assert_eq!(refused_at_home(&mut broker, &v5("w").wills("t", 0)), None);
    // Who clears a topic makes room for another.
    broker.send(from, &publish("t/0", "").retain());
    broker.send(from, &publish("t/new", &payload).retain());
    assert_eq!(broker.count(Counter::MessagesRetained), stored + 1);
}

#[test]
fn a_stopping_broker_takes_acknowledgements_and_nothing_else() {
    for version in [Version::V311, Version::V5] {
        let mut broker = Broker::ruled(|rules| rules.max_inflight = 1);
        let heir = Client {
            version,
            ..v5("heir")
        };
        let slot = broker.connect(&heir);
        broker.ask(slot, &subscribe(1, &[("w/#", 1)]));
        let from = broker.connect(&v5("from"));
        for number in 0..3 {
            broker.send(from, &publish("w/x", &number.to_string()).qos(1, 1));
        }
        assert_eq!(broker.payloads(slot), ["0"]);
        broker.shard.stop_accepting();
        broker.shard.stop_reading();
        broker.sent(from);
        assert!(
            broker
                .ask(from, &publish("w/x", "late").qos(1, 2))
                .is_empty()
        );
        // In pieces, and with what is not wanted in between.
        let puback = ack(4, 1, 0);
        broker.send(slot, &[&[0xC0, 0][..], &puback[..1]].concat());
        broker.send(slot, &puback[1..].to_vec());
        assert_eq!(broker.payloads(slot), ["1"]);
        broker.shard.farewell(false);
        broker.run();
        assert!(!broker.closed.contains(&slot), "one more waits for it");
        broker.send(slot, &ack(4, 2, 0));
        assert_eq!(broker.payloads(slot), ["2"]);
        while broker.shard.farewell(false) {
            broker.run();
        }
        assert!(broker.closed.contains(&slot));
    }
}

#[test]
fn who_never_acknowledges_is_told_good_bye_by_force() {
    let mut broker = Broker::ruled(|rules| rules.max_inflight = 1);
    let slot = broker.connect(&v5("heir"));
    broker.ask(slot, &subscribe(1, &[("t", 1)]));
    let from = broker.connect(&v5("from"));
    for number in 0..3 {
        broker.send(from, &publish("t", &number.to_string()).qos(1, 1));
    }
    broker.shard.stop_reading();
    broker.shard.farewell(false);
    broker.run();
    assert!(!broker.closed.contains(&slot));
    broker.shard.farewell(true);
    broker.run();
    assert!(broker.closed.contains(&slot));
}

#[test]
fn a_replay_waits_for_a_client_that_takes_nothing() {
    let mut broker = Broker::ruled(|rules| {
        rules.max_inflight = 1;
        rules.max_mqueue_len = 4;
    });
    let from = broker.connect(&v5("from"));
    for number in 0..50 {
        let topic = format!("t/{number}");
        broker.send(from, &publish(&topic, "x").qos(1, 1).retain());
    }
    // `send` turns until the core would sleep: that it returns is what is tested.
    let silent = broker.connect(&v5("silent"));
    broker.send(silent, &subscribe(1, &[("t/#", 1)]));
    assert!(broker.shard.may_sleep() && broker.shard.census().replays == 1);
    let mut got = broker.payloads(silent).len();
    for id in 1..=50 {
        broker.send(silent, &ack(4, id, 0));
        got += broker.payloads(silent).len();
    }
    assert_eq!((got, broker.shard.census().replays), (50, 0));
    let blocked = broker.connect(&v5("blocked"));
    broker.blocked.insert(blocked);
    broker.send(blocked, &subscribe(1, &[("t/#", 0)]));
    assert!(broker.shard.may_sleep());
    broker.unblock(blocked);
    assert_eq!(broker.payloads(blocked).len(), 50);
}
