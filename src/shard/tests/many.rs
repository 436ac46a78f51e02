//! Many sessions with in-memory transports: what one takes, by table. Ten million of them in a run of its
//! own (`scripts/test-long.sh ten-million`), twenty thousand in every run of the tests.

use crate::mqtt::version::Version;
use crate::shard::tests::support::{Broker, Client, subscribe, v5};

/// The design's budgets, bytes a session in tables; the plane's own tables and the kernel come on top.
const IDLE_BYTES_MAX: f64 = 256.0;
const SUBSCRIBED_BYTES_MAX: f64 = 512.0;

/// Anonymous memory of this process.
fn anonymous_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Connects `count` clients, lets them subscribe, and prints what it took, as `name=value`.
fn fill(count: u32, subscribed: bool) -> f64 {
    let before = anonymous_bytes();
    let mut broker = Broker::ruled(|rules| rules.max_connections = count + 1);
    let empty: u64 = rows(&broker).iter().map(|row| row.2).sum();
    for number in 0..count {
        let id = format!("bench-{number:014}");
        let slot = broker.connect(&Client {
            version: Version::V311,
            keep_alive_s: 300,
            ..v5(&id)
        });
        if subscribed {
            let filter = format!("bench/own/{number}");
            assert_eq!(
                broker.ask(slot, &subscribe(1, &[(&filter, 0)])),
                ["suback 1 [0]"]
            );
        }
        broker.forget(slot);
    }
    let kind = if subscribed { "subscribed" } else { "idle" };
    let tables = rows(&broker);
    let all: u64 = tables.iter().map(|row| row.2).sum();
    let each = (all - empty) as f64 / f64::from(count);
    println!("sessions={count}");
    for (name, _, bytes) in tables.iter().filter(|row| row.2 > 0) {
        let name = name.replace([' ', '-'], "_");
        println!(
            "{kind}_{name}_bytes_a_session={:.1}",
            *bytes as f64 / f64::from(count)
        );
    }
    println!("{kind}_tables_bytes_a_session={each:.1}");
    // With the system's allocator, not the broker's, and with what the test itself holds.
    let grown = anonymous_bytes().saturating_sub(before);
    println!(
        "{kind}_process_bytes_a_session={:.1}",
        grown as f64 / f64::from(count)
    );
    each
}

fn rows(broker: &Broker) -> Vec<(&'static str, u64, u64)> {
    let mut rows = broker.shard.tables().rows;
    let (entries, bytes) = broker.shared_index();
    rows.push(("shared index", entries, bytes));
    rows
}

#[test]
fn a_session_keeps_to_its_budget() {
    assert!(fill(20_000, false) <= IDLE_BYTES_MAX);
    assert!(fill(20_000, true) <= SUBSCRIBED_BYTES_MAX);
}

#[test]
#[ignore = "minutes, and gigabytes: scripts/test-long.sh ten-million"]
fn ten_million_sessions() {
    let count = std::env::var("MILLRACE_SESSIONS").ok();
    let count = count.map_or(10_000_000, |count| count.parse().unwrap());
    assert!(fill(count, false) <= IDLE_BYTES_MAX);
    assert!(fill(count, true) <= SUBSCRIBED_BYTES_MAX);
}
