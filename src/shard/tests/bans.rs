//! Who is not let in, who has to go, how much one may send.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::support::{Broker, publish, subscribe, v5, v311};
use crate::access::bans::{Ban, BanWho};
use crate::access::flapping::FlappingRules;
use crate::access::limiter::{ConnectionLimits, Excess, RateLimit};
use crate::access::overload::OverloadRules;
use crate::metrics::Counter;

fn ban(broker: &Broker, kind: &str, who: &str, seconds: Option<u64>) -> Arc<Ban> {
    let now = broker.now.unix_us / 1_000_000;
    Arc::new(Ban {
        who: BanWho::parse(kind, who).unwrap(),
        by: "test".into(),
        reason: "".into(),
        at_unix_s: now,
        until_unix_s: seconds.map(|seconds| now + seconds),
    })
}

/// CONNACK's code, or none if the client is let in.
fn refused(broker: &mut Broker, client: &super::support::Client<'_>) -> Option<u8> {
    let last = broker.handshake(&client.bytes()).err()?;
    last.get(3).copied()
}

#[test]
fn who_is_banned_is_not_let_in_until_the_ban_is_over() {
    for (kind, who) in [
        ("clientid", "bad"),
        ("username", "mallory"),
        ("peerhost", "127.0.0.1"),
        ("clientid_re", "^b.d$"),
        ("username_re", "^mal"),
        ("peerhost_net", "127.0.0.0/8"),
    ] {
        let mut broker = Broker::new();
        broker.shard.ban(ban(&broker, kind, who, Some(60)));
        let bad = v5("bad").named("mallory");
        assert_eq!(refused(&mut broker, &bad), Some(0x8A), "{kind}");
        let old = super::support::Client {
            version: crate::mqtt::version::Version::V311,
            ..bad
        };
        assert_eq!(refused(&mut broker, &old), Some(5), "{kind}");
        assert_eq!(broker.count(Counter::ClientBanned), 2);
        let good = v5("good").named("alice");
        let by_address = kind.starts_with("peer");
        assert_eq!(refused(&mut broker, &good).is_some(), by_address, "{kind}");
        broker.wait_ms(61_000);
        assert_eq!(refused(&mut broker, &bad), None, "{kind}");
        broker.shard.ban(ban(&broker, kind, who, None));
        assert!(refused(&mut broker, &bad).is_some());
        assert!(broker.shard.unban(&BanWho::parse(kind, who).unwrap()));
        assert_eq!(refused(&mut broker, &bad), None, "{kind}");
    }
}

#[test]
fn who_is_connected_has_to_go() {
    for (kind, who, gone) in [
        ("clientid", "a", vec!["a"]),
        ("username", "u", vec!["a", "b"]),
        ("clientid_re", "^[bc]$", vec!["b", "c"]),
        ("peerhost", "127.0.0.1", vec!["a", "b", "c"]),
        ("peerhost_net", "10.0.0.0/8", vec![]),
    ] {
        let mut broker = Broker::new();
        let clients = [v5("a").named("u"), v5("b").named("u"), v5("c")];
        let slots: Vec<u32> = clients
            .iter()
            .map(|client| broker.connect(client))
            .collect();
        broker.shard.ban(ban(&broker, kind, who, None));
        broker.run();
        for (client, slot) in clients.iter().zip(slots) {
            let said = broker.sent(slot);
            let kicked = said == ["disconnect 0x98"];
            assert_eq!(
                kicked,
                gone.contains(&client.id),
                "{kind} {}: {said:?}",
                client.id
            );
        }
        assert_eq!(broker.count(Counter::ShutdownKicked), gone.len() as u64);
    }
}

#[test]
fn who_is_banned_between_connect_and_home_does_not_arrive() {
    let mut broker = Broker::new();
    let handover = broker.handshake(&v5("bad").bytes()).unwrap();
    broker.shard.ban(ban(&broker, "clientid", "bad", None));
    broker.shard.arrive(handover);
    broker.run();
    assert_eq!(broker.refused[0][3], 0x8A);
    assert!(broker.shard.clients.connections.is_empty());
}

#[test]
fn who_comes_and_goes_too_often_is_banned() {
    let rules = FlappingRules {
        window_ms: 60_000,
        max_count: 3,
        ban_s: 300,
    };
    let mut broker = Broker::ruled(|own| own.flapping = Some(rules));
    for _ in 0..3 {
        let slot = broker.connect_again(&v5("wild"));
        broker.cut(slot);
        broker.slot_closed(slot);
        broker.closed.clear();
    }
    assert_eq!(broker.count(Counter::ClientFlapping), 1);
    assert_eq!(refused(&mut broker, &v5("wild")), Some(0x8A));
    assert_eq!(refused(&mut broker, &v5("calm")), None);
    broker.wait_ms(301_000);
    assert_eq!(refused(&mut broker, &v5("wild")), None);
}

fn limited(messages: Option<(u64, u64)>, bytes: Option<(u64, u64)>, excess: Excess) -> Broker {
    let rate = |(amount, burst)| RateLimit {
        amount: NonZeroU64::new(amount).unwrap(),
        per_ms: NonZeroU64::new(1000).unwrap(),
        burst,
    };
    let limits = ConnectionLimits {
        messages: messages.map(rate),
        bytes: bytes.map(rate),
        excess,
    };
    Broker::ruled(|rules| rules.limits = [limits].into())
}

#[test]
fn above_its_rate_nothing_is_read_from_a_connection() {
    let mut broker = limited(Some((2, 4)), None, Excess::Pause);
    let client = super::support::Client {
        keep_alive_s: 1,
        ..v5("fast")
    };
    let slot = broker.connect(&client);
    for n in 0..4 {
        broker.send(slot, &publish("x", "").qos(1, n + 1));
        assert!(!broker.paused.contains(&slot), "{n}");
    }
    broker.send(slot, &publish("x", "").qos(1, 5));
    assert_eq!(broker.sent(slot).len(), 5, "what has come is handled");
    assert!(broker.paused.contains(&slot));
    assert_eq!(broker.count(Counter::ReadPausedQuota), 1);
    broker.wait_ms(400);
    assert!(broker.paused.contains(&slot));
    broker.wait_ms(300);
    assert!(!broker.paused.contains(&slot));
    // Bytes that were on their way are debts, and silence that is ours ends nothing.
    for n in 0..10 {
        broker.receive(slot, &publish("x", "").qos(1, n + 10));
    }
    broker.run();
    broker.wait_ms(4_000);
    assert!(broker.paused.contains(&slot) && broker.closed.is_empty());
    broker.wait_ms(1_500);
    assert!(!broker.paused.contains(&slot));
    // A connection that ends while it is paused.
    broker.receive(slot, &publish("x", "").qos(1, 30));
    broker.receive(slot, &publish("x", "").qos(1, 31));
    broker.cut(slot);
    broker.wait_ms(5_000);
}

#[test]
fn bytes_are_limited_as_well() {
    // The FAQ's `rate_limit = 1024,4096`.
    let mut broker = limited(None, Some((1024, 4096)), Excess::Pause);
    let slot = broker.connect(&v5("fast"));
    let kilobyte = "x".repeat(1016);
    for _ in 0..4 {
        broker.send(slot, &publish("t", &kilobyte));
    }
    assert!(!broker.paused.contains(&slot));
    broker.send(slot, &publish("t", &kilobyte));
    assert!(broker.paused.contains(&slot));
    broker.wait_ms(1_000);
    assert!(!broker.paused.contains(&slot));
}

#[test]
fn messages_may_be_dropped_instead() {
    let mut broker = limited(Some((1, 2)), None, Excess::Drop);
    let watcher = broker.connect(&v5("watcher"));
    broker.ask(watcher, &subscribe(1, &[("x", 0)]));
    let slot = broker.connect(&v5("fast"));
    assert_eq!(broker.ask(slot, &publish("x", "1").qos(1, 1)), ["puback 1"]);
    assert_eq!(broker.ask(slot, &publish("x", "2").qos(2, 2)), ["pubrec 2"]);
    assert_eq!(
        broker.ask(slot, &publish("x", "3").qos(1, 3)),
        ["puback 3 0x97"]
    );
    assert_eq!(
        broker.ask(slot, &publish("x", "4").qos(2, 4)),
        ["pubrec 4 0x97"]
    );
    assert!(broker.ask(slot, &publish("x", "5")).is_empty());
    assert_eq!(broker.payloads(watcher), ["1", "2"]);
    assert_eq!(broker.count(Counter::MessagesDroppedQuotaExceeded), 3);
    assert_eq!(broker.count(Counter::PacketsPublishQuotaExceeded), 3);
    assert!(broker.paused.is_empty());
    broker.wait_ms(1_000);
    assert_eq!(broker.ask(slot, &publish("x", "6").qos(1, 6)), ["puback 6"]);
}

#[test]
fn a_core_that_has_enough_to_do_lets_nobody_in() {
    let rules = OverloadRules {
        turn_us_max: Some(500_000),
        cool_down_ms: 1_000,
        accept_delay_ms: 10,
    };
    let mut broker = Broker::ruled(|own| own.overload = rules);
    let inside = broker.connect(&v5("inside"));
    broker.shard.note_turn(600_000);
    assert!(broker.shard.is_overloaded());
    assert_eq!(refused(&mut broker, &v5("late")), Some(0x9F));
    assert_eq!(refused(&mut broker, &v311("old", true)), Some(3));
    assert_eq!(broker.count(Counter::OverloadRefused), 2);
    assert_eq!(broker.count(Counter::OverloadBegun), 1);
    assert_eq!(
        broker.ask(inside, &publish("x", "").qos(1, 1)),
        ["puback 1 0x10"]
    );
    broker.wait_ms(1_700);
    assert_eq!(refused(&mut broker, &v5("late")), None);
}
