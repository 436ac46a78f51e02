//! The judge is judged: through a proxy that commits exactly one fault the harness reports exactly
//! that fault, and without one it reports none.
#![allow(clippy::disallowed_types)] // The stub broker is no data plane.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bench_harness::cli::Cli;
use bench_harness::client::{Client, Error, Options};
use bench_harness::codec::{Packet, Version};
use bench_harness::results::Report;
use clap::Parser;
use support::proxy::{self, Fault};
use support::stub;

fn run(target: SocketAddr, line: &str) -> Report {
    run_with(target, line, &[])
}

fn run_with(target: SocketAddr, line: &str, more: &[&str]) -> Report {
    let mut words: Vec<String> = vec!["bench-harness".to_owned()];
    words.extend(line.split_whitespace().map(str::to_owned));
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words.extend(["--target".to_owned(), target.to_string()]);
    words.extend(["--no-results", "--quiet", "--commit", "test"].map(str::to_owned));
    // The broker lives in this process, whose CPU says nothing about it: probe none.
    words.extend(["--broker-pid", "4000000000"].map(str::to_owned));
    bench_harness::run(&Cli::parse_from(words))
        .unwrap()
        .unwrap()
}

fn faults(report: &Report) -> BTreeMap<&'static str, u64> {
    let names = [
        "lost",
        "duplicates",
        "out_of_order",
        "corrupt",
        "redelivered",
        "other_faults",
        "overlap_copies",
        "window_stalls",
    ];
    let count = |name| report.number(name).unwrap() as u64;
    names
        .into_iter()
        .map(|name| (name, count(name)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

const PAIRS: &str = "pubsub -p 3 -s 3 -m 300 --drain 0.5";

fn assert_reports(fault: Fault, expected: &[(&'static str, u64)]) {
    for load in [
        "-q 0 -w 50",
        "-q 1 -w 50",
        "-q 2 -w 20",
        "-q 0 --rate 2000",
        "-q 1 --size 16",
    ] {
        let address = proxy::start(stub::start(), fault, 400);
        let report = run(address, &format!("{PAIRS} {load}"));
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        assert_eq!(faults(&report), expected, "{fault:?} {load}");
    }
}

#[test]
fn a_clean_run_reports_no_fault() {
    assert_reports(Fault::None, &[]);
}

#[test]
fn a_dropped_message_is_one_lost() {
    assert_reports(Fault::Drop, &[("lost", 1)]);
}

#[test]
fn a_doubled_message_is_one_duplicate() {
    assert_reports(Fault::Double, &[("duplicates", 1)]);
}

#[test]
fn a_swapped_message_is_one_out_of_order() {
    assert_reports(Fault::Swap, &[("out_of_order", 1)]);
}

#[test]
fn an_altered_message_is_one_corrupt_and_none_lost() {
    assert_reports(Fault::Alter, &[("corrupt", 1)]);
}

#[test]
fn the_very_last_message_is_missed_too() {
    let address = proxy::start(stub::start(), Fault::Drop, 900);
    let report = run(address, &format!("{PAIRS} -w 50"));
    assert_eq!(faults(&report), BTreeMap::from([("lost", 1)]));
}

#[test]
fn every_topology_and_version_is_clean_and_complete() {
    let broker = stub::start();
    for (topology, deliveries) in [
        ("pairs", 4),
        ("fan-in", 12),
        ("fan-out", 12),
        ("shared", 4),
        ("wildcard", 4),
    ] {
        for more in [
            "--version 5 -q 1 --workers 2",
            "--version 3.1 -q 2 --workers 1 --churn 500",
        ] {
            let report = run(
                broker,
                &format!("pubsub -p 4 -s 3 -m 100 --topology {topology} {more}"),
            );
            assert_eq!(faults(&report), BTreeMap::new(), "{topology} {more}");
            let got = report.number("deliveries").unwrap();
            assert!(
                (got - f64::from(deliveries * 100)).abs() < 0.5,
                "{topology} {more}: {got}"
            );
        }
    }
}

#[test]
fn a_fault_in_a_shared_group_is_found() {
    for (fault, name) in [
        (Fault::Drop, "lost"),
        (Fault::Double, "duplicates"),
        (Fault::Alter, "corrupt"),
    ] {
        let address = proxy::start(stub::start(), fault, 150);
        let report = run(
            address,
            "pubsub -p 2 -s 3 -m 200 --topology shared --drain 0.5",
        );
        assert_eq!(faults(&report), BTreeMap::from([(name, 1)]));
    }
}

#[test]
fn what_a_paused_subscriber_missed_is_compared_with_a_counter() {
    let address = proxy::start(stub::start(), Fault::Drop, 20);
    let line = "pubsub -p 2 -s 2 -q 1 --rate 200 -m 60 --pause-subscribers 0.2 --drain 0.3";
    let report = run_with(address, line, &["--expect-loss-from", "echo drops: 1"]);
    assert!(report.passed());
    assert_eq!(faults(&report), BTreeMap::from([("lost", 1)]));
    // The first message was due before the pause and arrived after it.
    assert!(report.number("latency_us_max").unwrap() > 150_000.0);
}

#[test]
fn a_failed_verdict_is_told_and_a_kept_one_too() {
    let address = proxy::start(stub::start(), Fault::Drop, 50);
    let line = format!("{PAIRS} --expect-loss 0 --expect-duplicates 0");
    let report = run(address, &line);
    assert!(!report.passed());
    let oks: Vec<bool> = report.verdicts.iter().map(|v| v.ok).collect();
    assert_eq!(oks, [false, true]);
    assert!(run(stub::start(), &line).passed());
}

#[test]
fn the_result_file_has_its_schema() {
    let out = std::env::temp_dir().join(format!("bench-harness-test-{}", std::process::id()));
    let target = stub::start().to_string();
    let line = "bench-harness pubsub -m 10 --quiet --commit abc --scenario smoke --expect-loss 0";
    let path = out.to_string_lossy();
    let more = ["--target", &target, "--out", &path, "--broker-name", "stub"];
    bench_harness::run(&Cli::parse_from(line.split_whitespace().chain(more))).unwrap();
    let files: Vec<_> = std::fs::read_dir(out.join("smoke"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    assert!(
        files[0]
            .file_name()
            .to_string_lossy()
            .ends_with("Z-abc.json")
    );
    let text = std::fs::read_to_string(files[0].path()).unwrap();
    std::fs::remove_dir_all(&out).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["broker"]["name"], "stub");
    assert_eq!(json["void"], false);
    assert_eq!(json["verdicts"][0]["name"], "lost");
    assert_eq!(json["verdicts"][0]["ok"], true);
    assert_eq!(json["measured"]["deliveries"], 10);
    assert!(json["measured"]["latency_us_p99"].is_u64());
    assert!(json["environment"]["cpus"].is_u64());
    assert!(json["harness"]["lag_us_p99"].is_u64());
    assert!(json["command"].is_array());
}

#[test]
fn connections_are_opened_pinged_and_kept() {
    let line = "connect -n 200 --rate 2000 --hold 0.5 --settle 0.1 --ping-interval 0.2 \
                --subscribe-own --max-failed-connects 0 --max-disconnects 0";
    for version in ["3.1", "3.1.1", "5"] {
        let report = run(stub::start(), &format!("{line} --version {version}"));
        assert!(report.passed());
        assert!((report.number("connected").unwrap() - 200.0).abs() < 0.5);
        assert!(report.number("pongs").unwrap() >= 200.0);
    }
}

#[test]
fn a_storm_is_over_when_all_are_back() {
    let line = "connect -n 300 --rate 3000 --hold 0.1 --settle 0.1 --storm 0.5 --in-flight 20 \
                --max-storm-seconds 60 --max-failed-connects 0 --max-disconnects 0";
    let report = run(stub::start(), line);
    assert!(report.passed(), "{:?}", report.verdicts);
    assert!((report.number("cut_by_storm").unwrap() - 150.0).abs() < 0.5);
    assert!((report.number("reconnected").unwrap() - 150.0).abs() < 0.5);
}

#[test]
fn refused_connects_are_counted() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let report = run(
        nobody,
        "connect -n 10 --rate 0 --hold 0 --settle 0 --max-failed-connects 0",
    );
    assert!(!report.passed());
    assert!((report.number("failed_connects").unwrap() - 10.0).abs() < 0.5);
}

#[test]
fn the_scripted_client_talks_to_a_broker() {
    let broker = stub::start();
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut receiver = Client::connect(broker, &Options::new(version, "receiver")).unwrap();
        let mut sender = Client::connect(broker, &Options::new(version, "sender")).unwrap();
        assert_eq!(receiver.subscribe("a/+", 1).unwrap(), 1);
        sender.publish("a/b", 2, b"hello").unwrap();
        let publish = receiver.expect_publish().unwrap();
        assert_eq!(
            (publish.qos, publish.payload.as_slice()),
            (1, &b"hello"[..])
        );
        sender.send_raw(&[0xC0, 0]).unwrap();
        assert_eq!(
            sender.expect(Duration::from_secs(5)).unwrap(),
            Packet::PingResp
        );
        sender.expect_nothing(Duration::from_millis(20)).unwrap();
        assert!(matches!(
            sender.expect_closed(Duration::from_millis(20)),
            Err(Error::Timeout)
        ));
    }
}
