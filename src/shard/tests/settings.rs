//! Other rules while clients are there.

use std::sync::Arc;

use super::support::{Broker, ack, publish, subscribe, v5, v311};
use crate::access::acl::Permission;
use crate::access::rules::AccessRules;
use crate::config::Config;
use crate::gate::rules::Rules;
use crate::gate::rules::addons::AddonRules;

fn change(broker: &mut Broker, change: impl FnOnce(&mut Rules)) {
    let mut rules = broker.shard.clients.rules.clone();
    change(&mut rules);
    broker.shard.set_rules(&rules);
}

/// Whether the connection has ended with that DISCONNECT.
fn ends(broker: &mut Broker, slot: u32, code: &str) {
    let said = broker.sent(slot);
    let last = said.last().map(String::as_str);
    assert_eq!(
        last,
        Some(format!("disconnect {code}").as_str()),
        "{said:?}"
    );
}

#[test]
fn a_client_is_held_to_what_its_connack_has_said() {
    let mut broker = Broker::new();
    let old = broker.connect(&v5("old"));
    change(&mut broker, |rules| {
        rules.max_packet_size = 100;
        rules.max_qos_allowed = 0;
        rules.retain_available = false;
        rules.max_topic_alias = 0;
        rules.max_awaiting_rel = 1;
        rules.wildcard_subscription = false;
        rules.shared_subscription = false;
    });
    let long = "x".repeat(300);
    let all = publish("t", &long).qos(2, 1).retain().alias(5);
    assert_eq!(broker.ask(old, &all), ["pubrec 1"]);
    let second = publish("t", "y").qos(2, 2);
    assert_eq!(
        broker.ask(old, &second),
        ["pubrec 2 0x10"],
        "it was promised 100"
    );
    let wild = subscribe(3, &[("a/+", 0), ("$share/g/b", 0)]);
    assert_eq!(broker.ask(old, &wild), ["suback 3 [0, 0]"]);
    assert_eq!(broker.ask(old, &ack(6, 1, 0)), ["pubcomp 1"]);
    for (packet, code) in [
        (publish("t", &long), "0x95"),
        (publish("t", "x").qos(1, 1), "0x9B"),
        (publish("t", "x").retain(), "0x9A"),
        (publish("t", "x").alias(1), "0x94"),
    ] {
        let new = broker.connect(&v5("new"));
        broker.send(new, &packet);
        ends(&mut broker, new, code);
    }
    let new = broker.connect(&v5("new"));
    let refused = broker.ask(new, &wild);
    assert_eq!(refused, ["suback 3 [162, 158]"]);
    // And back: the client that was told less is held to less.
    change(&mut broker, |rules| rules.max_qos_allowed = 2);
    broker.send(new, &publish("t", "x").qos(1, 1));
    ends(&mut broker, new, "0x9B");
    let newest = broker.connect(&v5("newest"));
    assert_eq!(
        broker.ask(newest, &publish("t", "x").qos(1, 1)),
        ["puback 1 0x10"]
    );
}

#[test]
fn what_was_promised_to_nobody_holds_at_once() {
    let mut broker = Broker::new();
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("old", 0)]));
    change(&mut broker, |rules| {
        rules.max_subscriptions = 1;
        rules.max_topic_levels = 2;
        rules.max_retained_payload = 3;
        rules.max_retained_messages = 1;
    });
    assert_eq!(
        broker.ask(a, &subscribe(2, &[("new", 0)])),
        ["suback 2 [151]"]
    );
    for payload in ["long", "abc"] {
        broker.send(a, &publish("r", payload).retain());
    }
    broker.send(a, &publish("s", "abc").retain());
    let b = broker.connect(&v5("b"));
    let got = broker.ask(b, &subscribe(1, &[("#", 0)]));
    assert_eq!(
        got,
        ["suback 1 [0]", "publish r=abc retain"],
        "one, and a short one"
    );
    broker.send(a, &publish("a/b/c", ""));
    ends(&mut broker, a, "0x90");
}

#[test]
fn add_ons_change_as_well() {
    let mut broker = Broker::new();
    let a = broker.connect(&v5("a"));
    broker.ask(a, &subscribe(1, &[("new/x", 0)]));
    broker.send(a, &publish("old/x", "1"));
    assert_eq!(broker.payloads(a), [""; 0]);
    let text = "[mqtt]\nexclusive_subscription = true\nupgrade_qos = true\n\
                [[rewrite]]\nsource_topic = 'old/#'\nre = '^old/(.+)$'\ndest_topic = 'new/$1'\n\
                [[auto_subscribe.topics]]\ntopic = 'to/${clientid}'\n\
                [delayed]\nmax_delayed_messages = 1\n";
    let config = Config::from_text_for_tests(text);
    change(&mut broker, |rules| {
        rules.addons = Arc::new(AddonRules::new(&config))
    });
    assert_eq!(
        broker.ask(a, &publish("old/x", "2").qos(1, 1)),
        ["publish new/x=2 q1 #1", "puback 1",]
    );
    assert_eq!(
        broker.ask(a, &subscribe(2, &[("$exclusive/e", 0)])),
        ["suback 2 [0]"]
    );
    broker.send(a, &publish("$delayed/5/d", "1").qos(1, 2));
    let full = broker.ask(a, &publish("$delayed/5/d", "2").qos(1, 3));
    assert_eq!(full.last().map(String::as_str), Some("puback 3 0x97"));
    let b = broker.connect(&v5("b"));
    broker.send(a, &publish("to/b", "hello"));
    assert_eq!(broker.payloads(b), ["hello"]);
    change(&mut broker, |rules| rules.addons = Arc::default());
    broker.sent(a);
    broker.send(a, &publish("old/x", "3"));
    assert_eq!(broker.payloads(a), [""; 0]);
}

#[test]
fn access_and_times_change_too_and_an_older_version_of_rules_does_not_come_back() {
    let mut broker = Broker::new();
    let a = broker.connect(&v5("a"));
    let denying = |version| AccessRules {
        version,
        no_match: Permission::Deny,
        ..AccessRules::open()
    };
    change(&mut broker, |rules| rules.access = denying(2).into());
    assert_eq!(
        broker.ask(a, &publish("t", "x").qos(1, 1)),
        ["puback 1 0x87"]
    );
    change(&mut broker, |rules| {
        rules.access = AccessRules::open().into()
    });
    assert_eq!(
        broker.ask(a, &publish("t", "x").qos(1, 2)),
        ["puback 2 0x87"]
    );
    change(&mut broker, |rules| {
        rules.session_expiry_s = 10;
        rules.server_keepalive_s = Some(20);
        rules.queue_memory_bytes = 1;
    });
    let kept = broker.connect(&v311("kept", false));
    broker.cut(kept);
    broker.wait_ms(11_000);
    assert!(broker.shard.clients.registry.find("kept").is_none());
    let told = broker.enter(&v5("told"), &[]);
    let connack = broker.raw(told);
    let server_keep_alive = [0x13, 0, 20];
    assert!(connack.windows(3).any(|three| three == server_keep_alive));
    let memory = broker.shard.clients.rules.queue_memory_bytes;
    assert!(memory > 1, "settled at the start");
}
