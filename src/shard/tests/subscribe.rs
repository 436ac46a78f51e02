//! SUBSCRIBE and UNSUBSCRIBE, and which messages they bring.

use super::support::{Broker, Unsub, publish, run_of, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;

#[test]
fn each_filter_has_its_reason_in_order() {
    let deep = "a/".repeat(200);
    let filters = [
        ("a", 0),
        ("b/+", 1),
        ("c/#", 2),
        ("$share/g/t", 1),
        (deep.as_str(), 0),
    ];
    let mut broker = Broker::ruled(|rules| rules.max_qos_allowed = 1);
    let slot = broker.connect(&v5("a"));
    assert_eq!(
        broker.ask(slot, &subscribe(7, &filters)),
        ["suback 7 [0, 1, 1, 158, 143]"]
    );
    let slot = broker.connect(&v311("b", true));
    assert_eq!(
        broker.ask(slot, &subscribe(7, &filters)),
        ["suback 7 [0, 1, 1, 128, 128]"]
    );
}

#[test]
fn wildcards_may_be_forbidden() {
    let mut broker = Broker::ruled(|rules| rules.wildcard_subscription = false);
    let slot = broker.connect(&v5("a"));
    let got = broker.ask(slot, &subscribe(1, &[("a", 0), ("#", 0), ("a/+", 0)]));
    assert_eq!(got, ["suback 1 [0, 162, 162]"]);
}

#[test]
fn what_matches() {
    // Filter, topic, whether it matches [MQTT-4.7].
    let cases = [
        ("a/b", "a/b", true),
        ("a/b", "a/B", false),
        ("a/+", "a/b", true),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("#", "a/b", true),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
        ("+", "/a", false),
        ("/+", "/a", true),
    ];
    for (filter, topic, expected) in cases {
        let mut broker = Broker::new();
        let slot = broker.connect(&v5("a"));
        broker.ask(slot, &subscribe(1, &[(filter, 0)]));
        let got = broker.ask(slot, &publish(topic, "x"));
        assert_eq!(got.len(), usize::from(expected), "{filter} {topic}");
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_all_identifiers() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t/#", 0)]).identifier(3));
    broker.ask(slot, &subscribe(2, &[("t/+", 1)]).identifier(4));
    broker.ask(slot, &subscribe(3, &[("t/x", 0)]));
    let got = broker.ask(slot, &publish("t/x", "p").qos(2, 1));
    assert_eq!(got.len(), 2, "{got:?}");
    let one = |ids: &str| format!("publish t/x=p q1 #1 {ids}");
    assert!(
        got[0] == one("[3, 4]") || got[0] == one("[4, 3]"),
        "{got:?}"
    );
}

#[test]
fn a_subscription_is_replaced() {
    // [MQTT-3.8.4-3]
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 2)]).identifier(1));
    broker.ask(slot, &subscribe(2, &[("t", 0)]).identifier(2));
    let got = broker.ask(slot, &publish("t", "p").qos(1, 1));
    assert_eq!(got, ["publish t=p [2]", "puback 1"]);
    assert_eq!(broker.ask(slot, &Unsub(3, &["t"])), ["unsuback 3 [0]"]);
    assert_eq!(broker.ask(slot, &publish("t", "p")), Vec::<String>::new());
}

#[test]
fn unsubscribe_answers_for_each_filter() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("a", 0), ("b/#", 0)]));
    let got = broker.ask(slot, &Unsub(2, &["b/#", "c", "b/#", "a"]));
    assert_eq!(got, ["unsuback 2 [0, 17, 17, 0]"]);
    let slot = broker.connect(&v311("b", true));
    assert_eq!(broker.ask(slot, &Unsub(3, &["x"])), ["unsuback 3 []"]);
}

#[test]
fn a_filter_twice_in_one_packet() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    assert_eq!(
        broker.ask(slot, &subscribe(1, &[("t", 0), ("t", 2)])),
        ["suback 1 [0, 2]"]
    );
    let got = broker.ask(slot, &publish("t", "p").qos(2, 9));
    assert_eq!(got, ["publish t=p q2 #1", "pubrec 9"]);
    assert_eq!(broker.ask(slot, &Unsub(2, &["t"])), ["unsuback 2 [0]"]);
    assert_eq!(broker.shard.census().subscriptions, 0);
}

#[test]
fn unsubscribe_right_behind_subscribe() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let run = run_of(&[
        &subscribe(1, &[("t", 0)]),
        &Unsub(2, &["t"]),
        &publish("t", "p"),
    ]);
    assert_eq!(broker.ask(slot, &run), ["suback 1 [0]", "unsuback 2 [0]"]);
    assert_eq!(broker.shard.census().filters, 0);
}

#[test]
fn no_local_keeps_ones_own_messages_out() {
    // [MQTT-3.8.3-3]
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let other = broker.connect(&v5("b"));
    broker.ask(
        slot,
        &subscribe(1, &[("t", 0)]).options(|o| o.no_local = true),
    );
    broker.ask(other, &subscribe(1, &[("t", 0)]));
    assert_eq!(
        broker.ask(slot, &publish("t", "mine")),
        Vec::<String>::new()
    );
    broker.send(other, &publish("t", "theirs"));
    assert_eq!(broker.payloads(slot), ["theirs"]);
    assert_eq!(broker.payloads(other), ["mine", "theirs"]);
    assert_eq!(broker.count(Counter::DeliveryDroppedNoLocal), 1);
}

#[test]
fn the_retain_flag_goes_on_only_as_published() {
    // [MQTT-3.3.1-12, 3.3.1-13]
    let mut broker = Broker::new();
    let plain = broker.connect(&v5("a"));
    let kept = broker.connect(&v5("b"));
    broker.ask(plain, &subscribe(1, &[("t", 0)]));
    broker.ask(
        kept,
        &subscribe(1, &[("t", 0)]).options(|o| o.retain_as_published = true),
    );
    broker.send(plain, &publish("t", "p").retain());
    assert_eq!(broker.sent(plain), ["publish t=p"]);
    assert_eq!(broker.sent(kept), ["publish t=p retain"]);
}

#[test]
fn the_client_may_go_while_its_subscribe_waits() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.index_stands = true;
    broker.send(slot, &subscribe(1, &[("t", 0)]));
    broker.send(slot, &super::support::Bye(ReasonCode::Success, None));
    broker.cut(slot);
    broker.index_stands = false;
    broker.run();
    broker.run();
    assert!(broker.closed.contains(&slot));
    broker.slot_closed(slot);
    let census = broker.shard.census();
    assert_eq!(
        (census.subscriptions, census.filters, census.pending_subacks),
        (0, 0, 0)
    );
    assert_eq!((census.suspended, census.sessions), (0, 0));
    assert_eq!(
        broker.count(Counter::ShutdownNormal),
        1,
        "its DISCONNECT was read"
    );
}

#[test]
fn a_new_session_does_not_get_the_answers_of_the_one_before() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.index_stands = true;
    broker.send(slot, &subscribe(1, &[("t", 0)]));
    broker.cut(slot);
    broker.slot_closed(slot);
    let next = broker.connect(&v5("b"));
    assert_eq!(next, slot);
    broker.index_stands = false;
    broker.run();
    assert_eq!(broker.sent(next), Vec::<String>::new());
    assert_eq!(broker.ask(next, &publish("t", "x")), Vec::<String>::new());
}
