//! What clients may do, and the ways around it that do not work.

use super::support::{Broker, Bye, Client, publish, subscribe, v5, v311};
use crate::access::acl::Permission;
use crate::access::acl_client::ClientAcl;
use crate::access::acl_compiled::CompiledRules;
use crate::access::acl_file::read_rules;
use crate::access::rules::{AccessRules, DenyAction};
use crate::base::limits::ACCESS_QUESTIONS_MAX;
use crate::gate::access::{AccessAnswer, AccessReply};
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;

/// A broker with a file of rules.
fn broker(file: &str) -> Broker {
    broker_with(file, |_| {})
}

fn broker_with(file: &str, change: impl FnOnce(&mut AccessRules)) -> Broker {
    let mut access = rules(file);
    change(&mut access);
    Broker::ruled(|rules| rules.access = access.into())
}

fn rules(file: &str) -> AccessRules {
    AccessRules {
        file: Some(CompiledRules::new(read_rules(file, false).unwrap())),
        ..AccessRules::open()
    }
}

/// The answer to a SUBSCRIBE with these filters.
fn suback(broker: &mut Broker, slot: u32, filters: &[&str]) -> String {
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 0)).collect();
    let answer = broker.ask(slot, &subscribe(1, &filters));
    answer
        .into_iter()
        .find(|line| line.starts_with("suback"))
        .unwrap_or_default()
}

const SECRETS: &str = r#"
    {allow, {user, "root"}, all, all}.
    {allow, all, all, ["open/#", "own/${clientid}/#"]}.
    {deny, all}.
"#;

#[test]
fn a_publish_that_is_denied() {
    let mut broker = broker(SECRETS);
    let root = broker.connect(&v5("r").named("root"));
    broker.ask(root, &subscribe(1, &[("#", 0)]));
    let slot = broker.connect(&v5("c"));
    assert!(broker.ask(slot, &publish("secret", "0")).is_empty());
    assert_eq!(
        broker.ask(slot, &publish("secret", "1").qos(1, 7)),
        ["puback 7 0x87"]
    );
    assert_eq!(
        broker.ask(slot, &publish("secret", "2").qos(2, 8)),
        ["pubrec 8 0x87"]
    );
    assert_eq!(
        broker.ask(slot, &publish("open/x", "yes").qos(1, 9)),
        ["puback 9"]
    );
    let old = broker.connect(&v311("old", true));
    assert_eq!(
        broker.ask(old, &publish("secret", "1").qos(1, 7)),
        ["puback 7"]
    );
    assert_eq!(
        broker.ask(old, &publish("secret", "2").qos(2, 8)),
        ["pubrec 8"]
    );
    assert_eq!(broker.payloads(root), ["yes"]);
    assert_eq!(broker.count(Counter::PacketsPublishAuthError), 5);
    assert_eq!(broker.count(Counter::AuthorizationDeny), 5);
    assert_eq!(broker.count(Counter::AuthorizationAllow), 2);
    assert_eq!(broker.count(Counter::ClientAuthorize), 7);
}

#[test]
fn denials_may_end_the_connection() {
    for qos in 0..=2 {
        let mut broker = broker_with(SECRETS, |rules| rules.deny_action = DenyAction::Disconnect);
        let slot = broker.connect(&v5("c"));
        assert_eq!(
            broker.ask(slot, &publish("secret", "").qos(qos, 7)),
            ["disconnect 0x87"]
        );
        let slot = broker.connect(&v5("d"));
        let answer = broker.ask(slot, &subscribe(1, &[("open/x", 0), ("secret", 0)]));
        assert_eq!(answer, ["disconnect 0x87"]);
        let old = broker.connect(&v311("old", true));
        broker.send(old, &publish("secret", ""));
        assert_eq!(broker.closed.len(), 3);
        assert_eq!(broker.count(Counter::ShutdownNotAuthorized), 3);
    }
}

#[test]
fn each_filter_of_a_subscribe_has_its_answer() {
    let mut broker = broker(SECRETS);
    let slot = broker.connect(&v5("c"));
    let filters = ["open/x", "secret", "own/c/+", "own/+/x", "open/#", "#"];
    assert_eq!(
        suback(&mut broker, slot, &filters),
        "suback 1 [0, 135, 0, 135, 0, 135]"
    );
    let old = broker.connect(&v311("old", true));
    assert_eq!(
        suback(&mut broker, old, &["open/x", "secret"]),
        "suback 1 [0, 128]"
    );
    assert_eq!(broker.count(Counter::PacketsSubscribeAuthError), 2);
}

#[test]
fn a_suback_may_leave_open_why() {
    let hide = |rules: &mut AccessRules| rules.denied_subscription = ReasonCode::UnspecifiedError;
    let mut broker = broker_with(SECRETS, hide);
    let slot = broker.connect(&v5("c"));
    assert_eq!(
        suback(&mut broker, slot, &["secret", "open/x"]),
        "suback 1 [128, 0]"
    );
}

#[test]
fn wrapped_filters_are_checked_by_what_is_in_them() {
    let mut broker = broker(SECRETS);
    let slot = broker.connect(&v5("c"));
    for (filter, code) in [
        ("$share/g/secret", 135),
        ("$share/open/secret", 135),
        ("$share/g/#", 135),
        ("$share/g/open/x", 0),
        ("$queue/secret", 135),
        ("$queue/open/x", 0),
        ("$exclusive/secret", 135),
        ("$share/g/$SYS/#", 135),
    ] {
        let want = format!("suback 1 [{code}]");
        assert_eq!(suback(&mut broker, slot, &[filter]), want, "{filter}");
    }
    assert!(broker.ask(slot, &publish("$delayed/1/secret", "").qos(1, 3))[0].ends_with("0x87"));
    assert!(!broker.ask(slot, &publish("$delayed/1/open/x", "").qos(1, 3))[0].ends_with("0x87"));
}

#[test]
fn wildcards_get_nobody_past_a_rule() {
    for filter in [
        "#",
        "+",
        "+/#",
        "+/+",
        "+/secret",
        "../secret",
        "OPEN/x",
        "own/#",
        "own/+/#",
        "/open/x",
        "own//#",
        "$SYS/#",
        " open/x",
        "op\u{435}n/x",
        "open",
        "own",
    ] {
        let mut broker = broker(SECRETS);
        let slot = broker.connect(&v5("c"));
        let answer = broker.ask(slot, &subscribe(1, &[(filter, 0)]));
        let covered = filter == "open"; // `open/#` is about its parent level too.
        let want = if covered {
            "suback 1 [0]"
        } else {
            "suback 1 [135]"
        };
        assert_eq!(answer, [want], "{filter}");
    }
    // What is no filter does not come so far.
    for filter in ["open+/x", "own/c#", "own/c+", "open/\0", "#/open/x", ""] {
        let mut broker = broker(SECRETS);
        let slot = broker.connect(&v5("c"));
        let answer = broker.ask(slot, &subscribe(1, &[(filter, 0)]));
        assert!(
            answer[0].starts_with("disconnect"),
            "{filter:?}: {answer:?}"
        );
        assert_eq!(broker.count(Counter::AuthorizationAllow), 0);
    }
}

#[test]
fn client_ids_with_wildcards_widen_nothing() {
    let mut broker = broker(SECRETS);
    let root = broker.connect(&v5("r").named("root"));
    broker.ask(root, &subscribe(1, &[("own/#", 0)]));
    for id in ["+", "#", "c/d", "+/+", "../c", "${clientid}", "%c", ""] {
        let slot = broker.connect(&v5(id));
        for filter in ["own/#", "own/+/#", "own/c/#", "own/c/d/#", "own/d/#"] {
            if id == "c/d" && filter == "own/d/#" {
                continue;
            }
            let answer = suback(&mut broker, slot, &[filter]);
            assert_eq!(answer, "suback 1 [135]", "{id:?} {filter}");
        }
        broker.send(slot, &publish("own/c/x", id));
    }
    assert!(broker.payloads(root).is_empty());
}

#[test]
fn an_alias_does_not_hide_a_topic() {
    let mut broker = broker(SECRETS);
    let slot = broker.connect(&v5("c"));
    let set = publish("secret", "").qos(1, 1).alias(1);
    assert_eq!(broker.ask(slot, &set), ["puback 1 0x87"]);
    let used = publish("", "").qos(1, 2).alias(1);
    assert_eq!(broker.ask(slot, &used), ["puback 2 0x87"]);
}

#[test]
fn retained_messages_do_not_leak() {
    let mut broker = broker(SECRETS);
    let root = broker.connect(&v5("r").named("root"));
    broker.send(root, &publish("secret", "stored").retain());
    broker.send(root, &publish("open/x", "known").retain());
    let slot = broker.connect(&v5("c"));
    for filter in ["#", "secret", "+", "$share/g/secret"] {
        assert_eq!(suback(&mut broker, slot, &[filter]), "suback 1 [135]");
    }
    broker.send(slot, &subscribe(1, &[("open/#", 0)]));
    assert_eq!(broker.payloads(slot), ["known"]);
    // Nor can they be cleared or replaced.
    broker.send(slot, &publish("secret", "").retain());
    broker.send(slot, &publish("secret", "other").retain());
    broker.send(root, &subscribe(2, &[("secret", 0)]));
    assert_eq!(broker.payloads(root), ["stored"]);
}

#[test]
fn a_will_to_a_denied_topic_is_not_published() {
    let mut broker = broker(SECRETS);
    let root = broker.connect(&v5("r").named("root"));
    broker.ask(root, &subscribe(1, &[("#", 0)]));
    let ends: [fn(&mut Broker, u32); 3] = [
        |broker, slot| broker.cut(slot),
        |broker, slot| broker.send(slot, &Bye(ReasonCode::DisconnectWithWillMessage, None)),
        |broker, _| {
            broker.enter(&v5("c"), &[]);
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let slot = broker.connect_again(&v5("c").wills("secret", 0));
        end(&mut broker, slot);
        assert!(broker.payloads(root).is_empty());
        assert_eq!(broker.count(Counter::WillDenied), number as u64 + 1);
        let slot = broker.connect_again(&v5("c").wills("own/c/x", 0));
        end(&mut broker, slot);
        assert_eq!(broker.payloads(root), ["will"]);
    }
    // A delayed one neither, and not at a shutdown.
    let slot = broker.connect_again(&v5("late").keeps(100).wills("secret", 5));
    broker.cut(slot);
    broker.wait_ms(10_000);
    broker.connect(&v5("last").wills("secret", 0));
    broker.shard.publish_all_wills();
    broker.run();
    assert!(broker.payloads(root).is_empty());
    // Who says good-bye has no will to be denied.
    let denied = broker.count(Counter::WillDenied);
    let slot = broker.connect(&v5("polite").wills("secret", 0));
    broker.send(slot, &Bye(ReasonCode::Success, None));
    assert_eq!(broker.count(Counter::WillDenied), denied);
}

#[test]
fn another_user_name_takes_no_rights_over() {
    let mut broker = broker(
        r#"{allow, {user, "alice"}, all, ["a/#"]}. {allow, {user, "bob"}, all, ["b/#"]}. {deny, all}."#,
    );
    let alice = broker.connect(&v5("c").named("alice").keeps(100));
    assert_eq!(suback(&mut broker, alice, &["a/x"]), "suback 1 [0]");
    let bob = broker.connect_again(&v5("c").named("bob").keeps(100));
    assert_eq!(
        suback(&mut broker, bob, &["a/y", "b/y"]),
        "suback 1 [135, 0]"
    );
    assert_eq!(
        broker.ask(bob, &publish("a/x", "").qos(1, 1)),
        ["puback 1 0x87"]
    );
    let nobody = broker.connect_again(&v5("c").keeps(100));
    assert_eq!(
        broker.ask(nobody, &publish("b/x", "").qos(1, 1)),
        ["puback 1 0x87"]
    );
}

#[test]
fn the_file_of_the_interoperability_suite() {
    let mut broker = broker(r#"{deny, all, subscribe, ["test/nosubscribe"]}."#);
    let old = broker.connect(&v311("old", true));
    assert_eq!(
        suback(&mut broker, old, &["test/nosubscribe"]),
        "suback 1 [128]"
    );
    assert_eq!(suback(&mut broker, old, &["test/other"]), "suback 1 [0]");
}

#[test]
fn rules_that_came_with_the_login_and_superusers() {
    let mut broker = broker(SECRETS);
    let slot = broker.connect(&v5("c").named("u"));
    let identity = |broker: &mut Broker, slot: u32, acl: &str, superuser| {
        let connection = broker.shard.clients.connections.at_mut(slot).unwrap();
        let identity = connection.extra_mut().identity.as_mut().unwrap();
        let acl: serde_json::Value = serde_json::from_str(acl).unwrap();
        let expires = broker.now.unix_us / 1_000_000 + 60;
        identity.acl = ClientAcl::from_json(&acl, Some(expires)).ok().map(Box::new);
        identity.superuser = superuser;
    };
    identity(
        &mut broker,
        slot,
        r#"{"sub": ["secret/${username}"]}"#,
        false,
    );
    assert_eq!(
        suback(&mut broker, slot, &["secret/u", "secret/v", "open/x"]),
        "suback 1 [0, 135, 135]"
    );
    broker.wait_ms(61_000);
    assert_eq!(
        suback(&mut broker, slot, &["secret/u"]),
        "suback 1 [135]",
        "expired"
    );
    identity(&mut broker, slot, r#"{"sub": []}"#, true);
    assert_eq!(
        suback(&mut broker, slot, &["$SYS/#", "#"]),
        "suback 1 [0, 0]"
    );
}

#[test]
fn other_rules_hold_at_once() {
    let mut broker = broker(SECRETS);
    let slot = broker.connect(&v5("c"));
    assert_eq!(suback(&mut broker, slot, &["secret"]), "suback 1 [135]");
    let mut open = rules("{allow, all}.");
    open.version = 2;
    broker.shard.set_access(open.into());
    assert_eq!(suback(&mut broker, slot, &["secret"]), "suback 1 [0]");
    let mut late = rules("{deny, all}.");
    late.version = 1;
    broker.shard.set_access(late.into());
    assert_eq!(
        suback(&mut broker, slot, &["secret"]),
        "suback 1 [0]",
        "older rules"
    );
}

/// A broker whose rules leave everything but `open/#` to others.
fn asking() -> Broker {
    broker_with(r#"{allow, all, all, ["open/#"]}."#, |rules| {
        rules.asks = true;
        rules.no_match = Permission::Deny;
    })
}

fn reply(broker: &mut Broker, reply: AccessReply) {
    for question in std::mem::take(&mut broker.access_questions) {
        let ticket = question.ticket;
        broker.shard.access_answered(AccessAnswer { ticket, reply });
    }
    broker.run();
}

#[test]
fn who_has_to_be_asked_about_waits() {
    let mut broker = asking();
    let slot = broker.connect(&v5("c").named("u"));
    assert_eq!(
        broker.ask(slot, &publish("open/x", "").qos(1, 1)),
        ["puback 1 0x10"]
    );
    assert!(broker.ask(slot, &publish("x", "").qos(1, 2)).is_empty());
    // What comes behind it waits as well, in its order.
    assert!(
        broker
            .ask(slot, &publish("open/x", "").qos(1, 3))
            .is_empty()
    );
    assert!(
        broker.shard.may_sleep(),
        "nothing spins while others are asked"
    );
    assert_eq!(broker.access_questions.len(), 1);
    let question = &broker.access_questions[0];
    assert_eq!((&*question.client_id, &*question.topic), ("c", "x"));
    assert_eq!(question.username.as_deref(), Some("u"));
    reply(&mut broker, AccessReply::Allow);
    assert_eq!(broker.sent(slot), ["puback 2 0x10", "puback 3 0x10"]);
    // The answer is kept for a minute.
    assert_eq!(
        broker.ask(slot, &publish("x", "").qos(1, 4)),
        ["puback 4 0x10"]
    );
    assert_eq!(broker.count(Counter::AuthorizationCacheMiss), 1);
    assert_eq!(broker.count(Counter::AuthorizationCacheHit), 1);
    broker.wait_ms(61_000);
    assert!(broker.ask(slot, &publish("x", "").qos(1, 5)).is_empty());
    reply(&mut broker, AccessReply::Deny);
    assert_eq!(broker.sent(slot), ["puback 5 0x87"]);
    // Or until it is drained.
    broker.shard.drain_access_cache(Some("d"));
    assert_eq!(
        broker.ask(slot, &publish("x", "").qos(1, 6)),
        ["puback 6 0x87"]
    );
    broker.shard.drain_access_cache(Some("c"));
    assert!(broker.ask(slot, &publish("x", "").qos(1, 7)).is_empty());
    reply(&mut broker, AccessReply::Ignore);
    assert_eq!(broker.sent(slot), ["puback 7 0x87"], "no_match denies");
    broker.shard.drain_access_cache(None);
    assert!(broker.ask(slot, &publish("x", "").qos(1, 8)).is_empty());
    reply(&mut broker, AccessReply::Allow);
    assert_eq!(broker.sent(slot), ["puback 8 0x10"]);
}

#[test]
fn all_filters_are_asked_about_at_once() {
    let mut broker = asking();
    let slot = broker.connect(&v5("c"));
    let filters = [
        ("a", 0),
        ("open/x", 0),
        ("$share/g/b", 0),
        ("a", 0),
        ("a", 1),
    ];
    assert!(broker.ask(slot, &subscribe(1, &filters)).is_empty());
    let topics: Vec<&str> = broker.access_questions.iter().map(|q| &*q.topic).collect();
    assert_eq!(topics, ["a", "b", "a", "a"]);
    reply(&mut broker, AccessReply::Allow);
    assert_eq!(broker.sent(slot), ["suback 1 [0, 0, 0, 0, 1]"]);
}

#[test]
fn an_answer_that_does_not_come_denies() {
    let mut broker = asking();
    let slot = broker.connect(&v5("c"));
    assert!(broker.ask(slot, &publish("x", "").qos(1, 2)).is_empty());
    broker.wait_ms(6_000);
    assert_eq!(broker.sent(slot), ["puback 2 0x87"]);
    assert_eq!(broker.count(Counter::AuthorizationTimeout), 1);
    // It comes too late, and is not taken for another's.
    assert!(broker.ask(slot, &publish("y", "").qos(1, 3)).is_empty());
    let late = broker.access_questions.remove(0);
    broker.shard.access_answered(AccessAnswer {
        ticket: late.ticket,
        reply: AccessReply::Allow,
    });
    broker.run();
    assert!(broker.sent(slot).is_empty());
    reply(&mut broker, AccessReply::Unavailable);
    assert_eq!(broker.sent(slot), ["puback 3 0x87"]);
    assert_eq!(broker.count(Counter::AuthorizationUnavailable), 1);
}

#[test]
fn questions_are_limited_and_nobody_is_forgotten() {
    let mut broker = asking();
    let filters: Vec<String> = (0..ACCESS_QUESTIONS_MAX + 10)
        .map(|n| format!("f{n}"))
        .collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 0)).collect();
    let slot = broker.connect(&v5("many"));
    broker.send(slot, &subscribe(1, &filters));
    assert_eq!(broker.access_questions.len(), ACCESS_QUESTIONS_MAX);
    let other = broker.connect(&v5("other"));
    broker.receive(other, &publish("x", "").qos(1, 1));
    broker.turn();
    assert_eq!(
        broker.access_questions.len(),
        ACCESS_QUESTIONS_MAX,
        "no more at once"
    );
    for _ in 0..3 {
        reply(&mut broker, AccessReply::Allow);
    }
    assert_eq!(broker.sent(other), ["puback 1 0x10"]);
    assert!(broker.sent(slot)[0].starts_with("suback 1 [0, 0,"));
    // A client that goes takes its questions along.
    let slot = broker.connect(&v5("gone"));
    broker.send(slot, &publish("y", ""));
    broker.cut(slot);
    broker.wait_ms(6_000);
    assert!(broker.shard.may_sleep());
    broker.slot_closed(slot);
    reply(&mut broker, AccessReply::Allow);
}

#[test]
fn a_will_is_asked_about_when_its_client_comes() {
    let mut broker = asking();
    for (id, said, wanted) in [
        ("a", Some(AccessReply::Allow), 1),
        ("b", Some(AccessReply::Deny), 0),
        ("c", None, 0),
    ] {
        let published = broker.count(Counter::WillPublished);
        let client: Client<'_> = v5(id).wills("w", 0);
        let slot = broker.connect(&client);
        assert_eq!(broker.access_questions.len(), 1);
        match said {
            Some(said) => reply(&mut broker, said),
            None => broker.access_questions.clear(),
        }
        broker.cut(slot);
        assert_eq!(
            broker.count(Counter::WillPublished) - published,
            wanted,
            "{id}"
        );
    }
}

#[test]
fn rules_are_asked_about_what_the_client_said() {
    let text = "[[rewrite]]\nsource_topic = 'open/#'\nre = '^open/(.+)$'\ndest_topic = 'secret/$1'\n\
                [[auto_subscribe.topics]]\ntopic = 'open/auto'\n\
                [[auto_subscribe.topics]]\ntopic = 'denied/auto'\n";
    let config = crate::config::Config::from_text_for_tests(text);
    let mut broker = Broker::ruled(|all| {
        all.access = rules(SECRETS).into();
        all.addons = std::sync::Arc::new(crate::shard::addons::AddonRules::new(&config));
    });
    let slot = broker.connect(&v5("c"));
    // Made, but not rewritten; and denied.
    assert_eq!(broker.count(Counter::AutoSubscribed), 1);
    assert_eq!(broker.count(Counter::AutoSubscribeFailed), 1);
    let answer = suback(
        &mut broker,
        slot,
        &["open/x", "secret/x", "$share/g/secret/y"],
    );
    assert_eq!(answer, "suback 1 [0, 135, 135]");
    let got = broker.ask(slot, &publish("open/x", "1").qos(1, 1));
    assert_eq!(got, ["publish secret/x=1", "puback 1"]);
    let got = broker.ask(slot, &publish("$delayed/1/secret/x", "2").qos(1, 2));
    assert_eq!(got, ["puback 2 0x87"]);
    broker.send(slot, &publish("$delayed/1/open/x", "3"));
    broker.wait_ms(1_200);
    assert_eq!(broker.payloads(slot), ["3"]);
}
