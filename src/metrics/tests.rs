//! The catalogue is whole, every metric is used, and sums are right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

#[test]
fn the_reader_adds_the_writers_up() {
    let (registry, mut writers) = MetricsRegistry::new(3);
    let last = writers.pop().expect("three writers");
    let thread = std::thread::spawn(move || {
        for _ in 0..1000 {
            last.inc(Counter::MessagesQos1Received);
        }
        last.set(Gauge::Sessions, 5);
        last.set(Gauge::IndexEpoch, 9);
    });
    for writer in &writers {
        writer.add(Counter::MessagesQos0Received, 10);
        writer.set(Gauge::Sessions, 1);
        writer.set(Gauge::IndexEpoch, 4);
    }
    thread.join().expect("the writer does not panic");
    let json = registry.to_json();
    assert_eq!(json["messages.qos0.received"], 20);
    assert_eq!(json["messages.qos1.received"], 1000);
    assert_eq!(json["messages.received"], 1020);
    assert_eq!(json["sessions.count"], 7);
    assert_eq!(json["index.epoch"], 9);
    assert_eq!(writers[0].count(Counter::MessagesQos0Received), 10);
    let of_last = registry.counters_of(2).expect("a third writer");
    assert_eq!(
        of_last[Counter::MessagesQos1Received as usize],
        ("messages.qos1.received", 1000)
    );
    assert!(registry.counters_of(3).is_none());
}

#[test]
fn latencies_of_all_writers_make_one_histogram() {
    let (registry, writers) = MetricsRegistry::new(2);
    for us in 1..=100 {
        writers[us % 2].record(Latency::Turn, us as u64);
    }
    writers[0].record(Latency::Turn, u64::MAX);
    let json = registry.to_json();
    assert_eq!(json["latency.turn_us.count"], 101);
    let median = registry.latency(Latency::Turn).value_at_quantile(0.5);
    assert!((44..=51).contains(&median), "{median}");
    assert_eq!(json["latency.connect_us.count"], 0);
}

#[test]
fn names_are_used_once_and_well_formed() {
    let (registry, _) = MetricsRegistry::new(1);
    let mut seen = BTreeSet::new();
    for (name, _) in registry.snapshot() {
        assert!(seen.insert(name), "{name} is declared twice");
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        assert!(name.chars().all(allowed) && name.contains('.'), "{name}");
    }
    for help in Counter::ALL.iter().map(|counter| counter.help()) {
        assert!(help.ends_with('.') && !help.starts_with(' '), "{help}");
    }
}

#[test]
fn the_totals_have_every_part_of_their_name() {
    let parts_of = |prefix: &str, suffix: &str| -> BTreeSet<&str> {
        let is_part = |name: &str| name.starts_with(prefix) && name.ends_with(suffix);
        Counter::ALL
            .iter()
            .map(|counter| counter.name())
            .filter(|name| is_part(name))
            .collect()
    };
    for total in TOTALS {
        let of: BTreeSet<&str> = total.of.iter().map(|counter| counter.name()).collect();
        let (prefix, suffix) = total.name.rsplit_once('.').expect("a dotted name");
        let expected = match suffix {
            "received" | "sent" => parts_of(&format!("{prefix}."), &format!(".{suffix}")),
            _ => parts_of(&format!("{}.", total.name), ""),
        };
        assert_eq!(of, expected, "{}", total.name);
    }
}

/// A figure that nobody sets is a promise that nobody keeps.
#[test]
fn every_figure_is_set_somewhere() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut used = BTreeSet::new();
    for path in rust_files(&src) {
        if path.starts_with(src.join("metrics")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file can be read");
        for kind in ["Counter::", "Gauge::", "Latency::"] {
            used.extend(names_after(&text, kind).map(|name| format!("{kind}{name}")));
        }
    }
    let counters = Counter::ALL
        .iter()
        .map(|counter| format!("Counter::{}", counter.variant()));
    let gauges = Gauge::ALL
        .iter()
        .map(|gauge| format!("Gauge::{}", gauge.variant()));
    let latencies = Latency::ALL
        .iter()
        .map(|latency| format!("Latency::{latency:?}"));
    let unused: Vec<String> = counters
        .chain(gauges)
        .chain(latencies)
        .filter(|name| !used.contains(name))
        .collect();
    assert!(unused.is_empty(), "nobody sets:\n{}", unused.join("\n"));
}

#[test]
fn names_after_finds_whole_names() {
    let text = "inc(Counter::BytesSent); set(Gauge::Sessions, Counter::Turns as u64)";
    assert_eq!(
        names_after(text, "Counter::").collect::<Vec<_>>(),
        ["BytesSent", "Turns"]
    );
}

fn names_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a source directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
