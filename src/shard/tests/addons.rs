//! What EMQX adds to MQTT, by bytes: exclusive topics, rewrite, mountpoints, subscriptions for
//! everybody, priorities, repetition.

use super::support::{Broker, Client, Unsub, ack, publish, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::shard::tests::support::Packet;

const EXCLUSIVE: &str = "[mqtt]\nexclusive_subscription = true\n";

#[test]
fn an_exclusive_topic_has_one_subscriber() {
    let mut broker = Broker::configured(EXCLUSIVE);
    let a = broker.connect(&v5("a"));
    let b = broker.connect(&v5("b"));
    assert_eq!(
        broker.ask(a, &subscribe(1, &[("$exclusive/t", 1)])),
        ["suback 1 [1]"]
    );
    assert_eq!(
        broker.ask(b, &subscribe(1, &[("$exclusive/t", 1)])),
        ["suback 1 [151]"]
    );
    assert_eq!(broker.count(Counter::ExclusiveRefused), 1);
    // An ordinary subscription is not concerned.
    assert_eq!(broker.ask(b, &subscribe(2, &[("t", 0)])), ["suback 2 [0]"]);
    broker.send(b, &publish("t", "x"));
    assert_eq!(broker.payloads(a), ["x"]);
    assert_eq!(broker.payloads(b), ["x"]);
    // The holder may subscribe again.
    assert_eq!(
        broker.ask(a, &subscribe(2, &[("$exclusive/t", 0)])),
        ["suback 2 [0]"]
    );
    let gone = broker.ask(a, &Unsub(3, &["$exclusive/t"]));
    assert_eq!(gone, ["unsuback 3 [0]"]);
    assert_eq!(
        broker.ask(b, &subscribe(4, &[("$exclusive/t", 1)])),
        ["suback 4 [1]"]
    );
    broker.send(a, &publish("t", "y"));
    assert_eq!(broker.sent(a), [""; 0]);
    assert_eq!(broker.payloads(b), ["y"]);
}

#[test]
fn a_claim_lives_as_long_as_its_session() {
    let mut broker = Broker::configured(EXCLUSIVE);
    let ask = subscribe(1, &[("$exclusive/t", 0)]);
    let keeper = broker.connect(&v5("keeper").keeps(100));
    broker.send(keeper, &ask);
    broker.cut(keeper);
    let other = broker.connect(&v5("other"));
    assert_eq!(broker.ask(other, &ask), ["suback 1 [151]"]);
    broker.wait_ms(101_000);
    assert_eq!(broker.ask(other, &ask), ["suback 1 [0]"]);
    broker.cut(other);
    let third = broker.connect(&v311("third", true));
    assert_eq!(broker.ask(third, &ask), ["suback 1 [0]"]);
    let fourth = broker.connect(&v311("fourth", true));
    assert_eq!(
        broker.ask(fourth, &ask),
        ["suback 1 [128]"],
        "3.x knows one failure"
    );
    broker.send(third, &Unsub(2, &["t"]));
    assert_eq!(
        broker.ask(fourth, &ask),
        ["suback 1 [0]"],
        "the subscription was one"
    );
    broker.cut(fourth);
    broker.run();
    assert_eq!(broker.shard.census().exclusive, 0);
}

#[test]
fn exclusive_topics_that_are_refused() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    assert_eq!(
        broker.ask(slot, &subscribe(1, &[("$exclusive/t", 1)])),
        ["suback 1 [143]"]
    );
    let mut broker = Broker::configured(EXCLUSIVE);
    let slot = broker.connect(&v5("a"));
    let wrong = subscribe(
        1,
        &[("$exclusive/", 0), ("$exclusive/$share/g/t", 0), ("ok", 2)],
    );
    assert_eq!(broker.ask(slot, &wrong), ["suback 1 [143, 143, 2]"]);
}

#[test]
fn claimants_that_go_before_the_answer() {
    let mut broker = Broker::configured(EXCLUSIVE);
    let ask = subscribe(1, &[("$exclusive/t", 0)]);
    let first = broker.connect(&v5("first"));
    broker.index_stands = true;
    assert_eq!(broker.ask(first, &ask), [""; 0]);
    let second = broker.connect(&v5("second"));
    assert_eq!(
        broker.ask(second, &ask),
        ["suback 1 [151]"],
        "the first one asked before"
    );
    broker.cut(first);
    let third = broker.connect(&v5("third"));
    assert_eq!(broker.ask(third, &ask), [""; 0]);
    broker.index_stands = false;
    broker.run();
    assert_eq!(broker.sent(third), ["suback 1 [0]"]);
    // The same with nobody behind.
    broker.index_stands = true;
    let fourth = broker.connect(&v5("fourth"));
    broker.send(fourth, &subscribe(1, &[("$exclusive/u", 0)]));
    broker.cut(fourth);
    broker.index_stands = false;
    broker.run();
    assert_eq!(broker.shard.census().exclusive, 1);
    broker.cut(third);
    let census = broker.shard.census();
    assert_eq!((census.exclusive, census.pending_subacks), (0, 0));
}

#[test]
fn retained_messages_come_with_an_exclusive_subscription() {
    let mut broker = Broker::configured(EXCLUSIVE);
    let a = broker.connect(&v5("a"));
    broker.send(a, &publish("t", "kept").retain());
    let got = broker.ask(a, &subscribe(1, &[("$exclusive/t", 0)]).identifier(7));
    assert_eq!(got, ["suback 1 [0]", "publish t=kept retain [7]"]);
}

const REWRITE: &str = "\
[[rewrite]]
action = 'publish'
source_topic = 'x/#'
re = '^x/(.+)$'
dest_topic = 'y/$1'

[[rewrite]]
action = 'subscribe'
source_topic = 'x/#'
re = '^x/(.+)$'
dest_topic = 'y/$1'

[[rewrite]]
source_topic = 'me/+'
re = '^me/(\\w+)$'
dest_topic = 'c/${clientid}/${username}/$1'
";

#[test]
fn topics_and_filters_are_rewritten() {
    let mut broker = Broker::configured(REWRITE);
    let a = broker.connect(&Client {
        username: Some("ann"),
        ..v5("a")
    });
    let b = broker.connect(&v5("b"));
    broker.send(b, &subscribe(1, &[("y/1", 0), ("c/#", 0)]));
    broker.sent(b);
    broker.send(a, &publish("x/1", "p"));
    broker.send(a, &publish("me/2", "q"));
    broker.send(a, &publish("$delayed/0/x/1", "r"));
    broker.wait_ms(200);
    assert_eq!(
        broker.sent(b),
        ["publish y/1=p", "publish c/a/ann/2=q", "publish y/1=r"]
    );
    broker.ask(
        a,
        &subscribe(2, &[("x/+", 0), ("$share/g/x/s", 1), ("me/in", 0)]),
    );
    for topic in ["y/7", "y/s", "c/a/ann/in"] {
        broker.send(b, &publish(topic, "z"));
    }
    let mut got = broker.payloads(a);
    assert_eq!(got.len(), 4, "y/s by x/+ and by the group");
    got.dedup();
    assert_eq!(got, ["z"]);
    let gone = broker.ask(a, &Unsub(3, &["x/+", "$share/g/x/s", "y/s"]));
    assert_eq!(gone, ["unsuback 3 [0, 0, 17]"]);
}

#[test]
fn what_cannot_be_rewritten_stays_and_is_counted() {
    let mut broker = Broker::configured(REWRITE);
    let a = broker.connect(&v5("a"));
    let b = broker.connect(&v5("b"));
    broker.send(b, &subscribe(1, &[("me/2", 0), ("$SYS/#", 0)]));
    broker.sent(b);
    assert_eq!(broker.count(Counter::RewriteInvalid), 1, "b has no name");
    broker.send(a, &publish("me/2", "p"));
    assert_eq!(broker.sent(b), ["publish me/2=p"]);
    assert_eq!(broker.count(Counter::RewriteInvalid), 2);
}

#[test]
fn wills_are_rewritten_and_may_be_delayed() {
    let mut broker = Broker::configured(REWRITE);
    let b = broker.connect(&v5("b"));
    broker.ask(b, &subscribe(1, &[("y/#", 0)]));
    let a = broker.connect(&v5("a").wills("x/w", 0));
    broker.cut(a);
    assert_eq!(broker.sent(b), ["publish y/w=will"]);
    let a = broker.connect(&v5("a").wills("$delayed/10/x/w", 0));
    broker.cut(a);
    broker.wait_ms(9_000);
    assert_eq!(broker.sent(b), [""; 0]);
    broker.wait_ms(2_000);
    assert_eq!(broker.sent(b), ["publish y/w=will"]);
}

const MOUNTED: &str = "[listeners.tcp.default]\nmountpoint = 'dev/${clientid}/%u/'\n\
                       [mqtt]\nexclusive_subscription = true\n";

fn named<'a>(id: &'a str, username: &'a str) -> Client<'a> {
    Client {
        username: Some(username),
        ..v5(id)
    }
}

#[test]
fn a_mountpoint_is_around_everything() {
    let mut broker = Broker::configured(MOUNTED);
    let a = broker.connect(&named("a", "u"));
    let b = broker.connect(&named("b", "u").wills("w", 0));
    broker.ask(
        a,
        &subscribe(1, &[("#", 1), ("$share/g/s", 0), ("$exclusive/e", 0)]),
    );
    broker.ask(b, &subscribe(1, &[("#", 0)]));
    broker.send(a, &publish("t", "1").qos(1, 9));
    assert_eq!(broker.sent(a), ["publish t=1 q1 #1", "puback 9"]);
    assert_eq!(broker.sent(b), [""; 0], "another mountpoint");
    broker.send(a, &publish("$delayed/1/t", "2"));
    broker.wait_ms(1_500);
    assert_eq!(broker.payloads(a), ["2"]);
    broker.send(a, &publish("s", "3"));
    assert_eq!(broker.payloads(a), ["3", "3"]);
    broker.send(a, &publish("kept", "4").retain());
    broker.sent(a);
    let again = broker.ask(a, &subscribe(2, &[("kept", 0)]));
    assert_eq!(again, ["suback 2 [0]", "publish kept=4 retain"]);
    let gone = broker.ask(
        a,
        &Unsub(3, &["#", "$share/g/s", "$exclusive/e", "dev/a/u/kept"]),
    );
    assert_eq!(gone, ["unsuback 3 [0, 0, 0, 17]"]);
    broker.cut(b);
    let b = broker.connect(&named("b", "u").keeps(100));
    broker.ask(b, &subscribe(1, &[("q", 1)]));
    broker.cut(b);
    let other = broker.connect(&named("b2", "u"));
    broker.send(other, &publish("q", "not mine"));
    let b = broker.connect_again(&named("b", "u").keeps(100));
    broker.send(b, &publish("q", "mine").qos(1, 1));
    assert_eq!(broker.sent(b), ["publish q=mine q1 #1", "puback 1"]);
}

#[test]
fn who_does_not_fit_a_mountpoint_is_refused() {
    let mut broker = Broker::configured(MOUNTED);
    for (client, code) in [
        (named("a/b", "u"), 0x85),
        (named("#", "u"), 0x85),
        (named("a", "u/v"), 0x86),
        (v5("a"), 0x86),
    ] {
        let handover = broker.handshake(&client.bytes()).unwrap();
        broker.shard.arrive(handover);
        broker.run();
        let refused = broker.refused.pop().unwrap();
        assert_eq!(refused[3], code, "{}", client.id);
    }
    let long = "x".repeat(65_530);
    let a = broker.connect(&named("a", "u"));
    let suback = broker.ask(a, &subscribe(1, &[(&long, 0)]));
    assert_eq!(suback, ["suback 1 [143]"]);
    let got = broker.ask(a, &publish(&long, "p"));
    assert_eq!(got, ["disconnect 0x90"]);
}

const AUTO: &str = "\
[[auto_subscribe.topics]]
topic = 'c/${clientid}'
qos = 1

[[auto_subscribe.topics]]
topic = 'u/%u'
rh = 2
rap = 1
nl = 1

[[auto_subscribe.topics]]
topic = 'p/${host}/${port}'
rh = 1
";

#[test]
fn subscriptions_are_made_for_everybody() {
    let mut broker = Broker::configured(AUTO);
    let other = broker.connect(&v5("other"));
    assert_eq!(
        broker.count(Counter::AutoSubscribeFailed),
        1,
        "it has no name"
    );
    broker.send(other, &publish("c/a", "kept").retain());
    broker.send(other, &publish("u/u", "kept").retain());
    broker.send(other, &publish("p/127.0.0.1/4000", "kept").retain());
    broker.sent(other);
    let client = named("a", "u").keeps(100);
    let a = broker.enter(&client, &publish("u/u", "own").bytes(client.version));
    let mut got = broker.sent(a);
    assert_eq!(got.remove(0), "connack");
    got.sort();
    assert_eq!(
        got,
        [
            "publish c/a=kept retain",
            "publish p/127.0.0.1/4000=kept retain"
        ]
    );
    broker.send(other, &publish("c/a", "1").qos(2, 1));
    assert_eq!(broker.sent(a), ["publish c/a=1 q1 #1"]);
    broker.send(other, &publish("u/u", "2").retain());
    assert_eq!(broker.sent(a), ["publish u/u=2 retain"]);
    // A session that is resumed has them already: not twice, and stored messages as `rh` says.
    broker.send(a, &ack(4, 1, 0));
    broker.cut(a);
    let before = broker.shard.census().subscriptions;
    let a = broker.enter(&client, &[]);
    assert_eq!(
        broker.sent(a),
        ["connack present", "publish c/a=kept retain"]
    );
    assert_eq!(broker.shard.census().subscriptions, before);
    broker.send(other, &publish("c/a", "3"));
    assert_eq!(broker.payloads(a), ["3"]);
}

#[test]
fn the_greater_qos_where_it_is_upgraded() {
    let mut broker = Broker::configured("[mqtt]\nupgrade_qos = true\n");
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("t", 1)]));
    broker.send(a, &publish("t", "x"));
    assert_eq!(broker.sent(a), ["publish t=x q1 #1"]);
    broker.ask(a, &subscribe(2, &[("u", 0), ("$share/g/s", 1)]));
    broker.send(a, &publish("u", "x").qos(1, 5));
    assert_eq!(broker.sent(a), ["publish u=x q1 #2", "puback 5"]);
    broker.send(a, &publish("s", "x"));
    assert_eq!(broker.sent(a), ["publish s=x q1 #3"]);
}

#[test]
fn nothing_of_its_own_for_3_x() {
    let mut broker = Broker::configured("[mqtt]\nignore_loop_deliver = true\n");
    let old = broker.connect(&v311("old", true));
    let new = broker.connect(&v5("new"));
    for slot in [old, new] {
        broker.ask(slot, &subscribe(1, &[("t", 0)]));
    }
    broker.send(old, &publish("t", "x"));
    assert_eq!(broker.payloads(old), [""; 0]);
    assert_eq!(broker.payloads(new), ["x"]);
    broker.send(new, &publish("t", "y"));
    assert_eq!(broker.payloads(new), ["y"], "it says so itself");
}

#[test]
fn a_bridge_gets_the_retain_flag_and_nothing_of_its_own() {
    let mut broker = Broker::new();
    let bridge = Client {
        bridge: true,
        ..v311("bridge", false)
    };
    let slot = broker.connect(&bridge);
    let other = broker.connect(&v311("other", true));
    for slot in [slot, other] {
        broker.ask(slot, &subscribe(1, &[("#", 1)]));
    }
    broker.send(other, &publish("t", "x").retain());
    assert_eq!(broker.sent(slot), ["publish t=x retain"]);
    assert_eq!(broker.sent(other), ["publish t=x"]);
    broker.send(slot, &publish("t", "y"));
    assert_eq!(broker.sent(slot), [""; 0]);
    assert_eq!(broker.sent(other), ["publish t=y"]);
    // What waits while it is away keeps the flag as well.
    broker.cut(slot);
    broker.send(other, &publish("u", "z").qos(1, 1).retain());
    let slot = broker.connect_again(&bridge);
    broker.send(slot, &super::support::ping());
    assert_eq!(broker.sent(slot), ["pingresp"]);
}

#[test]
fn messages_leave_by_their_priority() {
    let mut broker =
        Broker::configured("[mqtt]\nmax_mqueue_len = 4\nmqueue_priorities = { hi = 2, mid = 1 }\n");
    let client = v5("a").keeps(100);
    let a = broker.connect(&client);
    broker.ask(a, &subscribe(1, &[("#", 1)]));
    broker.cut(a);
    let from = broker.connect(&v5("from"));
    for (at, topic) in ["lo", "mid", "hi", "lo", "hi", "hi"]
        .into_iter()
        .enumerate()
    {
        broker.send(from, &publish(topic, &at.to_string()).qos(1, 1));
    }
    assert_eq!(broker.count(Counter::DeliveryDroppedQueueFull), 2);
    let a = broker.enter(&client, &[]);
    let got = broker.payloads(a);
    assert_eq!(
        got,
        ["2", "4", "1", "5"],
        "two of `hi` a round; both `lo` are gone"
    );
}

const RETRY: &str = "[mqtt]\nretry_interval = '30s'\n";

#[test]
fn what_a_3_x_client_does_not_acknowledge_is_sent_again() {
    let mut broker = Broker::configured(RETRY);
    let a = broker.connect(&v311("a", true));
    broker.ask(a, &subscribe(1, &[("#", 2)]));
    let from = broker.connect(&v5("from"));
    broker.send(from, &publish("t", "1").qos(1, 1));
    broker.send(from, &publish("t", "2").qos(2, 2));
    broker.send(from, &ack(6, 2, 0));
    broker.send(a, &ack(5, 2, 0));
    broker.sent(a);
    broker.wait_ms(14_000);
    broker.send(from, &publish("t", "3").qos(1, 3));
    broker.wait_ms(15_500);
    assert_eq!(broker.sent(a), ["publish t=3 q1 #3"]);
    broker.wait_ms(15_000);
    // Twice where the half intervals fell so; never before the interval.
    assert_eq!(
        broker.sent(a),
        ["publish t=1 q1 #1 dup", "pubrel 2", "publish t=3 q1 #3 dup"]
    );
    assert_eq!(broker.count(Counter::MessagesRetried), 3);
    for packet in [ack(4, 1, 0), ack(7, 2, 0), ack(4, 3, 0)] {
        broker.send(a, &packet);
    }
    broker.wait_ms(100_000);
    assert_eq!(broker.sent(a), [""; 0]);
    let timers = broker.shard.clients.wheel.len();
    assert_eq!(timers, 1, "that of the identifier received at QoS 2");
}

#[test]
fn what_a_5_0_client_does_not_acknowledge_is_not() {
    let mut broker = Broker::configured(RETRY);
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("#", 1)]));
    broker.ask(a, &publish("t", "1").qos(1, 1));
    broker.wait_ms(200_000);
    assert_eq!(broker.sent(a), [""; 0]);
    assert!(broker.shard.clients.wheel.is_empty());
}

#[test]
fn what_is_sent_again_is_bounded_and_comes_all_the_same() {
    let mut broker = Broker::configured("[mqtt]\nmax_inflight = 200\nretry_interval = '30s'\n");
    let a = broker.connect(&v311("a", true));
    broker.ask(a, &subscribe(1, &[("#", 1)]));
    let from = broker.connect(&v5("from"));
    for at in 0..200 {
        broker.send(from, &publish("t", &at.to_string()).qos(1, 1));
    }
    assert_eq!(broker.payloads(a).len(), 200);
    broker.wait_ms(33_000);
    let got = broker.payloads(a);
    let want: Vec<String> = (0..200).map(|at: u32| at.to_string()).collect();
    assert_eq!(got, want);
}

#[test]
fn the_message_that_clears_may_go_to_nobody() {
    let mut broker = Broker::configured("[retainer]\nstop_publish_clear_msg = true\n");
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("t", 0)]));
    broker.send(a, &publish("t", "x").retain());
    broker.send(a, &publish("t", "").retain());
    broker.send(a, &publish("t", ""));
    assert_eq!(broker.payloads(a), ["x", ""]);
    assert_eq!(broker.ask(a, &subscribe(2, &[("t", 0)])), ["suback 2 [0]"]);
}
