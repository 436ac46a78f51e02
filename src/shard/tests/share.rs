//! Shared subscriptions, by bytes [MQTT5 4.8.2].

use super::support::{Broker, Bye, Client, Unsub, ack, publish, rules, subscribe, v5, v311};
use crate::base::ids::CoreId;
use crate::config::{ShareGroup, ShareStrategy};
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;

const SHARED: &str = "$share/g/t/+";

/// A client that shares a filter at a QoS.
fn member(broker: &mut Broker, client: &Client<'_>, filter: &str, qos: u8) -> u32 {
    let slot = broker.connect(client);
    let suback = broker.ask(slot, &subscribe(1, &[(filter, qos)]));
    assert_eq!(suback, [format!("suback 1 [{qos}]")]);
    slot
}

fn publishes(broker: &mut Broker, slot: u32, payloads: &[&str], qos: u8) {
    for (id, payload) in (100..).zip(payloads) {
        let id = if qos == 0 { 0 } else { id };
        broker.send(slot, &publish("t/1", payload).qos(qos, id));
    }
}

#[track_caller]
fn is_empty(broker: &Broker) {
    let census = broker.shard.census();
    let left = (
        census.memberships,
        census.groups,
        census.group_members,
        census.queue_bytes,
    );
    assert_eq!(left, (0, 0, 0, 0), "{census:?}");
}

#[test]
fn members_take_turns_and_others_are_not_concerned() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v5("a"), SHARED, 1);
    let b = member(&mut broker, &v311("b", true), SHARED, 1);
    // Another group, another filter of the same name, and an ordinary subscription.
    let c = member(&mut broker, &v5("c"), "$share/h/t/+", 1);
    let d = member(&mut broker, &v5("d"), "$share/g/t/#", 1);
    let e = member(&mut broker, &v5("e"), "t/1", 1);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2", "3", "4"], 1);
    let (of_a, of_b) = (broker.payloads(a), broker.payloads(b));
    assert_eq!(
        (of_a, of_b),
        (vec!["1".into(), "3".into()], vec!["2".into(), "4".into()])
    );
    for slot in [c, d, e] {
        assert_eq!(broker.payloads(slot), ["1", "2", "3", "4"]);
    }
    assert_eq!(broker.shard.census().group_members, 4);
    for slot in [a, b, c, d, e] {
        broker.cut(slot);
    }
    is_empty(&broker);
}

#[test]
fn queue_is_a_group_of_its_own_name() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v311("a", true), "$queue/t/1", 0);
    let b = member(&mut broker, &v5("b"), "$share/$queue/t/1", 0);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2"], 0);
    assert_eq!(broker.payloads(a), ["1"]);
    assert_eq!(broker.payloads(b), ["2"]);
}

#[test]
fn a_share_and_a_plain_subscription_of_one_client_are_independent() {
    let mut broker = Broker::new();
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("t/1", 1)]).identifier(7));
    broker.ask(a, &subscribe(2, &[(SHARED, 2)]).identifier(8));
    let lines = broker.ask(a, &publish("t/1", "x").qos(1, 9));
    let publishes: Vec<&String> = lines.iter().filter(|l| l.starts_with("publish")).collect();
    assert_eq!(publishes.len(), 2, "{lines:?}");
    assert!(publishes.iter().any(|l| l.ends_with("[7]")));
    assert!(publishes.iter().any(|l| l.ends_with("[8]")));
}

#[test]
fn no_stored_message_is_sent_and_retain_goes_out_as_granted() {
    let mut broker = Broker::new();
    let p = broker.connect(&v5("p"));
    broker.send(p, &publish("t/1", "old").retain());
    let a = member(&mut broker, &v5("a"), SHARED, 0);
    assert_eq!(broker.payloads(a), [""; 0]);
    broker.send(p, &publish("t/1", "new").retain());
    assert_eq!(broker.sent(a), ["publish t/1=new"]);
    let as_published = subscribe(2, &[(SHARED, 0)]).options(|o| o.retain_as_published = true);
    assert_eq!(broker.ask(a, &as_published), ["suback 2 [0]"]);
    broker.send(p, &publish("t/1", "newer").retain());
    assert_eq!(broker.sent(a), ["publish t/1=newer retain"]);
}

#[test]
fn a_window_that_is_full_sends_messages_to_others_then_to_the_queue() {
    let mut broker = Broker::ruled(|rules| rules.max_inflight = 2);
    let a = member(&mut broker, &v5("a"), SHARED, 1);
    let b = member(&mut broker, &v5("b"), SHARED, 1);
    let p = broker.connect(&v5("p"));
    let all: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    publishes(&mut broker, p, &all, 1);
    assert_eq!(broker.payloads(a), ["1", "3"]);
    assert_eq!(broker.payloads(b), ["2", "4"]);
    assert_eq!(broker.shard.census().group_messages, 5);
    broker.send(b, &ack(4, 1, 0));
    assert_eq!(broker.payloads(b), ["5"]);
    broker.send(b, &ack(4, 2, 0));
    assert_eq!(broker.payloads(b), ["6"]);
    // A refused one is not offered to anybody else [MQTT-4.8.2-6].
    broker.send(a, &ack(4, 1, 0x97));
    assert_eq!(broker.payloads(a), ["7"]);
    // Room that comes with a new member.
    let c = broker.connect(&v5("c"));
    let got = broker.ask(c, &subscribe(1, &[(SHARED, 1)]));
    assert_eq!(got[0], "suback 1 [1]");
    assert_eq!(got.len(), 3, "{got:?}");
    assert_eq!(broker.shard.census().group_messages, 0);
}

#[test]
fn what_a_member_leaves_undone_goes_to_the_others_in_its_order() {
    for end in [None, Some(ReasonCode::Success)] {
        let mut broker = Broker::ruled(|rules| rules.max_inflight = 3);
        let a = member(&mut broker, &v5("a").keeps(100), SHARED, 1);
        let p = broker.connect(&v5("p"));
        publishes(&mut broker, p, &["1", "2", "3", "4", "5"], 1);
        broker.send(a, &ack(4, 2, 0));
        assert_eq!(broker.payloads(a), ["1", "2", "3", "4"]);
        match end {
            None => broker.cut(a),
            Some(reason) => broker.send(a, &Bye(reason, None)),
        }
        assert_eq!(broker.shard.census().group_messages, 4);
        let b = broker.connect(&v5("b"));
        broker.send(b, &subscribe(1, &[(SHARED, 1)]));
        assert_eq!(
            broker.sent(b)[1..],
            [
                "publish t/1=1 q1 #1",
                "publish t/1=3 q1 #2",
                "publish t/1=4 q1 #3"
            ]
        );
        broker.send(b, &ack(4, 1, 0));
        assert_eq!(broker.payloads(b), ["5"]);
    }
}

#[test]
fn qos_2_is_completed_with_who_got_it_and_with_nobody_else() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v5("a").keeps(100), SHARED, 2);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2", "3"], 2);
    broker.send(a, &ack(5, 1, 0));
    broker.sent(a);
    broker.cut(a);
    let b = member(&mut broker, &v5("b"), SHARED, 2);
    assert_eq!(broker.payloads(b), [""; 0]);
    // [MQTT-4.8.2-4]
    let a = broker.enter(&v5("a").keeps(100), &[]);
    let again = [
        "connack present",
        "pubrel 1",
        "publish t/1=2 q2 #2 dup",
        "publish t/1=3 q2 #3 dup",
    ];
    assert_eq!(broker.sent(a), again);
    // [MQTT-4.8.2-5]
    broker.send(a, &Bye(ReasonCode::Success, Some(0)));
    assert_eq!(broker.payloads(b), [""; 0]);
    broker.cut(b);
    is_empty(&broker);
}

#[test]
fn while_all_are_away_the_group_queues_once() {
    let mut broker = Broker::ruled(|rules| rules.max_mqueue_len = 3);
    let a = member(&mut broker, &v5("a").keeps(100), SHARED, 1);
    let b = member(&mut broker, &v5("b").keeps(100), SHARED, 1);
    broker.cut(a);
    broker.cut(b);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["0"], 0);
    publishes(&mut broker, p, &["1", "2", "3", "4"], 1);
    assert_eq!(broker.count(Counter::DeliveryDroppedQos0Msg), 1);
    assert_eq!(broker.count(Counter::DeliveryDroppedQueueFull), 1);
    let a = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(broker.payloads(a), ["2", "3", "4"]);
    let b = broker.enter(&v5("b").keeps(100), &[]);
    assert_eq!(broker.payloads(b), [""; 0]);
}

#[test]
fn what_comes_back_to_a_full_queue_is_not_lost() {
    let mut broker = Broker::ruled(|rules| {
        rules.max_inflight = 2;
        rules.max_mqueue_len = 2;
    });
    let a = member(&mut broker, &v5("a").keeps(100), SHARED, 1);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2", "3", "4"], 1);
    assert_eq!(broker.payloads(a), ["1", "2"]);
    broker.cut(a);
    assert_eq!(broker.shard.census().group_messages, 4);
    assert_eq!(broker.count(Counter::DeliveryDroppedQueueFull), 0);
    let a = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(broker.payloads(a), ["1", "2"]);
}

#[test]
fn who_is_away_is_passed_over_and_who_resumes_takes_part_again() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v5("a").keeps(100), SHARED, 1);
    let b = member(&mut broker, &v5("b"), SHARED, 1);
    let p = broker.connect(&v5("p"));
    broker.cut(a);
    publishes(&mut broker, p, &["1", "2", "3"], 1);
    assert_eq!(broker.payloads(b), ["1", "2", "3"]);
    let a = broker.enter(&v5("a").keeps(100), &[]);
    broker.sent(a);
    publishes(&mut broker, p, &["4", "5"], 1);
    assert_eq!(broker.payloads(a).len() + broker.payloads(b).len(), 2);
    // A take-over in between changes nothing.
    let again = broker.enter(&v5("a").keeps(100), &[]);
    broker.cut(b);
    broker.sent(again);
    publishes(&mut broker, p, &["6"], 1);
    assert_eq!(broker.payloads(again), ["6"]);
    assert_eq!(broker.shard.census().group_members, 1);
}

#[test]
fn a_group_ends_with_its_last_member() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v5("a").keeps(100), SHARED, 1);
    let p = broker.connect(&v5("p"));
    broker.cut(a);
    publishes(&mut broker, p, &["1", "2"], 1);
    broker.wait_ms(102_000);
    assert_eq!(broker.count(Counter::DeliveryDroppedSessionEnded), 2);
    is_empty(&broker);
    let lines = broker.ask(p, &publish("t/1", "3").qos(1, 9));
    assert_eq!(lines.last().map(String::as_str), Some("puback 9 0x10"));
}

#[test]
fn unsubscribe_gives_back_what_was_not_sent() {
    let mut broker = Broker::ruled(|rules| {
        rules.max_inflight = 1;
        rules.share_strategy = ShareStrategy::HashClientId;
    });
    let a = member(&mut broker, &v5("a"), SHARED, 1);
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2", "3"], 1);
    assert_eq!(broker.payloads(a), ["1"]);
    let b = member(&mut broker, &v5("b").keeps(100), SHARED, 1);
    let none = Unsub(2, &["$share/other/t/+"]);
    assert_eq!(broker.ask(a, &none), ["unsuback 2 [17]"]);
    assert_eq!(broker.ask(a, &Unsub(3, &[SHARED])), ["unsuback 3 [0]"]);
    assert_eq!(broker.ask(a, &Unsub(4, &[SHARED])), ["unsuback 4 [17]"]);
    assert_eq!(broker.payloads(b), ["2"]);
    // What was sent is still the client's own.
    assert_eq!(broker.ask(a, &ack(4, 1, 0)), [""; 0]);
    broker.send(b, &ack(4, 1, 0));
    assert_eq!(broker.payloads(b), ["3"]);
    assert_eq!(broker.shard.census().memberships, 1);
}

#[test]
fn a_second_subscribe_replaces_the_options() {
    let mut broker = Broker::new();
    let a = member(&mut broker, &v5("a"), SHARED, 2);
    let p = broker.connect(&v5("p"));
    let options = subscribe(2, &[(SHARED, 0)]).identifier(9);
    assert_eq!(broker.ask(a, &options), ["suback 2 [0]"]);
    publishes(&mut broker, p, &["1"], 2);
    assert_eq!(broker.sent(a), ["publish t/1=1 [9]"]);
    assert_eq!(broker.shard.census().memberships, 1);
}

#[test]
fn a_group_may_have_its_own_strategy() {
    let own = ShareGroup {
        name: "own".into(),
        strategy: ShareStrategy::Sticky,
    };
    let mut broker = Broker::ruled(|rules| rules.share_groups = [own].into());
    let members: Vec<u32> = ["a", "b", "c"]
        .iter()
        .map(|id| member(&mut broker, &v5(id), "$share/own/t/+", 1))
        .collect();
    let p = broker.connect(&v5("p"));
    publishes(&mut broker, p, &["1", "2", "3", "4"], 1);
    let mut lens: Vec<usize> = members
        .iter()
        .map(|slot| broker.payloads(*slot).len())
        .collect();
    lens.sort_unstable();
    assert_eq!(lens, [0, 0, 4]);
}

#[test]
fn suback_waits_for_the_filter_and_refusals_say_why() {
    let mut broker = Broker::new();
    let a = broker.connect(&v5("a"));
    broker.index_stands = true;
    assert_eq!(broker.ask(a, &subscribe(1, &[(SHARED, 1)])), [""; 0]);
    broker.cut(a);
    let b = broker.connect(&v5("b"));
    broker.send(b, &subscribe(2, &[(SHARED, 1), ("x", 0)]));
    broker.index_stands = false;
    broker.run();
    assert_eq!(broker.sent(b), ["suback 2 [1, 0]"]);
    assert_eq!(broker.shard.census().pending_subacks, 0);
    broker.cut(b);
    is_empty(&broker);
    let mut broker = Broker::ruled(|rules| rules.shared_subscription = false);
    let a = broker.connect(&v5("a"));
    assert_eq!(
        broker.ask(a, &subscribe(1, &[(SHARED, 1)])),
        ["suback 1 [158]"]
    );
    let b = broker.connect(&v311("b", true));
    assert_eq!(
        broker.ask(b, &subscribe(1, &[(SHARED, 1)])),
        ["suback 1 [128]"]
    );
    is_empty(&broker);
}

#[test]
fn what_expires_or_is_too_large_frees_its_place() {
    let mut broker = Broker::ruled(|rules| rules.max_inflight = 1);
    let small = Client {
        max_packet_size: Some(40),
        ..v5("a")
    };
    let a = member(&mut broker, &small, SHARED, 1);
    let p = broker.connect(&v5("p"));
    let large = "x".repeat(60);
    publishes(&mut broker, p, &[&large, "1"], 1);
    assert_eq!(broker.payloads(a), ["1"]);
    assert_eq!(broker.count(Counter::DeliveryDroppedTooLarge), 1);
    broker.send(p, &publish("t/1", "2").qos(1, 7).expires(5));
    broker.send(p, &publish("t/1", "3").qos(1, 8));
    broker.wait_ms(6_000);
    broker.send(a, &ack(4, 1, 0));
    assert_eq!(broker.payloads(a), ["3"]);
    assert_eq!(broker.count(Counter::DeliveryDroppedExpired), 1);
    broker.cut(a);
    is_empty(&broker);
}

#[test]
fn a_group_elsewhere_is_asked_and_told() {
    // Of two cores this is the first; the texts are at home on the other.
    let mut broker = Broker::with(2, rules());
    let filter = (0..)
        .map(|n| format!("$share/g/t{n}"))
        .find(|filter| {
            broker
                .shard
                .homes
                .of_group(filter.strip_prefix("$share/").unwrap())
                == CoreId(1)
        })
        .unwrap();
    let id = (0..)
        .map(|n| format!("c{n}"))
        .find(|id| broker.shard.homes.of_client(id) == CoreId(0))
        .unwrap();
    let a = broker.connect(&v5(&id));
    assert_eq!(broker.ask(a, &subscribe(1, &[(&filter, 1)])), [""; 0]);
    let (target, record) = broker.crossed.pop().unwrap();
    assert_eq!(target, CoreId(1));
    let text = filter.strip_prefix("$share/").unwrap();
    assert!(record.ends_with(text.as_bytes()));
    assert_eq!(broker.shard.census().memberships, 1);
    assert_eq!(broker.shard.census().groups, 0);
    broker.cut(a);
    let kinds: usize = broker.crossed.len();
    assert!(kinds >= 1, "it goes offline and leaves");
    assert_eq!(broker.shard.census().memberships, 0);
}
