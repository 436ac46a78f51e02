//! Starting: what the command line says, and everything that has to be refused before a listener opens.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use bench_harness::codec::Version;

use crate::broker::{Broker, Said, Scratch, program, run, say};
use crate::peer::{PATIENCE, SILENCE, clean, connect, ping, subscriber};

/// Refused: exit code 2, and one sentence that holds all of `words`.
fn assert_refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(!said.out.contains("listening"), "{said:?}");
    let sentences: Vec<&str> = said.err.lines().collect();
    assert_eq!(sentences.len(), 1, "{said:?}");
    for word in words {
        assert!(sentences[0].contains(word), "`{word}` in {said:?}");
    }
}

#[test]
fn version_and_help() {
    let version = say(&["--version"]);
    assert_eq!(version.code, Some(0));
    let words: Vec<&str> = version.out.split_whitespace().collect();
    assert_eq!(words[..2], ["millrace", env!("CARGO_PKG_VERSION")]);
    assert!(
        words[2].starts_with('(') && words[2].len() >= 9,
        "{version:?}"
    );
    let help = say(&["--help"]);
    assert_eq!(help.code, Some(0));
    for option in [
        "--config",
        "--cores",
        "--listen",
        "--set",
        "--data-dir",
        "--check",
        "--version",
    ] {
        assert!(help.out.contains(option), "{option}");
    }
    assert!(
        help.out.contains("mqtt.max_packet_size"),
        "every setting is named"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["--nonsense"][..], &["run"], &["--cores"]] {
        let said = say(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
}

#[test]
fn check_tells_what_it_found_and_starts_nothing() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let arguments = [
        "--check",
        "--listen",
        "tcp://127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let said = say(&arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in said.out.lines() {
        assert!(
            line.starts_with("ok: ") || line.starts_with("warning: "),
            "{line}"
        );
    }
    assert!(said.out.lines().count() >= 6 && !data.exists(), "{said:?}");
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", owner.local_addr().unwrap());
    let said = say(&[
        "--check",
        "--listen",
        &url,
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let failed: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.starts_with("FAILED: "))
        .collect();
    assert!(
        failed.len() == 1 && failed[0].contains("in use"),
        "{said:?}"
    );
}

#[test]
fn a_port_in_use_is_refused() {
    let first = Broker::start(2);
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let address = first.address().to_string();
    let url = format!("tcp://{address}");
    assert_refused(
        &say(&["--listen", &url, "--data-dir", data]),
        &[&address, "in use", "--listen"],
    );
    let everywhere = format!("tcp://0.0.0.0:{}", first.address().port());
    assert_refused(
        &say(&["--listen", &everywhere, "--data-dir", data]),
        &["in use"],
    );
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", other.local_addr().unwrap());
    assert_refused(&say(&["--listen", &url, "--data-dir", data]), &["in use"]);
    ping(&mut connect(first.address(), &clean(Version::V5, "still")));
    first.stop();
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let first = Broker::with(&["--cores", "1", "--data-dir", data]);
    let refused = say(&["--listen", "tcp://127.0.0.1:0", "--data-dir", data]);
    assert_refused(&refused, &[data, "in use by another broker", "--data-dir"]);
    first.stop();
    // A broker that was killed leaves no lock behind.
    let mut second = Broker::with(&["--cores", "1", "--data-dir", data]);
    second.signal("KILL");
    assert!(second.wait_at_most(Duration::from_secs(20)).is_some());
    Broker::with(&["--cores", "1", "--data-dir", data]).stop();
}

#[test]
fn two_brokers_side_by_side_are_strangers() {
    let (first, second) = (Broker::start(2), Broker::start(2));
    let mut here = subscriber(first.address(), Version::V311, "c", "t", 0);
    let mut there = subscriber(second.address(), Version::V311, "c", "t", 0);
    here.publish("t", 0, b"here").unwrap();
    assert_eq!(here.expect_publish().unwrap().payload, b"here");
    there.expect_nothing(SILENCE).unwrap();
    first.stop();
    ping(&mut there);
    second.stop();
}

#[test]
fn a_wrong_configuration_names_file_line_and_key() {
    let scratch = Scratch::new();
    let file = scratch.path("broker.toml");
    let shown = file.to_str().unwrap();
    let said = |text: &str| {
        fs::write(&file, text).unwrap();
        say(&["--config", shown, "--listen", "tcp://127.0.0.1:0"])
    };
    for (text, line, words) in [
        (
            "[mqtt]\n\nmax_qos_allowed = 3\n",
            3,
            &["mqtt.max_qos_allowed"][..],
        ),
        (
            "[mqtt]\nmax_paket_size = 3\n",
            2,
            &["mqtt.max_paket_size", "max_packet_size"],
        ),
        ("[node]\ncores = \"many\"\n", 2, &["node.cores"]),
        ("[node\n", 1, &["TOML"]),
    ] {
        let at = format!("{shown}:{line}");
        let words: Vec<&str> = words.iter().copied().chain([at.as_str()]).collect();
        assert_refused(&said(text), &words);
    }
    let said = say(&["--config", scratch.path("absent.toml").to_str().unwrap()]);
    assert_refused(&said, &["absent.toml", "cannot be read"]);
    let said = say(&["--set", "mqtt.max_inflight=0"]);
    assert_refused(&said, &["--set", "mqtt.max_inflight"]);
    let said = run(
        Command::new(program()).env("MILLRACE_MQTT__MAX_INFLIGHT", "none"),
        Duration::from_secs(20),
    );
    assert_refused(&said, &["MILLRACE_MQTT__MAX_INFLIGHT"]);
}

#[test]
fn a_limit_that_is_too_low_is_named_with_what_to_do() {
    let line = format!(
        "ulimit -n 40; exec '{}' --cores 2 --listen tcp://127.0.0.1:0",
        program().display()
    );
    let said = run(
        Command::new("sh").args(["-c", &line]),
        Duration::from_secs(20),
    );
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("open files") && said.err.contains("ulimit -n"),
        "{said:?}"
    );
    let line = line.replace("-n 40", "-l 64");
    let said = run(
        Command::new("sh").args(["-c", &line]),
        Duration::from_secs(20),
    );
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("locked memory") && said.err.contains("ulimit -l"),
        "{said:?}"
    );
}

#[test]
fn several_listeners_and_many_cores() {
    let broker = Broker::with(&[
        "--cores",
        "54",
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    assert_eq!(broker.addresses.len(), 2);
    let mut to = subscriber(broker.addresses[0], Version::V5, "to", "t", 1);
    let mut from = connect(broker.addresses[1], &clean(Version::V311, "from"));
    from.publish("t", 1, b"across").unwrap();
    assert_eq!(to.expect_publish().unwrap().payload, b"across");
    broker.stop();
}

#[test]
fn a_signal_prints_all_counters() {
    let broker = Broker::start(2);
    let mut to = subscriber(broker.address(), Version::V5, "to", "t", 1);
    to.publish("t", 0, b"x").unwrap();
    assert_eq!(to.expect_publish().unwrap().payload, b"x");
    broker.signal("USR1");
    let deadline = Instant::now() + PATIENCE;
    let report = loop {
        let log = broker.log();
        // A line without its end may still be growing.
        let mut lines = log.split_inclusive('\n');
        let line = lines.find(|line| line.starts_with('{') && line.ends_with("}\n"));
        if let Some(line) = line {
            break serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert!(Instant::now() < deadline, "no report: {log}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let metric = |name: &str| report["metrics"][name].as_u64();
    assert_eq!(metric("client.connected"), Some(1), "{report}");
    assert_eq!(metric("delivery.dropped"), Some(0), "{report}");
    assert_eq!(
        report["tables"]["sessions"]["entries"].as_u64(),
        Some(1),
        "{report}"
    );
    broker.stop();
}
