//! What a question about access costs: `cargo bench --bench access`. Prints nanoseconds of CPU time a
//! question, with so many rules in the file; judges nothing.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fmt::Write;
use std::net::IpAddr;

use millrace::access::acl::{Action, Subject};
use millrace::access::acl_compiled::CompiledRules;
use millrace::access::acl_file::read_rules;
use millrace::mqtt::qos::QoS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUESTIONS: usize = 1_000_000;
const CLIENTS: usize = 1024;

fn main() {
    for rules in [10, 1_000, 100_000] {
        println!("{rules} rules");
        measure("a rule a user", rules, &|n| {
            format!("{{allow, {{user, \"user{n}\"}}, all, [\"site/{n}/#\", \"all/+/status\"]}}.")
        });
        measure("a rule a client, placeholder first", rules, &|n| match n {
            0 => "{allow, all, all, [\"own/${clientid}/#\"]}.".to_owned(),
            _ => format!("{{deny, {{client, \"c{n}\"}}, publish, [\"site/{n}/cmd\"]}}."),
        });
        measure("a filter a rule, for all", rules, &|n| {
            format!("{{allow, all, publish, [\"site/{n}/+/cmd\"]}}.")
        });
        measure("a network a rule", rules, &|n| {
            let (a, b) = (n / 256 % 256, n % 256);
            format!("{{allow, {{ipaddr, \"10.{a}.{b}.0/24\"}}, all, [\"site/{n}/#\"]}}.")
        });
        measure("every kind", rules, &|n| match n % 4 {
            0 => format!("{{allow, {{user, \"user{n}\"}}, all, [\"site/{n}/#\"]}}."),
            1 => format!("{{deny, all, publish, [\"deep/{n}/+/x/#\"]}}."),
            2 => format!(
                "{{allow, {{ipaddr, \"10.0.{}.0/24\"}}, all, [\"net/#\"]}}.",
                n % 256
            ),
            _ => format!("{{deny, {{client, \"c{n}\"}}, subscribe, [{{eq, \"#\"}}]}}."),
        });
    }
    println!("what is compared one by one");
    measure("1,000 regular expressions, no topic hit", 1_000, &|n| {
        format!("{{allow, {{clientid, {{re, \"^dev-{n}-\"}}}}, all, [\"re/{n}/#\"]}}.")
    });
    measure("100 regular expressions, each asked", 100, &|n| {
        format!("{{allow, {{clientid, {{re, \"^dev-{n}-\"}}}}, all, [\"site/#\"]}}.")
    });
}

/// Asks for clients and topics of which some are hit and some are not.
fn measure(what: &str, count: usize, rule: &dyn Fn(usize) -> String) {
    let mut text = String::new();
    for n in 0..count {
        writeln!(text, "{}", rule(n)).unwrap();
    }
    text.push_str("{deny, all}.\n");
    let rules = CompiledRules::new(read_rules(&text, false).unwrap());
    let mut random = 1_u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize
    };
    let clients: Vec<(String, String, String, IpAddr)> = (0..CLIENTS)
        .map(|_| {
            let n = next() % count;
            let topic = format!("site/{}/pump/cmd", if next() % 2 == 0 { n } else { next() });
            let [.., high, low] = n.to_be_bytes();
            let peer = [10, high, low, 7].into();
            (format!("c{n}"), format!("user{n}"), topic, peer)
        })
        .collect();
    let action = Action::publish(QoS::AtLeastOnce, false);
    let since = Clock::now();
    let mut allowed = 0;
    for round in 0..QUESTIONS {
        let (client_id, username, topic, peer) = &clients[round % CLIENTS];
        let subject = Subject {
            client_id,
            peer: *peer,
            listener: "tcp:default",
            username: Some(username),
            cert_common_name: None,
            cert_subject: None,
            attributes: &[],
        };
        let said = rules.decide(&subject, action, topic, false);
        allowed += usize::from(said == Some(millrace::access::acl::Permission::Allow));
    }
    let ns = (Clock::now().0 - since.0) as f64 / QUESTIONS as f64;
    let share = allowed * 100 / QUESTIONS;
    println!("  {what:<42} {ns:>8.1} ns   {share}% allowed");
}

/// CPU time of this thread, so that other load on the machine does not count as time.
struct Clock(u64);

impl Clock {
    fn now() -> Self {
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(schedstat.split(' ').next().unwrap().parse().unwrap())
    }
}
