//! Rules as text, read, compiled and asked.

use std::net::IpAddr;

use proptest::prelude::*;

use super::acl::{
    Action, ActionSet, Level, Net, Pattern, Permission, Piece, Rule, Subject, Text, Topics,
    Variable, Verb, Who,
};
use super::acl_client::ClientAcl;
use super::acl_compiled::CompiledRules;
use super::acl_file::{filter_pattern, read_rules};
use super::acl_terms::parse;
use super::rules::{AccessRules, BuiltInFor, Verdict, built_in_rules};
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::topic_matches;

const ALLOW: Option<Permission> = Some(Permission::Allow);
const DENY: Option<Permission> = Some(Permission::Deny);

/// The file that EMQX 5 comes with.
const DEFAULT_FILE: &str = r##"
%% comment
{allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.
{allow, {ipaddr, "127.0.0.1"}, all, ["$SYS/#", "#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.
{allow, all}.
"##;

fn compiled(text: &str) -> CompiledRules {
    match read_rules(text, false) {
        Ok(rules) => CompiledRules::new(rules),
        Err(error) => panic!("{error}"),
    }
}

fn error_of(text: &str) -> String {
    match read_rules(text, false) {
        Ok(rules) => panic!("{text} was read: {rules:?}"),
        Err(error) => error.to_string(),
    }
}

/// A client: `id`, `user@id`, or `user@id 10.0.0.1`.
#[derive(Debug)]
struct Asking {
    id: String,
    peer: IpAddr,
    username: Option<String>,
    acl: Option<ClientAcl>,
}

fn client(text: &str) -> Asking {
    let (name, peer) = text.split_once(' ').unwrap_or((text, "192.0.2.1"));
    let (user, id) = match name.split_once('@') {
        Some((user, id)) => (Some(user), id),
        None => (None, name),
    };
    Asking {
        id: id.to_owned(),
        peer: peer.parse().unwrap(),
        username: user.map(str::to_owned),
        acl: None,
    }
}

impl Asking {
    fn subject(&self) -> Subject<'_> {
        Subject {
            client_id: &self.id,
            peer: self.peer,
            listener: "tcp:default",
            username: self.username.as_deref(),
            cert_common_name: None,
            cert_subject: None,
            attributes: &[],
        }
    }
}

/// `pub a/b`, `pub1 a`, `pub1r a`, `sub a/#`, `sub2 a`.
fn action(text: &str) -> (Action, &str) {
    let (what, topic) = text.split_once(' ').unwrap();
    let retain = what.ends_with('r');
    let digit = what.bytes().find(u8::is_ascii_digit);
    let qos = QoS::from_u8(digit.map_or(0, |digit| digit - b'0'));
    let qos = qos.unwrap();
    let action = match what.starts_with("pub") {
        true => Action::publish(qos, retain),
        false => Action::subscribe(qos),
    };
    (action, topic)
}

#[track_caller]
fn check(rules: &str, cases: &[(&str, &str, Option<Permission>)]) {
    let compiled = compiled(rules);
    let plain = read_rules(rules, false).unwrap();
    for (who, what, wanted) in cases {
        let who1 = client(who);
        let (action, topic) = action(what);
        let subject = who1.subject();
        let said = compiled.decide(&subject, action, topic, false);
        assert_eq!(said, *wanted, "{who} {what}");
        let first = plain.iter().find(|rule| rule.hits(&subject, action, topic));
        assert_eq!(
            first.map(|rule| rule.permission),
            *wanted,
            "{who} {what}, plainly"
        );
    }
}

#[test]
fn the_default_file_does_what_it_says() {
    check(
        DEFAULT_FILE,
        &[
            ("dashboard@c", "sub $SYS/brokers/+/uptime", ALLOW),
            ("dashboards@c", "sub $SYS/brokers", DENY),
            ("c", "sub $SYS/#", DENY),
            ("c", "sub #", DENY),
            ("c", "sub +/#", DENY),
            ("c", "sub a/#", ALLOW),
            ("c", "pub $SYS/x", ALLOW),
            ("c 127.0.0.1", "sub $SYS/#", ALLOW),
            ("c 127.0.0.1", "sub #", ALLOW),
            ("c ::ffff:127.0.0.1", "sub #", ALLOW),
        ],
    );
}

#[test]
fn each_way_to_say_who() {
    check(
        r##"
        {allow, {user, "u"}, publish, ["user"]}.
        {allow, {username, <<"u"/utf8>>}, publish, ["username"]}.
        {allow, {client, "c"}, publish, ["client"]}.
        {allow, {clientid, {re, "^dev-[0-9]+$"}}, publish, ["clientid"]}.
        {allow, {user, all}, publish, ["anyone"]}.
        {allow, {ipaddr, "10.1.0.0/16"}, publish, ["net"]}.
        {allow, {ipaddrs, ["10.2.0.0/16", "2001:db8::/32"]}, publish, ["nets"]}.
        {allow, {'and', [{user, "u"}, {ipaddr, "10.0.0.0/8"}]}, publish, ["both"]}.
        {allow, {'or', [{user, "u"}, {client, "x"}]}, publish, ["either"]}.
        {allow, {'or', []}, publish, ["nobody"]}.
        {allow, {'and', []}, publish, ["everybody"]}.
        {allow, {listener, "tcp:default"}, publish, ["listener"]}.
        {allow, {zone, "other"}, publish, ["zone"]}.
        {allow, {security_profile, hardened}, publish, ["hardened"]}.
        {allow, {security_profile, legacy}, publish, ["legacy"]}.
        "##,
        &[
            ("u@c", "pub user", ALLOW),
            ("v@u", "pub user", None),
            ("u", "pub user", None),
            ("u@c", "pub username", ALLOW),
            ("u@c", "pub client", ALLOW),
            ("c@d", "pub client", None),
            ("dev-17", "pub clientid", ALLOW),
            ("xdev-17", "pub clientid", None),
            ("q", "pub anyone", ALLOW),
            ("q 10.1.2.3", "pub net", ALLOW),
            ("q 10.2.2.3", "pub net", None),
            ("q 10.2.2.3", "pub nets", ALLOW),
            ("q 2001:db8::7", "pub nets", ALLOW),
            ("q 2001:db9::7", "pub nets", None),
            ("u@q 10.9.9.9", "pub both", ALLOW),
            ("u@q 11.9.9.9", "pub both", None),
            ("q 10.9.9.9", "pub both", None),
            ("u@q", "pub either", ALLOW),
            ("x", "pub either", ALLOW),
            ("y", "pub either", None),
            ("y", "pub nobody", None),
            ("y", "pub everybody", ALLOW),
            ("y", "pub listener", ALLOW),
            ("y", "pub zone", None),
            ("y", "pub hardened", None),
            ("y", "pub legacy", ALLOW),
        ],
    );
}

#[test]
fn each_way_to_say_what() {
    check(
        r#"
        {allow, all, publish, ["p"]}.
        {allow, all, subscribe, "one"}.
        {allow, all, pubsub, ["ps"]}.
        {allow, all, all, ["a"]}.
        {allow, all, {publish, [{qos, [1, 2]}, {retain, false}]}, ["rich"]}.
        {allow, all, {subscribe, [{qos, 0}]}, ["sub0"]}.
        {allow, all, {all, [{qos, 1}, {retain, true}]}, ["all1"]}.
        {allow, {user, "root"}, all, all}.
        "#,
        &[
            ("c", "pub p", ALLOW),
            ("c", "sub p", None),
            ("c", "sub one", ALLOW),
            ("c", "pub one", None),
            ("c", "pub ps", ALLOW),
            ("c", "sub ps", ALLOW),
            ("c", "pub2r a", ALLOW),
            ("c", "sub2 a", ALLOW),
            ("c", "pub1 rich", ALLOW),
            ("c", "pub2 rich", ALLOW),
            ("c", "pub0 rich", None),
            ("c", "pub1r rich", None),
            ("c", "sub1 rich", None),
            ("c", "sub0 sub0", ALLOW),
            ("c", "sub1 sub0", None),
            ("c", "sub1 all1", ALLOW),
            ("c", "pub1r all1", ALLOW),
            ("c", "pub1 all1", None),
            ("root@c", "sub $SYS/#", ALLOW),
            ("root@c", "pub x/y", ALLOW),
        ],
    );
}

#[test]
fn a_subscription_needs_a_filter_that_covers_it() {
    check(
        r##"
        {allow, all, subscribe, ["a/+/c", "b/#", "lit/+"]}.
        {allow, all, subscribe, [{eq, "w/#"}]}.
        "##,
        &[
            ("c", "sub a/b/c", ALLOW),
            ("c", "sub a/+/c", ALLOW),
            ("c", "sub a/#", None),
            ("c", "sub a/b/+", None),
            ("c", "sub a/+/+", None),
            ("c", "sub #", None),
            ("c", "sub +/#", None),
            ("c", "sub b", ALLOW),
            ("c", "sub b/#", ALLOW),
            ("c", "sub b/+/x/#", ALLOW),
            ("c", "sub +/x", None),
            ("c", "sub lit/#", None),
            ("c", "sub lit/+", ALLOW),
            ("c", "sub lit/+/#", None),
            ("c", "sub w/#", ALLOW),
            ("c", "sub w/x", None),
            ("c", "sub B/x", None),
        ],
    );
}

#[test]
fn denying_is_never_the_narrower_reading() {
    check(
        r##"
        {deny, all, subscribe, ["a/+"]}.
        {deny, all, publish, ["#"]}.
        {deny, all, subscribe, ["own/${clientid}/x"]}.
        "##,
        &[
            ("c", "sub a/#", DENY),
            ("c", "sub a/+", DENY),
            ("c", "pub $SYS/x", DENY),
            ("c", "sub own/c/x", DENY),
            ("c", "sub own/d/x", None),
            // A client id that is no level.
            ("c/d", "sub own/c/d/x", DENY),
            ("+", "sub own/other/x", DENY),
        ],
    );
}

#[test]
fn placeholders_hit_the_own_name_only() {
    check(
        r##"
        {allow, all, all, ["v4/%c/x", "v4u/%u/#"]}.
        {allow, all, all, ["v5/${clientid}", "v5u/${username}/#", "part/dev-${clientid}-${username}"]}.
        {allow, all, all, ["ip/${peerhost}", "cn/${cert_common_name}", "z/${zone}", "at/${client_attrs.room}"]}.
        {allow, all, all, ["lit/a%c"]}.
        "##,
        &[
            ("c", "pub v4/c/x", ALLOW),
            ("c", "pub v4/%c/x", None),
            ("c", "pub v4/d/x", None),
            ("u@c", "sub v4u/u/#", ALLOW),
            ("c", "sub v4u/u/#", None),
            ("c", "sub v4u/%u/#", None),
            ("c", "pub v5/c", ALLOW),
            ("u@c", "sub v5u/u/+/x", ALLOW),
            ("u@c", "pub part/dev-c-u", ALLOW),
            ("u@c", "pub part/dev-c-v", None),
            ("c", "pub part/dev-c-", None),
            ("c 10.0.0.7", "pub ip/10.0.0.7", ALLOW),
            ("c 2001:db8::7", "pub ip/2001:db8::7", ALLOW),
            ("c", "pub cn/", None),
            ("c", "pub z/default", ALLOW),
            ("c", "pub at/x", None),
            ("c", "pub lit/a%c", ALLOW),
            // Values that would widen the rule.
            ("+", "sub v5/+", None),
            ("+", "pub v5/x", None),
            ("+", "sub v4/+/x", None),
            ("#", "sub v5/#", None),
            ("a/b", "pub v5/a/b", None),
            ("#@c", "sub v5u/#", None),
            ("a/#@c", "sub v5u/a/#", None),
            ("${username}", "pub v5/${username}", ALLOW),
        ],
    );
}

#[test]
fn the_first_rule_that_hits_decides() {
    check(
        r##"
        {allow, {user, "u"}, all, ["x/#"]}.
        {deny, {ipaddr, "10.0.0.0/8"}, all, ["x/secret"]}.
        {deny, {client, "c"}, all, ["x/#"]}.
        {allow, all, all, ["#"]}.
        {deny, all}.
        "##,
        &[
            ("u@c 10.0.0.1", "pub x/secret", ALLOW),
            ("c 10.0.0.1", "pub x/secret", DENY),
            ("d 10.0.0.1", "pub x/secret", DENY),
            ("d 10.0.0.1", "pub x/other", ALLOW),
            ("c", "pub x/other", DENY),
            ("c", "pub y", ALLOW),
            ("c", "pub $SYS/x", DENY),
        ],
    );
}

#[test]
fn text_of_any_kind() {
    check(
        "{allow, {user, \"\\x{e9}\\\"\\\\\"}, publish, [\"a\" \"/b\", \"\\344\"]}.{deny,all}.",
        &[
            ("\u{e9}\"\\@c", "pub a/b", ALLOW),
            ("\u{e9}\"\\@c", "pub \u{e4}", ALLOW),
            ("e@c", "pub a/b", DENY),
            ("\u{e9}\"\\@c", "pub a/\0", DENY),
        ],
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let lines = |n: usize, rest: &str| format!("{}{rest}", "{allow, all}.\n".repeat(n));
    for (text, said) in [
        (
            lines(6, "{allow, all"),
            "line 7: `}` is missing for what begins in line 7, column 1 (column 12)",
        ),
        (
            lines(1, "{allow, all}"),
            "line 2: the file ends where the `.` after a rule is expected (column 13)",
        ),
        (
            "{permit, all}.".into(),
            "line 1: a rule begins with allow or deny (column 2)",
        ),
        (
            "{allow, all, read, [\"a\"]}.".into(),
            "line 1: the action is none of publish, subscribe, pubsub, all (column 14)",
        ),
        (
            "{allow, all, publish,\n [\"a/#/b\"]}.".into(),
            "line 2: \"a/#/b\" is not a topic filter (column 3)",
        ),
        (
            "{allow, all, publish, [\"${nobody}\"]}.".into(),
            "line 1: \"${nobody}\": there is no placeholder ${nobody} (column 24)",
        ),
        (
            "{allow, {ipaddr, \"10.0.0.0/33\"}, all, [\"a\"]}.".into(),
            "line 1: \"10.0.0.0/33\" is not an address or network (column 18)",
        ),
        (
            "{allow, {user, {re, \"(\"}}, all, [\"a\"]}.".into(),
            "line 1: \"(\" is not a regular expression that is understood here (column 16)",
        ),
        (
            "{allow, all, {publish, [{qos, 3}]}, [\"a\"]}.".into(),
            "line 1: QoS is 0, 1 or 2 (column 31)",
        ),
        (
            "{allow, Everyone, publish, [\"a\"]}.".into(),
            "line 1: `Everyone` is a variable; text stands in quotes (column 9)",
        ),
        (
            "{allow, all, publish, [\"a]}.".into(),
            "line 1: the closing \" is missing (column 24)",
        ),
        (
            "allow.".into(),
            "line 1: a rule is a tuple: {allow, ...} (column 1)",
        ),
        (
            "{allow, all} {deny, all}.".into(),
            "line 1: `{` stands where the `.` after a rule is expected (column 14)",
        ),
        (
            format!("{}1{}.", "[".repeat(40), "]".repeat(40)),
            "line 1: terms are nested more than 16 deep (column 18)",
        ),
    ] {
        assert_eq!(error_of(&text), said, "{text}");
    }
    assert!(error_of("{allow, {group, \"x\"}, all, [\"a\"]}.").contains("does not say who"));
}

#[test]
fn a_denying_rule_may_hit_what_overlaps() {
    let rules = compiled("{deny, all, subscribe, [\"secret/#\", \"$SYS/#\"]}. {allow, all}.");
    let who = client("c");
    let ask = |filter: &str, strict| {
        let action = Action::subscribe(QoS::AtMostOnce);
        rules.decide(&who.subject(), action, filter, strict)
    };
    for filter in ["#", "+/x", "+/+", "+/#"] {
        assert_eq!(ask(filter, false), ALLOW, "{filter}");
        assert_eq!(ask(filter, true), DENY, "{filter}");
    }
    for filter in ["other/#", "other/+", "x"] {
        assert_eq!(ask(filter, true), ALLOW, "{filter}");
    }
    // What a leading wildcard does not match is no overlap.
    let rules = compiled("{deny, all, subscribe, [\"$SYS/#\"]}. {allow, all}.");
    let action = Action::subscribe(QoS::AtMostOnce);
    assert_eq!(rules.decide(&who.subject(), action, "#", true), ALLOW);
    // A denial's own wildcard matches topics that begin with `$`.
    let rules = compiled("{deny, all, subscribe, [\"+/+/b/#\"]}. {allow, all}.");
    for filter in ["$s/a/b", "$s/a/#", "$s/+/b"] {
        assert_eq!(rules.decide(&who.subject(), action, filter, true), DENY);
    }
}

#[test]
fn rules_of_a_login() {
    let who = client("u@c");
    let read = |text: &str| ClientAcl::from_json(&serde_json::from_str(text).unwrap(), Some(100));
    let ask = |acl: &ClientAcl, what: &str, now| {
        let (action, topic) = action(what);
        acl.decide(&who.subject(), action, topic, now)
    };
    let old = read(r#"{"pub": ["p/${clientid}"], "sub": ["s/+"], "all": ["eq b/+"]}"#).unwrap();
    assert_eq!(ask(&old, "pub p/c", 99), ALLOW);
    assert_eq!(ask(&old, "sub s/+", 99), ALLOW);
    assert_eq!(ask(&old, "sub s/#", 99), DENY);
    assert_eq!(ask(&old, "sub b/+", 99), ALLOW);
    assert_eq!(ask(&old, "pub b/x", 99), DENY);
    assert_eq!(ask(&old, "pub p/c", 100), DENY, "it has expired");
    let new = read(
        r#"[{"permission": "deny", "action": "publish", "topic": "a/b", "qos": [1, "2"], "retain": true},
            {"permission": "allow", "action": "all", "topics": ["a/#"], "username_re": "^u$", "ipaddr": "192.0.2.0/24"}]"#,
    )
    .unwrap();
    assert_eq!(ask(&new, "pub1r a/b", 0), DENY);
    assert_eq!(ask(&new, "pub1 a/b", 0), ALLOW);
    assert_eq!(ask(&new, "sub c", 0), None, "left to other rules");
    for wrong in [
        "1",
        r#"[{"permission": "allow"}]"#,
        r#"[{"permission": "maybe", "action": "all", "topic": "a"}]"#,
        r#"[{"permission": "allow", "action": "all", "topic": 5}]"#,
        r##"{"pub": ["a/#/b"]}"##,
        r#"{"pub": "a"}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let many = format!(
        "[{}]",
        vec![r#"{"permission":"allow","action":"all","topic":"a"}"#; 257].join(",")
    );
    assert!(read(&many).unwrap_err().contains("more than 256"));
}

#[test]
fn the_chain_asks_in_its_order() {
    let mut rules = AccessRules::open();
    assert!(rules.is_open(action("pub x").0));
    let mut who = client("u@c");
    let ask = |rules: &AccessRules, who: &Asking, what: &str| {
        let (action, topic) = action(what);
        let own = who.acl.as_ref();
        rules.judge(&who.subject(), own, (action, topic), 0)
    };
    assert_eq!(ask(&rules, &who, "pub x"), Verdict::Allow);
    rules.no_match = Permission::Deny;
    assert_eq!(ask(&rules, &who, "pub x"), Verdict::Deny);
    rules.asks = true;
    assert_eq!(ask(&rules, &who, "pub x"), Verdict::Ask);
    let rule = |permission, topic: &str| Rule {
        permission,
        who: Who::All,
        actions: ActionSet::ALL,
        topics: Topics::Listed([filter_pattern(topic).unwrap()].into()),
    };
    let table = vec![
        (BuiltInFor::All, rule(Permission::Deny, "#")),
        (BuiltInFor::User("u".into()), rule(Permission::Allow, "x")),
        (
            BuiltInFor::Client("c".into()),
            rule(Permission::Deny, "x/own"),
        ),
    ];
    rules.built_in = Some(CompiledRules::new(built_in_rules(table)));
    assert_eq!(ask(&rules, &who, "pub x"), Verdict::Allow);
    assert_eq!(ask(&rules, &who, "pub x/own"), Verdict::Deny);
    assert_eq!(ask(&rules, &client("d"), "pub x"), Verdict::Deny);
    rules.file = Some(compiled("{deny, {user, \"u\"}, publish, [\"x\"]}."));
    assert_eq!(
        ask(&rules, &who, "pub x"),
        Verdict::Deny,
        "the file is first"
    );
    let own = serde_json::json!([{"permission": "allow", "action": "publish", "topic": "x"}]);
    who.acl = Some(ClientAcl::from_json(&own, None).unwrap());
    assert_eq!(
        ask(&rules, &who, "pub x"),
        Verdict::Allow,
        "the login's rules come before"
    );
}

fn level() -> impl Strategy<Value = Level> {
    let piece = |variable| Level::Template([Piece::Value(variable)].into());
    prop_oneof![
        4 => "[ab]".prop_map(|text| Level::Is(text.into())),
        2 => Just(Level::Any),
        1 => Just(piece(Variable::ClientId)),
        1 => Just(piece(Variable::Username)),
        1 => Just(Level::Template(
            [Piece::Text("a".into()), Piece::Value(Variable::ClientId)].into()
        )),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let levels = (
        proptest::collection::vec(level(), 0..4),
        any::<bool>(),
        proptest::bool::weighted(0.2),
    );
    let filter = levels.prop_map(|(mut levels, rest, dollar)| {
        if dollar {
            levels.insert(0, Level::Is("$s".into()));
        }
        if rest || levels.is_empty() {
            levels.push(Level::Rest);
        }
        Pattern::Filter(levels.into())
    });
    prop_oneof![
        5 => filter,
        1 => topic().prop_map(|text| Pattern::Exactly(text.into())),
    ]
}

/// Topic names and filters alike.
fn topic() -> impl Strategy<Value = String> {
    let level = prop_oneof![4 => "[abu]", 1 => Just("+".to_owned()), 1 => Just("aa".to_owned())];
    let levels = (
        proptest::collection::vec(level, 1..5),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.2),
    );
    levels.prop_map(|(mut levels, rest, dollar)| {
        if dollar {
            levels.insert(0, "$s".to_owned());
        }
        if rest {
            levels.push("#".to_owned());
        }
        levels.join("/")
    })
}

fn who() -> impl Strategy<Value = Who> {
    let name = || prop_oneof!["[abu]", Just("a/b".to_owned())];
    let nets = ["10.0.0.0/8", "10.0.0.1", "2001:db8::/32"];
    let leaf = prop_oneof![
        2 => Just(Who::All),
        2 => name().prop_map(|name| Who::User(Text::Is(name.into()))),
        2 => name().prop_map(|name| Who::Client(Text::Is(name.into()))),
        1 => Just(Who::User(Text::Like(regex::Regex::new("^a").unwrap()))),
        1 => proptest::sample::subsequence(nets.to_vec(), 0..3)
            .prop_map(|nets| Who::Nets(nets.iter().filter_map(|net| Net::parse(net)).collect())),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|all| Who::And(all.into())),
            proptest::collection::vec(inner, 0..3).prop_map(|any| Who::Or(any.into())),
        ]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let permission = prop_oneof![Just(Permission::Allow), Just(Permission::Deny)];
    let topics = prop_oneof![
        1 => Just(Topics::All),
        8 => proptest::collection::vec(pattern(), 0..3).prop_map(|all| Topics::Listed(all.into())),
    ];
    let actions = prop_oneof![
        Just(ActionSet::PUBLISH),
        Just(ActionSet::SUBSCRIBE),
        Just(ActionSet::ALL),
        Just(ActionSet::ALL.at_qos(0b110).with_retain(true)),
    ];
    (permission, who(), actions, topics).prop_map(|(permission, who, actions, topics)| Rule {
        permission,
        who,
        actions,
        topics,
    })
}

fn asking() -> impl Strategy<Value = Asking> {
    let names = prop_oneof![
        Just("a"),
        Just("u@b"),
        Just("a@u"),
        Just("a/b@a"),
        Just("b@a/b"),
        Just("+"),
        Just("#@a"),
    ];
    let peers = prop_oneof![
        Just("10.0.0.1"),
        Just("10.3.0.1"),
        Just("2001:db8::1"),
        Just("1.1.1.1")
    ];
    (names, peers).prop_map(|(name, peer)| client(&format!("{name} {peer}")))
}

fn wish() -> impl Strategy<Value = (Action, String)> {
    (topic(), 0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(topic, qos, retain, publish)| {
        let qos = QoS::from_u8(qos).unwrap();
        let is_filter = topic.contains(['+', '#']);
        match publish && !is_filter {
            true => (Action::publish(qos, retain), topic),
            false => (Action::subscribe(qos), topic),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The compiled form says what the first rule says that hits when read plainly.
    #[test]
    fn compiled_rules_are_the_plain_ones(
        rules in proptest::collection::vec(rule(), 0..24),
        who in asking(),
        wishes in proptest::collection::vec(wish(), 1..12),
    ) {
        let compiled = CompiledRules::new(rules.clone());
        for (action, topic) in wishes {
            let subject = who.subject();
            let plain = rules.iter().find(|rule| rule.hits(&subject, action, &topic));
            let said = compiled.decide(&subject, action, &topic, false);
            prop_assert_eq!(said, plain.map(|rule| rule.permission), "{} {:?}", topic, action);
        }
    }

    /// An allowing rule that hits a subscription allows nothing that it does not hit itself.
    #[test]
    fn an_allowed_subscription_gets_allowed_topics_only(
        pattern in pattern(),
        who in asking(),
        filter in topic(),
        names in proptest::collection::vec("(\\$s/)?[ab](/[ab]){0,3}", 1..20),
    ) {
        let rule = Rule {
            permission: Permission::Allow,
            who: Who::All,
            actions: ActionSet::ALL,
            topics: Topics::Listed([pattern.clone()].into()),
        };
        let subject = who.subject();
        let subscribe = Action { verb: Verb::Subscribe, qos: QoS::AtMostOnce, retain: false };
        // A literal rule allows the filter as it stands, whatever that matches.
        prop_assume!(matches!(pattern, Pattern::Filter(_)));
        if rule.hits(&subject, subscribe, &filter) {
            for name in names.iter().filter(|name| topic_matches(&filter, name)) {
                prop_assert!(rule.hits(&subject, subscribe, name), "{filter} gets {name}");
            }
        }
    }

    /// Under `denies_overlap` a subscription that passes gets nothing that is denied.
    #[test]
    fn what_overlaps_is_denied(
        pattern in pattern(),
        who in asking(),
        filter in topic(),
        names in proptest::collection::vec("(\\$s/)?[ab](/[ab]){0,3}", 1..20),
    ) {
        let deny = Rule {
            permission: Permission::Deny,
            who: Who::All,
            actions: ActionSet::ALL,
            topics: Topics::Listed([pattern.clone()].into()),
        };
        prop_assume!(matches!(pattern, Pattern::Filter(_)));
        let compiled = CompiledRules::new(vec![deny]);
        let subject = who.subject();
        let subscribe = Action::subscribe(QoS::AtMostOnce);
        if compiled.decide(&subject, subscribe, &filter, true).is_none() {
            for name in names.iter().filter(|name| topic_matches(&filter, name)) {
                let said = compiled.decide(&subject, subscribe, name, true);
                prop_assert_eq!(said, None, "{} gets {}", filter, name);
            }
        }
    }

    /// No text whatever ends in anything but rules or an error.
    #[test]
    fn any_text_is_read_or_refused(text in "[\\{\\}\\[\\]<>\"'%,./\\\\a-d0-9$ \\n{}]{0,80}") {
        let _ = parse(&text);
        let _ = read_rules(&text, true);
    }

    /// Nor does a damaged file of rules.
    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0..DEFAULT_FILE.len(), by in any::<char>()) {
        let mut text = DEFAULT_FILE.to_owned();
        text.replace_range(at..=at, &by.to_string());
        let _ = read_rules(&text, false);
    }
}
