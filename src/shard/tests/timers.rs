//! Keep-alive, the end of sessions, QoS 2 identifiers that are never released.

use super::support::{Broker, Client, ping, publish, v5, v311};
use crate::metrics::Counter;

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_keep_alives() {
    // [MQTT-3.1.2-22]
    let mut broker = Broker::new();
    let slot = broker.connect(&Client {
        keep_alive_s: 10,
        ..v5("a")
    });
    for _ in 0..5 {
        broker.wait_ms(14_000);
        broker.send(slot, &ping());
    }
    assert_eq!(broker.sent(slot).len(), 5);
    broker.wait_ms(14_800);
    assert!(broker.closed.is_empty());
    broker.wait_ms(600);
    assert_eq!(broker.sent(slot), ["disconnect 0x8D"]);
    assert_eq!(broker.count(Counter::ShutdownKeepaliveTimeout), 1);
}

#[test]
fn keep_alives_that_are_long_none_or_the_brokers() {
    // The client's, the broker's; seconds until it is cut off, if ever.
    let cases = [
        (0, None, None),
        (1000, None, Some(1500)),
        (1000, Some(10), Some(15)),
        (0, Some(10), Some(15)),
    ];
    for (keep_alive_s, server, expected) in cases {
        let mut broker = Broker::ruled(|rules| rules.server_keepalive_s = server);
        broker.connect(&Client {
            keep_alive_s,
            ..v5("a")
        });
        let seconds = expected.unwrap_or(100_000);
        broker.wait_ms(seconds * 1000 - 500);
        assert!(broker.closed.is_empty(), "{keep_alive_s} {server:?}");
        broker.wait_ms(1000);
        let cut = !broker.closed.is_empty();
        assert_eq!(cut, expected.is_some(), "{keep_alive_s} {server:?}");
    }
}

#[test]
fn a_slot_used_again_has_its_own_keep_alive() {
    let mut broker = Broker::new();
    let slot = broker.connect(&Client {
        keep_alive_s: 10,
        ..v5("a")
    });
    broker.cut(slot);
    broker.slot_closed(slot);
    let next = broker.connect(&Client {
        keep_alive_s: 60,
        ..v5("b")
    });
    assert_eq!(next, slot);
    broker.closed.clear();
    broker.wait_ms(80_000);
    assert!(broker.closed.is_empty());
}

#[test]
fn sessions_end_in_their_time() {
    // Client; seconds that its session lives on.
    let cases = [
        (v5("a").keeps(100), Some(100)),
        (v311("a", false), Some(7200)),
        (v5("a").keeps(u32::MAX), None),
    ];
    for (client, expected) in cases {
        let mut broker = Broker::new();
        let slot = broker.connect(&client);
        broker.cut(slot);
        broker.wait_ms(expected.unwrap_or(100_000) * 1000 - 1000);
        assert_eq!(broker.shard.clients.registry.len(), 1);
        broker.wait_ms(3000);
        let left = u32::from(expected.is_none());
        assert_eq!(broker.shard.clients.registry.len(), left);
    }
}

#[test]
fn a_session_that_was_resumed_lives_from_its_last_connection_on() {
    let mut broker = Broker::new();
    for _ in 0..5 {
        let slot = broker.connect_again(&v5("a").keeps(100));
        broker.wait_ms(70_000);
        broker.cut(slot);
        broker.wait_ms(70_000);
        assert_eq!(broker.shard.clients.registry.len(), 1);
    }
    assert_eq!(broker.count(Counter::SessionCreated), 1);
    broker.wait_ms(40_000);
    assert!(broker.shard.clients.registry.is_empty());
}

#[test]
fn a_shorter_life_ends_sooner_than_the_timer_that_is_armed() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").keeps(50));
    broker.cut(slot);
    let slot = broker.connect_again(&v5("a").keeps(10));
    broker.cut(slot);
    broker.wait_ms(12_000);
    assert!(broker.shard.clients.registry.is_empty());
}

#[test]
fn qos_2_identifiers_that_are_not_released_are_forgotten() {
    let mut broker = Broker::ruled(|rules| rules.await_rel_timeout_s = 10);
    let slot = broker.connect(&v5("a"));
    broker.send(slot, &publish("t", "").qos(2, 1));
    broker.wait_ms(25_000);
    assert_eq!(broker.count(Counter::MessagesDroppedAwaitPubrelTimeout), 1);
    broker.send(slot, &publish("t", "").qos(2, 1));
    assert_eq!(broker.count(Counter::PacketsPublishInuse), 0);
}

#[test]
fn timers_of_what_has_gone_do_not_pile_up() {
    let mut broker = Broker::new();
    let far = u32::MAX - 1;
    for _ in 0..1000 {
        let client = Client {
            keep_alive_s: 65_535,
            clean: true,
            expiry_s: far,
            ..v5("a").wills("w", far)
        };
        let slot = broker.connect(&client);
        broker.cut(slot);
        broker.slot_closed(slot);
        let slot = broker.connect_again(&v5("a").wills("w", far).keeps(far));
        broker.cut(slot);
        broker.slot_closed(slot);
        broker.wait_ms(1000);
    }
    let timers = broker.shard.clients.wheel.len();
    assert!(timers < 500, "{timers}");
    assert_eq!(broker.shard.clients.registry.len(), 1);
}
