//! Access rules from outside: a file of Erlang terms in both generations of the grammar, the `acl` claim of
//! a token or the reply of a service, a filter of a database. What is refused has a reason; of what is
//! taken, many rules compiled say what the rules say one by one.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use millrace::access::acl::{Action, Pattern, Permission, Rule, Subject, Topics};
use millrace::access::acl_client::ClientAcl;
use millrace::access::acl_compiled::CompiledRules;
use millrace::access::acl_file::{filter_pattern, read_rules};
use millrace::mqtt::qos::QoS;

const TOPICS: [&str; 12] = [
    "a", "a/b", "a/+", "a/#", "#", "+", "$SYS/brokers", "$SYS/#", "dev/one", "dev/one/#", "/", "eq a",
];

fn subjects() -> [Subject<'static>; 2] {
    let nobody = Subject {
        client_id: "one",
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        listener: "tcp:default",
        username: None,
        cert_common_name: None,
        cert_subject: None,
        attributes: &[],
    };
    let somebody = Subject {
        client_id: "dev-1/+",
        peer: IpAddr::V6(Ipv6Addr::LOCALHOST),
        listener: "ssl:default",
        username: Some("dashboard"),
        cert_common_name: Some("one"),
        cert_subject: Some("CN=one,O=x"),
        ..nobody
    };
    [nobody, somebody]
}

fn actions() -> [Action; 4] {
    [
        Action::publish(QoS::AtMostOnce, false),
        Action::publish(QoS::AtLeastOnce, true),
        Action::subscribe(QoS::AtMostOnce),
        Action::subscribe(QoS::ExactlyOnce),
    ]
}

/// What the first rule says that hits, read one after the other.
fn plainly(rules: &[Rule], subject: &Subject<'_>, action: Action, topic: &str) -> Option<Permission> {
    let hit = rules.iter().find(|rule| rule.hits(subject, action, topic));
    hit.map(|rule| rule.permission)
}

/// Filters of the rules, so that some topics are hit.
fn texts(rules: &[Rule]) -> Vec<String> {
    let listed = rules.iter().filter_map(|rule| match &rule.topics {
        Topics::Listed(patterns) => Some(patterns.iter()),
        Topics::All => None,
    });
    listed
        .flatten()
        .filter_map(|pattern| match pattern {
            Pattern::Exactly(text) => Some(text.to_string()),
            Pattern::Filter(_) => None,
        })
        .take(4)
        .collect()
}

fn of_a_file(text: &str) {
    for is_hardened in [false, true] {
        let rules = match read_rules(text, is_hardened) {
            Ok(rules) => rules,
            Err(error) => {
                assert!(!error.what.is_empty() && !error.to_string().is_empty());
                continue;
            }
        };
        let compiled = CompiledRules::new(rules.clone());
        assert_eq!(compiled.len(), rules.len());
        let own = texts(&rules);
        let topics = || TOPICS.into_iter().chain(own.iter().map(String::as_str));
        for subject in &subjects() {
            for action in actions() {
                for topic in topics() {
                    let expected = plainly(&rules, subject, action, topic);
                    let said = compiled.decide(subject, action, topic, false);
                    assert_eq!(said, expected, "{subject:?} {action:?} {topic:?}");
                    compiled.decide(subject, action, topic, true);
                }
            }
        }
    }
}

fn of_a_login(text: &str) {
    let Ok(json) = serde_json::from_str(text) else {
        return;
    };
    match ClientAcl::from_json(&json, Some(10)) {
        Ok(acl) => {
            for subject in &subjects() {
                for topic in TOPICS {
                    for action in actions() {
                        acl.decide(subject, action, topic, 9);
                        // From then on nothing is allowed.
                        let over = acl.decide(subject, action, topic, 10);
                        assert_eq!(over, Some(Permission::Deny));
                    }
                }
            }
        }
        Err(what) => assert!(!what.is_empty()),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match first % 3 {
        0 => of_a_file(text),
        1 => of_a_login(text),
        _ => {
            if let Err(what) = filter_pattern(text) {
                assert!(!what.is_empty());
            }
        }
    }
});
